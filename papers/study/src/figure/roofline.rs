//! Rooflines: how near a program comes to what its arithmetic intensity allows (Williams, Waterman and Patterson, CACM 2009).

use super::canvas::{Canvas, INK, WIDTH, style};
use super::samples::lines_legend;
use super::scale::Scale;
use super::{csv_cell, csv_number};
use crate::Trouble;
use crate::analysis::Comparison;
use crate::raw::{Raw, Record};
use crate::schema::{Ceiling, Compare, Figure, Study};
use eutectic_measure::median;
use std::collections::BTreeSet;

const HEIGHT: f64 = 240.0;
const LEFT: f64 = 54.0;

/// The picture, its data, and its method. Errors: `study.toml` does not say what device it is, or its ceilings were not measured
/// (S0142).
pub(super) fn roofline(
    study: &Study,
    figure: &Figure,
    comparison: &Comparison,
    raw: &Raw,
) -> Result<(String, String, String), Trouble> {
    let (Some(device), Some(compare)) =
        (&figure.roofline, study.compare.iter().find(|one| one.name == comparison.name))
    else {
        return Err(Trouble::invalid("S0142", format!("figure `{}` has no [figure.roofline]", figure.name)));
    };
    let ceiling = |of: &Ceiling| {
        ceiling(of, compare, raw).ok_or_else(|| {
            Trouble::invalid("S0142", format!("figure `{}` has no sample of the ceiling {of:?}", figure.name))
        })
    };
    let (peak, bandwidth) = (ceiling(&device.peak)?, ceiling(&device.bandwidth)?);
    let points = points(study, compare, comparison, raw, &device.operations, &device.bytes);
    let bound = |intensity: f64| (intensity * bandwidth).min(peak);
    let names: Vec<String> = comparison
        .groups
        .first()
        .map(|group| group.variants.iter().map(|variant| variant.title.clone()).collect())
        .unwrap_or_default();
    let mut canvas = Canvas::new(HEIGHT);
    let top = lines_legend(&mut canvas, &names);
    let bottom = HEIGHT - 34.0;
    let ridge = peak / bandwidth;
    let intensities: Vec<f64> = points.iter().map(|point| point.intensity).chain([ridge / 4.0, ridge * 4.0]).collect();
    let x = Scale::over(intensities.iter().copied(), true, LEFT, WIDTH - 10.0);
    let rates = points.iter().map(|point| point.rate).chain(intensities.iter().map(|intensity| bound(*intensity)));
    let y = Scale::over(rates, true, bottom, top);
    x.draw_horizontally(
        &mut canvas,
        bottom,
        top,
        figure.x.as_deref().unwrap_or("arithmetic intensity in operations a byte"),
    );
    y.draw_vertically(&mut canvas, LEFT, WIDTH - 10.0, 12.0, figure.y.as_deref().unwrap_or("operations a second"));
    let least = intensities.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = intensities.iter().copied().fold(0.0, f64::max);
    let roof: Vec<(f64, f64)> = [least, ridge, greatest].map(|at| (x.place(at), y.place(bound(at)))).to_vec();
    canvas.path(&roof, INK, 1.4, "");
    let mut csv = "group,variant,operations_per_byte,operations_per_second,share_of_bound\n".to_owned();
    for point in &points {
        canvas.mark((x.place(point.intensity), y.place(point.rate)), style(point.series), 3.0);
        let numbers = [point.intensity, point.rate, point.rate / bound(point.intensity)].map(csv_number).join(",");
        csv.push_str(&format!("{},{},{numbers}\n", csv_cell(&point.group), csv_cell(&point.variant)));
    }
    let n = points.iter().map(|point| point.group.as_str()).collect::<BTreeSet<_>>().len();
    let method =
        format!("The line is the roofline of {}; a point is a median time, n = {n} for each variant.", device.source);
    Ok((canvas.finish(&figure.caption), csv, method))
}

/// The ceiling, among records that are of no other level than the comparison wants.
fn ceiling(of: &Ceiling, compare: &Compare, raw: &Raw) -> Option<f64> {
    let metric = match of {
        Ceiling::Stated(number) => return Some(*number),
        Ceiling::Measured(metric) => metric,
    };
    let is_other = |record: &Record| {
        let mut others = compare.only.iter().filter(|(factor, _)| **factor != compare.of);
        others.any(|(factor, levels)| {
            record.text(factor).is_some_and(|found| levels.iter().all(|level| level.to_string() != found))
        })
    };
    let found: Vec<f64> =
        raw.records.iter().filter(|record| !is_other(record)).flat_map(|record| record.samples(metric)).collect();
    (!found.is_empty()).then(|| median(&found))
}

struct Point {
    group: String,
    variant: String,
    series: usize,
    intensity: f64,
    rate: f64,
}

fn points(
    study: &Study,
    compare: &Compare,
    comparison: &Comparison,
    raw: &Raw,
    operations: &str,
    bytes: &str,
) -> Vec<Point> {
    let scale = study.metrics[&compare.metric].scale;
    let mut points = Vec::new();
    for group in &comparison.groups {
        for (series, variant) in group.variants.iter().enumerate() {
            let of_variant = |record: &&Record| {
                if !record.is_among(&compare.only) {
                    return false;
                }
                let levels: Vec<String> = compare.within.iter().filter_map(|factor| record.text(factor)).collect();
                crate::analysis::key(&levels) == group.key
                    && record.text(&compare.of).as_deref() == Some(&variant.level)
            };
            let first = |metric: &str| {
                raw.records.iter().filter(of_variant).find_map(|record| record.samples(metric).first().copied())
            };
            let (Some(operations), Some(bytes)) = (first(operations), first(bytes)) else { continue };
            let seconds = variant.quantiles[0].value / scale;
            points.push(Point {
                group: group.title.clone(),
                variant: variant.level.clone(),
                series,
                intensity: operations / bytes,
                rate: operations / seconds,
            });
        }
    }
    points
}
