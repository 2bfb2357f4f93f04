//! Single operators as kernels with one thread for each element or line of a result, on tensors that lie anywhere.
//!
//! These serve every operator without a kernel of its own: right for any layout and rank, and bound by memory only where an
//! element takes a few reads.

use crate::driver::Launch;
use crate::region::{Generated, prelude};
use crate::view::View;
use std::fmt::Write;

const THREADS: usize = 128;

/// A kernel over `shape`: `body` runs once for each position, whose coordinates are `o[0]`, `o[1]`, ...
///
/// In it, `X0(c)` is the element of the first input at the coordinates `c`, an array of `i64`; `Y0(c)` is that of the first
/// output, and `PUT0(c, x)` writes it.
pub(crate) struct Direct<'a> {
    /// What it iterates over.
    pub shape: &'a [usize],
    /// What it reads.
    pub inputs: &'a [View],
    /// What it writes.
    pub outputs: &'a [View],
    /// Statements of CUDA C++.
    pub body: &'a str,
    /// A whole block runs the body of each position: `lane` of `LANES` threads, with `scratch` for `reduced`.
    pub by_block: bool,
}

impl Direct<'_> {
    /// The kernel. `None` when it has too many positions to launch.
    pub fn generate(&self) -> Option<Generated> {
        let count: usize = self.shape.iter().product();
        let views = || self.inputs.iter().chain(self.outputs);
        let mut text = prelude(views());
        for (at, view) in views().enumerate() {
            let _ =
                write!(text, "__device__ __forceinline__ size_t place{at}(const i64* c) {{ return {}ull", view.offset);
            for (axis, stride) in view.strides.iter().enumerate().filter(|(_, stride)| **stride != 0) {
                let _ = write!(text, " + (size_t)c[{axis}] * {stride}ull");
            }
            text.push_str("; }\n");
        }
        let n_inputs = self.inputs.len();
        for at in 0..n_inputs {
            let _ = writeln!(text, "#define X{at}(c) get(p{at}[place{at}(c)])");
        }
        for at in 0..self.outputs.len() {
            let place = n_inputs + at;
            let _ = writeln!(text, "#define Y{at}(c) get(p{place}[place{place}(c)])");
            let _ = writeln!(text, "#define PUT{at}(c, x) put(p{place}[place{place}(c)], x)");
        }
        let parameters: Vec<String> = views()
            .enumerate()
            .map(|(at, view)| format!("{}{}* p{at}", if at < n_inputs { "const " } else { "" }, view.scalar.spelled()))
            .collect();
        let _ = write!(
            text,
            "extern \"C\" __global__ void __launch_bounds__({THREADS}) region({}) {{\n  BEGIN;\n  \
             const size_t at = {};\n  if (at >= {count}ull) return;\n  i64 o[{}] = {{0}};\n",
            parameters.join(", "),
            if self.by_block { "blockIdx.x".into() } else { format!("(size_t)blockIdx.x * {THREADS} + threadIdx.x") },
            self.shape.len().max(1)
        );
        if self.by_block {
            let _ =
                writeln!(text, "  const int lane = threadIdx.x, LANES = {THREADS};\n  __shared__ double scratch[32];");
        }
        let mut inner = 1usize;
        for (axis, &size) in self.shape.iter().enumerate().rev() {
            let _ = writeln!(text, "  o[{axis}] = (i64)(at / {inner}ull % {}ull);", size.max(1));
            inner *= size.max(1);
        }
        text.push_str(self.body);
        text.push_str("\n}\n");
        let blocks = u32::try_from(count.div_ceil(if self.by_block { 1 } else { THREADS }))
            .ok()
            .filter(|&blocks| blocks < 1 << 31)?;
        Some(Generated {
            source: text,
            launch: Launch { grid: [blocks.max(1), 1], threads: THREADS as u32, shared_bytes: 0 },
            parameters: views().map(|view| view.buffer).collect(),
        })
    }
}
