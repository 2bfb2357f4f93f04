//! Resizing and sampling of images.

use super::{Steps, cannot, rank_of};
use crate::call::{Call, Facts, Operand};
use eutectic_ir::{Attr, Tensor};

const GRID_SAMPLE_MODES: [(&str, &str); 2] = [("bilinear", "linear"), ("bicubic", "cubic")];

pub(crate) fn grid_sample_to_20(mut call: Call, _: &dyn Facts) -> Steps {
    let mode = call.attrs.string("mode").unwrap_or("bilinear");
    if let Some((_, new)) = GRID_SAMPLE_MODES.iter().find(|(old, _)| *old == mode) {
        call.attrs.set("mode", Attr::String((*new).into()));
    }
    Ok(vec![call])
}

pub(crate) fn grid_sample_from_20(mut call: Call, facts: &dyn Facts) -> Steps {
    if rank_of(call.inputs.first(), facts) != Some(4) {
        return cannot(&call, "samples other than images");
    }
    let mode = call.attrs.string("mode").unwrap_or("linear");
    if let Some((old, _)) = GRID_SAMPLE_MODES.iter().find(|(_, new)| *new == mode) {
        call.attrs.set("mode", Attr::String((*old).into()));
    }
    Ok(vec![call])
}

/// Before version 7 two numbers scaled the height and the width of images.
pub(crate) fn upsample_to_7(mut call: Call, _: &dyn Facts) -> Steps {
    let [height, width] = ["height_scale", "width_scale"].map(|name| call.attrs.remove(name));
    let (Some(Attr::Float(height)), Some(Attr::Float(width))) = (height, width) else {
        return cannot(&call, "has no scales");
    };
    call.attrs.set("scales", Attr::Floats([1.0, 1.0, height, width].into()));
    if call.attrs.string("mode") == Some("bilinear") {
        call.attrs.set("mode", Attr::String("linear".into()));
    }
    Ok(vec![call])
}

pub(crate) fn upsample_from_7(mut call: Call, _: &dyn Facts) -> Steps {
    let scales = match call.attrs.remove("scales") {
        Some(Attr::Floats(scales)) => scales,
        _ => return cannot(&call, "has no scales"),
    };
    let &[1.0, 1.0, height, width] = &scales[..] else { return cannot(&call, "scales other than images") };
    call.attrs.set("height_scale", Attr::Float(height));
    call.attrs.set("width_scale", Attr::Float(width));
    if call.attrs.string("mode") == Some("linear") {
        call.attrs.set("mode", Attr::String("bilinear".into()));
    }
    Ok(vec![call])
}

pub(crate) fn upsample_to_9(mut call: Call, _: &dyn Facts) -> Steps {
    match call.attrs.remove("scales") {
        Some(Attr::Floats(scales)) => call.set_input(1, Operand::Weight(Tensor::vector::<f32>(&scales))),
        _ => return cannot(&call, "has no scales"),
    }
    Ok(vec![call])
}

pub(crate) fn upsample_from_9(mut call: Call, facts: &dyn Facts) -> Steps {
    let scales = call.given(1).and_then(|operand| Some(facts.weight(operand)?.view::<f32>()?.into_owned()));
    let Some(scales) = scales else { return cannot(&call, "computes its scales") };
    call.inputs.truncate(1);
    call.attrs.set("scales", Attr::Floats(scales.into()));
    Ok(vec![call])
}

pub(crate) fn upsample_to_resize(mut call: Call, _: &dyn Facts) -> Steps {
    call.op_type = "Resize".into();
    Ok(vec![call])
}

pub(crate) fn resize_to_upsample(mut call: Call, _: &dyn Facts) -> Steps {
    call.op_type = "Upsample".into();
    Ok(vec![call])
}

/// Version 10 had no choice of coordinates: an output element lies at its index over the scale.
pub(crate) fn resize_to_11(mut call: Call, _: &dyn Facts) -> Steps {
    let Some(scales) = call.given(1).cloned() else { return cannot(&call, "has no scales") };
    call.inputs[1] = Operand::Weight(no_numbers());
    call.set_input(2, scales);
    call.attrs.set("coordinate_transformation_mode", Attr::String("asymmetric".into()));
    call.attrs.set("nearest_mode", Attr::String("floor".into()));
    Ok(vec![call])
}

pub(crate) fn resize_from_11(mut call: Call, _: &dyn Facts) -> Steps {
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
pub(crate) fn resize_to_13(mut call: Call, facts: &dyn Facts) -> Steps {
    for slot in [1, 2] {
        let empty = call.given(slot).and_then(|operand| facts.weight(operand)).is_some_and(|w| w.count() == 0);
        if empty {
            call.inputs[slot] = Operand::Absent;
        }
    }
    call.trim_inputs();
    Ok(vec![call])
}

pub(crate) fn resize_from_13(mut call: Call, _: &dyn Facts) -> Steps {
    for slot in [1, 2] {
        if call.given(slot).is_none() {
            call.set_input(slot, Operand::Weight(no_numbers()));
        }
    }
    Ok(vec![call])
}

pub(crate) fn resize_from_19(call: Call, _: &dyn Facts) -> Steps {
    let new = call.attrs.string("coordinate_transformation_mode") == Some("half_pixel_symmetric");
    if new { cannot(&call, "has symmetric coordinates") } else { Ok(vec![call]) }
}

fn no_numbers() -> Tensor {
    Tensor::vector::<f32>(&[])
}

pub(crate) fn roi_align_to_16(mut call: Call, _: &dyn Facts) -> Steps {
    call.attrs.set("coordinate_transformation_mode", Attr::String("output_half_pixel".into()));
    Ok(vec![call])
}

pub(crate) fn roi_align_from_16(mut call: Call, _: &dyn Facts) -> Steps {
    let mode = call.attrs.remove("coordinate_transformation_mode");
    if mode != Some(Attr::String("output_half_pixel".into())) {
        return cannot(&call, "has half-pixel coordinates");
    }
    Ok(vec![call])
}
