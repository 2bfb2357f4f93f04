//! Every diagnostic code has a text, and every text is of a code that arises.

use eutectic::codes;
use std::collections::BTreeSet;
use std::path::Path;

/// Codes in the sources below `dir`, tests apart.
fn collect(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", "tests", ".git", ".venv"].contains(&name.as_str()) {
                collect(&path, found);
            }
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).expect("readable");
            // What follows is tests by the style of the project.
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for quoted in text.split('"') {
                let is_code = quoted.len() == 5
                    && quoted.starts_with(|c: char| c.is_ascii_uppercase())
                    && quoted[1..].bytes().all(|byte| byte.is_ascii_digit());
                if is_code {
                    found.insert(quoted.to_owned());
                }
            }
        }
    }
}

#[test]
fn every_code_that_arises_has_a_text_and_no_other_has() {
    let mut arising = BTreeSet::new();
    for dir in ["ir", "passes", "backends", "papers", "src"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir), &mut arising);
    }
    let explained: BTreeSet<String> = codes::all().map(|code| code.code.to_owned()).collect();
    assert!(arising.len() > 100, "{} codes", arising.len());
    assert_eq!(arising, explained);
}

#[test]
fn a_code_has_its_stage_and_its_text() {
    let code = codes::lookup("L0412").expect("it is known");
    assert!(code.text.contains("git lfs pull"), "{}", code.text);
    assert_eq!(codes::stage(code.code), "loading and saving files");
    assert_eq!(codes::lookup("L9999"), None);
}
