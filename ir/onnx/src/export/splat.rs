//! Large weights of one repeated element are written as `ConstantOfShape`: a page of zeros is not worth its bytes.

use crate::call::{Call, Operand};
use eutectic_ir::tensor::{Data, Tensor};
use eutectic_ir::{Attr, Name};

/// From this size on, in bytes, a repeated element is written as a call.
const WORTH_A_CALL: usize = 64 << 10;

/// Whether `tensor` is written as a call in version `opset`, which must have `ConstantOfShape`.
pub(super) fn is_call(tensor: &Tensor, opset: u64) -> bool {
    matches!(tensor.data(), Data::Splat(_))
        && opset >= 9
        && tensor.element().bits() >= 8
        && tensor.byte_len() >= WORTH_A_CALL
}

/// The call that makes `name`, and the weight `shape` that it reads.
pub(super) fn call(name: &Name, shape: &Name, tensor: &Tensor) -> (Call, Tensor) {
    let extents: Vec<i64> = tensor.shape().iter().map(|&dim| dim as i64).collect();
    let mut attrs = eutectic_ir::Attrs::new();
    if let Data::Splat(element) = tensor.data()
        && let Ok(value) = Tensor::splat(tensor.element(), &[1], &element[..tensor.element().bits() / 8])
    {
        attrs.set("value", Attr::Tensor(value));
    }
    let call = Call {
        op_type: "ConstantOfShape".into(),
        inputs: vec![Operand::Named(shape.clone())],
        outputs: vec![name.clone()],
        attrs,
        ..Call::default()
    };
    (call, Tensor::vector(&extents))
}
