//! Messages between the program and its worker process.
//!
//! A frame is its length (four bytes, little-endian) and as many bytes of JSON. Raw bytes follow a frame that announces them:
//! weights or a model after the request, a plan after the answer.

use crate::engine::BuildOptions;
use crate::error::Error;
use crate::library::Version;
use crate::listing::EngineLayer;
use crate::log::LogLine;
use crate::parser::NetworkSummary;
use crate::worker::Source;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// What the worker is to do. It serves requests until its input ends.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Where the user says the library is.
    pub library: Option<PathBuf>,
    /// The network; `None` asks for the library's version only.
    pub source: Option<Source>,
    /// How to build an engine of it, if at all.
    pub build: Option<BuildOptions>,
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

/// An engine; `plan_bytes` raw bytes follow the frame.
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

/// Reads exactly `count` raw bytes. Memory grows with what arrives, not with what is announced.
pub(crate) fn read_bytes(from: &mut impl Read, count: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(count.min(1 << 20)).unwrap_or(0));
    from.take(count).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != count {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{} of {count} bytes", bytes.len())));
    }
    Ok(bytes)
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
