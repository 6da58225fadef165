//! Files with several names. A grant is on an inode: by whichever name it was given, it holds for all of them.
//!
//! So a Block of one name of a file (by path, glob or base name; not by directory, which does not mean this file) takes
//! the grants off its other names as well. Names that the walk did not come by cannot be closed: they are counted.
//!
//! A bind mount gives a whole directory a second name. What is withheld at one of its names is taken off the other.

use std::collections::{BTreeMap, BTreeSet};

use super::rights::Rights;
use super::view::{FileKind, Identity};
use super::walk::Walk;

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Aliases {
    /// Names that lost rights, because another name of their file is blocked.
    pub(super) narrowed: BTreeSet<Vec<u8>>,
    /// Blocked names of files that have further names somewhere.
    pub(super) elsewhere: BTreeSet<Vec<u8>>,
}

/// A blocked file of several names.
struct Blocked {
    path: Vec<u8>,
    rights: Rights,
    names: BTreeSet<Vec<u8>>,
    links: u64,
}

/// Takes the rights that one name is denied off the others.
pub(super) fn close(walk: &mut Walk<'_>) -> Aliases {
    let mut blocked: BTreeMap<Identity, Blocked> = BTreeMap::new();
    for (path, rights) in &walk.notes.blocked {
        let Some(facts) = walk.view.file(path) else { continue };
        let new = || Blocked { path: path.clone(), rights: Rights::NONE, names: BTreeSet::new(), links: facts.links };
        let file = blocked.entry(facts.identity).or_insert_with(new);
        file.rights |= *rights;
        file.names.insert(path.clone());
    }
    let mut aliases = Aliases::default();
    close_directories(walk, &mut aliases);
    if blocked.is_empty() {
        return aliases;
    }
    for (path, granted) in &mut walk.grants {
        let Some(facts) = walk.view.file(path).filter(|f| f.kind != FileKind::Directory) else { continue };
        let Some(file) = blocked.get_mut(&facts.identity) else { continue };
        file.names.insert(path.clone());
        let kept = granted.rights & !file.rights;
        if kept != granted.rights {
            granted.rights = kept;
            aliases.narrowed.insert(path.clone());
        }
    }
    let found = |file: &Blocked| u64::try_from(file.names.len()).unwrap_or(u64::MAX);
    aliases.elsewhere = blocked.into_values().filter(|file| file.links > found(file)).map(|file| file.path).collect();
    aliases
}

/// Takes the rights that a directory is not granted at one name off its other names.
fn close_directories(walk: &mut Walk<'_>, aliases: &mut Aliases) {
    let mut withheld: BTreeMap<Identity, Vec<(&[u8], Rights)>> = BTreeMap::new();
    for (path, rights) in &walk.notes.withheld {
        if let Some(facts) = walk.view.file(path) {
            withheld.entry(facts.identity).or_default().push((path, *rights));
        }
    }
    if withheld.is_empty() {
        return;
    }
    for (path, granted) in &mut walk.grants {
        let Some(facts) = walk.view.file(path).filter(|f| f.kind == FileKind::Directory) else { continue };
        let elsewhere = withheld.get(&facts.identity).into_iter().flatten().filter(|(name, _)| *name != path.as_slice());
        let kept = elsewhere.fold(granted.rights, |kept, (_, rights)| kept & !*rights);
        if kept != granted.rights {
            granted.rights = kept;
            aliases.narrowed.insert(path.clone());
        }
    }
}
