//! What a new study begins with: `papers/_template`.

use crate::{Trouble, sha256};
use std::path::{Path, PathBuf};

const STUDY: &str = include_str!("../../_template/study.toml");
const PAPER: &str = include_str!("../../_template/paper.typ");
const MODEL: &str = include_str!("../../_template/model.onnxtxt");

/// Makes `papers/NAME` with a study that runs as it is. Errors: the name is no plain word, or is taken (S0170).
pub fn create(papers: &Path, name: &str) -> Result<PathBuf, Trouble> {
    let is_plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let directory = papers.join(name);
    if !is_plain || directory.exists() {
        let why = if is_plain { "is taken" } else { "is no word of small letters, digits and hyphens" };
        return Err(Trouble::invalid("S0170", format!("the name `{name}` {why}"))
            .help("choose another, such as `fusion-on-my-laptop`; it becomes a directory"));
    }
    std::fs::create_dir_all(&directory).map_err(|error| Trouble::io(&directory, &error))?;
    let study = STUDY.replace("{model}.sha256", &sha256(MODEL.as_bytes()));
    for (file, text) in [("study.toml", study.as_str()), ("paper.typ", PAPER), ("model.onnxtxt", MODEL)] {
        let path = directory.join(file);
        std::fs::write(&path, text).map_err(|error| Trouble::io(&path, &error))?;
    }
    Ok(directory)
}
