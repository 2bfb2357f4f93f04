//! `paper.pdf`, set by typst from `paper.typ`.
//!
//! What the prose may read is the study's own `refs.bib`, what was generated in this run, and `study.typ` of this crate: no
//! other file, font, date or network, so the same sources give the same bytes on every machine.

use crate::table::Table;
use crate::{Trouble, read_text};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use typst::diag::{FileError, FileResult, SourceDiagnostic, Warned};
use typst::foundations::{Bytes, Datetime, Duration};
use typst::syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot};
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;
use typst::{Library, LibraryExt, World, WorldExt};
use typst_kit::fonts::FontStore;
use typst_layout::PagedDocument;
use typst_pdf::PdfOptions;

/// What the prose is written with: functions that read numbers, figures and tables of the run.
const PRELUDE: &str = include_str!("../study.typ");

/// Sets the paper of the study in `directory` with the generated `files` and `tables`.
///
/// Errors: `paper.typ` is missing; it cannot be set (S0150), with the line.
pub(crate) fn set(directory: &Path, files: &BTreeMap<String, Vec<u8>>, tables: &[Table]) -> Result<Vec<u8>, Trouble> {
    let path = directory.join("paper.typ");
    let mut texts: BTreeMap<String, Bytes> = BTreeMap::new();
    texts.insert("/paper.typ".to_owned(), Bytes::from_string(read_text(&path)?));
    texts.insert("/study.typ".to_owned(), Bytes::from_string(PRELUDE));
    let references = directory.join("refs.bib");
    if references.exists() {
        texts.insert("/refs.bib".to_owned(), Bytes::from_string(read_text(&references)?));
    }
    let rows: Map<_, _> = tables.iter().map(|table| (table.name.clone(), table.json())).collect();
    texts.insert("/tables.json".to_owned(), Bytes::from_string(Value::from(rows).to_string()));
    for (name, bytes) in files {
        texts.insert(format!("/out/{name}"), Bytes::new(bytes.clone()));
    }
    let world = Desk::new(texts)
        .ok_or_else(|| Trouble::invalid("S0150", "a generated file has no valid name").in_file(&path))?;
    let Warned { output, .. } = typst::compile::<PagedDocument>(&world);
    let document = output.map_err(|problems| world.trouble(&path, &problems))?;
    // Without a time stamp; what identifies the document follows from its title and authors.
    typst_pdf::pdf(&document, &PdfOptions::default()).map_err(|problems| world.trouble(&path, &problems))
}

/// Everything that the typesetter can see.
struct Desk {
    library: LazyHash<Library>,
    fonts: FontStore,
    main: FileId,
    files: BTreeMap<String, Bytes>,
}

impl Desk {
    fn new(files: BTreeMap<String, Bytes>) -> Option<Self> {
        let mut fonts = FontStore::new();
        fonts.extend(typst_kit::fonts::embedded());
        let main = RootedPath::new(VirtualRoot::Project, VirtualPath::new("/paper.typ").ok()?).intern();
        Some(Self { library: LazyHash::new(Library::builder().build()), fonts, main, files })
    }

    fn trouble(&self, path: &Path, problems: &[SourceDiagnostic]) -> Trouble {
        let place = |problem: &SourceDiagnostic| {
            let source = self.source(self.main).ok()?;
            let range = self.range(problem.span)?;
            Some(source.lines().byte_to_line(range.start)? + 1)
        };
        let diagnostic = |problem: &SourceDiagnostic| {
            let line = place(problem).map_or(String::new(), |line| format!("line {line}: "));
            let found = Diagnostic::error(Kind::Invalid, "S0150", format!("{line}{}", problem.message)).in_file(path);
            problem.hints.iter().fold(found, |found, hint| found.note(hint.v.to_string()))
        };
        Trouble(Diagnostics(problems.iter().map(diagnostic).collect()))
    }
}

impl World for Desk {
    fn library(&self) -> &LazyHash<Library> {
        &self.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        self.fonts.book()
    }

    fn main(&self) -> FileId {
        self.main
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        let bytes = self.file(id)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| FileError::InvalidUtf8)?;
        Ok(Source::new(id, text.to_owned()))
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        let path = id.get();
        let name = path.vpath().get_with_slash();
        let found = self.files.get(name).filter(|_| *path.root() == VirtualRoot::Project);
        found.cloned().ok_or_else(|| FileError::NotFound(name.into()))
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.fonts.font(index)
    }

    fn today(&self, _: Option<Duration>) -> Option<Datetime> {
        // A paper has the date of its measurement; a clock would change its bytes.
        None
    }
}
