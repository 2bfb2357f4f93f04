//! Hostile and odd files.

use super::*;
use eutectic_ir::diag::Kind;
use std::time::{Duration, Instant};

fn refusal(bytes: &[u8]) -> Diagnostic {
    load_bytes(bytes).expect_err("the file must be refused")
}

#[track_caller]
fn refused(bytes: &[u8], kind: Kind, words: &str) {
    let error = refusal(bytes);
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.to_string().contains(words), "`{words}` is not in: {error}");
}

/// `n` graphs inside one another.
fn nested_graphs(n: usize) -> Vec<u8> {
    // Built from the inside out without copying the inside each time.
    let mut lengths = Vec::new();
    let mut length = 0u64;
    for _ in 1..n {
        for number in [6u64, 5, 1] {
            lengths.push((number, length));
            length += (varint(number << 3 | 2).len() + varint(length).len()) as u64;
        }
    }
    lengths.push((7, length));
    lengths.iter().rev().flat_map(|(number, length)| [varint(number << 3 | 2), varint(*length)].concat()).collect()
}

// A1
#[test]
fn an_empty_file_is_refused() {
    refused(b"", Kind::Invalid, "empty");
}

// A2, A3, A4
#[test]
fn other_formats_are_named_with_the_next_step() {
    let rows: &[(&[u8], &str)] = &[
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b"  <html lang=\"en\">", "HTML"),
        (b"Hello, this is a note.\n", "plain text"),
        (b"Ranges of numbers\n", "plain text"),
        (b"{\"model\": 1}", "JSON"),
        (b"<ir_version: 8, opset_import: [\"\" : 17]>\nagraph (float[2] x) => (y) {}", "text form"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "gzip"),
        (b"PK\x03\x04\x00\x00\x08\x08", "PyTorch"),
        (b"7z\xbc\xaf\x27\x1c\x00\x04", "7z"),
        (b"GGUF\x03\x00\x00\x00", "GGUF"),
        (b"\x89HDF\r\n\x1a\n\x00", "Keras"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"\x1c\x00\x00\x00TFL3\x00\x00", "TensorFlow Lite"),
        (
            b"\x30\x00\x00\x00\x00\x00\x00\x00{\"__metadata__\":{\"format\":\"pt\"},\"w\":{\"dtype\":\"F32\"}}",
            "safetensors",
        ),
    ];
    for (bytes, words) in rows {
        refused(bytes, Kind::Malformed, words);
    }
}

// A4
#[test]
fn a_producer_whose_name_is_a_signature_is_read() {
    for name in ["TFL3", "ORTM and more"] {
        let proto = ModelProto { producer_name: name.into(), ..small_model(16) };
        let bytes = proto.encode_to_vec();
        assert!(bytes[4..].starts_with(&name.as_bytes()[..4]));
        assert_eq!(load_bytes(&bytes).expect("it is ONNX").0, proto);
    }
}

// A5
#[test]
fn a_model_truncated_anywhere_is_refused_or_a_valid_prefix() {
    let whole = small_file(5000);
    for length in 0..whole.len() {
        match load_bytes(&whole[..length]) {
            Ok((model, _)) => assert!(model.graph.is_none(), "{length}: a graph that is cut must not load"),
            Err(error) => assert!(matches!(error.kind, Kind::Malformed | Kind::Invalid), "{length}: {error}"),
        }
    }
}

// A6
#[test]
fn a_flipped_bit_never_panics() {
    let whole = small_file(16);
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let _ = load_bytes(&bytes);
    }
}

// A7, A8, A15
#[test]
fn broken_varints_and_wire_types_are_refused_with_their_offset() {
    let header = integer(1, 8);
    let rows: &[(&[u8], &str)] = &[
        (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "longer than 64 bits"),
        (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "longer than 64 bits"),
        (&[0x00, 0x01], "tag 0"),
        (&[0x0b], "group"),
        (&[0x0c], "group"),
        (&[0x0e], "wire type 6"),
        (&[0x0f], "wire type 7"),
        (&[0x0a, 0x00], "wire type 2"),
        (&[0x3d, 0, 0, 0, 0], "wire type 5"),
        (&[0x88], "ends inside a varint"),
    ];
    for (bytes, words) in rows {
        let bytes = [&header[..], bytes].concat();
        refused(&bytes, Kind::Malformed, words);
        let at = refusal(&bytes).place.byte;
        assert!(at.is_some_and(|at| at >= 2 && at <= bytes.len() as u64), "{at:?}");
    }
}

// A9
#[test]
fn a_length_past_its_message_is_refused_without_allocating() {
    for length in [3, 1 << 20, 1 << 32, 1 << 63, u64::MAX] {
        let mut bytes = varint(7 << 3 | 2);
        bytes.extend(varint(length));
        bytes.extend_from_slice(b"\x12\x00");
        refused(&bytes, Kind::Malformed, "enclosing message");
    }
    // The length fits the file, but not the tensor that it stands in.
    let raw = [varint(9 << 3 | 2), varint(5000)].concat();
    let mut bytes = field(7, &field(5, &raw));
    bytes.extend(field(6, &[b'a'; 8000]));
    refused(&bytes, Kind::Malformed, "enclosing message has 0");
}

// A10
#[test]
fn nesting_is_bounded_with_one_message_at_every_depth() {
    assert!(load_bytes(&nested_graphs(32)).is_ok());
    let messages: BTreeSetOfStrings =
        [34, 1_000, 100_000].into_iter().map(|n| refusal(&nested_graphs(n)).message).collect();
    assert_eq!(messages.len(), 1, "{messages:?}");
    refused(&nested_graphs(34), Kind::Limit, "nested_graphs");
}

type BTreeSetOfStrings = std::collections::BTreeSet<String>;

#[test]
fn the_deepest_legal_nesting_still_holds_a_type_with_a_dim() {
    let mut inner = field(11, &field(2, &field(1, &field(2, &field(1, &integer(1, 3))))));
    for _ in 1..32 {
        inner = field(1, &field(5, &field(6, &inner)));
    }
    assert!(load_bytes(&field(7, &inner)).is_ok());
}

// B24
#[test]
fn types_nested_fifty_deep_are_refused() {
    let mut inner = Vec::new();
    for _ in 0..51 {
        inner = field(4, &field(1, &inner));
    }
    refused(&field(7, &field(11, &field(2, &inner))), Kind::Limit, "nested");
}

// A11
#[test]
fn a_million_nested_groups_are_refused_on_constant_stack() {
    let bytes = [0x53].repeat(1_000_000);
    let bytes = [&[0x08, 0x08], &bytes[..]].concat();
    refused(&bytes, Kind::Malformed, "group");
}

// A12
#[test]
fn four_million_empty_messages_are_refused_before_decoding() {
    for number in [1, 5, 13] {
        let empties = field(number, b"").repeat(4_000_000);
        let started = Instant::now();
        let error = refusal(&field(7, &empties));
        assert_eq!(error.kind, Kind::Limit, "{error}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

// A13
#[test]
fn packed_numbers_and_empty_strings_count_at_their_decoded_size() {
    let limits = Limits { decoded_bytes: 32 << 20, ..Limits::stated() };
    let numbers = field(7, &vec![1; 8 << 20]);
    let strings = field(6, b"").repeat(4_000_000);
    let names = field(1, b"").repeat(4_000_000);
    for graph in [field(5, &numbers), field(5, &strings), field(1, &names)] {
        let error = load_under(&field(7, &graph), &limits).expect_err("over the budget");
        assert!(error.kind == Kind::Limit && error.message.contains("decoded_bytes"), "{error}");
    }
    let few = field(7, &field(5, &field(7, &vec![1; 1 << 20])));
    let (model, _) = load_under(&few, &limits).expect("8 MiB are within the budget");
    assert_eq!(model.graph.map(|graph| graph.initializer[0].int64_data.len()), Some(1 << 20));
}

// A14
#[test]
fn a_singular_message_that_occurs_twice_is_not_merged() {
    let graph = field(7, &field(2, b"main"));
    refused(&graph.repeat(2), Kind::Invalid, "duplicate field 7");
    let raw = field(9, b"1234").repeat(2);
    refused(&field(7, &field(5, &raw)), Kind::Invalid, "raw_data");
}

// A16
#[test]
fn unknown_fields_are_passed_over_with_a_warning_that_lists_them() {
    let mut bytes = small_file(5000);
    bytes.extend(integer(900, 1));
    bytes.extend(field(901, &[0xff; 9000]));
    bytes.extend(field(901, b"x"));
    bytes.extend([varint(902 << 3 | 1), vec![0; 8], varint(903 << 3 | 5), vec![0; 4]].concat());
    let (model, warnings) = load_bytes(&bytes).expect("unknown fields do not stop reading");
    assert_eq!(model, small_model(5000));
    let shown = warnings.to_string();
    assert!(shown.contains("5 fields") && shown.contains("field 901 of ModelProto, 2 times"), "{shown}");
}

// A17
#[test]
fn text_that_is_not_utf8_is_refused_in_names_and_mended_in_documentation() {
    let node = field(4, b"Re\xfflu");
    let error = refusal(&field(7, &[field(1, b""), field(1, &node)].concat()));
    assert_eq!(error.kind, Kind::Malformed);
    assert_eq!(error.place.within, ["graph", "node[1]", "op_type"]);
    let (_, warnings) = load_bytes(&field(6, b"caf\xe9")).expect("documentation is mended");
    assert_eq!(warnings.0.len(), 1);
}

#[test]
fn a_name_or_text_of_absurd_length_is_refused() {
    refused(&field(7, &field(2, &[b'n'; 5000])), Kind::Limit, "name_bytes");
    let limits = Limits { text_bytes: 1 << 10, ..Limits::stated() };
    let error = load_under(&field(6, &[b'd'; 5000]), &limits).expect_err("too long");
    assert!(error.message.contains("text_bytes"), "{error}");
}

#[test]
fn a_file_larger_than_its_budget_is_refused() {
    let limits = Limits { model_bytes: 100, ..Limits::stated() };
    let error = load_under(&small_file(200), &limits).expect_err("too large");
    assert!(error.kind == Kind::Limit && error.message.contains("model_bytes"), "{error}");
}

// A23, A24
#[test]
fn fields_come_in_any_order_and_varints_may_be_overlong() {
    let whole = small_model(5000);
    let graph = field(7, &whole.graph.as_ref().expect("there is one").encode_to_vec());
    let overlong = [0x88, 0x80, 0x00, 0x88, 0x80, 0x00];
    let (model, _) = load_bytes(&[&graph[..], &overlong].concat()).expect("legal protobuf");
    assert_eq!(model, whole);
}

#[test]
fn packed_and_single_floats_give_the_same_bytes() {
    let numbers: Vec<u8> = [1.5f32, -2.0, 3.25].iter().flat_map(|x| x.to_le_bytes()).collect();
    let singles: Vec<u8> = numbers.chunks(4).flat_map(|x| [&[4 << 3 | 5], x].concat()).collect();
    for tensor in [field(4, &numbers), singles] {
        let (model, _) = load_bytes(&field(7, &field(5, &tensor))).expect("both are legal");
        let graph = model.graph.expect("there is one");
        assert_eq!(graph.initializer[0].float_data.concat(), numbers);
    }
}

#[test]
fn weights_are_aligned_and_owned_one_by_one() {
    let mut whole = small_model(0);
    let graph = whole.graph.get_or_insert_default();
    for n_bytes in [4097usize, 5000, 70_000, 300_000] {
        graph.initializer.push(crate::proto::TensorProto {
            raw_data: Some(vec![n_bytes as u8; n_bytes].into()),
            ..Default::default()
        });
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("model.onnx");
    std::fs::write(&path, whole.encode_to_vec()).expect("written");
    for (model, _) in [load_path(&path).expect("legal"), load_bytes(&whole.encode_to_vec()).expect("legal")] {
        assert_eq!(model, whole);
        for weight in &model.graph.expect("there is one").initializer[1..] {
            let raw = weight.raw_data.clone().expect("there is some");
            assert_eq!(raw.as_ptr().addr() % 64, 0);
        }
    }
}

// A21
#[test]
fn what_is_not_a_regular_file_is_refused_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    let socket = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let started = Instant::now();
    for path in [directory.path(), &pipe, &socket, Path::new("/dev/zero"), Path::new("/proc/self/mem")] {
        let error = load_path(path).expect_err("not a regular file");
        assert_eq!(error.kind, Kind::Path, "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(load_path(&directory.path().join("absent")).expect_err("absent").kind, Kind::Io);
}

// A22, D29
#[test]
fn a_file_that_changes_while_it_is_read_is_a_typed_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("model.onnx");
    let whole = small_file(1 << 20);
    let changes: [fn(&Path); 2] = [
        |path| std::fs::OpenOptions::new().write(true).open(path).expect("open").set_len(600_000).expect("cut"),
        |path| {
            let file = std::fs::OpenOptions::new().append(true).open(path).expect("open");
            std::io::Write::write_all(&mut &file, b"more").expect("grown");
        },
    ];
    for change in changes {
        std::fs::write(&path, &whole).expect("written");
        let input = Input::open(&path, false).expect("regular");
        change(&path);
        let error = load(&input, &Limits::stated(), u64::MAX, &mut Diagnostics::default()).expect_err("changed");
        assert!(error.message.contains("changed while"), "{error}");
    }
}

// A19
#[test]
fn a_documentation_of_a_gigabyte_is_refused_without_being_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("model.onnx");
    // Documentation of the model, and a value of its metadata.
    for start in [varint(6 << 3 | 2), [varint(14 << 3 | 2), varint((1 << 30) + 6), varint(2 << 3 | 2)].concat()] {
        std::fs::write(&path, [start, varint(1 << 30)].concat()).expect("written");
        let file = std::fs::OpenOptions::new().write(true).open(&path).expect("open");
        file.set_len(file.metadata().expect("there").len() + (1 << 30)).expect("a file with a hole");
        let started = Instant::now();
        let error = load_path(&path).expect_err("too long");
        assert!(error.kind == Kind::Limit && error.message.contains("text_bytes"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}

// A20
#[test]
fn a_file_beyond_two_gibibytes_needs_a_larger_budget_and_is_said_to_be_unusual() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("model.onnx");
    let n_bytes: u64 = (2 << 30) + 4096;
    let raw = [varint(9 << 3 | 2), varint(n_bytes)].concat();
    let tensor = [integer(1, n_bytes), integer(2, 2), field(8, b"w")].concat();
    let of_tensor = (tensor.len() + raw.len()) as u64 + n_bytes;
    let main = [
        field(1, &node("Mystery", "x w", "y").encode_to_vec()),
        field(11, &value("x", 1, &[1]).encode_to_vec()),
        field(12, &value("y", 1, &[1]).encode_to_vec()),
    ]
    .concat();
    let head = [varint(5 << 3 | 2), varint(of_tensor)].concat();
    let of_graph = (main.len() + head.len()) as u64 + of_tensor;
    let opset = [integer(1, 8), field(8, &[field(1, b""), integer(2, 17)].concat())].concat();
    let start = [opset, varint(7 << 3 | 2), varint(of_graph), main, head, tensor, raw].concat();
    std::fs::write(&path, &start).expect("written");
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("open");
    file.set_len(start.len() as u64 + n_bytes).expect("a file with a hole");

    let refused = crate::read(&path, &Limits::stated(), &crate::Policy::interactive()).expect_err("too large");
    assert!(refused.exit_code() == 4 && refused.to_string().contains("model_bytes"), "{refused}");
    let limits = Limits { model_bytes: 4 << 30, ..Limits::stated() };
    // Mapped, so that the test takes no memory.
    let policy = crate::Policy { mapped: true, ..crate::Policy::interactive() };
    let (model, warnings) = crate::read(&path, &limits, &policy).expect("within the budget");
    assert!(warnings.0.iter().any(|warning| warning.code == "L0113"), "{warnings}");
    let weight = model.graph.values().find_map(|(_, value)| value.weight().cloned()).expect("the weight");
    assert_eq!(weight.byte_len() as u64, n_bytes);
}

/// Runs tests of this binary in a process of little address space.
fn passes_within(mebibytes: u64, tests: &[&str]) {
    let limited = format!("ulimit -v {} && exec \"$@\"", mebibytes << 10);
    let this = std::env::current_exe().expect("a path");
    let run = std::process::Command::new("sh")
        .env("MALLOC_ARENA_MAX", "1")
        .args(["-c", &limited, "sh"])
        .arg(this)
        .args(["--test-threads", "1"])
        .args(tests)
        .output()
        .expect("the tests run");
    let shown = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{shown}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(!shown.contains("running 0 tests"), "{shown}");
}

// A9, A10, A11, A12, A13
#[test]
fn bombs_are_refused_in_little_memory() {
    // The files themselves take up to 40 MiB here.
    passes_within(
        160,
        &[
            "four_million_empty_messages",
            "a_length_past_its_message",
            "nesting_is_bounded",
            "a_million_nested_groups",
            "a_documentation_of_a_gigabyte",
        ],
    );
}
