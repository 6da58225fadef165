//! Carries out a plan in the process that is about to become the workload.
//!
//! ```text
//! parent: Plan --pipe--> stub (our own binary, one thread): restrict_current_process(&plan), then exec
//!   open every path, build the ruleset and the filters      anything that can fail for good reasons fails here
//!   no_new_privs -> drop capabilities -> landlock_restrict_self -> seccomp (last: it must not refuse our own calls)
//! ```

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use landlock::{
    AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, RestrictSelf, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use super::plan::{PathGrant, Plan};
use super::rights::{Abi, Rights};
use super::sockets::FilterError;
use super::text;
use super::view::Identity;

/// What is in force now, for this thread and everything that it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Grants made.
    pub granted: usize,
    /// Paths of the plan that were gone, were replaced since, or could not be opened: not granted.
    pub left_out: Vec<LeftOut>,
    /// A Landlock domain is in force.
    pub landlock: bool,
    /// The kernel writes this domain's denials to its audit log.
    pub logs: bool,
    /// Seccomp filters installed.
    pub filters: usize,
    /// Capabilities dropped, by number.
    pub dropped: Vec<u8>,
}

/// A grant that was not made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its path.
    #[serde(with = "text")]
    pub path: Vec<u8>,
    /// Why.
    pub reason: String,
}

/// Why nothing (or not everything) is in force. The caller must not exec.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The plan was made for a kernel that offers more.
    #[error("the plan needs Landlock ABI {needed}, this kernel offers {offered}")]
    LesserKernel {
        /// What the plan was made for.
        needed: u32,
        /// What is there.
        offered: u32,
    },
    /// The kernel refused the ruleset or a rule in it.
    #[error("build the Landlock ruleset")]
    Ruleset(#[source] RulesetError),
    /// A path could not be looked at.
    #[error("open {path} for a Landlock rule")]
    Open {
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The filter could not be built.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// no_new_privs was refused.
    #[error("set no_new_privs")]
    NoNewPrivileges(#[source] Errno),
    /// A capability could not be dropped.
    #[error("drop capability {number}")]
    Capability {
        /// Which.
        number: u8,
        /// Why.
        #[source]
        source: Errno,
    },
    /// landlock_restrict_self was refused.
    #[error("enter the Landlock domain")]
    Restrict(#[source] RulesetError),
    /// The kernel took less than the plan asked for.
    #[error("the kernel enforces the Landlock ruleset only in part")]
    Partial,
    /// seccomp was refused.
    #[error("install a seccomp filter")]
    Seccomp(#[source] seccompiler::Error),
}

/// What the kernel says of Landlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelLandlock {
    /// Built in and enabled.
    Available {
        /// The ABI that both the kernel and this program know.
        abi: Abi,
        /// The kernel's own number.
        kernel: u32,
    },
    /// Built in, but not in the kernel's list of LSMs.
    NotEnabled,
    /// Not built in.
    NotImplemented,
}

// === impl KernelLandlock ===

impl KernelLandlock {
    /// Asks the kernel. Changes nothing.
    ///
    /// # Errors
    /// What the `landlock` crate could not ask.
    pub fn ask() -> Result<Self, RulesetError> {
        let status = RestrictSelf::default().no_new_privs(false).apply()?;
        Ok(match status.landlock {
            LandlockStatus::Available { effective_abi, kernel_abi } => {
                let effective = effective_abi as u32;
                let kernel = kernel_abi.and_then(|v| u32::try_from(v).ok()).unwrap_or(effective);
                Self::Available { abi: Abi::new(effective), kernel }
            }
            LandlockStatus::NotEnabled => Self::NotEnabled,
            LandlockStatus::NotImplemented => Self::NotImplemented,
        })
    }

    /// The ABI to plan for; zero without Landlock.
    #[must_use]
    pub fn abi(self) -> Abi {
        match self {
            Self::Available { abi, .. } => abi,
            Self::NotEnabled | Self::NotImplemented => Abi::default(),
        }
    }
}

/// Puts a plan into force for the calling thread and everything that it starts. It cannot be undone.
///
/// # Guarantees
/// On `Ok` all of the plan is in force but the grants in [`Applied::left_out`] (which makes it stricter). Nothing the
/// kernel lacks is left out silently: the rights asked for are hard requirements.
///
/// # Assumptions
/// The calling thread is about to exec: other threads of the process stay unrestricted until then and end with it. The
/// plan was made for this process's file tree.
///
/// # Errors
/// [`ApplyError`]; some of the restrictions may be in force then. Do not exec.
pub fn restrict_current_process(plan: &Plan) -> Result<Applied, ApplyError> {
    let Plan { abi, handled, grants, syscalls, drop_capabilities, gaps: _, counts: _ } = plan;
    let mut applied = Applied::default();
    if plan.is_empty() {
        return Ok(applied);
    }
    let place = Place::open(Path::new("/"), rustix::process::getpid().as_raw_nonzero().get())?;
    let ruleset = if handled.is_empty() { None } else { Some(build(*abi, *handled, grants, &place, &mut applied)?) };
    let filters = syscalls.filters()?;
    rustix::thread::set_no_new_privs(true).map_err(ApplyError::NoNewPrivileges)?;
    drop_all(drop_capabilities, &mut applied)?;
    if let Some(ruleset) = ruleset {
        let status = ruleset.restrict_self().map_err(ApplyError::Restrict)?;
        if status.ruleset != RulesetStatus::FullyEnforced {
            return Err(ApplyError::Partial);
        }
        applied.landlock = true;
        applied.logs = status.log_new_exec;
    }
    for filter in &filters {
        seccompiler::apply_filter(filter).map_err(ApplyError::Seccomp)?;
        applied.filters += 1;
    }
    Ok(applied)
}

/// The Landlock ruleset of a plan that was made for the file tree below `root`, for the process `own` to restrict
/// itself by; `None` where the plan handles nothing. Restricts nobody.
///
/// # Guarantees
/// As of [`restrict_current_process`], but for system calls and capabilities, which are left to the caller.
///
/// # Errors
/// [`ApplyError`].
pub fn ruleset_for(plan: &Plan, root: &Path, own: i32) -> Result<(Option<OwnedFd>, Applied), ApplyError> {
    let Plan { abi, handled, grants, syscalls: _, drop_capabilities: _, gaps: _, counts: _ } = plan;
    let mut applied = Applied::default();
    if handled.is_empty() {
        return Ok((None, applied));
    }
    let place = Place::open(root, own)?;
    let created = build(*abi, *handled, grants, &place, &mut applied)?;
    Ok((created.into(), applied))
}

/// Where the paths of a plan are opened.
struct Place {
    root: OwnedFd,
    /// The process that `/proc/self` stands for.
    own: i32,
}

impl Place {
    fn open(root: &Path, own: i32) -> Result<Self, ApplyError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty())
            .map_err(|source| ApplyError::Open { path: root.display().to_string(), source })?;
        Ok(Self { root, own })
    }

    /// `/proc/self` by the process's number, which an exec keeps.
    fn own_entry(&self, path: &[u8]) -> Vec<u8> {
        match path.strip_prefix(b"/proc/self") {
            Some(rest) if rest.is_empty() || rest.starts_with(b"/") => [format!("/proc/{}", self.own).as_bytes(), rest].concat(),
            _ => path.to_vec(),
        }
    }
}

/// The ruleset with all its rules; no path is opened after this.
fn build(
    abi: Abi,
    handled: Rights,
    grants: &[PathGrant],
    place: &Place,
    applied: &mut Applied,
) -> Result<RulesetCreated, ApplyError> {
    let offered = KernelLandlock::ask().map_err(ApplyError::Ruleset)?.abi();
    if offered < abi {
        return Err(ApplyError::LesserKernel { needed: abi.version(), offered: offered.version() });
    }
    let mut created = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(flags(handled))
        .and_then(Ruleset::create)
        .map_err(ApplyError::Ruleset)?;
    for grant in grants {
        let PathGrant { path, access, by: _, identity } = grant;
        match open(place.root.as_fd(), &place.own_entry(path), *identity)? {
            Ok((fd, is_directory)) => {
                let access = if is_directory { *access } else { *access & Rights::OF_FILES };
                if !access.is_empty() {
                    created = created.add_rule(PathBeneath::new(fd, flags(access))).map_err(ApplyError::Ruleset)?;
                    applied.granted += 1;
                }
            }
            Err(reason) => applied.left_out.push(LeftOut { path: path.clone(), reason: reason.to_owned() }),
        }
    }
    // Without this flag nothing is logged after the first exec, which is all of the workload.
    if abi.logs() { created.log_new_exec(true).map_err(ApplyError::Ruleset) } else { Ok(created) }
}

/// Opens what a grant names: the descriptor and whether it is a directory, or why it is left out.
fn open(
    root: BorrowedFd<'_>,
    path: &[u8],
    planned: Option<Identity>,
) -> Result<Result<(OwnedFd, bool), &'static str>, ApplyError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    // The plan's paths are free of links: one that turns up now was put there since.
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let found = rustix::fs::openat2(root, OsStr::from_bytes(path), flags, Mode::empty(), resolve);
    let fd = match found {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Err("it is gone")),
        Err(Errno::LOOP) => return Ok(Err("a link was put in its way")),
        Err(Errno::ACCESS) => return Ok(Err("it cannot be reached")),
        Err(source) => return Err(ApplyError::Open { path: text::of(path), source }),
    };
    let stat = rustix::fs::fstat(&fd).map_err(|source| ApplyError::Open { path: text::of(path), source })?;
    if planned.is_some_and(|p| p != Identity { dev: stat.st_dev, ino: stat.st_ino }) {
        return Ok(Err("another file has taken its name"));
    }
    let is_directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
    Ok(Ok((fd, is_directory)))
}

fn drop_all(numbers: &[u8], applied: &mut Applied) -> Result<(), ApplyError> {
    if numbers.is_empty() {
        return Ok(());
    }
    let single = |number: u8| CapabilitySet::from_bits_retain(1 << number);
    let fail = |number| move |source| ApplyError::Capability { number, source };
    let first = numbers[0];
    for number in numbers {
        // What is in the bounding set but not permitted cannot come back: no_new_privs is set.
        match rustix::thread::remove_capability_from_bounding_set(single(*number)) {
            Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
            Err(source) => return Err(ApplyError::Capability { number: *number, source }),
        }
    }
    let mut sets = rustix::thread::capabilities(None).map_err(fail(first))?;
    let all = numbers.iter().fold(CapabilitySet::empty(), |all, n| all | single(*n));
    sets.effective.remove(all);
    sets.permitted.remove(all);
    sets.inheritable.remove(all);
    rustix::thread::set_capabilities(None, sets).map_err(fail(first))?;
    applied.dropped = numbers.to_vec();
    Ok(())
}

/// The rights as the `landlock` crate has them.
fn flags(rights: Rights) -> BitFlags<AccessFs> {
    let single = |right| match right {
        Rights::EXECUTE => AccessFs::Execute,
        Rights::WRITE_FILE => AccessFs::WriteFile,
        Rights::READ_FILE => AccessFs::ReadFile,
        Rights::READ_DIR => AccessFs::ReadDir,
        Rights::REMOVE_DIR => AccessFs::RemoveDir,
        Rights::REMOVE_FILE => AccessFs::RemoveFile,
        Rights::MAKE_CHAR => AccessFs::MakeChar,
        Rights::MAKE_DIR => AccessFs::MakeDir,
        Rights::MAKE_REG => AccessFs::MakeReg,
        Rights::MAKE_SOCK => AccessFs::MakeSock,
        Rights::MAKE_FIFO => AccessFs::MakeFifo,
        Rights::MAKE_BLOCK => AccessFs::MakeBlock,
        Rights::MAKE_SYM => AccessFs::MakeSym,
        Rights::REFER => AccessFs::Refer,
        Rights::TRUNCATE => AccessFs::Truncate,
        Rights::IOCTL_DEV => AccessFs::IoctlDev,
        // `iter()` yields the rights of one table, whose last this is.
        _ => AccessFs::ResolveUnix,
    };
    rights.iter().map(single).fold(BitFlags::EMPTY, |all, right| all | right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_the_same_bits() {
        for abi in 1..=10 {
            let rights = Abi::new(abi).rights();
            assert_eq!(flags(rights).bits(), u64::from(rights.bits()), "ABI {abi}");
        }
    }

    #[test]
    fn the_kernel_says_what_it_has() {
        // The kernel under test is declared where tests run: PALISADE_TEST_LANDLOCK_ABI=7.
        let Some(expected) = std::env::var("PALISADE_TEST_LANDLOCK_ABI").ok().and_then(|v| v.parse().ok()) else { return };
        assert_eq!(KernelLandlock::ask().unwrap().abi(), Abi::new(expected));
    }

    #[test]
    fn the_own_entry_of_procfs_goes_by_number() {
        let place = Place::open(Path::new("/"), 7).unwrap();
        assert_eq!(place.own_entry(b"/proc/self/maps"), b"/proc/7/maps");
        assert_eq!(place.own_entry(b"/proc/selfish"), b"/proc/selfish");
    }
}
