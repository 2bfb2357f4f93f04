//! Attention, the discrete Fourier transform, scans and optional values.

use super::{Steps, cannot};
use crate::call::{Call, Facts, Operand};
use eutectic_ir::{Attr, Attrs, Graph, Tensor, ValueId, ops};

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

/// Before version 9 states and scan inputs had a batch axis in front, and every item of the batch had a scan of its own. That
/// is a scan over the batch, without states, of a scan over the sequence.
pub(crate) fn scan_to_9(mut call: Call, _: &dyn Facts) -> Steps {
    if call.given(0).is_some() {
        return cannot(&call, "reads the lengths of its sequences");
    }
    let Some(Attr::Graph(body)) = call.attrs.remove("body") else { return cannot(&call, "has no body") };
    let scanned = call.attrs.int("num_scan_inputs").unwrap_or(0);
    let n_inputs = call.inputs.len().saturating_sub(1);
    if scanned < 1 || scanned > n_inputs as i64 {
        return cannot(&call, "scans another number of inputs than it has");
    }
    let mut inner = Attrs::new();
    inner.set("body", Attr::Graph(body.clone()));
    inner.set("num_scan_inputs", Attr::Int(scanned));
    if let Some(directions) = call.attrs.remove("directions") {
        inner.set("scan_input_directions", directions);
    }
    let scan = ops::builtin("Scan");
    let complete = scan.builtin().map(|def| def.complete(inner));
    let Some(Ok(inner)) = complete else { return cannot(&call, "has `directions` that are no list of integers") };
    let mut item = Graph::new(format!("{}_of_item", body.name));
    let inputs: Vec<ValueId> = (0..n_inputs).map(|_| item.add_input("", None, None)).collect();
    let id = item.add_node(scan, inner, inputs.into_iter().map(Some), body.outputs().iter().map(|_| ""));
    for (at, name) in (0..).zip(&call.captures) {
        let captured = item.add_capture(name.clone(), None, at);
        item.capture(id, captured);
    }
    let outputs = item.node(id).outputs().to_vec();
    for (output, value) in body.outputs().iter().zip(outputs) {
        // The names inside of a graph differ from those around it.
        item.add_output(format!("{}_of_item", output.name), value);
    }
    call.inputs.remove(0);
    call.attrs.set("body", Attr::Graph(item.into()));
    call.attrs.set("num_scan_inputs", Attr::Int(n_inputs as i64));
    Ok(vec![call])
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
