//! The verifier: every violation of the IR's rules, all at once.
//!
//! | code | rule |
//! |---|---|
//! | I0100 | the nodes have an order of execution (no cycle) |
//! | I0101 | every read names a value of this graph, and stands in that value's use list; nothing else stands there |
//! | I0102 | the number of inputs and outputs fits the operator |
//! | I0103 | a required input is given |
//! | I0104 | attributes are complete, known, and of the declared kind |
//! | I0105 | element types fit the operator's type variables |
//! | I0106 | names of values are unique in their graph, empty names apart |
//! | I0107 | output names are unique and not empty |
//! | I0108 | captures of a body are captures of its owner |
//! | I0200, I0201 | the types that inference finds agree with those that stand in the graph |

use crate::attr::{Attr, Attrs};
use crate::diag::{Diagnostic, Diagnostics, Kind};
use crate::graph::{Def, Graph, Node, NodeId, Op, Use, ValueId};
use crate::infer::{declared_inputs, describe_node, infer_graph};
use crate::model::Model;
use crate::op::{Arity, OpDef};
use crate::types::Element;
use crate::walk;
use rustc_hash::{FxHashMap, FxHashSet};

/// Every violation in `model`: its graph, its bodies, and its functions.
pub fn verify(model: &Model) -> Diagnostics {
    let mut problems = Diagnostics::default();
    verify_graph(&model.graph, 0, &Scope::Model, &mut problems);
    for function in &model.functions {
        verify_graph(&function.body, 0, &Scope::Function, &mut problems);
    }
    problems
}

enum Scope {
    Model,
    /// Inside a function, where attributes may refer to formal ones and inputs have no types.
    Function,
}

fn verify_graph(graph: &Graph, n_captures: usize, scope: &Scope, problems: &mut Diagnostics) {
    let before = problems.0.len();
    verify_uses(graph, problems);
    verify_names(graph, n_captures, problems);
    if problems.0.len() > before {
        return; // What follows walks edges, which must be sound.
    }
    if let Err(cycle) = walk::order(graph) {
        problems.push(cycle_found(graph, &cycle.0));
        return;
    }
    for (_, node) in graph.nodes() {
        let mut found = Diagnostics::default();
        verify_call(graph, node, scope, &mut found);
        let place = |problem: Diagnostic| problem.within(describe_node(node)).within(format!("graph `{}`", graph.name));
        problems.extend(found.into_iter().map(place));
        for body in node.bodies() {
            verify_graph(body, node.captures().len(), scope, problems);
        }
    }
    if matches!(scope, Scope::Model) && n_captures == 0 {
        infer_graph(graph, &declared_inputs(graph), &[], &Attrs::new(), "", problems);
    }
}

fn verify_uses(graph: &Graph, problems: &mut Diagnostics) {
    let broken =
        |what: String| Diagnostic::error(Kind::Invalid, "I0101", what).within(format!("graph `{}`", graph.name));
    let mut reads: FxHashSet<(ValueId, Use)> = FxHashSet::default();
    for (id, node) in graph.nodes() {
        let inputs = node.inputs().iter().enumerate();
        reads.extend(inputs.filter_map(|(slot, input)| Some(((*input)?, Use::Input(id, slot as u32)))));
        let captures = node.captures().iter().enumerate();
        reads.extend(captures.map(|(slot, &value)| (value, Use::Capture(id, slot as u32))));
        for (index, &output) in node.outputs().iter().enumerate() {
            let defined = graph.has_value(output)
                && matches!(graph.value(output).def(), Def::Result(node, at) if (*node, *at as usize) == (id, index));
            if !defined {
                problems.push(broken(format!("output {index} of {} is not defined by it", describe_node(node))));
            }
        }
    }
    reads.extend(graph.outputs().iter().enumerate().map(|(slot, output)| (output.value, Use::Output(slot as u32))));
    for (value, used) in &reads {
        if !graph.has_value(*value) {
            problems.push(broken(format!("{used:?} reads a value that was removed")));
        }
    }
    let mut n_listed = 0;
    for (id, value) in graph.values() {
        for used in value.uses() {
            n_listed += 1;
            if !reads.contains(&(id, used)) {
                problems.push(broken(format!("value `{}` lists the use {used:?}, which does not read it", value.name)));
            }
        }
    }
    if n_listed < reads.len() {
        problems.push(broken(format!("{} reads are not listed by the values they read", reads.len() - n_listed)));
    }
}

fn verify_names(graph: &Graph, n_captures: usize, problems: &mut Diagnostics) {
    let place = |problem: Diagnostic| problem.within(format!("graph `{}`", graph.name));
    let mut seen = FxHashSet::default();
    for (_, value) in graph.values() {
        if !value.name.is_empty() && !seen.insert(&value.name) {
            let message = format!("two values have the name `{}`", value.name);
            problems.push(place(Diagnostic::error(Kind::Invalid, "I0106", message)));
        }
        if let Def::Capture(index) = value.def()
            && *index as usize >= n_captures
        {
            let message = format!("`{}` is capture {index}, but the owner has {n_captures}", value.name);
            problems.push(place(Diagnostic::error(Kind::Invalid, "I0108", message)));
        }
    }
    let mut seen = FxHashSet::default();
    for (slot, output) in graph.outputs().iter().enumerate() {
        if output.name.is_empty() || !seen.insert(&output.name) {
            let message = format!("the name `{}` of output {slot} is empty or taken", output.name);
            problems.push(place(Diagnostic::error(Kind::Invalid, "I0107", message)));
        }
    }
}

fn verify_call(graph: &Graph, node: &Node, scope: &Scope, problems: &mut Diagnostics) {
    match &node.op {
        Op::Builtin(def) => {
            verify_arity(def, node, problems);
            verify_attrs(def, node, scope, problems);
            verify_elements(graph, def, node, problems);
        }
        Op::Function(function) => {
            let (inputs, outputs) = (function.body.inputs().len(), function.body.outputs().len());
            if node.inputs().len() != inputs || node.outputs().len() > outputs {
                let (found_in, found_out) = (node.inputs().len(), node.outputs().len());
                let message =
                    format!("{function} has {inputs} inputs and {outputs} outputs, found {found_in} and {found_out}");
                problems.push(Diagnostic::error(Kind::Invalid, "I0102", message));
            }
            if let Err(unknown) = function.complete(node.attrs.clone()) {
                let message = format!("{function} has no attribute `{}`", unknown.join("`, `"));
                problems.push(Diagnostic::error(Kind::Invalid, "I0104", message));
            }
        }
        Op::Opaque(_) => {}
    }
}

fn verify_arity(def: &'static OpDef, node: &Node, problems: &mut Diagnostics) {
    let too_many = |found: usize, params: &[crate::op::Param]| {
        found > params.len() && params.last().is_none_or(|last| last.arity != Arity::Variadic)
    };
    for (found, params, what) in
        [(node.inputs().len(), def.inputs, "inputs"), (node.outputs().len(), def.outputs, "outputs")]
    {
        if too_many(found, params) {
            let message = format!("{} has at most {} {what}, found {found}", def.name, params.len());
            problems.push(Diagnostic::error(Kind::Invalid, "I0102", message));
        }
    }
    for (index, param) in def.inputs.iter().enumerate() {
        let may_be_absent = match param.arity {
            Arity::Required => false,
            Arity::Optional => true,
            Arity::Variadic => index > 0,
        };
        if !may_be_absent && node.input(index).is_none() {
            let message = format!("input {index} (`{}`) of {} is missing", param.name, def.name);
            problems.push(Diagnostic::error(Kind::Invalid, "I0103", message));
        }
    }
    let required = def.outputs.iter().filter(|param| param.arity != Arity::Optional).count();
    if node.outputs().len() < required {
        let message = format!("{} has at least {required} outputs, found {}", def.name, node.outputs().len());
        problems.push(Diagnostic::error(Kind::Invalid, "I0102", message));
    }
}

fn verify_attrs(def: &'static OpDef, node: &Node, scope: &Scope, problems: &mut Diagnostics) {
    if matches!(scope, Scope::Model)
        && let Some((name, _)) = node.attrs.iter().find(|(_, attr)| matches!(attr, Attr::Ref(..)))
    {
        let message = format!("attribute `{name}` refers to a formal attribute, but this is not a function");
        problems.push(Diagnostic::error(Kind::Invalid, "I0104", message));
    }
    match def.complete(node.attrs.clone()) {
        Err(errors) => problems.extend(
            errors.iter().map(|error| Diagnostic::error(Kind::Invalid, "I0104", format!("{}: {error}", def.name))),
        ),
        Ok(complete) if complete != node.attrs => {
            let message = format!("the attributes of {} are not complete and in order", def.name);
            problems.push(Diagnostic::error(Kind::Invalid, "I0104", message));
        }
        Ok(_) => {}
    }
}

fn verify_elements(graph: &Graph, def: &'static OpDef, node: &Node, problems: &mut Diagnostics) {
    let mut bound: FxHashMap<&str, (Element, &str)> = FxHashMap::default();
    for (index, input) in node.inputs().iter().enumerate() {
        let (Some(id), Some(param)) = (input, def.input(index)) else { continue };
        let Some(element) = graph.ty(*id).map(|ty| ty.element) else { continue };
        if let Some((_, allowed)) = def.types.iter().find(|(name, _)| *name == param.ty)
            && !allowed.contains(&element)
        {
            let message = format!("input `{}` of {} may not be {element}", param.name, def.name);
            problems.push(Diagnostic::error(Kind::Invalid, "I0105", message));
        }
        // A variadic parameter may be heterogeneous (Loop, If, Sequence operators); the others tie their variable.
        let ties = param.arity != Arity::Variadic || def.inputs.len() == 1;
        match bound.get(param.ty) {
            Some((other, name)) if ties && *other != element => {
                let message =
                    format!("inputs `{name}` ({other}) and `{}` ({element}) of {} must agree", param.name, def.name);
                problems.push(Diagnostic::error(Kind::Invalid, "I0105", message));
            }
            _ => {
                bound.insert(param.ty, (element, param.name));
            }
        }
    }
}

fn cycle_found(graph: &Graph, cycle: &[NodeId]) -> Diagnostic {
    const SHOWN: usize = 8;
    let mut path: Vec<String> = cycle.iter().take(SHOWN).map(|&id| describe_node(graph.node(id))).collect();
    if cycle.len() > SHOWN {
        path.push(format!("... ({} more)", cycle.len() - SHOWN));
    }
    path.extend(cycle.first().map(|&id| describe_node(graph.node(id))));
    Diagnostic::error(Kind::Invalid, "I0100", format!("{} nodes form a cycle", cycle.len()))
        .note(path.join(" -> "))
        .within(format!("graph `{}`", graph.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::builtin;
    use crate::types::TensorType;

    fn codes(model: &Model) -> Vec<&'static str> {
        verify(model).0.iter().map(|problem| problem.code).collect()
    }

    fn relu_model(element: Element, attrs: Attrs) -> Model {
        let mut graph = Graph::new("g");
        let x = graph.add_input("x", Some(TensorType::of(element, &[2])), None);
        let relu = graph.add_node(builtin("LeakyRelu"), attrs, [Some(x)], ["y"]);
        let y = graph.node(relu).output();
        graph.add_output("y", y);
        Model::new(graph)
    }

    #[test]
    fn every_violation_is_reported_at_once() {
        let model = relu_model(Element::Int64, [("beta", Attr::Int(1))].into_iter().collect());
        assert_eq!(codes(&model), ["I0104", "I0105"]);
    }

    #[test]
    fn a_sound_model_has_no_violation() {
        let model = relu_model(Element::Float, [("alpha", Attr::Float(0.5))].into_iter().collect());
        assert_eq!(verify(&model).to_string(), "");
    }

    #[test]
    fn a_cycle_is_printed_as_a_path() {
        let mut model = relu_model(Element::Float, [("alpha", Attr::Float(0.5))].into_iter().collect());
        let y = model.graph.outputs()[0].value;
        let (relu, _) = model.graph.producer(y).expect("a node");
        model.graph.set_input(relu, 0, Some(y));
        let problems = verify(&model);
        assert_eq!(problems.0[0].code, "I0100");
        assert!(problems.to_string().contains("LeakyRelu call -> LeakyRelu call"), "{problems}");
    }

    #[test]
    fn a_long_cycle_is_found_in_constant_stack() {
        let mut graph = Graph::new("g");
        let x = graph.add_input("x", None, None);
        let mut last = x;
        let mut first = None;
        for _ in 0..100_000 {
            let id = graph.add_node(builtin("Relu"), Attrs::new(), [Some(last)], [""]);
            first = first.or(Some(id));
            last = graph.node(id).output();
        }
        if let Some(first) = first {
            graph.set_input(first, 0, Some(last));
        }
        assert_eq!(codes(&Model::new(graph)), ["I0100"]);
    }
}
