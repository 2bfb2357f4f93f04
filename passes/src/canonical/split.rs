//! Normal forms of splitting: `Split` with sizes, and tensors in place of sequences.

use super::axes::write_ints;
use crate::rewire::{call, call_with_outputs, replace_result};
use eutectic_ir::graph::{Graph, NodeId, Use, ValueId};
use eutectic_ir::types::{Element, normalize_axis};
use eutectic_ir::{Attr, Tensor};

/// `num_outputs` becomes sizes: equal ones, the last one smaller when they do not divide the axis.
pub(super) fn split(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    if node.input(1).is_some() {
        return None;
    }
    let input = graph.ty(node.input(0)?)?;
    let size = input.shape.get(input.axis(node.attrs.int("axis")?)?)?.as_known()?;
    let n_parts = i64::try_from(node.outputs().len()).ok()?;
    if node.attrs.int("num_outputs").is_some_and(|stated| stated != n_parts) {
        return None;
    }
    let part = size.checked_add(n_parts)?.checked_sub(1)?.checked_div(n_parts)?;
    let last = size.checked_sub(part.checked_mul(n_parts.checked_sub(1)?)?)?;
    if last < 0 {
        return None;
    }
    let mut sizes = vec![part; node.outputs().len()];
    *sizes.last_mut()? = last;
    graph.node_mut(id).attrs.remove("num_outputs");
    write_ints(graph, id, 1, Element::Int64, sizes)
}

/// A sequence of parts that is only read at constant positions is a `Split`.
pub(super) fn split_to_sequence(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let data = node.input(0)?;
    let input = graph.ty(data)?;
    let axis_at = input.axis(node.attrs.int("axis")?)?;
    let axis = i64::try_from(axis_at).ok()?;
    let size = input.shape[axis_at].as_known();
    let (sizes, squeezes) = match node.input(1) {
        Some(split) => {
            let split = graph.weight(split)?;
            let given = split.to_i64s()?;
            match (split.shape().len(), given.as_slice()) {
                (0, [chunk]) => (chunks(size?, *chunk)?, false),
                _ => (given, false),
            }
        }
        None => (chunks(size?, 1)?, node.attrs.int("keepdims")? == 0),
    };
    let n_parts = i64::try_from(sizes.len()).ok()?;
    let readers: Vec<(NodeId, usize)> = graph
        .value(node.output())
        .uses()
        .map(|used| {
            let Use::Input(reader, 0) = used else { return None };
            if !graph.node(reader).op.is("SequenceAt") {
                return None;
            }
            let position = graph.weight(graph.node(reader).input(1)?)?.to_i64s()?;
            let [position] = position.as_slice() else { return None };
            let position = if *position < 0 { position.checked_add(n_parts)? } else { *position };
            (0..n_parts).contains(&position).then_some((reader, usize::try_from(position).ok()?))
        })
        .collect::<Option<_>>()?;
    if readers.is_empty() {
        return None;
    }
    let n_parts = sizes.len();
    let sizes = graph.add_weight("", Tensor::vector(&sizes));
    let parts = call_with_outputs(graph, "Split", [("axis", Attr::Int(axis))], [Some(data), Some(sizes)], n_parts)?;
    for (reader, position) in readers {
        let mut part = graph.node(parts).outputs()[position];
        if squeezes {
            let axes = graph.add_weight("", Tensor::vector(&[axis]));
            part = call(graph, "Squeeze", [], [Some(part), Some(axes)])?;
        }
        replace_result(graph, reader, part);
    }
    // Nothing reads it any more.
    let _ = graph.remove_node(id);
    Some(())
}

/// One tensor of a sequence of tensors that the graph shows.
pub(super) fn sequence_at(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let parts = constructed(graph, node.input(0)?)?;
    let position = graph.weight(node.input(1)?)?.to_i64s()?;
    let [position] = position.as_slice() else { return None };
    let part = parts[normalize_axis(*position, parts.len())?];
    replace_result(graph, id, part);
    Some(())
}

/// Tensors of a sequence that the graph shows, one after the other, or stacked along a new axis.
pub(super) fn concat_from_sequence(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let mut parts = constructed(graph, node.input(0)?)?;
    let stacks = node.attrs.flag("new_axis");
    let rank = graph.ty(*parts.first()?)?.rank();
    let axis = normalize_axis(node.attrs.int("axis")?, if stacks { rank.checked_add(1)? } else { rank })?;
    let axis = i64::try_from(axis).ok()?;
    if stacks {
        let axes = graph.add_weight("", Tensor::vector(&[axis]));
        for part in &mut parts {
            *part = call(graph, "Unsqueeze", [], [Some(*part), Some(axes)])?;
        }
    }
    let result = call(graph, "Concat", [("axis", Attr::Int(axis))], parts.into_iter().map(Some))?;
    replace_result(graph, id, result);
    Some(())
}

fn constructed(graph: &Graph, sequence: ValueId) -> Option<Vec<ValueId>> {
    let node = graph.node(graph.producer(sequence)?.0);
    if node.op.is("SequenceConstruct") { node.inputs().iter().copied().collect() } else { None }
}

/// Sizes of the chunks of an axis of `size`, the last one smaller when they do not divide it.
fn chunks(size: i64, chunk: i64) -> Option<Vec<i64>> {
    /// More parts than any model takes apart by hand.
    const MOST_PARTS: i64 = 1 << 12;
    if chunk <= 0 || size <= 0 || size.checked_add(chunk)?.checked_sub(1)? / chunk > MOST_PARTS {
        return None;
    }
    let (n_full, rest) = (size / chunk, size % chunk);
    let mut sizes = vec![chunk; usize::try_from(n_full).ok()?];
    if rest > 0 {
        sizes.push(rest);
    }
    Some(sizes)
}
