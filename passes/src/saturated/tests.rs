use super::*;
use crate::rules::Library;
use crate::target::Target;
use crate::testing::assert_same;
use eutectic_ir::text::{PrintOptions, parse_model, print_model};

const MODEL: &str = "<ir_version: 10, opset_import: [\"\": 20]>
g (float[1,2,4,4] x) => (float[1,3,4,4] y) <
    float[3,2,1,1] w = [\"location\": \"seed:1\"], float[3] b = [\"location\": \"seed:2\"],
    float[3] scale = [\"location\": \"seed:3\"], float[3] shift = [\"location\": \"seed:4\"],
    float[3] mean = [\"location\": \"seed:5\"], float[3] var = [\"location\": \"seed:6\", \"low\": \"0.5\", \"high\": \"1.5\"]
> {
    c = Conv (x, w, b)
    n = BatchNormalization (c, scale, shift, mean, var)
    y = Relu (n)
}";

fn options() -> Options {
    let limits = Limits { time: None, ..Limits::STANDARD };
    let engine = Engine::Saturate { limits, extract: Extract::Dag };
    Options { engine, ..Options::standard(Target::Portable).expect("the library loads") }
}

fn model(text: &str) -> Model {
    parse_model(text).map_err(|problems| problems.to_string()).expect("it parses").0
}

fn why_not(text: &str, rule: &str, at: Option<&str>) -> WhyNot {
    let library = Library::built_in().expect("it loads");
    let mut saturated = Saturated::new(model(text), options()).expect("it saturates");
    saturated.why_not(library.rule(rule).expect("a rule"), at.map(Name::from).as_ref()).expect("an answer")
}

#[test]
fn equivalents_are_equal_differ_and_repeat_for_a_seed() {
    let saturated = Saturated::new(model(MODEL), options()).expect("it saturates");
    let mut texts = Vec::new();
    for seed in 0..16 {
        let drawn = saturated.draw(seed).expect("an equivalent");
        assert_same(&model(MODEL), &drawn, 1);
        let text = print_model(&drawn, &PrintOptions::EXACT);
        assert_eq!(text, print_model(&saturated.draw(seed).expect("an equivalent"), &PrintOptions::EXACT));
        texts.push(text);
    }
    texts.sort();
    texts.dedup();
    assert!(texts.len() > 1, "every seed gives the same graph");
}

#[test]
fn a_rule_that_was_applied_says_so() {
    let WhyNot::Applied { calls } = why_not(MODEL, "conv_batchnorm", None) else { panic!("it was applied") };
    assert_eq!(calls.len(), 2, "{calls:?}");
}

#[test]
fn a_near_miss_names_place_and_reason() {
    let text =
        MODEL.replace("float[1,2,4,4] x)", "float[1,2,4,4] x, float[3] live)").replace("(c, scale,", "(c, live,");
    let WhyNot::Misses { calls, n_pattern, reasons } = why_not(&text, "conv_batchnorm", None) else {
        panic!("it misses")
    };
    assert_eq!((calls.len(), n_pattern), (2, 2));
    assert_eq!(reasons, ["needs `const (scale)`, has `scale` = `live`, float[3], an input"]);
}

#[test]
fn a_place_may_be_any_call_of_the_pattern() {
    let text = MODEL.replace("n = BatchNormalization (c, scale, shift, mean, var)", "n = Neg (c)");
    let WhyNot::Misses { calls, reasons, .. } = why_not(&text, "conv_batchnorm", Some("c")) else {
        panic!("it misses")
    };
    assert!(calls.len() == 1 && calls[0].contains("Conv"), "{calls:?}");
    assert!(reasons[0].starts_with("needs a call of BatchNormalization that reads `c`, which is `c`"), "{reasons:?}");
    let nowhere = why_not(&text, "conv_batchnorm", None);
    assert_eq!(nowhere, WhyNot::Nowhere { operators: vec!["BatchNormalization".into()] });
}

#[test]
fn a_name_that_nothing_has_is_an_error() {
    let library = Library::built_in().expect("it loads");
    let mut saturated = Saturated::new(model(MODEL), options()).expect("it saturates");
    let asked = saturated.why_not(library.rule("conv_batchnorm").expect("a rule"), Some(&"nothing".into()));
    assert_eq!(asked.expect_err("nothing has the name").0[0].code, "P0205");
}
