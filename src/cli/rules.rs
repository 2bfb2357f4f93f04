//! `eutectic rules`: what the library holds, and whether rule files load.

use super::{Global, Outcome, print_json, render};
use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::passes::rules::{Library, Rule, page};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Args)]
pub(super) struct Rules {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List rules and fusions with their contracts
    List {
        /// Only this family
        family: Option<String>,
        /// Print the whole library as a page in Markdown
        #[arg(long, conflicts_with = "family")]
        markdown: bool,
    },
    /// Evaluate both sides of each rule on drawn instances, without rounding and in floating point
    Verify(super::verify_rules::Verify),
    /// Load rule files and report every problem
    Check {
        /// Rule files; without any, the library itself
        files: Vec<PathBuf>,
    },
    /// Translate rules that another system publishes, and check each
    Import(super::import::Import),
}

impl Rules {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        match &self.verb {
            Verb::Verify(verify) => verify.run(global),
            Verb::List { markdown: true, .. } => {
                print!("{}", page::markdown(&Library::built_in()?));
                Ok(0)
            }
            Verb::List { family, .. } => list(family.as_deref(), global),
            Verb::Check { files } => check(files, global),
            Verb::Import(verb) => verb.run(global),
        }
    }
}

fn list(family: Option<&str>, global: &Global) -> Outcome {
    let library = Library::built_in()?;
    let rules: Vec<&Rule> = library
        .rules()
        .iter()
        .map(Arc::as_ref)
        .filter(|rule| family.is_none_or(|family| rule.family() == family))
        .collect();
    if global.json {
        let rules: Vec<_> = rules
            .iter()
            .map(|rule| {
                json!({
                    "name": rule.name.as_str(),
                    "family": rule.family(),
                    "contract": rule.contract.to_string(),
                    "file": format!("{}:{}", rule.file, rule.line),
                    "doc": rule.doc,
                })
            })
            .collect();
        print_json(&json!({ "rules": rules }));
        return Ok(0);
    }
    let mut last = "";
    for rule in &rules {
        if rule.family() != last {
            last = rule.family();
            println!("\n{last}");
        }
        let equation = rule.doc.lines().next().unwrap_or_default().trim();
        println!("  {:36} {:18} {equation}", rule.name, rule.contract.to_string());
    }
    println!("\n{} rules", rules.len());
    Ok(0)
}

fn check(files: &[PathBuf], global: &Global) -> Outcome {
    let mut library = Library::built_in()?;
    let before = library.rules().len();
    let mut problems = Diagnostics::default();
    for file in files {
        if let Err(found) = load(&mut library, file) {
            problems.extend(found);
        }
    }
    if problems.has_errors() {
        return Err(problems);
    }
    render::print(&problems);
    let n = if files.is_empty() { before } else { library.rules().len() - before };
    if global.json {
        print_json(&json!({ "ok": true, "rules": n }));
    } else {
        println!("{n} rules load");
    }
    Ok(0)
}

/// Adds the rules, or the fused operators when the name ends in `.onnxtxt`, of one file to `library`.
pub(super) fn load(library: &mut Library, file: &Path) -> Result<(), Diagnostics> {
    let source = std::fs::read_to_string(file).map_err(|error| {
        Diagnostic::error(Kind::Io, "C0101", format!("the file cannot be read: {error}")).in_file(file)
    })?;
    let name = file.to_string_lossy();
    if file.extension().is_some_and(|extension| extension == "onnxtxt") {
        library.load_fusion(&name, &source)
    } else {
        library.load_rules(&name, &source)
    }
}
