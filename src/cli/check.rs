//! `eutectic check`: every rule of ONNX and of the IR, all violations at once.

use super::{Global, Outcome, print_json, render};
use crate::ir::{infer, verify};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Check {
    /// The model: .onnx, or .onnxtxt in ONNX's textual syntax, or `-` for standard input
    model: PathBuf,
}

impl Check {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let mut model = global.load(&self.model)?;
        let mut problems = verify::verify(&model);
        let (_, found) = infer::infer(&mut model);
        for problem in found {
            if !problems.0.contains(&problem) {
                problems.push(problem.in_file(&self.model));
            }
        }
        if problems.has_errors() {
            return Err(problems);
        }
        if global.json {
            print_json(
                &json!({ "ok": true, "nodes": model.graph.n_nodes(), "problems": render::json(&problems)["problems"] }),
            );
        } else {
            global.warn(&problems);
            println!("{}: ok, {}", self.model.display(), render::counted(model.graph.n_nodes(), "node"));
        }
        Ok(0)
    }
}
