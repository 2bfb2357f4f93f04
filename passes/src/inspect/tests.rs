use super::*;
use crate::cost::Device;
use crate::testing::{call, graph_of, ints, model_of};

#[test]
fn a_summary_counts_calls_parameters_and_work() {
    let (mut graph, x) = graph_of(&["n", "3"]);
    let y = call(&mut graph, "Relu", &[], &[x]);
    let y = call(&mut graph, "Relu", &[], &[y]);
    let shape = ints(&mut graph, &[-1, 1]);
    let y = call(&mut graph, "Reshape", &[], &[y, shape]);
    let mut cost = CostModel::new(Device::h200());
    cost.sizes.insert("n".into(), 5);
    let summary = inspect(&model_of(graph, y), &cost);
    assert_eq!((summary.n_nodes, summary.operators), (3, vec![("Relu".into(), 2), ("Reshape".into(), 1)]));
    assert_eq!((summary.n_parameters, summary.parameter_bytes), (2, 16));
    let types = [&summary.inputs[0], &summary.outputs[0]].map(|port| port.ty.as_ref().map(ToString::to_string));
    assert_eq!(types, [Some("float[n,3]".into()), Some("float[3*n,1]".into())]);
    assert_eq!(summary.outputs[0].name, "y");
    // Two activations of 15 elements: one operation each, four bytes read and four written; the view is free.
    assert_eq!((summary.totals.flops, summary.totals.bytes_moved, summary.totals.n_unpriced), (30.0, 240.0, 0));
}
