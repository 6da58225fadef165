//! The base set: what every program may read (some of it write) where no policy has a winner, so that an allow-list
//! need not repeat what libc and the loader do. It holds nothing that a distribution makes unreadable to others.

use palisade_policy::glob::Glob;

use crate::pattern::Pattern;
use crate::resolve::{Name, ObjectRank, resolved_patterns};
use crate::workload::{Tree, Workload};

/// One line of the base set, as `palisade policy explain --base` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseEntry {
    /// A glob over paths; the acting process's own entry of procfs is `/proc/self`.
    pub pattern: &'static str,
    /// Whether writes pass as well as reads.
    pub write: bool,
    /// Why it is there.
    pub reason: &'static str,
}

/// An entry, ready to be matched.
#[derive(Clone, Debug)]
pub(crate) struct BaseName {
    pub(crate) name: Name,
    pub(crate) read: bool,
    pub(crate) write: bool,
}

const LIBRARIES: &str = "shared libraries";
const LOADER: &str = "the dynamic loader's cache and configuration";
const LOCALE: &str = "locale and time zone data";
const RESOLVER: &str = "name service and resolver configuration";
const TLS: &str = "TLS defaults and public CA certificates";
const PROC: &str = "the process's own entries";
const CPU: &str = "the number of processors";
const DEVICES: &str = "harmless devices and terminals";

/// The whole list.
pub const BASE_SET: &[BaseEntry] = &[
    read("/lib*/**/*.so", LIBRARIES),
    read("/lib*/**/*.so.*", LIBRARIES),
    read("/usr/lib*/**/*.so", LIBRARIES),
    read("/usr/lib*/**/*.so.*", LIBRARIES),
    read("/usr/local/lib/**/*.so", LIBRARIES),
    read("/usr/local/lib/**/*.so.*", LIBRARIES),
    read("/etc/ld.so.*", LOADER),
    read("/etc/ld-musl-*", LOADER),
    read("/usr/lib/locale/**", LOCALE),
    read("/usr/share/locale/**", LOCALE),
    read("/etc/locale.alias", LOCALE),
    read("/usr/lib*/**/gconv/gconv-modules*", LOCALE),
    read("/usr/lib*/**/gconv/gconv-modules.d/*", LOCALE),
    read("/usr/share/zoneinfo", LOCALE),
    read("/usr/share/zoneinfo/**", LOCALE),
    read("/etc/localtime", LOCALE),
    read("/etc/nsswitch.conf", RESOLVER),
    read("/etc/resolv.conf", RESOLVER),
    read("/etc/host.conf", RESOLVER),
    read("/etc/gai.conf", RESOLVER),
    read("/etc/ssl/openssl.cnf", TLS),
    read("/usr/lib/ssl/openssl.cnf", TLS),
    read("/etc/pki/tls/openssl.cnf", TLS),
    read("/etc/ssl/certs/**", TLS),
    read("/etc/ssl/cert.pem", TLS),
    read("/usr/share/ca-certificates/**", TLS),
    read("/usr/local/share/ca-certificates/**", TLS),
    read("/etc/ca-certificates/extracted/**", TLS),
    read("/etc/pki/tls/certs/**", TLS),
    read("/etc/pki/ca-trust/extracted/**", TLS),
    read("/proc/self/**", PROC),
    read("/sys/devices/system/cpu/online", CPU),
    write("/dev/{null,zero,full,random,urandom,tty,ptmx}", DEVICES),
    write("/dev/pts/*", DEVICES),
];

const fn read(pattern: &'static str, reason: &'static str) -> BaseEntry {
    BaseEntry { pattern, write: false, reason }
}

const fn write(pattern: &'static str, reason: &'static str) -> BaseEntry {
    BaseEntry { pattern, write: true, reason }
}

/// The base set of a workload with its links resolved, and its own descriptors 0 to 2; empty where it is turned off.
pub(crate) fn resolve(workload: &Workload, tree: &dyn Tree) -> Vec<BaseName> {
    let name = |pattern| Name { pattern, rank: ObjectRank::directory(0) };
    let mut out = Vec::new();
    if workload.base_set {
        for entry in BASE_SET {
            let BaseEntry { pattern, write, reason: _ } = entry;
            let Ok(glob) = Glob::parse(pattern) else { continue };
            for pattern in resolved_patterns(&glob, tree) {
                out.push(BaseName { name: name(pattern), read: true, write: *write });
            }
        }
    }
    // The descriptors were passed by whoever started the workload; no annotation takes them back.
    for file in &workload.stdio {
        out.push(BaseName { name: name(Pattern::exact(&file.path)), read: file.readable, write: file.writable });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_a_glob() {
        for entry in BASE_SET {
            assert!(Glob::parse(entry.pattern).is_ok(), "{}", entry.pattern);
        }
    }
}
