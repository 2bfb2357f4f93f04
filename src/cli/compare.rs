//! `eutectic compare`: two models, the same inputs, the differences of their outputs.

use super::{Global, Outcome, print_json};
use crate::certificate;
use crate::inputs::sizes_from_shapes;
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Compare {
    /// The first model
    a: PathBuf,
    /// The second model
    b: PathBuf,
    /// Largest difference that counts as equal, relative to the largest magnitude of each output
    #[arg(long, default_value_t = 1e-4)]
    tolerance: f64,
    /// Sizes of symbolic dims: input:1x3x224x224,...
    #[arg(long, default_value = "")]
    shapes: String,
    /// Seed of the inputs
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Compare {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let (a, b) = (global.load(&self.a)?, global.load(&self.b)?);
        let sizes = sizes_from_shapes(&a.graph, &self.shapes)?;
        let found = certificate::compare(&a, &b, &sizes, self.seed, self.tolerance)?;
        if global.json {
            let outputs: Vec<_> = found
                .outputs
                .iter()
                .map(|output| {
                    json!({
                        "name": output.name,
                        "max_abs": finite(output.max_abs),
                        "max_rel": finite(output.max_rel),
                        "required_rtol": finite(output.required_rtol),
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
        Ok(i32::from(!found.equal))
    }
}

/// JSON has no infinity; a string says it.
fn finite(value: f64) -> serde_json::Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}
