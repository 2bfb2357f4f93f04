//! Softmax and its like: one axis normalised against itself.

use super::functions::{EXP, FLOPS, LOG};
use super::lanes::Lanes;
use super::pointwise::{maximum, needs_functions, needs_order, same_as_first};
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use std::cmp::Ordering;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&SOFTMAX, &LOG_SOFTMAX, &HARDMAX];

const ALONG_AXIS: OpDef = OpDef {
    inputs: &[Param::required("input", "T")],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::int("axis", -1)],
    types: &[("T", sets::FLOAT)],
    infer: infer_along_axis,
    work: |call, outputs| Work::pointwise(call, outputs, FLOPS + 4),
    ..OpDef::BASE
};

fn infer_along_axis(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    call.axis("axis", call.ty(0)?.rank())?;
    same_as_first(call)
}

static SOFTMAX: OpDef = OpDef {
    name: "Softmax",
    doc: "y = exp(x) / sum of exp(x) along the axis",
    versions: &[1, 11, 13],
    eval: eval!(softmax),
    ..ALONG_AXIS
};

fn softmax<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("exp")?;
    along_axis(call, |lane| {
        let largest = largest(lane)?;
        lane.iter_mut().for_each(|x| *x = x.sub(largest).apply(&EXP));
        let total = S::sum(lane.iter().copied());
        lane.iter_mut().for_each(|x| *x = x.div(total));
        Ok(())
    })
}

static LOG_SOFTMAX: OpDef = OpDef {
    name: "LogSoftmax",
    doc: "y = x - log(sum of exp(x) along the axis)",
    versions: &[1, 11, 13],
    eval: eval!(log_softmax),
    ..ALONG_AXIS
};

fn log_softmax<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("exp")?;
    along_axis(call, |lane| {
        let largest = largest(lane)?;
        let total = S::sum(lane.iter().map(|x| x.sub(largest).apply(&EXP))).apply(&LOG);
        lane.iter_mut().for_each(|x| *x = x.sub(largest).sub(total));
        Ok(())
    })
}

static HARDMAX: OpDef = OpDef {
    name: "Hardmax",
    doc: "y = 1 for the first largest element along the axis, 0 for the others",
    versions: &[1, 11, 13],
    eval: eval!(hardmax),
    work: |call, outputs| Work::pointwise(call, outputs, 1),
    ..ALONG_AXIS
};

fn hardmax<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    along_axis(call, |lane| {
        let largest = largest(lane)?;
        let is_largest = |x: &S| x.compare(largest).is_none_or(|order| order == Ordering::Equal);
        let at = lane.iter().position(is_largest);
        lane.iter_mut().enumerate().for_each(|(index, x)| *x = S::from_int(i128::from(Some(index) == at)));
        Ok(())
    })
}

/// Works on each lane along attribute `axis`; a lane has at least one element.
fn along_axis<S: Scalar>(
    call: &EvalCall<S>,
    work: impl Fn(&mut [S]) -> Result<(), Reason>,
) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    let x = call.input(0)?;
    let axis = call.axis("axis", x.rank())?;
    let mut elements = x.real()?.to_vec();
    let lanes = Lanes::new(&x.shape, axis..axis + 1);
    let mut lane = Vec::with_capacity(lanes.len);
    for start in lanes.starts() {
        lane.clear();
        lane.extend(lanes.lane(start).map(|at| elements[at]));
        work(&mut lane)?;
        lanes.lane(start).zip(&lane).for_each(|(at, &y)| elements[at] = y);
    }
    Ok(vec![Datum::of_real(x.element, &x.shape, elements)])
}

// Only keeps the exponentials from overflowing: the result does not depend on it.
fn largest<S: Scalar>(lane: &[S]) -> Result<S, Reason> {
    if S::EXACT {
        return Ok(S::from_int(0));
    }
    lane.iter().copied().reduce(maximum).ok_or_else(|| Reason::new("the axis is empty"))
}
