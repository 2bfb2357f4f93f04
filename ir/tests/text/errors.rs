//! What cannot be read is reported where it stands, all of it at once.

use eutectic_ir::text::{parse_functions, parse_graph, parse_model};
use expect_test::{Expect, expect};

fn check(text: &str, expected: Expect) {
    let problems = parse_model(text).map(|_| ()).expect_err("the text is malformed");
    expected.assert_eq(&problems.to_string());
}

#[test]
fn several_problems_of_one_file_are_reported_at_once() {
    check(
        "g (float[N] x) => (y, missing) <float[2] w = {1, 2, 3}> {
            a = Relu x)
            b = Relu (a)
            c = LeakyRelu <alfa = 0.5> (b)
            d = = Relu (c)
            [label y = Relu (d)
            y = Relu (ghost)
        }",
        expect![[r#"
            error[T0009]: the shape asks for 2 elements, found 3
              --> characters 45..54
            error[T0003]: expected `(` before the inputs of a node, found `x`
              --> characters 79..80
            error[T0003]: expected an operator, found `=`
              --> characters 166..167
            error[T0003]: expected `]` after the label of a node, found `y`
              --> characters 196..197
            error[T0023]: LeakyRelu: there is no attribute `alfa`
              --> characters 134..138
            error[T0021]: `ghost` is not defined
              --> characters 231..236
            error[T0021]: `missing` is not defined
              --> characters 22..29"#]],
    );
}

#[test]
fn a_statement_names_what_is_missing() {
    check(
        "g (x) => (y) { y Relu (x) }",
        expect![[r#"
        error[T0003]: expected `=` between the outputs and the operator of a node, found `Relu`
          --> characters 17..21"#]],
    );
}

#[test]
fn an_unknown_character_is_named() {
    check(
        "g (x) => (y) { y = Relu (x)\n é = Relu (y) }",
        expect![[r#"
            error[T0001]: the character `é` starts no token
              --> characters 29..31
               = help: names with other characters than letters, digits and `_` stand in double quotes"#]],
    );
}

#[test]
fn an_open_string_is_found_at_its_quote() {
    check(
        "<producer_name: \"me, ir_version: 8> g () => () {}",
        expect![[r#"
        error[T0002]: a string has no closing quote
          --> characters 16..49
           = help: inside a string, write `\"` for a quote"#]],
    );
}

#[test]
fn names_are_defined_once_and_before_they_are_read() {
    check(
        "g (x) => (y) <float[1] x = {1}> { y = Relu (later) later = Relu (laterr) y = Relu (x) }",
        expect![[r#"
        error[T0021]: `later` is read before the node that defines it
          --> characters 44..49
           |  defined at characters 51..56
        error[T0021]: `laterr` is not defined
          --> characters 65..71
        error[T0020]: `y` is defined twice in this graph
          --> characters 73..74"#]],
    );
}

#[test]
fn attributes_fit_the_operator() {
    check(
        "g (x) => (y) { y = LeakyRelu <alpha = 1, beta = 2.0, alpha = 0.5> (x) z = x.Op <e = [], m = [1, \"a\"]> (x) }",
        expect![[r#"
            error[T0022]: an empty list does not tell its kind
              --> characters 84..86
               = help: write the kind before the `=`, such as `axes: ints = []`
            error[T0026]: attribute `alpha` is given twice
              --> characters 53..58
            error[T0023]: LeakyRelu: attribute `alpha` is declared float, found int
              --> characters 30..35
               = help: a float has a point: write `1.0` for `1`
            error[T0023]: LeakyRelu: there is no attribute `beta`
              --> characters 41..45"#]],
    );
}

#[test]
fn contents_fit_their_type() {
    check(
        "g () => (a) <uint8[2] a = {256, -1}, float[N] b = {1}, float[2] c = {1e39, \"x\"}, d = {1}> {}",
        expect![[r#"
            error[T0004]: `256` does not fit uint8
              --> characters 27..30
            error[T0004]: `-1` does not fit uint8
              --> characters 32..34
            error[T0008]: the shape of a tensor with contents is known in every dim
              --> characters 37..45
            error[T0004]: `1e39` does not fit float
              --> characters 69..73
            error[T0003]: expected an element of float, found `"x"`
              --> characters 75..78"#]],
    );
}

#[test]
fn recipes_are_known_and_files_are_not_opened() {
    check(
        r#"g () => (a) <
            float[4] a = ["location": "weights.bin", "offset": "0", "length": "16"],
            float[4] b = ["location": "seed:x"],
            float[4] c = ["location": "splat:1.0", "low": "2"],
            float[4] d = ["offset": "0"],
            float[4] e = ...
        > {}"#,
        expect![[r#"
            error[T0010]: the contents stand in another file, `weights.bin`
              --> characters 52..65
               = help: text carries weights in full, as "seed:N" or as "splat:VALUE"; load the .onnx file for others
            error[T0011]: `seed:x` gives no contents for float
              --> characters 137..145
               = help: recipes are "seed:N", with "low" and "high" if need be, and "splat:VALUE"
            error[T0011]: the key `low` does not go with this location
              --> characters 206..209
               = help: recipes are "seed:N", with "low" and "high" if need be, and "splat:VALUE"
            error[T0011]: contents in brackets need a "location"
              --> characters 238..252
               = help: recipes are "seed:N", with "low" and "high" if need be, and "splat:VALUE"
            error[T0012]: the contents of this tensor are elided
              --> characters 279..282
               = help: print the model with its weights in full, or with seeds for them"#]],
    );
}

#[test]
fn functions_that_call_each_other_in_a_circle_are_named() {
    let text = r#"<domain: "f", opset_import: ["": 26]> A (x) => (y) { y = f.B (x) }
        <domain: "f", opset_import: ["": 26]> B (x) => (y) { y = f.C (x) }
        <domain: "f", opset_import: ["": 26]> C (x) => (y) { y = f.B (x) }
        <domain: "f", opset_import: ["": 26]> D (x) => (y) { y = f.A (x) }
        <domain: "f", opset_import: ["": 26]> D (x) => (y) { y = Relu (x) }"#;
    let problems = parse_functions(text).map(|_| ()).expect_err("a circle");
    expect![[r#"
        error[T0024]: the function `f.D` is defined twice
          --> characters 338..339
        error[T0025]: functions call each other in a circle: f.B -> f.C -> f.B
          --> characters 113..114"#]]
    .assert_eq(&problems.to_string());
}

#[test]
fn references_name_an_attribute_of_the_function() {
    let text = r#"g (x) => (y) { y = LeakyRelu <alpha = @slope> (x) }
        <domain: "f", opset_import: ["": 26]> F <a> (x) => (y) { y = x.Op <p = @a, q: int = @b> (x) }
        G (x) => (y) { y = f.F <c = 1> (x) }"#;
    check(
        text,
        expect![[r#"
        error[T0030]: the function `G` has no domain
          --> characters 162..163
           = help: write `<domain: "..", opset_import: ["" : 26]>` before its name
        error[T0027]: nothing tells the kind of `@a`: write `p: int = ..`
          --> characters 132..133
        error[T0027]: the function has no attribute `b`
          --> characters 145..146
        error[T0023]: f.F: there is no attribute `c`
          --> characters 186..187
        error[T0027]: `@slope` stands outside of a function
          --> characters 39..44"#]],
    );
}

#[test]
fn values_that_are_no_tensors_are_not_supported() {
    check(
        "g (map(int64, float[N]) x) => (y) { y = Relu (x) }",
        expect![[r#"
        error[T0007]: values of type `map` are not supported
          --> characters 3..6
           = help: the IR holds tensors, and sequences and optional values of them"#]],
    );
}

#[test]
fn a_header_has_known_keys_once() {
    check(
        "<ir_version: 8, ir_version: 9, colour: \"red\"> g () => () {}",
        expect![[r#"
        error[T0006]: the header has `ir_version` twice
          --> characters 16..26
        error[T0006]: a header has no key `colour`
          --> characters 31..37
           = help: keys are ir_version, opset_import, producer_name, producer_version, domain, model_version, doc_string, metadata_props and overload"#]],
    );
}

#[test]
fn a_row_of_open_bodies_does_not_exhaust_the_stack() {
    let text = "g () => () { y = Op <b = ".repeat(100_000);
    let problems = parse_graph(&text).map(|_| ()).expect_err("it never ends");
    assert_eq!(problems.0[0].code, "T0005");
}

#[test]
fn a_file_of_another_language_gives_a_bounded_number_of_problems() {
    let text = "g () => () {\n".to_owned() + &"{ \"json\": [1, 2] }\n".repeat(10_000);
    let problems = parse_graph(&text).map(|_| ()).expect_err("not ONNX");
    assert!(problems.0.len() <= 100, "{}", problems.0.len());
}
