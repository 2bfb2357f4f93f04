//! What a shell knows of the program, made from the declaration of the command line: completions and manual pages.

use super::{Global, Outcome, Program};
use crate::files::{make_directory, unwritten};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, _: &Global) -> Outcome {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Program::command(), "eutectic", &mut text);
        print!("{}", String::from_utf8_lossy(&text));
        Ok(0)
    }
}

#[derive(Args)]
pub(super) struct Manual {
    /// Where the pages go: eutectic.1, and eutectic-VERB.1 for each verb
    directory: PathBuf,
}

impl Manual {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        make_directory(&self.directory)?;
        clap_mangen::generate_to(Program::command(), &self.directory)
            .map_err(|error| unwritten(&self.directory, &error))?;
        if !global.quiet {
            println!("wrote the pages; read them with `man -l {}`", self.directory.join("eutectic.1").display());
        }
        Ok(0)
    }
}
