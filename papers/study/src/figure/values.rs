//! Values of a table: as points, over a numeric factor, or step by step.

use super::canvas::{Anchor, Canvas, GRID, INK, WIDTH, fill, style, width_of};
use super::samples::lines_legend;
use super::scale::{Scale, shown};
use super::{csv_cell, csv_number, repeats};
use crate::analysis::Values;
use crate::schema::{Figure, Study};

const ROW: f64 = 15.0;
/// How far the marks of a row lie apart, from the first column to the last.
const SPREAD: f64 = 11.0;

fn data(values: &Values) -> String {
    let columns: Vec<String> = values.columns.iter().map(|(level, _)| csv_cell(level)).collect();
    let mut csv = format!("row,{}\n", columns.join(","));
    for row in &values.rows {
        let cells: Vec<String> =
            row.cells.iter().map(|cell| cell.map_or(String::new(), |cell| csv_number(cell.value))).collect();
        csv.push_str(&format!("{},{}\n", csv_cell(&row.title), cells.join(",")));
    }
    csv
}

fn finite(values: &Values) -> impl Iterator<Item = f64> + '_ {
    values.rows.iter().flat_map(|row| row.cells.iter().flatten().map(|cell| cell.value))
}

/// One row for each combination, one mark for each column.
pub(super) fn dots(figure: &Figure, values: &Values) -> (String, String, String) {
    let names: Vec<String> = values.columns.iter().map(|(_, title)| title.clone()).collect();
    let height = 66.0 + ROW * values.rows.len() as f64 + 13.0 * (names.len() / 4) as f64;
    let mut canvas = Canvas::new(height);
    let top = canvas.legend(&names, &mut |canvas, at, place| canvas.mark(place, style(at), 3.2)) + 4.0;
    let bottom = height - 34.0;
    let left = values.rows.iter().map(|row| width_of(&row.title)).fold(40.0, f64::max).min(WIDTH * 0.42) + 10.0;
    let scale = Scale::over(finite(values), figure.log, left, WIDTH - 12.0);
    scale.draw_horizontally(&mut canvas, bottom, top, figure.x.as_deref().unwrap_or(&values.metric));
    for (at, row) in values.rows.iter().enumerate() {
        let y = top + ROW * (at as f64 + 0.6);
        canvas.line((left, y), (WIDTH - 12.0, y), GRID, 0.4, "");
        canvas.text((left - 6.0, y + 3.0), Anchor::End, &row.title);
        for (column, cell) in row.cells.iter().enumerate() {
            if let Some(cell) = cell {
                // Equal values lie below each other, not on each other.
                let aside = (column as f64 - (row.cells.len() - 1) as f64 / 2.0) * SPREAD / row.cells.len() as f64;
                canvas.mark((scale.place(cell.value), y + aside), style(column), 2.6);
            }
        }
    }
    let method = match repeats(values) {
        Some(n) => format!("Medians; {n} for each point."),
        None => "One value for each point.".to_owned(),
    };
    (canvas.finish(&figure.caption), data(values), method)
}

/// Lines over the first factor of the rows, whose levels are numbers, both axes logarithmic; bars from the least to the
/// greatest record.
pub(super) fn scaling(study: &Study, figure: &Figure, values: &Values) -> (String, String, String) {
    const HEIGHT: f64 = 230.0;
    const LEFT: f64 = 54.0;
    let names: Vec<String> = values.columns.iter().map(|(_, title)| title.clone()).collect();
    let mut canvas = Canvas::new(HEIGHT);
    let top = lines_legend(&mut canvas, &names);
    let bottom = HEIGHT - 34.0;
    let at = |row: &crate::analysis::ValuesRow| row.first_level.parse::<f64>().ok();
    let x = Scale::over(values.rows.iter().filter_map(at), true, LEFT, WIDTH - 10.0);
    let ends =
        values.rows.iter().flat_map(|row| row.cells.iter().flatten().flat_map(|cell| [cell.least, cell.greatest]));
    let y = Scale::over(ends, true, bottom, top);
    let factor = study
        .value
        .iter()
        .find(|table| table.name == values.name)
        .and_then(|table| study.factors.get(table.rows.first()?));
    let label = factor.map_or(String::new(), |factor| match &factor.unit {
        Some(unit) => format!("{} in {unit}", factor.label),
        None => factor.label.clone(),
    });
    x.draw_horizontally(&mut canvas, bottom, top, figure.x.as_deref().unwrap_or(&label));
    y.draw_vertically(&mut canvas, LEFT, WIDTH - 10.0, 12.0, figure.y.as_deref().unwrap_or(&values.metric));
    for column in 0..values.columns.len() {
        let mut points = Vec::new();
        for row in &values.rows {
            let (Some(level), Some(cell)) = (at(row), row.cells[column]) else { continue };
            let place = (x.place(level), y.place(cell.value));
            canvas.line(
                (place.0, y.place(cell.least)),
                (place.0, y.place(cell.greatest)),
                style(column).color,
                0.8,
                "",
            );
            points.push(place);
        }
        canvas.path(&points, style(column).color, 1.2, style(column).dash);
        points.iter().for_each(|point| canvas.mark(*point, style(column), 3.0));
    }
    let what = match repeats(values) {
        Some(n) => format!("Medians, bars from the least to the greatest value; {n} for each point"),
        None => "One value for each point".to_owned(),
    };
    let method = format!("{what}; both axes are logarithmic.");
    (canvas.finish(&figure.caption), data(values), method)
}

/// The first row step by step: each column is a step that starts where the one before ended.
pub(super) fn waterfall(figure: &Figure, values: &Values) -> (String, String, String) {
    let wanted = values.rows.iter().find(|row| figure.group.as_ref().is_none_or(|group| row.key == *group));
    let cells: Vec<(usize, f64)> = wanted
        .map(|row| row.cells.iter().enumerate().filter_map(|(at, cell)| Some((at, (*cell)?.value))).collect())
        .unwrap_or_default();
    let height = 60.0 + ROW * cells.len() as f64;
    let mut canvas = Canvas::new(height);
    let (top, bottom) = (8.0, height - 34.0);
    let title = |at: usize| values.columns[at].1.as_str();
    let left = cells.iter().map(|(at, _)| width_of(title(*at))).fold(40.0, f64::max).min(WIDTH * 0.42) + 10.0;
    let scale = Scale::over(cells.iter().map(|(_, value)| *value).chain([0.0]), false, left, WIDTH - 60.0);
    scale.draw_horizontally(&mut canvas, bottom, top, figure.x.as_deref().unwrap_or(&values.metric));
    let mut before = 0.0;
    for (step, (at, value)) in cells.iter().enumerate() {
        let y = top + ROW * (step as f64 + 0.2);
        let (from, to) = (scale.place(f64::min(before, *value)), scale.place(f64::max(before, *value)));
        // The start is a whole, a fall is dark, a rise is light.
        let color = if step == 0 {
            fill(2)
        } else if *value <= before {
            fill(0)
        } else {
            fill(5)
        };
        canvas.rectangle((from, y), (to - from).max(0.8), ROW * 0.65, color);
        canvas.line((scale.place(*value), y), (scale.place(*value), y + ROW), INK, 0.5, "");
        canvas.text((left - 6.0, y + ROW * 0.5), Anchor::End, title(*at));
        let change = if step == 0 {
            shown(*value)
        } else {
            format!("{}{}", if *value > before { "+" } else { "" }, shown(value - before))
        };
        canvas.text((to + 5.0, y + ROW * 0.5), Anchor::Start, &change);
        before = *value;
    }
    (canvas.finish(&figure.caption), data(values), "Each step starts where the one before ended.".to_owned())
}
