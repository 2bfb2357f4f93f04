//! Normalizations.

use super::builder::Builder;
use super::call::Call;
use super::operand::{Operand, Typed, Weight, element};
use super::refusal::Refusal;
use super::{Lowered, Lowering};
use crate::layer::{ElementWiseKind, Layer, ReduceKind, UnaryKind};
use crate::spec::DataType;
use eutectic_ir::Tensor;
use eutectic_ir::tensor::encode;

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[
    ("BatchNormalization", batch),
    ("InstanceNormalization", instance),
    ("GroupNormalization", group),
    ("LayerNormalization", layer),
    ("RMSNormalization", root_mean_square),
    ("LRN", local_response),
    ("LpNormalization", lp),
    ("MeanVarianceNormalization", mean_variance),
];

/// A vector over the channels as a tensor that broadcasts against `rank` axes.
fn per_channel(builder: &mut Builder, operand: &Operand, rank: usize) -> Result<Typed, Refusal> {
    let after: Vec<usize> = (1..rank.saturating_sub(1)).collect();
    match operand {
        Operand::Weight(weight) => {
            let count = i64::try_from(weight.tensor.count()).unwrap_or(i64::MAX);
            let mut sizes = vec![1; rank];
            if let Some(channels) = sizes.get_mut(1) {
                *channels = count;
            }
            builder.constant(weight, &sizes)
        }
        Operand::Tensor(tensor) => {
            let column = builder.unsqueeze(tensor, &after)?;
            builder.aligned(&column.into(), rank)
        }
    }
}

/// `scale (x - mean) / sqrt(var + epsilon) + bias`; with constant statistics one product and one sum.
fn batch(builder: &mut Builder, call: &Call) -> Lowered {
    if call.attrs.flag("training_mode") {
        return batch_in_training(builder, call);
    }
    call.only_first()?;
    let x = builder.input(call, 0)?;
    let epsilon = f64::from(call.float("epsilon", 1e-5));
    let parameters = [call.value(1)?, call.value(2)?, call.value(3)?, call.value(4)?];
    if let [Some(scale), Some(bias), Some(mean), Some(variance)] = parameters.map(Operand::weight)
        && let Some((gain, shift)) = affine(builder, [scale, bias, mean, variance], epsilon, x.data_type)
    {
        let gain = per_channel(builder, &gain.into(), x.rank())?;
        let shift = per_channel(builder, &shift.into(), x.rank())?;
        let scaled = builder.pair(ElementWiseKind::Product, &x, &gain)?;
        return Ok(vec![builder.pair(ElementWiseKind::Sum, &scaled, &shift)?.into()]);
    }
    let mut columns = Vec::new();
    for parameter in parameters {
        columns.push(per_channel(builder, parameter, x.rank())?);
    }
    let centred = builder.pair(ElementWiseKind::Subtract, &x, &columns[2])?;
    let variance = builder.with(ElementWiseKind::Sum, &columns[3], epsilon)?;
    let deviation = builder.unary(UnaryKind::Sqrt, &variance);
    let normal = builder.pair(ElementWiseKind::Divide, &centred, &deviation)?;
    let scaled = builder.pair(ElementWiseKind::Product, &normal, &columns[0])?;
    Ok(vec![builder.pair(ElementWiseKind::Sum, &scaled, &columns[1])?.into()])
}

/// The statistics are those of the batch; the running ones move towards them by `1 - momentum`.
fn batch_in_training(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let axes: Vec<usize> = (0..x.rank()).filter(|&axis| axis != 1).collect();
    let moments = moments(builder, &x, &axes)?;
    let momentum = f64::from(call.float("momentum", 0.9));
    let normal = moments.normalized(builder, f64::from(call.float("epsilon", 1e-5)))?.0;
    let (scale, bias) =
        (per_channel(builder, call.value(1)?, x.rank())?, per_channel(builder, call.value(2)?, x.rank())?);
    let scaled = builder.pair(ElementWiseKind::Product, &normal, &scale)?;
    let y = builder.pair(ElementWiseKind::Sum, &scaled, &bias)?;
    let mut results: Vec<Operand> = vec![y.into()];
    for (index, now) in [(3, &moments.mean), (4, &moments.variance)] {
        let now = builder.squeeze(now, &axes);
        let before = builder.input(call, index)?;
        let now = builder.cast(&now, before.data_type);
        let kept = builder.with(ElementWiseKind::Product, &before, momentum)?;
        let added = builder.with(ElementWiseKind::Product, &now, 1.0 - momentum)?;
        results.push(builder.pair(ElementWiseKind::Sum, &kept, &added)?.into());
    }
    results.truncate(call.used.len());
    Ok(results)
}

/// Mean and variance along some axes, which stay with one element, and the distance of each element from the mean.
struct Moments {
    mean: Typed,
    variance: Typed,
    centred: Typed,
}

fn moments(builder: &mut Builder, x: &Typed, axes: &[usize]) -> Result<Moments, Refusal> {
    let mean = builder.reduce(ReduceKind::Mean, x, axes, true);
    let centred = builder.pair(ElementWiseKind::Subtract, x, &mean)?;
    let squares = builder.pair(ElementWiseKind::Product, &centred, &centred)?;
    let variance = builder.reduce(ReduceKind::Mean, &squares, axes, true);
    Ok(Moments { mean, variance, centred })
}

impl Moments {
    /// The elements over the standard deviation, and the reciprocal of that.
    fn normalized(&self, builder: &mut Builder, epsilon: f64) -> Result<(Typed, Typed), Refusal> {
        let raised = builder.with(ElementWiseKind::Sum, &self.variance, epsilon)?;
        let deviation = builder.unary(UnaryKind::Sqrt, &raised);
        let inverse = builder.unary(UnaryKind::Reciprocal, &deviation);
        Ok((builder.pair(ElementWiseKind::Product, &self.centred, &inverse)?, inverse))
    }
}

/// Gain and shift per channel, computed in double precision.
fn affine(
    builder: &mut Builder,
    parameters: [&Weight; 4],
    epsilon: f64,
    data_type: DataType,
) -> Option<(Weight, Weight)> {
    let [scale, bias, mean, variance] = parameters.map(|weight| weight.tensor.to_f64s());
    let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
    let gain: Vec<f64> = scale.iter().zip(&variance).map(|(scale, var)| scale / (var + epsilon).sqrt()).collect();
    let shift: Vec<f64> = bias.iter().zip(&mean).zip(&gain).map(|((bias, mean), gain)| bias - mean * gain).collect();
    let mut weight = |name: &str, values: &[f64]| {
        let element = element(data_type);
        let bytes: Option<Vec<Vec<u8>>> = values.iter().map(|&value| encode(element, value)).collect();
        let tensor = Tensor::new(element, &[values.len()], bytes?.concat().into()).ok()?;
        Some(builder.weight(&format!("{}/{name}", parameters[0].name), tensor))
    };
    Some((weight("gain", &gain)?, weight("shift", &shift)?))
}

/// Mean and variance over `axes`, then scale and bias.
fn normalize(
    builder: &mut Builder,
    x: &Typed,
    scale: &Typed,
    bias: &Typed,
    axes: &[usize],
    epsilon: f32,
    groups: i64,
) -> Typed {
    let layer = Layer::Normalization {
        input: x.at,
        scale: scale.at,
        bias: bias.at,
        axes: axes.iter().map(|&axis| axis as u32).collect(),
        epsilon,
        groups,
    };
    builder.typed("normalization", layer, x.data_type, x.shape.clone())
}

fn instance(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let scale = per_channel(builder, call.value(1)?, x.rank())?;
    let bias = per_channel(builder, call.value(2)?, x.rank())?;
    let axes: Vec<usize> = (2..x.rank()).collect();
    Ok(vec![normalize(builder, &x, &scale, &bias, &axes, call.float("epsilon", 1e-5), 1).into()])
}

fn group(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let groups = call.int("num_groups", 1);
    let (scale, bias) = (call.value(1)?, call.value(2)?);
    if scale.shape().first().is_some_and(|dim| !dim.is(1) && Some(dim) != x.shape.get(1)) {
        return Err(Refusal::new("its scale is per group").instead("a scale per channel, as from operator set 21 on"));
    }
    let scale = per_channel(builder, scale, x.rank())?;
    let bias = per_channel(builder, bias, x.rank())?;
    let axes: Vec<usize> = (2..x.rank()).collect();
    Ok(vec![normalize(builder, &x, &scale, &bias, &axes, call.float("epsilon", 1e-5), groups).into()])
}

fn layer(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let axis = call.axis(call.int("axis", -1), x.rank())?;
    let axes: Vec<usize> = (axis..x.rank()).collect();
    if call.used.len() > 1 {
        return layer_with_statistics(builder, call, &x, &axes);
    }
    let scale = builder.aligned(call.value(1)?, x.rank())?;
    let bias = match call.given(2) {
        Some(bias) => builder.aligned(&bias.value, x.rank())?,
        None => {
            let sizes = scale.sizes().ok_or_else(|| Refusal::new("its scale has a dynamic shape"))?;
            let shape: Vec<usize> = sizes.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect();
            let zeros = Tensor::full(element(x.data_type), &shape, 0.0).map_err(|error| error.to_string())?;
            let zeros = builder.weight("", zeros);
            builder.constant(&zeros, &sizes)?
        }
    };
    Ok(vec![normalize(builder, &x, &scale, &bias, &axes, call.float("epsilon", 1e-5), 1).into()])
}

/// The same with mean and reciprocal deviation as outputs, which TensorRT's layer does not give; in single precision inside.
fn layer_with_statistics(builder: &mut Builder, call: &Call, x: &Typed, axes: &[usize]) -> Lowered {
    let wide = builder.cast(x, DataType::F32);
    let moments = moments(builder, &wide, axes)?;
    let (normal, inverse) = moments.normalized(builder, f64::from(call.float("epsilon", 1e-5)))?;
    let normal = builder.cast(&normal, x.data_type);
    let mut y = builder.binary(ElementWiseKind::Product, &normal.into(), call.value(1)?)?;
    if let Some(bias) = call.given(2) {
        y = builder.binary(ElementWiseKind::Sum, &y.into(), &bias.value)?;
    }
    let mut results: Vec<Operand> = vec![y.into(), moments.mean.into(), inverse.into()];
    results.truncate(call.used.len());
    Ok(results)
}

/// `x / sqrt(mean(x^2) + epsilon) scale`, in single precision inside.
fn root_mean_square(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let axis = call.axis(call.int("axis", -1), x.rank())?;
    let axes: Vec<usize> = (axis..x.rank()).collect();
    let wide = builder.cast(&x, DataType::F32);
    let squares = builder.pair(ElementWiseKind::Product, &wide, &wide)?;
    let mean = builder.reduce(ReduceKind::Mean, &squares, &axes, true);
    let raised = builder.with(ElementWiseKind::Sum, &mean, f64::from(call.float("epsilon", 1e-5)))?;
    let root = builder.unary(UnaryKind::Sqrt, &raised);
    let normal = builder.pair(ElementWiseKind::Divide, &wide, &root)?;
    let normal = builder.cast(&normal, x.data_type);
    Ok(vec![builder.binary(ElementWiseKind::Product, &normal.into(), call.value(1)?)?.into()])
}

fn local_response(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let layer = Layer::Lrn {
        input: x.at,
        window: call.int("size", 1),
        alpha: call.float("alpha", 1e-4),
        beta: call.float("beta", 0.75),
        k: call.float("bias", 1.0),
    };
    Ok(vec![builder.typed("lrn", layer, x.data_type, x.shape.clone()).into()])
}

fn lp(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let axis = call.axis(call.int("axis", -1), x.rank())?;
    let size = if call.int("p", 2) == 1 {
        let size = builder.unary(UnaryKind::Abs, &x);
        builder.reduce(ReduceKind::Sum, &size, &[axis], true)
    } else {
        let squares = builder.pair(ElementWiseKind::Product, &x, &x)?;
        let sum = builder.reduce(ReduceKind::Sum, &squares, &[axis], true);
        builder.unary(UnaryKind::Sqrt, &sum)
    };
    Ok(vec![builder.pair(ElementWiseKind::Divide, &x, &size)?.into()])
}

fn mean_variance(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let axes = call.attrs.ints("axes").map_or_else(|| vec![0, 2, 3], <[i64]>::to_vec);
    let axes: Vec<usize> = axes.into_iter().map(|axis| call.axis(axis, x.rank())).collect::<Result<_, _>>()?;
    let Moments { variance, centred, .. } = moments(builder, &x, &axes)?;
    let deviation = builder.unary(UnaryKind::Sqrt, &variance);
    // The ONNX function keeps the division finite with this constant.
    let deviation = builder.with(ElementWiseKind::Sum, &deviation, 1e-9)?;
    Ok(vec![builder.pair(ElementWiseKind::Divide, &centred, &deviation)?.into()])
}
