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
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Serves requests until the input ends; the exit code says only whether the answers could be sent.
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
    let from = &mut std::io::stdin().lock();
    let mut builder = None;
    loop {
        stage("reading the request");
        let (library, received, options) = match read_request(from) {
            Ok(Some(request)) => request,
            Ok(None) => return 0,
            // What follows in the input can't be told from the rest of this request.
            Err(error) => return i32::from(say(&Event::Failed(Box::new(unreadable(error)))).is_err()),
        };
        log.take_lines();
        let outcome = opened(&mut builder, library, &log, &stage)
            .and_then(|builder| work(builder, received, options.as_ref(), &stage));
        let sent = match outcome {
            Ok((reply, plan)) => say(&Event::Done(Box::new(reply))).and_then(|()| {
                let mut to = answers.lock().unwrap_or_else(PoisonError::into_inner);
                to.write_all(&plan)?;
                to.flush()
            }),
            Err(error) => say(&Event::Failed(Box::new(error))),
        };
        if sent.is_err() {
            return 1;
        }
    }
}

type Wanted = (Option<PathBuf>, Option<Received>, Option<BuildOptions>);

/// The next request with the raw bytes that belong to it; `None` at the end of the input.
fn read_request(from: &mut impl Read) -> std::io::Result<Option<Wanted>> {
    let Some(Request { library, source, build }) = read_frame(from)? else { return Ok(None) };
    let source = source.map(|source| receive(from, source)).transpose()?;
    Ok(Some((library, source, build)))
}

/// The builder for `library`, which is made once: every request of a session names the same library.
fn opened<'a>(
    kept: &'a mut Option<(Option<PathBuf>, Builder)>,
    library: Option<PathBuf>,
    log: &Arc<LogCapture>,
    stage: &dyn Fn(&str),
) -> Result<&'a Builder, Error> {
    if kept.as_ref().is_none_or(|(known, _)| *known != library) {
        stage("opening the library");
        let builder = Builder::new(library.as_deref(), Arc::clone(log))?;
        *kept = Some((library, builder));
    }
    kept.as_ref().map(|(_, builder)| builder).ok_or_else(|| Error::Worker("it has no builder".into()))
}

fn work(
    builder: &Builder,
    source: Option<Received>,
    build: Option<&BuildOptions>,
    stage: &dyn Fn(&str),
) -> Result<(Reply, Vec<u8>), Error> {
    let version = builder.library.version;
    let Some(source) = source else {
        return Ok((Reply { library: version, summary: NetworkSummary::default(), engine: None }, Vec::new()));
    };
    let add = |layer: &str| stage(&format!("adding layer `{layer}`"));
    let (network, _parser) = match &source {
        Received::Spec(spec) => (Network::replay(builder, spec, &add)?, None),
        Received::OnnxFile(path) => {
            stage("parsing the ONNX file");
            let (network, parser) = parse::file(builder, path)?;
            (network, Some(parser))
        }
        Received::OnnxBytes(bytes) => {
            stage("parsing the ONNX model");
            let (network, parser) = parse::bytes(builder, bytes)?;
            (network, Some(parser))
        }
    };
    let summary = network.summary(build.is_none());
    let (engine, plan) = match build {
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
    OnnxFile(PathBuf),
    OnnxBytes(Vec<u8>),
}

/// Reads the raw bytes that belong to a source.
fn receive(from: &mut impl Read, source: Source) -> std::io::Result<Received> {
    match source {
        Source::Spec(mut spec) => {
            for weights in &mut spec.weights {
                let count = weights.data_type.bytes(weights.count);
                let count = count.ok_or_else(|| std::io::Error::other("weights without end"))?;
                weights.bytes = Bytes::from(read_bytes(from, count)?);
            }
            Ok(Received::Spec(spec))
        }
        Source::OnnxFile(path) => Ok(Received::OnnxFile(path)),
        Source::OnnxBytes(count) => Ok(Received::OnnxBytes(read_bytes(from, count)?)),
    }
}

fn unreadable(error: std::io::Error) -> Error {
    Error::Worker(format!("the request can't be read: {error}"))
}
