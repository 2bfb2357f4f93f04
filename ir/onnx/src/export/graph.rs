//! Writes one graph: nodes in order and in the wanted operator set, weights that are read, declarations.

use super::entries;
use super::names::{InSight, Names};
use super::splat;
use crate::attribute;
use crate::call::{Call, Facts, Operand, free_names};
use crate::opset::{Needs, convert};
use crate::proto::{AttributeProto, GraphProto, NodeProto, ValueInfoProto, attribute_type};
use crate::{tensor, values};
use eutectic_ir::diag::{Diagnostic, Kind};
use eutectic_ir::graph::Def;
use eutectic_ir::op::CANONICAL_OPSET;
use eutectic_ir::tensor::Data;
use eutectic_ir::{Element, Graph, Name, Node, Op, Tensor, TensorType, ValueId, walk};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;

/// Optional inputs that the canonical form fills with zeros: operator and position. They are left out again.
const ZERO_MEANS_ABSENT: &[(&str, usize)] =
    &[("Conv", 2), ("ConvTranspose", 2), ("Gemm", 2), ("LayerNormalization", 2)];

/// What is collected while graphs are written.
pub(super) struct Exporter {
    /// The version of the default operator set that is written.
    pub opset: u64,
    /// The version that unknown operators of the main graph were read in.
    read_in: u64,
    in_sight: InSight,
    /// Calls that the version cannot express, and where they are.
    pub needs: Vec<(Needs, String)>,
    /// Errors that no version mends.
    pub problems: Vec<Diagnostic>,
    /// Domains of the operators that were met.
    pub domains: BTreeSet<Name>,
    /// True when a node or a graph carries metadata.
    pub has_metadata: bool,
    /// Element types of weights and values.
    pub elements: FxHashSet<Element>,
}

/// A graph that is written but for its weights.
pub(super) struct Lowered {
    graph: GraphProto,
    weights: Vec<(Name, Tensor)>,
    pub domains: BTreeSet<Name>,
}

impl Lowered {
    /// The message without initializers, and these.
    pub fn into_graph(self) -> (GraphProto, Vec<(Name, Tensor)>) {
        (self.graph, self.weights)
    }

    /// The message with its initializers.
    fn into_whole_graph(mut self) -> GraphProto {
        self.graph.initializer = self.weights.iter().map(|(name, tensor)| tensor::export(name, tensor)).collect();
        self.graph
    }

    /// Inputs, outputs and nodes of a function, which has no initializers: constants stand in for them.
    pub fn into_function(self) -> (Vec<String>, Vec<String>, Vec<NodeProto>) {
        let constant = |(name, tensor): &(Name, Tensor)| NodeProto {
            output: vec![name.to_string()],
            op_type: "Constant".into(),
            attribute: vec![AttributeProto {
                name: "value".into(),
                r#type: Some(attribute_type::TENSOR),
                t: Some(tensor::export("", tensor)),
                ..Default::default()
            }],
            ..Default::default()
        };
        let names = |values: Vec<ValueInfoProto>| values.into_iter().map(|value| value.name).collect();
        let nodes = self.weights.iter().map(constant).chain(self.graph.node).collect();
        (names(self.graph.input), names(self.graph.output), nodes)
    }
}

impl Exporter {
    pub fn new(opset: u64, read_in: u64) -> Self {
        Self {
            opset,
            read_in,
            in_sight: InSight::default(),
            needs: Vec::new(),
            problems: Vec::new(),
            domains: BTreeSet::new(),
            has_metadata: false,
            elements: FxHashSet::default(),
        }
    }

    /// Writes a graph that sees no other, such as the body of a function.
    pub fn lower_alone(&mut self, graph: &Graph, read_in: u64) -> Lowered {
        let in_sight = std::mem::take(&mut self.in_sight);
        let lowered = self.lower(graph, &[], read_in);
        self.in_sight = in_sight;
        lowered
    }

    /// Writes `graph`, whose unknown operators were read in version `read_in`. `captures` are the names of what it
    /// reads of the graph around it.
    pub fn lower(&mut self, graph: &Graph, captures: &[Name], read_in: u64) -> Lowered {
        let outer = std::mem::replace(&mut self.read_in, read_in);
        let lowered = self.lower_inside(graph, captures);
        self.read_in = outer;
        lowered
    }

    fn lower_inside(&mut self, graph: &Graph, captures: &[Name]) -> Lowered {
        let names = Names::new(graph, captures, &mut self.in_sight);
        let view = View::new(graph, &names);
        let order = walk::order(graph).unwrap_or_else(|cycle| {
            let message = format!("{} nodes of graph `{}` form a cycle", cycle.0.len(), graph.name);
            self.problems.push(Diagnostic::error(Kind::Invalid, "I0104", message));
            Vec::new()
        });
        let all_domains = std::mem::take(&mut self.domains);
        let mut calls: Vec<Call> = Vec::with_capacity(order.len());
        for id in order {
            self.calls(graph.node(id), &names, &view, &mut calls);
        }
        let mut weights: Vec<(Name, Tensor)> = Vec::new();
        let mut new_weights = Vec::new();
        for call in &mut calls {
            for operand in &mut call.inputs {
                if let Operand::Weight(tensor) = operand {
                    let name = self.in_sight.fresh(&format!("{}_constant", call.op_type));
                    new_weights.push((name.clone(), tensor.clone()));
                    *operand = Operand::Named(name);
                }
            }
        }
        for &slot in &names.renamed {
            let output = &graph.outputs()[slot];
            calls.push(Call {
                op_type: "Identity".into(),
                inputs: vec![Operand::Named(names.get(output.value))],
                outputs: vec![output.name.clone()],
                ..Call::default()
            });
        }
        let interface: FxHashSet<Name> = graph.outputs().iter().map(|output| output.name.clone()).collect();
        let mut read = interface.clone();
        for call in &calls {
            read.extend(call.captures.iter().cloned());
            read.extend(call.inputs.iter().filter_map(|operand| match operand {
                Operand::Named(name) => Some(name.clone()),
                _ => None,
            }));
        }
        let mut defined: FxHashSet<Name> = FxHashSet::default();
        let mut nodes = Vec::with_capacity(calls.len());
        for call in calls {
            defined.extend(call.outputs.iter().filter(|name| !name.is_empty()).cloned());
            nodes.push(self.node(call));
        }
        let mut value_info = Vec::new();
        let mut filled = Vec::new();
        for (id, value) in graph.values() {
            let name = names.get(id);
            if let Some(ty) = &value.ty {
                self.elements.insert(ty.element());
            }
            match value.def() {
                Def::Weight(tensor) if read.contains(&name) && splat::is_call(tensor, self.opset) => {
                    let shape = self.in_sight.fresh(&format!("{name}_shape"));
                    let (call, extents) = splat::call(&name, &shape, tensor);
                    filled.push(self.node(call));
                    new_weights.push((shape, extents));
                }
                Def::Weight(tensor) | Def::Input { default: Some(tensor), .. }
                    if (matches!(value.def(), Def::Input { .. }) || read.contains(&name)) =>
                {
                    weights.push((name, tensor.clone()));
                }
                Def::Result(..) if value.ty.is_some() && defined.contains(&name) && !interface.contains(&name) => {
                    value_info.push(values::export(&name, value.ty.as_ref()));
                }
                _ => {}
            }
        }
        filled.append(&mut nodes);
        weights.extend(new_weights.iter().cloned());
        let declare = |id: ValueId, name: &Name| values::export(name, graph.value(id).ty.as_ref());
        self.has_metadata |= !graph.metadata.is_empty();
        let proto = GraphProto {
            node: filled,
            name: graph.name.to_string(),
            doc_string: graph.doc.as_bytes().to_vec().into(),
            input: graph.inputs().iter().map(|&id| declare(id, &names.get(id))).collect(),
            output: graph.outputs().iter().map(|output| declare(output.value, &output.name)).collect(),
            value_info,
            metadata_props: entries(&graph.metadata),
            ..Default::default()
        };
        self.in_sight.forget(names.own(graph));
        self.in_sight.forget(new_weights.into_iter().map(|(name, _)| name));
        let domains = std::mem::replace(&mut self.domains, all_domains);
        self.domains.extend(domains.iter().cloned());
        Lowered { graph: proto, weights, domains }
    }

    /// Adds the calls that express `node` in the wanted version.
    fn calls(&mut self, node: &Node, names: &Names, view: &View, into: &mut Vec<Call>) {
        let overload = match &node.op {
            Op::Builtin(_) => Name::default(),
            Op::Function(function) => function.overload.clone(),
            Op::Opaque(custom) => custom.overload.clone(),
        };
        let named = |id: &Option<ValueId>| id.map_or(Operand::Absent, |id| Operand::Named(names.get(id)));
        let mut call = Call {
            domain: node.op.domain().into(),
            op_type: node.op.name().into(),
            overload,
            name: node.name.clone(),
            inputs: node.inputs().iter().map(named).collect(),
            outputs: node.outputs().iter().map(|&id| names.get(id)).collect(),
            attrs: node.attrs.clone(),
            metadata: node.metadata.clone(),
            captures: node.captures().iter().map(|&id| names.get(id)).collect(),
            as_written: false,
        };
        self.domains.insert(call.domain.clone());
        call.trim_outputs();
        if !call.domain.is_empty() || matches!(node.op, Op::Function(_)) {
            into.push(call);
            return;
        }
        drop_zeros(&mut call, self.opset, view);
        call.trim_inputs();
        let from = if matches!(node.op, Op::Builtin(_)) { CANONICAL_OPSET } else { self.read_in };
        let outputs = call.outputs.clone();
        match convert(call, from, self.opset, view) {
            Ok(mut calls) => {
                free_names(&mut calls, &outputs, |name| self.in_sight.fresh(name));
                into.extend(calls);
            }
            Err(needs) => {
                let output = names.get(node.output());
                let place =
                    if node.name.is_empty() { format!("node of `{output}`") } else { format!("node `{}`", node.name) };
                self.needs.push((needs, place));
            }
        }
    }

    fn node(&mut self, call: Call) -> NodeProto {
        let text = |names: &[Name]| names.iter().map(Name::to_string).collect();
        let input = call.inputs.iter().map(|operand| match operand {
            Operand::Named(name) => name.to_string(),
            _ => String::new(),
        });
        self.has_metadata |= !call.metadata.is_empty();
        let input = input.collect();
        let read_in = self.read_in;
        let attribute = call.attrs.iter().map(|(name, attr)| {
            attribute::export(name, attr, &mut |graph| self.lower(graph, &call.captures, read_in).into_whole_graph())
        });
        NodeProto {
            attribute: attribute.collect(),
            input,
            output: text(&call.outputs),
            name: call.name.to_string(),
            op_type: call.op_type.to_string(),
            domain: call.domain.to_string(),
            overload: call.overload.to_string(),
            metadata_props: entries(&call.metadata),
            ..Default::default()
        }
    }
}

fn drop_zeros(call: &mut Call, opset: u64, view: &View) {
    let Some((_, slot)) = ZERO_MEANS_ABSENT.iter().find(|(name, _)| *name == call.op_type) else { return };
    // Before version 11 a Gemm has to have a bias.
    if call.inputs.len() != slot + 1 || (call.op_type == "Gemm" && opset < 11) {
        return;
    }
    let is_zero = view.weight(&call.inputs[*slot]).is_some_and(|weight| match weight.data() {
        Data::Splat(element) => element.iter().all(|&byte| byte == 0),
        _ => false,
    });
    if is_zero {
        call.inputs.truncate(*slot);
    }
}

/// What is known of the values of a graph by their names in the file.
struct View<'a> {
    graph: &'a Graph,
    ids: FxHashMap<Name, ValueId>,
}

impl<'a> View<'a> {
    fn new(graph: &'a Graph, names: &Names) -> Self {
        let ids = graph.values().map(|(id, _)| (names.get(id), id)).filter(|(name, _)| !name.is_empty()).collect();
        Self { graph, ids }
    }
}

impl Facts for View<'_> {
    fn ty(&self, operand: &Operand) -> Option<TensorType> {
        match operand {
            Operand::Absent => None,
            Operand::Named(name) => self.graph.ty(*self.ids.get(name)?).cloned(),
            Operand::Weight(tensor) => Some(tensor.ty()),
        }
    }

    fn weight(&self, operand: &Operand) -> Option<Tensor> {
        match operand {
            Operand::Absent => None,
            Operand::Named(name) => self.graph.weight(*self.ids.get(name)?).cloned(),
            Operand::Weight(tensor) => Some(tensor.clone()),
        }
    }
}
