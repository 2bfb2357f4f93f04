//! Reads a model in ONNX's textual syntax from standard input and prints it again, or says what is wrong with it.
//!
//! `--brief` leaves out long weights and the types between nodes.

use eutectic_ir::text::{PrintOptions, parse_model, print_model};
use std::io::{Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut text = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut text) {
        eprintln!("standard input: {error}");
        return ExitCode::from(2);
    }
    let brief = std::env::args().any(|argument| argument == "--brief");
    match parse_model(&text) {
        Ok((model, warnings)) => {
            let options = if brief { PrintOptions::BRIEF } else { PrintOptions::EXACT };
            eprint!("{warnings}");
            match std::io::stdout().write_all(print_model(&model, &options).as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::from(2),
            }
        }
        Err(problems) => {
            eprintln!("{problems}");
            ExitCode::from(problems.exit_code() as u8)
        }
    }
}
