//! `study.toml`: what is asked, what is measured, and what is made of it. An unknown key is an error, so that a misspelt one
//! cannot silently change a study.

use crate::{Trouble, read_text};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A study, as its author declares it before measuring.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// Title of the paper.
    pub title: String,
    /// The question, as one sentence.
    pub question: String,
    /// Who answers for it.
    pub authors: Vec<String>,
    /// Date of the measurement, `YYYY-MM-DD`: the only date that appears in what is generated.
    pub date: String,
    /// How far it is.
    pub status: Status,
    /// The machine below `raw/` whose samples count; needed once there are several.
    pub machine: Option<String>,
    /// Seed of run order and resampling.
    pub seed: u64,
    /// Ratios within this share of 1 do not matter in practice.
    #[serde(default = "two_percent")]
    pub threshold: f64,
    /// The statistic that the index of all studies shows.
    pub headline: Headline,
    /// When the hypotheses were written; the paper says so.
    #[serde(default = "before_measuring")]
    pub declared: String,
    /// What was believed.
    #[serde(default)]
    pub hypothesis: Vec<Hypothesis>,
    /// What is varied. Every record has a level of each.
    #[serde(default)]
    pub factors: BTreeMap<String, Factor>,
    /// What is read off a record.
    #[serde(default)]
    pub metrics: BTreeMap<String, Metric>,
    /// Models that runs read, by their level of the factor `model`.
    #[serde(default)]
    pub models: BTreeMap<String, ModelFile>,
    /// Backends that the study makes claims about, with the outcome of their tests.
    #[serde(default)]
    pub backends: BTreeMap<String, BackendTests>,
    /// How samples are taken.
    pub runs: Runs,
    /// Comparisons of samples.
    #[serde(default)]
    pub compare: Vec<Compare>,
    /// Counts of outcomes.
    #[serde(default)]
    pub count: Vec<Count>,
    /// Values of a metric, side by side.
    #[serde(default)]
    pub value: Vec<ValueTable>,
    /// What is drawn.
    #[serde(default)]
    pub figure: Vec<Figure>,
}

fn before_measuring() -> String {
    "before measuring".to_owned()
}

fn two_percent() -> f64 {
    0.02
}

/// How far a study is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing is measured yet.
    Planned,
    /// Measured; the prose is not final.
    Working,
    /// Ready to be reviewed.
    Complete,
}

/// What the index shows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Headline {
    /// What the statistic says, with `{}` where it stands.
    pub text: String,
    /// A pointer into `out/stats.json`.
    pub statistic: String,
}

/// A statement that the measurement may refute.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hypothesis {
    /// A short name: H1.
    pub name: String,
    /// The statement.
    pub text: String,
    /// A pointer into `out/stats.json` to the number or estimate that decides.
    pub statistic: Option<String>,
    /// On which side of `than` the statistic is believed to be.
    pub is: Option<Relation>,
    /// The bound.
    pub than: Option<f64>,
}

/// A side of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// Greater.
    Above,
    /// Smaller.
    Below,
    /// Equal.
    Equal,
}

/// What is varied.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Factor {
    /// What tables and axes call it.
    pub label: String,
    /// Its levels in the order in which they are shown.
    pub levels: Vec<Level>,
    /// Unit of numeric levels.
    pub unit: Option<String>,
    /// What tables and figures show instead of a level.
    #[serde(default)]
    pub shown: BTreeMap<String, String>,
}

impl Factor {
    /// True when every level is a number, so that a line between levels means something.
    pub fn is_numeric(&self) -> bool {
        self.levels.iter().all(|level| matches!(level, Level::Number(_)))
    }

    /// What is shown for `level`.
    pub fn shown<'a>(&'a self, level: &'a str) -> &'a str {
        self.shown.get(level).map_or(level, String::as_str)
    }
}

/// A level of a factor.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Level {
    /// A number.
    Number(f64),
    /// A category.
    Text(String),
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Level::Number(number) => write!(f, "{number}"),
            Level::Text(text) => f.write_str(text),
        }
    }
}

/// What is read off a record.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// What tables and axes call it.
    pub label: String,
    /// The unit after scaling; empty for counts.
    #[serde(default)]
    pub unit: String,
    /// Recorded numbers times this are in `unit`.
    #[serde(default = "one")]
    pub scale: f64,
    /// Outcomes in the order in which they are shown, when the metric is one.
    #[serde(default)]
    pub outcomes: Vec<String>,
}

fn one() -> f64 {
    1.0
}

impl Metric {
    /// The label with its unit.
    pub fn axis(&self) -> String {
        if self.unit.is_empty() { self.label.clone() } else { format!("{} in {}", self.label, self.unit) }
    }
}

/// A model that runs read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// The file, from the study's directory.
    pub file: String,
    /// Its hash.
    pub sha256: String,
}

/// The outcome of a backend's tests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendTests {
    /// What `eutectic conformance --json` printed, as a file of the study's directory.
    pub conformance: String,
}

/// How samples are taken.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runs {
    /// The command of one run, started in the study's directory. `{out}` is the file that it writes its records to, one JSON
    /// object a line; `{seed}` differs for each run; `{process}` counts processes; `{name}` is the level of a
    /// factor. `eutectic` in front and `{eutectic}`
    /// elsewhere are the program that is measured.
    pub command: Vec<String>,
    /// Factors of which each combination of levels is a run; the others are varied inside a run.
    #[serde(default)]
    pub over: Vec<String>,
    /// Builds: preparations from nothing.
    #[serde(default = "once")]
    pub builds: usize,
    /// Processes of each build.
    #[serde(default = "once")]
    pub processes: usize,
    /// Processes of each build at most, when the intervals of ratios are still wider than `precision`.
    pub most_processes: Option<usize>,
    /// Half the width of an interval of a ratio, relative to the ratio, at which no more processes are needed.
    #[serde(default = "one_percent")]
    pub precision: f64,
    /// Seconds after which no further run starts.
    pub budget_seconds: Option<f64>,
    /// Seconds after which a run is ended and counts as failed.
    #[serde(default = "an_hour")]
    pub limit_seconds: f64,
    /// Levels of `--kick-tires`; factors that are not named keep their first level.
    #[serde(default)]
    pub kick_tires: BTreeMap<String, Vec<Level>>,
    /// What the samples hold and what they leave out, for the protocol of the paper.
    #[serde(default)]
    pub protocol: Vec<String>,
}

fn once() -> usize {
    1
}

fn one_percent() -> f64 {
    0.01
}

fn an_hour() -> f64 {
    3600.0
}

/// Ratios of a metric between two levels of a factor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// Its name.
    pub name: String,
    /// The metric: an array of samples or one number a record.
    pub metric: String,
    /// The factor whose levels are compared.
    pub of: String,
    /// The level that ratios are relative to: a ratio is the base over the other, so above 1 the other is faster.
    pub base: Option<String>,
    /// Factors of which every combination of levels is compared by itself.
    pub within: Vec<String>,
    /// Levels of other factors that count.
    #[serde(default)]
    pub only: BTreeMap<String, Vec<Level>>,
    /// Ratios within this share of 1 do not matter here; without it, the threshold of the study.
    pub threshold: Option<f64>,
    /// The quantile that is compared.
    #[serde(default = "half")]
    pub quantile: f64,
    /// One number over all groups.
    #[serde(default)]
    pub summary: Summary,
}

fn half() -> f64 {
    0.5
}

/// One number for many ratios.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Summary {
    /// No such number.
    #[default]
    None,
    /// The geometric mean, beside the ratio of each group.
    GeometricMean,
    /// The arithmetic mean, which depends on which side is the base: the lint refuses it.
    Mean,
}

/// Counts of outcomes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// Its name.
    pub name: String,
    /// The metric: one outcome a record.
    pub metric: String,
    /// Factors whose combinations of levels are the rows.
    pub rows: Vec<String>,
    /// Levels of other factors that count.
    #[serde(default)]
    pub only: BTreeMap<String, Vec<Level>>,
    /// The outcomes whose share together is estimated.
    pub share: Vec<String>,
    /// What the share is called; without it, its outcomes.
    pub share_label: Option<String>,
    /// Outcomes that do not count in the whole of the share, such as cases that were refused.
    #[serde(default)]
    pub apart: Vec<String>,
    /// True when the records are not a sample but all that there is: then a share has no interval.
    #[serde(default)]
    pub census: bool,
}

/// Values of a metric for combinations of levels.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueTable {
    /// Its name.
    pub name: String,
    /// The metric: one number a record.
    pub metric: String,
    /// Factors whose combinations of levels are the rows.
    pub rows: Vec<String>,
    /// The factor whose levels are the columns.
    pub columns: String,
    /// Levels of other factors that count.
    #[serde(default)]
    pub only: BTreeMap<String, Vec<Level>>,
    /// Digits after the point.
    #[serde(default)]
    pub digits: usize,
}

/// A drawing of an analysis.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Its name, and that of its files.
    pub name: String,
    /// How it is drawn.
    pub kind: FigureKind,
    /// The analysis.
    pub from: String,
    /// What it shows: the first sentence of its caption. Counts, method and machine are added.
    pub caption: String,
    /// Label of the horizontal axis; without it, that of the metric or factor.
    pub x: Option<String>,
    /// Label of the vertical axis.
    pub y: Option<String>,
    /// The one group that is drawn, where a figure has room for one.
    pub group: Option<String>,
    /// True for a logarithmic scale of values.
    #[serde(default)]
    pub log: bool,
    /// What a roofline needs.
    pub roofline: Option<Roofline>,
}

/// How something is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureKind {
    /// Ratios with their intervals, a row each.
    Forest,
    /// Empirical distribution of samples.
    Ecdf,
    /// Samples in the order in which they were taken.
    TimeSeries,
    /// Arithmetic rate over arithmetic intensity.
    Roofline,
    /// A value that changes step by step.
    Waterfall,
    /// Values over a numeric factor, both logarithmic.
    Scaling,
    /// Stacked counts, a row each.
    Bars,
    /// Values as points, a row each.
    Dots,
}

/// The device that a roofline is of, and the metrics that place a point.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roofline {
    /// Peak arithmetic rate, in operations a second.
    pub peak: Ceiling,
    /// Bandwidth of memory, in bytes a second.
    pub bandwidth: Ceiling,
    /// Where both are from.
    pub source: String,
    /// The metric of operations.
    pub operations: String,
    /// The metric of bytes.
    pub bytes: String,
}

/// The most that a device reaches.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Ceiling {
    /// As its maker states it.
    Stated(f64),
    /// The median of this metric, measured in the same study.
    Measured(String),
}

impl Study {
    /// Reads `study.toml` of `directory`. Errors: it cannot be read, is no such file, or names what it does not declare.
    pub fn read(directory: &Path) -> Result<Self, Trouble> {
        let path = directory.join("study.toml");
        let text = read_text(&path).map_err(|trouble| trouble.help("`eutectic study new NAME` begins a study"))?;
        let study: Self = toml::from_str(&text)
            .map_err(|error| Trouble::invalid("S0100", error.to_string().trim_end().to_owned()).in_file(&path))?;
        study.check().map_err(|trouble| trouble.in_file(&path))?;
        Ok(study)
    }

    /// Errors: an analysis or figure of something undeclared, all of them at once.
    fn check(&self) -> Result<(), Trouble> {
        let mut missing = Vec::new();
        let mut factor = |name: &str, of: &str| {
            if !self.factors.contains_key(name) {
                missing.push(format!("factor `{name}`, used by {of}"));
            }
        };
        self.runs.over.iter().for_each(|name| factor(name, "`runs.over`"));
        for (name, factors, only) in self.analyses() {
            factors.iter().chain(only.keys()).for_each(|used| factor(used, &format!("`{name}`")));
        }
        let metrics = self.compare.iter().map(|compare| (&compare.name, &compare.metric));
        let metrics = metrics.chain(self.count.iter().map(|count| (&count.name, &count.metric)));
        let metrics = metrics.chain(self.value.iter().map(|value| (&value.name, &value.metric)));
        for (name, metric) in metrics {
            if !self.metrics.contains_key(metric) {
                missing.push(format!("metric `{metric}`, used by `{name}`"));
            }
        }
        let known: Vec<&String> = self.analyses().into_iter().map(|(name, ..)| name).collect();
        for figure in self.figure.iter().filter(|figure| !known.contains(&&figure.from)) {
            missing.push(format!("analysis `{}`, used by figure `{}`", figure.from, figure.name));
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Trouble::invalid("S0101", format!("not declared: {}", missing.join("; "))))
    }

    /// Name, factors and restriction of each analysis.
    fn analyses(&self) -> Vec<(&String, Vec<String>, &BTreeMap<String, Vec<Level>>)> {
        let with = |factors: &[String], last: &str| [factors, &[last.to_owned()]].concat();
        let compare = self.compare.iter().map(|one| (&one.name, with(&one.within, &one.of), &one.only));
        let count = self.count.iter().map(|one| (&one.name, one.rows.clone(), &one.only));
        let value = self.value.iter().map(|one| (&one.name, with(&one.rows, &one.columns), &one.only));
        compare.chain(count).chain(value).collect()
    }
}
