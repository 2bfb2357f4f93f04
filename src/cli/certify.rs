//! `eutectic certify`: whether two models are the same function, in exact arithmetic and in single precision.

use super::{Global, Outcome, bound, print_json, stages};
use crate::certificate::exact::{self, Exact, Folded, Verdict};
use crate::certificate::{self, Certificate};
use crate::inputs::sizes_from_shapes;
use crate::ir::Model;
use crate::ir::diag::{Diagnostics, Escaped};
use crate::passes::contrib::in_standard_operators;
use crate::passes::optimize::{Options, optimize};
use crate::passes::pass::Computed;
use crate::passes::target::Target;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Certify {
    /// The original
    before: PathBuf,
    /// What some tool made of it: inputs and outputs of the same names
    after: PathBuf,
    /// Sizes of symbolic dims: input:1x3x224x224,...
    #[arg(long, default_value = "")]
    shapes: String,
    /// Seed of what is drawn
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Largest difference in single precision, relative to the largest magnitude of each output
    #[arg(long, default_value_t = 1e-4, value_parser = bound, allow_negative_numbers = true)]
    tolerance: f64,
    /// Leave out the comparison in single precision
    #[arg(long)]
    exact_only: bool,
}

impl Certify {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let (mut before, mut after) = (global.load(&self.before)?, global.load(&self.after)?);
        let stage = stages(global);
        stage.set_message("certifying");
        let n_respelled = in_standard_operators(&mut before) + in_standard_operators(&mut after);
        let sizes = sizes_from_shapes(&before.graph, &self.shapes)?;
        let found = exact::certify(&before, &after, Folded::Guessed(&folded(&before)?), &sizes, self.seed)?;
        let floats =
            (!self.exact_only).then(|| certificate::compare(&before, &after, &sizes, self.seed, self.tolerance));
        stage.finish_and_clear();
        let code = code(&found, floats.as_ref());
        if global.json {
            print_json(&json!({
                "equal": code == 0,
                "exact": found,
                "respelled": n_respelled,
                "f32": floats.as_ref().and_then(|floats| floats.as_ref().ok()),
                "not_run": floats.as_ref().and_then(|floats| floats.as_ref().err()).map(ToString::to_string),
            }));
        } else {
            println!("{}", line(&found));
            if n_respelled > 0 {
                println!("  {n_respelled} calls of ONNX Runtime's own operators are read as standard ones");
            }
            for name in found.weights.unmatched.iter().take(8) {
                println!("  weight `{}` matches nothing in the original", Escaped(name));
            }
            match &floats {
                None => {}
                Some(Ok(floats)) => println!("{}", line_of_floats(floats)),
                Some(Err(problems)) => println!("f32: not run, {}", Escaped(&problems.to_string())),
            }
        }
        Ok(code)
    }
}

/// 0 equal, 1 a difference was found, 3 nothing can be said.
fn code(found: &Exact, floats: Option<&Result<Certificate, Diagnostics>>) -> i32 {
    match (found.verdict, floats) {
        (_, Some(Ok(floats))) if !floats.equal => 1,
        (Verdict::Equal, Some(Err(_))) => 3,
        (Verdict::Equal, _) => 0,
        // What another tool computed of weights in its own way is no difference yet.
        (Verdict::Different, _) if found.weights.unmatched.is_empty() => 1,
        (Verdict::Different | Verdict::NotCovered, _) => 3,
    }
}

/// What our own rules fold in `model`: where another tool folded the same, its weights are found among these.
fn folded(model: &Model) -> Result<Vec<Computed>, Diagnostics> {
    let mut copy = model.clone();
    let options = Options { record: true, ..Options::standard(Target::Portable)?.admitting(model) };
    let report = optimize(&mut copy, &options)?;
    Ok(report.passes.into_iter().flat_map(|pass| pass.change.computed).collect())
}

/// The certificate of exact arithmetic, in a line.
pub(super) fn line(found: &Exact) -> String {
    let weights = &found.weights;
    let covered = format!(
        "{} weights the same, {} folded (largest rounding {:.1e})",
        weights.same, weights.folded, weights.worst_folding
    );
    let covered = match weights.unmatched.len() {
        0 => covered,
        n => format!("{covered}, {n} that match nothing"),
    };
    let functions = match found.functions.is_empty() {
        true => String::new(),
        false => format!("; of {} only that equal operands give equal results", found.functions.join(", ")),
    };
    let lemmas = match found.lemmas.is_empty() {
        true => String::new(),
        false => format!("; by {}", found.lemmas.join(", ")),
    };
    match found.verdict {
        Verdict::Equal => format!(
            "exact: equal modulo {}, wrong with probability {:.0e} at most (degree {}); {covered}{functions}{lemmas}; {:.1} s",
            found.primes.map(|prime| prime.to_string()).join(" and "),
            found.bound,
            found.degree,
            found.seconds
        ),
        Verdict::Different => {
            format!("exact: not equal, {}; {covered}{functions}", Escaped(found.reason()))
        }
        Verdict::NotCovered => {
            format!("exact: not covered, {}", Escaped(found.reason()))
        }
    }
}

/// The certificate of single precision, in a line.
pub(super) fn line_of_floats(found: &Certificate) -> String {
    format!(
        "f32: largest difference {:.1e} of the output (tolerance {:.0e}); {}",
        found.worst, found.tolerance, found.method
    )
}
