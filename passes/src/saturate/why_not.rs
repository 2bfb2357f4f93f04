//! Why a rule did nothing: it matches nowhere, it cannot be built, or what it builds is not the cheapest.

use super::graph::{Chosen, dag_cost_with};
use super::language::{ENode, Head};
use super::space::{Call, Space};
use super::steps::{Labels, calls_text, contents};
use crate::cost::CostModel;
use crate::extract::Extract;
use crate::rules::near::{NearMiss, nearest, starts};
use crate::rules::{Budget, Host, Match, Rule, apply};
use egg::{Id, Language};
use eutectic_ir::Name;
use eutectic_ir::graph::{Graph, Op};

/// What a rule did, or why it did nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum WhyNot {
    /// It builds an operator that the target does not run.
    Barred {
        /// The operator.
        operator: String,
    },
    /// No call of its first operator is there, or none at the place that was asked about.
    Nowhere {
        /// The operators that were looked for.
        operators: Vec<String>,
    },
    /// It does not match; this is where it comes nearest.
    Misses {
        /// The calls that stand for calls of the pattern, a line each.
        calls: Vec<String>,
        /// How many calls the pattern has.
        n_pattern: usize,
        /// What it needs and what is there, a line each; the first is what the matcher meets first.
        reasons: Vec<String>,
    },
    /// It matches, but its right side cannot be built.
    Refused {
        /// The calls that it matched, a line each.
        calls: Vec<String>,
        /// Why.
        reason: String,
    },
    /// It was applied, and other forms cost less.
    Dearer {
        /// The calls that it matched, a line each.
        calls: Vec<String>,
        /// What the cheapest graph costs that holds what it built, in the unit of the cost model.
        with: f64,
        /// What the chosen graph costs.
        without: f64,
    },
    /// It was applied, and the chosen graph holds what it built, or costs the same.
    Applied {
        /// The calls that it matched, a line each.
        calls: Vec<String>,
    },
}

/// Why `rule` did nothing in `space`, which it was saturated with and from which `chosen` was chosen; at the node or value `at`,
/// or anywhere. `None` when nothing has that name.
pub(crate) fn why_not(
    space: &mut Space,
    original: &Graph,
    rule: &Rule,
    at: Option<&Name>,
    chosen: &Chosen,
    cost: &CostModel,
    allowed: &dyn Fn(&Op) -> bool,
    extract: Extract,
) -> Option<WhyNot> {
    let starts = match at {
        None => starts(rule, space),
        Some(name) => starts_at(space, rule, class_of(space, original, name)?),
    };
    const MOST_CANDIDATES: u64 = 5_000_000;
    let Some(found) = nearest(rule, space, &starts, &mut Budget::new(MOST_CANDIDATES)) else {
        let first = rule.left.plan.first().map(|step| step.call);
        let wanted = rule.left.calls.iter().enumerate().filter(|(index, _)| at.is_some() || Some(*index) == first);
        let mut operators: Vec<String> = wanted.map(|(_, call)| call.op.to_string()).collect();
        operators.dedup();
        return Some(WhyNot::Nowhere { operators });
    };
    let calls = calls_text(space, original, found.calls.iter().flatten().copied());
    if !found.misses.is_empty() {
        let labels = Labels::new(space, original);
        let reasons = found.reasons(rule, space, &|class| describe(space, &labels, class));
        return Some(WhyNot::Misses { calls, n_pattern: rule.left.calls.len(), reasons });
    }
    Some(outcome(space, rule, &found, calls, chosen, cost, allowed, extract))
}

/// What came of a match.
fn outcome(
    space: &mut Space,
    rule: &Rule,
    found: &NearMiss<Id, Call>,
    calls: Vec<String>,
    chosen: &Chosen,
    cost: &CostModel,
    allowed: &dyn Fn(&Op) -> bool,
    extract: Extract,
) -> WhyNot {
    let records = rule.left.calls.iter().zip(&found.calls);
    let records = records
        .map(|(pattern, call)| pattern.label.as_ref().and((*call).map(|call| space.attrs(call).clone())))
        .collect();
    let matched =
        Match { values: found.values.clone(), calls: found.calls.iter().flatten().copied().collect(), records };
    space.record();
    let built: Vec<(Id, ENode)> = match apply(rule, &matched, space) {
        Err(reason) => return WhyNot::Refused { calls, reason: reason.to_string() },
        Ok(applied) => {
            let asked = space.provenance().map(|provenance| std::mem::take(&mut provenance.asked)).unwrap_or_default();
            let is_root = |class: Id| applied.roots.iter().any(|(_, new)| *new == class);
            let built = asked.into_iter().filter(|asked| is_root(asked.class)).map(|asked| (asked.class, asked.node));
            built.collect()
        }
    };
    // In a saturated space the match says nothing new; in another, what it builds now was not there to be chosen.
    space.egraph.rebuild();
    let forced: Vec<(Id, ENode)> = built
        .into_iter()
        .map(|(class, node)| (space.egraph.find(class), node.map_children(|child| space.egraph.find(child))))
        .collect();
    let without = chosen.dag_cost;
    match dag_cost_with(space, cost, allowed, extract, &forced) {
        Some(with) if with > without * (1.0 + 1e-9) => WhyNot::Dearer { calls, with, without },
        _ => WhyNot::Applied { calls },
    }
}

fn class_of(space: &Space, original: &Graph, name: &Name) -> Option<Id> {
    let value = super::explain::named(original, name)?;
    space.classes.get(&value).map(|&class| space.egraph.find(class))
}

/// Each call of the pattern with each call of `space` that defines `class` and may stand for it.
fn starts_at(space: &Space, rule: &Rule, class: Id) -> Vec<(usize, Call)> {
    let mut starts = Vec::new();
    for (index, pattern) in rule.left.calls.iter().enumerate() {
        starts.extend(space.definitions(class, &pattern.op).into_iter().map(|(call, _)| (index, call)));
    }
    starts
}

/// A value in words: its name, its type, and how it comes about.
fn describe(space: &Space, labels: &Labels, class: Id) -> String {
    let name = labels.known(class).map_or(String::new(), |name| format!("`{name}`, "));
    let ty = space.ty(class).map_or("a value of unknown type".into(), ToString::to_string);
    let tables = &space.egraph.analysis;
    let mut sources: Vec<&str> = Vec::new();
    for node in &space.egraph[class].nodes {
        let call = |node: &ENode| match node.head {
            Head::Call { op, .. } => Some(tables.ops[op as usize].name()),
            _ => None,
        };
        let source = match node.head {
            Head::Project(_) => space.egraph[node.children[0]].nodes.iter().find_map(call),
            _ => call(node),
        };
        sources.extend(source.filter(|source| !sources.contains(source)));
    }
    let source = match (space.weight(class), space.is_constant(class)) {
        (Some(weight), _) => match contents(weight) {
            Some(contents) => format!("the constant {contents}"),
            None => "a weight".into(),
        },
        (None, true) => "computed from weights".into(),
        (None, false) if sources.is_empty() => "an input".into(),
        (None, false) => format!("computed by {}", sources.join(" or ")),
    };
    format!("{name}{ty}, {source}")
}
