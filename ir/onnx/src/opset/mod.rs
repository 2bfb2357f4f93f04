//! Moves calls between versions of the operator set.
//!
//! Each version that changed what a call looks like is one step, which goes up and down; that an operator is new or
//! admits more element types is no step, but decides how low an export can go. Import goes up to the canonical version,
//! export comes down from it, both along the same table.

mod changes;
mod steps;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unchanged;
mod widened;

use crate::call::{Call, Facts};
use crate::proto::NodeProto;
use changes::changes;
use eutectic_ir::op::{CANONICAL_OPSET, OpDef};
use eutectic_ir::{Element, Reason, ops};
use std::fmt;

/// The lowest version that is read and written.
pub(crate) const LOWEST: u64 = 1;
/// The highest version that is read and written.
pub(crate) const HIGHEST: u64 = CANONICAL_OPSET;

/// Why a call cannot be expressed in a version.
#[derive(Clone, Debug)]
pub(crate) struct Needs {
    /// The lowest version that expresses it, as far as the first obstacle tells.
    pub opset: u64,
    /// What stands in the way.
    pub why: Reason,
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "opset {} is needed: {}", self.opset, self.why)
    }
}

/// The lowest version in which operator `name` exists and admits `element`, if it ever does.
pub(crate) fn admitting(name: &str, element: Element) -> u64 {
    widened::since(name).max(widened::admitting(name, element))
}

/// True when operator `def` of another domain than the default means in `version` of its operator set what the table
/// declares. A call of a version in which it does not stays as the file has it.
pub(crate) fn is_as_declared(def: &OpDef, version: u64) -> bool {
    let since = match (def.domain, def.name) {
        // Version 4 only adds attributes and element types.
        ("ai.onnx.ml", "LabelEncoder") => 2,
        _ => def.versions.last().copied().unwrap_or(1),
    };
    let newest = ops::newest_version(def.domain);
    since <= version && newest.is_some_and(|newest| version <= newest)
}

/// True when a step from `version` to the canonical one may ask for types that files tend not to declare.
pub(crate) fn needs_types<'a>(version: u64, mut nodes: impl Iterator<Item = &'a NodeProto>) -> bool {
    // From version 13 on these are the only operators of which a step does.
    const ASKING: [&str; 3] = ["GroupNormalization", "ReduceLogSum", "ReduceLogSumExp"];
    version < 13 || version < CANONICAL_OPSET && nodes.any(|node| ASKING.contains(&node.op_type.as_str()))
}

/// `call`, written in version `from` of the default domain, in the canonical version.
pub(crate) fn to_canonical(call: Call, from: u64, facts: &dyn Facts) -> Result<Vec<Call>, Reason> {
    convert(call, from, CANONICAL_OPSET, facts).map_err(|needs| needs.why)
}

/// `call`, written in version `from` of the default domain, in version `to`.
pub(crate) fn convert(call: Call, from: u64, to: u64, facts: &dyn Facts) -> Result<Vec<Call>, Needs> {
    let mut done = Vec::with_capacity(1);
    let mut open = vec![(call, from)];
    while let Some((call, at)) = open.pop() {
        let all = changes(&call.op_type);
        let rising = at < to;
        // A step that was taken down lands below its version, one that was taken up at its version.
        let next = if rising {
            all.iter().map(|(since, _)| *since).find(|since| *since > at && *since <= to)
        } else {
            all.iter().map(|(since, _)| *since).rev().find(|since| *since <= at && *since > to)
        };
        let Some(version) = next else {
            done.push(call);
            continue;
        };
        let op_type = call.op_type.clone();
        let mut taken = vec![call];
        for (_, change) in all.iter().filter(|(since, _)| *since == version) {
            let mut changed = Vec::with_capacity(1);
            for call in taken {
                if call.op_type != op_type {
                    changed.push(call);
                    continue;
                }
                let result = if rising { change.up(call, facts) } else { change.down(call, facts) };
                changed.extend(result.map_err(|why| Needs { opset: version, why })?);
            }
            taken = changed;
        }
        let landed = if rising { version } else { version - 1 };
        open.extend(taken.into_iter().rev().map(|call| (call, landed)));
    }
    if from > to {
        for call in &done {
            let (lowest, why) = widened::lowest(call, facts);
            if lowest > to {
                return Err(Needs { opset: lowest, why });
            }
        }
    }
    if to < 11 && from >= 11 {
        for call in &mut done {
            steps::count_axes_from_the_front(call, facts).map_err(|why| Needs { opset: 11, why })?;
        }
    }
    Ok(done)
}
