//! This machine, as events name it.

use palisade_event::Host;

/// This machine.
pub(crate) fn host() -> Host {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").map(|n| n.trim().to_owned()).unwrap_or_default();
    Host { cluster: "default".to_owned(), name, version: env!("CARGO_PKG_VERSION").to_owned(), ..Host::default() }
}
