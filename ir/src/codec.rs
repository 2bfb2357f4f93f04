//! Numbers between `f64` and the packed little-endian bytes of an element type.

use crate::narrow::{self, Rounding};
use crate::types::{Element, ElementKind};
use half::{bf16, f16};

/// The bytes of `value` as one element: reals rounded to nearest, integers truncated and saturating. An element narrower
/// than a byte stands in the low bits. `None` for strings and complex.
pub fn encode(element: Element, value: f64) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(8);
    put(&mut bytes, element, value)?;
    Some(bytes)
}

/// The bytes of all `values`, packed; `None` for strings and complex.
pub fn encode_all(element: Element, values: impl IntoIterator<Item = f64>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    values.into_iter().try_for_each(|value| put(&mut bytes, element, value))?;
    // An element type that takes no numbers is refused even when there are none.
    bits_of(element)?;
    Some(if element.bits() < 8 { pack(element.bits(), bytes) } else { bytes })
}

fn bits_of(element: Element) -> Option<usize> {
    (!matches!(element.kind(), ElementKind::Text | ElementKind::Complex)).then(|| element.bits())
}

fn put(bytes: &mut Vec<u8>, element: Element, value: f64) -> Option<()> {
    match element {
        Element::Float => bytes.extend((value as f32).to_le_bytes()),
        Element::Double => bytes.extend(value.to_le_bytes()),
        Element::Float16 => bytes.extend(f16::from_f64(value).to_le_bytes()),
        Element::Bfloat16 => bytes.extend(bf16::from_f64(value).to_le_bytes()),
        Element::Int8 => bytes.extend((value as i8).to_le_bytes()),
        Element::Int16 => bytes.extend((value as i16).to_le_bytes()),
        Element::Int32 => bytes.extend((value as i32).to_le_bytes()),
        Element::Int64 => bytes.extend((value as i64).to_le_bytes()),
        Element::Uint8 => bytes.push(value as u8),
        Element::Uint16 => bytes.extend((value as u16).to_le_bytes()),
        Element::Uint32 => bytes.extend((value as u32).to_le_bytes()),
        Element::Uint64 => bytes.extend((value as u64).to_le_bytes()),
        Element::Bool => bytes.push(u8::from(value != 0.0)),
        element if element.kind() == ElementKind::Unsigned => bytes.push((value as u8).min(mask(element.bits()))),
        element if element.kind() == ElementKind::Signed => {
            let most = (mask(element.bits()) >> 1) as i8;
            bytes.push((value as i8).clamp(-most - 1, most) as u8 & mask(element.bits()));
        }
        element => bytes.push(narrow::encode(element, value, Rounding::NEAREST)?),
    }
    Some(())
}

fn mask(bits: usize) -> u8 {
    (1 << bits) - 1
}

/// Codes of fewer than 8 bits, one a byte, packed with the first in the lowest bits; those of 6 bits go on in the next
/// byte. Higher bits are ignored.
pub fn pack(bits: usize, codes: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let (mut bytes, mut pending, mut n_pending) = (Vec::new(), 0u16, 0);
    for code in codes {
        pending |= u16::from(code & mask(bits)) << n_pending;
        n_pending += bits;
        if n_pending >= 8 {
            bytes.push(pending as u8);
            (pending, n_pending) = (pending >> 8, n_pending - 8);
        }
    }
    if n_pending > 0 {
        bytes.push(pending as u8);
    }
    bytes
}

/// Code `index` of packed `bytes`; `None` behind the end.
pub fn unpack(bits: usize, bytes: &[u8], index: usize) -> Option<u8> {
    let (at, skipped) = (index * bits / 8, index * bits % 8);
    let low = u16::from(*bytes.get(at)?);
    // Read only where the code goes on.
    let high = if skipped + bits > 8 { u16::from(*bytes.get(at + 1)?) } else { 0 };
    Some(((low | high << 8) >> skipped) as u8 & mask(bits))
}

/// Element `index` of packed little-endian `bytes`; `None` for strings and complex, and behind the end.
pub fn decode(element: Element, bytes: &[u8], index: usize) -> Option<f64> {
    macro_rules! read {
        ($ty:ty) => {{
            let width = size_of::<$ty>();
            <$ty>::from_le_bytes(bytes.get(index * width..(index + 1) * width)?.try_into().ok()?)
        }};
    }
    Some(match element {
        Element::Float => f64::from(read!(f32)),
        Element::Double => read!(f64),
        Element::Float16 => read!(f16).to_f64(),
        Element::Bfloat16 => read!(bf16).to_f64(),
        Element::Int8 => f64::from(read!(i8)),
        Element::Int16 => f64::from(read!(i16)),
        Element::Int32 => f64::from(read!(i32)),
        Element::Int64 => read!(i64) as f64,
        Element::Uint8 => f64::from(read!(u8)),
        Element::Uint16 => f64::from(read!(u16)),
        Element::Uint32 => f64::from(read!(u32)),
        Element::Uint64 => read!(u64) as f64,
        Element::Bool => f64::from(u8::from(read!(u8) != 0)),
        element if element.bits() == 8 => narrow::decode(element, read!(u8))?,
        element if (1..8).contains(&element.bits()) => {
            let bits = element.bits();
            let code = unpack(bits, bytes, index)?;
            let negative = element.kind() == ElementKind::Signed && code >> (bits - 1) == 1;
            match narrow::decode(element, code) {
                Some(value) => value,
                None => f64::from(code) - if negative { f64::from(1u32 << bits) } else { 0.0 },
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_a_packed_type_is_read_back() {
        for element in Element::ALL.iter().copied().filter(|element| (1..8).contains(&element.bits())) {
            let codes = 0..1u8 << element.bits();
            // An odd count leaves the last byte partly unused.
            let bytes = pack(element.bits(), codes.clone().chain([1]));
            let values: Option<Vec<f64>> = (0..codes.len() + 1).map(|at| decode(element, &bytes, at)).collect();
            assert_eq!(encode_all(element, values.expect("numbers")), Some(bytes), "{element}");
        }
    }

    #[test]
    fn packed_integers_end_at_their_limits() {
        assert_eq!(encode_all(Element::Int4, [-100.0, 7.9, 100.0]), Some(vec![0x78, 0x07]));
        assert_eq!(encode_all(Element::Uint2, [-1.0, 2.5, 100.0, f64::NAN, 1.0]), Some(vec![0x38, 0x01]));
    }
}
