//! Quantization.

use super::{Steps, cannot, two_types};
use crate::call::{Call, Facts};
use eutectic_ir::Element;

pub(crate) fn one_scale(mut call: Call, facts: &dyn Facts) -> Steps {
    let n_scales = call.given(1).and_then(|operand| facts.ty(operand)?.count()?.as_known());
    if n_scales != Some(1) {
        return cannot(&call, "has a scale for each channel");
    }
    call.attrs.remove("axis");
    Ok(vec![call])
}

/// Before version 19 the scale was float.
pub(crate) fn float_scale(call: Call, facts: &dyn Facts) -> Steps {
    match two_types(&call, facts) {
        Some((_, scale)) if scale.element == Element::Float => Ok(vec![call]),
        _ => cannot(&call, "may have a scale that is not float"),
    }
}

/// Between versions 19 and 23 the scale had the type of the data.
pub(crate) fn scale_of_data(call: Call, facts: &dyn Facts) -> Steps {
    match two_types(&call, facts) {
        Some((data, scale)) if data.element == scale.element => Ok(vec![call]),
        _ => cannot(&call, "may have a scale of another element type"),
    }
}
