//! Attention, the discrete Fourier transform, scans and optional values.

use super::{Steps, cannot};
use crate::call::{Call, Facts, Operand};
use eutectic_ir::{Attr, Tensor};

pub(crate) fn attention_without_lengths(mut call: Call, _: &dyn Facts) -> Steps {
    if call.given(6).is_some() {
        return cannot(&call, "reads the lengths of its keys");
    }
    call.inputs.truncate(6);
    call.trim_inputs();
    Ok(vec![call])
}

pub(crate) fn dft_to_20(mut call: Call, _: &dyn Facts) -> Steps {
    let axis = match call.attrs.remove("axis") {
        Some(Attr::Int(axis)) => axis,
        _ => 1,
    };
    call.set_input(2, Operand::Weight(Tensor::scalar(axis)));
    Ok(vec![call])
}

pub(crate) fn dft_from_20(mut call: Call, facts: &dyn Facts) -> Steps {
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

/// Before version 18 the input was an optional value, never a tensor.
pub(crate) fn no_tensor(call: Call, facts: &dyn Facts) -> Steps {
    if call.given(0).is_some_and(|operand| facts.ty(operand).is_some()) {
        return cannot(&call, "reads a tensor");
    }
    Ok(vec![call])
}

/// Before version 18 the value in question was not left out.
pub(crate) fn has_input(call: Call, _: &dyn Facts) -> Steps {
    if call.given(0).is_none() { cannot(&call, "has no input") } else { Ok(vec![call]) }
}

pub(crate) fn scan_to_9(call: Call, _: &dyn Facts) -> Steps {
    cannot(&call, "of version 8 scans over batches")
}

/// Before version 11 the axes counted from the front only.
pub(crate) fn scan_from_11(call: Call, _: &dyn Facts) -> Steps {
    let from_end = |name: &str| call.attrs.ints(name).is_some_and(|axes| axes.iter().any(|&axis| axis < 0));
    if from_end("scan_input_axes") || from_end("scan_output_axes") {
        return cannot(&call, "counts its axes from the end");
    }
    Ok(vec![call])
}

pub(crate) fn scan_from_9(call: Call, _: &dyn Facts) -> Steps {
    cannot(&call, "of version 9 does not scan over batches")
}
