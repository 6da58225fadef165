//! Names as they are in a tree: links to elsewhere, multi-call binaries, and what is not there.

use palisade_policy::Problem;
use palisade_policy::model::{Action, PathObject, Policy};
use palisade_ruleset::{MULTI_CALL, NoLinks, Rule, RuleBody, Tree as _};

use super::{rules_of, sample};
use crate::policy::access::base_name;
use crate::policy::report;
use crate::text;
use crate::tree::{FileKind, RootDir};

/// Where programs lie, for `execname`.
const PROGRAM_DIRECTORIES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Notes on the names of one policy.
pub(super) fn notes(policy: &Policy, root: &RootDir) -> Vec<Problem> {
    let rules = rules_of(&[policy], &NoLinks);
    rules.rules().iter().filter_map(|rule| note(rule, root)).collect()
}

fn note(rule: &Rule, root: &RootDir) -> Option<Problem> {
    let is_process = matches!(rule.body, RuleBody::Process(_));
    let (message, help) = match sample::object_of(&rule.body)? {
        PathObject::Path(name) => path(name.literal.as_bytes(), name.glob.is_some(), rule.action(), is_process, root)?,
        PathObject::ExecName(name) => exec_name(name, rule.action(), root)?,
        PathObject::Directory { .. } | PathObject::Pattern(_) => return None,
    };
    Some(report::note(rule.origin(), format!("spec.{}", rule.position()), message, &help))
}

fn path(path: &[u8], is_glob: bool, action: Action, is_process: bool, root: &RootDir) -> Option<(String, String)> {
    let file = root.resolve(path)?.path;
    let (shown, target) = (text::name(path), text::name(&file));
    if root.kind(path).is_none() {
        // What a program creates is not in an image; programs are. A Block may name what is not there yet.
        let missing = is_process && action == Action::Allow && !is_glob;
        return missing.then(|| (format!("there is no {shown} in this tree"), "see where the program really lies".to_owned()));
    }
    if base_name(&file) == base_name(path) {
        return None;
    }
    if is_process && is_multi_call(&file) {
        return Some(multi_call(&shown, &target, action));
    }
    let message = format!("{shown} is a link to {target} here: the rule holds for that file, by whatever name it is called");
    Some((message, String::new()))
}

fn exec_name(name: &str, action: Action, root: &RootDir) -> Option<(String, String)> {
    let mut elsewhere = None;
    for directory in PROGRAM_DIRECTORIES {
        let path = format!("{directory}/{name}").into_bytes();
        if root.kind(&path) != Some(FileKind::Program) {
            continue;
        }
        let file = root.resolve(&path)?.path;
        if base_name(&file) == name.as_bytes() {
            return None;
        }
        elsewhere = elsewhere.or(Some((path, file)));
    }
    let (path, file) = elsewhere?;
    let (path, target) = (text::name(&path), text::name(&file));
    if is_multi_call(&file) {
        return Some(multi_call(&path, &target, action));
    }
    let name = text::name(base_name(&file)).into_owned();
    Some((format!("{path} is a link to {target} here, which this execname does not meet"), format!("write `execname: {name}`")))
}

fn multi_call(path: &str, target: &str, action: Action) -> (String, String) {
    let (message, help) = match action {
        Action::Allow => (
            format!("{path} is a link to the multi-call binary {target} here: this allows all of its commands"),
            "name the binary itself, to say so".to_owned(),
        ),
        Action::Block | Action::Audit => (
            format!("{path} is a link to the multi-call binary {target} here: `{target} COMMAND` passes the rule"),
            format!("name {target} to close all of it"),
        ),
    };
    (message, help)
}

fn is_multi_call(file: &[u8]) -> bool {
    MULTI_CALL.iter().any(|known| known.as_bytes() == base_name(file))
}
