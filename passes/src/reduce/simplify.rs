//! Simpler calls: functions expanded, nodes bypassed, attributes and operands left to their defaults.

use super::Search;
use crate::inline::{inline, inline_body};
use crate::rewire::set_attrs;
use eutectic_ir::graph::{Node, NodeId, Op, ValueId};
use eutectic_ir::op::Arity;
use eutectic_ir::{Attr, walk};

/// Replaces functions by their bodies, choices by a branch and loops by one iteration, and writes the types of what the inputs are given, each where the
/// failure stays: then more can be cut.
pub(super) fn make_plain(search: &mut Search) {
    const MOST_NODES: usize = 1_000_000;
    search
        .change("functions expanded", |case| (inline(&mut case.model.graph, &|_| true, MOST_NODES) > 0).then_some(()));
    for id in walk::order(search.graph()).unwrap_or_default() {
        for branch in ["then_branch", "else_branch"] {
            if search.graph().has_node(id) && search.graph().node(id).op.is("If") {
                search.change("branches taken", |case| inline_body(&mut case.model.graph, id, branch, 1, 0));
            }
        }
        if search.graph().has_node(id) && search.graph().node(id).op.is("Loop") {
            search.change("loops run once", |case| {
                // Whether the loop goes on is no result of it; results of all iterations have an axis more.
                inline_body(&mut case.model.graph, id, "body", 0, 1)?;
                case.forget_types();
                Some(())
            });
        }
    }
    search.change("dims fixed", |case| {
        let graph = &mut case.model.graph;
        let mut is_new = false;
        for (id, value) in graph.inputs().to_vec().into_iter().zip(&case.inputs) {
            let ty = value.as_ref().map(|tensor| tensor.ty().into());
            if ty.is_some() && ty != graph.value(id).ty {
                graph.value_mut(id).ty = ty;
                is_new = true;
            }
        }
        case.forget_types();
        is_new.then_some(())
    });
}

/// Lets who reads a node read one of its inputs instead, where their types are the same; last nodes first.
pub(super) fn bypass(search: &mut Search) {
    let mut order = walk::order(search.graph()).unwrap_or_default();
    order.reverse();
    for id in order {
        let Some((old, inputs)) = bypasses(search, id) else { continue };
        for new in inputs {
            let bypassed = search.change("nodes bypassed", |case| {
                case.model.graph.replace_uses(old, new);
                Some(())
            });
            if bypassed {
                break;
            }
        }
    }
}

/// The only result of the node that is read, and the inputs of its type.
fn bypasses(search: &Search, id: NodeId) -> Option<(ValueId, Vec<ValueId>)> {
    let graph = search.graph();
    if !graph.has_node(id) {
        return None;
    }
    let mut read = graph.node(id).outputs().iter().copied().filter(|&value| graph.value(value).uses().len() > 0);
    let (old, None) = (read.next()?, read.next()) else { return None };
    let ty = graph.value(old).ty.as_ref()?;
    let mut inputs: Vec<ValueId> = graph.node(id).inputs().iter().flatten().copied().collect();
    inputs.dedup();
    inputs.retain(|&input| graph.value(input).ty.as_ref() == Some(ty));
    Some((old, inputs))
}

/// Leaves attributes to their defaults and optional operands out, one by one.
pub(super) fn calls(search: &mut Search) {
    for id in walk::order(search.graph()).unwrap_or_default() {
        if !search.graph().has_node(id) {
            continue;
        }
        for (name, simpler) in simpler_attributes(search.graph().node(id)) {
            search.change("attributes simplified", |case| {
                let done = set_attrs(&mut case.model.graph, id, [(name, simpler)]);
                case.forget_types();
                done
            });
        }
        if !search.graph().has_node(id) {
            continue;
        }
        let node = search.graph().node(id);
        let Some(def) = node.op.builtin() else { continue };
        let is_optional = |at: &usize| {
            node.input(*at).is_some() && def.input(*at).is_some_and(|param| param.arity == Arity::Optional)
        };
        for at in (0..node.inputs().len()).filter(is_optional).collect::<Vec<_>>().into_iter().rev() {
            search.change("operands left out", |case| {
                let graph = &mut case.model.graph;
                if !graph.has_node(id) {
                    return None;
                }
                graph.set_input(id, at, None);
                let given = graph.node(id).inputs().iter().rposition(Option::is_some).map_or(0, |last| last + 1);
                graph.truncate_inputs(id, given);
                Some(())
            });
        }
    }
}

/// Simpler values of the attributes of a call, the simplest last: list entries and numbers become 1, or the default.
fn simpler_attributes(node: &Node) -> Vec<(&'static str, Attr)> {
    let Op::Builtin(def) = &node.op else { return Vec::new() };
    let mut simpler = Vec::new();
    for attr in def.attrs {
        let Some(present) = node.attrs.get(attr.name) else { continue };
        let default = attr.default.value();
        if default.as_ref() == Some(present) {
            continue;
        }
        if let Attr::Ints(values) = present
            && values.iter().any(|&value| value > 1)
        {
            simpler.push((attr.name, Attr::Ints(values.iter().map(|&value| value.min(1)).collect())));
        }
        simpler.extend(default.map(|default| (attr.name, default)));
    }
    simpler
}
