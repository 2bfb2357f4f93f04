//! Memory full of numbers that trials read: weights from changing places, and operands.

use crate::compile::Cache;
use crate::driver::{Address, Device, Kernel, Launch, Memory, Stream};
use crate::program::noise;
use eutectic_ir::diag::Diagnostic;
use std::sync::Arc;

const FILL: &str = r#"typedef unsigned long long u64;
extern "C" __global__ void region(const uint4* from, u64 n, uint4* a, u64 n_a, uint4* b, u64 n_b, uint4* c, u64 n_c) {
  const u64 first = (u64)blockIdx.x * blockDim.x + threadIdx.x, step = (u64)gridDim.x * blockDim.x;
  for (u64 at = first; at < n_a; at += step) a[at] = from[at % n];
  for (u64 at = first; at < n_b; at += step) b[at] = from[(at + 1) % n];
  for (u64 at = first; at < n_c; at += step) c[at] = from[(at + 2) % n];
}
"#;
const BLOCKS: u32 = 1024;
const THREADS: u32 = 256;
/// Bytes that one thread copies at a time.
const UNIT: usize = 16;

/// Memory larger than the cache.
pub(crate) struct Ring {
    memory: Memory,
    fill: Kernel,
}

impl Ring {
    pub fn new(device: &Arc<Device>, cache: &Cache) -> Result<Self, Diagnostic> {
        let memory = Memory::new(device, 2 * device.cache_bytes.max(1 << 20))?;
        noise(&memory, 0, memory.len())?;
        let fill = Kernel::load(&cache.compiled(FILL, device.architecture)?, 0, false)?;
        Ok(Self { memory, fill })
    }

    /// From where launch number `at` reads `weights`, addresses with their bytes, instead; nothing when they are too large.
    pub fn slots(&self, at: usize, weights: &[(Address, usize)]) -> Vec<(Address, Address)> {
        let size = |bytes: usize| bytes.next_multiple_of(256);
        let total: usize = weights.iter().map(|&(_, bytes)| size(bytes)).sum();
        let n = self.memory.len() / total.max(1);
        if n == 0 {
            return Vec::new();
        }
        let mut next = self.memory.address() + (at % n * total) as Address;
        let slot = |&(from, bytes): &(Address, usize)| {
            let slot = (from, next);
            next += size(bytes) as Address;
            slot
        };
        weights.iter().map(slot).collect()
    }

    /// Fills `places`, addresses with their bytes.
    pub fn fill(&self, stream: &Stream, places: &[(Address, usize)]) -> Result<(), Diagnostic> {
        for places in places.chunks(3) {
            let mut arguments = vec![self.memory.address(), (self.memory.len() / UNIT) as u64];
            for at in 0..3 {
                let (address, bytes) = places.get(at).copied().unwrap_or((0, 0));
                arguments.extend([address, bytes.div_ceil(UNIT) as u64]);
            }
            let launch = Launch { grid: [BLOCKS, 1], threads: THREADS, shared_bytes: 0 };
            stream.launch(&self.fill, launch, &arguments)?;
        }
        stream.synchronize()
    }
}
