//! Resolves the names of a syntax tree: graphs by closure conversion, calls by the operator table and the functions.

use super::cursor::Cursor;
use super::syntax::{AttrSyntax, AttrValue, DataSyntax, GraphSyntax, NodeSyntax, SpannedName, TypeSyntax, ValueSyntax};
use crate::attr::{Attr, AttrKind, Attrs, Name};
use crate::diag::{Diagnostic, Kind as Failure};
use crate::graph::{CustomOp, Graph, Op, ValueId};
use crate::model::{FormalAttr, Function};
use crate::op::AttrError;
use crate::ops;
use crate::tensor::Tensor;
use indexmap::IndexSet;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use std::ops::Range;
use std::sync::Arc;

/// Domain, name and overload.
pub(super) type FunctionKey = (Name, Name, Name);

/// What is known around a graph that is being built.
pub(super) struct Lowering<'c, 'a> {
    pub(super) cursor: &'c mut Cursor<'a>,
    /// Functions by identity; `None` for one that is defined but could not be built.
    pub(super) functions: &'c FxHashMap<FunctionKey, Option<Arc<Function>>>,
    /// The formal attributes of the function whose body is built.
    pub(super) formals: Option<&'c [FormalAttr]>,
    /// The graphs under construction, from the outside in.
    frames: Vec<Frame>,
}

type FxIndexSet<T> = IndexSet<T, FxBuildHasher>;

#[derive(Default)]
struct Frame {
    graph: Graph,
    names: FxHashMap<Name, Known>,
    /// What the bodies of the node under construction read of this graph.
    captures: FxIndexSet<ValueId>,
    /// Names that were reported, or whose definition was.
    lost: FxHashSet<Name>,
    /// Declared types of values that nodes define.
    types: FxHashMap<Name, TypeSyntax>,
    /// Where each name is defined that no node before the present one defines.
    later: FxHashMap<Name, Range<usize>>,
}

#[derive(Clone, Copy)]
struct Known {
    id: ValueId,
    captured: bool,
}

impl<'c, 'a> Lowering<'c, 'a> {
    pub(super) fn new(
        cursor: &'c mut Cursor<'a>,
        functions: &'c FxHashMap<FunctionKey, Option<Arc<Function>>>,
        formals: Option<&'c [FormalAttr]>,
    ) -> Self {
        Self { cursor, functions, formals, frames: Vec::new() }
    }

    fn report(&mut self, kind: Failure, code: &'static str, message: String, span: &Range<usize>) {
        self.cursor.report(Diagnostic::error(kind, code, message).at_span(span.clone()));
    }

    fn frame(&mut self) -> &mut Frame {
        match self.frames.last_mut() {
            Some(frame) => frame,
            None => unreachable!("a frame is pushed before a graph is built"),
        }
    }

    pub(super) fn graph(&mut self, syntax: GraphSyntax) -> Graph {
        self.frames.push(Frame { graph: Graph::new(syntax.name.value), ..Frame::default() });
        self.frame().lost.extend(syntax.lost);
        let (defaults, weights) = self.take_values(&syntax.inputs, syntax.values);
        for (input, default) in syntax.inputs.into_iter().zip(defaults) {
            self.input(input, default);
        }
        for (name, tensor) in weights {
            self.weight(&name, tensor);
        }
        self.declare_types(&syntax.outputs);
        for node in &syntax.nodes {
            let places = node.outputs.iter().filter(|output| !output.value.is_empty());
            let later = &mut self.frame().later;
            for output in places {
                later.entry(output.value.clone()).or_insert_with(|| output.span.clone());
            }
        }
        for node in syntax.nodes {
            self.node(node);
        }
        for output in syntax.outputs {
            if let Some(id) = self.resolve(&output.name) {
                let frame = self.frame();
                if frame.graph.value(id).ty.is_none()
                    && let Some(ty) = output.ty.as_ref().map(|ty| ty.resolve(&output.name.value))
                {
                    frame.graph.value_mut(id).ty = Some(ty);
                }
                frame.graph.add_output(output.name.value, id);
            }
        }
        self.frames.pop().map(|frame| frame.graph).unwrap_or_default()
    }

    /// Keeps the declared types; gives the default of each input that has one, and the weights.
    fn take_values(
        &mut self,
        inputs: &[ValueSyntax],
        values: Vec<ValueSyntax>,
    ) -> (Vec<Option<Tensor>>, Vec<(SpannedName, Tensor)>) {
        let mut defaults: Vec<Option<Tensor>> = inputs.iter().map(|_| None).collect();
        let mut weights = Vec::new();
        let at: FxHashMap<&Name, usize> =
            inputs.iter().enumerate().map(|(at, input)| (&input.name.value, at)).collect();
        for value in values {
            match value.data {
                DataSyntax::Absent => {
                    if let Some(ty) = value.ty {
                        self.frame().types.insert(value.name.value, ty);
                    }
                }
                DataSyntax::Lost => {
                    self.frame().lost.insert(value.name.value);
                }
                // An initializer with the name of an input is the input's default.
                DataSyntax::Tensor(tensor) => match at.get(&value.name.value).map(|&at| &mut defaults[at]) {
                    Some(default @ None) => *default = Some(tensor),
                    _ => weights.push((value.name, tensor)),
                },
            }
        }
        (defaults, weights)
    }

    fn weight(&mut self, name: &SpannedName, tensor: Tensor) {
        if let Some(name) = self.define(name) {
            let frame = self.frame();
            let id = frame.graph.add_weight(name.clone(), tensor);
            frame.names.insert(name, Known { id, captured: false });
        }
    }

    fn declare_types(&mut self, outputs: &[ValueSyntax]) {
        for output in outputs {
            if let Some(ty) = &output.ty {
                self.frame().types.insert(output.name.value.clone(), ty.clone());
            }
        }
    }

    fn input(&mut self, input: ValueSyntax, default: Option<Tensor>) {
        let Some(name) = self.define(&input.name) else { return };
        let declared = input.ty.or_else(|| self.frame().types.get(&name).cloned());
        let ty = declared.map(|ty| ty.resolve(&name));
        if default.is_some() && !matches!(input.data, DataSyntax::Absent) {
            self.report(Failure::Invalid, "T0020", format!("`{name}` has two defaults"), &input.name.span);
        }
        let default = match input.data {
            DataSyntax::Tensor(tensor) => Some(tensor),
            DataSyntax::Absent | DataSyntax::Lost => default,
        };
        let frame = self.frame();
        let id = frame.graph.add_input(name.clone(), None, default);
        frame.graph.value_mut(id).ty = ty;
        frame.names.insert(name, Known { id, captured: false });
    }

    /// The name, when the present graph may define it: it is new there and not empty.
    fn define(&mut self, name: &SpannedName) -> Option<Name> {
        if name.value.is_empty() {
            self.report(Failure::Invalid, "T0003", "inputs and weights have a name".to_owned(), &name.span);
            return None;
        }
        let known = self.frame().names.get(&name.value).copied();
        let message = match known {
            None => return Some(name.value.clone()),
            Some(Known { captured: true, .. }) => {
                format!("`{}` is defined here after the enclosing graph's value of that name was read", name.value)
            }
            Some(_) => format!("`{}` is defined twice in this graph", name.value),
        };
        self.report(Failure::Invalid, "T0020", message, &name.span);
        None
    }

    /// The value that `name` stands for in the innermost graph, captured from outside if need be.
    fn resolve(&mut self, name: &SpannedName) -> Option<ValueId> {
        let found = self.find(self.frames.len().checked_sub(1)?, &name.value);
        if found.is_some() || self.frames.iter().any(|frame| frame.lost.contains(&name.value)) {
            return found;
        }
        let frame = self.frame();
        frame.lost.insert(name.value.clone());
        let later = frame.later.get(&name.value).cloned();
        let message = match &later {
            Some(_) => format!("`{}` is read before the node that defines it", name.value),
            None => format!("`{}` is not defined", name.value),
        };
        let mut problem = Diagnostic::error(Failure::Invalid, "T0021", message).at_span(name.span.clone());
        if let Some(place) = later {
            problem = problem.note(format!("defined at characters {}..{}", place.start, place.end));
        } else if !self.cursor.is_full()
            && let Some(near) = self.nearest(&name.value)
        {
            problem = problem.help(format!("is `{near}` meant?"));
        }
        self.cursor.report(problem);
        None
    }

    fn find(&mut self, depth: usize, name: &Name) -> Option<ValueId> {
        if let Some(known) = self.frames[depth].names.get(name) {
            return Some(known.id);
        }
        let outer = self.find(depth.checked_sub(1)?, name)?;
        let owner = &mut self.frames[depth - 1];
        let (index, _) = owner.captures.insert_full(outer);
        let ty = owner.graph.value(outer).ty.clone();
        let frame = &mut self.frames[depth];
        let id = frame.graph.add_capture(name.clone(), ty, index as u32);
        frame.names.insert(name.clone(), Known { id, captured: true });
        Some(id)
    }

    fn nearest(&self, name: &str) -> Option<Name> {
        const MOST_COMPARED: usize = 2000;
        let known = self.frames.iter().rev().flat_map(|frame| frame.names.keys()).take(MOST_COMPARED);
        // The smallest name among the nearest, so that the answer does not depend on the table's order.
        known
            .filter_map(|other| Some((distance(name, other)?, other)))
            .filter(|(distance, _)| *distance <= 2 && *distance * 2 < name.len())
            .min()
            .map(|(_, other)| other.clone())
    }

    fn node(&mut self, mut syntax: NodeSyntax) {
        if syntax.domain == "ai.onnx" {
            syntax.domain = Name::default();
        }
        for output in &syntax.outputs {
            self.frame().later.remove(&output.value);
        }
        if syntax.outputs.is_empty() {
            let message = format!("the call of {} defines no output", syntax.op.value);
            self.report(Failure::Invalid, "T0029", message, &syntax.op.span);
            return;
        }
        if let Some(tensor) = constant(&syntax) {
            return self.weight(&syntax.outputs[0], tensor);
        }
        // What cannot be resolved is left out: it has been reported, and the graph is thrown away.
        let inputs: Vec<Option<ValueId>> =
            syntax.inputs.iter().map(|input| if input.value.is_empty() { None } else { self.resolve(input) }).collect();
        let op = self.op(&syntax);
        let attrs = self.attrs(&op, syntax.attrs, &syntax.op.span);
        let captures = std::mem::take(&mut self.frame().captures);
        let mut names: Vec<Name> = Vec::with_capacity(syntax.outputs.len());
        let mut seen: FxHashSet<&Name> = FxHashSet::default();
        for output in &syntax.outputs {
            let repeated = !output.value.is_empty() && !seen.insert(&output.value);
            if repeated {
                let message = format!("`{}` is defined twice in this graph", output.value);
                self.report(Failure::Invalid, "T0020", message, &output.span);
            }
            let named = !output.value.is_empty() && !repeated;
            names.push(if named { self.define(output).unwrap_or_default() } else { Name::default() });
        }
        let frame = self.frame();
        let id = frame.graph.add_node(op, attrs, inputs, names.iter().cloned());
        for captured in captures {
            frame.graph.capture(id, captured);
        }
        frame.graph.node_mut(id).name = syntax.label;
        for (index, name) in names.into_iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let value = frame.graph.node(id).outputs()[index];
            frame.graph.value_mut(value).ty = frame.types.get(&name).map(|ty| ty.resolve(&name));
            frame.names.insert(name, Known { id: value, captured: false });
        }
    }

    fn op(&mut self, syntax: &NodeSyntax) -> Op {
        let key = (syntax.domain.clone(), syntax.op.value.clone(), syntax.overload.clone());
        if let Some(Some(function)) = self.functions.get(&key) {
            return Op::Function(function.clone());
        }
        match ops::lookup(&syntax.domain, &syntax.op.value) {
            Some(def) if syntax.overload.is_empty() => Op::Builtin(def),
            _ => {
                let (domain, name, overload) = key;
                Op::Opaque(Arc::new(CustomOp { domain, name, overload }))
            }
        }
    }

    fn attrs(&mut self, op: &Op, syntax: Vec<AttrSyntax>, span: &Range<usize>) -> Attrs {
        let mut given = Attrs::new();
        let mut places: FxHashMap<Name, Range<usize>> = FxHashMap::default();
        for attr in syntax {
            let name = attr.name.clone();
            if places.contains_key(&name.value) {
                let message = format!("attribute `{}` is given twice", name.value);
                self.report(Failure::Invalid, "T0026", message, &name.span);
                continue;
            }
            places.insert(name.value.clone(), name.span.clone());
            if let Some(value) = self.attr(op, attr) {
                given.set(name.value, value);
            }
        }
        let complete = match op {
            Op::Builtin(def) => def.complete(given),
            Op::Function(function) => {
                function.complete(given).map_err(|unknown| unknown.into_iter().map(AttrError::Unknown).collect())
            }
            Op::Opaque(_) => Ok(given),
        };
        complete.unwrap_or_else(|errors| {
            for error in errors {
                let place = places.get(&attr_of(&error)).unwrap_or(span).clone();
                let problem = Diagnostic::error(Failure::Invalid, "T0023", format!("{op}: {error}")).at_span(place);
                self.cursor.report(match error {
                    AttrError::Kind { expected: AttrKind::Float, found: AttrKind::Int, .. } => {
                        problem.help("a float has a point: write `1.0` for `1`")
                    }
                    _ => problem,
                });
            }
            Attrs::new()
        })
    }

    fn attr(&mut self, op: &Op, attr: AttrSyntax) -> Option<Attr> {
        Some(match attr.value {
            AttrValue::Done(value) => value,
            AttrValue::Graph(graph) => Attr::Graph(Arc::new(self.graph(*graph))),
            AttrValue::Graphs(graphs) => {
                Attr::Graphs(graphs.into_iter().map(|graph| Arc::new(self.graph(graph))).collect())
            }
            AttrValue::Ref(formal) => {
                let kind = attr.kind.or_else(|| self.declared_kind(op, &attr.name.value, &formal.value));
                let message = match (self.formals, kind) {
                    (None, _) => format!("`@{}` stands outside of a function", formal.value),
                    (Some(formals), _) if !formals.iter().any(|known| known.name == formal.value) => {
                        format!("the function has no attribute `{}`", formal.value)
                    }
                    (_, None) => {
                        format!("nothing tells the kind of `@{}`: write `{}: int = ..`", formal.value, attr.name.value)
                    }
                    (_, Some(kind)) => return Some(Attr::Ref(formal.value, kind)),
                };
                self.report(Failure::Invalid, "T0027", message, &formal.span);
                return None;
            }
        })
    }

    /// The kind that the operator, the called function or the formal attribute's default gives a reference.
    fn declared_kind(&self, op: &Op, name: &str, formal: &str) -> Option<AttrKind> {
        let of = |formals: &[FormalAttr], name: &str| formals.iter().find(|formal| formal.name == name)?.kind;
        let declared = match op {
            Op::Builtin(def) => def.attr(name).map(|def| def.kind),
            Op::Function(function) => of(&function.attrs, name),
            Op::Opaque(_) => None,
        };
        declared.or_else(|| of(self.formals?, formal))
    }
}

/// The attribute that an error is about.
fn attr_of(error: &AttrError) -> Name {
    match error {
        AttrError::Unknown(name) => name.clone(),
        AttrError::Missing(name) | AttrError::Kind { name, .. } => Name::new_static(name),
    }
}

/// The contents of a `Constant` node, which the IR holds as a weight.
fn constant(syntax: &NodeSyntax) -> Option<Tensor> {
    let [attr] = syntax.attrs.as_slice() else { return None };
    let plain = syntax.domain.is_empty() && syntax.overload.is_empty() && syntax.inputs.is_empty();
    if !plain || syntax.op.value != "Constant" || syntax.outputs.len() != 1 || syntax.outputs[0].value.is_empty() {
        return None;
    }
    let AttrValue::Done(value) = &attr.value else { return None };
    let strings = |shape: &[usize], strings: &[Name]| {
        Tensor::from_strings(shape, strings.iter().map(|text| text.as_bytes().to_vec().into()).collect()).ok()
    };
    match (attr.name.value.as_str(), value) {
        ("value", Attr::Tensor(tensor)) => Some(tensor.clone()),
        ("value_int", Attr::Int(value)) => Some(Tensor::scalar(*value)),
        ("value_ints", Attr::Ints(values)) => Some(Tensor::vector(values)),
        ("value_float", Attr::Float(value)) => Some(Tensor::scalar(*value)),
        ("value_floats", Attr::Floats(values)) => Some(Tensor::vector(values)),
        ("value_string", Attr::String(value)) => strings(&[], std::slice::from_ref(value)),
        ("value_strings", Attr::Strings(values)) => strings(&[values.len()], values),
        _ => None,
    }
}

/// How many characters must be changed, added or dropped; `None` for names of very different length.
fn distance(a: &str, b: &str) -> Option<usize> {
    if a.len().abs_diff(b.len()) > 2 || a.len() > 64 {
        return None;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, right) in b.iter().enumerate() {
            let change = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = change.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row.last().copied()
}

/// The kind that the body of a function gives a formal attribute: that of the first reference to it.
pub(super) fn referred_kind(body: &Graph, formal: &str) -> Option<AttrKind> {
    body.nodes().find_map(|(_, node)| {
        let own = node.attrs.iter().find_map(|(_, attr)| match attr {
            Attr::Ref(name, kind) if name == formal => Some(*kind),
            _ => None,
        });
        own.or_else(|| node.bodies().find_map(|inner| referred_kind(inner, formal)))
    })
}
