//! The extraction gym: published e-graphs, and the optima that another solver finds for them.
//!
//! The e-graphs (github.com/egraphs-good/extraction-gym, MIT) are looked for in `shared/data/extraction-gym` beside the
//! repository. `optima.tsv` is what `optima.py` prints.

mod read;

use eutectic_passes::extract::{Candidate, Choice, ExtractError, IlpBudget, Problem, dag, ilp, tree};
use read::read;
use std::path::{Path, PathBuf};

/// Numbers alone, so that the test is the same on every machine.
const BUDGET: IlpBudget = IlpBudget { nodes: 200, entries: 20_000, time: None };

/// Relative, or absolute below one.
const TOLERANCE: f64 = 1e-6;

/// What the other solver knows of one e-graph.
struct Known {
    file: String,
    /// The best choice it found, where it found one.
    best: Option<f64>,
    bound: f64,
    optimal: bool,
}

fn known() -> Vec<Known> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [file, best, bound, optimal] = fields[..] else { panic!("{line}") };
        Known {
            file: file.into(),
            best: best.parse().ok(),
            bound: bound.parse().expect(line),
            optimal: optimal == "yes",
        }
    };
    include_str!("optima.tsv").lines().skip(1).map(line).collect()
}

/// Extracts by each method and checks what must hold whatever the problem; the costs of local and exact extraction, the bound.
fn check(name: &str, problem: &Problem) -> (f64, f64, f64) {
    let cost = |choice: &Choice| choice.dag_cost(problem).unwrap_or_else(|| panic!("{name}: a cycle"));
    let unshared = cost(&tree(problem).expect(name));
    let local = cost(&dag(problem).expect(name));
    let exact = ilp(problem, BUDGET).expect(name);
    let slack = TOLERANCE * local.max(1.0);
    assert!(local <= unshared + slack, "{name}: dag {local}, tree {unshared}");
    assert_eq!(cost(&exact.choice), exact.cost, "{name}");
    assert!(exact.cost <= local + slack && exact.bound <= exact.cost, "{name}: {exact:?}");
    (local, exact.cost, exact.bound)
}

fn gym() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/extraction-gym");
    path.is_dir().then_some(path)
}

#[test]
fn published_e_graphs_are_extracted_without_cycles_within_proven_bounds() {
    let known = known();
    let Some(gym) = gym() else {
        println!("skipped: no extraction gym; {} e-graphs", known.len());
        return;
    };
    let mut n_optimal = 0;
    for Known { file, best, bound, optimal } in &known {
        let problem = read(&std::fs::read_to_string(gym.join(file)).expect(file)).expect(file);
        let (local, exact, proven) = check(file, &problem);
        println!("{file}: dag {local}, ilp {exact}, bound {proven}; the other solver {best:?}, bound {bound}");
        let slack = TOLERANCE * exact.max(1.0);
        assert!(exact >= bound - slack, "{file}: {exact} is below the other solver's bound {bound}");
        n_optimal += usize::from(exact - proven <= slack);
        let Some(best) = best else { continue };
        assert!(proven <= best + slack, "{file}: bound {proven}, yet {best} is possible");
        if exact - proven <= slack {
            assert!(exact <= best + slack, "{file}: {exact} is said to be optimal, {best} is possible");
        }
        if *optimal {
            assert!(exact >= best - slack, "{file}: {exact} is below the optimum {best}");
        }
    }
    assert!(n_optimal >= LEAST_PROVEN, "only {n_optimal} of {} are proven optimal", known.len());
}

#[test]
fn e_graphs_with_rewards_are_refused() {
    let Some(gym) = gym() else {
        println!("skipped: no extraction gym");
        return;
    };
    let files =
        std::fs::read_dir(gym.join("maxsat")).expect("a directory").map(|entry| entry.expect("an entry").path());
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "json")) {
        let problem = read(&std::fs::read_to_string(&file).expect("readable")).expect("an e-graph");
        let refused = ilp(&problem, BUDGET);
        assert!(matches!(refused, Err(ExtractError::Cost { cost: -1.0, .. })), "{}: {refused:?}", file.display());
    }
}

/// Every e-graph of the gym that the budget of this test is enough for.
const LEAST_PROVEN: usize = 31;

/// A problem from a line for each class, the first the root: `name: cost child child | cost child`.
fn problem(text: &str) -> Problem {
    let lines: Vec<(&str, &str)> = text.trim().lines().map(|line| line.trim().split_once(':').expect(line)).collect();
    let number = |name: &str| lines.iter().position(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name}"));
    let candidate = |text: &str| {
        let mut words = text.split_whitespace();
        let cost = words.next().and_then(|word| word.parse().ok()).expect(text);
        Candidate { cost, children: words.map(number).collect() }
    };
    let classes = lines.iter().map(|(_, candidates)| candidates.split('|').map(candidate).collect()).collect();
    Problem { classes, root: 0, joint: Vec::new() }
}

/// Optima are by hand; each problem has what misleads one kind of extractor.
#[test]
fn small_e_graphs_are_extracted_exactly() {
    let cases = [
        ("a shared part is free the second time", 12.0, "r: 1 conv act\n act: 1 conv | 10 x\n conv: 10 x\n x: 0"),
        (
            "two of three sets cover all",
            2.0,
            "r: 0 a b c d\n a: 0 s | 0 t\n b: 0 s | 0 u\n c: 0 t\n d: 0 s | 0 u\n s: 1\n t: 1\n u: 1",
        ),
        (
            "one dear part pays when three share it",
            7.0,
            "r: 0 a b c\n a: 3 x | 0 wide\n b: 3 x | 0 wide\n c: 3 x | 0 wide\n wide: 7 x\n x: 0",
        ),
        ("a free cycle has to be entered somewhere", 4.0, "r: 0 a\n a: 0 b | 9\n b: 0 c | 4\n c: 0 a | 5"),
        ("two cycles that share a class", 8.0, "r: 0 a b c\n a: 0 b | 6\n b: 0 a c | 3 d\n c: 0 b d | 7\n d: 5 | 0 a"),
        ("only half of two choices agree", 5.0, "r: 0 a b\n a: 0 p q | 4\n b: 0 p | 0 q\n p: 2\n q: 3"),
    ];
    for (name, optimum, text) in cases {
        let (_, exact, bound) = check(name, &problem(text));
        assert!((exact - optimum).abs() < 1e-9 && (bound - optimum).abs() < 1e-6, "{name}: {exact}, bound {bound}");
    }
}
