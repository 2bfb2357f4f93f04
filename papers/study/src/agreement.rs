//! Whether two measurements of one study agree: a reproduction with what is published, or two machines.

use serde_json::Value;

/// How one ratio of a comparison compares.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// Comparison, group and variant.
    pub what: String,
    /// The published ratio with its interval.
    pub published: [f64; 3],
    /// The ratio found here; none when it was not measured.
    pub found: Option<f64>,
    /// True for a cell of a table of values, whose interval is from the least to the greatest record.
    pub is_value: bool,
    /// True when it lies inside the published interval.
    pub inside: bool,
    /// True when both are on the same side of 1; of a half, for a share; of the first of its row, for a value.
    pub same_sign: bool,
    /// True when the groups that lie above it are the same.
    pub same_rank: bool,
}

/// Every ratio of `published`, every share of its counts and every value against `found`: both are texts of `stats.json`.
pub fn agreements(published: &Value, found: &Value) -> Vec<Agreement> {
    let mut rows = Vec::new();
    for (name, comparison) in fields(&published["compare"]) {
        let pairs: Vec<(String, String)> = fields(&comparison["groups"])
            .flat_map(|(group, of)| fields(&of["ratios"]).map(move |(variant, _)| (group.clone(), variant.clone())))
            .collect();
        let of = |stats: &Value, (group, variant): &(String, String)| {
            stats["compare"][name]["groups"][group]["ratios"][variant].clone()
        };
        let value = |stats: &Value, pair: &(String, String)| of(stats, pair)["value"].as_f64();
        for pair in &pairs {
            let Some(published_value) = value(published, pair) else { continue };
            let here = value(found, pair);
            // The groups of the same variant that have a greater ratio.
            let above = |stats: &Value, own: f64| -> Vec<&(String, String)> {
                let both = pairs.iter().filter(|other| other.1 == pair.1 && value(found, other).is_some());
                both.filter(|other| value(stats, other).is_some_and(|value| value > own)).collect()
            };
            let same_rank = here.is_some_and(|here| above(published, published_value) == above(found, here));
            rows.push(row(format!("{name}, {}, {}", pair.0, pair.1), &of(published, pair), here, 1.0, same_rank));
        }
    }
    for (name, counts) in fields(&published["count"]) {
        for (key, of_row) in fields(&counts["rows"]) {
            let here = found["count"][name]["rows"][key]["share"]["value"].as_f64();
            // Shares have no side; half stands for one.
            rows.push(row(format!("{name}, {key}, share"), &of_row["share"], here, 0.5, here.is_some()));
        }
    }
    for (name, values) in fields(&published["value"]) {
        for (key, cells) in fields(&values["rows"]) {
            let here = &found["value"][name]["rows"][key];
            let first = |cells: &Value| fields(cells).next().and_then(|(_, cell)| cell["value"].as_f64());
            for (column, cell) in fields(cells) {
                let value = here[column]["value"].as_f64();
                let one = row(format!("{name}, {key}, {column}"), cell, value, f64::NAN, value.is_some());
                let side = |value: Option<f64>, first: Option<f64>| value.zip(first).map(|(a, b)| a.total_cmp(&b));
                let same_sign =
                    value.is_some() && side(cell["value"].as_f64(), first(cells)) == side(value, first(here));
                rows.push(Agreement { same_sign, is_value: true, ..one });
            }
        }
    }
    rows
}

fn row(what: String, published: &Value, found: Option<f64>, middle: f64, same_rank: bool) -> Agreement {
    let number = |name: &str| published[name].as_f64().unwrap_or(f64::NAN);
    let [value, low, high] = ["value", "low", "high"].map(number);
    let inside = found.is_some_and(|found| (low..=high).contains(&found));
    let same_sign = found.is_some_and(|found| (found >= middle) == (value >= middle));
    Agreement { what, published: [value, low, high], found, is_value: false, inside, same_sign, same_rank }
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stats(first: f64, second: f64) -> Value {
        let ratio =
            |value: f64| json!({ "ratios": { "new": { "value": value, "low": value - 0.1, "high": value + 0.1 } } });
        json!({ "compare": { "time": { "groups": { "a": ratio(first), "b": ratio(second) } } } })
    }

    #[test]
    fn agreement_is_judged_by_interval_sign_and_rank() {
        let rows = agreements(&stats(1.5, 1.2), &stats(1.55, 0.9));
        assert_eq!(
            rows.iter().map(|row| (row.inside, row.same_sign, row.same_rank)).collect::<Vec<_>>(),
            [(true, true, true), (false, false, true)]
        );
        let rows = agreements(&stats(1.5, 1.2), &stats(1.1, 1.3));
        assert!(rows.iter().all(|row| !row.same_rank && row.same_sign));
    }

    #[test]
    fn values_agree_within_their_range_and_on_their_side_of_the_first() {
        let stats = |after: f64| {
            let cell = |value: f64| json!({ "value": value, "low": value, "high": value });
            json!({ "value": { "kernels": { "rows": { "net": { "as-is": cell(10.0), "optimized": cell(after) } } } } })
        };
        let judged = |found: f64| {
            let rows = agreements(&stats(8.0), &stats(found));
            rows.iter().map(|row| (row.inside, row.same_sign)).collect::<Vec<_>>()
        };
        assert_eq!(judged(8.0), [(true, true), (true, true)]);
        assert_eq!(judged(9.0), [(true, true), (false, true)]);
        assert_eq!(judged(11.0), [(true, true), (false, false)]);
    }
}
