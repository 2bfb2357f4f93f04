//! What a way to a result must compute to be chosen: what our generated kernel without matrix units computes, or, where there is none,
//! what the first of our kernels computes.

use crate::backend::listed;
use crate::driver::Address;
use crate::fused::Fused;
use crate::plan::{Places, Ways, Work};
use crate::program::{CudaProgram, Ready, kinds};
use crate::ring::Ring;
use crate::view::Scalar;
use eutectic_backend::{Error, Launch as Listed};
use eutectic_ir::diag::Diagnostic;

/// The results that a way must have: libraries also offer ways that add up in the type of the result, and those lose digits
/// with every addition.
pub(crate) struct Check {
    /// Operands that kernels write, with their bytes.
    operands: Vec<(Address, usize)>,
    /// Where the compared parts of the result are, and their elements.
    parts: Vec<(Address, usize)>,
    scalar: Scalar,
    /// Largest norm of the error over the norm of the result.
    limit: f64,
    expected: Vec<f64>,
}

impl Check {
    fn found(&self, program: &CudaProgram, ring: &Ring, steps: &[Ready]) -> Result<Vec<f64>, Diagnostic> {
        let base = program.base(0);
        // What earlier trials left there may be infinite, and then no result is wrong.
        ring.fill(&program.libraries.stream, &self.operands)?;
        steps.iter().try_for_each(|ready| program.enqueue_one(ready, base))?;
        let mut found = Vec::new();
        for &(at, count) in &self.parts {
            found.extend(numbers(self.scalar, &program.bytes(at, count * self.scalar.bytes())?));
        }
        Ok(found)
    }

    /// Whether `steps` compute what is expected.
    pub fn holds(&self, program: &CudaProgram, ring: &Ring, steps: &[Ready]) -> Result<bool, Diagnostic> {
        Ok(distance(&self.found(program, ring, steps)?, &self.expected) <= self.limit)
    }
}

/// The stored elements of `bytes`.
pub(crate) fn numbers(scalar: Scalar, bytes: &[u8]) -> impl Iterator<Item = f64> {
    bytes.chunks_exact(scalar.bytes()).map(move |bytes| match (scalar, bytes) {
        (Scalar::F16, &[a, b]) => f64::from(half::f16::from_le_bytes([a, b])),
        (Scalar::Bf16, &[a, b]) => f64::from(half::bf16::from_le_bytes([a, b])),
        (Scalar::Narrow(_), &[code]) => e4m3(code),
        (_, &[a]) => f64::from(a as i8),
        (_, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
        (_, bytes) => <[u8; 8]>::try_from(bytes).map_or(f64::NAN, f64::from_le_bytes),
    })
}

/// The number of a float8 of four exponent and three mantissa bits, the only narrow type that results are checked in.
fn e4m3(code: u8) -> f64 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f64::from(code & 7));
    let magnitude = match exponent {
        _ if code & 127 == 127 => f64::NAN,
        0 => mantissa * 2f64.powi(-9),
        _ => (8.0 + mantissa) * 2f64.powi(exponent - 10),
    };
    if code & 128 == 0 { magnitude } else { -magnitude }
}

/// The norm of the difference over the norm of what is expected.
pub(crate) fn distance(found: &[f64], expected: &[f64]) -> f64 {
    let norm = |squares: f64| squares.sqrt();
    let difference = norm(found.iter().zip(expected).map(|(x, y)| (x - y) * (x - y)).sum());
    if difference == 0.0 { 0.0 } else { difference / norm(expected.iter().map(|x| x * x).sum()) }
}

impl CudaProgram {
    /// What the generated kernel computes; `None` when that tells nothing. Parts of the whole result are compared: a library
    /// may compute its end in another way than its beginning.
    pub(crate) fn check(
        &self,
        ways: &Ways,
        places: &Places,
        reference: &[Ready],
        ring: &Ring,
    ) -> Result<Option<Check>, Diagnostic> {
        const PARTS: usize = 32;
        const PART: usize = 1 << 13;
        let (count, scalar, tf32) = ways.result();
        let (width, out) = (scalar.bytes(), self.operands(places).out);
        let parts = if count <= PARTS * PART {
            vec![(out, count)]
        } else {
            let first = |part: usize| (count - PART) * part / (PARTS - 1);
            (0..PARTS).map(|part| (out + (first(part) * width) as Address, PART)).collect()
        };
        let is_attention = matches!(ways.fused, Some(Fused::Attention(_)));
        let limit = match scalar {
            // A number that lies between two steps may be rounded to either.
            Scalar::I8 => 2e-3,
            Scalar::Narrow(_) => 4e-3,
            // The sums of eight-bit floating-point numbers have fewer digits in matrix units.
            _ if ways.sums.as_ref().is_some_and(|sums| {
                sums.product.is_some_and(|product| matches!(product.scalar, Scalar::Narrow(_)))
            }) =>
            {
                4e-3
            }
            // Both sides round the weights, and each its own way.
            Scalar::F16 if is_attention => 2e-3,
            Scalar::Bf16 if is_attention => 1.6e-2,
            Scalar::F16 => 1e-3,
            Scalar::Bf16 => 8e-3,
            Scalar::F64 => 1e-12,
            _ if tf32 => 2e-3,
            _ => 3e-5,
        };
        let mut check = Check { operands: self.written(ways, places), parts, scalar, limit, expected: Vec::new() };
        check.expected = check.found(self, ring, reference)?;
        let norm: f64 = check.expected.iter().map(|x| x * x).sum();
        Ok((norm.is_finite() && norm > 0.0).then_some(check))
    }

    /// How far each step that a library computes is from the generated kernel that computes the same, on the inputs of
    /// the last run: the norm of the difference over the norm of the result. Steps without such a kernel are not among them.
    pub fn deviations(&self) -> Result<Vec<(Listed, f64)>, Error> {
        self.device.bind()?;
        let base = self.base(0);
        let mut references = self.references.iter().peekable();
        let mut found = Vec::new();
        for (at, (step, ready)) in self.plan.steps.iter().zip(&self.steps).enumerate() {
            ready.iter().try_for_each(|ready| self.enqueue_one(ready, base))?;
            let (Some((_, reference)), Work::Contraction(ways, places)) =
                (references.next_if(|(step, _)| *step == at), &step.work)
            else {
                continue;
            };
            let (count, scalar, _) = ways.result();
            let len = count * scalar.bytes();
            let out = self.operands(places).out;
            let computed: Vec<f64> = numbers(scalar, &self.bytes(out, len)?).collect();
            reference.iter().try_for_each(|ready| self.enqueue_one(ready, base))?;
            let expected: Vec<f64> = numbers(scalar, &self.bytes(out, len)?).collect();
            found.push((Listed { kind: kinds(ready), ..listed(step) }, distance(&computed, &expected)));
        }
        Ok(found)
    }
}
