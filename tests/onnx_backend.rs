//! ONNX's own backend tests, all of them, through every path.
//!
//! `tests/python/suite.py` writes them below the target directory, once a version; it needs the package `onnx`, which
//! `cargo xtask test` installs into `.venv`. Without it these tests say so and pass.
//!
//! What is not passed stands in `tests/onnx_backend.skip`, exactly: a case that is not passed and not listed fails the test,
//! and so does a listed one that is passed. No line excuses an engine that spoils what the interpreter passes.

use crate::suite::{root, suite};
use eutectic::conformance::{Case, LoadedCase, Settings, Through, Verdict, find_cases, run};
use eutectic::ir::eval::run_values;
use eutectic::ir::value::Value;
use eutectic::ir::{Element, Tensor};
use eutectic::onnx::{Limits, Policy, read_interface, read_value};
use eutectic::passes::saturate;
use expect_test::expect_file;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Enough for the rules that a small graph invites; more would only repeat them.
const SATURATION: saturate::Limits =
    saturate::Limits { nodes: 2_000, iterations: 6, candidates: 200_000, time: None, ..saturate::Limits::STANDARD };

const HEAD: &str = "\
# Cases of ONNX's backend tests that are not passed: path (* for all), case (* at the end for all that begin so), reason,
# separated by tabs. `UPDATE_EXPECT=1 cargo test --test all onnx_backend::` brings the list up to date: lines that still hold stay
# with the reason that they have, new ones get the reason of the verdict. Empty the file first to renew all reasons.
";

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

    fn shown(&self) -> String {
        format!("{}\t{}\t{}\n", self.path, self.case, self.reason)
    }
}

/// The verdicts of a case, in the order of the paths.
type Judged<'a> = (&'a str, &'a [Verdict]);

/// The list that the verdicts ask for: old lines that hold for all they cover, and new ones for what no such line covers.
fn updated(old: &[Line], judged: &[Judged]) -> Vec<Line> {
    let triples = || {
        judged.iter().flat_map(|&(case, verdicts)| {
            Through::ALL.into_iter().zip(verdicts).map(move |(through, verdict)| (case, through, verdict))
        })
    };
    let holds = |line: &&Line| {
        let mut covered = triples().filter(|(case, through, _)| line.covers(case, *through)).peekable();
        covered.peek().is_some() && covered.all(|(_, _, verdict)| *verdict != Verdict::Passed)
    };
    let mut lines: Vec<Line> = old.iter().filter(holds).cloned().collect();
    let mut new: BTreeMap<&str, Vec<(Through, &Verdict)>> = BTreeMap::new();
    for (case, through, verdict) in triples() {
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
    lines
}

/// Fails with what is missing from the list and what is too much, in words, unless the file is being rewritten.
fn assert_listed(judged: &[Judged]) {
    let file = root().join("tests/onnx_backend.skip");
    let listed = std::fs::read_to_string(&file).unwrap_or_default();
    let old: Vec<Line> =
        listed.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(Line::parse).collect();
    let lines = updated(&old, judged);
    let text: String = std::iter::once(HEAD.to_string()).chain(lines.iter().map(Line::shown)).collect();
    let compared = std::panic::catch_unwind(|| expect_file![file].assert_eq(&text));
    if compared.is_ok() {
        return;
    }
    let (old, new): (BTreeSet<Line>, BTreeSet<Line>) = (old.into_iter().collect(), lines.into_iter().collect());
    println!();
    for line in old.difference(&new) {
        print!("no longer needs to be skipped, or covers no case: {}", line.shown());
    }
    for line in new.difference(&old) {
        print!("not passed and not listed: {}", line.shown());
    }
    panic!("tests/onnx_backend.skip is not what the verdicts ask for; its head says how it is rewritten");
}

#[test]
fn every_backend_test_passes_or_is_listed() {
    let Some(suite) = suite() else { return };
    let cases = find_cases(suite).expect("cases");
    assert!(cases.len() > 2_000, "{} cases", cases.len());
    let n_threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let time = Duration::from_secs(60);
    let settings = Settings::new(Limits::stated(), Policy::interactive(), SATURATION, time, n_threads);
    let settings = Arc::new(settings.map_err(|problems| problems.to_string()).expect("the library loads"));
    let verdicts = run(&cases, &Through::ALL, &settings).expect("threads");
    for (at, through) in Through::ALL.into_iter().enumerate() {
        let n_of = |name: &str| verdicts.iter().filter(|of_case| of_case[at].name() == name).count();
        let [passed, failed, skipped] = ["passed", "failed", "skipped"].map(n_of);
        println!("{through}: {passed} passed, {failed} failed, {skipped} skipped");
    }
    let judged: Vec<Judged> =
        cases.iter().zip(&verdicts).map(|(Case { name, .. }, verdicts)| (name.as_str(), &verdicts[..])).collect();
    let mut spoilt = Vec::new();
    for (case, verdicts) in &judged {
        for (through, verdict) in Through::ALL.into_iter().zip(*verdicts) {
            let is_engine = matches!(through, Through::Optimize | Through::Greedy);
            if is_engine && verdicts[0] == Verdict::Passed && *verdict != Verdict::Passed {
                spoilt.push(format!("{through} {case}: {verdict:?}"));
            }
        }
    }
    assert!(spoilt.is_empty(), "an engine spoils what the interpreter passes:\n{}", spoilt.join("\n"));
    assert_listed(&judged);
}

#[test]
fn every_value_of_the_suite_is_read() {
    let Some(suite) = suite() else { return };
    let limits = Limits::stated();
    let mut n_read = 0;
    for case in find_cases(suite).expect("cases") {
        let interface = read_interface(&case.folder.join("model.onnx"), &limits).expect("it decodes");
        for (direction, declared) in [("input", &interface.inputs), ("output", &interface.outputs)] {
            for (at, (_, form)) in declared.iter().enumerate() {
                let path = case.folder.join(format!("test_data_set_0/{direction}_{at}.pb"));
                if path.exists() {
                    read_value(&path, *form, &limits).map_err(|error| error.to_string()).expect("a value");
                    n_read += 1;
                }
            }
        }
    }
    assert!(n_read > 5_000, "{n_read} values");
}

#[test]
fn damaged_images_of_every_format_are_read_or_refused() {
    let Some(suite) = suite() else { return };
    let (limits, policy) = (Limits::stated(), Policy::interactive());
    let mut n_images = 0;
    for case in find_cases(suite).expect("cases").iter().filter(|case| case.name.contains("image_decoder")) {
        let loaded =
            LoadedCase::load(&case.folder, &limits, &policy).map_err(|error| error.to_string()).expect("a case");
        let Some(Value::Tensor(file)) = loaded.data[0].inputs.first().map(|(_, value)| value) else {
            panic!("no file")
        };
        let bytes = file.bytes().into_owned();
        let decode = |bytes: Vec<u8>| {
            let file = Tensor::new(Element::Uint8, &[bytes.len()], bytes.into()).expect("counted");
            run_values::<f32>(&loaded.model, &[Some(file.into())]).is_ok()
        };
        assert!(decode(bytes.clone()), "{}", case.name);
        // Headers stand in front, and are damaged everywhere; what follows in places.
        for at in (0..bytes.len()).filter(|at| *at < 128 || at % 7 == 0) {
            // That it comes back is all that is asked: a damaged file may be none, or another.
            decode(bytes[..at].to_vec());
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            decode(flipped);
        }
        n_images += 1;
    }
    assert_eq!(n_images, 9);
}

/// Verdicts of the interpreter first, then the same for all others unless the engine's is given.
fn verdicts(all: Verdict, greedy: Verdict) -> Vec<Verdict> {
    vec![all.clone(), all.clone(), all.clone(), all, greedy]
}

fn lines(text: &str) -> Vec<Line> {
    text.lines().map(Line::parse).collect()
}

#[test]
fn a_listed_case_that_passes_leaves_the_list() {
    let passed = verdicts(Verdict::Passed, Verdict::Passed);
    assert_eq!(updated(&lines("*\ta\twhy"), &[("a", &passed)]), []);
    assert_eq!(updated(&lines("*\tgone\twhy"), &[("a", &passed)]), []);
}

#[test]
fn a_new_case_joins_and_an_old_reason_stays() {
    let failed = verdicts(Verdict::Failed("new".into()), Verdict::Failed("new".into()));
    let found = updated(&lines("*\ta\told"), &[("a", &failed), ("b", &failed)]);
    assert_eq!(found, lines("*\ta\told\n*\tb\tnew"));
}

#[test]
fn a_prefix_that_covers_a_case_that_passes_is_taken_apart() {
    let failed = verdicts(Verdict::Failed("new".into()), Verdict::Failed("new".into()));
    let passed = verdicts(Verdict::Passed, Verdict::Passed);
    let old = lines("*\ta*\told");
    assert_eq!(updated(&old, &[("a1", &failed), ("a2", &failed)]), old);
    assert_eq!(updated(&old, &[("a1", &failed), ("a2", &passed)]), lines("*\ta1\tnew"));
}

#[test]
fn an_engine_that_fails_what_the_others_skip_has_a_line_of_its_own() {
    let mixed = verdicts(Verdict::Skipped("unknown".into()), Verdict::Failed("broken".into()));
    let found = updated(&[], &[("a", &mixed)]);
    assert_eq!(found.len(), Through::ALL.len());
    assert!(found.contains(&lines("greedy\ta\tbroken")[0]));
}
