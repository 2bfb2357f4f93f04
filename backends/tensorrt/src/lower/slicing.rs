//! Parts of tensors, padding, and resizing.

use super::activation::must_be_constant;
use super::builder::Builder;
use super::call::Call;
use super::movement::axis_of;
use super::operand::{Operand, Typed};
use super::refusal::Refusal;
use super::terms::Term;
use super::view::Cut;
use super::{Lowered, Lowering};
use crate::layer::{CoordinateMode, Extents, InterpolationMode, Layer, ResizeTo, RoundMode, SliceMode};
use eutectic_ir::Dim;

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[("Slice", slice), ("Split", split), ("Pad", pad), ("Resize", resize)];

fn slice(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let list = |builder: &mut Builder, index: usize, name: &str| match call.given(index) {
        Some(arg) => builder.terms(arg).map(Some),
        None => Ok(call.attrs.ints(name).map(|ints| ints.iter().copied().map(Term::Known).collect::<Vec<_>>())),
    };
    let starts = list(builder, 1, "starts")?.ok_or("it has no starts")?;
    let ends = list(builder, 2, "ends")?.ok_or("it has no ends")?;
    let axes = match call.axes(3, "axes", x.rank())? {
        Some(axes) => axes,
        None => (0..starts.len()).collect(),
    };
    let steps = call.list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if axes.len() != starts.len() || ends.len() != starts.len() || steps.len() != starts.len() {
        return Err(Refusal::new("its starts, ends, axes and steps differ in number"));
    }
    let rank = x.rank();
    let mut cut = Cut { start: vec![Term::Known(0); rank], size: Vec::new(), stride: vec![Term::Known(1); rank] };
    let mut size: Vec<Option<Term>> = vec![None; rank];
    let mut shape = x.shape.clone();
    for (at, &axis) in axes.iter().enumerate() {
        if axis >= rank {
            return Err(Refusal::new(format!("axis {axis} is out of range for rank {rank}")));
        }
        let (first, count) = span(builder, &x, axis, &starts[at], &ends[at], steps[at])?;
        cut.start[axis] = first;
        cut.stride[axis] = Term::Known(steps[at]);
        shape[axis] = match (count, call.shape(0).and_then(|shape| shape.get(axis))) {
            (Term::Known(known), _) => Dim::known(known),
            (_, Some(dim)) => dim.clone(),
            _ => builder.fresh(),
        };
        size[axis] = Some(count);
    }
    for (axis, size) in size.into_iter().enumerate() {
        cut.size.push(match size {
            Some(term) => term,
            None => builder.extent(&x, axis)?,
        });
    }
    if shape == x.shape && steps.iter().all(|&step| step == 1) {
        return Ok(vec![x.into()]);
    }
    Ok(vec![builder.slice(&x, &cut, SliceMode::Strict, None, shape)?.into()])
}

/// First element and number of elements that `start..end` by `step` selects, as ONNX clamps them.
fn span(
    builder: &mut Builder,
    x: &Typed,
    axis: usize,
    start: &Term,
    end: &Term,
    step: i64,
) -> Result<(Term, Term), Refusal> {
    let extent = builder.extent(x, axis)?;
    let (low, high) = if step > 0 { (0, 0) } else { (-1, -1) };
    // A forward slice starts in 0..=n and ends in 0..=n; a backward one starts in 0..=n-1 and ends in -1..=n-1.
    let first = bounded(builder, start, &extent, 0, high)?;
    let last = bounded(builder, end, &extent, low, high)?;
    let count = if step > 0 {
        let length = builder.sub(&last, &first)?;
        builder.ceil_div(&length, step)?
    } else if step < 0 {
        let length = builder.sub(&first, &last)?;
        let back = step.checked_neg().ok_or("its step overflows")?;
        builder.ceil_div(&length, back)?
    } else {
        return Err(Refusal::new("its step is 0"));
    };
    let count = builder.max(&count, &Term::Known(0))?;
    Ok((first, count))
}

/// `index` counted from the front and clamped to `low..=extent + above`.
fn bounded(builder: &mut Builder, index: &Term, extent: &Term, low: i64, above: i64) -> Result<Term, Refusal> {
    let from_front = match index {
        Term::Known(known) if *known >= 0 => *index,
        // Far below zero means the front itself.
        Term::Known(known) if *known < i64::from(i32::MIN) => return Ok(Term::Known(low)),
        Term::Known(_) => builder.add(extent, index)?,
        Term::At(_) => builder.counted_from_front(index, extent)?,
    };
    if let (Term::Known(0), 0, 0) = (from_front, low, above) {
        return Ok(Term::Known(0));
    }
    let high = builder.add(extent, &Term::Known(above))?;
    let capped = match from_front {
        // The end of everything: no need to compare.
        Term::Known(known) if known >= i64::from(i32::MAX) => high,
        _ => builder.min(&from_front, &high)?,
    };
    match capped {
        Term::At(_) if matches!(from_front, Term::Known(known) if known >= 0) && above == 0 => Ok(capped),
        _ => builder.max(&capped, &Term::Known(low)),
    }
}

fn split(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let axis = axis_of(call.int("axis", 0), x.rank())?;
    let n_parts = call.used.len();
    let sizes: Vec<Term> = match call.given(1) {
        Some(sizes) => builder.terms(sizes)?,
        None => match call.attrs.ints("split") {
            Some(sizes) => sizes.iter().copied().map(Term::Known).collect(),
            None => {
                let extent = builder.extent(&x, axis)?;
                let n = i64::try_from(n_parts).unwrap_or(1).max(1);
                let chunk = builder.ceil_div(&extent, n)?;
                let before = builder.mul(&chunk, &Term::Known(n - 1))?;
                let mut sizes = vec![chunk; n_parts];
                if let Some(last) = sizes.last_mut() {
                    *last = builder.sub(&extent, &before)?;
                }
                sizes
            }
        },
    };
    if sizes.len() != n_parts {
        return Err(Refusal::new(format!("{} sizes for {n_parts} outputs", sizes.len())));
    }
    let mut start = Term::Known(0);
    let mut parts: Vec<Operand> = Vec::new();
    for (at, size) in sizes.into_iter().enumerate() {
        let mut part = builder.part(&x, axis, start, size)?;
        if let Some(dim) = call.shape(at).and_then(|shape| shape.get(axis)) {
            part.shape[axis] = dim.clone();
        }
        parts.push(part.into());
        start = builder.add(&start, &size)?;
    }
    Ok(parts)
}

fn pad(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let rank = x.rank();
    let mode = match call.string("mode", "constant") {
        "constant" => SliceMode::Fill,
        "edge" => SliceMode::Clamp,
        "reflect" => SliceMode::Reflect,
        "wrap" => SliceMode::Wrap,
        other => return Err(Refusal::new(format!("its mode is {other}")).instead("constant, edge, reflect or wrap")),
    };
    let pads = match call.given(1) {
        Some(pads) => builder.terms(pads)?,
        None => call.attrs.ints("pads").ok_or("it has no pads")?.iter().copied().map(Term::Known).collect(),
    };
    let axes = call.axes(3, "axes", rank)?.unwrap_or_else(|| (0..rank).collect());
    if pads.len() != 2 * axes.len() {
        return Err(Refusal::new(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    let mut cut =
        Cut { start: vec![Term::Known(0); rank], size: builder.sizes(&x)?, stride: vec![Term::Known(1); rank] };
    let mut shape = x.shape.clone();
    for (at, &axis) in axes.iter().enumerate() {
        let (before, after) = (pads[at], pads[at + axes.len()]);
        cut.start[axis] = builder.sub(&Term::Known(0), &before)?;
        let both = builder.add(&before, &after)?;
        cut.size[axis] = builder.add(&cut.size[axis], &both)?;
        let padded = match both {
            Term::Known(both) => shape[axis].add(&Dim::known(both)),
            Term::At(_) => call.shape(0).and_then(|shape| shape.get(axis)).cloned(),
        };
        shape[axis] = padded.unwrap_or_else(|| builder.fresh());
    }
    let fill = match (mode, call.given(2)) {
        (SliceMode::Fill, Some(value)) => match &value.value {
            Operand::Weight(weight) => Some(builder.constant(weight, &[])?),
            Operand::Tensor(value) if value.rank() == 1 => Some(builder.squeeze(value, &[0])),
            Operand::Tensor(value) => Some(value.clone()),
        },
        (SliceMode::Fill, None) => Some(builder.scalar(f64::from(call.float("value", 0.0)), x.data_type, 0)?),
        _ => None,
    };
    Ok(vec![builder.slice(&x, &cut, mode, fill.map(|fill| fill.at), shape)?.into()])
}

fn resize(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let rank = x.rank();
    if call.attrs.flag("antialias") {
        return Err(Refusal::new("it antialiases").instead("antialias 0"));
    }
    call.one_of("keep_aspect_ratio_policy", &["stretch"])?;
    call.one_of("mode", &["nearest", "linear", "cubic"])?;
    let mode = match call.string("mode", "nearest") {
        "linear" => InterpolationMode::Linear,
        "cubic" => InterpolationMode::Cubic,
        _ => InterpolationMode::Nearest,
    };
    let transformation = call.string("coordinate_transformation_mode", "half_pixel");
    let (coordinates, single_is_upper) = match transformation {
        "half_pixel" => (CoordinateMode::HalfPixel, false),
        "pytorch_half_pixel" => (CoordinateMode::HalfPixel, true),
        "asymmetric" => (CoordinateMode::Asymmetric, false),
        "align_corners" => (CoordinateMode::AlignCorners, false),
        other => {
            return Err(Refusal::new(format!("its coordinate_transformation_mode is {other}"))
                .instead("half_pixel, pytorch_half_pixel, asymmetric or align_corners"));
        }
    };
    let rounding = match call.string("nearest_mode", "round_prefer_floor") {
        "round_prefer_floor" => RoundMode::HalfDown,
        "round_prefer_ceil" => RoundMode::HalfUp,
        "floor" => RoundMode::Floor,
        "ceil" => RoundMode::Ceil,
        other => return Err(Refusal::new(format!("its nearest_mode is {other}"))),
    };
    let axes = match call.attrs.ints("axes") {
        Some(axes) => axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    let mut shape = x.shape.clone();
    let to = match (call.given(3), call.given(2)) {
        (Some(sizes), _) => {
            let sizes = builder.terms(sizes)?;
            let mut terms = builder.sizes(&x)?;
            if sizes.len() != axes.len() {
                return Err(Refusal::new(format!("{} sizes for {} axes", sizes.len(), axes.len())));
            }
            for (&axis, term) in axes.iter().zip(sizes) {
                terms[axis] = term;
                shape[axis] = match term {
                    Term::Known(known) => Dim::known(known),
                    Term::At(_) => builder.fresh(),
                };
            }
            ResizeTo::Extents(builder.extents_of(&terms)?)
        }
        (None, Some(scales)) => {
            let scales = scales.value.weight().ok_or_else(|| must_be_constant("scales"))?;
            let given = scales.tensor.to_f64s().ok_or("its scales are not numbers")?;
            if given.len() != axes.len() {
                return Err(Refusal::new(format!("{} scales for {} axes", given.len(), axes.len())));
            }
            let mut scales = vec![1.0; rank];
            for (&axis, &scale) in axes.iter().zip(&given) {
                scales[axis] = scale as f32;
                shape[axis] = match shape[axis].as_known() {
                    Some(extent) => Dim::known((extent as f64 * scale).floor() as i64),
                    None if scale == 1.0 => shape[axis].clone(),
                    None => builder.fresh(),
                };
            }
            ResizeTo::Scales(scales)
        }
        (None, None) => return Err(Refusal::new("it has neither sizes nor scales")),
    };
    if let ResizeTo::Extents(Extents::Known(known)) = &to
        && x.sizes().as_ref() == Some(known)
    {
        return Ok(vec![x.into()]);
    }
    let layer = Layer::Resize {
        input: x.at,
        to,
        mode,
        coordinates,
        single_is_upper,
        rounding,
        cubic_coefficient: call.float("cubic_coeff_a", -0.75),
        exclude_outside: call.attrs.flag("exclude_outside"),
    };
    Ok(vec![builder.typed("resize", layer, x.data_type, shape).into()])
}
