//! Builds a small network of every family of operators and compares its outputs with the model's, and with those of NVIDIA's
//! parser on the same model.
//!
//! Every test ends early, and says so, on a machine without the library.

use eutectic_ir::{Element, Model, infer, text};
use eutectic_onnx::ExportOptions;
use eutectic_tensorrt::engine::{BuildOptions, Profile, ProfileRange};
use eutectic_tensorrt::parser::{Onnx, TensorSummary, read_onnx};
use eutectic_tensorrt::spec::DataType;
use eutectic_tensorrt::{EngineReport, TensorRt};

/// What NVIDIA's parser is to say of the model.
#[derive(Clone, Copy, PartialEq)]
enum Parser {
    /// It reads it, and its outputs are ours.
    Agrees,
    /// It does not read it.
    Refuses,
}

fn model(opset: u64, graph: &str) -> Model {
    let source = format!("<ir_version: 10, opset_import: [\"\": {opset}]>\n{graph}");
    let (mut model, _) = text::parse_model(&source).unwrap_or_else(|problems| panic!("{problems}"));
    infer::infer(&mut model);
    model
}

/// The outputs that the model declares.
fn declared(model: &Model) -> Vec<TensorSummary> {
    let outputs = model.graph.outputs().iter();
    let summary = |output: &eutectic_ir::graph::Output| {
        let ty = model.graph.ty(output.value).unwrap_or_else(|| panic!("`{}` has no type", output.name));
        let data_type = match ty.element {
            Element::Float => DataType::F32,
            Element::Float16 => DataType::F16,
            Element::Int64 => DataType::I64,
            Element::Int32 => DataType::I32,
            Element::Bool => DataType::Bool,
            other => panic!("{other}"),
        };
        let dims = ty.shape.iter().map(|dim| dim.as_known().unwrap_or(-1)).collect();
        TensorSummary { name: output.name.to_string(), data_type, dims: Some(dims) }
    };
    outputs.map(summary).collect()
}

fn check(opset: u64, graph: &str, parser: Parser, profiles: &[ProfileRange]) -> Option<EngineReport> {
    let worker = crate::common::worker()?;
    let mut options = BuildOptions::for_target(86);
    if !profiles.is_empty() {
        options.profiles = vec![Profile { inputs: profiles.to_vec() }];
    }
    let backend = TensorRt { worker, options };
    let model = model(opset, graph);
    let (report, _) = backend.build(&model).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(report.network.outputs, declared(&model));
    let bytes = eutectic_onnx::to_bytes(&model, &ExportOptions { opset: Some(opset), external_data: false })
        .unwrap_or_else(|problems| panic!("{problems}"));
    match (parser, read_onnx(&backend.worker, Onnx::Bytes(bytes.into()), None)) {
        (Parser::Agrees, Ok((theirs, _))) => {
            assert_eq!(report.network.inputs, theirs.inputs);
            assert_eq!(report.network.outputs, theirs.outputs);
        }
        (Parser::Agrees, Err(error)) => panic!("{}", error.diagnostic()),
        (Parser::Refuses, Ok(_)) => panic!("NVIDIA's parser reads it by now"),
        (Parser::Refuses, Err(_)) => {}
    }
    Some(report)
}

fn agrees(graph: &str) {
    check(18, graph, Parser::Agrees, &[]);
}

#[test]
fn convolutions() {
    agrees(
        r#"g (float[1,8,16,16] x, float[1,8,16] line, float[1,4,6,6,6] volume)
        => (float[1,4,16,16] same, float[1,8,8,8] grouped, float[1,4,8] on_line, float[1,2,6,6,6] in_volume,
            float[1,4,33,33] up, float[1,4,18,17] uneven)
        <float[4,8,3,3] w = ["location": "seed:1"], float[4] b = {1,2,3,4}, float[8,1,3,3] v = ["location": "seed:2"],
         float[4,8,3] u = ["location": "seed:3"], float[2,4,3,3,3] t = ["location": "seed:4"],
         float[8,4,3,3] s = ["location": "seed:5"]> {
            same = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (x, w, b)
            grouped = Conv <kernel_shape = [3,3], pads = [1,1,1,1], strides = [2,2], group = 8> (x, v)
            on_line = Conv <kernel_shape = [3], pads = [1,1], strides = [2]> (line, u, b)
            in_volume = Conv <kernel_shape = [3,3,3], pads = [1,1,1,1,1,1]> (volume, t)
            up = ConvTranspose <kernel_shape = [3,3], strides = [2,2]> (x, s, b)
            uneven = Conv <kernel_shape = [3,3], pads = [2,1,2,2]> (x, w)
        }"#,
    );
}

#[test]
fn poolings() {
    agrees(
        r#"g (float[1,8,16,16] x, float[1,8,16] line)
        => (float[1,8,8,8] largest, float[1,8,8,8] mean, float[1,8,8,8] up, float[1,8,1,1] all, float[1,8,1,1] top,
            float[1,8,8] on_line)
        {
            largest = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1], strides = [2,2]> (x)
            mean = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1], strides = [2,2], count_include_pad = 1> (x)
            up = MaxPool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1> (x)
            all = GlobalAveragePool (x)
            top = GlobalMaxPool (x)
            on_line = MaxPool <kernel_shape = [2], strides = [2]> (line)
        }"#,
    );
}

#[test]
fn products() {
    agrees(
        r#"g (float[4,8] a, float[2,3,8,5] b, float[8] v)
        => (float[2,3,4,5] batched, float[4] column, float[4,6] gemm, float[6,4] flipped, float[2,3,4,5] einsum)
        <float[8,6] w = ["location": "seed:1"], float[6,8] u = ["location": "seed:2"], float[6] c = {1,2,3,4,5,6}> {
            batched = MatMul (a, b)
            column = MatMul (a, v)
            gemm = Gemm <alpha = 0.5, beta = 2.0> (a, w, c)
            flipped = Gemm <transB = 1> (u, a)
            einsum = Einsum <equation = "ik,nhkj->nhij"> (a, b)
        }"#,
    );
}

#[test]
fn a_vector_times_a_batch_of_matrices() {
    // NVIDIA's parser squeezes the wrong axes here.
    check(18, "g (float[8] v, float[2,3,8,5] b) => (float[2,3,5] row) { row = MatMul (v, b) }", Parser::Refuses, &[]);
}

#[test]
fn arithmetic() {
    agrees(
        r#"g (float[2,3,4] x, float[4] y, int64[2,3] i, int64[3] j)
        => (float[2,3,4] sum, float[2,3,4] power, float[2,3,4] smallest, float[2,3,4] mean, float[2,3,4] erf, float[2,3,4] rest,
            int64[2,3] quotient, int64[2,3] remainder, float[2,3,4] floor)
        <float two = {2}> {
            sum = Add (x, y)
            power = Pow (x, two)
            smallest = Min (x, y, two)
            mean = Mean (x, y)
            erf = Erf (x)
            rest = Mod <fmod = 1> (x, y)
            quotient = Div (i, j)
            remainder = Mod (i, j)
            floor = Floor (x)
        }"#,
    );
}

#[test]
fn activations() {
    agrees(
        r#"g (float[2,3,4,5] x)
        => (float[2,3,4,5] leaky, float[2,3,4,5] elu, float[2,3,4,5] clip, float[2,3,4,5] below, float[2,3,4,5] hard,
            float[2,3,4,5] swish, float[2,3,4,5] mish, float[2,3,4,5] plus, float[2,3,4,5] prelu, float[2,3,4,5] soft,
            float[2,3,4,5] logs, float[2,3,4,5] celu, float[2,3,4,5] selu)
        <float zero = {0}, float six = {6}, float[3,1,1] slope = {1,2,3}> {
            leaky = LeakyRelu <alpha = 0.2> (x)
            elu = Elu (x)
            clip = Clip (x, zero, six)
            below = Clip (x, , six)
            hard = HardSigmoid (x)
            swish = HardSwish (x)
            mish = Mish (x)
            plus = Softplus (x)
            prelu = PRelu (x, slope)
            soft = Softmax <axis = 1> (x)
            logs = LogSoftmax <axis = -1> (x)
            celu = Celu <alpha = 0.5> (x)
            selu = Selu (x)
        }"#,
    );
}

#[test]
fn comparisons() {
    agrees(
        r#"g (float[2,3] x, float[3] y, bool[2,3] p, bool[3] q, int64[2,3] i)
        => (bool[2,3] equal, bool[2,3] above, bool[2,3] both, bool[2,3] neither, float[2,3] chosen, bool[2,3] flags, bool[2,3] same,
            bool[2,3] numbers)
        <int64[2,3] k = {1,2,3,4,5,6}> {
            equal = Equal (i, k)
            above = GreaterOrEqual (x, y)
            both = And (p, q)
            neither = Not (p)
            chosen = Where (p, x, y)
            flags = Where (p, q, both)
            same = Equal (p, q)
            numbers = IsNaN (x)
        }"#,
    );
}

#[test]
fn casts() {
    agrees(
        r#"g (float[2,3] x, int64[2,3] i, bool[2,3] p)
        => (float16[2,3] half, int32[2,3] narrow, float[2,3] real, bool[2,3] truth) {
            half = Cast <to = 10> (x)
            narrow = Cast <to = 6> (i)
            real = Cast <to = 1> (p)
            truth = Cast <to = 9> (i)
        }"#,
    );
}

#[test]
fn quantization() {
    agrees(
        r#"g (float[1,4,8,8] x) => (float[1,2,8,8] y)
        <float scale = {0.1}, int8 zero = {0}, int8[2,4,1,1] w = {1,2,3,4,5,6,7,8}, float[2] scales = {0.5,0.25},
         int8[2] zeros = {0,0}> {
            q = QuantizeLinear (x, scale, zero)
            d = DequantizeLinear (q, scale, zero)
            k = DequantizeLinear <axis = 0> (w, scales, zeros)
            y = Conv <kernel_shape = [1,1]> (d, k)
        }"#,
    );
}

#[test]
fn reductions() {
    agrees(
        r#"g (float[2,3,4] x)
        => (float[2,4] sum, float mean, float[2,3,1] largest, float[2,1,4] l2, float[2,3] logs, int64[2,4] at, float[2,3,2] top,
            int64[2,3,2] where, float[2,3,4] running, float[2,4] l1)
        <int64[1] one = {1}, int64[1] last = {-1}, int64[1] two = {2}, int64 axis = {1}> {
            sum = ReduceSum <keepdims = 0> (x, one)
            mean = ReduceMean <keepdims = 0> (x)
            largest = ReduceMax (x, last)
            l2 = ReduceL2 (x, one)
            logs = ReduceLogSumExp <keepdims = 0> (x, last)
            at = ArgMax <axis = 1, keepdims = 0> (x)
            top, where = TopK (x, two)
            running = CumSum (x, axis)
            l1 = ReduceL1 <keepdims = 0> (x, one)
        }"#,
    );
}

#[test]
fn normalizations() {
    agrees(
        r#"g (float[2,4,6,6] x, float[2,5,8] t)
        => (float[2,4,6,6] batch, float[2,4,6,6] instance, float[2,5,8] layer, float[2,5,8] plain, float[2,4,6,6] local, float[2,5,8] length)
        <float[4] s = {1,2,3,4}, float[4] b = {0,1,0,1}, float[4] m = {1,1,2,2}, float[4] v = {1,4,9,16},
         float[8] gain = ["location": "seed:1"], float[8] shift = ["location": "seed:2"]> {
            batch = BatchNormalization (x, s, b, m, v)
            instance = InstanceNormalization (x, s, b)
            layer = LayerNormalization (t, gain, shift)
            plain = LayerNormalization (t, gain)
            local = LRN <size = 5> (x)
            length = LpNormalization (t)
        }"#,
    );
}

#[test]
fn newer_normalizations() {
    check(
        23,
        r#"g (float[2,4,6,6] x, float[2,5,8] t) => (float[2,4,6,6] group, float[2,5,8] root)
        <float[4] s = {1,2,3,4}, float[4] b = {0,1,0,1}, float[8] gain = ["location": "seed:1"]> {
            group = GroupNormalization <num_groups = 2> (x, s, b)
            root = RMSNormalization (t, gain)
        }"#,
        Parser::Agrees,
        &[],
    );
}

#[test]
fn movements() {
    agrees(
        r#"g (float[2,12,4] x, float[1,8,2,2] blocks, float[3,1] thin)
        => (float[2,3,4,4] reshaped, float[2,48] flat, float[4,2,12] turned, float[2,24,4] joined, float[2,3,5] wide, float[2,24,4] tiled,
            float[1,2,4,4] spread, float[1,32,1,1] deep, float[3] squeezed, float[1,3,1] unsqueezed)
        <int64[4] shape = {0,3,-1,4}, int64[3] to = {2,3,5}, int64[3] times = {1,2,1}, int64[1] one = {1}, int64[1] front = {0}> {
            reshaped = Reshape (x, shape)
            flat = Flatten (x)
            turned = Transpose <perm = [2,0,1]> (x)
            joined = Concat <axis = 1> (x, x)
            wide = Expand (thin, to)
            tiled = Tile (x, times)
            spread = DepthToSpace <blocksize = 2> (blocks)
            deep = SpaceToDepth <blocksize = 2> (blocks)
            squeezed = Squeeze (thin, one)
            unsqueezed = Unsqueeze (thin, front)
        }"#,
    );
}

#[test]
fn slices() {
    agrees(
        r#"g (float[2,9,4] x, float[1,2,4,4] image)
        => (float[2,3,4] part, float[2,5,4] backwards, float[2,3,4] first, float[2,6,4] second, float[2,10,5] padded, float[2,11,4] mirrored,
            float[1,2,8,8] larger, float[1,2,6,6] smooth)
        <int64[1] one = {1}, int64[1] seven = {7}, int64[1] two = {2}, int64[1] far = {-100}, int64[1] end = {8}, int64[1] back = {-2},
         int64[2] sizes = {3,6}, int64[6] pads = {0,0,1,0,1,0}, int64[6] both = {0,1,0,0,1,0}, float fill = {3},
         float[4] scales = {1,1,2,2}, int64[4] extents = {1,2,6,6}> {
            part = Slice (x, one, seven, one, two)
            backwards = Slice (x, end, far, one, back)
            first, second = Split <axis = 1> (x, sizes)
            padded = Pad (x, pads, fill)
            mirrored = Pad <mode = "reflect"> (x, both)
            larger = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (image, , scales)
            smooth = Resize <mode = "linear"> (image, , , extents)
        }"#,
    );
}

#[test]
fn indexing() {
    agrees(
        r#"g (float[5,4] x, int64[2,3] i, int64[5,2] e, float[2,4] u)
        => (float[2,3,4] rows, float[5,2] elements, float[2] points, float[5,4] scattered, float[2,3,7] hot, float[5,4] triangle,
            float[4] last)
        <int64[2,2] n = {0,1,2,3}, int64[2,1] at = {0,2}, int64 depth = {7}, float[2] values = {0,1}, int64 back = {-1}> {
            rows = Gather (x, i)
            elements = GatherElements <axis = 1> (x, e)
            points = GatherND (x, n)
            scattered = ScatterND (x, at, u)
            hot = OneHot (i, depth, values)
            triangle = Trilu <upper = 0> (x)
            last = Gather (x, back)
        }"#,
    );
}

#[test]
fn dynamic_shapes() {
    let range = |input: &str, lists: [&[i64]; 3]| ProfileRange {
        input: input.into(),
        is_values: false,
        min: lists[0].to_vec(),
        opt: lists[1].to_vec(),
        max: lists[2].to_vec(),
    };
    check(
        18,
        r#"g (float[n,s,12] x, int64[n,s] ids)
        => (float[n,3,s,4] heads, float[n,s,12] back, int64[3] shape, float[n,s] zeros, int64[s] places, float[n,s,12] wide, float[s,n,12] swapped,
            float[n,7,12] part, float[n,s,8] looked)
        <int64[4] split = {0,0,3,4}, int64[3] join = {0,0,12}, int64 first = {0}, int64 one = {1}, int64[1] zero1 = {0}, int64[1] one1 = {1},
         int64[1] seven = {7}, float[1,1,12] row = ["location": "seed:1"], int64[1] width = {12}, float[30,8] table = ["location": "seed:2"]> {
            r = Reshape (x, split)
            heads = Transpose <perm = [0,2,1,3]> (r)
            h = Transpose <perm = [0,2,1,3]> (heads)
            back = Reshape (h, join)
            shape = Shape (x)
            extents = Shape (ids)
            zeros = ConstantOfShape (extents)
            s = Gather (shape, one)
            places = Range (first, s, one)
            wide = Expand (row, shape)
            ns = Slice (shape, zero1, one1, zero1)
            ss = Shape <start = 1, end = 2> (x)
            flipped = Concat <axis = 0> (ss, ns, width)
            swapped = Reshape (x, flipped)
            part = Slice (x, zero1, seven, one1)
            looked = Gather (table, ids)
        }"#,
        Parser::Agrees,
        &[range("x", [&[1, 8, 12], &[2, 16, 12], &[4, 32, 12]]), range("ids", [&[1, 8], &[2, 16], &[4, 32]])],
    );
}

#[test]
fn attention_with_grouped_heads_a_mask_and_a_cache() {
    check(
        23,
        r#"g (float[2,4,5,8] q, float[2,2,5,8] k, float[2,2,5,6] v, bool[5,8] mask, float[2,2,3,8] pk, float[2,2,3,6] pv)
        => (float[2,4,5,6] y, float[2,2,8,8] keys, float[2,2,8,6] values) {
            y, keys, values = Attention <is_causal = 1, softcap = 30.0> (q, k, v, mask, pk, pv)
        }"#,
        Parser::Refuses,
        &[],
    );
}

#[test]
fn attention_of_flat_heads() {
    check(
        23,
        r#"g (float[2,5,32] q, float[2,7,32] k, float[2,7,32] v, float[5,7] bias) => (float[2,5,32] y) {
            y = Attention <q_num_heads = 4, kv_num_heads = 4> (q, k, v, bias)
        }"#,
        Parser::Agrees,
        &[],
    );
}

#[test]
fn caches() {
    check(
        24,
        "g (float[2,4,8,16] cache, float[2,4,3,16] update, int64[2] starts) => (float[2,4,8,16] written, float[2,4,8,16] around) {
            written = TensorScatter (cache, update, starts)
            around = TensorScatter <mode = \"circular\"> (cache, update, starts)
        }",
        Parser::Refuses,
        &[],
    );
}

#[test]
fn bits() {
    check(18, "g (int32[2,4] x) => (int32[2,4] y) { y = BitwiseNot (x) }", Parser::Refuses, &[]);
}
