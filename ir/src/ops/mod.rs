//! The operator table. One family a file, one static an operator; this file lists the families.

mod activation;
mod arithmetic;
mod attention;
mod bits;
#[cfg(test)]
mod cases;
mod cast;
mod columns;
mod comparison;
mod content;
mod control;
mod convolution;
mod deformable;
mod determinant;
mod einsum;
mod flex_attention;
mod fourier;
mod functions;
mod image;
mod indexing;
mod lanes;
mod linear;
mod linear_attention;
mod loss;
mod ml;
mod movement;
mod ngrams;
mod normalization;
mod optional;
mod pointwise;
mod pooling;
mod quantization;
mod quantized;
mod random;
mod re2;
mod recurrent;
mod reduction;
mod resize;
mod roi;
mod rotary;
mod sampling;
mod scatter;
mod sequence;
mod shape;
mod signal;
mod slice;
mod softmax;
mod sorting;
mod text;
mod training;
mod trees;
mod unique;
mod view;
mod windows;

use crate::graph::Op;
use crate::op::{CANONICAL_OPSET, OpDef};
use rustc_hash::FxHashMap;
use std::sync::OnceLock;

/// Domain of classical machine learning.
const ML: &str = "ai.onnx.ml";
/// Domain of operators that ONNX tries out.
const PREVIEW: &str = "ai.onnx.preview";
/// Domain of the operators of training.
const TRAINING: &str = "ai.onnx.preview.training";

/// The newest version of the operator set `domain` that the declarations know; `None` for one of which there are none.
pub fn newest_version(domain: &str) -> Option<u64> {
    match domain {
        "" => Some(CANONICAL_OPSET),
        ML => Some(5),
        PREVIEW | TRAINING => Some(1),
        _ => None,
    }
}

/// Every operator, by family.
pub const FAMILIES: &[(&str, &[&OpDef])] = &[
    ("activation", activation::OPS),
    ("shape", shape::OPS),
    ("view", view::OPS),
    ("movement", movement::OPS),
    ("slice", slice::OPS),
    ("indexing", indexing::OPS),
    ("scatter", scatter::OPS),
    ("arithmetic", arithmetic::OPS),
    ("cast", cast::OPS),
    ("comparison", comparison::OPS),
    ("functions", functions::OPS),
    ("quantization", quantization::OPS),
    ("quantized", quantized::OPS),
    ("softmax", softmax::OPS),
    ("convolution", convolution::OPS),
    ("deformable", deformable::OPS),
    ("columns", columns::OPS),
    ("pooling", pooling::OPS),
    ("linear", linear::OPS),
    ("einsum", einsum::OPS),
    ("attention", attention::OPS),
    ("flex_attention", flex_attention::OPS),
    ("rotary", rotary::OPS),
    ("linear_attention", linear_attention::OPS),
    ("recurrent", recurrent::OPS),
    ("resize", resize::OPS),
    ("sampling", sampling::OPS),
    ("roi", roi::OPS),
    ("sequence", sequence::OPS),
    ("optional", optional::OPS),
    ("control", control::OPS),
    ("reduction", reduction::OPS),
    ("sorting", sorting::OPS),
    ("unique", unique::OPS),
    ("normalization", normalization::OPS),
    ("bits", bits::OPS),
    ("determinant", determinant::OPS),
    ("image", image::OPS),
    ("loss", loss::OPS),
    ("ngrams", ngrams::OPS),
    ("random", random::OPS),
    ("signal", signal::OPS),
    ("text", text::OPS),
    ("ml", ml::OPS),
    ("trees", trees::OPS),
    ("training", training::OPS),
];

/// Every operator, in the order of the families.
pub fn all() -> impl Iterator<Item = &'static OpDef> {
    FAMILIES.iter().flat_map(|(_, ops)| ops.iter().copied())
}

/// The operator `name` of `domain` (empty for `ai.onnx`), when the table has it.
pub fn lookup(domain: &str, name: &str) -> Option<&'static OpDef> {
    static TABLE: OnceLock<FxHashMap<(&str, &str), &'static OpDef>> = OnceLock::new();
    let table = TABLE.get_or_init(|| all().map(|def| ((def.domain, def.name), def)).collect());
    table.get(&(domain, name)).copied()
}

/// The built-in operator `name` of the default domain, for names written in our own code.
pub fn builtin(name: &str) -> Op {
    match lookup("", name) {
        Some(def) => Op::Builtin(def),
        None => unreachable!("the operator table has no `{name}`"),
    }
}
