//! Linear maps on flattened rows work on the tensor itself.
//!
//! Exporters flatten a tensor to rows before a matrix product and give the axes back behind it. A matrix product maps the
//! last axis whatever stands before it, so both reshapes go:
//!
//! ```text
//! Reshape (MatMul (Reshape (x, [-1, k]), w) + b, [batch, sequence, n])  ==  MatMul (x, w) + b
//! ```
//!
//! Between the two may stand matrix products with a matrix, and pointwise operators whose other operands have one row.
//! With symbolic dims, the shape of the second reshape is computed, and its computation goes with it.

use crate::pass::{Change, Pass};
use crate::rewire::{bodies_of, replace_result, set_types};
use eutectic_ir::graph::{Graph, NodeId, Op, ValueId};
use eutectic_ir::op::Law;
use eutectic_ir::{Dim, infer, walk};

/// Drops reshapes to rows and back around linear maps.
pub fn unflatten() -> Pass {
    Pass::new("unflatten", "", |model| {
        infer::infer(model);
        Ok(Change::of(unflatten_graph(&mut model.graph)))
    })
}

/// Drops reshapes to rows and back in `graph` and its bodies, whose types stand in it; the number of pairs dropped.
pub fn unflatten_graph(graph: &mut Graph) -> usize {
    let mut n_dropped = 0;
    for id in walk::order(graph).unwrap_or_default() {
        if graph.node(id).op.is("Reshape")
            && let Some(between) = calls_between(graph, id)
        {
            drop_pair(graph, id, &between);
            n_dropped += 1;
        }
    }
    bodies_of(graph, &mut |body| n_dropped += unflatten_graph(body));
    n_dropped
}

/// What stands between a reshape to rows and the one that undoes it.
struct Between {
    /// The tensor before it is flattened.
    source: ValueId,
    /// The calls in between, last one first, each with the input that comes from the one before.
    calls: Vec<(NodeId, usize)>,
}

fn calls_between(graph: &Graph, back: NodeId) -> Option<Between> {
    /// Longer chains do not occur; the bound keeps the search linear.
    const MOST_CALLS: usize = 16;
    let mut rows = graph.node(back).input(0)?;
    let (columns, leading) = graph.ty(graph.node(back).output())?.shape.split_last()?;
    if !is_rows(graph, rows, columns) {
        return None;
    }
    let mut calls = Vec::new();
    while calls.len() < MOST_CALLS {
        let (id, _) = graph.producer(rows)?;
        let node = graph.node(id);
        if node.op.is("Reshape") {
            let source = node.input(0)?;
            let (last, before) = graph.ty(source)?.shape.split_last()?;
            let keeps_last = is_rows(graph, rows, last);
            return (keeps_last && before == leading && !calls.is_empty()).then_some(Between { source, calls });
        }
        // Somebody else wants the rows.
        if graph.value(rows).uses().len() != 1 || node.outputs().len() != 1 {
            return None;
        }
        let slot = linear_operand(graph, id)?;
        calls.push((id, slot));
        rows = node.input(slot)?;
    }
    None
}

/// True when `value` is a matrix with this many columns.
fn is_rows(graph: &Graph, value: ValueId, columns: &Dim) -> bool {
    graph.ty(value).is_some_and(|ty| ty.rank() == 2 && ty.shape[1] == *columns)
}

/// The input whose rows the call maps one by one, to one row each.
fn linear_operand(graph: &Graph, id: NodeId) -> Option<usize> {
    let node = graph.node(id);
    let Op::Builtin(def) = &node.op else { return None };
    if node.op.is("MatMul") {
        return (graph.ty(node.input(1)?)?.rank() == 2).then_some(0);
    }
    if !def.has(Law::Pointwise) {
        return None;
    }
    let n_rows = &graph.ty(node.output())?.shape.first()?.clone();
    let mut operand = None;
    for (slot, input) in node.inputs().iter().enumerate() {
        let Some(input) = input else { continue };
        match graph.ty(*input)?.shape.as_slice() {
            [] | [_] => {}
            [one, _] if one.is(1) => {}
            [rows, _] if rows == n_rows && operand.is_none() => operand = Some(slot),
            _ => return None,
        }
    }
    operand
}

fn drop_pair(graph: &mut Graph, back: NodeId, between: &Between) {
    if let Some(&(first, slot)) = between.calls.last() {
        graph.set_input(first, slot, Some(between.source));
    }
    for &(id, _) in between.calls.iter().rev() {
        set_types(graph, id);
    }
    if let Some(result) = graph.node(back).input(0) {
        replace_result(graph, back, result);
    }
}

#[cfg(test)]
mod tests;
