//! Data movement, for several element types.

use super::{Attr, Case, Tensor, case, check, ints, list, noise};

/// The same numbers in three element types: f32, i64, u8.
fn any(shape: &[usize]) -> [Tensor; 3] {
    let n = shape.iter().product::<usize>();
    [
        noise(1, shape),
        Tensor::from_vec(shape, (0..n as i64).collect()).expect("a shape"),
        Tensor::from_vec(shape, (0..n as u8).collect()).expect("a shape"),
    ]
}

#[test]
fn transpositions_agree_with_the_reference() {
    for x in any(&[2, 3, 4, 5]) {
        for perm in [[0, 2, 3, 1], [0, 3, 1, 2], [3, 2, 1, 0], [0, 1, 3, 2], [1, 0, 2, 3]] {
            check(case("Transpose", &[("perm", list(&perm))], std::slice::from_ref(&x)), 0.0);
        }
        check(case("Transpose", &[], std::slice::from_ref(&x)), 0.0);
    }
}

#[test]
fn concatenations_and_splits_agree_with_the_reference() {
    for axis in [0, 1, -1] {
        for x in any(&[2, 3, 4, 5]) {
            check(case("Concat", &[("axis", Attr::Int(axis))], &[x.clone(), x.clone(), x]), 0.0);
        }
    }
    for x in any(&[2, 6, 4, 5]) {
        let attrs = vec![("axis", Attr::Int(1)), ("num_outputs", Attr::Int(4))];
        check(Case { op: "Split", attrs, inputs: vec![Some(x.clone())], n_outputs: 4 }, 0.0);
        let inputs = vec![Some(x), Some(ints(&[1, 0, 4]))];
        check(Case { op: "Split", attrs: vec![("axis", Attr::Int(-1))], inputs, n_outputs: 3 }, 0.0);
    }
}

#[test]
fn slices_agree_with_the_reference_for_any_step_and_clamping() {
    for x in any(&[2, 6, 4, 5]) {
        for (starts, ends, axes, steps) in [
            (&[1][..], &[4][..], &[1][..], &[1][..]),
            (&[-1, 0], &[-100, 100], &[3, 1], &[-2, 3]),
            (&[5, i64::MIN], &[i64::MAX, i64::MAX], &[-3, -1], &[1, i64::MAX]),
            (&[3], &[1], &[0], &[1]),
        ] {
            check(case("Slice", &[], &[x.clone(), ints(starts), ints(ends), ints(axes), ints(steps)]), 0.0);
        }
    }
}

#[test]
fn gathers_expansions_and_paddings_agree_with_the_reference() {
    for x in any(&[2, 3, 1, 5]) {
        for axis in [0, 1, -1] {
            let indices = Tensor::from_vec(&[2, 2], vec![0i64, -1, 1, 0]).expect("a shape");
            check(case("Gather", &[("axis", Attr::Int(axis))], &[x.clone(), indices]), 0.0);
            check(case("Gather", &[("axis", Attr::Int(axis))], &[x.clone(), Tensor::scalar(1i64)]), 0.0);
        }
        check(case("Expand", &[], &[x.clone(), ints(&[3, 1, 1, 4, 1])]), 0.0);
        check(case("Expand", &[], &[x.clone(), ints(&[1])]), 0.0);
        check(case("Pad", &[], &[x.clone(), ints(&[0, 1, 2, 0, 1, 0, 0, 3])]), 0.0);
    }
    let value = Tensor::scalar(-3.0f32);
    check(case("Pad", &[], &[noise(1, &[2, 3]), ints(&[0, 1, 2, 0]), value.clone()]), 0.0);
    check(case("Pad", &[], &[noise(1, &[2, 3]), ints(&[1, 2]), value, ints(&[-1])]), 0.0);
}
