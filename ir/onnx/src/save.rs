//! Writes files so that a reader sees the old one or the new one, never a part.
//!
//! Everything goes to a temporary file in the same directory, which is renamed at the end. There is no `fsync`: after
//! a power failure either file may be there, as with any editor; a crash of the program leaves the old one whole, and the
//! next save into the directory removes the temporary file.

use crate::external::parent;
use bytes::Bytes;
use eutectic_ir::diag::{Diagnostic, Kind};
use eutectic_ir::stored::Stored;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use std::fs::{File, Metadata, Permissions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Large enough that small pieces are gathered, small enough that weights bypass it, in bytes.
const GATHERED: usize = 256 << 10;
/// Names of files that are not whole yet.
const PREFIX: &str = ".eutectic-";
const SUFFIX: &str = ".partial";
/// How much of another file is in memory while it is copied, in bytes.
const PIECE: u64 = 1 << 20;

/// A part of a file that is to be written.
pub(crate) enum Chunk<'a> {
    /// Bytes that are there.
    Bytes(Bytes),
    /// Bytes of another file, copied without being in memory as a whole.
    Stored(Arc<Stored>),
    /// `length` bytes that are made while writing, so that they need not be in memory.
    Made { length: u64, write: Box<dyn Fn(&mut dyn Write) -> io::Result<()> + 'a> },
}

impl Chunk<'_> {
    /// Size in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Chunk::Bytes(bytes) => bytes.len() as u64,
            Chunk::Stored(stored) => stored.len() as u64,
            Chunk::Made { length, .. } => *length,
        }
    }

    /// Writes the part. Errors when what is made has not its stated length, since offsets after it would be wrong.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Chunk::Bytes(bytes) => out.write_all(bytes),
            Chunk::Stored(stored) => copy(stored, stored.at()..stored.at() + stored.len() as u64, out),
            Chunk::Made { length, write } => {
                let mut counted = Counted { out, n_bytes: 0 };
                write(&mut counted)?;
                if counted.n_bytes == *length {
                    return Ok(());
                }
                Err(io::Error::other(format!("made {} bytes instead of {length}", counted.n_bytes)))
            }
        }
    }
}

/// Removes what runs that were killed left behind in `directory`: files of our name, not new, that nobody locks.
fn remove_abandoned(directory: &Path) {
    const AGE: Duration = Duration::from_secs(60);
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        let age =
            entry.metadata().ok().filter(Metadata::is_file).and_then(|found| found.modified().ok()?.elapsed().ok());
        if !is_ours || age.is_none_or(|age| age < AGE) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::open(entry.path(), flags, Mode::empty()) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Whoever cannot remove it has lost nothing.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Copies the bytes of a stored range to the end of `out`, which is a new file; holes stay holes.
fn copy_with_holes(stored: &Stored, out: &mut BufWriter<tempfile::NamedTempFile>) -> io::Result<()> {
    out.flush()?;
    let to = out.get_mut();
    let end = stored.at() + stored.len() as u64;
    let mut at = stored.at();
    while at < end {
        let data = next(stored, Boundary::Data, at).clamp(at, end);
        if data > at {
            let written = to.stream_position()?;
            to.seek(SeekFrom::Start(written + (data - at)))?;
            at = data;
            continue;
        }
        let hole = next(stored, Boundary::Hole, at).clamp(at + 1, end);
        at = copy_in_kernel(stored, at..hole, to.as_file());
        copy(stored, at..hole, to)?;
        at = hole;
    }
    Ok(())
}

/// Copies a range of the file that `stored` lies in.
fn copy(stored: &Stored, range: Range<u64>, out: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; PIECE.min(range.end - range.start) as usize];
    let mut at = range.start;
    while at < range.end {
        let n_bytes = PIECE.min(range.end - at) as usize;
        stored.store().file().read_exact_at(&mut buffer[..n_bytes], at)?;
        out.write_all(&buffer[..n_bytes])?;
        at += n_bytes as u64;
    }
    Ok(())
}

/// Lets the kernel copy a range to where `to` is written next; how far it came. File systems that cannot, do not.
#[cfg(target_os = "linux")]
fn copy_in_kernel(stored: &Stored, range: Range<u64>, to: &File) -> u64 {
    let mut at = range.start;
    while at < range.end {
        let left = (range.end - at) as usize;
        // The offset is moved on by as much as was copied.
        match rustix::fs::copy_file_range(stored.store().file(), Some(&mut at), to, None, left) {
            Ok(1..) | Err(rustix::io::Errno::INTR) => {}
            Ok(0) | Err(_) => break,
        }
    }
    at
}

#[cfg(not(target_os = "linux"))]
fn copy_in_kernel(_: &Stored, range: Range<u64>, _: &File) -> u64 {
    range.start
}

/// Asks for the blocks of a large range in one piece, which the file system does faster than block by block. Where it
/// cannot, writing finds out.
#[cfg(target_os = "linux")]
fn reserve(file: &File, at: u64, n_bytes: u64) {
    if n_bytes >= PIECE {
        let _ = rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), at, n_bytes);
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_: &File, _: u64, _: u64) {}

enum Boundary {
    Data,
    Hole,
}

/// Where the next data or the next hole is, from offset `at` of the file that `stored` lies in on. On file systems that
/// do not tell, all is data.
#[cfg(target_os = "linux")]
fn next(stored: &Stored, boundary: Boundary, at: u64) -> u64 {
    use rustix::fs::{SeekFrom, seek};
    let file = stored.store().file();
    match boundary {
        Boundary::Data => match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole follows.
            Err(rustix::io::Errno::NXIO) => u64::MAX,
            Err(_) => at,
        },
        Boundary::Hole => seek(file, SeekFrom::Hole(at)).unwrap_or(u64::MAX),
    }
}

#[cfg(not(target_os = "linux"))]
fn next(_: &Stored, boundary: Boundary, at: u64) -> u64 {
    match boundary {
        Boundary::Data => at,
        Boundary::Hole => u64::MAX,
    }
}

struct Counted<'a> {
    out: &'a mut dyn Write,
    n_bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let n = self.out.write(buffer)?;
        self.n_bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A file that is written but has not its name yet; dropped, it vanishes.
#[derive(Debug)]
pub(crate) struct Staged {
    temporary: tempfile::NamedTempFile,
    path: PathBuf,
    /// Size in bytes.
    pub size: u64,
}

/// Errors when no file can be written at `path`, whoever asks: it names no file, a directory or a device, or its directory is
/// not there. To be asked before the work whose result goes there.
pub fn check_target(path: &Path) -> Result<(), Diagnostic> {
    let refused = |message: String| Err(Diagnostic::error(Kind::Path, "L0160", message).in_file(path));
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return refused("expected the name of a file to write, found a directory or a device".into());
    }
    if path.file_name().is_none() {
        return refused("expected the name of a file to write".into());
    }
    let directory = parent(path);
    if !directory.is_dir() {
        return refused(format!("there is no directory `{}` to write to", directory.display()));
    }
    Ok(())
}

/// Writes `bytes` to `path`: a reader sees the old file or the new one, never a part. Errors: as of [`check_target`], or the system
/// refuses.
pub fn write_whole(path: &Path, bytes: impl Into<Bytes>) -> Result<(), Diagnostic> {
    stage(path, [Chunk::Bytes(bytes.into())])?.commit()
}

/// Writes `chunks` to a temporary file beside `path`. Errors: as of [`check_target`], `Io` when the system refuses.
pub(crate) fn stage<'a>(path: &Path, chunks: impl IntoIterator<Item = Chunk<'a>>) -> Result<Staged, Diagnostic> {
    let refused = |error: io::Error| {
        Diagnostic::error(Kind::Io, "L0161", format!("cannot write the file: {error}")).in_file(path)
    };
    check_target(path)?;
    // A new file follows the user's umask, a replaced one keeps its permissions.
    let permissions = std::fs::metadata(path).map_or(Permissions::from_mode(0o666), |metadata| metadata.permissions());
    remove_abandoned(&parent(path));
    let temporary = tempfile::Builder::new()
        .prefix(PREFIX)
        .suffix(SUFFIX)
        .permissions(permissions)
        .tempfile_in(parent(path))
        // The name of the temporary file, which the message would hold, is nobody's concern.
        .map_err(|error| refused(error.kind().into()))?;
    // Held until the file has its name, so that nobody takes it for abandoned. A file system without locks loses only that.
    let _ = flock(temporary.as_file(), FlockOperation::NonBlockingLockExclusive);
    let mut out = BufWriter::with_capacity(GATHERED, temporary);
    let mut size = 0;
    for chunk in chunks {
        match &chunk {
            Chunk::Stored(stored) => copy_with_holes(stored, &mut out),
            _ => {
                reserve(out.get_ref().as_file(), size, chunk.length());
                chunk.write_to(&mut out)
            }
        }
        .map_err(refused)?;
        size += chunk.length();
    }
    let temporary = out.into_inner().map_err(|error| refused(error.into_error()))?;
    // A hole at the end was skipped and not written.
    temporary.as_file().set_len(size).map_err(refused)?;
    Ok(Staged { temporary, path: path.to_owned(), size })
}

impl Staged {
    /// Gives the file its name, in place of whatever had it.
    pub fn commit(self) -> Result<(), Diagnostic> {
        let Self { temporary, path, .. } = self;
        temporary.persist(&path).map(drop).map_err(|error| {
            Diagnostic::error(Kind::Io, "L0161", format!("cannot write the file: {}", error.error)).in_file(path)
        })
    }
}
