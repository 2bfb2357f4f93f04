//! The kernels of a program: what each computes, and how long it takes.

use super::bench::Precision;
use super::print_json;
use super::render::counted;
use crate::backend::{Error, Launch};
use crate::certificate::prepare_on_cpu;
use crate::cuda::{Cuda, CudaProgram};
use crate::fused::{cost, divided, optimized};
use crate::ir::Model;
use crate::ir::diag::{Diagnostics, Escaped};
use crate::measure::median;
use crate::passes::cost::{CostModel, Device};
use crate::passes::regions::Fusions;
use crate::passes::rules::Library;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

/// Prints the kernels of `model` with `fusions` and the nodes that each computes, without a device; gives the divided model.
pub(super) fn explain(
    cuda: &Cuda,
    mut model: Model,
    library: &Library,
    fusions: &Fusions,
    as_json: bool,
) -> Result<Model, Diagnostics> {
    optimized(&mut model, library, fusions, cost())?;
    let (expanded, formed) = divided(cuda, &model, fusions, &[])?;
    let listing = cuda.listing(&expanded).map_err(|Error(problems)| problems)?;
    if as_json {
        let regions: Vec<_> = formed
            .iter()
            .map(|region| json!({ "name": region.name, "made_by": region.made_by, "calls": region.n_calls }))
            .collect();
        print_json(&json!({ "kernels": kernels_json(&listing), "regions": regions }));
        return Ok(expanded.model);
    }
    print_listing(&listing);
    println!("{} of {}", counted(listing.len(), "kernel"), counted(expanded.abilities.roles.len(), "call"));
    let mut makers: Vec<&str> = formed.iter().map(|region| region.made_by.as_str()).collect();
    makers.sort_unstable();
    for maker in makers.chunk_by(|a, b| a == b) {
        let calls: usize = formed.iter().filter(|region| region.made_by == maker[0]).map(|region| region.n_calls).sum();
        println!("{}: {} of {}", Escaped(maker[0]), counted(maker.len(), "region"), counted(calls, "call"));
    }
    Ok(expanded.model)
}

/// Prints the kernels that the CPU backend runs for `model` with `fusions`, and the nodes that each computes.
pub(super) fn explain_on_cpu(
    mut model: Model,
    library: &Library,
    fusions: &Fusions,
    as_json: bool,
) -> Result<(), Diagnostics> {
    optimized(&mut model, library, fusions, CostModel::new(Device::h200()))?;
    let listing = prepare_on_cpu(&model)?.listing();
    if as_json {
        print_json(&json!({ "kernels": kernels_json(&listing) }));
        return Ok(());
    }
    print_listing(&listing);
    println!("{} of {}", counted(listing.len(), "kernel"), counted(model.graph.n_nodes(), "call"));
    Ok(())
}

/// Kernels in JSON, each with the nodes that it computes.
pub(super) fn kernels_json(listing: &[Launch]) -> Vec<Value> {
    let one = |launch: &Launch| {
        let nodes: Vec<&str> = launch.nodes.iter().map(|name| name.as_str()).collect();
        json!({ "name": launch.name, "kind": launch.kind, "nodes": nodes })
    };
    listing.iter().map(one).collect()
}

fn print_listing(listing: &[Launch]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["kind", "kernel", "nodes"]);
    for launch in listing {
        let mut nodes: Vec<&str> = launch.nodes.iter().map(|name| name.as_str()).collect();
        nodes.dedup();
        table.add_row([launch.kind.clone(), Escaped(&launch.name).to_string(), Escaped(&nodes.join(", ")).to_string()]);
    }
    println!("{table}");
}

/// Times every kernel of `program` alone and prints the slowest, with their shares of what the device reaches.
pub(super) fn print_kernels(program: &CudaProgram, precision: Precision) -> Result<(), Diagnostics> {
    let fail = |Error(problems): Error| problems;
    let mut profiles = program.profile().map_err(fail)?;
    let ceilings = program.ceilings(precision.of_backend()).map_err(fail)?;
    let total: f64 = profiles.iter().map(|profile| profile.seconds).sum();
    profiles.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["us", "share", "kind", "kernel", "first node", "TFLOP/s", "GB/s", "of ceiling"]);
    for profile in profiles.iter().take(120) {
        let (flops, bytes) = (profile.flops / profile.seconds, profile.bytes / profile.seconds);
        let share = (flops / ceilings.flops_per_second).max(bytes / ceilings.bytes_per_second);
        table.add_row([
            format!("{:.2}", profile.seconds * 1e6),
            format!("{:.1} %", 100.0 * profile.seconds / total),
            profile.launch.kind.clone(),
            profile.launch.name.clone(),
            profile.launch.nodes.first().map(ToString::to_string).unwrap_or_default(),
            if profile.flops > 0.0 { format!("{:.1}", flops / 1e12) } else { String::new() },
            format!("{:.0}", bytes / 1e9),
            format!("{:.0} %", 100.0 * share),
        ]);
    }
    let mid = median(&profiles.iter().map(|profile| profile.seconds).collect::<Vec<f64>>());
    println!("{table}");
    println!("{} kernels, {:.1} us in all, {:.2} us the middle one", profiles.len(), total * 1e6, mid * 1e6);
    println!(
        "ceilings: copy {:.0} GB/s, product of 8192 {:.0} TFLOP/s",
        ceilings.bytes_per_second / 1e9,
        ceilings.flops_per_second / 1e12
    );
    Ok(())
}

/// Prints every way to each product, convolution and attention that was timed to prepare `program`, the fastest of a step first,
/// and what libraries declined.
pub(super) fn print_ways(program: &CudaProgram) {
    let trials = program.trials();
    for declined in program.declined() {
        let step = declined.launch.as_ref().map(|launch| format!(" for {}", Escaped(&launch.name))).unwrap_or_default();
        println!("declined: {}{step}: {}", declined.way, Escaped(&declined.reason));
    }
    if trials.is_empty() {
        println!(
            "ways: none was timed, all were chosen before; with an empty directory for `--cache` they are timed anew"
        );
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["us", "way", "", "kernel", "first node"]);
    for step in trials.chunk_by(|a, b| a.launch.nodes == b.launch.nodes) {
        let mut step: Vec<_> = step.iter().collect();
        step.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        for trial in step {
            let told = match (trial.is_chosen, trial.is_right) {
                (true, _) => "chosen",
                (_, Some(false)) => "wrong",
                _ => "",
            };
            table.add_row([
                format!("{:.2}", trial.seconds * 1e6),
                trial.way.clone(),
                told.into(),
                Escaped(&trial.launch.name).to_string(),
                trial.launch.nodes.first().map(|node| Escaped(node.as_str()).to_string()).unwrap_or_default(),
            ]);
        }
    }
    println!("{table}");
}
