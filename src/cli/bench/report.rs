//! What `bench` says: raw samples, a table, and the JSON that scripts read.

use super::{Bench, On, Prepared, Variant};
use crate::backend::{Error, Launch, Program};
use crate::cli::bench_kernels::{kernels_json, print_kernels, print_ways};
use crate::cli::{Global, print_json, render};
use crate::cuda::{CudaProgram, Served, Trial};
use crate::ir::diag::Diagnostics;
use crate::measure::{Estimate, Verdict, median, median_estimate, quantile, ratio_of_medians, verdict};
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Ratios of times within this share of 1 do not matter in practice.
const THRESHOLD: f64 = 0.02;

impl Bench {
    /// What the programs ran on, as far as the backend tells.
    pub(super) fn environment(variants: &[Variant]) -> Value {
        let found = variants.iter().find_map(|variant| match &variant.program {
            Prepared::Cuda(program) => Some(program.environment()),
            Prepared::Cpu(_) => None,
        });
        let pairs = found.unwrap_or_default().into_iter().map(|(name, value)| (name.to_string(), json!(value)));
        Value::Object(pairs.collect())
    }

    /// Appends the samples of each program to the file `path`, a line each.
    pub(super) fn write_raw(&self, path: &Path, variants: &[Variant], clocks: &[f64]) -> std::io::Result<()> {
        let mut file = BufWriter::new(File::options().create(true).append(true).open(path)?);
        let environment = Self::environment(variants);
        for variant in variants {
            let line = json!({
                "model": self.model.as_ref().and_then(|model| Some(model.file_name()?.to_string_lossy().into_owned())),
                "kernel": self.kernel,
                "shape": self.shape,
                "backend": self.backend_name(),
                "precision": self.precision_name(),
                "batch": self.batch.unwrap_or(1),
                "variant": variant.name,
                "error": variant.error,
                "launches": variant.n_launches,
                "prepare_seconds": variant.prepare_seconds,
                "prepare_stages": variant.stages(),
                "environment": environment,
                "seconds": variant.samples,
                "control_seconds": variant.control,
                "h2d_seconds": variant.served(|run| run.upload),
                "compute_seconds": variant.served(|run| run.compute),
                "d2h_seconds": variant.served(|run| run.download),
                "clock_mhz": clocks,
                "ways": self.ways.then(|| variant.ways_json()),
            });
            writeln!(file, "{line}")?;
        }
        file.flush()
    }

    fn backend_name(&self) -> String {
        format!("{:?}", self.backend).to_lowercase()
    }

    fn precision_name(&self) -> String {
        match self.backend {
            On::Cpu if !self.numbers.is_quantized() => "f32".into(),
            _ => self.numbers.name(),
        }
    }

    /// Prints what was measured of the programs: fused, unfused, and then those by libraries and those without one pattern each.
    pub(super) fn report(&self, global: &Global, variants: &[Variant], clocks: &[f64]) -> Result<(), Diagnostics> {
        // Without fusions there is no fused program, and the unfused one is compared with what is beside it.
        let ratio = match variants {
            [fused, unfused, ..] if unfused.name == "unfused" => {
                Some(ratio_of_medians(&unfused.samples, &fused.samples, self.seed))
            }
            _ => None,
        };
        let ablated = variants.get(1 + usize::from(ratio.is_some())..).unwrap_or_default().iter();
        let ablated: Vec<_> = ablated
            .map(|variant| (variant, ratio_of_medians(&variant.samples, &variants[0].samples, self.seed)))
            .collect();
        if global.json {
            self.print_json(variants, ratio, &ablated, clocks);
            return Ok(());
        }
        println!("{}", self.table(variants));
        for variant in variants {
            self.print_variant(variant)?;
        }
        if !clocks.is_empty() {
            let (low, high) = (quantile(clocks, 0.0), quantile(clocks, 1.0));
            println!("clock {:.0} MHz ({low:.0} to {high:.0})", median(clocks));
        }
        let place = if self.backend == On::Cuda {
            "; inputs and results stay on the device but where transfers are told"
        } else {
            ""
        };
        println!("a sample is the mean of runs one after the other that take 2 ms at least{place}");
        if let Some(ratio) = ratio {
            println!("fused is {}: {:.2} times ({:.2} to {:.2})", word(ratio), ratio.value, ratio.low, ratio.high);
        }
        for (variant, ratio) in ablated {
            let (value, low, high) = (ratio.value, ratio.low, ratio.high);
            let (first, other) = (&variants[0].name, &variant.name);
            println!("{first} is {} than {other}: {value:.3} times ({low:.3} to {high:.3})", word(ratio));
        }
        Ok(())
    }

    /// The stable contract of `bench --json`.
    fn print_json(
        &self,
        variants: &[Variant],
        ratio: Option<Estimate>,
        ablated: &[(&Variant, Estimate)],
        clocks: &[f64],
    ) {
        let mut report = json!({
            "backend": self.backend_name(),
            "precision": self.precision_name(),
            "ratio": ratio.map(ratio_json),
            "kernels": variants.first().map(|fused| kernels_json(&listing(fused))),
            "device": Self::environment(variants),
            "clock_mhz": (!clocks.is_empty()).then(|| median(clocks)),
        });
        for variant in &variants[..variants.len() - ablated.len()] {
            report[variant.name.as_str()] = self.variant_json(variant);
        }
        let one = |(variant, ratio): &(&Variant, Estimate)| {
            let mut found = self.variant_json(variant);
            found["program"] = json!(variant.name);
            found["over_fused"] = ratio_json(*ratio);
            found
        };
        report["ablated"] = ablated.iter().map(one).collect();
        print_json(&report);
    }

    fn variant_json(&self, variant: &Variant) -> Value {
        let estimate = median_estimate(&variant.samples, self.seed);
        let at = |share: f64| quantile(&variant.samples, share) * 1e3;
        json!({
            "median_ms": estimate.value * 1e3,
            "ci95": [estimate.low * 1e3, estimate.high * 1e3],
            "min_ms": at(0.0),
            "mean_ms": mean(&variant.samples) * 1e3,
            "p90_ms": at(0.9),
            "p95_ms": at(0.95),
            "p99_ms": at(0.99),
            "samples": variant.samples.len(),
            "control_median_ms": median(&variant.control) * 1e3,
            "h2d_ms": variant.served_ms(|run| run.upload),
            "compute_ms": variant.served_ms(|run| run.compute),
            "d2h_ms": variant.served_ms(|run| run.download),
            "launches": variant.n_launches,
            "error": variant.error,
            "prepare_seconds": variant.prepare_seconds,
        })
    }

    fn table(&self, variants: &[Variant]) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "program",
            "median ms",
            "95 % interval",
            "min",
            "mean",
            "p90",
            "p95",
            "p99",
            "runs/s",
            "launches",
            "error",
            "prepared in s",
        ]);
        for variant in variants {
            let estimate = median_estimate(&variant.samples, self.seed);
            let ms = |seconds: f64| format!("{:.4}", seconds * 1e3);
            let at = |share: f64| ms(quantile(&variant.samples, share));
            table.add_row([
                variant.name.clone(),
                ms(estimate.value),
                format!("{} to {}", ms(estimate.low), ms(estimate.high)),
                at(0.0),
                ms(mean(&variant.samples)),
                at(0.9),
                at(0.95),
                at(0.99),
                format!("{:.1}", 1.0 / estimate.value),
                variant.n_launches.to_string(),
                format!("{:.2e}", variant.error),
                format!("{:.1}", variant.prepare_seconds),
            ]);
        }
        table
    }

    /// What there is to say of one program: the noise, and on a GPU stages, memory, streams and kernels.
    fn print_variant(&self, variant: &Variant) -> Result<(), Diagnostics> {
        let again = ratio_of_medians(&variant.control, &variant.samples, self.seed);
        println!("{} against itself: {:.3} times ({:.3} to {:.3})", variant.name, again.value, again.low, again.high);
        let Prepared::Cuda(program) = &variant.program else { return Ok(()) };
        let stages = program.stages().iter().map(|(name, seconds)| format!("{name} {seconds:.2}"));
        println!("{}: prepared in s: {}", variant.name, stages.collect::<Vec<_>>().join(", "));
        let footprint = program.footprint();
        let shown = |bytes: usize| render::bytes(bytes as f64);
        println!(
            "{}: weights {}, results {} ({} without sharing), scratch {}",
            variant.name,
            shown(footprint.weights),
            shown(footprint.results),
            shown(footprint.unshared),
            shown(footprint.workspace)
        );
        let of = |part: fn(&Served) -> f64| variant.served_ms(part).unwrap_or(f64::NAN);
        let total = variant.served(|run| run.upload + run.compute + run.download);
        println!(
            "{}: one run at a time with its transfers: H2D {:.4} ms ({}), compute {:.4} ms, D2H {:.4} ms ({}); latency {:.4} ms, p99 {:.4} ms",
            variant.name,
            of(|run| run.upload),
            shown(variant.service.bytes_in),
            of(|run| run.compute),
            of(|run| run.download),
            shown(variant.service.bytes_out),
            median(&total) * 1e3,
            quantile(&total, 0.99) * 1e3
        );
        if self.streams > 1 {
            self.print_streams(variant, program)?;
        }
        if self.kernels {
            print_kernels(program, self.numbers.stored())?;
        }
        if self.ways {
            print_ways(program);
        }
        Ok(())
    }

    /// Runs on all copies at the same time.
    fn print_streams(&self, variant: &Variant, program: &CudaProgram) -> Result<(), Diagnostics> {
        let n = ((0.05 / median(&variant.samples)).ceil() as usize).clamp(20, 1000);
        let (total, each) = program.concurrent(self.streams, n).map_err(|Error(problems)| problems)?;
        println!(
            "{}: {} streams, {:.1} runs/s, latency {:.4} ms, p99 {:.4} ms",
            variant.name,
            self.streams,
            each.len() as f64 / total,
            median(&each) * 1e3,
            quantile(&each, 0.99) * 1e3
        );
        Ok(())
    }
}

impl Variant {
    /// Every way that was timed; empty on the CPU.
    fn ways_json(&self) -> Value {
        let Prepared::Cuda(program) = &self.program else { return json!([]) };
        let one = |trial: &Trial| {
            json!({
                "kernel": trial.launch.name,
                "nodes": trial.launch.nodes.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
                "way": trial.way,
                "seconds": trial.seconds,
                "is_right": trial.is_right,
                "is_chosen": trial.is_chosen,
            })
        };
        program.trials().iter().map(one).collect()
    }

    /// A part of each run with its transfers, in seconds; empty on the CPU.
    fn served(&self, part: fn(&Served) -> f64) -> Vec<f64> {
        self.service.runs.iter().map(part).collect()
    }

    /// Its median in milliseconds; `None` on the CPU.
    fn served_ms(&self, part: fn(&Served) -> f64) -> Option<f64> {
        let all = self.served(part);
        (!all.is_empty()).then(|| median(&all) * 1e3)
    }
}

fn listing(variant: &Variant) -> Vec<Launch> {
    match &variant.program {
        Prepared::Cuda(program) => program.listing(),
        Prepared::Cpu(program) => program.listing(),
    }
}

fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len() as f64
}

fn ratio_json(ratio: Estimate) -> Value {
    let verdict = verdict(ratio, THRESHOLD);
    json!({ "value": ratio.value, "low": ratio.low, "high": ratio.high, "verdict": shown(verdict) })
}

fn word(ratio: Estimate) -> String {
    shown(verdict(ratio, THRESHOLD))
}

fn shown(verdict: Verdict) -> String {
    format!("{verdict:?}").to_uppercase()
}
