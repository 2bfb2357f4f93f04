//! ONNX's protobuf schema as one table: which fields a message has and what each holds.
//!
//! The scan walks a file by this table before anything is decoded. `proto.rs` declares the same messages for the
//! decoder; a test compares the table with the descriptors of an independent decoder.

use crate::proto::*;
use std::mem::size_of;

/// The message types of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Type {
    Model,
    Graph,
    Node,
    Attribute,
    ValueInfo,
    Type,
    TensorType,
    ElementType,
    MapType,
    OpaqueType,
    Shape,
    Dimension,
    Function,
    OperatorSet,
    Entry,
    Annotation,
    Tensor,
    Segment,
    SparseTensor,
    Sequence,
    Map,
    Optional,
    TrainingInfo,
    DeviceConfiguration,
    NodeDeviceConfiguration,
    ShardingSpec,
    IntList,
    ShardedDim,
    SimpleShardedDim,
}

/// What a field holds, which decides how the scan reads it and what it costs once decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// An integer or an enum, decoded to this many bytes.
    Integer(u64),
    /// A 32-bit float, decoded on its own.
    Float,
    /// Floats of this many bytes each whose packed form is kept as it is in the file.
    Array(u64),
    /// A name: UTF-8, short.
    Name,
    /// A value for programs: UTF-8.
    Text,
    /// Words for people; broken UTF-8 is mended.
    Prose,
    /// Any bytes.
    Bytes,
    /// A message.
    Message(Type),
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub number: u32,
    pub name: &'static str,
    pub holds: Holds,
    pub repeated: bool,
}

/// The most fields a message has.
pub(crate) const MAX_FIELDS: usize = 18;

const INT32: Holds = Holds::Integer(4);
const INT64: Holds = Holds::Integer(8);

const fn one(number: u32, name: &'static str, holds: Holds) -> Field {
    Field { number, name, holds, repeated: false }
}

const fn many(number: u32, name: &'static str, holds: Holds) -> Field {
    Field { number, name, holds, repeated: true }
}

const fn message(number: u32, name: &'static str, of: Type) -> Field {
    one(number, name, Holds::Message(of))
}

const fn messages(number: u32, name: &'static str, of: Type) -> Field {
    many(number, name, Holds::Message(of))
}

const MODEL: &[Field] = &[
    one(1, "ir_version", INT64),
    one(2, "producer_name", Holds::Text),
    one(3, "producer_version", Holds::Text),
    one(4, "domain", Holds::Text),
    one(5, "model_version", INT64),
    one(6, "doc_string", Holds::Prose),
    message(7, "graph", Type::Graph),
    messages(8, "opset_import", Type::OperatorSet),
    messages(14, "metadata_props", Type::Entry),
    messages(20, "training_info", Type::TrainingInfo),
    messages(25, "functions", Type::Function),
    messages(26, "configuration", Type::DeviceConfiguration),
];

const GRAPH: &[Field] = &[
    messages(1, "node", Type::Node),
    one(2, "name", Holds::Name),
    messages(5, "initializer", Type::Tensor),
    one(10, "doc_string", Holds::Prose),
    messages(11, "input", Type::ValueInfo),
    messages(12, "output", Type::ValueInfo),
    messages(13, "value_info", Type::ValueInfo),
    messages(14, "quantization_annotation", Type::Annotation),
    messages(15, "sparse_initializer", Type::SparseTensor),
    messages(16, "metadata_props", Type::Entry),
];

const NODE: &[Field] = &[
    many(1, "input", Holds::Name),
    many(2, "output", Holds::Name),
    one(3, "name", Holds::Name),
    one(4, "op_type", Holds::Name),
    messages(5, "attribute", Type::Attribute),
    one(6, "doc_string", Holds::Prose),
    one(7, "domain", Holds::Name),
    one(8, "overload", Holds::Name),
    messages(9, "metadata_props", Type::Entry),
    messages(10, "device_configurations", Type::NodeDeviceConfiguration),
];

const ATTRIBUTE: &[Field] = &[
    one(1, "name", Holds::Name),
    one(2, "f", Holds::Float),
    one(3, "i", INT64),
    one(4, "s", Holds::Bytes),
    message(5, "t", Type::Tensor),
    message(6, "g", Type::Graph),
    many(7, "floats", Holds::Float),
    many(8, "ints", INT64),
    many(9, "strings", Holds::Bytes),
    messages(10, "tensors", Type::Tensor),
    messages(11, "graphs", Type::Graph),
    one(13, "doc_string", Holds::Prose),
    message(14, "tp", Type::Type),
    messages(15, "type_protos", Type::Type),
    one(20, "type", INT32),
    one(21, "ref_attr_name", Holds::Name),
    message(22, "sparse_tensor", Type::SparseTensor),
    messages(23, "sparse_tensors", Type::SparseTensor),
];

const VALUE_INFO: &[Field] = &[
    one(1, "name", Holds::Name),
    message(2, "type", Type::Type),
    one(3, "doc_string", Holds::Prose),
    messages(4, "metadata_props", Type::Entry),
];

const TYPE: &[Field] = &[
    message(1, "tensor_type", Type::TensorType),
    message(4, "sequence_type", Type::ElementType),
    message(5, "map_type", Type::MapType),
    one(6, "denotation", Holds::Name),
    message(7, "opaque_type", Type::OpaqueType),
    message(8, "sparse_tensor_type", Type::TensorType),
    message(9, "optional_type", Type::ElementType),
];

const TENSOR_TYPE: &[Field] = &[one(1, "elem_type", INT32), message(2, "shape", Type::Shape)];
const ELEMENT_TYPE: &[Field] = &[message(1, "elem_type", Type::Type)];
const MAP_TYPE: &[Field] = &[one(1, "key_type", INT32), message(2, "value_type", Type::Type)];
const OPAQUE_TYPE: &[Field] = &[one(1, "domain", Holds::Name), one(2, "name", Holds::Name)];
const SHAPE: &[Field] = &[messages(1, "dim", Type::Dimension)];
const DIMENSION: &[Field] =
    &[one(1, "dim_value", INT64), one(2, "dim_param", Holds::Name), one(3, "denotation", Holds::Name)];

const FUNCTION: &[Field] = &[
    one(1, "name", Holds::Name),
    many(4, "input", Holds::Name),
    many(5, "output", Holds::Name),
    many(6, "attribute", Holds::Name),
    messages(7, "node", Type::Node),
    one(8, "doc_string", Holds::Prose),
    messages(9, "opset_import", Type::OperatorSet),
    one(10, "domain", Holds::Name),
    messages(11, "attribute_proto", Type::Attribute),
    messages(12, "value_info", Type::ValueInfo),
    one(13, "overload", Holds::Name),
    messages(14, "metadata_props", Type::Entry),
];

const OPERATOR_SET: &[Field] = &[one(1, "domain", Holds::Name), one(2, "version", INT64)];
const ENTRY: &[Field] = &[one(1, "key", Holds::Text), one(2, "value", Holds::Text)];
const ANNOTATION: &[Field] =
    &[one(1, "tensor_name", Holds::Name), messages(2, "quant_parameter_tensor_names", Type::Entry)];

const TENSOR: &[Field] = &[
    many(1, "dims", INT64),
    one(2, "data_type", INT32),
    message(3, "segment", Type::Segment),
    many(4, "float_data", Holds::Array(4)),
    many(5, "int32_data", INT32),
    many(6, "string_data", Holds::Bytes),
    many(7, "int64_data", INT64),
    one(8, "name", Holds::Name),
    one(9, "raw_data", Holds::Bytes),
    many(10, "double_data", Holds::Array(8)),
    many(11, "uint64_data", INT64),
    one(12, "doc_string", Holds::Prose),
    messages(13, "external_data", Type::Entry),
    one(14, "data_location", INT32),
    messages(16, "metadata_props", Type::Entry),
];

const SEGMENT: &[Field] = &[one(1, "begin", INT64), one(2, "end", INT64)];
const SPARSE_TENSOR: &[Field] =
    &[message(1, "values", Type::Tensor), message(2, "indices", Type::Tensor), many(3, "dims", INT64)];
const SEQUENCE: &[Field] = &[
    one(1, "name", Holds::Name),
    one(2, "elem_type", INT32),
    messages(3, "tensor_values", Type::Tensor),
    messages(4, "sparse_tensor_values", Type::SparseTensor),
    messages(5, "sequence_values", Type::Sequence),
    messages(6, "map_values", Type::Map),
    messages(7, "optional_values", Type::Optional),
];
const MAP: &[Field] = &[
    one(1, "name", Holds::Name),
    one(2, "key_type", INT32),
    many(3, "keys", INT64),
    many(4, "string_keys", Holds::Bytes),
    message(5, "values", Type::Sequence),
];
const OPTIONAL: &[Field] = &[
    one(1, "name", Holds::Name),
    one(2, "elem_type", INT32),
    message(3, "tensor_value", Type::Tensor),
    message(4, "sparse_tensor_value", Type::SparseTensor),
    message(5, "sequence_value", Type::Sequence),
    message(6, "map_value", Type::Map),
    message(7, "optional_value", Type::Optional),
];
const TRAINING_INFO: &[Field] = &[
    message(1, "initialization", Type::Graph),
    message(2, "algorithm", Type::Graph),
    messages(3, "initialization_binding", Type::Entry),
    messages(4, "update_binding", Type::Entry),
];
const DEVICE_CONFIGURATION: &[Field] =
    &[one(1, "name", Holds::Name), one(2, "num_devices", INT32), many(3, "device", Holds::Name)];
const NODE_DEVICE_CONFIGURATION: &[Field] = &[
    one(1, "configuration_id", Holds::Name),
    messages(2, "sharding_spec", Type::ShardingSpec),
    one(3, "pipeline_stage", INT32),
];
const SHARDING_SPEC: &[Field] = &[
    one(1, "tensor_name", Holds::Name),
    many(2, "device", INT64),
    messages(3, "index_to_device_group_map", Type::IntList),
    messages(4, "sharded_dim", Type::ShardedDim),
];
const INT_LIST: &[Field] = &[one(1, "key", INT64), many(2, "value", INT64)];
const SHARDED_DIM: &[Field] = &[one(1, "axis", INT64), messages(2, "simple_sharding", Type::SimpleShardedDim)];
const SIMPLE_SHARDED_DIM: &[Field] =
    &[one(1, "dim_value", INT64), one(2, "dim_param", Holds::Name), one(3, "num_shards", INT64)];

impl Type {
    /// The fields of this message.
    pub fn fields(self) -> &'static [Field] {
        self.row().1
    }

    /// The name of the message in `onnx.proto`.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Bytes that one decoded message takes by itself.
    pub fn decoded_size(self) -> u64 {
        self.row().2 as u64
    }

    fn row(self) -> (&'static str, &'static [Field], usize) {
        match self {
            Type::Model => ("ModelProto", MODEL, size_of::<ModelProto>()),
            Type::Graph => ("GraphProto", GRAPH, size_of::<GraphProto>()),
            Type::Node => ("NodeProto", NODE, size_of::<NodeProto>()),
            Type::Attribute => ("AttributeProto", ATTRIBUTE, size_of::<AttributeProto>()),
            Type::ValueInfo => ("ValueInfoProto", VALUE_INFO, size_of::<ValueInfoProto>()),
            Type::Type => ("TypeProto", TYPE, size_of::<TypeProto>()),
            Type::TensorType => ("TypeProto.Tensor", TENSOR_TYPE, size_of::<type_proto::Tensor>()),
            Type::ElementType => ("TypeProto.Sequence", ELEMENT_TYPE, size_of::<type_proto::Element>()),
            Type::MapType => ("TypeProto.Map", MAP_TYPE, size_of::<type_proto::Map>()),
            Type::OpaqueType => ("TypeProto.Opaque", OPAQUE_TYPE, size_of::<type_proto::Opaque>()),
            Type::Shape => ("TensorShapeProto", SHAPE, size_of::<TensorShapeProto>()),
            Type::Dimension => ("TensorShapeProto.Dimension", DIMENSION, size_of::<Dimension>()),
            Type::Function => ("FunctionProto", FUNCTION, size_of::<FunctionProto>()),
            Type::OperatorSet => ("OperatorSetIdProto", OPERATOR_SET, size_of::<OperatorSetIdProto>()),
            Type::Entry => ("StringStringEntryProto", ENTRY, size_of::<StringStringEntryProto>()),
            Type::Annotation => ("TensorAnnotation", ANNOTATION, size_of::<TensorAnnotation>()),
            Type::Tensor => ("TensorProto", TENSOR, size_of::<TensorProto>()),
            Type::Segment => ("TensorProto.Segment", SEGMENT, size_of::<SegmentProto>()),
            Type::SparseTensor => ("SparseTensorProto", SPARSE_TENSOR, size_of::<SparseTensorProto>()),
            Type::Sequence => ("SequenceProto", SEQUENCE, size_of::<SequenceProto>()),
            Type::Map => ("MapProto", MAP, size_of::<MapProto>()),
            Type::Optional => ("OptionalProto", OPTIONAL, size_of::<OptionalProto>()),
            Type::TrainingInfo => ("TrainingInfoProto", TRAINING_INFO, size_of::<TrainingInfoProto>()),
            Type::DeviceConfiguration => {
                ("DeviceConfigurationProto", DEVICE_CONFIGURATION, size_of::<DeviceConfigurationProto>())
            }
            Type::NodeDeviceConfiguration => {
                ("NodeDeviceConfigurationProto", NODE_DEVICE_CONFIGURATION, size_of::<NodeDeviceConfigurationProto>())
            }
            Type::ShardingSpec => ("ShardingSpecProto", SHARDING_SPEC, size_of::<ShardingSpecProto>()),
            Type::IntList => ("IntIntListEntryProto", INT_LIST, size_of::<IntIntListEntryProto>()),
            Type::ShardedDim => ("ShardedDimProto", SHARDED_DIM, size_of::<ShardedDimProto>()),
            Type::SimpleShardedDim => ("SimpleShardedDimProto", SIMPLE_SHARDED_DIM, size_of::<SimpleShardedDimProto>()),
        }
    }
}
