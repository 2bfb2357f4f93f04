//! Builds an engine of an ONNX file twice, from our lowering and from NVIDIA's ONNX parser, and compares the two.
//!
//! `compare FILE.. [--target 86] [--kernels] [--layers] [--range INPUT=MIN:OPT:MAX]`, extents joined by `x`. The library is searched as
//! by the program.

use eutectic_onnx::{Limits, Policy};
use eutectic_tensorrt::engine::{BuildOptions, Profile, ProfileRange};
use eutectic_tensorrt::parser::{Onnx, read_onnx};
use eutectic_tensorrt::{EngineReport, TensorRt, Worker};
use std::path::PathBuf;
use std::time::Duration;

fn main() -> Result<(), String> {
    if std::env::args().nth(1).as_deref() == Some(eutectic_tensorrt::WORKER_ARGUMENT) {
        std::process::exit(eutectic_tensorrt::worker_main());
    }
    let mut options = BuildOptions::for_target(86);
    let (mut files, mut ranges) = (Vec::new(), Vec::new());
    let (mut shows_kernels, mut shows_layers) = (false, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--target" => {
                options.targets =
                    vec![words.next().and_then(|target| target.parse().ok()).ok_or("--target wants a number")?];
            }
            "--range" => ranges.push(range(&words.next().ok_or("--range wants a range")?)?),
            "--kernels" => shows_kernels = true,
            "--layers" => shows_layers = true,
            _ => files.push(PathBuf::from(word)),
        }
    }
    if !ranges.is_empty() {
        options.profiles = vec![Profile { inputs: ranges }];
    }
    let worker = Worker::this_program(None, Duration::from_secs(600)).map_err(|error| error.to_string())?;
    let backend = TensorRt { worker, options };
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let ours = ours(&backend, &file);
        let theirs = read_onnx(&backend.worker, Onnx::File(file.clone()), Some(&backend.options))
            .map_err(|error| error.diagnostic().to_string())
            .and_then(|(network, engine)| Ok(EngineReport::new(network, &engine.ok_or("no engine")?)));
        for (who, report) in [("ours", &ours), ("parser", &theirs)] {
            match report {
                Ok(report) => {
                    println!(
                        "{name} {who}: {} kernels {:?}, {} layers, {} bytes, {} s",
                        report.kernels.len(),
                        report.kinds(),
                        report.network.n_layers(),
                        report.engine_bytes,
                        report.seconds
                    );
                    if shows_layers {
                        println!("  {:?}", report.network.histogram);
                    }
                    if shows_kernels {
                        report.kernels.iter().for_each(|kernel| println!("  {:<15} {}", kernel.kind, kernel.name));
                    }
                }
                Err(problem) => println!("{name} {who}: {problem}"),
            }
        }
        if let (Ok(ours), Ok(theirs)) = (&ours, &theirs)
            && (ours.network.outputs != theirs.network.outputs || ours.network.inputs != theirs.network.inputs)
        {
            println!("{name}: ours {:?} {:?}", ours.network.inputs, ours.network.outputs);
            println!("{name}: parser {:?} {:?}", theirs.network.inputs, theirs.network.outputs);
        }
    }
    Ok(())
}

fn ours(backend: &TensorRt, file: &std::path::Path) -> Result<EngineReport, String> {
    let (mut model, _) = eutectic_onnx::read(file, &Limits::stated(), &Policy::interactive())
        .map_err(|problems| problems.to_string())?;
    eutectic_ir::infer::infer(&mut model);
    backend.build(&model).map(|(report, _)| report).map_err(|problems| problems.to_string())
}

fn range(text: &str) -> Result<ProfileRange, String> {
    let bad = || format!("`{text}` is not INPUT=MIN:OPT:MAX");
    let (input, lists) = text.split_once('=').ok_or_else(bad)?;
    let list = |text: &str| text.split('x').map(|part| part.parse::<i64>().map_err(|_| bad())).collect();
    let lists: Vec<Vec<i64>> = lists.split(':').map(list).collect::<Result<_, _>>()?;
    let [min, opt, max] = <[Vec<i64>; 3]>::try_from(lists).map_err(|_| bad())?;
    Ok(ProfileRange { input: input.to_owned(), is_values: false, min, opt, max })
}
