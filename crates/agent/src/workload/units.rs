//! systemd's units, without asking systemd: a unit of a name that the configuration gives is a cgroup of that name in a
//! slice.
//!
//! ```text
//! /sys/fs/cgroup/            watched                    NAME.service, NAME.scope: a unit, if named
//! /sys/fs/cgroup/*.slice/    watched, and so on down    nothing is looked for below a unit
//! ```
//! systemd makes a unit's cgroup before the unit's first process is in it, and removes it when the last has ended. What
//! runs between the cgroup's making and its being labelled is labelled then: some milliseconds are not judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::{Change, Found, Source, SourceError, Tell, WorkloadId};
use crate::cgroup::{Cgroup, Tree};
use crate::directories::{Directories, Kind};

/// A unit that the configuration names as a workload.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UnitSpec {
    /// Its name, `nginx.service`; `*` stands for any text.
    pub name: String,
    /// The namespace whose policies concern it.
    pub namespace: String,
    /// Labels beside those that every unit has.
    pub labels: BTreeMap<String, String>,
}

/// The units of this machine.
#[derive(Debug)]
pub struct Units {
    root: PathBuf,
    units: Vec<UnitSpec>,
    hostname: String,
}

/// How often everything is looked at again, should a change have been missed.
const LOOK: Duration = Duration::from_secs(10);
/// Slices in slices are followed so deep; systemd nests by the dashes of a name.
const DEPTH_MAX: usize = 16;
/// The namespace of everything that no orchestrator runs, as in KubeArmor.
pub const NAMESPACE: &str = "container_namespace";

struct Follower {
    units: Units,
    directories: Directories,
    tell: Tell,
    known: BTreeSet<WorkloadId>,
    told: BTreeSet<String>,
}

// === impl Units ===

impl Units {
    /// Units by these names in the cgroup tree of this mount namespace.
    ///
    /// # Errors
    /// If there is no tree of version 2.
    pub fn new(units: Vec<UnitSpec>, hostname: String) -> Result<Self, SourceError> {
        let tree = Tree::find()?;
        Ok(Self::below(tree.mount(), units, hostname))
    }

    /// The same in another directory, for tests.
    #[must_use]
    pub fn below(root: &Path, units: Vec<UnitSpec>, hostname: String) -> Self {
        Self { root: root.to_owned(), units, hostname }
    }

    /// The unit of a cgroup's name, if the configuration names it: by the first entry that fits.
    fn unit(&self, name: &str) -> Option<&UnitSpec> {
        self.units.iter().find(|unit| fits(&unit.name, name))
    }

    /// What a unit is to policies: labels of its name, its namespace and its host, and those of the configuration.
    fn found(&self, directory: &Path, name: &str) -> Option<Found> {
        let UnitSpec { name: _, namespace, labels } = self.unit(name)?;
        let cgroup = Cgroup::open(directory).ok()?; // gone meanwhile
        let own = [
            ("kubearmor.io/container.name", name),
            ("kubearmor.io/hostname", self.hostname.as_str()),
            ("namespaceName", namespace.as_str()),
        ];
        let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        let labels = own.chain(labels.clone()).collect();
        let id = WorkloadId::new(name, &cgroup);
        Some(Found { id, cgroup, name: name.to_owned(), namespace: namespace.clone(), labels })
    }
}

impl Source for Units {
    fn start(self: Box<Self>, tell: Tell) -> Result<(), SourceError> {
        let directories = Directories::new().map_err(SourceError::Watch)?;
        let mut follower = Follower { units: *self, directories, tell, known: BTreeSet::new(), told: BTreeSet::new() };
        let thread = thread::Builder::new().name("units".to_owned()).spawn(move || follower.work());
        thread.map(drop).map_err(SourceError::Thread)
    }
}

// === impl Follower ===

impl Follower {
    fn work(&mut self) {
        if !(self.look() && (self.tell)(Change::Listed)) {
            return;
        }
        loop {
            if let Err(error) = self.directories.wait(LOOK) {
                self.trouble(format!("cannot wait for units to come and go, they are looked for every {LOOK:?}: {error}"));
                thread::sleep(LOOK);
            }
            if !self.look() {
                return;
            }
        }
    }

    /// Looks at everything and tells what differs. False: nobody listens.
    fn look(&mut self) -> bool {
        let mut found = BTreeMap::new();
        let root = self.units.root.clone();
        self.walk(&root, 0, &mut found);
        let gone: Vec<WorkloadId> = self.known.iter().filter(|id| !found.contains_key(*id)).cloned().collect();
        let mut listens = true;
        for id in gone {
            self.known.remove(&id);
            listens &= (self.tell)(Change::Gone(id));
        }
        for (id, unit) in found {
            if self.known.insert(id) {
                listens &= (self.tell)(Change::Appeared(unit));
            }
        }
        listens
    }

    /// A slice: watched before it is read, so that nothing that comes later is missed.
    fn walk(&mut self, directory: &Path, depth: usize, found: &mut BTreeMap<WorkloadId, Found>) {
        if let Err(error) = self.directories.add(directory, &[Kind::Made, Kind::Gone]) {
            self.trouble(format!("cannot watch {}, it is looked at every {LOOK:?}: {error}", directory.display()));
        }
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if let Some(unit) = self.units.found(&entry.path(), name) {
                found.insert(unit.id.clone(), unit);
            } else if name.ends_with(".slice") && depth < DEPTH_MAX {
                self.walk(&entry.path(), depth + 1, found);
            }
        }
    }

    /// Once for each text.
    fn trouble(&mut self, text: String) {
        if self.told.insert(text.clone()) {
            let _ = (self.tell)(Change::Trouble(text)); // who does not listen is found out by `look`
        }
    }
}

/// Whether a name is a pattern's, in which `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(first) else { return false };
    (0..=name.len()).filter(|at| name.is_char_boundary(*at)).any(|at| fits(rest, &name[at..]))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn mk_units(root: &Path, names: &[&str]) -> mpsc::Receiver<Change> {
        let unit = |name: &&str| UnitSpec { name: (*name).to_owned(), namespace: NAMESPACE.to_owned(), ..UnitSpec::default() };
        let units = Units::below(root, names.iter().map(unit).collect(), "node1".to_owned());
        let (sender, receiver) = mpsc::channel();
        Box::new(units).start(Box::new(move |change| sender.send(change).is_ok())).unwrap();
        receiver
    }

    fn next(changes: &mpsc::Receiver<Change>) -> Change {
        changes.recv_timeout(Duration::from_secs(5)).unwrap()
    }

    fn name_of(change: &Change) -> &str {
        let Change::Appeared(found) = change else { panic!("{change:?}") };
        &found.name
    }

    #[test]
    fn units_that_are_named_are_told_wherever_their_slice_is() {
        let root = tempfile::tempdir().unwrap();
        for directory in
            ["system.slice/a.service", "system.slice/b.service", "x.slice/x-y.slice/a.service/a.service", "a.service"]
        {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let changes = mk_units(root.path(), &["a.service"]);
        let mut places = Vec::new();
        loop {
            match next(&changes) {
                Change::Appeared(found) => places.push(found.cgroup.directory().strip_prefix(root.path()).unwrap().to_owned()),
                Change::Listed => break,
                other @ (Change::Gone(_) | Change::Trouble(_)) => panic!("{other:?}"),
            }
        }
        places.sort();
        let expected = ["a.service", "system.slice/a.service", "x.slice/x-y.slice/a.service"];
        assert_eq!(places, expected.map(PathBuf::from));
    }

    #[test]
    fn a_unit_that_is_started_again_is_another_workload() {
        let root = tempfile::tempdir().unwrap();
        let slice = root.path().join("system.slice");
        let changes = mk_units(root.path(), &["w*.service"]);
        assert_eq!(next(&changes), Change::Listed);
        fs::create_dir(&slice).unwrap();
        fs::create_dir(slice.join("web.service")).unwrap();
        let first = next(&changes);
        assert_eq!(name_of(&first), "web.service");
        let Change::Appeared(found) = &first else { panic!("{first:?}") };
        assert_eq!(found.labels["kubearmor.io/container.name"], "web.service");
        assert_eq!(found.labels["kubearmor.io/hostname"], "node1");
        // The inode number of the old one is taken until the new one is there.
        fs::rename(slice.join("web.service"), slice.join("old")).unwrap();
        fs::create_dir(slice.join("web.service")).unwrap();
        assert_eq!(next(&changes), Change::Gone(found.id.clone()));
        let second = next(&changes);
        assert_eq!(name_of(&second), "web.service");
        assert_ne!(first, second);
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("nginx.service", "nginx.service", true),
            ("nginx.service", "nginx.services", false),
            ("getty@*.service", "getty@tty1.service", true),
            ("getty@*.service", "getty@tty1.socket", false),
            ("*", "é", true),
            ("*é*", "aéb", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
