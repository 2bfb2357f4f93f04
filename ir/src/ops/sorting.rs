//! Choosing by order along an axis.

use super::lanes::{Lanes, reduced_shape};
use super::pointwise::needs_order;
use super::shape::contents;
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::types::Element;
use std::cmp::Ordering;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&ARG_MAX, &ARG_MIN, &TOP_K];

const ARG: OpDef = OpDef {
    versions: &[1, 11, 12, 13],
    inputs: &[Param::required("data", "T")],
    outputs: &[Param::required("reduced", "I")],
    attrs: &[AttrDef::int("axis", 0), AttrDef::int("keepdims", 1), AttrDef::int("select_last_index", 0)],
    types: &[("T", sets::NUMERIC), ("I", sets::INT64)],
    infer: infer_arg,
    work: |call, outputs| Work::reduction(call, outputs, 1),
    ..OpDef::BASE
};

fn infer_arg(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let data = call.ty(0)?;
    let axis = call.axis("axis", data.rank())?;
    let shape = reduced_shape(&data.shape, &[axis], call.attrs.flag("keepdims"), Dim::known(1));
    Ok(vec![Some(Fact::new(Element::Int64, shape))])
}

static ARG_MAX: OpDef =
    OpDef { name: "ArgMax", doc: "The index of the largest element along the axis", eval: eval!(arg_max), ..ARG };

fn arg_max<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    arg(call, Ordering::Greater)
}

static ARG_MIN: OpDef =
    OpDef { name: "ArgMin", doc: "The index of the smallest element along the axis", eval: eval!(arg_min), ..ARG };

fn arg_min<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    arg(call, Ordering::Less)
}

/// The first (or last) index whose element is `wanted` compared with all others. NaN outdoes every number, as in NumPy.
fn arg<S: Scalar>(call: &EvalCall<S>, wanted: Ordering) -> Result<Vec<Datum<S>>, Reason> {
    let data = call.input(0)?;
    let axis = call.axis("axis", data.rank())?;
    let last = call.attrs.flag("select_last_index");
    let better = |order: Ordering| order == wanted || (last && order == Ordering::Equal);
    let found = match &data.contents {
        Contents::Real(elements) => {
            needs_order::<S>()?;
            best(elements, &data.shape, axis, |x, than| match x.compare(*than) {
                Some(order) => better(order),
                None => match (is_nan(x), is_nan(than)) {
                    (true, true) => last,
                    (nan, _) => nan,
                },
            })
        }
        Contents::Int(elements) => best(elements, &data.shape, axis, |x, than| better(x.cmp(than))),
        _ => return Err(Reason(format!("{} has no order", data.element))),
    };
    let shape = reduced_shape(&data.shape, &[axis], call.attrs.flag("keepdims"), 1);
    let found: Vec<i128> = found.into_iter().map(|at| at as i128).collect();
    // An axis without elements has no lanes here, but its result would have elements.
    if crate::tensor::count_of(&shape) != Some(found.len()) {
        return Err(Reason::new("the axis is empty"));
    }
    Ok(vec![Datum::of_int(Element::Int64, &shape, found)])
}

fn is_nan<S: Scalar>(x: &S) -> bool {
    x.compare(*x).is_none()
}

fn best<T>(elements: &[T], shape: &[usize], axis: usize, better: impl Fn(&T, &T) -> bool) -> Vec<usize> {
    let lanes = Lanes::new(shape, axis..axis + 1);
    let place = |start: usize, at: usize| &elements[start + at * lanes.inner];
    let best_of =
        |start| (1..lanes.len).fold(0, |best, at| if better(place(start, at), place(start, best)) { at } else { best });
    lanes.starts().map(best_of).collect()
}

static TOP_K: OpDef = OpDef {
    name: "TopK",
    doc: "The k largest (or smallest) elements along the axis in order, and their indices; of equal ones the first",
    versions: &[1, 10, 11, 24],
    inputs: &[Param::required("X", "T"), Param::required("K", "K")],
    outputs: &[Param::required("Values", "T"), Param::required("Indices", "I")],
    attrs: &[AttrDef::int("axis", -1), AttrDef::int("largest", 1), AttrDef::int("sorted", 1)],
    types: &[("T", sets::NUMERIC), ("K", sets::INT64), ("I", sets::INT64)],
    infer: infer_top_k,
    eval: eval!(top_k),
    // Sorting takes about log2 of the length of a lane for each element; 10 stands for lanes of a thousand.
    work: |call, outputs| Work::reduction(call, outputs, 10),
    ..OpDef::BASE
};

fn infer_top_k(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let data = call.ty(0)?;
    let axis = call.axis("axis", data.rank())?;
    let k = contents(call.input(1)?).and_then(|dims| dims.into_iter().next());
    if let (Some(k), Some(len)) = (k.as_ref().and_then(Dim::as_known), data.shape[axis].as_known())
        && (k < 0 || k > len)
    {
        return Err(Reason(format!("{k} elements are wanted of {len}")));
    }
    let mut shape = data.shape.clone();
    shape[axis] = k.unwrap_or_else(|| call.fresh(0));
    Ok(vec![Some(Fact::new(data.element, shape.clone())), Some(Fact::new(Element::Int64, shape))])
}

fn top_k<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (data, k) = (call.input(0)?, call.ints(1)?);
    let axis = call.axis("axis", data.rank())?;
    let len = data.shape[axis];
    let k = match k[..] {
        [k] => usize::try_from(k)
            .ok()
            .filter(|&k| k <= len)
            .ok_or_else(|| Reason(format!("{k} elements are wanted of {len}")))?,
        _ => return Err(Reason::new("K is one number")),
    };
    let largest = call.attrs.flag("largest");
    let directed = |order: Ordering| if largest { order.reverse() } else { order };
    let lanes = Lanes::new(&data.shape, axis..axis + 1);
    let ranks = match &data.contents {
        Contents::Real(elements) => {
            needs_order::<S>()?;
            // NaN counts as larger than every number, so that there is an order.
            let order = |x: &S, y: &S| x.compare(*y).unwrap_or_else(|| is_nan(x).cmp(&is_nan(y)));
            ranked(elements, &lanes, k, |x, y| directed(order(x, y)))
        }
        Contents::Int(elements) => ranked(elements, &lanes, k, |x, y| directed(x.cmp(y))),
        _ => return Err(Reason(format!("{} has no order", data.element))),
    };
    let mut shape = data.shape.clone();
    shape[axis] = k;
    let mut indices = vec![0i128; ranks.len() * k];
    let mut sources = vec![0usize; ranks.len() * k];
    for (lane_at, (start, chosen)) in lanes.starts().zip(&ranks).enumerate() {
        let (outer, inner) = (lane_at / lanes.inner, lane_at % lanes.inner);
        for (rank, &at) in chosen.iter().enumerate() {
            let to = (outer * k + rank) * lanes.inner + inner;
            (indices[to], sources[to]) = (at as i128, start + at * lanes.inner);
        }
    }
    let values = data.gathered(&shape, sources.into_iter().map(Some))?;
    Ok(vec![values, Datum::of_int(Element::Int64, &shape, indices)])
}

/// The places within each lane of its first `k` elements in `order`.
fn ranked<T>(elements: &[T], lanes: &Lanes, k: usize, order: impl Fn(&T, &T) -> Ordering) -> Vec<Vec<usize>> {
    let rank = |start: usize| {
        let mut places: Vec<usize> = (0..lanes.len).collect();
        places.sort_by(|&i, &j| order(&elements[start + i * lanes.inner], &elements[start + j * lanes.inner]));
        places.truncate(k);
        places
    };
    lanes.starts().map(rank).collect()
}
