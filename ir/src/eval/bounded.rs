//! Doubles with a bound of their error, computed beside them: running error analysis (Wilkinson, "Error analysis revisited",
//! 1986; Higham, "Accuracy and stability of numerical algorithms", 2002, section 3.3).
//!
//! Each operation passes on the bounds of its operands to first order and adds its own rounding. Whoever compares allows
//! twice the bound, for terms of higher order and for an order of operations that is not the one seen here.

use crate::types::Element;

/// A double, and how far the real number that it stands for may be from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounded {
    /// What floating point computes, up to the bound.
    pub value: f64,
    /// The bound; infinite where there is none, as after a division by what may be zero.
    pub error: f64,
}

const ROUNDOFF: f64 = f64::EPSILON / 2.0;
// Exponentials and their like are right to a few units in the last place.
const FUNCTION_ROUNDOFF: f64 = 8.0 * ROUNDOFF;

impl Bounded {
    /// A number that is known as it is.
    pub(super) fn known(value: f64) -> Self {
        Self { value, error: 0.0 }
    }

    fn new(value: f64, error: f64, roundoff: f64) -> Self {
        let error = error + roundoff * value.abs();
        // Without a value there is no bound either.
        Self { value, error: if error.is_nan() { f64::INFINITY } else { error } }
    }

    pub(super) fn add(self, other: Self) -> Self {
        Self::new(self.value + other.value, self.error + other.error, ROUNDOFF)
    }

    pub(super) fn neg(self) -> Self {
        Self { value: -self.value, error: self.error }
    }

    pub(super) fn mul(self, other: Self) -> Self {
        let error = self.value.abs() * other.error + other.value.abs() * self.error + self.error * other.error;
        Self::new(self.value * other.value, error, ROUNDOFF)
    }

    pub(super) fn div(self, other: Self) -> Self {
        let quotient = self.value / other.value;
        let least = other.value.abs() - other.error;
        let error = if least > 0.0 { (self.error + quotient.abs() * other.error) / least } else { f64::INFINITY };
        Self::new(quotient, error, ROUNDOFF)
    }

    pub(super) fn apply(self, function: impl Fn(f64) -> f64) -> Self {
        self.through(Self::known(0.0), |x, _| function(x))
    }

    /// A function of two numbers, which is taken to vary most between the middle and the ends of their bounds.
    pub(super) fn through(self, other: Self, function: impl Fn(f64, f64) -> f64) -> Self {
        let value = function(self.value, other.value);
        let mut error: f64 = 0.0;
        for (a, b) in [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0), (-0.5, 0.5), (0.5, -0.5)] {
            if self.error > 0.0 || other.error > 0.0 {
                let moved = function(self.value + a * self.error, other.value + b * other.error);
                let distance = (moved - value).abs();
                error = error.max(if distance.is_nan() { f64::INFINITY } else { distance });
            }
        }
        Self::new(value, error, FUNCTION_ROUNDOFF)
    }

    /// The bound after rounding to `element`; infinite beyond its largest number.
    pub fn round(self, element: Element) -> Self {
        let Some((roundoff, least, largest)) = format(element) else { return self };
        if self.value.abs() + self.error > largest {
            return Self { value: self.value, error: f64::INFINITY };
        }
        Self::new(self.value, self.error + least, roundoff)
    }

    /// True when the real numbers that both stand for may be equal, or in the other order than the values.
    pub(super) fn is_close(self, other: Self) -> bool {
        let distance = (self.value - other.value).abs();
        // The distance of two infinities is no number.
        distance.is_nan() || distance <= 2.0 * (self.error + other.error)
    }
}

/// Unit roundoff, half the least positive number, and the largest number of a floating-point type.
fn format(element: Element) -> Option<(f64, f64, f64)> {
    Some(match element {
        Element::Double => (ROUNDOFF, 0.0, f64::MAX),
        Element::Float => (2f64.powi(-24), 2f64.powi(-150), f64::from(f32::MAX)),
        Element::Float16 => (2f64.powi(-11), 2f64.powi(-25), 65504.0),
        Element::Bfloat16 => (2f64.powi(-8 - 1), 2f64.powi(-134), f64::from(half::bf16::MAX)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Scalar;

    #[test]
    fn a_bound_holds_the_number_that_it_stands_for() {
        let third = Bounded::known(1.0).div(Bounded::known(3.0)).round(Element::Float16);
        let rounded = Scalar::round(third.value, Element::Float16);
        assert!((rounded - 1.0 / 3.0).abs() <= third.error && third.error < 2e-4, "{third:?}");
        let difference = third.add(Bounded::known(-0.333));
        assert!((rounded - 0.333 - (1.0 / 3.0 - 0.333)).abs() <= difference.error, "{difference:?}");
        let power = third.apply(|x| (40.0 * x).exp());
        assert!(((40.0 * rounded).exp() - (40.0f64 / 3.0).exp()).abs() <= 2.0 * power.error, "{power:?}");
    }

    #[test]
    fn what_may_be_infinite_has_no_bound() {
        let tiny = Bounded::known(1e-9).round(Element::Float16);
        assert_eq!(Bounded::known(1.0).div(tiny).error, f64::INFINITY);
        assert_eq!(Bounded::known(70000.0).round(Element::Float16).error, f64::INFINITY);
        assert_eq!(Bounded { value: 0.0, error: 1e-3 }.apply(f64::ln).error, f64::INFINITY);
    }
}
