//! Tests of the language: what loads, and what each mistake is told.

use super::Library;
use super::verify::{Effort, verify};

const EFFORT: Effort = if cfg!(debug_assertions) { Effort::QUICK } else { Effort::STANDARD };

const GOOD: &str = "/// relu(relu(x)) == relu(x)\nrule twice : exact { t = Relu (x)  y = Relu (t) => y = Relu (x) }";

/// The codes of what is wrong with `source`, in order.
fn codes(source: &str) -> Vec<&'static str> {
    match Library::new().load_rules("test.rules", source) {
        Ok(()) => Vec::new(),
        Err(problems) => problems.0.iter().map(|problem| problem.code).collect(),
    }
}

#[test]
fn a_sound_rule_loads() {
    assert_eq!(codes(GOOD), [""; 0]);
}

#[test]
fn every_built_in_file_loads() {
    if let Err(problems) = Library::built_in() {
        panic!("{problems}");
    }
}

#[test]
fn each_mistake_has_its_code() {
    let cases = [
        ("R0001", "/// d\nrule a : exact { y = Relu (x) y = x }"),
        ("R0003", "rule a : exact { t = Relu (x) y = Relu (t) => y = Relu (x) }"),
        ("R0004", "/// d\nrule a : exact { y = Rleu (x) => y = x }"),
        ("R0005", "/// d\nrule a : exact { y = Relu <alpha = 1.0> (x) => y = x }"),
        ("R0005", "/// d\nrule a : exact { [l] y = LeakyRelu (x) where l.beta > 0 unused l.alpha => y = x }"),
        ("R0006", "/// d\nrule a : exact { y = Relu (x) where positive (x) => y = x }"),
        ("R0007", "/// d\nrule a : exact { y = Relu (x) => y = Relu (z) }"),
        ("R0008", "/// d\nrule a : exact { y = Relu (x) where l.alpha > 0 => y = x }"),
        ("R0009", "/// d\nrule a : exact { y = LeakyRelu (x) => y = x }"),
        ("R0010", "/// d\nrule a : exact { y = Relu (x) => z = Relu (x) }"),
        ("R0011", "/// d\nrule a : exact { y = Relu (x) => y = Relu (y) }"),
        ("R0012", "/// d\nrule a : exact { y = Relu (x) where rank (x) => y = x }"),
        ("R0012", "/// d\nrule a : exact { y = Relu (x) where rank (3) == 1 => y = x }"),
        ("R0012", "/// d\nrule a : exact { y = LeakyRelu <alpha = \"big\"> (x) => y = x }"),
        ("R0013", "/// d\nrule a : exact { y = Relu (x, x) => y = x }"),
        ("R0013", "/// d\nrule a : exact { y = Relu (x) where rank (x, x) == 1 => y = x }"),
        ("R0014", "/// d\nrule a : exact { y = Relu (x) y = Relu (z) => y = x }"),
        ("R0015", "/// d\nrule a : exact { y = Relu (x) => z = Relu (x) y = x }"),
        ("R0016", "/// d\nrule a : exact { y = Relu (x) z = Relu (u) => y = x z = u }"),
    ];
    for (code, source) in cases {
        assert!(codes(source).contains(&code), "{source}: {:?}", codes(source));
    }
}

#[test]
fn two_rules_of_one_name_are_refused() {
    assert_eq!(codes(&format!("{GOOD}\n{GOOD}")), ["R0002"]);
}

#[test]
fn a_problem_points_to_its_place() {
    let source = "/// d\nrule a : exact { y = Relu (x) => y = Relu (nothing) }";
    let problems = Library::new().load_rules("my.rules", source).err().unwrap_or_default();
    assert_eq!(
        problems.to_string(),
        "error[R0007]: there is no variable `nothing`\n  --> my.rules, characters 49..56, rule `a`"
    );
}

#[test]
fn a_family_on_request_applies_only_when_it_is_named() {
    let library = Library::built_in().unwrap_or_else(|problems| panic!("{problems}"));
    let chosen = library.select(&["taso"]).unwrap_or_default();
    assert!(chosen.len() > 20 && chosen.iter().all(|rule| rule.is_on_request()), "{}", chosen.len());
    assert_eq!(library.standard().count() + chosen.len(), library.forward().count());
}

#[test]
fn both_sides_of_every_built_in_rule_agree() {
    let library = Library::built_in().unwrap_or_else(|problems| panic!("{problems}"));
    let mut failures = Vec::new();
    for rule in library.rules() {
        let recognise = rule.name.strip_suffix("_expand").and_then(|name| library.rule(name));
        match verify(rule, recognise.map(|rule| &**rule), EFFORT) {
            Ok(verdict) => failures.extend(verdict.counterexample.map(|found| format!("{}: {found}", rule.name))),
            Err(problem) => failures.push(problem.to_string()),
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} rules fail:\n{}",
        failures.len(),
        library.rules().len(),
        failures.join("\n\n")
    );
}

#[test]
fn a_rule_without_instances_is_refused() {
    let source = "/// d\nrule a : exact { y = Relu (x) where rank (x) == 9 => y = Relu (x) }";
    let mut library = Library::new();
    library.load_rules("none.rules", source).unwrap_or_else(|problems| panic!("{problems}"));
    let found = verify(&library.rules()[0], None, Effort::STANDARD);
    assert_eq!(found.err().map(|problem| problem.code), Some("R0022"));
}

#[test]
fn mistakes_in_a_fused_operator_are_all_told_at_once() {
    let text = "<domain: \"mine\", opset_import: [\"\": 24]> Clipped (x) => (y) { c = Rleu (x) y = HardSwsh (c) }";
    let problems = Library::new().load_fusion("test.onnxtxt", text).expect_err("another domain, and no such operators");
    let codes: Vec<&str> = problems.0.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["R0017", "R0004", "R0004"], "{problems}");
    assert!(problems.to_string().contains("did you mean `HardSwish`?"), "{problems}");
}
