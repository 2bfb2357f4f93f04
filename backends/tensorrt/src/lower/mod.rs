//! Lowers a model to a [`NetworkSpec`].
//!
//! One file a family, as in the operator table of the IR; [`FAMILIES`] lists them. A fused operator has a body, and its body is
//! lowered in its place: TensorRT fuses by itself. What is known when the model is lowered (weights, extents, shape arithmetic)
//! is computed here; what depends on dynamic extents becomes shape tensors.
//!
//! Guarantees:
//! - inputs and outputs have the names, types and extents of the model;
//! - every layer is named after a node and lists it as its origin, so kernels can be traced back;
//! - the bytes of weights are shared with the model, never copied, unless the model holds a recipe instead of bytes;
//! - everything that can't be lowered is reported at once.

mod activation;
mod arithmetic;
mod attention;
mod builder;
mod call;
mod cast;
mod comparison;
mod control;
mod convolution;
mod flex_attention;
mod flow;
mod indexing;
mod linear;
mod linear_attention;
mod loss;
mod movement;
mod normalization;
mod operand;
mod pooling;
mod profile;
mod quantized;
mod recurrent;
mod reduction;
mod refusal;
mod rotary;
mod sampling;
mod shape;
mod slicing;
mod terms;
mod turns;
mod view;
mod walk;

use crate::engine::Profile;
use crate::spec::NetworkSpec;
use builder::Builder;
use call::Call;
use eutectic_ir::diag::Diagnostics;
use eutectic_ir::{Diagnostic, Model};
use operand::Operand;
use refusal::Refusal;

/// What lowering needs beside the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowerOptions {
    /// Ranges of the dynamic inputs: at least one profile when an input has a dynamic extent.
    pub profiles: Vec<Profile>,
}

/// A model as a TensorRT network.
#[derive(Clone, Debug, PartialEq)]
pub struct LoweredModel {
    /// The network.
    pub spec: NetworkSpec,
    /// The profiles, checked against the inputs; they go into [`crate::engine::BuildOptions`].
    pub profiles: Vec<Profile>,
}

/// What lowering a call gives: a value for each output.
type Lowered = Result<Vec<Operand>, Refusal>;

/// How one operator is lowered.
type Lowering = (&'static str, fn(&mut Builder, &Call) -> Lowered);

/// Every operator that has a lowering, by family.
const FAMILIES: &[(&str, &[Lowering])] = &[
    ("convolution", convolution::OPS),
    ("pooling", pooling::OPS),
    ("linear", linear::OPS),
    ("arithmetic", arithmetic::OPS),
    ("activation", activation::OPS),
    ("comparison", comparison::OPS),
    ("cast", cast::OPS),
    ("reduction", reduction::OPS),
    ("normalization", normalization::OPS),
    ("movement", movement::OPS),
    ("slicing", slicing::OPS),
    ("indexing", indexing::OPS),
    ("shape", shape::OPS),
    ("attention", attention::OPS),
    ("rotary", rotary::OPS),
    ("linear_attention", linear_attention::OPS),
    ("recurrent", recurrent::OPS),
    ("sampling", sampling::OPS),
    ("loss", loss::OPS),
    ("quantized", quantized::OPS),
];

fn lowering(name: &str) -> Option<fn(&mut Builder, &Call) -> Lowered> {
    let mut all = FAMILIES.iter().flat_map(|(_, ops)| ops.iter());
    all.find(|(known, _)| *known == name).map(|(_, lower)| *lower)
}

/// The names of all operators of `ai.onnx` that have a lowering, with their family.
pub fn operators() -> impl Iterator<Item = (&'static str, &'static str)> {
    let plain = FAMILIES.iter().flat_map(|(family, ops)| ops.iter().map(|(name, _)| (*family, *name)));
    plain.chain(control::OPS.iter().map(|(name, _)| ("control", *name)))
}

/// The network of `model`.
///
/// Errors, all at once: B0600 an operator has no lowering; B0601 a call has no form in TensorRT; B0602 an input or output has
/// none; B0603 a dynamic input has no profile; B0604 a profile does not fit its input; B0605 the model is not sound.
pub fn lower(model: &Model, options: &LowerOptions) -> Result<LoweredModel, Diagnostics> {
    let (spec, mut problems) = walk::network(model);
    problems.extend(profile::check(&model.graph, &options.profiles));
    if let Err(error) = spec.check()
        && !problems.has_errors()
    {
        problems.push(crate::Error::Spec(error).diagnostic());
    }
    let (spec, _) = problems.into_result(spec)?;
    Ok(LoweredModel { spec, profiles: options.profiles.clone() })
}

/// Why `model` can't be lowered: one diagnostic for each operator and reason; empty when it can.
pub fn unsupported(model: &Model) -> Vec<Diagnostic> {
    walk::network(model).1.0
}
