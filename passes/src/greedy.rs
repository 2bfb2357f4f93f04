//! Engine 1: applies rules to a graph where they make it cheaper, until none does.
//!
//! The first match that lowers the predicted cost is taken at once. What a match replaces counts only as far as it
//! dies: a call whose result is also read elsewhere stays, and the rule has to pay for computing it twice; what the graph has
//! already is not built again. So no rule needs a condition on single use, and none fires for nothing. When no match is left that
//! pays alone, a rule is tried at all its places at once, since what several share pays only together. Costs fall with
//! every step; steps of equal cost are taken only when no other is left, and are counted against a budget: the engine never
//! loops.
//!
//! What replaces a part of attention would hide the whole from its rule. So in each sweep rules go in the order of the size of their
//! left sides, the largest first, and fused functions are recognised once no other rule has anything left to do.

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
    rewrite_graph(&mut model.graph, &usable, cost, limits, &mut report);
    report
}

fn rewrite_graph(graph: &mut Graph, rules: &[Arc<Rule>], cost: &CostModel, limits: Limits, report: &mut Report) {
    bodies_of(graph, &mut |body| rewrite_graph(body, rules, cost, limits, report));
    let mut in_turn: Vec<usize> = (0..rules.len()).filter(|&at| !rules[at].left.plan.is_empty()).collect();
    in_turn.sort_by_key(|&at| Reverse(rules[at].left.calls.len()));
    let without_fusions: Vec<usize> = in_turn.iter().copied().filter(|&at| rules[at].fusion.is_none()).collect();
    let host = GraphHost::new(std::mem::take(graph)).sharing();
    let mut run = Run { host, rules, cost, limits, sideways: limits.sideways, n_sweeps: 0, report };
    for in_turn in [without_fusions, in_turn] {
        run.n_sweeps = 0;
        while [Takes::Gains, Takes::GainsTogether, Takes::Sideways].into_iter().any(|takes| run.sweep(&in_turn, takes))
        {
        }
        run.report.n_sweeps = run.report.n_sweeps.max(run.n_sweeps);
    }
    run.report.is_cut_short |= run.sideways == 0;
    *graph = run.host.graph;
    crate::dce::sweep(graph);
}

/// Which steps a sweep takes.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    /// Those that make the graph cheaper.
    Gains,
    /// All of a rule's, where they make the graph cheaper together.
    GainsTogether,
    /// Those that leave the cost as it is, too.
    Sideways,
}

/// One graph being rewritten.
struct Run<'a> {
    host: GraphHost,
    rules: &'a [Arc<Rule>],
    cost: &'a CostModel,
    limits: Limits,
    /// Steps of equal cost that are left.
    sideways: usize,
    n_sweeps: usize,
    report: &'a mut Report,
}

impl Run<'_> {
    /// Walks over the graph once, while the limit allows it; whether the graph changed.
    fn sweep(&mut self, in_turn: &[usize], takes: Takes) -> bool {
        if self.n_sweeps == self.limits.sweeps {
            self.report.is_cut_short = true;
            return false;
        }
        self.n_sweeps += 1;
        let mut by_op: FxHashMap<(Name, Name), Vec<NodeId>> = FxHashMap::default();
        for id in walk::order(&self.host.graph).unwrap_or_default() {
            by_op.entry(key(&self.host.graph.node(id).op)).or_default().push(id);
        }
        let n_steps = self.report.steps.len();
        for &at in in_turn {
            let start = Instant::now();
            let rule = &self.rules[at];
            let first = &rule.left.calls[rule.left.plan[0].call].op;
            if let Some(places) = by_op.get(&key(first)) {
                match takes {
                    Takes::GainsTogether => self.together(at, places),
                    Takes::Gains | Takes::Sideways => {
                        let mut none = 0;
                        let sideways = if takes == Takes::Gains { &mut none } else { &mut self.sideways };
                        let steps = places.iter().filter_map(|&id| {
                            let accepts = &mut |gained| is_accepted(gained, sideways);
                            try_rule(
                                &mut self.host,
                                rule,
                                id,
                                self.cost,
                                self.limits,
                                accepts,
                                &mut self.report.rules[at],
                            )
                        });
                        self.report.steps.extend(steps);
                    }
                }
            }
            self.report.rules[at].time += start.elapsed();
        }
        self.report.steps.len() > n_steps
    }

    /// Applies a rule at all of `places`, whatever that costs, and keeps the result when it is cheaper than the graph before.
    fn together(&mut self, at: usize, places: &[NodeId]) {
        let rule = &self.rules[at];
        let matches = |&&id: &&NodeId| !matches_at(&self.host, rule, id, self.limits).is_empty();
        if places.iter().filter(matches).take(2).count() < 2 {
            return;
        }
        let mut trial = self.host.clone();
        let mut line = self.report.rules[at].clone();
        let mut try_at =
            |&id: &NodeId| try_rule(&mut trial, rule, id, self.cost, self.limits, &mut |_| true, &mut line);
        let steps: Vec<Step> = places.iter().filter_map(&mut try_at).collect();
        crate::dce::sweep(&mut trial.graph);
        let only_in = |host: &GraphHost, other: &GraphHost| -> Vec<NodeId> {
            host.graph.nodes().map(|(id, _)| id).filter(|&id| !other.graph.has_node(id)).collect()
        };
        let gone = only_in(&self.host, &trial);
        let new = only_in(&trial, &self.host);
        if self.host.cost_of(&gone, self.cost) - trial.cost_of(&new, self.cost) > NOTHING {
            self.host = trial;
            self.report.rules[at] = line;
            self.report.steps.extend(steps);
        }
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

/// Applies `rule` at the call `id` where `accepts` what that makes the graph cheaper by.
fn try_rule(
    host: &mut GraphHost,
    rule: &Rule,
    id: NodeId,
    cost: &CostModel,
    limits: Limits,
    accepts: &mut dyn FnMut(f64) -> bool,
    line: &mut RuleReport,
) -> Option<Step> {
    for found in matches_at(host, rule, id, limits) {
        line.n_matched += 1;
        if let Some(step) = try_match(host, rule, &found, cost, accepts, line) {
            line.n_applied += 1;
            return Some(step);
        }
    }
    None
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
