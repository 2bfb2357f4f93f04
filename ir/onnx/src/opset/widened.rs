//! From which version on an operator exists, and admits an element type.
//!
//! Both tables are read off the operator schemas of ONNX 1.23; `tests.rs` compares them.

use crate::call::{Call, Facts, Operand};
use eutectic_ir::Element::{self, *};
use eutectic_ir::Reason;

const FLOAT8: &[Element] = &[Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ];

/// Every element type of the first release but the real ones.
const NUMBERS_AND_TEXT: &[Element] =
    &[Bool, Complex128, Complex64, Int16, Int32, Int64, Int8, String, Uint16, Uint32, Uint64, Uint8];

/// Operators by the version that brought them.
#[rustfmt::skip]
pub(super) const NEW: &[(u64, &[&str])] = &[
    (7, &["Acos", "Asin", "Atan", "Cos", "Multinomial", "Sin", "Tan"]),
    (8, &["Expand", "Scan"]),
    (9, &["Acosh", "Asinh", "Atanh", "Compress", "ConstantOfShape", "Cosh", "Erf", "EyeLike", "IsNaN", "MaxUnpool", "MeanVarianceNormalization", "NonZero", "OneHot", "Scatter", "Shrink", "Sign", "Sinh", "TfIdfVectorizer", "Where"]),
    (10, &["ConvInteger", "DequantizeLinear", "IsInf", "MatMulInteger", "Mod", "NonMaxSuppression", "QLinearConv", "QLinearMatMul", "QuantizeLinear", "Resize", "ReverseSequence", "RoiAlign", "StringNormalizer", "ThresholdedRelu"]),
    (11, &["BitShift", "ConcatFromSequence", "CumSum", "Det", "DynamicQuantizeLinear", "GatherElements", "GatherND", "Range", "Round", "ScatterElements", "ScatterND", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "SplitToSequence", "Unique"]),
    (12, &["Celu", "Einsum", "GreaterOrEqual", "LessOrEqual", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"]),
    (14, &["HardSwish", "Trilu"]),
    (15, &["Bernoulli", "CastLike", "Optional", "OptionalGetElement", "OptionalHasElement"]),
    (16, &["GridSample"]),
    (17, &["BlackmanWindow", "DFT", "HammingWindow", "HannWindow", "LayerNormalization", "MelWeightMatrix", "STFT", "SequenceMap"]),
    (18, &["BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CenterCropPad", "Col2Im", "GroupNormalization", "Mish"]),
    (19, &["DeformConv"]),
    (20, &["AffineGrid", "Gelu", "ImageDecoder", "RegexFullMatch", "StringConcat", "StringSplit"]),
    (23, &["Attention", "RMSNormalization", "RotaryEmbedding"]),
    (24, &["Swish", "TensorScatter"]),
    (26, &["BitCast", "CumProd"]),
    (27, &["CausalConvWithState", "LinearAttention"]),
    (28, &["SwiGLU"]),
];

/// Element types by the version that admitted them to which operators.
#[rustfmt::skip]
pub(super) const WIDENED: &[(u64, &[Element], &[&str])] = &[
    (2, NUMBERS_AND_TEXT, &["Split"]),
    (4, NUMBERS_AND_TEXT, &["Concat"]),
    (5, NUMBERS_AND_TEXT, &["Reshape"]),
    (6, &[Bool, Complex128, Complex64, Int16, Int32, Int8, String, Uint16, Uint32, Uint64, Uint8], &["Tile"]),
    (6, &[Int16, Int32, Int64, Int8, Uint16, Uint32, Uint64, Uint8], &["Abs"]),
    (6, &[Int16, Int32, Int64, Int8], &["Neg"]),
    (6, &[Int32, Int64, Uint32, Uint64], &["Add", "Div", "Mul", "Sub"]),
    (7, &[Complex128, Complex64, Int16, Int8, String, Uint16, Uint32, Uint64, Uint8], &["Upsample"]),
    (8, &[Int64], &["MaxPool"]),
    (9, &[Bool, Complex128, Complex64, Int16, Int32, Int64, Int8, String, Uint16, Uint32, Uint64, Uint8], &["Constant", "Flatten"]),
    (9, &[Int16, Int32, Int64, Int8, Uint16, Uint32, Uint64, Uint8], &["Greater", "Less"]),
    (9, &[Int32, Int64, Uint32, Uint64], &["Gemm", "MatMul", "PRelu"]),
    (9, &[String], &["Cast"]),
    (10, &[Bool], &["Dropout"]),
    (11, &[Double, Float, Float16, Int16, Int8, Uint16, Uint32, Uint64, Uint8], &["Equal"]),
    (11, &[Int16, Int32, Int64, Int8, Uint16, Uint32, Uint64, Uint8], &["Pad"]),
    (11, &[Int16, Int32, Int8, Uint16, Uint32, Uint64, Uint8], &["TopK"]),
    (12, &[Int16, Int32, Int64, Int8, Uint16, Uint32, Uint64, Uint8], &["Clip", "Max", "Min", "Pow"]),
    (12, &[Int8, Uint8], &["MaxPool", "ReduceMax", "ReduceMin"]),
    (13, &[Bfloat16, Bool, Complex128, Complex64, String], &["Pad"]),
    (13, &[Bfloat16], &["Abs", "Add", "ArgMax", "ArgMin", "Cast", "Ceil", "Clip", "Concat", "Constant", "DepthToSpace", "Div", "Dropout", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Gemm", "Greater", "Hardmax", "Identity", "IsNaN", "LRN", "Less", "Log", "LogSoftmax", "MatMul", "Max", "Mean", "MeanVarianceNormalization", "Min", "Mod", "Mul", "Neg", "NonZero", "Pow", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Resize", "ScatterElements", "ScatterND", "Shape", "Sigmoid", "Sign", "Size", "Slice", "Softmax", "SoftmaxCrossEntropyLoss", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "Transpose", "Unsqueeze"]),
    (14, &[Bfloat16, Float16], &["CumSum"]),
    (14, &[Bfloat16], &["BatchNormalization"]),
    (14, &[Int16, Int32, Int64, Int8], &["Relu"]),
    (14, &[Int16, Int8, Uint16, Uint8], &["Add", "Div", "Mul", "Sub"]),
    (16, &[Bfloat16], &["GreaterOrEqual", "If", "LeakyRelu", "LessOrEqual", "Loop", "PRelu", "Scan", "Where"]),
    (18, &[Complex128, Complex64, Double, Float, Float16, Int16, Int32, Int64, Int8, String, Uint16, Uint32, Uint64, Uint8], &["OptionalHasElement"]),
    (19, &[Bfloat16, Float16], &["DequantizeLinear", "QuantizeLinear"]),
    (19, &[String], &["Equal"]),
    (19, FLOAT8, &["Cast", "CastLike", "Constant", "DequantizeLinear", "Identity", "If", "Loop", "QuantizeLinear", "Reshape", "Scan", "Shape", "Size"]),
    (20, &[Bfloat16, Float16], &["IsInf"]),
    (20, &[Bfloat16], &["ConstantOfShape"]),
    (20, &[Bool], &["ReduceMax", "ReduceMin"]),
    (20, FLOAT8, &["ConstantOfShape", "IsInf", "IsNaN"]),
    (21, &[Bfloat16, Float16], &["QLinearMatMul"]),
    (21, &[Int16, Int4, Uint16, Uint4], &["DequantizeLinear", "QuantizeLinear"]),
    (21, &[Int4, Uint4], &["Cast", "CastLike", "Constant", "ConstantOfShape", "Flatten", "Identity", "If", "Loop", "Pad", "Reshape", "Scan", "Shape", "Size", "Squeeze", "Transpose", "Unsqueeze"]),
    (21, FLOAT8, &["Flatten", "Pad", "QLinearMatMul", "Squeeze", "Transpose", "Unsqueeze"]),
    (22, &[Bfloat16], &["Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "AveragePool", "Conv", "ConvTranspose", "Cos", "Cosh", "DeformConv", "Det", "Elu", "EyeLike", "GRU", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "GridSample", "HardSigmoid", "HardSwish", "InstanceNormalization", "LSTM", "LpNormalization", "LpPool", "MaxPool", "MaxRoiPool", "MaxUnpool", "Mish", "Multinomial", "NegativeLogLikelihoodLoss", "RNN", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "RoiAlign", "Round", "Selu", "Sin", "Sinh", "Softplus", "Softsign", "Tan", "ThresholdedRelu"]),
    (22, FLOAT8, &["Dropout"]),
    (23, &[Float4E2M1], &["Cast", "CastLike", "Constant", "ConstantOfShape", "DequantizeLinear", "Flatten", "Identity", "If", "Loop", "Pad", "QuantizeLinear", "Reshape", "Scan", "Shape", "Size", "Squeeze", "Transpose", "Unsqueeze"]),
    (24, &[Bfloat16], &["SplitToSequence", "TopK"]),
    (24, &[Float8E8M0], &["Cast", "CastLike", "Constant", "ConstantOfShape", "DequantizeLinear", "Flatten", "Identity", "If", "Loop", "Pad", "QuantizeLinear", "Reshape", "Scan", "Shape", "Size", "Squeeze", "Transpose", "Unsqueeze"]),
    (25, &[Int2, Uint2], &["Cast", "CastLike", "Constant", "ConstantOfShape", "DequantizeLinear", "Flatten", "Identity", "If", "Loop", "Pad", "QuantizeLinear", "Reshape", "Scan", "Shape", "Size", "Squeeze", "Transpose", "Unsqueeze"]),
    (27, &[Bfloat16, Float16], &["Range"]),
    (28, &[Bfloat16, Double, Float16], &["Celu"]),
    (28, &[Bfloat16], &["Compress", "Einsum", "OneHot", "ReverseSequence", "Unique"]),
    (28, &[Bfloat16, Float4E2M1, Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ, Float8E8M0, Int2, Int4, Uint2, Uint4], &["Optional", "OptionalGetElement", "OptionalHasElement"]),
    (28, &[Float6E2M3, Float6E3M2], &["Cast", "DequantizeLinear", "Optional", "OptionalGetElement", "OptionalHasElement", "QuantizeLinear"]),
    (28, &[Int16, Int32, Int64, Int8], &["BitShift"]),
];

/// The lowest version that has the operator of `call` with the element types of `call`, and why.
pub(super) fn lowest(call: &Call, facts: &dyn Facts) -> (u64, Reason) {
    let name = call.op_type.as_str();
    let (mut lowest, mut why) = (0, std::string::String::new());
    let new = since(name);
    if new > 0 {
        (lowest, why) = (new, format!("{name} is new in it"));
    }
    let outputs = call.outputs.iter().filter(|name| !name.is_empty()).cloned().map(Operand::Named);
    let inputs = call.inputs.iter().filter_map(|operand| facts.ty(operand));
    for ty in inputs.chain(outputs.filter_map(|operand| facts.ty(&operand))) {
        let admitting = admitting(name, ty.element);
        if admitting > lowest {
            (lowest, why) = (admitting, format!("{name} admits {} since", ty.element));
        }
    }
    (lowest, Reason(why))
}

/// The version that brought operator `name`, or 0 when it is older than the table.
pub(super) fn since(name: &str) -> u64 {
    NEW.iter().find(|(_, names)| names.contains(&name)).map_or(0, |(since, _)| *since)
}

/// The version since which all of operator `name`'s parameters may be `element`, or 0 when none widened it.
pub(super) fn admitting(name: &str, element: Element) -> u64 {
    let widening = |(since, elements, names): &(u64, &[Element], &[&str])| {
        (elements.contains(&element) && names.contains(&name)).then_some(*since)
    };
    WIDENED.iter().filter_map(widening).max().unwrap_or(0)
}
