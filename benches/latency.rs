//! Latency of models on the CPU backend, one run for each line of standard input, so that another program can run its own
//! in between: `benches/against_onnxruntime.py` does. Without a model it says so and ends, as in `cargo bench`.

use eutectic::backend::{Backend, Calls, Options};
use eutectic::cpu::Cpu;
use eutectic::files;
use eutectic::inputs::{Sizes, seeded};
use eutectic::ir::Tensor;
use eutectic::onnx::Limits;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

fn main() {
    let paths: Vec<String> = std::env::args().skip(1).filter(|argument| argument.ends_with(".onnx")).collect();
    if paths.is_empty() {
        eprintln!("latency: give models; see benches/against_onnxruntime.py");
        return;
    }
    let mut programs: Vec<_> = paths
        .iter()
        .map(|path| {
            let (model, _) = files::load(Path::new(path), &Limits::stated(), false).expect("it reads");
            let options = Options { calls: Calls::Claim, memory_limit: 16 << 30 };
            let inputs = seeded(&model, &Sizes::all(1), 0).expect("inputs");
            let inputs: Vec<Tensor> = inputs.into_iter().map_while(|input| input).collect();
            (Cpu.compile(&model, &options).expect("it compiles"), inputs)
        })
        .collect();
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let at: usize = line.expect("text").trim().parse().expect("the number of a model");
        let (program, inputs) = &mut programs[at];
        let start = Instant::now();
        program.run(inputs).expect("it runs");
        println!("{}", start.elapsed().as_secs_f64());
        std::io::stdout().flush().expect("somebody listens");
    }
}
