//! One part of an extraction as an integer program, with acyclicity by cuts that are added when a solution breaks them.
//!
//! Variables: whether each candidate is chosen; a class is needed as far as its candidates are chosen. Minimise the cost,
//! such that the root is needed, at most one candidate of a class is chosen, and whoever chooses a candidate needs its children:
//! for a class and one of its children, the chosen candidates of the class that read the child are together no more than the
//! chosen candidates of the child.
//!
//! A set of classes supports itself when each takes a candidate that needs another of the set. The cut against it says that a
//! class of the set is only needed as far as the set takes candidates that need nothing of the set: the loop formulas of
//! Lin and Zhao (Artificial Intelligence 157, 2004), which are as strong in the linear relaxation as in the program itself.

use super::cycles::components;
use super::{Choice, IlpBudget, Problem};
use microlp::{ComparisonOp, OptimizationDirection, Solution, SolutionStatus, SolveOptions, SolveOutcome, Variable};
use rustc_hash::{FxHashMap, FxHashSet};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// What is known after the search.
pub(super) struct Answer {
    /// The best choice met, when it is better than the one that the search began with.
    pub choice: Option<Choice>,
    /// No choice costs less.
    pub bound: f64,
    /// Nodes of branch and bound looked at.
    pub n_nodes: u64,
}

/// Searches for a choice cheaper than `start`, which costs `cost`, within `budget` and before `deadline`.
pub(super) fn search(
    problem: &Problem,
    start: &Choice,
    cost: f64,
    budget: IlpBudget,
    deadline: Option<Instant>,
) -> Answer {
    let program = Program::new(problem, cost);
    let mut answer = Answer { choice: None, bound: 0.0, n_nodes: 0 };
    if program.rows.iter().map(|row| row.terms.len()).sum::<usize>() > budget.entries {
        return answer;
    }
    program.run(start, budget, deadline, &mut answer);
    // The solver minimises a multiple of the cost.
    answer.bound *= cost / Program::SCALE;
    answer
}

/// A linear constraint: the sum of the terms is at least, at most or exactly the right side.
#[derive(Clone)]
struct Row {
    terms: Vec<(usize, f64)>,
    operator: ComparisonOp,
    right: f64,
}

struct Program<'a> {
    problem: &'a Problem,
    /// Scaled costs by variable.
    costs: Vec<f64>,
    /// What the solver calls each variable.
    handles: Vec<Variable>,
    /// The first variable of each class; those of its candidates follow one another.
    first: Vec<usize>,
    rows: Vec<Row>,
    /// The strongly connected component of each class, and how many classes each has.
    component: Vec<usize>,
    sizes: Vec<usize>,
}

impl<'a> Program<'a> {
    /// What the best known choice costs in the program, so that tolerances, which are absolute, suit every problem.
    const SCALE: f64 = 1e3;

    fn new(problem: &'a Problem, cost: f64) -> Self {
        let mut first = Vec::with_capacity(problem.classes.len());
        let mut costs = Vec::new();
        for candidates in &problem.classes {
            first.push(costs.len());
            costs.extend(candidates.iter().map(|candidate| candidate.cost / cost * Self::SCALE));
        }
        let children: Vec<Vec<usize>> = problem
            .classes
            .iter()
            .map(|candidates| candidates.iter().flat_map(|candidate| candidate.children.iter().copied()).collect())
            .collect();
        let (component, sizes) = components(&children);
        let mut program = Self { problem, costs, handles: Vec::new(), first, rows: Vec::new(), component, sizes };
        program.handles = program.variables_in(&mut microlp::Problem::new(OptimizationDirection::Minimize), false);
        program.state();
        program
    }

    fn variables(&self, class: usize) -> std::ops::Range<usize> {
        let first = self.first[class];
        first..first + self.problem.classes[class].len()
    }

    fn state(&mut self) {
        let problem = self.problem;
        let required: FxHashSet<usize> = match problem.classes[problem.root].as_slice() {
            [only] => only.children.iter().copied().chain([problem.root]).collect(),
            _ => [problem.root].into_iter().collect(),
        };
        for class in 0..problem.classes.len() {
            let all: Vec<(usize, f64)> = self.variables(class).map(|variable| (variable, 1.0)).collect();
            let is_required = required.contains(&class);
            let operator = if is_required { ComparisonOp::Eq } else { ComparisonOp::Le };
            if is_required || all.len() > 1 {
                self.rows.push(Row { terms: all, operator, right: 1.0 });
            }
            let mut readers: FxHashMap<usize, Vec<usize>> = FxHashMap::default();
            for (at, candidate) in problem.classes[class].iter().enumerate() {
                for &child in candidate.children.iter().filter(|child| !required.contains(child)) {
                    readers.entry(child).or_default().push(self.first[class] + at);
                }
            }
            let mut readers: Vec<(usize, Vec<usize>)> = readers.into_iter().collect();
            readers.sort_unstable();
            for (child, readers) in readers {
                let needed = self.variables(child).map(|variable| (variable, 1.0));
                let terms = needed.chain(readers.into_iter().map(|variable| (variable, -1.0))).collect();
                self.rows.push(Row { terms, operator: ComparisonOp::Ge, right: 0.0 });
            }
        }
    }

    fn run(mut self, start: &Choice, budget: IlpBudget, deadline: Option<Instant>, answer: &mut Answer) {
        if !self.relax(deadline, answer) {
            return;
        }
        let hint = self.hint(start);
        const PROVEN: f64 = 1e-9 * Program::SCALE;
        while answer.n_nodes < budget.nodes && answer.bound < Self::SCALE - PROVEN {
            let mut options = options(deadline);
            options.node_limit = Some(budget.nodes - answer.n_nodes);
            options.warm_start = Some(self.handles.iter().copied().zip(hint.iter().copied()).collect());
            let Ok(outcome) = self.stated(true).solve_with(options) else { return };
            // A round is worth a node, so that rounds end too.
            answer.n_nodes += outcome.stats().nodes_solved.max(1);
            answer.bound = answer.bound.max(outcome.stats().best_bound.unwrap_or(0.0));
            let SolveOutcome::Solution(solution) = outcome else { return };
            let values = self.values(&solution);
            let cuts = self.violated(&values);
            if !cuts.is_empty() {
                self.rows.extend(cuts);
                continue;
            }
            if solution.objective() < Self::SCALE {
                answer.choice = Some(self.choice(&values));
            }
            if solution.status() == SolutionStatus::Optimal {
                answer.bound = answer.bound.max(solution.objective());
            }
            return;
        }
    }

    /// Solves the linear relaxation, cutting off what supports itself; false when there is nothing more to be learnt.
    fn relax(&mut self, deadline: Option<Instant>, answer: &mut Answer) -> bool {
        const MOST_ROUNDS: usize = 40;
        let Ok(SolveOutcome::Solution(mut solution)) = self.stated(false).solve_with(options(deadline)) else {
            return false;
        };
        for _ in 0..MOST_ROUNDS {
            answer.bound = answer.bound.max(solution.objective());
            let cuts = self.violated(&self.values(&solution));
            if cuts.is_empty() {
                break;
            }
            for cut in cuts {
                let terms = self.terms(&cut);
                let (operator, right) = (cut.operator, cut.right);
                self.rows.push(cut);
                match solution.add_constraint(terms, operator, right) {
                    Ok(SolveOutcome::Solution(next)) => solution = next,
                    _ => return true,
                }
            }
        }
        true
    }

    /// The program as the solver takes it, with integral variables or without.
    fn stated(&self, integral: bool) -> microlp::Problem {
        let mut program = microlp::Problem::new(OptimizationDirection::Minimize);
        self.variables_in(&mut program, integral);
        for row in &self.rows {
            program.add_constraint(self.terms(row), row.operator, row.right);
        }
        program
    }

    fn variables_in(&self, program: &mut microlp::Problem, integral: bool) -> Vec<Variable> {
        let add = |&cost: &f64| if integral { program.add_binary_var(cost) } else { program.add_var(cost, (0.0, 1.0)) };
        self.costs.iter().map(add).collect()
    }

    fn terms(&self, row: &Row) -> Vec<(Variable, f64)> {
        row.terms.iter().map(|&(variable, factor)| (self.handles[variable], factor)).collect()
    }

    fn values(&self, solution: &Solution) -> Vec<f64> {
        self.handles.iter().map(|&variable| solution.var_value(variable)).collect()
    }

    /// The values that stand for `choice`.
    fn hint(&self, choice: &Choice) -> Vec<f64> {
        let mut values = vec![0.0; self.costs.len()];
        for (class, &first) in self.first.iter().enumerate() {
            if let Some(candidate) = choice.of(class) {
                values[first + candidate] = 1.0;
            }
        }
        values
    }

    /// The choice that integral `values` stand for.
    fn choice(&self, values: &[f64]) -> Choice {
        let of = |class| self.variables(class).position(|variable| values[variable] > 0.5);
        Choice((0..self.problem.classes.len()).map(of).collect())
    }

    /// Cuts that `values` break: for each class that they need, the least supported cycle through it. None of integral values
    /// without a cycle; at least one of those with a cycle.
    fn violated(&self, values: &[f64]) -> Vec<Row> {
        const NEGLIGIBLE: f64 = 1e-6;
        const VIOLATION: f64 = 1e-4;
        const MOST_CUTS: usize = 64;
        let needed: Vec<f64> =
            (0..self.first.len()).map(|class| self.variables(class).map(|at| values[at]).sum()).collect();
        // How much of each class is chosen without each of its children, where both may lie on a cycle.
        let mut edges: Vec<Vec<(usize, f64)>> = vec![Vec::new(); self.first.len()];
        for class in (0..self.first.len()).filter(|&class| self.sizes[self.component[class]] > 1) {
            for (candidate, variable) in self.problem.classes[class].iter().zip(self.variables(class)) {
                for &child in candidate.children.iter().filter(|&&child| self.component[child] == self.component[class])
                {
                    if values[variable] > NEGLIGIBLE {
                        edges[class].push((child, values[variable]));
                    }
                }
            }
            edges[class].sort_by_key(|&(child, _)| child);
            edges[class].dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                kept.1 += if same { next.1 } else { 0.0 };
                same
            });
            for edge in &mut edges[class] {
                edge.1 = (needed[class] - edge.1).max(0.0);
            }
        }
        let mut cuts = Vec::new();
        let mut seen = FxHashSet::default();
        for class in 0..self.first.len() {
            if edges[class].is_empty() || cuts.len() == MOST_CUTS {
                continue;
            }
            let Some(mut cycle) = least_cycle(&edges, class, needed[class] - VIOLATION) else { continue };
            cycle.sort_unstable();
            if seen.insert(cycle.clone()) {
                let cut = self.cut(&cycle, class);
                let left: f64 = cut.terms.iter().map(|&(variable, factor)| factor * values[variable]).sum();
                if left < -VIOLATION {
                    cuts.push(cut);
                }
            }
        }
        cuts
    }

    /// `class` is needed only as far as `set`, which is sorted, takes candidates that need nothing of the set.
    fn cut(&self, set: &[usize], class: usize) -> Row {
        let mut factors: FxHashMap<usize, f64> = FxHashMap::default();
        for &member in set {
            for (candidate, variable) in self.problem.classes[member].iter().zip(self.variables(member)) {
                if candidate.children.iter().all(|child| set.binary_search(child).is_err()) {
                    factors.insert(variable, 1.0);
                }
            }
        }
        for variable in self.variables(class) {
            *factors.entry(variable).or_default() -= 1.0;
        }
        let mut terms: Vec<(usize, f64)> = factors.into_iter().filter(|&(_, factor)| factor != 0.0).collect();
        terms.sort_unstable_by_key(|&(variable, _)| variable);
        Row { terms, operator: ComparisonOp::Ge, right: 0.0 }
    }
}

/// The classes of a lightest cycle through `start`, when it weighs less than `limit`: Dijkstra's algorithm.
fn least_cycle(edges: &[Vec<(usize, f64)>], start: usize, limit: f64) -> Option<Vec<usize>> {
    // Weights lie between 0 and 1 and are rounded, so that they have a total order.
    const UNIT: f64 = 1e9;
    let rounded = |weight: f64| (weight * UNIT) as u64;
    let mut reached: FxHashMap<usize, (u64, usize)> = FxHashMap::default();
    let mut heap = BinaryHeap::from([Reverse((0, start, start))]);
    while let Some(Reverse((weight, class, from))) = heap.pop() {
        if weight as f64 >= limit * UNIT {
            return None;
        }
        if class == start && !reached.is_empty() {
            let mut cycle = vec![start];
            let mut at = from;
            while at != start {
                cycle.push(at);
                at = reached[&at].1;
            }
            return Some(cycle);
        }
        if class != start {
            if reached.contains_key(&class) {
                continue;
            }
            reached.insert(class, (weight, from));
        }
        for &(child, step) in &edges[class] {
            if !reached.contains_key(&child) {
                heap.push(Reverse((weight + rounded(step), child, class)));
            }
        }
    }
    None
}

fn options(deadline: Option<Instant>) -> SolveOptions {
    let mut options = SolveOptions::default();
    options.time_limit = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    options
}
