//! The README's commands: `cargo xtask demo` and `cargo xtask test`. Each sets up what is missing, then does its work.

mod demo;
mod setup;
mod test;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["demo"] => demo::run(),
        ["test"] => test::run(),
        _ => bail!("usage: cargo xtask demo | test"),
    }
}
