//! The flags of `eutectic lower`, on models of a few nodes.
//!
//! Every test ends early, and says so, on a machine without the library.

#![cfg(feature = "lowering")]

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// `relu(conv(x) + b)` for a batch of `batch`.
fn convolution(batch: &str) -> String {
    let ty = format!("float[{batch},8,16,16]");
    format!(
        "<ir_version: 10, opset_import: [\"\": 18]>
g ({ty} x) => ({ty} y) <float[8,8,3,3] w = [\"location\": \"seed:1\"], float[8] b = {{1,2,3,4,5,6,7,8}}> {{
    [first] c = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (x, w, b)
    [second] y = Relu (c)
}}
"
    )
}

/// The program in a directory that holds `static.onnxtxt` and `dynamic.onnxtxt`.
struct Bench(TempDir);

impl Bench {
    /// `None` without the library.
    fn new() -> Option<Self> {
        let bench = Bench(tempfile::tempdir().expect("a directory"));
        for (name, batch) in [("static.onnxtxt", "1"), ("dynamic.onnxtxt", "N")] {
            fs::write(bench.0.path().join(name), convolution(batch)).expect("it is written");
        }
        let found = text(&bench.run(&["doctor"]));
        if found.lines().any(|line| line.starts_with("tensorrt") && line.contains("found")) {
            return Some(bench);
        }
        eprintln!("skipped: {found}");
        None
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_eutectic"));
        program.args(arguments).current_dir(self.0.path());
        // The test runs elsewhere than the environment of the repository.
        let environment = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv");
        if environment.is_dir() {
            program.env("VIRTUAL_ENV", environment);
        }
        program.output().expect("the program starts")
    }

    /// What it prints when it ends well.
    fn lower(&self, arguments: &[&str]) -> String {
        let done = self.run(&[&["lower"], arguments].concat());
        assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
        text(&done)
    }

    /// The nodes of each kernel.
    fn kernels(&self, arguments: &[&str]) -> Vec<Vec<String>> {
        let said: Value = serde_json::from_str(&self.lower(&[arguments, &["--json"]].concat())).expect("JSON");
        let nodes = |kernel: &Value| {
            let nodes = kernel["nodes"].as_array().expect("a list");
            nodes.iter().map(|node| node.as_str().expect("a name").to_owned()).collect()
        };
        said["kernels"].as_array().expect("a list").iter().map(nodes).collect()
    }

    /// Ends with `code` and says `words`.
    fn refuses(&self, arguments: &[&str], code: i32, words: &str) {
        let done = self.run(&[&["lower"], arguments].concat());
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.code() == Some(code) && said.contains(words), "{:?}: {said}", done.status);
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }
}

fn text(done: &Output) -> String {
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() > 0)
}

#[test]
fn what_optimize_has_written_is_lowered() {
    let Some(bench) = Bench::new() else { return };
    let done = bench.run(&["optimize", "static.onnxtxt", "-o", "fused.onnx", "-q"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(text(&bench.run(&["inspect", "fused.onnx"])).contains("eutectic.ConvRelu"));
    let plain = bench.kernels(&["static.onnxtxt"]);
    assert_eq!(plain.len(), 3);
    for arguments in [&["fused.onnx"][..], &["fused.onnx", "--as-is"]] {
        assert_eq!(bench.kernels(arguments).len(), plain.len());
    }
}

#[test]
fn a_mixture_of_experts_is_lowered_in_standard_operators() {
    let Some(bench) = Bench::new() else { return };
    let model = "<ir_version: 10, opset_import: [\"\": 18, \"com.microsoft\": 1]>
g (float[tokens,64] x, float[tokens,8] scores) => (float[tokens,64] y)
<float[8,128,64] fc1 = [\"location\": \"seed:1\"], float[8,64,128] fc2 = [\"location\": \"seed:2\"]> {
    [router] y = com.microsoft.MoE <k: int = 2, activation_type: string = \"silu\"> (x, scores, fc1, , fc2)
}
";
    fs::write(bench.path("experts.onnxtxt"), model).expect("it is written");
    for shapes in [
        &["--shapes", "x:16x64,scores:16x8"][..],
        &[
            "--minShapes",
            "x:1x64,scores:1x8",
            "--optShapes",
            "x:16x64,scores:16x8",
            "--maxShapes",
            "x:64x64,scores:64x8",
        ],
    ] {
        let said = bench.lower(&[&["experts.onnxtxt", "--fp16"], shapes].concat());
        assert!(said.contains("gemm"), "{said}");
    }
    let gated = model.replace("(x, scores, fc1, , fc2)", "(x, scores, fc1, , fc2, , fc1)");
    fs::write(bench.path("gated.onnxtxt"), gated).expect("it is written");
    bench.refuses(&["gated.onnxtxt", "--shapes", "x:16x64,scores:16x8"], 3, "MoE can't be lowered");
}

/// Above a mebibyte weights stay in the model file, from which the library's process reads them.
#[test]
fn weights_in_a_file_make_the_same_engine_as_weights_in_memory() {
    let Some(bench) = Bench::new() else { return };
    let model = "<ir_version: 10, opset_import: [\"\": 18]>
g (float[2,512] x) => (float[2,640] y) <float[512,640] w = [\"location\": \"seed:1\"], float[640] b = [\"location\": \"seed:2\"]> {
    p = MatMul (x, w)
    y = Add (p, b)
}
";
    fs::write(bench.path("large.onnxtxt"), model).expect("it is written");
    assert!(bench.run(&["convert", "large.onnxtxt", "large.onnx"]).status.success());
    let engine = |model: &str| {
        bench.lower(&[model, "--saveEngine", "large.plan"]);
        fs::read(bench.path("large.plan")).expect("an engine")
    };
    assert!(engine("large.onnx") == engine("large.onnxtxt"), "the engines differ");
}

#[test]
fn trtexec_spells_the_model_otherwise() {
    let Some(bench) = Bench::new() else { return };
    let fused = ["first".to_owned(), "second".to_owned()];
    assert!(
        bench
            .kernels(&["--onnx", "static.onnxtxt", "--target", "tensorrt", "--skipInference"])
            .contains(&fused.to_vec())
    );
    bench.refuses(&["static.onnxtxt", "--onnx", "static.onnxtxt"], 2, "cannot be used with");
    bench.refuses(&[], 2, "required");
    bench.refuses(&["static.onnxtxt", "--target", "cuda"], 2, "tensorrt");
}

#[test]
fn a_capability_that_the_library_lacks_is_refused() {
    let Some(bench) = Bench::new() else { return };
    assert!(bench.lower(&["static.onnxtxt", "--sm", "120"]).contains("Compute capability: 12.0"));
    bench.refuses(&["static.onnxtxt", "--sm", "90"], 2, "B0506");
}

#[test]
fn a_library_that_is_not_there_is_missing() {
    let Some(bench) = Bench::new() else { return };
    bench.refuses(&["static.onnxtxt", "--trt-lib", "/nowhere"], 3, "B0501");
}

#[test]
fn a_dynamic_input_needs_shapes() {
    let Some(bench) = Bench::new() else { return };
    bench.refuses(&["dynamic.onnxtxt"], 2, "input `x` (float[N,8,16,16]) is dynamic");
    let said = bench.lower(&["dynamic.onnxtxt", "--shapes", "x:2x8x16x16"]);
    assert!(said.contains("(profile 0): x = 2x8x16x16+2x8x16x16+2x8x16x16"), "{said}");
}

#[test]
fn each_profile_has_shapes_of_its_own() {
    let Some(bench) = Bench::new() else { return };
    let profile = |number: &'static str, [min, opt, max]: [&'static str; 3]| {
        ["--profile", number, "--minShapes", min, "--optShapes", opt, "--maxShapes", max]
    };
    let first = profile("0", ["x:1x8x16x16", "x:2x8x16x16", "x:4x8x16x16"]);
    let second = profile("1", ["x:5x8x16x16", "x:6x8x16x16", "x:8x8x16x16"]);
    let said = bench.lower(&[&["dynamic.onnxtxt"], &first[..], &second].concat());
    assert!(said.contains("(profile 0): x = 1x8x16x16+2x8x16x16+4x8x16x16"), "{said}");
    assert!(said.contains("(profile 1): x = 5x8x16x16+6x8x16x16+8x8x16x16"), "{said}");
    bench.refuses(&[&["dynamic.onnxtxt"], &second[..]].concat(), 2, "`--profile` counts from 0 on");
    bench.refuses(&[&["dynamic.onnxtxt"], &first[..], &second[..4]].concat(), 2, "2 profiles need");
    let reversed = profile("0", ["x:4x8x16x16", "x:2x8x16x16", "x:1x8x16x16"]);
    bench.refuses(&[&["dynamic.onnxtxt"], &reversed[..]].concat(), 2, "B0604");
}

#[test]
fn profiles_are_suggested_for_traffic_without_a_model() {
    let Some(bench) = Bench::new() else { return };
    fs::write(bench.path("traffic.csv"), "x,count\n1x8x16x16,90\n8x8x16x16,10\n").expect("it is written");
    let said = bench.lower(&["--suggest-profiles", "traffic.csv", "--most-profiles", "2"]);
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("--profile 0 --minShapes x:1x8x16x16"), "{said}");
    let one = bench.lower(&["--suggest-profiles", "traffic.csv", "--most-profiles", "1"]);
    assert!(one.contains("--minShapes x:1x8x16x16") && one.contains("--maxShapes x:8x8x16x16"), "{one}");
    bench.refuses(&["static.onnxtxt", "--most-profiles", "2"], 2, "--suggest-profiles");
}

#[test]
fn a_saved_engine_is_shown_and_a_foreign_one_refused() {
    let Some(bench) = Bench::new() else { return };
    let said = bench.lower(&["static.onnxtxt", "--saveEngine", "saved.plan"]);
    assert!(said.contains("wrote saved.plan and its manifest"), "{said}");
    let shown = bench.lower(&["--loadEngine", "saved.plan", "--verbose"]);
    assert!(shown.contains("engine: 3 kernels") && shown.contains("first + second"), "{shown}");
    fs::copy(bench.path("saved.plan"), bench.path("foreign.plan")).expect("it is copied");
    bench.refuses(&["--loadEngine", "foreign.plan"], 2, "B0511");
    bench.refuses(&["--loadEngine", "saved.plan", "--saveEngine", "other.plan"], 2, "cannot be used with");
}

#[test]
fn two_builds_differ_in_the_fusions_that_they_have_not_in_common() {
    let Some(bench) = Bench::new() else { return };
    bench.lower(&["static.onnxtxt", "--saveEngine", "saved.plan"]);
    assert!(bench.lower(&["--diff", "static.onnxtxt", "saved.plan"]).contains("3 kernels have the same nodes"));
    bench.lower(&["static.onnxtxt", "--break-fusions", "c", "--saveEngine", "split.plan"]);
    let done = bench.run(&["lower", "--diff", "saved.plan", "split.plan"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done).contains("1 x first + second"), "{}", text(&done));
}

#[test]
fn nothing_is_fused_across_a_broken_value() {
    let Some(bench) = Bench::new() else { return };
    let is_fused = |kernels: &[Vec<String>]| kernels.iter().any(|nodes| nodes.len() == 2);
    assert!(is_fused(&bench.kernels(&["static.onnxtxt"])));
    for arguments in [&["static.onnxtxt", "--break-fusions", "c"][..], &["static.onnxtxt", "--break-fusions"]] {
        assert!(!is_fused(&bench.kernels(arguments)), "{arguments:?}");
    }
    bench.refuses(&["static.onnxtxt", "--break-fusions", "z"], 2, "no value of the network is called `z`");
}

#[test]
fn layers_are_exported_and_times_are_refused() {
    let Some(bench) = Bench::new() else { return };
    bench.lower(&["static.onnxtxt", "--exportLayerInfo", "layers.json"]);
    let layers: Value = serde_json::from_slice(&fs::read(bench.path("layers.json")).expect("a file")).expect("JSON");
    assert_eq!(layers["Layers"].as_array().map(Vec::len), Some(3), "{layers}");
    bench.refuses(&["static.onnxtxt", "--exportTimes", "times.json"], 3, "B0513");
    bench.refuses(&["static.onnxtxt", "--exportProfile", "profile.json"], 3, "B0513");
    assert!(!is_file(&bench.path("times.json")) && !is_file(&bench.path("profile.json")));
}

#[test]
fn each_kernel_is_explained_by_its_nodes() {
    let Some(bench) = Bench::new() else { return };
    let (brief, explained) = (bench.lower(&["static.onnxtxt"]), bench.lower(&["static.onnxtxt", "--explain"]));
    assert!(!brief.contains("<-") && explained.contains("<- first + second"), "{explained}");
    assert!(bench.lower(&["static.onnxtxt", "--verbose"]).contains("<- first + second"));
}

#[test]
fn the_builder_is_told_memory_and_level() {
    let Some(bench) = Bench::new() else { return };
    let flags = ["--memPoolSize", "workspace:64", "--builderOptimizationLevel", "0"];
    let said = bench.lower(&[&["static.onnxtxt"], &flags[..]].concat());
    assert!(said.contains("workspace: 67.11 MB") && said.contains("Builder optimization level: 0"), "{said}");
    bench.refuses(&["static.onnxtxt", "--memPoolSize", "64"], 2, "workspace:MiB");
    bench.refuses(&["static.onnxtxt", "--builderOptimizationLevel", "6"], 2, "0..=5");
}

#[test]
fn the_parser_makes_as_many_kernels() {
    let Some(bench) = Bench::new() else { return };
    let said = bench.lower(&["static.onnxtxt", "--crossCheck"]);
    assert!(said.contains("NVIDIA's parser: 3 kernels") && !said.contains("different:"), "{said}");
}

#[test]
fn lower_precisions_are_built() {
    let Some(bench) = Bench::new() else { return };
    for (flag, words) in [("--fp16", "FP16"), ("--bf16", "BF16"), ("--int8", "INT8"), ("--fp8", "FP8")] {
        let said = bench.lower(&["static.onnxtxt", "--sm", "89", flag]);
        let line = said.lines().find(|line| line.starts_with("Precision: "));
        assert!(line.is_some_and(|line| line.contains(words)), "{said}");
    }
    bench.refuses(&["static.onnxtxt", "--int8", "--fp8"], 2, "cannot be used with");
}

#[test]
fn a_model_that_the_builder_refuses_is_made_small() {
    let Some(bench) = Bench::new() else { return };
    let model = "<ir_version: 10, opset_import: [\"\": 18, \"other\": 1]>
g (float[2,6] x) => (float[2,6] y) <float[6,6] w = [\"location\": \"seed:1\"]> {
    a = MatMul (x, w)
    b = Relu (a)
    c = other.Thing (b)
    d = Add (b, a)
    y = Mul (c, d)
}
";
    fs::write(bench.0.path().join("refused.onnxtxt"), model).expect("it is written");
    let done = bench.run(&["reduce", "refused.onnxtxt", "--against", "tensorrt", "--seconds", "0", "--json"]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let found: Value = serde_json::from_str(&text(&done)).expect("JSON");
    assert_eq!((&found["failure"]["kind"], &found["after"]["nodes"]), (&"refused".into(), &1.into()), "{found}");
    assert!(found["failure"]["why"].as_str().is_some_and(|why| why.contains("other.Thing")), "{found}");
    let left = text(&bench.run(&["convert", "reduced/model.onnx", "reduced/model.onnxtxt"]));
    let left = fs::read_to_string(bench.0.path().join("reduced/model.onnxtxt")).expect(&left);
    assert!(left.contains("other.Thing") && !left.contains("MatMul"), "{left}");
}

#[test]
fn a_dim_of_one_size_is_static() {
    let Some(bench) = Bench::new() else { return };
    // The batch is read from the input; both ways accept batches of two alone.
    let model = "<ir_version: 10, opset_import: [\"\": 18]>
g (float[N,8,16] x) => (y) <int64 first = {0}, int64[1] rest = {-1}> {
    s = Shape (x)
    n = Gather (s, first)
    o = Constant <value_ints = [0]> ()
    m = Unsqueeze (n, o)
    t = Concat <axis = 0> (m, rest)
    r = Reshape (x, t)
    y = Relu (r)
}
";
    fs::write(bench.path("shapes.onnxtxt"), model).expect("it is written");
    let layers = |arguments: &[&str]| {
        let said = bench.lower(&[&["shapes.onnxtxt", "--json"], arguments].concat());
        serde_json::from_str::<Value>(&said).expect("JSON")["layers"].as_u64().expect("a number")
    };
    let open = layers(&["--minShapes", "x:1x8x16", "--optShapes", "x:2x8x16", "--maxShapes", "x:4x8x16"]);
    let settled = layers(&["--shapes", "x:2x8x16"]);
    assert_eq!(settled, 2);
    assert!(open >= settled && layers(&["--shapes", "x:2x8x16", "--as-is"]) >= open);
    assert!(bench.lower(&["shapes.onnxtxt", "--shapes", "x:2x8x16"]).contains("x = 2x8x16+2x8x16+2x8x16"));
}

#[test]
fn what_the_parser_refuses_is_built_by_us() {
    let Some(bench) = Bench::new() else { return };
    // Exporters write the axes of a mean like this; the parser takes them from initializers alone.
    let model = "<ir_version: 10, opset_import: [\"\": 18]>
g (float[1,8,16] x) => (y) {
    axis = Constant <value_int = -1> ()
    shape = Constant <value_ints = [-1]> ()
    axes = Reshape (axis, shape)
    [mean] y = ReduceMean (x, axes)
}
";
    fs::write(bench.path("mean.onnxtxt"), model).expect("it is written");
    for name in ["mean", "static"] {
        let done = bench.run(&["convert", &format!("{name}.onnxtxt"), &format!("{name}.onnx")]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    bench.refuses(&["mean.onnx", "--by-parser"], 3, "ReduceMean");
    assert_eq!(bench.kernels(&["mean.onnx"]).len(), 1);
    // The file itself is built as we build it; nothing of ours takes part.
    assert_eq!(bench.kernels(&["static.onnx", "--by-parser"]), bench.kernels(&["static.onnx", "--as-is"]));
    assert!(bench.lower(&["static.onnx", "--by-parser"]).contains("engine: 3 kernels"));
    bench.refuses(&["static.onnx", "--by-parser", "--fp16"], 2, "cannot be used with");
}

#[test]
fn a_recurrent_layer_over_a_dynamic_sequence_is_the_parsers() {
    let Some(bench) = Bench::new() else { return };
    // The parser takes no RNN without the parameters that its activations do not have.
    for (op, n_gates, more) in [("GRU", 3, ""), ("LSTM", 4, ", y_c")] {
        for direction in ["forward", "reverse", "bidirectional"] {
            let (ways, rows) = (1 + usize::from(direction == "bidirectional"), 5 * n_gates);
            let model = format!(
                "<ir_version: 10, opset_import: [\"\": 17]>
g (float[steps,batch,4] x) => (y, y_h{more}) <float[{ways},{rows},4] w = [\"location\": \"seed:1\"],
  float[{ways},{rows},5] r = [\"location\": \"seed:2\"], float[{ways},{}] b = [\"location\": \"seed:3\"]> {{
    y, y_h{more} = {op} <hidden_size = 5, direction = \"{direction}\"> (x, w, r, b)
}}
",
                2 * rows
            );
            fs::write(bench.path("recurrent.onnxtxt"), model).expect("it is written");
            let ranges = ["--minShapes", "x:1x1x4", "--optShapes", "x:16x2x4", "--maxShapes", "x:64x8x4"];
            let said = bench.lower(&[&["recurrent.onnxtxt", "--crossCheck", "--json"], &ranges[..]].concat());
            let said: Value = serde_json::from_str(&said).expect("JSON");
            assert_eq!(said["parser"]["differences"], serde_json::json!([]), "{op} {direction}");
        }
    }
}

/// A sample of `static.onnxtxt` in a folder of its own.
fn samples(bench: &Bench) {
    use eutectic::ir::{Element, Tensor};
    fs::create_dir(bench.path("samples")).expect("a directory");
    let sample = Tensor::full(Element::Float, &[1, 8, 16, 16], 0.5).expect("small");
    eutectic::files::save_npy(&bench.path("samples/0.npy"), &sample).expect("it is written");
}

#[test]
fn calibration_is_read_from_samples_or_from_their_cache() {
    let Some(bench) = Bench::new() else { return };
    samples(&bench);
    let from = |calibration: &[&str]| {
        bench.lower(&[&["static.onnxtxt", "--int8", "--saveEngine", "int8.plan"], calibration].concat())
    };
    assert!(from(&["--calib", "samples", "--calibCache", "seen.json"]).contains("Precision: FP32+INT8"));
    let first = fs::read(bench.path("int8.plan")).expect("an engine");
    from(&["--calib", "seen.json"]);
    assert!(first == fs::read(bench.path("int8.plan")).expect("an engine"), "the cache makes another engine");
    // The scales are in the engine: other samples make another one.
    from(&[]);
    assert!(first != fs::read(bench.path("int8.plan")).expect("an engine"));
    bench.refuses(&["dynamic.onnxtxt", "--shapes", "x:1x8x16x16", "--int8", "--calib", "seen.json"], 2, "C0146");
    bench.refuses(&["static.onnxtxt", "--int8", "--calib", "nowhere"], 2, "C0140");
    bench.refuses(&["static.onnxtxt", "--int8", "--calibCache", "seen.json"], 2, "--calib");
}

#[test]
fn four_bit_weights_are_built_and_eight_bit_floats_where_the_device_has_them() {
    let Some(bench) = Bench::new() else { return };
    let model = "<ir_version: 10, opset_import: [\"\": 21]>
g (float[16,256] x) => (y) <float[256,64] w = [\"location\": \"seed:1\"]> { [product] y = MatMul (x, w) }
";
    fs::write(bench.path("product.onnxtxt"), model).expect("it is written");
    let said = bench.lower(&["product.onnxtxt", "--int4", "64", "--fp16"]);
    assert!(said.contains("Precision: FP32+FP16+INT4"), "{said}");
    bench.lower(&["static.onnxtxt", "--fp8", "--sm", "89"]);
    bench.refuses(&["static.onnxtxt", "--fp8", "--sm", "86"], 3, "B0507");
}
