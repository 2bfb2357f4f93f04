//! Runs a call on the reference interpreter: for operators without a fast kernel, and calls that a kernel declines.

use crate::plan::FlatCall;
use eutectic_ir::eval::{Datum, Scalar, run_call};
use eutectic_ir::op::Reason;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::Element;
use eutectic_ir::value::Value;

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
        .map(|tensor| tensor.as_ref().map(|tensor| Datum::<S>::of_tensor(tensor).map(Value::Tensor)).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let captures = captures.iter().map(|tensor| Datum::<S>::of_tensor(tensor).map(Value::Tensor));
    let captures = captures.collect::<Result<Vec<_>, _>>()?;
    let results = run_call(&call.op, &call.attrs, &inputs, &captures, call.elements.len(), true)
        .map_err(|error| if error.call.is_empty() { error.reason } else { Reason::new(error.to_string()) })?;
    let tensor = |result: &Value<Datum<S>>| match result.tensor() {
        Some(datum) => datum.to_tensor(),
        None => Err(Reason(format!("a result is {}", result.kind()))),
    };
    results.iter().map(tensor).collect()
}
