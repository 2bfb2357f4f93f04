//! What happens when the program itself is wrong: what is known of it lies in a file, and the exit code is 70.

use crate::ir::diag::Escaped;
use std::backtrace::Backtrace;
use std::io::Write;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// As `sysexits.h` has it: an internal software error.
pub(super) const EXIT_CODE: i32 = 70;

/// Runs `work`. A panic in it ends with a report in the temporary directory, a message that says where, and [`EXIT_CODE`].
///
/// Panics that `work` catches itself, as that of one case among many, are silent.
pub(super) fn guarded(work: impl FnOnce() -> i32) -> i32 {
    let last = Arc::new(Mutex::new(String::new()));
    let noted = Arc::clone(&last);
    set_hook(Box::new(move |panic| *noted.lock().unwrap_or_else(PoisonError::into_inner) = described(panic)));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let panic = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = report(&panic, std::env::args().skip(1));
        let kept = match keep(&text) {
            Ok(path) => format!("what is known of it is in {}: the arguments, and where it ended", path.display()),
            Err(error) => format!("what is known of it cannot be kept in a file: {error}\n{text}"),
        };
        let first = panic.lines().next().unwrap_or_default();
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(
            std::io::stderr(),
            "error: this is an error of eutectic, not of its input: {}\n   |  {kept}\n   = help: report it with that file, and \
             with the model when you may: `eutectic reduce` makes it small",
            Escaped(first)
        );
        EXIT_CODE
    })
}

/// The words and the place of a panic in a line, then how it came there.
fn described(panic: &PanicHookInfo) -> String {
    let text = panic.payload().downcast_ref::<&str>().copied();
    let words = text.or_else(|| panic.payload().downcast_ref::<String>().map(String::as_str));
    let words = words.unwrap_or("a panic without words").replace('\n', " ");
    let place = panic.location().map_or(String::new(), |place| format!(" at {place}"));
    format!("{words}{place}\n\n{}", Backtrace::force_capture())
}

fn report(panic: &str, arguments: impl Iterator<Item = String>) -> String {
    let arguments: Vec<String> = arguments.collect();
    let features: Vec<&str> = [("lowering", cfg!(feature = "lowering")), ("studies", cfg!(feature = "studies"))]
        .iter()
        .filter_map(|(name, is_on)| is_on.then_some(*name))
        .collect();
    format!(
        "eutectic {} ({}) on {} {}\narguments: {arguments:?}\n\n{panic}\n",
        env!("CARGO_PKG_VERSION"),
        features.join(", "),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// Writes the report to a file of its own in the temporary directory.
fn keep(text: &str) -> std::io::Result<PathBuf> {
    let mut file = tempfile::Builder::new().prefix("eutectic-bug-").suffix(".txt").tempfile()?;
    file.write_all(text.as_bytes())?;
    Ok(file.keep()?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    // A panic hook is of the whole process, so this one runs in its own.
    #[test]
    #[ignore = "the next test runs it"]
    fn ends_by_a_panic() {
        assert_eq!(guarded(|| 3), 3);
        std::process::exit(guarded(|| panic!("index {} of 4", 7)));
    }

    #[test]
    fn a_panic_leaves_a_report_and_exit_code_70() {
        let temporary = tempfile::tempdir().expect("a directory");
        let output = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "cli::bug::tests::ends_by_a_panic", "--nocapture"])
            .env("TMPDIR", temporary.path())
            .output()
            .expect("it starts");
        let shown = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(EXIT_CODE), "{shown}");
        assert!(shown.contains("index 7 of 4 at src/cli/bug.rs"), "{shown}");
        let files: Vec<_> = temporary.path().read_dir().expect("it is there").flatten().collect();
        assert_eq!(files.len(), 1, "{files:?}");
        let path = files[0].path();
        assert!(shown.contains(&path.display().to_string()), "{shown}");
        let report = std::fs::read_to_string(path).expect("it reads");
        assert!(report.contains("index 7 of 4") && report.contains("ends_by_a_panic"), "{report}");
    }

    #[test]
    fn a_report_tells_what_ran_and_where_it_ended() {
        let text = report("out of range at a.rs:3:1\n\nframes", ["inspect".into(), "m \u{1b}.onnx".into()].into_iter());
        assert!(text.starts_with(&format!("eutectic {}", env!("CARGO_PKG_VERSION"))), "{text}");
        assert!(text.contains("[\"inspect\", \"m \\u{1b}.onnx\"]") && text.contains("a.rs:3:1\n\nframes"), "{text}");
    }
}
