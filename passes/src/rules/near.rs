//! Where a rule nearly matches, and what keeps it from matching.
//!
//! The search walks the left side as the matcher does, and meets each call as it does, but what does not fit is noted instead of ending the attempt: an
//! attribute, a condition, a constant, a variable that stands for two values. Only a call that is not there ends it. The
//! attempt that gets furthest is the nearest; among those, the one that misses least.

use super::expr::{Binary, Expr, Value};
use super::matcher::{Binding, Budget, Fit, Host, View, defines_constants, fit, holds, repeats_a_root};
use super::{PatternCall, PatternInput, PlanStep, Rule, Var, Via, check};
use eutectic_ir::op::Law;
use eutectic_ir::{Attrs, Name};
use smallvec::SmallVec;
use std::ops::ControlFlow;

/// The attempt that comes nearest.
#[derive(Clone, Debug)]
pub struct NearMiss<V, C> {
    /// The call that stands for each call of the pattern, as far as one is there.
    pub calls: Vec<Option<C>>,
    /// What each variable is bound to.
    pub values: Vec<Binding<V>>,
    /// What does not fit, in the order in which the matcher meets it. None: the rule matches here.
    pub misses: Vec<Miss<V>>,
}

/// One thing that keeps a rule from matching.
#[derive(Clone, Debug, PartialEq)]
pub enum Miss<V> {
    /// The call of the pattern at this position is not there; its candidates come from here.
    Call(PlanStep),
    /// A literal attribute, by positions of the call and of the attribute.
    Attr(usize, usize),
    /// A condition, by its position.
    Condition(usize),
    /// An input of this call that is no constant of one element near this number.
    Scalar(usize, f64, Option<V>),
    /// A variable that stands for a value already has another here; `None` for an input that is left out.
    Other(Var, Option<V>),
    /// This call has inputs or outputs that the pattern does not name.
    More(usize),
    /// What the first call defines is constant, and will be folded.
    Constant,
}

/// The nearest miss of `rule` in `host` that begins with each of `starts`, a call of the pattern and a call of the host; the
/// first of several equals. `None` when there is no start.
pub fn nearest<H: Host>(
    rule: &Rule,
    host: &H,
    starts: &[(usize, H::Call)],
    budget: &mut Budget,
) -> Option<NearMiss<H::Value, H::Call>> {
    let n_calls = rule.left.calls.len();
    let mut search = Search {
        rule,
        host,
        budget,
        plan: Vec::new(),
        due: Vec::new(),
        values: vec![Binding::Unbound; rule.variables.len()],
        calls: vec![None; n_calls],
        records: vec![None; n_calls],
        misses: Vec::new(),
        best: None,
    };
    for &(first, call) in starts {
        search.plan = check::plan_from(&rule.left.calls, first).0;
        search.due = rule
            .conditions
            .iter()
            .map(|condition| check::bound_after(&condition.expr, &rule.left.calls, &search.plan))
            .collect();
        if search.candidate(0, first, call).is_break() {
            break;
        }
    }
    search.best
}

/// Every call of `host` that may stand for the first call of the plan of `rule`.
pub fn starts<H: Host>(rule: &Rule, host: &H) -> Vec<(usize, H::Call)> {
    let Some(step) = rule.left.plan.first() else { return Vec::new() };
    host.calls(&rule.left.calls[step.call].op).into_iter().map(|call| (step.call, call)).collect()
}

struct Search<'a, H: Host> {
    rule: &'a Rule,
    host: &'a H,
    budget: &'a mut Budget,
    plan: Vec<PlanStep>,
    /// After which step of the plan each condition is due.
    due: Vec<usize>,
    values: Vec<Binding<H::Value>>,
    calls: Vec<Option<H::Call>>,
    records: Vec<Option<&'a Attrs>>,
    misses: Vec<Miss<H::Value>>,
    best: Option<NearMiss<H::Value, H::Call>>,
}

impl<H: Host> Search<'_, H> {
    fn step(&mut self, at: usize) -> ControlFlow<()> {
        let Some(step) = self.plan.get(at).copied() else {
            self.consider();
            return ControlFlow::Continue(());
        };
        let op = &self.rule.left.calls[step.call].op;
        let candidates: SmallVec<[H::Call; 4]> = match step.via {
            Via::Anywhere => self.host.calls(op).into_iter().collect(),
            Via::Definition(var, output) => {
                let value = self.values[var.index()].one();
                let defined = value.map(|value| self.host.definitions(value, op)).unwrap_or_default();
                defined.into_iter().filter(|(_, index)| *index == output).map(|(call, _)| call).collect()
            }
            Via::Reader(var) => {
                let value = self.values[var.index()].one();
                value.map(|value| self.host.readers(value, op)).unwrap_or_default().into_iter().collect()
            }
        };
        if candidates.is_empty() {
            self.misses.push(Miss::Call(step));
            self.consider();
            self.misses.pop();
        }
        for call in candidates {
            self.candidate(at, step.call, call)?;
        }
        ControlFlow::Continue(())
    }

    fn consider(&mut self) {
        let reached = |calls: &[Option<H::Call>]| calls.iter().flatten().count();
        let is_nearer = self.best.as_ref().is_none_or(|best| {
            let (ours, theirs) = (reached(&self.calls), reached(&best.calls));
            ours > theirs || (ours == theirs && self.misses.len() < best.misses.len())
        });
        if is_nearer {
            let (calls, values, misses) = (self.calls.clone(), self.values.clone(), self.misses.clone());
            self.best = Some(NearMiss { calls, values, misses });
        }
    }

    /// True when nothing below this attempt can be nearer than what is known.
    fn is_hopeless(&self) -> bool {
        let is_whole = |best: &NearMiss<H::Value, H::Call>| best.calls.iter().all(Option::is_some);
        self.best.as_ref().is_some_and(|best| is_whole(best) && best.misses.len() <= self.misses.len())
    }

    fn candidate(&mut self, at: usize, index: usize, call: H::Call) -> ControlFlow<()> {
        self.budget.spend()?;
        let rule = self.rule;
        let pattern = &rule.left.calls[index];
        if repeats_a_root(rule, &self.calls, index, call) {
            return ControlFlow::Continue(());
        }
        let attrs = self.host.attrs(call);
        let n_misses = self.misses.len();
        for (position, (name, wanted)) in pattern.attrs.iter().enumerate() {
            if attrs.get(name) != Some(wanted) {
                self.misses.push(Miss::Attr(index, position));
            }
        }
        self.calls[index] = Some(call);
        self.records[index] = Some(attrs);
        if at == 0 && defines_constants(self.host, call, pattern) {
            self.misses.push(Miss::Constant);
        }
        let inputs = self.host.inputs(call);
        self.bind_and_go_on(at, index, call, &inputs)?;
        let swaps = pattern.op.builtin().is_some_and(|def| def.has(Law::Commutative));
        if swaps && inputs.len() == 2 && inputs[0] != inputs[1] {
            self.bind_and_go_on(at, index, call, &[inputs[1], inputs[0]])?;
        }
        self.misses.truncate(n_misses);
        self.calls[index] = None;
        self.records[index] = None;
        ControlFlow::Continue(())
    }

    fn bind_and_go_on(
        &mut self,
        at: usize,
        index: usize,
        call: H::Call,
        inputs: &[Option<H::Value>],
    ) -> ControlFlow<()> {
        let mut bound: SmallVec<[Var; 6]> = SmallVec::new();
        let n_misses = self.misses.len();
        let (host, pattern) = (self.host, &self.rule.left.calls[index]);
        fit(host, pattern, call, inputs, &mut |fit| {
            match fit {
                Fit::Binds(var, binding) => self.bind_one(var, binding, &mut bound),
                Fit::Lacks(var) => self.misses.push(Miss::Other(var, None)),
                Fit::Scalar(wanted, found) => self.misses.push(Miss::Scalar(index, wanted, found)),
                Fit::More => self.misses.push(Miss::More(index)),
            }
            true
        });
        let view = View { host: self.host, values: &self.values, records: &self.records };
        for (position, condition) in self.rule.conditions.iter().enumerate() {
            if self.due[position] == at && holds(condition, &view).is_err() {
                self.misses.push(Miss::Condition(position));
            }
        }
        if !self.is_hopeless() {
            self.step(at + 1)?;
        }
        self.misses.truncate(n_misses);
        for var in bound {
            self.values[var.index()] = Binding::Unbound;
        }
        ControlFlow::Continue(())
    }

    fn bind_one(&mut self, var: Var, binding: Binding<H::Value>, bound: &mut SmallVec<[Var; 6]>) {
        let slot = &mut self.values[var.index()];
        if *slot == Binding::Unbound {
            *slot = binding;
            bound.push(var);
        } else if *slot != binding {
            self.misses.push(Miss::Other(var, binding.one()));
        }
    }
}

impl<V: Copy, C: Copy> NearMiss<V, C> {
    /// Each miss in a line: what the rule needs, and what is there. `describe` says what a value is.
    pub fn reasons<H: Host<Value = V, Call = C>>(
        &self,
        rule: &Rule,
        host: &H,
        describe: &dyn Fn(V) -> String,
    ) -> Vec<String> {
        let records = self.calls.iter().map(|call| call.map(|call| host.attrs(call))).collect::<Vec<_>>();
        let view = View { host, values: &self.values, records: &records };
        let shown = Shown { rule, view: &view, describe };
        self.misses.iter().map(|miss| shown.reason(miss, &self.values, &records)).collect()
    }
}

struct Shown<'a, H: Host> {
    rule: &'a Rule,
    view: &'a View<'a, H>,
    describe: &'a dyn Fn(H::Value) -> String,
}

impl<H: Host> Shown<'_, H> {
    fn reason(&self, miss: &Miss<H::Value>, values: &[Binding<H::Value>], records: &[Option<&Attrs>]) -> String {
        let variable = |var: Var| self.variable(var);
        let value = |var: Var| values[var.index()].one().map_or("nothing".into(), self.describe);
        let operator = |call: usize| &self.rule.left.calls[call].op;
        match miss {
            Miss::Call(PlanStep { call, via: Via::Anywhere }) => {
                format!("needs a call of {}, there is none", operator(*call))
            }
            Miss::Call(PlanStep { call, via: Via::Definition(var, _) }) => {
                format!("needs a call of {} that defines {}, which is {}", operator(*call), variable(*var), value(*var))
            }
            Miss::Call(PlanStep { call, via: Via::Reader(var) }) => {
                format!("needs a call of {} that reads {}, which is {}", operator(*call), variable(*var), value(*var))
            }
            Miss::Attr(call, at) => {
                let (name, wanted) = &self.rule.left.calls[*call].attrs[*at];
                let found = records[*call].and_then(|attrs| attrs.get(name)).map_or(Value::Absent, Value::of_attr);
                format!("needs `{}.{name} == {}`, has {found}", self.label(*call), Value::of_attr(wanted))
            }
            Miss::Condition(at) => {
                let condition = &self.rule.conditions[*at];
                format!("needs `{}`, has {}", condition.text, self.actual(&condition.expr))
            }
            Miss::Scalar(call, wanted, found) => {
                let found = found.map_or("nothing".into(), self.describe);
                format!("needs the constant {wanted} as an input of {}, has {found}", operator(*call))
            }
            Miss::Other(var, found) => {
                let found = found.map_or("nothing".into(), self.describe);
                match values[var.index()] {
                    Binding::Unbound => format!("needs {}, has {found}", variable(*var)),
                    _ => format!("needs {} twice, has {} and {found}", variable(*var), value(*var)),
                }
            }
            Miss::More(call) => {
                format!(
                    "needs a call of {} with the inputs and outputs of the pattern alone, has more",
                    operator(*call)
                )
            }
            Miss::Constant => {
                "needs a value that is computed from the inputs, has a constant, which folding computes".into()
            }
        }
    }

    /// A variable by its name; one of a nested call, which has none, by who reads it.
    fn variable(&self, var: Var) -> String {
        let name = &self.rule.variable(var).name;
        let reads = |call: &&PatternCall| call.inputs.contains(&PatternInput::Var(var));
        match self.rule.left.calls.iter().find(reads) {
            Some(reader) if name.starts_with('%') => format!("an input of {}", reader.op),
            _ => format!("`{name}`"),
        }
    }

    fn label(&self, call: usize) -> Name {
        let call = &self.rule.left.calls[call];
        call.label.clone().filter(|label| !label.starts_with('%')).unwrap_or_else(|| call.op.name().into())
    }

    /// What the parts of a condition are that are no literals.
    fn actual(&self, expr: &Expr) -> String {
        let mut parts = Vec::new();
        self.parts(expr, &mut parts);
        if parts.is_empty() { "no value".into() } else { parts.join(", ") }
    }

    fn parts(&self, expr: &Expr, parts: &mut Vec<String>) {
        match expr {
            Expr::Literal(_) => {}
            Expr::Binary(
                Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge | Binary::Near,
                a,
                b,
            ) => {
                self.side(a, parts);
                self.side(b, parts);
            }
            Expr::Apply(function, args) if function.name == "const" || function.name == "weight" => {
                // Those that are as they should be are no news.
                for arg in args {
                    let is_so = (function.eval)(self.view, &arg.evaluate(self.view).into_iter().collect::<Vec<_>>());
                    if is_so != Ok(Value::Bool(true)) {
                        self.side(arg, parts);
                    }
                }
            }
            Expr::Apply(_, args) => args.iter().for_each(|arg| self.parts_of_argument(arg, parts)),
            _ => self.side(expr, parts),
        }
    }

    fn parts_of_argument(&self, arg: &Expr, parts: &mut Vec<String>) {
        let is_condition = |expr: &Expr| {
            matches!(expr.evaluate(self.view), Ok(Value::Bool(_))) || matches!(expr, Expr::Binary(Binary::Eq, ..))
        };
        if is_condition(arg) { self.parts(arg, parts) } else { self.side(arg, parts) }
    }

    fn side(&self, expr: &Expr, parts: &mut Vec<String>) {
        let part = match expr {
            Expr::Literal(_) => return,
            Expr::List(items) => return items.iter().for_each(|item| self.side(item, parts)),
            Expr::Var(var) => match &self.view.values[var.index()] {
                Binding::One(value) => format!("`{}` = {}", self.rule.variable(*var).name, (self.describe)(*value)),
                _ => format!("`{}` = nothing", self.rule.variable(*var).name),
            },
            _ => match expr.evaluate(self.view) {
                Ok(value) => format!("{} = {value}", self.spelled(expr)),
                Err(reason) => format!("{}: {reason}", self.spelled(expr)),
            },
        };
        if !parts.contains(&part) {
            parts.push(part);
        }
    }

    fn spelled(&self, expr: &Expr) -> String {
        let list = |items: &[Expr]| items.iter().map(|item| self.spelled(item)).collect::<Vec<_>>().join(", ");
        match expr {
            Expr::Literal(value) => value.to_string(),
            Expr::List(items) => format!("[{}]", list(items)),
            Expr::Var(var) => self.rule.variable(*var).name.to_string(),
            Expr::Attr(call, name) => format!("{}.{name}", self.label(*call)),
            Expr::Apply(function, args) => format!("{} ({})", function.name, list(args)),
            Expr::Binary(operator, a, b) => format!("{} {} {}", self.spelled(a), operator.text(), self.spelled(b)),
        }
    }
}
