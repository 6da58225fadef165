//! What stands for the kernel: an enforcer that keeps tables in memory, and a ring that it writes records to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use palisade_agent::cgroup::Cgroup;
use palisade_agent::enforce::bpf::Released;
use palisade_agent::enforce::enforcer::{Enforcer, Failure, Label};
use palisade_agent::enforce::table::Table;
use palisade_agent::enforce::{Backend, Gap};
use palisade_agent::home::Home;
use palisade_agent::pipeline::{Destination, Legends, Owners, Pipeline, Source};
use palisade_bpf::abi::ABI_VERSION;
use palisade_ruleset::{Mode, RuleSet};

/// A ring as the kernel's: bounded, numbered, with the newest dropped where it is full.
#[derive(Clone)]
pub(crate) struct Ring(Arc<(Mutex<State>, Condvar)>);

struct State {
    records: VecDeque<Vec<u8>>,
    capacity: usize,
    /// Numbers given, those of dropped records included.
    numbers: u64,
    produced: u64,
    consumed: u64,
}

/// What the stub was told to do, by label.
#[derive(Clone, Default)]
pub(crate) struct Kernel {
    pub(crate) labels: Arc<Mutex<BTreeMap<Label, Held>>>,
    legends: Legends,
}

/// What a label is under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) id: String,
    /// Its tables so far: the policies of each, and its generation.
    pub(crate) tables: Vec<(Vec<String>, u64)>,
    pub(crate) table_id: u32,
    pub(crate) is_there: bool,
}

pub(crate) struct Stub {
    pub(crate) kernel: Kernel,
    pub(crate) ring: Ring,
    pub(crate) home: Home,
    pub(crate) next_table: u32,
    /// Refuses to put tables with so many policies into force.
    pub(crate) refuses: usize,
}

// === impl Ring ===

impl Ring {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State { records: VecDeque::new(), capacity, numbers: 0, produced: 0, consumed: 0 };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    /// Writes a denied open by code 0, the first rule of a table. False: there was no room.
    pub(crate) fn write(&self, label: Label, table: u32, path: &str) -> bool {
        let mut state = self.lock();
        state.numbers += 1;
        if state.records.len() >= state.capacity {
            return false;
        }
        let record = mk_record(state.numbers, label.0, table, path.as_bytes());
        state.records.push_back(record);
        state.produced += 1;
        drop(state);
        self.0.1.notify_all();
        true
    }

    /// Waits until there is room.
    pub(crate) fn wait_for_room(&self) {
        let mut state = self.lock();
        while state.records.len() >= state.capacity {
            state = self.0.1.wait_timeout(state, Duration::from_millis(10)).unwrap().0;
        }
    }

    fn is_empty(&self) -> bool {
        let state = self.lock();
        state.consumed == state.produced
    }

    /// Waits until everything has been read.
    pub(crate) fn wait_empty(&self) {
        while !self.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Source for Ring {
    fn wait(&self, timeout: Duration) -> bool {
        let state = self.lock();
        let (state, _) = self.0.1.wait_timeout_while(state, timeout, |state| state.records.is_empty()).unwrap();
        !state.records.is_empty()
    }

    fn take(&mut self, most: usize) -> Vec<Vec<u8>> {
        let mut state = self.lock();
        let count = most.min(state.records.len());
        let taken: Vec<_> = state.records.drain(..count).collect();
        state.consumed += taken.len() as u64;
        drop(state);
        self.0.1.notify_all();
        taken
    }

    fn produced(&self) -> u64 {
        self.lock().produced
    }

    fn consumed(&self) -> u64 {
        self.lock().consumed
    }
}

/// `struct pal_event` of abi.h.
fn mk_record(number: u64, label: u32, table: u32, path: &[u8]) -> Vec<u8> {
    const PROGRAM: &[u8] = b"/usr/bin/cat";
    let mut r = Vec::new();
    r.extend(ABI_VERSION.to_le_bytes());
    r.extend(0_u32.to_le_bytes()); // code: rule 0
    for value in [u64::from(table), 1_000_000, number, 4242] {
        r.extend(value.to_le_bytes()); // generation time_ns number cgroup
    }
    // No such processes: what /proc says of them is nothing.
    for value in [0, label, u32::MAX - 1, u32::MAX - 1, u32::MAX - 2, 1000, table] {
        r.extend(value.to_le_bytes()); // cpu label tgid tid ppid uid table_id
    }
    r.extend(13_i32.to_le_bytes()); // error
    r.extend([1, 3, 2, 1, 0, 0]); // class operation verdict access object_kind terminal
    for length in [path.len(), PROGRAM.len(), 0] {
        r.extend(u16::try_from(length).unwrap().to_le_bytes());
    }
    r.extend([0; 12]); // family type protocol
    r.extend(*b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0");
    r.extend([0; 32]); // flags port padding address shadow padding
    r.extend(path);
    r.extend(PROGRAM);
    r
}

// === impl Kernel ===

impl Kernel {
    pub(crate) fn held(&self, label: Label) -> Held {
        self.labels.lock().unwrap()[&label].clone()
    }

    /// The label and the newest table of a workload whose id begins so.
    pub(crate) fn of(&self, name: &str) -> Option<(Label, Held)> {
        let labels = self.labels.lock().unwrap();
        labels.iter().find(|(_, held)| held.is_there && held.id.starts_with(name)).map(|(label, held)| (*label, held.clone()))
    }
}

/// The policies that a table's rules are of.
fn policies(table: &Table) -> Vec<String> {
    let mut names: Vec<String> = table.rules.iter().map(|rule| rule.policy.name.clone()).collect();
    names.dedup();
    names
}

// === impl Stub ===

impl Enforcer for Stub {
    fn backend(&self) -> Backend {
        Backend::Bpf
    }

    fn gaps(&self, _: &RuleSet) -> Vec<Gap> {
        Vec::new()
    }

    fn next_table_id(&mut self) -> Result<u32, Failure> {
        self.next_table += 1;
        Ok(self.next_table)
    }

    fn adopt(&mut self, id: &str, _: &Cgroup) -> Result<Option<Label>, Failure> {
        let labels = self.kernel.labels.lock().unwrap();
        Ok(labels.iter().find(|(_, held)| held.is_there && held.id == id).map(|(label, _)| *label))
    }

    fn protect(&mut self, id: &str, _: &Cgroup, table: &Table, _: Mode) -> Result<Label, Failure> {
        let mut labels = self.kernel.labels.lock().unwrap();
        let label = Label(u32::try_from(labels.len() + 1)?);
        let tables = vec![(policies(table), table.generation)];
        labels.insert(label, Held { id: id.to_owned(), tables, table_id: table.id, is_there: true });
        Ok(label)
    }

    fn swap(&mut self, label: Label, table: &Table) -> Result<(), Failure> {
        let names = policies(table);
        if names.len() >= self.refuses {
            return Err(format!("tables of {} policies are refused", names.len()).into());
        }
        let mut labels = self.kernel.labels.lock().unwrap();
        let held = labels.get_mut(&label).ok_or("no such label")?;
        held.tables.push((names, table.generation));
        held.table_id = table.id;
        Ok(())
    }

    fn retire(&mut self, label: Label) -> Result<Released, Failure> {
        let mut labels = self.kernel.labels.lock().unwrap();
        labels.get_mut(&label).ok_or("no such label")?.is_there = false;
        Ok(Released::Entirely)
    }

    fn legends(&self) -> Legends {
        self.kernel.legends.clone()
    }

    fn start_events(&mut self, owners: Owners, to: Destination) -> Result<Pipeline, Failure> {
        Ok(Pipeline::start_source(Box::new(self.ring.clone()), &self.home, owners, to)?)
    }

    fn look_around(&mut self) -> Vec<String> {
        Vec::new()
    }
}
