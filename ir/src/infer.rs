//! Type and shape inference: one topological walk, symbolic dims, symbolic contents of small integer tensors.
//!
//! Inference never guesses: what an operator cannot tell becomes a fresh symbol, and of an output whose rank cannot be
//! known at most the element type is. Declared types of results are only believed where nothing can be inferred.

use crate::attr::Attrs;
use crate::attr::Name;
use crate::diag::{Diagnostic, Diagnostics, Kind, Severity};
use crate::graph::{Def, Graph, Node, NodeId, Op, ValueId};
use crate::model::Model;
use crate::op::{Argument, Call, Fact, Reason, Work};
use crate::types::{MAX_RANK, TensorType, Type};
use crate::walk;
use smol_str::{SmolStr, format_smolstr};

/// What is known of each value of one graph.
#[derive(Clone, Debug, Default)]
pub struct Facts(Vec<Option<Fact>>);

impl Facts {
    /// What is known of value `id`.
    pub fn get(&self, id: ValueId) -> Option<&Fact> {
        self.0.get(id.index()).and_then(Option::as_ref)
    }

    /// The type of value `id`, when it is known to be a tensor of known rank.
    pub fn ty(&self, id: ValueId) -> Option<&TensorType> {
        self.get(id)?.tensor()
    }

    /// Value `id` as an argument; `None` while its type or the rank of a tensor is unknown.
    pub fn argument<'a>(&'a self, graph: &'a Graph, id: ValueId) -> Option<Argument<'a>> {
        let fact = self.get(id).filter(|fact| !matches!(fact.ty, Type::Unranked(_)))?;
        Some(Argument::new(fact, graph.weight(id)))
    }

    /// The arguments of `node`; `None` when the type of one that is given is unknown.
    pub fn arguments<'a>(&'a self, graph: &'a Graph, node: &Node) -> Option<Vec<Option<Argument<'a>>>> {
        let argument = |id: ValueId| self.argument(graph, id);
        node.inputs().iter().map(|input| input.map_or(Some(None), |id| argument(id).map(Some))).collect()
    }

    /// The arguments of `node` as its inference takes them, tensors of unknown rank included where it does.
    fn operands<'a>(&'a self, graph: &'a Graph, node: &Node) -> Option<Vec<Option<Argument<'a>>>> {
        let takes_unranked = match &node.op {
            Op::Builtin(def) => def.unranked,
            Op::Function(_) => true,
            Op::Opaque(_) => false,
        };
        if !takes_unranked {
            return self.arguments(graph, node);
        }
        let argument = |id: ValueId| Some(Argument::new(self.get(id)?, graph.weight(id)));
        node.inputs().iter().map(|input| input.map_or(Some(None), |id| argument(id).map(Some))).collect()
    }

    /// True when an input of `node` is a tensor of unknown rank.
    fn reads_unranked(&self, node: &Node) -> bool {
        let is_unranked = |&id: &ValueId| self.get(id).is_some_and(|fact| matches!(fact.ty, Type::Unranked(_)));
        node.inputs().iter().flatten().any(is_unranked)
    }

    /// What the declaration of `node` alone says of output `index`: a tensor of the one element type that its type variable
    /// admits, or of that of an input with the same one.
    fn by_declaration(&self, node: &Node, index: usize) -> Option<Fact> {
        // The values that control flow carries share a variable and not their types.
        let def = node.op.builtin().filter(|def| def.bodies.is_none())?;
        let variable = def.output(index)?.ty;
        let (_, admitted) = def.types.iter().find(|(name, _)| *name == variable)?;
        let element = match admitted {
            [only] => *only,
            _ => node.inputs().iter().enumerate().find_map(|(at, input)| {
                def.input(at).filter(|param| param.ty == variable)?;
                match &self.get((*input)?)?.ty {
                    Type::Tensor(ty) => Some(ty.element),
                    Type::Unranked(element) => Some(*element),
                    Type::Sequence(_) | Type::Optional(_) => None,
                }
            })?,
        };
        Some(Type::Unranked(element).into())
    }

    /// What is known of the captures of `node`; of a weight its contents too.
    fn captures(&self, graph: &Graph, node: &Node) -> Vec<Option<Fact>> {
        let known = |&id: &ValueId| {
            let fact = self.get(id)?;
            let content = Argument::new(fact, graph.weight(id)).dims_if_small();
            Some(fact.clone().with(content))
        };
        node.captures().iter().map(known).collect()
    }
}

/// Infers every type of `model`, bodies included, and writes the types into the graphs.
///
/// Problems are calls that cannot be typed (errors) and declared types that inference contradicts (warnings: the
/// inferred type is kept).
pub fn infer(model: &mut Model) -> (Facts, Diagnostics) {
    let mut problems = Diagnostics::default();
    let facts = infer_in_place(&mut model.graph, &[], "", &mut problems);
    (facts, problems)
}

/// Infers every type of `graph` and writes the types into it; `captures` says what is known of its captures, and `scope`
/// distinguishes its fresh symbols: it is empty for the graph of a model, and [`body_scope`] for a body.
pub fn infer_in_place(graph: &mut Graph, captures: &[Option<Fact>], scope: &str, problems: &mut Diagnostics) -> Facts {
    let inputs = declared_inputs(graph);
    infer_body_in_place(graph, &inputs, captures, scope, problems)
}

/// The same, given what is known of the inputs.
fn infer_body_in_place(
    graph: &mut Graph,
    inputs: &[Option<Fact>],
    captures: &[Option<Fact>],
    scope: &str,
    problems: &mut Diagnostics,
) -> Facts {
    let facts = infer_graph(graph, inputs, captures, &Attrs::new(), scope, problems);
    let typed: Vec<(ValueId, Type)> =
        graph.values().filter_map(|(id, _)| Some((id, facts.get(id)?.ty.clone()))).collect();
    for (id, ty) in typed {
        graph.value_mut(id).ty = Some(ty);
    }
    let owners: Vec<NodeId> =
        graph.nodes().filter(|(_, node)| node.bodies().next().is_some()).map(|(id, _)| id).collect();
    for owner in owners {
        let node = graph.node(owner);
        let is_choice = node.op.is("If");
        let captured = facts.captures(graph, node);
        let scope = scope_of(graph, node, scope);
        // A body that stands alone, of an operator that we do not know, has the inputs that it declares.
        let arguments = facts.operands(graph, node);
        let known = |name: &str| {
            let given = node.op.builtin()?.bodies?;
            let call = Call {
                attrs: &node.attrs,
                inputs: arguments.as_deref()?,
                captures: &captured,
                n_outputs: node.outputs().len(),
                scope: &scope,
            };
            Some(given(&call, name))
        };
        let inputs: Vec<(Name, Vec<Option<Fact>>)> =
            node.attrs.iter().filter_map(|(name, _)| Some((name.clone(), known(name)?))).collect();
        graph.map_bodies(owner, &mut |name, body| {
            let mut body = Graph::clone(body);
            let inputs = inputs.iter().find(|(known, _)| known == name).map(|(_, inputs)| inputs.as_slice());
            let inputs = or_declared(&body, inputs.unwrap_or_default());
            let before = problems.0.len();
            infer_body_in_place(&mut body, &inputs, &captured, &body_scope(&scope, name), problems);
            if is_choice {
                // A branch that the model never takes need not fit.
                problems.0[before..].iter_mut().for_each(|problem| problem.severity = Severity::Warning);
            }
            body.into()
        });
    }
    facts
}

/// What `graph` declares of its inputs.
pub fn declared_inputs(graph: &Graph) -> Vec<Option<Fact>> {
    graph.inputs().iter().map(|&id| declared(graph, id)).collect()
}

/// What is known of the inputs of `graph`: what `given` knows, else what the graph declares.
pub(crate) fn or_declared(graph: &Graph, given: &[Option<Fact>]) -> Vec<Option<Fact>> {
    let inputs = graph.inputs().iter().enumerate();
    inputs.map(|(at, &id)| given.get(at).cloned().flatten().or_else(|| declared(graph, id))).collect()
}

/// The scope of the fresh symbols inside body `name` of a call whose own scope is `scope`.
pub fn body_scope(scope: &str, name: &str) -> String {
    format!("{scope}/{name}/")
}

/// The scope of the fresh symbols of `node`, which stands in `graph` of scope `scope`.
pub fn scope_of(graph: &Graph, node: &Node, scope: &str) -> SmolStr {
    let name = &graph.value(node.output()).name;
    // Values may be named by numbers, so a number alone could be another value's name.
    if name.is_empty() {
        format_smolstr!("{scope}%{}", node.output().index())
    } else {
        format_smolstr!("{scope}{name}")
    }
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
        let captured = facts.captures(graph, node);
        let found = match facts.operands(graph, node) {
            Some(arguments) => infer_call(
                &node.op,
                &Call {
                    attrs: &node.attrs.bind(formals),
                    inputs: &arguments,
                    captures: &captured,
                    n_outputs: node.outputs().len(),
                    scope: &scope_of(graph, node, scope),
                },
            ),
            None => Ok(Vec::new()),
        };
        let found = found.and_then(|found| match found.iter().flatten().find_map(too_many_dims) {
            Some(n) => Err(Reason(format!("a result would have {n} dims, at most {MAX_RANK} are computed with"))),
            None => Ok(found),
        });
        let found = found.unwrap_or_else(|reason| {
            // Inference of most calls begins with a rank; that there is none yet is nothing wrong with the call.
            if !facts.reads_unranked(node) {
                problems.push(untyped(graph, node, reason));
            }
            Vec::new()
        });
        let mut found = found.into_iter();
        for (index, &output) in node.outputs().iter().enumerate() {
            let inferred = found.next().flatten();
            let stated = graph.value(output).ty.as_ref();
            if let (Some(inferred), Some(stated)) = (&inferred, stated)
                && types_contradict(&inferred.ty, stated)
            {
                problems.push(contradiction(graph, node, index, &inferred.ty, stated));
            }
            let known = inferred.or_else(|| declared(graph, output));
            facts.0[output.index()] = known.or_else(|| facts.by_declaration(node, index));
        }
    }
    facts
}

/// What is known of the outputs of one call. Errors: the inputs do not fit the operator.
pub fn infer_call(op: &Op, call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    match op {
        Op::Builtin(def) => (def.infer)(call),
        Op::Opaque(_) => Ok(Vec::new()),
        Op::Function(function) => {
            let mut problems = Diagnostics::default();
            let inputs = known_inputs(call);
            let scope = format!("{}/", call.scope);
            let facts = infer_graph(&function.body, &inputs, &[], call.attrs, &scope, &mut problems);
            match problems.0.into_iter().find(|problem| problem.severity == Severity::Error) {
                Some(problem) => Err(Reason(format!("in the body of {function}: {}", problem.message))),
                None => Ok(function.body.outputs().iter().map(|output| facts.get(output.value).cloned()).collect()),
            }
        }
    }
}

fn known_inputs(call: &Call) -> Vec<Option<Fact>> {
    let known = |argument: &Argument| Fact::from(argument.ty()).with(argument.dims_if_small());
    call.inputs.iter().map(|argument| argument.as_ref().map(known)).collect()
}

/// What one call costs. A function computes what its body computes, but only its own inputs and outputs are traffic.
///
/// `None` when a type is unknown, or on overflow.
pub fn work_of_call(op: &Op, call: &Call, outputs: &[TensorType]) -> Option<Work> {
    match op {
        Op::Builtin(def) => (def.work)(call, outputs),
        Op::Opaque(_) => None,
        Op::Function(function) => {
            let mut problems = Diagnostics::default();
            let facts = infer_graph(&function.body, &known_inputs(call), &[], call.attrs, "", &mut problems);
            let mut flops = crate::dim::Dim::known(0);
            for (_, node) in function.body.nodes() {
                let attrs = node.attrs.bind(call.attrs);
                flops = flops.add(&work_in(&function.body, &facts, node, &attrs)?.flops)?;
            }
            Work::streaming(call, outputs, flops)
        }
    }
}

/// What `node` of `graph` costs; `None` when a type is unknown, or on overflow.
pub fn work_of_node(graph: &Graph, facts: &Facts, id: NodeId) -> Option<Work> {
    let node = graph.node(id);
    work_in(graph, facts, node, &node.attrs)
}

fn work_in(graph: &Graph, facts: &Facts, node: &Node, attrs: &Attrs) -> Option<Work> {
    let outputs: Option<Vec<TensorType>> = node.outputs().iter().map(|&output| facts.ty(output).cloned()).collect();
    let call = Call {
        attrs,
        inputs: &facts.arguments(graph, node)?,
        captures: &facts.captures(graph, node),
        n_outputs: node.outputs().len(),
        scope: "",
    };
    work_of_call(&node.op, &call, &outputs?)
}

impl Argument<'_> {
    /// Its elements as dims when it is small enough to be a shape or a list of axes.
    fn dims_if_small(&self) -> Option<Vec<crate::dim::Dim>> {
        const LARGEST_SHAPE: usize = 64;
        let operand = self.tensor()?;
        match operand.constant {
            Some(tensor) if tensor.count() > LARGEST_SHAPE => None,
            _ => operand.dims(),
        }
    }
}

/// The dims of a type that has more than there may be.
fn too_many_dims(fact: &Fact) -> Option<usize> {
    match &fact.ty {
        Type::Tensor(ty) => Some(ty.rank()).filter(|&n| n > MAX_RANK),
        _ => None,
    }
}

/// True when no value has both types.
fn types_contradict(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Tensor(a), Type::Tensor(b)) => contradicts(a, b),
        (Type::Sequence(a), Type::Sequence(b)) | (Type::Optional(a), Type::Optional(b)) => types_contradict(a, b),
        (Type::Tensor(_) | Type::Unranked(_), Type::Tensor(_) | Type::Unranked(_)) => a.element() != b.element(),
        _ => true,
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
    graph.value(id).ty.clone().map(Fact::from)
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

fn contradiction(graph: &Graph, node: &Node, index: usize, inferred: &Type, stated: &Type) -> Diagnostic {
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
        graph.value_mut(y).ty = stated.map(Type::from);
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

    #[test]
    fn a_result_of_too_many_dims_is_refused() {
        let mut graph = Graph::new("g");
        let x = graph.add_input("x", Some(TensorType::of(Element::Float, &[2])), None);
        let axes = graph.add_input("axes", Some(TensorType::of(Element::Int64, &[MAX_RANK as i64])), None);
        let node = graph.add_node(builtin("Unsqueeze"), Attrs::new(), [Some(x), Some(axes)], ["y"]);
        let y = graph.node(node).output();
        graph.add_output("y", y);
        let mut model = Model::new(graph);
        let (_, problems) = infer(&mut model);
        assert!(problems.to_string().contains("65 dims"), "{problems}");
        assert_eq!(model.graph.ty(y), None);
    }
}
