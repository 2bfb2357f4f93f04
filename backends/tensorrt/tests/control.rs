//! Builds conditionals and loops whose course is not known when the model is lowered.
//!
//! Every test ends early, and says so, on a machine without the library.

use eutectic_ir::{infer, text};
use eutectic_tensorrt::engine::{BuildOptions, Profile, ProfileRange};
use eutectic_tensorrt::{EngineReport, TensorRt};

fn build(graph: &str, profiles: &[ProfileRange]) -> Option<Result<EngineReport, String>> {
    let worker = crate::common::worker()?;
    let source = format!("<ir_version: 10, opset_import: [\"\": 18, \"ai.onnx.preview\": 1]>\n{graph}");
    let (mut model, _) = text::parse_model(&source).unwrap_or_else(|problems| panic!("{problems}"));
    infer::infer(&mut model);
    let mut options = BuildOptions::for_target(86);
    if !profiles.is_empty() {
        options.profiles = vec![Profile { inputs: profiles.to_vec() }];
    }
    let built = TensorRt { worker, options }.build(&model);
    Some(built.map(|(report, _)| report).map_err(|problems| problems.to_string()))
}

/// Dims of the outputs, and how many layers of each of `kinds` the network has.
fn built(graph: &str, profiles: &[ProfileRange], kinds: &[&str]) -> Option<(Vec<Vec<i64>>, Vec<usize>)> {
    let report = build(graph, profiles)?.unwrap_or_else(|problems| panic!("{problems}"));
    let dims = report.network.outputs.iter().map(|output| output.dims.clone().unwrap_or_default()).collect();
    let count = |kind: &&str| report.network.histogram.get(*kind).copied().unwrap_or(0);
    Some((dims, kinds.iter().map(count).collect()))
}

fn range(input: &str, is_values: bool, [min, opt, max]: [&[i64]; 3]) -> ProfileRange {
    let (min, opt, max) = (min.to_vec(), opt.to_vec(), max.to_vec());
    ProfileRange { input: input.into(), is_values, min, opt, max }
}

#[test]
fn a_computed_condition_runs_one_branch_of_two() {
    let graph = "g (float[4,4] x, float[4,4] w) => (float[4,4] y, float[N,4] z) {
        total = ReduceSum <keepdims = 0> (x)
        zero = Constant <value_float = 0.0> ()
        positive = Greater (total, zero)
        y, z = If (positive) <
            then_branch = first () => (a, b) { a = MatMul (x, w) b = Relu (x) },
            else_branch = second () => (c, d) { c = Tanh (x) d = Concat <axis = 0> (x, w) }
        >
    }";
    let Some((dims, counts)) = built(graph, &[], &["CONDITION", "CONDITIONAL_OUTPUT"]) else { return };
    assert_eq!((dims, counts), (vec![vec![4, 4], vec![-1, 4]], vec![1, 2]));
}

#[test]
fn branches_of_two_ranks_are_refused() {
    let graph = "g (float[4,4] x, bool c) => (y) {
        y = If (c) <
            then_branch = first () => (a) { a = Relu (x) },
            else_branch = second () => (b) { b = ReduceSum <keepdims = 0> (x) }
        >
    }";
    let Some(result) = build(graph, &[]) else { return };
    let problems = result.unwrap_err();
    assert!(
        problems.contains("its branches differ in rank") && problems.contains("branches of one rank"),
        "{problems}"
    );
}

/// `x <- tanh(x w)`, at most `trips` times, while the sum of it is positive.
fn searching(stacked: &str) -> String {
    format!(
        "g (float[4,4] x, float[4,4] w) => (y{stacked}) <int64 trips = {{1000}}, bool go = {{1}}, float zero = {{0}}> {{
            y{stacked} = Loop (trips, go, x) <
                body = turn (int64 i, bool c, float[4,4] v) => (more, next{stacked}) {{
                    product = MatMul (v, w)
                    next = Tanh (product)
                    total = ReduceSum <keepdims = 0> (next)
                    more = Greater (total, zero)
                    {}
                }}
            >
        }}",
        if stacked.is_empty() { "" } else { "all = Relu (next)" }
    )
}

#[test]
fn a_computed_condition_ends_a_loop() {
    let kinds = ["TRIP_LIMIT", "RECURRENCE", "LOOP_OUTPUT"];
    let Some((dims, counts)) = built(&searching(""), &[], &kinds) else { return };
    // A count and a condition; the state, the condition and the number of the turn.
    assert_eq!((dims, counts), (vec![vec![4, 4]], vec![2, 3, 1]));
}

#[test]
fn a_condition_alone_ends_a_loop_whose_trip_count_is_the_largest_number() {
    let graph = searching("").replace("{1000}", "{9223372036854775807}");
    let Some((dims, counts)) = built(&graph, &[], &["TRIP_LIMIT"]) else { return };
    assert_eq!((dims, counts), (vec![vec![4, 4]], vec![1]));
}

#[test]
fn a_stack_of_a_number_that_a_condition_decides_is_refused() {
    let Some(result) = build(&searching(", all"), &[]) else { return };
    let problems = result.unwrap_err();
    assert!(problems.contains("its condition decides how many"), "{problems}");
}

#[test]
fn a_long_loop_is_not_written_out() {
    let graph = "g (float[4] x) => (y, all) <int64 trips = {1000}, float step = {0.5}> {
        y, all = Loop (trips, , x) <
            body = turn (int64 i, bool c, float[4] v) => (c_out, next, shown) {
                c_out = Identity (c)
                number = Cast <to = 1> (i)
                scaled = Mul (number, step)
                next = Add (v, scaled)
                shown = Neg (next)
            }
        >
    }";
    let kinds = ["TRIP_LIMIT", "RECURRENCE", "LOOP_OUTPUT"];
    let Some((dims, counts)) = built(graph, &[], &kinds) else { return };
    assert_eq!((dims, counts), (vec![vec![4], vec![1000, 4]], vec![1, 3, 2]));
}

#[test]
fn a_computed_trip_count_is_a_shape_tensor() {
    let graph = "g (int64 trips, float[4] x) => (y, all) {
        y, all = Loop (trips, , x) <
            body = turn (int64 i, bool c, float[4] v) => (c_out, next, shown) {
                c_out = Identity (c)
                next = Tanh (v)
                shown = Neg (next)
            }
        >
    }";
    let profile = range("trips", true, [&[1], &[8], &[64]]);
    let Some((dims, counts)) = built(graph, &[profile], &["TRIP_LIMIT", "LOOP_OUTPUT"]) else { return };
    assert_eq!((dims, counts), (vec![vec![4], vec![-1, 4]], vec![1, 2]));
}

#[test]
fn a_state_that_grows_is_refused() {
    let graph = "g (float[N] x, float[1] z) => (y) <int64 trips = {1000}> {
        y = Loop (trips, , x) <
            body = turn (int64 i, bool c, float[M] v) => (c_out, next) {
                c_out = Identity (c)
                next = Concat <axis = 0> (v, z)
            }
        >
    }";
    let Some(result) = build(graph, &[range("x", false, [&[1], &[2], &[4]])]) else { return };
    let problems = result.unwrap_err();
    assert!(problems.contains("a value that it carries grows"), "{problems}");
}

#[test]
fn a_scan_over_a_dynamic_sequence_is_a_loop() {
    let graph = "g (float[N,4] xs, float[4] start) => (last, all) {
        last, all = Scan <num_scan_inputs = 1, scan_input_directions = [1], scan_output_directions = [1],
            body = turn (float[4] state, float[4] x) => (next, shown) {
                sum = Add (state, x)
                next = Tanh (sum)
                shown = Neg (sum)
            }
        > (start, xs)
    }";
    let profile = range("xs", false, [&[1, 4], &[8, 4], &[64, 4]]);
    let kinds = ["ITERATOR", "RECURRENCE", "LOOP_OUTPUT", "TRIP_LIMIT"];
    let Some((dims, counts)) = built(graph, &[profile], &kinds) else { return };
    assert_eq!((dims, counts), (vec![vec![4], vec![-1, 4]], vec![1, 1, 2, 1]));
}

#[test]
fn attention_takes_graphs_for_its_scores_and_weights() {
    let graph = "g (float[1,4,8,16] q, float[1,2,8,16] k, float[1,2,8,16] v, float[8,8] bias) => (y) {
        y = ai.onnx.preview.FlexAttention <
            score_mod = scores (float[1,4,8,8] s) => (t) { t = Add (s, bias) },
            prob_mod = weights (float[1,4,8,8] p) => (r) { r = Mul (p, bias) }
        > (q, k, v)
    }";
    let Some((dims, counts)) = built(graph, &[], &["MATRIX_MULTIPLY", "SOFTMAX"]) else { return };
    assert_eq!((dims, counts), (vec![vec![1, 4, 8, 16]], vec![2, 1]));
}
