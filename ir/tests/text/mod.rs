//! The text form: what is printed reads back, whatever stands in the graph; what cannot be read is reported in place.

mod describe;
mod errors;
mod files;
mod options;
mod random;
