//! Gives expressions their meaning and their kinds.

use super::Checker;
use crate::rules::Var;
use crate::rules::expr::{Binary, Expr, Known, Value};
use crate::rules::syntax::{ExprKind, ExprText, Span, Spanned};
use crate::rules::vocabulary::{self, Sort, VOCABULARY};
use eutectic_ir::attr::{Attr, AttrKind};
use eutectic_ir::diag::did_you_mean;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::Element;
use eutectic_ir::{Dim, Name, Op, Reason, TensorType};

impl Checker<'_> {
    pub(super) fn attr_kind(&mut self, op: &Op, name: &Spanned) -> Option<Option<AttrKind>> {
        let kind = match op {
            Op::Builtin(def) => def.attr(&name.name).map(|attr| Some(attr.kind)),
            Op::Function(function) => {
                function.attrs.iter().find(|formal| formal.name == name.name).map(|formal| formal.kind)
            }
            Op::Opaque(_) => Some(None),
        };
        if kind.is_none() {
            let known: Vec<&str> = match op {
                Op::Builtin(def) => def.attrs.iter().map(|attr| attr.name).collect(),
                Op::Function(function) => function.attrs.iter().map(|formal| formal.name.as_str()).collect(),
                Op::Opaque(_) => Vec::new(),
            };
            let meant = did_you_mean(&name.name, known);
            self.report("R0005", format!("`{op}` has no attribute `{}`{meant}", name.name), &name.span, None);
        }
        kind
    }

    pub(super) fn literal(&mut self, text: &ExprText, kind: Option<AttrKind>) -> Option<Attr> {
        let (expr, _) = self.expr(text)?;
        let value = expr.evaluate(&Nothing);
        let attr = value.and_then(|value| value.to_attr(kind.unwrap_or(AttrKind::Int)));
        match attr {
            Ok(Some(attr)) => Some(attr),
            Ok(None) => None,
            Err(reason) => {
                self.report(
                    "R0012",
                    reason.to_string(),
                    &text.span,
                    Some("the left side takes literals; use `where` for more"),
                );
                None
            }
        }
    }

    pub(super) fn label(&mut self, label: &Spanned) -> Option<usize> {
        let found = self.calls.iter().position(|call| call.label.as_ref() == Some(&label.name));
        if found.is_none() {
            self.report("R0008", format!("no call of the left side has the label `{}`", label.name), &label.span, None);
        }
        found
    }

    pub(super) fn expr(&mut self, text: &ExprText) -> Option<(Expr, Sort)> {
        Some(match &text.kind {
            ExprKind::Int(value) => (Expr::Literal(Value::int(*value)), Sort::Int),
            ExprKind::Real(value) => (Expr::Literal(Value::Real(*value, Element::Float)), Sort::Real),
            ExprKind::Text(value) => (Expr::Literal(Value::Text(value.clone())), Sort::Text),
            ExprKind::Name(name) => match (self.lookup(name), Element::from_text(name)) {
                (Some(var), _) => (Expr::Var(var), Sort::Tensor),
                (None, Some(element)) => (Expr::Literal(Value::Element(element)), Sort::Element),
                (None, None) => {
                    self.no_variable(name, &text.span);
                    return None;
                }
            },
            ExprKind::Member(label, attr) => {
                let call = self.label(label)?;
                let op = self.calls[call].op.clone();
                let sort = match self.attr_kind(&op, attr)? {
                    Some(AttrKind::Int) => Sort::Int,
                    Some(AttrKind::Float) => Sort::Real,
                    Some(AttrKind::String) => Sort::Text,
                    Some(AttrKind::Ints | AttrKind::Floats | AttrKind::Strings) => Sort::List,
                    _ => Sort::Any,
                };
                (Expr::Attr(call, attr.name.clone()), sort)
            }
            ExprKind::List(items) => {
                let items: Option<Vec<Expr>> = items.iter().map(|item| Some(self.expr(item)?.0)).collect();
                (Expr::List(items?), Sort::List)
            }
            ExprKind::Negate(inner) => {
                let (inner, sort) = self.expr(inner)?;
                (Expr::Binary(Binary::Sub, Box::new(Expr::Literal(Value::int(0))), Box::new(inner)), sort)
            }
            ExprKind::Binary(operator, a, b) => {
                let (a, b) = (self.expr(a), self.expr(b));
                let ((a, left), (b, right)) = (a?, b?);
                let sort = self.binary_sort(*operator, left, right, &text.span);
                (Expr::Binary(*operator, Box::new(a), Box::new(b)), sort)
            }
            ExprKind::Apply(name, args) => return self.apply(name, args, &text.span),
        })
    }

    fn binary_sort(&mut self, operator: Binary, a: Sort, b: Sort, span: &Span) -> Sort {
        let number = |sort: Sort| matches!(sort, Sort::Int | Sort::Real | Sort::Any);
        match operator {
            Binary::Eq | Binary::Ne => {
                if !a.fits(b) && !b.fits(a) {
                    self.report("R0012", format!("{a:?} and {b:?} are never equal"), span, None);
                }
                Sort::Bool
            }
            _ if !number(a) || !number(b) => {
                let found = if number(a) { b } else { a };
                self.report("R0012", format!("a number is expected, found {found:?}"), span, None);
                Sort::Any
            }
            Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge | Binary::Near => Sort::Bool,
            _ if a == Sort::Int && b == Sort::Int => Sort::Int,
            _ if a == Sort::Any || b == Sort::Any => Sort::Any,
            _ => Sort::Real,
        }
    }

    fn apply(&mut self, name: &Name, args: &[ExprText], span: &Span) -> Option<(Expr, Sort)> {
        let Some(function) = vocabulary::lookup(name) else {
            let help = "the vocabulary is listed by `eutectic rules list --vocabulary`";
            let meant = did_you_mean(name, VOCABULARY.iter().map(|function| function.name));
            self.report("R0006", format!("there is no function `{name}`{meant}"), span, Some(help));
            return None;
        };
        let wanted = function.args.len();
        if args.len() < wanted || (args.len() > wanted && !function.is_variadic) {
            self.report("R0013", format!("`{name}` takes {wanted} arguments, found {}", args.len()), span, None);
            return None;
        }
        let mut checked = Vec::new();
        for (at, arg) in args.iter().enumerate() {
            let (expr, sort) = self.expr(arg)?;
            let sort_wanted = function.args[at.min(wanted - 1)];
            if !sort.fits(sort_wanted) {
                self.report("R0012", format!("`{name}` expects {sort_wanted:?} here, found {sort:?}"), &arg.span, None);
            }
            checked.push(expr);
        }
        Some((Expr::Apply(function, checked), function.result))
    }
}

/// What literals know: nothing.
pub(super) struct Nothing;

impl Known for Nothing {
    fn ty(&self, _: Var) -> Result<&TensorType, Reason> {
        Err(Reason::new("only literals are known here"))
    }
    fn is_constant(&self, _: Var) -> bool {
        false
    }
    fn weight(&self, _: Var) -> Option<&Tensor> {
        None
    }
    fn scalar(&self, _: Var) -> Option<f64> {
        None
    }
    fn splat(&self, _: Var) -> Option<f64> {
        None
    }
    fn content(&self, _: Var) -> Option<Vec<Dim>> {
        None
    }
    fn n_values(&self, _: Var) -> usize {
        1
    }
    fn same(&self, _: Var, _: Var) -> bool {
        false
    }
    fn precedes(&self, _: Var, _: Var) -> bool {
        false
    }
    fn attr(&self, _: usize, _: &str) -> Option<&Attr> {
        None
    }
}
