//! Dead-code elimination: what no output depends on goes, bodies of control flow included.

use crate::pass::{Change, Pass};
use eutectic_ir::graph::{Graph, NodeId};
use eutectic_ir::walk;

/// Removes every node and weight that no output depends on. Inputs of the model stay: they are its interface.
pub fn dce() -> Pass {
    Pass::new("dce", "", |model| Ok(Change::of(sweep(&mut model.graph))))
}

/// Removes every node and weight of `graph` that no output depends on; the number of nodes removed.
pub fn sweep(graph: &mut Graph) -> usize {
    let mut n_removed = 0;
    // A graph with a cycle has no order and is left alone; the verifier reports it.
    let order = walk::order(graph).unwrap_or_default();
    for &id in order.iter().rev() {
        if graph.remove_node(id).is_ok() {
            n_removed += 1;
        }
    }
    graph.sweep_weights();
    let owners: Vec<NodeId> =
        graph.nodes().filter(|(_, node)| node.bodies().next().is_some()).map(|(id, _)| id).collect();
    for owner in owners {
        graph.map_bodies(owner, &mut |_, body| {
            let mut body = Graph::clone(body);
            n_removed += sweep(&mut body);
            body.into()
        });
    }
    n_removed
}
