//! Element types, tensor types, and the types of all values.

use crate::dim::Dim;
use std::fmt;

macro_rules! elements {
    ($($name:ident = $code:literal, $text:literal, $bits:literal, $kind:ident;)*) => {
        /// The element types of ONNX (`TensorProto.DataType`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)]
        pub enum Element { $($name,)* }

        impl Element {
            /// Every element type, by code.
            pub const ALL: &'static [Element] = &[$(Element::$name,)*];

            /// The code in `TensorProto.DataType`.
            pub fn code(self) -> i32 {
                match self { $(Element::$name => $code,)* }
            }

            /// The name in ONNX's textual syntax.
            pub fn text(self) -> &'static str {
                match self { $(Element::$name => $text,)* }
            }

            /// Width in bits; 0 for strings. Elements narrower than a byte are packed, low bits first.
            pub fn bits(self) -> usize {
                match self { $(Element::$name => $bits,)* }
            }

            /// What kind of number it is.
            pub fn kind(self) -> ElementKind {
                match self { $(Element::$name => ElementKind::$kind,)* }
            }
        }
    };
}

elements! {
    Float = 1, "float", 32, Real;
    Uint8 = 2, "uint8", 8, Unsigned;
    Int8 = 3, "int8", 8, Signed;
    Uint16 = 4, "uint16", 16, Unsigned;
    Int16 = 5, "int16", 16, Signed;
    Int32 = 6, "int32", 32, Signed;
    Int64 = 7, "int64", 64, Signed;
    String = 8, "string", 0, Text;
    Bool = 9, "bool", 8, Bool;
    Float16 = 10, "float16", 16, Real;
    Double = 11, "double", 64, Real;
    Uint32 = 12, "uint32", 32, Unsigned;
    Uint64 = 13, "uint64", 64, Unsigned;
    Complex64 = 14, "complex64", 64, Complex;
    Complex128 = 15, "complex128", 128, Complex;
    Bfloat16 = 16, "bfloat16", 16, Real;
    Float8E4M3FN = 17, "float8e4m3fn", 8, Real;
    Float8E4M3FNUZ = 18, "float8e4m3fnuz", 8, Real;
    Float8E5M2 = 19, "float8e5m2", 8, Real;
    Float8E5M2FNUZ = 20, "float8e5m2fnuz", 8, Real;
    Uint4 = 21, "uint4", 4, Unsigned;
    Int4 = 22, "int4", 4, Signed;
    Float4E2M1 = 23, "float4e2m1", 4, Real;
    Float8E8M0 = 24, "float8e8m0", 8, Real;
    Uint2 = 25, "uint2", 2, Unsigned;
    Int2 = 26, "int2", 2, Signed;
    Float6E2M3 = 27, "float6e2m3", 6, Real;
    Float6E3M2 = 28, "float6e3m2", 6, Real;
}

/// What kind of number an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementKind {
    /// Floating point of any width.
    Real,
    /// Two's-complement integer.
    Signed,
    /// Unsigned integer.
    Unsigned,
    /// Truth value, one byte each.
    Bool,
    /// Byte string.
    Text,
    /// Pair of floating-point numbers.
    Complex,
}

impl Element {
    /// The element with this `TensorProto.DataType` code.
    pub fn from_code(code: i32) -> Option<Element> {
        Element::ALL.iter().copied().find(|element| element.code() == code)
    }

    /// The element with this name in ONNX's textual syntax.
    pub fn from_text(text: &str) -> Option<Element> {
        Element::ALL.iter().copied().find(|element| element.text() == text)
    }

    /// Floating point of any width.
    pub fn is_real(self) -> bool {
        self.kind() == ElementKind::Real
    }

    /// Integer of any width and sign.
    pub fn is_integer(self) -> bool {
        matches!(self.kind(), ElementKind::Signed | ElementKind::Unsigned)
    }

    /// Bytes that `n` elements take, packed; `None` for strings or on overflow.
    pub fn byte_len(self, n: usize) -> Option<usize> {
        match self.bits() {
            0 => None,
            bits => n.checked_mul(bits).map(|total| total.div_ceil(8)),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Element type and shape of a tensor; each dim may be symbolic, the rank is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorType {
    /// Type of each element.
    pub element: Element,
    /// One dim an axis, outermost first.
    pub shape: Vec<Dim>,
}

impl TensorType {
    /// A type from its parts.
    pub fn new(element: Element, shape: impl IntoIterator<Item = Dim>) -> Self {
        Self { element, shape: shape.into_iter().collect() }
    }

    /// A type whose dims are all known.
    pub fn of(element: Element, shape: &[i64]) -> Self {
        Self::new(element, shape.iter().copied().map(Dim::known))
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements; `None` on overflow.
    pub fn count(&self) -> Option<Dim> {
        self.shape.iter().try_fold(Dim::known(1), |product, dim| product.mul(dim))
    }

    /// Size in bytes; `None` for strings or on overflow.
    pub fn bytes(&self) -> Option<Dim> {
        match self.element.bits() {
            0 => None,
            bits if bits >= 8 => self.count()?.mul(&Dim::from(bits / 8)),
            bits => self.count()?.ceil_div(&Dim::from(8 / bits)),
        }
    }

    /// The sizes of all axes, when every dim is known and not negative.
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(Dim::as_size).collect()
    }

    /// The axis that `axis` names, counted from the end when negative; `None` out of range.
    pub fn axis(&self, axis: i64) -> Option<usize> {
        normalize_axis(axis, self.rank())
    }
}

/// Dims that a tensor may have. ONNX states no limit; what has more is a damaged file.
pub const MAX_RANK: usize = 64;

/// Type of a value.
///
/// Almost every value is a tensor of known rank; the others are what sequence and optional operators pass around. Rewriting
/// and most backends treat them as opaque: they ask for the [`TensorType`] and find none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// A tensor of known rank.
    Tensor(TensorType),
    /// A tensor whose rank is not known.
    Unranked(Element),
    /// Any number of values of one type, in order.
    Sequence(Box<Type>),
    /// A value, or none.
    Optional(Box<Type>),
}

impl Type {
    /// The type as that of a tensor of known rank.
    pub fn tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(ty) => Some(ty),
            _ => None,
        }
    }

    /// The same for a type that is given away.
    pub fn into_tensor(self) -> Option<TensorType> {
        match self {
            Type::Tensor(ty) => Some(ty),
            _ => None,
        }
    }

    /// A sequence of such values.
    pub fn sequence(self) -> Type {
        Type::Sequence(Box::new(self))
    }

    /// Such a value, or none.
    pub fn optional(self) -> Type {
        Type::Optional(Box::new(self))
    }

    /// The element type of the tensors in it.
    pub fn element(&self) -> Element {
        match self {
            Type::Tensor(ty) => ty.element,
            Type::Unranked(element) => *element,
            Type::Sequence(item) | Type::Optional(item) => item.element(),
        }
    }

    /// The most precise type that values of either type have; dims that differ become those of `fresh`, by axis. `None`
    /// when they have no type in common.
    pub fn join(&self, other: &Type, fresh: &dyn Fn(usize) -> Dim) -> Option<Type> {
        match (self, other) {
            (Type::Sequence(a), Type::Sequence(b)) => Some(a.join(b, fresh)?.sequence()),
            (Type::Optional(a), Type::Optional(b)) => Some(a.join(b, fresh)?.optional()),
            (Type::Tensor(a), Type::Tensor(b)) if a.element == b.element && a.rank() == b.rank() => {
                let dims = a.shape.iter().zip(&b.shape).enumerate();
                let dims = dims.map(|(axis, (a, b))| if a == b { a.clone() } else { fresh(axis) });
                Some(Type::Tensor(TensorType::new(a.element, dims)))
            }
            (Type::Tensor(_) | Type::Unranked(_), Type::Tensor(_) | Type::Unranked(_))
                if self.element() == other.element() =>
            {
                Some(Type::Unranked(self.element()))
            }
            _ => None,
        }
    }
}

impl From<TensorType> for Type {
    fn from(ty: TensorType) -> Self {
        Type::Tensor(ty)
    }
}

/// For messages; the text form writes a scalar `float` and a tensor of unknown rank `float[]`.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(ty) => ty.fmt(f),
            Type::Unranked(element) => write!(f, "{element}[...]"),
            Type::Sequence(item) => write!(f, "seq({item})"),
            Type::Optional(item) => write!(f, "optional({item})"),
        }
    }
}

/// `axis` in `0..rank`, counted from the end when negative; `None` out of range.
pub fn normalize_axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
    if (0..rank).contains(&axis) { usize::try_from(axis).ok() } else { None }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.element)?;
        for (index, dim) in self.shape.iter().enumerate() {
            write!(f, "{}{dim}", if index == 0 { "" } else { "," })?;
        }
        f.write_str("]")
    }
}
