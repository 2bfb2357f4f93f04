//! `eutectic lower`: our own network definition, built by the vendor. It speaks trtexec.

use super::{Global, Outcome};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Lower {
    /// The model
    #[arg(required_unless_present_any = ["onnx", "diff", "load_engine", "suggest_profiles"])]
    model: Option<PathBuf>,
    /// The model, as trtexec spells it
    #[arg(long, value_name = "MODEL", conflicts_with = "model")]
    onnx: Option<PathBuf>,
    /// The device's library
    #[arg(long, value_enum, default_value_t = Device::Tensorrt)]
    target: Device,
    /// Compute capability to build for, ten times the version
    #[arg(long, default_value_t = 86)]
    sm: u16,
    /// Write the engine here, and its manifest beside it
    #[arg(long = "saveEngine", value_name = "FILE")]
    save_engine: Option<PathBuf>,
    /// Shape of each dynamic input: input:1x3x224x224,...; the same for smallest, likeliest and largest
    #[arg(long, default_value = "")]
    shapes: String,
    /// Smallest shapes; once for each profile
    #[arg(long = "minShapes", value_name = "SHAPES")]
    min_shapes: Vec<String>,
    /// Likeliest shapes; once for each profile
    #[arg(long = "optShapes", value_name = "SHAPES")]
    opt_shapes: Vec<String>,
    /// Largest shapes; once for each profile
    #[arg(long = "maxShapes", value_name = "SHAPES")]
    max_shapes: Vec<String>,
    /// Number of the optimization profile whose shapes follow, from 0 on, as trtexec takes them
    #[arg(long, value_name = "N")]
    profile: Vec<usize>,
    /// Print profiles for this traffic, and build nothing: a .csv with a column of shapes (1x128) for each input, and one `count`
    #[arg(long, value_name = "TRAFFIC.csv")]
    suggest_profiles: Option<PathBuf>,
    /// Most profiles to suggest
    #[arg(long, value_name = "N", default_value_t = 3, requires = "suggest_profiles")]
    most_profiles: usize,
    /// Scratch memory that a kernel may use, as trtexec takes it: workspace:MiB
    #[arg(long = "memPoolSize", value_name = "POOL")]
    mem_pool_size: Option<String>,
    /// 0 (quick build) to 5 (search longest)
    #[arg(long = "builderOptimizationLevel", value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=5))]
    builder_optimization_level: Option<u8>,
    /// Write the layers of the engine here, as trtexec's JSON
    #[arg(long = "exportLayerInfo", value_name = "FILE")]
    export_layer_info: Option<PathBuf>,
    /// Write the times of each run here: needs a GPU that the library supports
    #[arg(long = "exportTimes", value_name = "FILE")]
    export_times: Option<PathBuf>,
    /// Write the times of each layer here: needs a GPU that the library supports
    #[arg(long = "exportProfile", value_name = "FILE")]
    export_profile: Option<PathBuf>,
    /// Print every kernel with the nodes that it computes
    #[arg(long)]
    explain: bool,
    /// Print which fusions two builds differ in: models, or engines that were saved here
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    diff: Option<Vec<PathBuf>>,
    /// Make these intermediate values outputs, so that nothing is fused across them; without names all of them
    #[arg(long, value_name = "VALUES", num_args = 0..=1, default_missing_value = "", value_delimiter = ',')]
    break_fusions: Option<Vec<String>>,
    /// Show an engine that was saved here, instead of building one; one of another origin is refused
    #[arg(long = "loadEngine", value_name = "FILE", conflicts_with_all = ["save_engine", "diff"])]
    load_engine: Option<PathBuf>,
    #[command(flatten)]
    precision: super::precision::Precision,
    /// Lower the model as it is, without optimizing it first
    #[arg(long)]
    as_is: bool,
    /// Build what NVIDIA's own ONNX parser makes of the same model too, and compare interface and number of kernels
    #[arg(long = "crossCheck")]
    cross_check: bool,
    /// Build what NVIDIA's own ONNX parser makes of the file, without any part of ours
    #[arg(long, conflicts_with_all = ["cross_check", "as_is", "save_engine", "break_fusions", "fp16", "bf16", "int8", "fp8", "int4"])]
    by_parser: bool,
    /// Directory, SDK, virtual environment or file of TensorRT's library
    #[arg(long, value_name = "PATH")]
    trt_lib: Option<PathBuf>,
    /// The same as --explain
    #[arg(long)]
    verbose: bool,
    /// Only build: what happens anyway; scripts for trtexec say so
    #[arg(long = "skipInference", alias = "buildOnly")]
    _skip_inference: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Device {
    Tensorrt,
}

impl Lower {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let Device::Tensorrt = self.target;
        // Before the build, which takes long, not after it.
        self.save_engine.as_deref().map_or(Ok(()), crate::onnx::check_target)?;
        self.with_tensorrt(global)
    }

    #[cfg(not(feature = "lowering"))]
    fn with_tensorrt(&self, _: &Global) -> Outcome {
        Err(without_tensorrt())
    }
}

#[cfg(not(feature = "lowering"))]
pub(super) fn without_tensorrt() -> crate::ir::Diagnostics {
    use crate::ir::diag::{Diagnostic, Kind};
    Diagnostic::error(Kind::Unsupported, "B0500", "this program was built without TensorRT")
        .help("build it with it: `cargo build --release --features tensorrt`")
        .into()
}

#[cfg(feature = "lowering")]
mod build;
#[cfg(feature = "lowering")]
mod profiles;
#[cfg(feature = "lowering")]
mod report;

#[cfg(feature = "lowering")]
pub(super) use build::worker;
