//! Files as memory, for users who ask for it by `--mmap`.
//!
//! The only file of this crate with unsafe code: the operating system offers no mapping that another process cannot
//! change, so no safe function can make one. Nothing is mapped unless asked for, since a mapped file that shrinks kills
//! the program, and one that is rewritten changes weights under our feet.
#![allow(unsafe_code)]

use bytes::Bytes;
use std::fs::File;
use std::io;

/// The whole of `file`, which must be a regular file that is not empty.
pub(crate) fn map(file: &File) -> io::Result<Bytes> {
    // SAFETY: sound while nobody writes to or truncates the file, which is what the user promises by `--mmap`.
    let mapping = unsafe { memmap2::Mmap::map(file)? };
    Ok(Bytes::from_owner(mapping))
}
