//! Passes, rewrite rules, fusions, equality saturation, extraction and cost.

pub mod canonical;
pub mod cost;
pub mod cse;
pub mod dce;
pub mod extract;
pub mod fold;
pub mod pass;
mod rewire;
pub mod rules;
pub mod saturate;
