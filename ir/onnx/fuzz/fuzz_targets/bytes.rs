//! Any bytes: read, checked, typed, folded, written, and read again.
#![no_main]

use eutectic_onnx::{ExportOptions, Limits, Policy, from_bytes, to_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Small budgets, so that a slow input is a finding and not a large one.
    let limits = Limits { decoded_bytes: 16 << 20, messages: 20_000, ..Limits::stated() };
    let Ok((mut model, _)) = from_bytes(bytes.to_vec().into(), &limits, &Policy::interactive()) else { return };
    let _ = eutectic_ir::verify::verify(&model);
    eutectic_ir::infer::infer(&mut model);
    model.not_carried.clear();
    let plain = ExportOptions { opset: None, external_data: false };
    if let Ok(written) = to_bytes(&model, &plain) {
        from_bytes(written.into(), &Limits::stated(), &Policy::interactive()).expect("what is written is read");
    }
});
