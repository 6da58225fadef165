//! From a rule set to the tables that the kernel walks.
//!
//! A function: the same rule set gives the same bytes. What it cannot hold it refuses with the rules to blame; it never
//! drops or widens one.

mod class;
mod groups;
mod layout;
mod sources;

use palisade_policy::model::Class;

use crate::automaton::pack;
use crate::decision::RuleId;
use crate::rules::{Legend, RuleSet};
use class::{ClassWriter, decision_word};
pub use layout::{ABI_VERSION, HEADER_BYTES, SIZE_BITS};
pub(crate) use layout::{
    ACCEPT_MASK, BASE_AUTOMATON, CLASS_ACTIVE, CLASS_ENFORCED, CODE_MASK, COMPOSE, ClassHeader, LIVE, MULTI_CALL_AUTOMATON,
    OPENS_DEVICE, OWNER_DEPENDS, PLACE, PLACE_HERE, SHADOWED, SINK, SLOTS_MAX, TABLE_ATTACH, TABLE_FOLD, TABLE_HOST,
    TABLE_MOUNTS, TABLE_PTS, TABLE_SOURCES, TableHeader, VERDICT_SHIFT, WOULD_BLOCK,
};
use sources::Sources;

/// The classes in the order of the table.
pub(crate) const TABLE_CLASSES: [Class; 4] = [Class::Process, Class::File, Class::Network, Class::Capability];

/// A compiled rule set.
#[derive(Clone, Debug)]
pub struct Compiled {
    header: TableHeader,
    words: Vec<u64>,
    size_class: u8,
    legend: Legend,
    stats: Stats,
}

/// What identifies a table and its state of the policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Never used again for other content while the machine runs.
    pub table_id: u32,
    /// Rises with each change of the workload's policies.
    pub generation: u64,
}

/// Figures of a table, for `palisade policy compile --stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Process and file.
    pub process: ClassStats,
    /// Of the file class.
    pub file: ClassStats,
    /// Of the network class.
    pub network: ClassStats,
    /// Source classes, folded ones included.
    pub source_classes: usize,
    /// Chains of scripts that are told apart no more: they count as an unknown source, which meets every sourced Block
    /// and Audit and no sourced Allow.
    pub sources_overflow: bool,
    /// States of the automaton over program paths.
    pub source_states: usize,
    /// The whole table, in bytes.
    pub bytes: usize,
}

/// Figures of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassStats {
    /// Columns of its verdict matrix.
    pub columns: usize,
    /// Its automata.
    pub automata: Vec<AutomatonStats>,
}

/// Figures of one automaton.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutomatonStats {
    /// 0: literal rules, 1 to 8: glob groups, 9: invocations of multi-call binaries, 10: the base set.
    pub place: usize,
    /// Patterns that it holds (all glob groups together, for a glob group).
    pub patterns: usize,
    /// States.
    pub states: usize,
    /// Words of eight bytes.
    pub words: usize,
    /// Accept sets: rows of its cells.
    pub sets: usize,
}

/// Why a rule set has no table. Nothing is applied then: the last good table stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// Globs that multiply each other's states.
    #[error("{} globs together need more than {groups} groups of {states} states: merge or anchor some of them", rules.len())]
    GlobsExplode {
        /// The rules of the group that grew too large.
        rules: Vec<RuleId>,
        /// Groups at most.
        groups: usize,
        /// States of a group at most.
        states: usize,
    },
    /// Literal rules beyond the largest automaton.
    #[error("{} literal rules need more states than a table holds", rules.len())]
    LiteralsExplode {
        /// The rules.
        rules: Vec<RuleId>,
    },
    /// The base set, as resolved in this root, beyond the largest automaton.
    #[error("the base set needs more than {states} states in this root; `palisade.dev/base-set: none` leaves it out")]
    BaseSetExplodes {
        /// States at most.
        states: usize,
    },
    /// Endpoint rules whose ports and addresses multiply each other's states.
    #[error("the addresses and ports of {} network rules need more states than a table holds", rules.len())]
    EndpointsExplode {
        /// The rules.
        rules: Vec<RuleId>,
    },
    /// `fromSource` globs that multiply each other's states.
    #[error("the fromSource entries of {} rules need too many states", rules.len())]
    SourcesExplode {
        /// The rules.
        rules: Vec<RuleId>,
    },
    /// More combinations of sources than a table tells apart.
    #[error("the fromSource entries tell {classes} kinds of programs apart; at most {limit} are supported")]
    TooManySources {
        /// Combinations.
        classes: usize,
        /// At most.
        limit: usize,
    },
    /// More policies with Audit, readOnly, ownerOnly or allowedArgs rules beside globs than can be told apart.
    #[error(
        "{slots} policies with rules that look on (Audit; readOnly, ownerOnly or allowedArgs with Block) meet globs in class {class:?}; at most {limit} are supported"
    )]
    TooManyPolicies {
        /// The class.
        class: Class,
        /// Policies.
        slots: usize,
        /// At most.
        limit: usize,
    },
    /// The table is larger than the largest map value.
    #[error("the table needs {bytes} bytes; at most {limit} are supported")]
    TooLarge {
        /// Needed.
        bytes: usize,
        /// At most.
        limit: usize,
    },
    /// An automaton outgrew the index space.
    #[error("class {class:?} needs more words than an index can name")]
    IndexSpace {
        /// The class.
        class: Class,
    },
}

/// Compiles a rule set.
///
/// # Errors
/// [`CompileError`] where a limit is exceeded; it names the rules to blame, where some are.
pub fn compile(rules: &RuleSet, stamp: Stamp) -> Result<Compiled, CompileError> {
    let Stamp { table_id, generation } = stamp;
    // Word 0 is no index: 0 means "not there".
    let mut words = vec![0];
    let mut header = TableHeader { table_id, generation, ..TableHeader::default() };
    let mut stats = Stats::default();

    let sources = Sources::new(rules)?;
    let packed = pack(&mut words, &sources.automaton, &[]).ok_or(CompileError::IndexSpace { class: Class::Process })?;
    header.source_start = packed.start;
    header.source_plain = count(sources.plain);
    header.source_all = count(sources.len());
    header.source_unknown = count(sources.unknown());
    header.fold = count(words.len());
    words.extend(sources.fold.iter().map(|class| *class as u64));
    stats.source_classes = sources.len();
    stats.sources_overflow = sources.overflow;
    stats.source_states = sources.automaton.states.len();

    for (place, class) in TABLE_CLASSES.into_iter().enumerate() {
        let (class_header, class_stats) = ClassWriter::new(rules, class, &sources, &mut words).write()?;
        header.classes[place] = class_header;
        match class {
            Class::Process => stats.process = class_stats,
            Class::File => stats.file = class_stats,
            Class::Network => stats.network = class_stats,
            Class::Capability => {}
        }
    }
    header.mounts = decision_word(rules.mounts(|_| true));
    header.attach = decision_word(rules.attaches());
    header.flags = table_flags(rules, &sources, &header);
    header.words = count(words.len());
    let bytes = HEADER_BYTES + words.len() * 8;
    stats.bytes = bytes;
    let fits = SIZE_BITS.iter().position(|bits| words.len() <= 1 << bits);
    let largest = HEADER_BYTES + (8 << SIZE_BITS[SIZE_BITS.len() - 1]);
    let size_class = fits.and_then(|i| u8::try_from(i).ok()).ok_or(CompileError::TooLarge { bytes, limit: largest })?;
    Ok(Compiled { header, words, size_class, legend: rules.legend(), stats })
}

fn table_flags(rules: &RuleSet, sources: &Sources, header: &TableHeader) -> u32 {
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    flag(sources.are_used(), TABLE_SOURCES)
        | flag(sources.needs_fold(rules), TABLE_FOLD)
        | flag(header.classes.iter().any(|c| c.flags & layout::CLASS_PTS != 0), TABLE_PTS)
        | flag(header.mounts >> VERDICT_SHIFT != 0, TABLE_MOUNTS)
        | flag(header.attach >> VERDICT_SHIFT != 0, TABLE_ATTACH)
        | flag(rules.is_host(), TABLE_HOST)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

// === impl Compiled ===

impl Compiled {
    /// The map value: the header, then the words, little-endian. The rest of the value is zero.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.header.to_bytes();
        out.reserve(self.words.len() * 8);
        self.words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        out
    }

    /// The smallest size class that holds it, 0 to 3 (see [`SIZE_BITS`]).
    #[must_use]
    pub fn size_class(&self) -> u8 {
        self.size_class
    }

    /// The names of its rules.
    #[must_use]
    pub fn legend(&self) -> &Legend {
        &self.legend
    }

    /// Its figures.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What identifies it.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp { table_id: self.header.table_id, generation: self.header.generation }
    }

    /// Whether another table would decide everything alike and name the same rules, so that one can serve both.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        let bare = |c: &Self| TableHeader { table_id: 0, generation: 0, ..c.header };
        bare(self) == bare(other) && self.words == other.words && self.legend == other.legend
    }
}
