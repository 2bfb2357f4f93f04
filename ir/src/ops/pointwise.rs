//! What pointwise operators share: broadcasting inference and loops.

use super::content;
use crate::dim::Dim;
use crate::eval::{Broadcast, Contents, Datum, EvalCall, Function, Scalar, broadcast_shape};
use crate::op::{Call, Fact, Reason};
use crate::tensor::count_of;
use crate::types::Element;
use std::cmp::Ordering;

/// Infers one output of the first input's type.
pub(super) fn same_as_first(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    Ok(vec![Some(call.ty(0)?.clone().into())])
}

/// Infers one output of the inputs' broadcast shape and the first input's element type.
pub(super) fn broadcast_all(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let shape = broadcast_dims(call, 0..call.inputs.len())?;
    Ok(vec![Some(Fact::new(call.ty(0)?.element, shape))])
}

/// Infers as [`broadcast_all`], with contents computed by `f` where both inputs have some.
pub(super) fn broadcast_content(
    call: &Call,
    f: impl Fn(&Dim, &Dim) -> Option<Dim>,
) -> Result<Vec<Option<Fact>>, Reason> {
    let fact = Fact::new(call.ty(0)?.element, broadcast_dims(call, 0..call.inputs.len())?);
    let content = content::fold(call, &fact, f);
    Ok(vec![Some(fact.with(content))])
}

/// Infers one truth value for each element of the inputs' broadcast shape, with contents where `f` can tell.
pub(super) fn broadcast_to_bool(
    call: &Call,
    f: impl Fn(&Dim, &Dim) -> Option<bool>,
) -> Result<Vec<Option<Fact>>, Reason> {
    let fact = Fact::new(Element::Bool, broadcast_dims(call, 0..call.inputs.len())?);
    let content = content::fold(call, &fact, |a, b| f(a, b).map(|truth| Dim::known(i64::from(truth))));
    Ok(vec![Some(fact.with(content))])
}

/// The shape to which the inputs in `range` broadcast. A symbolic dim beside a known one other than 1 becomes the known one.
pub(super) fn broadcast_dims(call: &Call, range: std::ops::Range<usize>) -> Result<Vec<Dim>, Reason> {
    let mut result: Vec<Dim> = Vec::new();
    for index in range {
        let shape = &call.ty(index)?.shape;
        if shape.len() > result.len() {
            result.splice(0..0, std::iter::repeat_n(Dim::known(1), shape.len() - result.len()));
        }
        let offset = result.len() - shape.len();
        for (axis, dim) in shape.iter().enumerate() {
            let into = &mut result[offset + axis];
            *into = match broadcast_dim(into, dim) {
                Some(dim) => dim.unwrap_or_else(|| call.fresh(offset + axis)),
                None => {
                    let problem = format!("its dim {dim} meets {into} at axis {axis}");
                    return Err(Reason(format!("input {index} does not broadcast: {problem}")));
                }
            };
        }
    }
    Ok(result)
}

/// What two dims broadcast to: `None` when they cannot, `Some(None)` when it is not known which.
pub(super) fn broadcast_dim(a: &Dim, b: &Dim) -> Option<Option<Dim>> {
    Some(Some(match (a.as_known(), b.as_known()) {
        _ if a == b => a.clone(),
        (Some(1), _) => b.clone(),
        (_, Some(1)) => a.clone(),
        (Some(_), Some(_)) => return None,
        (Some(_), None) => a.clone(),
        (None, Some(_)) => b.clone(),
        (None, None) if b.is_minimum_of(a) => a.clone(),
        (None, None) if a.is_minimum_of(b) => b.clone(),
        (None, None) => return Some(None),
    }))
}

/// Applies `f` to each real element of the first input; `ordered` says that `f` compares.
pub(super) fn unary_real<S: Scalar>(
    call: &EvalCall<S>,
    ordered: bool,
    f: impl Fn(S) -> S,
) -> Result<Vec<Datum<S>>, Reason> {
    if ordered {
        needs_order::<S>()?;
    }
    let x = call.input(0)?;
    Ok(vec![Datum::of_real(x.element, &x.shape, x.real()?.iter().map(|&x| f(x)).collect())])
}

/// Applies a real function to each element of the first input.
pub(super) fn unary_function<S: Scalar>(call: &EvalCall<S>, function: &Function) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>(function.name)?;
    unary_real(call, false, |x| x.apply(function))
}

/// Applies one of two functions to each element of the first input, by its kind. Integers are wrapped afterwards.
pub(super) fn unary_numeric<S: Scalar>(
    call: &EvalCall<S>,
    ordered: bool,
    real: impl Fn(S) -> S,
    int: impl Fn(i128) -> i128,
) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    match &x.contents {
        Contents::Int(elements) => {
            Ok(vec![Datum::of_int(x.element, &x.shape, elements.iter().map(|&x| int(x)).collect())])
        }
        _ => unary_real(call, ordered, real),
    }
}

/// Applies one of two functions to each pair of elements of the broadcast first two inputs, by their kind.
///
/// Integers are computed exactly and wrapped to their width afterwards.
pub(super) fn binary_numeric<S: Scalar>(
    call: &EvalCall<S>,
    real: impl Fn(S, S) -> S,
    int: impl Fn(i128, i128) -> Result<i128, Reason>,
) -> Result<Vec<Datum<S>>, Reason> {
    Ok(vec![combine(call.input(0)?, call.input(1)?, real, int)?])
}

/// Applies one of two functions from left to right over all inputs, broadcast.
pub(super) fn variadic_numeric<S: Scalar>(
    call: &EvalCall<S>,
    real: impl Fn(S, S) -> S,
    int: impl Fn(i128, i128) -> Result<i128, Reason>,
) -> Result<Datum<S>, Reason> {
    let mut result = call.input(0)?.clone();
    for index in 1..call.inputs.len() {
        result = combine(&result, call.input(index)?, &real, &int)?;
    }
    Ok(result)
}

fn combine<S: Scalar>(
    a: &Datum<S>,
    b: &Datum<S>,
    real: impl Fn(S, S) -> S,
    int: impl Fn(i128, i128) -> Result<i128, Reason>,
) -> Result<Datum<S>, Reason> {
    let shape = broadcast(&[a, b])?;
    Ok(match (&a.contents, &b.contents) {
        (Contents::Real(x), Contents::Real(y)) => {
            Datum::of_real(a.element, &shape, zip(&a.shape, x, &b.shape, y, &shape, real))
        }
        (Contents::Int(x), Contents::Int(y)) => {
            let results = zip(&a.shape, x, &b.shape, y, &shape, int).into_iter().collect::<Result<_, _>>()?;
            Datum::of_int(a.element, &shape, results)
        }
        _ => return Err(mismatch(a, b)),
    })
}

/// That two inputs are of kinds that do not go together.
pub(super) fn mismatch<S>(a: &Datum<S>, b: &Datum<S>) -> Reason {
    Reason(format!("{} and {} do not go together", a.element, b.element))
}

/// The larger of two numbers; NaN when one is. +0 counts as larger than -0, so that the order of the two is immaterial.
pub(super) fn maximum<S: Scalar>(a: S, b: S) -> S {
    match a.compare(b) {
        Some(Ordering::Less) => b,
        Some(Ordering::Greater) => a,
        Some(Ordering::Equal) if a == S::from_int(0) => a.add(b),
        Some(Ordering::Equal) => a,
        None if a.compare(a).is_none() => a,
        None => b,
    }
}

/// The smaller of two numbers; NaN when one is. -0 counts as smaller than +0.
pub(super) fn minimum<S: Scalar>(a: S, b: S) -> S {
    maximum(a.neg(), b.neg()).neg()
}

/// The shape to which `data` broadcast. Errors: they do not, or the result is unreasonably larger than they are.
pub(super) fn broadcast<S: Scalar>(data: &[&Datum<S>]) -> Result<Vec<usize>, Reason> {
    let shape = broadcast_shape(data.iter().map(|datum| datum.shape.as_slice())).ok_or_else(|| {
        let shapes: Vec<String> = data.iter().map(|datum| format!("{:?}", datum.shape)).collect();
        Reason(format!("the shapes {} do not broadcast", shapes.join(" and ")))
    })?;
    affordable(&shape, data.iter().map(|datum| datum.count()).max().unwrap_or(0))?;
    Ok(shape)
}

/// Elements that a result may have beyond the size of its inputs.
const MOST_BEYOND: usize = 1 << 28;

/// The number of elements of a result of `shape`, computed from inputs of at most `given` elements.
///
/// Errors: out of proportion to them; a small file must not ask for all memory.
pub(super) fn affordable(shape: &[usize], given: usize) -> Result<usize, Reason> {
    count_of(shape)
        .filter(|&count| count <= given.max(MOST_BEYOND))
        .ok_or_else(|| Reason(format!("a result of shape {shape:?} is too large to evaluate")))
}

/// `f` of each pair of elements, both tensors read as if they had the shape `to`.
pub(super) fn zip<A: Copy, B: Copy, R>(
    a_shape: &[usize],
    a: &[A],
    b_shape: &[usize],
    b: &[B],
    to: &[usize],
    f: impl Fn(A, B) -> R,
) -> Vec<R> {
    if a_shape == to && b_shape == to {
        return a.iter().zip(b).map(|(&x, &y)| f(x, y)).collect();
    }
    let (left, right) = (Broadcast::new(a_shape, to), Broadcast::new(b_shape, to));
    let ((left_run, left_step), (right_run, right_step)) = (left.run(), right.run());
    let run = left_run.min(right_run);
    if run < 8 || left_run % run != 0 || right_run % run != 0 {
        return left.offsets().zip(right.offsets()).map(|(i, j)| f(a[i], b[j])).collect();
    }
    // Long inner runs: only their starts are looked up, the inner loops vectorize.
    let mut result = Vec::with_capacity(count_of(to).unwrap_or(0));
    for (i, j) in left.starts(run).zip(right.starts(run)) {
        match (left_step, right_step) {
            (0, 0) => result.extend(std::iter::repeat_with(|| f(a[i], b[j])).take(run)),
            (0, _) => result.extend(b[j..j + run].iter().map(|&y| f(a[i], y))),
            (_, 0) => result.extend(a[i..i + run].iter().map(|&x| f(x, b[j]))),
            _ => result.extend(a[i..i + run].iter().zip(&b[j..j + run]).map(|(&x, &y)| f(x, y))),
        }
    }
    result
}

/// Errors when the carrier has no order.
pub(super) fn needs_order<S: Scalar>() -> Result<(), Reason> {
    if S::ORDERED { Ok(()) } else { Err(Reason(format!("{} has no order", S::NAME))) }
}

/// Errors when the carrier has no real functions.
pub(super) fn needs_functions<S: Scalar>(name: &str) -> Result<(), Reason> {
    if S::TRANSCENDENTAL { Ok(()) } else { Err(Reason(format!("{} has no {name}", S::NAME))) }
}
