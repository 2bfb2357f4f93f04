//! The worker's side of the protocol.

use crate::engine::BuildOptions;
use crate::error::Error;
use crate::log::LogCapture;
use crate::native::handle::Builder;
use crate::native::network::Network;
use crate::native::{build, parse};
use crate::parser::NetworkSummary;
use crate::protocol::{Build, EngineReply, Event, Reply, Request, read_frame, receive_files, write_frame};
use crate::shared::contents;
use crate::spec::{Contents, NetworkSpec};
use crate::worker::{Source, unshared};
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
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
    let Ok(requests) = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else { return 1 };
    let mut builder = None;
    loop {
        stage("reading the request");
        let (library, received, build) = match read_request(&requests) {
            Ok(Some(request)) => request,
            Ok(None) => return 0,
            // What follows in the input can't be told from the rest of this request.
            Err(error) => return i32::from(say(&Event::Failed(Box::new(unreadable(error)))).is_err()),
        };
        log.take_lines();
        let outcome = opened(&mut builder, library, &log, &stage)
            .and_then(|builder| work(builder, received, build.as_ref(), &stage));
        let event = match outcome {
            Ok(reply) => Event::Done(Box::new(reply)),
            Err(error) => Event::Failed(Box::new(error)),
        };
        if say(&event).is_err() {
            return 1;
        }
    }
}

/// An engine to build, and the memory for its plan.
type Wanted = (BuildOptions, File);

type Received = (Option<PathBuf>, Option<Input>, Option<Wanted>);

/// The next request with what it refers to; `None` at the end of the input.
fn read_request(mut from: &UnixStream) -> io::Result<Option<Received>> {
    let Some(files) = receive_files(from)? else { return Ok(None) };
    let Some(Request { library, source, build }) = read_frame(&mut from)? else { return Ok(None) };
    let source = source.map(|source| receive(&files, source)).transpose()?;
    let wanted = |Build { options, plan }: Build| {
        let plan = files.get(plan as usize).ok_or_else(|| io::Error::other("no memory for the plan"))?;
        Ok::<_, io::Error>((options, plan.try_clone()?))
    };
    Ok(Some((library, source, build.map(wanted).transpose()?)))
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
    source: Option<Input>,
    build: Option<&Wanted>,
    stage: &dyn Fn(&str),
) -> Result<Reply, Error> {
    let library = builder.library.version;
    let Some(source) = source else {
        return Ok(Reply { library, summary: NetworkSummary::default(), engine: None });
    };
    let add = |layer: &str| stage(&format!("adding layer `{layer}`"));
    let (network, _parser) = match &source {
        Input::Spec(spec) => (Network::replay(builder, spec, &add)?, None),
        Input::OnnxFile(path) => {
            stage("parsing the ONNX file");
            let (network, parser) = parse::file(builder, path)?;
            (network, Some(parser))
        }
        Input::OnnxBytes(bytes) => {
            stage("parsing the ONNX model");
            let (network, parser) = parse::bytes(builder, bytes)?;
            (network, Some(parser))
        }
    };
    let summary = network.summary(build.is_none());
    let engine = build.map(|(options, plan)| engine(&network, options, plan, stage)).transpose()?;
    Ok(Reply { library, summary, engine })
}

/// Builds the engine and writes it to `memory`.
fn engine(
    network: &Network<'_>,
    options: &BuildOptions,
    memory: &File,
    stage: &dyn Fn(&str),
) -> Result<EngineReply, Error> {
    stage("building the engine");
    let build::Built { plan, listing, milliseconds, warnings } = build::build(network, options)?;
    stage("handing over the plan");
    memory.write_all_at(plan.bytes(), 0).map_err(unshared)?;
    let (plan_bytes, layers) = (plan.bytes().len() as u64, crate::listing::parse(&listing));
    Ok(EngineReply { plan_bytes, layers, build_milliseconds: milliseconds, warnings })
}

enum Input {
    Spec(NetworkSpec),
    OnnxFile(PathBuf),
    OnnxBytes(Bytes),
}

/// A source with the bytes that belong to it.
fn receive(files: &[File], source: Source) -> io::Result<Input> {
    match source {
        Source::Spec(mut spec, places) => {
            if places.len() != spec.weights.len() {
                return Err(io::Error::other(format!("{} weights, {} places", spec.weights.len(), places.len())));
            }
            for (weights, bytes) in spec.weights.iter_mut().zip(contents(files, &places)?) {
                weights.contents = Contents::Bytes(bytes);
            }
            Ok(Input::Spec(spec))
        }
        Source::OnnxFile(path) => Ok(Input::OnnxFile(path)),
        Source::OnnxBytes(place) => Ok(Input::OnnxBytes(contents(files, &[place])?.remove(0))),
    }
}

fn unreadable(error: std::io::Error) -> Error {
    Error::Worker(format!("the request can't be read: {error}"))
}
