//! The library as a page for readers: every rule with its equation, contract, place and kind.

use super::{Direction, Library, Rule};
use std::fmt::Write;

/// The rules of `library` in Markdown, a section for each family in the order of the files, a table row for each rule.
pub fn markdown(library: &Library) -> String {
    let mut page = String::from("# Rules\n\nWritten by `eutectic rules list --markdown`.\n");
    let mut last = "";
    for rule in library.rules() {
        let family = if rule.fusion.is_some() { "fusions" } else { rule.family() };
        if family != last {
            last = family;
            let _ =
                write!(page, "\n## {family}\n\n| rule | equation | contract | kind | place |\n|---|---|---|---|---|\n");
        }
        let equation = rule.doc.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let (name, contract, kind) = (&rule.name, rule.contract, kind(rule));
        let _ = writeln!(page, "| `{name}` | {equation} | {contract} | {kind} | `{}:{}` |", rule.file, rule.line);
    }
    page
}

fn kind(rule: &Rule) -> &'static str {
    match rule.fusion {
        Some(Direction::Recognise) => "fusion, body to call",
        Some(Direction::Expand) => "fusion, call to body",
        None if rule.roots.len() > 1 => "several roots",
        None => "rewrite",
    }
}
