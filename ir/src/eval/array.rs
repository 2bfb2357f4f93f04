//! Row-major arrays: shared buffers, index walks and broadcasting.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Elements that are shared, whether computed or a view of a weight.
pub struct Buffer<T>(Arc<dyn AsRef<[T]> + Send + Sync>);

impl<T> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Buffer<T> {
    /// A buffer over whatever holds the elements.
    pub fn new(owner: impl AsRef<[T]> + Send + Sync + 'static) -> Self {
        Self(Arc::new(owner))
    }
}

impl<T: Send + Sync + 'static> From<Vec<T>> for Buffer<T> {
    fn from(elements: Vec<T>) -> Self {
        Self::new(elements)
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        (*self.0).as_ref()
    }
}

impl<T: fmt::Debug> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Distance in elements between neighbours along each axis, row-major. Those of an empty shape may wrap.
pub fn strides_of(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].wrapping_mul(shape[axis]);
    }
    strides
}

/// Calls `visit` with every index of `shape`, last axis fastest. Stops at the first error.
pub fn each_index<E>(shape: &[usize], mut visit: impl FnMut(&[usize]) -> Result<(), E>) -> Result<(), E> {
    if shape.contains(&0) {
        return Ok(());
    }
    let mut index = vec![0; shape.len()];
    loop {
        visit(&index)?;
        let Some(axis) = (0..shape.len()).rev().find(|&axis| index[axis] + 1 < shape[axis]) else { return Ok(()) };
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
}

/// The shape to which all of `shapes` broadcast as in NumPy; `None` when they do not.
pub fn broadcast_shape<'a>(shapes: impl IntoIterator<Item = &'a [usize]>) -> Option<Vec<usize>> {
    let mut result: Vec<usize> = Vec::new();
    for shape in shapes {
        if shape.len() > result.len() {
            result.splice(0..0, std::iter::repeat_n(1, shape.len() - result.len()));
        }
        let offset = result.len() - shape.len();
        for (into, &dim) in result[offset..].iter_mut().zip(shape) {
            match (*into, dim) {
                (a, b) if a == b => {}
                (1, b) => *into = b,
                (_, 1) => {}
                _ => return None,
            }
        }
    }
    Some(result)
}

/// Walks a tensor of one shape as if it had a larger shape that it broadcasts to.
pub struct Broadcast {
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Broadcast {
    /// How `from` is read as `to`, which it must broadcast to.
    pub fn new(from: &[usize], to: &[usize]) -> Self {
        let mut strides = vec![0; to.len() - from.len()];
        strides.extend(strides_of(from).iter().zip(from).map(|(&stride, &dim)| if dim == 1 { 0 } else { stride }));
        Self { shape: to.to_vec(), strides }
    }

    /// The offset of each element in turn, last axis fastest.
    pub fn offsets(&self) -> impl Iterator<Item = usize> + '_ {
        self.offsets_over(self.shape.len())
    }

    /// The offset of the first element of each stretch of `len` elements: the product of some innermost dims, as
    /// [`run`](Self::run) gives it for any tensor that is read as the same shape.
    pub fn starts(&self, len: usize) -> impl Iterator<Item = usize> + '_ {
        let (mut rank, mut inner) = (self.shape.len(), 1);
        while inner < len && rank > 0 {
            rank -= 1;
            inner *= self.shape[rank];
        }
        self.offsets_over(rank)
    }

    /// The offsets when only the outermost `rank` axes are walked.
    fn offsets_over(&self, rank: usize) -> impl Iterator<Item = usize> + '_ {
        let shape = &self.shape[..rank];
        let count = if self.shape.contains(&0) { 0 } else { shape.iter().product() };
        let mut index = vec![0usize; rank];
        let mut offset = 0;
        (0..count).map(move |_| {
            let current = offset;
            for axis in (0..rank).rev() {
                index[axis] += 1;
                offset += self.strides[axis];
                if index[axis] < shape[axis] {
                    break;
                }
                offset -= self.strides[axis] * shape[axis];
                index[axis] = 0;
            }
            current
        })
    }

    /// The innermost run: `(length, step)` such that offsets within it are `start + i * step`, with a step of 0 or 1.
    ///
    /// Axes that the tensor walks contiguously, or not at all, merge into one run.
    pub fn run(&self) -> (usize, usize) {
        let innermost = self.shape.iter().zip(&self.strides).rev().find(|&(&dim, _)| dim != 1);
        let Some((_, &step)) = innermost else { return (1, 0) };
        if self.shape.contains(&0) {
            return (1, 0);
        }
        let step = step.min(1);
        let mut len = 1;
        for (&dim, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if dim != 1 && stride != step * len {
                break;
            }
            len *= dim;
        }
        (len, step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        assert_eq!(broadcast_shape([&[3, 1][..], &[1, 4], &[]]), Some(vec![3, 4]));
        assert_eq!(broadcast_shape([&[0][..], &[1]]), Some(vec![0]));
        assert_eq!(broadcast_shape([&[2][..], &[3]]), None);
        let offsets: Vec<_> = Broadcast::new(&[2, 1], &[2, 2, 3]).offsets().collect();
        assert_eq!(offsets, [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]);
        assert_eq!(Broadcast::new(&[3, 1, 1], &[2, 3, 4, 5]).run(), (20, 0));
        assert_eq!(Broadcast::new(&[3, 4], &[2, 3, 4]).run(), (12, 1));
        assert_eq!(Broadcast::new(&[3, 1], &[3, 1]).run(), (3, 1));
        let channels = Broadcast::new(&[3, 1, 1], &[2, 3, 4, 5]);
        assert_eq!(channels.starts(20).collect::<Vec<_>>(), channels.offsets().step_by(20).collect::<Vec<_>>());
    }

    #[test]
    fn an_empty_shape_has_one_index_and_an_empty_axis_none() {
        let count = |shape: &[usize]| {
            let mut n = 0;
            let visit = |_: &[usize]| -> Result<(), ()> {
                n += 1;
                Ok(())
            };
            each_index(shape, visit).map(|()| n)
        };
        assert_eq!((count(&[]), count(&[2, 0]), count(&[2, 3])), (Ok(1), Ok(0), Ok(6)));
    }
}
