//! `cargo xtask demo`: ResNet-50 loses its BatchNorms, its convolutions fuse, the result is certified, and a TensorRT
//! engine is built, on a machine without a GPU.

use crate::setup::{self, libclang, python, root, say};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// The graph as PyTorch exported it; weights are seeded recipes, so the model is a page of text.
const MODEL: &str = "papers/models/resnet50_ts17bn.onnxtxt";

pub fn run() -> Result<()> {
    libclang()?;
    python("tests/requirements.txt")?;
    say("building eutectic");
    setup::run(Command::new(env!("CARGO")).args(["build", "--release", "--features", "tensorrt"]))?;
    let out = root().join("target/demo");
    std::fs::create_dir_all(&out)?;
    let (fused, standard, engine) =
        (out.join("resnet50_fused.onnx"), out.join("resnet50.onnx"), out.join("resnet50.engine"));

    say("1. ResNet-50, fused operators as ONNX functions");
    eutectic(&["optimize", MODEL, "-o", show(&fused)])?;
    say("2. the same with standard operators only, for any runtime");
    eutectic(&["optimize", MODEL, "-o", show(&standard), "--target", "onnx", "--quiet"])?;
    eutectic(&["compare", MODEL, show(&standard)])?;
    say("3. our own network definition, built by TensorRT for SM 8.6; no GPU is needed");
    eutectic(&["lower", show(&standard), "--target", "tensorrt", "--sm", "86", "--saveEngine", show(&engine)])?;
    say("done");
    println!("The models and the engine are in {}.", out.display());
    println!("Next: `target/release/eutectic --help`, README.md.");
    Ok(())
}

fn eutectic(arguments: &[&str]) -> Result<()> {
    println!("$ eutectic {}", arguments.join(" "));
    setup::run(Command::new(root().join("target/release/eutectic")).args(arguments))
}

fn show(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}
