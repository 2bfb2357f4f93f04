//! `eutectic lower`: our own network definition, built by the vendor. It speaks trtexec.

use super::{Global, Outcome, misuse};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Lower {
    /// The model
    #[arg(required_unless_present = "onnx")]
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
    /// Smallest shapes
    #[arg(long = "minShapes", default_value = "")]
    min_shapes: String,
    /// Likeliest shapes
    #[arg(long = "optShapes", default_value = "")]
    opt_shapes: String,
    /// Largest shapes
    #[arg(long = "maxShapes", default_value = "")]
    max_shapes: String,
    /// Scratch memory that a kernel may use, as trtexec takes it: workspace:MiB
    #[arg(long = "memPoolSize", value_name = "POOL")]
    mem_pool_size: Option<String>,
    /// 0 (quick build) to 5 (search longest)
    #[arg(long = "builderOptimizationLevel", value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=5))]
    builder_optimization_level: Option<u8>,
    /// Write the list of kernels here, as JSON
    #[arg(long = "exportLayerInfo", value_name = "FILE")]
    export_layer_info: Option<PathBuf>,
    #[command(flatten)]
    precision: super::precision::Precision,
    /// Lower the model as it is, without optimizing it first
    #[arg(long)]
    as_is: bool,
    /// Build what NVIDIA's own ONNX parser makes of the same model too, and compare interface and number of kernels
    #[arg(long = "crossCheck")]
    cross_check: bool,
    /// Directory, SDK, virtual environment or file of TensorRT's library
    #[arg(long, value_name = "PATH")]
    trt_lib: Option<PathBuf>,
    /// Print every kernel with the nodes that it computes
    #[arg(long)]
    verbose: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Device {
    Tensorrt,
}

impl Lower {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let Device::Tensorrt = self.target;
        let Some(model) = self.model.as_ref().or(self.onnx.as_ref()) else {
            return Err(misuse("give a model"));
        };
        self.lower(model, global)
    }

    #[cfg(not(feature = "tensorrt"))]
    fn lower(&self, _: &std::path::Path, _: &Global) -> Outcome {
        use crate::ir::diag::{Diagnostic, Kind};
        Err(Diagnostic::error(Kind::Unsupported, "B0500", "this program was built without TensorRT")
            .help("build it with it: `cargo build --release --features tensorrt`")
            .into())
    }
}

#[cfg(feature = "tensorrt")]
pub(super) use with_tensorrt::worker;

#[cfg(feature = "tensorrt")]
mod with_tensorrt {
    use super::super::{Global, Outcome, file_hash, misuse, print_json, render};
    use super::Lower;
    use crate::inputs::shapes_by_input;
    use crate::ir::Model;
    use crate::ir::diag::Diagnostics;
    use crate::onnx::{ExportOptions, to_bytes};
    use crate::passes::optimize::{Options, optimize};
    use crate::passes::target::Target;
    use crate::tensorrt::engine::{BuildOptions, Profile, ProfileRange};
    use crate::tensorrt::listing::kernels;
    use crate::tensorrt::parser::{NetworkSummary, Onnx, interface_differences, read_onnx};
    use crate::tensorrt::{Error, TensorRt, Worker};
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::{Duration, Instant};

    /// The process that the library runs in. Errors: this program's own path is not known.
    pub(in super::super) fn worker(library: Option<&Path>) -> Result<Worker, Diagnostics> {
        const TIMEOUT: Duration = Duration::from_secs(1800);
        Worker::this_program(library.map(Path::to_path_buf), TIMEOUT).map_err(|error| error.diagnostic().into())
    }

    impl Lower {
        pub(super) fn lower(&self, path: &Path, global: &Global) -> Outcome {
            let mut model = global.load(path)?;
            let source = model.clone();
            let options = self.build_options(&model)?;
            if !self.as_is {
                optimize(&mut model, &Options::standard(Target::TensorRt)?)?;
            }
            if self.precision.is_asked() {
                let likeliest = if self.opt_shapes.is_empty() { &self.shapes } else { &self.opt_shapes };
                self.precision.apply(&mut model, path, likeliest, global)?;
            }
            let start = Instant::now();
            let tensorrt = TensorRt { worker: worker(self.trt_lib.as_deref())?, options };
            let (report, engine) = tensorrt.build(&model)?;
            model.intact()?;
            let seconds = start.elapsed().as_secs_f64();
            if let Some(file) = &self.save_engine {
                engine.save(file, &file_hash(path)?).map_err(|error| Diagnostics::from(error.diagnostic()))?;
            }
            let parsed = self.cross_check.then(|| self.by_parser(source, &model, &tensorrt)).transpose()?;
            let parsed = parsed.map(|parsed| {
                parsed.map(|(network, n_kernels)| Parsed {
                    n_kernels,
                    differences: interface_differences(&report.network, &network),
                })
            });
            let listed: Vec<Value> = report
                .kernels
                .iter()
                .map(|kernel| json!({ "name": kernel.name, "kind": kernel.kind, "nodes": names(&kernel.nodes) }))
                .collect();
            let mut result = json!({
                "layers": report.network.n_layers(),
                "kernels": listed,
                "engine_bytes": report.engine_bytes,
                "seconds": seconds,
            });
            match &parsed {
                Some(Ok(Parsed { n_kernels, differences })) => {
                    result["parser"] = json!({ "kernels": n_kernels, "differences": differences });
                }
                Some(Err(refusal)) => result["parser"] = json!({ "refused": refusal }),
                None => {}
            }
            let agrees = !matches!(&parsed, Some(Ok(parsed)) if !parsed.differences.is_empty());
            if let Some(file) = &self.export_layer_info {
                std::fs::write(file, result.to_string())
                    .map_err(|error| misuse(format!("{}: {error}", file.display())))?;
            }
            if global.json {
                print_json(&result);
                return Ok(i32::from(!agrees));
            }
            if self.verbose {
                for kernel in &report.kernels {
                    println!("{:16} {}  <- {}", kernel.kind, kernel.name, names(&kernel.nodes).join(", "));
                }
            }
            let kinds: Vec<String> = report.kinds().iter().map(|(kind, n)| format!("{n} {kind}")).collect();
            println!("network: {} layers, built for SM {}.{}", report.network.n_layers(), self.sm / 10, self.sm % 10);
            println!(
                "engine: {} kernels ({}), {}",
                listed.len(),
                kinds.join(", "),
                render::bytes(report.engine_bytes as f64)
            );
            match &parsed {
                Some(Ok(Parsed { n_kernels, differences })) => {
                    println!("NVIDIA's parser: {n_kernels} kernels on the same model");
                    differences.iter().for_each(|line| println!("  different: {line}"));
                }
                Some(Err(refusal)) => println!("NVIDIA's parser refuses the same model: {refusal}"),
                None => {}
            }
            if let Some(file) = &self.save_engine {
                println!("wrote {} and its manifest", file.display());
            }
            println!("built in {}", render::seconds(seconds));
            Ok(i32::from(!agrees))
        }

        /// What NVIDIA's parser makes of `model`. When it refuses that, of `source` optimized without the operators that came
        /// after operator set 22: it reads the newer `Attention`, but does not allow the builder to take it apart.
        fn by_parser(
            &self,
            mut source: Model,
            model: &Model,
            tensorrt: &TensorRt,
        ) -> Result<Result<(NetworkSummary, usize), String>, Diagnostics> {
            let parsed = build_by_parser(model, tensorrt)?;
            if parsed.is_ok() || self.as_is || self.precision.is_asked() {
                return Ok(parsed);
            }
            const BEFORE_ATTENTION: u64 = 22;
            let options = Options { opset: BEFORE_ATTENTION, ..Options::standard(Target::TensorRt)? };
            optimize(&mut source, &options)?;
            build_by_parser(&source, tensorrt)
        }

        fn build_options(&self, model: &Model) -> Result<BuildOptions, Diagnostics> {
            let mut options = BuildOptions::for_target(self.sm);
            options.optimization_level = self.builder_optimization_level;
            if let Some(pool) = &self.mem_pool_size {
                let mebibytes = pool.strip_prefix("workspace:").and_then(|size| size.parse::<u64>().ok());
                let mebibytes = mebibytes
                    .ok_or_else(|| misuse(format!("`--memPoolSize {pool}` is not of the form workspace:MiB")))?;
                options.workspace_bytes = Some(mebibytes << 20);
            }
            let either = |special: &str| if special.is_empty() { self.shapes.clone() } else { special.to_string() };
            let [min, opt, max] = [either(&self.min_shapes), either(&self.opt_shapes), either(&self.max_shapes)];
            let [min, opt, max] = [&min, &opt, &max].map(|text| shapes_by_input(&model.graph, text));
            let (min, opt, max) = (min?, opt?, max?);
            let mut profile = Profile::default();
            for &id in model.graph.inputs() {
                let value = model.graph.value(id);
                let Some(ty) = model.graph.ty(id).filter(|ty| ty.sizes().is_none()) else { continue };
                let of = |shapes: &BTreeMap<String, Vec<i64>>| {
                    shapes.get(value.name.as_str()).cloned().ok_or_else(|| {
                        misuse(format!("input `{}` ({ty}) is dynamic: give `--shapes` or `--minShapes`, `--optShapes`, `--maxShapes` for it", value.name))
                    })
                };
                let (min, opt, max) = (of(&min)?, of(&opt)?, of(&max)?);
                for axis in 0..ty.rank() {
                    if !(min[axis] <= opt[axis] && opt[axis] <= max[axis]) {
                        return Err(misuse(format!(
                            "dim {axis} of input `{}`: min {} <= opt {} <= max {} does not hold",
                            value.name, min[axis], opt[axis], max[axis]
                        )));
                    }
                }
                profile.inputs.push(ProfileRange { input: value.name.to_string(), is_values: false, min, opt, max });
            }
            if !profile.inputs.is_empty() {
                options.profiles.push(profile);
            }
            Ok(options)
        }
    }

    /// What NVIDIA's parser made of a model.
    struct Parsed {
        n_kernels: usize,
        /// What its interface differs in from ours.
        differences: Vec<String>,
    }

    /// Builds what NVIDIA's parser makes of `model`: the network and the number of kernels, or the refusal.
    fn build_by_parser(
        model: &Model,
        tensorrt: &TensorRt,
    ) -> Result<Result<(NetworkSummary, usize), String>, Diagnostics> {
        let bytes = to_bytes(model, &ExportOptions { opset: None, external_data: false })?;
        match read_onnx(&tensorrt.worker, Onnx::Bytes(bytes.into()), Some(&tensorrt.options)) {
            Ok((network, engine)) => Ok(Ok((network, engine.map_or(0, |engine| kernels(&engine.layers).count())))),
            Err(error @ (Error::Parser { .. } | Error::Build { .. })) => Ok(Err(error.to_string())),
            Err(error) => Err(error.diagnostic().into()),
        }
    }

    fn names(nodes: &[crate::ir::Name]) -> Vec<&str> {
        nodes.iter().map(crate::ir::Name::as_str).collect()
    }
}
