//! Forest plots: ratios with their intervals, a row each.

use super::canvas::{Anchor, Canvas, GRID, INK, N_STYLES, WIDTH, style, width_of};
use super::scale::Scale;
use super::{csv_cell, csv_number, method_of, numbers_of};
use crate::analysis::Comparison;
use crate::schema::Figure;

/// Height of a row, and that of one among many, which leaves room on the page for a table.
const ROW: f64 = 15.0;
const NARROW: f64 = 12.0;
const MANY: usize = 20;

/// The picture, its data, and its method.
pub(super) fn forest(figure: &Figure, comparison: &Comparison) -> (String, String, String) {
    let mut levels: Vec<(String, String)> = Vec::new();
    for group in &comparison.groups {
        for variant in
            group.variants.iter().filter(|variant| group.ratios.iter().any(|ratio| ratio.level == variant.level))
        {
            if !levels.iter().any(|(level, _)| *level == variant.level) {
                levels.push((variant.level.clone(), variant.title.clone()));
            }
        }
    }
    // More levels than marks can tell apart: each row is named, below a row for its group.
    let is_named = levels.len() > N_STYLES;
    let ratios: usize = comparison.groups.iter().map(|group| group.ratios.len()).sum();
    let rows = ratios + if is_named { comparison.groups.len() } else { 0 };
    let row = if rows > MANY { NARROW } else { ROW };
    let in_legend = if is_named { &[] } else { levels.as_slice() };
    let height = 60.0 + row * rows as f64 + 13.0 * (in_legend.len() / 4) as f64;
    let mut canvas = Canvas::new(height);
    let names: Vec<String> = in_legend.iter().map(|(_, title)| title.clone()).collect();
    let top = canvas.legend(&names, &mut |canvas, at, place| canvas.mark(place, style(at), 3.0)) + 4.0;
    let bottom = height - 34.0;
    let labels = comparison.groups.iter().map(|group| &group.title).chain(levels.iter().map(|(_, title)| title));
    let left = labels.map(|label| width_of(label)).fold(40.0, f64::max).min(WIDTH * 0.42) + 10.0;
    let right = WIDTH - 96.0;
    let ends = comparison
        .groups
        .iter()
        .flat_map(|group| group.ratios.iter().flat_map(|ratio| [ratio.ratio.low, ratio.ratio.high]));
    let scale = Scale::over(ends.chain([1.0]), true, left, right);
    let label =
        figure.x.clone().unwrap_or_else(|| format!("ratio of medians, {} over variant (logarithmic)", comparison.base));
    scale.draw_horizontally(&mut canvas, bottom, top, &label);
    let (low, high) = (scale.place(1.0 / (1.0 + comparison.threshold)), scale.place(1.0 + comparison.threshold));
    canvas.rectangle((low.max(left), top), high.min(right) - low.max(left), bottom - top, "#eeeeee");
    canvas.line((scale.place(1.0), top), (scale.place(1.0), bottom), INK, 0.8, "3 2");
    let mut csv = "group,variant,ratio,low,high,p_holm,verdict,base_median,variant_median\n".to_owned();
    let mut y = top + row * 0.6;
    for group in &comparison.groups {
        if is_named {
            canvas.text((2.0, y + 3.0), Anchor::Start, &group.title);
            y += row;
        } else {
            canvas.text((left - 6.0, y + 3.0), Anchor::End, &group.title);
        }
        let median = |level: &str| {
            group
                .variants
                .iter()
                .find(|variant| variant.level == level)
                .map_or(f64::NAN, |variant| variant.quantiles[0].value)
        };
        for ratio in &group.ratios {
            let at = levels.iter().position(|(level, _)| *level == ratio.level).unwrap_or(0);
            let style = if is_named { style(0) } else { style(at) };
            if is_named {
                canvas.text((left - 6.0, y + 3.0), Anchor::End, &levels[at].1);
            }
            let estimate = ratio.ratio;
            canvas.line((scale.place(estimate.low), y), (scale.place(estimate.high), y), style.color, 1.2, "");
            canvas.mark((scale.place(estimate.value), y), style, 3.0);
            let verdict = crate::analysis::verdict_name(ratio.verdict);
            canvas.text((right + 6.0, y + 3.0), Anchor::Start, &format!("{:.3}  {verdict}", estimate.value));
            let p = ratio.p.map_or(String::new(), csv_number);
            let numbers = [estimate.value, estimate.low, estimate.high].map(csv_number).join(",");
            let medians = [median(&comparison.base), median(&ratio.level)].map(csv_number).join(",");
            csv.push_str(&format!(
                "{},{},{numbers},{p},{verdict},{medians}\n",
                csv_cell(&group.title),
                csv_cell(&ratio.level)
            ));
            y += row;
        }
        canvas.line((left, y - row * 0.5), (right, y - row * 0.5), GRID, 0.4, "");
    }
    let method = format!(
        "{}; {} for each point; the band is the threshold of {} %.",
        method_of(comparison),
        numbers_of(comparison),
        comparison.threshold * 100.0
    );
    (canvas.finish(&figure.caption), csv, method)
}
