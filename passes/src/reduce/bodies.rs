//! Smaller bodies of control flow: their nodes are bypassed, or ones stand for what they compute.
//!
//! What is computed inside of a body is not known outside, and not the same in each iteration, so no part is cut out of one. A
//! loop that the failure does not need has become its body before (`simplify`), and that is cut.

use super::Search;
use eutectic_ir::graph::{Graph, NodeId, ValueId};
use eutectic_ir::{Tensor, walk};
use std::sync::Arc;

/// The way from the graph of the model to a body: each owner, and which of its bodies it is.
type Path = Vec<(NodeId, usize)>;

/// What is read instead of the result of a node.
enum Instead {
    Operand(ValueId),
    Ones(Tensor),
}

/// Takes nodes out of every body, last nodes first.
pub(super) fn nodes(search: &mut Search) {
    let mut paths = Vec::new();
    collect_paths(search.graph(), &mut Vec::new(), &mut paths);
    for path in paths {
        let mut order = at(search.graph(), &path).and_then(|body| walk::order(body).ok()).unwrap_or_default();
        order.reverse();
        for id in order {
            take_out(search, &path, id);
        }
    }
}

fn take_out(search: &mut Search, path: &Path, id: NodeId) {
    for (old, instead) in choices(search, path, id) {
        let kind = match instead {
            Instead::Operand(_) => "nodes of bodies bypassed",
            Instead::Ones(_) => "nodes of bodies made ones",
        };
        let is_taken = search.change(kind, |case| {
            change(&mut case.model.graph, path, &mut |body| {
                if !body.has_value(old) {
                    return None;
                }
                let new = match &instead {
                    Instead::Operand(operand) => *operand,
                    Instead::Ones(ones) => body.add_weight("", ones.clone()),
                };
                body.replace_uses(old, new);
                Some(())
            })
        });
        if is_taken {
            return;
        }
    }
}

/// What may be read instead of the only result of node `id` that is read.
fn choices(search: &Search, path: &Path, id: NodeId) -> Vec<(ValueId, Instead)> {
    let Some(body) = at(search.graph(), path).filter(|body| body.has_node(id)) else { return Vec::new() };
    let node = body.node(id);
    let mut read = node.outputs().iter().copied().filter(|&value| body.value(value).uses().len() > 0);
    let (Some(old), None) = (read.next(), read.next()) else { return Vec::new() };
    let Some(ty) = body.ty(old) else { return Vec::new() };
    let mut operands: Vec<ValueId> = node.inputs().iter().flatten().copied().collect();
    operands.dedup();
    operands.retain(|&operand| body.ty(operand) == Some(ty));
    let ones = ty.sizes().and_then(|sizes| Tensor::full(ty.element, &sizes, 1.0).ok());
    operands.into_iter().map(Instead::Operand).chain(ones.map(Instead::Ones)).map(|instead| (old, instead)).collect()
}

fn collect_paths(graph: &Graph, path: &mut Path, paths: &mut Vec<Path>) {
    for (id, node) in graph.nodes() {
        for (place, body) in node.bodies().enumerate() {
            path.push((id, place));
            paths.push(path.clone());
            collect_paths(body, path, paths);
            path.pop();
        }
    }
}

fn at<'a>(mut graph: &'a Graph, path: &Path) -> Option<&'a Graph> {
    for &(owner, place) in path {
        graph = graph.has_node(owner).then(|| graph.node(owner).bodies().nth(place)).flatten()?;
    }
    Some(graph)
}

/// Changes the body at the end of `path`; `None`, when there is none, or from `change`.
fn change(
    graph: &mut Graph,
    path: &[(NodeId, usize)],
    change_body: &mut dyn FnMut(&mut Graph) -> Option<()>,
) -> Option<()> {
    let Some((&(owner, place), rest)) = path.split_first() else { return change_body(graph) };
    if !graph.has_node(owner) {
        return None;
    }
    let (mut at, mut done) = (0, None);
    graph.map_bodies(owner, &mut |_, body| {
        let is_wanted = at == place;
        at += 1;
        if !is_wanted {
            return Arc::clone(body);
        }
        let mut body = Graph::clone(body);
        done = change(&mut body, rest, change_body);
        body.into()
    });
    done
}
