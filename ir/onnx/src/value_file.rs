//! Values in files of their own, as ONNX's tests keep inputs and outputs: one message a file, without a model around it.
//!
//! Such a file does not say which message it holds. The declared type of the input or output that it belongs to does.

use crate::input::Input;
use crate::limits::Limits;
use crate::load;
use crate::proto::{OptionalProto, SequenceProto, TensorProto, TypeProto, ValueInfoProto, contents_type, type_proto};
use crate::tensor;
use crate::wire::Type;
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use eutectic_ir::value::Value;
use eutectic_ir::{Name, Tensor};
use std::path::Path;

/// What kind of value an input or output of a model is declared to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A dense tensor, or nothing declared.
    Tensor,
    /// A sequence of values.
    Sequence,
    /// A value that may be missing.
    Optional,
    /// Something that is not read, in words.
    Other(&'static str),
}

/// The inputs and outputs of a model by position: name and form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Inputs, those with defaults included.
    pub inputs: Vec<(Name, Form)>,
    /// Outputs.
    pub outputs: Vec<(Name, Form)>,
}

/// Reads what the model at `path` declares its inputs and outputs to be, and looks at nothing else of it.
///
/// Errors: the file cannot be read or decoded.
pub fn read_interface(path: &Path, limits: &Limits) -> Result<Interface, Diagnostic> {
    let input = Input::open(path, false)?;
    let model = load::load(&input, limits, 0, &mut Diagnostics::default()).map_err(|error| error.in_file(path))?;
    let graph = model.proto.graph.unwrap_or_default();
    let read = |infos: &[ValueInfoProto]| -> Vec<(Name, Form)> {
        infos.iter().map(|info| (info.name.as_str().into(), Form::of(info.r#type.as_ref()))).collect()
    };
    Ok(Interface { inputs: read(&graph.input), outputs: read(&graph.output) })
}

impl Form {
    fn of(ty: Option<&TypeProto>) -> Self {
        match ty.and_then(|ty| ty.value.as_ref()) {
            None | Some(type_proto::Value::Tensor(_)) => Form::Tensor,
            Some(type_proto::Value::Sequence(_)) => Form::Sequence,
            Some(type_proto::Value::Optional(_)) => Form::Optional,
            Some(type_proto::Value::Map(_)) => Form::Other("a map"),
            Some(type_proto::Value::SparseTensor(_)) => Form::Other("a sparse tensor"),
            Some(type_proto::Value::Opaque(_)) => Form::Other("an opaque value"),
        }
    }
}

/// Reads the value at `path`, which is declared to be of `form`.
///
/// Errors: the file cannot be read; it holds another message; a tensor's data is external or does not fit its shape; a map,
/// a sparse tensor or an opaque value, on its own or inside.
pub fn read_value(path: &Path, form: Form, limits: &Limits) -> Result<Value<Tensor>, Diagnostic> {
    let input = Input::open(path, false)?;
    let mut reader = Reader { limits, diagnostics: Diagnostics::default() };
    reader.read(&input, form).map_err(|error| error.in_file(path))
}

struct Reader<'a> {
    limits: &'a Limits,
    /// Warnings, which a value in a test has no use for.
    diagnostics: Diagnostics,
}

impl Reader<'_> {
    fn read(&mut self, input: &Input, form: Form) -> Result<Value<Tensor>, Diagnostic> {
        match form {
            Form::Tensor => {
                let loaded = load::decode(input, Type::Tensor, self.limits, u64::MAX, &mut self.diagnostics)?;
                self.tensor(loaded.proto)
            }
            Form::Sequence => {
                let loaded = load::decode(input, Type::Sequence, self.limits, u64::MAX, &mut self.diagnostics)?;
                self.sequence(loaded.proto)
            }
            Form::Optional => {
                let loaded = load::decode(input, Type::Optional, self.limits, u64::MAX, &mut self.diagnostics)?;
                self.optional(loaded.proto)
            }
            Form::Other(what) => Err(not_read(what)),
        }
    }

    fn tensor(&mut self, proto: TensorProto) -> Result<Value<Tensor>, Diagnostic> {
        tensor::import(proto, self.limits, &[], &mut self.diagnostics).map(Value::Tensor)
    }

    fn sequence(&mut self, proto: SequenceProto) -> Result<Value<Tensor>, Diagnostic> {
        if !proto.sparse_tensor_values.is_empty() || !proto.map_values.is_empty() {
            return Err(not_read("a sequence of sparse tensors or maps"));
        }
        let n_lists = [
            (contents_type::TENSOR, proto.tensor_values.len()),
            (contents_type::SEQUENCE, proto.sequence_values.len()),
            (contents_type::OPTIONAL, proto.optional_values.len()),
        ];
        let stated = proto.elem_type.unwrap_or(contents_type::UNDEFINED);
        // An empty sequence may leave its element type open; elements in a list that it does not name are nobody's.
        if let Some((found, n)) = n_lists.into_iter().find(|&(list, n)| n > 0 && list != stated) {
            let message = format!("a sequence states elements of kind {stated} and has {n} of kind {found}");
            return Err(Diagnostic::error(Kind::Invalid, "L0180", message));
        }
        let mut elements = Vec::new();
        for proto in proto.tensor_values {
            elements.push(self.tensor(proto)?);
        }
        for proto in proto.sequence_values {
            elements.push(self.sequence(proto)?);
        }
        for proto in proto.optional_values {
            elements.push(self.optional(proto)?);
        }
        Ok(Value::Sequence(elements))
    }

    fn optional(&mut self, proto: OptionalProto) -> Result<Value<Tensor>, Diagnostic> {
        if proto.sparse_tensor_value.is_some() || proto.map_value.is_some() {
            return Err(not_read("an optional sparse tensor or map"));
        }
        let stated = proto.elem_type.unwrap_or(contents_type::UNDEFINED);
        let value = match stated {
            contents_type::TENSOR => proto.tensor_value.map(|proto| self.tensor(proto)),
            contents_type::SEQUENCE => proto.sequence_value.map(|proto| self.sequence(proto)),
            contents_type::OPTIONAL => proto.optional_value.map(|proto| self.optional(*proto)),
            contents_type::UNDEFINED => None,
            other => {
                let message = format!("an optional value states contents of kind {other}");
                return Err(Diagnostic::error(Kind::Unsupported, "L0181", message));
            }
        };
        Ok(Value::Optional(value.transpose()?.map(Box::new)))
    }
}

fn not_read(what: &str) -> Diagnostic {
    Diagnostic::error(Kind::Unsupported, "L0181", format!("{what} is not read"))
}
