//! Lowers a model to a TensorRT network and builds its engine.
//!
//! Three steps that can be tested apart: lowering writes a [`spec::NetworkSpec`], plain data; a worker process replays it against
//! NVIDIA's library ([`worker`]); what comes back is an [`engine::Engine`] with the list of its kernels ([`listing`]). A crash of
//! the library ends the worker, not the program.
//!
//! [`parser`] runs NVIDIA's own ONNX parser in the same worker, as a second opinion.

#[cfg(all(feature = "tensorrt-rtx", feature = "tensorrt-enterprise"))]
compile_error!(
    "tensorrt-rtx and tensorrt-enterprise exclude each other: build with --no-default-features --features tensorrt-enterprise"
);
#[cfg(all(feature = "bindings", not(any(feature = "tensorrt-rtx", feature = "tensorrt-enterprise"))))]
compile_error!("the feature bindings is set by tensorrt-rtx or tensorrt-enterprise");

pub mod backend;
pub mod engine;
pub mod error;
pub mod explain;
mod flow;
mod kinds;
pub mod layer;
pub mod library;
pub mod listing;
pub mod log;
pub mod lower;
#[cfg(feature = "bindings")]
mod native;
pub mod parser;
mod protocol;
mod shared;
pub mod spec;
pub mod traffic;
pub mod trial;
pub mod worker;

pub use backend::{EngineReport, TensorRt};
pub use error::Error;
pub use worker::{Session, WORKER_ARGUMENT, Worker, worker_main};
