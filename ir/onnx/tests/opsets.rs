//! Every operator set is read and written, and the models mean the same: the packages of ONNX and ONNX Runtime judge.
//!
//! They are Python packages: `cargo xtask test` installs them into `.venv`. Without it these tests say so and pass.

use bytes::Bytes;
use eutectic_ir::eval::run_model;
use eutectic_ir::op::CANONICAL_OPSET;
use eutectic_ir::types::ElementKind;
use eutectic_ir::{Element, Graph, Model, Op, Tensor, ops};
use eutectic_onnx::{ExportOptions, Limits, Policy, from_bytes, to_bytes};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A model with what goes in and what comes out.
struct Case {
    name: String,
    path: PathBuf,
    inputs: String,
    outputs: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs the script with `arguments` and `input`; its lines, or `None` without Python.
fn script(arguments: &[&str], input: Option<&Path>) -> Option<Vec<String>> {
    let python = root().join(".venv/bin/python");
    if !python.exists() {
        eprintln!("skipped: no .venv; `cargo xtask test` makes it");
        return None;
    }
    let stdin = input.map_or(Stdio::null(), |path| std::fs::File::open(path).expect("written").into());
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/opsets.py"))
        .args(arguments)
        .stdin(stdin)
        .stderr(Stdio::inherit())
        .output()
        .expect("Python starts");
    assert!(output.status.success(), "the script failed");
    Some(String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect())
}

fn cases(which: &str, dir: &Path) -> Vec<Case> {
    let lines = script(&[which, dir.to_str().expect("UTF-8")], None).unwrap_or_default();
    let case = |line: &String| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [name, path, inputs, outputs] = columns[..] else { panic!("{line}") };
        Case { name: name.into(), path: path.into(), inputs: inputs.into(), outputs: outputs.into() }
    };
    lines.iter().map(case).collect()
}

fn tensors(column: &str) -> Vec<Tensor> {
    let tensor = |word: &str| {
        let parts: Vec<&str> = word.split(':').collect();
        let [element, dims, digits] = parts[..] else { panic!("{word}") };
        let element = Element::from_text(element).expect("an element type");
        let shape: Vec<usize> =
            dims.split(',').filter(|dim| !dim.is_empty()).map(|dim| dim.parse().expect(word)).collect();
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
        let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        Tensor::new(element, &shape, bytes.into()).expect("complete")
    };
    column.split(' ').filter(|word| !word.is_empty()).map(tensor).collect()
}

fn import(bytes: Vec<u8>) -> Result<(Model, String), String> {
    let policy = Policy::interactive();
    from_bytes(Bytes::from(bytes), &Limits::stated(), &policy)
        .map(|(model, warnings)| (model, warnings.to_string()))
        .map_err(|errors| errors.to_string())
}

/// Names of the operators that the graph carries without knowing them.
fn opaque(graph: &Graph, found: &mut Vec<String>) {
    for (_, node) in graph.nodes() {
        if let Op::Opaque(custom) = &node.op {
            found.push(custom.name.to_string());
        }
        node.bodies().for_each(|body| opaque(body, found));
    }
}

/// What the interpreter says of sequences, which the canonical form resolves first.
const NEEDS_CANONICAL_FORM: &str = "sequences are resolved by the canonical form";

/// Runs the interpreter and compares. Errors: what differs.
fn check(model: &Model, inputs: &str, expected: &str) -> Result<(), String> {
    let inputs: Vec<Option<Tensor>> = tensors(inputs).into_iter().map(Some).collect();
    let found = run_model::<f64>(model, &inputs).map_err(|error| error.to_string())?;
    let expected = tensors(expected);
    if found.len() != expected.len() {
        return Err(format!("{} outputs, expected {}", found.len(), expected.len()));
    }
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        if found.element != expected.element() || found.shape != expected.shape() {
            let (ty, shape) = (expected.element(), expected.shape());
            return Err(format!("output {at} is {}{:?}, expected {ty}{shape:?}", found.element, found.shape));
        }
        let found = found.to_tensor().map_err(|reason| reason.to_string())?;
        let agree = match expected.element().kind() {
            ElementKind::Real => {
                let loose = matches!(expected.element(), Element::Float16 | Element::Bfloat16);
                let (relative, absolute) = if loose { (1e-2, 1e-2) } else { (1e-3, 1e-5) };
                let pairs = found.to_f64s().unwrap_or_default().into_iter().zip(expected.to_f64s().unwrap_or_default());
                let close = |(a, b): (f64, f64)| {
                    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= absolute + relative * b.abs()
                };
                pairs.into_iter().all(close)
            }
            _ => found.bytes() == expected.bytes(),
        };
        if !agree {
            return Err(format!("output {at} differs"));
        }
    }
    Ok(())
}

/// Fails with all of `problems`.
#[track_caller]
fn none_of(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn models_of_old_operator_sets_mean_what_they_meant() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut n_met, mut unknown, mut problems) = (0, BTreeMap::<String, usize>::new(), Vec::new());
    for case in cases("old", dir.path()) {
        let (model, warnings) = match import(std::fs::read(&case.path).expect("written")) {
            Ok(read) => read,
            Err(errors) => {
                problems.push(format!("{}: {errors}", case.name));
                continue;
            }
        };
        let mut carried = Vec::new();
        opaque(&model.graph, &mut carried);
        if let Some(name) = carried.iter().find(|name| ops::lookup("", name).is_none()) {
            *unknown.entry(name.clone()).or_default() += 1;
            continue;
        }
        match check(&model, &case.inputs, &case.outputs) {
            Ok(()) => n_met += 1,
            Err(problem) if problem.contains(NEEDS_CANONICAL_FORM) => {
                *unknown.entry("sequences".into()).or_default() += 1
            }
            Err(problem) => problems.push(format!("{}: {problem}\n{warnings}", case.name)),
        }
    }
    println!("{n_met} cases met; operators not in the table: {unknown:?}");
    none_of(&problems);
    let n_cases = n_met + unknown.values().sum::<usize>();
    assert!(n_met * 10 >= n_cases * 9, "{n_met} of {n_cases} are met");
}

/// One test of an operator in one operator set.
fn exported(case: &Case, model: &Model, opset: u64, dir: &Path) -> Option<Result<String, String>> {
    let bytes = match to_bytes(model, &ExportOptions { opset: Some(opset), external_data: false }) {
        Ok(bytes) => bytes,
        // Not expressible: the error says so.
        Err(errors) if errors.to_string().contains("I0121") => return None,
        Err(errors) => return Some(Err(errors.to_string())),
    };
    let path = dir.join(format!("{}-{opset}.onnx", case.name));
    std::fs::write(&path, &bytes).expect("it writes");
    let (again, warnings) = match import(bytes.to_vec()) {
        Ok(read) => read,
        Err(errors) => return Some(Err(format!("is not read again: {errors}"))),
    };
    if let Err(problem) = check(&again, &case.inputs, &case.outputs) {
        return Some(Err(format!("read again: {problem} {warnings}")));
    }
    let (path, original) = (path.display(), case.path.display());
    Some(Ok(format!("{}-{opset}\t{path}\t{}\t{}\t{original}", case.name, case.inputs, case.outputs)))
}

#[test]
fn exports_in_every_operator_set_mean_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let lines = dir.path().join("lines.tsv");
    let mut file = std::fs::File::create(&lines).expect("a file");
    let (mut n_written, mut n_refused, mut left_out, mut problems) =
        (0, 0, BTreeMap::<String, usize>::new(), Vec::new());
    for case in cases("newest", dir.path()) {
        let Ok((model, _)) = import(std::fs::read(&case.path).expect("written")) else {
            *left_out.entry(format!("{} is not read", case.name)).or_default() += 1;
            continue;
        };
        let mut unknown = Vec::new();
        opaque(&model.graph, &mut unknown);
        if let Some(name) = unknown.pop() {
            *left_out.entry(name).or_default() += 1;
            continue;
        }
        // What the interpreter does not meet as it stands is for the tests of the operators.
        if let Err(problem) = check(&model, &case.inputs, &case.outputs) {
            *left_out.entry(format!("{}: {problem}", case.name)).or_default() += 1;
            continue;
        }
        // Between two versions of the operator nothing changes. Expansions of one into many stay where they are.
        let mut opsets = vec![model.opset("").unwrap_or(CANONICAL_OPSET)];
        if let (1, Some((_, node))) = (model.graph.nodes().count(), model.graph.nodes().next()) {
            let versions = node.op.builtin().map_or(&[][..], |def| def.versions);
            opsets.extend(versions.iter().filter(|&&since| since > 1).map(|since| since - 1));
            // Operators that took the place of others, and helpers of steps, change at versions of others.
            opsets.extend([1, 6, 8, CANONICAL_OPSET]);
            opsets.sort_unstable();
            opsets.dedup();
        }
        for opset in opsets {
            match exported(&case, &model, opset, dir.path()) {
                None => n_refused += 1,
                Some(Err(problem)) => problems.push(format!("{}-{opset}: {problem}", case.name)),
                Some(Ok(line)) => {
                    n_written += 1;
                    writeln!(file, "{line}").expect("it writes");
                }
            }
        }
    }
    drop(file);
    let (mut n_judged, mut unjudged) = (0, BTreeMap::<String, usize>::new());
    for answer in script(&["judge"], Some(&lines)).unwrap_or_default() {
        let (_, verdict) = answer.split_once('\t').expect("a verdict");
        if verdict == "ok" {
            n_judged += 1;
        } else if let Some(why) = verdict.strip_prefix("unjudged: ") {
            *unjudged.entry(why.chars().take(60).collect()).or_default() += 1;
        } else {
            problems.push(answer.clone());
        }
    }
    println!(
        "{n_written} written, {n_judged} judged right, {n_refused} not expressible; unjudged {unjudged:#?}, left out {left_out:#?}"
    );
    none_of(&problems);
    assert!(n_judged * 10 >= n_written * 9, "{n_judged} of {n_written} are judged");
}
