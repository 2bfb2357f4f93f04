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

use super::expr::{Expr, Mention, Value};
use super::syntax::{AttrText, CallText, ExprKind, ExprText, InputText, RuleText, Span, Spanned, StepText};
use super::vocabulary::{self, Sort};
use super::{
    Condition, Example, Known, Pattern, PatternCall, PatternInput, PlanStep, Rule, Template, TemplateCall,
    TemplateInput, TemplateStep, Var, VarArity, Variable, Via,
};
use eutectic_ir::attr::{Attr, AttrKind};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind as Failure};
use eutectic_ir::model::Function;
use eutectic_ir::op::Arity;
use eutectic_ir::types::Element;
use eutectic_ir::{Dim, Name, Op, Reason, TensorType, ops};
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
                let text = source.get(condition.span.clone()).unwrap_or_default().to_owned();
                conditions.push(Condition { expr, text, after: 0 });
            }
        }
        let (right, roots) = self.right(text);
        let examples = self.examples(text);
        self.account(text, &conditions, &right);
        let plan = self.plan(&roots);
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

    fn report(&mut self, code: &'static str, message: impl Into<String>, span: &Span, help: Option<&str>) {
        let problem = Diagnostic::error(Failure::Invalid, code, message).at_span(span.clone());
        self.problems.push(match help {
            Some(help) => problem.help(help),
            None => problem,
        });
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
        let message = format!("there is no operator `{domain}{separator}{}`", text.op.name);
        self.report("R0004", message, &text.op.span, Some("`eutectic ops` lists what there is"));
        None
    }

    fn left_call(&mut self, text: &CallText) -> Option<usize> {
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

    fn attr_kind(&mut self, op: &Op, name: &Spanned) -> Option<Option<AttrKind>> {
        let kind = match op {
            Op::Builtin(def) => def.attr(&name.name).map(|attr| Some(attr.kind)),
            Op::Function(function) => {
                function.attrs.iter().find(|formal| formal.name == name.name).map(|formal| formal.kind)
            }
            Op::Opaque(_) => Some(None),
        };
        if kind.is_none() {
            self.report("R0005", format!("`{op}` has no attribute `{}`", name.name), &name.span, None);
        }
        kind
    }

    fn literal(&mut self, text: &ExprText, kind: Option<AttrKind>) -> Option<Attr> {
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

    fn label(&mut self, label: &Spanned) -> Option<usize> {
        let found = self.calls.iter().position(|call| call.label.as_ref() == Some(&label.name));
        if found.is_none() {
            self.report("R0008", format!("no call of the left side has the label `{}`", label.name), &label.span, None);
        }
        found
    }

    fn expr(&mut self, text: &ExprText) -> Option<(Expr, Sort)> {
        Some(match &text.kind {
            ExprKind::Int(value) => (Expr::Literal(Value::int(*value)), Sort::Int),
            ExprKind::Real(value) => (Expr::Literal(Value::Real(*value, Element::Double)), Sort::Real),
            ExprKind::Text(value) => (Expr::Literal(Value::Text(value.clone())), Sort::Text),
            ExprKind::Name(name) => match (self.lookup(name), Element::from_text(name)) {
                (Some(var), _) => (Expr::Var(var), Sort::Tensor),
                (None, Some(element)) => (Expr::Literal(Value::Element(element)), Sort::Element),
                (None, None) => {
                    self.report("R0007", format!("there is no variable `{name}`"), &text.span, None);
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
                (Expr::Binary(super::expr::Binary::Sub, Box::new(Expr::Literal(Value::int(0))), Box::new(inner)), sort)
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

    fn binary_sort(&mut self, operator: super::expr::Binary, a: Sort, b: Sort, span: &Span) -> Sort {
        use super::expr::Binary;
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
            self.report("R0006", format!("there is no function `{name}`"), span, Some(help));
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

    fn right(&mut self, text: &RuleText) -> (Template, Vec<(Var, Var)>) {
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
            self.report("R0007", format!("there is no variable `{}`", name.name), &name.span, None);
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

    fn examples(&mut self, text: &RuleText) -> Vec<Example> {
        let mut examples = Vec::new();
        for (name, expr) in &text.examples {
            if let Some((checked, _)) = self.expr(expr) {
                examples.push(Example { name: name.clone(), expr: checked });
            }
        }
        examples
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

    // From the first root on, each next call is one that defines a bound variable, or else one that reads one.
    fn plan(&mut self, roots: &[(Var, Var)]) -> Vec<PlanStep> {
        let defines = |call: &PatternCall, var: Var| call.outputs.contains(&Some(var));
        let Some(first) = roots.first().and_then(|(root, _)| self.calls.iter().position(|call| defines(call, *root)))
        else {
            return Vec::new();
        };
        let mut plan = vec![PlanStep { call: first, via: Via::Anywhere }];
        while plan.len() < self.calls.len() {
            let bound: Vec<Var> = plan.iter().flat_map(|step| call_vars(&self.calls[step.call])).collect();
            let left = |at: &usize| !plan.iter().any(|step| step.call == *at);
            let candidates: Vec<usize> = (0..self.calls.len()).filter(left).collect();
            let definition = candidates.iter().rev().find_map(|&at| {
                let output =
                    self.calls[at].outputs.iter().position(|var| var.is_some_and(|var| bound.contains(&var)))?;
                let var = self.calls[at].outputs[output]?;
                Some(PlanStep { call: at, via: Via::Definition(var, output) })
            });
            let reader = || {
                candidates.iter().find_map(|&at| {
                    let mut inputs = self.calls[at].inputs.iter().filter_map(|input| match input {
                        PatternInput::Var(var) => Some(*var),
                        _ => None,
                    });
                    let var = inputs.find(|var| bound.contains(var))?;
                    Some(PlanStep { call: at, via: Via::Reader(var) })
                })
            };
            match definition.or_else(reader) {
                Some(step) => plan.push(step),
                None => {
                    let span = self.calls[candidates[0]].span.clone();
                    self.report("R0016", "this call shares no value with the calls before", &span, None);
                    break;
                }
            }
        }
        plan
    }
}

fn call_vars(call: &PatternCall) -> impl Iterator<Item = Var> + '_ {
    call.inputs.iter().filter_map(|input| input_var(*input)).chain(call.outputs.iter().flatten().copied())
}

fn input_var(input: PatternInput) -> Option<Var> {
    match input {
        PatternInput::Var(var) | PatternInput::Optional(var) | PatternInput::Rest(var) => Some(var),
        PatternInput::Absent | PatternInput::Scalar(_) => None,
    }
}

fn template_var(input: &TemplateInput) -> Option<Var> {
    match input {
        TemplateInput::Var(var) => Some(*var),
        _ => None,
    }
}

fn attr_names(op: &Op) -> Vec<Name> {
    match op {
        Op::Builtin(def) => def.attrs.iter().map(|attr| attr.name.into()).collect(),
        Op::Function(function) => function.attrs.iter().map(|formal| formal.name.clone()).collect(),
        Op::Opaque(_) => Vec::new(),
    }
}

/// After which step of `plan` everything that `expr` mentions is bound.
pub(super) fn bound_after(expr: &Expr, calls: &[PatternCall], plan: &[PlanStep]) -> usize {
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

/// What literals know: nothing.
struct Nothing;

impl Known for Nothing {
    fn ty(&self, _: Var) -> Result<&TensorType, Reason> {
        Err(Reason::new("only literals are known here"))
    }
    fn is_constant(&self, _: Var) -> bool {
        false
    }
    fn scalar(&self, _: Var) -> Option<f64> {
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
    fn attr(&self, _: usize, _: &str) -> Option<&Attr> {
        None
    }
}
