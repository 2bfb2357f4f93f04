//! Studies as their readers meet them: made from files, replayed byte by byte, refused when something does not fit.

mod figures;
mod lint;
mod measuring;
mod raw;
mod reading;
mod replay;

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A small study without a fault.
const STUDY: &str = r#"
title = "A study"
question = "Is the new one faster?"
authors = ["Somebody"]
date = "2026-01-02"
status = "working"
seed = 7

[headline]
text = "old over new: {}"
statistic = "compare/time/groups/a/ratios/new"

[[hypothesis]]
name = "H1"
text = "The new one is faster."
statistic = "compare/time/groups/a/ratios/new"
is = "above"
than = 1.02

[factors.model]
label = "model"
levels = ["a", "b"]

[factors.variant]
label = "variant"
levels = ["old", "new"]

[factors.size]
label = "size"
levels = [1, 2, 4]

[metrics.seconds]
label = "time"
unit = "ms"
scale = 1e3

[runs]
command = ["true"]
over = ["model"]
processes = 3

[[compare]]
name = "time"
metric = "seconds"
of = "variant"
base = "old"
within = ["model"]
summary = "geometric_mean"

[[value]]
name = "by_size"
metric = "seconds"
rows = ["size"]
columns = "variant"

[[figure]]
name = "ratios"
kind = "forest"
from = "time"
caption = "Ratios of times."

[[figure]]
name = "growth"
kind = "scaling"
from = "by_size"
caption = "Times over size."
"#;

const PAPER: &str = r#"#import "/study.typ": *
#show: paper.with(abstract: [It took #ratio("time", "a", "new", unit: "ms").])
= Result
#data("time")
#plot("ratios")
#plot("growth")
"#;

/// A study in a directory of its own.
struct Case(TempDir);

impl Case {
    /// The study without a fault, measured on the machine `here`.
    fn new() -> Self {
        let case = Self(tempfile::tempdir().expect("a directory"));
        case.put("study.toml", STUDY);
        case.put("paper.typ", PAPER);
        case.measure_on("here");
        case
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("written");
    }

    /// Replaces text that must be there.
    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path().join(name)).expect("readable");
        assert!(text.contains(from), "`{from}` is not in {name}");
        self.put(name, &text.replace(from, to));
    }

    /// Samples of three processes of both models: the new variant takes 5 units where the old one takes 8.
    fn measure_on(&self, machine: &str) {
        for model in ["a", "b"] {
            for process in 0..3 {
                let levels = json!({ "model": model });
                let mut text = format!(
                    "{}\n",
                    json!({ "provenance": { "run": "r", "levels": levels, "build": 0, "process": process, "machine": machine } })
                );
                for (variant, units) in [("old", 8.0), ("new", 5.0)] {
                    // Symmetric about the middle, so that no sample counts as warm-up.
                    let sample = |at: i32| units * 1e-3 * (1.0 + if at % 2 == 0 { 1e-3 } else { -1e-3 });
                    let samples: Vec<f64> = (0..40).map(sample).collect();
                    text.push_str(&format!(
                        "{}\n",
                        json!({ "variant": variant, "size": 1 << process, "seconds": samples })
                    ));
                }
                self.store(&format!("{machine}/{model}-p{process}.jsonl"), &text);
            }
        }
        self.put(&format!("env/{machine}.json"), "{\"processor\": \"one\"}\n");
    }

    /// A raw file with its hash.
    fn store(&self, name: &str, text: &str) {
        self.put(&format!("raw/{name}"), text);
        let sums = self.path().join("raw/SHA256SUMS");
        let found = fs::read_to_string(&sums).unwrap_or_default();
        let others: String =
            found.lines().filter(|line| !line.ends_with(name)).map(|line| format!("{line}\n")).collect();
        let hash = eutectic_study::sha256(text.as_bytes());
        fs::write(&sums, format!("{others}{hash}  {name}\n")).expect("written");
    }

    fn generate(&self) -> Result<eutectic_study::Generated, eutectic_study::Trouble> {
        eutectic_study::generate(self.path(), self.path(), eutectic_study::Machines::One)
    }

    fn stats(&self) -> Value {
        self.generate().unwrap_or_else(|trouble| panic!("{trouble}")).results.stats
    }
}

/// The codes of an error.
fn codes<T>(result: Result<T, eutectic_study::Trouble>) -> Vec<&'static str> {
    match result {
        Ok(_) => Vec::new(),
        Err(trouble) => trouble.0.0.iter().map(|diagnostic| diagnostic.code).collect(),
    }
}
