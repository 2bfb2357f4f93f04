//! Tests that build files from bytes.

mod external;
mod load;
mod save;
mod wire;

use crate::input::{Input, OpenFile};
use crate::limits::Limits;
use crate::load::load;
use crate::proto::{ModelProto, NodeProto};
use bytes::Bytes;
use eutectic_ir::diag::{Diagnostic, Diagnostics};
use prost::Message;
use std::path::Path;

/// A length-delimited field.
pub fn field(number: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = varint(number << 3 | 2);
    bytes.extend(varint(content.len() as u64));
    bytes.extend_from_slice(content);
    bytes
}

/// An integer field.
pub fn integer(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Decodes bytes under the stated limits.
pub fn load_bytes(bytes: &[u8]) -> Result<(ModelProto, Diagnostics), Diagnostic> {
    load_under(bytes, &Limits::stated())
}

pub fn load_under(bytes: &[u8], limits: &Limits) -> Result<(ModelProto, Diagnostics), Diagnostic> {
    let mut diagnostics = Diagnostics::default();
    let model = load(&Input::Memory(Bytes::copy_from_slice(bytes)), limits, &mut diagnostics)?;
    Ok((model, diagnostics))
}

pub fn load_path(path: &Path) -> Result<(ModelProto, Diagnostics), Diagnostic> {
    let mut diagnostics = Diagnostics::default();
    let input = Input::File(OpenFile::open(path)?);
    let model = load(&input, &Limits::stated(), &mut diagnostics)?;
    Ok((model, diagnostics))
}

/// A model with one node and one weight of `n_bytes`.
pub fn small_model(n_bytes: usize) -> ModelProto {
    let mut model = ModelProto { ir_version: Some(8), ..Default::default() };
    let graph = model.graph.get_or_insert_default();
    graph.name = "main".into();
    graph.node.push(NodeProto {
        input: vec!["x".into(), "w".into()],
        output: vec!["y".into()],
        op_type: "Add".into(),
        ..Default::default()
    });
    graph.initializer.push(crate::proto::TensorProto {
        name: "w".into(),
        dims: vec![n_bytes as i64],
        data_type: Some(2),
        raw_data: Some((0..n_bytes).map(|index| index as u8).collect()),
        ..Default::default()
    });
    model
}

/// The bytes of [`small_model`].
pub fn small_file(n_bytes: usize) -> Vec<u8> {
    small_model(n_bytes).encode_to_vec()
}
