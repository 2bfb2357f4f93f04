//! Orders and searches, borrowed from petgraph through its `visit` traits for `&Graph`. Nothing else touches petgraph.

use crate::graph::{Graph, NodeId, Use};
use petgraph::Direction;
use petgraph::visit as pv;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, VecDeque};

/// The nodes of one cycle, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle(pub Vec<NodeId>);

/// An order of execution: every node after those it reads. Nodes keep the order in which they were added where they can.
///
/// Errors: a shortest cycle through one of the nodes that are on a cycle.
pub fn order(graph: &Graph) -> Result<Vec<NodeId>, Cycle> {
    let mut waits = vec![0usize; graph.node_bound()];
    let mut ready = BinaryHeap::new();
    for (id, _) in graph.nodes() {
        waits[id.index()] = sources(graph, id).count();
        if waits[id.index()] == 0 {
            ready.push(Reverse(id));
        }
    }
    let mut order = Vec::with_capacity(graph.n_nodes());
    while let Some(Reverse(id)) = ready.pop() {
        order.push(id);
        for reader in readers(graph, id) {
            waits[reader.index()] -= 1;
            if waits[reader.index()] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    if order.len() == graph.n_nodes() { Ok(order) } else { Err(shortest_cycle(graph)) }
}

/// Each node that reads a result of node `id`, once for each place that reads it.
pub fn readers(graph: &Graph, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
    graph.node(id).outputs().iter().flat_map(|&output| graph.value(output).uses()).filter_map(|used| match used {
        Use::Input(node, _) | Use::Capture(node, _) => Some(node),
        Use::Output(_) => None,
    })
}

/// Each node that node `id` reads, once for each place that reads it.
pub fn sources(graph: &Graph, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
    graph.node(id).reads().filter_map(|value| graph.producer(value)).map(|(node, _)| node)
}

fn shortest_cycle(graph: &Graph) -> Cycle {
    // Kosaraju's algorithm is iterative in petgraph, so that a long cycle cannot exhaust the stack.
    let components = petgraph::algo::kosaraju_scc(graph);
    let is_cyclic =
        |component: &&Vec<NodeId>| component.len() > 1 || readers(graph, component[0]).any(|id| id == component[0]);
    let Some(component) = components.iter().filter(is_cyclic).min_by_key(|component| component.len()) else {
        unreachable!("a graph without an order has a cycle")
    };
    let start = component[0];
    let members: FxHashSet<NodeId> = component.iter().copied().collect();
    let mut came_from: FxHashMap<NodeId, NodeId> = FxHashMap::default();
    let mut queue = VecDeque::from([start]);
    while let Some(id) = queue.pop_front() {
        for reader in readers(graph, id).filter(|reader| members.contains(reader)) {
            if reader == start {
                let mut cycle = vec![id];
                while let Some(&previous) = came_from.get(&cycle[cycle.len() - 1]) {
                    cycle.push(previous);
                }
                cycle.reverse();
                return Cycle(cycle);
            }
            if let Entry::Vacant(slot) = came_from.entry(reader) {
                slot.insert(id);
                queue.push_back(reader);
            }
        }
    }
    Cycle(component.clone())
}

impl pv::GraphBase for Graph {
    type NodeId = NodeId;
    type EdgeId = (NodeId, NodeId);
}

impl pv::Visitable for Graph {
    type Map = FxHashSet<NodeId>;
    fn visit_map(&self) -> Self::Map {
        FxHashSet::default()
    }
    fn reset_map(&self, map: &mut Self::Map) {
        map.clear();
    }
}

impl pv::NodeCount for Graph {
    fn node_count(&self) -> usize {
        self.n_nodes()
    }
}

impl pv::NodeIndexable for Graph {
    fn node_bound(&self) -> usize {
        Graph::node_bound(self)
    }
    fn to_index(&self, id: NodeId) -> usize {
        id.index()
    }
    fn from_index(&self, index: usize) -> NodeId {
        NodeId(index as u32)
    }
}

impl pv::GraphProp for Graph {
    type EdgeType = petgraph::Directed;
}

impl<'a> pv::IntoNodeIdentifiers for &'a Graph {
    type NodeIdentifiers = Box<dyn Iterator<Item = NodeId> + 'a>;
    fn node_identifiers(self) -> Self::NodeIdentifiers {
        Box::new(self.nodes().map(|(id, _)| id))
    }
}

impl<'a> pv::IntoNeighbors for &'a Graph {
    type Neighbors = Box<dyn Iterator<Item = NodeId> + 'a>;
    fn neighbors(self, id: NodeId) -> Self::Neighbors {
        Box::new(readers(self, id))
    }
}

impl<'a> pv::IntoNeighborsDirected for &'a Graph {
    type NeighborsDirected = Box<dyn Iterator<Item = NodeId> + 'a>;
    fn neighbors_directed(self, id: NodeId, direction: Direction) -> Self::NeighborsDirected {
        match direction {
            Direction::Outgoing => Box::new(readers(self, id)),
            Direction::Incoming => Box::new(sources(self, id)),
        }
    }
}
