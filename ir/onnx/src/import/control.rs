//! What ONNX demands of the bodies of `If`, `Loop` and `Scan`: numbers of inputs and outputs, and the same element types
//! from both branches.

use eutectic_ir::op::Reason;
use eutectic_ir::{Attr, Attrs, Graph};

/// Why the bodies of the call do not fit it. `n_inputs` and `n_outputs` are those of the node.
pub(super) fn check(op_type: &str, attrs: &Attrs, n_inputs: usize, n_outputs: usize) -> Result<(), Reason> {
    let body = |name: &str| match attrs.get(name) {
        Some(Attr::Graph(graph)) => Some(&**graph),
        _ => None,
    };
    match op_type {
        "If" => match (body("then_branch"), body("else_branch")) {
            (Some(one), Some(other)) => check_if(one, other, n_outputs),
            _ => Ok(()),
        },
        "Loop" => body("body").map_or(Ok(()), |body| check_loop(body, n_inputs, n_outputs)),
        "Scan" => body("body").map_or(Ok(()), |body| check_scan(body, attrs, n_inputs, n_outputs)),
        _ => Ok(()),
    }
}

fn check_if(one: &Graph, other: &Graph, n_outputs: usize) -> Result<(), Reason> {
    let (n_one, n_other) = (one.outputs().len(), other.outputs().len());
    if n_one != n_other || n_one < n_outputs {
        let message = format!("the branches have {n_one} and {n_other} outputs, the node has {n_outputs}");
        return Err(Reason(message));
    }
    for (slot, (a, b)) in one.outputs().iter().zip(other.outputs()).enumerate() {
        if let (Some(a), Some(b)) = (one.ty(a.value), other.ty(b.value))
            && a.element != b.element
        {
            return Err(Reason(format!("output {slot} is {} in one branch and {} in the other", a.element, b.element)));
        }
    }
    Ok(())
}

/// A body takes the number of the iteration, the condition and what is carried, and gives the condition, what is
/// carried and what is gathered.
fn check_loop(body: &Graph, n_inputs: usize, n_outputs: usize) -> Result<(), Reason> {
    let n_carried = n_inputs.saturating_sub(2);
    let (takes, gives) = (body.inputs().len(), body.outputs().len());
    if takes != 2 + n_carried {
        return Err(Reason(format!("the body takes {takes} inputs, {n_carried} are carried and 2 are given")));
    }
    if gives < 1 + n_carried || gives - 1 < n_outputs {
        return Err(Reason(format!(
            "the body gives {gives} outputs, {n_carried} are carried and {n_outputs} are wanted"
        )));
    }
    Ok(())
}

fn check_scan(body: &Graph, attrs: &Attrs, n_inputs: usize, n_outputs: usize) -> Result<(), Reason> {
    let n_scanned = attrs.int("num_scan_inputs").unwrap_or(0);
    if n_scanned < 1 || n_scanned > n_inputs as i64 {
        return Err(Reason(format!("`num_scan_inputs` is {n_scanned}, the node has {n_inputs} inputs")));
    }
    let n_carried = n_inputs - n_scanned as usize;
    let (takes, gives) = (body.inputs().len(), body.outputs().len());
    if takes != n_inputs || gives < n_carried || gives < n_outputs {
        return Err(Reason(format!(
            "the body has {takes} inputs and {gives} outputs, the node {n_inputs} and {n_outputs}, {n_carried} are carried"
        )));
    }
    Ok(())
}
