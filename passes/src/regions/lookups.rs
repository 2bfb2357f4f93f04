//! Rows that are looked up, with what is computed of them: embeddings and their sum and normalization.

use super::Pattern;
use eutectic_ir::region::Role;

pub(super) const PATTERN: Pattern = Pattern {
    name: "lookups",
    doc: "elements read from places that another tensor names, with what is computed of them",
    takes: Some(|roles| roles.iter().any(|role| matches!(role, Role::Lookup))),
};
