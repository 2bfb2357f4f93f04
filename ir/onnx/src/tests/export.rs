//! What is written: names, weights, functions, graphs inside graphs, files.

use super::*;
use crate::{ExportOptions, Policy, Written, to_bytes, write};
use eutectic_ir::tensor::Seed;
use eutectic_ir::{Attrs, Element, Graph, Tensor, ops};
use onnx_protobuf::Message as _;

const PLAIN: ExportOptions = ExportOptions { opset: None, external_data: false };

#[track_caller]
fn exported(model: &Model) -> ModelProto {
    let bytes = to_bytes(model, &PLAIN).unwrap_or_else(|errors| panic!("{errors}"));
    let ours = load_bytes(&bytes).expect("we read what we write").0;
    // Another decoder sees the same, byte by byte once both have encoded it again.
    let theirs = onnx_protobuf::ModelProto::parse_from_bytes(&bytes).expect("another decoder reads it");
    let again = onnx_protobuf::ModelProto::parse_from_bytes(&ours.encode_to_vec()).expect("and what we encode");
    assert_eq!(theirs, again);
    ours
}

/// A model with most of what a file can hold.
fn rich() -> ModelProto {
    let inside = |weight: &str, output: &str| {
        let mut inside = body([node("Add", &format!("a {weight}"), output)], &[output]);
        inside.initializer.push(floats(weight, &[1], &[0.5]));
        inside
    };
    let choose = node("If", "c", "y")
        .named("choose")
        .graph("then_branch", inside("p", "r"))
        .graph("else_branch", inside("p", "s"));
    let called = NodeProto { domain: "local".into(), ..node("Leaky", "x", "a").named("leak").float("slope", 0.25) };
    let mut main = graph([called, choose, node("Mystery", "y - big", "- z").named("odd").int("k", 3)]);
    main.input.push(value("c", 9, &[]));
    main.output.push(value("z", 1, &[4]));
    main.initializer.push(floats("big", &[2000], &[1.5; 2000]));
    main.value_info.push(value("a", 1, &[2, -1]));
    main.node[2].metadata_props.push(StringStringEntryProto { key: "from".into(), value: "line 3".into() });
    let mut proto = model(17, main);
    proto.ir_version = Some(10);
    proto.doc_string = Bytes::from_static(b"documentation");
    proto.metadata_props = vec![StringStringEntryProto { key: "k".into(), value: "v".into() }];
    proto.opset_import.push(OperatorSetIdProto { domain: "local".into(), version: Some(3) });
    proto.functions.push(FunctionProto {
        name: "Leaky".into(),
        domain: "local".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        attribute_proto: vec![node("", "", "").float("slope", 0.1).attribute.remove(0)],
        node: vec![node("LeakyRelu", "a", "b").refers("alpha", "slope", attribute_type::FLOAT)],
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: Some(17) }],
        ..Default::default()
    });
    proto
}

// G7
#[test]
fn reading_and_writing_gives_the_same_file_again() {
    let first = exported(&accepted(&rich()));
    let second = exported(&accepted(&first));
    assert_eq!(first, second);
    let graph = first.graph.as_ref().expect("there is one");
    let mut expected = rich();
    let theirs = expected.graph.get_or_insert_default();
    assert_eq!(graph.node, theirs.node);
    assert_eq!(graph.initializer, theirs.initializer);
    assert_eq!((&graph.input, &graph.output, &graph.value_info), (&theirs.input, &theirs.output, &theirs.value_info));
    assert_eq!(first.functions, expected.functions);
    assert_eq!(first.opset_import, expected.opset_import);
    assert_eq!((first.doc_string, first.metadata_props), (expected.doc_string, expected.metadata_props));
    assert_eq!(first.ir_version, Some(10));
}

#[test]
fn a_dead_weight_is_not_written() {
    let mut proto = model(17, graph([node("Relu", "x", "y")]));
    proto.graph.get_or_insert_default().initializer.push(floats("dead", &[1], &[0.0]));
    assert!(exported(&accepted(&proto)).graph.expect("there is one").initializer.is_empty());
}

#[test]
fn outputs_keep_their_names_whatever_stands_behind_them() {
    let mut graph = Graph::new("g");
    let ty = eutectic_ir::TensorType::of(Element::Float, &[1]);
    let x = graph.add_input("x", Some(ty.clone()), None);
    let w = graph.add_weight("w", Tensor::vector(&[1.0f32]));
    let relu = graph.add_node(ops::builtin("Relu"), Attrs::new(), [Some(x)], ["out2"]);
    let r = graph.node(relu).output();
    for (name, value) in [("out1", r), ("out2", r), ("x2", x), ("w", w), ("w2", w)] {
        graph.add_output(name, value);
    }
    graph.value_mut(r).ty = Some(ty.into());
    let written = exported(&Model::new(graph)).graph.expect("there is one");
    let lines: Vec<_> =
        written.node.iter().map(|node| format!("{} = {}({})", node.output[0], node.op_type, node.input[0])).collect();
    assert_eq!(lines, ["out1 = Relu(x)", "out2 = Identity(out1)", "x2 = Identity(x)", "w2 = Identity(w)"]);
    let names: Vec<_> = written.output.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["out1", "out2", "x2", "w", "w2"]);
    assert!(written.output.iter().all(|output| output.r#type.is_some()));
}

#[test]
fn values_without_names_or_with_taken_ones_get_new_ones() {
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", Some(eutectic_ir::TensorType::of(Element::Float, &[1])), None);
    let mut last = x;
    for _ in 0..3 {
        let w = graph.add_weight("", Tensor::vector(&[1.0f32]));
        let add = graph.add_node(ops::builtin("Add"), Attrs::new(), [Some(last), Some(w)], ["x"]);
        last = graph.node(add).output();
    }
    graph.add_output("y", last);
    let written = exported(&Model::new(graph)).graph.expect("there is one");
    let lines: Vec<_> =
        written.node.iter().map(|node| format!("{} {}", node.output[0], node.input.join(" "))).collect();
    assert_eq!(lines, ["x_1 x weight", "x_2 x_1 weight_1", "y x_2 weight_2"]);
}

#[test]
fn a_bias_of_splat_zeros_is_left_out_and_real_zeros_stay() {
    let conv = |bias: Tensor| {
        let mut graph = Graph::new("g");
        let x = graph.add_input("x", Some(eutectic_ir::TensorType::of(Element::Float, &[1, 1, 4, 4])), None);
        let w = graph.add_weight("w", Tensor::from_vec(&[1, 1, 1, 1], vec![1.0f32]).expect("one element"));
        let b = graph.add_weight("b", bias);
        let def = ops::lookup("", "Conv").expect("it is in the table");
        let attrs = def.complete(Attrs::new()).expect("all optional");
        let node = graph.add_node(ops::builtin("Conv"), attrs, [Some(x), Some(w), Some(b)], ["y"]);
        let y = graph.node(node).output();
        graph.add_output("y", y);
        exported(&Model::new(graph)).graph.expect("there is one").node[0].input.len()
    };
    assert_eq!(conv(Tensor::full(Element::Float, &[1], 0.0).expect("small")), 2);
    assert_eq!(conv(Tensor::full(Element::Float, &[1], 1.0).expect("small")), 3);
    assert_eq!(conv(Tensor::vector(&[0.0f32])), 3);
}

#[test]
fn splat_and_seeded_weights_are_made_while_writing() {
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", Some(eutectic_ir::TensorType::of(Element::Float, &[5000])), None);
    let splat = Tensor::full(Element::Float, &[5000], 0.5).expect("small");
    let seeded = Tensor::seeded(Element::Float, &[5000], Seed { seed: 3, low: -1.0, high: 1.0 }).expect("small");
    let expected = [splat.bytes().into_owned(), seeded.bytes().into_owned()];
    let inputs = [x, graph.add_weight("a", splat), graph.add_weight("b", seeded)];
    let node = graph.add_node(ops::builtin("Sum"), Attrs::new(), inputs.map(Some), ["y"]);
    let y = graph.node(node).output();
    graph.add_output("y", y);
    let written = exported(&Model::new(graph)).graph.expect("there is one");
    let found: Vec<_> = written.initializer.iter().map(|tensor| tensor.raw_data.clone().expect("raw")).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_function_that_is_called_is_written_and_imported() {
    let source = accepted(&rich());
    let mut model = Model::new(source.graph.clone());
    assert!(model.functions.is_empty());
    model.ir_version = 4;
    let written = exported(&model);
    assert_eq!(written.functions.len(), 1);
    assert_eq!(written.ir_version, Some(13));
    let domains: Vec<_> = written.opset_import.iter().map(|import| import.domain.as_str()).collect();
    assert_eq!(domains, ["", "local"]);
}

#[test]
fn weights_of_functions_become_constants() {
    let mut proto = rich();
    proto.functions[0].node = vec![
        NodeProto { op_type: "Constant".into(), ..node("", "", "k").float("value_float", 2.0) },
        node("Mul", "a k", "b"),
    ];
    let written = exported(&accepted(&proto));
    let operators: Vec<_> = written.functions[0].node.iter().map(|node| node.op_type.as_str()).collect();
    assert_eq!(operators, ["Constant", "Mul"]);
    assert_eq!(exported(&accepted(&written)), written);
}

fn saved(model: &Model, path: &Path, external_data: bool) -> Written {
    write(model, path, &ExportOptions { opset: None, external_data }).unwrap_or_else(|errors| panic!("{errors}"))
}

fn loaded(path: &Path) -> Model {
    crate::read(path, &Limits::stated(), &Policy::interactive()).unwrap_or_else(|errors| panic!("{errors}")).0
}

// G2
#[test]
fn external_data_is_written_aligned_and_read_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("m.onnx");
    let mut proto = rich();
    let main = proto.graph.get_or_insert_default();
    main.node.push(node("Mystery", "large small", "unused"));
    main.initializer.push(floats("large", &[300_000], &[2.5; 300_000]));
    main.initializer.push(floats("small", &[2], &[1.0, 2.0]));
    let model = accepted(&proto);
    let report = saved(&model, &path, true);
    let (data_path, data_bytes) = report.external.expect("there is one");
    assert_eq!(data_path, directory.path().join("m.onnx.data"));
    assert_eq!(data_bytes, 8192 + 1_200_000);
    let (raw, _) = load_path(&path).expect("readable");
    let graph = raw.graph.expect("there is one");
    let offset = |tensor: &TensorProto| {
        tensor.external_data.iter().find(|entry| entry.key == "offset").map(|entry| entry.value.clone())
    };
    let offsets: Vec<_> = graph.initializer.iter().map(offset).collect();
    assert_eq!(offsets, [Some("0".into()), Some("8192".into()), None]);
    let again = loaded(&path);
    assert_eq!(exported(&again), exported(&model));
    // Saving over the files that were read replaces both whole.
    let second = saved(&again, &path, true);
    assert_eq!((second.bytes, second.external.map(|(_, size)| size)), (report.bytes, Some(data_bytes)));
    assert_eq!(exported(&loaded(&path)), exported(&model));
    assert_eq!(std::fs::read_dir(directory.path()).expect("read").count(), 2);
}

// G2
#[test]
fn a_file_may_be_saved_over_the_one_it_was_read_from() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("m.onnx");
    let report = saved(&accepted(&rich()), &path, false);
    assert_eq!(report.bytes, std::fs::metadata(&path).expect("there").len());
    assert_eq!((report.opset, report.ir_version, report.external), (17, 10, None));
    let before = std::fs::read(&path).expect("read");
    saved(&loaded(&path), &path, false);
    assert_eq!(std::fs::read(&path).expect("read"), before);
}

#[test]
fn a_graph_that_cannot_be_written_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("m.onnx");
    let model = accepted(&model(18, graph([node("Split", "x", "y z").int("axis", 1).int("num_outputs", 2)])));
    let options = ExportOptions { opset: Some(13), external_data: false };
    let errors = write(&model, &path, &options).expect_err("unequal parts have no older form");
    assert!(errors.to_string().contains("may have parts of unequal size"), "{errors}");
    assert_eq!(std::fs::read_dir(directory.path()).expect("read").count(), 0);
}

#[test]
fn a_cycle_that_a_pass_made_is_an_error_and_no_panic() {
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", None, None);
    let first = graph.add_node(ops::builtin("Relu"), Attrs::new(), [Some(x)], ["a"]);
    let a = graph.node(first).output();
    let second = graph.add_node(ops::builtin("Relu"), Attrs::new(), [Some(a)], ["b"]);
    let b = graph.node(second).output();
    graph.add_output("b", b);
    graph.set_input(first, 0, Some(b));
    let errors = to_bytes(&Model::new(graph), &PLAIN).expect_err("it has no order");
    assert!(errors.to_string().contains("form a cycle"), "{errors}");
}

// A6
#[test]
fn bits_flipped_in_a_rich_file_never_cause_a_panic() {
    let bytes = exported(&accepted(&rich())).encode_to_vec();
    // Weights are long and dull; the rest is flipped bit by bit.
    let dull = bytes.windows(64).position(|window| window.chunks(4).all(|x| x == 1.5f32.to_le_bytes())).expect("found");
    for at in (0..dull).chain(dull + 7990..bytes.len()) {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            if let Ok((model, _)) = crate::from_bytes(flipped.into(), &Limits::stated(), &Policy::interactive()) {
                let _ = to_bytes(&model, &PLAIN);
            }
        }
    }
}

// G5, G6
#[test]
fn weights_of_any_name_go_to_one_file_without_much_padding() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("m.onnx");
    let long = "n".repeat(300);
    let names = ["../escape", "CON", "con", "a/b", &long, ".", "w:stream"];
    let mut main = graph([node("Mystery", &format!("x {}", names.join(" ")), "y")]);
    main.initializer.extend(names.iter().map(|name| floats(name, &[1000], &[1.0; 1000])));
    let report = saved(&accepted(&model(17, main)), &path, true);
    let mut found: Vec<_> =
        std::fs::read_dir(directory.path()).expect("read").map(|entry| entry.expect("read").file_name()).collect();
    found.sort();
    assert_eq!(found, ["m.onnx", "m.onnx.data"]);
    let (_, n_bytes) = report.external.expect("there is one");
    assert!(n_bytes - 7 * 4000 < 7 * 4096, "{n_bytes}");
}

// G7
#[test]
fn what_is_written_twice_is_the_same_byte_by_byte() {
    let once = to_bytes(&accepted(&rich()), &PLAIN).expect("written");
    let twice = to_bytes(&load_model(&once), &PLAIN).expect("written");
    let thrice = to_bytes(&load_model(&twice), &PLAIN).expect("written");
    assert_eq!((once == twice, twice == thrice), (true, true));
}

fn load_model(bytes: &[u8]) -> Model {
    crate::from_bytes(bytes.to_vec().into(), &Limits::stated(), &Policy::interactive()).expect("readable").0
}

// D22, G4
#[test]
fn weights_inside_nodes_and_functions_go_to_the_data_file_too_and_tied_ones_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("m.onnx");
    let mut inside = body([node("Add", "x p", "r")], &["r"]);
    inside.initializer.push(floats("p", &[1000], &[0.5; 1000]));
    let mut other = body([node("Sub", "x q", "s")], &["s"]);
    other.initializer.push(floats("q", &[1000], &[0.25; 1000]));
    let mut main = graph([node("If", "c", "y").graph("then_branch", inside).graph("else_branch", other)]);
    main.input.push(value("c", 9, &[]));
    let model = accepted(&model(17, main));
    let report = saved(&model, &path, true);
    assert_eq!(report.external.as_ref().map(|(_, size)| *size), Some(4032 + 4000));
    assert!(report.bytes < 1000, "{report:?}");
    let again = loaded(&path);
    assert_eq!(exported(&again), exported(&model));
    // Read from one range, two weights stay one range.
    let tied = TensorProto { name: "t".into(), ..floats("", &[1000], &[0.0; 1000]) };
    let mut proto = super::model(17, graph([node("Mystery", "x t u", "y")]));
    let entry = |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
    let beside = |name: &str| TensorProto {
        name: name.into(),
        raw_data: None,
        data_location: Some(1),
        external_data: vec![entry("location", "m.onnx.data")],
        ..tied.clone()
    };
    proto.graph.get_or_insert_default().initializer.extend([beside("t"), beside("u")]);
    let from = directory.path().join("tied.onnx");
    std::fs::write(&from, proto.encode_to_vec()).expect("written");
    let report = saved(&loaded(&from), &directory.path().join("out.onnx"), true);
    assert_eq!(report.external.map(|(_, size)| size), Some(4000));
}
