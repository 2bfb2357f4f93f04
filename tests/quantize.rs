//! `eutectic quantize` at the command line: samples of every form, the calibration cache, and what is refused.

use eutectic::files::{load, save_npy};
use eutectic::ir::graph::Op;
use eutectic::ir::{Element, Model, Tensor};
use eutectic::onnx::Limits;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A convolution, and a product with a constant matrix.
const MODEL: &str = "<ir_version: 10, opset_import: [\"\": 21]>
g (float[1,4,6,6] x) => (float[1,32] y) <float[8,4,3,3] w = [\"location\": \"seed:1\"], float[288,32] m = [\"location\": \"seed:2\"]> {
    [conv] c = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (x, w)
    r = Relu (c)
    f = Flatten (r)
    [product] y = MatMul (f, m)
}
";
const SHAPE: [usize; 4] = [1, 4, 6, 6];
const COUNT: usize = 144;

/// A directory with `model.onnxtxt`.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Bench(tempfile::tempdir().expect("a directory"));
        fs::write(bench.path("model.onnxtxt"), MODEL).expect("it is written");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A new directory in it.
    fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eutectic"));
        command.arg("quantize").args(arguments).current_dir(self.0.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    /// What it says as JSON when it ends well.
    fn quantize(&self, arguments: &[&str]) -> Value {
        let done = self.run(&[&["model.onnxtxt", "--json"], arguments].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).expect("JSON")
    }

    /// Ends with code 2 and says `words`.
    fn refuses(&self, arguments: &[&str], words: &[&str]) {
        let done = self.run(&[&["model.onnxtxt"], arguments].concat());
        let said = String::from_utf8_lossy(&done.stderr);
        let says_all = words.iter().all(|words| said.contains(words));
        assert!(done.status.code() == Some(2) && says_all, "{:?}, expected {words:?}: {said}", done.status);
    }

    fn model(&self, name: &str) -> Model {
        load(&self.path(name), &Limits::stated(), false).unwrap_or_else(|problems| panic!("{problems}")).0
    }
}

/// Sample number `at`, whose largest element is `at + 1`.
fn sample(at: usize) -> Tensor {
    let values: Vec<f32> = (0..COUNT).map(|index| (at + 1) as f32 * (index as f32 / (COUNT - 1) as f32)).collect();
    Tensor::from_vec(&SHAPE, values).expect("it fits")
}

fn npy(path: &Path, tensor: &Tensor) {
    save_npy(path, tensor).unwrap_or_else(|problem| panic!("{problem}"));
}

/// An archive of the array `name`.
fn npz(path: &Path, name: &str, tensor: &Tensor) {
    let array = path.with_extension("array");
    npy(&array, tensor);
    let mut archive = zip::ZipWriter::new(fs::File::create(path).expect("a file"));
    archive.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).expect("a member");
    archive.write_all(&fs::read(&array).expect("the array")).expect("it is written");
    archive.finish().expect("an archive");
    fs::remove_file(array).expect("it is removed");
}

/// A `TensorProto`: dims, element type 1 and raw data.
fn message(path: &Path, tensor: &Tensor) {
    let mut bytes = Vec::new();
    tensor.shape().iter().for_each(|&dim| bytes.extend([0x08, u8::try_from(dim).expect("one byte")]));
    let data = tensor.bytes();
    bytes.extend([0x10, 1, 0x4a, (data.len() & 0x7f) as u8 | 0x80, (data.len() >> 7) as u8]);
    bytes.extend_from_slice(&data);
    fs::write(path, bytes).expect("it is written");
}

/// Three samples, a .npy file each.
fn arrays(bench: &Bench, name: &str) {
    let directory = bench.directory(name);
    (0..3).for_each(|at| npy(&directory.join(format!("{at}.npy")), &sample(at)));
}

/// The calls of `op`.
fn count(model: &Model, op: &str) -> usize {
    model.graph.nodes().filter(|(_, node)| matches!(&node.op, Op::Builtin(def) if def.name == op)).count()
}

/// Whether a weight of `model` has this element type.
fn has_weight(model: &Model, element: Element) -> bool {
    model.graph.values().any(|(id, _)| model.graph.weight(id).is_some_and(|weight| weight.element() == element))
}

#[test]
fn samples_of_every_form_are_calibrated_alike() {
    let bench = Bench::new();
    arrays(&bench, "npy");
    let [archives, messages, folders, cases] = ["npz", "pb", "folders", "cases"].map(|name| bench.directory(name));
    for at in 0..3 {
        npz(&archives.join(format!("{at}.npz")), "x", &sample(at));
        message(&messages.join(format!("{at}.pb")), &sample(at));
        npy(&bench.directory(&format!("folders/{at}")).join("x.npy"), &sample(at));
        message(&bench.directory(&format!("cases/{at}")).join("input_0.pb"), &sample(at));
    }
    assert!(folders.is_dir() && cases.is_dir());
    let mut caches = Vec::new();
    for form in ["npy", "npz", "pb", "folders", "cases"] {
        let said = bench.quantize(&["--int8", "--calib", form, "--calibCache", "seen.json"]);
        assert_eq!(said["quantized"], 2, "{form}: {said}");
        caches.push(fs::read_to_string(bench.path("seen.json")).expect("a cache"));
    }
    assert!(caches.windows(2).all(|pair| pair[0] == pair[1]), "the forms differ");
    let cache: Value = serde_json::from_str(&caches[0]).expect("JSON");
    assert_eq!((&cache["n_samples"], &cache["values"]["x"]["extremes"]), (&3.into(), &serde_json::json!([0.0, 3.0])));
}

#[test]
fn a_cache_stands_for_its_samples() {
    let bench = Bench::new();
    arrays(&bench, "samples");
    let (samples, cache) = (["--calib", "samples", "--calibCache", "seen.json"], ["--calib", "seen.json"]);
    bench.quantize(&[&["--int8", "-o", "first.onnx"][..], &samples].concat());
    bench.quantize(&[&["--int8", "-o", "second.onnx"][..], &cache].concat());
    let [first, second] = ["first.onnx", "second.onnx"].map(|name| fs::read(bench.path(name)).expect("a model"));
    assert!(first == second && count(&bench.model("first.onnx"), "QuantizeLinear") > 0);
    // One random input says another range.
    bench.quantize(&["--int8", "-o", "third.onnx"]);
    assert!(first != fs::read(bench.path("third.onnx")).expect("a model"));
}

#[test]
fn a_cache_of_another_model_is_refused_and_so_is_what_is_no_cache() {
    let bench = Bench::new();
    arrays(&bench, "samples");
    bench.quantize(&["--int8", "--calib", "samples", "--calibCache", "seen.json"]);
    fs::write(bench.path("model.onnxtxt"), MODEL.replace("seed:1", "seed:9")).expect("it is written");
    bench.refuses(&["--int8", "--calib", "seen.json"], &["C0146", "seen.json", "another model", "calibrate again"]);
    fs::write(bench.path("seen.json"), "{").expect("it is written");
    bench.refuses(&["--int8", "--calib", "seen.json"], &["C0146", "seen.json", "no calibration cache"]);
}

#[test]
fn samples_that_are_not_there_or_do_not_fit_are_refused_by_their_place() {
    let bench = Bench::new();
    let int8 = |directory: &'static str| ["--int8", "--calib", directory];
    bench.refuses(&int8("nowhere"), &["C0140", "nowhere"]);
    bench.directory("empty");
    bench.refuses(&int8("empty"), &["C0141", "empty", "one .npy, .npz or .pb file"]);
    npz(&bench.directory("misnamed").join("0.npz"), "z", &sample(0));
    bench.refuses(&int8("misnamed"), &["C0142", "0.npz", "`x`"]);
    fs::write(bench.directory("garbage").join("0.npy"), "no array").expect("it is written");
    bench.refuses(&int8("garbage"), &["C0110", "0.npy", "not a NumPy array"]);
    let small = Tensor::full(Element::Float, &[1, 4], 1.0).expect("small");
    npy(&bench.directory("small").join("0.npy"), &small);
    bench.refuses(&int8("small"), &["`x`"]);
    let infinite = Tensor::full(Element::Float, &SHAPE, f64::INFINITY).expect("it fits");
    npy(&bench.directory("infinite").join("0.npy"), &infinite);
    bench.refuses(&int8("infinite"), &["infinite or not a number"]);
    let two =
        MODEL.replace("x) =>", "x, float[1,32] z) =>").replace("y = MatMul (f, m)", "p = MatMul (f, m) y = Add (p, z)");
    fs::write(bench.path("model.onnxtxt"), two).expect("it is written");
    arrays(&bench, "samples");
    bench.refuses(&int8("samples"), &["C0143", "0.npy", "2 inputs"]);
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let bench = Bench::new();
    bench.refuses(&[], &["--int8"]);
    bench.refuses(&["--int8", "--fp8"], &["cannot be used with"]);
    bench.refuses(&["--int8", "--int4"], &["cannot be used with"]);
    bench.refuses(&["--fp16", "--bf16"], &["cannot be used with"]);
    bench.refuses(&["--int8", "--calibCache", "seen.json"], &["--calib"]);
    bench.refuses(&["--int8", "--calibrator", "luck"], &["luck"]);
    bench.refuses(&["--fp16", "--sensitivity"], &["--int8, --fp8 or --int4"]);
}

#[test]
fn each_format_shows_in_the_weights() {
    let bench = Bench::new();
    arrays(&bench, "samples");
    for (flags, element, quantized) in [
        (&["--int8"][..], Element::Int8, 2),
        (&["--fp8"], Element::Float8E4M3FN, 2),
        // Of four bits are constant matrices only.
        (&["--int4", "32"], Element::Int4, 1),
    ] {
        let said = bench.quantize(&[flags, &["--calib", "samples", "-o", "out.onnx"]].concat());
        assert_eq!(said["quantized"], quantized, "{flags:?}: {said}");
        let model = bench.model("out.onnx");
        assert!(has_weight(&model, element), "{flags:?}: no weight is {element}");
        assert!(count(&model, "DequantizeLinear") >= quantized, "{flags:?}");
        let worst = said["worst"].as_f64().expect("a number");
        assert!(worst > 0.0 && worst < 0.2, "{flags:?}: {worst}");
    }
}

#[test]
fn a_node_is_kept_by_its_name() {
    let bench = Bench::new();
    arrays(&bench, "samples");
    assert_eq!(bench.quantize(&["--int8", "--calib", "samples", "--keep", "conv"])["quantized"], 1);
    let said = bench.quantize(&["--int8", "--calib", "samples", "--sensitivity"]);
    let layers: Vec<&str> =
        said["layers"].as_array().expect("a list").iter().filter_map(|one| one["layer"].as_str()).collect();
    assert!(layers.len() == 2 && layers.contains(&"conv") && layers.contains(&"product"), "{said}");
}

#[test]
fn progress_is_shown_on_a_terminal_only() {
    let bench = Bench::new();
    arrays(&bench, "samples");
    let arguments = ["model.onnxtxt", "--int8", "--calib", "samples"];
    let piped = bench.run(&arguments);
    assert!(!String::from_utf8_lossy(&piped.stderr).contains("calibrating"));
    let mut program = Command::new("script");
    let command = format!("{} quantize {}", env!("CARGO_BIN_EXE_eutectic"), arguments.join(" "));
    program.args(["-qec", &command, "/dev/null"]).current_dir(bench.0.path());
    match program.output() {
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stdout);
            assert!(said.contains("calibrating") && said.contains("/3 samples"), "{said}");
        }
        Err(problem) => eprintln!("skipped: no terminal: {problem}"),
    }
}
