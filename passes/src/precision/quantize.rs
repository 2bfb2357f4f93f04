//! `QuantizeLinear` and `DequantizeLinear` around products and convolutions whose second operand is constant.
//!
//! Every reader that computes with integers reads the same dequantized value, so a value is quantized once. Zero points are
//! zero: the integers are symmetric, which is what TensorRT runs. Weights have a scale for each output channel; they stay
//! in the graph as `QuantizeLinear` of the weight until folding rounds them. A residual sum reads its shortcut quantized
//! too: TensorRT then joins convolution, sum and activation into one integer kernel.

use super::{Calibrator, Ranges, remark};
use crate::fold::is_constant;
use crate::pass::{Change, Pass};
use crate::rewire::call;
use eutectic_ir::graph::{Graph, NodeId, ValueId};
use eutectic_ir::infer::describe_node;
use eutectic_ir::{Attr, Element, Name, Tensor, infer, walk};
use rustc_hash::FxHashMap;

/// What numbers become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Eight-bit integers, activations and weights.
    Int8,
    /// Eight-bit floating point with four exponent bits, activations and weights.
    Float8,
    /// Four-bit integers, weights only: a scale for each `block` of a column, single precision otherwise.
    Int4 {
        /// Elements along the reduced axis that share a scale.
        block: usize,
    },
}

impl Format {
    fn element(self) -> Element {
        match self {
            Format::Int8 => Element::Int8,
            Format::Float8 => Element::Float8E4M3FN,
            Format::Int4 { .. } => Element::Int4,
        }
    }

    /// The largest number.
    fn largest(self) -> f64 {
        match self {
            Format::Int8 => 127.0,
            Format::Float8 => 448.0,
            Format::Int4 { .. } => 7.0,
        }
    }
}

/// What is quantized, and how.
#[derive(Clone, Debug)]
pub struct Quantize {
    /// The format.
    pub format: Format,
    /// How thresholds of activations come from their ranges.
    pub calibrator: Calibrator,
    /// What calibration saw.
    pub ranges: Ranges,
    /// Nodes that stay in single precision, by name.
    pub keep: Vec<Name>,
    /// When given, only these nodes are quantized, by name: for finding out what each costs.
    pub only: Option<Vec<Name>>,
}

/// The pass that does it, in the outermost graph; bodies of control flow stay as they are. Values must have names
/// ([`super::name_values`]), under which their ranges are kept.
pub fn quantize(options: Quantize) -> Pass {
    let text = format!("({:?}, {})", options.format, options.calibrator);
    Pass::new("quantize", text, move |model| {
        infer::infer(model);
        Ok(quantize_graph(&mut model.graph, &options))
    })
}

/// The nodes that can be quantized, in order of execution.
pub fn candidates(graph: &Graph) -> Vec<NodeId> {
    let order = walk::order(graph).unwrap_or_default();
    order.into_iter().filter(|&id| channel_axis(graph, id).is_some()).collect()
}

/// The axis of a node's weight that counts output channels; `None` for a node that is not quantized.
fn channel_axis(graph: &Graph, id: NodeId) -> Option<usize> {
    let node = graph.node(id);
    let def = node.op.builtin().filter(|def| def.domain.is_empty())?;
    let (x, w) = (node.input(0)?, node.input(1)?);
    let weight = graph.ty(w)?;
    let is_single = graph.ty(x)?.element == Element::Float && weight.element == Element::Float;
    if !is_single || is_constant(graph, x) || graph.weight(w).is_none() {
        return None;
    }
    match (def.name, weight.rank()) {
        ("Conv", _) => Some(0),
        ("ConvTranspose", _) if node.attrs.int("group") == Some(1) => Some(1),
        ("MatMul", 2) => Some(1),
        // A product with a bias, as `tidy` writes it.
        ("Gemm", 2) => Some(if node.attrs.flag("transB") { 0 } else { 1 }),
        _ => None,
    }
}

fn quantize_graph(graph: &mut Graph, options: &Quantize) -> Change {
    let mut change = Change::default();
    // What each activation is read as, once it is quantized.
    let mut known: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    let mut sums: Vec<NodeId> = Vec::new();
    for id in candidates(graph) {
        let node = graph.node(id);
        let is_wanted = options.only.as_ref().is_none_or(|only| only.contains(&node.name));
        let (Some(x), Some(w), Some(axis)) = (node.input(0), node.input(1), channel_axis(graph, id)) else { continue };
        if !is_wanted || options.keep.contains(&node.name) {
            continue;
        }
        let quantized = match options.format {
            Format::Int4 { block } => blockwise(graph, w, axis, block).map(|w| (x, w)),
            _ => activation(graph, x, options, &mut known)
                .and_then(|x| Some((x, per_channel(graph, w, axis, options.format)?))),
        };
        match quantized {
            Some((x, w)) => {
                graph.set_input(id, 0, Some(x));
                graph.set_input(id, 1, Some(w));
                change.n_changed += 1;
                sums.extend(residual_sum(graph, id));
            }
            None => {
                let message = "a product is not quantized: calibration saw nothing of its operand, or only zeros";
                change.notes.push(remark("P0311", message).within(describe_node(graph.node(id))));
            }
        }
    }
    for id in sums {
        for slot in 0..2 {
            let Some(value) = graph.node(id).input(slot) else { continue };
            let from_convolution = graph.producer(value).is_some_and(|(node, _)| graph.node(node).op.is("Conv"));
            if !from_convolution && let Some(quantized) = activation(graph, value, options, &mut known) {
                graph.set_input(id, slot, Some(quantized));
            }
        }
    }
    change
}

/// The sum that alone reads convolution `id`, when its other operand is an activation.
fn residual_sum(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let mut uses = graph.value(graph.node(id).output()).uses();
    let (Some(eutectic_ir::graph::Use::Input(reader, _)), None) = (uses.next(), uses.next()) else { return None };
    let sum = graph.node(reader);
    let same = |value: Option<ValueId>| graph.ty(value?).map(|ty| &ty.shape);
    let is_sum = graph.node(id).op.is("Conv") && sum.op.is("Add") && same(sum.input(0)) == same(sum.input(1));
    is_sum.then_some(reader)
}

/// `value` rounded to the format with one scale; `None` when nothing, or nothing but zeros, was seen of it.
fn activation(
    graph: &mut Graph,
    value: ValueId,
    options: &Quantize,
    known: &mut FxHashMap<ValueId, ValueId>,
) -> Option<ValueId> {
    if let Some(&quantized) = known.get(&value) {
        return Some(quantized);
    }
    let seen = options.ranges.get(graph, value)?;
    let threshold = options.calibrator.threshold(seen, options.format.largest() as usize);
    let scale = (threshold / options.format.largest()) as f32;
    if !(scale.is_finite() && scale > 0.0) {
        return None;
    }
    let scale = graph.add_weight("", Tensor::scalar(scale));
    let zero = graph.add_weight("", Tensor::full(options.format.element(), &[], 0.0).ok()?);
    let rounded = call(graph, "QuantizeLinear", [], [Some(value), Some(scale), Some(zero)])?;
    let result = call(graph, "DequantizeLinear", [], [Some(rounded), Some(scale), Some(zero)])?;
    known.insert(value, result);
    Some(result)
}

/// Weight `w` rounded to the format with a scale for each index of `axis`.
fn per_channel(graph: &mut Graph, w: ValueId, axis: usize, format: Format) -> Option<ValueId> {
    let tensor = graph.weight(w)?;
    let n_channels = *tensor.shape().get(axis)?;
    let inner: usize = tensor.shape()[axis + 1..].iter().product();
    let mut largest = vec![0.0f32; n_channels];
    for (at, element) in tensor.view::<f32>()?.iter().enumerate() {
        let channel = &mut largest[at / inner.max(1) % n_channels];
        *channel = channel.max(element.abs());
    }
    let shape = [n_channels];
    round_weight(graph, w, format, &largest, &shape, [("axis", Attr::Int(axis as i64)), ("block_size", Attr::Int(0))])
}

/// The matrix `w` rounded to four bits, with a scale for each `block` of what one index of `channel_axis` is computed from.
fn blockwise(graph: &mut Graph, w: ValueId, channel_axis: usize, block: usize) -> Option<ValueId> {
    let tensor = graph.weight(w)?;
    let &[_, columns] = tensor.shape() else { return None };
    let reduced_axis = 1 - channel_axis;
    let mut shape = [tensor.shape()[0], columns];
    if block == 0 || !shape[reduced_axis].is_multiple_of(block) {
        return None;
    }
    shape[reduced_axis] /= block;
    let mut largest = vec![0.0f32; shape[0] * shape[1]];
    for (at, element) in tensor.view::<f32>()?.iter().enumerate() {
        let mut place = [at / columns, at % columns];
        place[reduced_axis] /= block;
        let scale = &mut largest[place[0] * shape[1] + place[1]];
        *scale = scale.max(element.abs());
    }
    let attrs = [("axis", Attr::Int(reduced_axis as i64)), ("block_size", Attr::Int(block as i64))];
    round_weight(graph, w, Format::Int4 { block }, &largest, &shape, attrs)
}

fn round_weight(
    graph: &mut Graph,
    w: ValueId,
    format: Format,
    largest: &[f32],
    shape: &[usize],
    attrs: [(&'static str, Attr); 2],
) -> Option<ValueId> {
    if largest.iter().any(|largest| !largest.is_finite()) {
        return None;
    }
    // A channel of zeros may have any scale but zero.
    let scales = largest.iter().map(|&largest| if largest > 0.0 { largest / format.largest() as f32 } else { 1.0 });
    let scale = graph.add_weight("", Tensor::from_vec(shape, scales.collect::<Vec<f32>>()).ok()?);
    let zero = graph.add_weight("", Tensor::full(format.element(), shape, 0.0).ok()?);
    let rounded = call(graph, "QuantizeLinear", attrs.clone(), [Some(w), Some(scale), Some(zero)])?;
    call(graph, "DequantizeLinear", attrs, [Some(rounded), Some(scale), Some(zero)])
}

#[cfg(test)]
mod tests {
    use super::super::{Histogram, name_values};
    use super::*;
    use crate::dce::dce;
    use crate::fold::{FoldBudget, fold};
    use crate::pass::Pipeline;
    use crate::testing::{call, drawn, graph_of, list, model_of, only, operators};
    use eutectic_ir::Model;
    use eutectic_ir::eval::run_model;
    use eutectic_ir::verify::verify;

    /// Two convolutions, a residual sum, and the ranges of drawn inputs.
    fn network() -> (Model, Ranges) {
        let (mut graph, x) = graph_of(&["1", "4", "6", "6"]);
        let attrs = [("kernel_shape", list(&[3, 3])), ("pads", list(&[1, 1, 1, 1]))];
        let (w, u) = (drawn(&mut graph, &[4, 4, 3, 3]), drawn(&mut graph, &[4, 4, 3, 3]));
        let t = call(&mut graph, "Conv", &attrs, &[x, w]);
        let t = call(&mut graph, "Relu", &[], &[t]);
        let t = call(&mut graph, "Conv", &attrs, &[t, u]);
        let y = call(&mut graph, "Add", &[], &[t, x]);
        let mut model = model_of(graph, y);
        infer::infer(&mut model);
        name_values(&mut model.graph);
        // Every value is an output once, so that its range can be seen.
        let mut seen = model.clone();
        for id in super::super::observed(&model.graph) {
            let name = format!("seen {}", model.graph.value(id).name);
            seen.graph.add_output(name, id);
        }
        let results = run_model::<f64>(&seen, &[Some(input())]).expect("it runs");
        let mut ranges = Ranges::default();
        for (id, result) in super::super::observed(&model.graph).into_iter().zip(&results[1..]) {
            let values = result.to_tensor().ok().and_then(|tensor| tensor.to_f64s()).expect("reals");
            let mut histogram = Histogram::default();
            histogram.observe(&values.iter().map(|&value| value as f32).collect::<Vec<f32>>());
            ranges.0.insert(model.graph.value(id).name.clone(), histogram);
        }
        (model, ranges)
    }

    fn input() -> Tensor {
        let values: Vec<f32> = (0..144).map(|at| (at as f32 * 0.7).sin()).collect();
        Tensor::from_vec(&[1, 4, 6, 6], values).expect("it fits")
    }

    fn quantized(model: &Model, format: Format, ranges: Ranges) -> Model {
        let options = Quantize { format, calibrator: Calibrator::Max, ranges, keep: Vec::new(), only: None };
        let mut changed = model.clone();
        let passes = vec![quantize(options), fold(FoldBudget::STANDARD, false), dce()];
        Pipeline(passes).run(&mut changed).expect("the passes");
        let problems = verify(&changed);
        assert!(!problems.has_errors(), "{problems}");
        changed
    }

    fn error(a: &Model, b: &Model, input: &Tensor) -> f64 {
        let run = |model: &Model| run_model::<f64>(model, &[Some(input.clone())]).expect("it runs");
        let values = |model: &Model| run(model)[0].to_tensor().ok().and_then(|tensor| tensor.to_f64s()).expect("reals");
        let (a, b) = (values(a), values(b));
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        norm(&mut a.iter().zip(&b).map(|(a, b)| a - b)) / norm(&mut a.iter().copied())
    }

    #[test]
    fn a_residual_block_computes_with_integers_and_reads_each_value_quantized_once() {
        let (model, ranges) = network();
        let changed = quantized(&model, Format::Int8, ranges);
        let ops = operators(&changed);
        assert_eq!(ops.matches("QuantizeLinear").count(), 2, "{ops}");
        // Two weights and two activations, one of which the sum reads too.
        assert_eq!(ops.matches("DequantizeLinear").count(), 4, "{ops}");
        let error = error(&model, &changed, &input());
        assert!(error > 0.0 && error < 0.02, "{error}");
    }

    #[test]
    fn eight_bit_floats_are_coarser_and_close() {
        let (model, ranges) = network();
        let error = error(&model, &quantized(&model, Format::Float8, ranges), &input());
        assert!(error > 0.0 && error < 0.06, "{error}");
    }

    #[test]
    fn four_bit_weights_have_a_scale_for_each_block() {
        let (mut graph, x) = graph_of(&["2", "8"]);
        let w = drawn(&mut graph, &[8, 3]);
        let y = call(&mut graph, "MatMul", &[], &[x, w]);
        let model = model_of(graph, y);
        let changed = quantized(&model, Format::Int4 { block: 4 }, Ranges::default());
        let dequantize = only(&changed, "DequantizeLinear");
        let weight = dequantize.input(0).and_then(|id| changed.graph.weight(id)).expect("folded");
        assert_eq!((weight.element(), weight.shape()), (Element::Int4, [8, 3].as_slice()));
        let scale = dequantize.input(1).and_then(|id| changed.graph.weight(id)).expect("a weight");
        assert_eq!(scale.shape(), [2, 3]);
        let x = Tensor::full(Element::Float, &[2, 8], 0.5).expect("small");
        assert!(error(&model, &changed, &x) < 0.2);
    }

    #[test]
    fn a_product_with_its_bias_is_quantized_in_any_orientation() {
        for (shape, transposed, channels) in [([8, 3], 0, 1), ([3, 8], 1, 0)] {
            let (mut graph, x) = graph_of(&["2", "8"]);
            let (w, b) = (drawn(&mut graph, &shape), drawn(&mut graph, &[3]));
            let y = call(&mut graph, "Gemm", &[("transB", Attr::Int(transposed))], &[x, w, b]);
            let mut model = model_of(graph, y);
            infer::infer(&mut model);
            let input = Tensor::from_vec(&[2, 8], (0..16).map(|at| (at as f32).cos()).collect()).expect("it fits");
            let mut seen = Histogram::default();
            seen.observe(&input.view::<f32>().expect("reals"));
            let ranges = Ranges([(model.graph.value(x).name.clone(), seen)].into());
            for (format, largest, scales) in [
                (Format::Int8, 0.02, vec![3]),
                (Format::Int4 { block: 4 }, 0.2, if channels == 1 { vec![2, 3] } else { vec![3, 2] }),
            ] {
                let changed = quantized(&model, format, ranges.clone());
                let gemm = only(&changed, "Gemm");
                let (weight, _) = changed.graph.producer(gemm.input(1).expect("a weight")).expect("dequantized");
                let scale =
                    changed.graph.node(weight).input(1).and_then(|id| changed.graph.weight(id)).expect("a scale");
                assert_eq!(scale.shape(), scales, "{format:?}");
                let error = error(&model, &changed, &input);
                assert!(error > 0.0 && error < largest, "{format:?}: {error}");
            }
        }
    }

    #[test]
    fn what_calibration_did_not_see_stays_and_is_named() {
        let (model, _) = network();
        let mut changed = model.clone();
        let (calibrator, ranges) = (Calibrator::Max, Ranges::default());
        let options = Quantize { format: Format::Int8, calibrator, ranges, keep: Vec::new(), only: None };
        let reports = Pipeline(vec![quantize(options)]).run(&mut changed).expect("the pass");
        assert_eq!(reports[0].change.n_changed, 0);
        assert_eq!(reports[0].change.notes.0.len(), 2);
        assert_eq!(operators(&changed), operators(&model));
    }
}
