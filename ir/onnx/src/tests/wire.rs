//! The table and the messages against an independent decoder of the same schema.

use super::{field, load_bytes};
use crate::proto::{ModelProto, OptionalProto};
use crate::wire::{Holds, MAX_FIELDS, Type};
use onnx_protobuf as other;
use onnx_protobuf::Message as _;
use prost::Message as _;
use protobuf::MessageField;
use std::collections::BTreeSet;

/// Every message type that a model or a value can contain.
fn all_types() -> BTreeSet<Type> {
    types_below([Type::Model, Type::Optional])
}

/// The message types that messages of these types can contain, themselves included.
fn types_below<const N: usize>(roots: [Type; N]) -> BTreeSet<Type> {
    let mut found = BTreeSet::from(roots);
    let mut open = Vec::from(roots);
    while let Some(of) = open.pop() {
        for field in of.fields() {
            if let Holds::Message(inner) = field.holds
                && found.insert(inner)
            {
                open.push(inner);
            }
        }
    }
    found
}

#[test]
fn fields_are_sorted_by_number_and_fit_a_frame() {
    for of in all_types() {
        assert!(of.fields().len() <= MAX_FIELDS, "{}", of.name());
        assert!(of.fields().is_sorted_by(|a, b| a.number < b.number), "{}", of.name());
    }
}

/// A file in which every field of every message that the other decoder knows is set.
fn everything() -> other::ModelProto {
    let entries = || vec![other::StringStringEntryProto { key: "k".into(), value: "v".into(), ..Default::default() }];
    let tensor = || other::TensorProto {
        dims: vec![2, 3],
        data_type: 1,
        segment: MessageField::some(other::tensor_proto::Segment { begin: 1, end: 2, ..Default::default() }),
        float_data: vec![1.5, -2.5],
        int32_data: vec![-1, 300],
        string_data: vec![b"s".to_vec(), vec![0xff]],
        int64_data: vec![-1, i64::MAX],
        name: "t".into(),
        doc_string: "doc".into(),
        raw_data: vec![1; 5000],
        external_data: entries(),
        data_location: other::tensor_proto::DataLocation::EXTERNAL.into(),
        double_data: vec![0.25, -0.5],
        uint64_data: vec![u64::MAX],
        metadata_props: entries(),
        ..Default::default()
    };
    let sparse = || other::SparseTensorProto {
        values: MessageField::some(tensor()),
        indices: MessageField::some(tensor()),
        dims: vec![4, 5],
        ..Default::default()
    };
    let shape = || {
        use other::tensor_shape_proto::{Dimension, dimension::Value};
        let dim = |value| Dimension { denotation: "d".into(), value: Some(value), ..Default::default() };
        let dim = vec![dim(Value::DimValue(0)), dim(Value::DimParam("n".into()))];
        MessageField::some(other::TensorShapeProto { dim, ..Default::default() })
    };
    let some_type = |value| other::TypeProto { denotation: "d".into(), value: Some(value), ..Default::default() };
    let types = || {
        use other::type_proto::*;
        let tensor = || Value::TensorType(Tensor { elem_type: 1, shape: shape(), ..Default::default() });
        let inner = || MessageField::some(some_type(tensor()));
        vec![
            some_type(tensor()),
            some_type(Value::SequenceType(Sequence { elem_type: inner(), ..Default::default() })),
            some_type(Value::MapType(Map { key_type: 7, value_type: inner(), ..Default::default() })),
            some_type(Value::OptionalType(Optional { elem_type: inner(), ..Default::default() })),
            some_type(Value::SparseTensorType(SparseTensor { elem_type: 1, shape: shape(), ..Default::default() })),
        ]
    };
    let value = || other::ValueInfoProto {
        name: "x".into(),
        type_: MessageField::some(types().remove(0)),
        doc_string: "doc".into(),
        metadata_props: entries(),
        ..Default::default()
    };
    let attribute = |graph: Option<other::GraphProto>| other::AttributeProto {
        name: "a".into(),
        ref_attr_name: "r".into(),
        doc_string: "doc".into(),
        type_: other::attribute_proto::AttributeType::GRAPH.into(),
        f: 1.0,
        i: -3,
        s: b"s".to_vec(),
        t: MessageField::some(tensor()),
        g: graph.clone().into(),
        sparse_tensor: MessageField::some(sparse()),
        tp: MessageField::some(types().remove(1)),
        floats: vec![1.0, 2.0],
        ints: vec![-1, 2],
        strings: vec![b"u".to_vec(), vec![]],
        tensors: vec![tensor()],
        graphs: graph.into_iter().collect(),
        sparse_tensors: vec![sparse()],
        type_protos: types(),
        ..Default::default()
    };
    let node = |graph| other::NodeProto {
        input: vec!["x".into(), String::new()],
        output: vec!["y".into()],
        name: "n".into(),
        op_type: "Op".into(),
        domain: "dom".into(),
        overload: "over".into(),
        attribute: vec![attribute(graph)],
        doc_string: "doc".into(),
        metadata_props: entries(),
        ..Default::default()
    };
    let graph = |inner| other::GraphProto {
        node: vec![node(inner)],
        name: "g".into(),
        initializer: vec![tensor()],
        sparse_initializer: vec![sparse()],
        doc_string: "doc".into(),
        input: vec![value()],
        output: vec![value()],
        value_info: vec![value()],
        quantization_annotation: vec![other::TensorAnnotation {
            tensor_name: "t".into(),
            quant_parameter_tensor_names: entries(),
            ..Default::default()
        }],
        metadata_props: entries(),
        ..Default::default()
    };
    let opsets = || vec![other::OperatorSetIdProto { domain: "dom".into(), version: 17, ..Default::default() }];
    other::ModelProto {
        ir_version: 8,
        opset_import: opsets(),
        producer_name: "p".into(),
        producer_version: "1".into(),
        domain: "dom".into(),
        model_version: -1,
        doc_string: "doc".into(),
        graph: MessageField::some(graph(Some(graph(None)))),
        metadata_props: entries(),
        training_info: vec![other::TrainingInfoProto {
            initialization: MessageField::some(graph(None)),
            algorithm: MessageField::some(graph(None)),
            initialization_binding: entries(),
            update_binding: entries(),
            ..Default::default()
        }],
        functions: vec![other::FunctionProto {
            name: "f".into(),
            input: vec!["x".into()],
            output: vec!["y".into()],
            attribute: vec!["a".into()],
            attribute_proto: vec![attribute(None)],
            node: vec![node(None)],
            doc_string: "doc".into(),
            opset_import: opsets(),
            domain: "dom".into(),
            overload: "over".into(),
            value_info: vec![value()],
            metadata_props: entries(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn two_decoders_and_two_encoders_agree_on_every_field() {
    let theirs = everything();
    let (ours, warnings) = load_bytes(&theirs.write_to_bytes().expect("encoded")).expect("a legal file");
    assert!(warnings.0.is_empty(), "{warnings}");
    let again = other::ModelProto::parse_from_bytes(&ours.encode_to_vec()).expect("they read what we write");
    assert_eq!(again, theirs);
    assert_eq!(ours.encoded_len(), ours.encode_to_vec().len());
}

/// A message of type `of` in which every field occurs, inner messages down to `depth`.
fn every_field(of: Type, depth: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in of.fields() {
        let number = u64::from(row.number);
        match row.holds {
            Holds::Integer(_) => bytes.extend(super::integer(number, 1)),
            Holds::Float => bytes.extend([super::varint(number << 3 | 5), vec![0, 0, 128, 63]].concat()),
            Holds::Array(_) => bytes.extend(field(number, &1f64.to_le_bytes())),
            Holds::Name | Holds::Text | Holds::Prose | Holds::Bytes => bytes.extend(field(number, b"text")),
            Holds::Message(inner) if depth > 0 => bytes.extend(field(number, &every_field(inner, depth - 1))),
            Holds::Message(_) => {}
        }
    }
    bytes
}

#[test]
fn the_decoder_knows_every_field_of_the_table() {
    // Depth 6 reaches a dim of a sharded tensor and of a type. A field that the decoder passes over is lost when the
    // message is encoded again; of alternatives the last one stays.
    let bytes = every_field(Type::Model, 6);
    let (model, warnings) = load_bytes(&bytes).expect("legal");
    assert!(warnings.0.is_empty(), "{warnings}");
    assert_eq!(model, ModelProto::decode(&bytes[..]).expect("legal"));
    let encoded = model.encode_to_vec();
    let (again, _) = load_bytes(&encoded).expect("legal");
    assert_eq!(again, model);
    let present = fields_present(&encoded, Type::Model);
    for of in types_below([Type::Model]) {
        let alternatives = match of {
            Type::Type => 5,
            Type::SimpleShardedDim => 1,
            // Of the alternatives of a type the last, `optional_type`, stays; the test above has the others.
            Type::TensorType | Type::MapType | Type::OpaqueType | Type::Shape | Type::Dimension => continue,
            _ => 0,
        };
        let n_present = present.iter().filter(|(owner, _)| *owner == of).count();
        assert_eq!(n_present, of.fields().len() - alternatives, "{}", of.name());
    }
}

#[test]
fn the_decoder_knows_every_field_of_a_value() {
    // Depth 3 reaches the tensor of a sequence in a map in an optional value.
    let bytes = every_field(Type::Optional, 3);
    let value = OptionalProto::decode(&bytes[..]).expect("legal");
    let present = fields_present(&value.encode_to_vec(), Type::Optional);
    assert_eq!(present, fields_present(&bytes, Type::Optional));
}

fn fields_present(bytes: &[u8], of: Type) -> BTreeSet<(Type, u32)> {
    use protobuf::CodedInputStream;
    let mut found = BTreeSet::new();
    let mut input = CodedInputStream::from_bytes(bytes);
    while !input.eof().expect("readable") {
        let tag = input.read_raw_varint32().expect("a tag");
        let row = of.fields().iter().find(|row| row.number == tag >> 3).expect("a known field");
        found.insert((of, row.number));
        match tag & 7 {
            0 => drop(input.read_uint64().expect("an integer")),
            1 => drop(input.read_fixed64().expect("a double")),
            5 => drop(input.read_fixed32().expect("a float")),
            _ => {
                let inner = input.read_bytes().expect("bytes");
                if let Holds::Message(of) = row.holds {
                    found.extend(fields_present(&inner, of));
                }
            }
        }
    }
    found
}
