//! Measuring: plans, runs that fail, and going on after an interruption.

use crate::{Case, codes};
use eutectic_study::plan::Plan;
use eutectic_study::raw::{Machines, Raw};
use eutectic_study::run::{Site, Stop, measure};
use eutectic_study::schema::Study;
use std::fs;
use std::path::Path;

/// The study with a command of the shell instead of a benchmark.
fn shell(script: &str) -> Case {
    let case = Case::new();
    fs::remove_dir_all(case.path().join("raw")).expect("removed");
    case.edit("study.toml", "[\"true\"]", &format!("[\"sh\", \"-c\", '''{script}''']"));
    case
}

fn run(case: &Case) -> (Stop, Vec<String>) {
    let study = Study::read(case.path()).unwrap_or_else(|trouble| panic!("{trouble}"));
    let plan = Plan::of(&study);
    let site = Site { directory: case.path(), into: case.path(), machine: "here", program: Path::new("eutectic") };
    let mut seen = Vec::new();
    let stop = measure(&study, &plan, &site, &mut |_, run| seen.push(run.name.clone()));
    (stop.unwrap_or_else(|trouble| panic!("{trouble}")), seen)
}

const GOOD: &str =
    r#"for v in old new; do echo "{\"variant\": \"$v\", \"size\": 1, \"seconds\": [1, 1, 1, 1]}" >> {out}; done"#;

#[test]
fn a_plan_holds_every_combination_in_each_round_and_repeats() {
    let case = Case::new();
    let study = Study::read(case.path()).unwrap_or_else(|trouble| panic!("{trouble}"));
    let plan = Plan::of(&study);
    assert_eq!(plan, Plan::of(&study));
    assert_eq!(plan.runs.len(), 6);
    for round in plan.runs.chunks(2) {
        assert_eq!(round[0].process, round[1].process);
        assert_ne!(round[0].levels, round[1].levels);
    }
    assert_eq!(Plan::kick_tires(&study).runs.len(), 1);
}

#[test]
fn a_design_that_changed_after_planning_is_refused() {
    let case = Case::new();
    let study = Study::read(case.path()).unwrap_or_else(|trouble| panic!("{trouble}"));
    case.put("plan.lock", &Plan::of(&study).text());
    assert_eq!(Plan::read(case.path(), &study), Ok(Some(Plan::of(&study))));
    case.edit("study.toml", "processes = 3", "processes = 4");
    let changed = Study::read(case.path()).unwrap_or_else(|trouble| panic!("{trouble}"));
    assert_eq!(codes(Plan::read(case.path(), &changed)), ["S0121"]);
}

#[test]
fn runs_that_exist_are_kept() {
    let case = shell(GOOD);
    let (stop, seen) = run(&case);
    assert_eq!((stop, seen.len()), (Stop::Planned, 6));
    assert_eq!(run(&case).1, [""; 0]);
    // As after an interruption: a run without its file was never made.
    fs::remove_file(case.path().join(format!("raw/here/{}.jsonl", seen[4]))).expect("removed");
    assert_eq!(run(&case).1, [seen[4].clone()]);
    let raw = Raw::read(case.path(), &Study::read(case.path()).expect("a study"), Machines::One).expect("samples");
    assert_eq!(raw.records.len(), 12);
    assert!(raw.provenance.iter().all(|one| one["machine"] == "here" && one["command"][0] == "sh"));
}

#[test]
fn a_run_that_fails_leaves_its_reason() {
    let case = shell("echo 'error: it is wrong' >&2; exit 3");
    run(&case);
    let raw = Raw::read(case.path(), &Study::read(case.path()).expect("a study"), Machines::One).expect("samples");
    assert_eq!(raw.records.len(), 6);
    assert!(raw.records.iter().all(|record| record.failure().is_some_and(|why| why.contains("it is wrong"))));
}

#[test]
fn no_more_processes_are_made_once_intervals_are_narrow() {
    let case = shell(GOOD);
    case.edit("study.toml", "processes = 3", "processes = 3\nmost_processes = 9");
    let (stop, seen) = run(&case);
    assert_eq!((stop, seen.len()), (Stop::Precise, 6));
}

#[test]
fn a_run_that_takes_too_long_is_ended() {
    let case = shell("sleep 20");
    case.edit("study.toml", "processes = 3", "processes = 1\nlimit_seconds = 0.1");
    let begun = std::time::Instant::now();
    run(&case);
    assert!(begun.elapsed().as_secs() < 15);
}

#[test]
fn a_model_that_is_not_the_declared_one_is_refused() {
    let case = shell(GOOD);
    case.put("a.onnx", "x");
    case.edit("study.toml", "[runs]", "[models.a]\nfile = \"a.onnx\"\nsha256 = \"00\"\n\n[runs]");
    let study = Study::read(case.path()).unwrap_or_else(|trouble| panic!("{trouble}"));
    let site = Site { directory: case.path(), into: case.path(), machine: "here", program: Path::new("eutectic") };
    assert_eq!(codes(measure(&study, &Plan::of(&study), &site, &mut |_, _| ())), ["S0130"]);
}
