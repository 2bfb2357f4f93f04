//! `eutectic rules`: what the library holds, and whether rule files load.

use super::{Global, MISUSE, Outcome, print_json, render};
use crate::ir::diag::{Diagnostic, Diagnostics, Kind, did_you_mean};
use crate::passes::rules::library::{FUSION_FILES, RULE_FILES};
use crate::passes::rules::vocabulary::{Function, VOCABULARY};
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
        /// Only this family, or `fusions`
        family: Option<String>,
        /// Print the whole library as a page in Markdown
        #[arg(long, conflicts_with = "family")]
        markdown: bool,
        /// List the functions that conditions and attributes may call instead
        #[arg(long, conflicts_with_all = ["family", "markdown"])]
        vocabulary: bool,
    },
    /// Print rules and fusions of the library as they are written: patterns for rules of one's own
    Show {
        /// Names of rules or fused operators
        #[arg(required = true)]
        names: Vec<String>,
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
            Verb::List { vocabulary: true, .. } => Ok(vocabulary(global)),
            Verb::List { family, .. } => list(family.as_deref(), global),
            Verb::Show { names } => show(names, global),
            Verb::Check { files } => check(files, global),
            Verb::Import(verb) => verb.run(global),
        }
    }
}

fn list(family: Option<&str>, global: &Global) -> Outcome {
    let library = Library::built_in()?;
    let mut families: Vec<&str> = library.rules().iter().map(|rule| family_of(rule)).collect();
    families.dedup();
    if let Some(family) = family.filter(|family| !families.contains(family)) {
        let meant = did_you_mean(family, families.iter().copied());
        return Err(Diagnostic::error(Kind::Invalid, MISUSE, format!("there is no family `{family}`{meant}"))
            .help(format!("there are {}; `eutectic rules show NAME` prints one rule", families.join(", ")))
            .into());
    }
    let rules: Vec<&Rule> = library
        .rules()
        .iter()
        .map(Arc::as_ref)
        .filter(|rule| family.is_none_or(|family| family_of(rule) == family))
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
        if family_of(rule) != last {
            last = family_of(rule);
            println!("\n{last}");
        }
        let equation = rule.doc.lines().next().unwrap_or_default().trim();
        println!("  {:36} {:18} {equation}", rule.name, rule.contract.to_string());
    }
    println!("\n{}", render::counted(rules.len(), "rule"));
    Ok(0)
}

/// Fused operators, of which each has its own file, are listed as one family.
fn family_of(rule: &Rule) -> &str {
    if rule.fusion.is_some() { "fusions" } else { rule.family() }
}

fn vocabulary(global: &Global) -> i32 {
    let signature = |function: &Function| {
        let sorts = function.args.iter().map(|sort| format!("{sort:?}").to_lowercase()).collect::<Vec<_>>().join(", ");
        let more = if function.is_variadic { ", .." } else { "" };
        let result = format!("{:?}", function.result).to_lowercase();
        format!("{} ({sorts}{more}) -> {result}", function.name)
    };
    if global.json {
        let one = |function: &Function| json!({ "name": function.name, "signature": signature(function), "doc": function.doc });
        print_json(&json!({ "functions": VOCABULARY.iter().map(one).collect::<Vec<_>>() }));
        return 0;
    }
    for function in VOCABULARY {
        println!("{}\n    {}", signature(function), function.doc);
    }
    0
}

fn show(names: &[String], global: &Global) -> Outcome {
    let library = Library::built_in()?;
    let mut problems = Diagnostics::default();
    let mut found: Vec<&Rule> = Vec::new();
    for name in names {
        match library.rule(name) {
            Some(rule) => found.push(rule),
            None => problems.extend(unknown(name, &library)),
        }
    }
    if problems.has_errors() {
        return Err(problems);
    }
    let shown: Vec<(String, &str)> =
        found.iter().map(|rule| (format!("{}:{}", rule.file, rule.line), written(rule).unwrap_or_default())).collect();
    if global.json {
        let one = |(place, text): &(String, &str)| json!({ "file": place, "text": text });
        print_json(&json!({ "rules": shown.iter().map(one).collect::<Vec<_>>() }));
        return Ok(0);
    }
    for (place, text) in shown {
        println!("# {place}\n{text}\n");
    }
    Ok(0)
}

/// The text of a built-in rule with its equation, or of the file of a fused operator.
fn written(rule: &Rule) -> Option<&'static str> {
    if rule.fusion.is_some() {
        return FUSION_FILES.iter().find(|(file, _)| rule.file == *file).map(|(_, source)| source.trim_end());
    }
    let (_, source) = RULE_FILES.iter().find(|(file, _)| rule.file == *file)?;
    let begin = source[..rule.span.start].rfind("\n\n").map_or(0, |at| at + 2);
    let end = source[rule.span.start..].find("\n}").map_or(source.len(), |at| rule.span.start + at + 2);
    source.get(begin..end)
}

/// What to say of a name that no rule of `library` has.
pub(super) fn unknown(name: &str, library: &Library) -> Diagnostics {
    let meant = did_you_mean(name, library.rules().iter().map(|rule| rule.name.as_str()));
    Diagnostic::error(Kind::Invalid, MISUSE, format!("there is no rule `{name}`{meant}"))
        .help("`eutectic rules list` shows those of the library; `--rule-file` adds your own")
        .into()
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
        println!("{} load", render::counted(n, "rule"));
    }
    Ok(0)
}

/// Adds the rules, or the fused operators when the name ends in `.onnxtxt`, of one file to `library`.
pub(super) fn load(library: &mut Library, file: &Path) -> Result<(), Diagnostics> {
    let source = crate::files::read_text(file)?;
    let name = file.to_string_lossy();
    if file.extension().is_some_and(|extension| extension == "onnxtxt") {
        library.load_fusion(&name, &source)
    } else {
        library.load_rules(&name, &source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_library_can_be_shown_as_it_is_written() {
        let library = Library::built_in().expect("it loads");
        for rule in library.rules().iter() {
            let text = written(rule).expect("its file is built in");
            if rule.fusion.is_some() {
                assert!(text.contains("domain: \"eutectic\"") && text.ends_with('}'), "{}:\n{text}", rule.name);
                continue;
            }
            assert!(text.starts_with("///") && text.ends_with("\n}"), "{}:\n{text}", rule.name);
            assert_eq!(text.matches("\nrule ").count(), 1, "{text}");
            assert!(text.contains(&format!("\nrule {} ", rule.name)), "{text}");
            // It loads again as a file of its own, but for its name.
            let mut alone = Library::built_in().expect("it loads");
            let renamed = text.replace(&format!("\nrule {} ", rule.name), "\nrule its_copy ");
            assert_eq!(alone.load_rules("copy.rules", &renamed), Ok(()), "{text}");
        }
    }
}
