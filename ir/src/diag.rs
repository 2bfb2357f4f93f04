//! Diagnostics: what is wrong, where, and what to do next.
//!
//! A diagnostic is plain data. Libraries return all problems at once as [`Diagnostics`]; the program renders them.
//! Codes are stable: a letter for the stage and four digits.
//!
//! | letter | stage |
//! |---|---|
//! | `L` | loading bytes (ONNX wire format, external data, paths, budgets) |
//! | `I` | the model itself: structure, operators, types (import and verifier) |
//! | `T` | text form |
//! | `R` | rules |
//! | `P` | passes and extraction |
//! | `B` | backends |
//! | `C` | command line |

use smol_str::SmolStr;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// How bad it is. Only [`Severity::Error`] stops the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// For the record.
    Note,
    /// The work goes on, but the reader should know.
    Warning,
    /// The work stops.
    Error,
}

/// What kind of failure an error is; it decides the exit code of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The bytes are not what they claim to be.
    Malformed,
    /// Well formed, but breaks a rule of ONNX or of ours.
    Invalid,
    /// A path that the policy does not open.
    Path,
    /// Legal, but not implemented here.
    Unsupported,
    /// A stated budget was hit.
    Limit,
    /// The operating system or a library refused.
    Io,
}

impl Kind {
    /// The exit code of the program when this is its worst error: 2 bad input, 3 unsupported, 4 a limit was hit.
    pub fn exit_code(self) -> i32 {
        match self {
            Kind::Malformed | Kind::Invalid | Kind::Path | Kind::Io => 2,
            Kind::Unsupported => 3,
            Kind::Limit => 4,
        }
    }
}

/// Where in the input a diagnostic points. Several parts may be known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as the user named it.
    pub file: Option<PathBuf>,
    /// Offset into the file, in bytes.
    pub byte: Option<u64>,
    /// Range of bytes in a text source, for a code frame.
    pub span: Option<Range<usize>>,
    /// The path inside the model: ``graph `main`, node `conv1` (Conv)``.
    pub within: Vec<SmolStr>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(file) = &self.file {
            write!(f, "{}", Escaped(&file.to_string_lossy()))?;
            separator = ", ";
        }
        if let Some(byte) = self.byte {
            write!(f, "{}byte {byte}", if self.file.is_some() { " @ " } else { "" })?;
            separator = ", ";
        }
        if let Some(span) = &self.span {
            write!(f, "{separator}characters {}..{}", span.start, span.end)?;
            separator = ", ";
        }
        for part in &self.within {
            write!(f, "{separator}{}", Escaped(part))?;
            separator = ", ";
        }
        Ok(())
    }
}

/// One problem: what was expected and found, where, and the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of failure it is.
    pub kind: Kind,
    /// Stable code, such as `L0412`.
    pub code: &'static str,
    /// One line: the thing, what was expected, what was found.
    pub message: String,
    /// Where.
    pub place: Place,
    /// Further facts, a line each.
    pub notes: Vec<String>,
    /// The next step.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error of `kind`.
    pub fn error(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            kind,
            code,
            message: message.into(),
            place: Place::default(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// A warning; the work goes on.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(Kind::Invalid, code, message) }
    }

    /// Adds the file.
    pub fn in_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.place.file = Some(file.into());
        self
    }

    /// Adds the byte offset.
    pub fn at_byte(mut self, byte: u64) -> Self {
        self.place.byte = Some(byte);
        self
    }

    /// Adds the range of a text source.
    pub fn at_span(mut self, span: Range<usize>) -> Self {
        self.place.span = Some(span);
        self
    }

    /// Adds an outer part of the path inside the model: call it from the inside out.
    pub fn within(mut self, part: impl Into<SmolStr>) -> Self {
        self.place.within.insert(0, part.into());
        self
    }

    /// Adds a further fact.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds the next step.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        write!(f, "{severity}[{}]: {}", self.code, Escaped(&self.message))?;
        if self.place != Place::default() {
            write!(f, "\n  --> {}", self.place)?;
        }
        for note in &self.notes {
            write!(f, "\n   |  {}", Escaped(note))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n   = help: {}", Escaped(help))?;
        }
        Ok(())
    }
}

/// All the problems that were found, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds the next step to those of this code that have none.
    pub fn with_help(mut self, code: &str, help: &str) -> Self {
        for problem in self.0.iter_mut().filter(|problem| problem.code == code) {
            problem.help.get_or_insert_with(|| help.to_owned());
        }
        self
    }

    /// True when any of them is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// `value` and the warnings, or everything when any of it is an error.
    pub fn into_result<T>(self, value: T) -> Result<(T, Diagnostics), Diagnostics> {
        if self.has_errors() { Err(self) } else { Ok((value, self)) }
    }

    /// The exit code of the program: that of the first error, 0 without errors.
    pub fn exit_code(&self) -> i32 {
        self.0.iter().find(|diagnostic| diagnostic.severity == Severity::Error).map_or(0, |d| d.kind.exit_code())
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, iter: I) {
        self.0.extend(iter);
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}
impl std::error::Error for Diagnostics {}

/// The one of `known` that `name` is most likely a slip of: at most a third of its letters apart, upper and lower case taken
/// as the same. Of several the first.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let most = name.chars().count() / 3;
    let distance = |other: &str| strsim::damerau_levenshtein(&name, &other.to_lowercase());
    let near = known.into_iter().map(|other| (distance(other), other)).filter(|(distance, _)| *distance <= most);
    near.min_by_key(|(distance, _)| *distance).map(|(_, other)| other)
}

/// What [`nearest`] finds, as a question behind a message; empty when it finds nothing.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map_or(String::new(), |other| format!("; did you mean `{other}`?"))
}

/// True for characters that act on a terminal or on the order of text instead of being shown; line breaks apart.
pub fn drives_terminal(c: char) -> bool {
    let directs = matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\n') || directs
}

/// Shows text from a file so that it cannot drive a terminal: control and direction-changing characters are escaped.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if drives_terminal(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_names_place_cause_and_next_step() {
        let shown = Diagnostic::error(Kind::Malformed, "L0412", "tensor data does not match its shape")
            .within("initializer `conv1.weight`")
            .within("graph `main`")
            .in_file("model.onnx")
            .at_byte(18233)
            .note("dims [64, 3, 7, 7] x f32 = 37632 bytes, raw_data has 37628")
            .help("the file may be truncated (`git lfs pull`?)")
            .to_string();
        assert_eq!(
            shown,
            "error[L0412]: tensor data does not match its shape\n  --> model.onnx @ byte 18233, graph `main`, \
             initializer `conv1.weight`\n   |  dims [64, 3, 7, 7] x f32 = 37632 bytes, raw_data has 37628\n   \
             = help: the file may be truncated (`git lfs pull`?)"
        );
    }

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        let known = ["Relu", "Elu", "Gelu", "ConvRelu"];
        assert_eq!(nearest("Reluu", known), Some("Relu"));
        assert_eq!(nearest("convRleu", known), Some("ConvRelu"));
        assert_eq!(nearest("Softmax", known), None);
        assert_eq!(did_you_mean("GELU", known), "; did you mean `Gelu`?");
        assert_eq!(did_you_mean("x", ["y"]), "");
    }

    #[test]
    fn names_from_a_file_cannot_drive_the_terminal() {
        let shown = Diagnostic::error(Kind::Invalid, "I0001", "node `\u{1b}[31m\u{202e}x`").to_string();
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
    }
}
