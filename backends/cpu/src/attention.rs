//! Scaled dot-product attention: two products for each head, and the softmax between them in cache.

use crate::epilogue::Epilogue;
use crate::gemm::{Left, Packed, Run, Starts, multiply};
use crate::math;
use crate::reduce::{largest_of_row, sum_of_row};
use crate::simd::{AlignedBuffer, vectorized};
use rayon::prelude::*;

/// How the rows of all heads lie in a slice: row `r` of head `h` of item `b` starts at `b * item + h * head + r * row`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Elements between two items of the batch.
    pub item: usize,
    /// Elements between two heads.
    pub head: usize,
    /// Elements between two rows.
    pub row: usize,
}

/// The extents of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Items of the batch.
    pub batch: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values, which divide those of the queries.
    pub kv_heads: usize,
    /// Rows of the queries of one head.
    pub n_queries: usize,
    /// Rows of the keys and of the values of one head.
    pub n_keys: usize,
    /// Width of queries and keys.
    pub width: usize,
    /// Width of values.
    pub v_width: usize,
}

/// What is added to the scores before the softmax: element `[b, h, q, k]` stands at the product with `strides`.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a> {
    /// The addends.
    pub data: &'a [f32],
    /// Elements between neighbours along batch, heads, queries and keys; 0 where the mask is repeated.
    pub strides: [usize; 4],
}

/// `softmax(queries keys' * scale + mask) values`, written as `[batch, heads, n_queries, v_width]`. With `causal` a query
/// sees the keys up to its own position. A query that sees no key gives zeros.
///
/// # Panics
/// When a slice is shorter than the shape and its rows ask for.
pub fn attention(
    shape: &AttentionShape,
    scale: f32,
    causal: bool,
    [queries, keys, values]: [(&[f32], Rows); 3],
    mask: Option<Mask<'_>>,
    out: &mut [f32],
) {
    let AttentionShape { heads, kv_heads, n_queries, n_keys, width, v_width, .. } = *shape;
    assert_eq!(out.len(), shape.batch * heads * n_queries * v_width, "one output per query and column");
    if out.is_empty() {
        return;
    }
    let whole = |len| [Run { offset: 0, len }];
    out.par_chunks_mut(n_queries * v_width).enumerate().for_each(|(at, out)| {
        let (item, head) = (at / heads, at % heads);
        let start = |rows: Rows, head: usize| item * rows.item + head * rows.head;
        let kv_head = head / (heads / kv_heads);
        let (k, v) = (&keys.0[start(keys.1, kv_head)..], &values.0[start(values.1, kv_head)..]);
        let packed_keys = Packed::new(1, width, n_keys, |_, range, panel_width, panel| {
            for (n, key) in range.enumerate() {
                for (at, value) in k[key * keys.1.row..][..width].iter().enumerate() {
                    panel[at * panel_width + n] = *value;
                }
            }
        });
        let q = &queries.0[start(queries.1, head)..];
        let starts = Starts::Strided(queries.1.row);
        let left = Left { data: q, n_rows: n_queries, starts, runs: &whole(width), group_stride: 0 };
        let mut scores = AlignedBuffer::zeroed(n_queries * n_keys);
        multiply(&left, &packed_keys, &Epilogue::default(), &mut scores);
        for (query, row) in scores.chunks_exact_mut(n_keys.max(1)).enumerate() {
            let mask = mask.map(|Mask { data, strides: [of_item, of_head, of_query, of_key] }| {
                (&data[item * of_item + head * of_head + query * of_query..], of_key)
            });
            let seen = if causal { n_keys.min(query + 1) } else { n_keys };
            vectorized(
                #[inline(always)]
                || weights(row, scale, seen, mask),
            );
        }
        let packed_values = Packed::new(1, n_keys, v_width, |_, range, panel_width, panel| {
            for (key, line) in panel.chunks_exact_mut(panel_width).enumerate() {
                line[..range.len()].copy_from_slice(&v[key * values.1.row..][range.clone()]);
            }
        });
        let starts = Starts::Strided(n_keys);
        let left = Left { data: &scores, n_rows: n_queries, starts, runs: &whole(n_keys), group_stride: 0 };
        multiply(&left, &packed_values, &Epilogue::default(), out);
    });
}

/// Turns the products of one query with all keys into weights; those from `seen` on get none.
#[inline(always)]
fn weights(row: &mut [f32], scale: f32, seen: usize, mask: Option<(&[f32], usize)>) {
    let (row, unseen) = row.split_at_mut(seen);
    unseen.fill(0.0);
    match mask {
        None => row.iter_mut().for_each(|score| *score *= scale),
        Some((mask, 0)) => row.iter_mut().for_each(|score| *score = *score * scale + mask[0]),
        Some((mask, _)) => row.iter_mut().zip(mask).for_each(|(score, mask)| *score = *score * scale + mask),
    }
    let top = largest_of_row(row);
    if top == f32::NEG_INFINITY {
        row.fill(0.0);
        return;
    }
    row.iter_mut().for_each(|score| *score = math::exp(*score - top));
    let factor = 1.0 / sum_of_row(row);
    row.iter_mut().for_each(|weight| *weight *= factor);
}
