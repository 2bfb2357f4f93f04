//! Recognises files that are something else, so that the message can say what and how to get the real thing.

use eutectic_ir::diag::{Diagnostic, Kind};

/// How many bytes of the start the functions here look at, at most.
pub(crate) const HEAD: usize = 512;

/// Formats with a signature: offset, signature, name, next step. No ONNX file starts with one; further in, a name may
/// stand that looks like one.
const SIGNATURES: &[(usize, &[u8], &str, &str)] = &[
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file it stands for", "run `git lfs pull`"),
    (0, b"\x1f\x8b", "gzip data", "unpack it with `gunzip` first"),
    (
        0,
        b"PK\x03\x04",
        "a zip archive (PyTorch's .pt and numpy's .npz are such)",
        "unpack it, or export the model to ONNX with `torch.onnx.export`",
    ),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (0, b"\xfd7zXZ\0", "xz data", "unpack it with `xz -d` first"),
    (0, b"\x28\xb5\x2f\xfd", "zstd data", "unpack it with `zstd -d` first"),
    (0, b"BZh", "bzip2 data", "unpack it with `bunzip2` first"),
    (0, b"GGUF", "a GGUF file, which holds weights and no graph", "export the model to ONNX"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras)", "convert it to ONNX with `tf2onnx`"),
    (0, b"\x93NUMPY", "a numpy array", "export the model to ONNX"),
    (0, b"\x80\x02", "a Python pickle", "export the model to ONNX with `torch.onnx.export`"),
    (0, b"\x80\x03", "a Python pickle", "export the model to ONNX with `torch.onnx.export`"),
    (0, b"\x80\x04", "a Python pickle", "export the model to ONNX with `torch.onnx.export`"),
    (0, b"\x7fELF", "a program or library", "export the model to ONNX"),
    (4, b"ORTM", "an ORT-format model", "use the .onnx file that it was made from"),
    (4, b"TFL3", "a TensorFlow Lite model", "convert it to ONNX with `tf2onnx`"),
    (0, b"ftrt", "a TensorRT engine plan, which is native code", "use the .onnx file that it was made from"),
    (0, b"ptrt", "a TensorRT engine plan, which is native code", "use the .onnx file that it was made from"),
];

/// A diagnostic when a file of `size` bytes that starts with `head` carries the signature of another format.
pub(crate) fn signature(head: &[u8], size: u64) -> Option<Diagnostic> {
    if size == 0 {
        let help = "the download or export may have failed; fetch the file again";
        return Some(Diagnostic::error(Kind::Invalid, "L0100", "the file is empty").help(help));
    }
    if let Some(found) = signed(head, true) {
        return Some(found);
    }
    if is_safetensors(head, size) {
        return Some(not_onnx("a safetensors file, which holds weights and no graph", "export the model to ONNX"));
    }
    None
}

/// The format whose signature stands at the start of `head`, or further in.
fn signed(head: &[u8], at_start: bool) -> Option<Diagnostic> {
    let mut known = SIGNATURES.iter().filter(|(at, ..)| (*at == 0) == at_start);
    let found = known.find(|(at, signature, ..)| head.get(*at..).is_some_and(|rest| rest.starts_with(signature)));
    found.map(|(_, _, name, help)| not_onnx(name, help))
}

/// A diagnostic when `head` has a signature further in or reads as text. To be asked only about a file that is not ONNX:
/// a short model of printable bytes is conceivable.
pub(crate) fn guess(head: &[u8]) -> Option<Diagnostic> {
    if let Some(found) = signed(head, false) {
        return Some(found);
    }
    let text = as_text(head)?;
    let start = text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    if start.starts_with("<!doctype") || start.starts_with("<html") || start.starts_with("<head") {
        return Some(not_onnx("a HTML page", "the download answered with a web page; check the address and log in"));
    }
    if start.starts_with("<?xml") {
        return Some(not_onnx("an XML document (OpenVINO's .xml is such)", "use the .onnx file"));
    }
    if start.starts_with('{') || start.starts_with('[') {
        return Some(not_onnx("JSON", "use the binary .onnx file"));
    }
    if start.starts_with('<') || start.starts_with("agraph") || start.contains("ir_version") {
        return Some(not_onnx("ONNX's text form", "give it a name that ends in .onnxtxt"));
    }
    Some(not_onnx("plain text", "use the binary .onnx file; ONNX's textual syntax has names that end in .onnxtxt"))
}

fn not_onnx(what: &str, help: &str) -> Diagnostic {
    Diagnostic::error(Kind::Malformed, "L0101", format!("not an ONNX file (protobuf); it looks like {what}"))
        .at_byte(0)
        .help(help)
}

/// Eight bytes of header length, then JSON. The upper bytes of a sane length are zero, which no ONNX file has there.
fn is_safetensors(head: &[u8], size: u64) -> bool {
    let Some((length, rest)) = head.split_first_chunk::<8>() else { return false };
    rest.starts_with(b"{\"") && u64::from_le_bytes(*length) < size.min(1 << 32)
}

/// The start of the file as text when all of it is printable.
fn as_text(head: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The window may end inside a character.
        Err(error) if error.valid_up_to() + 3 >= head.len() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let printable = text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
    (printable && !text.is_empty()).then_some(text)
}
