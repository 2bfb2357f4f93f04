//! The verifier against rules of which it is known whether they are sound.

use eutectic_passes::rules::verify::mutate::{Mutation, equivalents, mutation};
use eutectic_passes::rules::verify::{Effort, verify};
use eutectic_passes::rules::{Library, Rule};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::processor_seconds;

const EFFORT: Effort = Effort::STANDARD;

/// The rules of every file of one corpus.
fn corpus(name: &str) -> Vec<Library> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/rules").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap_or_else(|error| panic!("{error}")).path())
        .collect();
    files.sort();
    let load = |file: &std::path::PathBuf| {
        let source = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{error}"));
        let mut library = Library::new();
        library.load_rules(&file.to_string_lossy(), &source).unwrap_or_else(|problems| panic!("{problems}"));
        library
    };
    files.iter().map(load).collect()
}

#[test]
fn every_unsound_rule_has_a_counterexample() {
    let (mut n_rules, mut missed) = (0, Vec::new());
    for rule in corpus("unsound").iter().flat_map(Library::rules) {
        n_rules += 1;
        match verify(rule, None, EFFORT) {
            Ok(verdict) => match verdict.counterexample {
                Some(found) => println!("{}: {found}", rule.name),
                None => missed.push(format!("{}: {} instances, {}", rule.name, verdict.n_instances, verdict.evidence)),
            },
            Err(problem) => missed.push(problem.to_string()),
        }
    }
    assert!(missed.is_empty(), "{} of {n_rules} are accepted:\n{}", missed.len(), missed.join("\n"));
    assert!(n_rules >= 30, "{n_rules}");
}

#[test]
fn no_sound_rule_is_refused() {
    let (mut n_rules, mut refused) = (0, Vec::new());
    for rule in corpus("sound").iter().flat_map(Library::rules) {
        n_rules += 1;
        match verify(rule, None, EFFORT) {
            Ok(verdict) => match verdict.counterexample {
                Some(found) => refused.push(format!("{}: {found}", rule.name)),
                None => println!("{}: {} of {}, {}", rule.name, verdict.n_instances, verdict.n_drawn, verdict.evidence),
            },
            Err(problem) => refused.push(problem.to_string()),
        }
    }
    assert!(refused.is_empty(), "{} of {n_rules} are refused:\n{}", refused.len(), refused.join("\n"));
    assert!(n_rules >= 30, "{n_rules}");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimization")]
fn mistakes_in_built_in_rules_are_noticed() {
    let library = Library::built_in().unwrap_or_else(|problems| panic!("{problems}"));
    let one = |rule: &Arc<Rule>| {
        let recognise = rule.name.strip_suffix("_expand").and_then(|name| library.rule(name));
        let clock = Instant::now();
        let start = processor_seconds(clock);
        let mutation = mutation(rule, recognise.map(|rule| &**rule), EFFORT);
        (mutation, vec![(processor_seconds(clock) - start, rule.name.clone())])
    };
    let both = |(a, mut times): (Mutation, Vec<_>), (b, others)| {
        times.extend(others);
        (a.merged(b), times)
    };
    let (total, mut times) = library.rules().par_iter().map(one).reduce(Default::default, both);
    times.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!(
        "{:.1} s of processor time; the slowest rules: {:.2?}",
        times.iter().map(|time| time.0).sum::<f64>(),
        &times[..5]
    );
    println!(
        "{} killed, {} refused, {} sound, {} argued, {} survive",
        total.n_killed,
        total.n_refused,
        total.sound.len(),
        total.equivalent.len(),
        total.survivors.len()
    );
    total.sound.iter().for_each(|(rule, mistake)| println!("sound: {rule}: {mistake}"));
    total.survivors.iter().for_each(|(rule, mistake)| println!("{rule}: {mistake}"));
    let met: BTreeSet<(&str, &str)> = total.equivalent.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let stale: Vec<_> = equivalents().filter(|line| !met.contains(line)).collect();
    assert!(stale.is_empty(), "no reason is wanted for these: {stale:#?}");
    assert!(total.kill_rate() >= 0.98, "kill rate {}", total.kill_rate());
}
