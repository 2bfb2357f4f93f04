//! What can carry real numbers.

use super::{Buffer, Eval, EvalFn};
use crate::narrow::{self, Rounding};
use crate::tensor::Tensor;
use crate::types::Element;
use bytes::Bytes;
use half::{bf16, f16};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Debug;

/// A real function of one variable, by name; exact carriers treat it by its name, others by its formula.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Its formula.
    pub real: fn(f64) -> f64,
}

/// A carrier of real numbers.
pub trait Scalar: Copy + Send + Sync + PartialEq + Debug + 'static {
    /// Its name in verdicts.
    const NAME: &'static str;
    /// False when numbers have no order: `Relu`, `Max` and their like cannot run.
    const ORDERED: bool;
    /// False when functions such as `Exp` cannot run.
    const TRANSCENDENTAL: bool;
    /// True when nothing is rounded, so that what only guards against rounding and overflow is left out.
    const EXACT: bool = false;

    /// The nearest number.
    fn from_f64(value: f64) -> Self;
    /// The number itself, or the nearest.
    fn from_int(value: i128) -> Self;
    /// The nearest double; meaningless in a field.
    fn to_f64(self) -> f64;
    /// Sum.
    fn add(self, other: Self) -> Self;
    /// Difference.
    fn sub(self, other: Self) -> Self;
    /// Product.
    fn mul(self, other: Self) -> Self;
    /// Quotient; in a field, 0 when `other` is 0.
    fn div(self, other: Self) -> Self;
    /// Negation.
    fn neg(self) -> Self;
    /// A real function; never called when `TRANSCENDENTAL` is false.
    fn apply(self, function: &Function) -> Self;
    /// `self` to the power of `exponent`; never called when `TRANSCENDENTAL` is false.
    fn power(self, exponent: Self) -> Self;
    /// The order, `None` for NaN; never called when `ORDERED` is false.
    fn compare(self, other: Self) -> Option<Ordering>;
    /// The sum of `terms`, in at least double precision inside.
    fn sum(terms: impl Iterator<Item = Self>) -> Self;
    /// The sum of the products of pairs, in at least double precision inside.
    fn dot(pairs: impl Iterator<Item = (Self, Self)>) -> Self;
    /// Rounded to what `element` can hold.
    fn round(self, element: Element) -> Self;
    /// The contents of a real tensor; `None` for other elements.
    fn of_tensor(tensor: &Tensor) -> Option<Cow<'_, [Self]>>;
    /// The memory form of `elements` as elements of type `element`, shared; `None` when the carrier holds them otherwise.
    fn shared(_elements: &Buffer<Self>, _element: Element) -> Option<Bytes> {
        None
    }
    /// This carrier's entry; `None` when the interpreter does not run in it.
    fn select(eval: &Eval) -> Option<EvalFn<Self>>;
}

pub(super) fn converted<S: Scalar>(tensor: &Tensor) -> Option<Cow<'_, [S]>> {
    if !tensor.element().is_real() {
        return None;
    }
    Some(Cow::Owned(tensor.to_f64s()?.into_iter().map(S::from_f64).collect()))
}

impl Scalar for f64 {
    const NAME: &'static str = "f64";
    const ORDERED: bool = true;
    const TRANSCENDENTAL: bool = true;

    fn from_f64(value: f64) -> Self {
        value
    }
    fn from_int(value: i128) -> Self {
        value as f64
    }
    fn to_f64(self) -> f64 {
        self
    }
    fn add(self, other: Self) -> Self {
        self + other
    }
    fn sub(self, other: Self) -> Self {
        self - other
    }
    fn mul(self, other: Self) -> Self {
        self * other
    }
    fn div(self, other: Self) -> Self {
        self / other
    }
    fn neg(self) -> Self {
        -self
    }
    fn apply(self, function: &Function) -> Self {
        (function.real)(self)
    }
    fn power(self, exponent: Self) -> Self {
        self.powf(exponent)
    }
    fn compare(self, other: Self) -> Option<Ordering> {
        self.partial_cmp(&other)
    }
    fn sum(terms: impl Iterator<Item = Self>) -> Self {
        terms.sum()
    }
    fn dot(pairs: impl Iterator<Item = (Self, Self)>) -> Self {
        pairs.fold(0.0, |sum, (a, b)| sum + a * b)
    }
    fn round(self, element: Element) -> Self {
        match element {
            Element::Float => f64::from(self as f32),
            Element::Float16 => f16::from_f64(self).to_f64(),
            Element::Bfloat16 => bf16::from_f64(self).to_f64(),
            _ => narrow::round(element, self, Rounding::NEAREST).unwrap_or(self),
        }
    }
    fn of_tensor(tensor: &Tensor) -> Option<Cow<'_, [Self]>> {
        tensor.view::<f64>().or_else(|| converted(tensor))
    }
    fn select(eval: &Eval) -> Option<EvalFn<Self>> {
        Some(eval.f64)
    }
}

impl Scalar for f32 {
    const NAME: &'static str = "f32";
    const ORDERED: bool = true;
    const TRANSCENDENTAL: bool = true;

    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn from_int(value: i128) -> Self {
        value as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn add(self, other: Self) -> Self {
        self + other
    }
    fn sub(self, other: Self) -> Self {
        self - other
    }
    fn mul(self, other: Self) -> Self {
        self * other
    }
    fn div(self, other: Self) -> Self {
        self / other
    }
    fn neg(self) -> Self {
        -self
    }
    fn apply(self, function: &Function) -> Self {
        (function.real)(f64::from(self)) as f32
    }
    fn power(self, exponent: Self) -> Self {
        f64::from(self).powf(f64::from(exponent)) as f32
    }
    fn compare(self, other: Self) -> Option<Ordering> {
        self.partial_cmp(&other)
    }
    fn sum(terms: impl Iterator<Item = Self>) -> Self {
        terms.map(f64::from).sum::<f64>() as f32
    }
    fn dot(pairs: impl Iterator<Item = (Self, Self)>) -> Self {
        pairs.fold(0.0f64, |sum, (a, b)| sum + f64::from(a) * f64::from(b)) as f32
    }
    fn round(self, element: Element) -> Self {
        match element {
            Element::Float16 => f16::from_f32(self).to_f32(),
            Element::Bfloat16 => bf16::from_f32(self).to_f32(),
            _ => narrow::round(element, self.into(), Rounding::NEAREST).map_or(self, |value| value as f32),
        }
    }
    fn of_tensor(tensor: &Tensor) -> Option<Cow<'_, [Self]>> {
        tensor.view::<f32>().or_else(|| converted(tensor))
    }
    fn shared(elements: &Buffer<Self>, element: Element) -> Option<Bytes> {
        struct Owner(Buffer<f32>);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                bytemuck::cast_slice(&self.0)
            }
        }
        (element == Element::Float).then(|| Bytes::from_owner(Owner(elements.clone())))
    }
    fn select(eval: &Eval) -> Option<EvalFn<Self>> {
        Some(eval.f32)
    }
}

/// A number modulo the Mersenne prime 2^61 - 1. Reals enter as exact dyadic fractions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct M61(u64);

const P: u64 = (1 << 61) - 1;

impl M61 {
    /// The residue of `value`.
    pub fn new(value: u64) -> Self {
        M61(value % P)
    }

    fn pow(self, mut exponent: u64) -> Self {
        let (mut base, mut result) = (self, M61(1));
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = result.mul(base);
            }
            base = base.mul(base);
            exponent >>= 1;
        }
        result
    }
}

impl Scalar for M61 {
    const NAME: &'static str = "field 2^61-1";
    const ORDERED: bool = false;
    const TRANSCENDENTAL: bool = false;

    fn from_f64(value: f64) -> Self {
        if value == 0.0 || !value.is_finite() {
            return M61(0);
        }
        // value == mantissa * 2^exponent exactly, and 2 has order 61 in the field.
        let bits = value.abs().to_bits();
        let (biased, fraction) = ((bits >> 52) as i64, bits & ((1 << 52) - 1));
        let (mantissa, exponent) = if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };
        let magnitude = M61::new(mantissa).mul(M61(1 << exponent.rem_euclid(61)));
        if value < 0.0 { magnitude.neg() } else { magnitude }
    }
    fn from_int(value: i128) -> Self {
        M61(value.rem_euclid(i128::from(P)) as u64)
    }
    fn to_f64(self) -> f64 {
        self.0 as f64
    }
    fn add(self, other: Self) -> Self {
        M61::new(self.0 + other.0)
    }
    fn sub(self, other: Self) -> Self {
        M61::new(self.0 + P - other.0)
    }
    fn mul(self, other: Self) -> Self {
        let product = u128::from(self.0) * u128::from(other.0);
        M61::new((product as u64 & P) + (product >> 61) as u64)
    }
    fn div(self, other: Self) -> Self {
        self.mul(other.pow(P - 2))
    }
    fn neg(self) -> Self {
        M61(0).sub(self)
    }
    fn apply(self, _: &Function) -> Self {
        unreachable!("operators ask for TRANSCENDENTAL first")
    }
    fn power(self, _: Self) -> Self {
        unreachable!("operators ask for TRANSCENDENTAL first")
    }
    fn compare(self, _: Self) -> Option<Ordering> {
        unreachable!("operators ask for ORDERED first")
    }
    fn sum(terms: impl Iterator<Item = Self>) -> Self {
        terms.fold(M61(0), Scalar::add)
    }
    fn dot(pairs: impl Iterator<Item = (Self, Self)>) -> Self {
        pairs.fold(M61(0), |sum, (a, b)| sum.add(a.mul(b)))
    }
    fn round(self, _: Element) -> Self {
        self
    }
    fn of_tensor(tensor: &Tensor) -> Option<Cow<'_, [Self]>> {
        converted(tensor)
    }
    // Compiling every operator a third time takes minutes; generic functions run in the field one at a time.
    fn select(_: &Eval) -> Option<EvalFn<Self>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_inverts_multiplication_and_embeds_fractions() {
        let (a, b) = (M61::from_f64(0.375), M61::from_int(-7));
        assert_eq!(a.mul(M61::from_int(8)), M61::from_int(3));
        assert_eq!(a.div(b).mul(b), a);
        assert_eq!(b.add(M61::from_int(7)), M61::new(0));
        assert_eq!(M61::from_f64(2f64.powi(-70)).mul(M61::from_f64(2f64.powi(70))), M61::new(1));
    }
}
