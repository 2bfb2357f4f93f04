//! Whether a value is the expected one, as ONNX's own test runner decides it.

use crate::ir::value::Value;
use crate::ir::{Element, Tensor};
use serde::Deserialize;

/// How far numbers may differ: `|found - expected| <= atol + rtol * |expected|`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// Relative to the expected number.
    pub rtol: f64,
    /// Absolute.
    pub atol: f64,
}

impl Tolerance {
    /// What ONNX's runner allows a case that says nothing.
    pub const STANDARD: Tolerance = Tolerance { rtol: 1e-3, atol: 1e-7 };

    /// The tolerance for results of type `element`: bfloat16 may be off by two units in the last place.
    fn of(self, element: Element) -> Self {
        const TWO_UNITS: f64 = 1.0 / 64.0;
        if element == Element::Bfloat16 { Self { rtol: self.rtol.max(TWO_UNITS), ..self } } else { self }
    }

    /// Two real or complex numbers, a NaN like every other, an infinity like itself.
    fn holds(self, found: [f64; 2], expected: [f64; 2]) -> bool {
        let is_nan = |number: [f64; 2]| number.iter().any(|part| part.is_nan());
        if found == expected || is_nan(found) || is_nan(expected) {
            return found == expected || (is_nan(found) && is_nan(expected));
        }
        let distance = (found[0] - expected[0]).hypot(found[1] - expected[1]);
        distance.is_finite() && distance <= self.atol + self.rtol * expected[0].hypot(expected[1])
    }
}

/// What tells `found` from `expected`, in words; `None` when it is the expected value.
///
/// Element types and shapes must be equal, strings equal byte by byte, sequences element by element. An optional value that
/// is there is its contents.
pub fn difference(found: &Value<Tensor>, expected: &Value<Tensor>, tolerance: Tolerance) -> Option<String> {
    match (found, expected) {
        (Value::Tensor(found), Value::Tensor(expected)) => tensors(found, expected, tolerance),
        (Value::Optional(None), Value::Optional(None)) => None,
        (Value::Optional(Some(found)), expected) => difference(found, expected, tolerance),
        (found, Value::Optional(Some(expected))) => difference(found, expected, tolerance),
        (Value::Sequence(found), Value::Sequence(expected)) if found.len() != expected.len() => {
            Some(format!("expected a sequence of {}, found one of {}", expected.len(), found.len()))
        }
        (Value::Sequence(found), Value::Sequence(expected)) => {
            let mut pairs = found.iter().zip(expected).enumerate();
            pairs.find_map(|(at, (found, expected))| {
                difference(found, expected, tolerance).map(|what| format!("[{at}]: {what}"))
            })
        }
        (found, expected) => Some(format!("expected {}, found {}", kind(expected), kind(found))),
    }
}

/// What kind of value it is, in words.
pub fn kind(value: &Value<Tensor>) -> &'static str {
    match value {
        Value::Tensor(_) => "a tensor",
        Value::Sequence(_) => "a sequence",
        Value::Optional(None) => "nothing",
        Value::Optional(Some(_)) => "an optional value",
    }
}

fn tensors(found: &Tensor, expected: &Tensor, tolerance: Tolerance) -> Option<String> {
    if (found.element(), found.shape()) != (expected.element(), expected.shape()) {
        return Some(format!("expected {}, found {}", expected.ty(), found.ty()));
    }
    if found == expected {
        return None;
    }
    let (Some(left), Some(right)) = (numbers(found), numbers(expected)) else {
        return Some(format!("the elements of {} differ", expected.ty()));
    };
    let tolerance = tolerance.of(expected.element());
    let mut differing = (0..right.len()).filter(|&at| !tolerance.holds(left[at], right[at]));
    let first = differing.next()?;
    let n_differing = 1 + differing.count();
    let (expected, found) = (shown(right[first]), shown(left[first]));
    Some(format!(
        "{n_differing} of {} elements differ, the first at {first}: expected {expected}, found {found}",
        right.len()
    ))
}

/// All elements as complex numbers; `None` for strings and elements that do not convert.
fn numbers(tensor: &Tensor) -> Option<Vec<[f64; 2]>> {
    let bytes = tensor.bytes();
    match tensor.element() {
        Element::Complex64 => {
            let part = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().unwrap_or_default()));
            Some(bytes.chunks_exact(8).map(|pair| [part(&pair[..4]), part(&pair[4..])]).collect())
        }
        Element::Complex128 => {
            let part = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().unwrap_or_default());
            Some(bytes.chunks_exact(16).map(|pair| [part(&pair[..8]), part(&pair[8..])]).collect())
        }
        _ => Some(tensor.to_f64s()?.into_iter().map(|real| [real, 0.0]).collect()),
    }
}

fn shown([real, imaginary]: [f64; 2]) -> String {
    if imaginary == 0.0 { format!("{real}") } else { format!("{real}{imaginary:+}i") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(values: &[f32]) -> Value<Tensor> {
        Value::Tensor(Tensor::vector(values))
    }

    fn compare(found: &Value<Tensor>, expected: &Value<Tensor>) -> Option<String> {
        difference(found, expected, Tolerance::STANDARD)
    }

    #[test]
    fn the_tolerance_is_relative_to_what_is_expected() {
        assert_eq!(compare(&vector(&[1000.9]), &vector(&[1000.0])), None);
        let found = compare(&vector(&[0.0, 1.0011]), &vector(&[0.0, 1.0])).expect("a difference");
        assert!(found.starts_with("1 of 2 elements differ, the first at 1: expected 1, found 1.001"), "{found}");
    }

    #[test]
    fn a_nan_is_like_every_nan_and_an_infinity_like_itself() {
        let special = vector(&[f32::NAN, f32::INFINITY]);
        assert_eq!(compare(&special, &special), None);
        assert!(compare(&vector(&[f32::INFINITY]), &vector(&[1.0])).is_some());
        assert!(compare(&vector(&[1.0]), &vector(&[f32::INFINITY])).is_some());
        assert!(compare(&vector(&[f32::NEG_INFINITY]), &vector(&[f32::INFINITY])).is_some());
    }

    #[test]
    fn another_element_type_or_shape_differs() {
        let found = compare(&Value::Tensor(Tensor::vector(&[1i32])), &vector(&[1.0]));
        assert_eq!(found.as_deref(), Some("expected float[1], found int32[1]"));
    }

    #[test]
    fn an_optional_value_is_its_contents() {
        let present = Value::Optional(Some(Box::new(vector(&[1.0]))));
        assert_eq!(compare(&present, &vector(&[1.0])), None);
        assert_eq!(compare(&vector(&[1.0]), &present), None);
        assert!(compare(&Value::Optional(None), &vector(&[1.0])).is_some());
    }

    #[test]
    fn sequences_are_compared_element_by_element() {
        let sequence = |last| Value::Sequence(vec![vector(&[1.0]), vector(&[last])]);
        assert_eq!(compare(&sequence(2.0), &sequence(2.0)), None);
        let found = compare(&sequence(2.0), &sequence(3.0)).expect("a difference");
        assert!(found.starts_with("[1]: 1 of 1 elements"), "{found}");
    }
}
