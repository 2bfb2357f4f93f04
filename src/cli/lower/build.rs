//! Lowers a model and builds its engine.

use super::super::{Global, Outcome, file_hash, misuse, print_json, render};
use super::Lower;
use super::report::{kernels_json, print_engine, print_kernels, write_json};
use crate::batch::fix;
use crate::ir::Model;
use crate::ir::diag::Diagnostics;
use crate::onnx::{ExportOptions, to_bytes};
use crate::passes::contrib::in_standard_operators;
use crate::passes::optimize::{Options, optimize};
use crate::passes::target::Target;
use crate::tensorrt::engine::{BuildOptions, Engine, Profile};
use crate::tensorrt::explain::layer_info;
use crate::tensorrt::listing::kernels;
use crate::tensorrt::parser::{NetworkSummary, Onnx, interface_differences, read_onnx};
use crate::tensorrt::{EngineReport, Error, TensorRt, Worker};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// The process that the library runs in. Errors: this program's own path is not known.
pub(in super::super) fn worker(library: Option<&Path>) -> Result<Worker, Diagnostics> {
    const TIMEOUT: Duration = Duration::from_secs(1800);
    Worker::this_program(library.map(Path::to_path_buf), TIMEOUT).map_err(|error| error.diagnostic().into())
}

/// A model, what it was built as, and what came of it.
pub(super) struct Built {
    source: Model,
    model: Model,
    tensorrt: TensorRt,
    /// The profiles that were asked for. Those of the build lack what has one size only.
    asked: Vec<Profile>,
    report: EngineReport,
    pub(super) engine: Engine,
    /// Lowering and build together, the start of the worker included, the reading of the file not.
    seconds: f64,
    /// Of the lowering alone.
    lowering_seconds: f64,
}

impl Lower {
    pub(super) fn with_tensorrt(&self, global: &Global) -> Outcome {
        self.refuse_runs()?;
        if let Some(file) = &self.suggest_profiles {
            return self.suggest(file, global.json);
        }
        if let Some(file) = &self.load_engine {
            return self.show_saved(file, global);
        }
        if let Some([first, second]) = self.diff.as_deref() {
            return self.compare([first, second], global);
        }
        let path = self.model.as_ref().or(self.onnx.as_ref()).ok_or_else(|| misuse("give a model"))?;
        if self.by_parser { self.show_parsed(path, global) } else { self.lower(path, global) }
    }

    /// Loads, optimizes, lowers and builds the model at `path`, as the flags say.
    pub(super) fn build(&self, path: &Path, global: &Global) -> Result<Built, Diagnostics> {
        let mut model = global.load(path)?;
        in_standard_operators(&mut model);
        let mut options = self.build_options(&model)?;
        let asked = options.profiles.clone();
        if !self.as_is {
            // TensorRT fuses less where extents are open: what can have one size only is as good as static.
            let sizes = Self::settled(&model, &asked);
            if !sizes.is_empty() {
                fix(&mut model, &sizes)?;
                options.profiles = self.profiles(&model)?;
            }
        }
        let source = model.clone();
        if !self.as_is {
            optimize(&mut model, &Options::standard(Target::TensorRt)?)?;
        }
        if self.precision.is_asked() {
            let likeliest = self.opt_shapes.first().unwrap_or(&self.shapes);
            self.precision.apply(&mut model, path, likeliest, global)?;
        }
        let start = Instant::now();
        let tensorrt = TensorRt { worker: worker(self.trt_lib.as_deref())?, options };
        let mut lowered = tensorrt.lower(&model)?;
        if let Some(names) = &self.break_fusions {
            let names: Vec<String> = names.iter().filter(|name| !name.is_empty()).cloned().collect();
            let unknown = lowered.spec.break_fusions(&names);
            if !unknown.is_empty() {
                return Err(misuse(format!("no value of the network is called `{}`", unknown.join("`, `"))));
            }
        }
        let lowering_seconds = start.elapsed().as_secs_f64();
        let (report, engine) = tensorrt.build_lowered(&lowered).map_err(|error| error.diagnostic())?;
        model.intact()?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(Built { source, model, tensorrt, asked, report, engine, seconds, lowering_seconds })
    }

    fn lower(&self, path: &Path, global: &Global) -> Outcome {
        let built = self.build(path, global)?;
        let Built { report, engine, seconds, lowering_seconds, .. } = &built;
        if let Some(file) = &self.save_engine {
            engine.save(file, &file_hash(path)?).map_err(|error| Diagnostics::from(error.diagnostic()))?;
        }
        let parsed = if self.cross_check { Some(self.parsed_too(&built)?) } else { None };
        let mut result = json!({
            "layers": report.network.n_layers(),
            "kernels": kernels_json(&engine.layers),
            "engine_bytes": report.engine_bytes,
            "seconds": seconds,
            "lowering_seconds": lowering_seconds,
            "library_seconds": report.seconds,
        });
        let agrees = !matches!(&parsed, Some(Ok(parsed)) if !parsed.differences.is_empty());
        match &parsed {
            Some(Ok(Parsed { n_kernels, differences })) => {
                result["parser"] = json!({ "kernels": n_kernels, "differences": differences });
            }
            Some(Err(refusal)) => result["parser"] = json!({ "refused": refusal }),
            None => {}
        }
        if let Some(file) = &self.export_layer_info {
            write_json(file, &layer_info(engine))?;
        }
        if global.json {
            print_json(&result);
            return Ok(i32::from(!agrees));
        }
        self.print_options(path, &built.tensorrt.options, &built.asked);
        print_engine(report);
        if self.explain || self.verbose {
            print_kernels(&engine.layers);
        }
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
        println!("built in {}, {} of it the library", render::seconds(*seconds), render::seconds(report.seconds));
        Ok(i32::from(!agrees))
    }

    /// Builds what NVIDIA's parser makes of the file itself.
    fn show_parsed(&self, path: &Path, global: &Global) -> Outcome {
        let options = self.build_options(&global.load(path)?)?;
        let start = Instant::now();
        let parsed = read_onnx(&worker(self.trt_lib.as_deref())?, Onnx::File(path.to_owned()), Some(&options));
        let sent = parsed.and_then(|(network, engine)| {
            Ok((network, engine.ok_or_else(|| Error::Worker("it sent no engine".into()))?))
        });
        let (network, engine) = sent.map_err(|error| error.diagnostic())?;
        let seconds = start.elapsed().as_secs_f64();
        let report = EngineReport::new(network, &engine);
        if global.json {
            print_json(&json!({
                "layers": report.network.n_layers(),
                "kernels": kernels_json(&engine.layers),
                "engine_bytes": report.engine_bytes,
                "seconds": seconds,
                "library_seconds": report.seconds,
            }));
            return Ok(0);
        }
        self.print_options(path, &options, &options.profiles);
        print_engine(&report);
        if self.explain || self.verbose {
            print_kernels(&engine.layers);
        }
        Ok(0)
    }

    /// What NVIDIA's parser makes of the model. When it refuses that, of the source optimized without the operators that came
    /// after operator set 22: it reads the newer `Attention`, but does not allow the builder to take it apart.
    fn parsed_too(&self, built: &Built) -> Result<Result<Parsed, String>, Diagnostics> {
        let mut parsed = build_by_parser(&built.model, &built.tensorrt)?;
        if parsed.is_err() && !self.as_is && !self.precision.is_asked() {
            const BEFORE_ATTENTION: u64 = 22;
            let options = Options { opset: BEFORE_ATTENTION, ..Options::standard(Target::TensorRt)? };
            let mut source = built.source.clone();
            optimize(&mut source, &options)?;
            parsed = build_by_parser(&source, &built.tensorrt)?;
        }
        Ok(parsed.map(|(network, n_kernels)| Parsed {
            n_kernels,
            differences: interface_differences(&built.report.network, &network),
        }))
    }

    fn build_options(&self, model: &Model) -> Result<BuildOptions, Diagnostics> {
        let mut options = BuildOptions::for_target(self.sm);
        options.optimization_level = self.builder_optimization_level;
        if let Some(pool) = &self.mem_pool_size {
            let mebibytes = pool.strip_prefix("workspace:").and_then(|size| size.parse::<u64>().ok());
            let bytes = mebibytes.and_then(|size| size.checked_mul(1 << 20));
            let wrong = || misuse(format!("`--memPoolSize {pool}` is not of the form workspace:MiB"));
            options.workspace_bytes = Some(bytes.ok_or_else(wrong)?);
        }
        options.profiles = self.profiles(model)?;
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
fn build_by_parser(model: &Model, tensorrt: &TensorRt) -> Result<Result<(NetworkSummary, usize), String>, Diagnostics> {
    let bytes = to_bytes(model, &ExportOptions { opset: None, external_data: false })?;
    match read_onnx(&tensorrt.worker, Onnx::Bytes(bytes.into()), Some(&tensorrt.options)) {
        Ok((network, engine)) => Ok(Ok((network, engine.map_or(0, |engine| kernels(&engine.layers).count())))),
        Err(error @ (Error::Parser { .. } | Error::Build { .. })) => Ok(Err(error.to_string())),
        Err(error) => Err(error.diagnostic().into()),
    }
}
