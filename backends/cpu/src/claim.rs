//! Recognises bodies of fused functions that one kernel computes, by their structure; the function's name plays no role.
//!
//! A claimed body is a convolution or a matrix product of the call's inputs, then optionally the addition of a bias
//! row, of a tensor of the result's shape, and pointwise operators; or it is pointwise from end to end.

use crate::chain::{Chain, Instruction, MAX_REGISTERS, Read};
use crate::ops::{Kernel, Setup, Tail, binary_of, conv_with_tail, matmul_with_tail, pointwise_call, unary_of};
use crate::plan::{FlatCall, Source};
use crate::unary::Unary;
use eutectic_ir::attr::Attrs;
use eutectic_ir::op::Reason;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::Element;

/// A body that one kernel computes.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// Attributes of the convolution or product.
    pub attrs: Attrs,
    /// The body itself.
    pub body: Vec<FlatCall>,
    anchor: Anchor,
    bias: Option<usize>,
    tail: Tail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchor {
    Convolution,
    Product,
    Pointwise,
}

impl Claim {
    /// The kernel, for a call with the inputs that [`claim`] gave.
    pub fn prepare(&self, setup: &mut Setup<'_>) -> Result<Option<Kernel>, Reason> {
        match self.anchor {
            Anchor::Convolution => conv_with_tail(setup, self.tail.clone()),
            Anchor::Product => matmul_with_tail(setup, self.bias, self.tail.clone()),
            Anchor::Pointwise => Ok(pointwise_call(self.tail.clone())),
        }
    }
}

/// The claim on `body`, whose result is `output`, and the inputs of the claimed call.
pub(crate) fn claim(body: &[&FlatCall], output: usize, constants: &[Tensor]) -> Option<(Claim, Vec<Option<Source>>)> {
    let is_anchor = |call: &&FlatCall| call.op.is("Conv") || call.op.is("MatMul");
    let mut rest: Vec<&FlatCall> = body.to_vec();
    let Some(at) = rest.iter().position(is_anchor) else {
        let mut inputs = Vec::new();
        let chain = chain(&rest, None, output, constants, &mut inputs)?;
        let tail = Tail { chain: Some(chain), ..Tail::default() };
        return Some((
            Claim { attrs: Attrs::new(), body: Vec::new(), anchor: Anchor::Pointwise, bias: None, tail },
            inputs,
        ));
    };
    let product = rest.remove(at);
    let anchor = if product.op.is("Conv") { Anchor::Convolution } else { Anchor::Product };
    let mut inputs = product.inputs.clone();
    if anchor == Anchor::Convolution {
        inputs.resize(3, None);
    }
    let mut current = product.outputs[0];
    let mut bias = None;
    if anchor == Anchor::Product
        && let Some((at, Source::Constant(row))) = addition(&rest, current)
        && constants[row].shape().len() == 1
    {
        bias = Some(inputs.len());
        inputs.push(Some(Source::Constant(row)));
        current = rest.remove(at).outputs[0];
    }
    let mut tail = Tail::default();
    if let Some((at, other)) = addition(&rest, current)
        && !is_number(other, constants)
    {
        tail.residual = Some(inputs.len());
        inputs.push(Some(other));
        current = rest.remove(at).outputs[0];
    }
    if let [call] = rest.as_slice()
        && call.inputs.first() == Some(&Some(Source::Slot(current)))
        && let Some(activation) = unary(call, constants)
    {
        tail.activation = Some(activation);
        current = call.outputs[0];
        rest.clear();
    }
    if !rest.is_empty() {
        tail.chain = Some(chain(&rest, Some(current), output, constants, &mut inputs)?);
        current = output;
    }
    let claim = Claim { attrs: product.attrs.clone(), body: Vec::new(), anchor, bias, tail };
    (current == output).then_some((claim, inputs))
}

/// The only reader of the value in slot `current`, when it adds something else to it, and what it adds.
fn addition(calls: &[&FlatCall], current: usize) -> Option<(usize, Source)> {
    let current = Source::Slot(current);
    let mut readers = (0..calls.len()).filter(|&at| calls[at].inputs.contains(&Some(current)));
    let (Some(at), None) = (readers.next(), readers.next()) else { return None };
    match calls[at].inputs.as_slice() {
        [Some(a), Some(b)] if calls[at].op.is("Add") && *a == current && *b != current => Some((at, *b)),
        [Some(a), Some(b)] if calls[at].op.is("Add") && *b == current && *a != current => Some((at, *a)),
        _ => None,
    }
}

fn is_number(source: Source, constants: &[Tensor]) -> bool {
    matches!(source, Source::Constant(at) if constants[at].count() == 1)
}

/// The function of its first input that `call` is.
fn unary(call: &FlatCall, constants: &[Tensor]) -> Option<Unary> {
    if !call.op.domain().is_empty() {
        return None;
    }
    if !call.op.is("Clip") {
        return unary_of(call.op.name(), &call.attrs);
    }
    let bound = |index: usize, absent: f32| match call.inputs.get(index).copied().flatten() {
        None => Some(absent),
        Some(Source::Constant(at)) => Some(constants[at].as_single()? as f32),
        Some(Source::Slot(_)) => None,
    };
    Some(Unary::Clip { min: bound(1, f32::NEG_INFINITY)?, max: bound(2, f32::INFINITY)? })
}

/// `calls` as a chain from the value in slot `start` to that in slot `output`, and the positions of its operands among
/// `inputs`, where they are added. `None` when a call is not pointwise, or there are too many values at a time.
fn chain(
    calls: &[&FlatCall],
    start: Option<usize>,
    output: usize,
    constants: &[Tensor],
    inputs: &mut Vec<Option<Source>>,
) -> Option<(Chain, Vec<usize>)> {
    let last_reader = |slot: usize| calls.iter().rposition(|call| call.inputs.contains(&Some(Source::Slot(slot))));
    // Which slot each register holds, and the call after which it is free.
    let mut registers: [Option<(usize, usize)>; MAX_REGISTERS] = [None; MAX_REGISTERS];
    if let Some(start) = start {
        registers[0] = Some((start, last_reader(start)?));
    }
    let (mut instructions, mut positions) = (Vec::new(), Vec::new());
    for (at, call) in calls.iter().enumerate() {
        let [result] = call.outputs.as_slice() else { return None };
        if call.elements.iter().flatten().any(|&element| element != Element::Float) {
            return None;
        }
        let mut read = |source: Source| -> Option<Read> {
            if let Source::Slot(slot) = source
                && let Some(register) = registers.iter().position(|held| held.is_some_and(|(held, _)| held == slot))
            {
                return Some(Read::Register(register));
            }
            if let Source::Constant(constant) = source
                && constants[constant].count() == 1
            {
                let is_float = constants[constant].element() == Element::Float;
                return is_float.then(|| constants[constant].as_single().map(|number| Read::Number(number as f32)))?;
            }
            let position = inputs.iter().position(|input| *input == Some(source)).unwrap_or_else(|| {
                inputs.push(Some(source));
                inputs.len() - 1
            });
            let operand = positions.iter().position(|&known| known == position).unwrap_or_else(|| {
                positions.push(position);
                positions.len() - 1
            });
            Some(Read::Operand(operand))
        };
        let single = unary(call, constants);
        let first = read(call.inputs.first().copied().flatten()?)?;
        let second = match (single, call.inputs.as_slice()) {
            (Some(_), _) => None,
            (None, [_, Some(second)]) => Some(read(*second)?),
            _ => return None,
        };
        let to = if at + 1 == calls.len() {
            if *result != output {
                return None;
            }
            0
        } else {
            // A register that this call is the last to read is free for its result.
            let to = registers.iter().position(|held| held.is_none_or(|(_, until)| until <= at))?;
            registers[to] = Some((*result, last_reader(*result)?));
            to
        };
        instructions.push(match (single, second) {
            (Some(f), _) => Instruction::Unary { f, from: first, to },
            (None, Some(right)) if call.op.domain().is_empty() => {
                Instruction::Binary { f: binary_of(call.op.name())?, left: first, right, to }
            }
            _ => return None,
        });
    }
    Some((Chain::new(instructions)?, positions))
}
