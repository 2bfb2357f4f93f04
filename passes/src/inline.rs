//! Inlining: a call of a function becomes its body.

use eutectic_ir::graph::{Def, Graph, NodeId, Op, ValueId};
use eutectic_ir::{Function, Name, walk};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// Replaces every call of a function that `wanted` accepts by its body, again and again; the number of calls replaced.
///
/// Functions hold each other by reference and so cannot be recursive. `limit` bounds the nodes of the graph: expansion
/// that would pass it stops, and the remaining calls stay.
pub fn inline(graph: &mut Graph, wanted: &dyn Fn(&Function) -> bool, limit: usize) -> usize {
    let mut n_inlined = 0;
    let mut taken: FxHashSet<Name> = graph.values().map(|(_, value)| value.name.clone()).collect();
    loop {
        let calls: Vec<(NodeId, Arc<Function>)> = graph
            .nodes()
            .filter_map(|(id, node)| match &node.op {
                Op::Function(function) if wanted(function) => Some((id, Arc::clone(function))),
                _ => None,
            })
            .collect();
        if calls.is_empty() {
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
    let (attrs, inputs, outputs) = {
        let node = graph.node(call);
        (node.attrs.clone(), node.inputs().to_vec(), node.outputs().to_vec())
    };
    let prefix = if graph.node(call).name.is_empty() {
        graph.value(outputs[0]).name.clone()
    } else {
        graph.node(call).name.clone()
    };
    let body = &function.body;
    let mut values: FxHashMap<ValueId, Option<ValueId>> = FxHashMap::default();
    for (&formal, actual) in body.inputs().iter().zip(inputs) {
        values.insert(formal, actual);
    }
    for (id, value) in body.values() {
        if let Def::Weight(tensor) = value.def() {
            let name = fresh(taken, &prefix, &value.name);
            values.insert(id, Some(graph.add_weight(name, tensor.clone())));
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
        let copy = graph.add_node(node.op.clone(), node.attrs.bind(&attrs), reads, names);
        for captured in captures.into_iter().flatten() {
            graph.capture(copy, captured);
        }
        graph.node_mut(copy).name = Name::from(format!("{prefix}/{}", node.op.name()));
        let made = graph.node(copy).outputs().to_vec();
        values.extend(node.outputs().iter().copied().zip(made.into_iter().map(Some)));
    }
    for (output, &old) in body.outputs().iter().zip(&outputs) {
        let Some(new) = values.get(&output.value).copied().flatten() else { continue };
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

fn fresh(taken: &mut FxHashSet<Name>, prefix: &str, name: &str) -> Name {
    let mut fresh = Name::from(format!("{prefix}/{name}"));
    while !taken.insert(fresh.clone()) {
        fresh = Name::from(format!("{fresh}_"));
    }
    fresh
}
