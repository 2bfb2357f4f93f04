//! What is wrong with graphs, and what only looks so.

use super::*;
use eutectic_ir::graph::Def;
use eutectic_ir::walk;

pub(super) fn relu(input: &str, output: &str) -> NodeProto {
    node("Relu", input, output)
}

#[test]
fn a_small_model_is_read_as_it_stands() {
    let mut proto = model(17, graph([node("Add", "x w", "s").named("add"), relu("s", "y")]));
    proto.producer_name = "maker".into();
    proto.metadata_props = vec![StringStringEntryProto { key: "k".into(), value: "v".into() }];
    let main = proto.graph.get_or_insert_default();
    main.initializer.push(floats("w", &[1], &[2.5]));
    main.value_info.push(value("s", 1, &[2, -1]));
    main.doc_string = Bytes::from_static(b"caf\xc3\xa9");
    let model = accepted(&proto);
    assert_eq!(operators(&model.graph), ["Add", "Relu"]);
    assert_eq!((model.opset(""), model.ir_version, model.producer_name.as_str()), (Some(17), 8, "maker"));
    assert_eq!(model.metadata, [("k".into(), "v".into())]);
    assert_eq!((model.graph.name.as_str(), model.graph.doc.as_str()), ("main", "café"));
    let (_, add) = model.graph.nodes().next().expect("a node");
    assert_eq!(add.name, "add");
    let weight = add.input(1).and_then(|id| model.graph.weight(id)).expect("the second operand is a weight");
    assert_eq!(weight.to_f64s(), Some(vec![2.5]));
    assert_eq!(model.graph.ty(add.output()).map(ToString::to_string).as_deref(), Some("float[2,n]"));
}

// B2, B3
#[test]
fn versions_must_be_there_and_agree() {
    let mut proto = model(17, graph([relu("x", "y")]));
    proto.opset_import.clear();
    refuses(&proto, &[(Kind::Invalid, "imports no operator set"), (Kind::Invalid, "default operator set")]);
    for version in [0, -1, i64::MAX] {
        refuses(
            &model(version, graph([])),
            &[
                (Kind::Invalid, "is imported in version"),
                (Kind::Invalid, "imports no operator set"),
                (Kind::Invalid, "`y` is produced by nobody"),
            ],
        );
    }
    let mut proto = model(17, graph([relu("x", "y")]));
    proto.opset_import.push(OperatorSetIdProto { domain: "ai.onnx".into(), version: Some(18) });
    refuses(&proto, &[(Kind::Invalid, "versions 17 and 18")]);
    accepted(&model(1, graph([relu("x", "y")])));
    for version in [None, Some(0), Some(-1), Some(1_000_000_000)] {
        let proto = ModelProto { ir_version: version, ..model(17, graph([relu("x", "y")])) };
        refuses(&proto, &[(Kind::Invalid, "ir_version")]);
    }
    let newer = ModelProto { ir_version: Some(15), ..model(29, graph([relu("x", "y")])) };
    let (_, warnings) = read(&newer).expect("newer files are read while their operators are known");
    assert_eq!(warnings.0.len(), 2, "{warnings}");
}

// B1
#[test]
fn a_file_without_a_graph_is_refused() {
    refuses(&ModelProto { graph: None, ..model(17, graph([])) }, &[(Kind::Invalid, "no graph")]);
}

// B4
#[test]
fn unknown_operators_are_carried_and_listed_once_each() {
    let mut nodes: Vec<_> = (0..500).map(|at| node("Mystery", "x", &format!("m{at}"))).collect();
    nodes.push(NodeProto { domain: "acme".into(), ..node("Widget", "m0 m499", "y").named("w") });
    let (model, notes) = read(&model(17, graph(nodes))).expect("unknown operators do not stop reading");
    assert_eq!(model.graph.n_nodes(), 501);
    let shown = notes.to_string();
    assert!(shown.contains("2 operators") && shown.contains("Mystery (500 calls, first node 0"), "{shown}");
    assert!(shown.contains("acme.Widget (1 calls, first node `w`"), "{shown}");
}

// B5
#[test]
fn a_node_needs_an_operator_and_an_output() {
    refuses(&model(17, graph([node("", "x", "a"), relu("x", "y")])), &[(Kind::Invalid, "no operator")]);
    refuses(&model(17, graph([relu("x", ""), relu("x", "y")])), &[(Kind::Invalid, "no outputs")]);
    // Where types are derived from old files, too.
    refuses(&model(9, graph([relu("x", ""), relu("x", "y")])), &[(Kind::Invalid, "no outputs")]);
}

// B6, B19
#[test]
fn a_name_is_defined_once() {
    let twice = graph([relu("x", "a").named("one"), relu("x", "a").named("two"), relu("a", "y")]);
    refuses(
        &model(17, twice),
        &[(Kind::Invalid, "`a` is defined twice: by node `one` (Relu) and by node `two` (Relu)")],
    );
    let mut weight = graph([relu("x", "w"), relu("w", "y")]);
    weight.initializer.push(floats("w", &[1], &[0.0]));
    refuses(&model(17, weight), &[(Kind::Invalid, "by an initializer and by node 0 (Relu)")]);
    let mut input = graph([relu("x", "y")]);
    input.input.push(value("x", 1, &[1]));
    refuses(&model(17, input), &[(Kind::Invalid, "by an input of the graph and by an input of the graph")]);
    let mut output = graph([relu("x", "y")]);
    output.output.push(value("y", 1, &[2, -1]));
    refuses(&model(17, output), &[(Kind::Invalid, "the output `y` is listed twice")]);
}

// B6
#[test]
fn a_body_does_not_define_a_name_of_its_surroundings() {
    let choose = |inside: GraphProto| {
        let choose = node("If", "c", "y").graph("then_branch", inside.clone()).graph("else_branch", inside);
        let mut main = graph([relu("x", "a"), choose]);
        main.input.push(value("c", 9, &[]));
        model(17, main)
    };
    assert!(read(&choose(body([relu("a", "b")], &["b"]))).is_ok());
    let shadows = choose(body([relu("x", "a")], &["a"]));
    let words = "`a`, defined by node 0 (Relu), is a name of the enclosing graph";
    refuses(&shadows, &[(Kind::Invalid, words), (Kind::Invalid, words)]);
}

// B7, B8
#[test]
fn a_name_that_nobody_produces_is_reported_with_the_nearest_one() {
    let proto = model(17, graph([node("Add", "x wieght", "y").named("add")]));
    let mut proto = proto;
    proto.graph.get_or_insert_default().initializer.push(floats("weight", &[1], &[0.0]));
    refuses(&proto, &[(Kind::Invalid, "graph `main`, node `add` (Add)")]);
    refuses(&proto, &[(Kind::Invalid, "did you mean `weight`?")]);
    let proto = model(17, graph([relu("x", "yy")]));
    refuses(&proto, &[(Kind::Invalid, "the output `y` is produced by nobody")]);
    let inside = body([relu("absent", "b")], &["b"]);
    let other = body([relu("x", "o")], &["o"]);
    let proto = model(17, graph([node("If", "x", "y").graph("then_branch", inside).graph("else_branch", other)]));
    refuses(&proto, &[(Kind::Invalid, "a graph inside the node reads `absent`")]);
}

#[test]
fn all_problems_are_reported_at_once() {
    let nodes = [node("Add", "x p", "a"), node("Add", "x q", "a"), relu("r", "z").int("colour", 1)];
    refuses(
        &model(17, graph(nodes)),
        &[
            (Kind::Invalid, "`a` is defined twice"),
            (Kind::Invalid, "reads `p`"),
            (Kind::Invalid, "reads `q`"),
            (Kind::Invalid, "there is no attribute `colour`"),
            (Kind::Invalid, "reads `r`"),
            (Kind::Invalid, "`y` is produced by nobody"),
        ],
    );
}

// B9
#[test]
fn a_cycle_is_shown() {
    refuses(&model(17, graph([relu("y", "y").named("me")])), &[(Kind::Invalid, "1 nodes form a cycle"), NOBODY]);
    let two = [relu("b", "a").named("p"), relu("a", "b").named("q"), relu("a", "y")];
    let words = "2 nodes form a cycle: node `p` (Relu) -> node `q` (Relu) -> node `p` (Relu)";
    refuses(&model(17, graph(two)), &[(Kind::Invalid, words), NOBODY]);
}

const NOBODY: (Kind, &str) = (Kind::Invalid, "`y` is produced by nobody");

// B9
#[test]
fn a_cycle_of_many_nodes_is_found_in_linear_time_and_constant_stack() {
    let n = 200_000;
    let ring = (0..n).map(|at| relu(&format!("v{at}"), &format!("v{}", (at + 1) % n)));
    refuses(&model(17, graph(ring)), &[(Kind::Invalid, "200000 nodes form a cycle"), NOBODY]);
}

// B10
#[test]
fn nodes_in_any_order_are_sorted_with_a_warning() {
    let (model, warnings) =
        read(&model(17, graph([relu("b", "y"), relu("a", "b"), relu("x", "a")]))).expect("it has an order");
    assert!(warnings.to_string().contains("they are sorted"), "{warnings}");
    let outputs: Vec<_> = model.graph.nodes().map(|(_, node)| model.graph.value(node.output()).name.clone()).collect();
    assert_eq!(outputs, ["a", "b", "y"]);
}

#[test]
fn a_body_that_reads_a_later_node_puts_its_owner_after_it() {
    let inside = || body([relu("late", "r")], &["r"]);
    let choose = node("If", "c", "y").graph("then_branch", inside()).graph("else_branch", inside());
    let mut main = graph([choose, relu("x", "late")]);
    main.input.push(value("c", 9, &[]));
    assert_eq!(operators(&accepted(&model(17, main)).graph), ["Relu", "If"]);
}

// B11, B12
#[test]
fn long_chains_and_wide_nodes_take_linear_time() {
    let n = 100_000;
    let mut nodes: Vec<_> = (0..n).map(|at| relu(&name(at), &format!("v{}", at + 1))).collect();
    fn name(at: usize) -> String {
        if at == 0 { "x".into() } else { format!("v{at}") }
    }
    let all: Vec<String> = (1..=n).map(name).collect();
    nodes.push(node("Concat", &all.join(" "), "y").int("axis", 0));
    let started = std::time::Instant::now();
    let model = accepted(&model(17, graph(nodes)));
    assert_eq!(model.graph.n_nodes(), n + 1);
    assert_eq!(walk::order(&model.graph).map(|order| order.len()), Ok(n + 1));
    drop(model);
    assert!(started.elapsed().as_secs() < 20);
}

#[test]
fn a_body_reads_its_surroundings_through_captures() {
    let deepest = body([node("Add", "x inner", "d")], &["d"]);
    let nested = node("If", "c", "r").graph("then_branch", deepest.clone()).graph("else_branch", deepest);
    let outer_body = body([relu("a", "inner"), nested], &["r"]);
    let other = body([relu("x", "o")], &["o"]);
    let choose = node("If", "c", "y").graph("then_branch", outer_body).graph("else_branch", other);
    let mut main = graph([relu("x", "a"), choose]);
    main.input.push(value("c", 9, &[]));
    let model = accepted(&model(17, main));
    let (_, choose) = model.graph.nodes().find(|(_, node)| node.op.name() == "If").expect("there is one");
    let captured: Vec<_> = choose.captures().iter().map(|&id| model.graph.value(id).name.as_str()).collect();
    // In the order in which they are met: `a`, then `x` through the nested node, whose condition is `c`.
    assert_eq!(captured, ["a", "c", "x"]);
    let bodies: Vec<_> = choose.bodies().collect();
    let captures = |graph: &eutectic_ir::Graph| {
        let capture = |value: &eutectic_ir::Value| match value.def() {
            Def::Capture(index) => Some((value.name.to_string(), *index)),
            _ => None,
        };
        graph.values().filter_map(|(_, value)| capture(value)).collect::<Vec<_>>()
    };
    assert_eq!(captures(bodies[0]), [("a".into(), 0), ("c".into(), 1), ("x".into(), 2)]);
    assert_eq!(captures(bodies[1]), [("x".into(), 2)]);
    let (_, nested) = bodies[0].nodes().find(|(_, node)| node.op.name() == "If").expect("there is one");
    let captured: Vec<_> = nested.captures().iter().map(|&id| bodies[0].value(id).name.as_str()).collect();
    assert_eq!(captured, ["x", "inner"]);
}

#[test]
fn constants_become_weights() {
    let constant = |name: &str, output: &str| node("Constant", "", output).named(name);
    let tensor = AttributeProto {
        name: "value".into(),
        r#type: Some(attribute_type::TENSOR),
        t: Some(floats("", &[2], &[1.0, 2.0])),
        ..Default::default()
    };
    let strings = AttributeProto {
        name: "value_strings".into(),
        r#type: Some(attribute_type::STRINGS),
        strings: vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")],
        ..Default::default()
    };
    let nodes = [
        constant("t", "t").with(tensor),
        constant("i", "i").int("value_int", 7),
        constant("f", "f").float("value_float", 0.5),
        constant("is", "is").ints("value_ints", &[1, -1]),
        constant("s", "s").string("value_string", "text"),
        constant("ss", "ss").with(strings),
        node("Mystery", "x t i f is s ss", "y"),
    ];
    let model = accepted(&model(17, graph(nodes)));
    assert_eq!(operators(&model.graph), ["Mystery"]);
    let (_, reader) = model.graph.nodes().next().expect("a node");
    let shown: Vec<_> = reader.inputs()[1..]
        .iter()
        .map(|id| model.graph.weight(id.expect("given")).expect("a weight").ty().to_string())
        .collect();
    assert_eq!(shown, ["float[2]", "int64[]", "float[]", "int64[2]", "string[]", "string[2]"]);
}

// B20
#[test]
fn an_initializer_that_is_an_input_is_a_default_or_in_old_files_a_constant() {
    let mut main = graph([node("Add", "x w", "y")]);
    main.initializer.push(floats("w", &[1], &[3.0]));
    main.input.push(value("w", 1, &[1]));
    let new = accepted(&model(17, main.clone()));
    assert_eq!(new.graph.inputs().len(), 2);
    assert!(matches!(new.graph.value(new.graph.inputs()[1]).def(), Def::Input { default: Some(_), .. }));
    let (old, notes) = read(&ModelProto { ir_version: Some(3), ..model(9, main) }).expect("as all old files");
    assert_eq!(old.graph.inputs().len(), 1);
    assert!(notes.to_string().contains("1 weights are also inputs"), "{notes}");
}

// B24
#[test]
fn tensors_and_sequences_cross_the_border_and_maps_do_not() {
    let mut main = graph([relu("x", "y")]);
    let sequence = |ty| {
        let element = Box::new(type_proto::Element { elem_type: ty });
        Some(TypeProto { value: Some(type_proto::Value::Sequence(element)), ..Default::default() })
    };
    let mut ty = sequence(value("", 1, &[]).r#type);
    main.input.push(ValueInfoProto { name: "s".into(), r#type: ty.clone(), ..Default::default() });
    let accepted = accepted(&model(17, main.clone()));
    let shown = accepted.graph.value(accepted.graph.inputs()[1]).ty.as_ref().map(ToString::to_string);
    assert_eq!(shown.as_deref(), Some("seq(float[])"));
    (0..60).for_each(|_| ty = sequence(ty.take()));
    main.input[1].r#type = ty;
    refuses(&model(17, main.clone()), &[(Kind::Limit, "nest")]);
    let map = type_proto::Map { key_type: Some(7), value_type: value("", 1, &[]).r#type };
    main.input[1].r#type = Some(TypeProto { value: Some(type_proto::Value::Map(Box::new(map))), ..Default::default() });
    refuses(&model(17, main.clone()), &[(Kind::Unsupported, "`s`, an input or output of the model, is a map")]);
    main.input[1].r#type = None;
    refuses(&model(17, main), &[(Kind::Invalid, "`s` has no type")]);
}

pub(super) fn function(name: &str, nodes: impl IntoIterator<Item = NodeProto>) -> FunctionProto {
    FunctionProto {
        name: name.into(),
        domain: "local".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: nodes.into_iter().collect(),
        opset_import: model(17, GraphProto::default()).opset_import,
        ..Default::default()
    }
}

fn call(name: &str, input: &str, output: &str) -> NodeProto {
    NodeProto { domain: "local".into(), ..node(name, input, output) }
}

// B15
#[test]
fn functions_are_read_in_any_order_with_their_attributes() {
    let mut leaky = function("Leaky", [node("LeakyRelu", "a", "b").refers("alpha", "slope", attribute_type::FLOAT)]);
    leaky.attribute.push("slope".into());
    let mut proto = model(17, graph([call("Twice", "x", "y")]));
    proto.functions =
        vec![function("Twice", [call("Leaky", "a", "m").float("slope", 0.5), call("Leaky", "m", "b")]), leaky];
    let model = accepted(&proto);
    let names: Vec<_> = model.functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["Twice", "Leaky"]);
    assert_eq!(model.functions[1].attrs[0].kind, Some(eutectic_ir::AttrKind::Float));
    assert_eq!(operators(&model.graph), ["local.Twice"]);
    proto.graph = Some(graph([call("Leaky", "x", "y").int("colour", 1)]));
    refuses(&proto, &[(Kind::Invalid, "the function has no attribute `colour`")]);
    proto.functions[1].attribute.clear();
    proto.graph = Some(graph([relu("x", "y")]));
    refuses(
        &proto,
        &[
            (Kind::Invalid, "the body refers to attribute `slope`"),
            (Kind::Invalid, "the function has no attribute `slope`"),
        ],
    );
}

// B15
#[test]
fn a_reference_to_an_attribute_outside_of_a_function_is_refused() {
    let stray = node("LeakyRelu", "x", "y").refers("alpha", "slope", attribute_type::FLOAT);
    refuses(&model(17, graph([stray])), &[(Kind::Invalid, "refers to the attribute `slope` of a function")]);
}

// B16, B18
#[test]
fn recursion_among_functions_is_refused_with_the_cycle() {
    let mut proto = model(17, graph([call("F", "x", "y")]));
    proto.functions = vec![function("F", [call("F", "a", "b")])];
    refuses(&proto, &[(Kind::Invalid, "local.F -> local.F")]);
    proto.functions = vec![
        function("F", [call("G", "a", "b")]),
        function("G", [call("H", "a", "b")]),
        function("H", [call("G", "a", "b")]),
    ];
    refuses(&proto, &[(Kind::Invalid, "local.G -> local.H -> local.G")]);
    proto.functions = vec![function("F", [relu("a", "b")]), function("F", [relu("a", "b")])];
    refuses(&proto, &[(Kind::Invalid, "two functions `local.F`")]);
}

// B17
#[test]
fn functions_that_expand_beyond_the_budget_are_refused_without_expanding_them() {
    let mut proto = model(17, graph([call("F40", "x", "y")]));
    proto.functions = vec![function("F0", [relu("a", "b")])];
    for level in 1..=40 {
        let below = format!("F{}", level - 1);
        proto.functions.push(function(&format!("F{level}"), [call(&below, "a", "m"), call(&below, "m", "b")]));
    }
    refuses(&proto, &[(Kind::Limit, "expanded_nodes")]);
}

// B14
#[test]
fn attributes_have_one_value_of_their_type() {
    let both = AttributeProto { i: Some(1), ..node("", "", "").float("a", 1.0).attribute.remove(0) };
    let rows = [
        (node("M", "x", "y").int("a", 1).int("a", 1), "given twice"),
        (node("M", "x", "y").with(both), "several values: float, int"),
        (node("M", "x", "y").with(retyped(attribute_type::INTS)), "its type is ints, but its value is int"),
        (node("M", "x", "y").with(retyped(999)), "type 999"),
        (node("M", "x", "y").with(AttributeProto { name: "a".into(), ..Default::default() }), "neither"),
        (node("Concat", "x", "y"), "`axis` is required"),
        (node("Concat", "x", "y").float("axis", 1.0), "`axis` is declared int, found float"),
    ];
    fn retyped(code: i32) -> AttributeProto {
        AttributeProto { r#type: Some(code), ..node("", "", "").int("a", 1).attribute.remove(0) }
    }
    for (node, words) in rows {
        refuses(&model(17, graph([node])), &[(Kind::Invalid, words)]);
    }
    // Old files leave the type out.
    accepted(&model(17, graph([node("M", "x", "y").with(retyped(0))])));
}

// B25
#[test]
fn dims_may_be_expressions_unknown_or_nonsense() {
    let param = |text: &str| Dimension { value: Some(DimensionValue::Param(text.into())), ..Default::default() };
    let texts = ["batch", "floor(s0/2)+1", "2*n", "", "((((", "x y", "\u{1b}[31m"];
    let mut main = graph([relu("x", "y")]);
    main.output[0].r#type = None;
    let deep = "(".repeat(4000);
    let dims = texts.iter().copied().chain([deep.as_str()]).map(param);
    let negative = Dimension { value: Some(DimensionValue::Value(-1)), ..Default::default() };
    let shape = TensorShapeProto { dim: dims.chain([negative]).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(1), shape: Some(shape) };
    main.input[0].r#type = Some(TypeProto { value: Some(type_proto::Value::Tensor(tensor)), ..Default::default() });
    let model = accepted(&model(17, main));
    let ty = model.graph.ty(model.graph.inputs()[0]).expect("declared").clone();
    assert_eq!(ty.shape[0].as_symbol().map(|name| name.as_str()), Some("batch"));
    assert!(ty.shape[1].as_symbol().is_none() && !ty.shape[1].is_unknown());
    assert!(ty.shape[3].is_unknown() && ty.shape[8].is_unknown());
    assert_eq!(ty.shape[4].as_symbol().map(|name| name.as_str()), Some("(((("));
}
