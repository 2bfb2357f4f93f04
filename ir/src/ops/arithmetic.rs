//! Arithmetic: sums, products and their like, element by element over broadcast inputs.

use super::content;
use super::pointwise::{
    binary_numeric, broadcast_all, broadcast_content, maximum, minimum, mismatch, needs_functions, needs_order,
    same_as_first, unary_numeric, unary_real, variadic_numeric, zip,
};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, Law, OpDef, Param, Reason, Work, sets};
use crate::types::Element::*;
use std::cmp::Ordering;

/// The operators of this family.
pub const OPS: &[&OpDef] =
    &[&ADD, &SUB, &MUL, &DIV, &POW, &MOD, &NEG, &ABS, &RECIPROCAL, &SIGN, &MAX, &MIN, &SUM, &MEAN];

const BINARY: OpDef = OpDef {
    inputs: &[Param::required("A", "T"), Param::required("B", "T")],
    outputs: &[Param::required("C", "T")],
    types: &[("T", sets::NUMERIC)],
    infer: broadcast_all,
    work: |call, outputs| Work::pointwise(call, outputs, 1),
    laws: &[Law::Pointwise],
    ..OpDef::BASE
};

static ADD: OpDef = OpDef {
    name: "Add",
    doc: "c = a + b",
    versions: &[1, 6, 7, 13, 14],
    infer: |call| broadcast_content(call, Dim::add),
    eval: eval!(add),
    laws: &[Law::Pointwise, Law::Commutative],
    ..BINARY
};

fn add<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    binary_numeric(call, S::add, |a, b| Ok(a + b))
}

static SUB: OpDef = OpDef {
    name: "Sub",
    doc: "c = a - b",
    versions: &[1, 6, 7, 13, 14],
    infer: |call| broadcast_content(call, Dim::sub),
    eval: eval!(sub),
    ..BINARY
};

fn sub<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    binary_numeric(call, S::sub, |a, b| Ok(a - b))
}

static MUL: OpDef = OpDef {
    name: "Mul",
    doc: "c = a * b",
    versions: &[1, 6, 7, 13, 14],
    infer: |call| broadcast_content(call, Dim::mul),
    eval: eval!(mul),
    laws: &[Law::Pointwise, Law::Commutative],
    ..BINARY
};

fn mul<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    // The product of two 64-bit integers may wrap even here; its low 64 bits, all that is kept, are right.
    binary_numeric(call, S::mul, |a, b| Ok(a.wrapping_mul(b)))
}

static DIV: OpDef = OpDef {
    name: "Div",
    doc: "c = a / b; integers are rounded towards zero",
    versions: &[1, 6, 7, 13, 14],
    infer: |call| broadcast_content(call, content::div),
    eval: eval!(div),
    ..BINARY
};

fn div<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    binary_numeric(call, S::div, |a, b| a.checked_div(b).ok_or_else(|| Reason::new("an integer is divided by zero")))
}

static POW: OpDef = OpDef {
    name: "Pow",
    doc: "z = x to the power of y, in the type of x",
    versions: &[1, 7, 12, 13, 15],
    inputs: &[Param::required("X", "T"), Param::required("Y", "T1")],
    outputs: &[Param::required("Z", "T")],
    types: &[("T", &[Int32, Int64, Float16, Float, Double, Bfloat16]), ("T1", sets::NUMERIC)],
    eval: eval!(pow),
    work: |call, outputs| Work::pointwise(call, outputs, super::functions::FLOPS),
    ..BINARY
};

fn pow<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (base, exponent) = (call.input(0)?, call.input(1)?);
    let shape = super::pointwise::broadcast(&[base, exponent])?;
    let (from, by) = (base.shape.as_slice(), exponent.shape.as_slice());
    Ok(vec![match (&base.contents, &exponent.contents) {
        (Contents::Real(x), Contents::Real(y)) => {
            let powers: Result<Vec<S>, Reason> = zip(from, x, by, y, &shape, real_power).into_iter().collect();
            Datum::of_real(base.element, &shape, powers?)
        }
        (Contents::Real(x), Contents::Int(y)) => {
            let power = |x: S, y: i128| real_power(x, S::from_int(y));
            let powers: Result<Vec<S>, Reason> = zip(from, x, by, y, &shape, power).into_iter().collect();
            Datum::of_real(base.element, &shape, powers?)
        }
        (Contents::Int(x), Contents::Int(y)) => {
            let powers: Result<Vec<i128>, Reason> = zip(from, x, by, y, &shape, int_power).into_iter().collect();
            Datum::of_int(base.element, &shape, powers?)
        }
        (Contents::Int(x), Contents::Real(y)) => {
            needs_functions::<S>("power")?;
            let power = |x: i128, y: S| super::cast::truncated((x as f64).powf(y.to_f64()));
            let powers: Result<Vec<i128>, Reason> = zip(from, x, by, y, &shape, power).into_iter().collect();
            Datum::of_int(base.element, &shape, powers?)
        }
        _ => return Err(mismatch(base, exponent)),
    }])
}

fn real_power<S: Scalar>(base: S, exponent: S) -> Result<S, Reason> {
    if S::TRANSCENDENTAL {
        return Ok(base.power(exponent));
    }
    // Small whole powers are products, which every carrier has.
    let times = (0..=64).find(|&times| S::from_int(times) == exponent);
    let times = times.ok_or_else(|| Reason(format!("{} has no power", S::NAME)))?;
    Ok((0..times).fold(S::from_int(1), |product, _| product.mul(base)))
}

fn int_power(base: i128, exponent: i128) -> Result<i128, Reason> {
    match (base, u128::try_from(exponent)) {
        (_, Ok(mut left)) => {
            let (mut factor, mut result) = (base, 1i128);
            while left > 0 {
                if left & 1 == 1 {
                    result = result.wrapping_mul(factor);
                }
                factor = factor.wrapping_mul(factor);
                left >>= 1;
            }
            Ok(result)
        }
        (0, Err(_)) => Err(Reason::new("zero is raised to a negative power")),
        (1, Err(_)) => Ok(1),
        (-1, Err(_)) => Ok(if exponent & 1 == 0 { 1 } else { -1 }),
        (_, Err(_)) => Ok(0),
    }
}

static MOD: OpDef = OpDef {
    name: "Mod",
    doc: "c = a - b * floor(a / b); with fmod, a - b * truncate(a / b)",
    versions: &[10, 13, 28],
    attrs: &[AttrDef::int("fmod", 0)],
    infer: infer_mod,
    eval: eval!(modulo),
    ..BINARY
};

fn infer_mod(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let truncates = call.attrs.flag("fmod");
    // Both remainders agree where nothing is negative.
    broadcast_content(call, |a, b| if truncates && !content::never_negative(a) { None } else { content::modulo(a, b) })
}

fn modulo<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let truncates = call.attrs.flag("fmod");
    if call.input(0)?.real().is_ok() {
        needs_order::<S>()?;
    }
    // The truncated remainder of two floats is a float of the same format: doubles lose nothing here.
    let real = |a: S, b: S| {
        let (a, b) = (a.to_f64(), b.to_f64());
        let rest = a % b;
        S::from_f64(match truncates {
            true => rest,
            false if rest == 0.0 => rest.copysign(b),
            false if (rest < 0.0) != (b < 0.0) => rest + b,
            false => rest,
        })
    };
    binary_numeric(call, real, |a, b| {
        let rest = a.checked_rem(b).ok_or_else(|| Reason::new("an integer is divided by zero"))?;
        Ok(if !truncates && rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
    })
}

const UNARY: OpDef = OpDef {
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    infer: same_as_first,
    work: |call, outputs| Work::pointwise(call, outputs, 1),
    laws: &[Law::Pointwise],
    ..OpDef::BASE
};

static NEG: OpDef = OpDef {
    name: "Neg",
    doc: "y = -x",
    versions: &[1, 6, 13],
    types: &[("T", sets::SIGNED)],
    infer: |call| infer_unary(call, |x| x.mul(&Dim::known(-1))),
    eval: eval!(neg),
    ..UNARY
};

fn neg<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    unary_numeric(call, false, S::neg, |x| -x)
}

static ABS: OpDef = OpDef {
    name: "Abs",
    doc: "y = |x|",
    versions: &[1, 6, 13],
    types: &[("T", sets::NUMERIC)],
    infer: |call| infer_unary(call, |x| content::max(x, &x.mul(&Dim::known(-1))?)),
    eval: eval!(abs),
    ..UNARY
};

fn abs<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    unary_numeric(call, true, absolute, i128::abs)
}

/// |x|, of -0 as well.
pub(super) fn absolute<S: Scalar>(x: S) -> S {
    let zero = S::from_int(0);
    match x.compare(zero) {
        Some(Ordering::Less) => x.neg(),
        Some(Ordering::Equal) => zero,
        _ => x,
    }
}

fn infer_unary(call: &Call, f: impl Fn(&Dim) -> Option<Dim>) -> Result<Vec<Option<Fact>>, Reason> {
    let fact = Fact::from(call.ty(0)?.clone());
    let content = content::map(call, &fact, f);
    Ok(vec![Some(fact.with(content))])
}

static RECIPROCAL: OpDef = OpDef {
    name: "Reciprocal",
    doc: "y = 1 / x",
    versions: &[1, 6, 13],
    types: &[("T", sets::FLOAT)],
    eval: eval!(reciprocal),
    ..UNARY
};

fn reciprocal<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let one = S::from_int(1);
    unary_real(call, false, |x| one.div(x))
}

static SIGN: OpDef = OpDef {
    name: "Sign",
    doc: "y = 1, 0 or -1, as x is positive, zero or negative",
    versions: &[9, 13],
    inputs: &[Param::required("input", "T")],
    outputs: &[Param::required("output", "T")],
    types: &[("T", sets::NUMERIC)],
    eval: eval!(sign),
    ..UNARY
};

fn sign<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let zero = S::from_int(0);
    let real = |x: S| match x.compare(zero) {
        Some(order) => S::from_int(order as i128),
        None => x,
    };
    unary_numeric(call, true, real, i128::signum)
}

const VARIADIC: OpDef = OpDef {
    inputs: &[Param::variadic("data_0", "T")],
    infer: broadcast_all,
    work: variadic_work,
    laws: &[Law::Pointwise, Law::Commutative],
    ..OpDef::BASE
};

fn variadic_work(call: &Call, outputs: &[crate::types::TensorType]) -> Option<Work> {
    Work::pointwise(call, outputs, i64::try_from(call.inputs.len()).ok()?)
}

static MAX: OpDef = OpDef {
    name: "Max",
    doc: "The largest of the inputs; NaN when one is",
    versions: &[1, 6, 8, 12, 13],
    outputs: &[Param::required("max", "T")],
    types: &[("T", sets::NUMERIC)],
    infer: |call| broadcast_content(call, content::max),
    eval: eval!(max),
    ..VARIADIC
};

fn max<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    Ok(vec![variadic_numeric(call, maximum, |a, b| Ok(a.max(b)))?])
}

static MIN: OpDef = OpDef {
    name: "Min",
    doc: "The smallest of the inputs; NaN when one is",
    versions: &[1, 6, 8, 12, 13],
    outputs: &[Param::required("min", "T")],
    types: &[("T", sets::NUMERIC)],
    infer: |call| broadcast_content(call, content::min),
    eval: eval!(min),
    ..VARIADIC
};

fn min<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    Ok(vec![variadic_numeric(call, minimum, |a, b| Ok(a.min(b)))?])
}

static SUM: OpDef = OpDef {
    name: "Sum",
    doc: "The sum of the inputs",
    versions: &[1, 6, 8, 13],
    outputs: &[Param::required("sum", "T")],
    types: &[("T", sets::FLOAT)],
    eval: eval!(sum),
    ..VARIADIC
};

fn sum<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    Ok(vec![variadic_numeric(call, S::add, |a, b| Ok(a + b))?])
}

static MEAN: OpDef = OpDef {
    name: "Mean",
    doc: "The sum of the inputs over their number",
    versions: &[1, 6, 8, 13],
    outputs: &[Param::required("mean", "T")],
    types: &[("T", sets::FLOAT)],
    eval: eval!(mean),
    ..VARIADIC
};

fn mean<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let total = variadic_numeric(call, S::add, |a, b| Ok(a + b))?;
    let n = S::from_int(call.inputs.len() as i128);
    let means = total.real()?.iter().map(|&sum| sum.div(n)).collect();
    Ok(vec![Datum::of_real(total.element, &total.shape, means)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::Attrs;
    use crate::eval::run_tensors;
    use crate::graph::Op;
    use crate::ops::cases::infer;

    fn run(op: &'static OpDef, inputs: &[Datum<f32>]) -> Result<Vec<f64>, Reason> {
        let inputs: Vec<Option<Datum<f32>>> = inputs.iter().cloned().map(Some).collect();
        let attrs = op.complete(Attrs::new()).expect("defaults");
        let result = run_tensors(&Op::Builtin(op), &attrs, &inputs, 1).map_err(|error| error.reason)?;
        Ok(match &result[0].contents {
            Contents::Real(elements) => elements.iter().map(|&x| x.into()).collect(),
            Contents::Int(elements) => elements.iter().map(|&x| x as f64).collect(),
            _ => Vec::new(),
        })
    }

    fn int(element: crate::types::Element, value: i128) -> Datum<f32> {
        Datum::of_int(element, &[], vec![value])
    }

    #[test]
    fn shape_arithmetic_stays_symbolic_and_says_nothing_it_cannot_know() {
        assert_eq!(infer("Add", &[], &["int64[2] = n,3", "int64[] = 1"]), "int64[2] = n + 1,4");
        assert_eq!(infer("Mul", &[], &["int64[1] = n", "int64[1] = m"]), "int64[1] = m*n");
        assert_eq!(infer("Div", &[], &["int64[1] = n", "int64[] = 2"]), "int64[1] = floor((n)/(2))");
        assert_eq!(infer("Div", &[], &["int64[1] = n - 1", "int64[] = 2"]), "int64[1]");
        assert_eq!(infer("Div", &[], &["int64[1] = -7", "int64[] = 2"]), "int64[1] = -3");
        assert_eq!(infer("Mod", &[], &["int64[1] = -7", "int64[] = 4"]), "int64[1] = 1");
        assert_eq!(infer("Add", &[], &["int8[1] = 127", "int8[1] = 1"]), "int8[1]");
        assert_eq!(infer("Mul", &[], &["int64[1] = 4611686018427387904", "int64[1] = 2"]), "int64[1]");
    }

    #[test]
    fn integers_wrap_to_their_width_and_do_not_divide_by_zero() {
        assert_eq!(run(&MUL, &[int(Uint64, u64::MAX.into()), int(Uint64, u64::MAX.into())]), Ok(vec![1.0]));
        assert_eq!(run(&DIV, &[int(Int8, -128), int(Int8, -1)]), Ok(vec![-128.0]));
        assert_eq!(run(&NEG, &[int(Int64, i64::MIN.into())]), Ok(vec![i64::MIN as f64]));
        assert!(run(&DIV, &[int(Int32, 1), int(Int32, 0)]).is_err());
        assert!(run(&MOD, &[int(Int32, 1), int(Int32, 0)]).is_err());
        assert!(run(&POW, &[int(Int32, 0), int(Int32, -1)]).is_err());
    }

    #[test]
    fn the_extremes_keep_nan_and_order_the_zeros() {
        let both = |a: f32, b: f32| [Datum::of_real(Float, &[], vec![a]), Datum::of_real(Float, &[], vec![b])];
        for (a, b) in [(0.0, -0.0), (-0.0, 0.0)] {
            assert_eq!(run(&MAX, &both(a, b)).map(|found| found[0].is_sign_negative()), Ok(false));
            assert_eq!(run(&MIN, &both(a, b)).map(|found| found[0].is_sign_negative()), Ok(true));
        }
        assert!(run(&MAX, &both(f32::NAN, 1.0)).is_ok_and(|found| found[0].is_nan()));
        assert!(run(&MIN, &both(1.0, f32::NAN)).is_ok_and(|found| found[0].is_nan()));
    }

    #[test]
    fn a_small_input_does_not_broadcast_to_all_of_memory() {
        let column = Datum::of_real(Float, &[1 << 17, 1], vec![0.0; 1 << 17]);
        let row = Datum::of_real(Float, &[1, 1 << 17], vec![0.0; 1 << 17]);
        assert!(run(&ADD, &[column, row]).is_err());
        let empty = Datum::of_real(Float, &[0, usize::MAX, usize::MAX], Vec::new());
        assert_eq!(run(&ADD, &[empty.clone(), empty]), Ok(Vec::new()));
    }
}
