use super::*;
use crate::dce::dce;
use crate::pass::Pipeline;
use crate::testing::{call, check, graph_of, ints, ints_of, list, model_of, only, operators};

/// A vector of the dims `axes` of `value`, as exporters compute it: one Shape, Gather and Unsqueeze for each.
fn dims_of(graph: &mut Graph, value: ValueId, axes: &[i64]) -> Vec<ValueId> {
    let dim = |&axis: &i64| {
        let shape = call(graph, "Shape", &[], &[value]);
        let at = graph.add_weight("", Tensor::scalar(axis));
        let dim = call(graph, "Gather", &[], &[shape, at]);
        let front = ints(graph, &[0]);
        call(graph, "Unsqueeze", &[], &[dim, front])
    };
    axes.iter().map(dim).collect()
}

fn swept(model: &Model) -> Model {
    let mut model = model.clone();
    Pipeline(vec![dce()]).run(&mut model).expect("dce");
    model
}

#[test]
fn a_reshape_to_computed_dims_gets_a_constant_shape() {
    let (mut graph, x) = graph_of(&["n", "s", "24"]);
    let mut parts = dims_of(&mut graph, x, &[0, 1]);
    parts.push(ints(&mut graph, &[4, 6]));
    let shape = call(&mut graph, "Concat", &[("axis", Attr::Int(0))], &parts);
    let y = call(&mut graph, "Reshape", &[], &[x, shape]);
    let model = swept(&check(&model_of(graph, y), shapes));
    assert_eq!(operators(&model), "Reshape");
    assert_eq!(ints_of(&model, only(&model, "Reshape"), 1), [0, 0, 4, 6]);
}

#[test]
fn a_single_symbolic_dim_is_inferred_and_known_ones_are_written_out() {
    let (mut graph, x) = graph_of(&["n", "4", "6"]);
    let mut parts = dims_of(&mut graph, x, &[0]);
    parts.push(ints(&mut graph, &[-1]));
    let shape = call(&mut graph, "Concat", &[("axis", Attr::Int(0))], &parts);
    let y = call(&mut graph, "Reshape", &[("allowzero", Attr::Int(1))], &[x, shape]);
    let model = swept(&check(&model_of(graph, y), shapes));
    assert_eq!(operators(&model), "Reshape");
    let reshape = only(&model, "Reshape");
    assert_eq!(ints_of(&model, reshape, 1), [-1, 24]);
    assert_eq!(reshape.attrs.int("allowzero"), Some(0));
}

#[test]
fn a_shape_with_two_dims_that_no_constant_expresses_stays_computed() {
    let (mut graph, x) = graph_of(&["n", "s", "4"]);
    let mut parts = dims_of(&mut graph, x, &[1, 0]);
    parts.push(ints(&mut graph, &[4]));
    let shape = call(&mut graph, "Concat", &[("axis", Attr::Int(0))], &parts);
    let y = call(&mut graph, "Reshape", &[], &[x, shape]);
    let model = swept(&check(&model_of(graph, y), shapes));
    assert_eq!(operators(&model), "Shape Gather Unsqueeze Gather Unsqueeze Concat Reshape");
}

#[test]
fn an_expand_to_computed_dims_that_the_data_has_gets_a_constant_shape() {
    let (mut graph, x) = graph_of(&["n", "1"]);
    let mut parts = dims_of(&mut graph, x, &[0]);
    parts.push(ints(&mut graph, &[5]));
    let shape = call(&mut graph, "Concat", &[("axis", Attr::Int(0))], &parts);
    let y = call(&mut graph, "Expand", &[], &[x, shape]);
    let model = swept(&check(&model_of(graph, y), shapes));
    assert_eq!(operators(&model), "Expand");
    assert_eq!(ints_of(&model, only(&model, "Expand"), 1), [1, 5]);
}

#[test]
fn calls_that_change_nothing_are_gone() {
    let (mut graph, x) = graph_of(&["n", "3"]);
    let shape = call(&mut graph, "Shape", &[], &[x]);
    let y = call(&mut graph, "Expand", &[], &[x, shape]);
    let y = call(&mut graph, "Reshape", &[], &[y, shape]);
    let y = call(&mut graph, "Concat", &[("axis", Attr::Int(1))], &[y]);
    let [starts, ends, axes] = [[0], [i64::MAX], [0]].map(|values| ints(&mut graph, &values));
    let y = call(&mut graph, "Slice", &[], &[y, starts, ends, axes]);
    let y = call(&mut graph, "Relu", &[], &[y]);
    assert_eq!(operators(&swept(&check(&model_of(graph, y), shapes))), "Relu");
}

#[test]
fn a_slice_that_reverses_is_not_taken_for_one_of_everything() {
    let (mut graph, x) = graph_of(&["4"]);
    let values = [[-1], [i64::MIN], [0], [-1]].map(|values| ints(&mut graph, &values));
    let y = call(&mut graph, "Slice", &[], &[&[x][..], &values].concat());
    assert_eq!(operators(&check(&model_of(graph, y), shapes)), "Slice");
}

#[test]
fn equal_shape_computations_become_one() {
    let (mut graph, x) = graph_of(&["n", "s"]);
    let relu = call(&mut graph, "Relu", &[], &[x]);
    let late = dims_of(&mut graph, relu, &[1, 0]);
    let early = dims_of(&mut graph, x, &[1, 0]);
    let shape = call(&mut graph, "Concat", &[("axis", Attr::Int(0))], &late);
    let other = call(&mut graph, "Concat", &[("axis", Attr::Int(0))], &early);
    let y = call(&mut graph, "Reshape", &[], &[relu, shape]);
    let y = call(&mut graph, "Transpose", &[("perm", list(&[1, 0]))], &[y]);
    let y = call(&mut graph, "Reshape", &[], &[y, other]);
    let model = swept(&check(&model_of(graph, y), shapes));
    // Both dims of the first reshape swap places, so it stays computed; the second shape is the first one's.
    assert_eq!(model.graph.nodes().filter(|(_, node)| node.op.is("Concat")).count(), 1, "{}", operators(&model));
}

#[test]
fn an_unnamed_value_does_not_borrow_the_symbols_of_one_that_is_named_by_a_number() {
    let (mut graph, x) = graph_of(&["6"]);
    let unnamed = call(&mut graph, "NonZero", &[], &[x]);
    let numbered = call(&mut graph, "NonZero", &[], &[x]);
    graph.value_mut(unnamed).name = eutectic_ir::Name::default();
    graph.value_mut(numbered).name = unnamed.index().to_string().into();
    let mut model = model_of(graph, numbered);
    let (facts, _) = eutectic_ir::infer::infer(&mut model);
    assert_ne!(facts.get(unnamed).map(|fact| &fact.ty), facts.get(numbered).map(|fact| &fact.ty));
}
