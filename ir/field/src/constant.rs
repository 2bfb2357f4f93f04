//! What single constants mean.
//!
//! A rule, and whoever wrote a model, computes with 1/6 or the root of 1/2, and stores it rounded. So a constant within four
//! units of single precision of a simple number is that number: a fraction, a decimal of five digits, a square root or
//! fourth root of a fraction, the root of 2 / pi. Two constants closer than that are not told apart.

use crate::prime::{LANES, Prime, primes, scramble};

/// Relative: four units in the last place.
const TOLERANCE: f64 = 4.0 / (1u64 << 24) as f64;
/// Numerator and denominator of a fraction.
const LARGEST: f64 = 1024.0;

/// The residues of the constant `value`; of infinities and NaN, themselves.
pub fn constant(value: f64) -> [f64; LANES] {
    let rounded = value as f32;
    let size = f64::from(rounded.abs());
    let sign = if rounded < 0.0 { -1.0 } else { 1.0 };
    let of = |meaning: &dyn Fn(&Prime) -> f64| lanes(&|prime| sign * meaning(prime));
    if !rounded.is_finite() || size.fract() == 0.0 && size < LARGEST {
        return [f64::from(rounded) + 0.0; LANES];
    }
    if let Some((above, below)) = fraction(size, LARGEST, TOLERANCE) {
        return of(&|prime| quotient(prime, above, below));
    }
    if let Some((digits, places)) = decimal(size) {
        return of(&|prime| {
            let scale = prime.power(10.0, places.unsigned_abs());
            prime.mul(digits, if places < 0 { scale } else { prime.inverse_of(scale) })
        });
    }
    if let Some((above, below)) = fraction(size.powi(2), LARGEST, 2.0 * TOLERANCE) {
        return of(&|prime| prime.root(quotient(prime, above, below)));
    }
    if let Some((above, below)) = fraction(size.powi(4), LARGEST, 4.0 * TOLERANCE) {
        return of(&|prime| prime.root(prime.root(quotient(prime, above, below))));
    }
    if let Some((above, below)) = fraction(size.powi(2) * std::f64::consts::PI, 8.0, 2.0 * TOLERANCE) {
        return of(&|prime| {
            let root_of_pi = prime.residue(scramble(31_415_926));
            prime.mul(prime.root(quotient(prime, above, below)), prime.inverse_of(root_of_pi))
        });
    }
    lanes(&|prime| prime.of_number(rounded))
}

fn lanes(of: &dyn Fn(&Prime) -> f64) -> [f64; LANES] {
    primes().each_ref().map(of)
}

fn quotient(prime: &Prime, above: f64, below: f64) -> f64 {
    prime.mul(above, prime.inverse_of(below))
}

/// The simplest fraction within `tolerance` of `x`, which is positive, when its terms are at most `largest`.
fn fraction(x: f64, largest: f64, tolerance: f64) -> Option<(f64, f64)> {
    let (mut above, mut below) = ((1.0f64, 0.0f64), (0.0f64, 1.0f64));
    let mut rest = x;
    loop {
        let whole = rest.floor();
        above = (whole * above.0 + above.1, above.0);
        below = (whole * below.0 + below.1, below.0);
        if above.0 > largest || below.0 > largest {
            return None;
        }
        if above.0 > 0.0 && (above.0 / below.0 - x).abs() <= tolerance * x {
            return Some((above.0, below.0));
        }
        rest = 1.0 / (rest - whole);
    }
}

/// `digits / 10^places` within the tolerance of `x`, which is positive, for five digits.
fn decimal(x: f64) -> Option<(f64, i32)> {
    let places = 4 - x.log10().floor() as i32;
    let digits = (x * 10f64.powi(places)).round();
    ((digits * 10f64.powi(-places) - x).abs() <= TOLERANCE * x).then_some((digits, places))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(a: [f64; LANES], b: [f64; LANES]) -> [f64; LANES] {
        std::array::from_fn(|lane| primes()[lane].mul(a[lane], b[lane]))
    }

    #[test]
    fn rounded_constants_are_what_was_meant() {
        let number = |x: f32| constant(f64::from(x));
        assert_eq!(product(number(1.0 / 6.0), number(6.0)), [1.0; LANES]);
        assert_eq!(product(number(1.4142135), number(0.70710677)), [1.0; LANES]);
        assert_eq!(product(number(0.42044821), number(0.42044821)), number(0.17677669));
        assert_eq!(product(number(1e-5), number(1e5)), [1.0; LANES]);
        assert_eq!(product(number(-0.044715), number(200.0)), number(-8.943));
        assert_eq!(
            product(number(0.7978845608), number(0.7978845608)),
            product(product(constant(2.0), number(0.56418958)), number(0.56418958))
        );
        assert_eq!(constant(f64::NEG_INFINITY), [f64::NEG_INFINITY; LANES]);
        assert_eq!(constant(-0.0).map(f64::to_bits), [0; LANES]);
    }

    #[test]
    fn constants_that_differ_stay_apart() {
        let all =
            [1e-5, 1e-6, 1.0001e-5, 0.1666, 0.16667, 0.166666667, 0.7071, 0.70710678, 1e-12, 3.4028234e38, 0.3183098];
        for (at, &a) in all.iter().enumerate() {
            for &b in &all[..at] {
                assert_ne!(constant(a), constant(b), "{a} {b}");
            }
        }
    }
}
