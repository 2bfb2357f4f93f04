//! The intermediate representation: graph, types, operators, text form, verifier and reference interpreter.
//!
//! This crate is the ground floor. It reads no files, knows no protobuf, no e-graph and no device; the text form is its
//! only serialization.

pub mod attr;
pub mod codec;
pub mod diag;
pub mod dim;
pub mod eval;
pub mod graph;
pub mod infer;
pub mod model;
pub mod narrow;
pub mod op;
pub mod ops;
pub mod region;
pub mod stored;
pub mod tensor;
pub mod text;
pub mod types;
pub mod value;
pub mod verify;
pub mod walk;

pub use attr::{Attr, AttrKind, Attrs, Name};
pub use diag::{Diagnostic, Diagnostics};
pub use dim::Dim;
pub use graph::{Graph, Node, NodeId, Op, Use, Value, ValueId};
pub use model::{Function, Model};
pub use op::{OpDef, Reason};
pub use tensor::Tensor;
pub use types::{Element, TensorType, Type};
