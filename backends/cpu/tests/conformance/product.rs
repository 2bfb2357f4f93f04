//! Convolution, pooling and matrix multiplication.

use super::{Attr, case, check, float, list, noise};

#[test]
fn convolutions_of_every_kind_agree_with_the_reference() {
    let with_bias = |x: &[usize], w: &[usize]| [noise(1, x), noise(2, w), noise(3, &w[..1])];
    check(case("Conv", &[], &with_bias(&[2, 3, 6, 5], &[4, 3, 1, 1])), 1e-5);
    let attrs = [("pads", list(&[1, 0, 2, 1])), ("strides", list(&[2, 1])), ("dilations", list(&[1, 2]))];
    check(case("Conv", &attrs, &with_bias(&[2, 3, 9, 8], &[5, 3, 3, 2])), 1e-5);
    check(case("Conv", &[("group", Attr::Int(2))], &with_bias(&[1, 4, 6, 5], &[6, 2, 3, 3])), 1e-5);
    check(case("Conv", &[("group", Attr::Int(20))], &with_bias(&[1, 20, 6, 5], &[20, 1, 3, 3])), 1e-5);
    check(case("Conv", &[("pads", list(&[2, 1]))], &with_bias(&[2, 3, 9], &[4, 3, 4])), 1e-5);
    check(case("Conv", &[], &with_bias(&[1, 2, 4, 5, 6], &[3, 2, 2, 3, 2])), 1e-5);
}

#[test]
fn pools_agree_with_the_reference() {
    let x = || noise(1, &[2, 3, 8, 7]);
    let kernel = ("kernel_shape", list(&[3, 2]));
    for (strides, pads) in [([1, 1], [0, 0, 0, 0]), ([2, 3], [1, 0, 1, 1]), ([2, 2], [0, 1, 2, 0])] {
        for ceil in [0, 1] {
            let attrs =
                [kernel.clone(), ("strides", list(&strides)), ("pads", list(&pads)), ("ceil_mode", Attr::Int(ceil))];
            check(case("MaxPool", &attrs, &[x()]), 1e-6);
            for count in [0, 1] {
                let attrs = [&attrs[..], &[("count_include_pad", Attr::Int(count))]].concat();
                check(case("AveragePool", &attrs, &[x()]), 1e-6);
            }
        }
    }
    check(case("MaxPool", &[kernel, ("dilations", list(&[2, 3]))], &[x()]), 1e-6);
    check(case("GlobalAveragePool", &[], &[x()]), 1e-6);
    check(case("GlobalMaxPool", &[], &[x()]), 1e-6);
}

#[test]
fn local_response_normalisation_agrees_with_the_reference() {
    for size in [1, 2, 5] {
        let attrs = [("size", Attr::Int(size)), ("alpha", float(0.2)), ("beta", float(0.75)), ("bias", float(2.0))];
        check(case("LRN", &attrs, &[noise(1, &[2, 7, 3, 4])]), 1e-6);
    }
}

#[test]
fn products_agree_with_the_reference_however_batches_broadcast() {
    let shapes: [[&[usize]; 2]; 6] = [
        [&[7, 5], &[5, 9]],
        [&[2, 7, 5], &[5, 9]],
        [&[2, 3, 7, 5], &[2, 3, 5, 9]],
        [&[3, 7, 5], &[2, 1, 5, 9]],
        [&[7, 5], &[2, 5, 9]],
        [&[1, 5], &[5, 130]],
    ];
    for [left, right] in shapes {
        check(case("MatMul", &[], &[noise(1, left), noise(2, right)]), 1e-5);
    }
}

#[test]
fn gemm_agrees_with_the_reference_for_every_transposition_and_addend() {
    for (left, right, a, b) in
        [([4, 5], [5, 6], 0, 0), ([5, 4], [5, 6], 1, 0), ([4, 5], [6, 5], 0, 1), ([5, 4], [6, 5], 1, 1)]
    {
        let attrs = [("transA", Attr::Int(a)), ("transB", Attr::Int(b))];
        check(case("Gemm", &attrs, &[noise(1, &left), noise(2, &right)]), 1e-5);
        for addend in [&[6][..], &[1, 6], &[4, 6], &[4, 1], &[]] {
            check(case("Gemm", &attrs, &[noise(1, &left), noise(2, &right), noise(3, addend)]), 1e-5);
        }
    }
}
