//! The architecture, as tests: each row of the "never" table of ARCHITECTURE.md.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the workspace below `dir`, with its path from the root and its text.
fn sources(dir: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if !["target", ".git", ".venv"].contains(&name.to_string_lossy().as_ref()) {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(&root().join(dir), &mut files);
    files.sort();
    assert!(!files.is_empty(), "no sources below `{dir}`");
    let read = |path: PathBuf| {
        let shown = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        (shown, fs::read_to_string(&path).expect("readable"))
    };
    files.into_iter().map(read).collect()
}

/// Lines of code: comments and blank lines left out.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(|(_, line)| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with("//")
    })
}

/// Names under `[dependencies]` of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(manifest)).expect("a manifest");
    let section = text.split("\n[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    section
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_string)
        .collect()
}

fn forbid(manifest: &str, never: &[&str]) {
    let found = dependencies(manifest);
    for name in never {
        assert!(!found.iter().any(|dependency| dependency == name), "{manifest} must not depend on {name}");
    }
}

#[test]
fn the_ir_depends_on_no_format_engine_or_device() {
    let ours = ["eutectic-onnx", "eutectic-passes", "eutectic-backend", "eutectic-cpu", "eutectic-tensorrt"];
    forbid("ir/Cargo.toml", &["prost", "egg", "serde", "serde_json", "clap", "cudarc", "trtx-sys"]);
    forbid("ir/Cargo.toml", &ours);
}

#[test]
fn passes_and_backends_do_not_know_each_other() {
    forbid("passes/Cargo.toml", &["eutectic-backend", "eutectic-cpu", "eutectic-tensorrt", "eutectic-onnx"]);
    for backend in ["backends/api", "backends/cpu", "backends/cuda", "backends/tensorrt"] {
        forbid(&format!("{backend}/Cargo.toml"), &["eutectic-passes", "eutectic-onnx", "egg"]);
    }
    forbid("ir/onnx/Cargo.toml", &["eutectic-passes", "eutectic-backend", "egg"]);
    forbid("ir/field/Cargo.toml", &["eutectic-passes", "eutectic-backend", "eutectic-cpu", "eutectic-onnx", "egg"]);
}

#[test]
fn egg_and_petgraph_each_stay_in_one_place() {
    for (path, text) in sources(".") {
        // This file names them to forbid them.
        if path == "tests/architecture.rs" {
            continue;
        }
        for (line, content) in code(&text) {
            let egg = content.contains("egg::") && !path.starts_with("passes/src/saturate/");
            let petgraph = content.contains("petgraph::") && path != "ir/src/walk.rs" && !path.starts_with("tests/");
            assert!(!egg && !petgraph, "{path}:{line}: {content}");
        }
    }
}

#[test]
fn unsafe_code_stays_at_the_boundary() {
    for (path, text) in sources(".") {
        let allowed =
            // Mapping a file cannot be safe: another process may change it.
            ["ir/src/tensor.rs", "ir/onnx/src/map.rs"].contains(&path.as_str()) || path.starts_with("backends/tensorrt/") || path.starts_with("backends/cuda/");
        if allowed || path == "tests/architecture.rs" {
            continue;
        }
        for (line, content) in code(&text) {
            let found = content.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == "unsafe");
            assert!(!found, "{path}:{line}: {content}");
        }
    }
}

#[test]
fn no_environment_variable_changes_a_result() {
    // Where a library of the machine lies is not a result.
    let finders = [
        "backends/tensorrt/src/library.rs",
        "backends/tensorrt/tests/common/mod.rs",
        "backends/tensorrt/tests/crashes.rs",
        // Nor is where compiled kernels are kept.
        "src/cli/bench.rs",
        "xtask/src/setup.rs",
        "tests/architecture.rs",
        // Cargo tells a build script where it is by variables.
        "passes/build.rs",
    ];
    for (path, text) in sources(".") {
        if finders.contains(&path.as_str()) {
            continue;
        }
        for (line, content) in code(&text) {
            assert!(!content.contains("env::var"), "{path}:{line}: {content}");
        }
    }
}

#[test]
fn rules_read_no_tensor_contents() {
    for (path, text) in sources("passes/src/rules") {
        // Instances for testing rules have contents, of course.
        if path.contains("/test") {
            continue;
        }
        for (line, content) in code(&text) {
            let reads = [".to_f64s(", ".view::<", "tensor.bytes()"].iter().any(|read| content.contains(read));
            assert!(!reads, "{path}:{line}: {content}");
        }
    }
}

#[test]
fn files_stay_readable_in_one_sitting() {
    const CEILING: usize = 600;
    for (path, text) in sources(".") {
        let n_lines = text.lines().count();
        assert!(n_lines <= CEILING, "{path} has {n_lines} lines; the ceiling is {CEILING}: split it by concept");
    }
}

#[test]
fn every_dependency_has_its_reason_in_architecture_md() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let section = manifest.split("[workspace.dependencies]").nth(1).and_then(|rest| rest.split("\n[").next());
    for line in section.expect("dependencies").lines().filter(|line| line.contains('=')) {
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        if !name.is_empty() && !name.starts_with("eutectic") {
            assert!(architecture.contains(&format!("`{name}`")), "ARCHITECTURE.md gives no reason for `{name}`");
        }
    }
}

/// Kinds of bad input that a test must name in a line `// A1, B2` above it, and how many of each there are: bytes, graphs,
/// tensors, external data, evaluation, saving.
const BAD_INPUTS: [(char, u32); 6] = [('A', 24), ('B', 28), ('C', 18), ('D', 29), ('E', 22), ('G', 8)];

#[test]
fn every_kind_of_bad_input_has_a_test() {
    let mut found = std::collections::BTreeSet::new();
    for (_, text) in sources(".") {
        for (tags, next) in text.lines().zip(text.lines().skip(1)) {
            let Some(tags) = tags.trim_start().strip_prefix("// ").filter(|_| next.trim() == "#[test]") else {
                continue;
            };
            found.extend(tags.split(", ").map(str::to_owned));
        }
    }
    let rows = BAD_INPUTS.iter().flat_map(|(letter, n)| (1..=*n).map(move |row| format!("{letter}{row}")));
    let missing: Vec<String> = rows.filter(|row| !found.contains(row)).collect();
    assert!(missing.is_empty(), "no test names {}", missing.join(", "));
}

#[test]
fn the_program_names_no_foreign_tool_or_machine() {
    for (path, text) in sources(".") {
        for (line, content) in text.lines().enumerate() {
            assert!(!content.contains(concat!("/wo", "rk/")), "{path}:{}: a path of somebody's machine", line + 1);
        }
    }
}

/// Cargo finds no test by itself where many files are one binary: a file that nobody names would never run.
#[test]
fn every_file_of_tests_is_run() {
    let sources = sources(".");
    let mains = sources.iter().filter(|(path, _)| path.ends_with("tests/main.rs"));
    let mut n_files = 0;
    for (main, text) in mains {
        let directory = main.strip_suffix("main.rs").expect("as filtered");
        let manifest = directory.strip_suffix("tests/").expect("as filtered").to_owned() + "Cargo.toml";
        let manifest = fs::read_to_string(root().join(manifest)).expect("a manifest");
        for name in sources.iter().filter_map(|(path, _)| path.strip_prefix(directory)) {
            let module = name.split(['/', '.']).next().unwrap_or_default();
            let is_run = text.contains(&format!("mod {module};")) || manifest.contains(&format!("\"tests/{name}\""));
            let is_part = manifest.contains(&format!("\"tests/{module}/main.rs\""));
            assert!(name == "main.rs" || is_run || is_part, "{directory}{name} is no module of {main}");
            n_files += 1;
        }
    }
    assert!(n_files > 50, "{n_files} files of tests found");
}
