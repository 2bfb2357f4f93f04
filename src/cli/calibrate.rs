//! `eutectic calibrate`: measures the calls of models on the device and writes them as a table that extraction prices by.

use super::bench::{Precision, default_cache};
use super::{Global, Outcome, at_least_one, misuse, print_json};
use crate::backend::{Error, Program};
use crate::batch;
use crate::cuda::{Cuda, Library, require};
use crate::files::unwritten;
use crate::fused::{self, Wanted};
use crate::inputs::{Sizes, seeded, sizes_from_shapes};
use crate::ir::diag::Diagnostics;
use crate::ir::graph::NodeId;
use crate::ir::infer::{Facts, infer};
use crate::ir::op::{Call, Law};
use crate::ir::{Element, Graph, Model, Op, Tensor, TensorType};
use crate::measure::rank_correlation;
use crate::passes::cost::{CostModel, CostTable, Device, Measured, Pricing};
use crate::passes::optimize::{Options, optimize};
use crate::passes::regions::Fusions;
use crate::passes::target::Target;
use clap::Args;
use serde_json::json;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes that one call may take on the device.
const MEMORY: usize = 16 << 30;

#[derive(Args)]
pub(super) struct Calibrate {
    /// The models whose calls are measured
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// Precision of the CUDA backend
    #[arg(long, value_enum, default_value_t = Precision::F16)]
    precision: Precision,
    /// Size of the first dim of every input
    #[arg(long, value_parser = at_least_one)]
    batch: Option<usize>,
    /// Sizes of symbolic dims: input:1x3x224x224,...
    #[arg(long, default_value = "")]
    shapes: String,
    /// The device whose roofline is compared
    #[arg(long, default_value = "h200")]
    roofline: String,
    /// Where the table goes, one JSON object a line, for `--cost table:FILE`
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where compiled kernels and tuned choices are kept
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// What is known of one call.
struct Line {
    call: Measured,
    seconds: f64,
    predicted: f64,
}

/// The lines so far.
struct Calibration<'a> {
    verb: &'a Calibrate,
    cuda: Cuda,
    roofline: CostModel,
    lines: Vec<Line>,
    /// The time of each call; `None` when the backend refused it.
    known: HashMap<Measured, Option<f64>>,
}

impl Calibrate {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        require(Library::Driver)?;
        let device =
            Device::named(&self.roofline).ok_or_else(|| misuse(format!("there is no device `{}`", self.roofline)))?;
        let cache = self.cache.clone().or_else(default_cache);
        let cuda = Cuda { precision: self.precision.of_backend(), cache };
        let mut found = Calibration {
            verb: self,
            cuda,
            roofline: CostModel::new(device),
            lines: Vec::new(),
            known: HashMap::new(),
        };
        let mut regrets = Vec::new();
        for path in &self.models {
            let mut model = global.load(path)?;
            let sizes = sizes_from_shapes(&model.graph, &self.shapes)?;
            batch::bind(&mut model, &sizes, self.batch)?;
            found.measure(&model)?;
            let by_roofline = found.extracted(&model, found.roofline.clone())?;
            found.measure(&by_roofline)?;
            let by_table = found.extracted(&model, found.table())?;
            found.measure(&by_table)?;
            // What the choice by the roofline costs more than the choice by measurements, both as measured.
            let (chosen, best) = (found.total(by_roofline)?, found.total(by_table)?);
            regrets.push((path.display().to_string(), chosen, best));
        }
        found.write().map_err(|error| unwritten(&self.out, &error))?;
        found.report(global, &regrets);
        Ok(0)
    }
}

impl Calibration<'_> {
    /// Measures every call of `model` that is not known yet.
    fn measure(&mut self, model: &Model) -> Result<(), Diagnostics> {
        let mut model = model.clone();
        let (facts, _) = infer(&mut model);
        let ids: Vec<NodeId> = model.graph.nodes().map(|(id, _)| id).collect();
        for id in ids {
            let Some((call, predicted)) = self.described(&model.graph, &facts, id) else { continue };
            if self.known.contains_key(&call) {
                continue;
            }
            let single = single(&model.graph, id, self.verb.precision);
            let seconds = single.and_then(|single| self.seconds(&single).ok());
            self.known.insert(call.clone(), seconds);
            if let Some(seconds) = seconds {
                self.lines.push(Line { call, seconds, predicted });
            }
        }
        Ok(())
    }

    /// What a table knows call `id` as, and its time by the roofline; `None` for views, constants and unknown types.
    fn described(&self, graph: &Graph, facts: &Facts, id: NodeId) -> Option<(Measured, f64)> {
        let node = graph.node(id);
        let is_view = matches!(&node.op, Op::Builtin(def) if def.has(Law::View));
        let is_computed = node.inputs().iter().flatten().any(|&input| graph.weight(input).is_none());
        if is_view || !is_computed || node.bodies().next().is_some() {
            return None;
        }
        let outputs: Vec<TensorType> =
            node.outputs().iter().map(|&output| graph.ty(output).cloned()).collect::<Option<_>>()?;
        let arguments = facts.arguments(graph, node)?;
        let call = Call { attrs: &node.attrs, inputs: &arguments, captures: &[], n_outputs: outputs.len(), scope: "" };
        let predicted = self.roofline.price(&node.op, &call, &outputs)?;
        let input = |at: usize| call.input(at).map(|operand| operand.ty.to_string()).unwrap_or_default();
        let measured = Measured {
            operator: node.op.to_string(),
            inputs: (0..arguments.len()).map(input).collect(),
            outputs: outputs.iter().map(ToString::to_string).collect(),
        };
        outputs.iter().all(|ty| ty.sizes().is_some()).then_some((measured, predicted))
    }

    /// Seconds of the kernels of `single`, beside those that only bring its operands into the layout that others give them.
    fn seconds(&self, single: &Model) -> Result<f64, Diagnostics> {
        let fail = |Error(problems): Error| problems;
        let wanted = Wanted { fusions: &Fusions::all(), memory: MEMORY };
        let mut program = fused::prepare(&self.cuda, single, wanted)?;
        let inputs = seeded(single, &Sizes::all(1), 0)?;
        let given: Vec<Tensor> = inputs.iter().map_while(Clone::clone).collect();
        program.spread(program.copies_beyond_cache()).map_err(fail)?;
        program.run(&given).map_err(fail)?;
        let profiles = program.profile().map_err(fail)?;
        let sum = |all: bool| -> f64 {
            profiles.iter().filter(|profile| all || profile.launch.name != "copy").map(|profile| profile.seconds).sum()
        };
        let own = sum(false);
        Ok(if own > 0.0 { own } else { sum(true) })
    }

    fn table(&self) -> CostModel {
        let mut table = CostTable::default();
        for line in &self.lines {
            // Times come from differences of clocks, which are finite and not negative.
            let _ = table.insert(line.call.clone(), line.seconds);
        }
        CostModel { pricing: Pricing::Table(Arc::new(table)), ..self.roofline.clone() }
    }

    fn extracted(&self, model: &Model, cost: CostModel) -> Result<Model, Diagnostics> {
        let mut model = model.clone();
        let options = Options { cost, ..Options::standard(Target::Cpu)?.admitting(&model) };
        optimize(&mut model, &options)?;
        Ok(model)
    }

    /// The sum of the times of all calls of `model`: as measured, and by the roofline where nothing was.
    fn total(&self, mut model: Model) -> Result<f64, Diagnostics> {
        let (facts, _) = infer(&mut model);
        let calls = model.graph.nodes().filter_map(|(id, _)| self.described(&model.graph, &facts, id));
        Ok(calls.map(|(call, predicted)| self.known.get(&call).copied().flatten().unwrap_or(predicted)).sum())
    }

    fn write(&self) -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(&self.verb.out)?);
        for line in &self.lines {
            let Line { call, seconds, predicted } = line;
            let precision = format!("{:?}", self.verb.precision).to_lowercase();
            let line = json!({
                "operator": call.operator, "inputs": call.inputs, "outputs": call.outputs, "seconds": seconds,
                "predicted": predicted, "precision": precision,
            });
            writeln!(file, "{line}")?;
        }
        file.flush()
    }

    fn report(&self, global: &Global, regrets: &[(String, f64, f64)]) {
        let column = |of: fn(&Line) -> f64| self.lines.iter().map(of).collect::<Vec<f64>>();
        let correlation = rank_correlation(&column(|line| line.predicted), &column(|line| line.seconds));
        let refused = self.known.values().filter(|seconds| seconds.is_none()).count();
        if global.json {
            let regrets: Vec<_> = regrets
                .iter()
                .map(|(model, chosen, best)| json!({ "model": model, "by_roofline": chosen, "by_table": best }))
                .collect();
            print_json(&json!({
                "measured": self.lines.len(), "refused": refused, "rank_correlation": correlation, "models": regrets,
            }));
            return;
        }
        println!("{} calls measured, {refused} refused; {}", self.lines.len(), self.verb.out.display());
        println!("rank correlation of roofline and measurement {correlation:.3}");
        for (model, chosen, best) in regrets {
            println!(
                "{model}: {:.4} ms as the roofline chooses, {:.4} ms as the table does: regret {:.1} %",
                chosen * 1e3,
                best * 1e3,
                100.0 * (chosen / best - 1.0)
            );
        }
    }
}

/// Call `id` of `graph` as a model: weights stay weights, everything else that it reads becomes an input. In half precision
/// its operands are what a program in that precision holds.
fn single(graph: &Graph, id: NodeId, precision: Precision) -> Option<Model> {
    let stored = match precision {
        Precision::F16 => Element::Float16,
        Precision::Bf16 => Element::Bfloat16,
        Precision::F32 | Precision::Tf32 => Element::Float,
    };
    let node = graph.node(id);
    let mut alone = Graph::new("call");
    let mut inputs = Vec::new();
    for (at, input) in node.inputs().iter().enumerate() {
        let Some(value) = *input else {
            inputs.push(None);
            continue;
        };
        let mut ty = graph.ty(value)?.clone();
        let is_float = ty.element == Element::Float;
        inputs.push(Some(match graph.weight(value) {
            Some(weight) if is_float && stored != Element::Float => {
                let narrow = Tensor::from_f64s(stored, weight.shape(), &weight.to_f64s()?).ok()?;
                alone.add_weight(format!("i{at}"), narrow)
            }
            Some(weight) => alone.add_weight(format!("i{at}"), weight.clone()),
            None => {
                if is_float {
                    ty.element = stored;
                }
                alone.add_input(format!("i{at}"), Some(ty), None)
            }
        }));
    }
    let names = (0..node.outputs().len()).map(|at| format!("o{at}"));
    let made = alone.add_node(node.op.clone(), node.attrs.clone(), inputs, names);
    let outputs = alone.node(made).outputs().to_vec();
    for (at, output) in outputs.into_iter().enumerate() {
        alone.add_output(format!("o{at}"), output);
    }
    Some(Model::new(alone))
}
