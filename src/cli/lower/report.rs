//! What `lower` prints: trtexec's blocks, kernels with their nodes, the differences of two builds.

use super::super::{Global, Outcome, misuse, print_json, render};
use super::Lower;
use super::build::worker;
use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::tensorrt::EngineReport;
use crate::tensorrt::engine::{self, BuildOptions, Profile};
use crate::tensorrt::explain::{Difference, Role, difference, explain};
use crate::tensorrt::listing::{EngineLayer, kernels};
use serde_json::{Value, json};
use std::path::Path;

impl Lower {
    /// What the build was asked for, profiles included, as trtexec shows it.
    pub(super) fn print_options(&self, path: &Path, options: &BuildOptions, profiles: &[Profile]) {
        println!("=== Model Options ===\nFormat: ONNX\nModel: {}", path.display());
        println!("\n=== Build Options ===");
        let pool = options.workspace_bytes.map_or("all".into(), |bytes| render::bytes(bytes as f64));
        println!("Memory pool: workspace: {pool}");
        println!("Precision: {}", self.precision.in_words());
        println!("TF32: {}", if options.tf32 { "Enabled" } else { "Disabled" });
        let level = options.optimization_level.map_or("default".into(), |level| level.to_string());
        println!("Builder optimization level: {level}");
        println!("Compute capability: {}.{}", self.sm / 10, self.sm % 10);
        for (at, profile) in profiles.iter().enumerate() {
            for range in &profile.inputs {
                let shape = |list: &[i64]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
                let (min, opt, max) = (shape(&range.min), shape(&range.opt), shape(&range.max));
                println!("Input build shape (profile {at}): {} = {min}+{opt}+{max}", range.input);
            }
        }
    }

    /// Times need runs, and runs a GPU that the library supports.
    pub(super) fn refuse_runs(&self) -> Result<(), Diagnostics> {
        let flags = [(&self.export_times, "--exportTimes"), (&self.export_profile, "--exportProfile")];
        let problem = |flag: &str| {
            let message = format!("`{flag}` needs runs of the engine, and engines are built and listed here, not run");
            Diagnostic::error(Kind::Unsupported, "B0513", message)
                .help("`eutectic bench --backend cuda` measures our own kernels; NVIDIA's tools run a saved engine")
        };
        let problems: Vec<_> = flags.iter().filter(|(file, _)| file.is_some()).map(|(_, flag)| problem(flag)).collect();
        Diagnostics(problems).into_result(()).map(|_| ())
    }

    /// Shows an engine that was saved here.
    pub(super) fn show_saved(&self, path: &Path, global: &Global) -> Outcome {
        let library = worker(self.trt_lib.as_deref())?.library_version().map_err(|error| error.diagnostic())?;
        let (plan, manifest) = engine::load(path, library, None).map_err(|error| error.diagnostic())?;
        if global.json {
            let kernels = kernels_json(&manifest.layers);
            print_json(&json!({ "model": manifest.model, "engine_bytes": plan.len(), "kernels": kernels }));
            return Ok(0);
        }
        println!("model: {}", manifest.model);
        println!("library: {:?} {}", manifest.flavour, manifest.library);
        println!("engine: {} kernels, {}", kernels(&manifest.layers).count(), render::bytes(plan.len() as f64));
        if self.explain || self.verbose {
            print_kernels(&manifest.layers);
        }
        Ok(0)
    }

    /// Which fusions two builds differ in.
    pub(super) fn compare(&self, sides: [&Path; 2], global: &Global) -> Outcome {
        let [first, second] = sides.map(|path| self.layers_of(path, global));
        let Difference { common, first, second } = difference(&first?, &second?);
        let is_same = first.is_empty() && second.is_empty();
        if global.json {
            let side = |side: &[(Vec<String>, usize)]| -> Vec<Value> {
                side.iter().map(|(nodes, count)| json!({ "nodes": nodes, "count": count })).collect()
            };
            print_json(&json!({ "common": common, "first": side(&first), "second": side(&second) }));
            return Ok(i32::from(!is_same));
        }
        println!("{common} kernels have the same nodes");
        for (path, side) in sides.iter().zip([first, second]) {
            println!("only in {}:", path.display());
            for (nodes, count) in side {
                let nodes = if nodes.is_empty() { "(no node)".to_owned() } else { nodes.join(" + ") };
                println!("  {count} x {nodes}");
            }
        }
        Ok(i32::from(!is_same))
    }

    /// The layers of an engine that was saved here, or of one that is built of a model.
    fn layers_of(&self, path: &Path, global: &Global) -> Result<Vec<EngineLayer>, Diagnostics> {
        let worker = worker(self.trt_lib.as_deref())?;
        if engine::manifest_path(path).exists() {
            let library = worker.library_version().map_err(|error| error.diagnostic())?;
            let (_, manifest) = engine::load(path, library, None).map_err(|error| error.diagnostic())?;
            return Ok(manifest.layers);
        }
        Ok(self.build(path, global)?.engine.layers)
    }
}

/// The kernels as `--json` has them.
pub(super) fn kernels_json(layers: &[EngineLayer]) -> Vec<Value> {
    kernels(layers).map(|kernel| json!({ "name": kernel.name, "kind": kernel.kind, "nodes": kernel.origins })).collect()
}

/// Each kernel, and the nodes behind it.
pub(super) fn print_kernels(layers: &[EngineLayer]) {
    for one in explain(layers) {
        let nodes = one.nodes.join(" + ");
        let why = match one.role {
            Role::Computes => nodes,
            Role::Feeds => format!("(layout, for {nodes})"),
            Role::Follows => format!("(layout, of {nodes})"),
            Role::Alone => "(between an input and an output)".to_owned(),
        };
        println!("{:16} {}  <- {why}", one.kernel.kind, one.kernel.name);
    }
}

/// What came of the build.
pub(super) fn print_engine(report: &EngineReport) {
    let kinds: Vec<String> = report.kinds().iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    println!("\n=== Engine ===");
    println!("network: {} layers", report.network.n_layers());
    println!(
        "engine: {} kernels ({}), {}",
        report.kernels.len(),
        kinds.join(", "),
        render::bytes(report.engine_bytes as f64)
    );
}

pub(super) fn write_json(file: &Path, value: &Value) -> Result<(), Diagnostics> {
    std::fs::write(file, value.to_string()).map_err(|error| misuse(format!("{}: {error}", file.display())))
}
