//! Builds small networks with NVIDIA's library and looks at the kernels that come out.
//!
//! Every test ends early, and says so, on a machine without the library.

use eutectic_tensorrt::engine::{BuildOptions, Engine, Profile, ProfileRange, build, inspect};
use eutectic_tensorrt::layer::*;
use eutectic_tensorrt::listing::kernels;
use eutectic_tensorrt::parser::NetworkSummary;
use eutectic_tensorrt::spec::{DataType, NetworkSpec, TensorRef, WeightsRef};
use eutectic_tensorrt::{Error, Worker};

use crate::common::worker;

fn built(worker: &Worker, spec: &NetworkSpec) -> (NetworkSummary, Engine) {
    build(worker, spec, &BuildOptions::for_target(86)).unwrap_or_else(|error| panic!("{}", error.diagnostic()))
}

/// Weights of a fixed, unremarkable pattern.
fn weights(spec: &mut NetworkSpec, count: usize) -> WeightsRef {
    let bytes: Vec<u8> = (0..count).flat_map(|at| (((at * 37 % 101) as f32 - 50.0) / 500.0).to_le_bytes()).collect();
    spec.weights(DataType::F32, bytes)
}

fn constant(spec: &mut NetworkSpec, name: &str, dims: &[i64]) -> TensorRef {
    let count = dims.iter().product::<i64>() as usize;
    let weights = weights(spec, count);
    spec.add(name, Layer::Constant { weights, dims: dims.to_vec() })
}

/// `relu(conv(x, w) + b)` with a window of three and padding one.
fn convolution(batch: i64) -> NetworkSpec {
    let mut spec = NetworkSpec::new("convolution");
    let x = spec.input("x", DataType::F32, &[batch, 64, 32, 32]).unwrap();
    let (kernel, bias) = (weights(&mut spec, 64 * 64 * 9), weights(&mut spec, 64));
    let mut window = Window::plain(&[3, 3]);
    window.pre_padding = vec![1, 1];
    window.post_padding = vec![1, 1];
    let (kernel, bias) = (Operand::Weights(kernel), Some(Operand::Weights(bias)));
    let y = spec.add("conv1", Layer::Convolution { input: x, kernel, bias, n_maps: 64, groups: 1, window });
    spec.set_origins(["first/conv"]);
    let y = spec.add("relu1", Layer::Activation { input: y, kind: ActivationKind::Relu, alpha: None, beta: None });
    spec.set_origins(["first/relu"]);
    spec.output("y", y);
    spec
}

/// `gelu(x w + b)`.
fn product() -> NetworkSpec {
    let mut spec = NetworkSpec::new("product");
    let x = spec.input("x", DataType::F32, &[128, 256]).unwrap();
    let w = constant(&mut spec, "w", &[256, 512]);
    let b = constant(&mut spec, "b", &[1, 512]);
    let (plain, kind) = (MatrixKind::Plain, ElementWiseKind::Sum);
    let y = spec.add("product", Layer::MatrixMultiply { a: x, a_as: plain, b: w, b_as: plain });
    spec.set_origins(["product"]);
    let y = spec.add("bias", Layer::ElementWise { kind, a: y, b });
    spec.set_origins(["bias"]);
    let y = spec.add("gelu", Layer::Activation { input: y, kind: ActivationKind::GeluErf, alpha: None, beta: None });
    spec.set_origins(["gelu"]);
    spec.output("y", y);
    spec
}

/// The kind of each kernel.
fn kinds(engine: &Engine) -> Vec<&str> {
    kernels(&engine.layers).map(|layer| layer.kind.as_str()).collect()
}

#[test]
fn bias_and_relu_end_up_inside_the_convolution() {
    let Some(worker) = worker() else { return };
    let (summary, engine) = built(&worker, &convolution(1));
    assert_eq!(summary.outputs[0].dims.as_deref(), Some([1, 64, 32, 32].as_slice()));
    assert_eq!(kinds(&engine), ["kgen", "correlation", "kgen"]);
    let fused = &engine.layers[1];
    assert_eq!(fused.origins, ["first/conv", "first/relu"]);
    assert_eq!(fused.outputs[0].format, "(NHWC) Channel major format");
}

#[test]
fn a_product_with_bias_and_gelu_is_one_kernel() {
    let Some(worker) = worker() else { return };
    let (_, engine) = built(&worker, &product());
    assert_eq!(kinds(&engine), ["runtime_fusion"]);
    let mut origins = engine.layers[0].origins.clone();
    origins.sort();
    assert_eq!(origins, ["bias", "gelu", "product"]);
}

#[test]
fn a_layer_normalization_is_one_kernel() {
    let Some(worker) = worker() else { return };
    let mut spec = NetworkSpec::new("normalization");
    let x = spec.input("x", DataType::F32, &[8, 128, 768]).unwrap();
    let scale = constant(&mut spec, "scale", &[1, 1, 768]);
    let bias = constant(&mut spec, "bias", &[1, 1, 768]);
    let y = spec.add("norm", Layer::Normalization { input: x, scale, bias, axes: vec![2], epsilon: 1e-5, groups: 1 });
    spec.output("y", y);
    let (_, engine) = built(&worker, &spec);
    assert_eq!(kinds(&engine), ["kgen"]);
}

#[test]
fn marking_the_intermediate_as_an_output_splits_the_kernel() {
    let Some(worker) = worker() else { return };
    let mut split = convolution(1);
    let between = split.layers[0].first_result;
    split.output("between", between);
    let (fused, split) = (built(&worker, &convolution(1)).1, built(&worker, &split).1);
    let together = |engine: &Engine| kernels(&engine.layers).any(|layer| layer.origins.len() == 2);
    assert!(together(&fused) && !together(&split), "{:?} {:?}", fused.layers, split.layers);
}

#[test]
fn the_same_network_builds_the_same_bytes() {
    let Some(worker) = worker() else { return };
    let (first, second) = (built(&worker, &product()).1, built(&worker, &product()).1);
    assert!(first.plan == second.plan);
}

#[test]
fn a_dynamic_batch_needs_a_profile() {
    let Some(worker) = worker() else { return };
    let spec = convolution(-1);
    let mut options = BuildOptions::for_target(86);
    let Err(error) = build(&worker, &spec, &options) else { panic!("built without a profile") };
    assert!(error.to_string().contains("profile"), "{error}");
    let range = |batch| vec![batch, 64, 32, 32];
    let (input, is_values) = ("x".to_owned(), false);
    let range = ProfileRange { input, is_values, min: range(1), opt: range(8), max: range(32) };
    options.profiles = vec![Profile { inputs: vec![range] }];
    let (_, engine) = build(&worker, &spec, &options).unwrap();
    let first = kernels(&engine.layers).next().unwrap();
    assert_eq!(first.inputs[0].dims.first(), Some(&-1), "{first:?}");
}

#[test]
fn an_error_names_the_layer_and_says_what_the_library_said() {
    let Some(worker) = worker() else { return };
    let mut spec = NetworkSpec::new("mismatch");
    let a = spec.input("a", DataType::F32, &[2, 3]).unwrap();
    let b = spec.input("b", DataType::F32, &[2, 5]).unwrap();
    let sum = spec.add("adds up", Layer::ElementWise { kind: ElementWiseKind::Sum, a, b });
    spec.output("y", sum);
    let error = inspect(&worker, &spec).unwrap_err();
    let Error::Layer { place, log, .. } = &error else { panic!("{error}") };
    assert_eq!(place, "layer `adds up` (ElementWise)");
    assert!(log.iter().any(|line| line.text.contains("broadcast")), "{log:?}");
}

#[test]
fn a_target_that_the_library_does_not_know_is_refused() {
    let Some(worker) = worker() else { return };
    let error = build(&worker, &product(), &BuildOptions::for_target(90)).unwrap_err();
    assert!(error.to_string().contains("target SM 90"), "{error}");
}
