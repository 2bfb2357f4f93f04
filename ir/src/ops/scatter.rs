//! Operators that write where a tensor of indices says.

use crate::attr::Attrs;
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Fact, OpDef, Param, Reason, Work, sets};
use crate::ops::indexing::{element_places, vector_places};
use crate::ops::lanes::Lanes;
use crate::ops::movement::picked;
use crate::ops::pointwise::needs_order;
use crate::ops::shape::count_of;
use crate::types::Element::{self, *};
use std::cmp::Ordering;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&SCATTER_ELEMENTS, &SCATTER_ND, &TENSOR_SCATTER];

static SCATTER_ELEMENTS: OpDef = OpDef {
    name: "ScatterElements",
    doc: "The data, with each update written or reduced into its own place but for one axis, where the index says",
    versions: &[11, 13, 16, 18],
    inputs: &[Param::required("data", "T"), Param::required("indices", "Tind"), Param::required("updates", "T")],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::int("axis", 0), AttrDef::string("reduction", "none")],
    types: &[("T", sets::STANDARD), ("Tind", sets::INDEX)],
    infer: |call| {
        let data = call.ty(0)?;
        call.axis("axis", data.rank())?;
        let reduction = call.attrs.string("reduction");
        Reduction::parse(reduction)?;
        for index in [1, 2] {
            if call.ty(index)?.rank() != data.rank() {
                return Err(Reason(format!("input {index} has another rank than data {data}")));
            }
        }
        Ok(vec![Some(Fact::from(data.clone()))])
    },
    eval: eval!(scatter_elements),
    work: |call, outputs| Work::streaming(call, outputs, call.ty(2).ok()?.count()?),
    ..OpDef::BASE
};

fn scatter_elements<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (data, indices, updates) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let axis = call.axis("axis", data.rank())?;
    if indices.shape != updates.shape {
        return Err(Reason(format!("indices {:?} and updates {:?} differ", indices.shape, updates.shape)));
    }
    let places = element_places(&data.shape, &indices.shape, axis, &indices.to_i64s()?)?;
    let reduction = Reduction::parse(call.attrs.string("reduction"))?;
    Ok(vec![scattered(data, updates, places.into_iter().enumerate().map(|(from, to)| (to, from)), reduction)?])
}

static SCATTER_ND: OpDef = OpDef {
    name: "ScatterND",
    doc: "The data, with each slice of the updates written or reduced into the place that its vector of indices names",
    versions: &[11, 13, 16, 18],
    inputs: &[
        Param::required("data", "T"),
        Param::required("indices", "tensor(int64)"),
        Param::required("updates", "T"),
    ],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::string("reduction", "none")],
    types: &[("T", sets::STANDARD), ("tensor(int64)", sets::INT64)],
    infer: |call| {
        Reduction::parse(call.attrs.string("reduction"))?;
        let (data, indices) = (call.ty(0)?, call.ty(1)?);
        match indices.shape.last().map(|depth| depth.as_known()) {
            None => Err(Reason::new("the indices are a scalar")),
            Some(Some(depth)) if depth > data.rank() as i64 => {
                Err(Reason(format!("indices of {depth} axes exceed the rank {}", data.rank())))
            }
            _ => Ok(vec![Some(Fact::from(data.clone()))]),
        }
    },
    eval: eval!(scatter_nd),
    work: |call, outputs| Work::streaming(call, outputs, call.ty(2).ok()?.count()?),
    ..OpDef::BASE
};

fn scatter_nd<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (data, indices, updates) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let Some((&depth, lead)) = indices.shape.split_last() else { return Err(Reason::new("the indices are a scalar")) };
    if depth > data.rank() {
        return Err(Reason(format!("indices of {depth} axes exceed the rank {}", data.rank())));
    }
    let expected = [lead, &data.shape[depth..]].concat();
    if updates.shape != expected {
        return Err(Reason(format!("updates have shape {:?}, {expected:?} is expected", updates.shape)));
    }
    let starts = vector_places(&data.shape, depth, &indices.to_i64s()?, count_of(lead)?)?;
    let inner: usize = data.shape[depth..].iter().product();
    let pairs =
        starts.into_iter().enumerate().flat_map(|(from, to)| (0..inner).map(move |at| (to + at, from * inner + at)));
    Ok(vec![scattered(data, updates, pairs, Reduction::parse(call.attrs.string("reduction"))?)?])
}

/// The element types of `TensorScatter`.
const CACHE_TYPES: &[Element] = &[
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Bfloat16,
    Float16,
    Float,
    Double,
    String,
    Bool,
    Complex64,
    Complex128,
    Float8E4M3FN,
    Float8E4M3FNUZ,
    Float8E5M2,
    Float8E5M2FNUZ,
    Uint4,
    Int4,
    Float4E2M1,
    Float8E8M0,
];

static TENSOR_SCATTER: OpDef = OpDef {
    name: "TensorScatter",
    doc: "The cache, with each sample's update written along the sequence axis from its write index on, perhaps around",
    versions: &[24],
    inputs: &[
        Param::required("past_cache", "T"),
        Param::required("update", "T"),
        Param::optional("write_indices", "tensor(int64)"),
    ],
    outputs: &[Param::required("present_cache", "T")],
    attrs: &[AttrDef::int("axis", -2), AttrDef::string("mode", "linear")],
    types: &[("T", CACHE_TYPES), ("tensor(int64)", sets::INT64)],
    infer: |call| {
        let (cache, update) = (call.ty(0)?, call.ty(1)?);
        let axis = sequence_axis(call.axis("axis", cache.rank())?)?;
        wraps(call.attrs)?;
        let fits = |(at, (dim, of_update)): (usize, (&Dim, &Dim))| {
            let known = dim.as_known().zip(of_update.as_known());
            known.is_none_or(|(dim, of_update)| of_update == dim || (at == axis && of_update < dim))
        };
        if update.rank() != cache.rank() || !cache.shape.iter().zip(&update.shape).enumerate().all(fits) {
            return Err(Reason(format!("an update {update} does not go with a cache {cache}")));
        }
        if let Some(indices) = call.given(2) {
            let apart = |dim: &Dim| dim.as_known().zip(cache.shape[0].as_known()).is_some_and(|(a, b)| a != b);
            if indices.ty.rank() != 1 || indices.ty.shape.iter().any(apart) {
                return Err(Reason(format!("write indices {} do not go with a cache {cache}", indices.ty)));
            }
        }
        Ok(vec![Some(Fact::from(cache.clone()))])
    },
    eval: eval!(tensor_scatter),
    work: |call, outputs| Work::streaming(call, outputs, Dim::known(0)),
    ..OpDef::BASE
};

fn sequence_axis(axis: usize) -> Result<usize, Reason> {
    if axis == 0 { Err(Reason::new("axis 0 is the batch, not the sequence")) } else { Ok(axis) }
}

/// Whether writing goes on at the start of the cache when its end is reached.
fn wraps(attrs: &Attrs) -> Result<bool, Reason> {
    match attrs.string("mode") {
        Some("linear") => Ok(false),
        Some("circular") => Ok(true),
        other => Err(Reason(format!("attribute `mode` is `{}`", other.unwrap_or_default()))),
    }
}

fn tensor_scatter<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (cache, update) = (call.input(0)?, call.input(1)?);
    let axis = sequence_axis(call.axis("axis", cache.rank())?)?;
    let circular = wraps(call.attrs)?;
    let (longest, length) = (cache.shape[axis], update.shape.get(axis).copied().unwrap_or(0));
    let mut expected = cache.shape.clone();
    expected[axis] = length;
    if update.shape != expected || length > longest {
        return Err(Reason(format!("an update {:?} does not go with a cache {:?}", update.shape, cache.shape)));
    }
    if cache.count() == 0 {
        return Ok(vec![cache.clone()]);
    }
    let starts = match call.given(2) {
        Some(starts) => starts.to_i64s()?,
        None => vec![0; cache.shape[0]],
    };
    if starts.len() != cache.shape[0] {
        return Err(Reason(format!("{} write indices for {} samples", starts.len(), cache.shape[0])));
    }
    let (lanes, updates) = (Lanes::new(&cache.shape, axis..axis + 1), Lanes::new(&update.shape, axis..axis + 1));
    let mut sources: Vec<(usize, usize)> = (0..cache.count()).map(|at| (0, at)).collect();
    // Without lanes nothing is written, and the write indices do not matter.
    let per_sample = updates.outer / cache.shape[0].max(1);
    for outer in 0..updates.outer {
        let start = starts[outer / per_sample.max(1)];
        let first = if circular { start.checked_rem_euclid(longest as i64) } else { Some(start) };
        let first = first.and_then(|first| usize::try_from(first).ok());
        let first = first.filter(|&first| circular || first <= longest - length);
        let first = first.ok_or_else(|| Reason(format!("{length} of {longest} places from index {start} on")))?;
        for (at, inner) in (0..length).flat_map(|at| (0..lanes.inner).map(move |inner| (at, inner))) {
            let to = (outer * longest + (first + at) % longest) * lanes.inner + inner;
            sources[to] = (1, (outer * length + at) * lanes.inner + inner);
        }
    }
    Ok(vec![picked(&[cache, update], &cache.shape, sources.into_iter())?])
}

/// What becomes of an element and its update.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reduction {
    Replace,
    Add,
    Mul,
    Max,
    Min,
}

impl Reduction {
    fn parse(text: Option<&str>) -> Result<Self, Reason> {
        match text {
            Some("none") => Ok(Self::Replace),
            Some("add") => Ok(Self::Add),
            Some("mul") => Ok(Self::Mul),
            Some("max") => Ok(Self::Max),
            Some("min") => Ok(Self::Min),
            other => Err(Reason(format!("attribute `reduction` is {other:?}"))),
        }
    }

    fn real<S: Scalar>(self, old: S, new: S) -> S {
        let keeps = |order| old.compare(new) == Some(order) || old.compare(old).is_none();
        match self {
            Self::Replace => new,
            Self::Add => old.add(new),
            Self::Mul => old.mul(new),
            Self::Max => {
                if keeps(Ordering::Greater) {
                    old
                } else {
                    new
                }
            }
            Self::Min => {
                if keeps(Ordering::Less) {
                    old
                } else {
                    new
                }
            }
        }
    }

    fn int(self, old: i128, new: i128) -> i128 {
        match self {
            Self::Replace => new,
            Self::Add => old.wrapping_add(new),
            Self::Mul => old.wrapping_mul(new),
            Self::Max => old.max(new),
            Self::Min => old.min(new),
        }
    }
}

/// `data` after the update at each second offset went to the first, in order.
fn scattered<S: Scalar>(
    data: &Datum<S>,
    updates: &Datum<S>,
    pairs: impl Iterator<Item = (usize, usize)>,
    reduction: Reduction,
) -> Result<Datum<S>, Reason> {
    if reduction == Reduction::Replace {
        let mut from: Vec<(usize, usize)> = (0..data.count()).map(|at| (0, at)).collect();
        for (to, update) in pairs {
            from[to] = (1, update);
        }
        return picked(&[data, updates], &data.shape, from.into_iter());
    }
    Ok(match &data.contents {
        Contents::Real(old) => {
            if matches!(reduction, Reduction::Max | Reduction::Min) {
                needs_order::<S>()?;
            }
            let (mut values, new) = (old.to_vec(), updates.real()?);
            pairs.for_each(|(to, from)| values[to] = reduction.real(values[to], new[from]));
            Datum::of_real(data.element, &data.shape, values)
        }
        Contents::Int(old) => {
            let (mut values, new) = (old.to_vec(), updates.int()?);
            let wrap = |value| eval::wrap(data.element, value);
            pairs.for_each(|(to, from)| values[to] = wrap(reduction.int(values[to], new[from])));
            Datum::of_int(data.element, &data.shape, values)
        }
        // Truth values form the lattice in which a sum is a maximum and a product a minimum.
        Contents::Bool(old) => {
            let (mut values, new) = (old.to_vec(), updates.bool()?);
            let join = matches!(reduction, Reduction::Add | Reduction::Max);
            pairs.for_each(|(to, from)| {
                values[to] = if join { values[to] | new[from] } else { values[to] & new[from] };
            });
            Datum::of_bool(&data.shape, values)
        }
        Contents::Text(_) | Contents::Complex(_) => {
            return Err(Reason(format!("elements of {} are only replaced", data.element)));
        }
    })
}
