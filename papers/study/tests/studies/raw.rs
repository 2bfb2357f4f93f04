//! What may count as a sample.

use crate::{Case, codes};
use eutectic_study::{Machines, generate};
use std::fs;

#[test]
fn a_sample_that_was_edited_is_refused() {
    let case = Case::new();
    case.edit("raw/here/a-p1.jsonl", "0.008", "0.007");
    assert_eq!(codes(case.generate()), ["S0110"]);
}

#[test]
fn a_file_that_no_run_wrote_is_refused_and_one_that_is_missing() {
    let case = Case::new();
    case.put("raw/here/more.jsonl", "{\"provenance\": {}}\n");
    assert_eq!(codes(case.generate()), ["S0110"]);
    fs::remove_file(case.path().join("raw/here/more.jsonl")).expect("removed");
    assert_eq!(codes(case.generate()), [""; 0]);
    fs::remove_file(case.path().join("raw/here/a-p0.jsonl")).expect("removed");
    assert_eq!(codes(case.generate()), ["S0110"]);
}

#[test]
fn two_machines_count_together_only_when_asked() {
    let case = Case::new();
    case.measure_on("there");
    assert_eq!(codes(case.generate()), ["S0111"]);
    let mixed = generate(case.path(), case.path(), Machines::Mixed).unwrap_or_else(|trouble| panic!("{trouble}"));
    assert_eq!(mixed.results.stats["raw"]["machines"], serde_json::json!(["here", "there"]));
    case.edit("study.toml", "seed = 7", "seed = 7\nmachine = \"there\"");
    assert_eq!(case.stats()["raw"]["machines"], serde_json::json!(["there"]));
}

#[test]
fn a_variant_that_failed_has_no_time() {
    let case = Case::new();
    for process in 0..3 {
        let provenance =
            serde_json::json!({ "provenance": { "levels": { "model": "b" }, "build": 0, "process": process } });
        let text = format!("{provenance}\n{}\n", serde_json::json!({ "failure": "the result is wrong" }));
        case.store(&format!("here/b-p{process}.jsonl"), &text);
    }
    let stats = case.stats();
    assert_eq!(stats["raw"]["failures"], 3);
    assert_eq!(stats["compare"]["time"]["n_groups"], 1);
}

#[test]
fn a_key_that_is_unknown_is_an_error() {
    let case = Case::new();
    case.edit("study.toml", "seed = 7", "seed = 7\ntreshold = 0.5");
    assert_eq!(codes(case.generate()), ["S0100"]);
}

#[test]
fn a_name_that_is_not_declared_is_an_error() {
    let case = Case::new();
    case.edit("study.toml", "rows = [\"size\"]", "rows = [\"length\"]");
    assert_eq!(codes(case.generate()), ["S0101"]);
}

#[test]
fn ratios_are_of_medians_and_the_hypothesis_is_judged_by_the_interval() {
    let stats = Case::new().stats();
    let ratio = &stats["compare"]["time"]["groups"]["a"]["ratios"]["new"];
    let value = ratio["value"].as_f64().expect("a number");
    assert!((value - 1.6).abs() < 0.01, "{ratio}");
    assert_eq!(ratio["verdict"], "FASTER");
    assert_eq!(stats["compare"]["time"]["groups"]["a"]["control"]["verdict"], "SAME");
    assert_eq!(stats["hypothesis"]["H1"]["verdict"], "supported");
}
