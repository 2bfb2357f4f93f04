//! Conversions between element types, and the identity.

use super::content;
use crate::attr::AttrKind;
use crate::dim::Dim;
use crate::eval::{Contents, Datum, EvalCall, Scalar, wrap};
use crate::narrow::{self, RoundMode, Rounding};
use crate::op::{Argument, AttrDef, Call, Fact, Law, OpDef, Param, Reason, Work, sets};
use crate::types::Element::{self, *};
use crate::types::{ElementKind, Type};
use crate::value::Value;
use crate::{eval, eval_values};
use bytes::Bytes;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&CAST, &CAST_LIKE, &IDENTITY];

static CAST: OpDef = OpDef {
    name: "Cast",
    doc: "The input's elements converted to the type `to`",
    versions: &[1, 6, 9, 13, 19, 21, 23, 24, 25, 28],
    inputs: &[Param::required("input", "T1")],
    outputs: &[Param::required("output", "T2")],
    attrs: &[AttrDef::string("round_mode", "up"), AttrDef::int("saturate", 1), AttrDef::required("to", AttrKind::Int)],
    types: &[("T1", sets::NOT_COMPLEX), ("T2", sets::NOT_COMPLEX)],
    infer: |call| infer_cast(call, element_of_code(call.int("to")?)?),
    unranked: true,
    eval: eval!(cast),
    work: |call, outputs| Work::pointwise(call, outputs, 1),
    laws: &[Law::Pointwise],
    ..OpDef::BASE
};

static CAST_LIKE: OpDef = OpDef {
    name: "CastLike",
    doc: "The input's elements converted to the element type of the second input",
    versions: &[15, 19, 21, 23, 24, 25],
    inputs: &[Param::required("input", "T1"), Param::required("target_type", "T2")],
    attrs: &[AttrDef::string("round_mode", "up"), AttrDef::int("saturate", 1)],
    types: &[("T1", sets::NOT_COMPLEX_BEFORE_28), ("T2", sets::NOT_COMPLEX_BEFORE_28)],
    infer: |call| infer_cast(call, call.argument(1)?.ty().element()),
    eval: eval!(cast_like),
    // The second input is not read, and does not broadcast.
    laws: &[],
    ..CAST
};

/// The element type with this code in `TensorProto.DataType`. Errors: there is none.
pub(super) fn element_of_code(code: i64) -> Result<Element, Reason> {
    let element = i32::try_from(code).ok().and_then(Element::from_code);
    element.ok_or_else(|| Reason(format!("{code} is no element type")))
}

/// Smallest and largest number of an integer type; `None` for all others.
pub(super) fn integer_range(element: Element) -> Option<(i128, i128)> {
    let bits = element.bits();
    match element.kind() {
        ElementKind::Signed => Some((-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)),
        ElementKind::Unsigned => Some((0, (1i128 << bits) - 1)),
        _ => None,
    }
}

fn infer_cast(call: &Call, to: Element) -> Result<Vec<Option<Fact>>, Reason> {
    if let Argument::Other(Type::Unranked(_)) = call.argument(0)? {
        return Ok(vec![Some(Type::Unranked(to).into())]);
    }
    let from = call.ty(0)?;
    let fact = Fact::new(to, from.shape.iter().cloned());
    let content = match to {
        Bool => content::map(call, &fact, |x| content::truth(x).map(|truth| Dim::known(i64::from(truth)))),
        _ if to.is_integer() => content::map(call, &fact, |x| Some(wrapped(to, x))),
        _ => None,
    };
    Ok(vec![Some(fact.with(content))])
}

fn wrapped(to: Element, dim: &Dim) -> Dim {
    let value = dim.as_known().and_then(|value| i64::try_from(wrap(to, value.into())).ok());
    value.map_or_else(|| dim.clone(), Dim::known)
}

fn cast<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    Ok(vec![converted(call.input(0)?, element_of_code(call.int("to")?)?, rounding_of(call)?)?])
}

fn cast_like<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    Ok(vec![converted(call.input(0)?, call.input(1)?.element, rounding_of(call)?)?])
}

fn rounding_of<S: Scalar>(call: &EvalCall<S>) -> Result<Rounding, Reason> {
    let mode = match call.attrs.string("round_mode") {
        Some("up") | None => RoundMode::Up,
        Some("down") => RoundMode::Down,
        Some("nearest") => RoundMode::Nearest,
        Some(other) => return Err(Reason(format!("attribute `round_mode` is `{other}`"))),
    };
    Ok(Rounding { saturate: call.attrs.flag("saturate"), mode })
}

/// `values` rounded to the narrow floating-point type `to`, then as the carrier holds them; of other types as they are.
pub(super) fn narrowed<S: Scalar>(to: Element, values: Vec<S>, rounding: Rounding) -> Vec<S> {
    let round = |value: S| narrow::round(to, value.to_f64(), rounding).map_or(value, S::from_f64);
    values.into_iter().map(round).collect()
}

fn converted<S: Scalar>(from: &Datum<S>, to: Element, rounding: Rounding) -> Result<Datum<S>, Reason> {
    let refused = || Reason(format!("{} is not cast to {to}", from.element));
    let is_narrow = to.is_real() && to.bits() <= 8;

    // A field has residues, not magnitudes: nothing that truncates or prints them makes sense.
    let has_magnitude = || if S::ORDERED { Ok(()) } else { Err(Reason(format!("{} has no magnitude", S::NAME))) };
    let to_int = |values: Result<Vec<i128>, Reason>| Ok(Datum::of_int(to, &from.shape, values?));
    let to_bool = |values: Vec<bool>| Ok(Datum::of_bool(&from.shape, values));
    let to_text = |texts: Vec<std::string::String>| Datum {
        element: to,
        shape: from.shape.clone(),
        contents: Contents::Text(texts.into_iter().map(Bytes::from).collect::<Vec<_>>().into()),
    };
    let to_real = |values: Vec<S>| {
        if is_narrow {
            has_magnitude()?;
        }
        Ok(Datum::of_real(to, &from.shape, if is_narrow { narrowed(to, values, rounding) } else { values }))
    };
    match (to.kind(), &from.contents) {
        (ElementKind::Complex, _) | (ElementKind::Real, Contents::Complex(_)) => Err(refused()),
        (ElementKind::Real, Contents::Real(elements)) if is_narrow => to_real(elements.to_vec()),
        (ElementKind::Real, Contents::Real(elements)) => {
            Ok(Datum { element: to, shape: from.shape.clone(), contents: Contents::Real(elements.clone()) })
        }
        (ElementKind::Real, Contents::Int(elements)) => to_real(elements.iter().map(|&x| S::from_int(x)).collect()),
        (ElementKind::Real, Contents::Bool(elements)) => {
            to_real(elements.iter().map(|&x| S::from_int(x.into())).collect())
        }
        (ElementKind::Real, Contents::Text(elements)) => {
            to_real(elements.iter().map(|text| parsed(text).map(S::from_f64)).collect::<Result<_, _>>()?)
        }
        (ElementKind::Signed | ElementKind::Unsigned, contents) => match contents {
            Contents::Real(elements) => {
                has_magnitude()?;
                to_int(Ok(elements.iter().map(|x| truncated(x.to_f64()).unwrap_or(UNDEFINED_INTEGER)).collect()))
            }
            Contents::Int(elements) => to_int(Ok(elements.to_vec())),
            Contents::Bool(elements) => to_int(Ok(elements.iter().map(|&x| x.into()).collect())),
            Contents::Complex(_) => Err(refused()),
            Contents::Text(elements) => {
                let integer =
                    |text: &Bytes| match std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()) {
                        Some(value) => Ok(value),
                        None => parsed(text).and_then(truncated),
                    };
                to_int(elements.iter().map(integer).collect())
            }
        },
        (ElementKind::Bool, contents) => match contents {
            Contents::Real(elements) => to_bool(elements.iter().map(|&x| x != S::from_int(0)).collect()),
            Contents::Int(elements) => to_bool(elements.iter().map(|&x| x != 0).collect()),
            Contents::Bool(_) => Ok(from.clone()),
            Contents::Text(_) => Err(Reason::new("a string has no truth value")),
            Contents::Complex(_) => Err(refused()),
        },
        (ElementKind::Text, contents) => match contents {
            Contents::Real(elements) => {
                has_magnitude()?;
                Ok(to_text(elements.iter().map(|x| printed(from.element, x.to_f64())).collect()))
            }
            Contents::Int(elements) => Ok(to_text(elements.iter().map(i128::to_string).collect())),
            Contents::Bool(elements) => {
                Ok(to_text(elements.iter().map(|&x| if x { "True" } else { "False" }.to_owned()).collect()))
            }
            Contents::Text(_) => Ok(from.clone()),
            Contents::Complex(_) => Err(refused()),
        },
    }
}

/// What a NaN or an infinity becomes as an integer. ONNX leaves it undefined, and exporters compute such values where a
/// `Where` drops them, so a run must not end there; this is what x86 processors give. Folding refuses to compute it.
const UNDEFINED_INTEGER: i128 = i64::MIN as i128;

/// `value` rounded towards zero. Errors: NaN and infinities, which ONNX leaves undefined.
pub(super) fn truncated(value: f64) -> Result<i128, Reason> {
    if value.is_finite() { Ok(value as i128) } else { Err(Reason(format!("{value} is not an integer"))) }
}

fn parsed(text: &Bytes) -> Result<f64, Reason> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| Reason(format!("`{}` is not a number", std::string::String::from_utf8_lossy(text))))
}

/// The shortest decimal that reads back as the same number of type `element`, or of type float if it is narrow.
fn printed(element: Element, value: f64) -> std::string::String {
    match element {
        Double => format!("{value:?}"),
        Float16 => format!("{:?}", half::f16::from_f64(value)),
        Bfloat16 => format!("{:?}", half::bf16::from_f64(value)),
        _ => format!("{:?}", value as f32),
    }
    .replace("inf", "INF")
}

static IDENTITY: OpDef = OpDef {
    name: "Identity",
    doc: "output = input",
    versions: &[1, 13, 14, 16, 19, 21, 23, 24, 25],
    inputs: &[Param::required("input", "V")],
    outputs: &[Param::required("output", "V")],
    types: &[("V", sets::BEFORE_28)],
    infer: infer_identity,
    eval: eval_values!(identity),
    work: |_, _| Some(Work::free()),
    laws: &[Law::View],
    ..OpDef::BASE
};

fn infer_identity(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let content = call.given(0).and_then(|operand| operand.content).map(<[Dim]>::to_vec);
    Ok(vec![Some(Fact::from(call.argument(0)?.ty()).with(content))])
}

fn identity<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason> {
    Ok(vec![call.value(0)?.clone()])
}
