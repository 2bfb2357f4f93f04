//! Reductions along axes, and running sums and products.

use super::arithmetic::absolute;
use super::cast::integer_range;
use super::content;
use super::functions::{EXP, FLOPS, LOG, SQRT};
use super::lanes::{Lanes, groups, reduced_shape};
use super::pointwise::{maximum, minimum, needs_functions, needs_order, same_as_first};
use super::shape::{contents, distinct_axes};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::types::Element::*;
use crate::types::normalize_axis;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[
    &REDUCE_SUM,
    &REDUCE_MEAN,
    &REDUCE_MAX,
    &REDUCE_MIN,
    &REDUCE_PROD,
    &REDUCE_L1,
    &REDUCE_L2,
    &REDUCE_LOG_SUM,
    &REDUCE_LOG_SUM_EXP,
    &REDUCE_SUM_SQUARE,
    &CUM_SUM,
    &CUM_PROD,
];

const REDUCTION: OpDef = OpDef {
    versions: &[1, 11, 13, 18],
    inputs: &[Param::required("data", "T"), Param::optional("axes", "I")],
    outputs: &[Param::required("reduced", "T")],
    attrs: &[AttrDef::int("keepdims", 1), AttrDef::int("noop_with_empty_axes", 0)],
    types: &[("T", sets::HIGH_PRECISION), ("I", sets::INT64)],
    infer: |call| infer_reduction(call, None),
    work: |call, outputs| Work::reduction(call, outputs, 1),
    ..OpDef::BASE
};

/// The axes that are reduced, when `given` ones are named: all for none, or none at all where the call asks for that.
fn reduced_axes(given: &[i64], rank: usize, noop: bool) -> Result<Vec<usize>, Reason> {
    match given {
        [] if noop => Ok(Vec::new()),
        [] => Ok((0..rank).collect()),
        axes => distinct_axes(axes, rank),
    }
}

/// Infers the reduced type; `f` makes contents out of the contents of a vector that is reduced whole.
fn infer_reduction(call: &Call, f: Option<fn(&[Dim]) -> Option<Dim>>) -> Result<Vec<Option<Fact>>, Reason> {
    let (data, keep, noop) = (call.input(0)?, call.attrs.flag("keepdims"), call.attrs.flag("noop_with_empty_axes"));
    let element = data.ty.element;
    let rank = data.ty.rank();
    let given = match call.given(1) {
        None => Some(Vec::new()),
        Some(axes) => axes.ints(),
    };
    let Some(given) = given else {
        // Axes are distinct, so their number tells the rank even where they themselves are not known.
        let n_axes = call.given(1).and_then(|axes| axes.ty.count()).and_then(|count| count.as_size());
        let rank = match n_axes {
            _ if keep => rank,
            Some(0) if noop => rank,
            Some(0) => 0,
            Some(n) if n <= rank => rank - n,
            Some(n) => return Err(Reason(format!("{n} axes of {rank} are reduced"))),
            None => return Ok(vec![None]),
        };
        return Ok(vec![Some(Fact::new(element, (0..rank).map(|at| call.fresh(at))))]);
    };
    let axes = reduced_axes(&given, rank, noop)?;
    let fact = Fact::new(element, reduced_shape(&data.ty.shape, &axes, keep, Dim::known(1)));
    let content = match (f, contents(data)) {
        (Some(f), Some(dims)) if axes.len() == rank => {
            f(&dims).and_then(|dim| content::checked(fact.tensor()?, vec![dim]))
        }
        _ => None,
    };
    Ok(vec![Some(fact.with(content))])
}

/// Reduces each group of elements by one of two functions, by their kind. Integers are wrapped afterwards.
fn reduce<S: Scalar>(
    call: &EvalCall<S>,
    real: impl Fn(&[S]) -> S,
    int: impl Fn(&[i128]) -> Result<i128, Reason>,
) -> Result<Vec<Datum<S>>, Reason> {
    let data = call.input(0)?;
    let axes = axes_of(call, data.rank())?;
    let shape = reduced_shape(&data.shape, &axes, call.attrs.flag("keepdims"), 1);
    Ok(vec![match &data.contents {
        Contents::Real(elements) => {
            Datum::of_real(data.element, &shape, groups(elements, &data.shape, &axes, |group| Ok(real(group)))?)
        }
        Contents::Int(elements) => Datum::of_int(data.element, &shape, groups(elements, &data.shape, &axes, int)?),
        _ => return Err(Reason(format!("{} is not reduced", data.element))),
    }])
}

fn axes_of<S: Scalar>(call: &EvalCall<S>, rank: usize) -> Result<Vec<usize>, Reason> {
    let given = if call.given(1).is_some() { call.ints(1)? } else { Vec::new() };
    reduced_axes(&given, rank, call.attrs.flag("noop_with_empty_axes"))
}

fn total(group: &[i128]) -> i128 {
    group.iter().fold(0i128, |sum, &x| sum.wrapping_add(x))
}

static REDUCE_SUM: OpDef = OpDef {
    name: "ReduceSum",
    doc: "The sum along the axes",
    versions: &[1, 11, 13],
    infer: |call| infer_reduction(call, Some(|dims| dims.iter().try_fold(Dim::known(0), |sum, dim| sum.add(dim)))),
    eval: eval!(reduce_sum),
    ..REDUCTION
};

fn reduce_sum<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    reduce(call, |group| S::sum(group.iter().copied()), |group| Ok(total(group)))
}

static REDUCE_MEAN: OpDef = OpDef {
    name: "ReduceMean",
    doc: "The mean along the axes; of integers, rounded towards zero",
    eval: eval!(reduce_mean),
    ..REDUCTION
};

fn reduce_mean<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let real = |group: &[S]| S::sum(group.iter().copied()).div(S::from_int(group.len() as i128));
    let int = |group: &[i128]| match group.len() {
        0 => Err(Reason::new("no integer is the mean of no elements")),
        n => Ok(total(group) / n as i128),
    };
    reduce(call, real, int)
}

const EXTREME: OpDef = OpDef {
    versions: &[1, 11, 12, 13, 18, 20],
    types: &[
        ("T", &[Bool, Uint8, Uint32, Uint64, Int8, Int32, Int64, Float16, Float, Double, Bfloat16]),
        ("I", sets::INT64),
    ],
    ..REDUCTION
};

static REDUCE_MAX: OpDef = OpDef {
    name: "ReduceMax",
    doc: "The largest element along the axes; NaN when one is",
    infer: |call| infer_reduction(call, Some(|dims| fold_dims(dims, content::max))),
    eval: eval!(reduce_max),
    ..EXTREME
};

fn fold_dims(dims: &[Dim], f: fn(&Dim, &Dim) -> Option<Dim>) -> Option<Dim> {
    let (first, rest) = dims.split_first()?;
    rest.iter().try_fold(first.clone(), |best, dim| f(&best, dim))
}

fn reduce_max<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    extreme(call, true)
}

static REDUCE_MIN: OpDef = OpDef {
    name: "ReduceMin",
    doc: "The smallest element along the axes; NaN when one is",
    infer: |call| infer_reduction(call, Some(|dims| fold_dims(dims, content::min))),
    eval: eval!(reduce_min),
    ..EXTREME
};

fn reduce_min<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    extreme(call, false)
}

/// The largest or the smallest element; of none, the one that every other outdoes.
fn extreme<S: Scalar>(call: &EvalCall<S>, largest: bool) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    let data = call.input(0)?;
    if let Contents::Bool(elements) = &data.contents {
        let axes = axes_of(call, data.rank())?;
        let shape = reduced_shape(&data.shape, &axes, call.attrs.flag("keepdims"), 1);
        let found = |group: &[bool]| Ok(group.contains(&largest) == largest);
        return Ok(vec![Datum::of_bool(&shape, groups(elements, &data.shape, &axes, found)?)]);
    }
    let (choose, worst): (fn(S, S) -> S, f64) =
        if largest { (maximum, f64::NEG_INFINITY) } else { (minimum, f64::INFINITY) };
    let real = |group: &[S]| group.iter().copied().reduce(choose).unwrap_or_else(|| S::from_f64(worst));
    let (low, high) = integer_range(data.element).unwrap_or_default();
    let int = |group: &[i128]| {
        let best = if largest { group.iter().max() } else { group.iter().min() };
        Ok(best.copied().unwrap_or(if largest { low } else { high }))
    };
    reduce(call, real, int)
}

static REDUCE_PROD: OpDef = OpDef {
    name: "ReduceProd",
    doc: "The product along the axes",
    infer: |call| {
        infer_reduction(call, Some(|dims| dims.iter().try_fold(Dim::known(1), |product, dim| product.mul(dim))))
    },
    eval: eval!(reduce_prod),
    ..REDUCTION
};

fn reduce_prod<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let real = |group: &[S]| group.iter().copied().fold(S::from_int(1), S::mul);
    reduce(call, real, |group| Ok(group.iter().fold(1i128, |product, &x| product.wrapping_mul(x))))
}

static REDUCE_L1: OpDef = OpDef {
    name: "ReduceL1",
    doc: "The sum of absolute values along the axes",
    eval: eval!(reduce_l1),
    work: |call, outputs| Work::reduction(call, outputs, 2),
    ..REDUCTION
};

fn reduce_l1<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    let real = |group: &[S]| S::sum(group.iter().map(|&x| absolute(x)));
    reduce(call, real, |group| Ok(group.iter().fold(0i128, |sum, x| sum.wrapping_add(x.abs()))))
}

static REDUCE_L2: OpDef = OpDef {
    name: "ReduceL2",
    doc: "The square root of the sum of squares along the axes",
    eval: eval!(reduce_l2),
    work: |call, outputs| Work::reduction(call, outputs, 2),
    ..REDUCTION
};

fn reduce_l2<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("square root")?;
    let real = |group: &[S]| S::dot(group.iter().map(|&x| (x, x))).apply(&SQRT);
    let squares = |group: &[i128]| group.iter().try_fold(0i128, |sum, &x| sum.checked_add(x.checked_mul(x)?));
    reduce(call, real, |group| {
        squares(group).map(i128::isqrt).ok_or_else(|| Reason::new("the sum of squares exceeds 128 bits"))
    })
}

const LOGARITHMIC: OpDef = OpDef {
    versions: &[1, 11, 13, 18, 28],
    types: &[("T", sets::FLOAT), ("I", sets::INT64)],
    work: |call, outputs| Work::reduction(call, outputs, FLOPS),
    ..REDUCTION
};

static REDUCE_LOG_SUM: OpDef = OpDef {
    name: "ReduceLogSum",
    doc: "The logarithm of the sum along the axes",
    eval: eval!(reduce_log_sum),
    ..LOGARITHMIC
};

fn reduce_log_sum<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("logarithm")?;
    reduce(call, |group| S::sum(group.iter().copied()).apply(&LOG), |_| Err(no_logarithm()))
}

static REDUCE_LOG_SUM_EXP: OpDef = OpDef {
    name: "ReduceLogSumExp",
    doc: "The logarithm of the sum of exponentials along the axes",
    eval: eval!(reduce_log_sum_exp),
    ..LOGARITHMIC
};

fn reduce_log_sum_exp<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("logarithm")?;
    reduce(call, log_sum_exp, |_| Err(no_logarithm()))
}

fn no_logarithm() -> Reason {
    Reason::new("integers have no logarithm since version 28")
}

fn log_sum_exp<S: Scalar>(group: &[S]) -> S {
    if S::EXACT {
        return S::sum(group.iter().map(|x| x.apply(&EXP))).apply(&LOG);
    }
    let largest = group.iter().copied().reduce(maximum).unwrap_or_else(|| S::from_f64(f64::NEG_INFINITY));
    // Without this, infinity minus itself would make NaN.
    if largest.to_f64().is_infinite() {
        return largest;
    }
    largest.add(S::sum(group.iter().map(|x| x.sub(largest).apply(&EXP))).apply(&LOG))
}

static REDUCE_SUM_SQUARE: OpDef = OpDef {
    name: "ReduceSumSquare",
    doc: "The sum of squares along the axes",
    eval: eval!(reduce_sum_square),
    work: |call, outputs| Work::reduction(call, outputs, 2),
    ..REDUCTION
};

fn reduce_sum_square<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let int = |group: &[i128]| Ok(group.iter().fold(0i128, |sum, x| sum.wrapping_add(x.wrapping_mul(*x))));
    reduce(call, |group| S::dot(group.iter().map(|&x| (x, x))), int)
}

static CUM_SUM: OpDef = OpDef {
    name: "CumSum",
    doc: "The sum of the elements up to each one along an axis, that one included unless exclusive",
    versions: &[11, 14],
    inputs: &[Param::required("x", "T"), Param::required("axis", "T2")],
    outputs: &[Param::required("y", "T")],
    attrs: &[AttrDef::int("exclusive", 0), AttrDef::int("reverse", 0)],
    types: &[("T", sets::HIGH_PRECISION), ("T2", sets::INDEX)],
    infer: infer_cumulative,
    eval: eval!(cum_sum),
    work: |call, outputs| Work::pointwise(call, outputs, 1),
    ..OpDef::BASE
};

fn infer_cumulative(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let rank = call.ty(0)?.rank();
    let axis = contents(call.input(1)?).and_then(|axis| axis.first()?.as_known());
    if let Some(axis) = axis.filter(|&axis| normalize_axis(axis, rank).is_none()) {
        return Err(Reason(format!("axis {axis} is out of range for rank {rank}")));
    }
    same_as_first(call)
}

fn cum_sum<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    cumulative(call, 0, S::add, i128::wrapping_add)
}

static CUM_PROD: OpDef = OpDef {
    name: "CumProd",
    doc: "The product of the elements up to each one along an axis, that one included unless exclusive",
    versions: &[26],
    inputs: &[Param::required("x", "T"), Param::required("axis", "T2")],
    outputs: &[Param::required("y", "T")],
    attrs: &[AttrDef::int("exclusive", 0), AttrDef::int("reverse", 0)],
    types: &[("T", sets::HIGH_PRECISION), ("T2", sets::INDEX)],
    infer: infer_cumulative,
    eval: eval!(cum_prod),
    work: |call, outputs| Work::pointwise(call, outputs, 1),
    ..OpDef::BASE
};

fn cum_prod<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    // Wrapping at 128 bits does not disturb the lower ones.
    cumulative(call, 1, S::mul, i128::wrapping_mul)
}

/// The elements up to each one along an axis, joined by `real` or `int`, of which `neutral` is the neutral element.
fn cumulative<S: Scalar>(
    call: &EvalCall<S>,
    neutral: i128,
    real: impl Fn(S, S) -> S,
    int: impl Fn(i128, i128) -> i128,
) -> Result<Vec<Datum<S>>, Reason> {
    let (x, axis) = (call.input(0)?, call.ints(1)?);
    let [axis] = axis[..] else { return Err(Reason::new("the axis is one number")) };
    let at = normalize_axis(axis, x.rank());
    let at = at.ok_or_else(|| Reason(format!("axis {axis} is out of range for rank {}", x.rank())))?;
    let lanes = Lanes::new(&x.shape, at..at + 1);
    let (exclusive, reverse) = (call.attrs.flag("exclusive"), call.attrs.flag("reverse"));
    Ok(vec![match &x.contents {
        Contents::Real(elements) => {
            let results = running(elements, &lanes, exclusive, reverse, S::from_int(neutral), real);
            Datum::of_real(x.element, &x.shape, results)
        }
        Contents::Int(elements) => {
            Datum::of_int(x.element, &x.shape, running(elements, &lanes, exclusive, reverse, neutral, int))
        }
        _ => return Err(Reason(format!("{} is no number", x.element))),
    }])
}

fn running<T: Copy>(
    elements: &[T],
    lanes: &Lanes,
    exclusive: bool,
    reverse: bool,
    neutral: T,
    join: impl Fn(T, T) -> T,
) -> Vec<T> {
    let mut result = elements.to_vec();
    for start in lanes.starts() {
        let mut total = neutral;
        for step in 0..lanes.len {
            let at = start + lanes.inner * if reverse { lanes.len - 1 - step } else { step };
            let next = join(total, elements[at]);
            result[at] = if exclusive { total } else { next };
            total = next;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::infer;

    #[test]
    fn unknown_axes_leave_the_rank_when_their_number_tells_it() {
        let keep = |keep: i64| [("keepdims", crate::attr::Attr::Int(keep))];
        assert_eq!(infer("ReduceSum", &keep(0), &["float[a,b,c]", "int64[2]"]), "float[?t.0]");
        assert_eq!(infer("ReduceSum", &keep(1), &["float[a,b]", "int64[n]"]), "float[?t.0,?t.1]");
        assert_eq!(infer("ReduceSum", &keep(0), &["float[a,b]", "int64[n]"]), "?");
        assert_eq!(infer("ReduceSum", &keep(0), &["float[a,b,c]", "int64[1] = -1"]), "float[a,b]");
    }

    #[test]
    fn the_product_of_a_shape_stays_symbolic() {
        let keep = [("keepdims", crate::attr::Attr::Int(0))];
        assert_eq!(infer("ReduceProd", &keep, &["int64[3] = n,3,m"]), "int64[] = 3*m*n");
        assert_eq!(infer("ReduceMax", &keep, &["int64[2] = n,n + 1"]), "int64[] = n + 1");
        assert_eq!(infer("ReduceMax", &keep, &["int64[2] = n,m"]), "int64[]");
    }
}
