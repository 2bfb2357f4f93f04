//! Conformance: a model with inputs and expected outputs, run through a part of the framework.
//!
//! A case is a folder as ONNX's backend tests have them: `model.onnx` and any number of
//! `test_data_set_*/{input,output}_*.pb`. A file `tolerance.json` beside the model, `{"rtol": .., "atol": ..}`, states a
//! tolerance of its own.

mod case;
mod compare;
pub(crate) mod guard;
#[cfg(feature = "lowering")]
pub mod tensorrt;

pub use case::{Case, DataSet, LoadedCase, find_cases};
pub use compare::{Tolerance, difference, kind};

use crate::backend::{self, Program};
use crate::certificate::run_values_on_cpu;
use crate::cuda::{Cuda, Precision};
use crate::fused::{self, Wanted};
use crate::ir::diag::{Diagnostic, Diagnostics, Kind, Severity};
use crate::ir::eval::{Datum, Scalar, run_values};
use crate::ir::value::Value;
use crate::ir::{Element, Graph, Model, Op, Tensor};
use crate::onnx::{ExportOptions, Limits, Policy};
use crate::passes::optimize::{Engine, Extract, Options, optimize};
use crate::passes::regions::Fusions;
use crate::passes::saturate;
use crate::passes::target::Target;
use clap::ValueEnum;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a case is run through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Through {
    /// The reference interpreter in single precision
    Interp,
    /// The CPU backend
    Cpu,
    /// The CUDA backend in single precision, on the first GPU
    Cuda,
    /// Export and import, which a second export must confirm byte by byte; then the interpreter
    Roundtrip,
    /// Lowered to TensorRT and built for one GPU, not run
    #[cfg(feature = "lowering")]
    Tensorrt,
    /// Equality saturation for the target portable, then the interpreter
    Optimize,
    /// Greedy rewriting for the target portable, then the interpreter
    Greedy,
}

impl Through {
    /// Every path that needs no device, the interpreter first.
    pub const ALL: [Through; 5] =
        [Through::Interp, Through::Cpu, Through::Roundtrip, Through::Optimize, Through::Greedy];

    /// Its name on the command line and in skip lists.
    pub fn name(self) -> &'static str {
        match self {
            Through::Interp => "interp",
            Through::Cpu => "cpu",
            Through::Cuda => "cuda",
            Through::Roundtrip => "roundtrip",
            #[cfg(feature = "lowering")]
            Through::Tensorrt => "tensorrt",
            Through::Optimize => "optimize",
            Through::Greedy => "greedy",
        }
    }
}

impl fmt::Display for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every output of every data set is the expected one.
    Passed,
    /// Something is wrong, and what.
    Failed(String),
    /// It was built, but only for some of the inputs, and for which.
    Specialized(String),
    /// The case needs something that is not supported, and what.
    Skipped(String),
}

impl Verdict {
    /// `passed`, `failed`, `specialized` or `skipped`.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed(_) => "failed",
            Verdict::Specialized(_) => "specialized",
            Verdict::Skipped(_) => "skipped",
        }
    }

    /// Why it was not passed.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Verdict::Passed => None,
            Verdict::Failed(reason) | Verdict::Specialized(reason) | Verdict::Skipped(reason) => Some(reason),
        }
    }
}

impl From<Diagnostics> for Verdict {
    /// The first error: what is not supported is skipped, everything else is a failure.
    fn from(problems: Diagnostics) -> Self {
        let error = problems.0.iter().find(|problem| problem.severity == Severity::Error);
        let Some(error) = error else { return Verdict::Failed("an error without a message".into()) };
        if error.kind == Kind::Unsupported {
            Verdict::Skipped(in_words(error))
        } else {
            Verdict::Failed(in_words(error))
        }
    }
}

/// One line, the same wherever the files lie.
fn in_words(error: &Diagnostic) -> String {
    let notes: String = error.notes.iter().take(1).map(|note| format!(" ({note})")).collect();
    format!("{}: {}{notes}", error.code, error.message)
}

/// How cases are run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The budgets under which files are read.
    pub limits: Limits,
    /// How far reading a model may go beyond its file.
    pub policy: Policy,
    /// What saturation is given.
    pub saturate: Options,
    /// What greedy rewriting is given.
    pub greedy: Options,
    /// Most time for one case on one path; one that takes longer fails.
    pub time: Duration,
    /// Cases that run at a time.
    pub n_threads: usize,
    /// What builds for [`Through::Tensorrt`], which is skipped without.
    #[cfg(feature = "lowering")]
    pub builds: Option<Arc<tensorrt::Builds>>,
}

impl Settings {
    /// Both engines with every built-in rule, saturation under `budget`.
    ///
    /// Errors: a built-in rule does not load, which a test rules out.
    pub fn new(
        limits: Limits,
        policy: Policy,
        budget: saturate::Limits,
        time: Duration,
        n_threads: usize,
    ) -> Result<Self, Diagnostics> {
        let standard = Options::standard(Target::Portable)?;
        let saturate =
            Options { engine: Engine::Saturate { limits: budget, extract: Extract::Dag }, ..standard.clone() };
        Ok(Self {
            limits,
            policy,
            saturate,
            greedy: Options { engine: Engine::Greedy, ..standard },
            time,
            n_threads,
            #[cfg(feature = "lowering")]
            builds: None,
        })
    }
}

/// Runs every case through every path, several at a time; the verdicts stand in the order of `paths`, case by case.
///
/// A panic and a case that takes too long are failures of that case on that path. Errors: no threads can be started.
pub fn run(cases: &[Case], paths: &[Through], settings: &Arc<Settings>) -> Result<Vec<Vec<Verdict>>, Diagnostic> {
    // The kernels of the CPU backend run on the global pool: a case that waits for them must not hold one of its threads.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(settings.n_threads).build().map_err(|error| {
        Diagnostic::error(Kind::Limit, "C0154", format!("the threads for the cases cannot be started: {error}"))
    })?;
    Ok(pool.install(|| cases.par_iter().map(|case| run_case(case, paths, settings)).collect()))
}

fn run_case(case: &Case, paths: &[Through], settings: &Arc<Settings>) -> Vec<Verdict> {
    let (folder, how) = (case.folder.clone(), Arc::clone(settings));
    let loaded = guard::run(settings.time, move || LoadedCase::load(&folder, &how.limits, &how.policy).map(Arc::new));
    let loaded = loaded.map_err(Verdict::Failed).and_then(|loaded| loaded.map_err(Verdict::from));
    let verdict = |&through: &Through| match &loaded {
        Err(verdict) => verdict.clone(),
        Ok(loaded) => {
            let (loaded, settings) = (Arc::clone(loaded), Arc::clone(settings));
            guard::run(settings.time, move || run_loaded(&loaded, through, &settings)).unwrap_or_else(Verdict::Failed)
        }
    };
    paths.iter().map(verdict).collect()
}

/// Runs one case through one path.
fn run_loaded(case: &LoadedCase, through: Through, settings: &Settings) -> Verdict {
    match verdict(case, through, settings) {
        Ok(()) => Verdict::Passed,
        Err(verdict) => verdict,
    }
}

fn verdict(case: &LoadedCase, through: Through, settings: &Settings) -> Result<(), Verdict> {
    #[cfg(feature = "lowering")]
    if through == Through::Tensorrt {
        let builds = settings.builds.as_ref().ok_or_else(|| Verdict::Skipped("no worker builds".into()))?;
        return tensorrt::verdict(case, builds);
    }
    let model = match through {
        Through::Roundtrip => round_trip(&case.model, &settings.limits)?,
        Through::Optimize => rewritten(&case.model, &settings.saturate)?,
        Through::Greedy => rewritten(&case.model, &settings.greedy)?,
        _ => case.model.clone(),
    };
    can_run(&model).map_err(Verdict::Skipped)?;
    for data in &case.data {
        let inputs = by_position(&model, &data.inputs)?;
        let outputs = match through {
            Through::Cpu => on_cpu(&model, &inputs),
            Through::Cuda => on_cuda(&model, &inputs),
            _ => interpret(&model, &inputs),
        };
        model.intact()?;
        check(&model, &outputs?, data, case.tolerance)
            .map_err(|what| Verdict::Failed(format!("{}: {what}", data.name)))?;
    }
    Ok(())
}

/// The model after export and import, once a second export is the same file.
fn round_trip(model: &Model, limits: &Limits) -> Result<Model, Verdict> {
    const EXPORT: ExportOptions = ExportOptions { opset: None, external_data: false };
    let refused = |what: &str, problems: Diagnostics| match Verdict::from(problems) {
        Verdict::Passed => Verdict::Passed,
        Verdict::Failed(reason) | Verdict::Specialized(reason) | Verdict::Skipped(reason) => {
            Verdict::Failed(format!("{what}: {reason}"))
        }
    };
    let first = crate::onnx::to_bytes(model, &EXPORT).map_err(|problems| refused("export", problems))?;
    let again = crate::onnx::from_bytes(first.clone().into(), limits, &Policy::interactive());
    let (again, _) = again.map_err(|problems| refused("import of the export", problems))?;
    let second = crate::onnx::to_bytes(&again, &EXPORT).map_err(|problems| refused("second export", problems))?;
    if first != second {
        return Err(Verdict::Failed("a second export differs from the first".into()));
    }
    Ok(again)
}

/// The model after an engine.
fn rewritten(model: &Model, options: &Options) -> Result<Model, Verdict> {
    let mut model = model.clone();
    let options = options.clone().admitting(&model);
    let report = optimize(&mut model, &options).map_err(|problems| match Verdict::from(problems) {
        Verdict::Skipped(reason) => Verdict::Failed(reason),
        verdict => verdict,
    })?;
    match report.conflicts.first() {
        None => Ok(model),
        Some(conflict) => {
            let rule = conflict.rule.as_deref().unwrap_or("congruence");
            Err(Verdict::Failed(format!("`{rule}` equated {} with {}", conflict.left, conflict.right)))
        }
    }
}

/// Errors: operators of the model, its bodies and functions that the interpreter cannot run, all of them by name.
fn can_run(model: &Model) -> Result<(), String> {
    fn walk(graph: &Graph, unknown: &mut BTreeSet<String>, silent: &mut BTreeSet<String>) {
        for (_, node) in graph.nodes() {
            match &node.op {
                Op::Builtin(def) if def.eval.given => {}
                Op::Builtin(def) => drop(silent.insert(def.name.to_string())),
                Op::Function(function) => walk(&function.body, unknown, silent),
                Op::Opaque(_) => drop(unknown.insert(node.op.to_string())),
            }
            node.bodies().for_each(|body| walk(body, unknown, silent));
        }
    }
    let (mut unknown, mut silent) = (BTreeSet::new(), BTreeSet::new());
    walk(&model.graph, &mut unknown, &mut silent);
    let listed = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
    if !unknown.is_empty() {
        return Err(format!("not in the operator table: {}", listed(unknown)));
    }
    if !silent.is_empty() {
        return Err(format!("without reference semantics: {}", listed(silent)));
    }
    Ok(())
}

/// The value of each input of the model, those that the data leaves out being left to their defaults.
fn by_position(model: &Model, given: &[case::Named]) -> Result<Vec<Option<Value<Tensor>>>, Verdict> {
    let mut inputs: Vec<Option<Value<Tensor>>> = vec![None; model.graph.inputs().len()];
    for (name, value) in given {
        let at = model.graph.inputs().iter().position(|&id| model.graph.value(id).name == *name);
        let at = at.ok_or_else(|| Verdict::Failed(format!("the model has no input `{name}`")))?;
        inputs[at] = Some(value.clone());
    }
    Ok(inputs)
}

fn interpret(model: &Model, inputs: &[Option<Value<Tensor>>]) -> Result<Vec<Value<Tensor>>, Verdict> {
    // Single precision holds all numbers but doubles.
    let is_double = |ty: &Option<crate::ir::Type>| ty.as_ref().is_some_and(|ty| ty.element() == Element::Double);
    if model.graph.values().any(|(_, value)| is_double(&value.ty)) {
        interpret_in::<f64>(model, inputs)
    } else {
        interpret_in::<f32>(model, inputs)
    }
}

fn interpret_in<S: Scalar>(model: &Model, inputs: &[Option<Value<Tensor>>]) -> Result<Vec<Value<Tensor>>, Verdict> {
    let outputs = run_values::<S>(model, inputs).map_err(|error| Verdict::Failed(error.to_string()))?;
    let host = |(at, output): (usize, &Value<Datum<S>>)| {
        output.try_map(&mut Datum::to_tensor).map_err(|reason| Verdict::Failed(format!("output {at}: {reason}")))
    };
    outputs.iter().enumerate().map(host).collect()
}

fn on_cpu(model: &Model, inputs: &[Option<Value<Tensor>>]) -> Result<Vec<Value<Tensor>>, Verdict> {
    run_values_on_cpu(model, inputs).map_err(Verdict::from)
}

fn on_cuda(model: &Model, inputs: &[Option<Value<Tensor>>]) -> Result<Vec<Value<Tensor>>, Verdict> {
    let given: Vec<Tensor> = as_tensors(inputs)?.into_iter().map_while(|input| input).collect();
    let cuda = Cuda { precision: Precision::F32, cache: None };
    let wanted = Wanted { fusions: &Fusions::all(), memory: 8 << 30 };
    let outputs = fused::prepare_for(&cuda, model, wanted, &given)?.run(&given);
    let outputs = outputs.map_err(|backend::Error(problems)| Verdict::from(problems))?;
    Ok(outputs.into_iter().map(Value::Tensor).collect())
}

/// The inputs as tensors, which is all that backends take.
fn as_tensors(inputs: &[Option<Value<Tensor>>]) -> Result<Vec<Option<Tensor>>, Verdict> {
    let one = |input: &Option<Value<Tensor>>| match input {
        None => Ok(None),
        Some(Value::Tensor(tensor)) => Ok(Some(tensor.clone())),
        Some(other) => Err(Verdict::Skipped(format!("{} as an input", kind(other)))),
    };
    inputs.iter().map(one).collect()
}

fn check(model: &Model, outputs: &[Value<Tensor>], data: &DataSet, tolerance: Tolerance) -> Result<(), String> {
    if outputs.len() != data.outputs.len() {
        return Err(format!("expected {} outputs, found {}", data.outputs.len(), outputs.len()));
    }
    for ((name, expected), (found, output)) in data.outputs.iter().zip(outputs.iter().zip(model.graph.outputs())) {
        if output.name != *name {
            return Err(format!("expected the output `{name}`, found `{}`", output.name));
        }
        if let Some(what) = difference(found, expected, tolerance) {
            return Err(format!("output `{name}`: {what}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;
    use crate::ir::text::parse_model;
    use std::path::Path;

    #[test]
    fn what_is_not_supported_is_skipped_and_everything_else_fails() {
        let error = |kind| Diagnostics::from(Diagnostic::error(kind, "X0001", "why"));
        assert_eq!(Verdict::from(error(Kind::Unsupported)), Verdict::Skipped("X0001: why".into()));
        assert_eq!(Verdict::from(error(Kind::Invalid)), Verdict::Failed("X0001: why".into()));
    }

    /// A `TensorProto` of a few floats, as bytes: dims, element type, raw data.
    fn floats(values: &[f32]) -> Vec<u8> {
        let length = values.len() as u8;
        let mut bytes = vec![0x08, length, 0x10, 0x01, 0x4a, 4 * length];
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        bytes
    }

    /// A case whose only node is `node`, with the input -1, 2 and this output.
    fn write_case(folder: &Path, node: &str, output: &[f32]) {
        let data = folder.join("test_data_set_0");
        std::fs::create_dir_all(&data).expect("a folder");
        let text = format!(
            "<ir_version: 10, opset_import: [\"\" : 20, \"other\" : 1]>\n\
             agraph (float[2] x) => (float[2] y) {{ y = {node} (x) }}"
        );
        let (model, _) = parse_model(&text).map_err(|problems| problems.to_string()).expect("it parses");
        let options = ExportOptions { opset: None, external_data: false };
        files::save(&model, &folder.join("model.onnx"), &options).expect("it writes");
        std::fs::write(data.join("input_0.pb"), floats(&[-1.0, 2.0])).expect("it writes");
        std::fs::write(data.join("output_0.pb"), floats(output)).expect("it writes");
    }

    fn run_all(root: &Path) -> (Vec<String>, Vec<Vec<Verdict>>) {
        let cases = find_cases(root).expect("cases");
        let budget = saturate::Limits {
            nodes: 1000,
            iterations: 3,
            candidates: 10_000,
            time: None,
            ..saturate::Limits::STANDARD
        };
        let time = Duration::from_secs(60);
        let settings =
            Settings::new(Limits::stated(), Policy::interactive(), budget, time, 2).expect("the library loads");
        let verdicts = run(&cases, &Through::ALL, &Arc::new(settings)).expect("threads");
        (cases.into_iter().map(|case| case.name).collect(), verdicts)
    }

    #[test]
    fn a_tree_of_cases_is_judged_on_every_path() {
        let root = tempfile::tempdir().expect("a folder");
        write_case(&root.path().join("a/relu"), "Relu", &[0.0, 2.0]);
        write_case(&root.path().join("a/wrong"), "Relu", &[0.0, 2.5]);
        write_case(&root.path().join("b/unknown"), "other.Unknown", &[0.0, 2.0]);
        let (names, verdicts) = run_all(root.path());
        assert_eq!(names, ["a/relu", "a/wrong", "b/unknown"]);
        let wrong = "test_data_set_0: output `y`: 1 of 2 elements differ, the first at 1: expected 2.5, found 2";
        let unknown = "not in the operator table: other.Unknown";
        for at in 0..Through::ALL.len() {
            assert_eq!(verdicts[0][at], Verdict::Passed);
            assert_eq!(verdicts[1][at], Verdict::Failed(wrong.into()));
            assert_eq!(verdicts[2][at], Verdict::Skipped(unknown.into()));
        }
    }

    #[test]
    fn a_case_states_its_own_tolerance_and_has_its_folders_name() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("near");
        write_case(&folder, "Relu", &[0.0, 2.5]);
        std::fs::write(folder.join("tolerance.json"), "{\"rtol\": 0.5, \"atol\": 0}").expect("it writes");
        assert_eq!(run_all(&folder), (vec!["near".to_string()], vec![vec![Verdict::Passed; 5]]));
        std::fs::write(folder.join("tolerance.json"), "{\"rtol\": 0.5}").expect("it writes");
        let (_, verdicts) = run_all(&folder);
        assert!(verdicts[0][0].reason().is_some_and(|reason| reason.starts_with("C0153")), "{verdicts:?}");
    }
}
