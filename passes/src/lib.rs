//! Passes, rewrite rules, fusions, equality saturation, extraction and cost.
