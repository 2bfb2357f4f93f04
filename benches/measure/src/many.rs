//! Several hypotheses at once, and shares of counts.

use crate::Estimate;

/// The 0.975 quantile of the standard normal distribution.
const NORMAL_975: f64 = 1.959_963_984_540_054;

/// Adjusted p-values that hold the probability of any false rejection (Holm, Scandinavian Journal of Statistics 6, 1979), in
/// the order of `p_values`.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (rank, &at) in order.iter().enumerate() {
        largest = largest.max((p_values.len() - rank) as f64 * p_values[at]).min(1.0);
        adjusted[at] = largest;
    }
    adjusted
}

/// Two-sided p-value of the hypothesis that a ratio is 1, from its resamples: twice the smaller share of them on either side,
/// never below what their number can show (Davison and Hinkley, "Bootstrap Methods", 1997, section 4.2).
pub fn p_value_of_one(resamples: &[f64]) -> f64 {
    let below = resamples.iter().filter(|&&ratio| ratio <= 1.0).count();
    let above = resamples.iter().filter(|&&ratio| ratio >= 1.0).count();
    (2.0 * (1 + below.min(above)) as f64 / (1 + resamples.len()) as f64).min(1.0)
}

/// The share `n_hits` of `n` with its 95 % interval (Wilson, Journal of the American Statistical Association 22, 1927);
/// NaN for none of none.
pub fn share_estimate(n_hits: u64, n: u64) -> Estimate {
    let (share, n) = (n_hits as f64 / n as f64, n as f64);
    let z2 = NORMAL_975 * NORMAL_975;
    let center = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = NORMAL_975 / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    // At the ends the bound is the share itself, which rounding would miss.
    let low = if n_hits == 0 { share } else { (center - half).max(0.0) };
    let high = if share == 1.0 { share } else { (center + half).min(1.0) };
    Estimate { value: share, low, high }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_none_or_of_all_is_an_end_of_its_interval() {
        for n in [1, 269, 283, 1884] {
            assert_eq!(share_estimate(0, n).low, 0.0);
            assert_eq!(share_estimate(n, n).high, 1.0);
        }
    }

    #[test]
    fn adjusted_values_never_fall_and_stay_within_one() {
        let adjusted = holm(&[0.04, 0.01, 0.6, 0.03]);
        let expected = [0.09, 0.04, 0.6, 0.09];
        assert!(adjusted.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{adjusted:?}");
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }
}
