//! Runs a plan.

use crate::ops::Arguments;
use crate::plan::{Argument, Plan, PlanError, Step, can_run, describe, plan};
use crate::reference;
use crate::value::{Pool, Value, count};
use eutectic_backend::{Backend, Error, HostTensor, HostValue, Launch, Options, Program};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use eutectic_ir::graph::{Def, Graph, Op};
use eutectic_ir::model::Model;
use eutectic_ir::op::Reason;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::Type;
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
            (graph.value(id).name.to_string(), graph.value(id).ty.clone(), default)
        });
        let kept = pool.held();
        Ok(Box::new(Runnable { declared: declared.collect(), plan, pool, kept, last_inputs: None }))
    }
}

/// Operators without semantics, by name: how many calls, and the first.
fn collect_unsupported(graph: &Graph, calls: &mut BTreeMap<String, (usize, String)>) {
    for (_, node) in graph.nodes() {
        if !can_run(&node.op) {
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

/// What stands between two steps: a tensor in the layout of kernels, or what only the interpreter works on.
#[derive(Clone)]
enum Held {
    Tensor(Value),
    Other(HostValue),
}

impl Held {
    fn of(value: &HostValue, pool: &mut Pool) -> Result<Held, Reason> {
        match value {
            HostValue::Tensor(tensor) => Value::of_tensor(tensor, pool).map(Held::Tensor),
            other => Ok(Held::Other(other.clone())),
        }
    }

    fn to_host(&self, pool: &mut Pool) -> Result<HostValue, Reason> {
        match self {
            Held::Tensor(value) => value.to_tensor(pool).map(HostValue::Tensor),
            Held::Other(other) => Ok(other.clone()),
        }
    }

    fn recycle(self, pool: &mut Pool) {
        if let Held::Tensor(value) = self {
            pool.recycle(value);
        }
    }
}

struct Runnable {
    /// Name, type and default of each input.
    declared: Vec<(String, Option<Type>, Option<Tensor>)>,
    plan: Plan,
    pool: Pool,
    /// Bytes of prepared constants.
    kept: usize,
    last_inputs: Option<Vec<HostValue>>,
}

impl Program for Runnable {
    fn run(&mut self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, Error> {
        let inputs: Vec<HostValue> = inputs.iter().cloned().map(HostValue::Tensor).collect();
        let outputs = self.run_values(&inputs)?;
        let tensor = |value: HostValue| {
            let reason = Reason(format!("one is {}", value.kind()));
            value.into_tensor().ok_or_else(|| failure(&self.pool, "the outputs", reason))
        };
        outputs.into_iter().map(tensor).collect()
    }

    fn run_values(&mut self, inputs: &[HostValue]) -> Result<Vec<HostValue>, Error> {
        let inputs = self.checked(inputs)?;
        let outputs = rayon::scope(|_| self.execute(&inputs))?;
        self.last_inputs = Some(inputs);
        let outputs: Result<Vec<HostValue>, Reason> =
            outputs.iter().map(|value| value.to_host(&mut self.pool)).collect();
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
        outputs?.into_iter().for_each(|value| value.recycle(&mut self.pool));
        Ok(())
    }

    fn listing(&self) -> Vec<Launch> {
        let launch =
            |step: &Step| Launch { name: step.name.clone(), kind: step.kind.to_string(), nodes: step.nodes.clone() };
        self.plan.steps.iter().map(launch).collect()
    }
}

impl Runnable {
    /// The inputs with defaults filled in. Errors: a wrong number, kind of value, element type, rank or known dim; all of them.
    fn checked(&self, given: &[HostValue]) -> Result<Vec<HostValue>, Error> {
        let mut problems = Diagnostics::default();
        let mut problem = |message: String| problems.push(Diagnostic::error(Kind::Invalid, "B0104", message));
        if given.len() > self.declared.len() {
            problem(format!("the model has {} inputs, {} are given", self.declared.len(), given.len()));
        }
        let mut inputs = Vec::new();
        for (at, (name, ty, default)) in self.declared.iter().enumerate() {
            let Some(value) = given.get(at).cloned().or_else(|| default.clone().map(HostValue::Tensor)) else {
                problem(format!("input `{name}` is missing"));
                continue;
            };
            if let Some(ty) = ty.as_ref().filter(|ty| !fits(&value, ty)) {
                let found = value.tensor().map_or(value.kind().to_string(), |tensor| tensor.ty().to_string());
                problem(format!("input `{name}` is declared {ty}, found {found}"));
            }
            inputs.push(value);
        }
        problems.into_result(inputs).map(|(inputs, _)| inputs).map_err(Error)
    }

    /// Runs the steps. Called inside the thread pool: there, dividing work wakes one thread less.
    fn execute(&mut self, inputs: &[HostValue]) -> Result<Vec<Held>, Error> {
        self.pool.settle(self.kept);
        let mut slots: Vec<Option<Held>> = vec![None; self.plan.n_slots];
        let Plan { steps, inputs: slots_of_inputs, constants, values, outputs, .. } = &mut self.plan;
        let mut memory = Memory { slots: &mut slots, constants, values, pool: &mut self.pool };
        for (&slot, value) in slots_of_inputs.iter().zip(inputs) {
            let value = Held::of(value, memory.pool).map_err(|reason| failure(memory.pool, "the inputs", reason))?;
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

/// True when `value` is one of type `ty`, as far as that is known.
fn fits(value: &HostValue, ty: &Type) -> bool {
    match (value, ty) {
        (HostValue::Tensor(tensor), Type::Tensor(ty)) => {
            ty.element == tensor.element()
                && ty.rank() == tensor.shape().len()
                && ty.shape.iter().zip(tensor.shape()).all(|(dim, &size)| dim.as_size().is_none_or(|dim| dim == size))
        }
        (HostValue::Tensor(tensor), Type::Unranked(element)) => *element == tensor.element(),
        (HostValue::Sequence(items), Type::Sequence(ty)) => items.iter().all(|item| fits(item, ty)),
        (HostValue::Optional(held), Type::Optional(ty)) => held.as_ref().is_none_or(|held| fits(held, ty)),
        _ => false,
    }
}

/// What steps read and write.
struct Memory<'a> {
    slots: &'a mut [Option<Held>],
    constants: &'a [Tensor],
    values: &'a mut [Option<Value>],
    pool: &'a mut Pool,
}

impl Memory<'_> {
    fn fetch(&mut self, argument: Argument) -> Option<Held> {
        match argument {
            Argument::Absent | Argument::Prepared(_) => None,
            Argument::Slot { slot, last: true } => self.slots[slot].take(),
            Argument::Slot { slot, last: false } => self.slots[slot].clone(),
            Argument::Constant(at) => self.values[at].clone().map(Held::Tensor),
        }
    }

    fn run(&mut self, step: &mut Step) -> Result<(), PlanError> {
        let path = &step.call.path;
        let fail = |reason: Reason| PlanError { call: describe(&step.call.op, path), reason };
        let fetched: Vec<Option<Held>> = step.arguments.iter().map(|&argument| self.fetch(argument)).collect();
        if fetched.iter().flatten().any(|value| matches!(value, Held::Other(_))) {
            // Kernels know tensors only.
            let results = self.interpret(step, &fetched).map_err(fail)?;
            return self.store(step, results);
        }
        let tensor = |value: Held| match value {
            Held::Tensor(value) => Some(value),
            Held::Other(_) => None,
        };
        let mut arguments: Arguments = fetched.into_iter().map(|value| value.and_then(tensor)).collect();
        let fast = match &mut step.kernel {
            Some(kernel) => kernel(&mut arguments, self.pool).map_err(fail)?,
            None => None,
        };
        let results: Vec<Held> = if let Some(results) = fast {
            results.into_iter().map(Held::Tensor).collect()
        } else if let Some(body) = &mut step.body {
            // The body reads the slots that this step has taken its arguments from.
            for (&argument, value) in step.arguments.iter().zip(&mut arguments) {
                if let Argument::Slot { slot, .. } = argument {
                    self.slots[slot] = value.take().map(Held::Tensor);
                }
            }
            let steps = body.steps(self.constants, self.values, self.pool)?;
            steps.iter_mut().try_for_each(|step| self.run(step))?;
            let results: Vec<Option<Held>> = step.call.outputs.iter().map(|&slot| self.slots[slot].take()).collect();
            let inner = steps.iter().flat_map(|step| &step.call.outputs).copied();
            let taken = step.arguments.iter().filter_map(|&argument| match argument {
                Argument::Slot { slot, last: true } => Some(slot),
                _ => None,
            });
            for slot in inner.chain(taken).collect::<Vec<usize>>() {
                self.slots[slot].take().into_iter().for_each(|value| value.recycle(self.pool));
            }
            results.into_iter().flatten().collect()
        } else {
            let given: Vec<Option<Held>> = arguments.drain(..).map(|value| value.map(Held::Tensor)).collect();
            let results = self.interpret(step, &given).map_err(fail)?;
            given.into_iter().flatten().for_each(|value| value.recycle(self.pool));
            results
        };
        for value in arguments.into_iter().flatten() {
            self.pool.recycle(value);
        }
        self.store(step, results)
    }

    /// Puts the results of `step` where its readers look for them.
    fn store(&mut self, step: &Step, results: Vec<Held>) -> Result<(), PlanError> {
        let fail = |reason: Reason| PlanError { call: describe(&step.call.op, &step.call.path), reason };
        if results.len() < step.call.outputs.len() {
            return Err(fail(Reason::new("it gives too few outputs")));
        }
        for ((&slot, value), &is_read) in step.call.outputs.iter().zip(results).zip(&step.is_read) {
            if let Held::Tensor(tensor) = &value {
                count(&tensor.shape).map_err(fail)?;
            }
            if is_read {
                self.slots[slot] = Some(value);
            } else {
                value.recycle(self.pool);
            }
        }
        Ok(())
    }

    fn interpret(&mut self, step: &Step, arguments: &[Option<Held>]) -> Result<Vec<Held>, Reason> {
        let mut inputs = Vec::new();
        for (source, value) in step.arguments.iter().zip(arguments) {
            inputs.push(match (source, value) {
                (Argument::Prepared(at), _) => Some(HostValue::Tensor(self.constants[*at].clone())),
                (_, Some(value)) => Some(value.to_host(self.pool)?),
                (_, None) => None,
            });
        }
        let mut captures = Vec::new();
        for captured in step.captures.iter().filter_map(|&argument| self.fetch(argument)).collect::<Vec<_>>() {
            captures.push(captured.to_host(self.pool)?);
        }
        let results = reference::run(&step.call, &inputs, &captures)?;
        results.iter().map(|value| Held::of(value, self.pool)).collect()
    }
}
