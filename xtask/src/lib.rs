//! Developer commands of Palisade: `cargo xtask <command>`.
//!
//! What it is: the programs that build test virtual machines, run things in
//! them and install what the project needs on a Debian or Ubuntu machine. What
//! it is not: product code. Nothing under `crates/` depends on it.
//!
//! ```text
//! main.rs -> cli (what was asked) -> deps (Debian packages of the host)
//!                                 -> vm   (build, boot, run, bring back)
//!                                 -> bench (count instructions in a vm)
//!                                 -> suite (all tests), kernels (those of the vm, on every kernel)
//! ```
//!
//! The commands are thin: each calls a function of this library, so that other
//! commands (tests, benchmarks) call the same functions with values.

pub mod bench;
pub mod cli;
pub mod deps;
pub mod kernels;
pub mod lock;
pub mod process;
pub mod suite;
pub mod vm;

use std::path::PathBuf;

/// The root of the workspace that this xtask was built from.
pub fn workspace_root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    match manifest.parent() {
        Some(root) => root.to_path_buf(),
        None => manifest,
    }
}
