//! The calls of a graph as regions are formed of them: by position in an order of execution, with known sizes.

use eutectic_ir::graph::{Graph, NodeId, Use, ValueId};
use eutectic_ir::region::{Abilities, Member, Operand, Role, Space, space};
use eutectic_ir::types::Element;
use eutectic_ir::walk;

/// A graph, and what the backend says of its calls.
pub(super) struct Calls<'a> {
    pub graph: &'a Graph,
    pub abilities: &'a Abilities,
    /// The node of each call, in an order in which they may run.
    pub ids: Vec<NodeId>,
    position: Vec<usize>,
    sizes: Vec<Option<Vec<usize>>>,
    bytes: Vec<f64>,
}

impl<'a> Calls<'a> {
    /// `None` when `graph` has a cycle.
    pub fn new(graph: &'a Graph, abilities: &'a Abilities) -> Option<Self> {
        let ids = walk::order(graph).ok()?;
        let mut position = vec![0; graph.node_bound()];
        ids.iter().enumerate().for_each(|(at, id)| position[id.index()] = at);
        let (mut sizes, mut bytes) = (vec![None; graph.value_bound()], vec![0.0; graph.value_bound()]);
        for (id, _) in graph.values() {
            let Some(ty) = graph.ty(id) else { continue };
            let known = ty.sizes();
            let count: usize = known.iter().flatten().product();
            bytes[id.index()] = match ty.element {
                Element::Float => (count * abilities.limits.float_bytes) as f64,
                element => element.byte_len(count).unwrap_or(0) as f64,
            };
            sizes[id.index()] = known;
        }
        Some(Self { graph, abilities, ids, position, sizes, bytes })
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// The role of call `at`; `None` when it runs alone, and when its sizes are not known.
    pub fn role(&self, at: usize) -> Option<&'a Role> {
        let node = self.graph.node(self.ids[at]);
        let is_known = |id: &ValueId| self.sizes[id.index()].is_some();
        let role = self.abilities.roles.get(self.ids[at].index())?.as_ref()?;
        (node.outputs().len() == 1 && node.reads().all(|id| is_known(&id)) && is_known(&node.output())).then_some(role)
    }

    /// The call of a fused function that call `at` stems from.
    pub fn origin(&self, at: usize) -> Option<usize> {
        self.abilities.origin_of.get(self.ids[at].index()).copied().flatten()
    }

    pub fn name(&self, at: usize) -> &'a str {
        self.graph.node(self.ids[at]).op.name()
    }

    /// What call `at` reads, by slot.
    pub fn inputs(&self, at: usize) -> impl Iterator<Item = (usize, ValueId)> + '_ {
        let inputs = self.graph.node(self.ids[at]).inputs();
        inputs.iter().enumerate().filter_map(|(slot, value)| Some((slot, (*value)?)))
    }

    /// Everything that call `at` reads, captures included.
    pub fn reads(&self, at: usize) -> impl Iterator<Item = ValueId> + '_ {
        self.graph.node(self.ids[at]).reads()
    }

    pub fn outputs(&self, at: usize) -> &'a [ValueId] {
        self.graph.node(self.ids[at]).outputs()
    }

    /// The call that computes `value`.
    pub fn producer(&self, value: ValueId) -> Option<usize> {
        self.graph.producer(value).map(|(id, _)| self.position[id.index()])
    }

    /// The calls that read `value`, once for each place that does.
    pub fn readers(&self, value: ValueId) -> impl Iterator<Item = usize> + '_ {
        self.graph.value(value).uses().filter_map(|used| match used {
            Use::Input(id, _) | Use::Capture(id, _) => Some(self.position[id.index()]),
            Use::Output(_) => None,
        })
    }

    pub fn is_output(&self, value: ValueId) -> bool {
        self.graph.value(value).uses().any(|used| matches!(used, Use::Output(_)))
    }

    /// The sizes of `value`; none when they are not known.
    pub fn shape(&self, value: ValueId) -> &[usize] {
        self.sizes[value.index()].as_deref().unwrap_or_default()
    }

    /// Bytes of `value` in memory.
    pub fn bytes(&self, value: ValueId) -> f64 {
        self.bytes[value.index()]
    }

    /// What a region of `calls`, ascending, iterates over; `None` when they cannot be one region: no iteration holds them, or
    /// there are too many.
    pub fn space(&self, calls: &[usize]) -> Option<Space> {
        if calls.len() > self.abilities.limits.calls {
            return None;
        }
        let is_inside =
            |value: ValueId| self.producer(value).is_some_and(|producer| calls.binary_search(&producer).is_ok());
        let operand = |value: ValueId| Operand { shape: self.shape(value), is_inside: is_inside(value) };
        let member = |&at: &usize| {
            let inputs = self.graph.node(self.ids[at]).inputs();
            Some(Member {
                role: self.role(at)?,
                inputs: inputs.iter().map(|input| input.map(operand)).collect(),
                output: self.shape(*self.outputs(at).first()?),
            })
        };
        space(&calls.iter().map(member).collect::<Option<Vec<Member>>>()?, self.abilities.limits.columns)
    }
}
