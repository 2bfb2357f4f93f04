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

#[test]
fn directories_and_devices_are_not_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    for path in [directory.path(), std::path::Path::new("/dev/null"), std::path::Path::new("/")] {
        assert_eq!(stage(path, []).expect_err("not a file").kind, Kind::Path);
    }
    assert_eq!(stage(&directory.path().join("no/out.onnx"), []).expect_err("no directory").kind, Kind::Io);
}
