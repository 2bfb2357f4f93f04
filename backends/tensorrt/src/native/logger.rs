//! Carries the library's log into a [`LogCapture`].

use crate::log::{LogCapture, Severity};
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use trtx_sys::RustLoggerBridge;

/// A logger to hand to the library.
pub(crate) struct Logger {
    bridge: *mut RustLoggerBridge,
    // The bridge holds a pointer to it.
    pub(crate) log: Arc<LogCapture>,
}

impl Logger {
    pub(crate) fn new(log: Arc<LogCapture>) -> Option<Self> {
        let user_data = Arc::as_ptr(&log).cast_mut().cast::<c_void>();
        let bridge = unsafe { trtx_sys::create_rust_logger_bridge(callback, user_data) };
        (!bridge.is_null()).then_some(Self { bridge, log })
    }

    /// The `ILogger*`.
    pub(crate) fn interface(&self) -> *mut c_void {
        unsafe { trtx_sys::get_logger_interface(self.bridge) }
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        unsafe { trtx_sys::destroy_rust_logger_bridge(self.bridge) };
    }
}

/// Called from any thread of the library. A panic must not cross into C++: it would abort the process.
unsafe extern "C" fn callback(user_data: *mut c_void, severity: i32, message: *const c_char) {
    if user_data.is_null() || message.is_null() {
        return;
    }
    // `Logger` keeps the capture alive longer than the bridge, and the library passes text that ends in NUL.
    let (log, message) = unsafe { (&*user_data.cast::<LogCapture>(), CStr::from_ptr(message)) };
    let record = || log.record(Severity::from_number(severity), &message.to_string_lossy());
    let _ = catch_unwind(AssertUnwindSafe(record));
}
