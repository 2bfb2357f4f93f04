//! Certificates without rounding: both models in finite fields, on the same random inputs and weights, and the constants that
//! were folded computed anew.
//!
//! `eutectic_field` says what is taken for what. Weights of the second model that hold what a call of constants gave are computed
//! anew in the field of the weights of the first; how far rounding moved them is looked at apart, in double precision.

use crate::field::prime::{LANES, primes, random_of, scramble};
use crate::field::{Drawn, Evaluation, Origins, Value, equal, evaluate, is_undefined};
use crate::inputs::Sizes;
use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::ir::eval::Datum;
use crate::ir::graph::{Def, Graph, Op, ValueId};
use crate::ir::{Element, Model, Tensor};
use crate::passes::cost::{CostModel, Device};
use crate::passes::greedy;
use crate::passes::pass::Computed;
use crate::passes::rules::{Library, Rule};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Laws of functions that hold in no field: these rules are applied to both models first, where they stand. `eutectic rules
/// verify` verifies each of them, as every other.
const LEMMAS: &[&str] = &[
    "softmax",
    "log_softmax",
    "relu_of_sigmoid",
    "relu_of_softmax",
    "clip_of_relu",
    "clip_of_clip",
    "clip_after_relu",
    "relu_after_clip",
    "abs_of_max",
    "leaky_relu_of_max",
    "min_of_relu",
    "clip_of_min_max",
    "clip_of_max_min",
];

/// What exact arithmetic says of two models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every output is equal in every lane.
    Equal,
    /// Some output is not: the models differ, or one was made of the other by a law that is not known here.
    Different,
    /// Nothing can be said, and why is told.
    NotCovered,
}

/// The weights of the second model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Weights {
    /// Those that the first model has too.
    pub same: usize,
    /// Those that were computed of weights of the first.
    pub folded: usize,
    /// The largest difference between a folded weight and what double precision gives, relative to the largest magnitude in it.
    pub worst_folding: f64,
    /// Large ones that are neither, by name: they are compared element by element with whatever stands in their place.
    pub unmatched: Vec<String>,
}

/// The certificate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exact {
    /// What was found.
    pub verdict: Verdict,
    /// Why nothing can be said, or which outputs differ.
    pub reason: Option<String>,
    /// The primes that arithmetic was modulo.
    pub primes: [u64; LANES],
    /// A bound of the degree of the outputs as polynomials in inputs, weights and results of functions.
    pub degree: u64,
    /// The probability that different models agree, at most: degree / p for each prime p, results of functions taken as independent
    /// variables.
    pub bound: f64,
    /// Rules that were applied to both models first, because no field knows their law.
    pub lemmas: Vec<String>,
    /// Functions of which it is only used that equal operands give equal results.
    pub functions: Vec<String>,
    /// The weights.
    pub weights: Weights,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Exact {
    /// Why it is not equal.
    pub fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or("no reason is known")
    }
}

/// How weights of the second model may have been computed of those of the first.
#[derive(Clone, Copy, Debug)]
pub enum Folded<'a> {
    /// By these calls, bit for bit: our own passes recorded them.
    Recorded(&'a [Computed]),
    /// By calls like these, up to rounding: another tool may have computed the same in its own way.
    Guessed(&'a [Computed]),
}

/// Compares `after` with `before` in every lane, on inputs drawn from `seed`.
///
/// Errors: inputs or outputs that do not correspond, or inputs of unknown type.
pub fn certify(
    before: &Model,
    after: &Model,
    folded: Folded<'_>,
    sizes: &Sizes,
    seed: u64,
) -> Result<Exact, Diagnostics> {
    let begun = std::time::Instant::now();
    let mut origins = Origins::of(&before.graph);
    let (Folded::Recorded(computed) | Folded::Guessed(computed)) = folded;
    for call in computed {
        origins.computed(&call.op, &call.attrs, &call.inputs, &call.results);
    }
    let inputs = drawn_inputs(before, sizes, seed)?;
    let others = corresponding(before, after, &inputs)?;
    let weights = weights(after, &mut origins, folded);
    let ((first, mut lemmas), (second, others_lemmas)) = (with_lemmas(before)?, with_lemmas(after)?);
    lemmas.extend(others_lemmas);
    let mut certificate = Exact {
        verdict: Verdict::NotCovered,
        reason: None,
        primes: primes().each_ref().map(|prime| prime.modulus as u64),
        degree: 0,
        bound: 1.0,
        lemmas: lemmas.into_iter().collect(),
        functions: Vec::new(),
        weights,
        seconds: 0.0,
    };
    let unknown: Vec<String> = [("first", before), ("second", after)]
        .iter()
        .filter_map(|(which, model)| Some(format!("the {which} model calls {}", unknown_calls(&model.graph)?)))
        .collect();
    if unknown.is_empty() {
        let run = |model: &Model, inputs: &[Value]| evaluate(&model.graph, inputs, &origins);
        match rayon::join(|| run(&first, &inputs), || run(&second, &others)) {
            (Ok(left), Ok(right)) => judge(&mut certificate, before, &left, &right),
            (Err(error), _) => certificate.reason = Some(format!("the first model: {error}")),
            (_, Err(error)) => certificate.reason = Some(format!("the second model: {error}")),
        }
    } else {
        certificate.reason = Some(unknown.join("; "));
    }
    certificate.weights.worst_folding = worst_folding(after, &origins);
    certificate.seconds = begun.elapsed().as_secs_f64();
    Ok(certificate)
}

/// A copy of `model` to which [`LEMMAS`] are applied, and which of them were. Errors: a built-in rule does not load.
fn with_lemmas(model: &Model) -> Result<(Model, BTreeSet<String>), Diagnostics> {
    let mut copy = model.clone();
    let library = Library::built_in()?;
    let rules: Vec<Arc<Rule>> = LEMMAS.iter().filter_map(|name| library.rule(name)).cloned().collect();
    let done = greedy::rewrite(&mut copy, &rules, &CostModel::new(Device::h200()), &|_| true, greedy::Limits::STANDARD);
    let applied = done.rules.iter().filter(|rule| rule.n_applied > 0).map(|rule| rule.name.to_string());
    Ok((copy, applied.collect()))
}

/// The operators that `graph` calls and nobody here knows, each with the number of its calls.
fn unknown_calls(graph: &Graph) -> Option<String> {
    fn count(graph: &Graph, counts: &mut BTreeMap<String, usize>) {
        for (_, node) in graph.nodes() {
            if matches!(node.op, Op::Opaque(_)) {
                *counts.entry(node.op.to_string()).or_default() += 1;
            }
            node.bodies().for_each(|body| count(body, counts));
        }
    }
    let mut counts = BTreeMap::new();
    count(graph, &mut counts);
    let calls: Vec<String> = counts.iter().map(|(op, n)| format!("{op} ({n} calls, not known)")).collect();
    (!calls.is_empty()).then(|| calls.join(", "))
}

fn judge(certificate: &mut Exact, model: &Model, left: &Evaluation, right: &Evaluation) {
    certificate.degree = left.degree.max(right.degree);
    let chance = |modulus: &u64| (certificate.degree as f64 / *modulus as f64).min(1.0);
    certificate.bound = certificate.primes.iter().map(chance).product();
    certificate.functions = left.functions.union(&right.functions).map(ToString::to_string).collect();
    let names = model.graph.outputs().iter().map(|output| output.name.to_string());
    let mut differing = Vec::new();
    for (name, (left, right)) in names.zip(left.outputs.iter().zip(&right.outputs)) {
        if is_undefined(left) || is_undefined(right) {
            certificate.reason = Some(format!("output `{name}` is not a number in exact arithmetic"));
            return;
        }
        if !equal(left, right) {
            differing.push(name);
        }
    }
    certificate.verdict = if differing.is_empty() { Verdict::Equal } else { Verdict::Different };
    certificate.reason = (!differing.is_empty()).then(|| format!("different outputs: `{}`", differing.join("`, `")));
}

/// An operand for each input, by position: reals drawn in the field, integers below what they index, defaults as they are.
fn drawn_inputs(model: &Model, sizes: &Sizes, seed: u64) -> Result<Vec<Value>, Diagnostics> {
    let graph = &model.graph;
    let mut problems = Diagnostics::default();
    let mut inputs = Vec::new();
    for (at, &id) in graph.inputs().iter().enumerate() {
        let value = graph.value(id);
        let drawn = match value.def() {
            Def::Input { default: Some(default), .. } => Datum::of_tensor(default).ok().map(Value::Numbers),
            _ => graph.ty(id).and_then(|ty| {
                let size = |dim: &crate::ir::Dim| sizes.of(dim).and_then(|size| usize::try_from(size).ok());
                let shape: Vec<usize> = ty.shape.iter().map(size).collect::<Option<_>>()?;
                draw(ty.element, &shape, rows_indexed(graph, id), scramble(seed ^ scramble(at as u64)))
            }),
        };
        match drawn {
            Some(drawn) => inputs.push(drawn),
            None => {
                let found = value.ty.as_ref().map_or("of unknown type".into(), ToString::to_string);
                let message = format!("input `{}` ({found}) cannot be drawn at random", value.name);
                problems.push(Diagnostic::error(Kind::Unsupported, "C0131", message).help("give the input a type"));
            }
        }
    }
    if problems.has_errors() { Err(problems) } else { Ok(inputs) }
}

fn draw(element: Element, shape: &[usize], below: u64, seed: u64) -> Option<Value> {
    let count = crate::ir::tensor::count_of(shape)?;
    let word = |at: usize| scramble(seed ^ scramble(at as u64));
    if element.is_real() {
        let mut lanes: [Vec<f64>; LANES] = Default::default();
        for at in 0..count {
            lanes.iter_mut().zip(random_of(word(at), std::iter::empty())).for_each(|(lane, x)| lane.push(x));
        }
        let lanes = lanes.map(|lane| Datum::of_real(element, shape, lane));
        return Some(Drawn { lanes, degree: 1, numbers: None }.into());
    }
    if element == Element::Bool {
        return Some(Value::Numbers(Datum::of_bool(shape, (0..count).map(|at| word(at) & 1 == 1).collect())));
    }
    element.is_integer().then(|| {
        let numbers = (0..count).map(|at| i128::from(word(at) % below)).collect();
        Value::Numbers(Datum::of_int(element, shape, numbers))
    })
}

/// The rows of the smallest table that `input` indexes; 2 when none is seen.
fn rows_indexed(graph: &Graph, input: ValueId) -> u64 {
    let mut least = None;
    for (_, node) in graph.nodes().filter(|(_, node)| node.op.is("Gather") && node.attrs.int("axis") == Some(0)) {
        let mut indices = node.input(1);
        while let Some((producer, _)) = indices.and_then(|id| graph.producer(id)) {
            let producer = graph.node(producer);
            let keeps = ["Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"].iter().any(|name| producer.op.is(name));
            indices = producer.input(0).filter(|_| keeps);
        }
        let table = node.input(0).and_then(|id| graph.weight(id)).and_then(|table| table.shape().first().copied());
        if let Some(rows) = table.filter(|&rows| indices == Some(input) && rows > 0) {
            least = Some(least.map_or(rows, |least: usize| least.min(rows)));
        }
    }
    least.unwrap_or(2) as u64
}

/// The operands of `after`, by the names that `before` has for them. Errors: an interface that differs.
fn corresponding(before: &Model, after: &Model, inputs: &[Value]) -> Result<Vec<Value>, Diagnostics> {
    let names = |model: &Model| model.graph.outputs().iter().map(|output| output.name.to_string()).collect::<Vec<_>>();
    if names(before) != names(after) {
        let message =
            format!("the outputs differ: `{}` and `{}`", names(before).join("`, `"), names(after).join("`, `"));
        return Err(Diagnostic::error(Kind::Invalid, "C0130", message).into());
    }
    let given: BTreeMap<&str, &Value> =
        before.graph.inputs().iter().map(|&id| before.graph.value(id).name.as_str()).zip(inputs).collect();
    let mut found = Vec::new();
    for &id in after.graph.inputs() {
        let value = after.graph.value(id);
        match (given.get(value.name.as_str()), value.def()) {
            (Some(&given), _) => found.push(given.clone()),
            (None, Def::Input { default: Some(default), .. }) => {
                found.extend(Datum::of_tensor(default).ok().map(Value::Numbers))
            }
            _ => {
                let message = format!("the first model has no input `{}`", value.name);
                return Err(Diagnostic::error(Kind::Invalid, "C0132", message).into());
            }
        }
    }
    Ok(found)
}

/// The real weights of more than one element, by name.
fn real_weights(graph: &Graph) -> impl Iterator<Item = (&str, &Tensor)> {
    graph.values().filter_map(|(_, value)| {
        let tensor = value.weight().filter(|tensor| tensor.element().is_real() && tensor.count() > 1)?;
        Some((value.name.as_str(), tensor))
    })
}

/// Counts the weights of `after`. Where it is guessed, one that nothing tells the origin of takes that of the folded tensor that
/// it equals up to rounding.
fn weights(after: &Model, origins: &mut Origins, folded: Folded<'_>) -> Weights {
    let mut counted = Weights::default();
    let guesses = match folded {
        Folded::Recorded(_) => &[],
        Folded::Guessed(computed) => computed,
    };
    for (name, tensor) in real_weights(&after.graph) {
        if origins.is_known(tensor) {
            counted.same += 1;
        } else if origins.is_computed(tensor) || tensor.as_splat().is_some() {
            counted.folded += 1;
        } else if let Some(alike) = guesses.iter().flat_map(|call| &call.results).find(|other| is_close(tensor, other))
        {
            origins.alike(tensor, alike);
            counted.folded += 1;
        } else {
            counted.unmatched.push(name.to_string());
        }
    }
    counted
}

/// True when two tensors are equal up to what single precision rounds in a few operations.
fn is_close(a: &Tensor, b: &Tensor) -> bool {
    const ROUNDING: f64 = 1e-5;
    if a.shape() != b.shape() || a.element() != b.element() {
        return false;
    }
    match (a.to_f64s(), b.to_f64s()) {
        (Some(a), Some(b)) => largest_difference(&a, &b) <= ROUNDING,
        _ => false,
    }
}

/// Relative to the largest magnitude.
fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    let largest = b.iter().fold(0.0f64, |largest, b| largest.max(b.abs()));
    let difference = a.iter().zip(b).fold(0.0f64, |most, (a, b)| if a == b { most } else { most.max((a - b).abs()) });
    if difference == 0.0 { 0.0 } else { difference / largest }
}

/// How far folded weights are from what double precision gives; infinite where it gives nothing.
fn worst_folding(after: &Model, origins: &Origins) -> f64 {
    let mut memo = Default::default();
    let mut worst = 0.0f64;
    for (_, tensor) in real_weights(&after.graph).filter(|(_, tensor)| origins.is_computed(tensor)) {
        let again = origins.recomputed(tensor, &mut memo);
        let again = again.ok().flatten().and_then(|datum| datum.real().map(<[f64]>::to_vec).ok());
        let difference = again.zip(tensor.to_f64s()).map_or(f64::INFINITY, |(a, b)| largest_difference(&b, &a));
        worst = worst.max(difference);
    }
    worst
}
