//! Floating-point numbers of 8, 6 and 4 bits: what their codes mean, and how numbers are rounded to them.
//!
//! Sources: the Cast operator of ONNX (rounding, saturation); Micikevicius et al., FP8 Formats for Deep Learning, 2022
//! (E4M3FN, E5M2); Noune et al., 8-bit Numerical Formats for Deep Neural Networks, 2022 (the FNUZ forms); OCP
//! Microscaling Formats 1.0 (E2M1, E2M3, E3M2, E8M0).

use crate::types::Element;

/// A format of one sign bit, exponent and mantissa, with subnormal numbers at exponent 0.
struct Format {
    exponent_bits: u32,
    mantissa_bits: u32,
    bias: i32,
    specials: Specials,
}

/// Which codes are no finite numbers.
#[derive(Clone, Copy, PartialEq)]
enum Specials {
    /// Those of the largest exponent: infinity where the mantissa is 0, NaN elsewhere, as in IEEE 754.
    LargestExponent,
    /// The largest of either sign is NaN; there are no infinities.
    LargestCode,
    /// Negative zero is NaN; there are no infinities.
    NegativeZero,
    /// None.
    Absent,
}

static E4M3FN: Format = Format { exponent_bits: 4, mantissa_bits: 3, bias: 7, specials: Specials::LargestCode };
static E4M3FNUZ: Format = Format { exponent_bits: 4, mantissa_bits: 3, bias: 8, specials: Specials::NegativeZero };
static E5M2: Format = Format { exponent_bits: 5, mantissa_bits: 2, bias: 15, specials: Specials::LargestExponent };
static E5M2FNUZ: Format = Format { exponent_bits: 5, mantissa_bits: 2, bias: 16, specials: Specials::NegativeZero };
static E2M1: Format = Format { exponent_bits: 2, mantissa_bits: 1, bias: 1, specials: Specials::Absent };
static E2M3: Format = Format { exponent_bits: 2, mantissa_bits: 3, bias: 1, specials: Specials::Absent };
static E3M2: Format = Format { exponent_bits: 3, mantissa_bits: 2, bias: 3, specials: Specials::Absent };

fn format(element: Element) -> Option<&'static Format> {
    match element {
        Element::Float8E4M3FN => Some(&E4M3FN),
        Element::Float8E4M3FNUZ => Some(&E4M3FNUZ),
        Element::Float8E5M2 => Some(&E5M2),
        Element::Float8E5M2FNUZ => Some(&E5M2FNUZ),
        Element::Float4E2M1 => Some(&E2M1),
        Element::Float6E2M3 => Some(&E2M3),
        Element::Float6E3M2 => Some(&E3M2),
        _ => None,
    }
}

/// How a number is rounded to a narrow format: the attributes of ONNX's Cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// Numbers beyond the largest become the largest; otherwise infinity, or NaN where there is none.
    pub saturate: bool,
    /// Direction, for float8e8m0 alone; all others round to nearest, halves to even.
    pub mode: RoundMode,
}

impl Rounding {
    /// What storing a number means: every number that the format has stays itself, infinities included.
    pub const NEAREST: Rounding = Rounding { saturate: false, mode: RoundMode::Nearest };
}

/// Direction in which a number is rounded to a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundMode {
    /// To the smallest that is not below it.
    Up,
    /// To the largest that is not above it.
    Down,
    /// To the nearest; halfway, up.
    Nearest,
}

/// The number with this code in a floating-point type of 8 bits or fewer; `None` for all other types.
pub fn decode(element: Element, code: u8) -> Option<f64> {
    match element {
        Element::Float8E8M0 => Some(decode_power(code)),
        _ => format(element).map(|format| format.decode(code)),
    }
}

/// The code of `value` in a floating-point type of 8 bits or fewer; `None` for all other types.
pub fn encode(element: Element, value: f64, rounding: Rounding) -> Option<u8> {
    match element {
        Element::Float8E8M0 => Some(encode_power(value, rounding)),
        _ => format(element).map(|format| format.encode(value, rounding.saturate)),
    }
}

/// `value` rounded to a number that `element` has; `None` unless it is a floating-point type of 8 bits or fewer.
pub fn round(element: Element, value: f64, rounding: Rounding) -> Option<f64> {
    decode(element, encode(element, value, rounding)?)
}

impl Format {
    fn sign(&self) -> u8 {
        1 << (self.exponent_bits + self.mantissa_bits)
    }

    fn infinity(&self) -> Option<u8> {
        (self.specials == Specials::LargestExponent).then(|| self.sign() - (1 << self.mantissa_bits))
    }

    fn largest(&self) -> u8 {
        match self.specials {
            Specials::LargestExponent => self.sign() - (1 << self.mantissa_bits) - 1,
            Specials::LargestCode => self.sign() - 2,
            Specials::NegativeZero | Specials::Absent => self.sign() - 1,
        }
    }

    /// NaN with this sign bit; where there is none, negative zero as in the `ml_dtypes` package of Python.
    fn nan(&self, sign: u8) -> u8 {
        match self.specials {
            Specials::LargestExponent => sign | (self.sign() - (1 << (self.mantissa_bits - 1))),
            Specials::LargestCode => sign | (self.sign() - 1),
            Specials::NegativeZero | Specials::Absent => self.sign(),
        }
    }

    fn decode(&self, code: u8) -> f64 {
        let negative = code & self.sign() != 0;
        let magnitude = code & (self.sign() - 1);
        let value = if magnitude > self.largest() {
            if self.infinity() == Some(magnitude) { f64::INFINITY } else { f64::NAN }
        } else if self.specials == Specials::NegativeZero && code == self.sign() {
            return f64::NAN;
        } else {
            let (exponent, mantissa) = (i32::from(magnitude >> self.mantissa_bits), magnitude & self.mantissa_mask());
            // A normal number has a leading one before its mantissa; a subnormal one shares the least normal exponent.
            let leading = if exponent > 0 { 1 << self.mantissa_bits } else { 0 };
            f64::from(leading + mantissa) * self.step(exponent.max(1) - self.bias)
        };
        if negative { -value } else { value }
    }

    fn mantissa_mask(&self) -> u8 {
        (1 << self.mantissa_bits) - 1
    }

    /// Distance between neighbouring numbers of this exponent.
    fn step(&self, exponent: i32) -> f64 {
        power_of_two(exponent - self.mantissa_bits as i32)
    }

    fn encode(&self, value: f64, saturate: bool) -> u8 {
        let sign = if value.is_sign_negative() { self.sign() } else { 0 };
        if value.is_nan() {
            return self.nan(sign);
        }
        let least = 1 - self.bias;
        let exponent = exponent_of(value).max(least);
        // At most 2^(mantissa_bits + 1), except for numbers that are out of range anyway.
        let steps = (value.abs() / self.step(exponent)).round_ties_even();
        let base = f64::from(exponent - least) * f64::from(1u32 << self.mantissa_bits);
        // Codes count on through the exponents: rounding up to a power of two carries into the exponent by itself.
        let magnitude = base + steps;
        if magnitude > f64::from(self.largest()) {
            return match self.infinity() {
                _ if saturate || self.specials == Specials::Absent => sign | self.largest(),
                Some(infinity) => sign | infinity,
                None => self.nan(sign),
            };
        }
        match magnitude as u8 {
            0 if self.specials == Specials::NegativeZero => 0,
            magnitude => sign | magnitude,
        }
    }
}

const POWER_BIAS: i32 = 127;
const POWER_NAN: u8 = 0xFF;

fn decode_power(code: u8) -> f64 {
    if code == POWER_NAN { f64::NAN } else { power_of_two(i32::from(code) - POWER_BIAS) }
}

/// The code of float8e8m0, which has powers of two and NaN alone. Negative numbers, which ONNX leaves open, are NaN.
fn encode_power(value: f64, rounding: Rounding) -> u8 {
    if value.is_nan() || value < 0.0 {
        return POWER_NAN;
    }
    // Far outside the range a bound does as well as the exponent, and its power of two exists.
    let exponent = exponent_of(value).clamp(-2 * POWER_BIAS, 2 * POWER_BIAS);
    let up = match rounding.mode {
        RoundMode::Up => value > power_of_two(exponent),
        RoundMode::Down => false,
        RoundMode::Nearest => value >= 1.5 * power_of_two(exponent),
    };
    let code = exponent + i32::from(up) + POWER_BIAS;
    match u8::try_from(code) {
        Ok(code) if code != POWER_NAN => code,
        _ if !rounding.saturate => POWER_NAN,
        _ if code < 0 => 0,
        _ => POWER_NAN - 1,
    }
}

/// The largest `n` with `2^n <= |value|`; below the range of normal numbers -1023, for infinity 1024.
fn exponent_of(value: f64) -> i32 {
    (value.to_bits() >> 52 & 0x7FF) as i32 - 1023
}

/// `2^exponent`, for exponents of normal numbers.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}
