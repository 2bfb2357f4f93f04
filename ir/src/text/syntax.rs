//! What the grammar gives before names are resolved: a tree of what the text says, each part with its span.

use crate::attr::{Attr, AttrKind, Name};
use crate::dim::Dim;
use crate::tensor::Tensor;
use crate::types::{Element, TensorType, Type};
use std::ops::Range;

/// A part of the text and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Spanned<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

pub(super) type SpannedName = Spanned<Name>;

/// A whole file.
#[derive(Debug, Default)]
pub(super) struct ModelSyntax {
    pub(super) header: Header,
    pub(super) graph: Option<GraphSyntax>,
    pub(super) functions: Vec<FunctionSyntax>,
}

/// The `< key: value, ... >` before a graph or a function; a key that is not given is `None`.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) ir_version: Option<u64>,
    pub(super) opsets: Option<Vec<(Name, u64)>>,
    pub(super) producer_name: Option<Name>,
    pub(super) producer_version: Option<Name>,
    pub(super) domain: Option<Name>,
    pub(super) model_version: Option<i64>,
    pub(super) doc: Option<Name>,
    pub(super) metadata: Option<Vec<(Name, Name)>>,
    pub(super) overload: Option<Name>,
}

#[derive(Debug)]
pub(super) struct FunctionSyntax {
    pub(super) header: Header,
    pub(super) formals: Vec<FormalSyntax>,
    /// Its name is the function's.
    pub(super) graph: GraphSyntax,
}

#[derive(Debug)]
pub(super) struct FormalSyntax {
    pub(super) name: SpannedName,
    pub(super) default: Option<AttrSyntax>,
}

#[derive(Debug)]
pub(super) struct GraphSyntax {
    pub(super) name: SpannedName,
    pub(super) inputs: Vec<ValueSyntax>,
    pub(super) outputs: Vec<ValueSyntax>,
    /// Weights, and types of values that are defined elsewhere.
    pub(super) values: Vec<ValueSyntax>,
    pub(super) nodes: Vec<NodeSyntax>,
    /// Outputs of statements that could not be read, so that their readers are not reported as well.
    pub(super) lost: Vec<Name>,
}

#[derive(Debug)]
pub(super) struct ValueSyntax {
    pub(super) name: SpannedName,
    pub(super) ty: Option<TypeSyntax>,
    pub(super) data: DataSyntax,
}

/// What stands behind the `=` of a value.
#[derive(Debug)]
pub(super) enum DataSyntax {
    /// There is no `=`.
    Absent,
    Tensor(Tensor),
    /// It could not be read; that has been reported.
    Lost,
}

#[derive(Clone, Debug)]
pub(super) enum TypeSyntax {
    Tensor(TensorSyntax),
    /// `seq(..)`
    Sequence(Box<TypeSyntax>),
    /// `optional(..)`
    Optional(Box<TypeSyntax>),
}

#[derive(Clone, Debug)]
pub(super) struct TensorSyntax {
    pub(super) element: Element,
    /// `None` for `float[]`, a tensor of unknown rank.
    pub(super) shape: Option<Vec<DimSyntax>>,
}

#[derive(Clone, Debug)]
pub(super) enum DimSyntax {
    Dim(Dim),
    /// `?`
    Unknown,
}

impl TypeSyntax {
    /// The type, with a fresh symbol for each `?`.
    pub(super) fn resolve(&self, scope: &str) -> Type {
        match self {
            TypeSyntax::Tensor(tensor) => tensor.resolve(scope),
            TypeSyntax::Sequence(item) => item.resolve(scope).sequence(),
            TypeSyntax::Optional(item) => item.resolve(scope).optional(),
        }
    }
}

impl TensorSyntax {
    fn resolve(&self, scope: &str) -> Type {
        let Some(shape) = &self.shape else { return Type::Unranked(self.element) };
        let dims = shape.iter().enumerate().map(|(axis, dim)| match dim {
            DimSyntax::Dim(dim) => dim.clone(),
            DimSyntax::Unknown => Dim::fresh(scope, axis),
        });
        Type::Tensor(TensorType::new(self.element, dims))
    }

    /// All sizes, when they are known.
    pub(super) fn sizes(&self) -> Option<Vec<usize>> {
        let size = |dim: &DimSyntax| match dim {
            DimSyntax::Dim(dim) => dim.as_size(),
            DimSyntax::Unknown => None,
        };
        self.shape.as_ref()?.iter().map(size).collect()
    }
}

#[derive(Debug)]
pub(super) struct NodeSyntax {
    pub(super) label: Name,
    pub(super) outputs: Vec<SpannedName>,
    pub(super) domain: Name,
    /// Its span covers the domain too.
    pub(super) op: SpannedName,
    pub(super) overload: Name,
    pub(super) attrs: Vec<AttrSyntax>,
    pub(super) inputs: Vec<SpannedName>,
}

#[derive(Debug)]
pub(super) struct AttrSyntax {
    pub(super) name: SpannedName,
    /// The kind after the colon.
    pub(super) kind: Option<AttrKind>,
    pub(super) value: AttrValue,
}

#[derive(Debug)]
pub(super) enum AttrValue {
    Done(Attr),
    Ref(SpannedName),
    Graph(Box<GraphSyntax>),
    Graphs(Vec<GraphSyntax>),
}
