//! Large weights that stay in the model file until somebody asks for them.

use super::*;
use crate::{ExportOptions, Policy};
use eutectic_ir::Tensor;
use eutectic_ir::tensor::Data;
use std::path::PathBuf;

const LARGE: usize = 1 << 20;
const EXPORT: ExportOptions = ExportOptions { opset: None, external_data: false };

fn bytes(n_bytes: usize, seed: usize) -> Bytes {
    (0..n_bytes).map(|at| (at * 7 + seed) as u8).collect()
}

fn weight(name: &str, data_type: i32, dims: &[i64], raw_data: Bytes) -> TensorProto {
    let (dims, data_type, raw_data) = (dims.to_vec(), Some(data_type), Some(raw_data));
    TensorProto { name: name.into(), dims, data_type, raw_data, ..Default::default() }
}

/// A file with these weights, and a tensor of a megabyte in an attribute.
fn file(weights: impl IntoIterator<Item = TensorProto>) -> (tempfile::TempDir, PathBuf) {
    let constant = AttributeProto {
        name: "value".into(),
        r#type: Some(attribute_type::TENSOR),
        t: Some(weight("", 2, &[LARGE as i64], bytes(LARGE, 3))),
        ..Default::default()
    };
    let mut main = graph([node("Constant", "", "c").with(constant), node("Mystery", "x c", "y")]);
    main.initializer.extend(weights);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("m.onnx");
    std::fs::write(&path, model(17, main).encode_to_vec()).expect("written");
    (directory, path)
}

fn read_with(path: &Path, resident: u64) -> Result<Model, Diagnostics> {
    crate::read(path, &Limits::stated(), &Policy { resident, ..Policy::interactive() }).map(|(model, _)| model)
}

fn weights(model: &Model) -> Vec<(String, Tensor)> {
    let held = model.graph.values().filter_map(|(_, value)| Some((value.name.to_string(), value.weight()?.clone())));
    held.collect()
}

fn is_stored(tensor: &Tensor) -> bool {
    matches!(tensor.data(), Data::Stored(_))
}

#[test]
fn large_weights_stay_in_the_file_and_are_the_same() {
    let n_floats = LARGE as i64 / 4;
    let (directory, path) = file([
        weight("large", 1, &[n_floats], bytes(LARGE, 1)),
        weight("small", 2, &[LARGE as i64 - 1], bytes(LARGE - 1, 2)),
        weight("bools", 9, &[LARGE as i64], bytes(LARGE, 4)),
        weight("narrow", 22, &[2 * LARGE as i64 - 1], vec![0xFF; LARGE].into()),
    ]);
    let (kept, whole) = (read_with(&path, 0).expect("readable"), read_with(&path, u64::MAX).expect("readable"));
    let stored: Vec<String> =
        weights(&kept).into_iter().filter(|(_, tensor)| is_stored(tensor)).map(|(name, _)| name).collect();
    assert_eq!(stored, ["large", "c"]);
    assert!(!weights(&whole).iter().any(|(_, tensor)| is_stored(tensor)));
    for ((name, kept), (_, whole)) in weights(&kept).iter().zip(&weights(&whole)) {
        assert_eq!(kept.hash_of_elements(), whole.hash_of_elements(), "{name}");
        assert_eq!(kept.bytes(), whole.bytes(), "{name}");
    }
    let mut files = Vec::new();
    for (model, name) in [(&kept, "kept"), (&whole, "whole")] {
        let out = directory.path().join(name);
        crate::write(model, &out, &EXPORT).expect("written");
        files.push(std::fs::read(out).expect("read"));
    }
    assert!(files[0] == files[1]);
}

#[test]
fn few_bytes_are_read_at_once() {
    let (_directory, path) = file([weight("w", 2, &[LARGE as i64], bytes(LARGE, 1))]);
    let stays = |resident| weights(&read_with(&path, resident).expect("readable")).iter().any(|(_, t)| is_stored(t));
    assert!(!stays(2 * LARGE as u64) && stays(2 * LARGE as u64 - 1));
}

#[test]
fn data_that_does_not_fit_is_refused_in_the_same_words_wherever_it_is() {
    let two_fields = TensorProto { int32_data: vec![1], ..weight("w", 2, &[LARGE as i64], bytes(LARGE, 1)) };
    let external = TensorProto { data_location: Some(1), ..weight("w", 2, &[LARGE as i64], bytes(LARGE, 1)) };
    let odd = [
        weight("w", 1, &[3], bytes(LARGE, 1)),
        weight("w", 8, &[3], bytes(LARGE, 1)),
        weight("w", 99, &[3], bytes(LARGE, 1)),
        weight("w", 1, &[-1], bytes(LARGE, 1)),
        two_fields,
        external,
    ];
    for tensor in odd {
        let (_directory, path) = file([tensor]);
        let [kept, whole] = [0, u64::MAX].map(|resident| read_with(&path, resident).expect_err("refused").to_string());
        assert_eq!(kept, whole);
    }
}

#[test]
fn a_file_that_changes_after_it_was_read_is_an_error_and_nothing_is_written() {
    let changes: [fn(&std::fs::File); 2] = [
        |file| file.set_len(LARGE as u64).expect("cut"),
        |file| std::os::unix::fs::FileExt::write_all_at(file, &[1], LARGE as u64 / 2).expect("written"),
    ];
    for change in changes {
        let (directory, path) = file([weight("w", 2, &[LARGE as i64], bytes(LARGE, 1))]);
        let model = read_with(&path, 0).expect("readable");
        model.intact().expect("as it was");
        // Times of files are as coarse as the kernel's ticks.
        std::thread::sleep(std::time::Duration::from_millis(50));
        change(&std::fs::File::options().write(true).open(&path).expect("open"));
        let errors = crate::write(&model, &directory.path().join("out.onnx"), &EXPORT).expect_err("changed");
        assert_eq!(errors.exit_code(), 2, "{errors}");
        assert!(model.intact().expect_err("changed").to_string().contains("changed while"));
        assert_eq!(std::fs::read_dir(directory.path()).expect("read").count(), 1);
    }
}

#[test]
fn a_file_that_is_replaced_after_it_was_read_is_read_as_it_was() {
    let (directory, path) = file([weight("w", 2, &[LARGE as i64], bytes(LARGE, 1))]);
    let model = read_with(&path, 0).expect("readable");
    let other = directory.path().join("other");
    std::fs::write(&other, b"something else").expect("written");
    std::fs::rename(&other, &path).expect("renamed");
    let (_, weight) = weights(&model).swap_remove(0);
    assert_eq!(weight.bytes()[..], bytes(LARGE, 1)[..]);
    model.intact().expect("the opened file is as it was");
}
