//! From the space back to a graph: price every e-node, choose, rebuild.

use super::language::{ENode, Head, arguments};
use super::space::{Call as Place, Space};
use crate::cost::CostModel;
use crate::extract::{Candidate, Choice, Extract, ExtractError, Problem, tree};
use egg::Id;
use eutectic_ir::graph::{Def, Graph, NodeId, Op, ValueId};
use eutectic_ir::op::{Call, Fact};
use eutectic_ir::tensor::Seed;
use eutectic_ir::{Attrs, Diagnostic, Name, TensorType, diag};
use rustc_hash::{FxHashMap, FxHashSet};

/// What an extraction cost, in the unit of the cost model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extracted {
    /// Each use counted.
    pub tree: f64,
    /// Sharing counted once.
    pub dag: f64,
    /// What every choice costs at least with sharing counted once, where the extractor proves it.
    pub bound: Option<f64>,
}

impl Extracted {
    /// How much of the cost a better choice could save at most; `None` where nothing is proved.
    pub fn gap(&self) -> Option<f64> {
        let bound = self.bound?;
        Some(if self.dag > 0.0 { ((self.dag - bound) / self.dag).max(0.0) } else { 0.0 })
    }
}

/// What a call on constants costs, which folding takes out, in overheads: enough to choose the shortest among equals.
const FOLDED: f64 = 1e-3;

/// Chooses a graph from `space`. `original` gives interface, names and what no rule touched.
///
/// Errors: no equal graph uses only allowed operators; a price is NaN, infinite or negative.
pub fn extract_graph(
    space: &Space,
    original: &Graph,
    cost: &CostModel,
    allowed: &dyn Fn(&Op) -> bool,
    extract: Extract,
) -> Result<(Graph, Extracted), Diagnostic> {
    let (chosen, costs) = choose(space, cost, allowed, extract)?;
    Ok((build_chosen(space, original, &chosen), costs))
}

/// Chooses an e-node for each class that the root needs; each stands after those that it reads. Errors as for [`extract_graph`].
pub(crate) fn choose(
    space: &Space,
    cost: &CostModel,
    allowed: &dyn Fn(&Op) -> bool,
    extract: Extract,
) -> Result<(Chosen, Extracted), Diagnostic> {
    let (problem, ids) = problem(space, &mut |class, node| price(space, class, node, cost, allowed));
    let (choice, bound) = extract.choose(&problem).map_err(|error| match error {
        ExtractError::Infeasible => infeasible(),
        ExtractError::Cost { class, candidate, cost } => {
            let node = &space.egraph[ids[class]].nodes[problem.places[class][candidate] as usize];
            let operator = space.describe(node);
            Diagnostic::error(diag::Kind::Invalid, "P0204", format!("a call of {operator} is said to cost {cost}"))
                .help("costs are finite numbers from zero up; mend the cost model that `--cost` names")
        }
    })?;
    let costs = Extracted {
        tree: choice.tree_cost(&problem).unwrap_or(f64::INFINITY),
        dag: choice.dag_cost(&problem).unwrap_or(f64::INFINITY),
        bound,
    };
    Ok((chosen(&problem, &ids, &choice).ok_or_else(infeasible)?, costs))
}

/// A graph drawn from `space`: each e-node has a price drawn from `seed`, and the tree that is cheapest then is chosen.
///
/// Errors: no equal graph uses only allowed operators.
pub fn draw_graph(
    space: &Space,
    original: &Graph,
    allowed: &dyn Fn(&Op) -> bool,
    seed: u64,
) -> Result<Graph, Diagnostic> {
    // Prices over six orders of magnitude: a form is not chosen more often because it has fewer calls.
    let prices = Seed { seed, low: -6.0, high: 0.0 };
    let mut n_priced = 0;
    let (problem, ids) = problem(space, &mut |_, node| {
        n_priced += 1;
        let is_allowed = match node.head {
            Head::Call { op, .. } => allowed(&space.egraph.analysis.ops[op as usize]),
            _ => true,
        };
        is_allowed.then(|| 10f64.powf(prices.at(n_priced)))
    });
    let choice = tree(&problem).map_err(|_| infeasible())?;
    Ok(build_chosen(space, original, &chosen(&problem, &ids, &choice).ok_or_else(infeasible)?))
}

/// What the cheapest graph costs that takes these e-nodes for their classes, sharing counted once; `None` when there is none.
pub(super) fn dag_cost_with(
    space: &Space,
    cost: &CostModel,
    allowed: &dyn Fn(&Op) -> bool,
    extract: Extract,
    forced: &[(Id, ENode)],
) -> Option<f64> {
    let (problem, _) = problem(space, &mut |class, node| {
        let is_free = forced.iter().all(|(other, wanted)| *other != class || wanted == node);
        price(space, class, node, cost, allowed).filter(|_| is_free)
    });
    extract.choose(&problem).ok()?.0.dag_cost(&problem)
}

/// The chosen e-nodes, each after those that it reads. Valid until the space changes.
pub(crate) struct Chosen {
    pub(super) calls: Vec<Place>,
    /// What they cost with sharing counted once.
    pub(super) dag_cost: f64,
}

fn chosen(problem: &Placed, ids: &[Id], choice: &Choice) -> Option<Chosen> {
    let of_class = |class| Some(Place { class: ids[class], at: problem.places[class][choice.of(class)?] });
    let calls = choice.order(problem)?.into_iter().map(of_class).collect::<Option<_>>()?;
    Some(Chosen { calls, dag_cost: choice.dag_cost(problem)? })
}

/// The graph that `chosen` stands for.
pub(crate) fn build_chosen(space: &Space, original: &Graph, chosen: &Chosen) -> Graph {
    build(space, original, chosen).0
}

/// The graph that `chosen` stands for, and its value for each class.
pub(super) fn build(space: &Space, original: &Graph, chosen: &Chosen) -> (Graph, FxHashMap<Id, ValueId>) {
    let mut builder = Builder::new(space, original);
    let is_projected = |call: &&Place| matches!(space.enode(**call).head, Head::Project(_));
    builder.computed = chosen.calls.iter().filter(|call| !is_projected(call)).map(|call| call.class).collect();
    for &call in &chosen.calls {
        builder.add(call.class, space.enode(call));
    }
    builder.finish()
}

fn infeasible() -> Diagnostic {
    Diagnostic::error(diag::Kind::Unsupported, "P0200", "no equal graph uses only the operators of the target")
        .help("choose another `--target`, or allow a newer `--opset`")
}

/// An e-graph as plain data, for other programs: what may be chosen, and at what cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Dump {
    /// The e-nodes, class by class.
    pub nodes: Vec<DumpedNode>,
    /// The class of all outputs.
    pub root: usize,
}

/// One e-node.
#[derive(Clone, Debug, PartialEq)]
pub struct DumpedNode {
    /// Its operator, or what else it is.
    pub operator: String,
    /// The class that it belongs to.
    pub class: usize,
    /// What it costs.
    pub cost: f64,
    /// The classes that it reads.
    pub children: Vec<usize>,
}

/// What extraction sees of `space`; e-nodes that read what no allowed operator derives are left out.
pub fn dump(space: &Space, cost: &CostModel, allowed: &dyn Fn(&Op) -> bool) -> Dump {
    let (problem, ids) = problem(space, &mut |class, node| price(space, class, node, cost, allowed));
    let derivable = problem.derivable();
    let mut nodes = Vec::new();
    for (class, candidates) in problem.classes.iter().enumerate() {
        for (at, candidate) in candidates.iter().enumerate() {
            if candidate.children.iter().all(|&child| derivable[child]) {
                let node = &space.egraph[ids[class]].nodes[problem.places[class][at] as usize];
                let (children, cost) = (candidate.children.clone(), candidate.cost);
                nodes.push(DumpedNode { operator: space.describe(node), class, cost, children });
            }
        }
    }
    Dump { nodes, root: problem.root }
}

/// A problem, with the place of each candidate among the nodes of its class.
struct Placed {
    problem: Problem,
    places: Vec<Vec<u32>>,
}

impl std::ops::Deref for Placed {
    type Target = Problem;
    fn deref(&self) -> &Problem {
        &self.problem
    }
}

fn problem(space: &Space, price: &mut dyn FnMut(Id, &ENode) -> Option<f64>) -> (Placed, Vec<Id>) {
    let mut ids: Vec<Id> = space.egraph.classes().map(|class| class.id).collect();
    ids.sort_unstable();
    let index: FxHashMap<Id, usize> = ids.iter().enumerate().map(|(at, &id)| (id, at)).collect();
    let at = |id: Id| index[&space.egraph.find(id)];
    let mut classes = Vec::with_capacity(ids.len());
    let mut places = Vec::with_capacity(ids.len());
    let mut joint: FxHashMap<usize, Vec<(usize, usize)>> = FxHashMap::default();
    for (class, &id) in ids.iter().enumerate() {
        let (mut candidates, mut place) = (Vec::new(), Vec::new());
        for (node_at, node) in space.egraph[id].nodes.iter().enumerate() {
            let Some(cost) = price(id, node) else { continue };
            let children: Vec<usize> = node.children.iter().map(|&child| at(child)).collect();
            if matches!(node.head, Head::Project(_)) {
                joint.entry(children[0]).or_default().push((class, candidates.len()));
            }
            candidates.push(Candidate { children, cost });
            place.push(node_at as u32);
        }
        classes.push(candidates);
        places.push(place);
    }
    let mut joint: Vec<(usize, Vec<(usize, usize)>)> = joint.into_iter().filter(|(_, group)| group.len() > 1).collect();
    joint.sort();
    let joint = joint.into_iter().map(|(_, group)| group).collect();
    (Placed { problem: Problem { classes, root: at(space.root), joint }, places }, ids)
}

/// The cost of one e-node; `None` when its operator is not allowed.
fn price(space: &Space, class: Id, node: &ENode, model: &CostModel, allowed: &dyn Fn(&Op) -> bool) -> Option<f64> {
    let Head::Call { op, record, .. } = node.head else {
        return Some(match node.head {
            Head::Fixed { .. } => model.unknown(),
            Head::Project(_) if space.egraph[class].data.constant => FOLDED * model.overhead(),
            Head::Project(_) => model.overhead(),
            _ => 0.0,
        });
    };
    let tables = &space.egraph.analysis;
    let op = &tables.ops[op as usize];
    if !allowed(op) {
        return None;
    }
    if space.egraph[class].data.constant {
        return Some(FOLDED * model.overhead());
    }
    let priced = || {
        let outputs: Option<Vec<TensorType>> =
            space.egraph[class].data.facts.iter().map(|fact| fact.as_ref()?.tensor().cloned()).collect();
        let call = Call {
            attrs: &tables.records[record as usize],
            inputs: &arguments(&space.egraph, &node.children)?,
            captures: &[],
            n_outputs: outputs.as_ref()?.len(),
            scope: "",
        };
        model.price(op, &call, &outputs?)
    };
    Some(priced().unwrap_or(model.unknown()) + model.overhead())
}

struct Builder<'a> {
    space: &'a Space,
    original: &'a Graph,
    graph: Graph,
    values: FxHashMap<Id, ValueId>,
    tuples: FxHashMap<Id, Vec<ValueId>>,
    /// The original value that stands for a class; the first in the order of the original graph.
    namesakes: FxHashMap<Id, ValueId>,
    /// Nodes of the original graph by index.
    fixed: FxHashMap<u32, NodeId>,
    taken: FxHashSet<Name>,
    /// Nodes of the original graph whose names are given away.
    continued: FxHashSet<NodeId>,
    /// Classes for which something else than an output of a call with several is chosen.
    computed: FxHashSet<Id>,
    /// New names tried so far.
    n_named: usize,
}

impl<'a> Builder<'a> {
    fn new(space: &'a Space, original: &'a Graph) -> Self {
        let mut graph = Graph::new(original.name.clone());
        graph.doc = original.doc.clone();
        graph.metadata = original.metadata.clone();
        let mut builder = Self {
            space,
            original,
            graph,
            values: FxHashMap::default(),
            tuples: FxHashMap::default(),
            namesakes: FxHashMap::default(),
            computed: FxHashSet::default(),
            n_named: 0,
            continued: FxHashSet::default(),
            fixed: original.nodes().map(|(id, _)| (id.index() as u32, id)).collect(),
            taken: original.values().map(|(_, value)| value.name.clone()).collect(),
        };
        for (id, value) in original.values() {
            let Some(&class) = space.classes.get(&id) else { continue };
            let class = space.egraph.find(class);
            builder.namesakes.entry(class).or_insert(id);
            let copy = match value.def() {
                Def::Input { default, .. } => {
                    let copy = builder.graph.add_input(value.name.clone(), None, default.clone());
                    builder.graph.value_mut(copy).ty = value.ty.clone();
                    copy
                }
                Def::Capture(index) => builder.graph.add_capture(value.name.clone(), value.ty.clone(), *index),
                Def::Weight(_) | Def::Result(..) => continue,
            };
            builder.values.insert(class, copy);
        }
        builder
    }

    fn add(&mut self, class: Id, node: &ENode) {
        match node.head {
            // Inputs and captures are there already; the root is read last.
            Head::Leaf(_) | Head::Absent | Head::Root => {}
            Head::Weight(index) => {
                let name = self.name_of(class);
                let tensor = self.space.egraph.analysis.weights[index as usize].clone();
                let value = self.graph.add_weight(name, tensor);
                self.values.insert(class, value);
            }
            Head::Project(index) => {
                let tuple = self.space.egraph.find(node.children[0]);
                if let Some(&value) = self.tuples.get(&tuple).and_then(|outputs| outputs.get(usize::from(index))) {
                    self.values.insert(class, value);
                }
            }
            Head::Call { op, record, n_outputs } => {
                let tables = &self.space.egraph.analysis;
                let (op, attrs) = (tables.ops[op as usize].clone(), tables.records[record as usize].clone());
                self.add_call(class, node, op, attrs, usize::from(n_outputs), node.children.len());
            }
            Head::Fixed { node: index, n_outputs } => {
                let Some(fixed) = self.fixed.get(&index).map(|&id| self.original.node(id)) else { return };
                let (op, attrs) = (fixed.op.clone(), fixed.attrs.clone());
                self.add_call(class, node, op, attrs, usize::from(n_outputs), fixed.inputs().len());
            }
        }
    }

    fn add_call(&mut self, class: Id, node: &ENode, op: Op, attrs: Attrs, n_outputs: usize, n_inputs: usize) {
        let children: Vec<Option<ValueId>> =
            node.children.iter().map(|&child| self.values.get(&self.space.egraph.find(child)).copied()).collect();
        let mut classes = vec![Some(class)];
        if n_outputs != 1 {
            let output = |index| self.space.egraph.lookup(ENode::new(Head::Project(index as u8), [class]));
            classes = (0..n_outputs).map(output).collect();
        }
        let mut name = |class: &Option<Id>| match class {
            // Nobody reads this output: another call computes what it is equal to, and has its name.
            Some(class) if n_outputs != 1 && self.computed.contains(class) => self.new_name(),
            Some(class) => self.name_of(*class),
            None => Name::default(),
        };
        let names: Vec<Name> = classes.iter().map(&mut name).collect();
        let id = self.graph.add_node(op, attrs, children[..n_inputs].iter().copied(), names);
        for captured in children[n_inputs..].iter().flatten() {
            self.graph.capture(id, *captured);
        }
        let namesake = classes.iter().flatten().find_map(|class| self.namesakes.get(class));
        if let Some((original, _)) = namesake.and_then(|&value| self.original.producer(value)) {
            // Several calls may stand for the outputs of one.
            let is_first = self.continued.insert(original);
            let original = self.original.node(original);
            if is_first {
                self.graph.node_mut(id).name = original.name.clone();
            }
            self.graph.node_mut(id).metadata = original.metadata.clone();
        }
        let facts: &[Option<Fact>] = &self.space.egraph[class].data.facts;
        let outputs = self.graph.node(id).outputs().to_vec();
        for (&output, fact) in outputs.iter().zip(facts) {
            self.graph.value_mut(output).ty = fact.as_ref().map(|fact| fact.ty.clone());
        }
        if n_outputs == 1 {
            self.values.insert(class, outputs[0]);
        }
        self.tuples.insert(class, outputs);
    }

    /// The name of the original value that stands for `class`, or a new one.
    fn name_of(&mut self, class: Id) -> Name {
        if let Some(&value) = self.namesakes.get(&class) {
            let name = &self.original.value(value).name;
            if !name.is_empty() {
                return name.clone();
            }
        }
        self.new_name()
    }

    fn new_name(&mut self) -> Name {
        // Counted in the order of the graph: a number of the e-graph would change with every rule that is added.
        loop {
            let name = Name::from(format!("e{}", self.n_named));
            self.n_named += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    fn finish(mut self) -> (Graph, FxHashMap<Id, ValueId>) {
        for output in self.original.outputs() {
            let class = self.space.classes.get(&output.value).map(|&class| self.space.egraph.find(class));
            if let Some(&value) = class.and_then(|class| self.values.get(&class)) {
                self.graph.add_output(output.name.clone(), value);
            }
        }
        (self.graph, self.values)
    }
}
