//! The step that goes wrong is found, and models that fail are made small.

use eutectic::bisect::{Culprit, bisect};
use eutectic::certificate::run_on_cpu;
use eutectic::files;
use eutectic::inputs::{Sizes, seeded};
use eutectic::ir::{Model, Tensor};
use eutectic::onnx::Limits as FileLimits;
use eutectic::passes::optimize::{Engine, Extract, Options};
use eutectic::passes::saturate::Limits;
use eutectic::passes::target::Target;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SQUEEZENET: &str = "papers/models/squeezenet1_1_dy18.onnxtxt";
const WRONG: &str = "/// wrong: relu(x) == x\nrule wrong : exact { y = Relu (x) => y = x }\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn load(path: &Path) -> Model {
    files::load(path, &FileLimits::stated(), false).map_err(|problems| problems.to_string()).expect("it reads").0
}

fn eutectic(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_eutectic")).args(arguments).output().expect("the program starts")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// A directory with the file of the wrong rule in it, and their paths.
fn wrong_rule() -> (tempfile::TempDir, String, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let rules = dir.path().join("wrong.rules");
    std::fs::write(&rules, WRONG).expect("written");
    let out = dir.path().join("out");
    let [rules, out] = [rules, out].map(|path| path.to_str().expect("UTF-8").to_owned());
    (dir, rules, out)
}

/// A program of the shell.
fn script(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("program.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("it may be run");
    path
}

#[test]
fn a_wrong_rule_among_right_ones_is_found_with_the_models_around_it() {
    let (_dir, rules, out) = wrong_rule();
    let model = root().join(SQUEEZENET);
    let model = model.to_str().expect("UTF-8");
    let more = ["--rule-file", &rules, "--rules", "all,wrong", "--seconds", "0", "--out", &out, "--json"];
    let output = eutectic(&[&["compare", model, "--bisect"][..], &more].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let found = json(&output);
    assert_eq!((&found["step"]["rule"], &found["step"]["kind"]), (&"wrong".into(), &"rule".into()), "{found}");
    assert!(found["step"]["file"].as_str().is_some_and(|place| place.ends_with("wrong.rules:2")), "{found}");
    assert!(found["difference"].as_f64().is_some_and(|difference| difference > 0.1), "{found}");
    let out = Path::new(&out);
    let (before, after) = (load(&out.join("before.onnx")), load(&out.join("after.onnx")));
    let relus = |model: &Model| model.graph.nodes().filter(|(_, node)| node.op.is("Relu")).count();
    assert_eq!((before.graph.n_nodes(), relus(&before), relus(&after)), (1, 1, 0));
    let input = files::load_npy(&out.join("before_input_0.npy")).expect("an input");
    let answer = run_on_cpu(&before, &[Some(input.clone())]).expect("it runs").remove(0);
    assert_ne!(answer, input, "the value is that of the model, some of it negative");
}

#[test]
fn a_model_whose_optimization_is_right_has_no_step_to_show() {
    let model = root().join("tests/cases/conv/batchnorm_relu.onnxtxt");
    let model = model.to_str().expect("UTF-8");
    let output = eutectic(&["compare", model, "--bisect", "--seconds", "0", "--json"]);
    assert_eq!((output.status.code(), &json(&output)["equal"]), (Some(0), &true.into()), "{output:?}");
    let greedy = eutectic(&["compare", model, "--bisect", "--engine", "greedy"]);
    assert_eq!(greedy.status.code(), Some(2), "{greedy:?}");
    let alone = eutectic(&["compare", model]);
    assert_eq!(alone.status.code(), Some(2), "{alone:?}");
}

#[test]
fn the_step_that_a_broken_backend_fails_after_is_found() {
    let model = load(&root().join(SQUEEZENET));
    let inputs = seeded(&model, &Sizes::all(1), 0).map_err(|problems| problems.to_string()).expect("drawn");
    let limits = Limits { time: None, ..Limits::STANDARD };
    let engine = Engine::Saturate { limits, extract: Extract::Dag };
    let options = Options { engine, ..Options::standard(Target::Portable).expect("the library loads") };
    let fused = |model: &Model, name: &str| model.graph.nodes().any(|(_, node)| node.op.name() == name);
    let search = |breaks: &dyn Fn(&Model) -> bool| {
        let mut run = |model: &Model, inputs: &[Option<Tensor>]| {
            let outputs = run_on_cpu(model, inputs)?;
            let is_broken = breaks(model);
            let twice = |tensor: Tensor| {
                let values: Vec<f64> =
                    tensor.to_f64s().unwrap_or_default().into_iter().map(|x| 2.0 * x + 1.0).collect();
                Tensor::from_f64s(tensor.element(), tensor.shape(), &values).unwrap_or(tensor)
            };
            Ok(outputs.into_iter().map(|tensor| if is_broken { twice(tensor) } else { tensor }).collect())
        };
        bisect(&model, &options, &inputs, 1e-3, &mut run).map_err(|problems| problems.to_string()).expect("it runs")
    };
    assert!(search(&|_| false).is_none());
    // A kernel of a fused call that is wrong.
    let found = search(&|model| fused(model, "ConvRelu")).expect("it differs");
    let Culprit::Application { step, .. } = &found.culprit else { panic!("{:?}", found.culprit) };
    assert!(step.after.iter().any(|line| line.contains("ConvRelu")), "{step:?}");
    assert_eq!(found.n_not_run, 0);
    // One that is wrong in company alone.
    let found = search(&|model| fused(model, "ConvRelu") && model.graph.n_nodes() > 5).expect("it differs");
    assert!(matches!(found.culprit, Culprit::Engine), "{:?}", found.culprit);
    let found = search(&|_| true).expect("it differs");
    assert!(matches!(found.culprit, Culprit::Model), "{:?}", found.culprit);
}

#[test]
fn a_command_that_fails_is_given_ever_smaller_models() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = env!("CARGO_BIN_EXE_eutectic");
    let check =
        script(dir.path(), &format!("'{program}' inspect \"$1\" --json | grep -q '\"MaxPool\"' && exit 7; exit 0"));
    let (model, out) = (root().join(SQUEEZENET), dir.path().join("out"));
    let [model, out_text, check] = [&model, &out, &check].map(|path| path.to_str().expect("UTF-8"));
    let check = format!("'{check}' {{}}");
    let output = eutectic(&["reduce", model, "--check", &check, "--out", out_text, "--seconds", "0", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let found = json(&output);
    assert_eq!((&found["after"]["nodes"], &found["minimal"]), (&1.into(), &true.into()), "{found}");
    assert_eq!(found["failure"]["status"], "exit status: 7");
    let reduced = load(&out.join("model.onnx"));
    assert!(reduced.graph.nodes().all(|(_, node)| node.op.is("MaxPool")));
    assert!(out.join("failure.json").exists() && out.join("input_0.npy").exists());
    let again = eutectic(&["reduce", model, "--check", &check, "--out", out_text]);
    assert_eq!(again.status.code(), Some(2), "nothing is overwritten: {again:?}");
}

#[test]
fn a_program_that_refuses_and_one_that_errs_are_told_apart() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = env!("CARGO_BIN_EXE_eutectic");
    // It refuses what holds a Softmax, and gives the input for the answer to everything else.
    let text = format!(
        "'{program}' inspect \"$1\" --json | grep -q '\"Softmax\"' && exit 3\ncp \"$2/input_0.npy\" \"$3/output_0.npy\""
    );
    let program = script(dir.path(), &text);
    let model = dir.path().join("model.onnxtxt");
    let write = |last: &str| {
        let text = format!(
            "<ir_version: 10, opset_import: [\"\": 20]>\nagraph (float[2,3] x) => (float[2,3] y) {{\n a = Relu (x)\n b = {last} (a)\n y = Abs (b)\n}}\n"
        );
        std::fs::write(&model, text).expect("written");
    };
    let run = |out: &str| {
        let out = dir.path().join(out);
        let [model, program, out] = [&model, &program, &out].map(|path| path.to_str().expect("UTF-8"));
        let output = eutectic(&["reduce", model, "--against", program, "--out", out, "--json"]);
        assert!(output.status.success(), "{output:?}");
        json(&output)
    };
    write("Softmax");
    let found = run("refused");
    assert_eq!((&found["failure"]["kind"], &found["after"]["nodes"]), (&"refused".into(), &1.into()), "{found}");
    assert_eq!(found["failure"]["codes"], serde_json::json!(["C0173 ended with exit status: 3"]));
    write("Exp");
    let found = run("differs");
    assert_eq!((&found["failure"]["kind"], &found["after"]["nodes"]), (&"differs".into(), &1.into()), "{found}");
    let none = eutectic(&["reduce", model.to_str().expect("UTF-8"), "--against", "cpu"]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    assert!(String::from_utf8_lossy(&none.stderr).contains("C0174"), "{none:?}");
}

#[test]
fn a_failure_on_one_input_alone_is_found_when_that_input_is_given() {
    let dir = tempfile::tempdir().expect("a directory");
    let model = dir.path().join("model.onnxtxt");
    let text = "<ir_version: 10, opset_import: [\"\": 20]>\nagraph (float[2,3] x) => (float[2,3] y) {\n a = Abs (x)\n b = Sub (x, a)\n c = Exp (b)\n y = Sqrt (c)\n}\n";
    std::fs::write(&model, text).expect("written");
    // It takes the answer for one throughout, which it is where no input is negative.
    let ones = dir.path().join("ones.npy");
    files::save_npy(&ones, &Tensor::from_f64s(eutectic::ir::Element::Float, &[2, 3], &[1.0; 6]).expect("six"))
        .expect("written");
    let program = script(dir.path(), &format!("cp '{}' \"$3/output_0.npy\"", ones.display()));
    let run = |name: &str, numbers: &[f64]| {
        let given = dir.path().join(format!("{name}.npy"));
        let tensor = Tensor::from_f64s(eutectic::ir::Element::Float, &[2, 3], numbers).expect("six");
        files::save_npy(&given, &tensor).expect("written");
        let out = dir.path().join(name);
        let input = format!("x={}", given.display());
        let [model, program, out] = [&model, &program, &out].map(|path| path.to_str().expect("UTF-8"));
        let arguments =
            ["reduce", model, "--against", program, "--input", &input, "--out", out, "--seconds", "0", "--json"];
        eutectic(&arguments)
    };
    let sound = run("sound", &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(sound.status.code(), Some(2), "{sound:?}");
    assert!(String::from_utf8_lossy(&sound.stderr).contains("C0174"), "{sound:?}");
    let broken = run("broken", &[0.0, 1.0, -2.0, 3.0, 4.0, 5.0]);
    assert!(broken.status.success(), "{broken:?}");
    assert_eq!((&json(&broken)["failure"]["kind"], &json(&broken)["after"]["nodes"]), (&"differs".into(), &0.into()));
}

/// The events of a trace, times left out.
fn events(dir: &Path) -> Vec<Value> {
    fn without_times(value: &mut Value) {
        if let Value::Object(members) = value {
            members.retain(|name, _| !name.ends_with("seconds"));
            members.values_mut().for_each(without_times);
        }
        if let Value::Array(items) = value {
            items.iter_mut().for_each(without_times);
        }
    }
    let text = std::fs::read_to_string(dir.join("trace.jsonl")).expect("a trace");
    let parsed = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    parsed
        .map(|mut event| {
            without_times(&mut event);
            event
        })
        .collect()
}

#[test]
fn a_trace_tells_the_whole_story_and_the_same_each_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let model = root().join(SQUEEZENET);
    let trace = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        let (model, out_text) = (model.to_str().expect("UTF-8"), out.to_str().expect("UTF-8"));
        let output =
            eutectic(&[&["optimize", model, "--trace", out_text, "--seconds", "0", "--json"][..], more].concat());
        assert!(output.status.success(), "{output:?}");
        (json(&output), events(&out), std::fs::read_to_string(out.join("report.html")).expect("a report"))
    };
    let (result, first, page) = trace("first", &[]);
    let (_, second, _) = trace("second", &[]);
    assert_eq!(first, second);
    let of_kind = |kind: &str| first.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    for kind in ["start", "pass", "applied", "round", "extracted", "rewritten", "step", "end"] {
        assert!(!of_kind(kind).is_empty(), "{kind}");
    }
    // What it adds up to is what the program says.
    let fired: u64 = result["rules"].as_array().expect("rules").iter().filter_map(|rule| rule["fired"].as_u64()).sum();
    assert_eq!(of_kind("applied").len() as u64, fired);
    let of_rounds: u64 = of_kind("round").iter().filter_map(|round| round["applied"].as_u64()).sum();
    assert_eq!(of_rounds, fired);
    assert_eq!(of_kind("round").len() as u64, result["engine"]["iterations"].as_u64().expect("a number"));
    assert_eq!(of_kind("extracted")[0]["after"]["dag"], result["engine"]["cost"]["dag"]);
    let before = of_kind("extracted")[0]["before"].as_f64().expect("a cost");
    assert!(result["engine"]["cost"]["dag"].as_f64().is_some_and(|after| after < before));
    assert_eq!(of_kind("end")[0]["nodes"], result["after"]["nodes"]);
    assert!(of_kind("applied").iter().any(|event| event["at"].is_string()));
    // The page needs nothing else, and shows each step.
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert!(!page.contains("http") && !page.contains("src="), "nothing is fetched");
    assert_eq!(page.matches("<details class=\"s\">").count(), of_kind("step").len());
    let (_, greedy, _) = trace("greedy", &["--engine", "greedy"]);
    assert!(greedy.iter().any(|event| event["event"] == "applied"));
}
