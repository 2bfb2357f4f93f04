//! Values that may be absent.

use crate::attr::AttrKind;
use crate::eval::{Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Fact, OpDef, Param, Reason, Work, sets};
use crate::types::{Element, Type};
use crate::value::Value;
use crate::{eval, eval_values};

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&OPTIONAL, &OPTIONAL_GET_ELEMENT, &OPTIONAL_HAS_ELEMENT];

const FREE: OpDef = OpDef { work: |_, _| Some(Work::free()), ..OpDef::BASE };

static OPTIONAL: OpDef = OpDef {
    name: "Optional",
    doc: "The input as an optional value, or an empty one of a type",
    versions: &[15, 28],
    inputs: &[Param::optional("input", "V")],
    outputs: &[Param::required("output", "O")],
    attrs: &[AttrDef::optional("type", AttrKind::Type)],
    types: &[("V", sets::ALL)],
    infer: |call| {
        let held = match call.argument(0) {
            Ok(argument) => Some(argument.ty()),
            Err(_) => call.attrs.ty("type").cloned(),
        };
        let held = held.ok_or_else(|| Reason::new("neither an input nor attribute `type` is given"))?;
        Ok(vec![Some(held.optional().into())])
    },
    unranked: true,
    eval: eval_values!(optional),
    ..FREE
};

fn optional<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason> {
    let held = call.value(0).ok().cloned().map(Box::new);
    Ok(vec![Value::Optional(held)])
}

static OPTIONAL_GET_ELEMENT: OpDef = OpDef {
    name: "OptionalGetElement",
    doc: "What an optional value holds; any other value as it is",
    versions: &[15, 18, 28],
    inputs: &[Param::required("input", "O")],
    outputs: &[Param::required("output", "V")],
    types: &[("O", sets::ALL), ("V", sets::ALL)],
    infer: |call| {
        Ok(vec![Some(match call.argument(0)?.ty() {
            Type::Optional(held) => Fact::from(*held),
            other => Fact::from(other),
        })])
    },
    unranked: true,
    eval: eval_values!(optional_get_element),
    ..FREE
};

fn optional_get_element<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason> {
    match call.value(0)? {
        Value::Optional(Some(held)) => Ok(vec![Value::clone(held)]),
        Value::Optional(None) => Err(Reason::new("the optional value is empty")),
        other => Ok(vec![other.clone()]),
    }
}

static OPTIONAL_HAS_ELEMENT: OpDef = OpDef {
    name: "OptionalHasElement",
    doc: "Whether there is a value: false when the input is left out or an empty optional value",
    versions: &[15, 18, 28],
    inputs: &[Param::optional("input", "O")],
    outputs: &[Param::required("output", "B")],
    types: &[("O", sets::ALL), ("B", sets::BOOL)],
    infer: |_| Ok(vec![Some(Fact::new(Element::Bool, []))]),
    unranked: true,
    eval: eval!(optional_has_element),
    ..FREE
};

fn optional_has_element<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let has = call.value(0).is_ok_and(|value| !matches!(value, Value::Optional(None)));
    Ok(vec![Datum::of_bool(&[], vec![has])])
}
