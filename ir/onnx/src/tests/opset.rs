//! Single calls, up to the canonical operator set and down from it.

use super::*;
use crate::{ExportOptions, to_bytes};
use eutectic_ir::Tensor;
use eutectic_ir::eval::run_model;

/// The nodes of `model` as written in `opset`, one line each.
#[track_caller]
fn written(model: &Model, opset: u64) -> Vec<String> {
    let bytes = to_bytes(model, &ExportOptions { opset: Some(opset), external_data: false });
    let bytes = bytes.unwrap_or_else(|errors| panic!("{errors}"));
    let (proto, _) = load_bytes(&bytes).expect("we read what we write");
    assert_eq!(proto.opset_import[0].version, Some(opset as i64));
    let graph = proto.graph.expect("there is one");
    let contents = |name: &String| {
        let Some(tensor) = graph.initializer.iter().find(|tensor| tensor.name == *name) else { return name.clone() };
        let raw = tensor.raw_data.clone().unwrap_or_default();
        match tensor.data_type {
            Some(1) => {
                format!("{:?}", raw.chunks(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]])).collect::<Vec<_>>())
            }
            Some(7) => format!(
                "{:?}",
                raw.chunks(8).map(|x| i64::from_le_bytes(x.try_into().expect("eight"))).collect::<Vec<_>>()
            ),
            _ => name.clone(),
        }
    };
    let shown = |attribute: &AttributeProto| {
        let value = match attribute.r#type {
            Some(attribute_type::INT) => format!("{}", attribute.i.unwrap_or(0)),
            Some(attribute_type::FLOAT) => format!("{}", attribute.f.unwrap_or(0.0)),
            Some(attribute_type::INTS) => format!("{:?}", attribute.ints),
            Some(attribute_type::FLOATS) => format!("{:?}", attribute.floats),
            _ => String::from_utf8_lossy(attribute.s.as_deref().unwrap_or_default()).into_owned(),
        };
        format!("{}={value}", attribute.name)
    };
    let line = |node: &NodeProto| {
        let inputs: Vec<_> = node.input.iter().map(contents).collect();
        let attributes: Vec<_> = node.attribute.iter().map(shown).collect();
        format!("{} = {}({}) {}", node.output.join(","), node.op_type, inputs.join(" "), attributes.join(" "))
            .trim_end()
            .to_owned()
    };
    graph.node.iter().map(line).collect()
}

/// Reads `nodes` in opset `from` and writes them in `up` and again in `from`.
#[track_caller]
fn there_and_back(nodes: &[NodeProto], from: u64, up: u64, above: &[&str], below: &[&str]) {
    let mut main = graph(nodes.to_vec());
    main.input[0] = value("x", 1, &[2, 6]);
    main.output[0].r#type = None;
    let read = accepted(&model(from as i64, main));
    assert_eq!(written(&read, up), above, "in opset {up}");
    assert_eq!(written(&read, from), below, "in opset {from}");
}

#[test]
fn axes_move_from_attributes_to_inputs_and_back() {
    there_and_back(
        &[node("Squeeze", "x", "s").ints("axes", &[0]), node("Unsqueeze", "s", "y").ints("axes", &[0, 2])],
        11,
        13,
        &["s = Squeeze(x [0])", "y = Unsqueeze(s [0, 2])"],
        &["s = Squeeze(x) axes=[0]", "y = Unsqueeze(s) axes=[0, 2]"],
    );
    there_and_back(
        &[node("ReduceSum", "x", "s").ints("axes", &[1]), node("ReduceMean", "s", "y").ints("axes", &[0])],
        12,
        18,
        &[
            "s = ReduceSum(x [1]) keepdims=1 noop_with_empty_axes=0",
            "y = ReduceMean(s [0]) keepdims=1 noop_with_empty_axes=0",
        ],
        &["s = ReduceSum(x) keepdims=1 axes=[1]", "y = ReduceMean(s) keepdims=1 axes=[0]"],
    );
}

#[test]
fn bounds_of_clip_become_scalars_of_the_type_of_the_data() {
    there_and_back(
        &[node("Clip", "x", "y").float("min", 0.0).float("max", 6.0)],
        7,
        13,
        &["y = Clip(x [0.0] [6.0])"],
        &["y = Clip(x) min=0 max=6"],
    );
    there_and_back(&[node("Clip", "x", "y").float("max", 6.0)], 7, 13, &["y = Clip(x  [6.0])"], &["y = Clip(x) max=6"]);
}

#[test]
fn slices_and_pads_and_splits_go_both_ways() {
    there_and_back(
        &[node("Slice", "x", "y").ints("starts", &[1]).ints("ends", &[-1]).ints("axes", &[1])],
        9,
        13,
        &["y = Slice(x [1] [-1] [1])"],
        &["y = Slice(x) axes=[1] ends=[-1] starts=[1]"],
    );
    there_and_back(
        &[node("Pad", "x", "y").string("mode", "constant").ints("pads", &[0, 1, 0, 2]).float("value", 0.5)],
        10,
        18,
        &["y = Pad(x [0, 1, 0, 2] [0.5]) mode=constant"],
        &["y = Pad(x) mode=constant pads=[0, 1, 0, 2] value=0.5"],
    );
    there_and_back(
        &[node("Split", "x", "y z").int("axis", 1).ints("split", &[2, 4])],
        11,
        18,
        &["y,z = Split(x [2, 4]) axis=1"],
        &["y,z = Split(x) axis=1 split=[2, 4]"],
    );
    there_and_back(
        &[node("Split", "x", "y z").int("axis", 1)],
        13,
        18,
        &["y,z = Split(x) axis=1 num_outputs=2"],
        &["y,z = Split(x) axis=1"],
    );
}

/// Reads one call of `x` (float, 2 by 3 by 4) and of the weights `w` in opset `from`, and writes it in opset 13 and in `from`.
#[track_caller]
fn old_form(call: NodeProto, weights: &[(&[i64], &[f32])], from: u64, above: &[&str], below: &[&str]) {
    let mut main = graph([call]);
    main.input[0] = value("x", 1, &[2, 3, 4]);
    main.output[0].r#type = None;
    let named = weights.iter().enumerate();
    main.initializer.extend(named.map(|(at, (dims, values))| floats(&format!("w{at}"), dims, values)));
    let read = accepted(&model(from as i64, main));
    assert_eq!(written(&read, 13), above, "in opset 13");
    assert_eq!(written(&read, from), below, "in opset {from}");
}

#[test]
fn the_first_releases_broadcast_along_a_named_axis() {
    let three: (&[i64], &[f32]) = (&[3], &[1.0, 2.0, 3.0]);
    let add = node("Add", "x w0", "y").int("broadcast", 1).int("axis", 1);
    let (above, below) = ("y = Add(x [1.0, 2.0, 3.0])", "y = Add(x [1.0, 2.0, 3.0]) broadcast=1 axis=1");
    old_form(add.clone(), &[three], 6, &[above], &[below]);
    let mut main = graph([add]);
    main.initializer.push(floats("w0", &[3], &[1.0, 2.0, 3.0]));
    main.input[0] = value("x", 1, &[2, 3, 4]);
    main.output[0] = value("y", 1, &[2, 3, 4]);
    let read = accepted(&model(6, main));
    let weight = read.graph.nodes().next().and_then(|(_, node)| read.graph.weight(node.input(1)?)).expect("a weight");
    assert_eq!(weight.shape(), [3, 1]);
    let four: (&[i64], &[f32]) = (&[4], &[0.0; 4]);
    let compare = node("Less", "x w0", "y").int("broadcast", 1);
    let zeros = "[0.0, 0.0, 0.0, 0.0]";
    let (above, below) = (format!("y = Less(x {zeros})"), format!("y = Less(x {zeros}) broadcast=1"));
    old_form(compare, &[four], 6, &[&above], &[&below]);
    let slope = node("PRelu", "x w0", "y");
    old_form(slope, &[three], 6, &["y = PRelu(x [1.0, 2.0, 3.0])"], &["y = PRelu(x [1.0, 2.0, 3.0])"]);
}

#[test]
fn the_first_releases_had_other_attributes() {
    old_form(
        node("Reshape", "x", "y").ints("shape", &[0, -1]).ints("consumed_inputs", &[0]),
        &[],
        1,
        &["y = Reshape(x [0, -1])"],
        &["y = Reshape(x) shape=[0, -1]"],
    );
    old_form(node("Cast", "x", "y").string("to", "INT64"), &[], 1, &["y = Cast(x) to=7"], &["y = Cast(x) to=INT64"]);
    let pads = [0, 0, 1, 0, 0, 2];
    old_form(
        node("Pad", "x", "y").ints("paddings", &pads),
        &[],
        1,
        &["y = Pad(x [0, 0, 1, 0, 0, 2]) mode=constant"],
        &["y = Pad(x) mode=constant paddings=[0, 0, 1, 0, 0, 2]"],
    );
    old_form(
        node("Tile", "x w0 w1", "y"),
        &[(&[], &[2.0]), (&[], &[1.0])],
        1,
        &["y = Tile(x [1, 2, 1])"],
        &["y = Tile(x [2.0] [1.0])"],
    );
    old_form(node("Relu", "x", "y").ints("consumed_inputs", &[0]), &[], 1, &["y = Relu(x)"], &["y = Relu(x)"]);
}

#[test]
fn a_call_in_training_mode_stays_as_it_is() {
    let (carried, warnings) = read(&model(6, graph([node("Dropout", "x", "y")]))).expect("it is carried");
    assert!(warnings.to_string().contains("Dropout is in training mode (`is_test` = 0)"), "{warnings}");
    assert!(carried.graph.nodes().all(|(_, node)| node.op.builtin().is_none()));
}

#[test]
fn the_oldest_files_name_no_operator_set() {
    let mut proto = model(1, graph([node("Relu", "x", "y")]));
    proto.opset_import.clear();
    proto.ir_version = Some(2);
    assert_eq!(accepted(&proto).opset(""), Some(1));
}

#[test]
fn a_softmax_over_the_last_axis_needs_no_reshaping() {
    there_and_back(&[node("Softmax", "x", "y")], 9, 13, &["y = Softmax(x) axis=1"], &["y = Softmax(x) axis=1"]);
}

#[test]
fn a_softmax_over_several_axes_is_flattened() {
    let mut main = graph([node("Softmax", "x", "y")]);
    main.input[0] = value("x", 1, &[2, 3, 4]);
    main.output[0] = value("y", 1, &[2, 3, 4]);
    let expected = [
        "y/flat = Flatten(x) axis=1",
        "y/rows = Softmax(y/flat) axis=-1",
        "y/shape = Shape(x) start=0",
        "y = Reshape(y/rows y/shape) allowzero=0",
    ];
    assert_eq!(written(&accepted(&model(9, main)), 15), expected);
}

#[test]
fn a_softmax_over_an_inner_axis_is_turned() {
    let mut main = graph([node("Softmax", "x", "y").int("axis", 0)]);
    main.input[0] = value("x", 1, &[2, 3]);
    let expected = [
        "y/turned = Transpose(x) perm=[1, 0]",
        "y/rows = Softmax(y/turned) axis=1",
        "y = Transpose(y/rows) perm=[1, 0]",
    ];
    assert_eq!(written(&accepted(&model(13, main)), 12), expected);
}

#[test]
fn what_has_no_older_form_says_which_version_has_it() {
    let mut main = graph([node("Cast", "x", "e").int("to", 7), node("Pow", "x e", "y")]);
    main.value_info.push(value("e", 7, &[2, 3]));
    let model = accepted(&model(13, main));
    let errors = to_bytes(&model, &ExportOptions { opset: Some(11), external_data: false }).expect_err("no form");
    let expected = "opset 12 is needed: Pow may have an exponent of another element type";
    assert!(errors.to_string().contains(expected), "{errors}");
    assert_eq!(errors.exit_code(), 3);
}

#[test]
fn normalization_and_dropout_of_old_files_are_inference() {
    let mut main = graph([
        node("BatchNormalization", "x w w w w", "b").float("epsilon", 1e-3).int("spatial", 1),
        node("Dropout", "b", "y").float("ratio", 0.25),
    ]);
    main.initializer.push(floats("w", &[6], &[1.0; 6]));
    let model = accepted(&model(7, main));
    let ones = "[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]";
    let shown = written(&model, 15);
    assert_eq!(
        shown[0],
        format!("b = BatchNormalization(x {ones} {ones} {ones} {ones}) epsilon=0.001 momentum=0.9 training_mode=0")
    );
    assert_eq!(shown[1], "y = Dropout(b [0.25])");
    assert_eq!(written(&model, 9)[1], "y = Dropout(b) ratio=0.25");
    let mut training = graph([node("BatchNormalization", "x w w w w", "y m").int("spatial", 0)]);
    training.initializer.push(floats("w", &[6], &[1.0; 6]));
    let (carried, warnings) = read(&super::model(7, training)).expect("it is carried");
    assert!(warnings.to_string().contains("stays as opset 7 has it"), "{warnings}");
    assert_eq!(operators(&carried.graph), ["BatchNormalization"]);
    assert!(carried.graph.nodes().all(|(_, node)| node.op.builtin().is_none()));
}

#[test]
fn upsampling_is_carried_or_becomes_resizing() {
    // The table has no `Upsample`: it stays what it is until the file goes up to a version that has `Resize` alone.
    let scales = AttributeProto {
        name: "scales".into(),
        r#type: Some(attribute_type::FLOATS),
        floats: vec![1.0, 2.0],
        ..Default::default()
    };
    let main = graph([node("Upsample", "x", "y").string("mode", "nearest").with(scales)]);
    let model = accepted(&model(7, main));
    assert_eq!(written(&model, 7), ["y = Upsample(x) mode=nearest scales=[1.0, 2.0]"]);
    assert_eq!(written(&model, 9), ["y = Upsample(x [1.0, 2.0]) mode=nearest"]);
    let resize = "y = Resize(x [] [1.0, 2.0]) coordinate_transformation_mode=asymmetric cubic_coeff_a=-0.75 \
                  exclude_outside=0 extrapolation_value=0 mode=nearest nearest_mode=floor";
    assert_eq!(written(&model, 11), [resize]);
}

#[test]
fn the_lowest_opset_is_that_of_the_file_and_what_the_graph_needs() {
    let opset_of = |model: &Model| {
        let bytes = to_bytes(model, &ExportOptions { opset: None, external_data: false }).expect("written");
        load_bytes(&bytes).expect("readable").0.opset_import[0].version
    };
    let mut read = accepted(&model(9, graph([node("Relu", "x", "y")])));
    assert_eq!(opset_of(&read), Some(9));
    let input = read.graph.inputs()[0];
    let op = eutectic_ir::ops::builtin("HardSwish");
    let swish = read.graph.add_node(op, eutectic_ir::Attrs::new(), [Some(input)], ["h"]);
    let value = read.graph.node(swish).output();
    read.graph.add_output("h", value);
    assert_eq!(opset_of(&read), Some(14));
    let errors = to_bytes(&read, &ExportOptions { opset: Some(13), external_data: false }).expect_err("too low");
    assert!(errors.to_string().contains("HardSwish is new in it"), "{errors}");
    let errors = to_bytes(&read, &ExportOptions { opset: Some(29), external_data: false }).expect_err("too high");
    assert!(errors.to_string().contains("1 to 28"), "{errors}");
}

#[test]
fn a_call_of_the_newest_version_comes_down_where_an_older_one_says_the_same() {
    let range = node("Range", "i j k", "y").int("stash_type", 1);
    let mut main = graph([range]);
    main.input = ["i", "j", "k"].map(|name| value(name, 1, &[])).to_vec();
    main.output[0] = value("y", 1, &[-1]);
    let read = accepted(&model(28, main));
    assert_eq!(written(&read, 26), ["y = Range(i j k)"]);
    assert_eq!(written(&read, 28), ["y = Range(i j k) stash_type=1"]);
}

#[test]
fn broadcasts_of_axes_of_size_1_come_back_as_they_were() {
    for (large, small) in [
        (&[2, 3][..], &[2, 1][..]),
        (&[2, 3], &[1, 3]),
        (&[2, 3, 4], &[1, 3, 1]),
        (&[2, 3, 4], &[1, 1, 4]),
        (&[2, 3, 4], &[3, 1]),
        (&[2, 3, 4], &[2, 3, 1]),
    ] {
        let mut main = graph([node("Add", "x z", "y")]);
        main.input = vec![value("x", 1, large), value("z", 1, small)];
        main.output[0].r#type = None;
        let read = accepted(&model(7, main));
        let in_opset_6 = |model: &Model| {
            let options = ExportOptions { opset: Some(6), external_data: false };
            to_bytes(model, &options).unwrap_or_else(|errors| panic!("{errors}"))
        };
        let first = in_opset_6(&read);
        let (again, _) = crate::from_bytes(first.clone().into(), &Limits::stated(), &crate::Policy::interactive())
            .unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(operators(&again.graph), ["Add"], "{large:?} and {small:?}");
        assert!(in_opset_6(&again) == first, "{large:?} and {small:?}: the second export differs");
    }
}

#[test]
fn a_scan_over_batches_is_a_scan_of_scans() {
    let mut inside = body([node("Add", "s a", "t"), node("Add", "t w", "u")], &["t", "u"]);
    inside.input = body([], &["s", "a"]).output;
    let scan = |inputs: &str| {
        let call = node("Scan", inputs, "y z").int("num_scan_inputs", 1).ints("directions", &[1]);
        let mut main = graph([call.graph("body", inside.clone())]);
        main.input = vec![value("x", 1, &[2, 3, 1]), value("i", 1, &[2, 1]), value("n", 7, &[2])];
        main.output = vec![value("y", 1, &[2, 1]), value("z", 1, &[2, 3, 1])];
        main.initializer.push(floats("w", &[1], &[100.0]));
        model(8, main)
    };
    let read_back = accepted(&scan("- i x"));
    let real = |dims: &[usize], values: &[f32]| Tensor::vector(values).reshape(dims).ok();
    let inputs = [
        real(&[2, 3, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        real(&[2, 1], &[10.0, 20.0]),
        Some(Tensor::vector(&[3i64, 3])),
    ];
    let found = run_model::<f64>(&read_back, &inputs).expect("it runs");
    assert_eq!(found[0].real(), Ok(&[16.0, 35.0][..]));
    assert_eq!(found[1].real(), Ok(&[113.0, 115.0, 116.0, 126.0, 131.0, 135.0][..]));
    let (carried, warnings) = read(&scan("n i x")).expect("it is carried");
    assert!(warnings.to_string().contains("Scan reads the lengths of its sequences"), "{warnings}");
    assert!(carried.graph.nodes().all(|(_, node)| node.op.builtin().is_none()));
}

#[test]
fn calls_of_other_domains_are_known_from_the_version_on_that_means_what_is_declared() {
    for (op_type, version, is_known) in [
        ("LabelEncoder", Some(1), false),
        ("LabelEncoder", Some(2), true),
        ("LabelEncoder", Some(6), false),
        ("Binarizer", Some(5), true),
        // Not imported at all.
        ("Binarizer", None, true),
    ] {
        let domain = "ai.onnx.ml".to_owned();
        let mut proto = model(17, graph([NodeProto { domain: domain.clone(), ..node(op_type, "x", "y") }]));
        proto.opset_import.extend(version.map(|version| OperatorSetIdProto { domain, version: Some(version) }));
        let builtin = accepted(&proto).graph.nodes().all(|(_, node)| node.op.builtin().is_some());
        assert_eq!(builtin, is_known, "{op_type} of version {version:?}");
    }
}
