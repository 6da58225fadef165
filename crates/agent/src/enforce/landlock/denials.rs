//! What a denial that the kernel told was: operation, object, and the rule as far as it can be told.
//!
//! The kernel names rights and an object, never a rule. The plan was made of answers of `decide()`, so the same
//! questions are asked again: where the answer is a denial, its decider is why the grant is missing; where it is not,
//! the denial comes from a numbered difference, and no rule is named for it.

use palisade_event::{Errno, Object, Operation};
use palisade_ruleset::{By, RuleSet, Tree};

use super::ask::{Answer, Asker};
use super::audit::SeenDenial;
use super::shapes::{Question, Reach, Shapes};
use super::view::{FileKind, View};
use super::walk::TYPICAL_NAME;

/// Asks a rule set again about what its plan denied.
#[derive(Debug)]
pub struct Explainer {
    rules: RuleSet,
    /// What tells names apart for writing, and so for making, removing and moving.
    writes: Shapes,
}

/// A denial as events tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What was tried.
    pub operation: Operation,
    /// On what. Of making, removing and moving the kernel names the directory alone: it ends in `/` then.
    pub object: Object,
    /// What the program was answered.
    pub errno: Errno,
    /// Why.
    pub reason: Reason,
}

/// Why something was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This decided; never [`By::Nothing`] or [`By::BaseSet`], which deny nothing.
    Decided(By),
    /// No rule denies it: a grant could not be made as wide as the law.
    Narrower(&'static str),
    /// The kernel does not say enough.
    Untold(&'static str),
}

/// What a missing right asks of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Exec,
    Read,
    Write,
    /// Of any name in the directory.
    Names,
    /// Nothing: it is denied to everybody.
    Never(&'static str),
}

const MOVES: &str = "Landlock: a move or link between directories, L15";
const MOUNTS: &str = "Landlock denies every mount change, L16";
const TRACING: &str = "Landlock: a task outside cannot be traced, L24";
const INODES: &str = "Landlock: no grant for this file, see L3 to L9";
const DIRECTORIES: &str = "Landlock: no grant for this directory, see L4 to L9";
const PROCFS: &str = "Landlock: of /proc only the first process has its own entries, L17";
const NO_PATH: &str = "the kernel names no path";
const NO_NAME: &str = "the kernel tells only the directory";

// === impl Explainer ===

impl Explainer {
    /// For the rules that a plan was made of, in the same tree.
    #[must_use]
    pub fn new(rules: &RuleSet, tree: &dyn Tree) -> Self {
        Self { rules: rules.clone(), writes: Shapes::of(rules, Question::Write, tree) }
    }

    /// What it was; `None` where a right is missing that no plan of ours handles.
    ///
    /// `view` tells block devices from other files, as when the plan was made.
    #[must_use]
    pub fn explain(&self, denial: &SeenDenial, view: &dyn View) -> Option<Denied> {
        let SeenDenial { blockers, path, task, .. } = denial;
        let (operation, ask) = meaning(blockers)?;
        let object = match (ask, path) {
            (_, None) => Object::Unresolvable,
            (Ask::Names, Some(directory)) => Object::Path(below(directory, b"")),
            (_, Some(path)) => Object::Path(path.clone()),
        };
        let usual = match ask {
            Ask::Never(_) => Errno::PERM,
            Ask::Names if *blockers == ["fs.refer"] => Errno::XDEV,
            Ask::Exec | Ask::Read | Ask::Write | Ask::Names => Errno::ACCES,
        };
        let errno = task.as_ref().and_then(|task| Errno::new(task.exit)).unwrap_or(usual);
        let reason = match (ask, path) {
            (Ask::Never(why), _) => Reason::Narrower(why),
            (_, None) => Reason::Untold(NO_PATH),
            (_, Some(path)) => self.reason(ask, path, view, blockers),
        };
        Some(Denied { operation, object, errno, reason })
    }

    fn reason(&self, ask: Ask, path: &[u8], view: &dyn View, blockers: &[String]) -> Reason {
        let asker = Asker::new(&self.rules);
        let device = view.file(path).is_some_and(|facts| facts.kind == FileKind::BlockDevice);
        let decided = |answer: Answer| By::from_code(answer.by).filter(|_| !answer.passes).map(Reason::Decided);
        let otherwise = if path.starts_with(b"/proc/") { PROCFS } else { INODES };
        match ask {
            Ask::Exec => decided(asker.exec(path)).unwrap_or(Reason::Narrower(INODES)),
            Ask::Read => decided(asker.read(path, device)).unwrap_or(Reason::Narrower(otherwise)),
            Ask::Write => decided(asker.write(path, device)).unwrap_or(Reason::Narrower(otherwise)),
            Ask::Names => {
                let answer = asker.write(&below(path, TYPICAL_NAME), false);
                if !self.writes.alike_in(path, answer.asked_base) {
                    return Reason::Untold(NO_NAME);
                }
                let moves = blockers.iter().any(|right| right == "fs.refer");
                decided(answer).unwrap_or(Reason::Narrower(if moves { MOVES } else { DIRECTORIES }))
            }
            Ask::Never(why) => Reason::Narrower(why),
        }
    }
}

/// The operation that lacked these rights, and what decides over it.
fn meaning(blockers: &[String]) -> Option<(Operation, Ask)> {
    let has = |right: &str| blockers.iter().any(|b| b == right);
    let removes = has("fs.remove_file") || has("fs.remove_dir");
    let makes = blockers.iter().any(|b| b.starts_with("fs.make_"));
    let of = |pairs: &[(&str, Operation)]| pairs.iter().find(|(right, _)| has(right)).map(|(_, operation)| *operation);
    if has("fs.change_topology") {
        return Some((Operation::Mount, Ask::Never(MOUNTS)));
    }
    if has("ptrace") {
        return Some((Operation::Attach, Ask::Never(TRACING)));
    }
    if has("fs.execute") {
        return Some((Operation::Exec, Ask::Exec));
    }
    if has("fs.refer") || (removes && makes) {
        return Some((Operation::Rename, Ask::Names));
    }
    let names = [
        ("fs.make_reg", Operation::Create),
        ("fs.make_dir", Operation::Mkdir),
        ("fs.make_sym", Operation::Symlink),
        ("fs.make_sock", Operation::UnixBind),
        ("fs.make_fifo", Operation::Mknod),
        ("fs.make_char", Operation::Mknod),
        ("fs.make_block", Operation::Mknod),
        ("fs.remove_file", Operation::Unlink),
        ("fs.remove_dir", Operation::Rmdir),
    ];
    if let Some(operation) = of(&names) {
        return Some((operation, Ask::Names));
    }
    let reads = has("fs.read_file") || has("fs.read_dir");
    let writes = has("fs.write_file");
    let operation = match (reads, writes) {
        (true, true) => Operation::OpenReadWrite,
        (true, false) => return Some((Operation::OpenRead, Ask::Read)),
        (false, true) => Operation::OpenWrite,
        (false, false) => of(&[("fs.truncate", Operation::Truncate), ("fs.resolve_unix", Operation::UnixConnect)])?,
    };
    Some((operation, Ask::Write))
}

fn below(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if directory.ends_with(b"/") { b"" } else { b"/" };
    [directory, slash, name].concat()
}

// === impl Shapes ===

impl Shapes {
    /// Whether all names in a directory get one answer. `base`: whether the base set has a say there.
    fn alike_in(&self, directory: &[u8], base: bool) -> bool {
        let names = directory.split(|b| *b == b'/').filter(|name| !name.is_empty());
        let at = names.fold(self.root(), |at, name| self.enter(&at, name));
        self.children(&at, base) == Reach::Alike
    }
}

#[cfg(test)]
mod tests {
    use palisade_ruleset::Workload;

    use super::super::testing::rules_of;
    use super::super::view::TableView;
    use super::*;

    fn denial(blockers: &[&str], path: Option<&str>) -> SeenDenial {
        SeenDenial {
            time_ms: 1,
            serial: 1,
            domain: 1,
            entered: None,
            task: None,
            blockers: blockers.iter().map(|b| (*b).to_owned()).collect(),
            path: path.map(|p| p.as_bytes().to_vec()),
            dev: None,
            ino: None,
        }
    }

    /// Who is named for these missing rights on a path, and the operation.
    fn told(spec: &str, blockers: &[&str], path: &str) -> (&'static str, String) {
        let view = TableView::default();
        let rules = rules_of(spec, &view, &Workload::run());
        let denied = Explainer::new(&rules, &view).explain(&denial(blockers, Some(path)), &view).unwrap();
        let by = match denied.reason {
            Reason::Decided(By::Rule(id)) => rules.rule(id).unwrap().meta().position.to_string(),
            other @ (Reason::Decided(_) | Reason::Narrower(_) | Reason::Untold(_)) => format!("{other:?}"),
        };
        (denied.operation.word(), by)
    }

    #[test]
    fn a_blocked_file_is_told_with_its_rule() {
        let spec = "  process: {matchPaths: [{path: /bin/sh, action: Block}]}\n  file: {matchPaths: [{path: /x, action: Block}]}";
        assert_eq!(told(spec, &["fs.execute"], "/bin/sh"), ("exec", "process.matchPaths[0]".to_owned()));
        assert_eq!(told(spec, &["fs.read_file"], "/x"), ("read", "file.matchPaths[0]".to_owned()));
        assert_eq!(told(spec, &["fs.write_file", "fs.truncate"], "/x"), ("write", "file.matchPaths[0]".to_owned()));
        assert_eq!(told(spec, &["fs.truncate"], "/x"), ("truncate", "file.matchPaths[0]".to_owned()));
    }

    #[test]
    fn what_an_allow_list_does_not_name_is_told_as_the_posture() {
        let spec = "  file: {matchDirectories: [{dir: /app/, recursive: true, action: Allow}]}";
        let posture = format!("{:?}", Reason::Decided(By::DefaultPosture));
        assert_eq!(told(spec, &["fs.read_file", "fs.write_file"], "/srv/x"), ("read-write", posture.clone()));
        assert_eq!(told(spec, &["fs.make_dir"], "/srv"), ("mkdir", posture));
    }

    #[test]
    fn where_rules_tell_the_names_of_a_directory_apart_none_is_guessed() {
        let spec = "  file: {matchPaths: [{path: /d/x, action: Block}]}";
        assert_eq!(told(spec, &["fs.make_reg"], "/d"), ("create", format!("{:?}", Reason::Untold(NO_NAME))));
    }

    #[test]
    fn what_no_rule_denies_is_told_as_a_difference() {
        let spec = "  file: {matchDirectories: [{dir: /app/, recursive: true, action: Allow}]}";
        assert_eq!(told(spec, &["fs.read_file"], "/app/new"), ("read", format!("{:?}", Reason::Narrower(INODES))));
        assert_eq!(told(spec, &["fs.refer"], "/app"), ("rename", format!("{:?}", Reason::Narrower(MOVES))));
        assert_eq!(told(spec, &["fs.change_topology"], "/"), ("mount", format!("{:?}", Reason::Narrower(MOUNTS))));
    }

    #[test]
    fn the_object_of_making_is_the_directory_and_the_error_that_of_the_call() {
        let view = TableView::default();
        let rules = rules_of("  file: {matchPaths: [{path: /d/x, action: Block}]}", &view, &Workload::run());
        let explainer = Explainer::new(&rules, &view);
        let task = super::super::audit::DeniedTask { pid: 1, parent_pid: 0, uid: 0, program: Vec::new(), exit: -18 };
        let seen = SeenDenial { task: Some(task), ..denial(&["fs.make_reg"], Some("/d")) };
        let denied = explainer.explain(&seen, &view).unwrap();
        assert_eq!((denied.object, denied.errno), (Object::Path(b"/d/".to_vec()), Errno::XDEV));
        let traced = explainer.explain(&denial(&["ptrace"], None), &view).unwrap();
        assert_eq!((traced.operation, traced.object, traced.errno), (Operation::Attach, Object::Unresolvable, Errno::PERM));
        assert_eq!(explainer.explain(&denial(&["net.bind_tcp"], None), &view), None);
    }
}
