//! Convolutions by cuDNN's graph interface: bias, residual and activation in the same kernel, channels last.

#![allow(unsafe_code)]

use crate::driver::{Address, Stream};
use crate::libraries::{Library, require};
use crate::product::{Activation, Factors, Operands};
use crate::view::Scalar;
use cudarc::cudnn::sys;
use eutectic_ir::diag::{Diagnostic, Kind};
use std::ffi::{CStr, c_void};
use std::ptr;
use sys::cudnnBackendAttributeName_t as Name;
use sys::cudnnBackendAttributeType_t as Type;
use sys::cudnnBackendDescriptorType_t as Object;

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

fn check(status: sys::cudnnStatus_t, call: &str) -> Result<(), Diagnostic> {
    if status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS {
        return Ok(());
    }
    // SAFETY: the library is present, since it gave a status; the text is static.
    let reason = unsafe { CStr::from_ptr(sys::cudnnGetErrorString(status)) }.to_string_lossy().into_owned();
    Err(Diagnostic::error(Kind::Io, "B0306", format!("cuDNN refused {call}: {reason}")))
}

/// The library's state.
#[derive(Debug)]
pub struct Cudnn {
    handle: sys::cudnnHandle_t,
}

// SAFETY: the handle is used by one thread at a time.
unsafe impl Send for Cudnn {}

impl Cudnn {
    /// Starts the library on `stream`. Errors: absent, or it refuses.
    pub fn new(stream: &Stream) -> Result<Self, Diagnostic> {
        require(Library::Cudnn)?;
        let mut handle = ptr::null_mut();
        // SAFETY: the library is present; the stream outlives the handle in the program that owns both.
        unsafe {
            check(sys::cudnnCreate(&mut handle), "to start")?;
            check(sys::cudnnSetStream(handle, stream.handle().cast()), "a stream")?;
        }
        Ok(Self { handle })
    }

    /// Its version, such as 91900.
    pub fn version(&self) -> usize {
        // SAFETY: no preconditions.
        unsafe { sys::cudnnGetVersion() }
    }

    /// The engines that cuDNN's heuristics offer for `convolution`, in their order, at most `n`. What can be said in two ways
    /// ([`Convolution::has_other_form`]) selects different engines, and neither is always faster. Errors: it cannot be described.
    pub fn engines(&self, convolution: &Convolution, in_other_form: bool, n: usize) -> Result<Vec<Engine>, Diagnostic> {
        let graph = std::rc::Rc::new(graph(self.handle, convolution, in_other_form)?);
        let mut engines = Vec::new();
        for mode in
            [sys::cudnnBackendHeurMode_t::CUDNN_HEUR_MODE_A, sys::cudnnBackendHeurMode_t::CUDNN_HEUR_MODE_FALLBACK]
        {
            let heuristics = Descriptor::new(Object::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?;
            heuristics.set_descriptors(Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, &[&graph.graph])?;
            heuristics.set(Name::CUDNN_ATTR_ENGINEHEUR_MODE, Type::CUDNN_TYPE_HEUR_MODE, &[mode])?;
            if heuristics.finalize().is_err() {
                continue;
            }
            let configurations = heuristics.configurations(n)?;
            // Products of narrow numbers are exact in matrix units.
            let rounds = convolution.tf32 || !matches!(convolution.scalar, Scalar::F32);
            let useful = configurations.into_iter().filter(|configuration| configuration.is_exact(rounds));
            engines.extend(useful.map(|configuration| Engine { graph: std::rc::Rc::clone(&graph), configuration }));
            // The fallback engines are slow; they serve where nothing else does.
            if !engines.is_empty() {
                break;
            }
        }
        Ok(engines)
    }

    /// Prepares `engine`; this may compile a kernel. Errors: the engine does not support the convolution after all.
    pub fn plan(&self, convolution: &Convolution, engine: &Engine) -> Result<ConvolutionPlan, Diagnostic> {
        let plan = Descriptor::new(Object::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?;
        plan.set(Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, Type::CUDNN_TYPE_HANDLE, &[self.handle])?;
        plan.set_descriptors(Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, &[&engine.configuration])?;
        plan.finalize()?;
        let mut workspace = [0i64];
        plan.get(Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, Type::CUDNN_TYPE_INT64, &mut workspace)?;
        Ok(ConvolutionPlan {
            handle: self.handle,
            plan,
            workspace: workspace[0].max(0) as usize,
            has_bias: convolution.has_bias,
            has_residual: convolution.has_residual,
            factors: convolution.rescaled.map(|_| Factors { n: convolution.filter[0] }),
        })
    }
}

impl Convolution {
    /// Whether it can be described in another form: with the residual before the bias.
    pub fn has_other_form(&self) -> bool {
        self.rescaled.is_none() && self.has_bias && self.has_residual
    }
}

/// One way to compute a convolution, not yet prepared.
#[derive(Debug)]
pub struct Engine {
    /// Engines refer to the graph that they were found for.
    #[allow(dead_code)]
    graph: std::rc::Rc<OperationGraph>,
    configuration: Descriptor,
}

/// One way to compute a convolution.
#[derive(Debug)]
pub struct ConvolutionPlan {
    handle: sys::cudnnHandle_t,
    plan: Descriptor,
    /// Bytes that it needs besides its operands.
    pub workspace: usize,
    has_bias: bool,
    has_residual: bool,
    factors: Option<Factors>,
}

// SAFETY: a plan is used by one thread at a time.
unsafe impl Send for ConvolutionPlan {}

impl ConvolutionPlan {
    /// Enqueues the convolution on the stream that the library was started on. `workspace` has as many bytes as the
    /// plan asks for.
    pub fn enqueue(&self, at: Operands, workspace: Address) -> Result<(), Diagnostic> {
        let mut places = vec![(INPUT, at.left), (FILTER, at.right), (OUT, at.out)];
        let bias = self.factors.map_or(at.bias, |factors| at.factors + factors.bias() as Address);
        if self.has_bias {
            places.push((BIAS, bias));
        }
        if self.has_residual {
            places.push((RESIDUAL, at.residual));
        }
        if let Some(factors) = self.factors {
            let table = |offset: usize| at.factors + offset as Address;
            places.extend([(FACTOR, at.factors), (OUT_FACTOR, table(factors.result()))]);
            if self.has_residual {
                places.push((RESIDUAL_FACTOR, table(factors.residual())));
            }
        }
        let ids: Vec<i64> = places.iter().map(|place| place.0).collect();
        let addresses: Vec<Address> = places.iter().map(|place| place.1).collect();
        let pack = Descriptor::new(Object::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?;
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, Type::CUDNN_TYPE_INT64, &ids)?;
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, Type::CUDNN_TYPE_VOID_PTR, &addresses)?;
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, Type::CUDNN_TYPE_VOID_PTR, &[workspace])?;
        pack.finalize()?;
        // SAFETY: both descriptors are finalized; the planner gives addresses of images with the planned sizes.
        check(unsafe { sys::cudnnBackendExecute(self.handle, self.plan.0, pack.0) }, "to run a plan")
    }
}

/// A descriptor of the library, destroyed when dropped.
#[derive(Debug)]
struct Descriptor(sys::cudnnBackendDescriptor_t);

impl Descriptor {
    fn new(object: Object) -> Result<Self, Diagnostic> {
        let mut descriptor = ptr::null_mut();
        // SAFETY: the library is present and writes a descriptor.
        check(unsafe { sys::cudnnBackendCreateDescriptor(object, &mut descriptor) }, "a descriptor")?;
        Ok(Self(descriptor))
    }

    /// Sets an attribute. `T` must be the type that `ty` stands for.
    fn set<T: Copy + std::fmt::Debug>(&self, name: Name, ty: Type, values: &[T]) -> Result<(), Diagnostic> {
        // SAFETY: the library copies `values.len()` elements of the stated type.
        let status =
            unsafe { sys::cudnnBackendSetAttribute(self.0, name, ty, values.len() as i64, values.as_ptr().cast()) };
        check(status, &format!("{name:?} = {values:?}"))
    }

    fn set_integers(&self, name: Name, values: &[usize]) -> Result<(), Diagnostic> {
        let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
        self.set(name, Type::CUDNN_TYPE_INT64, &values)
    }

    fn set_descriptors(&self, name: Name, values: &[&Descriptor]) -> Result<(), Diagnostic> {
        let values: Vec<sys::cudnnBackendDescriptor_t> = values.iter().map(|value| value.0).collect();
        self.set(name, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, &values)
    }

    fn finalize(&self) -> Result<(), Diagnostic> {
        // SAFETY: the descriptor lives.
        check(unsafe { sys::cudnnBackendFinalize(self.0) }, "a description")
    }

    /// Fills `values`, and gives how many there are. `T` must be the type that `ty` stands for.
    fn get<T>(&self, name: Name, ty: Type, values: &mut [T]) -> Result<usize, Diagnostic> {
        let mut n = 0i64;
        let (len, into) = (values.len() as i64, values.as_mut_ptr().cast::<c_void>());
        // SAFETY: the library writes at most `len` elements of the stated type.
        check(unsafe { sys::cudnnBackendGetAttribute(self.0, name, ty, len, &mut n, into) }, &format!("{name:?}"))?;
        Ok(n.clamp(0, len) as usize)
    }

    /// Of heuristics: the first `n` configurations.
    fn configurations(&self, n: usize) -> Result<Vec<Descriptor>, Diagnostic> {
        let mut made = Vec::new();
        for _ in 0..n {
            made.push(Descriptor::new(Object::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)?);
        }
        let mut raw: Vec<sys::cudnnBackendDescriptor_t> = made.iter().map(|descriptor| descriptor.0).collect();
        let found = self.get(Name::CUDNN_ATTR_ENGINEHEUR_RESULTS, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, &mut raw)?;
        made.truncate(found);
        Ok(made)
    }

    /// Of a configuration: whether its engine sums in float32, each time in the same order, the products of its inputs as they
    /// are; with `rounds`, it may
    /// round them to tf32 before. When it cannot be told, it does not. Transforms of whole tiles
    /// lose digits of narrow types.
    fn is_exact(&self, rounds: bool) -> bool {
        use sys::cudnnBackendNumericalNote_t as Note;
        let Ok(engine) = Descriptor::new(Object::CUDNN_BACKEND_ENGINE_DESCRIPTOR) else { return false };
        let mut raw = [engine.0];
        if self.get(Name::CUDNN_ATTR_ENGINECFG_ENGINE, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, &mut raw).is_err() {
            return false;
        }
        let mut notes = [Note::CUDNN_NUMERICAL_NOTE_TENSOR_CORE; 16];
        match engine.get(Name::CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, Type::CUDNN_TYPE_NUMERICAL_NOTE, &mut notes) {
            Ok(n) => notes[..n].iter().all(|note| match note {
                Note::CUDNN_NUMERICAL_NOTE_TENSOR_CORE | Note::CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS => rounds,
                Note::CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP => true,
                _ => false,
            }),
            Err(_) => false,
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: nothing else holds the descriptor.
        unsafe { sys::cudnnBackendDestroyDescriptor(self.0) };
    }
}

/// Operations and the tensors between them; the library refers to all of them.
#[derive(Debug)]
struct OperationGraph {
    graph: Descriptor,
    #[allow(dead_code)]
    parts: Vec<Descriptor>,
}

fn tensor(dims: [usize; 4], id: i64, scalar: Scalar, is_virtual: bool) -> Result<Descriptor, Diagnostic> {
    let [_, channels, height, width] = dims;
    let strides = [height * width * channels, 1, width * channels, channels];
    let element = match scalar {
        Scalar::F16 => sys::cudnnDataType_t::CUDNN_DATA_HALF,
        Scalar::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
        Scalar::I8 => sys::cudnnDataType_t::CUDNN_DATA_INT8,
        Scalar::I32 => sys::cudnnDataType_t::CUDNN_DATA_INT32,
        Scalar::Narrow(_) => sys::cudnnDataType_t::CUDNN_DATA_FP8_E4M3,
        _ => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
    };
    let tensor = Descriptor::new(Object::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &[element])?;
    tensor.set_integers(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, &dims)?;
    tensor.set_integers(Name::CUDNN_ATTR_TENSOR_STRIDES, &strides)?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, Type::CUDNN_TYPE_INT64, &[id])?;
    tensor.set_integers(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &[16])?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_IS_VIRTUAL, Type::CUDNN_TYPE_BOOLEAN, &[u8::from(is_virtual)])?;
    tensor.finalize()?;
    Ok(tensor)
}

/// `to = mode(from)`, or `mode(from, other)`, in float32; what it is described by, and the operation.
fn pointwise(
    mode: sys::cudnnPointwiseMode_t,
    from: &Descriptor,
    other: Option<&Descriptor>,
    to: &Descriptor,
) -> Result<[Descriptor; 2], Diagnostic> {
    let float = [sys::cudnnDataType_t::CUDNN_DATA_FLOAT];
    let pointwise = Descriptor::new(Object::CUDNN_BACKEND_POINTWISE_DESCRIPTOR)?;
    pointwise.set(Name::CUDNN_ATTR_POINTWISE_MODE, Type::CUDNN_TYPE_POINTWISE_MODE, &[mode])?;
    pointwise.set(Name::CUDNN_ATTR_POINTWISE_MATH_PREC, Type::CUDNN_TYPE_DATA_TYPE, &float)?;
    pointwise.finalize()?;
    let operation = Descriptor::new(Object::CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)?;
    operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, &[&pointwise])?;
    operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_XDESC, &[from])?;
    if let Some(other) = other {
        operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_BDESC, &[other])?;
    }
    operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &[to])?;
    operation.finalize()?;
    Ok([pointwise, operation])
}

fn graph(
    handle: sys::cudnnHandle_t,
    convolution: &Convolution,
    in_other_form: bool,
) -> Result<OperationGraph, Diagnostic> {
    use sys::cudnnPointwiseMode_t as Mode;
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
            let [description, operation] = pointwise(Mode::CUDNN_POINTWISE_MUL, &residual, Some(&factor), &scaled)?;
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
        let [description, operation] = pointwise(mode, &current, other.as_ref(), &next)?;
        operations.push(operation);
        parts.extend([description, std::mem::replace(&mut current, next)]);
        parts.extend(other);
    }
    parts.push(current);
    let graph = Descriptor::new(Object::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?;
    let all: Vec<&Descriptor> = operations.iter().collect();
    graph.set_descriptors(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &all)?;
    graph.set(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, Type::CUDNN_TYPE_HANDLE, &[handle])?;
    graph.finalize()?;
    parts.extend(operations);
    Ok(OperationGraph { graph, parts })
}
