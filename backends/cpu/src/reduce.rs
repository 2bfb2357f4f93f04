//! Reductions over any axes, and softmax.

use crate::math;
use crate::parallel::{for_each_chunk, for_each_pair};
use crate::simd::vectorized;

/// How elements are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reduce {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    /// Sum of absolute values.
    L1,
    /// Root of the sum of squares.
    L2,
    SumSquare,
}

/// Reduces `input` of shape `extents` over the axes where `reduced` is true; `out` has the others in order.
///
/// # Panics
/// When the lengths do not fit.
pub fn reduce(kind: Reduce, extents: &[usize], reduced: &[bool], input: &[f32], out: &mut [f32]) {
    assert_eq!(extents.len(), reduced.len(), "one flag per axis");
    assert_eq!(input.len(), extents.iter().product::<usize>(), "one input per index");
    let count: usize = extents.iter().zip(reduced).filter(|(_, r)| **r).map(|(n, _)| n).product();
    // Merge neighbouring axes of one kind.
    let mut groups: Vec<(usize, bool)> = Vec::new();
    for (&extent, &flag) in extents.iter().zip(reduced) {
        match groups.last_mut() {
            Some((merged, same)) if *same == flag => *merged *= extent,
            _ => groups.push((extent, flag)),
        }
    }
    // One reduced group at a time, innermost first: what is left of it is an axis less.
    let mut owned: Option<Vec<f32>> = None;
    let mut first = true;
    while let Some(at) = groups.iter().rposition(|(_, flag)| *flag) {
        let outer: usize = groups[..at].iter().map(|(n, _)| n).product();
        let inner: usize = groups[at + 1..].iter().map(|(n, _)| n).product();
        let mut next = vec![0.0; outer * inner];
        step(kind, first, groups[at].0, inner, owned.as_deref().unwrap_or(input), &mut next);
        first = false;
        owned = Some(next);
        groups.remove(at);
    }
    match owned {
        Some(values) => out.copy_from_slice(&values),
        // Nothing is reduced, but the functions of single elements still apply.
        None => step(kind, true, 1, 1, input, out),
    }
    match kind {
        Reduce::Mean => out.iter_mut().for_each(|x| *x /= count as f32),
        Reduce::L2 => out.iter_mut().for_each(|x| *x = x.sqrt()),
        _ => {}
    }
}

/// Reduces the middle axis of `[outer, count, inner]`. The first step also maps elements: squares, absolute values.
fn step(kind: Reduce, first: bool, count: usize, inner: usize, input: &[f32], out: &mut [f32]) {
    if inner == 0 {
        return;
    }
    // Enough elements per task to be worth starting it.
    let per_task = (16384 / (count * inner).max(1)).max(1);
    for_each_chunk(out, per_task * inner, count, |task_at, out| {
        let input = &input[task_at * per_task * count * inner..];
        vectorized(
            #[inline(always)]
            || match (kind, first) {
                (Reduce::L1, true) => fold(
                    count,
                    inner,
                    input,
                    out,
                    0.0,
                    f32::abs,
                    #[inline(always)]
                    |a, b| a + b,
                ),
                (Reduce::L2 | Reduce::SumSquare, true) => {
                    fold(
                        count,
                        inner,
                        input,
                        out,
                        0.0,
                        #[inline(always)]
                        |x| x * x,
                        #[inline(always)]
                        |a, b| a + b,
                    );
                }
                (Reduce::Sum | Reduce::Mean | Reduce::L1 | Reduce::L2 | Reduce::SumSquare, _) => {
                    fold(
                        count,
                        inner,
                        input,
                        out,
                        0.0,
                        #[inline(always)]
                        |x| x,
                        #[inline(always)]
                        |a, b| a + b,
                    );
                }
                (Reduce::Prod, _) => fold(
                    count,
                    inner,
                    input,
                    out,
                    1.0,
                    #[inline(always)]
                    |x| x,
                    #[inline(always)]
                    |a, b| a * b,
                ),
                (Reduce::Max, _) => {
                    fold(
                        count,
                        inner,
                        input,
                        out,
                        f32::NEG_INFINITY,
                        #[inline(always)]
                        |x| x,
                        larger,
                    );
                }
                (Reduce::Min, _) => {
                    fold(
                        count,
                        inner,
                        input,
                        out,
                        f32::INFINITY,
                        #[inline(always)]
                        |x| x,
                        smaller,
                    );
                }
            },
        );
    });
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if a < b || a.is_nan() { a } else { b }
}

#[inline(always)]
fn fold(
    count: usize,
    inner: usize,
    input: &[f32],
    out: &mut [f32],
    start: f32,
    map: impl Fn(f32) -> f32,
    combine: impl Fn(f32, f32) -> f32,
) {
    if inner == 1 {
        for (at, slot) in out.iter_mut().enumerate() {
            *slot = fold_row(&input[at * count..][..count], start, &map, &combine);
        }
        return;
    }
    for (outer, line) in out.chunks_exact_mut(inner).enumerate() {
        line.fill(start);
        for at in 0..count {
            for (slot, &x) in line.iter_mut().zip(&input[(outer * count + at) * inner..][..inner]) {
                *slot = combine(*slot, map(x));
            }
        }
    }
}

/// Folds a row in 32 interleaved lanes: the compiler may not reorder a sum by itself, and short chains round less.
#[inline(always)]
pub(crate) fn fold_row(row: &[f32], start: f32, map: impl Fn(f32) -> f32, combine: impl Fn(f32, f32) -> f32) -> f32 {
    const LANES: usize = 32;
    let mut lanes = [start; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = combine(*lane, map(x));
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = combine(*lane, map(x));
    }
    let mut width = LANES / 2;
    while width > 0 {
        for at in 0..width {
            lanes[at] = combine(lanes[at], lanes[at + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// The sum of a row.
#[inline(always)]
pub(crate) fn sum_of_row(row: &[f32]) -> f32 {
    fold_row(
        row,
        0.0,
        #[inline(always)]
        |x| x,
        #[inline(always)]
        |a, b| a + b,
    )
}

/// The largest of a row; minus infinity when it is empty.
#[inline(always)]
pub(crate) fn largest_of_row(row: &[f32]) -> f32 {
    fold_row(
        row,
        f32::NEG_INFINITY,
        #[inline(always)]
        |x| x,
        larger,
    )
}

/// Softmax, or its logarithm, over the middle axis of `[outer, count, inner]`.
///
/// # Panics
/// When the lengths do not fit.
pub fn softmax(logarithm: bool, count: usize, inner: usize, input: &[f32], out: &mut [f32]) {
    assert_eq!(input.len(), out.len(), "one output per input");
    if out.is_empty() {
        return;
    }
    assert_eq!(out.len() % (count * inner), 0, "whole rows");
    let per_task = (4096 / (count * inner)).max(1) * count * inner;
    for_each_pair(out, input, per_task, 4, |_, out, input| {
        vectorized(
            #[inline(always)]
            || {
                for (out, input) in out.chunks_exact_mut(count * inner).zip(input.chunks_exact(count * inner)) {
                    if inner == 1 {
                        softmax_row(logarithm, input, out);
                    } else {
                        softmax_lines(logarithm, inner, input, out);
                    }
                }
            },
        );
    });
}

#[inline(always)]
fn softmax_row(logarithm: bool, input: &[f32], out: &mut [f32]) {
    let top = largest_of_row(input);
    for (slot, &x) in out.iter_mut().zip(input) {
        *slot = math::exp(x - top);
    }
    let sum = sum_of_row(out);
    if logarithm {
        // Not `x - (top + log)`: that sum would round away digits of large inputs.
        let log = sum.ln();
        for (slot, &x) in out.iter_mut().zip(input) {
            *slot = x - top - log;
        }
    } else {
        let factor = 1.0 / sum;
        for slot in out {
            *slot *= factor;
        }
    }
}

/// The same where the elements of a row are `inner` apart: whole lines at a time.
#[inline(always)]
fn softmax_lines(logarithm: bool, inner: usize, input: &[f32], out: &mut [f32]) {
    let mut top = vec![f32::NEG_INFINITY; inner];
    for line in input.chunks_exact(inner) {
        for (top, &x) in top.iter_mut().zip(line) {
            *top = larger(*top, x);
        }
    }
    let mut sum = vec![0.0; inner];
    for (out, line) in out.chunks_exact_mut(inner).zip(input.chunks_exact(inner)) {
        for (((slot, &x), top), sum) in out.iter_mut().zip(line).zip(&top).zip(&mut sum) {
            let shifted = x - top;
            let power = math::exp(shifted);
            *sum += power;
            *slot = if logarithm { shifted } else { power };
        }
    }
    for out in out.chunks_exact_mut(inner) {
        for (slot, &sum) in out.iter_mut().zip(&sum) {
            *slot = if logarithm { *slot - sum.ln() } else { *slot / sum };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, noise};
    use crate::window::for_each_index;

    #[test]
    fn every_reduction_agrees_with_its_definition_over_every_set_of_axes() {
        let extents = [3, 4, 2, 5];
        let input = noise(1, 120);
        let kinds: [(Reduce, f64, fn(f64, f64) -> f64, fn(f64, f64) -> f64); 8] = [
            (Reduce::Sum, 0.0, |a, x| a + x, |a, _| a),
            (Reduce::Mean, 0.0, |a, x| a + x, |a, n| a / n),
            (Reduce::Max, f64::NEG_INFINITY, f64::max, |a, _| a),
            (Reduce::Min, f64::INFINITY, f64::min, |a, _| a),
            (Reduce::Prod, 1.0, |a, x| a * x, |a, _| a),
            (Reduce::L1, 0.0, |a, x| a + x.abs(), |a, _| a),
            (Reduce::L2, 0.0, |a, x| a + x * x, |a, _| a.sqrt()),
            (Reduce::SumSquare, 0.0, |a, x| a + x * x, |a, _| a),
        ];
        for (kind, start, combine, finish) in kinds {
            for set in 0..16u32 {
                let reduced: Vec<bool> = (0..4).map(|axis| set >> axis & 1 == 1).collect();
                let kept: Vec<usize> = (0..4).map(|axis| if reduced[axis] { 1 } else { extents[axis] }).collect();
                let mut want = vec![start; kept.iter().product()];
                let mut at = 0;
                for_each_index(&extents, |index| {
                    let out_at = index.iter().zip(&kept).fold(0, |at, (i, n)| at * n + i % n);
                    want[out_at] = combine(want[out_at], input[at] as f64);
                    at += 1;
                });
                let count = 120 / want.len();
                let want: Vec<f32> = want.iter().map(|&x| finish(x, count as f64) as f32).collect();
                let mut out = vec![f32::NAN; want.len()];
                reduce(kind, &extents, &reduced, &input, &mut out);
                assert_close(&out, &want, 2e-6);
            }
        }
    }

    #[test]
    fn reducing_nothing_gives_the_neutral_element() {
        for (kind, neutral) in [(Reduce::Sum, 0.0), (Reduce::Prod, 1.0), (Reduce::Max, f32::NEG_INFINITY)] {
            let mut out = [7.0; 3];
            reduce(kind, &[3, 0], &[false, true], &[], &mut out);
            assert_eq!(out, [neutral; 3]);
        }
    }

    #[test]
    fn softmax_agrees_with_its_definition_along_any_axis_and_for_large_inputs() {
        for (outer, count, inner) in [(3, 100, 1), (2, 7, 5), (1, 1, 4), (70, 33, 1)] {
            let input: Vec<f32> = noise(1, outer * count * inner).iter().map(|x| 100.0 * x + 500.0).collect();
            for logarithm in [false, true] {
                let mut want = vec![0.0; input.len()];
                for o in 0..outer {
                    for i in 0..inner {
                        let at = |k: usize| (o * count + k) * inner + i;
                        let top = (0..count).map(|k| input[at(k)] as f64).fold(f64::MIN, f64::max);
                        let sum: f64 = (0..count).map(|k| (input[at(k)] as f64 - top).exp()).sum();
                        for k in 0..count {
                            let log = input[at(k)] as f64 - top - sum.ln();
                            want[at(k)] = if logarithm { log } else { log.exp() } as f32;
                        }
                    }
                }
                let mut out = vec![f32::NAN; input.len()];
                softmax(logarithm, count, inner, &input, &mut out);
                assert_close(&out, &want, 1e-6);
            }
        }
    }

    #[test]
    fn a_masked_softmax_gives_masked_elements_no_weight() {
        let mut out = [0.0; 3];
        softmax(false, 3, 1, &[1.0, f32::NEG_INFINITY, 1.0], &mut out);
        assert_eq!(out, [0.5, 0.0, 0.5]);
    }
}
