//! Finds the step of an optimization after which a model gives another answer.
//!
//! The passes are searched by bisection: between a model that gives the right answer and one that does not stand two
//! neighbours of which the same is true. Where these are the graphs before and after the engine, the applications of rules
//! that lead from one to the other are held against each other singly: both sides of each are run on the values that the
//! model has there. So a wrong application is found although a later one hides it, or the next ones build on it.

use crate::certificate::{Certificate, run_on_cpu};
use crate::inputs::{Sizes, seeded};
use crate::ir::diag::Diagnostics;
use crate::ir::{Graph, Model, Name, Tensor, walk};
use crate::passes::optimize::{Options, collect_functions, optimize_watched};
use crate::passes::pipeline;
use crate::passes::saturate::{Explanation, Focus, Step};
use crate::passes::watch::Event;
use std::collections::{BTreeMap, BTreeSet};

/// What runs models: the one that is tested.
pub type Run<'a> = dyn FnMut(&Model, &[Option<Tensor>]) -> Result<Vec<Tensor>, Diagnostics> + 'a;

/// Where the answer changes.
#[derive(Clone, Debug)]
pub enum Culprit {
    /// The model itself gives the wrong answer, before anything is done to it.
    Model,
    /// A pass, or what follows the last one: the spelling of the target.
    Pass(&'static str),
    /// An application of a rule.
    Application {
        /// The application.
        step: Box<Step>,
        /// Its number in the chain, from 1.
        number: usize,
    },
    /// The engine as a whole: each application alone gives the right answer.
    Engine,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Where the answer changes.
    pub culprit: Culprit,
    /// By how much, relative to the largest magnitude of an output.
    pub difference: f64,
    /// The models around it, each with its inputs: both sides of an application, or whole models.
    pub around: [(Model, Vec<Option<Tensor>>); 2],
    /// Applications of the chain.
    pub n_steps: usize,
    /// Those whose sides could not be run alone.
    pub n_not_run: usize,
}

/// Finds the step of the optimization of `model` under `options` after which `run` gives another answer than the CPU backend
/// gives for `model`. `None` when the result of the optimization gives the right answer.
///
/// Errors: `model` cannot be run or optimized.
pub fn bisect(
    model: &Model,
    options: &Options,
    inputs: &[Option<Tensor>],
    tolerance: f64,
    run: &mut Run,
) -> Result<Option<Finding>, Diagnostics> {
    let reference = run_on_cpu(model, inputs)?;
    let mut difference = |model: &Model| {
        let outputs = run(model, inputs)?;
        Ok::<_, Diagnostics>(Certificate::of(model, &reference, &outputs, 0, tolerance).worst)
    };
    let whole = |culprit, difference, before: &Model, after: &Model| {
        let around = [before, after].map(|model| (model.clone(), inputs.to_vec()));
        Finding { culprit, difference, around, n_steps: 0, n_not_run: 0 }
    };
    let first = difference(model)?;
    if first > tolerance {
        return Ok(Some(whole(Culprit::Model, first, model, model)));
    }
    let mut stages: Vec<(Culprit, Model)> = vec![(Culprit::Model, model.clone())];
    let mut optimized = model.clone();
    let options = Options { explain: Some(Focus::Whole), ..options.clone() };
    // Once prepared, a model is as it is when it is prepared again. Steps speak of values by name, so each has one then.
    let noting = &mut |event: Event| note(&mut stages, event);
    pipeline::prepare(options.fold, false).run_watched(&mut optimized, &mut Some(noting))?;
    name_results(&mut optimized.graph);
    stages.push((Culprit::Pass("types"), optimized.clone()));
    let noting = &mut |event: Event| note(&mut stages, event);
    let report = optimize_watched(&mut optimized, &options, &mut Some(noting))?;
    let mut last = difference(&optimized)?;
    if last <= tolerance {
        return Ok(None);
    }
    stages.push((Culprit::Pass("spelling of the target"), optimized));
    // The first of them gives the right answer and the last one does not.
    while stages.len() > 2 {
        let middle = stages.len() / 2;
        match difference(&stages[middle].1) {
            Ok(found) if found > tolerance => {
                stages.truncate(middle + 1);
                last = found;
            }
            Ok(_) => drop(stages.drain(..middle)),
            // What a pass leaves to the next one need not run.
            Err(_) => drop(stages.remove(middle)),
        }
    }
    let [(_, before), (culprit, after)] = &stages[..] else { unreachable!("two stages are left") };
    let found = whole(culprit.clone(), last, before, after);
    Ok(Some(match culprit {
        Culprit::Engine => Chain { prepared: before, inputs, tolerance, run }.search(&report.explanations, found),
        _ => found,
    }))
}

/// Keeps the model after a pass that changed it, and after the engine.
fn note(stages: &mut Vec<(Culprit, Model)>, event: Event) {
    match event {
        Event::Pass { report, model } if report.change.n_changed > 0 => {
            let mut model = model.clone();
            collect_functions(&mut model);
            stages.push((Culprit::Pass(report.name), model));
        }
        Event::Rewritten { model } => stages.push((Culprit::Engine, model.clone())),
        _ => {}
    }
}

/// Gives each result of a call in `graph` a name that has none and is read.
fn name_results(graph: &mut Graph) {
    let nameless: Vec<_> = graph
        .values()
        .filter(|(id, value)| value.name.is_empty() && value.uses().len() > 0 && graph.producer(*id).is_some())
        .map(|(id, _)| id)
        .collect();
    let mut taken: BTreeSet<Name> = graph.values().map(|(_, value)| value.name.clone()).collect();
    for id in nameless {
        let mut name = Name::from(format!("value{}", id.index()));
        while !taken.insert(name.clone()) {
            name = Name::from(format!("{name}_"));
        }
        graph.value_mut(id).name = name;
    }
}

/// The applications of rules that lead from `prepared` to its rewritten form.
struct Chain<'a, 'b> {
    prepared: &'a Model,
    inputs: &'a [Option<Tensor>],
    tolerance: f64,
    run: &'a mut Run<'b>,
}

impl Chain<'_, '_> {
    /// The first application whose sides differ; `engine` where there is none.
    fn search(&mut self, explanations: &[Explanation], engine: Finding) -> Finding {
        let n_steps = explanations.iter().map(|found| found.steps.len()).sum();
        let (mut number, mut n_not_run) = (0, 0);
        for (at, explanation) in explanations.iter().enumerate() {
            // Bodies run with values that are not those of the whole: they are drawn.
            let mut known = if at == 0 { self.values(&explanation.steps) } else { BTreeMap::new() };
            for step in &explanation.steps {
                number += 1;
                match self.compare(step, &mut known) {
                    Ok((difference, around)) if difference > self.tolerance => {
                        let culprit = Culprit::Application { step: step.clone().into(), number };
                        return Finding { culprit, difference, around, n_steps, n_not_run };
                    }
                    Ok(_) => {}
                    Err(_) => n_not_run += 1,
                }
            }
        }
        Finding { n_steps, n_not_run, ..engine }
    }

    /// The values of the prepared graph that sides of steps read.
    fn values(&self, steps: &[Step]) -> BTreeMap<Name, Tensor> {
        let graph = &self.prepared.graph;
        let read: BTreeMap<&Name, _> = steps
            .iter()
            .flat_map(|step| &step.sides)
            .flat_map(|side| side.inputs().iter().map(|&id| &side.value(id).name))
            .map(|name| (name, ()))
            .collect();
        let mut known = BTreeMap::new();
        for (&id, given) in graph.inputs().iter().zip(self.inputs) {
            known.extend(given.clone().map(|tensor| (graph.value(id).name.clone(), tensor)));
        }
        let results: Vec<_> = graph
            .values()
            .filter(|(id, value)| read.contains_key(&value.name) && graph.producer(*id).is_some())
            .map(|(id, value)| (value.name.clone(), id))
            .collect();
        let mut model = self.prepared.clone();
        model.graph.keep_outputs(&[]);
        for (name, id) in &results {
            model.graph.add_output(name.clone(), *id);
        }
        // Without them, values are drawn.
        if let Ok(values) = run_on_cpu(&model, self.inputs) {
            known.extend(results.into_iter().map(|(name, _)| name).zip(values));
        }
        known
    }

    /// How much the sides of a step differ, and both with their inputs. What the right side computes is `known` afterwards.
    fn compare(
        &mut self,
        step: &Step,
        known: &mut BTreeMap<Name, Tensor>,
    ) -> Result<(f64, [(Model, Vec<Option<Tensor>>); 2]), Diagnostics> {
        let [left, right] = [&step.sides[0], &step.sides[1]].map(|side| self.model(side));
        // Whatever both read has one name, and so one value.
        for model in [&left, &right] {
            for (&id, drawn) in model.graph.inputs().iter().zip(seeded(model, &Sizes::all(1), 0)?) {
                let name = model.graph.value(id).name.clone();
                known.entry(name).or_insert_with(|| drawn.unwrap_or_else(|| unreachable!("sides have no defaults")));
            }
        }
        let given = |model: &Model| -> Vec<Option<Tensor>> {
            model.graph.inputs().iter().map(|&id| known.get(&model.graph.value(id).name).cloned()).collect()
        };
        let (of_left, of_right) = (given(&left), given(&right));
        let expected = run_on_cpu(&left, &of_left)?;
        let found = (self.run)(&right, &of_right)?;
        let difference = Certificate::of(&left, &expected, &found, 0, self.tolerance).worst;
        let mut built = right.clone();
        for id in walk::order(&right.graph).unwrap_or_default() {
            for &output in right.graph.node(id).outputs() {
                let name = &right.graph.value(output).name;
                if !name.is_empty() && !right.graph.outputs().iter().any(|output| output.name == *name) {
                    built.graph.add_output(name.clone(), output);
                }
            }
        }
        let names: Vec<Name> = built.graph.outputs().iter().map(|output| output.name.clone()).collect();
        for (name, value) in names.into_iter().zip(run_on_cpu(&built, &of_right)?) {
            known.entry(name).or_insert(value);
        }
        Ok((difference, [(left, of_left), (right, of_right)]))
    }

    fn model(&self, side: &Graph) -> Model {
        let (opsets, stores) = (self.prepared.opsets.clone(), self.prepared.stores.clone());
        let mut model = Model { opsets, stores, ..Model::new(side.clone()) };
        collect_functions(&mut model);
        model
    }
}
