//! Builds models and functions from syntax trees: callees first, whatever their order in the text.

use super::cursor::Cursor;
use super::lower::{FunctionKey, Lowering, referred_kind};
use super::syntax::{AttrValue, FunctionSyntax, GraphSyntax, Header, ModelSyntax};
use crate::attr::{Attr, Name};
use crate::diag::{Diagnostic, Kind as Failure};
use crate::graph::Graph;
use crate::model::{FormalAttr, Function, Model};
use crate::op::{DEFAULT_IR_VERSION, DEFAULT_OPSET};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Functions by identity; `None` for one that is defined but could not be built.
type Functions = FxHashMap<FunctionKey, Option<Arc<Function>>>;

pub(super) fn model(cursor: &mut Cursor, syntax: ModelSyntax) -> Model {
    let mut known = Functions::default();
    let functions = functions(cursor, syntax.functions, &mut known);
    let graph = syntax.graph.map(|graph| Lowering::new(cursor, &known, None).graph(graph)).unwrap_or_default();
    let header = syntax.header;
    Model {
        graph,
        functions,
        opsets: header.opsets.unwrap_or_else(|| vec![(Name::default(), DEFAULT_OPSET)]),
        ir_version: header.ir_version.unwrap_or(DEFAULT_IR_VERSION),
        producer_name: header.producer_name.unwrap_or_default(),
        producer_version: header.producer_version.unwrap_or_default(),
        domain: header.domain.unwrap_or_default(),
        model_version: header.model_version.unwrap_or_default(),
        doc: header.doc.unwrap_or_default(),
        metadata: header.metadata.unwrap_or_default(),
        not_carried: Vec::new(),
        stores: Vec::new(),
    }
}

pub(super) fn graph(cursor: &mut Cursor, syntax: GraphSyntax, known: &[Arc<Function>]) -> Graph {
    Lowering::new(cursor, &table(known), None).graph(syntax)
}

pub(super) fn library(cursor: &mut Cursor, syntax: Vec<FunctionSyntax>, known: &[Arc<Function>]) -> Vec<Arc<Function>> {
    functions(cursor, syntax, &mut table(known))
}

fn table(functions: &[Arc<Function>]) -> Functions {
    let key = |function: &Function| (function.domain.clone(), function.name.clone(), function.overload.clone());
    functions.iter().map(|function| (key(function), Some(function.clone()))).collect()
}

fn key_of(function: &FunctionSyntax) -> FunctionKey {
    let text = |name: &Option<Name>| name.clone().unwrap_or_default();
    (text(&function.header.domain), function.graph.name.value.clone(), text(&function.header.overload))
}

fn shown(key: &FunctionKey) -> String {
    let overload = if key.2.is_empty() { String::new() } else { format!(":{}", key.2) };
    format!("{}.{}{overload}", key.0, key.1)
}

/// Builds `syntax` in an order in which each function stands after those it calls; gives them in the order of the text.
fn functions(cursor: &mut Cursor, syntax: Vec<FunctionSyntax>, known: &mut Functions) -> Vec<Arc<Function>> {
    let mut at: FxHashMap<FunctionKey, usize> = FxHashMap::default();
    for (index, function) in syntax.iter().enumerate() {
        let (key, span) = (key_of(function), function.graph.name.span.clone());
        if key.0.is_empty() {
            let message = format!("the function `{}` has no domain", key.1);
            let problem = Diagnostic::error(Failure::Invalid, "T0030", message).at_span(span.clone());
            cursor.report(problem.help("write `<domain: \"..\", opset_import: [\"\" : 26]>` before its name"));
        }
        if at.insert(key.clone(), index).is_some() || known.contains_key(&key) {
            let message = format!("the function `{}` is defined twice", shown(&key));
            cursor.report(Diagnostic::error(Failure::Invalid, "T0024", message).at_span(span));
        }
    }
    let calls: Vec<BTreeSet<usize>> = syntax
        .iter()
        .map(|function| {
            let mut calls = BTreeSet::new();
            calls_of(&function.graph, &at, &mut calls);
            calls
        })
        .collect();
    let order = order(&calls);
    let placed: FxHashSet<usize> = order.iter().copied().collect();
    if let Some(cycle) = cycle(&calls, &placed) {
        let names: Vec<String> = cycle.iter().map(|&index| shown(&key_of(&syntax[index]))).collect();
        let message = format!("functions call each other in a circle: {}", names.join(" -> "));
        let span = syntax[cycle[0]].graph.name.span.clone();
        cursor.report(Diagnostic::error(Failure::Invalid, "T0025", message).at_span(span));
    }
    let mut built: Vec<Option<Arc<Function>>> = syntax.iter().map(|_| None).collect();
    let mut waiting: Vec<Option<FunctionSyntax>> = syntax.into_iter().map(Some).collect();
    for index in order {
        let Some(syntax) = waiting[index].take() else { continue };
        let key = key_of(&syntax);
        let function = Arc::new(function(cursor, syntax, known));
        known.insert(key, Some(function.clone()));
        built[index] = Some(function);
    }
    for syntax in waiting.iter().flatten() {
        known.insert(key_of(syntax), None);
    }
    built.into_iter().flatten().collect()
}

fn calls_of(graph: &GraphSyntax, at: &FxHashMap<FunctionKey, usize>, calls: &mut BTreeSet<usize>) {
    for node in &graph.nodes {
        let key = (node.domain.clone(), node.op.value.clone(), node.overload.clone());
        calls.extend(at.get(&key));
        for attr in &node.attrs {
            match &attr.value {
                AttrValue::Graph(graph) => calls_of(graph, at, calls),
                AttrValue::Graphs(graphs) => graphs.iter().for_each(|graph| calls_of(graph, at, calls)),
                AttrValue::Done(_) | AttrValue::Ref(_) => {}
            }
        }
    }
}

/// Callees before callers; functions on a circle, and those that call one, are left out.
fn order(calls: &[BTreeSet<usize>]) -> Vec<usize> {
    let mut waits: Vec<usize> = calls.iter().map(BTreeSet::len).collect();
    let mut callers: Vec<Vec<usize>> = vec![Vec::new(); calls.len()];
    for (caller, callees) in calls.iter().enumerate() {
        callees.iter().for_each(|&callee| callers[callee].push(caller));
    }
    let mut order: Vec<usize> = (0..calls.len()).filter(|&index| waits[index] == 0).collect();
    let mut next = 0;
    while let Some(&done) = order.get(next) {
        next += 1;
        for &caller in &callers[done] {
            waits[caller] -= 1;
            if waits[caller] == 0 {
                order.push(caller);
            }
        }
    }
    order
}

/// One circle among the functions that have no order, its first function repeated at the end.
fn cycle(calls: &[BTreeSet<usize>], placed: &FxHashSet<usize>) -> Option<Vec<usize>> {
    let start = (0..calls.len()).find(|index| !placed.contains(index))?;
    // Each such function calls another such one, so that the walk must come back to where it was.
    let (mut path, mut place) = (Vec::new(), FxHashMap::default());
    let mut here = start;
    while !place.contains_key(&here) {
        place.insert(here, path.len());
        path.push(here);
        here = *calls[here].iter().find(|callee| !placed.contains(callee))?;
    }
    let mut circle = path.split_off(*place.get(&here)?);
    circle.push(here);
    Some(circle)
}

fn function(cursor: &mut Cursor, syntax: FunctionSyntax, known: &Functions) -> Function {
    let mut attrs: Vec<FormalAttr> = Vec::new();
    for formal in syntax.formals {
        let name = formal.name.value;
        if attrs.iter().any(|known| known.name == name) {
            let message = format!("attribute `{name}` is declared twice");
            cursor.report(Diagnostic::error(Failure::Invalid, "T0026", message).at_span(formal.name.span));
            continue;
        }
        let default = match formal.default.map(|default| default.value) {
            None => None,
            Some(AttrValue::Done(value)) => Some(value),
            Some(AttrValue::Graph(graph)) => {
                Some(Attr::Graph(Arc::new(Lowering::new(cursor, known, None).graph(*graph))))
            }
            Some(AttrValue::Graphs(graphs)) => {
                let mut lower = |graph| Arc::new(Lowering::new(cursor, known, None).graph(graph));
                Some(Attr::Graphs(graphs.into_iter().map(&mut lower).collect()))
            }
            Some(AttrValue::Ref(target)) => {
                let message = format!("the default of `{name}` refers to another attribute");
                cursor.report(Diagnostic::error(Failure::Invalid, "T0027", message).at_span(target.span));
                None
            }
        };
        attrs.push(FormalAttr { name, kind: default.as_ref().map(Attr::kind), default });
    }
    let name = syntax.graph.name.value.clone();
    let body = Lowering::new(cursor, known, Some(&attrs)).graph(syntax.graph);
    for formal in attrs.iter_mut().filter(|formal| formal.kind.is_none()) {
        formal.kind = referred_kind(&body, &formal.name);
    }
    let Header { domain, overload, opsets, doc, metadata, .. } = syntax.header;
    Function {
        domain: domain.unwrap_or_default(),
        name,
        overload: overload.unwrap_or_default(),
        attrs,
        body,
        opsets: opsets.unwrap_or_else(|| vec![(Name::default(), DEFAULT_OPSET)]),
        doc: doc.unwrap_or_default(),
        metadata: metadata.unwrap_or_default(),
    }
}
