//! What a pass is, and a pipeline of them that prints itself.

use eutectic_ir::{Diagnostics, Model};
use std::fmt;
use std::time::{Duration, Instant};

/// A named change of a model, with its options bound.
pub struct Pass {
    name: &'static str,
    options: String,
    run: Box<dyn Fn(&mut Model) -> Result<Change, Diagnostics>>,
}

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// How many places it changed; 0 means that the model is as before.
    pub n_changed: usize,
    /// What the reader should know: what was left alone and why.
    pub notes: Diagnostics,
}

impl Change {
    /// `n_changed` places, nothing to say.
    pub fn of(n_changed: usize) -> Self {
        Self { n_changed, notes: Diagnostics::default() }
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
        Self { name, options: options.into(), run: Box::new(run) }
    }
}

/// Passes in order.
pub struct Pipeline(pub Vec<Pass>);

impl Pipeline {
    /// Runs every pass once. Errors: those of the first pass that fails; the model is then in an unspecified but sound state.
    pub fn run(&self, model: &mut Model) -> Result<Vec<PassReport>, Diagnostics> {
        let mut reports = Vec::with_capacity(self.0.len());
        for pass in &self.0 {
            let start = Instant::now();
            let change = (pass.run)(model)?;
            reports.push(PassReport { name: pass.name, change, time: start.elapsed() });
        }
        Ok(reports)
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pass) in self.0.iter().enumerate() {
            write!(f, "{}{}{}", if index == 0 { "" } else { " -> " }, pass.name, pass.options)?;
        }
        Ok(())
    }
}
