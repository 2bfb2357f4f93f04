//! Picks the widest instruction set of the machine, at run time.
//!
//! The build is generic; every hot loop runs inside [`vectorized`] or implements `pulp::WithSimd`, so that it is
//! compiled once per instruction set and the right copy is called.

use std::ops::{Deref, DerefMut};

pub(crate) use pulp::{Arch, Simd, WithSimd};

/// The widest vector of any supported instruction set, in f32 lanes; also the alignment of buffers.
pub(crate) const MAX_LANES: usize = 16;

/// Runs `body` compiled for the machine's instruction set. Mark the closure `#[inline(always)]`, or it is not.
#[inline(always)]
pub(crate) fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(body)
}

/// A slice of f32 that starts on a cache line: a vector load never straddles two.
#[derive(Debug)]
pub struct AlignedBuffer {
    storage: Vec<f32>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        let storage = vec![0.0f32; len + MAX_LANES];
        // `align_offset` may decline (it never does natively); alignment is for speed only.
        let start = match storage.as_ptr().align_offset(4 * MAX_LANES) {
            offset if offset < MAX_LANES => offset,
            _ => 0,
        };
        Self { storage, start, len }
    }

    /// The longest that [`AlignedBuffer::set_len`] may make it.
    pub fn capacity(&self) -> usize {
        self.storage.len() - self.start
    }

    /// Makes it `len` long; elements that come into sight are left from earlier use.
    ///
    /// # Panics
    /// When `len` exceeds the capacity.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "the buffer is long enough");
        self.len = len;
    }
}

impl Deref for AlignedBuffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

impl Default for AlignedBuffer {
    fn default() -> Self {
        Self::zeroed(0)
    }
}
