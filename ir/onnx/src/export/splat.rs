//! Large weights of one repeated element are written as `ConstantOfShape`: a page of zeros is not worth its bytes.

use crate::call::{Call, Operand};
use crate::opset;
use eutectic_ir::tensor::{Data, Tensor};
use eutectic_ir::types::ElementKind;
use eutectic_ir::{Attr, Name};

/// From this size on, in bytes, a repeated element is written as a call.
const WORTH_A_CALL: usize = 64 << 10;

/// Whether `tensor` is written as a call in version `opset`, which must have `ConstantOfShape` for its element type.
pub(super) fn is_call(tensor: &Tensor, opset: u64) -> bool {
    matches!(tensor.data(), Data::Splat(_))
        && tensor.element().kind() != ElementKind::Complex
        && opset >= opset::admitting("ConstantOfShape", tensor.element())
        && tensor.byte_len() >= WORTH_A_CALL
}

/// The call that makes `name`, and the weight `shape` that it reads.
pub(super) fn call(name: &Name, shape: &Name, tensor: &Tensor) -> (Call, Tensor) {
    let extents: Vec<i64> = tensor.shape().iter().map(|&dim| dim as i64).collect();
    let mut attrs = eutectic_ir::Attrs::new();
    if let Data::Splat(element) = tensor.data()
        && let Ok(value) = Tensor::splat(tensor.element(), &[1], &element[..tensor.element().bits().div_ceil(8)])
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

#[cfg(test)]
mod tests {
    use super::*;
    use eutectic_ir::Element;

    #[test]
    fn a_splat_is_a_call_where_the_operator_set_has_one_of_its_type() {
        for (element, since) in [
            (Element::Float, 9),
            (Element::Bfloat16, 20),
            (Element::Int4, 21),
            (Element::Float4E2M1, 23),
            (Element::Float8E8M0, 24),
            (Element::Int2, 25),
        ] {
            let splat = Tensor::full(element, &[1 << 19], 1.0).expect("small");
            assert_eq!([is_call(&splat, since - 1), is_call(&splat, since)], [false, true], "{element}");
            let value = call(&"w".into(), &"shape".into(), &splat).0.attrs.tensor("value").and_then(Tensor::as_single);
            assert_eq!(value, Some(1.0), "{element}");
        }
    }
}
