//! What each kernel runs: a region that was formed beforehand, or one call; and what calls may be part of a region.

use crate::flat::{Flat, FlatCall, Refusal, ValueAt};
use crate::images;
use crate::pointwise::{RowOperator, pointwise, row_operator};
use crate::product::Activation;
use crate::quantized;
use crate::region::MAX_COLUMNS;
use crate::view::Class;
use eutectic_ir::region::{self, Epilogues, Member, Operand, Space};

/// What cuDNN's convolutions do to a result before they write it; their own third input is the bias.
const CONVOLUTION: Epilogues = Epilogues {
    bias: false,
    residual: true,
    activations: &["Relu"],
    elementwise: true,
    dequantizes: false,
    takes_shortcut: false,
    is_shortcut: false,
    begins_chain: false,
    ends_chain: false,
};
/// What cuBLASLt's products do to a result before they write it.
const PRODUCT: Epilogues = Epilogues { bias: true, activations: &["Relu", "Gelu"], ..CONVOLUTION };

/// Calls that one kernel runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Positions in the list of calls, in order.
    pub calls: Vec<usize>,
    /// What runs them.
    pub kind: Kind,
    /// Of a convolution: another one in front of it that only it reads, whose products its kernel may compute, too.
    pub before: Option<Box<(Unit, Joining)>>,
}

/// Where the result of what is before goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joining {
    /// It is the residual.
    Shortcut,
    /// It is the image.
    Chain,
}

impl Unit {
    fn new(calls: Vec<usize>, kind: Kind) -> Self {
        Self { calls, kind, before: None }
    }

    /// What its last call gives.
    pub fn result(&self, flat: &Flat) -> ValueAt {
        flat.calls[self.calls[self.calls.len() - 1]].outputs[0]
    }
}

/// What runs a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A generated kernel over one shape.
    Region,
    /// A product or convolution, the first call, with what follows it.
    Anchor(Epilogue),
    /// A product or convolution of quantized numbers, with what dequantizes them and what follows.
    Quantized,
    /// Anything else: one call.
    Single,
}

/// What follows a product or convolution in a library's kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epilogue {
    /// Calls of the unit that this is, besides the first one. Those behind them are elementwise, and no library has them.
    pub n_calls: usize,
    /// A row that is added, of products only.
    pub bias: Option<ValueAt>,
    /// A tensor of the result's shape that is added.
    pub residual: Option<ValueAt>,
    /// What comes at the end; GELU of products only.
    pub activation: Activation,
}

/// How a generated kernel computes a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Role {
    /// One element of the result from one of each input.
    Pointwise,
    /// Rows of the first input; the axes of its columns.
    Row(RowOperator, Vec<usize>),
    /// One element of the result from a looked-up place; both inputs must be in memory.
    Lookup,
}

impl Role {
    fn offered(&self) -> region::Role {
        match self {
            Role::Pointwise => region::Role::Pointwise,
            Role::Row(operator, columns) => {
                region::Role::Row { columns: columns.clone(), reduces: matches!(operator, RowOperator::Reduce(_)) }
            }
            Role::Lookup => region::Role::Lookup,
        }
    }
}

/// The role of `call` in a generated kernel, if it has one.
pub(crate) fn role(flat: &Flat, call: &FlatCall) -> Option<Role> {
    let known = |at: usize| call.input(at).map(|value| &flat.values[value]);
    let first = known(0)?;
    if let Some((operator, axes)) = row_operator(call, &first.shape, &|at| known(at)?.constant.as_ref()?.to_i64s()) {
        return Some(Role::Row(operator, axes));
    }
    if call.is("Gather") {
        return Some(Role::Lookup);
    }
    let n = call.inputs.iter().flatten().count();
    let class = Class::of(first.element);
    let element = flat.values[*call.outputs.first()?].element;
    pointwise(call, element, n, class, &|_| None).map(|_| Role::Pointwise)
}

/// The role that `call` may have in a region. `producer` gives the call that computes a value.
pub(crate) fn offered(
    flat: &Flat,
    call: &FlatCall,
    producer: &dyn Fn(ValueAt) -> Option<usize>,
) -> Option<region::Role> {
    let of = |at: usize| call.input(at).map(|value| &flat.values[value]);
    // Libraries have no epilogues in double precision, and no products of integers.
    let is_real = |call: &FlatCall| Class::of(flat.values[call.outputs[0]].element) == Class::Real;
    let is_image = || matches!(of(0).map(|value| value.shape.len()), Some(3 | 4));
    let anchor = |epilogues: Epilogues| {
        let dequantizes = quantized::operands(flat, call, producer).is_some();
        let takes_shortcut = !dequantizes && is_tiled(flat, call);
        let is_shortcut = takes_shortcut && images::is_single(flat, call);
        let ends_chain = is_shortcut && images::is_near(flat, call);
        let begins_chain = takes_shortcut && !is_shortcut && images::is_near(flat, call) && images::is_slim(flat, call);
        let joins = Epilogues { takes_shortcut, is_shortcut, begins_chain, ends_chain, ..epilogues };
        Some(region::Role::Anchor(Epilogues { dequantizes, ..joins }))
    };
    match call {
        _ if call.is("MatMul") && is_real(call) => anchor(PRODUCT),
        _ if call.is("Conv") && is_real(call) && is_image() => anchor(CONVOLUTION),
        // Weights that no product reads as they are stored are dequantized once and for all.
        _ if call.is("DequantizeLinear") && of(0)?.constant.is_some() => None,
        _ => role(flat, call).map(|role| role.offered()),
    }
}

/// Whether tiles of ours may compute `call`, a convolution of whole images: its channels are whole chunks of 16 bytes of single precision,
/// at least.
fn is_tiled(flat: &Flat, call: &FlatCall) -> bool {
    let shape = |at: usize| call.input(at).map_or(&[][..], |value| flat.values[value].shape.as_slice());
    let is_whole = matches!((shape(0), shape(1)), (&[_, channels, _, _], &[_, depth, _, _]) if channels == depth && depth % 4 == 0);
    call.is("Conv") && is_whole
}

/// The kernels of `flat`, in its order. Errors: regions that no kernel runs.
pub(crate) fn units(flat: &Flat) -> Result<Vec<Unit>, Vec<Refusal>> {
    let mut units = Vec::new();
    let mut refusals = Vec::new();
    let positions: Vec<usize> = (0..flat.calls.len()).collect();
    let same_group =
        |&a: &usize, &b: &usize| flat.calls[a].group.is_some() && flat.calls[a].group == flat.calls[b].group;
    for calls in positions.chunk_by(same_group) {
        let first = &flat.calls[calls[0]];
        let of = |kind: Kind| Some(Unit::new(calls.to_vec(), kind));
        let unit = match calls {
            _ if is_anchor(first) => anchored(flat, calls),
            _ if calls.iter().any(|&at| is_anchor(&flat.calls[at])) => of(Kind::Quantized),
            [_] if role(flat, first).is_none() => of(Kind::Single),
            _ => of(Kind::Region),
        };
        match unit {
            Some(unit) => units.push(unit),
            None => {
                let region = first.group.map_or_else(String::new, |group| flat.groups[group].to_string());
                refusals.push(Refusal::new(format!("region `{region}`"), "its product has no such epilogue"));
            }
        }
    }
    if refusals.is_empty() { Ok(units) } else { Err(refusals) }
}

/// Whether `call` is a product or convolution.
pub(crate) fn is_anchor(call: &FlatCall) -> bool {
    call.is("Conv") || call.is("MatMul")
}

/// The unit of `calls`, a product or convolution with what follows it, or two convolutions; `None` when kernels cannot do what follows.
fn anchored(flat: &Flat, calls: &[usize]) -> Option<Unit> {
    let alone = |calls: Vec<usize>| epilogue(flat, &calls).map(|epilogue| Unit::new(calls, Kind::Anchor(epilogue)));
    let anchors: Vec<usize> = calls.iter().copied().filter(|&at| is_anchor(&flat.calls[at])).collect();
    let &[first, second] = anchors.as_slice() else { return alone(calls.to_vec()) };
    let producer = |value: ValueAt| calls.iter().copied().find(|&at| flat.calls[at].outputs[0] == value);
    let is_chain = flat.calls[second].input(0).is_some_and(|value| producer(value).is_some());
    let (before, joining) = match is_chain {
        true => (calls.iter().copied().take_while(|&at| at != second).collect(), Joining::Chain),
        false => (vec![shortcut(flat, first, second)?], Joining::Shortcut),
    };
    let main = if before.contains(&second) { first } else { second };
    let rest = calls.iter().copied().filter(|at| *at != main && !before.contains(at));
    let (unit, before) = (alone([main].into_iter().chain(rest).collect())?, alone(before)?);
    let (given, Kind::Anchor(epilogue)) = (before.result(flat), &unit.kind) else { return None };
    let is_read = match joining {
        Joining::Shortcut => epilogue.residual == Some(given),
        Joining::Chain => flat.calls[second].input(0) == Some(given),
    };
    is_read.then(|| Unit { before: Some(Box::new((before, joining))), ..unit })
}

/// Which of two convolutions is the shortcut of the other one. Of two that could be it, the one that steps over pixels is: the other one
/// is a product, too.
fn shortcut(flat: &Flat, first: usize, second: usize) -> Option<usize> {
    let fits = |takes: usize, is: usize| {
        let able = |at: usize| match offered(flat, &flat.calls[at], &|_| None) {
            Some(region::Role::Anchor(epilogues)) => (epilogues.takes_shortcut, epilogues.is_shortcut),
            _ => (false, false),
        };
        able(takes).0 && able(is).1
    };
    let steps =
        |at: usize| flat.calls[at].attrs.ints("strides").is_some_and(|sizes| sizes.iter().any(|&size| size > 1));
    match (fits(second, first), fits(first, second)) {
        (true, true) if steps(first) => Some(first),
        (_, true) => Some(second),
        (true, false) => Some(first),
        (false, false) => None,
    }
}

/// What follows the product or convolution `calls[0]`; `None` when it is not what its kernels can do.
fn epilogue(flat: &Flat, calls: &[usize]) -> Option<Epilogue> {
    let mut epilogue = Epilogue::default();
    if calls.len() == 1 {
        return Some(epilogue);
    }
    let first = &flat.calls[calls[0]];
    let region::Role::Anchor(able) = offered(flat, first, &|_| None)? else { return None };
    let mut current = first.outputs[0];
    for (position, &at) in calls.iter().enumerate().skip(1) {
        let call = &flat.calls[at];
        let other = call.inputs.iter().flatten().copied().find(|&value| value != current);
        let shape = &flat.values[current].shape;
        if !call.inputs.contains(&Some(current)) {
            return None;
        }
        let is_open = epilogue.activation == Activation::None && epilogue.n_calls + 1 == position;
        let mut with = epilogue;
        match (call.op.name(), other) {
            ("Add", Some(other)) if is_open && able.bias && epilogue.n_calls == 0 && is_row(flat, other, shape) => {
                with.bias = Some(other);
            }
            ("Add", Some(other))
                if is_open && able.residual && epilogue.residual.is_none() && flat.values[other].shape == *shape =>
            {
                with.residual = Some(other);
            }
            (name, None) if is_open && able.activations.contains(&name) => {
                with.activation = match (name, call.attrs.string("approximate")) {
                    ("Relu", _) => Activation::Relu,
                    (_, Some("tanh")) => Activation::GeluTanh,
                    _ => Activation::Gelu,
                };
            }
            _ => {}
        }
        if with != epilogue {
            epilogue = Epilogue { n_calls: epilogue.n_calls + 1, ..with };
        } else if !(able.elementwise
            && role(flat, call) == Some(Role::Pointwise)
            && flat.values[call.outputs[0]].shape == *shape)
        {
            return None;
        }
        current = call.outputs[0];
    }
    // The exact GELU is a kernel of its own behind some libraries' products, and one with what follows it.
    if epilogue.activation == Activation::Gelu && epilogue.n_calls + 1 < calls.len() {
        epilogue = Epilogue { activation: Activation::None, n_calls: epilogue.n_calls - 1, ..epilogue };
    }
    Some(epilogue)
}

/// Whether `value` is a constant row for a result of `shape`.
pub(crate) fn is_row(flat: &Flat, value: ValueAt, shape: &[usize]) -> bool {
    let known = &flat.values[value];
    known.constant.is_some()
        && known.shape.last() == shape.last()
        && known.shape.iter().rev().skip(1).all(|&size| size == 1)
}

/// The iteration that all of `calls` fit in; `None` when there is none. A single call may have its columns anywhere.
pub(crate) fn space(flat: &Flat, calls: &[usize]) -> Option<Space> {
    let made = |value: ValueAt| calls.iter().any(|&at| flat.calls[at].outputs.contains(&value));
    let operand = |value: ValueAt| Operand { shape: &flat.values[value].shape, is_inside: made(value) };
    let roles: Vec<region::Role> =
        calls.iter().map(|&at| Some(role(flat, &flat.calls[at])?.offered())).collect::<Option<_>>()?;
    let member = |(&at, role): (&usize, _)| Member {
        role,
        inputs: flat.calls[at].inputs.iter().map(|input| input.map(operand)).collect(),
        output: &flat.values[flat.calls[at].outputs[0]].shape,
    };
    region::space(&calls.iter().zip(&roles).map(member).collect::<Vec<Member>>(), MAX_COLUMNS)
}
