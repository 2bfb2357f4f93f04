//! Sizes for dims that a file leaves open, and another batch size where it fixes one.

use crate::inputs::Sizes;
use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::ir::graph::{Def, ValueId};
use crate::ir::infer::infer;
use crate::ir::types::Type;
use crate::ir::{Dim, Model, Tensor, TensorType};
use std::collections::BTreeMap;

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
        if let (Some(batch), Some(first)) = (batch, dims.first_mut()) {
            old = old.or(first.as_known());
            *first = Dim::from(batch);
        }
        graph.value_mut(input).ty = Some(Type::Tensor(TensorType::new(ty.element, dims)));
    }
    if let (Some(batch), Some(old)) = (batch, old)
        && old != batch as i64
    {
        rebatch(model, old, batch as i64);
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
    let graph = &mut model.graph;
    let results: Vec<ValueId> =
        graph.values().filter(|(_, value)| matches!(value.def(), Def::Result(..))).map(|(id, _)| id).collect();
    results.into_iter().for_each(|id| graph.value_mut(id).ty = None);
    let (_, problems) = infer(model);
    problems.into_result(()).map(|_| ())
}

/// Constant shapes that begin with the old batch, or with a multiple of it where axes were merged, begin with the new one.
fn rebatch(model: &mut Model, old: i64, new: i64) {
    let graph = &mut model.graph;
    let nodes: Vec<_> = graph.nodes().map(|(id, _)| id).collect();
    for id in nodes {
        let node = graph.node(id);
        if !node.op.is("Reshape") && !node.op.is("Expand") {
            continue;
        }
        let (Some(data), Some(shape)) = (node.input(0), node.input(1)) else { continue };
        let is_weight = graph.weight(data).is_some();
        let Some(given) = graph.weight(shape).and_then(Tensor::to_i64s) else { continue };
        let mut changed = given.clone();
        let has_free = given.contains(&-1);
        match changed.first_mut() {
            Some(first) if !is_weight && *first > 0 && *first % old == 0 && !(has_free && given.len() < 3) => {
                *first = *first / old * new;
            }
            _ => continue,
        }
        let name = format!("{}_batch", graph.value(shape).name);
        let weight = graph.add_weight(name, Tensor::vector(&changed));
        graph.set_input(id, 1, Some(weight));
    }
}
