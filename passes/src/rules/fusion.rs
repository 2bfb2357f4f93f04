//! A fused operator is a function with a body; the body is also its rules.
//!
//! From `ConvRelu (x, w, b) => (y) { c = Conv <..> (x, w, b) y = Relu (c) }` follow the rule that recognises the body
//! and makes a call of it, named `ConvRelu`, and the rule that expands a call into the body, named `ConvRelu_expand`.
//! Weights of one element in the body are matched by value; larger ones make no rule. Bodies use the canonical form.

use super::expr::{Binary, Expr, Value};
use super::{
    Condition, Contract, Direction, Pattern, PatternCall, PatternInput, Rule, Template, TemplateCall, TemplateInput,
    TemplateStep, Var, VarArity, Variable, check,
};
use crate::target::FUSION_DOMAIN;
use eutectic_ir::attr::{Attr, AttrKind};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind as Failure, did_you_mean};
use eutectic_ir::graph::{Graph, Node, ValueId};
use eutectic_ir::model::Function;
use eutectic_ir::types::Element;
use eutectic_ir::{Name, Op, Tensor, ops, walk};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The functions of a file in ONNX's textual syntax, each with its place. `#` lines at the top of the file are its documentation.
pub fn parse(file: &str, source: &str) -> Result<Vec<Arc<Function>>, Diagnostics> {
    let locate =
        |problems: Diagnostics| Diagnostics(problems.0.into_iter().map(|problem| problem.in_file(file)).collect());
    let (functions, _) = eutectic_ir::text::parse_functions(source).map_err(locate)?;
    Ok(functions)
}

/// The rules that follow from `function`: recognise, expand.
pub fn rules(function: &Arc<Function>, file: &str, source: &str) -> Result<[Rule; 2], Diagnostics> {
    let span = place(function, source);
    let fail = |message: String| {
        let problem = Diagnostic::error(Failure::Invalid, "R0017", message).at_span(span.clone());
        Diagnostics::from(problem.within(format!("fusion `{}`", function.name)).in_file(file))
    };
    let doc = if function.doc.is_empty() { leading_doc(source) } else { function.doc.to_string() };
    let mut recognise = Rule {
        name: function.name.clone(),
        doc,
        contract: Contract::Exact,
        file: file.into(),
        line: 1 + source[..span.start.min(source.len())].bytes().filter(|&byte| byte == b'\n').count() as u32,
        span: span.clone(),
        variables: Vec::new(),
        left: Pattern::default(),
        conditions: Vec::new(),
        right: Template::default(),
        roots: Vec::new(),
        examples: Vec::new(),
        fusion: Some(Direction::Recognise),
    };
    let mut expand =
        Rule { name: format!("{}_expand", function.name).into(), fusion: Some(Direction::Expand), ..recognise.clone() };
    fill_recognise(function, &mut recognise).map_err(&fail)?;
    fill_expand(function, &mut expand).map_err(&fail)?;
    Ok([recognise, expand])
}

/// What is wrong with `function` although rules can be made of it: it is of another domain than fused operators are, or calls what
/// there is not.
pub fn mistakes(function: &Function, file: &str) -> Vec<Diagnostic> {
    let wrong = |code, message: String, help: String| {
        let problem = Diagnostic::error(Failure::Invalid, code, message).help(help);
        problem.within(format!("fusion `{}`", function.name)).in_file(file)
    };
    let mut problems = Vec::new();
    if function.domain != FUSION_DOMAIN {
        let message = format!("fused operators are of the domain `{FUSION_DOMAIN}`, found `{}`", function.domain);
        problems.push(wrong("R0017", message, format!("write `<domain: \"{FUSION_DOMAIN}\", ..>`")));
    }
    for (_, node) in function.body.nodes() {
        // What another domain holds only its owner knows.
        if !matches!(node.op, Op::Opaque(_)) || !node.op.domain().is_empty() {
            continue;
        }
        let meant = did_you_mean(node.op.name(), ops::all().map(|def| def.name));
        let message = format!("there is no operator `{}`{meant}", node.op);
        problems.push(wrong("R0004", message, "`eutectic ops` lists what there is".into()));
    }
    problems
}

// The parser gives no places of functions; the name before the attributes or inputs is unique enough.
fn place(function: &Function, source: &str) -> Range<usize> {
    let name = function.name.as_str();
    let at = source.match_indices(name).map(|(at, _)| at).find(|at| {
        let rest = source[at + name.len()..].trim_start();
        let before = source[..*at].chars().next_back();
        (rest.starts_with('<') || rest.starts_with('(')) && !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    });
    at.map_or(0..0, |at| at..at + name.len())
}

fn leading_doc(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.trim_start().strip_prefix("#"));
    lines.map(str::trim).collect::<Vec<_>>().join("\n")
}

/// Variables for the values of a body.
struct Names<'a> {
    body: &'a Graph,
    variables: Vec<Variable>,
    of: BTreeMap<ValueId, Var>,
}

impl<'a> Names<'a> {
    fn new(body: &'a Graph) -> Self {
        Self { body, variables: Vec::new(), of: BTreeMap::new() }
    }

    fn var(&mut self, value: ValueId, is_left: bool) -> Var {
        if let Some(var) = self.of.get(&value) {
            return *var;
        }
        let var = self.add(self.body.value(value).name.clone(), is_left);
        self.of.insert(value, var);
        var
    }

    fn add(&mut self, name: Name, is_left: bool) -> Var {
        let name = if name.is_empty() { format!("%{}", self.variables.len()).into() } else { name };
        self.variables.push(Variable { name, arity: VarArity::One, is_left });
        Var((self.variables.len() - 1) as u16)
    }
}

fn single(tensor: &Tensor) -> Result<f64, String> {
    tensor.as_single().ok_or_else(|| "a weight of several elements in the body makes no rule".to_owned())
}

fn body_calls(function: &Function) -> Result<Vec<&Node>, String> {
    let order = walk::order(&function.body).map_err(|_| "the body has a cycle".to_owned())?;
    if order.is_empty() {
        return Err("the body has no call".to_owned());
    }
    Ok(order.into_iter().map(|id| function.body.node(id)).collect())
}

fn fill_recognise(function: &Arc<Function>, rule: &mut Rule) -> Result<(), String> {
    let body = &function.body;
    let mut names = Names::new(body);
    let inputs: Vec<Var> = body.inputs().iter().map(|&input| names.var(input, true)).collect();
    let mut formals: Vec<(Name, usize, Name)> = Vec::new();
    for (at, node) in body_calls(function)?.into_iter().enumerate() {
        let mut attrs = Vec::new();
        for (name, attr) in node.attrs.iter() {
            match attr {
                Attr::Ref(formal, _) => formals.push((formal.clone(), at, name.clone())),
                _ => attrs.push((name.clone(), attr.clone())),
            }
        }
        let pattern_input = |names: &mut Names, input: &Option<ValueId>| match input {
            None => Ok(PatternInput::Absent),
            Some(value) => match body.weight(*value) {
                Some(tensor) => single(tensor).map(PatternInput::Scalar),
                None => Ok(PatternInput::Var(names.var(*value, true))),
            },
        };
        let inputs = node.inputs().iter().map(|input| pattern_input(&mut names, input)).collect::<Result<_, _>>()?;
        let outputs = node.outputs().iter().map(|&output| Some(names.var(output, true))).collect();
        let label = Some(format!("%{at}").into());
        rule.left.calls.push(PatternCall {
            op: node.op.clone(),
            label,
            attrs,
            inputs,
            outputs,
            span: rule.span.clone(),
        });
    }
    let mut attrs: Vec<(Name, Option<AttrKind>, Expr)> = Vec::new();
    for formal in &function.attrs {
        let mut places = formals.iter().filter(|(name, ..)| *name == formal.name);
        let Some((_, call, attr)) = places.next() else { return Err(format!("the body never uses `{}`", formal.name)) };
        let first = Expr::Attr(*call, attr.clone());
        for (_, call, attr) in places {
            let other = Expr::Attr(*call, attr.clone());
            let expr = Expr::Binary(Binary::Eq, Box::new(first.clone()), Box::new(other));
            rule.conditions.push(Condition { expr, text: format!("every `{}` is the same", formal.name), after: 0 });
        }
        attrs.push((formal.name.clone(), formal.kind, first));
    }
    let mut outputs = Vec::new();
    for output in body.outputs() {
        let left = names.var(output.value, true);
        let right = names.add(output.name.clone(), false);
        outputs.push(Some(right));
        rule.roots.push((left, right));
    }
    let inputs = inputs.into_iter().map(TemplateInput::Var).collect();
    let op = Op::Function(Arc::clone(function));
    rule.right.steps.push(TemplateStep::Call(TemplateCall { op, copies: None, attrs, inputs, outputs }));
    rule.variables = names.variables;
    let (plan, unconnected) = check::plan(&rule.left.calls, &rule.roots);
    if unconnected.is_some() {
        return Err("the calls of the body are not connected".to_owned());
    }
    for condition in &mut rule.conditions {
        condition.after = check::bound_after(&condition.expr, &rule.left.calls, &plan);
    }
    rule.left.plan = plan;
    Ok(())
}

fn fill_expand(function: &Arc<Function>, rule: &mut Rule) -> Result<(), String> {
    let body = &function.body;
    let mut names = Names::new(body);
    let inputs = body.inputs().iter().map(|&input| PatternInput::Var(names.var(input, true))).collect();
    let outputs: Vec<Var> = body.outputs().iter().map(|output| names.add(output.name.clone(), true)).collect();
    rule.left.calls.push(PatternCall {
        op: Op::Function(Arc::clone(function)),
        label: Some("%0".into()),
        attrs: Vec::new(),
        inputs,
        outputs: outputs.iter().copied().map(Some).collect(),
        span: rule.span.clone(),
    });
    for node in body_calls(function)? {
        let given = |(name, attr): (&Name, &Attr)| match attr {
            Attr::Ref(formal, kind) => (name.clone(), Some(*kind), Expr::Attr(0, formal.clone())),
            _ => (name.clone(), Some(attr.kind()), Expr::Literal(Value::Attr(attr.clone()))),
        };
        let attrs = node.attrs.iter().map(given).collect();
        let template_input = |names: &mut Names, input: &Option<ValueId>| match input {
            None => Ok(TemplateInput::Absent),
            Some(value) => match body.weight(*value) {
                Some(tensor) => {
                    let value = Value::Real(single(tensor)?, Element::Double);
                    Ok(TemplateInput::Constant(Expr::Literal(value)))
                }
                None => Ok(TemplateInput::Var(names.var(*value, false))),
            },
        };
        let inputs =
            node.inputs().iter().map(|input| template_input(&mut names, input)).collect::<Result<_, String>>()?;
        let outputs = node.outputs().iter().map(|&output| Some(names.var(output, false))).collect();
        rule.right.steps.push(TemplateStep::Call(TemplateCall {
            op: node.op.clone(),
            copies: None,
            attrs,
            inputs,
            outputs,
        }));
    }
    for (left, output) in outputs.into_iter().zip(body.outputs()) {
        rule.roots.push((left, names.var(output.value, false)));
    }
    rule.variables = names.variables;
    rule.left.plan = check::plan(&rule.left.calls, &rule.roots).0;
    Ok(())
}
