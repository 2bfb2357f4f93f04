//! What becomes of a worker process that does not behave.
#![cfg(unix)]

use eutectic_tensorrt::engine::{BuildOptions, build, inspect};
use eutectic_tensorrt::layer::{ActivationKind, Layer};
use eutectic_tensorrt::parser::{Onnx, read_onnx};
use eutectic_tensorrt::spec::{DataType, NetworkSpec};
use eutectic_tensorrt::{Error, Worker};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn shell(script: &str, timeout: Duration) -> Worker {
    Worker { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()], library: None, timeout }
}

/// A network whose weights fill the pipe many times over.
fn heavy() -> NetworkSpec {
    let mut spec = NetworkSpec::new("heavy");
    let x = spec.input("x", DataType::F32, &[1]).unwrap();
    let y = spec.add("relu", Layer::Activation { input: x, kind: ActivationKind::Relu, alpha: None, beta: None });
    spec.weights(DataType::F32, vec![0; 4 << 20]);
    spec.output("y", y);
    spec
}

#[test]
fn a_crash_is_an_error_that_says_how_the_worker_ended() {
    let worker = shell("echo out of luck >&2; kill -SEGV $$", Duration::from_secs(20));
    let error = inspect(&worker, &heavy()).unwrap_err();
    let Error::WorkerDied { status, stderr, .. } = &error else { panic!("{error}") };
    assert_eq!((status.as_str(), stderr.as_str()), ("was ended by signal 11 (segmentation fault)", "out of luck"));
}

#[test]
fn a_worker_that_hangs_is_stopped() {
    let start = Instant::now();
    let error = inspect(&shell("exec sleep 60", Duration::from_millis(300)), &heavy()).unwrap_err();
    assert!(matches!(error, Error::WorkerTimeout { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_worker_that_talks_nonsense_is_an_error() {
    let error = inspect(&shell("printf '\\002\\000\\000\\000{]'", Duration::from_secs(20)), &heavy()).unwrap_err();
    assert!(matches!(&error, Error::Worker(problem) if problem.contains("not understood")), "{error}");
}

/// A frame as the worker sends it.
fn frame(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

#[test]
fn a_plan_that_was_announced_and_never_written_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let answer = directory.path().join("answer");
    let library = r#""library":{"major":1,"minor":7,"patch":1}"#;
    let summary = r#""summary":{"inputs":[],"outputs":[],"histogram":{},"layers":[]}"#;
    let engine = r#""engine":{"plan_bytes":5,"layers":[],"build_milliseconds":1,"warnings":[]}"#;
    std::fs::write(&answer, frame(&format!(r#"{{"Done":{{{library},{summary},{engine}}}}}"#))).unwrap();
    let worker = shell(&format!("cat {}; sleep 20", answer.display()), Duration::from_secs(20));
    let error = build(&worker, &heavy(), &BuildOptions::for_target(86)).unwrap_err();
    assert_eq!(error, Error::Worker("its plan has 0 bytes, announced were 5".into()));
}

#[test]
fn a_worker_refuses_a_request_without_the_files_that_it_announces() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let program = Command::new(env!("CARGO_BIN_EXE_eutectic-tensorrt-worker"))
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    ours.write_all(&[5]).unwrap();
    let said = program.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{}", said.status);
    assert!(text.contains("0 of 5 files") || text.contains("NoBindings"), "{text}");
}

#[test]
fn a_program_that_does_not_exist_is_an_error() {
    let program = "/nonexistent/worker".into();
    let worker = Worker { program, arguments: Vec::new(), library: None, timeout: Duration::from_secs(20) };
    assert!(matches!(inspect(&worker, &heavy()), Err(Error::Worker(_))));
}

#[test]
fn a_library_that_is_absent_is_reported_by_the_worker() {
    let nowhere = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_eutectic-tensorrt-worker").into();
    let library = Some(nowhere.path().to_owned());
    let worker = Worker { program, arguments: Vec::new(), library, timeout: Duration::from_secs(60) };
    let error = inspect(&worker, &heavy()).unwrap_err();
    assert!(matches!(error, Error::LibraryMissing { .. } | Error::NoBindings), "{error}");
}

#[test]
fn an_empty_onnx_model_is_refused_before_the_library_calls_it_a_model() {
    let worker = shell("true", Duration::from_secs(20));
    assert!(matches!(read_onnx(&worker, Onnx::Bytes(Vec::new().into()), None), Err(Error::Parser { .. })));
}
