//! Graphs of repeated blocks: what is done for each block is the same, and grows with the number of blocks alone.

use eutectic_ir::text::parse_model;
use eutectic_ir::{Model, infer};
use eutectic_passes::cost::{CostModel, Device};
use eutectic_passes::extract::{Extract, IlpBudget};
use eutectic_passes::optimize::{Engine, Options, optimize};
use eutectic_passes::pipeline;
use eutectic_passes::saturate::{Limits, Space, extract_graph, saturate};
use eutectic_passes::target::Target;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::processor_seconds;

/// What a decoder is made of: constants, and weights and calls of one block, a part each. `#` stands for the number of a block and
/// `@` for the next one.
const DECODER: &str = include_str!("../../papers/models/decoder_block.txt");

/// A decoder of `n_blocks` blocks as exporters spell it: normalisation, attention with four heads, and a two-layer network with
/// a spelled-out GELU, each on a residual stream. Every weight has a seed of its own.
fn transformer(n_blocks: usize) -> Model {
    let parts: Vec<&str> = DECODER.split("\n\n").collect();
    let [constants, weights, calls] = parts[..] else { panic!("{} parts", parts.len()) };
    let of_each = |part: &str| -> String {
        let of_block =
            |at: usize| part.trim_end().replace('#', &at.to_string()).replace('@', &(at + 1).to_string()) + "\n";
        (0..n_blocks).map(of_block).collect()
    };
    let weights = of_each(weights);
    let weights = weights.lines().enumerate().map(|(at, weight)| {
        let seed = at + 1;
        format!("{weight} = [\"location\": \"seed:{seed}\", \"low\": \"-0.1\", \"high\": \"0.1\"]")
    });
    let listed: Vec<String> = constants.lines().map(str::to_owned).chain(weights).collect();
    let text = format!(
        "<ir_version: 10, opset_import: [\"\": 20]>
        transformer (float[2,16,64] x_0, float[2,1,1,16] mask) => (float[2,16,64] x_{n_blocks}) <{}> {{ {} }}",
        listed.join(","),
        of_each(calls)
    );
    parse_model(&text).map_err(|problems| problems.to_string()).expect("it parses").0
}

/// What one model became.
#[derive(Debug)]
struct Outcome {
    operators: BTreeMap<String, usize>,
    n_enodes: usize,
    n_classes: usize,
}

fn optimized(n_blocks: usize, extract: Extract) -> Outcome {
    let mut model = transformer(n_blocks);
    let engine = Engine::Saturate { limits: Limits { time: None, ..Limits::STANDARD }, extract };
    let options = Options { engine, ..Options::standard(Target::Portable).expect("the library loads") };
    let report = optimize(&mut model, &options).map_err(|problems| problems.to_string()).expect("it optimizes");
    let mut operators = BTreeMap::new();
    for (_, node) in model.graph.nodes() {
        *operators.entry(node.op.to_string()).or_default() += 1;
    }
    let (n_enodes, n_classes) = report.space.expect("a space");
    Outcome { operators, n_enodes, n_classes }
}

#[test]
fn each_block_becomes_the_same_whatever_the_number_of_blocks() {
    let budget = IlpBudget { time: None, ..IlpBudget::STANDARD };
    for extract in [Extract::Dag, Extract::Ilp(budget)] {
        let [two, three, six] = [2, 3, 6].map(|n_blocks| optimized(n_blocks, extract));
        for (operator, &n_in_six) in &six.operators {
            let of = |outcome: &Outcome| outcome.operators.get(operator).copied().unwrap_or(0);
            let per_block = of(&three) - of(&two);
            assert_eq!(n_in_six, of(&two) + 4 * per_block, "{operator}: {two:?}, {three:?}, {six:?}");
        }
        assert_eq!(six.n_enodes - two.n_enodes, 4 * (three.n_enodes - two.n_enodes));
        assert_eq!(six.n_classes - two.n_classes, 4 * (three.n_classes - two.n_classes));
    }
}

/// What `work` gives, and the processor's seconds that it takes: the mean over a quarter of a second, since the clock has steps
/// of milliseconds.
fn timed<T>(mut work: impl FnMut() -> T) -> (T, f64) {
    const LEAST: f64 = 0.25;
    let clock = Instant::now();
    let start = processor_seconds(clock);
    for n_runs in 1.. {
        let result = work();
        let seconds = processor_seconds(clock) - start;
        if seconds >= LEAST {
            return (result, seconds / f64::from(n_runs));
        }
    }
    unreachable!("time passes")
}

/// `cargo test --release -p eutectic-passes --test all blocks:: -- --ignored --nocapture` prints a JSON object a line.
#[test]
#[ignore = "a measurement"]
fn time_by_number_of_blocks() {
    let options = Options::standard(Target::Portable).expect("the library loads");
    let rules: Vec<_> = options.rules.iter().map(Arc::as_ref).collect();
    let limits = Limits { time: None, ..Limits::STANDARD };
    let cost = CostModel::new(Device::h200());
    const N_RUNS: usize = 5;
    for n_blocks in [4, 12, 24, 48] {
        let mut model = transformer(n_blocks);
        pipeline::prepare(options.fold, false)
            .run(&mut model)
            .map_err(|problems| problems.to_string())
            .expect("it prepares");
        let (facts, _) = infer::infer(&mut model);
        for run in 0..N_RUNS {
            let ((space, activity), saturated) = timed(|| {
                let mut space = Space::new(&model.graph, &facts).expect("no cycle");
                let activity = saturate(&mut space, &rules, limits);
                (space, activity)
            });
            let extracted = |extract: Extract| {
                let ((_, found), seconds) =
                    timed(|| extract_graph(&space, &model.graph, &cost, &|_| true, extract).expect("feasible"));
                (seconds, found.dag, found.gap())
            };
            let (dag, dag_cost, _) = extracted(Extract::Dag);
            let (ilp, ilp_cost, gap) = extracted(Extract::Ilp(IlpBudget { time: None, ..IlpBudget::STANDARD }));
            println!(
                "{{\"blocks\": {n_blocks}, \"run\": {run}, \"enodes\": {}, \"classes\": {}, \"rounds\": {}, \"stop\": \"{:?}\", \
                 \"saturate\": {saturated:.6}, \"dag\": {dag:.6}, \"dag_cost\": {dag_cost:e}, \"ilp\": {ilp:.6}, \"ilp_cost\": \
                 {ilp_cost:e}, \"gap\": {}}}",
                space.n_nodes(),
                space.n_classes(),
                activity.iterations,
                activity.stop,
                gap.unwrap_or(1.0)
            );
        }
    }
}
