//! The statistics beside SciPy, statsmodels and NumPy: `reference.json`, which `reference.py` writes.

use eutectic_measure::{Estimate, Nested, holm, ratio_of_quantiles, share_estimate, warm_up_end};
use serde_json::Value;

const N_RESAMPLES: usize = 10_000;

fn reference() -> Value {
    serde_json::from_str(include_str!("reference.json")).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn one_process(samples: &Value) -> Nested {
    Nested { builds: vec![vec![numbers(samples)]] }
}

/// Two bootstraps draw different resamples: their ends may differ by a share of the width.
fn assert_near(found: Estimate, expected: &[f64], share: f64) {
    let tolerance = share * (expected[1] - expected[0]);
    let near = |a: f64, b: f64| (a - b).abs() <= tolerance;
    assert!(near(found.low, expected[0]) && near(found.high, expected[1]), "{found:?} against {expected:?}");
}

#[test]
fn the_interval_of_a_median_is_that_of_scipy() {
    let reference = &reference()["flat"];
    let found = one_process(&reference["samples"]).quantile(0.5, N_RESAMPLES, 1);
    assert_eq!(found.value, reference["median"].as_f64().expect("a number"));
    assert_near(found, &numbers(&reference["interval"]), 0.05);
}

#[test]
fn the_interval_of_a_ratio_of_medians_is_that_of_scipy() {
    let reference = &reference()["ratio"];
    let (slow, fast) = (one_process(&reference["slow"]), one_process(&reference["fast"]));
    let (value, resamples) = ratio_of_quantiles(&slow, &fast, false, 0.5, N_RESAMPLES, 1);
    assert!((value - reference["ratio"].as_f64().expect("a number")).abs() < 1e-12);
    assert_near(Estimate::of(value, &resamples), &numbers(&reference["interval"]), 0.05);
}

#[test]
fn the_interval_of_nested_samples_is_that_of_an_independent_program() {
    let reference = &reference()["nested"];
    let builds = reference["builds"].as_array().expect("builds").iter();
    let builds = builds.map(|build| build.as_array().expect("processes").iter().map(numbers).collect()).collect();
    let nested = Nested { builds };
    assert_near(nested.quantile(0.5, N_RESAMPLES, 1), &numbers(&reference["interval"]), 0.05);
    let (spread, expected) = (nested.spread(), &reference["spread"]);
    for (name, found) in [("builds", spread.builds), ("processes", spread.processes), ("iterations", spread.iterations)]
    {
        let expected = expected[name].as_f64().expect("a number");
        assert!((found.expect("several members") - expected).abs() < 1e-9, "{name}: {found:?} against {expected}");
    }
}

#[test]
fn adjusted_p_values_are_those_of_statsmodels() {
    let reference = &reference()["holm"];
    let found = holm(&numbers(&reference["p"]));
    let expected = numbers(&reference["adjusted"]);
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?} against {expected:?}");
}

#[test]
fn shares_have_the_interval_of_statsmodels() {
    for case in reference()["shares"].as_array().expect("cases").iter().map(numbers) {
        let found = share_estimate(case[0] as u64, case[1] as u64);
        assert!(
            (found.low - case[2]).abs() < 1e-12 && (found.high - case[3]).abs() < 1e-12,
            "{found:?} against {case:?}"
        );
    }
}

#[test]
fn warm_up_ends_where_the_rule_says_by_its_definition() {
    for series in reference()["warm_up"].as_array().expect("series") {
        let samples = numbers(&series["samples"]);
        let expected = series["end"].as_u64().expect("a number") as usize;
        let expected = (expected < samples.len() / 2).then_some(expected);
        assert_eq!(warm_up_end(&samples), expected);
    }
}
