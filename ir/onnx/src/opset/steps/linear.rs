//! Gemm.

use super::pointwise::subset;
use super::{Steps, cannot, same, squeeze};
use crate::call::{Call, Facts, Operand};
use eutectic_ir::Attr;

/// Before version 7 the bias broadcast only where `broadcast` said so; it had no size of 1 for any size.
pub(crate) fn gemm_to_7(mut call: Call, facts: &dyn Facts) -> Steps {
    call.attrs.remove("broadcast");
    same(call, facts)
}

pub(crate) fn gemm_from_7(mut call: Call, facts: &dyn Facts) -> Steps {
    let output = call.outputs.first().map(|name| Operand::Named(name.clone())).and_then(|operand| facts.ty(&operand));
    let types = output.zip(call.given(2).and_then(|operand| facts.ty(operand)));
    let Some((output, bias)) = types else { return cannot(&call, "has a bias of unknown shape") };
    if output.shape == bias.shape {
        return Ok(vec![call]);
    }
    match subset(&output, &bias) {
        Some(part) if part.is_suffix => {
            call.attrs.set("broadcast", Attr::Int(1));
            let mut calls = squeeze(&mut call, 2, &part.ones, facts);
            calls.push(call);
            Ok(calls)
        }
        _ => cannot(&call, "has a bias for each row"),
    }
}

pub(crate) fn gemm_with_bias(call: Call, _: &dyn Facts) -> Steps {
    if call.given(2).is_none() { cannot(&call, "has no bias") } else { Ok(vec![call]) }
}
