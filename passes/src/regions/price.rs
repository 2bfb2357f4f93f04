//! What a region costs: a launch, and the bytes that it moves at the bandwidth that it can reach.

use super::calls::Calls;
use crate::cost::Device;
use eutectic_ir::graph::ValueId;
use eutectic_ir::region::{Role, Space};
use std::collections::BTreeSet;

/// What the kernel of some calls reads and writes, each value once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Traffic {
    pub reads: BTreeSet<ValueId>,
    pub writes: BTreeSet<ValueId>,
}

impl Traffic {
    /// Of `calls`, when the values that `is_read_elsewhere` accepts must reach memory.
    pub fn of(calls: &Calls, members: &[usize], is_read_elsewhere: &dyn Fn(ValueId) -> bool) -> Self {
        let made: BTreeSet<ValueId> = members.iter().flat_map(|&at| calls.outputs(at)).copied().collect();
        let read = members.iter().flat_map(|&at| calls.reads(at));
        Self {
            reads: read.filter(|value| !made.contains(value) && !is_literal(calls, *value)).collect(),
            writes: made.iter().copied().filter(|&value| calls.is_output(value) || is_read_elsewhere(value)).collect(),
        }
    }
}

/// Single numbers stand in the text of a kernel.
fn is_literal(calls: &Calls, value: ValueId) -> bool {
    calls.graph.weight(value).is_some_and(|tensor| tensor.count() == 1)
}

/// Seconds of one kernel that runs `members` over `space`.
///
/// The roofline of memory (Williams, Waterman, Patterson, CACM 2009) at the bandwidth of the processors that have work: one
/// processor computes a whole row, so a kernel of few rows reaches that part of the bandwidth only. Arithmetic is free beside it.
pub(super) fn seconds(calls: &Calls, members: &[usize], space: &Space, traffic: &Traffic, device: &Device) -> f64 {
    let bytes: f64 = traffic.reads.iter().chain(&traffic.writes).map(|&value| calls.bytes(value)).sum();
    let has_rows = members.iter().any(|&at| matches!(calls.role(at), Some(Role::Row { .. })));
    let n_processors = calls.abilities.limits.processors.max(1);
    let n_rows: usize = space.shape[..space.shape.len() - space.n_columns].iter().product();
    let share = if has_rows { n_rows.clamp(1, n_processors) as f64 / n_processors as f64 } else { 1.0 };
    device.launch + bytes / (device.bandwidth * share)
}
