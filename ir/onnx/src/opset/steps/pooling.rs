//! Pooling.

use super::{Steps, cannot};
use crate::call::{Call, Facts};
use eutectic_ir::Attr;

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
