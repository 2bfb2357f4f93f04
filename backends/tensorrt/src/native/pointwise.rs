//! Adds the layers that work element by element or along one axis.

use crate::layer::{Layer, Scaling, TopKCount};
use crate::native::convert;
use crate::native::dense::set_input;
use crate::native::network::{Added, Network, pin};
use crate::spec::DataType;
use trtx_sys::nvinfer1;

impl Network<'_> {
    pub(super) fn add_pointwise(&mut self, layer: &Layer) -> Result<Added, String> {
        let network = || self.network.pin();
        let added = match layer {
            Layer::ElementWise { kind, a, b } => {
                network().addElementWise(self.read(*a)?, self.read(*b)?, convert::element_wise(*kind)).cast()
            }
            Layer::Unary { input, kind } => network().addUnary(self.read(*input)?, convert::unary(*kind)).cast(),
            Layer::Activation { input, kind, alpha, beta } => {
                let pointer = network().addActivation(self.read(*input)?, convert::activation(*kind));
                let mut added = unsafe { pin(pointer) }.ok_or("no layer came of it")?;
                if let Some(alpha) = alpha {
                    added.as_mut().setAlpha(*alpha);
                }
                if let Some(beta) = beta {
                    added.as_mut().setBeta(*beta);
                }
                pointer.cast()
            }
            Layer::SoftMax { input, axis } => {
                let pointer = network().addSoftMax(self.read(*input)?);
                unsafe { pin(pointer) }.ok_or("no layer came of it")?.setAxes(convert::axes_mask(&[*axis]));
                pointer.cast()
            }
            Layer::Reduce { input, kind, axes, keep_dims } => {
                let mask = convert::axes_mask(axes);
                network().addReduce(self.read(*input)?, convert::reduce(*kind), mask, *keep_dims).cast()
            }
            Layer::Select { condition, then, otherwise } => {
                network().addSelect(self.read(*condition)?, self.read(*then)?, self.read(*otherwise)?).cast()
            }
            Layer::Cast { input, to } => network().addCast(self.read(*input)?, convert::data_type(*to)).cast(),
            Layer::Identity { input } => network().addIdentity(self.read(*input)?).cast(),
            Layer::TopK { input, largest, k, axis, indices } => {
                let operation = if *largest { nvinfer1::TopKOperation::kMAX } else { nvinfer1::TopKOperation::kMIN };
                // The count is ignored once the second operand is set, but must be legal before.
                let count = if let TopKCount::Known(count) = k { *count } else { 1 };
                let (x, mask, indices) =
                    (self.read(*input)?, convert::axes_mask(&[*axis]), convert::data_type(*indices));
                let pointer = network().addTopK1(x, operation, count, mask, indices).cast();
                if let TopKCount::Computed(count) = k {
                    set_input(pointer, 1, self.read(*count)?)?;
                }
                pointer
            }
            Layer::Quantize { input, scale, scaling, to } => {
                let (x, scale) = (self.read(*input)?, self.read(*scale)?);
                let pointer = network().addQuantize(x, scale, convert::data_type(*to));
                let mut added = unsafe { pin(pointer) }.ok_or("no layer came of it")?;
                match scaling {
                    Scaling::PerTensor => {}
                    Scaling::PerAxis(axis) => added.as_mut().setAxis(*axis as i32),
                    Scaling::PerBlock(block) if added.as_mut().setBlockShape(&convert::dims(block)) => {}
                    Scaling::PerBlock(block) => return Err(format!("blocks of {block:?} were refused")),
                }
                pointer.cast()
            }
            Layer::Dequantize { input, scale, scaling, to } => {
                let (x, scale) = (self.read(*input)?, self.read(*scale)?);
                let is_four_bits = convert::data_type_of(&x.getType()) == DataType::I4;
                let pointer = network().addDequantize(x, scale, convert::data_type(*to));
                let mut added = unsafe { pin(pointer) }.ok_or("no layer came of it")?;
                match scaling {
                    Scaling::PerTensor => {}
                    // The library takes the blocks of these from the shape of the scales, and refuses to be told them.
                    Scaling::PerBlock(_) if is_four_bits => {}
                    Scaling::PerAxis(axis) => added.as_mut().setAxis(*axis as i32),
                    Scaling::PerBlock(block) if added.as_mut().setBlockShape(&convert::dims(block)) => {}
                    Scaling::PerBlock(block) => return Err(format!("blocks of {block:?} were refused")),
                }
                pointer.cast()
            }
            Layer::CumulativeSum { input, axis, exclusive, reverse } => {
                let (x, axis, sum) = (self.read(*input)?, self.read(*axis)?, nvinfer1::CumulativeOperation::kSUM);
                network().addCumulative(x, axis, sum, *exclusive, *reverse).cast()
            }
            Layer::ParametricRelu { input, slope } => {
                network().addParametricReLU(self.read(*input)?, self.read(*slope)?).cast()
            }
            _ => return Err("not a pointwise layer".into()),
        };
        Ok(Added::Layer(added))
    }
}
