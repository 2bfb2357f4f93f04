//! Arithmetic modulo primes of 23 bits, in doubles.
//!
//! A residue is a whole number of at most half the modulus in magnitude, so a product is below 2^44, and 511 of them add up
//! exactly in a double: sums of products run as fast as the machine multiplies doubles. A number is known modulo every prime
//! of [`primes`] at once, a *lane* for each.
//!
//! Each prime is 23 modulo 24, and 5, 7, 11 and 13 are squares modulo it, as 2 and 3 are then. So -1 is no square, exactly
//! one of a number and its negation is one, and "is a square" can stand for "is positive": products and quotients of positive
//! numbers are positive, and so are the fractions that models have for constants. The root of a positive number
//! is the positive one, `x^((p + 1) / 4)`, and roots of products are products of roots.

use std::sync::OnceLock;

/// The number of primes.
pub const LANES: usize = 2;

const MODULI: [u32; LANES] = [8_388_071, 8_386_439];

/// Exponents of the powers of 2 by which single-precision numbers are whole: -149 to 128.
const LEAST_EXPONENT: i32 = -149;
const N_EXPONENTS: usize = 278;

/// One prime, with what is looked up.
pub struct Prime {
    /// The prime.
    pub modulus: f64,
    inverse: f64,
    half: f64,
    whole: u32,
    /// A bit for each residue: whether it is a square.
    squares: Vec<u64>,
    powers_of_two: Vec<f64>,
    /// What a maximum takes of the larger operand; the rest is of the smaller one.
    larger_share: f64,
    /// What is added before the cube when the largest of many is taken.
    offset: f64,
}

/// The primes, one for each lane.
pub fn primes() -> &'static [Prime; LANES] {
    static PRIMES: OnceLock<[Prime; LANES]> = OnceLock::new();
    PRIMES.get_or_init(|| MODULI.map(Prime::new))
}

impl Prime {
    fn new(whole: u32) -> Self {
        let modulus = f64::from(whole);
        let mut squares = vec![0u64; (whole as usize).div_ceil(64)];
        for root in 1..=u64::from(whole / 2) {
            let square = (root * root % u64::from(whole)) as usize;
            squares[square / 64] |= 1 << (square % 64);
        }
        let half = f64::from(whole / 2);
        let mut prime = Self {
            modulus,
            inverse: 1.0 / modulus,
            half,
            whole,
            squares,
            powers_of_two: vec![],
            larger_share: 0.0,
            offset: 0.0,
        };
        let mut power = prime.inverse_of(prime.power(2.0, LEAST_EXPONENT.unsigned_abs()));
        for _ in 0..N_EXPONENTS {
            prime.powers_of_two.push(power);
            power = prime.reduce(2.0 * power);
        }
        prime.larger_share = prime.residue(scramble(u64::from(whole)));
        prime.offset = prime.residue(scramble(u64::from(whole) + 1));
        prime
    }

    /// The residue of `x`, a whole number below 2^53 in magnitude. What is not finite stays as it is.
    #[inline(always)]
    pub fn reduce(&self, x: f64) -> f64 {
        // Adding and subtracting 1.5 * 2^52 rounds to a whole number.
        const ROUNDS: f64 = 6_755_399_441_055_744.0;
        let quotient = (x * self.inverse + ROUNDS) - ROUNDS;
        let rest = x - quotient * self.modulus;
        // The quotient may be off by one next to a half.
        let rest = if rest > self.half { rest - self.modulus } else { rest };
        let rest = if rest < -self.half { rest + self.modulus } else { rest };
        if x.is_finite() { rest } else { x }
    }

    /// The product of two residues.
    #[inline(always)]
    pub fn mul(&self, a: f64, b: f64) -> f64 {
        self.reduce(a * b)
    }

    /// The residue that the random word `word` selects.
    #[inline(always)]
    pub fn residue(&self, word: u64) -> f64 {
        (((word >> 32) * u64::from(self.whole)) >> 32) as f64 - self.half
    }

    /// `base` to the power of `exponent`.
    pub fn power(&self, base: f64, mut exponent: u32) -> f64 {
        let (mut base, mut result) = (base, 1.0);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = self.mul(result, base);
            }
            base = self.mul(base, base);
            exponent >>= 1;
        }
        result
    }

    /// The number whose product with `a` is 1; 0 for 0, and for an infinity.
    pub fn inverse_of(&self, a: f64) -> f64 {
        if !a.is_finite() {
            return if a.is_nan() { a } else { 0.0 };
        }
        let (mut r, mut next_r) = (i64::from(self.whole), (a as i64).rem_euclid(i64::from(self.whole)));
        let (mut t, mut next_t) = (0i64, 1i64);
        while next_r != 0 {
            let quotient = r / next_r;
            (r, next_r) = (next_r, r - quotient * next_r);
            (t, next_t) = (next_t, t - quotient * next_t);
        }
        if r == 1 { self.reduce(t as f64) } else { 0.0 }
    }

    /// The root, as the module tells.
    pub fn root(&self, a: f64) -> f64 {
        if a.is_finite() { self.power(a, self.whole.div_ceil(4)) } else { a }
    }

    /// Whether `a` counts as positive.
    #[inline(always)]
    pub fn is_positive(&self, a: f64) -> bool {
        if !a.is_finite() {
            return a > 0.0;
        }
        let at = (if a < 0.0 { a + self.modulus } else { a }) as usize;
        self.squares[at / 64] >> (at % 64) & 1 == 1
    }

    /// A stand-in for the larger of two numbers that keeps both: `u larger + (1 - u) smaller` for a random `u`.
    ///
    /// As with the true one, `max(x, y) == max(y, x)`, `max(x, x) == x`, `max(x + c, y + c) == max(x, y) + c`,
    /// `max(c x, c y) == c max(x, y)` for positive `c`, and with `min(x, y) == -max(-x, -y)`, `max(x, y) + min(x, y) == x + y`. It is
    /// not associative. A true choice would hide the other operand, and a wrong graph with it.
    #[inline(always)]
    pub fn max(&self, x: f64, y: f64) -> f64 {
        if x == f64::NEG_INFINITY || y == f64::INFINITY {
            return y;
        }
        if y == f64::NEG_INFINITY || x == f64::INFINITY {
            return x;
        }
        let difference = self.reduce(x - y);
        let (larger, smaller) = if self.is_positive(difference) { (x, y) } else { (y, x) };
        self.reduce(smaller + self.larger_share * (larger - smaller))
    }

    /// What adds up where the largest of many is taken: associative and commutative, but two equal ones are not one of them.
    /// Minus infinity adds nothing.
    #[inline(always)]
    pub fn to_sum(&self, x: f64) -> f64 {
        if x == f64::NEG_INFINITY {
            return 0.0;
        }
        let shifted = self.reduce(x + self.offset);
        self.mul(self.mul(shifted, shifted), shifted)
    }

    /// The inverse of [`to_sum`](Self::to_sum): cubes are different modulo a prime that is 2 modulo 3.
    pub fn of_sum(&self, sum: f64) -> f64 {
        // 3 d == 1 modulo p - 1.
        let exponent = (2 * (u64::from(self.whole) - 1) + 1) / 3;
        self.reduce(self.power(sum, exponent as u32) - self.offset)
    }

    /// A single-precision number: 2^exponent times an odd number, drawn from that unless it is small. So equal numbers are
    /// equal, opposite ones opposite, and powers of 2 what they are.
    #[inline(always)]
    pub fn of_number(&self, number: f32) -> f64 {
        let bits = number.to_bits();
        let (biased, fraction) = (bits >> 23 & 0xFF, bits & 0x007F_FFFF);
        if biased == 0xFF || bits << 1 == 0 {
            return f64::from(number) + 0.0;
        }
        let (mantissa, exponent) =
            if biased == 0 { (fraction, LEAST_EXPONENT) } else { (fraction | 1 << 23, biased as i32 - 150) };
        let zeros = mantissa.trailing_zeros();
        let odd = mantissa >> zeros;
        let drawn = if odd < SMALL { f64::from(odd) } else { self.residue(scramble(u64::from(odd) ^ NUMBERS)) };
        let size = self.mul(drawn, self.powers_of_two[(exponent + zeros as i32 - LEAST_EXPONENT) as usize]);
        if number < 0.0 { -size } else { size }
    }
}

/// Odd numbers below it are themselves.
const SMALL: u32 = 1 << 11;
const NUMBERS: u64 = 0x5DEE_CE66_D1CE_4E5B;

/// A word that depends on every bit of `word` (the finalizer of SplitMix64; Steele, Lea, Flood, OOPSLA 2014).
#[inline(always)]
pub fn scramble(word: u64) -> u64 {
    let word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// A pseudo-random function: the residues that `key` and the residues of the operands give, every lane of each.
#[inline(always)]
pub fn random_of(key: u64, operands: impl Iterator<Item = [f64; LANES]>) -> [f64; LANES] {
    let mut word = key;
    for operand in operands {
        for residue in operand {
            // Adding zero takes the sign from a negative zero.
            word = scramble(word ^ (residue + 0.0).to_bits());
        }
    }
    let mut results = [0.0; LANES];
    for (lane, (result, prime)) in results.iter_mut().zip(primes()).enumerate() {
        *result = prime.residue(scramble(word ^ lane as u64));
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prime_is_a_field_with_positive_numbers() {
        for prime in primes() {
            let (a, b) = (prime.residue(scramble(1)), prime.residue(scramble(2)));
            assert_eq!(prime.mul(prime.inverse_of(a), a), 1.0);
            assert_eq!(prime.inverse_of(0.0), 0.0);
            for number in [1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 11.0, 13.0] {
                assert!(prime.is_positive(number) && !prime.is_positive(-number), "{number}");
                assert_eq!(prime.mul(prime.root(number), prime.root(number)), number);
            }
            assert_eq!(prime.mul(prime.root(a), prime.root(b)), prime.root(prime.mul(a, b)));
            assert_eq!(prime.of_sum(prime.to_sum(a)), a);
            assert_eq!(prime.reduce(prime.modulus * 1e6 + 7.0), 7.0);
            assert_eq!(prime.reduce(f64::NEG_INFINITY), f64::NEG_INFINITY);
        }
    }

    #[test]
    fn the_larger_of_two_keeps_the_laws_that_its_text_lists() {
        for prime in primes() {
            let [x, y, c] = [3, 4, 5].map(|word| prime.residue(scramble(word)));
            let max = prime.max(x, y);
            assert_eq!(max, prime.max(y, x));
            assert_eq!(prime.max(x, x), x);
            assert_eq!(prime.max(prime.reduce(x + c), prime.reduce(y + c)), prime.reduce(max + c));
            assert_eq!(prime.max(prime.mul(6.0, x), prime.mul(6.0, y)), prime.mul(6.0, max));
            assert_eq!(prime.reduce(max - prime.max(-x, -y)), prime.reduce(x + y));
            assert_ne!(max, x);
            assert_ne!(max, y);
            assert_eq!(prime.max(x, f64::NEG_INFINITY), x);
        }
    }

    #[test]
    fn numbers_keep_sign_and_powers_of_two() {
        for prime in primes() {
            let number = prime.of_number(0.1);
            assert_eq!(prime.of_number(-0.1), -number);
            assert_eq!(prime.of_number(0.8), prime.reduce(8.0 * number));
            assert_eq!(prime.of_number(2.5), prime.mul(5.0, prime.inverse_of(2.0)));
            assert_eq!(
                [0.0, -0.0, 1.0, 1024.0].map(|x| prime.of_number(x).to_bits()),
                [0.0f64, 0.0, 1.0, 1024.0].map(f64::to_bits)
            );
            assert_ne!(prime.of_number(0.3), prime.reduce(3.0 * number));
        }
    }
}
