//! Detection: pooling over regions of interest, and choosing among boxes that overlap.

use super::pointwise::{affordable, maximum, needs_order};
use super::shape::count_of;
use crate::attr::{AttrKind, Attrs};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::types::{Element, TensorType};
use std::cmp::Ordering;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&ROI_ALIGN, &MAX_ROI_POOL, &NON_MAX_SUPPRESSION];

static ROI_ALIGN: OpDef = OpDef {
    name: "RoiAlign",
    doc: "The mean (or maximum) of interpolated samples in each bin of each region of interest (He et al., ICCV 2017)",
    versions: &[10, 16, 22],
    inputs: &[Param::required("X", "T1"), Param::required("rois", "T1"), Param::required("batch_indices", "T2")],
    outputs: &[Param::required("Y", "T1")],
    attrs: &[
        AttrDef::string("coordinate_transformation_mode", "half_pixel"),
        AttrDef::string("mode", "avg"),
        AttrDef::int("output_height", 1),
        AttrDef::int("output_width", 1),
        AttrDef::int("sampling_ratio", 0),
        AttrDef::float("spatial_scale", 1.0),
    ],
    types: &[("T1", sets::FLOAT), ("T2", sets::INT64)],
    infer: |call| {
        let (x, rois, batch_indices) = (call.ty(0)?, call.ty(1)?, call.ty(2)?);
        let align = Align::read(call.attrs)?;
        let n_rois = check_rois(x, rois, 4)?;
        let n_rois =
            match batch_indices.shape.as_slice() {
                [n] if n.as_known().zip(n_rois.as_known()).is_none_or(|(a, b)| a == b) => {
                    if n_rois.as_known().is_some() { n_rois } else { n }
                }
                _ => return Err(Reason(format!("batch indices {batch_indices} do not go with regions {rois}"))),
            };
        let shape = [n_rois.clone(), x.shape[1].clone(), align.height.into(), align.width.into()];
        Ok(vec![Some(Fact::new(x.element, shape))])
    },
    eval: eval!(roi_align),
    work: |call, outputs| {
        // An adaptive number of samples depends on the regions; one a bin in each direction is the least.
        let side = call.attrs.int("sampling_ratio").filter(|&side| side > 0).unwrap_or(1);
        Work::pointwise(call, outputs, side.checked_mul(side)?.checked_mul(8)?)
    },
    ..OpDef::BASE
};

/// The number of regions. Errors: shapes that are none of an image and of regions of `n_columns` numbers.
fn check_rois<'a>(x: &TensorType, rois: &'a TensorType, n_columns: i64) -> Result<&'a Dim, Reason> {
    match rois.shape.as_slice() {
        [n_rois, columns] if x.rank() == 4 && columns.as_known().is_none_or(|n| n == n_columns) => Ok(n_rois),
        _ => Err(Reason(format!("regions {rois} do not go with an input {x}"))),
    }
}

/// A dim of the output, in bounds that keep products within 64 bits.
fn side(name: &str, size: Option<i64>) -> Result<usize, Reason> {
    let size = size.unwrap_or(1);
    let fits = usize::try_from(size).ok().filter(|size| (1..1 << 31).contains(size));
    fits.ok_or_else(|| Reason(format!("attribute `{name}` is {size}")))
}

/// How regions are aligned.
struct Align {
    height: usize,
    width: usize,
    /// Samples a bin in each direction; zero to take one for each element that a bin covers.
    n_samples: usize,
    scale: f64,
    half_pixel: bool,
    mean: bool,
}

impl Align {
    fn read(attrs: &Attrs) -> Result<Self, Reason> {
        let half_pixel = match attrs.string("coordinate_transformation_mode") {
            Some("half_pixel") => true,
            Some("output_half_pixel") => false,
            other => {
                let found = other.unwrap_or_default();
                return Err(Reason(format!("attribute `coordinate_transformation_mode` is `{found}`")));
            }
        };
        let mean = match attrs.string("mode") {
            Some("avg") => true,
            Some("max") => false,
            other => return Err(Reason(format!("attribute `mode` is `{}`", other.unwrap_or_default()))),
        };
        let ratio = attrs.int("sampling_ratio").unwrap_or(0);
        let n_samples = usize::try_from(ratio).ok().filter(|&n| n < 1 << 31);
        Ok(Self {
            height: side("output_height", attrs.int("output_height"))?,
            width: side("output_width", attrs.int("output_width"))?,
            n_samples: n_samples.ok_or_else(|| Reason(format!("attribute `sampling_ratio` is {ratio}")))?,
            scale: f64::from(attrs.float("spatial_scale").unwrap_or(1.0)),
            half_pixel,
            mean,
        })
    }

    /// For each of `n_bins` bins from `start` to `end`, its samples as two elements with weights; `None` outside the axis.
    fn bins(&self, start: f64, end: f64, n_bins: usize, size: usize) -> Result<Vec<Vec<Option<[Tap; 2]>>>, Reason> {
        let offset = if self.half_pixel { 0.5 } else { 0.0 };
        let start = start * self.scale - offset;
        let mut length = end * self.scale - offset - start;
        if !self.half_pixel {
            length = length.max(1.0);
        }
        let width = length / n_bins as f64;
        let n_samples = match self.n_samples {
            0 if width.is_finite() => width.ceil().max(0.0) as usize,
            0 => return Err(Reason(format!("a region from {start} of length {length}"))),
            n => n,
        };
        affordable(&[n_bins, n_samples], 0)?;
        let bin = |bin: usize| {
            let sample = |at: usize| {
                let place = start + bin as f64 * width + (at as f64 + 0.5) * width / n_samples as f64;
                interpolated(place, size)
            };
            (0..n_samples).map(sample).collect()
        };
        Ok((0..n_bins).map(bin).collect())
    }
}

/// An element of an axis and its weight.
type Tap = (usize, f64);

/// The two neighbours of `place` in an axis of `size`, which reaches one element beyond both ends; `None` outside.
fn interpolated(place: f64, size: usize) -> Option<[Tap; 2]> {
    let last = size.checked_sub(1)?;
    if !(-1.0..=size as f64).contains(&place) {
        return None;
    }
    let place = place.max(0.0);
    let low = place as usize;
    if low >= last {
        return Some([(last, 1.0), (last, 0.0)]);
    }
    let ratio = place - low as f64;
    Some([(low, 1.0 - ratio), (low + 1, ratio)])
}

fn roi_align<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    let (x, rois, items) = (call.input(0)?, call.input(1)?, call.ints(2)?);
    let align = Align::read(call.attrs)?;
    let [n_items, n_channels, height, width] = image(x)?;
    if rois.shape != [items.len(), 4] {
        return Err(Reason(format!("regions {:?} for {} batch indices", rois.shape, items.len())));
    }
    let shape = [items.len(), n_channels, align.height, align.width];
    let (values, zero) = (x.real()?, S::from_int(0));
    let mut y = Vec::with_capacity(affordable(&shape, x.count())?);
    for (roi, &item) in rois.real()?.chunks(4).zip(&items) {
        let item = place_of(item, n_items)?;
        let [x1, y1, x2, y2] = [0, 1, 2, 3].map(|at| roi[at].to_f64());
        let rows = align.bins(y1, y2, align.height, height)?;
        let columns = align.bins(x1, x2, align.width, width)?;
        affordable(&[rows.len(), columns.len(), rows[0].len(), columns[0].len()], 0)?;
        for channel in 0..n_channels {
            let plane = &values[(item * n_channels + channel) * height * width..][..height * width];
            for (row, column) in rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column))) {
                let samples = row.iter().flat_map(|y| column.iter().map(move |x| y.zip(*x)));
                // The four weighted neighbours of a sample; one outside the image counts as zero.
                let parts = |sample: Option<([Tap; 2], [Tap; 2])>| match sample {
                    None => [zero; 4],
                    Some((y, x)) => [(0, 0), (0, 1), (1, 0), (1, 1)]
                        .map(|(i, j)| plane[y[i].0 * width + x[j].0].mul(S::from_f64(y[i].1 * x[j].1))),
                };
                let pooled = if align.mean {
                    let count = (row.len() * column.len()).max(1);
                    S::sum(samples.flat_map(parts)).div(S::from_int(count as i128))
                } else {
                    // As ONNX defines it, the maximum is over the weighted neighbours, not over their sums.
                    samples.flat_map(parts).reduce(maximum).unwrap_or(zero)
                };
                y.push(pooled);
            }
        }
    }
    Ok(vec![Datum::of_real(x.element, &shape, y)])
}

/// The axes of a batch of images.
fn image<S: Scalar>(x: &Datum<S>) -> Result<[usize; 4], Reason> {
    <[usize; 4]>::try_from(x.shape.as_slice()).map_err(|_| Reason(format!("an image of the shape {:?}", x.shape)))
}

fn place_of(item: i64, n_items: usize) -> Result<usize, Reason> {
    let place = usize::try_from(item).ok().filter(|&item| item < n_items);
    place.ok_or_else(|| Reason(format!("image {item} of a batch of {n_items}")))
}

static MAX_ROI_POOL: OpDef = OpDef {
    name: "MaxRoiPool",
    doc: "The largest element in each bin of each region of interest, in whole elements (Girshick, ICCV 2015)",
    versions: &[1, 22],
    inputs: &[Param::required("X", "T"), Param::required("rois", "T")],
    outputs: &[Param::required("Y", "T")],
    attrs: &[AttrDef::required("pooled_shape", AttrKind::Ints), AttrDef::float("spatial_scale", 1.0)],
    types: &[("T", sets::FLOAT)],
    infer: |call| {
        let (x, rois) = (call.ty(0)?, call.ty(1)?);
        let [height, width] = pooled_shape(call.attrs)?;
        let n_rois = check_rois(x, rois, 5)?.clone();
        Ok(vec![Some(Fact::new(x.element, [n_rois, x.shape[1].clone(), height.into(), width.into()]))])
    },
    eval: eval!(max_roi_pool),
    // How many elements a bin covers depends on the regions; one is the least.
    work: |call, outputs| Work::pointwise(call, outputs, 1),
    ..OpDef::BASE
};

fn pooled_shape(attrs: &Attrs) -> Result<[usize; 2], Reason> {
    match attrs.ints("pooled_shape") {
        Some(&[height, width]) => Ok([side("pooled_shape", Some(height))?, side("pooled_shape", Some(width))?]),
        other => Err(Reason(format!("attribute `pooled_shape` is {:?}", other.unwrap_or_default()))),
    }
}

/// The elements of an axis of `size` that each of `n_bins` bins covers, from element `start` to `end`, both included.
fn covered(start: f64, end: f64, n_bins: usize, size: usize) -> Result<Vec<std::ops::Range<usize>>, Reason> {
    let (start, end) = (start.round(), end.round());
    if !(start.abs() < 1e15 && end.abs() < 1e15) {
        return Err(Reason(format!("a region from {start} to {end}")));
    }
    count_of(&[n_bins])?;
    let width = (end - start + 1.0).max(1.0) / n_bins as f64;
    let clamp = |place: f64| place.clamp(0.0, size as f64) as usize;
    let bin = |bin: usize| {
        let (low, high) = ((bin as f64 * width).floor(), ((bin as f64 + 1.0) * width).ceil());
        clamp(start + low)..clamp(start + high)
    };
    Ok((0..n_bins).map(bin).collect())
}

fn max_roi_pool<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    let (x, rois) = (call.input(0)?, call.input(1)?);
    let [pooled_height, pooled_width] = pooled_shape(call.attrs)?;
    let [n_items, n_channels, height, width] = image(x)?;
    let &[n_rois, 5] = rois.shape.as_slice() else {
        return Err(Reason(format!("regions of the shape {:?}", rois.shape)));
    };
    let scale = f64::from(call.attrs.float("spatial_scale").unwrap_or(1.0));
    let shape = [n_rois, n_channels, pooled_height, pooled_width];
    let values = x.real()?;
    let mut y = Vec::with_capacity(affordable(&shape, x.count())?);
    for roi in rois.real()?.chunks(5) {
        let [item, x1, y1, x2, y2] = [0, 1, 2, 3, 4].map(|at| roi[at].to_f64());
        let whole = item.fract() == 0.0 && item.abs() < 1e15;
        let item = place_of(if whole { item as i64 } else { -1 }, n_items)?;
        let rows = covered(y1 * scale, y2 * scale, pooled_height, height)?;
        let columns = covered(x1 * scale, x2 * scale, pooled_width, width)?;
        for channel in 0..n_channels {
            let plane = &values[(item * n_channels + channel) * height * width..][..height * width];
            for (row, column) in rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column))) {
                let elements = row.clone().flat_map(|y| column.clone().map(move |x| plane[y * width + x]));
                y.push(elements.reduce(maximum).unwrap_or(S::from_int(0)));
            }
        }
    }
    Ok(vec![Datum::of_real(x.element, &shape, y)])
}

static NON_MAX_SUPPRESSION: OpDef = OpDef {
    name: "NonMaxSuppression",
    doc: "Image, class and number of each box that no better box of its class overlaps too much, best first",
    versions: &[10, 11],
    inputs: &[
        Param::required("boxes", "F"),
        Param::required("scores", "F"),
        Param::optional("max_output_boxes_per_class", "I"),
        Param::optional("iou_threshold", "F"),
        Param::optional("score_threshold", "F"),
    ],
    outputs: &[Param::required("selected_indices", "I")],
    attrs: &[AttrDef::int("center_point_box", 0)],
    types: &[("F", &[Element::Float]), ("I", sets::INT64)],
    infer: infer_suppression,
    eval: eval!(non_max_suppression),
    work: |call, outputs| {
        // Sorting takes about log2 of the number of boxes for each score; the overlaps depend on the boxes.
        Work::streaming(call, outputs, call.given(1)?.ty.count()?.mul(&Dim::known(10))?)
    },
    ..OpDef::BASE
};

fn infer_suppression(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let (boxes, scores) = (call.ty(0)?, call.ty(1)?);
    let agree = |a: &Dim, b: &Dim| a.as_known().zip(b.as_known()).is_none_or(|(a, b)| a == b);
    let fits = match (boxes.shape.as_slice(), scores.shape.as_slice()) {
        ([items, n_boxes, four], [of_scores, _, each]) => {
            agree(items, of_scores) && agree(n_boxes, each) && agree(four, &Dim::known(4))
        }
        _ => false,
    };
    if !fits {
        return Err(Reason(format!("boxes {boxes} do not go with scores {scores}")));
    }
    centered(call.attrs)?;
    for index in 2..5 {
        if let Some(operand) = call.given(index)
            && operand.ty.count().and_then(|count| count.as_known()).is_some_and(|count| count > 1)
        {
            return Err(Reason(format!("input {index} is one number, found {}", operand.ty)));
        }
    }
    // Without a limit nothing is chosen: it defaults to zero.
    let n_chosen = if call.given(2).is_none() { Dim::known(0) } else { call.fresh(0) };
    Ok(vec![Some(Fact::new(Element::Int64, [n_chosen, Dim::known(3)]))])
}

fn centered(attrs: &Attrs) -> Result<bool, Reason> {
    match attrs.int("center_point_box") {
        Some(0) | None => Ok(false),
        Some(1) => Ok(true),
        Some(other) => Err(Reason(format!("attribute `center_point_box` is {other}"))),
    }
}

/// A box by its ends along both axes.
struct Rectangle<S> {
    low: [S; 2],
    high: [S; 2],
}

impl<S: Scalar> Rectangle<S> {
    fn new(numbers: &[S], centered: bool) -> Self {
        let axis = |at: usize| {
            let (a, b) = (numbers[at], numbers[at + 2]);
            if centered {
                let half = b.div(S::from_int(2));
                (a.sub(half), a.add(half))
            } else if a.compare(b) == Some(Ordering::Greater) {
                (b, a)
            } else {
                (a, b)
            }
        };
        let ((a, b), (c, d)) = (axis(0), axis(1));
        Self { low: [a, c], high: [b, d] }
    }

    fn area(&self) -> S {
        self.high[0].sub(self.low[0]).mul(self.high[1].sub(self.low[1]))
    }

    /// Whether the part of both in what one of them covers exceeds `threshold`.
    fn overlaps(&self, other: &Self, threshold: S) -> bool {
        let positive = |x: S| x.compare(S::from_int(0)) == Some(Ordering::Greater);
        let common = |axis: usize| {
            let high = super::pointwise::minimum(self.high[axis], other.high[axis]);
            high.sub(maximum(self.low[axis], other.low[axis]))
        };
        let (height, width) = (common(0), common(1));
        if !positive(height) || !positive(width) {
            return false;
        }
        let (intersection, own, others) = (height.mul(width), self.area(), other.area());
        let union = own.add(others).sub(intersection);
        let sound = [intersection, own, others, union].into_iter().all(positive);
        sound && intersection.div(union).compare(threshold) == Some(Ordering::Greater)
    }
}

fn non_max_suppression<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    let (boxes, scores) = (call.input(0)?, call.input(1)?);
    let centered = centered(call.attrs)?;
    let (&[n_items, n_boxes, 4], &[of_scores, n_classes, each]) = (boxes.shape.as_slice(), scores.shape.as_slice())
    else {
        return Err(Reason(format!("boxes {:?} with scores {:?}", boxes.shape, scores.shape)));
    };
    if (n_items, n_boxes) != (of_scores, each) {
        return Err(Reason(format!("boxes {:?} with scores {:?}", boxes.shape, scores.shape)));
    }
    let number = |index: usize| -> Result<Option<S>, Reason> {
        match call.given(index).map(Datum::real).transpose()? {
            None | Some([]) => Ok(None),
            Some([number]) => Ok(Some(*number)),
            Some(several) => Err(Reason(format!("input {index} is one number, found {}", several.len()))),
        }
    };
    let most = match call.given(2).map(Datum::to_i64s).transpose()?.as_deref() {
        None | Some([]) => 0,
        Some(&[most]) => usize::try_from(most).unwrap_or(0),
        Some(several) => return Err(Reason(format!("input 2 is one number, found {}", several.len()))),
    };
    let (threshold, least) = (number(3)?.unwrap_or(S::from_int(0)), number(4)?);
    let (boxes, scores) = (boxes.real()?, scores.real()?);
    let mut chosen: Vec<i64> = Vec::new();
    for item in 0..n_items {
        let rectangle = |at: usize| Rectangle::new(&boxes[(item * n_boxes + at) * 4..][..4], centered);
        for class in 0..n_classes {
            let scores = &scores[(item * n_classes + class) * n_boxes..][..n_boxes];
            let enough = |at: &usize| least.is_none_or(|least| scores[*at].compare(least) == Some(Ordering::Greater));
            let mut candidates: Vec<usize> = (0..n_boxes).filter(enough).collect();
            // Of equal scores the first wins; one that is no number comes last, so that there is an order.
            let rank = |&a: &usize, &b: &usize| {
                let nan = |at: usize| scores[at].compare(scores[at]).is_none();
                scores[b].compare(scores[a]).unwrap_or_else(|| nan(a).cmp(&nan(b)))
            };
            candidates.sort_by(rank);
            let mut kept: Vec<Rectangle<S>> = Vec::new();
            for at in candidates {
                if kept.len() >= most {
                    break;
                }
                let candidate = rectangle(at);
                if !kept.iter().any(|better| better.overlaps(&candidate, threshold)) {
                    kept.push(candidate);
                    chosen.extend([item as i64, class as i64, at as i64]);
                }
            }
        }
    }
    Ok(vec![Datum::of_i64s(&[chosen.len() / 3, 3], &chosen)])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::ops::cases::infer;

    #[test]
    fn regions_give_the_batch_of_the_result() {
        let sized = [("output_height", Attr::Int(7)), ("output_width", Attr::Int(5))];
        let inputs = ["float[1,c,h,w]", "float[r,4]", "int64[r]"];
        assert_eq!(infer("RoiAlign", &sized, &inputs), "float[r,c,7,5]");
        let pooled = [("pooled_shape", Attr::Ints([7, 5].into()))];
        assert_eq!(infer("MaxRoiPool", &pooled, &["float[1,c,h,w]", "float[r,5]"]), "float[r,c,7,5]");
    }

    #[test]
    fn how_many_boxes_are_chosen_is_not_known_beforehand() {
        let inputs = ["float[1,n,4]", "float[1,80,n]", "int64[1] = 100"];
        assert_eq!(infer("NonMaxSuppression", &[], &inputs), "int64[?t.0,3]");
        let refused = "boxes float[1,9,4] do not go with scores float[1,80,8]";
        assert_eq!(infer("NonMaxSuppression", &[], &["float[1,9,4]", "float[1,80,8]"]), refused);
    }

    #[test]
    fn what_makes_no_bins_is_refused() {
        let inputs = ["float[1,3,8,8]", "float[2,4]", "int64[2]"];
        let refused = |name: &str, value: i64, reason: &str| {
            assert_eq!(infer("RoiAlign", &[(name, Attr::Int(value))], &inputs), reason);
        };
        refused("output_height", 0, "attribute `output_height` is 0");
        refused("sampling_ratio", -1, "attribute `sampling_ratio` is -1");
        let mismatch = "batch indices int64[3] do not go with regions float[2,4]";
        assert_eq!(infer("RoiAlign", &[], &[inputs[0], inputs[1], "int64[3]"]), mismatch);
    }
}
