//! The map from kernels to source nodes, on whole models.
//!
//! Ends early, and says so, on a machine without the library.

use eutectic_ir::{infer, text};
use eutectic_tensorrt::TensorRt;
use eutectic_tensorrt::engine::{BuildOptions, Engine};
use eutectic_tensorrt::explain::{Role, difference, explain};
use eutectic_tensorrt::lower::{LowerOptions, lower};
use std::collections::HashSet;
use std::path::Path;

/// Builds the model called `name`, with all of its named intermediate values as outputs when `is_broken`.
fn built(name: &str, is_broken: bool) -> Option<(Engine, HashSet<String>)> {
    let worker = crate::common::worker()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../papers/models").join(name);
    let source = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut model, _) = text::parse_model(&source).unwrap_or_else(|problems| panic!("{problems}"));
    infer::infer(&mut model);
    let mut options = BuildOptions::for_target(86);
    options.optimization_level = Some(0);
    let mut lowered =
        lower(&model, &LowerOptions { profiles: Vec::new() }).unwrap_or_else(|problems| panic!("{problems}"));
    if is_broken {
        assert!(lowered.spec.break_fusions(&[]).is_empty());
    }
    let nodes = lowered.spec.layers.iter().flat_map(|layer| layer.origins.iter().cloned()).collect();
    let backend = TensorRt { worker, options };
    let (_, engine) = backend.build_lowered(&lowered).unwrap_or_else(|error| panic!("{}", error.diagnostic()));
    Some((engine, nodes))
}

/// Every kernel stands for nodes of the model, and nearly all compute some.
fn covers_every_kernel(name: &str) {
    let Some((engine, nodes)) = built(name, false) else { return };
    let explained = explain(&engine.layers);
    assert!(explained.len() > 50, "{} kernels", explained.len());
    for one in &explained {
        assert!(one.role != Role::Alone && !one.nodes.is_empty(), "{} is of no node", one.kernel.name);
        for node in &one.nodes {
            assert!(nodes.contains(*node), "{} is of `{node}`, which the model lacks", one.kernel.name);
        }
    }
    let computing = explained.iter().filter(|one| one.role == Role::Computes).count();
    assert!(computing * 10 >= explained.len() * 9, "{computing} of {} compute", explained.len());
}

#[test]
fn every_kernel_of_resnet_50_is_mapped_to_nodes() {
    covers_every_kernel("resnet50_ts17bn.onnxtxt");
}

#[test]
fn every_kernel_of_bert_is_mapped_to_nodes() {
    covers_every_kernel("bert_base_ts17.onnxtxt");
}

#[test]
fn broken_fusions_are_what_two_builds_differ_in() {
    let (Some((fused, _)), Some((broken, _))) =
        (built("squeezenet1_1_dy18.onnxtxt", false), built("squeezenet1_1_dy18.onnxtxt", true))
    else {
        return;
    };
    let found = difference(&fused.layers, &broken.layers);
    let is_pair = |(nodes, _): &&(Vec<String>, usize)| nodes.len() > 1;
    assert!(found.first.iter().filter(is_pair).count() > 10, "{found:?}");
    assert!(difference(&fused.layers, &fused.layers).first.is_empty());
}
