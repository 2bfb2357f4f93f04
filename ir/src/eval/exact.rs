//! Exact numbers: residues modulo a pair of primes, and a fraction while order matters.
//!
//! A number is known modulo `P` and modulo `Q`, where `P == 2 Q + 1`. Sums, products and quotients are taken in both fields,
//! so two rational functions that differ are told apart except with probability degree / `Q` for a random argument
//! (Schwartz 1980, Zippel 1979). The powers of an element of order `Q` turn a sum modulo `Q` into a product modulo `P`;
//! so `Exp`, and what is made of it, is exact as well, but its result is known modulo `P` alone (the construction of Jia
//! et al., "TASO", SOSP 2019, carried to exponentials by Wu et al., "Mirage", OSDI 2025). Every other function is a keyed
//! pseudo-random function of its operand: equal operands give equal results, and no other law of it is known.
//!
//! Comparisons read the fraction, which is there as long as numerator and denominator fit 128 bits, or else a double with a
//! bound of its error that is carried along ([`Bounded`]): it says what floating point makes of the same computation.

use super::bounded::Bounded;
use super::scalar::{Function, Scalar, converted};
use super::{Eval, EvalFn};
use crate::tensor::Tensor;
use crate::types::Element;
use std::borrow::Cow;
use std::cell::Cell;
use std::cmp::Ordering;

const P: u64 = 4_611_686_018_427_377_339;
const Q: u64 = 2_305_843_009_213_688_669;
// A square modulo `P`, hence of order `Q`.
const GENERATOR: u64 = 4;

/// A number that is never rounded. See the module.
#[derive(Clone, Copy, Debug)]
pub struct Exact {
    p: u64,
    q: Option<u64>,
    fraction: Option<Fraction>,
    near: Bounded,
}

/// What limits the meaning of results that were computed with [`Exact`] numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// A function was taken as a pseudo-random one: equal results are meaningful, different ones are not.
    pub is_opaque: bool,
    /// An exponential was taken.
    pub is_exponential: bool,
    /// Something was compared.
    pub is_ordered: bool,
    /// The order of two numbers was asked that is not known: the results mean nothing.
    pub is_lost: bool,
    /// Something was divided by zero, or is not a number: the results mean nothing.
    pub is_undefined: bool,
    /// Something depends on the order of numbers that rounding may exchange: bounds of errors mean nothing.
    pub is_close: bool,
}

thread_local! {
    // Numbers have no context to report to; a run is on one thread.
    static TRACE: Cell<Trace> = const { Cell::new(Trace {
        is_opaque: false,
        is_exponential: false,
        is_ordered: false,
        is_lost: false,
        is_undefined: false,
        is_close: false,
    }) };
}

fn note(change: impl FnOnce(&mut Trace)) {
    TRACE.with(|cell| {
        let mut trace = cell.get();
        change(&mut trace);
        cell.set(trace);
    });
}

impl Exact {
    /// What `run` gives, and what limits the meaning of its results.
    pub fn traced<R>(run: impl FnOnce() -> R) -> (R, Trace) {
        let before = TRACE.with(|cell| cell.replace(Trace::default()));
        let result = run();
        (result, TRACE.with(|cell| cell.replace(before)))
    }

    /// What floating point makes of the computation that led here, each call's result rounded to its element type.
    pub fn bounded(self) -> Bounded {
        self.near
    }

    fn opaque(name: &str, operands: &[Exact], near: Bounded) -> Self {
        note(|trace| trace.is_opaque = true);
        let words = name.bytes().map(u64::from).chain(operands.iter().map(|operand| operand.p));
        let key = words.fold(0x9E37_79B9_7F4A_7C15, |key, word| scramble(key ^ word));
        Self { p: scramble(key) % P, q: Some(scramble(key ^ 1) % Q), fraction: None, near }
    }

    fn exp(self) -> Self {
        let near = self.near.apply(f64::exp);
        note(|trace| trace.is_exponential = true);
        match self.q {
            Some(exponent) => Self { p: pow::<P>(GENERATOR, exponent), q: None, fraction: None, near },
            // Two levels of exponentials would need a third prime.
            None => Self::opaque("Exp", &[self], near),
        }
    }

    fn undefined() -> Self {
        note(|trace| trace.is_undefined = true);
        Self { p: 0, q: Some(0), fraction: None, near: Bounded { value: f64::NAN, error: f64::INFINITY } }
    }

    fn combine(
        self,
        other: Self,
        in_p: fn(u64, u64) -> u64,
        in_q: fn(u64, u64) -> u64,
        exactly: fn(Fraction, Fraction) -> Option<Fraction>,
        near: Bounded,
    ) -> Self {
        if self.is_infinite() || other.is_infinite() {
            return Self::undefined();
        }
        Self {
            p: in_p(self.p, other.p),
            q: self.q.zip(other.q).map(|(a, b)| in_q(a, b)),
            fraction: self.fraction.zip(other.fraction).and_then(|(a, b)| exactly(a, b)),
            near,
        }
    }

    fn is_infinite(self) -> bool {
        self.fraction.is_some_and(|fraction| fraction.below == 0)
    }

    fn of_fraction(fraction: Fraction, near: f64) -> Self {
        let residue = |prime: i128| fraction.above.rem_euclid(prime) as u64;
        let (p, q) = (residue(i128::from(P)), residue(i128::from(Q)));
        let below = |prime: i128| fraction.below.rem_euclid(prime) as u64;
        Self {
            p: if fraction.below == 1 { p } else { mul::<P>(p, inverse::<P>(below(i128::from(P)))) },
            q: Some(if fraction.below == 1 { q } else { mul::<Q>(q, inverse::<Q>(below(i128::from(Q)))) }),
            fraction: Some(fraction),
            near: Bounded::known(near),
        }
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.p == other.p && self.q.zip(other.q).is_none_or(|(a, b)| a == b)
    }
}

fn scramble(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

fn add<const M: u64>(a: u64, b: u64) -> u64 {
    // Both are below 2^62.
    let sum = a + b;
    if sum >= M { sum - M } else { sum }
}

fn sub<const M: u64>(a: u64, b: u64) -> u64 {
    add::<M>(a, if b == 0 { 0 } else { M - b })
}

fn mul<const M: u64>(a: u64, b: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(M)) as u64
}

fn pow<const M: u64>(mut base: u64, mut exponent: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = mul::<M>(result, base);
        }
        base = mul::<M>(base, base);
        exponent >>= 1;
    }
    result
}

fn inverse<const M: u64>(a: u64) -> u64 {
    pow::<M>(a, M - 2)
}

/// A fraction in lowest terms, `below` positive; `below` is 0 for an infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fraction {
    above: i128,
    below: i128,
}

impl Fraction {
    fn whole(above: i128) -> Self {
        Self { above, below: 1 }
    }

    fn reduced(above: i128, below: i128) -> Option<Self> {
        let (mut a, mut b) = (above.checked_abs()?, below.checked_abs()?);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let divisor = if below < 0 { -a } else { a };
        Some(Self { above: above.checked_div(divisor)?, below: below.checked_div(divisor)? })
    }

    fn add(self, other: Self) -> Option<Self> {
        if self.below == 1 && other.below == 1 {
            return self.above.checked_add(other.above).map(Self::whole);
        }
        let above = self.above.checked_mul(other.below)?.checked_add(other.above.checked_mul(self.below)?)?;
        Self::reduced(above, self.below.checked_mul(other.below)?)
    }

    fn mul(self, other: Self) -> Option<Self> {
        let above = self.above.checked_mul(other.above)?;
        if self.below == 1 && other.below == 1 {
            return Some(Self::whole(above));
        }
        Self::reduced(above, self.below.checked_mul(other.below)?)
    }

    fn negated(self) -> Self {
        // The least 128-bit integer is never reached: every result above is checked, and it has no positive counterpart.
        Self { above: self.above.saturating_neg(), below: self.below }
    }

    fn compare(self, other: Self) -> Option<Ordering> {
        if self.below == other.below && self.below != 0 {
            return Some(self.above.cmp(&other.above));
        }
        match (self.below, other.below) {
            (0, 0) => Some(self.above.cmp(&other.above)),
            (0, _) => Some(self.above.cmp(&0)),
            (_, 0) => Some(0.cmp(&other.above)),
            _ => Some(self.above.checked_mul(other.below)?.cmp(&other.above.checked_mul(self.below)?)),
        }
    }
}

impl Scalar for Exact {
    const NAME: &'static str = "exact arithmetic";
    const ORDERED: bool = true;
    const TRANSCENDENTAL: bool = true;
    const EXACT: bool = true;

    fn from_f64(value: f64) -> Self {
        if value.is_nan() {
            return Self::undefined();
        }
        if value.is_infinite() {
            let above = if value > 0.0 { 1 } else { -1 };
            return Self {
                p: scramble(above as u64) % P,
                q: None,
                fraction: Some(Fraction { above, below: 0 }),
                near: Bounded::known(value),
            };
        }
        if value == 0.0 {
            return Self::from_int(0);
        }
        let bits = value.abs().to_bits();
        let (biased, fraction) = ((bits >> 52) as i32, bits & ((1 << 52) - 1));
        let (mantissa, exponent) = if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };
        let zeros = mantissa.trailing_zeros();
        let (mantissa, exponent) = (mantissa >> zeros, exponent + zeros as i32);
        let signed = if value < 0.0 { -i128::from(mantissa) } else { i128::from(mantissa) };
        let whole = Self::from_int(signed);
        let times = u64::from(exponent.unsigned_abs());
        let (in_p, in_q) = if exponent < 0 { (P.div_ceil(2), Q.div_ceil(2)) } else { (2, 2) };
        let power = i128::from(mantissa).leading_zeros() > exponent.unsigned_abs() + 1 && times < 126;
        Self {
            p: mul::<P>(whole.p, pow::<P>(in_p, times)),
            q: whole.q.map(|q| mul::<Q>(q, pow::<Q>(in_q, times))),
            fraction: match exponent {
                ..0 if times < 100 => Some(Fraction { above: signed, below: 1 << times }),
                0.. if power => Some(Fraction::whole(signed << times)),
                _ => None,
            },
            near: Bounded::known(value),
        }
    }
    fn from_int(value: i128) -> Self {
        Self::of_fraction(Fraction::whole(value), value as f64)
    }
    fn to_f64(self) -> f64 {
        if self.near.error > 0.0 {
            note(|trace| trace.is_close = true);
        }
        match self.fraction {
            Some(Fraction { above, below: 0 }) => f64::INFINITY.copysign(above as f64),
            Some(Fraction { above, below }) => above as f64 / below as f64,
            None => {
                note(|trace| trace.is_lost = true);
                self.p as f64
            }
        }
    }
    fn add(self, other: Self) -> Self {
        self.combine(other, add::<P>, add::<Q>, Fraction::add, self.near.add(other.near))
    }
    fn sub(self, other: Self) -> Self {
        self.combine(other, sub::<P>, sub::<Q>, |a, b| a.add(b.negated()), self.near.add(other.near.neg()))
    }
    fn mul(self, other: Self) -> Self {
        self.combine(other, mul::<P>, mul::<Q>, Fraction::mul, self.near.mul(other.near))
    }
    fn div(self, other: Self) -> Self {
        if other.p == 0 || other.q == Some(0) || other.is_infinite() {
            return Self::undefined();
        }
        let inverse = Self {
            p: inverse::<P>(other.p),
            q: other.q.map(inverse::<Q>),
            fraction: other.fraction.and_then(|fraction| Fraction::reduced(fraction.below, fraction.above)),
            near: other.near,
        };
        Self { near: self.near.div(other.near), ..self.mul(inverse) }
    }
    fn neg(self) -> Self {
        Self::from_int(0).sub(self)
    }
    fn apply(self, function: &Function) -> Self {
        let one = Self::from_int(1);
        let near = self.near.apply(function.real);
        let floor = |x: Fraction| x.above.checked_div_euclid(x.below);
        let result = match (function.name, self.fraction) {
            ("Exp", _) => self.exp(),
            ("Expm1", _) => self.exp().sub(one),
            ("Sigmoid", _) => one.div(one.add(self.neg().exp())),
            ("Tanh", _) => {
                let square = self.add(self).exp();
                square.sub(one).div(square.add(one))
            }
            ("Abs", Some(x)) if x.above >= 0 => self,
            ("Abs", Some(_)) => self.neg(),
            ("Abs", None) if !self.near.is_close(Bounded::known(0.0)) => {
                if self.near.value > 0.0 {
                    self
                } else {
                    self.neg()
                }
            }
            ("Floor", Some(x)) if x.below > 0 => floor(x).map_or_else(Self::undefined, Self::from_int),
            ("Ceil", Some(x)) if x.below > 0 => {
                floor(x.negated()).map_or_else(Self::undefined, |floor| Self::from_int(-floor))
            }
            (name, _) => Self::opaque(name, &[self], near),
        };
        Self { near, ..result }
    }
    fn power(self, exponent: Self) -> Self {
        let near = self.near.through(exponent.near, f64::powf);
        let result = match exponent.fraction {
            Some(Fraction { above, below: 1 }) if above.abs() <= 64 => {
                let product = (0..above.abs()).fold(Self::from_int(1), |product, _| product.mul(self));
                if above < 0 { Self::from_int(1).div(product) } else { product }
            }
            Some(Fraction { above: 1, below: 2 }) => Self::opaque("Sqrt", &[self], near),
            _ => Self::opaque("Pow", &[self, exponent], near),
        };
        Self { near, ..result }
    }
    fn compare(self, other: Self) -> Option<Ordering> {
        let is_close = self.near.is_close(other.near);
        note(|trace| {
            trace.is_ordered = true;
            trace.is_close |= is_close && self.near.error + other.near.error > 0.0;
        });
        let order = self.fraction.zip(other.fraction).and_then(|(a, b)| a.compare(b));
        order.or_else(|| if is_close { None } else { self.near.value.partial_cmp(&other.near.value) }).or_else(|| {
            if self != other {
                note(|trace| trace.is_lost = true);
            }
            Some(self.p.cmp(&other.p))
        })
    }
    fn sum(terms: impl Iterator<Item = Self>) -> Self {
        terms.fold(Self::from_int(0), Scalar::add)
    }
    fn dot(pairs: impl Iterator<Item = (Self, Self)>) -> Self {
        pairs.fold(Self::from_int(0), |sum, (a, b)| sum.add(a.mul(b)))
    }
    fn round(self, element: Element) -> Self {
        Self { near: self.near.round(element), ..self }
    }
    fn of_tensor(tensor: &Tensor) -> Option<Cow<'_, [Self]>> {
        converted(tensor)
    }
    fn select(eval: &Eval) -> Option<EvalFn<Self>> {
        Some(eval.exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXP: Function = Function { name: "Exp", real: f64::exp };

    #[test]
    fn fractions_and_residues_agree() {
        let (a, b) = (Exact::from_f64(0.375), Exact::from_int(-7));
        assert_eq!(a.mul(Exact::from_int(8)), Exact::from_int(3));
        assert_eq!(a.div(b).mul(b), a);
        assert_eq!(a.div(b).fraction, Some(Fraction { above: -3, below: 56 }));
        assert_eq!(Exact::from_f64(2f64.powi(-70)).mul(Exact::from_f64(2f64.powi(70))), Exact::from_int(1));
        assert_eq!(Exact::from_f64(-2.5).compare(Exact::from_f64(0.5)), Some(Ordering::Less));
        assert_eq!(Exact::from_f64(f64::NEG_INFINITY).compare(b), Some(Ordering::Less));
        assert_eq!(Exact::from_f64(-2.5).to_f64(), -2.5);
    }

    #[test]
    fn exponentials_turn_sums_into_products() {
        let (a, b) = (Exact::from_f64(0.375), Exact::from_f64(-1.7));
        let (product, trace) = Exact::traced(|| a.apply(&EXP).mul(b.apply(&EXP)));
        assert_eq!(product, a.add(b).apply(&EXP));
        assert_ne!(product, a.sub(b).apply(&EXP));
        assert_eq!(trace, Trace { is_exponential: true, ..Trace::default() });
    }

    #[test]
    fn numbers_far_apart_are_compared_by_their_doubles() {
        let (one, e) = (Exact::from_int(1), Exact::from_int(1).apply(&EXP));
        let (order, trace) = Exact::traced(|| e.compare(one));
        assert_eq!(order, Some(Ordering::Greater));
        assert!(!trace.is_lost && !trace.is_close);
    }

    #[test]
    fn what_means_nothing_is_noted() {
        let (one, zero) = (Exact::from_int(1), Exact::from_int(0));
        assert!(Exact::traced(|| one.div(zero)).1.is_undefined);
        let (a, b) = (one.apply(&EXP), one.add(Exact::from_f64(f64::EPSILON)).apply(&EXP));
        assert!(Exact::traced(|| a.compare(b)).1.is_lost);
        assert!(Exact::traced(|| one.apply(&EXP).apply(&EXP)).1.is_opaque);
        assert!(!Exact::traced(|| one.compare(zero)).1.is_lost);
    }
}
