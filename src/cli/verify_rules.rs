//! `eutectic rules verify`: whether the two sides of each rule agree, by what evidence, and where they do not.

use super::rules::load;
use super::{Global, Outcome, print_json, progress};
use crate::files::make_directory;
use crate::ir::diag::{Diagnostic, Diagnostics};
use crate::ir::graph::Op;
use crate::ir::{Graph, Model};
use crate::passes::rules::verify::mutate::{Mutation, mutation};
use crate::passes::rules::verify::{Counterexample, Effort, FloatEvidence, Verdict, verify};
use crate::passes::rules::{Library, Rule};
use clap::Args;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

#[derive(Args)]
pub(super) struct Verify {
    /// Rule files; without any, the library itself
    files: Vec<PathBuf>,
    /// Also verify every rule with one mistake in it, and say which mistakes go unnoticed
    #[arg(long)]
    mutate: bool,
    /// Selects the instances; the seed of a counterexample draws it first
    #[arg(long, default_value_t = Effort::STANDARD.seed)]
    seed: u64,
    /// Instances on which both sides of a rule are compared
    #[arg(long, value_name = "N", default_value_t = Effort::STANDARD.instances)]
    instances: usize,
    /// Write both sides of each counterexample as models, with its inputs as defaults
    #[arg(long, value_name = "DIR")]
    counterexamples: Option<PathBuf>,
}

type Found<'a> = (&'a Rule, Result<Verdict, Box<Diagnostic>>, Mutation);

impl Verify {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let start = Instant::now();
        let mut library = if self.files.is_empty() { Library::built_in()? } else { Library::new() };
        for file in &self.files {
            load(&mut library, file)?;
        }
        let draws = self.instances.saturating_mul(100).max(Effort::STANDARD.draws);
        let effort = Effort { instances: self.instances, draws, seed: self.seed, ..Effort::STANDARD };
        let one = |rule: &'_ Arc<Rule>| {
            let recognise = rule.name.strip_suffix("_expand").and_then(|name| library.rule(name)).map(Arc::as_ref);
            let verdict = verify(rule, recognise, effort);
            let is_sound = verdict.as_ref().is_ok_and(Verdict::is_sound);
            let mutation =
                if self.mutate && is_sound { mutation(rule, recognise, effort) } else { Mutation::default() };
            (verdict, mutation)
        };
        let bar = progress(global, library.rules().len(), "verifying {bar:30} {pos}/{len} rules, {eta} left");
        let found: Vec<_> = library.rules().par_iter().map(one).inspect(|_| bar.inc(1)).collect();
        bar.finish_and_clear();
        let found: Vec<Found> =
            library.rules().iter().zip(found).map(|(rule, (verdict, mutation))| (&**rule, verdict, mutation)).collect();
        if let Some(directory) = &self.counterexamples {
            for (rule, verdict, _) in &found {
                if let Some(counterexample) = verdict.as_ref().ok().and_then(|verdict| verdict.counterexample.as_ref())
                {
                    write(global, directory, rule, counterexample)?;
                }
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        if global.json {
            self.print_json(&found, seconds)
        } else {
            self.print(&found, seconds)
        }
        let is_sound = |(_, verdict, _): &Found| verdict.as_ref().is_ok_and(Verdict::is_sound);
        Ok(i32::from(!found.iter().all(is_sound)))
    }

    fn print(&self, found: &[Found], seconds: f64) {
        let mut counts = [0usize; 3];
        for (rule, verdict, _) in found {
            let (at, text) = match verdict {
                Ok(verdict) => match &verdict.counterexample {
                    None => (0, format!("sound      {:36} {}", rule.name, verdict.evidence)),
                    Some(counterexample) => {
                        (1, format!("unsound    {:36} {counterexample} (--seed {})", rule.name, counterexample.seed))
                    }
                },
                Err(problem) => (2, format!("undecided  {:36} {}", rule.name, problem.message)),
            };
            counts[at] += 1;
            println!("{text}");
            if let (1, Some(directory)) = (at, &self.counterexamples) {
                println!("           {:36} both sides lie in {}", "", directory.display());
            }
            let uncovered: Vec<String> = verdict
                .iter()
                .filter(|verdict| verdict.is_sound())
                .flat_map(|verdict| verdict.coverage.uncovered().map(|cell| cell.to_string()))
                .collect();
            if !uncovered.is_empty() {
                println!("           {:36} never drawn: {}", "", uncovered.join(", "));
            }
        }
        println!("\n{} sound, {} unsound, {} undecided, in {seconds:.1} s", counts[0], counts[1], counts[2]);
        if self.mutate {
            let total = total(found);
            for (rule, mistake) in &total.survivors {
                println!("unnoticed  {rule:36} {mistake}");
            }
            println!(
                "{} mistakes noticed, {} never applied, {} sound, {} argued to be none, {} unnoticed: kill rate {:.2} %",
                total.n_killed,
                total.n_refused,
                total.sound.len(),
                total.equivalent.len(),
                total.survivors.len(),
                100.0 * total.kill_rate()
            );
        }
    }

    fn print_json(&self, found: &[Found], seconds: f64) {
        let (mut sound, mut unsound, mut undecided, mut rules) = (0, Vec::new(), Vec::new(), Vec::new());
        for (rule, verdict, _) in found {
            match verdict {
                Ok(verdict) => {
                    match &verdict.counterexample {
                        None => sound += 1,
                        Some(counterexample) => unsound.push(json!({
                            "name": rule.name.as_str(),
                            "counterexample": counterexample.sentence,
                            "seed": counterexample.seed,
                            "file": format!("{}:{}", rule.file, rule.line),
                        })),
                    }
                    rules.push(described(rule, verdict));
                }
                Err(problem) => {
                    undecided.push(json!({ "name": rule.name.as_str(), "reason": problem.message.to_string() }));
                }
            }
        }
        let mut report = json!({
            "sound": sound,
            "unsound": unsound,
            "undecided": undecided,
            "rules": rules,
            "seconds": seconds,
        });
        if self.mutate {
            let total = total(found);
            let listed = |mutants: &[(String, String)]| -> Vec<Value> {
                mutants.iter().map(|(rule, mistake)| json!({ "name": rule, "mistake": mistake })).collect()
            };
            report["kill_rate"] = json!(total.kill_rate());
            report["mutants"] = json!({
                "killed": total.n_killed,
                "refused": total.n_refused,
                "sound": listed(&total.sound),
                "equivalent": listed(&total.equivalent),
                "survivors": listed(&total.survivors),
            });
        }
        print_json(&report);
    }
}

fn described(rule: &Rule, verdict: &Verdict) -> Value {
    let evidence = &verdict.evidence;
    let floats: serde_json::Map<String, Value> =
        evidence.floats.iter().map(|float| (float.element.to_string(), in_float(float))).collect();
    json!({
        "name": rule.name.as_str(),
        "contract": rule.contract.to_string(),
        "instances": verdict.n_instances,
        "drawn": verdict.n_drawn,
        "exact": {
            "instances": evidence.n_exact,
            "with_exponentials": evidence.n_exponential,
            "with_order": evidence.n_ordered,
            "with_opaque_functions": evidence.n_opaque,
            "with_random_contents": evidence.n_random,
            "false_accept": evidence.degree as f64 / (1u64 << 53) as f64,
            "skipped": evidence.skipped,
        },
        "floats": floats,
        "worst_error": evidence.worst,
        "attribute_classes": verdict.coverage.n_cells(),
        "never_drawn": verdict.coverage.uncovered().map(|cell| cell.to_string()).collect::<Vec<_>>(),
    })
}

fn in_float(float: &FloatEvidence) -> Value {
    json!({
        "instances": float.n_instances,
        "within_bounds": float.n_bounded,
        "bound_growth": float.growth,
        "overflows_alone": float.n_overflows,
    })
}

fn total(found: &[Found]) -> Mutation {
    found.iter().fold(Mutation::default(), |total, (_, _, mutation)| total.merged(mutation.clone()))
}

fn write(global: &Global, directory: &Path, rule: &Rule, found: &Counterexample) -> Result<(), Diagnostics> {
    make_directory(directory)?;
    for (side, graph) in [("left", &found.left), ("right", &found.right)] {
        let mut model = Model::new(graph.clone());
        model.functions = functions(graph);
        for function in &model.functions {
            model.opsets.push((function.domain.clone(), 1));
        }
        model.opsets.sort();
        model.opsets.dedup();
        model.doc = format!("{} of rule {}: {found}", side, rule.name).into();
        global.save(&model, &directory.join(format!("{}.{side}.onnx", rule.name)), None)?;
    }
    Ok(())
}

fn functions(graph: &Graph) -> Vec<Arc<crate::ir::model::Function>> {
    let mut functions: Vec<Arc<crate::ir::model::Function>> = Vec::new();
    for (_, node) in graph.nodes() {
        if let Op::Function(function) = &node.op
            && !functions.iter().any(|known| Arc::ptr_eq(known, function))
        {
            functions.push(Arc::clone(function));
        }
    }
    functions
}
