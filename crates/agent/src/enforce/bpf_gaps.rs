//! What the BPF back end does not carry out as `meaning` says.

use palisade_ruleset::{Rule, RuleBody, RuleId, RuleSet};

use super::Gap;

/// A gap of the BPF back end.
#[derive(Clone, Copy, Debug)]
pub struct BpfGap {
    /// Its name.
    pub name: &'static str,
    /// What is not met, and what holds instead.
    pub text: &'static str,
    /// Which rules it concerns.
    concerns: fn(&Rule) -> bool,
}

/// All of them.
pub const BPF_GAPS: &[BpfGap] = &[BpfGap {
    name: "allowed-args",
    text: "the kernel programs do not judge arguments: no exec passes because of `allowedArgs`, it is judged as one \
               whose arguments are not listed",
    concerns: has_allowed_args,
}];

/// The gaps of a rule set under the BPF back end.
#[must_use]
pub fn bpf_gaps(rules: &RuleSet) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = rules.multi_call().iter().map(|(rule, file)| multi_call(*rule, file)).collect();
    for rule in rules.rules() {
        let met = BPF_GAPS.iter().filter(|gap| (gap.concerns)(rule));
        gaps.extend(met.map(|gap| Gap { rule: Some(rule.id), name: gap.name, text: gap.text.to_owned() }));
    }
    gaps
}

/// What the back end does not carry out yet, whatever the policies say: name and what holds instead.
const INHERENT: &[(&str, &str)] = &[
    (
        "connected-sockets",
        "a socket that was connected before the policy held, or is received connected, is used further: sending on it names \
         no address",
    ),
    (
        "endpoints",
        "accept is judged by the local address and port, not by the peer's, which the kernel tells too late to refuse; paths \
         that MPTCP adds by itself, and addresses that SCTP takes by setsockopt (connectx, bindx), are not judged",
    ),
    ("open-descriptors", "what was opened before the policy held can be used further"),
    (
        "late-links",
        "a Block or Audit holds for what a link leads to that appears later, once that was noticed and its table swapped: some \
         tens of milliseconds in an emulated machine, longer for large policies or after a change just before. What is opened \
         meanwhile by the name that the link leads to passes. Not noticed: mounts in a mount namespace that the workload made \
         itself, and links that another machine makes on a network file system",
    ),
];

/// What the back end does not carry out yet, whatever the policies say.
#[must_use]
pub fn bpf_inherent() -> Vec<Gap> {
    INHERENT.iter().map(|(name, text)| Gap { rule: None, name, text: (*text).to_owned() }).collect()
}

fn multi_call(rule: RuleId, file: &[u8]) -> Gap {
    let file = String::from_utf8_lossy(file);
    let text =
        format!("{file} is a multi-call binary: invoked by another name it passes this rule; a rule that names {file} does not");
    Gap { rule: Some(rule), name: "multi-call", text }
}

fn has_allowed_args(rule: &Rule) -> bool {
    match &rule.body {
        RuleBody::Process(process) => process.allowed_args.is_some(),
        RuleBody::File(_) | RuleBody::Network(_) | RuleBody::Capability(_) => false,
    }
}
