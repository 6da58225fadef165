//! What comes out: a verdict and who spoke it.

use std::fmt;

/// The result for one access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// What happens.
    pub verdict: Verdict,
    /// Who decided, as the event names it.
    pub by: By,
    /// What the policies in audited mode would have made of it, where that differs.
    pub shadow: Option<(Verdict, By)>,
}

/// The three results. The order is that of strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Passes, silent.
    Allow,
    /// Passes, reported.
    Audit,
    /// Denied, reported.
    Block,
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum By {
    /// A rule of the set.
    Rule(RuleId),
    /// The posture of the class.
    DefaultPosture,
    /// The base set.
    BaseSet,
    /// A built-in rule.
    BuiltIn(BuiltIn),
    /// Nothing speaks: the class has no rule that concerns it.
    Nothing,
}

/// The index of a rule in its [`RuleSet`](crate::RuleSet), and so in the legend of its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(u32);

/// The built-in rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BuiltIn {
    /// A path that cannot be told.
    Unresolvable,
    /// What belongs to Palisade.
    SelfProtection,
    /// What paths mean.
    MountIntegrity,
    /// Directories above protected files.
    TreeIntegrity,
    /// Tasks that may act as a trusted source.
    Source,
    /// Block devices.
    Device,
}

impl RuleId {
    /// One more than the greatest id: ids share a 24-bit field of the tables with the reserved ids above them.
    pub const LIMIT: u32 = 0x00ff_ff00;

    /// The id of an index below [`Self::LIMIT`].
    #[must_use]
    pub fn new(index: usize) -> Option<Self> {
        u32::try_from(index).ok().filter(|i| *i < Self::LIMIT).map(Self)
    }

    /// The index.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// The index, for slices.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl BuiltIn {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Unresolvable, Self::SelfProtection, Self::MountIntegrity, Self::TreeIntegrity, Self::Source, Self::Device];

    /// Its name in events and tests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unresolvable => "unresolvable",
            Self::SelfProtection => "self",
            Self::MountIntegrity => "mount-integrity",
            Self::TreeIntegrity => "tree-integrity",
            Self::Source => "source",
            Self::Device => "device",
        }
    }
}

impl By {
    /// The 24-bit number that tables and events carry: rule ids as they are, the rest above [`RuleId::LIMIT`].
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Rule(id) => id.get(),
            Self::BuiltIn(b) => RuleId::LIMIT + b as u32,
            Self::DefaultPosture => 0x00ff_fff0,
            Self::BaseSet => 0x00ff_fff1,
            Self::Nothing => 0x00ff_fff2,
        }
    }

    /// The reverse of [`Self::code`]; `None` for a number that stands for nothing.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        match code {
            0x00ff_fff0 => Some(Self::DefaultPosture),
            0x00ff_fff1 => Some(Self::BaseSet),
            0x00ff_fff2 => Some(Self::Nothing),
            c if c < RuleId::LIMIT => Some(Self::Rule(RuleId(c))),
            c => BuiltIn::ALL.into_iter().find(|b| RuleId::LIMIT + *b as u32 == c).map(Self::BuiltIn),
        }
    }
}

impl Verdict {
    /// Its word in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Audit => "Audit",
            Self::Block => "Block",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
