//! What policies may say that Palisade accepts but does not enforce: one list, for the parser and for the docs.
//!
//! A policy that uses one of these keeps its other rules, and carries a [`Gap`] per use. Gaps of single back ends are
//! not here: back ends declare their own.

use crate::model::Gap;
use crate::problem::{Path, Place, Sink};

/// A declared gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The field below `spec`.
    pub field: &'static str,
    /// What is not enforced.
    pub what: &'static str,
    /// What holds instead.
    pub instead: &'static str,
}

/// `apparmor`
pub(crate) const APPARMOR: Declared =
    Declared { field: "apparmor", what: "raw AppArmor rules are not applied", instead: "the policy's other rules hold" };
/// `device`
pub(crate) const DEVICE: Declared = Declared {
    field: "device",
    what: "USB devices are neither blocked nor reported",
    instead: "the kernel's own authorisation of devices holds",
};
/// `network.matchDNSQueries`
pub(crate) const DNS: Declared = Declared {
    field: "network.matchDNSQueries",
    what: "DNS queries are not judged by name, and an Allow here makes no allow-list",
    instead: "sockets are judged by `network.matchProtocols`",
};
/// `network.matchEndpoints` by name
pub(crate) const FQDN: Declared = Declared {
    field: "network.matchEndpoints.fqdn",
    what: "host names are not looked up: an Allow by `fqdn` opens nothing, a Block or an Audit by it meets nothing",
    instead: "an Allow makes its class an allow-list all the same; endpoints are met by `cidr` and `ports`",
};
/// `presets`
pub(crate) const PRESETS: Declared =
    Declared { field: "presets", what: "presets are not enforced", instead: "the policy's other rules hold" };
/// `syscalls`
pub(crate) const SYSCALLS: Declared = Declared {
    field: "syscalls",
    what: "system calls are not reported as such",
    instead: "what they do to files, sockets and capabilities is judged by the rules of those classes",
};

/// All declared gaps, by field.
pub const DECLARED: [Declared; 6] = [APPARMOR, DEVICE, DNS, FQDN, PRESETS, SYSCALLS];

// === impl Declared ===

impl Declared {
    /// The gap of one use.
    pub(crate) fn at(self, place: &Place, path: &Path<'_>, sink: &Sink<'_>) -> Gap {
        Gap { origin: sink.origin(place), field: path.to_string(), text: self.to_string() }
    }
}

impl std::fmt::Display for Declared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { field: _, what, instead } = self;
        write!(f, "{what}; {instead}")
    }
}
