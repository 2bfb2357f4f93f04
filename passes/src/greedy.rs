//! Engine 1: applies rules to a graph where they make it cheaper, until none does.
//!
//! The first match that lowers the predicted cost is taken at once. What a match replaces counts only as far as it
//! dies: a call whose result is also read elsewhere stays, and the rule has to pay for computing it twice. So no rule
//! needs a condition on single use, and none fires for nothing. Costs fall with every step; steps of equal cost are taken
//! only when no other is left, and are counted against a budget: the engine never loops. In each sweep rules go in the order of
//! the size of their left sides, the largest first: what replaces a part of attention would hide the whole from its rule.

use crate::cost::CostModel;
use crate::graph_host::GraphHost;
use crate::rewire::bodies_of;
use crate::rules::matcher::{Budget, Host, Match, find_from};
use crate::rules::{Rule, apply};
use eutectic_ir::graph::{Graph, NodeId, Op, Use, ValueId};
use eutectic_ir::infer::{contradicts, describe_node};
use eutectic_ir::{Model, Name, TensorType, walk};
use rustc_hash::{FxHashMap, FxHashSet};
use std::cmp::Reverse;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the engine may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Walks over the whole graph.
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
    /// Walks over the graph.
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
    let first_op = |rule: &Rule| rule.left.plan.first().map(|step| key(&rule.left.calls[step.call].op));
    let mut in_turn: Vec<(usize, (Name, Name))> =
        rules.iter().enumerate().filter_map(|(at, rule)| Some((at, first_op(rule)?))).collect();
    in_turn.sort_by_key(|(at, _)| Reverse(rules[*at].left.calls.len()));
    let mut host = GraphHost::new(std::mem::take(graph));
    let mut sideways = limits.sideways;
    let mut gains_only = true;
    for sweep in 1.. {
        if sweep > limits.sweeps {
            report.is_cut_short = true;
            break;
        }
        report.n_sweeps = report.n_sweeps.max(sweep);
        let mut n_steps = 0;
        let mut by_op: FxHashMap<(Name, Name), Vec<NodeId>> = FxHashMap::default();
        for id in walk::order(&host.graph).unwrap_or_default() {
            by_op.entry(key(&host.graph.node(id).op)).or_default().push(id);
        }
        for (at, op) in &in_turn {
            let start = Instant::now();
            let line = &mut report.rules[*at];
            for &id in by_op.get(op).into_iter().flatten() {
                if !host.graph.has_node(id) {
                    continue;
                }
                let allowance = if gains_only { &mut 0 } else { &mut sideways };
                if let Some(step) = try_rule(&mut host, &rules[*at], id, cost, limits, allowance, line) {
                    report.steps.push(step);
                    n_steps += 1;
                }
            }
            line.time += start.elapsed();
        }
        report.is_cut_short |= sideways == 0;
        if n_steps == 0 && !gains_only {
            break;
        }
        gains_only = n_steps > 0;
    }
    *graph = host.graph;
    crate::dce::sweep(graph);
}

fn key(op: &Op) -> (Name, Name) {
    (op.domain().into(), op.name().into())
}

fn try_rule(
    host: &mut GraphHost,
    rule: &Rule,
    id: NodeId,
    cost: &CostModel,
    limits: Limits,
    sideways: &mut usize,
    line: &mut RuleReport,
) -> Option<Step> {
    let mut matches = Vec::new();
    let mut budget = Budget::new(limits.candidates);
    let _ = find_from(rule, host, id, &mut budget, &mut |found| {
        matches.push(found);
        // More matches at one place are rare, and one is taken.
        if matches.len() < 8 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    for found in matches {
        line.n_matched += 1;
        if let Some(step) = try_match(host, rule, &found, cost, sideways, line) {
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
    sideways: &mut usize,
    line: &mut RuleReport,
) -> Option<Step> {
    let applied = apply(rule, found, host);
    let built = std::mem::take(&mut host.built);
    let weights = std::mem::take(&mut host.built_weights);
    let decided = applied.ok().and_then(|applied| {
        if applied.roots.iter().all(|(old, new)| old == new) {
            return None;
        }
        if !applied.roots.iter().all(|&(old, new)| fits(host.ty(old), host.ty(new))) {
            line.n_conflicts += 1;
            return None;
        }
        let roots: FxHashSet<ValueId> = applied.roots.iter().map(|(old, _)| *old).collect();
        let dying = dying(host, found, &roots);
        let gained = host.cost_of(&dying, cost) - host.cost_of(&built, cost);
        // A nanosecond is far below one launch and far above rounding.
        if gained < -1e-9 {
            return None;
        }
        if gained <= 1e-9 {
            *sideways = sideways.checked_sub(1)?;
        }
        Some((applied, dying))
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

/// The matched calls that nobody reads once `roots` are replaced; readers before what they read.
fn dying(host: &GraphHost, found: &Match<ValueId, NodeId>, roots: &FxHashSet<ValueId>) -> Vec<NodeId> {
    let mut dying: Vec<NodeId> = Vec::new();
    loop {
        let is_unread = |value: &ValueId| {
            roots.contains(value)
                || host.graph.value(*value).uses().all(|used| match used {
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
