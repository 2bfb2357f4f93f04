//! Normalization, dropout and softmax.

use super::{Steps, cannot, part, rank_of, same, single, without};
use crate::call::{Call, Facts, Operand};
use eutectic_ir::types::normalize_axis;
use eutectic_ir::{Attr, Attrs, Element, Name, Tensor};

/// Before version 7 the operator trained unless `is_test` said otherwise.
pub(crate) fn inference_to_7(mut call: Call, facts: &dyn Facts) -> Steps {
    match call.attrs.remove("is_test") {
        Some(Attr::Int(test)) if test != 0 => same(call, facts),
        _ => cannot(&call, "is in training mode (`is_test` = 0)"),
    }
}

pub(crate) fn inference_from_7(mut call: Call, facts: &dyn Facts) -> Steps {
    call.attrs.set("is_test", Attr::Int(1));
    same(call, facts)
}

pub(crate) fn batch_norm_to_6(mut call: Call, facts: &dyn Facts) -> Steps {
    call.attrs.remove("consumed_inputs");
    same(call, facts)
}

/// Before version 6 the attribute that named the inputs to overwrite was required: the running statistics.
pub(crate) fn batch_norm_from_6(mut call: Call, facts: &dyn Facts) -> Steps {
    call.attrs.set("consumed_inputs", Attr::Ints([0, 0, 0, 1, 1].into()));
    same(call, facts)
}

/// Before version 9 each position could be normalized by itself, as a channel of its own.
pub(crate) fn batch_norm_to_9(mut call: Call, facts: &dyn Facts) -> Steps {
    if call.attrs.remove("spatial").is_none_or(|spatial| spatial == Attr::Int(1)) {
        return Ok(vec![call]);
    }
    call.trim_outputs();
    if call.outputs.len() > 1 {
        return cannot(&call, "trains statistics of each position (`spatial` = 0)");
    }
    let (Some(output), Some(input)) = (call.outputs.first().cloned(), call.inputs.first().cloned()) else {
        return cannot(&call, "lacks an input or an output");
    };
    let (flat, rows, shape) = (part(&call, "flat"), part(&call, "rows"), part(&call, "shape"));
    let mut calls = vec![call.helper("Flatten", vec![input.clone()], flat.clone(), axis(1))];
    let whole = Operand::Weight(Tensor::vector::<i64>(&[-1]));
    for slot in 1..call.inputs.len() {
        let operand = call.inputs[slot].clone();
        let line = facts.weight(&operand).and_then(|weight| weight.reshape(&[weight.count()]).ok());
        call.inputs[slot] = match line {
            Some(weight) => Operand::Weight(weight),
            None => {
                let line = part(&call, &format!("input_{slot}"));
                calls.push(call.helper("Reshape", vec![operand, whole.clone()], line.clone(), Attrs::new()));
                Operand::Named(line)
            }
        };
    }
    calls.push(call.helper("Shape", vec![input], shape.clone(), Attrs::new()));
    let inputs = vec![Operand::Named(rows.clone()), Operand::Named(shape)];
    let restore = call.helper("Reshape", inputs, output, Attrs::new());
    call.inputs[0] = Operand::Named(flat);
    call.outputs = vec![rows];
    calls.extend([call, restore]);
    Ok(calls)
}

fn axis(axis: i64) -> Attrs {
    [("axis", Attr::Int(axis))].into_iter().collect()
}

/// Before version 15 scale and bias had the type of the data.
pub(crate) fn batch_norm_from_15(call: Call, facts: &dyn Facts) -> Steps {
    one_type_with_data(call, &[1, 2], facts)
}

fn one_type_with_data(call: Call, slots: &[usize], facts: &dyn Facts) -> Steps {
    let element = |slot: usize| call.given(slot).and_then(|operand| facts.ty(operand)).map(|ty| ty.element);
    let data = element(0);
    if data.is_none() || slots.iter().any(|&slot| element(slot) != data) {
        return cannot(&call, "may have parameters of another element type");
    }
    Ok(vec![call])
}

pub(crate) fn batch_norm_to_14(mut call: Call, _: &dyn Facts) -> Steps {
    call.trim_outputs();
    if call.outputs.len() > 1 {
        return cannot(&call, "is in training mode");
    }
    Ok(vec![call])
}

pub(crate) fn batch_norm_from_14(mut call: Call, facts: &dyn Facts) -> Steps {
    call.trim_outputs();
    if call.attrs.flag("training_mode") || call.outputs.len() > 1 {
        return cannot(&call, "is in training mode");
    }
    call.attrs.remove("training_mode");
    one_type_with_data(call, &[3, 4], facts)
}

pub(crate) fn dropout_to_12(mut call: Call, facts: &dyn Facts) -> Steps {
    call.trim_outputs();
    // Before version 10 the mask had the type of the data.
    let mask = call.outputs.get(1).and_then(|name| facts.ty(&Operand::Named(name.clone())));
    if mask.is_some_and(|ty| ty.element != Element::Bool) {
        return cannot(&call, "has a mask of numbers");
    }
    if let Some(Attr::Float(ratio)) = call.attrs.remove("ratio") {
        call.set_input(1, Operand::Weight(Tensor::scalar(ratio)));
    }
    Ok(vec![call])
}

pub(crate) fn dropout_from_12(mut call: Call, facts: &dyn Facts) -> Steps {
    if let Some(operand) = call.given(2)
        && facts.weight(operand).and_then(|weight| weight.as_single()) != Some(0.0)
    {
        return cannot(&call, "may be in training mode");
    }
    call.trim_outputs();
    if call.outputs.len() > 1 {
        return cannot(&call, "has a mask, which was undefined in inference");
    }
    if let Some(ratio) = single(&call, 1, "ratio", facts)? {
        call.attrs.set("ratio", Attr::Float(ratio));
    }
    call.attrs.remove("seed");
    call.inputs.truncate(1);
    Ok(vec![call])
}

/// Before version 22 the ratio was not bfloat16.
pub(crate) fn dropout_from_22(call: Call, facts: &dyn Facts) -> Steps {
    without(call, 1, Element::Bfloat16, facts)
}

/// Before version 21 scale and bias had one element for each group; since then for each channel.
pub(crate) fn per_group(mut call: Call, facts: &dyn Facts) -> Steps {
    let groups = call.attrs.int("num_groups").filter(|&groups| groups > 0);
    let channels = call.given(0).and_then(|operand| facts.ty(operand)?.shape.get(1)?.as_known());
    let Some((groups, channels)) = groups.zip(channels) else {
        return cannot(&call, "has an unknown number of channels");
    };
    if channels % groups != 0 {
        return cannot(&call, "has channels that do not fill its groups");
    }
    let mut calls = Vec::new();
    for slot in [1, 2] {
        let Some(operand) = call.given(slot).cloned() else { continue };
        let vector = |values: &[i64]| Operand::Weight(Tensor::vector::<i64>(values));
        let [column, wide, line] =
            ["column", "wide", "line"].map(|suffix| part(&call, &format!("input_{slot}_{suffix}")));
        let reshape = |call: &Call, from: Operand, shape: &[i64], to: &Name| {
            call.helper("Reshape", vec![from, vector(shape)], to.clone(), Attrs::new())
        };
        calls.push(reshape(&call, operand, &[groups, 1], &column));
        let repeat = vec![Operand::Named(column), vector(&[groups, channels / groups])];
        calls.push(call.helper("Expand", repeat, wide.clone(), Attrs::new()));
        calls.push(reshape(&call, Operand::Named(wide), &[channels], &line));
        call.inputs[slot] = Operand::Named(line);
    }
    calls.push(call);
    Ok(calls)
}

pub(crate) fn per_channel(mut call: Call, facts: &dyn Facts) -> Steps {
    let groups =
        call.attrs.int("num_groups").and_then(|groups| usize::try_from(groups).ok()).filter(|&groups| groups > 0);
    let Some(groups) = groups else { return cannot(&call, "has no groups") };
    if call.attrs.remove("stash_type").is_some_and(|stash| stash != Attr::Int(1)) {
        return cannot(&call, "has the attribute `stash_type`");
    }
    for slot in [1, 2] {
        let of_groups = call.given(slot).and_then(|operand| first_of_groups(&facts.weight(operand)?, groups));
        let Some(of_groups) = of_groups else { return cannot(&call, "scales each channel by itself") };
        call.inputs[slot] = Operand::Weight(of_groups);
    }
    Ok(vec![call])
}

/// The elements of a vector of `groups` runs of equal elements, one of each run; `None` when they are not equal.
fn first_of_groups(weight: &Tensor, groups: usize) -> Option<Tensor> {
    let (bytes, width) = (weight.bytes(), weight.element().bits() / 8);
    if width == 0 || weight.count() % groups != 0 {
        return None;
    }
    let mut firsts = Vec::with_capacity(groups * width);
    for run in bytes.chunks((weight.count() / groups).max(1) * width) {
        let first = run.get(..width)?;
        if run.chunks(width).any(|element| element != first) {
            return None;
        }
        firsts.extend_from_slice(first);
    }
    Tensor::new(weight.element(), &[groups], firsts.into()).ok()
}

/// Before version 13 the operator flattened its input at `axis` and normalized the rows.
pub(crate) fn softmax_to_13(mut call: Call, facts: &dyn Facts) -> Steps {
    let axis = call.attrs.int("axis").unwrap_or(1);
    let rank = rank_of(call.inputs.first(), facts);
    let last = rank.and_then(|rank| Some(normalize_axis(axis, rank)? + 1 == rank));
    if last == Some(true) || axis == -1 {
        call.attrs.set("axis", Attr::Int(axis));
        return Ok(vec![call]);
    }
    let (Some(output), Some(input)) = (call.outputs.first().cloned(), call.inputs.first().cloned()) else {
        return cannot(&call, "lacks an input or an output");
    };
    let part = |suffix: &str| Name::from(format!("{output}/{suffix}"));
    let (flat, rows, shape) = (part("flat"), part("rows"), part("shape"));
    let flatten_attrs: Attrs = [("axis", Attr::Int(axis))].into_iter().collect();
    let flatten = call.helper("Flatten", vec![input.clone()], flat.clone(), flatten_attrs);
    let measure = call.helper("Shape", vec![input], shape.clone(), Attrs::new());
    let inputs = vec![Operand::Named(rows.clone()), Operand::Named(shape)];
    let restore = call.helper("Reshape", inputs, output.clone(), Attrs::new());
    call.inputs = vec![Operand::Named(flat)];
    call.outputs = vec![rows];
    call.attrs.set("axis", Attr::Int(-1));
    Ok(vec![flatten, call, measure, restore])
}

/// Before version 13 the last axis alone could be normalized; another one takes its place and goes back.
pub(crate) fn softmax_from_13(mut call: Call, facts: &dyn Facts) -> Steps {
    let axis = call.attrs.int("axis").unwrap_or(-1);
    let rank = rank_of(call.inputs.first(), facts);
    let place = rank.and_then(|rank| Some((normalize_axis(axis, rank)?, rank)));
    if axis == -1 || place.is_some_and(|(axis, rank)| axis + 1 == rank) {
        call.attrs.set("axis", Attr::Int(axis));
        return Ok(vec![call]);
    }
    let Some((axis, rank)) = place else { return cannot(&call, "normalizes an inner axis of a value of unknown rank") };
    let (Some(output), Some(input)) = (call.outputs.first().cloned(), call.inputs.first().cloned()) else {
        return cannot(&call, "lacks an input or an output");
    };
    let mut perm: Vec<i64> = (0..rank as i64).collect();
    perm.swap(axis, rank - 1);
    let swap: Attrs = [("perm", Attr::Ints(perm.into()))].into_iter().collect();
    let (turned, rows) = (part(&call, "turned"), part(&call, "rows"));
    let before = call.helper("Transpose", vec![input], turned.clone(), swap.clone());
    let after = call.helper("Transpose", vec![Operand::Named(rows.clone())], output, swap);
    call.inputs[0] = Operand::Named(turned);
    call.outputs = vec![rows];
    call.attrs.set("axis", Attr::Int(rank as i64 - 1));
    Ok(vec![before, call, after])
}
