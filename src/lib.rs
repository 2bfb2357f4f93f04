//! Eutectic: ONNX in, named rewrite rules through e-graphs, TensorRT and CUDA out.
//!
//! This crate is the facade: it joins the reader, the passes and the backends, and holds the program's verbs.
//!
//! ```no_run
//! let limits = eutectic::onnx::Limits::stated();
//! let (model, warnings) = eutectic::files::load("resnet50.onnx".as_ref(), &limits, false)?;
//! println!("{} nodes, {} warnings", model.graph.n_nodes(), warnings.0.len());
//! # Ok::<(), eutectic::ir::Diagnostics>(())
//! ```
#![forbid(unsafe_code)]

pub use eutectic_backend as backend;
pub use eutectic_cpu as cpu;
pub use eutectic_cuda as cuda;
pub use eutectic_field as field;
pub use eutectic_ir as ir;
pub use eutectic_measure as measure;
pub use eutectic_onnx as onnx;
pub use eutectic_passes as passes;
pub use eutectic_study as study;
#[cfg(feature = "lowering")]
pub use eutectic_tensorrt as tensorrt;

pub mod batch;
pub mod bisect;
pub mod calibrate;
pub mod certificate;
pub mod cli;
pub mod codes;
pub mod conformance;
pub mod cost_table;
pub mod egraph;
pub mod files;
pub mod fused;
pub mod inputs;
pub mod partners;
pub mod published;
pub mod rounding;
pub mod seeding;
pub mod trace;
