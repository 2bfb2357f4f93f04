//! What a measurement needs besides times: each kernel alone, the ceilings of the device, its clock.

use crate::backend::listed;
use crate::compile::compile;
use crate::driver::{Graph, Kernel, Launch, Memory};
use crate::product::{Activation, CublasLt, Matrix, Operands, Product, WORKSPACE};
use crate::program::{CudaProgram, kinds, noise};
use crate::view::{Precision, Scalar};
use eutectic_backend::{Error, Launch as Listed};
use eutectic_ir::types::Element;

/// A step with what it costs at least.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// What ran.
    pub launch: Listed,
    /// Seconds of one launch.
    pub seconds: f64,
    /// Floating-point operations; 0 where bytes are what counts.
    pub flops: f64,
    /// Bytes of operands and results.
    pub bytes: f64,
}

/// The most that simple kernels reach on this device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// Bytes read and written a second by a copy of 256 MB.
    pub bytes_per_second: f64,
    /// Floating-point operations a second of a square product of 8192 in the given precision.
    pub flops_per_second: f64,
}

/// Many runs of a program as one graph, so that what the launch of a graph costs is no part of a short program's time.
pub struct Chain {
    graph: Graph,
    n: usize,
}

const COPY: &str = r#"extern "C" __global__ void region(const float4* __restrict__ from, float4* __restrict__ to) {
  const unsigned at = blockIdx.x * 1024u + threadIdx.x;
#pragma unroll
  for (int part = 0; part < 4; ++part) to[at + part * 256u] = from[at + part * 256u];
}
"#;

const CLOCK: &str = r#"extern "C" __global__ void region(unsigned long long* out) {
  unsigned long long begun, now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(begun));
  const long long cycles = clock64();
  do { asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now)); } while (now - begun < 200000);
  out[0] = clock64() - cycles;
  out[1] = now - begun;
}
"#;

impl CudaProgram {
    /// Each step alone: seconds of one launch among many in a graph, on each copy of the memory in turn.
    pub fn profile(&self) -> Result<Vec<Profile>, Error> {
        self.device.bind()?;
        let mut profiles = Vec::new();
        for (step, ready) in self.plan.steps.iter().zip(&self.steps) {
            let work = |at: usize| {
                let base = self.base(at % self.n_copies());
                ready.iter().try_for_each(|ready| self.enqueue_one(ready, base))
            };
            let launch = Listed { kind: kinds(ready), ..listed(step) };
            let seconds = self.timed(&work, f64::INFINITY)?;
            profiles.push(Profile { launch, seconds, flops: step.flops, bytes: step.bytes });
        }
        Ok(profiles)
    }

    /// At least `n` runs as one graph, each on the next of `n_copies` copies of the memory, of which there are as many as
    /// [`Self::spread`] made; every copy has the same number of runs.
    pub fn chain(&self, n: usize, n_copies: usize) -> Result<Chain, Error> {
        self.device.bind()?;
        let n_copies = n_copies.clamp(1, self.n_copies());
        let n = n.max(1).next_multiple_of(n_copies);
        let run = |at: usize| {
            let base = self.base(at % n_copies);
            self.steps.iter().flatten().try_for_each(|ready| self.enqueue_one(ready, base))
        };
        let graph = self.libraries.stream.capture(&mut || (0..n).try_for_each(run))?;
        Ok(Chain { graph, n })
    }

    /// Seconds of one run of `chain`, which this program made.
    pub fn chained_seconds(&self, chain: &Chain) -> Result<f64, Error> {
        self.device.bind()?;
        let stream = &self.libraries.stream;
        Ok(stream.seconds(|| stream.replay(&chain.graph))? / chain.n as f64)
    }

    /// The ceilings of programs in `precision`. Errors: out of memory.
    pub fn ceilings(&self, precision: Precision) -> Result<Ceilings, Error> {
        const COPIED: usize = 128 << 20;
        const SIZE: usize = 8192;
        let scalar = Scalar::of(Element::Float, precision).unwrap_or(Scalar::F32);
        self.device.bind()?;
        let stream = &self.libraries.stream;
        let memory = Memory::new(&self.device, 3 * SIZE * SIZE * scalar.bytes().max(4) + WORKSPACE)?;
        noise(&memory, 0, memory.len())?;
        let kernel = Kernel::load(&compile(COPY, self.device.architecture)?, 0, false)?;
        let launch = Launch { grid: [(COPIED / (16 * 1024)) as u32, 1], threads: 256, shared_bytes: 0 };
        let at = memory.address();
        let copy = |_: usize| stream.launch(&kernel, launch, &[at, at + COPIED as u64]);
        let copied = self.timed(&copy, f64::INFINITY)?;
        let matrix = Matrix { is_transposed: false, leading: SIZE, batch_stride: 0 };
        let product = Product {
            m: SIZE,
            n: SIZE,
            k: SIZE,
            batch: 1,
            left: matrix,
            right: Matrix { is_transposed: true, ..matrix },
            out: matrix,
            scalar,
            result: scalar,
            is_scaled: false,
            tf32: precision == Precision::Tf32,
            has_bias: false,
            has_residual: false,
            activation: Activation::None,
        };
        let len = (SIZE * SIZE * scalar.bytes()) as u64;
        let operands =
            Operands { left: at, right: at + len, values: 0, bias: 0, residual: 0, factors: 0, out: at + 2 * len };
        let mut multiplied = f64::INFINITY;
        let workspace = at + memory.len() as u64 - WORKSPACE as u64;
        for plan in CublasLt::new()?.plans(&product, 4)? {
            let work = |_: usize| plan.enqueue(stream, operands, workspace);
            multiplied = multiplied.min(self.timed(&work, multiplied)?);
        }
        Ok(Ceilings {
            bytes_per_second: 2.0 * COPIED as f64 / copied,
            flops_per_second: 2.0 * (SIZE as f64).powi(3) / multiplied,
        })
    }

    /// The clock of the multiprocessors in MHz, counted by a kernel that waits for a fifth of a millisecond behind the work
    /// that is enqueued.
    pub fn clock(&self) -> Result<f64, Error> {
        self.device.bind()?;
        let memory = Memory::new(&self.device, 16)?;
        let kernel = Kernel::load(&compile(CLOCK, self.device.architecture)?, 0, false)?;
        let launch = Launch { grid: [1, 1], threads: 1, shared_bytes: 0 };
        self.libraries.stream.launch(&kernel, launch, &[memory.address()])?;
        self.libraries.stream.synchronize()?;
        let bytes = memory.read(0, 16)?;
        let number = |at: usize| f64::from(u32::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte])));
        Ok(1e3 * number(0) / number(8))
    }
}
