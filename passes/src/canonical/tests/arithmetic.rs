use super::*;
use crate::testing::{drawn, ty};

fn flags(transposes_a: i64, transposes_b: i64, alpha: f32, beta: f32) -> Vec<(&'static str, Attr)> {
    let floats = [("alpha", Attr::Float(alpha)), ("beta", Attr::Float(beta))];
    let ints = [("transA", Attr::Int(transposes_a)), ("transB", Attr::Int(transposes_b))];
    floats.into_iter().chain(ints).collect()
}

#[test]
fn a_gemm_becomes_a_product_and_a_sum() {
    let (mut graph, x) = graph_of(&["n", "3"]);
    let (w, c) = (drawn(&mut graph, &[3, 4]), drawn(&mut graph, &[4]));
    let y = call(&mut graph, "Gemm", &[], &[x, w, c]);
    assert_eq!(operators(&check(&model_of(graph, y), canonical)), "MatMul Add");
}

#[test]
fn a_gemm_says_what_its_attributes_mean() {
    let (mut graph, x) = graph_of(&["3", "n"]);
    let (w, c) = (drawn(&mut graph, &[4, 3]), drawn(&mut graph, &[1, 4]));
    let y = call(&mut graph, "Gemm", &flags(1, 1, 0.5, 2.0), &[x, w, c]);
    let model = check(&model_of(graph, y), canonical);
    let mut found: Vec<String> = operators(&model).split(' ').map(String::from).collect();
    found.sort();
    assert_eq!(found, ["Add", "MatMul", "Mul", "Mul", "Transpose", "Transpose"]);
}

#[test]
fn a_gemm_without_third_input_is_a_product() {
    for (n_inputs, beta) in [(2, 3.0), (3, 0.0)] {
        let (mut graph, x) = graph_of(&["n", "3"]);
        let (w, c) = (drawn(&mut graph, &[3, 4]), drawn(&mut graph, &[4]));
        let y = call(&mut graph, "Gemm", &flags(0, 0, 1.0, beta), &[x, w, c][..n_inputs]);
        assert_eq!(operators(&check(&model_of(graph, y), canonical)), "MatMul");
    }
}

#[test]
fn n_ary_operators_become_chains() {
    for (op, pair) in [("Sum", "Add"), ("Max", "Max"), ("Min", "Min")] {
        let (mut graph, x) = graph_of(&["n", "3"]);
        let others = [drawn(&mut graph, &[3]), drawn(&mut graph, &[1, 1]), drawn(&mut graph, &[1, 3])];
        let y = call(&mut graph, op, &[], &[x, others[0], others[1], others[2]]);
        assert_eq!(operators(&check(&model_of(graph, y), canonical)), [pair; 3].join(" "));
    }
}

#[test]
fn n_ary_operators_of_one_input_are_that_input() {
    for op in ["Sum", "Max", "Min", "Mean"] {
        let (mut graph, x) = graph_of(&["n", "3"]);
        let y = call(&mut graph, op, &[], &[x]);
        let y = call(&mut graph, "Relu", &[], &[y]);
        assert_eq!(operators(&check(&model_of(graph, y), canonical)), "Relu", "{op}");
    }
}

#[test]
fn an_identity_between_input_and_output_leaves_the_interface() {
    let (mut graph, x) = graph_of(&["n", "3"]);
    let y = call(&mut graph, "Identity", &[], &[x]);
    let model = check(&model_of(graph, y), canonical);
    assert_eq!((operators(&model).as_str(), model.graph.outputs()[0].name.as_str()), ("", "y"));
}

#[test]
fn dropout_goes_in_inference_and_stays_where_it_trains_or_its_mask_is_read() {
    let dropout = |mode: Option<Tensor>, reads_mask: bool| {
        let (mut graph, x) = graph_of(&["n", "3"]);
        let ratio = graph.add_weight("", Tensor::scalar(0.5f32));
        let mode = mode.map(|mode| graph.add_weight("", mode));
        let id = node(&mut graph, "Dropout", &[], &[Some(x), Some(ratio), mode], 2);
        let [kept, mask] = [0, 1].map(|at| graph.node(id).outputs()[at]);
        let mut model = model_of(graph, kept);
        if reads_mask {
            model.graph.add_output("mask", mask);
        }
        canonical_model(&mut model);
        operators(&model)
    };
    let truth = |value| Tensor::from_bools(&[], &[value]).expect("one");
    assert_eq!(dropout(None, false), "");
    assert_eq!(dropout(Some(truth(false)), false), "");
    assert_eq!(dropout(Some(truth(true)), false), "Dropout");
    assert_eq!(dropout(None, true), "Dropout");
}

#[test]
fn a_cast_to_the_type_of_a_tensor_names_the_type() {
    let (mut graph, x) = graph_of(&["n", "3"]);
    let like = graph.add_input("like", Some(ty(Element::Int64, &["1"])), None);
    let y = call(&mut graph, "CastLike", &[], &[x, like]);
    let model = check(&model_of(graph, y), canonical);
    assert_eq!(only(&model, "Cast").attrs.int("to"), Some(i64::from(Element::Int64.code())));
}

#[test]
fn reductions_name_their_axes() {
    let noop = ("noop_with_empty_axes", Attr::Int(1));
    for (axes, attrs, expected) in [
        (None, vec![], Some(vec![0, 1, 2])),
        (Some(vec![]), vec![], Some(vec![0, 1, 2])),
        (Some(vec![-1, 1]), vec![], Some(vec![1, 2])),
        (Some(vec![-1]), vec![noop.clone()], Some(vec![2])),
        (None, vec![noop.clone()], None),
    ] {
        let (mut graph, x) = graph_of(&["2", "3", "4"]);
        let axes = axes.map(|axes: Vec<i64>| ints(&mut graph, &axes));
        let id = node(&mut graph, "ReduceMean", &attrs, &[Some(x), axes], 1);
        let y = graph.node(id).output();
        let model = check(&model_of(graph, y), canonical);
        let reduce = only(&model, "ReduceMean");
        match expected {
            Some(expected) => {
                assert_eq!(ints_of(&model, reduce, 1), expected);
                assert_eq!(reduce.attrs.int("noop_with_empty_axes"), Some(0));
            }
            None => assert_eq!(reduce.input(1), None),
        }
    }
}

#[test]
fn a_sequence_of_parts_becomes_a_split() {
    for (split, keepdims, position, expected) in [
        (Some(Tensor::scalar(2i64)), 1, -1, "Split"),
        (Some(Tensor::vector(&[1i64, 4])), 0, 1, "Split"),
        (None, 0, 3, "Split Squeeze"),
        (None, 1, -5, "Split"),
    ] {
        let (mut graph, x) = graph_of(&["n", "5"]);
        let split = split.map(|split| graph.add_weight("", split));
        let attrs = [("axis", Attr::Int(-1)), ("keepdims", Attr::Int(keepdims))];
        let id = node(&mut graph, "SplitToSequence", &attrs, &[Some(x), split], 1);
        let parts = graph.node(id).output();
        let position = graph.add_weight("", Tensor::scalar(position));
        let y = call(&mut graph, "SequenceAt", &[], &[parts, position]);
        let mut model = model_of(graph, y);
        assert!(canonical_model(&mut model) > 0);
        assert_eq!(operators(&model), expected);
        assert_eq!(canonical_model(&mut model), 0);
    }
}

#[test]
fn a_sequence_that_the_graph_shows_becomes_its_tensors() {
    let at = |position: i64| {
        let (mut graph, x) = graph_of(&["n", "5"]);
        let negative = call(&mut graph, "Neg", &[], &[x]);
        let parts = call(&mut graph, "SequenceConstruct", &[], &[x, negative]);
        let position = graph.add_weight("", Tensor::scalar(position));
        let y = call(&mut graph, "SequenceAt", &[], &[parts, position]);
        let mut model = model_of(graph, y);
        canonical_model(&mut model);
        crate::dce::sweep(&mut model.graph);
        operators(&model)
    };
    assert_eq!((at(0).as_str(), at(-1).as_str()), ("", "Neg"));
    for (new_axis, expected) in [(0, "Concat"), (1, "Unsqueeze Unsqueeze Concat")] {
        let (mut graph, x) = graph_of(&["n", "5"]);
        let parts = call(&mut graph, "SequenceConstruct", &[], &[x, x]);
        let attrs = [("axis", Attr::Int(-1)), ("new_axis", Attr::Int(new_axis))];
        let y = call(&mut graph, "ConcatFromSequence", &attrs, &[parts]);
        let mut model = model_of(graph, y);
        canonical_model(&mut model);
        crate::dce::sweep(&mut model.graph);
        assert_eq!(operators(&model), expected);
        let expected = if new_axis == 1 { "float[n,5,2]" } else { "float[n,10]" };
        let ty = model.graph.ty(model.graph.outputs()[0].value).map(ToString::to_string);
        assert_eq!(ty.as_deref(), Some(expected));
    }
}
