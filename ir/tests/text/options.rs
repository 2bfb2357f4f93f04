//! What the print options change.

use eutectic_ir::graph::Graph;
use eutectic_ir::ops::builtin;
use eutectic_ir::text::{PrintOptions, Weights, parse_graph, print_graph};
use eutectic_ir::{Attrs, Element, Tensor};
use expect_test::expect;

fn with(change: impl FnOnce(&mut PrintOptions)) -> PrintOptions {
    let mut options = PrintOptions::EXACT;
    change(&mut options);
    options
}

fn two_layers() -> Graph {
    let text = r#"g (float[4] x) => (float[4] y) <
        float[4] w = {1.0, 2.0, 3.0, 4.0}, float[4] zeros = ["location": "splat:0.0"], int64[4] axes = {0, 1, 2, 3}, float[4] h
    > { h = Relu (x) y = x.Op (h, w, zeros, axes) }"#;
    parse_graph(text).expect("valid").0
}

#[test]
fn long_weights_are_elided_for_reading() {
    let brief = with(|options| options.weights = Weights::Elide { above: 3 });
    expect![[r#"
        g (float[4] x) => (float[4] y) <
            float[4] w = ...,
            float[4] zeros = ["location": "splat:0.0"],
            int64[4] axes = ...,
            float[4] h
        > {
            h = Relu (x)
            y = x.Op (h, w, zeros, axes)
        }
    "#]]
    .assert_eq(&print_graph(&two_layers(), &brief));
}

#[test]
fn seeds_stand_for_long_weights_of_the_same_range_and_indices_stay() {
    let options = with(|options| (options.weights, options.types) = (Weights::Seeds { above: 3 }, false));
    let printed = print_graph(&two_layers(), &options);
    expect![[r#"
        g (float[4] x) => (float[4] y) <
            float[4] w = ["location": "seed:1", "low": "1.0", "high": "4.0"],
            float[4] zeros = ["location": "splat:0.0"],
            int64[4] axes = {0, 1, 2, 3}
        > {
            h = Relu (x)
            y = x.Op (h, w, zeros, axes)
        }
    "#]]
    .assert_eq(&printed);
    parse_graph(&printed).expect("seeds read back");
}

#[test]
fn short_recipes_are_written_out_for_other_tools() {
    let printed = print_graph(&two_layers(), &with(|options| options.materialize = 4));
    assert!(printed.contains("float[4] zeros = {0.0, 0.0, 0.0, 0.0}"), "{printed}");
}

#[test]
fn values_without_a_name_or_with_a_taken_one_get_a_new_one() {
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", None, None);
    let first = graph.add_node(builtin("Relu"), Attrs::new(), [Some(x)], [""]);
    let second = graph.add_node(builtin("Relu"), Attrs::new(), [Some(graph.node(first).output())], ["x"]);
    let last = graph.add_node(builtin("Relu"), Attrs::new(), [Some(graph.node(second).output())], ["v_1"]);
    graph.add_output("y", graph.node(last).output());
    expect![[r#"
        g (x) => (y) {
            v_2 = Relu (x)
            x_3 = Relu (v_2)
            y = Relu (x_3)
        }
    "#]]
    .assert_eq(&print_graph(&graph, &PrintOptions::EXACT));
}

#[test]
fn an_output_that_cannot_name_its_value_is_a_copy() {
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", None, None);
    let w = graph.add_weight("w", Tensor::full(Element::Float, &[], 1.0).expect("small"));
    for name in ["first", "x"] {
        graph.add_output(name, x);
    }
    for name in ["third", "fourth"] {
        graph.add_output(name, w);
    }
    expect![[r#"
        g (x) => (first, x, float third, float fourth) <
            float third = {1.0}
        > {
            first = Identity (x)
            fourth = Identity (third)
        }
    "#]]
    .assert_eq(&print_graph(&graph, &PrintOptions::EXACT));
}
