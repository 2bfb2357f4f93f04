//! The program's verbs, one file each.
//!
//! Exit codes: 0 ok, 1 a difference or regression was found, 2 bad input, 3 unsupported, 4 a limit was hit, 70 an error of ours.

/// As the standard macro, but the program ends quietly when nobody reads on.
macro_rules! print {
    ($($argument:tt)*) => { $crate::cli::render::out(format_args!($($argument)*)) };
}

/// As the standard macro, but the program ends quietly when nobody reads on.
macro_rules! println {
    () => { print!("\n") };
    ($($argument:tt)*) => { print!("{}\n", format_args!($($argument)*)) };
}

mod against;
mod bench;
mod bench_kernels;
mod bench_patterns;
mod bench_precision;
mod bug;
mod calibrate;
mod certify;
mod check;
mod compare;
mod conformance;
mod convert;
mod cost;
mod doctor;
mod explain;
mod fusions;
mod fuzz;
mod import;
mod inspect;
mod lower;
mod ops;
mod optimize;
mod precision;
mod quantize;
mod reduce;
mod render;
mod rewriting;
mod rules;
mod run;
mod shell;
mod study;
mod verify_rules;

use crate::files::STANDARD;
use crate::ir::Model;
use crate::ir::diag::{Diagnostic, Diagnostics, Kind, Severity, drives_terminal};
use crate::onnx::{ExportOptions, Limits, Policy};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A graph-optimizer research framework: ONNX in, named rewrite rules through e-graphs, TensorRT and CUDA out.
#[derive(Parser)]
#[command(name = "eutectic", version, about, arg_required_else_help = true)]
struct Program {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What every verb understands.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of every verb")]
struct Global {
    /// Print the result as JSON on standard output
    #[arg(long, global = true)]
    json: bool,
    /// Print the budgets under which files are read, and stop
    #[arg(long, global = true)]
    limits: bool,
    /// Treat models as hostile: no hard links from elsewhere, no writing through links
    #[arg(long, global = true)]
    untrusted: bool,
    /// Map files instead of reading them; a file that changes meanwhile kills the program
    #[arg(long, global = true)]
    mmap: bool,
    /// The directory of the model's external data, when it is not that of the model
    #[arg(long, global = true, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// Largest model file that is read, in bytes
    #[arg(long, global = true, value_name = "BYTES")]
    max_model_size: Option<u64>,
    /// Write models although their files hold what would be lost: fields of a newer ONNX, training, device placement
    #[arg(long, global = true)]
    drop_unknown: bool,
    /// Print no warnings, no progress, and nothing about a file that is written
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Show what a model is made of
    Inspect(inspect::Inspect),
    /// Check a model against every rule of ONNX and of the IR
    Check(check::Check),
    /// Rewrite a model by rules and fusions, and certify the result
    Optimize(optimize::Optimize),
    /// Say why the result is equal, why a rule did nothing, or what a diagnostic code means
    Explain(explain::Explain),
    /// Draw random equivalents of a model and run each through a backend, to find its errors
    Fuzz(fuzz::Fuzz),
    /// Make a model that fails as small as it gets while it fails in the same way
    Reduce(reduce::Reduce),
    /// Run two models on the same inputs and compare their outputs
    Compare(compare::Compare),
    /// Certify that two models are the same function: in exact arithmetic, whatever tool made one of the other
    Certify(certify::Certify),
    /// Run cases with expected outputs, as ONNX's backend tests, through a part of the framework
    Conformance(conformance::Conformance),
    /// Convert between the binary and the textual form
    Convert(convert::Convert),
    /// Lower the precision of a model: half precision, calibrated quantization, the cost of each layer
    Quantize(quantize::Quantize),
    /// Run a model
    Run(run::Run),
    /// Time a model, fused against unfused, on a backend
    Bench(bench::Bench),
    /// Measure the calls of models on the device, as a table that `--cost table:FILE` prices by
    Calibrate(calibrate::Calibrate),
    /// Lower a model to a device's network and build its engine
    Lower(Box<lower::Lower>),
    /// List what can be fused: the patterns of kernels, and fused functions
    Fusions(fusions::Fusions),
    /// List and check rewrite rules
    Rules(rules::Rules),
    /// Measure a declared question and set it as a paper: statistics, figures, tables
    Study(study::Study),
    /// List the operators that are known
    Ops(ops::Ops),
    /// Say what is installed, what is missing, and how to get it
    Doctor(doctor::Doctor),
    /// Print what a shell completes, as `source <(eutectic completions bash)` takes it
    Completions(shell::Completions),
    /// Write manual pages, one a verb, for `man`
    Manual(shell::Manual),
}

/// What a verb gives back: an exit code, or everything that is wrong.
type Outcome = Result<i32, Diagnostics>;

/// Runs the program on the process's arguments; the exit code.
pub fn main() -> i32 {
    #[cfg(feature = "lowering")]
    if std::env::args().nth(1).as_deref() == Some(crate::tensorrt::WORKER_ARGUMENT) {
        return crate::tensorrt::worker_main();
    }
    bug::guarded(|| {
        let matches = Program::command().get_matches();
        let program = Program::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        run(&program, &verbs(&matches))
    })
}

/// The verbs of a command line, outermost first.
fn verbs(matches: &clap::ArgMatches) -> Vec<&str> {
    std::iter::successors(matches.subcommand(), |(_, inner)| inner.subcommand()).map(|(name, _)| name).collect()
}

/// Runs what was asked for by `verbs`; the exit code.
fn run(program: &Program, verbs: &[&str]) -> i32 {
    let global = &program.global;
    if global.limits {
        print!("{}", global.budgets());
        return 0;
    }
    let Some(verb) = &program.verb else {
        eprintln!("eutectic: give a verb; `eutectic --help` lists them");
        return 2;
    };
    let outcome = match verb {
        Verb::Inspect(verb) => verb.run(global),
        Verb::Check(verb) => verb.run(global),
        Verb::Optimize(verb) => verb.run(global),
        Verb::Explain(verb) => verb.run(global),
        Verb::Fuzz(verb) => verb.run(global),
        Verb::Reduce(verb) => verb.run(global),
        Verb::Compare(verb) => verb.run(global),
        Verb::Certify(verb) => verb.run(global),
        Verb::Conformance(verb) => verb.run(global),
        Verb::Convert(verb) => verb.run(global),
        Verb::Quantize(verb) => verb.run(global),
        Verb::Run(verb) => verb.run(global),
        Verb::Bench(verb) => verb.run(global),
        Verb::Calibrate(verb) => verb.run(global),
        Verb::Lower(verb) => verb.run(global),
        Verb::Fusions(verb) => verb.run(global),
        Verb::Rules(verb) => verb.run(global),
        Verb::Study(verb) => verb.run(global),
        Verb::Ops(verb) => verb.run(global),
        Verb::Doctor(verb) => verb.run(global),
        Verb::Completions(verb) => verb.run(global),
        Verb::Manual(verb) => verb.run(global),
    };
    outcome.unwrap_or_else(|problems| {
        let problems = problems.with_help(MISUSE, &format!("see `eutectic {} --help`", verbs.join(" ")));
        if global.json {
            print_json(&render::json(&problems));
        }
        render::print(&problems);
        problems.exit_code().max(1)
    })
}

impl Global {
    fn budgets(&self) -> Limits {
        let stated = Limits::stated();
        Limits { model_bytes: self.max_model_size.unwrap_or(stated.model_bytes), ..stated }
    }

    /// Reads a model and prints its warnings.
    fn load(&self, path: &Path) -> Result<Model, Diagnostics> {
        let policy = Policy {
            data_root: self.data_root.clone(),
            untrusted: self.untrusted,
            mapped: self.mmap,
            ..Policy::interactive()
        };
        let (mut model, warnings) = crate::files::load_under(path, &self.budgets(), &policy)?;
        self.warn(&warnings);
        if self.drop_unknown {
            model.not_carried.clear();
        }
        Ok(model)
    }

    /// Errors when no model can be written to `output`; to be asked before the work, not after it.
    fn check_output(&self, output: Option<&Path>) -> Result<(), Diagnostics> {
        let Some(path) = output else { return Ok(()) };
        if path != Path::new(STANDARD) {
            if self.untrusted {
                crate::files::check_output(path)?;
            }
            return Ok(crate::onnx::check_target(path)?);
        }
        if self.json {
            return Err(misuse("standard output takes the model or the JSON of `--json`, not both"));
        }
        if std::io::stdout().is_terminal() {
            return Err(misuse("a model is no text for a terminal: let `-` lead into a pipe or a file"));
        }
        Ok(())
    }

    /// Whether a verb tells about what it writes to `output`: a model that goes to standard output has it for itself.
    fn tells(&self, output: Option<&Path>) -> bool {
        !self.quiet && output != Some(Path::new(STANDARD))
    }

    /// Writes a model; says where large weights went.
    fn save(&self, model: &Model, path: &Path, opset: Option<u64>) -> Result<u64, Diagnostics> {
        self.check_output(Some(path))?;
        let options = ExportOptions { opset, external_data: false };
        if path == Path::new(STANDARD) {
            crate::onnx::carries_all(model)?;
            let bytes = crate::onnx::to_bytes(model, &options)?;
            render::out_bytes(&bytes);
            return Ok(bytes.len() as u64);
        }
        let saved = crate::files::save(model, path, &options)?;
        if let Some((beside, bytes)) = saved.external {
            let message = format!(
                "the model takes more than 2 GiB, which protobuf cannot hold: weights are in `{}` ({})",
                beside.display(),
                render::bytes(bytes as f64)
            );
            let severity = Severity::Note;
            self.warn(&Diagnostic { severity, ..Diagnostic::warning("L0165", message) }.into());
        }
        Ok(saved.bytes)
    }

    fn warn(&self, warnings: &Diagnostics) {
        if !self.quiet {
            render::print(warnings);
        }
    }
}

/// SHA-256 of a file, in hexadecimal: what names a model in caches and manifests.
fn file_hash(path: &Path) -> Result<String, Diagnostics> {
    use sha2::{Digest, Sha256};
    use std::io::Read;
    let unreadable = |error: std::io::Error| crate::files::unreadable(path, &error);
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// The code of errors about what was typed.
const MISUSE: &str = "C0100";

/// An error about what was typed. Where no next step is given, it is the help of the verb.
fn misuse(message: impl Into<String>) -> Diagnostics {
    Diagnostic::error(Kind::Invalid, MISUSE, message).into()
}

/// A progress bar of `n` steps on standard error, where that is a terminal. `template` is one of `indicatif`.
fn progress(global: &Global, n: usize, template: &str) -> ProgressBar {
    let bar = if global.quiet { ProgressBar::hidden() } else { ProgressBar::new(n as u64) };
    let bar = bar.with_finish(ProgressFinish::AndClear);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Says which stage of its work a verb is in, and for how long, where standard error is a terminal: by `set_message`.
fn stages(global: &Global) -> ProgressBar {
    let bar = progress(global, 0, "{spinner} {msg}, {elapsed}");
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(100));
    }
    bar
}

/// A bound on the command line: of a difference, or of seconds.
fn bound(text: &str) -> Result<f64, String> {
    let bound: f64 = text.parse().map_err(|error: std::num::ParseFloatError| error.to_string())?;
    if bound >= 0.0 { Ok(bound) } else { Err("it is a number that is not negative".into()) }
}

/// A count on the command line that is not 0.
fn at_least_one(text: &str) -> Result<usize, String> {
    let count: usize = text.parse().map_err(|error: std::num::ParseIntError| error.to_string())?;
    if count > 0 { Ok(count) } else { Err("it is 1 at least".into()) }
}

/// JSON in which nothing drives a terminal: what JSON itself leaves as it is, such as changes of direction, is escaped.
fn plain_json(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        // Such characters stand inside of strings only, and all of them fit 16 bits.
        if drives_terminal(c) { plain.push_str(&format!("\\u{:04x}", c as u32)) } else { plain.push(c) }
    }
    plain
}

/// `value` on standard output as JSON.
fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => println!("{}", plain_json(&text)),
        Err(error) => eprintln!("eutectic: the result cannot be printed: {error}"),
    }
}
