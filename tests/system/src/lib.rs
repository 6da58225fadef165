//! The decisions corpus, and the runner that tries it with real system calls.
//!
//! ```text
//! testdata/decisions/*.toml -> corpus ----> lower -> palisade_ruleset::Access   (judged by decide(), by tables)
//!                                    \
//!                                     `--> runner -> root + probes -> Enforcer -> verdicts and events compared
//! ```
//!
//! * [`corpus`]: the format of a case, its loader and its checks.
//! * [`op`]: the system calls a case may name.
//! * [`tree`]: the file tree of a case, as far as names resolve in it.
//! * [`lower`]: which accesses one such call is.
//! * [`runner`]: builds a root, starts probes in it, lets a back end protect them and compares.
//!
//! This crate is *not* an implementation of the meaning of policies: the verdicts in the corpus are written by hand,
//! and nothing here computes one.

pub mod corpus;
pub mod lower;
pub mod op;
pub mod runner;
pub mod tree;

/// The programs that label tasks and judge opens, for tests in `tests/vm` that need no more (`LoadOptions::only`): a
/// virtual machine takes half a minute to verify all of them.
pub const LABELS_AND_OPENS: &[&str] = &[
    "pal_exec_begin",
    "pal_exec_commit",
    "pal_file_open",
    "pal_task_alloc",
    "pal_task_newtask",
    "pal_task_forked",
    "pal_task_exit",
    "pal_task_free",
    "pal_task_execed",
    "pal_cgroup_mkdir",
    "pal_cgroup_rmdir",
    "pal_label_tasks",
];
