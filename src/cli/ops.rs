//! `eutectic ops`: the operator table.

use super::{Global, Outcome, print_json};
use crate::ir::ops;
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
                    json!({ "name": def.name, "domain": def.domain, "family": family, "versions": def.versions, "doc": def.doc })
                })
                .collect();
            print_json(&json!({ "ops": ops }));
        } else {
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_header(["operator", "family", "versions", "what it computes"]);
            for (family, def) in &found {
                let versions: Vec<String> = def.versions.iter().map(u64::to_string).collect();
                table.add_row([def.name, family, &versions.join(" "), def.doc]);
            }
            println!("{table}\n{} operators", found.len());
        }
        Ok(0)
    }
}
