//! The worker's side of the protocol.

use crate::engine::BuildOptions;
use crate::error::Error;
use crate::log::LogCapture;
use crate::native::handle::Builder;
use crate::native::network::Network;
use crate::native::{build, parse};
use crate::parser::NetworkSummary;
use crate::protocol::{EngineReply, Event, Reply, Request, read_bytes, read_frame, write_frame};
use crate::spec::NetworkSpec;
use crate::worker::Source;
use bytes::Bytes;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

/// Serves one request; the exit code says only whether the answer could be sent.
pub(crate) fn serve() -> i32 {
    // The library, or what it loads, may print. Our answers get a descriptor of their own, and what is printed goes to standard
    // error.
    let answers = std::io::stdout().as_fd().try_clone_to_owned();
    let Ok(answers) = answers.and_then(|answers| Ok(rustix::stdio::dup2_stdout(std::io::stderr()).map(|()| answers)?))
    else {
        return 1;
    };
    let answers = Arc::new(Mutex::new(File::from(answers)));
    let say = |event: &Event| {
        let mut to = answers.lock().unwrap_or_else(PoisonError::into_inner);
        write_frame(&mut *to, event)
    };
    let logged = Arc::clone(&answers);
    let log = Arc::new(LogCapture::observed(move |line| {
        let mut to = logged.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody listens any more: the process ends soon.
        let _ = write_frame(&mut *to, &Event::Log(line.clone()));
    }));
    let stage = |stage: &str| {
        let _ = say(&Event::Stage(stage.to_owned()));
    };
    let sent = match work(&mut std::io::stdin().lock(), log, &stage) {
        Ok((reply, plan)) => say(&Event::Done(Box::new(reply))).and_then(|()| {
            let mut to = answers.lock().unwrap_or_else(PoisonError::into_inner);
            to.write_all(&plan)?;
            to.flush()
        }),
        Err(error) => say(&Event::Failed(Box::new(error))),
    };
    i32::from(sent.is_err())
}

fn work(from: &mut impl Read, log: Arc<LogCapture>, stage: &dyn Fn(&str)) -> Result<(Reply, Vec<u8>), Error> {
    stage("reading the request");
    let request: Option<Request> = read_frame(from).map_err(unreadable)?;
    let Request { library, source, build } = request.ok_or_else(|| Error::Worker("no request".into()))?;
    let source = source.map(|source| receive(from, source)).transpose()?;
    stage("opening the library");
    let builder = Builder::new(library.as_deref(), log)?;
    let version = builder.library.version;
    let Some(source) = source else {
        return Ok((Reply { library: version, summary: NetworkSummary::default(), engine: None }, Vec::new()));
    };
    let add = |layer: &str| stage(&format!("adding layer `{layer}`"));
    let (network, _parser) = match &source {
        Received::Spec(spec) => (Network::replay(&builder, spec, &add)?, None),
        Received::OnnxFile(path) => {
            stage("parsing the ONNX file");
            let (network, parser) = parse::file(&builder, path)?;
            (network, Some(parser))
        }
        Received::OnnxBytes(bytes) => {
            stage("parsing the ONNX model");
            let (network, parser) = parse::bytes(&builder, bytes)?;
            (network, Some(parser))
        }
    };
    let summary = network.summary();
    let (engine, plan) = match &build {
        None => (None, Vec::new()),
        Some(options) => engine(&network, options, stage).map(|(engine, plan)| (Some(engine), plan))?,
    };
    Ok((Reply { library: version, summary, engine }, plan))
}

fn engine(
    network: &Network<'_>,
    options: &BuildOptions,
    stage: &dyn Fn(&str),
) -> Result<(EngineReply, Vec<u8>), Error> {
    stage("building the engine");
    let built = build::build(network, options)?;
    let layers = crate::listing::parse(&built.listing);
    let (build_milliseconds, warnings) = (built.milliseconds, built.warnings);
    Ok((EngineReply { plan_bytes: built.plan.len() as u64, layers, build_milliseconds, warnings }, built.plan))
}

enum Received {
    Spec(NetworkSpec),
    OnnxFile(std::path::PathBuf),
    OnnxBytes(Vec<u8>),
}

/// Reads the raw bytes that belong to a source.
fn receive(from: &mut impl Read, source: Source) -> Result<Received, Error> {
    match source {
        Source::Spec(mut spec) => {
            for weights in &mut spec.weights {
                let count = weights.data_type.bytes(weights.count);
                let count = count.ok_or_else(|| Error::Worker("weights without end".into()))?;
                weights.bytes = Bytes::from(read_bytes(from, count).map_err(unreadable)?);
            }
            Ok(Received::Spec(spec))
        }
        Source::OnnxFile(path) => Ok(Received::OnnxFile(path)),
        Source::OnnxBytes(count) => Ok(Received::OnnxBytes(read_bytes(from, count).map_err(unreadable)?)),
    }
}

fn unreadable(error: std::io::Error) -> Error {
    Error::Worker(format!("the request can't be read: {error}"))
}
