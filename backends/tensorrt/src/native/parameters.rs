//! Reads back what layers with a window or weights were told, ours and those of NVIDIA's parser alike.

use crate::engine::sha256;
use crate::native::convert::{data_type_of, extents};
use crate::native::network::pin;
use crate::parser::LayerParameters;
use std::ffi::c_void;
use trtx_sys::nvinfer1::{IConvolutionLayer, IDeconvolutionLayer, ILayer, IPoolingLayer, PaddingMode, Weights};
use trtx_sys::{Dims64, LayerType};

/// The parameters of `layer`, when it is of a kind that has some worth comparing.
pub(super) fn parameters(layer: *mut ILayer, kind: LayerType) -> Option<LayerParameters> {
    // The kind says what the object is, and its interface derives from that of all layers alone.
    let pointer: *mut c_void = layer.cast();
    match kind {
        LayerType::kCONVOLUTION => {
            let layer = unsafe { pin(pointer.cast::<IConvolutionLayer>()) }?;
            let (kernel, strides) = (layer.getKernelSizeNd(), layer.getStrideNd());
            let (pads, dilations) = ([layer.getPrePadding(), layer.getPostPadding()], layer.getDilationNd());
            let what = format!("{} maps, groups {}", layer.getNbOutputMaps(), layer.getNbGroups());
            let window = window(what, [&kernel, &strides, &dilations], &pads, &layer.getPaddingMode());
            Some(LayerParameters { kind: "CONVOLUTION".into(), window, weights: hash(&layer.getKernelWeights()) })
        }
        LayerType::kDECONVOLUTION => {
            let layer = unsafe { pin(pointer.cast::<IDeconvolutionLayer>()) }?;
            let (kernel, strides) = (layer.getKernelSizeNd(), layer.getStrideNd());
            let (pads, dilations) = ([layer.getPrePadding(), layer.getPostPadding()], layer.getDilationNd());
            let what = format!("{} maps, groups {}", layer.getNbOutputMaps(), layer.getNbGroups());
            let window = window(what, [&kernel, &strides, &dilations], &pads, &layer.getPaddingMode());
            Some(LayerParameters { kind: "DECONVOLUTION".into(), window, weights: hash(&layer.getKernelWeights()) })
        }
        LayerType::kPOOLING => {
            let layer = unsafe { pin(pointer.cast::<IPoolingLayer>()) }?;
            let (kernel, strides) = (layer.getWindowSizeNd(), layer.getStrideNd());
            let pads = [layer.getPrePadding(), layer.getPostPadding()];
            let window = window("pooling".into(), [&kernel, &strides, &strides], &pads, &layer.getPaddingMode());
            Some(LayerParameters { kind: "POOLING".into(), window, weights: None })
        }
        _ => None,
    }
}

/// A window in words, without the axis of extent one that a window along a line gets, wherever it stands. A padding that the library
/// derives from a mode is not told.
fn window(what: String, [kernel, strides, dilations]: [&Dims64; 3], pads: &[Dims64; 2], mode: &PaddingMode) -> String {
    let by_mode = !matches!(mode, PaddingMode::kEXPLICIT_ROUND_DOWN | PaddingMode::kEXPLICIT_ROUND_UP);
    let lists = [kernel, strides, dilations, &pads[0], &pads[1]].map(|dims| extents(dims).unwrap_or_default());
    let at = |list: &[i64], axis: usize| list.get(axis).copied().unwrap_or(0);
    let axes = (0..lists[0].len()).map(|axis| lists.each_ref().map(|list| at(list, axis)));
    let kept = axes.filter(|axis| *axis != [1, 1, 1, 0, 0]).map(|[kernel, stride, dilation, before, after]| {
        let padding = if by_mode { "?".into() } else { format!("{before}+{after}") };
        format!("kernel {kernel} stride {stride} dilation {dilation} padding {padding}")
    });
    format!("{what}; {}", kept.collect::<Vec<_>>().join(", "))
}

/// The hash of constant weights; `None` for those that another layer computes.
fn hash(weights: &Weights) -> Option<String> {
    let count = u64::try_from(weights.count).ok().filter(|&count| count > 0 && !weights.values.is_null())?;
    let n_bytes = usize::try_from(data_type_of(&weights.type_).bytes(count)?).ok()?;
    // The library holds so many elements of that type there as long as the network lives.
    Some(sha256(unsafe { std::slice::from_raw_parts(weights.values.cast::<u8>(), n_bytes) }))
}
