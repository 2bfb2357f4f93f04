//! Writes files so that a reader sees the old one or the new one, never a part.
//!
//! Everything goes to a temporary file in the same directory, which is renamed at the end. There is no `fsync`: after
//! a power failure either file may be there, as with any editor; a crash of the program leaves the old one whole.

use crate::external::parent;
use bytes::Bytes;
use eutectic_ir::diag::{Diagnostic, Kind};
use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Large enough that small pieces are gathered, small enough that weights bypass it, in bytes.
const GATHERED: usize = 256 << 10;

/// A part of a file that is to be written.
pub(crate) enum Chunk<'a> {
    /// Bytes that are there.
    Bytes(Bytes),
    /// `length` bytes that are made while writing, so that they need not be in memory.
    Made { length: u64, write: Box<dyn Fn(&mut dyn Write) -> io::Result<()> + 'a> },
}

impl Chunk<'_> {
    /// Size in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Chunk::Bytes(bytes) => bytes.len() as u64,
            Chunk::Made { length, .. } => *length,
        }
    }

    /// Writes the part. Errors when what is made has not its stated length, since offsets after it would be wrong.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Chunk::Bytes(bytes) => out.write_all(bytes),
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

/// Writes `chunks` to a temporary file beside `path`. Errors: `Path` when `path` names something that is not a regular
/// file, `Io` when the system refuses.
pub(crate) fn stage<'a>(path: &Path, chunks: impl IntoIterator<Item = Chunk<'a>>) -> Result<Staged, Diagnostic> {
    let refused = |error: io::Error| {
        Diagnostic::error(Kind::Io, "L0161", format!("cannot write the file: {error}")).in_file(path)
    };
    // A new file follows the user's umask, a replaced one keeps its permissions.
    let mut permissions = Permissions::from_mode(0o666);
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            let message = "expected the name of a file to write, found a directory or a device";
            return Err(Diagnostic::error(Kind::Path, "L0160", message).in_file(path));
        }
        Ok(metadata) => permissions = metadata.permissions(),
        Err(_) => {}
    }
    if path.file_name().is_none() {
        return Err(Diagnostic::error(Kind::Path, "L0160", "expected the name of a file to write").in_file(path));
    }
    let temporary = tempfile::Builder::new()
        .prefix(".eutectic-")
        .suffix(".partial")
        .permissions(permissions)
        .tempfile_in(parent(path))
        .map_err(refused)?;
    let mut out = BufWriter::with_capacity(GATHERED, temporary);
    let mut size = 0;
    for chunk in chunks {
        chunk.write_to(&mut out).map_err(refused)?;
        size += chunk.length();
    }
    let temporary = out.into_inner().map_err(|error| refused(error.into_error()))?;
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
