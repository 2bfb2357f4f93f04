//! The kernel runs on the host, a thread for each thread of a block, against attention in double precision.

use super::*;
use crate::tile::tests::{drawn, emulated, numbers};

/// What a mask is stored as, and which of its axes it does not repeat along.
#[derive(Clone, Copy)]
struct MaskForm {
    scalar: Scalar,
    axes: [bool; 4],
    /// What hides a key where the mask adds to scores.
    hides: f32,
}

/// One attention: batch, heads of queries, of keys, numbers of queries and keys, depth.
#[derive(Clone, Copy)]
struct Case {
    sizes: [usize; 6],
    scalar: Scalar,
    mask: Option<MaskForm>,
    form: Form,
}

const PLAIN: Form = Form { scale: 0.7, softcap: 0.0, is_causal: false };
const CAUSAL: Form = Form { is_causal: true, ..PLAIN };

fn case(sizes: [usize; 6], scalar: Scalar, mask: Option<MaskForm>, form: Form) -> Case {
    Case { sizes, scalar, mask, form }
}

fn masked(scalar: Scalar, axes: [bool; 4], hides: f32) -> Option<MaskForm> {
    Some(MaskForm { scalar, axes, hides })
}

/// Queries, keys, values, the mask broadcast, and the result; heads are joined behind positions.
fn views(case: &Case) -> (Vec<View>, Option<View>, View) {
    let [batch, heads, shared, n_queries, n_keys, depth] = case.sizes;
    let mask = case.mask.map(|mask| {
        let whole = [batch, heads, n_queries, n_keys];
        let shape: Vec<usize> = whole.iter().zip(mask.axes).map(|(&size, has)| if has { size } else { 1 }).collect();
        View::dense(3, mask.scalar, &shape, &[0, 1, 2, 3]).broadcast(&whole).expect("it broadcasts")
    });
    let joined =
        |buffer, heads, positions| View::dense(buffer, case.scalar, &[batch, heads, positions, depth], &[0, 2, 1, 3]);
    let values = View::dense(2, case.scalar, &[batch, shared, n_keys, depth], &[0, 1, 2, 3]);
    (vec![joined(0, heads, n_queries), joined(1, shared, n_keys), values], mask, joined(4, heads, n_queries))
}

fn at(view: &View, places: [usize; 4]) -> usize {
    view.offset + places.iter().zip(&view.strides).map(|(place, stride)| place * stride).sum::<usize>()
}

/// A mask as it is stored, and what it adds: every third element hides a key, query 5 sees none, query 7 only late ones.
fn drawn_mask(form: MaskForm, view: &View) -> (Vec<u8>, Vec<f64>) {
    let n_stored =
        view.shape.iter().zip(&view.strides).filter(|(_, stride)| **stride > 0).map(|(size, _)| *size).product();
    let n_keys = view.shape[3];
    let query = |at: usize| if form.axes[2] { at / n_keys % view.shape[2] } else { 0 };
    let hidden = |at: usize| at % 3 == 1 || query(at) == 5 || query(at) == 7 && at % n_keys < 40;
    let stored: Vec<f32> =
        (0..n_stored).map(|at| if hidden(at) { form.hides } else { (at % 7) as f32 / 4.0 }).collect();
    match form.scalar {
        Scalar::Bool => {
            let added = (0..n_stored).map(|at| if hidden(at) { f64::NEG_INFINITY } else { 0.0 });
            ((0..n_stored).map(|at| u8::from(!hidden(at))).collect(), added.collect())
        }
        Scalar::F16 => {
            let bytes: Vec<u8> = stored.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect();
            (bytes.clone(), numbers(Scalar::F16, &bytes))
        }
        Scalar::Bf16 => {
            let bytes: Vec<u8> = stored.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect();
            (bytes.clone(), numbers(Scalar::Bf16, &bytes))
        }
        _ => (stored.iter().flat_map(|x| x.to_le_bytes()).collect(), stored.iter().map(|&x| f64::from(x)).collect()),
    }
}

/// Softmax of scores times values; zeros for a query that sees no key.
fn expected(case: &Case, operands: &[Vec<f64>], mask: Option<(&View, &[f64])>) -> Vec<f64> {
    let [batch, heads, shared, n_queries, n_keys, depth] = case.sizes;
    let (views, _, out) = views(case);
    let Form { scale, softcap, is_causal } = case.form;
    let mut result = vec![0.0; out.count()];
    for (batch, head, query) in
        (0..batch).flat_map(|b| (0..heads).flat_map(move |h| (0..n_queries).map(move |q| (b, h, q))))
    {
        let of_keys = head / (heads / shared);
        let scores: Vec<f64> = (0..n_keys)
            .map(|key| {
                let product = |column| {
                    operands[0][at(&views[0], [batch, head, query, column])]
                        * operands[1][at(&views[1], [batch, of_keys, key, column])]
                };
                let score = (0..depth).map(product).sum::<f64>() * f64::from(scale);
                let cap = f64::from(softcap);
                let score = if cap > 0.0 { cap * (score / cap).tanh() } else { score };
                let added = mask.map_or(0.0, |(view, added)| added[at(view, [batch, head, query, key])]);
                // Masks are added in single precision, where finite ones of -3.4e38 swallow the score.
                let sum = if added < -1e30 { added } else { score + added };
                if is_causal && key > query { f64::NEG_INFINITY } else { sum }
            })
            .collect();
        let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if highest == f64::NEG_INFINITY {
            continue;
        }
        let weights: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
        let total: f64 = weights.iter().sum();
        for column in 0..depth {
            let value = |key: usize| operands[2][at(&views[2], [batch, of_keys, key, column])];
            let sum: f64 = weights.iter().enumerate().map(|(key, weight)| weight * value(key)).sum();
            result[at(&out, [batch, head, query, column])] = sum / total;
        }
    }
    result
}

/// The largest difference from the result in double precision; `None` without a C++ compiler.
fn difference(case: &Case, division: Division) -> Option<f64> {
    let (views, mask, out) = views(case);
    let attention = Attention { views: &views, mask: mask.as_ref(), out: &out, form: case.form };
    let kernel = attention.kernel(division).expect("the division fits");
    let mut drawn: Vec<(Vec<u8>, Vec<f64>)> =
        views.iter().zip(1..).map(|(view, seed)| drawn(case.scalar, view.count(), seed)).collect();
    drawn.extend(case.mask.zip(mask.as_ref()).map(|(form, view)| drawn_mask(form, view)));
    let (bytes, operands): (Vec<_>, Vec<_>) = drawn.into_iter().unzip();
    let found = numbers(case.scalar, &emulated(&kernel, &bytes, out.count() * 2)?);
    let expected = expected(case, &operands, mask.as_ref().map(|mask| (mask, operands[3].as_slice())));
    Some(
        expected
            .iter()
            .zip(&found)
            .map(|(x, y)| (x - y).abs())
            .fold(0.0, |most, x| if x > most || x.is_nan() { x } else { most }),
    )
}

fn check(cases: &[(Case, [usize; 3])]) {
    for (number, (case, [warps, tiles, groups])) in cases.iter().enumerate() {
        let division = Division { warps: *warps, tiles: *tiles, groups: *groups };
        let Some(difference) = difference(case, division) else {
            println!("skipped: no C++ compiler");
            return;
        };
        // Weights and results are rounded, and values are below one.
        let digits = if case.scalar == Scalar::Bf16 { 6e-3 } else { 8e-4 };
        assert!(difference <= digits, "case {number} {:?} {division:?}: {difference}", case.sizes);
    }
}

#[test]
fn attention_is_the_softmax_of_scores_times_values() {
    let (f16, bf16) = (Scalar::F16, Scalar::Bf16);
    let softcapped = Form { softcap: 0.5, ..PLAIN };
    // Scores so far apart that sums are rescaled at later keys.
    let steep = Form { scale: 9.0, ..PLAIN };
    let turned = Form { scale: -0.4, ..PLAIN };
    check(&[
        (case([1, 2, 2, 40, 197, 32], f16, None, PLAIN), [1, 2, 2]),
        (case([1, 1, 1, 33, 197, 16], bf16, None, PLAIN), [1, 2, 1]),
        (case([1, 1, 1, 70, 70, 64], f16, None, PLAIN), [2, 1, 2]),
        (case([1, 1, 1, 17, 300, 16], f16, None, PLAIN), [1, 1, 4]),
        // Several query heads to one of keys.
        (case([2, 4, 2, 16, 50, 48], bf16, None, PLAIN), [1, 1, 1]),
        (case([1, 1, 1, 20, 130, 16], f16, None, softcapped), [1, 1, 1]),
        (case([1, 1, 1, 30, 260, 16], f16, None, steep), [1, 2, 2]),
        (case([1, 1, 1, 20, 40, 128], f16, None, turned), [1, 2, 4]),
        // Sums are combined in two parts of their columns, and keys are brought to two places in turn.
        (case([1, 1, 1, 98, 300, 64], f16, None, PLAIN), [3, 2, 4]),
    ]);
}

#[test]
fn no_query_sees_a_later_key() {
    check(&[
        (case([1, 1, 1, 150, 150, 16], Scalar::F16, None, CAUSAL), [2, 2, 2]),
        (case([1, 1, 1, 100, 197, 16], Scalar::Bf16, None, CAUSAL), [2, 1, 1]),
        (case([1, 1, 1, 140, 60, 16], Scalar::F16, None, CAUSAL), [1, 1, 4]),
    ]);
}

#[test]
fn masks_add_to_scores_or_hide_keys() {
    let (f16, bf16) = (Scalar::F16, Scalar::Bf16);
    let infinity = f32::NEG_INFINITY;
    let (of_keys, of_all) = ([true, false, false, true], [true; 4]);
    let of_queries = [false, false, true, true];
    check(&[
        // The same for all queries, added and of truth; finite ones that hide.
        (case([2, 1, 1, 20, 197, 16], f16, masked(f16, of_keys, infinity), PLAIN), [1, 1, 2]),
        (case([2, 1, 1, 36, 50, 32], bf16, masked(Scalar::Bool, of_keys, 0.0), PLAIN), [1, 2, 1]),
        (case([1, 1, 1, 20, 70, 16], bf16, masked(bf16, of_all, -3.3e38), PLAIN), [1, 1, 4]),
        // One for each query: in pairs, of odd length, of truth, in single precision, together with later keys hidden.
        (case([1, 2, 2, 36, 128, 16], f16, masked(f16, of_all, infinity), PLAIN), [1, 2, 2]),
        (case([1, 2, 1, 36, 67, 16], f16, masked(f16, of_queries, infinity), CAUSAL), [2, 1, 2]),
        (case([2, 2, 2, 20, 66, 16], bf16, masked(Scalar::Bool, of_all, 0.0), PLAIN), [1, 2, 4]),
        (case([1, 1, 1, 20, 66, 16], f16, masked(Scalar::F32, of_all, f32::MIN), PLAIN), [1, 1, 1]),
    ]);
}

#[test]
fn every_division_compiles_for_every_mask() {
    if !crate::Library::Nvrtc.is_present() {
        println!("skipped: NVRTC is absent");
        return;
    }
    let (of_keys, of_all) = ([true, false, false, true], [true; 4]);
    let masks =
        [None, masked(Scalar::F16, of_keys, 0.0), masked(Scalar::Bool, of_all, 0.0), masked(Scalar::Bf16, of_all, 0.0)];
    let mut number = 0;
    for (mask, division) in masks.into_iter().flat_map(|mask| DIVISIONS.map(|division| (mask, division))) {
        let (scalar, depth) = [(Scalar::F16, 64), (Scalar::Bf16, 48), (Scalar::F16, 128)][number % 3];
        let form = [PLAIN, CAUSAL, Form { softcap: 30.0, ..PLAIN }][number / 3 % 3];
        let case = case([8, 12, 12, 197, 197, depth], scalar, mask, form);
        let (views, mask, out) = views(&case);
        let attention = Attention { views: &views, mask: mask.as_ref(), out: &out, form };
        if !division.fits(attention.sizes()) {
            continue;
        }
        let kernel = attention.kernel(division).expect("it fits");
        crate::compile(&kernel.source, [80, 90, 120][number % 3]).unwrap_or_else(|problem| panic!("{problem:?}"));
        number += 1;
    }
    assert!(number > 2 * DIVISIONS.len());
}

#[test]
fn divisions_fill_a_device_and_share_keys_where_there_are_enough_queries() {
    let best = |heads, positions, depth| {
        let sizes = Sizes { heads, queries: positions, keys: positions, depth, is_causal: false, kept: 0, seen: 0 };
        Division::candidates(sizes)[0]
    };
    // One text has few queries: warps share the keys of some of them. Of many texts each warp has more queries, and all keys.
    assert!(best(12, 128, 64).groups > 1);
    assert_eq!(best(32 * 12, 128, 64), Division { warps: 4, tiles: 2, groups: 1 });
    // Small blocks of queries skip more of the keys that are hidden from them.
    let causal = Sizes { heads: 384, queries: 128, keys: 128, depth: 64, is_causal: true, kept: 0, seen: 0 };
    assert_eq!(Division::candidates(causal)[0], Division { warps: 4, tiles: 1, groups: 1 });
    assert_eq!(Division::candidates(causal).len(), CANDIDATES);
    // One block for each processor of a large device.
    assert_eq!(best(12, 1024, 64), Division { warps: 3, tiles: 2, groups: 4 });
    // Heads of any depth have a division, with the longest mask in shared memory.
    for depth in (16..=128).step_by(16) {
        for (keys, kept) in [(1, 0), (MOST_KEPT, MOST_KEPT * 4), (1 << 20, 0)] {
            let sizes = Sizes { heads: 1, queries: keys, keys, depth, is_causal: true, kept, seen: 16 };
            assert!(!Division::candidates(sizes).is_empty(), "{sizes:?}");
        }
    }
}
