//! One instance of a rule, evaluated on both sides in every arithmetic that applies.

use super::instance::{Instance, Mode, Setting, instance};
use super::random::Random;
use crate::greedy::fits;
use crate::rules::matcher::{Budget, Match, find};
use crate::rules::{Binding, Contract, Rule, apply};
use eutectic_ir::eval::{Contents, Datum, EvalError, Exact, Scalar, Trace, run_graph};
use eutectic_ir::graph::{Graph, NodeId, ValueId};
use eutectic_ir::types::Element;
use eutectic_ir::value::Value;
use eutectic_ir::{Attrs, Op};
use std::fmt;
use std::ops::ControlFlow;

/// What one draw came to.
pub(super) enum Outcome {
    /// The rule does not stand in it, or it cannot be evaluated.
    Unfit(String),
    /// The rule stands in it, but its right side cannot be built: an engine does not apply it.
    Unbuilt(String),
    /// Both sides agree.
    Agrees(Agreement),
    /// They differ.
    Differs(Box<Difference>),
}

/// How far both sides agree on one instance.
pub(super) struct Agreement {
    /// The element type of its reals.
    real: Element,
    /// The largest difference, relative to the largest magnitude of the result.
    error: f64,
    exact: ExactResult,
    pub records: Vec<Record>,
}

/// The attributes of a matched call, by position of the call, and the number of channels of its first input.
pub(super) type Record = (Attrs, Option<i64>);

/// What exact arithmetic says of one instance.
enum ExactResult {
    /// Both sides are equal. The degree bounds the chance that different rational functions are, for random contents.
    Equal(Trace, Option<u64>),
    /// It does not apply.
    Skipped(String),
}

/// A difference between the sides.
pub(super) struct Difference {
    /// What differs.
    pub what: String,
    pub drawn: Instance,
    /// Both sides, without outputs.
    pub bare: Graph,
    pub real: Element,
    /// Roots on the left, and what the right has for them.
    pub roots: Vec<(ValueId, ValueId)>,
    pub records: Vec<Record>,
    /// What the variables are, by position.
    pub values: Vec<Binding<ValueId>>,
}

/// In which arithmetic both sides of a rule agreed, on how many instances.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Without rounding.
    pub n_exact: usize,
    /// Of these, with exponentials.
    pub n_exponential: usize,
    /// Of these, with comparisons.
    pub n_ordered: usize,
    /// Of these, with functions taken as pseudo-random ones.
    pub n_opaque: usize,
    /// Of these, with contents of 53 random bits each; the others have small whole numbers, which comparisons tell apart.
    pub n_random: usize,
    /// The largest degree, as rational functions of the inputs: two that differ agree on an instance of random contents with
    /// probability `degree / 2^53` at most, exponentials and pseudo-random functions taken as independent variables, and
    /// constants that a rule reads as what they are.
    pub degree: u64,
    /// Why exact arithmetic did not apply to some instance, the last reason.
    pub skipped: Option<String>,
    /// In floating point, by element type of the reals.
    pub floats: Vec<(Element, usize)>,
    /// The largest difference in double precision, relative to the largest magnitude of the result.
    pub worst: f64,
}

impl Evidence {
    pub(super) fn count(&mut self, agreement: &Agreement) {
        match &agreement.exact {
            ExactResult::Equal(trace, degree) => {
                self.n_exact += 1;
                self.n_exponential += usize::from(trace.is_exponential);
                self.n_ordered += usize::from(trace.is_ordered);
                self.n_opaque += usize::from(trace.is_opaque);
                self.n_random += usize::from(degree.is_some());
                self.degree = self.degree.max(degree.unwrap_or(0));
            }
            ExactResult::Skipped(reason) if agreement.real == Element::Double => self.skipped = Some(reason.clone()),
            ExactResult::Skipped(_) => {}
        }
        match self.floats.iter_mut().find(|(element, _)| *element == agreement.real) {
            Some((_, count)) => *count += 1,
            None => self.floats.push((agreement.real, 1)),
        }
        if agreement.real == Element::Double {
            self.worst = self.worst.max(agreement.error);
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.n_exact > 0 {
            write!(f, "exact on {} (", self.n_exact)?;
            let kinds = [
                (self.n_exponential, "with exponentials in a field pair"),
                (self.n_ordered, "with order in fractions"),
                (self.n_opaque, "with functions as pseudo-random ones"),
            ];
            for (count, text) in kinds.into_iter().filter(|(count, _)| *count > 0) {
                write!(f, "{count} {text}, ")?;
            }
            write!(f, "{} of random contents: false accept at most {} / 2^53 each), ", self.n_random, self.degree)?;
        }
        if let Some(reason) = &self.skipped {
            let place = if self.n_exact > 0 { "elsewhere " } else { "" };
            write!(f, "{place}in floating point only ({reason}), ")?;
        }
        let mut floats = self.floats.clone();
        floats.sort_by_key(|(element, _)| element.code());
        let floats: Vec<String> = floats.iter().map(|(element, count)| format!("{element} on {count}")).collect();
        write!(f, "{}, worst error {:e}", floats.join(", "), self.worst)
    }
}

/// Draws one instance of the left side of `source`, and compares both sides of `rule` on it. Where `other` stands
/// too, nothing is compared.
pub(super) fn run(rule: &Rule, source: &Rule, other: Option<&Rule>, random: &mut Random) -> Outcome {
    let setting = Setting::draw(rule.contract, random);
    let mut drawn = match instance(source, setting, random) {
        Ok(drawn) => drawn,
        Err(reason) => return Outcome::Unfit(reason.to_string()),
    };
    if !std::ptr::eq(source, rule) && recast(source, &mut drawn).is_none() {
        return Outcome::Unfit("the body is not recognised".into());
    }
    compare(rule, other, setting, drawn)
}

/// Lets `recognise` replace the body in `drawn` by a call of the fused operator.
fn recast(recognise: &Rule, drawn: &mut Instance) -> Option<()> {
    let found = standing(recognise, drawn)?;
    let applied = apply(recognise, &found, &mut drawn.host).ok()?;
    drawn.values.fill(Binding::Unbound);
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
            let drawn = drawn.values.get(root.index()).and_then(Binding::one);
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

fn evaluate<S: Scalar>(graph: &Graph, inputs: &[Datum<f64>], round: bool) -> Result<Vec<Datum<S>>, EvalError> {
    let inputs: Vec<Value<Datum<S>>> = inputs.iter().map(carried).map(Value::Tensor).collect();
    let results = run_graph(graph, &inputs, &[], &Attrs::new(), round)?;
    Ok(results.into_iter().filter_map(Value::into_tensor).collect())
}

fn carried<S: Scalar>(datum: &Datum<f64>) -> Datum<S> {
    let contents = match &datum.contents {
        Contents::Real(values) => {
            Contents::Real(values.iter().map(|&value| S::from_f64(value)).collect::<Vec<S>>().into())
        }
        Contents::Int(values) => Contents::Int(values.clone()),
        Contents::Bool(values) => Contents::Bool(values.clone()),
        Contents::Text(values) => Contents::Text(values.clone()),
        Contents::Complex(values) => Contents::Complex(values.clone()),
    };
    Datum { element: datum.element, shape: datum.shape.clone(), contents }
}

fn compare(rule: &Rule, other: Option<&Rule>, setting: Setting, mut drawn: Instance) -> Outcome {
    let round = setting.real != Element::Double;
    let Some(found) = standing(rule, &drawn) else {
        return Outcome::Unfit("the left side does not stand in it".into());
    };
    if other.is_some_and(|other| standing(other, &drawn).is_some()) {
        return Outcome::Unfit("the other rule stands in it".into());
    }
    // What the left side cannot compute says nothing of the right side.
    let mut alone = drawn.host.graph.clone();
    for value in rule.roots.iter().filter_map(|(root, _)| found.values[root.index()].one()) {
        alone.add_output("", value);
    }
    match evaluate::<f64>(&alone, &drawn.inputs, round) {
        Err(error) => return Outcome::Unfit(error.to_string()),
        Ok(results) if rule.contract != Contract::Exact && !results.iter().all(is_finite) => {
            return Outcome::Unfit("the result is not finite".into());
        }
        Ok(_) => {}
    }
    let graph = &drawn.host.graph;
    let n_channels = |call: NodeId| graph.ty(graph.node(call).input(0)?)?.shape.get(1)?.as_known();
    let records: Vec<Record> =
        found.calls.iter().map(|&call| (graph.node(call).attrs.clone(), n_channels(call))).collect();
    let applied = match apply(rule, &found, &mut drawn.host) {
        Ok(applied) => applied,
        Err(reason) => return Outcome::Unbuilt(format!("the right side is not built: {reason}")),
    };
    let roots = applied.roots;
    let bare = drawn.host.graph.clone();
    let differs = |what: String, drawn: Instance, records: Vec<Record>| {
        let (roots, values, bare) = (roots.clone(), found.values.clone(), bare.clone());
        Outcome::Differs(Box::new(Difference { what, drawn, bare, real: setting.real, roots, records, values }))
    };
    for (at, (old, new)) in roots.iter().enumerate() {
        if !fits(bare.ty(*old), bare.ty(*new)) {
            let show = |value| bare.ty(value).map_or("nothing".to_owned(), ToString::to_string);
            let what = format!("the left side has the type {}, the right side {}", show(*old), show(*new));
            return differs(what, drawn, records);
        }
        drawn.host.graph.add_output(format!("left{at}"), *old);
        drawn.host.graph.add_output(format!("right{at}"), *new);
    }
    // Intermediate results are watched where the contract speaks of them.
    if rule.contract == Contract::ExactFinite {
        let results: Vec<ValueId> = drawn.host.graph.nodes().flat_map(|(_, node)| node.outputs().to_vec()).collect();
        for (at, value) in results.into_iter().enumerate() {
            drawn.host.graph.add_output(format!("between{at}"), value);
        }
    }
    let results = match evaluate::<f64>(&drawn.host.graph, &drawn.inputs, round) {
        Ok(results) => results,
        Err(error) => return differs(format!("the right side cannot be evaluated: {error}"), drawn, records),
    };
    let (pairs, between) = results.split_at(2 * roots.len());
    if between.iter().any(|result| !is_finite(result)) {
        return Outcome::Unfit("an intermediate result is not finite".into());
    }
    let mut worst = 0.0f64;
    for pair in pairs.chunks_exact(2) {
        let (left, right) = (&pair[0], &pair[1]);
        match difference(left, right, rule.contract, round) {
            Ok(error) => worst = worst.max(error),
            Err(what) => return differs(what, drawn, records),
        }
    }
    let exact = match exactly(rule, setting, &mut drawn, &roots) {
        Ok(exact) => exact,
        Err(what) => return differs(what, drawn, records),
    };
    Outcome::Agrees(Agreement { real: setting.real, error: worst, exact, records })
}

/// Both sides without rounding. Errors: they differ.
fn exactly(
    rule: &Rule,
    setting: Setting,
    drawn: &mut Instance,
    roots: &[(ValueId, ValueId)],
) -> Result<ExactResult, String> {
    let skipped = |reason: &str| Ok(ExactResult::Skipped(reason.to_owned()));
    if matches!(rule.contract, Contract::Approximates(_)) {
        return skipped("the contract is no equality");
    }
    if setting.mode == Mode::Special || setting.real != Element::Double {
        return skipped("the numbers are chosen for their rounding");
    }
    let (results, trace) = Exact::traced(|| evaluate::<Exact>(&drawn.host.graph, &drawn.inputs, false));
    let results = match results {
        Ok(results) => results,
        Err(error) => return Ok(ExactResult::Skipped(error.to_string())),
    };
    if trace.is_lost {
        return skipped("the order of values that are only known modulo a prime is asked");
    }
    if trace.is_undefined {
        return skipped("something is divided by zero");
    }
    let is_rounded = drawn.has_rounded_constant();
    for pair in results[..2 * roots.len()].chunks_exact(2) {
        if !same(&pair[0], &pair[1]) {
            if is_rounded {
                return skipped("a constant of the rule is a rounded number");
            }
            if trace.is_opaque {
                return skipped("a law of a function is used that has none in a field");
            }
            return Err("the sides differ in exact arithmetic".into());
        }
    }
    let degree = |(left, right): &(ValueId, ValueId)| drawn.degree(*left).max(drawn.degree(*right));
    let degree = if setting.mode == Mode::Whole { None } else { roots.iter().map(degree).max() };
    Ok(ExactResult::Equal(trace, degree))
}

fn same(left: &Datum<Exact>, right: &Datum<Exact>) -> bool {
    left.shape == right.shape
        && match (&left.contents, &right.contents) {
            (Contents::Real(a), Contents::Real(b)) => a[..] == b[..],
            (Contents::Int(a), Contents::Int(b)) => a[..] == b[..],
            (Contents::Bool(a), Contents::Bool(b)) => a[..] == b[..],
            (Contents::Text(a), Contents::Text(b)) => a[..] == b[..],
            (Contents::Complex(a), Contents::Complex(b)) => a[..] == b[..],
            _ => false,
        }
}

fn is_finite(datum: &Datum<f64>) -> bool {
    match &datum.contents {
        Contents::Real(values) => values.iter().all(|value| value.is_finite()),
        _ => true,
    }
}

/// The largest difference relative to the largest magnitude. Errors: what differs, beyond what the contract allows.
fn difference(left: &Datum<f64>, right: &Datum<f64>, contract: Contract, round: bool) -> Result<f64, String> {
    if left.shape != right.shape || left.element != right.element {
        let show = |datum: &Datum<f64>| format!("{}{:?}", datum.element, datum.shape);
        return Err(format!("the left side gives {}, the right side {}", show(left), show(right)));
    }
    let at = |flat: usize| place(flat, &left.shape);
    let gives = |flat: usize, a: &dyn fmt::Debug, b: &dyn fmt::Debug| {
        format!("the left side gives {a:?} and the right side {b:?} at {:?}", at(flat))
    };
    fn unequal<T: PartialEq>(a: &[T], b: &[T]) -> Option<usize> {
        a.iter().zip(b).position(|(a, b)| a != b)
    }
    match (&left.contents, &right.contents) {
        (Contents::Real(a), Contents::Real(b)) => {
            let finite = a.iter().copied().filter(|value| value.is_finite());
            let scale = finite.fold(1.0f64, |scale, value| scale.max(value.abs()));
            let mut worst = 0.0f64;
            for (flat, (&a, &b)) in a.iter().zip(b.iter()).enumerate() {
                let error = one_difference(a, b, contract, round) / scale;
                let bound = match contract {
                    Contract::Exact | Contract::ExactFinite => 0.0,
                    // A rounded carrier is only asked whether it overflows.
                    Contract::Reassociates | Contract::Approximates(_) if round => f64::MAX,
                    Contract::Reassociates => 1e-9,
                    Contract::Approximates(bound) => bound,
                };
                if error.is_nan() || error > bound {
                    return Err(gives(flat, &a, &b));
                }
                worst = worst.max(error);
            }
            Ok(worst)
        }
        (Contents::Int(a), Contents::Int(b)) => unequal(a, b).map_or(Ok(0.0), |at| Err(gives(at, &a[at], &b[at]))),
        (Contents::Bool(a), Contents::Bool(b)) => unequal(a, b).map_or(Ok(0.0), |at| Err(gives(at, &a[at], &b[at]))),
        (Contents::Text(a), Contents::Text(b)) => unequal(a, b).map_or(Ok(0.0), |at| Err(gives(at, &a[at], &b[at]))),
        (Contents::Complex(a), Contents::Complex(b)) => {
            unequal(a, b).map_or(Ok(0.0), |at| Err(gives(at, &a[at], &b[at])))
        }
        _ => Err("the sides give elements of different kinds".into()),
    }
}

fn place(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (axis, &size) in shape.iter().enumerate().rev() {
        index[axis] = flat % size.max(1);
        flat /= size.max(1);
    }
    index
}

fn one_difference(a: f64, b: f64, contract: Contract, round: bool) -> f64 {
    if (a.is_nan() && b.is_nan()) || a.to_bits() == b.to_bits() {
        return 0.0;
    }
    // Rearranged terms may overflow on their way to a result that nearly overflows itself, but not to a small one.
    if round && contract != Contract::Exact && contract != Contract::ExactFinite && a.abs() > 256.0 {
        return 0.0;
    }
    if contract == Contract::Exact || a.is_nan() || b.is_nan() || b.is_infinite() {
        return f64::INFINITY;
    }
    if a == b { 0.0 } else { (a - b).abs() }
}

impl Instance {
    /// True when a constant that no leaf was drawn for has more digits than single precision: a rule, or the engine for
    /// it, rounded a number.
    fn has_rounded_constant(&self) -> bool {
        self.host.graph.values().any(|(id, _)| {
            let Some(tensor) = self.host.graph.weight(id).filter(|_| !self.leaves.contains(&id)) else { return false };
            tensor.element().is_real() && tensor.as_single().is_some_and(|value| f64::from(value as f32) != value)
        })
    }

    /// A bound of the degree of `value` as a rational function of the leaves: numerator and denominator together.
    fn degree(&self, value: ValueId) -> u64 {
        self.degree_and_pole(value, 64).0
    }

    fn degree_and_pole(&self, value: ValueId, depth: usize) -> (u64, bool) {
        let graph = &self.host.graph;
        let Some((node, _)) = graph.producer(value).filter(|_| depth > 0) else {
            return (u64::from(depth > 0).max(1), false);
        };
        let node = graph.node(node);
        let (mut degree, mut has_pole, mut n_terms) = (0u64, false, 1u64);
        for input in node.inputs().iter().flatten() {
            let (of_input, pole) = self.degree_and_pole(*input, depth - 1);
            degree = degree.saturating_add(of_input);
            has_pole |= pole;
            let count = graph.ty(*input).and_then(|ty| ty.sizes()).map_or(1, |sizes| sizes.iter().product::<usize>());
            n_terms = n_terms.max(count as u64);
        }
        let name = match &node.op {
            Op::Builtin(def) => def.name,
            _ => "",
        };
        let squares =
            matches!(name, "Pow" | "ReduceSumSquare" | "ReduceL2" | "LayerNormalization" | "RMSNormalization");
        let divides =
            matches!(name, "Div" | "Reciprocal" | "Softmax" | "Sigmoid" | "Tanh" | "Attention" | "Swish" | "");
        // Fractions with different denominators multiply them, at most once for each element that is read.
        let factor = if has_pole || divides || squares { n_terms.saturating_mul(2) } else { 1 };
        (degree.saturating_mul(factor).max(1), has_pole || divides)
    }
}
