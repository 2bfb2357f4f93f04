//! Gives a parsed rule its meaning: resolves names, accounts for attributes, orders the matcher's steps.
//!
//! | code | what is wrong |
//! |---|---|
//! | `R0001` | the text does not follow the grammar |
//! | `R0002` | two rules have one name |
//! | `R0003` | a rule has no equation above it |
//! | `R0004` | no such operator |
//! | `R0005` | no such attribute |
//! | `R0006` | no such function |
//! | `R0007` | no such variable |
//! | `R0008` | no such label |
//! | `R0009` | an attribute of a matched call is not accounted for |
//! | `R0010` | a result of the left side is neither read there nor defined anew by the right |
//! | `R0011` | the right side reads what it replaces |
//! | `R0012` | kinds do not fit |
//! | `R0013` | the wrong number of inputs, outputs or arguments |
//! | `R0014` | a name is defined twice |
//! | `R0015` | the right side builds what nobody reads |
//! | `R0016` | a call of the left side is not connected to the others |
//! | `R0017` | a fusion's body does not make a rule |

mod exprs;
mod left;
mod plan;
mod right;

pub(crate) use plan::{bound_after, plan, plan_from};

use super::expr::{Expr, Mention};
use super::syntax::{CallText, InputText, RuleText, Span};
use super::vocabulary::Sort;
use super::{
    Condition, Example, Pattern, PatternCall, Rule, Template, TemplateInput, TemplateStep, Var, VarArity, Variable,
};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind as Failure, did_you_mean};
use eutectic_ir::model::Function;
use eutectic_ir::op::Arity;
use eutectic_ir::{Name, Op, ops};
use std::sync::Arc;

/// Gives `text` its meaning. `functions` are the operators beside the table; `source` is the whole file.
///
/// Errors: every problem found.
pub fn check(text: &RuleText, file: &str, source: &str, functions: &[Arc<Function>]) -> Result<Rule, Diagnostics> {
    let mut checker = Checker { functions, problems: Diagnostics::default(), variables: Vec::new(), calls: Vec::new() };
    let rule = checker.rule(text, file, source);
    let name = format!("rule `{}`", text.name.name);
    let locate = |problem: Diagnostic| problem.within(name.as_str()).in_file(file);
    if checker.problems.has_errors() {
        return Err(Diagnostics(checker.problems.0.into_iter().map(locate).collect()));
    }
    Ok(rule)
}

struct Checker<'a> {
    functions: &'a [Arc<Function>],
    problems: Diagnostics,
    variables: Vec<Variable>,
    calls: Vec<PatternCall>,
}

impl Checker<'_> {
    fn rule(&mut self, text: &RuleText, file: &str, source: &str) -> Rule {
        if text.doc.trim().is_empty() {
            self.report("R0003", "the rule has no equation above it", &text.name.span, Some("write it in `///` lines"));
        }
        for call in &text.left {
            self.left_call(call);
        }
        if text.left.is_empty() {
            self.report("R0010", "the left side has no call", &text.name.span, None);
        }
        let mut conditions = Vec::new();
        for condition in &text.conditions {
            if let Some((expr, sort)) = self.expr(condition) {
                if !sort.fits(Sort::Bool) {
                    self.report("R0012", "a condition is a truth value", &condition.span, None);
                }
                let text = source.get(condition.span.clone()).unwrap_or_default();
                conditions.extend(self.each(expr, text));
            }
        }
        let (right, roots) = self.right(text);
        let examples = self.examples(text);
        self.account(text, &conditions, &right);
        let (plan, unconnected) = plan(&self.calls, &roots);
        if let Some(at) = unconnected {
            let span = self.calls[at].span.clone();
            self.report("R0016", "this call shares no value with the calls before", &span, None);
        }
        for condition in &mut conditions {
            condition.after = bound_after(&condition.expr, &self.calls, &plan);
        }
        Rule {
            name: text.name.name.clone(),
            doc: text.doc.clone(),
            contract: text.contract,
            file: file.into(),
            line: text.line,
            span: text.span.clone(),
            variables: std::mem::take(&mut self.variables),
            left: Pattern { calls: std::mem::take(&mut self.calls), plan },
            conditions,
            right,
            roots,
            examples,
            fusion: None,
        }
    }

    /// What is said of several values is said of each, so that matching stops at the first one that it is not true of.
    fn each(&self, expr: Expr, text: &str) -> Vec<Condition> {
        let (function, args) = match expr {
            Expr::Apply(function, args)
                if function.is_variadic && function.args == [Sort::Tensor] && args.len() > 1 =>
            {
                (function, args)
            }
            expr => return vec![Condition { expr, text: text.to_owned(), after: 0 }],
        };
        let one = |arg: Expr| {
            let name = match &arg {
                Expr::Var(var) => self.variables[var.index()].name.as_str(),
                _ => text,
            };
            let text = format!("{} ({name})", function.name);
            Condition { expr: Expr::Apply(function, vec![arg]), text, after: 0 }
        };
        args.into_iter().map(one).collect()
    }

    fn report(&mut self, code: &'static str, message: impl Into<String>, span: &Span, help: Option<&str>) {
        let problem = Diagnostic::error(Failure::Invalid, code, message).at_span(span.clone());
        self.problems.push(match help {
            Some(help) => problem.help(help),
            None => problem,
        });
    }

    fn no_variable(&mut self, name: &str, span: &Span) {
        // Names of nested calls cannot be written.
        let written =
            self.variables.iter().map(|variable| variable.name.as_str()).filter(|name| !name.starts_with('%'));
        let meant = did_you_mean(name, written);
        self.report("R0007", format!("there is no variable `{name}`{meant}"), span, None);
    }

    // The right side may define a name anew: the later variable hides the earlier one.
    fn lookup(&self, name: &str) -> Option<Var> {
        let at = self.variables.iter().rposition(|variable| variable.name == name)?;
        Some(Var(at as u16))
    }

    fn declare(&mut self, name: impl Into<Name>, arity: VarArity, is_left: bool) -> Var {
        self.variables.push(Variable { name: name.into(), arity, is_left });
        Var((self.variables.len() - 1) as u16)
    }

    fn fresh(&mut self, is_left: bool) -> Var {
        self.declare(format!("%{}", self.variables.len()), VarArity::One, is_left)
    }

    fn op(&mut self, text: &CallText) -> Option<Op> {
        let domain = text.domain.as_ref().map_or("", |domain| domain.name.as_str());
        if let Some(def) = ops::lookup(domain, &text.op.name) {
            return Some(Op::Builtin(def));
        }
        let named = |function: &&Arc<Function>| function.domain == domain && function.name == text.op.name;
        if let Some(function) = self.functions.iter().find(named) {
            return Some(Op::Function(Arc::clone(function)));
        }
        let separator = if domain.is_empty() { "" } else { "." };
        let builtin = ops::all().filter(|def| def.domain == domain).map(|def| def.name);
        let functions = self.functions.iter().filter(|function| function.domain == domain);
        let known = builtin.chain(functions.map(|function| function.name.as_str()));
        let meant = did_you_mean(&text.op.name, known);
        let message = format!("there is no operator `{domain}{separator}{}`{meant}", text.op.name);
        self.report("R0004", message, &text.op.span, Some("`eutectic ops` lists what there is"));
        None
    }

    fn check_arity(&mut self, op: &Op, text: &CallText, n_outputs: usize) {
        let n_inputs = text.inputs.len();
        let has_rest = text.inputs.iter().any(|input| matches!(input, InputText::Rest(_)));
        let (least, most, outputs) = match op {
            Op::Builtin(def) => {
                let required = def.inputs.iter().take_while(|param| param.arity != Arity::Optional).count();
                let variadic = def.inputs.last().is_some_and(|last| last.arity == Arity::Variadic);
                let results = def.outputs.last().is_some_and(|last| last.arity == Arity::Variadic);
                let inputs = if variadic { usize::MAX } else { def.inputs.len() };
                (required, inputs, if results { usize::MAX } else { def.outputs.len() })
            }
            Op::Function(function) => {
                let n = function.body.inputs().len();
                (n, n, function.body.outputs().len())
            }
            Op::Opaque(_) => return,
        };
        let least = if has_rest { least.saturating_sub(1) } else { least };
        if n_inputs < least || n_inputs > most {
            let range = if least == most { format!("{least}") } else { format!("{least} or more") };
            self.report("R0013", format!("`{op}` takes {range} inputs, found {n_inputs}"), &text.span, None);
        }
        if n_outputs > outputs {
            self.report("R0013", format!("`{op}` has {outputs} outputs, found {n_outputs}"), &text.span, None);
        }
    }

    fn examples(&mut self, text: &RuleText) -> Vec<Vec<Example>> {
        let mut examples = Vec::new();
        for hints in &text.examples {
            let mut example = Vec::new();
            for (name, text) in hints {
                if !self.is_leaf_or_attr(name) {
                    let message = format!("`{name}` is no input of the left side and no `label.attr`");
                    self.report("R0007", message, &text.span, None);
                }
                let Some((expr, _)) = self.expr(text) else { continue };
                match expr.evaluate(&exprs::Nothing) {
                    Ok(value) => example.push(Example { name: name.clone(), value }),
                    Err(reason) => self.report("R0012", reason.to_string(), &text.span, None),
                }
            }
            examples.push(example);
        }
        examples
    }

    fn is_leaf_or_attr(&self, name: &str) -> bool {
        if let Some((label, _)) = name.split_once('.') {
            return self.calls.iter().any(|call| call.label.as_deref() == Some(label));
        }
        let Some(at) = self.variables.iter().position(|variable| variable.is_left && variable.name == name) else {
            return false;
        };
        !self.calls.iter().any(|call| call.outputs.contains(&Some(Var(at as u16))))
    }

    fn account(&mut self, text: &RuleText, conditions: &[Condition], right: &Template) {
        let mut mentioned: Vec<(usize, Name)> = Vec::new();
        let mut visit = |mention: Mention| {
            if let Mention::Attr(call, name) = mention {
                mentioned.push((call, name.clone()));
            }
        };
        conditions.iter().for_each(|condition| condition.expr.each_mention(&mut visit));
        let mut copied = Vec::new();
        for step in &right.steps {
            let inputs = match step {
                TemplateStep::Alias(_, input) => std::slice::from_ref(input),
                TemplateStep::Call(call) => {
                    copied.extend(call.copies);
                    call.attrs.iter().for_each(|(_, _, expr)| expr.each_mention(&mut visit));
                    call.inputs.as_slice()
                }
            };
            for input in inputs {
                if let TemplateInput::Constant(expr) = input {
                    expr.each_mention(&mut visit);
                }
            }
        }
        for (label, attr) in &text.unused {
            if let Some(call) = self.label(label) {
                let op = self.calls[call].op.clone();
                self.attr_kind(&op, attr);
                mentioned.push((call, attr.name.clone()));
            }
        }
        for at in 0..self.calls.len() {
            let call = &self.calls[at];
            let (span, label) = (call.span.clone(), call.label.clone());
            let missing: Vec<Name> = attr_names(&call.op)
                .into_iter()
                .filter(|name| !copied.contains(&at) && !mentioned.contains(&(at, name.clone())))
                .filter(|name| !call.attrs.iter().any(|(given, _)| given == name))
                .collect();
            if !missing.is_empty() {
                let label = label.unwrap_or_else(|| "label".into());
                let message = format!("attributes of `{}` are not accounted for: {}", call.op, missing.join(", "));
                let help = format!(
                    "give a literal, a condition, `..{label}` on the right, or `unused {label}.{}`",
                    missing[0]
                );
                self.report("R0009", message, &span, Some(&help));
            }
        }
    }
}

fn attr_names(op: &Op) -> Vec<Name> {
    match op {
        Op::Builtin(def) => def.attrs.iter().map(|attr| attr.name.into()).collect(),
        Op::Function(function) => function.attrs.iter().map(|formal| formal.name.clone()).collect(),
        Op::Opaque(_) => Vec::new(),
    }
}
