//! What a backend is: compile a model, run it, list what ran.
//!
//! A backend gets the whole [`Model`]. It runs built-in operators, and calls of functions either by a kernel of its own
//! (it *claims* the call) or by their bodies. Everything that it cannot run is reported at once, before compiling.

use eutectic_ir::attr::Name;
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use eutectic_ir::model::Model;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::value::Value;
use std::fmt;

/// A tensor in the memory of the host.
pub type HostTensor = Tensor;
/// A tensor, sequence or optional value in the memory of the host.
pub type HostValue = Value<Tensor>;

/// A way to run models.
pub trait Backend {
    /// Its name on the command line and in studies.
    fn name(&self) -> &'static str;

    /// Every call that this backend cannot run, with the reason; empty means that it can run all.
    fn unsupported(&self, model: &Model) -> Vec<Diagnostic>;

    /// Prepares `model` for repeated runs. Errors: what [`Backend::unsupported`] reports, or a budget that is hit.
    fn compile(&self, model: &Model, options: &Options) -> Result<Box<dyn Program>, Error>;
}

/// A compiled model.
pub trait Program: Send {
    /// Runs once: takes the graph's inputs by position, gives its outputs by position. Inputs that have defaults may be
    /// left out at the end. Errors: inputs that do not fit, a call that fails, a budget that is hit.
    fn run(&mut self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, Error>;

    /// The same for a model whose inputs or outputs may be sequences or optional values. Errors: as for `run`; B0106 from a
    /// program that knows tensors only.
    fn run_values(&mut self, inputs: &[HostValue]) -> Result<Vec<HostValue>, Error> {
        let tensors: Option<Vec<HostTensor>> = inputs.iter().map(|input| input.tensor().cloned()).collect();
        let only_tensors = || Diagnostic::error(Kind::Unsupported, "B0106", "this backend takes tensors only");
        Ok(self.run(&tensors.ok_or_else(only_tensors)?)?.into_iter().map(Value::Tensor).collect())
    }

    /// Runs once more on the inputs of the last [`Program::run`] and leaves the outputs on the device: what a
    /// measurement repeats. Errors: nothing was run before, or as for `run`.
    fn enqueue(&mut self) -> Result<(), Error>;

    /// What a run executes, in order: kernels or engine layers, by name.
    fn listing(&self) -> Vec<Launch>;
}

/// One thing that a program executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Its name, as the backend spells it.
    pub name: String,
    /// What kind of kernel it is, in the backend's vocabulary.
    pub kind: String,
    /// The nodes of the model that it computes, by name; inside the body of a call the names are joined by `/`.
    pub nodes: Vec<Name>,
}

/// How to compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What becomes of calls of fused functions.
    pub calls: Calls,
    /// Bytes that the program may hold at a time, prepared weights included.
    pub memory_limit: usize,
}

/// What becomes of calls of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// One kernel runs the call where the backend has one; the body runs elsewhere.
    Claim,
    /// The body always runs, operator by operator: the unfused baseline.
    Inline,
}

/// Why a model was not compiled or run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub Diagnostics);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

impl From<Diagnostic> for Error {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(diagnostic.into())
    }
}

impl From<Diagnostics> for Error {
    fn from(diagnostics: Diagnostics) -> Self {
        Self(diagnostics)
    }
}
