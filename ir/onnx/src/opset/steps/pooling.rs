//! Pooling.

use super::{Steps, cannot};
use crate::call::{Call, Facts};
use eutectic_ir::{Attr, TensorType};

/// Before version 2 the exponent of the norm was a float.
pub(crate) fn norm_to_2(mut call: Call, _: &dyn Facts) -> Steps {
    if let Some(&Attr::Float(p)) = call.attrs.get("p") {
        if p.fract() != 0.0 || !(1.0..1e6).contains(&p) {
            return cannot(&call, "has a norm that is no whole number (`p`)");
        }
        call.attrs.set("p", Attr::Int(p as i64));
    }
    Ok(vec![call])
}

pub(crate) fn norm_from_2(mut call: Call, _: &dyn Facts) -> Steps {
    if let Some(&Attr::Int(p)) = call.attrs.get("p") {
        call.attrs.set("p", Attr::Float(p as f32));
    }
    Ok(vec![call])
}

pub(crate) fn one_output(mut call: Call, _: &dyn Facts) -> Steps {
    call.trim_outputs();
    if call.outputs.len() > 1 { cannot(&call, "has a second output") } else { Ok(vec![call]) }
}

/// Since version 22 a window that would start in the padding behind the data is not there. Runtimes never had it, but the
/// shapes of earlier versions count it.
pub(crate) fn windows_within(call: Call, facts: &dyn Facts) -> Steps {
    let starts_behind =
        call.given(0).and_then(|operand| facts.ty(operand)).is_some_and(|ty| has_window_behind(&call, &ty));
    if starts_behind { cannot(&call, "would have a window behind its data") } else { Ok(vec![call]) }
}

fn has_window_behind(call: &Call, data: &TensorType) -> bool {
    let explicit = call.attrs.string("auto_pad").is_none_or(|mode| mode == "NOTSET");
    let (Some(kernel), true, true) = (call.attrs.ints("kernel_shape"), explicit, call.attrs.flag("ceil_mode")) else {
        return false;
    };
    let n_axes = kernel.len();
    let at = |name: &str, axis: usize, default: i64| {
        i128::from(call.attrs.ints(name).and_then(|values| values.get(axis)).copied().unwrap_or(default))
    };
    (0..n_axes).any(|axis| {
        let Some(size) = data.shape.get(axis + 2).and_then(|dim| dim.as_known()).map(i128::from) else { return false };
        let (before, after) = (at("pads", axis, 0), at("pads", axis + n_axes, 0));
        let stride = at("strides", axis, 1).max(1);
        let extent = (i128::from(kernel[axis]) - 1) * at("dilations", axis, 1) + 1;
        // The last of the windows, rounded up, starts here.
        let steps = (size + before + after - extent + stride - 1).div_euclid(stride);
        steps * stride >= size + before
    })
}
