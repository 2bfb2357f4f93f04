//! Which element types an operator admits only from some version on.

use crate::call::{Call, Facts, Operand};
use eutectic_ir::{Element, Reason};

const SMALL_INTEGERS: &[Element] = &[Element::Int8, Element::Int16, Element::Uint8, Element::Uint16];
const INTEGERS: &[Element] = &[
    Element::Int8,
    Element::Int16,
    Element::Int32,
    Element::Int64,
    Element::Uint8,
    Element::Uint16,
    Element::Uint32,
    Element::Uint64,
];
const FLOATS: &[Element] = &[Element::Float16, Element::Float, Element::Double];

/// Operators, the version that admitted more, and what.
const WIDENED: &[(&[&str], u64, &[Element])] = &[
    (&["Add", "Sub", "Mul", "Div"], 14, SMALL_INTEGERS),
    (&["Relu"], 14, INTEGERS),
    (&["Clip", "Max", "Min"], 12, INTEGERS),
    (&["Max", "Min"], 8, FLOATS),
    (&["Pow"], 12, INTEGERS),
    (&["Equal"], 11, FLOATS),
    (&["Greater", "Less"], 9, INTEGERS),
    (&["MatMul", "Gemm"], 9, INTEGERS),
    (&["MaxPool"], 12, SMALL_INTEGERS),
];

/// Operators that admit bfloat16 from version 22 on; most others do from 13 on.
const BFLOAT16_FROM_22: &[&str] = &[
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "AveragePool",
    "Conv",
    "ConvTranspose",
    "Cos",
    "Cosh",
    "DeformConv",
    "Det",
    "Dropout",
    "Elu",
    "EyeLike",
    "GlobalAveragePool",
    "GlobalLpPool",
    "GlobalMaxPool",
    "GridSample",
    "GRU",
    "HardSigmoid",
    "HardSwish",
    "InstanceNormalization",
    "LpNormalization",
    "LpPool",
    "LSTM",
    "MaxPool",
    "MaxRoiPool",
    "MaxUnpool",
    "Mish",
    "Multinomial",
    "NegativeLogLikelihoodLoss",
    "RNN",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "RoiAlign",
    "Round",
    "Selu",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Tan",
    "ThresholdedRelu",
];

/// The lowest version that admits the element types of `call`, and why.
pub(super) fn lowest(call: &Call, facts: &dyn Facts) -> (u64, Reason) {
    let outputs = call.outputs.iter().filter(|name| !name.is_empty()).cloned().map(Operand::Named);
    let inputs = call.inputs.iter().filter_map(|operand| facts.ty(operand));
    let types = inputs.chain(outputs.filter_map(|operand| facts.ty(&operand)));
    let mut lowest = 0;
    let mut because = None;
    for ty in types {
        let since = since(call, ty.element);
        if since > lowest {
            (lowest, because) = (since, Some(ty.element));
        }
    }
    let why = because.map_or_else(String::new, |element| format!("{} of {element}", call.op_type));
    (lowest, Reason(why))
}

fn since(call: &Call, element: Element) -> u64 {
    use Element::*;
    let name = call.op_type.as_str();
    let widened = WIDENED.iter().filter(|(names, _, elements)| names.contains(&name) && elements.contains(&element));
    let explicit = widened.map(|(_, since, _)| *since).max().unwrap_or(0);
    let general = match element {
        Bfloat16 if BFLOAT16_FROM_22.contains(&name) => 22,
        Bfloat16 => 13,
        Float8E4M3FN | Float8E4M3FNUZ | Float8E5M2 | Float8E5M2FNUZ => 19,
        Int4 | Uint4 => 21,
        Float4E2M1 => 23,
        Float8E8M0 => 24,
        Int2 | Uint2 => 25,
        _ => 0,
    };
    explicit.max(general)
}
