//! Whom policies are compiled for, and how it lies in its own file tree.

use std::collections::BTreeMap;

/// One workload, as far as the meaning of its policies depends on it.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What it is; decides which kinds of policies concern it.
    pub scope: Scope,
    /// Its namespace; `default` where it has none of its own.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its container name, where it has one.
    pub container: Option<String>,
    /// The node's name.
    pub hostname: String,
    /// Take every policy of the right kind, whatever its namespace and selector (`palisade run` without `--label`).
    pub ignore_selectors: bool,
    /// Whether verdicts deny.
    pub mode: Mode,
    /// What happens to an access that an allow-list does not name, per class.
    pub postures: Postures,
    /// Whether the base set is asked.
    pub base_set: bool,
    /// Whether `mount-integrity` is lifted.
    pub allow_mounts: bool,
    /// Names of multi-call binaries beside `busybox`, `toybox` and `coreutils`.
    pub multi_call: Vec<String>,
    /// The files behind descriptors 0 to 2 as the runtime passed them; they rank like the base set.
    pub stdio: Vec<StdioFile>,
}

/// A file that the workload was given as one of its descriptors 0 to 2, and may open again in the same mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StdioFile {
    /// Its path from the workload's root.
    pub path: Vec<u8>,
    /// The descriptor can be read.
    pub readable: bool,
    /// The descriptor can be written.
    pub writable: bool,
}

/// What a set of tasks is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A container, a `palisade run` or a unit that the configuration names: cluster and namespaced policies.
    Workload,
    /// Everything else on the node: host policies.
    Host,
}

/// Whether verdicts deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// As computed.
    #[default]
    Enforce,
    /// Nothing is denied; events say what would have been.
    Audit,
}

/// The posture of each class. Process follows file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Postures {
    /// Of programs and files.
    pub file: Posture,
    /// Of sockets (and DNS).
    pub network: Posture,
    /// Of capabilities.
    pub capability: Posture,
}

/// What happens to an access that no rule wins, in a class that an Allow rule made an allow-list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Posture {
    /// It is denied and reported.
    Block,
    /// It passes and is reported.
    Audit,
}

/// The workload's file tree, as far as names have to be resolved in it. The edge answers from the real tree
/// (`openat2` with `RESOLVE_IN_ROOT`), tests from a table.
pub trait Tree {
    /// Resolves every symbolic link of an absolute path, the last component included, inside the workload's root.
    /// Where the tail does not exist, the longest existing part is resolved and the rest appended. Procfs is never
    /// entered (such a path comes back as given). `None` where it cannot be said (an error, a loop).
    fn resolve(&self, path: &[u8]) -> Option<Resolved>;
}

/// What a path resolves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The resolved path, absolute, without a trailing `/`.
    pub path: Vec<u8>,
    /// Whether an Allow may follow the links on the way (`meaning` section 3.5): each lies on the root mount and is
    /// older than the workload, or lies on a mount that the workload cannot write.
    pub allow_may_follow: bool,
}

/// A tree without symbolic links.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLinks;

impl Tree for NoLinks {
    fn resolve(&self, path: &[u8]) -> Option<Resolved> {
        Some(Resolved { path: path.to_vec(), allow_may_follow: true })
    }
}

// === impl Workload ===

impl Workload {
    /// A `palisade run` without labels: every policy given concerns it, everything at its default.
    #[must_use]
    pub fn run() -> Self {
        Self {
            scope: Scope::Workload,
            namespace: "default".to_owned(),
            labels: BTreeMap::new(),
            container: None,
            hostname: String::new(),
            ignore_selectors: true,
            mode: Mode::Enforce,
            postures: Postures::WORKLOAD,
            base_set: true,
            allow_mounts: false,
            multi_call: Vec::new(),
            stdio: Vec::new(),
        }
    }
}

impl Postures {
    /// The default of workloads: denied.
    pub const WORKLOAD: Self = Self { file: Posture::Block, network: Posture::Block, capability: Posture::Block };
    /// The default of hosts: reported.
    pub const HOST: Self = Self { file: Posture::Audit, network: Posture::Audit, capability: Posture::Audit };
}
