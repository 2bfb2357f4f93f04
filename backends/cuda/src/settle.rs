//! Whether a program computes as a whole what its steps compute one by one.

use crate::compile::Cache;
use crate::driver::Kernel;
use crate::program::{CudaProgram, Ready};
use crate::tuning::key;
use eutectic_ir::diag::{Diagnostic, Kind};
use std::collections::HashMap;

/// Ways that are given up before a program is.
const MOST_REPAIRS: usize = 12;

impl CudaProgram {
    /// Chooses other ways until the program computes as a whole what its steps compute one by one.
    ///
    /// Steps that are right alone were wrong together before graphs made kernels of libraries wait; whatever makes them differ,
    /// such a program is not handed out. Errors: no other ways are left.
    pub(crate) fn settle(&mut self, cache: &Cache, kernels: &HashMap<String, Kernel>) -> Result<(), Diagnostic> {
        self.prepare_steps(cache, kernels)?;
        self.record(0)?;
        for _ in 0..MOST_REPAIRS {
            let Some(step) = self.unsettled()? else { return Ok(()) };
            // Of two computations either may be at fault.
            let keys: Vec<String> = self.plan.steps[step].work.ways().into_iter().map(key).collect();
            if keys.is_empty() {
                break;
            }
            for key in keys {
                let name = self.chosen.remove(&key).map(|(name, _)| name).unwrap_or_default();
                self.refused.entry(key).or_default().insert(name);
            }
            self.prepare_steps(cache, kernels)?;
            self.record(0)?;
        }
        let message = "the program computes as a whole other results than step by step";
        Err(Diagnostic::error(Kind::Io, "B0314", message).help("please report it with the versions of the libraries"))
    }

    /// The first step of a library, or else the last step, whose result is another one when all steps before it are enqueued
    /// at once; `None` when the results of the program are right.
    fn unsettled(&self) -> Result<Option<usize>, Diagnostic> {
        const REPLAYS: usize = 3;
        let (base, stream) = (self.base(0), &self.libraries.stream);
        let differs = |n: usize, results: &dyn Fn() -> Result<Vec<Vec<u8>>, Diagnostic>| {
            for step in &self.steps[..n] {
                step.iter().try_for_each(|ready| self.enqueue_one(ready, base))?;
                stream.synchronize()?;
            }
            let expected = results()?;
            let graph = stream.capture(&mut || {
                self.steps[..n].iter().flatten().try_for_each(|ready| self.enqueue_one(ready, base))
            })?;
            for _ in 0..REPLAYS {
                stream.replay(&graph)?;
                if results()? != expected {
                    return Ok(true);
                }
            }
            Ok::<bool, Diagnostic>(false)
        };
        let buffer = |at: usize| self.bytes(self.offset(at), self.plan.buffers[at].bytes);
        let outputs = || self.plan.outputs.iter().map(|(view, _)| buffer(view.buffer)).collect();
        let n = self.steps.len();
        if n == 0 || !differs(n, &outputs)? {
            return Ok(None);
        }
        for (at, ready) in self.steps.iter().enumerate() {
            let is_library = !ready.iter().all(|ready| matches!(ready, Ready::Kernel(..)));
            if is_library && differs(at + 1, &|| Ok(vec![buffer(self.plan.steps[at].writes[0])?]))? {
                return Ok(Some(at));
            }
        }
        Ok(Some(n - 1))
    }
}
