//! The program on files that it must refuse: exit code, message, and nothing written.

use std::path::Path;
use std::process::{Command, Output};

fn eutectic(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_eutectic")).args(arguments).output().expect("the program runs")
}

/// The binary form of a model in text, as bytes.
fn binary(text: &str, directory: &Path) -> Vec<u8> {
    let (from, to) = (directory.join("text.onnxtxt"), directory.join("text.onnx"));
    std::fs::write(&from, text).expect("written");
    let output = eutectic(&["convert", from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{output:?}");
    std::fs::read(&to).expect("read")
}

const RELU: &str = "<ir_version: 8, opset_import: [\"\" : 17]>\nagraph (float[2] x) => (float[2] y) { y = Relu (x) }\n";

// A16
#[test]
fn a_model_with_unknown_fields_is_not_written_unless_they_may_be_dropped() {
    let directory = tempfile::tempdir().expect("a directory");
    let (model, output) = (directory.path().join("new.onnx"), directory.path().join("out.onnx"));
    let mut bytes = binary(RELU, directory.path());
    // Field 900 of the model, an integer.
    bytes.extend([0xa0, 0x38, 0x01]);
    std::fs::write(&model, bytes).expect("written");
    let (model, output) = (model.to_str().expect("UTF-8"), output.to_str().expect("UTF-8"));
    for arguments in [&["convert", model, output][..], &["optimize", model, "--output", output]] {
        let refused = eutectic(arguments);
        let shown = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{shown}");
        assert!(shown.contains("L0111") && shown.contains("L0163") && shown.contains("field 900"), "{shown}");
        assert!(!Path::new(output).exists());
        let accepted = eutectic(&[arguments, &["--drop-unknown"]].concat());
        assert_eq!(accepted.status.code(), Some(0), "{accepted:?}");
        std::fs::remove_file(output).expect("it was written");
    }
    assert_eq!(eutectic(&["inspect", model]).status.code(), Some(0));
}
