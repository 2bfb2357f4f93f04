//! Normalization: elements scaled by statistics of their neighbours.

use super::arithmetic::absolute;
use super::cast::element_of_code;
use super::functions::SQRT;
use super::lanes::{Lanes, groups, reduced_shape};
use super::pointwise::{affordable, broadcast, needs_functions, needs_order, same_as_first, zip};
use super::shape::distinct_axes;
use crate::attr::AttrKind;
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, Law, OpDef, Param, Reason, Work, sets};
use crate::types::Element::{self, *};
use std::ops::Range;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[
    &BATCH_NORMALIZATION,
    &LAYER_NORMALIZATION,
    &RMS_NORMALIZATION,
    &GROUP_NORMALIZATION,
    &INSTANCE_NORMALIZATION,
    &LP_NORMALIZATION,
    &LRN,
    &MEAN_VARIANCE_NORMALIZATION,
    &DROPOUT,
];

const NORMALIZATION: OpDef = OpDef {
    types: &[("T", sets::FLOAT)],
    infer: same_as_first,
    work: |call, outputs| Work::pointwise(call, outputs, 8),
    ..OpDef::BASE
};

static BATCH_NORMALIZATION: OpDef = OpDef {
    name: "BatchNormalization",
    doc: "y = (x - mean) / sqrt(var + epsilon) * scale + b for each channel (axis 1), with given statistics",
    versions: &[1, 6, 7, 9, 14, 15],
    inputs: &[
        Param::required("X", "T"),
        Param::required("scale", "T1"),
        Param::required("B", "T1"),
        Param::required("input_mean", "T2"),
        Param::required("input_var", "T2"),
    ],
    outputs: &[Param::required("Y", "T"), Param::optional("running_mean", "T2"), Param::optional("running_var", "T2")],
    attrs: &[AttrDef::float("epsilon", 1e-5), AttrDef::float("momentum", 0.9), AttrDef::int("training_mode", 0)],
    types: &[("T", sets::FLOAT), ("T1", sets::FLOAT), ("T2", sets::FLOAT)],
    infer: infer_batch_normalization,
    eval: eval!(batch_normalization),
    work: |call, outputs| Work::pointwise(call, outputs, 4),
    ..OpDef::BASE
};

/// The channels of a type of at least one axis: axis 1, or a single one.
fn channels(shape: &[Dim]) -> Result<Dim, Reason> {
    match shape {
        [] => Err(Reason::new("a tensor without axes has no channels")),
        [_] => Ok(Dim::known(1)),
        [_, channels, ..] => Ok(channels.clone()),
    }
}

/// Errors when input `index` is known not to be one number for each of `n_channels`.
fn check_channels(call: &Call, index: usize, n_channels: &Dim) -> Result<(), Reason> {
    match (call.ty(index)?.shape.as_slice(), n_channels.as_known()) {
        ([found], Some(expected)) if found.as_known().is_some_and(|found| found != expected) => {
            Err(Reason(format!("input {index} has {found} elements for {expected} channels")))
        }
        ([_], _) => Ok(()),
        (shape, _) => Err(Reason(format!("input {index} has {} axes, one is expected", shape.len()))),
    }
}

fn infer_batch_normalization(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let n_channels = channels(&call.ty(0)?.shape)?;
    (1..5).try_for_each(|index| check_channels(call, index, &n_channels))?;
    let mut facts = same_as_first(call)?;
    if call.attrs.flag("training_mode") {
        facts.extend([3, 4].map(|index| call.ty(index).ok().map(|ty| Fact::from(ty.clone()))));
    }
    Ok(facts)
}

fn batch_normalization<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("square root")?;
    let x = call.input(0)?;
    let n_channels = match x.shape.as_slice() {
        [] => return Err(Reason::new("a tensor without axes has no channels")),
        [_] => 1,
        [_, n_channels, ..] => *n_channels,
    };
    let [scale, bias, mean, var] = [1, 2, 3, 4].map(|index| per_channel(call, index, n_channels));
    let (scale, bias, mean, var, epsilon) = (scale?, bias?, mean?, var?, call.float("epsilon")?);
    let of_batch = if call.attrs.flag("training_mode") { Some(batch_statistics(x, n_channels)?) } else { None };
    let mut running = Vec::new();
    if let Some((batch_mean, batch_var)) = &of_batch {
        let momentum = call.float("momentum")?;
        let rest = S::from_int(1).sub(momentum);
        for (index, old, new) in [(3, mean, batch_mean), (4, var, batch_var)] {
            let moved = old.iter().zip(new).map(|(old, new)| old.mul(momentum).add(new.mul(rest))).collect();
            running.push(Datum::of_real(call.input(index)?.element, &[n_channels], moved));
        }
    }
    let (mean, var) = of_batch.as_ref().map_or((mean, var), |(mean, var)| (mean.as_slice(), var.as_slice()));
    let gains: Vec<S> = scale.iter().zip(var).map(|(scale, var)| scale.div(var.add(epsilon).apply(&SQRT))).collect();
    let mut result = x.real()?.to_vec();
    each_channel(&x.shape, n_channels, |channel, span| {
        let (mean, gain, bias) = (mean[channel], gains[channel], bias[channel]);
        result[span].iter_mut().for_each(|x| *x = x.sub(mean).mul(gain).add(bias));
    });
    let mut results = vec![Datum::of_real(x.element, &x.shape, result)];
    results.append(&mut running);
    Ok(results)
}

/// Mean and population variance of each channel over all instances and positions.
fn batch_statistics<S: Scalar>(x: &Datum<S>, n_channels: usize) -> Result<(Vec<S>, Vec<S>), Reason> {
    let elements = x.real()?;
    let mut lanes: Vec<Vec<S>> = vec![Vec::new(); n_channels];
    each_channel(&x.shape, n_channels, |channel, span| lanes[channel].extend_from_slice(&elements[span]));
    let of_lane = |lane: Vec<S>| {
        let n = S::from_int(lane.len() as i128);
        let mean = S::sum(lane.iter().copied()).div(n);
        let differences = lane.iter().map(|x| x.sub(mean));
        (mean, S::dot(differences.map(|x| (x, x))).div(n))
    };
    Ok(lanes.into_iter().map(of_lane).unzip())
}

/// Input `index`, one number for each channel.
fn per_channel<'a, S: Scalar>(call: &'a EvalCall<S>, index: usize, n_channels: usize) -> Result<&'a [S], Reason> {
    let found = call.real(index)?;
    let problem = || Reason(format!("input {index} has {} elements for {n_channels} channels", found.len()));
    (found.len() == n_channels).then_some(found).ok_or_else(problem)
}

/// Calls `visit` with each channel of each instance and where its elements stand. An input of one axis is one channel.
fn each_channel(shape: &[usize], n_channels: usize, mut visit: impl FnMut(usize, Range<usize>)) {
    if shape.contains(&0) {
        return;
    }
    let len: usize = if shape.len() < 2 { shape.iter().product() } else { shape[2..].iter().product() };
    let n_spans = shape.iter().product::<usize>() / len;
    (0..n_spans).for_each(|span| visit(span % n_channels, span * len..(span + 1) * len));
}

/// Mean and reciprocal standard deviation of `lane`.
fn statistics<S: Scalar>(lane: &[S], epsilon: S) -> (S, S) {
    let n = S::from_int(lane.len() as i128);
    let mean = S::sum(lane.iter().copied()).div(n);
    let differences = lane.iter().map(|x| x.sub(mean));
    let variance = S::dot(differences.map(|x| (x, x))).div(n);
    (mean, S::from_int(1).div(variance.add(epsilon).apply(&SQRT)))
}

static LAYER_NORMALIZATION: OpDef = OpDef {
    name: "LayerNormalization",
    doc: "y = (x - mean) / sqrt(var + epsilon) * scale + b, statistics over the axes from `axis` on",
    versions: &[17],
    inputs: &[Param::required("X", "T"), Param::required("Scale", "T"), Param::optional("B", "T")],
    outputs: &[Param::required("Y", "T"), Param::optional("Mean", "U"), Param::optional("InvStdDev", "U")],
    attrs: &[AttrDef::int("axis", -1), AttrDef::float("epsilon", 1e-5), AttrDef::int("stash_type", 1)],
    types: &[("T", sets::FLOAT), ("U", &[Float, Bfloat16])],
    infer: infer_layer_normalization,
    eval: eval!(layer_normalization),
    ..NORMALIZATION
};

fn stash_element(code: i64) -> Result<Element, Reason> {
    element_of_code(code).and_then(|element| {
        if element.is_real() { Ok(element) } else { Err(Reason(format!("`stash_type` is {element}"))) }
    })
}

fn infer_layer_normalization(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let x = call.ty(0)?;
    let axis = call.axis("axis", x.rank())?;
    let axes: Vec<usize> = (axis..x.rank()).collect();
    let statistic =
        Fact::new(stash_element(call.int("stash_type")?)?, reduced_shape(&x.shape, &axes, true, Dim::known(1)));
    Ok(vec![Some(x.clone().into()), Some(statistic.clone()), Some(statistic)])
}

fn layer_normalization<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("square root")?;
    let (x, epsilon) = (call.input(0)?, call.float("epsilon")?);
    let axis = call.axis("axis", x.rank())?;
    let axes: Vec<usize> = (axis..x.rank()).collect();
    let shape = reduced_shape(&x.shape, &axes, true, 1);
    let known = groups(x.real()?, &x.shape, &axes, |lane| Ok(statistics(lane, epsilon)))?;
    let mut elements = x.real()?.to_vec();
    let lanes = Lanes::new(&x.shape, axis..x.rank());
    if lanes.len > 0 {
        for (lane, &(mean, inverse)) in elements.chunks_exact_mut(lanes.len).zip(&known) {
            lane.iter_mut().for_each(|x| *x = x.sub(mean).mul(inverse));
        }
    }
    let mut y = applied(Datum::of_real(x.element, &x.shape, elements), call.input(1)?, S::mul)?;
    if let Some(bias) = call.given(2) {
        y = applied(y, bias, S::add)?;
    }
    let stash = stash_element(call.int("stash_type")?)?;
    let (means, inverses) = known.into_iter().unzip();
    Ok(vec![y, Datum::of_real(stash, &shape, means), Datum::of_real(stash, &shape, inverses)])
}

/// `f` of each element of `x` and of `by`, which must broadcast to its shape.
fn applied<S: Scalar>(x: Datum<S>, by: &Datum<S>, f: impl Fn(S, S) -> S) -> Result<Datum<S>, Reason> {
    if broadcast(&[&x, by])? != x.shape {
        return Err(Reason(format!("a scale of shape {:?} does not broadcast to {:?}", by.shape, x.shape)));
    }
    let elements = zip(&x.shape, x.real()?, &by.shape, by.real()?, &x.shape, f);
    Ok(Datum::of_real(x.element, &x.shape, elements))
}

static RMS_NORMALIZATION: OpDef = OpDef {
    name: "RMSNormalization",
    doc: "y = x / sqrt(mean of x^2 + epsilon) * scale, the mean over the axes from `axis` on",
    versions: &[23],
    inputs: &[Param::required("X", "T"), Param::required("scale", "V")],
    outputs: &[Param::required("Y", "V")],
    attrs: &[AttrDef::int("axis", -1), AttrDef::float("epsilon", 1e-5), AttrDef::int("stash_type", 1)],
    types: &[("T", sets::FLOAT), ("V", sets::FLOAT)],
    infer: infer_rms_normalization,
    eval: eval!(rms_normalization),
    work: |call, outputs| Work::pointwise(call, outputs, 5),
    ..NORMALIZATION
};

fn infer_rms_normalization(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let x = call.ty(0)?;
    call.axis("axis", x.rank())?;
    stash_element(call.int("stash_type")?)?;
    Ok(vec![Some(Fact::new(call.ty(1)?.element, x.shape.iter().cloned()))])
}

fn rms_normalization<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("square root")?;
    let (x, scale, epsilon) = (call.input(0)?, call.input(1)?, call.float("epsilon")?);
    let axis = call.axis("axis", x.rank())?;
    let mut elements = x.real()?.to_vec();
    let len = Lanes::new(&x.shape, axis..x.rank()).len;
    if len > 0 {
        for lane in elements.chunks_exact_mut(len) {
            let square = S::dot(lane.iter().map(|&x| (x, x))).div(S::from_int(len as i128));
            let root = square.add(epsilon).apply(&SQRT);
            lane.iter_mut().for_each(|x| *x = x.div(root));
        }
    }
    let normalized = Datum::of_real(x.element, &x.shape, elements);
    Ok(vec![Datum { element: scale.element, ..applied(normalized, scale, S::mul)? }])
}

static GROUP_NORMALIZATION: OpDef = OpDef {
    name: "GroupNormalization",
    doc: "y = (x - mean) / sqrt(var + epsilon) * scale + bias, statistics over groups of channels of an instance",
    versions: &[18, 21],
    inputs: &[Param::required("X", "T"), Param::required("scale", "T"), Param::required("bias", "T")],
    outputs: &[Param::required("Y", "T")],
    attrs: &[
        AttrDef::float("epsilon", 1e-5),
        AttrDef::required("num_groups", AttrKind::Int),
        AttrDef::int("stash_type", 1),
    ],
    infer: infer_per_channel,
    eval: eval!(group_normalization),
    ..NORMALIZATION
};

fn infer_per_channel(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let n_channels = channels(&call.ty(0)?.shape)?;
    (1..3).try_for_each(|index| check_channels(call, index, &n_channels))?;
    let groups = call.attrs.int("num_groups").unwrap_or(1);
    if groups < 1 || n_channels.as_known().is_some_and(|n_channels| n_channels % groups != 0) {
        return Err(Reason(format!("{n_channels} channels do not make {groups} equal groups")));
    }
    same_as_first(call)
}

fn group_normalization<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let n_groups = call.int("num_groups")?;
    let n_groups = usize::try_from(n_groups).map_err(|_| Reason(format!("{n_groups} groups")))?;
    normalize_groups(call, Some(n_groups))
}

static INSTANCE_NORMALIZATION: OpDef = OpDef {
    name: "InstanceNormalization",
    doc: "y = (x - mean) / sqrt(var + epsilon) * scale + b, statistics over each channel of an instance",
    versions: &[1, 6, 22],
    inputs: &[Param::required("input", "T"), Param::required("scale", "T"), Param::required("B", "T")],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::float("epsilon", 1e-5)],
    infer: infer_per_channel,
    eval: eval!(instance_normalization),
    ..NORMALIZATION
};

fn instance_normalization<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    normalize_groups(call, None)
}

/// Normalizes groups of channels, a channel each when their number is not given, then scales and shifts each channel.
fn normalize_groups<S: Scalar>(call: &EvalCall<S>, n_groups: Option<usize>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("square root")?;
    let (x, epsilon) = (call.input(0)?, call.float("epsilon")?);
    let [_, n_channels, ..] = x.shape[..] else { return Err(Reason::new("the input has no axis of channels")) };
    if x.count() == 0 {
        return Ok(vec![x.clone()]);
    }
    let n_groups = n_groups.unwrap_or(n_channels);
    if n_groups == 0 || n_channels % n_groups != 0 {
        return Err(Reason(format!("{n_channels} channels do not make {n_groups} equal groups")));
    }
    let (scale, bias) = (per_channel(call, 1, n_channels)?, per_channel(call, 2, n_channels)?);
    let mut elements = x.real()?.to_vec();
    // Channels of a group are neighbours, so that a group is one run of elements.
    let len = Lanes::new(&x.shape, 1..x.rank()).len / n_groups;
    if len > 0 {
        for group in elements.chunks_exact_mut(len) {
            let (mean, inverse) = statistics(group, epsilon);
            group.iter_mut().for_each(|x| *x = x.sub(mean).mul(inverse));
        }
    }
    each_channel(&x.shape, n_channels, |channel, span| {
        elements[span].iter_mut().for_each(|x| *x = x.mul(scale[channel]).add(bias[channel]));
    });
    Ok(vec![Datum::of_real(x.element, &x.shape, elements)])
}

static LP_NORMALIZATION: OpDef = OpDef {
    name: "LpNormalization",
    doc: "y = x / (sum of |x|^p along the axis)^(1/p), 0 where that norm is 0; p is 1 or 2",
    versions: &[1, 22],
    inputs: &[Param::required("input", "T")],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::int("axis", -1), AttrDef::int("p", 2)],
    infer: infer_lp_normalization,
    eval: eval!(lp_normalization),
    work: |call, outputs| Work::pointwise(call, outputs, 3),
    ..NORMALIZATION
};

fn infer_lp_normalization(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    call.axis("axis", call.ty(0)?.rank())?;
    same_as_first(call)
}

fn lp_normalization<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    let x = call.input(0)?;
    let axis = call.axis("axis", x.rank())?;
    let norm: fn(&[S]) -> S = match call.int("p")? {
        1 => |lane| S::sum(lane.iter().map(|&x| absolute(x))),
        2 => |lane| S::dot(lane.iter().map(|&x| (x, x))).apply(&SQRT),
        p => return Err(Reason(format!("the norm of order {p} is not defined here"))),
    };
    let norms = groups(x.real()?, &x.shape, &[axis], |lane| Ok(norm(lane)))?;
    let zero = S::from_int(0);
    let quotient = |x: S, norm: S| if norm == zero { zero } else { x.div(norm) };
    let norms = Datum::of_real(x.element, &reduced_shape(&x.shape, &[axis], true, 1), norms);
    Ok(vec![applied(x.clone(), &norms, quotient)?])
}

static LRN: OpDef = OpDef {
    name: "LRN",
    doc: "y = x / (bias + alpha / size * sum of x^2 over `size` neighbouring channels)^beta",
    versions: &[1, 13],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    attrs: &[
        AttrDef::float("alpha", 0.0001),
        AttrDef::float("beta", 0.75),
        AttrDef::float("bias", 1.0),
        AttrDef::required("size", AttrKind::Int),
    ],
    infer: |call| match call.int("size")? {
        1.. => same_as_first(call),
        size => Err(Reason(format!("{size} channels are neighbours"))),
    },
    eval: eval!(lrn),
    work: |call, outputs| Work::pointwise(call, outputs, call.attrs.int("size")?.checked_add(20)?),
    ..NORMALIZATION
};

fn lrn<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("power")?;
    let x = call.input(0)?;
    let (alpha, beta, bias) = (call.float("alpha")?, call.float("beta")?, call.float("bias")?);
    let size = match call.int("size")? {
        size if size > 0 => usize::try_from(size).unwrap_or(usize::MAX),
        size => return Err(Reason(format!("{size} channels are neighbours"))),
    };
    if x.rank() < 2 {
        return Err(Reason::new("the input has no axis of channels"));
    }
    let (before, after) = ((size - 1) / 2, size / 2);
    let weight = alpha.div(S::from_int(size as i128));
    let elements = x.real()?;
    let mut result = elements.to_vec();
    let lanes = Lanes::new(&x.shape, 1..2);
    for start in lanes.starts() {
        let at = |channel: usize| start + channel * lanes.inner;
        for channel in 0..lanes.len {
            let window = channel.saturating_sub(before)..channel.saturating_add(after).saturating_add(1).min(lanes.len);
            let squares = S::dot(window.map(|near| (elements[at(near)], elements[at(near)])));
            result[at(channel)] = elements[at(channel)].div(bias.add(weight.mul(squares)).power(beta));
        }
    }
    Ok(vec![Datum::of_real(x.element, &x.shape, result)])
}

static MEAN_VARIANCE_NORMALIZATION: OpDef = OpDef {
    name: "MeanVarianceNormalization",
    doc: "y = (x - mean) / (sqrt(mean of x^2 - mean^2) + 1e-9), statistics along the axes",
    versions: &[9, 13],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    attrs: &[AttrDef::ints("axes", &[0, 2, 3])],
    infer: infer_mean_variance,
    eval: eval!(mean_variance),
    ..NORMALIZATION
};

fn infer_mean_variance(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    averaged_axes(call.attrs.ints("axes"), call.ty(0)?.rank())?;
    same_as_first(call)
}

/// All axes stand for none, as in a reduction.
fn averaged_axes(given: Option<&[i64]>, rank: usize) -> Result<Vec<usize>, Reason> {
    match given {
        None | Some([]) => Ok((0..rank).collect()),
        Some(axes) => distinct_axes(axes, rank),
    }
}

fn mean_variance<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("square root")?;
    let x = call.input(0)?;
    let axes = averaged_axes(call.attrs.ints("axes"), x.rank())?;
    let shape = reduced_shape(&x.shape, &axes, true, 1);
    let known = groups(x.real()?, &x.shape, &axes, |group| {
        let n = S::from_int(group.len() as i128);
        let mean = S::sum(group.iter().copied()).div(n);
        // The mean of squared differences is the same variance, without the cancellation.
        let variance = S::dot(group.iter().map(|x| (x.sub(mean), x.sub(mean)))).div(n);
        Ok((mean, variance.apply(&SQRT).add(S::from_f64(1e-9))))
    })?;
    let (means, deviations): (Vec<S>, Vec<S>) = known.into_iter().unzip();
    let centred = applied(x.clone(), &Datum::of_real(x.element, &shape, means), S::sub)?;
    Ok(vec![applied(centred, &Datum::of_real(x.element, &shape, deviations), S::div)?])
}

const WITH_FLOAT8: &[Element] =
    &[Float16, Float, Double, Bfloat16, Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ];

static DROPOUT: OpDef = OpDef {
    name: "Dropout",
    doc: "In inference the identity, with a mask that is true everywhere; in training random",
    versions: &[1, 6, 7, 10, 12, 13, 22],
    inputs: &[Param::required("data", "T"), Param::optional("ratio", "T1"), Param::optional("training_mode", "T2")],
    outputs: &[Param::required("output", "T"), Param::optional("mask", "T2")],
    attrs: &[AttrDef::optional("seed", AttrKind::Int)],
    types: &[("T", WITH_FLOAT8), ("T1", WITH_FLOAT8), ("T2", sets::BOOL)],
    infer: infer_dropout,
    eval: eval!(dropout),
    work: |call, outputs| Work::pointwise(call, outputs, 1),
    // In training mode two calls differ even when their inputs do not.
    laws: &[Law::Impure],
    ..OpDef::BASE
};

fn infer_dropout(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let data = call.ty(0)?;
    Ok(vec![Some(data.clone().into()), Some(Fact::new(Bool, data.shape.iter().cloned()))])
}

fn dropout<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let data = call.input(0)?;
    let trains = match call.given(2) {
        Some(mode) => mode.bool()?.contains(&true),
        None => false,
    };
    let drops = match call.given(1) {
        Some(ratio) => ratio.real()?.iter().any(|&ratio| ratio != S::from_int(0)),
        None => true,
    };
    if trains && drops {
        return Err(Reason::new("training mode is random"));
    }
    let mask = vec![true; affordable(&data.shape, data.count())?];
    Ok(vec![data.clone(), Datum::of_bool(&data.shape, mask)])
}
