//! Types of values between the file and the IR.

use crate::limits::Limits;
use crate::proto::{Dimension, DimensionValue, TensorShapeProto, TypeProto, ValueInfoProto, type_proto};
use crate::scan::limit;
use crate::tensor::element;
use eutectic_ir::diag::{Diagnostic, Kind};
use eutectic_ir::{Dim, TensorType};

/// What a file says about the type of a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Declared {
    /// A tensor of known rank.
    Tensor(TensorType),
    /// Nothing that the IR can hold: no type, or no shape.
    Nothing,
    /// Something that is not a dense tensor.
    Other(&'static str),
}

/// Reads the type of the value `name`.
pub(crate) fn import(name: &str, ty: Option<&TypeProto>, limits: &Limits) -> Result<Declared, Diagnostic> {
    let tensor = match ty.and_then(|ty| ty.value.as_ref()) {
        None => return Ok(Declared::Nothing),
        Some(type_proto::Value::Tensor(tensor)) => tensor,
        Some(type_proto::Value::Sequence(_)) => return Ok(Declared::Other("a sequence")),
        Some(type_proto::Value::Map(_)) => return Ok(Declared::Other("a map")),
        Some(type_proto::Value::Optional(_)) => return Ok(Declared::Other("an optional value")),
        Some(type_proto::Value::SparseTensor(_)) => return Ok(Declared::Other("a sparse tensor")),
        Some(type_proto::Value::Opaque(_)) => return Ok(Declared::Other("an opaque value")),
    };
    let Some(shape) = &tensor.shape else { return Ok(Declared::Nothing) };
    if shape.dim.len() > limits.rank as usize {
        return Err(limit("rank", limits.rank.into(), format!("`{name}` has {} dims", shape.dim.len())));
    }
    if tensor.elem_type.unwrap_or(0) == 0 {
        return Ok(Declared::Nothing);
    }
    let dims = shape.dim.iter().enumerate().map(|(axis, dim)| match &dim.value {
        Some(DimensionValue::Value(size)) if *size >= 0 => Dim::known(*size),
        Some(DimensionValue::Param(text)) if !text.is_empty() => {
            Dim::parse(text).unwrap_or_else(|| Dim::symbol(text.as_str()))
        }
        // Negative sizes are how some exporters write "unknown".
        _ => Dim::fresh(name, axis),
    });
    Ok(Declared::Tensor(TensorType::new(element(tensor.elem_type)?, dims)))
}

/// The declaration of a value; without a type when none is known.
pub(crate) fn export(name: &str, ty: Option<&TensorType>) -> ValueInfoProto {
    ValueInfoProto { name: name.to_owned(), r#type: ty.map(type_of), ..Default::default() }
}

/// The type as the file writes it. A dim that nothing is known of is left empty.
pub(crate) fn type_of(ty: &TensorType) -> TypeProto {
    let dim = |dim: &Dim| {
        let value = match dim.as_known() {
            Some(size) => Some(DimensionValue::Value(size)),
            None if dim.is_unknown() => None,
            None => Some(DimensionValue::Param(dim.to_string())),
        };
        Dimension { value, ..Default::default() }
    };
    let shape = TensorShapeProto { dim: ty.shape.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(ty.element.code()), shape: Some(shape) };
    TypeProto { value: Some(type_proto::Value::Tensor(tensor)), ..Default::default() }
}

/// The diagnostic for a value at the interface of the model that the IR cannot hold.
pub(crate) fn not_a_tensor(name: &str, what: &str) -> Diagnostic {
    let message = format!("`{name}`, an input or output of the model, is {what}");
    Diagnostic::error(Kind::Unsupported, "I0113", message).help("only dense tensors cross the border of a model")
}
