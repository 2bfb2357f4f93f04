//! The language of the e-graph: one e-node is one call of an operator on classes, with its attribute record in its head.
//!
//! Equal attribute records are interned, so two e-nodes with one head compute the same function. A call with several
//! outputs is a tuple class; each output is a projection of it. All outputs of the graph hang from one root.

use super::provenance::Provenance;
use egg::{Analysis, DidMerge, EGraph, Id, Justification, Language};
use eutectic_ir::infer::infer_call;
use eutectic_ir::op::{Argument, Call, Fact, Law};
use eutectic_ir::tensor::Tensor;
use eutectic_ir::{Attrs, Dim, Op, TensorType};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::cell::RefCell;

/// What an e-node is, without its children. The order begins with the variant, as egg's search expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Head {
    /// An input or a capture of the graph, by value index.
    Leaf(u32),
    /// A weight, by index into [`Tables::weights`].
    Weight(u32),
    /// An optional input that is left out.
    Absent,
    /// A call: indices into [`Tables::ops`] and [`Tables::records`], and its number of outputs.
    Call { op: u32, record: u32, n_outputs: u8 },
    /// A node of the original graph that no rule may touch: unknown, impure, or with bodies. By node index.
    Fixed { node: u32, n_outputs: u8 },
    /// One output of a call with several.
    Project(u8),
    /// All outputs of the graph.
    Root,
}

/// One e-node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ENode {
    pub head: Head,
    pub children: SmallVec<[Id; 4]>,
}

impl ENode {
    pub(super) fn new(head: Head, children: impl IntoIterator<Item = Id>) -> Self {
        Self { head, children: children.into_iter().collect() }
    }
}

/// What egg indexes classes by: the operator, whatever its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Leaf,
    Absent,
    Call(u32),
    Fixed,
    Project,
    Root,
}

impl Language for ENode {
    type Discriminant = Kind;

    fn discriminant(&self) -> Kind {
        match self.head {
            Head::Leaf(_) | Head::Weight(_) => Kind::Leaf,
            Head::Absent => Kind::Absent,
            Head::Call { op, .. } => Kind::Call(op),
            Head::Fixed { .. } => Kind::Fixed,
            Head::Project(_) => Kind::Project,
            Head::Root => Kind::Root,
        }
    }

    fn matches(&self, other: &Self) -> bool {
        self.head == other.head && self.children.len() == other.children.len()
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}

/// What is known of a class.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    /// What is known of it, or of each output when it is a tuple.
    pub facts: SmallVec<[Option<Fact>; 1]>,
    /// True when it is a weight, or computed from weights alone.
    pub constant: bool,
    /// The weight that stands for it, when there is one.
    pub weight: Option<u32>,
}

/// Two classes with different types were about to become one: some rule is unsound.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// The rule, when one asked for the union; otherwise congruence did.
    pub rule: Option<String>,
    /// The type of one.
    pub left: TensorType,
    /// The type of the other.
    pub right: TensorType,
}

/// The analysis: interned operators, records and weights, and the conflicts met so far.
#[derive(Default)]
pub(super) struct Tables {
    pub ops: Vec<Op>,
    op_numbers: FxHashMap<OpKey, u32>,
    pub records: Vec<Attrs>,
    record_numbers: FxHashMap<Attrs, u32>,
    pub weights: Vec<Tensor>,
    weight_numbers: FxHashMap<u128, u32>,
    /// Facts for the e-node that is added next, when they are known already.
    pub given: Option<SmallVec<[Option<Fact>; 1]>>,
    pub conflicts: RefCell<Vec<Conflict>>,
    /// What was applied and united, where that is recorded.
    pub provenance: Option<RefCell<Provenance>>,
}

impl Tables {
    pub(super) fn find_op(&self, op: &Op) -> Option<u32> {
        self.op_numbers.get(&key(op)).copied()
    }

    pub(super) fn intern_op(&mut self, op: &Op) -> u32 {
        let ops = &mut self.ops;
        *self.op_numbers.entry(key(op)).or_insert_with(|| {
            ops.push(op.clone());
            ops.len() as u32 - 1
        })
    }

    pub(super) fn find_record(&self, attrs: &Attrs) -> Option<u32> {
        self.record_numbers.get(attrs).copied()
    }

    /// The weight that rules made with the contents of `tensor`.
    pub(super) fn find_weight(&self, tensor: &Tensor) -> Option<u32> {
        self.weight_numbers.get(&tensor.content_hash()).copied()
    }

    pub(super) fn intern_record(&mut self, attrs: Attrs) -> u32 {
        if let Some(&number) = self.record_numbers.get(&attrs) {
            return number;
        }
        let number = self.records.len() as u32;
        self.records.push(attrs.clone());
        self.record_numbers.insert(attrs, number);
        number
    }

    /// Small weights that rules make are interned by content; weights of the graph are distinct after CSE.
    pub(super) fn intern_weight(&mut self, tensor: Tensor, by_content: bool) -> u32 {
        let number = self.weights.len() as u32;
        if by_content {
            let number = *self.weight_numbers.entry(tensor.content_hash()).or_insert(number);
            if (number as usize) < self.weights.len() {
                return number;
            }
        }
        self.weights.push(tensor);
        number
    }
}

/// What tells operators apart: a declaration by its address, since each is a static, and everything else by its names.
#[derive(Debug, PartialEq, Eq, Hash)]
enum OpKey {
    Builtin(usize),
    Named(String, String, String),
}

fn key(op: &Op) -> OpKey {
    let overload = match op {
        Op::Builtin(def) => return OpKey::Builtin(std::ptr::from_ref(*def).addr()),
        Op::Function(function) => function.overload.to_string(),
        Op::Opaque(custom) => custom.overload.to_string(),
    };
    OpKey::Named(op.domain().to_string(), op.name().to_string(), overload)
}

/// True when the two types may be of one value: a fresh symbol agrees with everything.
pub(super) fn agree(a: &TensorType, b: &TensorType) -> bool {
    let same = |(a, b): (&Dim, &Dim)| a == b || a.is_unknown() || b.is_unknown();
    a.element == b.element && a.rank() == b.rank() && a.shape.iter().zip(&b.shape).all(same)
}

impl Analysis<ENode> for Tables {
    type Data = Data;

    fn make(egraph: &mut EGraph<ENode, Self>, enode: &ENode, id: Id) -> Data {
        let given = egraph.analysis.given.take();
        let constant_children = enode.children.iter().all(|&child| egraph[child].data.constant);
        match enode.head {
            Head::Absent | Head::Weight(_) => {
                let weight = if let Head::Weight(index) = enode.head { Some(index) } else { None };
                let ty = weight.map(|index| Fact::from(egraph.analysis.weights[index as usize].ty()));
                Data { facts: given.unwrap_or_else(|| SmallVec::from_iter([ty])), constant: true, weight }
            }
            Head::Leaf(_) | Head::Root => Data { facts: given.unwrap_or_default(), ..Data::default() },
            Head::Fixed { .. } => Data { facts: given.unwrap_or_default(), ..Data::default() },
            Head::Project(index) => {
                let tuple = &egraph[enode.children[0]].data;
                let fact = tuple.facts.get(usize::from(index)).cloned().flatten();
                Data { facts: SmallVec::from_iter([fact]), constant: tuple.constant, weight: None }
            }
            Head::Call { op, record, n_outputs } => {
                let tables = &egraph.analysis;
                let op = &tables.ops[op as usize];
                let facts = given.or_else(|| {
                    let call = Call {
                        attrs: &tables.records[record as usize],
                        inputs: &arguments(egraph, &enode.children)?,
                        captures: &[],
                        n_outputs: usize::from(n_outputs),
                        scope: &format!("?e{id}"),
                    };
                    infer_call(op, &call).ok().map(SmallVec::from_vec)
                });
                let impure = matches!(op, Op::Builtin(def) if def.has(Law::Impure));
                Data { facts: facts.unwrap_or_default(), constant: constant_children && !impure, weight: None }
            }
        }
    }

    fn merge(&mut self, into: &mut Data, from: Data) -> DidMerge {
        // Types are merged once, by the first that is known: equal values have equal types, and `pre_union` checks it.
        let mut changed = DidMerge(false, false);
        if into.facts.iter().all(Option::is_none) && from.facts.iter().any(Option::is_some) {
            into.facts = from.facts;
            changed.0 = true;
        }
        if from.constant != into.constant {
            changed.0 |= !into.constant;
            changed.1 |= into.constant;
            into.constant = true;
        }
        if into.weight.is_none() && from.weight.is_some() {
            into.weight = from.weight;
            changed.0 = true;
        }
        changed
    }

    fn pre_union(egraph: &EGraph<ENode, Self>, a: Id, b: Id, justification: &Option<Justification>) {
        if let (Some(provenance), Some(Justification::Congruence)) = (&egraph.analysis.provenance, justification) {
            provenance.borrow_mut().unite(a, b, None);
        }
        let (left, right) = (&egraph[a].data.facts, &egraph[b].data.facts);
        for (left, right) in left.iter().zip(right) {
            // What is no tensor has one producer, so that nothing is united with it.
            let tensor = |fact: &'_ Option<Fact>| fact.as_ref().and_then(Fact::tensor).cloned();
            if let (Some(left), Some(right)) = (tensor(left), tensor(right))
                && !agree(&left, &right)
            {
                let rule = match justification {
                    Some(Justification::Rule(name)) => Some(name.to_string()),
                    _ => None,
                };
                let conflict = Conflict { rule, left, right };
                egraph.analysis.conflicts.borrow_mut().push(conflict);
            }
        }
    }
}

/// What inference and cost see of the children of a call; `None` when the type of one is unknown.
pub(super) fn arguments<'a>(egraph: &'a EGraph<ENode, Tables>, children: &[Id]) -> Option<Vec<Option<Argument<'a>>>> {
    let argument = |&child: &Id| {
        let class = &egraph[child];
        // Nothing else is equal to an input that is left out.
        if matches!(class.nodes[..], [ENode { head: Head::Absent, .. }]) {
            return Some(None);
        }
        let fact = class.data.facts.first()?.as_ref()?;
        let constant = class.data.weight.map(|index| &egraph.analysis.weights[index as usize]);
        Some(Some(Argument::new(fact, constant)))
    };
    children.iter().map(argument).collect()
}
