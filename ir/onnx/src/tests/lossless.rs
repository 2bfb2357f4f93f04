//! What a file holds beyond the model: said when it is read, and lost only when somebody agrees.

use super::*;
use crate::{ExportOptions, to_bytes, write};

const PLAIN: ExportOptions = ExportOptions { opset: None, external_data: false };

fn plain() -> ModelProto {
    model(17, graph([node("Relu", "x", "y").named("relu")]))
}

/// Reads `bytes`, which must warn with `code` and `words`; the model must then be refused by writers until the loss is
/// accepted.
#[track_caller]
fn warns_and_is_not_written(bytes: Vec<u8>, code: &str, words: &str) {
    let (mut model, warnings) =
        crate::from_bytes(bytes.into(), &Limits::stated(), &crate::Policy::interactive()).expect("readable");
    let warning = warnings.0.iter().find(|warning| warning.code == code).unwrap_or_else(|| panic!("{warnings}"));
    assert_eq!(warning.severity, Severity::Warning);
    assert!(warning.to_string().contains(words), "{warning}");

    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("out.onnx");
    let errors = write(&model, &path, &PLAIN).expect_err("something would be lost");
    assert_eq!((errors.exit_code(), errors.0[0].code), (2, "L0163"), "{errors}");
    assert!(errors.to_string().contains(words) && errors.to_string().contains("--drop-unknown"), "{errors}");
    assert!(to_bytes(&model, &PLAIN).is_err());
    assert_eq!(std::fs::read_dir(directory.path()).expect("read").count(), 0);

    model.not_carried.clear();
    let written = to_bytes(&model, &PLAIN).expect("the loss is accepted");
    assert_eq!(written, to_bytes(&accepted(&plain()), &PLAIN).expect("written"));
}

// A16, G7
#[test]
fn a_file_with_fields_of_a_newer_onnx_is_read_and_not_written_unless_they_may_be_dropped() {
    let mut bytes = plain().encode_to_vec();
    bytes.extend([integer(900, 1), field(901, &[0xff; 9000])].concat());
    warns_and_is_not_written(bytes, "L0111", "field 901 of ModelProto, 1 times");
    // Deep inside, where nothing else of the message is unknown.
    let relu = [node("Relu", "x", "y").named("relu").encode_to_vec(), field(77, b"new")].concat();
    let mut main = plain().graph.expect("there is one");
    main.node.clear();
    let proto = ModelProto { graph: None, ..plain() };
    let bytes = [proto.encode_to_vec(), field(7, &[main.encode_to_vec(), field(1, &relu)].concat())].concat();
    warns_and_is_not_written(bytes, "L0111", "field 77 of NodeProto, 1 times");
}

// B27
#[test]
fn training_and_device_placement_are_never_dropped_silently() {
    let mut training = plain();
    training.training_info.push(TrainingInfoProto::default());
    warns_and_is_not_written(training.encode_to_vec(), "I0119", "1 training informations");
    let mut placed = plain();
    placed.configuration.push(DeviceConfigurationProto { name: "two".into(), ..Default::default() });
    warns_and_is_not_written(placed.encode_to_vec(), "I0119", "1 device configurations");
    let mut placed = plain();
    placed.graph.get_or_insert_default().node[0].device_configurations.push(Default::default());
    warns_and_is_not_written(placed.encode_to_vec(), "I0119", "1 device configurations of nodes");
    let mut quantized = plain();
    quantized.graph.get_or_insert_default().quantization_annotation.push(TensorAnnotation::default());
    warns_and_is_not_written(quantized.encode_to_vec(), "I0119", "1 quantization annotations");
}

#[test]
fn words_for_people_that_are_dropped_are_a_note_and_do_not_stop_writing() {
    let mut proto = plain();
    let main = proto.graph.get_or_insert_default();
    main.node[0].doc_string = Bytes::from_static(b"line 3 of net.py");
    main.input[0].doc_string = Bytes::from_static(b"an image");
    main.input[0].r#type.get_or_insert_default().denotation = "IMAGE".into();
    let (model, notes) = read(&proto).expect("readable");
    assert!(notes.0.iter().all(|note| note.severity == Severity::Note), "{notes}");
    assert!(notes.to_string().contains("1 denotations of values, 1 descriptions of nodes"), "{notes}");
    assert!(to_bytes(&model, &PLAIN).is_ok());
}
