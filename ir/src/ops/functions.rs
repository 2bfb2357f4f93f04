//! Elementary functions of one real variable: the operators that are one of them, and the formulas that others use.

use super::pointwise::{same_as_first, unary_function};
use crate::eval;
use crate::eval::{Datum, EvalCall, Function, Scalar};
use crate::op::{AttrDef, Call, Fact, Law, OpDef, Param, Reason, Work, sets};
use crate::types::Element::{self, *};

/// The operators of this family.
pub const OPS: &[&OpDef] = &[
    &SQRT_OP,
    &EXP_OP,
    &LOG_OP,
    &ERF_OP,
    &FLOOR_OP,
    &CEIL_OP,
    &ROUND_OP,
    &SIN_OP,
    &COS_OP,
    &TAN_OP,
    &SINH_OP,
    &COSH_OP,
    &ASIN_OP,
    &ACOS_OP,
    &ATAN_OP,
    &ASINH_OP,
    &ACOSH_OP,
    &ATANH_OP,
    &SIGMOID_OP,
    &SOFTPLUS_OP,
    &TANH_OP,
    &IS_NAN,
    &IS_INF,
];

/// Operations that one elementary function is taken to cost.
pub(super) const FLOPS: i64 = 10;

/// Declares a formula and the operator that applies it to each element.
macro_rules! elementary {
    ($($function:ident, $op:ident, $eval:ident: $name:literal $versions:tt ($input:literal -> $output:literal)
        $flops:expr, $doc:literal, $real:expr;)*) => { $(
        pub(super) static $function: Function = Function { name: $name, real: $real };

        static $op: OpDef = OpDef {
            name: $name,
            doc: $doc,
            versions: &$versions,
            inputs: &[Param::required($input, "T")],
            outputs: &[Param::required($output, "T")],
            types: &[("T", sets::FLOAT)],
            infer: same_as_first,
            eval: eval!($eval),
            work: |call, outputs| Work::pointwise(call, outputs, $flops),
            laws: &[Law::Pointwise],
            ..OpDef::BASE
        };

        fn $eval<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
            unary_function(call, &$function)
        }
    )* };
}

elementary! {
    SQRT, SQRT_OP, eval_sqrt: "Sqrt" [1, 6, 13] ("X" -> "Y") 1, "y = square root of x; NaN below zero", f64::sqrt;
    EXP, EXP_OP, eval_exp: "Exp" [1, 6, 13] ("input" -> "output") FLOPS, "y = e to the power of x", f64::exp;
    LOG, LOG_OP, eval_log: "Log" [1, 6, 13] ("input" -> "output") FLOPS, "y = natural logarithm of x", f64::ln;
    ERF, ERF_OP, eval_erf: "Erf" [9, 13] ("input" -> "output") FLOPS, "y = 2/sqrt(pi) * integral of exp(-t^2) from 0 to x", erf;
    FLOOR, FLOOR_OP, eval_floor: "Floor" [1, 6, 13] ("X" -> "Y") 1, "y = the largest whole number up to x", f64::floor;
    CEIL, CEIL_OP, eval_ceil: "Ceil" [1, 6, 13] ("X" -> "Y") 1, "y = the smallest whole number from x on", f64::ceil;
    ROUND, ROUND_OP, eval_round: "Round" [11, 22] ("X" -> "Y") 1, "y = the whole number nearest to x, halves to even",
        f64::round_ties_even;
    SIN, SIN_OP, eval_sin: "Sin" [7, 22] ("input" -> "output") FLOPS, "y = sin x", f64::sin;
    COS, COS_OP, eval_cos: "Cos" [7, 22] ("input" -> "output") FLOPS, "y = cos x", f64::cos;
    TAN, TAN_OP, eval_tan: "Tan" [7, 22] ("input" -> "output") FLOPS, "y = tan x", f64::tan;
    SINH, SINH_OP, eval_sinh: "Sinh" [9, 22] ("input" -> "output") FLOPS, "y = sinh x", f64::sinh;
    COSH, COSH_OP, eval_cosh: "Cosh" [9, 22] ("input" -> "output") FLOPS, "y = cosh x", f64::cosh;
    ASIN, ASIN_OP, eval_asin: "Asin" [7, 22] ("input" -> "output") FLOPS, "y = arcsin x; NaN outside [-1, 1]", f64::asin;
    ACOS, ACOS_OP, eval_acos: "Acos" [7, 22] ("input" -> "output") FLOPS, "y = arccos x; NaN outside [-1, 1]", f64::acos;
    ATAN, ATAN_OP, eval_atan: "Atan" [7, 22] ("input" -> "output") FLOPS, "y = arctan x", f64::atan;
    ASINH, ASINH_OP, eval_asinh: "Asinh" [9, 22] ("input" -> "output") FLOPS, "y = arsinh x", f64::asinh;
    ACOSH, ACOSH_OP, eval_acosh: "Acosh" [9, 22] ("input" -> "output") FLOPS, "y = arcosh x; NaN below 1", f64::acosh;
    ATANH, ATANH_OP, eval_atanh: "Atanh" [9, 22] ("input" -> "output") FLOPS, "y = artanh x; NaN outside [-1, 1]", f64::atanh;
    SIGMOID, SIGMOID_OP, eval_sigmoid: "Sigmoid" [1, 6, 13] ("X" -> "Y") FLOPS, "y = 1 / (1 + exp(-x))",
        |x| 1.0 / (1.0 + (-x).exp());
    SOFTPLUS, SOFTPLUS_OP, eval_softplus: "Softplus" [1, 22] ("X" -> "Y") 2 * FLOPS, "y = log(1 + exp(x))", softplus;
    TANH, TANH_OP, eval_tanh: "Tanh" [1, 6, 13] ("input" -> "output") FLOPS, "y = tanh x", f64::tanh;
}

/// exp(x) - 1, precise near zero.
pub(super) static EXP_M1: Function = Function { name: "Expm1", real: f64::exp_m1 };

/// x * normal distribution function of x, as `Gelu` defines it.
pub(super) static GELU: Function =
    Function { name: "Gelu", real: |x| 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)) };

/// The approximation of [`GELU`] by tanh.
pub(super) static GELU_TANH: Function = Function {
    name: "GeluTanh",
    real: |x| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()),
};

fn softplus(x: f64) -> f64 {
    // log(1 + e^x) == max(x, 0) + log(1 + e^-|x|), which does not overflow. `max` would drop NaN.
    if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() }
}

/// The error function, to 1e-15.
pub(super) fn erf(x: f64) -> f64 {
    if x.is_nan() || x == 0.0 {
        return x;
    }
    if x.abs() > 6.0 {
        return 1f64.copysign(x);
    }
    if x.abs() > 2.0 {
        // Abramowitz and Stegun 7.1.14: sqrt(pi) exp(x^2) erfc(x) == 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + ...)))).
        let tail = (1..=50).rev().fold(x, |rest, k| x + 0.5 * f64::from(k) / rest);
        return (1.0 - (-x * x).exp() * 0.5 * std::f64::consts::FRAC_2_SQRT_PI / tail.abs()).copysign(x);
    }
    // Abramowitz and Stegun 7.1.6: erf(x) == 2/sqrt(pi) * exp(-x^2) * sum of 2^n x^(2n+1) / (1 * 3 * ... * (2n+1)).
    // All terms have one sign, so nothing cancels.
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    loop {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        let next = sum + term;
        if next == sum {
            return std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum;
        }
        sum = next;
    }
}

const WITH_FLOAT8: &[Element] =
    &[Float16, Float, Double, Bfloat16, Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ];

const TEST: OpDef = OpDef {
    inputs: &[Param::required("X", "T1")],
    outputs: &[Param::required("Y", "T2")],
    types: &[("T1", WITH_FLOAT8), ("T2", sets::BOOL)],
    infer: infer_test,
    work: |call, outputs| Work::pointwise(call, outputs, 1),
    laws: &[Law::Pointwise],
    ..OpDef::BASE
};

fn infer_test(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    Ok(vec![Some(Fact::new(Element::Bool, call.ty(0)?.shape.iter().cloned()))])
}

static IS_NAN: OpDef =
    OpDef { name: "IsNaN", doc: "y = whether x is NaN", versions: &[9, 13, 20], eval: eval!(is_nan), ..TEST };

fn is_nan<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    Ok(vec![Datum::of_bool(&x.shape, x.real()?.iter().map(|x| x.to_f64().is_nan()).collect())])
}

static IS_INF: OpDef = OpDef {
    name: "IsInf",
    doc: "y = whether x is infinite, of either sign or of the signs asked for",
    versions: &[10, 20],
    attrs: &[AttrDef::int("detect_negative", 1), AttrDef::int("detect_positive", 1)],
    eval: eval!(is_inf),
    ..TEST
};

fn is_inf<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (negative, positive) = (call.attrs.flag("detect_negative"), call.attrs.flag("detect_positive"));
    let test = |x: &S| {
        let x = x.to_f64();
        (negative && x == f64::NEG_INFINITY) || (positive && x == f64::INFINITY)
    };
    let x = call.input(0)?;
    Ok(vec![Datum::of_bool(&x.shape, x.real()?.iter().map(test).collect())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_has_its_known_values() {
        let known = [
            (0.1, 0.1124629160182849),
            (0.5, 0.5204998778130465),
            (1.0, 0.8427007929497149),
            (2.0, 0.9953222650189527),
            (3.5, 0.9999992569016276),
        ];
        for (x, y) in known {
            assert!((erf(x) - y).abs() <= 4e-16, "{x}: {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert_eq!((erf(0.0), erf(f64::INFINITY), erf(-7.0)), (0.0, 1.0, -1.0));
        assert!(erf(f64::NAN).is_nan() && (-0.0f64).to_bits() == erf(-0.0).to_bits());
    }

    #[test]
    fn softplus_neither_overflows_nor_loses_small_values() {
        assert_eq!(softplus(1000.0), 1000.0);
        assert_eq!(softplus(-40.0), (-40f64).exp());
        assert!(softplus(f64::NAN).is_nan());
    }
}
