//! How it was judged, by whom, and what stopped it.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use palisade_policy::model::{Origin, PolicyKey, Position};

/// What became of the access. What passes silently has no event. The order is the one of lists: denials first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It was denied with this error.
    Block(Errno),
    /// It passed and, but for audited mode, would have been denied.
    WouldBlock,
    /// It passed and was to be reported.
    Audit,
    /// It passed and, but for audited mode, would have been reported.
    WouldAudit,
}

/// The verdict that policies in audited mode would have brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShadowVerdict {
    /// It would have passed in silence.
    Allow,
    /// It would have passed, reported.
    Audit,
    /// It would have been denied.
    Block,
}

/// What policies in audited mode would have made of an access, where no verdict of its own tells (`WouldBlock`,
/// `WouldAudit`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shadow {
    /// What would have become of it.
    pub verdict: ShadowVerdict,
    /// Who would have decided.
    pub decider: Decider,
}

/// The error number that the task was given; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(NonZeroU16);

/// Who decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Decider {
    /// A rule of a policy.
    Rule(Arc<Rule>),
    /// The posture of the class.
    DefaultPosture,
    /// A built-in rule, by its name (`mount-integrity`).
    BuiltIn(Cow<'static, str>),
    /// It could not be told: the legend of the event's generation is gone. The code is what the kernel gave.
    Unknown(u32),
    /// The kernel names no rule and none can be derived, for this reason.
    Untold(Cow<'static, str>),
}

/// A rule, as far as an event speaks of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Its policy.
    pub policy: PolicyKey,
    /// Where it stands in the policy.
    pub position: Position,
    /// Where it stands in the input.
    pub origin: Origin,
    /// 1 to 10.
    pub severity: Option<u8>,
    /// After inheritance.
    pub tags: Vec<String>,
    /// After inheritance; empty where there is none.
    pub message: String,
}

/// What carried the verdict out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Enforcer {
    /// Palisade's LSM programs.
    BpfLsm,
    /// A profile of AppArmor.
    AppArmor,
    /// A policy of SELinux.
    SeLinux,
    /// A ruleset of Landlock.
    Landlock,
    /// A filter of seccomp.
    Seccomp,
}

// === impl Verdict ===

impl Verdict {
    /// Denied, if `error` is an error number of either sign; with 0 the kernel let it pass.
    #[must_use]
    pub fn block(error: i32) -> Option<Self> {
        Errno::new(error).map(Self::Block)
    }

    /// Its word in text; at most [`Self::WORD_WIDTH`] wide.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Block(_) => "Block",
            Self::WouldBlock => "would block",
            Self::Audit => "Audit",
            Self::WouldAudit => "would audit",
        }
    }

    /// The width of the longest word.
    pub const WORD_WIDTH: usize = 11;

    /// KubeArmor's `Action`.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Block(_) => "Block",
            Self::WouldBlock => "Audit (Block)",
            Self::Audit | Self::WouldAudit => "Audit",
        }
    }

    /// KubeArmor's `Result`.
    #[must_use]
    pub fn result(self) -> Cow<'static, str> {
        match self {
            Self::Block(errno) => errno.text(),
            Self::WouldBlock | Self::Audit | Self::WouldAudit => Cow::Borrowed("Passed"),
        }
    }
}

// === impl Shadow ===

impl Shadow {
    /// What it would have been.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.verdict {
            ShadowVerdict::Allow => "Allow",
            ShadowVerdict::Audit => "Audit",
            ShadowVerdict::Block => "Block",
        }
    }
}

// === impl Errno ===

impl Errno {
    /// EPERM.
    pub const PERM: Self = Self(NonZeroU16::MIN);
    /// EACCES.
    pub const ACCES: Self = Self(NonZeroU16::MIN.saturating_add(12));
    /// EXDEV.
    pub const XDEV: Self = Self(NonZeroU16::MIN.saturating_add(17));

    /// From an error number of either sign; `None` for 0 and beyond 4095, the kernel's MAX_ERRNO.
    #[must_use]
    pub fn new(number: i32) -> Option<Self> {
        let number = u16::try_from(number.unsigned_abs()).ok().filter(|n| *n <= 4095)?;
        NonZeroU16::new(number).map(Self)
    }

    /// The number, positive.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0.get()
    }

    /// In glibc's words, for those that a security module or a file system gives; else `Unknown (n)`.
    #[must_use]
    pub fn text(self) -> Cow<'static, str> {
        Cow::Borrowed(match self.number() {
            1 => "Operation not permitted",
            2 => "No such file or directory",
            3 => "No such process",
            4 => "Interrupted system call",
            5 => "Input/output error",
            7 => "Argument list too long",
            8 => "Exec format error",
            9 => "Bad file descriptor",
            11 => "Resource temporarily unavailable",
            12 => "Cannot allocate memory",
            13 => "Permission denied",
            14 => "Bad address",
            16 => "Device or resource busy",
            17 => "File exists",
            18 => "Invalid cross-device link",
            19 => "No such device",
            20 => "Not a directory",
            21 => "Is a directory",
            22 => "Invalid argument",
            24 => "Too many open files",
            26 => "Text file busy",
            28 => "No space left on device",
            30 => "Read-only file system",
            36 => "File name too long",
            38 => "Function not implemented",
            40 => "Too many levels of symbolic links",
            95 => "Operation not supported",
            97 => "Address family not supported by protocol",
            111 => "Connection refused",
            number => return Cow::Owned(format!("Unknown ({number})")),
        })
    }
}

// === impl Decider ===

impl Decider {
    /// The rule, where one decided.
    #[must_use]
    pub fn rule(&self) -> Option<&Rule> {
        match self {
            Self::Rule(rule) => Some(rule),
            Self::DefaultPosture | Self::BuiltIn(_) | Self::Unknown(_) | Self::Untold(_) => None,
        }
    }

    /// KubeArmor's `PolicyName`. The original knows no built-in rules; they are under the name `BuiltIn`.
    #[must_use]
    pub fn policy_name(&self) -> &str {
        match self {
            Self::Rule(rule) => &rule.policy.name,
            Self::DefaultPosture => "DefaultPosture",
            Self::BuiltIn(_) => "BuiltIn",
            Self::Unknown(_) | Self::Untold(_) => "Unknown",
        }
    }

    /// Which rule of it, as `PalisadeRule` says: `process.matchPaths[0]`, the built-in rule's name, the kernel's code,
    /// why it cannot be told; nothing for a posture.
    #[must_use]
    pub fn rule_name(&self) -> String {
        match self {
            Self::Rule(rule) => rule.position.to_string(),
            Self::DefaultPosture => String::new(),
            Self::BuiltIn(text) | Self::Untold(text) => text.to_string(),
            Self::Unknown(code) => format!("code {code:#x}"),
        }
    }
}

// === impl Enforcer ===

impl Enforcer {
    /// KubeArmor's `Enforcer`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BpfLsm => "BPFLSM",
            Self::AppArmor => "AppArmor",
            Self::SeLinux => "SELinux",
            Self::Landlock => "Landlock",
            Self::Seccomp => "Seccomp",
        }
    }
}

impl fmt::Display for Enforcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_number_of_either_sign_is_the_same_error() {
        assert_eq!(Errno::new(-13), Some(Errno::ACCES));
        assert_eq!(Errno::new(1), Some(Errno::PERM));
        assert_eq!(Errno::new(0), None);
        assert_eq!(Errno::new(i32::MIN), None);
        assert_eq!(Verdict::block(0), None);
    }

    #[test]
    fn results_are_in_the_words_of_glibc() {
        assert_eq!(Verdict::Block(Errno::ACCES).result(), "Permission denied");
        assert_eq!(Verdict::Block(Errno::PERM).result(), "Operation not permitted");
        assert_eq!(Verdict::block(1234).unwrap().result(), "Unknown (1234)");
        assert_eq!(Verdict::WouldBlock.result(), "Passed");
    }
}
