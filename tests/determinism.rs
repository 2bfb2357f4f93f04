//! The program gives the same bytes in every process: nothing depends on the seeds of hash tables, on addresses or on time.

use std::path::{Path, PathBuf};
use std::process::Command;

fn optimize(model: &Path, extract: &str, output: PathBuf) -> (Vec<u8>, Vec<u8>) {
    let dump = output.with_extension("json");
    let status = Command::new(env!("CARGO_BIN_EXE_eutectic"))
        .arg("optimize")
        .arg(model)
        .args(["--quiet", "--seconds", "0", "--certify", "none", "--extract", extract, "--dump-egraph"])
        .arg(&dump)
        .arg("--output")
        .arg(&output)
        .status()
        .expect("the program starts");
    assert!(status.success(), "{status}");
    (std::fs::read(output).expect("a result"), std::fs::read(dump).expect("an e-graph"))
}

#[test]
fn two_processes_write_the_same_bytes() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("papers/models/squeezenet1_1_dy18.onnxtxt");
    let dir = tempfile::tempdir().expect("a directory");
    for extract in ["dag", "ilp"] {
        let [first, second] =
            ["first", "second"].map(|name| optimize(&model, extract, dir.path().join(format!("{name}.onnx"))));
        assert!(first.0 == second.0, "{extract}: the results differ");
        assert!(first.1 == second.1, "{extract}: the e-graphs differ");
        let dump: serde_json::Value = serde_json::from_slice(&first.1).expect("JSON");
        let nodes = dump["nodes"].as_object().expect("nodes");
        let dangling = |node: &serde_json::Value| {
            node["children"]
                .as_array()
                .expect("children")
                .iter()
                .any(|child| !nodes.contains_key(child.as_str().expect("an id")))
        };
        assert!(nodes.len() > 100 && !nodes.values().any(dangling), "{extract}: {} e-nodes", nodes.len());
    }
}
