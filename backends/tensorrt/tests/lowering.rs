//! Lowers small models and looks at the network descriptions, without TensorRT.

use eutectic_ir::diag::Diagnostics;
use eutectic_ir::tensor::Data;
use eutectic_ir::{Model, infer, text};
use eutectic_tensorrt::engine::{Profile, ProfileRange};
use eutectic_tensorrt::layer::{Extents, Layer, Operand};
use eutectic_tensorrt::lower::{LowerOptions, lower, unsupported};
use eutectic_tensorrt::spec::{DataType, NetworkSpec};

/// The model whose graph is `graph`, with the functions that follow it.
fn model(graph: &str) -> Model {
    let source = format!("<ir_version: 10, opset_import: [\"\": 23, \"fused\": 1]>\n{graph}");
    let (mut model, _) = text::parse_model(&source).unwrap_or_else(|problems| panic!("{problems}"));
    infer::infer(&mut model);
    model
}

fn try_lower(graph: &str, profiles: Vec<Profile>) -> Result<NetworkSpec, Diagnostics> {
    lower(&model(graph), &LowerOptions { profiles }).map(|lowered| lowered.spec)
}

fn lowered(graph: &str) -> NetworkSpec {
    try_lower(graph, Vec::new()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A profile in which every dynamic input is what it is.
fn profile(input: &str, extents: &[i64]) -> Vec<Profile> {
    let (min, opt, max) = (extents.to_vec(), extents.to_vec(), extents.to_vec());
    vec![Profile { inputs: vec![ProfileRange { input: input.into(), is_values: false, min, opt, max }] }]
}

fn kinds(spec: &NetworkSpec) -> Vec<&str> {
    spec.layers.iter().map(|layer| layer.layer.kind()).collect()
}

const CONVOLUTION: &str = "g (float[1,8,6,6] x) => (float[1,4,6,6] y) <float[4,8,3,3] w = [\"location\": \"seed:1\"], float[4] b = {1,2,3,4}> {
    [first] c = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (x, w, b)
    [second] y = Relu (c)
}";

#[test]
fn layers_have_the_names_of_their_nodes() {
    let spec = lowered(CONVOLUTION);
    let named: Vec<_> = spec.layers.iter().map(|layer| (layer.layer.kind(), layer.name.as_str())).collect();
    assert_eq!(named, [("Convolution", "first"), ("Activation", "second")]);
    assert_eq!(spec.layers[0].origins, ["first"]);
}

#[test]
fn two_nodes_of_one_name_give_two_layers_of_two_names() {
    let spec = lowered("g (float[2] x) => (float[2] y) { [a] h = Relu (x) [a] y = Relu (h) }");
    let names: Vec<_> = spec.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["a", "a/relu"]);
}

#[test]
fn a_bias_of_zeros_is_left_out() {
    let spec = lowered(&CONVOLUTION.replace("= {1,2,3,4}", "= [\"location\": \"splat:0\"]"));
    assert!(matches!(&spec.layers[0].layer, Layer::Convolution { bias: None, .. }), "{:?}", spec.layers[0]);
}

#[test]
fn the_bytes_of_a_weight_are_those_of_the_model() {
    let model = model(CONVOLUTION);
    let bias = model.graph.values().find(|(_, value)| value.name == "b").and_then(|(_, value)| value.weight()).unwrap();
    let Data::Bytes(bytes) = bias.data() else { panic!("the bias is written out") };
    let spec = lower(&model, &LowerOptions { profiles: Vec::new() }).unwrap().spec;
    assert!(spec.weights.iter().any(|weights| weights.contents.bytes().as_ptr() == bytes.as_ptr()));
}

#[test]
fn a_weight_that_is_read_twice_enters_the_network_once() {
    let spec = lowered(
        "g (float[2,3] x, float[5,2,3] z) => (float[2,3] y, float[5,2,3] u) <float[3] w = {1,2,3}> {
            y = Add (x, w)
            u = Add (z, w)
        }",
    );
    assert_eq!(spec.weights.len(), 1);
    let dims = spec.layers.iter().filter_map(|layer| match &layer.layer {
        Layer::Constant { dims, .. } => Some(dims.clone()),
        _ => None,
    });
    assert_eq!(dims.collect::<Vec<_>>(), [vec![1, 3], vec![1, 1, 3]]);
}

#[test]
fn a_convolution_along_a_line_gets_a_second_axis() {
    let spec = lowered(
        "g (float[1,8,16] x) => (float[1,4,8] y) <float[4,8,3] w = [\"location\": \"seed:1\"]> {
            y = Conv <kernel_shape = [3], pads = [1,1], strides = [2]> (x, w)
        }",
    );
    assert_eq!(kinds(&spec), ["Unsqueeze", "Convolution", "Squeeze"]);
    let Layer::Convolution { window, .. } = &spec.layers[1].layer else { panic!("{:?}", spec.layers[1]) };
    assert_eq!((window.kernel.as_slice(), window.strides.as_slice()), ([1, 3].as_slice(), [1, 2].as_slice()));
    assert_eq!((window.pre_padding.as_slice(), window.post_padding.as_slice()), ([0, 1].as_slice(), [0, 1].as_slice()));
}

#[test]
fn constant_statistics_become_one_product_and_one_sum() {
    let spec = lowered(
        "g (float[1,2,4,4] x) => (float[1,2,4,4] y)
         <float[2] s = {2,3}, float[2] b = {1,1}, float[2] m = {4,5}, float[2] v = {4,9}> {
            y = BatchNormalization <epsilon = 0.0> (x, s, b, m, v)
        }",
    );
    assert_eq!(kinds(&spec), ["Constant", "Constant", "ElementWise", "ElementWise"]);
    let values = |at: usize| -> Vec<f32> {
        spec.weights[at].contents.bytes().chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    assert_eq!((values(0), values(1)), (vec![1.0, 1.0], vec![-3.0, -4.0]));
}

#[test]
fn the_body_of_a_fused_operator_is_lowered_in_its_place() {
    let spec = lowered(
        "g (float[2,3] x, float[3,4] w) => (float[2,4] y) { [call] y = fused.MatMulRelu (x, w) }
        <domain: \"fused\", opset_import: [\"\": 23]>
        MatMulRelu (a, b) => (c) { [product] p = MatMul (a, b) [end] c = Relu (p) }",
    );
    let named: Vec<_> = spec.layers.iter().map(|layer| (layer.name.as_str(), layer.origins[0].as_str())).collect();
    assert_eq!(named, [("call/product", "call/product"), ("call/end", "call/end")]);
    assert_eq!(spec.outputs[0].name, "y");
}

#[test]
fn an_attribute_of_a_call_reaches_the_body() {
    let spec = lowered(
        "g (float[2] x) => (float[2] y) { y = fused.Leaky <slope = 0.25> (x) }
        <domain: \"fused\", opset_import: [\"\": 23]>
        Leaky <slope> (a) => (b) { b = LeakyRelu <alpha = @slope> (a) }",
    );
    assert!(matches!(spec.layers[0].layer, Layer::Activation { alpha: Some(0.25), .. }), "{:?}", spec.layers[0]);
}

#[test]
fn shape_arithmetic_that_inference_knows_leaves_no_layers() {
    let spec = lowered(
        "g (float[2,3,4] x) => (float[6,4] y) <int64[1] last = {4}, int64[1] rest = {-1}> {
            s = Shape <start = 2> (x)
            t = Concat <axis = 0> (rest, s)
            y = Reshape (x, t)
        }",
    );
    assert_eq!(kinds(&spec), ["Shuffle"]);
}

#[test]
fn a_dynamic_reshape_copies_and_infers_where_it_can() {
    let graph = "g (float[n,12,s,64] x) => (float[n,s,768] y) <int64[3] shape = {0,-1,768}> {
        t = Transpose <perm = [0,2,1,3]> (x)
        y = Reshape (t, shape)
    }";
    let spec = try_lower(graph, profile("x", &[1, 12, 5, 64])).unwrap_or_else(|problems| panic!("{problems}"));
    let Layer::Shuffle { reshape: Some(Extents::Known(extents)), zero_copies, .. } = &spec.layers[1].layer else {
        panic!("{:?}", spec.layers[1])
    };
    assert_eq!((extents.as_slice(), *zero_copies), ([0, 0, 768].as_slice(), true));
}

#[test]
fn an_input_that_is_an_output_is_copied() {
    let spec = lowered("g (float[2] x) => (float[2] y, float[2] z) { y = Identity (x) z = Relu (x) }");
    assert_eq!(kinds(&spec), ["Activation", "Identity"]);
    assert_eq!(spec.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>(), ["y", "z"]);
}

#[test]
fn a_computed_kernel_is_an_operand_of_the_convolution() {
    let spec = lowered(
        "g (float[1,2,4,4] x, float[3,2,1,1] w) => (float[1,3,4,4] y) {
            k = Relu (w)
            y = Conv <kernel_shape = [1,1]> (x, k)
        }",
    );
    assert!(matches!(&spec.layers[1].layer, Layer::Convolution { kernel: Operand::Tensor(_), n_maps: 3, .. }));
}

#[test]
fn everything_that_has_no_lowering_is_reported_at_once() {
    let found = unsupported(&model(
        "g (float[1,2,4,4] x) => (y, z) <float[4] s = {1,1,2,2}> {
            [a] p = Resize <antialias = 1, mode = \"linear\"> (x, , s)
            [b] q = Resize <antialias = 1, mode = \"linear\"> (x, , s)
            [c] y = Det (p)
            [d] z = custom.Frob (q)
            [e] u = Det (x)
        }",
    ));
    let messages: Vec<_> = found.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        messages,
        ["Det can't be lowered: it has no lowering to TensorRT", "Resize can't be lowered: it antialiases",]
    );
    assert_eq!(
        found.iter().flat_map(|problem| &problem.notes).collect::<Vec<_>>(),
        ["1 call, first `e`", "2 calls, first `a`"]
    );
    assert_eq!(found[1].help.as_deref(), Some("supported: antialias 0"));
}

#[test]
fn what_a_constant_condition_keeps_is_gathered() {
    for (attributes, axis) in [("<axis = 1>", 1), ("", 0)] {
        let spec = lowered(&format!(
            "g (float[2,4] x) => (float y) <bool[4] c = {{0,1,0,1}}> {{ t = Compress {attributes} (x, c) y = ReduceSum <keepdims = 0> (t) }}"
        ));
        let gathered = spec.layers.iter().find_map(|layer| match &layer.layer {
            Layer::Gather { axis, .. } => Some(*axis),
            _ => None,
        });
        let indices: Vec<i64> = spec
            .weights
            .iter()
            .find(|weights| weights.data_type == DataType::I64 && weights.count == 2)
            .map(|weights| {
                weights.contents.bytes().chunks(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap())).collect()
            })
            .unwrap_or_default();
        assert_eq!((gathered, indices), (Some(axis), vec![1, 3]), "{attributes}");
    }
}

#[test]
fn an_operator_whose_extents_depend_on_contents_is_refused_with_the_nearest_form() {
    let found = unsupported(&model("g (bool[2,3] x) => (int64[2,n] y) { y = NonZero (x) }"));
    assert_eq!(found[0].message, "NonZero can't be lowered: the extents of its result depend on contents");
    assert_eq!(found[0].help.as_deref(), Some("supported: a mask, and Where"));
}

#[test]
fn an_input_of_doubles_is_refused_with_the_nearest_type() {
    let found = unsupported(&model("g (double[2] x) => (double[2] y) { y = Relu (x) }"));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].code, found[0].help.as_deref()), ("B0602", Some("supported: cast to float")));
}

#[test]
fn a_dynamic_input_without_a_profile_is_refused() {
    let problems = try_lower("g (float[n,2] x) => (float[n,2] y) { y = Relu (x) }", Vec::new()).unwrap_err();
    assert_eq!(problems.0[0].code, "B0603");
}

#[test]
fn half_precision_stays_half_precision() {
    let spec =
        lowered("g (float16[2,4] x) => (float16[2,4] y) <float16[4] w = {1,2,3,4}> { y = RMSNormalization (x, w) }");
    use eutectic_tensorrt::spec::DataType::{F16, F32};
    let casts = spec.layers.iter().filter_map(|layer| match layer.layer {
        Layer::Cast { to, .. } => Some(to),
        _ => None,
    });
    let casts: Vec<_> = casts.collect();
    assert_eq!(casts, [F32, F16]);
}

#[test]
fn an_empty_part_of_a_join_is_left_out() {
    let spec = lowered(
        "g (float[2,3] x) => (float[4,3] y) <float[0,3] none = {}> {
            y = Concat <axis = 0> (x, none, x)
        }",
    );
    assert_eq!(kinds(&spec), ["Concatenation"]);
}

#[test]
fn a_mean_behind_a_convolution_is_a_pooling() {
    let behind = |epilogue: &str| {
        let spec = lowered(&format!(
            "g (float[1,8,6,6] x) => (y) <float[8,8,3,3] w = [\"location\": \"seed:1\"]> {{
                c = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (x, w)
                {epilogue}
                y = GlobalAveragePool (e)
            }}"
        ));
        spec.layers.last().map(|layer| layer.layer.kind())
    };
    for epilogue in ["e = Relu (c)", "s = Add (c, x) e = Relu (s)", "s = Sigmoid (c) e = Mul (c, s)"] {
        assert_eq!(behind(epilogue), Some("Pooling"), "{epilogue}");
    }
    // A reduction shares the kernel of what is before it.
    for epilogue in ["e = Concat <axis = 0> (c, x)", "h = Cast <to = 10> (c) e = Cast <to = 1> (h)"] {
        assert_eq!(behind(epilogue), Some("Reduce"), "{epilogue}");
    }
}

#[test]
fn a_mean_behind_a_convolution_of_quantized_numbers_is_a_reduction() {
    let spec = lowered(
        "g (float[1,8,6,6] x) => (y) <float[8,8,1,1] w = [\"location\": \"seed:1\"], float s = {0.1}, int8 z = {0}> {
            q = QuantizeLinear (x, s, z)
            d = DequantizeLinear (q, s, z)
            c = Conv <kernel_shape = [1,1]> (d, w)
            y = GlobalAveragePool (c)
        }",
    );
    assert_eq!(spec.layers.last().map(|layer| layer.layer.kind()), Some("Reduce"));
}

#[test]
fn a_mean_over_a_large_or_open_plane_is_a_reduction() {
    for extent in ["64", "n"] {
        let graph = format!(
            "g (float[1,8,{extent},64] x) => (y) <float[8,8,1,1] w = [\"location\": \"seed:1\"]> {{
                c = Conv <kernel_shape = [1,1]> (x, w)
                y = GlobalAveragePool (c)
            }}"
        );
        let profiles = if extent == "n" { profile("x", &[1, 8, 4, 64]) } else { Vec::new() };
        let spec = try_lower(&graph, profiles).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(kinds(&spec), ["Convolution", "Reduce"], "{extent}");
    }
}

#[test]
fn attention_without_a_mask_is_the_layer_of_the_library() {
    let of = |attributes: &str, inputs: &str, value: &str| {
        let spec = lowered(&format!(
            "g (float[1,4,6,8] q, float[1,4,6,8] k, float[{value}] v, float[6,6] m) => (y) {{ y = Attention {attributes} (q, k, v{inputs}) }}"
        ));
        spec.layers.iter().any(|layer| layer.layer.kind() == "Attention")
    };
    assert!(of("<scale = 0.5>", "", "1,4,6,8"));
    for (attributes, inputs, value) in [
        ("", ", m", "1,4,6,8"),
        ("<is_causal = 1>", "", "1,4,6,8"),
        ("<softcap = 2.0>", "", "1,4,6,8"),
        // The layer wants values as wide as keys.
        ("", "", "1,4,6,16"),
    ] {
        assert!(!of(attributes, inputs, value), "{attributes} {inputs} {value}");
    }
}
