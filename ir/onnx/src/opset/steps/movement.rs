//! What moves elements without computing: reshaping, slicing, splitting, padding, repeating, joining.

use super::{Steps, cannot, input_to_ints, ints_to_input, part, rank_of, scalar_like_first, single, without};
use crate::call::{Call, Facts, Operand};
use eutectic_ir::types::normalize_axis;
use eutectic_ir::{Attr, Attrs, Element, Tensor};

/// Before version 4 the channels were joined unless `axis` said otherwise.
pub(crate) fn concat_to_4(mut call: Call, _: &dyn Facts) -> Steps {
    if call.attrs.int("axis").is_none() {
        call.attrs.set("axis", Attr::Int(1));
    }
    Ok(vec![call])
}

/// Before version 2 the pads had another name.
pub(crate) fn pad_to_2(mut call: Call, _: &dyn Facts) -> Steps {
    if let Some(pads) = call.attrs.remove("paddings") {
        call.attrs.set("pads", pads);
    }
    Ok(vec![call])
}

pub(crate) fn pad_from_2(mut call: Call, _: &dyn Facts) -> Steps {
    if let Some(pads) = call.attrs.remove("pads") {
        call.attrs.set("paddings", pads);
    }
    Ok(vec![call])
}

pub(crate) fn pad_to_11(mut call: Call, facts: &dyn Facts) -> Steps {
    ints_to_input(&mut call, "pads", 1);
    if let Some(Attr::Float(value)) = call.attrs.remove("value")
        && value.to_bits() != 0
    {
        let operand = scalar_like_first(&call, value, facts)?;
        call.set_input(2, operand);
    }
    Ok(vec![call])
}

pub(crate) fn pad_from_11(mut call: Call, facts: &dyn Facts) -> Steps {
    let value = single(&call, 2, "constant_value", facts)?;
    call.inputs.truncate(2);
    input_to_ints(&mut call, "pads", 1, facts)?;
    if let Some(value) = value {
        call.attrs.set("value", Attr::Float(value));
    }
    Ok(vec![call])
}

pub(crate) fn pad_every_axis(mut call: Call, facts: &dyn Facts) -> Steps {
    let Some(operand) = call.given(3).cloned() else {
        call.trim_inputs();
        return Ok(vec![call]);
    };
    let ints = |operand: &Operand| facts.weight(operand)?.to_i64s();
    let known = call.given(1).and_then(ints).zip(ints(&operand)).zip(rank_of(call.inputs.first(), facts));
    let Some(((pads, axes), rank)) = known else { return cannot(&call, "pads some axes only") };
    if pads.len() != 2 * axes.len() {
        return cannot(&call, "has as many pads as do not fit its axes");
    }
    let mut all = vec![0; 2 * rank];
    for (at, axis) in axes.iter().enumerate() {
        let Some(axis) = normalize_axis(*axis, rank) else { return cannot(&call, "pads an axis that is not there") };
        all[axis] = pads[at];
        all[rank + axis] = pads[axes.len() + at];
    }
    call.inputs[1] = Operand::Weight(Tensor::vector::<i64>(&all));
    call.inputs.truncate(3);
    call.trim_inputs();
    Ok(vec![call])
}

pub(crate) fn pad_without_wrap(call: Call, _: &dyn Facts) -> Steps {
    if call.attrs.string("mode") == Some("wrap") { cannot(&call, "wraps around") } else { Ok(vec![call]) }
}

pub(crate) fn reshape_to_5(mut call: Call, _: &dyn Facts) -> Steps {
    call.attrs.remove("consumed_inputs");
    match call.attrs.remove("shape") {
        // An attribute that is an empty list is the shape of a scalar; the file may leave it out.
        Some(Attr::Ints(shape)) => call.set_input(1, Operand::Weight(Tensor::vector::<i64>(&shape))),
        _ => return cannot(&call, "has no `shape`"),
    }
    Ok(vec![call])
}

pub(crate) fn reshape_from_5(mut call: Call, facts: &dyn Facts) -> Steps {
    let shape = call.given(1).and_then(|operand| facts.weight(operand)?.to_i64s());
    match shape {
        Some(shape) if !shape.is_empty() => call.attrs.set("shape", Attr::Ints(shape.into())),
        Some(_) => return cannot(&call, "makes a scalar"),
        None => return cannot(&call, "computes its shape"),
    }
    call.inputs.truncate(1);
    Ok(vec![call])
}

pub(crate) fn reshape_from_14(mut call: Call, facts: &dyn Facts) -> Steps {
    let has_zero = || {
        let shape = call.given(1).and_then(|operand| facts.weight(operand)?.to_i64s());
        shape.is_none_or(|shape| shape.contains(&0))
    };
    if call.attrs.flag("allowzero") && has_zero() {
        return cannot(&call, "takes a zero literally");
    }
    call.attrs.remove("allowzero");
    Ok(vec![call])
}

pub(crate) fn slice_to_10(mut call: Call, _: &dyn Facts) -> Steps {
    for (slot, attr) in [(1, "starts"), (2, "ends"), (3, "axes")] {
        ints_to_input(&mut call, attr, slot);
    }
    Ok(vec![call])
}

pub(crate) fn slice_from_10(mut call: Call, facts: &dyn Facts) -> Steps {
    if let Some(operand) = call.given(4) {
        let steps = facts.weight(operand).and_then(|weight| weight.to_i64s());
        if steps.is_none_or(|steps| steps.iter().any(|&step| step != 1)) {
            return cannot(&call, "has steps");
        }
        call.inputs[4] = Operand::Absent;
    }
    for (slot, attr) in [(3, "axes"), (2, "ends"), (1, "starts")] {
        input_to_ints(&mut call, attr, slot, facts)?;
    }
    Ok(vec![call])
}

/// Before version 11 the axes counted from the front only.
pub(crate) fn slice_from_11(mut call: Call, facts: &dyn Facts) -> Steps {
    let Some(operand) = call.given(3).cloned() else { return Ok(vec![call]) };
    let Some(axes) = facts.weight(&operand).and_then(|weight| weight.to_i64s()) else {
        return cannot(&call, "computes its `axes`");
    };
    if axes.iter().any(|&axis| axis < 0) {
        let rank = rank_of(call.given(0), facts);
        let axes: Option<Vec<i64>> = axes.iter().map(|&axis| Some(normalize_axis(axis, rank?)? as i64)).collect();
        let Some(axes) = axes else { return cannot(&call, "counts its axes from the end of a value of unknown rank") };
        call.inputs[3] = Operand::Weight(Tensor::vector::<i64>(&axes));
    }
    Ok(vec![call])
}

/// Before version 2 the sizes of the parts could be an input, of the type of the data.
pub(crate) fn split_to_2(mut call: Call, facts: &dyn Facts) -> Steps {
    if call.attrs.int("axis").is_none() {
        return cannot(&call, "has no `axis`");
    }
    if let Some(operand) = call.given(1).cloned() {
        let Some(sizes) = facts.weight(&operand).and_then(|weight| whole_numbers(&weight)) else {
            return cannot(&call, "computes its `split`");
        };
        call.inputs.truncate(1);
        call.attrs.set("split", Attr::Ints(sizes.into()));
    }
    Ok(vec![call])
}

/// The elements of `tensor`, which may be real, as integers.
fn whole_numbers(tensor: &Tensor) -> Option<Vec<i64>> {
    if let Some(values) = tensor.to_i64s() {
        return Some(values);
    }
    let whole = |value: f64| (value.fract() == 0.0 && value.abs() < 2f64.powi(53)).then_some(value as i64);
    tensor.to_f64s()?.into_iter().map(whole).collect()
}

pub(crate) fn split_to_18(mut call: Call, _: &dyn Facts) -> Steps {
    if call.given(1).is_none() {
        call.attrs.set("num_outputs", Attr::Int(call.outputs.len() as i64));
    }
    Ok(vec![call])
}

/// Before version 18 the parts were equal, or had sizes.
pub(crate) fn split_from_18(mut call: Call, facts: &dyn Facts) -> Steps {
    if call.attrs.remove("num_outputs").is_none() {
        return Ok(vec![call]);
    }
    let axis = call.attrs.int("axis").unwrap_or(0);
    let dim = call.given(0).and_then(|operand| facts.ty(operand)).and_then(|ty| ty.shape[ty.axis(axis)?].as_known());
    let n_parts = call.outputs.len().max(1) as i64;
    match dim {
        Some(dim) if dim % n_parts == 0 => {}
        Some(dim) => {
            let size = dim / n_parts + 1;
            let sizes: Vec<i64> = (0..n_parts).map(|at| size.min(dim - at * size)).collect();
            if sizes.iter().any(|&size| size < 0) {
                return cannot(&call, "has more parts than its axis fills");
            }
            call.set_input(1, Operand::Weight(Tensor::vector::<i64>(&sizes)));
        }
        None => return cannot(&call, "may have parts of unequal size"),
    }
    Ok(vec![call])
}

/// Before version 6 one axis was repeated; its index and the number of copies had the type of the data.
pub(crate) fn tile_to_6(mut call: Call, facts: &dyn Facts) -> Steps {
    let number =
        |slot: usize| match call.given(slot).and_then(|operand| whole_numbers(&facts.weight(operand)?)).as_deref() {
            Some(&[number]) => Some(number),
            _ => None,
        };
    let Some((tiles, axis)) = number(1).zip(number(2)) else {
        return cannot(&call, "computes its `tiles` or its `axis`");
    };
    let Some(rank) = rank_of(call.inputs.first(), facts) else {
        return cannot(&call, "repeats a value of unknown rank");
    };
    let Some(axis) = normalize_axis(axis, rank) else { return cannot(&call, "repeats an axis that is not there") };
    let mut repeats = vec![1; rank];
    repeats[axis] = tiles;
    call.inputs.truncate(1);
    call.set_input(1, Operand::Weight(Tensor::vector::<i64>(&repeats)));
    Ok(vec![call])
}

pub(crate) fn tile_from_6(mut call: Call, facts: &dyn Facts) -> Steps {
    let repeats = call.given(1).and_then(|operand| facts.weight(operand)?.to_i64s());
    let Some(repeats) = repeats else { return cannot(&call, "computes its `repeats`") };
    let element = call.given(0).and_then(|operand| facts.ty(operand)).map(|ty| ty.element);
    let (Some(output), false) = (call.outputs.first().cloned(), repeats.is_empty()) else {
        return cannot(&call, "repeats no axis");
    };
    if !element.is_some_and(Element::is_real) {
        return cannot(&call, "repeats other than real numbers");
    }
    let repeated = |axis: &usize| repeats[*axis] != 1;
    let mut axes: Vec<usize> = (0..repeats.len()).filter(repeated).collect();
    if axes.is_empty() {
        axes.push(0);
    }
    // One call repeats one axis.
    let mut calls = Vec::with_capacity(axes.len());
    let mut data = call.inputs[0].clone();
    let last = axes.len() - 1;
    for (at, &axis) in axes.iter().enumerate() {
        let numbers = [repeats[axis] as f32, axis as f32];
        let [tiles, axis] = numbers.map(|number| scalar_like_first(&call, number, facts));
        let name = if at == last { output.clone() } else { part(&call, &format!("axis_{at}")) };
        let inputs = vec![data, tiles?, axis?];
        data = Operand::Named(name.clone());
        if at == last {
            call.inputs = inputs;
            break;
        }
        calls.push(call.helper("Tile", inputs, name, Attrs::new()));
    }
    calls.push(call);
    Ok(calls)
}

/// Before version 15 the whole shape was given.
pub(crate) fn shape_from_15(mut call: Call, _: &dyn Facts) -> Steps {
    let start = call.attrs.int("start").unwrap_or(0);
    let end = call.attrs.int("end");
    call.attrs.remove("start");
    call.attrs.remove("end");
    let Some(output) = call.outputs.first().cloned().filter(|_| start != 0 || end.is_some()) else {
        return Ok(vec![call]);
    };
    let whole = part(&call, "whole");
    let number = |value: i64| Operand::Weight(Tensor::vector::<i64>(&[value]));
    let inputs = vec![Operand::Named(whole.clone()), number(start), number(end.unwrap_or(i64::MAX)), number(0)];
    let slice = call.helper("Slice", inputs, output, Attrs::new());
    call.outputs = vec![whole];
    Ok(vec![call, slice])
}

/// Before version 11 the elements were real numbers.
pub(crate) fn top_k_from_11(call: Call, facts: &dyn Facts) -> Steps {
    without(call, 0, Element::Int64, facts)
}

pub(crate) fn top_k_to_10(mut call: Call, _: &dyn Facts) -> Steps {
    match call.attrs.remove("k") {
        Some(Attr::Int(k)) => call.set_input(1, Operand::Weight(Tensor::vector::<i64>(&[k]))),
        _ => return cannot(&call, "has no `k`"),
    }
    Ok(vec![call])
}

pub(crate) fn top_k_from_10(mut call: Call, facts: &dyn Facts) -> Steps {
    let k = call.given(1).and_then(|operand| facts.weight(operand)?.to_i64s());
    let Some(&[k]) = k.as_deref() else { return cannot(&call, "computes its `k`") };
    call.inputs.truncate(1);
    call.attrs.set("k", Attr::Int(k));
    Ok(vec![call])
}
