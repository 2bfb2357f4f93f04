//! Published rules of other systems in our language.
//!
//! TENSAT (Yang, Phothilimthana, Wang, Willsey, Roy, Pienaar, MLSys 2021) publishes the rules of TASO (Jia, Padon, Thomas,
//! Warszawski, Zaharia, Aiken, SOSP 2019) as S-expressions. Such a text leaves open what a graph must have for a rule to
//! apply: the system asks for no more than that both sides have shapes. What its operators admit is therefore part of
//! each rule, and becomes conditions:
//!
//! - `matmul` takes operands of one rank, 2 or more, with equal leading axes. Where ranks are not written beside a join,
//!   that is the condition on the leading axes.
//! - `concat axis rank a b` takes two operands of `rank` axes; their other sizes agree, as ONNX says too.
//! - `conv2d` takes images. It has as many groups as the channels of the input hold those of the weights; the right side
//!   computes that number. Padding 0 keeps the size, with the odd one at the end as in ONNX `SAME_UPPER`; the published
//!   implementation pads alike on both sides, which is the same for odd kernels and undefined for even ones. The canonical
//!   form has explicit pads, so the condition is that these are the ones that keep the size. Padding 1 is none.
//! - The published convolution has no bias and the canonical one has: it must be zero, and the right side makes a zero one.
//! - Activations that `conv2d` and `matmul` carry become calls of their own.
//! - `split axis x` cuts where the uppermost `concat` on that axis below it was joined; sizes of the parts are computed
//!   from the parts of that `concat`.
//! - Operands of the right side must be admitted in the same way, as far as their shapes can be expressed over the left.
//! - Every rule `reassociates`: none was published with a claim on rounding.
//!
//! Element-wise operators and groups are read in two ways, [`Reading`]. A pair whose two left sides share no input would
//! match every two calls of a model; it is stated from right to left, which is the same equation.

mod judge;
mod reader;
mod shapes;
mod term;
mod translate;

pub use judge::{Finding, Import, import, judge};
pub use reader::{Lines, read};
pub use shapes::instances;
pub use term::{Operator, Published, Term};
pub use translate::{Translation, translate};

/// How what the published text leaves open is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As the published proofs assume: element-wise operands have one shape, convolutions of the left side are dense.
    Strict,
    /// As runtimes execute it: element-wise operands broadcast, convolutions have any number of groups.
    Liberal,
}
