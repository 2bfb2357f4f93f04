//! Reads the values of attributes.

use super::cursor::{Cursor, Parsed};
use super::lexer::{Kind, Token};
use super::parse_tensor::{Unfit, float32};
use super::syntax::{AttrSyntax, AttrValue, GraphSyntax, SpannedName};
use crate::attr::{Attr, AttrKind, Name};
use crate::diag::{Diagnostic, Kind as Failure};
use crate::tensor::Tensor;
use bytes::Bytes;

/// One value, or one element of a list.
enum Single {
    Int(i64),
    Float(f32),
    String(Name),
    Bytes(Bytes),
    Tensor(Tensor),
    /// A tensor that was reported.
    Lost,
    Graph(GraphSyntax),
    Type(crate::types::Type),
    Ref(SpannedName),
}

impl Cursor<'_> {
    /// `: kind = value` or `= value`, behind the name.
    pub(super) fn attr_after(&mut self, name: SpannedName) -> Parsed<AttrSyntax> {
        let kind = if self.eat(":") { Some(self.attr_kind()?) } else { None };
        self.expect("=", "after the name of an attribute")?;
        let start = self.peek().start;
        let value = if self.peek().is("[") { self.attr_list(kind)? } else { self.attr_single(kind)? };
        let found = match &value {
            AttrValue::Done(attr) => Some(attr.kind()),
            AttrValue::Ref(_) => kind,
            AttrValue::Graph(_) => Some(AttrKind::Graph),
            AttrValue::Graphs(_) => Some(AttrKind::Graphs),
        };
        if let (Some(kind), Some(found)) = (kind, found)
            && kind != found
        {
            let message = format!("attribute `{}` says {}, found {}", name.value, kind.text(), found.text());
            let problem = Diagnostic::error(Failure::Invalid, "T0022", message);
            self.report(problem.at_span(self.span_from(start)));
        }
        Ok(AttrSyntax { name, kind, value })
    }

    fn attr_kind(&mut self) -> Parsed<AttrKind> {
        let token = self.peek();
        match kind_of(token.text) {
            Some(kind) if token.kind == Kind::Ident => {
                self.bump();
                Ok(kind)
            }
            _ if ["sparse_tensor", "sparse_tensors", "type_protos"].contains(&token.text) => {
                let message = format!("attributes of kind {} are not supported", token.shown());
                Err(self.stop(Diagnostic::error(Failure::Unsupported, "T0007", message).at_span(token.span())))
            }
            _ => Err(self.expected("the kind of an attribute, such as `int` or `floats`")),
        }
    }

    fn attr_single(&mut self, kind: Option<AttrKind>) -> Parsed<AttrValue> {
        Ok(match self.single(kind)? {
            Single::Int(value) => AttrValue::Done(Attr::Int(value)),
            Single::Float(value) => AttrValue::Done(Attr::Float(value)),
            Single::String(value) => AttrValue::Done(Attr::String(value)),
            Single::Bytes(value) => AttrValue::Done(Attr::Bytes(value)),
            Single::Tensor(value) => AttrValue::Done(Attr::Tensor(value)),
            Single::Lost => AttrValue::Done(Attr::Tensor(Tensor::scalar(0f32))),
            Single::Graph(graph) => AttrValue::Graph(Box::new(graph)),
            Single::Type(ty) => AttrValue::Done(Attr::Type(ty)),
            Single::Ref(name) => AttrValue::Ref(name),
        })
    }

    fn attr_list(&mut self, kind: Option<AttrKind>) -> Parsed<AttrValue> {
        let start = self.bump().start;
        let single = kind.map(|kind| match kind {
            AttrKind::Floats => AttrKind::Float,
            AttrKind::Ints => AttrKind::Int,
            AttrKind::Strings => AttrKind::String,
            AttrKind::Tensors => AttrKind::Tensor,
            AttrKind::Graphs => AttrKind::Graph,
            kind => kind,
        });
        let mut values = Vec::new();
        self.list_until("]", "after the elements of an attribute", |cursor| {
            values.push(cursor.single(single)?);
            Ok(())
        })?;
        let span = self.span_from(start);
        let Some(first) = values.first() else {
            return match kind {
                Some(AttrKind::Ints) => Ok(AttrValue::Done(Attr::Ints([].into()))),
                Some(AttrKind::Floats) => Ok(AttrValue::Done(Attr::Floats([].into()))),
                Some(AttrKind::Strings) => Ok(AttrValue::Done(Attr::Strings([].into()))),
                Some(AttrKind::Tensors) => Ok(AttrValue::Done(Attr::Tensors([].into()))),
                Some(AttrKind::Graphs) => Ok(AttrValue::Graphs(Vec::new())),
                Some(kind) => {
                    let message = format!("an empty list is no {}", kind.text());
                    Err(self.stop(Diagnostic::error(Failure::Invalid, "T0022", message).at_span(span)))
                }
                None => {
                    let problem =
                        Diagnostic::error(Failure::Malformed, "T0022", "an empty list does not tell its kind");
                    Err(self
                        .stop(problem.at_span(span).help("write the kind before the `=`, such as `axes: ints = []`")))
                }
            };
        };
        let found = match first {
            Single::Int(_) if values.iter().any(|value| matches!(value, Single::Float(_))) => AttrKind::Floats,
            Single::Int(_) => AttrKind::Ints,
            Single::Float(_) => AttrKind::Floats,
            Single::String(_) => AttrKind::Strings,
            Single::Tensor(_) | Single::Lost => AttrKind::Tensors,
            Single::Graph(_) => AttrKind::Graphs,
            Single::Bytes(_) | Single::Type(_) | Single::Ref(_) => AttrKind::Type,
        };
        let n_values = values.len();
        let list = match found {
            AttrKind::Ints => all(values, |value| if let Single::Int(value) = value { Some(value) } else { None })
                .map(|values| AttrValue::Done(Attr::Ints(values.into()))),
            AttrKind::Floats => all(values, |value| match value {
                Single::Float(value) => Some(value),
                Single::Int(value) => Some(value as f32),
                _ => None,
            })
            .map(|values| AttrValue::Done(Attr::Floats(values.into()))),
            AttrKind::Strings => {
                all(values, |value| if let Single::String(value) = value { Some(value) } else { None })
                    .map(|values| AttrValue::Done(Attr::Strings(values.into())))
            }
            AttrKind::Tensors => all(values, |value| match value {
                Single::Tensor(value) => Some(value),
                Single::Lost => Some(Tensor::scalar(0f32)),
                _ => None,
            })
            .map(|values| AttrValue::Done(Attr::Tensors(values.into()))),
            AttrKind::Graphs => all(values, |value| if let Single::Graph(value) = value { Some(value) } else { None })
                .map(AttrValue::Graphs),
            _ => None,
        };
        list.ok_or_else(|| {
            let message = format!(
                "the {n_values} elements of this list are no attribute: they are of one kind, or the kind has no lists"
            );
            self.stop(Diagnostic::error(Failure::Invalid, "T0022", message).at_span(span))
        })
    }

    fn single(&mut self, kind: Option<AttrKind>) -> Parsed<Single> {
        let token = self.peek();
        let next = self.peek_next();
        let wants_graph = next.is("(") || kind == Some(AttrKind::Graph);
        match token.kind {
            Kind::String if wants_graph => Ok(Single::Graph(self.graph()?)),
            Kind::String => Ok(Single::String(self.string("a string")?.value)),
            Kind::Hex if kind == Some(AttrKind::String) => Ok(Single::Bytes(self.hex_bytes()?)),
            Kind::Hex if kind == Some(AttrKind::Float) => self.float(token).map(Single::Float),
            Kind::Int if kind == Some(AttrKind::Float) => self.float(token).map(Single::Float),
            Kind::Int => Ok(Single::Int(self.int("a 64-bit integer")?)),
            Kind::Float => self.float(token).map(Single::Float),
            Kind::Ident if self.at_type() => self.tensor_or_type(kind),
            Kind::Ident if token.is_number() && !wants_graph => self.float(token).map(Single::Float),
            Kind::Ident => Ok(Single::Graph(self.graph()?)),
            _ if self.eat("@") => Ok(Single::Ref(self.name("the name of an attribute of the function")?)),
            _ => Err(self.expected("the value of an attribute")),
        }
    }

    fn float(&mut self, token: Token) -> Parsed<f32> {
        let value = match float32(token) {
            Ok(value) => value,
            Err(Unfit::NoElement | Unfit::Range) => {
                let message = format!("{} does not fit float", token.shown());
                self.report(Diagnostic::error(Failure::Invalid, "T0004", message).at_span(token.span()));
                0.0
            }
        };
        self.bump();
        Ok(value)
    }

    /// `type` alone, or `type name? =? data`.
    fn tensor_or_type(&mut self, kind: Option<AttrKind>) -> Parsed<Single> {
        let start = self.peek().start;
        let ty = self.ty()?;
        let span = self.span_from(start);
        let named = self.at_name();
        if named {
            self.bump();
        }
        let assigned = self.eat("=");
        if named || assigned || self.at_data() && !self.peek().is("[") || kind == Some(AttrKind::Tensor) {
            return Ok(self.data(&ty, span)?.map_or(Single::Lost, Single::Tensor));
        }
        Ok(Single::Type(ty.resolve("")))
    }
}

/// The kind that `text` names.
pub(super) fn kind_of(text: &str) -> Option<AttrKind> {
    use AttrKind::*;
    [Float, Int, String, Tensor, Graph, Floats, Ints, Strings, Tensors, Graphs, Type]
        .into_iter()
        .find(|kind| kind.text() == text)
}

fn all<T>(values: Vec<Single>, pick: impl Fn(Single) -> Option<T>) -> Option<Vec<T>> {
    values.into_iter().map(pick).collect()
}
