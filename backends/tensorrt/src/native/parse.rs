//! Fills a network with NVIDIA's ONNX parser.

use crate::error::Error;
use crate::library;
use crate::native::handle::{Builder, Owned};
use crate::native::network::{Network, text};
use std::ffi::{CString, c_void};
use std::path::Path;
use trtx_sys::nvinfer1::INetworkDefinition;
use trtx_sys::nvonnxparser::IParser;

/// The parser, which owns weights that its network refers to: it is dropped after the build.
pub(crate) struct Parser {
    parser: Owned<IParser>,
}

/// Parses a file; external data is looked for beside it.
pub(crate) fn file<'builder>(builder: &'builder Builder, path: &Path) -> Result<(Network<'builder>, Parser), Error> {
    let bytes = std::fs::read(path).map_err(|error| Error::Io { path: path.to_owned(), problem: error.to_string() })?;
    let name = path.to_str().and_then(|path| CString::new(path).ok());
    let name = name.ok_or_else(|| Error::Io { path: path.to_owned(), problem: "the path is not UTF-8".into() })?;
    parse(builder, &bytes, Some(&name))
}

/// Parses a model without external data.
pub(crate) fn bytes<'builder>(builder: &'builder Builder, bytes: &[u8]) -> Result<(Network<'builder>, Parser), Error> {
    parse(builder, bytes, None)
}

fn parse<'builder>(
    builder: &'builder Builder,
    bytes: &[u8],
    path: Option<&CString>,
) -> Result<(Network<'builder>, Parser), Error> {
    let network = Network::new(builder)?;
    let mut parser = open(builder, &network)?;
    let path = path.map_or(std::ptr::null(), |path| path.as_ptr());
    if unsafe { parser.parser.pin().parse(bytes.as_ptr().cast(), bytes.len(), path) } {
        return Ok((network, parser));
    }
    let problem = problems(&mut parser).join("; ");
    Err(Error::Parser { problem, log: builder.log().take_lines() })
}

fn open(builder: &Builder, network: &Network<'_>) -> Result<Parser, Error> {
    let handle = library::open_parser(&builder.library)?;
    type Create = unsafe extern "C" fn(*mut INetworkDefinition, *mut c_void, i32) -> *mut IParser;
    let unusable = |error: libloading::Error| Error::Worker(format!("the ONNX parser: {error}"));
    let pointer = {
        let create = unsafe { handle.get::<Create>(b"createNvOnnxParser_INTERNAL") }.map_err(unusable)?;
        let version = i32::try_from(unsafe { trtx_sys::get_nvonnxparser_version() }).unwrap_or(0);
        unsafe { create(network.network.as_ptr(), builder.logger.interface(), version) }
    };
    let parser = unsafe { Owned::new(pointer) };
    let parser =
        parser.ok_or_else(|| Error::Parser { problem: "it does not start".into(), log: builder.log().take_lines() })?;
    Ok(Parser { parser })
}

fn problems(parser: &mut Parser) -> Vec<String> {
    let pointer: *mut c_void = parser.parser.as_ptr().cast();
    let count = unsafe { trtx_sys::parser_get_nb_errors(pointer) };
    // An error belongs to the parser and lives until the next parse.
    let describe = |at| unsafe { text(trtx_sys::parser_error_desc(trtx_sys::parser_get_error(pointer, at))) };
    (0..count).map(describe).collect()
}
