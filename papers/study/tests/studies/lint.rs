//! Each sin of the lint, one test each.

use crate::Case;
use eutectic_study::lint::{Sin, lint};

fn sins(case: &Case) -> Vec<Sin> {
    let generated = case.generate().unwrap_or_else(|trouble| panic!("{trouble}"));
    let mut sins: Vec<Sin> =
        lint(case.path(), &generated).expect("readable").into_iter().map(|finding| finding.sin).collect();
    sins.dedup();
    sins
}

/// The sins of the study after one edit, which without it has none.
fn after(file: &str, from: &str, to: &str) -> Vec<Sin> {
    let case = Case::new();
    case.edit(file, from, to);
    sins(&case)
}

#[test]
fn a_study_without_a_fault_has_no_finding() {
    assert_eq!(sins(&Case::new()), []);
}

#[test]
fn a_number_typed_beside_a_unit() {
    assert_eq!(after("paper.typ", "= Result", "= Result\nThe new one takes 5.0 ms."), [Sin::TypedNumber]);
}

#[test]
fn a_figure_that_no_run_made() {
    let case = Case::new();
    let generated = case.generate().unwrap_or_else(|trouble| panic!("{trouble}"));
    // Setting it would end at the file, which is none of the study's.
    case.edit("paper.typ", "#plot(\"growth\")", "#image(\"/drawn.svg\")");
    let findings = lint(case.path(), &generated).expect("readable");
    assert_eq!(findings.first().map(|finding| finding.sin), Some(Sin::ForeignFigure));
}

#[test]
fn a_generated_file_that_was_changed() {
    let case = Case::new();
    let generated = case.generate().unwrap_or_else(|trouble| panic!("{trouble}"));
    eutectic_study::write(case.path(), &generated).unwrap_or_else(|trouble| panic!("{trouble}"));
    assert_eq!(sins(&case), []);
    case.edit("out/figures/ratios.svg", "</svg>", "<!-- better --></svg>");
    assert_eq!(sins(&case), [Sin::ForeignFigure]);
}

#[test]
fn a_hypothesis_without_an_outcome() {
    assert_eq!(after("study.toml", "is = \"above\"\nthan = 1.02\n", ""), [Sin::OpenHypothesis]);
}

#[test]
fn a_ratio_without_its_base() {
    assert_eq!(after("study.toml", "base = \"old\"\n", ""), [Sin::BareRatio]);
}

#[test]
fn a_ratio_without_its_interval() {
    let bare = "= Result\n#num(\"compare/time/groups/a/ratios/new/value\")";
    assert_eq!(after("paper.typ", "= Result", bare), [Sin::BareRatio]);
}

#[test]
fn a_mean_of_ratios() {
    assert_eq!(after("study.toml", "\"geometric_mean\"", "\"mean\""), [Sin::MeanOfRatios]);
}

#[test]
fn a_geometric_mean_without_the_ratios_beside_it() {
    assert_eq!(after("paper.typ", "#data(\"time\")\n", ""), [Sin::MeanOfRatios]);
}

#[test]
fn an_axis_without_a_label() {
    assert_eq!(after("study.toml", "label = \"time\"", "label = \"\""), [Sin::UnlabelledAxis]);
    assert_eq!(after("study.toml", "from = \"time\"\n", "from = \"time\"\nx = \" \"\n"), [Sin::UnlabelledAxis]);
}

#[test]
fn a_line_that_joins_categories() {
    assert_eq!(after("study.toml", "rows = [\"size\"]", "rows = [\"model\"]"), [Sin::JoinedCategories]);
}

#[test]
fn a_claim_on_a_backend_whose_tests_were_skipped() {
    let case = Case::new();
    case.edit("study.toml", "[runs]", "[backends.gpu]\nconformance = \"gpu.json\"\n\n[runs]");
    assert_eq!(sins(&case), [Sin::UntestedBackend]);
    case.put("gpu.json", "{\"passed\": 0, \"failed\": 0, \"skipped\": 12}");
    assert_eq!(sins(&case), [Sin::UntestedBackend]);
    case.put("gpu.json", "{\"passed\": 12, \"failed\": 0, \"skipped\": 0}");
    assert_eq!(sins(&case), []);
}

#[test]
fn a_control_that_differs() {
    let case = Case::new();
    let line = |variant: &str, odd: f64| {
        let samples: Vec<f64> = (0..40).map(|at| if at % 2 == 0 { 1.0 } else { odd }).collect();
        format!("{}\n", serde_json::json!({ "variant": variant, "size": 1, "seconds": samples }))
    };
    for model in ["a", "b"] {
        for process in 0..3 {
            let levels = serde_json::json!({ "model": model });
            let provenance = serde_json::json!({ "provenance": { "levels": levels, "build": 0, "process": process } });
            let text = format!("{provenance}\n{}{}", line("old", 1.1), line("new", 1.0));
            case.store(&format!("here/{model}-p{process}.jsonl"), &text);
        }
    }
    assert_eq!(sins(&case), [Sin::FailedControl]);
}
