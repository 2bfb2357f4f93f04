//! Finds and opens the TensorRT library.
//!
//! The library is NVIDIA's, is installed by the user and is opened by explicit path. Its version is read before anything else
//! is called: the other flavour would be accepted silently and misread our calls.
#![allow(unsafe_code)] // Opening a shared library runs its initializers, and its symbols are typed here.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

/// Which TensorRT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flavour {
    /// TensorRT for RTX: builds without a GPU.
    Rtx,
    /// TensorRT of the data centre.
    Enterprise,
}

impl Flavour {
    /// The one that this build binds.
    pub const fn bound() -> Self {
        if cfg!(feature = "tensorrt-enterprise") { Flavour::Enterprise } else { Flavour::Rtx }
    }

    /// File name of the library.
    pub fn library(self) -> &'static str {
        match self {
            Flavour::Rtx => "libtensorrt_rtx.so",
            Flavour::Enterprise => "libnvinfer.so",
        }
    }

    /// File name of the ONNX parser.
    pub fn parser(self) -> &'static str {
        match self {
            Flavour::Rtx => "libtensorrt_onnxparser_rtx.so",
            Flavour::Enterprise => "libnvonnxparser.so",
        }
    }

    /// The version whose headers the bindings come from. Class layouts are stable within a minor version.
    pub fn wanted(self) -> Version {
        match self {
            Flavour::Rtx => Version { major: 1, minor: 7, patch: 0 },
            Flavour::Enterprise => Version { major: 11, minor: 4, patch: 0 },
        }
    }

    /// The command that installs it.
    pub fn install(self) -> &'static str {
        match self {
            Flavour::Rtx => "pip install tensorrt-rtx-cu13-libs==1.7.*",
            Flavour::Enterprise => "pip install tensorrt-cu13-libs==11.4.*",
        }
    }

    /// Directory of the wheel below `site-packages`.
    fn wheel(self) -> &'static str {
        match self {
            Flavour::Rtx => "tensorrt_rtx_libs",
            Flavour::Enterprise => "tensorrt_libs",
        }
    }

    /// Suffixes of the file name, best first: wheels ship the major version only, development packages the bare name.
    fn suffixes(self) -> Vec<String> {
        let Version { major, minor, .. } = self.wanted();
        vec![format!(".{major}"), String::new(), format!(".{major}.{minor}.1"), format!(".{major}.{minor}.0")]
    }
}

/// Version of a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// Major.
    pub major: i32,
    /// Minor.
    pub minor: i32,
    /// Patch.
    pub patch: i32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// An open library of the right version.
#[derive(Debug)]
pub struct Library {
    /// The file, or the name that the system's loader resolved.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
    /// Never closed: the library leaves threads and destructors behind that run its code.
    #[cfg_attr(not(feature = "bindings"), allow(dead_code))]
    pub(crate) handle: ManuallyDrop<libloading::Library>,
}

/// Finds and opens the library. `directory` is the user's explicit choice (the directory of the library, of an SDK, or a virtual
/// environment): when given, nothing else is tried.
///
/// Without it: `EUTECTIC_TRT_LIB`, the wheel in the active virtual environment, in `.venv` of the current directory, then the
/// names known to the system's loader.
pub fn open(directory: Option<&Path>) -> Result<Library, Error> {
    let flavour = Flavour::bound();
    let mut tried = Vec::new();
    for path in candidates(flavour, directory) {
        match open_at(flavour, &path) {
            Ok(library) => return Ok(library),
            Err(Opening::Version(error)) => return Err(error),
            Err(Opening::Absent(reason)) => tried.push(reason),
        }
    }
    if tried.is_empty() {
        let place = directory.map_or("the search path".into(), |directory| directory.display().to_string());
        tried.push(format!("{place}: holds no {}*", flavour.library()));
    }
    Err(Error::LibraryMissing { flavour, tried })
}

/// Opens the ONNX parser that belongs to `library`. It is never closed, as closing it crashes what it leaves behind.
pub fn open_parser(library: &Library) -> Result<ManuallyDrop<libloading::Library>, Error> {
    let flavour = Flavour::bound();
    let directory = library.path.parent().unwrap_or(Path::new(""));
    let mut tried = Vec::new();
    for suffix in flavour.suffixes() {
        let path = directory.join(format!("{}{suffix}", flavour.parser()));
        // The parser is linked against the library, which is open already and so is found by its name.
        match unsafe { libloading::Library::new(&path) } {
            Ok(handle) => return Ok(ManuallyDrop::new(handle)),
            Err(error) => tried.push(format!("{}: {error}", path.display())),
        }
    }
    Err(Error::LibraryMissing { flavour, tried })
}

enum Opening {
    Absent(String),
    Version(Error),
}

fn open_at(flavour: Flavour, path: &Path) -> Result<Library, Opening> {
    let absent = |error: libloading::Error| Opening::Absent(format!("{}: {error}", path.display()));
    let handle = unsafe { libloading::Library::new(path) }.map_err(absent)?;
    let part = |name: &str| {
        let symbol = unsafe { handle.get::<unsafe extern "C" fn() -> i32>(name.as_bytes()) }.map_err(absent)?;
        Ok::<i32, Opening>(unsafe { symbol() })
    };
    let version = Version {
        major: part("getInferLibMajorVersion")?,
        minor: part("getInferLibMinorVersion")?,
        patch: part("getInferLibPatchVersion")?,
    };
    let wanted = flavour.wanted();
    if (version.major, version.minor) != (wanted.major, wanted.minor) {
        return Err(Opening::Version(Error::LibraryVersion { flavour, path: path.to_owned(), found: version }));
    }
    Ok(Library { path: path.to_owned(), version, handle: ManuallyDrop::new(handle) })
}

/// Paths to try, best first. A path with a directory is listed only when the file exists.
fn candidates(flavour: Flavour, directory: Option<&Path>) -> Vec<PathBuf> {
    let names: Vec<String> = flavour.suffixes().iter().map(|suffix| format!("{}{suffix}", flavour.library())).collect();
    let mut directories = Vec::new();
    let chosen = directory.map(Path::to_owned).or_else(|| std::env::var_os("EUTECTIC_TRT_LIB").map(PathBuf::from));
    let is_chosen = chosen.is_some();
    match chosen {
        // A file is accepted where a directory is asked for.
        Some(file) if file.is_file() => return vec![file],
        Some(directory) => {
            directories.push(directory.join("lib"));
            directories.push(directory.join(flavour.wheel()));
            directories.extend(wheels(flavour, &directory));
            directories.insert(0, directory);
        }
        None => {
            let environments = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from).into_iter().chain([".venv".into()]);
            environments.for_each(|environment| directories.extend(wheels(flavour, &environment)));
        }
    }
    let files = directories.iter().flat_map(|directory| names.iter().map(|name| directory.join(name)));
    let mut found: Vec<PathBuf> = files.filter(|file| file.is_file()).collect();
    if !is_chosen {
        found.extend(names.iter().map(PathBuf::from));
    }
    found
}

/// Directories of the wheel in a virtual environment, one per Python version that it has.
fn wheels(flavour: Flavour, environment: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(environment.join("lib")) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
        .map(|entry| entry.path().join("site-packages").join(flavour.wheel()))
        .filter(|directory| directory.is_dir())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_named_is_the_only_place_searched() {
        let directory = tempfile::tempdir().unwrap();
        let error = open(Some(directory.path())).unwrap_err();
        let Error::LibraryMissing { tried, .. } = &error else { panic!("{error}") };
        assert!(tried.len() == 1 && tried[0].contains("holds no"), "{tried:?}");
        assert!(error.diagnostic().help.unwrap().contains("pip install tensorrt"));
    }

    #[test]
    fn a_file_that_is_no_library_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(format!("{}.1", Flavour::Rtx.library())), "not an ELF file").unwrap();
        let tried = candidates(Flavour::Rtx, Some(directory.path()));
        assert_eq!(tried.len(), 1);
        assert!(matches!(open_at(Flavour::Rtx, &tried[0]), Err(Opening::Absent(_))));
    }

    #[test]
    fn the_wheel_of_a_virtual_environment_is_found() {
        let environment = tempfile::tempdir().unwrap();
        let wheel = environment.path().join("lib/python3.12/site-packages/tensorrt_rtx_libs");
        std::fs::create_dir_all(&wheel).unwrap();
        assert_eq!(wheels(Flavour::Rtx, environment.path()), [wheel]);
    }
}
