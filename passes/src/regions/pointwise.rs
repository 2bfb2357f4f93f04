//! Chains of elementwise calls of one shape.

use super::Pattern;
use eutectic_ir::region::Role;

pub(super) const PATTERN: Pattern = Pattern {
    name: "pointwise",
    doc: "chains of elementwise calls of one shape",
    takes: Some(|roles| roles.iter().all(|role| **role == Role::Pointwise)),
};
