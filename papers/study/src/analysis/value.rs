//! Values of a metric for combinations of levels, one column for each level of a factor.

use super::{grouped, key, title};
use crate::raw::Raw;
use crate::schema::{Level, Study, ValueTable};
use eutectic_measure::{median, quantile};
use serde_json::{Map, Value, json};

/// The values of a study.
#[derive(Clone, Debug)]
pub struct Values {
    /// Its name.
    pub name: String,
    /// What is shown, with its unit.
    pub metric: String,
    /// Levels of the columns, and what is shown for them.
    pub columns: Vec<(String, String)>,
    /// The rows.
    pub rows: Vec<ValuesRow>,
    /// Digits after the point.
    pub digits: usize,
}

/// The values of one combination.
#[derive(Clone, Debug)]
pub struct ValuesRow {
    /// Its name in `stats.json`.
    pub key: String,
    /// Its name in tables and figures.
    pub title: String,
    /// Its level of the first factor of the rows, for an axis of numbers.
    pub first_level: String,
    /// A cell for each column; none where nothing was measured.
    pub cells: Vec<Option<Cell>>,
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The median over records.
    pub value: f64,
    /// The least record.
    pub least: f64,
    /// The greatest record.
    pub greatest: f64,
    /// Number of records.
    pub n: usize,
}

impl Values {
    pub(super) fn of(study: &Study, table: &ValueTable, raw: &Raw) -> Self {
        let metric = &study.metrics[&table.metric];
        let factor = &study.factors[&table.columns];
        let levels: Vec<String> = factor.levels.iter().map(Level::to_string).collect();
        let rows = grouped(study, raw, &table.rows, &table.only).into_iter().map(|(chosen, records)| {
            let cell = |level: &String| {
                let of_level = records.iter().filter(|record| record.text(&table.columns).as_ref() == Some(level));
                let found: Vec<f64> =
                    of_level.flat_map(|record| record.samples(&table.metric)).map(|x| x * metric.scale).collect();
                let cell = Cell {
                    value: median(&found),
                    least: quantile(&found, 0.0),
                    greatest: quantile(&found, 1.0),
                    n: found.len(),
                };
                (!found.is_empty()).then_some(cell)
            };
            let cells: Vec<Option<Cell>> = levels.iter().map(cell).collect();
            let title = title(study, &table.rows, &chosen);
            ValuesRow { key: key(&chosen), title, first_level: chosen.first().cloned().unwrap_or_default(), cells }
        });
        let rows: Vec<ValuesRow> = rows.filter(|row| row.cells.iter().any(Option::is_some)).collect();
        // A level that was never measured, because `only` leaves it out, is no column.
        let used: Vec<usize> = (0..levels.len()).filter(|&at| rows.iter().any(|row| row.cells[at].is_some())).collect();
        let rows = rows
            .into_iter()
            .map(|row| ValuesRow { cells: used.iter().map(|&at| row.cells[at]).collect(), ..row })
            .collect();
        let columns = used.iter().map(|&at| (levels[at].clone(), factor.shown(&levels[at]).to_owned())).collect();
        Self { name: table.name.clone(), metric: metric.axis(), columns, rows, digits: table.digits }
    }

    pub(super) fn json(&self) -> Value {
        let rows: Map<_, _> = self.rows.iter().map(|row| (row.key.clone(), self.row_json(row))).collect();
        let columns = self.columns.iter().enumerate().map(|(at, (level, _))| (level.clone(), self.column_json(at)));
        json!({ "rows": rows, "columns": columns.collect::<Map<_, _>>(), "n_rows": self.rows.len() })
    }

    fn row_json(&self, row: &ValuesRow) -> Value {
        let cells = self.columns.iter().zip(&row.cells).filter_map(|((level, _), cell)| {
            let cell = (*cell)?;
            Some((level.clone(), json!({ "value": cell.value, "low": cell.least, "high": cell.greatest, "n": cell.n })))
        });
        cells.collect::<Map<_, _>>().into()
    }

    /// The sum of a column, and its rows that are below, at and above the first column.
    fn column_json(&self, at: usize) -> Value {
        let pairs = self.rows.iter().filter_map(|row| Some((row.cells[at]?.value, row.cells[0]?.value)));
        let pairs: Vec<(f64, f64)> = pairs.collect();
        let n = |holds: &dyn Fn(f64, f64) -> bool| pairs.iter().filter(|(value, first)| holds(*value, *first)).count();
        json!({
            "sum": self.rows.iter().filter_map(|row| row.cells[at]).map(|cell| cell.value).sum::<f64>(),
            "n": pairs.len(),
            "below_first": n(&|value, first| value < first),
            "same_as_first": n(&|value, first| value == first),
            "above_first": n(&|value, first| value > first),
        })
    }
}
