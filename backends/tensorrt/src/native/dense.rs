//! Adds the layers that carry weights or do most of the arithmetic.

use crate::layer::{Layer, Operand, PoolingKind, Window};
use crate::native::convert::{self, dims};
use crate::native::network::{Added, Network, pin};
use crate::spec::{DataType, NetworkSpec, TensorRef};
use std::ffi::{CString, c_void};
use std::pin::Pin;
use trtx_sys::nvinfer1::{self, ILayer, ITensor, Weights};

impl Network<'_> {
    pub(super) fn add_dense(&mut self, spec: &NetworkSpec, layer: &Layer) -> Result<Added, String> {
        match layer {
            Layer::Constant { weights, dims: extents } => {
                let weights = self.weights(spec, *weights)?;
                Ok(Added::Layer(self.network.pin().addConstant(&dims(extents), weights).cast()))
            }
            Layer::Convolution { input, kernel, bias, n_maps, groups, window } => {
                let (kernel_now, bias_now) = self.kernels(spec, kernel, bias)?;
                let (x, kernel_extents) = (self.read(*input)?, dims(&window.kernel));
                let pointer = self.network.pin().addConvolutionNd(x, *n_maps, &kernel_extents, kernel_now, bias_now);
                let mut added = unsafe { pin(pointer) }.ok_or("no layer came of it")?;
                added.as_mut().setStrideNd(&dims(&window.strides));
                added.as_mut().setDilationNd(&dims(&window.dilations));
                added.as_mut().setPrePadding(&dims(&window.pre_padding));
                added.as_mut().setPostPadding(&dims(&window.post_padding));
                added.as_mut().setNbGroups(*groups);
                self.late_kernels(pointer.cast(), kernel, bias)
            }
            Layer::Deconvolution { input, kernel, bias, n_maps, groups, window } => {
                let (kernel_now, bias_now) = self.kernels(spec, kernel, bias)?;
                let (x, kernel_extents) = (self.read(*input)?, dims(&window.kernel));
                let pointer = self.network.pin().addDeconvolutionNd(x, *n_maps, kernel_extents, kernel_now, bias_now);
                let mut added = unsafe { pin(pointer) }.ok_or("no layer came of it")?;
                added.as_mut().setStrideNd(&dims(&window.strides));
                added.as_mut().setDilationNd(&dims(&window.dilations));
                added.as_mut().setPrePadding(&dims(&window.pre_padding));
                added.as_mut().setPostPadding(&dims(&window.post_padding));
                added.as_mut().setNbGroups(*groups);
                self.late_kernels(pointer.cast(), kernel, bias)
            }
            Layer::Pooling { input, kind, window, ceil } => self.add_pooling(*input, *kind, window, *ceil),
            Layer::MatrixMultiply { a, a_as, b, b_as } => {
                let (a, b) = (self.read(*a)?, self.read(*b)?);
                let (a_as, b_as) = (convert::matrix(*a_as), convert::matrix(*b_as));
                Ok(Added::Layer(self.network.pin().addMatrixMultiply(a, a_as, b, b_as).cast()))
            }
            Layer::Einsum { inputs, equation } => {
                let equation = CString::new(equation.as_str()).map_err(|_| "an equation with a NUL")?;
                let mut inputs = self.pointers(inputs)?;
                let count = i32::try_from(inputs.len()).map_err(|_| "too many inputs")?;
                let network = self.network.as_ptr().cast();
                let added =
                    unsafe { trtx_sys::network_add_einsum(network, inputs.as_mut_ptr(), count, equation.as_ptr()) };
                Ok(Added::Layer(added.cast()))
            }
            Layer::Lrn { input, window, alpha, beta, k } => {
                let x = self.read(*input)?;
                Ok(Added::Layer(self.network.pin().addLRN(x, *window, *alpha, *beta, *k).cast()))
            }
            Layer::Normalization { input, scale, bias, axes, epsilon, groups } => {
                let (x, scale, bias) = (self.read(*input)?, self.read(*scale)?, self.read(*bias)?);
                let pointer = self.network.pin().addNormalizationV2(x, scale, bias, convert::axes_mask(axes));
                let mut added = unsafe { pin(pointer) }.ok_or("no layer came of it")?;
                added.as_mut().setEpsilon(*epsilon);
                if *groups != 1 {
                    added.as_mut().setNbGroups(*groups);
                }
                Ok(Added::Layer(pointer.cast()))
            }
            Layer::Attention { query, key, value, mask, causal } => {
                let (query, key, value) = (self.read(*query)?, self.read(*key)?, self.read(*value)?);
                let softmax = nvinfer1::AttentionNormalizationOp::kSOFTMAX;
                let kind =
                    if *causal { nvinfer1::CausalMaskKind::kUPPER_LEFT } else { nvinfer1::CausalMaskKind::kNONE };
                let pointer = self.network.pin().addAttentionV2(query, key, value, softmax, kind);
                let mut added = unsafe { pin(pointer) }.ok_or("no layer came of it")?;
                if let Some(mask) = mask
                    && !added.as_mut().setMask(self.read(*mask)?)
                {
                    return Err("its mask was refused".into());
                }
                // Without this, a head size or type that has no fused kernel fails the build.
                if !added.as_mut().setDecomposable(true) {
                    return Err("it can't be made decomposable".into());
                }
                Ok(Added::Attention(pointer))
            }
            _ => Err("not a dense layer".into()),
        }
    }

    fn add_pooling(
        &mut self,
        input: TensorRef,
        kind: PoolingKind,
        window: &Window,
        ceil: bool,
    ) -> Result<Added, String> {
        let (x, extents) = (self.read(input)?, dims(&window.kernel));
        let pointer = self.network.pin().addPoolingNd(x, convert::pooling(kind), &extents);
        let mut added = unsafe { pin(pointer) }.ok_or("no layer came of it")?;
        added.as_mut().setStrideNd(&dims(&window.strides));
        added.as_mut().setPrePadding(&dims(&window.pre_padding));
        added.as_mut().setPostPadding(&dims(&window.post_padding));
        if kind != PoolingKind::Max {
            added.as_mut().setAverageCountExcludesPadding(kind == PoolingKind::Average);
        }
        if ceil {
            added.as_mut().setPaddingMode(nvinfer1::PaddingMode::kEXPLICIT_ROUND_UP);
        }
        Ok(Added::Layer(pointer.cast()))
    }

    /// Kernel and bias as they are known now: empty when absent or computed.
    fn kernels(
        &mut self,
        spec: &NetworkSpec,
        kernel: &Operand,
        bias: &Option<Operand>,
    ) -> Result<(Weights, Weights), String> {
        let mut data_type = DataType::F32;
        let mut now = [Some(kernel), bias.as_ref()].map(|operand| match operand {
            Some(Operand::Weights(weights)) => {
                data_type = spec.weights.get(weights.0 as usize).map_or(data_type, |weights| weights.data_type);
                Some(*weights)
            }
            Some(Operand::Tensor(_)) | None => None,
        });
        let mut take = |at: usize| match now[at].take() {
            Some(weights) => self.weights(spec, weights),
            // Kernel and bias have one type, also where one of them is empty.
            None => Ok(Weights { type_: convert::data_type(data_type), values: std::ptr::null(), count: 0 }),
        };
        Ok((take(0)?, take(1)?))
    }

    /// Connects a kernel and a bias that layers compute.
    fn late_kernels(&mut self, layer: *mut ILayer, kernel: &Operand, bias: &Option<Operand>) -> Result<Added, String> {
        for (at, operand) in [(1, Some(kernel)), (2, bias.as_ref())] {
            if let Some(Operand::Tensor(tensor)) = operand {
                set_input(layer, at, self.read(*tensor)?)?;
            }
        }
        Ok(Added::Layer(layer))
    }

    /// The tensors as the library's pointers.
    pub(super) fn pointers(&self, tensors: &[TensorRef]) -> Result<Vec<*mut c_void>, String> {
        let pointer = |tensor: Pin<&mut ITensor>| std::ptr::from_mut(unsafe { tensor.get_unchecked_mut() }).cast();
        tensors.iter().map(|tensor| self.read(*tensor).map(pointer)).collect()
    }
}

/// Connects an operand after the layer was added; a layer that came to nothing is an error.
pub(super) fn set_input(layer: *mut ILayer, at: i32, tensor: Pin<&mut ITensor>) -> Result<(), String> {
    // Every caller passes what an `add` function has just returned.
    let mut layer = unsafe { pin(layer) }.ok_or("no layer came of it")?;
    layer.as_mut().setInput(at, tensor);
    // The library logs a bad index and goes on.
    if layer.getNbInputs() > at { Ok(()) } else { Err(format!("operand {at} was refused")) }
}
