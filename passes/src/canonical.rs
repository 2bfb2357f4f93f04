//! Canonical form: one spelling for each meaning, so that each rule is written once.
//!
//! | operator | its normal form |
//! |---|---|
//! | `Constant` | a weight |
//! | `Identity`, `Dropout` in inference whose mask nobody reads | gone: readers read the input |
//! | `CastLike` | `Cast` to the element type of its second input |
//! | `Conv`, `ConvTranspose` | three inputs always: a missing bias is a weight of C_out repeated zeros. `kernel_shape`, `strides`, `dilations`, `pads`, `group` explicit, `auto_pad` is `NOTSET` (`ConvTranspose`: also `output_padding`) |
//! | `MaxPool`, `AveragePool`, `LpPool` | `strides`, `dilations`, `pads` explicit, `auto_pad` is `NOTSET` |
//! | `Gemm` | `Add (Mul (MatMul (Transpose (A), Transpose (B)), alpha), Mul (C, beta))`, without what `transA`, `transB`, `alpha`, `beta` and an absent `C` make idle; `alpha` and `beta` are weights of rank 0, the product is the first input of `Add` |
//! | `Einsum` of two tensors that is a product of matrices | `MatMul`, with `Transpose` of the last two axes where an operand asks for it |
//! | `Sum`, `Max`, `Min` of one input, `Mean` of one input | gone |
//! | `Sum`, `Max`, `Min` of more | a chain of binary calls from the left: `Add (Add (a, b), c)` |
//! | `SplitToSequence` read by `SequenceAt` at constant positions | `Split`; `Squeeze` behind it where `keepdims` is 0 |
//! | `SequenceConstruct` read by `SequenceAt` at constant positions | gone; by `ConcatFromSequence`: `Concat`, of `Unsqueeze`d tensors where `new_axis` is 1 |
//! | `Split` | sizes are the second input, a weight; no `num_outputs` |
//! | `Transpose` | `perm` explicit |
//! | `Reduce*` | `axes` is an input, a weight, explicit, ascending; `noop_with_empty_axes` is 0 |
//! | `Squeeze`, `Unsqueeze` | `axes` is an input, a weight, explicit, ascending |
//! | `Slice` | five inputs: `axes` and `steps` explicit |
//! | `Pad` | `pads` covers all axes, no `axes`; in mode `constant`, `constant_value` is given, a weight of rank 0 |
//! | `Reshape` | `allowzero` is 0, unless a constant shape means a zero by 0 |
//! | every operator with an attribute `axis` (`Concat`, `Gather`, `Softmax`, `LayerNormalization`, `Flatten`, ...) | `axis` is not negative |
//! | constant `axes` inputs of every operator | not negative |
//!
//! What a normal form needs must be known: the rank, for axes; the spatial sizes, for `auto_pad = SAME_UPPER` and
//! `SAME_LOWER` of `Conv` and pools; the size of the axis, for `Split` by `num_outputs`; constant `axes` and `pads`.
//! A call that lacks it stays as it is, so a rule says what it needs (`where conv.auto_pad == "NOTSET"`). Attributes
//! that refer to formal attributes of a function stay.
//!
//! Left as they are: `Flatten` (only its axis changes), `Clip` with and without bounds, `GlobalAveragePool` beside
//! `ReduceMean`, `BatchNormalization`, the order of the operands of commutative operators (the rule compiler tries both).
//! `Mean` of several inputs stays. Shapes of `Reshape` and `Expand` that depend on symbolic dims become constants in
//! [`shapes`](crate::shapes): known dims are written out; one symbolic dim is -1; of several, those that the data has at
//! the same axis are 0, and one other is -1.
//!
//! [`tidy`](crate::tidy) gives the forms back that people write.

mod axes;
mod einsum;
mod linear;
mod split;
mod window;

#[cfg(test)]
mod tests;

use crate::inline::inline_body;
use crate::pass::{Change, Pass};
use crate::rewire::{bodies_of, call, replace_result};
use eutectic_ir::graph::{Graph, NodeId};
use eutectic_ir::{Attr, Model, Tensor, infer, walk};

/// Brings every call of the model into canonical form.
pub fn canonical() -> Pass {
    Pass::new("canonical", "", |model| Ok(Change::of(canonical_model(model))))
}

/// Brings every call of `model` into canonical form, types inferred before; the number of calls changed.
pub fn canonical_model(model: &mut Model) -> usize {
    infer::infer(model);
    canonicalize(&mut model.graph)
}

/// Brings every call of `graph` and its bodies into canonical form, as far as the types that stand in it allow; the
/// number of calls changed.
pub fn canonicalize(graph: &mut Graph) -> usize {
    let mut n_changed = 0;
    // A graph with a cycle has no order and is left alone; the verifier reports it.
    for id in walk::order(graph).unwrap_or_default() {
        if graph.has_node(id) && canonicalize_call(graph, id).is_some() {
            n_changed += 1;
        }
    }
    bodies_of(graph, &mut |body| n_changed += canonicalize(body));
    n_changed
}

/// `None` when the call is canonical, or what its canonical form needs is not known.
fn canonicalize_call(graph: &mut Graph, id: NodeId) -> Option<()> {
    let def = graph.node(id).op.builtin().filter(|def| def.domain.is_empty())?;
    match def.name {
        "Constant" => constant(graph, id),
        "Identity" => identity(graph, id),
        "If" => branch(graph, id),
        "Dropout" => dropout(graph, id),
        "CastLike" => cast_like(graph, id),
        "Conv" => window::convolution(graph, id, false),
        "ConvTranspose" => window::convolution(graph, id, true),
        "MaxPool" | "AveragePool" | "LpPool" => window::pool(graph, id),
        "Gemm" => linear::gemm(graph, id),
        "Einsum" => einsum::product(graph, id),
        "Sum" => linear::chain(graph, id, Some("Add")),
        "Max" => linear::chain(graph, id, Some("Max")),
        "Min" => linear::chain(graph, id, Some("Min")),
        "Mean" => linear::chain(graph, id, None),
        "SplitToSequence" => split::split_to_sequence(graph, id),
        "SequenceAt" => split::sequence_at(graph, id),
        "ConcatFromSequence" => split::concat_from_sequence(graph, id),
        "Split" => {
            let axis = axes::generic(graph, id);
            split::split(graph, id).or(axis)
        }
        "Transpose" => axes::transpose(graph, id),
        "Reshape" => axes::reshape(graph, id),
        "Slice" => axes::slice(graph, id),
        "Pad" => axes::pad(graph, id),
        "Squeeze" | "Unsqueeze" => axes::axis_set(graph, id),
        name if name.starts_with("Reduce") => axes::axis_set(graph, id),
        _ => axes::generic(graph, id),
    }
}

fn constant(graph: &mut Graph, id: NodeId) -> Option<()> {
    let (name, attr) = graph.node(id).attrs.iter().next()?;
    let tensor = match (name.as_str(), attr) {
        ("value", Attr::Tensor(tensor)) => tensor.clone(),
        ("value_float", Attr::Float(value)) => Tensor::scalar(*value),
        ("value_floats", Attr::Floats(values)) => Tensor::vector(values),
        ("value_int", Attr::Int(value)) => Tensor::scalar(*value),
        ("value_ints", Attr::Ints(values)) => Tensor::vector(values),
        _ => return None,
    };
    let weight = graph.add_weight("", tensor);
    replace_result(graph, id, weight);
    Some(())
}

fn identity(graph: &mut Graph, id: NodeId) -> Option<()> {
    let input = graph.node(id).input(0)?;
    replace_result(graph, id, input);
    Some(())
}

/// A choice whose condition is known is the branch that it takes.
fn branch(graph: &mut Graph, id: NodeId) -> Option<()> {
    let condition = graph.weight(graph.node(id).input(0)?)?.as_single()?;
    inline_body(graph, id, if condition != 0.0 { "then_branch" } else { "else_branch" }, 1, 0)
}

fn cast_like(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (input, element) = (node.input(0)?, graph.ty(node.input(1)?)?.element);
    let mut attrs = vec![("to", Attr::Int(i64::from(element.code())))];
    for name in ["saturate", "round_mode"] {
        attrs.extend(node.attrs.get(name).map(|value| (name, value.clone())));
    }
    let result = call(graph, "Cast", attrs, [Some(input)])?;
    replace_result(graph, id, result);
    Some(())
}

/// In inference, dropout is the identity.
fn dropout(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (input, mode) = (node.input(0)?, node.input(2));
    let trains = mode.is_some_and(|mode| graph.weight(mode).and_then(Tensor::as_single) != Some(0.0));
    let mask_is_read = node.outputs().get(1).is_some_and(|&mask| graph.value(mask).uses().len() > 0);
    if trains || mask_is_read {
        return None;
    }
    replace_result(graph, id, input);
    Some(())
}
