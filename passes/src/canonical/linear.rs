//! Normal forms of linear operators: `Gemm`, and sums of any number of terms.

use crate::rewire::{call, replace_result};
use eutectic_ir::graph::{Graph, NodeId, ValueId};
use eutectic_ir::{Attr, Tensor};

/// `Gemm` is alpha * A' B' + beta * C, where A' is A or its transpose.
pub(super) fn gemm(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let (a, b, c) = (node.input(0)?, node.input(1)?, node.input(2));
    let (alpha, beta) = (node.attrs.float("alpha")?, node.attrs.float("beta")?);
    let (transposes_a, transposes_b) = (node.attrs.int("transA")? != 0, node.attrs.int("transB")? != 0);
    // By the definition, a `beta` of zero ignores C, as BLAS does.
    let c = c.filter(|_| beta != 0.0);
    // Scaling integers by a fraction is left to the operator itself.
    let element = graph.ty(a).map(|ty| ty.element).filter(|element| element.is_real());
    let factor = |value: f32, is_idle: bool| match element {
        _ if is_idle => Some(None),
        Some(element) => Tensor::full(element, &[], f64::from(value)).ok().map(Some),
        None => None,
    };
    let (alpha, beta) = (factor(alpha, alpha == 1.0)?, factor(beta, beta == 1.0 || c.is_none())?);
    let a = if transposes_a { transpose(graph, a)? } else { a };
    let b = if transposes_b { transpose(graph, b)? } else { b };
    let product = call(graph, "MatMul", [], [Some(a), Some(b)])?;
    let mut result = scaled(graph, product, alpha)?;
    if let Some(c) = c {
        let c = scaled(graph, c, beta)?;
        result = call(graph, "Add", [], [Some(result), Some(c)])?;
    }
    replace_result(graph, id, result);
    Some(())
}

fn transpose(graph: &mut Graph, matrix: ValueId) -> Option<ValueId> {
    call(graph, "Transpose", [("perm", Attr::Ints([1, 0].into()))], [Some(matrix)])
}

fn scaled(graph: &mut Graph, value: ValueId, factor: Option<Tensor>) -> Option<ValueId> {
    let Some(factor) = factor else { return Some(value) };
    let factor = graph.add_weight("", factor);
    call(graph, "Mul", [], [Some(value), Some(factor)])
}

/// A call of several terms becomes a chain of calls of `pair` from the left; one term stands for itself.
pub(super) fn chain(graph: &mut Graph, id: NodeId, pair: Option<&str>) -> Option<()> {
    let node = graph.node(id);
    let terms: Vec<ValueId> = node.inputs().iter().copied().collect::<Option<_>>()?;
    let (&first, rest) = terms.split_first()?;
    if rest.is_empty() {
        replace_result(graph, id, first);
        return Some(());
    }
    // A call of two terms of an operator that is its own pair is the normal form.
    let pair = pair?;
    if rest.len() == 1 && graph.node(id).op.is(pair) {
        return None;
    }
    let mut result = first;
    for &term in rest {
        result = call(graph, pair, [], [Some(result), Some(term)])?;
    }
    replace_result(graph, id, result);
    Some(())
}
