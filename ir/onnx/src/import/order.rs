//! Looks at the names of a graph before anything is built: who defines what, and in which order nodes can stand.
//!
//! Everything here is linear in the size of the graph, and recursion goes no deeper than graphs are nested, which the
//! scan bounds.

use crate::proto::{AttributeProto, GraphProto, NodeProto};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use rustc_hash::{FxHashMap, FxHashSet};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// What was found about one graph.
pub(super) struct Plan {
    /// The nodes in an order of execution, as close to that of the file as can be.
    pub order: Vec<usize>,
    /// True when that is the order of the file.
    pub is_sorted: bool,
}

/// Who defines a name.
#[derive(Clone, Copy)]
enum Definer {
    Input,
    Initializer,
    Node(usize),
}

/// Orders the nodes of `graph` and reports names that are defined twice and cycles. `outer` are the names of the
/// enclosing graphs, which must not be defined again.
pub(super) fn plan(graph: &GraphProto, outer: &[FxHashSet<String>], diagnostics: &mut Diagnostics) -> Plan {
    let definers = definers(graph, outer, diagnostics);
    let sources: Vec<Vec<usize>> = graph
        .node
        .iter()
        .map(|node| {
            let read = reads(node);
            let from = read.iter().filter_map(|name| match definers.get(name) {
                Some(Definer::Node(index)) => Some(*index),
                _ => None,
            });
            from.collect()
        })
        .collect();
    let is_sorted = sources.iter().enumerate().all(|(index, from)| from.iter().all(|&source| source < index));
    if is_sorted {
        return Plan { order: (0..graph.node.len()).collect(), is_sorted };
    }
    let mut waits: Vec<usize> = sources.iter().map(Vec::len).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); sources.len()];
    for (index, from) in sources.iter().enumerate() {
        from.iter().for_each(|&source| readers[source].push(index));
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        waits.iter().enumerate().filter(|(_, waits)| **waits == 0).map(|(index, _)| Reverse(index)).collect();
    let mut order = Vec::with_capacity(sources.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &reader in &readers[index] {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    if order.len() < sources.len() {
        diagnostics.push(cycle(graph, &sources, &waits));
    }
    Plan { order, is_sorted }
}

/// The names that `graph` defines.
pub(super) fn defined(graph: &GraphProto) -> FxHashSet<String> {
    let values = graph.input.iter().map(|value| &value.name);
    let tensors = graph.initializer.iter().map(|tensor| &tensor.name);
    let results = graph.node.iter().flat_map(|node| &node.output);
    values.chain(tensors).chain(results).filter(|name| !name.is_empty()).cloned().collect()
}

fn definers<'a>(
    graph: &'a GraphProto,
    outer: &[FxHashSet<String>],
    diagnostics: &mut Diagnostics,
) -> FxHashMap<&'a str, Definer> {
    let mut definers: FxHashMap<&str, Definer> = FxHashMap::default();
    let shown = |definer: Definer| match definer {
        Definer::Input => "an input of the graph".to_owned(),
        Definer::Initializer => "an initializer".to_owned(),
        Definer::Node(index) => label(&graph.node[index], index),
    };
    let mut define = |name: &'a str, definer: Definer| {
        if let Some(first) = definers.get(name).copied() {
            let overrides = matches!((first, definer), (Definer::Input, Definer::Initializer));
            if overrides {
                return;
            }
            let message = format!("`{name}` is defined twice: by {} and by {}", shown(first), shown(definer));
            diagnostics.push(Diagnostic::error(Kind::Invalid, "I0101", message));
            return;
        }
        if outer.iter().any(|names| names.contains(name)) {
            let message = format!("`{name}`, defined by {}, is a name of the enclosing graph too", shown(definer));
            diagnostics.push(Diagnostic::error(Kind::Invalid, "I0101", message));
        }
        definers.insert(name, definer);
    };
    graph.input.iter().for_each(|input| define(&input.name, Definer::Input));
    let sparse = graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref());
    for tensor in graph.initializer.iter().chain(sparse) {
        define(&tensor.name, Definer::Initializer);
    }
    for (index, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            define(output, Definer::Node(index));
        }
    }
    definers
}

/// Every name that a node reads, by itself or in the graphs inside it.
fn reads(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> = node.input.iter().filter(|name| !name.is_empty()).map(String::as_str).collect();
    for attribute in &node.attribute {
        bodies(attribute).for_each(|body| free_names(body, &mut names));
    }
    names
}

/// The names that `graph` and the graphs inside it read and do not define.
fn free_names<'a>(graph: &'a GraphProto, into: &mut Vec<&'a str>) {
    let mut read: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    graph.node.iter().for_each(|node| read.extend(reads(node)));
    let values = graph.input.iter().map(|value| value.name.as_str());
    let tensors = graph.initializer.iter().map(|tensor| tensor.name.as_str());
    let results = graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str));
    let own: FxHashSet<&str> = values.chain(tensors).chain(results).collect();
    into.extend(read.into_iter().filter(|name| !own.contains(name)));
}

fn bodies(attribute: &AttributeProto) -> impl Iterator<Item = &GraphProto> {
    attribute.g.as_deref().into_iter().chain(&attribute.graphs)
}

/// How a node is called in messages.
pub(super) fn label(node: &NodeProto, index: usize) -> String {
    if node.name.is_empty() {
        format!("node {index} ({})", node.op_type)
    } else {
        format!("node `{}` ({})", node.name, node.op_type)
    }
}

/// The diagnostic for the nodes that still wait, which shows a shortest cycle through one of them.
fn cycle(graph: &GraphProto, sources: &[Vec<usize>], waits: &[usize]) -> Diagnostic {
    // Every node that waits reads one that waits, so walking backwards ends up on a cycle.
    let waiting_source = |index: usize| sources[index].iter().copied().find(|&source| waits[source] > 0);
    let mut seen = FxHashSet::default();
    let mut at = waits.iter().position(|&waits| waits > 0).unwrap_or(0);
    while seen.insert(at) {
        at = waiting_source(at).unwrap_or(at);
    }
    let path = shortest_way_back(at, sources, waits);
    const MAX_SHOWN: usize = 8;
    let shown: Vec<String> = path.iter().take(MAX_SHOWN).map(|&index| label(&graph.node[index], index)).collect();
    let end = if path.len() > MAX_SHOWN { ".." } else { &shown[0] };
    let message = format!("{} nodes form a cycle: {} -> {end}", path.len(), shown.join(" -> "));
    Diagnostic::error(Kind::Invalid, "I0104", message)
}

/// The nodes of a shortest cycle through `start`, each read by the next.
fn shortest_way_back(start: usize, sources: &[Vec<usize>], waits: &[usize]) -> Vec<usize> {
    let mut next: FxHashMap<usize, usize> = FxHashMap::default();
    let mut queue = VecDeque::from([start]);
    while let Some(index) = queue.pop_front() {
        for &source in sources[index].iter().filter(|&&source| waits[source] > 0) {
            if source == start {
                let mut path = vec![start];
                let mut at = index;
                while at != start {
                    path.push(at);
                    at = next[&at];
                }
                return path;
            }
            if let std::collections::hash_map::Entry::Vacant(entry) = next.entry(source) {
                entry.insert(index);
                queue.push_back(source);
            }
        }
    }
    vec![start]
}
