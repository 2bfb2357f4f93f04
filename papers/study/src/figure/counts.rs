//! Stacked bars: the outcomes of each row.

use super::canvas::{Anchor, Canvas, WIDTH, width_of};
use super::csv_cell;
use super::scale::Scale;
use crate::analysis::Counts;
use crate::schema::Figure;

const ROW: f64 = 17.0;

/// The picture, its data, and its method.
pub(super) fn bars(figure: &Figure, counts: &Counts) -> (String, String, String) {
    let used: Vec<usize> =
        (0..counts.outcomes.len()).filter(|&at| counts.rows.iter().any(|row| row.counts[at] > 0)).collect();
    let names: Vec<String> = used.iter().map(|&at| counts.outcomes[at].clone()).collect();
    let height = 60.0 + ROW * counts.rows.len() as f64 + 13.0 * (names.len() / 4) as f64;
    let mut canvas = Canvas::new(height);
    let top = canvas.legend(&names, &mut |canvas, at, (x, y)| canvas.part((x - 7.0, y - 4.0), 16.0, 8.0, at)) + 4.0;
    let bottom = height - 34.0;
    let left = counts.rows.iter().map(|row| width_of(&row.title)).fold(40.0, f64::max).min(WIDTH * 0.4) + 10.0;
    let totals = counts.rows.iter().map(|row| row.counts.iter().sum::<u64>() as f64);
    let scale = Scale::over(totals.chain([0.0]), false, left, WIDTH - 40.0);
    scale.draw_horizontally(&mut canvas, bottom, top, figure.x.as_deref().unwrap_or("records"));
    let mut csv =
        format!("row,{}\n", counts.outcomes.iter().map(|outcome| csv_cell(outcome)).collect::<Vec<_>>().join(","));
    for (at, row) in counts.rows.iter().enumerate() {
        let y = top + ROW * (at as f64 + 0.15);
        canvas.text((left - 6.0, y + ROW * 0.5), Anchor::End, &row.title);
        let mut before = 0;
        for (part, &outcome) in used.iter().enumerate() {
            let n = row.counts[outcome];
            let (from, to) = (scale.place(before as f64), scale.place((before + n) as f64));
            if n > 0 {
                // A thin white edge divides parts that a printer shows alike.
                canvas.part((from, y), (to - from - 0.5).max(0.6), ROW * 0.7, part);
            }
            before += n;
        }
        canvas.text((scale.place(before as f64) + 4.0, y + ROW * 0.5), Anchor::Start, &row.n_hits.to_string());
        let cells: Vec<String> = row.counts.iter().map(u64::to_string).collect();
        csv.push_str(&format!("{},{}\n", csv_cell(&row.title), cells.join(",")));
    }
    let hits = counts.hits.join(", ");
    let hits = if counts.share == counts.hits.join(" or ") { hits } else { format!("{}: {hits}", counts.share) };
    let method = format!("Counts of outcomes; the number at the end of a bar counts {hits}.");
    (canvas.finish(&figure.caption), csv, method)
}
