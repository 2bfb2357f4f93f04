//! A study from nothing, as somebody makes one who has the program and no GPU.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn study(directory: &Path, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_eutectic"));
    program.arg("study").args(arguments).current_dir(directory).output().expect("the program starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_new_study_is_measured_set_replayed_compared_and_packed_in_an_empty_directory() {
    let scratch = tempfile::tempdir().expect("a directory");
    let here = scratch.path();
    let start = Instant::now();
    assert_eq!(study(here, &["new", "demo"]).status.code(), Some(0));
    let run = study(here, &["run", "papers/demo"]);
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
    // On a machine that others use, a program differs from itself: that alone is a finding, and any other is a fault.
    let findings: Vec<String> =
        text(&run).lines().filter(|line| line.starts_with("error")).map(str::to_owned).collect();
    assert!(findings.iter().all(|finding| finding.starts_with("error[S0209]")), "{}", text(&run));
    let stats = fs::read_to_string(here.join("papers/demo/out/stats.json")).expect("statistics");
    let stats: Value = serde_json::from_str(&stats).expect("JSON");
    assert!(stats["compare"]["fusion"]["groups"]["small"]["ratios"]["fused"]["value"].as_f64() > Some(0.1), "{stats}");
    assert_eq!(here.join("papers/demo/out/paper.pdf").exists(), cfg!(feature = "studies"));

    let replay = study(here, &["run", "papers/demo", "--replay"]);
    assert_eq!(replay.status.code(), Some(0), "{}", text(&replay));
    let same = study(here, &["compare", "papers/demo", "papers/demo"]);
    assert!(same.status.code() == Some(0) && text(&same).contains("1 compared, 0 not measured"), "{}", text(&same));
    assert_eq!(study(here, &["bundle", "papers/demo"]).status.code(), Some(0));
    let archive = fs::read(here.join("demo.zip")).expect("an archive");
    assert!(archive.windows(17).any(|name| name == b"demo/CITATION.cff"));
    // What is there is not overwritten.
    assert_eq!(study(here, &["new", "demo"]).status.code(), Some(2));
}

#[test]
fn a_part_is_tried_though_the_paper_needs_all_samples() {
    let scratch = tempfile::tempdir().expect("a directory");
    let here = scratch.path();
    assert_eq!(study(here, &["new", "demo"]).status.code(), Some(0));
    let nothing = study(here, &["lint", "papers/demo"]);
    assert!(nothing.status.code() == Some(2) && text(&nothing).contains("S0114"), "{}", text(&nothing));
    let paper = here.join("papers/demo/paper.typ");
    let prose = fs::read_to_string(&paper).expect("readable");
    fs::write(&paper, prose + "\n#num(\"compare/fusion/groups/large\")\n").expect("written");
    let tried = study(here, &["run", "papers/demo", "--kick-tires", "--json"]);
    assert_eq!(tried.status.code(), Some(0), "{}", text(&tried));
    let found: Value = serde_json::from_slice(&tried.stdout).expect("JSON alone on standard output");
    assert_eq!((&found["runs"], &found["failures"]), (&1.into(), &0.into()));
    let again = study(here, &["run", "papers/demo", "--kick-tires"]);
    assert!(text(&again).contains("1 runs are there and kept"), "{}", text(&again));
}
