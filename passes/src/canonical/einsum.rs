//! Products of matrices that are written as an Einstein sum.

use crate::rewire::{call, replace_result};
use eutectic_ir::Attr;
use eutectic_ir::graph::{Graph, NodeId, ValueId};
use eutectic_ir::types::Element;

/// One operand: its letters before the last two, these two, and the tensor.
#[derive(Clone, Copy)]
struct Operand<'a> {
    batch: &'a str,
    last: [char; 2],
    tensor: ValueId,
}

/// `Einsum` of two tensors that have the leading letters of the result, then the letter that is summed and one that is kept, in
/// either order, is a product of matrices: `bhid,bhjd->bhij` is A times the transpose of B.
pub(super) fn product(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let [Some(a), Some(b)] = *node.inputs() else { return None };
    let equation: String = node.attrs.string("equation")?.split_whitespace().collect();
    let (inputs, output) = equation.split_once("->")?;
    let (first, second) = inputs.split_once(',')?;
    let (batch, [row, column]) = split(output)?;
    let operand = |letters, tensor| split(letters).map(|(batch, last)| Operand { batch, last, tensor });
    let (a, b) = (operand(first, a)?, operand(second, b)?);
    // The rows of the result come from either operand.
    let (left, right) = if a.last.contains(&row) { (a, b) } else { (b, a) };
    let summed = left.last.into_iter().find(|letter| *letter != row)?;
    let letters: Vec<char> = batch.chars().chain([row, column, summed]).collect();
    let are_distinct = (1..letters.len()).all(|at| !letters[..at].contains(&letters[at]));
    let is_product = are_distinct
        && letters.iter().all(char::is_ascii_alphabetic)
        && [left.batch, right.batch] == [batch; 2]
        && left.last.contains(&row)
        && [[column, summed], [summed, column]].contains(&right.last);
    if !is_product || !multiplies(graph, left, right, summed)? {
        return None;
    }
    let left = if left.last[1] == summed { left.tensor } else { transpose(graph, left.tensor)? };
    let right = if right.last[0] == summed { right.tensor } else { transpose(graph, right.tensor)? };
    let result = call(graph, "MatMul", [], [Some(left), Some(right)])?;
    replace_result(graph, id, result);
    Some(())
}

fn split(letters: &str) -> Option<(&str, [char; 2])> {
    let (at, first) = letters.char_indices().rev().nth(1)?;
    Some((&letters[..at], [first, letters.chars().next_back()?]))
}

/// An Einstein sum also takes small integers, and repeats an operand along an axis of size 1, which a product does not.
fn multiplies(graph: &Graph, left: Operand, right: Operand, summed: char) -> Option<bool> {
    let size = |operand: Operand| {
        let axis = operand.batch.len() + operand.last.iter().position(|letter| *letter == summed)?;
        graph.ty(operand.tensor)?.shape.get(axis).cloned()
    };
    let element = graph.ty(left.tensor)?.element;
    let is_wide = matches!(element, Element::Int32 | Element::Int64 | Element::Uint32 | Element::Uint64);
    Some((element.is_real() || is_wide) && size(left)? == size(right)?)
}

fn transpose(graph: &mut Graph, tensor: ValueId) -> Option<ValueId> {
    let rank = i64::try_from(graph.ty(tensor)?.shape.len()).ok()?;
    let order: Vec<i64> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
    call(graph, "Transpose", [("perm", Attr::Ints(order.into()))], [Some(tensor)])
}
