//! Shape inference beside ONNX's own, `onnx.shape_inference.infer_shapes` with data propagation, and beside true shapes.
//!
//! Both infer from inputs and weights alone: what a file declares of its results is taken away first. Every value of the main
//! graph of every model is compared. Where ONNX says more, or something else, `tests/shape_inference.diff` says why that is
//! accepted: a difference that is not listed fails the test, and so does a line that no longer holds. Nothing excuses a type
//! that a value of a run contradicts.
//!
//! The models are ONNX's backend tests, those of its package whose weights are left out, and those of `papers/models`.

use crate::suite::{python, root, suite};
use eutectic::conformance::{LoadedCase, find_cases};
use eutectic::files;
use eutectic::ir::eval::{Datum, run_values};
use eutectic::ir::graph::Def;
use eutectic::ir::value::Value;
use eutectic::ir::{Dim, Element, Model, Name, Tensor, TensorType, Type, infer};
use eutectic::onnx::{ExportOptions, Limits, Policy};
use expect_test::expect_file;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const HEAD: &str = "\
# Where our shape inference and ONNX's disagree: class, operator that defines the values, cases (* for any text in either),
# number of values, argument; separated by tabs. Classes: `less`, ONNX knows a rank, dim or element type that we do not;
# `other`, no value has both types; `refuted`, a run contradicts ONNX; `unread`, we do not read the model or type a call.
# `UPDATE_EXPECT=1 cargo test --test all shape_inference::` brings the list up to date: lines that still hold keep their argument,
# new ones get the two types and wait for one, without which the test fails.
";

/// What stands where an argument is yet to be written.
const UNARGUED: &str = "unargued: ";

/// How our type of a value stands to ONNX's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Equal,
    More,
    Less,
    Other,
    /// A run contradicts ONNX's.
    Refuted,
    /// We do not read the model, or do not type a call.
    Unread,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Equal => "equal",
            Class::More => "more",
            Class::Less => "less",
            Class::Other => "other",
            Class::Refuted => "refuted",
            Class::Unread => "unread",
        })
    }
}

/// The class of `ours` beside `theirs`, the worst of its parts.
fn class_of(ours: Option<&Type>, theirs: Option<&Type>) -> Class {
    match (ours, theirs) {
        (None, None) => Class::Equal,
        (Some(_), None) => Class::More,
        (None, Some(_)) => Class::Less,
        (Some(Type::Sequence(a)), Some(Type::Sequence(b))) => class_of(Some(a), Some(b)),
        (Some(Type::Optional(a)), Some(Type::Optional(b))) => class_of(Some(a), Some(b)),
        (Some(a @ (Type::Tensor(_) | Type::Unranked(_))), Some(b @ (Type::Tensor(_) | Type::Unranked(_))))
            if a.element() == b.element() =>
        {
            class_of_shapes(a.tensor(), b.tensor())
        }
        _ => Class::Other,
    }
}

fn class_of_shapes(ours: Option<&TensorType>, theirs: Option<&TensorType>) -> Class {
    match (ours, theirs) {
        (None, None) => Class::Equal,
        (Some(_), None) => Class::More,
        (None, Some(_)) => Class::Less,
        (Some(a), Some(b)) if a.rank() != b.rank() => Class::Other,
        (Some(a), Some(b)) => {
            let dims = a.shape.iter().zip(&b.shape);
            dims.map(|(a, b)| class_of_dims(a, b)).max().unwrap_or(Class::Equal)
        }
    }
}

/// A number says more than an expression, and an expression more than nothing. Two expressions are two names of one size, as
/// far as a run of the model shows, which both are held against.
fn class_of_dims(ours: &Dim, theirs: &Dim) -> Class {
    match (ours.as_known(), theirs.as_known()) {
        (Some(a), Some(b)) => {
            if a == b {
                Class::Equal
            } else {
                Class::Other
            }
        }
        (Some(_), None) => Class::More,
        (None, Some(_)) => Class::Less,
        (None, None) => match (ours.is_unknown(), theirs.is_unknown()) {
            (false, true) => Class::More,
            (true, false) => Class::Less,
            _ => Class::Equal,
        },
    }
}

/// A type as `tests/python/inference.py` describes it; its unknown dims are unknown ones here.
fn described(json: &serde_json::Value) -> Option<Type> {
    if let Some(item) = json.get("sequence") {
        return Some(described(item)?.sequence());
    }
    if let Some(item) = json.get("optional") {
        return Some(described(item)?.optional());
    }
    let tensor = json.get("tensor")?;
    let code = tensor[0].as_i64().and_then(|code| i32::try_from(code).ok());
    let element = code.and_then(Element::from_code).expect("an element type");
    let Some(shape) = tensor[1].as_array() else { return Some(Type::Unranked(element)) };
    let dim = |(axis, dim): (usize, &serde_json::Value)| match (dim.as_i64(), dim.as_str()) {
        (Some(size), _) => Dim::known(size),
        (None, Some(name)) => Dim::parse(name).unwrap_or_else(|| Dim::symbol(name)),
        (None, None) => Dim::fresh("onnx", axis),
    };
    Some(TensorType::new(element, shape.iter().enumerate().map(dim)).into())
}

/// What is known of the inputs of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Variant {
    name: &'static str,
    /// Inputs after the first that are short vectors or scalars are weights.
    constant: bool,
    /// Every dim of the other inputs is a symbol of its own.
    symbolic: bool,
}

const VARIANTS: [Variant; 4] = [
    Variant { name: "", constant: false, symbolic: false },
    Variant { name: "symbolic", constant: false, symbolic: true },
    Variant { name: "constant", constant: true, symbolic: false },
    Variant { name: "constant symbolic", constant: true, symbolic: true },
];

/// Longer vectors are data rather than parameters.
const LONGEST: usize = 16;

impl Variant {
    /// Changes what `model` says of its inputs, given values for them. `tests/python/inference.py` does the same.
    fn apply(self, model: &mut Model, values: &[Option<Value<Tensor>>]) {
        for (at, id) in model.graph.inputs().to_vec().into_iter().enumerate() {
            let Some(declared @ (Type::Tensor(_) | Type::Unranked(_))) = model.graph.value(id).ty.clone() else {
                continue;
            };
            match values.get(at) {
                Some(Some(Value::Tensor(tensor)))
                    if self.constant && at > 0 && tensor.shape().len() <= 1 && tensor.count() <= LONGEST =>
                {
                    let weight = model.graph.add_weight("", tensor.clone());
                    model.graph.replace_uses(id, weight);
                }
                _ if self.symbolic => {
                    if let Some(ty) = declared.into_tensor() {
                        let dims = (0..ty.rank()).map(|axis| Dim::symbol(format!("d{at}_{axis}")));
                        model.graph.value_mut(id).ty = Some(TensorType::new(ty.element, dims).into());
                    }
                }
                _ => {}
            }
        }
    }
}

/// What ONNX infers of the values of each of the models, under each variant; `None` without Python.
fn inferred_by_onnx(models: &[(PathBuf, &str)]) -> Option<Vec<BTreeMap<String, Option<Type>>>> {
    let script = root().join("tests/python/inference.py");
    let mut child = Command::new(python()?)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut input = child.stdin.take().expect("piped");
    let lines: String = models.iter().map(|(path, variant)| format!("{}\t{variant}\n", path.display())).collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it listens");
    assert!(output.status.success(), "inference.py failed");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let types = |line: &str| {
        let json: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).expect("JSON");
        json.into_iter().map(|(name, ty)| (name, described(&ty))).collect()
    };
    let found: Vec<_> = text.lines().map(types).collect();
    assert_eq!(found.len(), models.len());
    Some(found)
}

/// Element type and shape of each tensor in a value of a run.
type Shape = Value<(Element, Vec<usize>)>;

/// The value of each input, by position; those without data are left to their defaults.
fn by_position(model: &Model, given: &[(Name, Value<Tensor>)]) -> Vec<Option<Value<Tensor>>> {
    let value = |&id| {
        let name = &model.graph.value(id).name;
        given.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone())
    };
    model.graph.inputs().iter().map(value).collect()
}

/// The shape that every named value has in a run of the reference interpreter; of a model that it does not run, those of the
/// outputs that the case expects.
fn true_shapes(
    model: &Model,
    inputs: &[Option<Value<Tensor>>],
    expected: &[(Name, Value<Tensor>)],
) -> BTreeMap<String, Shape> {
    let shape = |tensor: &Tensor| Ok::<_, ()>((tensor.element(), tensor.shape().to_vec()));
    let shapes_of = |(name, value): &(Name, Value<Tensor>)| Some((name.to_string(), value.try_map(&mut &shape).ok()?));
    let mut shapes: BTreeMap<String, Shape> = expected.iter().filter_map(shapes_of).collect();
    let mut whole = model.clone();
    let results =
        model.graph.values().filter(|(_, value)| matches!(value.def(), Def::Result(..)) && !value.name.is_empty());
    for (id, value) in results {
        whole.graph.add_output(value.name.clone(), id);
    }
    if let Ok(values) = run_values::<f32>(&whole, inputs) {
        for (output, value) in whole.graph.outputs().iter().zip(values) {
            let shape = |datum: &Datum<f32>| Ok::<_, ()>((datum.element, datum.shape.clone()));
            if let Ok(shape) = value.try_map(&mut &shape) {
                shapes.entry(output.name.to_string()).or_insert(shape);
            }
        }
    }
    shapes
}

/// The sizes that the symbols of the inputs have in a run. A symbol that the data gives two sizes is left out.
fn sizes_of_symbols(model: &Model, inputs: &[Option<Value<Tensor>>]) -> BTreeMap<String, i64> {
    let mut sizes: BTreeMap<String, Option<i64>> = BTreeMap::new();
    for (&id, value) in model.graph.inputs().iter().zip(inputs) {
        let (Some(ty), Some(Value::Tensor(tensor))) = (model.graph.ty(id), value) else { continue };
        for (dim, &size) in ty.shape.iter().zip(tensor.shape()) {
            let Some(name) = dim.as_symbol() else { continue };
            let size = i64::try_from(size).ok();
            let known = sizes.entry(name.to_string()).or_insert(size);
            if *known != size {
                *known = None;
            }
        }
    }
    sizes.into_iter().filter_map(|(name, size)| Some((name, size?))).collect()
}

/// True when a value of type `ty` has such a shape, the symbols being of `sizes` where they are known.
fn admits(ty: &Type, shape: &Shape, sizes: &BTreeMap<String, i64>) -> bool {
    match (ty, shape) {
        (Type::Sequence(item), Value::Sequence(items)) => items.iter().all(|value| admits(item, value, sizes)),
        (Type::Optional(_), Value::Optional(None)) => true,
        (Type::Optional(item), Value::Optional(Some(value))) => admits(item, value, sizes),
        // A file says of a value that is there what it holds.
        (Type::Optional(item), value) => admits(item, value, sizes),
        (Type::Unranked(element), Value::Tensor((found, _))) => element == found,
        (Type::Tensor(ty), Value::Tensor((element, shape))) => {
            let fits = |(dim, &size): (&Dim, &usize)| {
                let value = dim.substitute(&|name| sizes.get(name).copied().map(Dim::known));
                value.is_some_and(|value| value.as_known().is_none_or(|value| value == size as i64))
            };
            ty.element == *element && ty.rank() == shape.len() && ty.shape.iter().zip(shape).all(fits)
        }
        _ => false,
    }
}

/// Takes away what `model` declares of its results.
fn forget_results(model: &mut Model) {
    let results: Vec<_> =
        model.graph.values().filter(|(_, value)| matches!(value.def(), Def::Result(..))).map(|(id, _)| id).collect();
    for id in results {
        model.graph.value_mut(id).ty = None;
    }
}

/// What we infer of a value of the main graph, and the operator that defines it.
#[derive(Clone, Debug, Default)]
struct Ours {
    ty: Option<Type>,
    operator: String,
}

/// What we infer of every named value of the main graph of `model`. Errors: calls that are not typed, in words.
fn inferred_by_us(model: &mut Model) -> Result<BTreeMap<String, Ours>, String> {
    forget_results(model);
    let (facts, problems) = infer::infer(model);
    if problems.has_errors() {
        return Err(problems.to_string());
    }
    let graph = &model.graph;
    let ours = |id| {
        let operator = graph.producer(id).map(|(node, _)| graph.node(node).op.to_string());
        let ty = facts.get(id).map(|fact| fact.ty.clone());
        Ours { ty, operator: operator.unwrap_or_else(|| "-".into()) }
    };
    let values = graph.values().map(|(id, value)| (value.name.clone(), id));
    let outputs = graph.outputs().iter().map(|output| (output.name.clone(), output.value));
    let named = values.chain(outputs).filter(|(name, _)| !name.is_empty());
    Ok(named.map(|(name, id)| (name.to_string(), ours(id))).collect())
}

/// Where one value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    class: Class,
    case: String,
    operator: String,
    detail: String,
}

/// A model, and what is known of its runs.
struct Subject {
    name: String,
    model: Model,
    inputs: Vec<Option<Value<Tensor>>>,
    shapes: BTreeMap<String, Shape>,
}

#[derive(Default)]
struct Report {
    tally: BTreeMap<Class, usize>,
    /// Types of ours that were held against a run.
    checked: usize,
    findings: Vec<Finding>,
    /// Types of ours that a run contradicts.
    wrong: Vec<String>,
}

impl Report {
    fn add(mut self, other: Report) -> Report {
        other.tally.into_iter().for_each(|(class, n)| *self.tally.entry(class).or_default() += n);
        self.checked += other.checked;
        self.findings.extend(other.findings);
        self.wrong.extend(other.wrong);
        self
    }
}

/// Compares every value that ONNX knows in the file, and holds both beside the run.
fn compare(subject: &Subject, variant: Variant, theirs: &BTreeMap<String, Option<Type>>) -> Report {
    let case = [subject.name.as_str(), variant.name].join(if variant.name.is_empty() { "" } else { " " });
    let mut report = Report::default();
    let mut model = subject.model.clone();
    variant.apply(&mut model, &subject.inputs);
    let sizes = sizes_of_symbols(&model, &subject.inputs);
    let ours = match inferred_by_us(&mut model) {
        Ok(ours) => ours,
        Err(problems) => {
            report.findings.push(unread(&case, &problems));
            return report;
        }
    };
    let shown = |ty: Option<&Type>| ty.map_or("?".to_string(), Type::to_string);
    for (name, ours) in &ours {
        if let (Some(ty), Some(shape)) = (&ours.ty, subject.shapes.get(name)) {
            report.checked += 1;
            if !admits(ty, shape, &sizes) {
                let line = format!("{case}: `{name}` of {} is inferred {ty}, a run gives {shape:?}", ours.operator);
                report.wrong.push(line);
            }
        }
    }
    for (name, theirs) in theirs {
        let nothing = Ours::default();
        // A value that import leaves out is read by nobody.
        let Some(ours) = ours.get(name).or_else(|| theirs.as_ref().map(|_| &nothing)) else { continue };
        let class = class_of(ours.ty.as_ref(), theirs.as_ref());
        let is_refuted = |ty: &Type| subject.shapes.get(name).is_some_and(|shape| !admits(ty, shape, &sizes));
        let class = if theirs.as_ref().is_some_and(is_refuted) { Class::Refuted } else { class };
        *report.tally.entry(class).or_default() += 1;
        if class >= Class::Less {
            report.findings.push(Finding {
                class,
                case: case.clone(),
                operator: ours.operator.clone(),
                detail: format!("`{name}`: onnx {}, ours {}", shown(theirs.as_ref()), shown(ours.ty.as_ref())),
            });
        }
    }
    report
}

fn unread(case: &str, why: &str) -> Finding {
    Finding { class: Class::Unread, case: case.into(), operator: "-".into(), detail: why.into() }
}

/// The report on ONNX's backend tests; `None` without Python.
fn report_on_suite() -> Option<Report> {
    let cases = find_cases(suite()?).expect("cases");
    assert!(cases.len() > 2_000, "{} cases", cases.len());
    let files = cases.iter().map(|case| case.folder.join("model.onnx"));
    let asked: Vec<_> = files.flat_map(|path| VARIANTS.map(|variant| (path.clone(), variant.name))).collect();
    let theirs = inferred_by_onnx(&asked)?;
    let judged = cases.par_iter().zip(theirs.par_chunks(VARIANTS.len())).map(|(case, theirs)| {
        let loaded = match LoadedCase::load(&case.folder, &Limits::stated(), &Policy::interactive()) {
            Ok(loaded) => loaded,
            Err(problems) => {
                let findings = vec![unread(&case.name, &problems.to_string())];
                return Report { findings, ..Report::default() };
            }
        };
        let inputs = by_position(&loaded.model, &loaded.data[0].inputs);
        let shapes = true_shapes(&loaded.model, &inputs, &loaded.data[0].outputs);
        let subject = Subject { name: case.name.clone(), model: loaded.model, inputs, shapes };
        let each = VARIANTS.iter().zip(theirs).map(|(&variant, theirs)| compare(&subject, variant, theirs));
        each.fold(Report::default(), Report::add)
    });
    Some(judged.reduce(Report::default, Report::add))
}

/// Files in `folder` whose names end so, by name.
fn files_in(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|is| is == extension)).collect();
    found.sort();
    found
}

/// The models of the installed package whose weights are computed by nodes.
fn light_models() -> Vec<PathBuf> {
    let libraries = std::fs::read_dir(root().join(".venv/lib")).expect("a virtual environment").flatten();
    let data = "site-packages/onnx/backend/test/data/light";
    let folder = libraries.map(|entry| entry.path().join(data)).find(|path| path.exists()).expect("the package onnx");
    files_in(&folder, "onnx")
}

/// The report on whole networks; `None` without Python.
fn report_on_networks() -> Option<Report> {
    python()?;
    let folder = tempfile::tempdir().expect("a folder");
    let load = |path: &Path| {
        files::load(path, &Limits::stated(), false).map_err(|problems| problems.to_string()).expect("it reads").0
    };
    let mut models = light_models();
    for path in files_in(&root().join("papers/models"), "onnxtxt") {
        let file = folder.path().join(path.with_extension("onnx").file_name().expect("a name"));
        // Weights stay out of the file that ONNX reads: it asks for their types only.
        let options = ExportOptions { opset: None, external_data: true };
        files::save(&load(&path), &file, &options).map_err(|problems| problems.to_string()).expect("it writes");
        models.push(file);
    }
    let asked: Vec<_> = models.iter().map(|path| (path.clone(), "")).collect();
    let theirs = inferred_by_onnx(&asked)?;
    let judged = models.iter().zip(&theirs).map(|(path, theirs)| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let (model, inputs, shapes) = (load(path), Vec::new(), BTreeMap::new());
        compare(&Subject { name: format!("network/{name}"), model, inputs, shapes }, VARIANTS[0], theirs)
    });
    Some(judged.fold(Report::default(), Report::add))
}

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    class: String,
    operator: String,
    cases: String,
    n_values: usize,
    argument: String,
}

impl Line {
    fn parse(line: &str) -> Line {
        let parts: Vec<&str> = line.splitn(5, '\t').collect();
        let [class, operator, cases, n_values, argument] = parts[..] else { panic!("expected five parts: `{line}`") };
        let n_values = n_values.parse().expect("a number");
        Line {
            class: class.into(),
            operator: operator.into(),
            cases: cases.into(),
            n_values,
            argument: argument.into(),
        }
    }

    fn covers(&self, finding: &Finding) -> bool {
        let class = finding.class.to_string();
        self.class == class && fits(&self.operator, &finding.operator) && fits(&self.cases, &finding.case)
    }

    fn shown(&self) -> String {
        format!("{}\t{}\t{}\t{}\t{}\n", self.class, self.operator, self.cases, self.n_values, self.argument)
    }
}

/// Whether `text` is `pattern` with something, or nothing, for each `*`.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text
            .strip_prefix(head)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.is_char_boundary(at) && fits(tail, &rest[at..]))),
    }
}

/// The list that the findings ask for: old lines that cover some, and new ones for what none covers.
fn updated(old: &[Line], findings: &[Finding]) -> Vec<Line> {
    let count = |line: &Line| findings.iter().filter(|finding| line.covers(finding)).count();
    let old = old.iter().map(|line| Line { n_values: count(line), ..line.clone() });
    let mut lines: Vec<Line> = old.filter(|line| line.n_values > 0).collect();
    for finding in findings {
        if !lines.iter().any(|line| line.covers(finding)) {
            let mut line = Line {
                class: finding.class.to_string(),
                operator: finding.operator.clone(),
                cases: finding.case.clone(),
                n_values: 0,
                argument: format!("{UNARGUED}{}", finding.detail.replace(['\t', '\n'], " ")),
            };
            line.n_values = count(&line);
            lines.push(line);
        }
    }
    lines.sort();
    lines
}

#[test]
fn no_run_contradicts_an_inferred_type_and_what_onnx_knows_beyond_is_listed() {
    let Some(report) = report_on_suite().zip(report_on_networks()).map(|(a, b)| a.add(b)) else { return };
    println!("{:?}; {} types held against runs", report.tally, report.checked);
    assert!(report.checked > 40_000, "{} types held against runs", report.checked);
    assert!(report.wrong.is_empty(), "runs contradict what is inferred:\n{}", report.wrong.join("\n"));
    let file = root().join("tests/shape_inference.diff");
    let listed = std::fs::read_to_string(&file).unwrap_or_default();
    let old: Vec<Line> =
        listed.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(Line::parse).collect();
    let lines = updated(&old, &report.findings);
    let text: String = std::iter::once(HEAD.to_string()).chain(lines.iter().map(Line::shown)).collect();
    expect_file![file].assert_eq(&text);
    let unargued: Vec<String> =
        lines.iter().filter(|line| line.argument.starts_with(UNARGUED)).map(Line::shown).collect();
    assert!(unargued.is_empty(), "these lines lack an argument:\n{}", unargued.concat());
}

fn finding(case: &str) -> Finding {
    Finding { class: Class::Less, case: case.into(), operator: "Scan".into(), detail: "types".into() }
}

#[test]
fn a_line_lasts_as_long_as_it_covers_something_and_counts_it() {
    let line = |text: &str| Line::parse(text);
    let old = [line("less\tScan\ta*\t1\twhy"), line("less\tLoop\t*\t1\tgone")];
    let found = updated(&old, &[finding("a1"), finding("a2"), finding("b")]);
    assert_eq!(found, [line("less\tScan\ta*\t2\twhy"), line("less\tScan\tb\t1\tunargued: types")]);
}

#[test]
fn dims_are_compared_by_what_they_say() {
    let class = |ours: &str, theirs: &str| {
        class_of_dims(&Dim::parse(ours).expect(ours), &Dim::parse(theirs).unwrap_or_else(|| Dim::symbol(theirs)))
    };
    assert_eq!(class("3", "3"), Class::Equal);
    assert_eq!(class("3", "4"), Class::Other);
    assert_eq!(class("3", "n"), Class::More);
    assert_eq!(class("2*n", "?"), Class::More);
    assert_eq!(class("n", "3"), Class::Less);
    assert_eq!(class("n", "m"), Class::Equal);
}
