//! Steps of an explanation as text: what a rule matched and what it built, with the names that people know.

use super::language::Head;
use super::provenance::Asked;
use super::space::{Call, Space};
use crate::rules::{Contract, Host, Match, Rule};
use egg::Id;
use eutectic_ir::graph::{Graph, Op, ValueId};
use eutectic_ir::text::{PrintOptions, print_node};
use eutectic_ir::{Attrs, Name, Tensor};
use rustc_hash::FxHashMap;

/// One application of a rule.
#[derive(Clone, Debug)]
pub struct Step {
    /// The rule's name.
    pub rule: Name,
    /// The file and line it stands at.
    pub place: String,
    /// How far it may change numbers.
    pub contract: Contract,
    /// The calls that it matched, a line each.
    pub before: Vec<String>,
    /// The calls that it built, a line each; a root that is a value that was there already is a line `root = value`.
    pub after: Vec<String>,
    /// Both as graphs, whose outputs have the names of what the step replaces, and whose inputs those of what it reads. Equal
    /// names of different steps are equal values.
    pub sides: [Graph; 2],
}

/// Steps that wait for their names: those of the extracted graph are known at the end.
#[derive(Default)]
pub(super) struct Steps(Vec<Noted>);

struct Noted {
    rule: Name,
    place: String,
    contract: Contract,
    before: Vec<Line>,
    after: Vec<Line>,
    /// What is replaced, and what stands for it.
    roots: Vec<[Label; 2]>,
}

enum Line {
    Call { op: Op, attrs: Attrs, inputs: Vec<Option<Label>>, outputs: Vec<Label> },
    Same(Label, Label),
}

/// A class, with its name in the original graph; one without is named at the end.
#[derive(Clone)]
struct Label {
    class: Id,
    known: Option<Name>,
}

impl Steps {
    /// Notes what `rule` matched.
    pub(super) fn before(&mut self, space: &Space, original: &Graph, rule: &Rule, found: &Match<Id, Call>) {
        let labels = Labels::new(space, original);
        self.0.push(Noted {
            rule: rule.name.clone(),
            place: format!("{}:{}", rule.file, rule.line),
            contract: rule.contract,
            before: found.calls.iter().map(|&call| Line::of(space, &labels, call)).collect(),
            after: Vec::new(),
            roots: Vec::new(),
        });
    }

    /// Notes what the last rule built, before its roots are united.
    pub(super) fn after(&mut self, space: &Space, original: &Graph, roots: &[(Id, Id)], asked: &[Asked]) {
        let Some(step) = self.0.last_mut() else { return };
        let known = Labels::new(space, original);
        // What is built for a root has the name of the root.
        let label = |class: Id| {
            let root =
                roots.iter().find(|(_, new)| *new == class).filter(|_| asked.iter().any(|asked| asked.class == class));
            known.of(root.map_or(class, |(old, _)| *old))
        };
        for Asked { node, class, .. } in asked {
            let Head::Call { op, record, n_outputs } = node.head else { continue };
            let tables = &space.egraph.analysis;
            let outputs = match n_outputs {
                1 => vec![label(*class)],
                _ => asked
                    .iter()
                    .filter(|other| matches!(other.node.head, Head::Project(_)) && other.node.children[0] == *class)
                    .map(|other| label(other.class))
                    .collect(),
            };
            let input = |&child: &Id| (child != space.egraph.find(space.absent)).then(|| label(child));
            step.after.push(Line::Call {
                op: tables.ops[op as usize].clone(),
                attrs: tables.records[record as usize].clone(),
                inputs: node.children.iter().map(input).collect(),
                outputs,
            });
        }
        step.roots = roots.iter().map(|&(old, new)| [known.of(old), label(new)]).collect();
        for &(old, new) in roots {
            if !asked.iter().any(|asked| asked.class == new && !matches!(asked.node.head, Head::Weight(_))) {
                step.after.push(Line::Same(known.of(old), known.of(new)));
            }
        }
    }

    /// The steps as text. `classes` are those of the values of `extracted`.
    pub(super) fn written(self, space: &Space, extracted: &Graph, classes: &FxHashMap<ValueId, Id>) -> Vec<Step> {
        let mut writer = Writer::new(space, extracted, classes);
        let mut written = |step: Noted| Step {
            before: step.before.iter().map(|line| writer.line(line)).collect(),
            after: step.after.iter().map(|line| writer.line(line)).collect(),
            sides: [
                writer.graph(&step.before, step.roots.iter().map(|[old, _]| [old, old])),
                writer.graph(&step.after, step.roots.iter().map(|[old, new]| [old, new])),
            ],
            rule: step.rule,
            place: step.place,
            contract: step.contract,
        };
        self.0.into_iter().map(&mut written).collect()
    }
}

/// Calls of `space` as text, a line each.
pub(super) fn calls_text(space: &Space, original: &Graph, calls: impl IntoIterator<Item = Call>) -> Vec<String> {
    let labels = Labels::new(space, original);
    let mut writer = Writer { space, names: FxHashMap::default(), n_made: 0 };
    calls.into_iter().map(|call| writer.line(&Line::of(space, &labels, call))).collect()
}

impl Line {
    fn of(space: &Space, labels: &Labels, call: Call) -> Self {
        let Head::Call { op, .. } = space.enode(call).head else { unreachable!("only calls are handed out") };
        let outputs = (0..space.n_outputs(call)).filter_map(|index| space.output(call, index));
        Line::Call {
            op: space.egraph.analysis.ops[op as usize].clone(),
            attrs: space.attrs(call).clone(),
            inputs: space.inputs(call).into_iter().map(|input| input.map(|class| labels.of(class))).collect(),
            outputs: outputs.map(|class| labels.of(class)).collect(),
        }
    }
}

/// Gives names to what has none.
struct Writer<'a> {
    space: &'a Space,
    names: FxHashMap<Id, Name>,
    n_made: usize,
}

impl<'a> Writer<'a> {
    fn new(space: &'a Space, extracted: &Graph, classes: &FxHashMap<ValueId, Id>) -> Self {
        let mut names: FxHashMap<Id, Name> = FxHashMap::default();
        for (id, value) in extracted.values().filter(|(_, value)| !value.name.is_empty()) {
            if let Some(&class) = classes.get(&id) {
                names.entry(space.egraph.find(class)).or_insert_with(|| value.name.clone());
            }
        }
        Self { space, names, n_made: 0 }
    }

    fn name(&mut self, label: &Label) -> Name {
        if let Some(name) = &label.known {
            return name.clone();
        }
        let class = self.space.egraph.find(label.class);
        if let Some(contents) = self.space.weight(class).and_then(contents) {
            return contents;
        }
        let made = self.names.entry(class).or_insert_with(|| {
            self.n_made += 1;
            format!("t{}", self.n_made).into()
        });
        made.clone()
    }

    fn line(&mut self, line: &Line) -> String {
        match line {
            Line::Same(root, value) => format!("{} = {}", self.name(root), self.name(value)),
            Line::Call { op, attrs, inputs, outputs } => {
                let inputs: Vec<Option<Name>> =
                    inputs.iter().map(|input| input.as_ref().map(|label| self.name(label))).collect();
                let outputs = outputs.iter().map(|label| self.name(label)).collect();
                call_text(op, attrs, &inputs, outputs)
            }
        }
    }
}

impl Writer<'_> {
    /// The calls of `lines`, each after those that it reads, as a graph. `roots` are the names of its outputs, and what stands
    /// behind them.
    fn graph<'b>(&mut self, lines: &[Line], roots: impl Iterator<Item = [&'b Label; 2]>) -> Graph {
        let mut graph = Graph::new("side");
        let mut values: FxHashMap<Name, ValueId> = FxHashMap::default();
        // A pattern lists calls in the order in which it is matched.
        let defines = |line: &Line, name: &Name, writer: &mut Self| match line {
            Line::Call { outputs, .. } => outputs.iter().any(|output| writer.name(output) == *name),
            Line::Same(..) => false,
        };
        let mut waiting: Vec<&Line> = lines.iter().filter(|line| matches!(line, Line::Call { .. })).collect();
        while !waiting.is_empty() {
            let is_ready = |line: &Line, writer: &mut Self| {
                let Line::Call { inputs, .. } = line else { return true };
                inputs.iter().flatten().all(|input| {
                    let name = writer.name(input);
                    !waiting.iter().any(|other| !std::ptr::eq(*other, line) && defines(other, &name, writer))
                })
            };
            // Calls that read each other have no order; what is wrong with them is found when they are run.
            let at = (0..waiting.len()).find(|&at| is_ready(waiting[at], self)).unwrap_or(0);
            let Line::Call { op, attrs, inputs, outputs } = waiting.remove(at) else { continue };
            let inputs: Vec<Option<ValueId>> = inputs
                .iter()
                .map(|input| input.as_ref().map(|label| self.value(&mut graph, &mut values, label)))
                .collect();
            let names: Vec<Name> = outputs.iter().map(|output| self.name(output)).collect();
            let id = graph.add_node(op.clone(), attrs.clone(), inputs, names.iter().cloned());
            values.extend(names.into_iter().zip(graph.node(id).outputs().iter().copied()));
        }
        for [name, value] in roots {
            let (name, value) = (self.name(name), self.value(&mut graph, &mut values, value));
            graph.add_output(name, value);
        }
        graph
    }

    /// The value that stands for `label`; a weight or a new input where no call defines it.
    fn value(&mut self, graph: &mut Graph, values: &mut FxHashMap<Name, ValueId>, label: &Label) -> ValueId {
        let name = self.name(label);
        if let Some(&value) = values.get(&name) {
            return value;
        }
        let class = self.space.egraph.find(label.class);
        if let Some(tensor) = self.space.weight(class) {
            // Its name tells contents alone: weights of other types may have the same.
            return graph.add_weight("", tensor.clone());
        }
        let value = graph.add_input(name.clone(), self.space.ty(class).cloned(), None);
        values.insert(name, value);
        value
    }
}

fn call_text(op: &Op, attrs: &Attrs, inputs: &[Option<Name>], outputs: Vec<Name>) -> String {
    let mut graph = Graph::new("");
    let mut values: FxHashMap<Name, ValueId> = FxHashMap::default();
    let mut read = Vec::new();
    for input in inputs {
        read.push(
            input
                .as_ref()
                .map(|name| *values.entry(name.clone()).or_insert_with(|| graph.add_input(name.clone(), None, None))),
        );
    }
    let id = graph.add_node(op.clone(), attrs.clone(), read, outputs);
    let mut text = print_node(&graph, id, &PrintOptions::BRIEF);
    // Contents stand for constants; the printer takes them for names that need quotes.
    for name in inputs.iter().flatten().filter(|name| is_contents(name)) {
        text = text.replace(&format!("\"{name}\""), name);
    }
    text
}

/// The contents of a constant, when they are few.
pub(super) fn contents(tensor: &Tensor) -> Option<Name> {
    const MOST: usize = 8;
    if let Some(number) = tensor.as_single().filter(|_| tensor.shape().is_empty()) {
        return Some(format!("{number:?}").into());
    }
    let numbers = tensor.to_i64s().filter(|numbers| numbers.len() <= MOST && tensor.shape().len() <= 1)?;
    Some(format!("{numbers:?}").into())
}

fn is_contents(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '[')
}

/// The name of each class that holds a value of the original graph: that of the first of them.
pub(super) struct Labels(FxHashMap<Id, Name>);

impl Labels {
    pub(super) fn new(space: &Space, original: &Graph) -> Self {
        let mut names = FxHashMap::default();
        for (id, value) in original.values().filter(|(_, value)| !value.name.is_empty()) {
            if let Some(&class) = space.classes.get(&id) {
                names.entry(space.egraph.find(class)).or_insert_with(|| value.name.clone());
            }
        }
        Self(names)
    }

    pub(super) fn known(&self, class: Id) -> Option<&Name> {
        self.0.get(&class)
    }

    fn of(&self, class: Id) -> Label {
        Label { class, known: self.0.get(&class).cloned() }
    }
}
