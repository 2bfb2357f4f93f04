//! `env/<machine>.json`: what a reader must know of the machine. Nothing is set here; what cannot be found out is left out.

use crate::run::Site;
use crate::{Trouble, sha256};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::Command;

/// Writes the record of this machine beside the raw samples. One that is there is kept: a run that goes on is of the same
/// machine, and samples that were taken elsewhere come with a record of where.
pub(crate) fn record(site: &Site<'_>) -> Result<(), Trouble> {
    let path = site.into.join("env").join(format!("{}.json", site.machine));
    if path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| Trouble::io(parent, &error))?;
    }
    let mut text = serde_json::to_string_pretty(&of_this_machine(site)).unwrap_or_default();
    text.push('\n');
    std::fs::write(&path, text).map_err(|error| Trouble::io(&path, &error))
}

/// The program that measures, and the state of its sources.
pub(crate) fn tool(site: &Site<'_>) -> Value {
    let git = |arguments: &[&str]| output(Command::new("git").args(arguments).current_dir(site.directory));
    let dirty = git(&["diff", "HEAD"]).filter(|diff| !diff.is_empty()).map(|diff| sha256(diff.as_bytes()));
    let program = std::fs::read(site.program).ok().map(|bytes| sha256(&bytes));
    json!({
        "version": output(Command::new(site.program).arg("--version")), "program": program,
        "commit": git(&["rev-parse", "HEAD"]), "uncommitted": dirty,
    })
}

fn of_this_machine(site: &Site<'_>) -> Value {
    let mut found = Map::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            found.insert(name.to_owned(), json!(value));
        }
    };
    let cpu = read("/proc/cpuinfo");
    add("processor", field(cpu.as_deref(), "model name"));
    add("microcode", field(cpu.as_deref(), "microcode"));
    add("cores", std::thread::available_parallelism().ok().map(|n| n.to_string()));
    add("memory", field(read("/proc/meminfo").as_deref(), "MemTotal"));
    add("governor", read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"));
    add("processor limit of the control group", read("/sys/fs/cgroup/cpu.max"));
    add("memory limit of the control group", read("/sys/fs/cgroup/memory.max"));
    add("load", read("/proc/loadavg"));
    add("kernel", output(Command::new("uname").args(["-srm"])));
    add("rustc on the path", output(Command::new("rustc").arg("-V")));
    add("Cargo.lock", lock_hash(site.directory));
    found.insert("tool".to_owned(), tool(site));
    if let Some(devices) = gpus() {
        found.insert("gpus".to_owned(), devices);
        let arguments = ["--query-compute-apps=pid,used_memory", "--format=csv,noheader"];
        let others = output(Command::new("nvidia-smi").args(arguments)).unwrap_or_default();
        found.insert("other processes on GPUs".to_owned(), json!(others.lines().count()));
    }
    Value::Object(found)
}

/// What `nvidia-smi` is asked for each GPU.
const QUERIES: [&str; 14] = [
    "name",
    "driver_version",
    "vbios_version",
    "power.limit",
    "power.draw",
    "clocks.sm",
    "clocks.mem",
    "clocks.max.sm",
    "clocks.applications.graphics",
    "clocks_event_reasons.active",
    "ecc.mode.current",
    "mig.mode.current",
    "temperature.gpu",
    "persistence_mode",
];

fn gpus() -> Option<Value> {
    let query = format!("--query-gpu={}", QUERIES.join(","));
    let text = output(Command::new("nvidia-smi").args([&query, "--format=csv,noheader"]))?;
    let device = |line: &str| -> Value {
        QUERIES
            .iter()
            .zip(line.split(", "))
            .map(|(name, value)| ((*name).to_owned(), json!(value.trim())))
            .collect::<Map<_, _>>()
            .into()
    };
    Some(text.lines().map(device).collect())
}

fn lock_hash(directory: &Path) -> Option<String> {
    let lock = directory.ancestors().map(|dir| dir.join("Cargo.lock")).find(|path| path.exists())?;
    std::fs::read(lock).ok().map(|bytes| sha256(&bytes))
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn field(text: Option<&str>, name: &str) -> Option<String> {
    let line = text?.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// What a command prints, if it runs and succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
