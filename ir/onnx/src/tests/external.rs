//! Data beside the model: what is opened, what is refused.

use super::*;
use crate::external::{Policy, attach};
use crate::input::OpenFile;
use crate::proto::{LOCATION_EXTERNAL, StringStringEntryProto, TensorProto};
use eutectic_ir::diag::Kind;
use std::fs;
use std::os::unix::fs::symlink;

fn external(entries: &[(&str, &str)]) -> TensorProto {
    TensorProto {
        name: "w".into(),
        dims: vec![2, 2],
        data_type: Some(1),
        data_location: Some(LOCATION_EXTERNAL),
        external_data: entries
            .iter()
            .map(|(key, value)| StringStringEntryProto { key: (*key).into(), value: (*value).into() })
            .collect(),
        ..Default::default()
    }
}

fn model_with(tensors: impl IntoIterator<Item = TensorProto>) -> ModelProto {
    let mut model = ModelProto::default();
    model.graph.get_or_insert_default().initializer.extend(tensors);
    model
}

struct Case {
    directory: tempfile::TempDir,
}

impl Case {
    /// A granted directory `in` with a data file of 64 bytes, and a secret beside it.
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("in");
        fs::create_dir(&root).expect("made");
        fs::create_dir(root.join("a")).expect("made");
        fs::write(root.join("data"), (0..64).collect::<Vec<u8>>()).expect("written");
        fs::write(root.join("model.onnx"), b"the model itself").expect("written");
        fs::write(directory.path().join("secret"), [9; 64]).expect("written");
        Self { directory }
    }

    fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("in")
    }

    fn attach_as(&self, model: &mut ModelProto, named: &Path, untrusted: bool) -> Diagnostics {
        let file = OpenFile::open(named).expect("the model file");
        let mut diagnostics = Diagnostics::default();
        let policy = Policy { untrusted, ..Policy::interactive() };
        attach(model, Some(&file), &policy, &Limits::stated(), &mut diagnostics);
        diagnostics
    }

    fn attach(&self, model: &mut ModelProto) -> Diagnostics {
        self.attach_as(model, &self.root().join("model.onnx"), false)
    }

    fn attach_one(&self, entries: &[(&str, &str)]) -> (TensorProto, Diagnostics) {
        let mut model = model_with([external(entries)]);
        let diagnostics = self.attach(&mut model);
        (model.graph.expect("there is one").initializer.remove(0), diagnostics)
    }

    #[track_caller]
    fn refuses(&self, entries: &[(&str, &str)], kind: Kind, words: &str) {
        let (tensor, diagnostics) = self.attach_one(entries);
        assert_eq!(tensor.raw_data, None, "{entries:?}");
        let error = diagnostics.0.iter().find(|d| d.severity == eutectic_ir::diag::Severity::Error);
        let error = error.unwrap_or_else(|| panic!("{entries:?} is accepted"));
        assert_eq!(error.kind, kind, "{entries:?}: {error}");
        assert!(error.to_string().contains(words), "{entries:?}: {error}");
    }

    #[track_caller]
    fn accepts(&self, entries: &[(&str, &str)], first: u8) -> Diagnostics {
        let (tensor, diagnostics) = self.attach_one(entries);
        assert!(!diagnostics.has_errors(), "{entries:?}: {diagnostics}");
        let raw = tensor.raw_data.expect("the data is attached");
        assert_eq!(raw, (first..first + 16).collect::<Vec<u8>>(), "{entries:?}");
        assert!(tensor.external_data.is_empty() && tensor.data_location.is_none());
        diagnostics
    }
}

// D1, D2, D4, D5, D6, D11
#[test]
fn a_path_that_leaves_the_directory_is_refused() {
    let case = Case::new();
    symlink("../secret", case.root().join("link")).expect("linked");
    symlink("..", case.root().join("up")).expect("linked");
    symlink("loop", case.root().join("loop")).expect("linked");
    symlink("/proc/self/fd/0", case.root().join("magic")).expect("linked");
    let outside = case.directory.path().join("secret");
    let absolute = outside.to_str().expect("UTF-8");
    let rows = [
        "../secret",
        "a/../../secret",
        "a/../../../etc/passwd",
        absolute,
        "/etc/passwd",
        "C:\\x",
        "\\\\server\\share",
        "..\\secret",
        "data:stream",
        "data.",
        "data ",
        "CON",
        "nul.bin",
        "a/COM1",
        "link",
        "up/secret",
        "loop",
        "magic",
        "a",
        ".",
        "..",
        "model.onnx",
    ];
    for location in rows {
        case.refuses(&[("location", location)], Kind::Path, "");
    }
}

// D11
#[test]
fn pipes_and_devices_are_refused_without_waiting() {
    let case = Case::new();
    let pipe = case.root().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    case.refuses(&[("location", "pipe")], Kind::Path, "a pipe");
}

// D3
#[test]
fn a_parent_step_that_stays_inside_is_opened_with_a_warning() {
    let case = Case::new();
    let warnings = case.accepts(&[("location", "a/../data")], 0);
    assert!(warnings.to_string().contains("`..`"), "{warnings}");
}

// D9
#[test]
fn a_link_inside_the_directory_is_followed() {
    let case = Case::new();
    symlink("data", case.root().join("link")).expect("linked");
    assert!(case.accepts(&[("location", "link")], 0).0.is_empty());
}

// D7
#[test]
fn a_hard_link_is_a_warning_and_refused_for_strangers() {
    let case = Case::new();
    fs::hard_link(case.root().join("data"), case.root().join("twin")).expect("linked");
    assert!(case.accepts(&[("location", "twin")], 0).to_string().contains("hard links"));
    let mut model = model_with([external(&[("location", "twin")])]);
    let refused = case.attach_as(&mut model, &case.root().join("model.onnx"), true);
    assert!(refused.has_errors() && refused.0[0].kind == Kind::Path, "{refused}");
}

// D8
#[test]
fn the_layout_of_the_hugging_face_cache_loads() {
    let case = Case::new();
    let cache = case.directory.path().join("models--org--name");
    let snapshot = cache.join("snapshots/0123abcd");
    fs::create_dir_all(&snapshot).expect("made");
    fs::create_dir_all(cache.join("blobs")).expect("made");
    fs::write(cache.join("blobs/m0"), b"model").expect("written");
    fs::write(cache.join("blobs/d0"), (0..16).collect::<Vec<u8>>()).expect("written");
    symlink("../../blobs/m0", snapshot.join("model.onnx")).expect("linked");
    symlink("../../blobs/d0", snapshot.join("model.onnx_data")).expect("linked");
    symlink("../../../secret", snapshot.join("stolen")).expect("linked");

    let mut model = model_with([external(&[("location", "model.onnx_data")])]);
    let diagnostics = case.attach_as(&mut model, &snapshot.join("model.onnx"), false);
    assert!(diagnostics.0.is_empty(), "{diagnostics}");
    let data = model.graph.expect("there is one").initializer[0].raw_data.clone();
    assert_eq!(data.expect("attached"), (0..16).collect::<Vec<u8>>());

    let mut model = model_with([external(&[("location", "stolen")])]);
    let diagnostics = case.attach_as(&mut model, &snapshot.join("model.onnx"), false);
    assert!(diagnostics.has_errors() && diagnostics.0[0].kind == Kind::Path, "{diagnostics}");
}

// D15, D16, D17, D18, D20
#[test]
fn offsets_and_lengths_are_strict_decimals_within_the_file() {
    let case = Case::new();
    case.accepts(&[("location", "data")], 0);
    case.accepts(&[("location", "data"), ("offset", "3")], 3);
    case.accepts(&[("location", "data"), ("offset", "48"), ("length", "16")], 48);
    for odd in ["-1", "1e3", "0x10", " 12", "+5", "", "18446744073709551616", "1.0"] {
        case.refuses(&[("location", "data"), ("offset", odd)], Kind::Invalid, "offset");
        case.refuses(&[("location", "data"), ("length", odd)], Kind::Invalid, "length");
    }
    case.refuses(&[("location", "data"), ("offset", "18446744073709551615")], Kind::Invalid, "overflows");
    case.refuses(&[("location", "data"), ("offset", "9223372036854775808")], Kind::Invalid, "which has 64 bytes");
    case.refuses(&[("location", "data"), ("offset", "49")], Kind::Invalid, "which has 64 bytes");
    case.refuses(&[("location", "data"), ("length", "9223372036854775808")], Kind::Invalid, "take 16 bytes");
    case.refuses(&[("location", "data"), ("length", "15")], Kind::Invalid, "take 16 bytes");
    case.refuses(&[("location", "data"), ("length", "17")], Kind::Invalid, "take 16 bytes");
}

// D12, D13
#[test]
fn entries_that_readers_disagree_on_are_refused() {
    let case = Case::new();
    fs::write(case.root().join("other"), [0; 64]).expect("written");
    case.refuses(&[("location", "data"), ("location", "other")], Kind::Invalid, "two entries `location`");
    case.refuses(&[("location", "data"), ("offset", "0"), ("offset", "8")], Kind::Invalid, "two entries `offset`");
    case.refuses(&[], Kind::Invalid, "no `location`");
    case.refuses(&[("location", "")], Kind::Invalid, "no `location`");
    case.refuses(&[("location", "da\0ta")], Kind::Invalid, "NUL");
}

// D14, D26
#[test]
fn unknown_entries_are_ignored_with_one_warning() {
    let case = Case::new();
    let many: Vec<String> = (0..1000).map(|index| format!("key{index}")).collect();
    let mut entries = vec![("location", "data"), ("__class__", "x"), ("basepath", "/etc")];
    entries.extend(many.iter().map(|key| (key.as_str(), "1")));
    let warnings = case.accepts(&entries, 0);
    assert_eq!(warnings.0.len(), 1);
    assert!(warnings.to_string().len() < 400, "{warnings}");
}

// D12
#[test]
fn a_missing_file_names_what_there_is() {
    let case = Case::new();
    case.refuses(&[("location", "model.onnx.data")], Kind::Io, "a, data, model.onnx");
    case.refuses(&[("location", "model.onnx.data")], Kind::Io, "16 bytes");
}

// D25
#[test]
fn a_model_from_memory_needs_a_directory_for_its_data() {
    let mut model = model_with([external(&[("location", "data")])]);
    let mut diagnostics = Diagnostics::default();
    attach(&mut model, None, &Policy::interactive(), &Limits::stated(), &mut diagnostics);
    assert!(diagnostics.to_string().contains("--data-root"), "{diagnostics}");
    let case = Case::new();
    let policy = Policy { data_root: Some(case.root()), ..Policy::interactive() };
    let mut diagnostics = Diagnostics::default();
    attach(&mut model, None, &policy, &Limits::stated(), &mut diagnostics);
    assert!(diagnostics.0.is_empty(), "{diagnostics}");
}

// D19
#[test]
fn tied_weights_share_one_allocation_and_count_once() {
    let case = Case::new();
    let mut model = model_with([(); 3].map(|()| external(&[("location", "data"), ("offset", "8")])));
    let file = OpenFile::open(&case.root().join("model.onnx")).expect("the model file");
    let mut diagnostics = Diagnostics::default();
    let limits = Limits { external_bytes: 16, ..Limits::stated() };
    attach(&mut model, Some(&file), &Policy::interactive(), &limits, &mut diagnostics);
    assert!(diagnostics.0.is_empty(), "{diagnostics}");
    let graph = model.graph.expect("there is one");
    let addresses: std::collections::BTreeSet<_> =
        graph.initializer.iter().map(|tensor| tensor.raw_data.as_ref().expect("attached").as_ptr()).collect();
    assert_eq!(addresses.len(), 1);
}

// D22
#[test]
fn data_in_attributes_subgraphs_and_functions_is_found() {
    let case = Case::new();
    let tensor = || external(&[("location", "data")]);
    let attribute = |t, g| crate::proto::AttributeProto { t, g, ..Default::default() };
    let node = |attribute| NodeProto { attribute: vec![attribute], ..Default::default() };
    let inner = model_with([tensor()]).graph.map(Box::new);
    let mut model = model_with([tensor()]);
    let graph = model.graph.get_or_insert_default();
    graph.node.extend([node(attribute(Some(tensor()), None)), node(attribute(None, inner))]);
    let function =
        crate::proto::FunctionProto { node: vec![node(attribute(Some(tensor()), None))], ..Default::default() };
    model.functions.push(function);
    let diagnostics = case.attach(&mut model);
    assert!(diagnostics.0.is_empty(), "{diagnostics}");
    let bytes = model.encode_to_vec();
    let data: Vec<u8> = (0..16).collect();
    assert_eq!(bytes.windows(16).filter(|window| *window == data).count(), 4);
}

// C1, D16
#[test]
fn shapes_that_overflow_are_refused_before_opening() {
    let case = Case::new();
    let shapes: [&[i64]; 4] = [&[1 << 32, 1 << 32], &[4194305, 4194305, 211106198978564], &[i64::MAX, 2], &[2, -1]];
    for dims in shapes {
        let mut tensor = external(&[("location", "absent")]);
        tensor.dims = dims.to_vec();
        let diagnostics = case.attach(&mut model_with([tensor]));
        assert_eq!(diagnostics.0.len(), 1);
        assert_eq!(diagnostics.0[0].kind, Kind::Invalid, "{diagnostics}");
    }
}

// C6
#[test]
fn data_stands_in_the_file_or_beside_it() {
    let case = Case::new();
    let mut tensor = external(&[("location", "data")]);
    tensor.raw_data = Some(vec![0; 16].into());
    let diagnostics = case.attach(&mut model_with([tensor]));
    assert!(diagnostics.has_errors() && diagnostics.0[0].kind == Kind::Invalid, "{diagnostics}");
    assert!(diagnostics.to_string().contains("stands in the file too"), "{diagnostics}");
}

// D10
#[test]
fn a_file_that_is_exchanged_for_a_link_while_it_is_opened_leads_nowhere_else() {
    let case = Case::new();
    let (target, link, kept) = (case.root().join("data"), case.root().join("link"), case.root().join("kept"));
    fs::rename(&target, &kept).expect("renamed");
    symlink("../secret", &link).expect("linked");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for from in [&kept, &link] {
                    let staged = case.directory.path().join("staged");
                    // Absent for a moment, in between.
                    if from.is_symlink() {
                        let _ = symlink("../secret", &staged);
                    } else {
                        let _ = fs::copy(from, &staged);
                    }
                    let _ = fs::rename(&staged, &target);
                }
            }
        });
        for _ in 0..2000 {
            let (tensor, _) = case.attach_one(&[("location", "data")]);
            if let Some(raw) = tensor.raw_data {
                assert_eq!(raw, (0..16).collect::<Vec<u8>>(), "the secret was read");
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

// D21
#[test]
fn a_checksum_that_is_stated_must_be_right() {
    let case = Case::new();
    // SHA-1 of the bytes 0 to 63.
    let right = "c6138d514ffa2135bfce0ed0b8fac65669917ec7";
    case.accepts(&[("location", "data"), ("checksum", right)], 0);
    case.accepts(&[("location", "data"), ("checksum", &right.to_ascii_uppercase())], 0);
    for wrong in ["0000000000000000000000000000000000000000", "", "c6138d51", "no checksum"] {
        case.refuses(&[("location", "data"), ("checksum", wrong)], Kind::Invalid, "expected the SHA-1");
    }
    case.refuses(&[("location", "data"), ("checksum", right), ("checksum", right)], Kind::Invalid, "two entries");
}

// D23
#[test]
fn offsets_beyond_four_gibibytes_are_read_from_files_of_terabytes() {
    use std::os::unix::fs::FileExt;
    let case = Case::new();
    let file = fs::OpenOptions::new().write(true).open(case.root().join("data")).expect("open");
    file.set_len(4 << 40).expect("a file with a hole");
    let at: u64 = (3 << 40) + 7;
    file.write_all_at(&(0..16).collect::<Vec<u8>>(), at).expect("written");
    case.accepts(&[("location", "data"), ("offset", &at.to_string())], 0);
    let last = ((4u64 << 40) - 15).to_string();
    case.refuses(&[("location", "data"), ("offset", &last)], Kind::Invalid, "expected 16 bytes at offset");
}

// D24
#[test]
fn tensors_in_very_many_files_do_not_exhaust_descriptors() {
    const N: usize = 3000;
    let case = Case::new();
    let names: Vec<String> = (0..N).map(|at| format!("a/w{at}")).collect();
    names.iter().for_each(|name| fs::write(case.root().join(name), [1; 16]).expect("written"));
    let mut model = model_with(names.iter().map(|name| external(&[("location", name)])));
    let diagnostics = case.attach(&mut model);
    assert!(diagnostics.0.is_empty(), "{diagnostics}");
}

// D27
#[test]
fn a_location_that_means_memory_elsewhere_is_an_ordinary_name() {
    let case = Case::new();
    case.refuses(&[("location", "*/_ORT_MEM_ADDR_/*"), ("offset", "140737488355328")], Kind::Io, "does not exist");
}

// D28
#[test]
fn a_directory_may_be_reached_through_a_link() {
    let case = Case::new();
    let link = case.directory.path().join("link");
    symlink("in", &link).expect("linked");
    symlink("../secret", case.root().join("stolen")).expect("linked");
    for (location, is_accepted) in [("data", true), ("stolen", false), ("../secret", false)] {
        let mut model = model_with([external(&[("location", location)])]);
        let diagnostics = case.attach_as(&mut model, &link.join("model.onnx"), false);
        assert_eq!(!diagnostics.has_errors(), is_accepted, "{location}: {diagnostics}");
    }
}

// D29
#[test]
fn a_file_that_may_not_be_read_is_a_typed_error() {
    use std::os::unix::fs::PermissionsExt;
    let case = Case::new();
    let path = case.root().join("data");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("set");
    // Who may do everything reads it all the same.
    if fs::File::open(&path).is_err() {
        case.refuses(&[("location", "data")], Kind::Io, "cannot open");
    }
}

/// Runs this file's tests again where the system call that resolves paths safely is missing or forbidden, if `strace` is
/// there to say so.
// D28
#[test]
fn old_kernels_and_sandboxes_give_the_same_verdicts() {
    for error in ["ENOSYS", "EPERM"] {
        let run = std::process::Command::new("strace")
            .args([
                "-f",
                "-q",
                "-o",
                "/dev/null",
                "-e",
                "trace=openat2",
                "-e",
                &format!("inject=openat2:error={error}"),
            ])
            .arg(std::env::current_exe().expect("a path"))
            .args(["tests::external::", "--skip", "old_kernels"])
            .output();
        let Ok(run) = run else { return };
        let shown = String::from_utf8_lossy(&run.stdout);
        // Where tracing is forbidden, nothing runs.
        assert!(run.status.success() || !shown.contains("running"), "{error}: {shown}");
    }
}
