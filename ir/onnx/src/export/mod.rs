//! From a model to a file.
//!
//! The file is written in the lowest operator set that expresses the graph and is not below the one the model was read
//! in. Weights of the main graph are written straight from where they are; splat and seeded ones are made while
//! writing.

mod graph;
mod names;
mod splat;
mod stream;

use crate::attribute;
use crate::opset::HIGHEST;
use crate::proto::{FunctionProto, ModelProto, OperatorSetIdProto, StringStringEntryProto};
use crate::save::{Chunk, stage};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use eutectic_ir::op::{CANONICAL_OPSET, DEFAULT_OPSET};
use eutectic_ir::{Element, Function, Graph, Model, Name, Op, Tensor, ops};
use graph::{Exporter, Lowered};
use rustc_hash::FxHashSet;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a model is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// The version of the default operator set; without one, the lowest that expresses the graph and is not below the
    /// one that the model was read in.
    pub opset: Option<u64>,
    /// True to put large weights into a file beside the model. Above 2 GiB, which protobuf cannot hold, they go there
    /// anyway.
    pub external_data: bool,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Size of the model file, in bytes.
    pub bytes: u64,
    /// The file of external data and its size in bytes, when there is one.
    pub external: Option<(PathBuf, u64)>,
    /// The version of the default operator set.
    pub opset: u64,
    /// The version of the file format.
    pub ir_version: u64,
}

/// The largest message that protobuf implementations read, in bytes.
pub(crate) const LARGEST_MESSAGE: u64 = i32::MAX as u64;

/// Writes `model` to `path`: all of it or nothing. The file may be the one that the model was read from.
///
/// Errors: what the operator set cannot express, what [`carries_all`] says, or a file that cannot be written.
pub fn write(model: &Model, path: &Path, options: &ExportOptions) -> Result<Written, Diagnostics> {
    let plan = plan(model, options)?;
    let external = options.external_data || plan.inline_size() > LARGEST_MESSAGE;
    let (opset, ir_version) = (plan.opset, plan.ir_version);
    if !external {
        let staged = stage(path, stream::inline(plan))?;
        model.intact()?;
        let bytes = staged.size;
        staged.commit()?;
        return Ok(Written { bytes, external: None, opset, ir_version });
    }
    let Some(file_name) = path.file_name().and_then(|name| name.to_str()) else {
        let message = "expected the name of a file, in UTF-8, to name its data after";
        return Err(Diagnostic::error(Kind::Path, "L0160", message).in_file(path).into());
    };
    let location = format!("{file_name}.data");
    let data_path = path.with_file_name(&location);
    let (model_chunks, data_chunks) = stream::external(plan, &location);
    let size: u64 = model_chunks.iter().map(Chunk::length).sum();
    if size > LARGEST_MESSAGE {
        let message = format!("the model takes {size} bytes without its weights, more than protobuf can hold");
        return Err(Diagnostic::error(Kind::Limit, "L0162", message).in_file(path).into());
    }
    let data = stage(&data_path, data_chunks)?;
    let staged = stage(path, model_chunks)?;
    // Weights may have come from files until now.
    model.intact()?;
    let (bytes, data_bytes) = (staged.size, data.size);
    // The data gets its name first: a reader that comes between finds the old model, whose weights we have read already.
    data.commit()?;
    staged.commit()?;
    Ok(Written { bytes, external: Some((data_path, data_bytes)), opset, ir_version })
}

/// The bytes of `model` as one file. Errors also when they are more than protobuf can hold.
pub fn to_bytes(model: &Model, options: &ExportOptions) -> Result<Vec<u8>, Diagnostics> {
    let plan = plan(model, options)?;
    let size = plan.inline_size();
    if size > LARGEST_MESSAGE {
        let message = format!("the model takes {size} bytes, more than protobuf can hold");
        let error = Diagnostic::error(Kind::Limit, "L0162", message);
        return Err(error.help("write it to a path: large weights then go to a file beside it").into());
    }
    let mut bytes = Vec::with_capacity(size as usize);
    let written: io::Result<()> = stream::inline(plan).iter().try_for_each(|chunk| chunk.write_to(&mut bytes));
    written.map_err(|error| Diagnostic::error(Kind::Io, "L0161", error.to_string()))?;
    model.intact()?;
    Ok(bytes)
}

/// A model ready to be written: messages without the weights of the main graph, and these.
struct Plan {
    proto: ModelProto,
    weights: Vec<(Name, Tensor)>,
    opset: u64,
    ir_version: u64,
}

/// Errors when the file that `model` was read from holds more than `model`, since that is lost by writing it.
pub fn carries_all(model: &Model) -> Result<(), Diagnostic> {
    if model.not_carried.is_empty() {
        return Ok(());
    }
    let message = "the file that the model was read from holds what would be lost; nothing is written";
    let error = Diagnostic::error(Kind::Invalid, "L0163", message);
    let error = error.help("give `--drop-unknown` to write the model without it");
    Err(model.not_carried.iter().fold(error, |error, line| error.note(line.as_str())))
}

fn plan(model: &Model, options: &ExportOptions) -> Result<Plan, Diagnostics> {
    carries_all(model)?;
    let functions = functions(model);
    let read_in = model.opset("").unwrap_or(DEFAULT_OPSET);
    if let Some(wanted) = options.opset
        && !(crate::opset::LOWEST..=HIGHEST).contains(&wanted)
    {
        let message = format!("opset {wanted} is not written; {} to {HIGHEST} are", crate::opset::LOWEST);
        return Err(Diagnostic::error(Kind::Unsupported, "I0120", message).into());
    }
    let mut opset = options.opset.unwrap_or(read_in.min(HIGHEST));
    // Every round raises the version, of which there are few.
    loop {
        let mut exporter = Exporter::new(opset, read_in);
        let main = exporter.lower(&model.graph, &[], read_in);
        let bodies: Vec<Lowered> = functions
            .iter()
            .map(|function| {
                let read_in = function.opsets.iter().find(|(domain, _)| domain.is_empty());
                exporter.lower_alone(&function.body, read_in.map_or(CANONICAL_OPSET, |(_, version)| *version))
            })
            .collect();
        let needed = exporter.needs.iter().map(|(needs, _)| needs.opset).max();
        match needed {
            None => {
                let diagnostics = Diagnostics(std::mem::take(&mut exporter.problems));
                if diagnostics.has_errors() {
                    return Err(diagnostics);
                }
                return Ok(assemble(model, &functions, main, bodies, exporter));
            }
            Some(needed) if options.opset.is_none() && needed > opset && needed <= HIGHEST => opset = needed,
            Some(_) => {
                let errors = exporter.needs.iter().map(|(needs, place)| {
                    let message = format!("opset {opset} cannot express it; {needs}");
                    Diagnostic::error(Kind::Unsupported, "I0121", message).within(place.as_str())
                });
                return Err(Diagnostics(errors.collect()));
            }
        }
    }
}

fn assemble(
    model: &Model,
    functions: &[Arc<Function>],
    main: Lowered,
    bodies: Vec<Lowered>,
    exporter: Exporter,
) -> Plan {
    let opset = exporter.opset;
    let mut domains = exporter.domains;
    domains.extend(functions.iter().map(|function| function.domain.clone()));
    let mut opset_import = imports(opset, &domains, &model.opsets);
    // What the file imported without use stays, since readers may look at it.
    for (domain, version) in &model.opsets {
        if !domain.is_empty() && !domains.contains(domain) {
            opset_import.push(import(domain, *version));
        }
    }
    let ir_version = ir_version(model, functions, opset, exporter.has_metadata, &exporter.elements);
    let (graph, weights) = main.into_graph();
    let proto = ModelProto {
        ir_version: Some(ir_version as i64),
        producer_name: model.producer_name.to_string(),
        producer_version: model.producer_version.to_string(),
        domain: model.domain.to_string(),
        model_version: (model.model_version != 0).then_some(model.model_version),
        doc_string: model.doc.as_bytes().to_vec().into(),
        graph: Some(graph),
        opset_import,
        metadata_props: entries(&model.metadata),
        functions: functions
            .iter()
            .zip(bodies)
            .map(|(function, body)| function_proto(function, body, opset, &model.opsets))
            .collect(),
        ..Default::default()
    };
    Plan { proto, weights, opset, ir_version }
}

fn function_proto(function: &Function, body: Lowered, opset: u64, of_model: &[(Name, u64)]) -> FunctionProto {
    let domains = body.domains.clone();
    let (input, output, node) = body.into_function();
    let mut proto = FunctionProto {
        name: function.name.to_string(),
        domain: function.domain.to_string(),
        overload: function.overload.to_string(),
        input,
        output,
        node,
        doc_string: function.doc.as_bytes().to_vec().into(),
        opset_import: imports(opset, &domains, of_model),
        metadata_props: entries(&function.metadata),
        ..Default::default()
    };
    for formal in &function.attrs {
        match &formal.default {
            None => proto.attribute.push(formal.name.to_string()),
            Some(default) => {
                let mut no_graphs = |_: &Graph| unreachable!("import refuses graphs as defaults");
                proto.attribute_proto.push(attribute::export(&formal.name, default, &mut no_graphs));
            }
        }
    }
    proto
}

/// Every function of the model: those of the file in its order, then those that rewriting brought in.
fn functions(model: &Model) -> Vec<Arc<Function>> {
    let mut found: Vec<Arc<Function>> = Vec::new();
    let mut seen: FxHashSet<(Name, Name, Name)> = FxHashSet::default();
    let mut visit = |function: &Arc<Function>, found: &mut Vec<Arc<Function>>| {
        if seen.insert((function.domain.clone(), function.name.clone(), function.overload.clone())) {
            found.push(function.clone());
        }
    };
    model.functions.iter().for_each(|function| visit(function, &mut found));
    called(&model.graph, &mut |function| visit(function, &mut found));
    // Bodies call further functions; `found` grows while it is walked.
    let mut at = 0;
    while let Some(function) = found.get(at).cloned() {
        called(&function.body, &mut |function| visit(function, &mut found));
        at += 1;
    }
    found
}

fn called(graph: &Graph, visit: &mut dyn FnMut(&Arc<Function>)) {
    for (_, node) in graph.nodes() {
        if let Op::Function(function) = &node.op {
            visit(function);
        }
        node.bodies().for_each(|body| called(body, visit));
    }
}

fn imports(opset: u64, domains: &BTreeSet<Name>, known: &[(Name, u64)]) -> Vec<OperatorSetIdProto> {
    let version = |domain: &Name| {
        let stated = known.iter().find(|(name, _)| name == domain).map(|(_, version)| *version);
        stated.or_else(|| ops::newest_version(domain)).unwrap_or(1)
    };
    let others = domains.iter().filter(|domain| !domain.is_empty());
    let others = others.map(|domain| import(domain, version(domain)));
    std::iter::once(import("", opset)).chain(others).collect()
}

fn import(domain: &str, version: u64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: domain.to_owned(), version: Some(version as i64) }
}

fn entries(entries: &[(Name, Name)]) -> Vec<StringStringEntryProto> {
    entries
        .iter()
        .map(|(key, value)| StringStringEntryProto { key: key.to_string(), value: value.to_string() })
        .collect()
}

/// The lowest version of the file format that holds what is written and is not below the one that was read.
fn ir_version(
    model: &Model,
    functions: &[Arc<Function>],
    opset: u64,
    has_metadata: bool,
    elements: &FxHashSet<Element>,
) -> u64 {
    // The format that the release of each operator set came with; from 4 on weights need not be inputs.
    let of_opset = match opset {
        ..=9 => 4,
        10 => 5,
        11 => 6,
        12..=14 => 7,
        15..=18 => 8,
        19 | 20 => 9,
        21 | 22 => 10,
        23 => 11,
        24 => 12,
        25..=27 => 13,
        _ => 14,
    };
    let mut version = model.ir_version.max(of_opset);
    if !functions.is_empty() {
        version = version.max(8);
    }
    if functions.iter().any(|function| function.attrs.iter().any(|formal| formal.default.is_some())) {
        version = version.max(9);
    }
    if has_metadata || functions.iter().any(|function| !function.overload.is_empty()) {
        version = version.max(10);
    }
    use Element::*;
    for element in elements {
        version = version.max(match element {
            Float8E4M3FN | Float8E4M3FNUZ | Float8E5M2 | Float8E5M2FNUZ => 9,
            Int4 | Uint4 => 10,
            Float4E2M1 => 11,
            Float8E8M0 => 12,
            Int2 | Uint2 => 13,
            Float6E2M3 | Float6E3M2 => 14,
            _ => 0,
        });
    }
    version
}
