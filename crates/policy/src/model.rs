//! The normalised policy: what the rest of Palisade works with after parsing.
//!
//! Everything here is checked: paths are absolute, globs parse, protocol and capability lists are split, and each rule
//! carries its own action, severity, tags and message (inherited from its section or policy where it had none).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use crate::endpoint::{Cidr, CidrError, Direction, Endpoint, EndpointProtocol, Host, PortRange};
use crate::glob::Glob;

/// A policy of any of the three kinds that concern programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What identifies it; an equal key in a later document replaces the earlier policy.
    pub key: PolicyKey,
    /// Where its document begins.
    pub origin: Origin,
    /// Which workloads (or, for a host policy, nodes) it selects.
    pub selector: Selector,
    /// Its own `kubearmor-policy` annotation.
    pub mode: PolicyMode,
    /// Rules over programs.
    pub process: Vec<ProcessRule>,
    /// Rules over files.
    pub file: Vec<FileRule>,
    /// Rules over sockets: by protocol and type, and by address and port.
    pub network: Vec<NetworkRule>,
    /// Rules over the use of capabilities.
    pub capabilities: Vec<CapabilityRule>,
    /// What it says that is accepted but that nothing enforces yet, each with its place.
    pub gaps: Vec<Gap>,
}

/// Which custom resource a policy is. The order is that of ties (`meaning` section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `KubeArmorClusterPolicy`: the upper tier.
    Cluster,
    /// `KubeArmorPolicy`: the lower tier, in one namespace.
    Namespaced,
    /// `KubeArmorHostPolicy`: tasks that belong to no workload.
    Host,
}

/// Kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyKey {
    /// The kind of resource.
    pub kind: Kind,
    /// The namespace; empty for kinds without one. `default` where a namespaced policy names none.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

/// A place in an input file. Line and column count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The file as the user named it, or a name for text that came by another way.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// The value of the policy's `kubearmor-policy` annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum PolicyMode {
    /// It takes part in the verdict.
    #[default]
    Enabled,
    /// It is out of the verdict; events say what it would have changed.
    Audited,
    /// It is out altogether.
    Disabled,
}

/// What a matching rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Denied and reported.
    Block,
    /// Passes and is reported; opens nothing.
    Audit,
    /// Passes; makes its class an allow-list.
    Allow,
}

/// The rule classes that have verdicts of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// exec and executable mappings.
    Process,
    /// The file tree.
    File,
    /// Sockets.
    Network,
    /// Capability use.
    Capability,
}

/// The part of a rule that does not decide whether it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMeta {
    /// Where it stands in its policy.
    pub position: Position,
    /// Where it stands in the input.
    pub origin: Origin,
    /// Its action, after inheritance.
    pub action: Action,
    /// 1 to 10; `None` where nothing in the policy gave one.
    pub severity: Option<u8>,
    /// Tags, after inheritance.
    pub tags: Vec<String>,
    /// Message, after inheritance; empty where there is none.
    pub message: String,
}

/// The place of a rule inside its policy; displayed as `process.matchPaths[0]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Which list.
    pub list: RuleList,
    /// Index in that list, from 0.
    pub index: u32,
    /// Index of the alternative where one written rule gives several (comma lists, several names), from 0.
    pub part: u32,
}

/// The rule lists of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RuleList {
    /// `process.matchPaths`
    ProcessPaths,
    /// `process.matchDirectories`
    ProcessDirectories,
    /// `process.matchPatterns`
    ProcessPatterns,
    /// `file.matchPaths`
    FilePaths,
    /// `file.matchDirectories`
    FileDirectories,
    /// `file.matchPatterns`
    FilePatterns,
    /// `network.matchProtocols`
    NetworkProtocols,
    /// `network.matchEndpoints`
    NetworkEndpoints,
    /// `capabilities.matchCapabilities`
    Capabilities,
}

/// How a rule names files or programs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathObject {
    /// `path`: exactly this; where the text is also a glob, that glob too.
    Path(PathName),
    /// `dir`: the directory and its direct children, or everything below it.
    Directory {
        /// Always begins and ends with `/`; where the text is also a glob, that glob (of the directory) too, of the same
        /// text with the same `/` at its end.
        dir: PathName,
        /// Whether everything below is meant.
        recursive: bool,
    },
    /// `pattern`: a glob over the whole path.
    Pattern(Glob),
    /// `execname`: the base name, anywhere (process rules only).
    ExecName(String),
}

/// A literal path, and the glob that the same text is, where it is one (`meaning` section 3.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathName {
    /// The text as the literal path.
    pub literal: String,
    /// The text as a glob.
    pub glob: Option<Glob>,
}

/// One entry of `fromSource`: the acting program, or a directory of programs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SourceMatch {
    /// This program.
    Path(PathName),
    /// Programs in this directory (ends in `/`), or everywhere below it.
    Directory {
        /// The directory; text and glob end in `/`, also where the policy left it out.
        dir: PathName,
        /// Whether everything below is meant.
        recursive: bool,
    },
}

/// A rule over programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessRule {
    /// Action, place, severity, tags, message.
    pub meta: RuleMeta,
    /// Which programs.
    pub object: PathObject,
    /// `ownerOnly`: the file's owner passes, others do not.
    pub owner_only: bool,
    /// `pts: false` was written: the terminal is part of the match.
    pub pts_false: bool,
    /// The acting program must be one of these; empty: any.
    pub from_source: Vec<SourceMatch>,
    /// `allowedArgs`, where given: passes only if each argument after the first word is listed.
    pub allowed_args: Option<Vec<String>>,
}

/// A rule over files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRule {
    /// Action, place, severity, tags, message.
    pub meta: RuleMeta,
    /// Which files; never [`PathObject::ExecName`].
    pub object: PathObject,
    /// `readOnly`: reads pass, writes do not.
    pub read_only: bool,
    /// `ownerOnly`: the file's owner passes, others do not.
    pub owner_only: bool,
    /// `pts: false` was written.
    pub pts_false: bool,
    /// The acting program must be one of these; empty: any.
    pub from_source: Vec<SourceMatch>,
}

/// A rule over sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRule {
    /// Action, place, severity, tags, message.
    pub meta: RuleMeta,
    /// Which sockets, or which ends of connections.
    pub object: NetworkObject,
    /// `pts: false` was written.
    pub pts_false: bool,
    /// The acting program must be one of these; empty: any.
    pub from_source: Vec<SourceMatch>,
}

/// How a network rule names what it is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NetworkObject {
    /// By a word of `protocol:`.
    Protocol(Protocol),
    /// By address, port, protocol and direction.
    Endpoint(Endpoint),
}

/// A rule over the use of a capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapabilityRule {
    /// Action, place, severity, tags, message.
    pub meta: RuleMeta,
    /// Which capability.
    pub capability: Capability,
    /// The acting program must be one of these; empty: any.
    pub from_source: Vec<SourceMatch>,
}

/// The words of `protocol:`. What sockets each meets is said in `meaning` section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// `tcp`
    Tcp,
    /// `udp`
    Udp,
    /// `icmp`
    Icmp,
    /// `icmpv6`
    IcmpV6,
    /// `sctp`
    Sctp,
    /// `stream` (SOCK_STREAM)
    Stream,
    /// `dgram` (SOCK_DGRAM)
    Dgram,
    /// `raw` (SOCK_RAW, and AF_PACKET)
    Raw,
    /// `rdm` (SOCK_RDM)
    Rdm,
    /// `seqpacket` (SOCK_SEQPACKET)
    SeqPacket,
    /// `dccp` (SOCK_DCCP)
    Dccp,
    /// `packet` (AF_PACKET, or SOCK_PACKET)
    Packet,
    /// `all`
    All,
}

/// A Linux capability by its number: 0 (`CAP_CHOWN`) to 40 (`CAP_CHECKPOINT_RESTORE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Capability(u8);

/// Something accepted that nothing enforces (yet), so that it is never silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where.
    pub origin: Origin,
    /// The field path, as `spec.syscalls`.
    pub field: String,
    /// What is not enforced and what holds instead.
    pub text: String,
}

/// Which workloads a policy selects: all terms must hold.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Selector {
    /// All terms; none: everything in scope.
    pub terms: Vec<SelectorTerm>,
    /// Restriction by container name (`kubearmor.io/container.name`); empty: all containers.
    pub containers: Vec<String>,
    /// Restriction by namespace (cluster policies): all `In` lists must hold the namespace, no `NotIn` list may.
    pub namespaces: Vec<NamespaceTerm>,
    /// Restriction by node name (host policies), with `*` as a wildcard; empty: all nodes.
    pub hostnames: Vec<String>,
}

/// One term over labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorTerm {
    /// The label has this value.
    Equals(String, String),
    /// The label has one of these values.
    In(String, Vec<String>),
    /// The label is absent or has none of these values.
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is not there.
    DoesNotExist(String),
    /// Some of these `k=v` pairs is a label (the original's `key: label, operator: In`).
    AnyPair(Vec<(String, String)>),
    /// None of these `k=v` pairs is a label (`key: label, operator: NotIn`).
    NoPair(Vec<(String, String)>),
}

/// One term over the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceTerm {
    /// One of these.
    In(Vec<String>),
    /// None of these.
    NotIn(Vec<String>),
}

/// What a selector is compared with.
#[derive(Clone, Copy, Debug)]
pub struct SelectorInput<'a> {
    /// The workload's namespace; empty where it has none.
    pub namespace: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Its container name; `None` where it has none (then a restriction by name does not select it).
    pub container: Option<&'a str>,
    /// The node's name.
    pub hostname: &'a str,
}

// === impl Selector ===

impl Selector {
    /// Whether the selector's terms hold. The namespace of a namespaced policy and untracked namespaces are the caller's.
    #[must_use]
    pub fn selects(&self, input: SelectorInput<'_>) -> bool {
        let Self { terms, containers, namespaces, hostnames } = self;
        terms.iter().all(|term| term.holds(input.labels))
            && (containers.is_empty() || input.container.is_some_and(|name| containers.iter().any(|c| c == name)))
            && namespaces.iter().all(|term| match term {
                NamespaceTerm::In(list) => list.iter().any(|n| n == input.namespace),
                NamespaceTerm::NotIn(list) => !list.iter().any(|n| n == input.namespace),
            })
            && (hostnames.is_empty() || hostnames.iter().any(|pattern| star_matches(pattern, input.hostname)))
    }
}

impl SelectorTerm {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |k: &String, v: &String| labels.get(k) == Some(v);
        match self {
            Self::Equals(k, v) => has(k, v),
            Self::In(k, values) => values.iter().any(|v| has(k, v)),
            Self::NotIn(k, values) => !values.iter().any(|v| has(k, v)),
            Self::Exists(k) => labels.contains_key(k),
            Self::DoesNotExist(k) => !labels.contains_key(k),
            Self::AnyPair(pairs) => pairs.iter().any(|(k, v)| has(k, v)),
            Self::NoPair(pairs) => !pairs.iter().any(|(k, v)| has(k, v)),
        }
    }
}

/// Whether `text` is `pattern` with each `*` standing for any text.
fn star_matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return text.is_empty() };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

// === impl Position, Kind, PolicyKey, Origin ===

impl RuleList {
    /// The class whose verdict the list's rules take part in.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::ProcessPaths | Self::ProcessDirectories | Self::ProcessPatterns => Class::Process,
            Self::FilePaths | Self::FileDirectories | Self::FilePatterns => Class::File,
            Self::NetworkProtocols | Self::NetworkEndpoints => Class::Network,
            Self::Capabilities => Class::Capability,
        }
    }

    /// The field path below `spec`.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::ProcessPaths => "process.matchPaths",
            Self::ProcessDirectories => "process.matchDirectories",
            Self::ProcessPatterns => "process.matchPatterns",
            Self::FilePaths => "file.matchPaths",
            Self::FileDirectories => "file.matchDirectories",
            Self::FilePatterns => "file.matchPatterns",
            Self::NetworkProtocols => "network.matchProtocols",
            Self::NetworkEndpoints => "network.matchEndpoints",
            Self::Capabilities => "capabilities.matchCapabilities",
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { list, index, part: _ } = self;
        write!(f, "{}[{index}]", list.field())
    }
}

impl Kind {
    /// The name of the custom resource.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::Cluster => "KubeArmorClusterPolicy",
            Self::Namespaced => "KubeArmorPolicy",
            Self::Host => "KubeArmorHostPolicy",
        }
    }
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        match kind {
            Kind::Namespaced => write!(f, "{} {namespace}/{name}", kind.resource()),
            Kind::Cluster | Kind::Host => write!(f, "{} {name}", kind.resource()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column } = self;
        write!(f, "{file}:{line}:{column}")
    }
}

// === impl Capability ===

/// The names as policies write them, by number.
const CAPABILITY_NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

impl Capability {
    /// All 41, in number order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=40_u8).map(Self)
    }

    /// By number, 0 to 40.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        (usize::from(number) < CAPABILITY_NAMES.len()).then_some(Self(number))
    }

    /// By name as policies write it (`net_raw`), in any case, with or without `CAP_`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let bare = lower.strip_prefix("cap_").unwrap_or(&lower);
        CAPABILITY_NAMES.iter().position(|n| *n == bare).and_then(|i| u8::try_from(i).ok()).map(Self)
    }

    /// The number that the kernel uses.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// The name as policies write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        CAPABILITY_NAMES[usize::from(self.0)]
    }
}

// === impl Protocol ===

impl Protocol {
    /// All words, in the order of the schema.
    pub const ALL: [Self; 13] = [
        Self::Tcp,
        Self::Udp,
        Self::Raw,
        Self::Icmp,
        Self::IcmpV6,
        Self::Sctp,
        Self::Stream,
        Self::Dgram,
        Self::Rdm,
        Self::SeqPacket,
        Self::Dccp,
        Self::Packet,
        Self::All,
    ];

    /// The word as policies write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::IcmpV6 => "icmpv6",
            Self::Sctp => "sctp",
            Self::Stream => "stream",
            Self::Dgram => "dgram",
            Self::Raw => "raw",
            Self::Rdm => "rdm",
            Self::SeqPacket => "seqpacket",
            Self::Dccp => "dccp",
            Self::Packet => "packet",
            Self::All => "all",
        }
    }
}
