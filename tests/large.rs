//! Models larger than memory: weights that nobody asks for stay in their files until they are copied.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

const OUTER: u64 = 4096;
/// Of a weight in a model of 16384 columns, in bytes.
const WEIGHT_BYTES: u64 = OUTER * 16384 * 4;

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn integer(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn field(number: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn value(name: &str) -> Vec<u8> {
    let dims = [1, OUTER].map(|dim| field(1, integer(1, dim))).concat();
    let tensor = [integer(1, 1), field(2, dims)].concat();
    [field(1, name), field(2, field(1, tensor))].concat()
}

fn node(op: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(1, input)).collect();
    [inputs, field(2, output), field(4, op)].concat()
}

/// The entries of a weight whose data starts at byte `at` of the data file.
fn weight(name: &str, dims: [u64; 2], at: u64) -> Vec<u8> {
    let entry = |key: &str, value: String| field(13, [field(1, key), field(2, value)].concat());
    let dims: Vec<u8> = dims.iter().flat_map(|&dim| integer(1, dim)).collect();
    let place = [entry("location", "weights".into()), entry("offset", at.to_string())].concat();
    [dims, integer(2, 1), field(8, name), place, integer(14, 1)].concat()
}

/// `n_layers` of x W1 W2 with a Relu in between, on a data file that is one hole but for the first number of each
/// weight of 4096 by `middle` numbers. The first two layers are tied.
fn model(directory: &Path, n_layers: u64, middle: u64) -> std::path::PathBuf {
    let weight_bytes = OUTER * middle * 4;
    let data = File::create(directory.join("weights")).expect("created");
    data.set_len(n_layers * 2 * weight_bytes).expect("a file with a hole");
    let mut graph = field(2, "large");
    let mut last = "x".to_owned();
    for layer in 0..n_layers {
        for (part, dims) in [[OUTER, middle], [middle, OUTER]].into_iter().enumerate() {
            let number = if layer == 1 { part as u64 } else { layer * 2 + part as u64 };
            data.write_all_at(&(number as f32).to_le_bytes(), number * weight_bytes).expect("written");
            let (weight_name, product) = (format!("w{layer}_{part}"), format!("p{layer}_{part}"));
            graph.extend(field(5, weight(&weight_name, dims, number * weight_bytes)));
            graph.extend(field(1, node("MatMul", &[&last, &weight_name], &product)));
            last = product;
        }
        let output = if layer + 1 == n_layers { "y".to_owned() } else { format!("r{layer}") };
        graph.extend(field(1, node("Relu", &[&last], &output)));
        last = output;
    }
    graph.extend([field(11, value("x")), field(12, value("y"))].concat());
    let bytes = [integer(1, 8), field(8, [field(1, ""), integer(2, 17)].concat()), field(7, graph)].concat();
    let path = directory.join("model.onnx");
    std::fs::write(&path, bytes).expect("written");
    path
}

/// Runs the program with at most `mebibytes` of address space.
fn eutectic_within(mebibytes: u64, arguments: &[&str]) -> Output {
    let limited = format!("ulimit -v {} && exec \"$@\"", mebibytes << 10);
    // Each arena of the allocator reserves address space, used or not.
    let run = Command::new("sh")
        .env("MALLOC_ARENA_MAX", "2")
        .args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_eutectic")])
        .args(arguments)
        .output();
    run.expect("the program runs")
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

// A20, D19, D23, G4
#[test]
fn a_model_larger_than_memory_is_optimized_and_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = model(directory.path(), 6, 16384);
    let output = directory.path().join("out.onnx");
    let (path, out) = (path.to_str().expect("UTF-8"), output.to_str().expect("UTF-8"));
    let run = eutectic_within(500, &["optimize", path, "--output", out, "--certify", "none"]);
    assert!(run.status.success(), "{}", shown(&run));
    assert!(shown(&run).contains("protobuf cannot hold: weights are in"), "{}", shown(&run));

    // Twelve weights, of which two are tied to others; the holes are holes again.
    let written = File::open(directory.path().join("out.onnx.data")).expect("the weights");
    assert_eq!(written.metadata().expect("there").len(), 10 * WEIGHT_BYTES);
    use std::os::unix::fs::MetadataExt;
    assert!(written.metadata().expect("there").blocks() * 512 < 64 << 20);
    let mut firsts: Vec<f32> = (0..10)
        .map(|at| {
            let mut first = [0; 4];
            written.read_exact_at(&mut first, at * WEIGHT_BYTES).expect("read");
            f32::from_le_bytes(first)
        })
        .collect();
    firsts.sort_by(f32::total_cmp);
    assert_eq!(firsts, [0.0, 1.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);

    // What was written is read again, and over itself.
    let again = eutectic_within(500, &["convert", out, out]);
    assert!(again.status.success(), "{}", shown(&again));
    let data = File::open(directory.path().join("out.onnx.data")).expect("the weights");
    assert_eq!(data.metadata().expect("there").len(), 10 * WEIGHT_BYTES);
}

// D18, D29
#[test]
fn a_weight_that_changes_before_it_is_copied_is_an_error_and_nothing_is_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = model(directory.path(), 6, 16384);
    let limits = eutectic::onnx::Limits::stated();
    let (model, _) = eutectic::files::load(&path, &limits, false).expect("readable");
    let data = File::options().write(true).open(directory.path().join("weights")).expect("open");
    data.set_len(4 * WEIGHT_BYTES).expect("cut");
    let out = directory.path().join("out.onnx");
    let options = eutectic::onnx::ExportOptions { opset: None, external_data: true };
    let errors = eutectic::files::save(&model, &out, &options).expect_err("the data is gone");
    assert_eq!(errors.exit_code(), 2, "{errors}");
    assert_eq!(std::fs::read_dir(directory.path()).expect("read").count(), 2);
    assert!(model.intact().expect_err("it changed").to_string().contains("changed while"));
}

#[test]
fn a_mapped_model_gives_the_same_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = model(directory.path(), 2, 256);
    let path = path.to_str().expect("UTF-8");
    let mut written = Vec::new();
    for mode in [&[][..], &["--mmap"]] {
        let out = directory.path().join("out.onnx");
        let run = eutectic_within(8 << 10, &[&["convert", path, out.to_str().expect("UTF-8")], mode].concat());
        assert!(run.status.success(), "{}", shown(&run));
        written.push(std::fs::read(&out).expect("read"));
    }
    assert_eq!(written[0], written[1]);
}
