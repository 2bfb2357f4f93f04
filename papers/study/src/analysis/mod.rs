//! From records to statistics: comparisons of samples, counts of outcomes, tables of values, and what becomes of each
//! hypothesis.

mod compare;
mod count;
mod outcome;
mod value;

pub use compare::{Comparison, Group, RatioOf, Variant};
pub(crate) use compare::{Variation, n_imprecise, verdict_name};
pub use count::{Counts, CountsRow};
pub use outcome::{Outcome, outcomes};
pub use value::{Cell, Values, ValuesRow};

use crate::raw::{Raw, Record};
use crate::schema::{Level, Study};
use crate::text::settled;
use eutectic_measure::Estimate;
use serde_json::{Map, Value, json};

/// Resamples of every bootstrap.
pub const RESAMPLES: usize = 10_000;

/// Everything that is computed from the records of a study.
#[derive(Clone, Debug)]
pub struct Results {
    /// Comparisons of samples.
    pub comparisons: Vec<Comparison>,
    /// Counts of outcomes.
    pub counts: Vec<Counts>,
    /// Tables of values.
    pub values: Vec<Values>,
    /// The same as JSON, with the outcome of each hypothesis: what prose refers to.
    pub stats: Value,
}

impl Results {
    /// Analyses `raw` as `study` declares.
    pub fn of(study: &Study, raw: &Raw) -> Self {
        let comparisons: Vec<_> = study.compare.iter().map(|one| Comparison::of(study, one, raw, RESAMPLES)).collect();
        let counts: Vec<_> = study.count.iter().map(|one| Counts::of(study, one, raw)).collect();
        let values: Vec<_> = study.value.iter().map(|one| Values::of(study, one, raw)).collect();
        let named = |parts: Vec<(&String, Value)>| -> Value {
            parts.into_iter().map(|(name, value)| (name.clone(), value)).collect::<Map<_, _>>().into()
        };
        let mut stats = json!({
            "raw": {
                "files": raw.provenance.len(),
                "records": raw.records.len(),
                "failures": raw.records.iter().filter(|record| record.failure().is_some()).count(),
                "machines": raw.machines,
            },
            "seed": study.seed,
            "resamples": RESAMPLES,
            "threshold": study.threshold,
            "compare": named(comparisons.iter().map(|one| (&one.name, one.json())).collect()),
            "count": named(counts.iter().map(|one| (&one.name, one.json())).collect()),
            "value": named(values.iter().map(|one| (&one.name, one.json())).collect()),
        });
        let outcomes = outcomes(study, &stats);
        stats["hypothesis"] =
            outcomes.iter().map(|outcome| (outcome.name.clone(), outcome.json())).collect::<Map<_, _>>().into();
        Self { comparisons, counts, values, stats: settled(&stats) }
    }
}

/// The number at `pointer`, whose first `/` may be left out, as an estimate; a plain number is an interval of no width.
pub fn statistic(stats: &Value, pointer: &str) -> Option<Estimate> {
    let value = stats.pointer(&format!("/{}", pointer.trim_start_matches('/')))?;
    let number = |value: &Value| value.as_f64();
    if let Some(value) = number(value) {
        return Some(Estimate { value, low: value, high: value });
    }
    Some(Estimate { value: number(&value["value"])?, low: number(&value["low"])?, high: number(&value["high"])? })
}

fn estimate_json(estimate: Estimate) -> Value {
    json!({ "value": estimate.value, "low": estimate.low, "high": estimate.high })
}

/// The combinations of levels of `factors` in declared order, each with its key and those records of `raw` that have it and
/// are among `only`; combinations without a record are left out.
fn grouped<'a>(
    study: &Study,
    raw: &'a Raw,
    factors: &[String],
    only: &std::collections::BTreeMap<String, Vec<Level>>,
) -> Vec<(Vec<String>, Vec<&'a Record>)> {
    let records: Vec<&Record> = raw.records.iter().filter(|record| record.is_among(only)).collect();
    let mut groups = vec![(Vec::new(), records)];
    for factor in factors {
        let levels: Vec<String> = study.factors[factor].levels.iter().map(Level::to_string).collect();
        groups = groups
            .into_iter()
            .flat_map(|(chosen, records)| {
                levels.iter().map(move |level| {
                    let of_level = |record: &&&Record| record.text(factor).as_deref() == Some(level);
                    let records: Vec<&Record> = records.iter().filter(of_level).copied().collect();
                    ([chosen.clone(), vec![level.clone()]].concat(), records)
                })
            })
            .filter(|(_, records)| !records.is_empty())
            .collect();
    }
    groups
}

/// What names a combination of levels in `stats.json`.
pub(crate) fn key(levels: &[String]) -> String {
    if levels.is_empty() { "all".to_owned() } else { levels.join(" ").replace('/', "-") }
}

/// What tables and figures call a combination of levels.
fn title(study: &Study, factors: &[String], levels: &[String]) -> String {
    if levels.is_empty() {
        return "all".to_owned();
    }
    let shown = factors.iter().zip(levels).map(|(factor, level)| {
        let factor = &study.factors[factor];
        // A bare number says nothing without the name of its factor.
        if factor.is_numeric() {
            format!("{} {}", factor.label, factor.shown(level))
        } else {
            factor.shown(level).to_owned()
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}
