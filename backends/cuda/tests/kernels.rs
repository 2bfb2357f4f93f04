//! Every kernel that the models of `papers/models` need compiles, without a GPU.
//!
//! NVRTC comes with `pip install nvidia-cuda-nvrtc`; where the loader does not find it, the test says so and passes.

use eutectic_backend::Calls;
use eutectic_cuda::{Cuda, Library, Precision, compile};
use eutectic_passes::optimize::{Options, optimize};
use eutectic_passes::target::Target;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn models() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../papers/models");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the models")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "onnxtxt"))
        .collect();
    found.sort();
    assert!(found.len() >= 6);
    found
}

fn sources() -> BTreeSet<String> {
    let mut sources = BTreeSet::new();
    for path in models() {
        let text = std::fs::read_to_string(&path).expect("a model");
        let (model, _) = eutectic_ir::text::parse_model(&text).expect("it parses");
        for (target, calls) in [(Target::Cpu, Calls::Claim), (Target::Onnx, Calls::Inline)] {
            let mut model = model.clone();
            let options = Options::standard(target).expect("rules").admitting(&model);
            optimize(&mut model, &options).expect("it optimizes");
            for precision in [Precision::F16, Precision::F32] {
                let cuda = Cuda { precision, cache: None };
                let found = cuda.sources(&model, calls);
                let found = found.unwrap_or_else(|problems| panic!("{}: {problems}", path.display()));
                let listing = cuda.listing(&model, calls).expect("it plans");
                println!(
                    "{} {calls:?} {precision:?}: {} launches, {} kernels",
                    path.display(),
                    listing.len(),
                    found.len()
                );
                sources.extend(found);
            }
        }
    }
    sources
}

#[test]
fn every_kernel_of_the_models_compiles() {
    let sources = sources();
    assert!(sources.len() > 20, "{}", sources.len());
    if !Library::Nvrtc.is_present() {
        println!("NVRTC is absent: {} kernels were generated and none was compiled", sources.len());
        return;
    }
    // Kernels of one model are much alike: each is compiled for one architecture, all three in turn.
    for (source, architecture) in sources.iter().zip([80, 90, 120].into_iter().cycle()) {
        if let Err(problem) = compile(source, architecture) {
            panic!("sm_{architecture}: {problem:?}\n{source}");
        }
    }
    println!("{} kernels compiled, for sm_80, sm_90 or sm_120", sources.len());
}
