//! Statistics of repeated measurements: medians, percentiles, bootstrap intervals, and the order of interleaved variants.
//!
//! Everything is deterministic: random orders and resamples are drawn from a seed.
#![forbid(unsafe_code)]

mod many;
mod nested;
mod series;

pub use many::{holm, p_value_of_one, share_estimate};
pub use nested::{Nested, Spread, geometric_mean, ratio_of_quantiles};
pub use series::warm_up_end;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 2000;

/// An estimate with the interval that holds it in 95 % of resamples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// `value` with the interval that holds 95 % of `resamples`.
    pub fn of(value: f64, resamples: &[f64]) -> Self {
        Self { value, low: quantile(resamples, 0.025), high: quantile(resamples, 0.975) }
    }
}

/// The verdict on a ratio of times against a threshold that matters in practice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval is beyond the threshold.
    Faster,
    /// The whole interval is beyond it on the other side.
    Slower,
    /// The whole interval is within the threshold.
    Same,
    /// The interval crosses the threshold.
    Unclear,
}

/// The `share` quantile of `samples`, between neighbours by linear interpolation; NaN without samples.
pub fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// The middle of `samples`; NaN without samples.
pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// A source of random numbers with a seed: xorshift64*, Vigna, 2016.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The source that `seed` gives.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((u128::from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)) * n as u128) >> 64) as usize
    }

    /// The numbers `0..n` in random order.
    pub fn order(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for at in (1..n).rev() {
            order.swap(at, self.below(at + 1));
        }
        order
    }

    fn resampled(&mut self, samples: &[f64]) -> Vec<f64> {
        samples.iter().map(|_| samples[self.below(samples.len())]).collect()
    }
}

/// The median of `samples` with its percentile-bootstrap interval (Efron, 1979).
pub fn median_estimate(samples: &[f64], seed: u64) -> Estimate {
    let mut random = Random::new(seed);
    let medians: Vec<f64> = (0..RESAMPLES).map(|_| median(&random.resampled(samples))).collect();
    Estimate::of(median(samples), &medians)
}

/// The median of `slow` over the median of `fast`, with its interval.
pub fn ratio_of_medians(slow: &[f64], fast: &[f64], seed: u64) -> Estimate {
    let mut random = Random::new(seed);
    let ratios: Vec<f64> =
        (0..RESAMPLES).map(|_| median(&random.resampled(slow)) / median(&random.resampled(fast))).collect();
    Estimate::of(median(slow) / median(fast), &ratios)
}

/// What `ratio` of old over new times says when changes within `threshold` (0.02 for 2 %) do not matter.
pub fn verdict(ratio: Estimate, threshold: f64) -> Verdict {
    let (low, high) = (1.0 / (1.0 + threshold), 1.0 + threshold);
    match () {
        () if ratio.low > high => Verdict::Faster,
        () if ratio.high < low => Verdict::Slower,
        () if ratio.low >= low && ratio.high <= high => Verdict::Same,
        () => Verdict::Unclear,
    }
}

/// Spearman's rank correlation of two lists of the same length; equal numbers share their mean rank. NaN for constant lists.
pub fn rank_correlation(x: &[f64], y: &[f64]) -> f64 {
    let ranks = |values: &[f64]| -> Vec<f64> {
        let below = |value: f64| values.iter().filter(|&&other| other < value).count() as f64;
        let equal = |value: f64| values.iter().filter(|&&other| other == value).count() as f64;
        values.iter().map(|&value| below(value) + (equal(value) - 1.0) / 2.0).collect()
    };
    let (a, b) = (ranks(x), ranks(y));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(&a), mean(&b));
    let product = |p: &[f64], q: &[f64], m: f64, n: f64| p.iter().zip(q).map(|(p, q)| (p - m) * (q - n)).sum::<f64>();
    product(&a, &b, mean_a, mean_b) / (product(&a, &a, mean_a, mean_a) * product(&b, &b, mean_b, mean_b)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_samples_are_the_same_and_others_are_not() {
        let samples: Vec<f64> = (0..40).map(|at| 1.0 + 1e-3 * f64::from(at % 7)).collect();
        let slower: Vec<f64> = samples.iter().map(|x| x * 2.0).collect();
        assert_eq!(verdict(ratio_of_medians(&samples, &samples, 1), 0.02), Verdict::Same);
        assert_eq!(verdict(ratio_of_medians(&slower, &samples, 1), 0.02), Verdict::Faster);
        assert_eq!(verdict(ratio_of_medians(&samples, &slower, 1), 0.02), Verdict::Slower);
    }

    #[test]
    fn the_interval_holds_the_median_and_narrows_with_more_samples() {
        let draw = |n: usize| -> Vec<f64> { Random::new(3).order(n).iter().map(|&at| at as f64 / n as f64).collect() };
        let (few, many) = (median_estimate(&draw(20), 5), median_estimate(&draw(2000), 5));
        assert!(few.low <= few.value && few.value <= few.high);
        assert!(many.high - many.low < (few.high - few.low) / 3.0);
    }

    #[test]
    fn ranks_correlate_whatever_the_scale() {
        let x = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(rank_correlation(&x, &x.map(f64::exp)), 1.0);
        assert_eq!(rank_correlation(&x, &x.map(|x| -x)), -1.0);
        // Ranks 0.5, 0.5, 2, 3 against 0, 1, 2, 3: covariance 4.5, variances 4.5 and 5.
        assert!((rank_correlation(&[1.0, 1.0, 2.0, 3.0], &x) - 4.5 / 22.5f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[3.0, 1.0], 0.5), 2.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn an_order_holds_every_number_once() {
        let mut order = Random::new(9).order(50);
        assert_ne!(order, (0..50).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }
}
