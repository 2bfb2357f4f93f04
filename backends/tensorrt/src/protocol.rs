//! Messages between the program and its worker process.
//!
//! A frame is its length (four bytes, little-endian) and as many bytes of JSON. Open files go before each request: those that hold
//! weights or a model, and the memory that the plan is written to (see [`crate::shared`]).

use crate::engine::BuildOptions;
use crate::error::Error;
use crate::library::Version;
use crate::listing::EngineLayer;
use crate::log::LogLine;
use crate::parser::NetworkSummary;
use crate::worker::Source;
use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// What the worker is to do. It serves requests until its input ends.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Where the user says the library is.
    pub library: Option<PathBuf>,
    /// The network; `None` asks for the library's version only.
    pub source: Option<Source>,
    /// How to build an engine of it, if at all.
    pub build: Option<Build>,
}

/// An engine to build.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Build {
    /// How.
    pub options: BuildOptions,
    /// Which of the files is the memory for the plan.
    pub plan: u32,
}

/// What the worker says while it works.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// What it does from now on, for the error when it dies.
    Stage(String),
    /// The library logged a warning or an error.
    Log(LogLine),
    /// It is done.
    Done(Box<Reply>),
    /// It failed.
    Failed(Box<Error>),
}

/// What came of the request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub library: Version,
    pub summary: NetworkSummary,
    pub engine: Option<EngineReply>,
}

/// An engine; its plan is in the memory that the request names.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EngineReply {
    pub plan_bytes: u64,
    pub layers: Vec<EngineLayer>,
    pub build_milliseconds: u64,
    pub warnings: Vec<LogLine>,
}

/// No frame is longer: 4285 layers need less than 2 MiB.
const MAX_FRAME: u32 = 256 << 20;

/// Writes a frame and flushes.
pub(crate) fn write_frame(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).ok().filter(|length| *length <= MAX_FRAME);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"))?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&text)?;
    to.flush()
}

/// Reads a frame; `None` at the end of the stream.
pub(crate) fn read_frame<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read(&mut length[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut length[1..])?,
    }
    let length = u32::from_le_bytes(length);
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let text = read_bytes(from, u64::from(length))?;
    Ok(Some(serde_json::from_slice(&text)?))
}

/// Reads exactly `count` bytes. Memory grows with what arrives, not with what is announced.
fn read_bytes(from: &mut impl Read, count: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(count.min(1 << 20)).unwrap_or(0));
    from.take(count).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != count {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{} of {count} bytes", bytes.len())));
    }
    Ok(bytes)
}

/// As many descriptors as the system puts into one message.
const MOST_FILES: usize = 253;

/// Hands over `files`, at most [`MOST_FILES`], in one message with their number.
pub(crate) fn send_files(to: &UnixStream, files: &[File]) -> io::Result<()> {
    let count = u8::try_from(files.len()).ok().filter(|&count| usize::from(count) <= MOST_FILES);
    let count = count.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "too many files"))?;
    let descriptors: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let rights = SendAncillaryMessage::ScmRights(&descriptors);
    let mut space = vec![MaybeUninit::uninit(); rights.size()];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if count > 0 {
        control.push(rights);
    }
    let number = [count];
    retry_on_intr(|| sendmsg(to, &[IoSlice::new(&number)], &mut control, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Takes over files; `None` at the end of the stream. Errors: fewer came than were announced.
#[cfg_attr(not(feature = "bindings"), allow(dead_code))]
pub(crate) fn receive_files(from: &UnixStream) -> io::Result<Option<Vec<File>>> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut number = [0];
    let mut parts = [IoSliceMut::new(&mut number)];
    if retry_on_intr(|| recvmsg(from, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC))?.bytes == 0 {
        return Ok(None);
    }
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let files: Vec<File> = rights.flatten().map(File::from).collect();
    if files.len() != usize::from(number[0]) {
        let problem = format!("{} of {} files", files.len(), number[0]);
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(Some(files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_and_the_stream_ends() {
        let mut stream = Vec::new();
        write_frame(&mut stream, &Event::Stage("building".into())).unwrap();
        let mut from = stream.as_slice();
        assert!(matches!(read_frame::<Event>(&mut from).unwrap(), Some(Event::Stage(stage)) if stage == "building"));
        assert!(read_frame::<Event>(&mut from).unwrap().is_none());
    }

    #[test]
    fn a_frame_that_is_cut_off_is_an_error() {
        let mut stream = Vec::new();
        write_frame(&mut stream, &Event::Stage("building".into())).unwrap();
        assert!(read_frame::<Event>(&mut &stream[..stream.len() - 1]).is_err());
    }

    #[test]
    fn a_frame_of_absurd_length_is_an_error() {
        assert!(read_frame::<Event>(&mut [0xff; 8].as_slice()).is_err());
    }
}
