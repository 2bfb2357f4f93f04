//! Attention, spelled as products and a softmax.
//!
//! TensorRT's own attention layer has kernels for half precision and some head sizes only; what is written out here builds
//! for every type, and the builder recognises it where it has a kernel.

use super::builder::Builder;
use super::call::Call;
use super::operand::{Operand, Typed, data_type};
use super::refusal::Refusal;
use super::terms::Term;
use super::view::Cut;
use super::{Lowered, Lowering};
use crate::layer::{ActivationKind, ElementWiseKind, Layer, MatrixKind, SliceMode};
use crate::spec::DataType;
use eutectic_ir::{Attrs, Dim, Element, Tensor};

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[("Attention", attention)];

fn attention(builder: &mut Builder, call: &Call) -> Lowered {
    let (query, key, value) = (builder.input(call, 0)?, builder.input(call, 1)?, builder.input(call, 2)?);
    let is_flat = query.rank() == 3;
    let (query, key, value) = if is_flat {
        let heads = |name: &str| {
            call.attrs.int(name).filter(|&n| n > 0).ok_or_else(|| Refusal::new(format!("it has no {name}")))
        };
        let (of_query, of_key) = (heads("q_num_heads")?, heads("kv_num_heads")?);
        (
            split_heads(builder, &query, of_query)?,
            split_heads(builder, &key, of_key)?,
            split_heads(builder, &value, of_key)?,
        )
    } else {
        (query, key, value)
    };
    if [&query, &key, &value].iter().any(|part| part.rank() != 4) {
        return Err(Refusal::new("its inputs have neither three nor four axes"));
    }
    let (key, past) = with_past(builder, call, 4, &key)?;
    let (value, _) = with_past(builder, call, 5, &value)?;
    if let Some(y) = of_the_library(builder, call, &query, &key, &value)? {
        let y = if is_flat { join_heads(builder, &y)? } else { y };
        let mut results: Vec<Operand> = vec![y.into(), key.into(), value.into()];
        results.truncate(call.used.len());
        return Ok(results);
    }
    let mut scores = scores_of(builder, call.attrs, &query, &key)?;
    let mode = call.int("qk_matmul_output_mode", 0);
    let mut shown = (mode == 0).then(|| scores.clone());
    let cap = call.float("softcap", 0.0);
    if cap > 0.0 {
        let shrunk = builder.with(ElementWiseKind::Product, &scores, 1.0 / f64::from(cap))?;
        let bent = builder.activation(ActivationKind::Tanh, &shrunk, None, None);
        scores = builder.with(ElementWiseKind::Product, &bent, f64::from(cap))?;
    }
    if mode == 1 {
        shown = Some(scores.clone());
    }
    scores = masked(builder, call, scores, &key, past)?;
    if mode == 2 {
        shown = Some(scores.clone());
    }
    let precision =
        call.attrs.int("softmax_precision").and_then(|code| i32::try_from(code).ok()).and_then(Element::from_code);
    let inner = precision.map_or(Ok(scores.data_type), data_type)?;
    let wide = builder.cast(&scores, inner);
    let weights = builder.softmax(&wide, 3);
    let weights = builder.cast(&weights, query.data_type);
    if mode == 3 {
        shown = Some(weights.clone());
    }
    let y = weighed(builder, &weights, &value)?;
    let y = if is_flat { join_heads(builder, &y)? } else { y };
    let mut results: Vec<Operand> = vec![y.into(), key.into(), value.into()];
    results.extend(shown.map(Operand::from));
    results.truncate(call.used.len());
    Ok(results)
}

/// The library's own layer of attention, for a plain call whose keys are as wide as its values.
///
/// It saves a kernel a block where nothing is masked (TensorRT for RTX 1.7, ViT-B/16 in single precision: 185 kernels, 197 written
/// out). With a mask it costs one (BERT: 171, 159 written out).
fn of_the_library(
    builder: &mut Builder,
    call: &Call,
    query: &Typed,
    key: &Typed,
    value: &Typed,
) -> Result<Option<Typed>, Refusal> {
    let has_window = ["left_window_size", "right_window_size"].iter().any(|name| call.int(name, -1) >= 0);
    let shows_scores = call.used.get(3).is_some_and(|used| *used);
    let is_masked = call.given(3).is_some() || call.given(6).is_some() || call.attrs.flag("is_causal") || has_window;
    let is_bent = call.float("softcap", 0.0) > 0.0 || call.attrs.int("softmax_precision").is_some();
    if is_masked || is_bent || shows_scores || group_heads(query, key)? || key.shape != value.shape {
        return Ok(None);
    }
    let (scaled, keys) = scaled(builder, call.attrs, query, key)?;
    let layer = Layer::Attention { query: scaled.at, key: keys.at, value: value.at, mask: None, causal: false };
    Ok(Some(builder.typed("attention", layer, query.data_type, query.shape.clone())))
}

/// Query and key by the root of the scale each, so that their product stays within half precision.
fn scaled(builder: &mut Builder, attrs: &Attrs, query: &Typed, key: &Typed) -> Result<(Typed, Typed), Refusal> {
    let scale = match (attrs.float("scale"), query.shape[3].as_known()) {
        (Some(scale), _) => f64::from(scale),
        (None, Some(width)) => 1.0 / (width as f64).sqrt(),
        (None, None) => return Err(Refusal::new("the width of its heads is dynamic").instead("attribute scale")),
    };
    let root = scale.abs().sqrt();
    let query = builder.with(ElementWiseKind::Product, query, root * scale.signum())?;
    Ok((query, builder.with(ElementWiseKind::Product, key, root)?))
}

/// `scale query key'`, a row of scores for each query of each head.
pub(super) fn scores_of(builder: &mut Builder, attrs: &Attrs, query: &Typed, key: &Typed) -> Result<Typed, Refusal> {
    let grouped = group_heads(query, key)?;
    let (scaled, keys) = scaled(builder, attrs, query, key)?;
    let keys = if grouped { builder.unsqueeze(&keys, &[2])? } else { keys };
    let scaled = if grouped { group_by_key(builder, &scaled, key)? } else { scaled };
    let scores = builder.matmul(&scaled, MatrixKind::Plain, &keys, MatrixKind::Transpose)?;
    let full = [query.shape[0].clone(), query.shape[1].clone(), query.shape[2].clone(), key.shape[2].clone()];
    regroup(builder, &scores, &full)
}

/// `weights value` for each head.
pub(super) fn weighed(builder: &mut Builder, weights: &Typed, value: &Typed) -> Result<Typed, Refusal> {
    let grouped = group_heads(weights, value)?;
    let values = if grouped { builder.unsqueeze(value, &[2])? } else { value.clone() };
    let rows = if grouped { group_by_key(builder, weights, value)? } else { weights.clone() };
    let y = builder.matmul(&rows, MatrixKind::Plain, &values, MatrixKind::Plain)?;
    let full = [weights.shape[0].clone(), weights.shape[1].clone(), weights.shape[2].clone(), value.shape[3].clone()];
    regroup(builder, &y, &full)
}

/// `[batch, sequence, heads width]` as `[batch, heads, sequence, width]`.
fn split_heads(builder: &mut Builder, x: &Typed, heads: i64) -> Result<Typed, Refusal> {
    let width = x.shape[2].exact_div(&Dim::known(heads));
    let width = width.ok_or_else(|| Refusal::new(format!("{heads} heads do not divide {}", x.shape[2])))?;
    let shape = [x.shape[0].clone(), x.shape[1].clone(), Dim::known(heads), width];
    let split = builder.reshape_from(x, &shape, &[x])?;
    Ok(builder.transpose(&split, &[0, 2, 1, 3]))
}

/// The reverse of [`split_heads`].
fn join_heads(builder: &mut Builder, x: &Typed) -> Result<Typed, Refusal> {
    let moved = builder.transpose(x, &[0, 2, 1, 3]);
    let width = moved.shape[2].mul(&moved.shape[3]).ok_or("its extents overflow")?;
    let shape = [moved.shape[0].clone(), moved.shape[1].clone(), width];
    builder.reshape_from(&moved, &shape, &[x])
}

/// Keys or values after those of the cache, and how many the cache has.
fn with_past(builder: &mut Builder, call: &Call, index: usize, now: &Typed) -> Result<(Typed, Term), Refusal> {
    match call.given(index) {
        Some(past) => {
            let past = builder.tensor(&past.value)?;
            let count = builder.extent(&past, 2)?;
            Ok((builder.concat(&[past, now.clone()], 2)?, count))
        }
        None => Ok((now.clone(), Term::Known(0))),
    }
}

/// Whether several heads of the query share one of the keys. Errors: they don't divide, or it is not known.
fn group_heads(query: &Typed, key: &Typed) -> Result<bool, Refusal> {
    if query.shape[1] == key.shape[1] {
        return Ok(false);
    }
    match (query.shape[1].as_known(), key.shape[1].as_known()) {
        (Some(of_query), Some(of_key)) if of_key > 0 && of_query.rem_euclid(of_key) == 0 => Ok(true),
        _ => Err(Refusal::new(format!("{} heads of the query for {} of the keys", query.shape[1], key.shape[1]))),
    }
}

/// `[batch, heads, ..]` as `[batch, heads of the keys, heads per key, ..]`, so that the product broadcasts.
fn group_by_key(builder: &mut Builder, x: &Typed, key: &Typed) -> Result<Typed, Refusal> {
    let shared = x.shape[1].exact_div(&key.shape[1]).ok_or("its heads do not divide")?;
    let shape = [x.shape[0].clone(), key.shape[1].clone(), shared, x.shape[2].clone(), x.shape[3].clone()];
    builder.reshape_from(x, &shape, &[x, key])
}

/// The reverse of [`group_by_key`].
fn regroup(builder: &mut Builder, x: &Typed, shape: &[Dim]) -> Result<Typed, Refusal> {
    if x.rank() == 4 {
        return Ok(x.clone());
    }
    builder.reshape_from(x, shape, &[x])
}

/// Scores with minus infinity where a query must not look.
fn masked(builder: &mut Builder, call: &Call, scores: Typed, key: &Typed, past: Term) -> Result<Typed, Refusal> {
    let mut scores = scores;
    let lowest = builder.scalar(f64::NEG_INFINITY, scores.data_type, 4)?;
    if let Some(mask) = call.given(3) {
        let columns = mask.value.shape().last().cloned();
        let is_full = columns.as_ref() == Some(&key.shape[2]);
        let is_truth = mask.value.data_type()? == DataType::Bool;
        if is_full && is_truth {
            scores = builder.select(&mask.value, &scores.into(), &lowest.clone().into())?;
        } else {
            let mut bias = builder.tensor(&mask.value)?;
            if is_truth {
                let zero = builder.scalar(0.0, scores.data_type, 4)?;
                bias = builder.select(&bias.into(), &zero.into(), &lowest.clone().into())?;
            }
            if !is_full {
                bias = extended(builder, &bias, key)?;
            }
            scores = builder.pair(ElementWiseKind::Sum, &scores, &bias)?;
        }
    }
    if let Some(sight) = sight(builder, call, &scores, past)? {
        scores = builder.select(&sight, &scores.into(), &lowest.into())?;
    }
    Ok(scores)
}

/// A bias for every key: those behind the end of the given one are out of sight.
fn extended(builder: &mut Builder, bias: &Typed, key: &Typed) -> Result<Typed, Refusal> {
    let rank = bias.rank();
    let mut cut =
        Cut { start: vec![Term::Known(0); rank], size: builder.sizes(bias)?, stride: vec![Term::Known(1); rank] };
    let mut shape = bias.shape.clone();
    (cut.size[rank - 1], shape[rank - 1]) = (builder.extent(key, 2)?, key.shape[2].clone());
    let fill = builder.scalar(f64::NEG_INFINITY, bias.data_type, 0)?;
    builder.slice(bias, &cut, SliceMode::Fill, Some(fill.at), shape)
}

/// Which keys a query may look at, apart from the mask; `None` when all of them.
///
/// With `ahead` the distance of a key from the query's own place, a causal query sees those up to 0, a window those within its
/// sizes; keys behind the valid length of a cache are unseen.
fn sight(builder: &mut Builder, call: &Call, scores: &Typed, past: Term) -> Result<Option<Operand>, Refusal> {
    let bound = |name: &str| Some(call.int(name, -1)).filter(|&size| size >= 0);
    let left = bound("left_window_size");
    let right = if call.attrs.flag("is_causal") { Some(0) } else { bound("right_window_size") };
    let lengths = call.given(6);
    if left.is_none() && right.is_none() && lengths.is_none() {
        return Ok(None);
    }
    let extents = (scores.shape[2].as_size(), scores.shape[3].as_size());
    if let (None, (Some(rows), Some(columns)), Term::Known(past)) = (lengths, extents, past) {
        let sees = |row: usize, column: usize| {
            let ahead = column as i64 - row as i64 - past;
            right.is_none_or(|right| ahead <= right) && left.is_none_or(|left| -ahead <= left)
        };
        let all = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let seen: Vec<bool> = all.map(|(row, column)| sees(row, column)).collect();
        let mask = Tensor::from_bools(&[rows, columns], &seen).map_err(|error| error.to_string())?;
        return Ok(Some(builder.weight("", mask).into()));
    }
    let (rows, columns) = (builder.extent(scores, 2)?, builder.extent(scores, 3)?);
    let queries = builder.count_up(&rows, &scores.shape[2])?;
    let queries = builder.unsqueeze(&queries, &[0, 1, 3])?;
    let keys = builder.count_up(&columns, &scores.shape[3])?;
    let keys = builder.unsqueeze(&keys, &[0, 1, 2])?;
    let mut seen = Vec::new();
    let offset = match lengths {
        None => {
            let past = builder.term(&past)?;
            builder.unsqueeze(&past, &[0, 1, 2])?
        }
        Some(lengths) => {
            let lengths = builder.tensor(&lengths.value)?;
            let lengths = builder.unsqueeze(&lengths, &[1, 2, 3])?;
            seen.push(builder.pair(ElementWiseKind::Less, &keys, &lengths)?);
            let rows = builder.term(&rows)?;
            let rows = builder.unsqueeze(&rows, &[0, 1, 2])?;
            builder.pair(ElementWiseKind::Subtract, &lengths, &rows)?
        }
    };
    let places = builder.pair(ElementWiseKind::Sum, &queries, &offset)?;
    let ahead = builder.pair(ElementWiseKind::Subtract, &keys, &places)?;
    if let Some(right) = right {
        seen.push(builder.with(ElementWiseKind::Less, &ahead, (right + 1) as f64)?);
    }
    if let Some(left) = left {
        seen.push(builder.with(ElementWiseKind::Greater, &ahead, (-left - 1) as f64)?);
    }
    let mut all = None;
    for condition in seen {
        all = Some(match all {
            None => condition,
            Some(all) => builder.pair(ElementWiseKind::And, &all, &condition)?,
        });
    }
    Ok(all.map(Operand::from))
}
