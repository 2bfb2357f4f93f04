//! What the tests of passes share: graphs in a few lines, and proof that a change keeps what a model computes.

use crate::pass::{Pass, Pipeline};
use eutectic_ir::eval::run_model;
use eutectic_ir::graph::{Graph, Node, NodeId, ValueId};
use eutectic_ir::tensor::Seed;
use eutectic_ir::types::TensorType;
use eutectic_ir::verify::verify;
use eutectic_ir::{Attr, Attrs, Dim, Element, Model, Tensor, ops};

/// The type of `dims`, each a number or a dim expression.
pub(crate) fn ty(element: Element, dims: &[&str]) -> TensorType {
    TensorType::new(element, dims.iter().map(|dim| Dim::parse(dim).expect(dim)))
}

/// A graph with one float input `x`.
pub(crate) fn graph_of(dims: &[&str]) -> (Graph, ValueId) {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", Some(ty(Element::Float, dims)), None);
    (graph, x)
}

/// Adds a call with `n_outputs` outputs and returns the node.
pub(crate) fn node(
    graph: &mut Graph,
    op: &str,
    attrs: &[(&'static str, Attr)],
    inputs: &[Option<ValueId>],
    n_outputs: usize,
) -> NodeId {
    let attrs: Attrs = attrs.iter().cloned().collect();
    let op = ops::builtin(op);
    let attrs = op.builtin().expect("an operator").complete(attrs).expect("attributes");
    let names: Vec<String> = (0..n_outputs).map(|at| format!("v{}_{at}", graph.node_bound())).collect();
    graph.add_node(op, attrs, inputs.iter().copied(), names)
}

/// Adds a call with one output and returns it.
pub(crate) fn call(graph: &mut Graph, op: &str, attrs: &[(&'static str, Attr)], inputs: &[ValueId]) -> ValueId {
    let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
    let id = node(graph, op, attrs, &inputs, 1);
    graph.node(id).output()
}

/// Adds a weight of integers.
pub(crate) fn ints(graph: &mut Graph, values: &[i64]) -> ValueId {
    graph.add_weight("", Tensor::vector(values))
}

/// Adds a weight drawn from a seed of its own.
pub(crate) fn drawn(graph: &mut Graph, shape: &[usize]) -> ValueId {
    let seed = Seed { seed: graph.value_bound() as u64, low: -1.0, high: 1.0 };
    let tensor = Tensor::seeded(Element::Float, shape, seed).expect("small");
    graph.add_weight("", tensor)
}

/// Attribute value of integers.
pub(crate) fn list(values: &[i64]) -> Attr {
    Attr::Ints(values.into())
}

/// The model whose output `y` is `value`.
pub(crate) fn model_of(mut graph: Graph, value: ValueId) -> Model {
    graph.add_output("y", value);
    Model::new(graph)
}

/// Operators in order of execution, separated by spaces.
pub(crate) fn operators(model: &Model) -> String {
    let order = eutectic_ir::walk::order(&model.graph).expect("no cycle");
    order.iter().map(|&id| model.graph.node(id).op.to_string()).collect::<Vec<_>>().join(" ")
}

/// The only call of operator `op`.
pub(crate) fn only<'a>(model: &'a Model, op: &str) -> &'a Node {
    let mut found = model.graph.nodes().map(|(_, node)| node).filter(|node| node.op.is(op));
    let first = found.next().unwrap_or_else(|| panic!("no {op}"));
    assert!(found.next().is_none(), "several {op}");
    first
}

/// Integers of input `slot` of `node`.
pub(crate) fn ints_of(model: &Model, node: &Node, slot: usize) -> Vec<i64> {
    let value = node.input(slot).unwrap_or_else(|| panic!("input {slot} is left out"));
    model.graph.weight(value).and_then(Tensor::to_i64s).expect("a weight of integers")
}

/// Runs `pass` on a copy of `model` and returns it, having checked that it is sound, computes the same for drawn inputs
/// (symbolic dims are 2, then 3), and is changed no further by the same pass.
pub(crate) fn check(model: &Model, pass: fn() -> Pass) -> Model {
    let mut changed = model.clone();
    Pipeline(vec![pass()]).run(&mut changed).expect("the pass");
    let problems = verify(&changed);
    assert!(!problems.has_errors(), "{problems}");
    for size in [2, 3] {
        assert_same(model, &changed, size);
    }
    let again = Pipeline(vec![pass()]).run(&mut changed).expect("the pass");
    assert_eq!(again.iter().map(|report| report.change.n_changed).sum::<usize>(), 0, "not idempotent");
    changed
}

/// Checks that both models give equal outputs for inputs drawn with every symbolic dim `size`.
pub(crate) fn assert_same(a: &Model, b: &Model, size: i64) {
    let inputs: Vec<Option<Tensor>> =
        a.graph.inputs().iter().map(|&id| Some(draw(a.graph.ty(id).expect("typed"), size))).collect();
    let (left, right) = (run_model::<f64>(a, &inputs).expect("before"), run_model::<f64>(b, &inputs).expect("after"));
    for (left, right) in left.iter().zip(&right) {
        assert_eq!((left.element, &left.shape), (right.element, &right.shape));
        let (left, right) = (left.to_tensor().expect("a tensor"), right.to_tensor().expect("a tensor"));
        for (at, (x, y)) in left.to_f64s().expect("real").iter().zip(right.to_f64s().expect("real")).enumerate() {
            assert!((x - y).abs() <= 1e-5 * x.abs().max(1.0), "element {at}: {x} before, {y} after");
        }
    }
}

fn draw(ty: &TensorType, size: i64) -> Tensor {
    let known = |dim: &Dim| dim.substitute(&|_| Some(Dim::known(size))).and_then(|dim| dim.as_size()).expect("a size");
    let shape: Vec<usize> = ty.shape.iter().map(known).collect();
    let (low, high) = if ty.element.is_integer() { (0.0, 2.0) } else { (-1.0, 1.0) };
    Tensor::seeded(ty.element, &shape, Seed { seed: 1, low, high }).expect("small")
}
