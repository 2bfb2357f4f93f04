//! Scaled dot-product attention as what it means: products, a scale, a mask, a softmax.

use crate::expand::Rewriter;
use crate::flat::{Flat, FlatCall, ValueAt};
use crate::pointwise::BLIND;
use eutectic_ir::attr::Attr;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::Element;

pub(crate) fn scale(call: &FlatCall, depth: usize) -> f32 {
    call.attrs.float("scale").unwrap_or(1.0 / (depth as f32).sqrt())
}

/// Gives attention on joined heads four axes, and replaces attention that no kernel runs by what it means.
pub(crate) fn decompose(flat: &mut Flat, keep: &dyn Fn(&Flat, &FlatCall) -> bool) {
    for call in std::mem::take(&mut flat.calls) {
        if !(call.is("Attention") && split_heads(&mut Rewriter { flat, call: &call }).is_some()) {
            flat.calls.push(call);
        }
    }
    for call in std::mem::take(&mut flat.calls) {
        let n_calls = flat.calls.len();
        let stays = !call.is("Attention") || keep(flat, &call);
        if stays || expand(&mut Rewriter { flat, call: &call }).is_none() {
            flat.calls.truncate(n_calls);
            flat.calls.push(call);
        }
    }
}

/// Reshapes and transposes the operands of a call, three axes with the heads joined, around attention on four axes. They are
/// views. `None`, with nothing added, when it has other operands.
fn split_heads(to: &mut Rewriter) -> Option<()> {
    let call = to.call;
    let n_heads = |name: &str| call.attrs.int(name).and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    let mut shapes = Vec::new();
    for at in 0..3 {
        let shape = to.shape(call.input(at)?);
        let [batch, positions, width] = shape[..] else { return None };
        let heads = n_heads(if at == 0 { "q_num_heads" } else { "kv_num_heads" }).filter(|heads| width % heads == 0)?;
        shapes.push([batch, positions, heads, width / heads]);
    }
    let mut inputs = call.inputs.clone();
    for (at, shape) in shapes.iter().enumerate() {
        let split = to.reshaped(call.input(at)?, shape);
        inputs[at] = Some(to.transposed(split, &[0, 2, 1, 3]));
    }
    let element = to.element(call.outputs[0]);
    let turned = to.value(element, &[shapes[0][0], shapes[0][2], shapes[0][1], shapes[2][3]]);
    let mut outputs = call.outputs.clone();
    outputs[0] = turned;
    to.flat.calls.push(FlatCall { inputs, outputs, ..call.clone() });
    let split = to.transposed(turned, &[0, 2, 1, 3]);
    to.push("Reshape", vec![], &[split], call.outputs[0]);
    Some(())
}

fn expand(to: &mut Rewriter) -> Option<()> {
    let call = to.call;
    let four = |to: &Rewriter, value: ValueAt| <[usize; 4]>::try_from(to.shape(value)).ok();
    let query = call.input(0)?;
    let ([batch, heads, n_queries, depth], element) = (four(to, query)?, to.element(query));
    // What is stored narrow is computed with in single precision, as a kernel for the whole would do.
    let wide = if matches!(element, Element::Float16 | Element::Bfloat16) { Element::Float } else { element };
    let mut operands = vec![to.cast(query, wide)];
    for at in [1, 2] {
        let mut value = call.input(at)?;
        if let Some(past) = call.input(at + 3) {
            let ([a, b, before, d], [_, _, now, _]) = (four(to, past)?, four(to, value)?);
            let element = to.element(value);
            let axis = vec![("axis", Attr::Int(2))];
            value = to.add("Concat", axis, &[past, value], element, &[a, b, before + now, d]);
        }
        if let Some(&present) = call.outputs.get(at) {
            to.push("Identity", vec![], &[value], present);
        }
        let [a, shared, positions, width] = four(to, value)?;
        if shared == 0 || heads % shared != 0 {
            return None;
        }
        if shared != heads {
            let apart = to.reshaped(value, &[a, shared, 1, positions, width]);
            let element = to.element(value);
            let spread = to.add("Expand", vec![], &[apart], element, &[a, shared, heads / shared, positions, width]);
            value = to.reshaped(spread, &[a, heads, positions, width]);
        }
        operands.push(to.cast(value, wide));
    }
    let [query, key, value] = operands[..] else { return None };
    let n_keys = to.shape(key)[2];
    let shape = [batch, heads, n_queries, n_keys];
    let turned = to.transposed(key, &[0, 1, 3, 2]);
    let products = to.add("MatMul", vec![], &[query, turned], wide, &shape);
    let factor = to.number(wide, f64::from(scale(call, depth)))?;
    let raw = to.pointwise("Mul", &[products, factor]);
    let mut capped = raw;
    if let Some(cap) = call.attrs.float("softcap").filter(|&cap| cap > 0.0) {
        let cap = to.number(wide, f64::from(cap))?;
        let share = to.pointwise("Div", &[raw, cap]);
        let share = to.pointwise("Tanh", &[share]);
        capped = to.pointwise("Mul", &[share, cap]);
    }
    let mut logits = capped;
    let mut sight = in_sight(to, &shape)?;
    if let Some(mask) = call.input(3) {
        let mask = whole_mask(to, mask, n_keys, wide)?;
        match to.element(mask) {
            Element::Bool => sight = both(to, sight, mask),
            _ => {
                let mask = to.cast(mask, wide);
                logits = to.pointwise("Add", &[logits, mask]);
            }
        }
    }
    if let Some(sight) = sight {
        let never = to.number(wide, f64::NEG_INFINITY)?;
        logits = to.add("Where", vec![], &[sight, logits, never], wide, &shape);
    }
    let blind = i64::from(sight.is_some() || call.input(3).is_some());
    let attrs = vec![("axis", Attr::Int(-1)), (BLIND, Attr::Int(blind))];
    let weights = to.add("Softmax", attrs, &[logits], wide, &shape);
    let width = to.shape(value)[3];
    let code = |element: Element| vec![("to", Attr::Int(i64::from(element.code())))];
    if wide == element {
        to.push("MatMul", vec![], &[weights, value], call.outputs[0]);
    } else {
        let result = to.add("MatMul", vec![], &[weights, value], wide, &[batch, heads, n_queries, width]);
        to.push("Cast", code(element), &[result], call.outputs[0]);
    }
    if let Some(&shown) = call.outputs.get(3) {
        let stage =
            *[raw, capped, logits, weights].get(usize::try_from(call.attrs.int("qk_matmul_output_mode")?).ok()?)?;
        to.push("Cast", code(to.element(shown)), &[stage], shown);
    }
    Some(())
}

/// `mask` for all keys: those that it does not reach are out of sight.
fn whole_mask(to: &mut Rewriter, mask: ValueAt, n_keys: usize, wide: Element) -> Option<ValueAt> {
    let shape = to.shape(mask);
    let missing = n_keys.checked_sub(*shape.last()?)?;
    if missing == 0 {
        return Some(mask);
    }
    let is_bool = to.element(mask) == Element::Bool;
    let element = if is_bool { Element::Bool } else { wide };
    let mask = to.cast(mask, element);
    let mut rest = shape.clone();
    *rest.last_mut()? = missing;
    let unseen = Tensor::full(element, &rest, if is_bool { 0.0 } else { f64::NEG_INFINITY }).ok()?;
    let unseen = to.constant(unseen);
    *rest.last_mut()? = n_keys;
    Some(to.add("Concat", vec![("axis", Attr::Int(-1))], &[mask, unseen], element, &rest))
}

fn both(to: &mut Rewriter, a: Option<ValueAt>, b: ValueAt) -> Option<ValueAt> {
    Some(match a {
        Some(a) => to.pointwise("And", &[a, b]),
        None => b,
    })
}

/// Which keys each query may see by causality, windows and the number of keys that are valid; `None` inside when all.
fn in_sight(to: &mut Rewriter, &[batch, _, n_queries, n_keys]: &[usize; 4]) -> Option<Option<ValueAt>> {
    let call = to.call;
    let is_causal = call.attrs.flag("is_causal");
    let window = |name: &str| call.attrs.int(name).filter(|&size| size >= 0);
    let (left, right) = (window("left_window_size"), window("right_window_size"));
    let places = |of: &dyn Fn(i64, i64) -> i64| -> Vec<i64> {
        (0..n_queries * n_keys).map(|at| of((at / n_keys) as i64, (at % n_keys) as i64)).collect()
    };
    let Some(lengths) = call.input(6) else {
        if !is_causal && left.is_none() && right.is_none() {
            return Some(None);
        }
        let before = call.input(4).map_or(0, |past| to.shape(past)[2] as i64);
        let ahead = places(&|query, key| key - query - before);
        let seen: Vec<bool> = ahead
            .iter()
            .map(|&ahead| {
                !(is_causal && ahead > 0)
                    && left.is_none_or(|left| -ahead <= left)
                    && right.is_none_or(|right| ahead <= right)
            })
            .collect();
        let seen = Tensor::from_bools(&[n_queries, n_keys], &seen).ok()?;
        return Some(Some(to.constant(seen)));
    };
    // The last query stands at the last valid key. Each condition says which lengths allow a pair.
    let lengths = to.reshaped(lengths, &[batch, 1, 1, 1]);
    let n = n_queries as i64;
    let mut conditions = vec![("Greater", places(&|_, key| key))];
    if is_causal {
        conditions.push(("GreaterOrEqual", places(&|query, key| key - query + n)));
    }
    if let Some(right) = right {
        conditions.push(("GreaterOrEqual", places(&|query, key| key - query + n - right)));
    }
    if let Some(left) = left {
        conditions.push(("LessOrEqual", places(&|query, key| left + n - query + key)));
    }
    let mut sight = None;
    for (name, bounds) in conditions {
        let bounds = Tensor::from_vec(&[n_queries, n_keys], bounds).ok()?;
        let bounds = to.constant(bounds);
        let holds = to.add(name, vec![], &[lengths, bounds], Element::Bool, &[batch, 1, n_queries, n_keys]);
        sight = both(to, sight, holds);
    }
    Some(sight)
}
