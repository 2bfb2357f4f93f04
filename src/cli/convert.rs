//! `eutectic convert`: between the binary and the textual form, with or without the weights.

use super::{Global, Outcome, misuse, print_json, render};
use crate::files::STANDARD;
use crate::seeding::{anonymous, seed_weights};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct Convert {
    /// The model: .onnx, or .onnxtxt in ONNX's textual syntax, or `-` for standard input
    model: PathBuf,
    /// Where the result goes: .onnx or .onnxtxt, or `-` for the binary form on standard output
    output: PathBuf,
    /// Replace each large weight by a seeded recipe of the same mean and spread, and drop documentation and metadata
    #[arg(long)]
    seeded: bool,
    /// Version of ai.onnx that the result imports
    #[arg(long)]
    opset: Option<u64>,
}

impl Convert {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        global.check_output(Some(&self.output))?;
        let endings = ["onnx", "onnxtxt"];
        let is_known = self.output.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known));
        if !is_known && self.output != Path::new(STANDARD) {
            let message = format!("`{}` ends in neither .onnx nor .onnxtxt: which form is it?", self.output.display());
            return Err(misuse(message));
        }
        let mut model = global.load(&self.model)?;
        let mut n_replaced = 0;
        if self.seeded {
            model = anonymous(&model);
            n_replaced = seed_weights(&mut model.graph);
        }
        let bytes = global.save(&model, &self.output, self.opset)?;
        if global.json {
            print_json(&json!({ "bytes": bytes, "seeded_weights": n_replaced }));
        } else if global.tells(Some(&self.output)) {
            println!("wrote {} ({})", self.output.display(), render::bytes(bytes as f64));
        }
        Ok(0)
    }
}
