//! ONNX's own backend tests, all of them, through every path.
//!
//! `tests/python/suite.py` writes them below the target directory, once a version; it needs the package `onnx`, which
//! `cargo xtask test` installs into `.venv`. Without it this test says so and passes.
//!
//! What is not passed stands in `tests/onnx_backend.skip`, exactly: a case that is not passed and not listed fails the test,
//! and so does a listed one that is passed. `UPDATE_EXPECT=1 cargo test --test onnx_backend` rewrites the list: lines that
//! still hold stay as they are, with the reasons that people wrote; new ones get the reason of the verdict. No line excuses an
//! engine that spoils what the interpreter passes.

use eutectic::conformance::{Case, Settings, Through, Verdict, find_cases, run};
use eutectic::onnx::Limits;
use eutectic::passes::saturate;
use expect_test::expect_file;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Enough for the rules that a small graph invites; more would only repeat them.
const SATURATION: saturate::Limits = saturate::Limits { nodes: 2_000, iterations: 6, candidates: 200_000, time: None };

const HEAD: &str = "\
# Cases of ONNX's backend tests that are not passed: path (* for all), case (* at the end for all that begin so), reason,
# separated by tabs. `UPDATE_EXPECT=1 cargo test --test onnx_backend` brings the list up to date.
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the generated suite; `None` without Python.
fn suite() -> Option<PathBuf> {
    let python = root().join(".venv/bin/python");
    if !python.exists() {
        eprintln!("skipped: no .venv; `cargo xtask test` makes it");
        return None;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("onnx-suite");
    let output = Command::new(python).arg(root().join("tests/python/suite.py")).arg(target).output();
    let output = output.expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("UTF-8").trim_end().into())
}

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    case: String,
    path: String,
    reason: String,
}

impl Line {
    fn parse(line: &str) -> Line {
        let parts: Vec<&str> = line.splitn(3, '\t').collect();
        let [path, case, reason] = parts[..] else { panic!("expected path, case and reason, found `{line}`") };
        let known = path == "*" || Through::ALL.iter().any(|through| through.name() == path);
        assert!(known, "there is no path `{path}`: `{line}`");
        Line { path: path.into(), case: case.into(), reason: reason.into() }
    }

    fn covers(&self, case: &str, through: Through) -> bool {
        let named = match self.case.strip_suffix('*') {
            Some(prefix) => case.starts_with(prefix),
            None => self.case == case,
        };
        named && (self.path == "*" || self.path == through.name())
    }
}

/// The list that the verdicts ask for: old lines that hold for all they cover, and new ones for what no such line covers.
fn updated(old: &[Line], cases: &[Case], verdicts: &[Vec<Verdict>]) -> String {
    let pairs = || {
        cases.iter().zip(verdicts).flat_map(|(case, verdicts)| {
            Through::ALL.into_iter().zip(verdicts).map(move |(through, verdict)| (case.name.as_str(), through, verdict))
        })
    };
    let holds = |line: &&Line| {
        let mut covered = pairs().filter(|(case, through, _)| line.covers(case, *through)).peekable();
        covered.peek().is_some() && covered.all(|(_, _, verdict)| *verdict != Verdict::Passed)
    };
    let mut lines: Vec<Line> = old.iter().filter(holds).cloned().collect();
    let mut new: BTreeMap<&str, Vec<(Through, &Verdict)>> = BTreeMap::new();
    for (case, through, verdict) in pairs() {
        if *verdict != Verdict::Passed && !lines.iter().any(|line| line.covers(case, through)) {
            new.entry(case).or_default().push((through, verdict));
        }
    }
    for (case, found) in new {
        let line = |path: &str, verdict: &Verdict| Line {
            case: case.into(),
            path: path.into(),
            reason: verdict.reason().unwrap_or_default().replace(['\t', '\n'], " "),
        };
        // One line for all paths only where they agree: an engine that fails what the others skip is not hidden.
        let (_, first) = found[0];
        let agreed = found.iter().all(|(_, verdict)| verdict.name() == first.name());
        if agreed && found.len() == Through::ALL.len() {
            lines.push(line("*", first));
        } else {
            lines.extend(found.iter().map(|(through, verdict)| line(through.name(), verdict)));
        }
    }
    lines.sort();
    let text: String = lines.iter().map(|line| format!("{}\t{}\t{}\n", line.path, line.case, line.reason)).collect();
    format!("{HEAD}{text}")
}

#[test]
fn every_backend_test_passes_or_is_listed() {
    let Some(suite) = suite() else { return };
    let cases = find_cases(&suite).expect("cases");
    assert!(cases.len() > 2_000, "{} cases", cases.len());
    let n_threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let settings = Settings::new(Limits::stated(), SATURATION, Duration::from_secs(60), n_threads);
    let settings = Arc::new(settings.map_err(|problems| problems.to_string()).expect("the library loads"));
    let verdicts = run(&cases, &Through::ALL, &settings).expect("threads");
    for (at, through) in Through::ALL.into_iter().enumerate() {
        let n_of = |name: &str| verdicts.iter().filter(|of_case| of_case[at].name() == name).count();
        let [passed, failed, skipped] = ["passed", "failed", "skipped"].map(n_of);
        println!("{through}: {passed} passed, {failed} failed, {skipped} skipped");
    }
    for (case, of_case) in cases.iter().zip(&verdicts) {
        for (through, verdict) in Through::ALL.into_iter().zip(of_case) {
            let spoilt = of_case[0] == Verdict::Passed && *verdict != Verdict::Passed;
            assert!(!spoilt, "{through} spoils {}: {verdict:?}", case.name);
        }
    }
    let file = root().join("tests/onnx_backend.skip");
    let listed = std::fs::read_to_string(&file).unwrap_or_default();
    let old: Vec<Line> =
        listed.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(Line::parse).collect();
    expect_file![file].assert_eq(&updated(&old, &cases, &verdicts));
}
