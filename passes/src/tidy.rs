//! The forms that people write, given back before export: the other direction of [`canonical`](crate::canonical).
//!
//! - a `Conv` or `ConvTranspose` whose bias is zero has none;
//! - `Add (MatMul (A, B), C)` of matrices, with a constant C that broadcasts to the product, is `Gemm`; a transposition of
//!   A or B that nobody else reads becomes `transA` or `transB`;
//! - `Pad` with zeros does not say so.
//!
//! Attributes that are equal to their defaults stay, and so do chains of `Add`.

use crate::pass::{Change, Pass};
use crate::rewire::{bodies_of, call, replace_result};
use crate::target::FUSION_DOMAIN;
use eutectic_ir::graph::{Graph, NodeId, ValueId};
use eutectic_ir::tensor::Data;
use eutectic_ir::types::Element;
use eutectic_ir::{Attr, walk};

/// Gives the tidy forms back that operator set `opset` has.
pub fn tidy(opset: u64) -> Pass {
    Pass::new("tidy", format!("(opset {opset})"), move |model| {
        eutectic_ir::infer::infer(model);
        Ok(Change::of(tidy_graph(&mut model.graph, opset)))
    })
}

/// Gives the tidy forms back in `graph` and its bodies, whose types stand in it; the number of places changed.
pub fn tidy_graph(graph: &mut Graph, opset: u64) -> usize {
    let mut n_changed = 0;
    for id in walk::order(graph).unwrap_or_default() {
        // A product may have gone into the `Gemm` of its reader, a transposition too.
        if !graph.has_node(id) {
            continue;
        }
        let op = &graph.node(id).op;
        let changed = match (op.domain(), op.name()) {
            ("", "Conv" | "ConvTranspose") => drop_zero(graph, id, 2),
            ("", "Pad") if graph.node(id).inputs().len() == 3 => drop_zero(graph, id, 2),
            ("", "Add") => gemm(graph, id, opset),
            (FUSION_DOMAIN, "MatMulAdd") => gemm(graph, id, opset),
            _ => None,
        };
        n_changed += usize::from(changed.is_some());
    }
    bodies_of(graph, &mut |body| n_changed += tidy_graph(body, opset));
    n_changed
}

/// Leaves the last input out when it is zero.
fn drop_zero(graph: &mut Graph, id: NodeId, slot: usize) -> Option<()> {
    let weight = graph.weight(graph.node(id).input(slot)?)?;
    let is_zero = match weight.data() {
        Data::Splat(value) => value.iter().all(|&byte| byte == 0),
        Data::Bytes(bytes) => weight.count() == 1 && bytes.iter().all(|&byte| byte == 0),
        Data::Seeded(_) | Data::Strings(_) | Data::Stored(_) => false,
    };
    if is_zero {
        graph.truncate_inputs(id, slot);
    }
    is_zero.then_some(())
}

/// A B + C with a constant C is one `Gemm`. The fused call that means it stays, unless `Gemm` takes a transposition in.
fn gemm(graph: &mut Graph, id: NodeId, opset: u64) -> Option<()> {
    let (matmul, c) = product_and_term(graph, id)?;
    let (a, b) = (graph.node(matmul).input(0)?, graph.node(matmul).input(1)?);
    let constant = graph.weight(c)?;
    let (a_type, b_type) = (graph.ty(a)?, graph.ty(b)?);
    let is_gemm = match a_type.element {
        // Before opset 7, `Gemm` broadcasts only when it is told to.
        Element::Float16 | Element::Float | Element::Double => opset >= 7,
        Element::Bfloat16 => opset >= 13,
        _ => false,
    };
    let [rows, _] = a_type.shape.as_slice() else { return None };
    let [_, columns] = b_type.shape.as_slice() else { return None };
    let c_shape = &constant.ty().shape;
    let broadcasts = c_shape.iter().rev().zip([columns, rows]).all(|(dim, whole)| dim.is(1) || dim == whole);
    if !is_gemm || c_shape.len() > 2 || !broadcasts {
        return None;
    }
    let ((a, transposes_a), (b, transposes_b)) = (before_transpose(graph, a), before_transpose(graph, b));
    if matmul == id && !transposes_a && !transposes_b {
        return None;
    }
    let attrs = [("transA", Attr::Int(transposes_a.into())), ("transB", Attr::Int(transposes_b.into()))];
    let result = call(graph, "Gemm", attrs, [Some(a), Some(b), Some(c)])?;
    let gemm = graph.producer(result)?.0;
    graph.node_mut(gemm).name = graph.node(matmul).name.clone();
    let transpositions: Vec<NodeId> =
        graph.node(matmul).reads().filter_map(|read| graph.producer(read)).map(|(node, _)| node).collect();
    replace_result(graph, id, result);
    // Each is refused while something else reads it.
    if matmul != id {
        let _ = graph.remove_node(matmul);
    }
    if transposes_a || transposes_b {
        for transposition in transpositions {
            if graph.has_node(transposition) {
                let _ = graph.remove_node(transposition);
            }
        }
    }
    Some(())
}

/// The call that multiplies, and what is added to the product: of a fused call, it and its third input.
fn product_and_term(graph: &Graph, id: NodeId) -> Option<(NodeId, ValueId)> {
    let node = graph.node(id);
    if node.op.domain() == FUSION_DOMAIN {
        return Some((id, node.input(2)?));
    }
    let (left, right) = (node.input(0)?, node.input(1)?);
    let (product, term) = if is_product(graph, left) { (left, right) } else { (right, left) };
    let is_shared = graph.value(product).uses().len() != 1;
    if is_shared || !is_product(graph, product) { None } else { Some((graph.producer(product)?.0, term)) }
}

fn is_product(graph: &Graph, value: ValueId) -> bool {
    graph.producer(value).is_some_and(|(node, _)| graph.node(node).op.is("MatMul"))
}

/// The matrix before a transposition that nobody else reads.
fn before_transpose(graph: &Graph, matrix: ValueId) -> (ValueId, bool) {
    let source = || {
        let node = graph.node(graph.producer(matrix)?.0);
        let swaps = node.op.is("Transpose") && node.attrs.ints("perm") == Some(&[1, 0]);
        (swaps && graph.value(matrix).uses().len() == 1).then(|| node.input(0)).flatten()
    };
    source().map_or((matrix, false), |source| (source, true))
}

#[cfg(test)]
mod tests;
