//! What the BPF back end does not carry out as `meaning` says.

use palisade_ruleset::{Rule, RuleBody, RuleSet};

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
pub const BPF_GAPS: &[BpfGap] = &[
    BpfGap {
        name: "allowed-args",
        text: "the kernel programs do not see arguments: no exec passes because of `allowedArgs`, it is judged as one \
               whose arguments are not listed",
        concerns: has_allowed_args,
    },
    BpfGap {
        name: "argv0",
        text: "a multi-call binary is recognised by the name it is executed by, not by argv[0]: a caller that gives \
               another argv[0] chooses the applet",
        concerns: is_by_execname,
    },
];

/// The gaps of a rule set under the BPF back end.
#[must_use]
pub fn bpf_gaps(rules: &RuleSet) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for rule in rules.rules() {
        let met = BPF_GAPS.iter().filter(|gap| (gap.concerns)(rule));
        gaps.extend(met.map(|gap| Gap { rule: Some(rule.id), name: gap.name, text: gap.text.to_owned() }));
    }
    gaps
}

fn has_allowed_args(rule: &Rule) -> bool {
    match &rule.body {
        RuleBody::Process(process) => process.allowed_args.is_some(),
        RuleBody::File(_) | RuleBody::Network(_) | RuleBody::Capability(_) => false,
    }
}

fn is_by_execname(rule: &Rule) -> bool {
    match &rule.body {
        RuleBody::Process(process) => matches!(process.object, palisade_policy::model::PathObject::ExecName(_)),
        RuleBody::File(_) | RuleBody::Network(_) | RuleBody::Capability(_) => false,
    }
}
