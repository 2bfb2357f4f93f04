//! Tests of near misses: each kind of miss has its line, and what misses nothing is what the matcher finds.

use super::near::{nearest, starts};
use super::{Budget, Host, Library, Rule, find};
use crate::graph_host::GraphHost;
use eutectic_ir::text::parse_graph;
use std::ops::ControlFlow;

fn host(text: &str) -> GraphHost {
    GraphHost::new(parse_graph(text).map_err(|problems| problems.to_string()).expect("it parses").0)
}

fn rule(text: &str) -> std::sync::Arc<Rule> {
    let mut library = Library::new();
    library.load_rules("test.rules", text).map_err(|problems| problems.to_string()).expect("it loads");
    library.rules()[0].clone()
}

/// The lines of the nearest miss of `rule` in `graph`.
fn reasons(rule_text: &str, graph: &str) -> Vec<String> {
    let (rule, host) = (rule(rule_text), host(graph));
    let found = nearest(&rule, &host, &starts(&rule, &host), &mut Budget::new(10_000)).expect("a start");
    found.reasons(&rule, &host, &|value| {
        let name = &host.graph.value(value).name;
        match host.scalar(value) {
            Some(number) => number.to_string(),
            None => format!("`{name}`"),
        }
    })
}

#[test]
fn each_kind_of_miss_has_its_line() {
    let sums = "/// d\nrule a : exact { t = Add (x, c)  y = Relu (t)  where const (c) => y = Relu (x) }";
    let softmax = "/// d\nrule a : exact { [s] y = Softmax <axis = 1> (x) => y = x }";
    let leaky = "/// d\nrule a : exact { [l] y = LeakyRelu (x) where l.alpha == 0.5 => y = x }";
    let ranked = "/// d\nrule a : exact { y = Relu (x) where rank (x) == 3, dim (x, 0) < 2 => y = x }";
    let twice = "/// d\nrule a : exact { y = Sub (x, x) => y = x }";
    let half = "/// d\nrule a : exact { y = Mul (x, 0.5) => y = x }";
    let clip = "/// d\nrule a : exact { y = Clip (x, low, \"\") => y = x }";
    let merged = "/// d\nrule a : exact { a = Relu (x) b = Neg (x) => a = x b = x }";
    let cases: [(&str, &str, &[&str]); 10] = [
        (
            sums,
            "g (float[2] x, float[2] c) => (float[2] y) { t = Add (x, c) y = Relu (t) }",
            &["needs `const (c)`, has `c` = `c`"],
        ),
        (
            sums,
            "g (float[2] x) => (float[2] y) { t = Neg (x) y = Relu (t) }",
            &["needs a call of Add that defines `t`, which is `t`"],
        ),
        (softmax, "g (float[2,2] x) => (float[2,2] y) { y = Softmax <axis = 0> (x) }", &["needs `s.axis == 1`, has 0"]),
        (
            leaky,
            "g (float[2] x) => (float[2] y) { y = LeakyRelu <alpha = 0.25> (x) }",
            &["needs `l.alpha == 0.5`, has l.alpha = 0.25"],
        ),
        (
            ranked,
            "g (float[4,2] x) => (float[4,2] y) { y = Relu (x) }",
            &["needs `rank (x) == 3`, has rank (x) = 2", "needs `dim (x, 0) < 2`, has dim (x, 0) = 4"],
        ),
        (twice, "g (float[2] x, float[2] z) => (float[2] y) { y = Sub (x, z) }", &["needs `x` twice, has `x` and `z`"]),
        (
            half,
            "g (float[2] x) => (float[2] y) <float c = {0.25}> { y = Mul (x, c) }",
            &["needs the constant 0.5 as an input of Mul, has 0.25"],
        ),
        (
            clip,
            "g (float[2] x, float a, float b) => (float[2] y) { y = Clip (x, a, b) }",
            &["needs a call of Clip with the inputs and outputs of the pattern alone, has more"],
        ),
        (
            clip,
            "g (float[2] x, float b) => (float[2] y) { y = Clip (x, \"\", b) }",
            &[
                "needs `low`, has nothing",
                "needs a call of Clip with the inputs and outputs of the pattern alone, has more",
            ],
        ),
        (
            merged,
            "g (float[2] x) => (float[2] y) { y = Relu (x) }",
            &["needs a call of Neg that reads `x`, which is `x`"],
        ),
    ];
    for (rule, graph, expected) in cases {
        assert_eq!(reasons(rule, graph), expected, "{rule}\n{graph}");
    }
}

#[test]
fn what_is_constant_is_folded() {
    let text = "/// d\nrule a : exact { y = Relu (x) => y = x }";
    let graph = "g (float[2] z) => (float[2] y) <float[2] x = {1, 2}> { r = Relu (x) y = Add (z, r) }";
    assert_eq!(
        reasons(text, graph),
        ["needs a value that is computed from the inputs, has a constant, which folding computes"]
    );
}

#[test]
fn the_deepest_attempt_is_the_nearest_and_then_the_one_that_misses_least() {
    let text =
        "/// d\nrule a : exact { t = Add (x, c)  [l] y = LeakyRelu (t)  where const (c), l.alpha == 0.5 => y = x }";
    // The first call has nothing below it; the second misses two conditions; the third misses one.
    let graph = "g (float[2] x, float[2] c) => (float[2] a, float[2] b, float[2] d) <float[2] w = {1, 2}> {
        a = LeakyRelu <alpha = 0.5> (x)
        s = Add (x, c)  b = LeakyRelu <alpha = 0.25> (s)
        t = Add (x, w)  d = LeakyRelu <alpha = 0.125> (t)
    }";
    assert_eq!(reasons(text, graph), ["needs `l.alpha == 0.5`, has l.alpha = 0.125"]);
}

#[test]
fn a_near_miss_that_misses_nothing_is_a_match_and_the_other_way_round() {
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cases");
    let library = Library::built_in().expect("it loads");
    let (mut n_matches, mut n_misses) = (0, 0);
    for family in std::fs::read_dir(cases).expect("cases").flatten() {
        for case in std::fs::read_dir(family.path()).expect("a family").flatten() {
            if case.path().extension().is_none_or(|extension| extension != "onnxtxt") {
                continue;
            }
            let text = std::fs::read_to_string(case.path()).expect("readable");
            let mut model =
                eutectic_ir::text::parse_model(&text).map_err(|problems| problems.to_string()).expect("it parses").0;
            crate::pipeline::prepare(crate::fold::FoldBudget::STANDARD, false).run(&mut model).expect("it is prepared");
            let host = GraphHost::new(model.graph);
            for rule in library.rules() {
                let mut matches = false;
                let _ = find(rule, &host, &mut Budget::new(100_000), &mut |_| {
                    matches = true;
                    ControlFlow::Break(())
                });
                let near = nearest(rule, &host, &starts(rule, &host), &mut Budget::new(100_000));
                let misses_nothing = near.as_ref().is_some_and(|near| near.misses.is_empty());
                assert_eq!(matches, misses_nothing, "{} in {}", rule.name, case.path().display());
                n_matches += usize::from(matches);
                n_misses += usize::from(near.is_some() && !matches);
            }
        }
    }
    assert!(n_matches > 60 && n_misses > 500, "{n_matches} matches, {n_misses} misses");
}
