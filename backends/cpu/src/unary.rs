//! Functions of one f32, as an operator and as the activation of a fused one.

use crate::math;

/// A function of one element. Parameters are ONNX's attributes of the same name.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Unary {
    Relu,
    LeakyRelu {
        alpha: f32,
    },
    Elu {
        alpha: f32,
    },
    Selu {
        alpha: f32,
        gamma: f32,
    },
    Celu {
        alpha: f32,
    },
    ThresholdedRelu {
        alpha: f32,
    },
    Clip {
        min: f32,
        max: f32,
    },
    Sigmoid,
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    HardSwish,
    /// `x * sigmoid(x)`; also named Swish.
    Silu,
    Mish,
    /// Exact GELU, by the error function.
    Gelu,
    /// GELU by the tanh approximation.
    GeluTanh,
    Softplus,
    Softsign,
    Tanh,
    Erf,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Neg,
    Abs,
    Sign,
    Floor,
    Ceil,
    /// To the nearest integer, ties to even.
    Round,
    Sin,
    Cos,
    Identity,
}

impl Unary {
    /// What one element costs, in additions, roughly.
    pub(crate) fn cost(self) -> usize {
        match self {
            Unary::Relu | Unary::LeakyRelu { .. } | Unary::ThresholdedRelu { .. } | Unary::Clip { .. } => 1,
            Unary::HardSigmoid { .. } | Unary::HardSwish | Unary::Neg | Unary::Abs | Unary::Sign | Unary::Identity => 1,
            Unary::Floor | Unary::Ceil | Unary::Round => 1,
            // Scalar calls of the mathematical library.
            Unary::Log | Unary::Sin | Unary::Cos | Unary::Softplus | Unary::Mish => 16,
            _ => 4,
        }
    }

    /// Replaces every element by its image. Called inside a vectorized region.
    #[inline(always)]
    pub(crate) fn apply(self, values: &mut [f32]) {
        #[inline(always)]
        fn each(values: &mut [f32], f: impl Fn(f32) -> f32) {
            for value in values {
                *value = f(*value);
            }
        }
        match self {
            Unary::Relu => each(
                values,
                #[inline(always)]
                |x| math::at_least(x, 0.0),
            ),
            Unary::LeakyRelu { alpha } => each(
                values,
                #[inline(always)]
                |x| if x < 0.0 { alpha * x } else { x },
            ),
            Unary::Elu { alpha } => {
                each(
                    values,
                    #[inline(always)]
                    |x| if x < 0.0 { alpha * (math::exp(x) - 1.0) } else { x },
                );
            }
            Unary::Selu { alpha, gamma } => {
                each(
                    values,
                    #[inline(always)]
                    |x| gamma * if x <= 0.0 { alpha * (math::exp(x) - 1.0) } else { x },
                );
            }
            Unary::Celu { alpha } => {
                each(
                    values,
                    #[inline(always)]
                    |x| if x < 0.0 { alpha * (math::exp(x / alpha) - 1.0) } else { x },
                );
            }
            Unary::ThresholdedRelu { alpha } => each(
                values,
                #[inline(always)]
                |x| if x > alpha { x } else { 0.0 },
            ),
            Unary::Clip { min, max } => {
                each(
                    values,
                    #[inline(always)]
                    |x| math::at_most(math::at_least(x, min), max),
                );
            }
            Unary::Sigmoid => each(values, math::sigmoid),
            Unary::HardSigmoid { alpha, beta } => {
                each(
                    values,
                    #[inline(always)]
                    |x| math::at_most(math::at_least(alpha * x + beta, 0.0), 1.0),
                );
            }
            Unary::HardSwish => each(
                values,
                #[inline(always)]
                |x| x * math::at_most(math::at_least(x * (1.0 / 6.0) + 0.5, 0.0), 1.0),
            ),
            Unary::Silu => each(
                values,
                #[inline(always)]
                |x| x * math::sigmoid(x),
            ),
            Unary::Mish => each(
                values,
                #[inline(always)]
                |x| x * math::tanh(math::softplus(x)),
            ),
            Unary::Gelu => each(
                values,
                #[inline(always)]
                |x| 0.5 * x * (1.0 + math::erf(x * std::f32::consts::FRAC_1_SQRT_2)),
            ),
            Unary::GeluTanh => each(
                values,
                #[inline(always)]
                |x| 0.5 * x * (1.0 + math::tanh(0.797_884_6 * (x + 0.044_715 * x * x * x))),
            ),
            Unary::Softplus => each(values, math::softplus),
            Unary::Softsign => each(
                values,
                #[inline(always)]
                |x| x / (1.0 + x.abs()),
            ),
            Unary::Tanh => each(values, math::tanh),
            Unary::Erf => each(values, math::erf),
            Unary::Exp => each(values, math::exp),
            Unary::Log => each(values, f32::ln),
            Unary::Sqrt => each(values, f32::sqrt),
            Unary::Reciprocal => each(
                values,
                #[inline(always)]
                |x| 1.0 / x,
            ),
            Unary::Neg => each(
                values,
                #[inline(always)]
                |x| -x,
            ),
            Unary::Abs => each(values, f32::abs),
            Unary::Sign => each(
                values,
                #[inline(always)]
                |x| if x == 0.0 || x.is_nan() { x } else { x.signum() },
            ),
            Unary::Floor => each(values, f32::floor),
            Unary::Ceil => each(values, f32::ceil),
            Unary::Round => each(values, f32::round_ties_even),
            Unary::Sin => each(values, f32::sin),
            Unary::Cos => each(values, f32::cos),
            Unary::Identity => {}
        }
    }
}
