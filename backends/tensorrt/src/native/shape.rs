//! Adds the layers that move elements or compute extents.

use crate::layer::{Extents, Layer, ResizeTo, Steps};
use crate::native::convert::{self, dims};
use crate::native::dense::set_input;
use crate::native::network::{Added, Network, pin};
use crate::spec::{Contents, DataType, WeightsSpec};
use trtx_sys::nvinfer1::{self, ILayer, ITensor};

impl Network<'_> {
    pub(super) fn add_shape(&mut self, layer: &Layer) -> Result<Added, String> {
        let added: *mut ILayer = match layer {
            Layer::Shuffle { input, first_transpose, reshape, zero_copies, second_transpose } => {
                let pointer = self.network.pin().addShuffle(self.read(*input)?);
                let mut added = unsafe { pin(pointer) }.ok_or("no layer came of it")?;
                if let Some(order) = first_transpose {
                    added.as_mut().setFirstTranspose(convert::permutation(order));
                }
                added.as_mut().setZeroIsPlaceholder(*zero_copies);
                match reshape {
                    Some(Extents::Known(extents)) => added.as_mut().setReshapeDimensions(&dims(extents)),
                    Some(Extents::Computed(extents)) => set_input(pointer.cast(), 1, self.read(*extents)?)?,
                    None => {}
                }
                if let Some(order) = second_transpose {
                    added.as_mut().setSecondTranspose(convert::permutation(order));
                }
                pointer.cast()
            }
            Layer::Concatenation { inputs, axis } => {
                let mut inputs = self.pointers(inputs)?;
                let count = i32::try_from(inputs.len()).map_err(|_| "too many inputs")?;
                let network = self.network.as_ptr().cast();
                let pointer = unsafe { trtx_sys::network_add_concatenation(network, inputs.as_mut_ptr(), count) };
                let pointer: *mut nvinfer1::IConcatenationLayer = pointer.cast();
                unsafe { pin(pointer) }.ok_or("no layer came of it")?.setAxis(*axis as i32);
                pointer.cast()
            }
            Layer::Slice { input, start, size, stride, mode, fill } => {
                let now = [start, size, stride].map(|extents| match extents {
                    Extents::Known(extents) => dims(extents),
                    Extents::Computed(_) => dims(&[]),
                });
                let pointer = self.network.pin().addSlice(self.read(*input)?, &now[0], &now[1], &now[2]);
                unsafe { pin(pointer) }.ok_or("no layer came of it")?.setMode(convert::slice(*mode));
                for (at, extents) in [(1, start), (2, size), (3, stride)] {
                    if let Extents::Computed(extents) = extents {
                        set_input(pointer.cast(), at, self.read(*extents)?)?;
                    }
                }
                if let Some(fill) = fill {
                    set_input(pointer.cast(), 4, self.read(*fill)?)?;
                }
                pointer.cast()
            }
            Layer::Gather { data, indices, mode, axis, batch_dims } => {
                let (data, indices) = (self.read(*data)?, self.read(*indices)?);
                let pointer = self.network.pin().addGatherV2(data, indices, convert::gather(*mode));
                let mut added = unsafe { pin(pointer) }.ok_or("no layer came of it")?;
                if *mode != crate::layer::GatherMode::Nd {
                    added.as_mut().setGatherAxis(*axis as i32);
                }
                added.as_mut().setNbElementWiseDims(*batch_dims as i32);
                pointer.cast()
            }
            Layer::Shape { input } => self.network.pin().addShape(self.read(*input)?).cast(),
            Layer::Resize {
                input,
                to,
                mode,
                coordinates,
                single_is_upper,
                rounding,
                cubic_coefficient,
                exclude_outside,
            } => {
                let pointer = self.network.pin().addResize(self.read(*input)?);
                let mut added = unsafe { pin(pointer) }.ok_or("no layer came of it")?;
                added.as_mut().setResizeMode(convert::interpolation(*mode));
                added.as_mut().setCoordinateTransformation(convert::coordinates(*coordinates));
                use nvinfer1::ResizeSelector::{kFORMULA, kUPPER};
                added.as_mut().setSelectorForSinglePixel(if *single_is_upper { kUPPER } else { kFORMULA });
                added.as_mut().setNearestRounding(convert::rounding(*rounding));
                added.as_mut().setCubicCoeff(*cubic_coefficient);
                added.as_mut().setExcludeOutside(*exclude_outside);
                match to {
                    ResizeTo::Extents(Extents::Known(extents)) => added.as_mut().setOutputDimensions(&dims(extents)),
                    ResizeTo::Extents(Extents::Computed(extents)) => {
                        set_input(pointer.cast(), 1, self.read(*extents)?)?;
                    }
                    // The library copies the scales.
                    ResizeTo::Scales(scales) => unsafe {
                        added.as_mut().setScales(scales.as_ptr(), scales.len() as i32);
                    },
                }
                pointer.cast()
            }
            Layer::Scatter { data, indices, updates, mode, axis } => {
                let (data, indices, updates) = (self.read(*data)?, self.read(*indices)?, self.read(*updates)?);
                let pointer = self.network.pin().addScatter(data, indices, updates, convert::scatter(*mode));
                if *mode == crate::layer::ScatterMode::Element {
                    unsafe { pin(pointer) }.ok_or("no layer came of it")?.setAxis(*axis as i32);
                }
                pointer.cast()
            }
            Layer::Range { length, steps } => self.add_range(length, steps)?,
            Layer::OneHot { indices, values, depth, axis } => {
                let (indices, values, depth) = (self.read(*indices)?, self.read(*values)?, self.read(*depth)?);
                self.network.pin().addOneHot(indices, values, depth, *axis as i32).cast()
            }
            Layer::GridSample { input, grid, mode, outside, align_corners } => {
                let pointer = self.network.pin().addGridSample(self.read(*input)?, self.read(*grid)?);
                let mut added = unsafe { pin(pointer) }.ok_or("no layer came of it")?;
                added.as_mut().setInterpolationMode(convert::interpolation(*mode));
                added.as_mut().setAlignCorners(*align_corners);
                if !added.as_mut().setSampleMode(convert::slice(*outside)) {
                    return Err(format!("the mode {outside:?} beyond its ends was refused"));
                }
                pointer.cast()
            }
            Layer::ReverseSequence { input, lengths, batch_axis, time_axis } => {
                let pointer = self.network.pin().addReverseSequence(self.read(*input)?, self.read(*lengths)?);
                let mut added = unsafe { pin(pointer) }.ok_or("no layer came of it")?;
                added.as_mut().setBatchAxis(*batch_axis as i32);
                added.as_mut().setSequenceAxis(*time_axis as i32);
                pointer.cast()
            }
            Layer::Squeeze { input, axes } => {
                let axes = self.axes(axes)?;
                let axes = unsafe { pin(axes) }.ok_or("no constant came of its axes")?;
                self.network.pin().addSqueeze(self.read(*input)?, axes).cast()
            }
            Layer::Unsqueeze { input, axes } => {
                let axes = self.axes(axes)?;
                let axes = unsafe { pin(axes) }.ok_or("no constant came of its axes")?;
                self.network.pin().addUnsqueeze(self.read(*input)?, axes).cast()
            }
            _ => return Err("not a shape layer".into()),
        };
        Ok(Added::Layer(added))
    }

    fn add_range(&mut self, length: &Extents, steps: &Steps) -> Result<*mut ILayer, String> {
        let data_type = match steps {
            Steps::Int { .. } => DataType::I64,
            Steps::Float { .. } => DataType::F32,
            Steps::Computed { data_type, .. } => *data_type,
        };
        let extents = match length {
            Extents::Known(extents) => dims(extents),
            // Replaced by the operand below, but the rank must be right.
            Extents::Computed(_) => dims(&[1]),
        };
        let linear = nvinfer1::FillOperation::kLINSPACE;
        let pointer = self.network.pin().addFill(&extents, linear, convert::data_type(data_type));
        let mut added = unsafe { pin(pointer) }.ok_or("no layer came of it")?;
        if let Extents::Computed(length) = length {
            set_input(pointer.cast(), 0, self.read(*length)?)?;
        }
        match steps {
            Steps::Int { start, delta } => {
                added.as_mut().setAlphaInt64(*start);
                added.as_mut().setBetaInt64(*delta);
            }
            Steps::Float { start, delta } => {
                added.as_mut().setAlpha(*start);
                added.as_mut().setBeta(*delta);
            }
            Steps::Computed { start, delta, .. } => {
                set_input(pointer.cast(), 1, self.read(*start)?)?;
                set_input(pointer.cast(), 2, self.read(*delta)?)?;
            }
        }
        Ok(pointer.cast())
    }

    /// Axes as a constant tensor of I64.
    fn axes(&mut self, axes: &[u32]) -> Result<*mut ITensor, String> {
        let bytes: Vec<u8> = axes.iter().flat_map(|axis| i64::from(*axis).to_le_bytes()).collect();
        let count = axes.len() as u64;
        let contents = Contents::Bytes(bytes.into());
        let weights = self.keep_weights(&WeightsSpec { data_type: DataType::I64, count, contents })?;
        let pointer = self.network.pin().addConstant(&dims(&[axes.len() as i64]), weights);
        let constant = unsafe { pin(pointer.cast::<ILayer>()) }.ok_or("no constant came of its axes")?;
        Ok(constant.getOutput(0))
    }
}
