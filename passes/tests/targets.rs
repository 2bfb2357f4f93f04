//! What is optimized for one target and not for another.

use eutectic_ir::Model;
use eutectic_ir::text::parse_model;
use eutectic_passes::optimize::{Options, optimize};
use eutectic_passes::rules::Library;
use eutectic_passes::target::{FUSION_DOMAIN, Target};

fn model(graph: &str) -> Model {
    let source = format!("<ir_version: 10, opset_import: [\"\": 18]>\n{graph}");
    parse_model(&source).unwrap_or_else(|problems| panic!("{problems}")).0
}

fn optimized(mut model: Model, target: Target) -> Model {
    let options = Options::standard(target).unwrap_or_else(|problems| panic!("{problems}")).admitting(&model);
    optimize(&mut model, &options).unwrap_or_else(|problems| panic!("{target}: {problems}"));
    model
}

fn operators(model: &Model) -> Vec<String> {
    let mut all: Vec<String> = model.graph.nodes().map(|(_, node)| node.op.to_string()).collect();
    all.sort();
    all
}

#[test]
fn what_was_written_for_one_target_is_optimized_for_every_other() {
    let source = model(
        "g (float[1,8,16,16] x) => (float[1,8,16,16] y) <float[8,8,3,3] w = [\"location\": \"seed:1\"], float[8] b = {1,2,3,4,5,6,7,8}> {
            c = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (x, w, b)
            r = Relu (c)
            y = Add (r, x)
        }",
    );
    let fused = optimized(source.clone(), Target::Portable);
    assert!(operators(&fused).iter().any(|op| op.starts_with(FUSION_DOMAIN)), "{:?}", operators(&fused));
    for &target in Target::ALL {
        assert_eq!(
            operators(&optimized(fused.clone(), target)),
            operators(&optimized(source.clone(), target)),
            "{target}"
        );
    }
}

#[test]
fn products_of_one_input_are_left_to_the_builder_of_tensorrt() {
    let source = model(
        "g (float[1,512] x) => (float[1,512] y)
        <float[512,512] u = [\"location\": \"seed:1\"], float[512,512] v = [\"location\": \"seed:2\"],
         float[512,512] w = [\"location\": \"seed:3\"]> {
            a = MatMul (x, u)
            b = MatMul (x, v)
            c = MatMul (x, w)
            t = Tanh (a)
            s = Sigmoid (b)
            p = Mul (t, s)
            y = Add (p, c)
        }",
    );
    let products = |target| operators(&optimized(source.clone(), target)).iter().filter(|op| *op == "MatMul").count();
    assert_eq!((products(Target::Onnx), products(Target::TensorRt)), (1, 3));
}

#[test]
fn what_a_target_does_without_are_rules_of_the_library() {
    let library = Library::built_in().unwrap_or_else(|problems| panic!("{problems}"));
    let without = |target: Target| library.standard().filter(|rule| !target.profits_from(&rule.name)).count();
    assert_eq!(Target::ALL.iter().map(|&target| without(target)).collect::<Vec<_>>(), [0, 0, 0, 6, 0]);
}

#[test]
fn what_onnx_runtime_has_no_kernel_for_is_neither_made_nor_left_where_it_would_be_refused() {
    let source = |opset: u64, body: &str| {
        let text =
            format!("<ir_version: 11, opset_import: [\"\": {opset}]>\ng (float[4,6] x) => (float[4,6] y) {{ {body} }}");
        parse_model(&text).unwrap_or_else(|problems| panic!("{problems}")).0
    };
    let (spelled, called) = ("s = Sigmoid (x)  y = Mul (s, x)", "y = Swish <alpha: float = 1.0> (x)");
    let after = |opset, body, target| operators(&optimized(source(opset, body), target));
    for target in [Target::Portable, Target::Onnx] {
        assert_eq!(after(18, spelled, target), ["Swish"]);
        for body in [spelled, called] {
            assert_eq!(after(24, body, target), ["Swish"]);
            assert_eq!(after(25, body, target), ["Mul", "Sigmoid"]);
        }
    }
    for body in [spelled, called] {
        assert_eq!(after(25, body, Target::Ort), ["Mul", "Sigmoid"]);
        assert_eq!(after(25, body, Target::Cpu), ["Swish"]);
    }
}
