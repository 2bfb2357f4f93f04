//! The space of equal graphs: an e-graph that rules can be matched against and built in.

use super::language::{Data, ENode, Head, Kind, Tables};
use super::provenance::Asked;
use crate::rules::{Host, Sink};
use egg::{EGraph, Id, Language};
use eutectic_ir::graph::{Def, Graph, NodeId, Op, ValueId};
use eutectic_ir::infer::{Facts, infer_call};
use eutectic_ir::op::Law;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::{Attrs, Dim, Reason, TensorType, walk};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// An e-graph of one graph, its root, and where the original values stand in it.
pub struct Space {
    pub(super) egraph: EGraph<ENode, Tables>,
    pub(super) root: Id,
    /// The class of each original value, by value index.
    pub(super) classes: FxHashMap<ValueId, Id>,
    inputs: Vec<Id>,
    pub(super) absent: Id,
}

/// One e-node: its class, and its place in it. Valid until the space changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    pub(super) class: Id,
    pub(super) at: u32,
}

impl Space {
    /// The space that holds `graph` alone. Errors: the graph has a cycle.
    pub fn new(graph: &Graph, facts: &Facts) -> Result<Self, Reason> {
        let order = walk::order(graph).map_err(|_| Reason::new("the graph has a cycle"))?;
        let mut egraph = EGraph::new(Tables::default());
        let absent = egraph.add(ENode::new(Head::Absent, []));
        let mut space = Self { egraph, root: absent, classes: FxHashMap::default(), inputs: Vec::new(), absent };
        for (id, value) in graph.values() {
            let head = match value.def() {
                Def::Input { .. } | Def::Capture(_) => Head::Leaf(id.index() as u32),
                Def::Weight(tensor) => {
                    let small = tensor.count() == 1;
                    Head::Weight(space.egraph.analysis.intern_weight(tensor.clone(), small))
                }
                Def::Result(..) => continue,
            };
            space.egraph.analysis.given = Some(SmallVec::from_iter([facts.get(id).cloned()]));
            let class = space.egraph.add(ENode::new(head, []));
            space.egraph.analysis.given = None;
            space.classes.insert(id, class);
        }
        space.inputs = graph.inputs().iter().filter_map(|input| space.classes.get(input).copied()).collect();
        for id in order {
            space.add_node(graph, facts, id)?;
        }
        let outputs: Vec<Id> =
            graph.outputs().iter().filter_map(|output| space.classes.get(&output.value).copied()).collect();
        space.root = space.egraph.add(ENode::new(Head::Root, outputs));
        space.egraph.rebuild();
        Ok(space)
    }

    /// Number of e-nodes.
    pub fn n_nodes(&self) -> usize {
        self.egraph.total_size()
    }

    /// Number of classes.
    pub fn n_classes(&self) -> usize {
        self.egraph.number_of_classes()
    }

    /// An estimate of the memory of the e-graph, in bytes: each e-node stands in three tables, and each class has a type.
    pub fn n_bytes(&self) -> usize {
        const TYPE: usize = 256;
        const TABLE_SLACK: usize = 48;
        let per_node = 3 * size_of::<ENode>() + TABLE_SLACK;
        self.egraph.nodes().len() * per_node + self.n_classes() * (size_of::<Data>() + TYPE)
    }

    fn add_node(&mut self, graph: &Graph, facts: &Facts, id: NodeId) -> Result<(), Reason> {
        let node = graph.node(id);
        let n_outputs =
            u8::try_from(node.outputs().len()).map_err(|_| Reason(format!("{} has over 255 outputs", node.op)))?;
        let touchable = match &node.op {
            Op::Builtin(def) => !def.has(Law::Impure) && node.bodies().next().is_none(),
            Op::Function(_) => true,
            Op::Opaque(_) => false,
        };
        let head = if touchable {
            let op = self.egraph.analysis.intern_op(&node.op);
            let record = self.egraph.analysis.intern_record(node.attrs.clone());
            Head::Call { op, record, n_outputs }
        } else {
            Head::Fixed { node: id.index() as u32, n_outputs }
        };
        let mut children: SmallVec<[Id; 4]> = node
            .inputs()
            .iter()
            .map(|input| input.and_then(|value| self.classes.get(&value).copied()).unwrap_or(self.absent))
            .collect();
        children.extend(node.captures().iter().filter_map(|value| self.classes.get(value).copied()));
        let enode = ENode { head, children };
        let given: SmallVec<_> = node.outputs().iter().map(|&output| facts.get(output).cloned()).collect();
        // Unknown facts are inferred again, from what the classes know by now.
        self.egraph.analysis.given = given.iter().all(Option::is_some).then_some(given);
        let class = self.exchanged(&enode).unwrap_or_else(|| self.egraph.add(enode));
        self.egraph.analysis.given = None;
        for (index, &output) in node.outputs().iter().enumerate() {
            let class = if n_outputs == 1 { class } else { self.egraph.add(project(index, class)) };
            self.classes.insert(output, class);
        }
        Ok(())
    }

    /// The class of the call of a commutative operator that has the operands of `enode` in the other order: it is as good, and
    /// both would be matched in both orders.
    fn exchanged(&self, enode: &ENode) -> Option<Id> {
        let (Head::Call { op, .. }, [a, b]) = (enode.head, &enode.children[..]) else { return None };
        let is_commutative =
            self.egraph.analysis.ops[op as usize].builtin().is_some_and(|def| def.has(Law::Commutative));
        if !is_commutative || a == b {
            return None;
        }
        self.egraph.lookup(ENode::new(enode.head, [*b, *a]))
    }

    pub(super) fn enode(&self, call: Call) -> &ENode {
        &self.egraph[call.class].nodes[call.at as usize]
    }

    /// What an e-node is, for people and dumps.
    pub(super) fn describe(&self, node: &ENode) -> String {
        let tables = &self.egraph.analysis;
        match node.head {
            Head::Leaf(value) => format!("value {value}"),
            Head::Weight(index) => format!("weight {}", tables.weights[index as usize].ty()),
            Head::Absent => "absent".into(),
            Head::Call { op, .. } => tables.ops[op as usize].to_string(),
            Head::Fixed { node, .. } => format!("node {node}"),
            Head::Project(index) => format!("output {index}"),
            Head::Root => "root".into(),
        }
    }

    /// Adds what a right side asks for, or finds it; its class.
    fn ask(&mut self, node: ENode) -> Id {
        if self.egraph.analysis.provenance.is_none() {
            return self.egraph.add(node);
        }
        let term = self.egraph.add_uncanonical(node.clone());
        let class = self.egraph.find(term);
        if let Some(provenance) = self.provenance() {
            provenance.asked.push(Asked { node, term, class });
        }
        class
    }

    fn calls_of(&self, class: Id, op: u32) -> impl Iterator<Item = Call> + '_ {
        let class = self.egraph.find(class);
        let nodes = self.egraph[class].nodes.iter().enumerate();
        nodes
            .filter(move |(_, node)| matches!(node.head, Head::Call { op: found, .. } if found == op))
            .map(move |(at, _)| Call { class, at: at as u32 })
    }

    fn fact(&self, class: Id) -> Option<&eutectic_ir::op::Fact> {
        self.egraph[class].data.facts.first()?.as_ref()
    }

    fn tensor(&self, class: Id) -> Option<&Tensor> {
        self.egraph[class].data.weight.map(|index| &self.egraph.analysis.weights[index as usize])
    }
}

pub(super) fn project(index: usize, tuple: Id) -> ENode {
    ENode::new(Head::Project(index as u8), [tuple])
}

impl Host for Space {
    type Value = Id;
    type Call = Call;

    fn calls(&self, op: &Op) -> Vec<Call> {
        let Some(op) = self.egraph.analysis.find_op(op) else { return Vec::new() };
        let Some(classes) = self.egraph.classes_for_op(&Kind::Call(op)) else { return Vec::new() };
        let mut classes: Vec<Id> = classes.collect();
        // The index is a hash set; rules are applied in an order that does not depend on hashing.
        classes.sort_unstable();
        classes.into_iter().flat_map(|class| self.calls_of(class, op)).collect()
    }

    fn definitions(&self, value: Id, op: &Op) -> SmallVec<[(Call, usize); 2]> {
        let Some(op) = self.egraph.analysis.find_op(op) else { return SmallVec::new() };
        let value = self.egraph.find(value);
        let mut found = SmallVec::new();
        for (at, node) in self.egraph[value].nodes.iter().enumerate() {
            match node.head {
                Head::Call { op: other, n_outputs: 1, .. } if other == op => {
                    found.push((Call { class: value, at: at as u32 }, 0));
                }
                Head::Project(index) => {
                    found.extend(self.calls_of(node.children[0], op).map(|call| (call, usize::from(index))));
                }
                _ => {}
            }
        }
        found
    }

    fn readers(&self, value: Id, op: &Op) -> Vec<Call> {
        let Some(op) = self.egraph.analysis.find_op(op) else { return Vec::new() };
        let mut found = Vec::new();
        for parent in self.egraph[value].parents() {
            let node = self.egraph.id_to_node(parent);
            if !matches!(node.head, Head::Call { op: other, .. } if other == op) {
                continue;
            }
            let node = node.clone().map_children(|child| self.egraph.find(child));
            let class = self.egraph.find(parent);
            if let Some(at) = self.egraph[class].nodes.iter().position(|other| *other == node) {
                found.push(Call { class, at: at as u32 });
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn attrs(&self, call: Call) -> &Attrs {
        match self.enode(call).head {
            Head::Call { record, .. } => &self.egraph.analysis.records[record as usize],
            _ => unreachable!("only calls are handed out"),
        }
    }

    fn inputs(&self, call: Call) -> SmallVec<[Option<Id>; 4]> {
        let given = |&child: &Id| {
            let child = self.egraph.find(child);
            (child != self.egraph.find(self.absent)).then_some(child)
        };
        self.enode(call).children.iter().map(given).collect()
    }

    fn output(&self, call: Call, index: usize) -> Option<Id> {
        match self.enode(call).head {
            Head::Call { n_outputs: 1, .. } => (index == 0).then(|| self.egraph.find(call.class)),
            _ => self.egraph.lookup(project(index, self.egraph.find(call.class))),
        }
    }

    fn n_outputs(&self, call: Call) -> usize {
        match self.enode(call).head {
            Head::Call { n_outputs, .. } | Head::Fixed { n_outputs, .. } => usize::from(n_outputs),
            _ => 1,
        }
    }

    fn ty(&self, value: Id) -> Option<&TensorType> {
        self.fact(value)?.tensor()
    }

    fn is_constant(&self, value: Id) -> bool {
        self.egraph[value].data.constant
    }

    fn weight(&self, value: Id) -> Option<&Tensor> {
        self.tensor(value)
    }

    fn scalar(&self, value: Id) -> Option<f64> {
        self.tensor(value)?.as_single()
    }

    fn splat(&self, value: Id) -> Option<f64> {
        self.tensor(value)?.as_splat()
    }

    fn content(&self, value: Id) -> Option<Vec<Dim>> {
        if let Some(content) = self.fact(value).and_then(|fact| fact.content.clone()) {
            return Some(content);
        }
        const LARGEST_SHAPE: usize = 64;
        let tensor = self.tensor(value).filter(|tensor| tensor.count() <= LARGEST_SHAPE)?;
        Some(tensor.to_i64s()?.into_iter().map(Dim::known).collect())
    }
}

impl Sink for Space {
    fn call(
        &mut self,
        op: &Op,
        attrs: Attrs,
        inputs: &[Option<Id>],
        n_outputs: usize,
    ) -> Result<SmallVec<[Id; 2]>, Reason> {
        let wide = u8::try_from(n_outputs).map_err(|_| Reason(format!("{op} has over 255 outputs")))?;
        let number = self.egraph.analysis.intern_op(op);
        let record = self.egraph.analysis.intern_record(attrs);
        let children = inputs.iter().map(|input| input.unwrap_or(self.absent));
        let enode = ENode::new(Head::Call { op: number, record, n_outputs: wide }, children);
        if let Some(class) = self.exchanged(&enode) {
            return Ok(SmallVec::from_iter([class]));
        }
        if self.egraph.lookup(enode.clone()).is_none() {
            // What inference refuses never enters the e-graph.
            let inputs = super::language::arguments(&self.egraph, &enode.children)
                .ok_or_else(|| Reason(format!("the type of an input of {op} is not known")))?;
            let scope = format!("?e{}", self.egraph.nodes().len());
            let attrs = &self.egraph.analysis.records[record as usize];
            let call = eutectic_ir::op::Call { attrs, inputs: &inputs, captures: &[], n_outputs, scope: &scope };
            let facts = infer_call(op, &call)?;
            self.egraph.analysis.given = Some(SmallVec::from_vec(facts));
        }
        let class = self.ask(enode);
        self.egraph.analysis.given = None;
        Ok(match n_outputs {
            1 => SmallVec::from_iter([class]),
            _ => (0..n_outputs).map(|index| self.ask(project(index, class))).collect(),
        })
    }

    fn add_weight(&mut self, tensor: Tensor) -> Id {
        let index = self.egraph.analysis.intern_weight(tensor, true);
        self.ask(ENode::new(Head::Weight(index), []))
    }

    fn given(&self) -> Vec<Id> {
        self.inputs.clone()
    }
}
