//! Which way computes what libraries compute, too, such as a product or convolution: all are timed on the device, the choice is kept
//! on disk.
//!
//! Launches are timed inside a graph, since a launch from the host may take longer than the kernel. Weights are read from
//! changing places of a memory larger than the cache, since a program finds them there only if it is small.

use crate::backend::{kernels_of, listed};
use crate::compile::Cache;
use crate::driver::{Address, Kernel, UNASKED_SHARED_BYTES};
use crate::offers::{OfferedEngine, OfferedFused, OfferedProduct, Offers};
use crate::plan::{Content, Ours, Place, Places, Step, Ways, Work};
use crate::product::{Operands, ProductPlan, WORKSPACE};
use crate::program::{CudaProgram, Ready, kinds};
use crate::region::Generated;
use crate::ring::Ring;
use eutectic_backend::Launch as Listed;
use eutectic_ir::diag::{Diagnostic, Kind};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Counts up with what a way must pass to be chosen: those that were chosen before it are not taken from the cache.
const CHECKS: usize = 5;
/// Seconds of one timed graph, about.
const GRAPH_SECONDS: f64 = 3e-4;
/// A candidate that takes this many times the best one is not timed again.
const HOPELESS: f64 = 1.5;

/// A way that was chosen, before its operands are known.
#[derive(Clone)]
pub(crate) struct Way {
    runs: Runs,
    /// A generated kernel makes the result of what it gives.
    is_unfinished: bool,
}

#[derive(Clone)]
enum Runs {
    Product(Box<ProductPlan>),
    /// The plan of cuDNN with this number.
    Cudnn(usize),
    /// The kernel of ours with this number.
    Ours(usize),
    /// The one that everything is checked against, where there is one.
    Generated,
}

/// One way to a result, as it was timed on the device.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The step.
    pub launch: Listed,
    /// What it is called: `cuBLASLt` or `cuDNN` with its place in the library's list, or a kernel of ours.
    pub way: String,
    /// Seconds of one launch.
    pub seconds: f64,
    /// Whether it computes what it must; `None` where a faster way was known already.
    pub is_right: Option<bool>,
    /// It was the fastest that is right.
    pub is_chosen: bool,
}

/// A way that a library did not take although it could be asked for.
#[derive(Clone, Debug)]
pub struct Declined {
    /// The step; nothing where the library itself did not start.
    pub launch: Option<Listed>,
    /// What it is called.
    pub way: String,
    /// What the library says.
    pub reason: String,
}

impl Declined {
    fn new(launch: Listed, way: impl Into<String>, problem: &Diagnostic) -> Self {
        Self { launch: Some(launch), way: way.into(), reason: reason(problem) }
    }

    /// cuDNN did not start.
    pub(crate) fn library(problem: &Diagnostic) -> Self {
        Self { launch: None, way: "cuDNN".into(), reason: reason(problem) }
    }
}

fn reason(problem: &Diagnostic) -> String {
    problem.notes.iter().fold(problem.message.clone(), |told, note| format!("{told}; {note}"))
}

/// The generated kernels of one step.
struct Own {
    /// What computes the result without a library; empty where there is no such kernel.
    otherwise: Vec<Ready>,
    /// What ways of libraries are checked against: the same, or where there is no such kernel the first of ours that was loaded.
    reference: Vec<Ready>,
    /// What competes with libraries; absent where it was not loaded.
    ours: Vec<Option<Vec<Ready>>>,
    /// What computes what is before a way of a library.
    before: Vec<Ready>,
    /// What makes the result of what an unfinished way gives.
    after: Option<Ready>,
    /// Where sums go.
    sums: Option<Address>,
}

/// The launches of one step.
#[derive(Default)]
struct Prepared {
    launches: Vec<Ready>,
    /// Generated kernels that compute the same; empty where there are none.
    reference: Vec<Ready>,
    /// Other launches that compute the same are worth a comparison.
    is_referred: bool,
}

/// The name of the way that everything is checked against.
const GENERATED: &str = "generated";

fn of_product(ways: &Ways, product: &OfferedProduct) -> Way {
    let is_unfinished = product.of_sums || ways.after.is_some();
    Way { runs: Runs::Product(Box::new(product.plan)), is_unfinished }
}

fn of_ours(ours: &Ours) -> String {
    format!("ours {}", ours.name)
}

impl CudaProgram {
    /// Every way that was timed when the program was prepared; those that were chosen in earlier processes are taken from the cache,
    /// and are not among them.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// What libraries declined when ways were timed, of fused engines, and of everything that they refused to run.
    pub fn declined(&self) -> &[Declined] {
        &self.declined
    }

    pub(crate) fn prepare_steps(&mut self, cache: &Cache, kernels: &HashMap<String, Kernel>) -> Result<(), Diagnostic> {
        let mut ring = None;
        // After a way was given up, all steps are prepared anew.
        self.steps.clear();
        self.references.clear();
        for at in 0..self.plan.steps.len() {
            let step = self.plan.steps[at].clone();
            let prepared = self.prepared(&step, cache, kernels, &mut ring)?;
            if prepared.is_referred {
                self.references.push((at, prepared.reference));
            }
            self.steps.push(prepared.launches);
        }
        Ok(())
    }

    /// `step` as it was chosen, or is now; first what must run before some of its ways.
    fn prepared(
        &mut self,
        step: &Step,
        cache: &Cache,
        kernels: &HashMap<String, Kernel>,
        ring: &mut Option<Ring>,
    ) -> Result<Prepared, Diagnostic> {
        let (ways, places) = match &step.work {
            Work::Kernel(generated) => {
                return Ok(Prepared { launches: vec![self.ready(generated, kernels)?], ..Prepared::default() });
            }
            Work::Contraction(ways, places) => (ways, places),
        };
        let before = match &ways.before {
            Some(before) => self.prepared(before, cache, kernels, ring)?,
            None => Prepared::default(),
        };
        let own = self.own(ways, &before, kernels)?;
        let key = key(ways);
        let way = match self.chosen.get(&key) {
            Some((_, way)) => way.clone(),
            None => {
                let (name, way) = self.choose(step, (ways, places), &own, cache, ring)?;
                self.chosen.insert(key, (name, way.clone()));
                way
            }
        };
        let launches = launches(&way, self.operands(places), &own);
        let is_referred = match way.runs {
            Runs::Generated => false,
            Runs::Ours(_) => !own.otherwise.is_empty(),
            Runs::Product(_) | Runs::Cudnn(_) => !own.reference.is_empty(),
        };
        Ok(Prepared { launches, reference: own.reference, is_referred })
    }

    /// Every generated kernel, compiled or from the cache, by source: of those that compete with libraries all that are timed, or
    /// the one that was chosen before.
    pub(crate) fn kernels(&self, cache: &Cache) -> Result<HashMap<String, Kernel>, Diagnostic> {
        let architecture = self.device.architecture;
        let has_clusters = architecture >= 90;
        let mut wanted: BTreeMap<&str, &Generated> = BTreeMap::new();
        for step in &self.plan.steps {
            let mut all = kernels_of(&step.work);
            for ways in step.work.ways().into_iter().filter(|ways| !ways.ours.is_empty()) {
                let (_, kept) = self.kept(&key(ways), ways, cache);
                // Should the library no longer have the engine, the first kernel of ours computes it.
                let is_library = ways.fused.as_ref().is_some_and(|fused| kept.starts_with(fused.list()));
                let is_wanted = |(at, ours): &(usize, &Ours)| match kept.as_str() {
                    "" => ours.needs.are_met(architecture),
                    kept => kept == of_ours(ours) || is_library && *at == 0,
                };
                all.extend(ways.ours.iter().enumerate().filter(is_wanted).map(|(_, ours)| &ours.kernel));
            }
            wanted.extend(all.into_iter().map(|generated| (generated.source.as_str(), generated)));
        }
        let wanted: Vec<&Generated> = wanted.into_values().collect();
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(wanted.len().max(1));
        let images: Vec<Result<Vec<(usize, Vec<u8>)>, Diagnostic>> = std::thread::scope(|scope| {
            let wanted = &wanted;
            let threads: Vec<_> = (0..n_threads)
                .map(|first| {
                    scope.spawn(move || {
                        let mine = (first..wanted.len()).step_by(n_threads);
                        mine.map(|at| Ok((at, cache.compiled(&wanted[at].source, architecture)?))).collect()
                    })
                })
                .collect();
            let panicked = || Diagnostic::error(Kind::Io, "B0304", "a thread that compiles kernels ended");
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(panicked()))).collect()
        });
        let mut kernels = HashMap::new();
        for images in images {
            for (at, image) in images? {
                match Kernel::load(&image, wanted[at].launch.shared_bytes, has_clusters) {
                    Ok(kernel) => kernels.insert(wanted[at].source.clone(), kernel),
                    // This device has less shared memory than a tile wants, and does without.
                    Err(_) if wanted[at].launch.shared_bytes > UNASKED_SHARED_BYTES => continue,
                    Err(problem) => return Err(problem),
                };
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

    fn own(&self, ways: &Ways, before: &Prepared, kernels: &HashMap<String, Kernel>) -> Result<Own, Diagnostic> {
        let ready = |kernel: &Option<Generated>| kernel.as_ref().map(|kernel| self.ready(kernel, kernels)).transpose();
        let ours = |ours: &Ours| {
            let before = before.launches.iter().filter(|_| !ours.includes_before).cloned();
            Some(before.chain([self.ready(&ours.kernel, kernels).ok()?]).collect())
        };
        let ours: Vec<Option<Vec<Ready>>> = ways.ours.iter().map(ours).collect();
        let (after, plain, sums) = match &ways.sums {
            Some(sums) => (Some(self.ready(&sums.after, kernels)?), ready(&sums.otherwise)?, Some(sums)),
            None => (ready(&ways.after)?, ready(&ways.otherwise)?, None),
        };
        let end = after.iter().filter(|_| sums.is_some());
        let all = |plain: Ready| before.reference.iter().cloned().chain([plain]).chain(end.cloned()).collect();
        let otherwise: Vec<Ready> = plain.map_or_else(Vec::new, all);
        let first = ours.iter().flatten().take(usize::from(ways.fused.is_some()));
        let reference = if otherwise.is_empty() { first.flatten().cloned().collect() } else { otherwise.clone() };
        let sums = sums.map(|sums| self.address(sums.place));
        Ok(Own { otherwise, reference, ours, before: before.launches.clone(), after, sums })
    }

    /// Under which key of the cache the choice for `ways` with `key` is kept, and its name; empty when there is none, or it
    /// was given up.
    fn kept(&self, key: &str, ways: &Ways, cache: &Cache) -> (String, String) {
        let versions = [
            self.libraries.cublas.as_ref().map_or(0, |cublas| cublas.version()),
            self.libraries.cudnn.as_ref().map_or(0, |cudnn| cudnn.version()),
        ];
        // What is fastest among libraries alone is not what is fastest of all.
        let among = if ways.ours.is_empty() { "libraries" } else { "all" };
        let full = format!("way {CHECKS} {versions:?} {} {among} {key}", self.device.name);
        let kept = cache.get(&full).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let is_refused = self.refused.get(key).is_some_and(|refused| refused.contains(&kept));
        // A tile that another version of this program offered.
        let is_gone = kept.starts_with("ours") && ways.ours.iter().all(|ours| kept != of_ours(ours));
        (full, if is_refused || is_gone { String::new() } else { kept })
    }

    fn choose(
        &mut self,
        step: &Step,
        (ways, places): (&Ways, &Places),
        own: &Own,
        cache: &Cache,
        ring: &mut Option<Ring>,
    ) -> Result<(String, Way), Diagnostic> {
        let key = key(ways);
        let refused: BTreeSet<String> = self.refused.get(&key).cloned().unwrap_or_default();
        let (key, kept) = self.kept(&key, ways, cache);
        let offers = self.offers(ways, &kept);
        if let Some(way) = self.way_named(&kept, ways, &offers) {
            return Ok((kept, way));
        }
        let weights: Vec<(Address, usize)> = self.weights(ways, places).collect();
        let ring = match ring {
            Some(ring) => &*ring,
            none => &*none.insert(Ring::new(&self.device, cache)?),
        };
        let operands = self.operands(places);
        // Where nothing else does, our kernels judge those of a library, and not each other.
        let is_judged = !own.otherwise.is_empty() || !(own.reference.is_empty() || offers.fused.is_empty());
        let check = if is_judged { self.check(ways, places, &own.reference, ring)? } else { None };
        let launch = listed(step);
        let mut declined = Vec::new();
        if let (Some(problem), Some(fused)) = (&offers.refusal, &ways.fused) {
            declined.push(Declined::new(launch.clone(), fused.list(), problem));
        }
        let mut best: Option<(f64, String, Way)> = None;
        let mut trials = Vec::new();
        let mut refusal = None;
        let mut offer = |this: &Self, name: String, way: Way| -> bool {
            if refused.contains(&name) {
                return false;
            }
            let steps = launches(&way, operands, own);
            let least = best.as_ref().map_or(f64::INFINITY, |best| best.0);
            let seconds = match this.seconds_of(&steps, &weights, ring, least) {
                Ok(seconds) => seconds,
                Err(problem) => {
                    declined.push(Declined::new(launch.clone(), &name, &problem));
                    refusal = Some(problem);
                    return false;
                }
            };
            // A kernel of ours is not judged by another one of ours.
            let check = check.as_ref().filter(|_| !own.otherwise.is_empty() || !matches!(way.runs, Runs::Ours(_)));
            let holds = || check.is_none_or(|check| check.holds(this, ring, &steps).unwrap_or(false));
            let is_right = (seconds < least).then(holds);
            let launch = Listed { kind: kinds(&steps), ..launch.clone() };
            trials.push(Trial { launch, way: name.clone(), seconds, is_right, is_chosen: false });
            if is_right == Some(true) {
                best = Some((seconds, name, way));
            }
            is_right == Some(true)
        };
        let mut is_found = false;
        for (at, (ours, _)) in ways.ours.iter().zip(&own.ours).enumerate().filter(|(_, (_, ready))| ready.is_some()) {
            is_found |= offer(self, of_ours(ours), Way { runs: Runs::Ours(at), is_unfinished: false });
        }
        for product in &offers.products {
            is_found |= offer(self, product.to_string(), of_product(ways, product));
        }
        for engine in &offers.engines {
            let Some(way) = self.of_engine(ways, engine) else { continue };
            let is_better = offer(self, engine.to_string(), way);
            if !is_better {
                self.cudnn_plans.pop();
            }
            is_found |= is_better;
        }
        let mut unprepared = Vec::new();
        for engine in &offers.fused {
            match self.of_fused(ways, engine) {
                Ok(way) => {
                    let is_better = offer(self, engine.to_string(), way);
                    if !is_better {
                        self.cudnn_plans.pop();
                    }
                    is_found |= is_better;
                }
                Err(problem) => unprepared.push(Declined::new(launch.clone(), engine.to_string(), &problem)),
            }
        }
        // The generated kernel may win where there is one channel to a group; elsewhere it takes long to find that out.
        let is_depthwise = ways.convolution.as_ref().is_some_and(|convolution| convolution.filter[1] == 1);
        if !own.otherwise.is_empty() && (is_depthwise || !is_found) {
            offer(self, GENERATED.into(), Way { runs: Runs::Generated, is_unfinished: false });
        }
        declined.append(&mut unprepared);
        self.declined.append(&mut declined);
        let none = || {
            let (name, device) = (&step.name, &self.device.name);
            let message = format!("neither a library nor a kernel of ours computes {name} on {device}");
            let problem = Diagnostic::error(Kind::Unsupported, "B0305", message);
            refusal.iter().fold(problem, |problem, refusal| problem.note(&refusal.message))
        };
        let (_, name, way) = best.ok_or_else(none)?;
        trials.iter_mut().for_each(|trial| trial.is_chosen = trial.way == name);
        self.trials.extend(trials);
        cache.put(&key, name.as_bytes());
        Ok((name, way))
    }

    /// The way that was chosen before.
    fn way_named(&mut self, kept: &str, ways: &Ways, offers: &Offers) -> Option<Way> {
        let own = |runs| Way { runs, is_unfinished: false };
        if kept == GENERATED {
            return Some(own(Runs::Generated));
        }
        if let Some(at) = ways.ours.iter().position(|ours| of_ours(ours) == kept) {
            return Some(own(Runs::Ours(at)));
        }
        if let Some(product) = offers.products.iter().find(|product| product.to_string() == kept) {
            return Some(of_product(ways, product));
        }
        if let Some(engine) = offers.fused.iter().find(|engine| engine.to_string() == kept) {
            return self.of_fused(ways, engine).ok();
        }
        let engine = offers.engines.iter().find(|engine| engine.to_string() == kept)?;
        self.of_engine(ways, engine)
    }

    /// The way of `engine`, the last of the plans; `None` when the library does not run it after all, or it wants too much memory.
    fn of_engine(&mut self, ways: &Ways, engine: &OfferedEngine) -> Option<Way> {
        let convolution = ways.convolutions()[usize::from(engine.of_sums)]?;
        let plan = self.libraries.cudnn.as_ref()?.plan(convolution, &engine.engine).ok()?;
        if plan.workspace > WORKSPACE {
            return None;
        }
        self.cudnn_plans.push(plan);
        Some(Way { runs: Runs::Cudnn(self.cudnn_plans.len() - 1), is_unfinished: engine.of_sums })
    }

    /// The way of `engine`, the last of the plans. Errors: the library does not run it after all, or it wants too much memory.
    fn of_fused(&mut self, ways: &Ways, engine: &OfferedFused) -> Result<Way, Diagnostic> {
        let gone = || Diagnostic::error(Kind::Unsupported, "B0306", "cuDNN is not open");
        let (Some(fused), Some(cudnn)) = (&ways.fused, &self.libraries.cudnn) else { return Err(gone()) };
        let plan = cudnn.fused_plan(fused, &engine.engine)?;
        if plan.workspace > WORKSPACE {
            let message = format!("its workspace is {} bytes, more than {WORKSPACE}", plan.workspace);
            return Err(Diagnostic::error(Kind::Limit, "B0306", message));
        }
        self.cudnn_plans.push(plan);
        Ok(Way { runs: Runs::Cudnn(self.cudnn_plans.len() - 1), is_unfinished: false })
    }

    /// Where right operands lie that nothing writes, and their bytes: of what is before `ways`, too.
    fn weights<'a>(&'a self, ways: &'a Ways, places: &'a Places) -> impl Iterator<Item = (Address, usize)> + 'a {
        let before = ways.before.iter().filter_map(|step| match &step.work {
            Work::Contraction(_, places) => Some(places),
            Work::Kernel(_) => None,
        });
        let is_constant = |place: &Place| matches!(self.plan.buffers[place.buffer].content, Content::Constant(_));
        let rights = [places].into_iter().chain(before).map(|places| places.right).filter(is_constant);
        rights.map(|right| (self.address(right), self.plan.buffers[right.buffer].bytes))
    }

    /// Seconds of `steps`, with what lies at `weights`, each with its bytes, from the ring. Stops early when they take much longer
    /// than `least`.
    fn seconds_of(
        &self,
        steps: &[Ready],
        weights: &[(Address, usize)],
        ring: &Ring,
        least: f64,
    ) -> Result<f64, Diagnostic> {
        let base = self.base(0);
        let work = |at: usize| {
            let slots = ring.slots(at, weights);
            let place = |address: &mut Address| {
                if let Some((_, slot)) = slots.iter().find(|(from, _)| from == address) {
                    *address = slot.wrapping_sub(base);
                }
            };
            steps.iter().try_for_each(|ready| {
                let mut ready = ready.clone();
                match &mut ready {
                    Ready::Product(_, operands) | Ready::Cudnn(_, operands) => place(&mut operands.right),
                    Ready::Kernel(_, _, all) => all.iter_mut().for_each(place),
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
        work(0)?;
        stream.synchronize()?;
        let once = stream.seconds(|| work(0))?;
        let n = (GRAPH_SECONDS / once).clamp(2.0, 40.0) as usize;
        // The host's share of one eager launch is never this long.
        if once > HOPELESS * least + 1e-4 {
            return Ok(once);
        }
        let graph = stream.capture(&mut || (0..n).try_for_each(work))?;
        let mut seconds = Vec::new();
        for replay in 0..=REPLAYS {
            let found = stream.seconds(|| stream.replay(&graph))? / n as f64;
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
pub(crate) fn key(ways: &Ways) -> String {
    let sums = ways.sums.as_ref().map(|sums| (&sums.product, &sums.convolution, &sums.after.source));
    // What no library computes is described by a kernel alone.
    let alone = ways.ours.first().filter(|_| !ways.has_library()).map(|ours| &ours.kernel.source);
    let fused = ways.fused.as_ref().map(|fused| format!(" {fused:?}")).unwrap_or_default();
    let own = format!("{:?} {:?} {} {sums:?} {alone:?}{fused}", ways.product, ways.convolution, ways.after.is_some());
    let before = ways.before.iter().flat_map(|step| step.work.ways());
    before.fold(own, |own, before| format!("{own} after {}", key(before)))
}

/// The launches of `way`.
fn launches(way: &Way, operands: Operands, own: &Own) -> Vec<Ready> {
    let unfinished = Operands { out: own.sums.unwrap_or(operands.out), ..operands };
    let (at, after) = if way.is_unfinished { (unfinished, own.after.clone()) } else { (operands, None) };
    let library = match &way.runs {
        Runs::Product(plan) => Ready::Product(plan.clone(), at),
        Runs::Cudnn(plan) => Ready::Cudnn(*plan, at),
        // Another step of the same key may lack the kernel.
        Runs::Ours(at) => {
            return own.ours.get(*at).cloned().flatten().unwrap_or_else(|| own.reference.clone());
        }
        Runs::Generated => return own.otherwise.clone(),
    };
    own.before.iter().cloned().chain([library]).chain(after).collect()
}
