//! `eutectic inspect`: what a model is made of.

use super::{Global, Outcome, print_json, render};
use crate::ir::diag::Escaped;
use crate::passes::cost::{CostModel, Device};
use crate::passes::inspect::{Port, Summary, inspect};
use clap::Args;
use serde_json::{Map, Value, json};
use std::io::IsTerminal;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Inspect {
    /// The model: .onnx, or .onnxtxt in ONNX's textual syntax, or `-` for standard input
    model: PathBuf,
    /// Print the whole model in ONNX's textual syntax instead, weights elided
    #[arg(long)]
    text: bool,
}

impl Inspect {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let mut model = global.load(&self.model)?;
        let (_, problems) = crate::ir::infer::infer(&mut model);
        global.warn(&problems);
        if self.text {
            use crate::ir::text::{PrintOptions, Weights, print_model};
            let options = PrintOptions { weights: Weights::Elide { above: 16 }, materialize: 16, types: true };
            let text = print_model(&model, &options);
            // A file must read back as the same model; a screen must not be driven.
            if std::io::stdout().is_terminal() {
                print!("{}", Escaped(&text))
            } else {
                print!("{text}")
            }
            return Ok(0);
        }
        let summary = inspect(&model, &CostModel::new(Device::h200()));
        if global.json {
            print_json(&to_json(&summary));
            return Ok(0);
        }
        let producer = format!("{} {}", summary.producer.0, summary.producer.1);
        let made_by = match producer.trim() {
            "" => String::new(),
            producer => format!(" (made by {})", Escaped(producer)),
        };
        println!("{}{made_by}", Escaped(&summary.name));
        for (title, ports) in [("input", &summary.inputs), ("output", &summary.outputs)] {
            for port in ports.iter().filter(|port| !port.has_default) {
                println!("  {title} {}: {}", Escaped(&port.name), type_of(port));
            }
        }
        let opsets: Vec<String> = summary
            .opsets
            .iter()
            .map(|(domain, version)| format!("{} {version}", if domain.is_empty() { "ai.onnx" } else { domain }))
            .collect();
        println!("  operator sets {}", Escaped(&opsets.join(", ")));
        println!(
            "  {}, {} ({})",
            render::counted(summary.n_nodes, "node"),
            render::counted(summary.n_parameters as usize, "parameter"),
            render::bytes(summary.parameter_bytes as f64)
        );
        println!("  {}, {} moved", render::flops(summary.totals.flops), render::bytes(summary.totals.bytes_moved));
        for (operator, n) in &summary.operators {
            println!("  {n:6} {}", Escaped(operator));
        }
        Ok(0)
    }
}

/// The stable contract of `inspect --json`, and of `before` and `after` of `optimize --json`.
pub(super) fn to_json(summary: &Summary) -> Value {
    let ports = |ports: &[Port]| -> Vec<Value> {
        ports.iter().map(|port| json!({ "name": port.name.as_str(), "type": type_of(port) })).collect()
    };
    let ops: Map<String, Value> = summary.operators.iter().map(|(name, n)| (name.clone(), json!(n))).collect();
    let opsets: Map<String, Value> =
        summary.opsets.iter().map(|(domain, version)| (domain.to_string(), json!(version))).collect();
    json!({
        "nodes": summary.n_nodes,
        "ops": ops,
        "inputs": ports(&summary.inputs),
        "outputs": ports(&summary.outputs),
        "opset": opsets,
        "parameters": summary.n_parameters,
        "parameter_bytes": summary.parameter_bytes,
        "flops": summary.totals.flops,
        "bytes_moved": summary.totals.bytes_moved,
        "predicted_seconds": summary.totals.seconds,
        "unpriced": summary.totals.n_unpriced,
    })
}

fn type_of(port: &Port) -> String {
    port.ty.as_ref().map_or("unknown".into(), ToString::to_string)
}
