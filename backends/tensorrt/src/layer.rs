//! What a layer of a [`crate::spec::NetworkSpec`] computes, in TensorRT's terms.
//!
//! A variant is one layer of `INetworkDefinition` with every parameter that lowering needs. Axes are counted from the
//! front, never negative.

pub use crate::flow::{Flow, FlowId};
pub use crate::kinds::*;
use crate::spec::{DataType, NetworkSpec, TensorRef, WeightsRef};
use serde::{Deserialize, Serialize};

/// TensorRT's limit on the number of dims.
pub const MAX_RANK: usize = 8;

/// Extents that are known when the network is built, or that a one-dimensional integer tensor holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Extents {
    /// Known now.
    Known(Vec<i64>),
    /// A shape tensor.
    Computed(TensorRef),
}

/// A kernel or a bias: constant, or the result of a layer (a dequantized weight, say).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Operand {
    /// Constant data.
    Weights(WeightsRef),
    /// A tensor.
    Tensor(TensorRef),
}

/// The window of a convolution or a pooling; one entry per spatial axis (two or three).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Extent of the window.
    pub kernel: Vec<i64>,
    /// Steps.
    pub strides: Vec<i64>,
    /// Spacing of the window's points; all one for pooling.
    pub dilations: Vec<i64>,
    /// Padding before the first element.
    pub pre_padding: Vec<i64>,
    /// Padding after the last element.
    pub post_padding: Vec<i64>,
}

/// One layer. `MAX_RANK` bounds every list of extents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // The operands of a layer are named as in the documentation of `INetworkDefinition`.
pub enum Layer {
    /// Constant data of these dims.
    Constant {
        weights: WeightsRef,
        dims: Vec<i64>,
    },
    /// Kernel `[n_maps, channels / groups, spatial..]`.
    Convolution {
        input: TensorRef,
        kernel: Operand,
        bias: Option<Operand>,
        n_maps: i64,
        groups: i64,
        window: Window,
    },
    /// Kernel `[channels, n_maps / groups, spatial..]`.
    Deconvolution {
        input: TensorRef,
        kernel: Operand,
        bias: Option<Operand>,
        n_maps: i64,
        groups: i64,
        window: Window,
    },
    /// `ceil` rounds the output's extent up.
    Pooling {
        input: TensorRef,
        kind: PoolingKind,
        window: Window,
        ceil: bool,
    },
    /// Batched; leading axes broadcast.
    MatrixMultiply {
        a: TensorRef,
        a_as: MatrixKind,
        b: TensorRef,
        b_as: MatrixKind,
    },
    /// Operands of equal rank.
    ElementWise {
        kind: ElementWiseKind,
        a: TensorRef,
        b: TensorRef,
    },
    Unary {
        input: TensorRef,
        kind: UnaryKind,
    },
    /// A parameter that is absent keeps TensorRT's default, which is not ONNX's.
    Activation {
        input: TensorRef,
        kind: ActivationKind,
        alpha: Option<f32>,
        beta: Option<f32>,
    },
    SoftMax {
        input: TensorRef,
        axis: u32,
    },
    Reduce {
        input: TensorRef,
        kind: ReduceKind,
        axes: Vec<u32>,
        keep_dims: bool,
    },
    /// Transpose, reshape, transpose; each may be absent. In `reshape`, -1 is inferred, and 0 copies the input's extent when
    /// `zero_copies`.
    Shuffle {
        input: TensorRef,
        first_transpose: Option<Vec<u32>>,
        reshape: Option<Extents>,
        zero_copies: bool,
        second_transpose: Option<Vec<u32>>,
    },
    Concatenation {
        inputs: Vec<TensorRef>,
        axis: u32,
    },
    /// One entry per axis of the input. `fill` is a scalar tensor, for [`SliceMode::Fill`].
    Slice {
        input: TensorRef,
        start: Extents,
        size: Extents,
        stride: Extents,
        mode: SliceMode,
        fill: Option<TensorRef>,
    },
    /// `batch_dims` leading axes are shared by data and indices.
    Gather {
        data: TensorRef,
        indices: TensorRef,
        mode: GatherMode,
        axis: u32,
        batch_dims: u32,
    },
    Select {
        condition: TensorRef,
        then: TensorRef,
        otherwise: TensorRef,
    },
    Cast {
        input: TensorRef,
        to: DataType,
    },
    Identity {
        input: TensorRef,
    },
    /// The extents as a one-dimensional tensor of I64.
    Shape {
        input: TensorRef,
    },
    /// Results: values, then indices of I32 or I64.
    TopK {
        input: TensorRef,
        largest: bool,
        k: TopKCount,
        axis: u32,
        indices: DataType,
    },
    /// Mean and variance over `axes`, then `scale` and `bias`, which broadcast against the input.
    Normalization {
        input: TensorRef,
        scale: TensorRef,
        bias: TensorRef,
        axes: Vec<u32>,
        epsilon: f32,
        groups: i64,
    },
    /// Across channels: `x / (k + alpha / window * sum x^2)^beta`.
    Lrn {
        input: TensorRef,
        window: i64,
        alpha: f32,
        beta: f32,
        k: f32,
    },
    Resize {
        input: TensorRef,
        to: ResizeTo,
        mode: InterpolationMode,
        coordinates: CoordinateMode,
        /// A single output element takes the upper end instead of the formula's point.
        single_is_upper: bool,
        rounding: RoundMode,
        cubic_coefficient: f32,
        exclude_outside: bool,
    },
    Scatter {
        data: TensorRef,
        indices: TensorRef,
        updates: TensorRef,
        mode: ScatterMode,
        axis: u32,
    },
    /// Lower-case letters, no ellipsis; at most two inputs.
    Einsum {
        inputs: Vec<TensorRef>,
        equation: String,
    },
    /// `start + i delta` along the one axis of the result.
    Range {
        length: Extents,
        steps: Steps,
    },
    Quantize {
        input: TensorRef,
        scale: TensorRef,
        scaling: Scaling,
        to: DataType,
    },
    Dequantize {
        input: TensorRef,
        scale: TensorRef,
        scaling: Scaling,
        to: DataType,
    },
    /// `values` holds off and on.
    OneHot {
        indices: TensorRef,
        values: TensorRef,
        depth: TensorRef,
        axis: u32,
    },
    /// Sum along the axis that a scalar tensor names.
    CumulativeSum {
        input: TensorRef,
        axis: TensorRef,
        exclusive: bool,
        reverse: bool,
    },
    /// The input at each place of a grid `[batch, height, width, 2]`, where -1 and 1 are the ends of an axis.
    GridSample {
        input: TensorRef,
        grid: TensorRef,
        mode: InterpolationMode,
        /// What is beyond the ends: zeros ([`SliceMode::Fill`]), the border or a mirror.
        outside: SliceMode,
        align_corners: bool,
    },
    /// The first `lengths[b]` elements along the time axis in reverse.
    ReverseSequence {
        input: TensorRef,
        lengths: TensorRef,
        batch_axis: u32,
        time_axis: u32,
    },
    /// `slope` broadcasts against the input and has its rank.
    ParametricRelu {
        input: TensorRef,
        slope: TensorRef,
    },
    /// Drops the extents of one at `axes`.
    Squeeze {
        input: TensorRef,
        axes: Vec<u32>,
    },
    /// Inserts extents of one, at `axes` of the result.
    Unsqueeze {
        input: TensorRef,
        axes: Vec<u32>,
    },
    /// Scaled queries, keys and values `[batch, heads, sequence, width]`; softmax over the keys. May fall apart into several
    /// kernels where no fused one exists.
    Attention {
        query: TensorRef,
        key: TensorRef,
        value: TensorRef,
        mask: Option<TensorRef>,
        causal: bool,
    },
    /// Part of a conditional or a loop.
    Flow(Flow),
}

/// Which elements share a scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Scaling {
    /// All of them: the scale is a scalar.
    PerTensor,
    /// Those at one place of an axis: the scale is a vector.
    PerAxis(u32),
    /// Those of a block of these extents: the scale has the rank of the input.
    PerBlock(Vec<i64>),
}

/// How many elements a top-k returns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum TopKCount {
    /// Known now.
    Known(i32),
    /// A scalar tensor of I32.
    Computed(TensorRef),
}

/// The extents of a resize's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ResizeTo {
    /// Extents.
    Extents(Extents),
    /// A factor per axis.
    Scales(Vec<f32>),
}

/// Start and step of a range; both constant or both computed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Steps {
    /// A range of I64.
    Int {
        /// The first element.
        start: i64,
        /// What each element adds.
        delta: i64,
    },
    /// A range of F32.
    Float {
        /// The first element.
        start: f64,
        /// What each element adds.
        delta: f64,
    },
    /// A range of the type of the tensors: I32, I64 or F32.
    Computed {
        /// A scalar.
        start: TensorRef,
        /// One dim with one element.
        delta: TensorRef,
        /// Their type.
        data_type: DataType,
    },
}

impl Layer {
    /// The name of the variant.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Constant { .. } => "Constant",
            Layer::Convolution { .. } => "Convolution",
            Layer::Deconvolution { .. } => "Deconvolution",
            Layer::Pooling { .. } => "Pooling",
            Layer::MatrixMultiply { .. } => "MatrixMultiply",
            Layer::ElementWise { .. } => "ElementWise",
            Layer::Unary { .. } => "Unary",
            Layer::Activation { .. } => "Activation",
            Layer::SoftMax { .. } => "SoftMax",
            Layer::Reduce { .. } => "Reduce",
            Layer::Shuffle { .. } => "Shuffle",
            Layer::Concatenation { .. } => "Concatenation",
            Layer::Slice { .. } => "Slice",
            Layer::Gather { .. } => "Gather",
            Layer::Select { .. } => "Select",
            Layer::Cast { .. } => "Cast",
            Layer::Identity { .. } => "Identity",
            Layer::Shape { .. } => "Shape",
            Layer::TopK { .. } => "TopK",
            Layer::Normalization { .. } => "Normalization",
            Layer::Lrn { .. } => "Lrn",
            Layer::Resize { .. } => "Resize",
            Layer::Scatter { .. } => "Scatter",
            Layer::Einsum { .. } => "Einsum",
            Layer::Range { .. } => "Range",
            Layer::Quantize { .. } => "Quantize",
            Layer::Dequantize { .. } => "Dequantize",
            Layer::OneHot { .. } => "OneHot",
            Layer::CumulativeSum { .. } => "CumulativeSum",
            Layer::ParametricRelu { .. } => "ParametricRelu",
            Layer::GridSample { .. } => "GridSample",
            Layer::ReverseSequence { .. } => "ReverseSequence",
            Layer::Squeeze { .. } => "Squeeze",
            Layer::Unsqueeze { .. } => "Unsqueeze",
            Layer::Attention { .. } => "Attention",
            Layer::Flow(flow) => flow.kind(),
        }
    }

    /// Number of tensors it defines.
    pub fn n_results(&self) -> u32 {
        match self {
            Layer::TopK { .. } => 2,
            Layer::Flow(flow) => flow.n_results(),
            _ => 1,
        }
    }

    /// Every tensor that it reads.
    pub fn reads(&self) -> Vec<TensorRef> {
        let mut all = Vec::new();
        let extents = |all: &mut Vec<TensorRef>, extents: &Extents| {
            if let Extents::Computed(tensor) = extents {
                all.push(*tensor);
            }
        };
        match self {
            Layer::Constant { .. } => {}
            Layer::Convolution { input, kernel, bias, .. } | Layer::Deconvolution { input, kernel, bias, .. } => {
                all.push(*input);
                for operand in [Some(kernel), bias.as_ref()].into_iter().flatten() {
                    if let Operand::Tensor(tensor) = operand {
                        all.push(*tensor);
                    }
                }
            }
            Layer::MatrixMultiply { a, b, .. } | Layer::ElementWise { a, b, .. } => all.extend([*a, *b]),
            Layer::Pooling { input, .. }
            | Layer::Unary { input, .. }
            | Layer::Activation { input, .. }
            | Layer::SoftMax { input, .. }
            | Layer::Reduce { input, .. }
            | Layer::Cast { input, .. }
            | Layer::Identity { input }
            | Layer::Shape { input }
            | Layer::Lrn { input, .. }
            | Layer::Squeeze { input, .. }
            | Layer::Unsqueeze { input, .. } => all.push(*input),
            Layer::Shuffle { input, reshape, .. } => {
                all.push(*input);
                reshape.iter().for_each(|reshape| extents(&mut all, reshape));
            }
            Layer::Concatenation { inputs, .. } | Layer::Einsum { inputs, .. } => all.extend(inputs),
            Layer::Slice { input, start, size, stride, fill, .. } => {
                all.push(*input);
                [start, size, stride].into_iter().for_each(|part| extents(&mut all, part));
                all.extend(fill);
            }
            Layer::Gather { data, indices, .. } => all.extend([*data, *indices]),
            Layer::Select { condition, then, otherwise } => all.extend([*condition, *then, *otherwise]),
            Layer::TopK { input, k, .. } => {
                all.push(*input);
                if let TopKCount::Computed(tensor) = k {
                    all.push(*tensor);
                }
            }
            Layer::Normalization { input, scale, bias, .. } => all.extend([*input, *scale, *bias]),
            Layer::Resize { input, to, .. } => {
                all.push(*input);
                if let ResizeTo::Extents(to) = to {
                    extents(&mut all, to);
                }
            }
            Layer::Scatter { data, indices, updates, .. } => all.extend([*data, *indices, *updates]),
            Layer::Range { length, steps } => {
                extents(&mut all, length);
                if let Steps::Computed { start, delta, .. } = steps {
                    all.extend([*start, *delta]);
                }
            }
            Layer::Quantize { input, scale, .. } | Layer::Dequantize { input, scale, .. } => {
                all.extend([*input, *scale])
            }
            Layer::OneHot { indices, values, depth, .. } => all.extend([*indices, *values, *depth]),
            Layer::CumulativeSum { input, axis, .. } => all.extend([*input, *axis]),
            Layer::ParametricRelu { input, slope } => all.extend([*input, *slope]),
            Layer::GridSample { input, grid: other, .. } | Layer::ReverseSequence { input, lengths: other, .. } => {
                all.extend([*input, *other]);
            }
            Layer::Attention { query, key, value, mask, .. } => {
                all.extend([*query, *key, *value]);
                all.extend(mask);
            }
            Layer::Flow(flow) => all.extend(flow.reads()),
        }
        all
    }

    /// Every weight that it names.
    pub fn weights(&self) -> Vec<WeightsRef> {
        match self {
            Layer::Constant { weights, .. } => vec![*weights],
            Layer::Convolution { kernel, bias, .. } | Layer::Deconvolution { kernel, bias, .. } => {
                [Some(kernel), bias.as_ref()]
                    .into_iter()
                    .flatten()
                    .filter_map(|operand| match operand {
                        Operand::Weights(weights) => Some(*weights),
                        Operand::Tensor(_) => None,
                    })
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// What TensorRT would read out of bounds or silently misread. Its own checks cover the rest.
    pub(crate) fn check(&self, spec: &NetworkSpec) -> Result<(), String> {
        let rank = |what: &str, length: usize| {
            if length > MAX_RANK { Err(format!("{what} has {length} entries, at most {MAX_RANK} fit")) } else { Ok(()) }
        };
        let axes = |axes: &[u32]| match axes.iter().find(|axis| **axis as usize >= MAX_RANK) {
            Some(axis) => Err(format!("axis {axis} is above {}", MAX_RANK - 1)),
            None => Ok(()),
        };
        let known = |what: &str, extents: &Extents| match extents {
            Extents::Known(extents) => rank(what, extents.len()),
            Extents::Computed(_) => Ok(()),
        };
        match self {
            Layer::Constant { weights, dims } => {
                rank("dims", dims.len())?;
                let count = spec.weights.get(weights.0 as usize).map_or(0, |weights| weights.count);
                let volume =
                    dims.iter().try_fold(1u64, |volume, extent| volume.checked_mul(u64::try_from(*extent).ok()?));
                if volume != Some(count) {
                    return Err(format!("{count} elements do not fill dims {dims:?}"));
                }
                Ok(())
            }
            Layer::Convolution { window, groups, n_maps, .. } | Layer::Deconvolution { window, groups, n_maps, .. } => {
                if *groups < 1 || *n_maps < 1 {
                    return Err(format!("{n_maps} maps in {groups} groups"));
                }
                window.check()
            }
            Layer::Pooling { window, .. } => {
                if window.dilations.iter().any(|dilation| *dilation != 1) {
                    return Err("a pooling has no dilation".into());
                }
                window.check()
            }
            Layer::Reduce { axes: reduced, .. } | Layer::Normalization { axes: reduced, .. } => axes(reduced),
            Layer::Squeeze { axes: changed, .. } | Layer::Unsqueeze { axes: changed, .. } => axes(changed),
            Layer::SoftMax { axis, .. } | Layer::TopK { axis, .. } => axes(&[*axis]),
            Layer::Shuffle { first_transpose, reshape, second_transpose, .. } => {
                for permutation in [first_transpose, second_transpose].into_iter().flatten() {
                    rank("permutation", permutation.len())?;
                    let mut sorted = permutation.clone();
                    sorted.sort_unstable();
                    if sorted.iter().enumerate().any(|(at, axis)| *axis as usize != at) {
                        return Err(format!("{permutation:?} is not a permutation"));
                    }
                }
                reshape.as_ref().map_or(Ok(()), |reshape| known("reshape", reshape))
            }
            Layer::Concatenation { inputs, .. } if inputs.is_empty() => Err("has no input".into()),
            Layer::Einsum { inputs, equation } if inputs.is_empty() || equation.contains('\0') => {
                Err("needs inputs and an equation".into())
            }
            Layer::Slice { start, size, stride, mode, fill, .. } => {
                if fill.is_some() && *mode != SliceMode::Fill {
                    return Err(format!("a fill value in mode {mode:?}"));
                }
                known("start", start)?;
                known("size", size)?;
                known("stride", stride)
            }
            Layer::Resize { to, .. } => match to {
                ResizeTo::Extents(extents) => known("extents", extents),
                ResizeTo::Scales(scales) => rank("scales", scales.len()),
            },
            Layer::Range { length, .. } => known("length", length),
            Layer::Quantize { scaling: Scaling::PerBlock(block), .. }
            | Layer::Dequantize { scaling: Scaling::PerBlock(block), .. } => rank("block", block.len()),
            _ => Ok(()),
        }
    }
}

impl Window {
    /// A window of `kernel` with step one and no padding.
    pub fn plain(kernel: &[i64]) -> Self {
        let (ones, zeros) = (vec![1; kernel.len()], vec![0; kernel.len()]);
        Self {
            kernel: kernel.to_vec(),
            strides: ones.clone(),
            dilations: ones,
            pre_padding: zeros.clone(),
            post_padding: zeros,
        }
    }

    fn check(&self) -> Result<(), String> {
        let n_axes = self.kernel.len();
        let all = [&self.kernel, &self.strides, &self.dilations, &self.pre_padding, &self.post_padding];
        if !(2..=3).contains(&n_axes) || all.iter().any(|part| part.len() != n_axes) {
            return Err(format!("a window has two or three spatial axes in every list, found {all:?}"));
        }
        if all[..3].iter().any(|part| part.iter().any(|extent| *extent < 1)) {
            return Err(format!("kernel, strides and dilations are positive, found {all:?}"));
        }
        Ok(())
    }
}
