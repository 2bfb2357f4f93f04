//! Values in files of their own.

use crate::limits::Limits;
use crate::proto::*;
use crate::value_file::{Form, read_interface, read_value};
use eutectic_ir::diag::{Diagnostic, Kind};
use eutectic_ir::value::Value;
use eutectic_ir::{Element, Tensor};
use prost::Message;

fn numbers(values: &[i64]) -> TensorProto {
    TensorProto {
        dims: vec![values.len() as i64],
        data_type: Some(Element::Int64.code()),
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

fn vector(values: &[i64]) -> Value<Tensor> {
    Value::Tensor(Tensor::vector(values))
}

fn read(message: &impl Message, form: Form) -> Result<Value<Tensor>, Diagnostic> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), message.encode_to_vec()).expect("written");
    read_value(file.path(), form, &Limits::stated())
}

#[test]
fn a_tensor_is_read_as_it_stands() {
    assert_eq!(read(&numbers(&[1, 2]), Form::Tensor), Ok(vector(&[1, 2])));
}

#[test]
fn sequences_nest() {
    let inner = SequenceProto {
        elem_type: Some(contents_type::TENSOR),
        tensor_values: vec![numbers(&[1]), numbers(&[2, 3])],
        ..Default::default()
    };
    let outer = SequenceProto {
        elem_type: Some(contents_type::SEQUENCE),
        sequence_values: vec![inner.clone(), SequenceProto::default()],
        ..Default::default()
    };
    let expected = Value::Sequence(vec![Value::Sequence(vec![vector(&[1]), vector(&[2, 3])]), Value::Sequence(vec![])]);
    assert_eq!(read(&outer, Form::Sequence), Ok(expected));
    let optional =
        OptionalProto { elem_type: Some(contents_type::SEQUENCE), sequence_value: Some(inner), ..Default::default() };
    let expected = Value::Optional(Some(Box::new(Value::Sequence(vec![vector(&[1]), vector(&[2, 3])]))));
    assert_eq!(read(&optional, Form::Optional), Ok(expected));
}

#[test]
fn an_optional_without_contents_is_none_and_its_file_is_empty() {
    assert_eq!(read(&OptionalProto::default(), Form::Optional), Ok(Value::Optional(None)));
}

#[test]
fn elements_in_another_list_than_the_stated_one_are_refused() {
    let sequence = SequenceProto {
        elem_type: Some(contents_type::SEQUENCE),
        tensor_values: vec![numbers(&[1])],
        ..Default::default()
    };
    assert_eq!(
        read(&sequence, Form::Sequence).map_err(|error| (error.kind, error.code)),
        Err((Kind::Invalid, "L0180"))
    );
}

#[test]
fn a_value_nested_too_deeply_is_a_limit_and_not_a_full_stack() {
    let mut sequence = SequenceProto::default();
    for _ in 0..500 {
        sequence = SequenceProto {
            elem_type: Some(contents_type::SEQUENCE),
            sequence_values: vec![sequence],
            ..Default::default()
        };
    }
    assert_eq!(read(&sequence, Form::Sequence).map_err(|error| error.kind), Err(Kind::Limit));
}

#[test]
fn the_interface_tells_the_form_of_each_value() {
    let sequence = type_proto::Value::Sequence(Box::default());
    let infos = [("x", Some(sequence)), ("o", Some(type_proto::Value::Optional(Box::default()))), ("t", None)];
    let info = |(name, value): (&str, Option<type_proto::Value>)| ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { value, ..Default::default() }),
        ..Default::default()
    };
    let graph = GraphProto { input: infos.into_iter().map(info).collect(), ..Default::default() };
    let model = ModelProto { ir_version: Some(8), graph: Some(graph), ..Default::default() };
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), model.encode_to_vec()).expect("written");
    let found = read_interface(file.path(), &Limits::stated()).expect("legal");
    let forms: Vec<Form> = found.inputs.iter().map(|(_, form)| *form).collect();
    assert_eq!(forms, [Form::Sequence, Form::Optional, Form::Tensor]);
}
