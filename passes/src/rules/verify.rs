//! Checks a rule against the reference semantics: both sides are evaluated on instances drawn from its own text.
//!
//! In double precision without rounding between calls. `exact` means bit for bit, infinities, NaN and signed zeros
//! included; `exact finite` equal as numbers; `reassociates` within 1e-9 of the largest magnitude of the result;
//! `approximates(e)` within e of it. A rule of which no instance is found has failed.

use super::draw::Random;
use super::instance::{Instance, Mode, instance, is_finite};
use super::matcher::{Budget, Match, find};
use super::{Contract, Direction, Rule, apply};
use crate::greedy::fits;
use eutectic_ir::diag::{Diagnostic, Kind as Failure};
use eutectic_ir::eval::{Contents, Datum, EvalError, run_graph};
use eutectic_ir::graph::{NodeId, ValueId};
use eutectic_ir::text::{PrintOptions, print_graph};
use eutectic_ir::value::Value;
use eutectic_ir::{Attrs, Name};
use std::ops::ControlFlow;

/// What the check of one rule found.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The rule.
    pub rule: Name,
    /// Instances on which both sides were compared.
    pub n_instances: usize,
    /// Instances that were drawn; most of the others break a condition.
    pub n_drawn: usize,
    /// The largest difference, relative to the largest magnitude of the result.
    pub worst: f64,
}

/// How much is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Instances to compare.
    pub instances: usize,
    /// Draws at most.
    pub draws: usize,
    /// Selects the draws.
    pub seed: u64,
}

impl Effort {
    /// 32 instances out of 20,000 draws at most.
    pub const STANDARD: Effort = Effort { instances: 32, draws: 20_000, seed: 1 };
}

/// Checks `rule`. A rule that expands a fused operator is checked on what `recognise`, its other direction, makes.
///
/// Errors: a counterexample, or that too few instances were found (`R0020`, `R0021`, `R0022`).
pub fn verify(rule: &Rule, recognise: Option<&Rule>, effort: Effort) -> Result<Verdict, Box<Diagnostic>> {
    let mut random = Random(effort.seed);
    let mut verdict = Verdict { rule: rule.name.clone(), n_instances: 0, n_drawn: 0, worst: 0.0 };
    let source = match rule.fusion {
        Some(Direction::Expand) => recognise.unwrap_or(rule),
        _ => rule,
    };
    let mut last = String::from("nothing was drawn");
    while verdict.n_instances < effort.instances && verdict.n_drawn < effort.draws {
        verdict.n_drawn += 1;
        let mode = mode(rule.contract, verdict.n_drawn);
        let mut drawn = match instance(source, mode, &mut random) {
            Ok(drawn) => drawn,
            Err(reason) => {
                last = reason.to_string();
                continue;
            }
        };
        if !std::ptr::eq(source, rule) && recast(source, &mut drawn).is_none() {
            continue;
        }
        match compare(rule, drawn) {
            Ok(Some(error)) => {
                verdict.n_instances += 1;
                verdict.worst = verdict.worst.max(error);
            }
            Ok(None) => last = "the left side does not stand in it, or the result is not finite".into(),
            Err(problem) => {
                let problem = problem.within(format!("rule `{}`", rule.name)).in_file(rule.file.as_str());
                return Err(Box::new(problem.at_span(rule.span.clone())));
            }
        }
    }
    // A third of the wanted instances is the least: fewer mean that a condition is nearly never met.
    if verdict.n_instances * 3 < effort.instances {
        let message = format!("only {} of {} drawn instances fit the left side", verdict.n_instances, verdict.n_drawn);
        let problem = Diagnostic::error(Failure::Invalid, "R0022", message)
            .within(format!("rule `{}`", rule.name))
            .in_file(rule.file.as_str())
            .at_span(rule.span.clone())
            .note(format!("the last one failed because: {last}"))
            .help("fix shapes or attributes in an `example` line");
        return Err(Box::new(problem));
    }
    Ok(verdict)
}

fn mode(contract: Contract, at: usize) -> Mode {
    match (contract, at % 3) {
        (Contract::Exact, 0) => Mode::Special,
        (_, 1) => Mode::Positive,
        _ => Mode::Signed,
    }
}

/// Lets `recognise` replace the body in `drawn` by a call of the fused operator.
fn recast(recognise: &Rule, drawn: &mut Instance) -> Option<()> {
    let found = standing(recognise, drawn)?;
    let applied = apply(recognise, &found, &mut drawn.host).ok()?;
    drawn.values.fill(super::Binding::Unbound);
    for (at, (_, new)) in applied.roots.iter().enumerate() {
        drawn.host.graph.value_mut(*new).name = format!("call{at}").into();
    }
    Some(())
}

/// A way in which `rule` stands in `drawn` with the roots that were drawn.
fn standing(rule: &Rule, drawn: &Instance) -> Option<Match<ValueId, NodeId>> {
    let mut best = None;
    let _ = find(rule, &drawn.host, &mut Budget::new(100_000), &mut |found| {
        let agrees = rule.roots.iter().all(|(root, _)| {
            let drawn = drawn.values.get(root.index()).and_then(super::Binding::one);
            drawn.is_none() || drawn == found.values[root.index()].one()
        });
        if agrees {
            best = Some(found);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    best
}

/// The outputs of an instance, in double precision without rounding.
fn run(drawn: &Instance) -> Result<Vec<Datum<f64>>, EvalError> {
    let inputs: Vec<Value<Datum<f64>>> = drawn.inputs.iter().cloned().map(Value::Tensor).collect();
    let results = run_graph(&drawn.host.graph, &inputs, &[], &Attrs::new(), false)?;
    Ok(results.into_iter().filter_map(Value::into_tensor).collect())
}

/// The largest relative difference between both sides; `None` when the rule does not stand there.
fn compare(rule: &Rule, mut drawn: Instance) -> Result<Option<f64>, Diagnostic> {
    let Some(found) = standing(rule, &drawn) else { return Ok(None) };
    // What the left side cannot compute says nothing of the right side.
    if run(&drawn).is_err() {
        return Ok(None);
    }
    let Ok(applied) = apply(rule, &found, &mut drawn.host) else { return Ok(None) };
    let graph = &mut drawn.host.graph;
    for (at, (old, new)) in applied.roots.iter().enumerate() {
        if !fits(graph.ty(*old), graph.ty(*new)) {
            let show = |value| graph.ty(value).map_or("nothing".to_owned(), ToString::to_string);
            let message = format!("the left side gives {}, the right side {}", show(*old), show(*new));
            return Err(Diagnostic::error(Failure::Invalid, "R0020", message).note(shown(&drawn)));
        }
        graph.add_output(format!("left{at}"), *old);
        graph.add_output(format!("right{at}"), *new);
    }
    let results = run(&drawn).map_err(|error| {
        let message = format!("the right side cannot be evaluated: {error}");
        Diagnostic::error(Failure::Invalid, "R0021", message).note(shown(&drawn))
    })?;
    let mut worst = 0.0f64;
    for pair in results.chunks_exact(2) {
        let (left, right) = (&pair[0], &pair[1]);
        if rule.contract != Contract::Exact && !is_finite(left) {
            return Ok(None);
        }
        let error = difference(left, right, rule.contract);
        let bound = match rule.contract {
            Contract::Exact | Contract::ExactFinite => 0.0,
            Contract::Reassociates => 1e-9,
            Contract::Approximates(bound) => bound,
        };
        if error.is_nan() || error > bound {
            let message = format!("the sides differ by {error:e} where {bound:e} is allowed");
            return Err(Diagnostic::error(Failure::Invalid, "R0021", message).note(shown(&drawn)));
        }
        worst = worst.max(error);
    }
    Ok(Some(worst))
}

fn shown(drawn: &Instance) -> String {
    format!("the instance:\n{}", print_graph(&drawn.host.graph, &PrintOptions { types: true, ..PrintOptions::BRIEF }))
}

/// The largest difference relative to the largest magnitude; infinite when shapes or kinds differ.
fn difference(left: &Datum<f64>, right: &Datum<f64>, contract: Contract) -> f64 {
    if left.shape != right.shape || left.element != right.element {
        return f64::INFINITY;
    }
    match (&left.contents, &right.contents) {
        (Contents::Real(a), Contents::Real(b)) => {
            let scale =
                a.iter().fold(1.0f64, |scale, value| if value.is_finite() { scale.max(value.abs()) } else { scale });
            a.iter().zip(b.iter()).map(|(&a, &b)| one_difference(a, b, contract) / scale).fold(0.0, f64::max)
        }
        (Contents::Int(a), Contents::Int(b)) => truth(a[..] == b[..]),
        (Contents::Bool(a), Contents::Bool(b)) => truth(a[..] == b[..]),
        (Contents::Text(a), Contents::Text(b)) => truth(a[..] == b[..]),
        (Contents::Complex(a), Contents::Complex(b)) => truth(a[..] == b[..]),
        _ => f64::INFINITY,
    }
}

fn truth(is_equal: bool) -> f64 {
    if is_equal { 0.0 } else { f64::INFINITY }
}

fn one_difference(a: f64, b: f64, contract: Contract) -> f64 {
    if (a.is_nan() && b.is_nan()) || a.to_bits() == b.to_bits() {
        return 0.0;
    }
    if contract == Contract::Exact || a.is_nan() || b.is_nan() {
        return f64::INFINITY;
    }
    if a == b { 0.0 } else { (a - b).abs() }
}
