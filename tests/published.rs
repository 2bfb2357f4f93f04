//! The report on published rules, `papers/published-rules`: that its verdicts come out again, that they are those of the
//! analysis by hand, and that its table shows them. `UPDATE_EXPECT=1 cargo test --test all published::` writes it anew, and the
//! fixtures below `tests/rules/published`, which hold the unsound rules.

use eutectic::passes::rules::Library;
use eutectic::passes::rules::import::Lines;
use eutectic::passes::rules::verify::{Effort, verify};
use eutectic::published::{File, Record, fixtures, json_lines, records, table};
use expect_test::expect_file;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The unsound rules, which must fail.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rules/published");

fn report(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("papers/published-rules").join(name)
}

fn objects(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(report(name)).expect("readable");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

/// The published files, put together again from the texts in the report.
fn published() -> Vec<File> {
    let found = objects("results.jsonl");
    let text = |file: &str| -> String {
        let of_file = found.iter().filter(|record| record["file"] == file);
        of_file.map(|record| record["text"].as_str().expect("a text").replace("; ", "\n") + "\n").collect()
    };
    let file = |name: &str, stem: &str, lines| File { name: name.into(), stem: stem.into(), lines, source: text(name) };
    vec![file("tensat_rules.txt", "taso", Lines::Single), file("tensat_rules_multi.txt", "taso_pair", Lines::Pairs)]
}

#[test]
fn the_report_holds_what_the_verifier_finds() {
    let found = records(&published(), 1).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(found.len(), 133);
    expect_file![report("results.jsonl")].assert_eq(&json_lines(&found).expect("plain records"));
    expect_file![report("table.md")].assert_eq(&table(&found));
    let fixture = |name: &str| Path::new(FIXTURES).join(name);
    let strict = found.iter().filter_map(|record| record.strict.as_ref());
    expect_file![fixture("strict.rules")].assert_eq(&fixtures(strict));
    let liberal = found.iter().filter_map(|record| record.liberal.as_ref());
    expect_file![fixture("liberal.rules")].assert_eq(&fixtures(liberal));
}

#[test]
fn every_verdict_is_that_of_the_analysis_by_hand() {
    let found: Vec<Record> =
        objects("results.jsonl").into_iter().map(|value| serde_json::from_value(value).expect("a record")).collect();
    let expected = objects("by_hand.jsonl");
    assert_eq!(found.len(), expected.len());
    let mut differ = Vec::new();
    for (record, by_hand) in found.iter().zip(&expected) {
        assert_eq!(
            (by_hand["file"].as_str(), by_hand["rule"].as_u64()),
            (Some(&*record.file), Some(record.rule as u64))
        );
        // A rule that repeats another one shares its verdict; one that says nothing is sound.
        let first = record.same_as.as_ref().and_then(|name| found.iter().find(|other| other.name == *name));
        let judged = first.unwrap_or(record);
        for (reading, verdict) in [("strict", &judged.strict), ("liberal", &judged.liberal)] {
            let verdict = verdict.as_ref().map_or("sound", |verdict| &verdict.verdict);
            if by_hand[reading] != verdict {
                differ.push(format!("{}, {reading}: {} by hand, {verdict} found", record.name, by_hand[reading]));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn each_unsound_rule_fails_as_its_fixture_says() {
    let mut n = 0;
    for entry in std::fs::read_dir(FIXTURES).expect("the fixtures").flatten() {
        let source = std::fs::read_to_string(entry.path()).expect("readable");
        let mut library = Library::new();
        library.load_rules("fixture.rules", &source).unwrap_or_else(|problems| panic!("{problems}"));
        let kinds: Vec<&str> = source.lines().filter_map(|line| line.strip_prefix("# fails in ")).collect();
        assert_eq!(kinds.len(), library.rules().len(), "{}", entry.path().display());
        for (rule, kind) in library.rules().iter().zip(kinds) {
            let verdict = verify(rule, None, Effort::STANDARD).unwrap_or_else(|problem| panic!("{problem}"));
            let found = verdict.counterexample.unwrap_or_else(|| panic!("{} is found sound", rule.name));
            assert_eq!(if found.differs_in_type() { "type" } else { "values" }, kind, "{}: {found}", rule.name);
            n += 1;
        }
    }
    assert!(n > 0, "no fixture was found");
}
