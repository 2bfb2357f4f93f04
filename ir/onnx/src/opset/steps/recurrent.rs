//! GRU, LSTM and RNN.

use super::{Steps, cannot};
use crate::call::{Call, Facts};
use eutectic_ir::Attr;

/// Version 1 spelled its default direction with a typing error.
pub(crate) fn gru_to_3(mut call: Call, _: &dyn Facts) -> Steps {
    if call.attrs.string("direction") == Some("foward") {
        call.attrs.remove("direction");
    }
    Ok(vec![call])
}

pub(crate) fn gru_from_3(mut call: Call, _: &dyn Facts) -> Steps {
    if call.attrs.int("linear_before_reset").is_some_and(|flag| flag != 0) {
        return cannot(&call, "has the attribute `linear_before_reset`");
    }
    if call.outputs.get(1).is_none_or(|name| name.is_empty()) {
        return cannot(&call, "leaves out its last state");
    }
    call.attrs.remove("linear_before_reset");
    Ok(vec![call])
}

/// Before version 7 an attribute said whether the first output was there.
pub(crate) fn sequence_to_7(mut call: Call, _: &dyn Facts) -> Steps {
    call.attrs.remove("output_sequence");
    Ok(vec![call])
}

pub(crate) fn sequence_from_7(mut call: Call, _: &dyn Facts) -> Steps {
    let there = call.outputs.first().is_some_and(|name| !name.is_empty());
    call.attrs.set("output_sequence", Attr::Int(there.into()));
    Ok(vec![call])
}
