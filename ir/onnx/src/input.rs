//! Where bytes come from: a regular file, read by position, or memory.
//!
//! Guarantees: only regular files are opened, and opening never blocks; nothing is mapped unless the user asks for it,
//! so a file that shrinks while it is read is a typed error; large pieces land in allocations of their own, aligned to
//! 64 bytes, so that a weight can be freed by itself and viewed as numbers.

use crate::map::map;
use bytes::Bytes;
use eutectic_ir::diag::{Diagnostic, Kind};
use eutectic_ir::stored::Store;
use memmap2::MmapMut;
use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sha1::{Digest, Sha1};
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Alignment of tensor data, in bytes.
pub(crate) const ALIGNMENT: usize = 64;

/// Larger pieces get pages of their own, in bytes: they go back to the system as a whole, where the allocator would keep
/// the gaps that weights of all sizes leave behind.
const OWN_PAGES: usize = 1 << 20;

/// A source of bytes that are read by position.
#[derive(Debug)]
pub(crate) enum Input {
    /// Shared with the weights that stay in it.
    File(Arc<OpenFile>),
    /// A file and its mapping.
    Mapped(OpenFile, Bytes),
    Memory(Bytes),
}

/// A regular file as it was when it was opened.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    /// As the user named it, for messages.
    shown: PathBuf,
    at_opening: Stamp,
    /// Set when reading failed although the file looks as it did.
    failed: AtomicBool,
}

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

impl OpenFile {
    /// Opens `path` for reading. Errors: `Path` unless it is a regular file on a real file system, `Io` otherwise.
    pub fn open(path: &Path) -> Result<Self, Diagnostic> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty());
        match opened {
            Ok(descriptor) => Self::check(File::from(descriptor), path),
            // A socket, or a device without a driver.
            Err(Errno::NXIO | Errno::NODEV) => Err(not_regular("a socket or a device").in_file(path)),
            Err(error) => Err(cannot("open", error.into()).in_file(path)),
        }
    }

    /// Takes over a file that was opened without blocking, if it is a regular one.
    pub fn check(file: File, shown: &Path) -> Result<Self, Diagnostic> {
        let metadata = file.metadata().map_err(|error| cannot("look at", error).in_file(shown))?;
        let kind = metadata.file_type();
        if !kind.is_file() {
            use std::os::unix::fs::FileTypeExt;
            let what = if kind.is_dir() {
                "a directory"
            } else if kind.is_fifo() {
                "a pipe"
            } else if kind.is_socket() {
                "a socket"
            } else {
                "a device"
            };
            return Err(not_regular(what).in_file(shown));
        }
        if is_generated(&file) {
            return Err(not_regular("a file that the kernel makes up while it is read").in_file(shown));
        }
        let at_opening = Stamp::of(&file).map_err(|error| cannot("look at", error).in_file(shown))?;
        Ok(Self { file, shown: shown.to_owned(), at_opening, failed: AtomicBool::new(false) })
    }

    /// Size when it was opened, in bytes.
    pub fn size(&self) -> u64 {
        self.at_opening.size
    }

    /// As the user named it.
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// How many names the file has.
    pub fn links(&self) -> u64 {
        self.file.metadata().map_or(1, |metadata| metadata.nlink())
    }

    /// True when both are one file under perhaps two names.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.at_opening, other.at_opening);
        ours.device == theirs.device && ours.inode == theirs.inode
    }

    /// Errors with "changed while reading" unless the file is still what was opened.
    pub fn still_as_opened(&self) -> Result<(), Diagnostic> {
        let now = Stamp::of(&self.file).map_err(|error| cannot("look at", error).in_file(&self.shown))?;
        if now == self.at_opening {
            return Ok(());
        }
        let sizes = format!("{} bytes when opened, {} bytes now", self.at_opening.size, now.size);
        Err(changed().note(sizes).in_file(&self.shown))
    }

    /// The SHA-1 of the whole file, in hexadecimal digits.
    pub fn sha1(&self) -> Result<String, Diagnostic> {
        let mut hasher = Sha1::new();
        let mut buffer = vec![0; self.size().min(1 << 20) as usize];
        let mut at = 0;
        while at < self.size() {
            let n_bytes = (self.size() - at).min(buffer.len() as u64) as usize;
            self.fill(&mut buffer[..n_bytes], at)?;
            hasher.update(&buffer[..n_bytes]);
            at += n_bytes as u64;
        }
        Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The whole file as one piece of memory that follows it.
    pub fn map(&self) -> Result<Bytes, Diagnostic> {
        map(&self.file).map_err(|error| cannot("map", error).in_file(&self.shown))
    }

    fn fill(&self, buffer: &mut [u8], at: u64) -> Result<(), Diagnostic> {
        self.file.read_exact_at(buffer, at).map_err(|error| self.reading_failed(error, at))
    }

    /// Reads `length` bytes into an allocation of their own whose first byte is aligned.
    pub fn read_aligned(&self, at: u64, length: u64) -> Result<Bytes, Diagnostic> {
        let Ok(n_bytes) = usize::try_from(length) else {
            return Err(out_of_memory(length).in_file(&self.shown));
        };
        if n_bytes == 0 {
            return Ok(Bytes::new());
        }
        if n_bytes >= OWN_PAGES {
            let mut pages = MmapMut::map_anon(n_bytes).map_err(|_| out_of_memory(length).in_file(&self.shown))?;
            // Fewer faults, where the system has larger pages to give; without them nothing is lost.
            #[cfg(target_os = "linux")]
            let _ = pages.advise(memmap2::Advice::HugePage);
            self.fill(&mut pages, at)?;
            return Ok(Bytes::from_owner(pages));
        }
        let mut buffer = aligned_buffer(n_bytes).ok_or_else(|| out_of_memory(length).in_file(&self.shown))?;
        let start = buffer.len();
        while buffer.len() - start < n_bytes {
            let done = (buffer.len() - start) as u64;
            match rustix::io::pread(&self.file, spare_capacity(&mut buffer), at + done) {
                Ok(0) => return Err(changed().in_file(&self.shown).at_byte(at + done)),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(self.reading_failed(error.into(), at + done)),
            }
        }
        buffer.truncate(start + n_bytes);
        Ok(Bytes::from(buffer).slice(start..))
    }

    fn reading_failed(&self, error: io::Error, at: u64) -> Diagnostic {
        let diagnostic = if error.kind() == io::ErrorKind::UnexpectedEof { changed() } else { cannot("read", error) };
        diagnostic.in_file(&self.shown).at_byte(at)
    }
}

impl Store for OpenFile {
    fn id(&self) -> u128 {
        // Ids stand in sort keys, so they must not depend on addresses.
        let mut hasher = rustc_hash::FxHasher::default();
        self.shown.hash(&mut hasher);
        self.at_opening.hash(&mut hasher);
        u128::from(self.at_opening.inode) << 64 | u128::from(hasher.finish())
    }

    fn file(&self) -> &File {
        &self.file
    }

    fn read(&self, at: u64, length: usize) -> Option<Bytes> {
        let read = self.read_aligned(at, length as u64).ok();
        if read.is_none() {
            self.failed.store(true, Ordering::Relaxed);
        }
        read
    }

    fn broken(&self) -> Option<Diagnostic> {
        let failed = || changed().note("a part of it could not be read").in_file(&self.shown);
        self.still_as_opened().err().or_else(|| self.failed.load(Ordering::Relaxed).then(failed))
    }
}

impl Input {
    /// Opens the model file `path`; maps it when that is wanted.
    pub fn open(path: &Path, mapped: bool) -> Result<Self, Diagnostic> {
        let file = OpenFile::open(path)?;
        // An empty file cannot be mapped.
        if !mapped || file.size() == 0 {
            return Ok(Input::File(Arc::new(file)));
        }
        let bytes = file.map()?;
        Ok(Input::Mapped(file, bytes))
    }

    /// The file, when there is one.
    pub fn file(&self) -> Option<&OpenFile> {
        match self {
            Input::File(file) => Some(file),
            Input::Mapped(file, _) => Some(file),
            Input::Memory(_) => None,
        }
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Input::Memory(bytes) => bytes.len() as u64,
            Input::File(_) | Input::Mapped(..) => self.file().map_or(0, OpenFile::size),
        }
    }

    /// Fills `buffer` from offset `at`; the caller stays within `size`.
    pub fn fill(&self, buffer: &mut [u8], at: u64) -> Result<(), Diagnostic> {
        match self {
            Input::File(file) => file.fill(buffer, at),
            // Reading leaves the mapping untouched where only small pieces are looked at.
            Input::Mapped(file, _) => file.fill(buffer, at),
            Input::Memory(bytes) => {
                buffer.copy_from_slice(memory_range(bytes, at, buffer.len() as u64)?);
                Ok(())
            }
        }
    }

    /// Reads `length` bytes into an allocation of their own whose first byte is aligned; a slice of a mapping.
    pub fn read_aligned(&self, at: u64, length: u64) -> Result<Bytes, Diagnostic> {
        match self {
            Input::File(file) => file.read_aligned(at, length),
            Input::Mapped(_, bytes) => {
                memory_range(bytes, at, length)?;
                Ok(bytes.slice(at as usize..(at + length) as usize))
            }
            Input::Memory(bytes) => {
                let range = memory_range(bytes, at, length)?;
                let mut buffer = aligned_buffer(range.len()).ok_or_else(|| out_of_memory(length))?;
                let start = buffer.len();
                buffer.extend_from_slice(range);
                Ok(Bytes::from(buffer).slice(start..))
            }
        }
    }

    /// Errors with "changed while reading" unless the source is still what was opened.
    pub fn still_as_opened(&self) -> Result<(), Diagnostic> {
        self.file().map_or(Ok(()), OpenFile::still_as_opened)
    }
}

/// One piece to read: a source and a range of it.
pub(crate) struct Piece<'a> {
    pub from: &'a OpenFile,
    pub at: u64,
    pub length: u64,
}

/// Reads pieces on as many threads as the machine has, up to four: page faults and copies of large files take longer
/// than the disk cache, and both scale. The results stand in the order of the pieces.
pub(crate) fn read_all(pieces: &[Piece<'_>]) -> Result<Vec<Bytes>, Diagnostic> {
    const WORTH_A_THREAD: u64 = 8 << 20;
    let total: u64 = pieces.iter().map(|piece| piece.length).sum();
    let n_threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(4);
    if n_threads == 1 || total < WORTH_A_THREAD {
        return pieces.iter().map(|piece| piece.from.read_aligned(piece.at, piece.length)).collect();
    }
    // Contiguous shares of about equal size keep each thread reading forward.
    let share = total / n_threads as u64 + 1;
    let mut shares: Vec<&[Piece<'_>]> = Vec::new();
    let (mut start, mut gathered) = (0, 0);
    for (index, piece) in pieces.iter().enumerate() {
        gathered += piece.length;
        if gathered >= share {
            shares.push(&pieces[start..=index]);
            (start, gathered) = (index + 1, 0);
        }
    }
    shares.push(&pieces[start..]);
    std::thread::scope(|scope| {
        let threads: Vec<_> = shares
            .into_iter()
            .map(|share| {
                scope.spawn(move || -> Result<Vec<Bytes>, Diagnostic> {
                    share.iter().map(|piece| piece.from.read_aligned(piece.at, piece.length)).collect()
                })
            })
            .collect();
        let mut all = Vec::with_capacity(pieces.len());
        for thread in threads {
            match thread.join() {
                Ok(read) => all.extend(read?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(all)
    })
}

/// An empty-looking buffer whose next `n_bytes` pushed bytes start on an aligned address and need no reallocation.
fn aligned_buffer(n_bytes: usize) -> Option<Vec<u8>> {
    let mut buffer: Vec<u8> = Vec::new();
    buffer.try_reserve_exact(n_bytes.checked_add(ALIGNMENT)?).ok()?;
    let past = buffer.as_ptr().addr() % ALIGNMENT;
    buffer.resize((ALIGNMENT - past) % ALIGNMENT, 0);
    Some(buffer)
}

fn memory_range(bytes: &Bytes, at: u64, length: u64) -> Result<&[u8], Diagnostic> {
    let start = usize::try_from(at).ok();
    let end = at.checked_add(length).and_then(|end| usize::try_from(end).ok());
    start.zip(end).and_then(|(start, end)| bytes.get(start..end)).ok_or_else(changed)
}

/// Files of /proc and the like look regular and have no size of their own.
#[cfg(target_os = "linux")]
fn is_generated(file: &File) -> bool {
    const SYSFS_MAGIC: u64 = 0x6265_6572;
    rustix::fs::fstatfs(file).is_ok_and(|fs| {
        let magic = fs.f_type as u64;
        magic == rustix::fs::PROC_SUPER_MAGIC as u64 || magic == SYSFS_MAGIC
    })
}

#[cfg(not(target_os = "linux"))]
fn is_generated(_: &File) -> bool {
    false
}

fn not_regular(what: &str) -> Diagnostic {
    Diagnostic::error(Kind::Path, "L0120", format!("expected a regular file, found {what}"))
}

fn changed() -> Diagnostic {
    Diagnostic::error(Kind::Io, "L0122", "the file changed while it was being read")
        .help("wait until the program that writes it is done, then try again")
}

fn out_of_memory(length: u64) -> Diagnostic {
    Diagnostic::error(Kind::Limit, "L0123", format!("no memory for {length} bytes"))
}

/// The operating system refused to `verb` a file.
pub(crate) fn cannot(verb: &str, error: io::Error) -> Diagnostic {
    Diagnostic::error(Kind::Io, "L0121", format!("cannot {verb} the file: {error}"))
}
