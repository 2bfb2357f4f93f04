//! E-graphs in the JSON of egraph-serialize, as extraction problems.

use eutectic_passes::extract::{Candidate, Problem};
use serde_json::Value;
use std::collections::BTreeMap;

/// The problem that `text` holds. Several roots hang from one of no cost, which is then the last class. Errors: what is missing.
pub fn read(text: &str) -> Result<Problem, String> {
    let data: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let nodes = data["nodes"].as_object().ok_or("no nodes")?;
    let class_of = |id: &str| nodes.get(id).and_then(|node| node["eclass"].as_str()).ok_or(format!("no class of {id}"));
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for id in nodes.keys() {
        let next = numbers.len();
        numbers.entry(class_of(id)?).or_insert(next);
    }
    let mut problem = Problem { classes: vec![Vec::new(); numbers.len()], ..Problem::default() };
    for (id, node) in nodes {
        let children = node["children"].as_array().ok_or(format!("no children of {id}"))?;
        let child = |child: &Value| class_of(child.as_str().unwrap_or_default()).map(|class| numbers[class]);
        let children = children.iter().map(child).collect::<Result<Vec<usize>, String>>()?;
        let cost = node["cost"].as_f64().ok_or(format!("no cost of {id}"))?;
        problem.classes[numbers[class_of(id)?]].push(Candidate { children, cost });
    }
    let roots = data["root_eclasses"].as_array().ok_or("no roots")?;
    let roots = roots.iter().map(|root| root.as_str().and_then(|root| numbers.get(root)).copied());
    let roots: Vec<usize> = roots.collect::<Option<_>>().ok_or("a root is no class")?;
    problem.root = problem.classes.len();
    problem.classes.push(vec![Candidate { children: roots, cost: 0.0 }]);
    Ok(problem)
}
