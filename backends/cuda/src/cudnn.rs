//! cuDNN's graph interface: the handle, descriptors, engines, and plans that are ready to run. What they compute is described in
//! `convolution.rs`, `fused_attention.rs` and `fused_normalization.rs`.

#![allow(unsafe_code)]

use crate::driver::{Address, Stream};
use crate::libraries::{Library, require};
use crate::product::Operands;
use crate::view::Scalar;
use cudarc::cudnn::sys;
use eutectic_ir::diag::{Diagnostic, Kind};
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::rc::Rc;
pub(crate) use sys::cudnnBackendAttributeName_t as Name;
pub(crate) use sys::cudnnBackendAttributeType_t as Type;
pub(crate) use sys::cudnnBackendDescriptorType_t as Object;
pub(crate) use sys::cudnnBackendNumericalNote_t as Note;
pub(crate) use sys::cudnnPointwiseMode_t as Mode;

/// The first version that tells more of its last error than a status.
const TELLS_ERRORS: usize = 90_000;

fn check(status: sys::cudnnStatus_t, call: &str) -> Result<(), Diagnostic> {
    if status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS {
        return Ok(());
    }
    // SAFETY: the library is present, since it gave a status; the text is static.
    let reason = unsafe { CStr::from_ptr(sys::cudnnGetErrorString(status)) }.to_string_lossy().into_owned();
    let problem = Diagnostic::error(Kind::Io, "B0306", format!("cuDNN refused {call}: {reason}"));
    Err(last_error().into_iter().fold(problem, Diagnostic::note))
}

/// What the library tells of its last error.
fn last_error() -> Option<String> {
    let mut text: [c_char; 512] = [0; 512];
    // SAFETY: the library is present and of a version that has the function; it writes a text that ends within the length.
    unsafe {
        if sys::cudnnGetVersion() < TELLS_ERRORS {
            return None;
        }
        sys::cudnnGetLastErrorString(text.as_mut_ptr(), text.len());
    }
    let bytes: Vec<u8> = text.iter().map(|&letter| letter as u8).take_while(|&letter| letter != 0).collect();
    let told = String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<&str>>().join(" ");
    (!told.is_empty()).then_some(told)
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

    /// The engines that the heuristics offer for `graph`, in their order, at most `n`, of those whose numerical notes are `useful`;
    /// notes that cannot be read are `None`. Errors: the heuristics refuse the graph.
    pub(crate) fn offered(
        &self,
        graph: OperationGraph,
        n: usize,
        useful: &dyn Fn(Option<&[Note]>) -> bool,
    ) -> Result<Vec<Engine>, Diagnostic> {
        let graph = Rc::new(graph);
        let mut refusal = None;
        for mode in
            [sys::cudnnBackendHeurMode_t::CUDNN_HEUR_MODE_A, sys::cudnnBackendHeurMode_t::CUDNN_HEUR_MODE_FALLBACK]
        {
            let heuristics = Descriptor::new(Object::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?;
            heuristics.set_descriptors(Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, &[&graph.graph])?;
            heuristics.set(Name::CUDNN_ATTR_ENGINEHEUR_MODE, Type::CUDNN_TYPE_HEUR_MODE, &[mode])?;
            if let Err(problem) = heuristics.finalize() {
                refusal = refusal.or(Some(problem));
                continue;
            }
            let configurations = heuristics.configurations(n)?.into_iter();
            let configurations = configurations.filter(|configuration| useful(configuration.notes().as_deref()));
            let engines: Vec<Engine> =
                configurations.map(|configuration| Engine { graph: Rc::clone(&graph), configuration }).collect();
            // The fallback engines are slow; they serve where nothing else does.
            if !engines.is_empty() {
                return Ok(engines);
            }
        }
        refusal.map_or(Ok(Vec::new()), Err)
    }

    /// Prepares `engine`; this may compile a kernel. Errors: the engine does not support the graph after all.
    pub(crate) fn prepared(&self, engine: &Engine, arguments: Vec<(i64, Argument)>) -> Result<CudnnPlan, Diagnostic> {
        let plan = Descriptor::new(Object::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?;
        plan.set(Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, Type::CUDNN_TYPE_HANDLE, &[self.handle])?;
        plan.set_descriptors(Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, &[&engine.configuration])?;
        plan.finalize()?;
        let mut workspace = [0i64];
        plan.get(Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, Type::CUDNN_TYPE_INT64, &mut workspace)?;
        Ok(CudnnPlan { handle: self.handle, plan, workspace: workspace[0].max(0) as usize, arguments })
    }

    /// The graph of `operations` between `parts`. Errors: the library does not take them together.
    pub(crate) fn graph(
        &self,
        operations: Vec<Descriptor>,
        mut parts: Vec<Descriptor>,
    ) -> Result<OperationGraph, Diagnostic> {
        let graph = Descriptor::new(Object::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?;
        let all: Vec<&Descriptor> = operations.iter().collect();
        graph.set_descriptors(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &all)?;
        graph.set(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, Type::CUDNN_TYPE_HANDLE, &[self.handle])?;
        graph.finalize()?;
        parts.extend(operations);
        Ok(OperationGraph { graph, parts })
    }
}

/// One way to compute a graph, not yet prepared.
#[derive(Debug)]
pub struct Engine {
    /// Engines refer to the graph that they were found for.
    #[allow(dead_code)]
    graph: Rc<OperationGraph>,
    configuration: Descriptor,
}

/// What a tensor of a graph is when its plan runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument {
    /// An operand of the step, and bytes from its beginning.
    Operand(fn(Operands) -> Address, usize),
    /// A number that is handed over by value.
    Number(f32),
}

/// One way to compute a graph, ready to run.
#[derive(Debug)]
pub struct CudnnPlan {
    handle: sys::cudnnHandle_t,
    plan: Descriptor,
    /// Bytes that it needs besides its operands.
    pub workspace: usize,
    /// What each tensor in memory is, by its identifier.
    arguments: Vec<(i64, Argument)>,
}

// SAFETY: a plan is used by one thread at a time.
unsafe impl Send for CudnnPlan {}

impl CudnnPlan {
    /// Enqueues the plan on the stream that the library was started on. `workspace` has as many bytes as the plan asks for.
    pub fn enqueue(&self, at: Operands, workspace: Address) -> Result<(), Diagnostic> {
        let ids: Vec<i64> = self.arguments.iter().map(|argument| argument.0).collect();
        let address = |argument: &(i64, Argument)| match &argument.1 {
            Argument::Operand(operand, offset) => operand(at) + *offset as Address,
            // The library reads the number while it enqueues.
            Argument::Number(number) => ptr::from_ref(number) as Address,
        };
        let addresses: Vec<Address> = self.arguments.iter().map(address).collect();
        let pack = Descriptor::new(Object::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?;
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, Type::CUDNN_TYPE_INT64, &ids)?;
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, Type::CUDNN_TYPE_VOID_PTR, &addresses)?;
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, Type::CUDNN_TYPE_VOID_PTR, &[workspace])?;
        pack.finalize()?;
        // SAFETY: both descriptors are finalized; the planner gives addresses of tensors with the planned sizes.
        check(unsafe { sys::cudnnBackendExecute(self.handle, self.plan.0, pack.0) }, "to run a plan")
    }
}

/// A descriptor of the library, destroyed when dropped.
#[derive(Debug)]
pub(crate) struct Descriptor(sys::cudnnBackendDescriptor_t);

impl Descriptor {
    pub fn new(object: Object) -> Result<Self, Diagnostic> {
        let mut descriptor = ptr::null_mut();
        // SAFETY: the library is present and writes a descriptor.
        check(unsafe { sys::cudnnBackendCreateDescriptor(object, &mut descriptor) }, "a descriptor")?;
        Ok(Self(descriptor))
    }

    /// Sets an attribute. `T` must be the type that `ty` stands for.
    pub fn set<T: Copy + std::fmt::Debug>(&self, name: Name, ty: Type, values: &[T]) -> Result<(), Diagnostic> {
        // SAFETY: the library copies `values.len()` elements of the stated type.
        let status =
            unsafe { sys::cudnnBackendSetAttribute(self.0, name, ty, values.len() as i64, values.as_ptr().cast()) };
        check(status, &format!("{name:?} = {values:?}"))
    }

    pub fn set_integers(&self, name: Name, values: &[usize]) -> Result<(), Diagnostic> {
        let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
        self.set(name, Type::CUDNN_TYPE_INT64, &values)
    }

    pub fn set_descriptors(&self, name: Name, values: &[&Descriptor]) -> Result<(), Diagnostic> {
        let values: Vec<sys::cudnnBackendDescriptor_t> = values.iter().map(|value| value.0).collect();
        self.set(name, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, &values)
    }

    pub fn finalize(&self) -> Result<(), Diagnostic> {
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

    /// Of a configuration: the numerical notes of its engine; `None` when they cannot be told.
    fn notes(&self) -> Option<Vec<Note>> {
        let engine = Descriptor::new(Object::CUDNN_BACKEND_ENGINE_DESCRIPTOR).ok()?;
        let mut raw = [engine.0];
        self.get(Name::CUDNN_ATTR_ENGINECFG_ENGINE, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, &mut raw).ok()?;
        let mut notes = [Note::CUDNN_NUMERICAL_NOTE_TENSOR_CORE; 16];
        let name = Name::CUDNN_ATTR_ENGINE_NUMERICAL_NOTE;
        let n = engine.get(name, Type::CUDNN_TYPE_NUMERICAL_NOTE, &mut notes).ok()?;
        Some(notes[..n].to_vec())
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
pub(crate) struct OperationGraph {
    graph: Descriptor,
    #[allow(dead_code)]
    parts: Vec<Descriptor>,
}

/// Where a tensor of a graph is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In memory of the device.
    InMemory,
    /// Between two operations, and nowhere else.
    Between,
    /// One number in memory of the host, read when the plan is enqueued.
    ByValue,
}

/// How the library names the type that elements are stored in.
pub(crate) fn element(scalar: Scalar) -> sys::cudnnDataType_t {
    match scalar {
        Scalar::F16 => sys::cudnnDataType_t::CUDNN_DATA_HALF,
        Scalar::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
        Scalar::I8 => sys::cudnnDataType_t::CUDNN_DATA_INT8,
        Scalar::I32 => sys::cudnnDataType_t::CUDNN_DATA_INT32,
        Scalar::Bool => sys::cudnnDataType_t::CUDNN_DATA_BOOLEAN,
        Scalar::Narrow(_) => sys::cudnnDataType_t::CUDNN_DATA_FP8_E4M3,
        _ => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
    }
}

/// A tensor of a graph; `id` is its own in the graph.
pub(crate) fn tensor(
    id: i64,
    (dims, strides): ([usize; 4], [usize; 4]),
    scalar: Scalar,
    kept: Kept,
) -> Result<Descriptor, Diagnostic> {
    let tensor = Descriptor::new(Object::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?;
    let is = |other: Kept| [u8::from(kept == other)];
    tensor.set(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &[element(scalar)])?;
    tensor.set_integers(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, &dims)?;
    tensor.set_integers(Name::CUDNN_ATTR_TENSOR_STRIDES, &strides)?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, Type::CUDNN_TYPE_INT64, &[id])?;
    tensor.set_integers(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &[16])?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_IS_VIRTUAL, Type::CUDNN_TYPE_BOOLEAN, &is(Kept::Between))?;
    if kept == Kept::ByValue {
        tensor.set(Name::CUDNN_ATTR_TENSOR_IS_BY_VALUE, Type::CUDNN_TYPE_BOOLEAN, &is(Kept::ByValue))?;
    }
    tensor.finalize()?;
    Ok(tensor)
}

/// A function of elements at the same place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pointwise {
    pub mode: Mode,
    /// The type that it computes in.
    pub scalar: Scalar,
    /// Of the place itself: along which axis.
    pub axis: Option<i64>,
}

impl Pointwise {
    /// In float32.
    pub fn of(mode: Mode) -> Self {
        Self { mode, scalar: Scalar::F32, axis: None }
    }

    /// `to = mode(operands)`, of at most three: what it is described by, and the operation.
    pub fn operation(self, operands: &[&Descriptor], to: &Descriptor) -> Result<[Descriptor; 2], Diagnostic> {
        let pointwise = Descriptor::new(Object::CUDNN_BACKEND_POINTWISE_DESCRIPTOR)?;
        let computed = [element(self.scalar)];
        pointwise.set(Name::CUDNN_ATTR_POINTWISE_MODE, Type::CUDNN_TYPE_POINTWISE_MODE, &[self.mode])?;
        pointwise.set(Name::CUDNN_ATTR_POINTWISE_MATH_PREC, Type::CUDNN_TYPE_DATA_TYPE, &computed)?;
        if let Some(axis) = self.axis {
            pointwise.set(Name::CUDNN_ATTR_POINTWISE_AXIS, Type::CUDNN_TYPE_INT64, &[axis])?;
        }
        pointwise.finalize()?;
        let operation = Descriptor::new(Object::CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)?;
        operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, &[&pointwise])?;
        let names = [
            Name::CUDNN_ATTR_OPERATION_POINTWISE_XDESC,
            Name::CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
            Name::CUDNN_ATTR_OPERATION_POINTWISE_TDESC,
        ];
        for (name, &operand) in names.into_iter().zip(operands) {
            operation.set_descriptors(name, &[operand])?;
        }
        operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &[to])?;
        operation.finalize()?;
        Ok([pointwise, operation])
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What the library wants to know of an H100.
    const H100: &str = r#"{"deviceId": 0, "deviceVer": 900, "driverVer": 13000, "cudaDeviceId": 0,
        "deviceName": "NVIDIA H100 80GB HBM3", "totalGlobalMem": 84929347584, "maxGridSize": [2147483647, 65535, 65535],
        "maxBlockSize": [1024, 1024, 64], "regsPerBlock": 65536, "multiProcessorCount": 132, "smClockRateKHz": 1980000,
        "memClockRateKHz": 2619000, "memoryBusWidth": 5120, "l2CacheSize": 52428800, "warpSize": 32,
        "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448, "reservedSharedMemoryPerBlock": 1024,
        "maxRegistersPerSM": 65536, "pciDeviceId": 0, "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024,
        "maxThreadsPerSM": 2048, "isTccDriver": 0, "supportCoopLaunch": 1, "oversizedSharedMemoryPerBlock": 0}"#;

    /// The first version whose heuristics were asked without a device.
    const KNOWS_DESCRIBED_DEVICES: usize = 91_900;

    /// The notes of the engines that the heuristics offer for the graph of `operations` on an H100 that need not be there. All
    /// libraries must be, and the driver.
    pub(crate) fn offered_on_h100(operations: &[Descriptor]) -> Result<Vec<Option<Vec<Note>>>, Diagnostic> {
        let device = Descriptor::new(Object::CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR)?;
        device.set(Name::CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, Type::CUDNN_TYPE_CHAR, H100.as_bytes())?;
        device.finalize()?;
        let graph = Descriptor::new(Object::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?;
        let all: Vec<&Descriptor> = operations.iter().collect();
        graph.set_descriptors(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &all)?;
        graph.finalize()?;
        let heuristics = Descriptor::new(Object::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?;
        heuristics.set_descriptors(Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, &[&graph])?;
        heuristics.set_descriptors(Name::CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, &[&device])?;
        let mode = [sys::cudnnBackendHeurMode_t::CUDNN_HEUR_MODE_A];
        heuristics.set(Name::CUDNN_ATTR_ENGINEHEUR_MODE, Type::CUDNN_TYPE_HEUR_MODE, &mode)?;
        heuristics.finalize()?;
        Ok(heuristics.configurations(8)?.iter().map(Descriptor::notes).collect())
    }

    /// The version of the library; `None` where it cannot be asked without a device.
    pub(crate) fn version() -> Option<usize> {
        let all_are_present = Library::ALL.iter().all(|library| library.is_present());
        // SAFETY: the library is present.
        all_are_present.then(|| unsafe { sys::cudnnGetVersion() }).filter(|&version| version >= KNOWS_DESCRIBED_DEVICES)
    }
}
