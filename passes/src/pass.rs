//! What a pass is, and a pipeline of them that prints itself.

use crate::watch::{Event, Watch};
use eutectic_ir::graph::Op;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::{Attrs, Diagnostics, Model};
use std::fmt;
use std::time::{Duration, Instant};

/// A named change of a model, with its options bound.
pub struct Pass {
    name: &'static str,
    options: String,
    run: Run,
}

enum Run {
    Once(Box<dyn Fn(&mut Model) -> Result<Change, Diagnostics>>),
    /// In order, again and again until none of them changes anything, at most `rounds` times.
    UntilStable {
        rounds: usize,
        passes: Vec<Pass>,
    },
}

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// How many places it changed; 0 means that the model is as before.
    pub n_changed: usize,
    /// What the reader should know: what was left alone and why.
    pub notes: Diagnostics,
    /// The calls that it computed, in order, where it records them.
    pub computed: Vec<Computed>,
}

/// A call of constants and what it gave: where a weight of the result comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Computed {
    /// The operator.
    pub op: Op,
    /// Its attributes.
    pub attrs: Attrs,
    /// Its operands.
    pub inputs: Vec<Option<Tensor>>,
    /// What it gave.
    pub results: Vec<Tensor>,
}

impl Change {
    /// `n_changed` places, nothing to say.
    pub fn of(n_changed: usize) -> Self {
        Self { n_changed, ..Self::default() }
    }
}

/// One line of the report of a pipeline.
#[derive(Clone, Debug)]
pub struct PassReport {
    /// Name of the pass.
    pub name: &'static str,
    /// What it did.
    pub change: Change,
    /// How long it took.
    pub time: Duration,
}

impl Pass {
    /// A pass from its name, its options as they print, and what it does.
    pub fn new(
        name: &'static str,
        options: impl Into<String>,
        run: impl Fn(&mut Model) -> Result<Change, Diagnostics> + 'static,
    ) -> Self {
        Self { name, options: options.into(), run: Run::Once(Box::new(run)) }
    }

    /// The passes in order, again and again until none of them changes anything, but at most `rounds` times.
    ///
    /// Each of them reports once: its changes, its time and what it computed in all rounds, its notes of the last one.
    pub fn until_stable(rounds: usize, passes: Vec<Pass>) -> Self {
        Self { name: "repeat", options: String::new(), run: Run::UntilStable { rounds, passes } }
    }

    fn run(&self, model: &mut Model, watch: &mut Watch) -> Result<Vec<PassReport>, Diagnostics> {
        match &self.run {
            Run::Once(run) => {
                let start = Instant::now();
                let change = run(model)?;
                let report = PassReport { name: self.name, change, time: start.elapsed() };
                if let Some(watch) = watch {
                    watch(Event::Pass { report: &report, model });
                }
                Ok(vec![report])
            }
            Run::UntilStable { rounds, passes } => {
                let mut total: Vec<PassReport> = Vec::new();
                for _ in 0..*rounds {
                    let mut round = Vec::new();
                    for pass in passes {
                        round.extend(pass.run(model, watch)?);
                    }
                    let is_stable = round.iter().all(|report| report.change.n_changed == 0);
                    if total.is_empty() {
                        total = round;
                    } else {
                        for (sum, report) in total.iter_mut().zip(round) {
                            sum.time += report.time;
                            sum.change.n_changed += report.change.n_changed;
                            sum.change.notes = report.change.notes;
                            sum.change.computed.extend(report.change.computed);
                        }
                    }
                    if is_stable {
                        break;
                    }
                }
                Ok(total)
            }
        }
    }
}

/// Passes in order.
pub struct Pipeline(pub Vec<Pass>);

impl Pipeline {
    /// Runs every pass in order. Errors: those of the first pass that fails; the model is then in an unspecified but sound state.
    pub fn run(&self, model: &mut Model) -> Result<Vec<PassReport>, Diagnostics> {
        self.run_watched(model, &mut None)
    }

    /// The same, telling of each pass that ran.
    pub fn run_watched(&self, model: &mut Model, watch: &mut Watch) -> Result<Vec<PassReport>, Diagnostics> {
        let mut reports = Vec::with_capacity(self.0.len());
        for pass in &self.0 {
            reports.extend(pass.run(model, watch)?);
        }
        Ok(reports)
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.run {
            Run::Once(_) => write!(f, "{}{}", self.name, self.options),
            Run::UntilStable { rounds, passes } => {
                f.write_str("(")?;
                write_chain(f, passes)?;
                write!(f, ") until stable, at most {rounds} times")
            }
        }
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_chain(f, &self.0)
    }
}

fn write_chain(f: &mut fmt::Formatter<'_>, passes: &[Pass]) -> fmt::Result {
    for (index, pass) in passes.iter().enumerate() {
        write!(f, "{}{pass}", if index == 0 { "" } else { " -> " })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    fn counts_down(from: usize) -> (Rc<Cell<usize>>, Pass) {
        let left = Rc::new(Cell::new(from));
        let shared = Rc::clone(&left);
        let pass = Pass::new("countdown", "", move |_| {
            let n_changed = usize::from(shared.get() > 0);
            shared.set(shared.get() - n_changed);
            Ok(Change::of(n_changed))
        });
        (left, pass)
    }

    #[test]
    fn repetition_ends_when_nothing_changes_and_reports_each_pass_once() {
        let (left, pass) = counts_down(3);
        let reports = Pipeline(vec![Pass::until_stable(9, vec![pass])]).run(&mut Model::default()).expect("no failure");
        assert_eq!((left.get(), reports.len(), reports[0].change.n_changed), (0, 1, 3));
    }

    #[test]
    fn repetition_is_bounded() {
        let (left, pass) = counts_down(100);
        Pipeline(vec![Pass::until_stable(4, vec![pass])]).run(&mut Model::default()).expect("no failure");
        assert_eq!(left.get(), 96);
    }

    #[test]
    fn a_pipeline_prints_what_it_does() {
        let (_, first) = counts_down(0);
        let (_, second) = counts_down(0);
        let pipeline = Pipeline(vec![Pass::until_stable(2, vec![first]), second]);
        assert_eq!(pipeline.to_string(), "(countdown) until stable, at most 2 times -> countdown");
    }
}
