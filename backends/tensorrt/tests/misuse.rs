//! Networks and models that the library must not get, or takes badly: each is an error with a reason, and the worker goes on.
//!
//! Ends early, and says so, on a machine without the library.

use eutectic_tensorrt::engine::{self, BuildOptions, build_in};
use eutectic_tensorrt::layer::*;
use eutectic_tensorrt::parser::{Onnx, read_onnx_in};
use eutectic_tensorrt::spec::{DataType, NetworkSpec, TensorRef};
use eutectic_tensorrt::{Error, Session};

/// A network of inputs `a` and `b`, and what `fill` adds.
fn network(
    a: (DataType, &[i64]),
    b: (DataType, &[i64]),
    fill: impl FnOnce(&mut NetworkSpec, TensorRef, TensorRef) -> TensorRef,
) -> NetworkSpec {
    let mut spec = NetworkSpec::new("misuse");
    let first = spec.input("a", a.0, a.1).unwrap();
    let second = spec.input("b", b.0, b.1).unwrap();
    let y = fill(&mut spec, first, second);
    spec.output("y", y);
    spec
}

fn sum(spec: &mut NetworkSpec, a: TensorRef, b: TensorRef) -> TensorRef {
    spec.add("sum", Layer::ElementWise { kind: ElementWiseKind::Sum, a, b })
}

fn product(spec: &mut NetworkSpec, a: TensorRef, b: TensorRef) -> TensorRef {
    let (a_as, b_as) = (MatrixKind::Plain, MatrixKind::Plain);
    spec.add("product", Layer::MatrixMultiply { a, a_as, b, b_as })
}

fn identity(spec: &mut NetworkSpec, input: TensorRef) -> TensorRef {
    spec.add("identity", Layer::Identity { input })
}

const F32: DataType = DataType::F32;

/// A sound network, to see that the session still works.
fn sound() -> NetworkSpec {
    network((F32, &[2, 3]), (F32, &[2, 3]), sum)
}

fn outcome(session: &mut Session, spec: &NetworkSpec) -> Result<(), Error> {
    build_in(session, spec, &BuildOptions::for_target(86)).map(|_| ())
}

#[test]
fn what_the_library_would_crash_on_or_misread_is_refused_before_it_gets_there() {
    let Some(worker) = crate::common::worker() else { return };
    let mut session = worker.session();
    let mut elsewhere = NetworkSpec::new("elsewhere");
    let foreign = (0..9).map(|at| elsewhere.input(format!("x{at}"), F32, &[1]).unwrap()).last().unwrap();
    let unsound: [(&str, NetworkSpec); 8] = [
        (
            "an empty concatenation",
            network((F32, &[1]), (F32, &[1]), |spec, _, _| {
                spec.add("concat", Layer::Concatenation { inputs: Vec::new(), axis: 0 })
            }),
        ),
        ("a tensor of another network", network((F32, &[1]), (F32, &[1]), |spec, a, _| sum(spec, a, foreign))),
        (
            "a constant of too few bytes",
            network((F32, &[4]), (F32, &[4]), |spec, a, _| {
                let weights = spec.weights(F32, vec![0; 12]);
                let short = spec.add("constant", Layer::Constant { weights, dims: vec![4] });
                sum(spec, a, short)
            }),
        ),
        ("no output", {
            let mut spec = sound();
            spec.outputs.clear();
            spec
        }),
        ("an input as an output", {
            let mut spec = NetworkSpec::new("misuse");
            let x = spec.input("x", F32, &[1]).unwrap();
            spec.output("y", x);
            spec
        }),
        ("a name twice", {
            let mut spec = sound();
            spec.outputs[0].name = "a".into();
            spec
        }),
        (
            "an axis beyond the rank that the library has",
            network((F32, &[2]), (F32, &[2]), |spec, input, _| spec.add("softmax", Layer::SoftMax { input, axis: 31 })),
        ),
        (
            "a fill value that the slice does not read",
            network((F32, &[2]), (F32, &[]), |spec, input, fill| {
                let part = |extent: i64| Extents::Known(vec![extent]);
                let mode = SliceMode::Strict;
                spec.add(
                    "slice",
                    Layer::Slice { input, start: part(0), size: part(1), stride: part(1), mode, fill: Some(fill) },
                )
            }),
        ),
    ];
    for (what, spec) in &unsound {
        assert!(matches!(outcome(&mut session, spec), Err(Error::Spec(_))), "{what}");
    }
    outcome(&mut session, &sound()).unwrap();
}

#[test]
fn what_the_library_refuses_is_an_error_that_says_why_and_the_session_goes_on() {
    let Some(worker) = crate::common::worker() else { return };
    let mut session = worker.session();
    let convolution = |spec: &mut NetworkSpec, input: TensorRef| {
        let kernel = Operand::Weights(spec.weights(F32, vec![0; 4 * 5 * 4]));
        let (bias, n_maps, groups, window) = (None, 4, 1, Window::plain(&[1, 1]));
        spec.add("convolution", Layer::Convolution { input, kernel, bias, n_maps, groups, window })
    };
    let refused: [(&str, NetworkSpec); 8] = [
        ("two types in one sum", network((F32, &[2]), (DataType::F16, &[2]), sum)),
        ("extents that do not broadcast", network((F32, &[2, 3]), (F32, &[2, 5]), sum)),
        ("two ranks in one sum", network((F32, &[2, 3]), (F32, &[3]), sum)),
        ("a product of integers", network((DataType::I64, &[2, 3]), (DataType::I64, &[3, 2]), product)),
        (
            "channels that the kernel does not have",
            network((F32, &[1, 3, 4, 4]), (F32, &[1]), |spec, a, _| convolution(spec, a)),
        ),
        ("a dynamic input without a profile", network((F32, &[-1, 3]), (F32, &[1, 3]), sum)),
        ("more axes than the library has", network((F32, &[1; 9]), (F32, &[1; 9]), sum)),
        (
            "8-bit floats on a device without them",
            network((F32, &[16, 16]), (F32, &[1]), |spec, input, _| {
                let weights = spec.weights(F32, 1f32.to_le_bytes().to_vec());
                let scale = spec.add("scale", Layer::Constant { weights, dims: Vec::new() });
                let to = DataType::F8E4M3;
                let q = spec.add("quantize", Layer::Quantize { input, scale, scaling: Scaling::PerTensor, to });
                spec.add("dequantize", Layer::Dequantize { input: q, scale, scaling: Scaling::PerTensor, to: F32 })
            }),
        ),
    ];
    for (what, spec) in &refused {
        let error = outcome(&mut session, spec).expect_err(what);
        let diagnostic = error.diagnostic();
        assert!(matches!(error, Error::Layer { .. } | Error::Build { .. }), "{what}: {diagnostic}");
        assert!(!error.to_string().contains("it gives no reason"), "{what}: {diagnostic}");
        outcome(&mut session, &sound()).unwrap_or_else(|error| panic!("after {what}: {}", error.diagnostic()));
    }
}

#[test]
fn what_is_unusual_but_allowed_is_built() {
    let Some(worker) = crate::common::worker() else { return };
    let mut session = worker.session();
    let attention = network((F32, &[1, 2, 4, 8]), (F32, &[1, 2, 4, 8]), |spec, query, key| {
        spec.add("attention", Layer::Attention { query, key, value: key, mask: None, causal: false })
    });
    let eight_axes = network((F32, &[1, 1, 1, 1, 1, 1, 2, 3]), (F32, &[1; 8]), sum);
    let alone = network((F32, &[2]), (F32, &[2]), |spec, a, _| identity(spec, a));
    for (what, spec) in
        [("attention in F32", attention), ("eight axes", eight_axes), ("an input that nobody reads", alone)]
    {
        outcome(&mut session, &spec).unwrap_or_else(|error| panic!("{what}: {}", error.diagnostic()));
    }
}

#[test]
fn bytes_that_are_no_model_leave_the_parser_standing() {
    let Some(worker) = crate::common::worker() else { return };
    let mut session = worker.session();
    let truncated = {
        let relu = [0x08, 0x08, 0x3a, 0x40, 0x0a, 0x10, 0x0a, 0x01, 0x78];
        relu.to_vec()
    };
    for bytes in [vec![0xff; 4096], vec![0; 64], truncated, b"not a model".to_vec(), Vec::new()] {
        let error = read_onnx_in(&mut session, Onnx::Bytes(bytes.into()), None).expect_err("no model");
        assert!(matches!(error, Error::Parser { .. }), "{}", error.diagnostic());
    }
    outcome(&mut session, &sound()).unwrap();
}

#[test]
fn a_plan_that_was_not_built_here_is_not_loaded() {
    let Some(worker) = crate::common::worker() else { return };
    let library = worker.library_version().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let foreign = directory.path().join("foreign.plan");
    std::fs::write(&foreign, [0xff; 4096]).unwrap();
    let error = engine::load(&foreign, library, None).unwrap_err();
    assert!(matches!(&error, Error::Plan { problem, .. } if problem.contains("no manifest")), "{error}");
}
