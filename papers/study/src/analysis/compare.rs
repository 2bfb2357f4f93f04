//! Ratios of a metric between two levels of a factor, within each combination of other factors.

use super::{estimate_json, grouped, key, title};
use crate::raw::{Raw, Record};
use crate::schema::{Compare, Study, Summary};
use eutectic_measure::{
    Estimate, Nested, Verdict, geometric_mean, holm, p_value_of_one, ratio_of_quantiles, verdict, warm_up_end,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The comparison of a study.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Its name.
    pub name: String,
    /// What is compared, with its unit.
    pub metric: String,
    /// The level that ratios are relative to.
    pub base: String,
    /// Ratios within this share of 1 do not matter.
    pub threshold: f64,
    /// One comparison each.
    pub groups: Vec<Group>,
    /// Geometric means over all groups by level, when asked for.
    pub summary: Vec<(String, Estimate)>,
}

/// What the intervals of a comparison hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variation {
    /// Nothing: the samples of each variant are all equal, or one.
    None,
    /// What varies within a process; there is one of each variant.
    WithinProcesses,
    /// What varies between processes too.
    BetweenProcesses,
}

/// Levels that are compared with each other.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name in `stats.json`.
    pub key: String,
    /// Its name in tables and figures.
    pub title: String,
    /// Each level that has samples.
    pub variants: Vec<Variant>,
    /// The base over each other level.
    pub ratios: Vec<RatioOf>,
    /// Alternate samples of the base against each other: must be the same.
    pub control: Option<(Estimate, Verdict)>,
}

/// The samples of one level.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The level.
    pub level: String,
    /// What is shown for it.
    pub title: String,
    /// Samples of the steady state.
    pub steady: Nested,
    /// The samples of each process as they were taken, warm-up first.
    pub series: Vec<Vec<f64>>,
    /// Samples that warm-up took.
    pub n_warm_up: usize,
    /// Processes that reached no steady state; their samples count whole.
    pub n_unsteady: usize,
    /// Median, 95th and 99th percentile.
    pub quantiles: [Estimate; 3],
}

/// One ratio.
#[derive(Clone, Debug)]
pub struct RatioOf {
    /// The level below the line.
    pub level: String,
    /// The ratio with its interval.
    pub ratio: Estimate,
    /// The probability of a ratio this far from 1 if it were 1, adjusted over the comparison; none where nothing varies.
    pub p: Option<f64>,
    /// What the interval says.
    pub verdict: Verdict,
    resamples: Vec<f64>,
}

#[cfg(test)]
impl RatioOf {
    /// A ratio without doubt.
    pub(crate) fn exactly(level: &str, value: f64) -> Self {
        let ratio = Estimate { value, low: value, high: value };
        Self { level: level.into(), ratio, p: None, verdict: Verdict::Same, resamples: vec![value] }
    }
}

fn threshold(study: &Study, compare: &Compare) -> f64 {
    compare.threshold.unwrap_or(study.threshold)
}

impl Comparison {
    pub(super) fn of(study: &Study, compare: &Compare, raw: &Raw, n_resamples: usize) -> Self {
        let base = compare.base.clone().unwrap_or_else(|| study.factors[&compare.of].levels[0].to_string());
        let groups = grouped(study, raw, &compare.within, &compare.only);
        let mut groups: Vec<Group> = groups
            .into_iter()
            .map(|(levels, records)| Group::of(study, compare, &base, &levels, &records, n_resamples))
            // Where every run failed there is nothing to compare.
            .filter(|group| !group.variants.is_empty())
            .collect();
        let varies = |ratio: &&mut RatioOf| ratio.ratio.low < ratio.ratio.high;
        let mut tested: Vec<&mut RatioOf> =
            groups.iter_mut().flat_map(|group| &mut group.ratios).filter(varies).collect();
        let p_values: Vec<f64> = tested.iter().map(|ratio| p_value_of_one(&ratio.resamples)).collect();
        for (ratio, p) in tested.iter_mut().zip(holm(&p_values)) {
            ratio.p = Some(p);
        }
        let mut by_level: BTreeMap<&str, Vec<(f64, Vec<f64>)>> = BTreeMap::new();
        for ratio in groups.iter().flat_map(|group| &group.ratios) {
            by_level.entry(&ratio.level).or_default().push((ratio.ratio.value, ratio.resamples.clone()));
        }
        let summary = match compare.summary {
            Summary::GeometricMean => {
                by_level.into_iter().map(|(level, ratios)| (level.to_owned(), geometric_mean(&ratios))).collect()
            }
            // The lint refuses a study that asks for the other mean.
            Summary::None | Summary::Mean => Vec::new(),
        };
        let metric = study.metrics[&compare.metric].axis();
        let threshold = threshold(study, compare);
        Self { name: compare.name.clone(), metric, base, threshold, groups, summary }
    }

    pub(super) fn json(&self) -> Value {
        let groups: Map<_, _> = self.groups.iter().map(|group| (group.key.clone(), group.json())).collect();
        let summary: Map<_, _> =
            self.summary.iter().map(|(level, mean)| (level.clone(), estimate_json(*mean))).collect();
        let levels: BTreeSet<&String> = self.ratios().map(|ratio| &ratio.level).collect();
        let verdicts_of: Map<_, _> =
            levels.into_iter().map(|level| (level.clone(), self.verdicts(|ratio| ratio.level == *level))).collect();
        let n_same = self.groups.iter().filter(|group| matches!(group.control, Some((_, Verdict::Same)))).count();
        json!({
            "base": self.base, "metric": self.metric, "threshold": self.threshold, "groups": groups, "geometric_mean": summary,
            "verdicts": self.verdicts(|_| true), "verdicts_of": verdicts_of,
            "n_groups": self.groups.len(), "n_controls_same": n_same,
        })
    }

    /// How often each verdict is given on the ratios that count.
    fn verdicts(&self, counts: impl Fn(&RatioOf) -> bool) -> Value {
        let n = |name: &str| self.ratios().filter(|ratio| counts(ratio) && verdict_name(ratio.verdict) == name).count();
        let named = ["FASTER", "SLOWER", "SAME", "UNCLEAR"].map(|name| (name.to_lowercase(), json!(n(name))));
        named.into_iter().collect::<Map<_, _>>().into()
    }

    /// Every ratio.
    pub(crate) fn ratios(&self) -> impl Iterator<Item = &RatioOf> {
        self.groups.iter().flat_map(|group| &group.ratios)
    }

    /// Every variant of every group.
    pub(crate) fn variants(&self) -> impl Iterator<Item = &Variant> {
        self.groups.iter().flat_map(|group| &group.variants)
    }

    /// What the intervals of the ratios hold.
    pub(crate) fn variation(&self) -> Variation {
        if self.ratios().all(|ratio| ratio.ratio.low == ratio.ratio.high) {
            Variation::None
        } else if self.variants().all(|variant| variant.series.len() == 1) {
            Variation::WithinProcesses
        } else {
            Variation::BetweenProcesses
        }
    }

    /// The ratios whose interval is wider than `precision` to either side, relative to the ratio.
    pub(crate) fn n_wide(&self, precision: f64) -> usize {
        self.ratios().filter(|ratio| (ratio.ratio.high - ratio.ratio.low) / 2.0 > precision * ratio.ratio.value).count()
    }
}

impl Group {
    fn of(
        study: &Study,
        compare: &Compare,
        base: &str,
        levels: &[String],
        records: &[&Record],
        n_resamples: usize,
    ) -> Self {
        let factor = &study.factors[&compare.of];
        let scale = study.metrics[&compare.metric].scale;
        let variants: Vec<Variant> = factor
            .levels
            .iter()
            .map(ToString::to_string)
            .filter_map(|level| {
                let of_level =
                    records.iter().filter(|record| record.text(&compare.of).as_deref() == Some(level.as_str()));
                let of_level: Vec<&Record> = of_level.copied().collect();
                let title = factor.shown(&level).to_owned();
                Variant::of(level, title, of_level.into_iter(), &compare.metric, scale, (n_resamples, study.seed))
            })
            .collect();
        let mut ratios = Vec::new();
        let mut control = None;
        if let Some(of_base) = variants.iter().find(|variant| variant.level == base) {
            for variant in variants.iter().filter(|variant| variant.level != base) {
                // Levels that are runs of their own took no turns.
                let paired = !study.runs.over.contains(&compare.of);
                let (base, other) = (&of_base.steady, &variant.steady);
                let (value, resamples) =
                    ratio_of_quantiles(base, other, paired, compare.quantile, n_resamples, study.seed);
                let ratio = Estimate::of(value, &resamples);
                let verdict = verdict(ratio, threshold(study, compare));
                ratios.push(RatioOf { level: variant.level.clone(), ratio, p: None, verdict, resamples });
            }
            let (even, odd) = of_base.steady.alternate();
            if odd.pooled().len() > 1 {
                let (value, resamples) =
                    ratio_of_quantiles(&even, &odd, true, compare.quantile, n_resamples, study.seed);
                let ratio = Estimate::of(value, &resamples);
                control = Some((ratio, verdict(ratio, threshold(study, compare))));
            }
        }
        Self { key: key(levels), title: title(study, &compare.within, levels), variants, ratios, control }
    }

    fn json(&self) -> Value {
        let variants: Map<_, _> = self.variants.iter().map(|variant| (variant.level.clone(), variant.json())).collect();
        let ratios = self.ratios.iter().map(|ratio| {
            let mut value = estimate_json(ratio.ratio);
            value["p"] = json!(ratio.p);
            value["verdict"] = json!(verdict_name(ratio.verdict));
            (ratio.level.clone(), value)
        });
        let ratios: Map<_, _> = ratios.collect();
        let control = self.control.map(|(ratio, verdict)| {
            let mut value = estimate_json(ratio);
            value["verdict"] = json!(verdict_name(verdict));
            value
        });
        json!({ "variants": variants, "ratios": ratios, "control": control })
    }
}

impl Variant {
    fn of<'a>(
        level: String,
        title: String,
        records: impl Iterator<Item = &'a Record>,
        metric: &str,
        scale: f64,
        (n_resamples, seed): (usize, u64),
    ) -> Option<Self> {
        let mut processes: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
        // A variant that failed its comparison gets no time.
        for record in records.filter(|record| record.failure().is_none()) {
            let samples = record.samples(metric).into_iter().map(|sample| sample * scale);
            processes.entry((record.build, record.process)).or_default().extend(samples);
        }
        processes.retain(|_, samples| !samples.is_empty());
        if processes.is_empty() {
            return None;
        }
        let (mut n_warm_up, mut n_unsteady) = (0, 0);
        let mut builds: BTreeMap<usize, Vec<Vec<f64>>> = BTreeMap::new();
        for ((build, _), samples) in &processes {
            let end = warm_up_end(samples);
            n_unsteady += usize::from(end.is_none());
            let end = end.unwrap_or(0);
            n_warm_up += end;
            builds.entry(*build).or_default().push(samples[end..].to_vec());
        }
        let steady = Nested { builds: builds.into_values().collect() };
        let quantiles = steady.quantiles([0.5, 0.95, 0.99], n_resamples, seed);
        Some(Self { level, title, steady, series: processes.into_values().collect(), n_warm_up, n_unsteady, quantiles })
    }

    /// Samples that count.
    pub fn n_samples(&self) -> usize {
        self.steady.builds.iter().flatten().map(Vec::len).sum()
    }

    /// What prose refers to; the CSV of the comparison's table has a row with everything.
    fn json(&self) -> Value {
        json!({ "median": estimate_json(self.quantiles[0]), "samples": self.n_samples(), "processes": self.series.len() })
    }
}

/// How a verdict is written.
pub(crate) fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Faster => "FASTER",
        Verdict::Slower => "SLOWER",
        Verdict::Same => "SAME",
        Verdict::Unclear => "UNCLEAR",
    }
}

/// The number of ratios whose interval is still wider than the study wants.
pub(crate) fn n_imprecise(study: &Study, raw: &Raw) -> usize {
    // Fewer resamples than for a result: this only decides whether to go on.
    const ROUGH: usize = 1000;
    let comparisons = study.compare.iter().map(|compare| Comparison::of(study, compare, raw, ROUGH));
    comparisons.map(|comparison| comparison.n_wide(study.runs.precision)).sum()
}
