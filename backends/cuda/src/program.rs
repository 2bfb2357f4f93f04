//! A planned model on a device: its memory, its steps, and one graph that replays them all.
//!
//! A program may hold several copies of its memory, each with a graph of its own. Replays go round over them, so that a
//! measurement finds neither weights nor results in the cache, and copies may run at the same time on several streams.

use crate::arena::{Arena, arena};
use crate::backend::listed;
use crate::compile::Cache;
use crate::constants::Constant;
use crate::cudnn::{Cudnn, CudnnPlan};
use crate::driver::{Address, Device, Event, Graph, Kernel, Launch, Memory, Stream};
use crate::libraries::Library;
use crate::plan::{Content, Place, Places, Plan, Ways};
use crate::product::{CublasLt, Operands, ProductPlan, WORKSPACE};
use crate::tuning::{Declined, Trial, Way};
use crate::view::{Precision, Scalar, View};
use eutectic_backend::{Error, HostTensor, Launch as Listed, Program};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::Element;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Alignment of every buffer, in bytes.
const ALIGNMENT: usize = 256;
/// Copies of the memory at most: with the scratch of the libraries in each, they still fit on the device.
const MOST_COPIES: usize = 256;

/// A launch that is ready to be enqueued. Addresses count from the beginning of a copy of the memory.
#[derive(Clone)]
pub(crate) enum Ready {
    Kernel(Kernel, Launch, Vec<Address>),
    Product(Box<ProductPlan>, Operands),
    /// The plan with this number.
    Cudnn(usize, Operands),
}

/// One copy of a program's memory.
struct Copy {
    memory: Memory,
    graph: Option<Graph>,
}

/// A model on the device.
pub struct CudaProgram {
    pub(crate) plan: Plan,
    arena: Arena,
    /// Where each buffer lies in a copy of the memory.
    offsets: Vec<Address>,
    workspace_at: Address,
    copies: Vec<Copy>,
    /// The launches of each step.
    pub(crate) steps: Vec<Vec<Ready>>,
    pub(crate) cudnn_plans: Vec<CudnnPlan>,
    /// The way to each kind of result that libraries compute, too, with its name in the cache, and the names of those given up.
    pub(crate) chosen: HashMap<String, (String, Way)>,
    pub(crate) refused: HashMap<String, BTreeSet<String>>,
    pub(crate) trials: Vec<Trial>,
    pub(crate) declined: Vec<Declined>,
    /// Generated kernels that compute the same as steps that a library computes, with the number of the step.
    pub(crate) references: Vec<(usize, Vec<Ready>)>,
    pub(crate) libraries: Libraries,
    pub(crate) device: Arc<Device>,
    stages: Vec<(&'static str, f64)>,
    has_run: bool,
    next: std::cell::Cell<usize>,
}

/// What was opened; absent where no step needs it.
pub(crate) struct Libraries {
    pub cudnn: Option<Cudnn>,
    pub cublas: Option<CublasLt>,
    pub stream: Stream,
}

/// Bytes that a program takes on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Weights, as the kernels want them.
    pub weights: usize,
    /// Results, with memory shared between those that do not live at the same time.
    pub results: usize,
    /// What the results would take without sharing.
    pub unshared: usize,
    /// Scratch of the libraries.
    pub workspace: usize,
}

impl CudaProgram {
    pub(crate) fn load(plan: Plan, cache: &Cache, limit: usize) -> Result<Self, Diagnostic> {
        let mut stages = Vec::new();
        let mut begun = Instant::now();
        let mut stage = |name| {
            stages.push((name, begun.elapsed().as_secs_f64()));
            begun = Instant::now();
        };
        let device = Device::open()?;
        stage("device");
        let arena = arena(&plan);
        let mut offsets = vec![0; plan.buffers.len()];
        let mut end = 0;
        let mut take = |bytes: usize| {
            let at = end;
            end += bytes.max(1).next_multiple_of(ALIGNMENT);
            at
        };
        for (buffer, offset) in plan.buffers.iter().zip(&mut offsets) {
            if buffer.content != Content::Arena {
                *offset = take(buffer.bytes) as Address;
            }
        }
        let arena_at = take(arena.bytes);
        let workspace_at = take(WORKSPACE) as Address;
        if end > limit {
            let message = format!("the program takes {end} bytes on the device, the limit is {limit}");
            return Err(Diagnostic::error(Kind::Limit, "B0303", message));
        }
        let memory = Memory::new(&device, end)?;
        let mut constants = Vec::new();
        for (at, buffer) in plan.buffers.iter().enumerate() {
            match &buffer.content {
                Content::Arena => offsets[at] = (arena_at + arena.offsets[at]) as Address,
                Content::Constant(constant) => constants.push((offsets[at] as usize, buffer.bytes, constant)),
                // Places that an input names are looked up before there is an input.
                Content::Input(_) => memory.write(offsets[at] as usize, &vec![0; buffer.bytes])?,
            }
        }
        upload(&device, &memory, constants)?;
        noise(&memory, arena_at, arena.bytes)?;
        for input in plan.inputs.iter().filter(|input| input.element == Element::Float) {
            let buffer = input.buffer.map(|at| (offsets[at] as usize, plan.buffers[at].bytes));
            buffer.map_or(Ok(()), |(at, bytes)| noise(&memory, at, bytes))?;
        }
        stage("weights");
        let stream = Stream::new()?;
        let ways = || plan.steps.iter().flat_map(|step| step.work.ways());
        // What has a generated kernel runs without the libraries.
        let wants = |library: Library, has: bool, must: bool| has && (must || library.is_present());
        let is_bound = ways().any(|ways| ways.needs_library());
        let (products, convolutions) = (
            ways().any(|ways| ways.products().iter().any(Option::is_some)),
            ways().any(|ways| ways.convolutions().iter().any(Option::is_some)),
        );
        let cublas = if wants(Library::CublasLt, products, is_bound) { Some(CublasLt::new()?) } else { None };
        let mut cudnn = if wants(Library::Cudnn, convolutions, false) { Some(Cudnn::new(&stream)?) } else { None };
        // What has a fused engine has kernels of ours, whatever a library says.
        let mut declined = Vec::new();
        if cudnn.is_none() && wants(Library::Cudnn, ways().any(|ways| ways.fused.is_some()), false) {
            cudnn = Cudnn::new(&stream).map_err(|problem| declined.push(Declined::library(&problem))).ok();
        }
        stage("libraries");
        let mut program = Self {
            arena,
            offsets,
            workspace_at,
            copies: vec![Copy { memory, graph: None }],
            steps: Vec::new(),
            cudnn_plans: Vec::new(),
            chosen: HashMap::new(),
            trials: Vec::new(),
            declined,
            refused: HashMap::new(),
            references: Vec::new(),
            libraries: Libraries { cudnn, cublas, stream },
            device,
            stages: Vec::new(),
            has_run: false,
            next: std::cell::Cell::new(0),
            plan,
        };
        let kernels = program.kernels(cache)?;
        stage("kernels");
        program.settle(cache, &kernels)?;
        stage("ways");
        // The constants are on the device now.
        for buffer in &mut program.plan.buffers {
            if let Content::Constant(constant) = &mut buffer.content {
                *constant = Constant::Bytes(Vec::new());
            }
        }
        program.stages = stages;
        Ok(program)
    }

    /// Seconds of each stage of the preparation, in order.
    pub fn stages(&self) -> &[(&'static str, f64)] {
        &self.stages
    }

    pub(crate) fn address(&self, place: Place) -> Address {
        self.offsets[place.buffer] + place.offset as Address
    }

    /// Where `buffer` lies in a copy of the memory.
    pub(crate) fn offset(&self, buffer: usize) -> Address {
        self.offsets[buffer]
    }

    pub(crate) fn operands(&self, places: &Places) -> Operands {
        let optional = |place: Option<Place>| place.map_or(0, |place| self.address(place));
        Operands {
            left: self.address(places.left),
            right: self.address(places.right),
            values: optional(places.values),
            bias: optional(places.bias),
            residual: optional(places.residual),
            factors: optional(places.factors),
            out: self.address(places.out),
        }
    }

    /// The operands of a step that are results of others, or inputs: where they lie in the first copy, and their bytes.
    pub(crate) fn written(&self, ways: &Ways, places: &Places) -> Vec<(Address, usize)> {
        let Places { left, right, values, bias, residual, .. } = *places;
        let operands = [Some(left), Some(right), values, bias, residual].into_iter().flatten();
        let before = ways.before.iter().flat_map(|step| &step.reads);
        let beside = ways.sums.iter().flat_map(|sums| &sums.reads).chain(before).copied();
        // What is before gives one of them.
        let is_given = |buffer: &usize| ways.before.iter().any(|step| step.writes.contains(buffer));
        let mut found: Vec<(Address, usize)> = operands
            .map(|place| place.buffer)
            .chain(beside)
            .filter(|buffer| !is_given(buffer))
            .map(|buffer| (buffer, &self.plan.buffers[buffer]))
            .filter(|(_, buffer)| !matches!(buffer.content, Content::Constant(_)))
            .map(|(at, buffer)| (self.base(0) + self.offset(at), buffer.bytes))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Number of copies of the memory.
    pub(crate) fn n_copies(&self) -> usize {
        self.copies.len()
    }

    /// The memory of copy `at`.
    pub(crate) fn memory(&self, at: usize) -> &Memory {
        &self.copies[at].memory
    }

    /// Where the memory of copy `at` begins.
    pub(crate) fn base(&self, at: usize) -> Address {
        self.copies[at].memory.address()
    }

    /// `len` bytes of the first copy of the memory, from `at` on, behind all work.
    pub(crate) fn bytes(&self, at: Address, len: usize) -> Result<Vec<u8>, Diagnostic> {
        self.libraries.stream.synchronize()?;
        self.copies[0].memory.read(at as usize, len)
    }

    /// Enqueues one launch on the memory that begins at `base`.
    pub(crate) fn enqueue_one(&self, ready: &Ready, base: Address) -> Result<(), Diagnostic> {
        let stream = &self.libraries.stream;
        let workspace = base + self.workspace_at;
        match ready {
            Ready::Kernel(kernel, launch, at) => {
                let addresses: Vec<Address> = at.iter().map(|&at| base + at).collect();
                stream.launch(kernel, *launch, &addresses)
            }
            Ready::Product(plan, at) => plan.enqueue(stream, at.from(base), workspace),
            Ready::Cudnn(plan, at) => self.cudnn_plans[*plan].enqueue(at.from(base), workspace),
        }
    }

    /// Records all steps on copy `at` as one graph. The first run is outside of it: libraries load kernels when they
    /// first need them.
    pub(crate) fn record(&mut self, at: usize) -> Result<(), Diagnostic> {
        let base = self.base(at);
        let all = || self.steps.iter().flatten().try_for_each(|ready| self.enqueue_one(ready, base));
        all()?;
        self.libraries.stream.synchronize()?;
        let graph = self.libraries.stream.capture(&mut || all())?;
        self.copies[at].graph = Some(graph);
        Ok(())
    }

    /// Makes `n` copies of the memory in all. Errors: out of memory.
    pub fn spread(&mut self, n: usize) -> Result<(), Error> {
        self.device.bind()?;
        while self.copies.len() < n {
            let first = &self.copies[0].memory;
            let memory = Memory::new(&self.device, first.len())?;
            memory.copy_from(first)?;
            self.copies.push(Copy { memory, graph: None });
            self.record(self.copies.len() - 1)?;
        }
        Ok(())
    }

    /// Copies of the memory that together exceed twice the device's second-level cache.
    pub fn copies_beyond_cache(&self) -> usize {
        let touched = self.copies[0].memory.len().saturating_sub(WORKSPACE).max(1);
        (2 * self.device.cache_bytes).div_ceil(touched).clamp(1, MOST_COPIES)
    }

    pub(crate) fn replay(&self, at: usize, stream: &Stream) -> Result<(), Diagnostic> {
        let unrecorded = || Diagnostic::error(Kind::Io, "B0302", "a program was not recorded");
        stream.replay(self.copies[at].graph.as_ref().ok_or_else(unrecorded)?)
    }

    /// Seconds that `n` runs take on the device, back to back, each on the next copy of the memory.
    pub fn seconds(&self, n: usize) -> Result<f64, Error> {
        self.device.bind()?;
        let stream = &self.libraries.stream;
        let replay = |_| {
            let at = self.next.replace((self.next.get() + 1) % self.copies.len());
            self.replay(at, stream)
        };
        Ok(stream.seconds(|| (0..n).try_for_each(replay))?)
    }

    /// `n` runs on each of `n_streams` copies of the memory, all copies at the same time, each on a stream of its own:
    /// seconds from the first start to the last end, and of each run. There are as many copies as [`Self::spread`] made.
    pub fn concurrent(&self, n_streams: usize, n: usize) -> Result<(f64, Vec<f64>), Error> {
        self.device.bind()?;
        let copies = 0..n_streams.clamp(1, self.copies.len());
        let lanes = copies.map(|_| Ok((Stream::new()?, Vec::new()))).collect::<Result<Vec<_>, Diagnostic>>();
        let mut lanes: Vec<(Stream, Vec<[Event; 2]>)> = lanes?;
        for _ in 0..n {
            for (at, (stream, events)) in lanes.iter_mut().enumerate() {
                let (start, end) = (Event::new()?, Event::new()?);
                start.record(stream)?;
                self.replay(at, stream)?;
                end.record(stream)?;
                events.push([start, end]);
            }
        }
        let (mut total, mut each) = (0.0f64, Vec::new());
        for (_, events) in &lanes {
            for [start, end] in events {
                each.push(end.seconds_since(start)?);
                total = total.max(end.seconds_since(&lanes[0].1[0][0])?);
            }
        }
        Ok((total, each))
    }

    /// What the program takes on the device.
    pub fn footprint(&self) -> Footprint {
        let is_constant = |content: &Content| matches!(content, Content::Constant(_));
        let weights = self.plan.buffers.iter().filter(|buffer| is_constant(&buffer.content));
        Footprint {
            weights: weights.map(|buffer| buffer.bytes).sum(),
            results: self.arena.bytes,
            unshared: self.arena.unshared,
            workspace: WORKSPACE,
        }
    }

    /// The device and the libraries with their versions, for the record of a measurement.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut found = vec![
            ("device", self.device.name.clone()),
            ("driver", self.device.driver_version.to_string()),
            ("multiprocessors", self.device.n_multiprocessors.to_string()),
            ("cache_bytes", self.device.cache_bytes.to_string()),
            ("memory_copies", self.copies.len().to_string()),
        ];
        if let Ok((major, minor)) = crate::compile::version() {
            found.push(("nvrtc", format!("{major}.{minor}")));
        }
        found.extend(self.libraries.cublas.as_ref().map(|cublas| ("cublaslt", cublas.version().to_string())));
        found.extend(self.libraries.cudnn.as_ref().map(|cudnn| ("cudnn", cudnn.version().to_string())));
        found
    }

    /// The outputs as they lie in the first copy of the memory.
    pub fn outputs(&self) -> Result<Vec<Tensor>, Error> {
        self.plan.outputs.iter().map(|(view, element)| Ok(self.read(view, *element)?)).collect()
    }

    fn read(&self, view: &View, element: Element) -> Result<Tensor, Diagnostic> {
        let bytes =
            self.copies[0].memory.read(self.address(Place::of(view)) as usize, view.count() * view.scalar.bytes())?;
        Tensor::new(element, &view.shape, view.scalar.packed(bytes).into())
            .map_err(|error| Diagnostic::error(Kind::Io, "B0302", format!("an output cannot be read: {error:?}")))
    }
}

impl Operands {
    /// The same places in the memory that begins at `base`.
    pub fn from(self, base: Address) -> Self {
        let moved = |at: Address| base.wrapping_add(at);
        Self {
            left: moved(self.left),
            right: moved(self.right),
            values: moved(self.values),
            bias: moved(self.bias),
            residual: moved(self.residual),
            factors: moved(self.factors),
            out: moved(self.out),
        }
    }
}

/// Lays out `constants`, each with its place and its length, and writes them to `memory`: the largest first, on all processors.
fn upload(device: &Device, memory: &Memory, mut constants: Vec<(usize, usize, &Constant)>) -> Result<(), Diagnostic> {
    constants.sort_by_key(|&(_, len, _)| std::cmp::Reverse(len));
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(constants.len().max(1));
    let next = AtomicUsize::new(0);
    let work = || {
        device.bind()?;
        while let Some((at, len, constant)) = constants.get(next.fetch_add(1, Ordering::Relaxed)) {
            let unreadable = || Diagnostic::error(Kind::Io, "B0302", "a constant cannot be converted");
            let bytes = constant.bytes().ok_or_else(unreadable)?;
            memory.write(*at, &bytes)?;
            // A matrix may be filled up by columns of zeros.
            memory.write(at + bytes.len(), &vec![0; len.saturating_sub(bytes.len())])?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        let ended = || Diagnostic::error(Kind::Io, "B0302", "a thread that lays out constants ended");
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(ended())))
    })
}

/// Fills memory with numbers of ordinary size: zeros make arithmetic units draw less power and run faster, so a choice that is
/// timed on them is another one.
pub(crate) fn noise(memory: &Memory, at: usize, len: usize) -> Result<(), Diagnostic> {
    static CHUNK: OnceLock<Vec<u8>> = OnceLock::new();
    let chunk = CHUNK.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        // Each half-word is a float16 between 0.125 and 2, of either sign, each pair of them a float32 of like size, and each byte
        // a float8 below 2.
        (0..1 << 20).flat_map(|_| (0x3000u16 | (next() as u16 & 0x8fbf)).to_le_bytes()).collect()
    });
    let mut done = 0;
    while done < len {
        let part = chunk.len().min(len - done);
        memory.write(at + done, &chunk[..part])?;
        done += part;
    }
    Ok(())
}

impl Program for CudaProgram {
    fn run(&mut self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, Error> {
        self.device.bind()?;
        let mut problems = Diagnostics::default();
        if inputs.len() != self.plan.inputs.len() {
            let message = format!("the program has {} inputs, {} are given", self.plan.inputs.len(), inputs.len());
            problems.push(Diagnostic::error(Kind::Invalid, "B0311", message));
        }
        for (at, (tensor, planned)) in inputs.iter().zip(&self.plan.inputs).enumerate() {
            if tensor.element() != planned.element || tensor.shape() != planned.shape {
                let message = format!("input {at} is {}{:?}, found {}", planned.element, planned.shape, tensor.ty());
                problems.push(Diagnostic::error(Kind::Invalid, "B0311", message));
            } else if planned.bound.as_ref().is_some_and(|bound| bound != tensor) {
                let message = format!("the program was planned for other contents of input {at}");
                problems.push(Diagnostic::error(Kind::Invalid, "B0313", message).help("prepare it for these contents"));
            }
        }
        problems.into_result(()).map_err(Error)?;
        for (tensor, planned) in inputs.iter().zip(&self.plan.inputs) {
            if let Some(buffer) = planned.buffer {
                let scalar = Scalar::of(planned.element, Precision::F32);
                let bytes =
                    scalar.map_or_else(|| tensor.bytes(), |scalar| scalar.unpacked(tensor.bytes(), tensor.count()));
                self.copies[0].memory.write(self.offsets[buffer] as usize, &bytes)?;
            }
        }
        if let [first, others @ ..] = self.copies.as_slice() {
            others.iter().try_for_each(|copy| copy.memory.copy_from(&first.memory))?;
        }
        self.has_run = true;
        self.replay(0, &self.libraries.stream)?;
        self.libraries.stream.synchronize()?;
        self.outputs()
    }

    fn enqueue(&mut self) -> Result<(), Error> {
        if !self.has_run {
            let message = "there are no inputs on the device: nothing was run before";
            return Err(Diagnostic::error(Kind::Invalid, "B0312", message).into());
        }
        self.device.bind()?;
        Ok(self.replay(0, &self.libraries.stream)?)
    }

    fn listing(&self) -> Vec<Listed> {
        self.plan
            .steps
            .iter()
            .zip(&self.steps)
            .map(|(step, ready)| Listed { kind: kinds(ready), ..listed(step) })
            .collect()
    }
}

/// What runs a step.
pub(crate) fn kinds(step: &[Ready]) -> String {
    let kinds = step.iter().map(|ready| match ready {
        Ready::Kernel(..) => "generated",
        Ready::Product(..) => "cuBLASLt",
        Ready::Cudnn(..) => "cuDNN",
    });
    kinds.collect::<Vec<&str>>().join("+")
}
