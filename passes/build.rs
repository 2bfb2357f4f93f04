//! Lists the rule and fusion files, so that adding one needs no Rust.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let mut table = String::new();
    for (constant, folder, suffix) in [("RULE_FILES", "rules", ".rules"), ("FUSION_FILES", "fusions", ".onnxtxt")] {
        let path = Path::new(&root).join(folder);
        println!("cargo::rerun-if-changed={}", path.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(&path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(suffix) {
                names.push(name);
            }
        }
        names.sort();
        writeln!(table, "/// The files of `passes/{folder}`: path and contents.").map_err(io::Error::other)?;
        writeln!(table, "pub static {constant}: &[(&str, &str)] = &[").map_err(io::Error::other)?;
        for name in names {
            let file = path.join(&name);
            writeln!(table, "    (\"passes/{folder}/{name}\", include_str!({:?})),", file.display().to_string())
                .map_err(io::Error::other)?;
        }
        writeln!(table, "];").map_err(io::Error::other)?;
    }
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("files.rs"), table)
}
