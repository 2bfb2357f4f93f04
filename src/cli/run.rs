//! `eutectic run`: a model on the CPU backend, or on the reference interpreter.

use super::bench::{Precision, on_cuda};
use super::{Global, Outcome, misuse, print_json};
use crate::certificate::run_on_cpu;
use crate::cuda::WarmUp;
use crate::files::{load_npy, make_directory, save_npy};
use crate::inputs::{seeded, sizes_from_shapes};
use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::ir::eval::run_model;
use crate::ir::{Model, Tensor};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Args)]
pub(super) struct Run {
    /// The model
    model: PathBuf,
    /// An input from a NumPy file: name=file.npy; the others are drawn from the seed
    #[arg(long = "input", value_name = "NAME=FILE")]
    inputs: Vec<String>,
    /// Sizes of symbolic dims: input:1x3x224x224,...
    #[arg(long, default_value = "")]
    shapes: String,
    /// Seed of the inputs that no file gives
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What runs it
    #[arg(long, value_enum, default_value_t = On::Cpu)]
    backend: On,
    /// Precision of the CUDA backend
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Write the outputs to this directory, by position: output_0.npy and so on
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum On {
    /// The CPU backend
    Cpu,
    /// The first GPU
    Cuda,
    /// The reference interpreter in single precision: slow, the oracle
    Interp,
}

impl Run {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let warm_up = (self.backend == On::Cuda).then(WarmUp::begin);
        let model = global.load(&self.model)?;
        let inputs = read_inputs(&model, &self.inputs, &self.shapes, self.seed)?;
        warm_up.into_iter().for_each(WarmUp::finish);
        let start = Instant::now();
        let outputs = match self.backend {
            On::Cpu => run_on_cpu(&model, &inputs)?,
            On::Cuda => on_cuda(&model, &inputs, self.precision)?,
            On::Interp => interpret(&model, &inputs)?,
        };
        let seconds = start.elapsed().as_secs_f64();
        let names: Vec<String> = model.graph.outputs().iter().map(|output| output.name.to_string()).collect();
        if let Some(dir) = &self.out {
            make_directory(dir)?;
            for (at, output) in outputs.iter().enumerate() {
                // Names come from the file and may be paths; positions are safe.
                save_npy(&dir.join(format!("output_{at}.npy")), output)?;
            }
        }
        let summary = |(name, output): (&String, &Tensor)| {
            let values = output.to_f64s().unwrap_or_default();
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (name.clone(), output.ty().to_string(), low, mean, high)
        };
        let summaries: Vec<_> = names.iter().zip(&outputs).map(summary).collect();
        if global.json {
            let outputs: Vec<_> = summaries
                .iter()
                .map(|(name, ty, low, mean, high)| json!({ "name": name, "type": ty, "min": low, "mean": mean, "max": high }))
                .collect();
            print_json(&json!({ "outputs": outputs, "seconds": seconds }));
        } else {
            for (name, ty, low, mean, high) in summaries {
                println!("{name}: {ty}, min {low:.6}, mean {mean:.6}, max {high:.6}");
            }
            println!("ran once in {:.1} ms, preparation included", seconds * 1e3);
        }
        Ok(0)
    }
}

/// An input for each of the model's: from the file that one of `pairs`, name=file.npy, names for it, else drawn.
pub(super) fn read_inputs(
    model: &Model,
    pairs: &[String],
    shapes: &str,
    seed: u64,
) -> Result<Vec<Option<Tensor>>, Diagnostics> {
    let graph = &model.graph;
    let mut given: Vec<Option<Tensor>> = vec![None; graph.inputs().len()];
    for pair in pairs {
        let (name, file) =
            pair.split_once('=').ok_or_else(|| misuse(format!("`--input {pair}` is not of the form name=file.npy")))?;
        let at = graph.inputs().iter().position(|&id| graph.value(id).name == name);
        let at = at.ok_or_else(|| {
            let known: Vec<&str> = graph.inputs().iter().map(|&id| graph.value(id).name.as_str()).collect();
            misuse(format!("the model has no input `{name}`; it has `{}`", known.join("`, `")))
        })?;
        given[at] = Some(load_npy(file.as_ref())?);
    }
    if given.iter().all(Option::is_some) {
        return Ok(given);
    }
    let drawn = seeded(model, &sizes_from_shapes(graph, shapes)?, seed)
        .map_err(|problems| problems.with_help("C0121", "give each as a file: `--input NAME=x.npy`"))?;
    Ok(given.into_iter().zip(drawn).map(|(given, drawn)| given.or(drawn)).collect())
}

fn interpret(model: &Model, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, Diagnostics> {
    let fail = |what: String| Diagnostics::from(Diagnostic::error(Kind::Unsupported, "C0140", what));
    let outputs = run_model::<f32>(model, inputs).map_err(|error| fail(error.to_string()))?;
    model.intact()?;
    outputs.iter().map(|output| output.to_tensor().map_err(|reason| fail(reason.to_string()))).collect()
}
