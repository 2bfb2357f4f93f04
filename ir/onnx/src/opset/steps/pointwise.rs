//! Pointwise operators: broadcasting, bounds, element types.

use super::{Steps, cannot, rank_of, same, scalar_like_first, single, squeeze, two_types, unsqueeze, without};
use crate::call::{Call, Facts};
use eutectic_ir::{Attr, Element, TensorType};

/// Before version 7 the second operand broadcast only where `broadcast` said so, its axes a run of those of the first
/// that started at `axis`, or the last ones.
pub(crate) fn broadcast_to_7(mut call: Call, facts: &dyn Facts) -> Steps {
    let broadcasts = matches!(call.attrs.remove("broadcast"), Some(Attr::Int(flag)) if flag != 0);
    let axis = match call.attrs.remove("axis") {
        _ if !broadcasts => return Ok(vec![call]),
        Some(Attr::Int(axis)) => Some(axis),
        _ => None,
    };
    let ranks = rank_of(call.given(0), facts).zip(rank_of(call.given(1), facts));
    let run = ranks.and_then(|(a, b)| {
        let before = axis.map_or(a.checked_sub(b), |axis| usize::try_from(axis).ok())?;
        Some((before, b, a.checked_sub(before.checked_add(b)?)?))
    });
    let Some((before, b, after)) = run else {
        return match axis {
            Some(_) => cannot(&call, "broadcasts a value of unknown rank, or along an axis that is not there"),
            None => Ok(vec![call]),
        };
    };
    // What an export had to squeeze comes back as it was, so that going there and back adds nothing.
    for leading in 0..=before {
        let axes = (0..leading).chain(leading + b..leading + b + after).map(|axis| axis as i64).collect::<Vec<_>>();
        let whole = call.given(1).filter(|_| !axes.is_empty()).and_then(|small| facts.before_squeeze(small, &axes));
        if let Some(whole) = whole {
            call.inputs[1] = whole;
            return Ok(vec![call]);
        }
    }
    let mut calls = if b == 0 { Vec::new() } else { unsqueeze(&mut call, 1, b, after, facts) };
    calls.push(call);
    Ok(calls)
}

/// How the axes of one tensor lie among those of another.
pub(super) struct Subset {
    /// The first of the larger tensor's axes that the smaller one has.
    pub axis: usize,
    /// They are the last ones, or the smaller tensor has a single element.
    pub is_suffix: bool,
    /// Axes of the smaller tensor around them, of size 1.
    pub ones: Vec<usize>,
}

/// How `small` broadcasts to `large` as a run of its axes; `None` when it does not.
pub(super) fn subset(large: &TensorType, small: &TensorType) -> Option<Subset> {
    let missing = large.rank().checked_sub(small.rank())?;
    let is_one = |axis: &usize| small.shape[*axis].is(1);
    let first = (0..small.rank()).find(|axis| !is_one(axis));
    let Some(first) = first else { return Some(Subset { axis: missing, is_suffix: true, ones: Vec::new() }) };
    let last = (first..small.rank()).rev().find(|axis| !is_one(axis))?;
    let run = first..last + 1;
    if small.shape[run.clone()] != large.shape[missing + first..missing + last + 1] {
        return None;
    }
    let ones = (0..small.rank()).filter(|axis| !run.contains(axis)).collect();
    Some(Subset { axis: missing + first, is_suffix: last + 1 == small.rank(), ones })
}

pub(crate) fn broadcast_from_7(mut call: Call, facts: &dyn Facts) -> Steps {
    let Some((a, b)) = two_types(&call, facts) else { return cannot(&call, "may broadcast values of unknown shape") };
    if a.shape == b.shape {
        return Ok(vec![call]);
    }
    let commutes = matches!(call.op_type.as_str(), "Add" | "Mul" | "And" | "Or" | "Xor" | "Equal");
    let part = subset(&a, &b).or_else(|| {
        let part = subset(&b, &a).filter(|_| commutes)?;
        call.inputs.swap(0, 1);
        Some(part)
    });
    let Some(part) = part else { return cannot(&call, "broadcasts other than a run of axes of its second operand") };
    call.attrs.set("broadcast", Attr::Int(1));
    if !part.is_suffix {
        call.attrs.set("axis", Attr::Int(part.axis as i64));
    }
    let mut calls = squeeze(&mut call, 1, &part.ones, facts);
    calls.push(call);
    Ok(calls)
}

/// Before version 8 the operands had one shape.
pub(crate) fn one_shape(call: Call, facts: &dyn Facts) -> Steps {
    let types: Option<Vec<TensorType>> = call.inputs.iter().map(|operand| facts.ty(operand)).collect();
    match types {
        _ if call.inputs.len() < 2 => Ok(vec![call]),
        Some(types) if types.windows(2).all(|pair| pair[0].shape == pair[1].shape) => Ok(vec![call]),
        _ => cannot(&call, "may broadcast its operands"),
    }
}

/// Before version 12 base and exponent had one type.
pub(crate) fn one_type(call: Call, facts: &dyn Facts) -> Steps {
    match two_types(&call, facts) {
        Some((a, b)) if a.element == b.element => Ok(vec![call]),
        _ => cannot(&call, "may have an exponent of another element type"),
    }
}

/// Before version 15 the exponent was not bfloat16.
pub(crate) fn exponent_without_bfloat16(call: Call, facts: &dyn Facts) -> Steps {
    without(call, 1, Element::Bfloat16, facts)
}

/// Before version 22 the probabilities were not bfloat16.
pub(crate) fn probabilities_without_bfloat16(call: Call, facts: &dyn Facts) -> Steps {
    without(call, 0, Element::Bfloat16, facts)
}

/// Before version 7 a slope was one number, or one for each channel; since then it broadcasts.
pub(crate) fn prelu_to_7(mut call: Call, facts: &dyn Facts) -> Steps {
    let slope = call.given(1).and_then(|operand| facts.ty(operand));
    let Some((rank, slope)) = rank_of(call.given(0), facts).zip(slope) else {
        return cannot(&call, "has an input of unknown rank");
    };
    let mut calls = match slope.rank() {
        _ if slope.count().is_some_and(|count| count.is(1)) => Vec::new(),
        1 => unsqueeze(&mut call, 1, 1, rank.saturating_sub(2), facts),
        _ => return cannot(&call, "has a slope of several axes"),
    };
    calls.push(call);
    Ok(calls)
}

pub(crate) fn prelu_from_7(mut call: Call, facts: &dyn Facts) -> Steps {
    let Some((x, slope)) = two_types(&call, facts) else { return cannot(&call, "has operands of unknown shape") };
    let channel = 1usize;
    let mut calls = match subset(&x, &slope) {
        Some(_) if slope.count().is_some_and(|count| count.is(1)) => match slope.rank() {
            0 => unsqueeze(&mut call, 1, 0, 1, facts),
            rank => squeeze(&mut call, 1, &(1..rank).collect::<Vec<_>>(), facts),
        },
        Some(part) if part.axis == channel && slope.rank() == part.ones.len() + 1 => {
            squeeze(&mut call, 1, &part.ones, facts)
        }
        _ => return cannot(&call, "has a slope other than for each channel"),
    };
    calls.push(call);
    Ok(calls)
}

/// Before version 6 the element type was a name.
pub(crate) fn cast_to_6(mut call: Call, facts: &dyn Facts) -> Steps {
    if let Some(name) = call.attrs.string("to") {
        let Some(element) = Element::from_text(&name.to_ascii_lowercase()) else {
            return cannot(&call, "makes elements of an unknown type");
        };
        call.attrs.set("to", Attr::Int(element.code().into()));
    }
    same(call, facts)
}

pub(crate) fn cast_from_6(mut call: Call, _: &dyn Facts) -> Steps {
    let element = call.attrs.int("to").and_then(|code| Element::from_code(i32::try_from(code).ok()?));
    let Some(element) = element else { return cannot(&call, "makes elements of an unknown type") };
    call.attrs.set("to", Attr::String(element.text().to_ascii_uppercase().into()));
    Ok(vec![call])
}

/// Before version 6 the defaults had fewer digits.
pub(crate) fn selu_to_6(mut call: Call, facts: &dyn Facts) -> Steps {
    call.attrs.remove("consumed_inputs");
    for (name, default) in [("alpha", 1.6732), ("gamma", 1.0507)] {
        if call.attrs.get(name).is_none() {
            call.attrs.set(name, Attr::Float(default));
        }
    }
    same(call, facts)
}

/// Before version 6 a bound that was left out had no default; since then it is an extreme of float, which means the same.
pub(crate) fn clip_to_6(mut call: Call, facts: &dyn Facts) -> Steps {
    call.attrs.remove("consumed_inputs");
    same(call, facts)
}

pub(crate) fn clip_to_11(mut call: Call, facts: &dyn Facts) -> Steps {
    for (slot, attr) in [(1, "min"), (2, "max")] {
        // The extremes of f32 are what an absent bound meant.
        if let Some(Attr::Float(bound)) = call.attrs.remove(attr)
            && bound.abs() < f32::MAX
        {
            let operand = scalar_like_first(&call, bound, facts)?;
            call.set_input(slot, operand);
        }
    }
    Ok(vec![call])
}

pub(crate) fn clip_from_11(mut call: Call, facts: &dyn Facts) -> Steps {
    for (slot, attr) in [(1, "min"), (2, "max")] {
        if let Some(bound) = single(&call, slot, attr, facts)? {
            call.attrs.set(attr, Attr::Float(bound));
        }
    }
    if let (Some(&Attr::Float(min)), Some(&Attr::Float(max))) = (call.attrs.get("min"), call.attrs.get("max"))
        && min > max
    {
        return cannot(&call, "has a minimum above its maximum");
    }
    call.inputs.truncate(1);
    Ok(vec![call])
}

pub(crate) fn mod_from_28(call: Call, facts: &dyn Facts) -> Steps {
    let reals = call.inputs.first().and_then(|operand| facts.ty(operand)).is_none_or(|ty| ty.element.is_real());
    if reals && !call.attrs.flag("fmod") {
        return cannot(&call, "may divide real numbers with the sign of the divisor");
    }
    Ok(vec![call])
}
