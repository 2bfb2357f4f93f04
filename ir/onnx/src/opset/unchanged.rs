//! Versions of operators at which nothing changed that a step has to express, each with its reason.
//!
//! Versions that only admitted more element types are not here; `widened.rs` has them.

/// A reason, and the versions of operators that it is for.
type Reasoned = (&'static str, &'static [(&'static str, &'static [u64])]);

/// Every such version.
pub(super) const UNCHANGED: &[Reasoned] = &[
    (
        "axes may count from the end since then; export to below 11 counts every axis from the front",
        &[
            ("ArgMax", &[11]),
            ("ArgMin", &[11]),
            ("Compress", &[11]),
            ("Concat", &[11]),
            ("Flatten", &[11]),
            ("Gather", &[11]),
            ("Hardmax", &[11]),
            ("LogSoftmax", &[11]),
            ("OneHot", &[11]),
            ("ReduceL1", &[11]),
            ("ReduceL2", &[11]),
            ("ReduceLogSum", &[11]),
            ("ReduceLogSumExp", &[11]),
            ("ReduceMax", &[11]),
            ("ReduceMean", &[11]),
            ("ReduceMin", &[11]),
            ("ReduceProd", &[11]),
            ("ReduceSum", &[11]),
            ("ReduceSumSquare", &[11]),
            ("Softmax", &[11]),
            ("Split", &[11]),
            ("Squeeze", &[11]),
            ("Unsqueeze", &[11]),
        ],
    ),
    (
        "the text says more clearly what strides, dilations and automatic padding are",
        &[
            ("AveragePool", &[11]),
            ("Conv", &[11]),
            ("ConvTranspose", &[11]),
            ("LpPool", &[11]),
            ("MaxPool", &[11]),
            ("MaxUnpool", &[11]),
        ],
    ),
    (
        "only the text changed",
        &[
            ("DepthToSpace", &[28]),
            ("Gemm", &[6]),
            ("Loop", &[11]),
            ("NegativeLogLikelihoodLoss", &[13]),
            ("NonMaxSuppression", &[11]),
        ],
    ),
    ("branches may differ in their shapes since then, which no file says of itself", &[("If", &[11])]),
    (
        "values other than tensors are admitted since then, which the declared types of a file tell",
        &[("Identity", &[14, 16]), ("If", &[13]), ("Loop", &[13])],
    ),
    (
        "floats of six bits are admitted since then; the IR has none",
        &[("Cast", &[28]), ("DequantizeLinear", &[28]), ("QuantizeLinear", &[28])],
    ),
    ("constants are read into weights, whichever attribute states them", &[("Constant", &[11, 12])]),
];
