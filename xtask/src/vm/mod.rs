//! Test virtual machines: any kernel and LSM list, booted in seconds without KVM.
//!
//! ```text
//! prepare: apt (mirrors, kernels) -> kernel -> initramfs --\
//!          mmdebstrap ------------> rootfs -----------------> cache (target/vm, by recipe key)
//! run:     payload (files + command -> tar disk) -> qemu (command line) -> run (boot, watch, time out)
//!          -> control (what the guest reports) -> Report{outcome, ...} and the files of /payload/out
//! ```
//!
//! The guest (scripts in `tests/vm/`) reports on a serial port of its own, so
//! nothing that a command or the kernel prints can be taken for a result. A
//! guest that reports no result has failed, whatever it printed.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use xtask::vm::{self, Cache, Outcome, Vm};
//!
//! let cache = Cache::open()?;
//! let report = vm::run(&cache, &Vm::new(["uname", "-r"]))?;
//! assert_eq!(report.outcome, Outcome::Exited(0));
//! print!("{}", report.console);
//! # Ok(())
//! # }
//! ```

mod apt;
mod cache;
mod console;
mod control;
mod initramfs;
mod kernel;
mod payload;
mod qemu;
mod recipe;
mod report;
mod rootfs;
mod run;
pub mod selftest;

pub use cache::Cache;
pub use console::ConsoleSink;
pub use kernel::{Kernel, KernelSpec};
pub use payload::PayloadFile;
pub use report::{Cause, EXIT_HARNESS, EXIT_NO_RESULT, EXIT_PANIC, EXIT_TIMEOUT, Outcome, Phase, Report};
pub use rootfs::RootImage;
pub use run::{DEFAULT_BOOT_TIMEOUT_SECONDS, DEFAULT_LSM, Vm, run};

use anyhow::Result;

use crate::deps::{self, Purpose};

/// All that a boot needs, built and cached.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The kernel with its initramfs.
    pub kernel: Kernel,
    /// The root file system.
    pub root: RootImage,
}

/// Builds, or finds in the cache, what booting `spec` needs. `refresh` asks the
/// mirror again which kernel `spec` names now.
///
/// # Errors
/// Host packages are missing, or a download or a build failed.
pub fn prepare(cache: &Cache, spec: &KernelSpec, refresh: bool) -> Result<Prepared> {
    deps::require(Purpose::Vm)?;
    Ok(Prepared { kernel: Kernel::prepare(cache, spec, refresh)?, root: RootImage::prepare(cache)? })
}
