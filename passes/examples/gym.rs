//! Extracts every e-graph of a directory by each method: `cargo run --release -p eutectic-passes --example gym DIR [NODES ENTRIES]`.
//!
//! Prints a JSON object a line: costs with sharing counted once, the bound of exact extraction, and the time of each.

#[path = "../tests/gym/read.rs"]
mod read;

use eutectic_passes::extract::{Choice, ExtractError, IlpBudget, Problem, dag, ilp, tree};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = run();
    (result, start.elapsed().as_secs_f64())
}

fn line(problem: &Problem, budget: IlpBudget) -> Result<Value, ExtractError> {
    let cost = |choice: &Choice| choice.dag_cost(problem);
    let (unshared, tree_seconds) = timed(|| tree(problem));
    let (local, dag_seconds) = timed(|| dag(problem));
    let (exact, ilp_seconds) = timed(|| ilp(problem, budget));
    let exact = exact?;
    Ok(json!({
        "classes": problem.classes.len(),
        "nodes": problem.classes.iter().map(Vec::len).sum::<usize>(),
        "tree": { "cost": cost(&unshared?), "seconds": tree_seconds },
        "dag": { "cost": cost(&local?), "seconds": dag_seconds },
        "ilp": {
            "cost": exact.cost,
            "bound": exact.bound,
            "optimal": exact.is_optimal(),
            "search_nodes": exact.n_nodes,
            "seconds": ilp_seconds,
        },
    }))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("give a directory of e-graphs")?);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (nodes, entries) = (number(10_000)?, number(100_000)?);
    let budget = IlpBudget { nodes: nodes as u64, entries, time: None };
    for file in files(&dir)? {
        let problem = read::read(&std::fs::read_to_string(&file)?)?;
        let mut line = line(&problem, budget).unwrap_or_else(|error| json!({ "refused": format!("{error:?}") }));
        line["file"] = json!(file.strip_prefix(&dir)?.to_string_lossy());
        println!("{line}");
    }
    Ok(())
}
