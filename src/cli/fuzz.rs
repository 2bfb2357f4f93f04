//! `eutectic fuzz`: random equivalents of a model through a backend, each compared with the reference on the model itself.

use super::against::Partners;
use super::rewriting::Rewriting;
use super::{Global, Outcome, bound, print_json, progress, render};
use crate::certificate::Certificate;
use crate::files::{make_directory, save_npy, write_text};
use crate::inputs::{seeded, sizes_from_shapes};
use crate::ir::diag::{Diagnostics, Escaped};
use crate::ir::{Model, Tensor};
use crate::passes::saturated::Saturated;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Fuzz {
    /// The model
    model: PathBuf,
    /// What is tested: cpu (our CPU backend, against the interpreter), ort (ONNX Runtime, against our CPU backend), tensorrt (its
    /// builder alone), or a program, against our CPU backend: it is run as `PROGRAM MODEL INPUTS OUTPUTS`
    #[arg(long, value_name = "cpu|ort|tensorrt|PROGRAM")]
    against: String,
    /// How many equivalents are drawn
    #[arg(long, default_value_t = 10)]
    count: u64,
    /// Seed of the first equivalent, and of the inputs; the next ones follow
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where each finding goes: the model, its equivalent and the inputs
    #[arg(long, value_name = "DIR", default_value = "fuzz")]
    out: PathBuf,
    /// Largest difference that counts as equal, relative to the largest magnitude of each output
    #[arg(long, default_value_t = 1e-3, value_parser = bound, allow_negative_numbers = true)]
    tolerance: f64,
    /// Sizes of symbolic dims: input:1x3x224x224,...
    #[arg(long, default_value = "")]
    shapes: String,
    #[command(flatten)]
    partners: Partners,
    #[command(flatten)]
    rewriting: Rewriting,
}

/// What came of one equivalent.
struct Finding {
    seed: u64,
    /// The largest difference relative to the largest magnitude of an output, where both ran.
    worst: f64,
    /// Why the partner did not run it.
    refused: Option<String>,
}

impl Fuzz {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let mut model = global.load(&self.model)?;
        self.rewriting.expand(&mut model, global)?;
        let options = self.rewriting.options(&model)?;
        let inputs = seeded(&model, &sizes_from_shapes(&model.graph, &self.shapes)?, self.seed)?;
        let mut partner = self.partners.partner(&self.against, &model, &self.shapes)?;
        let reference = partner.reference(&model, &inputs)?;
        // What the partner makes of the model itself is no finding about an equivalent.
        let baseline = worst(&model, &reference, &partner.run(&model, &inputs)?, self.tolerance);
        if baseline > self.tolerance {
            let found = Finding { seed: self.seed, worst: baseline, refused: None };
            self.keep(&model, &model, &inputs, &found)?;
            return self.report(global, &[found], 0, baseline);
        }
        let saturated = Saturated::new(model.clone(), options)?;
        let mut findings = Vec::new();
        let bar = progress(global, self.count as usize, "fuzzing {bar:30} {pos}/{len} equivalents, {eta} left");
        for at in bar.wrap_iter(0..self.count) {
            let seed = self.seed.wrapping_add(at);
            let equivalent = saturated.draw(seed)?;
            let found = match partner.run(&equivalent, &inputs) {
                Ok(outputs) => {
                    Finding { seed, worst: worst(&model, &reference, &outputs, self.tolerance), refused: None }
                }
                Err(problems) => Finding { seed, worst: 0.0, refused: Some(problems.to_string()) },
            };
            if found.refused.is_some() || found.worst > self.tolerance {
                self.keep(&model, &equivalent, &inputs, &found)?;
                findings.push(found);
            }
        }
        self.report(global, &findings, self.count, baseline)
    }

    /// Writes a finding: both models, the inputs, and what was found.
    fn keep(
        &self,
        model: &Model,
        equivalent: &Model,
        inputs: &[Option<Tensor>],
        found: &Finding,
    ) -> Result<(), Diagnostics> {
        let dir = self.out.join(format!("seed_{}", found.seed));
        make_directory(&dir)?;
        let export = crate::onnx::ExportOptions { opset: None, external_data: false };
        crate::files::save(model, &dir.join("model.onnx"), &export)?;
        crate::files::save(equivalent, &dir.join("equivalent.onnx"), &export)?;
        for (at, input) in inputs.iter().enumerate() {
            if let Some(input) = input {
                // Names come from the file and may be paths; positions are safe.
                save_npy(&dir.join(format!("input_{at}.npy")), input)?;
            }
        }
        Ok(write_text(&dir.join("finding.json"), format!("{:#}\n", finding_json(found)))?)
    }

    fn report(&self, global: &Global, findings: &[Finding], n_run: u64, baseline: f64) -> Outcome {
        if global.json {
            let listed: Vec<_> = findings.iter().map(finding_json).collect();
            print_json(&json!({ "run": n_run, "baseline": number(baseline), "findings": listed }));
        } else {
            println!("the model itself: largest difference {baseline:.1e} of the output");
            for found in findings {
                match &found.refused {
                    Some(why) => println!("seed {}: refused: {}", found.seed, Escaped(why)),
                    None => println!("seed {}: largest difference {:.1e} of the output", found.seed, found.worst),
                }
            }
            let n_run = render::counted(n_run as usize, "equivalent");
            println!("{n_run} run, {}", render::counted(findings.len(), "finding"));
            if !findings.is_empty() {
                println!("they are in {}", self.out.display());
            }
        }
        Ok(i32::from(!findings.is_empty()))
    }
}

fn worst(model: &Model, reference: &[Tensor], outputs: &[Tensor], tolerance: f64) -> f64 {
    Certificate::of(model, reference, outputs, 0, tolerance).worst
}

fn finding_json(found: &Finding) -> serde_json::Value {
    json!({ "seed": found.seed, "difference": number(found.worst), "refused": found.refused })
}

/// JSON has no infinity; a string says it.
pub(super) fn number(value: f64) -> serde_json::Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}
