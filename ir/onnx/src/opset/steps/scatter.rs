//! Scattering.

use super::{Steps, cannot};
use crate::call::{Call, Facts};

pub(crate) fn scatter_to_11(mut call: Call, _: &dyn Facts) -> Steps {
    call.op_type = "ScatterElements".into();
    Ok(vec![call])
}

pub(crate) fn scatter_from_11(mut call: Call, _: &dyn Facts) -> Steps {
    call.op_type = "Scatter".into();
    Ok(vec![call])
}

pub(crate) fn scatter_from_18(call: Call, _: &dyn Facts) -> Steps {
    let new = matches!(call.attrs.string("reduction"), Some("max" | "min"));
    if new { cannot(&call, "reduces to an extreme") } else { Ok(vec![call]) }
}
