//! Ways in which bindings of the library crash that look safe, each in a child process: the parent gets a typed error.
//!
//! This program is its own worker: with the argument `misuse` it commits one of them instead of serving. It ends early, and says
//! so, on a machine without the library.
#![allow(unsafe_code)] // The point of the tests.

#[cfg(all(feature = "bindings", unix))]
mod misuse {
    use eutectic_tensorrt::{Error, Worker, engine, library, spec};
    use libloading::Library;
    use std::ffi::{OsString, c_char, c_void};
    use std::path::{Path, PathBuf};
    use std::pin::Pin;
    use std::time::Duration;
    use trtx_sys::nvinfer1::{DataType, IBuilder, ILayer, ITensor, ScaleMode, Weights};
    use trtx_sys::{Dims64, RustLoggerBridge};

    const WITHOUT_WEIGHTS: &str = "a scale whose weights are an empty slice";
    const TOO_FEW: &str = "a scale with fewer weights than channels";
    const LOG_PANICS: &str = "a log handler that panics";

    unsafe extern "C" fn silent(_: *mut c_void, _: i32, _: *const c_char) {}

    unsafe extern "C" fn panics(_: *mut c_void, _: i32, _: *const c_char) {
        panic!("the log handler panics");
    }

    /// Does what `kind` says, and returns only if the library survives it.
    fn commit(kind: &str, library: &Path) {
        const CHANNELS: i64 = 1 << 26;
        let one = [1.0f32];
        let (values, count): (*const f32, i64) = match kind {
            WITHOUT_WEIGHTS => (std::ptr::dangling(), CHANNELS),
            _ => (one.as_ptr(), CHANNELS),
        };
        unsafe {
            let library = Library::new(library).expect("the library opens");
            let callback = if kind == LOG_PANICS { panics } else { silent };
            let bridge: *mut RustLoggerBridge = trtx_sys::create_rust_logger_bridge(callback, std::ptr::null_mut());
            type Create = unsafe extern "C" fn(*mut c_void, i32) -> *mut IBuilder;
            let create = library.get::<Create>(b"createInferBuilder_INTERNAL").expect("the builder is there");
            let version = i32::try_from(trtx_sys::get_tensorrt_version()).expect("a version");
            let mut builder = Pin::new_unchecked(&mut *create(trtx_sys::get_logger_interface(bridge), version));
            let network = builder.as_mut().createNetworkV2(0);
            let network = || Pin::new_unchecked(&mut *network);
            let dims = Dims64::from_slice(&[1, CHANNELS, 1, 1]);
            let input: *mut ITensor = network().addInput(c"x".as_ptr(), DataType::kFLOAT, &dims);
            let weights = || Weights { type_: DataType::kFLOAT, values: values.cast(), count };
            let mode = ScaleMode::kCHANNEL;
            let layer = network().addScale(Pin::new_unchecked(&mut *input), mode, weights(), weights(), weights());
            let layer: *mut ILayer = layer.cast();
            let output = Pin::new_unchecked(&mut *layer).getOutput(0);
            network().markOutput(Pin::new_unchecked(&mut *output));
            let config = Pin::new_unchecked(&mut *builder.as_mut().createBuilderConfig());
            builder.as_mut().buildSerializedNetwork(network(), config);
        }
    }

    fn sound() -> spec::NetworkSpec {
        use eutectic_tensorrt::layer::Layer;
        let mut spec = spec::NetworkSpec::new("sound");
        let input = spec.input("x", spec::DataType::F32, &[2]).expect("no layer yet");
        let y = spec.add("identity", Layer::Identity { input });
        spec.output("y", y);
        spec
    }

    pub fn main() {
        let mut arguments = std::env::args_os().skip(1);
        if arguments.next().as_deref() == Some("misuse".as_ref()) {
            let kind = arguments.next().and_then(|kind| kind.into_string().ok()).unwrap_or_default();
            return commit(&kind, &PathBuf::from(arguments.next().unwrap_or_default()));
        }
        let environment = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv");
        let named = (std::env::var_os("VIRTUAL_ENV").is_none() && environment.is_dir()).then_some(environment);
        let library = match library::open(named.as_deref()) {
            Ok(library) => library.path,
            Err(error) => return println!("skipped: {}", error.diagnostic()),
        };
        let program = std::env::current_exe().expect("this program");
        for (kind, signals) in [
            (WITHOUT_WEIGHTS, ["signal 11", "signal 7"]),
            (TOO_FEW, ["signal 11", "signal 7"]),
            (LOG_PANICS, ["signal 6"; 2]),
        ] {
            let arguments: Vec<OsString> = vec!["misuse".into(), kind.into(), library.clone().into()];
            let worker =
                Worker { program: program.clone(), arguments, library: None, timeout: Duration::from_secs(120) };
            match engine::inspect(&worker, &sound()) {
                Err(Error::WorkerDied { status, .. }) if signals.iter().any(|signal| status.contains(signal)) => {
                    println!("{kind}: {status}");
                }
                other => panic!("{kind}: {other:?}"),
            }
        }
    }
}

#[cfg(all(feature = "bindings", unix))]
fn main() {
    misuse::main();
}

#[cfg(not(all(feature = "bindings", unix)))]
fn main() {}
