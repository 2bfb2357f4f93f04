//! The steps that are more than a new attribute, one file a family. Each comes as a pair: up to the version in its name,
//! down from it.

pub(super) mod attention;
pub(super) mod linear;
pub(super) mod movement;
pub(super) mod normalization;
pub(super) mod pointwise;
pub(super) mod pooling;
pub(super) mod quantization;
pub(super) mod recurrent;
pub(super) mod reduction;
pub(super) mod resize;
pub(super) mod scatter;

use crate::call::{Call, Facts, Operand};
use eutectic_ir::types::normalize_axis;
use eutectic_ir::{Attr, Attrs, Element, Name, Reason, Tensor, TensorType};

pub(super) type Steps = Result<Vec<Call>, Reason>;

pub(super) fn cannot<T>(call: &Call, what: &str) -> Result<T, Reason> {
    Err(Reason(format!("{} {what}", call.op_type)))
}

/// The change does not concern what a call looks like.
pub(crate) fn same(call: Call, _: &dyn Facts) -> Steps {
    Ok(vec![call])
}

/// Moves the list `attr` into input `slot`.
pub(crate) fn ints_to_input(call: &mut Call, attr: &str, slot: usize) {
    if call.given(slot).is_some() {
        return;
    }
    if let Some(Attr::Ints(values)) = call.attrs.remove(attr) {
        call.set_input(slot, Operand::Weight(Tensor::vector::<i64>(&values)));
    }
}

/// Moves the list in input `slot` into `attr`, if its contents are known.
pub(crate) fn input_to_ints(call: &mut Call, attr: &str, slot: usize, facts: &dyn Facts) -> Result<(), Reason> {
    let Some(operand) = call.given(slot).cloned() else { return Ok(()) };
    let Some(values) = facts.weight(&operand).and_then(|weight| weight.to_i64s()) else {
        return cannot(call, &format!("computes its `{attr}`"));
    };
    call.inputs[slot] = Operand::Absent;
    call.trim_inputs();
    // An empty list of axes and no list mean the same; an attribute that is an empty list does not survive the file.
    if !values.is_empty() {
        call.attrs.set(attr, Attr::Ints(values.into()));
    }
    Ok(())
}

/// The only element of input `slot` as an attribute can hold it; `None` when the input is left out.
pub(super) fn single(call: &Call, slot: usize, what: &str, facts: &dyn Facts) -> Result<Option<f32>, Reason> {
    let Some(operand) = call.given(slot) else { return Ok(None) };
    let value = facts.weight(operand).and_then(|weight| weight.as_single());
    match value {
        Some(value) if f64::from(value as f32) == value || value.is_nan() => Ok(Some(value as f32)),
        Some(_) => cannot(call, &format!("has a `{what}` that is no 32-bit float")),
        None => cannot(call, &format!("computes its `{what}`")),
    }
}

/// A scalar of the element type of the first input.
pub(super) fn scalar_like_first(call: &Call, value: f32, facts: &dyn Facts) -> Result<Operand, Reason> {
    let element = call.inputs.first().and_then(|operand| facts.ty(operand)).map(|ty| ty.element);
    let Some(element) = element else { return cannot(call, "reads a value of unknown element type") };
    match Tensor::full(element, &[], f64::from(value)) {
        Ok(scalar) => Ok(Operand::Weight(scalar)),
        Err(_) => cannot(call, &format!("reads {element}")),
    }
}

pub(super) fn rank_of(operand: Option<&Operand>, facts: &dyn Facts) -> Option<usize> {
    Some(facts.ty(operand?)?.rank())
}

/// Before version 11 most operators counted axes from the front only. Errors: an axis from the end of a value of unknown
/// rank.
pub(super) fn count_axes_from_the_front(call: &mut Call, facts: &dyn Facts) -> Result<(), Reason> {
    // These always counted from the end as well.
    const EITHER_WAY: [&str; 3] = ["Gather", "OneHot", "Scatter"];
    let axis = call.attrs.int("axis").filter(|axis| *axis < 0);
    let axes = call.attrs.ints("axes").filter(|axes| axes.iter().any(|axis| *axis < 0)).map(<[i64]>::to_vec);
    if axis.is_none() && axes.is_none() {
        return Ok(());
    }
    // The axes of these are those of the output.
    let more = match call.op_type.as_str() {
        "Unsqueeze" => axes.as_ref().map_or(0, Vec::len),
        "OneHot" => 1,
        _ => 0,
    };
    let Some(rank) = rank_of(call.inputs.first(), facts).map(|rank| rank + more) else {
        let either = EITHER_WAY.contains(&call.op_type.as_str());
        return if either { Ok(()) } else { cannot(call, "counts an axis from the end of a value of unknown rank") };
    };
    let from_front = |axis: i64| normalize_axis(axis, rank).map_or(axis, |axis| axis as i64);
    if let Some(axis) = axis {
        call.attrs.set("axis", Attr::Int(from_front(axis)));
    }
    if let Some(axes) = axes {
        let axes: Vec<i64> = axes.into_iter().map(from_front).collect();
        call.attrs.set("axes", Attr::Ints(axes.into()));
    }
    Ok(())
}

/// `call` in a version that did not admit `element` for input `slot`.
fn without(call: Call, slot: usize, element: Element, facts: &dyn Facts) -> Steps {
    match call.given(slot).map(|operand| facts.ty(operand)) {
        Some(ty) if ty.as_ref().is_none_or(|ty| ty.element == element) => cannot(&call, &format!("may read {element}")),
        _ => Ok(vec![call]),
    }
}

/// The types of the first two inputs, when both are known.
fn two_types(call: &Call, facts: &dyn Facts) -> Option<(TensorType, TensorType)> {
    Some((facts.ty(call.given(0)?)?, facts.ty(call.given(1)?)?))
}

/// A name for what a step computes on the way to the first output of `call`.
fn part(call: &Call, suffix: &str) -> Name {
    Name::from(format!("{}/{suffix}", call.outputs.first().map_or("", Name::as_str)))
}

/// Gives input `slot`, `n` axes of size 1 from axis `at` on. What does it, before version 13.
fn unsqueeze(call: &mut Call, slot: usize, at: usize, n: usize, facts: &dyn Facts) -> Vec<Call> {
    let Some(operand) = call.given(slot).cloned().filter(|_| n > 0) else { return Vec::new() };
    let reshaped = facts.weight(&operand).and_then(|weight| {
        let mut shape = weight.shape().to_vec();
        shape.splice(at.min(shape.len())..at.min(shape.len()), std::iter::repeat_n(1, n));
        weight.reshape(&shape).ok()
    });
    let axes: Vec<i64> = (at..at + n).map(|axis| axis as i64).collect();
    viewed(call, slot, operand, reshaped, "Unsqueeze", &axes)
}

/// Takes the axes `axes`, all of size 1, from input `slot`. What does it, before version 13.
fn squeeze(call: &mut Call, slot: usize, axes: &[usize], facts: &dyn Facts) -> Vec<Call> {
    let Some(operand) = call.given(slot).cloned().filter(|_| !axes.is_empty()) else { return Vec::new() };
    let reshaped = facts.weight(&operand).and_then(|weight| {
        let kept = weight.shape().iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
        weight.reshape(&kept.map(|(_, &size)| size).collect::<Vec<_>>()).ok()
    });
    let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
    viewed(call, slot, operand, reshaped, "Squeeze", &axes)
}

fn viewed(
    call: &mut Call,
    slot: usize,
    operand: Operand,
    reshaped: Option<Tensor>,
    op_type: &str,
    axes: &[i64],
) -> Vec<Call> {
    if let Some(weight) = reshaped {
        call.inputs[slot] = Operand::Weight(weight);
        return Vec::new();
    }
    let view = part(call, &format!("input_{slot}"));
    let attrs: Attrs = [("axes", Attr::Ints(axes.into()))].into_iter().collect();
    let helper = call.helper(op_type, vec![operand], view.clone(), attrs);
    call.inputs[slot] = Operand::Named(view);
    vec![helper]
}
