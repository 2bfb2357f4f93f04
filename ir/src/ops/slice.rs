//! Taking less of each axis, or more than there is.

use crate::attr::{Attr, AttrKind};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar, strides_of};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, sets};
use crate::ops::movement::{Tables, identity, moved, picked, sources};
use crate::ops::shape::{contents, count_of, distinct_axes, overflow};
use crate::types::Element;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&SLICE, &PAD, &CENTER_CROP_PAD];

static SLICE: OpDef = OpDef {
    name: "Slice",
    doc: "Every step-th index from start to end of each axis, ends clamped and counted from the back when negative",
    versions: &[1, 10, 11, 13],
    inputs: &[
        Param::required("data", "T"),
        Param::required("starts", "Tind"),
        Param::required("ends", "Tind"),
        Param::optional("axes", "Tind"),
        Param::optional("steps", "Tind"),
    ],
    outputs: &[Param::required("output", "T")],
    types: &[("T", sets::STANDARD), ("Tind", sets::INDEX)],
    infer: infer_slice,
    eval: eval!(slice),
    ..OpDef::BASE
};

fn infer_slice(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let data = call.input(0)?;
    let (starts, ends) = (call.input(1)?, call.input(2)?);
    let n_axes = starts.ty.count().and_then(|count| count.as_size());
    let axes = match (call.given(3), n_axes) {
        (Some(axes), _) => axes.ints(),
        (None, Some(count)) if count > data.ty.rank() => {
            return Err(Reason(format!("{count} starts are given for {} axes", data.ty.rank())));
        }
        (None, Some(count)) => Some((0..count as i64).collect()),
        (None, None) => None,
    };
    let Some(axes) = axes else {
        let shape: Vec<Dim> = (0..data.ty.rank()).map(|axis| call.fresh(axis)).collect();
        return Ok(vec![Some(Fact::new(data.ty.element, shape))]);
    };
    let axes = distinct_axes(&axes, data.ty.rank())?;
    let (starts, ends) = (contents(starts), contents(ends));
    let steps = match call.given(4) {
        Some(steps) => steps.ints(),
        None => Some(vec![1; axes.len()]),
    };
    check_lengths(axes.len(), [starts.as_ref().map(Vec::len), ends.as_ref().map(Vec::len)], steps.as_deref())?;
    let mut shape = data.ty.shape.clone();
    for (at, &axis) in axes.iter().enumerate() {
        let length = match (&starts, &ends, &steps) {
            (Some(starts), Some(ends), Some(steps)) => slice_length(&shape[axis], &starts[at], &ends[at], steps[at]),
            _ => None,
        };
        shape[axis] = length.unwrap_or_else(|| call.fresh(axis));
    }
    let taken = || {
        let all = contents(data)?;
        let [start, end] = [starts.as_ref()?.first()?.as_known()?, ends.as_ref()?.first()?.as_known()?];
        Some(indices(all.len(), start, end, *steps.as_ref()?.first()?).map(|at| all[at].clone()).collect())
    };
    let content = if axes.is_empty() { contents(data) } else { taken() };
    Ok(vec![Some(Fact::new(data.ty.element, shape).with(content))])
}

fn check_lengths(n_axes: usize, ends: [Option<usize>; 2], steps: Option<&[i64]>) -> Result<(), Reason> {
    for length in ends.into_iter().chain([steps.map(<[i64]>::len)]).flatten() {
        if length != n_axes {
            return Err(Reason(format!("starts, ends, axes and steps have {length} and {n_axes} elements")));
        }
    }
    if steps.is_some_and(|steps| steps.contains(&0)) {
        return Err(Reason::new("the step is zero"));
    }
    Ok(())
}

/// The number of indices taken, when it can be expressed without a minimum or maximum.
fn slice_length(dim: &Dim, start: &Dim, end: &Dim, step: i64) -> Option<Dim> {
    // What exporters write for "to the end" in either direction; no axis is as long.
    const FAR: i64 = i32::MAX as i64;
    if let (Some(size), Some(start), Some(end)) = (dim.as_size(), start.as_known(), end.as_known()) {
        return Some(indices(size, start, end, step).len().into());
    }
    // What is cut from a table up to a symbolic length ends with the shorter of both.
    if let (Some(size @ 1..), Some(0), None, 1) = (dim.as_known(), start.as_known(), end.as_known(), step)
        && end.lower_bound()? >= 0
    {
        return Some(end.minimum(size));
    }
    if step < 0 {
        let from_last = start.as_known().is_some_and(|start| start == -1 || start >= FAR);
        let to_first = end.as_known().is_some_and(|end| end <= -FAR);
        return if from_last && to_first { dim.ceil_div(&Dim::known(step.checked_neg()?)) } else { None };
    }
    let place = |at: &Dim| {
        match at.as_known() {
            Some(known) if known >= FAR => return Some(dim.clone()),
            Some(known) if known <= -FAR => return Some(Dim::known(0)),
            _ => {}
        }
        // A symbolic number that may be negative has no place that can be expressed.
        let at = match at.as_known() {
            Some(known) if known < 0 => dim.add(at)?,
            None if at.lower_bound()? < 0 => return None,
            _ => at.clone(),
        };
        let inside = at.lower_bound()? >= 0 && dim.sub(&at)?.lower_bound()? >= 0;
        inside.then_some(at)
    };
    let (start, end) = (place(start)?, place(end)?);
    let span = end.sub(&start)?;
    if span.lower_bound().is_some_and(|least| least >= 0) {
        return span.ceil_div(&Dim::known(step));
    }
    let empty = start.sub(&end)?.lower_bound()? >= 0;
    empty.then_some(Dim::known(0))
}

/// The indices that a slice takes of an axis of `size`; `step` is not zero.
fn indices(size: usize, start: i64, end: i64, step: i64) -> impl ExactSizeIterator<Item = usize> {
    let (size, step) = (size as i128, i128::from(step));
    let place = |at: i64| i128::from(at) + if at < 0 { size } else { 0 };
    let (low, high) = if step > 0 { (0, size) } else { (0, size - 1) };
    let start = place(start).min(high).max(low);
    let end = place(end).min(high).max(if step > 0 { 0 } else { -1 });
    let span = if step > 0 { end - start + step - 1 } else { start - end - step - 1 };
    let count = if size == 0 { 0 } else { (span / step.abs()).max(0) as usize };
    (0..count).map(move |at| (start + at as i128 * step) as usize)
}

fn slice<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let (starts, ends) = (call.ints(1)?, call.ints(2)?);
    let axes = match call.given(3) {
        Some(axes) => axes.to_i64s()?,
        None => (0..starts.len() as i64).collect(),
    };
    let axes = distinct_axes(&axes, x.rank())?;
    let steps = match call.given(4) {
        Some(steps) => steps.to_i64s()?,
        None => vec![1; axes.len()],
    };
    check_lengths(axes.len(), [Some(starts.len()), Some(ends.len())], Some(&steps))?;
    let mut tables = identity(&x.shape);
    for (at, &axis) in axes.iter().enumerate() {
        let taken = indices(x.shape[axis], starts[at], ends[at], steps[at]);
        tables[axis] = taken.map(|index| tables[axis][index]).collect();
    }
    Ok(vec![moved(x, &tables)?])
}

static PAD: OpDef = OpDef {
    name: "Pad",
    doc: "Adds to both ends of each axis a constant, the nearest element, the mirrored axis or the axis again",
    versions: &[1, 2, 11, 13, 18, 19, 21, 23, 24, 25],
    inputs: &[
        Param::required("data", "T"),
        Param::required("pads", "tensor(int64)"),
        Param::optional("constant_value", "T"),
        Param::optional("axes", "Tind"),
    ],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::string("mode", "constant")],
    types: &[("T", sets::BEFORE_28), ("tensor(int64)", &[Element::Int64]), ("Tind", sets::INDEX)],
    infer: infer_pad,
    eval: eval!(pad),
    ..OpDef::BASE
};

fn infer_pad(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let ty = call.ty(0)?;
    let axes = match call.given(3) {
        Some(axes) => axes.ints(),
        None => Some((0..ty.rank() as i64).collect()),
    };
    let (Some(axes), Some(pads)) = (axes, contents(call.input(1)?)) else {
        let shape: Vec<Dim> = (0..ty.rank()).map(|axis| call.fresh(axis)).collect();
        return Ok(vec![Some(Fact::new(ty.element, shape))]);
    };
    let axes = distinct_axes(&axes, ty.rank())?;
    check_pads(pads.len(), axes.len())?;
    let mut shape = ty.shape.clone();
    for (at, &axis) in axes.iter().enumerate() {
        let (before, after) = (&pads[at], &pads[at + axes.len()]);
        let padded = shape[axis].add(before).and_then(|dim| dim.add(after)).ok_or_else(overflow)?;
        if padded.as_known().is_some_and(|size| size < 0) {
            return Err(Reason(format!("axis {axis} would have size {padded}")));
        }
        shape[axis] = padded;
    }
    Ok(vec![Some(Fact::new(ty.element, shape))])
}

fn check_pads(n_pads: usize, n_axes: usize) -> Result<(), Reason> {
    if n_axes.checked_mul(2) == Some(n_pads) {
        return Ok(());
    }
    Err(Reason(format!("{n_pads} pads are given for {n_axes} axes, two each are expected")))
}

fn pad<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (x, pads) = (call.input(0)?, call.ints(1)?);
    let axes = match call.given(3) {
        Some(axes) => axes.to_i64s()?,
        None => (0..x.rank() as i64).collect(),
    };
    let axes = distinct_axes(&axes, x.rank())?;
    check_pads(pads.len(), axes.len())?;
    let mode = match call.attrs.get("mode") {
        Some(Attr::String(mode)) => mode.as_str(),
        _ => "constant",
    };
    let mut ends = vec![(0, 0); x.rank()];
    for (at, &axis) in axes.iter().enumerate() {
        ends[axis] = (pads[at], pads[at + axes.len()]);
    }
    let padded = |(&size, &(before, after)): (&usize, &(i64, i64))| {
        let padded = size as i128 + i128::from(before) + i128::from(after);
        usize::try_from(padded).map_err(|_| Reason(format!("an axis would have size {padded}")))
    };
    let shape = x.shape.iter().zip(&ends).map(padded).collect::<Result<Vec<_>, _>>()?;
    count_of(&shape)?;
    let mut tables: Tables = Vec::with_capacity(x.rank());
    for ((&size, &(before, _)), (&padded, stride)) in
        x.shape.iter().zip(&ends).zip(shape.iter().zip(strides_of(&x.shape)))
    {
        let source = |at: usize| Ok(padded_source(mode, at as i128 - i128::from(before), size)?.map(|at| at * stride));
        tables.push((0..padded).map(source).collect::<Result<_, Reason>>()?);
    }
    match call.given(2) {
        Some(value) if value.count() == 1 => {
            let from = sources(&tables).map(|source| source.map_or((1, 0), |at| (0, at)));
            Ok(vec![picked(&[x, value], &shape, from)?])
        }
        Some(value) => Err(Reason(format!("the constant has {} elements, one is expected", value.count()))),
        None => Ok(vec![moved(x, &tables)?]),
    }
}

/// The index that stands at place `at` of an axis that has `size` elements before padding; `None` for the constant.
fn padded_source(mode: &str, at: i128, size: usize) -> Result<Option<usize>, Reason> {
    let n = size as i128;
    if (0..n).contains(&at) {
        return Ok(Some(at as usize));
    }
    if n == 0 && mode != "constant" {
        return Err(Reason(format!("an empty axis cannot be padded in mode `{mode}`")));
    }
    Ok(match mode {
        "constant" => None,
        "edge" => Some(at.clamp(0, n - 1) as usize),
        "wrap" => Some(at.rem_euclid(n) as usize),
        "reflect" if n == 1 => Some(0),
        "reflect" => {
            let period = 2 * (n - 1);
            let phase = at.rem_euclid(period);
            Some(phase.min(period - phase) as usize)
        }
        _ => return Err(Reason(format!("attribute `mode` is `{mode}`"))),
    })
}

static CENTER_CROP_PAD: OpDef = OpDef {
    name: "CenterCropPad",
    doc: "The middle of each axis that is too long, and zeros around each that is too short; the odd one at the end",
    versions: &[18],
    inputs: &[Param::required("input_data", "T"), Param::required("shape", "Tind")],
    outputs: &[Param::required("output_data", "T")],
    attrs: &[AttrDef::optional("axes", AttrKind::Ints)],
    types: &[("T", sets::STANDARD), ("Tind", sets::INDEX)],
    infer: |call| {
        let (data, wanted) = (call.ty(0)?, call.input(1)?);
        let axes = changed_axes(call.attrs.ints("axes"), data.rank())?;
        let dims = contents(wanted);
        let length = dims.as_ref().map(|dims| dims.len() as i64).or_else(|| wanted.ty.shape.first()?.as_known());
        if wanted.ty.rank() != 1 || length.is_some_and(|length| length != axes.len() as i64) {
            return Err(Reason(format!("a shape {} is given for {} axes", wanted.ty, axes.len())));
        }
        let mut shape = data.shape.clone();
        for (at, &axis) in axes.iter().enumerate() {
            shape[axis] = dims.as_ref().map_or_else(|| call.fresh(axis), |dims| dims[at].clone());
        }
        crate::ops::shape::no_negative(&shape)?;
        Ok(vec![Some(Fact::new(data.element, shape))])
    },
    eval: eval!(center_crop_pad),
    ..OpDef::BASE
};

fn changed_axes(axes: Option<&[i64]>, rank: usize) -> Result<Vec<usize>, Reason> {
    axes.map_or_else(|| Ok((0..rank).collect()), |axes| distinct_axes(axes, rank))
}

fn center_crop_pad<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (data, wanted) = (call.input(0)?, crate::ops::shape::sizes(&call.ints(1)?)?);
    let axes = changed_axes(call.attrs.ints("axes"), data.rank())?;
    if wanted.len() != axes.len() {
        return Err(Reason(format!("{} sizes are given for {} axes", wanted.len(), axes.len())));
    }
    let mut shape = data.shape.clone();
    axes.iter().zip(&wanted).for_each(|(&axis, &size)| shape[axis] = size);
    crate::ops::pointwise::affordable(&shape, data.count())?;
    let n_elements = count_of(&shape)?;
    if n_elements == 0 || data.count() == 0 {
        return Ok(vec![data.gathered(&shape, std::iter::repeat_n(None, n_elements))?]);
    }
    let mut tables: Tables = identity(&data.shape);
    for (axis, size) in axes.into_iter().zip(wanted) {
        let old = &tables[axis];
        // What is cut away before the axis, or added there.
        let (cut, added) = (old.len().saturating_sub(size) / 2, size.saturating_sub(old.len()) / 2);
        let source = |at: usize| old.get((at + cut).checked_sub(added)?).copied().flatten();
        tables[axis] = (0..size).map(source).collect();
    }
    Ok(vec![moved(data, &tables)?])
}

#[cfg(test)]
mod tests {
    use super::{indices, padded_source};
    use crate::attr::Attr;
    use crate::ops::cases::infer;

    #[test]
    fn slices_of_symbolic_axes_are_exact_or_fresh() {
        for (data, starts, ends, step, expected) in [
            ("float[10]", "2", "9223372036854775807", "3", "float[3]"),
            ("float[10]", "-1", "-9223372036854775807", "-1", "float[10]"),
            ("float[10]", "8", "2", "1", "float[0]"),
            ("float[0]", "0", "5", "-1", "float[0]"),
            ("float[n]", "0", "9223372036854775807", "1", "float[n]"),
            ("float[2*n]", "0", "2147483647", "2", "float[n]"),
            ("float[n]", "-1", "-9223372036854775807", "-1", "float[n]"),
            ("float[n]", "0", "-1", "1", "float[?t.0]"),
            ("float[n]", "1", "9223372036854775807", "1", "float[?t.0]"),
            ("float[n + 1]", "1", "9223372036854775807", "1", "float[n]"),
            ("float[n + 1]", "-1", "9223372036854775807", "1", "float[1]"),
            ("float[p + s]", "p", "p + s", "1", "float[s]"),
            ("float[p + s]", "0", "p", "1", "float[p]"),
            ("float[n]", "0", "m", "1", "float[?t.0]"),
            ("float[512]", "0", "m", "1", "float[?min(m, 512)]"),
            ("float[512]", "0", "m - 1", "1", "float[?t.0]"),
            ("float[n]", "3", "2", "0", "the step is zero"),
            ("int64[3] = n,4,m", "1", "3", "1", "int64[2] = 4,m"),
            ("int64[3] = n,4,m", "-1", "-9223372036854775807", "-1", "int64[3] = m,4,n"),
        ] {
            let vector = |value: &str| format!("int64[1] = {value}");
            let (starts, ends, step) = (vector(starts), vector(ends), vector(step));
            let inputs = [data, &starts, &ends, "int64[1] = 0", &step];
            assert_eq!(infer("Slice", &[], &inputs), expected, "{inputs:?}");
        }
        assert_eq!(infer("Slice", &[], &["float[n,8]", "int64[1]", "int64[1]", "int64[1] = 1"]), "float[n,?t.1]");
        assert_eq!(infer("Slice", &[], &["float[n,8]", "int64[1]", "int64[1]", "int64[1]"]), "float[?t.0,?t.1]");
    }

    #[test]
    fn ends_are_clamped_as_the_specification_says() {
        let taken = |size, start, end, step| indices(size, start, end, step).collect::<Vec<_>>();
        assert_eq!(taken(5, i64::MIN, i64::MAX, 2), [0, 2, 4]);
        assert_eq!(taken(5, i64::MAX, i64::MIN, -2), [4, 2, 0]);
        assert_eq!(taken(5, -2, 9, 1), [3, 4]);
        assert_eq!(taken(5, 1, 3, i64::MAX), [1]);
        assert_eq!(taken(5, 3, 1, i64::MIN), [3]);
        assert_eq!(taken(0, 0, 9, -1), [0usize; 0]);
    }

    #[test]
    fn padding_adds_to_symbolic_dims() {
        assert_eq!(infer("Pad", &[], &["float[n,3]", "int64[4] = 1,0,2,0"]), "float[n + 3,3]");
        assert_eq!(infer("Pad", &[], &["float[n,3]", "int64[2] = 1,k", "", "int64[1] = -1"]), "float[n,k + 4]");
        assert_eq!(infer("Pad", &[], &["float[3]", "int64[2] = -2,-2"]), "axis 0 would have size -1");
        assert_eq!(
            infer("Pad", &[], &["float[3]", "int64[3] = 1,2,3"]),
            "3 pads are given for 1 axes, two each are expected"
        );
        assert_eq!(infer("Pad", &[], &["float[3,n]", "int64[4]"]), "float[?t.0,?t.1]");
    }

    #[test]
    fn padding_repeats_mirrors_and_clamps() {
        let places = |mode: &str| {
            (-4..7).map(|at| padded_source(mode, at, 3).expect("a mode").map_or(9, |at| at)).collect::<Vec<_>>()
        };
        assert_eq!(places("constant"), [9, 9, 9, 9, 0, 1, 2, 9, 9, 9, 9]);
        assert_eq!(places("edge"), [0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2]);
        assert_eq!(places("wrap"), [2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(places("reflect"), [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]);
    }

    #[test]
    fn centered_crops_have_the_size_that_is_wanted() {
        let axes = |axes: &[i64]| [("axes", Attr::Ints(axes.into()))];
        assert_eq!(infer("CenterCropPad", &axes(&[-2]), &["float[n,3,4]", "int64[1] = k"]), "float[n,k,4]");
        assert_eq!(infer("CenterCropPad", &[], &["float[n,3]", "int64[2]"]), "float[?t.0,?t.1]");
        let refused = "a shape int64[1] is given for 2 axes";
        assert_eq!(infer("CenterCropPad", &[], &["float[n,3]", "int64[1]"]), refused);
    }
}
