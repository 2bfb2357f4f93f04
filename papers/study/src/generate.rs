//! Everything below `out/`, as a function of the files of a study.

use crate::analysis::{Comparison, Outcome, Results, Variation, outcomes, statistic};
use crate::figure::{counted, range};
use crate::raw::Raw;
use crate::schema::{Status, Study};
use crate::table::tables;
use crate::{Trouble, figure, read_text, report, sha256, text};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use crate::raw::Machines;

/// What a study makes of its samples.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The declaration.
    pub study: Study,
    /// The statistics.
    pub results: Results,
    /// What became of each hypothesis.
    pub outcomes: Vec<Outcome>,
    /// Names below `out/` with their contents; without `paper.pdf` when this build has no typesetter.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Reads the study in `directory`, with samples from `samples` (the same directory, except for a reproduction), and makes
/// everything that is generated.
///
/// Errors: those of reading; no samples (S0114); a figure of the wrong kind; prose that cannot be set (S0150).
pub fn generate(directory: &Path, samples: &Path, machines: Machines) -> Result<Generated, Trouble> {
    let mut study = Study::read(directory)?;
    if samples != directory {
        // A reproduction is of another machine.
        study.machine = None;
    }
    let raw = Raw::read(samples, &study, machines)?;
    if raw.provenance.is_empty() {
        let help = format!("`eutectic study run {}` measures", directory.display());
        return Err(Trouble::invalid("S0114", "nothing is measured yet").in_file(&samples.join("raw")).help(&help));
    }
    let results = Results::of(&study, &raw);
    let outcomes = outcomes(&study, &results.stats);
    let mut files = BTreeMap::new();
    let mut stats = results.stats.clone();
    let mut drawings = BTreeMap::new();
    for figure in &study.figure {
        drawings.insert(figure.name.clone(), figure::draw(&study, figure, &results, &raw)?);
    }
    let tables = tables(&results);
    stats["figure"] = drawings
        .iter()
        .map(|(name, drawing)| (name.clone(), json!({ "caption": drawing.caption })))
        .collect::<Map<_, _>>()
        .into();
    stats["study"] = json!({
        "title": study.title, "question": study.question, "authors": study.authors, "date": study.date,
        "declared": study.declared,
        "status": format!("{:?}", study.status).to_lowercase(),
    });
    stats["protocol"] = protocol(&study, &raw, &results.comparisons).into();
    stats["environment"] = environments(samples, &raw)?;
    stats["raw"]["hash"] =
        json!(sha256(raw.hashes.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect::<String>().as_bytes()));
    let stats = text::settled(&stats);
    files.insert("stats.json".to_owned(), text::printed(&stats).into_bytes());
    for (name, drawing) in &drawings {
        files.insert(format!("figures/{name}.svg"), drawing.svg.clone().into_bytes());
        files.insert(format!("figures/{name}.csv"), drawing.csv.clone().into_bytes());
    }
    for table in &tables {
        files.insert(format!("tables/{}.csv", table.name), table.csv.clone().into_bytes());
        files.insert(format!("tables/{}.tex", table.name), table.latex().into_bytes());
    }
    let page = report::page(&study, &stats, &outcomes, &drawings, &tables);
    files.insert("report.html".to_owned(), page.into_bytes());
    #[cfg(feature = "pdf")]
    files.insert("paper.pdf".to_owned(), crate::paper::set(directory, &files, &tables)?);
    Ok(Generated { study, results, outcomes, files })
}

/// How samples were taken, in sentences.
fn protocol(study: &Study, raw: &Raw, comparisons: &[Comparison]) -> Vec<String> {
    let runs = &study.runs;
    let (n_planned, n_made) = (crate::plan::Plan::of(study).runs.len(), raw.provenance.len());
    let mut sentences = vec![format!(
        "The list of runs ({n_planned}, in an order drawn from seed {}) was fixed before the first of them started.",
        study.seed
    )];
    if n_made < n_planned {
        sentences.push(format!("Of these, {n_made} were made."));
    }
    sentences.extend(sampling(study, comparisons));
    let failures = raw.records.iter().filter(|record| record.failure().is_some()).count();
    sentences.push(match failures {
        0 => "No run failed.".to_owned(),
        n => format!("{} failed; the reasons are in the raw files.", counted(&n.to_string(), "run")),
    });
    sentences.extend(runs.protocol.iter().cloned());
    sentences
}

/// Processes from which on a bootstrap of them says something of what differs between them.
const ENOUGH_PROCESSES: usize = 5;

/// What the intervals of ratios are made of, in sentences; none where no sample differs from another.
fn sampling(study: &Study, comparisons: &[Comparison]) -> Vec<String> {
    let varying = || comparisons.iter().filter(|comparison| comparison.variation() != Variation::None);
    let n_processes = || varying().flat_map(Comparison::variants).map(|variant| variant.series.len());
    let (Some(fewest), Some(most)) = (n_processes().min(), n_processes().max()) else { return Vec::new() };
    let mut sentences = vec![format!(
        "Samples are nested in {} of {}; a bootstrap resamples every level. Warm-up is cut off each process where the standard error of the rest is least.",
        counted(&study.runs.builds.to_string(), "build"),
        counted(&range(n_processes()), "process")
    )];
    if most == 1 {
        sentences
            .push("With one process of each variant, intervals hold what varies within a process alone.".to_owned());
    } else if fewest < ENOUGH_PROCESSES {
        sentences.push(
            "So few processes tell a bootstrap too little of what differs between them, and intervals come out too narrow."
                .to_owned(),
        );
    }
    let precision = study.runs.precision;
    let n: usize = varying().map(|comparison| comparison.ratios().count()).sum();
    let n_wide: usize = varying().map(|comparison| comparison.n_wide(precision)).sum();
    sentences.push(match n_wide {
        0 => format!("Every interval of a ratio is within {} % of it.", precision * 100.0),
        wide => format!("Wider than {} % to either side are {wide} of {n} intervals of ratios.", precision * 100.0),
    });
    sentences
}

fn environments(directory: &Path, raw: &Raw) -> Result<Value, Trouble> {
    let mut found = Map::new();
    for machine in &raw.machines {
        let path = directory.join("env").join(format!("{machine}.json"));
        let value: Value = serde_json::from_str(&read_text(&path)?)
            .map_err(|error| Trouble::invalid("S0113", format!("no JSON: {error}")).in_file(&path))?;
        found.insert(machine.clone(), value);
    }
    Ok(found.into())
}

/// Hashes of all files of a study, inputs and outputs: what `out/MANIFEST.sha256` holds. A `paper.pdf` that could not be made
/// here counts as it lies there.
pub fn manifest(directory: &Path, generated: &Generated) -> Result<String, Trouble> {
    let mut hashes = BTreeMap::new();
    for path in inputs(directory)? {
        let bytes = std::fs::read(&path).map_err(|error| Trouble::io(&path, &error))?;
        let name = path.strip_prefix(directory).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        hashes.insert(name, sha256(&bytes));
    }
    for (name, bytes) in &generated.files {
        hashes.insert(format!("out/{name}"), sha256(bytes));
    }
    if let Ok(bytes) = std::fs::read(directory.join("out/paper.pdf")) {
        hashes.entry("out/paper.pdf".to_owned()).or_insert_with(|| sha256(&bytes));
    }
    Ok(hashes.into_iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect())
}

/// The files of a study that are not generated, in order.
pub(crate) fn inputs(directory: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_path_buf()];
    while let Some(below) = pending.pop() {
        let entries = std::fs::read_dir(&below).map_err(|error| Trouble::io(&below, &error))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() {
                // Generated, or left by Python.
                if name != "out" && !name.starts_with(['_', '.']) {
                    pending.push(path);
                }
            } else if !name.starts_with('.') && !name.ends_with(".part") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Writes `generated` below `out/` of `directory`, with its manifest, and removes what is no longer generated. The names of
/// files that changed.
///
/// Errors: the numbers do not follow from the samples as `expected.json` says (S0160); a file cannot be written.
pub fn write(directory: &Path, generated: &Generated) -> Result<Vec<String>, Trouble> {
    expect(directory, generated)?;
    let out = directory.join("out");
    let mut changed = Vec::new();
    let mut files = generated.files.clone();
    files.insert("MANIFEST.sha256".to_owned(), manifest(directory, generated)?.into_bytes());
    for (name, bytes) in &files {
        let path = out.join(name);
        if std::fs::read(&path).is_ok_and(|found| found == *bytes) {
            continue;
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| Trouble::io(parent, &error))?;
        }
        std::fs::write(&path, bytes).map_err(|error| Trouble::io(&path, &error))?;
        changed.push(name.clone());
    }
    for folder in ["figures", "tables"] {
        for path in std::fs::read_dir(out.join(folder)).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let name = format!("{folder}/{}", path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default());
            if !files.contains_key(&name) {
                std::fs::remove_file(&path).map_err(|error| Trouble::io(&path, &error))?;
                changed.push(name);
            }
        }
    }
    Ok(changed)
}

/// Compares with `expected.json`, or writes it when a complete study has none: the headline and what decides hypotheses, each
/// with a tolerance relative to its size.
fn expect(directory: &Path, generated: &Generated) -> Result<(), Trouble> {
    const TOLERANCE: f64 = 0.005;
    let path = directory.join("expected.json");
    let study = &generated.study;
    let stats = &generated.results.stats;
    if !path.exists() {
        if study.status == Status::Planned {
            return Ok(());
        }
        let hypotheses = study.hypothesis.iter().filter_map(|hypothesis| hypothesis.statistic.as_ref());
        let pointers: BTreeSet<&String> = hypotheses.chain([&study.headline.statistic]).collect();
        let found = pointers.into_iter().filter_map(|pointer| {
            Some((pointer.clone(), json!({ "value": statistic(stats, pointer)?.value, "tolerance": TOLERANCE })))
        });
        let mut text = serde_json::to_string_pretty(&found.collect::<Map<_, _>>()).unwrap_or_default();
        text.push('\n');
        return std::fs::write(&path, text).map_err(|error| Trouble::io(&path, &error));
    }
    let differ = differences(&read_text(&path)?, stats).map_err(|trouble| trouble.in_file(&path))?;
    if differ.is_empty() {
        return Ok(());
    }
    Err(Trouble::invalid("S0160", format!("the numbers no longer follow from the samples: {}", differ.join("; ")))
        .in_file(&path)
        .help("if samples were measured anew, remove expected.json and render again; otherwise the analysis changed"))
}

/// What `expected` says that `stats` does not.
fn differences(expected: &str, stats: &Value) -> Result<Vec<String>, Trouble> {
    let expected: Map<String, Value> = serde_json::from_str(expected)
        .map_err(|error| Trouble::invalid("S0113", format!("no JSON object: {error}")))?;
    let mut differ = Vec::new();
    for (pointer, entry) in &expected {
        let (Some(value), Some(tolerance)) = (entry["value"].as_f64(), entry["tolerance"].as_f64()) else {
            differ.push(format!("`{pointer}` has no value and tolerance"));
            continue;
        };
        match statistic(stats, pointer) {
            Some(found) if (found.value - value).abs() <= tolerance * value.abs() => {}
            Some(found) => differ.push(format!("`{pointer}` is {}, expected {value}", found.value)),
            None => differ.push(format!("`{pointer}` is missing")),
        }
    }
    Ok(differ)
}
