//! What it takes to serve one request: inputs to the device, one run, results to the host.

use crate::driver::{Event, Pinned};
use crate::plan::Place;
use crate::program::CudaProgram;
use eutectic_backend::Error;
use eutectic_ir::diag::Diagnostic;

/// Seconds of one run with its transfers, each behind the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    /// Inputs from the host to the device.
    pub upload: f64,
    /// The run.
    pub compute: f64,
    /// Results from the device to the host.
    pub download: f64,
}

/// Runs with their transfers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// Bytes of all inputs.
    pub bytes_in: usize,
    /// Bytes of all results.
    pub bytes_out: usize,
    /// Each run.
    pub runs: Vec<Served>,
}

impl CudaProgram {
    /// `n` runs one at a time on the inputs of the last run, which come from memory of the host that stays in place, as results go to such.
    /// Errors: out of memory.
    pub fn serve(&self, n: usize) -> Result<Service, Error> {
        self.device.bind()?;
        let (memory, stream) = (self.memory(0), &self.libraries.stream);
        let pinned = |at: usize, bytes: usize| Ok::<_, Diagnostic>((at, Pinned::new(&memory.read(at, bytes)?)?));
        let mut inputs = Vec::new();
        for buffer in self.plan.inputs.iter().filter_map(|input| input.buffer) {
            inputs.push(pinned(self.offset(buffer) as usize, self.plan.buffers[buffer].bytes)?);
        }
        let mut outputs = Vec::new();
        for (view, _) in &self.plan.outputs {
            outputs.push(pinned(self.address(Place::of(view)) as usize, view.count() * view.scalar.bytes())?);
        }
        let bytes = |all: &[(usize, Pinned)]| all.iter().map(|(_, pinned)| pinned.len()).sum();
        let mut service = Service { bytes_in: bytes(&inputs), bytes_out: bytes(&outputs), runs: Vec::new() };
        for _ in 0..n {
            let events = [Event::new()?, Event::new()?, Event::new()?, Event::new()?];
            let [begun, uploaded, computed, downloaded] = &events;
            begun.record(stream)?;
            inputs.iter().try_for_each(|(at, from)| stream.upload(from, memory, *at))?;
            uploaded.record(stream)?;
            self.replay(0, stream)?;
            computed.record(stream)?;
            outputs.iter_mut().try_for_each(|(at, to)| stream.download(memory, *at, to))?;
            downloaded.record(stream)?;
            service.runs.push(Served {
                download: downloaded.seconds_since(computed)?,
                compute: computed.seconds_since(uploaded)?,
                upload: uploaded.seconds_since(begun)?,
            });
        }
        Ok(service)
    }
}
