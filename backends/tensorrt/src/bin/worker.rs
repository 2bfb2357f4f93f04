//! The worker process alone, for tests and for programs that embed this crate without the `eutectic` binary.

fn main() {
    std::process::exit(eutectic_tensorrt::worker_main());
}
