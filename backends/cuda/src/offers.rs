//! What the libraries offer for a product or convolution, for the sums of one, and for what it has fused engines for.

use crate::cudnn::Engine;
use crate::plan::Ways;
use crate::product::ProductPlan;
use crate::program::CudaProgram;
use crate::view::Scalar;
use eutectic_ir::diag::Diagnostic;
use std::fmt::{self, Display};

/// Products that are timed.
const PRODUCTS: usize = 24;
/// Convolutions that are timed, in each order of their additions: preparing one may compile a kernel.
const ENGINES: usize = 12;
/// Fused engines that are timed.
const FUSED: usize = 4;
/// Those of quantized numbers, each of which cuDNN compiles a kernel for.
const QUANTIZED_ENGINES: usize = 5;

/// A plan of cuBLASLt.
pub(crate) struct OfferedProduct {
    /// It has sums only.
    pub of_sums: bool,
    /// Its place in the library's list.
    at: usize,
    pub plan: ProductPlan,
}

/// An engine of cuDNN.
pub(crate) struct OfferedEngine {
    /// It has sums only.
    pub of_sums: bool,
    /// It was asked for in the other form of [`crate::convolution::Convolution::has_other_form`].
    in_other_form: bool,
    /// Its place in the library's list.
    at: usize,
    pub engine: Engine,
}

/// A fused engine of cuDNN.
pub(crate) struct OfferedFused {
    /// What its list is called.
    list: &'static str,
    /// Its place in the library's list.
    at: usize,
    pub engine: Engine,
}

/// Everything that is offered.
pub(crate) struct Offers {
    pub products: Vec<OfferedProduct>,
    pub engines: Vec<OfferedEngine>,
    pub fused: Vec<OfferedFused>,
    /// Why the library has no fused engine.
    pub refusal: Option<Diagnostic>,
}

/// What a list of a library is called; that of sums begins otherwise, since both count from the beginning.
fn list(of_sums: bool, of: &str) -> String {
    format!("{}{of} ", if of_sums { "sums " } else { "" })
}

fn engines(in_other_form: bool) -> &'static str {
    if in_other_form { "cuDNN residual first" } else { "cuDNN bias first" }
}

/// Its name among the ways of one result, in the cache too.
impl Display for OfferedProduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", list(self.of_sums, "cuBLASLt"), self.at)
    }
}

/// Its name among the ways of one result, in the cache too.
impl Display for OfferedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", list(self.of_sums, engines(self.in_other_form)), self.at)
    }
}

/// Its name among the ways of one result, in the cache too.
impl Display for OfferedFused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.list, self.at)
    }
}

impl CudaProgram {
    /// What the libraries offer for `ways`; when a way named `kept` was chosen before, only the list that it is in is asked for.
    pub(crate) fn offers(&self, ways: &Ways, kept: &str) -> Offers {
        let is_wanted = |list: String| kept.is_empty() || kept.starts_with(&list);
        let mut offers = Offers { products: Vec::new(), engines: Vec::new(), fused: Vec::new(), refusal: None };
        for (of_sums, product) in [false, true].into_iter().zip(ways.products()) {
            if let (Some(product), Some(cublas)) = (product, &self.libraries.cublas)
                && is_wanted(list(of_sums, "cuBLASLt"))
            {
                let plans = cublas.plans(product, PRODUCTS).unwrap_or_default().into_iter().enumerate();
                offers.products.extend(plans.map(|(at, plan)| OfferedProduct { of_sums, at, plan }));
            }
        }
        for (of_sums, convolution) in [false, true].into_iter().zip(ways.convolutions()) {
            let (Some(convolution), Some(cudnn)) = (convolution, &self.libraries.cudnn) else { continue };
            for in_other_form in [false, true] {
                if is_wanted(list(of_sums, engines(in_other_form))) && (!in_other_form || convolution.has_other_form())
                {
                    let n = if convolution.scalar == Scalar::I8 { QUANTIZED_ENGINES } else { ENGINES };
                    let found =
                        cudnn.engines(convolution, in_other_form, n).unwrap_or_default().into_iter().enumerate();
                    let offered = |(at, engine)| OfferedEngine { of_sums, in_other_form, at, engine };
                    offers.engines.extend(found.map(offered));
                }
            }
        }
        if let (Some(fused), Some(cudnn)) = (&ways.fused, &self.libraries.cudnn)
            && is_wanted(fused.list().into())
        {
            match cudnn.fused_engines(fused, FUSED) {
                Ok(engines) => {
                    let offered = engines.into_iter().enumerate();
                    offers.fused.extend(offered.map(|(at, engine)| OfferedFused { list: fused.list(), at, engine }));
                }
                Err(problem) => offers.refusal = Some(problem),
            }
        }
        offers
    }
}
