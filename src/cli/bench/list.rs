//! `eutectic bench --patterns`: many patterns in one process.
//!
//! A pattern alone takes a few microseconds, less than the launch of a graph. So a graph here holds many runs, and operands lie
//! in memory as the kernels of a program hand them on: a network converts its images once, not around each layer.

use super::{Bench, Prepared, Variant, worst_error};
use crate::backend::Error;
use crate::certificate::run_on_cpu;
use crate::cli::bench_kernels::explain;
use crate::cli::bench_patterns::{Form, listed, pattern};
use crate::cli::{Global, Outcome, misuse};
use crate::cuda::{Chain, CudaProgram, Library as Installed, require};
use crate::fused::named;
use crate::inputs::{Sizes, seeded};
use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::ir::tensor::Tensor;
use crate::ir::types::Element;
use crate::measure::{Random, median};
use crate::passes::regions::Fusions;
use crate::passes::rules::Library;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Seconds that one graph of runs lasts at least, so that a timer's grain does not show.
const GRAPH_SECONDS: f64 = 1.2e-3;
/// Runs that one graph holds at most.
const MOST_RUNS: f64 = 1000.0;
/// Replays of each graph before it is timed.
const WARM_UP: usize = 10;

/// One graph that is timed.
struct Course {
    variant: usize,
    is_cold: bool,
    chain: Chain,
    samples: Vec<f64>,
    /// The same graph again, sampled as if it were another one.
    control: Vec<f64>,
}

impl Bench {
    /// Measures each pattern of `list`. A pattern that is refused has its reason as its record, and the others go on.
    ///
    /// Errors: the list cannot be read, there is no GPU, raw samples cannot be written. The exit code is 1 when nothing was measured.
    pub(super) fn run_list(&self, list: &Path, global: &Global) -> Outcome {
        let text = std::fs::read_to_string(list).map_err(|error| misuse(format!("{}: {error}", list.display())))?;
        let patterns = listed(&text)?;
        let library = Library::built_in()?;
        let fusions = named(&self.fusions, &library)?;
        let element = match self.numbers.stored() {
            super::Precision::F16 => Element::Float16,
            super::Precision::Bf16 => Element::Bfloat16,
            super::Precision::F32 | super::Precision::Tf32 => Element::Float,
        };
        let form = Form { element, is_handed_on: true };
        if self.explain {
            for (name, sizes) in &patterns {
                println!("{name} {sizes}");
                explain(&self.cuda(), pattern(name, sizes, form)?, &library, &fusions, global.json)?;
            }
            return Ok(0);
        }
        require(Installed::Driver)?;
        let mut raw = match &self.raw {
            Some(path) => {
                let file = File::options().create(true).append(true).open(path);
                Some(file.map_err(|error| misuse(format!("{}: {error}", path.display())))?)
            }
            None => None,
        };
        let mut record = |line: Value| match &mut raw {
            Some(file) => writeln!(file, "{line}").map_err(|error| misuse(format!("raw samples: {error}"))),
            None => Ok(()),
        };
        let (mut n_measured, mut device) = (0, None);
        for (name, sizes) in &patterns {
            let about = json!({ "kernel": name, "shape": sizes, "precision": self.numbers.name() });
            let found = self.measured(name, sizes, form, (&library, &fusions));
            let (courses, variants) = match found {
                Ok(found) => found,
                Err(problems) => {
                    global.warn(&problems);
                    let reason = problems.0.first().map(|problem| problem.message.clone()).unwrap_or_default();
                    record(with(&about, json!({ "failure": reason })))?;
                    continue;
                }
            };
            n_measured += 1;
            if device.is_none() {
                let described = self.device(&variants)?;
                record(described.clone())?;
                device = Some(described);
            }
            for course in &courses {
                let variant = &variants[course.variant];
                record(with(
                    &about,
                    json!({
                        "variant": variant.name, "cache": if course.is_cold { "cold" } else { "warm" },
                        "error": variant.error, "launches": variant.n_launches, "prepare_seconds": variant.prepare_seconds,
                        "seconds": course.samples, "control_seconds": course.control,
                    }),
                ))?;
            }
            show(name, sizes, &courses, &variants);
        }
        Ok(i32::from(n_measured == 0))
    }

    /// The graphs of one pattern with their samples. Errors: what the backend refuses, a wrong result.
    fn measured(
        &self,
        name: &str,
        sizes: &str,
        form: Form,
        (library, fusions): (&Library, &Fusions),
    ) -> Result<(Vec<Course>, Vec<Variant>), Diagnostics> {
        let model = pattern(name, sizes, form)?;
        let inputs = seeded(&model, &Sizes::all(1), self.seed)?;
        let given: Vec<Tensor> = inputs.iter().map_while(Clone::clone).collect();
        // The reference computes in single precision and rounds its results once, as a fused kernel does.
        let wide = pattern(name, sizes, Form { element: Element::Float, ..form })?;
        let reference =
            as_element(&run_on_cpu(&wide, &as_optional(as_element(&given, Element::Float)?))?, form.element)?;
        let mut variants = Vec::new();
        for wanted in self.programs(fusions) {
            let prepared = self.variant((&model, library), wanted, &given, &reference)?;
            self.admitted(&prepared)?;
            variants.push(prepared);
        }
        let courses = self.courses(&variants)?;
        // What ran many times must still be right.
        for variant in &mut variants {
            let outputs = on_device(variant)?.outputs().map_err(|Error(problems)| problems)?;
            variant.error = variant.error.max(worst_error(&outputs, &reference));
            self.admitted(variant)?;
        }
        Ok((courses, variants))
    }

    /// Errors: the program is wrong, so it has no time.
    fn admitted(&self, variant: &Variant) -> Result<(), Diagnostics> {
        let tolerance = self.tolerance.unwrap_or(self.numbers.stored().tolerance());
        if variant.error <= tolerance {
            return Ok(());
        }
        let (name, error) = (&variant.name, variant.error);
        let message =
            format!("the {name} program differs from the CPU backend by {error:.2e}, more than {tolerance:.0e}");
        Err(Diagnostic::error(Kind::Invalid, "C0155", message).help("a wrong program has no time").into())
    }

    /// Each program out of the cache and in it; one sample of each course and of its control at a time, in random order.
    fn courses(&self, variants: &[Variant]) -> Result<Vec<Course>, Diagnostics> {
        let fail = |Error(problems): Error| problems;
        let mut courses = Vec::new();
        for (at, variant) in variants.iter().enumerate() {
            let program = on_device(variant)?;
            for (is_cold, n_copies) in [(true, program.copies_beyond_cache()), (false, 1)] {
                let trial = program.chain(10, n_copies).map_err(fail)?;
                program.chained_seconds(&trial).map_err(fail)?;
                let once = program.chained_seconds(&trial).map_err(fail)?;
                let n = (GRAPH_SECONDS / once).ceil().clamp(1.0, MOST_RUNS) as usize;
                let chain = program.chain(n, n_copies).map_err(fail)?;
                for _ in 0..WARM_UP {
                    program.chained_seconds(&chain).map_err(fail)?;
                }
                courses.push(Course { variant: at, is_cold, chain, samples: Vec::new(), control: Vec::new() });
            }
        }
        let mut random = Random::new(self.seed.wrapping_add(1));
        for _ in 0..self.samples {
            for turn in random.order(2 * courses.len()) {
                let course = &mut courses[turn / 2];
                let seconds = on_device(&variants[course.variant])?.chained_seconds(&course.chain).map_err(fail)?;
                if turn % 2 == 1 { &mut course.control } else { &mut course.samples }.push(seconds);
            }
        }
        Ok(courses)
    }

    /// The machine, and what the simplest kernels reach on it.
    fn device(&self, variants: &[Variant]) -> Result<Value, Diagnostics> {
        let fail = |Error(problems): Error| problems;
        let Some(variant) = variants.first() else { return Ok(json!({})) };
        let program = on_device(variant)?;
        let ceilings = program.ceilings(self.numbers.stored().of_backend()).map_err(fail)?;
        let mut environment = Self::environment(variants);
        if let Some(found) = environment.as_object_mut() {
            // It is of one program, not of the machine.
            found.remove("memory_copies");
        }
        Ok(json!({
            "environment": environment, "clock_mhz": program.clock().map_err(fail)?,
            "precision": self.numbers.name(),
            "copy_bytes_per_second": ceilings.bytes_per_second, "product_operations_per_second": ceilings.flops_per_second,
        }))
    }
}

fn on_device(variant: &Variant) -> Result<&CudaProgram, Diagnostics> {
    match &variant.program {
        Prepared::Cuda(program) => Ok(program),
        Prepared::Cpu(_) => Err(misuse("--patterns is timed on a GPU")),
    }
}

/// `tensors` with every number as the nearest one of `element`. Errors: one that holds no numbers.
fn as_element(tensors: &[Tensor], element: Element) -> Result<Vec<Tensor>, Diagnostics> {
    let converted = |tensor: &Tensor| match tensor.element() == element {
        true => Some(tensor.clone()),
        false => Tensor::from_f64s(element, tensor.shape(), &tensor.to_f64s()?).ok(),
    };
    let all: Option<Vec<Tensor>> = tensors.iter().map(converted).collect();
    all.ok_or_else(|| misuse(format!("an operand has no form in {element}")))
}

fn as_optional(tensors: Vec<Tensor>) -> Vec<Option<Tensor>> {
    tensors.into_iter().map(Some).collect()
}

/// The fields of both objects.
fn with(about: &Value, more: Value) -> Value {
    let mut all = about.clone();
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
        all.extend(more);
    }
    all
}

fn show(name: &str, sizes: &str, courses: &[Course], variants: &[Variant]) {
    let shown = |course: &Course| {
        let cache = if course.is_cold { "cold" } else { "warm" };
        format!("{} {cache} {:.2} us", variants[course.variant].name, median(&course.samples) * 1e6)
    };
    println!("{name} {sizes}: {}", courses.iter().map(shown).collect::<Vec<_>>().join(", "));
}
