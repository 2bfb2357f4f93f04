//! The steps that are more than a new attribute. Each comes as a pair: up to the version in its name, down from it.

use crate::call::{Call, Facts, Operand};
use eutectic_ir::types::normalize_axis;
use eutectic_ir::{Attr, Attrs, Element, Name, Reason, Tensor};

type Steps = Result<Vec<Call>, Reason>;

fn cannot<T>(call: &Call, what: &str) -> Result<T, Reason> {
    Err(Reason(format!("{} {what}", call.op_type)))
}

/// The change does not concern what a call looks like.
pub(super) fn same(call: Call, _: &dyn Facts) -> Steps {
    Ok(vec![call])
}

/// Moves the list `attr` into input `slot`.
pub(super) fn ints_to_input(call: &mut Call, attr: &str, slot: usize) {
    if call.given(slot).is_some() {
        return;
    }
    if let Some(Attr::Ints(values)) = call.attrs.remove(attr) {
        call.set_input(slot, Operand::Weight(Tensor::vector::<i64>(&values)));
    }
}

/// Moves the list in input `slot` into `attr`, if its contents are known.
pub(super) fn input_to_ints(call: &mut Call, attr: &str, slot: usize, facts: &dyn Facts) -> Result<(), Reason> {
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
fn single(call: &Call, slot: usize, what: &str, facts: &dyn Facts) -> Result<Option<f32>, Reason> {
    let Some(operand) = call.given(slot) else { return Ok(None) };
    let value = facts.weight(operand).and_then(|weight| weight.as_single());
    match value {
        Some(value) if f64::from(value as f32) == value || value.is_nan() => Ok(Some(value as f32)),
        Some(_) => cannot(call, &format!("has a `{what}` that is no 32-bit float")),
        None => cannot(call, &format!("computes its `{what}`")),
    }
}

/// A scalar of the element type of the first input.
fn scalar_like_first(call: &Call, value: f32, facts: &dyn Facts) -> Result<Operand, Reason> {
    let element = call.inputs.first().and_then(|operand| facts.ty(operand)).map(|ty| ty.element);
    let Some(element) = element else { return cannot(call, "reads a value of unknown element type") };
    match Tensor::full(element, &[], f64::from(value)) {
        Ok(scalar) => Ok(Operand::Weight(scalar)),
        Err(_) => cannot(call, &format!("reads {element}")),
    }
}

fn rank_of(operand: Option<&Operand>, facts: &dyn Facts) -> Option<usize> {
    Some(facts.ty(operand?)?.rank())
}

/// Before version 11 most operators counted axes from the front only.
pub(super) fn count_axes_from_the_front(call: &mut Call, facts: &dyn Facts) {
    let Some(rank) = rank_of(call.inputs.first(), facts) else { return };
    // The axes of these are those of the output.
    let rank = match call.op_type.as_str() {
        "Unsqueeze" => rank + call.attrs.ints("axes").map_or(0, <[i64]>::len),
        "OneHot" => rank + 1,
        _ => rank,
    };
    let from_front = |axis: i64| normalize_axis(axis, rank).map_or(axis, |axis| axis as i64);
    if let Some(axis) = call.attrs.int("axis").filter(|axis| *axis < 0) {
        call.attrs.set("axis", Attr::Int(from_front(axis)));
    }
    if let Some(axes) = call.attrs.ints("axes").filter(|axes| axes.iter().any(|axis| *axis < 0)) {
        let axes: Vec<i64> = axes.iter().map(|axis| from_front(*axis)).collect();
        call.attrs.set("axes", Attr::Ints(axes.into()));
    }
}

pub(super) fn attention_without_lengths(mut call: Call, _: &dyn Facts) -> Steps {
    if call.given(6).is_some() {
        return cannot(&call, "reads the lengths of its keys");
    }
    call.inputs.truncate(6);
    call.trim_inputs();
    Ok(vec![call])
}

pub(super) fn batch_norm_spatial(mut call: Call, _: &dyn Facts) -> Steps {
    if call.attrs.remove("spatial").is_some_and(|spatial| spatial != Attr::Int(1)) {
        return cannot(&call, "normalizes each position by itself (`spatial` = 0)");
    }
    Ok(vec![call])
}

pub(super) fn batch_norm_to_14(mut call: Call, _: &dyn Facts) -> Steps {
    call.trim_outputs();
    if call.outputs.len() > 1 {
        return cannot(&call, "is in training mode");
    }
    Ok(vec![call])
}

pub(super) fn batch_norm_from_14(mut call: Call, _: &dyn Facts) -> Steps {
    call.trim_outputs();
    if call.attrs.flag("training_mode") || call.outputs.len() > 1 {
        return cannot(&call, "is in training mode");
    }
    call.attrs.remove("training_mode");
    Ok(vec![call])
}

pub(super) fn clip_to_11(mut call: Call, facts: &dyn Facts) -> Steps {
    for (slot, attr) in [(1, "min"), (2, "max")] {
        // The extremes of f32 are what an absent bound meant.
        if let Some(Attr::Float(bound)) = call.attrs.remove(attr)
            && bound.abs() < f32::MAX
        {
            let operand = scalar_like_first(&call, bound, facts)?;
            call.set_input(slot, operand);
        }
    }
    Ok(vec![call])
}

pub(super) fn clip_from_11(mut call: Call, facts: &dyn Facts) -> Steps {
    for (slot, attr) in [(1, "min"), (2, "max")] {
        if let Some(bound) = single(&call, slot, attr, facts)? {
            call.attrs.set(attr, Attr::Float(bound));
        }
    }
    call.inputs.truncate(1);
    Ok(vec![call])
}

pub(super) fn dft_to_20(mut call: Call, _: &dyn Facts) -> Steps {
    let axis = match call.attrs.remove("axis") {
        Some(Attr::Int(axis)) => axis,
        _ => 1,
    };
    call.set_input(2, Operand::Weight(Tensor::scalar(axis)));
    Ok(vec![call])
}

pub(super) fn dft_from_20(mut call: Call, facts: &dyn Facts) -> Steps {
    let axis = match call.given(2) {
        Some(operand) => facts.weight(operand).and_then(|weight| weight.to_i64s()),
        None => Some(vec![-2]),
    };
    let Some(&[axis]) = axis.as_deref() else { return cannot(&call, "computes its `axis`") };
    call.inputs.truncate(2);
    call.trim_inputs();
    call.attrs.set("axis", Attr::Int(axis));
    Ok(vec![call])
}

pub(super) fn one_scale(mut call: Call, facts: &dyn Facts) -> Steps {
    let n_scales = call.given(1).and_then(|operand| facts.ty(operand)?.count()?.as_known());
    if n_scales != Some(1) {
        return cannot(&call, "has a scale for each channel");
    }
    call.attrs.remove("axis");
    Ok(vec![call])
}

pub(super) fn dropout_to_12(mut call: Call, facts: &dyn Facts) -> Steps {
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

pub(super) fn dropout_from_12(mut call: Call, facts: &dyn Facts) -> Steps {
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

pub(super) fn gemm_with_bias(call: Call, _: &dyn Facts) -> Steps {
    if call.given(2).is_none() { cannot(&call, "has no bias") } else { Ok(vec![call]) }
}

const GRID_SAMPLE_MODES: [(&str, &str); 2] = [("bilinear", "linear"), ("bicubic", "cubic")];

pub(super) fn grid_sample_to_20(mut call: Call, _: &dyn Facts) -> Steps {
    let mode = call.attrs.string("mode").unwrap_or("bilinear");
    if let Some((_, new)) = GRID_SAMPLE_MODES.iter().find(|(old, _)| *old == mode) {
        call.attrs.set("mode", Attr::String((*new).into()));
    }
    Ok(vec![call])
}

pub(super) fn grid_sample_from_20(mut call: Call, facts: &dyn Facts) -> Steps {
    if rank_of(call.inputs.first(), facts) != Some(4) {
        return cannot(&call, "samples other than images");
    }
    let mode = call.attrs.string("mode").unwrap_or("linear");
    if let Some((old, _)) = GRID_SAMPLE_MODES.iter().find(|(_, new)| *new == mode) {
        call.attrs.set("mode", Attr::String((*old).into()));
    }
    Ok(vec![call])
}

pub(super) fn per_group(call: Call, _: &dyn Facts) -> Steps {
    cannot(&call, "scales each group before version 21 and each channel since")
}

pub(super) fn per_channel(call: Call, _: &dyn Facts) -> Steps {
    cannot(&call, "scales each channel since version 21 and each group before")
}

/// Before version 13 the operator flattened its input at `axis` and normalized the rows.
pub(super) fn softmax_to_13(mut call: Call, facts: &dyn Facts) -> Steps {
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

pub(super) fn softmax_from_13(mut call: Call, facts: &dyn Facts) -> Steps {
    let axis = call.attrs.int("axis").unwrap_or(-1);
    let rank = rank_of(call.inputs.first(), facts);
    let last = rank.and_then(|rank| Some(normalize_axis(axis, rank)? + 1 == rank));
    if last != Some(true) && axis != -1 {
        return cannot(&call, "normalizes an inner axis");
    }
    call.attrs.set("axis", Attr::Int(axis));
    Ok(vec![call])
}

/// Before version 28 integers had a logarithm: that of the same real numbers, truncated.
pub(super) fn logarithm_of_integers(mut call: Call, facts: &dyn Facts) -> Steps {
    let Some(element) = call.inputs.first().and_then(|operand| facts.ty(operand)).map(|ty| ty.element) else {
        return Ok(vec![call]);
    };
    if !element.is_integer() {
        return Ok(vec![call]);
    }
    let (Some(output), Some(input)) = (call.outputs.first().cloned(), call.inputs.first().cloned()) else {
        return cannot(&call, "lacks an input or an output");
    };
    let (before, after) = (Name::from(format!("{output}/real")), Name::from(format!("{output}/logarithm")));
    let to = |element: Element| -> Attrs { [("to", Attr::Int(element.code().into()))].into_iter().collect() };
    let widen = call.helper("Cast", vec![input], before.clone(), to(Element::Double));
    let narrow = call.helper("Cast", vec![Operand::Named(after.clone())], output, to(element));
    call.inputs[0] = Operand::Named(before);
    call.outputs = vec![after];
    Ok(vec![widen, call, narrow])
}

pub(super) fn mod_from_28(call: Call, facts: &dyn Facts) -> Steps {
    let reals = call.inputs.first().and_then(|operand| facts.ty(operand)).is_none_or(|ty| ty.element.is_real());
    if reals && !call.attrs.flag("fmod") {
        return cannot(&call, "may divide real numbers with the sign of the divisor");
    }
    Ok(vec![call])
}

pub(super) fn one_output(mut call: Call, _: &dyn Facts) -> Steps {
    call.trim_outputs();
    if call.outputs.len() > 1 { cannot(&call, "has a second output") } else { Ok(vec![call]) }
}

pub(super) fn pad_to_11(mut call: Call, facts: &dyn Facts) -> Steps {
    ints_to_input(&mut call, "pads", 1);
    if let Some(Attr::Float(value)) = call.attrs.remove("value")
        && value.to_bits() != 0
    {
        let operand = scalar_like_first(&call, value, facts)?;
        call.set_input(2, operand);
    }
    Ok(vec![call])
}

pub(super) fn pad_from_11(mut call: Call, facts: &dyn Facts) -> Steps {
    let value = single(&call, 2, "constant_value", facts)?;
    call.inputs.truncate(2);
    input_to_ints(&mut call, "pads", 1, facts)?;
    if let Some(value) = value {
        call.attrs.set("value", Attr::Float(value));
    }
    Ok(vec![call])
}

pub(super) fn pad_every_axis(mut call: Call, facts: &dyn Facts) -> Steps {
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

pub(super) fn pad_without_wrap(call: Call, _: &dyn Facts) -> Steps {
    if call.attrs.string("mode") == Some("wrap") { cannot(&call, "wraps around") } else { Ok(vec![call]) }
}

pub(super) fn reshape_from_14(mut call: Call, facts: &dyn Facts) -> Steps {
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

pub(super) fn upsample_to_9(mut call: Call, _: &dyn Facts) -> Steps {
    match call.attrs.remove("scales") {
        Some(Attr::Floats(scales)) => call.set_input(1, Operand::Weight(Tensor::vector::<f32>(&scales))),
        _ => return cannot(&call, "has no scales"),
    }
    Ok(vec![call])
}

pub(super) fn upsample_from_9(mut call: Call, facts: &dyn Facts) -> Steps {
    let scales = call.given(1).and_then(|operand| Some(facts.weight(operand)?.view::<f32>()?.into_owned()));
    let Some(scales) = scales else { return cannot(&call, "computes its scales") };
    call.inputs.truncate(1);
    call.attrs.set("scales", Attr::Floats(scales.into()));
    Ok(vec![call])
}

pub(super) fn upsample_to_resize(mut call: Call, _: &dyn Facts) -> Steps {
    call.op_type = "Resize".into();
    Ok(vec![call])
}

pub(super) fn resize_to_upsample(mut call: Call, _: &dyn Facts) -> Steps {
    call.op_type = "Upsample".into();
    Ok(vec![call])
}

/// Version 10 had no choice of coordinates: an output element lies at its index over the scale.
pub(super) fn resize_to_11(mut call: Call, _: &dyn Facts) -> Steps {
    let Some(scales) = call.given(1).cloned() else { return cannot(&call, "has no scales") };
    call.inputs[1] = Operand::Weight(no_numbers());
    call.set_input(2, scales);
    call.attrs.set("coordinate_transformation_mode", Attr::String("asymmetric".into()));
    call.attrs.set("nearest_mode", Attr::String("floor".into()));
    Ok(vec![call])
}

pub(super) fn resize_from_11(mut call: Call, _: &dyn Facts) -> Steps {
    let text = |name: &str| call.attrs.string(name);
    let mode = text("mode").unwrap_or("nearest");
    let plain = text("coordinate_transformation_mode") == Some("asymmetric")
        && (mode == "linear" || mode == "nearest" && text("nearest_mode") == Some("floor"))
        && !call.attrs.flag("exclude_outside");
    let Some(scales) = call.given(2).cloned().filter(|_| plain && call.given(3).is_none()) else {
        return cannot(&call, "has sizes, or coordinates other than asymmetric");
    };
    let names =
        ["coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside", "extrapolation_value"];
    names.iter().for_each(|name| drop(call.attrs.remove(name)));
    call.inputs.truncate(1);
    call.set_input(1, scales);
    Ok(vec![call])
}

/// Empty tensors stood for inputs that are left out.
pub(super) fn resize_to_13(mut call: Call, facts: &dyn Facts) -> Steps {
    for slot in [1, 2] {
        let empty = call.given(slot).and_then(|operand| facts.weight(operand)).is_some_and(|w| w.count() == 0);
        if empty {
            call.inputs[slot] = Operand::Absent;
        }
    }
    call.trim_inputs();
    Ok(vec![call])
}

pub(super) fn resize_from_13(mut call: Call, _: &dyn Facts) -> Steps {
    for slot in [1, 2] {
        if call.given(slot).is_none() {
            call.set_input(slot, Operand::Weight(no_numbers()));
        }
    }
    Ok(vec![call])
}

pub(super) fn resize_from_19(call: Call, _: &dyn Facts) -> Steps {
    let new = call.attrs.string("coordinate_transformation_mode") == Some("half_pixel_symmetric");
    if new { cannot(&call, "has symmetric coordinates") } else { Ok(vec![call]) }
}

fn no_numbers() -> Tensor {
    Tensor::vector::<f32>(&[])
}

pub(super) fn roi_align_to_16(mut call: Call, _: &dyn Facts) -> Steps {
    call.attrs.set("coordinate_transformation_mode", Attr::String("output_half_pixel".into()));
    Ok(vec![call])
}

pub(super) fn roi_align_from_16(mut call: Call, _: &dyn Facts) -> Steps {
    let mode = call.attrs.remove("coordinate_transformation_mode");
    if mode != Some(Attr::String("output_half_pixel".into())) {
        return cannot(&call, "has half-pixel coordinates");
    }
    Ok(vec![call])
}

pub(super) fn scan_to_9(call: Call, _: &dyn Facts) -> Steps {
    cannot(&call, "of version 8 scans over batches")
}

pub(super) fn scan_from_9(call: Call, _: &dyn Facts) -> Steps {
    cannot(&call, "of version 9 does not scan over batches")
}

pub(super) fn scatter_to_11(mut call: Call, _: &dyn Facts) -> Steps {
    call.op_type = "ScatterElements".into();
    Ok(vec![call])
}

pub(super) fn scatter_from_11(mut call: Call, _: &dyn Facts) -> Steps {
    call.op_type = "Scatter".into();
    Ok(vec![call])
}

pub(super) fn scatter_from_18(call: Call, _: &dyn Facts) -> Steps {
    let new = matches!(call.attrs.string("reduction"), Some("max" | "min"));
    if new { cannot(&call, "reduces to an extreme") } else { Ok(vec![call]) }
}

pub(super) fn slice_to_10(mut call: Call, _: &dyn Facts) -> Steps {
    for (slot, attr) in [(1, "starts"), (2, "ends"), (3, "axes")] {
        ints_to_input(&mut call, attr, slot);
    }
    Ok(vec![call])
}

pub(super) fn slice_from_10(mut call: Call, facts: &dyn Facts) -> Steps {
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

pub(super) fn split_to_18(mut call: Call, _: &dyn Facts) -> Steps {
    if call.given(1).is_none() {
        call.attrs.set("num_outputs", Attr::Int(call.outputs.len() as i64));
    }
    Ok(vec![call])
}

pub(super) fn split_from_18(mut call: Call, facts: &dyn Facts) -> Steps {
    if call.attrs.remove("num_outputs").is_some() {
        let axis = call.attrs.int("axis").unwrap_or(0);
        let dim = call.inputs.first().and_then(|operand| facts.ty(operand)).and_then(|ty| {
            let axis = ty.axis(axis)?;
            ty.shape[axis].as_known()
        });
        if dim.is_none_or(|dim| dim % call.outputs.len().max(1) as i64 != 0) {
            return cannot(&call, "may have parts of unequal size");
        }
    }
    Ok(vec![call])
}

pub(super) fn top_k_to_10(mut call: Call, _: &dyn Facts) -> Steps {
    match call.attrs.remove("k") {
        Some(Attr::Int(k)) => call.set_input(1, Operand::Weight(Tensor::vector::<i64>(&[k]))),
        _ => return cannot(&call, "has no `k`"),
    }
    Ok(vec![call])
}

pub(super) fn top_k_from_10(mut call: Call, facts: &dyn Facts) -> Steps {
    let k = call.given(1).and_then(|operand| facts.weight(operand)?.to_i64s());
    let Some(&[k]) = k.as_deref() else { return cannot(&call, "computes its `k`") };
    call.inputs.truncate(1);
    call.attrs.set("k", Attr::Int(k));
    Ok(vec![call])
}
