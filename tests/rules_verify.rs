//! `eutectic rules verify` as a program: exit codes, JSON, and the models of a counterexample.

use eutectic::ir::eval::run_model;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn verify(arguments: &[&str]) -> Output {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    Command::new(env!("CARGO_BIN_EXE_eutectic"))
        .current_dir(corpus)
        .args(["rules", "verify", "--json"])
        .args(arguments)
        .output()
        .expect("the program runs")
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("the report is JSON")
}

#[test]
fn sound_rules_are_counted_with_their_evidence() {
    let output = verify(&["sound/linear.rules", "--instances", "32"]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["sound"], 8);
    assert!(report["rules"][0]["exact"]["instances"].as_u64() > Some(0), "{report:#}");
}

#[test]
fn an_unsound_rule_fails_with_a_seed_and_two_models_that_differ() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("a path in UTF-8");
    let output = verify(&["unsound/linear.rules", "--counterexamples", path]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1));
    let found = &report["unsound"].as_array().expect("a list")[0];
    assert_eq!(found["name"], "alpha_forgotten");
    let seed = found["seed"].to_string();
    let again = verify(&["unsound/linear.rules", "--seed", &seed, "--instances", "1"]);
    let again: Value = serde_json::from_slice(&again.stdout).expect("the report is JSON");
    assert_eq!(again["unsound"][0]["counterexample"], found["counterexample"]);
    let [left, right] = ["left", "right"].map(|side| directory.path().join(format!("alpha_forgotten.{side}.onnx")));
    let outputs = [left, right].map(|path| {
        let (model, _) = eutectic::files::load(&path, &eutectic::onnx::Limits::stated(), false).expect("a valid model");
        // The inputs of the counterexample are the defaults of the model.
        let inputs = vec![None; model.graph.inputs().len()];
        run_model::<f64>(&model, &inputs).expect("the model runs")
    });
    assert_ne!(format!("{:?}", outputs[0]), format!("{:?}", outputs[1]));
}
