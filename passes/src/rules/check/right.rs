//! Checks the right side: what it builds, and what it stands for.

use super::plan::input_var;
use super::{Checker, attr_names};
use crate::rules::expr::Expr;
use crate::rules::syntax::{AttrText, CallText, ExprKind, InputText, RuleText, Span, Spanned, StepText};
use crate::rules::vocabulary::Sort;
use crate::rules::{PatternCall, Template, TemplateCall, TemplateInput, TemplateStep, Var, VarArity};
use eutectic_ir::attr::AttrKind;
use eutectic_ir::types::Element;
use eutectic_ir::{Name, Op};

impl Checker<'_> {
    pub(super) fn right(&mut self, text: &RuleText) -> (Template, Vec<(Var, Var)>) {
        let n_left = self.variables.len();
        let mut steps = Vec::new();
        for step in &text.right {
            match step {
                StepText::Call(call) => {
                    self.right_call(call, &mut steps);
                }
                StepText::Alias(name, input) => {
                    if let Some(input) = self.right_input(input, &mut steps) {
                        let var = self.define_right(name, n_left);
                        steps.push(TemplateStep::Alias(var, input));
                    }
                }
            }
        }
        let roots = self.roots(text, n_left);
        self.check_use(text, &steps, &roots, n_left);
        (Template { steps }, roots)
    }

    fn right_call(&mut self, text: &CallText, steps: &mut Vec<TemplateStep>) -> Option<Var> {
        let n_left = self.variables.iter().filter(|variable| variable.is_left).count();
        let op = self.op(text)?;
        let mut copies = None;
        let mut attrs = Vec::new();
        for attr in &text.attrs {
            match attr {
                AttrText::Copy(label) => copies = self.label(label),
                AttrText::Set(name, value) => {
                    let kind = self.attr_kind(&op, name)?;
                    let (expr, _) = self.expr(value)?;
                    attrs.push((name.name.clone(), kind, expr));
                }
            }
        }
        if let Some(source) = copies {
            self.check_copy(source, &op, &attrs, &text.span);
        }
        self.check_required(&op, copies, &attrs, &text.span);
        let mut inputs = Vec::new();
        for input in &text.inputs {
            inputs.push(self.right_input(input, steps)?);
        }
        self.check_arity(&op, text, text.outputs.len().max(1));
        let (outputs, result) = if text.outputs.is_empty() {
            let var = self.fresh(false);
            (vec![Some(var)], Some(var))
        } else {
            let mut define = |name: &Option<Spanned>| name.as_ref().map(|name| self.define_right(name, n_left));
            (text.outputs.iter().map(&mut define).collect(), None)
        };
        steps.push(TemplateStep::Call(TemplateCall { op, copies, attrs, inputs, outputs }));
        result
    }

    fn check_copy(&mut self, source: usize, op: &Op, attrs: &[(Name, Option<AttrKind>, Expr)], span: &Span) {
        let target = attr_names(op);
        for name in attr_names(&self.calls[source].op) {
            if !target.contains(&name) && !attrs.iter().any(|(set, ..)| *set == name) {
                let message = format!("`{op}` has no attribute `{name}`, which the copied record has");
                self.report("R0005", message, span, None);
            }
        }
    }

    fn check_required(
        &mut self,
        op: &Op,
        copies: Option<usize>,
        attrs: &[(Name, Option<AttrKind>, Expr)],
        span: &Span,
    ) {
        let Op::Builtin(def) = op else { return };
        for attr in def.attrs {
            let is_copied =
                copies.is_some_and(|at| attr_names(&self.calls[at].op).iter().any(|name| name == attr.name));
            let is_required = matches!(attr.default, eutectic_ir::op::Default::Required);
            if is_required && !is_copied && !attrs.iter().any(|(set, ..)| set == attr.name) {
                self.report("R0005", format!("`{op}` needs the attribute `{}`", attr.name), span, None);
            }
        }
    }

    fn define_right(&mut self, name: &Spanned, n_left: usize) -> Var {
        if self.variables[n_left..].iter().any(|variable| variable.name == name.name) {
            self.report("R0014", format!("`{}` is defined twice", name.name), &name.span, None);
        }
        self.declare(name.name.clone(), VarArity::One, false)
    }

    fn right_input(&mut self, input: &InputText, steps: &mut Vec<TemplateStep>) -> Option<TemplateInput> {
        Some(match input {
            InputText::Absent(_) => TemplateInput::Absent,
            InputText::Call(call) => TemplateInput::Var(self.right_call(call, steps)?),
            InputText::Optional(name) | InputText::Rest(name) => TemplateInput::Var(self.read(name)?),
            InputText::Expr(expr) => match &expr.kind {
                ExprKind::Name(name) if Element::from_text(name).is_none() || self.lookup(name).is_some() => {
                    TemplateInput::Var(self.read(&Spanned { name: name.clone(), span: expr.span.clone() })?)
                }
                _ => {
                    let (checked, sort) = self.expr(expr)?;
                    if !matches!(sort, Sort::Int | Sort::Real | Sort::List | Sort::Any) {
                        self.report("R0012", format!("{sort:?} does not make a constant"), &expr.span, None);
                    }
                    TemplateInput::Constant(checked)
                }
            },
        })
    }

    fn read(&mut self, name: &Spanned) -> Option<Var> {
        let found = self.lookup(&name.name);
        if found.is_none() {
            self.no_variable(&name.name, &name.span);
        }
        found
    }

    fn roots(&mut self, text: &RuleText, n_left: usize) -> Vec<(Var, Var)> {
        let mut roots = Vec::new();
        for (at, variable) in self.variables.iter().enumerate().skip(n_left) {
            let Some(left) = self.variables[..n_left].iter().position(|known| known.name == variable.name) else {
                continue;
            };
            roots.push((Var(left as u16), Var(at as u16)));
        }
        let is_read = |var: Var| {
            let reads = |call: &PatternCall| call.inputs.iter().any(|input| input_var(*input) == Some(var));
            self.calls.iter().any(reads)
        };
        if self.problems.has_errors() {
            // A line with a mistake defines nothing, and that is no second mistake.
            return roots;
        }
        let mut lost: Vec<String> = Vec::new();
        for call in &self.calls {
            let outputs: Vec<Var> = call.outputs.iter().flatten().copied().collect();
            let is_root = |var: &Var| roots.iter().any(|(left, _)| left == var);
            if !outputs.iter().any(|var| is_read(*var) || is_root(var)) {
                lost.push(outputs.iter().map(|var| format!("`{}`", self.variables[var.index()].name)).collect());
            }
        }
        let inputs: Vec<String> = roots
            .iter()
            .filter(|(left, _)| !self.calls.iter().any(|call| call.outputs.contains(&Some(*left))))
            .map(|(left, _)| format!("`{}`", self.variables[left.index()].name))
            .collect();
        for name in lost {
            let help = "define it on the right side";
            self.report("R0010", format!("{name} is neither read nor defined anew"), &text.name.span, Some(help));
        }
        for name in inputs {
            self.report("R0014", format!("{name} is an input of the left side"), &text.name.span, None);
        }
        if roots.is_empty() {
            self.report("R0010", "the right side defines no result of the left", &text.name.span, None);
        }
        roots
    }

    fn check_use(&mut self, text: &RuleText, steps: &[TemplateStep], roots: &[(Var, Var)], n_left: usize) {
        let mut read: Vec<Var> = roots.iter().map(|(_, right)| *right).collect();
        let mut built: Vec<Vec<Var>> = Vec::new();
        for step in steps {
            match step {
                TemplateStep::Alias(var, input) => {
                    read.extend(template_var(input));
                    built.push(vec![*var]);
                }
                TemplateStep::Call(call) => {
                    read.extend(call.inputs.iter().filter_map(template_var));
                    built.push(call.outputs.iter().flatten().copied().collect());
                }
            }
        }
        for (left, _) in roots {
            if read.contains(left) {
                let name = self.variables[left.index()].name.clone();
                let help = "let the left side name what it is computed from";
                self.report(
                    "R0011",
                    format!("the right side reads `{name}`, which it replaces"),
                    &text.name.span,
                    Some(help),
                );
            }
        }
        for outputs in built {
            if outputs.iter().all(|var| var.index() >= n_left && !read.contains(var)) {
                let names: Vec<&str> = outputs.iter().map(|var| self.variables[var.index()].name.as_str()).collect();
                let message = format!("nobody reads `{}`", names.join(", "));
                self.report("R0015", message, &text.name.span, None);
            }
        }
    }
}

fn template_var(input: &TemplateInput) -> Option<Var> {
    match input {
        TemplateInput::Var(var) => Some(*var),
        _ => None,
    }
}
