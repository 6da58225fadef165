//! The rules that are measured: the same for Palisade and AppArmor, the same on every machine.
//!
//! Paths come from a grown file tree ([`Tree`]). No rule that is grown meets a path that is opened; those have rules of
//! their own, which they match to their last byte.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::tree::Tree;

/// The path of `open-60` in `tests/bench/bench.c`, and its siblings.
const PATH_60: &str = "/usr/lib/python3/dist-packages/bench/module_bbb/file_cccc.so";
const PATH_20: &str = "/b/aaaaaaaa/bbbbbbbb";
const PATH_196: &str = "/var/lib/containers/overlay/aaaaaaaaaaaaaaaaaaaaaaaa/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb/\
                        cccccccccccccccccccccccccc/dddddddddddddddddddddd/eeeeeeeeeeeeeeeeeeeeeeeeee/ffffffffffffffff/\
                        ggggggggggg/h.so";
const PATH_EARLY: &str = "/srv/early/python3/dist-packages/bench/module_b/file_earl.so";
const PATH_DEEP: &str = "/var/lib/deep/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/file_cccc.so";
const PATH_DENIED: &str = "/srv/denied/file";
const PATH_DATA: &str = "/tmp/bench-data";
const PROGRAM: &str = "/b/bench";
const CHILD: &str = "/b/child";
/// The pipes that `tests/bench/guest.sh` talks to the program through; AppArmor judges them again at exec.
const PIPES: [&str; 2] = ["/tmp/bench-go", "/tmp/bench-said"];

/// Of 100 rules, those for programs; the others are for files.
const PROCESS_PERCENT: usize = 10;
/// Of 100 literal rules, recursive directories.
const RECURSIVE_PERCENT: u64 = 25;
/// Of 100 rules of a mixed policy, globs.
const GLOB_PERCENT: usize = 10;
/// What a policy consists of beside its number of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mix {
    /// Exact paths, and a quarter recursive directories.
    Literal,
    /// One rule in ten is a glob, anchored at its beginning. One follows the 60-byte path to its last byte and then
    /// does not meet it.
    Globs,
    /// The same, and that glob meets the path, so that two automata have a say.
    GlobsMeet,
    /// All rules block and none meets what is opened: no class is an allow-list.
    Blocks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Allow,
    Block,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    Exact(String),
    Recursive(String),
    Glob(String),
}

#[derive(Clone, Debug)]
struct Rule {
    process: bool,
    object: Object,
    action: Action,
}

/// Rules, to be written as a policy or as a profile.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    rules: Vec<Rule>,
}

// === impl Rules ===

impl Rules {
    /// `count` rules (at least 10).
    pub(super) fn new(count: usize, mix: Mix) -> Self {
        let mut tree = Tree::new();
        let mut rules = measured(mix);
        let mut seen: BTreeSet<Object> = rules.iter().map(|rule| rule.object.clone()).collect();
        let globs = match mix {
            Mix::Literal | Mix::Blocks => 0,
            Mix::Globs | Mix::GlobsMeet => count * GLOB_PERCENT / 100,
        };
        let processes = count * PROCESS_PERCENT / 100;
        while rules.len() < count {
            let grown_globs = rules.iter().filter(|rule| matches!(rule.object, Object::Glob(_))).count();
            let object = if grown_globs < globs { Object::glob(&mut tree) } else { Object::literal(&mut tree) };
            if !seen.insert(object.clone()) {
                continue;
            }
            let blocks = mix == Mix::Blocks || tree.below(2) == 0;
            let action = if blocks { Action::Block } else { Action::Allow };
            rules.push(Rule { process: false, object, action });
        }
        // Spread evenly, so that globs and directories fall to programs and files alike.
        let mut left = processes.saturating_sub(rules.iter().filter(|rule| rule.process).count());
        let every = count.checked_div(left).unwrap_or(usize::MAX).max(1);
        for rule in rules.iter_mut().skip(measured(mix).len()).step_by(every) {
            if left > 0 {
                rule.process = true;
                left -= 1;
            }
        }
        Self { rules }
    }

    /// The mean length of the rules' paths and globs, in bytes.
    pub(super) fn mean_bytes(&self) -> usize {
        let total: usize = self.rules.iter().map(|rule| rule.object.text().len()).sum();
        total / self.rules.len().max(1)
    }

    /// A KubeArmorPolicy.
    pub(super) fn policy(&self) -> String {
        let mut out = "\
apiVersion: security.kubearmor.com/v1
kind: KubeArmorPolicy
metadata: {name: bench, namespace: default}
spec:
  selector: {matchLabels: {app: bench}}
  severity: 5
  action: Block
"
        .to_owned();
        for (section, process) in [("process", true), ("file", false)] {
            let rules = || self.rules.iter().filter(|rule| rule.process == process);
            if rules().next().is_none() {
                continue;
            }
            line(&mut out, format_args!("  {section}:"));
            for list in ["matchPaths", "matchDirectories", "matchPatterns"] {
                let entries: Vec<String> = rules().filter(|rule| rule.object.list() == list).map(Rule::entry).collect();
                if !entries.is_empty() {
                    line(&mut out, format_args!("    {list}:"));
                    for entry in entries {
                        line(&mut out, format_args!("    - {entry}"));
                    }
                }
            }
        }
        out
    }

    /// An AppArmor profile of the name `bench` that says the same.
    pub(super) fn profile(&self) -> String {
        let mut out = "profile bench flags=(attach_disconnected,mediate_deleted) {\n".to_owned();
        if self.rules.iter().all(|rule| rule.action == Action::Block) {
            line(&mut out, format_args!("  file,"));
        }
        for rule in &self.rules {
            let object = match &rule.object {
                Object::Exact(path) | Object::Glob(path) => path.clone(),
                Object::Recursive(directory) => format!("{directory}{{,**}}"),
            };
            match (rule.process, rule.action) {
                (true, Action::Allow) => line(&mut out, format_args!("  {object} mrix,")),
                (true, Action::Block) => line(&mut out, format_args!("  deny {object} x,")),
                (false, Action::Allow) => line(&mut out, format_args!("  {object} rw,")),
                (false, Action::Block) => line(&mut out, format_args!("  deny {object} rw,")),
            }
        }
        for pipe in PIPES {
            line(&mut out, format_args!("  {pipe} rw,"));
        }
        out.push_str("}\n");
        out
    }
}

/// The rules that let the benchmark do its work, or, where every rule blocks, the one that shows that rules hold.
fn measured(mix: Mix) -> Vec<Rule> {
    let rule = |process, object, action| Rule { process, object, action };
    let exact = |path: &str| Object::Exact(path.to_owned());
    if mix == Mix::Blocks {
        return vec![rule(false, exact(PATH_DENIED), Action::Block)];
    }
    let mut rules = vec![
        rule(true, exact(PROGRAM), Action::Allow),
        rule(true, exact(CHILD), Action::Allow),
        rule(false, exact(PATH_20), Action::Allow),
        rule(false, exact(PATH_60), Action::Allow),
        rule(false, exact(PATH_196), Action::Allow),
        rule(false, exact(PATH_DATA), Action::Allow),
        rule(false, exact(PATH_DEEP), Action::Allow),
        rule(false, Object::Recursive(parent(PATH_EARLY, 2)), Action::Allow),
    ];
    let glob = "/usr/lib/python3/*/bench/module_*/file_cccc.so";
    match mix {
        Mix::Globs => rules.push(rule(false, Object::Glob(format!("{glob}.old")), Action::Allow)),
        Mix::GlobsMeet => rules.push(rule(false, Object::Glob(glob.to_owned()), Action::Allow)),
        Mix::Literal | Mix::Blocks => {}
    }
    rules
}

/// The first `components` components of a path, with a `/` behind them.
fn parent(path: &str, components: usize) -> String {
    let kept: Vec<&str> = path.split('/').take(components + 1).collect();
    format!("{}/", kept.join("/"))
}

/// Writing to a string cannot fail.
fn line(out: &mut String, words: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{words}");
}

// === impl Rule ===

impl Rule {
    fn entry(&self) -> String {
        let action = match self.action {
            Action::Allow => "Allow",
            Action::Block => "Block",
        };
        match &self.object {
            Object::Exact(path) => format!("{{path: {path}, action: {action}}}"),
            Object::Recursive(directory) => format!("{{dir: {directory}, recursive: true, action: {action}}}"),
            Object::Glob(pattern) => format!("{{pattern: \"{pattern}\", action: {action}}}"),
        }
    }
}

// === impl Object ===

impl Object {
    fn literal(tree: &mut Tree) -> Self {
        if tree.below(100) < RECURSIVE_PERCENT {
            return Self::Recursive(format!("{}/", tree.directory()));
        }
        let (directory, name) = tree.file();
        Self::Exact(format!("{directory}/{name}"))
    }

    fn glob(tree: &mut Tree) -> Self {
        let (directory, name) = tree.file();
        let ending = name.rsplit_once('.').map_or("bak", |(_, ending)| ending).to_owned();
        let two = parent(&directory, 2);
        Self::Glob(match tree.below(10) {
            0..=3 => {
                let components: Vec<&str> = directory.split('/').skip(1).collect();
                // Not the first: a glob is anchored at its beginning.
                let count = u64::try_from(components.len()).unwrap_or(u64::MAX);
                let starred = usize::try_from(1 + tree.below(count.saturating_sub(1))).unwrap_or_default();
                let star = |(i, c): (usize, &&str)| if i == starred { "*".to_owned() } else { (*c).to_owned() };
                let components: Vec<String> = components.iter().enumerate().map(star).collect();
                format!("/{}/{name}", components.join("/"))
            }
            4..=6 => format!("{directory}/*.{ending}"),
            7 | 8 => format!("{two}**/{name}"),
            _ => format!("{two}**/*.{ending}"),
        })
    }

    fn list(&self) -> &'static str {
        match self {
            Self::Exact(_) => "matchPaths",
            Self::Recursive(_) => "matchDirectories",
            Self::Glob(_) => "matchPatterns",
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Recursive(text) | Self::Glob(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(rules: &Rules, wanted: impl Fn(&Rule) -> bool) -> usize {
        rules.rules.iter().filter(|rule| wanted(rule)).count()
    }

    #[test]
    fn paths_have_the_lengths_of_their_names() {
        assert_eq!([PATH_20, PATH_60, PATH_196, PATH_EARLY].map(str::len), [20, 60, 196, 60]);
    }

    #[test]
    fn the_program_opens_the_paths_that_have_rules() {
        let program = std::fs::read_to_string(crate::workspace_root().join("tests/bench/bench.c")).unwrap();
        for path in [PATH_20, PATH_60, PATH_EARLY, PATH_DENIED, PATH_DATA, CHILD] {
            assert!(program.contains(&format!("\"{path}\"")), "{path}");
        }
        let pieces: String = program.split("PATH_196").nth(1).unwrap().lines().take(5).collect();
        let joined: String = pieces.split('"').skip(1).step_by(2).take(3).collect();
        assert_eq!(joined, PATH_196);
    }

    #[test]
    fn as_many_rules_of_each_kind_as_promised() {
        let rules = Rules::new(1_000, Mix::Globs);
        assert_eq!(rules.rules.len(), 1_000);
        assert_eq!(share(&rules, |rule| matches!(rule.object, Object::Glob(_))), 100);
        assert_eq!(share(&rules, |rule| rule.process), 100);
        let recursive = share(&rules, |rule| matches!(rule.object, Object::Recursive(_)));
        assert!((190..=260).contains(&recursive), "{recursive}");
        assert_eq!(share(&Rules::new(10, Mix::GlobsMeet), |rule| matches!(rule.object, Object::Glob(_))), 1);
    }

    #[test]
    fn the_same_rules_every_time() {
        assert_eq!(Rules::new(100, Mix::Literal).policy(), Rules::new(100, Mix::Literal).policy());
    }

    #[test]
    fn a_policy_and_a_profile_say_the_same() {
        let rules = Rules::new(10, Mix::Literal);
        let (policy, profile) = (rules.policy(), rules.profile());
        assert!(policy.contains("    - {dir: /srv/early/, recursive: true, action: Allow}\n"), "{policy}");
        assert!(profile.contains("  /srv/early/{,**} rw,\n"), "{profile}");
        assert!(policy.contains("    - {path: /b/child, action: Allow}\n") && profile.contains("  /b/child mrix,\n"));
    }

    #[test]
    fn rules_that_only_block_leave_the_rest_alone() {
        let rules = Rules::new(100, Mix::Blocks);
        assert!(!rules.policy().contains("Allow") && rules.profile().contains("  file,\n"));
    }
}
