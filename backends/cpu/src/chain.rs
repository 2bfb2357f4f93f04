//! Chains of pointwise operators, computed a few vectors at a time: intermediate results never leave the first-level
//! cache. A chain ends a fused product, or stands alone.

use crate::elementwise::Binary;
use crate::unary::Unary;

/// Elements that are computed at a time; a multiple of every vector length.
const WIDTH: usize = 64;
/// Intermediate results that a chain may hold at a time.
pub const MAX_REGISTERS: usize = 8;

/// Where an instruction reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Read {
    /// An intermediate result; register 0 is the value that the chain starts with.
    Register(usize),
    /// An operand of the chain.
    Operand(usize),
    /// One number.
    Number(f32),
}

/// One operator of a chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Instruction {
    /// A function of one element.
    Unary {
        /// The function.
        f: Unary,
        /// Its argument.
        from: Read,
        /// The register that gets the result.
        to: usize,
    },
    /// A function of two elements.
    Binary {
        /// The function.
        f: Binary,
        /// Its first argument.
        left: Read,
        /// Its second argument.
        right: Read,
        /// The register that gets the result.
        to: usize,
    },
}

/// A straight-line program over elements. The result is in register 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain(Vec<Instruction>);

/// One operand of a chain.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// One element per element of the result, in the same order.
    Full(&'a [f32]),
    /// One element per column of the result: its innermost axis in memory.
    Row(&'a [f32]),
}

impl<'a> Operand<'a> {
    /// The operand of `len` elements of the result from `at` on, which are whole rows.
    pub(crate) fn part(&self, at: usize, len: usize) -> Operand<'a> {
        match *self {
            Operand::Full(elements) => Operand::Full(&elements[at..at + len]),
            Operand::Row(row) => Operand::Row(row),
        }
    }

    /// True when it fits a result of `len` elements in rows of `n_columns`.
    pub(crate) fn fits(&self, n_columns: usize, len: usize) -> bool {
        match self {
            Operand::Full(elements) => elements.len() == len,
            Operand::Row(elements) => elements.len() == n_columns,
        }
    }
}

impl Chain {
    /// A chain of `instructions`; `None` when one uses a register beyond [`MAX_REGISTERS`].
    pub fn new(instructions: Vec<Instruction>) -> Option<Self> {
        let is_fine = |read: &Read| !matches!(read, Read::Register(at) if *at >= MAX_REGISTERS);
        let fits = instructions.iter().all(|instruction| match instruction {
            Instruction::Unary { from, to, .. } => is_fine(from) && *to < MAX_REGISTERS,
            Instruction::Binary { left, right, to, .. } => is_fine(left) && is_fine(right) && *to < MAX_REGISTERS,
        });
        fits.then_some(Self(instructions))
    }

    /// What one element costs, in additions, roughly.
    pub(crate) fn cost(&self) -> usize {
        let cost = |instruction: &Instruction| match instruction {
            Instruction::Unary { f, .. } => f.cost(),
            Instruction::Binary { .. } => 1,
        };
        self.0.iter().map(cost).sum()
    }

    /// Replaces `part`, which stands at element `at` and at column `column` of the result and does not pass the end of
    /// its row, by the result of the chain. Called inside a vectorized region.
    #[inline(always)]
    pub(crate) fn apply(&self, at: usize, column: usize, operands: &[Operand<'_>], part: &mut [f32]) {
        let mut registers = [[0.0f32; WIDTH]; MAX_REGISTERS];
        let mut done = 0;
        for part in part.chunks_mut(WIDTH) {
            let len = part.len();
            registers[0][..len].copy_from_slice(part);
            for instruction in &self.0 {
                let fetch = |read: Read| -> [f32; WIDTH] {
                    match read {
                        Read::Register(register) => registers[register],
                        Read::Number(number) => [number; WIDTH],
                        Read::Operand(operand) => {
                            let from = match operands[operand] {
                                Operand::Full(elements) => &elements[at + done..][..len],
                                Operand::Row(elements) => &elements[column + done..][..len],
                            };
                            let mut lanes = [0.0; WIDTH];
                            lanes[..len].copy_from_slice(from);
                            lanes
                        }
                    }
                };
                match *instruction {
                    Instruction::Unary { f, from, to } => {
                        let mut lanes = fetch(from);
                        f.apply(&mut lanes);
                        registers[to] = lanes;
                    }
                    Instruction::Binary { f, left, right, to } => {
                        registers[to] = combine(f, fetch(left), right, fetch(right))
                    }
                }
            }
            part.copy_from_slice(&registers[0][..len]);
            done += len;
        }
    }
}

#[inline(always)]
fn combine(f: Binary, a: [f32; WIDTH], right: Read, b: [f32; WIDTH]) -> [f32; WIDTH] {
    let mut out = [0.0; WIDTH];
    match right {
        // A single exponent has faster forms than a power.
        Read::Number(number) if f == Binary::Pow => f.apply_single(&a, number, &mut out),
        _ => f.apply(&a, &b, &mut out),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn a_chain_computes_its_formula_for_any_length_and_column() {
        // x * sigmoid(x * row) + full
        let chain = Chain::new(vec![
            Instruction::Binary { f: Binary::Mul, left: Read::Register(0), right: Read::Operand(0), to: 1 },
            Instruction::Unary { f: Unary::Sigmoid, from: Read::Register(1), to: 1 },
            Instruction::Binary { f: Binary::Mul, left: Read::Register(0), right: Read::Register(1), to: 0 },
            Instruction::Binary { f: Binary::Add, left: Read::Register(0), right: Read::Operand(1), to: 0 },
        ])
        .expect("few registers");
        let (x, row, full) = (noise(1, 3 * 150), noise(2, 150), noise(3, 3 * 150));
        for (at, len) in [(0, 150), (150 + 3, 70), (300 + 149, 1)] {
            let mut part = x[at..at + len].to_vec();
            chain.apply(at, at % 150, &[Operand::Row(&row), Operand::Full(&full)], &mut part);
            for (i, got) in part.iter().enumerate() {
                let (x, add) = (x[at + i], full[at + i]);
                let want = x / (1.0 + (-x * row[(at + i) % 150]).exp()) + add;
                assert!((got - want).abs() < 1e-6, "{got} {want}");
            }
        }
    }

    #[test]
    fn numbers_and_powers_in_a_chain_are_what_they_say() {
        let chain = Chain::new(vec![
            Instruction::Binary { f: Binary::Pow, left: Read::Register(0), right: Read::Number(3.0), to: 7 },
            Instruction::Binary { f: Binary::Sub, left: Read::Number(1.0), right: Read::Register(7), to: 0 },
        ])
        .expect("few registers");
        let mut part = [0.0, 2.0, -1.0];
        chain.apply(0, 0, &[], &mut part);
        assert_eq!(part, [1.0, -7.0, 2.0]);
    }

    #[test]
    fn a_chain_with_too_many_registers_is_refused() {
        assert!(
            Chain::new(vec![Instruction::Unary { f: Unary::Relu, from: Read::Register(0), to: MAX_REGISTERS }])
                .is_none()
        );
    }
}
