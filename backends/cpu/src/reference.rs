//! Runs a call on the reference interpreter: for operators without a fast kernel, and calls that a kernel declines.

use crate::plan::FlatCall;
use eutectic_ir::eval::{Datum, Scalar, run_call};
use eutectic_ir::op::Reason;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::Element;
use eutectic_ir::value::Value;

/// Runs `call`. Errors: what the interpreter reports.
pub(crate) fn run(
    call: &FlatCall,
    inputs: &[Option<Value<Tensor>>],
    captures: &[Value<Tensor>],
) -> Result<Vec<Value<Tensor>>, Reason> {
    let given = inputs.iter().flatten().chain(captures).flat_map(Value::tensors);
    let elements = given.map(Tensor::element).chain(call.elements.iter().copied().flatten());
    let is_double = elements.into_iter().any(|element| element == Element::Double);
    if is_double { run_in::<f64>(call, inputs, captures) } else { run_in::<f32>(call, inputs, captures) }
}

fn run_in<S: Scalar>(
    call: &FlatCall,
    inputs: &[Option<Value<Tensor>>],
    captures: &[Value<Tensor>],
) -> Result<Vec<Value<Tensor>>, Reason> {
    let carried = |value: &Value<Tensor>| value.try_map(&mut Datum::<S>::of_tensor);
    let inputs: Vec<_> =
        inputs.iter().map(|value| value.as_ref().map(carried).transpose()).collect::<Result<_, _>>()?;
    let captures: Vec<_> = captures.iter().map(carried).collect::<Result<_, _>>()?;
    let results = run_call(&call.op, &call.attrs, &inputs, &captures, call.elements.len(), true)
        .map_err(|error| if error.call.is_empty() { error.reason } else { Reason::new(error.to_string()) })?;
    results.iter().map(|result| result.try_map(&mut Datum::to_tensor)).collect()
}
