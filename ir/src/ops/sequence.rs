//! Sequences of tensors. They are no values of the IR: the canonical form resolves what it can into tensors.

use crate::attr::AttrKind;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar};
use crate::op::{AttrDef, OpDef, Param, Reason, sets};

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&SPLIT_TO_SEQUENCE, &SEQUENCE_AT, &SEQUENCE_CONSTRUCT, &CONCAT_FROM_SEQUENCE];

fn no_sequences<S: Scalar>(_: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    Err(Reason::new("sequences are resolved by the canonical form"))
}

static SPLIT_TO_SEQUENCE: OpDef = OpDef {
    name: "SplitToSequence",
    doc: "A sequence of pieces along one axis: of one size with a smaller last, or of the given sizes",
    versions: &[11, 24],
    inputs: &[Param::required("input", "T"), Param::optional("split", "I")],
    outputs: &[Param::required("output_sequence", "S")],
    attrs: &[AttrDef::int("axis", 0), AttrDef::int("keepdims", 1)],
    types: &[("T", sets::STANDARD), ("I", sets::INDEX)],
    infer: |call| {
        call.axis("axis", call.ty(0)?.rank())?;
        Ok(vec![None])
    },
    eval: eval!(no_sequences),
    ..OpDef::BASE
};

static SEQUENCE_AT: OpDef = OpDef {
    name: "SequenceAt",
    doc: "The tensor at one position of a sequence, counted from the end when negative",
    versions: &[11],
    inputs: &[Param::required("input_sequence", "S"), Param::required("position", "I")],
    outputs: &[Param::required("tensor", "T")],
    types: &[("T", sets::EARLY), ("I", sets::INDEX)],
    infer: |_| Ok(vec![None]),
    eval: eval!(no_sequences),
    ..OpDef::BASE
};

static SEQUENCE_CONSTRUCT: OpDef = OpDef {
    name: "SequenceConstruct",
    doc: "The sequence of the inputs",
    versions: &[11],
    inputs: &[Param::variadic("inputs", "T")],
    outputs: &[Param::required("output_sequence", "S")],
    types: &[("T", sets::EARLY)],
    infer: |_| Ok(vec![None]),
    eval: eval!(no_sequences),
    ..OpDef::BASE
};

static CONCAT_FROM_SEQUENCE: OpDef = OpDef {
    name: "ConcatFromSequence",
    doc: "The tensors of a sequence one after the other along an axis, or stacked along a new one",
    versions: &[11],
    inputs: &[Param::required("input_sequence", "S")],
    outputs: &[Param::required("concat_result", "T")],
    attrs: &[AttrDef::required("axis", AttrKind::Int), AttrDef::int("new_axis", 0)],
    types: &[("T", sets::EARLY)],
    infer: |_| Ok(vec![None]),
    eval: eval!(no_sequences),
    ..OpDef::BASE
};
