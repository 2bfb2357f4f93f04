//! Runs a plan.

use crate::ops::Arguments;
use crate::plan::{Argument, FlatCall, Plan, PlanError, Step, can_run, describe, plan};
use crate::reference;
use crate::value::{Pool, Value, count};
use eutectic_backend::{Backend, Error, HostTensor, Launch, Options, Program};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use eutectic_ir::graph::{Def, Graph, Op};
use eutectic_ir::model::Model;
use eutectic_ir::op::Reason;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::{TensorType, Type};
use std::collections::BTreeMap;

/// Runs models on the cores of the host.
#[derive(Clone, Copy, Debug)]
pub struct Cpu;

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn unsupported(&self, model: &Model) -> Vec<Diagnostic> {
        let mut calls = BTreeMap::new();
        collect_unsupported(&model.graph, &mut calls);
        let report = |(operator, (n_calls, first)): (String, (usize, String))| {
            Diagnostic::error(Kind::Unsupported, "B0101", format!("the cpu backend cannot run {operator}"))
                .note(format!("{n_calls} calls, the first is {first}"))
                .help("`eutectic ops` lists the operators that have reference semantics")
        };
        calls.into_iter().map(report).collect()
    }

    fn compile(&self, model: &Model, options: &Options) -> Result<Box<dyn Program>, Error> {
        let unsupported = self.unsupported(model);
        if !unsupported.is_empty() {
            return Err(Diagnostics(unsupported).into());
        }
        let mut pool = Pool::new(options.memory_limit);
        let plan = plan(model, options.calls, &mut pool).map_err(|error| failure(&pool, &error.call, error.reason))?;
        let graph = &model.graph;
        let declared = graph.inputs().iter().map(|&id| {
            let default = match graph.value(id).def() {
                Def::Input { default, .. } => default.clone(),
                _ => None,
            };
            (graph.value(id).name.to_string(), graph.ty(id).cloned(), default)
        });
        let kept = pool.held();
        Ok(Box::new(Runnable { declared: declared.collect(), plan, pool, kept, last_inputs: None }))
    }
}

/// Operators without semantics, and those that pass around what is no tensor, by name: how many calls, and the first. Inside
/// a body of control flow the interpreter runs, which knows sequences.
fn collect_unsupported(graph: &Graph, calls: &mut BTreeMap<String, (usize, String)>) {
    for (_, node) in graph.nodes() {
        let values = node.reads().chain(node.outputs().iter().copied());
        let is_other = |value| matches!(graph.value(value).ty, Some(Type::Sequence(_) | Type::Optional(_)));
        if !can_run(&node.op) || values.into_iter().any(is_other) {
            let name = std::slice::from_ref(&node.name);
            calls.entry(node.op.to_string()).or_insert_with(|| (0, describe(&node.op, name))).0 += 1;
        }
        if let Op::Function(function) = &node.op {
            collect_unsupported(&function.body, calls);
        }
    }
}

fn failure(pool: &Pool, call: &str, reason: Reason) -> Error {
    let (kind, code) = if pool.is_exceeded() { (Kind::Limit, "B0103") } else { (Kind::Invalid, "B0102") };
    Diagnostic::error(kind, code, reason.to_string()).within(call).into()
}

struct Runnable {
    /// Name, type and default of each input.
    declared: Vec<(String, Option<TensorType>, Option<Tensor>)>,
    plan: Plan,
    pool: Pool,
    /// Bytes of prepared constants.
    kept: usize,
    last_inputs: Option<Vec<Tensor>>,
}

impl Program for Runnable {
    fn run(&mut self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, Error> {
        let inputs = self.checked(inputs)?;
        let outputs = rayon::scope(|_| self.execute(&inputs))?;
        self.last_inputs = Some(inputs);
        let to_tensor = |value: Value| value.to_tensor(&mut self.pool);
        let outputs: Result<Vec<Tensor>, Reason> = outputs.into_iter().map(to_tensor).collect();
        outputs.map_err(|reason| failure(&self.pool, "the outputs", reason))
    }

    fn enqueue(&mut self) -> Result<(), Error> {
        let Some(inputs) = self.last_inputs.take() else {
            return Err(Diagnostic::error(
                Kind::Invalid,
                "B0105",
                "there are no inputs on the device: nothing was run before",
            )
            .into());
        };
        let outputs = rayon::scope(|_| self.execute(&inputs));
        self.last_inputs = Some(inputs);
        outputs?.into_iter().for_each(|value| self.pool.recycle(value));
        Ok(())
    }

    fn listing(&self) -> Vec<Launch> {
        let launch =
            |step: &Step| Launch { name: step.name.clone(), kind: step.kind.to_string(), nodes: step.nodes.clone() };
        self.plan.steps.iter().map(launch).collect()
    }
}

impl Runnable {
    /// The inputs with defaults filled in. Errors: a wrong number, element type, rank or known dim; all of them.
    fn checked(&self, given: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let mut problems = Diagnostics::default();
        let mut problem = |message: String| problems.push(Diagnostic::error(Kind::Invalid, "B0104", message));
        if given.len() > self.declared.len() {
            problem(format!("the model has {} inputs, {} are given", self.declared.len(), given.len()));
        }
        let mut inputs = Vec::new();
        for (at, (name, ty, default)) in self.declared.iter().enumerate() {
            let Some(tensor) = given.get(at).or(default.as_ref()) else {
                problem(format!("input `{name}` is missing"));
                continue;
            };
            if let Some(ty) = ty {
                let dims = ty.shape.iter().zip(tensor.shape());
                let fits = ty.element == tensor.element()
                    && ty.rank() == tensor.shape().len()
                    && dims.into_iter().all(|(dim, &size)| dim.as_size().is_none_or(|dim| dim == size));
                if !fits {
                    problem(format!("input `{name}` is declared {ty}, found {}", tensor.ty()));
                }
            }
            inputs.push(tensor.clone());
        }
        problems.into_result(inputs).map(|(inputs, _)| inputs).map_err(Error)
    }

    /// Runs the steps. Called inside the thread pool: there, dividing work wakes one thread less.
    fn execute(&mut self, inputs: &[Tensor]) -> Result<Vec<Value>, Error> {
        self.pool.settle(self.kept);
        let mut slots: Vec<Option<Value>> = vec![None; self.plan.n_slots];
        let Plan { steps, inputs: slots_of_inputs, constants, values, outputs, .. } = &mut self.plan;
        let mut memory = Memory { slots: &mut slots, constants, values, pool: &mut self.pool };
        for (&slot, tensor) in slots_of_inputs.iter().zip(inputs) {
            let value =
                Value::of_tensor(tensor, memory.pool).map_err(|reason| failure(memory.pool, "the inputs", reason))?;
            memory.slots[slot] = Some(value);
        }
        for step in steps {
            memory.run(step).map_err(|error| failure(memory.pool, &error.call, error.reason))?;
        }
        let mut results = Vec::new();
        for &output in outputs.iter() {
            match memory.fetch(output) {
                Some(value) => results.push(value),
                None => return Err(failure(memory.pool, "the outputs", Reason::new("one is not computed"))),
            }
        }
        Ok(results)
    }
}

/// What steps read and write.
struct Memory<'a> {
    slots: &'a mut [Option<Value>],
    constants: &'a [Tensor],
    values: &'a mut [Option<Value>],
    pool: &'a mut Pool,
}

impl Memory<'_> {
    fn fetch(&mut self, argument: Argument) -> Option<Value> {
        match argument {
            Argument::Absent | Argument::Prepared(_) => None,
            Argument::Slot { slot, last: true } => self.slots[slot].take(),
            Argument::Slot { slot, last: false } => self.slots[slot].clone(),
            Argument::Constant(at) => self.values[at].clone(),
        }
    }

    fn run(&mut self, step: &mut Step) -> Result<(), PlanError> {
        let path = &step.call.path;
        let fail = |reason: Reason| PlanError { call: describe(&step.call.op, path), reason };
        let mut arguments: Arguments = step.arguments.iter().map(|&argument| self.fetch(argument)).collect();
        let fast = match &mut step.kernel {
            Some(kernel) => kernel(&mut arguments, self.pool).map_err(fail)?,
            None => None,
        };
        let results = match (fast, &mut step.body) {
            (Some(results), _) => results,
            (None, Some(body)) => {
                // The body reads the slots that this step has taken its arguments from.
                for (&argument, value) in step.arguments.iter().zip(&mut arguments) {
                    if let Argument::Slot { slot, .. } = argument {
                        self.slots[slot] = value.take();
                    }
                }
                let steps = body.steps(self.constants, self.values, self.pool)?;
                steps.iter_mut().try_for_each(|step| self.run(step))?;
                let results: Vec<Option<Value>> =
                    step.call.outputs.iter().map(|&slot| self.slots[slot].take()).collect();
                let inner = steps.iter().flat_map(|step| &step.call.outputs).copied();
                let taken = step.arguments.iter().filter_map(|&argument| match argument {
                    Argument::Slot { slot, last: true } => Some(slot),
                    _ => None,
                });
                for slot in inner.chain(taken).collect::<Vec<usize>>() {
                    self.slots[slot].take().into_iter().for_each(|value| self.pool.recycle(value));
                }
                results.into_iter().flatten().collect()
            }
            (None, None) => {
                let captures: Vec<Option<Value>> = step.captures.iter().map(|&argument| self.fetch(argument)).collect();
                self.interpret(&step.call, &step.arguments, &arguments, &captures).map_err(fail)?
            }
        };
        if results.len() < step.call.outputs.len() {
            return Err(fail(Reason::new("it gives too few outputs")));
        }
        for value in arguments.into_iter().flatten() {
            self.pool.recycle(value);
        }
        for ((&slot, value), &is_read) in step.call.outputs.iter().zip(results).zip(&step.is_read) {
            count(&value.shape).map_err(fail)?;
            if is_read {
                self.slots[slot] = Some(value);
            } else {
                self.pool.recycle(value);
            }
        }
        Ok(())
    }

    fn interpret(
        &mut self,
        call: &FlatCall,
        sources: &[Argument],
        arguments: &Arguments,
        captures: &[Option<Value>],
    ) -> Result<Vec<Value>, Reason> {
        let mut inputs = Vec::new();
        for (source, value) in sources.iter().zip(arguments) {
            inputs.push(match (source, value) {
                (Argument::Prepared(at), _) => Some(self.constants[*at].clone()),
                (_, Some(value)) => Some(value.to_tensor(self.pool)?),
                (_, None) => None,
            });
        }
        let captures =
            captures.iter().flatten().map(|value| value.to_tensor(self.pool)).collect::<Result<Vec<_>, _>>()?;
        let results = reference::run(call, &inputs, &captures)?;
        results.iter().map(|tensor| Value::of_tensor(tensor, self.pool)).collect()
    }
}
