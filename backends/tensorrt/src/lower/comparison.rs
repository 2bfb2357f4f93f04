//! Comparisons and logic.

use super::builder::Builder;
use super::call::Call;
use super::operand::Operand;
use super::{Lowered, Lowering};
use crate::layer::{ElementWiseKind, UnaryKind};
use crate::spec::DataType;

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[
    ("Equal", equal),
    ("Greater", |builder, call| compare(builder, call, ElementWiseKind::Greater, false)),
    ("Less", |builder, call| compare(builder, call, ElementWiseKind::Less, false)),
    ("GreaterOrEqual", |builder, call| compare(builder, call, ElementWiseKind::Greater, true)),
    ("LessOrEqual", |builder, call| compare(builder, call, ElementWiseKind::Less, true)),
    ("And", |builder, call| logic(builder, call, ElementWiseKind::And)),
    ("Or", |builder, call| logic(builder, call, ElementWiseKind::Or)),
    ("Xor", |builder, call| logic(builder, call, ElementWiseKind::Xor)),
    ("Not", |builder, call| unary(builder, call, UnaryKind::Not)),
    ("IsNaN", |builder, call| unary(builder, call, UnaryKind::IsNan)),
    ("IsInf", is_infinite),
    ("Where", choose),
];

fn logic(builder: &mut Builder, call: &Call, kind: ElementWiseKind) -> Lowered {
    Ok(vec![builder.binary(kind, call.value(0)?, call.value(1)?)?.into()])
}

fn unary(builder: &mut Builder, call: &Call, kind: UnaryKind) -> Lowered {
    let x = builder.input(call, 0)?;
    Ok(vec![builder.unary(kind, &x).into()])
}

fn equal(builder: &mut Builder, call: &Call) -> Lowered {
    let (a, b) = (call.value(0)?, call.value(1)?);
    if a.data_type()? == DataType::Bool {
        let differs = builder.binary(ElementWiseKind::Xor, a, b)?;
        return Ok(vec![builder.unary(UnaryKind::Not, &differs).into()]);
    }
    Ok(vec![builder.binary(ElementWiseKind::Equal, a, b)?.into()])
}

/// With equality it is two comparisons: the negation of the opposite one would hold for NaN.
fn compare(builder: &mut Builder, call: &Call, kind: ElementWiseKind, or_equal: bool) -> Lowered {
    let (a, b) = (call.value(0)?, call.value(1)?);
    let mut y = builder.binary(kind, a, b)?;
    if or_equal {
        let same = builder.binary(ElementWiseKind::Equal, a, b)?;
        y = builder.pair(ElementWiseKind::Or, &y, &same)?;
    }
    Ok(vec![y.into()])
}

fn is_infinite(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let mut y = builder.unary(UnaryKind::IsInf, &x);
    for (name, kind) in [("detect_positive", ElementWiseKind::Less), ("detect_negative", ElementWiseKind::Greater)] {
        if call.int(name, 1) == 0 {
            let right_sign = builder.with(kind, &x, 0.0)?;
            y = builder.pair(ElementWiseKind::And, &y, &right_sign)?;
        }
    }
    Ok(vec![y.into()])
}

fn choose(builder: &mut Builder, call: &Call) -> Lowered {
    let (condition, then, otherwise) = (call.value(0)?, call.value(1)?, call.value(2)?);
    if then.data_type()? != DataType::Bool {
        return Ok(vec![builder.select(condition, then, otherwise)?.into()]);
    }
    // The select layer has no booleans: (c and a) or (not c and b).
    let condition = builder.tensor(condition)?;
    let inverse: Operand = builder.unary(UnaryKind::Not, &condition).into();
    let left: Operand = builder.binary(ElementWiseKind::And, &condition.into(), then)?.into();
    let right: Operand = builder.binary(ElementWiseKind::And, &inverse, otherwise)?.into();
    Ok(vec![builder.binary(ElementWiseKind::Or, &left, &right)?.into()])
}
