//! Cuts text into tokens with byte spans; shared by the ONNX syntax and the rule language.
//!
//! Guarantees:
//! - every input gives tokens: what is not a token is one of kind [`Kind::Unknown`] or [`Kind::Unterminated`];
//! - tokens are slices of the source, in order, and do not overlap; between them stand spaces and `#` comments alone;
//! - the lexer holds no more than a position, so that a file of a million numbers costs no list of a million tokens.

use crate::diag::{Diagnostic, Diagnostics, Kind as Failure};
use std::borrow::Cow;
use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An ASCII letter or `_`, then letters, digits and `_`. Also `inf` and `nan`: only the place tells them from names.
    Ident,
    /// Decimal digits, perhaps after `-`.
    Int,
    /// A number with a point or an exponent; also `-inf`, `-infinity` and `-nan` in any case.
    Float,
    /// `0x` and hexadecimal digits: a bit pattern.
    Hex,
    /// Text between double quotes; a backslash takes the next character as it is.
    String,
    /// One of [`PUNCTUATION`].
    Punct,
    /// `///` and the rest of the line.
    Doc,
    /// A character that starts no token.
    Unknown,
    /// A string without its closing quote.
    Unterminated,
    /// The end of the text.
    End,
}

/// Every punctuation token; where several fit, the longest one is taken.
pub const PUNCTUATION: &[&str] = &[
    "...", "..", "=>", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", "<", ">", ",", ":", ";", "=", "@", ".",
    "~", "?", "+", "-", "*", "/", "|", "&", "!", "%",
];

/// One token: its kind and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// The source text, quotes included.
    pub text: &'a str,
    /// Offset of its first byte.
    pub start: usize,
}

impl<'a> Token<'a> {
    /// Its range of bytes in the source.
    pub fn span(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// True when it is this punctuation.
    pub fn is(&self, punct: &str) -> bool {
        self.kind == Kind::Punct && self.text == punct
    }

    /// True when it is this word.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Ident && self.text == word
    }

    /// The contents of a string, without quotes and backslashes; `None` for another kind.
    pub fn string(&self) -> Option<Cow<'a, str>> {
        if self.kind != Kind::String {
            return None;
        }
        let inner = &self.text[1..self.text.len() - 1];
        if !inner.contains('\\') {
            return Some(Cow::Borrowed(inner));
        }
        let mut plain = String::with_capacity(inner.len());
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            plain.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        Some(Cow::Owned(plain))
    }

    /// The text of a `///` comment without the slashes and one space; `None` for another kind.
    pub fn doc(&self) -> Option<&'a str> {
        let text = (self.kind == Kind::Doc).then(|| &self.text[3..])?;
        Some(text.strip_prefix(' ').unwrap_or(text).trim_end())
    }

    /// The value of an integer; `None` for another kind and outside `i64`.
    pub fn int(&self) -> Option<i64> {
        (self.kind == Kind::Int).then(|| self.text.parse().ok()).flatten()
    }

    /// The value of a number, integers included, and of the words `inf`, `infinity` and `nan`; rounded to nearest.
    pub fn float(&self) -> Option<f64> {
        self.is_number().then(|| self.text.parse().ok()).flatten()
    }

    /// True for integers, floats, and the words `inf`, `infinity` and `nan` in any case.
    pub fn is_number(&self) -> bool {
        match self.kind {
            Kind::Int | Kind::Float => true,
            Kind::Ident => is_special(self.text),
            _ => false,
        }
    }

    /// What is wrong with it, when it is no token of the language at all.
    pub fn problem(&self) -> Option<Diagnostic> {
        let problem = match self.kind {
            Kind::Unknown => {
                Diagnostic::error(Failure::Malformed, "T0001", format!("the character `{}` starts no token", self.text))
                    .help("names with other characters than letters, digits and `_` stand in double quotes")
            }
            Kind::Unterminated => Diagnostic::error(Failure::Malformed, "T0002", "a string has no closing quote")
                .help("inside a string, write `\\\"` for a quote"),
            _ => return None,
        };
        Some(problem.at_span(self.span()))
    }

    /// The token as an error message names it.
    pub fn shown(&self) -> String {
        const LONGEST: usize = 40;
        match self.kind {
            Kind::End => "the end of the text".to_owned(),
            _ if self.text.chars().nth(LONGEST).is_some() => {
                format!("`{}...`", self.text.chars().take(LONGEST).collect::<String>())
            }
            _ => format!("`{}`", self.text),
        }
    }
}

/// True for the words that are floats: `inf`, `infinity` and `nan` in any case.
fn is_special(word: &str) -> bool {
    ["inf", "infinity", "nan"].iter().any(|special| word.eq_ignore_ascii_case(special))
}

/// Reads tokens from a text one by one.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of `source`.
    pub fn new(source: &'a str) -> Self {
        Self { source, at: 0 }
    }

    /// The next token; at the end of the text, [`Kind::End`] again and again.
    pub fn token(&mut self) -> Token<'a> {
        self.skip_blank();
        let rest = &self.source[self.at..];
        let (kind, len) = scan(rest);
        let token = Token { kind, text: &rest[..len], start: self.at };
        self.at += len;
        token
    }

    fn skip_blank(&mut self) {
        let bytes = self.source.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => self.at += 1,
                b'#' => self.at += line_len(&self.source[self.at..]),
                _ => return,
            }
        }
    }
}

/// All tokens of `source` without the end, and what is wrong with them.
pub fn tokens(source: &str) -> (Vec<Token<'_>>, Diagnostics) {
    let mut lexer = Lexer::new(source);
    let tokens: Vec<Token> =
        std::iter::repeat_with(|| lexer.token()).take_while(|token| token.kind != Kind::End).collect();
    let mut problems = Diagnostics::default();
    problems.extend(tokens.iter().filter_map(Token::problem));
    (tokens, problems)
}

/// Kind and length in bytes of the token at the start of `rest`, which starts with no blank.
fn scan(rest: &str) -> (Kind, usize) {
    let bytes = rest.as_bytes();
    let Some(&first) = bytes.first() else { return (Kind::End, 0) };
    match first {
        b'"' => string(bytes),
        b'_' | b'a'..=b'z' | b'A'..=b'Z' => (Kind::Ident, word_len(bytes)),
        b'0'..=b'9' => number(bytes),
        b'-' if bytes.get(1).is_some_and(u8::is_ascii_digit) => {
            let (kind, len) = number(&bytes[1..]);
            // A bit pattern has no sign: `-0x1` is `-0` and a word.
            if kind == Kind::Hex { (Kind::Int, 2) } else { (kind, len + 1) }
        }
        b'-' if is_special(&rest[1..1 + word_len(&bytes[1..])]) => (Kind::Float, 1 + word_len(&bytes[1..])),
        b'/' if rest.starts_with("///") => (Kind::Doc, line_len(rest)),
        _ => match PUNCTUATION.iter().find(|punct| rest.starts_with(*punct)) {
            Some(punct) => (Kind::Punct, punct.len()),
            None => (Kind::Unknown, rest.chars().next().map_or(1, char::len_utf8)),
        },
    }
}

fn line_len(rest: &str) -> usize {
    rest.find('\n').unwrap_or(rest.len())
}

fn word_len(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count()
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn string(bytes: &[u8]) -> (Kind, usize) {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return (Kind::String, at + 1),
            // The byte after a backslash is never a quote's end; a longer character's other bytes are skipped in turn.
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    (Kind::Unterminated, bytes.len())
}

fn number(bytes: &[u8]) -> (Kind, usize) {
    if let [b'0', b'x', rest @ ..] = bytes {
        let n_digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if n_digits > 0 {
            return (Kind::Hex, 2 + n_digits);
        }
    }
    let (mut kind, mut at) = (Kind::Int, digits(bytes));
    // Two points are a token of their own: `0..4` is a range.
    if bytes.get(at) == Some(&b'.') && bytes.get(at + 1) != Some(&b'.') {
        kind = Kind::Float;
        at += 1 + digits(&bytes[at + 1..]);
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let n_digits = digits(bytes.get(at + 1 + sign..).unwrap_or_default());
        if n_digits > 0 {
            kind = Kind::Float;
            at += 1 + sign + n_digits;
        }
    }
    (kind, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<(Kind, &str)> {
        tokens(source).0.iter().map(|token| (token.kind, token.text)).collect()
    }

    #[test]
    fn numbers_are_told_apart_by_point_and_exponent() {
        use Kind::*;
        assert_eq!(
            kinds("1 -2 3.5 4. 1e-7 -2E+3 0x7fC0 -inf -NaN 5e"),
            [
                (Int, "1"),
                (Int, "-2"),
                (Float, "3.5"),
                (Float, "4."),
                (Float, "1e-7"),
                (Float, "-2E+3"),
                (Hex, "0x7fC0"),
                (Float, "-inf"),
                (Float, "-NaN"),
                (Int, "5"),
                (Ident, "e"),
            ]
        );
    }

    #[test]
    fn the_longest_punctuation_wins() {
        use Kind::*;
        assert_eq!(
            kinds("a=>b==c ..d 0..4 x>=1 -y"),
            [
                (Ident, "a"),
                (Punct, "=>"),
                (Ident, "b"),
                (Punct, "=="),
                (Ident, "c"),
                (Punct, ".."),
                (Ident, "d"),
                (Int, "0"),
                (Punct, ".."),
                (Int, "4"),
                (Ident, "x"),
                (Punct, ">="),
                (Int, "1"),
                (Punct, "-"),
                (Ident, "y"),
            ]
        );
    }

    #[test]
    fn comments_vanish_and_doc_comments_stay() {
        let (found, problems) = tokens("# a note\n/// what it means \n rule # tail\n#");
        assert_eq!(found.iter().map(|token| token.kind).collect::<Vec<_>>(), [Kind::Doc, Kind::Ident]);
        assert_eq!(found[0].doc(), Some("what it means"));
        assert_eq!(problems, Diagnostics::default());
    }

    #[test]
    fn a_backslash_takes_the_next_character_as_it_is() {
        let (found, _) = tokens(r#" "a\"b\\c\é" "#);
        assert_eq!(found[0].string().as_deref(), Some(r#"a"b\cé"#));
        assert_eq!(found[0].span(), 1..13);
    }

    #[test]
    fn what_is_no_token_is_reported_where_it_stands() {
        let (_, problems) = tokens("x é = \"open");
        let places: Vec<_> = problems.0.iter().map(|problem| (problem.code, problem.place.span.clone())).collect();
        assert_eq!(places, [("T0001", Some(2..4)), ("T0002", Some(7..12))]);
    }

    #[test]
    fn any_bytes_of_text_are_covered_by_tokens() {
        for source in ["\"\\", "\"\\é", "0x", "-", "///", "\u{7f}", "1.", "-0x1", "...."] {
            let mut lexer = Lexer::new(source);
            let mut covered = 0;
            while let token @ Token { kind: Kind::Hex | Kind::Ident | Kind::Int | Kind::Float, .. }
            | token @ Token { kind: Kind::String | Kind::Punct | Kind::Doc, .. }
            | token @ Token { kind: Kind::Unknown | Kind::Unterminated, .. } = lexer.token()
            {
                covered += token.text.len();
            }
            assert_eq!(covered, source.len(), "{source}");
        }
    }
}
