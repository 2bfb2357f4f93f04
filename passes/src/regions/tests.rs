use super::*;
use crate::testing::{assert_same, call, drawn, graph_of, model_of};
use eutectic_ir::graph::{Graph, Op, ValueId};
use eutectic_ir::region::{Epilogues, Limits};
use eutectic_ir::{Attr, Element, Name, Tensor, infer, verify};

const LIMITS: Limits = Limits { calls: 48, operands: 48, columns: 16 << 10, processors: 132, float_bytes: 4 };

/// What a simple backend says of `model`: the calls of `groups`, by position, stem from fused functions of these names.
fn abilities(model: &Model, groups: &[(&str, &[usize])]) -> Abilities {
    let graph = &model.graph;
    let is_dequantized = |value: Option<ValueId>| {
        value.and_then(|id| graph.producer(id)).is_some_and(|(id, _)| graph.node(id).op.is("DequantizeLinear"))
    };
    let role = |node: &eutectic_ir::Node, rank: usize| match node.op.name() {
        "Add" | "Mul" | "Relu" | "Exp" | "Neg" | "Cast" => Some(Role::Pointwise),
        "QuantizeLinear" | "DequantizeLinear" => Some(Role::Pointwise),
        "Softmax" => Some(Role::Row { columns: vec![rank - 1], reduces: false }),
        "ReduceMean" => Some(Role::Row { columns: vec![rank - 1], reduces: true }),
        "Gather" => Some(Role::Lookup),
        "MatMul" => Some(Role::Anchor(Epilogues {
            bias: true,
            residual: true,
            activations: &["Relu"],
            elementwise: false,
            dequantizes: (0..2).all(|slot| is_dequantized(node.input(slot))),
            takes_shortcut: !(0..2).any(|slot| is_dequantized(node.input(slot))),
            is_shortcut: !(0..2).any(|slot| is_dequantized(node.input(slot))),
            begins_chain: false,
            ends_chain: false,
        })),
        "Conv" => Some(Role::Anchor(Epilogues {
            bias: false,
            residual: true,
            activations: &["Relu"],
            elementwise: false,
            dequantizes: false,
            takes_shortcut: false,
            is_shortcut: false,
            begins_chain: true,
            ends_chain: true,
        })),
        _ => None,
    };
    let rank = |node: &eutectic_ir::Node| node.input(0).and_then(|id| graph.ty(id)).map_or(0, |ty| ty.rank());
    let mut origin_of = vec![None; graph.node_bound()];
    for (number, (_, members)) in groups.iter().enumerate() {
        members.iter().for_each(|&at| origin_of[at] = Some(number));
    }
    Abilities {
        roles: graph.nodes().map(|(_, node)| role(node, rank(node))).collect(),
        origin_of,
        origins: groups.iter().map(|(name, _)| Name::from(*name)).collect(),
        limits: LIMITS,
    }
}

/// The kernels of `graph` with `fusions`, in order: the operators of each. Checks that the model still computes the same.
fn kernels(graph: Graph, outputs: &[ValueId], groups: &[(&str, &[usize])], fusions: &str) -> Vec<String> {
    let mut graph = graph;
    for (at, &output) in outputs[1..].iter().enumerate() {
        graph.add_output(format!("z{at}"), output);
    }
    let mut model = model_of(graph, outputs[0]);
    infer::infer(&mut model);
    let before = model.clone();
    let names: Vec<String> = fusions.split(',').map(str::to_owned).collect();
    form(&mut model, &abilities(&before, groups), &Fusions::of(&names), &Device::h200());
    let problems = verify::verify(&model);
    assert!(!problems.has_errors(), "{problems}");
    assert_same(&before, &model, 4);
    let listed = |op: &Op| match op {
        Op::Function(function) => {
            let body: Vec<&str> = function.body.nodes().map(|(_, node)| node.op.name()).collect();
            let made_by = function.name.rsplit_once('_').map_or("", |(made_by, _)| made_by);
            format!("{made_by}: {}", body.join(" "))
        }
        op => op.name().to_owned(),
    };
    model.graph.nodes().map(|(_, node)| listed(&node.op)).collect()
}

#[test]
fn a_chain_is_one_kernel_and_nothing_in_it_reaches_memory() {
    let (mut graph, x) = graph_of(&["4", "8"]);
    let a = call(&mut graph, "Relu", &[], &[x]);
    let b = call(&mut graph, "Exp", &[], &[a]);
    let c = call(&mut graph, "Add", &[], &[b, a]);
    assert_eq!(kernels(graph.clone(), &[c], &[], "all"), ["pointwise: Relu Exp Add"]);
    assert_eq!(kernels(graph.clone(), &[c], &[], "none"), ["Relu", "Exp", "Add"]);
    assert_eq!(kernels(graph, &[c], &[], "rows"), ["Relu", "Exp", "Add"]);
}

#[test]
fn rows_take_the_elementwise_calls_around_them() {
    let (mut graph, x) = graph_of(&["4", "8"]);
    let a = call(&mut graph, "Exp", &[], &[x]);
    let b = call(&mut graph, "Softmax", &[("axis", Attr::Int(-1))], &[a]);
    let c = call(&mut graph, "Add", &[], &[b, x]);
    let d = call(&mut graph, "Neg", &[], &[c]);
    assert_eq!(kernels(graph.clone(), &[d, b], &[], "all"), ["rows: Exp Softmax Add Neg"]);
    assert_eq!(kernels(graph, &[d, b], &[], "all,-rows"), ["Exp", "Softmax", "pointwise: Add Neg"]);
}

#[test]
fn a_kernel_never_needs_what_needs_it() {
    let (mut graph, x) = graph_of(&["4", "4"]);
    let a = call(&mut graph, "Relu", &[], &[x]);
    let w = drawn(&mut graph, &[4, 4]);
    let b = call(&mut graph, "MatMul", &[], &[a, w]);
    let c = call(&mut graph, "Add", &[], &[a, b]);
    assert_eq!(kernels(graph, &[c], &[], "all,-recompute"), ["Relu", "MatMul", "Add"]);
}

#[test]
fn a_product_takes_the_calls_of_its_fused_function() {
    let (mut graph, x) = graph_of(&["4", "4"]);
    let (w, b) = (drawn(&mut graph, &[4, 4]), drawn(&mut graph, &[4]));
    let p = call(&mut graph, "MatMul", &[], &[x, w]);
    let s = call(&mut graph, "Add", &[], &[p, b]);
    let y = call(&mut graph, "Relu", &[], &[s]);
    let z = call(&mut graph, "Exp", &[], &[y]);
    let group: &[(&str, &[usize])] = &[("MatMulAddRelu", &[0, 1, 2])];
    let fused = ["MatMulAddRelu: MatMul Add Relu", "Exp"];
    assert_eq!(kernels(graph.clone(), &[z], group, "all"), fused);
    assert_eq!(kernels(graph.clone(), &[z], group, "epilogues"), fused);
    assert_eq!(kernels(graph.clone(), &[z], group, "MatMulAddRelu"), fused);
    let apart = ["MatMul", "pointwise: Add Relu Exp"];
    assert_eq!(kernels(graph.clone(), &[z], group, "all,-epilogues"), apart);
    assert_eq!(kernels(graph, &[z], &[], "all"), apart, "the optimizer chose no fused function");
}

#[test]
fn a_product_does_not_take_what_needs_it_otherwise() {
    let (mut graph, x) = graph_of(&["4", "4"]);
    let w = drawn(&mut graph, &[4, 4]);
    let p = call(&mut graph, "MatMul", &[], &[x, w]);
    let e = call(&mut graph, "Exp", &[], &[p]);
    let s = call(&mut graph, "Add", &[], &[p, e]);
    assert_eq!(kernels(graph, &[s], &[("MatMulAdd", &[0, 2])], "all"), ["MatMul", "pointwise: Exp Add"]);
}

#[test]
fn a_sum_of_two_products_goes_to_one_of_them() {
    let (mut graph, x) = graph_of(&["4", "4"]);
    let [w, v] = [(); 2].map(|()| drawn(&mut graph, &[4, 4]));
    let p = call(&mut graph, "MatMul", &[], &[x, w]);
    let q = call(&mut graph, "MatMul", &[], &[x, v]);
    let s = call(&mut graph, "Add", &[], &[p, q]);
    let group: &[(&str, &[usize])] = &[("Sum", &[0, 1, 2])];
    assert_eq!(kernels(graph.clone(), &[s], group, "all,-shortcuts"), ["MatMul", "Sum: MatMul Add"]);
    assert_eq!(kernels(graph.clone(), &[s], group, "epilogues"), ["MatMul", "Sum: MatMul Add"]);
    assert_eq!(kernels(graph, &[s], group, "all"), ["shortcuts: MatMul MatMul Add"]);
}

#[test]
fn a_convolution_takes_the_one_that_only_it_reads() {
    let build = |is_read: bool, is_output: bool, fusions: &str| {
        let (mut graph, x) = graph_of(&["1", "4", "3", "3"]);
        let [w, v] = [(); 2].map(|()| drawn(&mut graph, &[4, 4, 1, 1]));
        let p = call(&mut graph, "Conv", &[], &[x, w]);
        let r = call(&mut graph, "Relu", &[], &[p]);
        let q = call(&mut graph, "Conv", &[], &[r, v]);
        let s = call(&mut graph, "Add", &[], &[q, x]);
        let y = call(&mut graph, "Relu", &[], &[s]);
        let z = if is_read { call(&mut graph, "Neg", &[], &[r]) } else { y };
        let outputs = if is_output { vec![y, z, r] } else { vec![y, z] };
        kernels(graph, &outputs, &[("First", &[0, 1]), ("Last", &[2, 3, 4])], fusions)
    };
    assert_eq!(build(false, false, "all"), ["chains: Conv Relu Conv Add Relu"]);
    assert_eq!(build(false, false, "all,-chains"), ["First: Conv Relu", "Last: Conv Add Relu"]);
    assert_eq!(build(true, false, "all"), ["First: Conv Relu", "Last: Conv Add Relu", "Neg"]);
    assert_eq!(build(false, true, "all"), ["First: Conv Relu", "Last: Conv Add Relu"]);
}

#[test]
fn a_chain_has_two_convolutions() {
    let (mut graph, x) = graph_of(&["1", "4", "3", "3"]);
    let filters = [(); 3].map(|()| drawn(&mut graph, &[4, 4, 1, 1]));
    let y = filters.into_iter().fold(x, |value, filter| call(&mut graph, "Conv", &[], &[value, filter]));
    assert_eq!(kernels(graph, &[y], &[], "all"), ["chains: Conv Conv", "Conv"]);
}

#[test]
fn a_shortcut_is_added_in_the_sums_of_a_product_where_nothing_else_reads_it() {
    let build = |is_read: bool, is_output: bool, is_behind: bool| {
        let (mut graph, x) = graph_of(&["4", "4"]);
        let [w, v, u] = [(); 3].map(|()| drawn(&mut graph, &[4, 4]));
        let h = call(&mut graph, "MatMul", &[], &[x, u]);
        let p = call(&mut graph, "MatMul", &[], &[h, w]);
        let q = call(&mut graph, "MatMul", &[], &[x, v]);
        let s = call(&mut graph, "Add", &[], &[p, q]);
        let y = if is_behind { call(&mut graph, "Exp", &[], &[s]) } else { call(&mut graph, "Relu", &[], &[s]) };
        let z = if is_read { call(&mut graph, "Neg", &[], &[q]) } else { y };
        let outputs = if is_output { vec![y, z, q] } else { vec![y, z] };
        kernels(graph, &outputs, &[("Block", &[1, 3, 4])], "all")
    };
    assert_eq!(build(false, false, false), ["MatMul", "shortcuts: MatMul MatMul Add Relu"]);
    assert_eq!(build(false, false, true), ["MatMul", "shortcuts: MatMul MatMul Add", "Exp"]);
    assert_eq!(build(true, false, false), ["MatMul", "MatMul", "Block: MatMul Add Relu", "Neg"]);
    assert_eq!(build(false, true, false), ["MatMul", "MatMul", "Block: MatMul Add Relu"]);
}

#[test]
fn a_fused_function_alone_fuses_its_own_calls_only() {
    let (mut graph, x) = graph_of(&["4", "8"]);
    let a = call(&mut graph, "Relu", &[], &[x]);
    let b = call(&mut graph, "Exp", &[], &[a]);
    let c = call(&mut graph, "Neg", &[], &[b]);
    let group: &[(&str, &[usize])] = &[("AddGelu", &[0, 1])];
    assert_eq!(kernels(graph, &[c], group, "AddGelu"), ["AddGelu: Relu Exp", "Neg"]);
}

#[test]
fn work_that_few_rows_would_slow_down_stays_apart() {
    // One processor would read 64 KB of each of two rows that all processors share otherwise.
    let of = |rows: &str| {
        let (mut graph, x) = graph_of(&[rows, "16384"]);
        let mut a = x;
        for _ in 0..6 {
            let w = drawn(&mut graph, &[1, 16384]);
            a = call(&mut graph, "Add", &[], &[a, w]);
        }
        let b = call(&mut graph, "Softmax", &[("axis", Attr::Int(-1))], &[a]);
        kernels(graph, &[b, a], &[], "all")
    };
    assert_eq!(of("1"), ["pointwise: Add Add Add Add Add Add", "Softmax"]);
    assert_eq!(of("200"), ["rows: Add Add Add Add Add Add Softmax"]);
}

#[test]
fn a_cheap_call_is_repeated_where_that_moves_less() {
    let build = |repeated: bool| {
        let (mut graph, x) = graph_of(&["64", "64"]);
        let a = call(&mut graph, "Relu", &[], &[x]);
        let p = call(&mut graph, "Softmax", &[("axis", Attr::Int(-1))], &[a]);
        let w = drawn(&mut graph, &[64, 64]);
        let q = call(&mut graph, "MatMul", &[], &[p, w]);
        let r = call(&mut graph, "Add", &[], &[a, q]);
        kernels(graph, &[r], &[], if repeated { "all" } else { "all,-recompute" })
    };
    assert_eq!(build(true), ["rows: Relu Softmax", "MatMul", "recompute: Relu Add"]);
    assert_eq!(build(false), ["rows: Relu Softmax", "MatMul", "Add"]);
}

#[test]
fn any_graph_is_divided_into_kernels_that_compute_the_same() {
    // Linear congruences: Knuth, The Art of Computer Programming 2, 3.3.4, multiplier of MMIX.
    let mut state = 1u64;
    let mut draw = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut n_regions = 0;
    for round in 0..300 {
        let (mut graph, x) = graph_of(&["4", "4"]);
        let mut values = vec![x];
        for _ in 0..3 + draw(14) {
            let [a, b] = [(); 2].map(|()| values[values.len() - 1 - draw(values.len().min(5))]);
            let value = match draw(10) {
                0 | 1 => call(&mut graph, "Relu", &[], &[a]),
                2 => call(&mut graph, "Neg", &[], &[a]),
                3 | 4 => call(&mut graph, "Add", &[], &[a, b]),
                5 => call(&mut graph, "Softmax", &[("axis", Attr::Int(-1))], &[a]),
                6 => call(&mut graph, "Softmax", &[("axis", Attr::Int(0))], &[a]),
                7 => call(&mut graph, "MatMul", &[], &[a, b]),
                8 => rounded(&mut graph, a)[1],
                _ => {
                    let [left, right] = [rounded(&mut graph, a)[1], stored(&mut graph, &[4, 4])];
                    call(&mut graph, "MatMul", &[], &[left, right])
                }
            };
            values.push(value);
        }
        let last = values[values.len() - 1];
        let n_calls = graph.n_nodes();
        // All calls of one function, two functions, none.
        let everything: Vec<usize> = (0..n_calls).collect();
        let (front, back) = everything.split_at(n_calls / 2);
        let groups: [&[(&str, &[usize])]; 3] = [&[("F", &everything)], &[("F", front), ("G", back)], &[]];
        let found = kernels(graph, &[last, values[values.len() / 2]], groups[round % 3], "all");
        assert!(found.len() <= n_calls);
        n_regions += found.iter().filter(|kernel| kernel.contains(':')).count();
    }
    assert!(n_regions > 300, "{n_regions}");
}

/// `value` quantized to integers, and these dequantized.
fn rounded(graph: &mut Graph, value: ValueId) -> [ValueId; 2] {
    let scale = graph.add_weight("", Tensor::scalar(0.125f32));
    let zero = graph.add_weight("", Tensor::full(Element::Int8, &[], 0.0).expect("small"));
    let quantized = call(graph, "QuantizeLinear", &[], &[value, scale, zero]);
    [quantized, call(graph, "DequantizeLinear", &[], &[quantized, scale, zero])]
}

/// A weight of integers, dequantized.
fn stored(graph: &mut Graph, shape: &[usize]) -> ValueId {
    let weight = graph.add_weight("", Tensor::full(Element::Int8, shape, 3.0).expect("small"));
    let scale = graph.add_weight("", Tensor::scalar(0.25f32));
    let zero = graph.add_weight("", Tensor::full(Element::Int8, &[], 0.0).expect("small"));
    call(graph, "DequantizeLinear", &[], &[weight, scale, zero])
}

#[test]
fn a_product_reads_quantized_operands_as_they_are_stored() {
    let (mut graph, x) = graph_of(&["4", "4"]);
    let [_, a] = rounded(&mut graph, x);
    let w = stored(&mut graph, &[4, 4]);
    let p = call(&mut graph, "MatMul", &[], &[a, w]);
    let s = call(&mut graph, "Add", &[], &[p, a]);
    let r = call(&mut graph, "Relu", &[], &[s]);
    let [q, y] = rounded(&mut graph, r);
    let found = kernels(graph.clone(), &[y, q], &[], "all");
    let whole = "quantized: DequantizeLinear DequantizeLinear MatMul Add Relu QuantizeLinear";
    assert_eq!(found, ["QuantizeLinear", whole, "DequantizeLinear"], "the shortcut is dequantized beside the product");
    assert_eq!(kernels(graph.clone(), &[y, q], &[], "quantized"), found);
    assert!(!kernels(graph, &[y], &[], "all,-quantized").iter().any(|kernel| kernel.starts_with("quantized")));
}

#[test]
fn each_reader_dequantizes_for_itself() {
    let (mut graph, x) = graph_of(&["4", "4"]);
    let [_, a] = rounded(&mut graph, x);
    let [w, v] = [(); 2].map(|()| stored(&mut graph, &[4, 4]));
    let p = call(&mut graph, "MatMul", &[], &[a, w]);
    let q = call(&mut graph, "MatMul", &[], &[a, v]);
    let s = call(&mut graph, "Add", &[], &[p, q]);
    let found = kernels(graph.clone(), &[s], &[], "all");
    let product = "quantized: DequantizeLinear DequantizeLinear MatMul";
    assert_eq!(found[0], "QuantizeLinear");
    assert_eq!(found.iter().filter(|kernel| kernel.starts_with(product)).count(), 2, "{found:?}");
    assert_eq!(found.len(), 3, "one of the products takes the sum: {found:?}");
    // Where it is read otherwise too, it is in memory.
    let e = call(&mut graph, "Exp", &[], &[a]);
    let found = kernels(graph, &[s, e], &[], "all,-pointwise,-recompute");
    assert!(found.contains(&"DequantizeLinear".to_owned()), "{found:?}");
}
