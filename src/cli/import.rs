//! `eutectic rules import`: rules that another system publishes, translated and checked.

use super::{Global, Outcome, print_json};
use crate::files::{read_text, write_text};
use crate::ir::diag::{Diagnostic, Diagnostics, Escaped, Kind};
use crate::passes::rules::import::Lines;
use crate::published::{File, Record, fixtures, json_lines, records, table};
use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct Import {
    /// Files of one rule a line
    files: Vec<PathBuf>,
    /// A file of which two consecutive lines form one rule with two outputs; may be given several times
    #[arg(long, value_name = "FILE")]
    pairs: Vec<PathBuf>,
    /// How the files are written
    #[arg(long, value_enum)]
    format: Format,
    /// Where the sound rules go
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Where the unsound rules go, each with a counterexample
    #[arg(long, value_name = "FILE")]
    unsound: Option<PathBuf>,
    /// Write rules as runtimes read them: element-wise operands broadcast, convolutions have groups
    #[arg(long)]
    liberal: bool,
    /// Where the verdicts go, one JSON object a line
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Write a table of what is not sound, in Markdown
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Selects the instances on which rules are checked
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// S-expressions over TASO's operators, `left=>right`
    Tensat,
}

impl Import {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let Format::Tensat = self.format;
        if self.files.is_empty() && self.pairs.is_empty() {
            return Err(super::misuse("there is no file to import"));
        }
        let singles = self.files.iter().enumerate().map(|(at, file)| open(file, Lines::Single, "taso", at));
        let pairs = self.pairs.iter().enumerate().map(|(at, file)| open(file, Lines::Pairs, "taso_pair", at));
        let files = singles.chain(pairs).collect::<Result<Vec<_>, Diagnostics>>()?;
        let records = records(&files, self.seed)?;
        let verdicts =
            || records.iter().filter_map(|record| if self.liberal { &record.liberal } else { &record.strict }.as_ref());
        let sound: Vec<&str> =
            verdicts().filter(|verdict| verdict.verdict == "sound").map(|verdict| verdict.rule.as_str()).collect();
        if let Some(output) = &self.output {
            write_text(output, sound.join("\n"))?;
        }
        if let Some(unsound) = &self.unsound {
            write_text(unsound, fixtures(verdicts()))?;
        }
        if let Some(results) = &self.results {
            let text = json_lines(&records).map_err(|error| {
                Diagnostic::error(Kind::Invalid, "C0103", format!("the verdicts make no JSON: {error}"))
            })?;
            write_text(results, &text)?;
        }
        if let Some(path) = &self.table {
            write_text(path, table(&records))?;
        }
        if global.json {
            print_json(&json!({ "rules": records }));
        } else {
            print(&records);
        }
        Ok(i32::from(sound.len() < verdicts().count()))
    }
}

fn open(path: &Path, lines: Lines, stem: &str, at: usize) -> Result<File, Diagnostics> {
    let source = read_text(path)?;
    let name = path.file_name().map_or(path.to_string_lossy(), |name| name.to_string_lossy()).into_owned();
    // Names of rules are unique: those of a second file say so.
    let stem = if at == 0 { stem.to_owned() } else { format!("{stem}{}", at + 1) };
    Ok(File { name, stem, lines, source })
}

fn print(records: &[Record]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["rule", "strict", "liberal", "counterexample"]);
    for record in records {
        let (Some(strict), Some(liberal)) = (&record.strict, &record.liberal) else {
            let same = record.same_as.clone().unwrap_or_default();
            let what = if same == record.name { "says nothing".into() } else { format!("is {same}") };
            table.add_row([record.name.clone(), what, String::new(), String::new()]);
            continue;
        };
        let problem = [strict, liberal].into_iter().find_map(|verdict| verdict.problem.as_ref());
        let text = problem.map_or("", |problem| &problem.message);
        table.add_row([
            record.name.clone(),
            strict.verdict.clone(),
            liberal.verdict.clone(),
            Escaped(text).to_string(),
        ]);
    }
    println!("{table}");
    let n = records.iter().filter(|record| record.strict.is_some()).count();
    println!("{} rules, {n} of them say something new", records.len());
}
