//! Search with TASO's sound rules on the networks of its paper and of TENSAT's.

use eutectic_ir::text::parse_model;
use eutectic_ir::{Model, Op, infer};
use eutectic_passes::extract::Extract;
use eutectic_passes::fold::FoldBudget;
use eutectic_passes::optimize::Options;
use eutectic_passes::pipeline;
use eutectic_passes::rules::{Library, Rule};
use eutectic_passes::saturate::{Activity, Limits, Space, Stop, extract_graph, saturate};
use eutectic_passes::target::Target;
use std::path::Path;
use std::time::Instant;

use crate::clock::processor_seconds;

const LIMITS: Limits = Limits { nodes: 50_000, time: None, ..Limits::STANDARD };

/// Each model in `papers/models`, with the seconds of TASO (Jia et al., SOSP 2019) and of TENSAT (Yang et al., MLSys 2021).
const MODELS: [(&str, f64, f64); 7] = [
    ("nasrnn_dy18", 177.3, 0.5),
    ("bert_base_ts17", 13.6, 1.4),
    ("resnext50_dy18", 25.3, 0.7),
    ("nasnet_a_dy18", 1226.0, 10.6),
    ("squeezenet1_1_dy18", 16.4, 0.3),
    ("inception_v3_dy18", 68.6, 5.1),
    ("vgg19_dy18", 8.9, 0.4),
];

fn prepared(name: &str) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../papers/models/{name}.onnxtxt"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut model = parse_model(&text).map_err(|problems| problems.to_string()).expect("it parses").0;
    pipeline::prepare(FoldBudget::STANDARD, false)
        .run(&mut model)
        .map_err(|problems| problems.to_string())
        .expect("it prepares");
    model
}

fn options() -> Options {
    Options::standard(Target::Portable).expect("the library loads")
}

fn searched(model: &mut Model, rules: &[&Rule]) -> (Space, Activity) {
    let (facts, _) = infer::infer(model);
    let mut space = Space::new(&model.graph, &facts).expect("no cycle");
    let activity = saturate(&mut space, rules, LIMITS);
    (space, activity)
}

#[test]
fn parallel_products_are_merged_without_end_only_on_request() {
    let options = options();
    let rules: Vec<&Rule> = options.rules.iter().map(AsRef::as_ref).collect();
    let (space, activity) = searched(&mut prepared("nasrnn_dy18"), &rules);
    // Eight products of one input have 56 subsets of three; what these make is not merged again.
    assert_eq!(activity.stop, Stop::Saturated, "{} e-nodes", space.n_nodes());
}

/// `cargo test --release -p eutectic-passes --test all taso_search:: -- --ignored --nocapture` prints a JSON object a line:
/// `benches/results/taso-search.jsonl`.
#[test]
#[ignore = "a measurement"]
fn search_in_figures() {
    let library = Library::built_in().expect("the library loads");
    let Options { cost, target, opset, .. } = options();
    let allowed = |op: &Op| target.allows(op, opset);
    let rules: Vec<&Rule> = library.forward().map(AsRef::as_ref).collect();
    for (name, taso, tensat) in MODELS {
        let mut model = prepared(name);
        let (before, _) = searched(&mut model, &[]);
        let price = |space: &Space| {
            let (graph, costs) = extract_graph(space, &model.graph, &cost, &allowed, Extract::Dag).expect("feasible");
            (graph.n_nodes(), costs.dag)
        };
        let (n_before, cost_before) = price(&before);
        for run in 0..5 {
            let mut again = model.clone();
            let clock = Instant::now();
            let start = processor_seconds(clock);
            let (space, activity) = searched(&mut again, &rules);
            let saturated = processor_seconds(clock) - start;
            let (n_after, cost_after) = price(&space);
            let seconds = processor_seconds(clock) - start;
            let slowest = (0..rules.len()).max_by_key(|&at| activity.rules[at].time).expect("there are rules");
            println!(
                "{{\"model\": \"{name}\", \"run\": {run}, \"rules\": \"all, taso\", \"stop\": \"{:?}\", \"rounds\": {}, \
                 \"enodes\": {}, \"eclasses\": {}, \"nodes_before\": {n_before}, \"nodes_after\": {n_after}, \
                 \"predicted_seconds_before\": {cost_before:e}, \"predicted_seconds_after\": {cost_after:e}, \
                 \"saturate_seconds\": {saturated:.3}, \"search_seconds\": {seconds:.3}, \"elapsed_seconds\": {:.3}, \
                 \"taso_seconds\": {taso}, \"tensat_seconds\": {tensat}, \
                 \"slowest_rule\": \"{}\", \"its_seconds\": {:.3}, \"its_matches\": {}}}",
                activity.stop,
                activity.iterations,
                space.n_nodes(),
                space.n_classes(),
                clock.elapsed().as_secs_f64(),
                rules[slowest].name,
                activity.rules[slowest].time.as_secs_f64(),
                activity.rules[slowest].matched
            );
        }
    }
}
