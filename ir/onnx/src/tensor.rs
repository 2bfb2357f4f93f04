//! Tensors between the file and the IR.
//!
//! A tensor of a file states its data in one of seven fields; exactly one of them, the one of its element type, with
//! exactly as much as its shape asks for. Anything else is an error that names what was expected and found.

use crate::elements::{STRING, byte_length, n_elements};
use crate::external;
use crate::limits::Limits;
use crate::proto::{LOCATION_EXTERNAL, TensorProto};
use crate::scan::limit;
use bytes::Bytes;
use eutectic_ir::codec::pack;
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use eutectic_ir::stored::Stored;
use eutectic_ir::tensor::{Data, TensorError};
use eutectic_ir::{Element, Tensor};
use std::sync::Arc;

/// The contents of `proto`, taken out of it; `stored` are the ranges that stay in their files.
pub(crate) fn import(
    proto: TensorProto,
    limits: &Limits,
    stored: &[Arc<Stored>],
    diagnostics: &mut Diagnostics,
) -> Result<Tensor, Diagnostic> {
    if proto.dims.len() > limits.rank as usize {
        let found = format!("a tensor has {} dims", proto.dims.len());
        return Err(limit("rank", limits.rank.into(), found));
    }
    if proto.segment.is_some() {
        let message = "a tensor is stored in segments, which nobody writes";
        return Err(Diagnostic::error(Kind::Unsupported, "I0113", message));
    }
    let mut range = None;
    match proto.data_location {
        None | Some(0) => {}
        Some(LOCATION_EXTERNAL) => {
            let missing = || Diagnostic::error(Kind::Path, "L0131", "the data is external and was not attached");
            range = Some(external::stored(&proto, stored).ok_or_else(missing)?.clone());
        }
        Some(other) => return Err(invalid(format!("a tensor is stored at location {other}, which does not exist"))),
    }
    let element = element(proto.data_type)?;
    let count = n_elements(&proto.dims)?;
    let shape = proto.dims.iter().map(|&dim| usize::try_from(dim)).collect::<Result<Vec<usize>, _>>();
    let shape = shape.map_err(|_| invalid(format!("dims {:?} exceed the address space", proto.dims)))?;
    if let Some(range) = range {
        return Tensor::stored(element, &shape, range).map_err(refused);
    }
    let found = one_field(&proto)?;
    if element == Element::String {
        return import_strings(proto, found, &shape, count);
    }
    let expected = byte_length(&proto.dims, proto.data_type)?;
    // Elements of 2 and 4 bits share an entry of `int32_data`.
    let n_entries = if matches!(element.bits(), 2 | 4) { expected } else { count };
    let bytes = match found {
        None if expected == 0 => Bytes::new(),
        None => return Err(invalid(format!("dims {:?} ask for {expected} bytes, but there are none", proto.dims))),
        Some("raw_data") => proto.raw_data.unwrap_or_default(),
        Some(field) => typed_field(proto, field, element, n_entries)?,
    };
    if bytes.len() as u64 != expected {
        let what = format!("dims {shape:?} x {element} = {expected} bytes, the data has {}", bytes.len());
        return Err(mismatched().note(what).help("the file may be truncated (`git lfs pull`?)"));
    }
    let bytes = if element == Element::Bool { canonical_bools(bytes, diagnostics) } else { bytes };
    Tensor::new(element, &shape, bytes).map_err(refused)
}

/// The element type of a code. Errors: none, unknown, or one that the IR does not have.
pub(crate) fn element(code: Option<i32>) -> Result<Element, Diagnostic> {
    let code = code.unwrap_or(0);
    Element::from_code(code).ok_or_else(|| match code {
        0 => Diagnostic::error(Kind::Invalid, "I0110", "an element type is missing"),
        other => {
            let message = format!("the element type {other} does not exist in ONNX {}", crate::ONNX);
            Diagnostic::error(Kind::Invalid, "I0110", message)
        }
    })
}

/// The name of the one field that holds data, if any does.
fn one_field(proto: &TensorProto) -> Result<Option<&'static str>, Diagnostic> {
    let fields = [
        ("raw_data", proto.raw_data.is_some()),
        ("float_data", !proto.float_data.is_empty()),
        ("int32_data", !proto.int32_data.is_empty()),
        ("string_data", !proto.string_data.is_empty()),
        ("int64_data", !proto.int64_data.is_empty()),
        ("double_data", !proto.double_data.is_empty()),
        ("uint64_data", !proto.uint64_data.is_empty()),
    ];
    let mut present = fields.into_iter().filter(|(_, present)| *present).map(|(name, _)| name);
    let first = present.next();
    match present.next() {
        Some(second) => Err(invalid(format!(
            "a tensor holds data in `{}` and in `{second}`; one of them is wrong",
            first.unwrap_or_default()
        ))),
        None => Ok(first),
    }
}

fn import_strings(proto: TensorProto, found: Option<&str>, shape: &[usize], count: u64) -> Result<Tensor, Diagnostic> {
    if let Some(other) = found.filter(|name| *name != "string_data") {
        return Err(invalid(format!("a tensor of strings holds its data in `{other}`")));
    }
    if proto.string_data.len() as u64 != count {
        let n_strings = proto.string_data.len();
        return Err(invalid(format!("dims {:?} ask for {count} strings, found {n_strings}", proto.dims)));
    }
    debug_assert_eq!(proto.data_type, Some(STRING));
    Tensor::from_strings(shape, proto.string_data).map_err(refused)
}

/// The bytes of a field other than `raw_data`, which must be the one of its element type.
fn typed_field(proto: TensorProto, field: &str, element: Element, n_entries: u64) -> Result<Bytes, Diagnostic> {
    use Element::*;
    let home = match element {
        Float | Complex64 => "float_data",
        Double | Complex128 => "double_data",
        Int64 => "int64_data",
        Uint32 | Uint64 => "uint64_data",
        _ => "int32_data",
    };
    if field != home {
        return Err(invalid(format!("a tensor of {element} holds its data in `{field}`, not in `{home}`")));
    }
    let length = |found: usize, expected: u64| {
        if found as u64 == expected {
            return Ok(());
        }
        let what = format!("dims {:?} of {element} ask for {expected} entries of `{field}`, found {found}", proto.dims);
        Err(mismatched().note(what))
    };
    match home {
        "float_data" => Ok(joined(proto.float_data)),
        "double_data" => Ok(joined(proto.double_data)),
        "int64_data" => {
            length(proto.int64_data.len(), n_entries)?;
            Ok(proto.int64_data.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
        "uint64_data" if element == Uint64 => {
            length(proto.uint64_data.len(), n_entries)?;
            Ok(proto.uint64_data.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
        "uint64_data" => {
            length(proto.uint64_data.len(), n_entries)?;
            narrowed(&proto.uint64_data, element, |value| u32::try_from(value).ok().map(u32::to_le_bytes))
        }
        _ => {
            length(proto.int32_data.len(), n_entries)?;
            let values = &proto.int32_data;
            match element {
                Int32 => Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
                Int16 => narrowed(values, element, |value| i16::try_from(value).ok().map(i16::to_le_bytes)),
                Int8 => narrowed(values, element, |value| i8::try_from(value).ok().map(i8::to_le_bytes)),
                Bool => narrowed(values, element, |value| matches!(value, 0 | 1).then_some([value as u8])),
                Uint16 | Float16 | Bfloat16 => {
                    narrowed(values, element, |value| u16::try_from(value).ok().map(u16::to_le_bytes))
                }
                // An entry each, unlike all other narrow types.
                Float6E2M3 | Float6E3M2 => {
                    let codes = narrowed(values, element, |value| {
                        u8::try_from(value).ok().filter(|code| code >> 6 == 0).map(|code| [code])
                    })?;
                    Ok(pack(6, codes).into())
                }
                // Eight bits, or several narrower elements packed into a byte.
                _ => narrowed(values, element, |value| u8::try_from(value).ok().map(u8::to_le_bytes)),
            }
        }
    }
}

fn narrowed<T: Copy + std::fmt::Display, const WIDTH: usize>(
    values: &[T],
    element: Element,
    narrow: impl Fn(T) -> Option<[u8; WIDTH]>,
) -> Result<Bytes, Diagnostic> {
    let mut bytes = Vec::with_capacity(values.len() * WIDTH);
    for &value in values {
        let narrowed = narrow(value).ok_or_else(|| invalid(format!("the value {value} is no {element}")))?;
        bytes.extend_from_slice(&narrowed);
    }
    Ok(bytes.into())
}

fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() == 1 { pieces.remove(0) } else { pieces.concat().into() }
}

/// Truth values are 0 and 1; other bytes count as 1, as in C.
fn canonical_bools(bytes: Bytes, diagnostics: &mut Diagnostics) -> Bytes {
    if bytes.iter().all(|&byte| byte <= 1) {
        return bytes;
    }
    diagnostics.push(Diagnostic::warning("I0112", "a tensor of bool holds bytes other than 0 and 1; they count as 1"));
    bytes.iter().map(|&byte| u8::from(byte != 0)).collect()
}

fn mismatched() -> Diagnostic {
    Diagnostic::error(Kind::Invalid, "L0412", "tensor data does not match its shape")
}

fn invalid(message: String) -> Diagnostic {
    Diagnostic::error(Kind::Invalid, "I0112", message)
}

fn refused(error: TensorError) -> Diagnostic {
    let kind = if error == TensorError::TooLarge { Kind::Limit } else { Kind::Invalid };
    Diagnostic::error(kind, "I0112", error.to_string())
}

/// Everything about `tensor` but its numbers; strings have no other place and are included.
pub(crate) fn header(name: &str, tensor: &Tensor) -> TensorProto {
    let string_data = match tensor.data() {
        Data::Strings(strings) => strings.to_vec(),
        _ => Vec::new(),
    };
    TensorProto {
        name: name.to_owned(),
        dims: tensor.shape().iter().map(|&dim| dim as i64).collect(),
        data_type: Some(tensor.element().code()),
        string_data,
        ..Default::default()
    }
}

/// The whole of `tensor`, made when it is splat or seeded.
pub(crate) fn export(name: &str, tensor: &Tensor) -> TensorProto {
    let mut proto = header(name, tensor);
    proto.raw_data = match tensor.data() {
        Data::Bytes(bytes) => Some(bytes.clone()),
        Data::Stored(stored) => Some(stored.contents().clone()),
        Data::Strings(_) => None,
        Data::Splat(_) | Data::Seeded(_) => Some(tensor.bytes().into_owned().into()),
    };
    proto
}
