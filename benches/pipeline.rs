//! Host time of each stage on ResNet-50 and BERT as PyTorch exports them: `cargo bench --bench pipeline`.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use eutectic::files;
use eutectic::ir::{Model, infer};
use eutectic::onnx::{ExportOptions, Limits};
use eutectic::passes::fold::FoldBudget;
use eutectic::passes::optimize::{Extract, Options, optimize};
use eutectic::passes::pipeline;
use eutectic::passes::rules::Rule;
use eutectic::passes::saturate::{self, Space, extract_graph};
use eutectic::passes::target::Target;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const MODELS: [&str; 2] = ["resnet50_ts17bn", "bert_base_ts17"];

fn stages(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    for name in MODELS {
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("papers/models/{name}.onnxtxt"));
        let (model, _) = files::load(&text, &Limits::stated(), false).expect("it reads");
        let (file, out) = (dir.path().join(format!("{name}.onnx")), dir.path().join(format!("{name}_out.onnx")));
        let export = ExportOptions { opset: None, external_data: false };
        files::save(&model, &file, &export).expect("it writes");
        let load = || files::load(&file, &Limits::stated(), false).expect("it reads").0;
        let options = Options::standard(Target::Onnx).expect("the library loads");
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).measurement_time(Duration::from_secs(5));
        group.bench_function("import", |bencher| bencher.iter(load));
        group.bench_function("infer", |bencher| {
            bencher.iter_batched(load, |mut model| infer::infer(&mut model), BatchSize::PerIteration);
        });
        group.bench_function("prepare", |bencher| {
            let run = |mut model: Model| pipeline::prepare(FoldBudget::STANDARD, false).run(&mut model).map(|_| model);
            bencher.iter_batched(load, run, BatchSize::PerIteration);
        });
        let mut prepared = load();
        pipeline::prepare(FoldBudget::STANDARD, false).run(&mut prepared).expect("it prepares");
        let (facts, _) = infer::infer(&mut prepared);
        let rules: Vec<&Rule> = options.rules.iter().map(Arc::as_ref).collect();
        let space = || Space::new(&prepared.graph, &facts).expect("no cycle");
        let saturated = |mut space: Space| {
            saturate::saturate(&mut space, &rules, saturate::Limits { time: None, ..saturate::Limits::STANDARD });
            space
        };
        group.bench_function("saturate", |bencher| bencher.iter_batched(space, saturated, BatchSize::PerIteration));
        let full = saturated(space());
        group.bench_function("extract", |bencher| {
            bencher.iter(|| {
                extract_graph(&full, &prepared.graph, &options.cost, &|_| true, Extract::Dag).expect("feasible")
            });
        });
        group.bench_function("optimize", |bencher| {
            let run = |mut model: Model| optimize(&mut model, &options).map(|_| model);
            bencher.iter_batched(load, run, BatchSize::PerIteration);
        });
        group.bench_function("export", |bencher| {
            // A new file each time: replacing one has ext4 write it out first.
            let absent = || drop(std::fs::remove_file(&out));
            let save = |()| files::save(&model, &out, &export).expect("it writes");
            bencher.iter_batched(absent, save, BatchSize::PerIteration);
        });
        group.finish();
    }
}

criterion_group!(benches, stages);
criterion_main!(benches);
