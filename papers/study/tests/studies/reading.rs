//! What a reader is told of how sure a number is, and where the numbers are.

use crate::Case;
use serde_json::{Value, json};
use std::fs;

/// The study without a fault with `processes` of each model, whose samples are `of` the variant, the process and their place.
fn measured(processes: usize, of: impl Fn(&str, usize, usize) -> f64) -> Case {
    let case = Case::new();
    fs::remove_dir_all(case.path().join("raw")).expect("removed");
    for model in ["a", "b"] {
        for process in 0..processes {
            let levels = json!({ "model": model });
            let mut text =
                format!("{}\n", json!({ "provenance": { "levels": levels, "build": 0, "process": process } }));
            for variant in ["old", "new"] {
                let samples: Vec<f64> = (0..40).map(|at| of(variant, process, at)).collect();
                text.push_str(&format!("{}\n", json!({ "variant": variant, "size": 1, "seconds": samples })));
            }
            case.store(&format!("here/{model}-p{process}.jsonl"), &text);
        }
    }
    case
}

/// Between 0.99 and 1.01, in no order.
fn noise(process: usize, at: usize) -> f64 {
    0.99 + ((at * 7 + process * 3) % 11) as f64 * 0.002
}

fn stats(case: &Case) -> Value {
    let files = case.generate().unwrap_or_else(|trouble| panic!("{trouble}")).files;
    serde_json::from_slice(&files["stats.json"]).expect("JSON")
}

fn protocol(stats: &Value) -> String {
    stats["protocol"].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

#[test]
fn intervals_from_few_processes_are_said_to_be_narrow() {
    let of = |n| protocol(&stats(&measured(n, |_, process, at| noise(process, at))));
    let (alone, few) = ("within a process alone", "come out too narrow");
    assert!(of(1).contains(alone) && !of(1).contains(few), "{}", of(1));
    assert!(of(3).contains("1 build of 3 processes") && of(3).contains(few) && !of(3).contains(alone), "{}", of(3));
    assert!(!of(5).contains(few), "{}", of(5));
}

#[test]
fn a_ratio_of_what_does_not_vary_has_neither_interval_nor_p() {
    let case = measured(2, |variant, _, _| if variant == "old" { 3.0 } else { 2.0 });
    let found = stats(&case);
    let ratio = &found["compare"]["time"]["groups"]["a"]["ratios"]["new"];
    assert_eq!((&ratio["value"], &ratio["low"], &ratio["p"]), (&json!(1.5), &json!(1.5), &Value::Null));
    assert!(!protocol(&found).contains("bootstrap"), "{}", protocol(&found));
    let generated = case.generate().unwrap_or_else(|trouble| panic!("{trouble}"));
    let table = String::from_utf8(generated.files["tables/time.tex"].clone()).expect("UTF-8");
    assert!(table.contains(" & base & variant & ratio & verdict "), "{table}");
}

#[test]
fn a_share_of_all_there_is_has_no_interval() {
    let count = "[[count]]\nname = \"sizes\"\nmetric = \"size_found\"\nrows = [\"variant\"]\nshare = [\"1\"]\n";
    let metric = "[metrics.size_found]\nlabel = \"size\"\noutcomes = [\"1\", \"2\", \"4\"]\n\n[runs]";
    let with = |census: &str| {
        let case = Case::new();
        case.edit("study.toml", "[runs]", metric);
        case.edit("study.toml", "[[compare]]", &format!("{count}{census}\n[[compare]]"));
        for model in ["a", "b"] {
            for process in 0..3 {
                let name = format!("here/{model}-p{process}.jsonl");
                let text = fs::read_to_string(case.path().join("raw").join(&name)).expect("readable");
                case.store(&name, &text.replace("\"size\":", "\"size_found\":1,\"size\":"));
            }
        }
        stats(&case)["count"]["sizes"]["rows"]["old"]["share"].clone()
    };
    assert_eq!(with("census = true\n"), json!({ "value": 1.0, "low": 1.0, "high": 1.0 }));
    assert!(with("")["low"].as_f64().is_some_and(|low| low < 1.0));
}

#[test]
fn a_comparison_may_have_a_threshold_of_its_own() {
    let case = measured(2, |variant, process, at| noise(process, at) * if variant == "old" { 1.1 } else { 1.0 });
    let verdict = |stats: &Value| stats["compare"]["time"]["groups"]["a"]["ratios"]["new"]["verdict"].clone();
    assert_eq!(verdict(&stats(&case)), "FASTER");
    case.edit("study.toml", "base = \"old\"", "base = \"old\"\nthreshold = 0.3");
    assert_eq!(verdict(&stats(&case)), "SAME");
    let files = case.generate().unwrap_or_else(|trouble| panic!("{trouble}")).files;
    assert!(String::from_utf8_lossy(&files["report.html"]).contains("the threshold of verdicts 30 %"));
}

#[test]
fn verdicts_are_counted_for_each_level() {
    let case = measured(2, |variant, process, at| noise(process, at) * if variant == "old" { 2.0 } else { 1.0 });
    let found = stats(&case);
    let expected = json!({ "faster": 2, "slower": 0, "same": 0, "unclear": 0 });
    assert_eq!(found["compare"]["time"]["verdicts_of"], json!({ "new": expected }));
    assert_eq!(found["compare"]["time"]["verdicts"], expected);
}

#[test]
fn what_is_known_of_samples_is_in_the_table_and_what_prose_refers_to_in_the_statistics() {
    let files = Case::new().generate().unwrap_or_else(|trouble| panic!("{trouble}")).files;
    let csv = String::from_utf8(files["tables/time.csv"].clone()).expect("UTF-8");
    let header: Vec<&str> = csv.lines().next().expect("a header").split(',').collect();
    for name in ["median_low", "p95_high", "p99_low", "deviation_processes", "unsteady"] {
        assert!(header.contains(&name), "{header:?}");
    }
    assert!(csv.lines().all(|line| line.split(',').count() == header.len()), "{csv}");
    let found: Value = serde_json::from_slice(&files["stats.json"]).expect("JSON");
    let variant = &found["compare"]["time"]["groups"]["a"]["variants"]["old"];
    assert_eq!(variant.as_object().map(|fields| fields.len()), Some(3), "{variant}");
    assert_eq!(found.get("table"), None);
}
