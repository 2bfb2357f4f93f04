//! How a model is rewritten: the arguments that `optimize`, `explain` and `fuzz` share.

use super::{Global, MISUSE, bound, misuse};
use crate::ir::Model;
use crate::ir::diag::{Diagnostic, Diagnostics, Kind, did_you_mean};
use crate::ir::op::CANONICAL_OPSET;
use crate::passes::extract::IlpBudget;
use crate::passes::fold::FoldBudget;
use crate::passes::optimize::{Engine, Extract, Options};
use crate::passes::rules::{Contract, Library, Rule};
use crate::passes::saturate::Limits;
use crate::passes::target::{FUSION_DOMAIN, Target};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[derive(Args)]
pub(super) struct Rewriting {
    /// Who will run the result: portable (fused operators as functions), onnx (standard operators only), ort, tensorrt, cpu
    #[arg(long, default_value = "portable")]
    target: Target,
    /// Rule families or names, joined by commas; `all`, or `none`. The family `taso` is not among `all`, and what does not pay on
    /// the target is not either
    #[arg(long, default_value = "all", value_delimiter = ',')]
    rules: Vec<String>,
    /// Fused operators, joined by commas; `all`, or `none`
    #[arg(long, default_value = "all", value_delimiter = ',')]
    fusions: Vec<String>,
    /// Further rules, or fused operators when the name ends in .onnxtxt; may be given several times
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
    #[arg(long, default_value_t = 10.0, value_parser = bound, allow_negative_numbers = true)]
    seconds: f64,
    /// Version of ai.onnx that the result imports; without it the lowest that expresses it, not below the input's
    #[arg(long)]
    pub(super) opset: Option<u64>,
    /// Most memory that one folded constant may take, in MiB
    #[arg(long, default_value_t = FoldBudget::STANDARD.tensor >> 20, value_name = "MIB")]
    fold_budget: usize,
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

impl Rewriting {
    /// Replaces functions by their bodies, when that is asked for. Errors: more calls than the budget admits.
    pub(super) fn expand(&self, model: &mut Model, global: &Global) -> Result<(), Diagnostics> {
        if self.expand_functions {
            let most = usize::try_from(global.budgets().expanded_nodes).unwrap_or(usize::MAX);
            crate::passes::expand::expand_functions(model, most)?;
        }
        Ok(())
    }

    /// The built-in library and the further files.
    pub(super) fn library(&self) -> Result<Library, Diagnostics> {
        let mut library = Library::built_in()?;
        for file in &self.rule_file {
            super::rules::load(&mut library, file)?;
        }
        Ok(library)
    }

    /// What these arguments say of the optimization of `model`. Errors: unknown names, and numbers out of range.
    pub(super) fn options(&self, model: &Model) -> Result<Options, Diagnostics> {
        let (library, cost) = (self.library()?, super::cost::parse(&self.cost)?);
        let worst = match self.numerics {
            Numerics::Exact => Contract::ExactFinite,
            Numerics::Reassociates => Contract::Reassociates,
            Numerics::Approximates => Contract::Approximates(f64::INFINITY),
        };
        let known = |name: &String| library.rules().iter().any(|rule| rule.name == *name || rule.family() == name);
        for name in self.rules.iter().chain(&self.fusions) {
            if !["all", "none"].contains(&name.as_str()) && !known(name) && library.function(name).is_none() {
                return Err(unknown(name, &library));
            }
        }
        let is_standard = |rule: &Rule| !rule.is_on_request() && self.target.profits_from(&rule.name);
        let listed = |names: &[String], rule: &Rule| {
            names.iter().any(|name| (name == "all" && is_standard(rule)) || *name == rule.name || name == rule.family())
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
            cost,
            fold: FoldBudget { tensor: self.fold_budget << 20, ..FoldBudget::STANDARD },
            ..standard
        })
    }
}

/// What to say of a name that neither `--rules` nor `--fusions` knows.
fn unknown(name: &str, library: &Library) -> Diagnostics {
    let known = library.rules().iter().flat_map(|rule| [rule.name.as_str(), rule.family()]);
    let meant = did_you_mean(name, known);
    let problem =
        Diagnostic::error(Kind::Invalid, MISUSE, format!("there is no rule, family or fusion `{name}`{meant}"));
    let is_file = [".rules", ".onnxtxt"].iter().any(|ending| name.ends_with(ending));
    let help = match is_file {
        true => format!("`--rule-file {name}` adds the rules of a file"),
        false => "`eutectic rules list` shows the library; `--rule-file` adds your own".into(),
    };
    problem.help(help).into()
}
