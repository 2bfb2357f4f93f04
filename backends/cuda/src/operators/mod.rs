//! Operators that a kernel of one thread for each element or line computes: `direct.rs` says how their bodies read.

mod indexing;
mod numbers;
mod resize;
mod sampling;
mod spatial;

use crate::constants::Constant;
use crate::direct::Direct;
use crate::flat::{FlatCall, Refusal};
use crate::plan::{Content, Step, Work};
use crate::planner::Planner;
use crate::region::spelled;
use crate::view::{Scalar, View, row_major};
use eutectic_ir::types::normalize_axis;

pub(crate) use numbers::{integer_product, walking_reduction};

/// What has come of planning one operator.
type Outcome = Result<(), Refusal>;

/// Plans `call`; `None` for operators that are not here.
pub(crate) fn lower(planner: &mut Planner, call: &FlatCall) -> Option<Outcome> {
    if !call.op.domain().is_empty() {
        return None;
    }
    let mut operator = Operator { planner, call };
    let to = &mut operator;
    Some(match call.op.name() {
        "Pad" => indexing::pad(to),
        "CenterCropPad" => indexing::center_crop_pad(to),
        "GatherElements" => indexing::gather_elements(to),
        "GatherND" => indexing::gather_nd(to),
        "ScatterElements" | "Scatter" => indexing::scatter_elements(to),
        "ScatterND" => indexing::scatter_nd(to),
        "TensorScatter" => indexing::tensor_scatter(to),
        "Trilu" => indexing::trilu(to),
        "EyeLike" => indexing::eye_like(to),
        "Range" => indexing::range(to),
        "OneHot" => indexing::one_hot(to),
        "Tile" => indexing::tile(to),
        "Slice" => indexing::slice(to),
        "ReverseSequence" => indexing::reverse_sequence(to),
        "CumSum" | "CumProd" => indexing::running(to),
        "ArgMax" | "ArgMin" => indexing::arg_extreme(to),
        "Hardmax" => indexing::hardmax(to),
        "TopK" => indexing::top_k(to),
        "Conv" => spatial::convolution(to),
        "ConvTranspose" => spatial::transposed_convolution(to),
        "MaxPool" | "AveragePool" | "LpPool" => spatial::pool(to),
        "LRN" => spatial::local_response(to),
        "Resize" | "Upsample" => resize::resize(to),
        "GridSample" => sampling::grid_sample(to),
        "QuantizeLinear" => numbers::quantize(to),
        "DequantizeLinear" => numbers::dequantize(to),
        "MatMulInteger" => numbers::matmul_integer(to),
        "QLinearMatMul" => numbers::quantized_product(to),
        "BitCast" => numbers::bit_cast(to),
        "RotaryEmbedding" => numbers::rotary(to),
        "Einsum" => numbers::einsum(to),
        _ => return None,
    })
}

/// One operator while it is planned.
pub(crate) struct Operator<'a, 'b> {
    planner: &'a mut Planner<'b>,
    call: &'a FlatCall,
}

fn refuse(reason: &str) -> Refusal {
    Refusal::new("", reason)
}

impl Operator<'_, '_> {
    /// Input `at`, as it lies.
    fn input(&mut self, at: usize) -> Result<View, Refusal> {
        let value = self.call.input(at).ok_or_else(|| Refusal::new("", format!("input {at} is missing")))?;
        self.planner.view(value)
    }

    /// Input `at`, if it is given.
    fn optional(&mut self, at: usize) -> Result<Option<View>, Refusal> {
        self.call.input(at).map(|value| self.planner.view(value)).transpose()
    }

    /// The contents of input `at`; `otherwise` when it is not given. Errors: they are not constant.
    fn integers(&self, at: usize, otherwise: &[i64]) -> Result<Vec<i64>, Refusal> {
        let Some(value) = self.call.input(at) else { return Ok(otherwise.to_vec()) };
        let constant = self.planner.flat.values[value].constant.as_ref();
        let integers = constant.and_then(|constant| constant.to_i64s());
        integers.ok_or_else(|| Refusal::new("", format!("input {at} is computed, not constant")))
    }

    /// The shape of result `at`.
    fn shape(&self, at: usize) -> Vec<usize> {
        self.planner.flat.values[self.call.outputs[at]].shape.clone()
    }

    /// Memory for result `at`, row-major.
    fn result(&mut self, at: usize) -> Result<View, Refusal> {
        let output = self.call.outputs[at];
        let (scalar, shape) = (self.planner.scalar(output)?, self.shape(at));
        let view = self.planner.fresh(scalar, &shape, &row_major(shape.len()));
        self.planner.views[output] = Some(view.clone());
        Ok(view)
    }

    /// The axis that attribute `name` names.
    fn axis(&self, name: &str, otherwise: i64, rank: usize) -> Result<usize, Refusal> {
        let axis = self.call.attrs.int(name).unwrap_or(otherwise);
        normalize_axis(axis, rank).ok_or_else(|| refuse("its axis is out of range"))
    }

    /// A table that kernels read, of integers.
    fn table(&mut self, shape: &[usize], values: &[i64]) -> View {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.stored(Scalar::I64, shape, bytes)
    }

    /// A table that kernels read, of real numbers.
    fn real_table(&mut self, shape: &[usize], values: &[f32]) -> View {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.stored(Scalar::F32, shape, bytes)
    }

    fn stored(&mut self, scalar: Scalar, shape: &[usize], bytes: Vec<u8>) -> View {
        let buffer = self.planner.buffer(bytes.len(), Content::Constant(Constant::Bytes(bytes)));
        View::dense(buffer, scalar, shape, &row_major(shape.len()))
    }

    /// Adds a kernel over `shape`.
    fn run(&mut self, shape: &[usize], inputs: &[View], outputs: &[View], body: &str) -> Outcome {
        self.launch(Direct { shape, inputs, outputs, body, by_block: false })
    }

    fn launch(&mut self, direct: Direct) -> Outcome {
        let generated = direct.generate().ok_or_else(|| refuse("it has too many elements"))?;
        let bytes = direct.inputs.iter().chain(direct.outputs).map(|view| view.count() * view.scalar.bytes());
        let buffers = |views: &[View]| views.iter().map(|view| view.buffer).collect::<Vec<usize>>();
        self.planner.plan.steps.push(Step {
            work: Work::Kernel(generated),
            name: self.call.op.name().into(),
            nodes: vec![self.call.name.clone()],
            reads: buffers(direct.inputs),
            writes: buffers(direct.outputs),
            flops: 0.0,
            bytes: bytes.sum::<usize>() as f64,
        });
        Ok(())
    }
}

/// The type that elements of `view` have in registers.
fn register(view: &View) -> &'static str {
    spelled(view.scalar.class())
}

/// `shape` with `axis` of another size.
fn with(shape: &[usize], axis: usize, size: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    shape[axis] = size;
    shape
}

/// Declares `c`, the coordinates of the position.
fn copied(rank: usize) -> String {
    let mut text = format!("  i64 c[{}];\n", rank.max(1));
    (0..rank).for_each(|axis| text.push_str(&format!("  c[{axis}] = o[{axis}];\n")));
    text
}
