//! Sizes for dims that a file leaves open, and another batch size where it fixes one.

use crate::inputs::Sizes;
use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::ir::graph::{Def, Node, ValueId};
use crate::ir::infer::infer;
use crate::ir::types::Type;
use crate::ir::walk::order;
use crate::ir::{Dim, Model, Tensor, TensorType};
use crate::passes::fold::{FoldBudget, fold_model};
use std::collections::{BTreeMap, HashSet};

/// What is folded to find shapes that are computed.
const SHAPES: FoldBudget = FoldBudget { tensor: 1 << 10, total: 1 << 20 };

/// Gives every symbolic dim the size that `sizes` has for it, and with `batch` the first dim of every input that size.
///
/// Where a file fixes its batch, shapes that `Reshape` and `Expand` are given begin with that number; they are changed with
/// it when the tensor that they reshape begins with the batch. Errors: types that do not fit afterwards.
pub fn bind(model: &mut Model, sizes: &Sizes, batch: Option<usize>) -> Result<(), Diagnostics> {
    let graph = &mut model.graph;
    let inputs: Vec<ValueId> = graph.inputs().to_vec();
    let mut old = None;
    for &input in &inputs {
        let Some(ty) = graph.ty(input).cloned() else { continue };
        let mut dims: Vec<Dim> = Vec::new();
        for dim in &ty.shape {
            let size = sizes
                .of(dim)
                .ok_or_else(|| Diagnostic::error(Kind::Invalid, "C0123", format!("the dim {dim} has no size")))?;
            dims.push(Dim::known(size));
        }
        if batch.is_some() {
            old = old.or(ty.shape.first().and_then(Dim::as_known));
        }
        graph.value_mut(input).ty = Some(Type::Tensor(TensorType::new(ty.element, dims)));
    }
    if let Some(batch) = batch {
        if let Some(old) = old.filter(|&old| old != batch as i64) {
            // Shapes may be put together from constants; those that are put together from the batch must not be fixed by it.
            begin_with(model, &inputs, &Dim::symbol("batch"));
            forget_types(model);
            fold_model(model, SHAPES);
            rebatch(model, old, batch as i64);
        }
        begin_with(model, &inputs, &Dim::from(batch));
    }
    infer_anew(model)
}

/// Gives the symbolic dims that `sizes` names those sizes, and leaves the others as they are. Errors: types that do not fit
/// afterwards.
pub fn fix(model: &mut Model, sizes: &BTreeMap<String, i64>) -> Result<(), Diagnostics> {
    let graph = &mut model.graph;
    let size = |name: &str| sizes.get(name).copied().map(Dim::known);
    for input in graph.inputs().to_vec() {
        let Some(ty) = graph.ty(input) else { continue };
        // A dim that overflows stays as it is, for inference to complain of.
        let dims: Vec<Dim> = ty.shape.iter().map(|dim| dim.substitute(&size).unwrap_or_else(|| dim.clone())).collect();
        graph.value_mut(input).ty = Some(Type::Tensor(TensorType::new(ty.element, dims)));
    }
    infer_anew(model)
}

/// Forgets the types of all results, which may name symbols that the inputs no longer have, and infers them.
fn infer_anew(model: &mut Model) -> Result<(), Diagnostics> {
    forget_types(model);
    let (_, problems) = infer(model);
    problems.into_result(()).map(|_| ())
}

/// Makes `dim` the first dim of all `inputs` that have one.
fn begin_with(model: &mut Model, inputs: &[ValueId], dim: &Dim) {
    for &input in inputs {
        if let Some(Type::Tensor(ty)) = &mut model.graph.value_mut(input).ty
            && let Some(first) = ty.shape.first_mut()
        {
            *first = dim.clone();
        }
    }
}

fn forget_types(model: &mut Model) {
    let graph = &mut model.graph;
    let results: Vec<ValueId> =
        graph.values().filter(|(_, value)| matches!(value.def(), Def::Result(..))).map(|(id, _)| id).collect();
    results.into_iter().for_each(|id| graph.value_mut(id).ty = None);
}

/// The inputs of `node` whose first axis its results may begin with. Others say how large a result is, of which type, or where in the
/// batch it is read from.
fn carriers(node: &Node) -> &[Option<ValueId>] {
    let inputs = node.inputs();
    let is = |names: &[&str]| names.iter().any(|name| node.op.is(name));
    match () {
        () if is(&["Shape", "Size"]) => &[],
        () if is(&["Reshape", "Expand", "CastLike"]) => &inputs[..1.min(inputs.len())],
        () if is(&["Gather"]) && node.attrs.int("axis").unwrap_or(0) == 0 => &inputs[1.min(inputs.len())..],
        () => inputs,
    }
}

/// Constant shapes that begin with the old batch, or with a multiple of it where axes were merged, begin with the new one. Those
/// of tensors that are the same for every input stay.
fn rebatch(model: &mut Model, old: i64, new: i64) {
    let graph = &mut model.graph;
    let mut batched: HashSet<ValueId> = graph.inputs().iter().copied().collect();
    // A cycle is what inference reports afterwards.
    for id in order(graph).unwrap_or_default() {
        let node = graph.node(id);
        if !carriers(node).iter().flatten().any(|value| batched.contains(value)) {
            continue;
        }
        batched.extend(node.outputs());
        if !node.op.is("Reshape") && !node.op.is("Expand") {
            continue;
        }
        let (Some(data), Some(shape)) = (node.input(0), node.input(1)) else { continue };
        let Some(given) = graph.weight(shape).and_then(Tensor::to_i64s) else { continue };
        let mut changed = given.clone();
        let has_free = given.contains(&-1);
        match changed.first_mut() {
            Some(first)
                if batched.contains(&data) && *first > 0 && *first % old == 0 && !(has_free && given.len() < 3) =>
            {
                *first = *first / old * new;
            }
            _ => continue,
        }
        let name = format!("{}_batch", graph.value(shape).name);
        let weight = graph.add_weight(name, Tensor::vector(&changed));
        graph.set_input(id, 1, Some(weight));
    }
}
