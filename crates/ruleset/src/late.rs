//! Links that appear while a workload runs (`meaning` section 3.5): rules that deny or report gain the names that their
//! paths lead to now, and lose none.

use palisade_policy::model::Action;

use crate::resolve::{RuleNames, resolve_rule};
use crate::rules::RuleSet;
use crate::workload::Tree;

/// Names gained at most by one rule set: whoever can turn a link on the way of a rule could else make its tables grow
/// for ever.
pub const LATE_NAMES_MAX: usize = 4096;

/// What a later resolution brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gained {
    /// Names of objects and sources that rules hold for from now on.
    pub names: usize,
    /// Names that they do not hold for, because [`LATE_NAMES_MAX`] is reached.
    pub left_out: usize,
}

/// Adds to names, up to a limit.
struct Gain {
    room: usize,
    gained: Gained,
}

// === impl RuleSet ===

impl RuleSet {
    /// Resolves the names of Block and Audit rules again, in the tree as it lies now.
    ///
    /// # Guarantees
    /// No rule loses a name. No Allow gains one, and neither does the base set: the workload would widen its own policy by
    /// putting a link where a directory was.
    pub fn resolve_again(&mut self, tree: &dyn Tree) -> Gained {
        let Self { workload, rules, resolution } = self;
        let mut gain = Gain { room: LATE_NAMES_MAX.saturating_sub(resolution.late), gained: Gained::default() };
        for (rule, held) in rules.iter().zip(&mut resolution.rules) {
            if rule.action() == Action::Allow {
                continue;
            }
            let (RuleNames { objects, invoked, sources }, multi_call) = resolve_rule(rule, workload, tree);
            gain.add(&mut held.objects, objects);
            gain.add(&mut held.invoked, invoked);
            gain.add(&mut held.sources, sources);
            if let Some(file) = multi_call
                && !resolution.multi_call.iter().any(|(id, known)| *id == rule.id && *known == file)
            {
                resolution.multi_call.push((rule.id, file));
            }
        }
        resolution.late += gain.gained.names;
        gain.gained
    }
}

// === impl Gain ===

impl Gain {
    fn add<T: PartialEq>(&mut self, held: &mut Vec<T>, found: Vec<T>) {
        for name in found {
            if held.contains(&name) {
                continue;
            }
            if self.room == 0 {
                self.gained.left_out += 1;
                continue;
            }
            self.room -= 1;
            self.gained.names += 1;
            held.push(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use palisade_policy::SourceFile;

    use super::*;
    use crate::access::{Access, Actor, FileMode, Object, Operation, Program};
    use crate::workload::{Resolved, Workload};
    use crate::{Stamp, Verdict, compile, decide, walk};

    /// Directories that are links.
    struct Links(BTreeMap<&'static str, &'static str>);

    impl Tree for Links {
        fn resolve(&self, path: &[u8]) -> Option<Resolved> {
            let text = std::str::from_utf8(path).ok()?;
            let moved = self.0.iter().find_map(|(from, to)| Some(format!("{to}{}", text.strip_prefix(from)?)));
            Some(Resolved { path: moved.unwrap_or_else(|| text.to_owned()).into_bytes(), allow_may_follow: true })
        }
    }

    fn links<const N: usize>(links: [(&'static str, &'static str); N]) -> Links {
        Links(links.into_iter().collect())
    }

    fn mk_rules(action: &str, file: &str) -> RuleSet {
        let text = format!(
            "kind: KubeArmorPolicy\napiVersion: security.kubearmor.com/v1\nmetadata: {{name: p}}\nspec:\n  \
             selector: {{matchLabels: {{a: b}}}}\n  file: {file}\n  action: {action}\n"
        );
        let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("p.yaml"), text: &text }]);
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        RuleSet::new(&parsed.policies, &Workload::run(), &links([]))
    }

    /// The verdict on a read by /bin/cat, asked of the law and of the table.
    fn read(rules: &RuleSet, path: &str) -> Verdict {
        let actor = Actor { program: Program::Path(b"/bin/cat".to_vec()), uid: 0, terminal: false };
        let object = Object::Path(path.as_bytes().to_vec());
        let access =
            Access { actor, operation: Operation::File { mode: FileMode::Read, object, owner: None, block_device: false } };
        let decided = decide(rules, &access);
        let compiled = compile(rules, Stamp { table_id: 1, generation: 1 }).unwrap();
        let walked = walk::Table::from_bytes(&compiled.bytes()).unwrap().decide(&access);
        assert_eq!(walked.verdict, decided.verdict, "{path}");
        decided.verdict
    }

    #[test]
    fn a_block_holds_for_what_its_path_leads_to_later_and_for_all_it_ever_led_to() {
        let mut rules = mk_rules("Block", "{matchPaths: [{path: /opt/x/secret}]}");
        assert_eq!(read(&rules, "/data/secret"), Verdict::Allow);
        assert_eq!(rules.resolve_again(&links([("/opt/x", "/data")])), Gained { names: 1, left_out: 0 });
        assert_eq!(rules.resolve_again(&links([("/opt/x", "/srv")])), Gained { names: 1, left_out: 0 });
        assert_eq!(rules.resolve_again(&links([])), Gained::default());
        for path in ["/opt/x/secret", "/data/secret", "/srv/secret"] {
            assert_eq!(read(&rules, path), Verdict::Block, "{path}");
        }
        assert_eq!(read(&rules, "/data/other"), Verdict::Allow);
    }

    #[test]
    fn directories_globs_and_sources_gain_as_well() {
        let file = "{matchDirectories: [{dir: /opt/x/d/, recursive: true}], matchPatterns: [{pattern: /opt/x/*.key}], \
                    matchPaths: [{path: /t/f, fromSource: [{path: /opt/x/cat}]}]}";
        let mut rules = mk_rules("Block", file);
        assert_eq!(read(&rules, "/t/f"), Verdict::Allow);
        rules.resolve_again(&links([("/opt/x", "/bin")]));
        for path in ["/bin/d/e/f", "/bin/a.key", "/t/f"] {
            assert_eq!(read(&rules, path), Verdict::Block, "{path}");
        }
    }

    #[test]
    fn an_allow_gains_nothing_later() {
        let mut rules = mk_rules("Allow", "{matchPaths: [{path: /opt/x/secret}]}");
        assert_eq!(rules.resolve_again(&links([("/opt/x", "/data")])), Gained::default());
        assert_eq!(read(&rules, "/data/secret"), Verdict::Block);
    }

    #[test]
    fn gains_are_bounded_and_what_is_left_out_is_said() {
        let mut rules = mk_rules("Block", "{matchPaths: [{path: /opt/x/secret}]}");
        rules.resolution.late = LATE_NAMES_MAX - 1;
        assert_eq!(rules.resolve_again(&links([("/opt/x", "/data")])), Gained { names: 1, left_out: 0 });
        assert_eq!(rules.resolve_again(&links([("/opt/x", "/srv")])), Gained { names: 0, left_out: 1 });
        assert_eq!(read(&rules, "/data/secret"), Verdict::Block);
    }
}
