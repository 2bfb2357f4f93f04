//! Gives every value of a graph a name that nothing else in sight has.
//!
//! Inputs and outputs keep theirs, since callers use them. A name of an enclosing graph is not used again inside.

use eutectic_ir::graph::Def;
use eutectic_ir::{Graph, Name, ValueId};
use rustc_hash::{FxHashMap, FxHashSet};

/// Names in sight, and the numbers that make new ones.
#[derive(Default)]
pub(super) struct InSight {
    taken: FxHashSet<Name>,
    next: FxHashMap<Name, u32>,
}

impl InSight {
    /// `wanted` when it is free, else `wanted` with a number.
    pub fn fresh(&mut self, wanted: &str) -> Name {
        let wanted = Name::from(wanted);
        if self.taken.insert(wanted.clone()) {
            return wanted;
        }
        let next = self.next.entry(wanted.clone()).or_insert(0);
        loop {
            *next += 1;
            let name = Name::from(format!("{wanted}_{next}"));
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    fn reserve(&mut self, name: &Name) {
        self.taken.insert(name.clone());
    }

    /// Puts the names of a graph out of sight again.
    pub fn forget(&mut self, names: impl IntoIterator<Item = Name>) {
        for name in names {
            self.taken.remove(&name);
        }
    }
}

/// The names of one graph.
pub(super) struct Names {
    by_value: Vec<Option<Name>>,
    /// Outputs of the graph whose value has another name: each needs an `Identity`.
    pub renamed: Vec<usize>,
}

impl Names {
    /// Names the values of `graph`. `captures` are the names of what it reads of the graph around it.
    pub fn new(graph: &Graph, captures: &[Name], in_sight: &mut InSight) -> Self {
        let mut by_value: Vec<Option<Name>> = vec![None; graph.value_bound()];
        let mut renamed = Vec::new();
        for &input in graph.inputs() {
            let name = &graph.value(input).name;
            let name = if name.is_empty() { in_sight.fresh("input") } else { name.clone() };
            in_sight.reserve(&name);
            by_value[input.index()] = Some(name);
        }
        for (slot, output) in graph.outputs().iter().enumerate() {
            let value = graph.value(output.value);
            let named = by_value[output.value.index()].clone();
            let direct = match value.def() {
                Def::Result(..) => named.is_none(),
                Def::Input { .. } => named.as_ref() == Some(&output.name),
                Def::Weight(_) => named.is_none() && value.name == output.name,
                Def::Capture(_) => false,
            };
            in_sight.reserve(&output.name);
            if direct {
                by_value[output.value.index()] = Some(output.name.clone());
            } else {
                renamed.push(slot);
            }
        }
        for (id, value) in graph.values() {
            if by_value[id.index()].is_some() {
                continue;
            }
            by_value[id.index()] = match value.def() {
                Def::Capture(index) => captures.get(*index as usize).cloned(),
                // It is not written, so its name is free.
                Def::Weight(_) if value.uses().len() == 0 => None,
                _ if !value.name.is_empty() => Some(in_sight.fresh(&value.name)),
                Def::Weight(_) => Some(in_sight.fresh("weight")),
                // Without a name and without readers, an output is left out.
                Def::Result(..) if value.uses().len() == 0 => None,
                Def::Result(node, slot) => {
                    let node = graph.node(*node);
                    let stem = if node.name.is_empty() { node.op.name() } else { &node.name };
                    Some(in_sight.fresh(&format!("{stem}_output_{slot}")))
                }
                Def::Input { .. } => None,
            };
        }
        Self { by_value, renamed }
    }

    /// The name of `id`; empty for an output that is left out.
    pub fn get(&self, id: ValueId) -> Name {
        self.by_value[id.index()].clone().unwrap_or_default()
    }

    /// Every name that the graph itself defines, to be forgotten after it.
    pub fn own(&self, graph: &Graph) -> Vec<Name> {
        let is_own = |id: ValueId| !matches!(graph.value(id).def(), Def::Capture(_));
        let values =
            graph.values().filter(|(id, _)| is_own(*id)).filter_map(|(id, _)| self.by_value[id.index()].clone());
        values.chain(self.renamed.iter().map(|&slot| graph.outputs()[slot].name.clone())).collect()
    }
}
