//! Walks operands that are broadcast to one shape, in pieces over which each advances by zero or one element.

use std::ops::Range;

/// How `N` contiguous operands map to the elements of a broadcast shape. Neighbouring axes over which all operands
/// advance together are merged, so that most calls have one axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast<const N: usize> {
    extents: Vec<usize>,
    /// Per axis, what each operand advances by.
    strides: Vec<[usize; N]>,
    len: usize,
}

/// The shape that `shapes` broadcast to, or `None` when two extents differ and neither is 1.
pub fn broadcast_shape(shapes: &[&[usize]]) -> Option<Vec<usize>> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut full = vec![1; rank];
    for shape in shapes {
        for (extent, slot) in shape.iter().rev().zip(full.iter_mut().rev()) {
            match (*slot, *extent) {
                (_, 1) => {}
                (1, extent) => *slot = extent,
                (a, b) if a == b => {}
                _ => return None,
            }
        }
    }
    Some(full)
}

impl<const N: usize> Broadcast<N> {
    /// The walk over `full`, to which every one of `shapes` broadcasts.
    ///
    /// # Panics
    /// When one does not.
    pub fn new(full: &[usize], shapes: [&[usize]; N]) -> Self {
        let mut steps = [1; N];
        let mut extents: Vec<usize> = Vec::new();
        let mut strides: Vec<[usize; N]> = Vec::new();
        // From the innermost axis outwards.
        for (from_end, &extent) in full.iter().rev().enumerate() {
            let mut stride = [0; N];
            for operand in 0..N {
                let shape = shapes[operand];
                let own = if from_end < shape.len() { shape[shape.len() - 1 - from_end] } else { 1 };
                assert!(own == extent || own == 1, "operand {operand} broadcasts to the full shape");
                if own != 1 {
                    stride[operand] = steps[operand];
                    steps[operand] *= own;
                }
            }
            if extent == 1 {
                continue;
            }
            // An axis continues its inner neighbour when one step equals that neighbour's whole extent.
            match (extents.last_mut(), strides.last()) {
                (Some(inner), Some(inner_stride)) if (0..N).all(|n| stride[n] == inner_stride[n] * *inner) => {
                    *inner *= extent
                }
                _ => {
                    extents.push(extent);
                    strides.push(stride);
                }
            }
        }
        if extents.is_empty() {
            extents.push(1);
            strides.push([0; N]);
        }
        extents.reverse();
        strides.reverse();
        Self { extents, strides, len: full.iter().product() }
    }

    /// Number of elements of the broadcast shape.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when the broadcast shape has no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Calls `visit(at, offsets, count)` for pieces that cover `range` of the output in order: `count` elements from
    /// `at`, operand `n` starting at `offsets[n]` and advancing by `self.inner()[n]`.
    #[inline(always)]
    pub fn for_pieces(&self, range: Range<usize>, mut visit: impl FnMut(usize, [usize; N], usize)) {
        let rank = self.extents.len();
        let line = self.extents[rank - 1];
        let mut at = range.start;
        while at < range.end {
            let (mut rest, within) = (at / line, at % line);
            let mut offsets = [0; N];
            for operand in 0..N {
                offsets[operand] = within * self.strides[rank - 1][operand];
            }
            for axis in (0..rank - 1).rev() {
                let index = rest % self.extents[axis];
                rest /= self.extents[axis];
                for operand in 0..N {
                    offsets[operand] += index * self.strides[axis][operand];
                }
            }
            let count = (line - within).min(range.end - at);
            visit(at, offsets, count);
            at += count;
        }
    }

    /// What each operand advances by within a piece: 0 or 1.
    pub fn inner(&self) -> [usize; N] {
        self.strides[self.strides.len() - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::for_each_index;

    #[test]
    fn shapes_broadcast_from_the_right() {
        assert_eq!(broadcast_shape(&[&[2, 1, 4], &[3, 1], &[]]), Some(vec![2, 3, 4]));
        assert_eq!(broadcast_shape(&[&[0, 1], &[1, 5]]), Some(vec![0, 5]));
        assert_eq!(broadcast_shape(&[&[2], &[3]]), None);
    }

    #[test]
    fn axes_over_which_all_operands_advance_are_merged() {
        let same = Broadcast::new(&[2, 3, 4], [&[2, 3, 4], &[2, 3, 4]]);
        assert_eq!((same.extents.as_slice(), same.inner()), ([24].as_slice(), [1, 1]));
        let channel = Broadcast::new(&[2, 3, 4, 5], [&[2, 3, 4, 5], &[3, 1, 1]]);
        assert_eq!((channel.extents.as_slice(), channel.inner()), ([2, 3, 20].as_slice(), [1, 0]));
        let scalar = Broadcast::new(&[2, 3], [&[2, 3], &[]]);
        assert_eq!((scalar.extents.as_slice(), scalar.inner()), ([6].as_slice(), [1, 0]));
    }

    #[test]
    fn pieces_cover_any_range_with_the_offsets_of_the_definition() {
        let full = [3, 2, 4, 2];
        let shapes: [&[usize]; 3] = [&[2, 4, 1], &[3, 1, 4, 2], &[1, 2, 1, 2]];
        let walk = Broadcast::new(&full, shapes);
        let mut want = Vec::new();
        for_each_index(&full, |index| {
            want.push(shapes.map(|shape| {
                index[4 - shape.len()..].iter().zip(shape).fold(0, |at, (i, n)| at * n + if *n == 1 { 0 } else { *i })
            }));
        });
        for range in [0..48, 5..29, 47..48, 9..9] {
            let mut got = Vec::new();
            walk.for_pieces(range.clone(), |at, offsets, count| {
                assert_eq!(at, range.start + got.len());
                got.extend((0..count).map(|i| [0, 1, 2].map(|n| offsets[n] + i * walk.inner()[n])));
            });
            assert_eq!(got, want[range]);
        }
    }
}
