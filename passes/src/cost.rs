//! What a graph costs: work through a roofline, or a measured table. Plain data; no backend is needed.

use eutectic_ir::graph::Graph;
use eutectic_ir::infer::{Facts, work_of_call, work_of_node};
use eutectic_ir::op::{Call, Law, Work};
use eutectic_ir::{Dim, Op, Reason, TensorType};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The roofline of a device: Williams, Waterman, Patterson, CACM 2009.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Device {
    /// Its name, as the command line has it.
    pub name: &'static str,
    /// Arithmetic peak of single precision, in operations per second.
    pub flops: f64,
    /// Memory bandwidth, in bytes per second.
    pub bandwidth: f64,
    /// Time that a call takes at least, in seconds.
    pub launch: f64,
    /// Where the figures are from.
    pub source: &'static str,
}

impl Device {
    /// Every device whose figures are known. A launch on a GPU is that of the H200, where it was measured.
    pub const ALL: [Device; 5] = [
        Device {
            name: "h200",
            flops: 50e12,
            bandwidth: 4.2e12,
            launch: 2e-6,
            source: "as measured: large products, copies beyond the cache, empty kernels in a graph",
        },
        Device {
            name: "a100",
            flops: 19.5e12,
            bandwidth: 2.039e12,
            launch: 2e-6,
            source: "NVIDIA A100 80GB SXM datasheet: FP32, GPU memory bandwidth",
        },
        Device {
            name: "l4",
            flops: 30.3e12,
            bandwidth: 300e9,
            launch: 2e-6,
            source: "NVIDIA L4 datasheet: FP32, GPU memory bandwidth",
        },
        Device {
            name: "rtx4090",
            flops: 82.6e12,
            bandwidth: 1008e9,
            launch: 2e-6,
            source: "NVIDIA Ada GPU architecture whitepaper, GeForce RTX 4090: peak FP32, memory bandwidth",
        },
        Device {
            name: "cpu2",
            flops: 160e9,
            bandwidth: 20e9,
            launch: 1e-6,
            source: "derived: 2 cores at 2.5 GHz with two 8-lane multiply-adds a cycle; one channel of DDR4-2666, rounded",
        },
    ];

    /// An H200, the default of every command.
    pub fn h200() -> Self {
        Self::ALL[0]
    }

    /// The device of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|device| device.name == name)
    }
}

/// What a call costs.
#[derive(Clone, Debug, PartialEq)]
pub enum Pricing {
    /// Seconds by the roofline of the device.
    Roofline,
    /// One for each call that is not folded.
    Nodes,
    /// Arithmetic operations.
    Flops,
    /// Bytes read and written.
    Bytes,
    /// Seconds as measured; by the roofline where nothing was.
    Table(Arc<CostTable>),
}

/// Measured times of calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CostTable(FxHashMap<Measured, f64>);

/// A call as a table knows it: its operator and the types of what it reads and writes, as they print. Attributes are not
/// distinguished beyond what they do to types.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Measured {
    /// The operator.
    pub operator: String,
    /// Types of the inputs; empty where one is left out.
    pub inputs: Vec<String>,
    /// Types of the outputs.
    pub outputs: Vec<String>,
}

impl CostTable {
    /// Notes that `call` takes `seconds`; the last word on a call counts.
    ///
    /// Errors: the time is NaN, infinite or negative.
    pub fn insert(&mut self, call: Measured, seconds: f64) -> Result<(), Reason> {
        if !(seconds.is_finite() && seconds >= 0.0) {
            return Err(Reason(format!("{} is said to take {seconds} seconds", call.operator)));
        }
        self.0.insert(call, seconds);
        Ok(())
    }

    /// The time of `call`, in seconds.
    pub fn seconds(&self, call: &Measured) -> Option<f64> {
        self.0.get(call).copied()
    }
}

/// How calls are priced: by what, on which device, and with which size for each symbolic dim.
#[derive(Clone, Debug, PartialEq)]
pub struct CostModel {
    /// What a call costs.
    pub pricing: Pricing,
    /// The device of the roofline.
    pub device: Device,
    /// Sizes of symbols by name.
    pub sizes: BTreeMap<String, i64>,
    /// The size of every other symbol.
    pub other_size: i64,
    /// Whether the target reads parts of rows where they lie, so that a Split along the last axis costs nothing. Parts of other
    /// axes, such as channels of images, are wanted dense and cost a copy even there.
    pub splits_rows_freely: bool,
}

impl CostModel {
    /// Priced by the roofline of `device`, every symbolic dim taken as 8.
    pub fn new(device: Device) -> Self {
        let sizes = BTreeMap::new();
        Self { pricing: Pricing::Roofline, device, sizes, other_size: 8, splits_rows_freely: false }
    }

    /// What a call of `op` costs, in the unit of the pricing; a view costs nothing, except as a node.
    ///
    /// `None` when a type is unknown or a size overflows.
    pub fn price(&self, op: &Op, call: &Call, outputs: &[TensorType]) -> Option<f64> {
        let work = || work_of_call(op, call, outputs);
        let is_view = matches!(op, Op::Builtin(def) if def.has(Law::View))
            || (self.splits_rows_freely && is_split_of_rows(op, call));
        match &self.pricing {
            Pricing::Nodes => Some(1.0),
            _ if is_view => Some(0.0),
            Pricing::Roofline => self.seconds(&work()?),
            Pricing::Flops => self.number(&work()?.flops),
            Pricing::Bytes => self.bytes(&work()?),
            Pricing::Table(table) => {
                table.seconds(&self.measured(op, call, outputs)).or_else(|| self.seconds(&work()?))
            }
        }
    }

    /// What a call costs whose work is not known.
    pub fn unknown(&self) -> f64 {
        match self.pricing {
            Pricing::Roofline | Pricing::Table(_) => self.device.launch,
            Pricing::Nodes => 1.0,
            Pricing::Flops | Pricing::Bytes => 0.0,
        }
    }

    /// What every call costs besides its price, so that fewer calls are chosen among equals: small beside any price that
    /// matters, large beside the rounding of a sum.
    pub fn overhead(&self) -> f64 {
        match self.pricing {
            Pricing::Roofline | Pricing::Table(_) => 1e-9,
            Pricing::Nodes => 1e-3,
            Pricing::Flops | Pricing::Bytes => 1.0,
        }
    }

    /// Time of `work` in seconds: the larger of arithmetic over peak and bytes over bandwidth, plus one launch.
    ///
    /// `None` when a size overflows.
    pub fn seconds(&self, work: &Work) -> Option<f64> {
        let (flops, bytes) = (self.number(&work.flops)?, self.bytes(work)?);
        if bytes == 0.0 && flops == 0.0 {
            return Some(0.0);
        }
        Some((flops / self.device.flops).max(bytes / self.device.bandwidth) + self.device.launch)
    }

    /// The value of `dim` under the stated sizes; `None` on overflow, and when they make it negative: then they do not fit the
    /// model, and nothing is known.
    pub fn number(&self, dim: &Dim) -> Option<f64> {
        self.sized(dim)?.as_known().filter(|&value| value >= 0).map(|value| value as f64)
    }

    fn bytes(&self, work: &Work) -> Option<f64> {
        Some(self.number(&work.read)? + self.number(&work.written)?)
    }

    fn sized(&self, dim: &Dim) -> Option<Dim> {
        let size = |name: &str| Some(Dim::known(self.sizes.get(name).copied().unwrap_or(self.other_size)));
        dim.substitute(&size)
    }

    fn measured(&self, op: &Op, call: &Call, outputs: &[TensorType]) -> Measured {
        let print = |ty: &TensorType| {
            let dims = ty.shape.iter().map(|dim| self.sized(dim).unwrap_or_else(|| dim.clone()));
            TensorType::new(ty.element, dims).to_string()
        };
        let input = |at: usize| call.input(at).map(|operand| print(operand.ty)).unwrap_or_default();
        Measured {
            operator: op.to_string(),
            inputs: (0..call.inputs.len()).map(input).collect(),
            outputs: outputs.iter().map(print).collect(),
        }
    }
}

fn is_split_of_rows(op: &Op, call: &Call) -> bool {
    let last = || call.given(0).map(|operand| operand.ty.rank().wrapping_sub(1));
    let axis = || call.given(0)?.ty.axis(call.attrs.int("axis").unwrap_or(0));
    op.is("Split") && axis().is_some() && axis() == last()
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
        let priced = work_of_node(graph, facts, id)
            .and_then(|work| Some((model.number(&work.flops)?, model.bytes(&work)?, model.seconds(&work)?)));
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

/// Predicted time of the calls of each operator of `graph`, in seconds, the largest first, then by name. Views, and what cannot
/// be priced, are left out.
pub fn seconds_by_operator(graph: &Graph, facts: &Facts, model: &CostModel) -> Vec<(String, f64)> {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for (id, node) in graph.nodes() {
        let is_view = matches!(&node.op, Op::Builtin(def) if def.has(Law::View));
        let work = work_of_node(graph, facts, id).filter(|_| !is_view);
        if let Some(seconds) = work.and_then(|work| model.seconds(&work)) {
            *sums.entry(node.op.to_string()).or_insert(0.0) += seconds;
        }
    }
    let mut sums: Vec<(String, f64)> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.total_cmp(&a.1));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{graph_of, model_of, node};
    use eutectic_ir::Attr;
    use eutectic_ir::infer::infer;

    fn call(operator: &str) -> Measured {
        let ty = || vec!["float[2,3]".to_string()];
        Measured { operator: operator.into(), inputs: ty(), outputs: ty() }
    }

    #[test]
    fn a_table_refuses_a_time_that_is_none() {
        let mut table = CostTable::default();
        for seconds in [f64::NAN, f64::INFINITY, -1e-9] {
            assert!(table.insert(call("Relu"), seconds).is_err());
        }
        assert_eq!(table.insert(call("Relu"), 3e-6), Ok(()));
        assert_eq!((table.seconds(&call("Relu")), table.seconds(&call("Tanh"))), (Some(3e-6), None));
    }

    #[test]
    fn devices_are_named_apart_and_every_figure_is_positive() {
        for device in Device::ALL {
            assert_eq!(Device::named(device.name), Some(device));
            assert!([device.flops, device.bandwidth, device.launch].iter().all(|figure| *figure > 0.0));
            assert!(!device.source.is_empty());
        }
        assert_eq!(Device::named("H100"), None);
    }

    #[test]
    fn parts_of_rows_are_free_where_the_target_reads_them_in_place() {
        let price = |axis: i64, splits_rows_freely: bool| {
            let (mut graph, x) = graph_of(&["4", "8", "6"]);
            let split =
                node(&mut graph, "Split", &[("axis", Attr::Int(axis)), ("num_outputs", Attr::Int(2))], &[Some(x)], 2);
            let mut model = model_of(graph, x);
            let (facts, _) = infer(&mut model);
            let node = model.graph.node(split);
            let arguments = facts.arguments(&model.graph, node).expect("typed");
            let call = Call { attrs: &node.attrs, inputs: &arguments, captures: &[], n_outputs: 2, scope: "" };
            let outputs: Vec<TensorType> =
                node.outputs().iter().map(|&id| model.graph.ty(id).cloned().expect("typed")).collect();
            let cost = CostModel { splits_rows_freely, ..CostModel::new(Device::h200()) };
            cost.price(&node.op, &call, &outputs).expect("known sizes")
        };
        assert_eq!((price(2, true), price(-1, true)), (0.0, 0.0));
        assert!(price(1, true) > 0.0 && price(2, false) > 0.0);
    }
}
