//! What a model is, at a glance: plain data for reports.

use crate::cost::{CostModel, Totals, totals};
use eutectic_ir::attr::{Attrs, Name};
use eutectic_ir::graph::{Def, Graph};
use eutectic_ir::infer::{declared_inputs, infer_graph};
use eutectic_ir::types::Type;
use eutectic_ir::{Diagnostics, Model, Tensor};
use std::collections::BTreeMap;

/// A model at a glance.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Name of the graph.
    pub name: Name,
    /// Name and version of the tool that made the file.
    pub producer: (Name, Name),
    /// Version of the file format.
    pub ir_version: u64,
    /// Operator sets: domain (empty for `ai.onnx`) and version.
    pub opsets: Vec<(Name, u64)>,
    /// Calls, those in bodies of control flow included, those in functions not.
    pub n_nodes: usize,
    /// Calls by operator (functions by their name, domains spelled out; `Constant` nodes of the file counted), most
    /// frequent first, then by name.
    pub operators: Vec<(String, usize)>,
    /// What callers give.
    pub inputs: Vec<Port>,
    /// What callers get.
    pub outputs: Vec<Port>,
    /// Elements of all weights, each counted once however many calls read it; defaults of inputs included.
    pub n_parameters: u64,
    /// Bytes of all weights.
    pub parameter_bytes: u64,
    /// What one run costs, bodies of control flow not counted; symbolic dims have the sizes that the cost model gives.
    pub totals: Totals,
}

/// One input or output of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name at the interface.
    pub name: Name,
    /// Its type, as far as known.
    pub ty: Option<Type>,
    /// True for an input that callers may leave out.
    pub has_default: bool,
}

/// Summarizes `model`, priced by `cost`.
pub fn inspect(model: &Model, cost: &CostModel) -> Summary {
    let graph = &model.graph;
    let facts = infer_graph(graph, &declared_inputs(graph), &[], &Attrs::new(), "", &mut Diagnostics::default());
    let mut count = Count::default();
    count.add(graph);
    let mut operators: Vec<(String, usize)> = count.operators.into_iter().collect();
    operators.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
    let input = |&id: &_| {
        let value = graph.value(id);
        let has_default = matches!(value.def(), Def::Input { default: Some(_), .. });
        Port { name: value.name.clone(), ty: value.ty.clone(), has_default }
    };
    let output = |output: &eutectic_ir::graph::Output| {
        let ty = facts.get(output.value).map(|fact| fact.ty.clone()).or_else(|| graph.value(output.value).ty.clone());
        Port { name: output.name.clone(), ty, has_default: false }
    };
    Summary {
        name: graph.name.clone(),
        producer: (model.producer_name.clone(), model.producer_version.clone()),
        ir_version: model.ir_version,
        opsets: model.opsets.clone(),
        n_nodes: operators.iter().map(|(_, n)| n).sum(),
        operators,
        inputs: graph.inputs().iter().map(input).collect(),
        outputs: graph.outputs().iter().map(output).collect(),
        n_parameters: count.n_parameters,
        parameter_bytes: count.parameter_bytes,
        totals: totals(graph, &facts, cost),
    }
}

#[derive(Default)]
struct Count {
    operators: BTreeMap<String, usize>,
    n_parameters: u64,
    parameter_bytes: u64,
}

impl Count {
    fn add(&mut self, graph: &Graph) {
        for (_, value) in graph.values() {
            match value.def() {
                Def::Weight(tensor) | Def::Input { default: Some(tensor), .. } => self.add_parameters(tensor),
                _ => {}
            }
        }
        if graph.n_constant_nodes > 0 {
            *self.operators.entry("Constant".into()).or_insert(0) += graph.n_constant_nodes;
        }
        for (_, node) in graph.nodes() {
            *self.operators.entry(node.op.to_string()).or_insert(0) += 1;
            for body in node.bodies() {
                self.add(body);
            }
        }
    }

    fn add_parameters(&mut self, tensor: &Tensor) {
        self.n_parameters = self.n_parameters.saturating_add(tensor.count() as u64);
        self.parameter_bytes = self.parameter_bytes.saturating_add(tensor.byte_len() as u64);
    }
}

#[cfg(test)]
mod tests;
