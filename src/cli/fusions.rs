//! `eutectic fusions`: what `bench --fusions` can be asked for.

use super::{Global, Outcome, print_json};
use crate::passes::regions::PATTERNS;
use crate::passes::rules::{Direction, Library, Rule};
use clap::Args;
use serde_json::json;

#[derive(Args)]
pub(super) struct Fusions {}

impl Fusions {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let library = Library::built_in()?;
        let is_function = |rule: &&Rule| rule.fusion == Some(Direction::Recognise);
        let functions: Vec<&Rule> = library.rules().iter().map(AsRef::as_ref).filter(is_function).collect();
        if global.json {
            let patterns = PATTERNS.iter().map(|pattern| json!({ "name": pattern.name, "doc": pattern.doc }));
            let functions = functions.iter().map(|rule| json!({ "name": rule.name.as_str(), "doc": rule.doc }));
            print_json(&json!({
                "patterns": patterns.collect::<Vec<_>>(), "functions": functions.collect::<Vec<_>>(),
            }));
            return Ok(0);
        }
        println!("patterns: calls that share a kernel");
        PATTERNS.iter().for_each(|pattern| println!("  {:24} {}", pattern.name, pattern.doc));
        println!("\nfused functions: calls that the optimizer chooses as one");
        for rule in functions {
            println!("  {:24} {}", rule.name, rule.doc.lines().next().unwrap_or_default().trim());
        }
        Ok(0)
    }
}
