//! Operators of ONNX Runtime's own, written in standard ones: what its optimizer leaves can be compared, and run elsewhere.
//!
//! Their definitions are in `docs/ContribOperators.md` of ONNX Runtime. A call in a form that is not known here stays.

mod experts;

use crate::dce::sweep;
use crate::rewire::{bodies_of, call, replace_value};
use eutectic_ir::graph::{Graph, Node, NodeId, Op, ValueId};
use eutectic_ir::{Attr, Model, Tensor, infer};

/// Replaces calls of ONNX Runtime's own operators, in bodies of control flow too; the number of calls replaced.
pub fn in_standard_operators(model: &mut Model) -> usize {
    let mut n_replaced = 0;
    loop {
        // What reads the result of such a call has no type before the call is replaced.
        infer::infer(model);
        let n_new = replace_calls(&mut model.graph);
        if n_new == 0 {
            return n_replaced;
        }
        n_replaced += n_new;
    }
}

fn replace_calls(graph: &mut Graph) -> usize {
    let is_opaque = |(id, node): (NodeId, &Node)| matches!(node.op, Op::Opaque(_)).then_some(id);
    let ids: Vec<NodeId> = graph.nodes().filter_map(is_opaque).collect();
    let mut n_replaced = 0;
    for id in ids {
        let node = graph.node(id).clone();
        let Some(results) = standard_form(graph, &node) else { continue };
        for (&old, new) in node.outputs().iter().zip(results) {
            if let Some(new) = new {
                replace_value(graph, old, new);
            }
        }
        n_replaced += usize::from(graph.remove_node(id).is_ok());
    }
    // A form that turned out to be unknown half way leaves what nobody reads.
    sweep(graph);
    bodies_of(graph, &mut |body| n_replaced += replace_calls(body));
    n_replaced
}

/// Values that are equal to the results of `node`, by position; the others are not read.
fn standard_form(graph: &mut Graph, node: &Node) -> Option<Vec<Option<ValueId>>> {
    let input = |at: usize| node.input(at);
    let x = input(0)?;
    let result = match (node.op.domain(), node.op.name()) {
        ("com.microsoft", "FusedConv") => {
            let names = ["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"];
            let conv = call(graph, "Conv", given(node, &names), [Some(x), input(1), input(2)])?;
            let sum = added(graph, conv, input(3))?;
            let params = match node.attrs.get("activation_params") {
                Some(Attr::Floats(params)) => params.to_vec(),
                _ => Vec::new(),
            };
            activated(graph, sum, node, &params)?
        }
        ("com.microsoft", "FusedGemm") => {
            let gemm = call(
                graph,
                "Gemm",
                given(node, &["alpha", "beta", "transA", "transB"]),
                [Some(x), input(1), input(2)],
            )?;
            let names = ["activation_alpha", "activation_beta"];
            let params: Vec<f32> = names.iter().map_while(|name| node.attrs.float(name)).collect();
            activated(graph, gemm, node, &params)?
        }
        ("com.microsoft", "FusedMatMul") => {
            let is_set = |name: &str| node.attrs.int(name).unwrap_or(0) != 0;
            if is_set("transBatchA") || is_set("transBatchB") {
                return None;
            }
            let a = if is_set("transA") { transposed(graph, x)? } else { x };
            let b = if is_set("transB") { transposed(graph, input(1)?)? } else { input(1)? };
            let product = call(graph, "MatMul", [], [Some(a), Some(b)])?;
            scaled(graph, product, node.attrs.float("alpha").unwrap_or(1.0))?
        }
        ("com.microsoft", "Gelu") => call(graph, "Gelu", [], [Some(x)])?,
        ("com.microsoft", "BiasGelu") => {
            let sum = added(graph, x, input(1))?;
            call(graph, "Gelu", [], [Some(sum)])?
        }
        ("com.microsoft", "FastGelu") => {
            let sum = added(graph, x, input(1))?;
            call(graph, "Gelu", [("approximate", Attr::String("tanh".into()))], [Some(sum)])?
        }
        ("com.microsoft", "MoE") => experts::mixture(graph, node)?,
        ("com.microsoft", "QuickGelu") => {
            let inner = scaled(graph, x, node.attrs.float("alpha").unwrap_or(1.702))?;
            let gate = call(graph, "Sigmoid", [], [Some(inner)])?;
            call(graph, "Mul", [], [Some(x), Some(gate)])?
        }
        ("", "SimplifiedLayerNormalization") => {
            let attrs = given(node, &["axis", "epsilon", "stash_type"]);
            call(graph, "RMSNormalization", attrs, [Some(x), input(1)])?
        }
        ("com.microsoft", "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization") => {
            // Mean and deviation are results as well, which nobody asks for but in training.
            let is_read = |at: usize| node.outputs().get(at).is_some_and(|&value| graph.value(value).uses().len() > 0);
            if is_read(1) || is_read(2) {
                return None;
            }
            let is_simple = node.op.name().starts_with("SkipSimplified");
            let (shift, bias) = if is_simple { (None, input(3)) } else { (input(3), input(4)) };
            let sum = added(graph, x, input(1))?;
            let sum = added(graph, sum, bias)?;
            let attrs = given(node, &["epsilon"]);
            let normal = match is_simple {
                true => call(graph, "RMSNormalization", attrs, [Some(sum), input(2)])?,
                false => call(graph, "LayerNormalization", attrs, [Some(sum), input(2), shift])?,
            };
            return Some(vec![Some(normal), None, None, Some(sum)]);
        }
        _ => return None,
    };
    Some(vec![Some(result)])
}

/// Those of the attributes `names` that the call has.
fn given(node: &Node, names: &[&'static str]) -> Vec<(&'static str, Attr)> {
    names.iter().filter_map(|&name| Some((name, node.attrs.get(name)?.clone()))).collect()
}

fn added(graph: &mut Graph, x: ValueId, y: Option<ValueId>) -> Option<ValueId> {
    match y {
        None => Some(x),
        Some(y) => call(graph, "Add", [], [Some(x), Some(y)]),
    }
}

fn scaled(graph: &mut Graph, x: ValueId, factor: f32) -> Option<ValueId> {
    if factor == 1.0 {
        return Some(x);
    }
    let factor = constant(graph, x, factor)?;
    call(graph, "Mul", [], [Some(x), Some(factor)])
}

/// `number` in the element type of `x`.
fn constant(graph: &mut Graph, x: ValueId, number: f32) -> Option<ValueId> {
    let tensor = Tensor::full(graph.ty(x)?.element, &[], f64::from(number)).ok()?;
    Some(graph.add_weight("", tensor))
}

/// `x` with its last two axes exchanged.
fn transposed(graph: &mut Graph, x: ValueId) -> Option<ValueId> {
    let rank = graph.ty(x)?.rank();
    let mut perm: Vec<i64> = (0..rank as i64).collect();
    perm.swap(rank.checked_sub(2)?, rank - 1);
    call(graph, "Transpose", [("perm", Attr::Ints(perm.into()))], [Some(x)])
}

/// The activation that the call names, of `x`.
fn activated(graph: &mut Graph, x: ValueId, node: &Node, params: &[f32]) -> Option<ValueId> {
    let attr = |at: usize| params.get(at).copied().map(Attr::Float);
    match node.attrs.string("activation").unwrap_or_default() {
        "" => Some(x),
        name @ ("Relu" | "Tanh" | "Sigmoid") => call(graph, name, [], [Some(x)]),
        "LeakyRelu" => call(graph, "LeakyRelu", [("alpha", attr(0)?)], [Some(x)]),
        "HardSigmoid" => call(graph, "HardSigmoid", [("alpha", attr(0)?), ("beta", attr(1)?)], [Some(x)]),
        "Clip" => {
            let (least, most) = (constant(graph, x, *params.first()?)?, constant(graph, x, *params.get(1)?)?);
            call(graph, "Clip", [], [Some(x), Some(least), Some(most)])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::operators;
    use eutectic_ir::eval::run_model;
    use eutectic_ir::text::parse_model;

    fn parsed(text: &str) -> Model {
        let text = format!("<ir_version: 10, opset_import: [\"\": 20, \"com.microsoft\": 1]>\n{text}");
        parse_model(&text).unwrap_or_else(|problems| panic!("{problems}")).0
    }

    #[test]
    fn fused_calls_are_what_they_were_fused_of() {
        for (fused, standard) in [
            (
                "y = com.microsoft.FusedMatMul <alpha: float = 0.5, transB: int = 1> (a, b)",
                "t = Transpose <perm = [0, 2, 1]> (b) p = MatMul (a, t) h = Constant <value_float: float = 0.5> () y = Mul (p, h)",
            ),
            (
                "y = com.microsoft.SkipLayerNormalization <epsilon: float = 0.01> (a, b, g, g)",
                "s = Add (a, b) y = LayerNormalization <axis = -1, epsilon = 0.01> (s, g, g)",
            ),
            (
                "n, _m, _d, s = com.microsoft.SkipSimplifiedLayerNormalization <epsilon: float = 0.01> (a, b, g) y = Add (n, s)",
                "s = Add (a, b) n = RMSNormalization <epsilon = 0.01> (s, g) y = Add (n, s)",
            ),
            (
                "y = com.microsoft.QuickGelu <alpha: float = 2.0> (a)",
                "two = Constant <value_float: float = 2.0> () i = Mul (a, two) s = Sigmoid (i) y = Mul (a, s)",
            ),
            ("y = com.microsoft.BiasGelu (a, g)", "s = Add (a, g) y = Gelu (s)"),
            ("y = com.microsoft.FastGelu (a)", "y = Gelu <approximate = \"tanh\"> (a)"),
        ] {
            let model = |body: &str| {
                parsed(&format!("agraph (float[2,3,3] a, float[2,3,3] b, float[3] g) => (float[2,3,3] y) {{ {body} }}"))
            };
            let (mut written, expected) = (model(fused), model(standard));
            assert_eq!(in_standard_operators(&mut written), 1, "{fused}");
            assert!(written.graph.nodes().all(|(_, node)| node.op.builtin().is_some()), "{}", operators(&written));
            let numbers = |seed: usize, n: usize| {
                (0..n).map(|at| ((at * 7 + seed * 5) % 11) as f64 * 0.25 - 1.0).collect::<Vec<_>>()
            };
            let inputs = [(&[2, 3, 3][..], 18), (&[2, 3, 3], 18), (&[3], 3)]
                .iter()
                .enumerate()
                .map(|(seed, (shape, n))| {
                    Tensor::from_f64s(eutectic_ir::Element::Float, shape, &numbers(seed, *n)).ok()
                })
                .collect::<Vec<_>>();
            let run = |model: &Model| {
                let outputs = run_model::<f64>(model, &inputs).unwrap_or_else(|error| panic!("{fused}: {error}"));
                outputs[0].real().expect("reals").to_vec()
            };
            assert_eq!(run(&written), run(&expected), "{fused}");
        }
    }

    #[test]
    fn a_mixture_is_the_weighted_sum_of_the_experts_that_are_chosen() {
        let numbers = |seed: usize, n: usize| -> Vec<f64> {
            (0..n).map(|at| ((at * 7 + seed * 5) % 11) as f64 * 0.25 - 1.0).collect()
        };
        let (x, scores, fc1, fc2) = (numbers(0, 6), numbers(1, 9), numbers(2, 12), numbers(3, 12));
        let tensor =
            |shape: &[usize], values: &[f64]| Tensor::from_f64s(eutectic_ir::Element::Float, shape, values).ok();
        let inputs =
            [tensor(&[3, 2], &x), tensor(&[3, 3], &scores), tensor(&[3, 2, 2], &fc1), tensor(&[3, 2, 2], &fc2)];
        let product = |matrix: &[f64], vector: [f64; 2]| {
            [0, 1].map(|row| matrix[2 * row] * vector[0] + matrix[2 * row + 1] * vector[1])
        };
        for is_normalized in [false, true] {
            let mut model = parsed(&format!(
                "agraph (float[3,2] x, float[3,3] s, float[3,2,2] a, float[3,2,2] b) => (float[3,2] y) {{
                    y = com.microsoft.MoE <k: int = 2, normalize_routing_weights: int = {}> (x, s, a, , b)
                }}",
                i32::from(is_normalized)
            ));
            assert_eq!(in_standard_operators(&mut model), 1);
            let outputs = run_model::<f64>(&model, &inputs).unwrap_or_else(|error| panic!("{error}"));
            let found = outputs[0].real().expect("reals").to_vec();
            for token in 0..3 {
                let powers: Vec<f64> = scores[3 * token..3 * token + 3].iter().map(|score| score.exp()).collect();
                let mut chosen = vec![0, 1, 2];
                chosen.sort_by(|&a: &usize, &b: &usize| powers[b].total_cmp(&powers[a]));
                chosen.truncate(2);
                let among: &[usize] = if is_normalized { &chosen } else { &[0, 1, 2] };
                let total: f64 = among.iter().map(|&expert| powers[expert]).sum();
                for column in 0..2 {
                    let of_expert = |&expert: &usize| {
                        let weights = |all: &[f64]| all[4 * expert..4 * expert + 4].to_vec();
                        let hidden =
                            product(&weights(&fc1), [x[2 * token], x[2 * token + 1]]).map(|value| value.max(0.0));
                        powers[expert] / total * product(&weights(&fc2), hidden)[column]
                    };
                    let expected: f64 = chosen.iter().map(of_expert).sum();
                    let got = found[2 * token + column];
                    assert!((got - expected).abs() < 1e-6, "token {token}: {got}, expected {expected}");
                }
            }
        }
    }

    #[test]
    fn a_form_that_is_not_known_stays() {
        let mut model = parsed(
            "agraph (float[2,3] a, float[2,3] b) => (float[2,3] y) { y = com.microsoft.FusedMatMul <transBatchA: int = 1> (a, b) }",
        );
        assert_eq!(in_standard_operators(&mut model), 0);
        assert_eq!(model.graph.n_nodes(), 1);
    }
}
