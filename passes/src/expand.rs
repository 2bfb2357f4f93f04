//! Expansion: calls of functions become their bodies, those of the model and those of operators that are functions of others.
//!
//! The bodies of operators stand in `passes/functions/standard.onnxtxt`. An operator whose body depends on its element type or
//! on which inputs and attributes it is given has none there and stays.

use crate::inline::inline;
use crate::rewire::bodies_of;
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use eutectic_ir::graph::{Graph, Node, NodeId, Op};
use eutectic_ir::text::parse_functions;
use eutectic_ir::{Function, Model};
use std::sync::Arc;

/// Replaces every call of a function of `model`, and every call of an operator that is one, by its body until none is left, in
/// bodies of control flow too; the number of calls replaced.
///
/// No function calls itself, so this ends. Errors (`model` is then to be dropped): P0110, a graph would have more than `limit`
/// nodes.
pub fn expand_functions(model: &mut Model, limit: usize) -> Result<usize, Diagnostics> {
    let standard = standard()?;
    let mut n_expanded = 0;
    loop {
        name_functions(&mut model.graph, &standard, &|_| true);
        let n_inlined = inline(&mut model.graph, &|_| true, limit);
        if calls_functions(&model.graph) {
            let message = format!("with its functions expanded, a graph of the model has more than {limit} nodes");
            let error = Diagnostic::error(Kind::Limit, "P0110", message).help("leave the functions as they are");
            return Err(error.into());
        }
        if n_inlined == 0 {
            model.functions.clear();
            return Ok(n_expanded);
        }
        n_expanded += n_inlined;
    }
}

/// Replaces every call of an operator that `allowed` refuses, and that is a function of others, by its body, in bodies of
/// control flow too. An expansion that would pass `limit` nodes stops.
///
/// Errors: the bodies do not read, which a test rules out.
pub(crate) fn expand_operators(
    graph: &mut Graph,
    allowed: &dyn Fn(&Op) -> bool,
    limit: usize,
) -> Result<(), Diagnostics> {
    let standard = standard()?;
    let is_standard = |called: &Function| standard.iter().any(|function| function.id() == called.id());
    // A body may call another such operator.
    while name_functions(graph, &standard, &|op| !allowed(op)) > 0 && inline(graph, &is_standard, limit) > 0 {}
    Ok(())
}

/// The operators that have a body, as functions of their names. Errors: the file does not read, which a test rules out.
fn standard() -> Result<Vec<Arc<Function>>, Diagnostics> {
    Ok(parse_functions(include_str!("../functions/standard.onnxtxt"))?.0)
}

/// Makes each call of an operator that is `wanted` and has a body a call of that; their number.
fn name_functions(graph: &mut Graph, standard: &[Arc<Function>], wanted: &dyn Fn(&Op) -> bool) -> usize {
    let body = |node: &Node| standard.iter().find(|function| node.op.is(&function.name)).filter(|_| wanted(&node.op));
    let named: Vec<(NodeId, Arc<Function>)> =
        graph.nodes().filter_map(|(id, node)| Some((id, Arc::clone(body(node)?)))).collect();
    let mut n_named = named.len();
    for (id, function) in named {
        graph.node_mut(id).op = Op::Function(function);
    }
    bodies_of(graph, &mut |body| n_named += name_functions(body, standard, wanted));
    n_named
}

fn calls_functions(graph: &Graph) -> bool {
    let calls = |node: &Node| matches!(node.op, Op::Function(_)) || node.bodies().any(|body| calls_functions(body));
    graph.nodes().any(|(_, node)| calls(node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same, call, drawn, graph_of, model_of, node, operators};
    use eutectic_ir::attr::AttrKind;
    use eutectic_ir::text::parse_model;
    use eutectic_ir::{Attr, ops};

    /// A function that calls another, called in the graph and in both branches.
    const NESTED: &str = "<ir_version: 10, opset_import: [\"\" : 26, \"local\" : 1]>
agraph (float[3] x, bool c) => (float[3] y)
{
    a = local.outer <slope: float = 0.5> (x)
    y = If <
        then_branch = one () => (float[3] p) { p = local.outer <slope: float = 0.25> (a) },
        else_branch = other () => (float[3] q) { q = local.inner (a) }
    > (c)
}
<domain: \"local\", opset_import: [\"\" : 26, \"local\" : 1]>
outer <slope> (x) => (y) { a = ThresholdedRelu <alpha: float = @slope> (x)  y = local.inner (a) }
<domain: \"local\", opset_import: [\"\" : 26]>
inner (x) => (y) { a = Exp (x)  y = Sub (a, x) }
";

    fn nested() -> Model {
        parse_model(NESTED).unwrap_or_else(|problems| panic!("{problems}")).0
    }

    #[test]
    fn expanded_functions_compute_the_same_and_are_gone() {
        let (model, mut expanded) = (nested(), nested());
        // Three calls in the graph and the branches, two inside of these, and two of an operator.
        assert_eq!(expand_functions(&mut expanded, 100).expect("few nodes"), 7);
        assert!(operators(&expanded).ends_with("Less Where Exp Sub If"), "{}", operators(&expanded));
        assert!(expanded.functions.is_empty() && !calls_functions(&expanded.graph));
        let mut names: Vec<_> = expanded.graph.nodes().map(|(_, node)| node.name.as_str()).collect();
        names.retain(|name| !name.is_empty());
        names.sort_unstable();
        assert!(names.len() > 3 && names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert_same(&model, &expanded, 1);
    }

    #[test]
    fn expansion_beyond_the_limit_is_refused() {
        let refused = expand_functions(&mut nested(), 3).expect_err("the graph has more nodes");
        assert_eq!((refused.0[0].code, refused.0[0].kind), ("P0110", Kind::Limit));
    }

    #[test]
    fn every_body_computes_what_its_operator_computes() {
        let standard = standard().unwrap_or_else(|problems| panic!("{problems}"));
        for function in &standard {
            let def = ops::lookup("", &function.name).expect("an operator");
            let formals: Vec<&str> = function.attrs.iter().map(|formal| formal.name.as_str()).collect();
            assert_eq!(formals, def.attrs.iter().map(|attr| attr.name).collect::<Vec<_>>(), "{}", def.name);
            for shift in [0.0, 0.25] {
                let (mut graph, x) = graph_of(&["n", "3"]);
                let mut inputs = vec![Some(x)];
                inputs.extend((1..def.inputs.len()).map(|_| Some(drawn(&mut graph, &[3]))));
                let shifted: Vec<(&str, Attr)> = def
                    .attrs
                    .iter()
                    .filter(|attr| attr.kind == AttrKind::Float)
                    .map(|attr| match attr.default.value() {
                        Some(Attr::Float(default)) => (attr.name, Attr::Float(default + shift)),
                        other => panic!("{}: {other:?}", attr.name),
                    })
                    .collect();
                let id = node(&mut graph, def.name, &shifted, &inputs, 1);
                let result = graph.node(id).output();
                let float = call(&mut graph, "Cast", &[("to", Attr::Int(1))], &[result]);
                let model = model_of(graph, float);
                let mut expanded = model.clone();
                assert!(expand_functions(&mut expanded, 1_000).expect("few nodes") > 0);
                assert!(expanded.graph.nodes().all(|(_, node)| !node.op.is(def.name)), "{}", operators(&expanded));
                assert_same(&model, &expanded, 2);
            }
        }
        assert!(standard.len() > 12, "{}", standard.len());
    }
}
