//! Which calls of fused functions run as one kernel, and that they compute what their bodies say.

use eutectic_backend::{Backend, Calls, Options, Program};
use eutectic_cpu::Cpu;
use eutectic_ir::eval::run_model;
use eutectic_ir::model::Model;
use eutectic_ir::tensor::{Seed, Tensor};
use eutectic_ir::text::parse_model;
use eutectic_ir::types::Element;

const HEADER: &str = r#"<ir_version: 13, opset_import: ["": 26, "eutectic": 1]>"#;
const FUNCTION: &str = r#"<domain: "eutectic", opset_import: ["": 26, "eutectic": 1]>"#;

/// Kinds of the launches of `call` to `functions`, when fused calls are claimed; asserts that the result is that of the
/// reference interpreter whether they are claimed or not.
fn kinds(graph: &str, functions: &[&str]) -> Vec<String> {
    let functions: String = functions.iter().map(|function| format!("{FUNCTION}\n{function}\n")).collect();
    let text = format!("{HEADER}\n{graph}\n{functions}");
    let (model, _) = parse_model(&text).unwrap_or_else(|errors| panic!("{errors}"));
    let inputs: Vec<Tensor> = (model.graph.inputs().iter().enumerate())
        .map(|(at, &id)| {
            let shape = model.graph.ty(id).and_then(|ty| ty.sizes()).expect("known shapes");
            Tensor::seeded(Element::Float, &shape, Seed { seed: at as u64, low: -2.0, high: 2.0 }).expect("a shape")
        })
        .collect();
    let optional: Vec<Option<Tensor>> = inputs.iter().cloned().map(Some).collect();
    let want = run_model::<f64>(&model, &optional).expect("the reference runs");
    let mut kinds = Vec::new();
    for calls in [Calls::Inline, Calls::Claim] {
        let mut program = compile(&model, calls);
        for _ in 0..2 {
            let got = program.run(&inputs).unwrap_or_else(|error| panic!("{error}"));
            for (got, want) in got.iter().zip(&want) {
                let want = want.to_tensor().expect("a tensor");
                assert_eq!(got.shape(), want.shape());
                let (got, want) = (got.to_f64s().expect("reals"), want.to_f64s().expect("reals"));
                let scale = want.iter().fold(1e-30, |scale: f64, x| scale.max(x.abs()));
                assert!(
                    got.iter().zip(&want).all(|(a, b)| (a - b).abs() <= 1e-5 * scale),
                    "{calls:?}: {got:?} {want:?}"
                );
            }
        }
        kinds = program.listing().into_iter().map(|launch| launch.kind).collect();
    }
    kinds
}

fn compile(model: &Model, calls: Calls) -> Box<dyn Program> {
    Cpu.compile(model, &Options { calls, memory_limit: 1 << 30 }).unwrap_or_else(|error| panic!("{error}"))
}

const CONV: &str = r#"agraph (float[2,3,8,7] x, float[2,4,4,7] r) => (y)
    <float[4,3,3,3] w = ["location": "seed:1"], float[4] b = ["location": "seed:2"]>"#;

#[test]
fn a_convolution_with_residual_and_activation_is_one_kernel() {
    let call = format!("{CONV} {{ y = eutectic.Block <strides = [2, 1], pads = [1, 1, 1, 1]> (x, w, b, r) }}");
    for act in ["Relu (s)", "Sigmoid (s)", "HardSwish (s)", "LeakyRelu <alpha: float = 0.3> (s)"] {
        let body = format!(
            "Block <strides, pads> (x, w, b, r) => (y) {{
                c = Conv <strides: ints = @strides, pads: ints = @pads> (x, w, b)  s = Add (r, c)  y = {act} }}"
        );
        assert_eq!(kinds(&call, &[&body]), ["fused"], "{act}");
    }
}

#[test]
fn an_activation_of_several_operators_is_part_of_the_kernel() {
    let call = format!("{CONV} {{ y = eutectic.Block (x, w, b) }}").replace("float[2,4,4,7] r", "float[1] r");
    let bodies = [
        "Block (x, w, b) => (y) { c = Conv (x, w, b)  s = Sigmoid (c)  y = Mul (s, c) }",
        "Block (x, w, b) => (y) <float three = {3.0}, float zero = {0.0}, float six = {6.0}>
            { c = Conv (x, w, b)  d = Add (c, three)  e = Clip (d, zero, six)  f = Div (e, six)  y = Mul (c, f) }",
        "Block (x, w, b) => (y) { c = Conv (x, w, b)  a = Tanh (c)  e = Exp (a)  n = Neg (c)  s = Sub (e, n)  y = Div (s, e) }",
    ];
    for body in bodies {
        assert_eq!(kinds(&call, &[body]), ["fused"], "{body}");
    }
}

#[test]
fn a_product_with_bias_and_gelu_is_one_kernel() {
    let graph = r#"agraph (float[2,7,5] x, float[2,7,6] r) => (y)
        <float[5,6] w = ["location": "seed:1"], float[6] b = ["location": "seed:2"]>
        { y = eutectic.Block (x, w, b, r) }"#;
    let gelu = "c = Div (a, root)  e = Erf (c)  f = Add (e, one)  g = Mul (a, f)  y = Mul (g, half)";
    let weights = "<float root = {1.41421356}, float one = {1.0}, float half = {0.5}>";
    let bodies = [
        format!("Block (x, w, b, r) => (y) {weights} {{ m = MatMul (x, w)  a = Add (b, m)  {gelu} }}"),
        format!("Block (x, w, b, r) => (y) {weights} {{ m = MatMul (x, w)  a = Add (m, r)  {gelu} }}"),
        format!("Block (x, w, b, r) => (y) {weights} {{ m = MatMul (x, w)  s = Add (m, b)  a = Add (s, r)  {gelu} }}"),
        "Block (x, w, b, r) => (y) { m = MatMul (x, w)  s = Add (m, b)  y = Add (s, r) }".to_string(),
    ];
    for body in &bodies {
        assert_eq!(kinds(graph, &[body]), ["fused"], "{body}");
    }
}

#[test]
fn a_pointwise_body_is_one_kernel() {
    let graph =
        |x: &str, r: &str| format!("agraph (float[{x}] x, float[{r}] r) => (y) {{ y = eutectic.Block (x, r) }}");
    let body = "Block (x, r) => (y) { s = Sigmoid (x)  m = Mul (r, s)  a = Add (m, x)  t = Tanh (a)  y = Sub (t, m) }";
    for (x, r) in [("2,3,5", "2,3,5"), ("2,3,5", "5"), ("2,3,5", "1"), ("2,5000", "1,5000"), ("3", "2,3")] {
        assert_eq!(kinds(&graph(x, r), &[body]), ["fused"], "{x} {r}");
    }
}

#[test]
fn a_claimed_call_that_meets_an_unusual_shape_runs_its_body() {
    let graph = "agraph (float[2,3,5] x, float[3,1] r) => (y) { y = eutectic.Block (x, r) }";
    let body = "Block (x, r) => (y) { s = Mul (x, r)  y = Tanh (s) }";
    assert_eq!(kinds(graph, &[body]), ["fused"]);
    let call = format!("{CONV} {{ y = eutectic.Block (x, w, b, r) }}").replace("float[2,4,4,7] r", "float[2,4,1,1] r");
    let body = "Block (x, w, b, r) => (y) { c = Conv (x, w, b)  s = Add (c, r)  y = Relu (s) }";
    assert_eq!(kinds(&call, &[body]), ["fused"]);
}

#[test]
fn a_body_that_calls_another_function_is_one_kernel() {
    let call = format!("{CONV} {{ y = eutectic.Block (x, w, b) }}").replace("float[2,4,4,7] r", "float[1] r");
    let block = "Block (x, w, b) => (y) { c = Conv (x, w, b)  y = eutectic.Gate (c) }";
    let gate = "Gate (x) => (y) { y = HardSwish (x) }";
    assert_eq!(kinds(&call, &[block, gate]), ["fused"]);
}

#[test]
fn what_no_kernel_computes_is_inlined() {
    let call = format!("{CONV} {{ y = eutectic.Block (x, w, b) }}").replace("float[2,4,4,7] r", "float[1] r");
    let body = "Block (x, w, b) => (y) { c = Conv (x, w, b)  p = GlobalAveragePool (c)  y = Mul (c, p) }";
    assert_eq!(kinds(&call, &[body]), ["convolution and pooling", "convolution and pooling", "pointwise"]);
}
