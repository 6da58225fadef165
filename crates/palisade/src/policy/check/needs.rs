//! What allowed programs need and may not have, as a tree shows it: libraries, the interpreter of a script, data
//! directories of the same name, a temporary directory.
//!
//! Each policy is looked at by itself, and each finding is a verdict of `ruleset::decide`. Limits: programs allowed by
//! directory are not looked at, libraries opened at run time are not seen, and data is guessed by name.

use std::collections::{BTreeMap, BTreeSet};

use palisade_policy::Problem;
use palisade_policy::model::{Action, Class, PathObject, Policy};
use palisade_ruleset::{
    Access, Actor, By, Decision, FileMode, Object, Operation, Program, Rule, RuleSet, Tree as _, Verdict, decide,
};

use super::{rules_of, sample};
use crate::policy::access::base_name;
use crate::policy::report;
use crate::text;
use crate::tree::elf::{Closure, Needs};
use crate::tree::{FileKind, RootDir};

/// Programs looked at per policy, at most.
const PROGRAMS_MAX: usize = 64;
/// Directory entries looked at for one glob, at most.
const ENTRIES_MAX: usize = 5_000;
/// Directories below a glob's literal beginning, at most.
const DEPTH_MAX: usize = 6;
/// Libraries named in one note.
const SHOWN_MAX: usize = 3;
/// Where packages keep what belongs to a program.
const DATA_DIRECTORIES: [&str; 7] = ["/etc", "/usr/share", "/usr/lib", "/var/lib", "/var/log", "/var/cache", "/run"];
/// Directories in whose names no program's name is sought.
const GENERAL: [&str; 8] = ["bin", "sbin", "lib", "libexec", "usr", "local", "opt", "share"];

/// Notes on the programs of one policy.
pub(super) fn notes(policy: &Policy, root: &RootDir) -> Vec<Problem> {
    let rules = rules_of(&[policy], root);
    let mut notes = Vec::new();
    let mut told = BTreeSet::new();
    for (program, allow) in programs(&rules, root) {
        let view = View { rules: &rules, root, program: &program };
        for (message, help) in view.findings() {
            if told.insert((allow.id, message.clone())) {
                notes.push(report::note(allow.origin(), format!("spec.{}", allow.position()), message, &help));
            }
        }
    }
    notes.extend(temporary(&rules));
    notes
}

/// The programs that the policy allows by path or glob, each with its rule.
fn programs<'a>(rules: &'a RuleSet, root: &RootDir) -> BTreeMap<Vec<u8>, &'a Rule> {
    let mut found = BTreeMap::new();
    for rule in rules.rules().iter().filter(|rule| rule.class() == Class::Process && rule.action() == Action::Allow) {
        let (literal, glob) = match sample::object_of(&rule.body) {
            Some(PathObject::Path(name)) => (Some(name.literal.as_bytes().to_vec()), name.glob.as_ref()),
            Some(PathObject::Pattern(glob)) => (None, Some(glob)),
            Some(PathObject::Directory { .. } | PathObject::ExecName(_)) | None => (None, None),
        };
        let mut files: Vec<Vec<u8>> = literal.into_iter().collect();
        if let Some(glob) = glob.filter(|glob| glob.is_anchored()) {
            let prefix = glob.literal_prefix();
            let cut = prefix.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
            files.extend(below(&prefix[..cut], root, |kind| kind == FileKind::Program));
        }
        for file in files {
            let Some(file) = root.resolve(&file).map(|r| r.path) else { continue };
            let decided = decide(rules, &exec(&file, &[])).by == By::Rule(rule.id);
            if decided && root.kind(&file) == Some(FileKind::Program) && found.len() < PROGRAMS_MAX {
                found.entry(file).or_insert(rule);
            }
        }
    }
    found
}

/// What of a kind is below a directory.
fn below(directory: &[u8], root: &RootDir, wanted: impl Fn(FileKind) -> bool) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut open = vec![(directory.to_vec(), 0)];
    let mut looked_at = 0;
    while let Some((mut directory, depth)) = open.pop() {
        if !directory.ends_with(b"/") {
            directory.push(b'/');
        }
        for name in root.names_in(&directory, ENTRIES_MAX) {
            looked_at += 1;
            if looked_at > ENTRIES_MAX {
                return found;
            }
            let path = [directory.as_slice(), &name].concat();
            match root.kind(&path) {
                Some(FileKind::Directory) if depth < DEPTH_MAX => open.push((path, depth + 1)),
                Some(kind) if wanted(kind) => found.push(path),
                Some(_) | None => {}
            }
        }
    }
    found
}

/// One program and what the policy says to it.
struct View<'a> {
    rules: &'a RuleSet,
    root: &'a RootDir,
    program: &'a [u8],
}

// === impl View ===

impl View<'_> {
    /// Messages with their help.
    fn findings(&self) -> Vec<(String, String)> {
        let Self { rules: _, root, program } = self;
        let mut found = Vec::new();
        if root.shebang(program).is_some() {
            found.extend(self.script());
        } else if let Some(needs) = root.file(program).and_then(Needs::read) {
            found.extend(self.libraries(&needs));
        }
        found.extend(self.data());
        found
    }

    /// A script's interpreter has to be allowed, and has to read the script.
    fn script(&self) -> Option<(String, String)> {
        let Self { rules, root, program } = self;
        let shebang = root.shebang(program)?;
        let interpreter = root.resolve(&shebang.interpreter)?.path;
        let (shown, by) = (text::name(program), text::name(&interpreter));
        let runs = decide(rules, &exec(&interpreter, &[Program::Path(program.to_vec())]));
        if runs.verdict == Verdict::Block {
            return Some((format!("{shown} is a script for {by}, which may not run"), format!("allow {by} too")));
        }
        let reads = self.file(FileMode::Read, program, &interpreter);
        let message = format!("{shown} is a script that {by} may not read");
        (reads.verdict == Verdict::Block).then(|| (message, "add an Allow with readOnly in `file`".to_owned()))
    }

    /// Libraries are opened for reading and mapped.
    fn libraries(&self, needs: &Needs) -> Option<(String, String)> {
        let Self { rules, root, program } = self;
        let closure = Closure::of(program, needs, root);
        let denied = |path: &&Vec<u8>| {
            let Some(file) = root.resolve(path).map(|r| r.path) else { return false };
            let actor = actor(program);
            let mapping = Access { actor, operation: Operation::MapExec { object: Object::Path(file.clone()), owner: None } };
            self.file(FileMode::Read, &file, program).verdict == Verdict::Block
                || decide(rules, &mapping).verdict == Verdict::Block
        };
        let denied: Vec<&Vec<u8>> = closure.found.values().filter(denied).collect();
        if denied.is_empty() {
            return None;
        }
        let names: Vec<_> = denied.iter().take(SHOWN_MAX).map(|path| text::name(path)).collect();
        let rest = denied.len().saturating_sub(SHOWN_MAX);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        let message = format!("{} may not read libraries that it needs: {}{more}", text::name(program), names.join(", "));
        Some((message, "allow their directory with readOnly, or leave the base set on".to_owned()))
    }

    /// Directories that bear the program's name and are closed to it.
    fn data(&self) -> Option<(String, String)> {
        let Self { rules: _, root, program } = self;
        let components = program.split(|b| *b == b'/').filter_map(|c| std::str::from_utf8(c).ok());
        let names: BTreeSet<&str> = components.filter(|c| c.len() > 2 && !GENERAL.contains(c) && !c.starts_with('.')).collect();
        let mut closed = Vec::new();
        for base in DATA_DIRECTORIES {
            for name in &names {
                let path = format!("{base}/{name}").into_bytes();
                let Some(directory) = root.resolve(&path).map(|r| r.path) else { continue };
                if root.kind(&path) == Some(FileKind::Directory) && self.is_closed(&directory) {
                    closed.push(text::name(&directory).into_owned());
                }
            }
        }
        let message = format!("a program of this rule may not use what bears its name: {}", closed.join(", "));
        (!closed.is_empty()).then(|| (message, "allow what it needs of that, with readOnly where it only reads".to_owned()))
    }

    /// Whether some file in the directory may not be read; of an empty one, whether nothing may be made in it.
    fn is_closed(&self, directory: &[u8]) -> bool {
        let Self { rules: _, root, program } = self;
        let is_posture = |mode, path: &[u8]| self.file(mode, path, program).by == By::DefaultPosture;
        let files = below(directory, root, |kind| matches!(kind, FileKind::File | FileKind::Program));
        if files.is_empty() {
            let example = [directory, b"/some-file"].concat();
            return !directory.starts_with(b"/var/cache/") && is_posture(FileMode::Write, &example);
        }
        let resolved = files.iter().filter_map(|file| root.resolve(file)).map(|r| r.path);
        // What a link in it leads to elsewhere is not the directory's.
        let mut own = resolved.filter(|file| file.starts_with(directory) && file != program);
        own.any(|file| is_posture(FileMode::Read, &file))
    }

    fn file(&self, mode: FileMode, path: &[u8], by: &[u8]) -> Decision {
        let operation = Operation::File { mode, object: Object::Path(path.to_vec()), owner: None, block_device: false };
        decide(self.rules, &Access { actor: actor(by), operation })
    }
}

/// A file allow-list in which nothing may be written below /tmp.
fn temporary(rules: &RuleSet) -> Option<Problem> {
    let allow = rules.rules().iter().find(|rule| rule.class() == Class::File && rule.action() == Action::Allow)?;
    let program = sample::programs(&allow.body).into_iter().next()?;
    let object = Object::Path(b"/tmp/some-file".to_vec());
    let operation = Operation::File { mode: FileMode::Write, object, owner: None, block_device: false };
    let actor = Actor { program, uid: 0, terminal: false };
    let closed = decide(rules, &Access { actor, operation }).by == By::DefaultPosture;
    let message = "nothing may be written below /tmp".to_owned();
    let help = "allow `dir: /tmp/` if the program keeps temporary files there";
    closed.then(|| report::note(allow.origin(), format!("spec.{}", allow.position()), message, help))
}

fn actor(program: &[u8]) -> Actor {
    Actor { program: Program::Path(program.to_vec()), uid: 0, terminal: false }
}

fn exec(file: &[u8], scripts: &[Program]) -> Access {
    let name = base_name(file).to_vec();
    let operation = Operation::Exec {
        object: Object::Path(file.to_vec()),
        owner: None,
        scripts: scripts.to_vec(),
        invoked_as: vec![name.clone()],
        arguments: Some(vec![name]),
    };
    Access { actor: Actor { program: sample::some_program(), uid: 0, terminal: false }, operation }
}
