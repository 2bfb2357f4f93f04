//! Everything committed below `papers/*/out` follows from the samples, byte by byte. Without the feature `pdf` all but the
//! typeset paper is compared.

use crate::{Case, codes};
use eutectic_study::{Machines, bundle, generate, index, lint, manifest, write};
use std::fs;
use std::path::{Path, PathBuf};

fn papers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn studies() -> Vec<PathBuf> {
    let entries = fs::read_dir(papers()).expect("papers").flatten().map(|entry| entry.path());
    let is_study = |path: &PathBuf| path.join("study.toml").exists() && !path.ends_with("_template");
    let mut found: Vec<PathBuf> = entries.filter(is_study).collect();
    found.sort();
    found
}

#[test]
fn every_study_is_what_its_samples_give() {
    let mut differ = Vec::new();
    let studies = studies();
    assert!(!studies.is_empty());
    for directory in studies {
        let generated = generate(&directory, &directory, Machines::One).unwrap_or_else(|trouble| panic!("{trouble}"));
        let mut files = generated.files.clone();
        let sums = manifest(&directory, &generated).unwrap_or_else(|trouble| panic!("{trouble}"));
        files.insert("MANIFEST.sha256".to_owned(), sums.into_bytes());
        for (name, bytes) in files {
            let path = directory.join("out").join(&name);
            if fs::read(&path).ok().as_ref() != Some(&bytes) {
                differ.push(path.display().to_string());
            }
        }
        for finding in lint::lint(&directory, &generated).expect("readable") {
            differ.push(format!("{}: {}", directory.display(), finding.message));
        }
    }
    assert!(differ.is_empty(), "`eutectic study render` writes them anew:\n{}", differ.join("\n"));
}

#[test]
fn the_page_of_all_studies_is_up_to_date() {
    let page = index::page(&papers()).unwrap_or_else(|trouble| panic!("{trouble}"));
    assert_eq!(fs::read_to_string(papers().join("README.md")).expect("a page"), page);
}

#[test]
fn generating_twice_gives_the_same_bytes() {
    let case = Case::new();
    let generate = || case.generate().unwrap_or_else(|trouble| panic!("{trouble}"));
    assert_eq!(generate().files, generate().files);
    let pack = || bundle::bundle(case.path(), &generate()).unwrap_or_else(|trouble| panic!("{trouble}"));
    assert_eq!(pack(), pack());
}

#[test]
fn numbers_that_no_longer_follow_are_refused() {
    let case = Case::new();
    let generated = case.generate().unwrap_or_else(|trouble| panic!("{trouble}"));
    write(case.path(), &generated).unwrap_or_else(|trouble| panic!("{trouble}"));
    assert!(write(case.path(), &generated).unwrap_or_else(|trouble| panic!("{trouble}")).is_empty());
    case.put("expected.json", "{\"compare/time/groups/a/ratios/new\": {\"value\": 1.7, \"tolerance\": 0.01}}");
    assert_eq!(codes(write(case.path(), &generated)), ["S0160"]);
}

#[cfg(feature = "pdf")]
#[test]
fn prose_that_cannot_be_set_is_an_error_with_its_line() {
    let case = Case::new();
    case.edit("paper.typ", "= Result", "= Result\n#num(\"nothing/here\")");
    let trouble = case.generate().expect_err("no such number");
    assert_eq!(trouble.0.0[0].code, "S0150");
    assert!(trouble.to_string().contains("paper.typ"), "{trouble}");
}
