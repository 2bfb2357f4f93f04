//! ONNX files in and out, under stated budgets.
//!
//! For any bytes and any directory content, reading ends within its [`Limits`] with a model or a typed error; it opens
//! regular files below the granted directory only, and it never panics. Weights are slices of what was read: each large
//! one has an allocation of its own, so the file is in memory once and a weight can be freed by itself. Large weights of
//! more than [`Policy::resident`] bytes together stay in their files until somebody asks for them.
//!
//! | codes | what |
//! |---|---|
//! | `L0100`..`L0119` | the bytes of the file: format, protobuf, budgets |
//! | `L0120`..`L0129` | opening and reading |
//! | `L0130`..`L0159` | external data |
//! | `L0160`..`L0179` | writing |
//! | `L0180`..`L0189` | values in files of their own |
//! | `I0101`..`I0119` | the model: names, cycles, functions, nodes, attributes, versions, tensors |
//! | `I0120`..`I0129` | expressing the model in an operator set |
#![deny(unsafe_code)]

mod attribute;
mod call;
mod elements;
mod export;
mod external;
mod import;
mod input;
mod keep;
mod limits;
mod load;
mod map;
mod opset;
mod proto;
mod rope;
mod save;
mod scan;
mod sniff;
mod tensor;
mod value_file;
mod values;
mod wire;

#[cfg(test)]
mod tests;

pub use export::{ExportOptions, Written, carries_all, to_bytes, write};
pub use external::Policy;
pub use limits::Limits;
pub use save::{check_target, write_whole};
pub use value_file::{Form, Interface, read_interface, read_value};

use bytes::Bytes;
use eutectic_ir::Model;
use eutectic_ir::diag::{Diagnostic, Diagnostics};
use input::Input;
use load::Loaded;
use std::path::Path;

/// The version of ONNX whose schema this crate knows.
pub const ONNX: &str = "1.23";

/// Reads the model at `path`, and with it the warnings. Errors: everything that is wrong with it, with its place.
pub fn read(path: &Path, limits: &Limits, policy: &Policy) -> Result<(Model, Diagnostics), Diagnostics> {
    let in_file = |mut diagnostics: Diagnostics| {
        for diagnostic in &mut diagnostics.0 {
            diagnostic.place.file.get_or_insert_with(|| path.to_owned());
        }
        diagnostics
    };
    let input = Input::open(path, policy.mapped).map_err(|error| in_file(error.into()))?;
    match read_from(&input, limits, policy) {
        Ok((model, warnings)) => Ok((model, in_file(warnings))),
        Err(errors) => Err(in_file(errors)),
    }
}

/// Reads the model in `bytes`. External data needs a directory in `policy`.
pub fn from_bytes(bytes: Bytes, limits: &Limits, policy: &Policy) -> Result<(Model, Diagnostics), Diagnostics> {
    read_from(&Input::Memory(bytes), limits, policy)
}

fn read_from(input: &Input, limits: &Limits, policy: &Policy) -> Result<(Model, Diagnostics), Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let Loaded { mut proto, unknown, kept } = match load::load(input, limits, policy.resident, &mut diagnostics) {
        Ok(loaded) => loaded,
        Err(error) => return Err(with(diagnostics, error)),
    };
    let mut attached = external::attach(&mut proto, input.file(), policy, limits, &mut diagnostics);
    if let Input::File(file) = input
        && let Err(error) = kept.settle(&mut proto, file, &mut attached)
    {
        diagnostics.push(error);
    }
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let mut model = import::import(proto, limits, &attached.stored, &mut diagnostics);
    model.stores = attached.stores;
    model.not_carried.extend(unknown);
    diagnostics.into_result(model)
}

fn with(mut diagnostics: Diagnostics, error: Diagnostic) -> Diagnostics {
    diagnostics.push(error);
    diagnostics
}
