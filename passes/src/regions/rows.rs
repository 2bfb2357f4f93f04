//! Reductions of rows, with the elementwise calls around them: softmax, normalizations, sums and means.
//!
//! A row stays in registers, so that it is read once however often it is walked over. All rows of a region have the same
//! shape, and their columns are the last axes.

use super::Pattern;
use eutectic_ir::region::Role;

pub(super) const PATTERN: Pattern = Pattern {
    name: "rows",
    doc: "softmax, normalizations and reductions of rows, with the elementwise calls around them",
    takes: Some(|roles| roles.iter().any(|role| matches!(role, Role::Row { .. }))),
};
