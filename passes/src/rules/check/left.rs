//! Checks the left side: calls and the variables that join them.

use super::Checker;
use crate::rules::syntax::{AttrText, CallText, ExprKind, InputText, Spanned};
use crate::rules::{PatternCall, PatternInput, Var, VarArity};

impl Checker<'_> {
    pub(super) fn left_call(&mut self, text: &CallText) -> Option<usize> {
        let op = self.op(text);
        let mut attrs = Vec::new();
        for attr in &text.attrs {
            match attr {
                AttrText::Copy(label) => {
                    self.report("R0008", "a record is copied on the right side alone", &label.span, None);
                }
                AttrText::Set(name, value) => {
                    let kind = op.as_ref().and_then(|op| self.attr_kind(op, name))?;
                    if let Some(attr) = self.literal(value, kind) {
                        attrs.push((name.name.clone(), attr));
                    }
                }
            }
        }
        let mut inputs = Vec::new();
        for (at, input) in text.inputs.iter().enumerate() {
            if matches!(input, InputText::Rest(_)) && at + 1 != text.inputs.len() {
                self.report("R0013", "`..` stands last", &text.span, None);
            }
            inputs.push(self.left_input(input));
        }
        let mut outputs = Vec::new();
        for output in &text.outputs {
            outputs.push(output.as_ref().map(|name| self.define_left(name)));
        }
        let op = op?;
        self.check_arity(&op, text, outputs.len().max(1));
        let label = text.label.as_ref().map(|label| label.name.clone());
        if let Some(label) = &text.label
            && self.calls.iter().any(|call| call.label.as_ref() == Some(&label.name))
        {
            self.report("R0014", format!("two calls have the label `{}`", label.name), &label.span, None);
        }
        self.calls.push(PatternCall { op, label, attrs, inputs, outputs, span: text.span.clone() });
        Some(self.calls.len() - 1)
    }

    fn define_left(&mut self, name: &Spanned) -> Var {
        match self.lookup(&name.name) {
            Some(var) if self.calls.iter().any(|call| call.outputs.contains(&Some(var))) => {
                self.report("R0014", format!("`{}` is defined twice", name.name), &name.span, None);
                var
            }
            Some(var) => var,
            None => self.declare(name.name.clone(), VarArity::One, true),
        }
    }

    fn left_input(&mut self, input: &InputText) -> PatternInput {
        match input {
            InputText::Absent(_) => PatternInput::Absent,
            InputText::Call(call) => {
                let at = self.left_call(call);
                let var = self.fresh(true);
                if let Some(at) = at {
                    self.calls[at].outputs = vec![Some(var)];
                }
                PatternInput::Var(var)
            }
            InputText::Optional(name) => PatternInput::Optional(self.left_variable(name, VarArity::Optional)),
            InputText::Rest(name) => PatternInput::Rest(self.left_variable(name, VarArity::Rest)),
            InputText::Expr(expr) => match &expr.kind {
                ExprKind::Name(name) => {
                    let name = Spanned { name: name.clone(), span: expr.span.clone() };
                    PatternInput::Var(self.left_variable(&name, VarArity::One))
                }
                ExprKind::Int(value) => PatternInput::Scalar(*value as f64),
                ExprKind::Real(value) => PatternInput::Scalar(*value),
                _ => {
                    let help = "put a condition on a variable instead: `where ints (s) == [1, 2]`";
                    self.report(
                        "R0012",
                        "an input of the left side is a variable, a call or a number",
                        &expr.span,
                        Some(help),
                    );
                    PatternInput::Absent
                }
            },
        }
    }

    fn left_variable(&mut self, name: &Spanned, arity: VarArity) -> Var {
        let Some(var) = self.lookup(&name.name) else { return self.declare(name.name.clone(), arity, true) };
        let known = &mut self.variables[var.index()];
        match (known.arity, arity) {
            (VarArity::Optional, VarArity::One) | (VarArity::One, VarArity::Optional) => known.arity = VarArity::One,
            (a, b) if a != b => {
                self.report("R0012", format!("`{}` is one value and several", name.name), &name.span, None);
            }
            _ => {}
        }
        var
    }
}
