//! What becomes of a hypothesis.

use super::statistic;
use crate::schema::{Relation, Study};
use eutectic_measure::Estimate;
use serde_json::{Value, json};

/// The outcome of one hypothesis.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The name of the hypothesis.
    pub name: String,
    /// The statement.
    pub text: String,
    /// `supported`, `refuted`, or `unclear` when the interval of the statistic holds the bound; none without a statistic.
    pub verdict: Option<&'static str>,
    /// The statistic.
    pub found: Option<Estimate>,
    /// Its pointer into `out/stats.json`.
    pub statistic: String,
    /// What was believed of it, in words.
    pub belief: String,
}

/// The outcome of each hypothesis.
pub fn outcomes(study: &Study, stats: &Value) -> Vec<Outcome> {
    study
        .hypothesis
        .iter()
        .map(|hypothesis| {
            let found = hypothesis.statistic.as_ref().and_then(|pointer| statistic(stats, pointer));
            let verdict = match (found, hypothesis.is, hypothesis.than) {
                (Some(found), Some(relation), Some(bound)) => Some(judge(found, relation, bound)),
                _ => None,
            };
            let relation = hypothesis.is.map_or("", |relation| match relation {
                Relation::Above => "above",
                Relation::Below => "below",
                Relation::Equal => "equal to",
            });
            let belief = hypothesis.than.map_or(String::new(), |bound| format!("{relation} {bound}"));
            let statistic = hypothesis.statistic.clone().unwrap_or_default();
            Outcome { name: hypothesis.name.clone(), text: hypothesis.text.clone(), verdict, found, statistic, belief }
        })
        .collect()
}

fn judge(found: Estimate, relation: Relation, bound: f64) -> &'static str {
    let (holds, fails) = match relation {
        Relation::Above => (found.low > bound, found.high <= bound),
        Relation::Below => (found.high < bound, found.low >= bound),
        Relation::Equal => (found.low == bound && found.high == bound, found.low > bound || found.high < bound),
    };
    match (holds, fails) {
        (true, _) => "supported",
        (_, true) => "refuted",
        _ => "unclear",
    }
}

impl Outcome {
    pub(super) fn json(&self) -> Value {
        let found = self.found.map(|found| json!({ "value": found.value, "low": found.low, "high": found.high }));
        json!({
            "text": self.text, "verdict": self.verdict, "found": found, "statistic": self.statistic, "belief": self.belief,
        })
    }
}
