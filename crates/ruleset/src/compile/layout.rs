//! The layout of a table, as the kernel reads it. The C side is `crates/bpf/src/c/abi.h`; sizes are asserted there and
//! here.

/// The version of the layout (`PAL_ABI_VERSION`).
pub const ABI_VERSION: u32 = 6;

/// Words of `t[]` by size class, as powers of two (`PAL_BITS_*`): 64 KiB, 512 KiB, 4 MiB, 32 MiB.
pub const SIZE_BITS: [u32; 4] = [13, 16, 19, 22];

/// Bytes of the header in front of the words (`PAL_HEADER_BYTES`).
pub const HEADER_BYTES: usize = 56 + CLASSES * CLASS_BYTES;
/// Classes of a table.
pub(crate) const CLASSES: usize = 4;
const CLASS_BYTES: usize = 56 + AUTOMATA * 16;
/// Automata of a class: literal rules, up to eight glob groups, invocations of multi-call binaries, the base set.
pub(crate) const AUTOMATA: usize = 11;
/// The automaton over `path//name`.
pub(crate) const MULTI_CALL_AUTOMATON: usize = 9;
/// The automaton of the base set.
pub(crate) const BASE_AUTOMATON: usize = 10;
/// Glob groups at most.
pub(crate) const GLOB_GROUPS: usize = 8;
/// Slots of a vector at most.
pub(crate) const SLOTS_MAX: usize = 16;
/// Capability rows.
pub(crate) const CAPABILITY_ROWS: usize = 41;

pub(crate) const SINK: u32 = 1 << 31;
pub(crate) const ACCEPT_MASK: u32 = 0x01ff_ffff;
/// Marks of a state: something that `tree-integrity` counts may yet be met; the same counting audited policies too.
pub(crate) const LIVE: [u32; 2] = [1 << 30, 1 << 29];
/// Something that `mount-integrity` counts as a place may be met here or below.
pub(crate) const PLACE: [u32; 2] = [1 << 28, 1 << 27];
/// Such a thing is met here.
pub(crate) const PLACE_HERE: [u32; 2] = [1 << 26, 1 << 25];

pub(crate) const VERDICT_SHIFT: u32 = 30;
pub(crate) const OWNER_DEPENDS: u32 = 0x2000_0000;
pub(crate) const SHADOWED: u32 = 0x1000_0000;
pub(crate) const CODE_MASK: u32 = 0x00ff_ffff;
/// Flags of a decision that passes: an Allow won by which a block device may be opened; the same counting audited
/// policies too.
pub(crate) const OPENS_DEVICE: [u32; 2] = [1 << 24, 1 << 25];
/// In place of a decision: what the base set lets pass has to be composed.
pub(crate) const COMPOSE: u32 = u32::MAX;
pub(crate) const WOULD_BLOCK: u32 = 3;

pub(crate) const CLASS_ACTIVE: u32 = 1;
pub(crate) const CLASS_PTS: u32 = 2;
pub(crate) const CLASS_SOURCED: u32 = 4;
pub(crate) const CLASS_OWNER: u32 = 8;
pub(crate) const CLASS_LIVE_DIRS: u32 = 16;
pub(crate) const CLASS_INVOKED: u32 = 32;
pub(crate) const CLASS_ENFORCED: u32 = 64;

pub(crate) const TABLE_SOURCES: u32 = 1;
pub(crate) const TABLE_FOLD: u32 = 2;
pub(crate) const TABLE_PTS: u32 = 4;
pub(crate) const TABLE_MOUNTS: u32 = 8;
pub(crate) const TABLE_ATTACH: u32 = 16;
pub(crate) const TABLE_HOST: u32 = 32;

/// `struct pal_automaton`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AutomatonHeader {
    pub(crate) start: u32,
    pub(crate) cells: u32,
    pub(crate) vectors: u32,
    pub(crate) rows: u32,
}

/// `struct pal_class`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassHeader {
    pub(crate) flags: u32,
    pub(crate) columns: u32,
    pub(crate) column_map: u32,
    pub(crate) globs: u32,
    pub(crate) slots: u32,
    pub(crate) upper: u32,
    pub(crate) lower: u32,
    pub(crate) audited: u32,
    pub(crate) allow_list: u32,
    pub(crate) base: u32,
    /// By operation.
    pub(crate) posture: [u32; 2],
    pub(crate) unresolvable: u32,
    pub(crate) ranks: u32,
    pub(crate) automata: [AutomatonHeader; AUTOMATA],
}

/// `struct pal_header`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableHeader {
    pub(crate) flags: u32,
    pub(crate) table_id: u32,
    pub(crate) words: u32,
    pub(crate) generation: u64,
    pub(crate) source_start: u32,
    pub(crate) source_plain: u32,
    pub(crate) source_all: u32,
    pub(crate) source_unknown: u32,
    pub(crate) fold: u32,
    /// The decision on a change of mounts.
    pub(crate) mounts: u32,
    /// The decision on attaching to another program.
    pub(crate) attach: u32,
    pub(crate) classes: [ClassHeader; CLASSES],
}

// === impl TableHeader ===

impl TableHeader {
    /// The header as bytes.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let Self {
            flags,
            table_id,
            words,
            generation,
            source_start,
            source_plain,
            source_all,
            source_unknown,
            fold,
            mounts,
            attach,
            classes,
        } = self;
        let mut out = Writer(Vec::with_capacity(HEADER_BYTES));
        [ABI_VERSION, flags, table_id, words].into_iter().for_each(|w| out.u32(w));
        out.0.extend_from_slice(&generation.to_le_bytes());
        [source_start, source_plain, source_all, source_unknown, fold, mounts, attach, 0].into_iter().for_each(|w| out.u32(w));
        for class in classes {
            let ClassHeader {
                flags,
                columns,
                column_map,
                globs,
                slots,
                upper,
                lower,
                audited,
                allow_list,
                base,
                posture: [posture_0, posture_1],
                unresolvable,
                ranks,
                automata,
            } = class;
            [
                flags,
                columns,
                column_map,
                globs,
                slots,
                upper,
                lower,
                audited,
                allow_list,
                base,
                posture_0,
                unresolvable,
                ranks,
                posture_1,
            ]
            .into_iter()
            .for_each(|w| out.u32(w));
            for AutomatonHeader { start, cells, vectors, rows } in automata {
                [start, cells, vectors, rows].into_iter().for_each(|w| out.u32(w));
            }
        }
        out.0
    }

    /// The reverse of [`Self::to_bytes`]; `None` if it is no header of this version.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader { bytes: bytes.get(..HEADER_BYTES)?, at: 0 };
        if r.u32()? != ABI_VERSION {
            return None;
        }
        let mut header = Self { flags: r.u32()?, table_id: r.u32()?, words: r.u32()?, generation: r.u64()?, ..Self::default() };
        header.source_start = r.u32()?;
        header.source_plain = r.u32()?;
        header.source_all = r.u32()?;
        header.source_unknown = r.u32()?;
        header.fold = r.u32()?;
        header.mounts = r.u32()?;
        header.attach = r.u32()?;
        r.u32()?;
        for class in &mut header.classes {
            class.flags = r.u32()?;
            class.columns = r.u32()?;
            class.column_map = r.u32()?;
            class.globs = r.u32()?;
            class.slots = r.u32()?;
            class.upper = r.u32()?;
            class.lower = r.u32()?;
            class.audited = r.u32()?;
            class.allow_list = r.u32()?;
            class.base = r.u32()?;
            class.posture[0] = r.u32()?;
            class.unresolvable = r.u32()?;
            class.ranks = r.u32()?;
            class.posture[1] = r.u32()?;
            for automaton in &mut class.automata {
                *automaton = AutomatonHeader { start: r.u32()?, cells: r.u32()?, vectors: r.u32()?, rows: r.u32()? };
            }
        }
        Some(header)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, word: u32) {
        self.0.extend_from_slice(&word.to_le_bytes());
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u32(&mut self) -> Option<u32> {
        let bytes = self.bytes.get(self.at..self.at + 4)?.try_into().ok()?;
        self.at += 4;
        Some(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> Option<u64> {
        let bytes = self.bytes.get(self.at..self.at + 8)?.try_into().ok()?;
        self.at += 8;
        Some(u64::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        let mut header =
            TableHeader { flags: 3, table_id: 7, words: 9, generation: 1 << 40, fold: 4, attach: 8, ..TableHeader::default() };
        header.classes[2].posture = [5, 6];
        header.classes[3].automata[9].rows = 11;
        let bytes = header.to_bytes();
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(TableHeader::from_bytes(&bytes), Some(header));
    }
}
