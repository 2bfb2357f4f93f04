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
#[derive(Clone, Debug, PartialEq)]
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
}

enum Line {
    Call { op: Op, attrs: Attrs, inputs: Vec<Option<Label>>, outputs: Vec<Label> },
    Same(Label, Label),
}

/// A name of the original graph, or a class that is named at the end.
#[derive(Clone)]
enum Label {
    Known(Name),
    Later(Id),
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
        let class = match label {
            Label::Known(name) => return name.clone(),
            Label::Later(class) => self.space.egraph.find(*class),
        };
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
        self.0.get(&class).map_or(Label::Later(class), |name| Label::Known(name.clone()))
    }
}
