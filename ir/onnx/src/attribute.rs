//! Attributes between the file and the IR. Graphs inside attributes are left to the caller, which knows the scope.

use crate::limits::Limits;
use crate::proto::{AttributeProto, GraphProto, attribute_type as tag};
use crate::{tensor, values};
use bytes::Bytes;
use eutectic_ir::attr::AttrKind;
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use eutectic_ir::stored::Stored;
use eutectic_ir::{Attr, Name};
use std::sync::Arc;

/// An attribute of a file: a value, or graphs that are still to be read.
pub(crate) enum Imported {
    Value(Attr),
    Graph(GraphProto),
    Graphs(Vec<GraphProto>),
}

/// Reads `proto`, whose tag must be that of the one field that it sets.
pub(crate) fn import(
    proto: AttributeProto,
    in_function: bool,
    limits: &Limits,
    stored: &[Arc<Stored>],
    diagnostics: &mut Diagnostics,
) -> Result<Imported, Diagnostic> {
    let populated = populated(&proto);
    if !proto.ref_attr_name.is_empty() {
        if !in_function {
            let message = format!("it refers to the attribute `{}` of a function, but is in none", proto.ref_attr_name);
            return Err(invalid(message));
        }
        let kind = proto.r#type.and_then(kind_of);
        let kind = kind.ok_or_else(|| invalid("it refers to a function's attribute, but has no type".into()))?;
        return Ok(Imported::Value(Attr::Ref(proto.ref_attr_name.into(), kind)));
    }
    let code = match (proto.r#type.unwrap_or(tag::UNDEFINED), &populated[..]) {
        (tag::UNDEFINED, [one]) => *one,
        (tag::UNDEFINED, []) => return Err(invalid("it has neither a type nor a value".into())),
        // Of a list that is empty, nothing is in the file; nor are numbers that some writers leave out when zero.
        (code, []) => code,
        (code, [one]) if code == *one => code,
        (code, [one]) => {
            return Err(invalid(format!("its type is {}, but its value is {}", tag_name(code), tag_name(*one))));
        }
        (_, several) => {
            let names: Vec<_> = several.iter().map(|code| tag_name(*code)).collect();
            return Err(invalid(format!("it has several values: {}", names.join(", "))));
        }
    };
    Ok(Imported::Value(match code {
        tag::FLOAT => Attr::Float(proto.f.unwrap_or_default()),
        tag::INT => Attr::Int(proto.i.unwrap_or_default()),
        tag::STRING => {
            let bytes = proto.s.unwrap_or_default();
            match std::str::from_utf8(&bytes) {
                Ok(text) => Attr::String(text.into()),
                Err(_) => Attr::Bytes(bytes),
            }
        }
        tag::FLOATS => Attr::Floats(proto.floats.into()),
        tag::INTS => Attr::Ints(proto.ints.into()),
        tag::STRINGS => {
            let text = |bytes: &Bytes| std::str::from_utf8(bytes).map(Name::from);
            let texts = proto.strings.iter().map(text).collect::<Result<Vec<_>, _>>();
            let problem = |_| Diagnostic::error(Kind::Unsupported, "I0113", "a list holds strings that are not UTF-8");
            Attr::Strings(texts.map_err(problem)?.into())
        }
        tag::TENSOR => {
            let proto = proto.t.ok_or_else(|| invalid("it is said to be a tensor, and there is none".into()))?;
            Attr::Tensor(tensor::import(proto, limits, stored, diagnostics)?)
        }
        tag::TENSORS => {
            let tensors = proto.tensors.into_iter().map(|proto| tensor::import(proto, limits, stored, diagnostics));
            Attr::Tensors(tensors.collect::<Result<Vec<_>, _>>()?.into())
        }
        tag::GRAPH => {
            let graph = proto.g.ok_or_else(|| invalid("it is said to be a graph, and there is none".into()))?;
            return Ok(Imported::Graph(*graph));
        }
        tag::GRAPHS => return Ok(Imported::Graphs(proto.graphs)),
        tag::TYPE_PROTO => match values::import("", proto.tp.as_ref(), limits)? {
            values::Declared::Type(ty) => Attr::Type(ty),
            values::Declared::Nothing => return Err(unsupported("an empty type")),
            values::Declared::Other(what) => return Err(unsupported(what)),
        },
        tag::SPARSE_TENSOR | tag::SPARSE_TENSORS => return Err(unsupported("a sparse tensor")),
        tag::TYPE_PROTOS => return Err(unsupported("a list of types")),
        other => return Err(invalid(format!("its type is {other}, which does not exist"))),
    }))
}

/// The types of which `proto` sets a field.
fn populated(proto: &AttributeProto) -> Vec<i32> {
    let fields = [
        (tag::FLOAT, proto.f.is_some()),
        (tag::INT, proto.i.is_some()),
        (tag::STRING, proto.s.is_some()),
        (tag::TENSOR, proto.t.is_some()),
        (tag::GRAPH, proto.g.is_some()),
        (tag::FLOATS, !proto.floats.is_empty()),
        (tag::INTS, !proto.ints.is_empty()),
        (tag::STRINGS, !proto.strings.is_empty()),
        (tag::TENSORS, !proto.tensors.is_empty()),
        (tag::GRAPHS, !proto.graphs.is_empty()),
        (tag::SPARSE_TENSOR, proto.sparse_tensor.is_some()),
        (tag::SPARSE_TENSORS, !proto.sparse_tensors.is_empty()),
        (tag::TYPE_PROTO, proto.tp.is_some()),
        (tag::TYPE_PROTOS, !proto.type_protos.is_empty()),
    ];
    fields.into_iter().filter(|(_, set)| *set).map(|(code, _)| code).collect()
}

const KINDS: &[(i32, AttrKind)] = &[
    (tag::FLOAT, AttrKind::Float),
    (tag::INT, AttrKind::Int),
    (tag::STRING, AttrKind::String),
    (tag::TENSOR, AttrKind::Tensor),
    (tag::GRAPH, AttrKind::Graph),
    (tag::FLOATS, AttrKind::Floats),
    (tag::INTS, AttrKind::Ints),
    (tag::STRINGS, AttrKind::Strings),
    (tag::TENSORS, AttrKind::Tensors),
    (tag::GRAPHS, AttrKind::Graphs),
    (tag::TYPE_PROTO, AttrKind::Type),
];

fn kind_of(code: i32) -> Option<AttrKind> {
    KINDS.iter().find(|(known, _)| *known == code).map(|(_, kind)| *kind)
}

fn code_of(kind: AttrKind) -> i32 {
    KINDS.iter().find(|(_, known)| *known == kind).map_or(tag::UNDEFINED, |(code, _)| *code)
}

fn tag_name(code: i32) -> String {
    kind_of(code).map_or_else(|| format!("type {code}"), |kind| kind.text().to_owned())
}

/// Writes one attribute; `export_graph` writes the graphs inside it.
pub(crate) fn export(
    name: &str,
    attr: &Attr,
    export_graph: &mut dyn FnMut(&eutectic_ir::Graph) -> GraphProto,
) -> AttributeProto {
    let mut proto = AttributeProto { name: name.to_owned(), r#type: Some(code_of(attr.kind())), ..Default::default() };
    match attr {
        Attr::Int(value) => proto.i = Some(*value),
        Attr::Float(value) => proto.f = Some(*value),
        Attr::String(value) => proto.s = Some(Bytes::copy_from_slice(value.as_bytes())),
        Attr::Bytes(value) => proto.s = Some(value.clone()),
        Attr::Tensor(value) => proto.t = Some(tensor::export("", value)),
        Attr::Graph(graph) => proto.g = Some(Box::new(export_graph(graph))),
        Attr::Ints(values) => proto.ints = values.to_vec(),
        Attr::Floats(values) => proto.floats = values.to_vec(),
        Attr::Strings(values) => {
            proto.strings = values.iter().map(|value| Bytes::copy_from_slice(value.as_bytes())).collect();
        }
        Attr::Tensors(values) => proto.tensors = values.iter().map(|value| tensor::export("", value)).collect(),
        Attr::Graphs(graphs) => proto.graphs = graphs.iter().map(|graph| export_graph(graph)).collect(),
        Attr::Type(ty) => proto.tp = Some(values::type_of(ty)),
        Attr::Ref(formal, _) => proto.ref_attr_name = formal.to_string(),
    }
    proto
}

fn invalid(message: String) -> Diagnostic {
    Diagnostic::error(Kind::Invalid, "I0108", message)
}

fn unsupported(what: &str) -> Diagnostic {
    Diagnostic::error(Kind::Unsupported, "I0113", format!("{what} as an attribute is not supported"))
}
