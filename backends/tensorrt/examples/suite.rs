use eutectic_onnx::{Limits, Policy, read_interface, read_value};
use eutectic_ir::value::Value;
use eutectic_ir::Tensor;
use eutectic_tensorrt::engine::BuildOptions;
use eutectic_tensorrt::{Worker, trial};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

fn cases(root: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { cases(&path, all) } else if path.file_name().unwrap() == "model.onnx" { all.push(root.to_owned()) }
    }
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some(eutectic_tensorrt::WORKER_ARGUMENT) {
        std::process::exit(eutectic_tensorrt::worker_main());
    }
    let root = std::env::args().nth(1).unwrap();
    let filter = std::env::args().nth(2).unwrap_or_default();
    let threads: usize = std::env::args().nth(3).map_or(2, |n| n.parse().unwrap());
    let mut all = Vec::new();
    cases(Path::new(&root), &mut all);
    all.retain(|path| path.to_string_lossy().contains(&filter));
    all.sort();
    let worker = Worker::this_program(None, Duration::from_secs(60)).unwrap();
    let mut options = BuildOptions::for_target(86);
    options.optimization_level = Some(0);
    let next = Mutex::new(all.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut session = worker.session();
                loop {
                    let Some(folder) = next.lock().unwrap().next() else { break };
                    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
                    println!("{name}\t{}", one(&mut session, &options, &folder).unwrap_or_else(|why| why).replace('\n', " "));
                }
            });
        }
    });
}

fn one(session: &mut eutectic_tensorrt::Session, options: &BuildOptions, folder: &Path) -> Result<String, String> {
    let path = folder.join("model.onnx");
    let limits = Limits::stated();
    let interface = read_interface(&path, &limits).map_err(|e| format!("load\t{e}"))?;
    let (mut model, _) = eutectic_onnx::read(&path, &limits, &Policy::interactive()).map_err(|e| format!("load\t{}", e.0[0].message))?;
    eutectic_ir::infer::infer(&mut model);
    let mut inputs: Vec<Option<Tensor>> = vec![None; model.graph.inputs().len()];
    for (at, (name, form)) in interface.inputs.iter().enumerate() {
        let file = folder.join(format!("test_data_set_0/input_{at}.pb"));
        if !file.exists() { break }
        let value = read_value(&file, *form, &limits).map_err(|e| format!("load\t{e}"))?;
        let to = model.graph.inputs().iter().position(|&id| model.graph.value(id).name == *name);
        if let (Some(to), Value::Tensor(tensor)) = (to, value) { inputs[to] = Some(tensor); }
    }
    let start = std::time::Instant::now();
    match trial::build(session, options, &model, &inputs) {
        Ok(trial) => Ok(format!("{}\t{:?} {} kernels {:?}", if trial.constant.is_empty() { "built" } else { "bound" }, trial.constant, trial.report.kernels.len(), start.elapsed())),
        Err(problems) => {
            let all: Vec<String> = problems.0.iter().map(|p| format!("{}: {}", p.code, p.message)).collect();
            let kind = if problems.0.iter().any(|p| p.code.starts_with("B060")) { "refused" } else { "failed" };
            Err(format!("{kind}\t{}", all.join(" | ")))
        }
    }
}
