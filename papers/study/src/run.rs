//! Measuring: the runs of the plan, one process each. What exists is kept, so an interrupted study goes on where it stopped.

use crate::analysis::n_imprecise;
use crate::plan::{Plan, Run};
use crate::raw::{Machines, Raw, store};
use crate::schema::Study;
use crate::{Trouble, environment, sha256};
use serde_json::{Value, json};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where and with what runs are made.
#[derive(Clone, Debug)]
pub struct Site<'a> {
    /// The study's directory; commands start in it.
    pub directory: &'a Path,
    /// Where `raw/` and `env/` are written.
    pub into: &'a Path,
    /// The name of the machine.
    pub machine: &'a str,
    /// The program that `eutectic` stands for.
    pub program: &'a Path,
}

/// How measuring ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Every planned run was made.
    Planned,
    /// The intervals of all ratios are as narrow as declared.
    Precise,
    /// The budget was spent.
    Budget,
}

/// Makes the runs of `plan` that are missing; `progress` hears of each before it starts.
///
/// Errors: a model is not the declared one (S0130), a program cannot be started (S0131), a file cannot be written. A run that
/// fails is a record with its reason, not an error.
pub fn measure(
    study: &Study,
    plan: &Plan,
    site: &Site<'_>,
    progress: &mut dyn FnMut(usize, &Run),
) -> Result<Stop, Trouble> {
    check_models(study, site.directory)?;
    environment::record(site)?;
    let start = Instant::now();
    for (at, run) in plan.runs.iter().enumerate() {
        let name = format!("{}/{}.jsonl", site.machine, run.name);
        if site.into.join("raw").join(&name).exists() {
            continue;
        }
        let begins_a_round = at > 0 && plan.runs[at - 1].process != run.process;
        if begins_a_round && run.process >= study.runs.processes {
            let raw = Raw::read(site.into, study, Machines::One)?;
            if n_imprecise(study, &raw) == 0 {
                return Ok(Stop::Precise);
            }
        }
        if study.runs.budget_seconds.is_some_and(|budget| start.elapsed().as_secs_f64() > budget) {
            return Ok(Stop::Budget);
        }
        progress(at, run);
        let text = one(study, run, at, site)?;
        store(site.into, &name, &text)?;
    }
    Ok(Stop::Planned)
}

/// Errors: a model file is missing or has another hash.
fn check_models(study: &Study, directory: &Path) -> Result<(), Trouble> {
    for (name, model) in &study.models {
        let path = directory.join(&model.file);
        let bytes = std::fs::read(&path).map_err(|error| {
            Trouble::io(&path, &error)
                .help("`--replay` needs no model; papers/models/README.md says how models are exported")
        })?;
        if sha256(&bytes) != model.sha256 {
            let message = format!("the model `{name}` has the hash {}, declared is {}", sha256(&bytes), model.sha256);
            return Err(Trouble::invalid("S0130", message)
                .in_file(&path)
                .help("a study is of certain models: restore the file"));
        }
    }
    Ok(())
}

/// The text of the file of one run.
fn one(study: &Study, run: &Run, at: usize, site: &Site<'_>) -> Result<String, Trouble> {
    let scratch = tempfile::tempdir().map_err(|error| Trouble::io(&std::env::temp_dir(), &error))?;
    let out = scratch.path().join("records.jsonl");
    // A run without records is a run all the same.
    std::fs::write(&out, "").map_err(|error| Trouble::io(&out, &error))?;
    let seed = study.seed.wrapping_mul(1_000_003).wrapping_add(at as u64);
    let command: Vec<String> =
        study.runs.command.iter().map(|part| filled(part, study, run, seed, &out, site.program)).collect();
    let started = now();
    let clock = Instant::now();
    let failure = execute(&command, site, study.runs.limit_seconds)?;
    let seconds = clock.elapsed().as_secs_f64();
    let written = std::fs::read_to_string(&out).map_err(|error| Trouble::io(&out, &error))?;
    let (anywhere, program) = (Path::new("{out}"), Path::new("eutectic"));
    let shown: Vec<String> =
        study.runs.command.iter().map(|part| filled(part, study, run, seed, anywhere, program)).collect();
    let provenance = json!({ "provenance": {
        "run": run.name, "levels": run.levels, "build": run.build, "process": run.process, "seed": seed,
        "machine": site.machine, "command": shown, "started": started, "seconds": seconds,
        "tool": environment::tool(site),
        "models": study.models.iter().map(|(name, model)| (name.clone(), json!(model.sha256))).collect::<serde_json::Map<_, _>>(),
    }});
    let mut text = format!("{provenance}\n");
    for line in written.lines().filter(|line| !line.trim().is_empty()) {
        text.push_str(line);
        text.push('\n');
    }
    if let Some(failure) = failure {
        text.push_str(&format!("{}\n", json!({ "failure": failure })));
    }
    Ok(text)
}

fn filled(part: &str, study: &Study, run: &Run, seed: u64, out: &Path, program: &Path) -> String {
    let mut filled = part.replace("{out}", &out.to_string_lossy()).replace("{seed}", &seed.to_string());
    filled = filled.replace("{process}", &run.process.to_string()).replace("{eutectic}", &program.to_string_lossy());
    for (factor, level) in &run.levels {
        let level = level.to_string();
        let value = study.models.get(&level).filter(|_| factor == "model").map_or(level, |model| model.file.clone());
        filled = filled.replace(&format!("{{{factor}}}"), &value);
    }
    filled
}

/// Runs a command; the reason why it failed, if it did. Errors: it cannot be started.
fn execute(command: &[String], site: &Site<'_>, limit_seconds: f64) -> Result<Option<String>, Trouble> {
    let Some((first, arguments)) = command.split_first() else {
        return Err(Trouble::invalid("S0131", "`runs.command` is empty"));
    };
    let program = if first == "eutectic" { site.program.to_path_buf() } else { PathBuf::from(first) };
    let cannot =
        |error: &std::io::Error| Trouble::invalid("S0131", format!("`{}` cannot be run: {error}", program.display()));
    // Unlike a pipe, a file never fills and stops the child.
    let mut complaints = tempfile::tempfile().map_err(|error| cannot(&error))?;
    let stderr = complaints.try_clone().map_err(|error| cannot(&error))?;
    let mut child = Command::new(&program)
        .args(arguments)
        .current_dir(site.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .map_err(|error| cannot(&error))?;
    let status = wait(&mut child, limit_seconds).map_err(|error| cannot(&error))?;
    let Some(status) = status else { return Ok(Some(format!("not done after {limit_seconds} s"))) };
    if status.success() {
        return Ok(None);
    }
    let mut text = String::new();
    // A reason that cannot be read is shown as none.
    let _ = complaints.rewind().and_then(|()| complaints.read_to_string(&mut text));
    let reason = text.lines().find(|line| line.contains("error")).or_else(|| text.lines().last()).unwrap_or_default();
    Ok(Some(format!("{status}: {}", reason.trim())))
}

fn wait(child: &mut Child, limit_seconds: f64) -> std::io::Result<Option<std::process::ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed().as_secs_f64() > limit_seconds {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Seconds since 1970.
fn now() -> Value {
    json!(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()))
}
