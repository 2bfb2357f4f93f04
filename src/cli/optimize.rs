//! `eutectic optimize`: rewrite, certify, write.

use super::inspect::to_json;
use super::rewriting::Rewriting;
use super::{Global, Outcome, bound, print_json, render, stages};
use crate::certificate::exact::{self, Exact, Folded, Verdict};
use crate::certificate::{self, Certificate};
use crate::egraph;
use crate::files::write_text;
use crate::inputs::sizes_from_shapes;
use crate::ir::Model;
use crate::ir::diag::{Diagnostic, Diagnostics, Escaped, Kind};
use crate::passes::cost::{CostModel, Pricing};
use crate::passes::inspect::{Summary, inspect};
use crate::passes::optimize::{Options, Report, RuleReport, optimize, optimize_watched};
use crate::passes::rules::Contract;
use crate::passes::saturate::Focus;
use crate::passes::watch::Event;
use crate::trace::Trace;
use clap::{Args, ValueEnum};
use comfy_table::{Cell, Color, Table, presets};
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Args)]
pub(super) struct Optimize {
    /// The model: .onnx, or .onnxtxt in ONNX's textual syntax, or `-` for standard input
    model: PathBuf,
    /// Where the result goes: .onnx, or .onnxtxt in ONNX's textual syntax, or `-` for standard output; without it nothing is written
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    rewriting: Rewriting,
    /// Where the e-graph goes: JSON of egraph-serialize, or DOT when the name ends in .dot
    #[arg(long, value_name = "FILE")]
    dump_egraph: Option<PathBuf>,
    /// How the result is compared with the input before it is written
    #[arg(long, value_enum, default_value_t = Certify::F32)]
    certify: Certify,
    /// Largest difference that certifies, relative to the largest magnitude of each output
    #[arg(long, default_value_t = 1e-4, value_parser = bound, allow_negative_numbers = true)]
    tolerance: f64,
    /// Sizes of symbolic dims for certification: input:1x3x224x224,...
    #[arg(long, default_value = "")]
    shapes: String,
    /// Write the whole story to this directory: trace.jsonl, an event a line, and report.html
    #[arg(long, value_name = "DIR")]
    trace: Option<PathBuf>,
    /// Print every rule that fired, not the most frequent alone
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Certify {
    /// Run both in single precision on seeded inputs
    #[value(name = "f32", alias = "run")]
    F32,
    /// The same, and both in exact arithmetic with random weights
    Exact,
    /// Do not compare
    None,
}

impl Optimize {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        global.check_output(self.output.as_deref())?;
        let start = Instant::now();
        let mut model = global.load(&self.model)?;
        let read = start.elapsed();
        if self.output.is_some() {
            // Before the work, not after it.
            crate::onnx::carries_all(&model)?;
        }
        // Both share the weights; the original is kept for the certificate only.
        let original = (self.certify != Certify::None).then(|| model.clone());
        self.rewriting.expand(&mut model, global)?;
        let (dump, record) = (self.dump_egraph.is_some(), self.certify == Certify::Exact);
        let explain = self.trace.as_ref().map(|_| Focus::Whole);
        let options = Options { dump, record: record || explain.is_some(), explain, ..self.rewriting.options(&model)? };
        let stage = stages(global);
        stage.set_message("rewriting");
        let begun = Instant::now();
        crate::ir::infer::infer(&mut model);
        let before = inspect(&model, &options.cost);
        let mut trace = self.trace.as_ref().map(|dir| Trace::begin(dir, &model, &options)).transpose()?;
        let report = match &mut trace {
            Some(trace) => optimize_watched(&mut model, &options, &mut Some(&mut |event: Event| trace.tell(event)))?,
            None => optimize(&mut model, &options)?,
        };
        let after = inspect(&model, &options.cost);
        let optimized = begun.elapsed();
        if let Some(trace) = trace {
            trace.end(&model, &options, &report)?;
        }
        if let (Some(file), Some(dump)) = (&self.dump_egraph, &report.dump) {
            let text = match file.extension() {
                Some(extension) if extension == "dot" => egraph::to_dot(dump),
                _ => egraph::to_json(dump).to_string(),
            };
            write_text(file, text)?;
        }
        for conflict in &report.conflicts {
            let rule = conflict.rule.as_deref().unwrap_or("congruence");
            let message =
                format!("`{rule}` equated {} with {}; the rule is unsound here", conflict.left, conflict.right);
            stage.suspend(|| global.warn(&Diagnostic::warning("P0202", message).into()));
        }
        stage.set_message("comparing");
        let certificate = original.as_ref().map(|original| self.certify(original, &model)).transpose()?;
        let exact = original.filter(|_| self.certify == Certify::Exact);
        let exact = exact.map(|original| self.certify_exactly(original, &model, &report)).transpose()?;
        let certificates = (certificate.as_ref(), exact.as_ref());
        let refused = self.refusal(certificates);
        let begun = Instant::now();
        let size = match (&self.output, &refused) {
            (Some(output), None) => Some(global.save(&model, output, self.rewriting.opset)?),
            _ => None,
        };
        stage.finish_and_clear();
        let seconds = Seconds { read, optimize: optimized, write: size.map(|_| begun.elapsed()) };
        if global.json {
            self.print_json(&before, &after, &report, certificates, &seconds);
        } else if refused.is_none() && global.tells(self.output.as_deref()) {
            self.print(&before, &after, &report, &options.cost, certificates, &seconds, size);
        }
        let Some(refused) = refused else { return Ok(0) };
        render::print(&refused.into());
        Ok(1)
    }

    /// What a certificate says against the result, if it does.
    fn refusal(&self, (certificate, exact): (Option<&Certificate>, Option<&Exact>)) -> Option<Diagnostic> {
        let bisect =
            format!("`eutectic compare {} --bisect` with the same options finds the rule", self.model.display());
        if let Some(exact) = exact.filter(|exact| exact.verdict == Verdict::Different) {
            let why = exact.reason();
            let message = format!("the result is not equal in exact arithmetic ({why}); nothing is written");
            let help = format!("{bisect}; `--certify f32` compares in single precision alone");
            return Some(Diagnostic::error(Kind::Invalid, "P0204", message).help(help));
        }
        let certificate = certificate.filter(|certificate| !certificate.equal)?;
        let message = format!(
            "the result differs by {:.1e} of the output, the tolerance is {:.1e}; nothing is written",
            certificate.worst, self.tolerance
        );
        let help = format!("{bisect}; a wider `--tolerance` admits it");
        Some(Diagnostic::error(Kind::Invalid, "P0203", message).help(help))
    }

    fn certify(&self, original: &Model, optimized: &Model) -> Result<Certificate, Diagnostics> {
        let sizes = sizes_from_shapes(&original.graph, &self.shapes)?;
        // What only another runtime executes is compared through the bodies that stand for it.
        certificate::compare(original, optimized, &sizes, 0, self.tolerance)
            .map_err(|problems| problems.with_help("C0121", "`--certify none` writes the result without running it"))
    }

    fn certify_exactly(&self, mut original: Model, optimized: &Model, report: &Report) -> Result<Exact, Diagnostics> {
        crate::ir::infer::infer(&mut original);
        let sizes = sizes_from_shapes(&original.graph, &self.shapes)?;
        let computed: Vec<_> = report.passes.iter().flat_map(|pass| pass.change.computed.iter().cloned()).collect();
        let mut found = exact::certify(&original, optimized, Folded::Recorded(&computed), &sizes, 0)?;
        // What is only close is no equality, and no rule is to blame.
        let approximates = |rule: &&RuleReport| matches!(rule.contract, Contract::Approximates(_));
        if let Some(rule) = report.rules.iter().filter(|rule| rule.applied > 0).find(approximates)
            && found.verdict == Verdict::Different
        {
            found.verdict = Verdict::NotCovered;
            found.reason = Some(format!("`{}` {}", rule.name, rule.contract));
        }
        Ok(found)
    }

    fn print_json(
        &self,
        before: &Summary,
        after: &Summary,
        report: &Report,
        (certificate, exact): (Option<&Certificate>, Option<&Exact>),
        seconds: &Seconds,
    ) {
        let rules: Vec<_> = report
            .rules
            .iter()
            .map(|rule| {
                json!({
                    "name": rule.name,
                    "file": rule.place,
                    "fired": rule.applied,
                    "matched": rule.matched,
                    "contract": rule.contract.to_string(),
                    "seconds": rule.time.as_secs_f64(),
                })
            })
            .collect();
        let extracted = report.extracted.map(|costs| {
            let (bound, gap) = (costs.bound, costs.gap());
            json!({ "tree": costs.tree.to_string(), "dag": costs.dag, "bound": bound, "gap": gap })
        });
        let (enodes, eclasses) = report.space.unwrap_or_default();
        print_json(&json!({
            "before": to_json(before),
            "after": to_json(after),
            "rules": rules,
            "certificate": certificate,
            "exact": exact,
            "engine": {
                "stop": report.stop.map(|stop| format!("{stop:?}").to_lowercase()),
                "iterations": report.iterations,
                "enodes": enodes,
                "eclasses": eclasses,
                "cost": extracted,
                "conflicts": report.conflicts.len(),
            },
            "seconds": {
                "read": seconds.read.as_secs_f64(),
                "optimize": seconds.optimize.as_secs_f64(),
                "write": seconds.write.unwrap_or_default().as_secs_f64(),
            },
        }));
    }

    fn print(
        &self,
        before: &Summary,
        after: &Summary,
        report: &Report,
        cost: &CostModel,
        (certificate, exact): (Option<&Certificate>, Option<&Exact>),
        seconds: &Seconds,
        size: Option<u64>,
    ) {
        println!("{}", table(before, after));
        let mut fired: Vec<_> = report.rules.iter().filter(|rule| rule.applied > 0).collect();
        if !self.verbose {
            fired.sort_by_key(|rule| std::cmp::Reverse(rule.applied));
        }
        const SHOWN: usize = 12;
        let shown = if self.verbose { fired.len() } else { SHOWN.min(fired.len()) };
        for rule in &fired[..shown] {
            println!(
                "{:34} {:5} matched {:5} applied {:>10}   {}   {}",
                rule.name,
                rule.matched,
                rule.applied,
                render::seconds(rule.time.as_secs_f64()),
                rule.contract,
                rule.place
            );
        }
        if fired.len() > shown {
            println!("... and {} more rules; `--verbose` lists all", fired.len() - shown);
        }
        if let (Some(stop), Some((nodes, classes))) = (report.stop, report.space) {
            let stop = match stop {
                crate::passes::saturate::Stop::Saturated => "saturated".to_string(),
                limit => format!("stopped by the limit of {}", format!("{limit:?}").to_lowercase()),
            };
            println!(
                "{stop} after {}, {nodes} e-nodes in {classes} classes, {}",
                render::counted(report.iterations, "iteration"),
                render::counted(report.conflicts.len(), "type conflict")
            );
        }
        if let Some(costs) = report.extracted {
            let show = |price: f64| match cost.pricing {
                Pricing::Roofline | Pricing::Table(_) => render::seconds(price),
                Pricing::Nodes => format!("{price:.1} nodes"),
                Pricing::Flops => render::flops(price),
                Pricing::Bytes => render::bytes(price),
            };
            let proven = costs.bound.zip(costs.gap()).map_or(String::new(), |(bound, gap)| {
                format!("; at least {} in any case, gap {:.2} %", show(bound), gap * 100.0)
            });
            println!("cost {}, each use counted {}{proven}", show(costs.dag), show(costs.tree));
        }
        match certificate {
            Some(found) => println!(
                "certificate: largest difference {:.1e} of the output (tolerance {:.0e}); {}",
                found.worst, found.tolerance, found.method
            ),
            None => println!("certificate: none, not compared"),
        }
        if let Some(exact) = exact {
            println!("certificate, {}", super::certify::line(exact));
        }
        if let (Some(output), Some(size)) = (&self.output, size) {
            println!("wrote {} ({})", Escaped(&output.to_string_lossy()), render::bytes(size as f64));
        }
        let shown = |time: Duration| render::seconds(time.as_secs_f64());
        let wrote =
            seconds.write.map_or("nothing written: give `--output`".into(), |time| format!("wrote {}", shown(time)));
        println!("read {}, optimized {}, {wrote}", shown(seconds.read), shown(seconds.optimize));
    }
}

struct Seconds {
    read: Duration,
    optimize: Duration,
    /// Nothing is written without `--output`.
    write: Option<Duration>,
}

fn table(before: &Summary, after: &Summary) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["", "before", "after"]);
    let mut row = |name: String, a: f64, b: f64, show: &dyn Fn(f64) -> String| {
        let mut cells = [Cell::new(show(a)), Cell::new(show(b))];
        if b < a {
            cells[1] = Cell::new(show(b)).fg(Color::Green);
        }
        let [a, b] = cells;
        table.add_row([Cell::new(name), a, b]);
    };
    let mut names: Vec<&String> = before.operators.iter().chain(&after.operators).map(|(name, _)| name).collect();
    let n_of = |summary: &Summary, wanted: &str| {
        summary.operators.iter().find(|(name, _)| name == wanted).map_or(0, |(_, n)| *n)
    };
    names.sort_by_key(|name| std::cmp::Reverse((n_of(before, name).max(n_of(after, name)), (*name).clone())));
    names.dedup();
    for name in names {
        row(Escaped(name).to_string(), n_of(before, name) as f64, n_of(after, name) as f64, &render::count);
    }
    row("nodes".into(), before.n_nodes as f64, after.n_nodes as f64, &render::count);
    row("parameters".into(), before.n_parameters as f64, after.n_parameters as f64, &render::count);
    row("arithmetic".into(), before.totals.flops, after.totals.flops, &render::flops);
    row("memory moved".into(), before.totals.bytes_moved, after.totals.bytes_moved, &render::bytes);
    row("predicted time".into(), before.totals.seconds, after.totals.seconds, &render::seconds);
    table
}
