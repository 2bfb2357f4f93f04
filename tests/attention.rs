//! Attention is one operator, however an exporter spells it, and the rules that find it are short.

use eutectic::ir::text::parse_model;
use eutectic::passes::optimize::{Engine, Options, optimize};
use eutectic::passes::rules::library::RULE_FILES;
use eutectic::passes::target::Target;

/// What three exporters make of one layer of BERT.
const SPELLINGS: [(&str, &str); 4] = [
    ("TorchScript", include_str!("cases/rules/attention_of_torchscript.onnxtxt")),
    ("TorchScript, symbolic", include_str!("cases/rules/attention_of_torchscript_dynamic.onnxtxt")),
    ("torch.export", include_str!("cases/rules/attention_of_dynamo.onnxtxt")),
    ("Optimum", include_str!("cases/rules/attention_of_optimum.onnxtxt")),
];

#[test]
fn every_spelling_becomes_one_attention() {
    for (exporter, source) in SPELLINGS {
        let model = parse_model(source).map_err(|problems| problems.to_string()).expect("it parses").0;
        let standard = Options::standard(Target::Onnx).expect("the library loads");
        for engine in [standard.engine, Engine::Greedy] {
            let mut model = model.clone();
            optimize(&mut model, &Options { engine, ..standard.clone() }).expect("it optimizes");
            let n_calls = |op: &str| model.graph.nodes().filter(|(_, node)| node.op.is(op)).count();
            // The one product that is left is that of the three projections.
            let counts = ["Attention", "MatMul", "Softmax", "Transpose"].map(n_calls);
            assert_eq!(counts, [1, 1, 0, 0], "{exporter}, {engine:?}");
        }
    }
}

#[test]
fn a_rule_for_attention_has_at_most_ten_lines() {
    let (_, source) = RULE_FILES.iter().find(|(file, _)| file.ends_with("/attention.rules")).expect("a family");
    let mut n_rules = 0;
    for rule in source.split("\nrule ").skip(1) {
        let body = rule.lines().skip(1).take_while(|line| *line != "}");
        // Examples are for the verifier.
        let n_lines = body.filter(|line| !line.trim_start().starts_with("example ")).count();
        assert!(n_lines <= 10, "{}: {n_lines} lines", rule.lines().next().unwrap_or_default());
        n_rules += 1;
    }
    assert!(n_rules >= 8, "{n_rules}");
}
