//! A graph as rules see it: the host of the matcher and the sink of right sides.

use crate::cost::CostModel;
use crate::rules::{Host, Sink};
use eutectic_ir::graph::{Graph, NodeId, Op, Use, ValueId};
use eutectic_ir::infer::{declared_inputs, infer_call, infer_graph};
use eutectic_ir::op::{Argument, Call, Fact, Law};
use eutectic_ir::tensor::Tensor;
use eutectic_ir::{Attrs, Diagnostics, Dim, Name, Reason, TensorType, walk};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// A graph as rules see it, with what is known of its values.
#[derive(Clone)]
pub(crate) struct GraphHost {
    pub graph: Graph,
    facts: Vec<Option<Fact>>,
    constant: Vec<bool>,
    /// What the application that is under way has built so far.
    pub built: Vec<NodeId>,
    pub built_weights: Vec<ValueId>,
    /// Small weights by content, where what is there already is not built again.
    shared: Option<FxHashMap<u128, ValueId>>,
}

/// Most elements of a weight that is shared: axes, shapes, scalars.
const MOST_SHARED: usize = 64;

impl GraphHost {
    pub(crate) fn new(graph: Graph) -> Self {
        let found = infer_graph(&graph, &declared_inputs(&graph), &[], &Attrs::new(), "", &mut Diagnostics::default());
        let facts = (0..graph.value_bound()).map(|_| None).collect();
        let constant = vec![false; graph.value_bound()];
        let mut host = Self { graph, facts, constant, built: Vec::new(), built_weights: Vec::new(), shared: None };
        let ids: Vec<ValueId> = host.graph.values().map(|(id, _)| id).collect();
        for id in ids {
            host.facts[id.index()] = found.get(id).cloned().or_else(|| host.graph.value(id).ty.clone().map(Fact::from));
            host.constant[id.index()] = host.graph.weight(id).is_some();
        }
        for id in walk::order(&host.graph).unwrap_or_default() {
            host.mark_constant(id);
        }
        host
    }

    /// The same, where right sides take the calls and small weights that the graph has already, as an e-graph does.
    pub(crate) fn sharing(self) -> Self {
        let small = |(id, _)| {
            let tensor = self.graph.weight(id).filter(|tensor| tensor.count() <= MOST_SHARED)?;
            Some((tensor.content_hash(), id))
        };
        let shared = self.graph.values().filter_map(small).collect();
        Self { shared: Some(shared), ..self }
    }

    /// A pure call that is there already; what a call of `op` computes, it does.
    fn known_call(&self, op: &Op, attrs: &Attrs, inputs: &[Option<ValueId>], n_outputs: usize) -> Option<NodeId> {
        if self.shared.is_none() || matches!(op, Op::Opaque(_)) || op.builtin().is_some_and(|def| def.has(Law::Impure))
        {
            return None;
        }
        let least_read = inputs.iter().copied().flatten().min_by_key(|&value| self.graph.value(value).uses().len())?;
        self.readers(least_read, op).into_iter().find(|&id| {
            let node = self.graph.node(id);
            node.inputs() == inputs && node.outputs().len() == n_outputs && node.attrs == *attrs
        })
    }

    fn mark_constant(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        let is_pure = match &node.op {
            Op::Builtin(def) => !def.has(Law::Impure),
            Op::Function(_) => true,
            Op::Opaque(_) => false,
        };
        let constant = is_pure
            && node.reads().next().is_some()
            && node.bodies().next().is_none()
            && node.reads().all(|value| self.constant[value.index()]);
        for output in node.outputs() {
            self.constant[output.index()] = constant;
        }
    }

    pub(crate) fn is_constant_call(&self, id: NodeId) -> bool {
        self.constant[self.graph.node(id).output().index()]
    }

    fn arguments(&self, inputs: &[Option<ValueId>]) -> Option<Vec<Option<Argument<'_>>>> {
        let argument =
            |value: ValueId| Some(Argument::new(self.facts[value.index()].as_ref()?, self.graph.weight(value)));
        inputs.iter().map(|input| input.map_or(Some(None), |value| argument(value).map(Some))).collect()
    }

    // Constant calls are folded and views do not run; what cannot be priced costs a launch.
    pub(crate) fn cost_of(&self, ids: &[NodeId], cost: &CostModel) -> f64 {
        let one = |id: &NodeId| {
            if self.is_constant_call(*id) {
                return 0.0;
            }
            let node = self.graph.node(*id);
            let priced = || {
                let inputs = self.arguments(node.inputs())?;
                let outputs: Option<Vec<TensorType>> =
                    node.outputs().iter().map(|&output| self.ty(output).cloned()).collect();
                let n_outputs = node.outputs().len();
                let call = Call { attrs: &node.attrs, inputs: &inputs, captures: &[], n_outputs, scope: "" };
                cost.price(&node.op, &call, &outputs?)
            };
            // Among equals, fewer calls are better.
            priced().filter(|price| price.is_finite()).unwrap_or(cost.unknown()) + 2.0 * cost.overhead()
        };
        ids.iter().map(one).sum()
    }

    pub(crate) fn replace(&mut self, old: ValueId, new: ValueId) {
        self.graph.replace_uses(old, new);
        if self.graph.value(new).name.is_empty() {
            let name = std::mem::take(&mut self.graph.value_mut(old).name);
            self.graph.value_mut(new).name = name;
        }
    }

    /// Takes back what a refused application built.
    pub(crate) fn forget(&mut self, built: &[NodeId], weights: &[ValueId]) {
        // Nothing reads them: what was built later is gone first.
        for id in built.iter().rev() {
            let _ = self.graph.remove_node(*id);
        }
        for id in weights {
            let _ = self.graph.remove_value(*id);
        }
    }

    /// Adds an input.
    pub(crate) fn input(&mut self, name: Name, ty: TensorType) -> ValueId {
        let value = self.graph.add_input(name, Some(ty.clone()), None);
        self.record(value, Some(ty.into()), false);
        value
    }

    fn record(&mut self, value: ValueId, fact: Option<Fact>, constant: bool) {
        self.facts.resize(self.graph.value_bound(), None);
        self.constant.resize(self.graph.value_bound(), false);
        self.facts[value.index()] = fact;
        self.constant[value.index()] = constant;
    }
}

impl Host for GraphHost {
    type Value = ValueId;
    type Call = NodeId;

    fn calls(&self, op: &Op) -> Vec<NodeId> {
        self.graph.nodes().filter(|(_, node)| node.op == *op).map(|(id, _)| id).collect()
    }
    fn definitions(&self, value: ValueId, op: &Op) -> SmallVec<[(NodeId, usize); 2]> {
        self.graph.producer(value).filter(|(id, _)| self.graph.node(*id).op == *op).into_iter().collect()
    }
    fn readers(&self, value: ValueId, op: &Op) -> Vec<NodeId> {
        let reader = |used| match used {
            Use::Input(node, _) => Some(node),
            _ => None,
        };
        let mut readers: Vec<NodeId> = self.graph.value(value).uses().filter_map(reader).collect();
        readers.retain(|id| self.graph.node(*id).op == *op);
        readers.sort_unstable();
        readers.dedup();
        readers
    }
    fn attrs(&self, call: NodeId) -> &Attrs {
        &self.graph.node(call).attrs
    }
    fn inputs(&self, call: NodeId) -> SmallVec<[Option<ValueId>; 4]> {
        self.graph.node(call).inputs().iter().copied().collect()
    }
    fn output(&self, call: NodeId, index: usize) -> Option<ValueId> {
        self.graph.node(call).outputs().get(index).copied()
    }
    fn n_outputs(&self, call: NodeId) -> usize {
        let outputs = self.graph.node(call).outputs();
        let is_there = |value: &ValueId| {
            let value = self.graph.value(*value);
            !value.name.is_empty() || value.uses().len() > 0
        };
        outputs.iter().rposition(is_there).map_or(1, |last| last + 1)
    }
    fn ty(&self, value: ValueId) -> Option<&TensorType> {
        self.facts.get(value.index())?.as_ref()?.tensor()
    }
    fn is_constant(&self, value: ValueId) -> bool {
        self.constant[value.index()]
    }
    fn weight(&self, value: ValueId) -> Option<&Tensor> {
        self.graph.weight(value)
    }
    fn scalar(&self, value: ValueId) -> Option<f64> {
        self.graph.weight(value)?.as_single()
    }
    fn splat(&self, value: ValueId) -> Option<f64> {
        self.graph.weight(value)?.as_splat()
    }
    fn content(&self, value: ValueId) -> Option<Vec<Dim>> {
        if let Some(content) = self.facts[value.index()].as_ref().and_then(|fact| fact.content.clone()) {
            return Some(content);
        }
        let tensor = self.graph.weight(value).filter(|tensor| tensor.shape().len() <= 1 && tensor.count() <= 1024)?;
        Some(tensor.to_i64s()?.into_iter().map(Dim::known).collect())
    }
}

impl Sink for GraphHost {
    fn call(
        &mut self,
        op: &Op,
        attrs: Attrs,
        inputs: &[Option<ValueId>],
        n_outputs: usize,
    ) -> Result<SmallVec<[ValueId; 2]>, Reason> {
        if let Some(known) = self.known_call(op, &attrs, inputs, n_outputs) {
            return Ok(self.graph.node(known).outputs().iter().copied().collect());
        }
        let arguments = self.arguments(inputs);
        let arguments = arguments.ok_or_else(|| Reason(format!("the type of an input of `{op}` is not known")))?;
        // Inference makes no scope with `?`, so that the symbols of this call are no others.
        let scope = format!("?%{}", self.graph.value_bound());
        let call = Call { attrs: &attrs, inputs: &arguments, captures: &[], n_outputs, scope: &scope };
        let mut facts = infer_call(op, &call)?.into_iter();
        let id = self.graph.add_node(op.clone(), attrs, inputs.iter().copied(), std::iter::repeat_n("", n_outputs));
        let outputs: SmallVec<[ValueId; 2]> = self.graph.node(id).outputs().iter().copied().collect();
        for &output in &outputs {
            let fact = facts.next().flatten();
            self.graph.value_mut(output).ty = fact.as_ref().map(|fact| fact.ty.clone());
            self.record(output, fact, false);
        }
        self.mark_constant(id);
        self.built.push(id);
        Ok(outputs)
    }

    fn add_weight(&mut self, tensor: Tensor) -> ValueId {
        let hash = self.shared.as_ref().filter(|_| tensor.count() <= MOST_SHARED).map(|_| tensor.content_hash());
        let known = || self.shared.as_ref()?.get(&hash?).copied();
        if let Some(value) = known().filter(|&value| self.graph.has_value(value)) {
            return value;
        }
        let fact = Fact::from(tensor.ty());
        let value = self.graph.add_weight("", tensor);
        if let (Some(shared), Some(hash)) = (&mut self.shared, hash) {
            shared.insert(hash, value);
        }
        self.record(value, Some(fact), true);
        self.built_weights.push(value);
        value
    }

    fn given(&self) -> Vec<ValueId> {
        self.graph.inputs().to_vec()
    }
}
