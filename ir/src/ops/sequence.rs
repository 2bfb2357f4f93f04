//! Sequences of tensors. The canonical form resolves those whose tensors the graph shows; the others stay as they are.
//!
//! The type of a sequence holds the dims that all its items share. A dim in which they differ is an unknown one, which
//! stands for another size in each item: taking an item out renames it.

use super::movement::{identity, joined, moved};
use super::shape::{contents, overflow};
use crate::attr::AttrKind;
use crate::dim::Dim;
use crate::eval::{Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::types::{Element, TensorType, Type, normalize_axis};
use crate::value::Value;
use crate::{eval, eval_values};

/// The operators of this family.
pub const OPS: &[&OpDef] = &[
    &SEQUENCE_EMPTY,
    &SEQUENCE_CONSTRUCT,
    &SEQUENCE_INSERT,
    &SEQUENCE_ERASE,
    &SEQUENCE_AT,
    &SEQUENCE_LENGTH,
    &SPLIT_TO_SEQUENCE,
    &CONCAT_FROM_SEQUENCE,
];

/// What the items of sequence input `index` have in common, dims that may differ renamed for this call.
///
/// Errors: left out, or no sequence.
pub(super) fn item_type(call: &Call, index: usize) -> Result<Type, Reason> {
    match call.argument(index)?.ty() {
        Type::Sequence(item) => Ok(renamed(*item, call)),
        other => Err(Reason(format!("input {index} is {other}, a sequence is expected"))),
    }
}

fn renamed(item: Type, call: &Call) -> Type {
    match item {
        Type::Tensor(ty) => {
            let dims = ty.shape.iter().enumerate();
            let dims = dims.map(|(axis, dim)| if dim.is_unknown() { call.fresh(axis) } else { dim.clone() });
            Type::Tensor(TensorType::new(ty.element, dims))
        }
        Type::Unranked(element) => Type::Unranked(element),
        Type::Sequence(item) => renamed(*item, call).sequence(),
        Type::Optional(item) => renamed(*item, call).optional(),
    }
}

fn join(call: &Call, a: &Type, b: &Type) -> Result<Type, Reason> {
    a.join(b, &|axis| call.fresh(axis)).ok_or_else(|| Reason(format!("a sequence cannot hold both {a} and {b}")))
}

fn items<'a, S: Scalar>(call: &'a EvalCall<S>, index: usize) -> Result<&'a [Value<Datum<S>>], Reason> {
    match call.value(index)? {
        Value::Sequence(items) => Ok(items),
        other => Err(Reason(format!("input {index} is {}, a sequence is expected", other.kind()))),
    }
}

fn item_tensors<'a, S: Scalar>(call: &'a EvalCall<S>, index: usize) -> Result<Vec<&'a Datum<S>>, Reason> {
    let tensor = |item: &'a Value<Datum<S>>| {
        item.tensor().ok_or_else(|| Reason(format!("the sequence holds {}, a tensor is expected", item.kind())))
    };
    items(call, index)?.iter().map(tensor).collect()
}

/// The only element of integer input `index`; `None` when it is left out. Errors: not one integer.
fn position<S: Scalar>(call: &EvalCall<S>, index: usize) -> Result<Option<i64>, Reason> {
    if call.given(index).is_none() {
        return Ok(None);
    }
    match call.ints(index)?[..] {
        [position] => Ok(Some(position)),
        _ => Err(Reason(format!("input {index} is expected to be one integer"))),
    }
}

fn place(position: i64, len: usize) -> Result<usize, Reason> {
    normalize_axis(position, len)
        .ok_or_else(|| Reason(format!("position {position} is out of range for a sequence of {len}")))
}

const FREE: OpDef = OpDef { work: |_, _| Some(Work::free()), ..OpDef::BASE };

static SEQUENCE_EMPTY: OpDef = OpDef {
    name: "SequenceEmpty",
    doc: "The sequence without items",
    versions: &[11],
    outputs: &[Param::required("output", "S")],
    attrs: &[AttrDef::optional("dtype", AttrKind::Int)],
    infer: |call| {
        let code = call.attrs.int("dtype").unwrap_or(i64::from(Element::Float.code()));
        let element = i32::try_from(code).ok().and_then(Element::from_code);
        let element = element.ok_or_else(|| Reason(format!("`dtype` {code} is no element type")))?;
        Ok(vec![Some(Type::Unranked(element).sequence().into())])
    },
    eval: eval_values!(sequence_empty),
    ..FREE
};

fn sequence_empty<S: Scalar>(_: &EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason> {
    Ok(vec![Value::Sequence(Vec::new())])
}

static SEQUENCE_CONSTRUCT: OpDef = OpDef {
    name: "SequenceConstruct",
    doc: "The sequence of the inputs",
    versions: &[11],
    inputs: &[Param::variadic("inputs", "T")],
    outputs: &[Param::required("output_sequence", "S")],
    types: &[("T", sets::EARLY)],
    infer: |call| {
        let mut item = call.argument(0)?.ty();
        for index in 1..call.inputs.len() {
            item = join(call, &item, &call.argument(index)?.ty())?;
        }
        Ok(vec![Some(item.sequence().into())])
    },
    unranked: true,
    eval: eval_values!(sequence_construct),
    ..FREE
};

fn sequence_construct<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason> {
    let items = (0..call.inputs.len()).map(|index| call.value(index).cloned());
    Ok(vec![Value::Sequence(items.collect::<Result<_, _>>()?)])
}

static SEQUENCE_INSERT: OpDef = OpDef {
    name: "SequenceInsert",
    doc: "The sequence with a tensor inserted before a position, at the end without one",
    versions: &[11],
    inputs: &[Param::required("input_sequence", "S"), Param::required("tensor", "T"), Param::optional("position", "I")],
    outputs: &[Param::required("output_sequence", "S")],
    types: &[("T", sets::EARLY), ("I", sets::INDEX)],
    infer: |call| {
        let item = join(call, &item_type(call, 0)?, &call.argument(1)?.ty())?;
        Ok(vec![Some(item.sequence().into())])
    },
    unranked: true,
    eval: eval_values!(sequence_insert),
    ..FREE
};

fn sequence_insert<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason> {
    let mut items = items(call, 0)?.to_vec();
    let at = match position(call, 2)? {
        // The end is a place too.
        Some(position) if position == items.len() as i64 => items.len(),
        Some(position) => place(position, items.len())?,
        None => items.len(),
    };
    items.insert(at, call.value(1)?.clone());
    Ok(vec![Value::Sequence(items)])
}

static SEQUENCE_ERASE: OpDef = OpDef {
    name: "SequenceErase",
    doc: "The sequence without the item at a position, the last without one",
    versions: &[11],
    inputs: &[Param::required("input_sequence", "S"), Param::optional("position", "I")],
    outputs: &[Param::required("output_sequence", "S")],
    types: &[("I", sets::INDEX)],
    infer: |call| Ok(vec![Some(item_type(call, 0)?.sequence().into())]),
    eval: eval_values!(sequence_erase),
    ..FREE
};

fn sequence_erase<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason> {
    let mut items = items(call, 0)?.to_vec();
    items.remove(place(position(call, 1)?.unwrap_or(-1), items.len())?);
    Ok(vec![Value::Sequence(items)])
}

static SEQUENCE_AT: OpDef = OpDef {
    name: "SequenceAt",
    doc: "The tensor at one position of a sequence, counted from the end when negative",
    versions: &[11],
    inputs: &[Param::required("input_sequence", "S"), Param::required("position", "I")],
    outputs: &[Param::required("tensor", "T")],
    types: &[("T", sets::EARLY), ("I", sets::INDEX)],
    infer: |call| Ok(vec![Some(item_type(call, 0)?.into())]),
    eval: eval_values!(sequence_at),
    ..FREE
};

fn sequence_at<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason> {
    let items = items(call, 0)?;
    let position = position(call, 1)?.ok_or_else(|| Reason::new("input 1 is missing"))?;
    Ok(vec![items[place(position, items.len())?].clone()])
}

static SEQUENCE_LENGTH: OpDef = OpDef {
    name: "SequenceLength",
    doc: "The number of items of a sequence",
    versions: &[11],
    inputs: &[Param::required("input_sequence", "S")],
    outputs: &[Param::required("length", "I")],
    types: &[("I", sets::INT64)],
    infer: |call| {
        item_type(call, 0)?;
        Ok(vec![Some(Fact::new(Element::Int64, []))])
    },
    eval: eval!(sequence_length),
    ..FREE
};

fn sequence_length<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    Ok(vec![Datum::of_i64s(&[], &[items(call, 0)?.len() as i64])])
}

static SPLIT_TO_SEQUENCE: OpDef = OpDef {
    name: "SplitToSequence",
    doc: "A sequence of pieces along one axis: of one size with a smaller last, or of the given sizes",
    versions: &[11, 24],
    inputs: &[Param::required("input", "T"), Param::optional("split", "I")],
    outputs: &[Param::required("output_sequence", "S")],
    attrs: &[AttrDef::int("axis", 0), AttrDef::int("keepdims", 1)],
    types: &[("T", sets::STANDARD), ("I", sets::INDEX)],
    infer: infer_split_to_sequence,
    eval: eval_values!(split_to_sequence),
    ..OpDef::BASE
};

fn infer_split_to_sequence(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let ty = call.ty(0)?;
    let axis = call.axis("axis", ty.rank())?;
    let mut shape = ty.shape.clone();
    match call.given(1) {
        None if !call.attrs.flag("keepdims") => drop(shape.remove(axis)),
        None => shape[axis] = Dim::known(1),
        Some(split) => {
            let is_scalar = split.ty.rank() == 0;
            let pieces = contents(split);
            let equal = match pieces.as_deref() {
                Some([piece]) if is_scalar => shape[axis].exact_div(piece).map(|_| piece.clone()),
                Some([first, rest @ ..]) if rest.iter().all(|piece| piece == first) => Some(first.clone()),
                _ => None,
            };
            shape[axis] = equal.unwrap_or_else(|| call.fresh(axis));
        }
    }
    Ok(vec![Some(Type::Tensor(TensorType::new(ty.element, shape)).sequence().into())])
}

fn split_to_sequence<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason> {
    let x = call.input(0)?;
    let axis = call.axis("axis", x.rank())?;
    let size = x.shape[axis];
    let squeeze = call.given(1).is_none() && !call.attrs.flag("keepdims");
    let pieces: Vec<usize> = match call.given(1) {
        None => vec![1; size],
        Some(split) => {
            let wrong = || Reason::new("the pieces are expected to be positive and to fill the axis");
            let given = split.to_i64s()?;
            let given: Option<Vec<usize>> = given.into_iter().map(|piece| usize::try_from(piece).ok()).collect();
            let given = given.ok_or_else(wrong)?;
            match (split.rank(), given.as_slice()) {
                (0, [piece]) => {
                    let n_whole = size.checked_div(*piece).ok_or_else(wrong)?;
                    let rest = size % piece;
                    std::iter::repeat_n(*piece, n_whole).chain((rest > 0).then_some(rest)).collect()
                }
                (1, pieces) if pieces.iter().try_fold(0usize, |sum, piece| sum.checked_add(*piece)) == Some(size) => {
                    given
                }
                _ => return Err(wrong()),
            }
        }
    };
    let whole = identity(&x.shape);
    let mut start = 0;
    let mut items = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let mut tables = whole.clone();
        tables[axis] = whole[axis][start..start + piece].to_vec();
        start += piece;
        let part = moved(x, &tables)?;
        let mut shape = part.shape.clone();
        if squeeze {
            shape.remove(axis);
        }
        items.push(Value::Tensor(part.reshaped(&shape)?));
    }
    Ok(vec![Value::Sequence(items)])
}

static CONCAT_FROM_SEQUENCE: OpDef = OpDef {
    name: "ConcatFromSequence",
    doc: "The tensors of a sequence one after the other along an axis, or stacked along a new one",
    versions: &[11],
    inputs: &[Param::required("input_sequence", "S")],
    outputs: &[Param::required("concat_result", "T")],
    attrs: &[AttrDef::required("axis", AttrKind::Int), AttrDef::int("new_axis", 0)],
    types: &[("T", sets::EARLY)],
    infer: |call| {
        let Type::Tensor(mut item) = item_type(call, 0)? else { return Ok(vec![None]) };
        let stacked = call.attrs.flag("new_axis");
        let axis = call.axis("axis", item.rank() + usize::from(stacked))?;
        // How many items there are is not known.
        let total = Dim::fresh(call.scope, item.rank());
        if stacked {
            item.shape.insert(axis, total);
        } else {
            item.shape[axis] = total;
        }
        Ok(vec![Some(item.into())])
    },
    eval: eval!(concat_from_sequence),
    ..OpDef::BASE
};

fn concat_from_sequence<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let parts = item_tensors(call, 0)?;
    let rank = parts.first().ok_or_else(|| Reason::new("the sequence is empty"))?.rank();
    if call.attrs.flag("new_axis") {
        return Ok(vec![stacked(&parts, call.axis("axis", rank + 1)?)?]);
    }
    Ok(vec![joined(&parts, call.axis("axis", rank)?)?])
}

/// `parts`, of which there is at least one, stacked along the new axis `axis`. Errors: their shapes differ.
pub(super) fn stacked<S: Scalar>(parts: &[&Datum<S>], axis: usize) -> Result<Datum<S>, Reason> {
    let widened = |part: &&Datum<S>| {
        let mut shape = part.shape.clone();
        if axis > shape.len() {
            return Err(overflow());
        }
        shape.insert(axis, 1);
        part.reshaped(&shape)
    };
    let parts: Vec<Datum<S>> = parts.iter().map(widened).collect::<Result<_, _>>()?;
    joined(&parts.iter().collect::<Vec<_>>(), axis)
}
