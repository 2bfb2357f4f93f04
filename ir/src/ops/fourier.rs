//! The discrete Fourier transform of one sequence, in double precision, for lengths of any factorization.

use std::f64::consts::TAU;

/// A complex number: real part, imaginary part.
pub(super) type Complex = (f64, f64);

/// Prime lengths from here on are computed as convolutions; shorter ones by the definition.
const LEAST_CONVOLVED: usize = 64;

/// X[k] = sum over n of x[n] * exp(-2 pi i k n / N), or with the opposite sign in the exponent when `inverse`; not scaled.
///
/// Cooley and Tukey, Mathematics of Computation 19 (1965), for each prime factor in turn; long prime lengths as in
/// Bluestein, IEEE Transactions on Audio and Electroacoustics 18 (1970).
pub(super) fn transform(x: &[Complex], inverse: bool) -> Vec<Complex> {
    let roots = Roots::new(x.len(), inverse);
    recurse(x, 0, 1, x.len(), &roots)
}

/// The powers of the root of unity that one transform uses, each computed on its own so that no error accumulates.
struct Roots {
    powers: Vec<Complex>,
    inverse: bool,
}

impl Roots {
    fn new(len: usize, inverse: bool) -> Self {
        Self { powers: (0..len).map(|power| root(power, len, inverse)).collect(), inverse }
    }
}

/// exp(-2 pi i power / len), conjugate when `inverse`.
fn root(power: usize, len: usize, inverse: bool) -> Complex {
    let angle = TAU * (power as f64 / len as f64);
    let (sine, cosine) = angle.sin_cos();
    (cosine, if inverse { sine } else { -sine })
}

/// The transform of the `len` elements from `start` on, `step` apart; `len * step` is the length of all.
fn recurse(x: &[Complex], start: usize, step: usize, len: usize, roots: &Roots) -> Vec<Complex> {
    if len <= 1 {
        return x.get(start).copied().into_iter().take(len).collect();
    }
    let factor = least_factor(len);
    if factor == len {
        let lane: Vec<Complex> = (0..len).map(|at| x[start + at * step]).collect();
        return if len < LEAST_CONVOLVED { by_definition(&lane, step, roots) } else { convolved(&lane, roots.inverse) };
    }
    let part_len = len / factor;
    let parts: Vec<Vec<Complex>> =
        (0..factor).map(|part| recurse(x, start + part * step, step * factor, part_len, roots)).collect();
    let at = |k: usize| {
        let term = |(part, values): (usize, &Vec<Complex>)| {
            // The power is reduced before it is scaled by the step, so that it stays below the length of all.
            mul(values[k % part_len], roots.powers[part * k % len * step])
        };
        parts.iter().enumerate().map(term).fold((0.0, 0.0), add)
    };
    (0..len).map(at).collect()
}

fn by_definition(lane: &[Complex], step: usize, roots: &Roots) -> Vec<Complex> {
    let len = lane.len();
    let at = |k: usize| {
        let term = |(n, &value): (usize, &Complex)| mul(value, roots.powers[n * k % len * step]);
        lane.iter().enumerate().map(term).fold((0.0, 0.0), add)
    };
    (0..len).map(at).collect()
}

/// 2 k n == k^2 + n^2 - (k - n)^2 turns the sum into a convolution with a chirp, which a power of two computes.
fn convolved(lane: &[Complex], inverse: bool) -> Vec<Complex> {
    let len = lane.len();
    let padded_len = (2 * len - 1).next_power_of_two();
    let square = |at: usize| (at as u128 * at as u128 % (2 * len as u128)) as usize;
    let chirp: Vec<Complex> = (0..len).map(|at| root(square(at), 2 * len, inverse)).collect();
    let mut signal = vec![(0.0, 0.0); padded_len];
    let mut kernel = vec![(0.0, 0.0); padded_len];
    for at in 0..len {
        signal[at] = mul(lane[at], chirp[at]);
        kernel[at] = (chirp[at].0, -chirp[at].1);
        kernel[(padded_len - at) % padded_len] = kernel[at];
    }
    let product: Vec<Complex> =
        transform(&signal, false).into_iter().zip(transform(&kernel, false)).map(|(a, b)| mul(a, b)).collect();
    let scale = 1.0 / padded_len as f64;
    let sums = transform(&product, true);
    sums.into_iter().zip(&chirp).map(|((re, im), &turn)| mul((re * scale, im * scale), turn)).collect()
}

fn least_factor(len: usize) -> usize {
    (2..).take_while(|factor| factor * factor <= len).find(|factor| len % factor == 0).unwrap_or(len)
}

fn add(a: Complex, b: Complex) -> Complex {
    (a.0 + b.0, a.1 + b.1)
}

fn mul(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(len: usize) -> Vec<Complex> {
        let seed = crate::tensor::Seed { seed: len as u64, low: -1.0, high: 1.0 };
        (0..len as u64).map(|at| (seed.at(2 * at), seed.at(2 * at + 1))).collect()
    }

    fn distance(a: &[Complex], b: &[Complex]) -> f64 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a.0 - b.0).abs().max((a.1 - b.1).abs())).fold(0.0, f64::max)
    }

    #[test]
    fn every_length_agrees_with_the_definition() {
        for len in [1, 2, 3, 4, 5, 8, 12, 30, 49, 64, 67, 97, 134, 201, 1024, 1031] {
            let x = signal(len);
            for inverse in [false, true] {
                let expected = by_definition(&x, 1, &Roots::new(len, inverse));
                let error = distance(&transform(&x, inverse), &expected);
                assert!(error < 1e-11, "{len}: {error}");
            }
        }
        assert!(transform(&[], false).is_empty());
    }

    #[test]
    fn the_inverse_transform_undoes_the_transform() {
        for len in [60, 127, 1000] {
            let x = signal(len);
            let back = transform(&transform(&x, false), true);
            let back: Vec<Complex> = back.iter().map(|(re, im)| (re / len as f64, im / len as f64)).collect();
            assert!(distance(&back, &x) < 1e-13);
        }
    }
}
