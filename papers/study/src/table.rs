//! Tables: CSV with all digits, and rows as people read them for LaTeX, HTML and the paper.

use crate::analysis::{Comparison, Counts, RESAMPLES, Results, Values, Variation, verdict_name};
use crate::figure::{csv_cell, csv_number, numbers_of, range, repeats};
use eutectic_measure::Estimate;
use serde_json::{Value, json};

/// A table of one analysis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    /// Its name, that of the analysis.
    pub name: String,
    /// What the numbers are.
    pub caption: String,
    /// Names of columns; the first is of text, the others of numbers.
    pub header: Vec<String>,
    /// Cells as people read them.
    pub rows: Vec<Vec<String>>,
    /// The same and more, with all digits.
    pub csv: String,
}

/// The table of each analysis.
pub(crate) fn tables(results: &Results) -> Vec<Table> {
    let comparisons = results.comparisons.iter().map(of_comparison);
    comparisons.chain(results.counts.iter().map(of_counts)).chain(results.values.iter().map(of_values)).collect()
}

/// Groups from which on the variants of a comparison stand side by side: a row for each ratio would fill pages.
const MANY_GROUPS: usize = 20;

fn of_comparison(comparison: &Comparison) -> Table {
    let mut levels: Vec<(String, String)> = Vec::new();
    for variant in comparison.groups.iter().flat_map(|group| &group.variants) {
        if variant.level != comparison.base && !levels.iter().any(|(level, _)| *level == variant.level) {
            levels.push((variant.level.clone(), variant.title.clone()));
        }
    }
    let table = one_by_one(comparison);
    if comparison.groups.len() < MANY_GROUPS || levels.len() < 2 {
        table
    } else {
        side_by_side(comparison, &levels, table)
    }
}

/// `table` with a row for each group and a column for the ratio to each level.
fn side_by_side(comparison: &Comparison, levels: &[(String, String)], table: Table) -> Table {
    let mut header = vec![String::new(), "base".to_owned()];
    header.extend(levels.iter().map(|(_, title)| title.clone()));
    let rows = comparison.groups.iter().map(|group| {
        let base = group.variants.iter().find(|variant| variant.level == comparison.base);
        let mut row = vec![group.title.clone()];
        row.push(base.map_or(String::new(), |variant| significant(variant.quantiles[0].value)));
        row.extend(levels.iter().map(|(level, _)| {
            let ratio = group.ratios.iter().find(|ratio| ratio.level == *level).map(|ratio| ratio.ratio);
            match ratio {
                Some(found) if found.low < found.high => {
                    format!("{:.2} ({:.2} to {:.2})", found.value, found.low, found.high)
                }
                Some(found) => format!("{:.2}", found.value),
                None => "–".to_owned(),
            }
        }));
        row
    });
    let caption =
        format!("{} Under each variant stands its ratio, with the 95 % interval where it varies.", about(comparison));
    Table { header, rows: rows.collect(), caption, ..table }
}

/// The smallest p that tables tell from others.
const SMALLEST_P: f64 = 0.001;

/// A row for each ratio.
fn one_by_one(comparison: &Comparison) -> Table {
    let varies = comparison.variation() != Variation::None;
    let in_doubt: &[&str] = if varies { &["95 % interval", "p (Holm)"] } else { &[] };
    let header = ["", "base", "variant", "ratio"].iter().chain(in_doubt).chain(&["verdict"]);
    let header = header.map(|name| (*name).to_owned()).collect();
    let mut rows = Vec::new();
    for group in &comparison.groups {
        let median = |level: &str| {
            group.variants.iter().find(|variant| variant.level == level).map(|variant| variant.quantiles[0].value)
        };
        let many = group.ratios.len() > 1;
        for ratio in &group.ratios {
            let title = group
                .variants
                .iter()
                .find(|variant| variant.level == ratio.level)
                .map_or("", |variant| variant.title.as_str());
            let mut row = vec![
                if many { format!("{}: {title}", group.title) } else { group.title.clone() },
                median(&comparison.base).map_or(String::new(), significant),
                median(&ratio.level).map_or(String::new(), significant),
                format!("{:.3}", ratio.ratio.value),
            ];
            if varies {
                row.push(format!("{:.3} to {:.3}", ratio.ratio.low, ratio.ratio.high));
                row.push(match ratio.p {
                    Some(p) if p < SMALLEST_P => format!("< {SMALLEST_P}"),
                    Some(p) => format!("{p:.3}"),
                    None => "–".to_owned(),
                });
            }
            row.push(verdict_name(ratio.verdict).to_owned());
            rows.push(row);
        }
    }
    let mut caption = about(comparison);
    let n = comparison.ratios().filter(|ratio| ratio.p.is_some()).count();
    let least = (2 * n) as f64 / (1 + RESAMPLES) as f64;
    if least >= SMALLEST_P {
        caption.push_str(&format!(
            " p is adjusted after Holm over {n} ratios; {RESAMPLES} resamples resolve none below {least:.3}."
        ));
    }
    Table { name: comparison.name.clone(), caption, header, rows, csv: csv_of(comparison) }
}

/// What the numbers of a comparison are.
fn about(comparison: &Comparison) -> String {
    let base = comparison.variants().find(|variant| variant.level == comparison.base);
    let base = base.map_or("", |variant| variant.title.as_str());
    let (metric, n) = (&comparison.metric, numbers_of(comparison));
    let threshold = comparison.threshold * 100.0;
    format!(
        "Medians of {metric}; the base is {base}, a ratio is the base over the variant, the threshold of verdicts {threshold} %; {n}."
    )
}

/// Everything that is known of the samples, a row for each variant.
fn csv_of(comparison: &Comparison) -> String {
    let mut csv =
        "group,variant,builds,processes,samples,warm_up,unsteady,median,median_low,median_high,p95,p95_low,p95_high,\
                   p99,p99_low,p99_high,deviation_builds,deviation_processes,deviation_iterations\n"
            .to_owned();
    for (group, variant) in
        comparison.groups.iter().flat_map(|group| group.variants.iter().map(move |one| (group, one)))
    {
        let counts = [variant.steady.builds.len(), variant.series.len(), variant.n_samples()];
        let counts = counts.into_iter().chain([variant.n_warm_up, variant.n_unsteady]).map(|n| n.to_string());
        let quantiles = variant.quantiles.iter().flat_map(|found| [found.value, found.low, found.high]).map(csv_number);
        let spread = variant.steady.spread();
        let spread =
            [spread.builds, spread.processes, spread.iterations].map(|found| found.map_or(String::new(), csv_number));
        let names = [&group.title, &variant.level].map(|name| csv_cell(name));
        let cells: Vec<String> = names.into_iter().chain(counts).chain(quantiles).chain(spread).collect();
        csv.push_str(&cells.join(","));
        csv.push('\n');
    }
    csv
}

fn of_counts(counts: &Counts) -> Table {
    let used: Vec<usize> =
        (0..counts.outcomes.len()).filter(|&at| counts.rows.iter().any(|row| row.counts[at] > 0)).collect();
    let names = used.iter().map(|&at| counts.outcomes[at].clone());
    let share = format!("share of {}", counts.share);
    let interval = (!counts.census).then(|| "95 % interval".to_owned());
    let header = [String::new()].into_iter().chain(names).chain([share.clone()]).chain(interval).collect();
    let rows = counts.rows.iter().map(|row| {
        let cells = used.iter().map(|&at| row.counts[at].to_string());
        let Estimate { value, low, high } = row.share;
        let interval = (!counts.census).then(|| format!("{:.1} to {}", low * 100.0, percent(high)));
        [row.title.clone()].into_iter().chain(cells).chain([percent(value)]).chain(interval).collect()
    });
    let names: Vec<String> = counts.outcomes.iter().map(|outcome| csv_cell(outcome)).collect();
    let mut csv = format!("row,{},whole,share,low,high\n", names.join(","));
    for row in &counts.rows {
        let cells: Vec<String> = row.counts.iter().map(u64::to_string).collect();
        let share = [row.share.value, row.share.low, row.share.high].map(csv_number).join(",");
        csv.push_str(&format!("{},{},{},{share}\n", csv_cell(&row.title), cells.join(","), row.n));
    }
    let n = range(counts.rows.iter().map(|row| row.n as usize));
    let method = if counts.census { "among all that there are" } else { "with its interval after Wilson" };
    let caption = format!("Outcomes, and the {share} {method}; n = {n} in each row.");
    Table { name: counts.name.clone(), caption, header, rows: rows.collect(), csv }
}

fn of_values(values: &Values) -> Table {
    let header = [String::new()].into_iter().chain(values.columns.iter().map(|(_, title)| title.clone())).collect();
    let digits = values.digits;
    let rows = values.rows.iter().map(|row| {
        let cells =
            row.cells.iter().map(|cell| cell.map_or("–".to_owned(), |cell| format!("{:.digits$}", cell.value)));
        [row.title.clone()].into_iter().chain(cells).collect()
    });
    let columns: Vec<String> = values.columns.iter().map(|(level, _)| csv_cell(level)).collect();
    let mut csv = "row,column,median,least,greatest,n\n".to_owned();
    for row in &values.rows {
        for (column, cell) in columns.iter().zip(&row.cells) {
            let Some(cell) = cell else { continue };
            let numbers = [cell.value, cell.least, cell.greatest].map(csv_number).join(",");
            csv.push_str(&format!("{},{column},{numbers},{}\n", csv_cell(&row.title), cell.n));
        }
    }
    Table {
        name: values.name.clone(),
        caption: match repeats(values) {
            Some(n) => format!("Values: {}; medians, {n} each.", values.metric),
            None => format!("Values: {}, one each.", values.metric),
        },
        header,
        rows: rows.collect(),
        csv,
    }
}

fn percent(share: f64) -> String {
    // A line must not end between a number and its unit.
    format!("{:.1}\u{a0}%", share * 100.0)
}

/// Four significant digits.
fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 9) as usize;
    format!("{value:.digits$}")
}

impl Table {
    /// The rows as JSON, for the paper.
    pub(crate) fn json(&self) -> Value {
        json!({ "caption": self.caption, "header": self.header, "rows": self.rows })
    }

    /// The rows in LaTeX, for papers that are set elsewhere; needs the package booktabs.
    pub(crate) fn latex(&self) -> String {
        let columns = format!("l{}", "r".repeat(self.header.len().saturating_sub(1)));
        let line = |cells: &[String]| {
            format!("{} \\\\\n", cells.iter().map(|cell| latex(cell)).collect::<Vec<_>>().join(" & "))
        };
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!(
            "\\begin{{tabular}}{{{columns}}}\n\\toprule\n{}\\midrule\n{rows}\\bottomrule\n\\end{{tabular}}\n",
            line(&self.header)
        )
    }
}

fn latex(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' => escaped.push_str("$<$"),
            '>' => escaped.push_str("$>$"),
            '\u{a0}' => escaped.push('~'),
            '–' => escaped.push_str("--"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Group, RatioOf, Variant};
    use eutectic_measure::Nested;

    /// A comparison of `levels` with the base `a` in `n` groups.
    fn comparison(n: usize, levels: &[&str]) -> Comparison {
        let estimate = |value: f64| Estimate { value, low: value, high: value };
        let variant = |level: &str| Variant {
            level: level.into(),
            title: level.to_uppercase(),
            steady: Nested { builds: vec![vec![vec![2.0]]] },
            series: vec![vec![2.0]],
            n_warm_up: 0,
            n_unsteady: 0,
            quantiles: [estimate(2.0); 3],
        };
        let group = |at: usize| Group {
            key: at.to_string(),
            title: format!("row {at}"),
            variants: std::iter::once("a").chain(levels.iter().copied()).map(variant).collect(),
            ratios: levels.iter().map(|level| RatioOf::exactly(level, 1.0)).collect(),
            control: None,
        };
        Comparison {
            name: "c".into(),
            metric: "time".into(),
            base: "a".into(),
            threshold: 0.02,
            groups: (0..n).map(group).collect(),
            summary: Vec::new(),
        }
    }

    #[test]
    fn variants_stand_side_by_side_where_there_are_many_groups() {
        assert_eq!(of_comparison(&comparison(2, &["b", "c"])).rows.len(), 4);
        assert_eq!(of_comparison(&comparison(30, &["b"])).rows.len(), 30);
        let table = of_comparison(&comparison(30, &["b", "c"]));
        assert_eq!(table.header, ["", "base", "B", "C"]);
        assert_eq!(table.rows[29], ["row 29", "2.000", "1.00", "1.00"]);
    }

    #[test]
    fn latex_has_one_line_a_row_and_no_bare_special_character() {
        let table = Table {
            name: "t".into(),
            caption: String::new(),
            header: vec![String::new(), "a_b".into()],
            rows: vec![vec!["x & y".into(), "5 %".into()]],
            csv: String::new(),
        };
        let expected = "\\begin{tabular}{lr}\n\\toprule\n & a\\_b \\\\\n\\midrule\nx \\& y & 5 \\% \\\\\n\\bottomrule\n\\end{tabular}\n";
        assert_eq!(table.latex(), expected);
    }
}
