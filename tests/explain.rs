//! Chains of rule applications are replayed, and random equivalents run.

use crate::common::{models, root};
use eutectic::files;
use eutectic::ir::Model;
use eutectic::onnx::Limits as FileLimits;
use eutectic::passes::optimize::{Engine, Extract, Options, optimize};
use eutectic::passes::saturate::{Explanation, Focus, Limits};
use eutectic::passes::target::Target;
use std::path::Path;
use std::process::{Command, Output};

fn load(path: &Path) -> Model {
    files::load(path, &FileLimits::stated(), false).map_err(|problems| problems.to_string()).expect("it reads").0
}

fn explained(path: &Path, focus: Focus) -> Vec<Explanation> {
    let limits = Limits { time: None, ..Limits::STANDARD };
    let engine = Engine::Saturate { limits, extract: Extract::Dag };
    let options =
        Options { engine, explain: Some(focus), ..Options::standard(Target::Portable).expect("the library loads") };
    let report = optimize(&mut load(path), &options).map_err(|problems| problems.to_string()).expect("it optimizes");
    report.explanations
}

/// The explanations, each of which is proved by its replay; the number of their steps.
fn assert_replayed(path: &Path) -> usize {
    let explanations = explained(path, Focus::Whole);
    for found in &explanations {
        assert_eq!(found.gap, None, "{}: graph `{}` of {} steps", path.display(), found.graph, found.steps.len());
        assert!(found.steps.len() <= found.n_applications);
    }
    explanations.iter().map(|found| found.steps.len()).sum()
}

#[test]
fn the_chain_of_each_golden_case_is_replayed() {
    let n_steps: usize = models("tests/cases").iter().map(|path| assert_replayed(path)).sum();
    assert!(n_steps >= 100, "{n_steps} steps");
}

#[test]
fn the_chain_of_each_committed_model_is_replayed() {
    for path in models("papers/models") {
        let n_steps = assert_replayed(&path);
        println!("{}: {n_steps} steps", path.display());
    }
}

#[test]
fn a_step_shows_what_it_matched_and_what_it_built() {
    let case = root().join("tests/cases/conv/batchnorm_relu.onnxtxt");
    let explanations = explained(&case, Focus::Whole);
    let step = explanations[0].steps.iter().find(|step| step.rule == "conv_batchnorm").expect("the step");
    assert!(step.place.starts_with("passes/rules/conv.rules:") || step.place.contains("conv.rules:"), "{}", step.place);
    assert!(step.before.len() == 2 && step.before[0].contains("Conv") && step.before[1].contains("BatchNormalization"));
    assert!(step.after.last().is_some_and(|line| line.contains("Conv")), "{:?}", step.after);
}

#[test]
fn a_focus_narrows_the_chain() {
    let model = root().join("papers/models/squeezenet1_1_dy18.onnxtxt");
    let whole = explained(&model, Focus::Whole);
    let loaded = load(&model);
    let output = loaded.graph.outputs()[0].name.clone();
    let of_output = explained(&model, Focus::Output(output));
    assert_eq!(whole[0].steps.len(), of_output[0].steps.len(), "the model has one output");
    let node = &whole[0].steps[0].after.last().expect("a line").clone();
    let name = node.split([' ', ',']).next().expect("an output").trim_matches('"');
    let of_node = explained(&model, Focus::Node(name.into()));
    assert!(
        !of_node[0].steps.is_empty() && of_node[0].steps.len() < whole[0].steps.len(),
        "{}",
        of_node[0].steps.len()
    );
    assert!(explained(&model, Focus::Node("no such node".into())).is_empty());
}

fn eutectic(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_eutectic")).args(arguments).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_program_explains_codes_chains_and_what_did_not_happen() {
    let case = root().join("tests/cases/conv/batchnorm_relu.onnxtxt");
    let case = case.to_str().expect("UTF-8");
    let code = eutectic(&["explain", "L0412"]);
    assert!(code.status.success() && text(&code.stdout).contains("git lfs pull"), "{code:?}");
    let chain = eutectic(&["explain", case, "--rule", "conv_batchnorm", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&chain.stdout).expect("JSON");
    assert_eq!(json["graphs"][0]["replayed"], true);
    assert_eq!(json["graphs"][0]["steps"][0]["rule"], "conv_batchnorm");
    let missed = eutectic(&["explain", case, "--why-not", "relu_of_relu"]);
    assert!(missed.status.success() && text(&missed.stdout).contains("needs a call of Relu"), "{missed:?}");
    let unknown = eutectic(&["explain", case, "--why-not", "no_such_rule"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
}

/// Runs `eutectic fuzz`, and gives its JSON.
fn fuzz(model: &Path, more: &[&str]) -> (Option<i32>, serde_json::Value) {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().to_str().expect("UTF-8");
    let model = model.to_str().expect("UTF-8");
    let mut arguments = vec!["fuzz", model, "--json", "--seconds", "0", "--out", out];
    arguments.extend(more);
    let output = eutectic(&arguments);
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code(), json)
}

#[test]
fn equivalents_run_alike_on_the_cpu_backend() {
    for case in ["conv/batchnorm_relu", "linear/qkv", "activation/gelu_erf", "rules/slice_of_concat"] {
        let model = root().join(format!("tests/cases/{case}.onnxtxt"));
        let (code, json) = fuzz(&model, &["--against", "cpu", "--count", "8"]);
        assert_eq!((code, &json["run"]), (Some(0), &serde_json::json!(8)), "{case}: {json}");
    }
}

#[test]
fn equivalents_run_alike_in_onnx_runtime() {
    let python = root().join(".venv/bin/python");
    if !python.exists() {
        eprintln!("skipped: no .venv; `cargo xtask test` makes it");
        return;
    }
    let python = python.to_str().expect("UTF-8");
    let model = root().join("papers/models/squeezenet1_1_dy18.onnxtxt");
    let (code, json) = fuzz(&model, &["--against", "ort", "--count", "4", "--python", python]);
    assert_eq!((code, &json["run"]), (Some(0), &serde_json::json!(4)), "{json}");
}

#[test]
fn a_python_without_onnx_runtime_is_a_typed_error() {
    let model = root().join("tests/cases/conv/batchnorm_relu.onnxtxt");
    let model = model.to_str().expect("UTF-8");
    let output = eutectic(&["fuzz", model, "--against", "ort", "--python", "/no/such/python"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(text(&output.stderr).contains("pip install onnxruntime"), "{output:?}");
}

#[test]
fn a_wrong_rule_is_a_finding_with_both_models_and_the_inputs() {
    let dir = tempfile::tempdir().expect("a directory");
    let rules = dir.path().join("wrong.rules");
    std::fs::write(&rules, "/// wrong: relu(x) == x\nrule wrong : exact { y = Relu (x) => y = Neg (Neg (x)) }")
        .expect("written");
    let (model, out) = (root().join("tests/cases/conv/batchnorm_relu.onnxtxt"), dir.path().join("out"));
    let [model, rules, shown] = [&model, &rules, &out].map(|path| path.to_str().expect("UTF-8"));
    let output = eutectic(&[
        "fuzz",
        model,
        "--against",
        "cpu",
        "--count",
        "16",
        "--rules",
        "wrong",
        "--fusions",
        "none",
        "--rule-file",
        rules,
        "--out",
        shown,
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let found = std::fs::read_dir(&out).expect("findings").flatten().next().expect("a finding").path();
    for file in ["model.onnx", "equivalent.onnx", "input_0.npy", "finding.json"] {
        assert!(found.join(file).exists(), "{file}");
    }
}
