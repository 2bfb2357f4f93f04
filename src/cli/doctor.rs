//! `eutectic doctor`: what is installed, what is missing, and how to get it.

use super::render::counted;
use super::{Global, Outcome, print_json};
use crate::partners::Partner;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Doctor {
    /// Directory, SDK, virtual environment or file of TensorRT's library
    #[arg(long, value_name = "PATH")]
    trt_lib: Option<PathBuf>,
    /// The Python that `--against ort` runs
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: PathBuf,
}

/// One thing that may be installed.
struct Finding {
    name: &'static str,
    present: bool,
    detail: String,
}

impl Doctor {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let findings = [cpu(), cuda(), self.tensorrt(), self.onnx_runtime()];
        if global.json {
            let found: Vec<_> = findings
                .iter()
                .map(|finding| json!({ "name": finding.name, "present": finding.present, "detail": finding.detail }))
                .collect();
            print_json(&json!({ "version": env!("CARGO_PKG_VERSION"), "backends": found }));
        } else {
            println!("eutectic {}", env!("CARGO_PKG_VERSION"));
            for finding in &findings {
                let mark = if finding.present { "found" } else { "missing" };
                println!("{:9} {mark:8} {}", finding.name, finding.detail.replace('\n', "\n                   "));
            }
        }
        Ok(0)
    }

    /// What `fuzz`, `reduce` and `compare` hold results against.
    fn onnx_runtime(&self) -> Finding {
        let (present, detail) = match Partner::onnx_runtime(&self.python) {
            Ok(_) => (true, format!("in {}, for `--against ort`", self.python.display())),
            Err(problems) => (false, problems.to_string()),
        };
        Finding { name: "ort", present, detail }
    }

    #[cfg(feature = "lowering")]
    fn tensorrt(&self) -> Finding {
        use crate::tensorrt::Worker;
        let found = super::lower::worker(self.trt_lib.as_deref())
            .and_then(|worker: Worker| worker.library_version().map_err(|error| error.diagnostic().into()));
        match found {
            Ok(version) => Finding { name: "tensorrt", present: true, detail: format!("TensorRT for RTX {version}") },
            Err(problems) => Finding { name: "tensorrt", present: false, detail: problems.to_string() },
        }
    }

    #[cfg(not(feature = "lowering"))]
    fn tensorrt(&self) -> Finding {
        let _ = &self.trt_lib;
        let detail = "this program was built without it: `cargo build --release --features tensorrt`";
        Finding { name: "tensorrt", present: false, detail: detail.into() }
    }
}

fn cpu() -> Finding {
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    Finding { name: "cpu", present: true, detail: counted(n_threads, "thread") }
}

/// The libraries that the CUDA backend opens at run time.
fn cuda() -> Finding {
    use crate::cuda::{Library, require};
    let lines: Vec<String> = Library::ALL
        .iter()
        .map(|&library| match require(library) {
            Ok(()) => format!("{}: found", library.name()),
            Err(problem) => format!("{}: missing; {}", library.name(), problem.help.unwrap_or_default()),
        })
        .collect();
    // cuDNN makes convolutions fast; all else is needed.
    let needed = [Library::Driver, Library::Nvrtc, Library::CublasLt];
    Finding { name: "cuda", present: needed.iter().all(|library| library.is_present()), detail: lines.join("\n") }
}
