//! Operators that read where a tensor of indices says.

use crate::attr::AttrKind;
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Scalar, each_index, strides_of};
use crate::op::{AttrDef, Call, Fact, OpDef, Operand, Param, Reason, sets};
use crate::ops::movement::picked;
use crate::ops::shape::{contents, count_of};
use crate::types::{Element, normalize_axis};

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&GATHER, &GATHER_ELEMENTS, &GATHER_ND, &ONE_HOT, &NON_ZERO, &COMPRESS];

/// `index` as a place of an axis of `size`, counted from the end when negative. Errors: out of range.
pub(super) fn place(index: i64, size: usize) -> Result<usize, Reason> {
    normalize_axis(index, size).ok_or_else(|| Reason(format!("index {index} is out of range for an axis of {size}")))
}

static GATHER: OpDef = OpDef {
    name: "Gather",
    doc: "Each index replaced by the slice of the data that it names along one axis",
    versions: &[1, 11, 13],
    inputs: &[Param::required("data", "T"), Param::required("indices", "Tind")],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::int("axis", 0)],
    types: &[("T", sets::STANDARD), ("Tind", sets::INDEX)],
    infer: infer_gather,
    eval: eval!(gather),
    ..OpDef::BASE
};

fn infer_gather(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let (data, indices) = (call.input(0)?, call.input(1)?);
    let axis = call.axis("axis", data.ty.rank())?;
    let (before, rest) = data.ty.shape.split_at(axis);
    let shape: Vec<Dim> = before.iter().chain(&indices.ty.shape).chain(&rest[1..]).cloned().collect();
    let content = match (contents(data), contents(indices)) {
        (Some(all), Some(indices)) => {
            let known: Option<Vec<i64>> = indices.iter().map(Dim::as_known).collect();
            let take = |index: i64| place(index, all.len()).map(|at| all[at].clone());
            known.map(|known| known.into_iter().map(take).collect::<Result<Vec<_>, _>>()).transpose()?
        }
        _ => None,
    };
    Ok(vec![Some(Fact::new(data.ty.element, shape).with(content))])
}

fn gather<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (data, indices) = (call.input(0)?, call.input(1)?);
    let axis = call.axis("axis", data.rank())?;
    let size = data.shape[axis];
    let places = indices.to_i64s()?.into_iter().map(|index| place(index, size)).collect::<Result<Vec<_>, _>>()?;
    let shape = [&data.shape[..axis], &indices.shape, &data.shape[axis + 1..]].concat();
    if count_of(&shape)? == 0 {
        return Ok(vec![data.gathered(&shape, std::iter::empty())?]);
    }
    let outer: usize = data.shape[..axis].iter().product();
    let inner: usize = data.shape[axis + 1..].iter().product();
    let starts = (0..outer).flat_map(|row| places.iter().map(move |at| (row * size + at) * inner));
    Ok(vec![data.gathered(&shape, starts.flat_map(|start| (start..start + inner).map(Some)))?])
}

static GATHER_ELEMENTS: OpDef = OpDef {
    name: "GatherElements",
    doc: "Each index replaced by the element at its own place, but for one axis, where the index says",
    versions: &[11, 13],
    inputs: &[Param::required("data", "T"), Param::required("indices", "Tind")],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::int("axis", 0)],
    types: &[("T", sets::STANDARD), ("Tind", sets::INDEX)],
    infer: |call| {
        let (data, indices) = (call.ty(0)?, call.ty(1)?);
        call.axis("axis", data.rank())?;
        if data.rank() != indices.rank() {
            return Err(Reason(format!("indices {indices} have another rank than data {data}")));
        }
        Ok(vec![Some(Fact::new(data.element, indices.shape.clone()))])
    },
    eval: eval!(gather_elements),
    ..OpDef::BASE
};

fn gather_elements<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (data, indices) = (call.input(0)?, call.input(1)?);
    let axis = call.axis("axis", data.rank())?;
    let from = element_places(&data.shape, &indices.shape, axis, &indices.to_i64s()?)?;
    Ok(vec![data.gathered(&indices.shape, from.into_iter().map(Some))?])
}

/// The offset in `shape` that each index names: its own place in `index_shape`, but along `axis` where it says.
pub(super) fn element_places(
    shape: &[usize],
    index_shape: &[usize],
    axis: usize,
    indices: &[i64],
) -> Result<Vec<usize>, Reason> {
    let fits = |at: usize| at == axis || index_shape[at] <= shape[at];
    if shape.len() != index_shape.len() || !(0..shape.len()).all(fits) {
        return Err(Reason(format!("indices of shape {index_shape:?} do not lie in data of shape {shape:?}")));
    }
    let strides = strides_of(shape);
    let mut places = Vec::with_capacity(indices.len());
    let mut rest = indices.iter();
    each_index(index_shape, |index| {
        let at = place(*rest.next().unwrap_or(&0), shape[axis])?;
        let own: usize = index.iter().zip(&strides).map(|(index, stride)| index * stride).sum();
        places.push(own - index[axis] * strides[axis] + at * strides[axis]);
        Ok::<(), Reason>(())
    })?;
    Ok(places)
}

static GATHER_ND: OpDef = OpDef {
    name: "GatherND",
    doc: "Each vector of indices replaced by the slice of the data that it names; leading batch_dims go in step",
    versions: &[11, 12, 13],
    inputs: &[Param::required("data", "T"), Param::required("indices", "tensor(int64)")],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::int("batch_dims", 0)],
    types: &[("T", sets::STANDARD), ("tensor(int64)", sets::INT64)],
    infer: infer_gather_nd,
    eval: eval!(gather_nd),
    ..OpDef::BASE
};

fn infer_gather_nd(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let (data, indices) = (call.ty(0)?, call.ty(1)?);
    let batch = batch_dims(call.int("batch_dims")?, data.rank(), indices.rank())?;
    let Some((depth, lead)) = indices.shape.split_last() else { return Err(Reason::new("the indices are a scalar")) };
    let Some(depth) = depth.as_size() else { return Ok(vec![None]) };
    let named = named_axes(batch, depth, data.rank())?;
    Ok(vec![Some(Fact::new(data.element, lead.iter().chain(&data.shape[named..]).cloned()))])
}

fn batch_dims(batch: i64, data_rank: usize, index_rank: usize) -> Result<usize, Reason> {
    let fits = |batch: &usize| *batch < data_rank && *batch < index_rank;
    usize::try_from(batch)
        .ok()
        .filter(fits)
        .ok_or_else(|| Reason(format!("{batch} batch axes are too many for ranks {data_rank} and {index_rank}")))
}

/// How many axes of the data the batch and the vectors of indices name.
fn named_axes(batch: usize, depth: usize, data_rank: usize) -> Result<usize, Reason> {
    if depth > data_rank - batch {
        return Err(Reason(format!("indices of {depth} axes and {batch} batch axes exceed the rank {data_rank}")));
    }
    Ok(batch + depth)
}

fn gather_nd<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (data, indices) = (call.input(0)?, call.input(1)?);
    let batch = batch_dims(call.int("batch_dims")?, data.rank(), indices.rank())?;
    let Some((&depth, lead)) = indices.shape.split_last() else { return Err(Reason::new("the indices are a scalar")) };
    let named = named_axes(batch, depth, data.rank())?;
    if lead[..batch] != data.shape[..batch] {
        return Err(Reason(format!("the batches {:?} and {:?} differ", &lead[..batch], &data.shape[..batch])));
    }
    let shape = [lead, &data.shape[named..]].concat();
    if count_of(&shape)? == 0 {
        return Ok(vec![data.gathered(&shape, std::iter::empty())?]);
    }
    let per_batch: usize = lead[batch..].iter().product();
    let within: usize = data.shape[batch..].iter().product();
    let starts = vector_places(&data.shape[batch..], depth, &indices.to_i64s()?, count_of(lead)?)?;
    let inner: usize = data.shape[named..].iter().product();
    let starts = starts.into_iter().enumerate().map(|(at, start)| at / per_batch * within + start);
    Ok(vec![data.gathered(&shape, starts.flat_map(|start| (start..start + inner).map(Some)))?])
}

/// The offset in `shape` that each of `n_vectors` vectors of `depth` indices names. Errors: an index out of range.
pub(super) fn vector_places(
    shape: &[usize],
    depth: usize,
    indices: &[i64],
    n_vectors: usize,
) -> Result<Vec<usize>, Reason> {
    let strides = strides_of(shape);
    let offset = |vector: &[i64]| {
        let mut offset = 0;
        for (axis, &index) in vector.iter().enumerate() {
            offset += place(index, shape[axis])? * strides[axis];
        }
        Ok(offset)
    };
    if depth == 0 {
        return Ok(vec![0; n_vectors]);
    }
    indices.chunks(depth).map(offset).collect()
}

static ONE_HOT: OpDef = OpDef {
    name: "OneHot",
    doc: "A new axis of the given depth that holds one value where the index says and another elsewhere",
    versions: &[9, 11, 28],
    inputs: &[Param::required("indices", "T1"), Param::required("depth", "T2"), Param::required("values", "T3")],
    outputs: &[Param::required("output", "T3")],
    attrs: &[AttrDef::int("axis", -1)],
    types: &[("T1", INDEX_NUMBERS), ("T2", INDEX_NUMBERS), ("T3", sets::STANDARD)],
    infer: |call| {
        let (indices, depth) = (call.ty(0)?, call.input(1)?);
        let axis = call.axis("axis", indices.rank() + 1)?;
        let mut shape = indices.shape.clone();
        shape.insert(axis, depth_of(depth)?.unwrap_or_else(|| call.fresh(0)));
        Ok(vec![Some(Fact::new(call.ty(2)?.element, shape))])
    },
    eval: eval!(one_hot),
    ..OpDef::BASE
};

/// The numbers that `OneHot` takes for indices: of 8 to 64 bits, bfloat16 excepted.
const INDEX_NUMBERS: &[Element] = &[
    Element::Uint8,
    Element::Uint16,
    Element::Uint32,
    Element::Uint64,
    Element::Int8,
    Element::Int16,
    Element::Int32,
    Element::Int64,
    Element::Float16,
    Element::Float,
    Element::Double,
];

fn depth_of(depth: &Operand) -> Result<Option<Dim>, Reason> {
    let from_real = || depth.constant.and_then(crate::tensor::Tensor::as_single).map(|depth| Dim::known(depth as i64));
    let depth = contents(depth).and_then(|dims| dims.into_iter().next()).or_else(from_real);
    match depth {
        Some(depth) if depth.as_known().is_some_and(|depth| depth < 0) => Err(Reason(format!("the depth is {depth}"))),
        depth => Ok(depth),
    }
}

/// Numbers as integers, real ones towards zero.
fn whole<S: Scalar>(datum: &Datum<S>) -> Result<Vec<i64>, Reason> {
    match &datum.contents {
        Contents::Real(values) => {
            super::pointwise::needs_order::<S>()?;
            Ok(values.iter().map(|value| value.to_f64() as i64).collect())
        }
        _ => datum.to_i64s(),
    }
}

fn one_hot<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (indices, values) = (call.input(0)?, call.input(2)?);
    let depth = match whole(call.input(1)?)?[..] {
        [depth] => usize::try_from(depth).map_err(|_| Reason(format!("the depth is {depth}")))?,
        _ => return Err(Reason::new("the depth is one number")),
    };
    if values.count() != 2 {
        return Err(Reason(format!("two values are expected, found {}", values.count())));
    }
    let axis = call.axis("axis", indices.rank() + 1)?;
    let mut shape = indices.shape.clone();
    shape.insert(axis, depth);
    count_of(&shape)?;
    let inner: usize = indices.shape[axis..].iter().product();
    // An index out of range is nowhere hot.
    let hot: Vec<Option<usize>> = whole(indices)?.into_iter().map(|index| normalize_axis(index, depth)).collect();
    let (outer, hot) = (hot.len() / inner.max(1), &hot);
    let at = |row: usize, level: usize, column: usize| (0, usize::from(hot[row * inner + column] == Some(level)));
    let all = (0..outer)
        .flat_map(|row| (0..depth).flat_map(move |level| (0..inner).map(move |column| at(row, level, column))));
    Ok(vec![picked(&[values], &shape, all)?])
}

static NON_ZERO: OpDef = OpDef {
    name: "NonZero",
    doc: "The indices of the elements that are not zero, one column each, in row-major order",
    versions: &[9, 13],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "tensor(int64)")],
    types: &[("T", sets::STANDARD), ("tensor(int64)", sets::INT64)],
    infer: |call| Ok(vec![Some(Fact::new(Element::Int64, [call.ty(0)?.rank().into(), call.fresh(0)]))]),
    eval: eval!(non_zero),
    ..OpDef::BASE
};

fn non_zero<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let set: Vec<usize> = match &x.contents {
        Contents::Real(values) => positions(values, |&value| value != S::from_int(0)),
        Contents::Int(values) => positions(values, |&value| value != 0),
        Contents::Bool(values) => positions(values, |&value| value),
        Contents::Text(values) => positions(values, |value| !value.is_empty()),
        Contents::Complex(values) => positions(values, |value| *value != [0.0; 2]),
    };
    let (strides, set) = (&strides_of(&x.shape), &set);
    let axis = |axis: usize| set.iter().map(move |at| (at / strides[axis] % x.shape[axis]) as i64);
    let rows: Vec<i64> = (0..x.rank()).flat_map(axis).collect();
    Ok(vec![Datum::of_i64s(&[x.rank(), set.len()], &rows)])
}

fn positions<T>(values: &[T], holds: impl Fn(&T) -> bool) -> Vec<usize> {
    values.iter().enumerate().filter(|(_, value)| holds(value)).map(|(at, _)| at).collect()
}

static COMPRESS: OpDef = OpDef {
    name: "Compress",
    doc: "The slices along one axis, or without axis the elements, for which the condition holds",
    versions: &[9, 11, 28],
    inputs: &[Param::required("input", "T"), Param::required("condition", "T1")],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::optional("axis", AttrKind::Int)],
    types: &[("T", sets::STANDARD), ("T1", sets::BOOL)],
    infer: |call| {
        let ty = call.ty(0)?;
        let mut shape = match call.attrs.int("axis") {
            Some(_) => ty.shape.clone(),
            None => vec![Dim::known(0)],
        };
        let axis = if call.attrs.int("axis").is_some() { call.axis("axis", ty.rank())? } else { 0 };
        let kept = call.input(1)?.constant.and_then(crate::tensor::Tensor::to_i64s);
        let count = kept.map(|kept| kept.iter().filter(|&&keep| keep != 0).count());
        shape[axis] = count.map_or_else(|| call.fresh(0), Dim::from);
        Ok(vec![Some(Fact::new(ty.element, shape))])
    },
    eval: eval!(compress),
    ..OpDef::BASE
};

fn compress<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let kept = positions(call.input(1)?.bool()?, |&keep| keep);
    let Some(_) = call.attrs.int("axis") else {
        return Ok(vec![x.gathered(&[kept.len()], kept.into_iter().map(Some))?]);
    };
    let axis = call.axis("axis", x.rank())?;
    if let Some(at) = kept.iter().find(|&&at| at >= x.shape[axis]) {
        return Err(Reason(format!("index {at} is out of range for an axis of {}", x.shape[axis])));
    }
    let mut tables = super::movement::identity(&x.shape);
    tables[axis] = kept.iter().map(|&at| tables[axis][at]).collect();
    Ok(vec![super::movement::moved(x, &tables)?])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::ops::cases::infer;

    #[test]
    fn gathering_from_a_shape_gives_its_dims() {
        assert_eq!(infer("Gather", &[], &["int64[3] = n,3,m", "int64[] = -1"]), "int64[] = m");
        assert_eq!(infer("Gather", &[], &["int64[3] = n,3,m", "int64[2] = 0,1"]), "int64[2] = n,3");
        let refused = "index 3 is out of range for an axis of 3";
        assert_eq!(infer("Gather", &[], &["int64[3] = n,3,m", "int64[] = 3"]), refused);
        assert_eq!(infer("Gather", &[], &["int64[3] = n,3,m", "int64[]"]), "int64[]");
    }

    #[test]
    fn indices_shape_their_results() {
        let axis = |axis| [("axis", Attr::Int(axis))];
        let batch = |batch| [("batch_dims", Attr::Int(batch))];
        assert_eq!(infer("Gather", &axis(1), &["float[a,b,c]", "int64[n,m]"]), "float[a,n,m,c]");
        assert_eq!(infer("Gather", &[], &["float[]", "int64[]"]), "axis 0 is out of range for rank 0");
        assert_eq!(infer("GatherElements", &axis(-1), &["float[a,b]", "int64[n,m]"]), "float[n,m]");
        assert_eq!(infer("GatherND", &[], &["float[a,b,c]", "int64[n,2]"]), "float[n,c]");
        assert_eq!(infer("GatherND", &batch(1), &["float[a,b,c]", "int64[a,n,1]"]), "float[a,n,c]");
        assert_eq!(infer("GatherND", &[], &["float[a,b]", "int64[n,k]"]), "?");
        let refused = "indices of 3 axes and 0 batch axes exceed the rank 2";
        assert_eq!(infer("GatherND", &[], &["float[a,b]", "int64[n,3]"]), refused);
        let refused = "-1 batch axes are too many for ranks 2 and 2";
        assert_eq!(infer("GatherND", &batch(-1), &["float[a,b]", "int64[n,1]"]), refused);
        assert_eq!(infer("OneHot", &axis(0), &["int64[n]", "int64[] = k", "float[2]"]), "float[k,n]");
        assert_eq!(infer("OneHot", &[], &["int64[n]", "int64[] = -1", "float[2]"]), "the depth is -1");
        assert_eq!(infer("NonZero", &[], &["float[n,m]"]), "int64[2,?t.0]");
        assert_eq!(infer("Compress", &axis(1), &["float[n,m]", "bool[k]"]), "float[n,?t.0]");
        assert_eq!(infer("Compress", &[], &["float[n,m]", "bool[k]"]), "float[?t.0]");
    }
}
