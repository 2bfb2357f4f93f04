//! A planned model on a device: memory, compiled kernels, tuned library calls, and one graph that replays them all.

use crate::arena::{Arena, arena};
use crate::backend::{kernel_of, listed};
use crate::compile::Cache;
use crate::convolution::{Convolution, ConvolutionPlan, Cudnn, Images};
use crate::driver::{Address, Device, Event, Graph, Kernel, Launch, Memory, Stream};
use crate::libraries::Library;
use crate::plan::{Content, Place, Plan, Step, Work};
use crate::product::{CublasLt, Operands, Product, ProductPlan, WORKSPACE};
use crate::region::Generated;
use crate::view::Scalar;
use eutectic_backend::{Error, HostTensor, Launch as Listed, Program};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use eutectic_ir::tensor::Tensor;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Ways that are timed of each product and convolution.
const CANDIDATES: usize = 12;

/// A step that is ready to be enqueued.
enum Ready {
    Kernel(Kernel, Launch, Vec<Address>),
    Product(Box<ProductPlan>, Operands),
    /// The plan with this number.
    Convolution(usize, Images),
}

/// A model on the device.
pub struct CudaProgram {
    plan: Plan,
    arena: Arena,
    inputs: Vec<Memory>,
    constants: Memory,
    results: Memory,
    workspace: Memory,
    addresses: Vec<Address>,
    steps: Vec<Ready>,
    convolutions: Vec<ConvolutionPlan>,
    graph: Option<Graph>,
    libraries: Libraries,
    device: Arc<Device>,
    has_run: bool,
}

/// What was opened; absent where no step needs it.
struct Libraries {
    cudnn: Option<Cudnn>,
    cublas: Option<CublasLt>,
    stream: Stream,
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

/// A step with what it costs at least.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// What ran.
    pub launch: Listed,
    /// Seconds of one launch.
    pub seconds: f64,
    /// Floating-point operations; 0 where bytes are what counts.
    pub flops: f64,
    /// Bytes of operands and results.
    pub bytes: f64,
}

impl CudaProgram {
    pub(crate) fn load(plan: Plan, cache: &Cache, limit: usize) -> Result<Self, Diagnostic> {
        let device = Device::open()?;
        let arena = arena(&plan);
        let mut at = 0;
        let mut constant_at = vec![0; plan.buffers.len()];
        for (buffer, offset) in plan.buffers.iter().zip(&mut constant_at) {
            if let Content::Constant(bytes) = &buffer.content {
                *offset = at;
                at += bytes.len().max(1).next_multiple_of(256);
            }
        }
        let total = at.saturating_add(arena.bytes).saturating_add(WORKSPACE);
        if total > limit {
            let message = format!("the program takes {total} bytes on the device, the limit is {limit}");
            return Err(Diagnostic::error(Kind::Limit, "B0303", message));
        }
        let mut constants = vec![0u8; at];
        for (buffer, &offset) in plan.buffers.iter().zip(&constant_at) {
            if let Content::Constant(bytes) = &buffer.content {
                constants[offset..offset + bytes.len()].copy_from_slice(bytes);
            }
        }
        let constants = Memory::of(&device, &constants)?;
        let results = Memory::new(&device, arena.bytes)?;
        let mut inputs = Vec::new();
        let mut addresses = Vec::new();
        for (at, buffer) in plan.buffers.iter().enumerate() {
            addresses.push(match &buffer.content {
                Content::Arena => results.address() + arena.offsets[at] as u64,
                Content::Constant(_) => constants.address() + constant_at[at] as u64,
                Content::Input(_) => {
                    inputs.push(Memory::new(&device, buffer.bytes)?);
                    inputs[inputs.len() - 1].address()
                }
            });
        }
        let stream = Stream::new()?;
        let needs_products = plan.steps.iter().any(|step| matches!(step.work, Work::Product { .. }));
        let needs_convolutions = plan.steps.iter().any(|step| matches!(step.work, Work::Convolution { .. }));
        // Convolutions have kernels of their own, slow ones, so cuDNN may be absent.
        let cudnn = if needs_convolutions && Library::Cudnn.is_present() { Some(Cudnn::new(&stream)?) } else { None };
        let cublas = if needs_products { Some(CublasLt::new()?) } else { None };
        let workspace = Memory::new(&device, WORKSPACE)?;
        let mut program = Self {
            arena,
            inputs,
            constants,
            results,
            workspace,
            addresses,
            steps: Vec::new(),
            convolutions: Vec::new(),
            graph: None,
            libraries: Libraries { cudnn, cublas, stream },
            device,
            has_run: false,
            plan,
        };
        program.noise()?;
        program.prepare_steps(cache)?;
        // The constants are on the device now.
        for buffer in &mut program.plan.buffers {
            if let Content::Constant(bytes) = &mut buffer.content {
                *bytes = Vec::new();
            }
        }
        Ok(program)
    }

    /// Fills the results with numbers of ordinary size: zeros make arithmetic units draw less power and run faster, so a
    /// choice that is timed on them is another one.
    fn noise(&self) -> Result<(), Diagnostic> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        // Each half-word is a float16 between 0.125 and 2, of either sign, and each pair of them a float32 of like size.
        let chunk: Vec<u8> = (0..1 << 20).flat_map(|_| (0x3000u16 | (next() as u16 & 0x8fff)).to_le_bytes()).collect();
        let mut at = 0;
        while at < self.results.len() {
            let len = chunk.len().min(self.results.len() - at);
            self.results.write(at, &chunk[..len])?;
            at += len;
        }
        self.inputs.iter().try_for_each(|input| input.fill(0))
    }

    fn address(&self, place: Place) -> Address {
        self.addresses[place.buffer] + place.offset as u64
    }

    fn optional(&self, place: Option<Place>) -> Address {
        place.map_or(0, |place| self.address(place))
    }

    fn prepare_steps(&mut self, cache: &Cache) -> Result<(), Diagnostic> {
        let kernels = self.kernels(cache)?;
        let mut chosen_products: HashMap<String, ProductPlan> = HashMap::new();
        let mut chosen_convolutions: HashMap<String, Option<usize>> = HashMap::new();
        for at in 0..self.plan.steps.len() {
            let step = self.plan.steps[at].clone();
            let ready = match &step.work {
                Work::Kernel(generated) => self.ready(generated, &kernels)?,
                Work::Product { product, left, right, bias, residual, out } => {
                    let operands = Operands {
                        left: self.address(*left),
                        right: self.address(*right),
                        bias: self.optional(*bias),
                        residual: self.optional(*residual),
                        out: self.address(*out),
                    };
                    let key = format!("{product:?}");
                    let plan = match chosen_products.get(&key) {
                        Some(plan) => *plan,
                        None => self.choose_product(product, operands, cache)?,
                    };
                    chosen_products.insert(key, plan);
                    Ready::Product(Box::new(plan), operands)
                }
                Work::Convolution { convolution, input, filter, bias, residual, out, otherwise } => {
                    let images = Images {
                        input: self.address(*input),
                        filter: self.address(*filter),
                        bias: self.optional(*bias),
                        residual: self.optional(*residual),
                        out: self.address(*out),
                    };
                    let otherwise = self.ready(otherwise, &kernels)?;
                    let key = format!("{convolution:?}");
                    let choice = match chosen_convolutions.get(&key) {
                        Some(&choice) => choice,
                        None => self.choose_convolution(convolution, images, &otherwise, cache)?,
                    };
                    chosen_convolutions.insert(key, choice);
                    match choice {
                        Some(plan) => Ready::Convolution(plan, images),
                        None => otherwise,
                    }
                }
            };
            self.steps.push(ready);
        }
        Ok(())
    }

    /// Every generated kernel, compiled or from the cache, by source.
    fn kernels(&self, cache: &Cache) -> Result<HashMap<String, Kernel>, Diagnostic> {
        let sources: BTreeSet<&str> =
            self.plan.steps.iter().filter_map(|step| Some(kernel_of(&step.work)?.source.as_str())).collect();
        let sources: Vec<&str> = sources.into_iter().collect();
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(sources.len().max(1));
        let architecture = self.device.architecture;
        let images: Vec<Result<Vec<(usize, Vec<u8>)>, Diagnostic>> = std::thread::scope(|scope| {
            let sources = &sources;
            let threads: Vec<_> = (0..n_threads)
                .map(|first| {
                    scope.spawn(move || {
                        let mine = (first..sources.len()).step_by(n_threads);
                        mine.map(|at| Ok((at, cache.compiled(sources[at], architecture)?))).collect()
                    })
                })
                .collect();
            let panicked = || Diagnostic::error(Kind::Io, "B0304", "a thread that compiles kernels ended");
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(panicked()))).collect()
        });
        let mut kernels = HashMap::new();
        for images in images {
            for (at, image) in images? {
                kernels.insert(sources[at].to_string(), Kernel::load(&image, "region")?);
            }
        }
        Ok(kernels)
    }

    fn ready(&self, generated: &Generated, kernels: &HashMap<String, Kernel>) -> Result<Ready, Diagnostic> {
        let kernel = kernels.get(&generated.source).copied();
        let kernel = kernel.ok_or_else(|| Diagnostic::error(Kind::Io, "B0304", "a kernel was not compiled"))?;
        let addresses = generated.parameters.iter().map(|&buffer| self.addresses[buffer]).collect();
        Ok(Ready::Kernel(kernel, generated.launch, addresses))
    }

    fn cublas(&self) -> Result<&CublasLt, Diagnostic> {
        let absent = || Diagnostic::error(Kind::Io, "B0305", "cuBLASLt was not opened");
        self.libraries.cublas.as_ref().ok_or_else(absent)
    }

    fn choose_product(&self, product: &Product, at: Operands, cache: &Cache) -> Result<ProductPlan, Diagnostic> {
        let cublas = self.cublas()?;
        let plans = cublas.plans(product, CANDIDATES)?;
        let none = || Diagnostic::error(Kind::Unsupported, "B0305", format!("cuBLASLt has no kernel for {product:?}"));
        let key = format!("cublaslt {} {} {product:?}", cublas.version(), self.device.name);
        if let Some(plan) = kept(cache, &key).and_then(|choice| plans.get(choice)) {
            return Ok(*plan);
        }
        let mut best = None;
        for (choice, plan) in plans.iter().enumerate() {
            let run = || plan.enqueue(&self.libraries.stream, at, self.workspace.address());
            if let Ok(seconds) = self.timed(&run)
                && best.is_none_or(|(least, _)| seconds < least)
            {
                best = Some((seconds, choice));
            }
        }
        let (_, choice) = best.ok_or_else(none)?;
        cache.put(&key, choice.to_string().as_bytes());
        plans.get(choice).copied().ok_or_else(none)
    }

    /// The number of the best plan; `None` when the generated kernel is best, or the only one.
    fn choose_convolution(
        &mut self,
        convolution: &Convolution,
        images: Images,
        otherwise: &Ready,
        cache: &Cache,
    ) -> Result<Option<usize>, Diagnostic> {
        let Some(cudnn) = &self.libraries.cudnn else { return Ok(None) };
        let engines = cudnn.engines(convolution, CANDIDATES);
        let key = format!("cudnn {} {} {convolution:?}", cudnn.version(), self.device.name);
        match kept(cache, &key) {
            Some(0) => return Ok(None),
            Some(choice) => {
                if let Some(plan) = engines.get(choice - 1).and_then(|engine| cudnn.plan(convolution, engine).ok()) {
                    self.convolutions.push(plan);
                    return Ok(Some(self.convolutions.len() - 1));
                }
            }
            None => {}
        }
        let mut best: Option<(f64, usize, Option<ConvolutionPlan>)> = None;
        for (at, engine) in engines.iter().enumerate() {
            let Ok(plan) = cudnn.plan(convolution, engine) else { continue };
            if plan.workspace > WORKSPACE {
                continue;
            }
            let run = || plan.enqueue(images, self.workspace.address());
            if let Ok(seconds) = self.timed(&run)
                && best.as_ref().is_none_or(|(least, ..)| seconds < *least)
            {
                best = Some((seconds, at + 1, Some(plan)));
            }
        }
        // The generated kernel may win where there is one channel to a group; elsewhere it takes long to find that out.
        if best.is_none() || convolution.filter[1] == 1 {
            let seconds = self.timed(&|| self.enqueue_one(otherwise))?;
            if best.as_ref().is_none_or(|(least, ..)| seconds < *least) {
                best = Some((seconds, 0, None));
            }
        }
        let Some((_, choice, plan)) = best else { return Ok(None) };
        cache.put(&key, choice.to_string().as_bytes());
        Ok(plan.map(|plan| {
            self.convolutions.push(plan);
            self.convolutions.len() - 1
        }))
    }

    /// Seconds of one run of `work`: the median of several groups of launches, after a warm-up. One noisy trial would pick
    /// another way each time.
    fn timed(&self, work: &dyn Fn() -> Result<(), Diagnostic>) -> Result<f64, Diagnostic> {
        const GROUPS: usize = 5;
        const LAUNCHES: usize = 10;
        let stream = &self.libraries.stream;
        (0..3).try_for_each(|_| work())?;
        stream.synchronize()?;
        let mut seconds = Vec::new();
        for _ in 0..GROUPS {
            let (start, end) = (Event::new()?, Event::new()?);
            start.record(stream)?;
            (0..LAUNCHES).try_for_each(|_| work())?;
            end.record(stream)?;
            seconds.push(end.seconds_since(&start)? / LAUNCHES as f64);
        }
        seconds.sort_by(f64::total_cmp);
        Ok(seconds[GROUPS / 2])
    }

    fn enqueue_one(&self, step: &Ready) -> Result<(), Diagnostic> {
        let stream = &self.libraries.stream;
        match step {
            Ready::Kernel(kernel, launch, addresses) => stream.launch(kernel, *launch, addresses),
            Ready::Product(plan, operands) => plan.enqueue(stream, *operands, self.workspace.address()),
            Ready::Convolution(plan, images) => self.convolutions[*plan].enqueue(*images, self.workspace.address()),
        }
    }

    /// Records all steps as one graph. The first run is outside of it: libraries load kernels when they first need them.
    pub(crate) fn record(&mut self) -> Result<(), Diagnostic> {
        let stream = &self.libraries.stream;
        self.steps.iter().try_for_each(|step| self.enqueue_one(step))?;
        stream.synchronize()?;
        let graph = stream.capture(&mut || self.steps.iter().try_for_each(|step| self.enqueue_one(step)))?;
        self.graph = Some(graph);
        Ok(())
    }

    fn replay(&self) -> Result<(), Diagnostic> {
        match &self.graph {
            Some(graph) => self.libraries.stream.replay(graph),
            None => self.steps.iter().try_for_each(|step| self.enqueue_one(step)),
        }
    }

    /// Seconds that `n` runs take on the device, back to back, on the inputs of the last run. Errors: nothing was run before.
    pub fn seconds(&self, n: usize) -> Result<f64, Error> {
        self.device.bind()?;
        let (start, end) = (Event::new()?, Event::new()?);
        start.record(&self.libraries.stream)?;
        (0..n).try_for_each(|_| self.replay())?;
        end.record(&self.libraries.stream)?;
        Ok(end.seconds_since(&start)?)
    }

    /// Each step alone: seconds of one launch among many in a row.
    pub fn profile(&self) -> Result<Vec<Profile>, Error> {
        self.device.bind()?;
        let mut profiles = Vec::new();
        for (step, ready) in self.plan.steps.iter().zip(&self.steps) {
            let seconds = self.timed(&|| self.enqueue_one(ready))?;
            profiles.push(Profile { launch: self.listed(step, ready), seconds, flops: step.flops, bytes: step.bytes });
        }
        Ok(profiles)
    }

    fn listed(&self, step: &Step, ready: &Ready) -> Listed {
        let kind = match ready {
            Ready::Kernel(..) => "generated",
            Ready::Product(..) => "cuBLASLt",
            Ready::Convolution(..) => "cuDNN",
        };
        Listed { kind: kind.into(), ..listed(step) }
    }

    /// What the program takes on the device.
    pub fn footprint(&self) -> Footprint {
        Footprint {
            weights: self.constants.len(),
            results: self.arena.bytes,
            unshared: self.arena.unshared,
            workspace: self.workspace.len(),
        }
    }

    /// The device and the libraries with their versions, for the record of a measurement.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut found = vec![
            ("device", self.device.name.clone()),
            ("driver", self.device.driver_version.to_string()),
            ("multiprocessors", self.device.n_multiprocessors.to_string()),
            ("cache_bytes", self.device.cache_bytes.to_string()),
        ];
        if let Ok((major, minor)) = crate::compile::version() {
            found.push(("nvrtc", format!("{major}.{minor}")));
        }
        found.extend(self.libraries.cublas.as_ref().map(|cublas| ("cublaslt", cublas.version().to_string())));
        found.extend(self.libraries.cudnn.as_ref().map(|cudnn| ("cudnn", cudnn.version().to_string())));
        found
    }
}

fn kept(cache: &Cache, key: &str) -> Option<usize> {
    String::from_utf8(cache.get(key)?).ok()?.parse().ok()
}

impl Program for CudaProgram {
    fn run(&mut self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, Error> {
        self.device.bind()?;
        let mut problems = Diagnostics::default();
        if inputs.len() != self.plan.inputs.len() {
            let message = format!("the program has {} inputs, {} are given", self.plan.inputs.len(), inputs.len());
            problems.push(Diagnostic::error(Kind::Invalid, "B0311", message));
        }
        for (at, (tensor, (view, element))) in inputs.iter().zip(&self.plan.inputs).enumerate() {
            if tensor.element() != *element || tensor.shape() != view.shape {
                let message = format!("input {at} is {element}{:?}, found {}", view.shape, tensor.ty());
                problems.push(Diagnostic::error(Kind::Invalid, "B0311", message));
            }
        }
        problems.into_result(()).map_err(Error)?;
        for (tensor, memory) in inputs.iter().zip(&self.inputs) {
            memory.write(0, &tensor.bytes())?;
        }
        self.has_run = true;
        self.replay()?;
        self.libraries.stream.synchronize()?;
        let mut outputs = Vec::new();
        for (view, element) in &self.plan.outputs {
            outputs.push(self.read(
                view.buffer,
                view.offset * view.scalar.bytes(),
                view.scalar,
                &view.shape,
                *element,
            )?);
        }
        Ok(outputs)
    }

    fn enqueue(&mut self) -> Result<(), Error> {
        if !self.has_run {
            let message = "there are no inputs on the device: nothing was run before";
            return Err(Diagnostic::error(Kind::Invalid, "B0312", message).into());
        }
        self.device.bind()?;
        Ok(self.replay()?)
    }

    fn listing(&self) -> Vec<Listed> {
        self.plan.steps.iter().zip(&self.steps).map(|(step, ready)| self.listed(step, ready)).collect()
    }
}

impl CudaProgram {
    fn read(
        &self,
        buffer: usize,
        offset: usize,
        scalar: Scalar,
        shape: &[usize],
        element: eutectic_ir::types::Element,
    ) -> Result<Tensor, Diagnostic> {
        let len = shape.iter().product::<usize>() * scalar.bytes();
        let bytes = match &self.plan.buffers[buffer].content {
            Content::Arena => self.results.read(self.arena.offsets[buffer] + offset, len)?,
            Content::Constant(_) => {
                let at = self.addresses[buffer] - self.constants.address();
                self.constants.read(at as usize + offset, len)?
            }
            Content::Input(at) => self.inputs[*at].read(offset, len)?,
        };
        Tensor::new(element, shape, bytes.into())
            .map_err(|error| Diagnostic::error(Kind::Io, "B0302", format!("an output cannot be read: {error:?}")))
    }
}
