//! Exact extraction: reduce the problem, cut it into independent parts, and search each by integer programming.

use super::components::{Part, parts};
use super::program::search;
use super::reduce::Core;
use super::tree::path_bound;
use super::{Choice, ExtractError, Problem, dag};
use rustc_hash::FxHashMap;
use std::time::{Duration, Instant};

/// How far the search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IlpBudget {
    /// Most nodes of branch and bound, over all parts.
    pub nodes: u64,
    /// Most coefficients of the program of one part; a larger part keeps the choice of [`dag`].
    pub entries: usize,
    /// Most time. `None` in studies: a time limit makes results depend on the machine.
    pub time: Option<Duration>,
}

impl IlpBudget {
    /// Ten thousand nodes, a hundred thousand coefficients, 10 seconds.
    pub const STANDARD: IlpBudget = IlpBudget { nodes: 10_000, entries: 100_000, time: Some(Duration::from_secs(10)) };
}

/// A choice, and how good it is known to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Proven {
    /// The best choice found; never dearer than that of [`dag`].
    pub choice: Choice,
    /// Its cost, sharing counted once.
    pub cost: f64,
    /// No choice costs less, up to a billionth of the cost.
    pub bound: f64,
    /// Nodes of branch and bound looked at; 0 when reduction alone decided.
    pub n_nodes: u64,
}

impl Proven {
    /// How much of the cost a better choice could save at most: 0 for an optimum.
    pub fn gap(&self) -> f64 {
        if self.cost > 0.0 { ((self.cost - self.bound) / self.cost).max(0.0) } else { 0.0 }
    }

    /// Whether no choice is cheaper, within a millionth.
    pub fn is_optimal(&self) -> bool {
        self.gap() <= 1e-6
    }
}

/// A cheapest choice with sharing counted once, or the best found within `budget` with a bound on what is cheaper.
///
/// Errors: the root cannot be derived; a cost is NaN, infinite or negative.
pub fn ilp(problem: &Problem, budget: IlpBudget) -> Result<Proven, ExtractError> {
    let deadline = budget.time.and_then(|time| Instant::now().checked_add(time));
    let start = dag(problem)?;
    // What hardly costs anything is taken as free: blocks that share only that are decided apart. The bound stays one.
    const NEGLIGIBLE: f64 = 1e-8;
    let negligible = start.dag_cost(problem).map_or(0.0, |cost| cost * NEGLIGIBLE);
    let mut core = Core::new(problem, &problem.derivable(), negligible);
    let parts = parts(&mut core);
    let (mut bound, mut n_nodes) = (core.paid, 0);
    let mut chosen = core.fixed.clone();
    // Blocks that repeat leave equal parts, and those are solved once.
    let mut solved: FxHashMap<Key, (Choice, f64)> = FxHashMap::default();
    for part in &parts {
        let (choice, part_bound) = match solved.entry(key(&part.problem)) {
            std::collections::hash_map::Entry::Occupied(known) => known.get().clone(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let left = IlpBudget { nodes: budget.nodes.saturating_sub(n_nodes), ..budget };
                let (answer, nodes) = solve(part, left, deadline)?;
                n_nodes += nodes;
                new.insert(answer).clone()
            }
        };
        bound += part_bound;
        for (local, &class) in part.classes.iter().enumerate() {
            if let Some(at) = choice.of(local) {
                for &(class, candidate) in &core.classes[class][at].picks {
                    chosen[class] = Some(candidate);
                }
            }
        }
    }
    let found = only_needed(problem, &chosen);
    let cost_of = |choice: &Choice| choice.dag_cost(problem).unwrap_or(f64::INFINITY);
    let (first, last) = (cost_of(&start), cost_of(&found));
    let (choice, cost) = if last < first { (found, last) } else { (start, first) };
    Ok(Proven { choice, cost, bound: bound.min(cost), n_nodes })
}

/// The best choice of one part that the budget finds, a bound on its cost, and the nodes looked at.
fn solve(part: &Part, budget: IlpBudget, deadline: Option<Instant>) -> Result<((Choice, f64), u64), ExtractError> {
    let problem = &part.problem;
    let start = dag(problem)?;
    let cost = start.dag_cost(problem).ok_or(ExtractError::Infeasible)?;
    let cheapest = |&class: &usize| {
        let costs = problem.classes[class].iter().map(|candidate| candidate.cost);
        costs.min_by(f64::total_cmp).unwrap_or(0.0)
    };
    let required: f64 = problem.classes[problem.root][0].children.iter().map(cheapest).sum();
    let bound = path_bound(problem).max(required);
    if bound >= cost || budget.nodes == 0 {
        return Ok(((start, bound.min(cost)), 0));
    }
    let answer = search(problem, &start, cost, budget, deadline);
    let better = answer.choice.filter(|choice| choice.dag_cost(problem).is_some_and(|found| found < cost));
    Ok(((better.unwrap_or(start), answer.bound.max(bound)), answer.n_nodes))
}

/// The chosen candidates of the classes that the root of `problem` needs.
fn only_needed(problem: &Problem, chosen: &[Option<usize>]) -> Choice {
    let mut needed = vec![None; chosen.len()];
    let mut stack = vec![problem.root];
    while let Some(class) = stack.pop() {
        if needed[class].is_none()
            && let Some(candidate) = chosen[class]
        {
            needed[class] = Some(candidate);
            stack.extend(&problem.classes[class][candidate].children);
        }
    }
    Choice(needed)
}

/// A problem as a list of numbers: the costs, bit by bit, and the children of each candidate.
type Key = Vec<u64>;

fn key(problem: &Problem) -> Key {
    let mut key = vec![problem.root as u64];
    for candidates in &problem.classes {
        key.push(candidates.len() as u64);
        for candidate in candidates {
            key.extend([candidate.cost.to_bits(), candidate.children.len() as u64]);
            key.extend(candidate.children.iter().map(|&child| child as u64));
        }
    }
    key
}
