//! Activations, and softmax.

use super::builder::Builder;
use super::call::Call;
use super::operand::{Operand, Typed, is_real};
use super::refusal::Refusal;
use super::{Lowered, Lowering};
use crate::layer::{ActivationKind, ElementWiseKind, Layer, ReduceKind, UnaryKind};

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[
    ("Relu", |builder, call| activation(builder, call, ActivationKind::Relu, &[])),
    ("Sigmoid", |builder, call| activation(builder, call, ActivationKind::Sigmoid, &[])),
    ("Tanh", |builder, call| activation(builder, call, ActivationKind::Tanh, &[])),
    ("LeakyRelu", |builder, call| activation(builder, call, ActivationKind::LeakyRelu, &[("alpha", 0.01)])),
    ("Elu", |builder, call| activation(builder, call, ActivationKind::Elu, &[("alpha", 1.0)])),
    ("Selu", |builder, call| {
        activation(builder, call, ActivationKind::Selu, &[("alpha", 1.673_263_2), ("gamma", 1.050_701)])
    }),
    ("ThresholdedRelu", |builder, call| activation(builder, call, ActivationKind::ThresholdedRelu, &[("alpha", 1.0)])),
    ("HardSigmoid", |builder, call| {
        activation(builder, call, ActivationKind::HardSigmoid, &[("alpha", 0.2), ("beta", 0.5)])
    }),
    ("Softsign", |builder, call| activation(builder, call, ActivationKind::Softsign, &[])),
    ("Softplus", |builder, call| {
        let x = builder.input(call, 0)?;
        Ok(vec![softplus(builder, &x).into()])
    }),
    ("Gelu", gelu),
    ("HardSwish", hard_swish),
    ("Swish", swish),
    ("Mish", mish),
    ("Celu", celu),
    ("PRelu", parametric),
    ("Clip", clip),
    ("Softmax", softmax),
    ("LogSoftmax", log_softmax),
    ("Hardmax", hardmax),
    ("Shrink", shrink),
    ("SwiGLU", gated),
];

/// An activation with up to two attributes, given with their defaults.
fn activation(builder: &mut Builder, call: &Call, kind: ActivationKind, parameters: &[(&str, f32)]) -> Lowered {
    let x = builder.input(call, 0)?;
    if kind == ActivationKind::Relu && !is_real(x.data_type) {
        return Ok(vec![builder.with(ElementWiseKind::Max, &x, 0.0)?.into()]);
    }
    let parameter = |at: usize| parameters.get(at).map(|(name, otherwise)| call.float(name, *otherwise));
    Ok(vec![builder.activation(kind, &x, parameter(0), parameter(1)).into()])
}

fn softplus(builder: &mut Builder, x: &Typed) -> Typed {
    builder.activation(ActivationKind::Softplus, x, Some(1.0), Some(1.0))
}

fn gelu(builder: &mut Builder, call: &Call) -> Lowered {
    call.one_of("approximate", &["none", "tanh"])?;
    let kind =
        if call.string("approximate", "none") == "tanh" { ActivationKind::GeluTanh } else { ActivationKind::GeluErf };
    activation(builder, call, kind, &[])
}

/// `x max(0, min(1, x / 6 + 1/2))`.
fn hard_swish(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let gate = builder.activation(ActivationKind::HardSigmoid, &x, Some(1.0 / 6.0), Some(0.5));
    Ok(vec![builder.pair(ElementWiseKind::Product, &x, &gate)?.into()])
}

/// `x sigmoid(alpha x)`.
fn swish(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let alpha = call.float("alpha", 1.0);
    let scaled = if alpha == 1.0 { x.clone() } else { builder.with(ElementWiseKind::Product, &x, f64::from(alpha))? };
    let gate = builder.activation(ActivationKind::Sigmoid, &scaled, None, None);
    Ok(vec![builder.pair(ElementWiseKind::Product, &x, &gate)?.into()])
}

/// `x tanh(softplus(x))`.
fn mish(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let soft = softplus(builder, &x);
    let gate = builder.activation(ActivationKind::Tanh, &soft, None, None);
    Ok(vec![builder.pair(ElementWiseKind::Product, &x, &gate)?.into()])
}

/// `max(0, x) + min(0, alpha (exp(x / alpha) - 1))`.
fn celu(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let alpha = call.float("alpha", 1.0);
    let above = builder.activation(ActivationKind::Relu, &x, None, None);
    let scaled = builder.with(ElementWiseKind::Product, &x, 1.0 / f64::from(alpha))?;
    let curve = builder.activation(ActivationKind::Elu, &scaled, Some(alpha), None);
    let below = builder.with(ElementWiseKind::Min, &curve, 0.0)?;
    Ok(vec![builder.pair(ElementWiseKind::Sum, &above, &below)?.into()])
}

fn parametric(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let slope = builder.aligned(call.value(1)?, x.rank())?;
    let layer = Layer::ParametricRelu { input: x.at, slope: slope.at };
    Ok(vec![builder.typed("prelu", layer, x.data_type, x.shape.clone()).into()])
}

fn clip(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    // A bound is an input since operator set 11, an attribute before.
    let number = |index: usize, name: &str| match call.given(index) {
        Some(arg) => arg.value.single(),
        None => call.attrs.float(name).map(f64::from),
    };
    let bounds = (number(1, "min"), number(2, "max"));
    if let (Some(low), Some(high), true) = (bounds.0, bounds.1, is_real(x.data_type)) {
        // When the bounds cross, ONNX returns the upper one; the activation's order of application does not matter then.
        let low = low.min(high);
        return Ok(vec![builder.activation(ActivationKind::Clip, &x, Some(low as f32), Some(high as f32)).into()]);
    }
    let mut y = x;
    for (at, name, kind) in [(1, "min", ElementWiseKind::Max), (2, "max", ElementWiseKind::Min)] {
        let bound: Operand = match (call.given(at), call.attrs.float(name)) {
            (Some(arg), _) => arg.value.clone(),
            (None, Some(value)) => builder.scalar(f64::from(value), y.data_type, 0)?.into(),
            (None, None) => continue,
        };
        y = builder.binary(kind, &y.into(), &bound)?;
    }
    Ok(vec![y.into()])
}

fn softmax(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let axis = call.axis(call.int("axis", -1), x.rank())?;
    // TensorRT's layer has no form for a vector.
    if x.rank() == 1 {
        let row = builder.unsqueeze(&x, &[0])?;
        let y = builder.softmax(&row, 1);
        return Ok(vec![builder.squeeze(&y, &[0]).into()]);
    }
    Ok(vec![builder.softmax(&x, axis).into()])
}

fn log_softmax(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let axis = call.axis(call.int("axis", -1), x.rank())?;
    Ok(vec![log_softmax_along(builder, &x, axis)?.into()])
}

/// `x - max - log(sum(exp(x - max)))`, which does not overflow.
pub(super) fn log_softmax_along(builder: &mut Builder, x: &Typed, axis: usize) -> Result<Typed, Refusal> {
    let top = builder.reduce(ReduceKind::Max, x, &[axis], true);
    let lowered = builder.pair(ElementWiseKind::Subtract, x, &top)?;
    let powers = builder.unary(UnaryKind::Exp, &lowered);
    let sum = builder.reduce(ReduceKind::Sum, &powers, &[axis], true);
    let log = builder.unary(UnaryKind::Log, &sum);
    builder.pair(ElementWiseKind::Subtract, &lowered, &log)
}

/// 1 at the first of the largest elements along the axis, 0 elsewhere.
fn hardmax(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let axis = call.axis(call.int("axis", -1), x.rank())?;
    let largest = builder.first_largest(&x, axis)?;
    let length = builder.extent(&x, axis)?;
    let places = builder.count_up(&length, &x.shape[axis])?;
    let others: Vec<usize> = (0..x.rank()).filter(|&other| other != axis).collect();
    let places = builder.unsqueeze(&places, &others)?;
    let is_largest = builder.pair(ElementWiseKind::Equal, &places, &largest)?;
    Ok(vec![builder.cast(&is_largest, x.data_type).into()])
}

/// `x + bias` below -lambd, `x - bias` above lambd, 0 between.
fn shrink(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let (bias, lambda) = (f64::from(call.float("bias", 0.0)), f64::from(call.float("lambd", 0.5)));
    let is_below = builder.with(ElementWiseKind::Less, &x, -lambda)?;
    let is_above = builder.with(ElementWiseKind::Greater, &x, lambda)?;
    let raised = builder.with(ElementWiseKind::Sum, &x, bias)?;
    let lowered = builder.with(ElementWiseKind::Subtract, &x, bias)?;
    let zero = builder.scalar(0.0, x.data_type, x.rank())?;
    let above = builder.select(&is_above.into(), &lowered.into(), &zero.into())?;
    Ok(vec![builder.select(&is_below.into(), &raised.into(), &above.into())?.into()])
}

/// `a sigmoid(alpha a) b`.
fn gated(builder: &mut Builder, call: &Call) -> Lowered {
    let (a, b) = (builder.input(call, 0)?, builder.input(call, 1)?);
    let alpha = f64::from(call.float("alpha", 1.0));
    let scaled = if alpha == 1.0 { a.clone() } else { builder.with(ElementWiseKind::Product, &a, alpha)? };
    let gate = builder.activation(ActivationKind::Sigmoid, &scaled, None, None);
    let gated = builder.pair(ElementWiseKind::Product, &a, &gate)?;
    Ok(vec![builder.pair(ElementWiseKind::Product, &gated, &b)?.into()])
}

/// What keeps an operand out of a layer that needs a constant.
pub(super) fn must_be_constant(what: &str) -> Refusal {
    Refusal::new(format!("its {what} is computed")).instead(format!("a constant {what}"))
}
