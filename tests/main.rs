//! The tests of the whole program, one binary: `cargo test --test all cases` runs those of `cases.rs`.

mod architecture;
mod attention;
mod cases;
mod certify;
mod codes;
mod common;
mod coverage;
mod debugging;
mod determinism;
mod explain;
mod hostile;
mod interface;
mod large;
mod lower;
mod onnx_backend;
mod onnxruntime;
mod peers;
mod precision;
mod published;
mod quantize;
mod rules_page;
mod rules_verify;
mod shape_inference;
mod study;
mod suite;
mod tensorrt_nodes;
