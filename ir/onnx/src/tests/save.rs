//! Writing whole files or none.

use crate::save::{Chunk, stage};
use bytes::Bytes;
use eutectic_ir::diag::Kind;
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn made<'a>(length: u64, byte: u8, really: u64) -> Chunk<'a> {
    let write = move |out: &mut dyn std::io::Write| (0..really).try_for_each(|_| out.write_all(&[byte]));
    Chunk::Made { length, write: Box::new(write) }
}

#[test]
fn parts_are_written_in_order_under_the_name_only_at_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("out.onnx");
    fs::write(&path, b"old").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("set");
    let large = Bytes::from(vec![7; 1 << 20]);
    let staged = stage(&path, [Chunk::Bytes(Bytes::from_static(b"ab")), Chunk::Bytes(large.clone()), made(3, b'z', 3)]);
    let staged = staged.expect("written");
    assert_eq!(staged.size, 5 + (1 << 20));
    assert_eq!(fs::read(&path).expect("read"), b"old");
    staged.commit().expect("renamed");
    assert_eq!(fs::read(&path).expect("read"), [b"ab", &large[..], b"zzz"].concat());
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(directory.path()).expect("read").count(), 1);
}

// G3
#[test]
fn a_failure_leaves_the_old_file_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("out.onnx");
    fs::write(&path, b"old").expect("written");
    let error = stage(&path, [made(3, b'z', 2)]).expect_err("a part with a wrong length");
    assert_eq!(error.kind, Kind::Io);
    assert_eq!(fs::read(&path).expect("read"), b"old");
    assert_eq!(fs::read_dir(directory.path()).expect("read").count(), 1);
}

// G1
#[test]
fn directories_and_devices_are_not_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    for path in [directory.path(), std::path::Path::new("/dev/null"), std::path::Path::new("/")] {
        assert_eq!(stage(path, []).expect_err("not a file").kind, Kind::Path);
    }
    assert_eq!(stage(&directory.path().join("no/out.onnx"), []).expect_err("no directory").kind, Kind::Path);
}

// G3
#[test]
fn what_a_killed_run_left_behind_is_removed_by_the_next() {
    let directory = tempfile::tempdir().expect("a directory");
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let file = |name: &str, is_old: bool| {
        let file = fs::File::create(directory.path().join(name)).expect("created");
        if is_old {
            file.set_modified(hour_ago).expect("set");
        }
        file
    };
    file(".eutectic-dead.partial", true);
    file(".eutectic-new.partial", false);
    file("other.partial", true);
    let writing = file(".eutectic-busy.partial", true);
    rustix::fs::flock(&writing, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    stage(&directory.path().join("out.onnx"), []).expect("staged").commit().expect("renamed");
    let mut left: Vec<_> =
        fs::read_dir(directory.path()).expect("read").map(|entry| entry.expect("read").file_name()).collect();
    left.sort();
    assert_eq!(left, [".eutectic-busy.partial", ".eutectic-new.partial", "other.partial", "out.onnx"]);
}
