//! Tensors with known contents.
//!
//! Contents are shared, never overwritten: a clone costs nothing, and a pass that computes makes a new tensor. A
//! tensor may be a slice of the file it came from, a range of a file that is not read yet, one repeated element, or
//! numbers drawn from a seed, so that a real-sized model can be one page of text.

pub use crate::codec::encode;
use crate::codec::{decode, encode_all, pack};
use crate::stored::Stored;
use crate::types::Element;
use bytes::Bytes;
use half::{bf16, f16};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Concrete element type, shape and contents. Elements are in row-major order, little-endian.
#[derive(Clone)]
pub struct Tensor {
    element: Element,
    shape: Arc<[usize]>,
    data: Data,
}

/// How the contents of a tensor are held.
#[derive(Clone)]
pub enum Data {
    /// The bytes themselves; a slice of a file, or computed.
    Bytes(Bytes),
    /// One element, repeated; its bytes stand first.
    Splat([u8; 16]),
    /// Drawn uniformly from a range by a counter-based generator.
    Seeded(Seed),
    /// Byte strings, for [`Element::String`].
    Strings(Arc<[Bytes]>),
    /// A range of a file, read when somebody asks for it.
    Stored(Arc<Stored>),
}

/// The recipe of seeded contents: element `i` depends on `seed` and `i` alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seed {
    /// Selects the stream.
    pub seed: u64,
    /// Lower end of the range, inclusive.
    pub low: f64,
    /// Upper end of the range, exclusive.
    pub high: f64,
}

impl Seed {
    /// The range that keeps activations at unit scale through a layer whose weight has this shape: ±sqrt(3 / fan-in).
    ///
    /// Fan-in is the product of all dims but the first, as in a convolution's weight; Glorot and Bengio, AISTATS 2010.
    pub fn for_weight(seed: u64, shape: &[usize]) -> Self {
        let fan_in: f64 = shape.iter().skip(1).map(|&dim| dim as f64).product();
        let bound = (3.0 / fan_in.max(1.0)).sqrt();
        Self { seed, low: -bound, high: bound }
    }

    /// Element `index` of the stream, in `[low, high)`.
    pub fn at(&self, index: u64) -> f64 {
        // SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) as a counter-based generator.
        let mut z = self
            .seed
            .wrapping_mul(0xD1B5_4A32_D192_ED03)
            .wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let unit = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        self.low + unit * (self.high - self.low)
    }
}

/// Why contents do not make a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TensorError {
    /// The number of elements or bytes exceeds the address space.
    TooLarge,
    /// The shape asks for `expected` bytes, `found` were given.
    WrongLength {
        /// Bytes that the shape asks for.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Strings for a number, or numbers for a string.
    WrongKind,
}

impl fmt::Display for TensorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TensorError::TooLarge => f.write_str("the tensor exceeds the address space"),
            TensorError::WrongLength { expected, found } => {
                write!(f, "the shape asks for {expected} bytes of data, found {found}")
            }
            TensorError::WrongKind => f.write_str("strings and numbers cannot stand for each other"),
        }
    }
}

impl std::error::Error for TensorError {}

/// Rust types that are the memory form of an element.
pub trait Native: bytemuck::Pod {
    /// The element whose memory form it is.
    const ELEMENT: Element;
}

macro_rules! native {
    ($($rust:ty => $element:ident),*) => { $(impl Native for $rust { const ELEMENT: Element = Element::$element; })* };
}
native!(f32 => Float, f64 => Double, f16 => Float16, bf16 => Bfloat16, i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64,
        u8 => Uint8, u16 => Uint16, u32 => Uint32, u64 => Uint64);

/// The number of elements of `shape`; `None` on overflow.
pub fn count_of(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))
}

impl Tensor {
    /// A tensor over `bytes`, row-major and little-endian; bits behind the last packed element do not count. Errors: wrong
    /// length, strings, or too large.
    pub fn new(element: Element, shape: &[usize], bytes: Bytes) -> Result<Self, TensorError> {
        let expected = byte_count(element, shape)?;
        if expected != bytes.len() {
            return Err(TensorError::WrongLength { expected, found: bytes.len() });
        }
        let n_bits_used = count_of(shape).unwrap_or(0) % 8 * element.bits() % 8;
        let excess = match bytes.last() {
            Some(last) if n_bits_used != 0 => last >> n_bits_used,
            _ => 0,
        };
        if excess == 0 {
            return Ok(Self { element, shape: shape.into(), data: Data::Bytes(bytes) });
        }
        // Equal contents have equal bytes, so that they compare and hash equal.
        let mut bytes = bytes.to_vec();
        if let Some(last) = bytes.last_mut() {
            *last -= excess << n_bits_used;
        }
        Ok(Self { element, shape: shape.into(), data: Data::Bytes(bytes.into()) })
    }

    /// A tensor over a range of a file, row-major and little-endian. Errors: wrong length, strings, or too large.
    pub fn stored(element: Element, shape: &[usize], stored: Arc<Stored>) -> Result<Self, TensorError> {
        let expected = byte_count(element, shape)?;
        if expected != stored.len() {
            return Err(TensorError::WrongLength { expected, found: stored.len() });
        }
        Ok(Self { element, shape: shape.into(), data: Data::Stored(stored) })
    }

    /// A tensor that owns `values`. Errors: the shape has another number of elements.
    pub fn from_vec<T: Native + Send + Sync>(shape: &[usize], values: Vec<T>) -> Result<Self, TensorError> {
        struct Owner<T>(Vec<T>);
        impl<T: Native> AsRef<[u8]> for Owner<T> {
            fn as_ref(&self) -> &[u8] {
                bytemuck::cast_slice(&self.0)
            }
        }
        Self::new(T::ELEMENT, shape, Bytes::from_owner(Owner(values)))
    }

    /// A tensor of truth values. Errors: the shape has another number of elements.
    pub fn from_bools(shape: &[usize], values: &[bool]) -> Result<Self, TensorError> {
        Self::new(Element::Bool, shape, values.iter().map(|&value| u8::from(value)).collect::<Vec<u8>>().into())
    }

    /// A tensor of byte strings. Errors: the shape has another number of elements.
    pub fn from_strings(shape: &[usize], strings: Vec<Bytes>) -> Result<Self, TensorError> {
        let expected = count_of(shape).ok_or(TensorError::TooLarge)?;
        if expected != strings.len() {
            return Err(TensorError::WrongLength { expected, found: strings.len() });
        }
        Ok(Self { element: Element::String, shape: shape.into(), data: Data::Strings(strings.into()) })
    }

    /// A tensor of one dimension that holds `values`.
    pub fn vector<T: Native + Send + Sync>(values: &[T]) -> Self {
        let bytes = Bytes::copy_from_slice(bytemuck::cast_slice(values));
        Self { element: T::ELEMENT, shape: [values.len()].into(), data: Data::Bytes(bytes) }
    }

    /// A tensor of no dimensions that holds `value`.
    pub fn scalar<T: Native>(value: T) -> Self {
        Self { element: T::ELEMENT, shape: [].into(), data: Data::Splat(pad(bytemuck::bytes_of(&value))) }
    }

    /// `shape` filled with the element whose bytes are `value`. Errors: wrong length for the element, strings, too large.
    pub fn splat(element: Element, shape: &[usize], value: &[u8]) -> Result<Self, TensorError> {
        byte_count(element, shape)?;
        let expected = element.bits().div_ceil(8);
        if value.len() != expected {
            return Err(TensorError::WrongLength { expected, found: value.len() });
        }
        Ok(Self { element, shape: shape.into(), data: Data::Splat(pad(value)) })
    }

    /// `shape` filled with `value`, converted to `element`. Errors: strings, complex, too large.
    pub fn full(element: Element, shape: &[usize], value: f64) -> Result<Self, TensorError> {
        Self::splat(element, shape, &encode(element, value).ok_or(TensorError::WrongKind)?)
    }

    /// `values`, converted to `element` and packed. Errors: another number of elements, strings, complex, too large.
    pub fn from_f64s(element: Element, shape: &[usize], values: &[f64]) -> Result<Self, TensorError> {
        let expected = count_of(shape).ok_or(TensorError::TooLarge)?;
        if expected != values.len() {
            return Err(TensorError::WrongLength { expected, found: values.len() });
        }
        let bytes = encode_all(element, values.iter().copied()).ok_or(TensorError::WrongKind)?;
        Self::new(element, shape, bytes.into())
    }

    /// Contents drawn from `seed`. Errors: strings, complex, too large.
    pub fn seeded(element: Element, shape: &[usize], seed: Seed) -> Result<Self, TensorError> {
        byte_count(element, shape)?;
        if encode(element, 0.0).is_none() {
            return Err(TensorError::WrongKind);
        }
        Ok(Self { element, shape: shape.into(), data: Data::Seeded(seed) })
    }

    /// Type of each element.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Size of each axis, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How the contents are held.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        // Not a plain product: before its zero, an empty shape may hold dims whose product overflows.
        count_of(&self.shape).unwrap_or(0)
    }

    /// Size of the contents in bytes, packed; for strings the sum of their lengths.
    pub fn byte_len(&self) -> usize {
        match &self.data {
            Data::Bytes(bytes) => bytes.len(),
            Data::Stored(stored) => stored.len(),
            Data::Strings(strings) => strings.iter().map(Bytes::len).sum(),
            Data::Splat(_) | Data::Seeded(_) => self.element.byte_len(self.count()).unwrap_or(0),
        }
    }

    /// Its type, all dims known.
    pub fn ty(&self) -> crate::types::TensorType {
        crate::types::TensorType::new(self.element, self.shape.iter().map(|&dim| dim.into()))
    }

    /// The contents as bytes, row-major and little-endian; made on demand when splat or seeded, read when
    /// stored. Empty for strings.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.data {
            Data::Bytes(bytes) => Cow::Borrowed(bytes),
            Data::Stored(stored) => Cow::Borrowed(stored.contents()),
            Data::Strings(_) => Cow::Borrowed(&[]),
            Data::Splat(value) => {
                let width = self.element.bits().div_ceil(8);
                if self.element.bits() < 8 {
                    return Cow::Owned(pack(self.element.bits(), std::iter::repeat_n(value[0], self.count())));
                }
                Cow::Owned(value[..width].repeat(self.count()))
            }
            Data::Seeded(seed) => {
                let drawn = (0..self.count()).map(|index| seed.at(index as u64));
                let values = drawn.map(|value| if self.element.is_real() { value } else { value.floor() });
                Cow::Owned(encode_all(self.element, values).unwrap_or_default())
            }
        }
    }

    /// The contents as a slice of their memory form, borrowed when aligned; `None` for another element.
    pub fn view<T: Native>(&self) -> Option<Cow<'_, [T]>> {
        if T::ELEMENT != self.element {
            return None;
        }
        Some(match self.bytes() {
            Cow::Borrowed(bytes) => match bytemuck::try_cast_slice(bytes) {
                Ok(slice) => Cow::Borrowed(slice),
                Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(bytes)),
            },
            Cow::Owned(bytes) => Cow::Owned(bytemuck::pod_collect_to_vec(&bytes)),
        })
    }

    /// All elements as `f64`; `None` for strings and complex.
    pub fn to_f64s(&self) -> Option<Vec<f64>> {
        if let Some(view) = self.view::<f64>() {
            return Some(view.into_owned());
        }
        let bytes = self.bytes();
        (0..self.count()).map(|index| decode(self.element, &bytes, index)).collect()
    }

    /// All elements as `i64`; `None` for anything but integers and booleans, and for values outside `i64`.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        match self.element {
            Element::Int64 => self.view::<i64>().map(Cow::into_owned),
            Element::Uint64 => self.view::<u64>()?.iter().map(|&value| i64::try_from(value).ok()).collect(),
            element if element.is_integer() || element == Element::Bool => {
                Some(self.to_f64s()?.into_iter().map(|value| value as i64).collect())
            }
            _ => None,
        }
    }

    /// Its only element as `f64`; `None` when it has another number of elements, or none that converts.
    pub fn as_single(&self) -> Option<f64> {
        (self.count() == 1).then(|| decode(self.element, &self.bytes(), 0)).flatten()
    }

    /// The number that every element is, as `f64`, when the contents are stored once for all of them; `None` otherwise,
    /// equal elements that are written out one by one included.
    pub fn as_splat(&self) -> Option<f64> {
        match &self.data {
            Data::Splat(value) => decode(self.element, value, 0),
            _ => None,
        }
    }

    /// The same contents under another shape. Errors: another number of elements.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self, TensorError> {
        let (expected, found) = (count_of(shape).ok_or(TensorError::TooLarge)?, self.count());
        if expected != found {
            return Err(TensorError::WrongLength { expected, found });
        }
        Ok(Self { element: self.element, shape: shape.into(), data: self.data.clone() })
    }

    /// True when both hold their contents in the very same place or by the same recipe: a cheap sufficient test.
    pub fn same_storage(&self, other: &Tensor) -> bool {
        if self.element != other.element || self.shape != other.shape {
            return false;
        }
        match (&self.data, &other.data) {
            (Data::Bytes(a), Data::Bytes(b)) => a.as_ptr() == b.as_ptr() && a.len() == b.len(),
            (Data::Splat(a), Data::Splat(b)) => a == b,
            (Data::Seeded(a), Data::Seeded(b)) => a == b,
            (Data::Strings(a), Data::Strings(b)) => Arc::ptr_eq(a, b),
            (Data::Stored(a), Data::Stored(b)) => a.place() == b.place(),
            _ => false,
        }
    }

    /// A hash of element type, shape and contents (XXH3, 128 bits). Equal tensors hash equal whatever holds them, but
    /// stored ones stay unread: they are told apart by their place alone, here and by `==`.
    pub fn content_hash(&self) -> u128 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        hasher.update(&self.element.code().to_le_bytes());
        for &dim in self.shape.iter() {
            hasher.update(&(dim as u64).to_le_bytes());
        }
        match &self.data {
            Data::Strings(strings) => {
                for string in strings.iter() {
                    hasher.update(&(string.len() as u64).to_le_bytes());
                    hasher.update(string);
                }
            }
            Data::Stored(stored) => {
                let (file, at, length) = stored.place();
                hasher.update(&file.to_le_bytes());
                hasher.update(&at.to_le_bytes());
                hasher.update(&(length as u64).to_le_bytes());
            }
            _ => hasher.update(&self.bytes()),
        }
        hasher.digest128()
    }

    /// A hash of the elements alone (XXH3, 128 bits), equal for equal ones whatever holds them. Stored ones are read for
    /// it, once and in pieces that are not kept.
    pub fn hash_of_elements(&self) -> u128 {
        match &self.data {
            Data::Stored(stored) => stored.hash(),
            Data::Strings(_) => self.content_hash(),
            _ => xxhash_rust::xxh3::xxh3_128(&self.bytes()),
        }
    }
}

fn byte_count(element: Element, shape: &[usize]) -> Result<usize, TensorError> {
    if element == Element::String {
        return Err(TensorError::WrongKind);
    }
    let bytes = count_of(shape).and_then(|count| element.byte_len(count)).ok_or(TensorError::TooLarge)?;
    // The allocator's own limit; a larger count would overflow pointer arithmetic.
    if bytes > isize::MAX as usize { Err(TensorError::TooLarge) } else { Ok(bytes) }
}

fn pad(value: &[u8]) -> [u8; 16] {
    let mut padded = [0; 16];
    padded[..value.len()].copy_from_slice(value);
    padded
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.same_storage(other)
            || (self.element == other.element
                && self.shape == other.shape
                && match (&self.data, &other.data) {
                    (Data::Strings(a), Data::Strings(b)) => a == b,
                    (Data::Strings(_) | Data::Stored(_), _) | (_, Data::Strings(_) | Data::Stored(_)) => false,
                    _ => self.bytes() == other.bytes(),
                })
    }
}

impl Eq for Tensor {}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = match &self.data {
            Data::Bytes(_) => "bytes",
            Data::Splat(_) => "splat",
            Data::Seeded(_) => "seeded",
            Data::Strings(_) => "strings",
            Data::Stored(_) => "stored",
        };
        write!(f, "{} ({held})", self.ty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_that_wraps_is_too_large() {
        let shape = [4_194_305, 4_194_305, 211_106_198_978_564];
        assert_eq!(Tensor::new(Element::Float, &shape, Bytes::new()).err(), Some(TensorError::TooLarge));
        assert_eq!(Tensor::new(Element::Float, &[usize::MAX, 0], Bytes::new()).map(|t| t.count()), Ok(0));
    }

    #[test]
    fn equal_contents_are_equal_however_held() {
        let splat = Tensor::full(Element::Float, &[3], 2.5).expect("small");
        let bytes = Tensor::vector(&[2.5f32; 3]);
        assert_eq!(splat, bytes);
        assert_eq!((splat.as_splat(), bytes.as_splat()), (Some(2.5), None));
        assert_eq!(splat.content_hash(), bytes.content_hash());
        assert_ne!(bytes.content_hash(), bytes.reshape(&[3, 1]).expect("same count").content_hash());
    }

    #[test]
    fn seeded_contents_do_not_depend_on_their_shape_and_fill_their_range() {
        let seed = Seed { seed: 7, low: -2.0, high: 3.0 };
        let drawn = Tensor::seeded(Element::Double, &[1000], seed).expect("small").to_f64s().expect("real");
        assert!(drawn.iter().all(|value| (-2.0..3.0).contains(value)));
        let mean = drawn.iter().sum::<f64>() / 1000.0;
        assert!((mean - 0.5).abs() < 0.15, "{mean}");
        let longer = Tensor::seeded(Element::Double, &[2000], seed).expect("small").to_f64s().expect("real");
        assert_eq!(longer[..1000], drawn);
    }

    #[test]
    fn narrow_integers_are_unpacked_with_their_sign() {
        let packed = Tensor::new(Element::Int4, &[3], vec![0x8F, 0x07].into()).expect("two bytes");
        assert_eq!(packed.to_i64s(), Some(vec![-1, -8, 7]));
    }

    #[test]
    fn contents_of_every_number_are_converted_splat_and_drawn() {
        let seed = Seed { seed: 3, low: 0.0, high: 2.0 };
        for &element in Element::ALL.iter().filter(|element| encode(**element, 0.0).is_some()) {
            let ones = Tensor::full(element, &[5], 1.0).expect("a number");
            assert_eq!(ones.to_f64s(), Some(vec![1.0; 5]), "{element}");
            assert_eq!(Tensor::from_f64s(element, &[5], &[1.0; 5]), Ok(ones), "{element}");
            let drawn = Tensor::seeded(element, &[101], seed).expect("a number").to_f64s().expect("numbers");
            assert!(drawn.iter().all(|value| (0.0..=2.0).contains(value)), "{element}");
            assert!(drawn.iter().any(|value| value != &drawn[0]), "{element}");
        }
        let problem = Tensor::from_f64s(Element::Uint4, &[5], &[1.0; 6]);
        assert_eq!(problem, Err(TensorError::WrongLength { expected: 5, found: 6 }));
    }

    #[test]
    fn what_stands_behind_the_last_narrow_element_does_not_count() {
        let new =
            |bytes: &'static [u8]| Tensor::new(Element::Int2, &[5], Bytes::from_static(bytes)).expect("two bytes");
        assert_eq!(new(&[0xE4, 0xFD]), new(&[0xE4, 0x01]));
        assert_eq!(new(&[0xE4, 0xFD]).content_hash(), new(&[0xE4, 0x01]).content_hash());
        assert_eq!(new(&[0xE4, 0xFD]).to_i64s(), Some(vec![0, 1, -2, -1, 1]));
    }

    #[test]
    fn a_narrow_splat_equals_the_same_elements_written_out() {
        let splat = Tensor::splat(Element::Uint4, &[3], &[0x0A]).expect("one element");
        assert_eq!(splat, Tensor::new(Element::Uint4, &[3], vec![0xAA, 0x0A].into()).expect("two bytes"));
    }

    #[test]
    fn an_unaligned_slice_of_a_file_is_still_readable() {
        let mut file = vec![0u8];
        file.extend_from_slice(bytemuck::cast_slice(&[1.0f32, -2.0]));
        let tensor = Tensor::new(Element::Float, &[2], Bytes::from(file).slice(1..)).expect("eight bytes");
        assert_eq!(tensor.view::<f32>().as_deref(), Some(&[1.0f32, -2.0][..]));
    }
}
