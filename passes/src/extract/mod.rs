//! Extraction: choosing one node for each class of an e-graph that is needed.
//!
//! A [`Problem`] is plain data, so extraction is tested without an e-graph and can be compared on published instances.
//! Every extractor has one signature, `fn(&Problem) -> Result<Choice, Infeasible>`, and none ever returns a cycle.
//!
//! | extractor | minimises | complexity |
//! |---|---|---|
//! | [`tree`] | the cost of the unshared tree (Knuth 1977) | n log n |
//! | [`dag`] | the cost with sharing counted once, by local search from [`tree`] | linear memory |

mod dag;
mod tree;

pub use dag::dag;
pub use tree::tree;

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
    /// Classes that it needs; repeats count once.
    pub children: Vec<usize>,
    /// Its own cost; finite and not negative.
    pub cost: f64,
}

/// The candidate chosen for each class that the root needs; `None` for the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice(pub Vec<Option<usize>>);

/// The root can only be derived from itself, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Infeasible;

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
mod tests {
    use super::*;

    fn candidate(cost: f64, children: &[usize]) -> Candidate {
        Candidate { children: children.to_vec(), cost }
    }

    fn both(problem: &Problem) -> [Choice; 2] {
        [tree(problem).expect("feasible"), dag(problem).expect("feasible")]
    }

    #[test]
    fn sharing_is_counted_once() {
        // 64 levels, each reading the one below twice.
        let mut classes = vec![vec![candidate(0.0, &[])]];
        for level in 0..64 {
            classes.push(vec![candidate(1.0, &[level, level])]);
        }
        let problem = Problem { classes, root: 64, joint: Vec::new() };
        for choice in both(&problem) {
            assert_eq!(choice.dag_cost(&problem), Some(64.0));
            assert_eq!(choice.tree_cost(&problem), Some(2f64.powi(64) - 1.0));
        }
    }

    #[test]
    fn a_class_that_only_a_cycle_derives_is_infeasible() {
        let classes = vec![vec![candidate(1.0, &[1])], vec![candidate(1.0, &[0])]];
        let problem = Problem { classes, root: 0, joint: Vec::new() };
        assert_eq!(tree(&problem), Err(Infeasible));
        assert_eq!(dag(&problem), Err(Infeasible));
    }

    #[test]
    fn a_free_cycle_is_never_chosen() {
        // Class 1 can be had for nothing from class 0, which can be had for nothing from class 1, or for 5 from a leaf.
        let classes = vec![
            vec![candidate(0.0, &[1]), candidate(5.0, &[2])],
            vec![candidate(0.0, &[0])],
            vec![candidate(0.0, &[])],
        ];
        let problem = Problem { classes, root: 1, joint: Vec::new() };
        for choice in both(&problem) {
            assert_eq!(choice.dag_cost(&problem), Some(5.0));
        }
    }

    #[test]
    fn a_shared_part_is_kept_when_it_is_needed_anyway() {
        // 0 leaf, 1 convolution (10), 2 its activation: on top of it (1), or fused and on its own (10). The root needs both.
        let classes = vec![
            vec![candidate(0.0, &[])],
            vec![candidate(10.0, &[0])],
            vec![candidate(1.0, &[1]), candidate(10.0, &[0])],
            vec![candidate(1.0, &[1, 2])],
        ];
        let problem = Problem { classes, root: 3, joint: Vec::new() };
        assert_eq!(dag(&problem).ok().and_then(|choice| choice.dag_cost(&problem)), Some(12.0));
        assert_eq!(tree(&problem).ok().and_then(|choice| choice.dag_cost(&problem)), Some(21.0));
    }

    #[test]
    fn what_only_pays_together_is_tried_together() {
        // Three products of one input (4 each), or one wide product (6) and three projections (1 each).
        let mut classes = vec![vec![candidate(0.0, &[])], vec![candidate(6.0, &[0])]];
        for _ in 0..3 {
            classes.push(vec![candidate(4.0, &[0]), candidate(1.0, &[1])]);
        }
        classes.push(vec![candidate(0.0, &[2, 3, 4])]);
        let joint = vec![vec![(2, 1), (3, 1), (4, 1)]];
        let problem = Problem { classes, root: 5, joint };
        assert_eq!(dag(&problem).ok().and_then(|choice| choice.dag_cost(&problem)), Some(9.0));
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_is_extracted_in_bounded_stack() {
        let mut classes = vec![vec![candidate(0.0, &[])]];
        for level in 0..100_000 {
            classes.push(vec![candidate(2.0, &[level]), candidate(1.0, &[level])]);
        }
        let problem = Problem { classes, root: 100_000, joint: Vec::new() };
        for choice in both(&problem) {
            assert_eq!(choice.dag_cost(&problem), Some(100_000.0));
        }
    }
}
