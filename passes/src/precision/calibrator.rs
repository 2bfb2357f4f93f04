//! From a histogram to the magnitude at which quantization clips.

use super::Histogram;
use super::histogram::N_BINS;

/// How the threshold is chosen: magnitudes above it are clipped, and its share of the integers decides how fine the step is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Calibrator {
    /// The largest magnitude: nothing is clipped.
    Max,
    /// The smallest magnitude that holds this share of the elements, in percent: 99.99 clips one in ten thousand.
    Percentile(f64),
    /// The threshold whose quantized distribution loses least information: the smallest Kullback-Leibler divergence
    /// (Migacz, 8-bit Inference with TensorRT, GTC 2017).
    Entropy,
    /// The threshold with the smallest expected squared error, rounding inside and clipping outside.
    MeanSquaredError,
}

impl Calibrator {
    /// The threshold for `n_levels` steps from zero to it; 0 when nothing but zeros was seen. Never above the largest
    /// magnitude.
    pub fn threshold(self, histogram: &Histogram, n_levels: usize) -> f64 {
        let most = histogram.magnitude();
        let threshold = match self {
            Calibrator::Max => most,
            Calibrator::Percentile(percent) => percentile(histogram, percent),
            Calibrator::Entropy => entropy(histogram, n_levels),
            Calibrator::MeanSquaredError => mean_squared_error(histogram, n_levels),
        };
        threshold.min(most)
    }
}

impl std::fmt::Display for Calibrator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Calibrator::Max => f.write_str("max"),
            Calibrator::Percentile(percent) => write!(f, "percentile {percent}"),
            Calibrator::Entropy => f.write_str("entropy"),
            Calibrator::MeanSquaredError => f.write_str("mse"),
        }
    }
}

impl std::str::FromStr for Calibrator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "max" => Ok(Calibrator::Max),
            "entropy" => Ok(Calibrator::Entropy),
            "mse" => Ok(Calibrator::MeanSquaredError),
            "percentile" => Ok(Calibrator::Percentile(99.99)),
            _ => text
                .strip_prefix("percentile:")
                .and_then(|percent| percent.parse().ok())
                .filter(|percent| *percent > 0.0 && *percent <= 100.0)
                .map(Calibrator::Percentile)
                .ok_or_else(|| "max, entropy, mse, percentile or percentile:P with 0 < P <= 100".into()),
        }
    }
}

fn percentile(histogram: &Histogram, percent: f64) -> f64 {
    let wanted = histogram.n() as f64 * percent / 100.0;
    let mut below = 0;
    for (bin, count) in histogram.counts().iter().enumerate() {
        below += count;
        if below as f64 >= wanted {
            return (bin + 1) as f64 * histogram.width();
        }
    }
    histogram.limit()
}

/// The divergence between the distribution clipped at each bin's end and what `n_levels` steps make of it.
fn entropy(histogram: &Histogram, n_levels: usize) -> f64 {
    let mut counts = histogram.counts().to_vec();
    // Zeros are exact under any threshold. After a rectifier they are half of all elements, and would outweigh the rest.
    counts[0] = counts[1];
    let n: u64 = counts.iter().sum();
    if n == 0 || n_levels == 0 || n_levels >= N_BINS {
        return histogram.magnitude();
    }
    let mut best = (f64::INFINITY, N_BINS);
    let mut inside: u64 = counts[..n_levels].iter().sum();
    for end in n_levels..=N_BINS {
        if end > n_levels {
            inside += counts[end - 1];
        }
        if inside == 0 {
            continue;
        }
        let outside = (n - inside) as f64;
        let divergence = divergence(&counts[..end], outside, n_levels);
        if divergence < best.0 {
            best = (divergence, end);
        }
    }
    best.1 as f64 * histogram.width()
}

/// The divergence of `counts`, quantized to `n_levels` groups, from `counts` with `outside` more in the last bin. A group
/// shares what it holds among those of its bins that hold anything.
fn divergence(counts: &[u64], outside: f64, n_levels: usize) -> f64 {
    let last = counts.len() - 1;
    let total: f64 = counts.iter().map(|&count| count as f64).sum::<f64>();
    let clipped = total + outside;
    let mut sum = 0.0;
    for level in 0..n_levels {
        let (from, to) = (level * counts.len() / n_levels, (level + 1) * counts.len() / n_levels);
        let group = &counts[from..to];
        let held: f64 = group.iter().map(|&count| count as f64).sum();
        let n_held = group.iter().filter(|&&count| count > 0).count();
        for (at, &count) in group.iter().enumerate() {
            let p = (count as f64 + if from + at == last { outside } else { 0.0 }) / clipped;
            if p == 0.0 {
                continue;
            }
            if count == 0 {
                // Clipped elements stand where the quantized distribution has none: infinitely surprising.
                return f64::INFINITY;
            }
            sum += p * (p / (held / n_held as f64 / total)).ln();
        }
    }
    sum
}

fn mean_squared_error(histogram: &Histogram, n_levels: usize) -> f64 {
    let counts = histogram.counts();
    let centre = |bin: usize| (bin as f64 + 0.5) * histogram.width();
    // Sums over the bins from each one on: elements, magnitudes, squares of magnitudes.
    let mut tails = vec![(0.0, 0.0, 0.0); N_BINS + 1];
    for bin in (0..N_BINS).rev() {
        let (n, first, second) = tails[bin + 1];
        let (count, x) = (counts[bin] as f64, centre(bin));
        tails[bin] = (n + count, first + count * x, second + count * x * x);
    }
    let all = tails[0].0;
    let error = |end: usize| {
        let threshold = end as f64 * histogram.width();
        let step = threshold / n_levels as f64;
        let (n, first, second) = tails[end];
        // Rounding errs evenly within half a step: a variance of step squared over twelve.
        (all - n) * step * step / 12.0 + second - 2.0 * threshold * first + n * threshold * threshold
    };
    let best = (1..=N_BINS).min_by(|&a, &b| error(a).total_cmp(&error(b))).unwrap_or(N_BINS);
    best as f64 * histogram.width()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Magnitudes of a normal distribution by its quantiles, with one outlier.
    fn bell_with_outlier() -> Histogram {
        let mut histogram = Histogram::default();
        // The sum of twelve uniform numbers is normal enough, and needs no library.
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        let values: Vec<f32> = (0..100_000).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect();
        histogram.observe(&values);
        histogram.observe(&[40.0]);
        histogram
    }

    #[test]
    fn each_calibrator_but_max_clips_a_lone_outlier() {
        let histogram = bell_with_outlier();
        assert_eq!(Calibrator::Max.threshold(&histogram, 127), 40.0);
        for calibrator in [Calibrator::Percentile(99.99), Calibrator::Entropy] {
            let threshold = calibrator.threshold(&histogram, 127);
            assert!((2.5..6.0).contains(&threshold), "{calibrator}: {threshold}");
        }
        // One element in a hundred thousand, but far out: its square weighs as much as all rounding.
        let threshold = Calibrator::MeanSquaredError.threshold(&histogram, 127);
        assert!((15.0..39.0).contains(&threshold), "{threshold}");
    }

    #[test]
    fn the_threshold_of_least_squared_error_is_the_measured_one() {
        let mut histogram = Histogram::default();
        let values: Vec<f32> = (0..20_000).map(|k| ((k as f32 / 20_000.0) * 2.0 - 1.0).powi(9) * 8.0).collect();
        histogram.observe(&values);
        let threshold = Calibrator::MeanSquaredError.threshold(&histogram, 7);
        let measured = |threshold: f64| -> f64 {
            let step = threshold / 7.0;
            let quantized = |x: f64| ((x / step).round().clamp(-7.0, 7.0) * step - x).powi(2);
            values.iter().map(|&x| quantized(f64::from(x))).sum()
        };
        let best = (1..=400).map(|k| measured(f64::from(k) * 0.02)).fold(f64::INFINITY, f64::min);
        assert!(measured(threshold) <= 1.3 * best, "{threshold}: {} against {best}", measured(threshold));
    }

    #[test]
    fn uniform_magnitudes_are_not_clipped_by_entropy() {
        let mut histogram = Histogram::default();
        let values: Vec<f32> = (0..65_536).map(|k| k as f32 / 65_536.0).collect();
        histogram.observe(&values);
        assert!(Calibrator::Entropy.threshold(&histogram, 128) > 0.95);
    }

    #[test]
    fn zeros_have_the_threshold_zero() {
        let mut histogram = Histogram::default();
        histogram.observe(&[0.0; 10]);
        for calibrator in
            [Calibrator::Max, Calibrator::Percentile(99.0), Calibrator::Entropy, Calibrator::MeanSquaredError]
        {
            assert_eq!(calibrator.threshold(&histogram, 127), 0.0, "{calibrator}");
        }
    }

    #[test]
    fn calibrators_are_read_as_they_are_named() {
        assert_eq!("percentile:99.9".parse(), Ok(Calibrator::Percentile(99.9)));
        assert_eq!("entropy".parse(), Ok(Calibrator::Entropy));
        assert!("percentile:0".parse::<Calibrator>().is_err() && "minmax".parse::<Calibrator>().is_err());
    }
}
