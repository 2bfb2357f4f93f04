//! Builds one graph: inputs, weights, nodes in order, outputs.

use super::order::{defined, label, plan};
use super::{Importer, Scope, entries, mended};
use crate::call::{Facts, Operand};
use crate::opset::needs_types;
use crate::proto::{Dimension, DimensionValue, GraphProto, TensorProto, ValueInfoProto, type_proto};
use crate::tensor;
use crate::values::{self, Declared};
use eutectic_ir::diag::{Diagnostic, Kind, Severity};
use eutectic_ir::{Graph, Name, NodeId, Tensor, TensorType, Type, ValueId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::RefCell;

/// A graph under construction.
pub(super) struct Builder<'c> {
    pub graph: Graph,
    pub scope: Scope<'c>,
    /// A step to the canonical operator set may ask for types that the file does not declare.
    pub needs_types: bool,
    /// Values by name.
    pub names: FxHashMap<Name, ValueId>,
    /// Types that the file declares.
    pub declared: FxHashMap<Name, Type>,
    /// Types that the file does not declare, as far as they follow; by value.
    pub inferred: FxHashMap<ValueId, TensorType>,
    /// Calls of `Squeeze` that a step between operator sets read past.
    bypassed: RefCell<Vec<NodeId>>,
    /// What a body reads of the graph around it; `None` for a graph that stands alone.
    pub captures: Option<&'c mut Captures>,
}

/// What the bodies of one node read of the graph around it, by position.
#[derive(Default)]
pub(super) struct Captures {
    pub names: Vec<Name>,
    index_of: FxHashMap<Name, u32>,
}

impl Captures {
    fn index(&mut self, name: &Name) -> u32 {
        *self.index_of.entry(name.clone()).or_insert_with(|| {
            self.names.push(name.clone());
            self.names.len() as u32 - 1
        })
    }
}

impl Builder<'_> {
    /// The value `name`, made a capture when the graph around this one has to give it.
    pub fn resolve(&mut self, name: &Name) -> Option<ValueId> {
        if let Some(&id) = self.names.get(name) {
            return Some(id);
        }
        let index = self.captures.as_mut()?.index(name);
        let id = self.graph.add_capture(name.clone(), None, index);
        self.names.insert(name.clone(), id);
        Some(id)
    }

    pub fn add_weight(&mut self, name: Name, tensor: Tensor) {
        let id = self.graph.add_weight(name.clone(), tensor);
        self.names.insert(name, id);
    }

    /// The type of `id`, as declared or as it follows.
    pub fn ty(&self, id: ValueId) -> Option<&TensorType> {
        self.graph.ty(id).or_else(|| self.inferred.get(&id))
    }
}

impl Facts for Builder<'_> {
    fn ty(&self, operand: &Operand) -> Option<TensorType> {
        match operand {
            Operand::Absent => None,
            Operand::Named(name) => match self.names.get(name) {
                Some(&id) => self.ty(id).cloned(),
                None => self.declared.get(name).and_then(Type::tensor).cloned(),
            },
            Operand::Weight(tensor) => Some(tensor.ty()),
        }
    }

    fn weight(&self, operand: &Operand) -> Option<Tensor> {
        match operand {
            Operand::Absent => None,
            Operand::Named(name) => self.graph.weight(*self.names.get(name)?).cloned(),
            Operand::Weight(tensor) => Some(tensor.clone()),
        }
    }

    fn before_squeeze(&self, operand: &Operand, axes: &[i64]) -> Option<Operand> {
        let Operand::Named(name) = operand else { return None };
        let (id, _) = self.graph.producer(*self.names.get(name)?)?;
        let node = self.graph.node(id);
        let taken = self.graph.weight(node.input(1)?).filter(|_| node.op.is("Squeeze"))?.to_i64s()?;
        let whole = &self.graph.value(node.input(0)?).name;
        if taken != axes || whole.is_empty() {
            return None;
        }
        self.bypassed.borrow_mut().push(id);
        Some(Operand::Named(whole.clone()))
    }
}

/// Removes each of `nodes` that nobody reads, and its weights that nobody else reads.
fn remove_unread(graph: &mut Graph, nodes: &[NodeId]) {
    for &id in nodes.iter().rev() {
        if !graph.has_node(id) {
            continue;
        }
        let reads: Vec<ValueId> = graph.node(id).reads().collect();
        if graph.remove_node(id).is_ok() {
            for read in reads {
                if graph.has_value(read) && graph.weight(read).is_some() {
                    // Refused while others read it.
                    let _ = graph.remove_value(read);
                }
            }
        }
    }
}

impl Importer<'_> {
    /// Builds `proto`. Problems are reported; the graph is then not to be used.
    pub(super) fn graph(&mut self, scope: Scope, proto: GraphProto, captures: Option<&mut Captures>) -> Graph {
        let plan = plan(&proto, &self.outer, self.diagnostics);
        if !plan.is_sorted {
            let message = "the nodes are not in an order of execution; they are sorted";
            self.diagnostics.push(Diagnostic::warning("I0115", message));
        }
        let has_bodies =
            |attribute: &crate::proto::AttributeProto| attribute.g.is_some() || !attribute.graphs.is_empty();
        let encloses = proto.node.iter().any(|node| node.attribute.iter().any(has_bodies));
        if encloses {
            self.outer.push(defined(&proto));
        }
        let mut graph = Graph::new(proto.name);
        graph.doc = mended(&proto.doc_string);
        graph.metadata = entries(proto.metadata_props);
        let needs_types = scope.opset.is_some_and(|version| needs_types(version, proto.node.iter()));
        let mut builder = Builder {
            graph,
            scope,
            needs_types,
            names: FxHashMap::default(),
            declared: FxHashMap::default(),
            inferred: FxHashMap::default(),
            bypassed: RefCell::default(),
            captures,
        };
        self.lost("quantization annotations", proto.quantization_annotation.len());
        if !proto.sparse_initializer.is_empty() {
            let message = format!("{} sparse initializers are not supported", proto.sparse_initializer.len());
            self.error(Kind::Unsupported, "I0113", message);
        }
        for value in proto.value_info.iter().chain(&proto.output) {
            if let Some(Declared::Type(ty)) = self.declared(value) {
                builder.declared.entry(value.name.as_str().into()).or_insert(ty);
            }
        }
        self.inputs_and_weights(&mut builder, proto.input, proto.initializer);
        let mut nodes: Vec<_> = proto.node.into_iter().map(Some).collect();
        for index in plan.order {
            let Some(node) = nodes[index].take() else { continue };
            let label = label(&node, index);
            let from = self.diagnostics.0.len();
            self.node(&mut builder, node, &label);
            self.locate(from, &label);
        }
        self.outputs(&mut builder, &proto.output);
        // What was derived for the steps between operator sets is what the steps down will ask for.
        for (id, ty) in std::mem::take(&mut builder.inferred) {
            if builder.graph.has_value(id) && builder.graph.value(id).ty.is_none() {
                builder.graph.value_mut(id).ty = Some(ty.into());
            }
        }
        if encloses {
            self.outer.pop();
        }
        remove_unread(&mut builder.graph, &builder.bypassed.take());
        builder.graph
    }

    /// The declared type of a value. Problems are reported.
    fn declared(&mut self, value: &ValueInfoProto) -> Option<Declared> {
        self.dropped("descriptions of values", (!value.doc_string.is_empty()).into());
        self.dropped("metadata entries of values", value.metadata_props.len());
        self.dropped("denotations of values", value.r#type.as_ref().is_some_and(|ty| !ty.denotation.is_empty()).into());
        values::import(&value.name, value.r#type.as_ref(), self.limits)
            .map_err(|error| self.diagnostics.push(error.within(format!("value `{}`", value.name))))
            .ok()
    }

    fn inputs_and_weights(
        &mut self,
        builder: &mut Builder,
        inputs: Vec<ValueInfoProto>,
        initializers: Vec<TensorProto>,
    ) {
        let input_names: FxHashSet<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        let mut defaults: FxHashMap<Name, Tensor> = FxHashMap::default();
        let mut weights = Vec::new();
        for proto in initializers {
            let name = Name::from(proto.name.as_str());
            if name.is_empty() {
                self.error(Kind::Invalid, "I0112", "an initializer has no name");
            }
            self.dropped("descriptions of tensors", (!proto.doc_string.is_empty()).into());
            self.dropped("metadata entries of tensors", proto.metadata_props.len());
            match tensor::import(proto, self.limits, self.stored, self.diagnostics) {
                Ok(tensor) if input_names.contains(name.as_str()) => drop(defaults.insert(name, tensor)),
                Ok(tensor) => weights.push((name, tensor)),
                Err(error) => self.diagnostics.push(error.within(format!("initializer `{name}`"))),
            }
        }
        // Before version 4 of the file format every initializer had to be listed as an input, meant to be given or not.
        const DEFAULTS_SINCE: i64 = 4;
        let constant = self.ir_version < DEFAULTS_SINCE;
        if constant && !defaults.is_empty() {
            let message = format!("{} weights are also inputs, as in old files; they are constant", defaults.len());
            let note = Diagnostic::warning("I0118", message);
            self.diagnostics.push(Diagnostic { severity: Severity::Note, ..note });
        }
        for input in inputs {
            let name = Name::from(input.name.as_str());
            let default = defaults.remove(&name);
            let ty = match self.declared(&input) {
                Some(Declared::Type(ty)) => Some(ty),
                Some(Declared::Other(what)) if builder.scope.is_main => {
                    self.diagnostics.push(values::not_a_value(&name, what));
                    None
                }
                Some(Declared::Nothing) if builder.scope.is_main && default.is_none() => {
                    let message = format!("the input `{name}` has no type");
                    self.error(Kind::Invalid, "I0110", message);
                    None
                }
                _ => None,
            };
            if builder.scope.is_main && has_negative_dim(&input) {
                let message = format!("the input `{name}` has a negative dim; it is taken as unknown");
                self.diagnostics.push(Diagnostic::warning("I0110", message));
            }
            if name.is_empty() {
                self.error(Kind::Invalid, "I0101", "an input has no name");
            }
            match default {
                Some(tensor) if constant => weights.push((name, tensor)),
                default => {
                    let id = builder.graph.add_input(name.clone(), None, default);
                    builder.graph.value_mut(id).ty = ty;
                    builder.names.insert(name, id);
                }
            }
        }
        weights.into_iter().for_each(|(name, tensor)| builder.add_weight(name, tensor));
    }

    fn outputs(&mut self, builder: &mut Builder, outputs: &[ValueInfoProto]) {
        let mut seen = FxHashSet::default();
        for output in outputs {
            if !seen.insert(output.name.as_str()) {
                self.error(Kind::Invalid, "I0101", format!("the output `{}` is listed twice", output.name));
                continue;
            }
            if builder.scope.is_main
                && let Some(Declared::Other(what)) = self.declared(output)
            {
                self.diagnostics.push(values::not_a_value(&output.name, what));
            }
            let name = Name::from(output.name.as_str());
            match builder.resolve(&name) {
                Some(id) => {
                    if builder.graph.value(id).ty.is_none() {
                        builder.graph.value_mut(id).ty = builder.declared.get(&name).cloned();
                    }
                    builder.graph.add_output(name, id);
                }
                None => {
                    let message = format!("the output `{name}` is produced by nobody");
                    let error = self.hinted(Diagnostic::error(Kind::Invalid, "I0103", message), builder, &name);
                    self.diagnostics.push(error);
                }
            }
        }
    }

    /// Adds the most similar name of the graph to an error about an unknown one.
    pub(super) fn hinted(&mut self, error: Diagnostic, builder: &Builder, name: &str) -> Diagnostic {
        const MAX_HINTS: u32 = 8;
        const MAX_NAMES: usize = 10_000;
        const MAX_LENGTH: usize = 200;
        if self.n_hinted >= MAX_HINTS || name.len() > MAX_LENGTH {
            return error;
        }
        self.n_hinted += 1;
        let close = builder.names.keys().take(MAX_NAMES).filter(|known| known.len() <= MAX_LENGTH);
        let scored = close.map(|known| (distance(name, known), known));
        match scored.min().filter(|(edits, _)| *edits <= 1 + name.len() / 5 && *edits < name.len()) {
            Some((_, known)) => error.help(format!("did you mean `{known}`?")),
            None => error,
        }
    }
}

fn has_negative_dim(value: &ValueInfoProto) -> bool {
    let Some(type_proto::Value::Tensor(tensor)) = value.r#type.as_ref().and_then(|ty| ty.value.as_ref()) else {
        return false;
    };
    let negative = |dim: &Dimension| matches!(dim.value, Some(DimensionValue::Value(size)) if size < 0);
    tensor.shape.as_ref().is_some_and(|shape| shape.dim.iter().any(negative))
}

/// The number of bytes to insert, drop or replace to get from `a` to `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, byte) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (index, other) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(byte != other);
            diagonal = row[index + 1];
            row[index + 1] = replaced.min(diagonal + 1).min(row[index] + 1);
        }
    }
    row[b.len()]
}
