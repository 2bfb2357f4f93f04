//! Samples in the order in which they were taken.

/// Where warm-up ends: the number of leading samples whose removal makes the standard error of the mean of the rest least
/// (the marginal standard error rule, MSER: White, "An effective truncation heuristic", Simulation 69, 1997).
///
/// None when it would be best to remove half of the samples or more: then no steady state was reached.
pub fn warm_up_end(samples: &[f64]) -> Option<usize> {
    // Short tails agree by chance, so the search ends at half.
    let half = samples.len() / 2;
    let mut least: Option<(f64, usize)> = None;
    // The sums of all tails in one pass from the end; offsets from one sample keep them small.
    let (mut sum, mut squares) = (0.0, 0.0);
    let origin = samples.last().copied().unwrap_or(0.0);
    for (start, sample) in samples.iter().enumerate().rev() {
        let offset = sample - origin;
        sum += offset;
        squares += offset * offset;
        let n = (samples.len() - start) as f64;
        let error = (squares - sum * sum / n).max(0.0) / (n * n);
        // A tie goes to the longer tail.
        if start <= half && least.is_none_or(|(best, _)| error <= best) {
            least = Some((error, start));
        }
    }
    least.map(|(_, start)| start).filter(|&start| start < half.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_start_is_cut_off_and_a_steady_series_kept_whole() {
        // Symmetric about its middle, so that no cut makes the rest calmer.
        let steady: Vec<f64> = (0..60).map(|at| 1.0 + if at % 2 == 0 { 1e-3 } else { -1e-3 }).collect();
        assert_eq!(warm_up_end(&steady), Some(0));
        let mut slow = steady.clone();
        for (at, sample) in slow.iter_mut().take(6).enumerate() {
            *sample += 1.0 / (1.0 + at as f64);
        }
        assert_eq!(warm_up_end(&slow), Some(6));
    }

    #[test]
    fn a_series_that_drifts_to_its_end_has_no_steady_state() {
        let drift: Vec<f64> = (0..40).map(|at| f64::from(at).powi(3)).rev().collect();
        assert_eq!(warm_up_end(&drift), None);
    }
}
