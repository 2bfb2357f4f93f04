//! Gemm.

use super::pointwise::subset;
use super::{Steps, cannot, same, squeeze};
use crate::call::{Call, Facts, Operand};
use eutectic_ir::{Attr, Tensor};

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

/// Before version 11 there had to be a bias.
pub(crate) fn gemm_with_bias(mut call: Call, facts: &dyn Facts) -> Steps {
    if call.given(2).is_none() {
        let element = call.given(0).and_then(|operand| facts.ty(operand)).map(|ty| ty.element);
        let zero = element.and_then(|element| Tensor::full(element, &[1], 0.0).ok());
        let Some(zero) = zero else { return cannot(&call, "has no bias, and elements of an unknown type") };
        call.set_input(2, Operand::Weight(zero));
    }
    Ok(vec![call])
}
