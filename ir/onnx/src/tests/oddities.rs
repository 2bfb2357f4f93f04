//! What graphs may be odd in, and what not: operands, bodies, names, sizes, declarations.

use super::graph::{function, relu};
use super::*;

// B11, B12
#[test]
fn many_readers_of_one_value_take_linear_time() {
    let n = 100_000;
    let mut nodes: Vec<_> = (0..n).map(|at| relu("x", &format!("v{at}"))).collect();
    nodes.push(relu("v0", "y"));
    let started = std::time::Instant::now();
    let mut model = accepted(&model(17, graph(nodes)));
    assert!(eutectic_ir::infer::infer(&mut model).1.0.is_empty());
    assert_eq!(model.graph.value(model.graph.inputs()[0]).uses().len(), n);
    drop(model);
    assert!(started.elapsed().as_secs() < 20);
}

// B9, B11
#[test]
fn a_million_nodes_are_beyond_the_budget_whatever_they_form() {
    let chain = (0..1_000_000).map(|at| relu(&format!("v{at}"), &format!("v{}", at + 1)));
    let ring = (0..1_000_000).map(|at| relu(&format!("v{at}"), &format!("v{}", (at + 1) % 1_000_000)));
    refuses(&model(17, graph(chain)), &[(Kind::Limit, "`nodes` is 262144")]);
    refuses(&model(17, graph(ring)), &[(Kind::Limit, "`nodes` is 262144")]);
}

/// Words of the first error of the verifier, empty when there is none.
fn verified(node: NodeProto) -> String {
    let model = accepted(&model(17, graph([node])));
    let problems = eutectic_ir::verify::verify(&model);
    problems.0.iter().find(|problem| problem.severity == Severity::Error).map_or(String::new(), ToString::to_string)
}

// B13
#[test]
fn operands_may_be_left_out_where_the_operator_allows_it() {
    assert_eq!(verified(node("Clip", "x - x", "y")), "");
    assert_eq!(verified(node("Clip", "x - -", "y")), "");
    assert_eq!(verified(node("Dropout", "x", "y -")), "");
    for (node, words) in [
        (node("Add", "x -", "y"), "input 1 (`B`) of Add is missing"),
        (node("Add", "- x", "y"), "input 0 (`A`) of Add is missing"),
        (node("Relu", "-", "y"), "input 0 (`X`) of Relu is missing"),
        (node("Relu", "x x", "y"), "Relu has at most 1 inputs, found 2"),
        (node("Relu", "x", "y z"), "Relu has at most 1 outputs, found 2"),
        (node("Add", "x", "y"), "input 1 (`B`) of Add is missing"),
    ] {
        let found = verified(node);
        assert!(found.contains(words), "`{words}` is not in: {found}");
    }
}

// B18
#[test]
fn a_function_that_overrides_a_standard_operator_is_a_warning() {
    let mut proto = model(17, graph([relu("x", "y")]));
    proto.functions = vec![FunctionProto { domain: String::new(), ..function("Relu", [node("Abs", "a", "b")]) }];
    let (model, warnings) = read(&proto).expect("it is legal");
    assert!(warnings.to_string().contains("overrides a standard operator"), "{warnings}");
    assert!(matches!(model.graph.nodes().next().expect("a node").1.op, eutectic_ir::Op::Function(_)));
}

// B19
#[test]
fn an_initializer_is_defined_once() {
    let mut twice = graph([node("Add", "x w", "y")]);
    twice.initializer.extend([floats("w", &[1], &[0.0]), floats("w", &[1], &[1.0])]);
    refuses(&model(17, twice.clone()), &[(Kind::Invalid, "by an initializer and by an initializer")]);
    twice.initializer.pop();
    let values = Some(floats("w", &[1], &[1.0]));
    twice.sparse_initializer.push(SparseTensorProto { values, ..Default::default() });
    refuses(
        &model(17, twice),
        &[(Kind::Invalid, "by an initializer and by an initializer"), (Kind::Unsupported, "sparse initializers")],
    );
}

// B21
#[test]
fn bodies_fit_their_node() {
    let typed = |elem_type: i32, operator: &str| {
        let mut inside = body([node(operator, "x", "r")], &["r"]);
        inside.output = vec![value("r", elem_type, &[2, -1])];
        inside
    };
    let two = body([relu("x", "r"), relu("x", "s")], &["r", "s"]);
    let choose = |one: GraphProto, other: GraphProto| {
        let node = node("If", "c", "y").graph("then_branch", one).graph("else_branch", other);
        let mut main = graph([node]);
        main.input.push(value("c", 9, &[]));
        model(17, main)
    };
    assert!(read(&choose(typed(1, "Relu"), typed(1, "Abs"))).is_ok());
    refuses(&choose(typed(1, "Relu"), two), &[(Kind::Invalid, "the branches have 1 and 2 outputs")]);
    refuses(&choose(typed(1, "Relu"), typed(7, "Mystery")), &[(Kind::Invalid, "is float in one branch and int64")]);
    let empty = || body([], &[]);
    refuses(&choose(empty(), empty()), &[(Kind::Invalid, "0 and 0 outputs, the node has 1")]);

    let with_inputs = |names: &[&str]| {
        let mut inside = body([relu("x", "go"), relu("x", "r")], &["go", "r"]);
        inside.input = body([], names).output;
        inside
    };
    let repeat = |inside: GraphProto| model(17, graph([node("Loop", "- - x", "y").graph("body", inside)]));
    assert!(read(&repeat(with_inputs(&["i", "c", "a"]))).is_ok());
    refuses(&repeat(with_inputs(&["i", "c"])), &[(Kind::Invalid, "the body takes 2 inputs, 1 are carried")]);
    refuses(&repeat(with_inputs(&["i", "c", "a", "b"])), &[(Kind::Invalid, "the body takes 4 inputs")]);

    for n_scanned in [-1, 0, 2, i64::MIN, i64::MAX] {
        let scan = node("Scan", "x", "y").int("num_scan_inputs", n_scanned).graph("body", with_inputs(&["a"]));
        refuses(&model(17, graph([scan])), &[(Kind::Invalid, "`num_scan_inputs` is")]);
    }
    let scan = node("Scan", "x", "y").int("num_scan_inputs", 1).graph("body", with_inputs(&["a", "b"]));
    refuses(&model(17, graph([scan])), &[(Kind::Invalid, "the body has 2 inputs")]);
}

// B23
#[test]
fn names_of_nodes_may_be_missing_or_repeated() {
    let nodes = [relu("x", "a").named("n"), relu("a", "b").named("n"), relu("b", "c"), relu("c", "y").named("")];
    let model = accepted(&model(17, graph(nodes)));
    let names: Vec<_> = model.graph.nodes().map(|(_, node)| node.name.as_str()).collect();
    assert_eq!(names, ["n", "n", "", ""]);
    assert!(eutectic_ir::verify::verify(&model).0.is_empty());
}

// B25
#[test]
fn a_symbol_of_a_megabyte_is_refused_and_one_for_two_sizes_is_said() {
    let param = |text: &str| Dimension { value: Some(DimensionValue::Param(text.into())), ..Default::default() };
    let with_dims = |name: &str, dims: Vec<Dimension>| {
        let tensor = type_proto::Tensor { elem_type: Some(1), shape: Some(TensorShapeProto { dim: dims }) };
        let r#type = Some(TypeProto { value: Some(type_proto::Value::Tensor(tensor)), ..Default::default() });
        ValueInfoProto { name: name.into(), r#type, ..Default::default() }
    };
    let mut main = graph([relu("x", "y")]);
    main.input = vec![with_dims("x", vec![param(&"(".repeat(1 << 20))])];
    refuses(&model(17, main), &[(Kind::Limit, "name_bytes")]);
}

// B26
#[test]
fn a_declaration_that_inference_contradicts_is_said_with_both() {
    let mut main = graph([node("Transpose", "x", "t").ints("perm", &[1, 0]), relu("t", "y")]);
    main.input = vec![value("x", 1, &[2, 3])];
    main.output = vec![value("y", 1, &[3, 2])];
    main.value_info.push(value("t", 7, &[9, 9]));
    let mut model = accepted(&model(17, main));
    let (_, problems) = eutectic_ir::infer::infer(&mut model);
    let shown = problems.to_string();
    assert!(shown.contains("declared: int64[9,9]") && shown.contains("inferred: float[3,2]"), "{shown}");
}

// B28
#[test]
fn a_key_of_the_metadata_that_occurs_twice_is_a_warning() {
    let mut proto = model(17, graph([relu("x", "y")]));
    let entry = |value: &str| StringStringEntryProto { key: "k".into(), value: value.into() };
    proto.metadata_props = vec![entry("1"), entry("2")];
    let (model, warnings) = read(&proto).expect("it is legal");
    assert!(warnings.to_string().contains("the key `k` twice"), "{warnings}");
    assert_eq!(model.metadata.len(), 2);
}

// E20
#[test]
fn sizes_of_inputs_may_be_zero_or_enormous_and_negative_ones_are_unknown() {
    for (dims, expected, n_warnings) in
        [([0, 3], "float[0,3]", 0), ([i64::MAX, 3], "float[9223372036854775807,3]", 0), ([-7, 3], "float[?x.0,3]", 1)]
    {
        let mut main = graph([relu("x", "y")]);
        main.input = vec![value("x", 1, &dims)];
        main.output = vec![ValueInfoProto { name: "y".into(), ..Default::default() }];
        let (model, warnings) = read(&model(17, main)).expect("readable");
        assert_eq!(model.graph.ty(model.graph.inputs()[0]).expect("declared").to_string(), expected);
        assert_eq!(warnings.0.len(), n_warnings, "{warnings}");
    }
}

// A18
#[test]
fn names_that_drive_terminals_or_other_languages_are_kept_and_shown_escaped() {
    let odd = "\u{1b}[31m\0\n\u{202e}</script>\"\\x){asm(\"\")}//";
    let mut main = graph([relu("x", odd).named(odd), node("Add", &format!("x {}", "gone"), "y").named(odd)]);
    main.node[0].output = vec![odd.into()];
    let errors = read(&model(17, main.clone())).expect_err("`gone` does not exist");
    let shown = errors.to_string();
    assert!(!shown.contains(['\u{1b}', '\0', '\u{202e}']), "{shown:?}");
    main.node[1].input[1] = odd.into();
    let model = accepted(&model(17, main));
    assert_eq!(model.graph.nodes().next().expect("a node").1.name, odd);
    let text = eutectic_ir::text::print_model(&model, &eutectic_ir::text::PrintOptions::EXACT);
    let (again, _) = eutectic_ir::text::parse_model(&text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(again.graph.nodes().next().expect("a node").1.name, odd);
}
