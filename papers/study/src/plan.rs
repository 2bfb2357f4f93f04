//! `plan.lock`: the list of runs, made before measuring, so that nobody stops or repeats a run because of what it shows.

use crate::schema::{Level, Study};
use crate::{Trouble, read_text, sha256};
use eutectic_measure::Random;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The runs of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of the program that planned.
    pub tool: String,
    /// Seed of the order.
    pub seed: u64,
    /// Hash of everything in study.toml that decides what is run.
    pub design: String,
    /// The runs in the order in which they start.
    pub runs: Vec<Run>,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The name of its file.
    pub name: String,
    /// The level of each factor that the command takes.
    pub levels: BTreeMap<String, Level>,
    /// The build.
    pub build: usize,
    /// The process of that build.
    pub process: usize,
}

impl Serialize for Level {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Level::Number(number) if number.fract() == 0.0 => serializer.serialize_i64(*number as i64),
            Level::Number(number) => serializer.serialize_f64(*number),
            Level::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl Plan {
    /// The runs that `study` declares: rounds over all combinations, each in random order, so that a slow drift of the machine
    /// falls on all of them alike.
    pub fn of(study: &Study) -> Self {
        let combinations = combinations(study, &|name| study.factors[name].levels.clone());
        let most = study.runs.most_processes.unwrap_or(study.runs.processes).max(study.runs.processes);
        Self::rounds(study, &combinations, study.runs.builds, most)
    }

    /// A subset for a first try: one process of the levels of `kick_tires`, or of the first level of a factor.
    pub fn kick_tires(study: &Study) -> Self {
        let levels = |name: &str| {
            let all = &study.factors[name].levels;
            study.runs.kick_tires.get(name).cloned().unwrap_or_else(|| all.iter().take(1).cloned().collect())
        };
        Self::rounds(study, &combinations(study, &levels), 1, 1)
    }

    fn rounds(study: &Study, combinations: &[BTreeMap<String, Level>], n_builds: usize, n_processes: usize) -> Self {
        let mut random = Random::new(study.seed);
        let mut runs = Vec::new();
        for process in 0..n_processes {
            for build in 0..n_builds {
                for at in random.order(combinations.len()) {
                    let levels = combinations[at].clone();
                    let parts = levels.values().map(file_name).chain([format!("b{build}"), format!("p{process}")]);
                    runs.push(Run { name: parts.collect::<Vec<_>>().join("-"), levels, build, process });
                }
            }
        }
        Self { tool: env!("CARGO_PKG_VERSION").to_owned(), seed: study.seed, design: design(study), runs }
    }

    /// Reads `plan.lock` of `directory`, if it is there. Errors: it is of another design, or no plan.
    pub fn read(directory: &Path, study: &Study) -> Result<Option<Self>, Trouble> {
        let path = directory.join("plan.lock");
        if !path.exists() {
            return Ok(None);
        }
        let plan: Self = serde_json::from_str(&read_text(&path)?)
            .map_err(|error| Trouble::invalid("S0120", format!("no plan: {error}")).in_file(&path))?;
        if plan.design != design(study) {
            return Err(Trouble::invalid(
                "S0121",
                "the plan is of another design: factors or runs of study.toml changed",
            )
            .in_file(&path)
            .help(
                "a design is fixed before measuring: undo the change, or remove plan.lock and raw/ and measure again",
            ));
        }
        Ok(Some(plan))
    }

    /// The text of `plan.lock`.
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

fn combinations(study: &Study, levels: &dyn Fn(&str) -> Vec<Level>) -> Vec<BTreeMap<String, Level>> {
    study.runs.over.iter().fold(vec![BTreeMap::new()], |combinations, name| {
        let extended = combinations.iter().flat_map(|combination| {
            levels(name).into_iter().map(|level| {
                let mut combination = combination.clone();
                combination.insert(name.clone(), level);
                combination
            })
        });
        extended.collect()
    })
}

fn file_name(level: &Level) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '_' };
    level.to_string().chars().map(kept).collect()
}

/// Hash of what decides the runs. How results are analysed and drawn may change later without a new measurement.
fn design(study: &Study) -> String {
    let levels = |name: &String| format!("{name}={}", shown(&study.factors[name].levels));
    let models = study.models.iter().map(|(name, model)| format!("{name}={}", model.sha256));
    let runs = &study.runs;
    let parts = [runs.command.join("\u{1f}"), format!("{} {} {:?}", runs.builds, runs.processes, runs.most_processes)];
    let parts = parts.into_iter().chain(runs.over.iter().map(levels)).chain(models);
    sha256(parts.chain([study.seed.to_string()]).collect::<Vec<_>>().join("\n").as_bytes())
}

fn shown(levels: &[Level]) -> String {
    levels.iter().map(Level::to_string).collect::<Vec<_>>().join(",")
}
