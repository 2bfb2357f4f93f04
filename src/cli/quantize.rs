//! `eutectic quantize`: a model in lower precision, as standard ONNX with explicit casts and quantization.

use super::precision::Precision;
use super::{Global, Outcome, misuse, print_json, progress};
use crate::certificate::{compare, difference, run_on_cpu};
use crate::inputs::{seeded, sizes_from_shapes};
use crate::ir::Model;
use crate::ir::diag::Diagnostics;
use crate::passes::fold::{FoldBudget, fold};
use crate::passes::optimize::{Options, optimize};
use crate::passes::pass::Pipeline;
use crate::passes::precision::{Quantize as Quantization, candidates, quantize};
use crate::passes::target::Target;
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Quantize {
    /// The model
    model: PathBuf,
    /// Where the result goes, or `-` for standard output; without it nothing is written
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    precision: Precision,
    /// Sizes of symbolic dims: input:1x3x224x224,...
    #[arg(long, default_value = "")]
    shapes: String,
    /// Quantize each layer alone, and say what that costs: which layers to `--keep`
    #[arg(long)]
    sensitivity: bool,
}

impl Quantize {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        if !self.precision.is_asked() {
            return Err(misuse("say which precision: --fp16, --bf16, --int8, --fp8 or --int4"));
        }
        global.check_output(self.output.as_deref())?;
        let mut model = global.load(&self.model)?;
        let options = Options::standard(Target::Onnx)?.admitting(&model);
        optimize(&mut model, &options)?;
        if self.sensitivity {
            return self.rank(model, global);
        }
        let before = model.clone();
        let reports = self.precision.apply(&mut model, &self.model, &self.shapes, global)?;
        let changed = |name: &str| {
            reports.iter().filter(|report| report.name == name).map(|report| report.change.n_changed).sum::<usize>()
        };
        let sizes = sizes_from_shapes(&before.graph, &self.shapes)?;
        let found = compare(&before, &model, &sizes, 0, 1.0)?;
        let bytes = self.output.as_ref().map(|output| global.save(&model, output, None)).transpose()?;
        if global.json {
            print_json(&json!({
                "quantized": changed("quantize"),
                "cast": changed("autocast"),
                "worst": found.worst,
                "outputs": found.outputs,
                "bytes": bytes,
            }));
            return Ok(0);
        }
        if !global.tells(self.output.as_deref()) {
            return Ok(0);
        }
        let quantized = super::render::counted(changed("quantize"), "call");
        println!("{quantized} quantized, {} in half precision", changed("autocast"));
        println!("largest difference {:.1e} of the output, on inputs of seed 0", found.worst);
        match (&self.output, bytes) {
            (Some(output), Some(bytes)) => {
                println!("wrote {} ({})", output.display(), super::render::bytes(bytes as f64));
            }
            _ => println!("nothing written: give `--output`"),
        }
        Ok(0)
    }

    /// Prints what quantizing each layer alone does to the outputs, the worst first.
    fn rank(&self, mut model: Model, global: &Global) -> Outcome {
        let Some(format) = self.precision.format() else {
            return Err(misuse("sensitivity is of --int8, --fp8 or --int4"));
        };
        let ranges = self.precision.ranges(&mut model, &self.model, &self.shapes, global)?;
        // A layer is named by its node; one without a name gets one.
        for (at, id) in candidates(&model.graph).into_iter().enumerate() {
            if model.graph.node(id).name.is_empty() {
                let op = model.graph.node(id).op.name().to_owned();
                model.graph.node_mut(id).name = format!("{op}:{at}").into();
            }
        }
        let layers: Vec<_> = candidates(&model.graph).iter().map(|&id| model.graph.node(id).name.clone()).collect();
        let inputs = seeded(&model, &sizes_from_shapes(&model.graph, &self.shapes)?, 0)?;
        let exact = run_on_cpu(&model, &inputs)?;
        let cost_of = |layer: &crate::ir::Name| -> Result<f64, Diagnostics> {
            let mut alone = model.clone();
            let all = self.precision.quantization(format, ranges.clone());
            let only = Quantization { only: Some(vec![layer.clone()]), ..all };
            Pipeline(vec![quantize(only), fold(FoldBudget::STANDARD, false)]).run(&mut alone)?;
            let outputs = run_on_cpu(&alone, &inputs)?;
            let differences = exact.iter().zip(&outputs).map(|(a, b)| difference(String::new(), a, b).max_rel);
            Ok(differences.fold(0.0, f64::max))
        };
        let bar = progress(global, layers.len(), "quantizing {bar:30} {pos}/{len} layers, {eta} left");
        let mut costs: Vec<(&str, f64)> = Vec::new();
        for layer in bar.wrap_iter(layers.iter()) {
            costs.push((layer.as_str(), cost_of(layer)?));
        }
        costs.sort_by(|a, b| b.1.total_cmp(&a.1));
        if global.json {
            let layers: Vec<_> = costs.iter().map(|(layer, cost)| json!({ "layer": layer, "max_rel": cost })).collect();
            print_json(&json!({ "layers": layers }));
            return Ok(0);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["layer quantized alone", "largest difference of the output"]);
        for (layer, cost) in costs {
            table.add_row([crate::ir::diag::Escaped(layer).to_string(), format!("{cost:.2e}")]);
        }
        println!("{table}");
        Ok(0)
    }
}
