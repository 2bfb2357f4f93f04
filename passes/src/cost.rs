//! What a graph costs: work through a roofline, or a measured table. Plain data; no backend is needed.

use eutectic_ir::graph::Graph;
use eutectic_ir::infer::{Facts, work_of_node};
use eutectic_ir::op::{Law, Work};
use eutectic_ir::{Dim, Op};
use std::collections::BTreeMap;

/// The roofline of a device: Williams, Waterman, Patterson, CACM 2009.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its name in reports.
    pub name: String,
    /// Arithmetic peak of single precision, in operations per second.
    pub flops: f64,
    /// Memory bandwidth, in bytes per second.
    pub bandwidth: f64,
    /// Time that a call takes at least, in seconds.
    pub launch: f64,
}

impl Device {
    /// A data-centre GPU as measured on an H200: 50 TFLOP/s in single precision, 4.2 TB/s, 2 microseconds a kernel.
    pub fn h200() -> Self {
        Self { name: "H200".into(), flops: 50e12, bandwidth: 4.2e12, launch: 2e-6 }
    }
}

/// How calls are priced: a device, and a size for each symbolic dim.
#[derive(Clone, Debug, PartialEq)]
pub struct CostModel {
    /// The device.
    pub device: Device,
    /// Sizes of symbols by name.
    pub sizes: BTreeMap<String, i64>,
    /// The size of every other symbol.
    pub other_size: i64,
}

impl CostModel {
    /// Priced on `device`, every symbolic dim taken as 8.
    pub fn new(device: Device) -> Self {
        Self { device, sizes: BTreeMap::new(), other_size: 8 }
    }

    /// Time of `work` in seconds: the larger of arithmetic over peak and bytes over bandwidth, plus one launch.
    ///
    /// `None` when a size overflows.
    pub fn seconds(&self, work: &Work) -> Option<f64> {
        let flops = self.number(&work.flops)?;
        let bytes = self.number(&work.read)? + self.number(&work.written)?;
        if bytes == 0.0 && flops == 0.0 {
            return Some(0.0);
        }
        Some((flops / self.device.flops).max(bytes / self.device.bandwidth) + self.device.launch)
    }

    /// The value of `dim` under the stated sizes; `None` on overflow.
    pub fn number(&self, dim: &Dim) -> Option<f64> {
        let size = |name: &str| Some(Dim::known(self.sizes.get(name).copied().unwrap_or(self.other_size)));
        dim.substitute(&size)?.as_known().map(|value| value as f64)
    }
}

/// Totals over a graph, bodies of control flow not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Arithmetic operations.
    pub flops: f64,
    /// Bytes read and written by calls.
    pub bytes_moved: f64,
    /// Predicted time, in seconds.
    pub seconds: f64,
    /// Calls that could not be priced: unknown operators, unknown types.
    pub n_unpriced: usize,
}

/// The cost of every call of `graph`, summed. Views are free.
pub fn totals(graph: &Graph, facts: &Facts, model: &CostModel) -> Totals {
    let mut totals = Totals::default();
    for (id, node) in graph.nodes() {
        if matches!(&node.op, Op::Builtin(def) if def.has(Law::View)) {
            continue;
        }
        let priced = work_of_node(graph, facts, id).and_then(|work| {
            let bytes = model.number(&work.read)? + model.number(&work.written)?;
            Some((model.number(&work.flops)?, bytes, model.seconds(&work)?))
        });
        match priced {
            Some((flops, bytes, seconds)) => {
                totals.flops += flops;
                totals.bytes_moved += bytes;
                totals.seconds += seconds;
            }
            None => totals.n_unpriced += 1,
        }
    }
    totals
}
