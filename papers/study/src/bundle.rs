//! A study as one archive for a reader or a reviewer.

use crate::generate::{Generated, inputs, manifest};
use crate::{Trouble, read_text};
use std::io::{Cursor, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// A ZIP archive of everything in the study, `CITATION.cff` of the project and the manifest, below a directory by the name of
/// the study. The same study gives the same bytes.
pub fn bundle(directory: &Path, generated: &Generated) -> Result<Vec<u8>, Trouble> {
    let slug = directory.file_name().map_or("study".into(), |name| name.to_string_lossy().into_owned());
    let failed = |error: std::io::Error| Trouble::io(directory, &error);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    // A date of its own for every archive would change its bytes.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default());
    let mut add = |name: &str, bytes: &[u8]| -> Result<(), Trouble> {
        archive.start_file(format!("{slug}/{name}"), options).map_err(|error| failed(error.into()))?;
        archive.write_all(bytes).map_err(failed)
    };
    for path in inputs(directory)? {
        let bytes = std::fs::read(&path).map_err(|error| Trouble::io(&path, &error))?;
        add(&path.strip_prefix(directory).unwrap_or(&path).to_string_lossy().replace('\\', "/"), &bytes)?;
    }
    for (name, bytes) in &generated.files {
        add(&format!("out/{name}"), bytes)?;
    }
    if !generated.files.contains_key("paper.pdf")
        && let Ok(bytes) = std::fs::read(directory.join("out/paper.pdf"))
    {
        add("out/paper.pdf", &bytes)?;
    }
    add("out/MANIFEST.sha256", manifest(directory, generated)?.as_bytes())?;
    let citation = directory.ancestors().map(|directory| directory.join("CITATION.cff")).find(|path| path.exists());
    if let Some(citation) = citation {
        add("CITATION.cff", read_text(&citation)?.as_bytes())?;
    }
    archive.finish().map(Cursor::into_inner).map_err(|error| failed(error.into()))
}
