//! `eutectic convert`: between the binary and the textual form, with or without the weights.

use super::{Global, Outcome, print_json, render};
use crate::seeding::{anonymous, seed_weights};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Convert {
    /// The model: .onnx, or .onnxtxt in ONNX's textual syntax
    model: PathBuf,
    /// Where the result goes: .onnx or .onnxtxt
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
        let mut model = global.load(&self.model)?;
        let mut n_replaced = 0;
        if self.seeded {
            model = anonymous(&model);
            n_replaced = seed_weights(&mut model.graph);
        }
        let bytes = global.save(&model, &self.output, self.opset)?;
        if global.json {
            print_json(&json!({ "bytes": bytes, "seeded_weights": n_replaced }));
        } else if !global.quiet {
            println!("wrote {} ({})", self.output.display(), render::bytes(bytes as f64));
        }
        Ok(0)
    }
}
