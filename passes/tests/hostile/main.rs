//! Inference, folding and evaluation of calls that are wrong, enormous or both: never a panic, never more memory or time
//! than the budgets allow. The last test runs all others again within a limit of memory.

mod extremes;

use eutectic_ir::diag::Severity;
use eutectic_ir::eval::run_model;
use eutectic_ir::graph::Op;
use eutectic_ir::{Model, Tensor, infer, text, verify};
use eutectic_passes::fold::{FoldBudget, fold_model};
use eutectic_passes::optimize::{Options, optimize};
use eutectic_passes::target::Target;

fn parsed(graph: &str) -> Model {
    let source = format!("<ir_version: 13, opset_import: [\"\" : 26]>\nagraph {graph}");
    text::parse_model(&source).unwrap_or_else(|problems| panic!("{graph}: {problems}")).0
}

/// What becomes of the first output: the error; or its type, what is left of the graph after folding, and the notes.
fn outcome(graph: &str) -> String {
    let mut model = parsed(graph);
    let mut problems = verify::verify(&model);
    problems.extend(infer::infer(&mut model).1);
    let change = fold_model(&mut model, FoldBudget::STANDARD);
    if let Some(error) = problems.0.iter().find(|problem| problem.severity == Severity::Error) {
        return format!("error: {}", error.message);
    }
    let output = model.graph.outputs()[0].value;
    let mut shown = model.graph.ty(output).map_or("unknown".to_owned(), ToString::to_string);
    let left: Vec<String> = model.graph.nodes().map(|(_, node)| node.op.to_string()).collect();
    if !left.is_empty() {
        shown += &format!(" by {}", left.join(" "));
    }
    if let Some(values) = model.graph.weight(output).filter(|weight| weight.count() < 9).and_then(Tensor::to_f64s) {
        shown += &format!(" = {values:?}");
    }
    change.notes.0.iter().for_each(|note| shown += &format!("; {}", note.message));
    shown
}

/// Each graph with words of its outcome.
#[track_caller]
fn check(rows: &[(&str, &str)]) {
    for (graph, words) in rows {
        let found = outcome(graph);
        assert!(found.contains(words), "{graph}\n  expected: {words}\n  found: {found}");
    }
}

// E1
#[test]
fn a_reshape_says_what_is_wrong_with_its_shape() {
    check(&[
        ("(float[2,3] x) => (y) <int64[2] s = {-1,-1}> { y = Reshape (x, s) }", "error: Reshape does not accept"),
        (
            "(float[2,3] x) => (y) <int64[2] s = {1099511627776,1099511627776}> { y = Reshape (x, s) }",
            "exceeds 64 bits",
        ),
        ("(float[2,3] x) => (y) <int64[2] s = {0,-1}> { y = Reshape (x, s) }", "float[2,3] by Reshape"),
        ("(float[2,3] x) => (y) <int64[2] s = {0,-1}> { y = Reshape <allowzero=1> (x, s) }", "error: "),
        ("(float[0,3] x) => (y) <int64[2] s = {5,-1}> { y = Reshape (x, s) }", "float[5,0] by Reshape"),
        ("(float[0,3] x) => (y) <int64[2] s = {0,-1}> { y = Reshape (x, s) }", "error: "),
        ("(float[2,3] x) => (y) <int64[2] s = {4,-1}> { y = Reshape (x, s) }", "error: "),
        ("(float[2,3] x) => (y) <int64[2] s = {-2,3}> { y = Reshape (x, s) }", "dim -2 at axis 0"),
        ("(float[2,3] x) => (y) <int64[3] s = {2,3,0}> { y = Reshape (x, s) }", "error: "),
    ]);
}

// E2
#[test]
fn what_is_enormous_has_a_shape_and_is_never_made() {
    let kept = "is not folded: the budget is 64 MiB";
    check(&[
        (
            "() => (y) <int64[2] s = {2147483648,2147483648}> { y = ConstantOfShape (s) }",
            "float[2147483648,2147483648]",
        ),
        ("() => (y) <int64[2] s = {1073741824,1073741824}> { y = ConstantOfShape (s) }", kept),
        ("() => (y) <int64[1] s = {1099511627776}, float[1] w = {1}> { a = ConstantOfShape (s) y = Add (a, w) }", kept),
        (
            "() => (y) <int64[1] s = {1099511627776}, int64[1] z = {0}> { a = ConstantOfShape (s) y = ReduceSum (a, z) }",
            kept,
        ),
        (
            "() => (y) <int64[1] s = {1099511627776}, int64[1] z = {0}, int64[1] o = {1}> \
             { a = ConstantOfShape (s) y = Slice (a, z, o, z) }",
            kept,
        ),
        ("() => (y) <int64[1] s = {4611686018427387904}, float[1] w = {1}> { y = Expand (w, s) }", "by Expand"),
        ("() => (y) <int64[1] s = {4611686018427387904}, float[2] w = {1,2}> { y = Tile (w, s) }", "exceeds 64 bits"),
        ("() => (y) <int64[1] s = {2305843009213693952}, float[2] w = {1,2}> { y = Tile (w, s) }", "by Tile"),
        ("() => (y) <int64[2] s = {0,4611686018427387904}, float[2] w = {1,2}> { y = Pad (w, s) }", "by Pad"),
        (
            "() => (y) <int64[1] i = {1}, int64 d = {4611686018427387904}, float[2] w = {1,2}> { y = OneHot (i, d, w) }",
            "float[1,4611686018427387904] by OneHot",
        ),
        ("() => (y) <int64[2] s = {65536,65536}> { a = ConstantOfShape (s) y = EyeLike (a) }", kept),
        ("() => (y) <int64[1] s = {1099511627776}> { a = ConstantOfShape (s) y = Shape (a) }", "= [1099511627776.0]"),
    ]);
}

// E3
#[test]
fn a_range_without_an_end_is_refused_and_a_long_one_is_not_walked() {
    let range = |element: &str, start: &str, limit: &str, delta: &str| {
        format!(
            "() => (y) <{element} a = {{{start}}}, {element} b = {{{limit}}}, {element} c = {{{delta}}}> {{ y = Range (a, b, c) }}"
        )
    };
    check(&[
        (&range("int64", "0", "9", "0"), "the step is zero"),
        (&range("float", "0", "9", "0"), "the step is zero"),
        (&range("float", "0", "9", "nan"), "error: "),
        (&range("float", "nan", "9", "1"), "error: "),
        (&range("float", "0", "1e18", "1"), "error: "),
        (&range("int64", "0", "1000000000000000000", "1"), "int64[1000000000000000000] by Range; "),
        (&range("int64", "-9223372036854775808", "9223372036854775807", "1"), "int64[?y.0] by Range"),
        (&range("int64", "9", "2", "1"), "int64[0] = []"),
    ]);
}

// E4
#[test]
fn a_shape_of_a_million_million_dims_is_refused_or_unknown() {
    let with = |body: &str| format!("(float[2] x, int64[1099511627776] s) => (y) {{ {body} }}");
    check(&[
        (&with("y = Reshape (x, s)"), "a tensor of 1099511627776 axes"),
        (&with("y = Expand (x, s)"), "a tensor of 1099511627776 axes"),
        (&with("y = ConstantOfShape (s)"), "a tensor of 1099511627776 axes"),
        (&with("y = Unsqueeze (x, s)"), "unknown by Unsqueeze"),
        ("(float[1,4,4] x, int64[1099511627776] s) => (y) { y = Col2Im (x, s, s) }", "Col2Im"),
        (&with("y = Tile (x, s)"), "float[?y.0] by Tile"),
        (&with("y = Resize (x, , , s)"), "by Resize"),
    ]);
}

// E5
#[test]
fn slices_are_clamped_and_have_a_step() {
    let slice = |x: &str, start: &str, end: &str, step: &str| {
        format!(
            "() => (y) <{x}, int64[1] s = {{{start}}}, int64[1] e = {{{end}}}, int64[1] a = {{0}}, int64[1] t = {{{step}}}> \
             {{ y = Slice (x, s, e, a, t) }}"
        )
    };
    let (lowest, highest, three) = ("-9223372036854775808", "9223372036854775807", "float[3] x = {1,2,3}");
    check(&[
        (&slice(three, "0", highest, "1"), "= [1.0, 2.0, 3.0]"),
        (&slice(three, lowest, highest, "1"), "= [1.0, 2.0, 3.0]"),
        (&slice(three, highest, lowest, "-1"), "= [3.0, 2.0, 1.0]"),
        (&slice(three, highest, lowest, lowest), "= [3.0]"),
        (&slice(three, "0", "3", highest), "= [1.0]"),
        (&slice(three, "0", "3", "0"), "the step is zero"),
        (&slice("float[0] x = {}", "0", "1", "-1"), "float[0] = []"),
        (&slice("float[0] x = {}", "-1", highest, "1"), "float[0] = []"),
    ]);
}

// E6
#[test]
fn axes_and_sums_of_sizes_do_not_overflow() {
    let lowest = "-9223372036854775808";
    let out_of_range = "axis -9223372036854775808 is out of range";
    check(&[
        ("(float[9223372036854775807] a) => (y) { y = Concat <axis=0> (a, a) }", "exceeds 64 bits"),
        ("(float[2,3] a) => (y) { y = Concat <axis=2> (a, a) }", "axis 2 is out of range"),
        (&format!("(float[2,3] a) => (y) {{ y = Concat <axis={lowest}> (a, a) }}"), out_of_range),
        (&format!("(float[2,3] a) => (y) {{ y = Softmax <axis={lowest}> (a) }}"), out_of_range),
        (&format!("(float[2,3] a) => (y) {{ y = Flatten <axis={lowest}> (a) }}"), out_of_range),
        (&format!("(float[2,3] a, int64[1] i) => (y) {{ y = Gather <axis={lowest}> (a, i) }}"), out_of_range),
        (&format!("(float[2,3] a) => (y) <int64[1] i = {{{lowest}}}> {{ y = Unsqueeze (a, i) }}"), out_of_range),
        (&format!("(float[2,3] a) => (y) <int64[1] i = {{{lowest}}}> {{ y = ReduceSum (a, i) }}"), out_of_range),
        ("(float[2,3] a, float[2,4] b) => (y) { y = Concat <axis=0> (a, b) }", "error: "),
    ]);
}

// E7
#[test]
fn windows_without_size_step_or_groups_are_refused() {
    let conv = |attrs: &str| format!("(float[1,4,8,8] x, float[4,4,3,3] w) => (y) {{ y = Conv <{attrs}> (x, w) }}");
    let pool = |attrs: &str| format!("(float[1,4,8,8] x) => (y) {{ y = MaxPool <{attrs}> (x) }}");
    let transposed =
        |attrs: &str| format!("(float[1,4,8,8] x, float[4,4,3,3] w) => (y) {{ y = ConvTranspose <{attrs}> (x, w) }}");
    check(&[
        ("(float[1,4,8,8] x) => (y) <float[4,4,0,3] w = {}> { y = Conv (x, w) }", "a window of size 0"),
        (&conv("strides=[0,1]"), "`strides` is [0, 1]"),
        (&conv("dilations=[0,1]"), "`dilations` is [0, 1]"),
        (&conv("pads=[-9,0,0,0]"), "`pads` is [-9, 0, 0, 0]"),
        (&conv("pads=[1,1,1]"), "`pads` is [1, 1, 1]"),
        (&conv("group=0"), "`group` is 0"),
        (&conv("group=-9223372036854775808"), "`group` is -9223372036854775808"),
        (&conv("group=3"), "4 channels in 3 groups"),
        (&conv("kernel_shape=[3,5]"), "`kernel_shape` is [3, 5]"),
        (&conv("strides=[9223372036854775807,1], dilations=[9223372036854775807,1]"), "error: "),
        (&pool("kernel_shape=[0,2]"), "a window of size 0"),
        (&pool("kernel_shape=[2,2], strides=[0,1]"), "`strides` is [0, 1]"),
        (&pool("kernel_shape=[9223372036854775807,2], ceil_mode=1"), "a window of size"),
        (&transposed("strides=[0,1]"), "`strides` is [0, 1]"),
        (&transposed("group=3"), "4 channels in 3 groups"),
        ("(float[1,4,8,8] x) => (y) { y = LpPool <kernel_shape=[2,2], p=0> (x) }", "`p` is 0"),
        (
            "(float[2,3,4] x) => (y) <float[3] s = {1,1,1}> { y = GroupNormalization <num_groups=0> (x, s, s) }",
            "equal groups",
        ),
        ("(float[2,3,4] x) => (y) { y = LRN <size=0> (x) }", "error: "),
        ("(float[1,4,1,1] x) => (y) { y = DepthToSpace <blocksize=0> (x) }", "`blocksize` is 0"),
    ]);
}

// E8
#[test]
fn pieces_of_a_split_fill_the_axis() {
    check(&[
        ("(float[6] x) => (y, z) <int64[2] s = {2,3}> { y, z = Split <axis=0> (x, s) }", "sum to 5, not to 6"),
        ("(float[6] x) => (y, z) <int64[2] s = {-1,7}> { y, z = Split <axis=0> (x, s) }", "size -1"),
        ("(float[6] x) => (y) { y = Split <axis=0, num_outputs=0> (x) }", "`num_outputs`"),
        ("(float[6] x) => (y) { y = Split <axis=0, num_outputs=-1> (x) }", "`num_outputs`"),
        (
            "(float[6] x) => (y, z) <int64[2] s = {9223372036854775807,9223372036854775807}> { y, z = Split <axis=0> (x, s) }",
            "exceeds 64 bits",
        ),
    ]);
}

// E9
#[test]
fn an_index_out_of_range_is_not_folded_and_said() {
    for index in ["-4", "3", "-9223372036854775808", "9223372036854775807"] {
        let one = format!("() => (y) <float[3] x = {{1,2,3}}, int64[1] i = {{{index}}}, float[1] u = {{0}}> ");
        let nested = one.replace("int64[1] i", "int64[1,1] i");
        check(&[
            (&format!("{one} {{ y = Gather (x, i) }}"), "float[1] by Gather; a call on constants is not folded"),
            (&format!("{one} {{ y = GatherElements (x, i) }}"), "by GatherElements; a call on constants is not folded"),
            (&format!("{one} {{ y = ScatterElements (x, i, u) }}"), "by ScatterElements; a call"),
            (&format!("{nested} {{ y = GatherND (x, i) }}"), "by GatherND; a call on constants is not folded"),
            (&format!("{nested} {{ y = ScatterND (x, i, u) }}"), "by ScatterND; a call on constants is not folded"),
        ]);
    }
    check(&[("() => (y) <float[0] x = {}, int64[1] i = {0}> { y = Gather (x, i) }", "float[1] by Gather; ")]);
}

// E10
#[test]
fn a_permutation_names_every_axis_once() {
    for perm in ["0,0", "0", "0,2", "0,-9223372036854775808", "0,1,2"] {
        check(&[(&format!("(float[2,3] x) => (y) {{ y = Transpose <perm=[{perm}]> (x) }}"), "error: Transpose")]);
    }
}

// E11
#[test]
fn a_scale_is_positive_and_finite() {
    for scale in ["0", "-1", "nan", "1e30", "inf"] {
        let graph = format!("(float[1,1,4,4] x) => (y) <float[4] s = {{1,1,{scale},2}}> {{ y = Resize (x, , s) }}");
        check(&[(&graph, "cannot be scaled by")]);
    }
    check(&[
        (
            "(float[1,1,4,4] x) => (y) <float[4] s = {1,1,2,2}, int64[4] t = {1,1,8,8}> { y = Resize (x, , s, t) }",
            "exactly one of scales and sizes",
        ),
        ("(float[1,1,4,4] x) => (y) <int64[4] t = {1,1,-8,8}> { y = Resize (x, , , t) }", "a dim would be -8"),
        (
            "() => (y) <float[1,1,1,1] x = {1}, float[4] s = {1,1,1e6,1e6}> { y = Resize (x, , s) }",
            "is not folded: the budget is 64 MiB",
        ),
    ]);
}

// E12
#[test]
fn integer_arithmetic_that_onnx_leaves_undefined_is_not_folded_and_said() {
    let two = |ty: &str, a: &str, b: &str, call: &str| {
        format!("() => (y) <{ty}[1] a = {{{a}}}, {ty}[1] b = {{{b}}}> {{ y = {call} (a, b) }}")
    };
    let lowest = "-9223372036854775808";
    check(&[
        (&two("int64", "1", "0", "Div"), "by Div; a call on constants is not folded: an integer is divided by zero"),
        (&two("int64", "1", "0", "Mod"), "by Mod; a call on constants is not folded"),
        (&two("int64", "1", "0", "Mod <fmod=1>"), "by Mod; a call on constants is not folded"),
        (&two("int64", lowest, "-1", "Div"), "by Div; a call on constants is not folded: the lowest integer"),
        (&two("int64", lowest, "-1", "Mod"), "by Mod; a call on constants is not folded: the lowest integer"),
        (&two("int32", "-2147483648", "-1", "Div"), "by Div; a call on constants is not folded: the lowest integer"),
        (&two("uint8", "1", "8", "BitShift <direction=\"LEFT\">"), "by BitShift; a call on constants is not folded"),
        (&two("uint8", "1", "7", "BitShift <direction=\"LEFT\">"), "= [128.0]"),
        (&two("uint64", "1", "18446744073709551615", "BitShift <direction=\"RIGHT\">"), "by BitShift; a call"),
        (&two("int64", "2", "-1", "Pow"), "by Pow; a call on constants is not folded"),
        (&two("int64", "0", "-1", "Pow"), "by Pow; a call on constants is not folded"),
        (&two("int64", "7", "2", "Div"), "= [3.0]"),
    ]);
}

// E13
#[test]
fn a_real_number_beyond_an_integer_type_is_not_folded() {
    for (value, code) in [("nan", 7), ("inf", 6), ("-inf", 7), ("1e20", 7), ("-1", 2), ("300", 2), ("3e9", 6)] {
        let graph = format!("() => (y) <float[1] a = {{{value}}}> {{ y = Cast <to={code}> (a) }}");
        check(&[(&graph, "by Cast; a call on constants is not folded")]);
    }
    check(&[
        // Between integers, ONNX drops the higher bits.
        ("() => (y) <int64[1] a = {300}> { y = Cast <to=2> (a) }", "= [44.0]"),
        ("() => (y) <float[1] a = {-2.7}> { y = Cast <to=7> (a) }", "= [-2.0]"),
        ("() => (y) <float[1] a = {1}> { y = Cast <to=99> (a) }", "99 is no element type"),
    ]);
}

// E14
#[test]
fn an_equation_that_is_none_is_refused_and_a_long_one_costs_little() {
    for equation in ["i->i", "ij->ik", "ij,jk->ik", "i.j->ij", "...->...->", "->", "12->1", "ij->ii", ",,,", "ij->.."] {
        let graph = format!("(float[2,3] a) => (y) {{ y = Einsum <equation=\"{equation}\"> (a) }}");
        check(&[(&graph, "error: Einsum")]);
    }
    let letters: Vec<String> = ('a'..='z').chain('A'..='Z').map(String::from).collect();
    let many = |size: usize| {
        let inputs = vec!["a"; letters.len()].join(", ");
        let ones = vec!["1"; size].join(",");
        format!(
            "() => (y) <float[{size}] a = {{{ones}}}> {{ y = Einsum <equation=\"{}->\"> ({inputs}) }}",
            letters.join(",")
        )
    };
    check(&[(&many(1), "float[] = [1.0]"), (&many(8), "float[] by Einsum; a call on constants is not folded")]);
    let long = "i".repeat(1 << 20);
    check(&[(&format!("(float[2] a) => (y) {{ y = Einsum <equation=\"{long}->\"> (a) }}"), "error: Einsum")]);
}

// E15
#[test]
fn counts_that_depend_on_data_are_fresh_symbols() {
    check(&[
        ("(float[3] x) => (y, i) <int64[1] k = {-1}> { y, i = TopK (x, k) }", "-1 elements are wanted of 3"),
        ("(float[3] x) => (y, i) <int64[1] k = {4}> { y, i = TopK (x, k) }", "4 elements are wanted of 3"),
        ("(float[3] x) => (y) { y = NonZero (x) }", "int64[1,?y.0] by NonZero"),
        ("(float[3] x, bool[3] c) => (y) { y = Compress (x, c) }", "float[?y.0] by Compress"),
        ("(float[3] x) => (y) { y = Unique (x) }", "by Unique"),
    ]);
}

fn optimized(graph: &str) -> Model {
    let mut model = parsed(graph);
    optimize(&mut model, &Options::standard(Target::Onnx).expect("options"))
        .unwrap_or_else(|errors| panic!("{errors}"));
    model
}

// E16
#[test]
fn a_batch_normalization_of_negative_variance_is_left_to_run_time() {
    let graph = |variance: &str, epsilon: &str| {
        format!(
            "(float[1,1,4] x) => (float[1,1,4] y) <float[1,1,1] w = {{2}}, float[1] one = {{1}}, float[1] v = {{{variance}}}> \
             {{ c = Conv (x, w) y = BatchNormalization <epsilon={epsilon}> (c, one, one, one, v) }}"
        )
    };
    let has_nan = |model: &Model| {
        let nan = |tensor: &Tensor| tensor.to_f64s().is_some_and(|values| values.iter().any(|value| value.is_nan()));
        model.graph.values().any(|(_, value)| value.weight().is_some_and(nan))
    };
    for (variance, epsilon) in [("-1", "1e-5"), ("-0.00001", "1e-5"), ("0", "0.0")] {
        let model = optimized(&graph(variance, epsilon));
        assert!(!has_nan(&model), "variance {variance}");
        let x = Some(Tensor::from_vec(&[1, 1, 4], vec![1.0f32, 2.0, -3.0, 0.5]).expect("four"));
        let before = run_model::<f64>(&parsed(&graph(variance, epsilon)), std::slice::from_ref(&x)).expect("before");
        let after = run_model::<f64>(&model, &[x]).expect("after");
        for (a, b) in before[0].real().expect("real").iter().zip(after[0].real().expect("real")) {
            assert!(a.is_finite() == b.is_finite() && (a.is_infinite() || a.is_nan() || a == b), "{a} {b}");
        }
    }
    assert_eq!(optimized(&graph("1", "1e-5")).graph.n_nodes(), 1);
}

// E17
#[test]
fn random_calls_are_neither_folded_nor_merged() {
    check(&[
        ("() => (y) <float[3] x = {1,2,3}, float r = {0.5}, bool t = {1}> { y = Dropout (x, r, t) }", "by Dropout"),
        ("() => (y) { y = RandomNormal <shape=[3]> () }", "by RandomNormal"),
        ("() => (y) <float[3] x = {1,2,3}> { y = RandomNormalLike (x) }", "by RandomNormalLike"),
        ("() => (y) <float[1,3] x = {1,2,3}> { y = Multinomial (x) }", "by Multinomial"),
    ]);
    let model = optimized(
        "(float[3] x) => (float[3] y) { a = RandomNormalLike (x) b = RandomNormalLike (x) c = Sub (a, b) y = Add (c, x) }",
    );
    let random = model.graph.nodes().filter(|(_, node)| node.op.name() == "RandomNormalLike").count();
    assert_eq!(random, 2);
    let model = optimized(
        "(float[3] x) => (float[3] y) <float r = {0.5}, bool t = {1}> \
         { a = Dropout (x, r, t) b = Dropout (x, r, t) y = Sub (a, b) }",
    );
    assert_eq!(model.graph.nodes().filter(|(_, node)| node.op.name() == "Dropout").count(), 2);
}

// E18
#[test]
fn a_constant_beyond_the_budget_stays_a_call_and_is_said() {
    check(&[(
        "() => (y) <float[5000,1] a = [\"location\": \"seed:1\"], float[1,5000] b = [\"location\": \"seed:2\"]> \
         { y = Mul (a, b) }",
        "float[5000,5000] by Mul; a constant of 95 MiB is not folded: the budget is 64 MiB",
    )]);
}

// E19, E20
#[test]
fn every_operator_takes_empty_and_enormous_axes_and_extreme_attributes_without_a_panic() {
    extremes::run();
}

// E21
#[test]
fn a_dead_branch_that_is_ill_typed_does_not_stop_the_rest() {
    let source = "(float[2,3] x) => (float[2,3] y) <bool c = {1}> { y = If (c) < \
         then_branch = g () => (a) { a = Relu (x) }, \
         else_branch = h () => (b) <int64[2] s = {-1,-1}> { p = Reshape (x, s) b = MatMul (p, x) }> }";
    let mut model = parsed(source);
    let before: Vec<String> = model.graph.nodes().map(|(_, node)| node.op.to_string()).collect();
    let result = optimize(&mut model, &Options::standard(Target::Onnx).expect("options"));
    // Either the problem is said, or the call stays or gives way to its living branch.
    match result {
        Ok(_) => assert!(model.graph.nodes().all(|(_, node)| ["If", "Relu"].contains(&node.op.name()))),
        Err(errors) => assert!(errors.has_errors() && before == ["If"], "{errors}"),
    }
}

// E22, B22
#[test]
fn a_loop_is_never_unrolled_and_its_changing_shapes_are_unknown() {
    for trips in ["9223372036854775807", "-1"] {
        let source = format!(
            "(float[1] x) => (y) <int64 m = {{{trips}}}, bool c = {{1}}> {{ y = Loop <body = g (int64 i, bool go, a) => (go2, b) \
             {{ go2 = Identity (go) b = Concat <axis=0> (a, a) }}> (m, c, x) }}"
        );
        let mut model = parsed(&source);
        let _ = optimize(&mut model, &Options::standard(Target::Onnx).expect("options"));
        let (_, node) = model.graph.nodes().next().expect("the loop");
        assert_eq!(node.op.name(), "Loop");
        let ty = model.graph.ty(node.output()).map(ToString::to_string);
        assert!(ty.is_none_or(|ty| ty.contains('?')), "nothing is known of the sizes");
        assert!(!matches!(node.op, Op::Function(_)));
    }
}

/// Runs all other tests of this file in a process that may not take more memory than folding may, and little time.
#[test]
fn all_of_it_stays_within_the_budgets() {
    const KIBIBYTES: u64 = 3 << 20;
    const SECONDS: u64 = 300;
    let limited = format!("ulimit -v {KIBIBYTES} && ulimit -t {SECONDS} && exec \"$@\"");
    let this = std::env::current_exe().expect("a path");
    let others = ["--test-threads", "2", "--skip", "all_of_it_stays_within_the_budgets"];
    let run = std::process::Command::new("sh").args(["-c", &limited, "sh"]).arg(this).args(others).output();
    let run = run.expect("the tests run");
    assert!(run.status.success(), "{}\n{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
}
