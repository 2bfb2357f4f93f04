//! Sequence operators that carry a state: linear attention, step by step, and causal convolution.

use super::builder::Builder;
use super::call::{Arg, Call};
use super::convolution::convolution;
use super::operand::{Operand, Typed};
use super::refusal::Refusal;
use super::terms::Term;
use super::{Lowered, Lowering};
use crate::layer::{ActivationKind, ElementWiseKind, MatrixKind, UnaryKind};
use eutectic_ir::{Attr, Attrs, Dim};

/// The operators of this family.
pub(super) const OPS: &[Lowering] =
    &[("LinearAttention", linear_attention), ("CausalConvWithState", causal_convolution)];

/// Steps that are written out.
const MOST_STEPS: i64 = 512;

fn known(dim: &Dim, what: &str) -> Result<i64, Refusal> {
    dim.as_known().ok_or_else(|| Refusal::new(format!("its {what} is dynamic")).instead(format!("a constant {what}")))
}

/// `S = exp(g) S + k (beta (v - exp(g) S' k))'`, `o = scale S' q`, with the terms that the update rule has.
fn linear_attention(builder: &mut Builder, call: &Call) -> Lowered {
    let (query, key, value) = (builder.input(call, 0)?, builder.input(call, 1)?, builder.input(call, 2)?);
    if [&query, &key, &value].iter().any(|x| x.rank() != 3) {
        return Err(Refusal::new("its inputs have not three axes"));
    }
    let heads =
        |name: &str| call.attrs.int(name).filter(|&n| n > 0).ok_or_else(|| Refusal::new(format!("it has no {name}")));
    let (q_heads, heads) = (heads("q_num_heads")?, heads("kv_num_heads")?);
    let length = known(&query.shape[1], "length")?;
    if length > MOST_STEPS || length == 0 {
        return Err(Refusal::new(format!("it has {length} steps")).instead(format!("1 to {MOST_STEPS}")));
    }
    let (key_width, value_width) = (known(&key.shape[2], "width")? / heads, known(&value.shape[2], "width")? / heads);
    let scale = match call.float("scale", 0.0) {
        0.0 => 1.0 / (key_width as f64).sqrt(),
        scale => f64::from(scale),
    };
    let batch = query.shape[0].clone();
    let shape = |sizes: [i64; 3]| -> Vec<Dim> { std::iter::once(batch.clone()).chain(sizes.map(Dim::known)).collect() };
    // Each step as matrices over batch and heads.
    let step = |builder: &mut Builder, x: &Typed, at: i64, sizes: [i64; 3]| -> Result<Typed, Refusal> {
        let row = builder.part(x, 1, Term::Known(at), Term::Known(1))?;
        builder.reshape_from(&row, &shape(sizes), &[x])
    };
    let decay = call.given(4).map(|decay| builder.tensor(&decay.value)).transpose()?;
    let beta = call.given(5).map(|beta| builder.tensor(&beta.value)).transpose()?;
    let mut state = match call.given(3) {
        Some(past) => {
            let past = builder.tensor(&past.value)?;
            builder.cast(&past, query.data_type)
        }
        None => {
            let zero = builder.scalar(0.0, query.data_type, 4)?;
            let terms =
                [builder.extent(&query, 0)?, Term::Known(heads), Term::Known(key_width), Term::Known(value_width)];
            builder.expand(&zero, &shape([heads, key_width, value_width]), &terms)?
        }
    };
    let mut steps = Vec::new();
    for at in 0..length {
        let keys = step(builder, &key, at, [heads, key_width, 1])?;
        let mut values = step(builder, &value, at, [heads, 1, value_width])?;
        if let Some(decay) = &decay {
            let width = known(&decay.shape[2], "decay")? / heads;
            let gate = step(builder, decay, at, [heads, width, 1])?;
            let gate = builder.unary(UnaryKind::Exp, &gate);
            state = builder.pair(ElementWiseKind::Product, &state, &gate)?;
        }
        if let Some(beta) = &beta {
            let of_heads = known(&beta.shape[2], "beta")?;
            let beta = step(builder, beta, at, [of_heads, 1, 1])?;
            let retrieved = builder.matmul(&keys, MatrixKind::Transpose, &state, MatrixKind::Plain)?;
            let rest = builder.pair(ElementWiseKind::Subtract, &values, &retrieved)?;
            values = builder.pair(ElementWiseKind::Product, &rest, &beta)?;
        }
        let added = builder.pair(ElementWiseKind::Product, &keys, &values)?;
        state = builder.pair(ElementWiseKind::Sum, &state, &added)?;
        let queries = step(builder, &query, at, [heads, q_heads / heads, key_width])?;
        let read = builder.matmul(&queries, MatrixKind::Plain, &state, MatrixKind::Plain)?;
        let read = builder.with(ElementWiseKind::Product, &read, scale)?;
        let row = [batch.clone(), Dim::known(1), Dim::known(q_heads * value_width)];
        steps.push(builder.reshape_from(&read, &row, &[&query])?);
    }
    let output = builder.concat(&steps, 1)?;
    let mut results: Vec<Operand> = vec![output.into(), state.into()];
    results.truncate(call.used.len());
    Ok(results)
}

/// Each channel convolved with its own kernel over its past and present; the state is the end of both.
fn causal_convolution(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let kernel = call.value(1)?.shape();
    if x.rank() != 3 || kernel.len() != 3 {
        return Err(Refusal::new("its input or its kernel has not three axes"));
    }
    let (channels, before) = (known(&kernel[0], "number of channels")?, known(&kernel[2], "kernel")? - 1);
    let padded = match (before, call.given(3)) {
        (0, _) => x.clone(),
        (_, Some(past)) => {
            let past = builder.tensor(&past.value)?;
            builder.concat(&[past, x.clone()], 2)?
        }
        (_, None) => {
            let zero = builder.scalar(0.0, x.data_type, 3)?;
            let terms = [builder.extent(&x, 0)?, Term::Known(channels), Term::Known(before)];
            let shape = [x.shape[0].clone(), Dim::known(channels), Dim::known(before)];
            let past = builder.expand(&zero, &shape, &terms)?;
            builder.concat(&[past, x.clone()], 2)?
        }
    };
    let mut attrs = Attrs::new();
    attrs.set("group", Attr::Int(channels));
    let data = Arg { value: padded.clone().into(), content: None };
    let args = vec![Some(data), call.given(1).cloned(), call.given(2).cloned()];
    let inner = Call { attrs: &attrs, args, types: Vec::new(), used: vec![true] };
    let y = convolution(builder, &inner)?.into_iter().next().ok_or("it has no result")?;
    let mut y = builder.tensor(&y)?;
    if matches!(call.string("activation", "none"), "silu" | "swish") {
        let gate = builder.activation(ActivationKind::Sigmoid, &y, None, None);
        y = builder.pair(ElementWiseKind::Product, &y, &gate)?;
    }
    let mut results: Vec<Operand> = vec![y.into()];
    if call.used.len() > 1 {
        if before == 0 {
            return Err(Refusal::new("its state is empty").instead("a kernel of two elements at least"));
        }
        let length = builder.extent(&padded, 2)?;
        let start = builder.sub(&length, &Term::Known(before))?;
        results.push(builder.part(&padded, 2, start, Term::Known(before))?.into());
    }
    Ok(results)
}
