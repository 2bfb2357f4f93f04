//! What the greedy engine finds, though no single step leads there.

use eutectic_ir::text::parse_model;
use eutectic_passes::optimize::{Engine, Options, optimize};
use eutectic_passes::target::Target;
use std::collections::BTreeMap;
use std::fmt::Write;

/// How often each operator is called in what the engine makes of `graph`.
fn rewritten(graph: &str) -> BTreeMap<String, usize> {
    let source = format!("<ir_version: 10, opset_import: [\"\": 20]>\n{graph}");
    let mut model = parse_model(&source).unwrap_or_else(|problems| panic!("{problems}")).0;
    let standard = Options::standard(Target::Portable).unwrap_or_else(|problems| panic!("{problems}"));
    let options = Options { engine: Engine::Greedy, ..standard };
    optimize(&mut model, &options).unwrap_or_else(|problems| panic!("{problems}"));
    let mut counts = BTreeMap::new();
    for (_, node) in model.graph.nodes() {
        *counts.entry(node.op.to_string()).or_default() += 1;
    }
    counts
}

#[test]
fn a_fused_function_does_not_hide_what_it_is_part_of() {
    // The cast hides attention in the first sweep, and a transposed product would hide it in every later one.
    let found = rewritten(
        "g (float[2,4,8,16] q, float[2,4,8,16] k, float[2,4,8,16] v, float[8,8] mask) => (float[2,4,8,16] y) <float scale = {0.25}> {
            t = Transpose <perm = [0, 1, 3, 2]> (k)
            s = MatMul (q, t)
            c = Cast <to = 1> (s)
            m = Mul (c, scale)
            a = Add (m, mask)
            p = Softmax <axis = 3> (a)
            y = MatMul (p, v)
        }",
    );
    assert_eq!(found, BTreeMap::from([("Attention".to_owned(), 1)]));
}

/// Rotary embeddings of `n` values whose cosines and sines are exported once for all, as in a decoder of symbolic length.
fn rotary(n: usize) -> String {
    let (mut inputs, mut outputs, mut calls) = (String::new(), String::new(), String::new());
    for at in 0..n {
        let separator = if at == 0 { "" } else { ", " };
        let _ = write!(inputs, ", float[batch,4,sequence,64] x{at}");
        let _ = write!(outputs, "{separator}float[batch,4,sequence,64] y{at}");
        let _ = write!(
            calls,
            "low{at}, high{at} = Split <axis = 3> (x{at}, sizes)
            minus{at} = Neg (high{at})
            turned{at} = Concat <axis = 3> (minus{at}, low{at})
            along{at} = Mul (x{at}, c)
            across{at} = Mul (turned{at}, s)
            y{at} = Add (along{at}, across{at})
            "
        );
    }
    format!(
        "g (float[1,sequence,32] angle{inputs}) => ({outputs}) <int64[2] sizes = {{32, 32}}, int64[1] one = {{1}}> {{
            w = Concat <axis = 2> (angle, angle)
            cosine = Cos (w)
            sine = Sin (w)
            c = Unsqueeze (cosine, one)
            s = Unsqueeze (sine, one)
            {calls}
        }}"
    )
}

#[test]
fn what_several_share_pays_together() {
    // A rotary embedding takes cosines and sines of half the size, for each batch: the first one alone would pay for all of them.
    for n in [2, 4] {
        let found = rewritten(&rotary(n));
        let count = |op: &str| found.get(op).copied().unwrap_or(0);
        let counts = ["RotaryEmbedding", "Cos", "Sin", "Expand", "Split", "Add"].map(count);
        assert_eq!(counts, [n, 1, 1, 1, 0, 0], "{found:?}");
    }
}
