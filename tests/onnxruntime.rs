//! ONNX's checker and ONNX Runtime judge what we write.
//!
//! They are Python packages: `cargo xtask test` installs them into `.venv`. Without it these tests say so and pass.

use crate::common::{models, root};
use eutectic::calibrate::calibrate;
use eutectic::cuda::{Cuda, Precision};
use eutectic::files;
use eutectic::fused::divided;
use eutectic::inputs::{seeded, sizes_from_shapes};
use eutectic::ir::Model;
use eutectic::ir::diag::Diagnostics;
use eutectic::ir::text::parse_model;
use eutectic::onnx::{ExportOptions, Limits};
use eutectic::passes::contrib::in_standard_operators;
use eutectic::passes::dce::dce;
use eutectic::passes::fold::{FoldBudget, fold};
use eutectic::passes::optimize::{Engine, Options, optimize};
use eutectic::passes::pass::Pipeline;
use eutectic::passes::pipeline::types;
use eutectic::passes::precision::{Calibrator, Format, Quantize, quantize};
use eutectic::passes::regions::Fusions;
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

/// Two convolutions, one with a shortcut beside it, and two linear layers.
const QUANTIZABLE: &str = r#"<ir_version: 11, opset_import: ["": 24]>
    g (float[2,16,4,4] x) => (float[2,16] y) <
        float[16,16,3,3] w = ["location": "seed:1", "low": "-0.1", "high": "0.1"],
        float[16,16,1,1] u = ["location": "seed:2", "low": "-0.3", "high": "0.3"],
        float[16] b = ["location": "seed:3", "low": "-0.1", "high": "0.1"],
        float[256,32] v = ["location": "seed:4", "low": "-0.1", "high": "0.1"],
        float[32] c = ["location": "seed:5", "low": "-0.1", "high": "0.1"],
        float[32,16] z = ["location": "seed:6", "low": "-0.3", "high": "0.3"]
    > {
        c1 = Conv <pads: ints = [1,1,1,1]> (x, w, b)
        r1 = Relu (c1)
        c2 = Conv (r1, u, b)
        s2 = Add (c2, x)
        r2 = Relu (s2)
        f = Flatten (r2)
        p3 = MatMul (f, v)
        a3 = Add (p3, c)
        r3 = Relu (a3)
        y = MatMul (r3, z)
    }"#;

// The kernels of a quantized program, each as a function of its calls, compute what the quantized model computes.
#[test]
fn regions_of_a_quantized_model_are_equal_in_onnx_runtime() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("float.onnxtxt");
    std::fs::write(&path, QUANTIZABLE).expect("it writes");
    let mut model = load(&path);
    let fail = |problems: Diagnostics| problems.to_string();
    optimize(&mut model, &Options::standard(Target::Onnx).expect("the library loads"))
        .map_err(fail)
        .expect("it optimizes");
    let sample = seeded(&model, &sizes_from_shapes(&model.graph, "").map_err(fail).expect("no shapes"), 0)
        .map_err(fail)
        .expect("inputs");
    let ranges = calibrate(&mut model, &mut std::iter::once(Ok(sample)), &mut |_| {}).map_err(fail).expect("it runs");
    let mut pairs = Vec::new();
    for format in [Format::Int8, Format::Float8] {
        let mut quantized = model.clone();
        let options =
            Quantize { format, calibrator: Calibrator::Max, ranges: ranges.clone(), keep: Vec::new(), only: None };
        let passes = vec![quantize(options), fold(FoldBudget::STANDARD, false), dce(), types()];
        Pipeline(passes).run(&mut quantized).map_err(fail).expect("the passes");
        let cuda = Cuda { precision: Precision::F32, cache: None };
        let (expanded, formed) = divided(&cuda, &quantized, &Fusions::all(), &[]).map_err(fail).expect("it expands");
        let n_quantized = formed.iter().filter(|region| region.made_by == "quantized").count();
        // Convolutions are not computed in eight-bit floating point.
        assert_eq!(n_quantized, if format == Format::Int8 { 4 } else { 2 }, "{formed:?}");
        let files = ["quantized", "divided"].map(|name| dir.path().join(format!("{name}_{format:?}.onnx")));
        for (model, file) in [&quantized, &expanded.model].into_iter().zip(&files) {
            files::save(model, file, &EXPORT).expect("it writes");
        }
        pairs.push(files.into());
    }
    for verdict in judge(&pairs).unwrap_or_default() {
        println!("{verdict}");
        assert_accepted(&verdict, 1e-5);
    }
}

/// The experts side by side, written in standard operators, make of each token what ONNX Runtime's own kernel makes of it.
#[test]
fn mixtures_of_experts_are_equal_in_onnx_runtime() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut pairs = Vec::new();
    let mut add = |x: &str, n_inner: usize, n_hidden: usize, attributes: &str, biases: [&str; 2]| {
        let text = format!(
            "<ir_version: 10, opset_import: [\"\": 20, \"com.microsoft\": 1]>
g (float[{x},8] x, float[10,4] scores) => (float[{x},8] y)
<float[4,{n_inner},8] fc1 = [\"location\": \"seed:1\"], float[4,{n_inner}] b1 = [\"location\": \"seed:2\"],
 float[4,8,{n_hidden}] fc2 = [\"location\": \"seed:3\"], float[4,8] b2 = [\"location\": \"seed:4\"]> {{
    y = com.microsoft.MoE <{attributes}> (x, scores, fc1, {}, fc2, {})
}}",
            biases[0], biases[1]
        );
        let (mut model, _) = parse_model(&text).unwrap_or_else(|problems| panic!("{problems}"));
        let [before, after] = ["before", "after"].map(|name| dir.path().join(format!("{name}{}.onnx", pairs.len())));
        files::save(&model, &before, &EXPORT).expect("it writes");
        assert_eq!(in_standard_operators(&mut model), 1, "{attributes}");
        files::save(&model, &after, &EXPORT).expect("it writes");
        pairs.push((before, after));
    };
    for activation in ["relu", "gelu", "silu", "identity"] {
        for (x, k, normalized) in [("10", 1, 0), ("2,5", 2, 1), ("2,5", 4, 0)] {
            let attributes = format!(
                "k: int = {k}, activation_type: string = \"{activation}\", normalize_routing_weights: int = {normalized}"
            );
            add(x, 12, 12, &attributes, ["b1", "b2"]);
        }
    }
    add("10", 12, 12, "k: int = 2", ["", ""]);
    let swiglu = "k: int = 2, activation_type: string = \"swiglu\", swiglu_fusion: int = 1";
    let scaled = ", activation_alpha: float = 1.702, activation_beta: float = 1.0, swiglu_limit: float = 0.5";
    add("2,5", 24, 12, swiglu, ["b1", "b2"]);
    add("2,5", 24, 12, &format!("{swiglu}{scaled}"), ["b1", "b2"]);
    for verdict in judge(&pairs).unwrap_or_default() {
        let worst = verdict["worst"].as_f64().unwrap_or(f64::INFINITY);
        assert!(verdict["interface"] == true && worst <= 1e-5, "{verdict}");
    }
}
