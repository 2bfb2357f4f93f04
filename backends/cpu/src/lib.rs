//! The embedded backend: runs a model on the host.
