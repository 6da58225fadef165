//! The kernel's walk over a table, in user space: proves the tables without a kernel. Every line has its twin in the C
//! programs; nothing here knows a rule.

use palisade_policy::model::Class;

use crate::access::{Access, Actor, FileMode, MountChange, Object, Operation, Program};
use crate::compile::{
    ACCEPT_MASK, BASE_AUTOMATON, CLASS_ACTIVE, CLASS_ENFORCED, CODE_MASK, COMPOSE, ClassHeader, HEADER_BYTES, LIVE,
    MULTI_CALL_AUTOMATON, OPENS_DEVICE, OWNER_DEPENDS, PLACE, PLACE_HERE, SHADOWED, SINK, SLOTS_MAX, TABLE_CLASSES, TABLE_FOLD,
    TABLE_HOST, TableHeader, VERDICT_SHIFT, WOULD_BLOCK,
};
use crate::decision::{BuiltIn, By, Verdict};
use crate::endpoint;

/// What the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// The verdict.
    pub verdict: Verdict,
    /// Who decided.
    pub by: Option<By>,
    /// It passes in silence and an audited policy would have denied it; `by` names it.
    pub would_block: bool,
    /// What audited policies would have made of it otherwise, and who.
    pub shadow: Option<(Verdict, Option<By>)>,
}

/// A table, read from the bytes that the kernel gets.
#[derive(Clone, Debug)]
pub struct Table {
    header: TableHeader,
    words: Vec<u64>,
}

/// Where one automaton ended.
#[derive(Clone, Copy)]
struct End {
    automaton: usize,
    accept: u32,
}

const BLOCK: u32 = 2;
/// `DECISION_SHADOW`.
const SHADOW: u64 = 1 << 58;
const SAYS_MASK: u32 = 3;
const SAYS_AUDIT: u32 = 1;
const SAYS_ALLOW: u32 = 2;
const SAYS_BLOCK: u32 = 3;

// === impl Walked ===

impl Walked {
    const PASS: Self = Self { verdict: Verdict::Allow, by: None, would_block: false, shadow: None };

    fn from_decision(decision: u64) -> Self {
        let word = low_word(decision);
        let (verdict, by) = (verdict(word >> VERDICT_SHIFT), By::from_code(word & CODE_MASK));
        let shadow = low_word(decision >> 32);
        let shadow = (decision & SHADOW != 0).then(|| (self::verdict(shadow >> 24 & 3), By::from_code(shadow & CODE_MASK)));
        Self { verdict, by, would_block: word >> VERDICT_SHIFT == WOULD_BLOCK, shadow }
    }
}

fn built_in(verdict: u32, rule: BuiltIn) -> u32 {
    verdict << VERDICT_SHIFT | By::BuiltIn(rule).code()
}

/// The decision of a built-in rule that denies where a mark is set; the second mark counts audited policies too.
fn by_marks(marks: u32, denies: [u32; 2], rule: BuiltIn) -> u32 {
    if marks & denies[0] != 0 {
        built_in(BLOCK, rule)
    } else if marks & denies[1] != 0 {
        built_in(WOULD_BLOCK, rule)
    } else {
        0
    }
}

fn verdict(number: u32) -> Verdict {
    match number {
        0 => Verdict::Allow,
        BLOCK => Verdict::Block,
        _ => Verdict::Audit,
    }
}

fn low_word(number: u64) -> u32 {
    (number & 0xffff_ffff) as u32
}

/// A decision of its two halves, as it is and as it would be with policies in audited mode: `shadow_join` in C.
fn join(real: u32, with: u32) -> u64 {
    let code = with & CODE_MASK;
    if real >> VERDICT_SHIFT == with >> VERDICT_SHIFT {
        return real.into();
    }
    if real >> VERDICT_SHIFT == 0 && with >> VERDICT_SHIFT == BLOCK {
        return (WOULD_BLOCK << VERDICT_SHIFT | real & (OPENS_DEVICE[0] | OPENS_DEVICE[1]) | code).into();
    }
    u64::from(real) | SHADOW | u64::from((with >> VERDICT_SHIFT) << 24 | code) << 32
}

/// What a decision would be with policies in audited mode.
fn with_audited(decision: u64) -> u32 {
    let (real, shadow) = (low_word(decision), low_word(decision >> 32));
    if decision & SHADOW != 0 {
        (shadow >> 24 & 3) << VERDICT_SHIFT | shadow & CODE_MASK
    } else if real >> VERDICT_SHIFT == WOULD_BLOCK {
        BLOCK << VERDICT_SHIFT | real & CODE_MASK
    } else {
        real
    }
}

/// Whether the posture speaks in a decision or in its shadow.
fn names_posture(decision: u64) -> bool {
    [decision, decision >> 32].into_iter().any(|part| low_word(part) & CODE_MASK == By::DefaultPosture.code())
}

// === impl Table ===

impl Table {
    /// Reads a map value. `None` if it is none of this version.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let header = TableHeader::from_bytes(bytes)?;
        let (words, _) = bytes.get(HEADER_BYTES..)?.as_chunks::<8>();
        Some(Self { header, words: words.iter().map(|word| u64::from_le_bytes(*word)).collect() })
    }

    /// What the kernel would decide on an access by this table.
    #[must_use]
    pub fn decide(&self, access: &Access) -> Walked {
        let Access { actor, operation } = access;
        let own = self.source_of(&actor.program);
        let decision = match operation {
            Operation::Exec { object, owner, scripts, invoked_as, arguments: _ } => {
                let mut source = own;
                for script in scripts {
                    source = self.fold(source, self.source_of(script));
                }
                self.path(Class::Process, object, invoked_as, source, actor, *owner, 0)
            }
            Operation::MapExec { object, owner } => {
                let loader = actor.program.is_loader();
                let own_file = match (&actor.program, object) {
                    (Program::Path(a), Object::Path(b)) | (Program::Memfd(a), Object::Memfd(b)) => a == b,
                    _ => false,
                };
                if own_file || (!loader && matches!(object, Object::Memfd(_))) {
                    return Walked::PASS;
                }
                self.path(Class::Process, object, &[], own, actor, *owner, usize::from(!loader))
            }
            Operation::File { mode, object, owner, block_device } => {
                if matches!(object, Object::Memfd(_)) {
                    return Walked::PASS;
                }
                let decision = self.path(Class::File, object, &[], own, actor, *owner, usize::from(*mode == FileMode::Write));
                if *block_device { self.device(decision) } else { decision }
            }
            Operation::Socket { socket, end } => match endpoint::key(*socket, *end) {
                None => 0,
                Some(key) => self.text(self.class(Class::Network), &key, &[], own, actor, None, 0),
            },
            Operation::Capability { number } => self.row(Class::Capability, usize::from(*number), own, actor),
            Operation::MoveDirectory { object } => self.move_directory(object),
            Operation::Mount(change) => self.mount(change).into(),
            Operation::Attach { target } => {
                // A memfd's name is no identity.
                let same = matches!((&actor.program, target), (Program::Path(a), Program::Path(b)) if a == b);
                if same { 0 } else { self.header.attach.into() }
            }
            Operation::TouchPalisade => built_in(BLOCK, BuiltIn::SelfProtection).into(),
        };
        Walked::from_decision(decision)
    }

    fn low(&self, index: u32) -> u32 {
        (self.words.get(index as usize).copied().unwrap_or(0) & 0xffff_ffff) as u32
    }

    fn high(&self, index: u32) -> u32 {
        (self.words.get(index as usize).copied().unwrap_or(0) >> 32) as u32
    }

    /// The accept set at the end of a text.
    fn run(&self, start: u32, text: &[u8]) -> u32 {
        self.record(start, text) & ACCEPT_MASK
    }

    /// The record of the state at the end of a text: accept set and marks.
    fn record(&self, start: u32, text: &[u8]) -> u32 {
        self.low(self.walk(start, text) & !SINK)
    }

    /// The state at the end of a text, from another: with [`SINK`] it stays whatever follows. So a walk may be made in two
    /// halves, as the kernel does that keeps the state at a directory's end.
    fn walk(&self, from: u32, text: &[u8]) -> u32 {
        let mut state = from;
        for byte in text {
            if state & SINK != 0 {
                break;
            }
            let at = state + u32::from(*byte);
            state = if self.low(at) == state { self.high(at) } else { self.high(state) };
        }
        state
    }

    fn source_of(&self, program: &Program) -> u32 {
        match program.text() {
            Some(text) => self.run(self.header.source_start, &text),
            None => self.header.source_unknown,
        }
    }

    fn fold(&self, source: u32, script: u32) -> u32 {
        if self.header.flags & TABLE_FOLD == 0 {
            return source;
        }
        self.low(self.header.fold + source * self.header.source_plain + script)
    }

    fn class(&self, class: Class) -> &ClassHeader {
        let place = TABLE_CLASSES.iter().position(|c| *c == class).unwrap_or(0);
        &self.header.classes[place]
    }

    /// A decision as a cell has it.
    fn decision(&self, word: u32) -> u64 {
        if word & SHADOWED == 0 {
            return word.into();
        }
        let pair = word & CODE_MASK;
        join(self.low(pair), self.high(pair))
    }

    fn row(&self, class: Class, row: usize, source: u32, actor: &Actor) -> u64 {
        let class = self.class(class);
        if class.flags & CLASS_ACTIVE == 0 {
            return 0;
        }
        let column = self.low(class.column_map + source * 2 + u32::from(actor.terminal));
        let row = u32::try_from(row).unwrap_or(u32::MAX);
        self.decision(self.low(class.automata[0].cells + row * class.columns + column))
    }

    #[expect(clippy::too_many_arguments, reason = "the twin of the kernel's function, which takes scalars only")]
    fn path(
        &self,
        class: Class,
        object: &Object,
        invoked_as: &[Vec<u8>],
        source: u32,
        actor: &Actor,
        owner: Option<u32>,
        operation: usize,
    ) -> u64 {
        let class = self.class(class);
        if class.flags & CLASS_ACTIVE == 0 {
            return 0;
        }
        match object.text() {
            Some(text) => self.text(class, &text, invoked_as, source, actor, owner, operation),
            None => self.decision(class.unresolvable),
        }
    }

    /// The decision on a path, or on the key of a network operation.
    #[expect(clippy::too_many_arguments, reason = "the twin of the kernel's function, which takes scalars only")]
    fn text(
        &self,
        class: &ClassHeader,
        text: &[u8],
        invoked_as: &[Vec<u8>],
        source: u32,
        actor: &Actor,
        owner: Option<u32>,
        operation: usize,
    ) -> u64 {
        if class.flags & CLASS_ACTIVE == 0 {
            return 0;
        }
        let column = self.low(class.column_map + source * 2 + u32::from(actor.terminal));
        let mut ends = Vec::new();
        for automaton in 0..=class.globs as usize {
            ends.push(End { automaton, accept: self.run(class.automata[automaton].start, text) });
        }
        if class.automata[MULTI_CALL_AUTOMATON].start != 0 {
            for name in invoked_as {
                let text = [text, b"//", name].concat();
                let accept = self.run(class.automata[MULTI_CALL_AUTOMATON].start, &text);
                ends.push(End { automaton: MULTI_CALL_AUTOMATON, accept });
            }
        }
        let is_owner = owner == Some(actor.uid);
        let met: Vec<End> = ends.iter().copied().filter(|e| e.accept != 0).collect();
        let decision = match met.as_slice() {
            [] => self.cell(class, ends[0], column, operation, is_owner),
            [one] => self.cell(class, *one, column, operation, is_owner),
            several => self.compose(class, several, column, operation, is_owner, false),
        };
        if !names_posture(decision) || !self.base_set(class, text, operation) {
            return decision;
        }
        if class.base == COMPOSE { self.compose(class, &met, column, operation, is_owner, true) } else { class.base.into() }
    }

    /// Whether the base set lets an operation on a path pass.
    fn base_set(&self, class: &ClassHeader, text: &[u8], operation: usize) -> bool {
        let automaton = class.automata[BASE_AUTOMATON];
        automaton.start != 0 && self.low(automaton.cells + self.run(automaton.start, text)) >> operation & 1 == 1
    }

    /// The marks that a path has in any automaton of a class.
    fn marks(&self, class: &ClassHeader, path: &[u8]) -> u32 {
        let places = (0..=class.globs as usize).chain([MULTI_CALL_AUTOMATON]);
        let starts = places.map(|place| class.automata[place].start).filter(|start| *start != 0);
        starts.fold(0, |marks, start| marks | self.record(start, path))
    }

    fn move_directory(&self, object: &Object) -> u64 {
        let class = self.class(Class::File);
        if class.flags & CLASS_ACTIVE == 0 || self.header.flags & TABLE_HOST != 0 {
            return 0;
        }
        let Object::Path(path) = object else { return self.decision(class.unresolvable) };
        let marks = self.marks(class, &[path.as_slice(), b"/"].concat());
        by_marks(marks, LIVE, BuiltIn::TreeIntegrity).into()
    }

    fn mount(&self, change: &MountChange) -> u32 {
        let at = match change {
            MountChange::New { at } => at,
            MountChange::UnmountOwn => return 0,
            MountChange::Rearrange
            | MountChange::UnmountForeign
            | MountChange::PivotRoot
            | MountChange::EnterForeign
            | MountChange::OpenDetached => return self.header.mounts,
        };
        let below = if at == b"/" { b"/".to_vec() } else { [at.as_slice(), b"/"].concat() };
        let mut marks = 0;
        for class in [self.class(Class::Process), self.class(Class::File)] {
            marks |= self.marks(class, at) & (PLACE_HERE[0] | PLACE_HERE[1]);
            marks |= self.marks(class, &below) & (PLACE[0] | PLACE[1]);
        }
        let places = [PLACE[0] | PLACE_HERE[0], PLACE[1] | PLACE_HERE[1]];
        by_marks(marks, places, BuiltIn::MountIntegrity)
    }

    /// The decision on an open of a block device, from that on any other file.
    fn device(&self, decision: u64) -> u64 {
        let class = self.class(Class::File);
        if class.flags & CLASS_ACTIVE == 0 || self.header.flags & TABLE_HOST != 0 {
            return decision;
        }
        let mut real = low_word(decision);
        let mut with = with_audited(decision);
        let flags = real;
        if class.flags & CLASS_ENFORCED != 0 && real >> VERDICT_SHIFT != BLOCK && flags & OPENS_DEVICE[0] == 0 {
            real = built_in(BLOCK, BuiltIn::Device);
        }
        if with >> VERDICT_SHIFT != BLOCK && flags & OPENS_DEVICE[1] == 0 {
            with = built_in(BLOCK, BuiltIn::Device);
        }
        join(real, with)
    }

    fn cell(&self, class: &ClassHeader, end: End, column: u32, operation: usize, is_owner: bool) -> u64 {
        let at = class.automata[end.automaton].cells + end.accept * class.columns + column;
        let word = if operation == 0 { self.low(at) } else { self.high(at) };
        if word & OWNER_DEPENDS == 0 {
            return self.decision(word);
        }
        let pair = word & CODE_MASK;
        self.decision(if is_owner { self.high(pair) } else { self.low(pair) })
    }

    fn compose(&self, class: &ClassHeader, ends: &[End], column: u32, operation: usize, is_owner: bool, base: bool) -> u64 {
        let mut best = [0_u32; SLOTS_MAX];
        let mut decided = [0_u32; SLOTS_MAX];
        let part = u32::try_from(operation * 2 + usize::from(is_owner)).unwrap_or(0);
        for end in ends {
            let vector = self.low(class.automata[end.automaton].vectors + end.accept * class.columns + column);
            for slot in 0..class.slots {
                let at = vector + part * class.slots + slot;
                let i = slot as usize;
                best[i] = best[i].max(self.low(at));
                decided[i] = decided[i].max(self.high(at));
            }
        }
        let posture = if base { By::BaseSet.code() } else { class.posture[operation] };
        let real = self.evaluate(class, &best, &decided, !class.audited, posture);
        let with = if class.audited == 0 { real } else { self.evaluate(class, &best, &decided, u32::MAX, posture) };
        let device = if with & OPENS_DEVICE[0] == 0 { 0 } else { OPENS_DEVICE[1] };
        join(real | device, with)
    }

    /// With a posture that is to allow, for what the base set lets pass.
    fn evaluate(&self, class: &ClassHeader, best: &[u32], decided: &[u32], mask: u32, posture: u32) -> u32 {
        let (mut upper, mut lower, mut audit, mut unheard) = (0, 0, 0, false);
        for slot in 0..class.slots {
            let bit = 1 << slot;
            if mask & bit == 0 {
                continue;
            }
            let (key, next) = (best[slot as usize], decided[slot as usize]);
            let voice = match key & SAYS_MASK {
                SAYS_ALLOW | SAYS_BLOCK => key,
                _ if next & SAYS_MASK == SAYS_ALLOW => next,
                _ => 0,
            };
            if class.upper & bit != 0 {
                upper = voice.max(upper);
            } else {
                lower = voice.max(lower);
            }
            if key & SAYS_MASK == SAYS_AUDIT {
                audit = key.max(audit);
            }
            unheard |= class.allow_list & bit != 0 && key == 0;
        }
        let greatest = |says: u32| [upper, lower].into_iter().filter(|v| v & SAYS_MASK == says).max().unwrap_or(0);
        let (block, allow) = (greatest(SAYS_BLOCK), greatest(SAYS_ALLOW));
        let code = |key: u32| self.low(class.ranks + (key >> 2));
        let opens = |key: &u32| key & SAYS_MASK == SAYS_ALLOW && self.high(class.ranks + (key >> 2)) != 0;
        let device = if [upper, lower].iter().any(opens) { OPENS_DEVICE[0] } else { 0 };
        if block != 0 {
            return BLOCK << VERDICT_SHIFT | code(block) | device;
        }
        let by_posture = allow == 0 && unheard;
        if by_posture && posture >> VERDICT_SHIFT == BLOCK {
            return posture;
        }
        if audit != 0 {
            return 1 << VERDICT_SHIFT | code(audit) | device;
        }
        if by_posture { posture } else { code(allow) | device }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use palisade_policy::SourceFile;
    use proptest::prelude::*;

    use super::*;
    use crate::{NoLinks, RuleSet, Stamp, Workload, compile};

    /// Literal rules, several groups of globs and the base set.
    const POLICY: &str = "
apiVersion: security.kubearmor.com/v1
kind: KubeArmorPolicy
metadata: {name: halves}
spec:
  selector: {matchLabels: {a: b}}
  file:
    matchPaths: [{path: /a/b}, {path: /a/b/c, action: Allow}, {path: /usr/lib/a.so}]
    matchDirectories: [{dir: /a/a/, recursive: true, action: Allow}, {dir: /b/, action: Block}]
    matchPatterns: [{pattern: '/a/*/c'}, {pattern: '/**/b.so'}, {pattern: '/b/?/**', action: Block}]
  action: Block
";

    fn table() -> Table {
        let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("halves.yaml"), text: POLICY }]);
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        let rules = RuleSet::new(&parsed.policies, &Workload::run(), &NoLinks);
        let compiled = compile(&rules, Stamp { table_id: 1, generation: 1 }).unwrap();
        Table::from_bytes(&compiled.bytes()).unwrap()
    }

    proptest! {
        #[test]
        fn a_walk_in_two_halves_is_the_whole_walk(
            names in prop::collection::vec(prop_oneof!["[abc]{1,2}", Just("usr".to_owned()), Just("lib".to_owned()), Just("b.so".to_owned())], 1..8),
        ) {
            thread_local! { static TABLE: Table = table(); }
            let path = format!("/{}", names.join("/"));
            TABLE.with(|table| {
                let starts: Vec<u32> = table.header.classes.iter().flat_map(|c| c.automata.iter().map(|a| a.start)).collect();
                assert!(starts.iter().filter(|start| **start != 0).count() >= 3, "literal rules, globs and the base set");
                for start in starts.into_iter().filter(|start| *start != 0) {
                    for (end, _) in path.match_indices('/') {
                        let (directory, name) = path.as_bytes().split_at(end + 1);
                        let state = table.walk(start, directory);
                        assert_eq!(table.run(state, name), table.run(start, path.as_bytes()), "{path} at {end}");
                    }
                }
            });
        }
    }
}
