//! What a reviewer would send a paper back for, as findings.

use crate::analysis::Outcome;
use crate::generate::Generated;
use crate::schema::{FigureKind, Study, Summary};
use crate::{Trouble, read_text, sha256};
use eutectic_ir::diag::{Diagnostic, Kind};
use eutectic_measure::Verdict;
use serde_json::Value;
use std::path::Path;

mod prose;

/// A kind of mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sin {
    /// A number in the prose beside a unit, typed by hand.
    TypedNumber,
    /// A figure or generated file that is not of this run.
    ForeignFigure,
    /// A hypothesis without an outcome.
    OpenHypothesis,
    /// A ratio without its base or its interval.
    BareRatio,
    /// A mean of ratios, or a geometric one without the ratios beside it.
    MeanOfRatios,
    /// An axis without a label.
    UnlabelledAxis,
    /// A line that joins categories.
    JoinedCategories,
    /// A claim on a backend whose tests were skipped.
    UntestedBackend,
    /// The same variant against itself differs: the measurement sees what is not there.
    FailedControl,
}

impl Sin {
    fn code(self) -> &'static str {
        match self {
            Sin::TypedNumber => "S0201",
            Sin::ForeignFigure => "S0202",
            Sin::OpenHypothesis => "S0203",
            Sin::BareRatio => "S0204",
            Sin::MeanOfRatios => "S0205",
            Sin::UnlabelledAxis => "S0206",
            Sin::JoinedCategories => "S0207",
            Sin::UntestedBackend => "S0208",
            Sin::FailedControl => "S0209",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Sin::TypedNumber => "refer to out/stats.json: #num, #percent, #estimate or #ratio",
            Sin::ForeignFigure => {
                "declare the figure in study.toml and show it with #plot; `eutectic study render` writes out/ anew"
            }
            Sin::OpenHypothesis => "give it `statistic`, `is` and `than`",
            Sin::BareRatio => "declare `base`, and show ratios with #ratio or #estimate",
            Sin::MeanOfRatios => "use `summary = \"geometric_mean\"` and show the table of all ratios with #data",
            Sin::UnlabelledAxis => "name the metric or factor with its unit, or give the figure `x` and `y`",
            Sin::JoinedCategories => "draw categories as `dots` or `bars`",
            Sin::UntestedBackend => "run the backend's tests there: `eutectic conformance --json`",
            Sin::FailedControl => "measure again on a quieter machine, or with more processes",
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub sin: Sin,
    /// What is wrong.
    pub message: String,
    /// The line of `paper.typ`, counted from 1, when it is there.
    pub line: Option<usize>,
}

impl Finding {
    fn new(sin: Sin, message: impl Into<String>) -> Self {
        Self { sin, message: message.into(), line: None }
    }

    /// As a diagnostic of the study in `directory`.
    pub fn diagnostic(&self, directory: &Path) -> Diagnostic {
        let file = if self.line.is_some() { "paper.typ" } else { "study.toml" };
        let line = self.line.map_or(String::new(), |line| format!("line {line}: "));
        let found = Diagnostic::error(Kind::Invalid, self.sin.code(), format!("{line}{}", self.message));
        found.in_file(directory.join(file)).help(self.sin.help())
    }
}

/// Everything that is wrong with a study. Errors: `paper.typ` cannot be read.
pub fn lint(directory: &Path, generated: &Generated) -> Result<Vec<Finding>, Trouble> {
    let text = read_text(&directory.join("paper.typ"))?;
    let study = &generated.study;
    let mut findings = prose::findings(&text, study);
    findings.extend(open_hypotheses(&generated.outcomes));
    findings.extend(of_ratios(study, &text));
    findings.extend(study.figure.iter().flat_map(|figure| of_figure(study, figure)));
    findings.extend(
        study.backends.iter().filter_map(|(backend, tests)| of_backend(directory, backend, &tests.conformance)),
    );
    for comparison in &generated.results.comparisons {
        for group in &comparison.groups {
            if let Some((control, verdict)) = group.control.filter(|(_, verdict)| *verdict != Verdict::Same) {
                let found = format!("{:.4} ({:.4} to {:.4})", control.value, control.low, control.high);
                let name = crate::analysis::verdict_name(verdict);
                let message =
                    format!("`{}`, {}: the base against itself is {name}, {found}", comparison.name, group.title);
                findings.push(Finding::new(Sin::FailedControl, message));
            }
        }
    }
    findings.extend(stale_files(directory, generated));
    findings.sort_by_key(|finding| (finding.sin, finding.line));
    Ok(findings)
}

fn open_hypotheses(outcomes: &[Outcome]) -> Vec<Finding> {
    let open = outcomes.iter().filter(|outcome| outcome.verdict.is_none());
    open.map(|outcome| Finding::new(Sin::OpenHypothesis, format!("{} has no outcome: {}", outcome.name, outcome.text)))
        .collect()
}

fn of_ratios(study: &Study, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for compare in &study.compare {
        if compare.base.is_none() {
            findings.push(Finding::new(
                Sin::BareRatio,
                format!("`{}` does not say what its ratios are relative to", compare.name),
            ));
        }
        let shown = text.contains(&format!("#data(\"{}\"", compare.name));
        match compare.summary {
            Summary::Mean => {
                let message =
                    format!("`{}` averages ratios: the result depends on which side is the base", compare.name);
                findings.push(Finding::new(Sin::MeanOfRatios, message));
            }
            Summary::GeometricMean if !shown => {
                let message = format!("`{}` is summarised, but its ratios are not shown one by one", compare.name);
                findings.push(Finding::new(Sin::MeanOfRatios, message));
            }
            Summary::None | Summary::GeometricMean => {}
        }
    }
    findings
}

fn of_figure(study: &Study, figure: &crate::schema::Figure) -> Vec<Finding> {
    let mut findings = Vec::new();
    let metric = study.compare.iter().find(|one| one.name == figure.from).map(|one| &one.metric);
    let metric = metric.or_else(|| study.value.iter().find(|one| one.name == figure.from).map(|one| &one.metric));
    let label = metric.and_then(|metric| study.metrics.get(metric)).map(|metric| metric.label.trim());
    let is_blank = |given: &Option<String>| given.as_ref().is_some_and(|given| given.trim().is_empty());
    let needs_metric = match figure.kind {
        FigureKind::Forest | FigureKind::Bars | FigureKind::Roofline => false,
        FigureKind::Ecdf | FigureKind::Dots | FigureKind::Waterfall => figure.x.is_none(),
        FigureKind::TimeSeries | FigureKind::Scaling => figure.y.is_none(),
    };
    if is_blank(&figure.x) || is_blank(&figure.y) || needs_metric && label.is_none_or(str::is_empty) {
        findings
            .push(Finding::new(Sin::UnlabelledAxis, format!("figure `{}` has an axis without a label", figure.name)));
    }
    if figure.kind == FigureKind::Scaling {
        let rows = study.value.iter().find(|one| one.name == figure.from).and_then(|one| one.rows.first());
        if !rows.and_then(|factor| study.factors.get(factor)).is_some_and(crate::schema::Factor::is_numeric) {
            let message = format!("figure `{}` joins levels that are no numbers by a line", figure.name);
            findings.push(Finding::new(Sin::JoinedCategories, message));
        }
    }
    findings
}

fn of_backend(directory: &Path, backend: &str, conformance: &str) -> Option<Finding> {
    let found = std::fs::read_to_string(directory.join(conformance)).ok();
    let found: Option<Value> = found.and_then(|text| serde_json::from_str(&text).ok());
    let passed = found.as_ref().and_then(|found| found["passed"].as_u64());
    match passed {
        Some(n) if n > 0 => None,
        Some(_) => {
            Some(Finding::new(Sin::UntestedBackend, format!("every test of the backend `{backend}` was skipped")))
        }
        None => Some(Finding::new(
            Sin::UntestedBackend,
            format!("`{conformance}` does not say how the tests of `{backend}` ended"),
        )),
    }
}

/// Generated files that lie in `out/` with other contents than this run gives.
fn stale_files(directory: &Path, generated: &Generated) -> Vec<Finding> {
    let is_stale = |name: &str, bytes: &[u8]| {
        std::fs::read(directory.join("out").join(name)).is_ok_and(|found| sha256(&found) != sha256(bytes))
    };
    let stale = generated.files.iter().filter(|(name, bytes)| is_stale(name, bytes));
    stale
        .map(|(name, _)| Finding::new(Sin::ForeignFigure, format!("out/{name} is not what the samples give")))
        .collect()
}
