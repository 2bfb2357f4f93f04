//! Reductions and softmax.

use super::{Attr, case, check, ints, noise};

#[test]
fn reductions_agree_with_the_reference_over_any_axes() {
    let x = || noise(1, &[2, 3, 4, 5]);
    for op in
        ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare"]
    {
        for axes in [&[2, 3][..], &[-1], &[1], &[0, 2], &[0, 1, 2, 3]] {
            for keep in [0, 1] {
                check(case(op, &[("keepdims", Attr::Int(keep))], &[x(), ints(axes)]), 1e-5);
            }
        }
        check(case(op, &[], &[x()]), 1e-5);
    }
}

#[test]
fn softmax_agrees_with_the_reference_along_any_axis() {
    for op in ["Softmax", "LogSoftmax"] {
        for axis in [-1, 0, 1, 2] {
            check(case(op, &[("axis", Attr::Int(axis))], &[noise(1, &[2, 3, 4, 5])]), 1e-6);
        }
    }
}
