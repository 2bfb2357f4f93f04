//! Pointwise operators as expressions of CUDA C++, and operators that reduce rows.

use crate::flat::FlatCall;
use crate::region::{Reduction, literal};
use crate::view::Class;
use eutectic_ir::types::{Element, normalize_axis};

/// What an operator computes of its inputs, `$0`, `$1`, ...
pub(crate) struct Pointwise {
    /// The expression.
    pub template: String,
    /// What it gives.
    pub class: Class,
    /// What the inputs are converted to; `None` leaves them.
    pub wants: Option<Class>,
}

fn class_of(element: Element) -> Class {
    match element {
        Element::Bool => Class::Truth,
        element if element.is_real() => Class::Real,
        _ => Class::Integer,
    }
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
    let class = class_of(element);
    let attribute = |name: &str| literal(f64::from(call.attrs.float(name).unwrap_or(0.0)), Class::Real);
    let real = |template: String| Some(Pointwise { template, class: Class::Real, wants: Some(Class::Real) });
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
    let is_real = class == Class::Real;
    match call.op.name() {
        "Relu" if is_real => real("relu($0)".into()),
        "Sigmoid" => real("sigmoid($0)".into()),
        "Tanh" => real("tanhf($0)".into()),
        "Exp" => real("expf($0)".into()),
        "Log" => real("logf($0)".into()),
        "Sqrt" => real("sqrtf($0)".into()),
        "Erf" => real("erff($0)".into()),
        "Sin" => real("sinf($0)".into()),
        "Cos" => real("cosf($0)".into()),
        "Floor" => real("floorf($0)".into()),
        "Ceil" => real("ceilf($0)".into()),
        "Round" => real("rintf($0)".into()),
        "Reciprocal" => real("(1.f / $0)".into()),
        "Softplus" => real("(larger($0, 0.f) + log1pf(expf(-fabsf($0))))".into()),
        "Softsign" => real("($0 / (1.f + fabsf($0)))".into()),
        "Abs" if is_real => real("fabsf($0)".into()),
        "Abs" => same("llabs($0)"),
        "Neg" => same("(-$0)"),
        "Gelu" if call.attrs.string("approximate") == Some("tanh") => real("gelu_tanh($0)".into()),
        "Gelu" => real("gelu($0)".into()),
        "HardSwish" => real("($0 * __saturatef($0 * (1.f / 6.f) + 0.5f))".into()),
        "HardSigmoid" => real(format!("__saturatef({} * $0 + {})", attribute("alpha"), attribute("beta"))),
        "LeakyRelu" => real(format!("($0 < 0.f ? {} * $0 : $0)", attribute("alpha"))),
        "ThresholdedRelu" => real(format!("($0 > {} ? $0 : 0.f)", attribute("alpha"))),
        "Elu" => real(format!("($0 < 0.f ? {} * expm1f($0) : $0)", attribute("alpha"))),
        "Swish" => real(format!("($0 * sigmoid({} * $0))", attribute("alpha"))),
        "Mish" => real("($0 * tanhf(log1pf(expf($0))))".into()),
        "PRelu" => real("($0 < 0.f ? $1 * $0 : $0)".into()),
        // With a third input it may be training, and what it drops is random.
        "Dropout" if n > 2 => None,
        "Identity" | "Dropout" | "Cast" | "CastLike" => {
            let template = if class == Class::Truth { "($0 != 0)" } else { "$0" };
            Some(Pointwise { template: template.into(), class, wants: (class != Class::Truth).then_some(class) })
        }
        "Add" => same("($0 + $1)"),
        "Sub" => same("($0 - $1)"),
        "Mul" => same("($0 * $1)"),
        "Div" if is_real => same("($0 / $1)"),
        "Div" => same("($1 == 0 ? 0 : $0 / $1)"),
        "Sum" => same(&(1..n).fold(String::from("$0"), |so_far, at| format!("({so_far} + ${at})"))),
        "Max" => same(&folded("larger")),
        "Min" => same(&folded("smaller")),
        "Pow" if is_real => match single(1) {
            Some(2.0) => real("($0 * $0)".into()),
            Some(3.0) => real("($0 * $0 * $0)".into()),
            Some(0.5) => real("sqrtf($0)".into()),
            _ => real("powf($0, $1)".into()),
        },
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

/// What an operator computes of each row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RowOperator {
    /// exp(x - max) over its sum.
    Softmax,
    /// The logarithm of that.
    LogSoftmax,
    /// Mean 0 and variance 1, then scale and bias.
    LayerNormalization { epsilon: f32 },
    /// Mean square 1, then scale.
    RmsNormalization { epsilon: f32 },
    /// One number for each row: a sum, divided by the number of columns when `is_mean`.
    Reduce { reduction: Reduction, is_mean: bool },
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
    let reduce = |reduction, is_mean| {
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
        (!axes.is_empty()).then_some((RowOperator::Reduce { reduction, is_mean }, axes))
    };
    match call.op.name() {
        "Softmax" => Some((RowOperator::Softmax, vec![one("axis")?])),
        "LogSoftmax" => Some((RowOperator::LogSoftmax, vec![one("axis")?])),
        "LayerNormalization" => Some((RowOperator::LayerNormalization { epsilon }, (one("axis")?..rank).collect())),
        "RMSNormalization" => Some((RowOperator::RmsNormalization { epsilon }, (one("axis")?..rank).collect())),
        "ReduceSum" => reduce(Reduction::Sum, false),
        "ReduceMean" => reduce(Reduction::Sum, true),
        "ReduceMax" => reduce(Reduction::Max, false),
        "ReduceMin" => reduce(Reduction::Min, false),
        "GlobalAveragePool" => {
            Some((RowOperator::Reduce { reduction: Reduction::Sum, is_mean: true }, (2..rank).collect()))
        }
        "GlobalMaxPool" => {
            Some((RowOperator::Reduce { reduction: Reduction::Max, is_mean: false }, (2..rank).collect()))
        }
        _ => None,
    }
}
