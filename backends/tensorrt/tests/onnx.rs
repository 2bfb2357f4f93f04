//! NVIDIA's own ONNX parser, run in the worker.

use eutectic_tensorrt::Error;
use eutectic_tensorrt::engine::BuildOptions;
use eutectic_tensorrt::listing::kernels;
use eutectic_tensorrt::parser::{Onnx, read_onnx};
use eutectic_tensorrt::spec::DataType;

use crate::common::worker;

/// A protobuf field of bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128, "the length is one byte");
    [&[number << 3 | 2, content.len() as u8], content].concat()
}

/// A protobuf field of an integer.
fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// `y = Op (x)` over `float[2, 3]`, in ONNX's wire format.
fn model(op: &str) -> Vec<u8> {
    let extents = [field(1, &number(1, 2)), field(1, &number(1, 3))].concat();
    let tensor = [number(1, 1), field(2, &extents)].concat();
    let typed = |name: &str| [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat();
    let node = [field(1, b"x"), field(2, b"y"), field(3, b"the node"), field(4, op.as_bytes())].concat();
    let graph = [field(1, &node), field(2, b"g"), field(11, &typed("x")), field(12, &typed("y"))].concat();
    [number(1, 8), field(8, &number(2, 17)), field(7, &graph)].concat()
}

#[test]
fn a_model_is_summarized_and_built() {
    let Some(worker) = worker() else { return };
    let options = BuildOptions::for_target(86);
    let result = read_onnx(&worker, Onnx::Bytes(model("Relu").into()), Some(&options));
    let (summary, engine) = result.unwrap_or_else(|error| panic!("{}", error.diagnostic()));
    let output = &summary.outputs[0];
    assert_eq!(
        (output.name.as_str(), output.data_type, output.dims.as_deref()),
        ("y", DataType::F32, Some([2, 3].as_slice()))
    );
    assert_eq!(summary.essential().get("ACTIVATION"), Some(&1));
    let engine = engine.unwrap();
    let origins: Vec<_> = kernels(&engine.layers).flat_map(|layer| &layer.origins).collect();
    assert_eq!(origins, ["the node"]);
}

#[test]
fn a_model_in_a_file_is_the_same_network() {
    let Some(worker) = worker() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relu.onnx");
    std::fs::write(&path, model("Relu")).unwrap();
    let from_file = read_onnx(&worker, Onnx::File(path), None).unwrap().0;
    assert_eq!(from_file, read_onnx(&worker, Onnx::Bytes(model("Relu").into()), None).unwrap().0);
}

#[test]
fn an_operator_that_the_parser_does_not_know_is_named_in_the_error() {
    let Some(worker) = worker() else { return };
    let error = read_onnx(&worker, Onnx::Bytes(model("Frobnicate").into()), None).unwrap_err();
    let text = error.diagnostic().to_string();
    assert!(matches!(error, Error::Parser { .. }) && text.contains("Frobnicate"), "{text}");
}

#[test]
fn bytes_that_are_no_model_are_an_error() {
    let Some(worker) = worker() else { return };
    let error = read_onnx(&worker, Onnx::Bytes(vec![0xff; 100].into()), None).unwrap_err();
    assert!(matches!(error, Error::Parser { .. }), "{error}");
}
