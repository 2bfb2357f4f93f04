//! Products and convolutions with what follows them: a bias, a residual connection, an activation.
//!
//! The product is computed in registers or shared memory, so what follows it element by element costs no trip to memory. Which
//! calls follow it is the choice of the optimizer: they are the calls of one fused function, such as `ConvAddRelu`.

use super::Pattern;
use super::calls::Calls;
use super::division::Division;
use eutectic_ir::graph::ValueId;
use eutectic_ir::region::{Epilogues, Role};
use std::collections::BTreeSet;

pub(super) const PATTERN: Pattern = Pattern {
    name: "epilogues",
    doc: "products and convolutions with the bias, residual connection and activation of their fused function",
    takes: None,
};

/// Lets every anchor take the calls of its fused function that its kernel has epilogues for.
pub(super) fn claim(division: &mut Division) {
    for at in 0..division.calls.len() {
        let calls = division.calls;
        let (Some(Role::Anchor(epilogues)), Some(origin)) = (calls.role(at), calls.origin(at)) else { continue };
        if !division.is_alone(at) {
            continue;
        }
        let function = calls.abilities.origins[origin].as_str();
        if division.fusions.admits(PATTERN.name, Some(function)).is_none() {
            continue;
        }
        // A sum of two products is an epilogue of one of them.
        let is_taken = |call: usize| division.unit_of[call] != call;
        if let Some(members) = followed(calls, at, epilogues, &is_taken) {
            division.replace(at, members, function.to_owned());
        }
    }
}

/// The anchor and the calls of its origin that its kernel can take, each the only reader of the one before; `None` when there
/// is none, or when what they read besides needs the anchor, since the kernel runs in one piece.
fn followed(
    calls: &Calls,
    anchor: usize,
    epilogues: &Epilogues,
    is_taken: &dyn Fn(usize) -> bool,
) -> Option<Vec<usize>> {
    let mut left = *epilogues;
    let mut members = vec![anchor];
    let mut others = Vec::new();
    let mut current = calls.outputs(anchor)[0];
    loop {
        let mut readers: Vec<usize> = calls.readers(current).collect();
        readers.dedup();
        let &[next] = readers.as_slice() else { break };
        let is_other = calls.origin(next) != calls.origin(anchor) || calls.outputs(next).len() != 1;
        if is_other || is_taken(next) || calls.is_output(current) {
            break;
        }
        let beside = || calls.inputs(next).map(|(_, value)| value).filter(|&value| value != current);
        let (name, other) = (calls.name(next), beside().next());
        match other {
            Some(other) if name == "Add" && left.bias && is_row(calls, other, current) => {
                left.bias = false;
                others.push(other);
            }
            Some(other) if name == "Add" && left.residual && calls.shape(other) == calls.shape(current) => {
                // A row comes before a whole tensor.
                (left.bias, left.residual) = (false, false);
                others.push(other);
            }
            None if left.activations.contains(&name) => {
                (left.bias, left.residual, left.activations) = (false, false, &[])
            }
            _ if left.elementwise
                && is_elementwise(calls, next, current)
                && !beside().any(|value| needs(calls, value, anchor)) =>
            {
                (left.bias, left.residual, left.activations) = (false, false, &[]);
            }
            _ => break,
        }
        members.push(next);
        current = calls.outputs(next)[0];
    }
    (members.len() > 1 && !others.iter().any(|&value| needs(calls, value, anchor))).then_some(members)
}

/// Whether `call` computes each element of its result from that of `value` and what it broadcasts to it.
pub(super) fn is_elementwise(calls: &Calls, call: usize, value: ValueId) -> bool {
    calls.role(call) == Some(&Role::Pointwise) && calls.shape(calls.outputs(call)[0]) == calls.shape(value)
}

/// Whether `value` is a constant row for a result like `of`.
fn is_row(calls: &Calls, value: ValueId, of: ValueId) -> bool {
    let shape = calls.shape(value);
    calls.graph.weight(value).is_some()
        && shape.last() == calls.shape(of).last()
        && shape.iter().rev().skip(1).all(|&size| size == 1)
}

/// Whether computing `value` needs the result of call `target`.
pub(super) fn needs(calls: &Calls, value: ValueId, target: usize) -> bool {
    let (mut open, mut seen) = (vec![value], BTreeSet::new());
    while let Some(value) = open.pop() {
        match calls.producer(value) {
            Some(call) if call == target => return true,
            // What comes before the target does not need it.
            Some(call) if call > target && seen.insert(call) => open.extend(calls.reads(call)),
            _ => {}
        }
    }
    false
}
