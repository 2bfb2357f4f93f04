//! Runs a call on the reference interpreter: for operators without a fast kernel, and calls that a kernel declines.

use crate::plan::FlatCall;
use eutectic_ir::eval::{Datum, Scalar, run_call};
use eutectic_ir::op::Reason;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::Element;

/// Runs `call`. Errors: what the interpreter reports.
pub(crate) fn run(call: &FlatCall, inputs: &[Option<Tensor>], captures: &[Tensor]) -> Result<Vec<Tensor>, Reason> {
    let is_double = |tensor: &Tensor| tensor.element() == Element::Double;
    let double =
        inputs.iter().flatten().chain(captures).any(is_double) || call.elements.contains(&Some(Element::Double));
    if double { run_in::<f64>(call, inputs, captures) } else { run_in::<f32>(call, inputs, captures) }
}

fn run_in<S: Scalar>(call: &FlatCall, inputs: &[Option<Tensor>], captures: &[Tensor]) -> Result<Vec<Tensor>, Reason> {
    let inputs = inputs
        .iter()
        .map(|tensor| tensor.as_ref().map(Datum::<S>::of_tensor).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let captures = captures.iter().map(Datum::<S>::of_tensor).collect::<Result<Vec<_>, _>>()?;
    let results = run_call(&call.op, &call.attrs, &inputs, &captures, call.elements.len(), true)
        .map_err(|error| if error.call.is_empty() { error.reason } else { Reason::new(error.to_string()) })?;
    results.iter().map(Datum::to_tensor).collect()
}
