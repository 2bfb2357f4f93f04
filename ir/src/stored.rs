//! Contents that stay in their file until somebody asks for them, for models larger than memory.
//!
//! This crate opens no file: who reads a model brings the [`Store`].

use crate::diag::Diagnostic;
use bytes::Bytes;
use std::fmt;
use std::fs::File;
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
}

impl Stored {
    /// `length` bytes at offset `at` of `store`, which the file must have.
    pub fn new(store: Arc<dyn Store>, at: u64, length: usize) -> Self {
        Self { store, at, length, contents: OnceLock::new() }
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

    /// Which file and which range of it: equal places hold equal bytes.
    pub(crate) fn place(&self) -> (u128, u64, usize) {
        (self.store.id(), self.at, self.length)
    }
}
