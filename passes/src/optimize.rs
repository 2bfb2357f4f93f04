//! The optimizer: prepare, rewrite by one engine, finish. Every choice stands in [`Options`]; nothing is read elsewhere.

use crate::cost::{CostModel, Device, Totals, totals};
use crate::dce;
use crate::expand::expand_operators;
pub use crate::extract::Extract;
use crate::fold::FoldBudget;
use crate::greedy;
use crate::inline::inline;
use crate::pass::PassReport;
use crate::pipeline;
use crate::rewire::{bodies_with_facts, owners};
use crate::rules::{Contract, Library, Rule};
use crate::saturate::{
    Conflict, Dump, Explanation, Extracted, Focus, Limits, Space, Stop, build_chosen, choose, dump, explain,
    saturate_watched,
};
use crate::target::{FUSION_DOMAIN, Target, spell_for_ort};
use crate::watch::{Event, Watch};
use eutectic_ir::diag::Kind;
use eutectic_ir::graph::Op;
use eutectic_ir::infer::Facts;
use eutectic_ir::op::Fact;
use eutectic_ir::{Diagnostic, Diagnostics, Function, Graph, Model, infer, verify};
use std::sync::Arc;
use std::time::Duration;

/// Nodes of a graph up to which calls are written out.
const MOST_NODES: usize = 1_000_000;

/// Everything that decides what comes out.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rules that may fire, in order.
    pub rules: Vec<Arc<Rule>>,
    /// How they are applied.
    pub engine: Engine,
    /// Who will run the result.
    pub target: Target,
    /// Newest version of `ai.onnx` that the result may import.
    pub opset: u64,
    /// What calls cost.
    pub cost: CostModel,
    /// How much folding may add.
    pub fold: FoldBudget,
    /// Whether the report holds the e-graph of the main graph.
    pub dump: bool,
    /// Whether the report tells how each folded constant was computed, for a certificate.
    pub record: bool,
    /// What the report explains, where there is an e-graph.
    pub explain: Option<Focus>,
}

impl Options {
    /// Every built-in rule that improves a graph, pays on `target` and needs no request, saturation, sharing counted once, an H200's roofline, and the newest
    /// operator set that widely used runtimes have caught up with.
    ///
    /// Errors: a built-in rule does not load, which a test rules out.
    pub fn standard(target: Target) -> Result<Self, Diagnostics> {
        const NEWEST_OPSET: u64 = 24;
        Ok(Self {
            rules: Library::built_in()?.standard().filter(|rule| target.profits_from(&rule.name)).cloned().collect(),
            engine: Engine::Saturate { limits: Limits::STANDARD, extract: Extract::Dag },
            target,
            opset: NEWEST_OPSET,
            cost: CostModel::new(Device::h200()),
            fold: FoldBudget::STANDARD,
            dump: false,
            record: false,
            explain: None,
        })
    }

    /// The same, with a result that may import what `model` imports.
    pub fn admitting(self, model: &Model) -> Self {
        Self { opset: self.opset.max(model.opset("").unwrap_or(0)), ..self }
    }
}

/// How rules are applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Engine {
    /// One after another, in place, until none applies.
    Greedy,
    /// All at once in an e-graph, then the cheapest graph is chosen.
    Saturate {
        /// When to stop.
        limits: Limits,
        /// How the graph is chosen.
        extract: Extract,
    },
}

/// What one rule did to this model.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleReport {
    /// Its name.
    pub name: String,
    /// The file and line it stands at.
    pub place: String,
    /// How far it may change numbers.
    pub contract: Contract,
    /// Times its left side matched.
    pub matched: u64,
    /// Times it was applied.
    pub applied: u64,
    /// Time spent on it.
    pub time: Duration,
}

/// What an optimization did.
#[derive(Clone, Debug)]
pub struct Report {
    /// The passes that ran, in order.
    pub passes: Vec<PassReport>,
    /// The rules that matched, in the order of the library.
    pub rules: Vec<RuleReport>,
    /// Why saturation stopped; `None` for the greedy engine.
    pub stop: Option<Stop>,
    /// Rounds of the engine.
    pub iterations: usize,
    /// Size of the e-graph: e-nodes and classes.
    pub space: Option<(usize, usize)>,
    /// Cost of what was chosen from the e-graph.
    pub extracted: Option<Extracted>,
    /// The e-graph, where [`Options::dump`] asks for it and there is one.
    pub dump: Option<Dump>,
    /// Why the graphs are equal to those before the engine: the main graph, then bodies; those that hold what
    /// [`Options::explain`] asks about.
    pub explanations: Vec<Explanation>,
    /// Unions refused because their types differ.
    pub conflicts: Vec<Conflict>,
    /// Predicted cost before.
    pub before: Totals,
    /// Predicted cost after.
    pub after: Totals,
}

/// Optimizes `model` in place. Errors leave it in an unspecified but sound state; keep a clone, it shares the weights.
///
/// Errors: the model breaks a rule of the IR, or no equal graph fits the target.
pub fn optimize(model: &mut Model, options: &Options) -> Result<Report, Diagnostics> {
    optimize_watched(model, options, &mut None)
}

/// The same, telling `watch` of each thing that happens.
pub fn optimize_watched(model: &mut Model, options: &Options, watch: &mut Watch) -> Result<Report, Diagnostics> {
    let (facts, _) = infer::infer(model);
    let before = totals(&model.graph, &facts, &options.cost);
    drop(facts);
    // The file may have been written for a target that has more fused operators.
    inline(&mut model.graph, &|function| !options.target.calls(function), MOST_NODES);
    let allowed = |op: &Op| options.target.allows(op, options.opset);
    expand_operators(&mut model.graph, &allowed, MOST_NODES)?;
    let mut passes = pipeline::prepare(options.fold, options.record).run_watched(model, watch)?;
    let mut report = match options.engine {
        Engine::Greedy => greedily(model, options, &allowed, watch),
        Engine::Saturate { limits, extract } => saturating(model, limits, extract, options, &allowed, watch)?,
    };
    if let Some(watch) = watch {
        collect_functions(model);
        watch(Event::Rewritten { model });
    }
    let (finished, facts) = finish_watched(model, options, watch)?;
    passes.extend(finished);
    report.passes = passes;
    report.before = before;
    report.after = totals(&model.graph, &facts, &options.cost);
    Ok(report)
}

/// What follows the engine: constants computed, the forms that people write, the spelling of the target. Errors: the engine
/// broke a rule of the IR.
pub(crate) fn finish(model: &mut Model, options: &Options) -> Result<(Vec<PassReport>, Facts), Diagnostics> {
    finish_watched(model, options, &mut None)
}

fn finish_watched(
    model: &mut Model,
    options: &Options,
    watch: &mut Watch,
) -> Result<(Vec<PassReport>, Facts), Diagnostics> {
    dce::sweep(&mut model.graph);
    model.graph.n_constant_nodes = 0;
    let passes = pipeline::finish(options.fold, options.opset, options.record).run_watched(model, watch)?;
    spell(model, options.target);
    collect_functions(model);
    let (facts, problems) = infer::infer(model);
    let problems = Diagnostics(verify::verify(model).into_iter().chain(problems).filter(is_error).collect());
    if problems.has_errors() {
        return Err(broken(problems));
    }
    Ok((passes, facts))
}

fn is_error(problem: &Diagnostic) -> bool {
    problem.severity == eutectic_ir::diag::Severity::Error
}

fn greedily(model: &mut Model, options: &Options, allowed: &dyn Fn(&Op) -> bool, watch: &mut Watch) -> Report {
    let done = greedy::rewrite(model, &options.rules, &options.cost, allowed, greedy::Limits::STANDARD);
    let of_rule = |name: &str| options.rules.iter().find(|rule| rule.name == name);
    for step in &done.steps {
        if let (Some(watch), Some(rule)) = (&mut *watch, of_rule(&step.rule)) {
            let (at, n_new) = (step.at.as_str().into(), step.n_added);
            watch(Event::Applied { graph: &model.graph.name, round: 1, rule, at, n_new });
        }
    }
    let rules = done
        .rules
        .iter()
        .filter(|line| line.n_matched > 0)
        .filter_map(|line| {
            let rule = of_rule(&line.name)?;
            Some(rule_report(rule, line.n_matched as u64, line.n_applied as u64, line.time))
        })
        .collect();
    Report {
        passes: Vec::new(),
        rules,
        stop: None,
        iterations: done.n_sweeps,
        space: None,
        extracted: None,
        dump: None,
        explanations: Vec::new(),
        conflicts: Vec::new(),
        before: Totals::default(),
        after: Totals::default(),
    }
}

fn saturating(
    model: &mut Model,
    limits: Limits,
    extract: Extract,
    options: &Options,
    allowed: &dyn Fn(&Op) -> bool,
    watch: &mut Watch,
) -> Result<Report, Diagnostics> {
    let rules: Vec<&Rule> = options.rules.iter().map(Arc::as_ref).filter(|rule| rule.builds().all(allowed)).collect();
    let mut explanations = Vec::new();
    let mut one = |graph: &mut Graph, facts: &Facts| {
        let mut space = space_of(graph, facts)?;
        if options.explain.is_some() {
            space.record();
        }
        let before = watch.as_ref().and_then(|_| choose(&space, &options.cost, allowed, extract).ok());
        let activity = saturate_watched(&mut space, &rules, limits, graph, watch);
        let (chosen, extracted) = choose(&space, &options.cost, allowed, extract)?;
        if let Some(watch) = watch {
            let before = before.map(|(_, costs)| costs.dag);
            watch(Event::Extracted { graph: &graph.name, before, after: extracted, stop: activity.stop });
        }
        let rewritten = build_chosen(&space, graph, &chosen);
        if let Some(focus) = &options.explain {
            explanations.extend(explain(&mut space, graph, facts, &rules, &chosen, focus));
        }
        *graph = rewritten;
        Ok::<_, Diagnostics>((activity, space, extracted))
    };
    let (facts, _) = infer::infer(model);
    let (mut activity, space, extracted) = one(&mut model.graph, &facts)?;
    let dump = options.dump.then(|| dump(&space, &options.cost, allowed));
    let space = (space.n_nodes(), space.n_classes());
    // Each body is a space of its own. One that cannot be rewritten stays as it is.
    rewrite_bodies(&mut model.graph, &[], "", &mut |body, facts| {
        if let Ok((inner, ..)) = one(body, facts) {
            activity.absorb(inner);
        }
    });
    let rules = rules
        .iter()
        .zip(activity.rules)
        .filter(|(_, done)| done.matched > 0)
        .map(|(rule, done)| rule_report(rule, done.matched, done.applied, done.time))
        .collect();
    Ok(Report {
        passes: Vec::new(),
        rules,
        stop: Some(activity.stop),
        iterations: activity.iterations,
        space: Some(space),
        extracted: Some(extracted),
        dump,
        explanations,
        conflicts: activity.conflicts,
        before: Totals::default(),
        after: Totals::default(),
    })
}

pub(crate) fn space_of(graph: &Graph, facts: &Facts) -> Result<Space, Diagnostic> {
    Space::new(graph, facts).map_err(|reason| Diagnostic::error(Kind::Invalid, "P0201", reason.to_string()))
}

/// Lets `change` replace each body in `graph`, given what is known of its values; outer bodies first. `scope` is that of the
/// fresh symbols of `graph`.
fn rewrite_bodies(
    graph: &mut Graph,
    captures: &[Option<Fact>],
    scope: &str,
    change: &mut dyn FnMut(&mut Graph, &Facts),
) {
    if owners(graph).is_empty() {
        return;
    }
    // Whoever replaced the graph numbered its values anew.
    let facts = infer::infer_in_place(graph, captures, scope, &mut Diagnostics::default());
    bodies_with_facts(graph, &facts, scope, &mut |body| {
        change(body.graph, body.facts);
        rewrite_bodies(body.graph, body.captures, body.scope, change);
    });
}

fn rule_report(rule: &Rule, matched: u64, applied: u64, time: Duration) -> RuleReport {
    RuleReport {
        name: rule.name.to_string(),
        place: format!("{}:{}", rule.file, rule.line),
        contract: rule.contract,
        matched,
        applied,
        time,
    }
}

/// Fused calls that the target does not run as they are become what it does run.
fn spell(model: &mut Model, target: Target) {
    if target == Target::Ort && spell_for_ort(&mut model.graph) > 0 && model.opset("com.microsoft").is_none() {
        model.opsets.push(("com.microsoft".into(), 1));
    }
    if target != Target::Portable && target != Target::Cpu {
        inline(&mut model.graph, &|function| function.domain == FUSION_DOMAIN, MOST_NODES);
    }
}

/// Lets the functions that the model calls stand in the model; our fused ones that it does not call leave it.
pub fn collect_functions(model: &mut Model) {
    let mut called: Vec<Arc<Function>> = Vec::new();
    collect_from(&model.graph, &mut called);
    model.functions.retain(|function| function.domain != FUSION_DOMAIN);
    for function in called {
        if !model.functions.iter().any(|known| known.id() == function.id()) {
            model.functions.push(function);
        }
    }
    let fused = model.functions.iter().any(|function| function.domain == FUSION_DOMAIN);
    model.opsets.retain(|(domain, _)| domain != FUSION_DOMAIN);
    if fused {
        model.opsets.push((FUSION_DOMAIN.into(), 1));
    }
}

fn collect_from(graph: &Graph, called: &mut Vec<Arc<Function>>) {
    for (_, node) in graph.nodes() {
        if let Op::Function(function) = &node.op
            && !called.iter().any(|known| known.id() == function.id())
        {
            called.push(Arc::clone(function));
            collect_from(&function.body, called);
        }
        for body in node.bodies() {
            collect_from(body, called);
        }
    }
}

fn broken(problems: Diagnostics) -> Diagnostics {
    let note = "the optimized graph breaks a rule of the IR; this is an error of Eutectic, not of the model";
    Diagnostics(problems.into_iter().map(|problem| problem.note(note)).collect())
}
