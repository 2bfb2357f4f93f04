//! Smaller tensors: dims of inputs and weights, and contents that say nothing.

use super::{Case, Search};
use eutectic_ir::graph::{Graph, ValueId};
use eutectic_ir::{Attr, Dim, Tensor};
use std::collections::BTreeSet;

/// Makes dims smaller: first all of one size together, with the numbers of that size that shapes and attributes hold, then
/// each alone.
pub(super) fn dims(search: &mut Search) {
    let sizes: BTreeSet<usize> =
        axes(&search.case).into_iter().map(|(_, _, size)| size).filter(|&size| size > 1).collect();
    for &size in sizes.iter().rev() {
        // The smallest that fails is found from below; larger ones are halves of the present size.
        for smaller in smaller_sizes(size) {
            let everywhere = |with_numbers: bool| {
                move |case: &mut Case| {
                    let chosen = move |_: ValueId, _: usize, found: usize| found == size;
                    resize(case, &chosen, smaller)?;
                    if with_numbers {
                        replace_numbers(case, size, smaller);
                    }
                    Some(())
                }
            };
            if search.change("dims shrunk", everywhere(true)) || search.change("dims shrunk", everywhere(false)) {
                break;
            }
        }
    }
    for (id, axis, size) in axes(&search.case) {
        for smaller in smaller_sizes(size) {
            let one = |case: &mut Case| {
                let is_there = case.model.graph.has_value(id);
                is_there.then(|| resize(case, &|other, at, _| other == id && at == axis, smaller)).flatten()
            };
            if search.change("dims shrunk", one) {
                break;
            }
        }
    }
}

/// Fills weights, and what inputs are given, with ones.
pub(super) fn contents(search: &mut Search) {
    let tensors: Vec<ValueId> = tensors(&search.case).into_iter().map(|(id, _)| id).collect();
    for id in tensors {
        search.change("contents made ones", |case| {
            let (_, tensor) = tensors_of(case).find(|(other, _)| *other == id)?;
            if tensor.count() < 2 || tensor.as_splat().is_some() {
                return None;
            }
            let ones = Tensor::full(tensor.element(), tensor.shape(), 1.0).ok()?;
            set(case, id, ones)
        });
    }
}

fn smaller_sizes(size: usize) -> BTreeSet<usize> {
    let mut sizes = BTreeSet::from([1, 2, 3, size.saturating_sub(1)]);
    let mut half = size / 2;
    while half > 3 {
        sizes.insert(half);
        half /= 2;
    }
    sizes.into_iter().filter(|&smaller| smaller > 0 && smaller < size).collect()
}

/// Every axis of what is given to the graph: the value, the axis, its size.
fn axes(case: &Case) -> Vec<(ValueId, usize, usize)> {
    let of_one = |(id, tensor): (ValueId, Tensor)| {
        tensor.shape().iter().enumerate().map(|(axis, &size)| (id, axis, size)).collect::<Vec<_>>()
    };
    tensors(case).into_iter().flat_map(of_one).collect()
}

fn tensors(case: &Case) -> Vec<(ValueId, Tensor)> {
    tensors_of(case).map(|(id, tensor)| (id, tensor.clone())).collect()
}

/// The weights, and what the inputs are given.
fn tensors_of(case: &Case) -> impl Iterator<Item = (ValueId, &Tensor)> {
    let graph = &case.model.graph;
    let inputs = graph.inputs().iter().zip(&case.inputs).filter_map(|(&id, given)| Some((id, given.as_ref()?)));
    inputs.chain(graph.values().filter_map(|(id, value)| Some((id, value.weight()?))))
}

/// Lets the weight, or what the input is given, be `tensor`.
fn set(case: &mut Case, id: ValueId, tensor: Tensor) -> Option<()> {
    let graph = &mut case.model.graph;
    let Some(at) = graph.inputs().iter().position(|&input| input == id) else {
        return graph.set_weight(id, tensor).ok();
    };
    if let Some(mut ty) = graph.ty(id).cloned() {
        // A symbol stays one; what it stands for is smaller.
        for (dim, &size) in ty.shape.iter_mut().zip(tensor.shape()) {
            if dim.as_known().is_some() {
                *dim = Dim::from(size);
            }
        }
        graph.value_mut(id).ty = Some(ty.into());
    }
    case.inputs[at] = Some(tensor);
    Some(())
}

/// Cuts each axis that `chosen` accepts, given the value, the axis and its size, to the first `smaller` entries.
fn resize(case: &mut Case, chosen: &dyn Fn(ValueId, usize, usize) -> bool, smaller: usize) -> Option<()> {
    let mut is_changed = false;
    for (id, tensor) in tensors(case) {
        let mut cut = Some(tensor.clone());
        for (axis, &size) in tensor.shape().iter().enumerate() {
            if size > smaller && chosen(id, axis, size) {
                cut = cut.and_then(|tensor| prefix(&tensor, axis, smaller));
                is_changed = true;
            }
        }
        let cut = cut?;
        if cut.shape() != tensor.shape() {
            set(case, id, cut)?;
        }
    }
    case.forget_types();
    is_changed.then_some(())
}

/// The first `size` entries along `axis`; `None` for elements that do not fill bytes.
fn prefix(tensor: &Tensor, axis: usize, size: usize) -> Option<Tensor> {
    let bits = tensor.element().bits();
    if bits == 0 || bits % 8 != 0 {
        return None;
    }
    let mut shape = tensor.shape().to_vec();
    let n_inner = shape[axis + 1..].iter().product::<usize>() * bits / 8;
    let (old, new) = (shape[axis] * n_inner, size * n_inner);
    shape[axis] = size;
    let bytes = tensor.bytes();
    let cut: Vec<u8> = match old {
        0 => Vec::new(),
        _ => bytes.chunks(old).flat_map(|chunk| &chunk[..new]).copied().collect(),
    };
    Tensor::new(tensor.element(), &shape, cut.into()).ok()
}

/// Replaces the number `size` in shapes that weights hold, and in lists of attributes.
fn replace_numbers(case: &mut Case, size: usize, smaller: usize) {
    let (size, smaller) = (size as i64, smaller as i64);
    let replaced = |number: &i64| if *number == size { smaller } else { *number };
    let graph: &mut Graph = &mut case.model.graph;
    let shapes: Vec<(ValueId, Tensor)> = graph
        .values()
        .filter_map(|(id, value)| Some((id, value.weight()?)))
        .filter(|(_, tensor)| tensor.shape().len() == 1 && tensor.count() <= 8)
        .filter_map(|(id, tensor)| {
            let numbers: Vec<i64> = tensor.view::<i64>()?.iter().map(replaced).collect();
            Some((id, Tensor::vector(&numbers)))
        })
        .collect();
    for (id, tensor) in shapes {
        // Weights may be set.
        let _ = graph.set_weight(id, tensor);
    }
    let ids: Vec<_> = graph.nodes().map(|(id, _)| id).collect();
    for id in ids {
        let node = graph.node_mut(id);
        let changed: Vec<_> = node
            .attrs
            .iter()
            .filter_map(|(name, attr)| match attr {
                Attr::Ints(values) if values.contains(&size) => {
                    Some((name.clone(), Attr::Ints(values.iter().map(replaced).collect())))
                }
                _ => None,
            })
            .collect();
        for (name, attr) in changed {
            node.attrs.set(name, attr);
        }
    }
}
