//! `eutectic bench`: a model on a backend, fused against unfused, with its correctness first and its raw samples kept.

use super::bench_kernels::{explain, explain_on_cpu};
use super::bench_patterns::{Form, pattern};
use super::bench_precision::Numbers;
use super::{Global, Outcome, at_least_one, bound, misuse, progress};
use crate::backend::{Backend, Calls, Error, Options as BackendOptions, Program};
use crate::batch;
use crate::certificate::{difference, run_on_cpu};
use crate::cpu::Cpu;
use crate::cuda::{Contenders, Cuda, CudaProgram, Service, WarmUp};
use crate::files::unwritten;
use crate::fused::{self, Wanted, named, optimized};
use crate::inputs::{seeded, sizes_from_shapes};
use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::ir::{Model, Tensor};
use crate::measure::Random;
use crate::passes::cost::{CostModel, Device};
use crate::passes::regions::{Fusions, PATTERNS};
use crate::passes::rules::Library;
use crate::rounding::with_rounded_operands;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

mod list;
mod report;

/// Bytes that a program may take on a device.
const MEMORY: usize = 64 << 30;
/// Seconds that one sample lasts at least, so that a timer's grain does not show.
const SAMPLE_SECONDS: f64 = 2e-3;
/// A right program's error is at most this many times that of rounding its weights and inputs: results are rounded too.
const OWN_ERRORS: f64 = 4.0;
/// How much further a right program with quantized numbers may be off: a number that lies between two steps is rounded to either.
const STEPS: f64 = 4.0;
/// Steps of a wrong program that are shown, those first that deviate most.
const DEVIATIONS: usize = 5;

#[derive(Args)]
pub(super) struct Bench {
    /// The model
    #[arg(required_unless_present_any = ["kernel", "patterns"])]
    model: Option<PathBuf>,
    /// A pattern in place of a model: conv-bias-relu, matmul-bias-gelu, add-layernorm, softmax, ...
    #[arg(long, value_name = "PATTERN", conflicts_with = "model")]
    kernel: Option<String>,
    /// Sizes of the pattern's operands, and for convolutions the step: 1x64x56x56,64x64x3x3,1
    #[arg(long, value_name = "SIZES", default_value = "", requires = "kernel")]
    shape: String,
    /// Many patterns in one process, each with its sizes on a line of this file; timed on the GPU as graphs of many runs, with
    /// operands as programs hand them on, out of the cache and in it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "kernel", "backend", "in_cache", "ablate", "kernels", "ways"])]
    patterns: Option<PathBuf>,
    /// What runs it; the CPU backend needs no GPU
    #[arg(long, value_enum, default_value_t = On::Cuda)]
    backend: On,
    #[command(flatten)]
    numbers: Numbers,
    /// Size of the first dim of every input
    #[arg(long, value_parser = at_least_one)]
    batch: Option<usize>,
    /// Sizes of symbolic dims: input:1x3x224x224,...
    #[arg(long, default_value = "")]
    shapes: String,
    /// Which calls share a kernel in the fused program, joined by commas: patterns (epilogues, quantized, shortcuts, chains, lookups, rows, pointwise,
    /// recompute, attention) and fused functions such as ConvRelu; all, or none; a `-` before a name leaves it out: all,-rows
    #[arg(long, default_value = "all", value_delimiter = ',')]
    fusions: Vec<String>,
    /// Further rules, or fused functions when the name ends in .onnxtxt
    #[arg(long, value_name = "FILE")]
    rule_file: Vec<PathBuf>,
    /// Also time the fused program without each of its patterns: what each of them is worth
    #[arg(long)]
    ablate: bool,
    /// Print the kernels of the fused program and the nodes that each computes, and time nothing; needs no GPU
    #[arg(long)]
    explain: bool,
    /// With `--explain`, write the model with its regions as functions: ONNX, or text when the name ends in .onnxtxt
    #[arg(long, value_name = "FILE", requires = "explain")]
    regions: Option<PathBuf>,
    /// Also time both programs with the libraries' kernels alone for products and convolutions: what fusing is worth where kernels are
    /// NVIDIA's, and what ours are worth
    #[arg(long)]
    by_libraries: bool,
    /// Samples of each program
    #[arg(long, default_value_t = 31, value_parser = at_least_one)]
    samples: usize,
    /// Seed of the inputs and of the order of samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Largest norm of the error over the norm of the CPU backend's result; without it, what the precision allows
    #[arg(long, value_parser = bound, allow_negative_numbers = true)]
    tolerance: Option<f64>,
    /// Where raw samples go, one JSON object a line
    #[arg(long, value_name = "FILE")]
    raw: Option<PathBuf>,
    /// Time every kernel alone, and print the slowest with their shares of what the device reaches
    #[arg(long)]
    kernels: bool,
    /// Print every way to each product, convolution and attention that was timed to prepare the programs: plans of cuBLASLt, engines of
    /// cuDNN, tiles and divisions of ours
    #[arg(long)]
    ways: bool,
    /// Run every time on the same memory, which small programs then find in the cache
    #[arg(long)]
    in_cache: bool,
    /// Also run this many copies of the program at the same time: throughput, and latency of each run
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    streams: usize,
    /// Where compiled kernels and tuned choices are kept
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum On {
    /// The first GPU
    Cuda,
    /// The CPU backend
    Cpu,
}

/// Precision of the CUDA backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Precision {
    /// Single precision throughout
    F32,
    /// Single precision in memory, tf32 in products and convolutions
    Tf32,
    /// Half precision in memory, sums in single precision
    F16,
    /// bfloat16 in memory, sums in single precision
    Bf16,
}

impl Precision {
    pub(super) fn of_backend(self) -> crate::cuda::Precision {
        match self {
            Precision::F32 => crate::cuda::Precision::F32,
            Precision::Tf32 => crate::cuda::Precision::Tf32,
            Precision::F16 => crate::cuda::Precision::F16,
            Precision::Bf16 => crate::cuda::Precision::Bf16,
        }
    }

    /// Bits of a number behind its leading one.
    fn bits(self) -> u32 {
        match self {
            Precision::F32 => 23,
            Precision::Tf32 | Precision::F16 => 10,
            Precision::Bf16 => 7,
        }
    }

    /// Largest norm of the error over the norm of the result that a deep network shows when every kernel is right.
    fn tolerance(self) -> f64 {
        match self {
            Precision::F32 => 1e-4,
            Precision::Tf32 => 5e-3,
            Precision::F16 => 1e-2,
            Precision::Bf16 => 8e-2,
        }
    }
}

/// Runs `model` once on the first GPU. Errors: what the backend refuses.
pub(super) fn on_cuda(
    model: &Model,
    inputs: &[Option<Tensor>],
    precision: Precision,
) -> Result<Vec<Tensor>, Diagnostics> {
    let cuda = Cuda { precision: precision.of_backend(), cache: default_cache() };
    let given: Vec<Tensor> = inputs.iter().map_while(Clone::clone).collect();
    let wanted = Wanted { fusions: &Fusions::all(), memory: MEMORY };
    fused::prepare_for(&cuda, model, wanted, &given)?.run(&given).map_err(|Error(problems)| problems)
}

/// The largest relative error of the outputs; not a number if one is not.
fn worst_error(outputs: &[Tensor], reference: &[Tensor]) -> f64 {
    let errors = outputs.iter().zip(reference).map(|(found, expected)| relative_error(found, expected));
    errors.fold(0.0, |worst: f64, error| if error.is_nan() { error } else { worst.max(error) })
}

/// The user's cache directory; what is in it changes times of preparation, never results.
pub(super) fn default_cache() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(base.join("eutectic").join("cuda"))
}

enum Prepared {
    Cuda(Box<CudaProgram>),
    Cpu(Box<dyn Program>),
}

/// One program that is timed.
struct Variant {
    name: String,
    program: Prepared,
    prepare_seconds: f64,
    error: f64,
    n_launches: usize,
    samples: Vec<f64>,
    /// The same program again, sampled as if it were another one: what it differs by is noise.
    control: Vec<f64>,
    /// Runs one at a time with their transfers, on a GPU.
    service: Service,
}

impl Variant {
    /// Seconds of each stage of the preparation, as far as the backend tells.
    fn stages(&self) -> Value {
        match &self.program {
            Prepared::Cuda(program) => {
                program.stages().iter().map(|(name, seconds)| (name.to_string(), json!(seconds))).collect()
            }
            Prepared::Cpu(_) => json!({}),
        }
    }

    /// Seconds of `n` runs.
    fn seconds(&mut self, n: usize) -> Result<f64, Diagnostics> {
        match &mut self.program {
            Prepared::Cuda(program) => program.seconds(n).map_err(|Error(problems)| problems),
            Prepared::Cpu(program) => {
                let start = Instant::now();
                (0..n).try_for_each(|_| program.enqueue()).map_err(|Error(problems)| problems)?;
                Ok(start.elapsed().as_secs_f64())
            }
        }
    }
}

impl Bench {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        if let Some(list) = &self.patterns {
            return self.run_list(list, global);
        }
        self.check_backend()?;
        let mut model = match (&self.model, &self.kernel) {
            (Some(path), _) => global.load(path)?,
            (None, Some(name)) => pattern(name, &self.shape, Form::ONNX)?,
            (None, None) => return Err(misuse("a model or --kernel is needed")),
        };
        let sizes = sizes_from_shapes(&model.graph, &self.shapes)?;
        batch::bind(&mut model, &sizes, self.batch)?;
        let mut library = Library::built_in()?;
        for file in &self.rule_file {
            super::rules::load(&mut library, file)?;
        }
        let fusions = named(&self.fusions, &library)?;
        let file = self.model.as_deref().unwrap_or(Path::new(""));
        self.numbers.quantize(&mut model, &library, file, &self.shapes, global)?;
        if self.explain {
            match self.backend {
                On::Cpu => explain_on_cpu(model, &library, &fusions, global.json)?,
                On::Cuda => {
                    let divided = explain(&self.cuda(), model, &library, &fusions, global.json)?;
                    self.regions.as_ref().map(|path| global.save(&divided, path, None)).transpose()?;
                }
            }
            return Ok(0);
        }
        let inputs = seeded(&model, &sizes, self.seed)?;
        let reference = run_on_cpu(&model, &inputs)?;
        let given: Vec<Tensor> = inputs.iter().map_while(Clone::clone).collect();
        let mut wanted = self.programs(&fusions);
        if self.ablate {
            let patterns = PATTERNS.iter().filter(|pattern| fusions.has_pattern(pattern.name));
            wanted.extend(
                patterns.map(|pattern| {
                    (format!("without {}", pattern.name), fusions.without(pattern.name), Contenders::All)
                }),
            );
        }
        let mut variants = Vec::new();
        for wanted in wanted {
            let variant = self.variant((&model, &library), wanted, &given, &reference);
            variants.push(variant.map_err(without_gpu)?);
        }
        self.admit(global, (&model, &inputs), &variants, &reference)?;
        let clocks = self.sample(global, &mut variants)?;
        if let Some(path) = &self.raw {
            self.write_raw(path, &variants, &clocks).map_err(|error| unwritten(path, &error))?;
        }
        self.report(global, &variants, &clocks)?;
        Ok(0)
    }

    /// Errors when a program's results are further from `reference` than its precision explains: a wrong program has no time.
    fn admit(
        &self,
        global: &Global,
        (model, inputs): (&Model, &[Option<Tensor>]),
        variants: &[Variant],
        reference: &[Tensor],
    ) -> Result<(), Diagnostics> {
        let precision = self.stored();
        let allowed = precision.tolerance() * if self.numbers.is_quantized() { STEPS } else { 1.0 };
        let mut tolerance = self.tolerance.unwrap_or(allowed);
        let worst = variants.iter().map(|variant| variant.error).fold(0.0, f64::max);
        if self.tolerance.is_none() && worst > tolerance {
            let rounded = with_rounded_operands(model, inputs, precision.bits())?;
            let own = worst_error(&rounded, reference);
            tolerance = tolerance.max(OWN_ERRORS * own);
            if worst <= tolerance {
                let message = format!("rounding weights and inputs alone changes the results by {own:.2e}");
                global.warn(&Diagnostic::warning("C0156", message).into());
            }
        }
        if let Some(wrong) = variants.iter().find(|variant| variant.error.is_nan() || variant.error > tolerance) {
            let message = format!(
                "the {} program differs from the CPU backend by {:.2e}, more than {tolerance:.0e}",
                wrong.name, wrong.error
            );
            let mut problem = Diagnostic::error(Kind::Invalid, "C0155", message).help("a wrong program has no time");
            if let Prepared::Cuda(program) = &wrong.program {
                let fail = |Error(problems): Error| problems;
                let mut steps = program.deviations().map_err(fail)?;
                let error = worst_error(&program.outputs().map_err(fail)?, reference);
                problem = problem
                    .note(format!("{error:.2e} step by step, with a generated kernel for each step of a library"));
                steps.sort_by(|(_, one), (_, other)| other.total_cmp(one));
                for (step, deviation) in steps.iter().take(DEVIATIONS) {
                    let node = step.nodes.first().map_or("", |node| node.as_str());
                    problem = problem.note(format!(
                        "{deviation:.1e} from its generated kernel: {} at `{node}` by {}",
                        step.name, step.kind
                    ));
                }
            }
            return Err(problem.into());
        }
        Ok(())
    }

    /// Errors: what is asked for is of the GPU alone, and the CPU backend was named.
    fn check_backend(&self) -> Result<(), Diagnostics> {
        if self.backend == On::Cuda {
            return Ok(());
        }
        let asked = [
            ("--precision", self.numbers.is_rounded()),
            ("--ablate", self.ablate),
            ("--by-libraries", self.by_libraries),
            ("--regions", self.regions.is_some()),
            ("--kernels", self.kernels),
            ("--ways", self.ways),
            ("--in-cache", self.in_cache),
            ("--streams", self.streams > 1),
            ("--cache", self.cache.is_some()),
        ];
        match asked.iter().find(|(_, is_asked)| *is_asked) {
            Some(("--precision", _)) => {
                Err(misuse("the CPU backend computes in f32, int8 or fp8: other precisions are of the GPU"))
            }
            Some((flag, _)) => Err(misuse(format!("`{flag}` is of the GPU, and `--backend cpu` runs on the CPU"))),
            None => Ok(()),
        }
    }

    /// How the numbers are stored that are not quantized.
    fn stored(&self) -> Precision {
        match self.backend {
            On::Cuda => self.numbers.stored(),
            On::Cpu => Precision::F32,
        }
    }

    fn cuda(&self) -> Cuda {
        Cuda { precision: self.numbers.stored().of_backend(), cache: self.cache.clone().or_else(default_cache) }
    }

    /// The programs that are timed, each by its name: fused, if that is asked for, and unfused, and both by libraries.
    fn programs(&self, fusions: &Fusions) -> Vec<(String, Fusions, Contenders)> {
        let mut programs = vec![("unfused".to_string(), Fusions::none(), Contenders::All)];
        if !fusions.is_none() {
            programs.insert(0, ("fused".into(), fusions.clone(), Contenders::All));
        }
        if self.by_libraries {
            let alone = programs.clone().into_iter();
            programs.extend(
                alone.map(|(name, fusions, _)| (format!("{name} by libraries"), fusions, Contenders::Libraries)),
            );
        }
        programs
    }

    fn variant(
        &self,
        (model, library): (&Model, &Library),
        (name, fusions, contenders): (String, Fusions, Contenders),
        inputs: &[Tensor],
        reference: &[Tensor],
    ) -> Result<Variant, Diagnostics> {
        let start = Instant::now();
        let warm_up = (self.backend == On::Cuda).then(WarmUp::begin);
        let mut model = model.clone();
        let cost = match self.backend {
            On::Cuda => fused::cost(),
            On::Cpu => CostModel::new(Device::h200()),
        };
        optimized(&mut model, library, &fusions, cost)?;
        let fail = |Error(problems): Error| problems;
        let prepare_seconds;
        let (program, outputs, n_launches) = match self.backend {
            On::Cuda => {
                let cuda = self.cuda();
                let (expanded, _) = fused::divided(&cuda, &model, &fusions, &[])?;
                warm_up.into_iter().for_each(WarmUp::finish);
                let mut program = cuda.prepare(&expanded, contenders, MEMORY).map_err(fail)?;
                let prepared = start.elapsed().as_secs_f64();
                let copies = if self.in_cache { 1 } else { program.copies_beyond_cache() };
                program.spread(copies.max(self.streams)).map_err(fail)?;
                let outputs = program.run(inputs).map_err(fail)?;
                let n_launches = program.listing().len();
                prepare_seconds = prepared;
                (Prepared::Cuda(Box::new(program)), outputs, n_launches)
            }
            On::Cpu => {
                let calls = if fusions.is_none() { Calls::Inline } else { Calls::Claim };
                let options = BackendOptions { calls, memory_limit: MEMORY };
                let mut program = Cpu.compile(&model, &options).map_err(fail)?;
                prepare_seconds = start.elapsed().as_secs_f64();
                let outputs = program.run(inputs).map_err(fail)?;
                let n_launches = program.listing().len();
                (Prepared::Cpu(program), outputs, n_launches)
            }
        };
        let error = worst_error(&outputs, reference);
        Ok(Variant {
            name,
            program,
            prepare_seconds,
            error,
            n_launches,
            samples: Vec::new(),
            control: Vec::new(),
            service: Service::default(),
        })
    }

    /// Warm-up, then one sample of each variant and of its control at a time, in random order. Gives the clock of the device
    /// in MHz after each round.
    fn sample(&self, global: &Global, variants: &mut [Variant]) -> Result<Vec<f64>, Diagnostics> {
        let mut counts = Vec::new();
        for variant in variants.iter_mut() {
            let once = variant.seconds(3)? / 3.0;
            let n = ((SAMPLE_SECONDS / once).ceil() as usize).clamp(1, 10_000);
            let until = Instant::now();
            while until.elapsed().as_secs_f64() < 0.2 {
                variant.seconds(n)?;
            }
            counts.push(n);
        }
        let mut random = Random::new(self.seed.wrapping_add(1));
        let mut clocks = Vec::new();
        let bar = progress(global, self.samples, "sampling {bar:30} {pos}/{len} rounds, {eta} left");
        for _ in bar.wrap_iter(0..self.samples) {
            for turn in random.order(2 * variants.len()) {
                let (at, is_control) = (turn / 2, turn % 2 == 1);
                let seconds = variants[at].seconds(counts[at])? / counts[at] as f64;
                let variant = &mut variants[at];
                if is_control { &mut variant.control } else { &mut variant.samples }.push(seconds);
            }
            if let Some(Prepared::Cuda(program)) = variants.first().map(|variant| &variant.program) {
                clocks.push(program.clock().map_err(|Error(problems)| problems)?);
            }
        }
        for variant in variants {
            if let Prepared::Cuda(program) = &variant.program {
                variant.service = program.serve(self.samples).map_err(|Error(problems)| problems)?;
            }
        }
        Ok(clocks)
    }
}

/// Says of a refusal for want of a GPU what works without one.
fn without_gpu(mut problems: Diagnostics) -> Diagnostics {
    for problem in problems.0.iter_mut().filter(|problem| problem.code == "B0301") {
        problem
            .notes
            .push("`--backend cpu` times the CPU backend, and `--explain` prints the kernels, on any machine".into());
    }
    problems
}

/// Norm of the difference over the norm of `expected`; infinite for another shape or type.
fn relative_error(found: &Tensor, expected: &Tensor) -> f64 {
    let (Some(x), Some(y)) = (found.to_f64s(), expected.to_f64s()) else {
        return difference(String::new(), found, expected).max_rel;
    };
    if found.shape() != expected.shape() || found.element() != expected.element() {
        return f64::INFINITY;
    }
    let distance: f64 = x.iter().zip(&y).map(|(x, y)| (x - y).powi(2)).sum();
    let norm: f64 = y.iter().map(|y| y * y).sum();
    if distance == 0.0 { 0.0 } else { (distance / norm).sqrt() }
}
