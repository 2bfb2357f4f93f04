//! `eutectic optimize`: rewrite, certify, write.

use super::inspect::to_json;
use super::{Global, Outcome, misuse, print_json, render};
use crate::certificate::exact::{self, Exact, Folded, Verdict};
use crate::certificate::{self, Certificate};
use crate::egraph;
use crate::inputs::sizes_from_shapes;
use crate::ir::Model;
use crate::ir::diag::{Diagnostic, Diagnostics, Escaped, Kind};
use crate::ir::op::CANONICAL_OPSET;
use crate::passes::cost::{CostModel, Pricing};
use crate::passes::extract::IlpBudget;
use crate::passes::fold::FoldBudget;
use crate::passes::inspect::{Summary, inspect};
use crate::passes::optimize::{Engine, Extract, Options, Report, optimize};
use crate::passes::rules::{Contract, Library, Rule};
use crate::passes::saturate::Limits;
use crate::passes::target::{FUSION_DOMAIN, Target};
use clap::{Args, ValueEnum};
use comfy_table::{Cell, Color, Table, presets};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Args)]
pub(super) struct Optimize {
    /// The model
    model: PathBuf,
    /// Where the result goes; without it nothing is written
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Who will run the result: portable (fused operators as functions), onnx (standard operators only), ort, tensorrt, cpu
    #[arg(long, default_value = "portable")]
    target: Target,
    /// Rule families or names, joined by commas; `all`, or `none`. The family `taso` is not among `all`
    #[arg(long, default_value = "all", value_delimiter = ',')]
    rules: Vec<String>,
    /// Fused operators, joined by commas; `all`, or `none`
    #[arg(long, default_value = "all", value_delimiter = ',')]
    fusions: Vec<String>,
    /// Further rule files
    #[arg(long, value_name = "FILE")]
    rule_file: Vec<PathBuf>,
    /// How far rules may change numbers
    #[arg(long, value_enum, default_value_t = Numerics::Reassociates)]
    numerics: Numerics,
    /// Replace functions by their bodies before everything else: those of the model, and operators that are functions of others
    #[arg(long)]
    expand_functions: bool,
    /// How rules are applied
    #[arg(long, value_enum, default_value_t = EngineName::Saturate)]
    engine: EngineName,
    /// How a graph is chosen from the e-graph
    #[arg(long, value_enum, default_value_t = ExtractName::Dag)]
    extract: ExtractName,
    /// What a call costs: roofline, roofline:DEVICE (h200, a100, l4, rtx4090, cpu2), nodes, flops, bytes, table:FILE (JSON lines)
    #[arg(long, default_value = "roofline")]
    cost: String,
    /// Most nodes of branch and bound of `--extract ilp`
    #[arg(long, default_value_t = IlpBudget::STANDARD.nodes)]
    ilp_nodes: u64,
    /// Where the e-graph goes: JSON of egraph-serialize, or DOT when the name ends in .dot
    #[arg(long, value_name = "FILE")]
    dump_egraph: Option<PathBuf>,
    /// Most e-nodes
    #[arg(long, default_value_t = Limits::STANDARD.nodes)]
    nodes: usize,
    /// Most rounds of search and apply
    #[arg(long, default_value_t = Limits::STANDARD.iterations)]
    iterations: usize,
    /// Most memory of the e-graph, in MiB
    #[arg(long, default_value_t = Limits::STANDARD.memory >> 20, value_name = "MIB")]
    memory: usize,
    /// Most seconds of rewriting, and again of `--extract ilp`; 0 for no limit, so that the result is the same on every machine
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Version of ai.onnx that the result imports; without it the lowest that expresses it, not below the input's
    #[arg(long)]
    opset: Option<u64>,
    /// Most memory that one folded constant may take, in MiB
    #[arg(long, default_value_t = FoldBudget::STANDARD.tensor >> 20, value_name = "MIB")]
    fold_budget: usize,
    /// How the result is compared with the input before it is written
    #[arg(long, value_enum, default_value_t = Certify::F32)]
    certify: Certify,
    /// Largest difference that certifies, relative to the largest magnitude of each output
    #[arg(long, default_value_t = 1e-4)]
    tolerance: f64,
    /// Sizes of symbolic dims for certification: input:1x3x224x224,...
    #[arg(long, default_value = "")]
    shapes: String,
    /// Print every rule that fired with its time
    #[arg(long)]
    trace: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Numerics {
    /// Bitwise equal
    Exact,
    /// Equal in real arithmetic
    Reassociates,
    /// Within a stated bound
    Approximates,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineName {
    Greedy,
    Saturate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExtractName {
    Tree,
    Dag,
    Ilp,
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
        let start = Instant::now();
        let mut model = global.load(&self.model)?;
        let read = start.elapsed();
        if self.output.is_some() {
            // Before the work, not after it.
            crate::onnx::carries_all(&model)?;
        }
        // Both share the weights; the original is kept for the certificate only.
        let original = (self.certify != Certify::None).then(|| model.clone());
        if self.expand_functions {
            let most = usize::try_from(global.budgets().expanded_nodes).unwrap_or(usize::MAX);
            crate::passes::expand::expand_functions(&mut model, most)?;
        }
        let cost = super::cost::parse(&self.cost)?;
        let library = self.library()?;
        let options = self.options(&library, &cost, &model)?;
        let begun = Instant::now();
        crate::ir::infer::infer(&mut model);
        let before = inspect(&model, &cost);
        let report = optimize(&mut model, &options)?;
        let after = inspect(&model, &cost);
        let optimized = begun.elapsed();
        if let (Some(file), Some(dump)) = (&self.dump_egraph, &report.dump) {
            let text = match file.extension() {
                Some(extension) if extension == "dot" => egraph::to_dot(dump),
                _ => egraph::to_json(dump).to_string(),
            };
            std::fs::write(file, text).map_err(|error| {
                Diagnostic::error(Kind::Io, "C0102", format!("the e-graph cannot be written: {error}")).in_file(file)
            })?;
        }
        for conflict in &report.conflicts {
            let rule = conflict.rule.as_deref().unwrap_or("congruence");
            global.warn(
                &Diagnostic::warning(
                    "P0202",
                    format!("`{rule}` equated {} with {}; the rule is unsound here", conflict.left, conflict.right),
                )
                .into(),
            );
        }
        let certificate = original.as_ref().map(|original| self.certify(original, &model)).transpose()?;
        let exact = original.filter(|_| self.certify == Certify::Exact);
        let exact = exact.map(|original| self.certify_exactly(original, &model, &report)).transpose()?;
        if let Some(exact) = exact.as_ref().filter(|exact| exact.verdict == Verdict::Different) {
            let message =
                format!("the result is not equal in exact arithmetic ({}); nothing is written", exact.reason());
            render::print(
                &Diagnostic::error(Kind::Invalid, "P0204", message)
                    .help("find the rule with `--rules`, or compare in single precision alone: `--certify f32`")
                    .into(),
            );
            return Ok(1);
        }
        if let Some(certificate) = certificate.as_ref().filter(|certificate| !certificate.equal) {
            let message = format!(
                "the result differs by {:.1e} of the output, the tolerance is {:.1e}; nothing is written",
                certificate.worst, self.tolerance
            );
            render::print(
                &Diagnostic::error(Kind::Invalid, "P0203", message)
                    .help("find the rule with `--rules`, or state a wider `--tolerance`")
                    .into(),
            );
            return Ok(1);
        }
        let begun = Instant::now();
        let mut size = None;
        if let Some(output) = &self.output {
            size = Some(global.save(&model, output, self.opset)?);
        }
        let seconds = Seconds { read, optimize: optimized, write: begun.elapsed() };
        if global.json {
            self.print_json(&before, &after, &report, (certificate.as_ref(), exact.as_ref()), &seconds);
        } else if !global.quiet {
            let certificates = (certificate.as_ref(), exact.as_ref());
            self.print(&before, &after, &report, &options.cost, certificates, &seconds, size);
        }
        Ok(0)
    }

    fn library(&self) -> Result<Library, Diagnostics> {
        let mut library = Library::built_in()?;
        for file in &self.rule_file {
            super::rules::load(&mut library, file)?;
        }
        Ok(library)
    }

    fn options(&self, library: &Library, cost: &CostModel, model: &Model) -> Result<Options, Diagnostics> {
        let worst = match self.numerics {
            Numerics::Exact => Contract::ExactFinite,
            Numerics::Reassociates => Contract::Reassociates,
            Numerics::Approximates => Contract::Approximates(f64::INFINITY),
        };
        let known = |name: &String| library.rules().iter().any(|rule| rule.name == *name || rule.family() == name);
        for name in self.rules.iter().chain(&self.fusions) {
            if !["all", "none"].contains(&name.as_str()) && !known(name) && library.function(name).is_none() {
                return Err(misuse(format!(
                    "there is no rule, family or fusion `{name}`; `eutectic rules list` shows them"
                )));
            }
        }
        let listed = |names: &[String], rule: &Rule| {
            names
                .iter()
                .any(|name| (name == "all" && !rule.is_on_request()) || *name == rule.name || name == rule.family())
                || rule.builds().any(|op| op.domain() == FUSION_DOMAIN && names.iter().any(|name| name == op.name()))
        };
        let chosen = |rule: &&Arc<Rule>| {
            let names = if rule.fusion.is_some() { &self.fusions } else { &self.rules };
            rule.contract <= worst && listed(names, rule)
        };
        let time = Duration::try_from_secs_f64(self.seconds)
            .map_err(|error| misuse(format!("`--seconds {}`: {error}", self.seconds)))?;
        let time = Some(time).filter(|time| !time.is_zero());
        let (nodes, iterations, memory) = (self.nodes, self.iterations, self.memory.saturating_mul(1 << 20));
        let limits = Limits { nodes, iterations, memory, time, ..Limits::STANDARD };
        let extract = match self.extract {
            ExtractName::Tree => Extract::Tree,
            ExtractName::Dag => Extract::Dag,
            ExtractName::Ilp => Extract::Ilp(IlpBudget { nodes: self.ilp_nodes, time, ..IlpBudget::STANDARD }),
        };
        let engine = match self.engine {
            EngineName::Greedy => Engine::Greedy,
            EngineName::Saturate => Engine::Saturate { limits, extract },
        };
        if let Some(opset) = self.opset.filter(|opset| !(1..=CANONICAL_OPSET).contains(opset)) {
            return Err(misuse(format!("operator set {opset} is not between 1 and {CANONICAL_OPSET}")));
        }
        let standard = Options::standard(self.target)?.admitting(model);
        Ok(Options {
            rules: library.forward().filter(chosen).cloned().collect(),
            engine,
            opset: self.opset.unwrap_or(standard.opset),
            cost: cost.clone(),
            dump: self.dump_egraph.is_some(),
            record: self.certify == Certify::Exact,
            fold: FoldBudget { tensor: self.fold_budget << 20, ..FoldBudget::STANDARD },
            ..standard
        })
    }

    fn certify(&self, original: &Model, optimized: &Model) -> Result<Certificate, Diagnostics> {
        let sizes = sizes_from_shapes(&original.graph, &self.shapes)?;
        // What only another runtime executes is compared through the bodies that stand for it.
        certificate::compare(original, optimized, &sizes, 0, self.tolerance)
    }

    fn certify_exactly(&self, mut original: Model, optimized: &Model, report: &Report) -> Result<Exact, Diagnostics> {
        crate::ir::infer::infer(&mut original);
        let sizes = sizes_from_shapes(&original.graph, &self.shapes)?;
        let computed: Vec<_> = report.passes.iter().flat_map(|pass| pass.change.computed.iter().cloned()).collect();
        let mut found = exact::certify(&original, optimized, Folded::Recorded(&computed), &sizes, 0)?;
        // What is only close is no equality, and no rule is to blame.
        let approximates =
            |rule: &&crate::passes::optimize::RuleReport| matches!(rule.contract, Contract::Approximates(_));
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
                "write": seconds.write.as_secs_f64(),
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
        if !self.trace {
            fired.sort_by_key(|rule| std::cmp::Reverse(rule.applied));
        }
        const SHOWN: usize = 12;
        let shown = if self.trace { fired.len() } else { SHOWN.min(fired.len()) };
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
            println!("... and {} more rules; `--trace` lists all", fired.len() - shown);
        }
        if let (Some(stop), Some((nodes, classes))) = (report.stop, report.space) {
            let stop = match stop {
                crate::passes::saturate::Stop::Saturated => "saturated".to_string(),
                limit => format!("stopped by the limit of {}", format!("{limit:?}").to_lowercase()),
            };
            println!(
                "{stop} after {} iterations, {nodes} e-nodes in {classes} classes, {} type conflicts",
                report.iterations,
                report.conflicts.len()
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
        let [read, optimized, write] =
            [seconds.read, seconds.optimize, seconds.write].map(|time| render::seconds(time.as_secs_f64()));
        println!("read {read}, optimized {optimized}, wrote {write}");
    }
}

struct Seconds {
    read: Duration,
    optimize: Duration,
    write: Duration,
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
