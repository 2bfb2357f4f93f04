//! Pointwise operators as expressions of CUDA C++, and operators that reduce rows.

use crate::flat::FlatCall;
use crate::region::{Reduction, literal};
use crate::view::Class;
use eutectic_ir::types::{Element, normalize_axis};

/// An attribute that only this backend gives to Softmax: attention that sees no key gives zeros, not NaN.
pub(crate) const BLIND: &str = "blind";

/// What an operator computes of its inputs, `$0`, `$1`, ...
pub(crate) struct Pointwise {
    /// The expression; `$T` stands for the type of its result.
    pub template: String,
    /// What it gives.
    pub class: Class,
    /// What the inputs are converted to; `None` leaves them.
    pub wants: Option<Class>,
}

/// The expression of `call`, whose first output has `element`, and whose inputs that are given number `n`; `None` when it is
/// not pointwise. `single` gives the value of an input that is one constant number.
pub(crate) fn pointwise(
    call: &FlatCall,
    element: Element,
    n: usize,
    first: Class,
    single: &dyn Fn(usize) -> Option<f64>,
) -> Option<Pointwise> {
    if !call.op.domain().is_empty() || call.outputs.len() != 1 {
        return None;
    }
    let class = Class::of(element);
    let attribute = |name: &str| literal(f64::from(call.attrs.float(name).unwrap_or(0.0)), class);
    let real = |template: String| class.is_real().then_some(Pointwise { template, class, wants: Some(class) });
    let same = |template: &str| Some(Pointwise { template: template.into(), class, wants: Some(class) });
    let truth = |template: &str| {
        let wants = if first == Class::Truth { Class::Integer } else { first };
        Some(Pointwise { template: template.into(), class: Class::Truth, wants: Some(wants) })
    };
    let logic =
        |template: &str| Some(Pointwise { template: template.into(), class: Class::Truth, wants: Some(Class::Truth) });
    let folded = |f: &str| {
        let start = String::from("$0");
        (1..n).fold(start, |so_far, at| format!("{f}({so_far}, ${at})"))
    };
    let sum = || (1..n).fold(String::from("$0"), |so_far, at| format!("({so_far} + ${at})"));
    match call.op.name() {
        "Relu" if class.is_real() => real("relu($0)".into()),
        "Relu" => same("larger($0, $T(0))"),
        "Sigmoid" => real("sigmoid($0)".into()),
        name @ ("Tanh" | "Exp" | "Log" | "Sqrt" | "Erf" | "Sin" | "Cos" | "Tan" | "Sinh" | "Cosh" | "Asin" | "Acos"
        | "Atan" | "Asinh" | "Acosh" | "Atanh" | "Floor" | "Ceil") => real(format!("{}($0)", name.to_lowercase())),
        "Round" => real("rint($0)".into()),
        "Reciprocal" => real("($T(1) / $0)".into()),
        "Softplus" => real("(larger($0, $T(0)) + log1p(exp(-fabs($0))))".into()),
        "Softsign" => real("($0 / ($T(1) + fabs($0)))".into()),
        "Abs" if class.is_real() => real("fabs($0)".into()),
        "Abs" => same("($0 < $T(0) ? -$0 : $0)"),
        "Neg" => same("(-$0)"),
        "Sign" => same("$T(($0 > $T(0)) - ($0 < $T(0)))"),
        "Gelu" if call.attrs.string("approximate") == Some("tanh") => real("gelu_tanh($0)".into()),
        "Gelu" => real("gelu($0)".into()),
        "HardSwish" => real("($0 * unit($0 * $T(1. / 6.) + $T(.5)))".into()),
        "HardSigmoid" => real(format!("unit({} * $0 + {})", attribute("alpha"), attribute("beta"))),
        "LeakyRelu" => real(format!("($0 < $T(0) ? {} * $0 : $0)", attribute("alpha"))),
        "ThresholdedRelu" => real(format!("($0 > {} ? $0 : $T(0))", attribute("alpha"))),
        "Elu" => real(format!("($0 < $T(0) ? {} * expm1($0) : $0)", attribute("alpha"))),
        "Selu" => {
            let (alpha, gamma) = (attribute("alpha"), attribute("gamma"));
            real(format!("({gamma} * ($0 > $T(0) ? $0 : {alpha} * expm1($0)))"))
        }
        "Celu" => {
            let alpha = attribute("alpha");
            real(format!("(larger($0, $T(0)) + smaller({alpha} * expm1($0 / {alpha}), $T(0)))"))
        }
        "Shrink" => {
            let (bias, lambd) = (attribute("bias"), attribute("lambd"));
            same(&format!("($0 < -({lambd}) ? $0 + {bias} : $0 > {lambd} ? $0 - {bias} : $T(0))"))
        }
        "Swish" => real(format!("($0 * sigmoid({} * $0))", attribute("alpha"))),
        "Mish" => real("($0 * tanh(log1p(exp($0))))".into()),
        "PRelu" => same("($0 < $T(0) ? $1 * $0 : $0)"),
        "IsNaN" if first.is_real() => truth("($0 != $0)"),
        "IsInf" if first.is_real() => {
            let (up, down) = (call.attrs.flag("detect_positive"), call.attrs.flag("detect_negative"));
            truth(&format!("(isinf($0) && ($0 > 0 ? {up} : {down}))"))
        }
        // With a third input it may be training, and what it drops is random.
        "Dropout" if n > 2 => None,
        // Conversions to narrow types saturate.
        "Cast" | "CastLike" if !call.attrs.flag("saturate") && element.is_real() && element.bits() < 16 => None,
        "Identity" | "Dropout" | "Cast" | "CastLike" => {
            let template = if class == Class::Truth { "($0 != 0)" } else { "$0" };
            Some(Pointwise { template: template.into(), class, wants: (class != Class::Truth).then_some(class) })
        }
        "Add" => same("($0 + $1)"),
        "Sub" => same("($0 - $1)"),
        "Mul" => same("($0 * $1)"),
        "Div" if class.is_real() => same("($0 / $1)"),
        "Div" => same("($1 == 0 ? $T(0) : $0 / $1)"),
        "Mod" if class.is_real() && call.attrs.flag("fmod") => real("fmod($0, $1)".into()),
        "Mod" if call.attrs.flag("fmod") => same("($1 == 0 ? $T(0) : $0 % $1)"),
        "Mod" => same("remainder_of($0, $1)"),
        "Sum" => same(&sum()),
        "Mean" => real(format!("({} * $T(1. / {n}.))", sum())),
        "Max" => same(&folded("larger")),
        "Min" => same(&folded("smaller")),
        "Pow" if class.is_real() => match single(1) {
            Some(2.0) => real("($0 * $0)".into()),
            Some(3.0) => real("($0 * $0 * $0)".into()),
            Some(0.5) => real("sqrt($0)".into()),
            _ => real("pow($0, $1)".into()),
        },
        // Powers of integers are taken in double precision, whose exact range holds what tests and models use.
        "Pow" => Some(Pointwise { template: "(long long)pow($0, $1)".into(), class, wants: Some(Class::Double) }),
        "Clip" => {
            let mut text = String::from("$0");
            let given = |at: usize| call.input(at).is_some();
            // The inputs that are left out have no number of their own.
            if given(1) {
                text = format!("larger({text}, $1)");
            }
            if given(2) {
                text = format!("smaller({text}, ${})", if given(1) { 2 } else { 1 });
            }
            same(&text)
        }
        "BitwiseAnd" => same("($0 & $1)"),
        "BitwiseOr" => same("($0 | $1)"),
        "BitwiseXor" => same("($0 ^ $1)"),
        "BitwiseNot" => same("(~$0)"),
        "BitShift" if call.attrs.string("direction") == Some("LEFT") => same("($1 > 63 ? $T(0) : $0 << $1)"),
        // A sign fills all bits.
        "BitShift" => same("($0 >> ($1 > 63 ? $T(63) : $1) >> ($1 > 63 ? 1 : 0))"),
        "QuantizeLinear" | "DequantizeLinear" => quantization(call, element, first, false),
        "Where" => Some(Pointwise { template: "($0 ? $1 : $2)".into(), class, wants: None }),
        "Equal" => truth("($0 == $1)"),
        "Less" => truth("($0 < $1)"),
        "LessOrEqual" => truth("($0 <= $1)"),
        "Greater" => truth("($0 > $1)"),
        "GreaterOrEqual" => truth("($0 >= $1)"),
        "And" => logic("($0 && $1)"),
        "Or" => logic("($0 || $1)"),
        "Xor" => logic("($0 != $1)"),
        "Not" => logic("(!$0)"),
        _ => None,
    }
}

/// What QuantizeLinear or DequantizeLinear with one scale for all, or for each position of an axis, computes of the number `$0`, the
/// scale `$1` and the zero point `$2`. What `is_ordinary` is quantized by scales between 2^-60 and 2^60, or dequantized from at most 16 bits.
pub(crate) fn quantization(call: &FlatCall, element: Element, first: Class, is_ordinary: bool) -> Option<Pointwise> {
    let class = Class::of(element);
    let has_blocks = call.attrs.int("block_size").unwrap_or(0) != 0;
    let template = match (call.is("QuantizeLinear"), integer_range(element)) {
        _ if has_blocks || call.attrs.int("precision").unwrap_or(0) != 0 => return None,
        (true, Some((low, high))) if is_ordinary => format!("(i64)quantized($0, $1, {low}, {high}, (int)$2)"),
        // The conversion rounds halves to even, gives the nearest integer for what is beyond all, and zero for what is no number.
        (true, Some((low, high))) => {
            format!("(i64)max({low}, min({high}, max(-(1 << 20), min(1 << 20, __float2int_rn($0 / $1))) + (int)$2))")
        }
        // Conversions to narrow types saturate.
        (true, None) if class == Class::Real && (element.bits() >= 16 || call.attrs.flag("saturate")) => {
            "($0 / $1 + $2)".into()
        }
        // Conversions of 64 bits are slow, and these differences have 17.
        (false, _) if class == Class::Real && first == Class::Integer && is_ordinary => {
            "((float)((int)$0 - (int)$2) * $1)".into()
        }
        (false, _) if class == Class::Real && matches!(first, Class::Integer | Class::Real) => {
            "((float)($0 - $2) * $1)".into()
        }
        _ => return None,
    };
    Some(Pointwise { template, class, wants: None })
}

/// The least and the largest number of the integer types that numbers are quantized to.
fn integer_range(element: Element) -> Option<(i64, i64)> {
    let is_signed = matches!(element, Element::Int2 | Element::Int4 | Element::Int8 | Element::Int16);
    let is_unsigned = matches!(element, Element::Uint2 | Element::Uint4 | Element::Uint8 | Element::Uint16);
    let n = 1i64 << element.bits().min(16);
    match (is_signed, is_unsigned) {
        (true, _) => Some((-n / 2, n / 2 - 1)),
        (_, true) => Some((0, n - 1)),
        _ => None,
    }
}

/// What an operator computes of each row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RowOperator {
    /// exp(x - max) over its sum; rows of minus infinity give zeros where `blind` is set.
    Softmax { blind: bool },
    /// The logarithm of that.
    LogSoftmax,
    /// Mean 0 and variance 1, then scale and bias.
    LayerNormalization { epsilon: f32 },
    /// Mean square 1, then scale.
    RmsNormalization { epsilon: f32 },
    /// x over the norm of its row: the sum of magnitudes, or the root of the sum of squares.
    LpNormalization { is_euclidean: bool },
    /// One number for each row.
    Reduce(Kind),
}

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The sum, the largest or smallest element, or the product.
    Plain(Reduction),
    /// The sum over the number of elements.
    Mean,
    /// The sum of magnitudes.
    SumOfMagnitudes,
    /// The sum of squares.
    SumOfSquares,
    /// The root of the sum of squares.
    Norm,
    /// The logarithm of the sum.
    LogOfSum,
    /// The logarithm of the sum of powers of e.
    LogOfSumOfPowers,
}

/// The operator that `call` is on rows, and the axes of its input that are the columns, in order; `None` when it is no such
/// operator. `shape` is its first input's, `integers` gives the contents of a constant input.
pub(crate) fn row_operator(
    call: &FlatCall,
    shape: &[usize],
    integers: &dyn Fn(usize) -> Option<Vec<i64>>,
) -> Option<(RowOperator, Vec<usize>)> {
    if !call.op.domain().is_empty() || call.outputs.len() != 1 {
        return None;
    }
    let rank = shape.len();
    let one = |name: &str| normalize_axis(call.attrs.int(name).unwrap_or(-1), rank);
    let epsilon = call.attrs.float("epsilon").unwrap_or(1e-5);
    let reduce = |kind| {
        let mut axes = match call.input(1) {
            Some(_) => {
                let given = integers(1)?;
                given.into_iter().map(|axis| normalize_axis(axis, rank)).collect::<Option<Vec<usize>>>()?
            }
            None => Vec::new(),
        };
        if axes.is_empty() && !call.attrs.flag("noop_with_empty_axes") {
            axes = (0..rank).collect();
        }
        axes.sort_unstable();
        axes.dedup();
        (!axes.is_empty()).then_some((RowOperator::Reduce(kind), axes))
    };
    match call.op.name() {
        "Softmax" => Some((RowOperator::Softmax { blind: call.attrs.flag(BLIND) }, vec![one("axis")?])),
        "LogSoftmax" => Some((RowOperator::LogSoftmax, vec![one("axis")?])),
        "LpNormalization" => {
            let is_euclidean = call.attrs.int("p").unwrap_or(2) == 2;
            Some((RowOperator::LpNormalization { is_euclidean }, vec![one("axis")?]))
        }
        "LayerNormalization" => Some((RowOperator::LayerNormalization { epsilon }, (one("axis")?..rank).collect())),
        "RMSNormalization" => Some((RowOperator::RmsNormalization { epsilon }, (one("axis")?..rank).collect())),
        "ReduceSum" => reduce(Kind::Plain(Reduction::Sum)),
        "ReduceMean" => reduce(Kind::Mean),
        "ReduceMax" => reduce(Kind::Plain(Reduction::Max)),
        "ReduceMin" => reduce(Kind::Plain(Reduction::Min)),
        "ReduceProd" => reduce(Kind::Plain(Reduction::Product)),
        "ReduceL1" => reduce(Kind::SumOfMagnitudes),
        "ReduceL2" => reduce(Kind::Norm),
        "ReduceSumSquare" => reduce(Kind::SumOfSquares),
        "ReduceLogSum" => reduce(Kind::LogOfSum),
        "ReduceLogSumExp" => reduce(Kind::LogOfSumOfPowers),
        "GlobalAveragePool" => Some((RowOperator::Reduce(Kind::Mean), (2..rank).collect())),
        "GlobalLpPool" => {
            let kind = match call.attrs.int("p").unwrap_or(2) {
                1 => Kind::SumOfMagnitudes,
                2 => Kind::Norm,
                _ => return None,
            };
            Some((RowOperator::Reduce(kind), (2..rank).collect()))
        }
        "GlobalMaxPool" => Some((RowOperator::Reduce(Kind::Plain(Reduction::Max)), (2..rank).collect())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::Cuda;
    use crate::expanded::read;
    use crate::plan::{Content, Work};
    use crate::planner::plan;
    use crate::tile::tests::emulated;
    use crate::view::Precision;
    use eutectic_ir::text::parse_model;
    use eutectic_passes::cost::Device;
    use eutectic_passes::regions::{Fusions, form};

    /// Quantizes numbers beside halves of steps, and what is no ordinary number, as `quantize` says; `stored` reads a result.
    #[track_caller]
    fn check(quantize: &str, zero: i32, [low, high]: [i32; 2], stored: impl Fn(&[u8]) -> i32) {
        const ROWS: usize = 128;
        const COLUMNS: usize = 16;
        let text = format!(
            r#"<ir_version: 11, opset_import: ["": 24]>
            g (float[{ROWS},{COLUMNS}] x) => ({quantize}"#
        );
        let (model, _) = parse_model(&text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        let cuda = Cuda { precision: Precision::F32, cache: None };
        let mut expanded = cuda.expand(&model, crate::Whole::ALL, &[]).expect("known sizes");
        form(&mut expanded.model, &expanded.abilities, &Fusions::all(), &Device::h200());
        let flat = read(&expanded).expect("it is flat");
        let plan = plan(&flat, Precision::F32).unwrap_or_else(|refusals| panic!("{refusals:?}"));
        let [Work::Kernel(kernel)] = plan.steps.iter().map(|step| &step.work).collect::<Vec<_>>()[..] else {
            panic!("one kernel is expected")
        };
        let (_, read) = kernel.parameters.split_last().expect("it has a result");
        let constants = read[1..].iter().map(|&buffer| match &plan.buffers[buffer].content {
            Content::Constant(constant) => constant.bytes().expect("numbers").into_owned(),
            content => panic!("a constant is expected, not {content:?}"),
        });
        let constants: Vec<Vec<u8>> = constants.collect();
        let scales = constants[0].chunks_exact(4).map(|four| f32::from_le_bytes(std::array::from_fn(|at| four[at])));
        let scales: Vec<f32> = scales.collect();
        let scale = |row: usize| scales[if scales.len() == 1 { 0 } else { row }];
        let number = |at: usize| {
            let (row, column) = (at / COLUMNS, at % COLUMNS);
            let special = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN, 1e-40, -0.0];
            let steps = (at * 7919 % 600) as f32 - 300.0;
            let beside = (at % 5) as i32 - 2;
            let half = f32::from_bits(((steps + 0.5) * scale(row)).to_bits().wrapping_add_signed(beside));
            special.get(column).copied().filter(|_| row == 0).unwrap_or(half)
        };
        let numbers: Vec<f32> = (0..ROWS * COLUMNS).map(number).collect();
        let image = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let operands: Vec<Vec<u8>> = [image].into_iter().chain(constants).collect();
        let size = if high - low > 255 { 2 } else { 1 };
        let Some(found) = emulated(kernel, &operands, numbers.len() * size) else {
            println!("skipped: no C++ compiler");
            return;
        };
        for (at, (&x, found)) in numbers.iter().zip(found.chunks_exact(size).map(stored)).enumerate() {
            // A conversion to integers saturates, and gives zero for NaN.
            let steps = (x / scale(at / COLUMNS)).round_ties_even() as i32;
            assert_eq!(found, steps.saturating_add(zero).clamp(low, high), "{x:e} by {}", scale(at / COLUMNS));
        }
        if crate::Library::Nvrtc.is_present() {
            crate::compile(&kernel.source, 90).unwrap_or_else(|problem| panic!("{problem:?}"));
        }
    }

    #[test]
    fn numbers_are_quantized_as_by_a_division() {
        let signed = |bytes: &[u8]| i32::from(bytes[0] as i8);
        let of_rows = r#"int8[128,16] y) <float[128] s = ["location": "seed:1", "low": "0.001", "high": "0.1"]> {
            y = QuantizeLinear <axis: int = 0, output_dtype: int = 3> (x, s) }"#;
        check(of_rows, 0, [-128, 127], signed);
        let with_zero = "uint8[128,16] y) <float s = {0.037}, uint8 z = {3}> { y = QuantizeLinear (x, s, z) }";
        check(with_zero, 3, [0, 255], |bytes| i32::from(bytes[0]));
        let wide = "int16[128,16] y) <float s = {0.3}, int16 z = {-32000}> { y = QuantizeLinear (x, s, z) }";
        check(wide, -32000, [-32768, 32767], |bytes| i32::from(i16::from_le_bytes([bytes[0], bytes[1]])));
        // A scale beyond the ordinary is divided by.
        let tiny = "int8[128,16] y) <float s = {1e-37}> { y = QuantizeLinear <output_dtype: int = 3> (x, s) }";
        check(tiny, 0, [-128, 127], signed);
    }
}
