//! Model-local functions: callees before callers, no recursion, and no more nodes than the budget when expanded.

use super::{Importer, Key, Scope, entries, mended, normal_domain};
use crate::attribute;
use crate::proto::{FunctionProto, GraphProto, NodeProto, ValueInfoProto};
use crate::scan::limit;
use eutectic_ir::attr::AttrKind;
use eutectic_ir::diag::{Diagnostic, Kind};
use eutectic_ir::model::FormalAttr;
use eutectic_ir::{Attr, Function, Graph, Name};
use rustc_hash::FxHashMap;
use std::sync::Arc;

fn key_of(proto: &FunctionProto) -> Key {
    (normal_domain(&proto.domain), proto.name.as_str().into(), proto.overload.as_str().into())
}

/// The operator that a node calls.
pub(super) fn callee(node: &NodeProto) -> Key {
    (normal_domain(&node.domain), node.op_type.as_str().into(), node.overload.as_str().into())
}

fn shown(key: &Key) -> String {
    let (domain, name, overload) = key;
    let dot = if domain.is_empty() { "" } else { "." };
    let colon = if overload.is_empty() { "" } else { ":" };
    format!("{domain}{dot}{name}{colon}{overload}")
}

impl Importer<'_> {
    /// All functions in the order of the file. `main` is looked at for the budget only.
    pub(super) fn functions(&mut self, protos: Vec<FunctionProto>, main: Option<&GraphProto>) -> Vec<Arc<Function>> {
        let mut index_of: FxHashMap<Key, usize> = FxHashMap::default();
        for (index, proto) in protos.iter().enumerate() {
            let key = key_of(proto);
            if key.1.is_empty() {
                self.error(Kind::Invalid, "I0105", format!("function {index} has no name"));
            }
            if key.0.is_empty() && eutectic_ir::ops::lookup("", &key.1).is_some() {
                let message = format!("the function `{}` overrides a standard operator", key.1);
                self.diagnostics.push(Diagnostic::warning("I0105", message));
            }
            if index_of.insert(key.clone(), index).is_some() {
                self.error(Kind::Invalid, "I0105", format!("there are two functions `{}`", shown(&key)));
            }
        }
        // For each function and, last, the main graph: which functions it calls, once for each call, and its own nodes.
        let mut calls: Vec<(Vec<usize>, u64)> = Vec::new();
        let bodies = protos.iter().map(|proto| &proto.node[..]);
        for nodes in bodies.chain(main.map(|graph| &graph.node[..])) {
            calls.push(calls_in(nodes, &index_of));
        }
        let Some(order) = self.callees_first(&protos, &calls) else { return Vec::new() };
        if !self.within_budget(&order, &calls, protos.len()) {
            return Vec::new();
        }
        let mut slots: Vec<Option<FunctionProto>> = protos.into_iter().map(Some).collect();
        let mut done: Vec<Option<Arc<Function>>> = vec![None; slots.len()];
        for index in order {
            let Some(proto) = slots[index].take() else { continue };
            let key = key_of(&proto);
            let from = self.diagnostics.0.len();
            let function = Arc::new(self.function(proto));
            self.locate(from, &format!("function `{}`", shown(&key)));
            self.functions.insert(key, function.clone());
            done[index] = Some(function);
        }
        done.into_iter().flatten().collect()
    }

    /// The functions in an order in which each comes after those that it calls; reports recursion.
    fn callees_first(&mut self, protos: &[FunctionProto], calls: &[(Vec<usize>, u64)]) -> Option<Vec<usize>> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            New,
            Open,
            Done,
        }
        let mut state = vec![State::New; protos.len()];
        let mut order = Vec::with_capacity(protos.len());
        for root in 0..protos.len() {
            if state[root] != State::New {
                continue;
            }
            // The path from the root: a function, and how many of its callees were looked at.
            let mut path = vec![(root, 0)];
            state[root] = State::Open;
            while let Some((index, at)) = path.last_mut() {
                let index = *index;
                let Some(&callee) = calls[index].0.get(*at) else {
                    state[index] = State::Done;
                    order.push(index);
                    path.pop();
                    continue;
                };
                *at += 1;
                match state[callee] {
                    State::Done => {}
                    State::New => {
                        state[callee] = State::Open;
                        path.push((callee, 0));
                    }
                    State::Open => {
                        let start = path.iter().position(|(index, _)| *index == callee).unwrap_or(0);
                        let names: Vec<String> =
                            path[start..].iter().map(|(index, _)| shown(&key_of(&protos[*index]))).collect();
                        let message = format!("functions call themselves: {} -> {}", names.join(" -> "), names[0]);
                        self.error(Kind::Invalid, "I0105", message);
                        return None;
                    }
                }
            }
        }
        Some(order)
    }

    /// False, and reported, when replacing every call by its body makes more nodes than the budget.
    fn within_budget(&mut self, order: &[usize], calls: &[(Vec<usize>, u64)], n_functions: usize) -> bool {
        let mut expanded = vec![0u64; calls.len()];
        // Functions that the main graph does not call cost nothing; it stands last.
        for &index in order.iter().chain((n_functions < calls.len()).then_some(&n_functions)) {
            let (callees, n_nodes) = &calls[index];
            expanded[index] = callees.iter().fold(*n_nodes, |total, &callee| total.saturating_add(expanded[callee]));
        }
        let Some(&total) = expanded.get(n_functions) else { return true };
        if total <= self.limits.expanded_nodes {
            return true;
        }
        let found = format!("the model has {total} nodes when its functions are expanded");
        self.diagnostics.push(limit("expanded_nodes", self.limits.expanded_nodes, found));
        false
    }

    fn function(&mut self, proto: FunctionProto) -> Function {
        let opsets = self.opsets(&proto.opset_import);
        let opset = self.default_opset(&opsets);
        let scope = Scope { opset, opsets: &opsets, in_function: true, is_main: false };
        let (domain, name, overload) = key_of(&proto);
        let value = |name: String| ValueInfoProto { name, ..Default::default() };
        let body = GraphProto {
            name: proto.name,
            node: proto.node,
            input: proto.input.into_iter().map(value).collect(),
            output: proto.output.into_iter().map(value).collect(),
            value_info: proto.value_info,
            ..Default::default()
        };
        let body = self.graph(scope, body, None);
        let mut referred = FxHashMap::default();
        references(&body, &mut referred);
        let mut attrs: Vec<FormalAttr> = Vec::new();
        for name in proto.attribute {
            let kind = referred.remove(name.as_str());
            attrs.push(FormalAttr { name: name.into(), kind, default: None });
        }
        for default in proto.attribute_proto {
            let name = Name::from(default.name.as_str());
            referred.remove(&name);
            match attribute::import(default, false, self.limits, self.stored, self.diagnostics) {
                Ok(attribute::Imported::Value(value)) => {
                    attrs.push(FormalAttr { name, kind: Some(value.kind()), default: Some(value) });
                }
                Ok(_) => {
                    let message = format!("the default of attribute `{name}` is a graph");
                    self.error(Kind::Unsupported, "I0113", message);
                }
                Err(error) => self.diagnostics.push(error.within(format!("attribute `{name}`"))),
            }
        }
        let mut unresolved: Vec<_> = referred.into_keys().collect();
        unresolved.sort();
        for name in unresolved {
            self.error(Kind::Invalid, "I0108", format!("the body refers to attribute `{name}`, which is not declared"));
        }
        let doc = mended(&proto.doc_string);
        Function { domain, name, overload, attrs, body, opsets, doc, metadata: entries(proto.metadata_props) }
    }
}

/// The functions that `nodes` and the graphs inside them call, once for each call, and the number of other nodes.
fn calls_in(nodes: &[NodeProto], index_of: &FxHashMap<Key, usize>) -> (Vec<usize>, u64) {
    let mut callees = Vec::new();
    let mut n_nodes = 0;
    let mut open: Vec<&[NodeProto]> = vec![nodes];
    while let Some(nodes) = open.pop() {
        for node in nodes {
            match index_of.get(&callee(node)) {
                Some(&index) if !index_of.is_empty() => callees.push(index),
                _ => n_nodes += 1,
            }
            for attribute in &node.attribute {
                open.extend(attribute.g.iter().map(|graph| &graph.node[..]));
                open.extend(attribute.graphs.iter().map(|graph| &graph.node[..]));
            }
        }
    }
    (callees, n_nodes)
}

/// The attributes of the function that `graph` and the graphs inside it refer to.
fn references(graph: &Graph, into: &mut FxHashMap<Name, AttrKind>) {
    for (_, node) in graph.nodes() {
        for (_, attr) in node.attrs.iter() {
            if let Attr::Ref(name, kind) = attr {
                into.insert(name.clone(), *kind);
            }
        }
        node.bodies().for_each(|body| references(body, into));
    }
}
