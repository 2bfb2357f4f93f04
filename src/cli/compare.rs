//! `eutectic compare`: two models, or one in two places, the same inputs, the differences of their outputs, and where they begin.

use super::against::Partners;
use super::fuzz::number;
use super::rewriting::Rewriting;
use super::{Global, Outcome, bound, misuse, print_json};
use crate::bisect::{Culprit, Finding, bisect};
use crate::certificate::{self, Certificate, inputs_of_other, run_on_cpu};
use crate::files::{make_directory, save, save_npy, write_text};
use crate::inputs::{seeded, sizes_from_shapes};
use crate::ir::diag::{Diagnostics, Escaped};
use crate::ir::{Model, Tensor};
use crate::onnx::ExportOptions;
use crate::partners::Partner;
use crate::passes::optimize::Engine;
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Compare {
    /// The first model
    a: PathBuf,
    /// The second model; without it the first, or what `--bisect` makes of it
    #[arg(required_unless_present_any = ["against", "bisect"])]
    b: Option<PathBuf>,
    /// Where the second model runs: ort (ONNX Runtime), or a program, run as `PROGRAM MODEL INPUTS OUTPUTS`; the first one, and
    /// without this both, on our CPU backend
    #[arg(long, value_name = "cpu|ort|PROGRAM")]
    against: Option<String>,
    /// Optimize the first model again, and find the pass or the application of a rule after which the answer differs
    #[arg(long)]
    bisect: bool,
    /// Where the models around that step go, with their inputs
    #[arg(long, value_name = "DIR", default_value = "bisected", requires = "bisect")]
    out: PathBuf,
    /// Largest difference that counts as equal, relative to the largest magnitude of each output
    #[arg(long, default_value_t = 1e-4, value_parser = bound, allow_negative_numbers = true)]
    tolerance: f64,
    /// Sizes of symbolic dims: input:1x3x224x224,...
    #[arg(long, default_value = "")]
    shapes: String,
    /// Seed of the inputs
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    partners: Partners,
    #[command(flatten)]
    rewriting: Rewriting,
}

impl Compare {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let a = global.load(&self.a)?;
        let b = self.b.as_ref().map(|path| global.load(path)).transpose()?;
        let mut partner = match &self.against {
            None => None,
            Some(name) if name == "tensorrt" => {
                return Err(misuse("TensorRT builds without running: there is no answer"));
            }
            Some(name) => Some(self.partners.partner(name, &a, "")?),
        };
        let inputs = |a: &Model| seeded(a, &sizes_from_shapes(&a.graph, &self.shapes)?, self.seed);
        let found = match (&b, &mut partner) {
            (None, None) => None,
            (Some(b), None) => {
                let sizes = sizes_from_shapes(&a.graph, &self.shapes)?;
                Some(certificate::compare(&a, b, &sizes, self.seed, self.tolerance)?)
            }
            (_, Some(partner)) => {
                let inputs = inputs(&a)?;
                let other = b.as_ref().unwrap_or(&a);
                let given = inputs_of_other(&a, other, &inputs)?;
                let (left, right) = (run_on_cpu(&a, &inputs)?, partner.run(other, &given)?);
                let against = self.against.as_deref().unwrap_or_default();
                let method = format!("run by {against} and on the CPU backend, inputs of seed {}", self.seed);
                Some(Certificate { method, ..Certificate::of(&a, &left, &right, self.seed, self.tolerance) })
            }
        };
        // What both models are said to differ in; one that is not there, or the same, says nothing yet.
        let is_different = found.as_ref().is_some_and(|found| !found.equal);
        if !self.bisect || (b.is_some() && !is_different) {
            return Ok(found.map_or(0, |found| self.report(global, &found)));
        }
        let inputs = inputs(&a)?;
        self.bisect(global, a, &inputs, partner, is_different && b.is_some())
    }

    fn report(&self, global: &Global, found: &Certificate) -> i32 {
        if global.json {
            let outputs: Vec<_> = found
                .outputs
                .iter()
                .map(|output| {
                    json!({
                        "name": output.name,
                        "max_abs": number(output.max_abs),
                        "max_rel": number(output.max_rel),
                        "required_rtol": number(output.required_rtol),
                    })
                })
                .collect();
            print_json(
                &json!({ "equal": found.equal, "outputs": outputs, "tolerance": self.tolerance, "method": found.method }),
            );
        } else {
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_header(["output", "largest difference", "of the largest magnitude", "rtol that would pass"]);
            for output in &found.outputs {
                let [abs, rel, rtol] =
                    [output.max_abs, output.max_rel, output.required_rtol].map(|value| format!("{value:.2e}"));
                table.add_row([output.name.clone(), abs, rel, rtol]);
            }
            println!("{table}");
            let verdict = if found.equal { "equal" } else { "different" };
            println!("{verdict} at a tolerance of {:.0e}; {}", self.tolerance, found.method);
        }
        i32::from(!found.equal)
    }

    fn bisect(
        &self,
        global: &Global,
        mut model: Model,
        inputs: &[Option<Tensor>],
        mut partner: Option<Partner>,
        is_given: bool,
    ) -> Outcome {
        self.rewriting.expand(&mut model, global)?;
        let options = self.rewriting.options(&model)?;
        if options.engine == Engine::Greedy {
            return Err(misuse("the chain of steps is that of an e-graph: leave out `--engine greedy`"));
        }
        let run = &mut |model: &Model, inputs: &[Option<Tensor>]| match &mut partner {
            Some(partner) => partner.run(model, inputs),
            None => run_on_cpu(model, inputs),
        };
        let Some(found) = bisect(&model, &options, inputs, self.tolerance, run)? else {
            if global.json {
                print_json(&json!({ "equal": !is_given, "step": null, "tolerance": self.tolerance }));
            } else if is_given {
                println!(
                    "the models differ, but what these options make of the first gives its answer: the second was made otherwise"
                );
            } else {
                println!("equal: what these options make of the model gives its answer");
            }
            return Ok(i32::from(is_given));
        };
        let result = self.result(&found);
        self.write(&found, &result)?;
        if global.json {
            print_json(&result);
        } else {
            self.print(&found);
        }
        Ok(1)
    }

    fn result(&self, found: &Finding) -> serde_json::Value {
        let step = match &found.culprit {
            Culprit::Model => json!({ "kind": "model" }),
            Culprit::Pass(name) => json!({ "kind": "pass", "pass": name }),
            Culprit::Engine => json!({ "kind": "engine" }),
            Culprit::Application { step, number } => json!({
                "kind": "rule",
                "rule": step.rule.as_str(),
                "file": step.place,
                "contract": step.contract.to_string(),
                "number": number,
                "before": step.before,
                "after": step.after,
            }),
        };
        json!({
            "equal": false,
            "step": step,
            "difference": number(found.difference),
            "steps": found.n_steps,
            "not_run": found.n_not_run,
            "tolerance": self.tolerance,
            "out": self.out,
        })
    }

    fn print(&self, found: &Finding) {
        match &found.culprit {
            Culprit::Model => println!(
                "the model itself gives another answer, before anything is done to it; `eutectic reduce` makes it small"
            ),
            Culprit::Pass(name) => println!("the answer differs after the pass `{name}`"),
            Culprit::Engine => {
                println!(
                    "the answer differs after the engine, but each application of a rule alone gives the right one:"
                );
                println!(
                    "differences add up, or calls beside each other fail together; `eutectic reduce` makes that small"
                );
            }
            Culprit::Application { step, number } => {
                println!("the answer differs after step {number} of {}:", found.n_steps);
                println!("{}   {}   {}", step.rule, step.contract, step.place);
                step.before.iter().for_each(|line| println!("      - {}", Escaped(line)));
                step.after.iter().for_each(|line| println!("      + {}", Escaped(line)));
            }
        }
        println!("largest difference {:.1e} of the output (tolerance {:.0e})", found.difference, self.tolerance);
        if found.n_not_run > 0 {
            println!("{} applications could not be run alone, and were passed over", found.n_not_run);
        }
        println!("before.onnx, after.onnx and their inputs are in {}", self.out.display());
    }

    /// Writes the models around the step, each with its inputs, and what was found.
    fn write(&self, found: &Finding, result: &serde_json::Value) -> Result<(), Diagnostics> {
        make_directory(&self.out)?;
        for (name, (model, inputs)) in ["before", "after"].into_iter().zip(&found.around) {
            let export = ExportOptions { opset: None, external_data: false };
            save(model, &self.out.join(format!("{name}.onnx")), &export)?;
            for (at, input) in inputs.iter().enumerate() {
                if let Some(input) = input {
                    save_npy(&self.out.join(format!("{name}_input_{at}.npy")), input)?;
                }
            }
        }
        Ok(write_text(&self.out.join("finding.json"), format!("{result:#}\n"))?)
    }
}
