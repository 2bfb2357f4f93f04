//! Walks a model in order of execution and lowers each call.

use super::builder::Builder;
use super::call::{Arg, Call};
use super::control::control;
use super::operand::{Operand, Typed, data_type, element, widened};
use super::refusal::{Refusal, without_lowering};
use super::{lowering, operators};
use crate::layer::ElementWiseKind;
use crate::spec::{DataType, NetworkSpec};
use eutectic_ir::diag::{Diagnostics, Kind};
use eutectic_ir::graph::Def;
use eutectic_ir::infer::{Facts, declared_inputs, infer_graph};
use eutectic_ir::op::Fact;
use eutectic_ir::{Attrs, Diagnostic, Dim, Element, Graph, Model, Node, Op, Tensor, TensorType, ValueId, walk};
use std::collections::{BTreeMap, HashSet};

/// Functions that call functions: deeper nesting is an error of the model.
const DEEPEST: usize = 64;

/// The network of `model`, as far as it can be lowered, and why not.
pub(super) fn network(model: &Model) -> (NetworkSpec, Diagnostics) {
    let graph = &model.graph;
    let mut reserved: HashSet<String> = graph.outputs().iter().map(|output| output.name.to_string()).collect();
    reserved.extend(graph.inputs().iter().map(|&input| graph.value(input).name.to_string()));
    let mut walker = Walker {
        builder: Builder::new(&graph.name, reserved),
        refused: BTreeMap::new(),
        problems: Diagnostics::default(),
    };
    let inputs = walker.inputs(graph);
    // What inference has to say against the model, the verifier has said already.
    let facts = infer_graph(graph, &declared_inputs(graph), &[], &Attrs::new(), "", &mut Diagnostics::default());
    let values = walker.graph(graph, [inputs, Values::new()], &facts, &Attrs::new(), &Place::default());
    walker.outputs(graph, &values, &facts);
    let problems = walker.report();
    (walker.builder.spec, problems)
}

/// Where in the model a graph stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// Names of the calls around it, each with a slash.
    pub prefix: String,
    depth: usize,
}

/// One call in its graph.
pub(super) struct Site<'a> {
    /// The call.
    pub node: &'a Node,
    /// Its attributes, references to formal ones bound.
    pub attrs: &'a Attrs,
    /// Its name, with those of the calls around it.
    pub name: &'a str,
    graph: &'a Graph,
    facts: &'a Facts,
    place: &'a Place,
}

/// A reason with the code of its diagnostic.
pub(super) type Coded = (&'static str, Refusal);

/// Everything that is known of the values of one graph.
type Values = Vec<Option<Operand>>;

/// Lowers the calls of a model, one graph after the other.
#[derive(Clone)]
pub(super) struct Walker {
    /// The network so far.
    pub builder: Builder,
    /// Calls by operator, code and reason: how many, and the first.
    refused: BTreeMap<(String, &'static str, Refusal), (usize, String)>,
    problems: Diagnostics,
}

impl Walker {
    fn inputs(&mut self, graph: &Graph) -> Values {
        let mut inputs = Vec::new();
        for &id in graph.inputs() {
            let value = graph.value(id);
            let made = typed_input(&mut self.builder, &value.name, graph.ty(id));
            inputs.push(match made {
                Ok(typed) => Some(typed.into()),
                Err(refusal) => {
                    self.problems.push(edge("input", &value.name, &refusal));
                    None
                }
            });
        }
        inputs
    }

    /// The values of `graph`, given its inputs and captures. A call that reads what could not be lowered is passed over in
    /// silence.
    fn graph(
        &mut self,
        graph: &Graph,
        [inputs, captures]: [Values; 2],
        facts: &Facts,
        formals: &Attrs,
        place: &Place,
    ) -> Values {
        let mut values: Values = vec![None; graph.value_bound()];
        for (id, value) in graph.values() {
            values[id.index()] = match value.def() {
                Def::Input { index, .. } => inputs.get(*index as usize).cloned().flatten(),
                Def::Weight(tensor) => {
                    let name = format!("{}{}", place.prefix, value.name);
                    Some(self.builder.weight(&name, tensor.clone()).into())
                }
                Def::Capture(index) => captures.get(*index as usize).cloned().flatten(),
                Def::Result(..) => None,
            };
        }
        let order = match walk::order(graph) {
            Ok(order) => order,
            Err(_) => {
                let problem = format!("graph `{}` has a cycle", graph.name);
                self.problems
                    .push(Diagnostic::error(Kind::Invalid, "B0605", problem).help("`eutectic check` shows it"));
                return values;
            }
        };
        for id in order {
            let node = graph.node(id);
            if let Some(known) = self.known(graph, node, facts) {
                known.into_iter().zip(node.outputs()).for_each(|(value, id)| values[id.index()] = Some(value));
                continue;
            }
            let name = node_name(graph, node, place);
            let (Some(args), Some(captures)) = (
                args(&values, facts, node.inputs().iter().copied()),
                args(&values, facts, node.captures().iter().copied().map(Some)),
            ) else {
                continue;
            };
            let site = Site { node, attrs: &node.attrs.bind(formals), name: &name, graph, facts, place };
            match self.call(&site, args, captures) {
                Ok(results) => {
                    for (result, &output) in results.into_iter().zip(node.outputs()) {
                        values[output.index()] = result;
                    }
                }
                Err((code, refusal)) => {
                    let key = (node.op.to_string(), code, refusal);
                    self.refused.entry(key).or_insert((0, name)).0 += 1;
                }
            }
        }
        values
    }

    /// The results of a call whose contents inference has computed.
    fn known(&mut self, graph: &Graph, node: &Node, facts: &Facts) -> Option<Vec<Operand>> {
        let mut results = Vec::new();
        for &output in node.outputs() {
            let fact = facts.get(output)?;
            let contents: Option<Vec<i64>> = fact.content.as_ref()?.iter().map(Dim::as_known).collect();
            let ty = fact.tensor()?;
            let shape: &[usize] = &ty.sizes()?;
            let tensor = match ty.element {
                Element::Int64 => Tensor::from_vec(shape, contents?),
                Element::Int32 => {
                    let narrow: Result<Vec<i32>, _> = contents?.into_iter().map(i32::try_from).collect();
                    Tensor::from_vec(shape, narrow.ok()?)
                }
                _ => return None,
            };
            results.push(self.builder.weight(&graph.value(output).name, tensor.ok()?).into());
        }
        Some(results)
    }

    /// The results of one call.
    fn call(&mut self, site: &Site, args: Vec<Option<Arg>>, captures: Vec<Option<Arg>>) -> Result<Values, Coded> {
        let Site { node, attrs, name, graph, facts, place } = *site;
        if let Op::Function(function) = &node.op {
            let results = self.body(site, &function.body, "", args, Vec::new(), attrs)?;
            return Ok(results.into_iter().map(|arg| arg.map(|arg| arg.value)).collect());
        }
        let outputs = node.outputs();
        let types: Vec<Option<TensorType>> = outputs.iter().map(|&id| facts.ty(id).cloned()).collect();
        let control = match node.op.domain() {
            "" | "ai.onnx.preview" => control(node.op.name()),
            _ => None,
        };
        if let Some(lower) = control {
            let results = lower(self, site, args, captures)?;
            let mut values = Values::new();
            for (at, result) in results.into_iter().enumerate() {
                let ty = types.get(at).and_then(Option::as_ref);
                let result = result.map(|value| agreed(&mut self.builder, value, ty)).transpose();
                values.push(result.map_err(|refusal| ("B0601", refusal))?);
            }
            return Ok(values);
        }
        let lower = match node.op.domain() {
            "" | "ai.onnx" => lowering(node.op.name()),
            _ => None,
        };
        let Some(lower) = lower else { return Err(("B0600", without_lowering(node.op.name()))) };
        let used = outputs.iter().map(|&id| graph.value(id).uses().len() > 0).collect();
        self.builder.begin(name, vec![name.to_owned()]);
        let args = args.into_iter().map(|arg| arg.map(|arg| self.computable(node.op.name(), arg)).transpose());
        let args = args.collect::<Result<_, _>>().map_err(|refusal| ("B0601", refusal))?;
        let call = Call { attrs, args, types, used };
        let results = lower(&mut self.builder, &call).map_err(|refusal| ("B0601", refusal))?;
        let mut values = Values::new();
        for (at, result) in results.into_iter().enumerate() {
            let inferred = call.types.get(at).and_then(Option::as_ref);
            let is_byte = inferred.is_some_and(|ty| ty.element == Element::Uint8);
            let result = match result {
                Operand::Tensor(tensor) if is_byte && WRAPS.contains(&node.op.name()) => {
                    wrapped(&mut self.builder, &tensor).map(Operand::from)
                }
                result => Ok(result),
            };
            let result = result.and_then(|result| agreed(&mut self.builder, result, inferred));
            let result = result.map_err(|refusal| ("B0601", refusal))?;
            if let Operand::Tensor(tensor) = &result {
                if at == 0 {
                    self.builder.end(Some(tensor));
                }
                if let Some(&output) = outputs.get(at) {
                    self.builder.name(tensor, &format!("{}{}", place.prefix, graph.value(output).name));
                }
            }
            values.push(Some(result));
        }
        Ok(values)
    }

    /// An argument in a type that layers compute in: unsigned bytes, which TensorRT only converts, as wider numbers.
    fn computable(&mut self, op: &str, arg: Arg) -> Result<Arg, Refusal> {
        let is_byte = arg.value.data_type().is_ok_and(|data_type| data_type == DataType::U8);
        if !is_byte || CONVERTS.contains(&op) {
            return Ok(arg);
        }
        let Arg { value, content } = arg;
        let value = match value {
            Operand::Tensor(tensor) => {
                let to = if op == "MaxPool" { DataType::F32 } else { DataType::I32 };
                self.builder.cast(&tensor, to).into()
            }
            Operand::Weight(weight) => widened(&weight)?.into(),
        };
        Ok(Arg { value, content })
    }

    /// The outputs of `body`, a graph that the call at `site` holds, given its inputs and captures; `None` for one that could not
    /// be lowered. `part` tells several bodies, or turns of one, apart.
    pub fn body(
        &mut self,
        site: &Site,
        body: &Graph,
        part: &str,
        inputs: Vec<Option<Arg>>,
        captures: Vec<Option<Arg>>,
        formals: &Attrs,
    ) -> Result<Vec<Option<Arg>>, Coded> {
        if site.place.depth >= DEEPEST {
            return Err(("B0605", Refusal::new("functions call each other without end")));
        }
        let known =
            |args: &[Option<Arg>]| -> Vec<Option<Fact>> { args.iter().map(|arg| fact_of(arg.as_ref()?)).collect() };
        let scope = format!("{}/{part}", site.name);
        let facts = infer_graph(body, &known(&inputs), &known(&captures), formals, &scope, &mut Diagnostics::default());
        let place = Place { prefix: scope, depth: site.place.depth + 1 };
        let given = [inputs, captures].map(|args| args.into_iter().map(|arg| arg.map(|arg| arg.value)).collect());
        let values = self.graph(body, given, &facts, formals, &place);
        let result = |id: ValueId| {
            let content = facts.get(id).and_then(|fact| fact.content.clone());
            Some(Arg { value: values[id.index()].clone()?, content })
        };
        Ok(body.outputs().iter().map(|output| result(output.value)).collect())
    }

    fn outputs(&mut self, graph: &Graph, values: &Values, facts: &Facts) {
        let mut returned = HashSet::new();
        for output in graph.outputs() {
            let Some(value) = values[output.value.index()].clone() else {
                if self.refused.is_empty() && !self.problems.has_errors() {
                    self.problems.push(edge("output", &output.name, &Refusal::new("nothing computes it")));
                }
                continue;
            };
            self.builder.begin(&output.name, Vec::new());
            let ty = facts.ty(output.value);
            let made = agreed(&mut self.builder, value, ty).and_then(|value| self.builder.tensor(&value));
            match made {
                Ok(tensor) => {
                    // An input or a constant is no output, and a tensor is one only once.
                    let is_own =
                        tensor.at.0 as usize >= self.builder.spec.inputs.len() && !self.builder.is_constant(&tensor);
                    let tensor = if is_own && returned.insert(tensor.at) {
                        tensor
                    } else {
                        let copy = self.builder.identity(&tensor);
                        self.builder.end(Some(&copy));
                        returned.insert(copy.at);
                        copy
                    };
                    self.builder.spec.output(output.name.as_str(), tensor.at);
                }
                Err(refusal) => self.problems.push(edge("output", &output.name, &refusal)),
            }
        }
    }

    fn report(&mut self) -> Diagnostics {
        let mut problems = std::mem::take(&mut self.problems);
        for ((op, code, refusal), (count, first)) in &self.refused {
            let calls = if *count == 1 { "1 call".to_owned() } else { format!("{count} calls") };
            let kind = if *code == "B0605" { Kind::Invalid } else { Kind::Unsupported };
            let message = format!("{op} can't be lowered: {}", refusal.reason);
            let mut problem = Diagnostic::error(kind, code, message).note(format!("{calls}, first `{first}`"));
            problem.help = match (&refusal.instead, *code) {
                (Some(instead), _) => Some(format!("supported: {instead}")),
                (None, "B0600") => nearest(op).map(|known| format!("there is a lowering for {known}")),
                (None, _) => None,
            };
            problems.push(problem);
        }
        problems
    }
}

/// Operators whose lowering takes unsigned bytes as they are.
const CONVERTS: [&str; 8] = [
    "Cast",
    "CastLike",
    "QuantizeLinear",
    "DequantizeLinear",
    "MatMulInteger",
    "ConvInteger",
    "QLinearMatMul",
    "QLinearConv",
];

/// Operators whose results in bytes wrap around.
const WRAPS: [&str; 6] = ["Add", "Sub", "Mul", "Sum", "Pow", "CumSum"];

/// `x` modulo 256, from 0 on.
fn wrapped(builder: &mut Builder, x: &Typed) -> Result<Typed, Refusal> {
    let turns = builder.with(ElementWiseKind::FloorDivide, x, 256.0)?;
    let turns = builder.with(ElementWiseKind::Product, &turns, 256.0)?;
    builder.pair(ElementWiseKind::Subtract, x, &turns)
}

/// An operator whose name begins alike.
fn nearest(op: &str) -> Option<&'static str> {
    let alike = |name: &str| name.chars().zip(op.chars()).take_while(|(a, b)| a == b).count();
    operators().map(|(_, name)| name).max_by_key(|name| alike(name)).filter(|name| alike(name) >= 4)
}

fn edge(what: &str, name: &str, refusal: &Refusal) -> Diagnostic {
    let mut problem = Diagnostic::error(Kind::Unsupported, "B0602", format!("{what} `{name}`: {refusal}"));
    problem.help = refusal.instead.as_ref().map(|instead| format!("supported: {instead}"));
    problem
}

fn typed_input(builder: &mut Builder, name: &str, ty: Option<&TensorType>) -> Result<Typed, Refusal> {
    let ty = ty.ok_or_else(|| Refusal::new("its type is not known").instead("a declared type and rank"))?;
    let data_type = data_type(ty.element)?;
    if ty.rank() > crate::layer::MAX_RANK {
        return Err(Refusal::new(format!("it has {} axes", ty.rank())).instead("at most 8"));
    }
    let dims: Vec<i64> = ty.shape.iter().map(|dim| dim.as_known().unwrap_or(-1)).collect();
    let at = builder.spec.input(name, data_type, &dims).map_err(|error| Refusal::new(error.problem))?;
    Ok(Typed { at, data_type, shape: ty.shape.clone() })
}

/// What inference knows better: element type and extents. A result of another rank is an error of the lowering.
fn agreed(builder: &mut Builder, value: Operand, inferred: Option<&TensorType>) -> Result<Operand, Refusal> {
    let (Operand::Tensor(tensor), Some(inferred)) = (&value, inferred) else { return Ok(value) };
    if tensor.rank() != inferred.rank() {
        return Err(Refusal::new(format!("its result has {} axes, inferred: {inferred}", tensor.rank())));
    }
    let mut tensor = builder.cast(tensor, data_type(inferred.element)?);
    for (mine, theirs) in tensor.shape.iter_mut().zip(&inferred.shape) {
        if mine.as_known().is_none() {
            *mine = theirs.clone();
        }
    }
    Ok(tensor.into())
}

/// What inference may take for known of an argument.
fn fact_of(arg: &Arg) -> Option<Fact> {
    let ty = match &arg.value {
        Operand::Weight(weight) => weight.tensor.ty(),
        Operand::Tensor(tensor) => TensorType::new(element(tensor.data_type), tensor.shape.clone()),
    };
    let small = || arg.ints().filter(|ints| ints.len() <= 64 && ty.rank() <= 1 && ty.element.is_integer());
    let content = arg.content.clone().or_else(|| Some(small()?.into_iter().map(Dim::known).collect()));
    Some(Fact::from(ty).with(content))
}

/// The operands of a call; `None` when one could not be lowered.
fn args(values: &Values, facts: &Facts, ids: impl Iterator<Item = Option<ValueId>>) -> Option<Vec<Option<Arg>>> {
    let arg = |id: ValueId| {
        let value = values[id.index()].clone()?;
        let content = facts.get(id).and_then(|fact| fact.content.clone());
        Some(Arg { value, content })
    };
    ids.map(|id| id.map_or(Some(None), |id| arg(id).map(Some))).collect()
}

/// The node's own name, or operator and result when it has none.
fn node_name(graph: &Graph, node: &Node, place: &Place) -> String {
    let name = match node.name.as_str() {
        "" => match graph.value(node.output()).name.as_str() {
            "" => format!("{} {}", node.op.name(), node.output().index()),
            result => format!("{} {result}", node.op.name()),
        },
        name => name.to_owned(),
    };
    format!("{}{name}", place.prefix)
}
