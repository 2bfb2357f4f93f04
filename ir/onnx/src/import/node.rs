//! Builds one node: attributes, bodies, the step to the canonical operator set, the operator.

use super::control;
use super::functions::callee;
use super::graph::{Builder, Captures};
use super::{Importer, Scope, entries};
use crate::attribute::{self, Imported};
use crate::call::{Call, Operand, free_names};
use crate::opset::{is_as_declared, to_canonical};
use crate::proto::{AttributeProto, NodeProto};
use bytes::Bytes;
use eutectic_ir::diag::{Diagnostic, Kind};
use eutectic_ir::graph::CustomOp;
use eutectic_ir::op::{Argument, CANONICAL_OPSET, Call as Typed, Operand as Typing};
use eutectic_ir::{Attr, Attrs, Name, NodeId, Op, Tensor, ops};
use std::sync::Arc;

impl Importer<'_> {
    /// Adds `proto` to the graph. Problems are reported; the caller adds the place.
    pub(super) fn node(&mut self, builder: &mut Builder, proto: NodeProto, label: &str) {
        if proto.op_type.is_empty() {
            self.error(Kind::Invalid, "I0107", "the node has no operator");
        }
        if proto.output.iter().all(String::is_empty) && proto.output.len() != 1 {
            return self.error(Kind::Invalid, "I0107", "the node has no outputs");
        }
        self.dropped("descriptions of nodes", (!proto.doc_string.is_empty()).into());
        self.lost("device configurations of nodes", proto.device_configurations.len());
        let (domain, op_type, overload) = callee(&proto);
        let mut captures = Captures::default();
        let attrs = self.attributes(builder.scope, proto.attribute, &mut captures);
        let operand = |name: String| if name.is_empty() { Operand::Absent } else { Operand::Named(name.into()) };
        let call = Call {
            domain,
            op_type,
            overload,
            name: proto.name.into(),
            inputs: proto.input.into_iter().map(operand).collect(),
            outputs: proto.output.into_iter().map(Name::from).collect(),
            attrs,
            metadata: entries(proto.metadata_props),
            captures: captures.names,
            as_written: false,
        };
        let is_constant = call.domain.is_empty() && call.op_type == "Constant";
        if is_constant && !call.attrs.iter().any(|(_, attr)| matches!(attr, Attr::Ref(..))) {
            builder.graph.n_constant_nodes += 1;
            match constant(&call.attrs) {
                Ok(tensor) => builder.add_weight(call.outputs.first().cloned().unwrap_or_default(), tensor),
                Err(error) => self.diagnostics.push(error),
            }
            return;
        }
        for call in self.canonical(builder, call, label) {
            self.add_call(builder, call, label);
        }
    }

    fn attributes(&mut self, scope: Scope, protos: Vec<AttributeProto>, captures: &mut Captures) -> Attrs {
        let mut attrs = Attrs::new();
        let inner = Scope { is_main: false, ..scope };
        for proto in protos {
            let name = Name::from(proto.name.as_str());
            let part = format!("attribute `{name}`");
            if name.is_empty() {
                self.error(Kind::Invalid, "I0108", "an attribute has no name");
            }
            if attrs.get(&name).is_some() {
                self.error(Kind::Invalid, "I0108", format!("the attribute `{name}` is given twice"));
                continue;
            }
            let from = self.diagnostics.0.len();
            match attribute::import(proto, scope.in_function, self.limits, self.stored, self.diagnostics) {
                Ok(Imported::Value(value)) => attrs.set(name, value),
                Ok(Imported::Graph(graph)) => {
                    let graph = self.graph(inner, graph, Some(captures));
                    attrs.set(name, Attr::Graph(Arc::new(graph)));
                }
                Ok(Imported::Graphs(graphs)) => {
                    let graphs = graphs.into_iter().map(|graph| Arc::new(self.graph(inner, graph, Some(captures))));
                    let graphs: Vec<_> = graphs.collect();
                    attrs.set(name, Attr::Graphs(graphs.into()));
                }
                Err(error) => self.diagnostics.push(error),
            }
            self.locate(from, &part);
        }
        attrs
    }

    /// `call` as the canonical operator set writes it; as the file writes it when the table lacks the operator or the
    /// step is impossible.
    fn canonical(&mut self, builder: &Builder, call: Call, label: &str) -> Vec<Call> {
        let is_function = |call: &Call| {
            self.functions.contains_key(&(call.domain.clone(), call.op_type.clone(), call.overload.clone()))
        };
        if is_function(&call) {
            return vec![call];
        }
        if let Some(def) = ops::lookup(&call.domain, &call.op_type).filter(|def| !def.domain.is_empty()) {
            let stated = builder.scope.opsets.iter().find(|(domain, _)| *domain == call.domain);
            // A domain that the file does not import is read in the version that export would state for it.
            let version = stated.map(|(_, version)| *version).or_else(|| ops::newest_version(&call.domain));
            let as_written = !version.is_some_and(|version| is_as_declared(def, version));
            return vec![Call { as_written, ..call }];
        }
        if !call.domain.is_empty() {
            return vec![call];
        }
        let Some(version) = builder.scope.opset else {
            self.error(Kind::Invalid, "I0109", "the node is of the default operator set, which is not imported");
            return vec![call];
        };
        if version == CANONICAL_OPSET {
            return vec![call];
        }
        match to_canonical(call.clone(), version, builder) {
            Ok(mut calls) if calls.iter().all(|call| ops::lookup("", &call.op_type).is_some()) => {
                free_names(&mut calls, &call.outputs, |name| {
                    let numbered = (1..).map(|n| Name::from(format!("{name}_{n}")));
                    let mut candidates = std::iter::once(name.clone()).chain(numbered);
                    candidates.find(|free| !builder.names.contains_key(free)).unwrap_or_default()
                });
                calls
            }
            Ok(_) => vec![as_written(call)],
            // The table lacks the operator anyway, so nothing is lost.
            Err(_) if ops::lookup("", &call.op_type).is_none() => vec![as_written(call)],
            Err(why) => {
                let message = format!("{label} stays as opset {version} has it: {why}");
                self.diagnostics.push(Diagnostic::warning("I0117", message));
                vec![as_written(call)]
            }
        }
    }

    fn add_call(&mut self, builder: &mut Builder, mut call: Call, label: &str) {
        call.trim_inputs();
        call.trim_outputs();
        let (op, attrs) = self.operator(&call, label);
        // Version 8 of Scan has an input more.
        let is_old_scan = call.op_type == "Scan" && call.as_written;
        if call.domain.is_empty()
            && !is_old_scan
            && let Err(why) = control::check(&call.op_type, &call.attrs, call.inputs.len(), call.outputs.len())
        {
            self.error(Kind::Invalid, "I0107", why.to_string());
        }
        let mut inputs = Vec::with_capacity(call.inputs.len());
        for (slot, operand) in call.inputs.into_iter().enumerate() {
            inputs.push(match operand {
                Operand::Absent => None,
                Operand::Weight(tensor) => Some(builder.graph.add_weight("", tensor)),
                Operand::Named(name) => match builder.resolve(&name) {
                    Some(id) => Some(id),
                    None => {
                        let message = format!("input {slot} reads `{name}`, which nobody produces");
                        let error = self.hinted(Diagnostic::error(Kind::Invalid, "I0102", message), builder, &name);
                        self.diagnostics.push(error);
                        None
                    }
                },
            });
        }
        let id = builder.graph.add_node(op, attrs, inputs, call.outputs.iter().cloned());
        for name in &call.captures {
            match builder.resolve(name) {
                Some(value) => drop(builder.graph.capture(id, value)),
                None => {
                    let message = format!("a graph inside the node reads `{name}`, which nobody produces");
                    let error = self.hinted(Diagnostic::error(Kind::Invalid, "I0102", message), builder, name);
                    self.diagnostics.push(error);
                }
            }
        }
        let node = builder.graph.node_mut(id);
        node.name = call.name;
        node.metadata = call.metadata;
        let outputs = builder.graph.node(id).outputs().to_vec();
        for (name, value) in call.outputs.into_iter().zip(outputs) {
            if !name.is_empty() {
                builder.graph.value_mut(value).ty = builder.declared.get(&name).cloned();
                builder.names.insert(name, value);
            }
        }
        infer(builder, id);
    }

    /// The operator of `call` with complete attributes. Problems are reported; an unknown operator then stands in, so
    /// that what reads the node is not reported as well.
    fn operator(&mut self, call: &Call, label: &str) -> (Op, Attrs) {
        let custom = |(domain, name, overload)| Op::Opaque(Arc::new(CustomOp { domain, name, overload }));
        let key = (call.domain.clone(), call.op_type.clone(), call.overload.clone());
        if let Some(function) = self.functions.get(&key).cloned() {
            if call.inputs.len() > function.body.inputs().len() {
                let message = format!(
                    "the function has {} inputs, the call gives {}",
                    function.body.inputs().len(),
                    call.inputs.len()
                );
                self.error(Kind::Invalid, "I0107", message);
            }
            return match function.complete(call.attrs.clone()) {
                Ok(attrs) => (Op::Function(function), attrs),
                Err(unknown) => {
                    let names = unknown.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                    self.error(Kind::Invalid, "I0108", format!("the function has no attribute {names}"));
                    (custom(key), Attrs::new())
                }
            };
        }
        let known = if call.as_written { None } else { ops::lookup(&call.domain, &call.op_type) };
        let Some(def) = known else {
            let entry = self.unknown.entry((key.0.clone(), key.1.clone()));
            entry.or_insert_with(|| (0, label.to_owned())).0 += 1;
            return (custom(key), call.attrs.clone());
        };
        match def.complete(call.attrs.clone()) {
            Ok(attrs) => (Op::Builtin(def), attrs),
            Err(errors) => {
                errors.iter().for_each(|error| self.error(Kind::Invalid, "I0108", error.to_string()));
                (custom(key), Attrs::new())
            }
        }
    }
}

fn as_written(call: Call) -> Call {
    Call { as_written: true, ..call }
}

/// The contents that a `Constant` node states.
fn constant(attrs: &Attrs) -> Result<Tensor, Diagnostic> {
    let invalid = |message: &str| Diagnostic::error(Kind::Invalid, "I0108", message);
    let mut given = attrs.iter();
    let (Some((name, attr)), None) = (given.next(), given.next()) else {
        return Err(invalid("expected one attribute with the value of the constant"));
    };
    let bytes = |text: &Name| Bytes::copy_from_slice(text.as_bytes());
    let strings = |shape: &[usize], strings: Vec<Bytes>| {
        Tensor::from_strings(shape, strings).map_err(|error| invalid(&error.to_string()))
    };
    match (name.as_str(), attr) {
        ("value", Attr::Tensor(tensor)) => Ok(tensor.clone()),
        ("value_float", Attr::Float(value)) => Ok(Tensor::scalar(*value)),
        ("value_floats", Attr::Floats(values)) => Ok(Tensor::vector::<f32>(values)),
        ("value_int", Attr::Int(value)) => Ok(Tensor::scalar(*value)),
        ("value_ints", Attr::Ints(values)) => Ok(Tensor::vector::<i64>(values)),
        ("value_string", Attr::String(value)) => strings(&[], vec![bytes(value)]),
        ("value_string", Attr::Bytes(value)) => strings(&[], vec![value.clone()]),
        ("value_strings", Attr::Strings(values)) => strings(&[values.len()], values.iter().map(bytes).collect()),
        _ => Err(invalid(&format!("`{name}` is no value of a constant"))),
    }
}

/// Derives the types of what a node defines, where the file declares none and the steps between operator sets may ask.
fn infer(builder: &mut Builder, id: NodeId) {
    if !builder.needs_types {
        return;
    }
    let node = builder.graph.node(id);
    let Some(def) = node.op.builtin() else { return };
    let operands: Option<Vec<Option<Argument>>> = node
        .inputs()
        .iter()
        .map(|input| match input {
            None => Some(None),
            Some(id) => {
                let ty = builder.ty(*id)?;
                Some(Some(Typing { ty, content: None, constant: builder.graph.weight(*id) }.into()))
            }
        })
        .collect();
    let Some(operands) = operands else { return };
    let scope = builder.graph.value(node.output()).name.clone();
    let n_outputs = node.outputs().len();
    let call = Typed { attrs: &node.attrs, inputs: &operands, captures: &[], n_outputs, scope: &scope };
    // A call that does not fit is the verifier's to report.
    let Ok(facts) = (def.infer)(&call) else { return };
    let outputs = node.outputs().to_vec();
    for (output, fact) in outputs.into_iter().zip(facts) {
        if let Some(ty) = fact.and_then(|fact| fact.ty.into_tensor()) {
            builder.inferred.insert(output, ty);
        }
    }
}
