//! The whole story of an optimization: `trace.jsonl`, an object a line, and `report.html`, which holds all it shows.
//!
//! `docs/trace.md` is the contract of the lines. Times stand in members whose names end in `seconds`; everything else is the
//! same each time where the optimization is.

mod drawing;
mod report;

use crate::ir::diag::{Diagnostic, Kind};
use crate::ir::infer::infer;
use crate::ir::{Model, Name};
use crate::passes::cost::{CostModel, Totals, seconds_by_operator};
use crate::passes::optimize::{Engine, Options, Report};
use crate::passes::saturate::{Extracted, Stop};
use crate::passes::watch::{Event, Round};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A trace that is being written.
pub struct Trace {
    dir: PathBuf,
    lines: BufWriter<File>,
    /// The first failure to write, which the end reports.
    failed: Option<std::io::Error>,
    began: Instant,
    before: Side,
    rounds: Vec<(Name, Round)>,
    passes: Vec<Pass>,
}

/// A model as the report shows it.
struct Side {
    model: Model,
    costs: Vec<(String, f64)>,
}

/// What one pass did, all its rounds together.
struct Pass {
    name: &'static str,
    is_after_engine: bool,
    n_changed: usize,
    n_computed: usize,
    seconds: f64,
}

impl Trace {
    /// Opens a trace of the optimization of `model` under `options` in the directory `dir`, which is made.
    ///
    /// Errors: the directory or the file cannot be made.
    pub fn begin(dir: &Path, model: &Model, options: &Options) -> Result<Self, Diagnostic> {
        let path = dir.join("trace.jsonl");
        let file = std::fs::create_dir_all(dir).and_then(|()| File::create(&path));
        let lines = BufWriter::new(file.map_err(|error| unwritten(&path, &error))?);
        let before = Side::of(model, &options.cost);
        let mut trace = Self {
            dir: dir.to_owned(),
            lines,
            failed: None,
            began: Instant::now(),
            before,
            rounds: Vec::new(),
            passes: Vec::new(),
        };
        let limits = match options.engine {
            Engine::Greedy => Value::Null,
            Engine::Saturate { limits, .. } => json!({
                "enodes": limits.nodes,
                "rounds": limits.iterations,
                "candidates": limits.candidates,
                "bytes": limits.memory,
                "time_seconds": limits.time.map(|time| time.as_secs_f64()),
            }),
        };
        let engine = if limits.is_null() { "greedy" } else { "saturate" };
        trace.line(json!({
            "event": "start",
            "format": 1,
            "graph": model.graph.name.as_str(),
            "nodes": model.graph.n_nodes(),
            "engine": engine,
            "limits": limits,
            "rules": options.rules.len(),
        }));
        Ok(trace)
    }

    /// Writes a line of what happened.
    pub fn tell(&mut self, event: Event) {
        match event {
            Event::Pass { report, model } => {
                let is_after_engine = self.passes.last().is_some_and(|pass| pass.is_after_engine);
                let (n_changed, n_computed) = (report.change.n_changed, report.change.computed.len());
                let seconds = report.time.as_secs_f64();
                self.line(json!({
                    "event": "pass",
                    "pass": report.name,
                    "changed": n_changed,
                    "folded": n_computed,
                    "nodes": model.graph.n_nodes(),
                    "seconds": seconds,
                }));
                let of_name = |pass: &&mut Pass| pass.name == report.name && pass.is_after_engine == is_after_engine;
                match self.passes.iter_mut().find(of_name) {
                    Some(pass) => {
                        pass.n_changed += n_changed;
                        pass.n_computed += n_computed;
                        pass.seconds += seconds;
                    }
                    None => {
                        self.passes.push(Pass { name: report.name, is_after_engine, n_changed, n_computed, seconds })
                    }
                }
            }
            Event::Applied { graph, round, rule, at, n_new } => self.line(json!({
                "event": "applied",
                "graph": graph.as_str(),
                "round": round,
                "rule": rule.name.as_str(),
                "file": format!("{}:{}", rule.file, rule.line),
                "at": Some(at.as_str()).filter(|at| !at.is_empty()),
                "new": n_new,
            })),
            Event::Round { graph, round } => {
                self.line(json!({
                    "event": "round",
                    "graph": graph.as_str(),
                    "round": round.number,
                    "enodes": round.n_enodes,
                    "eclasses": round.n_eclasses,
                    "bytes": round.n_bytes,
                    "matched": round.n_matched,
                    "applied": round.n_applied,
                    "candidates_left": round.n_candidates_left,
                    "search_seconds": round.time[0].as_secs_f64(),
                    "apply_seconds": round.time[1].as_secs_f64(),
                    "left_seconds": round.time_left.map(|time| time.as_secs_f64()),
                }));
                self.rounds.push((graph.clone(), round));
            }
            Event::Extracted { graph, before, after, stop } => self.line(json!({
                "event": "extracted",
                "graph": graph.as_str(),
                "stop": stop_name(stop),
                "before": before,
                "after": cost_json(&after),
            })),
            Event::Rewritten { model } => {
                self.line(json!({ "event": "rewritten", "nodes": model.graph.n_nodes() }));
                // Passes of the same names follow.
                self.passes.push(Pass { name: "", is_after_engine: true, n_changed: 0, n_computed: 0, seconds: 0.0 });
            }
        }
    }

    /// Writes the steps of the chain, the totals, and the report. Errors: a file cannot be written.
    pub fn end(mut self, model: &Model, options: &Options, report: &Report) -> Result<(), Diagnostic> {
        for found in &report.explanations {
            for (at, step) in found.steps.iter().enumerate() {
                self.line(json!({
                    "event": "step",
                    "graph": found.graph.as_str(),
                    "number": at + 1,
                    "rule": step.rule.as_str(),
                    "file": step.place,
                    "contract": step.contract.to_string(),
                    "before": step.before,
                    "after": step.after,
                }));
            }
        }
        let rules: Vec<Value> = report
            .rules
            .iter()
            .map(|rule| {
                json!({
                    "rule": rule.name,
                    "file": rule.place,
                    "contract": rule.contract.to_string(),
                    "matched": rule.matched,
                    "applied": rule.applied,
                    "seconds": rule.time.as_secs_f64(),
                })
            })
            .collect();
        self.line(json!({
            "event": "end",
            "nodes": model.graph.n_nodes(),
            "before": totals_json(&report.before),
            "after": totals_json(&report.after),
            "conflicts": report.conflicts.len(),
            "rules": rules,
        }));
        let path = self.dir.join("trace.jsonl");
        if let Err(error) = self.lines.flush() {
            self.failed.get_or_insert(error);
        }
        if let Some(error) = &self.failed {
            return Err(unwritten(&path, error));
        }
        self.passes.retain(|pass| !pass.name.is_empty());
        let after = Side::of(model, &options.cost);
        let path = self.dir.join("report.html");
        std::fs::write(&path, report::html(&self, &after, report)).map_err(|error| unwritten(&path, &error))
    }

    fn line(&mut self, mut event: Value) {
        event["at_seconds"] = json!(self.began.elapsed().as_secs_f64());
        if self.failed.is_none() {
            self.failed = writeln!(self.lines, "{event}").err();
        }
    }
}

impl Side {
    fn of(model: &Model, cost: &CostModel) -> Self {
        let mut model = model.clone();
        let (facts, _) = infer(&mut model);
        let costs = seconds_by_operator(&model.graph, &facts, cost);
        Self { model, costs }
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error(Kind::Io, "C0176", format!("the trace is not written: {error}")).in_file(path)
}

fn stop_name(stop: Stop) -> String {
    format!("{stop:?}").to_lowercase()
}

fn cost_json(costs: &Extracted) -> Value {
    // Each use counted, a cost may be beyond all numbers of JSON.
    json!({ "dag": costs.dag, "tree": costs.tree.to_string(), "bound": costs.bound })
}

fn totals_json(totals: &Totals) -> Value {
    json!({
        "flops": totals.flops,
        "bytes_moved": totals.bytes_moved,
        "predicted": totals.seconds,
        "unpriced": totals.n_unpriced,
    })
}
