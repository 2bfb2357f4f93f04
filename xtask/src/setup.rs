//! What a fresh machine lacks: libclang for the TensorRT bindings, and a virtual environment with the reference tools.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the workspace.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Runs `command` with its output shown. Errors: it cannot start, or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.current_dir(root()).status().with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown} failed: {status}");
    }
    Ok(())
}

/// Says what is done, on a line of its own.
pub fn say(what: &str) {
    println!("\n=== {what}");
}

/// Installs libclang when the bindings' generator would not find it. Errors: it is missing and cannot be installed.
pub fn libclang() -> Result<()> {
    if has_libclang() {
        return Ok(());
    }
    say("installing libclang, which generates the TensorRT bindings");
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if !is_root {
        bail!(
            "libclang is missing: run `sudo apt-get install -y libclang-dev build-essential`, then this command again"
        );
    }
    run(Command::new("apt-get").args(["update", "-qq"]))?;
    run(Command::new("apt-get").args(["install", "-y", "-qq", "libclang-dev", "build-essential"]))
}

fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let holds = |dir: &Path| {
        let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
        names.into_iter().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // The C++ library has another name, `libclang-cpp`, and does not serve.
            name.starts_with("libclang.so")
                || (name.starts_with("libclang-") && !name.starts_with("libclang-cpp") && name.contains(".so"))
        })
    };
    let llvm = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let llvm = llvm
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("llvm"))
        .map(|path| path.join("lib"));
    [PathBuf::from("/usr/lib/x86_64-linux-gnu"), PathBuf::from("/usr/lib64")]
        .into_iter()
        .chain(llvm)
        .any(|dir| holds(&dir))
}

/// Makes `.venv` with the pinned packages of `requirements`, once for each content of that file; its Python.
pub fn python(requirements: &str) -> Result<PathBuf> {
    let root = root();
    let venv = root.join(".venv");
    let python = venv.join("bin/python");
    if !python.exists() {
        say("making the virtual environment .venv");
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))
            .context("Python 3 with its venv module is needed: `apt-get install -y python3-venv`")?;
    }
    let wanted = std::fs::read_to_string(root.join(requirements))?;
    let stamp = venv.join(format!("{}.installed", requirements.replace('/', "-")));
    if std::fs::read_to_string(&stamp).ok().as_deref() != Some(&wanted) {
        say(&format!("installing the packages of {requirements} into .venv"));
        run(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            requirements,
        ]))?;
        std::fs::write(&stamp, &wanted)?;
    }
    Ok(python)
}

/// The loader's path with NVIDIA's libraries of the virtual environment of `python` in front.
pub fn nvidia_libraries(python: &Path) -> OsString {
    let lib = python.parent().and_then(Path::parent).map(|venv| venv.join("lib")).unwrap_or_default();
    let versions = std::fs::read_dir(lib).into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("site-packages/nvidia/cu13/lib"));
    let given = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let all: Vec<PathBuf> = folders.filter(|folder| folder.is_dir()).chain(std::env::split_paths(&given)).collect();
    std::env::join_paths(all).unwrap_or(given)
}
