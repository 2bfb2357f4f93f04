//! `eutectic reduce`: a model that fails, as small as it gets while it fails in the same way.

use super::against::Partners;
use super::fuzz::number;
use super::run::read_inputs;
use super::{Global, Outcome, bound, misuse, print_json, render, stages};
use crate::certificate::{Certificate, run_on_cpu};
use crate::conformance::guard;
use crate::files::{save, save_npy, unwritten};
use crate::ir::diag::{Diagnostic, Diagnostics, Escaped, Kind, Severity};
use crate::ir::graph::ValueId;
use crate::ir::text::{PrintOptions, print_model};
use crate::ir::{Model, Name, Tensor};
use crate::onnx::ExportOptions;
use crate::partners::{Partner, status_within};
use crate::passes::reduce::{Budget, Case, Judge, Reduction, reduce};
use clap::Args;
use serde_json::json;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[derive(Args)]
pub(super) struct Reduce {
    /// The model
    model: PathBuf,
    /// What fails: cpu (our CPU backend, against the interpreter), ort (ONNX Runtime, against our CPU backend), tensorrt (its
    /// builder alone), or a program, against our CPU backend: it is run as `PROGRAM MODEL INPUTS OUTPUTS`
    #[arg(long, value_name = "cpu|ort|tensorrt|PROGRAM", required_unless_present = "check")]
    against: Option<String>,
    /// A command of the shell that does not end with success, `{}` for the model; the same status is the same failure
    #[arg(long, value_name = "COMMAND", conflicts_with = "against")]
    check: Option<String>,
    /// Where the result goes: the model, its inputs, and how it fails; a directory that is not there yet
    #[arg(long, value_name = "DIR", default_value = "reduced")]
    out: PathBuf,
    /// Largest difference that counts as equal, relative to the largest magnitude of each output
    #[arg(long, default_value_t = 1e-3, value_parser = bound, allow_negative_numbers = true)]
    tolerance: f64,
    /// Sizes of symbolic dims: input:1x3x224x224,...
    #[arg(long, default_value = "")]
    shapes: String,
    /// An input from a NumPy file: name=file.npy; the others are drawn from the seed
    #[arg(long = "input", value_name = "NAME=FILE")]
    inputs: Vec<String>,
    /// Seed of the inputs that no file gives
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Most seconds; 0 for no limit, so that the result is the same on every machine
    #[arg(long, default_value_t = 300.0, value_parser = bound, allow_negative_numbers = true)]
    seconds: f64,
    /// Most models that are tried
    #[arg(long, default_value_t = 20_000)]
    attempts: usize,
    #[command(flatten)]
    partners: Partners,
}

impl Reduce {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        if self.out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            let message = format!("`{}` is there already and is not empty", self.out.display());
            return Err(Diagnostic::error(Kind::Invalid, "C0175", message).help("name another by `--out`").into());
        }
        let time = Duration::try_from_secs_f64(self.seconds)
            .map_err(|error| misuse(format!("`--seconds {}`: {error}", self.seconds)))?;
        let budget = Budget { attempts: self.attempts, time: Some(time).filter(|time| !time.is_zero()) };
        let mut model = global.load(&self.model)?;
        crate::ir::infer::infer(&mut model);
        let inputs = read_inputs(&model, &self.inputs, &self.shapes, self.seed);
        // A command is given the model alone, so inputs that cannot be drawn are no hindrance.
        let inputs = match &self.check {
            Some(_) if self.inputs.is_empty() => inputs.unwrap_or(vec![None; model.graph.inputs().len()]),
            _ => inputs?,
        };
        let most = self.partners.most()?;
        let tester = match (&self.check, &self.against) {
            (Some(check), _) => Tester::Command { check: check.clone(), dir: temporary()?, most },
            (None, Some(name)) => {
                if name == "tensorrt" {
                    fix_dims(&mut model, &inputs);
                }
                let partner = self.partners.partner(name, &model, "")?;
                Tester::Partner { partner, tolerance: self.tolerance, most, must_run: false }
            }
            (None, None) => return Err(misuse("give `--against` or `--check`")),
        };
        let n_before = Size::of(&model);
        let case = Case { model, inputs };
        let mut judge = Same { tester, failure: None };
        let Some(failure) = judge.tester.failure(&case) else {
            let message = format!("`{}` shows no failure", self.model.display());
            return Err(Diagnostic::error(Kind::Invalid, "C0174", message)
                .help("give the `--seed`, `--shapes` or `--tolerance` under which it fails")
                .into());
        };
        judge.tester.ask_reference(&case);
        judge.failure = Some(failure.clone());
        let stage = stages(global);
        stage.set_message("reducing");
        let found = reduce(case, &mut judge, budget);
        stage.finish_and_clear();
        let Some(found) = found else {
            let message = format!("the failure of `{}` is not the same each time: {failure}", self.model.display());
            return Err(Diagnostic::error(Kind::Invalid, "C0174", message).into());
        };
        let left = judge.tester.failure(&found.case).unwrap_or(failure.clone());
        let result = json!({
            "failure": left.json(),
            "first": failure.json(),
            "before": n_before.json(),
            "after": Size::of(&found.case.model).json(),
            "attempts": found.n_attempts,
            "minimal": found.is_minimal,
            "out": self.out,
        });
        self.write(&found.case, &result)?;
        if global.json {
            print_json(&result);
        } else {
            self.print(&found, n_before, &left);
        }
        Ok(0)
    }

    /// Writes the result beside its place first, so that it is there whole or not at all.
    fn write(&self, case: &Case, result: &serde_json::Value) -> Result<(), Diagnostics> {
        let failed = |error: std::io::Error| unwritten(&self.out, &error);
        let parent = self.out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(failed)?;
        let dir = tempfile::Builder::new().prefix(".reduced").tempdir_in(parent).map_err(failed)?;
        save(&case.model, &dir.path().join("model.onnx"), &EXPORT)?;
        for (at, input) in case.inputs.iter().enumerate() {
            if let Some(input) = input {
                save_npy(&dir.path().join(format!("input_{at}.npy")), input)?;
            }
        }
        std::fs::write(dir.path().join("failure.json"), format!("{result:#}\n")).map_err(failed)?;
        // What is there is an empty directory, or nothing.
        let _ = std::fs::remove_dir(&self.out);
        let path = dir.keep();
        std::fs::rename(&path, &self.out).map_err(|error| {
            let _ = std::fs::remove_dir_all(&path);
            failed(error).into()
        })
    }

    fn print(&self, found: &Reduction, before: Size, left: &Failure) {
        let after = Size::of(&found.case.model);
        println!("nodes        {:>8} -> {}", render::count(before.nodes as f64), after.nodes);
        println!("inputs       {:>8} -> {}", before.inputs, after.inputs);
        println!("outputs      {:>8} -> {}", before.outputs, after.outputs);
        let [a, b] = [before, after].map(|size| render::count(size.parameters as f64));
        println!("parameters   {a:>8} -> {b}");
        for (what, n) in &found.changes {
            println!("{n:5} times {what}");
        }
        const SHOWN: usize = 20;
        if after.nodes <= SHOWN {
            print!("\n{}", Escaped(&print_model(&found.case.model, &PrintOptions::BRIEF)));
        }
        println!("\nit still fails: {left}");
        let why = if found.is_minimal { "nothing more can be left out" } else { "a limit ended the search" };
        println!("{} models tried; {why}", render::count(found.n_attempts as f64));
        println!("the model, its inputs and failure.json are in {}", self.out.display());
    }
}

const EXPORT: ExportOptions = ExportOptions { opset: None, external_data: false };

/// What goes wrong with a model.
#[derive(Clone, Debug, PartialEq)]
enum Failure {
    /// The largest difference, relative to the largest magnitude of an output.
    Differs(f64),
    /// The codes of what is wrong, told apart by what other programs say of the kind of it; and all that was said.
    Refused(Vec<String>, String),
    /// It panicked, or took too long; by what words.
    Broke(String),
    /// A command ended so.
    Ended(String),
}

impl Failure {
    fn of(problems: &Diagnostics) -> Self {
        let errors = problems.0.iter().filter(|problem| problem.severity == Severity::Error);
        let mut kinds: Vec<String> = errors.map(kind).collect();
        kinds.sort();
        kinds.dedup();
        Failure::Refused(kinds, problems.to_string())
    }

    /// Whether both are one failure: any difference is like any other.
    fn is_like(&self, other: &Failure) -> bool {
        match (self, other) {
            (Failure::Differs(_), Failure::Differs(_)) => true,
            (Failure::Refused(kinds, _), Failure::Refused(others, _)) => kinds == others,
            _ => self == other,
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Failure::Differs(worst) => json!({ "kind": "differs", "difference": number(*worst) }),
            Failure::Refused(codes, why) => json!({ "kind": "refused", "codes": codes, "why": why }),
            Failure::Broke(why) => json!({ "kind": "broke", "why": why }),
            Failure::Ended(status) => json!({ "kind": "ended", "status": status }),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Differs(worst) => write!(f, "the largest difference is {worst:.1e} of the output"),
            Failure::Refused(_, why) => write!(f, "{}", Escaped(why)),
            Failure::Broke(why) => write!(f, "{}", Escaped(why)),
            Failure::Ended(status) => write!(f, "the command ends with {status}"),
        }
    }
}

/// The code of an error; with the category where ONNX Runtime names one, and how a program or a process ended.
fn kind(problem: &Diagnostic) -> String {
    let detail = match problem.code {
        "C0171" => problem.message.split("[ONNXRuntimeError] : ").nth(1).and_then(|rest| rest.split(" : ").nth(1)),
        "C0173" => problem.message.rsplit("` ").next(),
        _ => None,
    };
    detail.map_or(problem.code.into(), |detail| format!("{} {detail}", problem.code))
}

/// What runs cases.
enum Tester {
    Partner {
        partner: Partner,
        tolerance: f64,
        most: Duration,
        /// Whether the reference runs the whole model: then what it does not run is refused for another reason.
        must_run: bool,
    },
    Command {
        check: String,
        dir: tempfile::TempDir,
        most: Duration,
    },
}

impl Tester {
    /// Notes whether the reference runs the whole model.
    fn ask_reference(&mut self, whole: &Case) {
        if let Tester::Partner { partner, must_run, .. } = self {
            *must_run = partner.reference(&whole.model, &whole.inputs).is_ok();
        }
    }

    fn failure(&mut self, case: &Case) -> Option<Failure> {
        match self {
            Tester::Command { check, dir, most } => {
                let path = dir.path().join("model.onnx");
                // What cannot be written is not what fails.
                save(&case.model, &path, &EXPORT).ok()?;
                let command = check.replace("{}", &format!("'{}'", path.display()));
                match status_within(Command::new("sh").args(["-c", &command]), *most).ok()? {
                    Some(status) if status.success() => None,
                    Some(status) => Some(Failure::Ended(status.to_string())),
                    None => Some(Failure::Ended("no status in time".into())),
                }
            }
            Tester::Partner { partner, tolerance, most, must_run } => {
                let Case { model, inputs } = case.clone();
                let outputs = match &mut *partner {
                    // It runs in this process, whose end must not be that of the search.
                    Partner::Cpu => match guard::run(*most, move || run_on_cpu(&model, &inputs)) {
                        Ok(result) => result,
                        Err(why) => return Some(Failure::Broke(why)),
                    },
                    other => other.run(&model, &inputs),
                };
                let outputs = match outputs {
                    Ok(outputs) => outputs,
                    Err(problems) => {
                        let is_run = !*must_run || partner.reference(&case.model, &case.inputs).is_ok();
                        return is_run.then(|| Failure::of(&problems));
                    }
                };
                if outputs.is_empty() {
                    return None;
                }
                // A model that the reference does not run shows nothing.
                let reference = partner.reference(&case.model, &case.inputs).ok()?;
                let found = Certificate::of(&case.model, &reference, &outputs, 0, *tolerance);
                (!found.equal).then_some(Failure::Differs(found.worst))
            }
        }
    }
}

/// Says of a case whether it fails as the first did.
struct Same {
    tester: Tester,
    failure: Option<Failure>,
}

impl Judge for Same {
    fn fails(&mut self, case: &Case) -> bool {
        let found = self.tester.failure(case);
        found.zip(self.failure.as_ref()).is_some_and(|(found, wanted)| found.is_like(wanted))
    }

    fn values(&mut self, case: &Case, wanted: &[ValueId]) -> Option<Vec<Tensor>> {
        let mut model = case.model.clone();
        model.graph.keep_outputs(&[]);
        for (at, &value) in wanted.iter().enumerate() {
            model.graph.add_output(Name::from(format!("wanted {at}")), value);
        }
        crate::passes::dce::sweep(&mut model.graph);
        match &self.tester {
            Tester::Partner { partner, .. } => partner.reference(&model, &case.inputs).ok(),
            Tester::Command { .. } => run_on_cpu(&model, &case.inputs).ok(),
        }
    }
}

/// Lets the types of inputs be those of what they are given.
fn fix_dims(model: &mut Model, inputs: &[Option<Tensor>]) {
    for (id, given) in model.graph.inputs().to_vec().into_iter().zip(inputs) {
        if let Some(tensor) = given {
            model.graph.value_mut(id).ty = Some(tensor.ty().into());
        }
    }
    crate::ir::infer::infer(model);
}

fn temporary() -> Result<tempfile::TempDir, Diagnostics> {
    tempfile::tempdir().map_err(|error| misuse(format!("no temporary directory: {error}")))
}

/// How large a model is.
#[derive(Clone, Copy)]
struct Size {
    nodes: usize,
    inputs: usize,
    outputs: usize,
    parameters: usize,
}

impl Size {
    fn of(model: &Model) -> Self {
        let graph = &model.graph;
        let parameters = graph.values().filter_map(|(_, value)| value.weight()).map(Tensor::count).sum();
        Size { nodes: graph.n_nodes(), inputs: graph.inputs().len(), outputs: graph.outputs().len(), parameters }
    }

    fn json(self) -> serde_json::Value {
        json!({ "nodes": self.nodes, "inputs": self.inputs, "outputs": self.outputs, "parameters": self.parameters })
    }
}
