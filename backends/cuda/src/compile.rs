//! CUDA C++ to machine code, by NVRTC; results are kept on disk under the hash of all that decides them.

#![allow(unsafe_code)]

use crate::libraries::{Library, require};
use cudarc::nvrtc::sys;
use eutectic_ir::diag::{Diagnostic, Kind};
use sha2::{Digest, Sha256};
use std::ffi::{CString, c_char};
use std::fs;
use std::path::PathBuf;
use std::ptr;

/// Compiles `source` for compute capability `architecture` (90 for 9.0). Errors: no NVRTC, or `B0304` with its log.
pub fn compile(source: &str, architecture: usize) -> Result<Vec<u8>, Diagnostic> {
    require(Library::Nvrtc)?;
    let refused = |what: &str, log: &str| {
        let problem = Diagnostic::error(Kind::Unsupported, "B0304", format!("NVRTC refused {what}"));
        log.lines().filter(|line| !line.trim().is_empty()).take(12).fold(problem, |problem, line| problem.note(line))
    };
    let text = CString::new(source).map_err(|_| refused("a source with a zero byte", ""))?;
    // What 9.0 has and no later device, such as matrix units for four warps, is in the architecture with this letter alone.
    let letter = if architecture == 90 { "a" } else { "" };
    let options =
        [format!("--gpu-architecture=sm_{architecture}{letter}"), "--std=c++17".into(), "-default-device".into()];
    let options: Vec<CString> =
        options.iter().map(|option| CString::new(option.as_str()).unwrap_or_default()).collect();
    let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    let mut program = ptr::null_mut();
    // SAFETY: NVRTC is present; strings end with a zero and live through the calls; buffers have the sizes that NVRTC
    // asked for; the program is destroyed once, on every path.
    unsafe {
        let ok = sys::nvrtcResult::NVRTC_SUCCESS;
        if sys::nvrtcCreateProgram(&mut program, text.as_ptr(), c"kernel.cu".as_ptr(), 0, ptr::null(), ptr::null())
            != ok
        {
            return Err(refused("to start", ""));
        }
        let status = sys::nvrtcCompileProgram(program, pointers.len() as i32, pointers.as_ptr());
        let mut len = 0;
        let image = if status == ok && sys::nvrtcGetCUBINSize(program, &mut len) == ok {
            let mut image = vec![0u8; len];
            let got = sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast());
            if got == ok { Ok(image) } else { Err(String::new()) }
        } else {
            let mut log = Vec::new();
            if sys::nvrtcGetProgramLogSize(program, &mut len) == ok {
                log = vec![0u8; len];
                sys::nvrtcGetProgramLog(program, log.as_mut_ptr().cast());
            }
            Err(String::from_utf8_lossy(&log).trim_end_matches('\0').to_string())
        };
        sys::nvrtcDestroyProgram(&mut program);
        image.map_err(|log| refused("a generated kernel", &log))
    }
}

/// Version of the compiler: 13.0 is `(13, 0)`. Errors: no NVRTC.
pub fn version() -> Result<(i32, i32), Diagnostic> {
    require(Library::Nvrtc)?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: NVRTC is present and writes two integers.
    unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    Ok((major, minor))
}

/// A directory of results that cost time: machine code and tuned choices. Losing it loses nothing but time.
#[derive(Clone, Debug)]
pub struct Cache(Option<PathBuf>);

impl Cache {
    /// The cache in `directory`; with `None`, nothing is kept.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self(directory)
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        let hash = Sha256::digest(key.as_bytes());
        let name: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Some(self.0.as_ref()?.join(name))
    }

    /// What was kept under `key`.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        fs::read(self.path(key)?).ok().filter(|bytes| !bytes.is_empty())
    }

    /// Keeps `bytes` under `key`, in one step so that a reader never sees half of them. A failure is no error.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        let Some(path) = self.path(key) else { return };
        let beside = path.with_extension(std::process::id().to_string());
        let kept = path.parent().map(fs::create_dir_all).transpose().and_then(|_| fs::write(&beside, bytes));
        if kept.and_then(|()| fs::rename(&beside, &path)).is_err() {
            let _ = fs::remove_file(&beside);
        }
    }

    /// Machine code of `source`, from the cache or compiled.
    pub fn compiled(&self, source: &str, architecture: usize) -> Result<Vec<u8>, Diagnostic> {
        let (major, minor) = version()?;
        let key = format!("nvrtc {major}.{minor} sm_{architecture}\n{source}");
        if let Some(image) = self.get(&key) {
            return Ok(image);
        }
        let image = compile(source, architecture)?;
        self.put(&key, &image);
        Ok(image)
    }
}
