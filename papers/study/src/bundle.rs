//! A study as one archive for a reader or a reviewer.

use crate::Trouble;
use crate::generate::{Generated, inputs, manifest};
use crate::schema::Study;
use serde_json::json;
use std::io::{Cursor, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// A ZIP archive of everything in the study, the manifest and a `CITATION.cff`, below a directory by the name of the study. The
/// same study gives the same bytes.
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
    if !directory.join("CITATION.cff").exists() {
        add("CITATION.cff", citation(&generated.study).as_bytes())?;
    }
    archive.finish().map(Cursor::into_inner).map_err(|error| failed(error.into()))
}

/// How the study is cited, in the Citation File Format 1.2.0. A text of JSON is one of YAML too.
fn citation(study: &Study) -> String {
    let authors: String = study.authors.iter().map(|author| format!("  - name: {}\n", json!(author))).collect();
    let (title, question) = (json!(study.title), json!(study.question));
    format!(
        "cff-version: 1.2.0\nmessage: \"If you use these results, please cite this study.\"\ntype: dataset\ntitle: {title}\n\
         abstract: {question}\ndate-released: {}\nauthors:\n{authors}references:\n  - type: software\n    title: Eutectic\n    \
         version: {}\n    authors:\n      - name: The Eutectic authors\n",
        study.date,
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_citation_has_the_title_the_date_and_every_author() {
        let text =
            include_str!("../../_template/study.toml").replace("Your name\"", "Ada \\\"A.\\\" Lovelace\", \"B\"");
        let study: Study = toml::from_str(&text).expect("a study");
        let found = citation(&study);
        assert!(found.contains("title: \"Does fusing pay on this machine?\"\n"), "{found}");
        assert!(found.contains("  - name: \"Ada \\\"A.\\\" Lovelace\"\n  - name: \"B\"\n"), "{found}");
        assert!(found.contains("date-released: 2026-01-01\n"), "{found}");
    }
}
