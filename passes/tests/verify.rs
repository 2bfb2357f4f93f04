//! The verifier against rules of which it is known whether they are sound.

use eutectic_passes::rules::Library;
use eutectic_passes::rules::verify::mutate::{Mutation, mutation};
use eutectic_passes::rules::verify::{Effort, verify};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// The mistakes that make no difference, a line each: `rule: mistake -- why`.
const SURVIVORS: &str = include_str!("survivors.txt");

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimization")]
fn mistakes_in_built_in_rules_are_noticed() {
    let library = Library::built_in().unwrap_or_else(|problems| panic!("{problems}"));
    let next = AtomicUsize::new(0);
    let one_thread = || {
        let mut total = Mutation::default();
        while let Some(rule) = library.rules().get(next.fetch_add(1, Ordering::Relaxed)) {
            let recognise = rule.name.strip_suffix("_expand").and_then(|name| library.rule(name));
            total = total.merged(mutation(rule, recognise.map(|rule| &**rule), EFFORT));
        }
        total
    };
    let total = std::thread::scope(|scope| {
        let threads = [scope.spawn(one_thread), scope.spawn(one_thread)];
        threads.into_iter().fold(Mutation::default(), |total, thread| {
            total.merged(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    });
    let found: BTreeSet<String> = total.survivors.iter().map(|(rule, mistake)| format!("{rule}: {mistake}")).collect();
    let lines = SURVIVORS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let argued: BTreeSet<String> = lines
        .map(|line| line.split_once(" -- ").unwrap_or_else(|| panic!("`{line}` gives no reason")).0.to_owned())
        .collect();
    let unargued: Vec<&String> = found.difference(&argued).collect();
    let stale: Vec<&String> = argued.difference(&found).collect();
    let n_sound = total.sound.len();
    println!("{} killed, {} refused, {n_sound} sound, {} survive", total.n_killed, total.n_refused, found.len());
    total.sound.iter().for_each(|(rule, mistake)| println!("sound: {rule}: {mistake}"));
    assert!(unargued.is_empty(), "go unnoticed without a reason: {unargued:#?}");
    assert!(stale.is_empty(), "are noticed, so that no reason is wanted: {stale:#?}");
    // Every survivor is argued by now; this bounds how many there may be.
    assert!(total.kill_rate() >= 0.95, "kill rate {}", total.kill_rate());
}
