//! In which order the matcher visits calls, and when it can check conditions.

use crate::rules::expr::{Expr, Mention};
use crate::rules::{PatternCall, PatternInput, PlanStep, Var, Via};

/// In which order the matcher visits `calls`: from the first root on, each next call is one that defines a bound variable,
/// or else one that reads one. Also a call that is not connected to those before, when there is one.
pub(crate) fn plan(calls: &[PatternCall], roots: &[(Var, Var)]) -> (Vec<PlanStep>, Option<usize>) {
    let defines = |call: &PatternCall, var: Var| call.outputs.contains(&Some(var));
    let Some(first) = roots.first().and_then(|(root, _)| calls.iter().position(|call| defines(call, *root))) else {
        return (Vec::new(), None);
    };
    plan_from(calls, first)
}

/// The same from any call on.
pub(crate) fn plan_from(calls: &[PatternCall], first: usize) -> (Vec<PlanStep>, Option<usize>) {
    let mut plan = vec![PlanStep { call: first, via: Via::Anywhere }];
    while plan.len() < calls.len() {
        let bound: Vec<Var> = plan.iter().flat_map(|step| call_vars(&calls[step.call])).collect();
        let is_left = |at: &usize| !plan.iter().any(|step| step.call == *at);
        let candidates: Vec<usize> = (0..calls.len()).filter(is_left).collect();
        let definition = candidates.iter().rev().find_map(|&at| {
            let output = calls[at].outputs.iter().position(|var| var.is_some_and(|var| bound.contains(&var)))?;
            let var = calls[at].outputs[output]?;
            Some(PlanStep { call: at, via: Via::Definition(var, output) })
        });
        let reader = || {
            candidates.iter().find_map(|&at| {
                let mut inputs = calls[at].inputs.iter().filter_map(|input| match input {
                    PatternInput::Var(var) => Some(*var),
                    _ => None,
                });
                let var = inputs.find(|var| bound.contains(var))?;
                Some(PlanStep { call: at, via: Via::Reader(var) })
            })
        };
        match definition.or_else(reader) {
            Some(step) => plan.push(step),
            None => return (plan, candidates.first().copied()),
        }
    }
    (plan, None)
}

/// After which step of `plan` everything that `expr` mentions is bound.
pub(crate) fn bound_after(expr: &Expr, calls: &[PatternCall], plan: &[PlanStep]) -> usize {
    let mut after = 0;
    let mut visit = |mention: Mention| {
        let is_bound_by = |step: &PlanStep| match mention {
            Mention::Attr(call, _) => step.call == call,
            Mention::Var(var) => call_vars(&calls[step.call]).any(|bound| bound == var),
        };
        after = after.max(plan.iter().position(is_bound_by).unwrap_or(plan.len().saturating_sub(1)));
    };
    expr.each_mention(&mut visit);
    after
}

fn call_vars(call: &PatternCall) -> impl Iterator<Item = Var> + '_ {
    call.inputs.iter().filter_map(|input| input_var(*input)).chain(call.outputs.iter().flatten().copied())
}

pub(super) fn input_var(input: PatternInput) -> Option<Var> {
    match input {
        PatternInput::Var(var) | PatternInput::Optional(var) | PatternInput::Rest(var) => Some(var),
        PatternInput::Absent | PatternInput::Scalar(_) => None,
    }
}
