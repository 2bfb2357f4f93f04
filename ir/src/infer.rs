//! Type and shape inference: one topological walk, symbolic dims, symbolic contents of small integer tensors.
//!
//! Inference never guesses: what an operator cannot tell becomes a fresh symbol, and an output whose rank cannot be
//! known has no type. Declared types of results are only believed where nothing can be inferred.

use crate::attr::Attrs;
use crate::diag::{Diagnostic, Diagnostics, Kind};
use crate::graph::{Def, Graph, Node, NodeId, Op, ValueId};
use crate::model::Model;
use crate::op::{Call, Fact, Operand, Reason, Work};
use crate::types::TensorType;
use crate::walk;
use smol_str::format_smolstr;

/// What is known of each value of one graph.
#[derive(Clone, Debug, Default)]
pub struct Facts(Vec<Option<Fact>>);

impl Facts {
    /// What is known of value `id`.
    pub fn get(&self, id: ValueId) -> Option<&Fact> {
        self.0.get(id.index()).and_then(Option::as_ref)
    }

    /// Value `id` as an operand; `None` while its type is unknown.
    pub fn operand<'a>(&'a self, graph: &'a Graph, id: ValueId) -> Option<Operand<'a>> {
        let fact = self.get(id)?;
        Some(Operand { ty: &fact.ty, content: fact.content.as_deref(), constant: graph.weight(id) })
    }

    /// The operands of `node`; `None` when the type of one that is given is unknown.
    pub fn operands<'a>(&'a self, graph: &'a Graph, node: &Node) -> Option<Vec<Option<Operand<'a>>>> {
        node.inputs()
            .iter()
            .map(|input| match input {
                Some(id) => self.operand(graph, *id).map(Some),
                None => Some(None),
            })
            .collect()
    }
}

/// Infers every type of `model`, bodies included, and writes the types into the graphs.
///
/// Problems are calls that cannot be typed (errors) and declared types that inference contradicts (warnings: the
/// inferred type is kept).
pub fn infer(model: &mut Model) -> (Facts, Diagnostics) {
    let mut problems = Diagnostics::default();
    let facts = infer_in_place(&mut model.graph, &[], &mut problems);
    (facts, problems)
}

/// Infers every type of `graph` and writes the types into it; `captures` says what is known of its captures.
pub fn infer_in_place(graph: &mut Graph, captures: &[Option<Fact>], problems: &mut Diagnostics) -> Facts {
    let inputs: Vec<Option<Fact>> = graph.inputs().iter().map(|&id| graph.ty(id).cloned().map(Fact::from)).collect();
    let facts = infer_graph(graph, &inputs, captures, &Attrs::new(), "", problems);
    let typed: Vec<(ValueId, TensorType)> =
        graph.values().filter_map(|(id, _)| Some((id, facts.get(id)?.ty.clone()))).collect();
    for (id, ty) in typed {
        graph.value_mut(id).ty = Some(ty);
    }
    let owners: Vec<NodeId> =
        graph.nodes().filter(|(_, node)| node.bodies().next().is_some()).map(|(id, _)| id).collect();
    for owner in owners {
        let captured: Vec<Option<Fact>> =
            graph.node(owner).captures().iter().map(|&id| facts.get(id).cloned()).collect();
        graph.map_bodies(owner, &mut |body| {
            let mut body = Graph::clone(body);
            infer_in_place(&mut body, &captured, problems);
            body.into()
        });
    }
    facts
}

/// What is known of each value of `graph`, given what is known of its inputs and captures. Changes nothing.
///
/// `formals` binds references to formal attributes; `scope` distinguishes the fresh symbols of this graph.
pub fn infer_graph(
    graph: &Graph,
    inputs: &[Option<Fact>],
    captures: &[Option<Fact>],
    formals: &Attrs,
    scope: &str,
    problems: &mut Diagnostics,
) -> Facts {
    let mut facts = Facts(vec![None; graph.value_bound()]);
    for (id, value) in graph.values() {
        facts.0[id.index()] = match value.def() {
            Def::Input { index, .. } => inputs.get(*index as usize).cloned().flatten(),
            Def::Capture(index) => captures.get(*index as usize).cloned().flatten().or_else(|| declared(graph, id)),
            Def::Weight(tensor) => Some(tensor.ty().into()),
            Def::Result(..) => None,
        };
    }
    // A graph with a cycle has no order; the verifier reports it.
    for id in walk::order(graph).unwrap_or_default() {
        let node = graph.node(id);
        let found = match facts.operands(graph, node) {
            Some(operands) => {
                let name = &graph.value(node.output()).name;
                let scope = if name.is_empty() {
                    // Values may be named by numbers, so a number alone could be another value's name.
                    format_smolstr!("{scope}%{}", node.output().index())
                } else {
                    format_smolstr!("{scope}{name}")
                };
                infer_call(&node.op, &node.attrs.bind(formals), &operands, node.outputs().len(), &scope)
            }
            None => Ok(Vec::new()),
        };
        let found = found.unwrap_or_else(|reason| {
            problems.push(untyped(graph, node, reason));
            Vec::new()
        });
        let mut found = found.into_iter();
        for (index, &output) in node.outputs().iter().enumerate() {
            let inferred = found.next().flatten();
            let stated = graph.ty(output);
            if let (Some(inferred), Some(stated)) = (&inferred, stated)
                && contradicts(&inferred.ty, stated)
            {
                problems.push(contradiction(graph, node, index, &inferred.ty, stated));
            }
            facts.0[output.index()] = inferred.or_else(|| declared(graph, output));
        }
    }
    facts
}

/// What is known of the outputs of one call. Errors: the inputs do not fit the operator.
pub fn infer_call(
    op: &Op,
    attrs: &Attrs,
    inputs: &[Option<Operand>],
    n_outputs: usize,
    scope: &str,
) -> Result<Vec<Option<Fact>>, Reason> {
    match op {
        Op::Builtin(def) => (def.infer)(&Call { attrs, inputs, n_outputs, scope }),
        Op::Opaque(_) => Ok(Vec::new()),
        Op::Function(function) => {
            let known = |operand: &Option<Operand>| {
                operand.as_ref().map(|operand| Fact { ty: operand.ty.clone(), content: operand.dims_if_small() })
            };
            let inputs: Vec<Option<Fact>> = inputs.iter().map(known).collect();
            let mut problems = Diagnostics::default();
            let facts = infer_graph(&function.body, &inputs, &[], attrs, &format!("{scope}/"), &mut problems);
            match problems.0.into_iter().find(|problem| problem.severity == crate::diag::Severity::Error) {
                Some(problem) => Err(Reason(format!("in the body of {function}: {}", problem.message))),
                None => Ok(function.body.outputs().iter().map(|output| facts.get(output.value).cloned()).collect()),
            }
        }
    }
}

/// What one call costs. A function computes what its body computes, but only its own inputs and outputs are traffic.
///
/// `None` when a type is unknown, or on overflow.
pub fn work_of_call(op: &Op, attrs: &Attrs, inputs: &[Option<Operand>], outputs: &[TensorType]) -> Option<Work> {
    match op {
        Op::Builtin(def) => {
            let call = Call { attrs, inputs, n_outputs: outputs.len(), scope: "" };
            (def.work)(&call, outputs)
        }
        Op::Opaque(_) => None,
        Op::Function(function) => {
            let known = |operand: &Option<Operand>| {
                operand.as_ref().map(|operand| Fact { ty: operand.ty.clone(), content: operand.dims_if_small() })
            };
            let facts: Vec<Option<Fact>> = inputs.iter().map(known).collect();
            let mut problems = Diagnostics::default();
            let facts = infer_graph(&function.body, &facts, &[], attrs, "", &mut problems);
            let mut flops = crate::dim::Dim::known(0);
            for (_, node) in function.body.nodes() {
                let attrs = node.attrs.bind(attrs);
                flops = flops.add(&work_in(&function.body, &facts, node, &attrs)?.flops)?;
            }
            Work::streaming(&Call { attrs, inputs, n_outputs: outputs.len(), scope: "" }, outputs, flops)
        }
    }
}

/// What `node` of `graph` costs; `None` when a type is unknown, or on overflow.
pub fn work_of_node(graph: &Graph, facts: &Facts, id: NodeId) -> Option<Work> {
    let node = graph.node(id);
    work_in(graph, facts, node, &node.attrs)
}

fn work_in(graph: &Graph, facts: &Facts, node: &Node, attrs: &Attrs) -> Option<Work> {
    let outputs: Option<Vec<TensorType>> =
        node.outputs().iter().map(|&output| Some(facts.get(output)?.ty.clone())).collect();
    work_of_call(&node.op, attrs, &facts.operands(graph, node)?, &outputs?)
}

impl Operand<'_> {
    /// Its elements as dims when it is small enough to be a shape or a list of axes.
    fn dims_if_small(&self) -> Option<Vec<crate::dim::Dim>> {
        const LARGEST_SHAPE: usize = 64;
        match self.constant {
            Some(tensor) if tensor.count() > LARGEST_SHAPE => None,
            _ => self.dims(),
        }
    }
}

/// True when no assignment of symbols makes the two types equal.
pub fn contradicts(a: &TensorType, b: &TensorType) -> bool {
    let differ = |(a, b): (&crate::dim::Dim, &crate::dim::Dim)| match (a.as_known(), b.as_known()) {
        (Some(a), Some(b)) => a != b,
        _ => false,
    };
    a.element != b.element || a.rank() != b.rank() || a.shape.iter().zip(&b.shape).any(differ)
}

fn declared(graph: &Graph, id: ValueId) -> Option<Fact> {
    graph.ty(id).cloned().map(Fact::from)
}

/// How a message names a node.
pub fn describe_node(node: &Node) -> String {
    if node.name.is_empty() { format!("{} call", node.op) } else { format!("node `{}` ({})", node.name, node.op) }
}

fn untyped(graph: &Graph, node: &Node, reason: Reason) -> Diagnostic {
    Diagnostic::error(Kind::Invalid, "I0200", format!("{} does not accept its inputs: {reason}", node.op))
        .within(describe_node(node))
        .within(format!("graph `{}`", graph.name))
}

fn contradiction(graph: &Graph, node: &Node, index: usize, inferred: &TensorType, stated: &TensorType) -> Diagnostic {
    let name = &graph.value(node.outputs()[index]).name;
    Diagnostic::warning(
        "I0201",
        format!("the declared type of `{name}` contradicts inference; the inferred one is kept"),
    )
    .note(format!("declared: {stated}"))
    .note(format!("inferred: {inferred}, from {}", describe_node(node)))
    .within(format!("graph `{}`", graph.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Dim;
    use crate::ops::builtin;
    use crate::types::Element;

    fn relu_of(shape: &[Dim], stated: Option<TensorType>) -> (Model, Diagnostics) {
        let mut graph = Graph::new("g");
        let x = graph.add_input("x", Some(TensorType::new(Element::Float, shape.to_vec())), None);
        let relu = graph.add_node(builtin("Relu"), Attrs::new(), [Some(x)], ["y"]);
        let y = graph.node(relu).output();
        graph.value_mut(y).ty = stated;
        graph.add_output("y", y);
        let mut model = Model::new(graph);
        let (_, problems) = infer(&mut model);
        (model, problems)
    }

    #[test]
    fn a_symbolic_batch_survives() {
        let (model, problems) = relu_of(&[Dim::symbol("n"), Dim::known(3)], None);
        assert!(problems.0.is_empty());
        let y = model.graph.outputs()[0].value;
        assert_eq!(model.graph.ty(y).map(ToString::to_string).as_deref(), Some("float[n,3]"));
    }

    #[test]
    fn a_declared_type_that_inference_contradicts_is_reported_with_both() {
        let (model, problems) = relu_of(&[Dim::known(3)], Some(TensorType::of(Element::Float, &[4])));
        assert!(!problems.has_errors());
        let text = problems.to_string();
        assert!(text.contains("declared: float[4]") && text.contains("inferred: float[3]"), "{text}");
        let y = model.graph.outputs()[0].value;
        assert_eq!(model.graph.ty(y), Some(&TensorType::of(Element::Float, &[3])));
    }
}
