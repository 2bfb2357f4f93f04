//! The program on files that it must refuse: exit code, message, and nothing written.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn eutectic(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_eutectic")).args(arguments).output().expect("the program runs")
}

/// The binary form of a model in text, as bytes.
fn binary(text: &str, directory: &Path) -> Vec<u8> {
    let (from, to) = (directory.join("text.onnxtxt"), directory.join("text.onnx"));
    std::fs::write(&from, text).expect("written");
    let output = eutectic(&["convert", from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{output:?}");
    std::fs::read(&to).expect("read")
}

const RELU: &str = "<ir_version: 8, opset_import: [\"\" : 17]>\nagraph (float[2] x) => (float[2] y) { y = Relu (x) }\n";

// A16
#[test]
fn a_model_with_unknown_fields_is_not_written_unless_they_may_be_dropped() {
    let directory = tempfile::tempdir().expect("a directory");
    let (model, output) = (directory.path().join("new.onnx"), directory.path().join("out.onnx"));
    let mut bytes = binary(RELU, directory.path());
    // Field 900 of the model, an integer.
    bytes.extend([0xa0, 0x38, 0x01]);
    std::fs::write(&model, bytes).expect("written");
    let (model, output) = (model.to_str().expect("UTF-8"), output.to_str().expect("UTF-8"));
    for arguments in [&["convert", model, output][..], &["optimize", model, "--output", output]] {
        let refused = eutectic(arguments);
        let shown = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{shown}");
        assert!(shown.contains("L0111") && shown.contains("L0163") && shown.contains("field 900"), "{shown}");
        assert!(!Path::new(output).exists());
        let accepted = eutectic(&[arguments, &["--drop-unknown"]].concat());
        assert_eq!(accepted.status.code(), Some(0), "{accepted:?}");
        std::fs::remove_file(output).expect("it was written");
    }
    assert_eq!(eutectic(&["inspect", model]).status.code(), Some(0));
}

// A18
#[test]
fn names_that_drive_terminals_reach_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let odd = "\u{1b}[31m\u{7}\u{202e}</script>=cmd|x";
    let text = format!(
        "<ir_version: 8, opset_import: [\"\" : 17], producer_name: \"{odd}\">\n\
         agraph (float[2] x) => (float[2] \"{odd}\") {{ [\"{odd}\"] \"{odd}\" = \"{odd}\" (x) }}\n"
    );
    let path = directory.path().join("odd.onnx");
    std::fs::write(&path, binary(&text, directory.path())).expect("written");
    let path = path.to_str().expect("UTF-8");
    let verbs: [&[&str]; 7] = [
        &["inspect", path],
        &["inspect", path, "--json"],
        &["check", path],
        &["check", path, "--json"],
        &["run", path],
        &["optimize", path],
        &["compare", path, path],
    ];
    for arguments in verbs {
        let output = eutectic(arguments);
        let shown = [output.stdout, output.stderr].concat();
        let shown = String::from_utf8(shown).expect("UTF-8");
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{arguments:?}: {shown:?}");
    }
}

// G1
#[test]
fn an_untrusted_model_is_not_written_through_links_or_parents() {
    let directory = tempfile::tempdir().expect("a directory");
    let model = directory.path().join("model.onnx");
    std::fs::write(&model, binary(RELU, directory.path())).expect("written");
    std::fs::create_dir(directory.path().join("inner")).expect("made");
    std::fs::write(directory.path().join("target.onnx"), b"old").expect("written");
    std::os::unix::fs::symlink("../target.onnx", directory.path().join("inner/link.onnx")).expect("linked");
    std::os::unix::fs::symlink("inner", directory.path().join("way")).expect("linked");
    for output in ["inner/../out.onnx", "inner/link.onnx", "way/out.onnx"] {
        let output = directory.path().join(output);
        let arguments = ["convert", model.to_str().expect("UTF-8"), output.to_str().expect("UTF-8"), "--untrusted"];
        let refused = eutectic(&arguments);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("L0164"), "{refused:?}");
    }
    assert_eq!(std::fs::read(directory.path().join("target.onnx")).expect("read"), b"old");
    assert!(!directory.path().join("out.onnx").exists());
}

// G3
#[test]
fn a_full_disk_and_a_killed_run_leave_the_old_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = "<ir_version: 8, opset_import: [\"\" : 17]>\n\
                agraph (float[100000] x) => (float[100000] y) <float[100000] w = [\"location\": \"seed:1\"]> { y = Add (x, w) }\n";
    let (model, output) = (directory.path().join("text.onnxtxt"), directory.path().join("out.onnx"));
    std::fs::write(&model, text).expect("written");
    std::fs::write(&output, b"old").expect("written");
    // Files may grow to 64 KiB; the signal of the limit kills, and ignored becomes an error as of a full disk.
    for (limit, is_killed) in [("ulimit -f 128", true), ("trap '' XFSZ; ulimit -f 128", false)] {
        let run = Command::new("sh")
            .args(["-c", &format!("{limit} && exec \"$@\""), "sh", env!("CARGO_BIN_EXE_eutectic"), "convert"])
            .args([&model, &output])
            .output()
            .expect("the program runs");
        assert_eq!(run.status.code(), if is_killed { None } else { Some(2) }, "{run:?}");
        assert_eq!(std::fs::read(&output).expect("read"), b"old");
    }
    // What the killed run left is an hour old, and the next run removes it.
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let entries = || std::fs::read_dir(directory.path()).expect("read").map(|entry| entry.expect("read").path());
    let left: Vec<_> = entries().filter(|path| path.to_string_lossy().ends_with(".partial")).collect();
    assert_eq!(left.len(), 1);
    std::fs::File::options().write(true).open(&left[0]).and_then(|file| file.set_modified(hour_ago)).expect("set");
    let run = eutectic(&["convert", model.to_str().expect("UTF-8"), output.to_str().expect("UTF-8")]);
    assert!(run.status.success(), "{run:?}");
    assert_eq!(entries().count(), 2);
}

// B25
#[test]
fn a_symbol_that_is_given_two_sizes_is_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = "<ir_version: 8, opset_import: [\"\" : 17]>\n\
                agraph (float[n] a, float[n] b) => (float[n] y) { y = Add (a, b) }\n";
    let path = directory.path().join("model.onnx");
    std::fs::write(&path, binary(text, directory.path())).expect("written");
    let output = eutectic(&["optimize", path.to_str().expect("UTF-8"), "--shapes", "a:3,b:4"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("the dim `n` is given as 3 and as 4"), "{output:?}");
}

#[test]
fn a_reader_that_stops_reading_ends_every_verb_quietly() {
    for verb in [&["ops"][..], &["ops", "--json"], &["rules", "list"], &["doctor"]] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_eutectic"));
        program.args(verb).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = program.spawn().expect("the program runs");
        drop(running.stdout.take());
        let ended = running.wait_with_output().expect("it ends");
        let complaint = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && complaint.is_empty(), "{verb:?}: {} {complaint}", ended.status);
    }
}
