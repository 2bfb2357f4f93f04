//! Contents that stay in their file until somebody asks for them, for models larger than memory.
//!
//! This crate opens no file: who reads a model brings the [`Store`].

use crate::diag::Diagnostic;
use bytes::Bytes;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// An open file that contents lie in.
pub trait Store: Send + Sync + fmt::Debug {
    /// What tells this file, as it was when it was opened, from every other.
    fn id(&self) -> u128;
    /// The file, for reading by position.
    fn file(&self) -> &File;
    /// Reads `length` bytes at offset `at`. `None` when they cannot be had, which [`Store::broken`] remembers.
    fn read(&self, at: u64, length: usize) -> Option<Bytes>;
    /// Why the contents are not those that the model was read with; `None` while they are.
    fn broken(&self) -> Option<Diagnostic>;
}

/// A range of a file.
#[derive(Debug)]
pub struct Stored {
    store: Arc<dyn Store>,
    at: u64,
    length: usize,
    contents: OnceLock<Bytes>,
    hash: OnceLock<u128>,
}

impl Stored {
    /// `length` bytes at offset `at` of `store`, which the file must have.
    pub fn new(store: Arc<dyn Store>, at: u64, length: usize) -> Self {
        Self { store, at, length, contents: OnceLock::new(), hash: OnceLock::new() }
    }

    /// The file that the bytes lie in.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Offset of the first byte in the file.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Number of bytes. They need not be in memory.
    pub fn len(&self) -> usize {
        self.length
    }

    /// True when the range is empty.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes, read when they are first asked for and kept from then on.
    ///
    /// Bytes that cannot be read any more are zeros. What is computed from them must not be handed out: see
    /// [`Model::intact`](crate::Model::intact).
    pub fn contents(&self) -> &Bytes {
        self.contents.get_or_init(|| match self.store.read(self.at, self.length) {
            Some(bytes) if bytes.len() == self.length => bytes,
            _ => vec![0; self.length].into(),
        })
    }

    /// `range` of the bytes, without keeping them; an end beyond the last byte is the last. Zeros as for
    /// [`contents`](Self::contents).
    pub fn part(&self, range: Range<usize>) -> Bytes {
        let (start, end) = (range.start.min(self.length), range.end.min(self.length));
        if let Some(contents) = self.contents.get() {
            return contents.slice(start..end);
        }
        let length = end - start;
        match self.store.read(self.at + start as u64, length) {
            Some(bytes) if bytes.len() == length => bytes,
            _ => vec![0; length].into(),
        }
    }

    /// A hash of the bytes (XXH3, 128 bits), for which they are read in pieces once and not kept.
    pub fn hash(&self) -> u128 {
        const PIECE: usize = 1 << 20;
        *self.hash.get_or_init(|| {
            let mut hasher = xxhash_rust::xxh3::Xxh3::new();
            for start in (0..self.length).step_by(PIECE) {
                hasher.update(&self.part(start..start + PIECE));
            }
            hasher.digest128()
        })
    }

    /// Which file and which range of it: equal places hold equal bytes.
    pub(crate) fn place(&self) -> (u128, u64, usize) {
        (self.store.id(), self.at, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Kind;
    use crate::{Element, Model, Tensor};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts reads; has only 8 bytes.
    #[derive(Debug)]
    struct Counting {
        file: File,
        n_reads: AtomicUsize,
    }

    impl Store for Counting {
        fn id(&self) -> u128 {
            7
        }

        fn file(&self) -> &File {
            &self.file
        }

        fn read(&self, at: u64, length: usize) -> Option<Bytes> {
            self.n_reads.fetch_add(1, Ordering::Relaxed);
            let whole = Bytes::from_static(&[0, 0, 128, 63, 0, 0, 0, 64]);
            let end = at as usize + length;
            (end <= whole.len()).then(|| whole.slice(at as usize..end))
        }

        fn broken(&self) -> Option<Diagnostic> {
            Some(Diagnostic::error(Kind::Io, "L0122", "the file changed"))
        }
    }

    fn counting() -> Arc<Counting> {
        let file = File::open(std::env::current_exe().expect("a path")).expect("this program");
        Arc::new(Counting { file, n_reads: AtomicUsize::new(0) })
    }

    fn floats(store: &Arc<Counting>, at: u64, count: usize) -> Tensor {
        let stored = Stored::new(store.clone(), at, count * 4);
        Tensor::stored(Element::Float, &[count], Arc::new(stored)).expect("it fits")
    }

    #[test]
    fn contents_are_read_once_and_only_when_asked_for() {
        let store = counting();
        let tensor = floats(&store, 0, 2);
        let _ = (tensor.byte_len(), tensor.content_hash(), tensor.clone() == tensor, format!("{tensor:?}"));
        assert_eq!(store.n_reads.load(Ordering::Relaxed), 0);
        assert_eq!(tensor.to_f64s(), Some(vec![1.0, 2.0]));
        assert_eq!(tensor.reshape(&[2, 1]).expect("two").to_f64s(), Some(vec![1.0, 2.0]));
        assert_eq!(store.n_reads.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn parts_and_the_hash_are_read_and_not_kept() {
        let store = counting();
        let stored = Stored::new(store.clone(), 4, 4);
        assert_eq!(stored.part(0..2), Bytes::from_static(&[0, 0]));
        assert_eq!(stored.part(2..100), Bytes::from_static(&[0, 64]));
        assert_eq!(stored.hash(), xxhash_rust::xxh3::xxh3_128(&[0, 0, 0, 64]));
        assert_eq!(stored.hash(), stored.hash());
        assert!(stored.contents.get().is_none());
        assert_eq!(store.n_reads.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn ranges_are_told_apart_by_their_place() {
        let store = counting();
        assert_eq!(floats(&store, 0, 1), floats(&store, 0, 1));
        assert_eq!(floats(&store, 0, 1).content_hash(), floats(&store, 0, 1).content_hash());
        assert_ne!(floats(&store, 0, 1), floats(&store, 4, 1));
        assert_ne!(floats(&store, 0, 1), Tensor::vector(&[1.0f32]));
    }

    #[test]
    fn what_cannot_be_read_is_zeros_and_the_model_is_not_intact() {
        let store = counting();
        let tensor = floats(&store, 4, 2);
        let model = Model { stores: vec![store], ..Model::default() };
        assert_eq!(tensor.to_f64s(), Some(vec![0.0, 0.0]));
        assert!(model.intact().is_err());
    }
}
