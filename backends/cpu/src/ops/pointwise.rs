//! Functions of single elements, binary operators with broadcasting, comparisons and selection.

use super::{Arguments, Kernel, Prepare, Setup, given};
use crate::broadcast::{Broadcast, broadcast_shape};
use crate::elementwise::{self, Binary, Compare};
use crate::unary::Unary;
use crate::value::{Layout, Pool, Value, count};
use bytes::Bytes;
use eutectic_ir::attr::Attrs;
use eutectic_ir::op::Reason;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::Element;

pub(super) const KERNELS: &[(&str, Prepare)] = &[
    ("Relu", unary),
    ("LeakyRelu", unary),
    ("Elu", unary),
    ("Selu", unary),
    ("Celu", unary),
    ("ThresholdedRelu", unary),
    ("Sigmoid", unary),
    ("HardSigmoid", unary),
    ("HardSwish", unary),
    ("Swish", unary),
    ("Mish", unary),
    ("Gelu", unary),
    ("Softplus", unary),
    ("Softsign", unary),
    ("Tanh", unary),
    ("Erf", unary),
    ("Exp", unary),
    ("Log", unary),
    ("Sqrt", unary),
    ("Reciprocal", unary),
    ("Neg", unary),
    ("Abs", unary),
    ("Sign", unary),
    ("Floor", unary),
    ("Ceil", unary),
    ("Round", unary),
    ("Sin", unary),
    ("Cos", unary),
    ("Clip", |_| Ok(Some(Box::new(clip)))),
    ("Add", binary),
    ("Sub", binary),
    ("Mul", binary),
    ("Div", binary),
    ("Pow", binary),
    ("PRelu", binary),
    ("Max", binary),
    ("Min", binary),
    ("Sum", binary),
    ("Mean", |setup| Ok(folded(setup, Binary::Add, true))),
    ("Equal", |_| Ok(Some(compared(Compare::Equal)))),
    ("Less", |_| Ok(Some(compared(Compare::Less)))),
    ("LessOrEqual", |_| Ok(Some(compared(Compare::LessOrEqual)))),
    ("Greater", |_| Ok(Some(compared(Compare::Greater)))),
    ("GreaterOrEqual", |_| Ok(Some(compared(Compare::GreaterOrEqual)))),
    ("Where", |_| Ok(Some(Box::new(choose)))),
];

/// The function that operator `name` is with these attributes; `None` when it is none of one element.
pub(crate) fn unary_of(name: &str, attrs: &Attrs) -> Option<Unary> {
    let float = |name| attrs.float(name);
    Some(match name {
        "Relu" => Unary::Relu,
        "LeakyRelu" => Unary::LeakyRelu { alpha: float("alpha")? },
        "Elu" => Unary::Elu { alpha: float("alpha")? },
        "Selu" => Unary::Selu { alpha: float("alpha")?, gamma: float("gamma")? },
        "Celu" => Unary::Celu { alpha: float("alpha")? },
        "ThresholdedRelu" => Unary::ThresholdedRelu { alpha: float("alpha")? },
        "Sigmoid" => Unary::Sigmoid,
        "HardSigmoid" => Unary::HardSigmoid { alpha: float("alpha")?, beta: float("beta")? },
        "HardSwish" => Unary::HardSwish,
        "Swish" if float("alpha").is_none_or(|alpha| alpha == 1.0) => Unary::Silu,
        "Mish" => Unary::Mish,
        "Gelu" if attrs.string("approximate") == Some("tanh") => Unary::GeluTanh,
        "Gelu" => Unary::Gelu,
        "Softplus" => Unary::Softplus,
        "Softsign" => Unary::Softsign,
        "Tanh" => Unary::Tanh,
        "Erf" => Unary::Erf,
        "Exp" => Unary::Exp,
        "Log" => Unary::Log,
        "Sqrt" => Unary::Sqrt,
        "Reciprocal" => Unary::Reciprocal,
        "Neg" => Unary::Neg,
        "Abs" => Unary::Abs,
        "Sign" => Unary::Sign,
        "Floor" => Unary::Floor,
        "Ceil" => Unary::Ceil,
        "Round" => Unary::Round,
        "Sin" => Unary::Sin,
        "Cos" => Unary::Cos,
        _ => return None,
    })
}

/// The function that operator `name` is; `None` when it is none of two elements with a result of their type.
pub(crate) fn binary_of(name: &str) -> Option<Binary> {
    Some(match name {
        "Add" | "Sum" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Pow" => Binary::Pow,
        "PRelu" => Binary::PRelu,
        "Max" => Binary::Max,
        "Min" => Binary::Min,
        _ => return None,
    })
}

fn unary(setup: &mut Setup<'_>) -> Result<Option<Kernel>, Reason> {
    let Some(function) = unary_of(setup.name, setup.attrs) else { return Ok(None) };
    Ok(Some(Box::new(move |arguments, pool| apply(function, arguments, pool))))
}

/// Applies `function` to the first argument, in place when nobody else reads it.
fn apply(function: Unary, arguments: &mut Arguments, pool: &mut Pool) -> Result<Option<Vec<Value>>, Reason> {
    if given(arguments, 0).and_then(Value::as_floats).is_none() {
        return Ok(None);
    }
    let Some(x) = arguments[0].take() else { return Ok(None) };
    let (shape, layout) = (x.shape.clone(), x.layout);
    let out = match x.into_buffer() {
        Ok(mut own) => {
            elementwise::unary_in_place(function, &mut own);
            own
        }
        Err(shared) => {
            let Some(elements) = shared.as_floats() else { return Ok(None) };
            let mut out = pool.take(elements.len())?;
            elementwise::unary(function, elements, &mut out);
            out
        }
    };
    Ok(Some(vec![Value::stored(&shape, layout, out)]))
}

fn clip(arguments: &mut Arguments, pool: &mut Pool) -> Result<Option<Vec<Value>>, Reason> {
    let bound = |index: usize, absent: f32| match given(arguments, index) {
        None => Some(absent),
        Some(value) => value.as_single(),
    };
    let (Some(min), Some(max)) = (bound(1, f32::NEG_INFINITY), bound(2, f32::INFINITY)) else { return Ok(None) };
    apply(Unary::Clip { min, max }, arguments, pool)
}

/// `values` as they are read for one elementwise call: all in one layout, with shapes in the order of the elements.
struct Aligned {
    layout: Layout,
    /// Shape of the result, logical.
    shape: Vec<usize>,
    /// Shape of the result, in the order of its elements.
    stored: Vec<usize>,
    /// Each operand, and its shape in the order of its elements.
    operands: Vec<(Value, Vec<usize>)>,
}

/// Brings operands to one layout; images stay channels-last when any operand is. `None` when they do not broadcast.
fn align(values: &[&Value], pool: &mut Pool) -> Result<Option<Aligned>, Reason> {
    let shapes: Vec<&[usize]> = values.iter().map(|value| value.shape.as_slice()).collect();
    let Some(shape) = broadcast_shape(&shapes) else { return Ok(None) };
    count(&shape)?;
    let rank = shape.len();
    let image = values.iter().any(|value| value.layout == Layout::ChannelsLast)
        // An operand of lower rank would have its channels elsewhere.
        && values.iter().all(|value| value.layout == Layout::Plain || value.shape.len() == rank);
    let mut operands = Vec::new();
    for &value in values {
        if !image {
            let plain = value.to_plain(pool)?;
            let shape = plain.shape.clone();
            operands.push((plain, shape));
            continue;
        }
        let mut padded = vec![1; rank - value.shape.len()];
        padded.extend(&value.shape);
        let value = match value.layout {
            Layout::ChannelsLast => value.clone(),
            Layout::Plain => {
                let Some(converted) = value.reshaped(&padded).to_channels_last(pool)? else { return Ok(None) };
                converted
            }
        };
        operands.push((value, channels_to_end(&padded)));
    }
    let (layout, stored) =
        if image { (Layout::ChannelsLast, channels_to_end(&shape)) } else { (Layout::Plain, shape.clone()) };
    Ok(Some(Aligned { layout, shape, stored, operands }))
}

fn channels_to_end(shape: &[usize]) -> Vec<usize> {
    [&shape[..1], &shape[2..], &shape[1..2]].concat()
}

/// Folds the operands by `f` from the left; divides by their number for a mean.
fn folded(setup: &mut Setup<'_>, f: Binary, mean: bool) -> Option<Kernel> {
    let n_inputs = setup.n_inputs;
    (n_inputs > 0).then(|| -> Kernel {
        Box::new(move |arguments, pool| {
            let values: Vec<&Value> = arguments.iter().flatten().collect();
            if values.len() != n_inputs || values.iter().any(|value| value.as_floats().is_none()) {
                return Ok(None);
            }
            let Some(aligned) = align(&values, pool)? else { return Ok(None) };
            let mut operands = aligned.operands.iter();
            let Some((first, first_shape)) = operands.next() else { return Ok(None) };
            let mut left = (first.clone(), first_shape.clone());
            for (right, right_shape) in operands {
                let Some(shape) = broadcast_shape(&[&left.1, right_shape]) else { return Ok(None) };
                let (Some(a), Some(b)) = (left.0.as_floats(), right.as_floats()) else { return Ok(None) };
                let mut out = pool.take(count(&shape)?)?;
                elementwise::binary(f, &Broadcast::new(&shape, [&left.1, right_shape]), a, b, &mut out);
                pool.recycle(std::mem::replace(&mut left, (Value::floats(&shape, out), shape)).0);
            }
            if left.1 != aligned.stored {
                return Ok(None);
            }
            let mut value = left.0.seen_as(&aligned.shape, aligned.layout);
            if mean {
                let factor = Tensor::scalar(1.0 / n_inputs as f32);
                let factor = Value::of_tensor(&factor, pool)?;
                let (Some(a), Some(b)) = (value.as_floats(), factor.as_floats()) else { return Ok(None) };
                let mut out = pool.take(a.len())?;
                elementwise::binary(Binary::Mul, &Broadcast::new(&[a.len()], [&[a.len()], &[]]), a, b, &mut out);
                value = Value::stored(&value.shape, value.layout, out);
            }
            Ok(Some(vec![value.normalized()]))
        })
    })
}

fn binary(setup: &mut Setup<'_>) -> Result<Option<Kernel>, Reason> {
    let Some(function) = binary_of(setup.name) else { return Ok(None) };
    Ok(folded(setup, function, false))
}

fn compared(f: Compare) -> Kernel {
    Box::new(move |arguments, pool| {
        let (Some(a), Some(b)) = (given(arguments, 0), given(arguments, 1)) else { return Ok(None) };
        let (a, b) = (a.to_plain(pool)?, b.to_plain(pool)?);
        let (Some(x), Some(y)) = (a.as_floats(), b.as_floats()) else { return Ok(None) };
        let Some(shape) = broadcast_shape(&[&a.shape, &b.shape]) else { return Ok(None) };
        pool.check(count(&shape)?)?;
        let mut out = vec![0; count(&shape)?];
        elementwise::compare(f, &Broadcast::new(&shape, [&a.shape, &b.shape]), x, y, &mut out);
        Value::host(Element::Bool, &shape, out).map(|value| Some(vec![value]))
    })
}

fn choose(arguments: &mut Arguments, pool: &mut Pool) -> Result<Option<Vec<Value>>, Reason> {
    let [Some(condition), Some(a), Some(b)] = arguments.as_slice() else { return Ok(None) };
    if condition.element() != Element::Bool || a.element() != b.element() {
        return Ok(None);
    }
    let (a, b) = (a.to_plain(pool)?, b.to_plain(pool)?);
    let Some(shape) = broadcast_shape(&[&condition.shape, &a.shape, &b.shape]) else { return Ok(None) };
    let count = count(&shape)?;
    let walk = Broadcast::new(&shape, [&condition.shape, &a.shape, &b.shape]);
    let Some(mask) = condition.as_bytes() else { return Ok(None) };
    if let (Some(x), Some(y)) = (a.as_floats(), b.as_floats()) {
        let mut out = pool.take(count)?;
        elementwise::choose(&walk, &mask, x, y, &mut out);
        return Ok(Some(vec![Value::floats(&shape, out)]));
    }
    let (Some(x), Some(y)) = (a.as_bytes(), b.as_bytes()) else { return Ok(None) };
    pool.check(count.saturating_mul(2))?;
    fn pick<T: bytemuck::Pod + Send + Sync>(walk: &Broadcast<3>, mask: &[u8], x: &[u8], y: &[u8]) -> Vec<u8> {
        let (x, y) = (bytemuck::pod_collect_to_vec::<u8, T>(x), bytemuck::pod_collect_to_vec::<u8, T>(y));
        let mut out = vec![T::zeroed(); walk.len()];
        elementwise::choose(walk, mask, &x, &y, &mut out);
        bytemuck::cast_slice(&out).to_vec()
    }
    let out = match a.element().bits() {
        8 => pick::<u8>(&walk, &mask, &x, &y),
        16 => pick::<u16>(&walk, &mask, &x, &y),
        32 => pick::<u32>(&walk, &mask, &x, &y),
        64 => pick::<u64>(&walk, &mask, &x, &y),
        _ => return Ok(None),
    };
    Value::host(a.element(), &shape, Bytes::from(out)).map(|value| Some(vec![value]))
}
