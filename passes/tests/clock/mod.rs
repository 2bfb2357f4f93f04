//! Processor time, for measurements on a machine that others use as well.

use std::time::Instant;

/// Seconds that this thread has run, whoever else uses the machine: the first number of Linux's schedstat is in nanoseconds.
/// Elsewhere, seconds since `start`.
pub fn processor_seconds(start: Instant) -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
    nanoseconds.map_or_else(|| start.elapsed().as_secs_f64(), |nanoseconds| nanoseconds * 1e-9)
}
