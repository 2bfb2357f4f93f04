//! Tables: CSV with all digits, and rows as people read them for LaTeX, HTML and the paper.

use crate::analysis::{Comparison, Counts, Results, Values};
use crate::figure::{csv_cell, csv_number};
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

fn of_comparison(comparison: &Comparison) -> Table {
    let header = ["", "base", "variant", "ratio", "95 % interval", "p (Holm)", "verdict"].map(str::to_owned).to_vec();
    let mut rows = Vec::new();
    let mut csv = "group,variant,builds,processes,samples,median,low,high,p95,p99,warm_up,unsteady\n".to_owned();
    for group in &comparison.groups {
        for variant in &group.variants {
            let [median, p95, p99] = variant.quantiles;
            let counts = [variant.steady.builds.len(), variant.series.len(), variant.n_samples()]
                .map(|n| n.to_string())
                .join(",");
            let numbers = [median.value, median.low, median.high, p95.value, p99.value].map(csv_number).join(",");
            let ends = format!("{},{}", variant.n_warm_up, variant.n_unsteady);
            csv.push_str(&format!(
                "{},{},{counts},{numbers},{ends}\n",
                csv_cell(&group.title),
                csv_cell(&variant.level)
            ));
        }
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
            let p = if ratio.p < 0.001 { "< 0.001".to_owned() } else { format!("{:.3}", ratio.p) };
            rows.push(vec![
                if many { format!("{}: {title}", group.title) } else { group.title.clone() },
                median(&comparison.base).map_or(String::new(), significant),
                median(&ratio.level).map_or(String::new(), significant),
                format!("{:.3}", ratio.ratio.value),
                format!("{:.3} to {:.3}", ratio.ratio.low, ratio.ratio.high),
                p,
                crate::analysis::verdict_name(ratio.verdict).to_owned(),
            ]);
        }
    }
    let mut variants = comparison.groups.iter().flat_map(|group| &group.variants);
    let base = variants.find(|variant| variant.level == comparison.base).map_or("", |variant| variant.title.as_str());
    let metric = &comparison.metric;
    let caption = format!("Medians of {metric}; the base is {base}, a ratio is the base over the variant.");
    Table { name: comparison.name.clone(), caption, header, rows, csv }
}

fn of_counts(counts: &Counts) -> Table {
    let used: Vec<usize> =
        (0..counts.outcomes.len()).filter(|&at| counts.rows.iter().any(|row| row.counts[at] > 0)).collect();
    let names = used.iter().map(|&at| counts.outcomes[at].clone());
    let share = format!("share of {}", counts.share);
    let header = [String::new()].into_iter().chain(names).chain([share.clone(), "95 % interval".to_owned()]).collect();
    let rows = counts.rows.iter().map(|row| {
        let cells = used.iter().map(|&at| row.counts[at].to_string());
        let Estimate { value, low, high } = row.share;
        let share = [percent(value), format!("{:.1} to {}", low * 100.0, percent(high))];
        [row.title.clone()].into_iter().chain(cells).chain(share).collect()
    });
    let names: Vec<String> = counts.outcomes.iter().map(|outcome| csv_cell(outcome)).collect();
    let mut csv = format!("row,{},whole,share,low,high\n", names.join(","));
    for row in &counts.rows {
        let cells: Vec<String> = row.counts.iter().map(u64::to_string).collect();
        let share = [row.share.value, row.share.low, row.share.high].map(csv_number).join(",");
        csv.push_str(&format!("{},{},{},{share}\n", csv_cell(&row.title), cells.join(","), row.n));
    }
    let caption = format!("Outcomes, and the {share} with its interval after Wilson.");
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
        caption: format!("Values: {}.", values.metric),
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
