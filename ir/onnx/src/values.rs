//! Types of values between the file and the IR.

use crate::limits::Limits;
use crate::proto::{Dimension, DimensionValue, TensorShapeProto, TypeProto, ValueInfoProto, type_proto};
use crate::scan::limit;
use crate::tensor::element;
use eutectic_ir::diag::{Diagnostic, Kind};
use eutectic_ir::{Dim, TensorType, Type};

/// What a file says about the type of a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Declared {
    /// A type that the IR has.
    Type(Type),
    /// Nothing.
    Nothing,
    /// A kind of value that the IR does not have.
    Other(&'static str),
}

/// How deep sequences and optional values of each other are read.
const MOST_NESTED: u32 = 50;

/// Reads the type of the value `name`.
pub(crate) fn import(name: &str, ty: Option<&TypeProto>, limits: &Limits) -> Result<Declared, Diagnostic> {
    nested(name, ty, limits, 0)
}

fn nested(name: &str, ty: Option<&TypeProto>, limits: &Limits, depth: u32) -> Result<Declared, Diagnostic> {
    if depth > MOST_NESTED {
        return Err(limit("type nesting", MOST_NESTED.into(), format!("the type of `{name}` is nested deeper")));
    }
    let item = |item: &type_proto::Element| nested(name, item.elem_type.as_ref(), limits, depth + 1);
    let wrapped = |inner: Declared, wrap: fn(Type) -> Type| match inner {
        Declared::Type(ty) => Declared::Type(wrap(ty)),
        other => other,
    };
    let tensor = match ty.and_then(|ty| ty.value.as_ref()) {
        None => return Ok(Declared::Nothing),
        Some(type_proto::Value::Tensor(tensor)) => tensor,
        Some(type_proto::Value::Sequence(element)) => return Ok(wrapped(item(element)?, Type::sequence)),
        Some(type_proto::Value::Optional(element)) => return Ok(wrapped(item(element)?, Type::optional)),
        Some(type_proto::Value::Map(_)) => return Ok(Declared::Other("a map")),
        Some(type_proto::Value::SparseTensor(_)) => return Ok(Declared::Other("a sparse tensor")),
        Some(type_proto::Value::Opaque(_)) => return Ok(Declared::Other("an opaque value")),
    };
    if tensor.elem_type.unwrap_or(0) == 0 {
        return Ok(Declared::Nothing);
    }
    let element = element(tensor.elem_type)?;
    let Some(shape) = &tensor.shape else { return Ok(Declared::Type(Type::Unranked(element))) };
    if shape.dim.len() > limits.rank as usize {
        return Err(limit("rank", limits.rank.into(), format!("`{name}` has {} dims", shape.dim.len())));
    }
    let dims = shape.dim.iter().enumerate().map(|(axis, dim)| match &dim.value {
        Some(DimensionValue::Value(size)) if *size >= 0 => Dim::known(*size),
        Some(DimensionValue::Param(text)) if !text.is_empty() => {
            Dim::parse(text).unwrap_or_else(|| Dim::symbol(text.as_str()))
        }
        // Negative sizes are how some exporters write "unknown".
        _ => Dim::fresh(name, axis),
    });
    Ok(Declared::Type(TensorType::new(element, dims).into()))
}

/// The declaration of a value; without a type when none is known.
pub(crate) fn export(name: &str, ty: Option<&Type>) -> ValueInfoProto {
    ValueInfoProto { name: name.to_owned(), r#type: ty.map(type_of), ..Default::default() }
}

/// The type as the file writes it. A dim that nothing is known of is left empty.
pub(crate) fn type_of(ty: &Type) -> TypeProto {
    let dim = |dim: &Dim| {
        let value = match dim.as_known() {
            Some(size) => Some(DimensionValue::Value(size)),
            None if dim.is_unknown() => None,
            None => Some(DimensionValue::Param(dim.to_string())),
        };
        Dimension { value, ..Default::default() }
    };
    let element = |item: &Type| Box::new(type_proto::Element { elem_type: Some(type_of(item)) });
    let value = match ty {
        Type::Tensor(ty) => {
            let shape = TensorShapeProto { dim: ty.shape.iter().map(dim).collect() };
            type_proto::Value::Tensor(type_proto::Tensor { elem_type: Some(ty.element.code()), shape: Some(shape) })
        }
        Type::Unranked(element) => {
            type_proto::Value::Tensor(type_proto::Tensor { elem_type: Some(element.code()), shape: None })
        }
        Type::Sequence(item) => type_proto::Value::Sequence(element(item)),
        Type::Optional(item) => type_proto::Value::Optional(element(item)),
    };
    TypeProto { value: Some(value), ..Default::default() }
}

/// The diagnostic for a value at the interface of the model that the IR cannot hold.
pub(crate) fn not_a_value(name: &str, what: &str) -> Diagnostic {
    let message = format!("`{name}`, an input or output of the model, is {what}");
    Diagnostic::error(Kind::Unsupported, "I0113", message)
        .help("tensors, and sequences and optional values of them, cross the border of a model")
}
