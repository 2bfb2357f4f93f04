//! Every kernel that the models of `papers/models` need compiles, without a GPU.
//!
//! NVRTC comes with `pip install nvidia-cuda-nvrtc`; where the loader does not find it, the test says so and passes.

use eutectic_cuda::{Cuda, Expanded, Library, Precision, Whole, compile};
use eutectic_ir::diag::Severity;
use eutectic_ir::eval::run_model;
use eutectic_ir::region::Role;
use eutectic_ir::tensor::Seed;
use eutectic_ir::verify::verify;
use eutectic_ir::{Element, Model, Tensor, TensorType};
use eutectic_passes::cost::Device;
use eutectic_passes::optimize::{Options, optimize};
use eutectic_passes::regions::{Fusions, form};
use eutectic_passes::target::Target;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn models() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../papers/models");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the models")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "onnxtxt"))
        // The others have the same kinds of kernels at many more sizes, and take minutes.
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            ["bert", "gpt2", "mobilenet", "resnet50", "squeezenet"].iter().any(|known| name.starts_with(known))
        })
        .collect();
    found.sort();
    assert!(found.len() >= 6);
    found
}

/// `model` divided into kernels with `fusions`.
fn divided(cuda: &Cuda, model: &Model, fusions: &Fusions) -> Expanded {
    let whole = Whole { attention: fusions.has_pattern("attention"), biases: fusions.has_pattern("epilogues") };
    let expanded = cuda.expand(model, whole, &[]);
    let mut expanded = expanded.unwrap_or_else(|problems| panic!("{problems}"));
    form(&mut expanded.model, &expanded.abilities, fusions, &Device::h200());
    expanded
}

fn sources() -> BTreeSet<String> {
    let mut sources = BTreeSet::new();
    for path in models() {
        let text = std::fs::read_to_string(&path).expect("a model");
        let (model, _) = eutectic_ir::text::parse_model(&text).expect("it parses");
        // Kernels in bfloat16 are those in float16 with another conversion: of one division they are enough.
        let (whole, single) =
            ([Precision::F16, Precision::Bf16, Precision::F32].as_slice(), [Precision::F16, Precision::F32].as_slice());
        let divisions = [(Target::Cpu, Fusions::all(), whole), (Target::Onnx, Fusions::none(), single)];
        for (target, fusions, precisions) in divisions {
            let mut model = model.clone();
            let options = Options::standard(target).expect("rules").admitting(&model);
            optimize(&mut model, &options).expect("it optimizes");
            for &precision in precisions {
                let cuda = Cuda { precision, cache: None };
                let divided = divided(&cuda, &model, &fusions);
                let found = cuda.sources(&divided);
                let found = found.unwrap_or_else(|problems| panic!("{}: {problems}", path.display()));
                let listing = cuda.listing(&divided).expect("it plans");
                println!(
                    "{} {target} {precision:?}: {} launches, {} kernels",
                    path.display(),
                    listing.len(),
                    found.len()
                );
                sources.extend(found);
            }
        }
    }
    sources
}

#[test]
fn residual_blocks_end_in_one_launch() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../papers/models/resnet50_ts17bn.onnxtxt");
    let (mut model, _) =
        eutectic_ir::text::parse_model(&std::fs::read_to_string(path).expect("a model")).expect("it parses");
    let options = Options::standard(Target::Cpu).expect("rules").admitting(&model);
    optimize(&mut model, &options).expect("it optimizes");
    let names = |precision, fusions: &[&str]| {
        let fusions = Fusions::of(&fusions.iter().map(|name| (*name).into()).collect::<Vec<String>>());
        let cuda = Cuda { precision, cache: None };
        let listing = cuda.listing(&divided(&cuda, &model, &fusions)).expect("it plans");
        listing.into_iter().map(|launch| launch.name).collect::<Vec<String>>()
    };
    let count = |names: &[String], wanted: &str| names.iter().filter(|name| *name == wanted).count();
    let joined = names(Precision::F16, &["all", "-chains"]);
    let apart = names(Precision::F16, &["all", "-shortcuts", "-chains"]);
    assert_eq!(joined.len() + 4, apart.len(), "{joined:?}");
    assert_eq!((count(&joined, "Conv+Conv+Add+Relu"), count(&joined, "Conv+Add+Relu")), (4, 12));
    let of_two = |names: &[String]| names.iter().filter(|name| name.matches("Conv").count() == 2).count();
    assert_eq!(of_two(&names(Precision::F32, &["all"])), 0, "matrix units have no float32");
    // Those with 64 or 128 filters that step from each pixel to the next, but for the one that ends with a shortcut.
    let chained = names(Precision::F16, &["all"]);
    assert_eq!(chained.len() + 5, joined.len(), "{chained:?}");
    assert_eq!(count(&chained, "Conv+Relu+Conv+Add+Relu"), 5);
    assert_eq!(of_two(&names(Precision::Tf32, &["all"])), 4, "groups of warps have no tf32");
}

/// One call of each operator that has no kernel of its own: inputs and outputs, weights, and the call.
const CALLS: [(&str, &str, &str); 64] = [
    (
        "(float[2,3,8,12] x) => (float[2,5,2,3] y)",
        r#"float[5,3,4,4] w = ["location": "seed:1", "low": "-1", "high": "1"], float[5] b = ["location": "seed:2", "low": "-1", "high": "1"]"#,
        "c = Conv <strides = [4, 4]> (x, w, b) y = Relu (c)",
    ),
    (
        "(float[2,3,8,8] x) => (float[2,5,8,8] y)",
        r#"float[5,3,3,3] w = ["location": "seed:1", "low": "-1", "high": "1"], float[5] b = ["location": "seed:2", "low": "-1", "high": "1"]"#,
        "c = Conv <pads = [1, 1, 1, 1]> (x, w, b) y = Relu (c)",
    ),
    (
        "(float[40,16] x) => (float[40,261] y)",
        r#"float[16,261] w = ["location": "seed:1", "low": "-1", "high": "1"]"#,
        "y = MatMul (x, w)",
    ),
    ("(float[2,3] x) => (float[4,5] y)", "int64[4] p = {1, 1, 1, 1}", "y = Pad (x, p)"),
    ("(float[2,3] x) => (float[4,5] y)", "int64[4] p = {1, 1, 1, 1}", "y = Pad <mode: string = \"reflect\"> (x, p)"),
    ("(double[2,3] x) => (double[4,5] y)", "int64[4] p = {1, 1, 1, 1}", "y = Pad <mode: string = \"wrap\"> (x, p)"),
    ("(int32[5,6] x) => (int32[3,7] y)", "int64[2] s = {3, 7}", "y = CenterCropPad (x, s)"),
    ("(float[3,4] x, int64[2,4] i) => (float[2,4] y)", "", "y = GatherElements (x, i)"),
    ("(float[3,4,5] x, int64[3,2,1] i) => (float[3,2,5] y)", "", "y = GatherND <batch_dims: int = 1> (x, i)"),
    ("(float16[3,4] x, int64[2,4] i, float16[2,4] u) => (float16[3,4] y)", "", "y = ScatterElements (x, i, u)"),
    (
        "(float[3,4] x, int64[2,1] i, float[2,4] u) => (float[3,4] y)",
        "",
        "y = ScatterND <reduction: string = \"max\"> (x, i, u)",
    ),
    ("(float[2,3,4,5] x, float[2,3,2,5] u, int64[2] w) => (float[2,3,4,5] y)", "", "y = TensorScatter (x, u, w)"),
    ("(int64[4,4] x, int64 k) => (int64[4,4] y)", "", "y = Trilu (x, k)"),
    ("(float[4,5] x) => (double[4,5] y)", "", "y = EyeLike <dtype: int = 11> (x)"),
    ("(int64[3] x) => (float[3,5] y)", "int64 d = {5}, float[2] v = {0, 1}", "y = OneHot (x, d, v)"),
    ("(uint8[2,3] x) => (uint8[4,3] y)", "int64[2] r = {2, 1}", "y = Tile (x, r)"),
    (
        "(float[9] x) => (float[4] y)",
        "int64[1] s = {8}, int64[1] e = {0}, int64[1] a = {0}, int64[1] p = {-2}",
        "y = Slice (x, s, e, a, p)",
    ),
    ("(float[4,3] x, int64[3] n) => (float[4,3] y)", "", "y = ReverseSequence (x, n)"),
    ("(double[4,3] x) => (double[4,3] y)", "int64 a = {1}", "y = CumSum <exclusive: int = 1> (x, a)"),
    ("(float[4,3] x) => (int64[1,3] y)", "", "y = ArgMax (x)"),
    ("(float[4,3] x) => (float[4,3] y)", "", "y = Hardmax (x)"),
    ("(float[4,9] x) => (float[4,2] y, int64[4,2] z)", "int64[1] k = {2}", "y, z = TopK (x, k)"),
    (
        "(float[1,2,5,5,5] x) => (float[1,3,3,3,3] y)",
        "float[3,2,3,3,3] w = [\"location\": \"seed:1\", \"low\": \"-1\", \"high\": \"1\"]",
        "y = Conv (x, w)",
    ),
    (
        "(float[1,2,5,5] x) => (float[1,3,11,11] y)",
        "float[2,3,3,3] w = [\"location\": \"seed:1\", \"low\": \"-1\", \"high\": \"1\"]",
        "y = ConvTranspose <strides: ints = [2, 2]> (x, w)",
    ),
    ("(float[1,2,5,5,5] x) => (float[1,2,4,4,4] y)", "", "y = AveragePool <kernel_shape: ints = [2, 2, 2]> (x)"),
    (
        "(float[1,2,5,5] x) => (float[1,2,4,4] y, int64[1,2,4,4] z)",
        "",
        "y, z = MaxPool <kernel_shape: ints = [2, 2]> (x)",
    ),
    ("(float[1,2,5,5] x) => (float[1,2,4,4] y)", "", "y = LpPool <kernel_shape: ints = [2, 2], p: int = 3> (x)"),
    ("(float[1,4,5,5] x) => (float[1,4,5,5] y)", "", "y = LRN <size: int = 3> (x)"),
    (
        "(float[1,1,4,4] x) => (float[1,1,8,6] y)",
        "float[0] r = {}, float[4] s = {1, 1, 2, 1.5}",
        "y = Resize <mode: string = \"cubic\"> (x, r, s)",
    ),
    (
        "(float[1,2,4,4] x, float[1,3,3,2] g) => (float[1,2,3,3] y)",
        "",
        "y = GridSample <mode: string = \"cubic\", padding_mode: string = \"reflection\"> (x, g)",
    ),
    ("(float[2,3] x, float[3] s, uint8[3] z) => (uint8[2,3] y)", "", "y = QuantizeLinear (x, s, z)"),
    ("(int8[2,4] x, float[2,2] s) => (float[2,4] y)", "", "y = DequantizeLinear <block_size: int = 2> (x, s)"),
    ("(uint8[2,3] a, int8[3,4] b, uint8 z) => (int32[2,4] y)", "", "y = MatMulInteger (a, b, z)"),
    (
        "(uint8[2,3] a, float s, uint8 z, uint8[3,4] b, float t, uint8 u, float v, uint8 w) => (uint8[2,4] y)",
        "",
        "y = QLinearMatMul (a, s, z, b, t, u, v, w)",
    ),
    ("(float[2,3] x) => (uint8[2,3] y, float s, uint8 z)", "", "y, s, z = DynamicQuantizeLinear (x)"),
    ("(float[2,3] x) => (int32[2,3] y)", "", "y = BitCast <to: int = 6> (x)"),
    ("(float[1,2,3,8] x, float[1,3,4] c, float[1,3,4] s) => (float[1,2,3,8] y)", "", "y = RotaryEmbedding (x, c, s)"),
    ("(double[2,3] a, double[3,4] b) => (double[2,4] y)", "", "y = Einsum <equation: string = \"ij,jk\"> (a, b)"),
    ("(int64[2,3] a, int64[3,4] b) => (int64[2,4] y)", "", "y = MatMul (a, b)"),
    ("(float[70000] x) => (float[1] y)", "", "y = ReduceSum (x)"),
    ("(int32[2,70000] x) => (int32[2] y)", "int64[1] a = {1}", "y = ReduceMax <keepdims: int = 0> (x, a)"),
    ("(double[2,3,4] x) => (double[1,1,1] y)", "", "y = ReduceLogSumExp (x)"),
    ("(bool[2,3] x) => (bool[2,1] y)", "int64[1] a = {1}", "y = ReduceMin (x, a)"),
    ("(float[2,3] x) => (float[2,3] y)", "", "y = LpNormalization <p: int = 1> (x)"),
    ("(uint64[2] x, uint64[2] n) => (uint64[2] y)", "", "y = BitShift <direction: string = \"RIGHT\"> (x, n)"),
    ("(int32[2] x, int32[2] n) => (int32[2] y)", "", "y = Mod (x, n)"),
    ("(float16[2] x, float16[2] n) => (float16[2] y)", "", "y = Mod <fmod: int = 1> (x, n)"),
    ("(int64[2] x, float[2] n) => (int64[2] y)", "", "y = Pow (x, n)"),
    ("(float[2] x) => (bool[2] y)", "", "y = IsInf (x)"),
    ("(double[2] x) => (double[2] y)", "", "y = Gelu (x)"),
    ("(bfloat16[2] x) => (float[2] y)", "", "y = Cast <to: int = 1> (x)"),
    ("(float[2] x) => (uint16[2] y)", "", "y = Cast <to: int = 4> (x)"),
    (
        "(float[2,3,4,4] x, float[3] s, float[3] b, float[3] m, float[3] v) => (float[2,3,4,4] y)",
        "",
        "y = BatchNormalization (x, s, b, m, v)",
    ),
    (
        "(float[2,4,3] x, float[4] s, float[4] b) => (float[2,4,3] y)",
        "",
        "y = GroupNormalization <num_groups: int = 2> (x, s, b)",
    ),
    (
        "(float[2,3,4] x, float[4] s) => (float[2,3,4] y, float[2,3,1] m, float[2,3,1] d)",
        "",
        "y, m, d = LayerNormalization (x, s)",
    ),
    ("(float[2,3] x) => (float[2,3] y, bool[2,3] m)", "", "y, m = Dropout (x)"),
    (
        "(float[1,8,2,3] x) => (float[1,2,4,6] y)",
        "",
        "y = DepthToSpace <blocksize: int = 2, mode: string = \"CRD\"> (x)",
    ),
    (
        "(float[3,5] x, int64[3] t, float[5] w) => (float y)",
        "",
        "y = SoftmaxCrossEntropyLoss <ignore_index: int = 2> (x, t, w)",
    ),
    (
        "(float[2,3,3] x, float[2,3,3] k, float[2,3,3] v) => (float[2,3,3] y)",
        "",
        "y = Attention <q_num_heads: int = 3, kv_num_heads: int = 3, is_causal: int = 1, softcap: float = 2.0> (x, k, v)",
    ),
    (
        "(float[1,4,3,8] q, float[1,2,5,8] k, float[1,2,5,8] v, int64[1] n) => (float[1,4,3,8] y)",
        "",
        "y = Attention <is_causal: int = 1> (q, k, v, , , , n)",
    ),
    (
        "(float16[1,4,70,64] q, float16[1,2,70,64] k, float16[1,2,70,64] v, float16[70,70] m) => (float16[1,4,70,64] y)",
        "",
        "y = Attention <softcap: float = 5.0> (q, k, v, m)",
    ),
    (
        "(bfloat16[1,2,9,32] q, bfloat16[1,2,9,32] k, bfloat16[1,2,9,32] v) => (bfloat16[1,2,9,32] y)",
        "",
        "y = Attention <is_causal: int = 1> (q, k, v)",
    ),
    (
        "(float[4,6] x) => (float[4,6] y)",
        "float[6,6] w = [\"location\": \"seed:1\", \"low\": \"-1\", \"high\": \"1\"]",
        "p = MatMul (x, w)\n y = Gelu (p)",
    ),
    ("(float[2,3] x) => (float[2,3] y)", "", "y = MeanVarianceNormalization <axes: ints = [1]> (x)"),
];

#[test]
fn every_operator_without_a_kernel_of_its_own_compiles() {
    for (at, (types, weights, body)) in CALLS.iter().enumerate() {
        let weights = if weights.is_empty() { String::new() } else { format!("<{weights}>") };
        let text = format!("<ir_version: 13, opset_import: [\"\": 26]>\ng {types} {weights} {{ {body} }}");
        let (model, _) = eutectic_ir::text::parse_model(&text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        for precision in [Precision::F32, Precision::Bf16] {
            let cuda = Cuda { precision, cache: None };
            let divided = divided(&cuda, &model, &Fusions::all());
            let sources = cuda.sources(&divided).unwrap_or_else(|problems| panic!("{text}: {problems}"));
            if !Library::Nvrtc.is_present() {
                continue;
            }
            for source in sources {
                let architecture = [80, 90, 120][at % 3];
                if let Err(problem) = compile(&source, architecture) {
                    panic!("{body}, sm_{architecture}: {problem:?}\n{source}");
                }
            }
        }
    }
}

/// Elements for an input of `ty`: fractions for real numbers, ones for everything else, which are valid places and sizes.
fn drawn(ty: &TensorType, seed: u64) -> Tensor {
    let shape = ty.sizes().expect("known sizes");
    match ty.element {
        Element::Float | Element::Double => {
            Tensor::seeded(ty.element, &shape, Seed { seed, low: -1.0, high: 1.0 }).expect("small")
        }
        element => Tensor::full(element, &shape, 1.0).expect("small"),
    }
}

#[test]
fn the_divided_model_is_sound_and_computes_the_same() {
    let mut n_compared = 0;
    for (types, weights, body) in CALLS {
        let weights = if weights.is_empty() { String::new() } else { format!("<{weights}>") };
        let text = format!("<ir_version: 13, opset_import: [\"\": 26]>\ng {types} {weights} {{ {body} }}");
        let (model, _) = eutectic_ir::text::parse_model(&text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        let graph = &model.graph;
        let inputs: Vec<Option<Tensor>> =
            graph.inputs().iter().map(|&id| Some(drawn(graph.ty(id).expect("typed"), id.index() as u64))).collect();
        let cuda = Cuda { precision: Precision::F32, cache: None };
        for fusions in [Fusions::all(), Fusions::none()] {
            let divided = divided(&cuda, &model, &fusions).model;
            let problems = verify(&divided).into_iter().filter(|problem| problem.severity == Severity::Error);
            // Attention that sees no key gives zeros, which no operator of ONNX says of a softmax.
            let problems: Vec<_> = problems.filter(|problem| !problem.message.contains("`blind`")).collect();
            assert!(problems.is_empty(), "{body}: {problems:?}");
            let Ok(expected) = run_model::<f64>(&model, &inputs) else { continue };
            let found = run_model::<f64>(&divided, &inputs).unwrap_or_else(|problem| panic!("{body}: {problem}"));
            for (expected, found) in expected.iter().zip(&found) {
                let [expected, found] = [expected, found].map(|datum| datum.to_tensor().expect("a tensor"));
                assert_eq!(expected.ty(), found.ty(), "{body}");
                let (expected, found) = (expected.to_f64s().expect("numbers"), found.to_f64s().expect("numbers"));
                // The interpreter gives NaN for such a softmax.
                let is_blind = |x: f64, y: f64| body.contains("Attention") && x == 0.0 && y.is_nan();
                for (x, y) in expected.iter().zip(&found).filter(|(x, y)| !is_blind(**x, **y)) {
                    assert!((x - y).abs() <= 1e-3 * x.abs().max(1.0) || (x.is_nan() && y.is_nan()), "{body}: {x} {y}");
                }
            }
            n_compared += 1;
        }
    }
    assert!(n_compared > 100, "{n_compared}");
}

#[test]
fn a_convolution_over_patches_is_a_product() {
    let (types, weights, body) = CALLS[0];
    let text = format!("<ir_version: 13, opset_import: [\"\": 26]>\ng {types} <{weights}> {{ {body} }}");
    let (model, _) = eutectic_ir::text::parse_model(&text).expect("it parses");
    let cuda = Cuda { precision: Precision::F16, cache: None };
    let listing = cuda.listing(&divided(&cuda, &model, &Fusions::all())).expect("every call has a kernel");
    let names: Vec<&str> = listing.iter().map(|launch| launch.name.as_str()).collect();
    assert_eq!(names, ["copy", "MatMul+Add", "Relu", "copy"]);
}

#[test]
fn a_region_that_no_kernel_runs_is_refused_by_name() {
    let text = r#"<ir_version: 13, opset_import: ["": 26]>
        g (float[4,4] x) => (float[4,4] y) <float[4,4] w = ["location": "seed:1", "low": "-1", "high": "1"]> {
            p = MatMul (x, w)
            y = Softmax (p)
        }"#;
    let (model, _) = eutectic_ir::text::parse_model(text).expect("it parses");
    let cuda = Cuda { precision: Precision::F32, cache: None };
    let mut expanded = cuda.expand(&model, Whole::ALL, &[]).expect("known sizes");
    // A backend that promises more than it has.
    expanded.abilities.roles = vec![Some(Role::Pointwise); 2];
    form(&mut expanded.model, &expanded.abilities, &Fusions::all(), &Device::h200());
    let refused = cuda.listing(&expanded).expect_err("products have no rows").to_string();
    assert!(refused.contains("region `pointwise_0`") && refused.contains("B0310"), "{refused}");
}

#[test]
fn every_kernel_of_the_models_compiles() {
    let sources = sources();
    assert!(sources.len() > 20, "{}", sources.len());
    if !Library::Nvrtc.is_present() {
        println!("NVRTC is absent: {} kernels were generated and none was compiled", sources.len());
        return;
    }
    // Kernels of one model are much alike: each is compiled for one architecture, all three in turn.
    let work: Vec<(&String, usize)> = sources.iter().zip([80, 90, 120].into_iter().cycle()).collect();
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for share in work.chunks(work.len().div_ceil(n_threads)) {
            scope.spawn(move || {
                for (source, architecture) in share {
                    if let Err(problem) = compile(source, *architecture) {
                        panic!("sm_{architecture}: {problem:?}\n{source}");
                    }
                }
            });
        }
    });
    println!("{} kernels compiled, for sm_80, sm_90 or sm_120", sources.len());
}
