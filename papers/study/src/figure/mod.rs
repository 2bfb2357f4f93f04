//! Figures as SVG, each with the same data as CSV.

mod canvas;
mod counts;
mod ratios;
mod roofline;
mod samples;
mod scale;
mod values;

use crate::Trouble;
use crate::analysis::{Comparison, Group, RESAMPLES, Results, Values, Variant, Variation};
use crate::raw::Raw;
use crate::schema::{Figure, FigureKind, Study};

pub(crate) use canvas::escaped;

/// A figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawing {
    /// The picture.
    pub svg: String,
    /// What it shows.
    pub csv: String,
    /// The caption: what it shows, how many samples, by what method, on which machine.
    pub caption: String,
}

/// Draws `figure` from `results`. Errors: the analysis is of a kind that it cannot show (S0140), or has no such group (S0141).
pub fn draw(study: &Study, figure: &Figure, results: &Results, raw: &Raw) -> Result<Drawing, Trouble> {
    let comparison = results.comparisons.iter().find(|one| one.name == figure.from);
    let counts = results.counts.iter().find(|one| one.name == figure.from);
    let values = results.values.iter().find(|one| one.name == figure.from);
    let (svg, csv, method) = match (figure.kind, comparison, counts, values) {
        (FigureKind::Forest, Some(comparison), ..) => ratios::forest(figure, comparison),
        (FigureKind::Ecdf, Some(comparison), ..) => samples::ecdf(figure, comparison, group(figure, comparison)?),
        (FigureKind::TimeSeries, Some(comparison), ..) => {
            samples::time_series(figure, comparison, group(figure, comparison)?)
        }
        (FigureKind::Roofline, Some(comparison), ..) => roofline::roofline(study, figure, comparison, raw)?,
        (FigureKind::Bars, _, Some(counts), _) => counts::bars(figure, counts),
        (FigureKind::Dots, _, _, Some(values)) => values::dots(figure, values),
        (FigureKind::Scaling, _, _, Some(values)) => values::scaling(study, figure, values),
        (FigureKind::Waterfall, _, _, Some(values)) => values::waterfall(figure, values),
        _ => {
            let message = format!("figure `{}` cannot show `{}`", figure.name, figure.from);
            let help = "forest, ecdf, time_series and roofline show a `compare`, bars a `count`, the others a `value`";
            return Err(Trouble::invalid("S0140", message).help(help));
        }
    };
    let machines = raw.machines.join(", ");
    let caption = format!("{} {method} Machine: {machines}.", figure.caption.trim());
    Ok(Drawing { svg, csv, caption })
}

fn group<'a>(figure: &Figure, comparison: &'a Comparison) -> Result<&'a Group, Trouble> {
    let wanted = |group: &&Group| figure.group.as_ref().is_none_or(|name| group.key == *name);
    comparison.groups.iter().find(wanted).ok_or_else(|| {
        let known: Vec<&str> = comparison.groups.iter().map(|group| group.key.as_str()).collect();
        let message =
            format!("figure `{}` shows a group without samples; there are: {}", figure.name, known.join(", "));
        Trouble::invalid("S0141", message)
    })
}

/// How the ratios of a comparison and their intervals were made, for captions.
fn method_of(comparison: &Comparison) -> String {
    match comparison.variation() {
        Variation::None => "Ratios of medians, without intervals, as the samples of a variant do not differ".to_owned(),
        Variation::WithinProcesses => format!(
            "Ratios of medians with 95 % intervals of what varies within a process, by a bootstrap of {RESAMPLES} resamples"
        ),
        Variation::BetweenProcesses => {
            format!("Ratios of medians with 95 % intervals by a hierarchical bootstrap of {RESAMPLES} resamples")
        }
    }
}

/// How many samples each median of a comparison is of, for captions.
pub(crate) fn numbers_of(comparison: &Comparison) -> String {
    let samples = range(comparison.variants().map(Variant::n_samples));
    let processes = range(comparison.variants().map(|variant| variant.series.len()));
    format!("n = {} in {}", counted(&samples, "sample"), counted(&processes, "process"))
}

/// How many values each of a table is the median of, for captions; none where it is one.
pub(crate) fn repeats(values: &Values) -> Option<String> {
    let n = range(values.rows.iter().flat_map(|row| row.cells.iter().flatten().map(|cell| cell.n)));
    (n != "1").then(|| format!("n = {n}"))
}

/// The least and the greatest of some counts, as people write it.
pub(crate) fn range(counts: impl Iterator<Item = usize>) -> String {
    let counts: Vec<usize> = counts.collect();
    match (counts.iter().min(), counts.iter().max()) {
        (Some(least), Some(greatest)) if least == greatest => least.to_string(),
        (Some(least), Some(greatest)) => format!("{least} to {greatest}"),
        _ => "0".to_owned(),
    }
}

/// A count with its noun.
pub(crate) fn counted(count: &str, one: &str) -> String {
    let plural = if one.ends_with('s') { "es" } else { "s" };
    if count == "1" { format!("1 {one}") } else { format!("{count} {one}{plural}") }
}

/// A cell of CSV.
pub(crate) fn csv_cell(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// A number in CSV: nine significant digits, as in `stats.json`.
pub(crate) fn csv_number(value: f64) -> String {
    let rounded = format!("{value:.8e}").parse::<f64>().unwrap_or(value);
    rounded.to_string()
}
