//! From calls of the IR to kernels. One family a file; [`TABLE`] is the one list of operators that have a fast kernel.
//! Every other operator, and every call that a fast kernel declines, runs on the reference interpreter.

mod attention;
mod conv;
mod matmul;
mod moves;
mod norm;
mod pointwise;
mod reduce;
mod tail;
mod view;

use crate::value::{Pool, Value};
use eutectic_ir::attr::Attrs;
use eutectic_ir::op::Reason;
use eutectic_ir::tensor::Tensor;

pub(crate) use conv::conv_with_tail;
pub(crate) use matmul::matmul_with_tail;
pub(crate) use pointwise::{binary_of, unary_of};
pub(crate) use tail::{Tail, pointwise as pointwise_call};

/// The inputs of one call, by position. A kernel takes out what it uses up; what it leaves is recycled.
pub(crate) type Arguments = Vec<Option<Value>>;

/// Runs one call: the outputs by position, or `None` when the call is not for this kernel; then it has taken nothing.
pub(crate) type Kernel = Box<dyn FnMut(&mut Arguments, &mut Pool) -> Result<Option<Vec<Value>>, Reason> + Send>;

/// One call as a kernel is prepared for it.
pub(crate) struct Setup<'a> {
    /// Operator type.
    pub name: &'a str,
    /// Complete attributes, references bound.
    pub attrs: &'a Attrs,
    /// Contents of the inputs that are constant, by position.
    pub constants: &'a [Option<Tensor>],
    /// Number of inputs, left-out ones at the end not counted.
    pub n_inputs: usize,
    /// Number of outputs.
    pub n_outputs: usize,
    /// Positions of constants that the kernel has prepared and does not want to be given.
    pub prepared: Vec<usize>,
    /// Where prepared constants are accounted for.
    pub pool: &'a mut Pool,
}

impl Setup<'_> {
    /// The constant at `index` as a value, when it is one of f32.
    pub fn floats(&mut self, index: usize) -> Result<Option<Value>, Reason> {
        let Some(tensor) = self.constants.get(index).and_then(Option::as_ref) else { return Ok(None) };
        if tensor.element() != eutectic_ir::types::Element::Float {
            return Ok(None);
        }
        Value::of_tensor(tensor, self.pool).map(Some)
    }
}

/// Prepares a kernel; `None` when there is no fast one for this call. Errors: a budget.
pub(crate) type Prepare = fn(&mut Setup<'_>) -> Result<Option<Kernel>, Reason>;

/// The operators of `ai.onnx` that have a fast kernel.
pub(crate) const TABLE: &[(&[(&str, Prepare)], &str)] = &[
    (attention::KERNELS, "attention"),
    (conv::KERNELS, "convolution and pooling"),
    (matmul::KERNELS, "matrix multiplication"),
    (moves::KERNELS, "data movement"),
    (norm::KERNELS, "normalisation"),
    (pointwise::KERNELS, "pointwise"),
    (reduce::KERNELS, "reduction"),
    (view::KERNELS, "views and shapes"),
];

/// The fast kernel's family and preparation for operator `name` of `ai.onnx`.
pub(crate) fn lookup(name: &str) -> Option<(&'static str, Prepare)> {
    TABLE.iter().find_map(|(kernels, family)| {
        kernels.iter().find(|(known, _)| *known == name).map(|&(_, prepare)| (*family, prepare))
    })
}

/// The argument at `index`.
pub(crate) fn given(arguments: &Arguments, index: usize) -> Option<&Value> {
    arguments.get(index).and_then(Option::as_ref)
}
