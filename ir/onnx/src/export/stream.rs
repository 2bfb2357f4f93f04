//! Lays a model out as a sequence of chunks, so that no weight is copied into a buffer of the whole file.
//!
//! Lengths stand before contents in protobuf, so they are computed first: a weight takes its header, one field key, the
//! length of its data, and the data.

use super::Plan;
use crate::external::tensors;
use crate::proto::{GraphProto, LOCATION_EXTERNAL, RAW_DATA, StringStringEntryProto, TensorProto};
use crate::save::Chunk;
use crate::tensor;
use bytes::Bytes;
use eutectic_ir::tensor::Data;
use eutectic_ir::{Name, Tensor};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use rustc_hash::FxHashMap;
use std::io::Write;

/// Field numbers of `ModelProto.graph` and `GraphProto.initializer`.
const GRAPH: u32 = 7;
const INITIALIZER: u32 = 5;
/// Data shorter than this goes through the buffer of the messages, in bytes.
const GATHERED: u64 = 4 << 10;
/// Weights shorter than this stay in the model file when data is external, in bytes.
const KEPT: u64 = 1 << 10;

impl Plan {
    /// Size of the file with all weights in it, in bytes.
    pub fn inline_size(&self) -> u64 {
        let graph = self.proto.graph.as_ref().map_or(0, GraphProto::encoded_len) as u64;
        let weights: u64 =
            self.weights.iter().map(|(name, tensor)| field_len(INITIALIZER, weight_len(name, tensor))).sum();
        self.proto.encoded_len() as u64 + weights + encoded_len_varint(graph + weights) as u64
    }
}

/// The chunks of a file with all weights in it.
pub(super) fn inline<'a>(plan: Plan) -> Vec<Chunk<'a>> {
    let Plan { proto, weights, .. } = plan;
    let weights = weights.into_iter().map(|(name, tensor)| {
        let header = tensor::header(&name, &tensor);
        (header, matches!(tensor.data(), Data::Strings(_)).then_some(()).map_or(Some(tensor), |()| None))
    });
    assemble(proto, weights.collect())
}

/// The chunks of the model file and of the file `location` with the large weights.
pub(super) fn external<'a>(plan: Plan, location: &str) -> (Vec<Chunk<'a>>, Vec<Chunk<'a>>) {
    let Plan { mut proto, weights, .. } = plan;
    let mut data = DataFile { location, chunks: Vec::new(), end: 0, offset_of: FxHashMap::default() };
    let mut parts = Vec::with_capacity(weights.len());
    for (name, tensor) in weights {
        let length = tensor.byte_len() as u64;
        let mut header = tensor::header(&name, &tensor);
        if matches!(tensor.data(), Data::Strings(_)) {
            parts.push((header, None));
            continue;
        }
        if length < KEPT {
            parts.push((header, Some(tensor)));
            continue;
        }
        data.hold(&mut header, contents(tensor));
        parts.push((header, None));
    }
    // What stands in attributes, in the graphs inside nodes and in functions.
    for tensor in tensors(&mut proto) {
        if let Some(bytes) = tensor.raw_data.take_if(|bytes| bytes.len() as u64 >= KEPT) {
            data.hold(tensor, Chunk::Bytes(bytes));
        }
    }
    (assemble(proto, parts), data.chunks)
}

/// The file of large weights, as far as it is laid out.
struct DataFile<'a, 'l> {
    location: &'l str,
    chunks: Vec<Chunk<'a>>,
    end: u64,
    /// Where contents that several tensors share were put, by where they come from.
    offset_of: FxHashMap<Origin, u64>,
}

/// A place in memory or in a file, which tied weights share.
#[derive(PartialEq, Eq, Hash)]
enum Origin {
    Memory(usize, usize),
    File(u128, u64, usize),
}

fn origin(chunk: &Chunk) -> Option<Origin> {
    match chunk {
        Chunk::Bytes(bytes) => Some(Origin::Memory(bytes.as_ptr().addr(), bytes.len())),
        Chunk::Stored(stored) => Some(Origin::File(stored.store().id(), stored.at(), stored.len())),
        Chunk::Made { .. } => None,
    }
}

impl<'a> DataFile<'a, '_> {
    /// Appends `contents`, aligned, and lets `tensor` name them.
    fn hold(&mut self, tensor: &mut TensorProto, contents: Chunk<'a>) {
        let length = contents.length();
        let origin = origin(&contents);
        let known = origin.as_ref().and_then(|origin| self.offset_of.get(origin)).copied();
        let offset = known.unwrap_or_else(|| self.append(contents));
        if let Some(origin) = origin {
            self.offset_of.insert(origin, offset);
        }
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
        tensor.data_location = Some(LOCATION_EXTERNAL);
        tensor.external_data = vec![
            entry("location", self.location.to_owned()),
            entry("offset", offset.to_string()),
            entry("length", length.to_string()),
        ];
    }

    /// Where `contents` begin in the file.
    fn append(&mut self, contents: Chunk<'a>) -> u64 {
        let length = contents.length();
        // Large weights start on pages, so that readers can map them.
        let alignment = if length >= 1 << 20 { 4096 } else { 64 };
        let offset = self.end.next_multiple_of(alignment);
        if offset > self.end {
            self.chunks.push(Chunk::Bytes(Bytes::from(vec![0; (offset - self.end) as usize])));
        }
        self.end = offset + length;
        self.chunks.push(contents);
        offset
    }
}

/// The model with these initializers: headers, and contents for those that carry them.
fn assemble<'a>(mut proto: crate::proto::ModelProto, weights: Vec<(TensorProto, Option<Tensor>)>) -> Vec<Chunk<'a>> {
    let graph = proto.graph.take().unwrap_or_default();
    let length = |(header, tensor): &(TensorProto, Option<Tensor>)| {
        let data = tensor.as_ref().map_or(0, |tensor| field_len(RAW_DATA, tensor.byte_len() as u64));
        header.encoded_len() as u64 + data
    };
    let lengths: Vec<u64> = weights.iter().map(length).collect();
    let graph_length =
        graph.encoded_len() as u64 + lengths.iter().map(|length| field_len(INITIALIZER, *length)).sum::<u64>();
    let mut chunks = Vec::new();
    let mut buffer = proto.encode_to_vec();
    encode_key(GRAPH, WireType::LengthDelimited, &mut buffer);
    encode_varint(graph_length, &mut buffer);
    graph.encode_raw(&mut buffer);
    for ((header, tensor), length) in weights.into_iter().zip(lengths) {
        encode_key(INITIALIZER, WireType::LengthDelimited, &mut buffer);
        encode_varint(length, &mut buffer);
        header.encode_raw(&mut buffer);
        let Some(tensor) = tensor else { continue };
        let n_bytes = tensor.byte_len() as u64;
        encode_key(RAW_DATA, WireType::LengthDelimited, &mut buffer);
        encode_varint(n_bytes, &mut buffer);
        if n_bytes < GATHERED {
            buffer.extend_from_slice(&tensor.bytes());
            continue;
        }
        chunks.push(Chunk::Bytes(std::mem::take(&mut buffer).into()));
        chunks.push(contents(tensor));
    }
    chunks.push(Chunk::Bytes(buffer.into()));
    chunks
}

fn contents<'a>(tensor: Tensor) -> Chunk<'a> {
    match tensor.data() {
        Data::Bytes(bytes) => return Chunk::Bytes(bytes.clone()),
        Data::Stored(stored) => return Chunk::Stored(stored.clone()),
        _ => {}
    }
    let length = tensor.byte_len() as u64;
    Chunk::Made { length, write: Box::new(move |out: &mut dyn Write| out.write_all(&tensor.bytes())) }
}

fn weight_len(name: &Name, tensor: &Tensor) -> u64 {
    let header = tensor::header(name, tensor).encoded_len() as u64;
    match tensor.data() {
        Data::Strings(_) => header,
        _ => header + field_len(RAW_DATA, tensor.byte_len() as u64),
    }
}

/// Size of a length-delimited field with `length` bytes in it, in bytes.
fn field_len(number: u32, length: u64) -> u64 {
    key_len(number) as u64 + encoded_len_varint(length) as u64 + length
}
