//! Passes, rewrite rules, fusions, equality saturation, extraction and cost.

pub mod canonical;
pub mod contrib;
pub mod cost;
pub mod cse;
pub mod dce;
pub mod expand;
pub mod extract;
pub mod fold;
mod graph_host;
pub mod greedy;
pub mod inline;
pub mod inspect;
pub mod optimize;
pub mod pass;
pub mod pipeline;
pub mod precision;
pub mod reduce;
pub mod regions;
mod rewire;
pub mod rules;
pub mod saturate;
pub mod saturated;
pub mod shapes;
pub mod target;
#[cfg(test)]
mod testing;
pub mod tidy;
pub mod unflatten;
pub mod watch;
