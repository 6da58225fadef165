//! The mirror of `src/c/abi.h`: numbers, sizes and the decoding of records.
//!
//! Records come from a ring that the kernel writes, yet they are checked like any input: bytes are read by offset with
//! `from_le_bytes`, a number that stands for nothing is a [`DecodeError`], and nothing is ever transmuted.

mod event;
mod values;

pub use event::{DecodeError, Event};
pub use values::{ObjectKind, Operation, Verdict};

/// `PAL_ABI_VERSION`.
pub const ABI_VERSION: u32 = 6;

/// `PAL_SIZES`: size classes of tables.
pub const SIZES: usize = 4;
/// `PAL_BITS_S` to `PAL_BITS_X`: the words of a table, as a power of two, by size class.
pub const TABLE_BITS: [u32; SIZES] = [13, 16, 19, 22];
/// `PAL_HEADER_BYTES`: what stands before the words of a table.
pub const HEADER_BYTES: usize = 56 + CLASSES * (56 + AUTOMATA * 16);
/// `PAL_CLASSES`.
pub const CLASSES: usize = 4;
/// `PAL_AUTOMATA`.
pub const AUTOMATA: usize = 11;
/// `PAL_TABLE_SLOTS`: tables of one size class alive at once.
pub const TABLE_SLOTS: u32 = 1024;
/// `PAL_LABELS`; label 0 is "none".
pub const LABELS: u32 = 4096;
/// `PAL_CGROUP_HINTS`: entries that say whether a cgroup id may be labelled.
pub const CGROUP_HINTS: u32 = 1 << 16;
/// `PAL_TASKS`: labelled threads alive at once.
pub const TASKS: u32 = 32_768;
/// Slots that a label has to itself in the array of each size class: one for its table, one for the next.
pub const SLOTS_PER_LABEL: u32 = 2;
/// The greatest label that has slots: so many workloads can be protected at once.
pub const LABEL_MAX: u32 = TABLE_SLOTS / SLOTS_PER_LABEL;
/// `PAL_PATH_MAX`, in bytes.
pub const PATH_MAX: usize = 4096;
/// `PAL_COMM`, in bytes.
pub const COMM: usize = 16;
/// `PAL_ARGUMENTS_MAX`: what a record has of an exec's arguments at most, in bytes.
pub const ARGUMENTS_MAX: usize = 4096;

/// The bytes of one map value of a size class: header, then the words.
#[must_use]
pub fn value_bytes(size_class: SizeClass) -> usize {
    HEADER_BYTES + (8 << TABLE_BITS[size_class.index()])
}

/// A size class of tables: 64 KiB, 512 KiB, 4 MiB or 32 MiB of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SizeClass(u8);

/// One 64-bit word of `pal_labels`: which table a label stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LabelWord {
    /// The size class of its table.
    pub size: u16,
    /// The slot in the array of tables of that class.
    pub slot: u16,
    /// `PAL_LABEL_AUDIT`: nothing is denied.
    pub audit: bool,
    /// `PAL_LABEL_LIVE`: in use.
    pub live: bool,
    /// `PAL_LABEL_CACHE`: opens may use the cache of directories.
    pub cache: bool,
}

/// The counters of `pal_counters`: per CPU, only ever growing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Counter {
    /// Events written.
    Events,
    /// Events that found the ring full.
    EventsLost,
    /// No scratch slot: refused.
    NoSlot,
    /// Paths that could not be told.
    Unresolvable,
    /// Walks repeated because the tree changed under them.
    Unstable,
    /// Forks refused: no room for another labelled task.
    TaskFull,
    /// A task's label could not be stored; its cgroup's label judges it.
    TaskFailed,
    /// A label without a table: refused.
    NoTable,
    /// Accesses denied.
    Block,
    /// Accesses reported.
    Audit,
    /// Accesses judged.
    Judged,
    /// A new cgroup below a labelled one could not be labelled.
    CgroupFailed,
    /// A thread whose label could not be stored and that has left its cgroup: refused.
    LabelLost = 13, // 12 numbers the events of a CPU
}

// === impl SizeClass ===

impl SizeClass {
    /// All of them, the smallest first.
    pub const ALL: [Self; SIZES] = [Self(0), Self(1), Self(2), Self(3)];

    /// The class of its number.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (usize::from(number) < SIZES).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its number, for arrays.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The smallest class whose values hold so many bytes, header included.
    #[must_use]
    pub fn for_bytes(bytes: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|class| bytes <= value_bytes(*class))
    }
}

// === impl LabelWord ===

impl LabelWord {
    /// The size of the word in its map.
    pub const BYTES: usize = 8;
    const AUDIT: u32 = 1;
    const LIVE: u32 = 2;
    const CACHE: u32 = 4;

    /// The word as it lies in the map.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let Self { size, slot, audit, live, cache } = self;
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        let flags = bit(audit, Self::AUDIT) | bit(live, Self::LIVE) | bit(cache, Self::CACHE);
        let [s0, s1] = size.to_le_bytes();
        let [t0, t1] = slot.to_le_bytes();
        let [f0, f1, f2, f3] = flags.to_le_bytes();
        [s0, s1, t0, t1, f0, f1, f2, f3]
    }

    /// Reads a word; unknown flags are kept out (only this process writes them).
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [s0, s1, t0, t1, f0, f1, f2, f3] = bytes;
        let flags = u32::from_le_bytes([f0, f1, f2, f3]);
        Self {
            size: u16::from_le_bytes([s0, s1]),
            slot: u16::from_le_bytes([t0, t1]),
            audit: flags & Self::AUDIT != 0,
            live: flags & Self::LIVE != 0,
            cache: flags & Self::CACHE != 0,
        }
    }
}

// === impl Counter ===

impl Counter {
    /// All of them, by number.
    pub const ALL: [Self; 13] = [
        Self::Events,
        Self::EventsLost,
        Self::NoSlot,
        Self::Unresolvable,
        Self::Unstable,
        Self::TaskFull,
        Self::TaskFailed,
        Self::NoTable,
        Self::Block,
        Self::Audit,
        Self::Judged,
        Self::CgroupFailed,
        Self::LabelLost,
    ];

    /// Its index in `pal_counters`.
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Its name in metrics and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::EventsLost => "events_lost",
            Self::NoSlot => "no_scratch_slot",
            Self::Unresolvable => "unresolvable",
            Self::Unstable => "unstable_walks",
            Self::TaskFull => "task_table_full",
            Self::TaskFailed => "task_label_failed",
            Self::NoTable => "no_table",
            Self::Block => "blocked",
            Self::Audit => "audited",
            Self::Judged => "judged",
            Self::CgroupFailed => "cgroup_label_failed",
            Self::LabelLost => "label_lost",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ABI_H: &str = include_str!("c/abi.h");

    /// The numeric `#define`s of abi.h whose value is one literal.
    fn defines() -> BTreeMap<&'static str, u64> {
        ABI_H
            .lines()
            .filter_map(|line| {
                let mut words = line.strip_prefix("#define ")?.split_whitespace();
                let name = words.next()?;
                let text = words.next()?.trim_end_matches('u');
                let value = match text.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16).ok()?,
                    None => text.parse().ok()?,
                };
                Some((name, value))
            })
            .collect()
    }

    #[test]
    fn every_number_of_the_header_is_mirrored() {
        let c = defines();
        let same = |name: &str, value: u64| assert_eq!(c.get(name).copied(), Some(value), "{name}");
        same("PAL_ABI_VERSION", ABI_VERSION.into());
        same("PAL_SIZES", SIZES as u64);
        for (name, bits) in ["PAL_BITS_S", "PAL_BITS_M", "PAL_BITS_L", "PAL_BITS_X"].into_iter().zip(TABLE_BITS) {
            same(name, bits.into());
        }
        same("PAL_CLASSES", CLASSES as u64);
        same("PAL_AUTOMATA", AUTOMATA as u64);
        same("PAL_TABLE_SLOTS", TABLE_SLOTS.into());
        same("PAL_LABELS", LABELS.into());
        same("PAL_TASKS", TASKS.into());
        same("PAL_PATH_MAX", PATH_MAX as u64);
        same("PAL_COMM", COMM as u64);
        same("PAL_ARGUMENTS_MAX", ARGUMENTS_MAX as u64);
        same("PAL_EVENT_ARGUMENTS_CUT", Event::ARGUMENTS_CUT.into());
        same("PAL_EVENT_SHADOW", Event::SHADOW.into());
        same("PAL_LABEL_AUDIT", LabelWord::AUDIT.into());
        same("PAL_LABEL_LIVE", LabelWord::LIVE.into());
        same("PAL_LABEL_CACHE", LabelWord::CACHE.into());
        for verdict in Verdict::ALL {
            same(verdict.c_name(), u64::from(verdict.number()));
        }
        for kind in ObjectKind::ALL {
            same(kind.c_name(), u64::from(kind.number()));
        }
        let operations = c.keys().filter(|name| name.starts_with("PAL_OP_")).count();
        assert_eq!(operations, Operation::ALL.len(), "an operation of abi.h is missing here, or the reverse");
        for operation in Operation::ALL {
            same(operation.c_name(), u64::from(operation.number()));
        }
        // PAL_COUNT_NUMBERS is no count: where the numbers of each CPU's events stand.
        let is_counter = |name: &str| name.starts_with("PAL_COUNT_") && name != "PAL_COUNT_NUMBERS";
        let counters: Vec<_> = c.iter().filter(|(name, _)| is_counter(name)).collect();
        assert_eq!(counters.len(), Counter::ALL.len());
        for (name, value) in counters {
            assert!(Counter::ALL.iter().any(|k| u64::from(k.number()) == *value), "{name}");
        }
        assert!(ABI_H.contains("#define PAL_HEADER_BYTES (56 + PAL_CLASSES * (56 + PAL_AUTOMATA * 16))"));
    }

    /// What clang laid out is what is read here: sizes and offsets from the object's own BTF, which needs no kernel.
    #[test]
    fn the_object_lays_structs_out_as_they_are_read() {
        use libbpf_rs::HasSize as _;
        use libbpf_rs::btf::Btf;
        use libbpf_rs::btf::types::{MemberAttr, Struct};
        let btf = Btf::from_raw("palisade", crate::OBJECT).unwrap().unwrap();
        let layout = |name: &str| {
            let found = btf.type_by_name::<Struct<'_>>(name);
            let found = found.unwrap_or_else(|| panic!("no struct {name} in the object"));
            let offset = |attr| match attr {
                MemberAttr::Normal { offset } => offset / 8,
                MemberAttr::BitField { .. } => panic!("a bit field in {name}"),
            };
            let members = found.iter().map(|m| (m.name.unwrap().to_str().unwrap().to_owned(), offset(m.attr)));
            (found.size(), members.collect::<BTreeMap<_, _>>())
        };
        let (size, event) = layout("pal_event");
        assert_eq!(size, Event::HEAD_BYTES);
        for (member, offset) in [
            ("generation", 8),
            ("number", 24),
            ("cpu", 40),
            ("label", 44),
            ("table_id", 64),
            ("class", 72),
            ("object_len", 78),
            ("program_len", 80),
            ("arguments_len", 82),
            ("family", 84),
            ("comm", 96),
            ("flags", 112),
            ("port", 116),
            ("address", 120),
            ("shadow", 136),
        ] {
            assert_eq!(event.get(member), Some(&offset), "pal_event.{member}");
        }
        // clang keeps no BTF of pal_header (it only occurs in inner maps); a size that differs is refused with the first
        // table, as the kernel compares inner maps with their array's.
        let (size, label) = layout("pal_label");
        assert_eq!((size, label["size"], label["slot"], label["flags"]), (LabelWord::BYTES, 0, 2, 4));
        assert_eq!(layout("pal_task").1["label"], 0);
    }

    #[test]
    #[cfg(not(feature = "test-controls"))]
    fn the_product_has_no_test_switch() {
        let has = |name: &[u8]| crate::OBJECT.windows(name.len()).any(|part| part == name);
        assert!(has(b"pal_labels"), "names of maps are not found that way");
        assert!(!has(b"pal_test"), "the product's object has a switch of the control build");
    }

    #[test]
    fn a_label_word_survives_the_map() {
        let word = LabelWord { size: 3, slot: 1023, audit: true, live: true, cache: true };
        assert_eq!(LabelWord::from_bytes(word.to_bytes()), word);
        assert_eq!(word.to_bytes(), [3, 0, 0xff, 3, 7, 0, 0, 0]);
    }

    #[test]
    fn the_smallest_class_that_holds_a_table_is_taken() {
        assert_eq!(SizeClass::for_bytes(HEADER_BYTES + 8), SizeClass::new(0));
        assert_eq!(SizeClass::for_bytes(HEADER_BYTES + (8 << 13)), SizeClass::new(0));
        assert_eq!(SizeClass::for_bytes(HEADER_BYTES + (8 << 13) + 1), SizeClass::new(1));
        assert_eq!(SizeClass::for_bytes(HEADER_BYTES + (8 << 22) + 1), None);
    }
}
