//! What can go wrong between a network's description and its engine.

use crate::library::{Flavour, Version};
use crate::log::LogLine;
use crate::spec::SpecError;
use eutectic_ir::diag::{Diagnostic, Kind};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Every failure of this crate. It is plain data, because it crosses the pipe from the worker process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// No library was found.
    #[error("the library {} was not found", .flavour.library())]
    LibraryMissing {
        /// What was looked for.
        flavour: Flavour,
        /// Where, and why not.
        tried: Vec<String>,
    },
    /// The library is of a version that these bindings don't fit.
    #[error("{} is version {found}, these bindings need {}", .path.display(), .flavour.wanted())]
    LibraryVersion {
        /// What was looked for.
        flavour: Flavour,
        /// The file.
        path: PathBuf,
        /// Its version.
        found: Version,
    },
    /// The program was built without the bindings.
    #[error("this program was built without TensorRT bindings")]
    NoBindings,
    /// The description of the network is unsound.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// TensorRT refused an input, a layer or an output.
    #[error("TensorRT refused {place}: {}", reason(.log, .problem))]
    Layer {
        /// The layer, input or output.
        place: String,
        /// What we saw.
        problem: String,
        /// What TensorRT said.
        log: Vec<LogLine>,
    },
    /// TensorRT's ONNX parser refused the model.
    #[error("NVIDIA's ONNX parser refused the model: {}", reason(.log, .problem))]
    Parser {
        /// The parser's own errors, a line each.
        problem: String,
        /// What TensorRT said.
        log: Vec<LogLine>,
    },
    /// A build setting was refused.
    #[error("TensorRT refused the option {option}: {}", reason(.log, "this library does not have it"))]
    Option {
        /// Which.
        option: String,
        /// What TensorRT said.
        log: Vec<LogLine>,
    },
    /// The library builds for no device of this kind.
    #[error("TensorRT refused the target SM {target}: {}", reason(.log, "this library does not have it"))]
    Target {
        /// Which.
        target: String,
        /// What TensorRT said.
        log: Vec<LogLine>,
    },
    /// The network was accepted but no engine came of it.
    #[error("TensorRT could not build the engine: {}", reason(.log, "it gives no reason"))]
    Build {
        /// What TensorRT said.
        log: Vec<LogLine>,
    },
    /// The worker process ended without an answer.
    #[error("the TensorRT worker {status} while {stage}")]
    WorkerDied {
        /// How it ended.
        status: String,
        /// What it was doing.
        stage: String,
        /// What TensorRT had said by then.
        log: Vec<LogLine>,
        /// The end of its standard error.
        stderr: String,
    },
    /// The worker process took too long and was killed.
    #[error("the TensorRT worker was stopped after {seconds} s while {stage}")]
    WorkerTimeout {
        /// The limit.
        seconds: u64,
        /// What it was doing.
        stage: String,
        /// What TensorRT had said by then.
        log: Vec<LogLine>,
    },
    /// The worker process could not be started or understood.
    #[error("the TensorRT worker: {0}")]
    Worker(String),
    /// A plan is not one of ours, or not the one that was asked for.
    #[error("{}: {problem}", .path.display())]
    Plan {
        /// The plan.
        path: PathBuf,
        /// What was expected and found.
        problem: String,
    },
    /// A file could not be read or written.
    #[error("{}: {problem}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        problem: String,
    },
}

impl Error {
    /// The log lines it carries.
    pub fn log(&self) -> &[LogLine] {
        match self {
            Error::Layer { log, .. }
            | Error::Parser { log, .. }
            | Error::Option { log, .. }
            | Error::Target { log, .. }
            | Error::Build { log }
            | Error::WorkerDied { log, .. }
            | Error::WorkerTimeout { log, .. } => log,
            _ => &[],
        }
    }

    /// The same as a diagnostic, with the log as notes and the next step.
    pub fn diagnostic(&self) -> Diagnostic {
        let (kind, code) = match self {
            Error::LibraryMissing { .. } | Error::NoBindings => (Kind::Unsupported, "B0501"),
            Error::LibraryVersion { .. } => (Kind::Unsupported, "B0502"),
            Error::Spec(_) => (Kind::Invalid, "B0503"),
            Error::Layer { .. } => (Kind::Unsupported, "B0504"),
            Error::Parser { .. } => (Kind::Unsupported, "B0505"),
            Error::Option { .. } | Error::Target { .. } => (Kind::Invalid, "B0506"),
            Error::Build { .. } => (Kind::Unsupported, "B0507"),
            Error::WorkerDied { .. } => (Kind::Io, "B0508"),
            Error::WorkerTimeout { .. } => (Kind::Limit, "B0509"),
            Error::Worker(_) => (Kind::Io, "B0510"),
            Error::Plan { .. } => (Kind::Invalid, "B0511"),
            Error::Io { .. } => (Kind::Io, "B0512"),
        };
        let mut diagnostic = Diagnostic::error(kind, code, self.to_string());
        if let Error::LibraryMissing { tried, .. } = self {
            diagnostic.notes.extend(tried.iter().map(|place| format!("tried {place}")));
        }
        if let Error::WorkerDied { stderr, .. } = self {
            diagnostic.notes.extend(stderr.lines().map(|line| format!("standard error: {line}")));
        }
        diagnostic.notes.extend(self.log().iter().map(|line| line.to_string()));
        diagnostic.help = match self {
            Error::LibraryMissing { flavour, .. } | Error::LibraryVersion { flavour, .. } => {
                Some(format!("`{}`, or name the directory with --trt-lib or EUTECTIC_TRT_LIB", flavour.install()))
            }
            Error::Target { .. } => {
                Some("TensorRT for RTX builds for --sm 75, 80, 86, 89, 120 and 121; the data centre's, for the GPU it runs on".into())
            }
            Error::NoBindings => Some("build with `--features tensorrt`".into()),
            Error::Plan { .. } => {
                Some("build the engine again: only plans built here, under their manifest, are loaded".into())
            }
            _ => None,
        };
        diagnostic
    }
}

/// The first thing the log calls an error, which is the cause; what follows it are consequences.
fn reason(log: &[LogLine], otherwise: &str) -> String {
    log.iter().find(|line| line.severity.is_error()).map_or_else(|| otherwise.to_owned(), |line| line.text.clone())
}
