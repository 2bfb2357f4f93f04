//! Cases through TensorRT: lowered and built for a GPU that need not be there, not run.

use super::{LoadedCase, Verdict, as_tensors, by_position};
use crate::ir::Model;
use crate::ir::diag::{Diagnostic, Diagnostics};
use crate::onnx::{ExportOptions, to_bytes};
use crate::tensorrt::engine::{BuildOptions, inspect_in};
use crate::tensorrt::parser::{NetworkSummary, Onnx, interface_differences, parameter_differences, read_onnx_in};
use crate::tensorrt::trial::{self, Trial};
use crate::tensorrt::{Error, Session, Worker};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Workers that build cases, one for each thread that asks.
#[derive(Debug)]
pub struct Builds {
    worker: Worker,
    options: BuildOptions,
    /// Whether NVIDIA's parser reads each case too.
    cross_check: bool,
    idle: Mutex<Vec<Session>>,
    n_parsed: AtomicUsize,
}

impl Builds {
    /// Builds for compute capability `sm`, without a search for the fastest kernels. Errors: this program's path is not known.
    pub fn new(sm: u16, library: Option<PathBuf>, time: Duration, cross_check: bool) -> Result<Self, Diagnostic> {
        let worker = Worker::this_program(library, time).map_err(|error| error.diagnostic())?;
        let options = BuildOptions { optimization_level: Some(0), ..BuildOptions::for_target(sm) };
        Ok(Self { worker, options, cross_check, idle: Mutex::new(Vec::new()), n_parsed: AtomicUsize::new(0) })
    }

    /// How many cases that were built NVIDIA's parser read too.
    pub fn n_parsed(&self) -> usize {
        self.n_parsed.load(Ordering::Relaxed)
    }

    /// Lends a process to `work`.
    fn with_session<T>(&self, work: impl FnOnce(&mut Session) -> T) -> T {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut session = idle().pop().unwrap_or_else(|| self.worker.session());
        let result = work(&mut session);
        idle().push(session);
        result
    }
}

/// Builds the model of `case` for the inputs of its first data set.
pub(super) fn verdict(case: &LoadedCase, builds: &Builds) -> Result<(), Verdict> {
    let data = case.data.first().ok_or_else(|| Verdict::Failed("it has no data".into()))?;
    let inputs = as_tensors(&by_position(&case.model, &data.inputs)?)?;
    builds.with_session(|session| {
        let built = trial::build(session, &builds.options, &case.model, &inputs).map_err(refused)?;
        as_declared(&case.model, &built.report.network)?;
        if builds.cross_check {
            agrees(session, &case.model, &built, &builds.n_parsed)?;
        }
        match built.constant.as_slice() {
            [] => Ok(()),
            constant => Err(Verdict::Specialized(format!("with constant `{}`", constant.join("`, `")))),
        }
    })
}

/// The extents of the outputs, as far as the library infers them, must be those that the model declares.
fn as_declared(model: &Model, network: &NetworkSummary) -> Result<(), Verdict> {
    for (output, built) in model.graph.outputs().iter().zip(&network.outputs) {
        let (Some(ty), Some(dims)) = (model.graph.ty(output.value), &built.dims) else { continue };
        let fits = |(dim, &extent): (&crate::ir::Dim, &i64)| {
            extent == -1 || dim.as_known().is_none_or(|known| known == extent)
        };
        if ty.rank() != dims.len() || !ty.shape.iter().zip(dims).all(fits) {
            return Err(Verdict::Failed(format!("output `{}` is {ty}, built as {dims:?}", output.name)));
        }
    }
    Ok(())
}

/// What has no form in TensorRT is skipped, by operator and reason. What the library refuses after the lowering has passed it is
/// a failure of the lowering.
fn refused(problems: Diagnostics) -> Verdict {
    const LOWERING: [&str; 3] = ["B0600", "B0601", "B0602"];
    // The library's words for element types that the target lacks.
    const OF_TARGET: &str = "HW-specific datatypes";
    match problems.0.iter().find(|problem| LOWERING.contains(&problem.code) || problem.message.contains(OF_TARGET)) {
        Some(problem) if problem.code == "B0507" => Verdict::Skipped("an element type that the target lacks".into()),
        Some(problem) => Verdict::Skipped(problem.message.clone()),
        None => {
            let words: Vec<String> =
                problems.0.iter().map(|problem| format!("{}: {}", problem.code, problem.message)).collect();
            Verdict::Failed(words.join("; "))
        }
    }
}

/// Where NVIDIA's parser reads the model too, its interface must be that of our network, and so must its convolutions and poolings.
fn agrees(session: &mut Session, model: &Model, built: &Trial, n_parsed: &AtomicUsize) -> Result<(), Verdict> {
    let Ok(bytes) = to_bytes(model, &ExportOptions { opset: None, external_data: false }) else { return Ok(()) };
    match read_onnx_in(session, Onnx::Bytes(bytes.into()), None) {
        Ok((mut theirs, _)) => {
            n_parsed.fetch_add(1, Ordering::Relaxed);
            let ours = inspect_in(session, &built.spec).map_err(|error| Verdict::Failed(error.to_string()))?;
            // Ours has the model's own extents; where the parser has others, they are its own mistake.
            let outputs = built.report.network.outputs.iter().zip(&mut theirs.outputs);
            outputs.for_each(|(ours, theirs)| theirs.dims.clone_from(&ours.dims));
            let mut differences = interface_differences(&built.report.network, &theirs);
            differences.extend(parameter_differences(&ours, &theirs));
            match differences.as_slice() {
                [] => Ok(()),
                differences => Err(Verdict::Failed(differences.join("; "))),
            }
        }
        Err(Error::Parser { .. }) => Ok(()),
        Err(error) => Err(Verdict::Failed(error.to_string())),
    }
}
