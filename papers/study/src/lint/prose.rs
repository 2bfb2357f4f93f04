//! Reading `paper.typ`: which of it is prose, and which numbers stand in it.

use super::{Finding, Sin};
use crate::schema::Study;

/// Words that make a number a measurement.
const UNITS: [&str; 49] = [
    "%",
    "percent",
    "×",
    "x",
    "times",
    "fold",
    "s",
    "ms",
    "µs",
    "us",
    "ns",
    "second",
    "seconds",
    "millisecond",
    "milliseconds",
    "minute",
    "minutes",
    "hours",
    "b",
    "kb",
    "mb",
    "gb",
    "kib",
    "mib",
    "gib",
    "bytes",
    "hz",
    "mhz",
    "ghz",
    "w",
    "watts",
    "flops",
    "gflops",
    "tflops",
    "tflop",
    "gflop",
    "nodes",
    "kernels",
    "kernel",
    "launches",
    "samples",
    "models",
    "rules",
    "cases",
    "runs",
    "faster",
    "slower",
    "layers",
    "operators",
];

pub(super) fn findings(text: &str, study: &Study) -> Vec<Finding> {
    let mut findings = Vec::new();
    let prose = prose(text);
    for (at, line) in prose.lines().enumerate() {
        findings.extend(typed_numbers(line).into_iter().map(|found| Finding {
            sin: Sin::TypedNumber,
            message: format!("`{found}` is typed by hand"),
            line: Some(at + 1),
        }));
    }
    for (at, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if code.contains("image(") {
            let message = "a figure that no run made".to_owned();
            findings.push(Finding { sin: Sin::ForeignFigure, message, line: Some(at + 1) });
        }
        for name in arguments(code, "#plot(") {
            if !study.figure.iter().any(|figure| figure.name == name) {
                let message = format!("figure `{name}` is not declared");
                findings.push(Finding { sin: Sin::ForeignFigure, message, line: Some(at + 1) });
            }
        }
        for call in ["#num(", "#percent(", "#at("] {
            for path in arguments(code, call) {
                if path.contains("/ratios/") || path.contains("/geometric_mean/") {
                    let message = format!("`{path}` is a ratio without its interval");
                    findings.push(Finding { sin: Sin::BareRatio, message, line: Some(at + 1) });
                }
            }
        }
    }
    findings
}

/// The first argument, a string, of each call in `code` that begins with `call`.
fn arguments<'a>(code: &'a str, call: &str) -> Vec<&'a str> {
    let calls = code.split(call).skip(1);
    calls.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next()).collect()
}

/// `text` with everything that is not prose blanked, line by line: comments, raw text, code, and arguments other than content.
fn prose(text: &str) -> String {
    #[derive(Clone, Copy, PartialEq)]
    enum Inside {
        Markup,
        Arguments,
    }
    let mut kept = String::with_capacity(text.len());
    let mut inside = vec![Inside::Markup];
    let chars: Vec<char> = text.chars().collect();
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(offset, c)| chars.get(at + offset) == Some(&c));
    let end_of_line = |at: usize| (at..chars.len()).find(|&at| chars[at] == '\n').unwrap_or(chars.len());
    let closing = |from: usize, what: &str| {
        (from..chars.len()).find(|&at| starts(at, what)).map_or(chars.len(), |at| at + what.chars().count())
    };
    let mut at = 0;
    while at < chars.len() {
        let here = inside.last().copied().unwrap_or(Inside::Markup);
        let c = chars[at];
        // Where the next character that may be prose stands.
        let next = match c {
            '/' if starts(at, "//") && (at == 0 || chars[at - 1] != ':') => end_of_line(at),
            '/' if starts(at, "/*") => closing(at + 2, "*/"),
            '`' if starts(at, "```") => closing(at + 3, "```"),
            '`' => closing(at + 1, "`"),
            '\\' => at + 2,
            '"' if here == Inside::Arguments => closing(at + 1, "\""),
            '#' if here == Inside::Markup => {
                let name = (at + 1..chars.len())
                    .find(|&at| !(chars[at].is_alphanumeric() || "-_.".contains(chars[at])))
                    .unwrap_or(chars.len());
                let word: String = chars[at + 1..name].iter().collect();
                if ["let", "import", "set", "include"].contains(&word.as_str()) {
                    end_of_line(at)
                } else if chars.get(name) == Some(&'(') {
                    inside.push(Inside::Arguments);
                    name + 1
                } else {
                    name
                }
            }
            '(' if here == Inside::Arguments => {
                inside.push(Inside::Arguments);
                at + 1
            }
            ')' if here == Inside::Arguments => {
                inside.pop();
                at + 1
            }
            '[' => {
                inside.push(Inside::Markup);
                at + 1
            }
            ']' if inside.len() > 1 => {
                inside.pop();
                at + 1
            }
            _ => {
                kept.push(if here == Inside::Markup || c == '\n' { c } else { ' ' });
                at += 1;
                continue;
            }
        };
        let next = next.min(chars.len());
        kept.extend(chars[at..next].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        at = next;
    }
    kept
}

/// Numbers of `line` beside a unit.
fn typed_numbers(line: &str) -> Vec<String> {
    let line = line.replace(['~', '\u{a0}', '\u{202f}', '$'], " ");
    let words: Vec<&str> = line.split_whitespace().collect();
    let bare = |word: &str| {
        word.trim_matches(|c: char| !(c.is_alphanumeric() || c == '%' || c == '×' || c == 'µ')).to_lowercase()
    };
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let word = bare(word);
        let digits = word.find(|c: char| !(c.is_ascii_digit() || ".,-–".contains(c))).unwrap_or(word.len());
        let (number, unit) = word.split_at(digits);
        if !number.contains(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let next = words.get(at + 1).map(|next| bare(next)).unwrap_or_default();
        let is_unit = |unit: &str| UNITS.contains(&unit);
        if is_unit(unit) || is_unit(unit.trim_start_matches('-')) {
            found.push(word);
        } else if unit.is_empty() && is_unit(&next) {
            found.push(format!("{number} {next}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beside_units_are_found_in_prose_alone() {
        let found = |text: &str| prose(text).lines().flat_map(typed_numbers).collect::<Vec<_>>();
        assert_eq!(found("It took 5 ms, 3.2x less, or 40 %."), ["5 ms", "3.2x", "40 %"]);
        assert_eq!(found("#figure(rect(), caption: [a gain of 12% here])"), ["12%"]);
        assert_eq!(
            found("#num(\"a/5 ms\") ms // 5 ms\n`5 ms` #set page(margin: 2 cm)\nsection 3, ResNet-50, 2 authors"),
            [""; 0]
        );
        assert_eq!(found("a #data(\"t\", caption: [runs])\nand 1.5-fold"), ["1.5-fold"]);
    }
}
