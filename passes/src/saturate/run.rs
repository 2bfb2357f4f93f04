//! The saturation loop: search all, apply all, rebuild; budgets are checked inside search and apply.

use super::language::{Conflict, agree};
use super::space::{Call, Space};
use crate::rules::{Budget, Host, Match, Rule, apply, find};
use egg::Id;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// When to stop. The best graph found so far is extracted whichever limit is hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Most e-nodes.
    pub nodes: usize,
    /// Most rounds of search and apply.
    pub iterations: usize,
    /// Most candidate calls that matching looks at, over the whole run.
    pub candidates: u64,
    /// Most time. `None` in studies: a time limit makes results depend on the machine.
    pub time: Option<Duration>,
}

impl Limits {
    /// A million e-nodes, 30 rounds, a hundred million candidates, 10 seconds.
    pub const STANDARD: Limits =
        Limits { nodes: 1_000_000, iterations: 30, candidates: 100_000_000, time: Some(Duration::from_secs(10)) };
}

/// Why saturation stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No rule adds anything: every equal graph that the rules can reach is in the space.
    Saturated,
    /// The limit of e-nodes.
    Nodes,
    /// The limit of rounds.
    Iterations,
    /// The limit of candidates.
    Candidates,
    /// The limit of time.
    Time,
}

/// What one rule did.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleActivity {
    /// Times its left side matched.
    pub matched: u64,
    /// Times it told the e-graph something new.
    pub applied: u64,
    /// Times its right side could not be built.
    pub refused: u64,
    /// Time spent on it.
    pub time: Duration,
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct Activity {
    /// Why it stopped.
    pub stop: Stop,
    /// Rounds begun.
    pub iterations: usize,
    /// What each rule did, in the order in which the rules were given.
    pub rules: Vec<RuleActivity>,
    /// Unions refused because their types differ: evidence that a rule is unsound.
    pub conflicts: Vec<Conflict>,
}

impl Activity {
    /// Adds what a run over another graph did with the same rules. A limit that either hit is why both stopped.
    pub(crate) fn absorb(&mut self, other: Activity) {
        self.iterations = self.iterations.max(other.iterations);
        if self.stop == Stop::Saturated {
            self.stop = other.stop;
        }
        for (sum, rule) in self.rules.iter_mut().zip(other.rules) {
            sum.matched += rule.matched;
            sum.applied += rule.applied;
            sum.refused += rule.refused;
            sum.time += rule.time;
        }
        self.conflicts.extend(other.conflicts);
    }
}

/// Applies `rules` until nothing is new or a limit is hit.
pub fn saturate(space: &mut Space, rules: &[&Rule], limits: Limits) -> Activity {
    let start = Instant::now();
    let late = || limits.time.is_some_and(|time| start.elapsed() >= time);
    let mut budget = Budget::new(limits.candidates);
    let idle = RuleActivity { matched: 0, applied: 0, refused: 0, time: Duration::ZERO };
    let mut activity =
        Activity { stop: Stop::Iterations, iterations: 0, rules: vec![idle; rules.len()], conflicts: Vec::new() };
    'rounds: while activity.iterations < limits.iterations {
        activity.iterations += 1;
        let before = (space.egraph.nodes().len(), space.egraph.number_of_classes());
        let mut found: Vec<(usize, Match<Id, Call>)> = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            let began = Instant::now();
            let _ = find(rule, space, &mut budget, &mut |matched| {
                found.push((at, matched));
                if found.len() % 1024 == 0 && late() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            activity.rules[at].time += began.elapsed();
        }
        let mut stopped = None;
        for (at, matched) in found {
            let began = Instant::now();
            apply_one(space, rules[at], &matched, &mut activity.rules[at], &mut activity.conflicts);
            activity.rules[at].time += began.elapsed();
            if space.egraph.total_number_of_nodes() > limits.nodes {
                stopped = Some(Stop::Nodes);
            } else if late() {
                stopped = Some(Stop::Time);
            }
            if stopped.is_some() {
                break;
            }
        }
        space.egraph.rebuild();
        activity.conflicts.append(&mut space.egraph.analysis.conflicts.borrow_mut());
        if budget.left == 0 {
            stopped = stopped.or(Some(Stop::Candidates));
        }
        if let Some(stop) = stopped {
            activity.stop = stop;
            break 'rounds;
        }
        if before == (space.egraph.nodes().len(), space.egraph.number_of_classes()) {
            activity.stop = Stop::Saturated;
            break 'rounds;
        }
    }
    activity
}

fn apply_one(
    space: &mut Space,
    rule: &Rule,
    matched: &Match<Id, Call>,
    activity: &mut RuleActivity,
    conflicts: &mut Vec<Conflict>,
) {
    activity.matched += 1;
    let Ok(applied) = apply(rule, matched, space) else {
        activity.refused += 1;
        return;
    };
    let mut changed = false;
    for (old, new) in applied.roots {
        if let (Some(left), Some(right)) = (space.ty(old), space.ty(new))
            && !agree(left, right)
        {
            let (left, right) = (left.clone(), right.clone());
            let conflict = Conflict { rule: Some(rule.name.to_string()), left, right };
            if !conflicts.contains(&conflict) {
                conflicts.push(conflict);
            }
            continue;
        }
        changed |= space.egraph.union_trusted(old, new, rule.name.as_str());
    }
    activity.applied += u64::from(changed);
}
