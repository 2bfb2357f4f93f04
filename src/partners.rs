//! Those whose results are compared with ours: each runs a model, and names the reference that it is held against.

use crate::certificate::run_on_cpu;
use crate::files::{load_npy, save_npy};
use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::ir::eval::run_model;
use crate::ir::{Model, Tensor};
use crate::onnx::ExportOptions;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What is tested.
pub enum Partner {
    /// Our CPU backend, held against the interpreter.
    Cpu,
    /// ONNX Runtime with all of its own optimizations, held against our CPU backend.
    OnnxRuntime(OnnxRuntime),
    /// A program of the user's, held against our CPU backend.
    Program(Program),
    /// TensorRT's builder: that it builds an engine is all that is asked, since no GPU need be there.
    #[cfg(feature = "lowering")]
    TensorRt(crate::tensorrt::TensorRt),
}

impl Partner {
    /// ONNX Runtime as the module of a Python. Errors: no such Python, or it lacks the module.
    pub fn onnx_runtime(python: &Path) -> Result<Self, Diagnostics> {
        OnnxRuntime::start(python).map(Partner::OnnxRuntime)
    }

    /// The outputs that are right. Errors: the reference does not run the model.
    pub fn reference(&self, model: &Model, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, Diagnostics> {
        match self {
            Partner::Cpu => {
                let failed = |what: String| Diagnostics::from(Diagnostic::error(Kind::Unsupported, "C0140", what));
                let outputs = run_model::<f32>(model, inputs).map_err(|error| failed(error.to_string()))?;
                model.intact()?;
                outputs.iter().map(|output| output.to_tensor().map_err(|reason| failed(reason.to_string()))).collect()
            }
            _ => run_on_cpu(model, inputs),
        }
    }

    /// The partner's outputs; none where it only builds. Errors: the partner refuses the model, or fails.
    pub fn run(&mut self, model: &Model, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, Diagnostics> {
        match self {
            Partner::Cpu => run_on_cpu(model, inputs),
            Partner::OnnxRuntime(runtime) => runtime.run(model, inputs),
            Partner::Program(program) => program.run(model, inputs),
            #[cfg(feature = "lowering")]
            Partner::TensorRt(builder) => builder.build(model).map(|_| Vec::new()),
        }
    }
}

/// A program that is run as `PROGRAM MODEL INPUTS OUTPUTS`: a model, a directory that holds `input_0.npy` and so on by position,
/// and one in which it leaves `output_0.npy` and so on.
pub struct Program {
    /// Where it lies.
    pub path: std::path::PathBuf,
    /// Most time of one run.
    pub most: Duration,
}

impl Program {
    fn run(&self, model: &Model, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, Diagnostics> {
        let ended = |what: String| {
            let message = format!("`{}` {what}", self.path.display());
            Diagnostics::from(Diagnostic::error(Kind::Io, "C0173", message))
        };
        let dir = tempfile::tempdir().map_err(|error| ended(format!("has no temporary directory: {error}")))?;
        let file = dir.path().join("model.onnx");
        crate::files::save(model, &file, &ExportOptions { opset: None, external_data: false })?;
        let [given, made] = ["inputs", "outputs"].map(|name| dir.path().join(name));
        for dir in [&given, &made] {
            std::fs::create_dir(dir).map_err(|error| ended(format!("has no directory: {error}")))?;
        }
        for (at, input) in inputs.iter().enumerate() {
            if let Some(input) = input {
                save_npy(&given.join(format!("input_{at}.npy")), input)?;
            }
        }
        let mut command = Command::new(&self.path);
        match status_within(command.arg(&file).arg(&given).arg(&made), self.most) {
            Ok(Some(status)) if status.success() => {}
            Ok(Some(status)) => return Err(ended(format!("ended with {status}"))),
            Ok(None) => return Err(ended(format!("took longer than {} s", self.most.as_secs_f64()))),
            Err(error) => return Err(ended(format!("cannot be run: {error}"))),
        }
        let outputs = 0..model.graph.outputs().len();
        outputs.map(|at| load_npy(&made.join(format!("output_{at}.npy"))).map_err(Diagnostics::from)).collect()
    }
}

/// Runs `command` silently; how it ended, or `None` when it took longer than `most`: then it and what it started are ended.
///
/// Errors: it cannot be started.
pub fn status_within(command: &mut Command, most: Duration) -> std::io::Result<Option<ExitStatus>> {
    use std::os::unix::process::CommandExt;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn()?;
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() >= most {
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status();
            let _ = child.kill();
            let _ = child.wait();
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A Python process that runs models by ONNX Runtime. One that dies with a model is started again for the next.
pub struct OnnxRuntime {
    python: std::path::PathBuf,
    process: Process,
    dir: tempfile::TempDir,
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl OnnxRuntime {
    fn start(python: &Path) -> Result<Self, Diagnostics> {
        let dir = tempfile::tempdir().map_err(|error| {
            Diagnostics::from(Diagnostic::error(Kind::Io, "C0171", format!("no temporary directory: {error}")))
        })?;
        Ok(Self { python: python.to_owned(), process: Process::start(python)?, dir })
    }

    fn run(&mut self, model: &Model, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, Diagnostics> {
        let path = self.dir.path().join("model.onnx");
        crate::files::save(model, &path, &ExportOptions { opset: None, external_data: false })?;
        let mut feeds = serde_json::Map::new();
        for (at, (&id, input)) in model.graph.inputs().iter().zip(inputs).enumerate() {
            let Some(input) = input else { continue };
            let file = self.dir.path().join(format!("input_{at}.npy"));
            save_npy(&file, input)?;
            feeds.insert(model.graph.value(id).name.to_string(), json!(file));
        }
        let outputs: Vec<_> =
            (0..model.graph.outputs().len()).map(|at| self.dir.path().join(format!("output_{at}.npy"))).collect();
        let request = json!({ "model": path, "inputs": feeds, "outputs": outputs });
        let answer = self.process.ask(&request).inspect_err(|_| {
            if let Ok(process) = Process::start(&self.python) {
                self.process = process;
            }
        })?;
        if let Some(error) = answer["error"].as_str() {
            return Err(failed(format!("ONNX Runtime refuses the model: {error}")));
        }
        outputs.iter().map(|file| load_npy(file).map_err(Diagnostics::from)).collect()
    }
}

impl Process {
    fn start(python: &Path) -> Result<Self, Diagnostics> {
        let missing = |why: String| {
            let message = format!("ONNX Runtime is not there: {why}");
            Diagnostics::from(
                Diagnostic::error(Kind::Unsupported, "C0170", message)
                    .help("`pip install onnxruntime`, and name that Python by `--python`"),
            )
        };
        let mut child = Command::new(python)
            .args(["-c", include_str!("partners/onnx_runtime.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| missing(format!("{}: {error}", python.display())))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(missing("the process has no pipes".into()));
        };
        let mut process = Self { child, input, output: BufReader::new(output) };
        let ready = process.answer()?;
        match ready["error"].as_str() {
            Some(why) => Err(missing(why.into())),
            None => Ok(process),
        }
    }

    fn ask(&mut self, request: &Value) -> Result<Value, Diagnostics> {
        let sent = writeln!(self.input, "{request}").and_then(|()| self.input.flush());
        sent.map_err(|error| Diagnostic::error(Kind::Io, "C0172", format!("ONNX Runtime's process is gone: {error}")))?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Value, Diagnostics> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        serde_json::from_str(&line).map_err(|_| {
            let status = self.child.wait().map_or(String::new(), |status| format!(" ({status})"));
            let why = read.err().map_or(String::new(), |error| format!(": {error}"));
            let message = format!("ONNX Runtime's process ended without an answer{status}{why}");
            Diagnostic::error(Kind::Io, "C0172", message).into()
        })
    }
}

fn failed(message: String) -> Diagnostics {
    Diagnostic::error(Kind::Io, "C0171", message).into()
}
