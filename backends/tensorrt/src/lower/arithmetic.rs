//! Arithmetic and elementary functions, element by element.

use super::builder::Builder;
use super::call::Call;
use super::operand::{Operand, Typed, is_real};
use super::refusal::Refusal;
use super::{Lowered, Lowering};
use crate::layer::{ElementWiseKind, UnaryKind};
use crate::spec::DataType;
use eutectic_ir::Element;

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[
    ("Add", |builder, call| binary(builder, call, ElementWiseKind::Sum)),
    ("Sub", |builder, call| binary(builder, call, ElementWiseKind::Subtract)),
    ("Mul", |builder, call| binary(builder, call, ElementWiseKind::Product)),
    ("Div", |builder, call| binary(builder, call, ElementWiseKind::Divide)),
    ("Pow", power),
    ("Mod", modulo),
    ("Max", |builder, call| chain(builder, call, ElementWiseKind::Max)),
    ("Min", |builder, call| chain(builder, call, ElementWiseKind::Min)),
    ("Sum", |builder, call| chain(builder, call, ElementWiseKind::Sum)),
    ("Mean", mean),
    ("Abs", |builder, call| unary(builder, call, UnaryKind::Abs)),
    ("Neg", |builder, call| unary(builder, call, UnaryKind::Negate)),
    ("Sqrt", |builder, call| unary(builder, call, UnaryKind::Sqrt)),
    ("Exp", |builder, call| unary(builder, call, UnaryKind::Exp)),
    ("Log", |builder, call| unary(builder, call, UnaryKind::Log)),
    ("Reciprocal", |builder, call| unary(builder, call, UnaryKind::Reciprocal)),
    ("Erf", |builder, call| unary(builder, call, UnaryKind::Erf)),
    ("Sin", |builder, call| unary(builder, call, UnaryKind::Sin)),
    ("Cos", |builder, call| unary(builder, call, UnaryKind::Cos)),
    ("Tan", |builder, call| unary(builder, call, UnaryKind::Tan)),
    ("Sinh", |builder, call| unary(builder, call, UnaryKind::Sinh)),
    ("Cosh", |builder, call| unary(builder, call, UnaryKind::Cosh)),
    ("Asin", |builder, call| unary(builder, call, UnaryKind::Asin)),
    ("Acos", |builder, call| unary(builder, call, UnaryKind::Acos)),
    ("Atan", |builder, call| unary(builder, call, UnaryKind::Atan)),
    ("Asinh", |builder, call| unary(builder, call, UnaryKind::Asinh)),
    ("Acosh", |builder, call| unary(builder, call, UnaryKind::Acosh)),
    ("Atanh", |builder, call| unary(builder, call, UnaryKind::Atanh)),
    ("Ceil", |builder, call| rounded(builder, call, UnaryKind::Ceil)),
    ("Floor", |builder, call| rounded(builder, call, UnaryKind::Floor)),
    ("Round", |builder, call| rounded(builder, call, UnaryKind::Round)),
    ("Sign", |builder, call| unary(builder, call, UnaryKind::Sign)),
    ("BitwiseNot", bitwise_not),
];

fn binary(builder: &mut Builder, call: &Call, kind: ElementWiseKind) -> Lowered {
    Ok(vec![builder.binary(kind, call.value(0)?, call.value(1)?)?.into()])
}

fn unary(builder: &mut Builder, call: &Call, kind: UnaryKind) -> Lowered {
    let x = builder.input(call, 0)?;
    Ok(vec![builder.unary(kind, &x).into()])
}

/// `-1 - x` in two's complement, `255 - x` for a byte without a sign, which is computed as a wider number.
fn bitwise_not(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let is_byte = call.types.first().and_then(Option::as_ref).is_some_and(|ty| ty.element == Element::Uint8);
    let ones = builder.scalar(if is_byte { 255.0 } else { -1.0 }, x.data_type, x.rank())?;
    Ok(vec![builder.pair(ElementWiseKind::Subtract, &ones, &x)?.into()])
}

/// An integer is round already.
fn rounded(builder: &mut Builder, call: &Call, kind: UnaryKind) -> Lowered {
    let x = builder.input(call, 0)?;
    Ok(vec![if is_real(x.data_type) { builder.unary(kind, &x) } else { x }.into()])
}

/// The exponent may have a type of its own.
fn power(builder: &mut Builder, call: &Call) -> Lowered {
    let (x, exponent) = (call.value(0)?, call.value(1)?);
    let data_type = x.data_type()?;
    let exponent: Operand = match exponent.single() {
        Some(value) => builder.scalar(value, data_type, 0)?.into(),
        None => {
            let exponent = builder.tensor(exponent)?;
            builder.cast(&exponent, data_type).into()
        }
    };
    if is_real(data_type) {
        return Ok(vec![builder.binary(ElementWiseKind::Power, x, &exponent)?.into()]);
    }
    // TensorRT raises floats only.
    let (x, exponent) = (builder.tensor(x)?, builder.tensor(&exponent)?);
    let (x, exponent) = (builder.cast(&x, DataType::F32), builder.cast(&exponent, DataType::F32));
    let y = builder.pair(ElementWiseKind::Power, &x, &exponent)?;
    Ok(vec![builder.cast(&y, data_type).into()])
}

/// `a - b q`, where the quotient is rounded down, or towards zero with `fmod`.
fn modulo(builder: &mut Builder, call: &Call) -> Lowered {
    let (a, b) = (call.value(0)?, call.value(1)?);
    let quotient = match (call.attrs.flag("fmod"), is_real(a.data_type()?)) {
        (false, _) => builder.binary(ElementWiseKind::FloorDivide, a, b)?,
        (true, false) => builder.binary(ElementWiseKind::Divide, a, b)?,
        (true, true) => {
            let quotient = builder.binary(ElementWiseKind::Divide, a, b)?;
            let size = builder.unary(UnaryKind::Abs, &quotient);
            let whole = builder.unary(UnaryKind::Floor, &size);
            let sign = builder.unary(UnaryKind::Sign, &quotient);
            builder.pair(ElementWiseKind::Product, &sign, &whole)?
        }
    };
    let taken = builder.binary(ElementWiseKind::Product, &quotient.into(), b)?;
    Ok(vec![builder.binary(ElementWiseKind::Subtract, a, &taken.into())?.into()])
}

fn chain(builder: &mut Builder, call: &Call, kind: ElementWiseKind) -> Lowered {
    Ok(vec![folded(builder, call, kind)?.into()])
}

fn folded(builder: &mut Builder, call: &Call, kind: ElementWiseKind) -> Result<Typed, Refusal> {
    let operands = call.values();
    let (first, rest) = operands.split_first().ok_or("it has no inputs")?;
    let mut y = builder.tensor(first)?;
    for operand in rest {
        y = builder.binary(kind, &y.into(), operand)?;
    }
    Ok(y)
}

fn mean(builder: &mut Builder, call: &Call) -> Lowered {
    let sum = folded(builder, call, ElementWiseKind::Sum)?;
    let count = call.values().len() as f64;
    Ok(vec![builder.with(ElementWiseKind::Product, &sum, 1.0 / count)?.into()])
}
