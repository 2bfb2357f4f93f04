//! Programs as their callers see them: inputs, budgets, listings, repeated runs.

use eutectic_backend::{Backend, Calls, Error, Options, Program};
use eutectic_cpu::Cpu;
use eutectic_ir::diag::Kind;
use eutectic_ir::model::Model;
use eutectic_ir::tensor::{Seed, Tensor};
use eutectic_ir::text::parse_model;
use eutectic_ir::types::Element;

fn model(graph: &str) -> Model {
    let text = format!(r#"<ir_version: 13, opset_import: ["": 26, "custom": 1]> {graph}"#);
    parse_model(&text).unwrap_or_else(|errors| panic!("{errors}")).0
}

fn compile(graph: &str, memory_limit: usize) -> Result<Box<dyn Program>, Error> {
    Cpu.compile(&model(graph), &Options { calls: Calls::Claim, memory_limit })
}

fn program(graph: &str) -> Box<dyn Program> {
    compile(graph, 1 << 30).unwrap_or_else(|error| panic!("{error}"))
}

fn noise(shape: &[usize]) -> Tensor {
    Tensor::seeded(Element::Float, shape, Seed { seed: 1, low: -1.0, high: 1.0 }).expect("a shape")
}

#[test]
fn inputs_that_do_not_fit_are_all_reported_at_once() {
    let mut program = program("agraph (float[2] x, float[n,3] y, int64[1] z) => (w) { w = Mul (x, x) }");
    let given = [noise(&[3]), noise(&[4, 3]), noise(&[1]), noise(&[1])];
    let error = program.run(&given).expect_err("three problems");
    assert_eq!(error.0.0.len(), 3, "{error}");
    let error = program.run(&given[..1]).expect_err("the others are missing").to_string();
    assert!(error.contains("`y` is missing") && error.contains("`z` is missing"), "{error}");
}

#[test]
fn a_symbolic_dim_takes_a_new_value_at_each_run() {
    let mut program = program(
        r#"agraph (float[n,3,h,8] x) => (y) <float[4,3,3,3] w = ["location": "seed:1"], float[4] b = {0,0,0,0}>
        { c = Conv (x, w, b)  y = Relu (c) }"#,
    );
    for (n, h) in [(1, 8), (3, 5), (1, 8), (2, 20)] {
        let y = program.run(&[noise(&[n, 3, h, 8])]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(y[0].shape(), [n, 4, h - 2, 6]);
    }
}

#[test]
fn an_operator_that_is_not_known_is_reported_before_compiling() {
    let graph = "agraph (float[2] x) => (y) { a = custom.Frob (x)  b = custom.Frob (a)  y = custom.Nicate (b) }";
    let problems = Cpu.unsupported(&model(graph));
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().all(|problem| problem.kind == Kind::Unsupported));
    let Err(error) = compile(graph, 1 << 30) else { panic!("it does not compile") };
    assert_eq!(error.0.0, problems);
}

#[test]
fn a_tensor_beyond_the_memory_limit_is_a_limit_and_not_an_abort() {
    let run =
        |graph: &str, limit: usize| -> Result<(), Error> { compile(graph, limit)?.run(&[noise(&[1])]).map(|_| ()) };
    let growing = "agraph (float[1] x) => (y) <int64[1] s = {1000}> { y = Expand (x, s) }";
    assert!(run(growing, 1 << 20).is_ok());
    let endless = "agraph (float[1] x) => (y) <int64[3] s = {100000, 100000, 100000}> { y = Expand (x, s) }";
    for (graph, limit) in [(growing, 1000), (endless, 1 << 30)] {
        let error = run(graph, limit).expect_err("too large");
        assert_eq!(error.0.0[0].kind, Kind::Limit, "{error}");
    }
}

#[test]
fn a_call_that_fails_names_its_node() {
    let mut program = program("agraph (float[n] x, float[m] y) => (z) { [sum] z = Add (x, y) }");
    let error = program.run(&[noise(&[2]), noise(&[3])]).expect_err("they do not broadcast").to_string();
    assert!(error.contains("Add `sum`"), "{error}");
}

#[test]
fn calls_of_constants_are_computed_once_and_calls_that_nobody_reads_never() {
    let mut program = program(
        "agraph (float[2] x) => (y) <float[2] a = {1, 2}, float[2] b = {3, 4}>
        { s = Add (a, b)  t = Mul (s, s)  dead = Exp (x)  y = Add (x, t) }",
    );
    let names: Vec<String> = program.listing().into_iter().map(|launch| launch.name).collect();
    assert_eq!(names, ["Add"]);
    let x = Tensor::vector(&[0.5f32, -1.0]);
    let y = program.run(&[x]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(y[0].view::<f32>().as_deref(), Some(&[16.5, 35.0][..]));
}

#[test]
fn an_output_may_be_an_input_a_constant_or_another_output() {
    let mut program = program("agraph (float[2] x) => (x, c, y, z) <float[1] c = {7}> { y = Neg (x)  z = Neg (y) }");
    let x = Tensor::vector(&[0.5f32, -1.0]);
    for _ in 0..2 {
        let outputs = program.run(std::slice::from_ref(&x)).unwrap_or_else(|error| panic!("{error}"));
        let values: Vec<Vec<f64>> = outputs.iter().map(|tensor| tensor.to_f64s().expect("reals")).collect();
        assert_eq!(values, [vec![0.5, -1.0], vec![7.0], vec![-0.5, 1.0], vec![0.5, -1.0]]);
    }
}

#[test]
fn a_repeated_run_needs_a_run_before_it() {
    let mut program = program("agraph (float[2] x) => (y) { y = Neg (x) }");
    assert!(program.enqueue().is_err());
    program.run(&[noise(&[2])]).unwrap_or_else(|error| panic!("{error}"));
    assert!(program.enqueue().is_ok());
}

#[test]
fn element_types_without_fast_kernels_run_on_the_interpreter_at_their_own_precision() {
    let mut program = program("agraph (double[1] x) => (y) <double[1] tiny = {1e-12}> { y = Add (x, tiny) }");
    let x = Tensor::from_vec(&[1], vec![1.0f64]).expect("a shape");
    let y = program.run(&[x]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(y[0].view::<f64>().as_deref(), Some(&[1.0 + 1e-12][..]));
}
