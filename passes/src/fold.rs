//! Constant folding: the only place that computes.
//!
//! A call whose inputs are all known is evaluated by the reference semantics, in single precision or better, and
//! rounded to its element type. Results beyond the budget, results that ONNX leaves undefined and NaN made of numbers
//! stay calls, and the report says so. Repeated elements stay
//! repeated elements: folding never makes a large weight out of one number.

mod undefined;

use crate::pass::{Change, Computed, Pass};
use crate::rewire::bodies_with_facts;
use eutectic_ir::diag::{Diagnostic, Severity};
use eutectic_ir::eval::{Datum, Scalar, run_tensors};
use eutectic_ir::graph::{Def, Graph, Node, NodeId, Op, ValueId};
use eutectic_ir::infer::{Facts, describe_node};
use eutectic_ir::op::{Fact, Law};
use eutectic_ir::tensor::{Data, Tensor};
use eutectic_ir::{Dim, Element, Model, Reason, walk};
use undefined::undefined;

/// How much memory folded tensors may take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldBudget {
    /// One folded tensor. It counts only what a result takes beyond the inputs that it replaces.
    pub tensor: usize,
    /// All folded tensors of one run together, counted in the same way.
    pub total: usize,
}

impl FoldBudget {
    /// 64 MiB a tensor, 2 GiB in all: as much as a file without external data can hold.
    pub const STANDARD: FoldBudget = FoldBudget { tensor: 64 << 20, total: 2 << 30 };
}

/// Replaces what can be computed now by weights. With `record`, the report tells how each real one was computed, and keeps
/// the operands in memory.
pub fn fold(budget: FoldBudget, record: bool) -> Pass {
    let options = format!("(tensor {} MiB, total {} MiB)", budget.tensor >> 20, budget.total >> 20);
    Pass::new("fold", options, move |model| Ok(fold_recorded(model, budget, record)))
}

/// Replaces what can be computed now by weights; types must have been inferred or are inferred here.
pub fn fold_model(model: &mut Model, budget: FoldBudget) -> Change {
    fold_recorded(model, budget, false)
}

fn fold_recorded(model: &mut Model, budget: FoldBudget, record: bool) -> Change {
    let (facts, _) = eutectic_ir::infer::infer(model);
    let stored = |value: &eutectic_ir::graph::Value| match value.weight()?.data() {
        Data::Stored(stored) => Some(stored.len()),
        _ => None,
    };
    let in_files: usize = model.graph.values().filter_map(|(_, value)| stored(value)).sum();
    // Of a model that may not fit in memory, large weights are not read for what may be little gain.
    let most_read = if in_files > budget.total { budget.tensor } else { usize::MAX };
    let mut room = Room { tensor: budget.tensor, left: budget.total, most_read, record };
    fold_graph(&mut model.graph, &facts, "", &mut room)
}

/// What may still be folded; bodies share it with the graph around them.
struct Room {
    /// One folded tensor, as [`FoldBudget::tensor`] counts it.
    tensor: usize,
    /// What is left for all.
    left: usize,
    /// The largest operands of one call that are read from a file.
    most_read: usize,
    /// Whether what is computed is recorded.
    record: bool,
}

fn fold_graph(graph: &mut Graph, facts: &Facts, scope: &str, room: &mut Room) -> Change {
    let mut change = Change::default();
    for id in walk::order(graph).unwrap_or_default() {
        let results = match fold_call(graph, facts, id, room) {
            Folded::To(results) => results,
            Folded::Not => continue,
            Folded::Refused(why) => {
                change.notes.push(refused(graph, graph.node(id), &why));
                continue;
            }
            Folded::TooLarge(size) => {
                change.notes.push(over_budget(graph, graph.node(id), size, room.tensor.min(room.left)));
                continue;
            }
        };
        let outputs = graph.node(id).outputs().to_vec();
        room.left = room.left.saturating_sub(results.iter().map(own_bytes).sum());
        // Integers are what they are, whatever they were computed of.
        if room.record && results.iter().any(|result| result.element().is_real()) {
            change.computed.push(computed(graph, graph.node(id), &results));
        }
        for (output, tensor) in outputs.into_iter().zip(results) {
            let name = std::mem::take(&mut graph.value_mut(output).name);
            let weight = graph.add_weight(name, tensor);
            graph.replace_uses(output, weight);
        }
        // Large operands are freed as soon as their last reader is folded.
        let reads: Vec<ValueId> = graph.node(id).reads().collect();
        if graph.remove_node(id).is_ok() {
            for read in reads {
                if graph.has_value(read) && graph.weight(read).is_some() {
                    // Refused while others read it.
                    let _ = graph.remove_value(read);
                }
            }
        }
        change.n_changed += 1;
    }
    bodies_with_facts(graph, facts, scope, &mut |body| {
        let inner = fold_graph(body.graph, body.facts, body.scope, room);
        change.n_changed += inner.n_changed;
        change.notes.extend(inner.notes);
        change.computed.extend(inner.computed);
    });
    change
}

fn computed(graph: &Graph, node: &Node, results: &[Tensor]) -> Computed {
    let tensor = |input: &Option<ValueId>| input.and_then(|id| graph.weight(id)).cloned();
    let inputs = node.inputs().iter().map(tensor).collect();
    Computed { op: node.op.clone(), attrs: node.attrs.clone(), inputs, results: results.to_vec() }
}

enum Folded {
    To(Vec<Tensor>),
    TooLarge(usize),
    Refused(Reason),
    Not,
}

fn fold_call(graph: &Graph, facts: &Facts, id: NodeId, room: &Room) -> Folded {
    let node = graph.node(id);
    let pure = match &node.op {
        // A quantized weight says how the product that reads it may compute; as single precision it would be lost.
        Op::Builtin(def) => !def.has(Law::Impure) && def.name != "DequantizeLinear",
        Op::Function(_) => true,
        Op::Opaque(_) => false,
    };
    if !pure || node.bodies().next().is_some() {
        return Folded::Not;
    }
    // Shape computations are known without their inputs being weights.
    let known: Option<Vec<Tensor>> = node.outputs().iter().map(|&output| known_content(facts.get(output)?)).collect();
    if let Some(known) = known {
        return Folded::To(known);
    }
    let weights: Option<Vec<Option<&Tensor>>> = node
        .inputs()
        .iter()
        .map(|input| input.map(|id| graph.weight(id)).map_or(Some(None), |w| w.map(Some)))
        .collect();
    let Some(weights) = weights else { return Folded::Not };
    if let Some(splat) = fold_splat(node, facts, &weights) {
        return Folded::To(vec![splat]);
    }
    // Weights that only this call reads are freed by folding it, so they do not count.
    let freed: usize = node
        .reads()
        .filter(|&value| graph.value(value).uses().len() == 1)
        .filter_map(|value| graph.weight(value))
        .map(|weight| if let Data::Stored(stored) = weight.data() { stored.len() } else { own_bytes(weight) })
        .sum();
    let size = |&output: &ValueId| facts.ty(output)?.bytes()?.as_size();
    let Some(size) = node.outputs().iter().map(size).sum::<Option<usize>>() else { return Folded::Not };
    if size.saturating_sub(freed) > room.tensor.min(room.left) {
        return Folded::TooLarge(size);
    }
    // What is not in memory comes there by being looked at, and what is computed of it stays.
    let absent = |data: &Data| matches!(data, Data::Stored(_) | Data::Splat(_) | Data::Seeded(_));
    let brought: usize = weights.iter().flatten().filter(|w| absent(w.data())).map(|w| w.byte_len()).sum();
    let is_stored = |weight: &&&Tensor| matches!(weight.data(), Data::Stored(_));
    let read: usize = weights.iter().flatten().filter(is_stored).map(|w| w.byte_len()).sum();
    if brought > room.left || read > room.most_read {
        return Folded::TooLarge(brought);
    }
    let wide = weights.iter().flatten().any(|weight| weight.element() == Element::Double)
        || node.outputs().iter().any(|&output| facts.ty(output).is_some_and(|ty| ty.element == Element::Double));
    let element = facts.ty(node.output()).map(|ty| ty.element);
    if let Some(why) = undefined(node, &weights, element) {
        return Folded::Refused(why);
    }
    match if wide { evaluate::<f64>(node, &weights) } else { evaluate::<f32>(node, &weights) } {
        Ok(results) if results.iter().any(has_nan) && !weights.iter().flatten().any(|weight| has_nan(weight)) => {
            Folded::Refused(Reason::new("the result is not a number (NaN)"))
        }
        Ok(results) => Folded::To(results),
        Err(why) => Folded::Refused(why),
    }
}

fn evaluate<S: Scalar>(node: &Node, weights: &[Option<&Tensor>]) -> Result<Vec<Tensor>, Reason> {
    let inputs: Vec<Option<Datum<S>>> =
        weights.iter().map(|weight| weight.map(Datum::of_tensor).transpose()).collect::<Result<_, _>>()?;
    let results = run_tensors(&node.op, &node.attrs, &inputs, node.outputs().len()).map_err(|error| error.reason)?;
    results.iter().take(node.outputs().len()).map(Datum::to_tensor).collect()
}

fn has_nan(tensor: &Tensor) -> bool {
    match tensor.element() {
        // Stretches without a branch inside vectorize.
        Element::Float => tensor.view::<f32>().is_some_and(|view| {
            view.chunks(1024).any(|stretch| stretch.iter().fold(false, |found, x| found | x.is_nan()))
        }),
        element if element.is_real() => tensor.to_f64s().is_some_and(|values| values.iter().any(|x| x.is_nan())),
        _ => false,
    }
}

/// A call on repeated elements, computed on one of them.
fn fold_splat(node: &Node, facts: &Facts, weights: &[Option<&Tensor>]) -> Option<Tensor> {
    let Op::Builtin(def) = &node.op else { return None };
    let [output] = node.outputs() else { return None };
    let ty = facts.ty(*output)?;
    let shape = ty.sizes()?;
    if def.name == "ConstantOfShape" && def.domain.is_empty() {
        let value = node.attrs.tensor("value").cloned().unwrap_or_else(|| Tensor::scalar(0f32));
        return Tensor::splat(ty.element, &shape, &value.bytes()).ok();
    }
    let first = (*weights.first()?)?;
    let is_splat = |tensor: &Tensor| matches!(tensor.data(), Data::Splat(_));
    if def.has(Law::View) && is_splat(first) {
        return first.reshape(&shape).ok();
    }
    if def.name == "Expand" && is_splat(first) {
        return Tensor::splat(ty.element, &shape, &one_of(first)?.bytes()).ok();
    }
    if !def.has(Law::Pointwise) || !weights.iter().flatten().all(|tensor| is_splat(tensor)) {
        return None;
    }
    let ones: Vec<Option<Tensor>> = weights.iter().map(|weight| weight.and_then(one_of)).collect();
    let ones: Vec<Option<&Tensor>> = ones.iter().map(Option::as_ref).collect();
    let wide = ty.element == Element::Double;
    if undefined(node, &ones, Some(ty.element)).is_some() {
        return None;
    }
    let result = if wide { evaluate::<f64>(node, &ones) } else { evaluate::<f32>(node, &ones) };
    let result = result.ok().filter(|result| !result.iter().any(has_nan))?;
    Tensor::splat(ty.element, &shape, &result.first()?.bytes()).ok()
}

fn one_of(splat: &Tensor) -> Option<Tensor> {
    match splat.data() {
        Data::Splat(value) => Tensor::splat(splat.element(), &[], &value[..splat.element().bits().div_ceil(8)]).ok(),
        _ => None,
    }
}

/// The tensor whose elements inference knows completely.
fn known_content(fact: &Fact) -> Option<Tensor> {
    let elements: Vec<i64> = fact.content.as_ref()?.iter().map(Dim::as_known).collect::<Option<_>>()?;
    let ty = fact.tensor()?;
    let shape = ty.sizes()?;
    match ty.element {
        Element::Int64 => Tensor::from_vec(&shape, elements).ok(),
        Element::Int32 => {
            let narrow: Vec<i32> = elements.iter().map(|&value| i32::try_from(value).ok()).collect::<Option<_>>()?;
            Tensor::from_vec(&shape, narrow).ok()
        }
        _ => None,
    }
}

/// Bytes that the contents take in memory of their own.
fn own_bytes(tensor: &Tensor) -> usize {
    match tensor.data() {
        Data::Splat(_) | Data::Seeded(_) | Data::Stored(_) => 0,
        Data::Bytes(_) | Data::Strings(_) => tensor.byte_len(),
    }
}

fn over_budget(graph: &Graph, node: &Node, size: usize, limit: usize) -> Diagnostic {
    let message = format!("a constant of {} MiB is not folded: the budget is {} MiB", size >> 20, limit >> 20);
    let mut note = Diagnostic::warning("P0100", message)
        .within(describe_node(node))
        .within(format!("graph `{}`", graph.name))
        .help("raise it with `--fold-budget`");
    note.severity = Severity::Note;
    note
}

fn refused(graph: &Graph, node: &Node, why: &Reason) -> Diagnostic {
    let mut note = Diagnostic::warning("P0101", format!("a call on constants is not folded: {why}"))
        .within(describe_node(node))
        .within(format!("graph `{}`", graph.name));
    note.severity = Severity::Note;
    note
}

/// Whether `value` of `graph` is a weight or computed from weights alone.
pub fn is_constant(graph: &Graph, value: ValueId) -> bool {
    let mut stack = vec![value];
    let mut seen = rustc_hash::FxHashSet::default();
    while let Some(value) = stack.pop() {
        match graph.value(value).def() {
            Def::Weight(_) => {}
            Def::Input { .. } | Def::Capture(_) => return false,
            Def::Result(node, _) => {
                let node = graph.node(*node);
                let pure = matches!(&node.op, Op::Builtin(def) if !def.has(Law::Impure));
                if !pure {
                    return false;
                }
                stack.extend(node.reads().filter(|&read| seen.insert(read)));
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_one_budget() {
        let body = |name: &str| {
            format!(
                "{name}_branch = {name} () => (int64[n] {name}_y) <int64 a = {{0}}, int64 b = {{1000}}, int64 c = {{1}}> {{ {name}_y = Range (a, b, c) }}"
            )
        };
        let (then, otherwise) = (body("then"), body("else"));
        let text = format!(
            "<ir_version: 13, opset_import: [\"\" : 26]>\nagraph (bool t) => (int64[n] y) {{ y = If <{then}, {otherwise}> (t) }}"
        );
        let n_folded = |total: usize| {
            let (mut model, _) = eutectic_ir::text::parse_model(&text).unwrap_or_else(|problems| panic!("{problems}"));
            fold_model(&mut model, FoldBudget { tensor: 1 << 20, total }).n_changed
        };
        assert_eq!([20_000, 12_000, 4_000].map(n_folded), [2, 1, 0]);
    }
}
