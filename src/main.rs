//! The `eutectic` program.

fn main() {
    std::process::exit(eutectic::cli::main());
}
