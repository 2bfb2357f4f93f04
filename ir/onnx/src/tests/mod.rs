//! Tests that build files from bytes.

mod export;
mod external;
mod graph;
mod keep;
mod load;
mod lossless;
mod mutations;
mod oddities;
mod opset;
mod save;
mod tensor;
mod value_file;
mod wire;

use crate::input::Input;
use crate::limits::Limits;
use crate::load::load;
use crate::proto::*;
use bytes::Bytes;
use eutectic_ir::Model;
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind, Severity};
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
    let loaded = load(&Input::Memory(Bytes::copy_from_slice(bytes)), limits, u64::MAX, &mut diagnostics)?;
    Ok((loaded.proto, diagnostics))
}

pub fn load_path(path: &Path) -> Result<(ModelProto, Diagnostics), Diagnostic> {
    let mut diagnostics = Diagnostics::default();
    let input = Input::open(path, false)?;
    let loaded = load(&input, &Limits::stated(), u64::MAX, &mut diagnostics)?;
    Ok((loaded.proto, diagnostics))
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

/// A node without attributes; names are separated by blanks, `-` is an operand that is left out.
pub fn node(op_type: &str, inputs: &str, outputs: &str) -> NodeProto {
    let names = |text: &str| text.split_whitespace().map(|name| name.replace('-', "")).collect();
    NodeProto { op_type: op_type.into(), input: names(inputs), output: names(outputs), ..Default::default() }
}

impl NodeProto {
    pub fn named(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    pub fn with(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }

    pub fn int(self, name: &str, value: i64) -> Self {
        let r#type = Some(attribute_type::INT);
        self.with(AttributeProto { name: name.into(), r#type, i: Some(value), ..Default::default() })
    }

    pub fn float(self, name: &str, value: f32) -> Self {
        let r#type = Some(attribute_type::FLOAT);
        self.with(AttributeProto { name: name.into(), r#type, f: Some(value), ..Default::default() })
    }

    pub fn ints(self, name: &str, values: &[i64]) -> Self {
        let r#type = Some(attribute_type::INTS);
        self.with(AttributeProto { name: name.into(), r#type, ints: values.to_vec(), ..Default::default() })
    }

    pub fn string(self, name: &str, value: &str) -> Self {
        let (r#type, s) = (Some(attribute_type::STRING), Some(Bytes::copy_from_slice(value.as_bytes())));
        self.with(AttributeProto { name: name.into(), r#type, s, ..Default::default() })
    }

    pub fn graph(self, name: &str, graph: GraphProto) -> Self {
        let (r#type, g) = (Some(attribute_type::GRAPH), Some(Box::new(graph)));
        self.with(AttributeProto { name: name.into(), r#type, g, ..Default::default() })
    }

    pub fn refers(self, name: &str, formal: &str, code: i32) -> Self {
        let ref_attr_name = formal.into();
        self.with(AttributeProto { name: name.into(), r#type: Some(code), ref_attr_name, ..Default::default() })
    }
}

/// A tensor of this type; a dim of -1 is the symbol `n`.
pub fn value(name: &str, elem_type: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = |&dim: &i64| {
        let value = if dim == -1 { DimensionValue::Param("n".into()) } else { DimensionValue::Value(dim) };
        Dimension { value: Some(value), ..Default::default() }
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: Some(elem_type), shape };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::Tensor(tensor)), ..Default::default() });
    ValueInfoProto { name: name.into(), r#type, ..Default::default() }
}

/// Floats with these contents.
pub fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw_data = Some(values.iter().flat_map(|value| value.to_le_bytes()).collect());
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: Some(1), raw_data, ..Default::default() }
}

/// A graph from `x`, float[2,n], to `y`, float[2,n].
pub fn graph(nodes: impl IntoIterator<Item = NodeProto>) -> GraphProto {
    GraphProto {
        name: "main".into(),
        node: nodes.into_iter().collect(),
        input: vec![value("x", 1, &[2, -1])],
        output: vec![value("y", 1, &[2, -1])],
        ..Default::default()
    }
}

/// A body with these nodes and outputs, and nothing declared.
pub fn body(nodes: impl IntoIterator<Item = NodeProto>, outputs: &[&str]) -> GraphProto {
    let output = |name: &&str| ValueInfoProto { name: (*name).into(), ..Default::default() };
    GraphProto {
        name: "body".into(),
        node: nodes.into_iter().collect(),
        output: outputs.iter().map(output).collect(),
        ..Default::default()
    }
}

pub fn model(opset: i64, graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: Some(opset) }],
        graph: Some(graph),
        ..Default::default()
    }
}

pub fn read(model: &ModelProto) -> Result<(Model, Diagnostics), Diagnostics> {
    read_under(model, &Limits::stated())
}

pub fn read_under(model: &ModelProto, limits: &Limits) -> Result<(Model, Diagnostics), Diagnostics> {
    crate::from_bytes(model.encode_to_vec().into(), limits, &crate::Policy::interactive())
}

/// The model, which must be read without errors.
#[track_caller]
pub fn accepted(model: &ModelProto) -> Model {
    read(model).unwrap_or_else(|errors| panic!("{errors}")).0
}

/// The model must be refused with exactly these errors: kind, and words of the message or of its place.
#[track_caller]
pub fn refuses(model: &ModelProto, expected: &[(Kind, &str)]) {
    let diagnostics = read(model).expect_err("the model must be refused");
    let errors: Vec<_> = diagnostics.0.iter().filter(|d| d.severity == Severity::Error).collect();
    assert_eq!(errors.len(), expected.len(), "{diagnostics}");
    for (error, (kind, words)) in errors.iter().zip(expected) {
        assert_eq!(error.kind, *kind, "{error}");
        assert!(error.to_string().contains(words), "`{words}` is not in: {error}");
    }
}

/// Operators of a graph in the order of its nodes.
pub fn operators(graph: &eutectic_ir::Graph) -> Vec<String> {
    graph.nodes().map(|(_, node)| node.op.to_string()).collect()
}
