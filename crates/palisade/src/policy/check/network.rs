//! Allow-lists of sockets that leave out name resolution.

use palisade_policy::Problem;
use palisade_policy::model::{Action, Policy};
use palisade_ruleset::{Access, Actor, By, NoLinks, Operation, RuleBody, Socket, Verdict, decide};

use super::{rules_of, sample};
use crate::policy::report;

const TCP: Socket = Socket { family: 2, kind: 1, protocol: 6 };
const UDP: Socket = Socket { family: 2, kind: 2, protocol: 17 };

/// A note where a program may connect but not ask for a name: DNS goes over UDP first.
pub(super) fn notes(policy: &Policy) -> Option<Problem> {
    let rules = rules_of(&[policy], &NoLinks);
    let allow = rules.rules().iter().find(|rule| matches!(rule.body, RuleBody::Network(_)) && rule.action() == Action::Allow)?;
    let program = sample::programs(&allow.body).into_iter().next()?;
    let ask = |socket| {
        let actor = Actor { program: program.clone(), uid: 0, terminal: false };
        decide(&rules, &Access { actor, operation: Operation::Socket { socket, end: None } })
    };
    let (tcp, udp) = (ask(TCP), ask(UDP));
    let forgotten = tcp.verdict != Verdict::Block && udp.verdict == Verdict::Block && udp.by == By::DefaultPosture;
    let message = "tcp is allowed and udp is not: host names cannot be resolved by DNS";
    let help = "add `protocol: udp` if the program connects to names; servers that are only connected to need none";
    forgotten.then(|| report::note(allow.origin(), format!("spec.{}", allow.position()), message.to_owned(), help))
}
