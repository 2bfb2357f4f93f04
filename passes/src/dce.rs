//! Dead-code elimination: what no output depends on goes, bodies of control flow included.

use crate::pass::{Change, Pass};
use crate::rewire::bodies_of;
use eutectic_ir::graph::Graph;
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
    bodies_of(graph, &mut |body| n_removed += sweep(body));
    n_removed
}
