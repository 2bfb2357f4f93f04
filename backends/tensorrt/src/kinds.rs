//! The enumerations of layers: which function, which mode.

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_doc])* $variant),* }
    };
}

kinds! {
    /// A function of one element, with up to two parameters.
    ActivationKind {
        /// `max(x, 0)`.
        Relu,
        /// `1 / (1 + exp(-x))`.
        Sigmoid,
        /// Hyperbolic tangent.
        Tanh,
        /// `x >= 0 ? x : alpha x`.
        LeakyRelu,
        /// `x >= 0 ? x : alpha (exp(x) - 1)`.
        Elu,
        /// `x > 0 ? beta x : beta (alpha exp(x) - alpha)`.
        Selu,
        /// `x / (1 + |x|)`.
        Softsign,
        /// `alpha log(exp(beta x) + 1)`.
        Softplus,
        /// `max(alpha, min(beta, x))`.
        Clip,
        /// `max(0, min(1, alpha x + beta))`.
        HardSigmoid,
        /// `alpha tanh(beta x)`.
        ScaledTanh,
        /// `x > alpha ? x : 0`.
        ThresholdedRelu,
        /// `x (1 + erf(x / sqrt 2)) / 2`.
        GeluErf,
        /// The tanh approximation of GELU.
        GeluTanh,
    }
}

kinds! {
    /// A function of two broadcast elements. Both operands have the same rank and type.
    ElementWiseKind {
        /// `a + b`.
        Sum,
        /// `a b`.
        Product,
        /// The larger.
        Max,
        /// The smaller.
        Min,
        /// `a - b`.
        Subtract,
        /// `a / b`; integers round towards zero.
        Divide,
        /// `a` to the power of `b`.
        Power,
        /// `floor(a / b)`.
        FloorDivide,
        /// Both, of booleans.
        And,
        /// Either, of booleans.
        Or,
        /// One of them, of booleans.
        Xor,
        /// `a == b`.
        Equal,
        /// `a > b`.
        Greater,
        /// `a < b`.
        Less,
    }
}

kinds! {
    /// A function of one element.
    UnaryKind {
        /// `e` to the power of `x`.
        Exp,
        /// Natural logarithm.
        Log,
        /// Square root.
        Sqrt,
        /// `1 / x`.
        Reciprocal,
        /// `|x|`.
        Abs,
        /// `-x`.
        Negate,
        /// Sine.
        Sin,
        /// Cosine.
        Cos,
        /// Tangent.
        Tan,
        /// Hyperbolic sine.
        Sinh,
        /// Hyperbolic cosine.
        Cosh,
        /// Inverse sine.
        Asin,
        /// Inverse cosine.
        Acos,
        /// Inverse tangent.
        Atan,
        /// Inverse hyperbolic sine.
        Asinh,
        /// Inverse hyperbolic cosine.
        Acosh,
        /// Inverse hyperbolic tangent.
        Atanh,
        /// Smallest integer that is not below.
        Ceil,
        /// Largest integer that is not above.
        Floor,
        /// Gauss error function.
        Erf,
        /// Negation of a boolean.
        Not,
        /// -1, 0 or 1.
        Sign,
        /// Nearest integer, halves to even.
        Round,
        /// Whether it is an infinity.
        IsInf,
        /// Whether it is not a number.
        IsNan,
    }
}

kinds! {
    /// How a reduction combines elements.
    ReduceKind {
        /// Sum.
        Sum,
        /// Product.
        Product,
        /// Largest.
        Max,
        /// Smallest.
        Min,
        /// Mean.
        Mean,
    }
}

kinds! {
    /// How a pooling combines elements.
    PoolingKind {
        /// Largest.
        Max,
        /// Mean over the whole window, padding counted.
        AverageWithPadding,
        /// Mean over the elements of the input.
        Average,
    }
}

kinds! {
    /// How a matrix operand is read.
    MatrixKind {
        /// As it is.
        Plain,
        /// Last two axes exchanged.
        Transpose,
        /// The last axis is a vector.
        Vector,
    }
}

kinds! {
    /// What a slice returns outside its input.
    SliceMode {
        /// An error.
        Strict,
        /// The input, repeated.
        Wrap,
        /// The nearest element.
        Clamp,
        /// The fill value.
        Fill,
        /// The input, mirrored without its edge.
        Reflect,
    }
}

kinds! {
    /// How indices address the data of a gather.
    GatherMode {
        /// ONNX `Gather`.
        Default,
        /// ONNX `GatherElements`.
        Element,
        /// ONNX `GatherND`.
        Nd,
    }
}

kinds! {
    /// How indices address the data of a scatter.
    ScatterMode {
        /// ONNX `ScatterElements`.
        Element,
        /// ONNX `ScatterND`.
        Nd,
    }
}

kinds! {
    /// Interpolation of a resize.
    InterpolationMode {
        /// Nearest element.
        Nearest,
        /// Linear in each resized axis.
        Linear,
        /// Cubic in each resized axis.
        Cubic,
    }
}

kinds! {
    /// Which point of the input an output element stands for.
    CoordinateMode {
        /// The corners coincide.
        AlignCorners,
        /// `x / scale`.
        Asymmetric,
        /// `(x + 0.5) / scale - 0.5`.
        HalfPixel,
    }
}

kinds! {
    /// How the nearest mode rounds.
    RoundMode {
        /// Halves up.
        HalfUp,
        /// Halves down.
        HalfDown,
        /// Down.
        Floor,
        /// Up.
        Ceil,
    }
}
