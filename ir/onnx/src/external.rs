//! Tensor data in files beside the model.
//!
//! Guarantees: only regular files beneath a granted directory are opened, whatever the model says, and the checks are
//! made on the opened file, so exchanging it in between gains nothing. A range is read only when it lies within the
//! file and has exactly the length that the tensor's shape asks for.

use crate::elements::{BOOL, byte_length};
use crate::input::{OpenFile, Piece, cannot, read_all};
use crate::keep::WORTH_KEEPING;
use crate::limits::Limits;
use crate::proto::*;
use crate::scan::limit;
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use eutectic_ir::stored::{Store, Stored};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// How far reading may go beyond the model file itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The directory of the external data. Without one it is the directory of the model file, and a model from memory
    /// has none.
    pub data_root: Option<PathBuf>,
    /// True for files of strangers: what is merely suspicious, such as data that is hard-linked from elsewhere, is
    /// refused.
    pub untrusted: bool,
    /// Large weights of more bytes than this together stay where they are, in the model file or in the files of external
    /// data, until somebody asks for them.
    pub resident: u64,
    /// True to map files instead of reading them: a promise of the user that nobody changes them meanwhile.
    pub mapped: bool,
}

impl Policy {
    /// What holds for a user who opens a file of their own.
    pub const fn interactive() -> Self {
        Self { data_root: None, untrusted: false, resident: 16 << 20, mapped: false }
    }
}

/// At most this many data files are open at a time.
const MAX_OPEN: usize = 128;
/// At most this many stay open for what is stored in them. Processes may mostly open 1024.
const MAX_KEPT: usize = 512;
/// The key of the entry that stands for a stored range; no file keeps its own entries, so none can forge it.
const STORED: &str = "";

/// The data that stays in files.
#[derive(Default)]
pub(crate) struct Attached {
    /// Ranges, by the number that tensors name.
    pub stored: Vec<Arc<Stored>>,
    /// The files that they lie in.
    pub stores: Vec<Arc<dyn Store>>,
}

/// Lets `tensor` name the stored range `index`.
pub(crate) fn name(tensor: &mut TensorProto, index: usize) {
    tensor.data_location = Some(LOCATION_EXTERNAL);
    tensor.external_data = vec![StringStringEntryProto { key: STORED.into(), value: index.to_string() }];
}

/// The range that `tensor` names.
pub(crate) fn stored<'a>(tensor: &TensorProto, stored: &'a [Arc<Stored>]) -> Option<&'a Arc<Stored>> {
    let entry = tensor.external_data.iter().find(|entry| entry.key == STORED)?;
    stored.get(entry.value.parse::<usize>().ok()?)
}

/// Puts the data of every external tensor into the tensor itself, or names the range that it stays in. All problems go
/// to `diagnostics`.
pub(crate) fn attach(
    model: &mut ModelProto,
    model_file: Option<&OpenFile>,
    policy: &Policy,
    limits: &Limits,
    diagnostics: &mut Diagnostics,
) -> Attached {
    let mut attached = Attached::default();
    let mut ignored_keys = BTreeSet::new();
    let mut by_location: Vec<(String, Vec<Wanted>)> = Vec::new();
    let mut known: FxHashMap<String, usize> = FxHashMap::default();
    let mut total = 0u64;
    let mut ranges_seen = rustc_hash::FxHashSet::default();
    for tensor in external_tensors(model) {
        let name = tensor.name.clone();
        match Range::of(tensor, &mut ignored_keys) {
            Ok(range) => {
                let at = *known.entry(range.location.clone()).or_insert_with(|| {
                    by_location.push((range.location, Vec::new()));
                    by_location.len() - 1
                });
                if ranges_seen.insert((at, range.offset, range.length)) {
                    total = total.saturating_add(range.length);
                }
                let Range { offset, length, checksum, .. } = range;
                by_location[at].1.push(Wanted { tensor, offset, length, checksum });
            }
            Err(error) => diagnostics.push(error.within(format!("tensor `{name}`"))),
        }
    }
    report_ignored(&ignored_keys, diagnostics);
    if total > limits.external_bytes {
        let found = format!("the model refers to {total} bytes of external data");
        diagnostics.push(limit("external_bytes", limits.external_bytes, found));
        return attached;
    }
    if by_location.is_empty() {
        return attached;
    }
    let mut roots = match Roots::new(model_file, policy) {
        Ok(roots) => roots,
        Err(error) => {
            diagnostics.push(error);
            return attached;
        }
    };
    let store = !policy.mapped && total > policy.resident;
    let mut locations = by_location.into_iter();
    loop {
        let batch: Vec<_> = locations.by_ref().take(MAX_OPEN).collect();
        if batch.is_empty() {
            return attached;
        }
        let keep = store.then_some(&mut attached);
        read_batch(batch, &mut roots, policy, keep, diagnostics);
    }
}

/// A tensor whose data stands at `offset` of a file.
struct Wanted<'a> {
    tensor: &'a mut TensorProto,
    offset: u64,
    length: u64,
    checksum: Option<String>,
}

impl Wanted<'_> {
    fn lies_within(&self, size: u64) -> bool {
        self.offset.checked_add(self.length).is_some_and(|end| end <= size)
    }

    fn is_worth_storing(&self) -> bool {
        // Truth values are looked at when they are read.
        self.length >= WORTH_KEEPING && self.tensor.data_type != Some(BOOL)
    }

    fn hold(self, bytes: Bytes) {
        self.tensor.raw_data = Some(bytes);
        self.tensor.data_location = None;
        self.tensor.external_data.clear();
    }

    fn name(self, index: usize) {
        name(self.tensor, index);
    }
}

/// An open data file: what is to be read from it, and what stays in it.
struct Opened<'a> {
    file: OpenFile,
    read: Vec<Wanted<'a>>,
    kept: Vec<Wanted<'a>>,
}

/// Reads the data of a few files; long ranges stay where they are when `attached` is given.
fn read_batch(
    batch: Vec<(String, Vec<Wanted>)>,
    roots: &mut Roots,
    policy: &Policy,
    attached: Option<&mut Attached>,
    diagnostics: &mut Diagnostics,
) {
    let mut n_kept = attached.as_ref().map_or(MAX_KEPT, |attached| attached.stores.len());
    let mut open: Vec<Opened> = Vec::new();
    for (location, wanted) in batch {
        let file = match roots.open(&location, policy, diagnostics) {
            Ok(file) => file,
            Err(error) => {
                let n_bytes: u64 = wanted.iter().fold(0, |sum, w| sum.saturating_add(w.length));
                let first = wanted.first().map_or("", |w| w.tensor.name.as_str());
                let note = format!("{} tensors with {n_bytes} bytes are in it, first `{first}`", wanted.len());
                diagnostics.push(error.note(note));
                continue;
            }
        };
        let (inside, outside): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|w| w.lies_within(file.size()));
        diagnostics.extend(outside.iter().map(|w| beyond_the_end(w, &location, file.size())));
        if let Err(error) = check_sums(&file, &location, &inside) {
            diagnostics.push(error);
            continue;
        }
        let (kept, read) = if n_kept < MAX_KEPT {
            inside.into_iter().partition(Wanted::is_worth_storing)
        } else {
            (Vec::new(), inside)
        };
        n_kept += usize::from(!kept.is_empty());
        open.push(Opened { file, read, kept });
    }
    if let Err(error) = if policy.mapped { hold_mapped(&mut open) } else { hold_read(&mut open) } {
        return diagnostics.push(error);
    }
    if let Some(attached) = attached {
        open.into_iter().filter(|opened| !opened.kept.is_empty()).for_each(|opened| attached.keep(opened));
    }
}

/// Errors when the file has not the SHA-1 that a tensor in it states. Without statements, nothing is read.
fn check_sums(file: &OpenFile, location: &str, wanted: &[Wanted]) -> Result<(), Diagnostic> {
    let stated = |w: &&Wanted| w.checksum.is_some();
    if !wanted.iter().any(|w| stated(&w)) {
        return Ok(());
    }
    let found = file.sha1()?;
    match wanted.iter().filter(stated).find(|w| w.checksum.as_ref() != Some(&found)) {
        None => Ok(()),
        Some(w) => {
            let stated = w.checksum.as_deref().unwrap_or_default();
            let message = format!("expected the SHA-1 {stated} of `{location}`, found {found}");
            Err(Diagnostic::error(Kind::Invalid, "L0138", message)
                .within(format!("tensor `{}`", w.tensor.name))
                .help("the data file was changed or belongs to another model"))
        }
    }
}

fn beyond_the_end(wanted: &Wanted, location: &str, size: u64) -> Diagnostic {
    let Wanted { tensor, offset, length, .. } = wanted;
    let message = format!("expected {length} bytes at offset {offset} of `{location}`, which has {size} bytes");
    Diagnostic::error(Kind::Invalid, "L0134", message)
        .within(format!("tensor `{}`", tensor.name))
        .help("the data file may be truncated or belong to another model")
}

fn hold_mapped(open: &mut [Opened]) -> Result<(), Diagnostic> {
    for Opened { file, read, .. } in open {
        // An empty file cannot be mapped, and has nothing but empty ranges.
        let whole = if file.size() == 0 { Bytes::new() } else { file.map()? };
        for wanted in read.drain(..) {
            let end = (wanted.offset + wanted.length) as usize;
            if end > whole.len() {
                return file.still_as_opened();
            }
            let range = whole.slice(wanted.offset as usize..end);
            wanted.hold(range);
        }
    }
    Ok(())
}

fn hold_read(open: &mut [Opened]) -> Result<(), Diagnostic> {
    // Tied weights name the same range: it is read once and shared.
    let mut pieces = Vec::new();
    let mut piece_of: FxHashMap<(usize, u64, u64), usize> = FxHashMap::default();
    for (file_index, Opened { file, read, .. }) in open.iter().enumerate() {
        for w in read {
            piece_of.entry((file_index, w.offset, w.length)).or_insert_with(|| {
                pieces.push(Piece { from: file, at: w.offset, length: w.length });
                pieces.len() - 1
            });
        }
    }
    let bytes = read_all(&pieces)?;
    open.iter().try_for_each(|opened| opened.file.still_as_opened())?;
    for (file_index, Opened { read, .. }) in open.iter_mut().enumerate() {
        for w in read.drain(..) {
            let piece = piece_of[&(file_index, w.offset, w.length)];
            w.hold(bytes[piece].clone());
        }
    }
    Ok(())
}

impl Attached {
    /// Takes over a file for the ranges that stay in it; equal ones are one.
    fn keep(&mut self, opened: Opened) {
        let file: Arc<dyn Store> = Arc::new(opened.file);
        let mut known: FxHashMap<(u64, u64), usize> = FxHashMap::default();
        for wanted in opened.kept {
            let index = *known.entry((wanted.offset, wanted.length)).or_insert_with(|| {
                self.stored.push(Arc::new(Stored::new(file.clone(), wanted.offset, wanted.length as usize)));
                self.stored.len() - 1
            });
            wanted.name(index);
        }
        self.stores.push(file);
    }
}

/// Where the data of one tensor is, as its entries say, checked against its shape.
#[derive(Debug)]
struct Range {
    location: String,
    offset: u64,
    length: u64,
    /// SHA-1 of the whole data file, as the tensor states it.
    checksum: Option<String>,
}

impl Range {
    fn of(tensor: &TensorProto, ignored_keys: &mut BTreeSet<String>) -> Result<Self, Diagnostic> {
        let invalid = |message: String| Diagnostic::error(Kind::Invalid, "L0130", message);
        let (mut location, mut offset, mut length, mut checksum) = (None, None, None, None);
        for entry in &tensor.external_data {
            let slot = match entry.key.as_str() {
                "location" => &mut location,
                "offset" => &mut offset,
                "length" => &mut length,
                "checksum" => &mut checksum,
                other => {
                    const MAX_LISTED: usize = 8;
                    if ignored_keys.len() < MAX_LISTED {
                        ignored_keys.insert(other.chars().take(32).collect());
                    }
                    continue;
                }
            };
            if slot.replace(entry.value.as_str()).is_some() {
                return Err(invalid(format!("external data has two entries `{}`", entry.key)));
            }
        }
        if tensor.raw_data.is_some() {
            return Err(invalid("the data is said to be external, but stands in the file too".into()));
        }
        let location = location.filter(|location| !location.is_empty());
        let location = location.ok_or_else(|| invalid("external data has no `location`".into()))?;
        if location.contains('\0') {
            return Err(invalid("the `location` of external data contains a NUL".into()));
        }
        let number = |key: &str, value: Option<&str>| match value {
            None => Ok(None),
            // Strict decimal: what other readers make of signs, blanks and exponents differs.
            Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map(Some).map_err(|_| invalid(format!("`{key}` = {digits} does not fit 64 bits")))
            }
            Some(other) => Err(invalid(format!("expected a decimal number as `{key}`, found `{other}`"))),
        };
        let offset = number("offset", offset)?.unwrap_or(0);
        let declared: Option<u64> = number("length", length)?;
        let needed = byte_length(&tensor.dims, tensor.data_type)?;
        if let Some(declared) = declared
            && declared != needed
        {
            return Err(invalid(format!(
                "dims {:?} take {needed} bytes, but `length` of the external data is {declared}",
                tensor.dims
            )));
        }
        offset.checked_add(needed).ok_or_else(|| invalid(format!("`offset` {offset} + {needed} bytes overflows")))?;
        let checksum = checksum.map(str::to_ascii_lowercase);
        Ok(Self { location: location.to_owned(), offset, length: needed, checksum })
    }
}

/// The directories that a model's data may lie beneath.
struct Roots<'a> {
    model_file: Option<&'a OpenFile>,
    shown: PathBuf,
    dir: Dir,
    /// The directory of the file that a symbolic link to the model stands for, when it is another one.
    behind_link: Option<(PathBuf, Dir)>,
}

impl<'a> Roots<'a> {
    fn new(model_file: Option<&'a OpenFile>, policy: &Policy) -> Result<Self, Diagnostic> {
        let shown = match (&policy.data_root, model_file) {
            (Some(root), _) => root.clone(),
            (None, Some(file)) => parent(file.shown()),
            (None, None) => {
                let message = "the model has external data, and it is unknown where";
                return Err(Diagnostic::error(Kind::Path, "L0131", message).help("give --data-root"));
            }
        };
        let open = |path: &Path| {
            Dir::open_ambient_dir(path, ambient_authority())
                .map_err(|error| cannot("open the directory of", error).in_file(path))
        };
        let dir = open(&shown)?;
        // Caches (Hugging Face's) keep the files under other names and link to them: the directory that holds the
        // model file itself is as much the model's own as the one that holds the link.
        let mut behind_link = None;
        if policy.data_root.is_none()
            && let Some(file) = model_file
            && let (Ok(target), Ok(named)) = (std::fs::canonicalize(file.shown()), std::fs::canonicalize(&shown))
            && let Some(own) = target.parent()
            && own != named
        {
            behind_link = Some((own.to_owned(), open(own)?));
        }
        Ok(Self { model_file, shown, dir, behind_link })
    }

    fn open(&mut self, location: &str, policy: &Policy, diagnostics: &mut Diagnostics) -> Result<OpenFile, Diagnostic> {
        let refused = |why: &str| {
            Diagnostic::error(Kind::Path, "L0132", format!("the model asks for data in `{location}`, {why}"))
        };
        if check_location(location).map_err(&refused)? == Steps::Up {
            let message = format!("the model asks for data in `{location}`, which contains `..`");
            diagnostics.push(Diagnostic::warning("L0135", message));
        }
        let shown = self.shown.join(location);
        let file = match open_beneath(&self.dir, Path::new(location)) {
            Err(error) if led_outside(&error) => self.open_behind_link(&shown).unwrap_or(Err(error)),
            opened => opened,
        };
        let file = file.map_err(|error| {
            if led_outside(&error) {
                refused("which leads outside of its directory").help("move the data beside the model")
            } else if error.kind() == io::ErrorKind::NotFound {
                self.missing(location)
            } else if matches!(error.raw_os_error(), Some(code) if code == rustix::io::Errno::LOOP.raw_os_error()) {
                refused("which is a symbolic link to itself or to something that is not a file")
            } else if matches!(error.raw_os_error(), Some(code) if code == rustix::io::Errno::NXIO.raw_os_error()) {
                refused("which is a socket or a device")
            } else {
                cannot("open", error).in_file(&shown)
            }
        })?;
        let file = OpenFile::check(file, &shown)?;
        if self.model_file.is_some_and(|model| model.is_same_as(&file)) {
            return Err(refused("which is the model file itself"));
        }
        if file.links() > 1 {
            let message = format!("`{location}` has {} hard links; it may be a file from elsewhere", file.links());
            if policy.untrusted {
                return Err(Diagnostic::error(Kind::Path, "L0136", message));
            }
            diagnostics.push(Diagnostic::warning("L0136", message).in_file(shown));
        }
        Ok(file)
    }

    fn open_behind_link(&self, shown: &Path) -> Option<io::Result<std::fs::File>> {
        let (own, dir) = self.behind_link.as_ref()?;
        let target = std::fs::canonicalize(shown).ok()?;
        let inside = target.strip_prefix(own).ok()?;
        Some(open_beneath(dir, inside))
    }

    fn missing(&self, location: &str) -> Diagnostic {
        const MAX_LOOKED_AT: usize = 1000;
        const MAX_LISTED: usize = 10;
        let mut names: Vec<String> = self.dir.entries().map_or_else(
            |_| Vec::new(),
            |entries| {
                let names = entries.take(MAX_LOOKED_AT).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
                names.collect()
            },
        );
        names.sort();
        let more = names.len().saturating_sub(MAX_LISTED);
        names.truncate(MAX_LISTED);
        let mut listed = names.join(", ");
        if more > 0 {
            listed.push_str(&format!(" and {more} more"));
        }
        Diagnostic::error(Kind::Io, "L0133", format!("the data file `{location}` does not exist"))
            .in_file(self.shown.join(location))
            .note(format!("the directory holds: {listed}"))
            .help("external data must be kept beside its model; copy both, or give --data-root")
    }
}

/// Opens for reading, without blocking on pipes, never leaving `dir`.
fn open_beneath(dir: &Dir, path: &Path) -> io::Result<std::fs::File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits() as i32);
    dir.open_with(path, &options).map(|file| file.into_std())
}

/// True for the error that cap-std makes itself when a path or a link leaves the directory; the operating system's own
/// refusals carry its number.
fn led_outside(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Steps {
    Down,
    /// There is a `..` that stays inside.
    Up,
}

/// Refuses what cannot name a file beneath a directory on every system, so that a model means the same everywhere.
fn check_location(location: &str) -> Result<Steps, &'static str> {
    if location.contains('\\') || location.contains(':') {
        return Err("which is a path or a stream of another system");
    }
    let mut depth = 0usize;
    let mut steps = Steps::Down;
    for component in Path::new(location).components() {
        match component {
            Component::RootDir | Component::Prefix(_) => return Err("which is an absolute path"),
            Component::CurDir => {}
            Component::ParentDir => {
                steps = Steps::Up;
                depth = depth.checked_sub(1).ok_or("which leads outside of its directory")?;
            }
            Component::Normal(name) => {
                depth += 1;
                let name = name.to_str().ok_or("which is not UTF-8")?;
                let stem = name.split('.').next().unwrap_or(name).to_ascii_uppercase();
                let numbered = |prefix: &str| {
                    stem.strip_prefix(prefix).is_some_and(|n| n.len() == 1 && n.as_bytes()[0].is_ascii_digit())
                };
                let device = matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL");
                if device || numbered("COM") || numbered("LPT") {
                    return Err("which is the name of a device on some systems");
                }
                if name.ends_with(['.', ' ']) {
                    return Err("which ends in a dot or a blank");
                }
            }
        }
    }
    if depth == 0 { Err("which is a directory") } else { Ok(steps) }
}

fn external_tensors(model: &mut ModelProto) -> Vec<&mut TensorProto> {
    let mut found = tensors(model);
    found.retain(|tensor| tensor.data_location == Some(LOCATION_EXTERNAL));
    found
}

/// Every tensor of the model, in whatever graph, attribute or function it stands.
pub(crate) fn tensors(model: &mut ModelProto) -> Vec<&mut TensorProto> {
    enum Part<'a> {
        Graph(&'a mut GraphProto),
        Nodes(&'a mut [NodeProto]),
        Attributes(&'a mut [AttributeProto]),
    }
    let mut found = Vec::new();
    let mut parts: Vec<Part> = Vec::new();
    for function in model.functions.iter_mut().rev() {
        parts.push(Part::Nodes(&mut function.node));
        parts.push(Part::Attributes(&mut function.attribute_proto));
    }
    for training in &mut model.training_info {
        parts.extend(training.initialization.iter_mut().chain(&mut training.algorithm).map(Part::Graph));
    }
    parts.extend(model.graph.iter_mut().map(Part::Graph));
    while let Some(part) = parts.pop() {
        match part {
            Part::Graph(graph) => {
                found.extend(graph.initializer.iter_mut());
                found.extend(graph.sparse_initializer.iter_mut().flat_map(parts_of_sparse));
                parts.push(Part::Nodes(&mut graph.node));
            }
            Part::Nodes(nodes) => {
                parts.extend(nodes.iter_mut().rev().map(|node| Part::Attributes(&mut node.attribute)));
            }
            Part::Attributes(attributes) => {
                for attribute in attributes {
                    found.extend(attribute.t.iter_mut().chain(&mut attribute.tensors));
                    found.extend(attribute.sparse_tensor.iter_mut().flat_map(parts_of_sparse));
                    found.extend(attribute.sparse_tensors.iter_mut().flat_map(parts_of_sparse));
                    parts.extend(attribute.g.iter_mut().map(|graph| Part::Graph(graph)));
                    parts.extend(attribute.graphs.iter_mut().map(Part::Graph));
                }
            }
        }
    }
    found
}

fn parts_of_sparse(sparse: &mut SparseTensorProto) -> impl Iterator<Item = &mut TensorProto> {
    sparse.values.iter_mut().chain(&mut sparse.indices)
}

fn report_ignored(keys: &BTreeSet<String>, diagnostics: &mut Diagnostics) {
    if !keys.is_empty() {
        let listed = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        diagnostics.push(Diagnostic::warning("L0137", format!("entries of external data are ignored: {listed}")));
    }
}

/// The directory that a path lies in, which is `.` for a bare name.
pub(crate) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
