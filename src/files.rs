//! Models and tensors in files.

use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::ir::tensor::Tensor;
use crate::ir::{Element, Model, text};
use crate::onnx::{ExportOptions, Limits, Policy};
use npyz::WriterBuilder;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read};
use std::path::{Component, Path, PathBuf};

/// The name of standard input, and of standard output where the program writes a model: both may be pipes.
pub const STANDARD: &str = "-";

/// Reads a model: ONNX's textual syntax when the name ends in `.onnxtxt`, the binary format otherwise; either for [`STANDARD`].
///
/// With `untrusted`, external data must not be reachable by hard links from elsewhere. Errors: everything that is wrong.
pub fn load(path: &Path, limits: &Limits, untrusted: bool) -> Result<(Model, Diagnostics), Diagnostics> {
    load_under(path, limits, &Policy { untrusted, ..Policy::interactive() })
}

/// The same under any policy of where a model's external data may lie and how files are read.
pub fn load_under(path: &Path, limits: &Limits, policy: &Policy) -> Result<(Model, Diagnostics), Diagnostics> {
    if path == Path::new(STANDARD) {
        return read_standard_input(limits, policy);
    }
    if is_text(path) {
        return parsed(&read_text(path)?, path);
    }
    crate::onnx::read(path, limits, policy)
}

/// Standard input, in the form that its first bytes show: no protobuf of ONNX begins with a bracket, as the textual syntax does.
fn read_standard_input(limits: &Limits, policy: &Policy) -> Result<(Model, Diagnostics), Diagnostics> {
    let name = Path::new("<standard input>");
    let mut bytes = Vec::new();
    // A byte more than the budget shows that it is exceeded.
    let read = std::io::stdin().lock().take(limits.model_bytes.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(name, &error))?;
    match std::str::from_utf8(&bytes) {
        Ok(source) if source.trim_start().starts_with('<') => parsed(source, name),
        _ => crate::onnx::from_bytes(bytes.into(), limits, policy).map_err(|problems| in_file(problems, name)),
    }
}

fn parsed(source: &str, name: &Path) -> Result<(Model, Diagnostics), Diagnostics> {
    text::parse_model(source).map_err(|problems| in_file(problems, name))
}

fn in_file(problems: Diagnostics, name: &Path) -> Diagnostics {
    Diagnostics(problems.into_iter().map(|problem| problem.in_file(name)).collect())
}

/// Whether a model of this name is in ONNX's textual syntax.
fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "onnxtxt")
}

/// What [`save`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Size of the model file, in bytes.
    pub bytes: u64,
    /// The file of large weights beside it and its size in bytes, when there is one.
    pub external: Option<(PathBuf, u64)>,
}

/// Writes a model, in the form that its name asks for as in [`load`].
///
/// Errors: what the target operator set cannot express, what of the model's own file would be lost, or a file that cannot
/// be written; then nothing is left behind.
pub fn save(model: &Model, path: &Path, options: &ExportOptions) -> Result<Saved, Diagnostics> {
    crate::onnx::carries_all(model)?;
    if is_text(path) {
        let text = text::print_model(model, &PRINTED);
        model.intact()?;
        let bytes = text.len() as u64;
        crate::onnx::write_whole(path, text)?;
        return Ok(Saved { bytes, external: None });
    }
    let written = crate::onnx::write(model, path, options)?;
    Ok(Saved { bytes: written.bytes, external: written.external })
}

/// Refuses an output that somebody else may have prepared: one reached through `..` or a symbolic link.
pub fn check_output(path: &Path) -> Result<(), Diagnostic> {
    let refused = |why: &str| {
        let message = format!("the output leads through {why}, which `--untrusted` forbids");
        Diagnostic::error(Kind::Path, "L0164", message).in_file(path)
    };
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(refused("`..`"));
    }
    for part in path.ancestors() {
        if std::fs::symlink_metadata(part).is_ok_and(|found| found.is_symlink()) {
            return Err(refused(&format!("the symbolic link `{}`", part.display())));
        }
    }
    Ok(())
}

/// Reads a tensor from a NumPy file (`.npy`). Errors: not such a file, Fortran order, or an element type we do not know.
pub fn load_npy(path: &Path) -> Result<Tensor, Diagnostic> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let array = npyz::NpyFile::new(BufReader::new(file))
        .map_err(|error| not_numpy(path, format!("not a NumPy array: {error}")))?;
    array_of(array, path)
}

/// Reads the arrays of a NumPy archive (`.npz`), by name. Errors: as for [`load_npy`].
pub fn load_npz(path: &Path) -> Result<BTreeMap<String, Tensor>, Diagnostic> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let wrong = |error: &dyn std::fmt::Display| not_numpy(path, format!("not a NumPy archive: {error}"));
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| wrong(&error))?;
    let mut arrays = BTreeMap::new();
    for at in 0..archive.len() {
        let member = archive.by_index(at).map_err(|error| wrong(&error))?;
        let name = member.name().map_err(|error| wrong(&error))?.into_owned();
        let name = name.strip_suffix(".npy").map(ToOwned::to_owned).unwrap_or(name);
        let array = npyz::NpyFile::new(member).map_err(|error| wrong(&error))?;
        arrays.insert(name, array_of(array, path)?);
    }
    Ok(arrays)
}

fn not_numpy(path: &Path, why: String) -> Diagnostic {
    Diagnostic::error(Kind::Malformed, "C0110", why).in_file(path)
}

fn array_of<R: std::io::Read>(array: npyz::NpyFile<R>, path: &Path) -> Result<Tensor, Diagnostic> {
    let wrong = |why: String| not_numpy(path, why);
    if array.order() == npyz::Order::Fortran {
        return Err(wrong("the array is in Fortran order".into()).help("save `numpy.ascontiguousarray (a)`"));
    }
    let shape: Vec<usize> = array.shape().iter().map(|&dim| dim as usize).collect();
    let npyz::DType::Plain(ty) = array.dtype() else {
        return Err(wrong("structured arrays are not tensors".into()));
    };
    let name = ty.to_string();
    macro_rules! read {
        ($rust:ty) => {{
            let values = array.into_vec::<$rust>().map_err(|error| wrong(error.to_string()))?;
            Tensor::from_vec(&shape, values)
        }};
    }
    let tensor = match name.trim_start_matches(['<', '|', '=']) {
        "f4" => read!(f32),
        "f8" => read!(f64),
        "i1" => read!(i8),
        "i2" => read!(i16),
        "i4" => read!(i32),
        "i8" => read!(i64),
        "u1" => read!(u8),
        "u2" => read!(u16),
        "u4" => read!(u32),
        "u8" => read!(u64),
        "b1" => {
            let values = array.into_vec::<bool>().map_err(|error| wrong(error.to_string()))?;
            Tensor::from_bools(&shape, &values)
        }
        other => return Err(wrong(format!("elements of type `{other}` are not read"))),
    };
    tensor.map_err(|error| wrong(error.to_string()))
}

/// Writes a tensor as a NumPy file (`.npy`). Errors: the file cannot be written, or NumPy has no such element type.
pub fn save_npy(path: &Path, tensor: &Tensor) -> Result<(), Diagnostic> {
    let failed = |error: std::io::Error| {
        Diagnostic::error(Kind::Io, "C0111", format!("the tensor is not written: {error}")).in_file(path)
    };
    let shape: Vec<u64> = tensor.shape().iter().map(|&dim| dim as u64).collect();
    let file = BufWriter::new(File::create(path).map_err(failed)?);
    macro_rules! write {
        ($rust:ty) => {{
            let values = tensor.view::<$rust>().unwrap_or_default();
            let mut writer =
                npyz::WriteOptions::new().default_dtype().shape(&shape).writer(file).begin_nd().map_err(failed)?;
            writer.extend(values.iter().copied()).map_err(failed)?;
            writer.finish().map_err(failed)
        }};
    }
    match tensor.element() {
        Element::Float => write!(f32),
        Element::Double => write!(f64),
        Element::Int8 => write!(i8),
        Element::Int16 => write!(i16),
        Element::Int32 => write!(i32),
        Element::Int64 => write!(i64),
        Element::Uint8 => write!(u8),
        Element::Uint16 => write!(u16),
        Element::Uint32 => write!(u32),
        Element::Uint64 => write!(u64),
        Element::Bool => {
            let mut writer =
                npyz::WriteOptions::new().default_dtype().shape(&shape).writer(file).begin_nd().map_err(failed)?;
            writer.extend(tensor.bytes().iter().map(|&byte| byte != 0)).map_err(failed)?;
            writer.finish().map_err(failed)
        }
        other => Err(Diagnostic::error(Kind::Unsupported, "C0112", format!("NumPy has no element type {other}"))
            .in_file(path)
            .help("cast the output to float32 in the model")),
    }
}

/// Models in files keep every bit of their weights.
const PRINTED: text::PrintOptions = text::PrintOptions { weights: text::Weights::Full, materialize: 0, types: false };

/// The text in a file. Errors: it cannot be read, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Diagnostic> {
    std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

/// Writes a report. Errors: the file cannot be written.
pub fn write_text(path: &Path, text: impl AsRef<[u8]>) -> Result<(), Diagnostic> {
    std::fs::write(path, text).map_err(|error| unwritten(path, &error))
}

/// Makes a directory and those above it. Errors: it cannot be made.
pub fn make_directory(path: &Path) -> Result<(), Diagnostic> {
    std::fs::create_dir_all(path).map_err(|error| unwritten(path, &error))
}

/// The diagnostic of a file or directory that cannot be written.
pub fn unwritten(path: impl Into<PathBuf>, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error(Kind::Io, "C0102", format!("it cannot be written: {error}")).in_file(path)
}

/// The diagnostic of a file that cannot be read.
pub fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error(Kind::Io, "C0101", format!("the file cannot be read: {error}")).in_file(path)
}
