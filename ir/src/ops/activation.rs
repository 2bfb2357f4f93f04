//! Activations: pointwise functions that networks put after linear maps.

use super::pointwise::{same_as_first, unary_real};
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Law, OpDef, Param, Reason, Work, sets};
use std::cmp::Ordering;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&RELU, &LEAKY_RELU];

static RELU: OpDef = OpDef {
    name: "Relu",
    doc: "y = max(x, 0)",
    versions: &[1, 6, 13, 14],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    types: &[("T", sets::NUMERIC)],
    infer: same_as_first,
    eval: eval!(relu),
    work: |call, outputs| Work::pointwise(call, outputs, 1),
    laws: &[Law::Pointwise],
    ..OpDef::BASE
};

fn relu<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let zero = S::from_int(0);
    // NaN passes through, as in NumPy's maximum.
    unary_real(call, true, |x| if x.compare(zero) == Some(Ordering::Less) { zero } else { x })
}

static LEAKY_RELU: OpDef = OpDef {
    name: "LeakyRelu",
    doc: "y = x for x >= 0, alpha * x below",
    versions: &[1, 6, 16],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    attrs: &[AttrDef::float("alpha", 0.01)],
    types: &[("T", sets::FLOAT)],
    infer: same_as_first,
    eval: eval!(leaky_relu),
    work: |call, outputs| Work::pointwise(call, outputs, 2),
    laws: &[Law::Pointwise],
    ..OpDef::BASE
};

fn leaky_relu<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (zero, alpha) = (S::from_int(0), call.float("alpha")?);
    unary_real(call, true, |x| if x.compare(zero) == Some(Ordering::Less) { alpha.mul(x) } else { x })
}
