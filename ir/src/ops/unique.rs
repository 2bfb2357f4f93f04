//! What occurs in a tensor, each once.

use super::lanes::Lanes;
use super::pointwise::{affordable, needs_order};
use crate::attr::AttrKind;
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::types::{Element, normalize_axis};
use std::cmp::Ordering;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&UNIQUE];

static UNIQUE: OpDef = OpDef {
    name: "Unique",
    doc: "Each element, or each slice along the axis, once; where it occurs first, which one each is, and how often",
    versions: &[11],
    inputs: &[Param::required("X", "T")],
    outputs: &[
        Param::required("Y", "T"),
        Param::optional("indices", "tensor(int64)"),
        Param::optional("inverse_indices", "tensor(int64)"),
        Param::optional("counts", "tensor(int64)"),
    ],
    attrs: &[AttrDef::optional("axis", AttrKind::Int), AttrDef::int("sorted", 1)],
    types: &[("T", sets::EARLY), ("tensor(int64)", sets::INT64)],
    infer: infer_unique,
    eval: eval!(unique),
    // Sorting takes about log2 of the number of slices for each element; 10 stands for a thousand of them.
    work: |call, outputs| Work::reduction(call, outputs, 10),
    ..OpDef::BASE
};

/// The axis whose slices are compared; `None` when single elements are. Errors: out of range.
fn sliced_axis(axis: Option<i64>, rank: usize) -> Result<Option<usize>, Reason> {
    let in_range = |axis: i64| {
        normalize_axis(axis, rank).ok_or_else(|| Reason(format!("axis {axis} is out of range for rank {rank}")))
    };
    axis.map(in_range).transpose()
}

fn infer_unique(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let x = call.ty(0)?;
    let n_unique = call.fresh(0);
    let (shape, n_slices) = match sliced_axis(call.attrs.int("axis"), x.rank())? {
        Some(axis) => {
            let mut shape = x.shape.clone();
            let n_slices = std::mem::replace(&mut shape[axis], n_unique.clone());
            (shape, n_slices)
        }
        None => (vec![n_unique.clone()], x.count().unwrap_or_else(|| call.fresh(1))),
    };
    let vector = |length: Dim| Fact::new(Element::Int64, [length]);
    let facts = [Fact::new(x.element, shape), vector(n_unique.clone()), vector(n_slices), vector(n_unique)];
    Ok(facts.into_iter().take(call.n_outputs.max(1)).map(Some).collect())
}

fn unique<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let axis = sliced_axis(call.attrs.int("axis"), x.rank())?;
    let (shape, at) = match axis {
        Some(axis) => (x.shape.clone(), axis),
        None => (vec![x.count()], 0),
    };
    affordable(&shape[at..at + 1], x.count())?;
    let (n_slices, lanes) = (shape[at], Lanes::new(&shape, at..at + 1));
    // An empty tensor has no lanes, but perhaps slices: they are all the same.
    let offset =
        |slice: usize, lane: usize| (lane / lanes.inner * lanes.len + slice) * lanes.inner + lane % lanes.inner;
    let n_lanes = lanes.outer * lanes.inner;
    fn compare<'a, T>(
        elements: &'a [T],
        n_lanes: usize,
        offset: &'a dyn Fn(usize, usize) -> usize,
        order: impl Fn(&T, &T) -> Ordering + 'a,
    ) -> Box<dyn Fn(usize, usize) -> Ordering + 'a> {
        Box::new(move |a, b| {
            let orders = (0..n_lanes).map(|lane| order(&elements[offset(a, lane)], &elements[offset(b, lane)]));
            orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        })
    }
    let order = match &x.contents {
        Contents::Real(elements) => {
            needs_order::<S>()?;
            // NaN counts as larger than every number and the same as itself, so that there is an order.
            let nan = |x: &S| x.compare(*x).is_none();
            compare(elements, n_lanes, &offset, move |a: &S, b: &S| {
                a.compare(*b).unwrap_or_else(|| nan(a).cmp(&nan(b)))
            })
        }
        Contents::Int(elements) => compare(elements, n_lanes, &offset, i128::cmp),
        Contents::Bool(elements) => compare(elements, n_lanes, &offset, bool::cmp),
        Contents::Text(elements) => compare(elements, n_lanes, &offset, Ord::cmp),
        // As NumPy orders them: by the real part, then by the imaginary one.
        Contents::Complex(elements) => compare(elements, n_lanes, &offset, |[a, b]: &[f64; 2], [c, d]: &[f64; 2]| {
            a.total_cmp(c).then(b.total_cmp(d))
        }),
    };
    let mut slices: Vec<usize> = (0..n_slices).collect();
    slices.sort_by(|&a, &b| order(a, b));
    // Sorting is stable: the first slice of each group is the one that occurs first.
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for slice in slices {
        match groups.last_mut() {
            Some(group) if order(group[0], slice).is_eq() => group.push(slice),
            _ => groups.push(vec![slice]),
        }
    }
    if !call.attrs.flag("sorted") {
        groups.sort_by_key(|group| group[0]);
    }
    let mut inverse = vec![0; n_slices];
    for (at, group) in groups.iter().enumerate() {
        group.iter().for_each(|&slice| inverse[slice] = at as i64);
    }
    let mut result = shape.clone();
    result[at] = groups.len();
    let sources = (0..lanes.outer).flat_map(|outer| {
        let groups = &groups;
        groups.iter().flat_map(move |group| (0..lanes.inner).map(move |inner| Some((outer, group[0], inner))))
    });
    let sources =
        sources.map(|place| place.map(|(outer, slice, inner)| (outer * lanes.len + slice) * lanes.inner + inner));
    let y = x.gathered(&result, sources)?;
    let first: Vec<i64> = groups.iter().map(|group| group[0] as i64).collect();
    let counts: Vec<i64> = groups.iter().map(|group| group.len() as i64).collect();
    let vector = |values: &[i64]| Datum::of_i64s(&[values.len()], values);
    let mut outputs = vec![y, vector(&first), vector(&inverse), vector(&counts)];
    outputs.truncate(call.n_outputs.max(1));
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::ops::cases::infer_outputs;

    #[test]
    fn only_the_number_of_what_is_unique_is_unknown() {
        let flat = "int32[?t.0]; int64[?t.0]; int64[3*n]; int64[?t.0]";
        assert_eq!(infer_outputs("Unique", &[], &["int32[n,3]"], 4), flat);
        let sliced = "int32[n,?t.0]; int64[?t.0]; int64[3]; int64[?t.0]";
        assert_eq!(infer_outputs("Unique", &[("axis", Attr::Int(-1))], &["int32[n,3]"], 4), sliced);
        let refused = "axis 2 is out of range for rank 2";
        assert_eq!(infer_outputs("Unique", &[("axis", Attr::Int(2))], &["int32[n,3]"], 4), refused);
    }
}
