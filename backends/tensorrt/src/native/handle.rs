//! Ownership of TensorRT's objects.

use crate::error::Error;
use crate::library::{self, Library};
use crate::log::LogCapture;
use crate::native::logger::Logger;
use cxx::memory::{UniquePtr, UniquePtrTarget};
use std::path::Path;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use trtx_sys::nvinfer1::IBuilder;

/// An object of the library that we delete.
pub(crate) struct Owned<T: UniquePtrTarget>(NonNull<T>);

impl<T: UniquePtrTarget> Owned<T> {
    /// Takes ownership of what a `create` function returned.
    ///
    /// # Safety
    /// `pointer` is null, or came from the library, is owned by nobody else, and outlives no object it depends on.
    pub(crate) unsafe fn new(pointer: *mut T) -> Option<Self> {
        NonNull::new(pointer).map(Self)
    }

    /// The object. The library's objects are opaque and are changed through shared pointers on its side too.
    #[allow(clippy::mut_from_ref)]
    pub(crate) fn pin(&self) -> Pin<&mut T> {
        // The object lives as long as `self`, never moves, and is used by one thread at a time (`Owned` is not Sync).
        unsafe { Pin::new_unchecked(&mut *self.0.as_ptr()) }
    }

    pub(crate) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T: UniquePtrTarget> Drop for Owned<T> {
    fn drop(&mut self) {
        // Runs the virtual destructor; `new` promises that nobody else does.
        drop(unsafe { UniquePtr::from_raw(self.0.as_ptr()) });
    }
}

/// A builder of networks and engines, with its own log.
pub(crate) struct Builder {
    // Dropped in this order: the builder logs while it goes, and its code lives in the library.
    pub(crate) builder: Owned<IBuilder>,
    pub(crate) logger: Logger,
    pub(crate) library: Library,
}

impl Builder {
    /// Opens the library and makes a builder.
    pub(crate) fn new(directory: Option<&Path>, log: Arc<LogCapture>) -> Result<Self, Error> {
        let library = library::open(directory)?;
        let logger = Logger::new(log).ok_or_else(|| Error::Worker("out of memory".into()))?;
        type Create = unsafe extern "C" fn(*mut std::ffi::c_void, i32) -> *mut IBuilder;
        let unusable = |error: libloading::Error| Error::Worker(format!("{}: {error}", library.path.display()));
        let create = unsafe { library.handle.get::<Create>(b"createInferBuilder_INTERNAL") }.map_err(unusable)?;
        // The version is that of the headers; `library::open` has compared it with the library's.
        let version = unsafe { trtx_sys::get_tensorrt_version() };
        let pointer = unsafe { create(logger.interface(), i32::try_from(version).unwrap_or(0)) };
        let builder = unsafe { Owned::new(pointer) }.ok_or_else(|| Error::Build { log: logger.log.take_lines() })?;
        Ok(Self { builder, logger, library })
    }

    pub(crate) fn log(&self) -> &LogCapture {
        &self.logger.log
    }
}
