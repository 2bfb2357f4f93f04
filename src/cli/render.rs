//! Diagnostics for people, and tables.

use crate::ir::diag::{Diagnostic, Diagnostics, Escaped, Severity};
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Write};

/// Writes to standard output. A reader that has seen enough (`eutectic inspect m.onnx | head -1`) is no error: the program
/// ends there, with exit code 0. Any other failure to write ends it with exit code 2.
pub fn out(text: fmt::Arguments) {
    end_unless(io::stdout().write_fmt(text));
}

/// The same for bytes that are no text: a model for a pipe.
pub fn out_bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    end_unless(out.write_all(bytes).and_then(|()| out.flush()));
}

fn end_unless(written: io::Result<()>) {
    if let Err(error) = written {
        if error.kind() != ErrorKind::BrokenPipe {
            // When this cannot be said either, the exit code still says it.
            let _ = writeln!(io::stderr(), "eutectic: standard output cannot be written: {error}");
        }
        std::process::exit(if error.kind() == ErrorKind::BrokenPipe { 0 } else { 2 });
    }
}

/// Most diagnostics of one code that are printed; a damaged file can have one for each weight.
const MOST_OF_ONE_CODE: usize = 20;

/// Prints each diagnostic on standard error, like a compiler: with a code frame where the place is a span of a text file. Of very
/// many of one code the first ones, and how many there are.
pub fn print(problems: &Diagnostics) {
    let mut n_of: BTreeMap<&str, usize> = BTreeMap::new();
    for problem in &problems.0 {
        let n = n_of.entry(problem.code).or_default();
        *n += 1;
        if *n > MOST_OF_ONE_CODE {
            continue;
        }
        match framed(problem) {
            Some(text) => err(format_args!("{text}")),
            None => err(format_args!("{problem}")),
        }
    }
    for (code, n) in n_of.into_iter().filter(|(_, n)| *n > MOST_OF_ONE_CODE) {
        err(format_args!("... and {} more of {code}; `--json` lists all errors", n - MOST_OF_ONE_CODE));
    }
}

/// Writes a line to standard error, without colours when it is no terminal. That nobody reads it changes nothing.
fn err(text: fmt::Arguments) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

fn framed(problem: &Diagnostic) -> Option<String> {
    let (file, span) = (problem.place.file.as_ref()?, problem.place.span.clone()?);
    let source = std::fs::read_to_string(file).ok().filter(|source| span.end <= source.len())?;
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    // Sources come from anybody: what would drive the terminal is shown escaped, at the price of the exact column.
    let (source, path) = (Escaped(&source).to_string(), Escaped(&file.to_string_lossy()).to_string());
    let span = span.start.min(source.len())..span.end.min(source.len());
    let snippet = Snippet::source(&source).path(&path).annotation(AnnotationKind::Primary.span(span));
    let message = Escaped(&problem.message).to_string();
    let mut group = level.primary_title(&message).id(problem.code).element(snippet);
    let notes: Vec<String> = problem.notes.iter().map(|note| Escaped(note).to_string()).collect();
    for note in &notes {
        group = group.element(Level::NOTE.message(note));
    }
    let help = problem.help.as_ref().map(|help| Escaped(help).to_string());
    if let Some(help) = &help {
        group = group.element(Level::HELP.message(help));
    }
    Some(Renderer::styled().render(&[group]).to_string())
}

/// Diagnostics as JSON: `{"problems": [{"severity", "code", "message", "place", "notes", "help"}]}`.
pub fn json(problems: &Diagnostics) -> Value {
    let one = |problem: &Diagnostic| {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        json!({
            "severity": severity,
            "code": problem.code,
            "message": problem.message,
            "place": problem.place.to_string(),
            "notes": problem.notes,
            "help": problem.help,
        })
    };
    json!({ "problems": problems.0.iter().map(one).collect::<Vec<_>>() })
}

/// A count with thousands separated: `25,557,032`.
pub fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things whose plural is regular: `1 rule`, `1,234 rules`.
pub fn counted(n: usize, thing: &str) -> String {
    format!("{} {thing}{}", count(n as f64), if n == 1 { "" } else { "s" })
}

/// A number of bytes in the largest unit that keeps it above one: `102.5 MB`.
pub fn bytes(number: f64) -> String {
    scaled(number, &["B", "kB", "MB", "GB", "TB"], 1000.0)
}

/// A number of operations: `8.2 GFLOP`.
pub fn flops(number: f64) -> String {
    scaled(number, &["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"], 1000.0)
}

/// A time: `1.24 ms`.
pub fn seconds(seconds: f64) -> String {
    scaled(seconds * 1e9, &["ns", "us", "ms", "s"], 1000.0)
}

fn scaled(mut number: f64, units: &[&str], step: f64) -> String {
    let mut at = 0;
    while number.abs() >= step && at + 1 < units.len() {
        number /= step;
        at += 1;
    }
    format!("{number:.*} {}", if at == 0 { 0 } else { 2 }, units[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_like_prose() {
        assert_eq!(count(25_557_032.0), "25,557,032");
        assert_eq!(count(7.0), "7");
        assert_eq!([counted(1, "rule"), counted(1234, "rule")], ["1 rule", "1,234 rules"]);
        assert_eq!(bytes(102_514_688.0), "102.51 MB");
        assert_eq!(seconds(0.00124), "1.24 ms");
    }
}
