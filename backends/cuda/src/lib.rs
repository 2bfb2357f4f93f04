//! The CUDA backend: plans a model, generates and tunes its kernels, and replays the whole program as one graph.
//!
//! | step | where |
//! |---|---|
//! | the model as one list of calls with known types | `flat.rs` |
//! | operators as what they mean | `expand.rs`, `gemm.rs`, `gather.rs`, `attention.rs` |
//! | that list as a model, in which regions are formed elsewhere | `expanded.rs` |
//! | what each kernel runs, and what calls may share one | `units.rs` |
//! | layouts, views, weights, launches | `plan.rs`, made by `planner.rs` and the lowerings `regions.rs`, `products.rs`, `images.rs`, `ways.rs`, `quantized.rs`, `flash.rs`, `views.rs`, `operators/` |
//! | CUDA C++ of regions, of contractions, and of single operators | `region.rs`, `pointwise.rs`, `tile.rs`, `depthwise.rs`, `direct.rs` |
//! | memory, and what lies in it beforehand | `arena.rs`, `constants.rs` |
//! | libraries under safe wrappers | `libraries.rs`, `driver.rs`, `compile.rs`, `product.rs`, `cudnn.rs`, `convolution.rs`, `fused_attention.rs` |
//! | tuning, execution, measurement | `warm.rs`, `backend.rs`, `tuning.rs`, `check.rs`, `program.rs`, `measure.rs` |
//!
//! Everything above the wrappers runs and is tested without a GPU. Nothing panics without NVIDIA's libraries: they are
//! opened at run time, and an absent one is an error that says what to install.

mod arena;
mod attention;
mod backend;
mod before;
mod bias;
mod check;
mod compile;
mod constants;
mod convolution;
mod cudnn;
mod depthwise;
mod direct;
mod driver;
mod expand;
mod expanded;
mod flash;
mod flat;
mod fused;
mod fused_attention;
mod fused_normalization;
mod gather;
mod gemm;
mod images;
mod libraries;
mod measure;
mod offers;
mod operators;
mod patches;
mod plan;
mod planner;
mod pointwise;
mod product;
mod products;
mod program;
mod quantized;
mod region;
mod regions;
mod ring;
mod settle;
mod tile;
mod transfers;
mod tuning;
mod units;
mod view;
mod views;
mod warm;
mod ways;

pub use backend::{Contenders, Cuda, Whole};
pub use compile::Cache;
pub use compile::compile;
pub use expanded::Expanded;
pub use libraries::{Library, require};
pub use measure::{Ceilings, Chain, Profile};
pub use program::{CudaProgram, Footprint};
pub use transfers::{Served, Service};
pub use tuning::{Declined, Trial};
pub use view::Precision;
pub use warm::WarmUp;
