//! Common-subexpression elimination: equal calls on equal inputs become one, and so do equal weights.

use crate::pass::{Change, Pass};
use eutectic_ir::graph::{Def, Graph, NodeId, Op, ValueId};
use eutectic_ir::op::Law;
use eutectic_ir::tensor::{Data, Tensor};
use eutectic_ir::{Attrs, Element, walk};
use rustc_hash::FxHashMap;

/// Merges equal weights, then equal calls. Impure and unknown operators are never merged.
pub fn cse() -> Pass {
    Pass::new("cse", "", |model| {
        let graph = &mut model.graph;
        Ok(Change::of(merge_weights(graph) + merge_calls(graph)))
    })
}

/// Lets readers of equal weights read one of them; the number of weights that lost their readers.
pub fn merge_weights(graph: &mut Graph) -> usize {
    // Large weights are hashed only when another one agrees in type and in a few sampled bytes.
    let mut groups: FxHashMap<(Element, Vec<usize>, Vec<u8>), Vec<ValueId>> = FxHashMap::default();
    for (id, value) in graph.values() {
        if let Def::Weight(tensor) = value.def() {
            groups.entry((tensor.element(), tensor.shape().to_vec(), sample(tensor))).or_default().push(id);
        }
    }
    let mut n_merged = 0;
    for ids in groups.into_values().filter(|ids| ids.len() > 1) {
        let mut by_place: FxHashMap<u128, ValueId> = FxHashMap::default();
        let mut by_elements: FxHashMap<u128, ValueId> = FxHashMap::default();
        for id in ids {
            let Some(tensor) = graph.weight(id) else { continue };
            // One range of a file is one weight, whatever it holds.
            let first = match tensor.data() {
                Data::Stored(_) => *by_place.entry(tensor.content_hash()).or_insert(id),
                _ => id,
            };
            let first = if first == id { *by_elements.entry(tensor.hash_of_elements()).or_insert(id) } else { first };
            if first != id {
                graph.replace_uses(id, first);
                n_merged += 1;
            }
        }
    }
    n_merged
}

fn sample(tensor: &Tensor) -> Vec<u8> {
    const SAMPLED: usize = 32;
    fn start_and_middle(bytes: &[u8]) -> Vec<u8> {
        let middle = bytes.len() / 2;
        [&bytes[..bytes.len().min(SAMPLED)], &bytes[middle..(middle + SAMPLED).min(bytes.len())]].concat()
    }
    match tensor.data() {
        Data::Bytes(bytes) => start_and_middle(bytes),
        // However they are held, equal contents must fall into one group.
        Data::Splat(_) | Data::Seeded(_) if tensor.count() <= 64 => start_and_middle(&tensor.bytes()),
        Data::Splat(value) => value.to_vec(),
        Data::Seeded(seed) => seed.seed.to_le_bytes().to_vec(),
        Data::Stored(stored) => {
            let middle = stored.len() / 2;
            [stored.part(0..SAMPLED), stored.part(middle..middle + SAMPLED)].concat()
        }
        Data::Strings(_) => Vec::new(),
    }
}

/// Lets readers of equal calls read the first of them; the number of calls that lost their readers.
pub fn merge_calls(graph: &mut Graph) -> usize {
    type Key = (String, Attrs, Vec<Option<ValueId>>, usize);
    // Attributes hash by their contents, which are computed once and never change.
    #[allow(clippy::mutable_key_type)]
    let mut seen: FxHashMap<Key, NodeId> = FxHashMap::default();
    let mut n_merged = 0;
    for id in walk::order(graph).unwrap_or_default() {
        let node = graph.node(id);
        let Op::Builtin(def) = &node.op else { continue };
        if def.has(Law::Impure) || node.bodies().next().is_some() {
            continue;
        }
        let mut inputs = node.inputs().to_vec();
        if def.has(Law::Commutative) && inputs.len() >= 2 {
            inputs[..2].sort();
        }
        let key = (node.op.to_string(), node.attrs.clone(), inputs, node.outputs().len());
        let first = *seen.entry(key).or_insert(id);
        if first != id {
            let pairs: Vec<(ValueId, ValueId)> =
                node.outputs().iter().copied().zip(graph.node(first).outputs().iter().copied()).collect();
            for (from, to) in pairs {
                graph.replace_uses(from, to);
            }
            n_merged += 1;
        }
    }
    n_merged
}
