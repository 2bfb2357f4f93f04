//! Tree extraction: Knuth's generalisation of Dijkstra's algorithm (Information Processing Letters 6, 1977).

use super::{Choice, ExtractError, Problem};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// The choice whose unshared tree is cheapest. A class is settled once all it needs is settled, so no cycle can arise.
///
/// Errors: the root cannot be derived; a cost is NaN, infinite or negative.
pub fn tree(problem: &Problem) -> Result<Choice, ExtractError> {
    tree_of_all(problem)
}

/// The same, with a candidate for every class that can be derived, whether the root needs it or not.
pub(super) fn tree_of_all(problem: &Problem) -> Result<Choice, ExtractError> {
    problem.check_costs()?;
    let (choice, _) = settle(problem, |sum, child| sum + child);
    if choice.get(problem.root).copied().flatten().is_none() {
        return Err(ExtractError::Infeasible);
    }
    Ok(Choice(choice))
}

/// A cost that no choice undercuts: that of the most expensive path of the choice whose most expensive path is cheapest.
pub(super) fn path_bound(problem: &Problem) -> f64 {
    settle(problem, f64::max).1[problem.root]
}

#[derive(PartialEq)]
struct Entry {
    cost: f64,
    class: usize,
    candidate: usize,
}

impl Eq for Entry {}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        // Equal costs are settled in the order of the problem, so that the result does not depend on the heap.
        self.cost.total_cmp(&other.cost).then((self.class, self.candidate).cmp(&(other.class, other.candidate)))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The cheapest candidate and its cost for every class that can be derived, where a candidate costs its own cost and what
/// `combine` makes of the costs of its children, which must not be less than each of them.
pub(super) fn settle(problem: &Problem, combine: fn(f64, f64) -> f64) -> (Vec<Option<usize>>, Vec<f64>) {
    let n_classes = problem.classes.len();
    let mut readers: Vec<Vec<(usize, usize)>> = vec![Vec::new(); n_classes];
    let mut waits: Vec<Vec<usize>> = Vec::with_capacity(n_classes);
    let mut heap = BinaryHeap::new();
    for (class, candidates) in problem.classes.iter().enumerate() {
        let mut wait = Vec::with_capacity(candidates.len());
        for (at, candidate) in candidates.iter().enumerate() {
            for &child in &candidate.children {
                readers[child].push((class, at));
            }
            if candidate.children.is_empty() {
                heap.push(Reverse(Entry { cost: candidate.cost, class, candidate: at }));
            }
            wait.push(candidate.children.len());
        }
        waits.push(wait);
    }
    let mut costs = vec![0.0; n_classes];
    let mut choice = vec![None; n_classes];
    while let Some(Reverse(Entry { cost, class, candidate })) = heap.pop() {
        if choice[class].is_some() {
            continue;
        }
        choice[class] = Some(candidate);
        costs[class] = cost;
        for &(reader, at) in &readers[class] {
            waits[reader][at] -= 1;
            if waits[reader][at] == 0 && choice[reader].is_none() {
                let candidate = &problem.classes[reader][at];
                let cost = candidate.cost + candidate.children.iter().map(|&child| costs[child]).fold(0.0, combine);
                heap.push(Reverse(Entry { cost, class: reader, candidate: at }));
            }
        }
    }
    (choice, costs)
}
