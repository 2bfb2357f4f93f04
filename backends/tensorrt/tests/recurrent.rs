//! Builds recurrent layers whose sequences are dynamic, long, or end early.
//!
//! Every test ends early, and says so, on a machine without the library.

use eutectic_ir::{infer, text};
use eutectic_tensorrt::TensorRt;
use eutectic_tensorrt::engine::{BuildOptions, Profile, ProfileRange};

mod common;

/// A recurrent layer `op` with `attributes` over `x`, `[steps, batch, 4]` of five hidden units; `more` are the inputs after its
/// weights.
fn layer(op: &str, attributes: &str, x: &str, more: &str) -> String {
    let n_gates = match op {
        "RNN" => 1,
        "GRU" => 3,
        _ => 4,
    };
    let ways = if attributes.contains("bidirectional") { 2 } else { 1 };
    let rows = 5 * n_gates;
    let cell = if op == "LSTM" { ", y_c" } else { "" };
    format!(
        "<ir_version: 10, opset_import: [\"\": 22]>
g (float[{x},4] x, int32[batch] lens) => (y, y_h{cell})
<float[{ways},{rows},4] w = [\"location\": \"seed:1\"], float[{ways},{rows},5] r = [\"location\": \"seed:2\"],
 float[{ways},{}] b = [\"location\": \"seed:3\"]> {{
    y, y_h{cell} = {op} <hidden_size = 5{attributes}> (x, w, r{more})
}}",
        2 * rows
    )
}

/// Dims of the outputs, and how many layers of each of `kinds` the network has.
fn built(source: &str, steps: Option<[i64; 3]>, kinds: &[&str]) -> Option<(Vec<Vec<i64>>, Vec<usize>)> {
    let worker = common::worker()?;
    let (mut model, _) = text::parse_model(source).unwrap_or_else(|problems| panic!("{problems}"));
    infer::infer(&mut model);
    let range = |input: &str, [min, opt, max]: [Vec<i64>; 3]| {
        let (input, is_values) = (input.to_owned(), false);
        ProfileRange { input, is_values, min, opt, max }
    };
    let batches = [1, 2, 8];
    let x = |at: usize| vec![steps.map_or(7, |steps| steps[at]), batches[at], 4];
    let x = range("x", [x(0), x(1), x(2)]);
    let lens = range("lens", batches.map(|batch| vec![batch]));
    let mut options = BuildOptions::for_target(86);
    options.profiles = vec![Profile { inputs: vec![x, lens] }];
    let built = TensorRt { worker, options }.build(&model);
    let (report, _) = built.unwrap_or_else(|problems| panic!("{problems}\n{source}"));
    let dims = report.network.outputs.iter().map(|output| output.dims.clone().unwrap_or_default()).collect();
    let count = |kind: &&str| report.network.histogram.get(*kind).copied().unwrap_or(0);
    Some((dims, kinds.iter().map(count).collect()))
}

const LOOP: [&str; 4] = ["TRIP_LIMIT", "ITERATOR", "RECURRENCE", "LOOP_OUTPUT"];

#[test]
fn a_dynamic_sequence_is_a_loop() {
    // One loop: its trip limit, the iterator over the inputs, and for each state a recurrence and its last value, beside the
    // hidden states of all steps.
    for (op, states) in [("RNN", 1), ("GRU", 1), ("LSTM", 2)] {
        let Some((dims, counts)) = built(&layer(op, "", "steps,batch", ", b"), Some([1, 16, 64]), &LOOP) else { return };
        assert_eq!(counts, [1, 1, states, states + 1], "{op}");
        assert_eq!(dims[0], [-1, 1, -1, 5], "{op}");
        assert!(dims[1..].iter().all(|state| *state == [1, -1, 5]), "{op}: {dims:?}");
    }
}

#[test]
fn two_directions_are_two_loops() {
    let source = layer("LSTM", ", direction = \"bidirectional\"", "steps,batch", ", b");
    let Some((dims, counts)) = built(&source, Some([1, 16, 64]), &LOOP) else { return };
    assert_eq!(counts, [2, 2, 4, 6]);
    assert_eq!(dims, [vec![-1, 2, -1, 5], vec![2, -1, 5], vec![2, -1, 5]]);
}

#[test]
fn a_sequence_is_masked_from_its_end_on() {
    for attributes in ["", ", direction = \"reverse\"", ", direction = \"bidirectional\""] {
        let ways = if attributes.contains("bidirectional") { 2 } else { 1 };
        // The mask is read like the inputs; the state and what is shown are chosen by it.
        let source = layer("GRU", attributes, "steps,batch", ", b, lens");
        let kinds = [&LOOP[..2], &["SELECT"]].concat();
        let Some((_, counts)) = built(&source, Some([1, 16, 64]), &kinds) else { return };
        assert_eq!(counts, [ways, 2 * ways, 2 * ways], "{attributes}");
        // Written out, each of seven steps chooses.
        let source = layer("GRU", attributes, "7,batch", ", b, lens");
        let Some((dims, counts)) = built(&source, None, &kinds) else { return };
        assert_eq!(counts, [0, 0, 14 * ways], "{attributes}");
        assert_eq!(dims[0], [7, ways as i64, -1, 5]);
    }
}

#[test]
fn a_batch_may_come_first() {
    let source = layer("RNN", ", layout = 1", "batch,steps", ", b").replace("lens) =>", "lens) =>");
    let Some(worker) = common::worker() else { return };
    let (mut model, _) = text::parse_model(&source).unwrap_or_else(|problems| panic!("{problems}"));
    infer::infer(&mut model);
    let mut options = BuildOptions::for_target(86);
    let range = |input: &str, [min, opt, max]: [&[i64]; 3]| {
        let (min, opt, max) = (min.to_vec(), opt.to_vec(), max.to_vec());
        ProfileRange { input: input.to_owned(), is_values: false, min, opt, max }
    };
    let (x, lens) = (range("x", [&[1, 1, 4], &[2, 16, 4], &[8, 64, 4]]), range("lens", [&[1], &[2], &[8]]));
    options.profiles = vec![Profile { inputs: vec![x, lens] }];
    let (report, _) = TensorRt { worker, options }.build(&model).unwrap_or_else(|problems| panic!("{problems}"));
    let dims: Vec<_> = report.network.outputs.iter().filter_map(|output| output.dims.clone()).collect();
    assert_eq!(dims, [vec![-1, -1, 1, 5], vec![-1, 1, 5]]);
}

#[test]
fn a_long_sequence_is_a_loop_too() {
    let Some((dims, counts)) = built(&layer("RNN", "", "1000,batch", ", b"), Some([1000; 3]), &LOOP) else { return };
    assert_eq!((counts, &dims[0][..]), (vec![1, 1, 1, 2], &[1000, 1, -1, 5][..]));
}

#[test]
fn activations_take_their_parameters_in_turn() {
    // The first function has no parameter, so that the one number is of the second.
    let attributes = ", activations = [\"Sigmoid\", \"Affine\"], activation_alpha = [0.5]";
    let source = layer("GRU", attributes, "7,batch", ", b");
    let (model, _) = text::parse_model(&source).unwrap_or_else(|problems| panic!("{problems}"));
    let options = eutectic_tensorrt::lower::LowerOptions { profiles: Vec::new() };
    let lowered = eutectic_tensorrt::lower::lower(&model, &options);
    let Err(problems) = lowered else { return };
    assert!(!problems.to_string().contains("activation"), "{problems}");
}
