//! Rules that other systems publish: which of them are sound, as records for reports.

use crate::ir::diag::{Diagnostic, Diagnostics};
use crate::passes::rules::import::{Finding, Import, Lines, Published, Reading, import, judge, read};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// One file of published rules.
pub struct File {
    /// What reports call it.
    pub name: String,
    /// What the names of its rules begin with.
    pub stem: String,
    /// How its lines form rules.
    pub lines: Lines,
    /// What it holds.
    pub source: String,
}

/// What is known of one published rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The file, as [`File::name`].
    pub file: String,
    /// Its number in the file, from 1.
    pub rule: usize,
    /// Its name in our language.
    pub name: String,
    /// As published; the equations of two outputs are joined by `; `.
    pub text: String,
    /// The rule that says the same up to names and commutativity, or this one itself when it says nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub same_as: Option<String>,
    /// As the published proofs assume.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub strict: Option<Verdict>,
    /// As runtimes execute it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub liberal: Option<Verdict>,
}

/// What checking one rule in one reading found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// `sound`, `unsound`, `undecided`, or `untranslated`.
    pub verdict: String,
    /// In which arithmetic the sides agree, or differ.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub carrier: Option<String>,
    /// What the instances were drawn from.
    pub seed: u64,
    /// The rule in our language, with the counterexample as its `example`.
    #[serde(skip)]
    pub rule: String,
    /// On how many instances both sides agree.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub instances: Option<usize>,
    /// What is wrong: the code of the diagnostic, its message, and the instance.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<Problem>,
}

/// A counterexample, or why there is no verdict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// `type` or `values` when the sides differ in them; `R0022` when there are too few instances, `R0041` when there is no
    /// translation.
    pub kind: String,
    /// In a sentence.
    pub message: String,
}

/// Reads, translates and checks every rule of `files`, in both readings.
///
/// Errors: a file that does not parse; a translation that does not load.
pub fn records(files: &[File], seed: u64) -> Result<Vec<Record>, Diagnostics> {
    let mut rules: Vec<(&File, Published)> = Vec::new();
    for file in files {
        let locate = |problem: Diagnostic| problem.in_file(file.name.as_str());
        let found = read(&file.source, file.lines)
            .map_err(|problems| Diagnostics(problems.0.into_iter().map(locate).collect()))?;
        rules.extend(found.into_iter().map(|rule| (file, rule)));
    }
    let named: Vec<(String, Published)> =
        rules.iter().map(|(file, rule)| (format!("{}_{}", file.stem, rule.number), rule.clone())).collect();
    let readings = [Reading::Strict, Reading::Liberal];
    let [strict, liberal] = readings.map(|reading| import(&named, reading));
    let mut records = Vec::new();
    for (at, ((file, rule), (name, _))) in rules.iter().zip(&named).enumerate() {
        let mut record = Record {
            file: file.name.clone(),
            rule: rule.number,
            name: name.clone(),
            text: rule.text.clone(),
            same_as: None,
            strict: None,
            liberal: None,
        };
        match strict[at] {
            Import::Trivial => record.same_as = Some(name.clone()),
            Import::Duplicate(first) => record.same_as = Some(named[first].0.clone()),
            Import::Rule(_) | Import::Untranslated(_) => {
                record.strict = Some(check(rule, &strict[at], Reading::Strict, seed)?);
                record.liberal = Some(check(rule, &liberal[at], Reading::Liberal, seed)?);
            }
        }
        records.push(record);
    }
    Ok(records)
}

fn check(rule: &Published, import: &Import, reading: Reading, seed: u64) -> Result<Verdict, Diagnostics> {
    let mut verdict =
        Verdict { verdict: "sound".into(), carrier: None, seed, rule: String::new(), instances: None, problem: None };
    let translation = match import {
        Import::Rule(translation) => translation,
        Import::Untranslated(reason) => {
            let problem = Problem { kind: "R0041".into(), message: reason.clone() };
            return Ok(Verdict { verdict: "untranslated".into(), problem: Some(problem), ..verdict });
        }
        Import::Trivial | Import::Duplicate(_) => unreachable!("the caller checks rules that say something new"),
    };
    verdict.rule = translation.text.clone();
    match judge(rule, translation, reading, seed).map_err(|problem| Diagnostics::from(*problem))? {
        Finding::Sound(n, evidence) => {
            verdict.carrier = Some(format!("exact arithmetic on {}", evidence.n_exact));
            verdict.instances = Some(n);
        }
        Finding::Undecided(problem) => {
            verdict.verdict = "undecided".into();
            verdict.problem = Some(Problem { kind: problem.code.into(), message: problem.message.clone() });
        }
        Finding::Unsound(found, example) => {
            verdict.verdict = "unsound".into();
            verdict.carrier = Some(found.real.to_string());
            let kind = if found.differs_in_type() { "type" } else { "values" };
            verdict.problem = Some(Problem { kind: kind.into(), message: found.sentence.clone() });
            if let Some(example) = &example {
                verdict.rule = translation.with_example(example);
            }
        }
    }
    Ok(verdict)
}

/// The rules of `verdicts` that are unsound, as a rule file: each below a line that says whether its sides differ in `type` or in `values`.
pub fn fixtures<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> String {
    let one = |verdict: &'a Verdict| {
        let problem = verdict.problem.as_ref().filter(|_| verdict.verdict == "unsound")?;
        Some(format!("\n# fails in {}\n{}", problem.kind, verdict.rule))
    };
    let head = "# Published rules that are unsound, each with its smallest counterexample as `example`; written by\n\
                # `eutectic rules import --unsound`.\n";
    head.to_owned() + &verdicts.filter_map(one).collect::<String>()
}

/// One JSON object a line. Errors: none that these records can cause.
pub fn json_lines(records: &[Record]) -> Result<String, serde_json::Error> {
    records.iter().map(|record| Ok(serde_json::to_string(record)? + "\n")).collect()
}

/// A table of all rules that are not sound in both readings, and the counts, as Markdown.
pub fn table(records: &[Record]) -> String {
    let is = |verdict: &Option<Verdict>, what: &str| verdict.as_ref().is_some_and(|found| found.verdict == what);
    let count = |what: &dyn Fn(&Record) -> bool| records.iter().filter(|record| what(record)).count();
    let checked: Vec<&Record> = records.iter().filter(|record| record.strict.is_some()).collect();
    let mut text = String::new();
    let mut line = |what: &str, n: usize| {
        let _ = writeln!(text, "| {what} | {n} |");
    };
    line("rules", records.len());
    line("that say nothing: both sides are one graph", count(&|record| record.same_as.as_ref() == Some(&record.name)));
    line(
        "that repeat an earlier one up to names and commutativity",
        count(&|record| record.same_as.as_ref().is_some_and(|first| *first != record.name)),
    );
    line("left to check", checked.len());
    line("sound in both readings", count(&|record| is(&record.strict, "sound") && is(&record.liberal, "sound")));
    line(
        "unsound when read liberally only",
        count(&|record| is(&record.strict, "sound") && is(&record.liberal, "unsound")),
    );
    line("unsound in both readings", count(&|record| is(&record.strict, "unsound")));
    let is_undecided =
        |verdict: &Option<Verdict>| verdict.is_some() && !is(verdict, "sound") && !is(verdict, "unsound");
    line("undecided", count(&|record| is_undecided(&record.strict) || is_undecided(&record.liberal)));
    text.insert_str(0, "| | |\n|---|---|\n");
    text.push_str(
        "\n| rule | as published | strict | liberal | counterexample | repeated by |\n|---|---|---|---|---|---|\n",
    );
    for record in checked.iter().filter(|record| !is(&record.strict, "sound") || !is(&record.liberal, "sound")) {
        let shown = |verdict: &Option<Verdict>| verdict.as_ref().map_or(String::new(), |found| found.verdict.clone());
        let worst = [&record.strict, &record.liberal].into_iter().flatten().find_map(|found| found.problem.as_ref());
        let counterexample = worst.map_or("", |problem| &problem.message);
        let repeats: Vec<&str> = records
            .iter()
            .filter(|other| other.same_as.as_ref() == Some(&record.name))
            .map(|other| other.name.as_str())
            .collect();
        let _ = writeln!(
            text,
            "| {} | `{}` | {} | {} | {counterexample} | {} |",
            record.name,
            record.text,
            shown(&record.strict),
            shown(&record.liberal),
            repeats.join(", ")
        );
    }
    text
}
