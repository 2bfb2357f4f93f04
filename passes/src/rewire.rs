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
    // Inference makes no scope with `?`: no symbol that stands in the graph or around it can be one of these.
    let scope = format!("?%{}", node.output().index());
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
    with_facts_in(&mut model.graph, &facts, "", change)
}

fn with_facts_in(
    graph: &mut Graph,
    facts: &Facts,
    scope: &str,
    change: &mut dyn FnMut(&mut Graph, &Facts) -> usize,
) -> usize {
    let mut n_changed = change(graph, facts);
    bodies_with_facts(graph, facts, scope, &mut |inner| {
        n_changed += with_facts_in(inner.graph, inner.facts, inner.scope, change);
    });
    n_changed
}

/// A body that is being changed, and what is known of it.
pub(crate) struct Body<'a> {
    /// The body.
    pub graph: &'a mut Graph,
    /// What is known of its captures.
    pub captures: &'a [Option<Fact>],
    /// What is known of its values.
    pub facts: &'a Facts,
    /// The scope of its fresh symbols.
    pub scope: &'a str,
}

/// Changes each body of each control-flow call of `graph`, whose fresh symbols have this scope and of whose values `facts`
/// tells.
pub(crate) fn bodies_with_facts(graph: &mut Graph, facts: &Facts, scope: &str, change: &mut dyn FnMut(Body)) {
    for owner in owners(graph) {
        let node = graph.node(owner);
        let captures: Vec<Option<Fact>> = node.captures().iter().map(|&value| facts.get(value).cloned()).collect();
        let owner_scope = infer::scope_of(graph, node, scope);
        graph.map_bodies(owner, &mut |name, body| {
            let mut body = Graph::clone(body);
            let scope = infer::body_scope(&owner_scope, name);
            let facts = infer::infer_in_place(&mut body, &captures, &scope, &mut Diagnostics::default());
            change(Body { graph: &mut body, captures: &captures, facts: &facts, scope: &scope });
            body.into()
        });
    }
}

/// The control-flow calls of `graph`.
pub(crate) fn owners(graph: &Graph) -> Vec<NodeId> {
    graph.nodes().filter(|(_, node)| node.bodies().next().is_some()).map(|(id, _)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{graph_of, ty};
    use eutectic_ir::{Dim, Element};
    use std::collections::BTreeSet;

    #[test]
    fn an_unnamed_value_of_a_body_shares_no_symbol_with_one_around_it() {
        let unnamed = |graph: &mut Graph, x: ValueId| {
            let id = call_with_outputs(graph, "NonZero", [], [Some(x)], 1).expect("a call");
            graph.node(id).output()
        };
        let (mut graph, x) = graph_of(&["3"]);
        let condition = graph.add_input("c", Some(ty(Element::Bool, &[])), None);
        let outer = unnamed(&mut graph, x);
        let mut body = Graph::new("body");
        let captured = [("outer", 0), ("x", 1)].map(|(name, at)| body.add_capture(name, None, at));
        body.value_mut(captured[1]).ty = graph.value(x).ty.clone();
        let inner = unnamed(&mut body, captured[1]);
        assert_eq!(outer.index(), inner.index(), "the same number, or the test shows nothing");
        body.add_output("inner", inner);
        body.add_output("outer", captured[0]);
        let branches = ["then_branch", "else_branch"].map(|name| (name, Attr::Graph(body.clone().into())));
        let choice = call_with_outputs(&mut graph, "If", branches, [Some(condition)], 2).expect("a call");
        for value in [outer, x] {
            graph.capture(choice, value);
        }
        let mut n_bodies = 0;
        with_facts(&mut Model::new(graph), &mut |graph, facts| {
            if graph.name == "body" {
                n_bodies += 1;
                let counts: Vec<&Dim> =
                    graph.outputs().iter().filter_map(|output| facts.ty(output.value)?.shape.get(1)).collect();
                assert!(counts.iter().all(|dim| dim.is_unknown()), "{counts:?}");
                assert_eq!(counts.iter().map(ToString::to_string).collect::<BTreeSet<_>>().len(), 2, "{counts:?}");
            }
            0
        });
        assert_eq!(n_bodies, 2);
    }
}
