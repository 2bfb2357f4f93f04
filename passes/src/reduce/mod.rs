//! Makes a model that shows a failure as small as it gets while it still shows it.
//!
//! Delta debugging (Zeller and Hildebrandt, IEEE Transactions on Software Engineering 28(2), 2002) over the nodes in order of
//! execution: a part of the graph is cut out, and what it reads of the rest becomes an input that is given the value which
//! the whole model computes there. Then single nodes are bypassed, those of bodies too, attributes and operands take their defaults, dims shrink,
//! and contents become ones. A round of all of these is repeated until none helps. Nothing is drawn at random: without a limit
//! of time, the result depends on the model and the judge alone.
//!
//! What a failure is, the judge knows: nothing here runs a model.

mod bodies;
mod cut;
mod shrink;
mod simplify;
#[cfg(test)]
mod tests;

use crate::dce::sweep;
use eutectic_ir::diag::Severity;
use eutectic_ir::graph::{Def, Graph, Op, ValueId};
use eutectic_ir::{Diagnostics, Model, Tensor, infer, verify, walk};
use std::time::{Duration, Instant};

/// A model, and what its inputs are given, by position; `None` for an input that is left to its default, or to whoever runs it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The model.
    pub model: Model,
    /// As many as the model has inputs.
    pub inputs: Vec<Option<Tensor>>,
}

/// What tells whether a case fails.
pub trait Judge {
    /// Whether the case shows the failure that is looked for. It must give the same answer each time.
    fn fails(&mut self, case: &Case) -> bool;

    /// What these values of the model's graph are when the case is run rightly; `None` where that cannot be told.
    fn values(&mut self, case: &Case, wanted: &[ValueId]) -> Option<Vec<Tensor>>;
}

/// How much may be tried. The smallest failing case found so far is the result whichever limit is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Most cases that the judge is shown.
    pub attempts: usize,
    /// Most time; the judge is not interrupted. `None` for a result that does not depend on the machine.
    pub time: Option<Duration>,
}

/// What is left.
#[derive(Clone, Debug)]
pub struct Reduction {
    /// The smallest case found that fails.
    pub case: Case,
    /// How many cases the judge was shown.
    pub n_attempts: usize,
    /// What was done to the case, and how often.
    pub changes: Vec<(&'static str, usize)>,
    /// Whether no change of a kind that is known here makes it smaller; else a limit was hit.
    pub is_minimal: bool,
}

/// Makes `case` smaller while `judge` says that it fails. `None` when it does not fail in the first place.
pub fn reduce(case: Case, judge: &mut dyn Judge, budget: Budget) -> Option<Reduction> {
    let n_errors = errors(&verify::verify(&case.model));
    let mut search =
        Search { case, judge, budget, began: Instant::now(), n_attempts: 1, changes: Vec::new(), n_errors };
    if !search.judge.fails(&search.case) {
        return None;
    }
    simplify::make_plain(&mut search);
    loop {
        let n_changes = search.n_changes();
        cut::nodes(&mut search);
        cut::outputs(&mut search);
        simplify::bypass(&mut search);
        bodies::nodes(&mut search);
        simplify::calls(&mut search);
        shrink::dims(&mut search);
        shrink::contents(&mut search);
        if search.n_changes() == n_changes || search.is_spent() {
            break;
        }
    }
    let is_minimal = !search.is_spent();
    let Search { case, n_attempts, changes, .. } = search;
    Some(Reduction { case, n_attempts, changes, is_minimal })
}

/// The smallest case so far, and what is left to spend.
struct Search<'a> {
    case: Case,
    judge: &'a mut dyn Judge,
    budget: Budget,
    began: Instant,
    n_attempts: usize,
    changes: Vec<(&'static str, usize)>,
    /// Errors of the model itself: no smaller one may have more, or it would fail for them.
    n_errors: usize,
}

impl Search<'_> {
    fn graph(&self) -> &Graph {
        &self.case.model.graph
    }

    fn is_spent(&self) -> bool {
        self.n_attempts >= self.budget.attempts || self.budget.time.is_some_and(|time| self.began.elapsed() >= time)
    }

    fn n_changes(&self) -> usize {
        self.changes.iter().map(|(_, n)| n).sum()
    }

    /// Takes `candidate` for the case when it is a sound model that fails; `kind` says what was done to it.
    fn accept(&mut self, kind: &'static str, mut candidate: Case) -> bool {
        if self.is_spent() {
            return false;
        }
        candidate.drop_unread();
        let (_, problems) = infer::infer(&mut candidate.model);
        if errors(&problems) > self.n_errors || errors(&verify::verify(&candidate.model)) > self.n_errors {
            return false;
        }
        self.n_attempts += 1;
        if !self.judge.fails(&candidate) {
            return false;
        }
        self.case = candidate;
        match self.changes.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, n)) => *n += 1,
            None => self.changes.push((kind, 1)),
        }
        true
    }

    /// The same for a change in place; `None` from `change` means that there is nothing to change.
    fn change(&mut self, kind: &'static str, change: impl FnOnce(&mut Case) -> Option<()>) -> bool {
        let mut candidate = self.case.clone();
        change(&mut candidate).is_some() && self.accept(kind, candidate)
    }
}

impl Case {
    /// Removes what no output depends on, inputs and functions included.
    fn drop_unread(&mut self) {
        let graph = &mut self.model.graph;
        sweep(graph);
        for at in (0..graph.inputs().len()).rev() {
            if graph.remove_value(graph.inputs()[at]).is_ok() {
                self.inputs.remove(at);
            }
        }
        let mut called = Vec::new();
        each_op(graph, &mut |op| {
            if let Op::Function(function) = op {
                called.push((function.domain.clone(), function.name.clone(), function.overload.clone()));
            }
        });
        let is_called = |(domain, name, overload): (&str, &str, &str)| {
            called.iter().any(|known| known.0 == domain && known.1 == name && known.2 == overload)
        };
        self.model.functions.retain(|function| is_called(function.id()));
    }

    /// Lets nobody infer from what stood in the graph before: types of results are forgotten, those of calls apart that
    /// nothing is known of.
    fn forget_types(&mut self) {
        let graph = &mut self.model.graph;
        let results: Vec<ValueId> = graph
            .nodes()
            .filter(|(_, node)| !matches!(node.op, Op::Opaque(_)))
            .flat_map(|(_, node)| node.outputs().to_vec())
            .collect();
        for id in results {
            graph.value_mut(id).ty = None;
        }
    }
}

/// Visits the operator of each call of `graph`, of those in its bodies, and of those in the functions that they call.
fn each_op(graph: &Graph, visit: &mut dyn FnMut(&Op)) {
    for (_, node) in graph.nodes() {
        visit(&node.op);
        if let Op::Function(function) = &node.op {
            each_op(&function.body, visit);
        }
        for body in node.bodies() {
            each_op(body, visit);
        }
    }
}

fn errors(problems: &Diagnostics) -> usize {
    problems.0.iter().filter(|problem| problem.severity == Severity::Error).count()
}

/// Which values depend on weights alone, by index.
fn constants(graph: &Graph) -> Vec<bool> {
    let mut constant = vec![false; graph.value_bound()];
    for (id, value) in graph.values() {
        constant[id.index()] = matches!(value.def(), Def::Weight(_));
    }
    for id in walk::order(graph).unwrap_or_default() {
        let node = graph.node(id);
        let is_constant = node.reads().all(|value| constant[value.index()]);
        node.outputs().iter().for_each(|output| constant[output.index()] = is_constant);
    }
    constant
}
