//! Resampling a tensor to another size.
//!
//! Interpolation is separable: each axis is resized in turn, every output a weighted sum along it. Cubic weights: Keys,
//! IEEE Transactions on Acoustics, Speech, and Signal Processing, 1981.

use crate::attr::{AttrKind, Attrs};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::ops::movement::{Tables, identity, picked, sources};
use crate::ops::shape::{contents, count_of, distinct_axes, overflow};
use crate::tensor::Tensor;
use crate::types::{Element, ElementKind};

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&RESIZE];

static RESIZE: OpDef = OpDef {
    name: "Resize",
    doc: "Resamples some axes to given sizes or by given scales: the nearest element, or a weighted mean of its neighbours",
    versions: &[10, 11, 13, 18, 19],
    inputs: &[
        Param::required("X", "T1"),
        Param::optional("roi", "T2"),
        Param::optional("scales", "tensor(float)"),
        Param::optional("sizes", "tensor(int64)"),
    ],
    outputs: &[Param::required("Y", "T1")],
    attrs: &[
        AttrDef::int("antialias", 0),
        AttrDef::optional("axes", AttrKind::Ints),
        AttrDef::string("coordinate_transformation_mode", "half_pixel"),
        AttrDef::float("cubic_coeff_a", -0.75),
        AttrDef::int("exclude_outside", 0),
        AttrDef::float("extrapolation_value", 0.0),
        AttrDef::string("keep_aspect_ratio_policy", "stretch"),
        AttrDef::string("mode", "nearest"),
        AttrDef::string("nearest_mode", "round_prefer_floor"),
    ],
    types: &[
        ("T1", sets::STANDARD),
        ("T2", &[Element::Float16, Element::Float, Element::Double]),
        ("tensor(float)", &[Element::Float]),
        ("tensor(int64)", sets::INT64),
    ],
    infer: infer_resize,
    eval: eval!(resize),
    work: |call, outputs| {
        let taps = match call.attrs.string("mode") {
            Some("linear") => 2,
            Some("cubic") => 4,
            _ => return Work::moves(call, outputs),
        };
        let resized = call.given(0)?.ty.shape.iter().zip(&outputs.first()?.shape).filter(|(a, b)| a != b).count();
        Work::pointwise(call, outputs, 2 * taps * resized as i64)
    },
    ..OpDef::BASE
};

/// The axes that are resized.
fn resized_axes(attrs: &Attrs, rank: usize) -> Result<Vec<usize>, Reason> {
    match attrs.ints("axes") {
        Some(axes) => distinct_axes(axes, rank),
        None => Ok((0..rank).collect()),
    }
}

fn check_length(name: &str, length: usize, n_axes: usize) -> Result<(), Reason> {
    if length == n_axes { Ok(()) } else { Err(Reason(format!("{length} {name} are given for {n_axes} axes"))) }
}

fn infer_resize(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let x = call.ty(0)?;
    let axes = resized_axes(call.attrs, x.rank())?;
    let mut shape = x.shape.clone();
    // An operand of no elements stands for one that is left out.
    let given = |index: usize| call.given(index).filter(|operand| operand.ty.count() != Some(Dim::known(0)));
    match (given(2), given(3)) {
        (Some(scales), None) => {
            let scales = scales.constant.and_then(Tensor::to_f64s);
            if let Some(scales) = &scales {
                check_length("scales", scales.len(), axes.len())?;
            }
            for (at, &axis) in axes.iter().enumerate() {
                let scaled = match &scales {
                    Some(scales) => scaled_dim(&shape[axis], scales[at])?,
                    None => None,
                };
                shape[axis] = scaled.unwrap_or_else(|| call.fresh(axis));
            }
        }
        (None, Some(sizes)) => {
            let sizes = contents(sizes);
            if let Some(sizes) = &sizes {
                check_length("sizes", sizes.len(), axes.len())?;
            }
            let stretched = call.attrs.string("keep_aspect_ratio_policy") == Some("stretch");
            let old: Option<Vec<usize>> = axes.iter().map(|&axis| x.shape[axis].as_size()).collect();
            let new: Option<Vec<usize>> = sizes.iter().flatten().map(Dim::as_size).collect();
            let new = match (stretched, &sizes, old.zip(new)) {
                (true, Some(sizes), _) => sizes.iter().cloned().map(Some).collect(),
                (false, Some(_), Some((old, new))) => {
                    let (_, kept) = with_aspect_ratio(call.attrs, &old, &new)?;
                    kept.into_iter().map(|size| Some(size.into())).collect()
                }
                _ => vec![None; axes.len()],
            };
            for (&axis, dim) in axes.iter().zip(new) {
                shape[axis] = dim.unwrap_or_else(|| call.fresh(axis));
            }
        }
        _ => return Err(Reason::new("exactly one of scales and sizes is expected")),
    }
    crate::ops::shape::no_negative(&shape)?;
    Ok(vec![Some(Fact::new(x.element, shape))])
}

/// The floor of `dim * scale`, when it can be expressed. Errors: a scale that is not positive, too large.
fn scaled_dim(dim: &Dim, scale: f64) -> Result<Option<Dim>, Reason> {
    if let Some(size) = dim.as_size() {
        return Ok(Some(scaled_size(size, scale)?.into()));
    }
    scaled_size(1, scale)?;
    if scale.fract() == 0.0 {
        return dim.mul(&Dim::known(scale as i64)).map(Some).ok_or_else(overflow);
    }
    let inverse = 1.0 / scale;
    let exact = inverse.fract() == 0.0 && inverse < 1e9 && scale * inverse == 1.0;
    Ok(if exact { dim.floor_div(&Dim::known(inverse as i64)) } else { None })
}

fn scaled_size(size: usize, scale: f64) -> Result<usize, Reason> {
    let scaled = size as f64 * scale;
    if !(scale > 0.0 && scaled < 9e15) {
        return Err(Reason(format!("an axis of {size} cannot be scaled by {scale}")));
    }
    Ok(scaled as usize)
}

/// The common scale that keeps the aspect ratio, and the sizes that it gives.
fn with_aspect_ratio(attrs: &Attrs, old: &[usize], new: &[usize]) -> Result<(f64, Vec<usize>), Reason> {
    let scales = old.iter().zip(new).map(|(&old, &new)| new as f64 / old as f64);
    let scale = match attrs.string("keep_aspect_ratio_policy") {
        Some("not_larger") => scales.fold(f64::INFINITY, f64::min),
        Some("not_smaller") => scales.fold(0.0, f64::max),
        other => {
            return Err(Reason(format!("attribute `keep_aspect_ratio_policy` is `{}`", other.unwrap_or_default())));
        }
    };
    let round = |&old: &usize| match (scale * old as f64 + 0.5).floor() {
        size if size < 9e15 => Ok(size as usize),
        size => Err(Reason(format!("an axis would have size {size}"))),
    };
    let sizes = old.iter().map(round).collect::<Result<Vec<_>, _>>()?;
    Ok((scale, sizes))
}

/// How one axis is resized.
struct Axis {
    old: usize,
    new: usize,
    scale: f64,
    /// Ends of the region of interest, as parts of the axis.
    region: (f64, f64),
}

/// Where an output comes from: elements of the axis and their weights; `None` is the extrapolation value.
type Taps = Option<Vec<(usize, f64)>>;

/// Each axis that is resized, and how.
fn plan<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<(usize, Axis)>, Reason> {
    let x = call.input(0)?;
    let axes = resized_axes(call.attrs, x.rank())?;
    let old: Vec<usize> = axes.iter().map(|&axis| x.shape[axis]).collect();
    let given = |index: usize| call.given(index).filter(|datum| datum.count() > 0);
    let reals = |datum: &Datum<S>| -> Result<Vec<f64>, Reason> {
        crate::ops::pointwise::needs_order::<S>()?;
        Ok(datum.real()?.iter().map(|value| value.to_f64()).collect())
    };
    let (scales, new) = match (given(2), given(3)) {
        (Some(scales), None) => {
            let scales = reals(scales)?;
            check_length("scales", scales.len(), axes.len())?;
            let new =
                old.iter().zip(&scales).map(|(&old, &scale)| scaled_size(old, scale)).collect::<Result<_, _>>()?;
            (scales, new)
        }
        (None, Some(sizes)) => {
            let sizes = crate::ops::shape::sizes(&sizes.to_i64s()?)?;
            check_length("sizes", sizes.len(), axes.len())?;
            if call.attrs.string("keep_aspect_ratio_policy") == Some("stretch") {
                (old.iter().zip(&sizes).map(|(&old, &new)| new as f64 / old as f64).collect(), sizes)
            } else {
                let (scale, sizes) = with_aspect_ratio(call.attrs, &old, &sizes)?;
                (vec![scale; axes.len()], sizes)
            }
        }
        // A tensor without axes has nothing to say either.
        _ if axes.is_empty() => (Vec::new(), Vec::new()),
        _ => return Err(Reason::new("exactly one of scales and sizes is expected")),
    };
    let regions = match given(1) {
        Some(roi) if call.attrs.string("coordinate_transformation_mode") == Some("tf_crop_and_resize") => {
            let ends = reals(roi)?;
            check_length("ends of regions", ends.len(), 2 * axes.len())?;
            (0..axes.len()).map(|at| (ends[at], ends[at + axes.len()])).collect()
        }
        _ => vec![(0.0, 1.0); axes.len()],
    };
    let axis = |at: usize| Axis { old: old[at], new: new[at], scale: scales[at], region: regions[at] };
    if let Some(at) = (0..axes.len()).find(|&at| old[at] == 0 && new[at] > 0) {
        return Err(Reason(format!("axis {} is empty and cannot grow", axes[at])));
    }
    Ok(axes.iter().enumerate().map(|(at, &index)| (index, axis(at))).collect())
}

impl Axis {
    /// The place in the old axis that element `at` of the new one stands for; `None` outside the region of interest.
    fn place(&self, mode: &str, at: usize) -> Result<Option<f64>, Reason> {
        let (y, last, width) = (at as f64, self.old as f64 - 1.0, self.scale * self.old as f64);
        let half_pixel = (y + 0.5) / self.scale - 0.5;
        Ok(Some(match mode {
            "half_pixel" => half_pixel,
            "half_pixel_symmetric" => self.old as f64 / 2.0 * (1.0 - self.new as f64 / width) + half_pixel,
            "pytorch_half_pixel" => {
                if self.new > 1 {
                    half_pixel
                } else {
                    0.0
                }
            }
            "align_corners" => {
                if width == 1.0 {
                    0.0
                } else {
                    y * last / (width - 1.0)
                }
            }
            "asymmetric" => y / self.scale,
            "tf_crop_and_resize" => {
                let (start, end) = self.region;
                let place = match self.new {
                    1 => 0.5 * (start + end) * last,
                    _ => start * last + y * (end - start) * last / (width - 1.0),
                };
                return Ok((0.0..=last).contains(&place).then_some(place));
            }
            _ => return Err(Reason(format!("attribute `coordinate_transformation_mode` is `{mode}`"))),
        }))
    }

    /// The elements and weights behind each element of the new axis.
    fn taps(&self, attrs: &Attrs) -> Result<Vec<Taps>, Reason> {
        let text = |name: &str| attrs.string(name).unwrap_or_default();
        let coordinates = text("coordinate_transformation_mode");
        let exclude = attrs.flag("exclude_outside");
        // Shrinking stretches the filter, so that every old element has a part in the result.
        let squeeze = if attrs.flag("antialias") { self.scale.min(1.0) } else { 1.0 };
        let last = self.old as i64 - 1;
        let mut all = Vec::with_capacity(self.new);
        for at in 0..self.new {
            let Some(place) = self.place(coordinates, at)? else {
                all.push(None);
                continue;
            };
            let (base, ratio) = (place.floor(), place - place.floor());
            if !base.is_finite() || base.abs() > 9e15 {
                return Err(Reason(format!("place {place} of an axis of {}", self.old)));
            }
            let base = base as i64;
            let (reach, weight): (f64, &dyn Fn(f64) -> f64) = match text("mode") {
                "nearest" => {
                    let up = match text("nearest_mode") {
                        "round_prefer_floor" => ratio > 0.5,
                        "round_prefer_ceil" => ratio >= 0.5,
                        "floor" => false,
                        "ceil" => ratio > 0.0,
                        other => return Err(Reason(format!("attribute `nearest_mode` is `{other}`"))),
                    };
                    all.push(Some(vec![((base + i64::from(up)).clamp(0, last) as usize, 1.0)]));
                    continue;
                }
                "linear" => (1.0, &|distance| (1.0 - distance).max(0.0)),
                "cubic" => {
                    let a = f64::from(attrs.float("cubic_coeff_a").unwrap_or(-0.75));
                    (2.0, &move |distance| cubic(a, distance))
                }
                other => return Err(Reason(format!("attribute `mode` is `{other}`"))),
            };
            let half = (reach / squeeze).ceil() as i64;
            let tap = |step: i64| (base + step, weight((squeeze * (step as f64 - ratio)).abs()));
            let mut taps: Vec<(i64, f64)> = (1 - half..=half).map(tap).collect();
            if exclude {
                taps.retain(|(at, _)| (0..=last).contains(at));
            }
            let sum: f64 = taps.iter().map(|(_, weight)| weight).sum();
            let norm = if (exclude || squeeze < 1.0) && sum != 0.0 { sum } else { 1.0 };
            let inside = |(at, weight): (i64, f64)| (at.clamp(0, last) as usize, weight / norm);
            all.push(Some(taps.into_iter().map(inside).collect()));
        }
        Ok(all)
    }
}

/// Keys' kernel with parameter `a`.
pub(super) fn cubic(a: f64, x: f64) -> f64 {
    match x {
        x if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        _ => 0.0,
    }
}

fn resize<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let plan = plan(call)?;
    let mut shape = x.shape.clone();
    for (index, axis) in &plan {
        shape[*index] = axis.new;
    }
    count_of(&shape)?;
    let outside = f64::from(call.attrs.float("extrapolation_value").unwrap_or(0.0));
    if call.attrs.string("mode") == Some("nearest") {
        return Ok(vec![nearest(call.attrs, x, &plan, outside)?]);
    }
    Ok(vec![match &x.contents {
        Contents::Real(values) => {
            let resized = interpolated::<S>(call.attrs, &x.shape, values.to_vec(), &plan, S::from_f64(outside))?;
            Datum::of_real(x.element, &shape, resized)
        }
        Contents::Int(values) => {
            // Integers are interpolated as reals, rounded to even and kept in range.
            let reals = values.iter().map(|&value| value as f64).collect();
            let resized = interpolated::<f64>(call.attrs, &x.shape, reals, &plan, outside)?;
            let (low, high) = range_of(x.element);
            let whole = |value: f64| (value.round_ties_even() as i128).clamp(low, high);
            Datum::of_int(x.element, &shape, resized.into_iter().map(whole).collect())
        }
        _ => return Err(Reason(format!("{} cannot be interpolated", x.element))),
    }])
}

/// The least and the largest number of an integer type.
fn range_of(element: Element) -> (i128, i128) {
    let bits = element.bits() as u32;
    match element.kind() {
        ElementKind::Signed => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
        _ => (0, (1i128 << bits) - 1),
    }
}

fn nearest<S: Scalar>(attrs: &Attrs, x: &Datum<S>, plan: &[(usize, Axis)], outside: f64) -> Result<Datum<S>, Reason> {
    let mut tables: Tables = identity(&x.shape);
    for (index, axis) in plan {
        let from = |taps: Taps| taps.and_then(|taps| tables[*index][taps[0].0]);
        let table = axis.taps(attrs)?.into_iter().map(from).collect();
        tables[*index] = table;
    }
    let shape: Vec<usize> = tables.iter().map(Vec::len).collect();
    let constant = match &x.contents {
        Contents::Real(_) => Datum::of_real(x.element, &[], vec![S::from_f64(outside)]),
        Contents::Int(_) => Datum::of_int(x.element, &[], vec![outside as i128]),
        Contents::Bool(_) => Datum::of_bool(&[], vec![outside != 0.0]),
        Contents::Text(_) | Contents::Complex(_) => return x.gathered(&shape, sources(&tables)),
    };
    picked(&[x, &constant], &shape, sources(&tables).map(|source| source.map_or((1, 0), |at| (0, at))))
}

fn interpolated<S: Scalar>(
    attrs: &Attrs,
    shape: &[usize],
    mut values: Vec<S>,
    plan: &[(usize, Axis)],
    outside: S,
) -> Result<Vec<S>, Reason> {
    let mut shape = shape.to_vec();
    for (index, axis) in plan {
        let unchanged = axis.scale == 1.0 && axis.new == axis.old && axis.region == (0.0, 1.0);
        if unchanged {
            continue;
        }
        let taps = axis.taps(attrs)?;
        let (outer, inner): (usize, usize) = (shape[..*index].iter().product(), shape[index + 1..].iter().product());
        shape[*index] = axis.new;
        let mut resized = Vec::with_capacity(count_of(&shape)?);
        for row in 0..outer {
            for taps in &taps {
                let sum = |column: usize| match taps {
                    Some(taps) => S::dot(
                        taps.iter()
                            .map(|&(at, weight)| (S::from_f64(weight), values[(row * axis.old + at) * inner + column])),
                    ),
                    None => outside,
                };
                resized.extend((0..inner).map(sum));
            }
        }
        values = resized;
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::Attr;
    use crate::ops::cases::infer;

    #[test]
    fn sizes_are_taken_and_scales_multiply_symbolic_dims() {
        assert_eq!(infer("Resize", &[], &["float[n,3,h,w]", "", "", "int64[4] = n,3,2*h,7"]), "float[n,3,2*h,7]");
        let n = Dim::symbol("n");
        assert_eq!(scaled_dim(&n, 2.0), Ok(n.mul(&Dim::known(2))));
        assert_eq!(scaled_dim(&n, 0.25), Ok(n.floor_div(&Dim::known(4))));
        assert_eq!(scaled_dim(&n, 1.5), Ok(None));
        assert_eq!(scaled_dim(&Dim::known(5), 1.5), Ok(Some(Dim::known(7))));
        assert!(scaled_dim(&n, -1.0).is_err() && scaled_dim(&n, f64::NAN).is_err() && scaled_dim(&n, 1e300).is_err());
        let axes = [("axes", Attr::Ints([-1].as_slice().into()))];
        assert_eq!(infer("Resize", &axes, &["float[n,8]", "", "", "int64[1] = 16"]), "float[n,16]");
        assert_eq!(infer("Resize", &axes, &["float[n,8]", "", "float[1]", ""]), "float[n,?t.1]");
        let refused = "exactly one of scales and sizes is expected";
        assert_eq!(infer("Resize", &[], &["float[n]", "", "float[1]", "int64[1]"]), refused);
        assert_eq!(infer("Resize", &[], &["float[n]", "", "", "int64[1] = -2"]), "a dim would be -2");
    }

    #[test]
    fn the_aspect_ratio_is_kept_by_the_smallest_or_the_largest_scale() {
        let policy = |text: &str| [("keep_aspect_ratio_policy", Attr::String(text.into()))];
        let inputs = ["float[2,4]", "", "", "int64[2] = 7,8"];
        assert_eq!(infer("Resize", &policy("not_larger"), &inputs), "float[4,8]");
        assert_eq!(infer("Resize", &policy("not_smaller"), &inputs), "float[7,14]");
    }

    #[test]
    fn cubic_weights_sum_to_one_and_vanish_at_whole_steps() {
        for ratio in [0.0, 0.25, 0.5, 0.9] {
            let sum: f64 = [-1.0, 0.0, 1.0, 2.0].iter().map(|step: &f64| cubic(-0.75, (step - ratio).abs())).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{ratio}: {sum}");
        }
        assert_eq!((cubic(-0.5, 0.0), cubic(-0.5, 1.0), cubic(-0.5, 2.0)), (1.0, 0.0, 0.0));
    }
}
