//! The grammar: text to syntax tree. Problems are collected; after one, reading goes on at the next statement.

use super::cursor::{Cursor, MAX_DEPTH, Parsed, Stop};
use super::lexer::Kind;
use super::syntax::{
    AttrSyntax, DataSyntax, DimSyntax, FormalSyntax, FunctionSyntax, GraphSyntax, Header, ModelSyntax, NodeSyntax,
    Spanned, SpannedName, TensorSyntax, TypeSyntax, ValueSyntax,
};
use crate::attr::Name;
use crate::diag::{Diagnostic, Kind as Failure};
use crate::dim::Dim;
use crate::types::Element;

/// Types that are no tensors; a parenthesis follows.
/// The kinds of types that are no tensors.
const OTHER_TYPES: &[&str] = &["seq", "map", "optional", "sparse_tensor", "opaque"];
/// How deep sequences and optional values of each other are read.
const MOST_NESTED: usize = 50;

impl Cursor<'_> {
    /// `header? graph function*`
    pub(super) fn model(&mut self) -> ModelSyntax {
        let mut model = ModelSyntax::default();
        let read = self.header(&mut model.header).and_then(|()| self.graph());
        match read {
            Ok(graph) => model.graph = Some(graph),
            Err(Stop) => self.recover_top(),
        }
        model.functions = self.functions();
        model
    }

    /// `function*` to the end of the text.
    pub(super) fn functions(&mut self) -> Vec<FunctionSyntax> {
        let mut functions = Vec::new();
        while !self.at_end() && !self.is_full() {
            match self.function() {
                Ok(function) => functions.push(function),
                Err(Stop) => self.recover_top(),
            }
        }
        functions
    }

    /// A graph, and nothing behind it.
    pub(super) fn only_graph(&mut self) -> Option<GraphSyntax> {
        let graph = self.graph().ok()?;
        if !self.at_end() {
            self.expected("the end of the text after the graph");
        }
        Some(graph)
    }

    fn function(&mut self) -> Parsed<FunctionSyntax> {
        let mut header = Header::default();
        self.header(&mut header)?;
        let name = self.name("the name of a function")?;
        let mut formals = Vec::new();
        if self.eat("<") {
            self.list_until(">", "after the attributes of a function", |cursor| {
                formals.push(cursor.formal()?);
                Ok(())
            })?;
        }
        let graph = self.graph_after(name)?;
        Ok(FunctionSyntax { header, formals, graph })
    }

    fn formal(&mut self) -> Parsed<FormalSyntax> {
        let name = self.name("the name of an attribute")?;
        let given = self.peek().is(":") || self.peek().is("=");
        let default = if given { Some(self.attr_after(name.clone())?) } else { None };
        Ok(FormalSyntax { name, default })
    }

    /// `< key: value, ... >`, which may be missing.
    fn header(&mut self, header: &mut Header) -> Parsed<()> {
        if !self.eat("<") {
            return Ok(());
        }
        self.list_until(">", "after the header", |cursor| cursor.header_entry(header))
    }

    fn header_entry(&mut self, header: &mut Header) -> Parsed<()> {
        let key = self.peek();
        if key.kind != Kind::Ident {
            return Err(self.expected("a key of the header"));
        }
        self.bump();
        self.expect(":", "after a key of the header")?;
        let text = |cursor: &mut Self| cursor.string("a string").map(|string| Some(string.value));
        let first = match key.text {
            "ir_version" => header.ir_version.replace(self.int("a version")?).is_none(),
            "opset_import" => header.opsets.replace(self.opsets()?).is_none(),
            "producer_name" => std::mem::replace(&mut header.producer_name, text(self)?).is_none(),
            "producer_version" => std::mem::replace(&mut header.producer_version, text(self)?).is_none(),
            "domain" => std::mem::replace(&mut header.domain, text(self)?).is_none(),
            "model_version" => header.model_version.replace(self.int("a version")?).is_none(),
            "doc_string" => std::mem::replace(&mut header.doc, text(self)?).is_none(),
            "metadata_props" => header.metadata.replace(self.metadata()?).is_none(),
            "overload" => std::mem::replace(&mut header.overload, text(self)?).is_none(),
            _ => {
                let message = format!("a header has no key {}", key.shown());
                let problem = Diagnostic::error(Failure::Malformed, "T0006", message).at_span(key.span());
                return Err(self.stop(problem.help(
                    "keys are ir_version, opset_import, producer_name, producer_version, domain, model_version, \
                     doc_string, metadata_props and overload",
                )));
            }
        };
        if !first {
            let message = format!("the header has {} twice", key.shown());
            self.report(Diagnostic::error(Failure::Malformed, "T0006", message).at_span(key.span()));
        }
        Ok(())
    }

    fn opsets(&mut self) -> Parsed<Vec<(Name, u64)>> {
        let mut opsets = Vec::new();
        self.expect("[", "before operator sets")?;
        self.list_until("]", "after operator sets", |cursor| {
            let domain = cursor.string("the domain of an operator set in quotes")?.value;
            cursor.expect(":", "after the domain of an operator set")?;
            opsets.push((domain, cursor.int("the version of an operator set")?));
            Ok(())
        })?;
        Ok(opsets)
    }

    fn metadata(&mut self) -> Parsed<Vec<(Name, Name)>> {
        let mut pairs = Vec::new();
        self.expect("[", "before metadata")?;
        self.list_until("]", "after metadata", |cursor| {
            let key = cursor.string("a key in quotes")?.value;
            cursor.expect(":", "after a key of the metadata")?;
            pairs.push((key, cursor.string("a value in quotes")?.value));
            Ok(())
        })?;
        Ok(pairs)
    }

    pub(super) fn graph(&mut self) -> Parsed<GraphSyntax> {
        let name = self.name("the name of a graph")?;
        self.graph_after(name)
    }

    /// `(inputs) => (outputs) <values> { nodes }`
    pub(super) fn graph_after(&mut self, name: SpannedName) -> Parsed<GraphSyntax> {
        if self.depth == MAX_DEPTH {
            let message = format!("graphs are nested more than {MAX_DEPTH} deep");
            return Err(self.stop(Diagnostic::error(Failure::Limit, "T0005", message).at_span(name.span)));
        }
        self.depth += 1;
        let graph = self.graph_within(name);
        self.depth -= 1;
        graph
    }

    fn graph_within(&mut self, name: SpannedName) -> Parsed<GraphSyntax> {
        let inputs = self.values("(", ")", "inputs", true)?;
        self.expect("=>", "between inputs and outputs")?;
        let outputs = self.values("(", ")", "outputs", false)?;
        let values = if self.peek().is("<") { self.values("<", ">", "weights", true)? } else { Vec::new() };
        let mut graph = GraphSyntax { name, inputs, outputs, values, nodes: Vec::new(), lost: Vec::new() };
        self.expect("{", "before the nodes of a graph")?;
        let braces = self.braces();
        while !self.eat("}") {
            if self.at_end() || self.is_full() {
                return Err(self.expected("`}` after the nodes of a graph"));
            }
            let before = self.peek().start;
            match self.node(&mut graph.lost) {
                Ok(node) => graph.nodes.push(node),
                Err(Stop) => {
                    if self.peek().start == before {
                        self.bump();
                    }
                    self.recover(braces);
                    if self.braces() < braces {
                        return Ok(graph);
                    }
                }
            }
        }
        Ok(graph)
    }

    fn values(&mut self, open: &str, close: &str, what: &str, with_data: bool) -> Parsed<Vec<ValueSyntax>> {
        let mut values = Vec::new();
        self.expect(open, &format!("before {what}"))?;
        self.list_until(close, &format!("after {what}"), |cursor| {
            values.push(cursor.value(with_data)?);
            Ok(())
        })?;
        Ok(values)
    }

    /// `type? name (= data)?`
    fn value(&mut self, with_data: bool) -> Parsed<ValueSyntax> {
        let start = self.peek().start;
        let ty = if self.at_type() { Some(self.ty()?) } else { None };
        let type_span = self.span_from(start);
        let name = self.name("the name of a value")?;
        if !with_data || !self.eat("=") {
            return Ok(ValueSyntax { name, ty, data: DataSyntax::Absent });
        }
        let Some(declared) = &ty else {
            let message = format!("the weight `{}` has no type", name.value);
            let problem = Diagnostic::error(Failure::Invalid, "T0008", message).at_span(name.span.clone());
            return Err(self.stop(problem.help("write its type before its name, such as `float[2]`")));
        };
        let data = match self.data(declared, type_span)? {
            Some(tensor) => DataSyntax::Tensor(tensor),
            None => DataSyntax::Lost,
        };
        Ok(ValueSyntax { name, ty, data })
    }

    pub(super) fn at_type(&self) -> bool {
        let token = self.peek();
        token.kind == Kind::Ident
            && match Element::from_text(token.text) {
                Some(_) => !self.peek_next().is("("),
                None => OTHER_TYPES.contains(&token.text) && self.peek_next().is("("),
            }
    }

    /// `float`, `float[]`, `float[dim, ...]`, `seq(type)` or `optional(type)`
    pub(super) fn ty(&mut self) -> Parsed<TypeSyntax> {
        let mut wrappers = Vec::new();
        loop {
            let token = self.peek();
            let Some(wrapper) = ["seq", "optional"].into_iter().find(|word| *word == token.text) else { break };
            if wrappers.len() == MOST_NESTED {
                let message = format!("a type is nested more than {MOST_NESTED} deep");
                return Err(self.stop(Diagnostic::error(Failure::Limit, "T0007", message).at_span(token.span())));
            }
            self.bump();
            self.expect("(", "after the kind of a type")?;
            wrappers.push(wrapper);
        }
        let mut ty = TypeSyntax::Tensor(self.tensor_type()?);
        for wrapper in wrappers.into_iter().rev() {
            self.expect(")", "after a type")?;
            let inner = Box::new(ty);
            ty = if wrapper == "seq" { TypeSyntax::Sequence(inner) } else { TypeSyntax::Optional(inner) };
        }
        Ok(ty)
    }

    fn tensor_type(&mut self) -> Parsed<TensorSyntax> {
        let token = self.bump();
        let Some(element) = Element::from_text(token.text) else {
            let message = format!("values of type {} are not supported", token.shown());
            let problem = Diagnostic::error(Failure::Unsupported, "T0007", message).at_span(token.span());
            return Err(self.stop(problem.help("the IR holds tensors, and sequences and optional values of them")));
        };
        if !self.eat("[") {
            return Ok(TensorSyntax { element, shape: Some(Vec::new()) });
        }
        if self.eat("]") {
            return Ok(TensorSyntax { element, shape: None });
        }
        let mut shape = Vec::new();
        self.list_until("]", "after a shape", |cursor| {
            shape.push(cursor.dim()?);
            Ok(())
        })?;
        Ok(TensorSyntax { element, shape: Some(shape) })
    }

    fn dim(&mut self) -> Parsed<DimSyntax> {
        let token = self.peek();
        match (token.kind, token.string()) {
            _ if token.is("?") => {
                self.bump();
                Ok(DimSyntax::Unknown)
            }
            (Kind::Ident, _) => {
                self.bump();
                Ok(DimSyntax::Dim(Dim::symbol(token.text)))
            }
            (_, Some(text)) => {
                self.bump();
                if text.is_empty() {
                    return Ok(DimSyntax::Unknown);
                }
                Ok(DimSyntax::Dim(Dim::parse(&text).unwrap_or_else(|| Dim::symbol(text))))
            }
            _ => {
                let size: i64 = self.int("a dim: an integer, a name, an expression in quotes, or `?`")?;
                if size < 0 {
                    let problem = Diagnostic::error(Failure::Invalid, "T0008", format!("the dim {size} is negative"));
                    self.report(problem.at_span(token.span()).help("write `?` for a dim that is not known"));
                }
                Ok(DimSyntax::Dim(Dim::known(size)))
            }
        }
    }

    /// `[label]? outputs = domain.Op:overload <attributes> (inputs)`; attributes may also stand behind the inputs.
    fn node(&mut self, lost: &mut Vec<Name>) -> Parsed<NodeSyntax> {
        let mut label = Name::default();
        if self.eat("[") {
            if self.at_name() {
                label = self.name("a label")?.value;
            }
            self.expect("]", "after the label of a node")?;
        }
        let outputs = self.id_list("=")?;
        let node = self.call(label, &outputs);
        if node.is_err() {
            lost.extend(outputs.into_iter().map(|output| output.value));
        }
        node
    }

    fn call(&mut self, label: Name, outputs: &[SpannedName]) -> Parsed<NodeSyntax> {
        self.expect("=", "between the outputs and the operator of a node")?;
        let start = self.peek().start;
        let mut parts = vec![self.name("an operator")?.value];
        while self.eat(".") {
            parts.push(self.name("an operator after its domain")?.value);
        }
        let name = parts.pop().unwrap_or_default();
        let op = Spanned { value: name, span: self.span_from(start) };
        let domain = parts.iter().map(Name::as_str).collect::<Vec<_>>().join(".").into();
        let overload = if self.eat(":") { self.name("an overload")?.value } else { Name::default() };
        let mut attrs = self.attrs()?;
        self.expect("(", "before the inputs of a node")?;
        let inputs = self.id_list(")")?;
        self.expect(")", "after the inputs of a node")?;
        if attrs.is_empty() {
            attrs = self.attrs()?;
        }
        Ok(NodeSyntax { label, outputs: outputs.to_vec(), domain, op, overload, attrs, inputs })
    }

    fn attrs(&mut self) -> Parsed<Vec<AttrSyntax>> {
        let mut attrs = Vec::new();
        if self.eat("<") {
            self.list_until(">", "after attributes", |cursor| {
                let name = cursor.name("the name of an attribute")?;
                attrs.push(cursor.attr_after(name)?);
                Ok(())
            })?;
        }
        Ok(attrs)
    }

    /// Names up to `close`; nothing before a comma is a value that is left out, and so is `""`.
    fn id_list(&mut self, close: &str) -> Parsed<Vec<SpannedName>> {
        let mut names = Vec::new();
        while !self.peek().is(close) {
            if self.peek().is(",") {
                names.push(Spanned { value: Name::default(), span: self.peek().span() });
            } else {
                names.push(self.name(&format!("a value or `{close}`"))?);
            }
            if !self.eat(",") {
                break;
            }
        }
        Ok(names)
    }
}
