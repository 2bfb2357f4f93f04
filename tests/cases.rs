//! Golden cases: a model and a command, and the text of what comes out.
//!
//! A case is a file below `tests/cases`. Comments at its top say what is done with it:
//!
//! ```text
//! # fold a batch normalisation into the convolution before it
//! # optimize --target onnx --engine saturate
//! ```
//!
//! The result stands beside it, in `<name>.expected`. `UPDATE_EXPECT=1 cargo test --test all cases::` rewrites the results. Ground
//! first, freeze second: a result is only compared, or written, when the interpreter agrees on both sides.

use crate::common::models;
use eutectic::certificate::difference;
use eutectic::inputs::{Sizes, seeded};
use eutectic::ir::Model;
use eutectic::ir::eval::run_model;
use eutectic::ir::text::{PrintOptions, Weights, parse_model, print_model};
use eutectic::passes::optimize::{Engine, Extract, Options, optimize};
use eutectic::passes::saturate::Limits;
use eutectic::passes::target::Target;
use expect_test::expect_file;
use std::path::Path;

/// Weights are part of the result as far as they are small enough to read.
const PRINTED: PrintOptions = PrintOptions { weights: Weights::Elide { above: 12 }, materialize: 4, types: false };

fn options(command: &str) -> Options {
    let words: Vec<&str> = command.split_whitespace().collect();
    let value = |flag: &str| words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1)).copied();
    let target: Target = value("--target").unwrap_or("portable").parse().expect("a target");
    let engine = match value("--engine").unwrap_or("saturate") {
        "greedy" => Engine::Greedy,
        "saturate" => Engine::Saturate { limits: Limits { time: None, ..Limits::STANDARD }, extract: Extract::Dag },
        other => panic!("unknown engine `{other}`"),
    };
    Options { engine, ..Options::standard(target).expect("the library loads") }
}

/// Both models, in double precision, on inputs whose symbolic dims are 3.
fn ground(before: &Model, after: &Model, case: &Path) {
    let inputs = seeded(before, &Sizes::all(3), 7).expect("inputs");
    let [left, right] = [before, after].map(|model| run_model::<f64>(model, &inputs).expect("the interpreter runs it"));
    assert_eq!(left.len(), right.len(), "{}", case.display());
    for (output, (left, right)) in before.graph.outputs().iter().zip(left.iter().zip(&right)) {
        let [left, right] = [left, right].map(|datum| datum.to_tensor().expect("a tensor"));
        let found = difference(output.name.to_string(), &left, &right);
        assert!(found.max_rel < 1e-5, "{}: the interpreter disagrees: {found:?}", case.display());
    }
}

#[test]
fn cases_are_rewritten_as_they_were() {
    let cases = models("tests/cases");
    assert!(cases.len() >= 8, "{} cases", cases.len());
    for case in cases {
        let source = std::fs::read_to_string(&case).expect("readable");
        let command =
            source.lines().take_while(|line| line.starts_with('#')).find_map(|line| line.strip_prefix("# optimize"));
        let command = command.unwrap_or_else(|| panic!("{} says no command", case.display()));
        let model = parse_model(&source).map_err(|problems| problems.to_string()).expect("it parses").0;
        let mut rewritten = model.clone();
        let report =
            optimize(&mut rewritten, &options(command)).map_err(|problems| problems.to_string()).expect("it optimizes");
        assert!(report.conflicts.is_empty(), "{}: {:?}", case.display(), report.conflicts);
        ground(&model, &rewritten, &case);
        let mut names: Vec<&str> = rewritten.graph.nodes().map(|(_, node)| node.name.as_str()).collect();
        names.retain(|name| !name.is_empty());
        let n_named = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n_named, "{}: two nodes of one name", case.display());
        expect_file![case.with_extension("expected")].assert_eq(&print_model(&rewritten, &PRINTED));
    }
}
