//! Regions become functions.

use super::Formed;
use super::calls::Calls;
use super::division::Unit;
use eutectic_ir::graph::{Def, Graph, Op, ValueId};
use eutectic_ir::model::Function;
use eutectic_ir::region::DOMAIN;
use eutectic_ir::{Attrs, Model, Name};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// Constants of at most so many elements stand in the body of a region: numbers, axes, shapes.
const MOST_ELEMENTS_INSIDE: usize = 8;

/// The main graph of a model anew, its regions as calls of functions.
pub(super) struct Outlined {
    pub graph: Graph,
    pub functions: Vec<Arc<Function>>,
    pub formed: Vec<Formed>,
}

/// Copies calls from one graph to another.
struct Copier<'a> {
    from: &'a Graph,
    to: Graph,
    /// Where each value of `from` stands in `to`.
    at: FxHashMap<ValueId, ValueId>,
}

impl<'a> Copier<'a> {
    fn new(from: &'a Graph, name: impl Into<Name>) -> Self {
        Self { from, to: Graph::new(name), at: FxHashMap::default() }
    }

    /// A new value stands for `old`, and has its type.
    fn stands(&mut self, old: ValueId, new: ValueId) -> ValueId {
        self.to.value_mut(new).ty = self.from.value(old).ty.clone();
        self.at.insert(old, new);
        new
    }

    /// The value that stands for `old`; a weight is copied when it is first asked for, and anything else that is not there
    /// becomes an input.
    fn value(&mut self, old: ValueId) -> ValueId {
        if let Some(&new) = self.at.get(&old) {
            return new;
        }
        let value = self.from.value(old);
        let new = match value.weight() {
            Some(tensor) => self.to.add_weight(value.name.clone(), tensor.clone()),
            None => self.to.add_input(value.name.clone(), None, None),
        };
        self.stands(old, new)
    }

    /// A call of `op` that reads what stands for `inputs` and gives what stands for `outputs`.
    fn call(&mut self, op: Op, attrs: Attrs, inputs: &[Option<ValueId>], captures: &[ValueId], outputs: &[ValueId]) {
        let inputs: Vec<Option<ValueId>> = inputs.iter().map(|input| input.map(|value| self.value(value))).collect();
        let captures: Vec<ValueId> = captures.iter().map(|&value| self.value(value)).collect();
        let names: Vec<Name> = outputs.iter().map(|&output| self.from.value(output).name.clone()).collect();
        let id = self.to.add_node(op, attrs, inputs, names);
        for value in captures {
            self.to.capture(id, value);
        }
        for (&old, new) in outputs.iter().zip(self.to.node(id).outputs().to_vec()) {
            self.stands(old, new);
        }
    }

    /// A copy of node `at` of `calls`.
    fn copy(&mut self, calls: &Calls, at: usize) {
        let node = calls.graph.node(calls.ids[at]);
        self.call(node.op.clone(), node.attrs.clone(), node.inputs(), node.captures(), node.outputs());
        if let Some((copy, _)) = self.to.producer(self.at[&node.output()]) {
            self.to.node_mut(copy).name = node.name.clone();
            self.to.node_mut(copy).metadata = node.metadata.clone();
        }
    }
}

/// The graph of `model` with a call for each of `units`.
pub(super) fn outlined(model: &Model, calls: &Calls, units: &[Unit]) -> Outlined {
    let from = &model.graph;
    let mut outer = Copier::new(from, from.name.clone());
    (outer.to.doc, outer.to.metadata) = (from.doc.clone(), from.metadata.clone());
    for &input in from.inputs() {
        let default = match from.value(input).def() {
            Def::Input { default, .. } => default.clone(),
            _ => None,
        };
        let new = outer.to.add_input(from.value(input).name.clone(), None, default);
        outer.stands(input, new);
    }
    let (mut functions, mut formed) = (Vec::new(), Vec::new());
    let kept = kept(calls, units);
    for (number, unit) in units.iter().enumerate() {
        if unit.made_by.is_empty() {
            unit.calls.iter().for_each(|&at| outer.copy(calls, at));
            continue;
        }
        let name = format!("{}_{number}", unit.made_by);
        let outputs: Vec<ValueId> = unit.calls.iter().flat_map(|&at| calls.outputs(at)).copied().collect();
        let outputs: Vec<ValueId> = outputs.into_iter().filter(|value| kept.contains(value)).collect();
        if outputs.is_empty() {
            // Nothing reads what it computes, and a call without results is none.
            continue;
        }
        let (body, inputs) = body(calls, unit, &outputs, &name);
        let function = Arc::new(Function {
            domain: DOMAIN.into(),
            name: name.as_str().into(),
            overload: Name::default(),
            attrs: Vec::new(),
            body,
            opsets: model.opsets.clone(),
            doc: Name::default(),
            metadata: Vec::new(),
        });
        let inputs: Vec<Option<ValueId>> = inputs.into_iter().map(Some).collect();
        outer.call(Op::Function(Arc::clone(&function)), Attrs::new(), &inputs, &[], &outputs);
        functions.push(function);
        formed.push(Formed { name, made_by: unit.made_by.clone(), n_calls: unit.members().len() });
    }
    for output in from.outputs() {
        let value = outer.value(output.value);
        outer.to.add_output(output.name.clone(), value);
    }
    Outlined { graph: outer.to, functions, formed }
}

/// The results that are read outside of the unit that computes them.
fn kept(calls: &Calls, units: &[Unit]) -> FxHashSet<ValueId> {
    let mut kept = FxHashSet::default();
    for unit in units {
        for value in unit.members().into_iter().flat_map(|at| calls.reads(at).collect::<Vec<_>>()) {
            if calls.producer(value).is_some_and(|call| !unit.computes(call)) {
                kept.insert(value);
            }
        }
    }
    kept.extend(calls.graph.outputs().iter().map(|output| output.value));
    kept
}

/// The calls of `unit` as a graph that gives `outputs`, and the values that stand for its inputs.
fn body(calls: &Calls, unit: &Unit, outputs: &[ValueId], name: &str) -> (Graph, Vec<ValueId>) {
    let mut body = Copier::new(calls.graph, name);
    let mut inputs = Vec::new();
    let members = unit.members();
    for value in members.iter().flat_map(|&at| calls.reads(at)) {
        let is_made = calls.producer(value).is_some_and(|call| unit.computes(call));
        let is_small = calls.graph.weight(value).is_some_and(|tensor| tensor.count() <= MOST_ELEMENTS_INSIDE);
        if !is_made && !is_small && !body.at.contains_key(&value) {
            inputs.push(value);
            let new = body.to.add_input(calls.graph.value(value).name.clone(), None, None);
            body.stands(value, new);
        }
    }
    members.iter().for_each(|&at| body.copy(calls, at));
    for &value in outputs {
        let new = body.value(value);
        body.to.add_output(calls.graph.value(value).name.clone(), new);
    }
    (body.to, inputs)
}
