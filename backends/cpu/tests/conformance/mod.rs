//! Every fast kernel against the reference interpreter in f64: one call, then the same call behind a convolution, where
//! values are kept channels-last.

mod attention;
mod moves;
mod norm;
mod pointwise;
mod product;
mod reduce;
mod view;

use eutectic_backend::{Backend, Calls, Options};
use eutectic_cpu::Cpu;
use eutectic_ir::attr::{Attr, Attrs};
use eutectic_ir::eval::run_model;
use eutectic_ir::graph::Graph;
use eutectic_ir::model::Model;
use eutectic_ir::ops::builtin;
use eutectic_ir::tensor::{Seed, Tensor};
use eutectic_ir::types::Element;

const OPTIONS: Options = Options { calls: Calls::Claim, memory_limit: 1 << 30 };

/// f32 in -2..2.
fn noise(seed: u64, shape: &[usize]) -> Tensor {
    Tensor::seeded(Element::Float, shape, Seed { seed, low: -2.0, high: 2.0 }).expect("a shape")
}

/// f32 in 0.5..2.
fn positive(seed: u64, shape: &[usize]) -> Tensor {
    Tensor::seeded(Element::Float, shape, Seed { seed, low: 0.5, high: 2.0 }).expect("a shape")
}

fn ints(values: &[i64]) -> Tensor {
    Tensor::vector(values)
}

fn float(value: f32) -> Attr {
    Attr::Float(value)
}

fn list(values: &[i64]) -> Attr {
    Attr::Ints(values.into())
}

struct Case {
    op: &'static str,
    attrs: Vec<(&'static str, Attr)>,
    inputs: Vec<Option<Tensor>>,
    n_outputs: usize,
}

fn case(op: &'static str, attrs: &[(&'static str, Attr)], inputs: &[Tensor]) -> Case {
    Case { op, attrs: attrs.to_vec(), inputs: inputs.iter().cloned().map(Some).collect(), n_outputs: 1 }
}

/// Which inputs of the call are graph inputs; the others are weights.
#[derive(Clone, Copy, Debug)]
enum Given {
    All,
    First,
}

/// The call as a model; `behind_conv` puts an identity convolution before each image that is given.
fn model(case: &Case, given: Given, behind_conv: bool) -> (Model, Vec<Tensor>) {
    let mut graph = Graph::new("case");
    let (mut inputs, mut tensors) = (Vec::new(), Vec::new());
    for (at, tensor) in case.inputs.iter().enumerate() {
        let Some(tensor) = tensor else {
            inputs.push(None);
            continue;
        };
        if matches!(given, Given::First) && at > 0 {
            inputs.push(Some(graph.add_weight(format!("w{at}"), tensor.clone())));
            continue;
        }
        let mut value = graph.add_input(format!("x{at}"), Some(tensor.ty()), None);
        tensors.push(tensor.clone());
        if behind_conv && tensor.shape().len() == 4 && tensor.element() == Element::Float {
            let channels = tensor.shape()[1];
            let unit = (0..channels * channels).map(|i| if i % (channels + 1) == 0 { 1.0f32 } else { 0.0 }).collect();
            let unit = Tensor::from_vec(&[channels, channels, 1, 1], unit).expect("a square");
            let weight = graph.add_weight(format!("unit{at}"), unit);
            let zero = Tensor::full(Element::Float, &[channels], 0.0).expect("a row");
            let bias = graph.add_weight(format!("zero{at}"), zero);
            let op = builtin("Conv");
            let attrs = op.builtin().expect("built in").complete(Attrs::new()).expect("defaults");
            let conv = graph.add_node(op, attrs, [Some(value), Some(weight), Some(bias)], [format!("c{at}")]);
            value = graph.node(conv).output();
        }
        inputs.push(Some(value));
    }
    let op = builtin(case.op);
    let attrs: Attrs = case.attrs.iter().cloned().collect();
    let attrs = op.builtin().expect("built in").complete(attrs).expect("attributes fit");
    let node = graph.add_node(op, attrs, inputs, (0..case.n_outputs).map(|at| format!("y{at}")));
    for (at, value) in graph.node(node).outputs().to_vec().into_iter().enumerate() {
        graph.add_output(format!("y{at}"), value);
    }
    (Model::new(graph), tensors)
}

fn check(case: Case, tolerance: f64) {
    if eutectic_ir::ops::lookup("", case.op).is_none() {
        eprintln!("SKIP {}", case.op);
        return;
    }
    for behind_conv in [false, true] {
        if behind_conv && eutectic_ir::ops::lookup("", "Conv").is_none() {
            continue;
        }
        for given in [Given::All, Given::First] {
            let (model, tensors) = model(&case, given, behind_conv);
            let label = format!("{} {:?} {given:?}, behind a convolution: {behind_conv}", case.op, case.attrs);
            let optional: Vec<Option<Tensor>> = tensors.iter().cloned().map(Some).collect();
            let want = run_model::<f64>(&model, &optional).unwrap_or_else(|error| panic!("{label}: {error}"));
            let mut program = Cpu.compile(&model, &OPTIONS).unwrap_or_else(|error| panic!("{label}: {error}"));
            // Twice: the second run reuses plans and memory.
            for _ in 0..2 {
                let got = program.run(&tensors).unwrap_or_else(|error| panic!("{label}: {error}"));
                assert_eq!(got.len(), want.len(), "{label}");
                for (got, want) in got.iter().zip(&want) {
                    let want = want.to_tensor().expect("a tensor");
                    assert_eq!((got.element(), got.shape()), (want.element(), want.shape()), "{label}");
                    compare(&label, got, &want, tolerance);
                }
            }
            for launch in program.listing() {
                assert_ne!(launch.kind, "reference interpreter", "{label}");
            }
        }
    }
}

fn compare(label: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    if !got.element().is_real() {
        assert_eq!(got.bytes(), want.bytes(), "{label}");
        return;
    }
    let (got, want) = (got.to_f64s().expect("reals"), want.to_f64s().expect("reals"));
    let scale = want.iter().filter(|x| x.is_finite()).fold(1e-30, |scale: f64, x| scale.max(x.abs()));
    for (at, (got, want)) in got.iter().zip(&want).enumerate() {
        let same = got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= tolerance * scale;
        assert!(same, "{label}: element {at}: got {got}, want {want}");
    }
}
