//! The only code that calls TensorRT. It runs in the worker process.
//!
//! Everything that TensorRT owns is reached through [`network::Network`], which refuses handles of another network and keeps
//! constant data alive until it is dropped.
#![allow(unsafe_code)] // Calls into closed C++; each block says what it relies on.

mod build;
mod convert;
mod dense;
mod flow;
mod handle;
mod logger;
pub(crate) mod network;
mod parameters;
mod parse;
mod pointwise;
mod server;
mod shape;

pub(crate) use server::serve;
