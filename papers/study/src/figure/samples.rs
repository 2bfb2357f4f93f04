//! Samples themselves: their distribution, and their course over time.

use super::canvas::{Canvas, GRID, WIDTH, style};
use super::scale::Scale;
use super::{counted, csv_cell, csv_number, range};
use crate::analysis::{Comparison, Group};
use crate::schema::Figure;

const HEIGHT: f64 = 210.0;
const LEFT: f64 = 50.0;

/// Empirical distributions of one group: the picture, its data, and its method.
pub(super) fn ecdf(figure: &Figure, comparison: &Comparison, group: &Group) -> (String, String, String) {
    let mut canvas = Canvas::new(HEIGHT);
    let names: Vec<String> = group.variants.iter().map(|variant| variant.title.clone()).collect();
    let top = lines_legend(&mut canvas, &names);
    let bottom = HEIGHT - 34.0;
    let all = || group.variants.iter().flat_map(|variant| variant.steady.pooled());
    let x = Scale::over(all(), figure.log, LEFT, WIDTH - 10.0);
    let y = Scale::over([0.0, 1.0].into_iter(), false, bottom, top);
    x.draw_horizontally(&mut canvas, bottom, top, figure.x.as_deref().unwrap_or(&comparison.metric));
    y.draw_vertically(&mut canvas, LEFT, WIDTH - 10.0, 12.0, figure.y.as_deref().unwrap_or("share of samples"));
    let mut csv = "variant,sample,share\n".to_owned();
    for (at, variant) in group.variants.iter().enumerate() {
        let mut sorted = variant.steady.pooled();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len() as f64;
        let mut steps = vec![(x.place(sorted.first().copied().unwrap_or(0.0)), y.place(0.0))];
        for (rank, sample) in sorted.iter().enumerate() {
            let (before, after) = (rank as f64 / n, (rank + 1) as f64 / n);
            steps.extend([(x.place(*sample), y.place(before)), (x.place(*sample), y.place(after))]);
            csv.push_str(&format!("{},{},{}\n", csv_cell(&variant.level), csv_number(*sample), csv_number(after)));
        }
        canvas.path(&steps, style(at).color, 1.3, style(at).dash);
    }
    let samples = counted(&range(group.variants.iter().map(|variant| variant.n_samples())), "sample");
    let method = format!("Empirical distribution of {}; n = {samples} a curve, all processes together.", group.title);
    (canvas.finish(&figure.caption), csv, method)
}

/// The samples of one group in the order in which they were taken: the picture, its data, and its method.
pub(super) fn time_series(figure: &Figure, comparison: &Comparison, group: &Group) -> (String, String, String) {
    let mut canvas = Canvas::new(HEIGHT);
    let names: Vec<String> = group.variants.iter().map(|variant| variant.title.clone()).collect();
    let top = lines_legend(&mut canvas, &names);
    let bottom = HEIGHT - 34.0;
    let all = group.variants.iter().flat_map(|variant| variant.series.iter().flatten().copied());
    let longest =
        group.variants.iter().map(|variant| variant.series.iter().map(Vec::len).sum::<usize>()).max().unwrap_or(1);
    let x = Scale::over([0.0, longest as f64].into_iter(), false, LEFT, WIDTH - 10.0);
    let y = Scale::over(all, figure.log, bottom, top);
    x.draw_horizontally(
        &mut canvas,
        bottom,
        top,
        figure.x.as_deref().unwrap_or("sample, in the order in which it was taken"),
    );
    y.draw_vertically(&mut canvas, LEFT, WIDTH - 10.0, 12.0, figure.y.as_deref().unwrap_or(&comparison.metric));
    let mut csv = "variant,process,sample,value\n".to_owned();
    for (at, variant) in group.variants.iter().enumerate() {
        let mut position = 0;
        for (process, samples) in variant.series.iter().enumerate() {
            if at == 0 && process > 0 {
                let border = x.place(position as f64 - 0.5);
                canvas.line((border, top), (border, bottom), GRID, 1.0, "2 2");
            }
            let mut points = Vec::new();
            for (sample, value) in samples.iter().enumerate() {
                points.push((x.place(position as f64), y.place(*value)));
                csv.push_str(&format!("{},{process},{sample},{}\n", csv_cell(&variant.level), csv_number(*value)));
                position += 1;
            }
            canvas.path(&points, style(at).color, 0.6, style(at).dash);
            points.iter().for_each(|point| canvas.mark(*point, style(at), 1.2));
        }
    }
    let processes = range(group.variants.iter().map(|variant| variant.series.len()));
    let borders = if processes == "1" { "" } else { ", dashed lines between processes" };
    let method = format!(
        "Samples of {} in the order in which they were taken, warm-up included; {}{borders}.",
        group.title,
        counted(&processes, "process")
    );
    (canvas.finish(&figure.caption), csv, method)
}

/// A legend of lines; the top of what follows.
pub(super) fn lines_legend(canvas: &mut Canvas, names: &[String]) -> f64 {
    canvas.legend(names, &mut |canvas, at, (x, y)| {
        canvas.line((x - 7.0, y), (x + 9.0, y), style(at).color, 1.3, style(at).dash);
        canvas.mark((x + 1.0, y), style(at), 2.2);
    }) + 4.0
}
