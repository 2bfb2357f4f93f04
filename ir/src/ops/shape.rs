//! Shapes as data, and tensors made from a shape.
//!
//! Inference carries the contents of small integer tensors as dims, so that chains such as Shape, Gather, Concat,
//! Reshape come out exact when dims are known and symbolic when they are not. Nothing is guessed: what cannot be
//! expressed becomes a fresh symbol.

use crate::attr::{Attr, AttrKind};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Broadcast, Contents, Datum, EvalCall, Scalar};
use crate::op::{Argument, AttrDef, Call, Fact, OpDef, Operand, Param, Reason, Work, sets};
use crate::ops::pointwise::{broadcast_dim, needs_order};
use crate::tensor::Tensor;
use crate::types::{Element, Type, normalize_axis};

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&SHAPE, &SIZE, &CONSTANT_OF_SHAPE, &RANGE, &EXPAND, &EYE_LIKE, &CONSTANT];

/// More elements than one evaluation makes.
const MOST_ELEMENTS: u64 = 1 << 31;
/// More axes than a tensor has in practice; a shape tensor that is longer is refused.
pub(super) const MOST_AXES: usize = 256;
/// The longest tensor whose elements inference follows.
pub(super) const MOST_CONTENTS: usize = 256;

/// Number of elements of `shape`. Errors: more than an evaluation makes.
pub(super) fn count_of(shape: &[usize]) -> Result<usize, Reason> {
    let count = shape.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim as u64));
    match count {
        _ if shape.contains(&0) => Ok(0),
        Some(count) if count <= MOST_ELEMENTS => Ok(count as usize),
        _ => Err(Reason(format!("the result would be of shape {shape:?}, more than {MOST_ELEMENTS} elements"))),
    }
}

/// Sizes as dims of a tensor. Errors: negative, or beyond the address space.
pub(super) fn sizes(dims: &[i64]) -> Result<Vec<usize>, Reason> {
    let size = |&dim: &i64| usize::try_from(dim).map_err(|_| Reason(format!("a dim would be {dim}")));
    dims.iter().map(size).collect()
}

/// The product of `dims`. Errors: it exceeds 64 bits.
pub(super) fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Result<Dim, Reason> {
    dims.into_iter().try_fold(Dim::known(1), |product, dim| product.mul(dim)).ok_or_else(overflow)
}

/// What is said of sizes beyond 64 bits.
pub(super) fn overflow() -> Reason {
    Reason::new("a size exceeds 64 bits")
}

/// The elements of a small tensor of integers or truth values (0 and 1) of rank 0 or 1 as dims, when they are known.
pub(super) fn contents(operand: &Operand) -> Option<Vec<Dim>> {
    let small = operand.ty.rank() <= 1 && operand.ty.count()?.as_size()? <= MOST_CONTENTS;
    let whole = operand.ty.element.is_integer() || operand.ty.element == Element::Bool;
    if small && whole { operand.dims() } else { None }
}

/// Each of `axes` in `0..rank`. Errors: out of range, or twice the same.
pub(super) fn distinct_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, Reason> {
    let mut result = Vec::with_capacity(axes.len().min(rank));
    for &axis in axes {
        let at =
            normalize_axis(axis, rank).ok_or_else(|| Reason(format!("axis {axis} is out of range for rank {rank}")))?;
        if result.contains(&at) {
            return Err(Reason(format!("axis {axis} is given twice")));
        }
        result.push(at);
    }
    Ok(result)
}

/// Fresh dims for the shape that a vector of the type of `operand` gives; `None` when its length is not known.
pub(super) fn fresh_shape(call: &Call, operand: &Operand) -> Result<Option<Vec<Dim>>, Reason> {
    let [length] = operand.ty.shape.as_slice() else {
        return Err(Reason(format!("a vector is expected, found {}", operand.ty)));
    };
    match length.as_size() {
        Some(length) if length > MOST_AXES => Err(Reason(format!("a tensor of {length} axes"))),
        Some(length) => Ok(Some((0..length).map(|axis| call.fresh(axis)).collect())),
        None => Ok(None),
    }
}

/// Errors when a dim is known to be negative.
pub(super) fn no_negative(dims: &[Dim]) -> Result<(), Reason> {
    match dims.iter().find(|dim| dim.as_known().is_some_and(|size| size < 0)) {
        Some(dim) => Err(Reason(format!("a dim would be {dim}"))),
        None => Ok(()),
    }
}

static SHAPE: OpDef = OpDef {
    name: "Shape",
    doc: "The dims of axes start to end as a vector",
    versions: &[1, 13, 15, 19, 21, 23, 24, 25],
    inputs: &[Param::required("data", "T")],
    outputs: &[Param::required("shape", "T1")],
    attrs: &[AttrDef::int("start", 0), AttrDef::optional("end", AttrKind::Int)],
    types: &[("T", sets::BEFORE_28), ("T1", sets::INT64)],
    infer: |call| {
        if let Argument::Other(Type::Unranked(_)) = call.argument(0)? {
            return Ok(vec![Some(Fact::new(Element::Int64, [call.fresh(0)]))]);
        }
        let shape = &call.ty(0)?.shape;
        let dims = shape[axes_between(call.int("start")?, call.attrs.int("end"), shape.len())].to_vec();
        Ok(vec![Some(Fact::new(Element::Int64, [dims.len().into()]).with(Some(dims)))])
    },
    unranked: true,
    eval: eval!(shape),
    ..OpDef::BASE
};

/// Both ends count from the end when negative, and are clamped.
fn axes_between(start: i64, end: Option<i64>, rank: usize) -> std::ops::Range<usize> {
    let place = |at: i64| {
        let at = if at < 0 { i128::from(at) + rank as i128 } else { i128::from(at) };
        at.clamp(0, rank as i128) as usize
    };
    let (start, end) = (place(start), end.map_or(rank, place));
    start..end.max(start)
}

fn shape<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let shape = &call.input(0)?.shape;
    let dims: Vec<i64> = shape[axes_between(call.int("start")?, call.attrs.int("end"), shape.len())]
        .iter()
        .map(|&dim| dim as i64)
        .collect();
    Ok(vec![Datum::of_i64s(&[dims.len()], &dims)])
}

static SIZE: OpDef = OpDef {
    name: "Size",
    doc: "The number of elements as a scalar",
    versions: &[1, 13, 19, 21, 23, 24, 25],
    inputs: &[Param::required("data", "T")],
    outputs: &[Param::required("size", "T1")],
    types: &[("T", sets::BEFORE_28), ("T1", sets::INT64)],
    infer: |call| {
        let count = call.argument(0)?.tensor().and_then(|data| data.ty.count());
        Ok(vec![Some(Fact::new(Element::Int64, []).with(count.map(|count| vec![count])))])
    },
    unranked: true,
    eval: eval!(size),
    ..OpDef::BASE
};

fn size<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    Ok(vec![Datum::of_i64s(&[], &[call.input(0)?.count() as i64])])
}

static CONSTANT_OF_SHAPE: OpDef = OpDef {
    name: "ConstantOfShape",
    doc: "A tensor of the given shape filled with one value",
    versions: &[9, 20, 21, 23, 24, 25],
    inputs: &[Param::required("input", "T1")],
    outputs: &[Param::required("output", "T2")],
    attrs: &[AttrDef::optional("value", AttrKind::Tensor)],
    types: &[
        ("T1", sets::INT64),
        (
            "T2",
            &[
                Element::Float16,
                Element::Float,
                Element::Double,
                Element::Int8,
                Element::Int16,
                Element::Int32,
                Element::Int64,
                Element::Uint8,
                Element::Uint16,
                Element::Uint32,
                Element::Uint64,
                Element::Uint4,
                Element::Int4,
                Element::Bool,
                Element::Bfloat16,
                Element::Float8E4M3FN,
                Element::Float8E4M3FNUZ,
                Element::Float8E5M2,
                Element::Float8E5M2FNUZ,
                Element::Float4E2M1,
                Element::Float8E8M0,
                Element::Uint2,
                Element::Int2,
            ],
        ),
    ],
    infer: infer_constant_of_shape,
    eval: eval!(constant_of_shape),
    work: |call, outputs| Work::streaming(call, outputs, Dim::known(0)),
    ..OpDef::BASE
};

/// The tensor of one element that fills. Errors: it has another number of elements.
fn filler(value: Option<&Tensor>) -> Result<Tensor, Reason> {
    match value {
        None => Ok(Tensor::scalar(0f32)),
        Some(tensor) if tensor.count() == 1 => Ok(tensor.clone()),
        Some(tensor) => Err(Reason(format!("attribute `value` has {} elements, one is expected", tensor.count()))),
    }
}

fn infer_constant_of_shape(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let filler = filler(call.attrs.tensor("value"))?;
    let input = call.input(0)?;
    let Some(shape) = contents(input) else {
        let shape = fresh_shape(call, input)?;
        let unranked = Fact::from(Type::Unranked(filler.element()));
        return Ok(vec![Some(shape.map_or(unranked, |shape| Fact::new(filler.element(), shape)))]);
    };
    no_negative(&shape)?;
    let count = product(&shape).ok().and_then(|count| count.as_size());
    let repeated = match (count, filler.to_i64s().as_deref()) {
        (Some(count), Some(&[value]))
            if shape.len() <= 1 && count <= MOST_CONTENTS && filler.element().is_integer() =>
        {
            Some(vec![Dim::known(value); count])
        }
        _ => None,
    };
    Ok(vec![Some(Fact::new(filler.element(), shape).with(repeated))])
}

fn constant_of_shape<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let filler = Datum::of_tensor(&filler(call.attrs.tensor("value"))?)?;
    let shape = sizes(&call.ints(0)?)?;
    let count = count_of(&shape)?;
    Ok(vec![filler.gathered(&shape, std::iter::repeat_n(Some(0), count))?])
}

static RANGE: OpDef = OpDef {
    name: "Range",
    doc: "start, start + delta, start + 2 delta, ... short of limit",
    versions: &[11, 27],
    inputs: &[Param::required("start", "T"), Param::required("limit", "T"), Param::required("delta", "T")],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::int("stash_type", 1)],
    types: &[(
        "T",
        &[
            Element::Float16,
            Element::Bfloat16,
            Element::Float,
            Element::Double,
            Element::Int16,
            Element::Int32,
            Element::Int64,
        ],
    )],
    infer: infer_range,
    eval: eval!(range),
    work: |call, outputs| Work::pointwise(call, outputs, 2),
    ..OpDef::BASE
};

fn infer_range(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let element = call.ty(0)?.element;
    let stash = range_precision(element, call.int("stash_type")?)?;
    let single = |index: usize| Ok(contents(call.input(index)?).and_then(|dims| dims.into_iter().next()));
    let (start, limit, delta) = (single(0)?, single(1)?, single(2)?);
    if delta.as_ref().is_some_and(|delta| delta.is(0)) {
        return Err(Reason::new("the step is zero"));
    }
    if let (Some(start), Some(limit), Some(delta)) = (start, limit, delta)
        && let Some(length) = length_of_range(&start, &limit, &delta)
    {
        let element_at = |at: usize| start.add(&delta.mul(&at.into())?);
        let elements = match length.as_size() {
            Some(length) if length <= MOST_CONTENTS => (0..length).map(element_at).collect(),
            _ => None,
        };
        return Ok(vec![Some(Fact::new(element, [length]).with(elements))]);
    }
    let real = |index: usize| call.given(index).and_then(|operand| operand.constant).and_then(Tensor::as_single);
    let length = match (real(0), real(1), real(2)) {
        (Some(start), Some(limit), Some(delta)) if stash == Element::Double => Dim::from(steps(start, limit, delta)?),
        (Some(start), Some(limit), Some(delta)) if stash == Element::Float => {
            Dim::from(steps(start as f32, limit as f32, delta as f32)?)
        }
        _ => call.fresh(0),
    };
    Ok(vec![Some(Fact::new(element, [length]))])
}

/// What a range of `element` is computed in: narrow floats by `stash_type`. Errors: a narrow float, and no stash.
fn range_precision(element: Element, stash_type: i64) -> Result<Element, Reason> {
    if !matches!(element, Element::Float16 | Element::Bfloat16) {
        return Ok(element);
    }
    match i32::try_from(stash_type).ok().and_then(Element::from_code) {
        Some(stash @ (Element::Float | Element::Double)) => Ok(stash),
        _ => Err(Reason(format!("attribute `stash_type` is {stash_type}"))),
    }
}

/// The number of steps, when it can be expressed: the difference is known, or cannot be negative.
fn length_of_range(start: &Dim, limit: &Dim, delta: &Dim) -> Option<Dim> {
    let steps = limit.sub(start)?.ceil_div(&Dim::known(delta.as_known()?))?;
    match steps.as_known() {
        Some(known) => Some(Dim::known(known.max(0))),
        None if steps.lower_bound()? >= 0 => Some(steps),
        None => None,
    }
}

/// The number of steps of a real range in the precision of the carrier. Errors: step zero, NaN, or too many.
fn steps<S: Scalar>(start: S, limit: S, delta: S) -> Result<usize, Reason> {
    if delta == S::from_int(0) {
        return Err(Reason::new("the step is zero"));
    }
    let steps = limit.sub(start).div(delta).to_f64().ceil();
    if steps.is_nan() || steps > MOST_ELEMENTS as f64 {
        return Err(Reason(format!("the range would have {steps} elements")));
    }
    Ok(steps.max(0.0) as usize)
}

fn range<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let data = [call.input(0)?, call.input(1)?, call.input(2)?];
    if data.iter().any(|datum| datum.count() != 1) {
        return Err(Reason::new("start, limit and delta are scalars"));
    }
    Ok(vec![match &data[0].contents {
        Contents::Int(_) => {
            let [start, limit, delta] = [data[0].int()?[0], data[1].int()?[0], data[2].int()?[0]];
            if delta == 0 {
                return Err(Reason::new("the step is zero"));
            }
            let span = if delta > 0 { limit - start + delta - 1 } else { start - limit - delta - 1 };
            let count = (span / delta.abs()).max(0);
            let count = count_of(&[usize::try_from(count).unwrap_or(usize::MAX)])?;
            Datum::of_int(data[0].element, &[count], (0..count as i128).map(|at| start + at * delta).collect())
        }
        _ => {
            needs_order::<S>()?;
            let [start, limit, delta] = [data[0].real()?[0], data[1].real()?[0], data[2].real()?[0]];
            let count = steps(start, limit, delta)?;
            let values = (0..count).map(|at| start.add(S::from_int(at as i128).mul(delta))).collect();
            Datum::of_real(data[0].element, &[count], values)
        }
    }])
}

static EXPAND: OpDef = OpDef {
    name: "Expand",
    doc: "Repeats along axes of size 1 so that the shape becomes the broadcast of both",
    versions: &[8, 13],
    inputs: &[Param::required("input", "T"), Param::required("shape", "tensor(int64)")],
    outputs: &[Param::required("output", "T")],
    types: &[("T", sets::STANDARD), ("tensor(int64)", sets::INT64)],
    infer: infer_expand,
    eval: eval!(expand),
    work: |call, outputs| Work::streaming(call, outputs, Dim::known(0)),
    ..OpDef::BASE
};

fn infer_expand(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let (input, to) = (call.input(0)?, call.input(1)?);
    let target = match contents(to) {
        Some(target) => target,
        None => match fresh_shape(call, to)? {
            Some(target) => target,
            None => return Ok(vec![None]),
        },
    };
    no_negative(&target)?;
    let rank = target.len().max(input.ty.rank());
    let from_end = |dims: &[Dim], axis: usize| {
        let missing = rank - dims.len();
        if axis < missing { Dim::known(1) } else { dims[axis - missing].clone() }
    };
    let mut shape = Vec::with_capacity(rank);
    for axis in 0..rank {
        let (from, to) = (from_end(&input.ty.shape, axis), from_end(&target, axis));
        match broadcast_dim(&from, &to) {
            Some(dim) => shape.push(dim.unwrap_or_else(|| call.fresh(axis))),
            None => return Err(Reason(format!("dim {from} does not expand to {to} at axis {axis}"))),
        }
    }
    let repeated = match (contents(input).as_deref(), shape.as_slice()) {
        (Some([single]), [length]) => {
            length.as_size().filter(|&length| length <= MOST_CONTENTS).map(|length| vec![single.clone(); length])
        }
        (Some(all), [length]) if length.is(all.len() as i64) => Some(all.to_vec()),
        (Some(all), []) => Some(all.to_vec()),
        _ => None,
    };
    Ok(vec![Some(Fact::new(input.ty.element, shape).with(repeated))])
}

fn expand<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let target = sizes(&call.ints(1)?)?;
    let shape = eval::broadcast_shape([x.shape.as_slice(), &target])
        .ok_or_else(|| Reason(format!("the shape {:?} does not expand to {target:?}", x.shape)))?;
    count_of(&shape)?;
    Ok(vec![x.gathered(&shape, Broadcast::new(&x.shape, &shape).offsets().map(Some))?])
}

static EYE_LIKE: OpDef = OpDef {
    name: "EyeLike",
    doc: "A matrix of the input's shape with ones on diagonal k and zeros elsewhere",
    versions: &[9, 22],
    inputs: &[Param::required("input", "T1")],
    outputs: &[Param::required("output", "T2")],
    attrs: &[AttrDef::optional("dtype", AttrKind::Int), AttrDef::int("k", 0)],
    types: &[("T1", sets::NUMERIC_OR_BOOL), ("T2", sets::NUMERIC_OR_BOOL)],
    infer: |call| {
        let ty = call.ty(0)?;
        if ty.rank() != 2 {
            return Err(Reason(format!("a matrix is expected, found {ty}")));
        }
        Ok(vec![Some(Fact::new(eye_element(call.attrs.int("dtype"), ty.element)?, ty.shape.clone()))])
    },
    eval: eval!(eye_like),
    work: |call, outputs| Work::streaming(call, outputs, Dim::known(0)),
    ..OpDef::BASE
};

fn eye_element(code: Option<i64>, otherwise: Element) -> Result<Element, Reason> {
    let Some(code) = code else { return Ok(otherwise) };
    let element = i32::try_from(code).ok().and_then(Element::from_code);
    element.ok_or_else(|| Reason(format!("attribute `dtype` is {code}, which is no element type")))
}

fn eye_like<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let [rows, columns] = x.shape[..] else { return Err(Reason::new("a matrix is expected")) };
    let (element, k) = (eye_element(call.attrs.int("dtype"), x.element)?, i128::from(call.int("k")?));
    let on = (0..rows).flat_map(|row| (0..columns).map(move |column| column as i128 - row as i128 == k));
    Ok(vec![match element {
        Element::Bool => Datum::of_bool(&x.shape, on.collect()),
        element if element.is_real() => {
            Datum::of_real(element, &x.shape, on.map(|one| S::from_int(i128::from(one))).collect())
        }
        element if element.is_integer() => Datum::of_int(element, &x.shape, on.map(i128::from).collect()),
        element => return Err(Reason(format!("{element} has no one"))),
    }])
}

static CONSTANT: OpDef = OpDef {
    name: "Constant",
    doc: "A value from its attribute; import makes it a weight",
    versions: &[1, 9, 11, 12, 13, 19, 21, 23, 24, 25],
    outputs: &[Param::required("output", "T")],
    attrs: &[
        AttrDef::optional("value", AttrKind::Tensor),
        AttrDef::optional("value_float", AttrKind::Float),
        AttrDef::optional("value_floats", AttrKind::Floats),
        AttrDef::optional("value_int", AttrKind::Int),
        AttrDef::optional("value_ints", AttrKind::Ints),
        AttrDef::optional("value_string", AttrKind::String),
        AttrDef::optional("value_strings", AttrKind::Strings),
    ],
    types: &[("T", sets::BEFORE_28)],
    infer: |call| {
        let tensor = constant_tensor(call.attrs)?;
        let small = tensor.shape().len() <= 1 && tensor.count() <= MOST_CONTENTS && tensor.element().is_integer();
        let content = if small { tensor.to_i64s() } else { None };
        let content = content.map(|values| values.into_iter().map(Dim::known).collect());
        Ok(vec![Some(Fact::from(tensor.ty()).with(content))])
    },
    eval: eval!(constant),
    work: |_, _| Some(Work::free()),
    ..OpDef::BASE
};

fn constant_tensor(attrs: &crate::attr::Attrs) -> Result<Tensor, Reason> {
    let fail = |error: crate::tensor::TensorError| Reason(error.to_string());
    let bytes = |name: &crate::attr::Name| bytes::Bytes::copy_from_slice(name.as_bytes());
    let mut values = attrs.iter().map(|(_, value)| value);
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Reason::new("exactly one value is expected"));
    };
    match value {
        Attr::Tensor(tensor) => Ok(tensor.clone()),
        Attr::Float(value) => Ok(Tensor::scalar(*value)),
        Attr::Floats(values) => Ok(Tensor::vector(values)),
        Attr::Int(value) => Ok(Tensor::scalar(*value)),
        Attr::Ints(values) => Ok(Tensor::vector(values)),
        Attr::String(text) => Tensor::from_strings(&[], vec![bytes(text)]).map_err(fail),
        Attr::Bytes(text) => Tensor::from_strings(&[], vec![text.clone()]).map_err(fail),
        Attr::Strings(texts) => Tensor::from_strings(&[texts.len()], texts.iter().map(bytes).collect()).map_err(fail),
        other => Err(Reason(format!("a constant cannot be of kind {}", other.kind().text()))),
    }
}

fn constant<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    Ok(vec![Datum::of_tensor(&constant_tensor(call.attrs)?)?])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::ops::cases::infer;
    use crate::tensor::Tensor;

    #[test]
    fn shapes_become_contents() {
        let between = |start, end| [("start", Attr::Int(start)), ("end", Attr::Int(end))];
        assert_eq!(infer("Shape", &[], &["float[n,3]"]), "int64[2] = n,3");
        assert_eq!(infer("Shape", &between(-1, 9), &["float[n,3]"]), "int64[1] = 3");
        assert_eq!(infer("Shape", &between(1, -1), &["float[n,3]"]), "int64[0] = ");
        assert_eq!(infer("Shape", &between(i64::MIN, i64::MAX), &["float[n]"]), "int64[1] = n");
        assert_eq!(infer("Size", &[], &["float[n,3]"]), "int64[] = 3*n");
        assert_eq!(infer("Size", &[], &["float[]"]), "int64[] = 1");
    }

    #[test]
    fn what_is_made_from_a_shape_has_it() {
        let ones = [("value", Attr::Tensor(Tensor::vector(&[1i64])))];
        assert_eq!(infer("ConstantOfShape", &ones, &["int64[1] = 2"]), "int64[2] = 1,1");
        assert_eq!(infer("ConstantOfShape", &[], &["int64[2] = n,3"]), "float[n,3]");
        assert_eq!(infer("ConstantOfShape", &[], &["int64[1] = -3"]), "a dim would be -3");
        assert_eq!(infer("ConstantOfShape", &[], &["int64[2]"]), "float[?t.0,?t.1]");
        assert_eq!(infer("ConstantOfShape", &[], &["int64[9999999999]"]), "a tensor of 9999999999 axes");
        assert_eq!(infer("EyeLike", &[("dtype", Attr::Int(11))], &["float[n,3]"]), "double[n,3]");
        let two = [("value", Attr::Tensor(Tensor::vector(&[1i64, 2])))];
        let refused = "attribute `value` has 2 elements, one is expected";
        assert_eq!(infer("ConstantOfShape", &two, &["int64[1] = 2"]), refused);
    }

    #[test]
    fn a_range_has_a_length_only_when_it_cannot_be_negative() {
        let range = |start: &str, limit: &str, delta: &str| {
            let scalar = |value: &str| format!("int64[] = {value}");
            infer("Range", &[], &[&scalar(start), &scalar(limit), &scalar(delta)])
        };
        assert_eq!(range("2", "9", "3"), "int64[3] = 2,5,8");
        assert_eq!(range("9", "2", "-3"), "int64[3] = 9,6,3");
        assert_eq!(range("9", "2", "3"), "int64[0] = ");
        assert_eq!(range("p", "p + s", "1"), "int64[s]");
        assert_eq!(range("0", "4*n", "2"), "int64[2*n]");
        assert_eq!(range("1", "n", "1"), "int64[?t.0]");
        assert_eq!(range("n", "n + 2", "1"), "int64[2] = n,n + 1");
        assert_eq!(range("0", "n", "0"), "the step is zero");
        assert_eq!(range("-9223372036854775807", "9223372036854775807", "1"), "int64[?t.0]");
        assert_eq!(infer("Range", &[], &["float[]", "float[]", "float[]"]), "float[?t.0]");
    }

    #[test]
    fn expanding_keeps_what_either_side_knows() {
        for (input, to, expected) in [
            ("float[1,n]", "int64[3] = b,s,1", "float[b,s,n]"),
            ("float[n]", "int64[1] = 5", "float[5]"),
            ("float[n]", "int64[1] = m", "float[?t.0]"),
            ("float[n]", "int64[1] = n", "float[n]"),
            ("float[2]", "int64[1] = 3", "dim 2 does not expand to 3 at axis 0"),
            ("float[0]", "int64[1] = 1", "float[0]"),
            ("float[3]", "int64[2]", "float[?t.0,3]"),
            ("int64[1] = n", "int64[1] = 2", "int64[2] = n,n"),
            ("float[1]", "int64[1] = -1", "a dim would be -1"),
        ] {
            assert_eq!(infer("Expand", &[], &[input, to]), expected, "{input} {to}");
        }
    }
}
