//! What passes share when they replace calls: new calls with their types, readers moved, bodies visited.

use eutectic_ir::graph::{Graph, NodeId, Op, ValueId};
use eutectic_ir::infer::{Facts, infer_call};
use eutectic_ir::op::{Argument, Call, Fact};
use eutectic_ir::{Attr, Attrs, Diagnostics, Model, infer, ops};

/// Adds a call of the built-in operator `name` and returns its first output, its type inferred where the inputs' are
/// known. `None`, with `graph` unchanged, when the operator table lacks the operator or it does not take the attributes.
pub(crate) fn call(
    graph: &mut Graph,
    name: &str,
    attrs: impl IntoIterator<Item = (&'static str, Attr)>,
    inputs: impl IntoIterator<Item = Option<ValueId>>,
) -> Option<ValueId> {
    let node = call_with_outputs(graph, name, attrs, inputs, 1)?;
    Some(graph.node(node).output())
}

/// The same with `n_outputs` outputs; the node itself is returned.
pub(crate) fn call_with_outputs(
    graph: &mut Graph,
    name: &str,
    attrs: impl IntoIterator<Item = (&'static str, Attr)>,
    inputs: impl IntoIterator<Item = Option<ValueId>>,
    n_outputs: usize,
) -> Option<NodeId> {
    let def = ops::lookup("", name)?;
    let attrs = def.complete(attrs.into_iter().collect()).ok()?;
    let id = graph.add_node(Op::Builtin(def), attrs, inputs, std::iter::repeat_n("", n_outputs));
    set_types(graph, id);
    Some(id)
}

/// Infers the types of what node `id` defines from the types that stand in the graph.
pub(crate) fn set_types(graph: &mut Graph, id: NodeId) {
    let node = graph.node(id);
    let known = |value: ValueId| graph.value(value).ty.clone().map(Fact::from);
    let facts: Vec<Option<Fact>> = node.inputs().iter().map(|input| known((*input)?)).collect();
    let captures: Vec<Option<Fact>> = node.captures().iter().map(|&value| known(value)).collect();
    let inputs = node.inputs().iter().zip(&facts).map(|(input, fact)| match (input, fact) {
        (None, _) => Some(None),
        (Some(value), Some(fact)) => Some(Some(Argument::new(fact, graph.weight(*value)))),
        (Some(_), None) => None,
    });
    let inputs: Option<Vec<Option<Argument>>> = inputs.collect();
    let scope = format!("%{}", node.output().index());
    let found = inputs.and_then(|inputs| {
        let n_outputs = node.outputs().len();
        let call = Call { attrs: &node.attrs, inputs: &inputs, captures: &captures, n_outputs, scope: &scope };
        infer_call(&node.op, &call).ok()
    });
    for (output, fact) in graph.node(id).outputs().to_vec().into_iter().zip(found.unwrap_or_default()) {
        graph.value_mut(output).ty = fact.map(|fact| fact.ty);
    }
}

/// Sets attributes of node `id`, which stay complete and in order. `None`, with `graph` unchanged, when they do not fit.
pub(crate) fn set_attrs(
    graph: &mut Graph,
    id: NodeId,
    changed: impl IntoIterator<Item = (&'static str, Attr)>,
) -> Option<()> {
    let node = graph.node_mut(id);
    let mut attrs: Attrs = node.attrs.clone();
    for (name, value) in changed {
        attrs.set(name, value);
    }
    let complete = match &node.op {
        Op::Builtin(def) => def.complete(attrs).ok()?,
        _ => attrs,
    };
    let differs = complete != node.attrs;
    node.attrs = complete;
    differs.then_some(())
}

/// Lets the readers of the first output of node `id` read `new` instead, and removes the node when nothing else of it is
/// read. `new` takes over the name and type where it has none.
pub(crate) fn replace_result(graph: &mut Graph, id: NodeId, new: ValueId) {
    let old = graph.node(id).output();
    replace_value(graph, old, new);
    // Refused while another output is read.
    let _ = graph.remove_node(id);
}

/// Lets the readers of `old` read `new` instead, which takes over the name and type where it has none.
pub(crate) fn replace_value(graph: &mut Graph, old: ValueId, new: ValueId) {
    graph.replace_uses(old, new);
    if graph.value(new).name.is_empty() {
        graph.value_mut(new).name = std::mem::take(&mut graph.value_mut(old).name);
    }
    if graph.value(new).ty.is_none() {
        graph.value_mut(new).ty = graph.value(old).ty.clone();
    }
}

/// Changes each body of each control-flow call of `graph`.
pub(crate) fn bodies_of(graph: &mut Graph, change: &mut dyn FnMut(&mut Graph)) {
    for owner in owners(graph) {
        graph.map_bodies(owner, &mut |_, body| {
            let mut body = Graph::clone(body);
            change(&mut body);
            body.into()
        });
    }
}

/// Infers the types of `model`, then lets `change` work on its graph and on each body, innermost last; the sum of what it
/// returns.
pub(crate) fn with_facts(model: &mut Model, change: &mut dyn FnMut(&mut Graph, &Facts) -> usize) -> usize {
    let (facts, _) = infer::infer(model);
    with_facts_in(&mut model.graph, &facts, change)
}

fn with_facts_in(graph: &mut Graph, facts: &Facts, change: &mut dyn FnMut(&mut Graph, &Facts) -> usize) -> usize {
    let mut n_changed = change(graph, facts);
    bodies_with_facts(graph, facts, &mut |body, _, facts| n_changed += with_facts_in(body, facts, change));
    n_changed
}

/// Changes each body of each control-flow call of `graph`, of whose values `facts` tells; `change` is told what is known of
/// the body's captures and of its values.
pub(crate) fn bodies_with_facts(
    graph: &mut Graph,
    facts: &Facts,
    change: &mut dyn FnMut(&mut Graph, &[Option<Fact>], &Facts),
) {
    for owner in owners(graph) {
        let captured: Vec<Option<Fact>> =
            graph.node(owner).captures().iter().map(|&value| facts.get(value).cloned()).collect();
        graph.map_bodies(owner, &mut |_, body| {
            let mut body = Graph::clone(body);
            let facts = infer::infer_in_place(&mut body, &captured, &mut Diagnostics::default());
            change(&mut body, &captured, &facts);
            body.into()
        });
    }
}

/// The control-flow calls of `graph`.
pub(crate) fn owners(graph: &Graph) -> Vec<NodeId> {
    graph.nodes().filter(|(_, node)| node.bodies().next().is_some()).map(|(id, _)| id).collect()
}
