//! The task iterator: gives tasks that already run in a labelled cgroup their label.
//!
//! Its link is pinned like the others; reading the pin runs the program once over all tasks of the machine. It labels
//! what has no label yet in the cgroup that `pal_iter` names, so running it again changes nothing.
//! It prints one line for each thread that it could not label: it is to be run until it prints none.

use std::fs;
use std::io;
use std::path::Path;

/// The program's name.
pub(crate) const PROGRAM: &str = "pal_label_tasks";

/// Runs it. Returns what it printed.
///
/// # Errors
/// If the pin is not there or the kernel refuses.
///
/// Minimum kernel: 5.8.
pub(crate) fn run(pin: &Path) -> io::Result<Vec<u8>> {
    fs::read(pin)
}
