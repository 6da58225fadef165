//! Which hooks this kernel has, and what is lost where it lacks one.
//!
//! A program's section names its hook. In C, `SEC("?lsm/...")` marks the optional ones: they are loaded where the
//! kernel's BTF knows the hook. Where it does not know any other, loading fails and says which.

use std::collections::HashSet;

use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::{Func, Typedef};

/// A hook that a kernel of 6.1 or later may lack, and what its absence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Optional {
    /// The section of its program.
    pub section: &'static str,
    /// What cannot be enforced, or is enforced otherwise, without it.
    pub lost: &'static str,
}

/// An optional hook that this kernel lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The program that was not loaded.
    pub program: String,
    /// Its section.
    pub section: String,
    /// What is lost.
    pub lost: &'static str,
}

/// What is lost without the hooks that may be missing.
pub const OPTIONAL: &[Optional] = &[
    Optional { section: "lsm/file_truncate", lost: "truncation through a descriptor opened before the policy (6.2)" },
    Optional { section: "lsm/bpf_prog_load", lost: "nothing: the bpf hook judges program loads (6.9)" },
    Optional { section: "lsm/bpf_map_create", lost: "nothing: the bpf hook judges map creation (6.9)" },
    Optional { section: "lsm/bpf_token_create", lost: "nothing: tokens begin with this hook (6.9)" },
    Optional { section: "lsm/uring_allowed", lost: "nothing: io_uring workers carry the task's label (7.2)" },
    Optional { section: "lsm/inode_set_acl", lost: "nothing: lists of access rights are set through setxattr (6.2)" },
    Optional { section: "lsm/inode_remove_acl", lost: "nothing: lists of access rights are removed as xattrs (6.2)" },
    Optional { section: "lsm/inode_free_security", lost: "the cache of directories: every open walks the whole path" },
    Optional { section: "fentry/__d_move", lost: "the cache of directories: every open walks the whole path" },
    Optional { section: "tp_btf/cap_capable", lost: "learning by tracepoints: capabilities are not seen (6.14)" },
];

/// The names of this kernel's BTF that hooks are found by.
pub(crate) struct KernelHooks {
    names: HashSet<Vec<u8>>,
}

// === impl KernelHooks ===

impl KernelHooks {
    /// Reads the kernel's BTF once. `None` where the kernel has none.
    pub(crate) fn read() -> Option<Self> {
        let btf = Btf::from_vmlinux().ok()?;
        let mut names = HashSet::new();
        for func in btf.type_by_kind::<Func<'_>>() {
            names.extend(func.name().map(|name| name.as_encoded_bytes().to_vec()));
        }
        for typedef in btf.type_by_kind::<Typedef<'_>>() {
            let traced = typedef.name().filter(|name| name.as_encoded_bytes().starts_with(b"btf_trace_"));
            names.extend(traced.map(|name| name.as_encoded_bytes().to_vec()));
        }
        Some(Self { names })
    }

    /// Whether the kernel has the hook of a section.
    pub(crate) fn has(&self, section: &str) -> bool {
        btf_name(section).is_none_or(|name| self.names.contains(name.as_bytes()))
    }
}

/// The BTF name that stands for a section's hook; `None` for sections that hang on no BTF name.
fn btf_name(section: &str) -> Option<String> {
    let (kind, hook) = section.split_once('/')?;
    match kind {
        "lsm" | "lsm.s" => Some(format!("bpf_lsm_{hook}")),
        "tp_btf" => Some(format!("btf_trace_{hook}")),
        "iter" | "iter.s" => Some(format!("bpf_iter_{hook}")),
        "fentry" | "fexit" | "fentry.s" | "fexit.s" | "fmod_ret" => Some(hook.to_owned()),
        _ => None,
    }
}

/// What is lost without an optional section's hook; `None` if this table does not say.
pub(crate) fn lost_without(section: &str) -> Option<&'static str> {
    let plain = section.replacen(".s/", "/", 1);
    OPTIONAL.iter().find(|optional| optional.section == plain).map(|optional| optional.lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_names_its_hook_in_btf() {
        assert_eq!(btf_name("lsm/file_open").as_deref(), Some("bpf_lsm_file_open"));
        assert_eq!(btf_name("lsm.s/bprm_check_security").as_deref(), Some("bpf_lsm_bprm_check_security"));
        assert_eq!(btf_name("tp_btf/cgroup_mkdir").as_deref(), Some("btf_trace_cgroup_mkdir"));
        assert_eq!(btf_name("iter/task").as_deref(), Some("bpf_iter_task"));
        assert_eq!(btf_name("fentry/__d_move").as_deref(), Some("__d_move"));
        assert_eq!(btf_name("socket"), None);
    }

    #[test]
    fn what_is_lost_is_said_for_either_kind_of_program() {
        assert_eq!(lost_without("lsm/file_open"), None);
        assert!(lost_without("lsm/file_truncate").is_some());
        assert!(lost_without("lsm.s/file_truncate").is_some());
    }
}
