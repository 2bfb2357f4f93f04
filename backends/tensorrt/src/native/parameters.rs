//! Reads back what layers with a window or weights were told, ours and those of NVIDIA's parser alike.

use crate::engine::sha256;
use crate::native::convert::{data_type_of, extents};
use crate::native::network::pin;
use crate::parser::LayerParameters;
use std::ffi::c_void;
use trtx_sys::nvinfer1::{IConvolutionLayer, IDeconvolutionLayer, ILayer, IPoolingLayer, Weights};
use trtx_sys::{Dims64, LayerType};

/// The parameters of `layer`, when it is of a kind that has some worth comparing.
pub(super) fn parameters(layer: *mut ILayer, kind: LayerType) -> Option<LayerParameters> {
    let list = |dims: &Dims64| format!("{:?}", extents(dims).unwrap_or_default());
    // The kind says what the object is, and its interface derives from that of all layers alone.
    let pointer: *mut c_void = layer.cast();
    match kind {
        LayerType::kCONVOLUTION => {
            let layer = unsafe { pin(pointer.cast::<IConvolutionLayer>()) }?;
            let window = format!(
                "{} maps, groups {}, kernel {}, strides {}, padding {} {}, dilations {}",
                layer.getNbOutputMaps(),
                layer.getNbGroups(),
                list(&layer.getKernelSizeNd()),
                list(&layer.getStrideNd()),
                list(&layer.getPrePadding()),
                list(&layer.getPostPadding()),
                list(&layer.getDilationNd())
            );
            Some(LayerParameters { kind: "CONVOLUTION".into(), window, weights: hash(&layer.getKernelWeights()) })
        }
        LayerType::kDECONVOLUTION => {
            let layer = unsafe { pin(pointer.cast::<IDeconvolutionLayer>()) }?;
            let window = format!(
                "{} maps, groups {}, kernel {}, strides {}, padding {} {}, dilations {}",
                layer.getNbOutputMaps(),
                layer.getNbGroups(),
                list(&layer.getKernelSizeNd()),
                list(&layer.getStrideNd()),
                list(&layer.getPrePadding()),
                list(&layer.getPostPadding()),
                list(&layer.getDilationNd())
            );
            Some(LayerParameters { kind: "DECONVOLUTION".into(), window, weights: hash(&layer.getKernelWeights()) })
        }
        LayerType::kPOOLING => {
            let layer = unsafe { pin(pointer.cast::<IPoolingLayer>()) }?;
            let window = format!(
                "kernel {}, strides {}, padding {} {}",
                list(&layer.getWindowSizeNd()),
                list(&layer.getStrideNd()),
                list(&layer.getPrePadding()),
                list(&layer.getPostPadding())
            );
            Some(LayerParameters { kind: "POOLING".into(), window, weights: None })
        }
        _ => None,
    }
}

/// The hash of constant weights; `None` for those that another layer computes.
fn hash(weights: &Weights) -> Option<String> {
    let count = u64::try_from(weights.count).ok().filter(|&count| count > 0 && !weights.values.is_null())?;
    let n_bytes = usize::try_from(data_type_of(&weights.type_).bytes(count)?).ok()?;
    // The library holds so many elements of that type there as long as the network lives.
    Some(sha256(unsafe { std::slice::from_raw_parts(weights.values.cast::<u8>(), n_bytes) }))
}
