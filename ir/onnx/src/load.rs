//! From a file to decoded messages: look, scan, read the large pieces that are not to stay in the file, decode.

use crate::export::LARGEST_MESSAGE;
use crate::input::{Input, Piece, read_all};
use crate::keep::{Kept, WORTH_KEEPING};
use crate::limits::Limits;
use crate::proto::ModelProto;
use crate::rope::Rope;
use crate::scan::{Content, Gap, Scanned, scan};
use crate::sniff;
use crate::wire::Type;
use bytes::Bytes;
use eutectic_ir::Name;
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use prost::Message;

/// A decoded file.
#[derive(Debug)]
pub(crate) struct Loaded<M> {
    pub proto: M,
    /// Fields that the schema does not have, a line each.
    pub unknown: Vec<Name>,
    /// What was not read.
    pub kept: Kept,
}

/// Decodes a model file. When its large tensors take more than `resident` bytes together, marks stand for their data.
/// Warnings go to `diagnostics`.
pub(crate) fn load(
    input: &Input,
    limits: &Limits,
    resident: u64,
    diagnostics: &mut Diagnostics,
) -> Result<Loaded<ModelProto>, Diagnostic> {
    let mut head = vec![0; (input.size() as usize).min(sniff::HEAD)];
    input.fill(&mut head, 0)?;
    if let Some(other) = sniff::signature(&head, input.size()) {
        return Err(other);
    }
    decode(input, Type::Model, limits, resident, diagnostics).map_err(|error| {
        // A file that shrank under us tells nothing about its format.
        if error.kind == Kind::Io { error } else { sniff::guess(&head).unwrap_or(error) }
    })
}

/// Decodes a file that holds one message, `M`, which is the type `of` of the schema, as [`load`] does.
pub(crate) fn decode<M: Message + Default>(
    input: &Input,
    of: Type,
    limits: &Limits,
    resident: u64,
    diagnostics: &mut Diagnostics,
) -> Result<Loaded<M>, Diagnostic> {
    let scanned = scan(input, of, limits)?;
    if input.size() > LARGEST_MESSAGE {
        let message = format!("the file has {} bytes; other tools cannot read more than 2 GiB", input.size());
        let warning = Diagnostic::warning("L0113", message);
        diagnostics.push(warning.help("write it again: large weights then go to a file beside it"));
    }
    let unknown = report(&scanned, diagnostics);
    let Scanned { skeleton, gaps, .. } = scanned;
    let kept = Kept::new(if let Input::File(_) = input { worth_keeping(&gaps, resident) } else { Vec::new() });
    let pieces = read_gaps(input, &gaps, &kept)?;
    input.still_as_opened()?;
    let mut rope = Rope::default();
    let skeleton = Bytes::from(skeleton);
    let mut from = 0;
    for (gap, piece) in gaps.iter().zip(pieces) {
        rope.push(skeleton.slice(from..gap.skeleton_at));
        from = gap.skeleton_at;
        match piece {
            Some(piece) => rope.push(piece),
            None => match kept.mark(gap.file_at) {
                Some(mark) => rope.push_marked(gap.length as usize, mark),
                None => rope.push_blank(gap.length as usize),
            },
        }
    }
    rope.push(skeleton.slice(from..));
    let proto = M::decode(rope).map_err(|error| {
        Diagnostic::error(Kind::Malformed, "L0102", format!("the protobuf decoder refuses the file: {error}"))
    })?;
    Ok(Loaded { proto, unknown, kept })
}

/// Where the data of large tensors is in the file, when it takes more than `resident` bytes: offset and length.
fn worth_keeping(gaps: &[Gap], resident: u64) -> Vec<(u64, u64)> {
    let large = gaps.iter().filter(|gap| gap.content == Content::RawData && gap.length >= WORTH_KEEPING);
    let ranges: Vec<(u64, u64)> = large.map(|gap| (gap.file_at, gap.length)).collect();
    let total: u64 = ranges.iter().map(|(_, length)| length).sum();
    if total > resident { ranges } else { Vec::new() }
}

/// The gaps, read; `None` for those that stay in the file and for those that nobody reads.
fn read_gaps(input: &Input, gaps: &[Gap], kept: &Kept) -> Result<Vec<Option<Bytes>>, Diagnostic> {
    let is_wanted = |gap: &&Gap| gap.content != Content::Unknown && kept.mark(gap.file_at).is_none();
    let wanted = gaps.iter().filter(is_wanted);
    let read: Vec<Bytes> = match input {
        Input::File(file) => {
            let pieces: Vec<Piece> =
                wanted.map(|gap| Piece { from: file, at: gap.file_at, length: gap.length }).collect();
            read_all(&pieces)?
        }
        Input::Memory(_) | Input::Mapped(..) => {
            wanted.map(|gap| input.read_aligned(gap.file_at, gap.length)).collect::<Result<_, _>>()?
        }
    };
    let mut read = read.into_iter();
    Ok(gaps.iter().map(|gap| if is_wanted(&gap) { read.next() } else { None }).collect())
}

/// Warns of what is odd; the unknown fields, a line each.
fn report(scanned: &Scanned, diagnostics: &mut Diagnostics) -> Vec<Name> {
    let line = |(of, number, n_times): &(&str, u32, u64)| format!("field {number} of {of}, {n_times} times");
    let unknown: Vec<Name> = scanned.unknown.iter().map(|field| line(field).into()).collect();
    if !unknown.is_empty() {
        let total: u64 = scanned.unknown.iter().map(|(_, _, n_times)| n_times).sum();
        let message =
            format!("the file has {total} fields that ONNX {} does not have; they are passed over", crate::ONNX);
        let warning = Diagnostic::warning("L0111", message).help("a newer version of this program may know them");
        diagnostics.push(unknown.iter().fold(warning, |warning, line| warning.note(line.as_str())));
    }
    if scanned.mended_texts > 0 {
        let message = format!("{} documentation strings are not UTF-8; they are mended", scanned.mended_texts);
        diagnostics.push(Diagnostic::warning("L0112", message));
    }
    unknown
}
