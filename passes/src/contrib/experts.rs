//! Mixtures of experts, `MoE` of ONNX Runtime.
//!
//! For each token a router chooses `k` of the experts, each a layer of `fc1`, an activation and `fc2`, and the result is the sum
//! of what they make of the token, weighted by the router's probabilities. Side by side the experts are one wide layer, in which
//! those that are not chosen weigh zero: two products of known extents at `n_experts / k` times the arithmetic. An expert that
//! overflows makes NaN of a token here even where it is not chosen.

use super::{added, constant, transposed};
use crate::rewire::{call, call_with_outputs};
use eutectic_ir::graph::{Graph, Node, ValueId};
use eutectic_ir::{Attr, Tensor};

/// The result of `node`; `None` for a form that ONNX Runtime's CPU kernel does not have either.
pub(super) fn mixture(graph: &mut Graph, node: &Node) -> Option<ValueId> {
    let is_set = |name: &str| node.attrs.int(name).unwrap_or(0) != 0;
    let has_gate = node.input(6).is_some();
    if has_gate || is_set("use_sparse_mixer") || is_set("swiglu_limit_after_activation") {
        return None;
    }
    let (x, fc1, fc2) = (node.input(0)?, node.input(2)?, node.input(4)?);
    let [n_experts, n_out, n_hidden] = extents(graph, fc2)?;
    let [_, n_inner, n_in] = extents(graph, fc1)?;
    let weights = router(graph, node, node.input(1)?)?;

    let tokens = reshaped(graph, x, &[-1, n_in])?;
    let wide = reshaped(graph, fc1, &[n_experts * n_inner, n_in])?;
    let wide = transposed(graph, wide)?;
    let inner = call(graph, "MatMul", [], [Some(tokens), Some(wide)])?;
    let bias = match node.input(3) {
        Some(bias) => Some(reshaped(graph, bias, &[n_experts * n_inner])?),
        None => None,
    };
    let inner = added(graph, inner, bias)?;
    let inner = reshaped(graph, inner, &[-1, n_experts, n_inner])?;
    let hidden = activated(graph, node, inner)?;

    let each = with_axes(graph, "Unsqueeze", [], weights, 2)?;
    let weighted = call(graph, "Mul", [], [Some(hidden), Some(each)])?;
    let weighted = reshaped(graph, weighted, &[-1, n_experts * n_hidden])?;
    let deep = transposed(graph, fc2)?;
    let deep = reshaped(graph, deep, &[n_experts * n_hidden, n_out])?;
    let sum = call(graph, "MatMul", [], [Some(weighted), Some(deep)])?;
    let bias = match node.input(5) {
        Some(bias) => Some(call(graph, "MatMul", [], [Some(weights), Some(bias)])?),
        None => None,
    };
    let sum = added(graph, sum, bias)?;
    if graph.ty(x)?.rank() == 2 {
        return Some(sum);
    }
    let shape = call(graph, "Shape", [], [Some(x)])?;
    call(graph, "Reshape", [], [Some(sum), Some(shape)])
}

/// The weight of each expert for each token, `[tokens, experts]`, zero for those that are not among the `k` most probable.
fn router(graph: &mut Graph, node: &Node, scores: ValueId) -> Option<ValueId> {
    let last = || [("axis", Attr::Int(-1))];
    let probabilities = call(graph, "Softmax", last(), [Some(scores)])?;
    let k = integers(graph, &[node.attrs.int("k").unwrap_or(1)]);
    let top = call_with_outputs(graph, "TopK", last(), [Some(probabilities), Some(k)], 2)?;
    let &[mut chosen, experts] = graph.node(top).outputs() else { return None };
    if node.attrs.int("normalize_routing_weights").unwrap_or(0) != 0 {
        let total = with_axes(graph, "ReduceSum", [("keepdims", Attr::Int(1))], chosen, -1)?;
        chosen = call(graph, "Div", [], [Some(chosen), Some(total)])?;
    }
    let shape = call(graph, "Shape", [], [Some(probabilities)])?;
    let zero = constant(graph, scores, 0.0)?;
    let zeros = call(graph, "Expand", [], [Some(zero), Some(shape)])?;
    call(graph, "ScatterElements", [("axis", Attr::Int(1))], [Some(zeros), Some(experts), Some(chosen)])
}

/// The activation of the experts along the last axis of `x`, `[tokens, experts, inner]`.
fn activated(graph: &mut Graph, node: &Node, x: ValueId) -> Option<ValueId> {
    match node.attrs.string("activation_type").unwrap_or("relu") {
        "identity" => Some(x),
        "relu" => call(graph, "Relu", [], [Some(x)]),
        "gelu" => call(graph, "Gelu", [("approximate", Attr::String("tanh".into()))], [Some(x)]),
        "silu" => sigmoid_weighted(graph, x, 1.0),
        // Gates stand at the even places, what they let through at the odd ones.
        "swiglu" if node.attrs.int("swiglu_fusion") == Some(1) => {
            let (mut gate, mut linear) = (every_other(graph, x, 0)?, every_other(graph, x, 1)?);
            if let Some(limit) = node.attrs.float("swiglu_limit") {
                let (least, most) = (constant(graph, x, -limit)?, constant(graph, x, limit)?);
                gate = call(graph, "Min", [], [Some(gate), Some(most)])?;
                linear = call(graph, "Clip", [], [Some(linear), Some(least), Some(most)])?;
            }
            let gate = sigmoid_weighted(graph, gate, node.attrs.float("activation_alpha").unwrap_or(1.0))?;
            let linear = match node.attrs.float("activation_beta").unwrap_or(0.0) {
                0.0 => linear,
                beta => {
                    let beta = constant(graph, x, beta)?;
                    call(graph, "Add", [], [Some(linear), Some(beta)])?
                }
            };
            call(graph, "Mul", [], [Some(gate), Some(linear)])
        }
        _ => None,
    }
}

/// `x * sigmoid(alpha * x)`
fn sigmoid_weighted(graph: &mut Graph, x: ValueId, alpha: f32) -> Option<ValueId> {
    let inner = super::scaled(graph, x, alpha)?;
    let gate = call(graph, "Sigmoid", [], [Some(inner)])?;
    call(graph, "Mul", [], [Some(x), Some(gate)])
}

/// Every other element along the last axis, from `start` on.
fn every_other(graph: &mut Graph, x: ValueId, start: i64) -> Option<ValueId> {
    let [start, end, axis, step] = [start, i64::MAX, -1, 2].map(|bound| integers(graph, &[bound]));
    call(graph, "Slice", [], [x, start, end, axis, step].map(Some))
}

/// The extents of a weight of three axes, which must be known.
fn extents(graph: &Graph, weight: ValueId) -> Option<[i64; 3]> {
    graph.ty(weight)?.shape.iter().map(eutectic_ir::Dim::as_known).collect::<Option<Vec<_>>>()?.try_into().ok()
}

fn integers(graph: &mut Graph, values: &[i64]) -> ValueId {
    graph.add_weight("", Tensor::vector(values))
}

fn reshaped(graph: &mut Graph, x: ValueId, shape: &[i64]) -> Option<ValueId> {
    let shape = integers(graph, shape);
    call(graph, "Reshape", [], [Some(x), Some(shape)])
}

fn with_axes(
    graph: &mut Graph,
    name: &str,
    attrs: impl IntoIterator<Item = (&'static str, Attr)>,
    x: ValueId,
    axis: i64,
) -> Option<ValueId> {
    let axes = integers(graph, &[axis]);
    call(graph, name, attrs, [Some(x), Some(axes)])
}
