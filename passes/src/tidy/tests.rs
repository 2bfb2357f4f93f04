use super::*;
use crate::canonical::canonical;
use crate::pass::Pipeline;
use crate::testing::{call, check, drawn, graph_of, list, model_of, only, operators};
use eutectic_ir::{Model, Tensor};

fn tidy17() -> Pass {
    tidy(17)
}

#[test]
fn a_zero_bias_is_dropped_and_another_is_kept() {
    for (bias, n_inputs) in [(0.0, 2), (0.5, 3)] {
        let (mut graph, x) = graph_of(&["n", "2", "5"]);
        let w = drawn(&mut graph, &[3, 2, 2]);
        let bias = graph.add_weight("", Tensor::full(Element::Float, &[3], bias).expect("small"));
        let y = call(&mut graph, "Conv", &[], &[x, w, bias]);
        let model = check(&model_of(graph, y), tidy17);
        assert_eq!(only(&model, "Conv").inputs().len(), n_inputs);
    }
}

/// x of n rows and 3 columns times a matrix, plus a constant of `shape`, on the left or on the right.
fn affine(shape: &[usize], left: bool) -> Model {
    let (mut graph, x) = graph_of(&["n", "3"]);
    let (w, c) = (drawn(&mut graph, &[3, 4]), drawn(&mut graph, shape));
    let product = call(&mut graph, "MatMul", &[], &[x, w]);
    let terms = if left { [c, product] } else { [product, c] };
    let y = call(&mut graph, "Add", &[], &terms);
    model_of(graph, y)
}

#[test]
fn a_product_of_matrices_plus_a_constant_is_a_gemm() {
    for shape in [&[][..], &[1], &[4], &[1, 4], &[1, 1]] {
        for left in [false, true] {
            assert_eq!(operators(&check(&affine(shape, left), tidy17)), "Gemm", "{shape:?}");
        }
    }
}

#[test]
fn a_constant_that_enlarges_the_product_is_added() {
    for shape in [&[2, 1, 4][..], &[1, 1, 4]] {
        assert_eq!(operators(&check(&affine(shape, false), tidy17)), "MatMul Add", "{shape:?}");
    }
}

#[test]
fn a_product_that_others_read_stays() {
    let mut model = affine(&[4], false);
    let product = only(&model, "MatMul").output();
    model.graph.add_output("product", product);
    assert_eq!(operators(&check(&model, tidy17)), "MatMul Add");
}

#[test]
fn transpositions_of_the_operands_become_attributes() {
    let (mut graph, x) = graph_of(&["3", "n"]);
    let w = graph.add_input("w", Some(crate::testing::ty(Element::Float, &["4", "3"])), None);
    let c = drawn(&mut graph, &[4]);
    let [x, w] = [x, w].map(|matrix| call(&mut graph, "Transpose", &[("perm", list(&[1, 0]))], &[matrix]));
    let product = call(&mut graph, "MatMul", &[], &[x, w]);
    let y = call(&mut graph, "Add", &[], &[product, c]);
    let model = check(&model_of(graph, y), tidy17);
    let gemm = only(&model, "Gemm");
    assert_eq!(operators(&model), "Gemm");
    assert_eq!((gemm.attrs.int("transA"), gemm.attrs.int("transB")), (Some(1), Some(1)));
}

#[test]
fn a_transposition_that_others_read_stays() {
    let (mut graph, x) = graph_of(&["3", "n"]);
    let (w, c) = (drawn(&mut graph, &[3, 4]), drawn(&mut graph, &[4]));
    let x = call(&mut graph, "Transpose", &[("perm", list(&[1, 0]))], &[x]);
    let product = call(&mut graph, "MatMul", &[], &[x, w]);
    let y = call(&mut graph, "Add", &[], &[product, c]);
    let mut model = model_of(graph, y);
    model.graph.add_output("transposed", x);
    let model = check(&model, tidy17);
    assert_eq!(only(&model, "Gemm").attrs.int("transA"), Some(0));
    assert!(operators(&model).contains("Transpose"));
}

#[test]
fn what_canonical_form_takes_apart_comes_back() {
    let (mut graph, x) = graph_of(&["n", "3"]);
    let (w, c) = (drawn(&mut graph, &[3, 4]), drawn(&mut graph, &[4]));
    let y = call(&mut graph, "Gemm", &[], &[x, w, c]);
    let model = model_of(graph, y);
    let mut changed = model.clone();
    Pipeline(vec![canonical(), tidy(17)]).run(&mut changed).expect("no failure");
    assert_eq!(operators(&changed), operators(&model));
}

#[test]
fn an_old_operator_set_keeps_the_sum() {
    let mut model = affine(&[4], false);
    Pipeline(vec![tidy(6)]).run(&mut model).expect("no failure");
    assert_eq!(operators(&model), "MatMul Add");
}
