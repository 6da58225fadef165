//! `cargo xtask`: see the library for what the commands do.

use std::process::ExitCode;

use clap::Parser as _;
use xtask::cli;
use xtask::vm::EXIT_HARNESS;

fn main() -> ExitCode {
    match cli::Xtask::parse().run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("xtask: error: {error:#}");
            ExitCode::from(EXIT_HARNESS)
        }
    }
}
