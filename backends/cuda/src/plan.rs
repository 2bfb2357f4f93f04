//! A model as a list of launches: what runs, in which ways, on which memory.

use crate::constants::Constant;
use crate::convolution::Convolution;
use crate::fused::Fused;
use crate::product::Product;
use crate::region::Generated;
use crate::view::{Scalar, View};
use eutectic_ir::attr::Name;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::Element;

/// What a buffer holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// A result, at a place that the arena gives it.
    Arena,
    /// The graph's input with this number.
    Input(usize),
    /// Known before the run.
    Constant(Constant),
}

/// Memory that kernels read and write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Buffer {
    /// Its length.
    pub bytes: usize,
    /// What it holds.
    pub content: Content,
}

/// A place in a buffer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The buffer.
    pub buffer: usize,
    /// Bytes from its beginning.
    pub offset: usize,
}

impl Place {
    /// Where a view begins.
    pub fn of(view: &View) -> Self {
        Self { buffer: view.buffer, offset: view.offset * view.scalar.bytes() }
    }
}

/// What one step runs.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// A generated kernel; its parameters are the beginnings of buffers.
    Kernel(Generated),
    /// What libraries compute, too: a product, convolution, attention or normalization, in every way that there is; the fastest is found on the device.
    Contraction(Box<Ways>, Places),
}

impl Work {
    /// The ways to its result, and those to what is before some of them.
    pub fn ways(&self) -> Vec<&Ways> {
        match self {
            Self::Kernel(_) => Vec::new(),
            Self::Contraction(ways, _) => {
                let before = ways.before.iter().flat_map(|step| step.work.ways());
                [&**ways].into_iter().chain(before).collect()
            }
        }
    }

    /// Leaves out the kernels that compete with libraries.
    fn leave_to_libraries(&mut self) {
        let Self::Contraction(ways, _) = self else { return };
        if ways.has_library() {
            ways.ours.clear();
        }
        ways.before.iter_mut().for_each(|step| step.work.leave_to_libraries());
    }
}

/// Ways to compute one result.
#[derive(Clone, Debug)]
pub(crate) struct Ways {
    /// As a matrix product.
    pub product: Option<Product>,
    /// As a convolution.
    pub convolution: Option<Convolution>,
    /// By an engine of cuDNN for more than a product or convolution. It is checked against the first of `ours`.
    pub fused: Option<Fused>,
    /// By a generated kernel, which needs no library. The others are checked against it.
    pub otherwise: Option<Generated>,
    /// The activation, in place, after a way that does not have it.
    pub after: Option<Generated>,
    /// Ways that have sums only, in place of a result.
    pub sums: Option<Box<Sums>>,
    /// By generated kernels that compete with libraries.
    pub ours: Vec<Ours>,
    /// What gives the residual, or the left operand, and only these ways read: before all but those of ours that compute it, too.
    pub before: Option<Box<Step>>,
}

/// A generated kernel that competes with libraries.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    /// Its name among those for one result.
    pub name: String,
    /// What a device must have to run it.
    pub needs: Needs,
    /// It computes what is before the other ways, too.
    pub includes_before: bool,
    /// The kernel.
    pub kernel: Generated,
}

/// What not every device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Every device runs it.
    Nothing,
    /// Blocks that read each other's shared memory: from compute capability 9.0 on.
    Clusters,
    /// Matrix units that four warps use together: compute capability 9.0 alone.
    Groups,
}

impl Needs {
    /// Whether a device of compute capability `architecture` (90 for 9.0) has it.
    pub fn are_met(self, architecture: usize) -> bool {
        match self {
            Self::Nothing => true,
            Self::Clusters => architecture >= 90,
            Self::Groups => architecture == 90,
        }
    }
}

/// What a product or convolution leaves in memory of its own, and the kernel that makes the result of it: sums of quantized numbers, or
/// whatever calls follow that no library has.
#[derive(Clone, Debug)]
pub(crate) struct Sums {
    /// As a matrix product.
    pub product: Option<Product>,
    /// As a convolution.
    pub convolution: Option<Convolution>,
    /// By a generated kernel, which needs no library.
    pub otherwise: Option<Generated>,
    /// The kernel that makes the result of them.
    pub after: Generated,
    /// What that kernel reads besides them.
    pub reads: Vec<usize>,
    /// Where they are.
    pub place: Place,
    /// Elements of the result, and how they are stored.
    pub result: (usize, Scalar),
}

impl Ways {
    /// Kernels that compete with each other.
    pub fn of_ours(ours: Vec<Ours>) -> Self {
        Self {
            product: None,
            convolution: None,
            fused: None,
            otherwise: None,
            after: None,
            sums: None,
            ours,
            before: None,
        }
    }

    /// Whether a library computes it as a product or convolution.
    pub fn has_library(&self) -> bool {
        self.products().iter().any(Option::is_some) || self.convolutions().iter().any(Option::is_some)
    }

    /// Whether only a library computes it.
    pub fn needs_library(&self) -> bool {
        let is_otherwise =
            self.otherwise.is_some() || self.sums.as_deref().is_some_and(|sums| sums.otherwise.is_some());
        self.has_library() && !is_otherwise
    }

    /// Whether it is a convolution as long as nothing was tuned.
    pub fn is_convolution(&self) -> bool {
        let of_sums = |sums: &Sums| sums.convolution.is_some() && sums.product.is_none();
        self.convolution.is_some() || self.sums.as_deref().is_some_and(of_sums)
    }

    /// All products and all convolutions among them: those of whole results, then those of sums.
    pub fn products(&self) -> [Option<&Product>; 2] {
        [self.product.as_ref(), self.sums.as_deref().and_then(|sums| sums.product.as_ref())]
    }

    /// As [`Ways::products`].
    pub fn convolutions(&self) -> [Option<&Convolution>; 2] {
        [self.convolution.as_ref(), self.sums.as_deref().and_then(|sums| sums.convolution.as_ref())]
    }

    /// What is computed: the number of its elements, how they are stored, and whether tf32 is allowed.
    pub fn result(&self) -> (usize, Scalar, bool) {
        if let Some(sums) = &self.sums {
            let tf32 = sums.product.as_ref().is_some_and(|product| product.tf32);
            let tf32 = tf32 || sums.convolution.as_ref().is_some_and(|convolution| convolution.tf32);
            return (sums.result.0, sums.result.1, tf32);
        }
        if let Some((count, scalar)) = self.fused.as_ref().map(Fused::result) {
            return (count, scalar, false);
        }
        match (&self.product, &self.convolution) {
            (Some(product), _) => (product.batch * product.m * product.n, product.scalar, product.tf32),
            (None, Some(convolution)) => (convolution.output.iter().product(), convolution.scalar, convolution.tf32),
            (None, None) => (0, Scalar::F32, false),
        }
    }
}

/// Where the operands of a product, convolution, attention or normalization are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// The left operand, the image, or the rows.
    pub left: Place,
    /// The right operand, the filter, or what rows are scaled by.
    pub right: Place,
    /// The values of attention, whose queries and keys are left and right.
    pub values: Option<Place>,
    /// A row that is added.
    pub bias: Option<Place>,
    /// A tensor of the result's shape that is added.
    pub residual: Option<Place>,
    /// What quantized operands are scaled by, as [`crate::product::Operands`] has it.
    pub factors: Option<Place>,
    /// The result.
    pub out: Place,
}

/// One launch.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// What runs.
    pub work: Work,
    /// Its name for the listing: the operators that it computes.
    pub name: String,
    /// The nodes that it computes.
    pub nodes: Vec<Name>,
    /// Buffers that it reads.
    pub reads: Vec<usize>,
    /// Buffers that it writes.
    pub writes: Vec<usize>,
    /// Floating-point operations of products and convolutions; elsewhere bytes are what counts.
    pub flops: f64,
    /// Bytes of its operands and results.
    pub bytes: f64,
}

/// One of the graph's inputs.
#[derive(Clone, Debug)]
pub(crate) struct PlannedInput {
    /// Its element type.
    pub element: Element,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where it is written before a run; nowhere when the plan holds for these contents only.
    pub buffer: Option<usize>,
    /// The contents that the plan holds for.
    pub bound: Option<Tensor>,
}

/// A model as a list of launches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// In order of execution.
    pub steps: Vec<Step>,
    /// All memory.
    pub buffers: Vec<Buffer>,
    /// The graph's inputs.
    pub inputs: Vec<PlannedInput>,
    /// The graph's outputs.
    pub outputs: Vec<(View, Element)>,
}

impl Plan {
    /// Leaves out the kernels that compete with libraries for products and convolutions. Attention keeps them: a library may decline it.
    pub fn leave_to_libraries(&mut self) {
        self.steps.iter_mut().for_each(|step| step.work.leave_to_libraries());
    }
}

#[cfg(test)]
mod tests {
    use super::{Ours, Plan, Step, Work};
    use crate::expanded::read;
    use crate::planner::plan;
    use crate::view::Precision;
    use crate::{Cuda, Whole};
    use eutectic_ir::text::parse_model;

    /// A convolution, and attention, which a library may decline.
    const MODEL: &str = r#"<ir_version: 11, opset_import: ["": 24]>
        g (float16[1,64,8,8] x, float16[1,2,64,64] q) => (float16[1,32,8,8] y, float16[1,2,64,64] o) <
            float16[32,64,1,1] w = ["location": "seed:1", "low": "-1", "high": "1"]
        > { y = Conv (x, w)  o = Attention (q, q, q) }"#;

    fn competing<'a>(plan: &'a Plan) -> Vec<(&'a str, &'a [Ours])> {
        let of = |step: &'a Step| match &step.work {
            Work::Contraction(ways, _) => Some((step.name.as_str(), ways.ours.as_slice())),
            Work::Kernel(_) => None,
        };
        plan.steps.iter().filter_map(of).collect()
    }

    #[test]
    fn what_a_library_computes_is_left_to_it() {
        let (model, _) = parse_model(MODEL).expect("it parses");
        let cuda = Cuda { precision: Precision::F16, cache: None };
        let flat = read(&cuda.expand(&model, Whole::ALL, &[]).expect("known sizes")).expect("it is flat");
        let mut plan = plan(&flat, Precision::F16).unwrap_or_else(|refusals| panic!("{refusals:?}"));
        assert!(competing(&plan).iter().all(|(_, ours)| !ours.is_empty()), "{:?}", competing(&plan));
        plan.leave_to_libraries();
        for (name, ours) in competing(&plan) {
            assert_eq!(ours.is_empty(), name == "Conv", "{name}");
        }
        assert_eq!(competing(&plan).len(), 2);
    }
}
