//! Rewires a graph. Nothing outside this file may create or drop an edge.
//!
//! A graph is an arena of nodes and an arena of values. A value is defined once: as an input, as a weight, as a capture
//! of an enclosing graph's value, or as one result of a node. Ids are never reused.
//!
//! Bodies of control-flow operators are graphs inside attributes. They do not see the enclosing graph: what they use
//! of it is listed in the owning node's `captures` and stands in the body as `Def::Capture(k)`. So a capture is an
//! ordinary use: dead-code elimination, ordering and replacement need no special case.
//!
//! Guarantees, checked by `verify`:
//! - every use of a value is listed in its `uses`, and nothing else is;
//! - a removed node or value has no uses, and no id points to it.

use crate::attr::{Attr, Attrs, Name};
use crate::model::Function;
use crate::op::OpDef;
use crate::tensor::Tensor;
use crate::types::{TensorType, Type};
use indexmap::IndexSet;
use rustc_hash::FxBuildHasher;
use std::fmt;
use std::sync::Arc;

/// Names a node of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

/// Names a value of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub(crate) u32);

impl NodeId {
    /// Position in the arena, for tables beside the graph.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ValueId {
    /// Position in the arena, for tables beside the graph.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a node computes.
#[derive(Clone)]
pub enum Op {
    /// An operator of the table.
    Builtin(&'static OpDef),
    /// A call of a model-local function; a fused operator is one.
    Function(Arc<Function>),
    /// An operator that we do not know: carried through, a barrier for every rewrite.
    Opaque(Arc<CustomOp>),
}

/// The identity of an operator that we do not know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CustomOp {
    /// Operator-set domain; empty for `ai.onnx`.
    pub domain: Name,
    /// Operator type.
    pub name: Name,
    /// Overload of a model-local function; mostly empty.
    pub overload: Name,
}

impl Op {
    /// Operator-set domain; empty for `ai.onnx`.
    pub fn domain(&self) -> &str {
        match self {
            Op::Builtin(def) => def.domain,
            Op::Function(function) => &function.domain,
            Op::Opaque(custom) => &custom.domain,
        }
    }

    /// Operator type.
    pub fn name(&self) -> &str {
        match self {
            Op::Builtin(def) => def.name,
            Op::Function(function) => &function.name,
            Op::Opaque(custom) => &custom.name,
        }
    }

    /// The table entry, when it is a built-in operator.
    pub fn builtin(&self) -> Option<&'static OpDef> {
        match self {
            Op::Builtin(def) => Some(def),
            _ => None,
        }
    }

    /// True when it is the built-in operator `name` of the default domain.
    pub fn is(&self, name: &str) -> bool {
        matches!(self, Op::Builtin(def) if def.domain.is_empty() && def.name == name)
    }
}

impl PartialEq for Op {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Op::Builtin(a), Op::Builtin(b)) => std::ptr::eq(*a, *b),
            (Op::Function(a), Op::Function(b)) => Arc::ptr_eq(a, b) || a.id() == b.id(),
            (Op::Opaque(a), Op::Opaque(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.domain().is_empty() {
            write!(f, "{}.", self.domain())?;
        }
        f.write_str(self.name())
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One call of an operator.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// With what parameters; complete for built-in operators and functions.
    pub attrs: Attrs,
    /// Its name in the file; may be empty or repeated.
    pub name: Name,
    /// Key and value pairs from the file (`NodeProto.metadata_props`).
    pub metadata: Vec<(Name, Name)>,
    inputs: Vec<Option<ValueId>>,
    captures: Vec<ValueId>,
    outputs: Vec<ValueId>,
}

impl Node {
    /// What it reads, by position; an optional input that is left out is `None`.
    pub fn inputs(&self) -> &[Option<ValueId>] {
        &self.inputs
    }

    /// What its bodies read of the enclosing graph; `Def::Capture(k)` in a body is the k-th of these.
    pub fn captures(&self) -> &[ValueId] {
        &self.captures
    }

    /// What it defines, by position. An output that the file leaves out has an empty name and no uses.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Input `index`, when it is given.
    pub fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// The first output. Every node has one.
    pub fn output(&self) -> ValueId {
        self.outputs[0]
    }

    /// Everything it reads: inputs that are given, then captures.
    pub fn reads(&self) -> impl Iterator<Item = ValueId> {
        self.inputs.iter().flatten().copied().chain(self.captures.iter().copied())
    }

    /// The graphs inside its attributes.
    pub fn bodies(&self) -> impl Iterator<Item = &Arc<Graph>> {
        self.attrs.iter().flat_map(|(_, attr)| attr.graphs())
    }
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Def {
    /// Graph input by position; a default makes it optional for the caller, not constant.
    Input {
        /// Position among the graph's inputs.
        index: u32,
        /// Used when the caller gives none.
        default: Option<Tensor>,
    },
    /// Known contents.
    Weight(Tensor),
    /// The k-th capture of the node that owns this graph.
    Capture(u32),
    /// One output of a node.
    Result(NodeId, u32),
}

/// One value: an edge bundle of the graph.
#[derive(Clone, Debug)]
pub struct Value {
    /// Its type, as far as declared or inferred.
    pub ty: Option<Type>,
    /// Its name; unique in the graph unless empty.
    pub name: Name,
    def: Def,
    uses: Uses,
}

type Uses = IndexSet<Use, FxBuildHasher>;

impl Value {
    /// Where it comes from.
    pub fn def(&self) -> &Def {
        &self.def
    }

    /// Its contents, when it is a weight.
    pub fn weight(&self) -> Option<&Tensor> {
        match &self.def {
            Def::Weight(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Who reads it.
    pub fn uses(&self) -> impl ExactSizeIterator<Item = Use> + '_ {
        self.uses.iter().copied()
    }
}

/// One place that reads a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// Input of a node, by position.
    Input(NodeId, u32),
    /// Capture of a node, by position.
    Capture(NodeId, u32),
    /// Output of the graph, by position.
    Output(u32),
}

/// One output of a graph: an interface name, and the value that stands behind it now.
#[derive(Clone, Debug)]
pub struct Output {
    /// The name that callers use; rewriting never changes it.
    pub name: Name,
    /// The value.
    pub value: ValueId,
}

/// A directed acyclic graph of calls.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Name in the file.
    pub name: Name,
    /// Documentation in the file.
    pub doc: Name,
    /// Key and value pairs from the file.
    pub metadata: Vec<(Name, Name)>,
    /// `Constant` nodes of the file that became weights when it was read, for reports; rewriting sets it to 0.
    pub n_constant_nodes: usize,
    inputs: Vec<ValueId>,
    outputs: Vec<Output>,
    nodes: Vec<Option<Node>>,
    values: Vec<Option<Value>>,
    n_nodes: usize,
}

/// Why a graph refuses a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StillRead;

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<Name>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Inputs, by position.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Outputs, by position.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Node `id`. Panics when it was removed or belongs to another graph: holding such an id is an error of the program.
    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.index()].as_ref().unwrap_or_else(|| unreachable!("node {id:?} was removed"))
    }

    /// Node `id`, to change its name, attributes or operator; edges change through the graph only.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id.index()].as_mut().unwrap_or_else(|| unreachable!("node {id:?} was removed"))
    }

    /// True while node `id` has not been removed.
    pub fn has_node(&self, id: NodeId) -> bool {
        self.nodes.get(id.index()).is_some_and(Option::is_some)
    }

    /// Value `id`. Panics like [`Graph::node`].
    pub fn value(&self, id: ValueId) -> &Value {
        self.values[id.index()].as_ref().unwrap_or_else(|| unreachable!("value {id:?} was removed"))
    }

    /// Value `id`, to change its name or type.
    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        self.values[id.index()].as_mut().unwrap_or_else(|| unreachable!("value {id:?} was removed"))
    }

    /// True while value `id` has not been removed.
    pub fn has_value(&self, id: ValueId) -> bool {
        self.values.get(id.index()).is_some_and(Option::is_some)
    }

    /// All nodes, in the order in which they were added; `walk::order` gives an order of execution.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        let number = |(index, node): (usize, &'_ Option<Node>)| node.as_ref().map(|_| NodeId(index as u32));
        self.nodes.iter().enumerate().filter_map(number).map(|id| (id, self.node(id)))
    }

    /// All values, in the order in which they were added.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values.iter().enumerate().filter_map(|(index, value)| Some((ValueId(index as u32), value.as_ref()?)))
    }

    /// Number of nodes, bodies of control flow not counted.
    pub fn n_nodes(&self) -> usize {
        self.n_nodes
    }

    /// Upper bound of `NodeId::index`, for tables beside the graph.
    pub fn node_bound(&self) -> usize {
        self.nodes.len()
    }

    /// Upper bound of `ValueId::index`, for tables beside the graph.
    pub fn value_bound(&self) -> usize {
        self.values.len()
    }

    /// The type of value `id`, when it is known to be a tensor of known rank.
    pub fn ty(&self, id: ValueId) -> Option<&TensorType> {
        self.value(id).ty.as_ref()?.tensor()
    }

    /// The contents of value `id`, when it is a weight.
    pub fn weight(&self, id: ValueId) -> Option<&Tensor> {
        self.value(id).weight()
    }

    /// The node that defines value `id`, and which of its outputs the value is.
    pub fn producer(&self, id: ValueId) -> Option<(NodeId, usize)> {
        match self.value(id).def {
            Def::Result(node, index) => Some((node, index as usize)),
            _ => None,
        }
    }

    /// Adds an input at the end: a tensor, unless another type is set for it afterwards.
    pub fn add_input(&mut self, name: impl Into<Name>, ty: Option<TensorType>, default: Option<Tensor>) -> ValueId {
        let index = self.inputs.len() as u32;
        let id = self.add_value(name.into(), ty.map(Type::from), Def::Input { index, default });
        self.inputs.push(id);
        id
    }

    /// Adds a weight.
    pub fn add_weight(&mut self, name: impl Into<Name>, tensor: Tensor) -> ValueId {
        self.add_value(name.into(), Some(tensor.ty().into()), Def::Weight(tensor))
    }

    /// Adds a capture: inside this body, the value `owner.captures()[index]` of the node that owns it.
    pub fn add_capture(&mut self, name: impl Into<Name>, ty: Option<Type>, index: u32) -> ValueId {
        self.add_value(name.into(), ty, Def::Capture(index))
    }

    /// Adds an output at the end.
    pub fn add_output(&mut self, name: impl Into<Name>, value: ValueId) {
        let slot = self.outputs.len() as u32;
        self.outputs.push(Output { name: name.into(), value });
        self.value_mut(value).uses.insert(Use::Output(slot));
    }

    /// Adds a call with one output value for each of `outputs`, named so; an empty name is an output that is left out.
    pub fn add_node(
        &mut self,
        op: Op,
        attrs: Attrs,
        inputs: impl IntoIterator<Item = Option<ValueId>>,
        outputs: impl IntoIterator<Item = impl Into<Name>>,
    ) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        let inputs: Vec<_> = inputs.into_iter().collect();
        for (slot, input) in inputs.iter().enumerate() {
            if let Some(input) = input {
                self.value_mut(*input).uses.insert(Use::Input(id, slot as u32));
            }
        }
        let outputs = outputs
            .into_iter()
            .enumerate()
            .map(|(index, name)| self.add_value(name.into(), None, Def::Result(id, index as u32)))
            .collect();
        let name = Name::default();
        self.nodes.push(Some(Node { op, attrs, name, metadata: Vec::new(), inputs, captures: Vec::new(), outputs }));
        self.n_nodes += 1;
        id
    }

    /// Adds a capture to node `id` and returns its position.
    pub fn capture(&mut self, id: NodeId, value: ValueId) -> u32 {
        let slot = self.node(id).captures.len() as u32;
        self.node_mut(id).captures.push(value);
        self.value_mut(value).uses.insert(Use::Capture(id, slot));
        slot
    }

    /// Sets input `slot` of node `id`, which must have that many inputs or one fewer.
    pub fn set_input(&mut self, id: NodeId, slot: usize, value: Option<ValueId>) {
        let used = Use::Input(id, slot as u32);
        if let Some(old) = self.node(id).input(slot) {
            self.value_mut(old).uses.swap_remove(&used);
        }
        let inputs = &mut self.node_mut(id).inputs;
        if slot == inputs.len() {
            inputs.push(value);
        } else {
            inputs[slot] = value;
        }
        if let Some(value) = value {
            self.value_mut(value).uses.insert(used);
        }
    }

    /// Drops the inputs of node `id` from position `len` on.
    pub fn truncate_inputs(&mut self, id: NodeId, len: usize) {
        for slot in len..self.node(id).inputs.len() {
            self.set_input(id, slot, None);
        }
        self.node_mut(id).inputs.truncate(len);
    }

    /// Lets graph output `slot` stand for `value`.
    pub fn set_output(&mut self, slot: usize, value: ValueId) {
        let old = std::mem::replace(&mut self.outputs[slot].value, value);
        self.value_mut(old).uses.swap_remove(&Use::Output(slot as u32));
        self.value_mut(value).uses.insert(Use::Output(slot as u32));
    }

    /// Drops the outputs whose positions are not among `slots`, which is in order.
    pub fn keep_outputs(&mut self, slots: &[usize]) {
        let outputs = std::mem::take(&mut self.outputs);
        for (slot, output) in outputs.iter().enumerate() {
            self.value_mut(output.value).uses.swap_remove(&Use::Output(slot as u32));
        }
        for output in slots.iter().filter_map(|&slot| outputs.get(slot)) {
            self.add_output(output.name.clone(), output.value);
        }
    }

    /// Lets every reader of `old` read `new` instead, outputs of the graph included.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        if old == new {
            return;
        }
        let uses = std::mem::take(&mut self.value_mut(old).uses);
        for used in &uses {
            match *used {
                Use::Input(node, slot) => self.node_mut(node).inputs[slot as usize] = Some(new),
                Use::Capture(node, slot) => self.node_mut(node).captures[slot as usize] = new,
                Use::Output(slot) => self.outputs[slot as usize].value = new,
            }
        }
        self.value_mut(new).uses.extend(uses);
    }

    /// Lets value `id`, an input or a weight, become a weight with these contents. Refused for results and captures,
    /// whose place is a node's or an owner's: add a weight and `replace_uses` there.
    pub fn set_weight(&mut self, id: ValueId, tensor: Tensor) -> Result<(), StillRead> {
        match self.value(id).def {
            Def::Weight(_) => {}
            Def::Input { .. } => self.forget_input(id),
            Def::Capture(_) | Def::Result(..) => return Err(StillRead),
        }
        let value = self.value_mut(id);
        value.ty = Some(tensor.ty().into());
        value.def = Def::Weight(tensor);
        Ok(())
    }

    /// Removes node `id` and the values it defines. Refused while any of them is read.
    pub fn remove_node(&mut self, id: NodeId) -> Result<(), StillRead> {
        if self.node(id).outputs.iter().any(|&output| !self.value(output).uses.is_empty()) {
            return Err(StillRead);
        }
        let Some(node) = self.nodes[id.index()].take() else { return Ok(()) };
        self.n_nodes -= 1;
        for (slot, input) in node.inputs.iter().enumerate() {
            if let Some(input) = input {
                self.value_mut(*input).uses.swap_remove(&Use::Input(id, slot as u32));
            }
        }
        for (slot, captured) in node.captures.iter().enumerate() {
            self.value_mut(*captured).uses.swap_remove(&Use::Capture(id, slot as u32));
        }
        for output in node.outputs {
            self.values[output.index()] = None;
        }
        Ok(())
    }

    /// Removes value `id`, an input, a weight or a capture. Refused while it is read, and for results of nodes.
    pub fn remove_value(&mut self, id: ValueId) -> Result<(), StillRead> {
        if !self.value(id).uses.is_empty() {
            return Err(StillRead);
        }
        match self.value(id).def {
            Def::Result(..) => return Err(StillRead),
            Def::Input { .. } => self.forget_input(id),
            Def::Weight(_) | Def::Capture(_) => {}
        }
        self.values[id.index()] = None;
        Ok(())
    }

    /// Takes the contents of every weight that nobody reads out of memory, and its value with it.
    pub fn sweep_weights(&mut self) {
        for slot in &mut self.values {
            if slot.as_ref().is_some_and(|value| value.uses.is_empty() && matches!(value.def, Def::Weight(_))) {
                *slot = None;
            }
        }
    }

    fn forget_input(&mut self, id: ValueId) {
        self.inputs.retain(|&input| input != id);
        for (at, input) in self.inputs.clone().into_iter().enumerate() {
            if let Def::Input { index, .. } = &mut self.value_mut(input).def {
                *index = at as u32;
            }
        }
    }

    fn add_value(&mut self, name: Name, ty: Option<Type>, def: Def) -> ValueId {
        let id = ValueId(self.values.len() as u32);
        self.values.push(Some(Value { ty, name, def, uses: Uses::default() }));
        id
    }

    /// True when an attribute in it, or in a body in it, refers to a formal attribute of a function.
    pub fn has_references(&self) -> bool {
        let refers =
            |attr: &Attr| matches!(attr, Attr::Ref(..)) || attr.graphs().iter().any(|body| body.has_references());
        self.nodes().any(|(_, node)| node.attrs.iter().any(|(_, attr)| refers(attr)))
    }

    /// The same graph with references to formal attributes replaced by what `actual` has for them.
    pub fn bind(&self, actual: &Attrs) -> Graph {
        let mut bound = self.clone();
        for node in bound.nodes.iter_mut().flatten() {
            node.attrs = node.attrs.bind(actual);
        }
        bound
    }

    /// Replaces the graphs inside the attributes of node `id` by what `change` makes of them, given the attribute's name.
    pub fn map_bodies(&mut self, id: NodeId, change: &mut dyn FnMut(&Name, &Arc<Graph>) -> Arc<Graph>) {
        let changed: Vec<(Name, Attr)> = self
            .node(id)
            .attrs
            .iter()
            .filter_map(|(name, attr)| match attr {
                Attr::Graph(graph) => Some((name.clone(), Attr::Graph(change(name, graph)))),
                Attr::Graphs(graphs) => {
                    Some((name.clone(), Attr::Graphs(graphs.iter().map(|graph| change(name, graph)).collect())))
                }
                _ => None,
            })
            .collect();
        for (name, attr) in changed {
            self.node_mut(id).attrs.set(name, attr);
        }
    }
}
