//! Sizes of ONNX's element types.

use eutectic_ir::diag::{Diagnostic, Kind};

/// `TensorProto.DataType` of strings, which have no fixed size.
pub(crate) const STRING: i32 = 8;
/// `TensorProto.DataType` of truth values.
pub(crate) const BOOL: i32 = 9;

/// Bits of one element, and the name of the type in ONNX's text form.
pub(crate) fn element(data_type: i32) -> Option<(u32, &'static str)> {
    Some(match data_type {
        1 => (32, "float"),
        2 => (8, "uint8"),
        3 => (8, "int8"),
        4 => (16, "uint16"),
        5 => (16, "int16"),
        6 => (32, "int32"),
        7 => (64, "int64"),
        9 => (8, "bool"),
        10 => (16, "float16"),
        11 => (64, "double"),
        12 => (32, "uint32"),
        13 => (64, "uint64"),
        14 => (64, "complex64"),
        15 => (128, "complex128"),
        16 => (16, "bfloat16"),
        17 => (8, "float8e4m3fn"),
        18 => (8, "float8e4m3fnuz"),
        19 => (8, "float8e5m2"),
        20 => (8, "float8e5m2fnuz"),
        21 => (4, "uint4"),
        22 => (4, "int4"),
        23 => (4, "float4e2m1"),
        24 => (8, "float8e8m0"),
        25 => (2, "uint2"),
        26 => (2, "int2"),
        27 => (6, "float6e2m3"),
        28 => (6, "float6e3m2"),
        _ => return None,
    })
}

/// Bytes of a tensor's raw data. Errors on types without a fixed size, on negative dims and on products that overflow.
pub(crate) fn byte_length(dims: &[i64], data_type: Option<i32>) -> Result<u64, Diagnostic> {
    let data_type = data_type.unwrap_or(0);
    let Some((n_bits, _)) = element(data_type) else {
        let found = match data_type {
            0 => "no element type".to_owned(),
            STRING => "strings, whose data cannot be raw or external".to_owned(),
            other => format!("the element type {other}, which ONNX {} does not have", crate::ONNX),
        };
        return Err(Diagnostic::error(Kind::Invalid, "I0110", format!("a tensor has {found}")));
    };
    let n_elements = n_elements(dims)?;
    n_elements
        .checked_mul(u64::from(n_bits))
        .map(|n_bits| n_bits.div_ceil(8))
        .ok_or_else(|| Diagnostic::error(Kind::Invalid, "I0111", format!("dims {} overflow", shown(dims))))
}

/// The product of `dims`. Errors on negative dims and on products that overflow.
pub(crate) fn n_elements(dims: &[i64]) -> Result<u64, Diagnostic> {
    // A zero does not excuse an overflow elsewhere: the product of the others must fit as well.
    let mut product = 1u64;
    let mut empty = false;
    for &dim in dims {
        let Ok(dim) = u64::try_from(dim) else {
            let message = format!("a tensor has a negative dim: {}", shown(dims));
            return Err(Diagnostic::error(Kind::Invalid, "I0111", message));
        };
        if dim == 0 {
            empty = true;
            continue;
        }
        product = product.checked_mul(dim).ok_or_else(|| {
            Diagnostic::error(Kind::Invalid, "I0111", format!("the product of the dims {} overflows", shown(dims)))
        })?;
    }
    Ok(if empty { 0 } else { product })
}

fn shown(dims: &[i64]) -> String {
    const MAX_SHOWN: usize = 16;
    match dims.get(..MAX_SHOWN) {
        Some(first) if dims.len() > MAX_SHOWN => format!("{first:?}.. ({} dims)", dims.len()),
        _ => format!("{dims:?}"),
    }
}
