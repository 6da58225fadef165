//! What is easily forgotten about the network: name resolution in an allow-list, and what a Block by address does not hold.

use palisade_policy::Problem;
use palisade_policy::model::{Action, Direction, Endpoint, Host, NetworkObject, Policy};
use palisade_ruleset::{
    Access, Actor, By, Decision, End, NoLinks, Operation, Program, Rule, RuleBody, RuleSet, Side, Socket, Verdict, decide,
};

use super::{rules_of, sample};
use crate::policy::report;

const TCP: Socket = Socket { family: 2, kind: 1, protocol: 6 };
const UDP: Socket = Socket { family: 2, kind: 2, protocol: 17 };
const RAW: Socket = Socket { family: 2, kind: 3, protocol: 255 };

/// Notes on the network rules of a policy.
pub(super) fn notes(policy: &Policy) -> Vec<Problem> {
    let rules = rules_of(&[policy], &NoLinks);
    let by_endpoint = |rule: &&Rule| endpoint(rule).is_some() && rule.action() == Action::Block;
    let block = rules.rules().iter().find(by_endpoint);
    let everywhere = rules.rules().iter().filter(by_endpoint).find(|rule| passes_everywhere(&rules, rule));
    let dns = without_dns(&rules);
    [dns, block.and_then(|rule| passes_raw(&rules, rule)), everywhere.map(wildcard)].into_iter().flatten().collect()
}

/// Where a program may connect but not ask for a name: DNS goes over UDP first.
fn without_dns(rules: &RuleSet) -> Option<Problem> {
    let is_network_allow = |rule: &&Rule| matches!(rule.body, RuleBody::Network(_)) && rule.action() == Action::Allow;
    let allow = rules.rules().iter().find(is_network_allow)?;
    // Who names addresses needs no names.
    if endpoint(allow).is_some() {
        return None;
    }
    let program = sample::programs(&allow.body).into_iter().next()?;
    let (tcp, udp) = (ask(rules, &program, TCP, None), ask(rules, &program, UDP, None));
    let forgotten = tcp.verdict != Verdict::Block && udp.verdict == Verdict::Block && udp.by == By::DefaultPosture;
    let message = "tcp is allowed and udp is not: host names cannot be resolved by DNS";
    let help = "add `protocol: udp` if the program connects to names; servers that are only connected to need none";
    forgotten.then(|| note(allow, message, help))
}

/// Where a Block by address does not hold for raw sockets, which write addresses into packets by themselves.
fn passes_raw(rules: &RuleSet, rule: &Rule) -> Option<Problem> {
    let program = sample::programs(&rule.body).into_iter().next()?;
    let passes = ask(rules, &program, RAW, None).verdict != Verdict::Block;
    let message = "a Block by address does not hold for raw and packet sockets, which write addresses by themselves";
    let help = "block `raw` in matchProtocols as well, or the capability net_raw";
    passes.then(|| note(rule, message, help))
}

/// Whether the rule keeps a socket from an address of its own that it may have all the same, bound to every address.
fn passes_everywhere(rules: &RuleSet, rule: &Rule) -> bool {
    let Some(Endpoint { direction: Direction::Ingress | Direction::Both, host: Host::Cidr(cidr), .. }) = endpoint(rule) else {
        return false;
    };
    let Some(program) = sample::programs(&rule.body).into_iter().next() else { return false };
    let ends = sample::ends_of(rule).into_iter().filter(|end| end.side == Side::Local);
    let unspecified = if cidr.address().is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let verdict = |end| ask(rules, &program, TCP, Some(end)).verdict;
    let passes = |end: End| verdict(end) == Verdict::Block && verdict(End { address: unspecified, ..end }) != Verdict::Block;
    ends.into_iter().any(passes)
}

fn wildcard(rule: &Rule) -> Problem {
    let message = "a socket bound to every address (0.0.0.0 or ::) is reached at these too, and this Block does not meet it";
    note(rule, message, "leave out `cidr` to close the ports on every address; ingress names the workload's own address")
}

fn ask(rules: &RuleSet, program: &Program, socket: Socket, end: Option<End>) -> Decision {
    let actor = Actor { program: program.clone(), uid: 0, terminal: false };
    decide(rules, &Access { actor, operation: Operation::Socket { socket, end } })
}

fn endpoint(rule: &Rule) -> Option<&Endpoint> {
    match &rule.body {
        RuleBody::Network(body) => match &body.object {
            NetworkObject::Endpoint(endpoint) => Some(endpoint),
            NetworkObject::Protocol(_) => None,
        },
        RuleBody::Process(_) | RuleBody::File(_) | RuleBody::Capability(_) => None,
    }
}

fn note(rule: &Rule, message: &str, help: &str) -> Problem {
    report::note(rule.origin(), format!("spec.{}", rule.position()), message.to_owned(), help)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use palisade_policy::SourceFile;

    use super::*;

    fn mk_notes(spec: &str) -> Vec<String> {
        let text = format!(
            "{{apiVersion: security.kubearmor.com/v1, kind: KubeArmorPolicy, metadata: {{name: p}}, spec: {{network: {{{spec}}}}}}}"
        );
        let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("p.yaml"), text: &text }]);
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        let words = |note: Problem| note.message.split(' ').take(4).collect::<Vec<_>>().join(" ");
        notes(&parsed.policies[0]).into_iter().map(words).collect()
    }

    #[test]
    fn what_a_block_by_address_does_not_hold_is_told() {
        let raw = "a Block by address";
        let egress = "matchEndpoints: [{cidr: 169.254.169.254, direction: egress, action: Block}]";
        assert_eq!(mk_notes(egress), [raw]);
        assert_eq!(mk_notes(&format!("{egress}, matchProtocols: [{{protocol: raw, action: Block}}]")), Vec::<String>::new());
        assert_eq!(
            mk_notes(&format!("{egress}, matchProtocols: [{{protocol: 'tcp,udp', action: Allow}}]")),
            Vec::<String>::new()
        );
        let ingress = "matchEndpoints: [{cidr: 192.168.0.0/16, direction: ingress, action: Block}]";
        assert_eq!(mk_notes(ingress), [raw, "a socket bound to"]);
        assert_eq!(mk_notes("matchEndpoints: [{ports: [{port: 22}], direction: ingress, action: Block}]"), [raw]);
    }

    #[test]
    fn an_allow_list_of_addresses_needs_no_names() {
        assert_eq!(mk_notes("matchEndpoints: [{cidr: 10.0.0.5, protocol: TCP, action: Allow}]"), Vec::<String>::new());
        assert_eq!(mk_notes("matchProtocols: [{protocol: tcp, action: Allow}]"), ["tcp is allowed and"]);
    }
}
