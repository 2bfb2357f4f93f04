//! What happens to a result before it leaves the cache: bias, residual addition, activation.

use crate::chain::{Chain, Operand};
use crate::simd::{Simd, WithSimd};
use crate::unary::Unary;

/// `activation(product + bias[n] + residual[m, n])`, or any chain of pointwise operators in place of the activation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// One element per output column (channel).
    pub bias: Option<&'a [f32]>,
    /// Same shape and layout as the output.
    pub residual: Option<&'a [f32]>,
    /// Applied after the addition.
    pub activation: Option<Unary>,
    /// Applied last, with its operands.
    pub chain: Option<(&'a Chain, &'a [Operand<'a>])>,
}

impl Epilogue<'_> {
    /// # Panics
    /// When an operand's length does not fit the output.
    pub(crate) fn check(&self, n_columns: usize, n_elements: usize) {
        let operands = self.chain.map_or(&[][..], |(_, operands)| operands);
        assert!(operands.iter().all(|operand| operand.fits(n_columns, n_elements)), "the operands fit the output");
        assert!(self.bias.is_none_or(|bias| bias.len() == n_columns), "the bias has one element per column");
        assert!(
            self.residual.is_none_or(|residual| residual.len() == n_elements),
            "the residual has the output's shape"
        );
    }

    /// Finishes `part`, which stands at element `at` and column `column` of the output, ends within its row, and already
    /// contains the bias.
    #[inline(always)]
    pub(crate) fn finish<S: Simd>(&self, simd: S, at: usize, column: usize, part: &mut [f32]) {
        if let Some(residual) = self.residual {
            let residual = &residual[at..at + part.len()];
            for (value, add) in part.iter_mut().zip(residual) {
                *value += add;
            }
        }
        match self.activation {
            None => {}
            Some(Unary::Relu) => Unary::Relu.apply(part),
            Some(activation) => simd.vectorize(Apply { activation, part: &mut *part }),
        }
        if let Some((chain, operands)) = self.chain {
            simd.vectorize(Run { chain, operands, at, column, part });
        }
    }
}

/// The rarer activations, kept out of line: their loops would be copied into every register tile.
struct Apply<'a> {
    activation: Unary,
    part: &'a mut [f32],
}

impl WithSimd for Apply<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.activation.apply(self.part);
    }
}

/// A chain, out of line for the same reason.
struct Run<'a> {
    chain: &'a Chain,
    operands: &'a [Operand<'a>],
    at: usize,
    column: usize,
    part: &'a mut [f32],
}

impl WithSimd for Run<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.chain.apply(self.at, self.column, self.operands, self.part);
    }
}
