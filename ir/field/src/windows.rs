//! Products of matrices, convolutions and pools.

use crate::call::{Arguments, apply, attributes, reference, standard};
use crate::prime::{LANES, Prime, primes};
use crate::product::multiply;
use crate::reduce::shaped;
use crate::value::{Drawn, Value};
use eutectic_ir::eval::{Broadcast, Datum, broadcast_shape};
use eutectic_ir::graph::Op;
use eutectic_ir::types::Element;
use eutectic_ir::{Attr, Attrs, Reason};
use std::ops::Range;

/// Weights with more elements than this are drawn while they are packed, so that they are not held in doubles.
const LARGE: usize = 1 << 18;

/// The right side of a product: residues, or a large weight that is drawn as it is read.
enum Right {
    Drawn(Drawn),
    Weight(Datum<f32>),
}

impl Right {
    fn of(value: &Value) -> Self {
        match value {
            Value::Numbers(numbers) if numbers.count() > LARGE && !value.is_constant() => {
                Right::Weight(numbers.clone())
            }
            other => Right::Drawn(other.drawn()),
        }
    }

    fn degree(&self) -> u64 {
        match self {
            Right::Drawn(drawn) => drawn.degree,
            Right::Weight(_) => 1,
        }
    }

    /// The residues of one lane, to be read in any order.
    fn reader<'a>(&'a self, lane: usize) -> Result<Reader<'a>, Reason> {
        Ok(match self {
            Right::Drawn(drawn) => Reader::Residues(drawn.residues()?[lane]),
            Right::Weight(numbers) => Reader::Numbers(&primes()[lane], numbers.real()?),
        })
    }
}

enum Reader<'a> {
    Residues(&'a [f64]),
    Numbers(&'a Prime, &'a [f32]),
}

impl Reader<'_> {
    /// Copies the rows `ks` and columns `ns` of the matrix at `start` whose neighbours stand `by_row` and `by_column` apart.
    fn fill(
        &self,
        (start, by_row, by_column): (usize, usize, usize),
        ks: Range<usize>,
        ns: Range<usize>,
        width: usize,
        panel: &mut [f64],
    ) {
        for (k, line) in ks.zip(panel.chunks_exact_mut(width)) {
            let row = start + k * by_row;
            match self {
                Reader::Residues(all) if by_column == 1 => line[..ns.len()].copy_from_slice(&all[row..][ns.clone()]),
                Reader::Residues(all) => {
                    line.iter_mut().zip(ns.clone()).for_each(|(into, n)| *into = all[row + n * by_column])
                }
                Reader::Numbers(prime, all) => {
                    line.iter_mut()
                        .zip(ns.clone())
                        .for_each(|(into, n)| *into = prime.of_number(all[row + n * by_column]));
                }
            }
        }
    }
}

/// The matrix product as `MatMul` defines it. Errors: shapes disagree.
pub(crate) fn matmul(a: &Value, b: &Value) -> Result<Drawn, Reason> {
    let (left, right) = (a.drawn(), Right::of(b));
    let fail = || Reason(format!("the shapes {:?} and {:?} have no product", a.shape(), b.shape()));
    let (batch_a, rows, depth) = match a.shape() {
        [depth] => (&[][..], 1, *depth),
        [batch @ .., rows, depth] => (batch, *rows, *depth),
        [] => return Err(fail()),
    };
    let (batch_b, other_depth, columns) = match b.shape() {
        [depth] => (&[][..], *depth, 1),
        [batch @ .., depth, columns] => (batch, *depth, *columns),
        [] => return Err(fail()),
    };
    if depth != other_depth {
        return Err(fail());
    }
    let batch = broadcast_shape([batch_a, batch_b]).ok_or_else(fail)?;
    let mut shape = batch.clone();
    shape.extend((a.shape().len() > 1).then_some(rows));
    shape.extend((b.shape().len() > 1).then_some(columns));
    let (residues, degree) = (left.residues()?, left.degree.saturating_add(right.degree()));
    let is_shared = batch_b.iter().product::<usize>() == 1 && batch == batch_a;
    let matrices: Vec<(usize, usize)> = match is_shared {
        true => vec![(0, 0)],
        false => Broadcast::new(batch_a, &batch).offsets().zip(Broadcast::new(batch_b, &batch).offsets()).collect(),
    };
    let rows = if is_shared { rows * batch.iter().product::<usize>() } else { rows };
    let mut results: [Vec<f64>; LANES] = Default::default();
    for (lane, result) in results.iter_mut().enumerate() {
        let reader = right.reader(lane)?;
        for &(at_a, at_b) in &matrices {
            let rows = &residues[lane][at_a * rows * depth..][..rows * depth];
            let place = (at_b * depth * columns, columns, 1);
            let found = product(&primes()[lane], rows, depth, columns, |ks, ns, width, panel| {
                reader.fill(place, ks, ns, width, panel)
            });
            result.extend(found);
        }
        // A sum of nothing is zero.
        result.resize(shape.iter().product(), 0.0);
    }
    Ok(left.with(&shape, results, degree))
}

/// [`multiply`]; nothing for a sum of nothing.
fn product(
    prime: &Prime,
    left: &[f64],
    depth: usize,
    columns: usize,
    fill: impl Fn(Range<usize>, Range<usize>, usize, &mut [f64]) + Sync,
) -> Vec<f64> {
    if depth == 0 { Vec::new() } else { multiply(prime, left, depth, columns, fill) }
}

/// alpha A' B' + beta C. Errors: shapes disagree.
pub(crate) fn gemm(attrs: &Attrs, arguments: &Arguments) -> Result<Drawn, Reason> {
    let left = match attrs.flag("transA") {
        true => apply("Transpose", &[("perm", Attr::Ints([1, 0].into()))], &[Some(arguments.drawn(0)?)])?,
        false => arguments.drawn(0)?,
    };
    let (right, value) = (Right::of(arguments.value(1)?), arguments.value(1)?);
    let ([rows, depth], [first, second]) = (left.shape(), value.shape()) else {
        return Err(Reason::new("the operands are no matrices"));
    };
    let (other_depth, columns, strides) =
        if attrs.flag("transB") { (*second, *first, (1, *second)) } else { (*first, *second, (*second, 1)) };
    if *depth != other_depth {
        return Err(Reason(format!("the shapes {:?} and {:?} have no product", left.shape(), value.shape())));
    }
    let residues = left.residues()?;
    let mut results: [Vec<f64>; LANES] = Default::default();
    for (lane, result) in results.iter_mut().enumerate() {
        let reader = right.reader(lane)?;
        let place = (0, strides.0, strides.1);
        *result = product(&primes()[lane], residues[lane], *depth, columns, |ks, ns, width, panel| {
            reader.fill(place, ks, ns, width, panel)
        });
        result.resize(rows * columns, 0.0);
    }
    let product = left.with(&[*rows, columns], results, left.degree.saturating_add(right.degree()));
    let factor = |name: &str| attrs.float(name).map_or(1.0, f64::from);
    let scaled = if factor("alpha") == 1.0 { product } else { product.scaled(factor("alpha"))? };
    match arguments.given(2) {
        Some(c) if factor("beta") == 1.0 => scaled.plus(&c),
        Some(c) => scaled.plus(&c.scaled(factor("beta"))?),
        None => Ok(scaled),
    }
}

/// Where each tap of each window reads, row-major by tap and then place: 1 + the offset in a channel, 0 in the padding; and the
/// spatial shape of the result.
///
/// The reference convolution of the offsets with filters of one tap each tells.
fn taps(attrs: &Attrs, sizes: &[usize], kernel: &[usize]) -> Result<(Vec<f64>, Vec<usize>), Reason> {
    let (area, n_taps) = (sizes.iter().product::<usize>(), kernel.iter().product::<usize>());
    let image = Datum::of_real(Element::Double, &[&[1, 1], sizes].concat(), (1..=area).map(|at| at as f64).collect());
    let mut filters = vec![0.0; n_taps * n_taps];
    filters.iter_mut().step_by(n_taps + 1).for_each(|tap| *tap = 1.0);
    let filters = Datum::of_real(Element::Double, &[&[n_taps, 1], kernel].concat(), filters);
    let mut attrs = attrs.clone();
    attrs.set("group", Attr::Int(1));
    let results = reference::<f64>(&Op::Builtin(standard("Conv")?), &attrs, &[Some(image), Some(filters)], 1, false)?;
    let result = results.into_iter().next().ok_or_else(|| Reason::new("a convolution without a result"))?;
    Ok((result.real()?.to_vec(), result.shape[2..].to_vec()))
}

/// Convolution as `Conv` defines it. Errors: shapes disagree.
pub(crate) fn convolution(attrs: &Attrs, arguments: &Arguments) -> Result<Drawn, Reason> {
    let (x, w) = (arguments.drawn(0)?, arguments.drawn(1)?);
    let ([n, c, sizes @ ..], [m, c_each, kernel @ ..]) = (x.shape(), w.shape()) else {
        return Err(Reason::new("a convolution needs images and filters"));
    };
    let group = attrs.int("group").and_then(|group| usize::try_from(group).ok()).unwrap_or(0);
    if group == 0 || c_each * group != *c || m % group != 0 || kernel.len() != sizes.len() {
        return Err(Reason(format!("filters {:?} do not go with {:?} in {group} groups", w.shape(), x.shape())));
    }
    let (taps, places) = taps(attrs, sizes, kernel)?;
    let (n_places, n_taps, area) =
        (places.iter().product::<usize>(), kernel.iter().product::<usize>(), sizes.iter().product::<usize>());
    let (depth, m_each) = (c_each * n_taps, m / group);
    let shape = [&[*n, *m], &places[..]].concat();
    let (data, filters) = (x.residues()?, w.residues()?);
    let mut results: [Vec<f64>; LANES] = Default::default();
    for (lane, result) in results.iter_mut().enumerate() {
        for (item, of_group) in (0..*n).flat_map(|item| (0..group).map(move |of_group| (item, of_group))) {
            let channels = &data[lane][(item * c + of_group * c_each) * area..][..c_each * area];
            let filters = &filters[lane][of_group * m_each * depth..][..m_each * depth];
            let fill = |ks: Range<usize>, ns: Range<usize>, width: usize, panel: &mut [f64]| {
                for (k, line) in ks.zip(panel.chunks_exact_mut(width)) {
                    let channel = &channels[k / n_taps * area..][..area];
                    let reads = &taps[k % n_taps * n_places..][ns.clone()];
                    for (into, &read) in line.iter_mut().zip(reads) {
                        *into = if read == 0.0 { 0.0 } else { channel[read as usize - 1] };
                    }
                }
            };
            result.extend(product(&primes()[lane], filters, depth, n_places, fill));
        }
        result.resize(shape.iter().product(), 0.0);
    }
    let result = x.with(&shape, results, x.degree.saturating_add(w.degree));
    match arguments.given(2) {
        Some(bias) => {
            let shape: Vec<usize> = std::iter::once(*m).chain(std::iter::repeat_n(1, sizes.len())).collect();
            result.plus(&shaped(&bias, &shape)?)
        }
        None => Ok(result),
    }
}

/// The sums over windows, padding left out: what `LpPool` of order 1 gives for what is not negative.
fn window_sums(attrs: &Attrs, x: &Drawn, degree: u64) -> Result<Drawn, Reason> {
    let positive = x.map(degree, |prime, x| if x < 0.0 { x + prime.modulus } else { x })?;
    let mut given = vec![("p", Attr::Int(1))];
    for name in ["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides"] {
        given.extend(attrs.get(name).map(|value| (name, value.clone())));
    }
    apply("LpPool", &given, &[Some(positive)])
}

/// Windows of ones, in doubles: as many as `x` has in one channel.
fn of_ones(name: &'static str, attrs: &Attrs, sizes: &[usize]) -> Result<Vec<f64>, Reason> {
    let ones = Datum::of_real(Element::Double, &[&[1, 1], sizes].concat(), vec![1.0; sizes.iter().product()]);
    let results = reference::<f64>(&Op::Builtin(standard(name)?), attrs, &[Some(ones)], 1, false)?;
    results.first().ok_or_else(|| Reason::new("a pool without a result"))?.real().map(<[f64]>::to_vec)
}

pub(crate) fn average_pool(attrs: &Attrs, x: &Drawn) -> Result<Drawn, Reason> {
    let sums = window_sums(attrs, x, x.degree)?;
    let sizes = x.shape().get(2..).ok_or_else(|| Reason::new("a pool of a tensor without spatial axes"))?;
    let kept: Vec<(&str, Attr)> = ["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides"]
        .into_iter()
        .filter_map(|name| Some((name, attrs.get(name)?.clone())))
        .chain([("p", Attr::Int(1))])
        .collect();
    let counts = of_ones("LpPool", &attributes(standard("LpPool")?, &kept)?, sizes)?;
    // The mean of ones is what is in the image of what is counted.
    let means = of_ones("AveragePool", attrs, sizes)?;
    let divisors: Vec<f64> = counts
        .iter()
        .zip(&means)
        .map(|(count, mean)| if *mean == 0.0 { 0.0 } else { (count / mean).round() })
        .collect();
    let spatial = [&[1, 1], &sums.shape()[2..]].concat();
    let inverses =
        std::array::from_fn(|lane| divisors.iter().map(|&divisor| primes()[lane].inverse_of(divisor)).collect());
    sums.times(&sums.with(&spatial, inverses, 0))
}

pub(crate) fn max_pool(attrs: &Attrs, x: &Drawn) -> Result<Drawn, Reason> {
    window_sums(attrs, &x.map(1, Prime::to_sum)?, 1)?.map(1, Prime::of_sum)
}

/// A reduction over all spatial axes.
pub(crate) fn global(x: &Drawn, reduce: fn(&Drawn, &[i64]) -> Result<Drawn, Reason>) -> Result<Drawn, Reason> {
    reduce(x, &(2..x.shape().len() as i64).collect::<Vec<_>>())
}
