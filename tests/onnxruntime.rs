//! ONNX's checker and ONNX Runtime judge what we write.
//!
//! They are Python packages: `cargo xtask test` installs them into `.venv`. Without it these tests say so and pass.

mod common;

use common::{models, root};
use eutectic::files;
use eutectic::ir::Model;
use eutectic::onnx::{ExportOptions, Limits};
use eutectic::passes::optimize::{Engine, Options, optimize};
use eutectic::passes::target::Target;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const EXPORT: ExportOptions = ExportOptions { opset: None, external_data: false };

fn load(path: &Path) -> Model {
    files::load(path, &Limits::stated(), false).map_err(|problems| problems.to_string()).expect("it reads").0
}

/// Runs the judge on pairs of files; `None` without Python.
fn judge(pairs: &[(PathBuf, PathBuf)]) -> Option<Vec<Value>> {
    let python = root().join(".venv/bin/python");
    if !python.exists() {
        eprintln!("skipped: no .venv; `cargo xtask test` makes it");
        return None;
    }
    let mut child = Command::new(python)
        .arg(root().join("tests/python/judge.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut input = child.stdin.take().expect("piped");
    for (before, after) in pairs {
        writeln!(input, "{}\t{}", before.display(), after.display()).expect("it listens");
    }
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the judge failed");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let verdicts: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(verdicts.len(), pairs.len());
    Some(verdicts)
}

fn assert_accepted(verdict: &Value, tolerance: f64) {
    assert_eq!(verdict["checker"], "ok", "{verdict}");
    assert_eq!(verdict["interface"], true, "{verdict}");
    let worst = verdict["worst"].as_f64().unwrap_or(f64::INFINITY);
    assert!(worst <= tolerance, "{verdict}");
}

// G8
#[test]
fn writing_a_model_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    for path in models("papers/models") {
        let model = load(&path);
        let (first, second) = (dir.path().join("first.onnx"), dir.path().join("second.onnx"));
        files::save(&model, &first, &EXPORT).expect("it writes");
        let again = load(&first);
        files::save(&again, &second, &EXPORT).expect("it writes");
        assert_eq!(
            std::fs::read(&first).ok(),
            std::fs::read(&second).ok(),
            "{}: a second export differs",
            path.display()
        );
        for verdict in judge(&[(first.clone(), second.clone())]).unwrap_or_default() {
            assert_accepted(&verdict, 0.0);
        }
    }
}

// G8
#[test]
fn optimized_models_are_valid_and_equal_in_onnx_runtime() {
    let dir = tempfile::tempdir().expect("a directory");
    for path in models("papers/models") {
        let model = load(&path);
        let before = dir.path().join("before.onnx");
        files::save(&model, &before, &EXPORT).expect("it writes");
        let mut pairs = Vec::new();
        // Every pair of target and engine on the small models; each target and each engine once on those of half a gigabyte.
        let large = std::fs::metadata(&before).expect("written").len() > 200 << 20;
        for target in [Target::Portable, Target::Onnx, Target::Ort] {
            let standard = Options::standard(target).expect("the library loads");
            for (name, options) in
                [("greedy", Options { engine: Engine::Greedy, ..standard.clone() }), ("saturate", standard)]
            {
                if large && (target == Target::Ort || (name == "greedy") == (target == Target::Onnx)) {
                    continue;
                }
                let mut optimized = model.clone();
                let report =
                    optimize(&mut optimized, &options).map_err(|problems| problems.to_string()).expect("it optimizes");
                assert!(report.conflicts.is_empty(), "{}: {:?}", path.display(), report.conflicts);
                let after = dir.path().join(format!("{target}_{name}.onnx"));
                files::save(&optimized, &after, &EXPORT).expect("it writes");
                pairs.push((before.clone(), after));
            }
        }
        for verdict in judge(&pairs).unwrap_or_default() {
            println!("{}: {verdict}", path.display());
            assert_accepted(&verdict, 1e-4);
        }
    }
}
