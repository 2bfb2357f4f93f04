//! Samples in three nested levels: builds hold processes, which hold iterations.
//!
//! What varies between builds or between processes cannot be averaged away by more iterations: a bootstrap resamples every
//! level (Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013).

use crate::{Estimate, Random, quantile};

/// The samples of one variant: `builds[b][p]` are the iterations of process `p` of build `b`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nested {
    /// The builds.
    pub builds: Vec<Vec<Vec<f64>>>,
}

/// Standard deviations of the three levels, each freed of what the levels inside it contribute. A level with a single member
/// everywhere has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Between builds.
    pub builds: Option<f64>,
    /// Between processes of a build.
    pub processes: Option<f64>,
    /// Between iterations of a process.
    pub iterations: Option<f64>,
}

/// Which builds and processes a resample is made of.
type Choice = Vec<(usize, Vec<usize>)>;

impl Nested {
    /// Every sample, in order.
    pub fn pooled(&self) -> Vec<f64> {
        self.builds.iter().flatten().flatten().copied().collect()
    }

    /// Number of processes in each build.
    fn shape(&self) -> Vec<usize> {
        self.builds.iter().map(Vec::len).collect()
    }

    fn choose(&self, random: &mut Random) -> Choice {
        let builds = (0..self.builds.len()).map(|_| random.below(self.builds.len()));
        let builds: Vec<usize> = builds.collect();
        let mut processes = |build: usize| {
            let n = self.builds[build].len();
            (0..n).map(|_| random.below(n)).collect()
        };
        builds.into_iter().map(|build| (build, processes(build))).collect()
    }

    fn resample(&self, choice: &Choice, random: &mut Random, pooled: &mut Vec<f64>) {
        pooled.clear();
        for (build, processes) in choice {
            for &process in processes {
                let iterations = &self.builds[*build][process];
                pooled.extend(iterations.iter().map(|_| iterations[random.below(iterations.len())]));
            }
        }
    }

    /// The `share` quantile of all samples with its percentile interval under resampling of every level.
    pub fn quantile(&self, share: f64, n_resamples: usize, seed: u64) -> Estimate {
        let [estimate] = self.quantiles([share], n_resamples, seed);
        estimate
    }

    /// Several quantiles of the same resamples.
    pub fn quantiles<const N: usize>(&self, shares: [f64; N], n_resamples: usize, seed: u64) -> [Estimate; N] {
        let (mut random, mut pooled) = (Random::new(seed), Vec::new());
        let mut resamples = [(); N].map(|()| Vec::with_capacity(n_resamples));
        for _ in 0..n_resamples {
            let choice = self.choose(&mut random);
            self.resample(&choice, &mut random, &mut pooled);
            for (found, share) in resamples.iter_mut().zip(shares) {
                found.push(selected(&mut pooled, share));
            }
        }
        let all = self.pooled();
        std::array::from_fn(|at| Estimate::of(quantile(&all, shares[at]), &resamples[at]))
    }

    /// How much each level varies, by comparing means: Kalibera and Jones, section 6.
    pub fn spread(&self) -> Spread {
        let processes: Vec<&Vec<f64>> = self.builds.iter().flatten().filter(|process| !process.is_empty()).collect();
        let within = mean_of(processes.iter().filter_map(|process| variance(process)));
        let n_iterations = harmonic_mean(processes.iter().map(|process| process.len()));
        let means = |build: &Vec<Vec<f64>>| -> Vec<f64> { build.iter().map(|process| mean(process)).collect() };
        let builds: Vec<Vec<f64>> = self.builds.iter().map(means).collect();
        let between = mean_of(builds.iter().filter_map(|means| variance(means)));
        let n_processes = harmonic_mean(builds.iter().map(Vec::len));
        let outer = variance(&builds.iter().map(|means| mean(means)).collect::<Vec<_>>());
        let inner_share = |variance: Option<f64>, n: f64| variance.unwrap_or(0.0) / n;
        let deviation = |variance: f64| variance.max(0.0).sqrt();
        Spread {
            builds: outer.map(|outer| {
                let inside = if between.is_some() {
                    inner_share(between, n_processes)
                } else {
                    inner_share(within, n_iterations)
                };
                deviation(outer - inside)
            }),
            processes: between.map(|between| deviation(between - inner_share(within, n_iterations))),
            iterations: within.map(deviation),
        }
    }

    /// Alternate samples of every process, as two variants: a control that must not differ.
    pub fn alternate(&self) -> (Nested, Nested) {
        let half = |odd: usize| {
            let take = |process: &Vec<f64>| process.iter().copied().skip(odd).step_by(2).collect();
            Nested { builds: self.builds.iter().map(|build| build.iter().map(take).collect()).collect() }
        };
        (half(0), half(1))
    }
}

/// Resamples of the ratio of the `share` quantiles of `slow` and `fast`, and the ratio itself first.
///
/// Variants that took turns in the same processes are `paired`: both are resampled from the same builds and processes, since
/// what disturbs a process disturbs both. Variants of different shapes are never paired.
pub fn ratio_of_quantiles(
    slow: &Nested,
    fast: &Nested,
    paired: bool,
    share: f64,
    n_resamples: usize,
    seed: u64,
) -> (f64, Vec<f64>) {
    let (mut random, mut pooled) = (Random::new(seed), Vec::new());
    let paired = paired && slow.shape() == fast.shape();
    let resamples = (0..n_resamples)
        .map(|_| {
            let choice = slow.choose(&mut random);
            slow.resample(&choice, &mut random, &mut pooled);
            let above = selected(&mut pooled, share);
            let choice = if paired { choice } else { fast.choose(&mut random) };
            fast.resample(&choice, &mut random, &mut pooled);
            above / selected(&mut pooled, share)
        })
        .collect();
    (quantile(&slow.pooled(), share) / quantile(&fast.pooled(), share), resamples)
}

/// The geometric mean of ratios, each with its resamples, whose numbers are equal.
pub fn geometric_mean(ratios: &[(f64, Vec<f64>)]) -> Estimate {
    let of = |values: &mut dyn Iterator<Item = f64>| -> f64 {
        let logs: Vec<f64> = values.map(f64::ln).collect();
        mean(&logs).exp()
    };
    let n_resamples = ratios.iter().map(|(_, resamples)| resamples.len()).min().unwrap_or(0);
    let resamples: Vec<f64> =
        (0..n_resamples).map(|at| of(&mut ratios.iter().map(|(_, resamples)| resamples[at]))).collect();
    Estimate::of(of(&mut ratios.iter().map(|(value, _)| *value)), &resamples)
}

/// As `quantile`, in linear time; `samples` end in another order.
fn selected(samples: &mut [f64], share: f64) -> f64 {
    let Some(last) = samples.len().checked_sub(1) else { return f64::NAN };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let (_, &mut low, rest) = samples.select_nth_unstable_by(below, f64::total_cmp);
    let high = rest.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    low + (high - low) * (place - below as f64)
}

fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len() as f64
}

fn mean_of(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| mean(&values))
}

fn harmonic_mean(counts: impl Iterator<Item = usize>) -> f64 {
    let inverse: Vec<f64> = counts.map(|n| 1.0 / n as f64).collect();
    1.0 / mean(&inverse)
}

fn variance(samples: &[f64]) -> Option<f64> {
    let center = mean(samples);
    let squares: f64 = samples.iter().map(|x| (x - center).powi(2)).sum();
    (samples.len() > 1).then(|| squares / (samples.len() - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::median;

    #[test]
    fn selection_and_sorting_give_the_same_quantiles() {
        let samples: Vec<f64> = Random::new(4).order(37).iter().map(|&at| at as f64).collect();
        for share in [0.0, 0.13, 0.5, 0.95, 1.0] {
            assert_eq!(selected(&mut samples.clone(), share), quantile(&samples, share));
        }
        assert_eq!(median(&samples), 18.0);
    }

    #[test]
    fn processes_that_differ_widen_the_interval_although_iterations_agree() {
        let steady = |level: f64| (0..20).map(|at| level + 1e-4 * f64::from(at % 3)).collect::<Vec<_>>();
        let alike = Nested { builds: vec![vec![steady(1.0); 5]] };
        let apart = Nested { builds: vec![[1.0, 1.1, 0.9, 1.05, 0.95].map(steady).to_vec()] };
        let width = |nested: &Nested| {
            let estimate = nested.quantile(0.5, 2000, 1);
            estimate.high - estimate.low
        };
        assert!(width(&apart) > 20.0 * width(&alike), "{} against {}", width(&apart), width(&alike));
    }

    #[test]
    fn what_disturbs_both_variants_of_a_process_cancels_in_their_ratio() {
        let process = |level: f64| (0..20).map(|at| level * (1.0 + 1e-4 * f64::from(at % 3))).collect::<Vec<_>>();
        let levels = [1.0, 1.3, 0.8, 1.1, 0.7];
        let variant = |factor: f64| Nested { builds: vec![levels.map(|level| process(level * factor)).to_vec()] };
        let (value, resamples) = ratio_of_quantiles(&variant(2.0), &variant(1.0), true, 0.5, 2000, 1);
        let estimate = Estimate::of(value, &resamples);
        assert!((estimate.value - 2.0).abs() < 1e-12 && estimate.high - estimate.low < 1e-3, "{estimate:?}");
    }

    #[test]
    fn the_geometric_mean_of_a_ratio_and_its_inverse_is_one() {
        let estimate = geometric_mean(&[(2.0, vec![2.0, 4.0]), (0.5, vec![0.5, 0.25])]);
        assert!([estimate.value, estimate.low, estimate.high].iter().all(|x| (x - 1.0).abs() < 1e-12), "{estimate:?}");
    }
}
