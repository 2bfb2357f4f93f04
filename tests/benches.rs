//! The tables of measured networks are what their samples say.

use crate::common::root;
use std::path::Path;
use std::process::Command;

#[test]
fn tables_of_networks_on_a_gpu_follow_from_their_samples() {
    for name in ["cuda-h100-networks", "cuda-h200"] {
        follows(&root().join("benches/results").join(name));
    }
}

fn follows(committed: &Path) {
    let scratch = tempfile::tempdir().expect("a directory");
    for entry in committed.read_dir().expect("results").flatten() {
        std::fs::copy(entry.path(), scratch.path().join(entry.file_name())).expect("copied");
    }
    let mut program = Command::new("python3");
    program.arg(root().join("benches/cuda_networks.py")).arg("--table").arg("--into").arg(scratch.path());
    assert!(program.status().expect("python3 starts").success());
    let page = |directory: &Path| std::fs::read_to_string(directory.join("README.md")).expect("a page");
    assert_eq!(page(scratch.path()), page(committed), "write it anew: benches/cuda_networks.py --table");
}
