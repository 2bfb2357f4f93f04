//! Normal forms of axes: explicit, and counted from the front.

use crate::rewire::set_attrs;
use eutectic_ir::graph::{Graph, NodeId};
use eutectic_ir::types::{Element, normalize_axis};
use eutectic_ir::{Attr, Dim, Tensor};

/// Attribute `axis` of any operator, and constant `axes` inputs of those that have no form of their own.
pub(super) fn generic(graph: &mut Graph, id: NodeId) -> Option<()> {
    let attribute = axis_attribute(graph, id);
    let input = axes_input(graph, id);
    attribute.or(input)
}

fn axis_attribute(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let axis = node.attrs.int("axis").filter(|&axis| axis < 0)?;
    // These count the axes of their result, or of what a sequence holds.
    let counted = match node.op.name() {
        "OneHot" => node.output(),
        "ConcatFromSequence" => return None,
        _ => node.input(0)?,
    };
    let axis = normalize_axis(axis, graph.ty(counted)?.rank())?;
    set_attrs(graph, id, [("axis", Attr::Int(i64::try_from(axis).ok()?))])
}

fn axes_input(graph: &mut Graph, id: NodeId) -> Option<()> {
    let (slot, axes) = constant_axes(graph, id)?;
    let rank = graph.ty(graph.node(id).input(0)?)?.rank();
    set_axes(graph, id, slot, &axes, normalized(&axes, rank)?)
}

/// `Squeeze`, `Unsqueeze` and `Reduce*` read their axes as a set: explicit, ascending.
pub(super) fn axis_set(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let slot = axes_slot(graph, id)?;
    let input = graph.ty(node.input(0)?)?;
    let given = node.input(slot);
    let known = given.and_then(|axes| graph.weight(axes)?.to_i64s());
    if given.is_some() && known.is_none() {
        return None;
    }
    let axes: Vec<i64> = match (node.op.name(), &known) {
        ("Squeeze", None) => {
            let sizes: Vec<i64> = input.shape.iter().map(Dim::as_known).collect::<Option<_>>()?;
            sizes.iter().zip(0..).filter(|(size, _)| **size == 1).map(|(_, axis)| axis).collect()
        }
        ("Squeeze", Some(axes)) => normalized(axes, input.rank())?,
        ("Unsqueeze", axes) => normalized(axes.as_ref()?, input.rank().checked_add(axes.as_ref()?.len())?)?,
        (_, axes) => {
            let empty = axes.as_ref().is_none_or(Vec::is_empty);
            if empty && node.attrs.flag("noop_with_empty_axes") {
                return None;
            }
            if empty {
                (0..i64::try_from(input.rank()).ok()?).collect()
            } else {
                normalized(axes.as_ref()?, input.rank())?
            }
        }
    };
    let mut axes = axes;
    axes.sort_unstable();
    let is_reduction = node.attrs.get("noop_with_empty_axes").is_some();
    // Without axes to reduce (rank 0), the flag says nothing either, but an empty list must not become "all".
    let flag = if is_reduction && !axes.is_empty() {
        set_attrs(graph, id, [("noop_with_empty_axes", Attr::Int(0))])
    } else {
        None
    };
    let is_explicit = known.is_some() || (axes.is_empty() && is_reduction);
    let known = known.unwrap_or_default();
    if is_explicit && known == axes {
        return flag;
    }
    write_axes(graph, id, slot, axes)
}

/// `Slice` names its axes and steps.
pub(super) fn slice(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (rank, starts) = (graph.ty(node.input(0)?)?.rank(), node.input(1)?);
    let n = graph.ty(starts)?.shape.first()?.as_size()?;
    let element = graph.ty(starts)?.element;
    let axes = match node.input(3) {
        Some(axes) => graph.weight(axes).and_then(Tensor::to_i64s),
        None => Some((0..i64::try_from(n).ok()?).collect()),
    };
    let changed_axes = axes.and_then(|axes| {
        let positions = normalized(&axes, rank)?;
        if graph.node(id).input(3).is_some() && positions == axes {
            return None;
        }
        write_ints(graph, id, 3, element, positions)
    });
    let changed_steps = if graph.node(id).input(4).is_none() && n <= rank {
        write_ints(graph, id, 4, element, vec![1; n])
    } else {
        None
    };
    changed_axes.or(changed_steps)
}

/// `Pad` says how far it pads each axis, and with what.
pub(super) fn pad(graph: &mut Graph, id: NodeId) -> Option<()> {
    let widths = pad_widths(graph, id);
    let value = pad_value(graph, id);
    widths.or(value)
}

fn pad_widths(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let axes = graph.weight(node.input(3)?)?.to_i64s()?;
    let pads = graph.weight(node.input(1)?)?.to_i64s()?;
    let rank = graph.ty(node.input(0)?)?.rank();
    let axes = normalized(&axes, rank)?;
    if pads.len() != axes.len().checked_mul(2)? {
        return None;
    }
    let mut all = vec![0; rank.checked_mul(2)?];
    for (at, &axis) in axes.iter().enumerate() {
        let axis = usize::try_from(axis).ok()?;
        all[axis] = pads[at];
        all[rank + axis] = pads[axes.len() + at];
    }
    graph.truncate_inputs(id, 3);
    if graph.node(id).input(2).is_none() {
        graph.truncate_inputs(id, 2);
    }
    write_ints(graph, id, 1, Element::Int64, all)
}

fn pad_value(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    if node.input(2).is_some() || node.attrs.string("mode") != Some("constant") {
        return None;
    }
    let zero = Tensor::full(graph.ty(node.input(0)?)?.element, &[], 0.0).ok()?;
    let zero = graph.add_weight("", zero);
    graph.set_input(id, 2, Some(zero));
    Some(())
}

/// An absent `perm` reverses the axes.
pub(super) fn transpose(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    if node.attrs.get("perm").is_some() {
        return None;
    }
    let rank = i64::try_from(graph.ty(node.input(0)?)?.rank()).ok()?;
    set_attrs(graph, id, [("perm", Attr::Ints((0..rank).rev().collect()))])
}

/// Without a zero in the shape, `allowzero` says nothing.
pub(super) fn reshape(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let shape = graph.weight(node.input(1)?)?.to_i64s()?;
    if !node.attrs.flag("allowzero") || shape.contains(&0) {
        return None;
    }
    set_attrs(graph, id, [("allowzero", Attr::Int(0))])
}

fn axes_slot(graph: &Graph, id: NodeId) -> Option<usize> {
    graph.node(id).op.builtin()?.inputs.iter().position(|param| param.name == "axes")
}

fn constant_axes(graph: &Graph, id: NodeId) -> Option<(usize, Vec<i64>)> {
    let slot = axes_slot(graph, id)?;
    Some((slot, graph.weight(graph.node(id).input(slot)?)?.to_i64s()?))
}

fn normalized(axes: &[i64], rank: usize) -> Option<Vec<i64>> {
    axes.iter().map(|&axis| i64::try_from(normalize_axis(axis, rank)?).ok()).collect()
}

fn set_axes(graph: &mut Graph, id: NodeId, slot: usize, old: &[i64], axes: Vec<i64>) -> Option<()> {
    if old == axes { None } else { write_axes(graph, id, slot, axes) }
}

fn write_axes(graph: &mut Graph, id: NodeId, slot: usize, axes: Vec<i64>) -> Option<()> {
    let element = graph.node(id).input(slot).and_then(|axes| graph.ty(axes)).map_or(Element::Int64, |ty| ty.element);
    write_ints(graph, id, slot, element, axes)
}

/// Sets input `slot` to a weight of `values`; inputs before it that are missing are left out.
pub(super) fn write_ints(graph: &mut Graph, id: NodeId, slot: usize, element: Element, values: Vec<i64>) -> Option<()> {
    let tensor = match element {
        Element::Int32 => {
            let narrow: Vec<i32> = values.iter().map(|&value| i32::try_from(value).ok()).collect::<Option<_>>()?;
            Tensor::vector(&narrow)
        }
        _ => Tensor::vector(&values),
    };
    while graph.node(id).inputs().len() < slot {
        let next = graph.node(id).inputs().len();
        graph.set_input(id, next, None);
    }
    let weight = graph.add_weight("", tensor);
    graph.set_input(id, slot, Some(weight));
    Some(())
}
