//! The model that kernels run, as a model: what regions are formed of, and what is compiled.
//!
//! Every call is one that a kernel or a view can stand for, every size is known, and the only functions are regions.

use crate::flat::{Flat, FlatCall, Known, Refusal, ValueAt, evaluate};
use crate::units::offered;
use crate::view::Precision;
use eutectic_ir::graph::{Def, Graph, NodeId, Op, ValueId};
use eutectic_ir::model::Model;
use eutectic_ir::region::{Abilities, DOMAIN, Epilogues, Limits, Role};
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::TensorType;
use eutectic_ir::{Name, walk};
use std::collections::HashMap;

/// Calls of a region, and operands of its kernel, at most.
const MAX_MEMBERS: usize = 48;
/// Streaming multiprocessors of an H100 or H200.
const PROCESSORS: usize = 132;

/// A model in the calls that kernels run, each a kernel of its own until regions are formed of them.
#[derive(Clone, Debug)]
pub struct Expanded {
    /// The model. Regions may replace calls in it.
    pub model: Model,
    /// What is possible with its calls as [`crate::Cuda::expand`] gave them.
    pub abilities: Abilities,
    /// The contents of inputs that it holds for.
    pub(crate) bound: Vec<Option<Tensor>>,
}

/// `flat`, which came of `source`, as a model.
pub(crate) fn expanded(flat: &Flat, source: &Model, precision: Precision, bound: &[Option<Tensor>]) -> Expanded {
    let mut writer = Writer { flat, graph: Graph::new(source.graph.name.clone()), at: HashMap::new() };
    for (&value, &input) in flat.inputs.iter().zip(source.graph.inputs()) {
        let id = writer.graph.add_input(source.graph.value(input).name.clone(), Some(typed(&flat.values[value])), None);
        // What is known of an input is a weight for its readers.
        if flat.values[value].constant.is_none() {
            writer.at.insert(value, id);
        }
    }
    flat.calls.iter().for_each(|call| writer.call(call));
    for (&value, output) in flat.outputs.iter().zip(source.graph.outputs()) {
        let id = writer.value(value);
        writer.graph.add_output(output.name.clone(), id);
    }
    let used = |domain: &Name| domain.is_empty() || flat.calls.iter().any(|call| call.op.domain() == domain.as_str());
    let opsets = source.opsets.iter().filter(|(domain, _)| used(domain)).cloned().collect();
    let float_bytes = match precision {
        Precision::F32 | Precision::Tf32 => 4,
        Precision::F16 | Precision::Bf16 => 2,
    };
    let producers = flat.producers();
    let role = |call: &FlatCall| {
        let role = offered(flat, call, &|value| producers[value])?;
        let Role::Anchor(epilogues) = role else { return Some(role) };
        Some(Role::Anchor(match precision {
            // Matrix units have no float32.
            Precision::F32 => {
                let apart = Epilogues { takes_shortcut: false, is_shortcut: false, ..epilogues };
                Epilogues { begins_chain: false, ends_chain: false, ..apart }
            }
            // Those of groups of warps would cut it off.
            Precision::Tf32 => Epilogues { begins_chain: false, ends_chain: false, ..epilogues },
            Precision::F16 | Precision::Bf16 => epilogues,
        }))
    };
    Expanded {
        model: Model { graph: writer.graph, functions: Vec::new(), opsets, ..source.clone() },
        abilities: Abilities {
            roles: flat.calls.iter().map(role).collect(),
            origin_of: flat.calls.iter().map(|call| call.group).collect(),
            origins: flat.groups.clone(),
            limits: Limits {
                calls: MAX_MEMBERS,
                operands: MAX_MEMBERS,
                columns: crate::region::MAX_COLUMNS,
                processors: PROCESSORS,
                float_bytes,
            },
        },
        bound: bound.to_vec(),
    }
}

fn typed(known: &Known) -> TensorType {
    let sizes: Vec<i64> = known.shape.iter().map(|&size| size as i64).collect();
    TensorType::of(known.element, &sizes)
}

struct Writer<'a> {
    flat: &'a Flat,
    graph: Graph,
    at: HashMap<ValueAt, ValueId>,
}

impl Writer<'_> {
    /// Values are named by their numbers, which no name of an input may be.
    fn name(&self, value: ValueAt) -> String {
        let mut name = format!("v{value}");
        while self.graph.inputs().iter().any(|&input| self.graph.value(input).name == name) {
            name.push('_');
        }
        name
    }

    /// What stands for `value`; constants are added when they are first read.
    fn value(&mut self, value: ValueAt) -> ValueId {
        if let Some(&id) = self.at.get(&value) {
            return id;
        }
        let known = &self.flat.values[value];
        let id = match &known.constant {
            Some(tensor) => self.graph.add_weight(self.name(value), tensor.clone()),
            None => unreachable!("a value that is no constant comes from an input or a call before"),
        };
        self.at.insert(value, id);
        id
    }

    /// The node of call `k` has number `k`, since nothing is ever removed.
    fn call(&mut self, call: &FlatCall) {
        let inputs: Vec<Option<ValueId>> =
            call.inputs.iter().map(|input| input.map(|value| self.value(value))).collect();
        let names: Vec<String> = call.outputs.iter().map(|&value| self.name(value)).collect();
        let id = self.graph.add_node(call.op.clone(), call.attrs.clone(), inputs, names);
        self.graph.node_mut(id).name = call.name.clone();
        for (&value, output) in call.outputs.iter().zip(self.graph.node(id).outputs().to_vec()) {
            self.graph.value_mut(output).ty = Some(typed(&self.flat.values[value]).into());
            self.at.insert(value, output);
        }
    }
}

/// The calls of an expanded model, in order of execution; those of one region form a group. Errors: what no expanded model has.
pub(crate) fn read(expanded: &Expanded) -> Result<Flat, Refusal> {
    let graph = &expanded.model.graph;
    let mut reader = Reader { flat: Flat::default() };
    let mut at = vec![None; graph.value_bound()];
    for (position, &input) in graph.inputs().iter().enumerate() {
        let contents = expanded.bound.get(position).cloned().flatten();
        let value = reader.value(graph, input, contents)?;
        reader.flat.inputs.push(value);
        at[input.index()] = Some(value);
    }
    reader.calls(graph, at, None).map(|outputs| reader.flat.outputs = outputs)?;
    Ok(reader.flat)
}

struct Reader {
    flat: Flat,
}

impl Reader {
    fn value(&mut self, graph: &Graph, id: ValueId, constant: Option<Tensor>) -> Result<ValueAt, Refusal> {
        let unknown = || Refusal::new(format!("value `{}`", graph.value(id).name), "its sizes are not known");
        let ty = graph.ty(id).ok_or_else(unknown)?;
        let shape = ty.sizes().ok_or_else(unknown)?;
        self.flat.values.push(Known { element: ty.element, shape, constant });
        Ok(self.flat.values.len() - 1)
    }

    fn are_constant(&self, inputs: &[Option<ValueAt>]) -> bool {
        inputs.iter().flatten().all(|&value| self.flat.values[value].constant.is_some())
    }

    /// Adds the calls of `graph`, whose inputs stand in `at`; what its outputs are.
    fn calls(
        &mut self,
        graph: &Graph,
        mut at: Vec<Option<ValueAt>>,
        group: Option<usize>,
    ) -> Result<Vec<ValueAt>, Refusal> {
        for (id, value) in graph.values() {
            if let Def::Weight(tensor) = value.def() {
                at[id.index()] = Some(self.value(graph, id, Some(tensor.clone()))?);
            }
        }
        let order =
            walk::order(graph).map_err(|_| Refusal::new(format!("graph `{}`", graph.name), "it has a cycle"))?;
        for id in order {
            self.node(graph, id, &mut at, group)?;
        }
        let missing = |name: &Name| Refusal::new(format!("output `{name}`"), "nothing computes it");
        graph.outputs().iter().map(|output| at[output.value.index()].ok_or_else(|| missing(&output.name))).collect()
    }

    fn node(
        &mut self,
        graph: &Graph,
        id: NodeId,
        at: &mut [Option<ValueAt>],
        group: Option<usize>,
    ) -> Result<(), Refusal> {
        let node = graph.node(id);
        let inputs: Vec<Option<ValueAt>> = node.inputs().iter().map(|input| at[input.as_ref()?.index()]).collect();
        let outputs = match (&node.op, group) {
            (Op::Function(function), None) if function.domain == DOMAIN => {
                let body = &function.body;
                let mut inside = vec![None; body.value_bound()];
                body.inputs().iter().zip(inputs).for_each(|(formal, actual)| inside[formal.index()] = actual);
                self.flat.groups.push(function.name.clone());
                self.calls(body, inside, Some(self.flat.groups.len() - 1))?
            }
            (Op::Function(_), _) => return Err(Refusal::new(node.op.to_string(), "it is a function, and no region")),
            // Outside of a region that reads it as it is stored, a quantized weight is what it stands for.
            (op, None) if op.is("DequantizeLinear") && self.are_constant(&inputs) => {
                let constants: Vec<Option<&Tensor>> =
                    inputs.iter().map(|input| self.flat.values[(*input)?].constant.as_ref()).collect();
                let refuse = |reason| Refusal { call: format!("{op} `{}`", node.name), reason };
                let tensors = evaluate(op, &node.attrs, &constants, node.outputs().len()).map_err(refuse)?;
                let outputs = node.outputs().iter().zip(tensors);
                outputs.map(|(&id, tensor)| self.value(graph, id, Some(tensor))).collect::<Result<_, _>>()?
            }
            (op, _) => {
                let outputs = node.outputs().iter().map(|&output| self.value(graph, output, None));
                let outputs = outputs.collect::<Result<Vec<ValueAt>, Refusal>>()?;
                let (op, attrs, name) = (op.clone(), node.attrs.clone(), node.name.clone());
                self.flat.calls.push(FlatCall { op, attrs, inputs, outputs: outputs.clone(), name, group });
                outputs
            }
        };
        for (&value, output) in node.outputs().iter().zip(outputs) {
            at[value.index()] = Some(output);
        }
        Ok(())
    }
}
