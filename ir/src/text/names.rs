//! Chooses the printed name of every value of a graph: its own where possible, unique in any case.

use crate::attr::Name;
use crate::graph::{Def, Graph, ValueId};
use rustc_hash::FxHashSet;

/// The printed names of one graph.
pub(super) struct Names {
    of: Vec<Name>,
    /// One an output: its printed name.
    pub(super) outputs: Vec<Name>,
    /// Outputs that cannot give their name to the value behind them: output name and name of that value.
    pub(super) aliases: Vec<(Name, Name)>,
}

impl Names {
    /// The printed name of value `id`; empty for an output that is left out.
    pub(super) fn of(&self, id: ValueId) -> &Name {
        &self.of[id.index()]
    }

    /// Names for `graph`, whose captures are printed as `captured`. A made-up name is none of `everywhere`, and joins it.
    pub(super) fn of_graph(graph: &Graph, captured: &[Name], everywhere: &mut Everywhere) -> Self {
        let mut maker = Maker { taken: captured.iter().cloned().collect(), everywhere };
        let mut of = vec![Name::default(); graph.value_bound()];
        for (id, value) in graph.values() {
            if let Def::Capture(index) = value.def() {
                of[id.index()] = captured.get(*index as usize).unwrap_or(&value.name).clone();
            }
        }
        for &id in graph.inputs() {
            of[id.index()] = maker.choose(&graph.value(id).name);
        }
        // An output's name is the interface: it goes before the names of values inside.
        let (mut outputs, mut aliased) = (Vec::new(), Vec::new());
        for output in graph.outputs() {
            let behind = &of[output.value.index()];
            if output.name == *behind || (output.name.is_empty() && !behind.is_empty()) {
                outputs.push(behind.clone());
                continue;
            }
            let wanted = if output.name.is_empty() { &graph.value(output.value).name } else { &output.name };
            let name = maker.choose(wanted);
            if behind.is_empty() {
                of[output.value.index()] = name.clone();
            } else {
                aliased.push((name.clone(), output.value));
            }
            outputs.push(name);
        }
        for (id, value) in graph.values().filter(|(_, value)| !matches!(value.def(), Def::Capture(_))) {
            let left_out = matches!(value.def(), Def::Result(..)) && value.name.is_empty() && value.uses().len() == 0;
            if of[id.index()].is_empty() && !left_out {
                of[id.index()] = maker.choose(&value.name);
            }
        }
        let aliases = aliased.into_iter().map(|(name, id)| (name, of[id.index()].clone())).collect();
        Self { of, outputs, aliases }
    }
}

/// Every name that a graph and the graphs inside it use, in the model and in print.
#[derive(Default)]
pub(super) struct Everywhere {
    names: FxHashSet<Name>,
    n_made: usize,
}

impl Everywhere {
    /// The names that `graph` and the graphs inside it use.
    pub(super) fn of_graph(graph: &Graph) -> Self {
        let mut everywhere = Self::default();
        everywhere.collect(graph);
        everywhere
    }

    fn collect(&mut self, graph: &Graph) {
        self.names.extend(graph.values().map(|(_, value)| value.name.clone()));
        self.names.extend(graph.outputs().iter().map(|output| output.name.clone()));
        for (_, node) in graph.nodes() {
            node.bodies().for_each(|body| self.collect(body));
        }
    }
}

struct Maker<'a> {
    taken: FxHashSet<Name>,
    everywhere: &'a mut Everywhere,
}

impl Maker<'_> {
    /// `wanted`, or a new name when it is empty or taken.
    fn choose(&mut self, wanted: &Name) -> Name {
        if !wanted.is_empty() && self.taken.insert(wanted.clone()) {
            return wanted.clone();
        }
        let stem = if wanted.is_empty() { "v" } else { wanted.as_str() };
        loop {
            self.everywhere.n_made += 1;
            let made = Name::from(format!("{stem}_{}", self.everywhere.n_made));
            if self.everywhere.names.insert(made.clone()) {
                self.taken.insert(made.clone());
                return made;
            }
        }
    }
}
