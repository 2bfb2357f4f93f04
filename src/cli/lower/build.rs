//! Lowers a model and builds its engine.

use super::super::{Global, Outcome, file_hash, misuse, print_json, render};
use super::Lower;
use super::report::{kernels_json, print_engine, print_kernels, write_json};
use crate::ir::Model;
use crate::ir::diag::Diagnostics;
use crate::onnx::{ExportOptions, to_bytes};
use crate::passes::optimize::{Options, optimize};
use crate::passes::target::Target;
use crate::tensorrt::engine::{BuildOptions, Engine};
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
    report: EngineReport,
    pub(super) engine: Engine,
    /// Lowering and build together, the start of the worker included.
    seconds: f64,
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
        self.lower(path, global)
    }

    /// Loads, optimizes, lowers and builds the model at `path`, as the flags say.
    pub(super) fn build(&self, path: &Path, global: &Global) -> Result<Built, Diagnostics> {
        let mut model = global.load(path)?;
        let source = model.clone();
        let options = self.build_options(&model)?;
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
        let (report, engine) = tensorrt.build_lowered(&lowered).map_err(|error| error.diagnostic())?;
        model.intact()?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(Built { source, model, tensorrt, report, engine, seconds })
    }

    fn lower(&self, path: &Path, global: &Global) -> Outcome {
        let built = self.build(path, global)?;
        let Built { report, engine, seconds, .. } = &built;
        if let Some(file) = &self.save_engine {
            engine.save(file, &file_hash(path)?).map_err(|error| Diagnostics::from(error.diagnostic()))?;
        }
        let parsed = if self.cross_check { Some(self.by_parser(&built)?) } else { None };
        let mut result = json!({
            "layers": report.network.n_layers(),
            "kernels": kernels_json(&engine.layers),
            "engine_bytes": report.engine_bytes,
            "seconds": seconds,
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
        self.print_options(path, &built.tensorrt.options);
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

    /// What NVIDIA's parser makes of the model. When it refuses that, of the source optimized without the operators that came
    /// after operator set 22: it reads the newer `Attention`, but does not allow the builder to take it apart.
    fn by_parser(&self, built: &Built) -> Result<Result<Parsed, String>, Diagnostics> {
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
