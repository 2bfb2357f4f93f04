//! `--cost`: what a call costs, from a word.

use super::misuse;
use crate::cost_table;
use crate::ir::diag::Diagnostics;
use crate::passes::cost::{CostModel, Device, Pricing};
use std::path::Path;
use std::sync::Arc;

/// The cost model that `word` names: `roofline`, `roofline:DEVICE`, `nodes`, `flops`, `bytes` or `table:FILE`.
///
/// Errors: it names none, or the table is not to be read.
pub(super) fn parse(word: &str) -> Result<CostModel, Diagnostics> {
    let (name, detail) = word.split_once(':').map_or((word, None), |(name, detail)| (name, Some(detail)));
    let standard = CostModel::new(Device::h200());
    let pricing = match (name, detail) {
        ("roofline", None) => Pricing::Roofline,
        ("roofline", Some(device)) => {
            let names = Device::ALL.map(|device| device.name).join(", ");
            let device = Device::named(device)
                .ok_or_else(|| misuse(format!("there is no device `{device}`; known are {names}")))?;
            return Ok(CostModel::new(device));
        }
        ("nodes", None) => Pricing::Nodes,
        ("flops", None) => Pricing::Flops,
        ("bytes", None) => Pricing::Bytes,
        ("table", Some(file)) => Pricing::Table(Arc::new(cost_table::load(Path::new(file))?)),
        _ => {
            return Err(misuse(format!(
                "`--cost {word}` is none of roofline, roofline:DEVICE, nodes, flops, bytes, table:FILE"
            )));
        }
    };
    Ok(CostModel { pricing, ..standard })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn words_name_models() {
        assert_eq!(parse("roofline:l4").map(|model| model.device.name).ok(), Some("l4"));
        for word in ["nodes", "flops", "bytes", "roofline"] {
            assert!(parse(word).is_ok(), "{word}");
        }
        for word in ["roofline:abacus", "nodes:h200", "table", "table:", "time", ""] {
            assert!(parse(word).is_err(), "{word}");
        }
    }
}
