//! From decoded messages to a model, checked.
//!
//! All problems of a file are reported at once, each with its place. What the IR does not hold is counted and said.

mod control;
mod functions;
mod graph;
mod node;
mod order;

use crate::limits::Limits;
use crate::opset::{HIGHEST, LOWEST};
use crate::proto::{ModelProto, OperatorSetIdProto, StringStringEntryProto};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind, Severity};
use eutectic_ir::stored::Stored;
use eutectic_ir::{Function, Model, Name};
use rustc_hash::{FxHashMap, FxHashSet};
use smol_str::SmolStr;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The newest version of the file format that is known.
const NEWEST_IR_VERSION: i64 = 14;

/// Builds the model, or reports why not.
pub(crate) fn import(
    proto: ModelProto,
    limits: &Limits,
    stored: &[Arc<Stored>],
    diagnostics: &mut Diagnostics,
) -> Model {
    let mut importer = Importer {
        limits,
        stored,
        diagnostics,
        functions: FxHashMap::default(),
        ir_version: proto.ir_version.unwrap_or(0),
        outer: Vec::new(),
        dropped: BTreeMap::new(),
        lost: BTreeMap::new(),
        unknown: BTreeMap::new(),
        n_hinted: 0,
    };
    importer.model(proto)
}

/// Domain, name and overload of an operator.
type Key = (Name, Name, Name);

struct Importer<'a> {
    limits: &'a Limits,
    /// Ranges of data files that tensors may name.
    stored: &'a [Arc<Stored>],
    diagnostics: &'a mut Diagnostics,
    functions: FxHashMap<Key, Arc<Function>>,
    ir_version: i64,
    /// The names that each enclosing graph defines, outermost first.
    outer: Vec<FxHashSet<String>>,
    /// Words for people that the IR does not hold, and how often they occurred.
    dropped: BTreeMap<&'static str, u64>,
    /// What the IR does not hold although programs act on it, and how often it occurred.
    lost: BTreeMap<&'static str, u64>,
    /// Operators that the table does not have: calls and the first of them.
    unknown: BTreeMap<(Name, Name), (u64, String)>,
    /// Spelling is compared for the first few unknown names only, since it looks at every name.
    n_hinted: u32,
}

/// What holds for a whole graph and the graphs inside it.
#[derive(Clone, Copy)]
struct Scope<'a> {
    /// Version of the default operator set, when it is imported.
    opset: Option<u64>,
    /// Every imported operator set.
    opsets: &'a [(Name, u64)],
    in_function: bool,
    /// True for the graph that is run, whose inputs and outputs must have types.
    is_main: bool,
}

impl Importer<'_> {
    fn model(&mut self, proto: ModelProto) -> Model {
        self.check_ir_version();
        let opsets = self.opsets(&proto.opset_import);
        let opset = self.default_opset(&opsets);
        self.lost("training informations", proto.training_info.len());
        self.lost("device configurations", proto.configuration.len());
        let metadata = entries(proto.metadata_props);
        self.check_metadata(&metadata);
        let functions = self.functions(proto.functions, proto.graph.as_ref());
        let mut model = Model {
            functions,
            opsets: opsets.clone(),
            ir_version: u64::try_from(self.ir_version).unwrap_or(0),
            producer_name: proto.producer_name.into(),
            producer_version: proto.producer_version.into(),
            domain: proto.domain.into(),
            model_version: proto.model_version.unwrap_or(0),
            doc: mended(&proto.doc_string),
            metadata,
            ..Model::default()
        };
        match proto.graph {
            Some(graph) => {
                let scope = Scope { opset, opsets: &opsets, in_function: false, is_main: true };
                let name = graph.name.clone();
                let from = self.diagnostics.0.len();
                model.graph = self.graph(scope, graph, None);
                self.locate(from, &format!("graph `{name}`"));
            }
            None => self.error(Kind::Invalid, "I0109", "the file has no graph"),
        }
        self.report();
        model.not_carried = self.lost.iter().map(|(what, n)| format!("{n} {what}").into()).collect();
        model
    }

    fn check_ir_version(&mut self) {
        const ABSURD: i64 = 1000;
        if self.ir_version <= 0 || self.ir_version > ABSURD {
            let message = format!("expected a version of the file format (`ir_version`), found {}", self.ir_version);
            self.error(Kind::Invalid, "I0109", message);
        } else if self.ir_version > NEWEST_IR_VERSION {
            let message = format!("the file format {} is newer than {NEWEST_IR_VERSION}", self.ir_version);
            self.diagnostics.push(Diagnostic::warning("I0109", message));
        }
    }

    /// The imported operator sets, the default domain spelled as the empty string.
    fn opsets(&mut self, imports: &[OperatorSetIdProto]) -> Vec<(Name, u64)> {
        const ABSURD: i64 = 1 << 31;
        // Before version 3 of the file format there was one operator set, which no file named.
        const NAMED_SINCE: i64 = 3;
        let mut opsets: Vec<(Name, u64)> = Vec::new();
        if imports.is_empty() && (1..NAMED_SINCE).contains(&self.ir_version) {
            opsets.push((Name::default(), LOWEST));
        }
        for import in imports {
            let domain = normal_domain(&import.domain);
            let version = import.version.unwrap_or(0);
            if version <= 0 || version > ABSURD {
                let message = format!("operator set `{domain}` is imported in version {version}");
                self.error(Kind::Invalid, "I0109", message);
                continue;
            }
            match opsets.iter().find(|(known, _)| *known == domain) {
                Some((_, known)) if *known != version as u64 => {
                    let message = format!("operator set `{domain}` is imported in versions {known} and {version}");
                    self.error(Kind::Invalid, "I0109", message);
                }
                Some(_) => {}
                None => opsets.push((domain, version as u64)),
            }
        }
        opsets
    }

    fn default_opset(&mut self, opsets: &[(Name, u64)]) -> Option<u64> {
        let version = opsets.iter().find(|(domain, _)| domain.is_empty()).map(|(_, version)| *version);
        match version {
            None if opsets.is_empty() => self.error(Kind::Invalid, "I0109", "the file imports no operator set"),
            Some(version) if version > HIGHEST => {
                let message = format!("opset {version} is newer than {HIGHEST}; it is read as {HIGHEST}");
                self.diagnostics.push(Diagnostic::warning("I0109", message));
                return Some(HIGHEST);
            }
            _ => {}
        }
        version
    }

    fn check_metadata(&mut self, metadata: &[(Name, Name)]) {
        let mut seen = FxHashSet::default();
        for (key, _) in metadata {
            if !seen.insert(key) {
                let message = format!("the metadata has the key `{key}` twice");
                self.diagnostics.push(Diagnostic::warning("I0114", message));
            }
        }
    }

    fn report(&mut self) {
        if !self.dropped.is_empty() {
            let kinds = self.dropped.iter().map(|(what, n)| format!("{n} {what}"));
            let message = format!("dropped from the file: {}", kinds.collect::<Vec<_>>().join(", "));
            let note = Diagnostic { severity: Severity::Note, ..Diagnostic::warning("I0114", message) };
            self.diagnostics.push(note);
        }
        if !self.lost.is_empty() {
            let kinds = self.lost.iter().map(|(what, n)| format!("{n} {what}"));
            let message =
                format!("the file holds what a model here does not: {}", kinds.collect::<Vec<_>>().join(", "));
            self.diagnostics.push(Diagnostic::warning("I0119", message));
        }
        if !self.unknown.is_empty() {
            let message =
                format!("{} operators of this model are unknown; they are carried as they are", self.unknown.len());
            let mut note = Diagnostic { severity: Severity::Note, ..Diagnostic::warning("I0116", message) };
            for ((domain, name), (n_calls, first)) in &self.unknown {
                let dot = if domain.is_empty() { "" } else { "." };
                note = note.note(format!("{domain}{dot}{name} ({n_calls} calls, first {first})"));
            }
            self.diagnostics.push(note);
        }
    }

    fn error(&mut self, kind: Kind, code: &'static str, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(kind, code, message));
    }

    /// Adds an outer part to the place of every diagnostic since `from`.
    fn locate(&mut self, from: usize, part: &str) {
        for diagnostic in &mut self.diagnostics.0[from..] {
            diagnostic.place.within.insert(0, SmolStr::from(part));
        }
    }

    fn dropped(&mut self, what: &'static str, n: usize) {
        if n > 0 {
            *self.dropped.entry(what).or_insert(0) += n as u64;
        }
    }

    fn lost(&mut self, what: &'static str, n: usize) {
        if n > 0 {
            *self.lost.entry(what).or_insert(0) += n as u64;
        }
    }
}

/// The empty string for every spelling of the default domain.
fn normal_domain(domain: &str) -> Name {
    if domain == "ai.onnx" { Name::default() } else { domain.into() }
}

fn entries(props: Vec<StringStringEntryProto>) -> Vec<(Name, Name)> {
    props.into_iter().map(|entry| (entry.key.into(), entry.value.into())).collect()
}

fn mended(doc: &[u8]) -> Name {
    String::from_utf8_lossy(doc).into()
}
