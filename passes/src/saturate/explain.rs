//! Explanations: the chain of rule applications from the original graph to the extracted one.
//!
//! The chain is found by following the provenance of the extracted graph back, and then proved by a replay. A new e-graph
//! that holds the original graph alone is given the steps, one after another: each is matched anew by the matcher, at the
//! place that it had, and applied. Then the extracted graph must be found in that e-graph, each output in the class of
//! the output of the original. A replay in a graph would have to undo steps: a form that one rule replaced may be what the
//! next one matches. An e-graph keeps both, and holds nothing that the steps did not put there.

use super::graph::{Chosen, build};
use super::language::{ENode, Head, agree};
use super::provenance::Application;
use super::space::{Call, Space, project};
use super::steps::{Step, Steps};
use crate::rules::{Binding, Budget, Host, Rule, apply, find_from};
use egg::{Id, Language};
use eutectic_ir::graph::{Def, Graph, Node, Op, ValueId};
use eutectic_ir::infer::Facts;
use eutectic_ir::op::Law;
use eutectic_ir::{Name, Tensor, walk};
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::ControlFlow;

/// What is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Focus {
    /// Every node of the extracted graph.
    Whole,
    /// The node, or the value, of this name in the original or the extracted graph.
    Node(Name),
    /// All that the output of this name depends on.
    Output(Name),
}

/// Why the extracted graph is equal to the original.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The name of the graph.
    pub graph: Name,
    /// The applications that derive it, each after those that it needs.
    pub steps: Vec<Step>,
    /// Applications that told the e-graph something new, whether the extracted graph needs them or not.
    pub n_applications: usize,
    /// What the replay of the steps did not reproduce; `None` when it proved them.
    pub gap: Option<String>,
}

/// Explains the graph that `chosen` stands for by what `space` recorded while `rules` saturated it; it was made from
/// `original` and `facts`. `None` when nothing was recorded, or nothing has the name that `focus` gives.
pub(crate) fn explain(
    space: &mut Space,
    original: &Graph,
    facts: &Facts,
    rules: &[&Rule],
    chosen: &Chosen,
    focus: &Focus,
) -> Option<Explanation> {
    let (extracted, values) = build(space, original, chosen);
    let goals = goals(space, original, chosen, (&extracted, &values), focus)?;
    let space = &*space;
    let provenance = space.egraph.analysis.provenance.as_ref()?.borrow();
    let needed = provenance.needed(&space.egraph, goals);
    let mut replayed = Space::new(original, facts).ok()?;
    replayed.record();
    let mut replay = Replay {
        recorded: space,
        n_original: replayed.egraph.nodes().len(),
        n_weights: replayed.egraph.analysis.weights.len(),
        space: replayed,
        terms: FxHashMap::default(),
        steps: Steps::default(),
    };
    let mut gap = None;
    for (at, application) in needed.iter().map(|&at| &provenance.applications[at]).enumerate() {
        let rule = rules[application.rule];
        if let Err(why) = replay.step(original, application, rule) {
            gap = Some(format!("step {} (`{}`): {why}", at + 1, rule.name));
            break;
        }
    }
    let found = replay.find(original, &extracted);
    // Part of the chain need not derive the whole graph.
    if *focus == Focus::Whole {
        gap = gap.or(found.as_ref().err().cloned());
    }
    Some(Explanation {
        graph: original.name.clone(),
        steps: replay.steps.written(&replay.space, &extracted, &found.unwrap_or_default()),
        n_applications: provenance.applications.len(),
        gap,
    })
}

/// Pairs of terms whose equality is what `focus` asks about: a term stands for each chosen e-node, and what it reads equals
/// the terms that stand for its children.
fn goals(
    space: &mut Space,
    original: &Graph,
    chosen: &Chosen,
    (extracted, values): (&Graph, &FxHashMap<Id, ValueId>),
    focus: &Focus,
) -> Option<Vec<(Id, Id)>> {
    let mut terms: FxHashMap<Id, (Id, ENode)> = FxHashMap::default();
    for &call in &chosen.calls {
        let node = space.enode(call).clone();
        let term = space.term_of(node.clone());
        terms.insert(call.class, (term, node));
    }
    let original_class = |value: &ValueId| space.classes.get(value).map(|&class| space.egraph.find(class));
    let class_of = |name: &Name| {
        named(original, name).and_then(|value| original_class(&value)).or_else(|| {
            let wanted = named(extracted, name)?;
            values.iter().find(|(_, value)| **value == wanted).map(|(class, _)| *class)
        })
    };
    let mut goals = Vec::new();
    let mut open = match focus {
        Focus::Whole => vec![space.egraph.find(space.root)],
        Focus::Output(name) => {
            let output = original.outputs().iter().find(|output| output.name == *name)?;
            vec![original_class(&output.value)?]
        }
        Focus::Node(name) => {
            let class = class_of(name)?;
            let (term, _) = terms.get(&class)?;
            goals.push((*term, *term));
            let known = original.values().find(|(id, _)| original_class(id) == Some(class));
            goals.extend(known.and_then(|(id, _)| Some((*term, *space.classes.get(&id)?))));
            Vec::new()
        }
    };
    let mut seen: FxHashSet<Id> = open.iter().copied().collect();
    while let Some(class) = open.pop() {
        let (term, node) = terms.get(&class)?;
        goals.push((*term, *term));
        for (&read, &child) in space.egraph.id_to_node(*term).children.iter().zip(&node.children) {
            goals.push((read, terms.get(&child)?.0));
            if seen.insert(child) {
                open.push(child);
            }
        }
        // What stands for an output is equal to it.
        if let Focus::Output(name) = focus
            && let Some(output) = original.outputs().iter().find(|output| output.name == *name)
            && original_class(&output.value) == Some(class)
        {
            goals.push((*term, *space.classes.get(&output.value)?));
        }
    }
    Some(goals)
}

/// The value of this name, or the first output of the node of this name.
pub(super) fn named(graph: &Graph, name: &Name) -> Option<ValueId> {
    let value = graph.values().find(|(_, value)| value.name == *name).map(|(id, _)| id);
    value.or_else(|| graph.nodes().find(|(_, node)| node.name == *name).map(|(_, node)| node.output()))
}

/// An e-graph that steps are applied to again.
struct Replay<'a> {
    recorded: &'a Space,
    /// Ids of terms, and numbers of weights, below these are the same in both.
    n_original: usize,
    n_weights: usize,
    space: Space,
    /// Terms of the recorded e-graph, and their ids in the replayed one.
    terms: FxHashMap<Id, Id>,
    steps: Steps,
}

impl Replay<'_> {
    /// Errors: why the step is not possible.
    fn step(&mut self, original: &Graph, application: &Application, rule: &Rule) -> Result<(), String> {
        let calls = application.calls.iter().map(|&term| self.call(term)).collect::<Result<Vec<_>, _>>()?;
        let values = application.values.iter().map(|value| self.binding(value)).collect::<Result<Vec<_>, _>>()?;
        let first = rule.left.plan.first().and_then(|step| calls.get(step.call)).ok_or("the rule matches nothing")?;
        const MOST_CANDIDATES: u64 = 1_000_000;
        let mut found = None;
        let _ = find_from(rule, &self.space, *first, &mut Budget::new(MOST_CANDIDATES), &mut |matched| {
            if matched.values == values && matched.calls == calls {
                found = Some(matched);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        let found = found.ok_or("it does not match there")?;
        self.steps.before(&self.space, original, rule, &found);
        let applied = apply(rule, &found, &mut self.space).map_err(|reason| reason.to_string())?;
        let asked = self.space.provenance().map(|provenance| std::mem::take(&mut provenance.asked));
        self.steps.after(&self.space, original, &applied.roots, &asked.unwrap_or_default());
        for (old, new) in applied.roots {
            let (left, right) = (self.space.ty(old), self.space.ty(new));
            if left.zip(right).is_some_and(|(left, right)| !agree(left, right)) {
                return Err("the two sides have different types".into());
            }
            self.space.egraph.union_trusted(old, new, rule.name.as_str());
        }
        self.space.egraph.rebuild();
        Ok(())
    }

    fn call(&mut self, term: Id) -> Result<Call, String> {
        let class = self.term(term)?;
        let missing =
            || format!("its call of {} is not there", self.recorded.describe(self.recorded.egraph.id_to_node(term)));
        let node = self.translated(term).ok_or_else(missing)?.map_children(|child| self.space.egraph.find(child));
        let at = self.space.egraph[class].nodes.iter().position(|other| *other == node).ok_or_else(missing)?;
        Ok(Call { class, at: at as u32 })
    }

    fn binding(&mut self, binding: &Binding<Id>) -> Result<Binding<Id>, String> {
        Ok(match binding {
            Binding::One(term) => Binding::One(self.term(*term)?),
            Binding::Rest(terms) => Binding::Rest(terms.iter().map(|&term| self.term(term)).collect::<Result<_, _>>()?),
            other => other.clone(),
        })
    }

    /// The class of a recorded term. Errors: it is not there.
    fn term(&mut self, id: Id) -> Result<Id, String> {
        let mut open = vec![id];
        while let Some(&next) = open.last() {
            if self.known(next).is_some() {
                open.pop();
                continue;
            }
            let node = self.recorded.egraph.id_to_node(next);
            let n_open = open.len();
            open.extend(node.children.iter().filter(|&&child| self.known(child).is_none()));
            if open.len() == n_open {
                let found = self.translated(next).and_then(|node| self.space.egraph.lookup(node));
                let missing = || format!("{} is not derived by then", self.recorded.describe(node));
                self.terms.insert(next, found.ok_or_else(missing)?);
            }
        }
        Ok(self.space.egraph.find(self.known(id).ok_or("a term is not derived by then")?))
    }

    fn known(&self, term: Id) -> Option<Id> {
        if usize::from(term) < self.n_original { Some(term) } else { self.terms.get(&term).copied() }
    }

    /// A recorded term as the replayed e-graph has it, once its children are known.
    fn translated(&self, term: Id) -> Option<ENode> {
        let (from, to) = (&self.recorded.egraph.analysis, &self.space.egraph.analysis);
        let node = self.recorded.egraph.id_to_node(term);
        let head = match node.head {
            Head::Weight(index) if (index as usize) < self.n_weights => node.head,
            Head::Weight(index) => Head::Weight(to.find_weight(&from.weights[index as usize])?),
            Head::Call { op, record, n_outputs } => Head::Call {
                op: to.find_op(&from.ops[op as usize])?,
                record: to.find_record(&from.records[record as usize])?,
                n_outputs,
            },
            head => head,
        };
        let children: Option<Vec<Id>> = node.children.iter().map(|&child| self.known(child)).collect();
        Some(ENode::new(head, children?))
    }

    /// The class of each value of `extracted`. Errors: what is not there, or an output that is not equal to the original's.
    fn find(&self, original: &Graph, extracted: &Graph) -> Result<FxHashMap<ValueId, Id>, String> {
        let space = &self.space;
        let named: FxHashMap<&Name, ValueId> = original.values().map(|(id, value)| (&value.name, id)).collect();
        let namesake = |name: &Name| named.get(name).and_then(|id| space.classes.get(id)).copied();
        let stored = |(id, tensor): (ValueId, &Tensor), wanted: &Tensor| {
            space.classes.get(&id).copied().filter(|_| tensor.same_storage(wanted))
        };
        let nameless: Vec<(ValueId, &Tensor)> = original
            .values()
            .filter(|(_, value)| value.name.is_empty())
            .filter_map(|(id, value)| Some((id, value.weight()?)))
            .collect();
        let mut classes: FxHashMap<ValueId, Id> = FxHashMap::default();
        for (id, value) in extracted.values() {
            let class = match value.def() {
                Def::Result(..) => continue,
                Def::Input { .. } | Def::Capture(_) => namesake(&value.name),
                Def::Weight(tensor) => {
                    let of_name = named.get(&value.name).and_then(|&id| stored((id, original.weight(id)?), tensor));
                    of_name.or_else(|| nameless.iter().find_map(|&weight| stored(weight, tensor))).or_else(|| {
                        let index = space.egraph.analysis.find_weight(tensor)?;
                        space.egraph.lookup(ENode::new(Head::Weight(index), []))
                    })
                }
            };
            classes.insert(id, class.ok_or_else(|| format!("`{}` is not derived", value.name))?);
        }
        for id in walk::order(extracted).map_err(|_| "the graph has a cycle")? {
            let node = extracted.node(id);
            let children = node.inputs().iter().copied().chain(node.captures().iter().copied().map(Some));
            let children: Vec<Id> = children.map(|value| value.map_or(space.absent, |value| classes[&value])).collect();
            let head = self.head(node, extracted, original, &named);
            let class = head.and_then(|head| space.egraph.lookup(ENode::new(head, children)));
            let class = class.ok_or_else(|| {
                let output = &extracted.value(node.output()).name;
                format!("`{output}`, a call of {}, is not derived", node.op)
            })?;
            for (index, &output) in node.outputs().iter().enumerate() {
                let class =
                    if node.outputs().len() == 1 { Some(class) } else { space.egraph.lookup(project(index, class)) };
                // Nothing reads an output that no class stands for.
                classes.extend(class.map(|class| (output, class)));
            }
        }
        for (before, after) in original.outputs().iter().zip(extracted.outputs()) {
            let [before, after] = [space.classes.get(&before.value), classes.get(&after.value)]
                .map(|class| class.map(|&class| space.egraph.find(class)));
            if before.is_none() || before != after {
                return Err(format!("output `{}` is not equal to the original's", original.outputs()[0].name));
            }
        }
        Ok(classes)
    }

    fn head(&self, node: &Node, graph: &Graph, original: &Graph, named: &FxHashMap<&Name, ValueId>) -> Option<Head> {
        let n_outputs = node.outputs().len() as u8;
        let touchable = match &node.op {
            Op::Builtin(def) => !def.has(Law::Impure) && node.bodies().next().is_none(),
            Op::Function(_) => true,
            Op::Opaque(_) => false,
        };
        if touchable {
            let tables = &self.space.egraph.analysis;
            return Some(Head::Call {
                op: tables.find_op(&node.op)?,
                record: tables.find_record(&node.attrs)?,
                n_outputs,
            });
        }
        let outputs = node.outputs().iter().map(|&output| &graph.value(output).name);
        let (node, _) = outputs.filter_map(|name| original.producer(*named.get(name)?)).next()?;
        Some(Head::Fixed { node: node.index() as u32, n_outputs })
    }
}
