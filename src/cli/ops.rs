//! `eutectic ops`: the operator table, and what is there for each operator.
//!
//! Every operator of the table is read, written, checked and inferred; the other columns differ.

use super::{Global, Outcome, print_json};
use crate::ir::{OpDef, ops};
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::json;

#[derive(Args)]
pub(super) struct Ops {
    /// Only operators whose name contains this
    filter: Option<String>,
}

impl Ops {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let wanted =
            |name: &str| self.filter.as_ref().is_none_or(|filter| name.to_lowercase().contains(&filter.to_lowercase()));
        let mut found: Vec<_> = ops::FAMILIES
            .iter()
            .flat_map(|(family, ops)| ops.iter().map(move |def| (*family, *def)))
            .filter(|(_, def)| wanted(def.name))
            .collect();
        found.sort_by_key(|(_, def)| (def.domain, def.name));
        if global.json {
            let ops: Vec<_> = found
                .iter()
                .map(|(family, def)| {
                    json!({
                        "name": def.name,
                        "domain": def.domain,
                        "family": family,
                        "versions": def.versions,
                        "inference": true,
                        "evaluation": def.eval.given,
                        "tensorrt": lowers(def),
                        "doc": def.doc,
                    })
                })
                .collect();
            print_json(&json!({ "ops": ops }));
        } else {
            print_table(&found);
        }
        Ok(0)
    }
}

fn print_table(found: &[(&str, &OpDef)]) {
    let has_lowerings = cfg!(feature = "lowering");
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut header = vec!["operator", "family", "versions", "evaluated"];
    header.extend(has_lowerings.then_some("TensorRT"));
    table.set_header(header.into_iter().chain(["what it computes"]));
    let shown = |yes| if yes { "yes" } else { "no" }.to_string();
    for (family, def) in found {
        let name = if def.domain.is_empty() { def.name.into() } else { format!("{}.{}", def.domain, def.name) };
        let versions: Vec<String> = def.versions.iter().map(u64::to_string).collect();
        let mut row = vec![name, family.to_string(), versions.join(" "), shown(def.eval.given)];
        row.extend(lowers(def).map(shown));
        row.push(def.doc.into());
        table.add_row(row);
    }
    let n_evaluated = found.iter().filter(|(_, def)| def.eval.given).count();
    print!("{table}\n{} operators, {n_evaluated} evaluated", found.len());
    if has_lowerings {
        print!(", {} lowered to TensorRT", found.iter().filter(|(_, def)| lowers(def) == Some(true)).count());
    }
    println!();
}

/// Whether TensorRT has a lowering of it; `None` when this program is built without.
#[cfg(feature = "lowering")]
fn lowers(def: &OpDef) -> Option<bool> {
    Some(def.domain.is_empty() && crate::tensorrt::lower::operators().any(|(_, name)| name == def.name))
}

/// Whether TensorRT has a lowering of it; `None` when this program is built without.
#[cfg(not(feature = "lowering"))]
fn lowers(_: &OpDef) -> Option<bool> {
    None
}
