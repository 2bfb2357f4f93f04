//! The standard pipelines.

use crate::canonical::canonical;
use crate::cse::cse;
use crate::dce::dce;
use crate::fold::{FoldBudget, fold};
use crate::pass::{Change, Pass, Pipeline};
use crate::shapes::shapes;
use crate::tidy::tidy;
use crate::unflatten::unflatten;
use eutectic_ir::infer;

/// Rounds of [`prepare`]; exporters' graphs are stable after three or four.
const MOST_ROUNDS: usize = 8;

/// Writes inferred types into the model. Calls that cannot be typed are notes: they stay as they are.
pub fn types() -> Pass {
    Pass::new("types", "", |model| {
        let (_, notes) = infer::infer(model);
        Ok(Change { notes, ..Change::default() })
    })
}

/// What comes before rules: canonical form, constants computed, shape computations folded, nothing twice, nothing idle.
/// With `record`, the report of folding tells what was computed.
pub fn prepare(budget: FoldBudget, record: bool) -> Pipeline {
    let round = vec![canonical(), fold(budget, record), shapes(), unflatten(), cse(), dce()];
    Pipeline(vec![Pass::until_stable(MOST_ROUNDS, round), types()])
}

/// What comes after rules, before export: constants and shapes that rules left computed, nothing twice, nothing idle, and the
/// forms that people write, for a file of operator set `opset`. With `record`, the report of folding tells what was computed.
pub fn finish(budget: FoldBudget, opset: u64, record: bool) -> Pipeline {
    let round = vec![fold(budget, record), shapes(), cse(), dce()];
    Pipeline(vec![Pass::until_stable(MOST_ROUNDS, round), tidy(opset), dce(), types()])
}
