//! The values that the interpreter computes with.

use super::array::Buffer;
use super::scalar::Scalar;
use crate::codec;
use crate::op::Reason;
use crate::tensor::{Data, Tensor, TensorError, count_of};
use crate::types::{Element, ElementKind};
use bytes::Bytes;
use std::borrow::Cow;
use std::marker::PhantomData;

/// A tensor in a carrier: real elements are `S`, all others exact.
#[derive(Clone, Debug)]
pub struct Datum<S> {
    /// Declared element type; real elements hold what the carrier holds.
    pub element: Element,
    /// Size of each axis, outermost first.
    pub shape: Vec<usize>,
    /// The elements, row-major.
    pub contents: Contents<S>,
}

/// The elements of a [`Datum`].
#[derive(Clone, Debug)]
pub enum Contents<S> {
    /// Floating-point elements.
    Real(Buffer<S>),
    /// Integers of any width, each within the range of its element type.
    Int(Buffer<i128>),
    /// Truth values.
    Bool(Buffer<bool>),
    /// Byte strings.
    Text(Buffer<Bytes>),
    /// Real and imaginary part of complex numbers of either width, which are moved but not computed with.
    Complex(Buffer<[f64; 2]>),
}

impl<S: Scalar> Datum<S> {
    /// True when shapes and elements are equal; real elements as their carrier compares them.
    pub fn equals(&self, other: &Self) -> bool {
        self.shape == other.shape
            && match (&self.contents, &other.contents) {
                (Contents::Real(a), Contents::Real(b)) => a[..] == b[..],
                (Contents::Int(a), Contents::Int(b)) => a[..] == b[..],
                (Contents::Bool(a), Contents::Bool(b)) => a[..] == b[..],
                (Contents::Text(a), Contents::Text(b)) => a[..] == b[..],
                (Contents::Complex(a), Contents::Complex(b)) => a[..] == b[..],
                _ => false,
            }
    }

    /// Real elements.
    pub fn of_real(element: Element, shape: &[usize], elements: Vec<S>) -> Self {
        Self { element, shape: shape.to_vec(), contents: Contents::Real(elements.into()) }
    }

    /// Integers, wrapped to the width of `element`.
    pub fn of_int(element: Element, shape: &[usize], elements: Vec<i128>) -> Self {
        let wrapped: Vec<i128> = elements.into_iter().map(|value| wrap(element, value)).collect();
        Self { element, shape: shape.to_vec(), contents: Contents::Int(wrapped.into()) }
    }

    /// 64-bit integers.
    pub fn of_i64s(shape: &[usize], elements: &[i64]) -> Self {
        Self::of_int(Element::Int64, shape, elements.iter().map(|&value| i128::from(value)).collect())
    }

    /// Truth values.
    pub fn of_bool(shape: &[usize], elements: Vec<bool>) -> Self {
        Self { element: Element::Bool, shape: shape.to_vec(), contents: Contents::Bool(elements.into()) }
    }

    /// The contents of `tensor` in the carrier. Errors: integers beyond 64 bits, which no element type has.
    pub fn of_tensor(tensor: &Tensor) -> Result<Self, Reason> {
        let unsupported = || Reason(format!("{} is not evaluated", tensor.element()));
        let contents = match tensor.element().kind() {
            ElementKind::Real => match S::of_tensor(tensor).ok_or_else(unsupported)? {
                // Borrowed contents stay shared with the weight; only conversions copy.
                Cow::Borrowed(_) => Contents::Real(Buffer::new(View(tensor.clone(), PhantomData))),
                Cow::Owned(elements) => Contents::Real(elements.into()),
            },
            ElementKind::Bool => {
                let elements: Vec<bool> = tensor.bytes().iter().map(|&byte| byte != 0).collect();
                Contents::Bool(elements.into())
            }
            ElementKind::Signed | ElementKind::Unsigned => {
                let elements: Vec<i128> = match tensor.view::<u64>() {
                    Some(view) => view.iter().map(|&value| i128::from(value)).collect(),
                    None => tensor.to_i64s().ok_or_else(unsupported)?.into_iter().map(i128::from).collect(),
                };
                Contents::Int(elements.into())
            }
            ElementKind::Text => match tensor.data() {
                Data::Strings(strings) => Contents::Text(strings.to_vec().into()),
                _ => return Err(unsupported()),
            },
            ElementKind::Complex => {
                let part = if tensor.element() == Element::Complex64 { Element::Float } else { Element::Double };
                let bytes = tensor.bytes();
                let pair =
                    |at: usize| Some([codec::decode(part, &bytes, 2 * at)?, codec::decode(part, &bytes, 2 * at + 1)?]);
                let pairs: Option<Vec<[f64; 2]>> = (0..tensor.count()).map(pair).collect();
                Contents::Complex(pairs.ok_or_else(unsupported)?.into())
            }
        };
        Ok(Self { element: tensor.element(), shape: tensor.shape().to_vec(), contents })
    }

    /// The same as a tensor, real elements rounded to the element type. Errors: contents and element type disagree.
    pub fn to_tensor(&self) -> Result<Tensor, Reason> {
        let fail = |error: TensorError| Reason(error.to_string());
        let unsupported = || Reason(format!("{} is not evaluated", self.element));
        match &self.contents {
            Contents::Real(elements) if self.element == Element::Float => {
                if let Some(bytes) = S::shared(elements, self.element) {
                    return Tensor::new(self.element, &self.shape, bytes).map_err(fail);
                }
                let values = elements.iter().map(|value| value.to_f64() as f32).collect();
                Tensor::from_vec::<f32>(&self.shape, values).map_err(fail)
            }
            Contents::Real(elements) => {
                let values = elements.iter().map(|value| value.to_f64());
                let bytes = codec::encode_all(self.element, values).ok_or_else(unsupported)?;
                Tensor::new(self.element, &self.shape, bytes.into()).map_err(fail)
            }
            Contents::Int(elements) => {
                let bits = self.element.bits();
                if bits < 8 {
                    let bytes = codec::pack(bits, elements.iter().map(|&value| value as u8));
                    return Tensor::new(self.element, &self.shape, bytes.into()).map_err(fail);
                }
                let width = self.element.bits() / 8;
                let narrow = |value: &i128| value.to_le_bytes().into_iter().take(width);
                let bytes: Vec<u8> = elements.iter().flat_map(narrow).collect();
                Tensor::new(self.element, &self.shape, bytes.into()).map_err(fail)
            }
            Contents::Bool(elements) => Tensor::from_bools(&self.shape, elements).map_err(fail),
            Contents::Text(elements) => Tensor::from_strings(&self.shape, elements.to_vec()).map_err(fail),
            Contents::Complex(elements) => {
                let part = if self.element == Element::Complex64 { Element::Float } else { Element::Double };
                let parts = elements.iter().flatten().copied();
                let bytes = codec::encode_all(part, parts).ok_or_else(unsupported)?;
                Tensor::new(self.element, &self.shape, bytes.into()).map_err(fail)
            }
        }
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        count_of(&self.shape).unwrap_or(0)
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The elements, when they are real.
    pub fn real(&self) -> Result<&[S], Reason> {
        match &self.contents {
            Contents::Real(elements) => Ok(elements),
            _ => Err(Reason(format!("real numbers are expected, found {}", self.element))),
        }
    }

    /// The elements, when they are integers.
    pub fn int(&self) -> Result<&[i128], Reason> {
        match &self.contents {
            Contents::Int(elements) => Ok(elements),
            _ => Err(Reason(format!("integers are expected, found {}", self.element))),
        }
    }

    /// The elements, when they are truth values.
    pub fn bool(&self) -> Result<&[bool], Reason> {
        match &self.contents {
            Contents::Bool(elements) => Ok(elements),
            _ => Err(Reason(format!("truth values are expected, found {}", self.element))),
        }
    }

    /// The elements, when they are complex.
    pub fn complex(&self) -> Result<&[[f64; 2]], Reason> {
        match &self.contents {
            Contents::Complex(elements) => Ok(elements),
            _ => Err(Reason(format!("complex numbers are expected, found {}", self.element))),
        }
    }

    /// The elements as `i64`, for axes, shapes and indices. Errors: not integers, beyond 64 bits.
    pub fn to_i64s(&self) -> Result<Vec<i64>, Reason> {
        let convert = |&value: &i128| i64::try_from(value).map_err(|_| Reason(format!("{value} exceeds 64 bits")));
        self.int()?.iter().map(convert).collect()
    }

    /// The same elements under another shape. Errors: another number of elements.
    pub fn reshaped(&self, shape: &[usize]) -> Result<Self, Reason> {
        if count_of(shape) != Some(self.count()) {
            return Err(Reason(format!("{} elements do not fill the shape {shape:?}", self.count())));
        }
        Ok(Self { shape: shape.to_vec(), ..self.clone() })
    }

    /// A tensor of another shape whose element i is element `source(i)` of this one; `None` gives zero, false or empty.
    ///
    /// What moves data without computing is written with it. Errors: a source out of range.
    pub fn gathered(&self, shape: &[usize], sources: impl Iterator<Item = Option<usize>>) -> Result<Self, Reason> {
        fn pick<T: Clone + Send + Sync + 'static>(
            from: &[T],
            count: usize,
            sources: impl Iterator<Item = Option<usize>>,
            zero: T,
        ) -> Result<Buffer<T>, Reason> {
            let mut elements = Vec::with_capacity(count.min(from.len()));
            for source in sources {
                elements.push(match source {
                    Some(at) => from.get(at).ok_or_else(|| Reason(format!("element {at} is out of range")))?.clone(),
                    None => zero.clone(),
                });
            }
            Ok(elements.into())
        }
        let count = count_of(shape).unwrap_or(0);
        let contents = match &self.contents {
            Contents::Real(elements) => Contents::Real(pick(elements, count, sources, S::from_int(0))?),
            Contents::Int(elements) => Contents::Int(pick(elements, count, sources, 0)?),
            Contents::Bool(elements) => Contents::Bool(pick(elements, count, sources, false)?),
            Contents::Text(elements) => Contents::Text(pick(elements, count, sources, Bytes::new())?),
            Contents::Complex(elements) => Contents::Complex(pick(elements, count, sources, [0.0; 2])?),
        };
        Ok(Self { element: self.element, shape: shape.to_vec(), contents })
    }

    /// Real elements rounded to what the element type can hold; everything else as it is.
    pub fn rounded(self) -> Self {
        match &self.contents {
            // What is in its memory form already needs no look at its elements.
            Contents::Real(elements) if S::shared(elements, self.element).is_some() => self,
            // An exact number stays equal, but what is known of its error changes.
            Contents::Real(elements)
                if S::EXACT || elements.iter().any(|value| value.round(self.element) != *value) =>
            {
                let rounded = elements.iter().map(|value| value.round(self.element)).collect();
                Self::of_real(self.element, &self.shape, rounded)
            }
            _ => self,
        }
    }
}

struct View<S>(Tensor, PhantomData<fn() -> S>);

impl<S: Scalar> AsRef<[S]> for View<S> {
    fn as_ref(&self) -> &[S] {
        match S::of_tensor(&self.0) {
            Some(Cow::Borrowed(slice)) => slice,
            _ => unreachable!("made only over contents that are borrowed"),
        }
    }
}

/// `value` wrapped to the width and sign of the integer type `element`, as two's complement does.
pub fn wrap(element: Element, value: i128) -> i128 {
    let bits = element.bits() as u32;
    if bits == 0 || bits >= 127 {
        return value;
    }
    let low = value & ((1i128 << bits) - 1);
    if element.kind() == ElementKind::Signed && low >> (bits - 1) == 1 { low - (1i128 << bits) } else { low }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tensor of 5 elements of this type, all different where the type has as many.
    fn some(element: Element) -> Tensor {
        let numbers = [1.0, 0.5, 4.0, 2.0, 0.25];
        match element.kind() {
            ElementKind::Text => {
                let strings = numbers.map(|number| Bytes::from(number.to_string())).to_vec();
                Tensor::from_strings(&[5], strings).expect("counted")
            }
            ElementKind::Complex => {
                let part = if element == Element::Complex64 { Element::Float } else { Element::Double };
                let parts = numbers.iter().flat_map(|number| [*number, -number]);
                Tensor::new(element, &[5], codec::encode_all(part, parts).expect("numbers").into()).expect("counted")
            }
            ElementKind::Signed => Tensor::from_f64s(element, &[5], &[-2.0, -1.0, 0.0, 1.0, -2.0]).expect("counted"),
            ElementKind::Unsigned => Tensor::from_f64s(element, &[5], &[0.0, 1.0, 2.0, 3.0, 1.0]).expect("counted"),
            ElementKind::Bool => Tensor::from_bools(&[5], &[true, false, false, true, true]).expect("counted"),
            ElementKind::Real => Tensor::from_f64s(element, &[5], &numbers).expect("counted"),
        }
    }

    fn check<S: Scalar>(element: Element) -> Result<(), Reason> {
        let tensor = some(element);
        let datum = Datum::<S>::of_tensor(&tensor)?;
        assert_eq!(datum.clone().rounded().to_tensor()?, tensor, "{element} in {}", S::NAME);
        let turned = datum.gathered(&[1, 5], (0..5).rev().map(Some))?.gathered(&[5], (0..5).rev().map(Some))?;
        assert_eq!(turned.to_tensor()?, tensor, "{element} in {}", S::NAME);
        Ok(())
    }

    #[test]
    fn every_element_type_is_moved_unchanged() -> Result<(), Reason> {
        for &element in Element::ALL {
            check::<f32>(element)?;
            check::<f64>(element)?;
        }
        Ok(())
    }

    #[test]
    fn every_code_of_a_narrow_float_is_kept_but_for_the_payload_of_nan() -> Result<(), Reason> {
        for &element in Element::ALL.iter().filter(|element| element.is_real() && element.bits() <= 8) {
            // As many bytes as hold whole elements of 6 bits, too.
            let codes: Vec<u8> = (0..=255).chain(0..2).collect();
            let tensor =
                Tensor::new(element, &[258 * 8 / element.bits()], codes.into()).map_err(|e| Reason(e.to_string()))?;
            let again = Datum::<f32>::of_tensor(&tensor)?.rounded().to_tensor()?;
            let (before, after) = (tensor.to_f64s().unwrap_or_default(), again.to_f64s().unwrap_or_default());
            let differs = |(a, b): &(f64, f64)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan());
            assert_eq!(before.into_iter().zip(after).find(differs), None, "{element}");
        }
        Ok(())
    }
}
