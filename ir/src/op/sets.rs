//! Sets of element types for `OpDef::types`, named as the specification groups them.

use crate::types::Element::{self, *};

/// Every element type.
pub const ALL: &[Element] = Element::ALL;
/// Every element type of opset 25 to 27: no 6-bit floats.
pub const BEFORE_28: &[Element] = Element::ALL.split_at(Element::ALL.len() - 2).0;
/// Every element type of opset 13: no narrow floats, no integers below a byte.
pub const STANDARD: &[Element] = &[
    Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, Bfloat16, Float16, Float, Double, String, Bool,
    Complex64, Complex128,
];
/// Every element type of opset 1 to 12: those of opset 13 without bfloat16.
pub const EARLY: &[Element] = &[
    Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, Float16, Float, Double, String, Bool, Complex64,
    Complex128,
];
/// Every element type but complex numbers.
pub const NOT_COMPLEX: &[Element] = &[
    Float,
    Uint8,
    Int8,
    Uint16,
    Int16,
    Int32,
    Int64,
    String,
    Bool,
    Float16,
    Double,
    Uint32,
    Uint64,
    Bfloat16,
    Float8E4M3FN,
    Float8E4M3FNUZ,
    Float8E5M2,
    Float8E5M2FNUZ,
    Uint4,
    Int4,
    Float4E2M1,
    Float8E8M0,
    Uint2,
    Int2,
    Float6E2M3,
    Float6E3M2,
];
/// Every element type of opset 25 to 27 but complex numbers.
pub const NOT_COMPLEX_BEFORE_28: &[Element] = NOT_COMPLEX.split_at(NOT_COMPLEX.len() - 2).0;
/// Every element type of opset 25 to 27 but strings.
pub const NOT_TEXT: &[Element] = &[
    Float,
    Uint8,
    Int8,
    Uint16,
    Int16,
    Int32,
    Int64,
    Bool,
    Float16,
    Double,
    Uint32,
    Uint64,
    Complex64,
    Complex128,
    Bfloat16,
    Float8E4M3FN,
    Float8E4M3FNUZ,
    Float8E5M2,
    Float8E5M2FNUZ,
    Uint4,
    Int4,
    Float4E2M1,
    Float8E8M0,
    Uint2,
    Int2,
];
/// Integers of 8 to 64 bits, the floating-point types and truth values.
pub const NUMERIC_OR_BOOL: &[Element] =
    &[Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, Float16, Float, Double, Bfloat16, Bool];
/// The floating-point types of arithmetic operators.
pub const FLOAT: &[Element] = &[Float16, Float, Double, Bfloat16];
/// Integers of 32 and 64 bits and the floating-point types.
pub const HIGH_PRECISION: &[Element] = &[Uint32, Uint64, Int32, Int64, Float16, Float, Double, Bfloat16];
/// Integers of 8 to 64 bits and the floating-point types.
pub const NUMERIC: &[Element] =
    &[Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, Float16, Float, Double, Bfloat16];
/// Signed integers of 8 to 64 bits and the floating-point types.
pub const SIGNED: &[Element] = &[Int8, Int16, Int32, Int64, Float16, Float, Double, Bfloat16];
/// Integers of 8 to 64 bits.
pub const INTEGER: &[Element] = &[Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64];
/// Index types.
pub const INDEX: &[Element] = &[Int32, Int64];
/// 64-bit integers.
pub const INT64: &[Element] = &[Int64];
/// Truth values.
pub const BOOL: &[Element] = &[Bool];
