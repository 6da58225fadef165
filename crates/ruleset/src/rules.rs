//! The rules that concern one workload, in one flat list, and the legend that names them later.

use std::sync::Arc;

use palisade_policy::model::{
    Action, CapabilityRule, Class, FileRule, NetworkRule, Origin, PolicyKey, Position, ProcessRule, RuleMeta,
};
use serde::{Deserialize, Serialize};

use crate::RuleId;
use crate::resolve::Resolution;
use crate::workload::Workload;

/// The rules that concern one workload, selected from its policies and with their names resolved in its tree.
#[derive(Clone, Debug)]
pub struct RuleSet {
    pub(crate) workload: Workload,
    pub(crate) rules: Vec<Rule>,
    pub(crate) resolution: Resolution,
}

/// One rule of the set.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its index in the set.
    pub id: RuleId,
    /// The policy it comes from.
    pub policy: Arc<PolicyKey>,
    /// The index of that policy among those that concern the workload.
    pub policy_index: usize,
    /// The tier of that policy.
    pub tier: Tier,
    /// Whether its policy is in audited mode: out of the verdict, its events say what it would change.
    pub audited: bool,
    /// What it says.
    pub body: RuleBody,
}

/// The tiers, the stricter of whose winners holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Cluster policies.
    Upper,
    /// Namespaced policies, and host policies for the host.
    Lower,
}

/// The rule as its policy gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleBody {
    /// Over programs.
    Process(ProcessRule),
    /// Over files.
    File(FileRule),
    /// Over sockets.
    Network(NetworkRule),
    /// Over capabilities.
    Capability(CapabilityRule),
}

/// What an event's rule code stands for, for one generation of one workload. Kept beside the tables for as long as
/// one of them, or an event not yet read, may name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Legend {
    /// By rule id.
    pub rules: Vec<LegendRule>,
}

/// What an event says of its rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegendRule {
    /// `KubeArmorPolicy` and so on.
    pub kind: String,
    /// The policy's namespace; empty for kinds without one.
    pub namespace: String,
    /// The policy's name.
    pub policy: String,
    /// Its place in the policy, as `file.matchPaths[0]`.
    pub position: String,
    /// Its place in the input, as `file:line:column`.
    pub origin: String,
    /// 1 to 10.
    pub severity: Option<u8>,
    /// Tags.
    pub tags: Vec<String>,
    /// Message.
    pub message: String,
    /// `Allow`, `Audit` or `Block`.
    pub action: String,
    /// Whether its policy is in audited mode.
    pub audited: bool,
}

// === impl RuleSet ===

impl RuleSet {
    /// The rule of an id.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id.index())
    }

    /// All rules, by id.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The workload they were selected for.
    #[must_use]
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// The process rules that are met through a multi-call binary, with its path (`meaning` section 3.6): `busybox sh`
    /// passes a Block of `/bin/sh` that is a link to it.
    #[must_use]
    pub fn multi_call(&self) -> &[(RuleId, Vec<u8>)] {
        &self.resolution.multi_call
    }

    /// The names of the rules, for events.
    #[must_use]
    pub fn legend(&self) -> Legend {
        Legend { rules: self.rules.iter().map(LegendRule::new).collect() }
    }
}

// === impl RuleBody ===

impl RuleBody {
    /// What is common to all rules.
    #[must_use]
    pub fn meta(&self) -> &RuleMeta {
        match self {
            Self::Process(r) => &r.meta,
            Self::File(r) => &r.meta,
            Self::Network(r) => &r.meta,
            Self::Capability(r) => &r.meta,
        }
    }

    pub(crate) fn position(&self) -> Position {
        self.meta().position
    }
}

// === impl Rule ===

impl Rule {
    /// What is common to all rules.
    #[must_use]
    pub fn meta(&self) -> &RuleMeta {
        self.body.meta()
    }

    /// Its class.
    #[must_use]
    pub fn class(&self) -> Class {
        match self.body {
            RuleBody::Process(_) => Class::Process,
            RuleBody::File(_) => Class::File,
            RuleBody::Network(_) => Class::Network,
            RuleBody::Capability(_) => Class::Capability,
        }
    }

    /// Its action.
    #[must_use]
    pub fn action(&self) -> Action {
        self.meta().action
    }

    /// Its place in its policy.
    #[must_use]
    pub fn position(&self) -> Position {
        self.meta().position
    }

    /// Its place in the input.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.meta().origin
    }
}

impl LegendRule {
    fn new(rule: &Rule) -> Self {
        let RuleMeta { position, origin, action, severity, tags, message } = rule.meta();
        Self {
            kind: rule.policy.kind.resource().to_owned(),
            namespace: rule.policy.namespace.clone(),
            policy: rule.policy.name.clone(),
            position: position.to_string(),
            origin: origin.to_string(),
            severity: *severity,
            tags: tags.clone(),
            message: message.clone(),
            action: action_name(*action).to_owned(),
            audited: rule.audited,
        }
    }
}

/// The action's word.
fn action_name(action: Action) -> &'static str {
    match action {
        Action::Allow => "Allow",
        Action::Audit => "Audit",
        Action::Block => "Block",
    }
}
