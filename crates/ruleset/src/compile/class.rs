//! One class of a table: its automata, its cells, and the vectors by which several automata compose.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use palisade_policy::model::{Action, Class};

use super::layout::{
    AUTOMATA, AutomatonHeader, BASE_AUTOMATON, CLASS_ACTIVE, CLASS_ENFORCED, CLASS_INVOKED, CLASS_LIVE_DIRS, CLASS_OWNER,
    CLASS_PTS, CLASS_SOURCED, CODE_MASK, COMPOSE, ClassHeader, LIVE, MULTI_CALL_AUTOMATON, OPENS_DEVICE, OWNER_DEPENDS, PLACE,
    PLACE_HERE, SHADOWED, SLOTS_MAX, VERDICT_SHIFT, WOULD_BLOCK,
};
use super::sources::{Column, Columns, Sources};
use super::{AutomatonStats, ClassStats, CompileError, count, groups};
use crate::automaton::{Dfa, MixBuild, PatternIndex, pack};
use crate::decide::{can_deny_file, names_a_place, opens_device};
use crate::decision::{By, Decision, RuleId, Verdict};
use crate::endpoint;
use crate::judge::{Candidate, Conditions, Rank, Says, candidate, tier_winners};
use crate::pattern::Pattern;
use crate::resolve::{Name, ObjectRank};
use crate::rules::{Rule, RuleBody, RuleSet, Tier};
use crate::workload::Posture;

/// The rank number of the worst ranked rule; 0 is none.
const FIRST_RANK: u32 = 1;

/// Writes one class into the words of a table.
pub(super) struct ClassWriter<'a> {
    rules: &'a RuleSet,
    class: Class,
    columns: Columns,
    /// What each pattern index stands for.
    names: Vec<Meaning>,
    words: &'a mut Vec<u64>,
    pairs: HashMap<u64, u32, MixBuild>,
    vectors: HashMap<Vec<u64>, u32, MixBuild>,
    ranks: BTreeMap<Rank, u32>,
    slots: Slots,
    /// Names of Allows that open block devices.
    devices: HashSet<(RuleId, ObjectRank)>,
    depends_on_owner: bool,
}

/// What a pattern stands for: a name of a rule, and which built-in rules count it.
#[derive(Clone, Copy)]
struct Meaning {
    id: RuleId,
    rank: ObjectRank,
    audited: bool,
    /// `tree-integrity`.
    live: bool,
    /// `mount-integrity`.
    place: bool,
    /// `device`: it opens one.
    device: bool,
}

/// Which policies share a slot of the vectors. Policies whose rules never look on compete as one.
#[derive(Default)]
struct Slots {
    /// By policy index.
    of: BTreeMap<usize, usize>,
    count: usize,
    upper: u32,
    lower: u32,
    audited: u32,
    allow_list: u32,
}

impl<'a> ClassWriter<'a> {
    pub(super) fn new(rules: &'a RuleSet, class: Class, sources: &Sources, words: &'a mut Vec<u64>) -> Self {
        Self {
            rules,
            class,
            columns: sources.columns(rules, class),
            names: Vec::new(),
            words,
            pairs: HashMap::default(),
            vectors: HashMap::default(),
            ranks: BTreeMap::new(),
            slots: Slots::new(rules, class),
            devices: HashSet::new(),
            depends_on_owner: false,
        }
    }

    /// Writes the class and gives its header and figures.
    pub(super) fn write(mut self) -> Result<(ClassHeader, ClassStats), CompileError> {
        if !self.rules.is_active(self.class) {
            return Ok((ClassHeader::default(), ClassStats::default()));
        }
        let mut header = self.common_header();
        let stats = match self.class {
            Class::Process | Class::File => self.write_paths(&mut header)?,
            Class::Network => self.write_keys(&mut header)?,
            Class::Capability => {
                let rows = (0..super::layout::CAPABILITY_ROWS).map(|row| {
                    self.met_rules(|body| match body {
                        RuleBody::Capability(rule) => {
                            (usize::from(rule.capability.number()) == row).then_some(ObjectRank::EVERYTHING)
                        }
                        RuleBody::Process(_) | RuleBody::File(_) | RuleBody::Network(_) => None,
                    })
                });
                let cells: Vec<_> = rows.collect();
                self.write_rows(&mut header, &cells)
            }
        };
        if self.depends_on_owner {
            header.flags |= CLASS_OWNER;
        }
        Ok((header, ClassStats { columns: self.columns.len(), ..stats }))
    }

    fn common_header(&mut self) -> ClassHeader {
        let column_map = self.position();
        self.words.extend(self.columns.map.iter().map(|column| u64::from(*column)));
        let has_pts = |body: &RuleBody| match body {
            RuleBody::Process(rule) => rule.pts_false,
            RuleBody::File(rule) => rule.pts_false,
            RuleBody::Network(rule) => rule.pts_false,
            RuleBody::Capability(_) => false,
        };
        let mut flags = CLASS_ACTIVE;
        if self.rules.counts(self.class, false) {
            flags |= CLASS_ENFORCED;
        }
        if self.rules.of_class(self.class).any(|r| has_pts(&r.body)) {
            flags |= CLASS_PTS;
        }
        if self.rules.of_class(self.class).any(|r| self.rules.names(r).is_some_and(|n| !n.sources.is_empty())) {
            flags |= CLASS_SOURCED;
        }
        let by = By::DefaultPosture;
        let posture = match self.rules.posture(self.class) {
            Posture::Block => Decision { verdict: Verdict::Block, by, shadow: None },
            Posture::Audit => Decision { verdict: Verdict::Audit, by, shadow: None },
        };
        let posture_1 = if self.class == Class::Process { Decision::NOTHING } else { posture };
        ClassHeader {
            flags,
            columns: count(self.columns.len()),
            column_map,
            posture: [decision_word(posture), decision_word(posture_1)],
            unresolvable: self.shadowed_word(self.rules.unresolvable(self.class), 0),
            ..ClassHeader::default()
        }
    }

    // --- classes without paths

    fn met_rules(&self, met: impl Fn(&RuleBody) -> Option<ObjectRank>) -> Vec<(RuleId, ObjectRank)> {
        self.rules.of_class(self.class).filter_map(|rule| Some((rule.id, met(&rule.body)?))).collect()
    }

    fn write_rows(&mut self, header: &mut ClassHeader, rows: &[Vec<(RuleId, ObjectRank)>]) -> ClassStats {
        let mut cells_of = Vec::new();
        for met in rows {
            let columns: Vec<Column> = self.columns.iter().cloned().collect();
            for column in &columns {
                let candidates = self.candidates(met.iter().copied(), column, Conditions::NONE);
                let decision = self.rules.judge_class(self.class, &candidates, false, true);
                cells_of.push(u64::from(self.shadowed_word(decision, 0)));
            }
        }
        let cells = self.position();
        self.words.append(&mut cells_of);
        header.automata[0] = AutomatonHeader { start: 0, cells, vectors: 0, rows: count(rows.len()) };
        ClassStats::default()
    }

    // --- the network, whose operations are texts as well

    fn write_keys(&mut self, header: &mut ClassHeader) -> Result<ClassStats, CompileError> {
        let mut patterns = groups::Indexed::new();
        for rule in self.rules.of_class(self.class) {
            let RuleBody::Network(body) = &rule.body else { continue };
            for (pattern, rank) in endpoint::patterns(body) {
                patterns.push((pattern, self.names.len().try_into().unwrap_or(PatternIndex::MAX)));
                self.names.push(Meaning { id: rule.id, rank, audited: rule.audited, live: false, place: false, device: false });
            }
        }
        let names = &self.names;
        let dfa = groups::keys(&patterns, &|index| names.get(index as usize).map(|meaning| meaning.id))?;
        let mut stats = ClassStats::default();
        let start = self.write_automaton(0, patterns.len(), &dfa, &[], &mut stats)?;
        let cells = self.write_cells(&dfa);
        header.automata[0] = AutomatonHeader { start, cells, vectors: 0, rows: count(dfa.accept_sets.len()) };
        Ok(stats)
    }

    // --- path classes

    fn write_paths(&mut self, header: &mut ClassHeader) -> Result<ClassStats, CompileError> {
        let (simple, globs, invoked) = self.patterns();
        let names = std::mem::take(&mut self.names);
        let blame = |index: PatternIndex| names.get(index as usize).map(|meaning| meaning.id);
        let mut automata = vec![(0, simple.len(), groups::literal(&simple, &blame)?)];
        let glob_count = globs.len();
        for (i, dfa) in groups::globs(globs, &blame)?.into_iter().enumerate() {
            automata.push((i + 1, glob_count, dfa));
        }
        header.globs = count(automata.len() - 1);
        if !invoked.is_empty() {
            header.flags |= CLASS_INVOKED;
            automata.push((MULTI_CALL_AUTOMATON, invoked.len(), groups::literal(&invoked, &blame)?));
        }
        self.names = names;
        self.devices = self.names.iter().filter(|meaning| meaning.device).map(|meaning| (meaning.id, meaning.rank)).collect();

        let base = self.base_set()?;
        let base_composes = base.is_some() && self.rules.of_class(self.class).any(|r| r.audited || r.action() == Action::Audit);
        let composes = automata.len() > 1 || base_composes;
        if composes {
            self.write_ranks(header, &automata)?;
        }
        let mut stats = ClassStats::default();
        for (place, patterns, dfa) in &automata {
            let marks = self.marks(dfa);
            if marks.iter().any(|m| m & (LIVE[0] | LIVE[1]) != 0) {
                header.flags |= CLASS_LIVE_DIRS;
            }
            let start = self.write_automaton(*place, *patterns, dfa, &marks, &mut stats)?;
            let cells = self.write_cells(dfa);
            let vectors = if composes { self.write_vectors(dfa) } else { 0 };
            header.automata[*place] = AutomatonHeader { start, cells, vectors, rows: count(dfa.accept_sets.len()) };
        }
        if let Some((patterns, dfa)) = base {
            let by = Decision { verdict: Verdict::Allow, by: By::BaseSet, shadow: None };
            header.base = if base_composes { COMPOSE } else { decision_word(by) };
            header.automata[BASE_AUTOMATON] = self.write_base_set(patterns, &dfa, &mut stats)?;
        }
        debug_assert!(stats.automata.len() <= AUTOMATA);
        Ok(stats)
    }

    /// The patterns of the class, numbered: simple ones, globs, and those over `path//name`.
    fn patterns(&mut self) -> (groups::Indexed, groups::Indexed, groups::Indexed) {
        let (mut simple, mut globs, mut invoked) = (Vec::new(), Vec::new(), Vec::new());
        let mut number = |meaning, pattern: &Pattern, to: &mut groups::Indexed| {
            let index = PatternIndex::try_from(self.names.len()).unwrap_or(PatternIndex::MAX);
            self.names.push(meaning);
            to.push((pattern.clone(), index));
        };
        for rule in self.rules.of_class(self.class) {
            let Some(names) = self.rules.names(rule) else { continue };
            let (id, audited, guards) = (rule.id, rule.audited, self.rules.guards_places());
            let can_deny = can_deny_file(rule) && !self.rules.is_host();
            for name in &names.objects {
                let Name { pattern, rank } = name;
                let to = if pattern.is_simple() { &mut simple } else { &mut globs };
                let live = can_deny && pattern.has_literal_beginning();
                let (place, device) = (guards && names_a_place(rule, pattern), opens_device(rule, name));
                number(Meaning { id, rank: *rank, audited, live, place, device }, pattern, to);
            }
            // Over `path//name`: a mount on or above the path is what counts.
            for Name { pattern, rank } in &names.invoked {
                let place = guards && pattern.has_literal_beginning();
                number(Meaning { id, rank: *rank, audited, live: false, place, device: false }, pattern, &mut invoked);
            }
        }
        (simple, globs, invoked)
    }

    /// The marks of each state.
    fn marks(&self, dfa: &Dfa) -> Vec<u32> {
        let mut marks = vec![0; dfa.states.len()];
        for audited_too in [false, true] {
            let has = |wanted: fn(&Meaning) -> bool| {
                move |set: &[PatternIndex]| {
                    let mut met = set.iter().filter_map(|index| self.names.get(*index as usize));
                    met.any(|meaning| (audited_too || !meaning.audited) && wanted(meaning))
                }
            };
            let which = usize::from(audited_too);
            let (live, place) = (has(|m| m.live), has(|m| m.place));
            let places: Vec<bool> = dfa.accept_sets.iter().map(|set| place(set)).collect();
            let reached = [(LIVE[which], dfa.can_go_on_to(live)), (PLACE[which], dfa.can_go_on_to(place))];
            for (s, mark) in marks.iter_mut().enumerate() {
                *mark |= reached.iter().filter(|(_, reach)| reach[s]).fold(0, |bits, (bit, _)| bits | bit);
                *mark |= if places[dfa.states[s].accept as usize] { PLACE_HERE[which] } else { 0 };
            }
        }
        marks
    }

    /// The automaton of the base set, where it is asked: only of files, and only before a posture.
    fn base_set(&self) -> Result<Option<(usize, Dfa)>, CompileError> {
        let names = &self.rules.resolution.base;
        if self.class != Class::File || names.is_empty() || self.rules.allow_lists(self.class).is_empty() {
            return Ok(None);
        }
        let patterns = names.iter().map(|base| base.name.pattern.clone()).zip(0..).collect();
        Ok(Some((names.len(), groups::base_set(&patterns)?)))
    }

    /// Writes that automaton and its cells: which operations pass, as bits.
    fn write_base_set(&mut self, patterns: usize, dfa: &Dfa, stats: &mut ClassStats) -> Result<AutomatonHeader, CompileError> {
        let start = self.write_automaton(BASE_AUTOMATON, patterns, dfa, &[], stats)?;
        let cells = self.position();
        for set in &dfa.accept_sets {
            let met = || set.iter().filter_map(|index| self.rules.resolution.base.get(*index as usize));
            let (read, write) = (met().any(|base| base.read), met().any(|base| base.write));
            self.words.push(u64::from(read) | u64::from(write) << 1);
        }
        Ok(AutomatonHeader { start, cells, vectors: 0, rows: count(dfa.accept_sets.len()) })
    }

    /// Packs an automaton and notes its figures; its start state.
    fn write_automaton(
        &mut self,
        place: usize,
        patterns: usize,
        dfa: &Dfa,
        marks: &[u32],
        stats: &mut ClassStats,
    ) -> Result<u32, CompileError> {
        let before = self.words.len();
        let packed = pack(self.words, dfa, marks).ok_or(CompileError::IndexSpace { class: self.class })?;
        let (words, states, sets) = (self.words.len() - before, dfa.states.len(), dfa.accept_sets.len());
        stats.automata.push(AutomatonStats { place, patterns, states, words, sets });
        Ok(packed.start)
    }

    /// The rules of an accept set that match in a column.
    fn met(&self, set: &[PatternIndex], column: &Column, conditions: Conditions) -> Vec<Candidate> {
        let meanings = set.iter().filter_map(|index| self.names.get(*index as usize));
        self.candidates(meanings.map(|meaning| (meaning.id, meaning.rank)), column, conditions)
    }

    fn candidates(
        &self,
        met: impl Iterator<Item = (RuleId, ObjectRank)>,
        column: &Column,
        conditions: Conditions,
    ) -> Vec<Candidate> {
        let rules = met.filter_map(|(id, rank)| Some((self.rules.rule(id)?, rank)));
        rules.filter_map(|(rule, rank)| candidate(rule, rank, column.source_match(rule), conditions)).collect()
    }

    fn conditions(&self, operation: usize, owner: bool) -> Conditions {
        let second = operation == 1;
        Conditions {
            write: second && self.class == Class::File,
            owner,
            // The kernel does not see arguments yet: no list passes.
            arguments_listed: false,
            mapping: second && self.class == Class::Process,
        }
    }

    fn write_cells(&mut self, dfa: &Dfa) -> u32 {
        let columns: Vec<Column> = self.columns.iter().cloned().collect();
        let mut cells = Vec::with_capacity(dfa.accept_sets.len() * columns.len());
        for set in &dfa.accept_sets {
            for column in &columns {
                let [first, second] = [0, 1].map(|operation| {
                    let [other, owner] = [false, true].map(|owner| {
                        let conditions = self.conditions(operation, owner);
                        let candidates = self.met(set, column, conditions);
                        let decision = self.rules.judge_class(self.class, &candidates, false, !conditions.mapping);
                        self.shadowed_word(decision, self.device_flags(&candidates))
                    });
                    self.owner_word(other, owner)
                });
                cells.push(u64::from(first) | u64::from(second) << 32);
            }
        }
        let at = self.position();
        self.words.append(&mut cells);
        at
    }

    /// Which block devices a decision opens: OPENS_DEVICE.
    fn device_flags(&self, candidates: &[Candidate]) -> u32 {
        if self.devices.is_empty() {
            return 0;
        }
        let opens = |audited_too: bool| {
            let winners = tier_winners(candidates.iter().filter(|c| audited_too || !c.audited));
            winners.iter().any(|c| self.is_device_rank(c.rank))
        };
        let flag = |audited_too: bool| if opens(audited_too) { OPENS_DEVICE[usize::from(audited_too)] } else { 0 };
        flag(false) | flag(true)
    }

    /// Whether a winner of this rank opens a block device.
    fn is_device_rank(&self, rank: Rank) -> bool {
        rank.says == Says::Allow && self.devices.contains(&(rank.order.0, rank.object))
    }

    fn owner_word(&mut self, other: u32, owner: u32) -> u32 {
        if other == owner {
            return other;
        }
        self.depends_on_owner = true;
        OWNER_DEPENDS | self.pair(other, owner)
    }

    /// A decision as a word of a cell, with its shadow in a word of two where it is not that a silent pass would be blocked.
    fn shadowed_word(&mut self, decision: Decision, flags: u32) -> u32 {
        let Decision { verdict, by, shadow } = decision;
        let Some(shadow) = shadow.filter(|(with, _)| (verdict, *with) != (Verdict::Allow, Verdict::Block)) else {
            return decision_word(decision) | flags;
        };
        let plain = |(verdict, by)| decision_word(Decision { verdict, by, shadow: None });
        let real = plain((verdict, by)) | flags;
        SHADOWED | self.pair(real, plain(shadow)) | real & !CODE_MASK
    }

    /// The index of a word of two decisions.
    fn pair(&mut self, low: u32, high: u32) -> u32 {
        let pair = u64::from(low) | u64::from(high) << 32;
        let at = self.position();
        *self.pairs.entry(pair).or_insert_with(|| {
            self.words.push(pair);
            at
        })
    }

    // --- composition

    /// Numbers the ranks that occur, and writes which rule each names.
    fn write_ranks(&mut self, header: &mut ClassHeader, automata: &[(usize, usize, Dfa)]) -> Result<(), CompileError> {
        if self.slots.count > SLOTS_MAX {
            return Err(CompileError::TooManyPolicies { class: self.class, slots: self.slots.count, limit: SLOTS_MAX });
        }
        let mut occurring: BTreeSet<Rank> = BTreeSet::new();
        let columns: Vec<Column> = self.columns.iter().cloned().collect();
        for (_, _, dfa) in automata {
            for set in &dfa.accept_sets {
                for column in &columns {
                    for (operation, owner) in [(0, false), (0, true), (1, false), (1, true)] {
                        let candidates = self.met(set, column, self.conditions(operation, owner));
                        occurring.extend(candidates.iter().map(|c| c.rank));
                    }
                }
            }
        }
        let at = self.position();
        self.words.push(u64::from(By::Nothing.code()));
        for (rank, number) in occurring.into_iter().zip(FIRST_RANK..) {
            let opens = u64::from(self.is_device_rank(rank));
            self.words.push(u64::from(By::Rule(rank.order.0).code()) | opens << 32);
            self.ranks.insert(rank, number);
        }
        let Slots { of: _, count: slots, upper, lower, audited, allow_list } = &self.slots;
        header.ranks = at;
        header.slots = count(*slots);
        (header.upper, header.lower, header.audited, header.allow_list) = (*upper, *lower, *audited, *allow_list);
        Ok(())
    }

    fn write_vectors(&mut self, dfa: &Dfa) -> u32 {
        let columns: Vec<Column> = self.columns.iter().cloned().collect();
        let mut indices = Vec::with_capacity(dfa.accept_sets.len() * columns.len());
        for set in &dfa.accept_sets {
            for column in &columns {
                let mut vector = Vec::with_capacity(4 * self.slots.count);
                for (operation, owner) in [(0, false), (0, true), (1, false), (1, true)] {
                    let candidates = self.met(set, column, self.conditions(operation, owner));
                    vector.extend(self.slot_keys(&candidates));
                }
                let at = self.position();
                let index = *self.vectors.entry(vector).or_insert_with_key(|vector| {
                    self.words.extend_from_slice(vector);
                    at
                });
                indices.push(u64::from(index));
            }
        }
        let at = self.position();
        self.words.append(&mut indices);
        at
    }

    fn slot_keys(&self, candidates: &[Candidate]) -> Vec<u64> {
        let mut best = vec![0_u32; self.slots.count];
        let mut decided = vec![0_u32; self.slots.count];
        for candidate in candidates {
            let Some(slot) = self.slots.of.get(&candidate.policy_index) else { continue };
            let key = self.ranks.get(&candidate.rank).map_or(0, |number| number << 2 | says_word(candidate.rank.says));
            best[*slot] = best[*slot].max(key);
            if !candidate.rank.says.looks_on() {
                decided[*slot] = decided[*slot].max(key);
            }
        }
        best.into_iter().zip(decided).map(|(best, decided)| u64::from(best) | u64::from(decided) << 32).collect()
    }

    fn position(&self) -> u32 {
        count(self.words.len())
    }
}

// === impl Slots ===

impl Slots {
    fn new(rules: &RuleSet, class: Class) -> Self {
        let mut slots = Self::default();
        let mut policies: BTreeMap<usize, (Tier, bool, bool)> = BTreeMap::new();
        for rule in rules.of_class(class) {
            let entry = policies.entry(rule.policy_index).or_insert((rule.tier, rule.audited, false));
            entry.2 |= may_look_on(rule);
        }
        let lists = rules.allow_lists(class);
        let mut shared: BTreeMap<Tier, usize> = BTreeMap::new();
        for (policy, (tier, audited, alone)) in policies {
            let fresh = slots.count;
            let slot = if alone || audited { fresh } else { *shared.entry(tier).or_insert(fresh) };
            slots.count = slots.count.max(slot + 1);
            slots.of.insert(policy, slot);
            let bit = 1_u32.checked_shl(count(slot)).unwrap_or(0);
            match tier {
                Tier::Upper => slots.upper |= bit,
                Tier::Lower => slots.lower |= bit,
            }
            if audited {
                slots.audited |= bit;
            }
            if lists.contains_key(&policy) {
                slots.allow_list |= bit;
            }
        }
        slots
    }
}

/// Whether a rule can look on, so that its policy competes apart from others.
fn may_look_on(rule: &Rule) -> bool {
    let conditional = match &rule.body {
        RuleBody::Process(body) => body.owner_only || body.allowed_args.is_some(),
        RuleBody::File(body) => body.owner_only || body.read_only,
        RuleBody::Network(_) | RuleBody::Capability(_) => false,
    };
    match rule.action() {
        Action::Audit => true,
        Action::Block => conditional,
        Action::Allow => false,
    }
}

/// A decision as a word of a cell; of its shadow, that it blocks.
pub(super) fn decision_word(decision: Decision) -> u32 {
    let Decision { verdict, by, shadow } = decision;
    let (verdict, by) = match (verdict, shadow) {
        (Verdict::Allow, Some((Verdict::Block, by))) => (WOULD_BLOCK, by),
        (Verdict::Allow, _) => (0, by),
        (Verdict::Audit, _) => (1, by),
        (Verdict::Block, _) => (2, by),
    };
    verdict << VERDICT_SHIFT | by.code()
}

fn says_word(says: Says) -> u32 {
    match says {
        Says::Silent => 0,
        Says::Audit => 1,
        Says::Allow => 2,
        Says::Block => 3,
    }
}
