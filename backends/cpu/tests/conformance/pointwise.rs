//! Pointwise operators.

use super::{Tensor, case, check, float, noise, positive};
use eutectic_ir::attr::Attr;

#[test]
fn unary_functions_agree_with_the_reference() {
    let x = || noise(1, &[2, 3, 4, 5]);
    let plain = ["Relu", "Sigmoid", "HardSwish", "Mish", "Softplus", "Softsign", "Tanh", "Erf", "Exp", "Neg", "Abs"];
    for op in plain.into_iter().chain(["Sign", "Floor", "Ceil", "Round", "Sin", "Cos", "Gelu"]) {
        check(case(op, &[], &[x()]), 1e-6);
    }
    for op in ["Log", "Sqrt", "Reciprocal"] {
        check(case(op, &[], &[positive(1, &[2, 3, 4, 5])]), 1e-6);
    }
    check(case("LeakyRelu", &[("alpha", float(0.3))], &[x()]), 1e-6);
    check(case("Elu", &[("alpha", float(0.7))], &[x()]), 1e-6);
    check(case("Selu", &[], &[x()]), 1e-6);
    check(case("Celu", &[("alpha", float(0.7))], &[x()]), 1e-6);
    check(case("ThresholdedRelu", &[("alpha", float(0.7))], &[x()]), 1e-6);
    check(case("HardSigmoid", &[("alpha", float(0.3)), ("beta", float(0.4))], &[x()]), 1e-6);
    check(case("Gelu", &[("approximate", Attr::String("tanh".into()))], &[x()]), 1e-6);
    check(case("Clip", &[], &[x(), Tensor::scalar(-0.5f32), Tensor::scalar(1.0f32)]), 1e-6);
}

#[test]
fn binary_operators_agree_with_the_reference_however_they_broadcast() {
    let shapes: [[&[usize]; 2]; 6] = [
        [&[2, 3, 4, 5], &[2, 3, 4, 5]],
        [&[2, 3, 4, 5], &[3, 1, 1]],
        [&[2, 3, 4, 5], &[2, 3, 1, 1]],
        [&[2, 3, 1, 1], &[2, 3, 4, 5]],
        [&[2, 3, 4, 5], &[5]],
        [&[1, 3, 4, 5], &[6, 2, 1, 4, 1]],
    ];
    for shapes in shapes {
        for op in ["Add", "Sub", "Mul", "Div", "PRelu"] {
            if op != "PRelu" || shapes[1].len() <= 4 && shapes[0][3] == 5 {
                check(case(op, &[], &[noise(1, shapes[0]), positive(2, shapes[1])]), 1e-6);
            }
        }
        check(case("Pow", &[], &[positive(1, shapes[0]), noise(2, shapes[1])]), 1e-5);
    }
    for exponent in [2.0f32, 3.0, 0.5, -1.0] {
        check(case("Pow", &[], &[positive(1, &[2, 3, 4, 5]), Tensor::scalar(exponent)]), 1e-6);
    }
}

#[test]
fn operators_of_many_inputs_agree_with_the_reference() {
    for op in ["Sum", "Mean", "Max", "Min"] {
        check(case(op, &[], &[noise(1, &[2, 3, 4, 5])]), 1e-6);
        check(case(op, &[], &[noise(1, &[2, 3, 4, 5]), noise(2, &[3, 1, 1]), noise(3, &[2, 3, 4, 5])]), 1e-6);
    }
}

#[test]
fn comparisons_and_choices_agree_with_the_reference() {
    for op in ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"] {
        check(case(op, &[], &[noise(1, &[2, 3, 4, 5]), noise(2, &[3, 1, 1])]), 0.0);
        check(case(op, &[], &[noise(1, &[2, 3, 4, 5]), noise(1, &[2, 3, 4, 5])]), 0.0);
    }
    let mask = Tensor::from_bools(&[3, 1, 5], &(0..15).map(|i| i % 4 < 2).collect::<Vec<_>>()).expect("a shape");
    let inputs = [mask.clone(), noise(1, &[2, 3, 4, 5]), Tensor::scalar(-9.0f32)];
    check(case("Where", &[], &inputs), 0.0);
    let longs = Tensor::vector(&[1i64, 2, 3, 4, 5]);
    check(case("Where", &[], &[mask, longs, Tensor::scalar(7i64)]), 0.0);
}
