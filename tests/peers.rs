//! The minimal cases against the other optimizers: `docs/peers.tsv`, which `tests/python/peers.py` writes.
//!
//! Their counts are what they were when the table was written; ours are counted again.

use crate::common::{models, root};
use eutectic::ir::Model;
use eutectic::ir::text::parse_model;
use eutectic::passes::optimize::{Engine, Extract, Options, optimize};
use eutectic::passes::saturate::Limits;
use eutectic::passes::target::Target;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The columns of the other optimizers.
const PEERS: [&str; 6] = ["onnxsim", "onnxslim", "onnxoptimizer", "ort basic", "ort extended", "onnxscript"];

/// One line of the table.
struct Row {
    model: String,
    cells: Vec<(String, String)>,
}

impl Row {
    fn cell(&self, column: &str) -> &str {
        let found = self.cells.iter().find(|(name, _)| name == column);
        &found.unwrap_or_else(|| panic!("{}: no column `{column}`", self.model)).1
    }

    fn ours(&self, column: &str) -> usize {
        self.cell(column).parse().unwrap_or_else(|_| panic!("{}: no count in `{column}`", self.model))
    }

    /// The fewest calls that another optimizer leaves, those apart that compute something else, or, when `standard`, that
    /// need operators that ONNX does not have.
    fn best_peer(&self, standard: bool) -> Option<usize> {
        let counts = PEERS.iter().map(|peer| self.cell(peer)).filter(|cell| !cell.contains('!'));
        let counts = counts.filter(|cell| !(standard && cell.contains('*')));
        counts.filter_map(|cell| cell.trim_end_matches('*').parse().ok()).min()
    }
}

fn table(name: &str) -> Vec<Row> {
    let path = root().join("docs").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').map(String::from));
    let columns: Vec<String> = lines.next().expect("names of columns").collect();
    let row = |cells: Vec<String>| {
        assert_eq!(cells.len(), columns.len(), "{cells:?}");
        Row { model: cells[0].clone(), cells: columns.iter().cloned().zip(cells).collect() }
    };
    lines.map(|cells| row(cells.collect())).collect()
}

fn case(name: &str) -> PathBuf {
    root().join("tests/cases/rules").join(name).with_extension("onnxtxt")
}

fn n_calls(model: &Model, target: Target) -> usize {
    let limits = Limits { time: None, ..Limits::STANDARD };
    let standard = Options::standard(target).expect("the library loads").admitting(model);
    let mut model = model.clone();
    let options = Options { engine: Engine::Saturate { limits, extract: Extract::Dag }, ..standard };
    optimize(&mut model, &options).map_err(|problems| problems.to_string()).expect("it optimizes");
    model.graph.nodes().count()
}

#[test]
fn the_table_has_every_minimal_case() {
    let stem = |path: PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let cases: BTreeSet<String> = models("tests/cases/rules").into_iter().filter_map(stem).collect();
    let rows: BTreeSet<String> = table("peers.tsv").into_iter().map(|row| row.model).collect();
    assert_eq!(cases, rows, "`tests/python/peers.py` adds rows");
}

#[test]
fn no_other_optimizer_leaves_fewer_calls() {
    let mut missed = Vec::new();
    for row in table("peers.tsv") {
        let text = std::fs::read_to_string(case(&row.model)).unwrap_or_else(|error| panic!("{}: {error}", row.model));
        let model = parse_model(&text).map_err(|problems| problems.to_string()).expect("it parses").0;
        for (column, target) in [("standard", Target::Onnx), ("fused", Target::Portable)] {
            let (stated, found) = (row.ours(column), n_calls(&model, target));
            let best = row.best_peer(target == Target::Onnx);
            if found != stated || best.is_some_and(|best| best < found) {
                missed.push(format!("{} ({column}): {found} calls, {stated} stated, others {best:?}", row.model));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
