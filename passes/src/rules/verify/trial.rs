//! One instance of a rule, evaluated on both sides in every arithmetic that applies.

use super::instance::{Instance, Mode, Setting, instance};
use super::random::Random;
use crate::greedy::fits;
use crate::rules::matcher::{Budget, Match, find};
use crate::rules::{Binding, Contract, Rule, apply};
use eutectic_ir::eval::{Bounded, Contents, Datum, EvalError, Exact, Scalar, Trace, run_graph};
use eutectic_ir::graph::{Graph, NodeId, ValueId};
use eutectic_ir::types::Element;
use eutectic_ir::value::Value;
use eutectic_ir::{Attrs, Op, Reason};
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
    float: Float,
    exact: ExactResult,
    pub records: Vec<Record>,
    /// True when every result is empty: any two such are equal.
    pub is_empty: bool,
}

/// How far both sides agree in floating point.
#[derive(Clone, Copy, Debug)]
struct Float {
    /// The element type of reals.
    real: Element,
    /// The largest difference, relative to the largest magnitude of the result.
    error: f64,
    /// The largest bound of the right side's error over that of the left side; `None` when there are no bounds.
    growth: Option<f64>,
    /// True when the right side overflows and the left side nearly does.
    overflows: bool,
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
    pub floats: Vec<FloatEvidence>,
    /// The largest difference in double precision, relative to the largest magnitude of the result.
    pub worst: f64,
}

/// Agreement in one floating-point type.
#[derive(Clone, Copy, Debug)]
pub struct FloatEvidence {
    /// The type.
    pub element: Element,
    /// Number of instances.
    pub n_instances: usize,
    /// Of these, the difference was held against the sum of both sides' error bounds, which are computed beside them.
    pub n_bounded: usize,
    /// The right side's bound is at most so many times that of the left side.
    pub growth: f64,
    /// Of all instances, the right side overflows alone: the left side comes within a factor of 256 of it.
    pub n_overflows: usize,
}

impl fmt::Display for FloatEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.element, self.n_instances)?;
        if self.n_bounded > 0 {
            write!(f, " ({} within error bounds, at most {:.1} times the left side's)", self.n_bounded, self.growth)?;
        }
        if self.n_overflows > 0 {
            write!(f, " (the right side alone overflows on {})", self.n_overflows)?;
        }
        Ok(())
    }
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
            ExactResult::Skipped(reason) if agreement.float.real == Element::Double => {
                self.skipped = Some(reason.clone())
            }
            ExactResult::Skipped(_) => {}
        }
        let Float { real, error, growth, overflows } = agreement.float;
        let at = self.floats.iter().position(|float| float.element == real).unwrap_or_else(|| {
            let none = FloatEvidence { element: real, n_instances: 0, n_bounded: 0, growth: 0.0, n_overflows: 0 };
            self.floats.push(none);
            self.floats.len() - 1
        });
        let float = &mut self.floats[at];
        float.n_instances += 1;
        float.n_bounded += usize::from(growth.is_some());
        float.growth = float.growth.max(growth.unwrap_or(0.0));
        float.n_overflows += usize::from(overflows);
        if real == Element::Double {
            self.worst = self.worst.max(error);
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
        floats.sort_by_key(|float| float.element.code());
        let floats: Vec<String> = floats.iter().map(ToString::to_string).collect();
        write!(f, "{}, worst error {:e}", floats.join(", "), self.worst)
    }
}

/// Draws one instance of the left side of `source`, and compares both sides of `rule` on it.
pub(super) fn run(rule: &Rule, source: &Rule, random: &mut Random) -> Outcome {
    match draw(rule, source, random) {
        Ok((setting, mut drawn)) => match standing(rule, &drawn) {
            Some(found) => {
                drawn.fill(setting.mode, random);
                match fits_left(rule, &found, setting, &drawn) {
                    Ok(()) => compare(rule, &found, setting, &drawn),
                    Err(why) => Outcome::Unfit(why),
                }
            }
            None => Outcome::Unfit("the left side does not stand in it".into()),
        },
        Err(reason) => Outcome::Unfit(reason.to_string()),
    }
}

/// Draws one instance of the left side of `source` for `rule`, its inputs still without contents. Errors: this draw does not fit.
pub(super) fn draw(rule: &Rule, source: &Rule, random: &mut Random) -> Result<(Setting, Instance), Reason> {
    let setting = Setting::draw(rule.contract, random);
    let mut drawn = instance(source, setting, random)?;
    if !std::ptr::eq(source, rule) && recast(source, &mut drawn).is_none() {
        return Err(Reason::new("the body is not recognised"));
    }
    Ok((setting, drawn))
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
pub(super) fn standing(rule: &Rule, drawn: &Instance) -> Option<Match<ValueId, NodeId>> {
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

/// Errors: the left side of `rule`, which stands in `drawn` so, cannot be computed on it, which says nothing of the right side.
pub(super) fn fits_left(
    rule: &Rule,
    found: &Match<ValueId, NodeId>,
    setting: Setting,
    drawn: &Instance,
) -> Result<(), String> {
    let mut alone = drawn.host.graph.clone();
    for value in rule.roots.iter().filter_map(|(root, _)| found.values[root.index()].one()) {
        alone.add_output("", value);
    }
    match evaluate::<f64>(&alone, &drawn.inputs, setting.real != Element::Double) {
        Err(error) => Err(error.to_string()),
        Ok(results) if rule.contract != Contract::Exact && !results.iter().all(is_finite) => {
            Err("the result is not finite".into())
        }
        Ok(_) => Ok(()),
    }
}

/// Compares both sides of `rule` on `drawn`, in which it stands so, whose inputs have contents, and which fits its left side.
pub(super) fn compare(rule: &Rule, found: &Match<ValueId, NodeId>, setting: Setting, drawn: &Instance) -> Outcome {
    let round = setting.real != Element::Double;
    let graph = &drawn.host.graph;
    let n_channels = |call: NodeId| graph.ty(graph.node(call).input(0)?)?.shape.get(1)?.as_known();
    let records: Vec<Record> =
        found.calls.iter().map(|&call| (graph.node(call).attrs.clone(), n_channels(call))).collect();
    let mut drawn = drawn.clone();
    let applied = match apply(rule, found, &mut drawn.host) {
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
    let is_bitwise = matches!(rule.contract, Contract::Exact | Contract::ExactFinite);
    let exactly = Exactly::of(is_bitwise, setting, &drawn, roots.len());
    let mut float = Float { real: setting.real, error: 0.0, growth: None, overflows: false };
    for (at, pair) in pairs.chunks_exact(2).enumerate() {
        let bounds = exactly.as_ref().ok().filter(|_| !is_bitwise).and_then(|exactly| exactly.bounds(at, setting.real));
        if let Err(what) = differ(&pair[0], &pair[1], rule.contract, bounds, &mut float) {
            return differs(what, drawn, records);
        }
    }
    let exact = match exactly.and_then(|exactly| exactly.judge(rule, setting, &drawn, &roots)) {
        Ok(None) => return differs("the sides differ in exact arithmetic".into(), drawn, records),
        Ok(Some(equal)) => equal,
        Err(reason) => ExactResult::Skipped(reason),
    };
    let is_empty = pairs.iter().all(|result| result.shape.contains(&0));
    Outcome::Agrees(Agreement { float, exact, records, is_empty })
}

/// Bounds of the errors of one root, element by element.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    left: &'a [Exact],
    right: &'a [Exact],
    /// What constants that are rounded numbers may add, relative to the largest magnitude.
    slack: f64,
}

// So many roundoffs: a constant is off by one, and some are multiplied or squared.
const ROUNDED_CONSTANT: f64 = 64.0;

/// Both sides without rounding, with bounds of what rounding does to them.
struct Exactly {
    /// Left and right, root by root.
    results: Vec<Datum<Exact>>,
    trace: Trace,
    /// True when a constant is a rounded number.
    is_rounded: bool,
}

impl Exactly {
    /// Errors: why it is not evaluated.
    fn of(is_bitwise: bool, setting: Setting, drawn: &Instance, n_roots: usize) -> Result<Self, String> {
        let round = setting.real != Element::Double;
        if setting.mode == Mode::Special || (is_bitwise && round) {
            return Err("the numbers are chosen for their rounding".into());
        }
        let (results, trace) = Exact::traced(|| evaluate::<Exact>(&drawn.host.graph, &drawn.inputs, round));
        let mut results = results.map_err(|error| error.to_string())?;
        results.truncate(2 * n_roots);
        Ok(Self { results, trace, is_rounded: drawn.has_rounded_constant() })
    }

    /// The bounds of both sides' errors at root `at`; `None` when rounding may change more than the last digits.
    fn bounds(&self, at: usize, real: Element) -> Option<Bounds<'_>> {
        let means_nothing = self.trace.is_close || self.trace.is_lost || self.trace.is_undefined;
        let roundoff = Bounded { value: 1.0, error: 0.0 }.round(real).error;
        let slack = if self.is_rounded { ROUNDED_CONSTANT * roundoff } else { 0.0 };
        match [&self.results[2 * at].contents, &self.results[2 * at + 1].contents] {
            [Contents::Real(left), Contents::Real(right)] if !means_nothing => Some(Bounds { left, right, slack }),
            _ => None,
        }
    }

    /// Whether both sides are equal. Errors: why this cannot be told.
    fn judge(
        &self,
        rule: &Rule,
        setting: Setting,
        drawn: &Instance,
        roots: &[(ValueId, ValueId)],
    ) -> Result<Option<ExactResult>, String> {
        let reason = if matches!(rule.contract, Contract::Approximates(_)) {
            "the contract is no equality"
        } else if setting.real != Element::Double {
            "the numbers are chosen for their rounding"
        } else if self.trace.is_lost {
            "the order of values that are only known modulo a prime is asked"
        } else if self.trace.is_undefined {
            "something is divided by zero"
        } else if self.results.chunks_exact(2).all(|pair| pair[0].equals(&pair[1])) {
            let degree = |(left, right): &(ValueId, ValueId)| drawn.degree(*left).max(drawn.degree(*right));
            let degree = if setting.mode == Mode::Whole { None } else { roots.iter().map(degree).max() };
            return Ok(Some(ExactResult::Equal(self.trace, degree)));
        } else if self.is_rounded {
            "a constant of the rule is a rounded number"
        } else if self.trace.is_opaque {
            "a law of a function is used that has none in a field"
        } else {
            return Ok(None);
        };
        Err(reason.into())
    }
}

fn is_finite(datum: &Datum<f64>) -> bool {
    match &datum.contents {
        Contents::Real(values) => values.iter().all(|value| value.is_finite()),
        _ => true,
    }
}

/// Adds to `float` how far the sides are apart. Errors: what differs, beyond what the contract and the `bounds` allow.
fn differ(
    left: &Datum<f64>,
    right: &Datum<f64>,
    contract: Contract,
    bounds: Option<Bounds>,
    float: &mut Float,
) -> Result<(), String> {
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
            for (flat, (&a, &b)) in a.iter().zip(b.iter()).enumerate() {
                let bounds = bounds.map(|Bounds { left, right, slack }| {
                    [left[flat].bounded().error + slack * scale, right[flat].bounded().error]
                });
                if !are_near(a, b, scale, contract, bounds, float) {
                    return Err(gives(flat, &a, &b));
                }
            }
            Ok(())
        }
        (Contents::Int(a), Contents::Int(b)) => unequal(a, b).map_or(Ok(()), |at| Err(gives(at, &a[at], &b[at]))),
        (Contents::Bool(a), Contents::Bool(b)) => unequal(a, b).map_or(Ok(()), |at| Err(gives(at, &a[at], &b[at]))),
        (Contents::Text(a), Contents::Text(b)) => unequal(a, b).map_or(Ok(()), |at| Err(gives(at, &a[at], &b[at]))),
        (Contents::Complex(a), Contents::Complex(b)) => {
            unequal(a, b).map_or(Ok(()), |at| Err(gives(at, &a[at], &b[at])))
        }
        _ => Err("the sides give elements of different kinds".into()),
    }
}

/// Whether the contract lets `b` stand for `a` in a result whose largest magnitude is `scale`. Where there are `bounds` of the
/// errors of both, equal real numbers differ by no more than their sum.
fn are_near(a: f64, b: f64, scale: f64, contract: Contract, bounds: Option<[f64; 2]>, float: &mut Float) -> bool {
    let bounds = bounds.filter(|[left, right]| left.is_finite() && right.is_finite());
    if let Some([left, right]) = bounds {
        let growth = if left > 0.0 { right / left } else { 0.0 };
        float.growth = Some(float.growth.unwrap_or(0.0).max(growth));
    }
    if (a.is_nan() && b.is_nan()) || a.to_bits() == b.to_bits() {
        return true;
    }
    let allowed = match contract {
        Contract::Exact => return false,
        Contract::ExactFinite => return a == b,
        // Rearranged terms may overflow on their way to a result that nearly overflows itself, but not to a small one.
        _ if !b.is_finite() => {
            float.overflows = float.real != Element::Double && a.abs() > 256.0;
            return float.overflows;
        }
        Contract::Approximates(allowed) => allowed * scale,
        Contract::Reassociates => 0.0,
    };
    let limit = match bounds {
        Some([left, right]) => allowed + 2.0 * (left + right),
        // Without bounds, a rounded type is only asked whether it overflows.
        None if float.real != Element::Double => f64::INFINITY,
        None => allowed.max(1e-9 * scale),
    };
    let distance = (a - b).abs();
    float.error = float.error.max(distance / scale);
    distance <= limit
}

fn place(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (axis, &size) in shape.iter().enumerate().rev() {
        index[axis] = flat % size.max(1);
        flat /= size.max(1);
    }
    index
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
