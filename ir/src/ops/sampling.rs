//! Sampling a tensor at places that another tensor gives, and the grids of places that affine maps give.
//!
//! Interpolation is separable: each axis contributes a few elements with weights, and their products weigh the elements
//! of the tensor. Spatial transformer networks: Jaderberg et al., NeurIPS 2015.

use super::pointwise::{affordable, needs_order};
use super::resize::cubic;
use super::shape::{contents, count_of, no_negative, sizes};
use crate::attr::Attrs;
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Scalar, each_index, strides_of};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::types::TensorType;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&GRID_SAMPLE, &AFFINE_GRID];

static GRID_SAMPLE: OpDef = OpDef {
    name: "GridSample",
    doc: "The input at each place of a grid, where -1 and 1 are the ends of each axis: the nearest element or a mean",
    versions: &[16, 20, 22],
    inputs: &[Param::required("X", "T1"), Param::required("grid", "T2")],
    outputs: &[Param::required("Y", "T1")],
    attrs: &[
        AttrDef::int("align_corners", 0),
        AttrDef::string("mode", "linear"),
        AttrDef::string("padding_mode", "zeros"),
    ],
    types: &[("T1", sets::STANDARD), ("T2", sets::FLOAT)],
    infer: infer_grid_sample,
    eval: eval!(grid_sample),
    work: |call, outputs| {
        let n_axes = u32::try_from(call.given(0)?.ty.rank().checked_sub(2)?).ok()?;
        let n_taps = match call.attrs.string("mode") {
            Some("linear") => 2i64.checked_pow(n_axes)?,
            Some("cubic") => 4i64.checked_pow(n_axes)?,
            _ => 0,
        };
        // Each coordinate is scaled once for all channels; each tap is multiplied and added.
        let coordinates = call.given(1)?.ty.count()?.mul(&Dim::known(4))?;
        let taps = outputs.first()?.count()?.mul(&Dim::known(n_taps.checked_mul(2)?))?;
        Work::streaming(call, outputs, coordinates.add(&taps)?)
    },
    ..OpDef::BASE
};

fn infer_grid_sample(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let (x, grid) = (call.ty(0)?, call.ty(1)?);
    Sampler::read(call.attrs)?;
    let shape = sampled_shape(&x.shape, &grid.shape, Dim::as_known)
        .ok_or_else(|| Reason(format!("a grid {grid} does not go with an input {x}")))?;
    Ok(vec![Some(Fact::new(x.element, shape))])
}

/// The shape of a tensor of shape `x` sampled at `grid`; `None` when they do not go together.
fn sampled_shape<D: Clone>(x: &[D], grid: &[D], known: impl Fn(&D) -> Option<i64>) -> Option<Vec<D>> {
    let n_axes = x.len().checked_sub(2).filter(|&n| n > 0 && grid.len() == n + 2)?;
    let (last, places) = grid.split_last()?;
    let one_batch = known(&x[0]).zip(known(&grid[0])).is_none_or(|(a, b)| a == b);
    let all_axes = known(last).is_none_or(|last| last == n_axes as i64);
    let batch = if known(&x[0]).is_some() { &x[0] } else { &grid[0] };
    let lead = [batch.clone(), x[1].clone()];
    (one_batch && all_axes).then(|| lead.iter().chain(&places[1..]).cloned().collect())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// How one tensor is sampled.
struct Sampler {
    mode: Mode,
    padding: Padding,
    align_corners: bool,
}

impl Sampler {
    fn read(attrs: &Attrs) -> Result<Self, Reason> {
        let mode = match attrs.string("mode") {
            Some("nearest") => Mode::Nearest,
            Some("linear") => Mode::Linear,
            Some("cubic") => Mode::Cubic,
            other => return Err(Reason(format!("attribute `mode` is `{}`", other.unwrap_or_default()))),
        };
        let padding = match attrs.string("padding_mode") {
            Some("zeros") => Padding::Zeros,
            Some("border") => Padding::Border,
            Some("reflection") => Padding::Reflection,
            other => return Err(Reason(format!("attribute `padding_mode` is `{}`", other.unwrap_or_default()))),
        };
        Ok(Self { mode, padding, align_corners: attrs.flag("align_corners") })
    }

    /// The elements of an axis of `size` that are seen at `place`, where -1 and 1 are its ends, each once with its weight.
    fn taps(&self, place: f64, size: usize) -> Result<Vec<(usize, f64)>, Reason> {
        let length = size as f64;
        let (low, high) = if self.align_corners { (0.0, length - 1.0) } else { (-0.5, length - 0.5) };
        let mut at = low + (place + 1.0) / 2.0 * (high - low);
        if self.mode == Mode::Nearest {
            at = at.round_ties_even();
        }
        if at < low || at > high {
            at = match self.padding {
                Padding::Zeros => at,
                // Cubic weights do see how far outside a place is, though all its neighbours are border elements.
                Padding::Border if self.mode == Mode::Cubic => at.clamp(-3.0, length + 2.0),
                Padding::Border => at.clamp(0.0, (length - 1.0).max(0.0)),
                Padding::Reflection => reflect(at, low, high),
            };
        }
        if at.is_nan() || (size == 0 && self.padding != Padding::Zeros) {
            return Err(Reason(format!("place {place} of an axis of {size}")));
        }
        // Beyond this no neighbour is inside, and places cannot be told apart any more.
        if at.abs() > 1e9 {
            return if self.padding == Padding::Zeros { Ok(Vec::new()) } else { Err(Reason(format!("place {place}"))) };
        }
        let (base, ratio) = (at.floor(), at - at.floor());
        let weigh = |steps: std::ops::RangeInclusive<i32>, weight: &dyn Fn(f64) -> f64| {
            steps.map(|step| (base + f64::from(step), weight((f64::from(step) - ratio).abs()))).collect::<Vec<_>>()
        };
        let neighbours = match self.mode {
            Mode::Nearest => vec![(at, 1.0)],
            Mode::Linear => weigh(0..=1, &|distance| 1.0 - distance),
            Mode::Cubic => weigh(-1..=2, &|distance| cubic(-0.75, distance)),
        };
        let mut taps: Vec<(usize, f64)> = Vec::with_capacity(neighbours.len());
        for (index, weight) in neighbours {
            let last = length - 1.0;
            let index = match self.padding {
                Padding::Zeros if !(0.0..=last).contains(&index) => continue,
                Padding::Zeros => index,
                Padding::Border => index.clamp(0.0, last),
                Padding::Reflection => reflect(index, low, high).clamp(0.0, last),
            } as usize;
            match taps.iter_mut().find(|(known, _)| *known == index) {
                Some((_, sum)) => *sum += weight,
                None => taps.push((index, weight)),
            }
        }
        Ok(taps)
    }
}

/// `x` mirrored at `low` and `high` until it lies between them.
fn reflect(x: f64, low: f64, high: f64) -> f64 {
    let range = high - low;
    let distance = if x < low {
        low - x
    } else if x > high {
        x - high
    } else {
        return x;
    };
    if range <= 0.0 {
        return low;
    }
    let (turns, rest) = ((distance / range).floor(), distance % range);
    if (turns % 2.0 == 0.0) == (x < low) { low + rest } else { high - rest }
}

/// The elements that the taps of all axes see together: offsets and products of weights.
pub(super) fn combined(taps: &[Vec<(usize, f64)>], strides: &[usize]) -> Vec<(usize, f64)> {
    let mut all = vec![(0, 1.0)];
    for (taps, stride) in taps.iter().zip(strides) {
        let extend = |&(offset, product): &(usize, f64)| {
            taps.iter().map(move |&(at, weight)| (offset + at * stride, product * weight))
        };
        all = all.iter().flat_map(extend).collect();
    }
    all
}

fn grid_sample<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    let (x, grid) = (call.input(0)?, call.input(1)?);
    let sampler = Sampler::read(call.attrs)?;
    let shape = sampled_shape(&x.shape, &grid.shape, |&size| i64::try_from(size).ok())
        .ok_or_else(|| Reason(format!("a grid {:?} does not go with an input {:?}", grid.shape, x.shape)))?;
    let count = affordable(&shape, x.count().max(grid.count()))?;
    let (n_items, n_channels, spatial) = (shape[0], shape[1], &x.shape[2..]);
    if count == 0 {
        return Ok(vec![x.gathered(&shape, std::iter::empty())?]);
    }
    let n_places = count / (n_items * n_channels);
    let (strides, area) = (strides_of(spatial), count_of(spatial)?);
    let coordinates = grid.real()?;
    let mut seen = Vec::with_capacity(n_items * n_places);
    for place in coordinates.chunks(spatial.len()) {
        // Places are written last axis first.
        let taps = place.iter().rev().zip(spatial).map(|(&at, &size)| sampler.taps(at.to_f64(), size));
        seen.push(combined(&taps.collect::<Result<Vec<_>, _>>()?, &strides));
    }
    let planes = (0..n_items).flat_map(|item| (0..n_channels).map(move |channel| (item, channel)));
    let each = planes.flat_map(|(item, channel)| {
        let places = &seen[item * n_places..][..n_places];
        places.iter().map(move |seen| ((item * n_channels + channel) * area, seen))
    });
    if sampler.mode == Mode::Nearest {
        let source = |(start, seen): (usize, &Vec<(usize, f64)>)| seen.first().map(|(at, _)| start + at);
        return Ok(vec![x.gathered(&shape, each.map(source))?]);
    }
    Ok(vec![match &x.contents {
        Contents::Real(values) => {
            let mean = |(start, seen): (usize, &Vec<(usize, f64)>)| {
                S::dot(seen.iter().map(|&(at, weight)| (values[start + at], S::from_f64(weight))))
            };
            Datum::of_real(x.element, &shape, each.map(mean).collect())
        }
        Contents::Int(values) => {
            // Integers are interpolated as reals and cast afterwards, which rounds towards zero.
            let mean = |(start, seen): (usize, &Vec<(usize, f64)>)| {
                seen.iter().map(|&(at, weight)| values[start + at] as f64 * weight).sum::<f64>() as i128
            };
            Datum::of_int(x.element, &shape, each.map(mean).collect())
        }
        _ => return Err(Reason(format!("{} cannot be interpolated", x.element))),
    }])
}

static AFFINE_GRID: OpDef = OpDef {
    name: "AffineGrid",
    doc: "Where an affine map takes each element of a tensor of the given size, when -1 and 1 are the ends of each axis",
    versions: &[20],
    inputs: &[Param::required("theta", "T1"), Param::required("size", "T2")],
    outputs: &[Param::required("grid", "T1")],
    attrs: &[AttrDef::int("align_corners", 0)],
    types: &[("T1", sets::FLOAT), ("T2", sets::INT64)],
    infer: infer_affine_grid,
    eval: eval!(affine_grid),
    work: |call, outputs| {
        let n_axes = i64::try_from(outputs.first()?.rank().checked_sub(2)?).ok()?;
        Work::pointwise(call, outputs, 2 * n_axes)
    },
    ..OpDef::BASE
};

fn infer_affine_grid(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let (theta, size) = (call.ty(0)?, call.input(1)?);
    let dims = contents(size);
    let (Some(length), 3) = (size.ty.shape.first(), theta.rank()) else {
        return Err(Reason(format!("a size {} does not go with matrices {theta}", size.ty)));
    };
    let of_size = dims.as_ref().map(|dims| dims.len() as i64).or_else(|| length.as_known());
    let all = [of_size.map(|n| n - 2), theta.shape[1].as_known(), theta.shape[2].as_known().map(|n| n - 1)];
    let Some(n_axes) = all.into_iter().flatten().next() else { return Ok(vec![None]) };
    if !(2..=3).contains(&n_axes) || all.into_iter().flatten().any(|n| n != n_axes) || size.ty.rank() != 1 {
        return Err(Reason(format!("a size {} does not go with matrices {theta}", size.ty)));
    }
    let n_axes = n_axes as usize;
    let spatial = match &dims {
        Some(dims) => dims[2..].to_vec(),
        None => (0..n_axes).map(|axis| call.fresh(axis)).collect(),
    };
    no_negative(&spatial)?;
    let mut batch = theta.shape[0].clone();
    if let Some(wanted) = dims.as_ref().and_then(|dims| dims[0].as_known()) {
        if batch.as_known().is_some_and(|batch| batch != wanted) {
            return Err(Reason(format!("{wanted} grids are wanted of matrices {theta}")));
        }
        batch = Dim::known(wanted);
    }
    let shape = std::iter::once(batch).chain(spatial).chain([Dim::from(n_axes)]);
    Ok(vec![Some(Fact::from(TensorType::new(theta.element, shape)))])
}

fn affine_grid<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (theta, size) = (call.input(0)?, sizes(&call.ints(1)?)?);
    let n_axes = size.len().saturating_sub(2);
    let fits = (2..=3).contains(&n_axes) && theta.shape == [size[0], n_axes, n_axes + 1];
    if !fits {
        return Err(Reason(format!("matrices {:?} for a tensor of size {size:?}", theta.shape)));
    }
    let (spatial, values) = (&size[2..], theta.real()?);
    let shape = [&size[..1], spatial, &[n_axes]].concat();
    let mut grid = Vec::with_capacity(affordable(&shape, theta.count())?);
    let align_corners = call.attrs.flag("align_corners");
    // An axis of one element that is aligned by its corners has its only element in the middle.
    let place = |at: usize, size: usize| match (align_corners, size) {
        (true, 1) => 0.0,
        (true, _) => 2.0 * at as f64 / (size as f64 - 1.0) - 1.0,
        (false, _) => (2.0 * at as f64 + 1.0) / size as f64 - 1.0,
    };
    for matrix in values.chunks(n_axes * (n_axes + 1)) {
        each_index(spatial, |index| {
            // Places are written last axis first, behind them the 1 that the translation is multiplied by.
            let places = index.iter().zip(spatial).rev().map(|(&at, &size)| place(at, size));
            let homogeneous: Vec<S> = places.chain([1.0]).map(S::from_f64).collect();
            grid.extend(
                matrix.chunks(n_axes + 1).map(|row| S::dot(row.iter().copied().zip(homogeneous.iter().copied()))),
            );
            Ok::<(), Reason>(())
        })?;
    }
    Ok(vec![Datum::of_real(theta.element, &shape, grid)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::Attr;
    use crate::ops::cases::infer;

    #[test]
    fn reflection_ends_between_the_borders() {
        let found: Vec<f64> = [-3.5, -1.0, 0.25, 3.0, 5.5].iter().map(|&x| reflect(x, 0.0, 2.0)).collect();
        assert_eq!(found, [0.5, 1.0, 0.25, 1.0, 1.5]);
        assert_eq!(reflect(7.0, 0.0, 0.0), 0.0);
    }

    #[test]
    fn a_grid_gives_the_shape_of_its_samples() {
        assert_eq!(infer("GridSample", &[], &["float[n,3,h,w]", "float[n,8,k,2]"]), "float[n,3,8,k]");
        assert_eq!(infer("GridSample", &[], &["float[n,3,h]", "float[4,8,1]"]), "float[4,3,8]");
        let refused = "a grid float[1,8,8,3] does not go with an input float[1,3,9,9]";
        assert_eq!(infer("GridSample", &[], &["float[1,3,9,9]", "float[1,8,8,3]"]), refused);
        let mode = [("mode", Attr::String("bilinear".into()))];
        assert_eq!(infer("GridSample", &mode, &["float[1,3,9]", "float[1,8,1]"]), "attribute `mode` is `bilinear`");
    }

    #[test]
    fn a_size_gives_the_shape_of_its_grid() {
        assert_eq!(infer("AffineGrid", &[], &["float[n,2,3]", "int64[4] = n,3,h,7"]), "float[n,h,7,2]");
        assert_eq!(infer("AffineGrid", &[], &["float[n,k,m]", "int64[5]"]), "float[n,?t.0,?t.1,?t.2,3]");
        assert_eq!(infer("AffineGrid", &[], &["float[n,k,m]", "int64[l]"]), "?");
        let refused = "a size int64[5] does not go with matrices float[n,2,3]";
        assert_eq!(infer("AffineGrid", &[], &["float[n,2,3]", "int64[5]"]), refused);
    }
}
