//! The long texts of diagnostic codes.

/// One diagnostic code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The code.
    pub code: &'static str,
    /// What it means and what to do, in a few sentences.
    pub text: &'static str,
}

/// Every code, in the order of `codes.txt`: a line `CODE`, its text below, a blank line between.
pub fn all() -> impl Iterator<Item = Code> {
    include_str!("codes.txt").split("\n\n").filter_map(|entry| {
        let (code, text) = entry.trim().split_once('\n')?;
        Some(Code { code, text })
    })
}

/// The code of this name.
pub fn lookup(code: &str) -> Option<Code> {
    all().find(|known| known.code == code)
}

/// What a code's letter says: at which stage of the work it arises.
pub fn stage(code: &str) -> &'static str {
    match code.as_bytes().first() {
        Some(b'L') => "loading and saving files",
        Some(b'I') => "the model itself",
        Some(b'T') => "the textual form",
        Some(b'R') => "rules",
        Some(b'P') => "passes and extraction",
        Some(b'B') => "backends",
        Some(b'S') => "studies",
        _ => "the command line",
    }
}
