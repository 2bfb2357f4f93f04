//! Facts about small problems, and exact extraction against all choices.

use super::*;

fn candidate(cost: f64, children: &[usize]) -> Candidate {
    Candidate { children: children.to_vec(), cost }
}

fn all(problem: &Problem) -> [Choice; 3] {
    [tree(problem).expect("feasible"), dag(problem).expect("feasible"), proven(problem).choice]
}

fn proven(problem: &Problem) -> Proven {
    let proven = ilp(problem, IlpBudget { time: None, ..IlpBudget::STANDARD }).expect("feasible");
    assert_eq!(proven.choice.dag_cost(problem), Some(proven.cost));
    assert!(proven.bound <= proven.cost);
    proven
}

#[test]
fn sharing_is_counted_once() {
    // 64 levels, each reading the one below twice.
    let mut classes = vec![vec![candidate(0.0, &[])]];
    for level in 0..64 {
        classes.push(vec![candidate(1.0, &[level, level])]);
    }
    let problem = Problem { classes, root: 64, joint: Vec::new() };
    for choice in all(&problem) {
        assert_eq!(choice.dag_cost(&problem), Some(64.0));
        assert_eq!(choice.tree_cost(&problem), Some(2f64.powi(64) - 1.0));
    }
}

#[test]
fn a_class_that_only_a_cycle_derives_is_infeasible() {
    let classes = vec![vec![candidate(1.0, &[1])], vec![candidate(1.0, &[0])]];
    let problem = Problem { classes, root: 0, joint: Vec::new() };
    assert_eq!(tree(&problem), Err(ExtractError::Infeasible));
    assert_eq!(dag(&problem), Err(ExtractError::Infeasible));
    assert_eq!(ilp(&problem, IlpBudget::STANDARD), Err(ExtractError::Infeasible));
}

#[test]
fn a_free_cycle_is_never_chosen() {
    // Class 1 can be had for nothing from class 0, which can be had for nothing from class 1, or for 5 from a leaf.
    let classes =
        vec![vec![candidate(0.0, &[1]), candidate(5.0, &[2])], vec![candidate(0.0, &[0])], vec![candidate(0.0, &[])]];
    let problem = Problem { classes, root: 1, joint: Vec::new() };
    for choice in all(&problem) {
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
    for choice in all(&problem) {
        assert_eq!(choice.dag_cost(&problem), Some(100_000.0));
    }
}

#[test]
fn a_cost_that_is_no_finite_number_from_zero_up_is_refused_by_name() {
    for cost in [f64::NAN, f64::INFINITY, -1.0] {
        let classes = vec![vec![candidate(0.0, &[])], vec![candidate(1.0, &[0]), candidate(cost, &[0])]];
        let problem = Problem { classes, root: 1, joint: Vec::new() };
        for extract in [Extract::Tree, Extract::Dag, Extract::Ilp(IlpBudget::STANDARD)] {
            let Err(ExtractError::Cost { class: 1, candidate: 1, cost: found }) = extract.choose(&problem) else {
                panic!("{extract:?} accepts {cost}");
            };
            assert_eq!(found.to_bits(), cost.to_bits());
        }
    }
}

/// Numbers below `n` from a linear congruential generator (Knuth's MMIX), so that each problem is one number.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

/// A problem in which any class may need any other; costs are small numbers, so that equal and free ones abound. In every
/// other one, several wanted classes choose among a few parts that they share and that derive one another.
fn random(seed: u64) -> Problem {
    let mut draw = Draw(seed);
    if seed % 2 == 0 {
        let n_classes = 2 + draw.below(6);
        let one = |draw: &mut Draw| {
            let children: Vec<usize> = (0..draw.below(4)).map(|_| draw.below(n_classes)).collect();
            candidate(draw.below(5) as f64, &children)
        };
        let classes = (0..n_classes).map(|_| (0..1 + draw.below(4)).map(|_| one(&mut draw)).collect()).collect();
        return Problem { classes, root: draw.below(n_classes), joint: Vec::new() };
    }
    // Classes 0 to 4 are parts, 5 to 8 are wanted, 9 is the root.
    let mut classes: Vec<Vec<Candidate>> = Vec::new();
    for _ in 0..5 {
        let alone = candidate((3 + draw.below(6)) as f64, &[]);
        classes.push(vec![alone, candidate(draw.below(4) as f64, &[draw.below(5)])]);
    }
    for at in 0..4 {
        let pair = |draw: &mut Draw| candidate(draw.below(3) as f64, &[draw.below(5), draw.below(5 + at)]);
        classes.push((0..3).map(|_| pair(&mut draw)).collect());
    }
    classes.push(vec![candidate(0.0, &[5, 6, 7, 8])]);
    Problem { classes, root: 9, joint: Vec::new() }
}

/// The cost of the cheapest acyclic choice, by trying all.
fn cheapest(problem: &Problem) -> Option<f64> {
    let n_choices: usize = problem.classes.iter().map(Vec::len).product();
    let choice = |mut number: usize| {
        let digit = |candidates: &Vec<Candidate>| {
            let digit = number % candidates.len();
            number /= candidates.len();
            Some(digit)
        };
        Choice(problem.classes.iter().map(digit).collect())
    };
    (0..n_choices).filter_map(|number| choice(number).dag_cost(problem)).min_by(f64::total_cmp)
}

#[test]
fn exact_extraction_equals_trying_all_choices() {
    let mut n_feasible = 0;
    let (mut n_cyclic, mut n_searched, mut n_beyond_dag) = (0, 0, 0);
    for seed in 0.. {
        if n_feasible == 2000 {
            break;
        }
        let problem = random(seed);
        let Some(optimum) = cheapest(&problem) else {
            assert_eq!(ilp(&problem, IlpBudget::STANDARD), Err(ExtractError::Infeasible), "seed {seed}");
            continue;
        };
        n_feasible += 1;
        let found = proven(&problem);
        assert!((found.cost - optimum).abs() < 1e-9, "seed {seed}: {} is not {optimum}", found.cost);
        assert!(found.is_optimal(), "seed {seed}: bound {} for {optimum}", found.bound);
        let children = |candidates: &Vec<Candidate>| candidates.iter().flat_map(|one| one.children.clone()).collect();
        let edges: Vec<Vec<usize>> = problem.classes.iter().map(children).collect();
        n_cyclic += usize::from(cycles::components(&edges).1.iter().any(|&size| size > 1));
        n_searched += usize::from(found.n_nodes > 0);
        let local = dag(&problem).expect("feasible").dag_cost(&problem).expect("no cycle");
        assert!(local >= optimum - 1e-9);
        n_beyond_dag += usize::from(local > optimum + 1e-9);
    }
    // The sample tests what it is meant to test.
    assert!(
        n_cyclic > 1000 && n_beyond_dag > 10,
        "{n_cyclic} cyclic, {n_searched} searched, {n_beyond_dag} beyond local search"
    );
}

#[test]
fn equal_blocks_in_series_are_solved_once_and_their_optima_add_up() {
    const N_CLASSES: usize = 10;
    // A block that branch and bound has to search.
    let searched = |&seed: &u64| cheapest(&random(seed)).is_some() && proven(&random(seed)).n_nodes > 0;
    let block = random((1..20_000).step_by(2).find(searched).expect("some block needs a search"));
    let alone = proven(&block);
    for n_blocks in [2, 16] {
        let mut classes = Vec::new();
        for first in (0..n_blocks).map(|at| at * N_CLASSES) {
            let in_series = |one: &Candidate| {
                let mut children: Vec<usize> = one.children.iter().map(|child| first + child).collect();
                // What a block makes of nothing, it makes of the root of the block before: no candidate of its root says so.
                if children.is_empty() && first > 0 {
                    children.push(first - 1);
                }
                candidate(one.cost, &children)
            };
            classes.extend(block.classes.iter().map(|candidates| candidates.iter().map(in_series).collect::<Vec<_>>()));
        }
        let series = Problem { root: classes.len() - 1, classes, joint: Vec::new() };
        let found = proven(&series);
        assert!((found.cost - n_blocks as f64 * alone.cost).abs() < 1e-9 && found.is_optimal(), "{found:?}");
        // The first block has none before it, and is reduced in another order.
        assert!(
            found.n_nodes <= 2 * alone.n_nodes,
            "{n_blocks} blocks: {} nodes, {} alone",
            found.n_nodes,
            alone.n_nodes
        );
    }
}

#[test]
fn without_a_budget_the_choice_of_local_search_comes_back_with_a_true_bound() {
    let nothing = IlpBudget { nodes: 0, entries: 0, time: None };
    for seed in 0..500 {
        let problem = random(seed);
        let Some(optimum) = cheapest(&problem) else { continue };
        let found = ilp(&problem, nothing).expect("feasible");
        let local = dag(&problem).expect("feasible").dag_cost(&problem).expect("no cycle");
        assert!(found.bound <= optimum + 1e-9 && found.cost <= local, "seed {seed}");
        assert_eq!(found.n_nodes, 0);
    }
}
