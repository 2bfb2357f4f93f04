//! Which way computes a product or convolution: all are timed on the device, the choice is kept on disk.
//!
//! Launches are timed inside a graph, since a launch from the host may take longer than the kernel. Weights are read from
//! changing places of a memory larger than the cache, since a program finds them there only if it is small.

use crate::backend::{kernels_of, listed};
use crate::compile::Cache;
use crate::convolution::Engine;
use crate::driver::{Address, Event, Kernel};
use crate::plan::{Content, Places, Ways, Work};
use crate::product::{Operands, ProductPlan, WORKSPACE};
use crate::program::{CudaProgram, Ready, kinds};
use crate::region::Generated;
use crate::ring::Ring;
use crate::view::Scalar;
use eutectic_backend::{Error, Launch as Listed};
use eutectic_ir::diag::{Diagnostic, Kind};
use std::collections::{BTreeSet, HashMap};

/// Products that are timed.
const PRODUCTS: usize = 24;
/// Convolutions that are timed, in each order of their additions: preparing one may compile a kernel.
const ENGINES: usize = 12;
/// Ways that are given up before a program is.
const MOST_REPAIRS: usize = 12;
/// Counts up with what a way must pass to be chosen: those that were chosen before it are not taken from the cache.
const CHECKS: usize = 3;
/// Seconds of one timed graph, about.
const GRAPH_SECONDS: f64 = 3e-4;
/// A candidate that takes this many times the best one is not timed again.
const HOPELESS: f64 = 1.5;

/// A way that was chosen, before its operands are known.
#[derive(Clone)]
pub(crate) enum Way {
    Product(Box<ProductPlan>),
    /// The plan with this number.
    Convolution(usize),
    Generated,
}

/// The results that a way must have: libraries also offer ways that add up in the type of the result, and those lose digits
/// with every addition.
struct Check {
    /// Operands that kernels write, with their bytes.
    operands: Vec<(Address, usize)>,
    /// Where the compared parts of the result are, and their elements.
    parts: Vec<(Address, usize)>,
    scalar: Scalar,
    /// Largest norm of the error over the norm of the result.
    limit: f64,
    expected: Vec<f64>,
}

impl Check {
    fn found(&self, program: &CudaProgram, ring: &Ring, steps: &[Ready]) -> Result<Vec<f64>, Diagnostic> {
        let base = program.base(0);
        // What earlier trials left there may be infinite, and then no result is wrong.
        ring.fill(&program.libraries.stream, &self.operands)?;
        steps.iter().try_for_each(|ready| program.enqueue_one(ready, base))?;
        let mut found = Vec::new();
        for &(at, count) in &self.parts {
            found.extend(numbers(self.scalar, &program.bytes(at, count * self.scalar.bytes())?));
        }
        Ok(found)
    }

    /// Whether `steps` compute what is expected.
    fn holds(&self, program: &CudaProgram, ring: &Ring, steps: &[Ready]) -> Result<bool, Diagnostic> {
        Ok(distance(&self.found(program, ring, steps)?, &self.expected) <= self.limit)
    }
}

/// The stored elements of `bytes`.
fn numbers(scalar: Scalar, bytes: &[u8]) -> impl Iterator<Item = f64> {
    bytes.chunks_exact(scalar.bytes()).map(move |bytes| match (scalar, bytes) {
        (Scalar::F16, &[a, b]) => f64::from(half::f16::from_le_bytes([a, b])),
        (Scalar::Bf16, &[a, b]) => f64::from(half::bf16::from_le_bytes([a, b])),
        (_, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
        (_, bytes) => <[u8; 8]>::try_from(bytes).map_or(f64::NAN, f64::from_le_bytes),
    })
}

/// The norm of the difference over the norm of what is expected.
fn distance(found: &[f64], expected: &[f64]) -> f64 {
    let norm = |squares: f64| squares.sqrt();
    let difference = norm(found.iter().zip(expected).map(|(x, y)| (x - y) * (x - y)).sum());
    if difference == 0.0 { 0.0 } else { difference / norm(expected.iter().map(|x| x * x).sum()) }
}

impl CudaProgram {
    pub(crate) fn prepare_steps(&mut self, cache: &Cache, kernels: &HashMap<String, Kernel>) -> Result<(), Diagnostic> {
        let mut ring = None;
        for at in 0..self.plan.steps.len() {
            let step = match &self.plan.steps[at].work {
                Work::Kernel(generated) => vec![self.ready(generated, kernels)?],
                Work::Contraction(ways, places) => {
                    let (ways, places) = (ways.clone(), *places);
                    let generated =
                        |kernel: &Option<Generated>| kernel.as_ref().map(|kernel| self.ready(kernel, kernels));
                    let (otherwise, after) =
                        (generated(&ways.otherwise).transpose()?, generated(&ways.after).transpose()?);
                    let key = key(&ways);
                    let way = match self.chosen.get(&key) {
                        Some((_, way)) => way.clone(),
                        None => {
                            let (name, way) =
                                self.choose(&key, &ways, &places, &otherwise, &after, cache, &mut ring)?;
                            self.chosen.insert(key, (name, way.clone()));
                            way
                        }
                    };
                    let operands = self.operands(&places);
                    let step = launches(&way, operands, &otherwise, &after);
                    let is_library = !matches!(way, Way::Generated);
                    self.references.extend(otherwise.filter(|_| is_library).map(|otherwise| (at, otherwise)));
                    step
                }
            };
            self.steps.push(step);
        }
        Ok(())
    }

    /// Every generated kernel, compiled or from the cache, by source.
    pub(crate) fn kernels(&self, cache: &Cache) -> Result<HashMap<String, Kernel>, Diagnostic> {
        let sources: BTreeSet<&str> = self
            .plan
            .steps
            .iter()
            .flat_map(|step| kernels_of(&step.work))
            .map(|generated| generated.source.as_str())
            .collect();
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
                kernels.insert(sources[at].to_string(), Kernel::load(&image, "region", architecture >= 90)?);
            }
        }
        Ok(kernels)
    }

    fn ready(&self, generated: &Generated, kernels: &HashMap<String, Kernel>) -> Result<Ready, Diagnostic> {
        let kernel = kernels.get(&generated.source).copied();
        let kernel = kernel.ok_or_else(|| Diagnostic::error(Kind::Io, "B0304", "a kernel was not compiled"))?;
        let addresses = generated.parameters.iter().map(|&buffer| self.offset(buffer)).collect();
        Ok(Ready::Kernel(kernel, generated.launch, addresses))
    }

    #[allow(clippy::too_many_arguments)]
    fn choose(
        &mut self,
        key: &str,
        ways: &Ways,
        places: &Places,
        otherwise: &Option<Ready>,
        after: &Option<Ready>,
        cache: &Cache,
        ring: &mut Option<Ring>,
    ) -> Result<(String, Way), Diagnostic> {
        let versions = [
            self.libraries.cublas.as_ref().map_or(0, |cublas| cublas.version()),
            self.libraries.cudnn.as_ref().map_or(0, |cudnn| cudnn.version()),
        ];
        let refused: BTreeSet<String> = self.refused.get(key).cloned().unwrap_or_default();
        let key = format!("way {CHECKS} {versions:?} {} {key}", self.device.name);
        let kept = cache.get(&key).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let kept = if refused.contains(&kept) { String::new() } else { kept };
        let products = match (&ways.product, &self.libraries.cublas) {
            (Some(product), Some(cublas)) if kept.is_empty() || kept.starts_with("product") => {
                cublas.plans(product, PRODUCTS).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        // Of a convolution that was chosen before, only the engines in its order are asked for.
        let mut engines: Vec<(bool, usize, Engine)> = Vec::new();
        if let (Some(convolution), Some(cudnn)) = (&ways.convolution, &self.libraries.cudnn) {
            for residual_first in [false, true] {
                let is_wanted = kept.starts_with(&format!("convolution {residual_first} "));
                let differs = !residual_first || (convolution.has_bias && convolution.has_residual);
                if is_wanted || (kept.is_empty() && differs) {
                    let found = cudnn.engines(convolution, residual_first, ENGINES).unwrap_or_default();
                    engines.extend(found.into_iter().enumerate().map(|(at, engine)| (residual_first, at, engine)));
                }
            }
        }
        if let Some(way) = self.kept(&kept, ways, &products, &engines) {
            return Ok((kept, way));
        }
        let is_constant = matches!(self.plan.buffers[places.right.buffer].content, Content::Constant(_));
        let weights = if is_constant { self.plan.buffers[places.right.buffer].bytes } else { 0 };
        let ring = match ring {
            Some(ring) => &*ring,
            none => &*none.insert(Ring::new(&self.device, cache)?),
        };
        let operands = self.operands(places);
        let check =
            otherwise.as_ref().map(|otherwise| self.check(ways, places, otherwise, ring)).transpose()?.flatten();
        let mut best: Option<(f64, String, Way)> = None;
        let mut offer = |this: &Self, name: String, way: Way| -> bool {
            if refused.contains(&name) {
                return false;
            }
            let steps = launches(&way, operands, otherwise, after);
            let least = best.as_ref().map_or(f64::INFINITY, |best| best.0);
            match this.seconds_of(&steps, weights, ring, least) {
                Ok(seconds)
                    if seconds < least
                        && check.as_ref().is_none_or(|check| check.holds(this, ring, &steps).unwrap_or(false)) =>
                {
                    best = Some((seconds, name, way));
                    true
                }
                _ => false,
            }
        };
        let mut is_found = false;
        for (at, plan) in products.into_iter().enumerate() {
            is_found |= offer(self, format!("product {at}"), Way::Product(Box::new(plan)));
        }
        for (residual_first, at, engine) in &engines {
            let (Some(convolution), Some(cudnn)) = (&ways.convolution, &self.libraries.cudnn) else { break };
            let Ok(plan) = cudnn.plan(convolution, engine) else { continue };
            if plan.workspace > WORKSPACE {
                continue;
            }
            self.convolutions.push(plan);
            let name = format!("convolution {residual_first} {at}");
            let is_better = offer(self, name, Way::Convolution(self.convolutions.len() - 1));
            if !is_better {
                self.convolutions.pop();
            }
            is_found |= is_better;
        }
        // The generated kernel may win where there is one channel to a group; elsewhere it takes long to find that out.
        let is_depthwise = ways.convolution.as_ref().is_some_and(|convolution| convolution.filter[1] == 1);
        if otherwise.is_some() && (is_depthwise || !is_found) {
            offer(self, "generated".into(), Way::Generated);
        }
        let none = || Diagnostic::error(Kind::Unsupported, "B0305", format!("no library computes {key}"));
        let (_, name, way) = best.ok_or_else(none)?;
        cache.put(&key, name.as_bytes());
        Ok((name, way))
    }

    /// What the generated kernel computes; `None` when that tells nothing. Parts of the whole result are compared: a library
    /// may compute its end in another way than its beginning.
    fn check(&self, ways: &Ways, places: &Places, otherwise: &Ready, ring: &Ring) -> Result<Option<Check>, Diagnostic> {
        const PARTS: usize = 32;
        const PART: usize = 1 << 13;
        let (count, scalar, tf32) = ways.result();
        let (width, out) = (scalar.bytes(), self.operands(places).out);
        let parts = if count <= PARTS * PART {
            vec![(out, count)]
        } else {
            let first = |part: usize| (count - PART) * part / (PARTS - 1);
            (0..PARTS).map(|part| (out + (first(part) * width) as Address, PART)).collect()
        };
        let limit = match scalar {
            Scalar::F16 => 1e-3,
            Scalar::Bf16 => 8e-3,
            Scalar::F64 => 1e-12,
            _ if tf32 => 2e-3,
            _ => 3e-5,
        };
        let mut check = Check { operands: self.written(places), parts, scalar, limit, expected: Vec::new() };
        check.expected = check.found(self, ring, std::slice::from_ref(otherwise))?;
        let norm: f64 = check.expected.iter().map(|x| x * x).sum();
        Ok((norm.is_finite() && norm > 0.0).then_some(check))
    }

    /// The way that was chosen before.
    fn kept(
        &mut self,
        kept: &str,
        ways: &Ways,
        products: &[ProductPlan],
        engines: &[(bool, usize, Engine)],
    ) -> Option<Way> {
        let mut words = kept.split(' ');
        match (words.next()?, words.next_back()) {
            ("generated", None) => Some(Way::Generated),
            ("product", Some(at)) => Some(Way::Product(Box::new(*products.get(at.parse::<usize>().ok()?)?))),
            ("convolution", Some(at)) => {
                let (_, _, engine) = engines.get(at.parse::<usize>().ok()?)?;
                let plan = self.libraries.cudnn.as_ref()?.plan(ways.convolution.as_ref()?, engine).ok()?;
                self.convolutions.push(plan);
                Some(Way::Convolution(self.convolutions.len() - 1))
            }
            _ => None,
        }
    }

    /// Seconds of `steps`, with weights from the ring. Stops early when they take much longer than `least`.
    fn seconds_of(&self, steps: &[Ready], weights: usize, ring: &Ring, least: f64) -> Result<f64, Diagnostic> {
        let base = self.base(0);
        let work = |at: usize| {
            steps.iter().try_for_each(|ready| {
                let mut ready = ready.clone();
                if let (Ready::Product(_, operands) | Ready::Convolution(_, operands), Some(slot)) =
                    (&mut ready, ring.slot(at, weights).filter(|_| weights > 0))
                {
                    operands.right = slot.wrapping_sub(base);
                }
                self.enqueue_one(&ready, base)
            })
        };
        self.timed(&work, least)
    }

    /// Seconds of one call of `work`, which gets the number of the call: the median of several replays of one graph of many
    /// calls. One noisy trial would pick another way each time. Stops early when it takes much longer than `least`.
    pub(crate) fn timed(&self, work: &dyn Fn(usize) -> Result<(), Diagnostic>, least: f64) -> Result<f64, Diagnostic> {
        const REPLAYS: usize = 7;
        let stream = &self.libraries.stream;
        let span = |work: &dyn Fn() -> Result<(), Diagnostic>| {
            let (start, end) = (Event::new()?, Event::new()?);
            start.record(stream)?;
            work()?;
            end.record(stream)?;
            end.seconds_since(&start)
        };
        work(0)?;
        stream.synchronize()?;
        let once = span(&|| work(0))?;
        let n = (GRAPH_SECONDS / once).clamp(2.0, 40.0) as usize;
        // The host's share of one eager launch is never this long.
        if once > HOPELESS * least + 1e-4 {
            return Ok(once);
        }
        let graph = stream.capture(&mut || (0..n).try_for_each(work))?;
        let mut seconds = Vec::new();
        for replay in 0..=REPLAYS {
            let found = span(&|| stream.replay(&graph))? / n as f64;
            // The first replay only warms up.
            if replay > 0 {
                seconds.push(found);
                if found > HOPELESS * least {
                    break;
                }
            }
        }
        seconds.sort_by(f64::total_cmp);
        Ok(seconds[seconds.len() / 2])
    }
}

/// What two steps have in common that are computed in the same way. Kernels hold the addresses of one step; those of two
/// steps that are else alike are alike.
fn key(ways: &Ways) -> String {
    format!("{:?} {:?} {}", ways.product, ways.convolution, ways.after.is_some())
}

impl CudaProgram {
    /// Chooses other ways until the program computes as a whole what its steps compute one by one.
    ///
    /// Steps that are right alone were wrong together before graphs made kernels of libraries wait; whatever makes them differ,
    /// such a program is not handed out. Errors: no other ways are left.
    pub(crate) fn settle(&mut self, cache: &Cache, kernels: &HashMap<String, Kernel>) -> Result<(), Diagnostic> {
        self.prepare_steps(cache, kernels)?;
        self.record(0)?;
        for _ in 0..MOST_REPAIRS {
            let Some(step) = self.unsettled()? else { return Ok(()) };
            let Work::Contraction(ways, _) = &self.plan.steps[step].work else { break };
            let key = key(ways);
            let (name, _) = self.chosen.remove(&key).unwrap_or_else(|| (String::new(), Way::Generated));
            self.refused.entry(key).or_default().insert(name);
            self.prepare_steps(cache, kernels)?;
            self.record(0)?;
        }
        let message = "the program computes as a whole other results than step by step";
        Err(Diagnostic::error(Kind::Io, "B0314", message).help("please report it with the versions of the libraries"))
    }

    /// The first step of a library, or else the last step, whose result is another one when all steps before it are enqueued
    /// at once; `None` when the results of the program are right.
    fn unsettled(&self) -> Result<Option<usize>, Diagnostic> {
        const REPLAYS: usize = 3;
        let (base, stream) = (self.base(0), &self.libraries.stream);
        let differs = |n: usize, results: &dyn Fn() -> Result<Vec<Vec<u8>>, Diagnostic>| {
            for step in &self.steps[..n] {
                step.iter().try_for_each(|ready| self.enqueue_one(ready, base))?;
                stream.synchronize()?;
            }
            let expected = results()?;
            let graph = stream.capture(&mut || {
                self.steps[..n].iter().flatten().try_for_each(|ready| self.enqueue_one(ready, base))
            })?;
            for _ in 0..REPLAYS {
                stream.replay(&graph)?;
                if results()? != expected {
                    return Ok(true);
                }
            }
            Ok::<bool, Diagnostic>(false)
        };
        let buffer = |at: usize| self.bytes(self.offset(at), self.plan.buffers[at].bytes);
        let outputs = || self.plan.outputs.iter().map(|(view, _)| buffer(view.buffer)).collect();
        let n = self.steps.len();
        if n == 0 || !differs(n, &outputs)? {
            return Ok(None);
        }
        for (at, ready) in self.steps.iter().enumerate() {
            let is_library = !ready.iter().all(|ready| matches!(ready, Ready::Kernel(..)));
            if is_library && differs(at + 1, &|| Ok(vec![buffer(self.plan.steps[at].writes[0])?]))? {
                return Ok(Some(at));
            }
        }
        Ok(Some(n - 1))
    }

    /// How far each step that a library computes is from the generated kernel that computes the same, on the inputs of
    /// the last run: the norm of the difference over the norm of the result. Steps without such a kernel are not among them.
    pub fn deviations(&self) -> Result<Vec<(Listed, f64)>, Error> {
        self.device.bind()?;
        let base = self.base(0);
        let mut references = self.references.iter().peekable();
        let mut found = Vec::new();
        for (at, (step, ready)) in self.plan.steps.iter().zip(&self.steps).enumerate() {
            ready.iter().try_for_each(|ready| self.enqueue_one(ready, base))?;
            let (Some((_, reference)), Work::Contraction(ways, places)) =
                (references.next_if(|(step, _)| *step == at), &step.work)
            else {
                continue;
            };
            let (count, scalar, _) = ways.result();
            let len = count * scalar.bytes();
            let out = self.operands(places).out;
            let computed: Vec<f64> = numbers(scalar, &self.bytes(out, len)?).collect();
            self.enqueue_one(reference, base)?;
            let expected: Vec<f64> = numbers(scalar, &self.bytes(out, len)?).collect();
            found.push((Listed { kind: kinds(ready), ..listed(step) }, distance(&computed, &expected)));
        }
        Ok(found)
    }
}

/// The launches of `way`.
fn launches(way: &Way, operands: Operands, otherwise: &Option<Ready>, after: &Option<Ready>) -> Vec<Ready> {
    match way {
        Way::Product(plan) => [Ready::Product(plan.clone(), operands)].into_iter().chain(after.clone()).collect(),
        Way::Convolution(plan) => vec![Ready::Convolution(*plan, operands)],
        Way::Generated => otherwise.iter().cloned().collect(),
    }
}
