//! Builds recurrent layers whose sequences are dynamic, long, or end early.
//!
//! Every test ends early, and says so, on a machine without the library.

use eutectic_ir::{infer, text};
use eutectic_tensorrt::TensorRt;
use eutectic_tensorrt::engine::{BuildOptions, Profile, ProfileRange};
use eutectic_tensorrt::layer::{ActivationKind, Layer};
use eutectic_tensorrt::lower::{LowerOptions, lower};
use eutectic_tensorrt::spec::LayerSpec;

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

/// Dims of the outputs, and how many layers of each of `kinds` the network has. `x` has `range`, the batch is 1 to 8.
fn built(source: &str, x: [[i64; 3]; 3], kinds: &[&str]) -> Option<(Vec<Vec<i64>>, Vec<usize>)> {
    let worker = crate::common::worker()?;
    let (mut model, _) = text::parse_model(source).unwrap_or_else(|problems| panic!("{problems}"));
    infer::infer(&mut model);
    let range = |input: &str, [min, opt, max]: [Vec<i64>; 3]| {
        let (input, is_values) = (input.to_owned(), false);
        ProfileRange { input, is_values, min, opt, max }
    };
    let inputs = vec![range("x", x.map(Vec::from)), range("lens", [1, 2, 8].map(|batch| vec![batch]))];
    let mut options = BuildOptions::for_target(86);
    options.profiles = vec![Profile { inputs }];
    let built = TensorRt { worker, options }.build(&model);
    let (report, _) = built.unwrap_or_else(|problems| panic!("{problems}\n{source}"));
    let dims = report.network.outputs.iter().map(|output| output.dims.clone().unwrap_or_default()).collect();
    let count = |kind: &&str| report.network.histogram.get(*kind).copied().unwrap_or(0);
    Some((dims, kinds.iter().map(count).collect()))
}

const DYNAMIC: [[i64; 3]; 3] = [[1, 1, 4], [16, 2, 4], [64, 8, 4]];

fn steps(count: i64) -> [[i64; 3]; 3] {
    [1, 2, 8].map(|batch| [count, batch, 4])
}

const LOOP: [&str; 4] = ["TRIP_LIMIT", "ITERATOR", "RECURRENCE", "LOOP_OUTPUT"];

#[test]
fn a_dynamic_sequence_is_a_loop() {
    // One loop: its trip limit, the iterator over the inputs, and for each state a recurrence and its last value, beside the
    // hidden states of all steps.
    for (op, states) in [("RNN", 1), ("GRU", 1), ("LSTM", 2)] {
        let Some((dims, counts)) = built(&layer(op, "", "steps,batch", ", b"), DYNAMIC, &LOOP) else { return };
        assert_eq!(counts, [1, 1, states, states + 1], "{op}");
        assert_eq!(dims[0], [-1, 1, -1, 5], "{op}");
        assert!(dims[1..].iter().all(|state| *state == [1, -1, 5]), "{op}: {dims:?}");
    }
}

#[test]
fn two_directions_share_a_loop() {
    let source = layer("LSTM", ", direction = \"bidirectional\"", "steps,batch", ", b");
    let Some((dims, counts)) = built(&source, DYNAMIC, &LOOP) else { return };
    assert_eq!(counts, [1, 2, 4, 6]);
    assert_eq!(dims, [vec![-1, 2, -1, 5], vec![2, -1, 5], vec![2, -1, 5]]);
}

#[test]
fn a_sequence_is_masked_from_its_end_on() {
    for attributes in ["", ", direction = \"reverse\"", ", direction = \"bidirectional\""] {
        let ways = if attributes.contains("bidirectional") { 2 } else { 1 };
        // The mask is read like the inputs; the state and what is shown are chosen by it.
        let source = layer("GRU", attributes, "steps,batch", ", b, lens");
        let kinds = [&LOOP[..2], &["SELECT"]].concat();
        let Some((_, counts)) = built(&source, DYNAMIC, &kinds) else { return };
        assert_eq!(counts, [1, 2 * ways, 2 * ways], "{attributes}");
        // Written out, each of seven steps chooses.
        let source = layer("GRU", attributes, "7,batch", ", b, lens");
        let Some((dims, counts)) = built(&source, steps(7), &kinds) else { return };
        assert_eq!(counts, [0, 0, 14 * ways], "{attributes}");
        assert_eq!(dims[0], [7, ways as i64, -1, 5]);
    }
}

#[test]
fn a_batch_may_come_first() {
    let source = layer("RNN", ", layout = 1", "batch,steps", ", b");
    let ranges = DYNAMIC.map(|[steps, batch, width]| [batch, steps, width]);
    let Some((dims, _)) = built(&source, ranges, &[]) else { return };
    assert_eq!(dims, [vec![-1, -1, 1, 5], vec![-1, 1, 5]]);
}

#[test]
fn a_long_sequence_is_a_loop_too() {
    let Some((dims, counts)) = built(&layer("RNN", "", "1000,batch", ", b"), steps(1000), &LOOP) else { return };
    assert_eq!((counts, &dims[0][..]), (vec![1, 1, 1, 2], &[1000, 1, -1, 5][..]));
}

/// The activations of the first step, with their parameters.
fn activations(attributes: &str) -> Vec<(ActivationKind, Option<f32>, Option<f32>)> {
    let source = layer("GRU", attributes, "1,2", ", b").replace("int32[batch]", "int32[2]");
    let (mut model, _) = text::parse_model(&source).unwrap_or_else(|problems| panic!("{problems}"));
    infer::infer(&mut model);
    let lowered = lower(&model, &LowerOptions { profiles: Vec::new() }).unwrap_or_else(|problems| panic!("{problems}"));
    let activation = |layer: &LayerSpec| match layer.layer {
        Layer::Activation { kind, alpha, beta, .. } => Some((kind, alpha, beta)),
        _ => None,
    };
    lowered.spec.layers.iter().filter_map(activation).collect()
}

#[test]
fn activations_take_their_parameters_in_turn() {
    use ActivationKind::{HardSigmoid, LeakyRelu, Sigmoid};
    // The first function has no parameter, so that the one number is of the second.
    let found = activations(", activations = [\"Sigmoid\", \"LeakyRelu\"], activation_alpha = [0.5]");
    assert_eq!(found, [(Sigmoid, None, None), (Sigmoid, None, None), (LeakyRelu, Some(0.5), None)]);
    let found = activations(", activations = [\"HardSigmoid\", \"LeakyRelu\"], activation_alpha = [0.25]");
    let gate = (HardSigmoid, Some(0.25), Some(0.5));
    assert_eq!(found, [gate, gate, (LeakyRelu, Some(0.01), None)]);
}

#[test]
fn an_affine_activation_is_a_product_and_a_sum() {
    let found = activations(", activations = [\"Sigmoid\", \"Affine\"], activation_alpha = [0.5]");
    assert!(found.iter().all(|(kind, ..)| *kind == ActivationKind::Sigmoid) && found.len() == 2, "{found:?}");
}
