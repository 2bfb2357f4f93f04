//! Counts of outcomes, and the share of one of them.

use super::{estimate_json, grouped, key, title};
use crate::raw::{Raw, Record};
use crate::schema::{Count, Study};
use eutectic_measure::{Estimate, share_estimate};
use serde_json::{Map, Value, json};

/// The counts of a study.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Its name.
    pub name: String,
    /// The outcomes in declared order.
    pub outcomes: Vec<String>,
    /// What the share is called.
    pub share: String,
    /// The outcomes whose share together is estimated.
    pub hits: Vec<String>,
    /// True when the records are all that there is.
    pub census: bool,
    /// One row for each combination of levels.
    pub rows: Vec<CountsRow>,
}

/// The counts of one combination.
#[derive(Clone, Debug)]
pub struct CountsRow {
    /// Its name in `stats.json`.
    pub key: String,
    /// Its name in tables and figures.
    pub title: String,
    /// A count for each outcome.
    pub counts: Vec<u64>,
    /// Records that count in the share.
    pub n_hits: u64,
    /// Records that count in its whole.
    pub n: u64,
    /// The share with its interval.
    pub share: Estimate,
}

impl Counts {
    pub(super) fn of(study: &Study, count: &Count, raw: &Raw) -> Self {
        let outcomes = study.metrics[&count.metric].outcomes.clone();
        let rows = grouped(study, raw, &count.rows, &count.only)
            .into_iter()
            .map(|(levels, records)| {
                let title = title(study, &count.rows, &levels);
                CountsRow::of(key(&levels), title, &outcomes, count, &records)
            })
            .collect();
        Self {
            name: count.name.clone(),
            outcomes,
            share: count.share_label.clone().unwrap_or_else(|| count.share.join(" or ")),
            hits: count.share.clone(),
            census: count.census,
            rows,
        }
    }

    pub(super) fn json(&self) -> Value {
        let rows: Map<_, _> = self.rows.iter().map(|row| (row.key.clone(), row.json(&self.outcomes))).collect();
        let total = |at: usize| self.rows.iter().map(|row| row.counts[at]).sum::<u64>();
        let totals: Map<_, _> =
            self.outcomes.iter().enumerate().map(|(at, outcome)| (outcome.clone(), json!(total(at)))).collect();
        let (n_hits, n) = self.rows.iter().fold((0, 0), |(hits, n), row| (hits + row.n_hits, n + row.n));
        let all = json!({ "hits": n_hits, "n": n, "share": estimate_json(share(n_hits, n, self.census)) });
        json!({ "rows": rows, "totals": totals, "all": all, "n_rows": self.rows.len() })
    }
}

/// A share with its interval; of a census, one without width.
fn share(n_hits: u64, n: u64, census: bool) -> Estimate {
    let found = share_estimate(n_hits, n);
    if census { Estimate { low: found.value, high: found.value, ..found } } else { found }
}

impl CountsRow {
    fn of(key: String, title: String, outcomes: &[String], count: &Count, records: &[&Record]) -> Self {
        let found: Vec<String> = records.iter().filter_map(|record| record.text(&count.metric)).collect();
        let of = |outcome: &String| found.iter().filter(|found| *found == outcome).count() as u64;
        let counts: Vec<u64> = outcomes.iter().map(of).collect();
        let counted = outcomes.iter().zip(&counts).filter(|(outcome, _)| !count.apart.contains(outcome));
        let n = counted.map(|(_, n)| n).sum();
        let n_hits = count.share.iter().map(of).sum();
        Self { key, title, counts, n_hits, n, share: share(n_hits, n, count.census) }
    }

    fn json(&self, outcomes: &[String]) -> Value {
        let counts: Map<_, _> =
            outcomes.iter().zip(&self.counts).map(|(outcome, n)| (outcome.clone(), json!(n))).collect();
        json!({ "counts": counts, "hits": self.n_hits, "n": self.n, "share": estimate_json(self.share) })
    }
}
