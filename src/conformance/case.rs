//! Cases as they lie in folders.

use super::Tolerance;
use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::ir::value::Value;
use crate::ir::{Model, Name, Tensor};
use crate::onnx::{Form, Limits, Policy, read_interface, read_value};
use std::path::{Path, PathBuf};

/// A folder with a model and data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its path below the folder that was searched, with `/` between the parts; the folder's own name for itself.
    pub name: String,
    /// Where it is.
    pub folder: PathBuf,
}

/// A value with the name of the input or output that it belongs to.
pub(super) type Named = (Name, Value<Tensor>);

/// Inputs and the outputs that they must give.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// Name of its folder.
    pub name: String,
    /// Inputs; those that are left out have defaults.
    pub inputs: Vec<(Name, Value<Tensor>)>,
    /// Outputs, in the order of the model.
    pub outputs: Vec<(Name, Value<Tensor>)>,
}

/// A case in memory.
#[derive(Clone, Debug)]
pub struct LoadedCase {
    /// The model.
    pub model: Model,
    /// What it is run on, at least one.
    pub data: Vec<DataSet>,
    /// How far results may differ.
    pub tolerance: Tolerance,
}

const MODEL: &str = "model.onnx";

/// The cases at and below `root`, by name. Links are not followed. Errors: a folder cannot be read, or there is no case.
pub fn find_cases(root: &Path) -> Result<Vec<Case>, Diagnostic> {
    let mut cases = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|error| unreadable(&folder, &error))? {
            let entry = entry.map_err(|error| unreadable(&folder, &error))?;
            let kind = entry.file_type().map_err(|error| unreadable(&folder, &error))?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && entry.file_name() == MODEL {
                cases.push(Case { name: name_of(root, &folder), folder: folder.clone() });
            }
        }
    }
    if cases.is_empty() {
        let message = format!("expected a folder with a `{MODEL}` here or below, found none");
        return Err(Diagnostic::error(Kind::Invalid, "C0151", message).in_file(root));
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

fn name_of(root: &Path, folder: &Path) -> String {
    let below = folder.strip_prefix(root).unwrap_or(folder);
    let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
    if parts.is_empty() {
        folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    } else {
        parts.join("/")
    }
}

impl LoadedCase {
    /// Reads the case in `folder`. Errors: the model or a value cannot be read, or there is no data.
    pub fn load(folder: &Path, limits: &Limits, policy: &Policy) -> Result<Self, Diagnostics> {
        let path = folder.join(MODEL);
        // The declared types say how the data is read, and a model that is refused has them too.
        let interface = read_interface(&path, limits)?;
        let (model, _) = crate::onnx::read(&path, limits, policy)?;
        let mut data = Vec::new();
        for folder in data_folders(folder)? {
            let inputs = read_values(&folder, "input", &interface.inputs, limits)?;
            let outputs = read_values(&folder, "output", &interface.outputs, limits)?;
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            data.push(DataSet { name, inputs, outputs });
        }
        if data.is_empty() {
            let message = "expected a folder `test_data_set_0` beside the model, found none";
            return Err(Diagnostic::error(Kind::Invalid, "C0152", message).in_file(folder).into());
        }
        Ok(Self { model, data, tolerance: tolerance(folder)? })
    }
}

fn data_folders(case: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(case).map_err(|error| unreadable(case, &error))? {
        let path = entry.map_err(|error| unreadable(case, &error))?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()?.strip_prefix("test_data_set_")?.parse::<u64>().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The files `<direction>_0.pb`, `<direction>_1.pb` and so on as far as there are any, each for the value of its position.
fn read_values(
    folder: &Path,
    direction: &str,
    declared: &[(Name, Form)],
    limits: &Limits,
) -> Result<Vec<Named>, Diagnostic> {
    let mut values = Vec::new();
    loop {
        let path = folder.join(format!("{direction}_{}.pb", values.len()));
        if !path.exists() {
            return Ok(values);
        }
        let Some((name, form)) = declared.get(values.len()) else {
            let message = format!("the model has {} {direction}s, and there is data for one more", declared.len());
            return Err(Diagnostic::error(Kind::Invalid, "C0152", message).in_file(path));
        };
        values.push((name.clone(), read_value(&path, *form, limits)?));
    }
}

fn tolerance(folder: &Path) -> Result<Tolerance, Diagnostic> {
    let path = folder.join("tolerance.json");
    if !path.exists() {
        return Ok(Tolerance::STANDARD);
    }
    let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
    serde_json::from_str(&text).map_err(|error| {
        let message = format!("expected {{\"rtol\": number, \"atol\": number}}: {error}");
        Diagnostic::error(Kind::Malformed, "C0153", message).in_file(&path)
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error(Kind::Io, "C0101", format!("it cannot be read: {error}")).in_file(path)
}
