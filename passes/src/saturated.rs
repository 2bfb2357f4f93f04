//! A model whose main graph has been saturated, to be asked: why a rule did nothing, and which other graphs are equal.

use crate::extract::Extract;
use crate::optimize::{Engine, Options, finish, space_of};
use crate::pipeline;
use crate::rules::Rule;
use crate::saturate::{Activity, Limits, Space, WhyNot, choose, draw_graph, saturate, why_not};
use eutectic_ir::diag::Kind;
use eutectic_ir::graph::Op;
use eutectic_ir::{Diagnostic, Diagnostics, Model, Name, infer};
use std::sync::Arc;

/// A model as the rules saw it, and the space of graphs that are equal to its main graph.
pub struct Saturated {
    model: Model,
    options: Options,
    extract: Extract,
    space: Space,
    /// What saturation did.
    pub activity: Activity,
}

impl Saturated {
    /// Prepares `model` and saturates its main graph under `options`, with the standard limits where they name the greedy
    /// engine. Errors: the model breaks a rule of the IR.
    pub fn new(mut model: Model, options: Options) -> Result<Self, Diagnostics> {
        pipeline::prepare(options.fold, false).run(&mut model)?;
        let (facts, _) = infer::infer(&mut model);
        let (limits, extract) = match options.engine {
            Engine::Saturate { limits, extract } => (limits, extract),
            Engine::Greedy => (Limits::STANDARD, Extract::Dag),
        };
        let allowed = |op: &Op| options.target.allows(op, options.opset);
        let rules: Vec<&Rule> =
            options.rules.iter().map(Arc::as_ref).filter(|rule| rule.builds().all(allowed)).collect();
        let mut space = space_of(&model.graph, &facts)?;
        let activity = saturate(&mut space, &rules, limits);
        Ok(Self { model, options, extract, space, activity })
    }

    /// Another model that is equal by the rules, drawn from `seed`: each choice that the space leaves is made at random, then
    /// the result is finished as an optimized one is.
    ///
    /// Errors: no equal graph fits the target; a rule broke the graph, or folding fails on it.
    pub fn draw(&self, seed: u64) -> Result<Model, Diagnostics> {
        let allowed = |op: &Op| self.options.target.allows(op, self.options.opset);
        let mut model = self.model.clone();
        model.graph = draw_graph(&self.space, &self.model.graph, &allowed, seed)?;
        finish(&mut model, &self.options)?;
        Ok(model)
    }

    /// Why `rule`, which is among those of the options, did nothing at the node or value `at`, or anywhere.
    ///
    /// Errors: nothing has the name `at`; no equal graph fits the target.
    pub fn why_not(&mut self, rule: &Rule, at: Option<&Name>) -> Result<WhyNot, Diagnostics> {
        let (target, opset) = (self.options.target, self.options.opset);
        let allowed = |op: &Op| target.allows(op, opset);
        if let Some(op) = rule.builds().find(|op| !allowed(op)) {
            return Ok(WhyNot::Barred { operator: op.to_string() });
        }
        let (chosen, _) = choose(&self.space, &self.options.cost, &allowed, self.extract)?;
        let graph = &self.model.graph;
        why_not(&mut self.space, graph, rule, at, &chosen, &self.options.cost, &allowed, self.extract).ok_or_else(
            || {
                let name = at.map(Name::as_str).unwrap_or_default();
                let message = format!("the prepared graph has no node or value `{name}`");
                Diagnostic::error(Kind::Invalid, "P0205", message)
                    .help("`eutectic convert MODEL MODEL.onnxtxt` shows the names; what folding computes has none left")
                    .into()
            },
        )
    }
}

#[cfg(test)]
mod tests;
