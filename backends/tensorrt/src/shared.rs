//! Bytes that the program and its worker share: ranges of files whose descriptors go from one to the other.
//!
//! Weights that lie in a model file stay there, and the worker reads them itself; what lies in memory is copied once. Neither
//! side has to trust the other:
//! - memory is mapped only when its seals say that nobody can change or cut it any more; every other file is read;
//! - a range beyond the end of its file is an error before memory is taken for it.
#![allow(unsafe_code)] // Mapping is unsafe where others can write, which seals rule out.

use crate::spec::Contents;
use bytes::Bytes;
use eutectic_ir::stored::Store;
use memmap2::{Mmap, MmapMut};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Alignment of what is put into memory, in bytes; a multiple of every element's size.
const ALIGNMENT: usize = 64;

/// As many descriptors as one message of a socket carries, less those of the memory and the plan.
const MOST_STORES: usize = 250;

/// A range of one of the files that go with a request.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Which file.
    pub file: u32,
    /// Offset of the first byte.
    pub at: u64,
    /// Number of bytes.
    pub length: u64,
}

/// The files that go with a request.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    files: Vec<File>,
    /// Which file each store is.
    stores: Vec<(u128, u32)>,
    /// Which file holds what lies in no other, and how long it is.
    memory: Option<(u32, u64)>,
}

impl Parcel {
    /// Adds a file; which one it is.
    pub fn add(&mut self, file: File) -> u32 {
        self.files.push(file);
        self.files.len() as u32 - 1
    }

    /// Adds contents, of which those that lie in a file are not read.
    pub fn put(&mut self, contents: &Contents) -> io::Result<Place> {
        if let Contents::Stored(stored) = contents
            && let Some(file) = self.store(stored.store())?
        {
            return Ok(Place { file, at: stored.at(), length: stored.len() as u64 });
        }
        self.put_bytes(&contents.bytes())
    }

    /// Adds a copy of `bytes`.
    pub fn put_bytes(&mut self, bytes: &[u8]) -> io::Result<Place> {
        let (file, end) = match self.memory {
            Some(memory) => memory,
            None => (self.add(memory()?), 0),
        };
        let at = end.next_multiple_of(ALIGNMENT as u64);
        self.files[file as usize].write_all_at(bytes, at)?;
        let length = bytes.len() as u64;
        self.memory = Some((file, at + length));
        Ok(Place { file, at, length })
    }

    /// Which file `store` is; `None` when there are too many to send.
    fn store(&mut self, store: &dyn Store) -> io::Result<Option<u32>> {
        if let Some((_, file)) = self.stores.iter().find(|(id, _)| *id == store.id()) {
            return Ok(Some(*file));
        }
        if self.stores.len() == MOST_STORES {
            return Ok(None);
        }
        let file = self.add(store.file().try_clone()?);
        self.stores.push((store.id(), file));
        Ok(Some(file))
    }

    /// The files, in their order.
    pub fn close(self) -> io::Result<Vec<File>> {
        if let Some((file, _)) = self.memory {
            seal(&self.files[file as usize])?;
        }
        Ok(self.files)
    }
}

/// Memory that can be sealed, as an empty file.
pub(crate) fn memory() -> io::Result<File> {
    Ok(memfd_create("eutectic", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?.into())
}

const UNCHANGING: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE);

/// Makes sure that nobody changes `memory` any more. Errors: somebody has mapped it for writing.
pub(crate) fn seal(memory: &File) -> io::Result<()> {
    Ok(fcntl_add_seals(memory, UNCHANGING)?)
}

/// The contents of each of `places`.
///
/// Errors: no such file or no such range, or the system does not read it.
#[cfg_attr(not(feature = "bindings"), allow(dead_code))]
pub(crate) fn contents(files: &[File], places: &[Place]) -> io::Result<Vec<Bytes>> {
    let sources: Vec<Source> = files.iter().map(Source::of).collect::<io::Result<_>>()?;
    let source = |place: &Place| sources.get(place.file as usize).ok_or_else(|| wrong("no such file"));
    // Where the ranges that must be read begin in `pages`; `None` for those that are mapped.
    let (mut starts, mut total) = (Vec::new(), 0usize);
    for place in places {
        let source = source(place)?;
        if place.at.checked_add(place.length).is_none_or(|end| end > source.length) {
            return Err(wrong("a range beyond the end of its file"));
        }
        let start = source.mapped.is_none().then_some(total);
        if start.is_some() {
            let end = total.checked_add(place.length as usize).and_then(|end| end.checked_next_multiple_of(ALIGNMENT));
            total = end.ok_or_else(|| wrong("ranges without end"))?;
        }
        starts.push(start);
    }
    let mut pages = MmapMut::map_anon(total.max(1))?;
    // Fewer faults, where the system has larger pages to give; without them nothing is lost.
    let _ = pages.advise(memmap2::Advice::HugePage);
    let mut rest = &mut pages[..];
    let mut pieces = Vec::new();
    for (place, _) in places.iter().zip(&starts).filter(|(_, start)| start.is_some()) {
        let length = place.length as usize;
        let (piece, after) = rest.split_at_mut(length.next_multiple_of(ALIGNMENT));
        pieces.push((source(place)?.file, place.at, &mut piece[..length]));
        rest = after;
    }
    read_all(&mut pieces)?;
    let pages = Bytes::from_owner(pages);
    let one = |(place, start): (&Place, Option<usize>)| {
        let (bytes, at) = match (&source(place)?.mapped, start) {
            (Some(mapped), _) => (mapped, place.at as usize),
            (None, start) => (&pages, start.unwrap_or(0)),
        };
        Ok(bytes.slice(at..at + place.length as usize))
    };
    places.iter().zip(starts).map(one).collect()
}

/// Fills each piece with what its file holds from an offset on, in two halves at once: a thread copies slower than memory does.
fn read_all(pieces: &mut [(&File, u64, &mut [u8])]) -> io::Result<()> {
    let read = |pieces: &mut [(&File, u64, &mut [u8])]| {
        pieces.iter_mut().try_for_each(|(file, at, piece)| file.read_exact_at(piece, *at))
    };
    let (first, second) = pieces.split_at_mut(pieces.len() / 2);
    std::thread::scope(|scope| {
        let first = scope.spawn(move || read(first));
        read(second)?;
        first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// All of `memory`, which must be sealed.
pub(crate) fn whole(memory: &File) -> io::Result<Bytes> {
    Source::of(memory)?.mapped.ok_or_else(|| wrong("memory that others can change"))
}

/// A file that somebody handed over.
struct Source<'a> {
    file: &'a File,
    length: u64,
    /// Its contents, when nobody can change them.
    mapped: Option<Bytes>,
}

impl<'a> Source<'a> {
    fn of(file: &'a File) -> io::Result<Self> {
        // A file that can't be sealed is not.
        let is_sealed = fcntl_get_seals(file).is_ok_and(|seals| seals.contains(UNCHANGING));
        let length = file.metadata()?.len();
        let mapped = match is_sealed {
            false => None,
            true if length == 0 => Some(Bytes::new()),
            // SAFETY: the seals hold for every process and can't be broken, so the bytes stay as they are while they are mapped.
            true => Some(Bytes::from_owner(unsafe { Mmap::map(file)? })),
        };
        Ok(Self { file, length, mapped })
    }
}

fn wrong(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn parcel() -> (Vec<File>, [Place; 2]) {
        let mut parcel = Parcel::default();
        let places = [b"one".as_slice(), b"three"].map(|bytes| parcel.put_bytes(bytes).unwrap());
        (parcel.close().unwrap(), places)
    }

    #[test]
    fn what_is_put_into_memory_comes_out_aligned() {
        let (files, places) = parcel();
        let read = contents(&files, &places).unwrap();
        assert_eq!(read, ["one", "three"]);
        assert!(files.len() == 1 && read.iter().all(|bytes| bytes.as_ptr().addr().is_multiple_of(64)));
    }

    #[test]
    fn memory_that_was_handed_over_can_not_be_written() {
        let (files, _) = parcel();
        assert!((&files[0]).write_all(b"two").is_err() && files[0].set_len(0).is_err());
    }

    #[test]
    fn a_file_that_others_can_write_is_read_and_never_mapped() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let places = [(3, 4), (0, 2)].map(|(at, length)| Place { file: 0, at, length });
        let files = [file];
        let read = contents(&files, &places).unwrap();
        assert!(whole(&files[0]).is_err());
        files[0].set_len(0).unwrap();
        assert_eq!(read, ["3456", "01"]);
        assert!(contents(&files, &places).is_err());
    }

    #[test]
    fn memory_without_seals_is_not_mapped() {
        let memory = memory().unwrap();
        memory.write_all_at(b"plan", 0).unwrap();
        assert!(whole(&memory).is_err());
        seal(&memory).unwrap();
        assert_eq!(whole(&memory).unwrap(), "plan");
    }

    #[test]
    fn a_range_or_a_file_that_does_not_exist_is_an_error() {
        let (files, [place, _]) = parcel();
        let wrong = [Place { file: 1, ..place }, Place { length: 1 << 60, ..place }, Place { at: u64::MAX, ..place }];
        wrong.into_iter().for_each(|place| assert!(contents(&files, &[place]).is_err(), "{place:?}"));
    }
}
