//! The driver and the libraries start while the processor rewrites a model: each takes some tenths of a second.

use crate::cudnn::Cudnn;
use crate::driver::{Device, Stream};
use crate::libraries::Library;
use crate::product::CublasLt;
use std::sync::OnceLock;
use std::thread::{JoinHandle, spawn};

/// The driver and the libraries while they start. What they refuse is told by the program that is prepared with them.
#[derive(Debug)]
#[must_use = "the start is over when this is finished"]
pub struct WarmUp(Option<JoinHandle<()>>);

impl WarmUp {
    /// Starts them in a thread of its own, once in the life of the process.
    pub fn begin() -> Self {
        static BEGUN: OnceLock<()> = OnceLock::new();
        let mut thread = None;
        BEGUN.get_or_init(|| thread = Some(spawn(open)));
        Self(thread)
    }

    /// Waits until they are ready.
    pub fn finish(self) {
        if let Some(thread) = self.0 {
            let _ = thread.join();
        }
    }
}

/// What a library loads for its first handle stays for all that follow; the handles here are never used.
fn open() {
    let Ok(_device) = Device::open() else { return };
    if Library::CublasLt.is_present() {
        let _ = CublasLt::new();
    }
    if Library::Cudnn.is_present() {
        let _ = Stream::new().and_then(|stream| Cudnn::new(&stream));
    }
}
