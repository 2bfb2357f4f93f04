//! Engine 1: applies rules to a graph where they make it cheaper, until none does.
//!
//! The first match that lowers the predicted cost is taken at once. What a match replaces counts only as far as it
//! dies: a call whose result is also read elsewhere stays, and the rule has to pay for computing it twice; what the graph has
//! already is not built again. So no rule needs a condition on single use, and none fires for nothing. When no match is left that
//! pays alone, a rule is tried at all its places at once, with what pays after it: what several share pays only together, and
//! some steps only prepare. Costs fall with every step; steps of equal cost are taken only when no other is left, and
//! are counted against a budget: the engine never loops.
//!
//! What replaces a part of attention would hide the whole from its rule. So in each sweep rules go in the order of the size of their
//! left sides, the largest first, and fused functions are recognised once no other rule has anything left to do. Where that is
//! worse, since a product was merged with others before its activation, they are recognised as they come.

use crate::cost::CostModel;
use crate::graph_host::GraphHost;
use crate::rewire::bodies_of;
use crate::rules::matcher::{Budget, Host, Match, find_from};
use crate::rules::{Rule, apply};
use eutectic_ir::graph::{Graph, NodeId, Op, Use, ValueId};
use eutectic_ir::infer::{contradicts, describe_node};
use eutectic_ir::{Model, Name, TensorType, walk};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the engine may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Walks over the whole graph, without fused functions and again with them.
    pub sweeps: usize,
    /// Steps that leave the cost as it is.
    pub sideways: usize,
    /// Candidate calls that the matcher looks at, for one rule at one place.
    pub candidates: u64,
}

impl Limits {
    /// 64 sweeps, 10,000 steps sideways, 10,000 candidates.
    pub const STANDARD: Limits = Limits { sweeps: 64, sideways: 10_000, candidates: 10_000 };
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One line a rule, in the order of the rules.
    pub rules: Vec<RuleReport>,
    /// Every step, in order.
    pub steps: Vec<Step>,
    /// Walks over the graph, the longer of the two rounds.
    pub n_sweeps: usize,
    /// True when a limit stopped the run before nothing was left to do.
    pub is_cut_short: bool,
}

/// What one rule did.
#[derive(Clone, Debug)]
pub struct RuleReport {
    /// Its name.
    pub name: Name,
    /// How often its left side stood in the graph with its conditions holding.
    pub n_matched: usize,
    /// How often it was applied.
    pub n_applied: usize,
    /// How often its right side had another type than its left: the rule is unsound, or its conditions are too weak.
    pub n_conflicts: usize,
    /// Time spent on it.
    pub time: Duration,
}

/// One application of a rule.
#[derive(Clone, Debug)]
pub struct Step {
    /// The rule's name.
    pub rule: Name,
    /// The call that defined the first root.
    pub at: String,
    /// Calls that are gone.
    pub n_removed: usize,
    /// Calls that are new, those that folding will take out apart.
    pub n_added: usize,
}

/// Rewrites `model` by `rules`. The right sides may only use operators that `allowed` accepts.
pub fn rewrite(
    model: &mut Model,
    rules: &[Arc<Rule>],
    cost: &CostModel,
    allowed: &dyn Fn(&Op) -> bool,
    limits: Limits,
) -> Report {
    let usable: Vec<Arc<Rule>> = rules.iter().filter(|rule| rule.builds().all(allowed)).cloned().collect();
    let mut report = Report::default();
    let line = |rule: &Arc<Rule>| RuleReport {
        name: rule.name.clone(),
        n_matched: 0,
        n_applied: 0,
        n_conflicts: 0,
        time: Duration::ZERO,
    };
    report.rules = usable.iter().map(line).collect();
    rewrite_graph(&mut model.graph, &usable, cost, limits, report)
}

/// Rewrites `graph` after its bodies, and adds to `report`.
fn rewrite_graph(
    graph: &mut Graph,
    rules: &[Arc<Rule>],
    cost: &CostModel,
    limits: Limits,
    mut report: Report,
) -> Report {
    bodies_of(graph, &mut |body| report = rewrite_graph(body, rules, cost, limits, std::mem::take(&mut report)));
    let mut in_turn: Vec<usize> = (0..rules.len()).filter(|&at| !rules[at].left.plan.is_empty()).collect();
    in_turn.sort_by_key(|&at| Reverse(rules[at].left.calls.len()));
    let without_fusions: Vec<usize> = in_turn.iter().copied().filter(|&at| rules[at].fusion.is_none()).collect();
    let host = GraphHost::new(std::mem::take(graph)).sharing();
    let run = Run { host, rules, cost, limits, sideways: limits.sideways, n_sweeps: 0, report };
    let as_they_come = run.clone().settled(&in_turn);
    let fusions_last = run.settled(&without_fusions).settled(&in_turn);
    let best = if as_they_come.cost() < fusions_last.cost() - NOTHING { as_they_come } else { fusions_last };
    *graph = best.host.graph;
    best.report
}

/// Which steps a sweep takes.
#[derive(Clone, Copy)]
enum Takes {
    /// Those that make the graph cheaper.
    Gains,
    /// All of a rule's, where they make the graph cheaper together and with what follows.
    GainsTogether,
    /// Those that leave the cost as it is, too.
    Sideways,
}

/// One graph being rewritten.
#[derive(Clone)]
struct Run<'a> {
    host: GraphHost,
    rules: &'a [Arc<Rule>],
    cost: &'a CostModel,
    limits: Limits,
    /// Steps of equal cost that are left.
    sideways: usize,
    n_sweeps: usize,
    report: Report,
}

impl Run<'_> {
    /// Applies the rules `in_turn` until none has anything left to do.
    fn settled(mut self, in_turn: &[usize]) -> Self {
        self.n_sweeps = 0;
        while [Takes::Gains, Takes::GainsTogether, Takes::Sideways].into_iter().any(|takes| self.sweep(in_turn, takes))
        {
        }
        self.report.n_sweeps = self.report.n_sweeps.max(self.n_sweeps);
        self.report.is_cut_short |= self.sideways == 0;
        crate::dce::sweep(&mut self.host.graph);
        self
    }

    /// Walks over the graph once, while the limit allows it; whether the graph changed.
    fn sweep(&mut self, in_turn: &[usize], takes: Takes) -> bool {
        if self.n_sweeps == self.limits.sweeps {
            self.report.is_cut_short = true;
            return false;
        }
        self.n_sweeps += 1;
        // What only dead calls read would count as read twice, and dead calls as a cost.
        crate::dce::sweep(&mut self.host.graph);
        let mut by_op: FxHashMap<(Name, Name), Vec<NodeId>> = FxHashMap::default();
        for id in walk::order(&self.host.graph).unwrap_or_default() {
            by_op.entry(key(&self.host.graph.node(id).op)).or_default().push(id);
        }
        let n_steps = self.report.steps.len();
        for &at in in_turn {
            let start = Instant::now();
            let rule = &self.rules[at];
            let first = &rule.left.calls[rule.left.plan[0].call].op;
            let places = by_op.get(&key(first)).map(Vec::as_slice).unwrap_or_default();
            let mut none = 0;
            match takes {
                Takes::Gains => self.apply(at, places, &mut |gained| is_accepted(gained, &mut none)),
                Takes::GainsTogether => self.apply_together(at, places, in_turn),
                Takes::Sideways => {
                    let mut sideways = self.sideways;
                    self.apply(at, places, &mut |gained| is_accepted(gained, &mut sideways));
                    self.sideways = sideways;
                }
            }
            self.report.rules[at].time += start.elapsed();
        }
        self.report.steps.len() > n_steps
    }

    /// Applies a rule at each of `places` where `accepts` what that makes the graph cheaper by.
    fn apply(&mut self, at: usize, places: &[NodeId], accepts: &mut dyn FnMut(f64) -> bool) {
        for &id in places {
            for found in matches_at(&self.host, &self.rules[at], id, self.limits) {
                let line = &mut self.report.rules[at];
                line.n_matched += 1;
                if let Some(step) = try_match(&mut self.host, &self.rules[at], &found, self.cost, accepts, line) {
                    line.n_applied += 1;
                    self.report.steps.push(step);
                    break;
                }
            }
        }
    }

    /// Applies a rule at all of `places`, whatever that costs, then the rules `in_turn` as long as they gain, and keeps the result
    /// when it is cheaper than the graph before.
    fn apply_together(&mut self, at: usize, places: &[NodeId], in_turn: &[usize]) {
        let matches = |&id: &NodeId| !matches_at(&self.host, &self.rules[at], id, self.limits).is_empty();
        if !places.iter().any(matches) {
            return;
        }
        let mut trial = self.clone();
        trial.apply(at, places, &mut |_| true);
        if trial.report.steps.len() == self.report.steps.len() {
            return;
        }
        while trial.sweep(in_turn, Takes::Gains) {}
        crate::dce::sweep(&mut trial.host.graph);
        if trial.cost() < self.cost() - NOTHING {
            *self = trial;
        }
    }

    /// What the graph is predicted to cost.
    fn cost(&self) -> f64 {
        let calls: Vec<NodeId> = self.host.graph.nodes().map(|(id, _)| id).collect();
        self.host.cost_of(&calls, self.cost)
    }
}

/// A nanosecond is far below one launch and far above rounding.
const NOTHING: f64 = 1e-9;

/// Whether a step is taken that makes the graph cheaper by `gained`, where `sideways` more steps may leave its cost as it is.
fn is_accepted(gained: f64, sideways: &mut usize) -> bool {
    if gained.abs() <= NOTHING {
        let Some(left) = sideways.checked_sub(1) else { return false };
        *sideways = left;
        return true;
    }
    gained > 0.0
}

fn key(op: &Op) -> (Name, Name) {
    (op.domain().into(), op.name().into())
}

fn matches_at(host: &GraphHost, rule: &Rule, id: NodeId, limits: Limits) -> Vec<Match<ValueId, NodeId>> {
    let mut matches = Vec::new();
    if !host.graph.has_node(id) {
        return matches;
    }
    let mut budget = Budget::new(limits.candidates);
    let _ = find_from(rule, host, id, &mut budget, &mut |found| {
        matches.push(found);
        // More matches at one place are rare, and one is taken.
        if matches.len() < 8 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    matches
}

fn try_match(
    host: &mut GraphHost,
    rule: &Rule,
    found: &Match<ValueId, NodeId>,
    cost: &CostModel,
    accepts: &mut dyn FnMut(f64) -> bool,
    line: &mut RuleReport,
) -> Option<Step> {
    let applied = apply(rule, found, host);
    let built = std::mem::take(&mut host.built);
    let weights = std::mem::take(&mut host.built_weights);
    let decided = applied.ok().and_then(|mut applied| {
        applied.roots.retain(|(old, new)| old != new);
        if applied.roots.is_empty() {
            return None;
        }
        if !applied.roots.iter().all(|&(old, new)| fits(host.ty(old), host.ty(new))) {
            line.n_conflicts += 1;
            return None;
        }
        let dying = dying(host, found, &applied.roots);
        let gained = host.cost_of(&dying, cost) - host.cost_of(&built, cost);
        accepts(gained).then_some((applied, dying))
    });
    let Some((applied, dying)) = decided else {
        host.forget(&built, &weights);
        return None;
    };
    let at = describe_node(host.graph.node(*dying.last().or(found.calls.last())?));
    for (old, new) in applied.roots {
        host.replace(old, new);
    }
    for id in &dying {
        // Roots were read by their new selves alone; the order is from readers to what they read.
        let _ = host.graph.remove_node(*id);
    }
    let n_added = built.iter().filter(|id| !host.is_constant_call(**id)).count();
    Some(Step { rule: rule.name.clone(), at, n_removed: dying.len(), n_added })
}

/// True when a root of the first type may become one of the second: nothing contradicts, and nothing known is lost.
pub(crate) fn fits(old: Option<&TensorType>, new: Option<&TensorType>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => !contradicts(old, new) && old.rank() == new.rank() && old.element == new.element,
        (Some(_), None) => false,
        (None, _) => true,
    }
}

/// The matched calls that nobody reads once each of `roots` is replaced by the value beside it; readers before what they read.
fn dying(host: &GraphHost, found: &Match<ValueId, NodeId>, roots: &[(ValueId, ValueId)]) -> Vec<NodeId> {
    let mut dying: Vec<NodeId> = Vec::new();
    loop {
        let is_unread = |value: &ValueId| {
            let is_read_again = roots.iter().any(|(_, new)| new == value);
            roots.iter().any(|(old, _)| old == value)
                || !is_read_again
                    && host.graph.value(*value).uses().all(|used| match used {
                        Use::Input(node, _) | Use::Capture(node, _) => dying.contains(&node),
                        Use::Output(_) => false,
                    })
        };
        let next =
            found.calls.iter().find(|id| !dying.contains(id) && host.graph.node(**id).outputs().iter().all(is_unread));
        match next {
            Some(id) => dying.push(*id),
            None => return dying,
        }
    }
}
