//! What says that two models are equal: how they were compared, and the worst difference found.

pub mod exact;

use crate::backend::{Backend, Calls, Error, Options, Program};
use crate::cpu::Cpu;
use crate::inputs::{Sizes, seeded};
use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::ir::graph::Def;
use crate::ir::value::Value;
use crate::ir::{Dim, Model, Tensor, TensorType};
use serde::Serialize;

/// Statistics of one output of two models on the same inputs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputDifference {
    /// Name of the output.
    pub name: String,
    /// Largest absolute difference.
    pub max_abs: f64,
    /// Largest absolute difference over the largest magnitude of the output.
    pub max_rel: f64,
    /// The smallest rtol for which `|a - b| <= rtol * |b|` holds for each element; infinite when an element should be 0.
    pub required_rtol: f64,
}

/// How two models were compared, and what was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Certificate {
    /// How the comparison was made.
    pub method: String,
    /// Seed of the inputs.
    pub seed: u64,
    /// The bound on the difference relative to the largest magnitude of each output.
    pub tolerance: f64,
    /// Each output.
    pub outputs: Vec<OutputDifference>,
    /// The largest `max_rel` of all outputs.
    pub worst: f64,
    /// Whether it is within the tolerance.
    pub equal: bool,
}

/// Runs both models on the CPU backend, fused calls inlined in neither, on the same seeded inputs, and compares.
///
/// Errors: a model that cannot be run, or whose interface differs.
pub fn compare(a: &Model, b: &Model, sizes: &Sizes, seed: u64, tolerance: f64) -> Result<Certificate, Diagnostics> {
    let inputs = seeded(a, sizes, seed)?;
    let given = inputs_of_other(a, b, &inputs)?;
    let (left, right) = (run_on_cpu(a, &inputs)?, run_on_cpu(b, &given)?);
    let method = format!("both models run in single precision on the CPU backend, inputs of seed {seed}");
    Ok(Certificate { method, ..Certificate::of(a, &left, &right, seed, tolerance) })
}

/// The inputs of `b` out of those that `a` is given, by name.
///
/// Errors: outputs of other names or in another order; an input of `b` that `a` does not have, or has with another type.
pub fn inputs_of_other(a: &Model, b: &Model, inputs: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>, Diagnostics> {
    let names =
        |model: &Model| -> Vec<String> { model.graph.outputs().iter().map(|output| output.name.to_string()).collect() };
    let mut problems = Diagnostics::default();
    if names(a) != names(b) {
        let message = format!("the outputs differ: `{}` and `{}`", names(a).join("`, `"), names(b).join("`, `"));
        problems.push(Diagnostic::error(Kind::Invalid, "C0130", message));
    }
    let mut given = Vec::new();
    for &id in b.graph.inputs() {
        let value = b.graph.value(id);
        let at = a.graph.inputs().iter().position(|&other| a.graph.value(other).name == value.name);
        let input = at.and_then(|at| inputs[at].clone());
        let has_default = matches!(value.def(), Def::Input { default: Some(_), .. });
        let mut differs = |message: String| problems.push(Diagnostic::error(Kind::Invalid, "C0132", message));
        match (&input, b.graph.ty(id)) {
            (None, _) if !has_default => differs(format!("the first model is given no input `{}`", value.name)),
            (Some(input), Some(ty)) if !admits(ty, input) => {
                differs(format!("input `{}` is {} in the first model and {ty} in the second", value.name, input.ty()));
            }
            _ => {}
        }
        given.push(input);
    }
    problems.into_result(given).map(|(given, _)| given)
}

/// Whether `input` fits the known parts of `ty`.
fn admits(ty: &TensorType, input: &Tensor) -> bool {
    let fits = |(dim, &size): (&Dim, &usize)| dim.as_known().is_none_or(|known| known == size as i64);
    ty.element == input.element() && ty.rank() == input.shape().len() && ty.shape.iter().zip(input.shape()).all(fits)
}

impl Certificate {
    /// Holds two results of `model`, or of one with its outputs, against each other; the method is left to say.
    pub fn of(model: &Model, left: &[Tensor], right: &[Tensor], seed: u64, tolerance: f64) -> Self {
        let names = model.graph.outputs().iter().map(|output| output.name.to_string());
        let outputs: Vec<OutputDifference> =
            names.zip(left.iter().zip(right)).map(|(name, (a, b))| difference(name, a, b)).collect();
        let worst = outputs.iter().map(|output| output.max_rel).fold(0.0, f64::max);
        let equal = outputs.iter().all(|output| output.max_rel <= tolerance);
        Self { method: String::new(), seed, tolerance, outputs, worst, equal }
    }
}

/// Runs `model` on the CPU backend. Errors: what it cannot run, or a call that fails.
pub fn run_on_cpu(model: &Model, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, Diagnostics> {
    with_cpu(model, inputs, |program, given: &[Tensor]| program.run(given))
}

/// The same for a model whose inputs or outputs may be sequences or optional values.
pub fn run_values_on_cpu(model: &Model, inputs: &[Option<Value<Tensor>>]) -> Result<Vec<Value<Tensor>>, Diagnostics> {
    with_cpu(model, inputs, |program, given: &[Value<Tensor>]| program.run_values(given))
}

/// Prepares `model` for repeated runs on the CPU backend. Errors: what it cannot run.
pub fn prepare_on_cpu(model: &Model) -> Result<Box<dyn Program>, Diagnostics> {
    const MEMORY: usize = 64 << 30;
    let options = Options { calls: Calls::Claim, memory_limit: MEMORY };
    Cpu.compile(model, &options).map_err(|Error(problems)| problems)
}

fn with_cpu<T: Clone>(
    model: &Model,
    inputs: &[Option<T>],
    run: impl FnOnce(&mut dyn Program, &[T]) -> Result<Vec<T>, Error>,
) -> Result<Vec<T>, Diagnostics> {
    // Inputs that have defaults stand last in every file that has them at all; the backend takes the rest.
    let given: Vec<T> = inputs.iter().map_while(Clone::clone).collect();
    let mut program = prepare_on_cpu(model)?;
    let outputs = run(program.as_mut(), &given).map_err(|Error(problems)| problems)?;
    model.intact()?;
    Ok(outputs)
}

/// Compares two tensors element by element; another type or shape, or a NaN on one side only, is an infinite difference.
pub fn difference(name: String, a: &Tensor, b: &Tensor) -> OutputDifference {
    let infinite =
        |name| OutputDifference { name, max_abs: f64::INFINITY, max_rel: f64::INFINITY, required_rtol: f64::INFINITY };
    if a.element() != b.element() || a.shape() != b.shape() {
        return infinite(name);
    }
    let (Some(x), Some(y)) = (a.to_f64s(), b.to_f64s()) else {
        let zero = OutputDifference { name: name.clone(), max_abs: 0.0, max_rel: 0.0, required_rtol: 0.0 };
        return if a == b { zero } else { infinite(name) };
    };
    let (mut max_abs, mut magnitude, mut required_rtol) = (0.0f64, 0.0f64, 0.0f64);
    for (x, y) in x.into_iter().zip(y) {
        if x == y || (x.is_nan() && y.is_nan()) {
            magnitude = if y.is_finite() { magnitude.max(y.abs()) } else { magnitude };
            continue;
        }
        let distance = (x - y).abs();
        let distance = if distance.is_nan() { f64::INFINITY } else { distance };
        max_abs = max_abs.max(distance);
        magnitude = magnitude.max(x.abs().max(y.abs()));
        required_rtol = required_rtol.max(distance / y.abs());
    }
    let max_rel = if max_abs == 0.0 { 0.0 } else { max_abs / magnitude };
    OutputDifference { name, max_abs, max_rel: if max_rel.is_nan() { f64::INFINITY } else { max_rel }, required_rtol }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nan_on_one_side_is_an_infinite_difference() {
        let (a, b) = (Tensor::vector(&[1.0f32, f32::NAN]), Tensor::vector(&[1.0f32, 2.0]));
        assert_eq!(difference("y".into(), &a, &b).max_rel, f64::INFINITY);
        assert_eq!(difference("y".into(), &a, &a).max_rel, 0.0);
    }

    #[test]
    fn differences_are_relative_to_the_largest_magnitude() {
        let found = difference("y".into(), &Tensor::vector(&[100.0f32, 0.5]), &Tensor::vector(&[100.0f32, 0.25]));
        assert_eq!((found.max_abs, found.max_rel, found.required_rtol), (0.25, 0.0025, 1.0));
    }
}
