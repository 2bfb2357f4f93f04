//! DAG extraction: local search from the tree optimum, with sharing counted once by reference counts.

use super::tree::tree_of_all;
use super::{Candidate, Choice, ExtractError, Problem};

/// A choice that no single change, and no joint change of the problem, makes cheaper. Memory is linear in the problem.
///
/// Errors: the root cannot be derived; a cost is NaN, infinite or negative.
pub fn dag(problem: &Problem) -> Result<Choice, ExtractError> {
    let mut search = Search::new(problem, tree_of_all(problem)?);
    // Each round only accepts improvements, so rounds end by themselves; the bound guards against slow convergence.
    const MOST_ROUNDS: usize = 16;
    for _ in 0..MOST_ROUNDS {
        let mut improved = false;
        for group in &problem.joint {
            improved |= search.try_moves(group);
        }
        for class in 0..problem.classes.len() {
            for candidate in 0..problem.classes[class].len() {
                improved |= search.try_moves(&[(class, candidate)]);
            }
        }
        if !improved {
            break;
        }
    }
    Ok(search.finish())
}

struct Search<'a> {
    problem: &'a Problem,
    /// A candidate for every class that can be derived.
    choice: Vec<Option<usize>>,
    /// How many chosen candidates read a class; the root is read once.
    readers: Vec<usize>,
    /// Every class, after all that its choice needs.
    order: Vec<usize>,
    /// The place of each class in the order.
    positions: Vec<usize>,
    /// Classes seen by the current search for a cycle carry its number.
    stamps: Vec<u32>,
    stamp: u32,
}

impl<'a> Search<'a> {
    fn new(problem: &'a Problem, Choice(choice): Choice) -> Self {
        let n = problem.classes.len();
        let order = order_of(problem, &choice);
        let mut positions = vec![0; n];
        for (position, &class) in order.iter().enumerate() {
            positions[class] = position;
        }
        let mut search = Self { problem, choice, readers: vec![0; n], order, positions, stamps: vec![0; n], stamp: 0 };
        search.acquire(&[problem.root]);
        search
    }

    /// Makes every move of `moves` on classes that are needed; keeps them when the total gets cheaper.
    fn try_moves(&mut self, moves: &[(usize, usize)]) -> bool {
        let pending: Vec<(usize, usize)> = moves
            .iter()
            .copied()
            .filter(|&(class, candidate)| self.readers[class] > 0 && self.choice[class] != Some(candidate))
            .filter(|&(class, candidate)| {
                self.problem.classes[class][candidate].children.iter().all(|&child| self.choice[child].is_some())
            })
            .collect();
        if pending.is_empty() {
            return false;
        }
        let mut delta = 0.0;
        let mut done = Vec::with_capacity(pending.len());
        let mut reordered = Vec::new();
        let mut unordered = None;
        for (class, candidate) in pending {
            reordered.extend(unordered.take().and_then(|class| self.restore_order(class)));
            // An earlier move of the group may have made this class superfluous, or this move cyclic.
            if self.readers[class] == 0 || self.reaches(class, candidate) {
                continue;
            }
            let Some(old) = self.choice[class] else { continue };
            delta += self.switch(class, old, candidate);
            done.push((class, old, candidate));
            unordered = Some(class);
        }
        const NOISE: f64 = 1e-15;
        if delta < -NOISE {
            if let Some(class) = unordered {
                self.restore_order(class);
            }
            return true;
        }
        for (class, old, candidate) in done.into_iter().rev() {
            if self.readers[class] > 0 {
                self.switch(class, candidate, old);
            } else {
                self.choice[class] = Some(old);
            }
        }
        for (start, before) in reordered.into_iter().rev() {
            self.place(start, before);
        }
        false
    }

    /// Puts `class`, whose choice is the only one that the order may contradict, after all that it needs. What it needs moves
    /// before it, and nothing moves beyond the last of that: Pearce and Kelly, Journal of Experimental Algorithmics 11, 2006.
    /// The part of the order that changes, from where it starts, as it was; `None` when the order holds already.
    fn restore_order(&mut self, class: usize) -> Option<(usize, Vec<usize>)> {
        let problem = self.problem;
        let start = self.positions[class];
        let mut end = start;
        self.stamp += 1;
        let mut stack = vec![class];
        while let Some(at) = stack.pop() {
            let Some(chosen) = self.choice[at] else { continue };
            for &child in &problem.classes[at][chosen].children {
                if self.positions[child] > start && std::mem::replace(&mut self.stamps[child], self.stamp) != self.stamp
                {
                    end = end.max(self.positions[child]);
                    stack.push(child);
                }
            }
        }
        if end == start {
            return None;
        }
        let before = self.order[start..=end].to_vec();
        let (mut after, rest): (Vec<usize>, Vec<usize>) =
            before.iter().copied().partition(|&class| self.stamps[class] == self.stamp);
        after.extend(rest);
        self.place(start, after);
        Some((start, before))
    }

    /// Puts `classes` into the order from `start` on.
    fn place(&mut self, start: usize, classes: Vec<usize>) {
        for (position, class) in (start..).zip(classes) {
            self.order[position] = class;
            self.positions[class] = position;
        }
    }

    /// Changes the choice of a class that is needed; the change of the total cost.
    fn switch(&mut self, class: usize, old: usize, new: usize) -> f64 {
        let problem = self.problem;
        let (old, new_candidate) = (&problem.classes[class][old], &problem.classes[class][new]);
        self.choice[class] = Some(new);
        let added = self.acquire(&new_candidate.children);
        let freed = self.release(&old.children);
        new_candidate.cost - old.cost + added - freed
    }

    /// Counts one more reader of each of `classes`; the cost of what thereby becomes needed.
    fn acquire(&mut self, classes: &[usize]) -> f64 {
        let mut added = 0.0;
        let mut stack = distinct(classes);
        while let Some(class) = stack.pop() {
            self.readers[class] += 1;
            if self.readers[class] == 1
                && let Some(candidate) = self.choice[class].map(|at| &self.problem.classes[class][at])
            {
                added += candidate.cost;
                stack.extend(distinct(&candidate.children));
            }
        }
        added
    }

    /// Counts one reader less of each of `classes`; the cost of what thereby is no longer needed.
    fn release(&mut self, classes: &[usize]) -> f64 {
        let mut freed = 0.0;
        let mut stack = distinct(classes);
        while let Some(class) = stack.pop() {
            self.readers[class] -= 1;
            if self.readers[class] == 0
                && let Some(candidate) = self.choice[class].map(|at| &self.problem.classes[class][at])
            {
                freed += candidate.cost;
                stack.extend(distinct(&candidate.children));
            }
        }
        freed
    }

    /// Whether `class` is among what `candidate` of it needs, under the present choices.
    fn reaches(&mut self, class: usize, candidate: usize) -> bool {
        self.stamp += 1;
        let mut stack = self.problem.classes[class][candidate].children.clone();
        while let Some(at) = stack.pop() {
            if at == class {
                return true;
            }
            // Whatever stands before the class needs only what stands before it too.
            if self.positions[at] < self.positions[class] {
                continue;
            }
            if std::mem::replace(&mut self.stamps[at], self.stamp) != self.stamp
                && let Some(chosen) = self.choice[at]
            {
                stack.extend_from_slice(&self.problem.classes[at][chosen].children);
            }
        }
        false
    }

    fn finish(self) -> Choice {
        let needed = |(class, choice): (usize, Option<usize>)| choice.filter(|_| self.readers[class] > 0);
        Choice(self.choice.iter().copied().enumerate().map(needed).collect())
    }
}

/// Every class, after all that its choice needs; the choices form no cycle.
fn order_of(problem: &Problem, choice: &[Option<usize>]) -> Vec<usize> {
    let n = problem.classes.len();
    // Whatever may stand for a class stands near it, so that a change of the choice changes the order nearby alone.
    let near = postorder(n, 0..n, |class| problem.classes[class].iter());
    postorder(n, near, |class| choice[class].map(|candidate| &problem.classes[class][candidate]).into_iter())
}

/// All of `n` classes in the order in which a search from `starts` on leaves them, along the children of `candidates`.
fn postorder<'a, I: Iterator<Item = &'a Candidate>>(
    n: usize,
    starts: impl IntoIterator<Item = usize>,
    candidates: impl Fn(usize) -> I,
) -> Vec<usize> {
    let mut order = Vec::with_capacity(n);
    let mut entered = vec![false; n];
    for start in starts {
        let mut stack = vec![(start, false)];
        while let Some((class, leaving)) = stack.pop() {
            if leaving {
                order.push(class);
            } else if !std::mem::replace(&mut entered[class], true) {
                stack.push((class, true));
                stack.extend(candidates(class).flat_map(|candidate| &candidate.children).map(|&child| (child, false)));
            }
        }
    }
    order
}

fn distinct(classes: &[usize]) -> Vec<usize> {
    let mut distinct = classes.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}
