//! Shape-computation folding: what exporters compute from shapes at run time becomes constant where it can.
//!
//! Inference carries the elements of small integer tensors as dims, so a chain Shape, Gather, Unsqueeze, Concat that ends
//! in a `Reshape` or an `Expand` is known up to symbols. This pass then gives the last call a constant instead:
//!
//! - `Reshape`: known dims are written out. One symbolic dim is -1; of several, those that the data has at the same axis
//!   are 0, and one other is -1.
//! - `Expand`: known dims are written out, a symbolic dim that the data has at the same axis is 1.
//! - `Expand` read by a pointwise operator whose other operands have the full shape: the operator broadcasts by itself.
//! - calls that change nothing (a view of the same type, a slice of everything, one concatenated tensor) are gone.
//! - computations of equal contents are one: a model asks for its batch size once.
//!
//! What nobody reads any more is left to dead-code elimination.

use crate::pass::{Change, Pass};
use crate::rewire::{replace_result, replace_value, with_facts};
use eutectic_ir::graph::{Def, Graph, NodeId, Op, Use, ValueId};
use eutectic_ir::infer::{Facts, infer_call};
use eutectic_ir::op::{Call, Law};
use eutectic_ir::types::Element;
use eutectic_ir::{Attr, Dim, Model, Tensor, walk};
use rustc_hash::FxHashMap;

/// Folds what is computed from shapes.
pub fn shapes() -> Pass {
    Pass::new("shapes", "", |model| Ok(Change::of(fold_shapes(model))))
}

/// Folds what `model` and its bodies compute from shapes, types inferred before; the number of places changed.
pub fn fold_shapes(model: &mut Model) -> usize {
    with_facts(model, &mut fold_graph)
}

/// Folds what `graph`, bodies not counted, computes from shapes; `facts` says what is known of its values.
fn fold_graph(graph: &mut Graph, facts: &Facts) -> usize {
    let mut n_changed = 0;
    for id in walk::order(graph).unwrap_or_default() {
        let Op::Builtin(def) = graph.node(id).op else { continue };
        if changes_nothing(graph, facts, id) {
            if let Some(input) = graph.node(id).input(0) {
                replace_result(graph, id, input);
                n_changed += 1;
            }
            continue;
        }
        let changed = match def.name {
            _ if !def.domain.is_empty() => None,
            "Reshape" => constant_reshape(graph, facts, id),
            "Expand" => {
                let skipped = skip_expand(graph, facts, id);
                constant_expand(graph, facts, id).or(skipped)
            }
            _ => None,
        };
        n_changed += usize::from(changed.is_some());
    }
    n_changed + merge_equal_contents(graph, facts)
}

/// True when the first output is the first input, element by element.
fn changes_nothing(graph: &Graph, facts: &Facts, id: NodeId) -> bool {
    let node = graph.node(id);
    let (Op::Builtin(def), [output]) = (&node.op, node.outputs()) else { return false };
    let known = |value: Option<ValueId>| facts.ty(value?);
    let (Some(from), Some(to)) = (known(node.input(0)), known(Some(*output))) else { return false };
    if from != to {
        return false;
    }
    let ints = |slot: usize| facts.argument(graph, node.input(slot)?)?.tensor()?.ints();
    match (def.domain, def.name) {
        ("", "Expand" | "Tile") => true,
        ("", "Concat") => node.inputs().len() == 1,
        ("", "Slice") => {
            let begins = ints(1).is_some_and(|starts| starts.iter().all(|&start| start == 0));
            begins && (node.input(4).is_none() || ints(4).is_some_and(|steps| steps.iter().all(|&step| step == 1)))
        }
        _ => def.has(Law::View),
    }
}

fn constant_reshape(graph: &mut Graph, facts: &Facts, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (data, old) = (node.input(0)?, node.input(1)?);
    let (from, to) = (&facts.ty(data)?.shape, &facts.ty(node.output())?.shape);
    // A known dim of zero would read as "copy", and beside it -1 says nothing.
    if from.iter().chain(to).any(|dim| dim.is(0)) {
        return None;
    }
    let n_symbolic = to.iter().filter(|dim| dim.as_known().is_none()).count();
    let mut n_inferred = 0;
    let shape: Vec<i64> = to
        .iter()
        .enumerate()
        .map(|(axis, dim)| match dim.as_known() {
            Some(size) => size,
            None if n_symbolic > 1 && from.get(axis) == Some(dim) => 0,
            None => {
                n_inferred += 1;
                -1
            }
        })
        .collect();
    if n_inferred > 1 {
        return None;
    }
    let replaced = set_constant(graph, id, old, &shape);
    let attrs = &mut graph.node_mut(id).attrs;
    if attrs.flag("allowzero") {
        attrs.set("allowzero", Attr::Int(0));
        return Some(());
    }
    replaced
}

fn constant_expand(graph: &mut Graph, facts: &Facts, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (data, old) = (node.input(0)?, node.input(1)?);
    let (from, to) = (&facts.ty(data)?.shape, &facts.ty(node.output())?.shape);
    let offset = to.len().checked_sub(from.len())?;
    let shape: Option<Vec<i64>> = to
        .iter()
        .enumerate()
        .map(|(axis, dim)| match dim.as_known() {
            Some(size) => Some(size),
            None => (from.get(axis.checked_sub(offset)?) == Some(dim)).then_some(1),
        })
        .collect();
    set_constant(graph, id, old, &shape?)
}

/// Lets input 1 of node `id` be the weight `shape`; `None` when it is already.
fn set_constant(graph: &mut Graph, id: NodeId, old: ValueId, shape: &[i64]) -> Option<()> {
    let is_there = graph.weight(old).is_some_and(|weight| {
        weight.element() == Element::Int64
            && weight.shape() == [shape.len()]
            && weight.to_i64s().as_deref() == Some(shape)
    });
    if is_there {
        return None;
    }
    let weight = graph.add_weight("", Tensor::vector(shape));
    graph.set_input(id, 1, Some(weight));
    Some(())
}

/// A pointwise operator broadcasts by itself: where its result keeps its type, it reads the tensor before `Expand`.
fn skip_expand(graph: &mut Graph, facts: &Facts, id: NodeId) -> Option<()> {
    let expand = graph.node(id);
    let (data, expanded) = (expand.input(0)?, expand.output());
    let readers: Vec<(NodeId, usize)> = graph
        .value(expanded)
        .uses()
        .filter_map(|used| match used {
            Use::Input(reader, slot) => Some((reader, slot as usize)),
            _ => None,
        })
        .collect();
    let mut n_skipped = 0;
    for (reader, slot) in readers {
        let node = graph.node(reader);
        let Op::Builtin(def) = &node.op else { continue };
        if !def.has(Law::Pointwise) {
            continue;
        }
        let (Some(mut inputs), Some(before)) = (facts.arguments(graph, node), facts.argument(graph, data)) else {
            continue;
        };
        inputs[slot] = Some(before);
        // Fresh symbols of this scope equal no symbol that stands in the graph.
        let n_outputs = node.outputs().len();
        let call = Call { attrs: &node.attrs, inputs: &inputs, captures: &[], n_outputs, scope: "?skip" };
        let found = infer_call(&node.op, &call).unwrap_or_default();
        let keeps = |(at, &output): (usize, &ValueId)| match (found.get(at), facts.get(output)) {
            (Some(Some(new)), Some(old)) => new.ty == old.ty,
            _ => false,
        };
        if node.outputs().iter().enumerate().all(keeps) {
            graph.set_input(reader, slot, Some(data));
            n_skipped += 1;
        }
    }
    (n_skipped > 0).then_some(())
}

/// Lets readers of integers that are computed twice read the first of them; the number of values that lost their readers.
fn merge_equal_contents(graph: &mut Graph, facts: &Facts) -> usize {
    let mut first: FxHashMap<(Element, usize, Vec<Dim>), ValueId> = FxHashMap::default();
    let mut n_merged = 0;
    for id in walk::order(graph).unwrap_or_default() {
        for output in graph.node(id).outputs().to_vec() {
            let (Some(ty), Some(fact)) = (facts.ty(output), facts.get(output)) else { continue };
            let Some(content) = &fact.content else { continue };
            if content.iter().all(|dim| dim.as_known().is_some()) || graph.value(output).uses().len() == 0 {
                continue;
            }
            let earliest = *first.entry((ty.element, ty.rank(), content.clone())).or_insert(output);
            if earliest != output && matches!(graph.value(earliest).def(), Def::Result(..)) {
                replace_value(graph, output, earliest);
                n_merged += 1;
            }
        }
    }
    n_merged
}

#[cfg(test)]
mod tests;
