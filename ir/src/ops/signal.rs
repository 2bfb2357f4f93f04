//! Signals: Fourier transforms, windows and mel filters.
//!
//! Complex numbers stand in a last axis of size 2, real part first; a last axis of size 1 means real numbers.

use super::cast::{element_of_code, truncated};
use super::fourier::{Complex, transform};
use super::functions::FLOPS;
use super::lanes::Lanes;
use super::pointwise::{affordable, needs_functions};
use super::shape::{contents, overflow};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar, strides_of};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::types::{Element, TensorType, normalize_axis};
use std::f64::consts::TAU;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&DFT, &STFT, &BLACKMAN_WINDOW, &HAMMING_WINDOW, &HANN_WINDOW, &MEL_WEIGHT_MATRIX];

/// The longest window, and the longest transform of a signal that is shorter by far: a number alone must not ask for all
/// memory.
const MOST_ELEMENTS: usize = 1 << 24;

static DFT: OpDef = OpDef {
    name: "DFT",
    doc: "y[k] = sum over n of x[n] * exp(-2 pi i k n / N) along an axis; the inverse has the opposite sign and 1 / N",
    versions: &[17, 20],
    inputs: &[
        Param::required("input", "T1"),
        Param::optional("dft_length", "T2"),
        Param::optional("axis", "tensor(int64)"),
    ],
    outputs: &[Param::required("output", "T1")],
    attrs: &[AttrDef::int("inverse", 0), AttrDef::int("onesided", 0)],
    types: &[("T1", sets::FLOAT), ("T2", sets::INDEX), ("tensor(int64)", sets::INT64)],
    infer: infer_dft,
    eval: eval!(dft),
    work: |call, outputs| {
        let length = call.given(1).and_then(one).and_then(|length| length.as_known());
        let axis =
            transform_axis(call.given(2).and_then(one).and_then(|axis| axis.as_known()), call.ty(0).ok()?.rank());
        let along = || call.ty(0).ok()?.shape.get(axis.ok()?)?.as_known();
        transform_work(call, outputs, length.or_else(along))
    },
    ..OpDef::BASE
};

/// The only element of an operand, when it is known.
fn one(operand: &crate::op::Operand) -> Option<Dim> {
    let dims = contents(operand)?;
    if dims.len() == 1 { dims.into_iter().next() } else { None }
}

/// A fast transform of length n takes about 5 n log2(n) operations. Of an unknown length, 10 stands for the logarithm.
fn transform_work(call: &Call, outputs: &[TensorType], length: Option<i64>) -> Option<Work> {
    let log = length.map_or(10, |length| i64::from(u64::try_from(length).unwrap_or(1).max(2).ilog2()));
    // Each complex element is two of the output's.
    Work::streaming(call, outputs, outputs.first()?.count()?.mul(&Dim::known(5 * log))?.ceil_div(&Dim::known(2))?)
}

/// The axis that is transformed; the one before the last when it is left out. Errors: out of range, or the last.
fn transform_axis(axis: Option<i64>, rank: usize) -> Result<usize, Reason> {
    let axis = axis.unwrap_or(-2);
    let at = normalize_axis(axis, rank).filter(|at| at + 1 < rank);
    at.ok_or_else(|| Reason(format!("axis {axis} is not an axis of signals of a tensor of rank {rank}")))
}

/// The lengths of one transform, as far as they are known.
struct Lengths<D> {
    /// Elements along the axis before the transform, and behind it.
    full: D,
    output: D,
    /// Whether the result is real.
    real: bool,
}

/// Errors: what the flags do not allow, when `n_parts`, the size of the last axis, is known.
fn check_parts(n_parts: Option<usize>, onesided: bool, inverse: bool) -> Result<(), Reason> {
    match (n_parts, onesided, inverse) {
        (None | Some(1 | 2), false, _) | (None, true, _) | (Some(1), true, false) | (Some(2), true, true) => Ok(()),
        (Some(2), true, false) => Err(Reason::new("only a real signal has a one-sided transform")),
        (Some(1), true, true) => Err(Reason::new("a one-sided spectrum is complex, the input is real")),
        (Some(n), ..) => Err(Reason(format!("the last axis holds real numbers (1) or complex ones (2), found {n}"))),
    }
}

fn infer_dft(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let input = call.ty(0)?;
    let rank = input.rank();
    let (inverse, onesided) = (call.attrs.flag("inverse"), call.attrs.flag("onesided"));
    let Some(n_parts) = input.shape.last().filter(|_| rank >= 2) else {
        return Err(Reason(format!("a tensor of at least two axes is expected, found {input}")));
    };
    if n_parts.as_known().is_some() || n_parts.as_size().is_some() {
        check_parts(Some(n_parts.as_size().unwrap_or(0)), onesided, inverse)?;
    }
    let parts = Dim::known(if inverse && onesided { 1 } else { 2 });
    let length = call.given(1).map(|length| one(length).unwrap_or_else(|| call.fresh(rank)));
    let axis = match call.given(2) {
        None => Some(transform_axis(None, rank)?),
        Some(axis) => match one(axis).and_then(|axis| axis.as_known()) {
            Some(axis) => Some(transform_axis(Some(axis), rank)?),
            // With one axis of signals there is no choice.
            None => (rank == 2).then_some(0),
        },
    };
    let mut shape = input.shape.clone();
    shape[rank - 1] = parts;
    let Some(axis) = axis else {
        if length.is_some() || onesided {
            shape[..rank - 1].iter_mut().enumerate().for_each(|(at, dim)| *dim = call.fresh(at));
        }
        return Ok(vec![Some(Fact::new(input.element, shape))]);
    };
    let lengths = Lengths::of_dims(&input.shape[axis], length, inverse, onesided)?;
    shape[axis] = lengths.output;
    Ok(vec![Some(Fact::new(input.element, shape))])
}

impl Lengths<Dim> {
    fn of_dims(along: &Dim, length: Option<Dim>, inverse: bool, onesided: bool) -> Result<Self, Reason> {
        let full = match length {
            Some(length) => length,
            None if inverse && onesided => {
                along.sub(&Dim::known(1)).and_then(|gaps| gaps.mul(&Dim::known(2))).ok_or_else(overflow)?
            }
            None => along.clone(),
        };
        if full.as_known().is_some_and(|full| full < 1) {
            return Err(Reason(format!("a transform of length {full}")));
        }
        let output = if onesided && !inverse { half_spectrum(&full).ok_or_else(overflow)? } else { full.clone() };
        Ok(Self { full, output, real: inverse && onesided })
    }

    fn known(&self) -> Result<Lengths<usize>, Reason> {
        let size = |dim: &Dim| dim.as_size().ok_or_else(overflow);
        Ok(Lengths { full: size(&self.full)?, output: size(&self.output)?, real: self.real })
    }
}

/// floor(n / 2) + 1: the part of the spectrum of a real signal that tells the rest.
fn half_spectrum(full: &Dim) -> Option<Dim> {
    full.floor_div(&Dim::known(2))?.add(&Dim::known(1))
}

/// The only element of input `index`, when it is given. Errors: it has another number of elements.
fn given_one<S: Scalar>(call: &EvalCall<S>, index: usize, name: &str) -> Result<Option<i64>, Reason> {
    let Some(datum) = call.given(index) else { return Ok(None) };
    match datum.to_i64s()?[..] {
        [value] => Ok(Some(value)),
        _ => Err(Reason(format!("`{name}` is one number, found {} of them", datum.count()))),
    }
}

fn dft<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("roots of unity")?;
    let x = call.input(0)?;
    let (inverse, onesided) = (call.attrs.flag("inverse"), call.attrs.flag("onesided"));
    let rank = x.rank();
    let axis = transform_axis(given_one(call, 2, "axis")?, rank)?;
    let n_parts = x.shape[rank - 1];
    check_parts(Some(n_parts), onesided, inverse)?;
    let length = given_one(call, 1, "dft_length")?.map(Dim::known);
    let lengths = Lengths::of_dims(&x.shape[axis].into(), length, inverse, onesided)?.known()?;
    if lengths.full > x.shape[axis].saturating_mul(2).max(MOST_ELEMENTS) {
        return Err(Reason(format!("a transform of length {} of {} elements", lengths.full, x.shape[axis])));
    }
    let mut shape = x.shape.clone();
    (shape[axis], shape[rank - 1]) = (lengths.output, if lengths.real { 1 } else { 2 });
    let mut result = vec![S::from_int(0); affordable(&shape, x.count())?];
    let elements = x.real()?;
    // The lanes over whole numbers: those of input and output correspond, whatever the lengths along the axis.
    let (from, to) = (Lanes::new(&x.shape[..rank - 1], axis..axis + 1), Lanes::new(&shape[..rank - 1], axis..axis + 1));
    let starts: Vec<usize> = if x.shape[axis] == 0 { vec![0; to.outer * to.inner] } else { from.starts().collect() };
    for (from_start, to_start) in starts.into_iter().zip(to.starts()) {
        let mut signal: Vec<Complex> = from
            .lane(from_start)
            .take(lengths.full)
            .map(|at| complex(&elements[at * n_parts..(at + 1) * n_parts]))
            .collect();
        if lengths.real {
            mirror(&mut signal, lengths.full);
        }
        signal.resize(lengths.full, (0.0, 0.0));
        let scale = if inverse { 1.0 / lengths.full as f64 } else { 1.0 };
        let spectrum = transform(&signal, inverse);
        for (at, (re, im)) in to.lane(to_start).zip(spectrum) {
            if lengths.real {
                result[at] = S::from_f64(re * scale);
            } else {
                result[2 * at] = S::from_f64(re * scale);
                result[2 * at + 1] = S::from_f64(im * scale);
            }
        }
    }
    Ok(vec![Datum::of_real(x.element, &shape, result)])
}

fn complex<S: Scalar>(parts: &[S]) -> Complex {
    (parts[0].to_f64(), parts.get(1).map_or(0.0, |im| im.to_f64()))
}

/// Completes the first half of the spectrum of a real signal of `full` elements: X[full - k] = conj X[k].
///
/// The imaginary parts of the constant and, for an even length, of the highest frequency carry nothing and are dropped.
fn mirror(half: &mut Vec<Complex>, full: usize) {
    let n_half = full / 2 + 1;
    half.resize(n_half, (0.0, 0.0));
    half[0].1 = 0.0;
    if full % 2 == 0 {
        half[n_half - 1].1 = 0.0;
    }
    for at in n_half..full {
        let (re, im) = half[full - at];
        half.push((re, -im));
    }
}

static STFT: OpDef = OpDef {
    name: "STFT",
    doc: "y[t,k] = sum over n of window[n] * x[t * frame_step + n] * exp(-2 pi i k n / N): the spectra of frames of a signal",
    versions: &[17],
    inputs: &[
        Param::required("signal", "T1"),
        Param::required("frame_step", "T2"),
        Param::optional("window", "T1"),
        Param::optional("frame_length", "T2"),
    ],
    outputs: &[Param::required("output", "T1")],
    attrs: &[AttrDef::int("onesided", 1)],
    types: &[("T1", sets::FLOAT), ("T2", sets::INDEX)],
    infer: infer_stft,
    eval: eval!(stft),
    work: |call, outputs| {
        let length = frame_length(call).ok()?.and_then(|length| length.as_known());
        transform_work(call, outputs, length)
    },
    ..OpDef::BASE
};

/// The length of a frame, when it is known: as given, that of the window, or that of the signal.
fn frame_length(call: &Call) -> Result<Option<Dim>, Reason> {
    let window = match call.given(2) {
        Some(window) => match window.ty.shape.as_slice() {
            [length] => Some(length),
            _ => return Err(Reason(format!("the window is a vector, found {}", window.ty))),
        },
        None => None,
    };
    let given = call.given(3).map(one);
    match (given, window) {
        (Some(Some(given)), Some(window)) => {
            let differ = given.as_known().zip(window.as_known()).is_some_and(|(given, window)| given != window);
            if differ {
                return Err(Reason(format!("frames of {given} elements, but a window of {window}")));
            }
            Ok(Some(if window.as_known().is_some() { window.clone() } else { given }))
        }
        (_, Some(window)) => Ok(Some(window.clone())),
        (Some(given), None) => Ok(given),
        (None, None) => Ok(call.ty(0)?.shape.get(1).cloned()),
    }
}

fn infer_stft(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let signal = call.ty(0)?;
    let [batch, len, n_parts] = signal.shape.as_slice() else {
        return Err(Reason(format!("a signal has three axes, found {signal}")));
    };
    let onesided = call.attrs.flag("onesided");
    if n_parts.as_known().is_some() {
        check_parts(Some(n_parts.as_size().unwrap_or(0)), onesided, false)?;
    }
    let step = one(call.input(1)?);
    let length = frame_length(call)?;
    if let Some(problem) = step.as_ref().and_then(Dim::as_known).filter(|&step| step < 1) {
        return Err(Reason(format!("frames that are {problem} elements apart")));
    }
    if let Some(length) = length.as_ref().and_then(Dim::as_known)
        && (length < 1 || len.as_known().is_some_and(|len| len < length))
    {
        return Err(Reason(format!("frames of {length} elements of a signal of {len}")));
    }
    let n_frames = match (&step, &length) {
        (_, Some(length)) if length == len => Some(Dim::known(1)),
        (Some(step), Some(length)) => {
            let rest = len.sub(length).ok_or_else(overflow)?;
            rest.floor_div(step).and_then(|steps| steps.add(&Dim::known(1)))
        }
        _ => None,
    };
    let length = length.unwrap_or_else(|| call.fresh(1));
    let n_bins = if onesided { half_spectrum(&length).ok_or_else(overflow)? } else { length };
    let shape = [batch.clone(), n_frames.unwrap_or_else(|| call.fresh(0)), n_bins, Dim::known(2)];
    Ok(vec![Some(Fact::new(signal.element, shape))])
}

fn stft<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("roots of unity")?;
    let x = call.input(0)?;
    let [n_signals, len, n_parts] = x.shape[..] else {
        return Err(Reason(format!("a signal has three axes, found {:?}", x.shape)));
    };
    let onesided = call.attrs.flag("onesided");
    check_parts(Some(n_parts), onesided, false)?;
    if let Some(window) = call.given(2).filter(|window| window.rank() != 1) {
        return Err(Reason(format!("the window is a vector, found {:?}", window.shape)));
    }
    let window = call.given(2).map(Datum::real).transpose()?;
    let step = given_one(call, 1, "frame_step")?.and_then(|step| usize::try_from(step).ok()).filter(|&step| step > 0);
    let step = step.ok_or_else(|| Reason::new("frames are at least one element apart"))?;
    let length = match (given_one(call, 3, "frame_length")?, window) {
        (Some(length), _) => usize::try_from(length).unwrap_or(0),
        (None, Some(window)) => window.len(),
        (None, None) => len,
    };
    if length == 0 || length > len {
        return Err(Reason(format!("frames of {length} elements of a signal of {len}")));
    }
    if let Some(window) = window.filter(|window| window.len() != length) {
        return Err(Reason(format!("frames of {length} elements, but a window of {}", window.len())));
    }
    let (n_frames, n_bins) = ((len - length) / step + 1, if onesided { length / 2 + 1 } else { length });
    let shape = [n_signals, n_frames, n_bins, 2];
    let mut result = Vec::with_capacity(affordable(&shape, x.count())?);
    let (elements, strides) = (x.real()?, strides_of(&x.shape));
    for signal in 0..n_signals {
        for frame in 0..n_frames {
            let sample = |n: usize| {
                let at = signal * strides[0] + (frame * step + n) * n_parts;
                let (re, im) = complex(&elements[at..at + n_parts]);
                let weight = window.map_or(1.0, |window| window[n].to_f64());
                (re * weight, im * weight)
            };
            let samples: Vec<Complex> = (0..length).map(sample).collect();
            let spectrum = transform(&samples, false).into_iter().take(n_bins);
            result.extend(spectrum.flat_map(|(re, im)| [S::from_f64(re), S::from_f64(im)]));
        }
    }
    Ok(vec![Datum::of_real(x.element, &shape, result)])
}

const WINDOW: OpDef = OpDef {
    versions: &[17],
    inputs: &[Param::required("size", "T1")],
    outputs: &[Param::required("output", "T2")],
    attrs: &[AttrDef::int("output_datatype", 1), AttrDef::int("periodic", 1)],
    types: &[("T1", sets::INDEX), ("T2", sets::NUMERIC)],
    infer: infer_window,
    work: |call, outputs| Work::pointwise(call, outputs, 2 * FLOPS),
    ..OpDef::BASE
};

/// The element type that attribute `output_datatype` names. Errors: it is not a number type.
fn output_element(code: Result<i64, Reason>) -> Result<Element, Reason> {
    let element = element_of_code(code?)?;
    let fits = sets::NUMERIC.contains(&element);
    if fits { Ok(element) } else { Err(Reason(format!("attribute `output_datatype` names {element}"))) }
}

fn infer_window(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let element = output_element(call.int("output_datatype"))?;
    let size = one(call.input(0)?).unwrap_or_else(|| call.fresh(0));
    super::shape::no_negative(std::slice::from_ref(&size))?;
    Ok(vec![Some(Fact::new(element, [size]))])
}

static BLACKMAN_WINDOW: OpDef = OpDef {
    name: "BlackmanWindow",
    doc: "w[n] = 0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N), N the size, or one less when not periodic",
    eval: eval!(blackman),
    ..WINDOW
};

fn blackman<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    cosine_window(call, [0.42, 0.5, 0.08])
}

static HAMMING_WINDOW: OpDef = OpDef {
    name: "HammingWindow",
    doc: "w[n] = 25/46 - 21/46 cos(2 pi n / N), N the size, or one less when not periodic",
    eval: eval!(hamming),
    ..WINDOW
};

fn hamming<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    cosine_window(call, [25.0 / 46.0, 21.0 / 46.0, 0.0])
}

static HANN_WINDOW: OpDef = OpDef {
    name: "HannWindow",
    doc: "w[n] = 1/2 - 1/2 cos(2 pi n / N), N the size, or one less when not periodic",
    eval: eval!(hann),
    ..WINDOW
};

fn hann<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    cosine_window(call, [0.5, 0.5, 0.0])
}

/// w[n] = a - b cos(2 pi n / N) + c cos(4 pi n / N).
///
/// A symmetric window of one element has a period of 0, for which this is not defined; it is 1, the top of the window.
fn cosine_window<S: Scalar>(call: &EvalCall<S>, [a, b, c]: [f64; 3]) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("cos")?;
    let element = output_element(call.int("output_datatype"))?;
    let size = given_one(call, 0, "size")?.ok_or_else(|| Reason::new("the size is missing"))?;
    let fits = usize::try_from(size).ok().filter(|&size| size <= MOST_ELEMENTS);
    let size = fits.ok_or_else(|| Reason(format!("a window of {size} elements")))?;
    let period = if call.attrs.flag("periodic") { size } else { size.saturating_sub(1) };
    let at = |n: usize| {
        if period == 0 {
            return 1.0;
        }
        let angle = TAU * (n as f64 / period as f64);
        a - b * angle.cos() + c * (2.0 * angle).cos()
    };
    Ok(vec![numbers(element, &[size], (0..size).map(at))?])
}

/// Numbers as elements of a real or integer type, rounded towards zero for the latter.
fn numbers<S: Scalar>(
    element: Element,
    shape: &[usize],
    values: impl Iterator<Item = f64>,
) -> Result<Datum<S>, Reason> {
    Ok(if element.is_real() {
        Datum::of_real(element, shape, values.map(S::from_f64).collect())
    } else {
        Datum::of_int(element, shape, values.map(truncated).collect::<Result<_, _>>()?)
    })
}

static MEL_WEIGHT_MATRIX: OpDef = OpDef {
    name: "MelWeightMatrix",
    doc: "Triangles of height 1 at equal distances on the mel scale, 2595 log10(1 + f / 700), as columns over the spectrum",
    versions: &[17],
    inputs: &[
        Param::required("num_mel_bins", "T1"),
        Param::required("dft_length", "T1"),
        Param::required("sample_rate", "T1"),
        Param::required("lower_edge_hertz", "T2"),
        Param::required("upper_edge_hertz", "T2"),
    ],
    outputs: &[Param::required("output", "T3")],
    attrs: &[AttrDef::int("output_datatype", 1)],
    types: &[("T1", sets::INDEX), ("T2", sets::FLOAT), ("T3", sets::NUMERIC)],
    infer: infer_mel,
    eval: eval!(mel),
    work: |call, outputs| Work::pointwise(call, outputs, 2),
    ..OpDef::BASE
};

fn infer_mel(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let element = output_element(call.int("output_datatype"))?;
    let size = |index: usize| call.input(index).map(|operand| one(operand).unwrap_or_else(|| call.fresh(index)));
    let (n_mels, length) = (size(0)?, size(1)?);
    super::shape::no_negative(&[n_mels.clone(), length.clone()])?;
    Ok(vec![Some(Fact::new(element, [half_spectrum(&length).ok_or_else(overflow)?, n_mels]))])
}

fn mel<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("log")?;
    let element = output_element(call.int("output_datatype"))?;
    let size = |index: usize, name: &str| {
        let value = given_one(call, index, name)?.and_then(|value| usize::try_from(value).ok());
        value.ok_or_else(|| Reason(format!("`{name}` is not negative")))
    };
    let (n_mels, length) = (size(0, "num_mel_bins")?, size(1, "dft_length")?);
    let rate = size(2, "sample_rate")?;
    let edge = |index: usize| match call.real(index)? {
        [hertz] => Ok(2595.0 / std::f64::consts::LN_10 * (hertz.to_f64() / 700.0).ln_1p()),
        _ => Err(Reason::new("each edge of the spectrum is one number")),
    };
    let (lower, upper) = (edge(3)?, edge(4)?);
    let n_bins = length / 2 + 1;
    let shape = [n_bins, n_mels];
    if length.max(n_mels) > MOST_ELEMENTS {
        return Err(Reason(format!("a matrix of shape {shape:?} is too large to evaluate")));
    }
    let mut result = vec![0f64; affordable(&shape, 0)?];
    let step = (upper - lower) / (n_mels as f64 + 2.0);
    // The bin of the spectrum at which triangle `index` starts, the one before has its top and the one before that ends.
    let bin = |index: usize| {
        let hertz = 700.0 * ((lower + step * index as f64) * (std::f64::consts::LN_10 / 2595.0)).exp_m1();
        let bin = ((length as f64 + 1.0) * hertz / rate as f64).floor();
        let inside = bin >= 0.0 && bin < n_bins as f64;
        if inside { Ok(bin as usize) } else { Err(Reason::new("the edges lie outside the spectrum")) }
    };
    for mel in 0..n_mels {
        let (left, top, right) = (bin(mel)?, bin(mel + 1)?, bin(mel + 2)?);
        for at in left..top {
            result[at * n_mels + mel] = (at - left) as f64 / (top - left) as f64;
        }
        result[top * n_mels + mel] = 1.0;
        for at in top..right {
            result[at * n_mels + mel] = (right - at) as f64 / (right - top) as f64;
        }
    }
    Ok(vec![numbers(element, &shape, result.into_iter())?])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::ops::cases::infer;

    fn flags(inverse: i64, onesided: i64) -> [(&'static str, Attr); 2] {
        [("inverse", Attr::Int(inverse)), ("onesided", Attr::Int(onesided))]
    }

    #[test]
    fn the_length_of_a_spectrum_follows_from_that_of_the_signal() {
        let dft = |inverse, onesided, inputs: &[&str]| infer("DFT", &flags(inverse, onesided), inputs);
        assert_eq!(dft(0, 0, &["float[b,n,1]"]), "float[b,n,2]");
        assert_eq!(dft(0, 1, &["float[b,n,1]", "", "int64[] = 0"]), "float[floor((b)/(2)) + 1,n,2]");
        assert_eq!(dft(1, 1, &["float[b,n,2]"]), "float[b,2*n - 2,1]");
        assert_eq!(dft(1, 1, &["float[b,9,2]", "int64[] = 17"]), "float[b,17,1]");
        assert_eq!(dft(0, 0, &["float[b,9,m]", "int32[]"]), "float[b,?t.3,2]");
    }

    #[test]
    fn an_unknown_axis_leaves_only_what_holds_for_all_of_them() {
        let dft = |onesided, inputs: &[&str]| infer("DFT", &flags(0, onesided), inputs);
        assert_eq!(dft(0, &["float[b,n,1]", "", "int64[]"]), "float[b,n,2]");
        assert_eq!(dft(1, &["float[b,n,1]", "", "int64[]"]), "float[?t.0,?t.1,2]");
        assert_eq!(dft(1, &["float[8,1]", "", "int64[]"]), "float[5,2]");
    }

    #[test]
    fn transforms_of_the_wrong_form_are_refused() {
        let dft = |inverse, onesided, inputs: &[&str]| infer("DFT", &flags(inverse, onesided), inputs);
        assert!(dft(0, 0, &["float[b,n,3]"]).contains("found 3"));
        assert!(dft(0, 1, &["float[b,n,2]"]).contains("real signal"));
        assert!(dft(1, 1, &["float[b,n,1]"]).contains("complex"));
        assert!(dft(0, 0, &["float[b,n,1]", "", "int64[] = -1"]).contains("axis -1"));
        assert!(dft(0, 0, &["float[b,n,1]", "int64[] = 0"]).contains("length 0"));
        assert!(dft(0, 0, &["float[2]"]).contains("two axes"));
    }

    #[test]
    fn frames_are_counted_as_far_as_their_length_is_known() {
        let stft = |inputs: &[&str]| infer("STFT", &[], inputs);
        assert_eq!(stft(&["float[b,128,1]", "int64[] = 8", "", "int64[] = 16"]), "float[b,15,9,2]");
        assert_eq!(stft(&["float[b,n,1]", "int64[] = 8", "float[16]"]), "float[b,floor((n)/(8)) - 1,9,2]");
        assert_eq!(stft(&["float[b,n,1]", "int64[]"]), "float[b,1,floor((n)/(2)) + 1,2]");
        assert_eq!(stft(&["float[b,n,1]", "int64[]", "", "int64[]"]), "float[b,?t.0,floor((?t.1)/(2)) + 1,2]");
        assert!(stft(&["float[b,9,1]", "int64[] = 8", "float[16]"]).contains("16 elements"));
        assert!(stft(&["float[b,n,1]", "int64[] = 0", "float[16]"]).contains("0 elements apart"));
        assert!(stft(&["float[b,n,1]", "int64[] = 1", "float[16]", "int64[] = 8"]).contains("window of 16"));
        assert!(stft(&["float[b,n,2]", "int64[] = 1"]).contains("real signal"));
    }

    #[test]
    fn windows_have_the_size_and_type_that_are_asked_for() {
        let of = |code: i64| [("output_datatype", Attr::Int(code))];
        assert_eq!(infer("HannWindow", &of(11), &["int64[] = n"]), "double[n]");
        assert_eq!(infer("HannWindow", &of(3), &["int32[]"]), "int8[?t.0]");
        assert!(infer("HannWindow", &of(9), &["int64[] = 4"]).contains("bool"));
        assert!(infer("HannWindow", &of(1), &["int64[] = -4"]).contains("-4"));
        let mel = ["int64[] = 8", "int32[] = n", "int32[]", "float[]", "float[]"];
        assert_eq!(infer("MelWeightMatrix", &[], &mel), "float[floor((n)/(2)) + 1,8]");
    }
}
