//! Runs TensorRT in a process of its own.
//!
//! The library is closed C++ and can crash on input that passes its checks. A crash, a hang or a kill becomes a typed error that
//! says what the worker was doing and what the library had logged by then.

use crate::engine::{BuildOptions, Engine};
use crate::error::Error;
use crate::library::Version;
use crate::parser::NetworkSummary;
use crate::protocol::{EngineReply, Event, Reply, Request, read_bytes, read_frame, write_frame};
use crate::spec::NetworkSpec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
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

/// A network to hand to the worker. Raw bytes travel beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Source {
    /// Our description; the bytes of each weight follow in order.
    Spec(NetworkSpec),
    /// A file for NVIDIA's parser.
    OnnxFile(PathBuf),
    /// A model for NVIDIA's parser, of so many bytes, which follow.
    OnnxBytes(u64),
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
        self.session().request(None, &[], None).map(|answer| answer.library)
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
    pub(crate) fn run(
        &mut self,
        source: Source,
        payload: &[Bytes],
        build: Option<&BuildOptions>,
    ) -> Result<Answer, Error> {
        self.request(Some(source), payload, build)
    }

    fn request(
        &mut self,
        source: Option<Source>,
        payload: &[Bytes],
        build: Option<&BuildOptions>,
    ) -> Result<Answer, Error> {
        let request = Request { library: self.worker.library.clone(), source, build: build.cloned() };
        let mut process = match self.process.take() {
            Some(process) => process,
            None => Process::start(&self.worker)?,
        };
        // A process that does not answer is lost: it is dropped, and the next request starts another.
        let answered = process.serve(&request, payload, self.worker.timeout)?;
        self.process = Some(process);
        let (reply, plan) = answered?;
        let Reply { library, summary, engine } = *reply;
        let engine = engine.zip(request.build).map(|(engine, options)| {
            let EngineReply { layers, build_milliseconds, warnings, .. } = engine;
            Engine { plan, layers, options, library, build_milliseconds, warnings }
        });
        Ok(Answer { library, summary, engine })
    }
}

/// What a worker answered: a reply with the bytes of its plan, or why there is none.
type Answered = Result<(Box<Reply>, Vec<u8>), Error>;

/// A running worker. Dropping it kills the process: destructors of the library are of no use to us.
#[derive(Debug)]
struct Process {
    child: Child,
    to: ChildStdin,
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
        let mut child = Command::new(&worker.program)
            .args(&worker.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Error::Worker(format!("{} does not start: {error}", worker.program.display())))?;
        let (Some(to), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            unreachable!("all three streams are piped");
        };
        // Both threads end with the process.
        let (sender, heard) = channel();
        std::thread::spawn(move || listen(BufReader::new(stdout), &sender));
        let errors = Some(std::thread::spawn(move || tail(stderr)));
        Ok(Self { child, to, heard, errors })
    }

    /// What the worker answers to one request. Errors: it is lost, and why.
    fn serve(&mut self, request: &Request, payload: &[Bytes], timeout: Duration) -> Result<Answered, Error> {
        let deadline = Instant::now() + timeout;
        let Self { child, to, heard, errors } = self;
        std::thread::scope(|scope| {
            // A worker that ends early closes its input; what it said counts, not that we could not finish the sentence.
            scope.spawn(|| {
                let mut to = BufWriter::new(to);
                let _ =
                    write_frame(&mut to, request).and_then(|()| payload.iter().try_for_each(|part| to.write_all(part)));
                let _ = to.flush();
            });
            let mut stage = "starting".to_owned();
            let mut log = Vec::new();
            let lost = loop {
                match heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(Heard::Event(Event::Stage(next))) => stage = next,
                    Ok(Heard::Event(Event::Log(line))) => log.push(line),
                    Ok(Heard::Event(Event::Failed(error))) => return Ok(Err(*error)),
                    Ok(Heard::Event(Event::Done(_))) => unreachable!("the listener turns it into an answer"),
                    Ok(Heard::Answer(reply, plan)) => return Ok(Ok((reply, plan))),
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
    Answer(Box<Reply>, Vec<u8>),
    Broken(String),
}

/// Passes on what the worker says until it ends or is not understood.
fn listen(mut from: impl Read, to: &Sender<Heard>) {
    loop {
        let heard = match read_frame(&mut from) {
            Ok(None) => return,
            Ok(Some(Event::Done(reply))) => {
                let n_bytes = reply.engine.as_ref().map_or(0, |engine| engine.plan_bytes);
                match read_bytes(&mut from, n_bytes) {
                    Ok(plan) => Heard::Answer(reply, plan),
                    Err(error) => Heard::Broken(format!("its plan is cut off: {error}")),
                }
            }
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
