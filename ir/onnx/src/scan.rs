//! Walks a file by the schema before anything is decoded, under a budget.
//!
//! Guarantees, for any bytes:
//! - constant stack and no recursion; memory for what is not tensor data only, and only as much as was really read;
//! - every length lies within its message, every varint is well formed, no group is skipped blindly;
//! - what decoding will allocate (messages, packed numbers at their expanded size, strings) is counted first;
//! - a message that must occur once occurs once, fields have the wire type of the schema, names are UTF-8.
//!
//! Large pieces of bytes are not read here. They are left as gaps, which the loader reads into allocations of their
//! own; so neither the file nor a copy of it is ever in memory as a whole.

use crate::input::Input;
use crate::limits::Limits;
use crate::proto::RAW_DATA;
use crate::wire::{Field, Holds, MAX_FIELDS, Type};
use bytes::Bytes;
use eutectic_ir::diag::{Diagnostic, Kind};
use std::collections::BTreeMap;

/// Pieces longer than this are left as gaps, in bytes.
const LARGE: u64 = 4 << 10;
/// The decoder recurses; this bounds its stack. The decoder itself stops at 100.
const MAX_DEPTH: usize = 99;
/// How far ahead of the cursor one read reaches, at least and at most, in bytes.
const AHEAD: std::ops::RangeInclusive<usize> = (4 << 10)..=(256 << 10);

/// What the walk found.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// The file without its gaps.
    pub skeleton: Vec<u8>,
    /// The gaps, in the order of the file.
    pub gaps: Vec<Gap>,
    /// Fields that the schema does not have: message, number, how often.
    pub unknown: Vec<(&'static str, u32, u64)>,
    /// Documentation strings that are not UTF-8.
    pub mended_texts: u64,
}

/// A piece of the file that was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Where the piece belongs in the skeleton.
    pub skeleton_at: usize,
    /// Where it is in the file.
    pub file_at: u64,
    /// Its length, in bytes.
    pub length: u64,
    /// What it is.
    pub content: Content,
}

/// What a large piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The elements of a tensor as they are in memory.
    RawData,
    /// Other bytes of the schema.
    Other,
    /// An unknown field, which nobody reads.
    Unknown,
}

/// Walks `input`, which must hold one message of type `of`.
pub(crate) fn scan(input: &Input, of: Type, limits: &Limits) -> Result<Scanned, Diagnostic> {
    if input.size() > limits.model_bytes {
        return Err(limit("model_bytes", limits.model_bytes, format!("the file has {} bytes", input.size())));
    }
    let mut walk = Walk {
        limits,
        reader: Reader::new(input),
        frames: Vec::with_capacity(16),
        n_graphs: 0,
        n_messages: 0,
        n_nodes: 0,
        decoded_bytes: 0,
        gaps: Vec::new(),
        unknown: BTreeMap::new(),
        mended_texts: 0,
    };
    walk.frames.push(Frame::new(of, input.size()));
    match walk.run() {
        Ok(()) => Ok(walk.finish()),
        Err(mut diagnostic) => {
            // A read that fails already knows its offset; everything else is about the field at hand.
            diagnostic.place.byte.get_or_insert(walk.reader.position());
            diagnostic.place.within = walk.path();
            Err(diagnostic)
        }
    }
}

struct Frame {
    of: Type,
    end: u64,
    /// How often each field was seen, by its place in the table.
    seen: [u32; MAX_FIELDS],
    /// The field that is being read, by its place in the table.
    current: Option<usize>,
}

impl Frame {
    fn new(of: Type, end: u64) -> Self {
        Self { of, end, seen: [0; MAX_FIELDS], current: None }
    }
}

struct Walk<'a> {
    limits: &'a Limits,
    reader: Reader<'a>,
    frames: Vec<Frame>,
    n_graphs: u32,
    n_messages: u64,
    n_nodes: u64,
    decoded_bytes: u64,
    gaps: Vec<Gap>,
    unknown: BTreeMap<(Type, u32), u64>,
    mended_texts: u64,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), Diagnostic> {
        while let Some(frame) = self.frames.last_mut() {
            frame.current = None;
            let end = frame.end;
            if self.reader.position() == end {
                if frame.of == Type::Graph {
                    self.n_graphs -= 1;
                }
                self.frames.pop();
                continue;
            }
            self.field(end)?;
        }
        Ok(())
    }

    /// Reads one field of the innermost message, which ends at `end`.
    fn field(&mut self, end: u64) -> Result<(), Diagnostic> {
        let key = self.reader.varint(end)?;
        let (number, wire_type) = (key >> 3, key & 7);
        if key > u64::from(u32::MAX) || number == 0 {
            return Err(malformed(format!("expected a field, found the tag {key}")));
        }
        let number = number as u32;
        if matches!(wire_type, 3 | 4) {
            return Err(malformed(format!("field {number} is a group, which ONNX does not have")));
        }
        if wire_type > 5 {
            return Err(malformed(format!("field {number} has wire type {wire_type}, which does not exist")));
        }
        let frame = self.frames.last_mut().unwrap_or_else(|| unreachable!("a field is read inside a message"));
        let of = frame.of;
        let fields = of.fields();
        let Some(index) = fields.iter().position(|field| field.number == number) else {
            return self.unknown_field(of, number, wire_type, end);
        };
        let field = &fields[index];
        frame.current = Some(index);
        frame.seen[index] = frame.seen[index].saturating_add(1);
        if frame.seen[index] > 1 && !field.repeated && matches!(field.holds, Holds::Message(_) | Holds::Bytes) {
            // Protobuf merges messages and keeps the last bytes; readers disagree on which they honour.
            let message = format!("duplicate field {number}: `{}` of {} occurs twice", field.name, of.name());
            return Err(Diagnostic::error(Kind::Invalid, "L0103", message));
        }
        self.known_field(field, wire_type, end)
    }

    fn known_field(&mut self, field: &Field, wire_type: u64, end: u64) -> Result<(), Diagnostic> {
        let wrong =
            || malformed(format!("field {} (`{}`) has wire type {wire_type}, not its own", field.number, field.name));
        match (field.holds, wire_type) {
            (Holds::Integer(width), 0) => {
                self.reader.varint(end)?;
                if field.repeated { self.decoded(width) } else { Ok(()) }
            }
            (Holds::Integer(width), 2) if field.repeated => {
                let end = self.length(end)?;
                while self.reader.position() < end {
                    let n_numbers = self.reader.varints(end)?;
                    self.decoded(n_numbers * width)?;
                }
                Ok(())
            }
            (Holds::Float, 5) => {
                self.reader.take(4, end)?;
                if field.repeated { self.decoded(4) } else { Ok(()) }
            }
            (Holds::Float, 2) if field.repeated => {
                let end = self.length(end)?;
                let length = end - self.reader.position();
                if length % 4 != 0 {
                    return Err(malformed(format!("`{}` holds {length} bytes, not a multiple of 4", field.name)));
                }
                self.decoded(length)?;
                self.reader.take(length, end).map(drop)
            }
            (Holds::Array(4), 5) => {
                self.decoded(size_of::<Bytes>() as u64)?;
                self.reader.take(4, end).map(drop)
            }
            (Holds::Array(8), 1) => {
                self.decoded(size_of::<Bytes>() as u64)?;
                self.reader.take(8, end).map(drop)
            }
            (Holds::Array(_) | Holds::Bytes, 2) => {
                let end = self.length(end)?;
                if field.repeated {
                    self.decoded(size_of::<Bytes>() as u64)?;
                }
                let of = self.frames.last().map(|frame| frame.of);
                let is_raw = of == Some(Type::Tensor) && field.number == RAW_DATA;
                self.bytes(end, if is_raw { Content::RawData } else { Content::Other })
            }
            (Holds::Name, 2) => self.text(field, "name_bytes", self.limits.name_bytes, end),
            (Holds::Text, 2) => self.text(field, "text_bytes", self.limits.text_bytes, end),
            (Holds::Prose, 2) => {
                let range = self.short("text_bytes", self.limits.text_bytes, end)?;
                if std::str::from_utf8(&self.reader.buffer[range]).is_err() {
                    self.mended_texts += 1;
                }
                Ok(())
            }
            (Holds::Message(of), 2) => {
                let end = self.length(end)?;
                self.enter(of, end)
            }
            _ => Err(wrong()),
        }
    }

    fn unknown_field(&mut self, of: Type, number: u32, wire_type: u64, end: u64) -> Result<(), Diagnostic> {
        const MAX_LISTED: usize = 64;
        if self.unknown.len() < MAX_LISTED || self.unknown.contains_key(&(of, number)) {
            *self.unknown.entry((of, number)).or_insert(0) += 1;
        }
        match wire_type {
            0 => self.reader.varint(end).map(drop),
            1 => self.reader.take(8, end).map(drop),
            5 => self.reader.take(4, end).map(drop),
            _ => {
                let end = self.length(end)?;
                self.bytes(end, Content::Unknown)
            }
        }
    }

    fn enter(&mut self, of: Type, end: u64) -> Result<(), Diagnostic> {
        self.n_messages += 1;
        if self.n_messages > self.limits.messages {
            return Err(limit("messages", self.limits.messages, "the model has too many parts".into()));
        }
        if of == Type::Node {
            self.n_nodes += 1;
            if self.n_nodes > self.limits.nodes {
                return Err(limit("nodes", self.limits.nodes, "the model has too many nodes".into()));
            }
        }
        self.decoded(of.decoded_size())?;
        if of == Type::Graph {
            self.n_graphs += 1;
            if self.n_graphs > self.limits.nested_graphs {
                let found = "graphs are nested too deeply".into();
                return Err(limit("nested_graphs", self.limits.nested_graphs.into(), found));
            }
        }
        if self.frames.len() > MAX_DEPTH {
            return Err(limit(
                "messages inside one another",
                MAX_DEPTH as u64,
                "messages are nested too deeply".into(),
            ));
        }
        self.frames.push(Frame::new(of, end));
        Ok(())
    }

    /// Counts memory that decoding will take.
    fn decoded(&mut self, n_bytes: u64) -> Result<(), Diagnostic> {
        self.decoded_bytes = self.decoded_bytes.saturating_add(n_bytes);
        if self.decoded_bytes > self.limits.decoded_bytes {
            let found = "the lists, names and messages of the model take too much memory once decoded".into();
            return Err(limit("decoded_bytes", self.limits.decoded_bytes, found));
        }
        Ok(())
    }

    /// Reads a length and answers where that piece ends, which is within the message that ends at `end`.
    fn length(&mut self, end: u64) -> Result<u64, Diagnostic> {
        let length = self.reader.varint(end)?;
        let room = end - self.reader.position();
        if length > room {
            let found = format!("expected {length} more bytes, but the enclosing message has {room}");
            return Err(malformed(found).help("the file may be truncated; compare its size with the original"));
        }
        Ok(self.reader.position() + length)
    }

    /// A piece of text that is read at once, after its length was found to be within `most`.
    fn short(&mut self, name: &'static str, most: u64, end: u64) -> Result<std::ops::Range<usize>, Diagnostic> {
        let end = self.length(end)?;
        let length = end - self.reader.position();
        if length > most {
            return Err(limit(name, most, format!("a text has {length} bytes")));
        }
        self.decoded(length)?;
        self.reader.take(length, end)
    }

    fn text(&mut self, field: &Field, name: &'static str, most: u64, end: u64) -> Result<(), Diagnostic> {
        if field.repeated {
            self.decoded(size_of::<String>() as u64)?;
        }
        let range = self.short(name, most, end)?;
        match std::str::from_utf8(&self.reader.buffer[range]) {
            Ok(_) => Ok(()),
            Err(error) => {
                let found = format!("`{}` is not UTF-8 from its byte {} on", field.name, error.valid_up_to());
                Err(Diagnostic::error(Kind::Malformed, "L0104", found))
            }
        }
    }

    /// A piece of any bytes that ends at `end`: a gap when it is large.
    fn bytes(&mut self, end: u64, content: Content) -> Result<(), Diagnostic> {
        let file_at = self.reader.position();
        let length = end - file_at;
        if length <= LARGE {
            return self.reader.take(length, end).map(drop);
        }
        self.gaps.push(Gap { skeleton_at: self.reader.cursor, file_at, length, content });
        self.reader.skip(length);
        Ok(())
    }

    /// The path to the field at hand, as far as it is known.
    fn path(&self) -> Vec<smol_str::SmolStr> {
        let steps = self.frames.iter().filter_map(|frame| {
            let index = frame.current?;
            let field = &frame.of.fields()[index];
            Some(if field.repeated {
                smol_str::format_smolstr!("{}[{}]", field.name, frame.seen[index] - 1)
            } else {
                field.name.into()
            })
        });
        steps.collect()
    }

    fn finish(self) -> Scanned {
        let mut skeleton = self.reader.buffer;
        skeleton.truncate(self.reader.cursor);
        let unknown = self.unknown.into_iter().map(|((of, number), n_times)| (of.name(), number, n_times)).collect();
        Scanned { skeleton, gaps: self.gaps, unknown, mended_texts: self.mended_texts }
    }
}

/// Reads forward through windows. What was passed stays in `buffer` before `cursor` and becomes the skeleton; what
/// lies behind `cursor` was read ahead.
struct Reader<'a> {
    input: &'a Input,
    buffer: Vec<u8>,
    cursor: usize,
    /// Where in the file the end of `buffer` is.
    read_to: u64,
    /// How far to read next time, in bytes.
    ahead: usize,
}

impl<'a> Reader<'a> {
    fn new(input: &'a Input) -> Self {
        Self { input, buffer: Vec::new(), cursor: 0, read_to: 0, ahead: *AHEAD.start() }
    }

    /// Where in the file the cursor is.
    fn position(&self) -> u64 {
        self.read_to - (self.buffer.len() - self.cursor) as u64
    }

    /// Reads ahead until `n` bytes lie behind the cursor or the file ends.
    fn reach(&mut self, n: usize) -> Result<(), Diagnostic> {
        while self.buffer.len() - self.cursor < n {
            let left = self.input.size() - self.read_to;
            if left == 0 {
                return Ok(());
            }
            let step = (self.ahead as u64).min(left) as usize;
            let start = self.buffer.len();
            self.buffer.resize(start + step, 0);
            self.input.fill(&mut self.buffer[start..], self.read_to)?;
            self.read_to += step as u64;
            self.ahead = (self.ahead * 2).min(*AHEAD.end());
        }
        Ok(())
    }

    /// Takes `n` bytes of a message that ends at `end`; answers where they are in `buffer`.
    fn take(&mut self, n: u64, end: u64) -> Result<std::ops::Range<usize>, Diagnostic> {
        if n > end - self.position() {
            return Err(malformed("the enclosing message ends inside this field".into()));
        }
        let n = usize::try_from(n).map_err(|_| malformed("a text larger than memory".into()))?;
        self.reach(n)?;
        let start = self.cursor;
        self.cursor += n;
        Ok(start..self.cursor)
    }

    /// Leaves `n` bytes out of the skeleton. They lie within the file.
    fn skip(&mut self, n: u64) {
        let target = self.position() + n;
        let read_ahead = (self.buffer.len() - self.cursor) as u64;
        if n <= read_ahead {
            let cursor = self.cursor;
            self.buffer.drain(cursor..cursor + n as usize);
        } else {
            self.buffer.truncate(self.cursor);
            self.read_to = target;
            self.ahead = *AHEAD.start();
        }
    }

    /// One varint of a message that ends at `end`.
    fn varint(&mut self, end: u64) -> Result<u64, Diagnostic> {
        let room = (end - self.position()).min(10) as usize;
        self.reach(room)?;
        let ahead = &self.buffer[self.cursor..self.cursor + room];
        let (value, length) = decode_varint(ahead)?;
        self.cursor += length;
        Ok(value)
    }

    /// As many varints of a packed field that ends at `end` as were read ahead, and at least one; answers how many.
    fn varints(&mut self, end: u64) -> Result<u64, Diagnostic> {
        let room = usize::try_from(end - self.position()).unwrap_or(usize::MAX);
        self.reach(room.min(10))?;
        let ahead = &self.buffer[self.cursor..];
        let ahead = &ahead[..ahead.len().min(room)];
        let (mut n_numbers, mut at) = (0, 0);
        while at < ahead.len() && (n_numbers == 0 || ahead.len() - at >= 10) {
            at += decode_varint(&ahead[at..])?.1;
            n_numbers += 1;
        }
        self.cursor += at;
        Ok(n_numbers)
    }
}

/// The value and the length of the varint that `bytes` starts with.
fn decode_varint(bytes: &[u8]) -> Result<(u64, usize), Diagnostic> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        if index == 9 && byte > 1 {
            return Err(malformed("a varint is longer than 64 bits".into()));
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok((value, index + 1));
        }
    }
    let why = if bytes.len() < 10 { "the enclosing message ends inside a varint" } else { "a varint never ends" };
    Err(malformed(why.into()))
}

fn malformed(message: String) -> Diagnostic {
    Diagnostic::error(Kind::Malformed, "L0102", message)
}

/// A budget was hit. The message names it, so that the user can raise it.
pub(crate) fn limit(name: &str, most: u64, found: String) -> Diagnostic {
    Diagnostic::error(Kind::Limit, "L0110", format!("{found}; the limit `{name}` is {most}"))
}
