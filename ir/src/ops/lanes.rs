//! Walks along axes: what softmax, reductions, norms and sorting share.

use super::pointwise::affordable;
use crate::eval::{each_index, strides_of};
use crate::op::Reason;
use crate::tensor::count_of;

/// A tensor seen as `outer` x `len` x `inner`, where the middle one is the axis (or axes) that is worked along.
pub(super) struct Lanes {
    /// Number of positions before the axis.
    pub outer: usize,
    /// Number of elements of one lane.
    pub len: usize,
    /// Number of positions behind the axis: the distance between neighbours of one lane.
    pub inner: usize,
}

impl Lanes {
    /// The lanes of a tensor of `shape` along the axes `from..to`. One of no elements has no lanes.
    pub(super) fn new(shape: &[usize], axes: std::ops::Range<usize>) -> Self {
        // Without a check, the other dims of an empty tensor could overflow or ask for work without end.
        if shape.contains(&0) {
            return Self { outer: 0, len: 0, inner: 0 };
        }
        let product = |dims: &[usize]| count_of(dims).unwrap_or(0);
        Self {
            outer: product(&shape[..axes.start]),
            len: product(&shape[axes.clone()]),
            inner: product(&shape[axes.end..]),
        }
    }

    /// The offset of the first element of each lane.
    pub(super) fn starts(&self) -> impl Iterator<Item = usize> + use<> {
        let (len, inner) = (self.len, self.inner);
        (0..self.outer).flat_map(move |outer| (0..inner).map(move |inner_at| outer * len * inner + inner_at))
    }

    /// The offsets of the lane that starts at `start`.
    pub(super) fn lane(&self, start: usize) -> impl DoubleEndedIterator<Item = usize> + Clone + use<> {
        let inner = self.inner;
        (0..self.len).map(move |at| start + at * inner)
    }
}

/// The shape of a tensor of `shape` with `axes` reduced to 1, or taken away.
pub(super) fn reduced_shape<D: Clone>(shape: &[D], axes: &[usize], keep: bool, one: D) -> Vec<D> {
    let reduced = |(at, dim): (usize, &D)| match (axes.contains(&at), keep) {
        (false, _) => Some(dim.clone()),
        (true, true) => Some(one.clone()),
        (true, false) => None,
    };
    shape.iter().enumerate().filter_map(reduced).collect()
}

/// `f` of the elements of each group: those that differ along `axes` only. Groups in row-major order.
///
/// Errors: those of `f`, and groups without elements in numbers that the input gives no reason for.
pub(super) fn groups<T: Copy, R>(
    elements: &[T],
    shape: &[usize],
    axes: &[usize],
    f: impl Fn(&[T]) -> Result<R, Reason>,
) -> Result<Vec<R>, Reason> {
    let kept = reduced_shape(shape, axes, true, 1);
    let n_groups = affordable(&kept, elements.len())?;
    if elements.is_empty() {
        return (0..n_groups).map(|_| f(&[])).collect();
    }
    let strides = strides_of(shape);
    let offsets = |dims: &[usize]| {
        let mut offsets = Vec::with_capacity(count_of(dims).unwrap_or(0));
        let visit = |index: &[usize]| -> Result<(), Reason> {
            offsets.push(index.iter().zip(&strides).map(|(at, stride)| at * stride).sum::<usize>());
            Ok(())
        };
        each_index(dims, visit).map(|()| offsets)
    };
    let within: Vec<usize> =
        shape.iter().enumerate().map(|(at, &dim)| if axes.contains(&at) { dim } else { 1 }).collect();
    let within = offsets(&within)?;
    let contiguous = within.last() == Some(&(within.len() - 1));
    let mut group = Vec::with_capacity(within.len());
    let mut reduce = |base: usize| {
        if contiguous {
            return f(&elements[base..base + within.len()]);
        }
        group.clear();
        group.extend(within.iter().map(|offset| elements[base + offset]));
        f(&group)
    };
    offsets(&kept)?.into_iter().map(&mut reduce).collect()
}
