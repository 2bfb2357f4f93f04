//! TensorRT as a backend: lowers, builds, and tells what the engine consists of.

use crate::engine::{self, BuildOptions, Engine};
use crate::error::Error;
use crate::library::Version;
use crate::listing::kernels;
use crate::lower::{self, LowerOptions, LoweredModel};
use crate::parser::NetworkSummary;
use crate::worker::Worker;
use eutectic_backend::{Backend, HostTensor, Launch, Options, Program};
use eutectic_ir::diag::{Diagnostics, Kind};
use eutectic_ir::{Diagnostic, Model};

/// Builds engines of models in a worker process.
#[derive(Clone, Debug)]
pub struct TensorRt {
    /// The worker.
    pub worker: Worker,
    /// How engines are built; its profiles are the ranges of dynamic inputs.
    pub options: BuildOptions,
}

/// What a build came to.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineReport {
    /// The library that built it.
    pub library: Version,
    /// Compute capabilities it was built for, times ten.
    pub targets: Vec<u16>,
    /// The network as the library sees it: inputs, outputs, layers by type.
    pub network: NetworkSummary,
    /// What the engine runs on the device, in order.
    pub kernels: Vec<Launch>,
    /// Size of the serialized engine.
    pub engine_bytes: u64,
    /// Time of the library's build call.
    pub seconds: f64,
    /// What the library warned of, a line each.
    pub warnings: Vec<String>,
}

impl EngineReport {
    /// The report of a build.
    pub fn new(network: NetworkSummary, engine: &Engine) -> Self {
        Self {
            library: engine.library,
            targets: engine.options.targets.clone(),
            network,
            kernels: launches(engine),
            engine_bytes: engine.plan.len() as u64,
            seconds: engine.build_milliseconds as f64 / 1000.0,
            warnings: engine.warnings.iter().map(ToString::to_string).collect(),
        }
    }

    /// How many kernels of each kind, most frequent first.
    pub fn kinds(&self) -> Vec<(&str, usize)> {
        let mut kinds: Vec<(&str, usize)> = Vec::new();
        for kernel in &self.kernels {
            match kinds.iter_mut().find(|(kind, _)| *kind == kernel.kind) {
                Some((_, count)) => *count += 1,
                None => kinds.push((&kernel.kind, 1)),
            }
        }
        kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
        kinds
    }
}

impl TensorRt {
    /// The network of `model`. Errors: those of [`lower::lower`].
    pub fn lower(&self, model: &Model) -> Result<LoweredModel, Diagnostics> {
        lower::lower(model, &LowerOptions { profiles: self.options.profiles.clone() })
    }

    /// Lowers and builds `model`. Errors: those of [`lower::lower`], or one that says what the library said.
    pub fn build(&self, model: &Model) -> Result<(EngineReport, Engine), Diagnostics> {
        let lowered = self.lower(model)?;
        self.build_lowered(&lowered).map_err(|error| error.diagnostic().into())
    }

    /// Builds a lowered model.
    pub fn build_lowered(&self, lowered: &LoweredModel) -> Result<(EngineReport, Engine), Error> {
        let options = BuildOptions { profiles: lowered.profiles.clone(), ..self.options.clone() };
        let (network, engine) = engine::build(&self.worker, &lowered.spec, &options)?;
        Ok((EngineReport::new(network, &engine), engine))
    }
}

fn launches(engine: &Engine) -> Vec<Launch> {
    let launch = |layer: &crate::listing::EngineLayer| Launch {
        name: layer.name.clone(),
        kind: layer.kind.clone(),
        nodes: layer.origins.iter().map(|origin| origin.as_str().into()).collect(),
    };
    kernels(&engine.layers).map(launch).collect()
}

impl Backend for TensorRt {
    fn name(&self) -> &'static str {
        "tensorrt"
    }

    fn unsupported(&self, model: &Model) -> Vec<Diagnostic> {
        lower::unsupported(model)
    }

    /// Builds the engine. TensorRT fuses by itself, so calls of fused functions are always lowered by their bodies.
    fn compile(&self, model: &Model, _: &Options) -> Result<Box<dyn Program>, eutectic_backend::Error> {
        let (_, engine) = self.build(model)?;
        Ok(Box::new(Built { launches: launches(&engine) }))
    }
}

/// A built engine: its kernels are known, running it takes a GPU.
struct Built {
    launches: Vec<Launch>,
}

impl Program for Built {
    fn run(&mut self, _: &[HostTensor]) -> Result<Vec<HostTensor>, eutectic_backend::Error> {
        Err(not_run().into())
    }

    fn enqueue(&mut self) -> Result<(), eutectic_backend::Error> {
        Err(not_run().into())
    }

    fn listing(&self) -> Vec<Launch> {
        self.launches.clone()
    }
}

fn not_run() -> Diagnostic {
    Diagnostic::error(Kind::Unsupported, "B0513", "engines are built and listed here, not run")
        .help("save the engine and run it with NVIDIA's tools, or choose another backend to run the model")
}
