//! The files of `tests/data/text`, which `check_text.py` also holds against ONNX's own parser.

use super::describe;
use eutectic_ir::graph::{Def, Op};
use eutectic_ir::text::{
    PrintOptions, parse_functions, parse_graph, parse_model, print_function, print_model, print_node,
};
use eutectic_ir::{Attr, Dim, Model, Type, verify};

macro_rules! files {
    ($($name:ident),*) => { &[$((stringify!($name), include_str!(concat!("../data/text/", stringify!($name), ".onnxtxt")))),*] };
}

const FILES: &[(&str, &str)] = files!(attributes, control_flow, elements, functions, names, recipes, values);

fn read(text: &str) -> Model {
    match parse_model(text) {
        Ok((model, warnings)) => {
            assert!(warnings.0.is_empty(), "{warnings}");
            model
        }
        Err(problems) => panic!("{problems}\n{text}"),
    }
}

fn file(name: &str) -> Model {
    read(FILES.iter().find(|(other, _)| *other == name).expect("listed").1)
}

#[test]
fn every_file_survives_printing_and_reading() {
    for (name, text) in FILES {
        let model = read(text);
        let printed = print_model(&model, &PrintOptions::EXACT);
        let again = read(&printed);
        assert_eq!(describe::model(&again), describe::model(&model), "{name}");
        assert_eq!(print_model(&again, &PrintOptions::EXACT), printed, "{name}");
    }
}

#[test]
fn every_graph_that_is_read_is_consistent() {
    for (name, text) in FILES {
        // Made-up operators have no types; what must hold are edges, names, captures and attributes.
        let problems = verify::verify(&read(text));
        let broken: Vec<_> = problems.0.iter().filter(|problem| problem.code < "I0200").collect();
        assert!(broken.is_empty(), "{name}: {broken:?}");
    }
}

#[test]
fn a_function_is_called_as_one_whatever_the_order_in_the_file() {
    let model = file("functions");
    let called: Vec<String> = model.graph.nodes().map(|(_, node)| format!("{:?}", node.op)).collect();
    assert_eq!(called, ["local.Outer", "local.Inner"]);
    let (_, outer) = model.graph.nodes().next().expect("two nodes");
    let Op::Function(function) = &outer.op else { panic!("{:?} is no function", outer.op) };
    let inner = function.body.nodes().filter(|(_, node)| matches!(node.op, Op::Function(_))).count();
    assert_eq!(inner, 2);
}

#[test]
fn a_call_has_the_defaults_of_its_function() {
    let model = file("functions");
    let slopes: Vec<Option<f32>> = model.graph.nodes().map(|(_, node)| node.attrs.float("alpha")).collect();
    assert_eq!(slopes, [None, Some(0.5)]);
}

#[test]
fn a_body_reads_the_enclosing_graph_through_captures() {
    let model = file("control_flow");
    let owner = model.graph.nodes().map(|(_, node)| node).find(|node| node.name == "branch").expect("labelled");
    let captured: Vec<_> = owner.captures().iter().map(|&id| model.graph.value(id).name.as_str()).collect();
    assert_eq!(captured, ["h", "c", "w", "x"]);
    let Some(Attr::Graph(body)) = owner.attrs.get("else_branch") else { panic!("no body") };
    let inner = body.nodes().map(|(_, node)| node).find(|node| !node.captures().is_empty()).expect("an inner If");
    let sources: Vec<_> = inner
        .captures()
        .iter()
        .map(|&id| (body.value(id).name.as_str(), matches!(body.value(id).def(), Def::Capture(_))))
        .collect();
    assert_eq!(sources, [("h", true), ("own", false), ("w", true), ("x", true)]);
}

#[test]
fn a_question_mark_is_a_dim_of_its_own() {
    let (graph, _) = parse_graph("g (float[?,?] x) => (float[?,?] y) { y = Relu (x) }").expect("valid");
    let dims: Vec<_> = graph
        .values()
        .flat_map(|(_, value)| value.ty.clone().and_then(Type::into_tensor).expect("typed").shape)
        .collect();
    assert!(dims.iter().all(Dim::is_unknown));
    assert!((1..dims.len()).all(|at| !dims[..at].contains(&dims[at])), "{dims:?}");
}

#[test]
fn a_constant_node_is_a_weight() {
    let (graph, _) = parse_graph("g () => (a) { a = Constant <value_floats = [1.0, 2.0]> () }").expect("valid");
    assert_eq!(graph.n_nodes(), 0);
    assert_eq!(graph.weight(graph.outputs()[0].value).and_then(|tensor| tensor.to_f64s()), Some(vec![1.0, 2.0]));
}

#[test]
fn narrow_floats_are_read_from_numbers_and_from_bit_patterns() {
    let text = r#"g () => (a) <float8e4m3fn[5] a = {1.5, 60, 1e9, -nan, -0.0}, float4e2m1[3] b = {0.5, 0x1, -6.0},
        float8e5m2[9] c = ["location": "splat:inf"]> { }"#;
    let (graph, _) = parse_graph(text).expect("valid");
    let printed = eutectic_ir::text::print_graph(&graph, &PrintOptions::EXACT);
    for codes in ["{60, 60, 127, 255, 128}", "{1, 1, 15}", "splat:124"] {
        assert!(printed.contains(codes), "{codes} in {printed}");
    }
}

#[test]
fn bits_that_no_number_spells_are_written_in_hexadecimal() {
    let text = r#"g () => (y) <float[2] w = {0x7fc00001, 0xff800001}, double[1] d = {0x7ff0000000000001}, string[2] s = {0x80ff, "a"}> {
        y = x.Op <f: float = 0x7fc00001, fs: floats = [1.0, 0x7fc00002], b: string = 0xff> ()
    }"#;
    let (graph, _) = parse_graph(text).expect("valid");
    let printed = eutectic_ir::text::print_graph(&graph, &PrintOptions::EXACT);
    for bits in
        ["0x7fc00001, 0xff800001", "0x7ff0000000000001", "0x80ff", "f: float = 0x7fc00001", "0x7fc00002", "= 0xff"]
    {
        assert!(printed.contains(bits), "{bits} in {printed}");
    }
    let (again, _) = parse_graph(&printed).expect("valid");
    assert_eq!(describe::graph(&again, true), describe::graph(&graph, true));
}

#[test]
fn a_file_of_functions_reads_without_a_graph() {
    let text = r#"<domain: "f", opset_import: ["": 26]> A (x) => (y) { y = f.B (x) }
        <domain: "f", opset_import: ["": 26]> B <alpha> (x) => (y) { y = LeakyRelu <alpha = @alpha> (x) }"#;
    let (functions, _) = parse_functions(text).expect("valid");
    let names: Vec<_> = functions.iter().map(|function| function.to_string()).collect();
    assert_eq!(names, ["f.A", "f.B"]);
    let printed: String = functions.iter().map(|function| print_function(function, &PrintOptions::EXACT)).collect();
    let (again, _) = parse_functions(&printed).expect("valid");
    assert_eq!(again.iter().map(|f| print_function(f, &PrintOptions::EXACT)).collect::<String>(), printed);
}

#[test]
fn a_node_prints_on_its_own() {
    let (graph, _) = parse_graph("g (x) => (y) { [a] h = Relu (x) y = LeakyRelu <alpha = 0.01> (h) }").expect("valid");
    let printed: Vec<_> = graph.nodes().map(|(id, _)| print_node(&graph, id, &PrintOptions::EXACT)).collect();
    // The default of LeakyRelu's slope is 0.01 and goes without saying.
    assert_eq!(printed, ["[a] h = Relu (x)", "y = LeakyRelu (h)"]);
}
