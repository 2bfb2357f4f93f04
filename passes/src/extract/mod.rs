//! Extraction: choosing one node for each class of an e-graph that is needed.
//!
//! A [`Problem`] is plain data, so extraction is tested without an e-graph and can be compared on published instances.
//! None of the extractors ever returns a cycle, and each refuses a cost that is no finite number from zero up.
//!
//! | extractor | minimises | complexity |
//! |---|---|---|
//! | [`tree`] | the cost of the unshared tree (Knuth 1977) | n log n |
//! | [`dag`] | the cost with sharing counted once, by local search from [`tree`] | linear memory |
//! | [`ilp`] | the same, exactly, by integer programming from [`dag`]; a proven bound when its budget ends first | exponential |

mod components;
mod cycles;
mod dag;
mod ilp;
mod program;
mod reduce;
mod tree;

pub use dag::dag;
pub use ilp::{IlpBudget, Proven, ilp};
pub use tree::tree;

/// How a graph is chosen from an e-graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extract {
    /// By the cost of the unshared tree.
    Tree,
    /// By cost with sharing counted once.
    Dag,
    /// By the same cost, exactly as far as the budget goes.
    Ilp(IlpBudget),
}

impl Extract {
    /// What it chooses from `problem`, and a bound on the cost of every choice where it proves one.
    ///
    /// Errors: the root cannot be derived; a cost is NaN, infinite or negative.
    pub fn choose(self, problem: &Problem) -> Result<(Choice, Option<f64>), ExtractError> {
        match self {
            Extract::Tree => Ok((tree(problem)?, None)),
            Extract::Dag => Ok((dag(problem)?, None)),
            Extract::Ilp(budget) => ilp(problem, budget).map(|proven| (proven.choice, Some(proven.bound))),
        }
    }
}

/// Classes, the nodes that may stand for each, and the class that is wanted.
#[derive(Clone, Debug, Default)]
pub struct Problem {
    /// The alternatives of each class.
    pub classes: Vec<Vec<Candidate>>,
    /// The class that is wanted.
    pub root: usize,
    /// Alternatives that only pay together, as `(class, candidate)`: the projections of one multi-output call.
    pub joint: Vec<Vec<(usize, usize)>>,
}

/// One node that may stand for its class.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Classes that it needs; repeats count in a tree, and once where sharing does.
    pub children: Vec<usize>,
    /// Its own cost; finite and not negative.
    pub cost: f64,
}

/// The candidate chosen for each class that the root needs; `None` for the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice(pub Vec<Option<usize>>);

/// Why nothing is extracted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ExtractError {
    /// The root can only be derived from itself, or not at all.
    Infeasible,
    /// A cost is not a finite number from zero up.
    Cost {
        /// The class of the candidate.
        class: usize,
        /// Its place in the class.
        candidate: usize,
        /// What it is said to cost.
        cost: f64,
    },
}

impl Problem {
    /// Errors: the first candidate whose cost is NaN, infinite or negative.
    pub fn check_costs(&self) -> Result<(), ExtractError> {
        for (class, candidates) in self.classes.iter().enumerate() {
            let bad = |candidate: &Candidate| !(candidate.cost.is_finite() && candidate.cost >= 0.0);
            if let Some(candidate) = candidates.iter().position(bad) {
                return Err(ExtractError::Cost { class, candidate, cost: candidates[candidate].cost });
            }
        }
        Ok(())
    }

    /// Whether each class can be derived at all, without a cycle.
    pub(crate) fn derivable(&self) -> Vec<bool> {
        tree::settle(self, f64::max).0.iter().map(Option::is_some).collect()
    }
}

impl Choice {
    /// The candidate chosen for `class`.
    pub fn of(&self, class: usize) -> Option<usize> {
        self.0[class]
    }

    /// The classes that the root needs, each after those it needs itself; `None` when they form a cycle or one is not chosen.
    pub fn order(&self, problem: &Problem) -> Option<Vec<usize>> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; problem.classes.len()];
        let mut order = Vec::new();
        let mut stack = vec![(problem.root, false)];
        while let Some((class, leaving)) = stack.pop() {
            if leaving {
                marks[class] = Mark::Done;
                order.push(class);
                continue;
            }
            match marks[class] {
                Mark::Done => continue,
                Mark::Open => return None,
                Mark::New => marks[class] = Mark::Open,
            }
            stack.push((class, true));
            let candidate = &problem.classes[class][self.0[class]?];
            // Reversed, so that earlier children are emitted first.
            for &child in candidate.children.iter().rev() {
                match marks[child] {
                    Mark::Done => {}
                    Mark::Open => return None,
                    Mark::New => stack.push((child, false)),
                }
            }
        }
        Some(order)
    }

    /// What the choice costs with sharing counted once; `None` as for [`Choice::order`].
    pub fn dag_cost(&self, problem: &Problem) -> Option<f64> {
        let cost = |&class: &usize| self.0[class].map(|candidate| problem.classes[class][candidate].cost);
        self.order(problem)?.iter().map(cost).sum()
    }

    /// What the choice costs as a tree, each use counted; `None` as for [`Choice::order`]. Infinite when it overflows.
    pub fn tree_cost(&self, problem: &Problem) -> Option<f64> {
        let mut costs = vec![0.0; problem.classes.len()];
        for class in self.order(problem)? {
            let candidate = &problem.classes[class][self.0[class]?];
            costs[class] = candidate.cost + candidate.children.iter().map(|&child| costs[child]).sum::<f64>();
        }
        Some(costs[problem.root])
    }
}

#[cfg(test)]
mod tests;
