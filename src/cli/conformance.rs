//! `eutectic conformance`: cases of a model with inputs and expected outputs, run through a part of the framework.

use super::{Global, Outcome, misuse, print_json, stages};
use crate::conformance::{Case, Settings, Through, Verdict, find_cases, run};
use crate::ir::diag::Escaped;
use crate::onnx::Policy;
use crate::passes::saturate::Limits;
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::json;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Args)]
pub(super) struct Conformance {
    /// A case, or a folder with cases at any depth: model.onnx and test_data_set_*/{input,output}_*.pb
    folder: PathBuf,
    /// What the cases are run through
    #[arg(long, value_enum, default_value_t = Through::Interp)]
    through: Through,
    /// Only cases whose path contains this
    #[arg(long, value_name = "SUBSTRING")]
    filter: Option<String>,
    /// Most time for one case, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    time: u64,
    /// Have NVIDIA's own ONNX parser read every case that is built too, and compare inputs and outputs
    #[cfg(feature = "lowering")]
    #[arg(long = "crossCheck")]
    cross_check: bool,
    /// Compute capability that TensorRT builds for, ten times the version
    #[cfg(feature = "lowering")]
    #[arg(long, default_value_t = 86)]
    sm: u16,
    /// Directory, SDK, virtual environment or file of TensorRT's library
    #[cfg(feature = "lowering")]
    #[arg(long, value_name = "PATH")]
    trt_lib: Option<PathBuf>,
}

impl Conformance {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let wanted = |case: &Case| self.filter.as_ref().is_none_or(|filter| case.name.contains(filter.as_str()));
        let cases: Vec<Case> = find_cases(&self.folder)?.into_iter().filter(wanted).collect();
        if cases.is_empty() {
            return Err(misuse(format!("no case contains `{}`", self.filter.as_deref().unwrap_or_default())));
        }
        let begun = Instant::now();
        let n_threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let policy = Policy { untrusted: global.untrusted, ..Policy::interactive() };
        let time = Duration::from_secs(self.time);
        #[allow(unused_mut)] // Without TensorRT nothing is added.
        let mut settings = Settings::new(global.budgets(), policy, Limits::STANDARD, time, n_threads)?;
        #[cfg(feature = "lowering")]
        let builds = {
            let builds =
                crate::conformance::tensorrt::Builds::new(self.sm, self.trt_lib.clone(), time, self.cross_check)?;
            let builds = Arc::new(builds);
            settings.builds = Some(Arc::clone(&builds));
            builds
        };
        let stage = stages(global);
        stage.set_message(format!("running {} cases", cases.len()));
        let verdicts = run(&cases, &[self.through], &Arc::new(settings))?.concat();
        stage.finish_and_clear();
        let n_of = |name: &str| verdicts.iter().filter(|verdict| verdict.name() == name).count();
        let [passed, specialized, failed, skipped] = ["passed", "specialized", "failed", "skipped"].map(n_of);
        if global.json {
            let one = |(case, verdict): (&Case, &Verdict)| json!({ "name": case.name, "verdict": verdict.name(), "reason": verdict.reason() });
            let cases: Vec<_> = cases.iter().zip(&verdicts).map(one).collect();
            print_json(
                &json!({ "passed": passed, "specialized": specialized, "failed": failed, "skipped": skipped, "cases": cases }),
            );
        } else {
            self.print(&cases, &verdicts);
            let seconds = begun.elapsed().as_secs_f64();
            let for_some = if specialized > 0 { format!(", {specialized} for some inputs") } else { String::new() };
            println!(
                "{}: {passed} passed{for_some}, {failed} failed, {skipped} skipped in {seconds:.1} s",
                self.through
            );
            #[cfg(feature = "lowering")]
            if self.cross_check {
                println!("NVIDIA's parser reads {} of those that were built", builds.n_parsed());
            }
        }
        Ok(i32::from(failed > 0))
    }

    /// The failures one by one, then what was skipped by reason.
    fn print(&self, cases: &[Case], verdicts: &[Verdict]) {
        let mut skipped: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
        for (case, verdict) in cases.iter().zip(verdicts) {
            match verdict {
                Verdict::Passed | Verdict::Specialized(_) => {}
                Verdict::Failed(reason) => println!("failed {}: {}", Escaped(&case.name), Escaped(reason)),
                Verdict::Skipped(reason) => skipped.entry(reason).or_default().push(case),
            }
        }
        if skipped.is_empty() {
            return;
        }
        let mut rows: Vec<(&str, Vec<&Case>)> = skipped.into_iter().collect();
        rows.sort_by_key(|(_, cases)| std::cmp::Reverse(cases.len()));
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["skipped", "first case", "reason"]);
        for (reason, cases) in rows {
            let first = Escaped(cases.first().map_or("", |case| case.name.as_str())).to_string();
            table.add_row([cases.len().to_string(), first, Escaped(reason).to_string()]);
        }
        println!("{table}");
    }
}
