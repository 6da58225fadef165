//! Back ends: what carries verdicts out, and how much of a policy each covers.

pub mod bpf;
mod bpf_gaps;
pub mod enforcer;
pub mod landlock;
pub mod legend;
pub mod table;

use std::fmt;

use palisade_ruleset::RuleId;
use serde::{Deserialize, Serialize};

pub use bpf_gaps::{BPF_GAPS, bpf_gaps, bpf_inherent};

/// What carries verdicts out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Palisade's own LSM programs.
    Bpf,
    /// Landlock with seccomp.
    Landlock,
}

/// How much of a policy a back end carries out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// All of it.
    Full,
    /// All but these.
    Partial(Vec<Gap>),
    /// Nothing, for this reason.
    None(String),
}

/// Something that a back end does not carry out as `meaning` says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// The rule that it concerns; `None` where it concerns them all.
    pub rule: Option<RuleId>,
    /// Its name in reports and documentation.
    pub name: &'static str,
    /// What is not met, and what holds instead.
    pub text: String,
}

// === impl Backend ===

impl Backend {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bpf => "bpf",
            Self::Landlock => "landlock",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bpf => "BPF-LSM",
            Self::Landlock => "Landlock",
        })
    }
}

// === impl Coverage ===

impl Coverage {
    /// Full, or partial where there are gaps.
    #[must_use]
    pub fn of(mut gaps: Vec<Gap>) -> Self {
        if gaps.is_empty() {
            return Self::Full;
        }
        gaps.sort();
        gaps.dedup();
        Self::Partial(gaps)
    }

    /// The gaps.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        match self {
            Self::Partial(gaps) => gaps,
            Self::Full | Self::None(_) => &[],
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::Partial(gaps) if gaps.len() == 1 => f.write_str("partial, 1 gap"),
            Self::Partial(gaps) => write!(f, "partial, {} gaps", gaps.len()),
            Self::None(reason) => write!(f, "none: {reason}"),
        }
    }
}
