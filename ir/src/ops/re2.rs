//! Regular expressions in the syntax of RE2, compiled by the crate `regex`.
//!
//! The two agree in most, but not in all: in RE2 the classes `\d`, `\s`, `\w` and the boundary `\b` know ASCII alone, a
//! brace that counts nothing and a bracket inside a class stand for themselves, `\Q...\E` quotes and `\101` is octal;
//! `regex` has set operations, more flags and more escapes. So a pattern is read by the grammar of RE2 and written anew.
//! Of RE2, `\C` (any one byte) is refused: it may stop within a character.
//!
//! Source: <https://github.com/google/re2/wiki/Syntax>.

use crate::op::Reason;
use regex::bytes::{Regex, RegexBuilder};
use std::fmt::Write;

/// Bytes that a compiled pattern may take; RE2 itself allows as much.
const MOST_BYTES: usize = 8 << 20;
/// The largest count of a repetition that RE2 takes.
const MOST_REPEATS: u32 = 1000;
/// Groups within groups.
const MOST_NESTED: u32 = 250;
/// The classes of ASCII characters that have a name between `[:` and `:]`.
const POSIX_CLASSES: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// A matcher of whole UTF-8 strings. Errors: not RE2 syntax, or too large when compiled.
pub(super) fn full_match(pattern: &str) -> Result<Regex, Reason> {
    let body = Translator { rest: pattern, out: String::new() }.pattern()?;
    let regex = RegexBuilder::new(&format!(r"\A(?:{body})\z"))
        .size_limit(MOST_BYTES)
        .dfa_size_limit(MOST_BYTES)
        .nest_limit(MOST_NESTED)
        .build();
    regex.map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => Reason(format!("the pattern takes more than {limit} bytes")),
        _ => unsound(pattern, "its groups, classes or repetitions are not well-formed"),
    })
}

fn unsound(at: &str, why: &str) -> Reason {
    let shown: String = at.chars().take(40).collect();
    Reason(format!("not a pattern of RE2 at `{shown}`: {why}"))
}

struct Translator<'a> {
    rest: &'a str,
    out: String,
}

/// What one escape stands for.
enum Escape {
    Literal(char),
    /// The inside of a class, and whether it is negated.
    Class(&'static str, bool),
    /// A Unicode class, as both syntaxes write it.
    Unicode(String),
}

impl Translator<'_> {
    fn pattern(mut self) -> Result<String, Reason> {
        // Whether the last thing was a repetition, which RE2 does not let repeat.
        let mut repeated = false;
        while let Some(first) = self.rest.chars().next() {
            let at = self.rest;
            let repeats = match first {
                '*' | '+' | '?' => Some(1),
                '{' => self.counted()?,
                _ => None,
            };
            if let Some(len) = repeats {
                if repeated {
                    return Err(unsound(at, "a repetition of a repetition"));
                }
                self.copy(len);
                if self.rest.starts_with('?') {
                    self.copy(1);
                }
                repeated = true;
                continue;
            }
            repeated = false;
            match first {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '.' | '^' | '$' | '|' | ')' => self.copy(1),
                literal => {
                    self.rest = &self.rest[literal.len_utf8()..];
                    self.literal(literal);
                }
            }
        }
        Ok(self.out)
    }

    /// Copies the next `len` bytes, which are ASCII.
    fn copy(&mut self, len: usize) {
        self.out.push_str(&self.rest[..len]);
        self.rest = &self.rest[len..];
    }

    fn literal(&mut self, literal: char) {
        // Writing to a string does not fail.
        let _ = write!(self.out, r"\x{{{:X}}}", u32::from(literal));
    }

    /// The length of `{n}`, `{n,}` or `{n,m}`; `None` for a brace that stands for itself. Errors: too often.
    fn counted(&self) -> Result<Option<usize>, Reason> {
        let Some(end) = self.rest.find('}') else { return Ok(None) };
        let inside = &self.rest[1..end];
        let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if least.is_empty() || !digits(least) || !digits(most) {
            return Ok(None);
        }
        let small = |text: &str| text.is_empty() || text.parse::<u32>().is_ok_and(|count| count <= MOST_REPEATS);
        if !small(least) || !small(most) {
            return Err(unsound(self.rest, "too many repetitions"));
        }
        Ok(Some(end + 1))
    }

    fn group(&mut self) -> Result<(), Reason> {
        let Some(inside) = self.rest.strip_prefix("(?") else {
            self.copy(1);
            return Ok(());
        };
        if inside.starts_with("P<") || inside.starts_with('<') {
            let end = self.rest.find('>').ok_or_else(|| unsound(self.rest, "a name without an end"))?;
            let name = &self.rest[self.rest.find('<').unwrap_or(0) + 1..end];
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(unsound(self.rest, "not a name of a group"));
            }
            // Nothing reads the group, and RE2's names may start with a digit.
            self.out.push('(');
            self.rest = &self.rest[end + 1..];
            return Ok(());
        }
        let end = inside.find([':', ')']).ok_or_else(|| unsound(self.rest, "a group without an end"))?;
        let flags = &inside[..end];
        if !flags.bytes().all(|byte| b"imsU-".contains(&byte)) || (flags.is_empty() && inside.starts_with(')')) {
            return Err(unsound(self.rest, "unknown flags"));
        }
        self.copy(2 + end + 1);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Reason> {
        if let Some(quoted) = self.rest.strip_prefix(r"\Q") {
            let (quoted, rest) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            self.rest = rest;
            quoted.chars().for_each(|literal| self.literal(literal));
            return Ok(());
        }
        for (theirs, ours) in [(r"\A", r"\A"), (r"\z", r"\z"), (r"\b", r"(?-u:\b)"), (r"\B", r"(?-u:\B)")] {
            if let Some(rest) = self.rest.strip_prefix(theirs) {
                self.out.push_str(ours);
                self.rest = rest;
                return Ok(());
            }
        }
        match self.escaped()? {
            Escape::Literal(literal) => self.literal(literal),
            Escape::Class(inside, negated) => {
                self.out.push_str(if negated { "[^" } else { "[" });
                self.out.push_str(inside);
                self.out.push(']');
            }
            Escape::Unicode(class) => self.out.push_str(&class),
        }
        Ok(())
    }

    /// Reads an escape that may stand inside a class too.
    fn escaped(&mut self) -> Result<Escape, Reason> {
        let at = self.rest;
        let mut chars = at.chars();
        chars.next();
        let kind = chars.next().ok_or_else(|| unsound(at, "a backslash at the end"))?;
        self.rest = chars.as_str();
        Ok(match kind {
            'd' | 'D' => Escape::Class("0-9", kind == 'D'),
            's' | 'S' => Escape::Class(r"\t\n\f\r\x20", kind == 'S'),
            'w' | 'W' => Escape::Class("0-9A-Za-z_", kind == 'W'),
            'a' => Escape::Literal('\x07'),
            'f' => Escape::Literal('\x0c'),
            'n' => Escape::Literal('\n'),
            'r' => Escape::Literal('\r'),
            't' => Escape::Literal('\t'),
            'v' => Escape::Literal('\x0b'),
            'p' | 'P' => Escape::Unicode(self.unicode_class(kind == 'P').ok_or_else(|| unsound(at, "unknown class"))?),
            'x' => Escape::Literal(self.hexadecimal().ok_or_else(|| unsound(at, "not a hexadecimal number"))?),
            '0'..='7' => Escape::Literal(self.octal(kind).ok_or_else(|| unsound(at, "RE2 refers to no group"))?),
            kind if kind.is_ascii() && !kind.is_ascii_alphanumeric() && kind != '_' => Escape::Literal(kind),
            _ => return Err(unsound(at, "unknown escape")),
        })
    }

    /// What follows `\p` or `\P`: one letter, or a name in braces that `^` negates.
    fn unicode_class(&mut self, mut negated: bool) -> Option<String> {
        let name = match self.rest.strip_prefix('{') {
            Some(inside) => {
                let (name, rest) = inside.split_once('}')?;
                self.rest = rest;
                name
            }
            None => {
                let len = self.rest.chars().next()?.len_utf8();
                let (name, rest) = self.rest.split_at(len);
                self.rest = rest;
                name
            }
        };
        let name = name.strip_prefix('^').inspect(|_| negated = !negated).unwrap_or(name);
        if name == "Any" {
            return Some(if negated { r"[^\x{0}-\x{10FFFF}]" } else { r"[\x{0}-\x{10FFFF}]" }.into());
        }
        let sound = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        sound.then(|| format!(r"\{}{{{name}}}", if negated { 'P' } else { 'p' }))
    }

    fn hexadecimal(&mut self) -> Option<char> {
        let (digits, rest) = match self.rest.strip_prefix('{') {
            Some(inside) => inside.split_once('}')?,
            None => (self.rest.get(..2)?, &self.rest[2..]),
        };
        self.rest = rest;
        let sound = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        char::from_u32(u32::from_str_radix(digits, 16).ok().filter(|_| sound)?)
    }

    /// Up to three octal digits. A single one that is not 0 would refer to a group.
    fn octal(&mut self, first: char) -> Option<char> {
        let more = self.rest.bytes().take(2).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
        if first != '0' && more == 0 {
            return None;
        }
        let value = u32::from_str_radix(&format!("{first}{}", &self.rest[..more]), 8).ok()?;
        self.rest = &self.rest[more..];
        char::from_u32(value)
    }

    fn class(&mut self) -> Result<(), Reason> {
        let start = self.rest;
        self.copy(1);
        if self.rest.starts_with('^') {
            self.copy(1);
        }
        let mut first = true;
        loop {
            let at = self.rest;
            let Some(next) = at.chars().next() else { return Err(unsound(start, "a class without an end")) };
            if next == ']' && !first {
                self.copy(1);
                return Ok(());
            }
            first = false;
            if at.starts_with("[:")
                && let Some(end) = at.find(":]")
            {
                let name = &at[2..end];
                if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return Err(unsound(at, "unknown class"));
                }
                self.copy(end + 2);
                continue;
            }
            let low = match self.class_item()? {
                Escape::Literal(low) => low,
                Escape::Class(inside, false) => {
                    self.out.push_str(inside);
                    continue;
                }
                Escape::Class(inside, true) => {
                    let _ = write!(self.out, "[^{inside}]");
                    continue;
                }
                Escape::Unicode(class) => {
                    self.out.push_str(&class);
                    continue;
                }
            };
            self.literal(low);
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.copy(1);
                match self.class_item()? {
                    Escape::Literal(high) if low <= high => self.literal(high),
                    _ => return Err(unsound(at, "not a range")),
                }
            }
        }
    }

    fn class_item(&mut self) -> Result<Escape, Reason> {
        let next = self.rest.chars().next().ok_or_else(|| unsound(self.rest, "a class without an end"))?;
        if next == '\\' {
            return self.escaped();
        }
        self.rest = &self.rest[next.len_utf8()..];
        Ok(Escape::Literal(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        full_match(pattern).unwrap_or_else(|reason| panic!("{pattern}: {reason}")).is_match(text.as_bytes())
    }

    #[test]
    fn the_whole_string_has_to_match() {
        assert!(matches("a|ab", "ab") && matches("", "") && matches("(?s).*", "a\nb"));
        assert!(!matches("a", "ab") && !matches("a$", "a\n") && !matches(".", "\n"));
    }

    #[test]
    fn perl_classes_know_ascii_alone_and_dots_take_whole_characters() {
        assert!(matches(r"\w+\s\d", "az_9 7") && matches(r"\W", "é") && matches(r"[^\W]", "x"));
        assert!(!matches(r"\w", "é") && !matches(r"\d", "٣") && !matches(r"\s", "\u{a0}") && !matches(r"\s", "\x0b"));
        assert!(matches(".", "é") && matches("[^a]", "é") && matches(r"é\bx", "éx") && matches(r"\pL\p{^Greek}", "λx"));
    }

    #[test]
    fn what_the_syntaxes_write_differently_is_read_as_re2_does() {
        let same = [
            (r"\Qa.b\E+", "a.bb"),
            (r"[[a]+", "a["),
            (r"[]a]+", "]a"),
            (r"[a&&b]+", "a&b"),
            (r"[+--]+", "+,-"),
            (r"[\d.-]+", "1.-"),
            (r"a{,5}", "a{,5}"),
            ("a{2}b{", "aab{"),
            (r"\101\x42\x{43}", "ABC"),
            (r"(?P<1st>a)(?<b>c)", "ac"),
            (r"(?i:k)[[:digit:]]", "K5"),
            ("a #b", "a #b"),
            ("(?i)k", "\u{212a}"),
            (r"(?i)\w", "\u{212a}"),
            (r"\p{Any}[[:word:]]", "é_"),
            ("(?mU)^*a+$", "aa"),
            (r"\ x{0,1000}\a", " x\x07"),
        ];
        for (pattern, text) in same {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        let bad = [
            "(",
            ")",
            "[a",
            "a**",
            "a+??",
            "*a",
            r"\1",
            r"\8",
            r"\C",
            r"\Z",
            "(?x)a",
            "(?=a)",
            "(?<!a)",
            "(?u)a",
            "a{1001}",
            "[b-a]",
            r"\",
            r"\p{Nonsense}",
            r"\x{110000}",
            r"\xg0",
            "(?P<a",
            "(?",
            "[[:nonsense:]]",
            r"[\b]",
        ];
        for pattern in bad {
            assert!(full_match(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn the_size_of_a_compiled_pattern_is_bounded() {
        assert!(full_match("((a{1000}){1000}){1000}").is_err());
        assert!(full_match(&"(".repeat(100_000)).is_err());
        assert!(full_match(&format!("{}{}", "(".repeat(10_000), ")".repeat(10_000))).is_err());
    }
}
