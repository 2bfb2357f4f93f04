//! Reads the data of tensors: elements in braces, or a recipe in brackets.

use super::cursor::{Cursor, Parsed};
use super::lexer::{Kind, Token};
use super::syntax::{Spanned, TypeSyntax};
use crate::attr::Name;
use crate::diag::{Diagnostic, Kind as Failure};
use crate::narrow::{self, Rounding};
use crate::tensor::{Seed, Tensor, TensorError, count_of};
use crate::types::{Element, ElementKind};
use bytes::Bytes;
use half::{bf16, f16};
use std::ops::Range;

impl Cursor<'_> {
    pub(super) fn at_data(&self) -> bool {
        self.peek().is("{") || self.peek().is("[") || self.peek().is("...")
    }

    /// The contents of a tensor of type `ty`, which stands at `span`. What is wrong with the contents alone is reported
    /// and gives `None`: reading goes on behind them.
    pub(super) fn data(&mut self, ty: &TypeSyntax, span: Range<usize>) -> Parsed<Option<Tensor>> {
        let start = self.peek().start;
        let sizes = match ty {
            TypeSyntax::Tensor(ty) => ty.sizes().map(|sizes| (ty.element, sizes)),
            TypeSyntax::Sequence(_) | TypeSyntax::Optional(_) => None,
        };
        let made = match sizes {
            None => {
                let message = "the shape of a tensor with contents is known in every dim";
                self.report(Diagnostic::error(Failure::Invalid, "T0008", message).at_span(span));
                self.skip_data()?;
                return Ok(None);
            }
            Some((element, shape)) if self.eat("{") => match self.elements(element, &shape, start)? {
                Some(made) => made,
                None => return Ok(None),
            },
            Some((element, shape)) if self.eat("[") => match self.recipe(element, &shape)? {
                Some(made) => made,
                None => return Ok(None),
            },
            Some(_) if self.peek().is("...") => {
                let problem =
                    Diagnostic::error(Failure::Unsupported, "T0012", "the contents of this tensor are elided")
                        .at_span(self.peek().span())
                        .help("print the model with its weights in full, or with seeds for them");
                self.bump();
                self.report(problem);
                return Ok(None);
            }
            Some(_) => return Err(self.expected("the contents of a tensor: `{`, or `[` before a location")),
        };
        Ok(match made {
            Ok(tensor) => Some(tensor),
            Err(error) => {
                let problem = Diagnostic::error(Failure::Invalid, "T0009", error.to_string());
                self.report(problem.at_span(self.span_from(start)));
                None
            }
        })
    }

    fn skip_data(&mut self) -> Parsed<()> {
        if self.eat("...") {
            return Ok(());
        }
        let close = if self.peek().is("{") { "}" } else { "]" };
        while !self.at_end() && !self.peek().is(close) {
            self.bump();
        }
        self.expect(close, "after the contents of a tensor")
    }

    /// `{...}` after the brace. `None` after a problem that has been reported.
    fn elements(
        &mut self,
        element: Element,
        shape: &[usize],
        start: usize,
    ) -> Parsed<Option<Result<Tensor, TensorError>>> {
        const END: &str = "after the elements of a tensor";
        let (mut writer, mut strings) = (Writer::new(element), Vec::new());
        self.list_until("}", END, |cursor| {
            if element == Element::String {
                strings.push(cursor.byte_string()?);
                return Ok(());
            }
            let token = cursor.peek();
            match writer.push(token) {
                Ok(()) => {}
                Err(Unfit::NoElement) => return Err(cursor.expected(&format!("an element of {element}"))),
                Err(Unfit::Range) => {
                    let message = format!("{} does not fit {element}", token.shown());
                    cursor.report(Diagnostic::error(Failure::Invalid, "T0004", message).at_span(token.span()));
                    writer.push_zero();
                }
            }
            cursor.bump();
            Ok(())
        })?;
        let (expected, found) = (count_of(shape), writer.n_elements().max(strings.len()));
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            let message = format!("the shape asks for {expected} elements, found {found}");
            self.report(Diagnostic::error(Failure::Invalid, "T0009", message).at_span(self.span_from(start)));
            return Ok(None);
        }
        Ok(Some(match element {
            Element::String => Tensor::from_strings(shape, strings),
            _ => Tensor::new(element, shape, writer.finish()),
        }))
    }

    fn byte_string(&mut self) -> Parsed<Bytes> {
        let token = self.peek();
        match (token.kind, token.string()) {
            (_, Some(string)) => {
                self.bump();
                Ok(Bytes::copy_from_slice(string.as_bytes()))
            }
            (Kind::Hex, _) => self.hex_bytes(),
            _ => Err(self.expected("a string, or bytes as `0x..`")),
        }
    }

    /// Bytes as pairs of hexadecimal digits, in order.
    pub(super) fn hex_bytes(&mut self) -> Parsed<Bytes> {
        let token = self.bump();
        let digits = &token.text[2..];
        if digits.len() % 2 == 1 {
            let problem =
                Diagnostic::error(Failure::Malformed, "T0004", "bytes have two digits each, found an odd number");
            return Err(self.stop(problem.at_span(token.span())));
        }
        let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap_or(0);
        Ok((0..digits.len()).step_by(2).map(pair).collect::<Vec<u8>>().into())
    }

    /// `["location": "...", ...]` after the bracket. `None` after a problem that has been reported.
    fn recipe(&mut self, element: Element, shape: &[usize]) -> Parsed<Option<Result<Tensor, TensorError>>> {
        let start = self.peek().start;
        let mut pairs: Vec<(Name, Spanned<Name>)> = Vec::new();
        self.list_until("]", "after the location of a tensor", |cursor| {
            let key = cursor.string("a key in quotes, such as \"location\"")?;
            cursor.expect(":", "after a key")?;
            pairs.push((key.value, cursor.string("a value in quotes")?));
            Ok(())
        })?;
        let span = self.span_from(start);
        let value = |key: &str| pairs.iter().find(|(found, _)| found == key).map(|(_, value)| value);
        let refuse = |message: String, span: Range<usize>| {
            Diagnostic::error(Failure::Malformed, "T0011", message)
                .at_span(span)
                .help("recipes are \"seed:N\", with \"low\" and \"high\" if need be, and \"splat:VALUE\"")
        };
        let Some(location) = value("location") else {
            self.report(refuse("contents in brackets need a \"location\"".to_owned(), span));
            return Ok(None);
        };
        let allowed: &[&str] =
            if location.value.starts_with("seed:") { &["location", "low", "high"] } else { &["location"] };
        let made = if let Some(seed) = location.value.strip_prefix("seed:") {
            seeded(element, shape, seed, value("low"), value("high"))
        } else if let Some(text) = location.value.strip_prefix("splat:") {
            splat(element, shape, text)
        } else {
            let message = format!("the contents stand in another file, `{}`", location.value);
            let problem = Diagnostic::error(Failure::Unsupported, "T0010", message).at_span(location.span.clone());
            self.report(problem.help(
                "text carries weights in full, as \"seed:N\" or as \"splat:VALUE\"; load the .onnx file for others",
            ));
            return Ok(None);
        };
        if let Some((key, pair)) = pairs.iter().find(|(key, _)| !allowed.contains(&key.as_str())) {
            self.report(refuse(format!("the key `{key}` does not go with this location"), pair.span.clone()));
            return Ok(None);
        }
        if made.is_none() {
            self.report(refuse(format!("`{}` gives no contents for {element}", location.value), location.span.clone()));
        }
        Ok(made)
    }
}

fn seeded(
    element: Element,
    shape: &[usize],
    seed: &str,
    low: Option<&Spanned<Name>>,
    high: Option<&Spanned<Name>>,
) -> Option<Result<Tensor, TensorError>> {
    let mut recipe = Seed::for_weight(seed.parse().ok()?, shape);
    let bound = |text: &Spanned<Name>| text.value.parse().ok().filter(|value: &f64| value.is_finite());
    if let Some(low) = low {
        recipe.low = bound(low)?;
    }
    if let Some(high) = high {
        recipe.high = bound(high)?;
    }
    (recipe.low <= recipe.high).then(|| Tensor::seeded(element, shape, recipe))
}

fn splat(element: Element, shape: &[usize], text: &str) -> Option<Result<Tensor, TensorError>> {
    let (tokens, problems) = super::lexer::tokens(text);
    if problems.has_errors() {
        return None;
    }
    let mut writer = Writer::new(element);
    for token in tokens.iter().filter(|token| !token.is(",")) {
        writer.push(*token).ok()?;
    }
    (writer.n_elements() == 1).then(|| Tensor::splat(element, shape, &writer.finish()))
}

/// Why a token is no element.
pub(super) enum Unfit {
    NoElement,
    Range,
}

/// Elements on their way from tokens to packed little-endian bytes.
struct Writer {
    element: Element,
    bytes: Vec<u8>,
    /// Tokens taken: two for each complex element, one for each other.
    n_written: usize,
}

impl Writer {
    fn new(element: Element) -> Self {
        Self { element, bytes: Vec::new(), n_written: 0 }
    }

    fn n_elements(&self) -> usize {
        match self.element.kind() {
            // A real part alone counts as an element, and makes the bytes too few.
            ElementKind::Complex => self.n_written.div_ceil(2),
            _ => self.n_written,
        }
    }

    fn push_zero(&mut self) {
        let width = self.element.bits() / if self.element.kind() == ElementKind::Complex { 2 } else { 1 };
        self.put(0, width);
    }

    fn put(&mut self, bits: u64, width: usize) {
        if width >= 8 {
            self.bytes.extend_from_slice(&bits.to_le_bytes()[..width / 8]);
        } else {
            let used = self.n_written * width % 8;
            let spread = (bits as u16) << used;
            match self.bytes.last_mut() {
                Some(last) if used != 0 => *last |= spread as u8,
                _ => self.bytes.push(spread as u8),
            }
            // A code of 6 bits may go on in the next byte.
            if used + width > 8 {
                self.bytes.push((spread >> 8) as u8);
            }
        }
        self.n_written += 1;
    }

    fn push(&mut self, token: Token) -> Result<(), Unfit> {
        use Element::*;
        let bits = match self.element {
            Float | Complex64 => u64::from(float32(token)?.to_bits()),
            Double | Complex128 => float64(token)?.to_bits(),
            Float16 if token.is_number() && token.kind != Kind::Int => {
                u64::from(f16::from_f64(float64(token)?).to_bits())
            }
            Bfloat16 if token.is_number() && token.kind != Kind::Int => {
                u64::from(bf16::from_f64(float64(token)?).to_bits())
            }
            String => return Err(Unfit::NoElement),
            element if token.is_number() && token.kind != Kind::Int => {
                let code = narrow::encode(element, float64(token)?, Rounding::NEAREST);
                u64::from(code.ok_or(Unfit::NoElement)?)
            }
            element => return self.push_integer(token, element),
        };
        let width = if matches!(self.element, Float | Complex64) { 32 } else { self.element.bits().min(64) };
        self.put(bits, width);
        Ok(())
    }

    // Whole numbers are the bit patterns of narrow floats and truth values, like in `TensorProto.int32_data`.
    fn push_integer(&mut self, token: Token, element: Element) -> Result<(), Unfit> {
        let value: i128 = match token.kind {
            Kind::Int => token.text.parse().map_err(|_| Unfit::Range)?,
            Kind::Hex => i128::from(u64::from_str_radix(&token.text[2..], 16).map_err(|_| Unfit::Range)?),
            _ => return Err(Unfit::NoElement),
        };
        let width = element.bits();
        let (low, high) = match element.kind() {
            ElementKind::Signed if token.kind == Kind::Int => (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1),
            _ => (0, (1i128 << width) - 1),
        };
        if !(low..=high).contains(&value) {
            return Err(Unfit::Range);
        }
        let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
        self.put(value as u64 & mask, width);
        Ok(())
    }

    fn finish(self) -> Bytes {
        self.bytes.into()
    }
}

/// A float as text spells it: the bits of `0x..`, else the nearest number.
pub(super) fn float32(token: Token) -> Result<f32, Unfit> {
    if token.kind == Kind::Hex {
        return u32::from_str_radix(&token.text[2..], 16).map(f32::from_bits).map_err(|_| Unfit::Range);
    }
    if !token.is_number() {
        return Err(Unfit::NoElement);
    }
    match special(token.text) {
        Some(value) if value.is_nan() => Ok(f32::from_bits(0x7fc0_0000 | u32::from(value.is_sign_negative()) << 31)),
        Some(value) => Ok(value as f32),
        None => token.text.parse().ok().filter(|value: &f32| value.is_finite()).ok_or(Unfit::Range),
    }
}

fn float64(token: Token) -> Result<f64, Unfit> {
    if token.kind == Kind::Hex {
        return u64::from_str_radix(&token.text[2..], 16).map(f64::from_bits).map_err(|_| Unfit::Range);
    }
    if !token.is_number() {
        return Err(Unfit::NoElement);
    }
    match special(token.text) {
        Some(value) => Ok(value),
        None => token.text.parse().ok().filter(|value: &f64| value.is_finite()).ok_or(Unfit::Range),
    }
}

/// Infinities and NaN with their sign; NaN is the quiet one without payload.
fn special(text: &str) -> Option<f64> {
    let (negative, word) = match text.strip_prefix('-') {
        Some(word) => (true, word),
        None => (false, text),
    };
    let magnitude = match word.as_bytes().first()?.to_ascii_lowercase() {
        b'i' => f64::INFINITY,
        b'n' => f64::from_bits(0x7ff8 << 48),
        _ => return None,
    };
    Some(if negative { f64::from_bits(magnitude.to_bits() | 1 << 63) } else { magnitude })
}
