//! Raw samples: `raw/<machine>/<run>.jsonl`, one JSON object a line, the first of which says where the others are from.
//!
//! `raw/SHA256SUMS` holds the hash of each file as the run wrote it. A file that was edited since, added by hand or lost is
//! refused.

use crate::schema::{Level, Study};
use crate::{Trouble, read_text, sha256};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One record: the levels of its run, and what the producer wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The build that it was taken in.
    pub build: usize,
    /// The process of that build.
    pub process: usize,
    fields: Map<String, Value>,
}

impl Record {
    /// The level of a factor, or an outcome, as text.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.fields.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => number.as_f64().map(|number| Level::Number(number).to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// The samples of a metric: an array, or one number.
    pub fn samples(&self, name: &str) -> Vec<f64> {
        match self.fields.get(name) {
            Some(Value::Array(samples)) => samples.iter().filter_map(Value::as_f64).collect(),
            Some(Value::Number(sample)) => sample.as_f64().into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Why the run gave no sample.
    pub fn failure(&self) -> Option<&str> {
        self.fields.get("failure")?.as_str()
    }

    /// True when the record has one of the given levels of each factor of `only`.
    pub fn is_among(&self, only: &BTreeMap<String, Vec<Level>>) -> bool {
        only.iter().all(|(factor, levels)| {
            self.text(factor).is_some_and(|found| levels.iter().any(|level| level.to_string() == found))
        })
    }
}

/// The records of a study and where they are from.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// Every record, by file and line.
    pub records: Vec<Record>,
    /// The machines, in order.
    pub machines: Vec<String>,
    /// The first line of each file.
    pub provenance: Vec<Value>,
    /// Names below `raw/` with their hashes.
    pub hashes: BTreeMap<String, String>,
}

/// Which machines may count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machines {
    /// The one of the study.
    One,
    /// All; the machine becomes a factor by the name `machine`.
    Mixed,
}

impl Raw {
    /// Reads and checks what lies below `raw/`.
    ///
    /// Errors: a file differs from its hash, has none or is missing (S0110); several machines although the study names none
    /// of them (S0111); a line that is no object (S0112).
    pub fn read(directory: &Path, study: &Study, machines: Machines) -> Result<Self, Trouble> {
        let hashes = check_hashes(directory)?;
        let found: BTreeSet<&str> =
            hashes.keys().filter_map(|name| name.split_once('/')).map(|(machine, _)| machine).collect();
        let wanted: Vec<&str> = match (&study.machine, machines) {
            (_, Machines::Mixed) => found.iter().copied().collect(),
            (Some(machine), Machines::One) => vec![machine],
            (None, Machines::One) if found.len() > 1 => {
                let names = found.iter().copied().collect::<Vec<_>>().join(", ");
                return Err(Trouble::invalid("S0111", format!("samples of several machines: {names}"))
                    .in_file(&directory.join("raw"))
                    .help("name one as `machine` in study.toml, or ask for all with --mix-machines"));
            }
            (None, Machines::One) => found.iter().copied().collect(),
        };
        let mut raw = Raw { machines: wanted.iter().map(|&name| name.to_owned()).collect(), ..Raw::default() };
        for (name, hash) in &hashes {
            let Some((machine, _)) = name.split_once('/').filter(|(machine, _)| wanted.contains(machine)) else {
                continue;
            };
            let path = directory.join("raw").join(name);
            raw.take(machine, &read_text(&path)?).map_err(|trouble| trouble.in_file(&path))?;
            raw.hashes.insert(name.clone(), hash.clone());
        }
        Ok(raw)
    }

    fn take(&mut self, machine: &str, text: &str) -> Result<(), Trouble> {
        let object = |at: usize, line: &str| match serde_json::from_str(line) {
            Ok(Value::Object(fields)) => Ok(fields),
            _ => Err(Trouble::invalid("S0112", format!("line {} is no JSON object", at + 1))),
        };
        let mut lines = text.lines().enumerate();
        let first = lines.next().map(|(at, line)| object(at, line)).transpose()?.unwrap_or_default();
        let Some(provenance) = first.get("provenance") else {
            return Err(Trouble::invalid("S0112", "the first line is no provenance"));
        };
        let levels = provenance["levels"].as_object().cloned().unwrap_or_default();
        let number = |name: &str| provenance[name].as_u64().unwrap_or(0) as usize;
        for (at, line) in lines {
            let mut fields = object(at, line)?;
            // What the plan asked for is the level; a producer may spell it otherwise, as the name of a file.
            fields.extend(levels.clone());
            fields.insert("machine".to_owned(), Value::from(machine));
            self.records.push(Record { build: number("build"), process: number("process"), fields });
        }
        self.provenance.push(provenance.clone());
        Ok(())
    }
}

/// The name of the file of hashes below `raw/`.
const SUMS: &str = "SHA256SUMS";

/// Names below `raw/` with their hashes, all of which hold.
fn check_hashes(directory: &Path) -> Result<BTreeMap<String, String>, Trouble> {
    let root = directory.join("raw");
    let sums = root.join(SUMS);
    let stated: BTreeMap<String, String> = if sums.exists() {
        let text = read_text(&sums)?;
        text.lines()
            .filter_map(|line| line.split_once("  "))
            .map(|(hash, name)| (name.to_owned(), hash.to_owned()))
            .collect()
    } else {
        BTreeMap::new()
    };
    let found = files_below(&root)?;
    let mut wrong = Vec::new();
    for (name, path) in &found {
        let bytes = std::fs::read(path).map_err(|error| Trouble::io(path, &error))?;
        match stated.get(name) {
            None => wrong.push(format!("{name} has no hash")),
            Some(hash) if *hash != sha256(&bytes) => wrong.push(format!("{name} is not what the run wrote")),
            Some(_) => {}
        }
    }
    wrong.extend(stated.keys().filter(|name| !found.contains_key(*name)).map(|name| format!("{name} is missing")));
    if wrong.is_empty() {
        return Ok(stated);
    }
    Err(Trouble::invalid("S0110", format!("raw samples do not match their hashes: {}", wrong.join("; ")))
        .in_file(&sums)
        .help("raw samples are never edited: restore them, or remove the file with its line in SHA256SUMS and measure again"))
}

fn files_below(root: &Path) -> Result<BTreeMap<String, PathBuf>, Trouble> {
    let mut files = BTreeMap::new();
    for machine in entries(root)? {
        for file in entries(&machine)? {
            if file.extension().is_some_and(|extension| extension == "jsonl") {
                files.insert(name_below(root, &file), file);
            }
        }
    }
    Ok(files)
}

/// The entries of a directory in the order of their names; none when it does not exist or is a file.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, Trouble> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let read = std::fs::read_dir(directory).map_err(|error| Trouble::io(directory, &error))?;
    let mut paths: Vec<PathBuf> = read.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn name_below(root: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(root).unwrap_or(path).components();
    parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// Writes the samples of a run and its hash; both files are replaced whole, so that an interrupted run leaves nothing.
pub(crate) fn store(directory: &Path, name: &str, text: &str) -> Result<(), Trouble> {
    let root = directory.join("raw");
    let path = root.join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| Trouble::io(parent, &error))?;
    }
    replace(&path, text)?;
    let sums = root.join(SUMS);
    let mut lines: BTreeMap<String, String> = match std::fs::read_to_string(&sums) {
        Ok(text) => text
            .lines()
            .filter_map(|line| line.split_once("  "))
            .map(|(hash, name)| (name.into(), hash.into()))
            .collect(),
        Err(_) => BTreeMap::new(),
    };
    lines.insert(name.to_owned(), sha256(text.as_bytes()));
    replace(&sums, &lines.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect::<String>())
}

pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Trouble> {
    let beside = path.with_extension("part");
    std::fs::write(&beside, text).map_err(|error| Trouble::io(&beside, &error))?;
    std::fs::rename(&beside, path).map_err(|error| Trouble::io(path, &error))
}
