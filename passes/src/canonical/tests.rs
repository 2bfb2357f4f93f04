use super::*;
use crate::testing::{call, check, graph_of, ints, ints_of, list, model_of, node, only, operators};
use eutectic_ir::Element;

fn axis(value: i64) -> [(&'static str, Attr); 1] {
    [("axis", Attr::Int(value))]
}

#[test]
fn a_constant_becomes_a_weight_of_its_name() {
    let (mut graph, x) = graph_of(&["n", "6"]);
    let shape = call(&mut graph, "Constant", &[("value_ints", list(&[-1, 2]))], &[]);
    let y = call(&mut graph, "Reshape", &[], &[x, shape]);
    let name = graph.value(shape).name.clone();
    let model = check(&model_of(graph, y), canonical);
    assert_eq!(operators(&model), "Reshape");
    let reshape = only(&model, "Reshape");
    assert_eq!(ints_of(&model, reshape, 1), [-1, 2]);
    assert_eq!(reshape.input(1).map(|shape| model.graph.value(shape).name.clone()), Some(name));
}

#[test]
fn a_transpose_without_permutation_reverses_the_axes() {
    let (mut graph, x) = graph_of(&["n", "3", "4"]);
    let y = call(&mut graph, "Transpose", &[], &[x]);
    let model = check(&model_of(graph, y), canonical);
    assert_eq!(only(&model, "Transpose").attrs.ints("perm"), Some(&[2, 1, 0][..]));
}

#[test]
fn negative_axes_are_counted_from_the_front() {
    let (mut graph, x) = graph_of(&["n", "3", "4"]);
    let y = call(&mut graph, "Concat", &axis(-1), &[x, x]);
    let indices = ints(&mut graph, &[1, 0]);
    let y = call(&mut graph, "Gather", &axis(-2), &[y, indices]);
    let y = call(&mut graph, "Flatten", &axis(-1), &[y]);
    let model = check(&model_of(graph, y), canonical);
    let axis_of = |op| only(&model, op).attrs.int("axis");
    assert_eq!((axis_of("Concat"), axis_of("Gather"), axis_of("Flatten")), (Some(2), Some(1), Some(2)));
}

#[test]
fn the_axis_of_one_hot_counts_the_axes_of_its_result() {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", Some(crate::testing::ty(Element::Int64, &["n", "3"])), None);
    let depth = graph.add_weight("", Tensor::scalar(2i64));
    let values = graph.add_weight("", Tensor::vector(&[-1f32, 1.0]));
    let y = call(&mut graph, "OneHot", &axis(-1), &[x, depth, values]);
    let model = check(&model_of(graph, y), canonical);
    assert_eq!(only(&model, "OneHot").attrs.int("axis"), Some(2));
}

#[test]
fn sets_of_axes_are_explicit_and_ascending() {
    let (mut graph, x) = graph_of(&["2", "1", "3", "1"]);
    let axes = ints(&mut graph, &[-1, 0]);
    let y = call(&mut graph, "Unsqueeze", &[], &[x, axes]);
    let y = call(&mut graph, "Squeeze", &[], &[y]);
    let model = check(&model_of(graph, y), canonical);
    assert_eq!(ints_of(&model, only(&model, "Unsqueeze"), 1), [0, 5]);
    assert_eq!(ints_of(&model, only(&model, "Squeeze"), 1), [0, 2, 4, 5]);
}

#[test]
fn a_squeeze_of_what_may_be_one_stays() {
    let (mut graph, x) = graph_of(&["n", "1"]);
    let y = call(&mut graph, "Squeeze", &[], &[x]);
    let mut model = model_of(graph, y);
    assert_eq!(canonical_model(&mut model), 0);
}

#[test]
fn a_slice_names_its_axes_and_steps() {
    let (mut graph, x) = graph_of(&["n", "5", "4"]);
    let [starts, ends] = [[0, 1], [9, 3]].map(|values| ints(&mut graph, &values));
    let y = call(&mut graph, "Slice", &[], &[x, starts, ends]);
    let [starts, ends, axes, steps] = [[-1], [0], [-1], [-2]].map(|values| ints(&mut graph, &values));
    let y = call(&mut graph, "Slice", &[], &[y, starts, ends, axes, steps]);
    let model = check(&model_of(graph, y), canonical);
    let slices: Vec<Vec<Vec<i64>>> =
        model.graph.nodes().map(|(_, slice)| [3, 4].map(|slot| ints_of(&model, slice, slot)).to_vec()).collect();
    assert_eq!(slices, [[[0, 1], [1, 1]].map(Vec::from).to_vec(), [[2], [-2]].map(Vec::from).to_vec()]);
}

#[test]
fn a_pad_covers_all_axes_and_names_its_value() {
    let (mut graph, x) = graph_of(&["n", "3", "4"]);
    let pads = ints(&mut graph, &[1, 2, 3, 0]);
    let axes = ints(&mut graph, &[-1, 1]);
    let id = node(&mut graph, "Pad", &[], &[Some(x), Some(pads), None, Some(axes)], 1);
    let y = graph.node(id).output();
    let model = check(&model_of(graph, y), canonical);
    let pad = only(&model, "Pad");
    assert_eq!(ints_of(&model, pad, 1), [0, 2, 1, 0, 0, 3]);
    let value = pad.input(2).and_then(|value| model.graph.weight(value));
    assert_eq!((value.and_then(Tensor::as_single), pad.inputs().len()), (Some(0.0), 3));
}

#[test]
fn a_split_by_number_names_its_sizes() {
    let (mut graph, x) = graph_of(&["n", "7"]);
    let attrs = [("axis", Attr::Int(-1)), ("num_outputs", Attr::Int(3))];
    let id = node(&mut graph, "Split", &attrs, &[Some(x)], 3);
    let y = graph.node(id).outputs()[2];
    let model = check(&model_of(graph, y), canonical);
    let split = only(&model, "Split");
    assert_eq!(ints_of(&model, split, 1), [3, 3, 1]);
    assert_eq!((split.attrs.int("axis"), split.attrs.get("num_outputs")), (Some(1), None));
}

#[test]
fn allowzero_is_kept_only_where_a_zero_stands() {
    let (mut graph, x) = graph_of(&["2", "6"]);
    let allow = [("allowzero", Attr::Int(1))];
    let shape = ints(&mut graph, &[3, 4]);
    let y = call(&mut graph, "Reshape", &allow, &[x, shape]);
    let model = check(&model_of(graph, y), canonical);
    assert_eq!(only(&model, "Reshape").attrs.int("allowzero"), Some(0));

    let (mut graph, x) = graph_of(&["0", "6"]);
    let shape = ints(&mut graph, &[6, 0]);
    let y = call(&mut graph, "Reshape", &allow, &[x, shape]);
    let model = check(&model_of(graph, y), canonical);
    assert_eq!(only(&model, "Reshape").attrs.int("allowzero"), Some(1));
}

#[test]
fn a_weight_that_others_read_keeps_its_contents() {
    let (mut graph, x) = graph_of(&["n", "3", "1"]);
    let axes = ints(&mut graph, &[-1]);
    let y = call(&mut graph, "Squeeze", &[], &[x, axes]);
    let z = call(&mut graph, "Unsqueeze", &[], &[y, axes]);
    let model = check(&model_of(graph, z), canonical);
    assert_eq!(ints_of(&model, only(&model, "Squeeze"), 1), [2]);
    assert_eq!(model.graph.weight(axes).and_then(Tensor::to_i64s), Some(vec![-1]));
}

mod arithmetic;
mod windows;

#[test]
fn an_einstein_sum_that_is_a_product_of_matrices_becomes_one() {
    let operators_of = |equation: &str| {
        let mut graph = Graph::new("test");
        let mut input =
            |name: &str| graph.add_input(name, Some(crate::testing::ty(Element::Float, &["2", "n", "3", "3"])), None);
        let inputs = [input("a"), input("b")];
        let y = call(&mut graph, "Einsum", &[("equation", Attr::String(equation.into()))], &inputs);
        operators(&check(&model_of(graph, y), canonical))
    };
    assert_eq!(operators_of("bhid,bhdj->bhij"), "MatMul");
    assert_eq!(operators_of("bhid, bhjd -> bhij"), "Transpose MatMul");
    assert_eq!(operators_of("bhjd,bhid->bhij"), "Transpose MatMul");
    assert_eq!(operators_of("bhdi,bhjd->bhij"), "Transpose Transpose MatMul");
    for other in ["bhid,bhjd->bhijd", "bhii,bhij->bhij", "bhid,bhjd->bij", "bhid,bhjd"] {
        assert_eq!(operators_of(other), "Einsum", "{other}");
    }
}
