//! What graphs with quantized products and convolutions become on the device, without one.
//!
//! NVRTC comes with `pip install nvidia-cuda-nvrtc`; where the loader does not find it, nothing is compiled.

use eutectic_cuda::{Cuda, Expanded, Library, Precision, Whole, compile};
use eutectic_ir::eval::run_model;
use eutectic_ir::tensor::Seed;
use eutectic_ir::verify::verify;
use eutectic_ir::{Element, Model, Tensor};
use eutectic_passes::cost::Device;
use eutectic_passes::regions::{Fusions, form};

/// Two linear layers whose operands are quantized to the element type with this code, an activation between them.
fn linear(code: i32, activation: &str) -> Model {
    let text = format!(
        r#"<ir_version: 11, opset_import: ["": 24]>
        g (float[2,4,64] x) => (float[2,4,32] y) <
            float[64,128] w = ["location": "seed:1", "low": "-1", "high": "1"],
            float[128] b = ["location": "seed:2", "low": "-1", "high": "1"],
            float[128,32] u = ["location": "seed:3", "low": "-1", "high": "1"],
            float[128] sw = ["location": "seed:4", "low": "0.004", "high": "0.008"],
            float[32] su = ["location": "seed:5", "low": "0.004", "high": "0.008"],
            float sx = {{0.01}}, float sh = {{0.05}}
        > {{
            wq = QuantizeLinear <axis: int = 1, output_dtype: int = {code}> (w, sw)
            wd = DequantizeLinear <axis: int = 1> (wq, sw)
            uq = QuantizeLinear <axis: int = 1, output_dtype: int = {code}> (u, su)
            ud = DequantizeLinear <axis: int = 1> (uq, su)
            xq = QuantizeLinear <output_dtype: int = {code}> (x, sx)
            xd = DequantizeLinear (xq, sx)
            p = MatMul (xd, wd)
            a = Add (p, b)
            h = {activation} (a)
            hq = QuantizeLinear <output_dtype: int = {code}> (h, sh)
            hd = DequantizeLinear (hq, sh)
            y = MatMul (hd, ud)
        }}"#
    );
    parsed(&text)
}

/// A residual block of two convolutions in int8; `zero` is the zero point of what comes in.
fn block(zero: i32) -> Model {
    let text = format!(
        r#"<ir_version: 11, opset_import: ["": 24]>
        g (float[1,16,8,8] x) => (float[1,16,8,8] y) <
            float[16,16,3,3] w = ["location": "seed:1", "low": "-1", "high": "1"],
            float[16] b = ["location": "seed:2", "low": "-1", "high": "1"],
            float[16,16,1,1] u = ["location": "seed:3", "low": "-1", "high": "1"],
            float[16] s = ["location": "seed:4", "low": "0.004", "high": "0.008"],
            float sx = {{0.01}}, int8 zx = {{{zero}}}, float sh = {{0.1}}
        > {{
            wq = QuantizeLinear <axis: int = 0, output_dtype: int = 3> (w, s)
            wd = DequantizeLinear <axis: int = 0> (wq, s)
            uq = QuantizeLinear <axis: int = 0, output_dtype: int = 3> (u, s)
            ud = DequantizeLinear <axis: int = 0> (uq, s)
            xq = QuantizeLinear (x, sx, zx)
            xd = DequantizeLinear (xq, sx, zx)
            c = Conv <pads: ints = [1,1,1,1]> (xd, wd, b)
            r = Relu (c)
            rq = QuantizeLinear <output_dtype: int = 3> (r, sh)
            rd = DequantizeLinear (rq, sh)
            d = Conv (rd, ud, b)
            t = Add (d, xd)
            y = Relu (t)
        }}"#
    );
    parsed(&text)
}

fn parsed(text: &str) -> Model {
    eutectic_ir::text::parse_model(text).unwrap_or_else(|problems| panic!("{text}: {problems}")).0
}

fn divided(cuda: &Cuda, model: &Model, fusions: &str) -> Expanded {
    let mut expanded = cuda.expand(model, Whole::ALL, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    form(&mut expanded.model, &expanded.abilities, &Fusions::of(&[fusions.into()]), &Device::h200());
    expanded
}

/// The kernels of `model` with every fusion, copies left out. Each is compiled where NVRTC is present, and the divided model must compute
/// what `model` computes.
fn kernels(model: &Model, precision: Precision) -> Vec<String> {
    let cuda = Cuda { precision, cache: None };
    let expanded = divided(&cuda, model, "all");
    let problems = verify(&expanded.model);
    assert!(!problems.has_errors(), "{problems}");
    let ty = model.graph.ty(model.graph.inputs()[0]).expect("typed");
    let shape = ty.sizes().expect("known sizes");
    let x = Tensor::seeded(Element::Float, &shape, Seed { seed: 9, low: -1.0, high: 1.0 }).expect("small");
    let values = |model: &Model| {
        let outputs = run_model::<f64>(model, &[Some(x.clone())]).unwrap_or_else(|problem| panic!("{problem}"));
        outputs[0].to_tensor().expect("a tensor").to_f64s().expect("numbers")
    };
    assert_eq!(values(model), values(&expanded.model));
    let sources = cuda.sources(&expanded).unwrap_or_else(|problems| panic!("{problems}"));
    // Each for one architecture, all three in turn: those of one model are much alike.
    for (source, architecture) in sources.iter().zip([80, 90, 120].into_iter().cycle()) {
        if Library::Nvrtc.is_present()
            && let Err(problem) = compile(source, architecture)
        {
            panic!("sm_{architecture}: {problem:?}\n{source}");
        }
    }
    let listing = cuda.listing(&expanded).unwrap_or_else(|problems| panic!("{problems}"));
    listing.into_iter().map(|launch| launch.name).filter(|name| name != "copy").collect()
}

#[test]
fn a_linear_layer_computes_on_stored_numbers_and_quantizes_its_own_result() {
    for code in [Element::Int8.code(), Element::Float8E4M3FN.code()] {
        for precision in [Precision::F16, Precision::F32] {
            assert_eq!(
                kernels(&linear(code, "Gelu"), precision),
                [
                    "QuantizeLinear",
                    "DequantizeLinear+DequantizeLinear+MatMul+Add+Gelu+QuantizeLinear",
                    "DequantizeLinear+DequantizeLinear+MatMul",
                ]
            );
        }
    }
}

#[test]
fn a_residual_block_keeps_integers_in_memory_only() {
    assert_eq!(
        kernels(&block(0), Precision::F16),
        [
            "QuantizeLinear",
            "DequantizeLinear+DequantizeLinear+Conv+Relu+QuantizeLinear",
            "DequantizeLinear+DequantizeLinear+DequantizeLinear+Conv+Add+Relu",
        ]
    );
}

#[test]
fn what_has_a_zero_point_is_dequantized_before_it_is_multiplied() {
    let found = kernels(&block(3), Precision::F16);
    let first = found.iter().find(|name| name.contains("Conv")).expect("a convolution");
    assert!(!first.contains("Dequantize"), "{found:?}");
    assert!(found.iter().any(|name| name.contains("DequantizeLinear+DequantizeLinear+Conv")), "{found:?}");
}

#[test]
fn without_the_pattern_weights_are_dequantized_once_and_for_all() {
    let cuda = Cuda { precision: Precision::F16, cache: None };
    let listing = cuda.listing(&divided(&cuda, &block(0), "none")).expect("every call has a kernel");
    let names: Vec<String> = listing.into_iter().map(|launch| launch.name).filter(|name| name != "copy").collect();
    let apart = [
        "QuantizeLinear",
        "DequantizeLinear",
        "Conv",
        "Relu",
        "QuantizeLinear",
        "DequantizeLinear",
        "Conv",
        "Add",
        "Relu",
    ];
    assert_eq!(names, apart);
}
