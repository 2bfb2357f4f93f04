//! Runs TensorRT in a process of its own.
//!
//! The library is closed C++ and can crash on input that passes its checks. A crash, a hang or a kill becomes a typed error that
//! says what the worker was doing and what the library had logged by then.

use crate::engine::{BuildOptions, Engine};
use crate::error::Error;
use crate::library::Version;
use crate::parser::NetworkSummary;
use crate::protocol::{Build, EngineReply, Event, Reply, Request, read_frame, send_files, write_frame};
use crate::shared::{Parcel, Place, memory, seal, whole};
use crate::spec::NetworkSpec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The argument with which the `eutectic` program becomes a worker: it then calls [`worker_main`].
pub const WORKER_ARGUMENT: &str = "__tensorrt-worker";

/// How to start a worker. A request has a process of its own, unless it is made in a [`Session`].
#[derive(Clone, Debug)]
pub struct Worker {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Where the user says the library is; `None` searches.
    pub library: Option<PathBuf>,
    /// After this long the process is killed.
    pub timeout: Duration,
}

/// A network to hand to the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Source {
    /// Our description, and where each of its weights is.
    Spec(NetworkSpec, Vec<Place>),
    /// A file for NVIDIA's parser.
    OnnxFile(PathBuf),
    /// A model for NVIDIA's parser.
    OnnxBytes(Place),
}

/// What came of a request.
pub(crate) struct Answer {
    pub library: Version,
    pub summary: NetworkSummary,
    pub engine: Option<Engine>,
}

impl Worker {
    /// The running program, started again with [`WORKER_ARGUMENT`].
    pub fn this_program(library: Option<PathBuf>, timeout: Duration) -> Result<Self, Error> {
        let program =
            std::env::current_exe().map_err(|error| Error::Worker(format!("this program is not found: {error}")))?;
        Ok(Self { program, arguments: vec![WORKER_ARGUMENT.into()], library, timeout })
    }

    /// The version of the library that the worker finds.
    pub fn library_version(&self) -> Result<Version, Error> {
        self.session().request(None, Parcel::default(), None).map(|answer| answer.library)
    }

    /// A process that serves one request after the other, for many small builds. It starts with the first request.
    pub fn session(&self) -> Session {
        Session { worker: self.clone(), process: None }
    }
}

/// A worker process that is kept between requests, and started again after a crash or a time-out. Dropping it ends the process.
#[derive(Debug)]
pub struct Session {
    worker: Worker,
    process: Option<Process>,
}

impl Session {
    /// Describes and perhaps builds the network `source`, whose places are in `parcel`.
    pub(crate) fn run(
        &mut self,
        source: Source,
        parcel: Parcel,
        options: Option<&BuildOptions>,
    ) -> Result<Answer, Error> {
        self.request(Some(source), parcel, options)
    }

    fn request(
        &mut self,
        source: Option<Source>,
        mut parcel: Parcel,
        options: Option<&BuildOptions>,
    ) -> Result<Answer, Error> {
        let made = |options: &BuildOptions| {
            let memory = memory()?;
            let plan = parcel.add(memory.try_clone()?);
            Ok((memory, Build { options: options.clone(), plan }))
        };
        let (plan, build) = options.map(made).transpose().map_err(unshared)?.unzip();
        let request = Request { library: self.worker.library.clone(), source, build };
        let files = parcel.close().map_err(unshared)?;
        let mut process = match self.process.take() {
            Some(process) => process,
            None => Process::start(&self.worker)?,
        };
        // A process that does not answer is lost: it is dropped, and the next request starts another.
        let answered = process.serve(&request, &files, self.worker.timeout)?;
        self.process = Some(process);
        let Reply { library, summary, engine } = *answered?;
        let engine = match engine.zip(plan).zip(request.build) {
            Some(((engine, plan), Build { options, .. })) => {
                let EngineReply { plan_bytes, layers, build_milliseconds, warnings } = engine;
                let plan = received(&plan, plan_bytes)?;
                Some(Engine { plan, layers, options, library, build_milliseconds, warnings })
            }
            None => None,
        };
        Ok(Answer { library, summary, engine })
    }
}

/// The plan that the worker has written, of which it says that it has `n_bytes`.
fn received(plan: &File, n_bytes: u64) -> Result<Bytes, Error> {
    let plan = seal(plan).and_then(|()| whole(plan)).map_err(unshared)?;
    if plan.len() as u64 == n_bytes {
        return Ok(plan);
    }
    Err(Error::Worker(format!("its plan has {} bytes, announced were {n_bytes}", plan.len())))
}

/// The system does not let us share memory or files with the worker.
pub(crate) fn unshared(error: io::Error) -> Error {
    Error::Worker(format!("nothing can be shared with it: {error}"))
}

/// A running worker. Dropping it kills the process: destructors of the library are of no use to us.
#[derive(Debug)]
struct Process {
    child: Child,
    to: UnixStream,
    heard: Receiver<Heard>,
    errors: Option<JoinHandle<String>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(worker: &Worker) -> Result<Self, Error> {
        // A socket, because open files go with requests.
        let (to, stdin) = UnixStream::pair().map_err(unshared)?;
        let mut child = Command::new(&worker.program)
            .args(&worker.arguments)
            .stdin(OwnedFd::from(stdin))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Error::Worker(format!("{} does not start: {error}", worker.program.display())))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            unreachable!("both streams are piped");
        };
        // Both threads end with the process.
        let (sender, heard) = channel();
        std::thread::spawn(move || listen(BufReader::new(stdout), &sender));
        let errors = Some(std::thread::spawn(move || tail(stderr)));
        Ok(Self { child, to, heard, errors })
    }

    /// What the worker answers to one request. Errors: it is lost, and why.
    fn serve(
        &mut self,
        request: &Request,
        files: &[File],
        timeout: Duration,
    ) -> Result<Result<Box<Reply>, Error>, Error> {
        let deadline = Instant::now() + timeout;
        let Self { child, to, heard, errors } = self;
        std::thread::scope(|scope| {
            // A worker that ends early closes its input; what it said counts, not that we could not finish the sentence.
            scope.spawn(|| {
                let _ = send_files(to, files).and_then(|()| write_frame(&mut BufWriter::new(to), request));
            });
            let mut stage = "starting".to_owned();
            let mut log = Vec::new();
            let lost = loop {
                match heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(Heard::Event(Event::Stage(next))) => stage = next,
                    Ok(Heard::Event(Event::Log(line))) => log.push(line),
                    Ok(Heard::Event(Event::Failed(error))) => return Ok(Err(*error)),
                    Ok(Heard::Event(Event::Done(reply))) => return Ok(Ok(reply)),
                    Ok(Heard::Broken(problem)) => break Error::Worker(problem),
                    Err(RecvTimeoutError::Timeout) => {
                        break Error::WorkerTimeout { seconds: timeout.as_secs(), stage, log };
                    }
                    Err(RecvTimeoutError::Disconnected) => {
                        let status = wait(child, deadline);
                        // The pipes close once the process is gone, so this ends.
                        let stderr = errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
                        break Error::WorkerDied { status, stage, log, stderr };
                    }
                }
            };
            // The writer waits for a reader, who is gone now.
            let _ = child.kill();
            let _ = child.wait();
            Err(lost)
        })
    }
}

/// Serves requests over standard input and output until the input ends, and returns the exit code. The `eutectic` program calls it when its first
/// argument is [`WORKER_ARGUMENT`].
pub fn worker_main() -> i32 {
    #[cfg(feature = "bindings")]
    let code = crate::native::serve();
    #[cfg(not(feature = "bindings"))]
    let code = {
        let failed = Event::Failed(Box::new(Error::NoBindings));
        i32::from(write_frame(&mut std::io::stdout().lock(), &failed).is_err())
    };
    code
}

#[derive(Debug)]
enum Heard {
    Event(Event),
    Broken(String),
}

/// Passes on what the worker says until it ends or is not understood.
fn listen(mut from: impl Read, to: &Sender<Heard>) {
    loop {
        let heard = match read_frame(&mut from) {
            Ok(None) => return,
            Ok(Some(event)) => Heard::Event(event),
            // A process that dies inside a frame is reported as dead, by the receiver.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return,
            Err(error) => Heard::Broken(format!("it is not understood: {error}")),
        };
        let is_last = matches!(heard, Heard::Broken(_));
        if to.send(heard).is_err() || is_last {
            return;
        }
    }
}

/// The end of a stream.
fn tail(mut from: impl Read) -> String {
    const KEPT: usize = 16 << 10;
    let mut kept = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        kept.extend_from_slice(&chunk[..count]);
        if kept.len() > 2 * KEPT {
            kept.drain(..kept.len() - KEPT);
        }
    }
    let start = kept.len().saturating_sub(KEPT);
    String::from_utf8_lossy(&kept[start..]).trim().to_owned()
}

/// Waits for a process that has closed its output, and says how it ended.
fn wait(child: &mut Child, deadline: Instant) -> String {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return describe(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return "stopped answering".into();
            }
        }
    }
}

fn describe(status: std::process::ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = match signal {
            6 => " (abort)",
            9 => " (kill)",
            11 => " (segmentation fault)",
            _ => "",
        };
        return format!("was ended by signal {signal}{name}");
    }
    status.code().map_or_else(|| "ended".into(), |code| format!("ended with code {code}"))
}
