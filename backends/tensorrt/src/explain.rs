//! What stands behind the kernels of an engine: the source nodes of each, and what two builds fuse differently.

use crate::engine::Engine;
use crate::listing::{EngineLayer, EngineTensor, kernels};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A kernel with the source nodes behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained<'a> {
    /// The kernel.
    pub kernel: &'a EngineLayer,
    /// The nodes, in the library's order.
    pub nodes: Vec<&'a str>,
    /// What it has to do with them.
    pub role: Role,
}

/// What a kernel has to do with its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It computes them, or a part of them.
    Computes,
    /// It is of no node: it brings data into the layout that the kernels of these nodes read.
    Feeds,
    /// It is of no node: it brings what these nodes computed into the layout of an output.
    Follows,
    /// It stands alone, between an input and an output.
    Alone,
}

/// Every kernel with its nodes. One that the builder added by itself is explained by its neighbours.
pub fn explain(layers: &[EngineLayer]) -> Vec<Explained<'_>> {
    let mut readers: HashMap<&str, Vec<&EngineLayer>> = HashMap::new();
    let mut writers: HashMap<&str, &EngineLayer> = HashMap::new();
    for layer in layers {
        layer.inputs.iter().for_each(|tensor| readers.entry(&tensor.name).or_default().push(layer));
        writers.extend(layer.outputs.iter().map(|tensor| (tensor.name.as_str(), layer)));
    }
    let after = |layer: &EngineLayer| -> Vec<&EngineLayer> {
        layer.outputs.iter().filter_map(|tensor| readers.get(tensor.name.as_str())).flatten().copied().collect()
    };
    let before = |layer: &EngineLayer| -> Vec<&EngineLayer> {
        layer.inputs.iter().filter_map(|tensor| writers.get(tensor.name.as_str())).copied().collect()
    };
    let one = |kernel| {
        let own = names(&[kernel]);
        if !own.is_empty() {
            return Explained { kernel, nodes: own, role: Role::Computes };
        }
        for (role, step) in [(Role::Feeds, &after as &dyn Fn(&_) -> Vec<_>), (Role::Follows, &before)] {
            let nodes = nearest(kernel, step);
            if !nodes.is_empty() {
                return Explained { kernel, nodes, role };
            }
        }
        Explained { kernel, nodes: Vec::new(), role: Role::Alone }
    };
    kernels(layers).map(one).collect()
}

/// The nodes of the first layers, step by step from `kernel`, that have any.
fn nearest<'a>(kernel: &'a EngineLayer, step: &dyn Fn(&'a EngineLayer) -> Vec<&'a EngineLayer>) -> Vec<&'a str> {
    const FARTHEST: usize = 8;
    let mut here = vec![kernel];
    for _ in 0..FARTHEST {
        here = here.into_iter().flat_map(step).collect();
        let found = names(&here);
        if here.is_empty() || !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

fn names<'a>(layers: &[&'a EngineLayer]) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    let all = layers.iter().flat_map(|layer| layer.origins.iter().map(String::as_str));
    all.filter(|name| seen.insert(*name)).collect()
}

/// What two builds fuse differently. A fusion is the set of nodes of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Kernels that both have.
    pub common: usize,
    /// Those of the first alone: nodes, and how many such kernels there are more.
    pub first: Vec<(Vec<String>, usize)>,
    /// Those of the second alone.
    pub second: Vec<(Vec<String>, usize)>,
}

/// Compares the kernels of two engines by the nodes that they compute.
pub fn difference(first: &[EngineLayer], second: &[EngineLayer]) -> Difference {
    let count = |layers: &[EngineLayer]| {
        let mut count: BTreeMap<Vec<String>, usize> = BTreeMap::new();
        for kernel in kernels(layers) {
            let mut nodes = kernel.origins.clone();
            nodes.sort_unstable();
            *count.entry(nodes).or_default() += 1;
        }
        count
    };
    let (first, second) = (count(first), count(second));
    let common = first.iter().map(|(nodes, n)| (*n).min(second.get(nodes).copied().unwrap_or(0))).sum();
    let alone = |these: &BTreeMap<Vec<String>, usize>, others: &BTreeMap<Vec<String>, usize>| {
        let more = |(nodes, n): (&Vec<String>, &usize)| {
            let more = n.saturating_sub(others.get(nodes).copied().unwrap_or(0));
            (more > 0).then(|| (nodes.clone(), more))
        };
        these.iter().filter_map(more).collect()
    };
    Difference { common, first: alone(&first, &second), second: alone(&second, &first) }
}

/// The layers of an engine in the form of `trtexec --exportLayerInfo`.
pub fn layer_info(engine: &Engine) -> Value {
    let tensor = |tensor: &EngineTensor| {
        json!({
            "Name": tensor.name,
            "Dimensions": tensor.dims,
            "Format/Datatype": format!("{} {}", tensor.data_type, tensor.format).trim(),
        })
    };
    let tensors = |list: &[EngineTensor]| list.iter().map(tensor).collect::<Vec<_>>();
    let layer = |layer: &EngineLayer| {
        json!({
            "Name": layer.name,
            "LayerType": layer.kind,
            "Inputs": tensors(&layer.inputs),
            "Constants": tensors(&layer.constants),
            "Outputs": tensors(&layer.outputs),
            "TacticName": layer.tactic,
            "Metadata": layer.origins.iter().map(|origin| crate::listing::origin_tag(origin)).collect::<Vec<_>>().join("\u{1f}"),
        })
    };
    json!({ "Layers": engine.layers.iter().map(layer).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, reads: &[&str], writes: &[&str], origins: &[&str]) -> EngineLayer {
        let tensors = |names: &[&str]| {
            names.iter().map(|name| EngineTensor { name: (*name).into(), ..EngineTensor::default() }).collect()
        };
        let origins = origins.iter().map(|origin| (*origin).into()).collect();
        let kind = "kgen".into();
        EngineLayer {
            name: name.into(),
            kind,
            inputs: tensors(reads),
            outputs: tensors(writes),
            origins,
            ..EngineLayer::default()
        }
    }

    #[test]
    fn a_layout_change_is_explained_by_its_neighbours() {
        let layers = [
            layer("in", &["x"], &["x1"], &[]),
            layer("conv", &["x1"], &["y1"], &["conv", "relu"]),
            layer("out", &["y1"], &["y"], &[]),
            layer("copy", &["a"], &["b"], &[]),
        ];
        let found: Vec<_> = explain(&layers).into_iter().map(|one| (one.role, one.nodes)).collect();
        let nodes = vec!["conv", "relu"];
        assert_eq!(
            found,
            [
                (Role::Feeds, nodes.clone()),
                (Role::Computes, nodes.clone()),
                (Role::Follows, nodes),
                (Role::Alone, Vec::new())
            ]
        );
    }

    #[test]
    fn builds_differ_in_the_nodes_that_share_a_kernel() {
        let fused = [layer("a", &[], &[], &["relu", "conv"]), layer("c", &[], &[], &["pool"])];
        let split = [layer("a", &[], &[], &["conv"]), layer("b", &[], &[], &["relu"]), layer("c", &[], &[], &["pool"])];
        let found = difference(&fused, &split);
        assert_eq!(found.common, 1);
        assert_eq!(found.first, [(vec!["conv".to_owned(), "relu".to_owned()], 1)]);
        assert_eq!(found.second, [(vec!["conv".to_owned()], 1), (vec!["relu".to_owned()], 1)]);
    }
}
