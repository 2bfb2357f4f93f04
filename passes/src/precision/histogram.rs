//! How the magnitudes of a value are distributed.

/// Bins of a histogram.
pub const N_BINS: usize = 2048;

/// The smallest and largest element seen, and the magnitudes of all in equal bins.
///
/// The bins end at a power of two, which doubles, two bins becoming one, when a larger magnitude is seen: so the same
/// samples give the same histogram in any order.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    min: f64,
    max: f64,
    n_not_finite: u64,
    limit: f64,
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { min: f64::INFINITY, max: f64::NEG_INFINITY, n_not_finite: 0, limit: 0.0, counts: vec![0; N_BINS] }
    }
}

impl Histogram {
    /// A histogram from its parts, as a calibration cache keeps them; `None` when they do not fit together.
    pub fn from_parts(min: f64, max: f64, n_not_finite: u64, limit: f64, counts: Vec<u64>) -> Option<Self> {
        let fits = counts.len() == N_BINS && limit.is_finite() && limit >= 0.0 && !min.is_nan() && !max.is_nan();
        let histogram = Self { min, max, n_not_finite, limit, counts };
        (fits && (histogram.n() == 0 || histogram.magnitude() <= limit)).then_some(histogram)
    }

    /// Smallest element; positive infinity before any.
    pub fn min(&self) -> f64 {
        self.min
    }

    /// Largest element; negative infinity before any.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// Elements that were NaN or infinite; they stand in no bin.
    pub fn n_not_finite(&self) -> u64 {
        self.n_not_finite
    }

    /// Where the last bin ends; 0 while every element was 0.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// Elements in each bin: bin `i` holds magnitudes from `i` to `i + 1` times [`Histogram::width`].
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// How wide a bin is.
    pub fn width(&self) -> f64 {
        self.limit / N_BINS as f64
    }

    /// Elements in all bins.
    pub fn n(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The largest magnitude; 0 before any element.
    pub fn magnitude(&self) -> f64 {
        if self.max < self.min { 0.0 } else { self.max.abs().max(self.min.abs()) }
    }

    /// Counts `values`.
    pub fn observe(&mut self, values: &[f32]) {
        let finite = || values.iter().map(|&value| f64::from(value)).filter(|value| value.is_finite());
        for value in finite() {
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
        self.n_not_finite += values.iter().filter(|value| !value.is_finite()).count() as u64;
        self.grow(self.magnitude());
        let scale = if self.limit > 0.0 { N_BINS as f64 / self.limit } else { 0.0 };
        for value in finite() {
            // A magnitude that is the limit itself belongs to the last bin.
            let bin = ((value.abs() * scale) as usize).min(N_BINS - 1);
            self.counts[bin] += 1;
        }
    }

    /// Widens the bins until they hold `magnitude`.
    fn grow(&mut self, magnitude: f64) {
        if magnitude == 0.0 || magnitude <= self.limit {
            return;
        }
        if self.limit == 0.0 {
            // The smallest power of two that is not below; subnormal magnitudes share the smallest normal one.
            self.limit = f64::from(f32::MIN_POSITIVE);
        }
        while self.limit < magnitude {
            self.limit *= 2.0;
            for bin in 0..N_BINS / 2 {
                self.counts[bin] = self.counts[2 * bin] + self.counts[2 * bin + 1];
            }
            self.counts[N_BINS / 2..].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_samples_does_not_matter() {
        let samples: Vec<Vec<f32>> = (0..7)
            .map(|at| (0..97).map(|k| ((k * 31 + at * 17) % 89) as f32 * 0.37f32.powi(at) - 1.5).collect())
            .collect();
        let (mut forth, mut back) = (Histogram::default(), Histogram::default());
        samples.iter().for_each(|sample| forth.observe(sample));
        samples.iter().rev().for_each(|sample| back.observe(sample));
        assert_eq!(forth, back);
        assert_eq!(forth.n(), 7 * 97);
    }

    #[test]
    fn magnitudes_fall_into_the_bins_that_hold_them() {
        let mut histogram = Histogram::default();
        histogram.observe(&[0.0, -0.75, 1.0, f32::NAN]);
        assert_eq!((histogram.limit(), histogram.min(), histogram.max()), (1.0, -0.75, 1.0));
        assert_eq!((histogram.n(), histogram.n_not_finite()), (3, 1));
        assert_eq!((histogram.counts()[0], histogram.counts()[1536], histogram.counts()[N_BINS - 1]), (1, 1, 1));
    }

    #[test]
    fn zeros_alone_have_no_magnitude() {
        let mut histogram = Histogram::default();
        histogram.observe(&[0.0, -0.0]);
        assert_eq!((histogram.magnitude(), histogram.n(), histogram.counts()[0]), (0.0, 2, 2));
        histogram.observe(&[3.0]);
        assert_eq!((histogram.limit(), histogram.n(), histogram.counts()[0]), (4.0, 3, 2));
    }

    #[test]
    fn parts_that_contradict_are_refused() {
        let counts = vec![0; N_BINS];
        assert!(Histogram::from_parts(0.0, 1.0, 0, f64::NAN, counts.clone()).is_none());
        assert!(Histogram::from_parts(0.0, 1.0, 0, 1.0, vec![0; 3]).is_none());
        assert_eq!(Histogram::from_parts(f64::INFINITY, f64::NEG_INFINITY, 0, 0.0, counts), Some(Histogram::default()));
    }
}
