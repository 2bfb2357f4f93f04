//! Reads a model and writes it again, without a pass in between: `copy IN OUT [OPSET] [external]`.

use eutectic_onnx::{ExportOptions, Limits, Policy, read, write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, rest @ ..] = &arguments[..] else {
        eprintln!("usage: copy IN OUT [OPSET] [external]");
        return ExitCode::from(2);
    };
    let options = ExportOptions {
        opset: rest.iter().find_map(|argument| argument.parse().ok()),
        external_data: rest.iter().any(|argument| argument == "external"),
    };
    let started = Instant::now();
    let (model, warnings) = match read(Path::new(from), &Limits::stated(), &Policy::interactive()) {
        Ok(read) => read,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(errors.exit_code() as u8);
        }
    };
    let read_in = started.elapsed();
    eprintln!("{warnings}");
    let started = Instant::now();
    match write(&model, Path::new(to), &options) {
        Ok(written) => {
            println!("{written:?}");
            println!("{} nodes, read in {read_in:.1?}, written in {:.1?}", model.graph.n_nodes(), started.elapsed());
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(errors.exit_code() as u8)
        }
    }
}
