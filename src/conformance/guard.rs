//! Runs one piece of work so that neither a panic nor an endless loop of it ends the run of all.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Kernels and interpreters recurse into bodies and functions; nothing of the stack is taken before it is used.
const STACK: usize = 64 << 20;

/// Runs `work` on a thread of its own. Errors: it panicked, and with what words; it took longer than `most`, and its thread is
/// left behind; no thread can be started.
pub(crate) fn run<T: Send + 'static>(most: Duration, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (sender, receiver) = channel();
    let thread = thread::Builder::new()
        .name("case".into())
        .stack_size(STACK)
        // Nobody listens when it took too long.
        .spawn(move || drop(sender.send(work())))
        .map_err(|error| format!("no thread can be started: {error}"))?;
    match receiver.recv_timeout(most) {
        Ok(result) => Ok(result),
        Err(RecvTimeoutError::Timeout) => Err(format!("it took longer than {} s", most.as_secs_f64())),
        Err(RecvTimeoutError::Disconnected) => {
            let payload = thread.join().err();
            let words = payload.as_ref().and_then(|payload| {
                let text = payload.downcast_ref::<&str>().copied();
                text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            });
            Err(format!("panicked: {}", words.unwrap_or("without words")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_words() {
        let result = run(Duration::from_secs(60), || -> i32 { panic!("out of {}", "range") });
        assert_eq!(result, Err("panicked: out of range".into()));
    }

    #[test]
    fn work_that_never_ends_is_an_error() {
        let result = run(Duration::from_millis(10), || {
            loop {
                thread::park();
            }
        });
        assert_eq!(result, Err::<(), _>("it took longer than 0.01 s".into()));
    }
}
