//! Engines: how they are built, what is in them, and how they are kept.
//!
//! A plan is native code, so [`load`] opens only what [`Engine::save`] wrote beside its manifest, unchanged, for the same
//! library. The manifest is no proof against somebody who can write both files.

use crate::error::Error;
use crate::library::{Flavour, Version};
use crate::listing::EngineLayer;
use crate::log::LogLine;
use crate::parser::NetworkSummary;
use crate::shared::Parcel;
use crate::spec::NetworkSpec;
use crate::worker::{Answer, Session, Source, Worker, unshared};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// How an engine is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildOptions {
    /// Compute capabilities to build for, ten times the version: 86 is SM 8.6. Empty: what the library chooses. Only TensorRT
    /// for RTX builds for a GPU that is not there.
    pub targets: Vec<u16>,
    /// Scratch memory that a kernel may use, in bytes; `None`: all of the GPU's.
    pub workspace_bytes: Option<u64>,
    /// 0 (quick build) to 5 (search longest); `None`: the library's choice.
    pub optimization_level: Option<u8>,
    /// Whether F32 convolutions and products may round their operands to TF32.
    pub tf32: bool,
    /// One per range of extents; at least one when an input is dynamic.
    pub profiles: Vec<Profile>,
}

impl BuildOptions {
    /// The library's choices, for the one compute capability `target`; F32 stays F32.
    pub fn for_target(target: u16) -> Self {
        Self {
            targets: vec![target],
            workspace_bytes: None,
            optimization_level: None,
            tf32: false,
            profiles: Vec::new(),
        }
    }
}

/// Ranges of the dynamic inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// One entry per dynamic input.
    pub inputs: Vec<ProfileRange>,
}

/// Range of one dynamic input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileRange {
    /// Name of the input.
    pub input: String,
    /// Whether the lists are extents of the input or, for a shape tensor, its values.
    pub is_values: bool,
    /// Smallest.
    pub min: Vec<i64>,
    /// What the kernels are chosen for.
    pub opt: Vec<i64>,
    /// Largest.
    pub max: Vec<i64>,
}

/// A built engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Engine {
    /// The serialized engine.
    pub plan: Bytes,
    /// What it consists of, in order. Empty when the library listed nothing.
    pub layers: Vec<EngineLayer>,
    /// How it was built.
    pub options: BuildOptions,
    /// The library that built it.
    pub library: Version,
    /// Time of the library's build call, in milliseconds.
    pub build_milliseconds: u64,
    /// What the library warned of.
    pub warnings: Vec<LogLine>,
}

/// What stands beside a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub format: u32,
    /// SHA-256 of the plan, in hexadecimal.
    pub plan_sha256: String,
    /// Length of the plan, in bytes.
    pub plan_bytes: u64,
    /// Hash of the model, as the caller names it.
    pub model: String,
    /// How it was built; the targets are here.
    pub options: BuildOptions,
    /// Which library.
    pub flavour: Flavour,
    /// Its version.
    pub library: Version,
    /// What the engine consists of.
    pub layers: Vec<EngineLayer>,
}

const FORMAT: u32 = 1;

/// Builds `spec` in the worker process.
pub fn build(worker: &Worker, spec: &NetworkSpec, options: &BuildOptions) -> Result<(NetworkSummary, Engine), Error> {
    build_in(&mut worker.session(), spec, options)
}

/// The same in a process that is kept.
pub fn build_in(
    session: &mut Session,
    spec: &NetworkSpec,
    options: &BuildOptions,
) -> Result<(NetworkSummary, Engine), Error> {
    let Answer { summary, engine, .. } = replay(session, spec, Some(options))?;
    let engine = engine.ok_or_else(|| Error::Worker("it sent no engine".into()))?;
    Ok((summary, engine))
}

/// Replays `spec` in the worker process without building: the library checks each layer and infers all types and extents.
pub fn inspect(worker: &Worker, spec: &NetworkSpec) -> Result<NetworkSummary, Error> {
    inspect_in(&mut worker.session(), spec)
}

/// The same in a process that is kept.
pub fn inspect_in(session: &mut Session, spec: &NetworkSpec) -> Result<NetworkSummary, Error> {
    replay(session, spec, None).map(|answer| answer.summary)
}

fn replay(session: &mut Session, spec: &NetworkSpec, build: Option<&BuildOptions>) -> Result<Answer, Error> {
    spec.check()?;
    let mut parcel = Parcel::default();
    let places = spec.weights.iter().map(|weights| parcel.put(&weights.contents)).collect::<Result<_, _>>();
    session.run(Source::Spec(spec.clone(), places.map_err(unshared)?), parcel, build)
}

impl Engine {
    /// Writes the plan to `path` and its manifest to [`manifest_path`]. `model` is the hash of the model it stands for.
    pub fn save(&self, path: &Path, model: &str) -> Result<Manifest, Error> {
        let manifest = Manifest {
            format: FORMAT,
            plan_sha256: sha256(&self.plan),
            plan_bytes: self.plan.len() as u64,
            model: model.to_owned(),
            options: self.options.clone(),
            flavour: Flavour::bound(),
            library: self.library,
            layers: self.layers.clone(),
        };
        let beside = manifest_path(path);
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| io(&beside, error))?;
        std::fs::write(path, &self.plan).map_err(|error| io(path, error))?;
        std::fs::write(&beside, text).map_err(|error| io(&beside, error))?;
        Ok(manifest)
    }
}

/// Where the manifest of a plan stands: the plan's path with `.json` appended.
pub fn manifest_path(plan: &Path) -> PathBuf {
    let mut name = plan.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// Reads a plan and its manifest.
///
/// `library` is the version that is to run it, `model` the hash of the model that is asked for; `None` accepts any model.
/// Errors: `Plan` when the manifest is absent, unreadable or says otherwise.
pub fn load(path: &Path, library: Version, model: Option<&str>) -> Result<(Vec<u8>, Manifest), Error> {
    let refused = |problem: String| Error::Plan { path: path.to_owned(), problem };
    let beside = manifest_path(path);
    let text = match std::fs::read(&beside) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(refused("has no manifest, so it was not built here".into()));
        }
        Err(error) => return Err(io(&beside, error)),
    };
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| refused(format!("its manifest can't be read: {error}")))?;
    if manifest.format != FORMAT {
        return Err(refused(format!("its manifest has format {}, expected {FORMAT}", manifest.format)));
    }
    if (manifest.flavour, manifest.library) != (Flavour::bound(), library) {
        let (flavour, built_by) = (manifest.flavour, manifest.library);
        return Err(refused(format!("was built by {flavour:?} {built_by}, expected {:?} {library}", Flavour::bound())));
    }
    if let Some(model) = model
        && manifest.model != model
    {
        return Err(refused(format!("was built from model {}, expected {model}", manifest.model)));
    }
    let plan = std::fs::read(path).map_err(|error| io(path, error))?;
    if plan.len() as u64 != manifest.plan_bytes || sha256(&plan) != manifest.plan_sha256 {
        return Err(refused("differs from what its manifest describes".into()));
    }
    Ok((plan, manifest))
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn io(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::Io { path: path.to_owned(), problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: Version = Version { major: 1, minor: 7, patch: 1 };

    fn saved() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("relu.plan");
        let engine = Engine {
            plan: Bytes::from_static(b"native code"),
            layers: Vec::new(),
            options: BuildOptions::for_target(86),
            library: LIBRARY,
            build_milliseconds: 3,
            warnings: Vec::new(),
        };
        engine.save(&path, "abc").unwrap();
        (directory, path)
    }

    fn problem(result: Result<(Vec<u8>, Manifest), Error>) -> String {
        match result.unwrap_err() {
            Error::Plan { problem, .. } => problem,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_plan_comes_back_as_it_was_saved() {
        let (_directory, path) = saved();
        let (plan, manifest) = load(&path, LIBRARY, Some("abc")).unwrap();
        assert_eq!(
            (plan.as_slice(), manifest.options.targets.as_slice()),
            (b"native code".as_slice(), [86].as_slice())
        );
    }

    #[test]
    fn a_plan_without_a_manifest_is_refused() {
        let (_directory, path) = saved();
        std::fs::remove_file(manifest_path(&path)).unwrap();
        assert_eq!(problem(load(&path, LIBRARY, None)), "has no manifest, so it was not built here");
    }

    #[test]
    fn a_plan_that_was_changed_is_refused() {
        let (_directory, path) = saved();
        std::fs::write(&path, "native CODE").unwrap();
        assert_eq!(problem(load(&path, LIBRARY, None)), "differs from what its manifest describes");
    }

    #[test]
    fn a_plan_of_another_model_is_refused() {
        let (_directory, path) = saved();
        assert_eq!(problem(load(&path, LIBRARY, Some("abd"))), "was built from model abc, expected abd");
    }

    #[test]
    fn a_plan_of_another_library_is_refused() {
        let (_directory, path) = saved();
        let newer = Version { minor: 8, ..LIBRARY };
        assert_eq!(problem(load(&path, newer, None)), "was built by Rtx 1.7.1, expected Rtx 1.8.1");
    }
}
