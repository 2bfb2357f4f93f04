//! Cuts: a part of the graph alone, and fewer outputs.

use super::{Case, Search, constants};
use eutectic_ir::graph::{Def, Graph, NodeId, Use, ValueId};
use eutectic_ir::{Name, Tensor, walk};
use rustc_hash::{FxHashMap, FxHashSet};

/// Keeps as few nodes as show the failure, by delta debugging over the order of execution.
pub(super) fn nodes(search: &mut Search) {
    // Values that parts are given are those of the whole: it is run for each once at most.
    let mut whole = Whole { case: search.case.clone(), known: FxHashMap::default() };
    whole.ask_for_all(search);
    let mut n_chunks = 2;
    loop {
        let order = walk::order(search.graph()).unwrap_or_default();
        if order.len() < 2 || search.is_spent() {
            return;
        }
        n_chunks = n_chunks.min(order.len());
        let chunks: Vec<&[NodeId]> = order.chunks(order.len().div_ceil(n_chunks)).collect();
        let mut keep = |search: &mut Search, kept: &mut dyn Iterator<Item = NodeId>| {
            let part = whole.part(search, &kept.collect());
            part.is_some_and(|part| search.accept("nodes cut out", part))
        };
        if chunks.iter().any(|chunk| keep(search, &mut chunk.iter().copied())) {
            n_chunks = 2;
        } else if chunks.len() > 2
            && (0..chunks.len()).any(|left_out| {
                let others = chunks.iter().enumerate().filter(|(at, _)| *at != left_out);
                keep(search, &mut others.flat_map(|(_, chunk)| chunk.iter().copied()))
            })
        {
            n_chunks = (n_chunks - 1).max(2);
        } else if chunks.len() == order.len() {
            return;
        } else {
            n_chunks *= 2;
        }
    }
}

/// Keeps one output when it shows the failure alone, else leaves out each that is not needed.
pub(super) fn outputs(search: &mut Search) {
    let n_outputs = search.graph().outputs().len();
    let keep = |search: &mut Search, slots: &[usize]| {
        search.change("outputs left out", |case| {
            case.model.graph.keep_outputs(slots);
            Some(())
        })
    };
    if n_outputs < 2 || (0..n_outputs).any(|slot| keep(search, &[slot])) {
        return;
    }
    let mut at = 0;
    while at < search.graph().outputs().len() && search.graph().outputs().len() > 1 {
        let others: Vec<usize> = (0..search.graph().outputs().len()).filter(|slot| *slot != at).collect();
        if !keep(search, &others) {
            at += 1;
        }
    }
}

/// The case that parts are cut out of, and what its values are known to be.
struct Whole {
    case: Case,
    known: FxHashMap<ValueId, Option<Tensor>>,
}

impl Whole {
    /// Asks for every result at once, if they are not too large together: then the whole is run once.
    fn ask_for_all(&mut self, search: &mut Search) {
        const MOST_BYTES: i64 = 1 << 30;
        let graph = &self.case.model.graph;
        let results: Vec<ValueId> = graph
            .values()
            .filter(|(id, value)| graph.producer(*id).is_some() && value.uses().len() > 0)
            .map(|(id, _)| id)
            .collect();
        let bytes = |id: &ValueId| graph.ty(*id)?.bytes()?.as_known();
        let total = results.iter().try_fold(0i64, |total, id| total.checked_add(bytes(id)?));
        if total.is_some_and(|total| total <= MOST_BYTES)
            && let Some(values) = search.judge.values(&self.case, &results)
        {
            self.known.extend(results.into_iter().zip(values.into_iter().map(Some)));
        }
    }

    /// What the case computes for `wanted`; none where the judge cannot tell.
    fn values(&mut self, search: &mut Search, wanted: &[ValueId]) -> Vec<Option<Tensor>> {
        let graph = &self.case.model.graph;
        let missing: Vec<ValueId> =
            wanted.iter().copied().filter(|id| !self.known.contains_key(id) && graph.has_value(*id)).collect();
        if !missing.is_empty() {
            let found = search.judge.values(&self.case, &missing);
            let found = found.map_or(vec![None; missing.len()], |values| values.into_iter().map(Some).collect());
            self.known.extend(missing.into_iter().zip(found));
        }
        wanted.iter().map(|id| self.known.get(id).cloned().flatten()).collect()
    }

    /// The nodes `kept` of the present case alone: what they read of others is an input, or a weight where it depends on weights
    /// alone; what they compute for nobody among them is an output. `None` when such an input has no type that can be given.
    fn part(&mut self, search: &mut Search, kept: &FxHashSet<NodeId>) -> Option<Case> {
        let graph = search.graph();
        let mut boundary: Vec<ValueId> = kept
            .iter()
            .flat_map(|id| graph.node(*id).reads().collect::<Vec<_>>())
            .filter(|&value| graph.producer(value).is_some_and(|(id, _)| !kept.contains(&id)))
            .collect();
        boundary.sort_unstable();
        boundary.dedup();
        let constant = constants(graph);
        let outputs = outputs_of(graph, kept);
        let values = self.values(search, &boundary);
        let mut case = search.case.clone();
        give_defaults(&mut case);
        let graph = &mut case.model.graph;
        for (&old, value) in boundary.iter().zip(values) {
            let mut name = std::mem::take(&mut graph.value_mut(old).name);
            if name.is_empty() {
                name = fresh(graph, old);
            }
            let new = match &value {
                Some(tensor) if constant[old.index()] => graph.add_weight(name, tensor.clone()),
                Some(tensor) => graph.add_input(name, Some(tensor.ty()), None),
                None => {
                    let ty = graph.value(old).ty.clone()?;
                    let new = graph.add_input(name, None, None);
                    graph.value_mut(new).ty = Some(ty);
                    new
                }
            };
            if matches!(graph.value(new).def(), Def::Input { .. }) {
                case.inputs.push(value);
            }
            graph.replace_uses(old, new);
        }
        graph.keep_outputs(&[]);
        for (name, value) in outputs {
            let name = if name.is_empty() { fresh(graph, value) } else { name };
            if graph.value(value).name.is_empty() {
                graph.value_mut(value).name = name.clone();
            }
            graph.add_output(name, value);
        }
        Some(case)
    }
}

/// The outputs of the part `kept`: those of the graph that it computes, and what none of it reads.
fn outputs_of(graph: &Graph, kept: &FxHashSet<NodeId>) -> Vec<(Name, ValueId)> {
    let is_kept = |value: ValueId| graph.producer(value).is_some_and(|(id, _)| kept.contains(&id));
    let of_graph = graph.outputs().iter().filter(|output| is_kept(output.value));
    let mut outputs: Vec<(Name, ValueId)> = of_graph.map(|output| (output.name.clone(), output.value)).collect();
    let read_within = |used: Use| match used {
        Use::Input(id, _) | Use::Capture(id, _) => kept.contains(&id),
        Use::Output(_) => true,
    };
    let mut ends: Vec<NodeId> = kept.iter().copied().collect();
    ends.sort_unstable();
    for id in ends {
        let values = graph.node(id).outputs();
        if values.iter().any(|&value| graph.value(value).uses().any(read_within)) {
            continue;
        }
        let used = values.iter().copied().find(|&value| graph.value(value).uses().len() > 0);
        let value = used.unwrap_or(graph.node(id).output());
        outputs.push((graph.value(value).name.clone(), value));
    }
    outputs
}

/// Inputs that are left to their defaults are weights from now on: inputs that are given must not stand behind them.
fn give_defaults(case: &mut Case) {
    for at in (0..case.inputs.len()).rev() {
        let id = case.model.graph.inputs()[at];
        if let (None, Def::Input { default: Some(default), .. }) = (&case.inputs[at], case.model.graph.value(id).def())
        {
            let default = default.clone();
            // An input may become a weight, so this is not refused.
            if case.model.graph.set_weight(id, default).is_ok() {
                case.inputs.remove(at);
            }
        }
    }
}

fn fresh(graph: &Graph, value: ValueId) -> Name {
    let mut name = format!("value{}", value.index());
    while graph.values().any(|(_, value)| value.name == name.as_str())
        || graph.outputs().iter().any(|output| output.name == name.as_str())
    {
        name.push('_');
    }
    name.into()
}
