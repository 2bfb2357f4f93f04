//! Views and shapes.

use super::{Attr, Tensor, case, check, ints, noise};

#[test]
fn views_agree_with_the_reference() {
    let x = || noise(1, &[2, 3, 1, 5]);
    for shape in [&[2, 15][..], &[-1, 5], &[0, 0, -1], &[30]] {
        check(case("Reshape", &[], &[x(), ints(shape)]), 0.0);
    }
    for axis in [0, 1, 4, -1] {
        check(case("Flatten", &[("axis", Attr::Int(axis))], &[x()]), 0.0);
    }
    check(case("Squeeze", &[], &[x(), ints(&[2])]), 0.0);
    check(case("Squeeze", &[], &[x()]), 0.0);
    check(case("Unsqueeze", &[], &[x(), ints(&[0, -1])]), 0.0);
    check(case("Shape", &[], &[x()]), 0.0);
    check(case("Shape", &[("start", Attr::Int(1)), ("end", Attr::Int(-1))], &[x()]), 0.0);
    check(case("Size", &[], &[x()]), 0.0);
}

#[test]
fn casts_to_f32_agree_with_the_reference() {
    let to = [("to", Attr::Int(1))];
    check(case("Cast", &to, &[noise(1, &[2, 3, 4, 5])]), 0.0);
    check(case("Cast", &to, &[Tensor::vector(&[1i64, -2, 1 << 40])]), 0.0);
    check(case("Cast", &to, &[Tensor::from_bools(&[2], &[true, false]).expect("a shape")]), 0.0);
}
