//! Prints the data of tensors so that they read back bit by bit.

use super::print::{PrintOptions, Weights, quote};
use crate::codec::unpack;
use crate::tensor::{Data, Seed, Tensor};
use crate::types::{Element, ElementKind};
use std::fmt::Write;

/// The element type and dims of `tensor`, such as `float[2,3]`; a scalar has no brackets.
pub(super) fn tensor_type(out: &mut String, tensor: &Tensor) {
    out.push_str(tensor.element().text());
    for (axis, dim) in tensor.shape().iter().enumerate() {
        let _ = write!(out, "{}{dim}", if axis == 0 { '[' } else { ',' });
    }
    if !tensor.shape().is_empty() {
        out.push(']');
    }
}

/// True when the contents print as a recipe or not at all, and need an `=` before them.
pub(super) fn is_recipe(tensor: &Tensor, options: &PrintOptions) -> bool {
    form(tensor, options) != Form::Elements
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Elements,
    Splat,
    Seed(Seed),
    /// A seed in place of the contents; its number is still to be given.
    Replaced(f64, f64),
    Elided,
}

fn form(tensor: &Tensor, options: &PrintOptions) -> Form {
    let count = tensor.count();
    if count <= 1 {
        return Form::Elements;
    }
    match (tensor.data(), options.weights) {
        (Data::Splat(_), _) if count > options.materialize => Form::Splat,
        (Data::Seeded(seed), _) if count > options.materialize => Form::Seed(*seed),
        (Data::Bytes(_) | Data::Strings(_) | Data::Stored(_), Weights::Elide { above }) if count > above => {
            Form::Elided
        }
        (Data::Bytes(_) | Data::Stored(_), Weights::Seeds { above }) if count > above && tensor.element().is_real() => {
            tensor.to_f64s().and_then(|values| like(&values)).unwrap_or(Form::Elements)
        }
        _ => Form::Elements,
    }
}

/// A uniform range of the values' mean and deviation, cut at their extremes, so that variances stay positive.
fn like(values: &[f64]) -> Option<Form> {
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    let (least, most) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
    let half = 3f64.sqrt() * deviation;
    Some(Form::Replaced((mean - half).max(least), (mean + half).min(most)))
}

/// Prints the contents of `tensor`; `n_seeds` counts the seeds given in place of contents.
pub(super) fn data(out: &mut String, tensor: &Tensor, options: &PrintOptions, n_seeds: &mut u64) {
    match form(tensor, options) {
        Form::Elements => elements(out, tensor),
        Form::Elided => out.push_str("..."),
        Form::Splat => {
            out.push_str("[\"location\": \"splat:");
            if let Data::Splat(value) = tensor.data() {
                let single = Tensor::splat(tensor.element(), &[], &value[..tensor.element().bits().div_ceil(8)]);
                single.iter().for_each(|single| element_list(out, single));
            }
            out.push_str("\"]");
        }
        Form::Seed(seed) => {
            let _ = write!(out, "[\"location\": \"seed:{}\"", seed.seed);
            if seed != Seed::for_weight(seed.seed, tensor.shape()) {
                let _ = write!(out, ", \"low\": \"{:?}\", \"high\": \"{:?}\"", seed.low, seed.high);
            }
            out.push(']');
        }
        Form::Replaced(low, high) => {
            *n_seeds += 1;
            let (low, high) = (shortened(low), shortened(high));
            let _ = write!(out, "[\"location\": \"seed:{n_seeds}\", \"low\": \"{low:?}\", \"high\": \"{high:?}\"]");
        }
    }
}

/// `value` to four significant digits.
fn shortened(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

fn elements(out: &mut String, tensor: &Tensor) {
    out.push('{');
    match tensor.data() {
        Data::Strings(strings) => {
            for (index, string) in strings.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                byte_string(out, string);
            }
        }
        _ => element_list(out, tensor),
    }
    out.push('}');
}

/// Text in quotes, or its bytes in hexadecimal when it is not UTF-8.
pub(super) fn byte_string(out: &mut String, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => quote(out, text),
        Err(_) => hex(out, bytes),
    }
}

/// `0x` and two digits for each byte.
pub(super) fn hex(out: &mut String, bytes: &[u8]) {
    out.push_str("0x");
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

fn element_list(out: &mut String, tensor: &Tensor) {
    let bytes = tensor.bytes();
    let element = tensor.element();
    match element {
        Element::Float | Element::Complex64 => each::<4>(out, &bytes, |out, raw| float32(out, f32::from_le_bytes(raw))),
        Element::Double | Element::Complex128 => {
            each::<8>(out, &bytes, |out, raw| float64(out, f64::from_le_bytes(raw)));
        }
        _ if element.bits() < 8 => narrow(out, &bytes, element, tensor.count()),
        _ => {
            let signed = element.kind() == ElementKind::Signed;
            // Narrow floats and truth values print as their bit patterns, as `onnx.parser` reads them.
            match (element.bits(), signed) {
                (8, true) => each::<1>(out, &bytes, |out, raw| int(out, i8::from_le_bytes(raw))),
                (8, false) => each::<1>(out, &bytes, |out, raw| int(out, u8::from_le_bytes(raw))),
                (16, true) => each::<2>(out, &bytes, |out, raw| int(out, i16::from_le_bytes(raw))),
                (16, false) => each::<2>(out, &bytes, |out, raw| int(out, u16::from_le_bytes(raw))),
                (32, true) => each::<4>(out, &bytes, |out, raw| int(out, i32::from_le_bytes(raw))),
                (32, false) => each::<4>(out, &bytes, |out, raw| int(out, u32::from_le_bytes(raw))),
                (_, true) => each::<8>(out, &bytes, |out, raw| int(out, i64::from_le_bytes(raw))),
                (_, false) => each::<8>(out, &bytes, |out, raw| int(out, u64::from_le_bytes(raw))),
            }
        }
    }
}

fn each<const WIDTH: usize>(out: &mut String, bytes: &[u8], print: impl Fn(&mut String, [u8; WIDTH])) {
    for (index, raw) in bytes.chunks_exact(WIDTH).enumerate() {
        out.push_str(if index == 0 { "" } else { ", " });
        let mut value = [0; WIDTH];
        value.copy_from_slice(raw);
        print(out, value);
    }
}

fn narrow(out: &mut String, bytes: &[u8], element: Element, count: usize) {
    let (width, signed) = (element.bits(), element.kind() == ElementKind::Signed);
    for index in 0..count {
        out.push_str(if index == 0 { "" } else { ", " });
        let raw = unpack(width, bytes, index).unwrap_or(0);
        let negative = signed && raw >> (width - 1) == 1;
        int(out, i16::from(raw) - if negative { 1 << width } else { 0 });
    }
}

fn int(out: &mut String, value: impl std::fmt::Display) {
    let _ = write!(out, "{value}");
}

/// The shortest text that reads back as `value`; NaN with a payload prints as its bits.
pub(super) fn float32(out: &mut String, value: f32) {
    let bits = value.to_bits();
    let _ = match (value.is_nan(), bits & 0x7fff_ffff) {
        (true, 0x7fc0_0000) => write!(out, "{}nan", if bits >> 31 == 1 { "-" } else { "" }),
        (true, _) => write!(out, "{bits:#010x}"),
        (false, _) => write!(out, "{value:?}"),
    };
}

fn float64(out: &mut String, value: f64) {
    let bits = value.to_bits();
    let _ = match (value.is_nan(), bits & !(1 << 63)) {
        (true, 0x7ff8_0000_0000_0000) => write!(out, "{}nan", if bits >> 63 == 1 { "-" } else { "" }),
        (true, _) => write!(out, "{bits:#018x}"),
        (false, _) => write!(out, "{value:?}"),
    };
}
