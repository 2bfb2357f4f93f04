//! Calls compute in half precision where that is safe, single precision where it is needed, casts between them.
//!
//! Products and convolutions go down: hardware accumulates them in single precision. Sums over many elements, softmax,
//! norms and functions that overflow early stay. What only moves or combines elements follows its operands, so that
//! casts stand where few bytes cross. The model's interface keeps its types.

use super::{Ranges, remark};
use crate::fold::is_constant;
use crate::pass::{Change, Pass};
use crate::rewire::{call, set_attrs, set_types};
use eutectic_ir::graph::{Graph, Node, NodeId, Use, ValueId};
use eutectic_ir::op::{Law, OpDef, Param};
use eutectic_ir::{Attr, Element, Name, Tensor, infer, walk};
use rustc_hash::{FxHashMap, FxHashSet};

/// What becomes of a model in half precision.
#[derive(Clone, Debug)]
pub struct Autocast {
    /// `Float16` or `Bfloat16`.
    pub to: Element,
    /// Nodes that stay in single precision, by name.
    pub keep: Vec<Name>,
    /// What calibration saw; calls whose values come near the largest half-precision number stay in single precision.
    pub ranges: Option<Ranges>,
}

/// Operators worth going down for: their work lies in products.
const PRODUCTS: [&str; 6] = ["Attention", "Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"];

/// Pointwise operators that stay, although they take half precision: their results or derivatives leave its range or its
/// eleven bits early. Long sums, softmax and norms stay without being named: they neither are products nor follow.
const SENSITIVE: [&str; 9] = ["Exp", "Log", "Mean", "Mod", "Pow", "Reciprocal", "Softplus", "Sqrt", "Sum"];

/// The pass that does it, in the outermost graph; bodies of control flow stay as they are.
pub fn autocast(options: Autocast) -> Pass {
    let to = options.to.text();
    Pass::new("autocast", format!("({to})"), move |model| {
        infer::infer(model);
        Ok(cast_graph(&mut model.graph, &options))
    })
}

fn cast_graph(graph: &mut Graph, options: &Autocast) -> Change {
    let Ok(order) = walk::order(graph) else { return Change::default() };
    let plan = Plan::new(graph, &order, options);
    // The half-precision twin of each value that a call went down for.
    let mut low: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    let mut change = Change::of(plan.low.len());
    for &id in order.iter().filter(|id| plan.low.contains(id)) {
        let Some(def) = graph.node(id).op.builtin() else { continue };
        for slot in 0..graph.node(id).inputs().len() {
            let Some(value) = graph.node(id).input(slot) else { continue };
            let goes_down =
                is_single(graph, value) && def.input(slot).is_some_and(|param| admits(def, param, options.to));
            if !goes_down {
                continue;
            }
            let twin = match low.get(&value) {
                Some(&twin) => Some(twin),
                None => cast_down(graph, value, plan.wide.contains(&value), options.to),
            };
            if let Some(twin) = twin {
                low.insert(value, twin);
                graph.set_input(id, slot, Some(twin));
            }
        }
        if def.attr("softmax_precision").is_some() {
            let single = Attr::Int(i64::from(Element::Float.code()));
            let _ = set_attrs(graph, id, [("softmax_precision", single)]);
        }
        let outputs = graph.node(id).outputs().to_vec();
        let singles: Vec<ValueId> = outputs.into_iter().filter(|&output| is_single(graph, output)).collect();
        set_types(graph, id);
        for output in singles {
            cast_up(graph, output, &mut low);
        }
    }
    if plan.n_vetoed > 0 {
        let message = format!(
            "{} calls stay in single precision: their values leave the range of {}",
            plan.n_vetoed,
            options.to.text()
        );
        change.notes.push(remark("P0310", message));
    }
    change
}

/// Which calls go down.
struct Plan {
    low: FxHashSet<NodeId>,
    /// Values that may lie beyond the range of half precision, because a constant beside them does.
    wide: FxHashSet<ValueId>,
    /// Calls that would have gone down but for the range of their values.
    n_vetoed: usize,
}

impl Plan {
    fn new(graph: &Graph, order: &[NodeId], options: &Autocast) -> Self {
        let mut plan = Plan { low: FxHashSet::default(), wide: FxHashSet::default(), n_vetoed: 0 };
        let limit = largest(options.to);
        for &id in order {
            let node = graph.node(id);
            let follows = node.op.builtin().is_some_and(follows);
            let reads_wide = node.inputs().iter().flatten().any(|value| plan.wide.contains(value));
            let beyond = node.inputs().iter().flatten().any(|&value| is_beyond(graph, value, limit));
            if beyond || (follows && reads_wide) {
                plan.wide.extend(node.outputs());
                continue;
            }
            let Some(def) = candidate(graph, node, options) else { continue };
            let reads_low = node.inputs().iter().flatten().any(|&value| {
                let producer = graph.producer(value).map(|(producer, _)| producer);
                producer.is_some_and(|producer| plan.low.contains(&producer)) && is_single(graph, value)
            });
            if !(PRODUCTS.contains(&def.name) || (follows && reads_low)) {
                continue;
            }
            let leaves_range = |&value: &ValueId| {
                let seen = options.ranges.as_ref().and_then(|ranges| ranges.get(graph, value));
                // A sample of inputs does not show the worst: an eighth is left for what it missed.
                seen.is_some_and(|seen| seen.n_not_finite() > 0 || seen.magnitude() > limit / 8.0)
            };
            if node.inputs().iter().flatten().chain(node.outputs()).any(leaves_range) {
                plan.n_vetoed += 1;
            } else {
                plan.low.insert(id);
            }
        }
        // What is read by calls that went down only may go down itself: the cast then stands before it, or further up.
        for &id in order.iter().rev() {
            let node = graph.node(id);
            let moves = candidate(graph, node, options).is_some_and(follows);
            let is_plain = !node.outputs().iter().any(|value| plan.wide.contains(value));
            let read_low = |value: &ValueId| {
                let mut uses = graph.value(*value).uses().peekable();
                let goes = |read: Use| matches!(read, Use::Input(reader, _) if plan.low.contains(&reader));
                uses.peek().is_some() && uses.all(goes)
            };
            let ranged = options.ranges.is_none();
            if moves && is_plain && ranged && !plan.low.contains(&id) && node.outputs().iter().all(read_low) {
                let constant = node.outputs().iter().all(|&output| is_constant(graph, output));
                if !constant {
                    plan.low.insert(id);
                }
            }
        }
        plan
    }
}

/// The declaration of a call that could go down: it reads single precision, and every such operand and result may be half.
fn candidate(graph: &Graph, node: &Node, options: &Autocast) -> Option<&'static OpDef> {
    let def = node.op.builtin().filter(|def| def.domain.is_empty())?;
    let kept = SENSITIVE.contains(&def.name) || def.has(Law::Impure) || options.keep.contains(&node.name);
    let converts = def.attr("to").is_some() || def.attr("dtype").is_some() || def.attr("output_dtype").is_some();
    if kept || converts || node.bodies().next().is_some() {
        return None;
    }
    let reads = node.inputs().iter().flatten().any(|&value| is_single(graph, value));
    let fits = node.outputs().iter().enumerate().all(|(at, &output)| {
        !is_single(graph, output) || def.output(at).is_some_and(|param| admits(def, param, options.to))
    });
    (reads && fits && node.outputs().iter().any(|&output| is_single(graph, output))).then_some(def)
}

/// Whether the operator moves or combines elements, each on its own.
fn follows(def: &OpDef) -> bool {
    const MOVES: [&str; 22] = [
        "AveragePool",
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "MaxPool",
        "GlobalMaxPool",
        "Pad",
        "ReduceMax",
        "ReduceMin",
        "Reshape",
        "ScatterElements",
        "ScatterND",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Tile",
        "Transpose",
        "Where",
    ];
    def.has(Law::Pointwise) || def.has(Law::View) || MOVES.contains(&def.name)
}

fn admits(def: &OpDef, param: &Param, element: Element) -> bool {
    def.types.iter().any(|(variable, elements)| *variable == param.ty && elements.contains(&element))
}

fn is_single(graph: &Graph, value: ValueId) -> bool {
    graph.ty(value).is_some_and(|ty| ty.element == Element::Float)
}

/// The largest finite number.
fn largest(element: Element) -> f64 {
    if element == Element::Float16 { 65504.0 } else { f64::from(f32::MAX) }
}

/// Whether `value` is a weight with an element beyond `limit`, as the fill of a mask often is.
fn is_beyond(graph: &Graph, value: ValueId, limit: f64) -> bool {
    if limit >= f64::from(f32::MAX) || !is_single(graph, value) {
        return false;
    }
    let beyond = |tensor: &Tensor| match tensor.as_single() {
        Some(single) => single.abs() > limit,
        None => tensor.view::<f32>().is_some_and(|view| view.iter().any(|&element| f64::from(element).abs() > limit)),
    };
    graph.weight(value).is_some_and(beyond)
}

/// What is dequantized to single precision, dequantized to half: a cast between would keep its reader from computing with
/// integers.
fn dequantized(graph: &mut Graph, value: ValueId, to: Element) -> Option<ValueId> {
    let (id, _) = graph.producer(value)?;
    let node = graph.node(id);
    if !node.op.is("DequantizeLinear") {
        return None;
    }
    let (x, scale, zero) = (node.input(0), node.input(1)?, node.input(2));
    let attr = |name: &str| node.attrs.get(name).cloned();
    let attrs = [("axis", attr("axis")?), ("block_size", attr("block_size")?)];
    let scale = call(graph, "Cast", [("to", Attr::Int(i64::from(to.code())))], [Some(scale)])?;
    call(graph, "DequantizeLinear", attrs, [x, Some(scale), zero])
}

/// `value` in half precision; clipped first when it may lie beyond, so that no mask becomes infinite.
fn cast_down(graph: &mut Graph, value: ValueId, wide: bool, to: Element) -> Option<ValueId> {
    if let Some(half) = dequantized(graph, value, to) {
        return Some(half);
    }
    let clipped = if wide && largest(to) < f64::from(f32::MAX) {
        let limit = largest(to) as f32;
        let low = graph.add_weight("", Tensor::scalar(-limit));
        let high = graph.add_weight("", Tensor::scalar(limit));
        call(graph, "Clip", [], [Some(value), Some(low), Some(high)])?
    } else {
        value
    };
    call(graph, "Cast", [("to", Attr::Int(i64::from(to.code())))], [Some(clipped)])
}

/// Lets all readers of the half-precision `value` read it in single precision; those that go down find it in `low`.
fn cast_up(graph: &mut Graph, value: ValueId, low: &mut FxHashMap<ValueId, ValueId>) {
    let Some(single) = call(graph, "Cast", [("to", Attr::Int(i64::from(Element::Float.code())))], [Some(value)]) else {
        return;
    };
    let Some((cast, _)) = graph.producer(single) else { return };
    graph.replace_uses(value, single);
    graph.set_input(cast, 0, Some(value));
    graph.value_mut(single).name = std::mem::take(&mut graph.value_mut(value).name);
    low.insert(single, value);
}

#[cfg(test)]
mod tests {
    use super::super::Histogram;
    use super::*;
    use crate::dce::dce;
    use crate::fold::{FoldBudget, fold};
    use crate::pass::Pipeline;
    use crate::testing::{assert_same, call, drawn, graph_of, list, model_of, operators, ty};
    use eutectic_ir::Model;
    use eutectic_ir::verify::verify;

    const HALF: fn() -> Autocast = || Autocast { to: Element::Float16, keep: Vec::new(), ranges: None };

    fn cast(model: &Model, options: Autocast) -> Model {
        let mut changed = model.clone();
        let passes = vec![autocast(options), fold(FoldBudget::STANDARD, false), dce()];
        Pipeline(passes).run(&mut changed).expect("the passes");
        let problems = verify(&changed);
        assert!(!problems.has_errors(), "{problems}");
        changed
    }

    /// `softmax(relu(x w) u)`
    fn network() -> Model {
        let (mut graph, x) = graph_of(&["4", "8"]);
        let (w, u) = (drawn(&mut graph, &[8, 8]), drawn(&mut graph, &[8, 8]));
        let t = call(&mut graph, "MatMul", &[], &[x, w]);
        let t = call(&mut graph, "Relu", &[], &[t]);
        let t = call(&mut graph, "MatMul", &[], &[t, u]);
        let y = call(&mut graph, "Softmax", &[], &[t]);
        model_of(graph, y)
    }

    #[test]
    fn products_go_down_and_softmax_stays() {
        let model = network();
        let changed = cast(&model, HALF());
        assert_eq!(operators(&changed), "Cast MatMul Relu MatMul Cast Softmax");
        let output = changed.graph.ty(changed.graph.outputs()[0].value);
        assert_eq!(output, Some(&ty(Element::Float, &["4", "8"])));
        // The interpreter computes in double precision here: only the weights are rounded.
        let mut worst = 0.0f64;
        let inputs = [Some(Tensor::full(Element::Float, &[4, 8], 0.5).expect("small"))];
        let run = |model: &Model| eutectic_ir::eval::run_model::<f64>(model, &inputs).expect("it runs");
        let values = |model: &Model| run(model)[0].to_tensor().ok().and_then(|tensor| tensor.to_f64s()).expect("reals");
        for (a, b) in values(&model).into_iter().zip(values(&changed)) {
            worst = worst.max((a - b).abs() / a.abs());
        }
        assert!(worst > 0.0 && worst < 1e-2, "{worst}");
    }

    #[test]
    fn a_kept_node_and_one_out_of_range_stay() {
        let mut model = network();
        super::super::name_values(&mut model.graph);
        let first = walk::order(&model.graph).expect("no cycle")[0];
        model.graph.node_mut(first).name = "first".into();
        let kept = cast(&model, Autocast { keep: vec!["first".into()], ..HALF() });
        assert_eq!(operators(&kept), "MatMul Cast Relu MatMul Cast Softmax");
        let mut seen = Histogram::default();
        seen.observe(&[60_000.0]);
        let name = model.graph.value(model.graph.node(first).output()).name.clone();
        let ranges = Some(Ranges([(name, seen)].into()));
        assert_eq!(operators(&cast(&model, Autocast { ranges, ..HALF() })), "MatMul Relu Cast MatMul Cast Softmax");
    }

    #[test]
    fn a_mask_beyond_the_range_is_clipped_before_it_is_cast() {
        let (mut graph, x) = graph_of(&["2", "2"]);
        let low = graph.add_weight("", Tensor::scalar(f32::MIN));
        let mask = call(&mut graph, "Mul", &[], &[x, low]);
        let w = drawn(&mut graph, &[2, 2]);
        let y = call(&mut graph, "MatMul", &[], &[mask, w]);
        let changed = cast(&model_of(graph, y), HALF());
        assert_eq!(operators(&changed), "Mul Clip Cast MatMul Cast");
    }

    #[test]
    fn what_moves_elements_goes_down_before_its_only_reader() {
        let (mut graph, x) = graph_of(&["3", "4"]);
        let t = call(&mut graph, "Transpose", &[("perm", list(&[1, 0]))], &[x]);
        let w = drawn(&mut graph, &[3, 5]);
        let y = call(&mut graph, "MatMul", &[], &[t, w]);
        assert_eq!(operators(&cast(&model_of(graph, y), HALF())), "Cast Transpose MatMul Cast");
    }

    #[test]
    fn a_model_without_products_is_as_before() {
        let (mut graph, x) = graph_of(&["2", "3"]);
        let y = call(&mut graph, "Relu", &[], &[x]);
        let model = model_of(graph, y);
        let changed = cast(&model, HALF());
        assert_eq!(operators(&changed), "Relu");
        assert_same(&model, &changed, 2);
    }
}
