//! Attributes: complete and ordered, so that two calls are the same exactly when their records are equal.

use crate::graph::Graph;
use crate::tensor::Tensor;
use crate::types::Type;
use bytes::Bytes;
use smol_str::SmolStr;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A name from a model or from us; cheap to clone.
pub type Name = SmolStr;

/// The value of one attribute.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Attr {
    Int(i64),
    Float(f32),
    String(Name),
    /// A string that is not UTF-8.
    Bytes(Bytes),
    Tensor(Tensor),
    Graph(Arc<Graph>),
    Ints(Arc<[i64]>),
    Floats(Arc<[f32]>),
    Strings(Arc<[Name]>),
    Tensors(Arc<[Tensor]>),
    Graphs(Arc<[Arc<Graph>]>),
    /// The type of a value, for `Optional` and its like.
    Type(Type),
    /// Inside a function's body: the function's own attribute of this name.
    Ref(Name, AttrKind),
}

/// The kinds of attributes (`AttributeProto.AttributeType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum AttrKind {
    Float,
    Int,
    String,
    Tensor,
    Graph,
    Floats,
    Ints,
    Strings,
    Tensors,
    Graphs,
    Type,
}

impl AttrKind {
    /// The name in ONNX's textual syntax.
    pub fn text(self) -> &'static str {
        match self {
            AttrKind::Float => "float",
            AttrKind::Int => "int",
            AttrKind::String => "string",
            AttrKind::Tensor => "tensor",
            AttrKind::Graph => "graph",
            AttrKind::Floats => "floats",
            AttrKind::Ints => "ints",
            AttrKind::Strings => "strings",
            AttrKind::Tensors => "tensors",
            AttrKind::Graphs => "graphs",
            AttrKind::Type => "type_proto",
        }
    }
}

impl Attr {
    /// Which kind it is; a reference has the kind of what it refers to.
    pub fn kind(&self) -> AttrKind {
        match self {
            Attr::Int(_) => AttrKind::Int,
            Attr::Float(_) => AttrKind::Float,
            Attr::String(_) | Attr::Bytes(_) => AttrKind::String,
            Attr::Tensor(_) => AttrKind::Tensor,
            Attr::Graph(_) => AttrKind::Graph,
            Attr::Ints(_) => AttrKind::Ints,
            Attr::Floats(_) => AttrKind::Floats,
            Attr::Strings(_) => AttrKind::Strings,
            Attr::Tensors(_) => AttrKind::Tensors,
            Attr::Graphs(_) => AttrKind::Graphs,
            Attr::Type(_) => AttrKind::Type,
            Attr::Ref(_, kind) => *kind,
        }
    }

    /// The graphs it holds.
    pub fn graphs(&self) -> &[Arc<Graph>] {
        match self {
            Attr::Graph(graph) => std::slice::from_ref(graph),
            Attr::Graphs(graphs) => graphs,
            _ => &[],
        }
    }

    // A total order: kind first, then value; floats by bits, tensors by content, graphs and types by printed form or place.
    fn compare(&self, other: &Attr) -> Ordering {
        fn bits(value: f32) -> u32 {
            value.to_bits()
        }
        match (self, other) {
            (Attr::Int(a), Attr::Int(b)) => a.cmp(b),
            (Attr::Float(a), Attr::Float(b)) => bits(*a).cmp(&bits(*b)),
            (Attr::String(a), Attr::String(b)) => a.cmp(b),
            (Attr::Bytes(a), Attr::Bytes(b)) => a.cmp(b),
            (Attr::Tensor(a), Attr::Tensor(b)) => a.content_hash().cmp(&b.content_hash()),
            (Attr::Graph(a), Attr::Graph(b)) => Arc::as_ptr(a).cmp(&Arc::as_ptr(b)),
            (Attr::Ints(a), Attr::Ints(b)) => a.cmp(b),
            (Attr::Floats(a), Attr::Floats(b)) => a.iter().map(|v| bits(*v)).cmp(b.iter().map(|v| bits(*v))),
            (Attr::Strings(a), Attr::Strings(b)) => a.cmp(b),
            (Attr::Tensors(a), Attr::Tensors(b)) => {
                a.iter().map(Tensor::content_hash).cmp(b.iter().map(Tensor::content_hash))
            }
            (Attr::Graphs(a), Attr::Graphs(b)) => a.iter().map(Arc::as_ptr).cmp(b.iter().map(Arc::as_ptr)),
            (Attr::Type(a), Attr::Type(b)) => a.cmp(b),
            (Attr::Ref(a, i), Attr::Ref(b, j)) => (a, i).cmp(&(b, j)),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> (AttrKind, bool, bool) {
        (self.kind(), matches!(self, Attr::Bytes(_)), matches!(self, Attr::Ref(..)))
    }
}

impl PartialEq for Attr {
    fn eq(&self, other: &Self) -> bool {
        self.compare(other) == Ordering::Equal
    }
}
impl Eq for Attr {}
impl PartialOrd for Attr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Attr {
    fn cmp(&self, other: &Self) -> Ordering {
        self.compare(other)
    }
}

impl Hash for Attr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Attr::Int(value) => value.hash(state),
            Attr::Float(value) => value.to_bits().hash(state),
            Attr::String(value) => value.hash(state),
            Attr::Bytes(value) => value.hash(state),
            Attr::Tensor(tensor) => tensor.content_hash().hash(state),
            Attr::Graph(graph) => Arc::as_ptr(graph).hash(state),
            Attr::Ints(values) => values.hash(state),
            Attr::Floats(values) => values.iter().for_each(|value| value.to_bits().hash(state)),
            Attr::Strings(values) => values.hash(state),
            Attr::Tensors(tensors) => tensors.iter().for_each(|tensor| tensor.content_hash().hash(state)),
            Attr::Graphs(graphs) => graphs.iter().for_each(|graph| Arc::as_ptr(graph).hash(state)),
            Attr::Type(ty) => ty.hash(state),
            Attr::Ref(name, kind) => (name, kind).hash(state),
        }
    }
}

/// The attributes of one call, by name. Those of a built-in operator are complete (defaults filled) and stand in the
/// operator's declared order; those of other calls stand as given.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attrs(Vec<(Name, Attr)>);

impl Attrs {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The attribute `name`.
    pub fn get(&self, name: &str) -> Option<&Attr> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Sets `name`, in place when it is present, else at the end.
    pub fn set(&mut self, name: impl Into<Name>, value: Attr) {
        let name = name.into();
        match self.0.iter_mut().find(|(key, _)| *key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// Takes `name` out.
    pub fn remove(&mut self, name: &str) -> Option<Attr> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(at).1)
    }

    /// Each name and value, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Name, &Attr)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Number of attributes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without attributes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The integer `name`; `None` when absent or of another kind.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.get(name) {
            Some(Attr::Int(value)) => Some(*value),
            _ => None,
        }
    }

    /// The integer `name` as a truth value; absent is false.
    pub fn flag(&self, name: &str) -> bool {
        self.int(name).is_some_and(|value| value != 0)
    }

    /// The float `name`; `None` when absent or of another kind.
    pub fn float(&self, name: &str) -> Option<f32> {
        match self.get(name) {
            Some(Attr::Float(value)) => Some(*value),
            _ => None,
        }
    }

    /// The integers `name`; `None` when absent or of another kind.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.get(name) {
            Some(Attr::Ints(values)) => Some(values),
            _ => None,
        }
    }

    /// The floats `name`; `None` when absent or of another kind.
    pub fn floats(&self, name: &str) -> Option<&[f32]> {
        match self.get(name) {
            Some(Attr::Floats(values)) => Some(values),
            _ => None,
        }
    }

    /// The strings `name`; `None` when absent or of another kind.
    pub fn strings(&self, name: &str) -> Option<&[Name]> {
        match self.get(name) {
            Some(Attr::Strings(values)) => Some(values),
            _ => None,
        }
    }

    /// The string `name`; `None` when absent or of another kind.
    pub fn string(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Attr::String(value)) => Some(value),
            _ => None,
        }
    }

    /// The tensor `name`; `None` when absent or of another kind.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        match self.get(name) {
            Some(Attr::Tensor(value)) => Some(value),
            _ => None,
        }
    }

    /// The graph `name`; `None` when absent or of another kind.
    pub fn graph(&self, name: &str) -> Option<&Graph> {
        match self.get(name) {
            Some(Attr::Graph(value)) => Some(value),
            _ => None,
        }
    }

    /// The type `name`; `None` when absent or of another kind.
    pub fn ty(&self, name: &str) -> Option<&Type> {
        match self.get(name) {
            Some(Attr::Type(value)) => Some(value),
            _ => None,
        }
    }

    /// The same attributes with each reference replaced by what `actual` has for it, inside bodies too; one that `actual`
    /// lacks is left out.
    pub fn bind(&self, actual: &Attrs) -> Attrs {
        let bound = |(name, value): &(Name, Attr)| match value {
            Attr::Ref(formal, _) => Some((name.clone(), actual.get(formal)?.clone())),
            Attr::Graph(body) if body.has_references() => {
                Some((name.clone(), Attr::Graph(Arc::new(body.bind(actual)))))
            }
            _ => Some((name.clone(), value.clone())),
        };
        Attrs(self.0.iter().filter_map(bound).collect())
    }
}

impl<N: Into<Name>> FromIterator<(N, Attr)> for Attrs {
    fn from_iter<I: IntoIterator<Item = (N, Attr)>>(iter: I) -> Self {
        Self(iter.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}
