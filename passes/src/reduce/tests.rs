//! Failures of a kind that is known, in models around them.

use super::*;
use crate::testing::{call, drawn, graph_of, operators};
use eutectic_ir::eval::run_model;
use eutectic_ir::text::parse_model;
use eutectic_ir::{Attr, Name};

const BUDGET: Budget = Budget { attempts: 10_000, time: None };

/// Fails where `fails` says so, and runs models by the interpreter.
struct By<F>(F);

impl<F: FnMut(&Case) -> bool> Judge for By<F> {
    fn fails(&mut self, case: &Case) -> bool {
        (self.0)(case)
    }

    fn values(&mut self, case: &Case, wanted: &[ValueId]) -> Option<Vec<Tensor>> {
        let mut model = case.model.clone();
        model.graph.keep_outputs(&[]);
        for (at, &value) in wanted.iter().enumerate() {
            model.graph.add_output(Name::from(format!("wanted {at}")), value);
        }
        sweep(&mut model.graph);
        let outputs = run_model::<f32>(&model, &case.inputs).ok()?;
        outputs.iter().map(|output| output.to_tensor().ok()).collect()
    }
}

/// Twenty layers of a product, a bias and an activation; `Tanh` is the activation of the layer `at`.
fn layers(at: usize) -> Case {
    let (mut graph, mut x) = graph_of(&["4", "6"]);
    for layer in 0..20 {
        let (weight, bias) = (drawn(&mut graph, &[6, 6]), drawn(&mut graph, &[6]));
        let product = call(&mut graph, "MatMul", &[], &[x, weight]);
        let sum = call(&mut graph, "Add", &[], &[product, bias]);
        x = call(&mut graph, if layer == at { "Tanh" } else { "Relu" }, &[], &[sum]);
        if layer % 5 == 0 {
            graph.add_output(Name::from(format!("y{layer}")), x);
        }
    }
    graph.add_output("y", x);
    let input = Tensor::seeded(eutectic_ir::Element::Float, &[4, 6], eutectic_ir::tensor::Seed::for_weight(1, &[4, 6]));
    let mut model = Model::new(graph);
    infer::infer(&mut model);
    Case { model, inputs: vec![Some(input.expect("small"))] }
}

fn calls_of(case: &Case, op: &str) -> usize {
    case.model.graph.nodes().filter(|(_, node)| node.op.is(op)).count()
}

#[test]
fn one_call_that_is_refused_is_all_that_is_left() {
    for at in [0, 7, 19] {
        let found = reduce(layers(at), &mut By(|case: &Case| calls_of(case, "Tanh") > 0), BUDGET).expect("it fails");
        assert_eq!(operators(&found.case.model), "Tanh");
        assert!(found.is_minimal && found.n_attempts < 200, "{found:?}");
        let graph = &found.case.model.graph;
        assert_eq!((graph.inputs().len(), graph.outputs().len()), (1, 1));
        assert_eq!(found.case.inputs[0].as_ref().expect("given").shape(), [1, 1], "dims shrink");
    }
}

#[test]
fn two_calls_that_fail_together_both_stay() {
    let both = |case: &Case| calls_of(case, "Tanh") > 0 && calls_of(case, "MatMul") > 1;
    let found = reduce(layers(3), &mut By(both), BUDGET).expect("it fails");
    let (matmuls, tanhs) = (calls_of(&found.case, "MatMul"), calls_of(&found.case, "Tanh"));
    assert_eq!((matmuls, tanhs), (2, 1));
    assert_eq!(found.case.model.graph.n_nodes(), 3, "{}", operators(&found.case.model));
}

#[test]
fn a_part_is_given_the_values_that_the_whole_computes_there() {
    let whole = layers(12);
    let by_name = |case: &Case, name: &str| {
        let (id, _) = case.model.graph.values().find(|(_, value)| value.name == name)?;
        By(|_: &Case| true).values(case, &[id]).map(|mut values| values.remove(0))
    };
    let (node, _) = whole.model.graph.nodes().find(|(_, node)| node.op.is("Tanh")).expect("a call");
    let output = whole.model.graph.value(whole.model.graph.node(node).output()).name.to_string();
    let expected = by_name(&whole, &output).expect("it runs");
    // Dims and contents must stay for the numbers to stay.
    let same = |case: &Case| by_name(case, &output).is_some_and(|found| found == expected);
    let found = reduce(whole.clone(), &mut By(same), BUDGET).expect("it fails");
    assert_eq!(operators(&found.case.model), "Tanh");
}

#[test]
fn attributes_take_their_defaults_where_they_do_not_matter() {
    let (mut graph, x) = graph_of(&["1", "4", "9", "9"]);
    let weight = drawn(&mut graph, &[6, 2, 3, 3]);
    let attrs = [("strides", Attr::Ints([2, 2].into())), ("group", Attr::Int(2)), ("pads", Attr::Ints([1; 4].into()))];
    let y = call(&mut graph, "Conv", &attrs, &[x, weight]);
    graph.add_output("y", y);
    let input = Tensor::full(eutectic_ir::Element::Float, &[1, 4, 9, 9], 0.5).expect("small");
    let case = Case { model: Model::new(graph), inputs: vec![Some(input)] };
    let grouped = |case: &Case| case.model.graph.nodes().any(|(_, node)| node.attrs.int("group") == Some(2));
    let found = reduce(case, &mut By(grouped), BUDGET).expect("it fails");
    let node = found.case.model.graph.nodes().next().expect("a call").1;
    assert_eq!(node.attrs.ints("strides"), Some(&[1, 1][..]));
    assert!(found.case.inputs[0].as_ref().expect("given").count() < 4 * 81, "{:?}", found.case.inputs[0]);
}

/// Three rounds of a loop whose body holds a `Tanh` among others.
fn looped() -> Case {
    let text = "<ir_version: 10, opset_import: [\"\": 20]>
agraph (int64 n, bool go, float[3] x) => (float[3] y) {
    a = Abs (x)
    z = Loop <body = step (int64 i, bool c, float[3] s) => (bool d, float[3] t) {
        d = Identity (c)
        p = Exp (s)
        q = Tanh (p)
        r = Neg (q)
        t = Mul (r, s)
    }> (n, go, a)
    y = Sqrt (z)
}";
    let mut model = parse_model(text).unwrap_or_else(|problems| panic!("{problems}")).0;
    infer::infer(&mut model);
    let full = |element, shape: &[usize]| Tensor::full(element, shape, 1.0).expect("small");
    use eutectic_ir::Element::{Bool, Float, Int64};
    Case { model, inputs: vec![Some(full(Int64, &[])), Some(full(Bool, &[])), Some(full(Float, &[3]))] }
}

fn holds_tanh(graph: &Graph) -> bool {
    graph.nodes().any(|(_, node)| node.op.is("Tanh"))
}

#[test]
fn a_loop_that_the_failure_does_not_need_is_gone() {
    let anywhere = |case: &Case| {
        let graph = &case.model.graph;
        holds_tanh(graph) || graph.nodes().any(|(_, node)| node.bodies().any(|body| holds_tanh(body)))
    };
    let found = reduce(looped(), &mut By(anywhere), BUDGET).expect("it fails");
    assert_eq!(operators(&found.case.model), "Tanh");
}

#[test]
fn a_loop_that_the_failure_needs_keeps_what_fails_in_its_body() {
    let within = |case: &Case| {
        case.model.graph.nodes().any(|(_, node)| node.op.is("Loop") && node.bodies().any(|body| holds_tanh(body)))
    };
    let found = reduce(looped(), &mut By(within), BUDGET).expect("it fails");
    assert_eq!(operators(&found.case.model), "Loop");
    let (_, node) = found.case.model.graph.nodes().next().expect("the loop");
    let left: Vec<&str> = node.bodies().flat_map(|body| body.nodes()).map(|(_, node)| node.op.name()).collect();
    assert_eq!(left, ["Tanh"], "{:?}", found.changes);
    assert!(found.is_minimal);
}

#[test]
fn budgets_and_models_that_do_not_fail_end_the_search() {
    let stopped =
        reduce(layers(7), &mut By(|case: &Case| calls_of(case, "Tanh") > 0), Budget { attempts: 5, time: None });
    let stopped = stopped.expect("it fails");
    assert!(!stopped.is_minimal && stopped.n_attempts <= 5);
    assert_eq!(calls_of(&stopped.case, "Tanh"), 1);
    assert!(reduce(layers(7), &mut By(|_: &Case| false), BUDGET).is_none());
}
