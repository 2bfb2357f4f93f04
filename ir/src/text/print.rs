//! Prints graphs, functions and models. Nodes stand in the order of `walk::order`, weights in that of the graph.

use super::names::{Everywhere, Names};
use super::print_tensor::{byte_string, data, float32, hex, is_recipe, tensor_type};
use crate::attr::{Attr, Name};
use crate::dim::Dim;
use crate::graph::{Def, Graph, Node, NodeId, Op, ValueId};
use crate::model::{Function, Model};
use crate::tensor::Tensor;
use crate::types::{Element, Type};
use crate::walk;
use rustc_hash::FxHashSet;
use std::fmt::Write;

/// What is printed, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrintOptions {
    /// How weights print that are held as bytes.
    pub weights: Weights,
    /// Splat and seeded weights of at most so many elements print their elements, as other tools read them. A single
    /// element always does.
    pub materialize: usize,
    /// Prints the types of values between nodes too, not those of inputs and outputs alone.
    pub types: bool,
}

/// How a weight prints that is held as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Every element: the text reads back bit by bit.
    Full,
    /// Floating-point weights of more than `above` elements become seeded ones of like range: the text reads back as a
    /// model of the same shape with other numbers.
    Seeds {
        /// The most elements that print.
        above: usize,
    },
    /// Weights of more than `above` elements print as `...`, for reading alone.
    Elide {
        /// The most elements that print.
        above: usize,
    },
}

impl PrintOptions {
    /// Everything: the text reads back as the same graph, types and weights.
    pub const EXACT: Self = Self { weights: Weights::Full, materialize: 1, types: true };
    /// What a reader wants to see: no types between nodes, no long weights.
    pub const BRIEF: Self = Self { weights: Weights::Elide { above: 8 }, materialize: 1, types: false };
}

/// The whole model as text.
pub fn print_model(model: &Model, options: &PrintOptions) -> String {
    let mut printer = Printer::new(options);
    printer.header(model);
    printer.top_graph(&model.graph);
    for function in &model.functions {
        printer.out.push('\n');
        printer.function(function);
    }
    printer.out
}

/// One graph as text, with a line break at its end.
pub fn print_graph(graph: &Graph, options: &PrintOptions) -> String {
    let mut printer = Printer::new(options);
    printer.top_graph(graph);
    printer.out
}

/// One function as text, with a line break at its end.
pub fn print_function(function: &Function, options: &PrintOptions) -> String {
    let mut printer = Printer::new(options);
    printer.function(function);
    printer.out
}

/// One node of `graph` as text, without a line break at its end.
pub fn print_node(graph: &Graph, id: NodeId, options: &PrintOptions) -> String {
    let mut printer = Printer::new(options);
    printer.everywhere = Everywhere::of_graph(graph);
    let names = Names::of_graph(graph, &[], &mut printer.everywhere);
    printer.node(graph.node(id), &names);
    printer.out
}

/// Writes `text` in double quotes.
pub(super) fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

fn is_identifier(text: &str) -> bool {
    text.bytes()
        .enumerate()
        .all(|(at, byte)| byte == b'_' || byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()))
        && !text.is_empty()
}

/// Words that a reader takes for a type where a value may stand.
fn is_type_word(text: &str) -> bool {
    Element::from_text(text).is_some() || ["seq", "map", "optional", "sparse_tensor", "opaque"].contains(&text)
}

struct Printer<'o> {
    out: String,
    options: &'o PrintOptions,
    indent: usize,
    n_seeds: u64,
    /// All names of the outermost graph and those inside it.
    everywhere: Everywhere,
}

impl<'o> Printer<'o> {
    fn new(options: &'o PrintOptions) -> Self {
        Self { out: String::new(), options, indent: 0, n_seeds: 0, everywhere: Everywhere::default() }
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn line(&mut self) {
        self.out.push('\n');
        for _ in 0..self.indent {
            self.out.push_str("    ");
        }
    }

    fn quoted(&mut self, text: &str) {
        quote(&mut self.out, text);
    }

    /// An identifier as it is, anything else in quotes.
    fn word(&mut self, text: &str) {
        if is_identifier(text) { self.push(text) } else { self.quoted(text) }
    }

    /// The name of a value.
    fn value_name(&mut self, text: &str) {
        if is_type_word(text) { self.quoted(text) } else { self.word(text) }
    }

    /// Prints each of `items` with a comma before all but the first.
    fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut print: impl FnMut(&mut Self, T)) {
        for (index, item) in items.into_iter().enumerate() {
            self.push(if index == 0 { "" } else { ", " });
            print(self, item);
        }
    }

    fn header(&mut self, model: &Model) {
        let _ = write!(self.out, "<\n    ir_version: {},\n    opset_import: ", model.ir_version);
        self.opsets(&model.opsets);
        let texts = [
            ("producer_name", &model.producer_name),
            ("producer_version", &model.producer_version),
            ("domain", &model.domain),
        ];
        for (key, text) in texts {
            self.header_text(key, text);
        }
        if model.model_version != 0 {
            let _ = write!(self.out, ",\n    model_version: {}", model.model_version);
        }
        self.header_text("doc_string", &model.doc);
        if !model.metadata.is_empty() {
            self.push(",\n    metadata_props: [");
            self.list(&model.metadata, |printer, (key, value)| {
                printer.quoted(key);
                printer.push(": ");
                printer.quoted(value);
            });
            self.push("]");
        }
        self.push("\n>\n");
    }

    fn header_text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            let _ = write!(self.out, ",\n    {key}: ");
            self.quoted(text);
        }
    }

    fn opsets(&mut self, opsets: &[(Name, u64)]) {
        self.push("[");
        self.list(opsets, |printer, (domain, version)| {
            printer.quoted(domain);
            let _ = write!(printer.out, ": {version}");
        });
        self.push("]");
    }

    fn function(&mut self, function: &Function) {
        self.push("<\n    domain: ");
        self.quoted(&function.domain);
        self.header_text("overload", &function.overload);
        self.push(",\n    opset_import: ");
        self.opsets(&function.opsets);
        self.header_text("doc_string", &function.doc);
        self.push("\n>\n");
        self.word(&function.name);
        if !function.attrs.is_empty() {
            self.push(" <");
            self.list(&function.attrs, |printer, formal| match &formal.default {
                None => printer.word(&formal.name),
                Some(default) => printer.attr(&formal.name, default, true, &[]),
            });
            self.push(">");
        }
        let graph = &function.body;
        self.everywhere = Everywhere::of_graph(graph);
        let names = Names::of_graph(graph, &[], &mut self.everywhere);
        self.push(" (");
        self.list(graph.inputs(), |printer, &id| printer.typed(graph, id, names.of(id), printer.options.types));
        self.push(") => (");
        self.outputs(graph, &names, self.options.types);
        self.push(")");
        self.values(graph, &names, true);
        self.nodes(graph, &names, true);
        self.push("\n");
    }

    fn top_graph(&mut self, graph: &Graph) {
        self.everywhere = Everywhere::of_graph(graph);
        self.graph(graph, &[]);
        self.push("\n");
    }

    fn graph(&mut self, graph: &Graph, captured: &[Name]) {
        let names = Names::of_graph(graph, captured, &mut self.everywhere);
        self.word(&graph.name);
        self.push(" (");
        self.list(graph.inputs(), |printer, &id| {
            printer.typed(graph, id, names.of(id), true);
            if let Some(default) = default_beside(graph, id) {
                printer.push(" = ");
                printer.data(default);
            }
        });
        self.push(") => (");
        self.outputs(graph, &names, true);
        self.push(")");
        self.values(graph, &names, false);
        self.nodes(graph, &names, false);
    }

    fn outputs(&mut self, graph: &Graph, names: &Names, types: bool) {
        let outputs = graph.outputs().iter().zip(&names.outputs);
        self.list(outputs, |printer, (output, name)| printer.typed(graph, output.value, name, types));
    }

    /// A value's type, if known and wanted, and its name.
    fn typed(&mut self, graph: &Graph, id: ValueId, name: &str, types: bool) {
        if let Some(ty) = graph.value(id).ty.as_ref().filter(|_| types) {
            self.ty(ty, name);
            self.push(" ");
        }
        self.value_name(name);
    }

    fn ty(&mut self, ty: &Type, scope: &str) {
        let ty = match ty {
            Type::Tensor(ty) => ty,
            Type::Unranked(element) => {
                self.push(element.text());
                return self.push("[]");
            }
            Type::Sequence(item) | Type::Optional(item) => {
                self.push(if matches!(ty, Type::Sequence(_)) { "seq(" } else { "optional(" });
                self.ty(item, scope);
                return self.push(")");
            }
        };
        self.push(ty.element.text());
        for (axis, dim) in ty.shape.iter().enumerate() {
            self.push(if axis == 0 { "[" } else { "," });
            self.dim(dim, scope, axis);
        }
        self.push(if ty.shape.is_empty() { "" } else { "]" });
    }

    fn dim(&mut self, dim: &Dim, scope: &str, axis: usize) {
        match (dim.as_size(), dim.as_symbol()) {
            (Some(size), _) => {
                let _ = write!(self.out, "{size}");
            }
            (None, Some(symbol)) if is_identifier(symbol) => self.push(symbol),
            // What `?` reads back as at this place.
            (None, Some(_)) if *dim == Dim::fresh(scope, axis) => self.push("?"),
            _ => self.quoted(&dim.to_string()),
        }
    }

    fn data(&mut self, tensor: &Tensor) {
        data(&mut self.out, tensor, self.options, &mut self.n_seeds);
    }

    /// `<weights, types>`, one a line; nothing when there are none. A function has no weights, only constants.
    fn values(&mut self, graph: &Graph, names: &Names, in_function: bool) {
        enum Entry<'a> {
            Weight(&'a Tensor),
            Type(&'a Type),
        }
        let mut entries: Vec<(ValueId, Entry)> = Vec::new();
        if !in_function {
            let apart = graph.inputs().iter().filter(|&&id| default_beside(graph, id).is_none());
            entries.extend(apart.filter_map(|&id| Some((id, Entry::Weight(default(graph, id)?)))));
            entries.extend(graph.values().filter_map(|(id, value)| Some((id, Entry::Weight(value.weight()?)))));
        }
        if self.options.types {
            let is_output: FxHashSet<ValueId> = graph.outputs().iter().map(|output| output.value).collect();
            let results = order(graph).into_iter().flat_map(|id| graph.node(id).outputs().iter().copied());
            let typed = results.filter(|id| !is_output.contains(id) && !names.of(*id).is_empty());
            entries.extend(typed.filter_map(|id| Some((id, Entry::Type(graph.value(id).ty.as_ref()?)))));
        }
        if entries.is_empty() {
            return;
        }
        self.push(" <");
        self.indent += 1;
        for (index, (id, entry)) in entries.into_iter().enumerate() {
            self.push(if index == 0 { "" } else { "," });
            self.line();
            match entry {
                Entry::Weight(tensor) => {
                    tensor_type(&mut self.out, tensor);
                    self.push(" ");
                    self.value_name(names.of(id));
                    self.push(" = ");
                    self.data(tensor);
                }
                Entry::Type(ty) => {
                    self.ty(ty, names.of(id));
                    self.push(" ");
                    self.value_name(names.of(id));
                }
            }
        }
        self.indent -= 1;
        self.line();
        self.push(">");
    }

    fn nodes(&mut self, graph: &Graph, names: &Names, in_function: bool) {
        self.push(" {");
        self.indent += 1;
        if in_function {
            for (id, value) in graph.values() {
                if let Some(tensor) = value.weight() {
                    self.line();
                    self.value_name(names.of(id));
                    self.push(" = Constant <");
                    self.attr("value", &Attr::Tensor(tensor.clone()), false, &[]);
                    self.push("> ()");
                }
            }
        }
        for id in order(graph) {
            self.line();
            self.node(graph.node(id), names);
        }
        for (name, source) in &names.aliases {
            self.line();
            self.value_name(name);
            self.push(" = Identity (");
            self.value_name(source);
            self.push(")");
        }
        self.indent -= 1;
        self.line();
        self.push("}");
    }

    fn node(&mut self, node: &Node, names: &Names) {
        if !node.name.is_empty() {
            self.push("[");
            self.word(&node.name);
            self.push("] ");
        }
        self.list(node.outputs(), |printer, &id| printer.value_name(names.of(id)));
        self.push(" = ");
        self.op(&node.op);
        let captured: Vec<Name> = node.captures().iter().map(|&id| names.of(id).clone()).collect();
        // Bodies take many lines and read better behind the inputs.
        let has_bodies = node.bodies().next().is_some();
        if !has_bodies {
            self.attrs(node, &captured);
        }
        self.push(" (");
        self.list(node.inputs(), |printer, input| match input {
            Some(id) => printer.value_name(names.of(*id)),
            None => printer.push("\"\""),
        });
        self.push(")");
        if has_bodies {
            self.attrs(node, &captured);
        }
    }

    fn op(&mut self, op: &Op) {
        let domain = op.domain();
        if !domain.is_empty() {
            if domain.split('.').all(is_identifier) {
                self.push(domain)
            } else {
                self.quoted(domain)
            }
            self.push(".");
        }
        self.word(op.name());
        let overload = match op {
            Op::Builtin(_) => return,
            Op::Function(function) => &function.overload,
            Op::Opaque(custom) => &custom.overload,
        };
        if !overload.is_empty() {
            self.push(":");
            self.word(overload);
        }
    }

    /// ` <attributes>`; those that have their default are filled in again on reading.
    fn attrs(&mut self, node: &Node, captured: &[Name]) {
        let is_default = |name: &Name, value: &Attr| match &node.op {
            Op::Builtin(def) => {
                def.attr(name).and_then(|def| def.default.value()).is_some_and(|default| default == *value)
            }
            Op::Function(function) => {
                let formal = function.attrs.iter().find(|formal| formal.name == *name);
                // Graphs are equal only when they are the same one, which reading could not give back.
                formal.and_then(|formal| formal.default.as_ref()).is_some_and(|default| default == value)
            }
            Op::Opaque(_) => false,
        };
        let given: Vec<(&Name, &Attr)> = node.attrs.iter().filter(|(name, value)| !is_default(name, value)).collect();
        if given.is_empty() {
            return;
        }
        self.push(" <");
        self.list(given, |printer, (name, value)| printer.attr(name, value, false, captured));
        self.push(">");
    }

    /// `name = value`, with the kind where the value does not tell it, or always when `annotated`.
    fn attr(&mut self, name: &str, value: &Attr, annotated: bool, captured: &[Name]) {
        self.word(name);
        let tells_kind = match value {
            Attr::Ints(values) => !values.is_empty(),
            Attr::Floats(values) => !values.is_empty() && !values.iter().any(has_payload),
            Attr::Strings(values) => !values.is_empty(),
            Attr::Float(value) => !has_payload(value),
            Attr::Tensor(_) | Attr::Int(_) | Attr::String(_) | Attr::Graph(_) => true,
            Attr::Bytes(_) | Attr::Tensors(_) | Attr::Graphs(_) | Attr::Type(_) | Attr::Ref(..) => false,
        };
        if annotated || !tells_kind {
            let _ = write!(self.out, ": {}", value.kind().text());
        }
        self.push(" = ");
        match value {
            Attr::Int(value) => {
                let _ = write!(self.out, "{value}");
            }
            Attr::Float(value) => float32(&mut self.out, *value),
            Attr::String(text) => self.quoted(text),
            Attr::Bytes(bytes) if bytes.is_empty() => byte_string(&mut self.out, bytes),
            Attr::Bytes(bytes) => hex(&mut self.out, bytes),
            Attr::Tensor(tensor) => self.tensor(tensor),
            Attr::Graph(graph) => self.graph(graph, captured),
            Attr::Ints(values) => self.bracketed(values.iter(), |printer, value| {
                let _ = write!(printer.out, "{value}");
            }),
            Attr::Floats(values) => self.bracketed(values.iter(), |printer, value| float32(&mut printer.out, *value)),
            Attr::Strings(values) => self.bracketed(values.iter(), |printer, text| printer.quoted(text)),
            Attr::Tensors(tensors) => self.bracketed(tensors.iter(), |printer, tensor| printer.tensor(tensor)),
            Attr::Graphs(graphs) => self.bracketed(graphs.iter(), |printer, graph| printer.graph(graph, captured)),
            Attr::Type(ty) => self.ty(ty, ""),
            Attr::Ref(formal, _) => {
                self.push("@");
                self.word(formal);
            }
        }
    }

    fn bracketed<T>(&mut self, items: impl IntoIterator<Item = T>, print: impl FnMut(&mut Self, T)) {
        self.push("[");
        self.list(items, print);
        self.push("]");
    }

    /// A tensor inside an attribute.
    fn tensor(&mut self, tensor: &Tensor) {
        tensor_type(&mut self.out, tensor);
        self.push(if is_recipe(tensor, self.options) { " = " } else { " " });
        self.data(tensor);
    }
}

fn has_payload(value: &f32) -> bool {
    value.is_nan() && value.to_bits() & 0x7fff_ffff != 0x7fc0_0000
}

/// The order of execution; the order of the graph when a cycle leaves none.
fn order(graph: &Graph) -> Vec<NodeId> {
    walk::order(graph).unwrap_or_else(|_| graph.nodes().map(|(id, _)| id).collect())
}

/// The default of an input.
fn default(graph: &Graph, id: ValueId) -> Option<&Tensor> {
    match graph.value(id).def() {
        Def::Input { default, .. } => default.as_ref(),
        _ => None,
    }
}

/// The default of an input, when it can stand beside it: one type then says both.
fn default_beside(graph: &Graph, id: ValueId) -> Option<&Tensor> {
    default(graph, id).filter(|tensor| graph.ty(id) == Some(&tensor.ty()))
}
