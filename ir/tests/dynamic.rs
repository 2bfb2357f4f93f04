//! Symbolic dims of inputs survive to the outputs, and declared types that contradict inference are reported.

use eutectic_ir::Diagnostics;
use eutectic_ir::infer::infer;
use eutectic_ir::model::Model;
use eutectic_ir::text::parse_model;

fn inferred(graph: &str) -> (Model, Diagnostics) {
    let source = format!("<ir_version: 10, opset_import: [\"\": 21]>\n{graph}");
    let (mut model, _) = parse_model(&source).map_err(|problems| problems.to_string()).expect("it reads");
    let (_, problems) = infer(&mut model);
    (model, problems)
}

/// The inferred type of each output; the graph declares none.
fn output_types(graph: &str) -> Vec<String> {
    let (model, problems) = inferred(graph);
    assert!(problems.0.is_empty(), "{problems}");
    let shown = |value| model.graph.value(value).ty.as_ref().map_or("?".into(), ToString::to_string);
    model.graph.outputs().iter().map(|output| shown(output.value)).collect()
}

#[test]
fn batch_and_sequence_survive_a_transformer_block() {
    let types = output_types(
        "block (float[batch,sequence,768] x, float[768,2304] wqkv, float[768,768] wo, float[768,3072] up, float[3072,768] down,
                float[768] scale, float[768] shift) => (y, probabilities)
         <int64[4] split = {0, 0, 12, 64}, int64[3] merge = {0, 0, -1}, float root = {8}>
         {
             qkv = MatMul (x, wqkv)
             q1, k1, v1 = Split <axis = 2, num_outputs = 3> (qkv)
             q2 = Reshape (q1, split)
             k2 = Reshape (k1, split)
             v2 = Reshape (v1, split)
             q = Transpose <perm = [0, 2, 1, 3]> (q2)
             k = Transpose <perm = [0, 2, 3, 1]> (k2)
             v = Transpose <perm = [0, 2, 1, 3]> (v2)
             scores = MatMul (q, k)
             scaled = Div (scores, root)
             probabilities = Softmax <axis = -1> (scaled)
             heads = MatMul (probabilities, v)
             turned = Transpose <perm = [0, 2, 1, 3]> (heads)
             merged = Reshape (turned, merge)
             projected = MatMul (merged, wo)
             first = Add (x, projected)
             normal = LayerNormalization <axis = -1> (first, scale, shift)
             wide = MatMul (normal, up)
             active = Gelu (wide)
             narrow = MatMul (active, down)
             y = Add (normal, narrow)
         }",
    );
    assert_eq!(types, ["float[batch,sequence,768]", "float[batch,12,sequence,sequence]"]);
}

/// Exporters compute the shapes of views from the shape of the input.
#[test]
fn batch_and_sequence_survive_shapes_that_the_graph_computes() {
    let types = output_types(
        "heads (float[batch,sequence,768] x, float[batch,12,past,64] cache) => (y, present, mask)
         <int64 zero = {0}, int64 one = {1}, int64[1] front = {0}, int64[2] width = {12, 64}, int64[1] hidden = {768},
          int64[1] third = {2}>
         {
             shape = Shape (x)
             n = Gather (shape, zero)
             s = Gather (shape, one)
             n1 = Unsqueeze (n, front)
             s1 = Unsqueeze (s, front)
             into = Concat <axis = 0> (n1, s1, width)
             split = Reshape (x, into)
             k = Transpose <perm = [0, 2, 1, 3]> (split)
             present = Concat <axis = 2> (cache, k)
             back = Transpose <perm = [0, 2, 1, 3]> (k)
             out = Concat <axis = 0> (n1, s1, hidden)
             y = Reshape (back, out)
             whole = Shape (present)
             total = Gather (whole, third)
             rows = Concat <axis = 0> (s1, total)
             mask = ConstantOfShape (rows)
         }",
    );
    let expected =
        ["float[batch,sequence,768]", "float[batch,12,sequence + past,64]", "float[sequence,sequence + past]"];
    assert_eq!(types, expected);
}

#[test]
fn the_batch_survives_a_convolutional_network() {
    let types = output_types(
        "net (float[N,3,224,224] x, float[64,3,7,7] w, float[64,64,3,3] u, float[1000,64] head) => (map, y)
         {
             stem = Conv <pads = [3, 3, 3, 3], strides = [2, 2]> (x, w)
             active = Relu (stem)
             pooled = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (active)
             inner = Conv <pads = [1, 1, 1, 1]> (pooled, u)
             map = Add (inner, pooled)
             mean = GlobalAveragePool (map)
             flat = Flatten (mean)
             y = Gemm <transB = 1> (flat, head)
         }",
    );
    assert_eq!(types, ["float[N,64,56,56]", "float[N,1000]"]);
}

#[test]
fn height_and_width_survive_where_a_network_halves_and_doubles_them() {
    let types = output_types(
        "net (float[N,3,\"2*H\",\"2*W\"] x, float[8,3,2,2] w) => (small, y)
         <float[0] roi = {}, float[4] scales = {1, 1, 2, 2}>
         {
             small = Conv <strides = [2, 2]> (x, w)
             y = Resize <mode = \"nearest\"> (small, roi, scales)
         }",
    );
    assert_eq!(types, ["float[N,8,H,W]", "float[N,8,2*H,2*W]"]);
}

#[test]
fn a_tensor_of_unknown_rank_regains_one_where_the_operator_gives_it() {
    let types = output_types(
        "g (float[n,m] x, int64[k] to, float16[2] like) => (loose, again, cast, sizes, flat)
         <int64[2] shape = {3, -1}>
         {
             loose = Reshape (x, to)
             active = Relu (loose)
             again = Reshape (active, shape)
             cast = CastLike (loose, like)
             sizes = Shape (loose)
             flat = Flatten (loose)
         }",
    );
    let expected = ["float[...]", "float[3,?again.1]", "float16[...]", "int64[?sizes.0]", "float[?flat.0,?flat.1]"];
    assert_eq!(types, expected);
}

#[test]
fn a_declared_type_that_inference_contradicts_is_reported_with_both_origins() {
    let (model, problems) = inferred(
        "g (float[N,3,32,32] x, float[8,3,3,3] w) => (float[N,8,32,32] y, float[N,8,30,30] z, int64[N,8] t)
         {
             y = Conv (x, w)
             z = Relu (y)
             t = Flatten (z)
         }",
    );
    assert!(!problems.has_errors(), "{problems}");
    let text = problems.to_string();
    assert_eq!(text.matches("I0201").count(), 2, "{text}");
    for part in [
        "`y`",
        "declared: float[N,8,32,32]",
        "inferred: float[N,8,30,30], from Conv call",
        "`t`",
        "declared: int64[N,8]",
        "inferred: float[N,7200], from Flatten call",
    ] {
        assert!(text.contains(part), "{part} is missing from\n{text}");
    }
    let y = model.graph.outputs()[0].value;
    assert_eq!(model.graph.ty(y).map(ToString::to_string).as_deref(), Some("float[N,8,30,30]"));
}
