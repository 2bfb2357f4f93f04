//! Five small models, cut at every byte and with every bit flipped: read, typed, written again, and never a panic.

use super::*;
use crate::{ExportOptions, Policy, to_bytes};
use eutectic_ir::{infer, text, verify};
use std::panic::{AssertUnwindSafe, catch_unwind};

const MODELS: [&str; 5] = [
    // A convolution block with folded statistics.
    "<ir_version: 8, opset_import: [\"\": 17], producer_name: \"m\">
     block (float[n,2,4,4] x) => (float[n,2,4,4] y)
     <float[2,2,1,1] w = {1, 0, 0, 1}, float[2] s = {1, 2}, float[2] b = {0, 1}> {
        c = Conv <kernel_shape = [1, 1], pads = [0, 0, 0, 0]> (x, w)
        d = BatchNormalization <epsilon = 0.001> (c, s, b, b, s)
        y = Relu (d)
     }",
    // Shapes as data.
    "<ir_version: 10, opset_import: [\"\": 21]>
     shapes (float[batch,6] x) => (float[batch,2,3] y) <int64[2] tail = {2, 3}, int64[1] zero = {0}, int64 at = {0}> {
        s = Shape (x)
        n = Gather (s, zero)
        t = Concat <axis = 0> (n, tail)
        y = Reshape (x, t)
     }",
    // A graph inside a node, which reads what is around it.
    "<ir_version: 8, opset_import: [\"\": 17]>
     branches (bool c, float[2] x) => (float[2] y) <float[2] w = {1, 2}> {
        y = If (c) <
            then_branch = yes () => (float[2] a) { a = Add (x, w) },
            else_branch = no () => (float[2] b) { b = Sub (x, w) }
        >
     }",
    // A function with an attribute.
    "<ir_version: 9, opset_import: [\"\": 18, \"local\": 1]>
     calls (float[2,3] x) => (float[2,3] y) { y = local.Leaky <slope = 0.5> (x) }
     <domain: \"local\", opset_import: [\"\": 18]>
     Leaky <slope: float = 0.1> (a) => (b) { b = LeakyRelu <alpha: float = @slope> (a) }",
    // Small element types, strings, and an operator nobody knows.
    "<ir_version: 10, opset_import: [\"\": 21, \"acme\": 1]>
     odd (float[3] x) => (float[3] y) <int4[3] q = {1, -2, 3}, float s = {0.5}, string[2] names = {\"a\", \"bc\"}> {
        d = DequantizeLinear (q, s)
        y = acme.Widget <level = 3> (x, d, names)
     }",
];

const PLAIN: ExportOptions = ExportOptions { opset: None, external_data: false };

fn files() -> Vec<Vec<u8>> {
    let file = |text: &str| {
        let (model, _) = text::parse_model(text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        let bytes = to_bytes(&model, &PLAIN).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        assert!(crate::from_bytes(bytes.clone().into(), &Limits::stated(), &Policy::interactive()).is_ok());
        bytes
    };
    MODELS.into_iter().map(file).collect()
}

/// Reads, checks, types and writes; whether the file was accepted.
fn survives(bytes: Vec<u8>) -> bool {
    let Ok((mut model, _)) = crate::from_bytes(bytes.into(), &Limits::stated(), &Policy::interactive()) else {
        return false;
    };
    let _ = verify::verify(&model);
    infer::infer(&mut model);
    let _ = to_bytes(&model, &PLAIN);
    true
}

/// Runs `mutate` for each number below `n` on every core; the numbers that panicked, and how many files were accepted.
fn each(n: usize, mutate: impl Fn(usize) -> Vec<u8> + Sync) -> (Vec<usize>, usize) {
    let n_threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let one = |number: usize| catch_unwind(AssertUnwindSafe(|| survives(mutate(number))));
    let share = |first: usize| -> Vec<(usize, Option<bool>)> {
        (first..n).step_by(n_threads).map(|number| (number, one(number).ok())).collect()
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let share = &share;
        let threads: Vec<_> = (0..n_threads).map(|first| scope.spawn(move || share(first))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("panics are caught")).collect()
    });
    let panicked = results.iter().filter(|(_, result)| result.is_none()).map(|(number, _)| *number).collect();
    (panicked, results.iter().filter(|(_, result)| *result == Some(true)).count())
}

// A5
#[test]
fn five_models_cut_anywhere_are_refused_or_read_and_never_panic() {
    for file in files() {
        let (panicked, accepted) = each(file.len(), |length| file[..length].to_vec());
        assert!(panicked.is_empty(), "cut at {panicked:?}");
        // What follows the graph and is optional may be missing.
        assert!(accepted <= 64, "{accepted} prefixes are accepted");
    }
}

// A6
#[test]
fn five_models_with_any_bit_flipped_are_refused_or_read_and_never_panic() {
    for (at, file) in files().into_iter().enumerate() {
        let flip = |bit: usize| {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        };
        let (panicked, accepted) = each(file.len() * 8, flip);
        assert!(panicked.is_empty(), "model {at}, bits {panicked:?}");
        assert!(accepted < file.len() * 8);
    }
}

// A9, A13
#[test]
fn five_models_with_any_byte_made_enormous_never_panic() {
    for file in files() {
        let grow = |at: usize| {
            let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
            [&file[..at], &huge, &file[at + 1..]].concat()
        };
        let (panicked, _) = each(file.len(), grow);
        assert!(panicked.is_empty(), "at {panicked:?}");
    }
}
