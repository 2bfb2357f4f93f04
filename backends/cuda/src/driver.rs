//! The driver's objects under safe wrappers: device, memory, streams, events, kernels, graphs.
//!
//! Every call is checked. Objects hold the device's primary context, which lives as long as the program.

#![allow(unsafe_code)]

use crate::libraries::{Library, require};
use cudarc::driver::sys;
use eutectic_ir::diag::{Diagnostic, Kind};
use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::Arc;

/// Turns a status of the driver into an error that names the call: `B0302`, or `B0303` when memory ran out.
fn check(status: sys::CUresult, call: &str) -> Result<(), Diagnostic> {
    if status == sys::CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let mut text = ptr::null();
    // SAFETY: the driver is present, since it gave a status; it points `text` to a static string or leaves it.
    let reason = unsafe {
        if sys::cuGetErrorString(status, &mut text) == sys::CUresult::CUDA_SUCCESS && !text.is_null() {
            CStr::from_ptr(text).to_string_lossy().into_owned()
        } else {
            format!("{status:?}")
        }
    };
    let (kind, code) = match status {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => (Kind::Limit, "B0303"),
        _ => (Kind::Io, "B0302"),
    };
    Err(Diagnostic::error(kind, code, format!("the CUDA driver refused {call}: {reason}")))
}

/// A GPU with its primary context.
#[derive(Debug)]
pub struct Device {
    context: sys::CUcontext,
    /// Its name.
    pub name: String,
    /// Compute capability: 90 for 9.0.
    pub architecture: usize,
    /// Multiprocessors.
    pub n_multiprocessors: usize,
    /// Bytes of second-level cache.
    pub cache_bytes: usize,
    /// Version of the driver's interface: 13000 for 13.0.
    pub driver_version: i32,
}

// SAFETY: a context may be made current in any thread; the driver locks what it shares.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    /// Opens the first GPU and makes it current in this thread. Errors: no driver, no GPU.
    pub fn open() -> Result<Arc<Self>, Diagnostic> {
        require(Library::Driver)?;
        let mut device = 0;
        let mut context = ptr::null_mut();
        let mut name = [0 as std::ffi::c_char; 128];
        let mut driver_version = 0;
        // SAFETY: the driver is present, and every pointer is to a local of the type that the call writes.
        unsafe {
            check(sys::cuInit(0), "to start")?;
            check(sys::cuDeviceGet(&mut device, 0), "a device")?;
            check(sys::cuDeviceGetName(name.as_mut_ptr(), 127, device), "the device's name")?;
            check(sys::cuDriverGetVersion(&mut driver_version), "its version")?;
            check(sys::cuDevicePrimaryCtxRetain(&mut context, device), "a context")?;
            check(sys::cuCtxSetCurrent(context), "a context")?;
        }
        let attribute = |which| {
            let mut value = 0;
            // SAFETY: as above.
            check(unsafe { sys::cuDeviceGetAttribute(&mut value, which, device) }, "an attribute")?;
            Ok::<usize, Diagnostic>(value.max(0) as usize)
        };
        use sys::CUdevice_attribute as Attribute;
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        // SAFETY: the driver ends the name with a zero within the 127 bytes that it may write.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        Ok(Arc::new(Self {
            context,
            name,
            architecture: major * 10 + minor,
            n_multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            cache_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
            driver_version,
        }))
    }

    /// Makes the device current in this thread; to be called first by whatever may run in another one.
    pub fn bind(&self) -> Result<(), Diagnostic> {
        // SAFETY: the context lives as long as the program.
        check(unsafe { sys::cuCtxSetCurrent(self.context) }, "a context")
    }
}

/// Processors of a large device, for plans that are made without one: an H100 has as many.
pub const PROCESSORS: usize = 132;
/// Bytes of shared memory of one of its processors.
pub const PROCESSOR_SHARED_BYTES: usize = 227 << 10;

/// An address in the device's memory.
pub type Address = u64;

/// The driver's stream of the calling thread. Copies on it can be waited for; one without a stream returns while its last bytes
/// are still on their way, and waiting for the whole device is forbidden while another thread records a graph.
fn this_thread() -> sys::CUstream {
    // The value that the driver's header gives to CU_STREAM_PER_THREAD.
    ptr::without_provenance_mut(2)
}

/// Memory of the device, freed when dropped.
#[derive(Debug)]
pub struct Memory {
    address: Address,
    len: usize,
    device: Arc<Device>,
}

impl Memory {
    /// At least `len` bytes, aligned to 256. Errors: out of memory.
    pub fn new(device: &Arc<Device>, len: usize) -> Result<Self, Diagnostic> {
        let mut address = 0;
        // SAFETY: the context is current; the driver writes an address.
        check(unsafe { sys::cuMemAlloc_v2(&mut address, len.max(256)) }, &format!("{len} bytes of memory"))?;
        Ok(Self { address, len, device: Arc::clone(device) })
    }

    /// Where it begins.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Its length in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    fn range(&self, at: usize, len: usize) -> Result<Address, Diagnostic> {
        match at.checked_add(len) {
            Some(end) if end <= self.len => Ok(self.address + at as u64),
            _ => Err(Diagnostic::error(
                Kind::Invalid,
                "B0302",
                format!("bytes {at}..+{len} of a buffer of {}", self.len),
            )),
        }
    }

    /// Copies `bytes` to position `at`; they are there when this returns. Errors: beyond the end.
    pub fn write(&self, at: usize, bytes: &[u8]) -> Result<(), Diagnostic> {
        if bytes.is_empty() {
            return Ok(());
        }
        let to = self.range(at, bytes.len())?;
        // SAFETY: both ranges have the length, and the source lives until the copy has ended.
        unsafe {
            let copied = sys::cuMemcpyHtoDAsync_v2(to, bytes.as_ptr().cast::<c_void>(), bytes.len(), this_thread());
            check(copied, "a copy to the device")?;
            check(sys::cuStreamSynchronize(this_thread()), "to finish")
        }
    }

    /// Copies `len` bytes from position `at` to the host, behind all work that is not on another stream.
    pub fn read(&self, at: usize, len: usize) -> Result<Vec<u8>, Diagnostic> {
        let mut bytes = vec![0u8; len];
        if len > 0 {
            let from = self.range(at, len)?;
            // SAFETY: both ranges have the length.
            check(
                unsafe { sys::cuMemcpyDtoH_v2(bytes.as_mut_ptr().cast::<c_void>(), from, len) },
                "a copy from the device",
            )?;
        }
        Ok(bytes)
    }

    /// Takes over the contents of `other`. Errors: another length.
    pub fn copy_from(&self, other: &Memory) -> Result<(), Diagnostic> {
        let from = other.range(0, self.len)?;
        // SAFETY: both ranges have the length.
        unsafe {
            check(sys::cuMemcpyDtoDAsync_v2(self.address, from, self.len, this_thread()), "a copy on the device")?;
            check(sys::cuStreamSynchronize(this_thread()), "to finish")
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: nothing else holds the address; the driver waits for work that is in flight.
        unsafe {
            if self.device.bind().is_ok() {
                sys::cuMemFree_v2(self.address);
            }
        }
    }
}

/// Memory of the host that stays where it is, so that the device copies from and to it by itself; freed when dropped.
#[derive(Debug)]
pub struct Pinned {
    at: *mut c_void,
    len: usize,
}

impl Pinned {
    /// As many bytes as `contents` has, and those. Errors: out of memory.
    pub fn new(contents: &[u8]) -> Result<Self, Diagnostic> {
        let (mut at, len) = (ptr::null_mut(), contents.len());
        // SAFETY: the context is current; the driver writes an address of at least as many bytes, which nothing else refers to yet.
        unsafe {
            let allocated = sys::cuMemHostAlloc(&mut at, len.max(1), 0);
            check(allocated, &format!("{len} bytes of the host that stay in place"))?;
            ptr::copy_nonoverlapping(contents.as_ptr(), at.cast(), len);
        }
        Ok(Self { at, len })
    }

    /// Its length in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: nothing else holds the address; the driver waits for copies that are in flight.
        unsafe { sys::cuMemFreeHost(self.at) };
    }
}

/// An order of work.
#[derive(Debug)]
pub struct Stream {
    stream: sys::CUstream,
    /// Kernels of ours that were launched here and wait, by themselves, for what is before them.
    waiting: RefCell<HashSet<usize>>,
}

// SAFETY: a stream may be used from any thread in which its context is current.
unsafe impl Send for Stream {}

impl Stream {
    /// A stream that does not wait for the default one.
    pub fn new() -> Result<Self, Diagnostic> {
        let mut stream = ptr::null_mut();
        // SAFETY: the context is current; 1 is CU_STREAM_NON_BLOCKING.
        check(unsafe { sys::cuStreamCreate(&mut stream, 1) }, "a stream")?;
        Ok(Self { stream, waiting: RefCell::default() })
    }

    /// The driver's handle, which the libraries take.
    pub fn handle(&self) -> *mut c_void {
        self.stream.cast()
    }

    /// Seconds on the device of what `work` enqueues here; waits for it.
    pub fn seconds(&self, work: impl FnOnce() -> Result<(), Diagnostic>) -> Result<f64, Diagnostic> {
        let (start, end) = (Event::new()?, Event::new()?);
        start.record(self)?;
        work()?;
        end.record(self)?;
        end.seconds_since(&start)
    }

    /// Enqueues a copy of all of `from` to position `at` of `to`. Errors: beyond the end.
    pub fn upload(&self, from: &Pinned, to: &Memory, at: usize) -> Result<(), Diagnostic> {
        let to = to.range(at, from.len)?;
        // SAFETY: both ranges have the length; pinned memory is not freed before the copy has ended.
        check(unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.at, from.len, self.stream) }, "a copy to the device")
    }

    /// Enqueues a copy from position `at` of `from` to all of `to`. Errors: beyond the end.
    pub fn download(&self, from: &Memory, at: usize, to: &mut Pinned) -> Result<(), Diagnostic> {
        let from = from.range(at, to.len)?;
        // SAFETY: as in `upload`; nothing else refers to the pinned memory.
        check(unsafe { sys::cuMemcpyDtoHAsync_v2(to.at, from, to.len, self.stream) }, "a copy from the device")
    }

    /// Waits for all work.
    pub fn synchronize(&self) -> Result<(), Diagnostic> {
        // SAFETY: the stream lives.
        check(unsafe { sys::cuStreamSynchronize(self.stream) }, "to finish")
    }

    /// Records what `work` enqueues as a graph instead of running it.
    pub fn capture(&self, work: &mut dyn FnMut() -> Result<(), Diagnostic>) -> Result<Graph, Diagnostic> {
        let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives; the capture is ended below on every path.
        check(unsafe { sys::cuStreamBeginCapture_v2(self.stream, mode) }, "to record a graph")?;
        let outcome = work();
        let (mut graph, mut replay) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the graph is destroyed once; the executable form does not need it.
        unsafe {
            let ended = check(sys::cuStreamEndCapture(self.stream, &mut graph), "to record a graph");
            outcome?;
            ended?;
            let made = self
                .serialize(graph)
                .and_then(|()| check(sys::cuGraphInstantiateWithFlags(&mut replay, graph, 0), "to prepare a graph"));
            sys::cuGraphDestroy(graph);
            made?;
        }
        Ok(Graph(replay))
    }

    /// Makes kernels of libraries in `graph` wait until what is before them has ended: a library may launch some of its kernels
    /// earlier, and then everything depends on each of them waiting for what it reads.
    fn serialize(&self, graph: sys::CUgraph) -> Result<(), Diagnostic> {
        let mut n = 0;
        // SAFETY: without places to write to, the driver only counts.
        let counted =
            unsafe { sys::cuGraphGetEdges_v2(graph, ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), &mut n) };
        check(counted, "the edges of a graph")?;
        if n == 0 {
            return Ok(());
        }
        let whole = sys::CUgraphEdgeData { from_port: 0, to_port: 0, type_: 0, reserved: [0; 5] };
        let (mut from, mut to, mut edges) = (vec![ptr::null_mut(); n], vec![ptr::null_mut(); n], vec![whole; n]);
        // SAFETY: each list has `n` places.
        let listed =
            unsafe { sys::cuGraphGetEdges_v2(graph, from.as_mut_ptr(), to.as_mut_ptr(), edges.as_mut_ptr(), &mut n) };
        check(listed, "the edges of a graph")?;
        for at in (0..n).filter(|&at| edges[at] != whole) {
            let mut parameters = std::mem::MaybeUninit::<sys::CUDA_KERNEL_NODE_PARAMS>::zeroed();
            // SAFETY: only kernels have such edges; zeros are valid in a structure of numbers and pointers, which the driver fills.
            let function = unsafe {
                check(sys::cuGraphKernelNodeGetParams_v2(to[at], parameters.as_mut_ptr()), "a node's kernel")?;
                parameters.assume_init().func
            };
            if self.waiting.borrow().contains(&(function as usize)) {
                continue;
            }
            // SAFETY: the edge is one of this graph; a whole one takes its place.
            unsafe {
                check(sys::cuGraphRemoveDependencies_v2(graph, &from[at], &to[at], &edges[at], 1), "an edge")?;
                check(sys::cuGraphAddDependencies_v2(graph, &from[at], &to[at], &whole, 1), "an edge")?;
            }
        }
        Ok(())
    }

    /// Enqueues `graph`.
    pub fn replay(&self, graph: &Graph) -> Result<(), Diagnostic> {
        // SAFETY: both live.
        check(unsafe { sys::cuGraphLaunch(graph.0, self.stream) }, "to replay a graph")
    }

    /// Enqueues `kernel` with `arguments`, the addresses of its parameters.
    ///
    /// The kernel must take as many pointers and touch only what they point to; kernels are generated together with
    /// their arguments, in one place.
    pub fn launch(&self, kernel: &Kernel, shape: Launch, arguments: &[Address]) -> Result<(), Diagnostic> {
        let mut values = arguments.to_vec();
        let mut parameters: Vec<*mut c_void> = values.iter_mut().map(|value| ptr::from_mut(value).cast()).collect();
        let [grid, rows] = shape.grid;
        use sys::CUlaunchAttributeID_enum as Attribute;
        let mut early = sys::CUlaunchAttribute_st {
            id: Attribute::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: grid,
            gridDimY: rows,
            gridDimZ: 1,
            blockDimX: shape.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shape.shared_bytes,
            hStream: self.stream,
            attrs: &mut early,
            numAttrs: u32::from(kernel.waits),
        };
        if kernel.waits {
            self.waiting.borrow_mut().insert(kernel.function as usize);
        }
        // SAFETY: the driver copies the parameters and attributes before it returns.
        let status =
            unsafe { sys::cuLaunchKernelEx(&config, kernel.function, parameters.as_mut_ptr(), ptr::null_mut()) };
        check(status, "to launch a kernel")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: nothing else holds the stream.
        unsafe { sys::cuStreamDestroy_v2(self.stream) };
    }
}

/// How a kernel is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Blocks in x and y.
    pub grid: [u32; 2],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
}

/// A recorded order of work.
#[derive(Debug)]
pub struct Graph(sys::CUgraphExec);

// SAFETY: as for streams.
unsafe impl Send for Graph {}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: nothing else holds the graph.
        unsafe { sys::cuGraphExecDestroy(self.0) };
    }
}

/// A point in a stream.
#[derive(Debug)]
pub struct Event(sys::CUevent);

impl Event {
    /// An event with timing.
    pub fn new() -> Result<Self, Diagnostic> {
        let mut event = ptr::null_mut();
        // SAFETY: the context is current; 0 is CU_EVENT_DEFAULT.
        check(unsafe { sys::cuEventCreate(&mut event, 0) }, "an event")?;
        Ok(Self(event))
    }

    /// Marks the present end of `stream`.
    pub fn record(&self, stream: &Stream) -> Result<(), Diagnostic> {
        // SAFETY: both live.
        check(unsafe { sys::cuEventRecord(self.0, stream.stream) }, "to record an event")
    }

    /// Waits for this event; the seconds since `start`, which was recorded before.
    pub fn seconds_since(&self, start: &Event) -> Result<f64, Diagnostic> {
        let mut milliseconds = 0.0;
        // SAFETY: both live and were recorded.
        unsafe {
            check(sys::cuEventSynchronize(self.0), "to wait for an event")?;
            check(sys::cuEventElapsedTime_v2(&mut milliseconds, start.0, self.0), "a time")?;
        }
        Ok(f64::from(milliseconds) / 1e3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: nothing else holds the event.
        unsafe { sys::cuEventDestroy_v2(self.0) };
    }
}

/// Bytes of shared memory that a kernel has without being asked for.
pub(crate) const UNASKED_SHARED_BYTES: u32 = 48 << 10;

/// A loaded kernel. It stays loaded as long as the program runs.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    function: sys::CUfunction,
    waits: bool,
}

// SAFETY: functions are immutable handles.
unsafe impl Send for Kernel {}

impl Kernel {
    /// Loads the kernel `region` from machine code; it is launched with at most so many bytes of dynamic shared memory. A kernel
    /// that `waits` for what is before it on its stream, by an instruction of its own, is launched before that has ended.
    pub fn load(image: &[u8], shared_bytes: u32, waits: bool) -> Result<Self, Diagnostic> {
        let (mut module, mut function) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the image is machine code with its own length in its header, and lives through the call.
        unsafe {
            check(sys::cuModuleLoadData(&mut module, image.as_ptr().cast()), "a module")?;
            check(sys::cuModuleGetFunction(&mut function, module, c"region".as_ptr()), "a kernel")?;
            if shared_bytes > UNASKED_SHARED_BYTES {
                use sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as DYNAMIC;
                check(sys::cuFuncSetAttribute(function, DYNAMIC, shared_bytes as i32), "shared memory for a kernel")?;
            }
        }
        Ok(Self { function, waits })
    }
}
