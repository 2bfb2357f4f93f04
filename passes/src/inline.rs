//! Inlining: a call of a function becomes its body, and so does a control-flow operator that has no choice.

use crate::rewire::bodies_of;
use eutectic_ir::graph::{Def, Graph, NodeId, Op, ValueId};
use eutectic_ir::{Attr, Attrs, Function, Name, walk};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// Replaces every call of a function that `wanted` accepts by its body, again and again, in bodies of control flow too; the
/// number of calls replaced.
///
/// Functions hold each other by reference and so cannot be recursive. `limit` bounds the nodes of each graph: expansion
/// that would pass it stops, and the remaining calls stay.
pub fn inline(graph: &mut Graph, wanted: &dyn Fn(&Function) -> bool, limit: usize) -> usize {
    let mut n_inlined = 0;
    let mut taken = names(graph);
    loop {
        let calls: Vec<(NodeId, Arc<Function>)> = graph
            .nodes()
            .filter_map(|(id, node)| match &node.op {
                Op::Function(function) if wanted(function) => Some((id, Arc::clone(function))),
                _ => None,
            })
            .collect();
        if calls.is_empty() {
            bodies_of(graph, &mut |body| n_inlined += inline(body, wanted, limit));
            return n_inlined;
        }
        for (id, function) in calls {
            if graph.n_nodes() + function.body.n_nodes() > limit {
                return n_inlined;
            }
            inline_call(graph, id, &function, &mut taken);
            n_inlined += 1;
        }
    }
}

fn inline_call(graph: &mut Graph, call: NodeId, function: &Function, taken: &mut FxHashSet<Name>) {
    let node = graph.node(call);
    let (attrs, inputs) = (node.attrs.clone(), node.inputs().to_vec());
    let results = splice(graph, call, &function.body, &inputs, &attrs, taken);
    replace_call(graph, call, &results);
}

/// Replaces `call`, a control-flow operator, by its body `name`, whose inputs are those of the call from `first` on, and whose
/// outputs behind the first `n_own` are its results. `None`, with `graph` unchanged, when there is no such body.
pub(crate) fn inline_body(graph: &mut Graph, call: NodeId, name: &str, first: usize, n_own: usize) -> Option<()> {
    let Some(Attr::Graph(body)) = graph.node(call).attrs.get(name) else { return None };
    let body = Arc::clone(body);
    let inputs = graph.node(call).inputs().get(first..)?.to_vec();
    let mut taken = names(graph);
    let results = splice(graph, call, &body, &inputs, &Attrs::new(), &mut taken);
    replace_call(graph, call, results.get(n_own..).unwrap_or_default());
    Some(())
}

/// Copies `body` into `graph` beside `call`, which gives it inputs and captures; the values of its outputs.
fn splice(
    graph: &mut Graph,
    call: NodeId,
    body: &Graph,
    inputs: &[Option<ValueId>],
    attrs: &Attrs,
    taken: &mut FxHashSet<Name>,
) -> Vec<Option<ValueId>> {
    let node = graph.node(call);
    let prefix = if node.name.is_empty() { graph.value(node.output()).name.clone() } else { node.name.clone() };
    let captures = node.captures().to_vec();
    let mut values: FxHashMap<ValueId, Option<ValueId>> = FxHashMap::default();
    for (&formal, &actual) in body.inputs().iter().zip(inputs) {
        values.insert(formal, actual);
    }
    for (id, value) in body.values() {
        match value.def() {
            Def::Weight(tensor) => {
                let name = fresh(taken, &prefix, &value.name);
                values.insert(id, Some(graph.add_weight(name, tensor.clone())));
            }
            Def::Capture(index) => drop(values.insert(id, captures.get(*index as usize).copied())),
            Def::Input { .. } | Def::Result(..) => {}
        }
    }
    for id in walk::order(body).unwrap_or_default() {
        let node = body.node(id);
        let read = |value: &Option<ValueId>| value.and_then(|value| values.get(&value).copied().flatten());
        let reads: Vec<Option<ValueId>> = node.inputs().iter().map(read).collect();
        let captures: Vec<Option<ValueId>> = node.captures().iter().map(|value| read(&Some(*value))).collect();
        let names: Vec<Name> = node
            .outputs()
            .iter()
            .map(|&output| {
                let name = &body.value(output).name;
                if name.is_empty() { Name::default() } else { fresh(taken, &prefix, name) }
            })
            .collect();
        let copy = graph.add_node(node.op.clone(), node.attrs.bind(attrs), reads, names);
        for captured in captures.into_iter().flatten() {
            graph.capture(copy, captured);
        }
        graph.node_mut(copy).name = fresh(taken, &prefix, node.op.name());
        let made = graph.node(copy).outputs().to_vec();
        values.extend(node.outputs().iter().copied().zip(made.into_iter().map(Some)));
    }
    body.outputs().iter().map(|output| values.get(&output.value).copied().flatten()).collect()
}

/// Lets what reads the results of `call` read `results` instead, and removes it.
fn replace_call(graph: &mut Graph, call: NodeId, results: &[Option<ValueId>]) {
    for (&new, old) in results.iter().zip(graph.node(call).outputs().to_vec()) {
        let Some(new) = new else { continue };
        // The result keeps the name and type that the call's result had.
        let result_of_body = graph.producer(new).is_some() && graph.value(new).uses().len() == 0;
        let (name, ty) = (std::mem::take(&mut graph.value_mut(old).name), graph.value(old).ty.clone());
        if result_of_body {
            graph.value_mut(new).name = name;
            graph.value_mut(new).ty = ty;
        }
        graph.replace_uses(old, new);
    }
    // Its results have no readers any more.
    let _ = graph.remove_node(call);
}

/// The names of the values and nodes of `graph`: runtimes refuse two nodes of one name.
fn names(graph: &Graph) -> FxHashSet<Name> {
    let of_values = graph.values().map(|(_, value)| value.name.clone());
    of_values.chain(graph.nodes().map(|(_, node)| node.name.clone())).collect()
}

fn fresh(taken: &mut FxHashSet<Name>, prefix: &str, name: &str) -> Name {
    let mut fresh = Name::from(format!("{prefix}/{name}"));
    for number in 1.. {
        if taken.insert(fresh.clone()) {
            break;
        }
        fresh = Name::from(format!("{prefix}/{name}_{number}"));
    }
    fresh
}
