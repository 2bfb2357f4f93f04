//! What ONNX leaves undefined is left to whoever runs the model: folding would freeze one machine's answer.

use eutectic_ir::eval::wrap;
use eutectic_ir::graph::{Node, Op};
use eutectic_ir::{Element, Reason, Tensor};

/// Why the result of `node` on `inputs` is undefined; `None` when it is not.
pub(super) fn undefined(node: &Node, inputs: &[Option<&Tensor>], result: Option<Element>) -> Option<Reason> {
    let Op::Builtin(def) = &node.op else { return None };
    let given = |slot: usize| inputs.get(slot).copied().flatten();
    match (def.domain, def.name) {
        ("", "Div" | "Mod") => quotient_overflows(given(0)?, given(1)?),
        ("", "BitShift") => shifts_everything_out(given(0)?, given(1)?),
        ("", "Pow") => has_no_integer_power(given(0)?, given(1)?),
        ("", "Cast" | "CastLike") => does_not_fit(given(0)?, result?),
        _ => None,
    }
}

/// The lowest integer over -1 is one more than the highest.
fn quotient_overflows(dividend: &Tensor, divisor: &Tensor) -> Option<Reason> {
    let element = dividend.element();
    if !element.is_integer() || element.bits() > 64 {
        return None;
    }
    let lowest = wrap(element, 1i128 << (element.bits() - 1));
    let overflows = lowest < 0
        && dividend.to_i64s()?.into_iter().any(|value| i128::from(value) == lowest)
        && divisor.to_i64s()?.contains(&-1);
    overflows.then(|| Reason::new("the lowest integer is divided by -1"))
}

fn shifts_everything_out(value: &Tensor, places: &Tensor) -> Option<Reason> {
    let width = value.element().bits() as u64;
    let places: Vec<u64> = match places.view::<u64>() {
        Some(view) => view.to_vec(),
        None => places.to_i64s()?.into_iter().map(|places| places as u64).collect(),
    };
    let most = places.into_iter().max().filter(|&most| most >= width)?;
    Some(Reason(format!("{width} bits are shifted by {most}")))
}

fn has_no_integer_power(base: &Tensor, exponent: &Tensor) -> Option<Reason> {
    if !base.element().is_integer() || !exponent.element().is_integer() {
        return None;
    }
    let least = exponent.to_i64s()?.into_iter().min().filter(|&least| least < 0)?;
    Some(Reason(format!("an integer is raised to the power {least}")))
}

/// Real numbers beyond the range of an integer type. Between integers, higher bits are dropped by definition.
fn does_not_fit(from: &Tensor, to: Element) -> Option<Reason> {
    if !from.element().is_real() || !to.is_integer() || to.bits() < 8 {
        return None;
    }
    let fits = |value: f64| value.is_finite() && wrap(to, value as i128) == value as i128;
    let odd = from.to_f64s()?.into_iter().find(|&value| !fits(value))?;
    Some(Reason(format!("{odd} is no {to}")))
}
