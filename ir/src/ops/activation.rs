//! Activations: pointwise functions that networks put after linear maps.

use super::functions::{EXP_M1, FLOPS, GELU, GELU_TANH, SIGMOID, SOFTPLUS, TANH};
use super::pointwise::{
    broadcast, broadcast_dims, maximum, minimum, mismatch, needs_functions, needs_order, same_as_first, unary_function,
    unary_numeric, unary_real, zip,
};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, Law, OpDef, Param, Reason, Work, sets};
use crate::types::Element::*;
use std::cmp::Ordering;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[
    &RELU,
    &LEAKY_RELU,
    &PRELU,
    &ELU,
    &SELU,
    &CELU,
    &THRESHOLDED_RELU,
    &HARD_SIGMOID,
    &HARD_SWISH,
    &SWISH,
    &SWIGLU,
    &SOFTSIGN,
    &GELU_OP,
    &MISH,
    &CLIP,
    &SHRINK,
];

const UNARY: OpDef = OpDef {
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    types: &[("T", sets::FLOAT)],
    infer: same_as_first,
    work: |call, outputs| Work::pointwise(call, outputs, 2),
    laws: &[Law::Pointwise],
    ..OpDef::BASE
};

static RELU: OpDef = OpDef {
    name: "Relu",
    doc: "y = max(x, 0)",
    versions: &[1, 6, 13, 14],
    types: &[("T", sets::SIGNED)],
    eval: eval!(relu),
    work: |call, outputs| Work::pointwise(call, outputs, 1),
    ..UNARY
};

fn relu<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let zero = S::from_int(0);
    // NaN passes through, as in NumPy's maximum.
    unary_numeric(call, true, |x| if below(x, zero) { zero } else { x }, |x| x.max(0))
}

fn below<S: Scalar>(x: S, bound: S) -> bool {
    x.compare(bound) == Some(Ordering::Less)
}

static LEAKY_RELU: OpDef = OpDef {
    name: "LeakyRelu",
    doc: "y = x for x >= 0, alpha * x below",
    versions: &[1, 6, 16],
    attrs: &[AttrDef::float("alpha", 0.01)],
    eval: eval!(leaky_relu),
    ..UNARY
};

fn leaky_relu<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (zero, alpha) = (S::from_int(0), call.float("alpha")?);
    unary_real(call, true, |x| if below(x, zero) { alpha.mul(x) } else { x })
}

static PRELU: OpDef = OpDef {
    name: "PRelu",
    doc: "y = x for x >= 0, slope * x below; the slope broadcasts to x",
    versions: &[1, 6, 7, 9, 16],
    inputs: &[Param::required("X", "T"), Param::required("slope", "T")],
    types: &[("T", sets::HIGH_PRECISION)],
    infer: infer_prelu,
    eval: eval!(prelu),
    ..UNARY
};

fn infer_prelu(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let (x, shape) = (call.ty(0)?, broadcast_dims(call, 0..2)?);
    if shape.len() > x.rank() {
        return Err(Reason(format!("the slope has {} axes, its input only {}", shape.len(), x.rank())));
    }
    same_as_first(call)
}

fn prelu<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    let (x, slope) = (call.input(0)?, call.input(1)?);
    if broadcast(&[x, slope])? != x.shape {
        return Err(Reason(format!("a slope of shape {:?} does not broadcast to {:?}", slope.shape, x.shape)));
    }
    let (zero, shape, by) = (S::from_int(0), x.shape.as_slice(), slope.shape.as_slice());
    Ok(vec![match (&x.contents, &slope.contents) {
        (Contents::Real(a), Contents::Real(b)) => {
            let real = |x: S, slope: S| if below(x, zero) { slope.mul(x) } else { x };
            Datum::of_real(x.element, shape, zip(shape, a, by, b, shape, real))
        }
        (Contents::Int(a), Contents::Int(b)) => {
            let int = |x: i128, slope: i128| if x < 0 { slope.wrapping_mul(x) } else { x };
            Datum::of_int(x.element, shape, zip(shape, a, by, b, shape, int))
        }
        _ => return Err(mismatch(x, slope)),
    }])
}

static ELU: OpDef = OpDef {
    name: "Elu",
    doc: "y = x for x >= 0, alpha * (exp(x) - 1) below",
    versions: &[1, 6, 22],
    attrs: &[AttrDef::float("alpha", 1.0)],
    eval: eval!(elu),
    work: |call, outputs| Work::pointwise(call, outputs, FLOPS),
    ..UNARY
};

fn elu<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("exp")?;
    let (zero, alpha) = (S::from_int(0), call.float("alpha")?);
    unary_real(call, true, |x| if below(x, zero) { alpha.mul(x.apply(&EXP_M1)) } else { x })
}

static SELU: OpDef = OpDef {
    name: "Selu",
    doc: "y = gamma * x for x > 0, gamma * (alpha * exp(x) - alpha) from there down",
    versions: &[1, 6, 22],
    attrs: &[AttrDef::float("alpha", 1.673_263_2), AttrDef::float("gamma", 1.050_701)],
    eval: eval!(selu),
    work: |call, outputs| Work::pointwise(call, outputs, FLOPS),
    ..UNARY
};

fn selu<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("exp")?;
    let (zero, alpha, gamma) = (S::from_int(0), call.float("alpha")?, call.float("gamma")?);
    unary_real(call, true, |x| gamma.mul(if below(zero, x) { x } else { alpha.mul(x.apply(&EXP_M1)) }))
}

static CELU: OpDef = OpDef {
    name: "Celu",
    doc: "y = max(0, x) + min(0, alpha * (exp(x / alpha) - 1))",
    versions: &[12, 28],
    attrs: &[AttrDef::float("alpha", 1.0)],
    eval: eval!(celu),
    work: |call, outputs| Work::pointwise(call, outputs, FLOPS),
    ..UNARY
};

fn celu<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("exp")?;
    let (zero, alpha) = (S::from_int(0), call.float("alpha")?);
    unary_real(call, true, |x| maximum(zero, x).add(minimum(zero, alpha.mul(x.div(alpha).apply(&EXP_M1)))))
}

static THRESHOLDED_RELU: OpDef = OpDef {
    name: "ThresholdedRelu",
    doc: "y = x for x > alpha, 0 otherwise",
    versions: &[10, 22],
    attrs: &[AttrDef::float("alpha", 1.0)],
    eval: eval!(thresholded_relu),
    ..UNARY
};

fn thresholded_relu<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (zero, alpha) = (S::from_int(0), call.float("alpha")?);
    unary_real(call, true, |x| if below(alpha, x) { x } else { zero })
}

static HARD_SIGMOID: OpDef = OpDef {
    name: "HardSigmoid",
    doc: "y = max(0, min(1, alpha * x + beta))",
    versions: &[1, 6, 22],
    attrs: &[AttrDef::float("alpha", 0.2), AttrDef::float("beta", 0.5)],
    eval: eval!(hard_sigmoid),
    work: |call, outputs| Work::pointwise(call, outputs, 4),
    ..UNARY
};

fn hard_sigmoid<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (alpha, beta) = (call.float("alpha")?, call.float("beta")?);
    unary_real(call, true, |x| unit(alpha.mul(x).add(beta)))
}

/// `x` limited to the interval from 0 to 1.
fn unit<S: Scalar>(x: S) -> S {
    maximum(S::from_int(0), minimum(S::from_int(1), x))
}

static HARD_SWISH: OpDef = OpDef {
    name: "HardSwish",
    doc: "y = x * max(0, min(1, x / 6 + 1/2))",
    versions: &[14, 22],
    eval: eval!(hard_swish),
    work: |call, outputs| Work::pointwise(call, outputs, 5),
    ..UNARY
};

fn hard_swish<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (six, half) = (S::from_int(6), S::from_f64(0.5));
    unary_real(call, true, |x| x.mul(unit(x.div(six).add(half))))
}

static SWISH: OpDef = OpDef {
    name: "Swish",
    doc: "y = x * sigmoid(alpha * x)",
    versions: &[24],
    attrs: &[AttrDef::float("alpha", 1.0)],
    eval: eval!(swish),
    work: |call, outputs| Work::pointwise(call, outputs, FLOPS + 2),
    ..UNARY
};

fn swish<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("exp")?;
    let alpha = call.float("alpha")?;
    unary_real(call, false, |x| x.mul(alpha.mul(x).apply(&SIGMOID)))
}

static SWIGLU: OpDef = OpDef {
    name: "SwiGLU",
    doc: "y = a * sigmoid(alpha * a) * b, the shapes equal",
    versions: &[28],
    inputs: &[Param::required("A", "T"), Param::required("B", "T")],
    attrs: &[AttrDef::float("alpha", 1.0)],
    infer: infer_swiglu,
    eval: eval!(swiglu),
    work: |call, outputs| Work::pointwise(call, outputs, FLOPS + 3),
    ..UNARY
};

fn infer_swiglu(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let (a, b) = (call.ty(0)?, call.ty(1)?);
    let apart = |(a, b): (&Dim, &Dim)| a.as_known().zip(b.as_known()).is_some_and(|(a, b)| a != b);
    if a.rank() != b.rank() || a.shape.iter().zip(&b.shape).any(apart) {
        return Err(Reason(format!("the shapes of {a} and {b} differ, and do not broadcast")));
    }
    // Of two names for a size, a number says more than a symbol.
    let known = |(a, b): (&Dim, &Dim)| if b.as_known().is_some() { b.clone() } else { a.clone() };
    Ok(vec![Some(Fact::new(a.element, a.shape.iter().zip(&b.shape).map(known)))])
}

fn swiglu<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("exp")?;
    let (a, b, alpha) = (call.input(0)?, call.input(1)?, call.float("alpha")?);
    if a.shape != b.shape {
        return Err(Reason(format!("the shapes {:?} and {:?} differ", a.shape, b.shape)));
    }
    let gated = |(&a, &b): (&S, &S)| a.mul(alpha.mul(a).apply(&SIGMOID)).mul(b);
    let y = a.real()?.iter().zip(b.real()?).map(gated).collect();
    Ok(vec![Datum::of_real(a.element, &a.shape, y)])
}

static SOFTSIGN: OpDef = OpDef {
    name: "Softsign",
    doc: "y = x / (1 + |x|)",
    versions: &[1, 22],
    inputs: &[Param::required("input", "T")],
    outputs: &[Param::required("output", "T")],
    eval: eval!(softsign),
    work: |call, outputs| Work::pointwise(call, outputs, 3),
    ..UNARY
};

fn softsign<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let one = S::from_int(1);
    unary_real(call, true, |x| x.div(one.add(super::arithmetic::absolute(x))))
}

static GELU_OP: OpDef = OpDef {
    name: "Gelu",
    doc: "y = x/2 * (1 + erf(x / sqrt(2))), or its approximation by tanh",
    versions: &[20],
    attrs: &[AttrDef::string("approximate", "none")],
    infer: |call| approximation(call.attrs.string("approximate")).and_then(|_| same_as_first(call)),
    eval: eval!(gelu),
    work: |call, outputs| Work::pointwise(call, outputs, FLOPS + 4),
    ..UNARY
};

fn approximation(name: Option<&str>) -> Result<&'static crate::eval::Function, Reason> {
    match name {
        Some("none") => Ok(&GELU),
        Some("tanh") => Ok(&GELU_TANH),
        other => Err(Reason(format!("`approximate` is `none` or `tanh`, found `{}`", other.unwrap_or_default()))),
    }
}

fn gelu<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    unary_function(call, approximation(call.attrs.string("approximate"))?)
}

static MISH: OpDef = OpDef {
    name: "Mish",
    doc: "y = x * tanh(log(1 + exp(x)))",
    versions: &[18, 22],
    eval: eval!(mish),
    work: |call, outputs| Work::pointwise(call, outputs, 3 * FLOPS),
    ..UNARY
};

fn mish<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("exp")?;
    unary_real(call, false, |x| x.mul(x.apply(&SOFTPLUS).apply(&TANH)))
}

static CLIP: OpDef = OpDef {
    name: "Clip",
    doc: "y = min(max, max(min, x)); a bound left out does not bind",
    versions: &[1, 6, 11, 12, 13],
    inputs: &[Param::required("input", "T"), Param::optional("min", "T"), Param::optional("max", "T")],
    outputs: &[Param::required("output", "T")],
    types: &[("T", sets::NUMERIC)],
    eval: eval!(clip),
    ..UNARY
};

fn clip<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let bounds = [call.given(1), call.given(2)];
    if let Some(bound) = bounds.into_iter().flatten().find(|bound| bound.count() != 1) {
        return Err(Reason(format!("a bound is one number, found the shape {:?}", bound.shape)));
    }
    if let Contents::Int(elements) = &x.contents {
        let bound = |at: usize| bounds[at].map(|bound: &Datum<S>| bound.int().map(|bound| bound[0])).transpose();
        let (low, high) = (bound(0)?.unwrap_or(i128::MIN), bound(1)?.unwrap_or(i128::MAX));
        let clipped = elements.iter().map(|&x| x.max(low).min(high)).collect();
        return Ok(vec![Datum::of_int(x.element, &x.shape, clipped)]);
    }
    let bound = |at: usize| bounds[at].map(|bound: &Datum<S>| bound.real().map(|bound| bound[0])).transpose();
    match (bound(0)?, bound(1)?) {
        (None, None) => Ok(vec![x.clone()]),
        (Some(low), None) => unary_real(call, true, |x| maximum(low, x)),
        (None, Some(high)) => unary_real(call, true, |x| minimum(high, x)),
        (Some(low), Some(high)) => unary_real(call, true, |x| minimum(high, maximum(low, x))),
    }
}

static SHRINK: OpDef = OpDef {
    name: "Shrink",
    doc: "y = x + bias below -lambd, x - bias above lambd, 0 between",
    versions: &[9],
    inputs: &[Param::required("input", "T")],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::float("bias", 0.0), AttrDef::float("lambd", 0.5)],
    types: &[("T", &[Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, Float16, Float, Double])],
    eval: eval!(shrink),
    ..UNARY
};

fn shrink<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (zero, bias, lambd) = (S::from_int(0), call.float("bias")?, call.float("lambd")?);
    let real = |x: S| match (below(x, lambd.neg()), below(lambd, x)) {
        (true, _) => x.add(bias),
        (_, true) => x.sub(bias),
        _ => zero,
    };
    // Integers go through double precision and are rounded towards zero, as a cast does.
    let (bias, lambd) = (bias.to_f64(), lambd.to_f64());
    let int = |x: i128| match x as f64 {
        x if x < -lambd => (x + bias) as i128,
        x if x > lambd => (x - bias) as i128,
        _ => 0,
    };
    needs_order::<S>()?;
    unary_numeric(call, true, real, int)
}
