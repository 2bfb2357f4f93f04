use super::*;
use crate::testing::{call, check, drawn, graph_of, ints, model_of, operators};
use eutectic_ir::{Attr, Model};

/// x of `n` sequences of `s` elements, flattened to rows, mapped by `map`, and given its axes back.
fn sandwich(map: impl Fn(&mut Graph, ValueId) -> ValueId, n_columns: i64) -> Model {
    let (mut graph, x) = graph_of(&["n", "s", "4"]);
    let rows = ints(&mut graph, &[-1, 4]);
    let flat = call(&mut graph, "Reshape", &[], &[x, rows]);
    let mapped = map(&mut graph, flat);
    let id = crate::testing::node(&mut graph, "Shape", &[("end", Attr::Int(2))], &[Some(x)], 1);
    let leading = graph.node(id).output();
    let last = ints(&mut graph, &[n_columns]);
    let shape = call(&mut graph, "Concat", &[("axis", Attr::Int(0))], &[leading, last]);
    let y = call(&mut graph, "Reshape", &[], &[mapped, shape]);
    let mut model = model_of(graph, y);
    infer::infer(&mut model);
    model
}

fn dense(graph: &mut Graph, rows: ValueId) -> ValueId {
    let (w, b) = (drawn(graph, &[4, 6]), drawn(graph, &[6]));
    let product = call(graph, "MatMul", &[], &[rows, w]);
    call(graph, "Add", &[], &[b, product])
}

fn swept(mut model: Model) -> String {
    crate::dce::sweep(&mut model.graph);
    operators(&model)
}

#[test]
fn a_dense_layer_on_rows_works_on_the_tensor() {
    let model = sandwich(dense, 6);
    assert_eq!(swept(check(&model, unflatten)), "MatMul Add");
}

#[test]
fn pointwise_operators_with_one_row_of_constants_may_stand_between() {
    let map = |graph: &mut Graph, rows: ValueId| {
        let mapped = dense(graph, rows);
        let mapped = call(graph, "Relu", &[], &[mapped]);
        let gain = drawn(graph, &[1, 6]);
        call(graph, "Mul", &[], &[mapped, gain])
    };
    assert_eq!(swept(check(&sandwich(map, 6), unflatten)), "MatMul Add Relu Mul");
}

#[test]
fn rows_that_somebody_else_reads_stay_rows() {
    let mut model = sandwich(dense, 6);
    let product = model.graph.nodes().find(|(_, node)| node.op.is("MatMul")).map(|(_, node)| node.output());
    model.graph.add_output("rows", product.expect("a product"));
    assert_eq!(swept(check(&model, unflatten)), "Reshape MatMul Add Shape Concat Reshape");
}

#[test]
fn a_reshape_to_other_axes_stays() {
    // The last axis is another one, so the rows are not given back as they were.
    let model = sandwich(dense, 6);
    let mut other = model.clone();
    let back = model.graph.nodes().filter(|(_, node)| node.op.is("Reshape")).map(|(id, _)| id).last();
    let shape = other.graph.add_weight("", eutectic_ir::Tensor::vector(&[3i64, -1]));
    other.graph.set_input(back.expect("a reshape"), 1, Some(shape));
    infer::infer(&mut other);
    assert!(swept(check(&other, unflatten)).ends_with("MatMul Add Reshape"));
}

#[test]
fn a_product_of_rows_with_each_other_stays() {
    let map = |graph: &mut Graph, rows: ValueId| {
        let perm = [("perm", crate::testing::list(&[1, 0]))];
        let columns = call(graph, "Transpose", &perm, &[rows]);
        let gram = call(graph, "MatMul", &[], &[columns, rows]);
        call(graph, "MatMul", &[], &[rows, gram])
    };
    let model = sandwich(map, 4);
    // The first factor of the last product is mapped row by row; the second one depends on all rows, as a matrix may.
    assert_eq!(swept(check(&model, unflatten)), "Reshape Transpose MatMul MatMul");
}
