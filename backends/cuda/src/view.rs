//! Strided views of buffers: transposing, slicing, splitting and broadcasting move no data.

use eutectic_ir::types::Element;
use std::borrow::Cow;

/// How an element is stored on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scalar {
    F64,
    F32,
    F16,
    /// The upper half of a float32.
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    /// One byte, zero or one.
    Bool,
    /// One of the types of 8 bits and fewer, one element to a byte.
    Narrow(Narrow),
}

/// Types that are converted by generated code, since older devices have no instructions for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Narrow {
    E4m3Fn,
    E4m3Fnuz,
    E5m2,
    E5m2Fnuz,
    E2m1,
    I4,
    U4,
    I2,
    U2,
}

impl Narrow {
    fn of(element: Element) -> Option<Self> {
        Some(match element {
            Element::Float8E4M3FN => Narrow::E4m3Fn,
            Element::Float8E4M3FNUZ => Narrow::E4m3Fnuz,
            Element::Float8E5M2 => Narrow::E5m2,
            Element::Float8E5M2FNUZ => Narrow::E5m2Fnuz,
            Element::Float4E2M1 => Narrow::E2m1,
            Element::Int4 => Narrow::I4,
            Element::Uint4 => Narrow::U4,
            Element::Int2 => Narrow::I2,
            Element::Uint2 => Narrow::U2,
            _ => return None,
        })
    }

    /// The type in CUDA C++: bits of exponent and mantissa, bias and kind of special codes; or bits and sign.
    fn spelled(self) -> &'static str {
        match self {
            Narrow::E4m3Fn => "narrow_t<4, 3, 7, 1>",
            Narrow::E4m3Fnuz => "narrow_t<4, 3, 8, 2>",
            Narrow::E5m2 => "narrow_t<5, 2, 15, 0>",
            Narrow::E5m2Fnuz => "narrow_t<5, 2, 16, 2>",
            Narrow::E2m1 => "narrow_t<2, 1, 1, 3>",
            Narrow::I4 => "small_t<4, true>",
            Narrow::U4 => "small_t<4, false>",
            Narrow::I2 => "small_t<2, true>",
            Narrow::U2 => "small_t<2, false>",
        }
    }

    fn is_integer(self) -> bool {
        matches!(self, Narrow::I4 | Narrow::U4 | Narrow::I2 | Narrow::U2)
    }

    /// Bits of an element in a tensor, where elements are packed, low bits first.
    fn bits(self) -> usize {
        match self {
            Narrow::I2 | Narrow::U2 => 2,
            Narrow::I4 | Narrow::U4 | Narrow::E2m1 => 4,
            _ => 8,
        }
    }
}

/// What kind of number a register holds while a kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// float32.
    Real,
    /// float64, of values that are stored as such.
    Double,
    /// A 64-bit integer.
    Integer,
    /// A 64-bit integer without sign, of values that are stored as such.
    Unsigned,
    /// A truth value.
    Truth,
}

/// In which precision a program computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// float32 throughout.
    F32,
    /// float32 in memory, rounded to tf32 before it is multiplied in products and convolutions.
    Tf32,
    /// Every float32 value is stored as float16; sums are accumulated in float32.
    F16,
    /// Every float32 value is stored as bfloat16; sums are accumulated in float32.
    Bf16,
}

impl Scalar {
    /// How values of `element` are stored in a program of `precision`; `None` for what kernels cannot compute with.
    pub fn of(element: Element, precision: Precision) -> Option<Self> {
        Some(match (element, precision) {
            (Element::Float, Precision::F16) | (Element::Float16, _) => Scalar::F16,
            (Element::Float, Precision::Bf16) | (Element::Bfloat16, _) => Scalar::Bf16,
            (Element::Float, _) => Scalar::F32,
            (Element::Double, _) => Scalar::F64,
            (Element::Int64, _) => Scalar::I64,
            (Element::Int32, _) => Scalar::I32,
            (Element::Int16, _) => Scalar::I16,
            (Element::Int8, _) => Scalar::I8,
            (Element::Uint64, _) => Scalar::U64,
            (Element::Uint32, _) => Scalar::U32,
            (Element::Uint16, _) => Scalar::U16,
            (Element::Uint8, _) => Scalar::U8,
            (Element::Bool, _) => Scalar::Bool,
            (element, _) => Scalar::Narrow(Narrow::of(element)?),
        })
    }

    /// Size in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Scalar::F64 | Scalar::I64 | Scalar::U64 => 8,
            Scalar::F32 | Scalar::I32 | Scalar::U32 => 4,
            Scalar::F16 | Scalar::Bf16 | Scalar::I16 | Scalar::U16 => 2,
            Scalar::U8 | Scalar::I8 | Scalar::Bool | Scalar::Narrow(_) => 1,
        }
    }

    /// Half the width of float32: what matrix units multiply without rounding.
    pub fn is_narrow(self) -> bool {
        matches!(self, Scalar::F16 | Scalar::Bf16)
    }

    /// The type in CUDA C++, as the prelude of generated kernels defines it.
    pub fn spelled(self) -> &'static str {
        match self {
            Scalar::F64 => "double",
            Scalar::F32 => "float",
            Scalar::F16 => "half_t",
            Scalar::Bf16 => "bfloat_t",
            Scalar::I64 => "long long",
            Scalar::I32 => "int",
            Scalar::I16 => "short",
            Scalar::I8 => "signed char",
            Scalar::U64 => "unsigned long long",
            Scalar::U32 => "unsigned",
            Scalar::U16 => "unsigned short",
            Scalar::U8 => "unsigned char",
            Scalar::Bool => "bool",
            Scalar::Narrow(narrow) => narrow.spelled(),
        }
    }

    /// The elements of a tensor as the device has them: each in bytes of its own.
    pub fn unpacked(self, bytes: Cow<'_, [u8]>, count: usize) -> Cow<'_, [u8]> {
        let Scalar::Narrow(narrow) = self else { return bytes };
        let bits = narrow.bits();
        if bits == 8 {
            return bytes;
        }
        let one = |at: usize| bytes[at * bits / 8] >> (at * bits % 8) & ((1 << bits) - 1);
        Cow::Owned((0..count).map(one).collect())
    }

    /// The inverse of [`Scalar::unpacked`].
    pub fn packed(self, bytes: Vec<u8>) -> Vec<u8> {
        let Scalar::Narrow(narrow) = self else { return bytes };
        let bits = narrow.bits();
        let join = |part: &[u8]| part.iter().rev().fold(0u8, |so_far, code| (so_far << (bits % 8)) | code);
        bytes.chunks(8 / bits).map(join).collect()
    }

    /// What it becomes in a register.
    pub fn class(self) -> Class {
        match self {
            Scalar::F64 => Class::Double,
            Scalar::F32 | Scalar::F16 | Scalar::Bf16 => Class::Real,
            Scalar::U64 => Class::Unsigned,
            Scalar::Bool => Class::Truth,
            Scalar::Narrow(narrow) if !narrow.is_integer() => Class::Real,
            _ => Class::Integer,
        }
    }
}

impl Class {
    /// What values of `element` become in a register.
    pub fn of(element: Element) -> Self {
        match element {
            Element::Double => Class::Double,
            Element::Bool => Class::Truth,
            Element::Uint64 => Class::Unsigned,
            element if element.is_real() => Class::Real,
            _ => Class::Integer,
        }
    }

    /// Whether it is a floating-point number.
    pub fn is_real(self) -> bool {
        matches!(self, Class::Real | Class::Double)
    }
}

/// A tensor that lies in a buffer. Sizes, strides and the offset count elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct View {
    /// The buffer.
    pub buffer: usize,
    /// How its elements are stored.
    pub scalar: Scalar,
    /// Where the first element is.
    pub offset: usize,
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// From one element to the next along each axis; 0 repeats.
    pub strides: Vec<usize>,
}

/// Strides of a dense tensor whose axes lie in memory in `order`, the slowest first.
pub(crate) fn strides_in_order(shape: &[usize], order: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1;
    for &axis in order.iter().rev() {
        strides[axis] = stride;
        stride *= shape[axis].max(1);
    }
    strides
}

/// The axes in their own order: row-major.
pub(crate) fn row_major(rank: usize) -> Vec<usize> {
    (0..rank).collect()
}

/// The order of axes that convolutions work in: N, spatial axes, C.
pub(crate) fn channels_last(rank: usize) -> Vec<usize> {
    [0].into_iter().chain(2..rank).chain([1]).collect()
}

impl View {
    /// The dense view of a whole buffer.
    pub fn dense(buffer: usize, scalar: Scalar, shape: &[usize], order: &[usize]) -> Self {
        Self { buffer, scalar, offset: 0, shape: shape.to_vec(), strides: strides_in_order(shape, order) }
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the elements lie without gaps in `order`.
    pub fn is_dense_in(&self, order: &[usize]) -> bool {
        let dense = strides_in_order(&self.shape, order);
        (0..self.shape.len()).all(|axis| self.shape[axis] == 1 || self.strides[axis] == dense[axis])
    }

    /// The order in which the axes lie in memory, the slowest first; axes that do not move keep their places in front.
    pub fn order(&self) -> Vec<usize> {
        let mut order = row_major(self.shape.len());
        order.sort_by_key(|&axis| {
            std::cmp::Reverse(if self.shape[axis] == 1 { usize::MAX } else { self.strides[axis] })
        });
        order
    }

    /// Axis `i` of the result is axis `axes[i]` of this view.
    pub fn transposed(&self, axes: &[usize]) -> Self {
        let (shape, strides) = axes.iter().map(|&axis| (self.shape[axis], self.strides[axis])).unzip();
        Self { shape, strides, ..self.clone() }
    }

    /// Broadcast to `shape`, which ends in sizes that this shape's fit.
    pub fn broadcast(&self, shape: &[usize]) -> Option<Self> {
        let lead = shape.len().checked_sub(self.shape.len())?;
        let mut strides = vec![0; lead];
        for (axis, (&size, &stride)) in self.shape.iter().zip(&self.strides).enumerate() {
            strides.push(match shape[lead + axis] {
                wanted if wanted == size => stride,
                _ if size == 1 => 0,
                _ => return None,
            });
        }
        Some(Self { shape: shape.to_vec(), strides, ..self.clone() })
    }

    /// Every `step`-th of `len` positions of `axis`, from `start`.
    pub fn sliced(&self, axis: usize, start: usize, len: usize, step: usize) -> Self {
        let mut view = self.clone();
        view.offset += start * self.strides[axis];
        view.shape[axis] = len;
        view.strides[axis] *= step;
        view
    }

    /// The same elements in the same order under another shape, when strides can say it.
    pub fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        if self.shape == shape {
            return Some(self.clone());
        }
        if self.count() == 0 || self.shape.is_empty() {
            return Some(Self { shape: shape.to_vec(), strides: vec![1; shape.len()], ..self.clone() });
        }
        let mut strides = vec![1; shape.len()];
        let mut made = shape.len();
        let mut base = self.strides[self.strides.len() - 1];
        let (mut n_old, mut n_new) = (1, 1);
        for axis in (0..self.shape.len()).rev() {
            n_old *= self.shape[axis];
            let ends = axis == 0 || (self.shape[axis - 1] != 1 && self.strides[axis - 1] != n_old * base);
            if !ends {
                continue;
            }
            while made > 0 && (n_new < n_old || shape[made - 1] == 1) {
                made -= 1;
                strides[made] = n_new * base;
                n_new *= shape[made];
            }
            if n_new != n_old {
                return None;
            }
            if axis > 0 {
                base = self.strides[axis - 1];
                (n_old, n_new) = (1, 1);
            }
        }
        (made == 0).then(|| Self { shape: shape.to_vec(), strides, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: &[usize]) -> View {
        View::dense(0, Scalar::F32, shape, &row_major(shape.len()))
    }

    #[test]
    fn splitting_and_swapping_heads_moves_nothing_and_joining_them_does() {
        let heads = view(&[1, 128, 768]).reshaped(&[1, 128, 12, 64]).expect("dense").transposed(&[0, 2, 1, 3]);
        assert_eq!((heads.shape.clone(), heads.strides.clone()), (vec![1, 12, 128, 64], vec![98304, 64, 768, 1]));
        assert_eq!(heads.reshaped(&[1, 12, 8192]), None);
        let joined = heads.transposed(&[0, 2, 1, 3]).reshaped(&[128, 768]).expect("dense again");
        assert!(joined.is_dense_in(&row_major(2)));
    }

    #[test]
    fn elements_of_four_bits_are_unpacked_and_packed() {
        let scalar = Scalar::of(Element::Uint4, Precision::F32).expect("a type");
        let unpacked = scalar.unpacked(vec![0x21, 0x03].into(), 3);
        assert_eq!(*unpacked, [1, 2, 3]);
        assert_eq!(scalar.packed(unpacked.into_owned()), [0x21, 0x03]);
    }

    #[test]
    fn a_view_of_channels_last_images_knows_its_order() {
        let image = View::dense(0, Scalar::F16, &[2, 3, 4, 5], &channels_last(4));
        assert_eq!(image.strides, [60, 1, 15, 3]);
        assert_eq!(image.order(), channels_last(4));
        assert_eq!(image.reshaped(&[2, 60]), None);
        assert_eq!(image.sliced(1, 1, 2, 1).offset, 1);
    }
}
