//! Convolutions by cuDNN's graph interface: bias, residual and activation in the same kernel, channels last.

use crate::cudnn::{
    self, Argument, Cudnn, CudnnPlan, Descriptor, Engine, Kept, Mode, Name, Note, Object, OperationGraph, Pointwise,
    Type,
};
use crate::product::{Activation, Factors};
use crate::view::Scalar;
use cudarc::cudnn::sys;
use eutectic_ir::diag::Diagnostic;

/// `out = activation(convolve(input, filter) + bias + residual)` over channels-last images; filters lie as K, R, S, C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// N, C, H, W.
    pub input: [usize; 4],
    /// K, C over the groups, R, S.
    pub filter: [usize; 4],
    /// N, K, P, Q.
    pub output: [usize; 4],
    /// Rows and columns of padding before and after.
    pub pads: [usize; 4],
    /// Steps down and right.
    pub strides: [usize; 2],
    /// Distances of filter elements.
    pub dilations: [usize; 2],
    /// How elements of image and filter are stored: float32, float16 or bfloat16; or quantized, as int8 or float8 (E4M3).
    pub scalar: Scalar,
    /// How those of the result are stored.
    pub result: Scalar,
    /// Sums are scaled, and the result is; the factors and the bias are in the table of [`Factors`], and the residual is stored so.
    pub rescaled: Option<Scalar>,
    /// float32 may be rounded to tf32 before it is multiplied.
    pub tf32: bool,
    /// A value for each channel is added.
    pub has_bias: bool,
    /// An image is added.
    pub has_residual: bool,
    /// What follows.
    pub activation: Activation,
}

impl Convolution {
    /// Its sizes as macros for a generated kernel.
    pub(crate) fn defines(&self) -> String {
        let ([_, _, in_rows, in_columns], [_, _, out_rows, out_columns]) = (self.input, self.output);
        let sizes = [
            ("IN_ROWS", in_rows),
            ("IN_COLUMNS", in_columns),
            ("OUT_ROWS", out_rows),
            ("OUT_COLUMNS", out_columns),
            ("TAP_ROWS", self.filter[2]),
            ("TAP_COLUMNS", self.filter[3]),
            ("STEP_DOWN", self.strides[0]),
            ("STEP_ACROSS", self.strides[1]),
            ("PAD_TOP", self.pads[0]),
            ("PAD_LEFT", self.pads[1]),
            ("DILATE_ROWS", self.dilations[0]),
            ("DILATE_COLUMNS", self.dilations[1]),
        ];
        sizes.map(|(name, size)| format!("#define {name} {size}\n")).concat()
    }

    /// A convolution of these sizes, filter by filter at every pixel, without anything behind it.
    pub(crate) fn plain(input: [usize; 4], filter: [usize; 4], output: [usize; 4], scalar: Scalar) -> Self {
        Self {
            input,
            filter,
            output,
            pads: [0; 4],
            strides: [1; 2],
            dilations: [1; 2],
            scalar,
            result: scalar,
            rescaled: None,
            tf32: false,
            has_bias: false,
            has_residual: false,
            activation: Activation::None,
        }
    }

    /// The product of a matrix `[m, k]` with `n` filters, over images of one pixel, without anything behind it.
    pub fn of_product([m, n, k]: [usize; 3], scalar: Scalar) -> Self {
        Self::plain([m, k, 1, 1], [n, k, 1, 1], [m, n, 1, 1], scalar)
    }
}

const INPUT: i64 = 1;
const FILTER: i64 = 2;
const BIAS: i64 = 3;
const RESIDUAL: i64 = 4;
const OUT: i64 = 5;
const FACTOR: i64 = 6;
const RESIDUAL_FACTOR: i64 = 7;
const OUT_FACTOR: i64 = 8;

impl Cudnn {
    /// The engines that cuDNN's heuristics offer for `convolution`, in their order, at most `n`. What can be said in two ways
    /// ([`Convolution::has_other_form`]) selects different engines, and neither is always faster. Errors: it cannot be described.
    pub fn engines(&self, convolution: &Convolution, in_other_form: bool, n: usize) -> Result<Vec<Engine>, Diagnostic> {
        // Products of narrow numbers are exact in matrix units.
        let rounds = convolution.tf32 || !matches!(convolution.scalar, Scalar::F32);
        self.offered(graph(self, convolution, in_other_form)?, n, &|notes| is_exact(notes, rounds))
    }

    /// Prepares `engine`; this may compile a kernel. Errors: the engine does not support the convolution after all.
    pub fn plan(&self, convolution: &Convolution, engine: &Engine) -> Result<CudnnPlan, Diagnostic> {
        let mut arguments = vec![
            (INPUT, Argument::Operand(|at| at.left, 0)),
            (FILTER, Argument::Operand(|at| at.right, 0)),
            (OUT, Argument::Operand(|at| at.out, 0)),
        ];
        let factors = convolution.rescaled.map(|_| Factors { n: convolution.filter[0] });
        let table = |offset: usize| Argument::Operand(|at| at.factors, offset);
        if convolution.has_bias {
            let bias = factors.map_or(Argument::Operand(|at| at.bias, 0), |factors| table(factors.bias()));
            arguments.push((BIAS, bias));
        }
        if convolution.has_residual {
            arguments.push((RESIDUAL, Argument::Operand(|at| at.residual, 0)));
        }
        if let Some(factors) = factors {
            arguments.extend([(FACTOR, table(0)), (OUT_FACTOR, table(factors.result()))]);
            if convolution.has_residual {
                arguments.push((RESIDUAL_FACTOR, table(factors.residual())));
            }
        }
        self.prepared(engine, arguments)
    }
}

/// Whether an engine with `notes` sums in float32, each time in the same order, the products of its inputs as they are; with
/// `rounds`, it may round them to tf32 before. When it cannot be told, it does not. Transforms of whole tiles lose digits of
/// narrow types.
fn is_exact(notes: Option<&[Note]>, rounds: bool) -> bool {
    notes.is_some_and(|notes| {
        notes.iter().all(|note| match note {
            Note::CUDNN_NUMERICAL_NOTE_TENSOR_CORE | Note::CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS => rounds,
            Note::CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP => true,
            _ => false,
        })
    })
}

impl Convolution {
    /// Whether it can be described in another form: with the residual before the bias.
    pub fn has_other_form(&self) -> bool {
        self.rescaled.is_none() && self.has_bias && self.has_residual
    }
}

/// An image, channels last.
fn tensor(dims: [usize; 4], id: i64, scalar: Scalar, is_virtual: bool) -> Result<Descriptor, Diagnostic> {
    let [_, channels, height, width] = dims;
    let strides = [height * width * channels, 1, width * channels, channels];
    cudnn::tensor(id, (dims, strides), scalar, if is_virtual { Kept::Between } else { Kept::InMemory })
}

fn graph(cudnn: &Cudnn, convolution: &Convolution, in_other_form: bool) -> Result<OperationGraph, Diagnostic> {
    let is_integer = convolution.scalar == Scalar::I8;
    // Integer sums that are the result themselves pass through an identity: engines without an operation behind the convolution
    // compute something else than its sums. Sums that are scaled are float32 from the beginning, which is right; as integers until
    // then they are as right, and no faster.
    let are_results = is_integer && convolution.rescaled.is_none();
    let residual_first = in_other_form && convolution.rescaled.is_none();
    // Rows are stored as results are, and in float32 where sums are rescaled.
    let row = |id: i64| {
        let scalar = if convolution.rescaled.is_some() { Scalar::F32 } else { convolution.result };
        tensor([1, convolution.filter[0], 1, 1], id, scalar, false)
    };
    let number = |id: i64| tensor([1; 4], id, Scalar::F32, false);
    let mut following = Vec::new();
    let (mut parts, mut operations) = (Vec::new(), Vec::new());
    if convolution.rescaled.is_some() {
        following.push((Mode::CUDNN_POINTWISE_MUL, Some(row(FACTOR)?)));
    }
    if convolution.has_bias {
        following.push((Mode::CUDNN_POINTWISE_ADD, Some(row(BIAS)?)));
    }
    if convolution.has_residual {
        let stored = convolution.rescaled.unwrap_or(convolution.result);
        let mut residual = tensor(convolution.output, RESIDUAL, stored, false)?;
        if convolution.rescaled.is_some() {
            let (factor, scaled) = (number(RESIDUAL_FACTOR)?, tensor(convolution.output, 9, Scalar::F32, true)?);
            let [description, operation] =
                Pointwise::of(Mode::CUDNN_POINTWISE_MUL).operation(&[&residual, &factor], &scaled)?;
            operations.push(operation);
            parts.extend([description, factor, std::mem::replace(&mut residual, scaled)]);
        }
        let at = if residual_first { 0 } else { following.len() };
        following.insert(at, (Mode::CUDNN_POINTWISE_ADD, Some(residual)));
    }
    match convolution.activation {
        Activation::None => {}
        Activation::Relu => following.push((Mode::CUDNN_POINTWISE_RELU_FWD, None)),
        Activation::Gelu => following.push((Mode::CUDNN_POINTWISE_GELU_FWD, None)),
        Activation::GeluTanh => following.push((Mode::CUDNN_POINTWISE_GELU_APPROX_TANH_FWD, None)),
    }
    if convolution.rescaled.is_some() {
        following.push((Mode::CUDNN_POINTWISE_MUL, Some(number(OUT_FACTOR)?)));
    }
    if following.is_empty() && are_results {
        following.push((Mode::CUDNN_POINTWISE_IDENTITY, None));
    }
    let n = following.len();
    // Results between operations are kept as they are accumulated.
    let between = |at: usize| {
        let scalar = match at {
            _ if at == n => convolution.result,
            0 if are_results => Scalar::I32,
            _ => Scalar::F32,
        };
        tensor(convolution.output, if at == n { OUT } else { 10 + at as i64 }, scalar, at < n)
    };
    let description = Descriptor::new(Object::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?;
    let mode = [sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION];
    let sums = match is_integer {
        true => [sys::cudnnDataType_t::CUDNN_DATA_INT32],
        false => [sys::cudnnDataType_t::CUDNN_DATA_FLOAT],
    };
    let [top, left, bottom, right] = convolution.pads;
    description.set(Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &sums)?;
    description.set(Name::CUDNN_ATTR_CONVOLUTION_CONV_MODE, Type::CUDNN_TYPE_CONVOLUTION_MODE, &mode)?;
    description.set_integers(Name::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, &[2])?;
    description.set_integers(Name::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, &[top, left])?;
    description.set_integers(Name::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, &[bottom, right])?;
    description.set_integers(Name::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, &convolution.strides)?;
    description.set_integers(Name::CUDNN_ATTR_CONVOLUTION_DILATIONS, &convolution.dilations)?;
    description.finalize()?;
    let input = tensor(convolution.input, INPUT, convolution.scalar, false)?;
    let filter = tensor(convolution.filter, FILTER, convolution.scalar, false)?;
    let mut current = between(0)?;
    let operation = Descriptor::new(Object::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)?;
    operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, &[&input])?;
    operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, &[&filter])?;
    operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, &[&current])?;
    operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, &[&description])?;
    operation.set(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, Type::CUDNN_TYPE_FLOAT, &[1.0f32])?;
    operation.set(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, Type::CUDNN_TYPE_FLOAT, &[0.0f32])?;
    operation.finalize()?;
    operations.insert(0, operation);
    parts.extend([description, input, filter]);
    for (at, (mode, other)) in following.into_iter().enumerate() {
        let next = between(at + 1)?;
        let operands: Vec<&Descriptor> = [&current].into_iter().chain(&other).collect();
        let [description, operation] = Pointwise::of(mode).operation(&operands, &next)?;
        operations.push(operation);
        parts.extend([description, std::mem::replace(&mut current, next)]);
        parts.extend(other);
    }
    parts.push(current);
    cudnn.graph(operations, parts)
}
