//! One matcher for every engine: backtracking over the calls of a host, under a budget.
//!
//! A host is a graph, where a value has at most one definition, or an e-graph, where a class has several. Several
//! roots are matched jointly. Operands of commutative operators match in both orders. Roots that are constant do not
//! match: folding computes them.

use super::expr::{Known, is_near};
use super::{Condition, PatternCall, PatternInput, Rule, Var, Via};
use eutectic_ir::op::Law;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::{Attr, Attrs, Dim, Op, Reason, TensorType};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::fmt::Debug;
use std::hash::Hash;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Instant;

/// What rules are matched against.
pub trait Host {
    /// A value, or the canonical id of a class of equal values.
    type Value: Copy + Eq + Hash + Ord + Debug;
    /// One call: a node, or one e-node of a class. Valid until the host changes.
    type Call: Copy + Eq + Hash + Ord + Debug;

    /// All calls of `op`.
    fn calls(&self, op: &Op) -> Vec<Self::Call>;
    /// The calls of `op` that define `value`, each with the position of the output that it is.
    fn definitions(&self, value: Self::Value, op: &Op) -> SmallVec<[(Self::Call, usize); 2]>;
    /// The calls of `op` that read `value`.
    fn readers(&self, value: Self::Value, op: &Op) -> Vec<Self::Call>;
    /// The attributes of `call`.
    fn attrs(&self, call: Self::Call) -> &Attrs;
    /// The inputs of `call`, by position.
    fn inputs(&self, call: Self::Call) -> SmallVec<[Option<Self::Value>; 4]>;
    /// Output `index` of `call`; `None` when there is none, or nothing stands for it.
    fn output(&self, call: Self::Call, index: usize) -> Option<Self::Value>;
    /// Number of outputs of `call`, as far as the host knows.
    fn n_outputs(&self, call: Self::Call) -> usize;

    /// The type of `value`, as far as known.
    fn ty(&self, value: Self::Value) -> Option<&TensorType>;
    /// True when `value` is a weight, or computed from weights alone.
    fn is_constant(&self, value: Self::Value) -> bool;
    /// The tensor that `value` is, when it is a weight.
    fn weight(&self, value: Self::Value) -> Option<&Tensor>;
    /// The element of `value`, when it is a constant of one element.
    fn scalar(&self, value: Self::Value) -> Option<f64>;
    /// The number that every element of `value` is, when it is a weight that is stored as this one number.
    fn splat(&self, value: Self::Value) -> Option<f64>;
    /// The elements of `value`, when it is an integer vector or scalar whose elements are known as dims.
    fn content(&self, value: Self::Value) -> Option<Vec<Dim>>;
}

/// What a variable is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Binding<V> {
    /// Nothing yet.
    #[default]
    Unbound,
    /// An optional input that the call leaves out.
    Absent,
    /// A value.
    One(V),
    /// The rest of a variadic operator's inputs.
    Rest(SmallVec<[V; 4]>),
}

impl<V: Copy> Binding<V> {
    /// The value, when it is one.
    pub fn one(&self) -> Option<V> {
        match self {
            Binding::One(value) => Some(*value),
            _ => None,
        }
    }
}

/// One way in which the left side of a rule stands in a host.
#[derive(Clone, Debug)]
pub struct Match<V, C> {
    /// What each variable is bound to, by [`Var`]; those of the right side are unbound.
    pub values: Vec<Binding<V>>,
    /// Which call stands for each call of the pattern.
    pub calls: Vec<C>,
    /// The attributes of each call that has a label, by position of the call; valid when the host has changed.
    pub records: Vec<Option<Attrs>>,
}

/// How much work matching may still do, in candidate calls looked at, and until when.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Candidates left; matching stops at zero.
    pub left: u64,
    /// When matching stops at the latest.
    pub deadline: Option<Instant>,
}

impl Budget {
    /// A budget of `candidates`.
    pub fn new(candidates: u64) -> Self {
        Self { left: candidates, deadline: None }
    }

    /// Whether the deadline has passed.
    pub fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    pub(super) fn spend(&mut self) -> ControlFlow<()> {
        // Asking for the time costs as much as a candidate that does not match.
        const ASKS_EVERY: u64 = 64;
        match self.left.checked_sub(1) {
            Some(left) if left % ASKS_EVERY != 0 || !self.is_late() => {
                self.left = left;
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        }
    }
}

/// Calls `found` with each way in which `rule` stands in `host`. Break when `found` breaks or the budget is spent.
pub fn find<H: Host>(
    rule: &Rule,
    host: &H,
    budget: &mut Budget,
    found: &mut dyn FnMut(Match<H::Value, H::Call>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    Search::new(rule, host, budget, found).step(0)
}

/// The same, with `start` as the first call of the plan.
pub fn find_from<H: Host>(
    rule: &Rule,
    host: &H,
    start: H::Call,
    budget: &mut Budget,
    found: &mut dyn FnMut(Match<H::Value, H::Call>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(first) = rule.left.plan.first() else { return ControlFlow::Continue(()) };
    Search::new(rule, host, budget, found).candidate(0, first.call, start)
}

struct Search<'a, H: Host> {
    rule: &'a Rule,
    host: &'a H,
    budget: &'a mut Budget,
    found: &'a mut dyn FnMut(Match<H::Value, H::Call>) -> ControlFlow<()>,
    values: Vec<Binding<H::Value>>,
    calls: Vec<Option<H::Call>>,
    records: Vec<Option<&'a Attrs>>,
    /// What reads a value, by position of the call that is sought: siblings are sought once for each of them.
    readers: FxHashMap<(usize, H::Value), Rc<[H::Call]>>,
}

impl<'a, H: Host> Search<'a, H> {
    fn new(
        rule: &'a Rule,
        host: &'a H,
        budget: &'a mut Budget,
        found: &'a mut dyn FnMut(Match<H::Value, H::Call>) -> ControlFlow<()>,
    ) -> Self {
        let n_calls = rule.left.calls.len();
        let values = vec![Binding::Unbound; rule.variables.len()];
        let (calls, records) = (vec![None; n_calls], vec![None; n_calls]);
        Self { rule, host, budget, found, values, calls, records, readers: FxHashMap::default() }
    }

    fn step(&mut self, at: usize) -> ControlFlow<()> {
        let Some(step) = self.rule.left.plan.get(at).copied() else { return self.emit() };
        let op = &self.rule.left.calls[step.call].op;
        let value = |var: Var| self.values[var.index()].one();
        match step.via {
            Via::Anywhere => {
                for call in self.host.calls(op) {
                    self.candidate(at, step.call, call)?;
                }
            }
            Via::Definition(var, output) => {
                let Some(value) = value(var) else { return ControlFlow::Continue(()) };
                for (call, index) in self.host.definitions(value, op) {
                    if index == output {
                        self.candidate(at, step.call, call)?;
                    }
                }
            }
            Via::Reader(var) => {
                let Some(value) = value(var) else { return ControlFlow::Continue(()) };
                let (host, key) = (self.host, (step.call, value));
                let readers = self.readers.entry(key).or_insert_with(|| host.readers(value, op).into());
                for &call in Rc::clone(readers).iter() {
                    self.candidate(at, step.call, call)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn candidate(&mut self, at: usize, index: usize, call: H::Call) -> ControlFlow<()> {
        self.budget.spend()?;
        let rule = self.rule;
        let pattern = &rule.left.calls[index];
        let attrs = self.host.attrs(call);
        if pattern.attrs.iter().any(|(name, wanted)| attrs.get(name) != Some(wanted))
            || repeats_a_root(rule, &self.calls, index, call)
        {
            return ControlFlow::Continue(());
        }
        let inputs = self.host.inputs(call);
        self.calls[index] = Some(call);
        self.records[index] = Some(attrs);
        if at == 0 && defines_constants(self.host, call, pattern) {
            self.calls[index] = None;
            return ControlFlow::Continue(());
        }
        self.bind_and_go_on(at, pattern, call, &inputs)?;
        let swaps = pattern.op.builtin().is_some_and(|def| def.has(Law::Commutative));
        if swaps && inputs.len() == 2 && inputs[0] != inputs[1] {
            self.bind_and_go_on(at, pattern, call, &[inputs[1], inputs[0]])?;
        }
        self.calls[index] = None;
        self.records[index] = None;
        ControlFlow::Continue(())
    }

    fn bind_and_go_on(
        &mut self,
        at: usize,
        pattern: &PatternCall,
        call: H::Call,
        inputs: &[Option<H::Value>],
    ) -> ControlFlow<()> {
        let mut bound: SmallVec<[Var; 6]> = SmallVec::new();
        let host = self.host;
        let fits = fit(host, pattern, call, inputs, &mut |fit| match fit {
            Fit::Binds(var, binding) => self.bind_one(var, binding, &mut bound),
            Fit::Lacks(..) | Fit::Scalar(..) | Fit::More => false,
        });
        if fits && self.conditions_hold(at) {
            self.step(at + 1)?;
        }
        for var in bound {
            self.values[var.index()] = Binding::Unbound;
        }
        ControlFlow::Continue(())
    }

    fn bind_one(&mut self, var: Var, binding: Binding<H::Value>, bound: &mut SmallVec<[Var; 6]>) -> bool {
        let slot = &mut self.values[var.index()];
        if *slot == Binding::Unbound {
            *slot = binding;
            bound.push(var);
            return true;
        }
        *slot == binding
    }

    fn conditions_hold(&self, at: usize) -> bool {
        let view = View { host: self.host, values: &self.values, records: &self.records };
        let mut due = self.rule.conditions.iter().filter(|condition| condition.after == at);
        due.all(|condition| holds(condition, &view).is_ok())
    }

    fn emit(&mut self) -> ControlFlow<()> {
        let calls: Option<Vec<H::Call>> = self.calls.iter().copied().collect();
        let Some(calls) = calls else { return ControlFlow::Continue(()) };
        let labelled = self.rule.left.calls.iter().zip(&self.records);
        let records = labelled.map(|(call, attrs)| call.label.as_ref().and(attrs.cloned())).collect();
        (self.found)(Match { values: self.values.clone(), calls, records })
    }
}

/// How one part of a call meets its pattern.
pub(super) enum Fit<V> {
    /// A variable stands for this.
    Binds(Var, Binding<V>),
    /// What a variable would stand for is not there.
    Lacks(Var),
    /// This is no constant of one element near the number.
    Scalar(f64, Option<V>),
    /// The call has inputs or outputs that the pattern does not name.
    More,
}

/// Tells `each` how the inputs of `call`, in this order, and then its outputs meet `pattern`, until it says no; what it said last.
pub(super) fn fit<H: Host>(
    host: &H,
    pattern: &PatternCall,
    call: H::Call,
    inputs: &[Option<H::Value>],
    each: &mut impl FnMut(Fit<H::Value>) -> bool,
) -> bool {
    let mut rest = inputs;
    for wanted in &pattern.inputs {
        if let PatternInput::Rest(var) = *wanted {
            let values: Option<SmallVec<[H::Value; 4]>> = std::mem::take(&mut rest).iter().copied().collect();
            if !each(values.map_or(Fit::Lacks(var), |values| Fit::Binds(var, Binding::Rest(values)))) {
                return false;
            }
            continue;
        }
        let input = rest.first().copied().flatten();
        rest = rest.get(1..).unwrap_or_default();
        let fits = match (*wanted, input) {
            (PatternInput::Var(var) | PatternInput::Optional(var), Some(value)) => {
                each(Fit::Binds(var, Binding::One(value)))
            }
            (PatternInput::Optional(var), None) => each(Fit::Binds(var, Binding::Absent)),
            (PatternInput::Var(var), None) => each(Fit::Lacks(var)),
            (PatternInput::Scalar(wanted), _) => {
                input.is_some_and(|value| is_scalar(host, value, wanted)) || each(Fit::Scalar(wanted, input))
            }
            (PatternInput::Absent, Some(_)) => each(Fit::More),
            (PatternInput::Absent, None) | (PatternInput::Rest(_), _) => true,
        };
        if !fits {
            return false;
        }
    }
    let n_outputs = host.n_outputs(call);
    if (rest.iter().any(Option::is_some) || n_outputs > pattern.outputs.len()) && !each(Fit::More) {
        return false;
    }
    pattern.outputs.iter().enumerate().all(|(index, var)| match (*var, host.output(call, index)) {
        (None, _) => true,
        (Some(var), None) if index >= n_outputs => each(Fit::Lacks(var)),
        (Some(var), Some(value)) => each(Fit::Binds(var, Binding::One(value))),
        // Nothing reads this output, so nothing stands for it.
        (Some(var), None) => each(Fit::Binds(var, Binding::Absent)),
    })
}

/// What is computed from weights alone is folded: to rewrite it is idle.
pub(super) fn defines_constants<H: Host>(host: &H, call: H::Call, pattern: &PatternCall) -> bool {
    let mut outputs = (0..pattern.outputs.len()).filter_map(|index| host.output(call, index)).peekable();
    outputs.peek().is_some() && outputs.all(|output| host.is_constant(output))
}

/// Two calls that both define roots are two calls: a rule that merges siblings does not merge a call with itself.
pub(super) fn repeats_a_root<C: PartialEq>(rule: &Rule, calls: &[Option<C>], index: usize, call: C) -> bool {
    let is_root = |at: usize| {
        let outputs = &rule.left.calls[at].outputs;
        rule.roots.iter().any(|(left, _)| outputs.contains(&Some(*left)))
    };
    let stands = |(at, bound): (usize, &Option<C>)| bound.as_ref() == Some(&call) && at != index && is_root(at);
    is_root(index) && calls.iter().enumerate().any(stands)
}

fn is_scalar<H: Host>(host: &H, value: H::Value, wanted: f64) -> bool {
    let Some(found) = host.scalar(value) else { return false };
    host.ty(value).is_some_and(|ty| is_near(found, wanted, ty.element))
}

/// Errors: why the condition does not hold.
pub fn holds(condition: &Condition, known: &dyn Known) -> Result<(), Reason> {
    if condition.expr.evaluate(known)?.as_bool()? {
        return Ok(());
    }
    Err(Reason(format!("`{}` does not hold", condition.text)))
}

/// What expressions see of a match.
pub(super) struct View<'a, H: Host> {
    pub(super) host: &'a H,
    pub(super) values: &'a [Binding<H::Value>],
    pub(super) records: &'a [Option<&'a Attrs>],
}

impl<H: Host> View<'_, H> {
    fn one(&self, var: Var) -> Option<H::Value> {
        self.values[var.index()].one()
    }
}

impl<H: Host> Known for View<'_, H> {
    fn ty(&self, var: Var) -> Result<&TensorType, Reason> {
        let value = self.one(var).ok_or_else(|| Reason::new("the input is left out"))?;
        self.host.ty(value).ok_or_else(|| Reason(format!("the type of {value:?} is not known")))
    }
    fn is_constant(&self, var: Var) -> bool {
        match &self.values[var.index()] {
            Binding::Unbound => false,
            Binding::Absent => true,
            Binding::One(value) => self.host.is_constant(*value),
            Binding::Rest(values) => values.iter().all(|value| self.host.is_constant(*value)),
        }
    }
    fn weight(&self, var: Var) -> Option<&Tensor> {
        self.host.weight(self.one(var)?)
    }
    fn scalar(&self, var: Var) -> Option<f64> {
        self.host.scalar(self.one(var)?)
    }
    fn splat(&self, var: Var) -> Option<f64> {
        self.host.splat(self.one(var)?)
    }
    fn content(&self, var: Var) -> Option<Vec<Dim>> {
        self.host.content(self.one(var)?)
    }
    fn n_values(&self, var: Var) -> usize {
        match &self.values[var.index()] {
            Binding::Unbound | Binding::Absent => 0,
            Binding::One(_) => 1,
            Binding::Rest(values) => values.len(),
        }
    }
    fn same(&self, a: Var, b: Var) -> bool {
        self.values[a.index()] == self.values[b.index()]
    }
    fn precedes(&self, a: Var, b: Var) -> bool {
        self.one(a) < self.one(b)
    }
    fn attr(&self, call: usize, name: &str) -> Option<&Attr> {
        self.records.get(call).copied().flatten()?.get(name)
    }
}
