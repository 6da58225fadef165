//! What is worth telling about valid policies, from their text alone.
//!
//! Hints that need verdicts (an Allow that defeats a Block, a rule that never wins) or a file tree are not here.

use std::collections::HashMap;

use crate::glob::GlobError;
use crate::model::{Action, Class, FileRule, Kind, PathName, PathObject, Policy, PolicyMode, ProcessRule, RuleMeta, SourceMatch};
use crate::problem::{Note, Problem, shown};

/// All hints on these policies, in the order of policies and rules.
///
/// Notes on single values (an entry of `matchPaths` that is also a glob, or looks like one and is none) have columns
/// and spans of their own and come from [`crate::parse`], not from here.
#[must_use]
pub fn hints(policies: &[Policy]) -> Vec<Note> {
    let mut notes = Vec::new();
    for policy in policies {
        let directories = Directories::of(&policy.file);
        for rule in &policy.process {
            allow_by_exec_name(rule, &mut notes);
            block_that_grants(&rule.meta, false, rule.owner_only, &mut notes);
        }
        for rule in &policy.file {
            block_that_grants(&rule.meta, rule.read_only, rule.owner_only, &mut notes);
            writable_in_read_only(rule, &directories, &mut notes);
        }
        allow_lists(policy, &mut notes);
    }
    notes
}

// === texts of the notes that the parser gives ===

/// A `path` or `dir` that is a valid glob.
pub(crate) fn also_a_glob(text: &str) -> String {
    format!("`{}` means both this very path and what it meets as a glob", shown(text))
}

/// A `path` or `dir` with glob characters that is no glob.
pub(crate) fn not_a_glob(text: &str, error: GlobError) -> String {
    format!("`{}` means this very path only; it is no glob: {error}", shown(text))
}

/// A `path` or `dir` that no object is named by.
pub(crate) fn not_a_kernel_path(text: &str) -> String {
    format!("the kernel names nothing `{}`; the rule holds only for what this resolves to", shown(text))
}

/// An `execname` with glob characters.
pub(crate) fn exec_name_is_literal(text: &str) -> String {
    format!("`{}` means this very file name; an execname is never a glob", shown(text))
}

// === hints on single rules ===

fn allow_by_exec_name(rule: &ProcessRule, notes: &mut Vec<Note>) {
    if let (Action::Allow, PathObject::ExecName(name)) = (rule.meta.action, &rule.object) {
        let message = format!("any file named `{}` may run, also one in a directory that the workload can write", shown(name));
        notes.push(on_rule(&rule.meta, message, "name the program by its path"));
    }
}

fn block_that_grants(meta: &RuleMeta, read_only: bool, owner_only: bool, notes: &mut Vec<Note>) {
    if meta.action != Action::Block {
        return;
    }
    let passes = match (read_only, owner_only) {
        (true, true) => "reads by the file's owner",
        (true, false) => "reads",
        (false, true) => "the file's owner",
        (false, false) => return,
    };
    let message = format!("this Block lets {passes} pass, silently");
    notes.push(on_rule(meta, message, "to deny everything, leave out readOnly and ownerOnly"));
}

/// A file that may be written where its directory may not: programs that save by writing a new file beside the old one
/// and renaming it are denied.
fn writable_in_read_only(rule: &FileRule, directories: &Directories<'_>, notes: &mut Vec<Note>) {
    let (Action::Allow, false, PathObject::Path(PathName { literal, glob: _ })) =
        (rule.meta.action, rule.read_only, &rule.object)
    else {
        return;
    };
    let Some(holder) = directories.over(literal) else { return };
    if holder.read_only || holder.meta.action == Action::Block {
        let message = format!(
            "the file may be written but not replaced by a rename: nothing may be created beside it, because of {} ({})",
            holder.meta.position, holder.meta.origin
        );
        notes.push(on_rule(&rule.meta, message, "allow the whole directory if its files are replaced"));
    }
}

/// The file rules over directories, by directory; sourced ones are left out.
struct Directories<'a>(HashMap<&'a str, Vec<(bool, &'a FileRule)>>);

impl<'a> Directories<'a> {
    fn of(rules: &'a [FileRule]) -> Self {
        let mut map: HashMap<&str, Vec<(bool, &FileRule)>> = HashMap::new();
        for rule in rules.iter().filter(|rule| rule.from_source.is_empty()) {
            if let PathObject::Directory { dir, recursive } = &rule.object {
                map.entry(&dir.literal).or_default().push((*recursive, rule));
            }
        }
        Self(map)
    }

    /// The rule that judges what is created beside a file: the longest directory that holds its siblings.
    fn over(&self, file: &str) -> Option<&'a FileRule> {
        let is_parent = |end: usize| file.rfind('/') == Some(end);
        let ends = file.rmatch_indices('/').map(|(end, _)| end);
        ends.filter_map(|end| Some((end, self.0.get(file.get(..=end)?)?)))
            .find_map(|(end, rules)| rules.iter().find(|(recursive, _)| *recursive || is_parent(end)).map(|(_, rule)| *rule))
    }
}

// === hints on classes ===

fn allow_lists(policy: &Policy, notes: &mut Vec<Note>) {
    let Policy { key, origin: _, selector: _, mode, process, file, network, capabilities, gaps: _ } = policy;
    if *mode != PolicyMode::Enabled {
        return;
    }
    fn rules<'a, R>(
        rules: &'a [R],
        part: impl Fn(&'a R) -> (&'a RuleMeta, &'a [SourceMatch]),
    ) -> Vec<(&'a RuleMeta, &'a [SourceMatch])> {
        rules.iter().map(part).collect()
    }
    let classes = [
        (Class::Process, rules(process, |r| (&r.meta, &r.from_source))),
        (Class::File, rules(file, |r| (&r.meta, &r.from_source))),
        (Class::Network, rules(network, |r| (&r.meta, &r.from_source))),
        (Class::Capability, rules(capabilities, |r| (&r.meta, &r.from_source))),
    ];
    for (class, rules) in classes {
        let allows: Vec<_> = rules.into_iter().filter(|(meta, _)| meta.action == Action::Allow).collect();
        let Some((first, _)) = allows.first() else { continue };
        let posture = match key.kind {
            Kind::Host => "reported by default",
            Kind::Cluster | Kind::Namespaced => "denied by default",
        };
        let class = class_name(class);
        let message = format!("class {class} is default-deny because of {}: what no rule lets pass is {posture}", first.origin);
        notes.push(on_rule(first, message, ""));
        if allows.iter().all(|(_, sources)| !sources.is_empty()) {
            let message =
                format!("every Allow of class {class} holds for some programs only; all others are left with the posture");
            notes.push(on_rule(
                first,
                message,
                "if the rest was meant, Block it without fromSource; else add an Allow for all programs",
            ));
        }
    }
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Process => "process",
        Class::File => "file",
        Class::Network => "network",
        Class::Capability => "capabilities",
    }
}

fn on_rule(meta: &RuleMeta, message: String, help: &str) -> Note {
    Problem::hint(meta.origin.clone(), format!("spec.{}", meta.position), message, help)
}
