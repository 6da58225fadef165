//! The built-in rules (meaning 5, at the end; `unresolvable`: meaning 3.1).

use palisade_policy::model::{Action, Class};
use palisade_ruleset::{MountChange, Object, Posture, Program, Scope, Verdict};

use crate::form::Thing;
use crate::judge::{Judgement, Question};
use crate::rank::Says;
use crate::rule::Met;

/// An access of a class whose path cannot be told.
//
// AMBIGUITY (meaning 3.1, "where the class has a Block rule or its posture is `block`"): any Block rule of a policy in
// force counts, whatever its source and terminal; the posture counts where an Allow makes the class an allow-list, so that
// Audit rules alone let everything pass (as meaning 7 says of web-app-audit). Other: the posture always counts.
pub(crate) fn unresolvable(question: &Question<'_>, class: Class) -> Judgement {
    if question.of_class(class).next().is_none() {
        return Judgement::nothing();
    }
    let block_rule = question.of_class(class).any(|rule| rule.action == Action::Block);
    let allow_list = question.of_class(class).any(|rule| rule.action == Action::Allow);
    let denied = block_rule || (allow_list && question.posture(class) == Posture::Block);
    Judgement::built_in(if denied { Verdict::Block } else { Verdict::Audit }, "unresolvable")
}

/// An open of a block device whose path cannot be told: no Allow meets it.
pub(crate) fn unresolvable_device(question: &Question<'_>) -> Judgement {
    device(question, unresolvable(question, Class::File), false)
}

/// `device`: in a workload with file rules the ordinary judgement holds only for what `opens` a block device.
pub(crate) fn device(question: &Question<'_>, ordinary: Judgement, opens: bool) -> Judgement {
    let applies = question.workload.scope == Scope::Workload && question.of_class(Class::File).next().is_some();
    match ordinary.verdict {
        // AMBIGUITY (meaning 5.6): where a rule denies the device anyway, either can be named.
        Verdict::Block => ordinary.by_anyone_if(applies),
        Verdict::Allow | Verdict::Audit if applies && !opens => Judgement::built_in(Verdict::Block, "device"),
        Verdict::Allow | Verdict::Audit => ordinary,
    }
}

/// Whether a winner is an Allow by exact path or glob under `/dev`.
//
// AMBIGUITY (meaning 5, `device`): the Allow must win in its tier, and its own text (or what it resolves to) must lie under
// `/dev`: `**/sda` does not open `/dev/sda`. Others: any matching Allow; any glob that meets the path.
pub(crate) fn opens_device(winner: &Met<'_>, path: &[u8]) -> bool {
    let thing = Thing::Path { path, invoked_as: &[] };
    winner.rank.says == Says::Allow
        && !winner.rank.object.is_directory()
        && winner.rule.forms().iter().any(|form| form.names_device(thing))
}

/// `tree-integrity`: renaming or exchanging a directory below whose old name a rule that can deny could meet something.
//
// AMBIGUITY (meaning 5, `tree-integrity` against 3.1): of a directory that cannot be told, `unresolvable` speaks, but on
// hosts, where the write that is judged as well says it. Other: any rule that can deny could meet something below it.
pub(crate) fn tree_integrity(question: &Question<'_>, object: &Object) -> Judgement {
    let path = match object {
        Object::Path(path) => path.as_slice(),
        Object::Unresolvable if question.workload.scope == Scope::Workload => return unresolvable(question, Class::File),
        Object::Unresolvable | Object::Memfd(_) => return Judgement::nothing(),
    };
    if question.workload.scope == Scope::Host {
        return Judgement::nothing();
    }
    let denied =
        question.of_class(Class::File).any(|rule| rule.can_deny() && rule.forms().iter().any(|form| form.could_meet_below(path)));
    if denied { Judgement::built_in(Verdict::Block, "tree-integrity") } else { Judgement::nothing() }
}

/// `mount-integrity`: what would change the meaning of paths, in a workload with path rules.
//
// AMBIGUITY (meaning 5, `mount-integrity`): path rules are all process and file rules in force, whatever their action;
// paths of `fromSource` are not "a path that a rule meets". Other: they are.
pub(crate) fn mount_integrity(question: &Question<'_>, change: &MountChange) -> Judgement {
    let mut path_rules = question.of_class(Class::Process).chain(question.of_class(Class::File)).peekable();
    if question.workload.scope == Scope::Host || question.workload.allow_mounts || path_rules.peek().is_none() {
        return Judgement::nothing();
    }
    let denied = match change {
        MountChange::New { at } => path_rules.any(|rule| rule.forms().iter().any(|form| form.could_meet_at_or_below(at))),
        MountChange::UnmountOwn => false,
        MountChange::Rearrange
        | MountChange::UnmountForeign
        | MountChange::PivotRoot
        | MountChange::EnterForeign
        | MountChange::OpenDetached => true,
    };
    if denied { Judgement::built_in(Verdict::Block, "mount-integrity") } else { Judgement::nothing() }
}

/// `source`: attaching to a task of another program, in a workload with a sourced Allow of any class.
//
// AMBIGUITY (meaning 5, `source`, "another program"): what cannot be told is another program, and so is a memfd, whose name
// is no identity. Other: equal names are the same program.
pub(crate) fn source(question: &Question<'_>, target: &Program) -> Judgement {
    let sourced_allow = question.rules.iter().any(|rule| rule.action == Action::Allow && rule.has_source());
    let same = matches!((target, &question.access.actor.program), (Program::Path(a), Program::Path(b)) if a == b);
    if question.workload.scope == Scope::Workload && sourced_allow && !same {
        Judgement::built_in(Verdict::Block, "source")
    } else {
        Judgement::nothing()
    }
}
