//! Certificates without rounding: every optimized model has one, and no broken one.

use eutectic::certificate::exact::{Exact, Folded, Verdict, certify};
use eutectic::inputs::Sizes;
use eutectic::ir::eval::run_model;
use eutectic::ir::graph::{Def, NodeId, ValueId};
use eutectic::ir::infer::infer;
use eutectic::ir::text::parse_model;
use eutectic::ir::{Attr, Model, Tensor};
use eutectic::passes::optimize::{Options, optimize};
use eutectic::passes::pass::Computed;
use eutectic::passes::target::Target;

const CONVOLUTIONS: &str = r#"<ir_version: 10, opset_import: ["" : 20]>
convolutions (float[1,3,9,8] x) => (float[1,5] y) <
    float[8,3,3,3] w1 = ["location": "seed:1", "low": "-0.5", "high": "0.5"],
    float[8] gain = ["location": "seed:2", "low": "0.5", "high": "1.5"],
    float[8] shift = ["location": "seed:3", "low": "-0.5", "high": "0.5"],
    float[8] mean = ["location": "seed:4", "low": "-0.5", "high": "0.5"],
    float[8] variance = ["location": "seed:5", "low": "0.5", "high": "1.5"],
    float[8,1,3,3] w2 = ["location": "seed:6", "low": "-0.5", "high": "0.5"],
    float[8] b2 = ["location": "seed:7", "low": "-0.5", "high": "0.5"],
    float three = {3}, float zero = {0}, float six = {6},
    float[5,8] w3 = ["location": "seed:8", "low": "-0.5", "high": "0.5"],
    float[5] b3 = ["location": "seed:9", "low": "-0.5", "high": "0.5"]
> {
    c1 = Conv <pads: ints = [1,1,1,1], strides: ints = [2,1]> (x, w1)
    n1 = BatchNormalization <epsilon: float = 0.001> (c1, gain, shift, mean, variance)
    r1 = Relu (n1)
    m1 = MaxPool <kernel_shape: ints = [2,2]> (r1)
    c2 = Conv <group: int = 8, pads: ints = [1,1,1,1]> (m1, w2, b2)
    p2 = Add (c2, three)
    q2 = Clip (p2, zero, six)
    h2 = Mul (c2, q2)
    s2 = Div (h2, six)
    a2 = AveragePool <kernel_shape: ints = [2,2], pads: ints = [1,1,0,0]> (s2)
    t2 = Add (a2, m1)
    g2 = GlobalAveragePool (t2)
    f2 = Flatten (g2)
    y = Gemm <transB: int = 1> (f2, w3, b3)
}"#;

const ATTENTION: &str = r#"<ir_version: 10, opset_import: ["" : 18]>
attention (int64[1,6] ids, float[1,1,1,6] mask) => (float[1,6,8] y) <
    float[11,8] table = ["location": "seed:1", "low": "-1", "high": "1"],
    float[8] scale = ["location": "seed:2", "low": "0.5", "high": "1.5"],
    float[8] shift = ["location": "seed:3", "low": "-0.5", "high": "0.5"],
    float[8,8] wq = ["location": "seed:4", "low": "-1", "high": "1"],
    float[8,8] wk = ["location": "seed:5", "low": "-1", "high": "1"],
    float[8,8] wv = ["location": "seed:6", "low": "-1", "high": "1"],
    float[8] bq = ["location": "seed:7", "low": "-1", "high": "1"],
    float[8] bv = ["location": "seed:8", "low": "-1", "high": "1"],
    float[8,32] up = ["location": "seed:9", "low": "-1", "high": "1"],
    float[32,8] down = ["location": "seed:10", "low": "-1", "high": "1"],
    float root = {0.70710677}, float half = {0.5}, float one = {1}, float wide = {1.4142135}, float two = {2},
    float epsilon = {1e-6}, int64[4] heads = {1,6,2,4}, int64[3] flat = {1,6,8}, int64[1] last = {-1}
> {
    e = Gather (table, ids)
    n = LayerNormalization <epsilon: float = 1e-5> (e, scale, shift)
    q0 = MatMul (n, wq)
    q1 = Add (q0, bq)
    k0 = MatMul (n, wk)
    v0 = MatMul (n, wv)
    v1 = Add (v0, bv)
    q2 = Reshape (q1, heads)
    k2 = Reshape (k0, heads)
    v2 = Reshape (v1, heads)
    q = Transpose <perm: ints = [0,2,1,3]> (q2)
    k = Transpose <perm: ints = [0,2,3,1]> (k2)
    v = Transpose <perm: ints = [0,2,1,3]> (v2)
    qs = Mul (q, root)
    ks = Mul (k, root)
    scores = MatMul (qs, ks)
    masked = Add (scores, mask)
    shares = Softmax <axis: int = -1> (masked)
    o = MatMul (shares, v)
    o2 = Transpose <perm: ints = [0,2,1,3]> (o)
    o3 = Reshape (o2, flat)
    r = Add (o3, e)
    squares = Pow (r, two)
    square = ReduceMean <keepdims: int = 1> (squares, last)
    sum = Add (square, epsilon)
    deviation = Sqrt (sum)
    normal = Div (r, deviation)
    scaled = Mul (normal, scale)
    u = MatMul (scaled, up)
    ud = Div (u, wide)
    ue = Erf (ud)
    us = Add (ue, one)
    um = Mul (u, us)
    g = Mul (um, half)
    d = MatMul (g, down)
    y = Add (d, r)
}"#;

fn parsed(text: &str) -> Model {
    let (mut model, _) = parse_model(text).unwrap_or_else(|problems| panic!("{problems}"));
    infer(&mut model);
    model
}

fn optimized(model: &Model) -> (Model, Vec<Computed>) {
    let mut copy = model.clone();
    let options = Options::standard(Target::Portable).unwrap_or_else(|problems| panic!("{problems}")).admitting(model);
    let report =
        optimize(&mut copy, &Options { record: true, ..options }).unwrap_or_else(|problems| panic!("{problems}"));
    (copy, report.passes.into_iter().flat_map(|pass| pass.change.computed).collect())
}

fn judged(before: &Model, after: &Model, folded: Folded<'_>) -> Exact {
    certify(before, after, folded, &Sizes::all(1), 0).unwrap_or_else(|problems| panic!("{problems}"))
}

fn assert_certified(name: &str, model: &Model) {
    let (after, computed) = optimized(model);
    let found = judged(model, &after, Folded::Recorded(&computed));
    assert_eq!(found.verdict, Verdict::Equal, "{name}: {found:?}");
    assert!(found.bound < 1e-6 && found.weights.worst_folding < 1e-5, "{name}: {found:?}");
    assert!(found.weights.unmatched.is_empty(), "{name}: {found:?}");
}

#[test]
fn what_the_rules_make_of_small_models_is_certified() {
    for (name, text) in [("convolutions", CONVOLUTIONS), ("attention", ATTENTION)] {
        assert_certified(name, &parsed(text));
    }
}

#[test]
fn what_the_rules_make_of_whole_networks_is_certified() {
    for name in ["squeezenet1_1_dy18", "mobilenet_v3_large_dy18"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("papers/models/{name}.onnxtxt"));
        assert_certified(name, &parsed(&std::fs::read_to_string(path).expect("a committed model")));
    }
}

/// The ways in which one value of a call can be a little wrong.
fn neighbours(attr: &Attr) -> Vec<Attr> {
    match attr {
        Attr::Int(value) => vec![Attr::Int(value + 1), Attr::Int(value - 1)],
        Attr::Float(value) => vec![Attr::Float(value * 1.001 + 1e-6)],
        Attr::Ints(values) => (0..values.len())
            .flat_map(|at| {
                [1, -1].map(|step| {
                    Attr::Ints(
                        values
                            .iter()
                            .enumerate()
                            .map(|(k, value)| if k == at { value + step } else { *value })
                            .collect(),
                    )
                })
            })
            .chain((values.len() > 1).then(|| Attr::Ints(values.iter().rev().copied().collect())))
            .collect(),
        Attr::String(value) => ["none", "tanh"]
            .into_iter()
            .filter(|other| *other != value.as_str())
            .map(|other| Attr::String(other.into()))
            .collect(),
        _ => Vec::new(),
    }
}

/// `tensor` with one element moved by a unit of single precision, for the first and the last one; or with two changed places.
fn nearby(tensor: &Tensor) -> Vec<Tensor> {
    let (Some(values), true) = (tensor.to_f64s(), tensor.element().is_real()) else { return Vec::new() };
    let with = |change: &dyn Fn(&mut Vec<f64>)| {
        let mut changed = values.clone();
        change(&mut changed);
        Tensor::from_f64s(tensor.element(), tensor.shape(), &changed).ok().filter(|changed| changed != tensor)
    };
    let up = |x: f64| f64::from(f32::from_bits((x as f32).to_bits() + 1));
    let n = values.len();
    // A constant is what is meant by it: a unit more does not change that.
    let step = |at: usize| {
        move |values: &mut Vec<f64>| values[at] = if n == 1 { values[at] * 1.001 + 1e-3 } else { up(values[at]) }
    };
    [with(&step(0)), with(&step(n - 1)), with(&|values| values.swap(0, n - 1))].into_iter().flatten().collect()
}

/// Every model that differs from `model` in one attribute, operand or weight, with what was changed.
fn mutants(model: &Model) -> Vec<(String, Model)> {
    let mut mutants = Vec::new();
    let mut add = |what: String, change: &dyn Fn(&mut Model)| {
        let mut mutant = model.clone();
        change(&mut mutant);
        mutants.push((what, mutant));
    };
    let ids: Vec<NodeId> = model.graph.nodes().map(|(id, _)| id).collect();
    for id in ids {
        let node = model.graph.node(id);
        for (name, attr) in node.attrs.iter() {
            for other in neighbours(attr) {
                add(format!("{}: {name} = {other:?}", node.op), &|mutant| {
                    mutant.graph.node_mut(id).attrs.set(name.clone(), other.clone())
                });
            }
        }
        let inputs: Vec<Option<ValueId>> = node.inputs().to_vec();
        for at in 1..inputs.len() {
            add(format!("{}: operands {} and {at} swapped", node.op, at - 1), &|mutant| {
                mutant.graph.set_input(id, at - 1, inputs[at]);
                mutant.graph.set_input(id, at, inputs[at - 1]);
            });
            add(format!("{}: operand {at} dropped", node.op), &|mutant| mutant.graph.set_input(id, at, None));
        }
        // What is read instead of the result of a call: its first operand.
        if let Some(input) = inputs.first().copied().flatten() {
            let output = node.output();
            add(format!("{} left out", node.op), &|mutant| mutant.graph.replace_uses(output, input));
        }
    }
    let weights: Vec<(ValueId, Tensor)> = model
        .graph
        .values()
        .filter_map(|(id, value)| match value.def() {
            Def::Weight(tensor) => Some((id, tensor.clone())),
            _ => None,
        })
        .collect();
    for (id, tensor) in weights {
        let name = model.graph.value(id).name.clone();
        for (at, other) in nearby(&tensor).into_iter().enumerate() {
            add(format!("weight `{name}`, change {at}"), &|mutant| {
                mutant.graph.set_weight(id, other.clone()).expect("a weight");
            });
        }
    }
    mutants
}

/// Inputs on which wrong results show.
fn telling_inputs(model: &Model) -> Vec<Option<Tensor>> {
    eutectic::inputs::seeded(model, &Sizes::all(1), 7).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn a_broken_model_is_never_certified() {
    for (name, text) in [("convolutions", CONVOLUTIONS), ("attention", ATTENTION)] {
        let model = parsed(text);
        let (after, computed) = optimized(&model);
        let inputs = telling_inputs(&model);
        let results = |model: &Model| {
            let run = run_model::<f64>(model, &inputs).ok()?;
            Some(
                run.iter()
                    .map(|datum| (datum.shape.clone(), datum.real().map(<[f64]>::to_vec).ok()))
                    .collect::<Vec<_>>(),
            )
        };
        let expected = results(&after);
        let (mut n_refused, mut n_same) = (0, 0);
        for (what, mut mutant) in mutants(&after) {
            infer(&mut mutant);
            if judged(&model, &mutant, Folded::Recorded(&computed)).verdict != Verdict::Equal {
                n_refused += 1;
                continue;
            }
            // Not every change is one: the order of the operands of a sum, an attribute that is not read. What does not run is
            // refused elsewhere.
            if let Some(found) = results(&mutant) {
                assert_eq!(Some(found), expected, "{name}: {what}");
                n_same += 1;
            }
        }
        assert!(n_refused > 60 && n_same * 4 < n_refused, "{name}: {n_refused} refused, {n_same} the same");
    }
}

#[test]
fn a_folding_that_another_tool_did_is_recognised() {
    let model = parsed(CONVOLUTIONS);
    let (after, computed) = optimized(&model);
    // The same weights, rounded a little differently, with nothing said of their origin.
    let mut other = after.clone();
    let filters: Vec<(ValueId, Tensor)> = after
        .graph
        .values()
        .filter_map(|(id, value)| match value.def() {
            Def::Weight(tensor) if tensor.shape() == [8, 3, 3, 3] => Some((id, tensor.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(filters.len(), 1, "the filters with the normalization in them");
    let (id, tensor) = &filters[0];
    let values: Vec<f64> = tensor.to_f64s().expect("real").iter().map(|x| x * (1.0 + 1e-7)).collect();
    let rounded = Tensor::from_f64s(tensor.element(), tensor.shape(), &values).expect("counted");
    assert_ne!(&rounded, tensor);
    other.graph.set_weight(*id, rounded).expect("a weight");
    assert_eq!(judged(&model, &other, Folded::Guessed(&computed)).verdict, Verdict::Equal);
    let alone = judged(&model, &other, Folded::Recorded(&computed));
    assert_eq!(alone.verdict, Verdict::Different);
    assert!(!alone.weights.unmatched.is_empty());
}

/// What `eutectic certify tests/certify/original.onnxtxt AFTER --json` says, and its exit code.
fn certified(after: &std::path::Path) -> (serde_json::Value, Option<i32>) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certify");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_eutectic"))
        .args(["--json".as_ref(), "certify".as_ref(), folder.join("original.onnxtxt").as_os_str(), after.as_os_str()])
        .output()
        .expect("the program starts");
    let found = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (found, output.status.code())
}

#[test]
fn what_other_optimizers_made_is_certified_and_what_they_might_have_broken_is_not() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certify");
    // onnxsim 0.8.1 folded the normalization and the shape; ONNX Runtime 1.32 used an operator of its own besides.
    for (name, n_respelled) in [("onnxsim", 0), ("onnxruntime", 1)] {
        let path = folder.join(format!("{name}.onnxtxt"));
        let (found, code) = certified(&path);
        assert_eq!((code, &found["exact"]["verdict"]), (Some(0), &"equal".into()), "{name}: {found}");
        assert_eq!(found["respelled"], n_respelled, "{name}");
        assert_eq!((&found["exact"]["weights"]["folded"], &found["not_run"]), (&2.into(), &serde_json::Value::Null));
        let broken = tempfile::Builder::new().suffix(".onnxtxt").tempfile().expect("a file");
        let text = std::fs::read_to_string(&path).expect("a committed model");
        for (from, to, expected) in [
            ("pads = [1, 1, 1, 1]", "pads = [0, 0, 0, 0]", 1),
            // A weight that matches nothing may have been computed in a way that is not known here.
            ("{0.3570456,", "{0.35706,", 3),
            ("GlobalAveragePool (r)", "other.Pool (r)", 3),
        ] {
            std::fs::write(broken.path(), text.replace(from, to).replace("\"\": 17", "\"\": 17, \"other\": 1"))
                .expect("written");
            let (found, code) = certified(broken.path());
            assert_eq!(code, Some(expected), "{name}, {to}: {found}");
            assert_ne!(found["exact"]["verdict"], "equal", "{name}, {to}");
        }
        // What is not covered is named.
        let (found, _) = certified(broken.path());
        assert!(
            found["exact"]["reason"].as_str().is_some_and(|reason| reason.contains("other.Pool (1 calls")),
            "{found}"
        );
        assert!(found["not_run"].as_str().is_some_and(|why| why.contains("B0101")), "{found}");
    }
}
