//! Pools: one number for each window of a channel, or for the whole channel.

use crate::attr::AttrKind;
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Function, Scalar, each_index, strides_of};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::ops::pointwise::{needs_functions, needs_order};
use crate::ops::shape::count_of;
use crate::ops::windows::{Window, Windows, counts, window};
use crate::types::{Element, TensorType};
use std::cmp::Ordering;

/// The operators of this family.
pub const OPS: &[&OpDef] =
    &[&MAX_POOL, &AVERAGE_POOL, &LP_POOL, &GLOBAL_AVERAGE_POOL, &GLOBAL_MAX_POOL, &GLOBAL_LP_POOL];

/// The element types of `MaxPool`.
const MAX_TYPES: &[Element] =
    &[Element::Bfloat16, Element::Float16, Element::Float, Element::Double, Element::Int8, Element::Uint8];

static MAX_POOL: OpDef = OpDef {
    name: "MaxPool",
    doc: "The largest element of each window, and where in the input it stands",
    versions: &[1, 8, 10, 11, 12, 22],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T"), Param::optional("Indices", "I")],
    attrs: &[
        AttrDef::string("auto_pad", "NOTSET"),
        AttrDef::int("ceil_mode", 0),
        AttrDef::optional("dilations", AttrKind::Ints),
        AttrDef::required("kernel_shape", AttrKind::Ints),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::int("storage_order", 0),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    types: &[("T", MAX_TYPES), ("I", sets::INT64)],
    infer: |call| {
        let pooled = infer_pool(call)?;
        let places = Fact::new(Element::Int64, pooled.shape.clone());
        Ok([pooled.into(), places].into_iter().take(call.n_outputs.max(1)).map(Some).collect())
    },
    eval: eval!(max_pool),
    work: |call, outputs| pool_work(call, outputs, 1),
    ..OpDef::BASE
};

/// The type of the pooled input.
fn infer_pool(call: &Call) -> Result<TensorType, Reason> {
    let x = call.ty(0)?;
    let kernel = call.attrs.ints("kernel_shape").unwrap_or(&[]).to_vec();
    if x.rank() < 3 || kernel.len() != x.rank() - 2 {
        return Err(Reason(format!("attribute `kernel_shape` is {kernel:?} for an input {x}")));
    }
    let windows = Windows::read(call.attrs, kernel)?;
    let mut shape = x.shape[..2].to_vec();
    for (axis, dim) in x.shape[2..].iter().enumerate() {
        shape.push(windows.output_dim(axis, dim)?.unwrap_or_else(|| call.fresh(axis)));
    }
    Ok(TensorType::new(x.element, shape))
}

/// `flops_each` operations for each element of each window.
fn pool_work(call: &Call, outputs: &[TensorType], flops_each: i64) -> Option<Work> {
    let window = call.attrs.ints("kernel_shape")?.iter().try_fold(flops_each, |size, &side| size.checked_mul(side))?;
    Work::streaming(call, outputs, outputs.first()?.count()?.mul(&Dim::known(window))?)
}

/// One number for each window of each channel of the first input: `reduce` of the channel's first offset and the window.
fn pooled<S: Scalar, R: Clone>(
    call: &EvalCall<S>,
    zero: R,
    mut reduce: impl FnMut(usize, &Window) -> R,
) -> Result<(Vec<usize>, Vec<R>), Reason> {
    let x = call.input(0)?;
    let kernel = call.attrs.ints("kernel_shape").unwrap_or(&[]).to_vec();
    if x.rank() < 3 {
        return Err(Reason(format!("a pool of a tensor of {} axes", x.rank())));
    }
    let (lead, sizes) = x.shape.split_at(2);
    let windows = Windows::read(call.attrs, kernel)?;
    let axes = windows.place(sizes)?;
    let outputs = counts(&axes);
    let shape = [lead, &outputs].concat();
    let mut results = vec![zero; count_of(&shape)?];
    let (area, n_places): (usize, usize) = (sizes.iter().product(), outputs.iter().product());
    let mut place = 0;
    each_index(&outputs, |index| {
        let window = window(&axes, &windows.kernel, sizes, index);
        for channel in 0..lead[0] * lead[1] {
            results[channel * n_places + place] = reduce(channel * area, &window);
        }
        place += 1;
        Ok::<(), Reason>(())
    })?;
    Ok((shape, results))
}

fn max_pool<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let first_largest = |offset: usize, window: &Window, larger: &dyn Fn(usize, usize) -> bool| {
        let places = window.inside.iter().map(|(_, at)| offset + at);
        places.reduce(|best, at| if larger(at, best) { at } else { best })
    };
    let (shape, best, y) = match &x.contents {
        Contents::Real(values) => {
            needs_order::<S>()?;
            let larger = |a: usize, b: usize| values[a].compare(values[b]) == Some(Ordering::Greater);
            let (shape, best) = pooled(call, None, |offset, window| first_largest(offset, window, &larger))?;
            let least = S::from_f64(f64::NEG_INFINITY);
            let y = best.iter().map(|at| at.map_or(least, |at: usize| values[at])).collect();
            (shape.clone(), best, Datum::of_real(x.element, &shape, y))
        }
        _ => {
            let values = x.int()?;
            let larger = |a: usize, b: usize| values[a] > values[b];
            let (shape, best) = pooled(call, None, |offset, window| first_largest(offset, window, &larger))?;
            let least = if x.element == Element::Int8 { i128::from(i8::MIN) } else { 0 };
            let y = best.iter().map(|at| at.map_or(least, |at: usize| values[at])).collect();
            (shape.clone(), best, Datum::of_int(x.element, &shape, y))
        }
    };
    if call.n_outputs < 2 {
        return Ok(vec![y]);
    }
    let by_column = call.attrs.int("storage_order") == Some(1);
    let number =
        |at: &Option<usize>| at.map_or(-1, |at| if by_column { column_major(at, &x.shape) } else { at } as i64);
    Ok(vec![y, Datum::of_i64s(&shape, &best.iter().map(number).collect::<Vec<_>>())])
}

/// The number of element `at` when the spatial axes are counted first axis fastest.
fn column_major(at: usize, shape: &[usize]) -> usize {
    let area: usize = shape[2..].iter().product();
    let (mut number, mut scale) = (at / area * area, 1);
    for (size, stride) in shape[2..].iter().zip(strides_of(&shape[2..])) {
        number += at % area / stride % size * scale;
        scale *= size;
    }
    number
}

static AVERAGE_POOL: OpDef = OpDef {
    name: "AveragePool",
    doc: "The mean of each window, over the elements inside the input or, if so told, the padding too",
    versions: &[1, 7, 10, 11, 19, 22],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    attrs: &[
        AttrDef::string("auto_pad", "NOTSET"),
        AttrDef::int("ceil_mode", 0),
        AttrDef::int("count_include_pad", 0),
        AttrDef::optional("dilations", AttrKind::Ints),
        AttrDef::required("kernel_shape", AttrKind::Ints),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    types: &[("T", sets::FLOAT)],
    infer: |call| Ok(vec![Some(infer_pool(call)?.into())]),
    eval: eval!(average_pool),
    work: |call, outputs| pool_work(call, outputs, 1),
    ..OpDef::BASE
};

fn average_pool<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (x, padded) = (call.input(0)?, call.attrs.flag("count_include_pad"));
    let values = x.real()?;
    let (shape, means) = pooled(call, S::from_int(0), |offset, window| {
        let sum = S::sum(window.inside.iter().map(|(_, at)| values[offset + at]));
        sum.div(S::from_int(if padded { window.padded } else { window.inside.len() } as i128))
    })?;
    Ok(vec![Datum::of_real(x.element, &shape, means)])
}

static LP_POOL: OpDef = OpDef {
    name: "LpPool",
    doc: "The p-norm of each window",
    versions: &[1, 2, 11, 18, 22],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    attrs: &[
        AttrDef::string("auto_pad", "NOTSET"),
        AttrDef::int("ceil_mode", 0),
        AttrDef::optional("dilations", AttrKind::Ints),
        AttrDef::required("kernel_shape", AttrKind::Ints),
        AttrDef::int("p", 2),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    types: &[("T", sets::FLOAT)],
    infer: |call| {
        norm_order(call.int("p")?)?;
        Ok(vec![Some(infer_pool(call)?.into())])
    },
    eval: eval!(lp_pool),
    work: |call, outputs| pool_work(call, outputs, 2),
    ..OpDef::BASE
};

fn norm_order(p: i64) -> Result<i64, Reason> {
    if p > 0 { Ok(p) } else { Err(Reason(format!("attribute `p` is {p}"))) }
}

/// The p-norm of `values`, in a carrier that has real functions.
fn norm<S: Scalar>(p: i64, values: impl Iterator<Item = S>) -> S {
    const ABS: Function = Function { name: "Abs", real: f64::abs };
    let order = S::from_int(i128::from(p));
    let sum = S::sum(values.map(|value| value.apply(&ABS).power(order)));
    sum.power(S::from_int(1).div(order))
}

fn lp_pool<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("p-norm")?;
    let (x, p) = (call.input(0)?, norm_order(call.int("p")?)?);
    let values = x.real()?;
    let (shape, norms) = pooled(call, S::from_int(0), |offset, window| {
        norm(p, window.inside.iter().map(|(_, at)| values[offset + at]))
    })?;
    Ok(vec![Datum::of_real(x.element, &shape, norms)])
}

static GLOBAL_AVERAGE_POOL: OpDef = OpDef {
    name: "GlobalAveragePool",
    doc: "The mean of each channel",
    versions: &[1, 22],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    types: &[("T", sets::FLOAT)],
    infer: infer_global,
    eval: eval!(global_average_pool),
    work: |call, outputs| Work::reduction(call, outputs, 1),
    ..OpDef::BASE
};

fn infer_global(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let x = call.ty(0)?;
    if x.rank() < 2 {
        return Err(Reason(format!("batch and channels are expected, found {x}")));
    }
    let ones = std::iter::repeat_n(Dim::known(1), x.rank() - 2);
    Ok(vec![Some(Fact::new(x.element, x.shape[..2].iter().cloned().chain(ones)))])
}

/// One number for each channel. Errors: no channels, or an empty one.
fn per_channel<S: Scalar>(call: &EvalCall<S>, reduce: impl Fn(&[S]) -> S) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    if x.rank() < 2 {
        return Err(Reason(format!("batch and channels are expected, found {} axes", x.rank())));
    }
    let area: usize = x.shape[2..].iter().product();
    let n_channels = x.shape[0] * x.shape[1];
    if area == 0 && n_channels > 0 {
        return Err(Reason::new("a channel has no elements"));
    }
    let mut shape = x.shape.clone();
    shape[2..].fill(1);
    let values = x.real()?;
    let results = (0..n_channels).map(|channel| reduce(&values[channel * area..][..area])).collect();
    Ok(vec![Datum::of_real(x.element, &shape, results)])
}

fn global_average_pool<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    per_channel(call, |values| S::sum(values.iter().copied()).div(S::from_int(values.len() as i128)))
}

static GLOBAL_MAX_POOL: OpDef = OpDef {
    name: "GlobalMaxPool",
    doc: "The largest element of each channel",
    versions: &[1, 22],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    types: &[("T", sets::FLOAT)],
    infer: infer_global,
    eval: eval!(global_max_pool),
    work: |call, outputs| Work::reduction(call, outputs, 1),
    ..OpDef::BASE
};

fn global_max_pool<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    let larger = |best: S, value: S| if value.compare(best) == Some(Ordering::Greater) { value } else { best };
    per_channel(call, |values| values.iter().copied().fold(S::from_f64(f64::NEG_INFINITY), larger))
}

static GLOBAL_LP_POOL: OpDef = OpDef {
    name: "GlobalLpPool",
    doc: "The p-norm of each channel",
    versions: &[1, 2, 22],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    attrs: &[AttrDef::int("p", 2)],
    types: &[("T", sets::FLOAT)],
    infer: infer_global,
    eval: eval!(global_lp_pool),
    work: |call, outputs| Work::reduction(call, outputs, 2),
    ..OpDef::BASE
};

fn global_lp_pool<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("p-norm")?;
    let p = norm_order(call.int("p")?)?;
    per_channel(call, |values| norm(p, values.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::column_major;
    use crate::attr::Attr;
    use crate::ops::cases::{infer, infer_outputs};

    #[test]
    fn pools_keep_symbolic_dims() {
        let ints = |values: &[i64]| Attr::Ints(values.into());
        let resnet = [("kernel_shape", ints(&[3, 3])), ("strides", ints(&[2, 2])), ("pads", ints(&[1, 1, 1, 1]))];
        let expected = "float[n,64,floor((h - 1)/(2)) + 1,56]; int64[n,64,floor((h - 1)/(2)) + 1,56]";
        assert_eq!(infer_outputs("MaxPool", &resnet, &["float[n,64,h,112]"], 2), expected);
        let pair = [("kernel_shape", ints(&[2])), ("strides", ints(&[2]))];
        assert_eq!(infer("AveragePool", &pair, &["float[n,c,2*h]"]), "float[n,c,h]");
        assert_eq!(infer("LpPool", &pair, &["float[n,c,1]"]), "a window of 2 does not fit axis 0 of 1, pads (0, 0)");
        assert_eq!(infer("GlobalAveragePool", &[], &["float[n,c,h,w]"]), "float[n,c,1,1]");
        let refused = "attribute `kernel_shape` is [2] for an input float[n,c,h,w]";
        assert_eq!(infer("MaxPool", &pair, &["float[n,c,h,w]"]), refused);
    }

    #[test]
    fn column_major_numbers_stay_within_their_channel() {
        assert_eq!((0..8).map(|at| column_major(at, &[1, 1, 2, 4])).collect::<Vec<_>>(), [0, 2, 4, 6, 1, 3, 5, 7]);
        assert_eq!(column_major(9, &[1, 2, 2, 4]), 10);
    }
}
