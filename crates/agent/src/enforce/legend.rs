//! Rules as legends on disk name them, for events of a table that another palisade made.

use std::sync::Arc;

use palisade_event::Rule;
use palisade_policy::model::{Kind, Origin, PolicyKey, Position, RuleList};
use palisade_ruleset::{Legend, LegendRule};

use super::table::Rules;

const KINDS: [Kind; 3] = [Kind::Cluster, Kind::Namespaced, Kind::Host];
const LISTS: [RuleList; 8] = [
    RuleList::ProcessPaths,
    RuleList::ProcessDirectories,
    RuleList::ProcessPatterns,
    RuleList::FilePaths,
    RuleList::FileDirectories,
    RuleList::FilePatterns,
    RuleList::NetworkProtocols,
    RuleList::Capabilities,
];

/// The rules of a legend, by rule id. `None` if one is not named as this version names rules: then none can be trusted
/// to stand at its id.
#[must_use]
pub fn rules(legend: &Legend) -> Option<Rules> {
    legend.rules.iter().map(|named| rule(named).map(Arc::new)).collect()
}

fn rule(named: &LegendRule) -> Option<Rule> {
    let LegendRule { kind, namespace, policy, position, origin, severity, tags, message, action: _, audited: _ } = named;
    Some(Rule {
        policy: PolicyKey {
            kind: KINDS.into_iter().find(|known| known.resource() == kind)?,
            namespace: namespace.clone(),
            name: policy.clone(),
        },
        position: parse_position(position)?,
        origin: parse_origin(origin)?,
        severity: *severity,
        tags: tags.clone(),
        message: message.clone(),
    })
}

/// `file.matchPaths[3]`. Which part of a written rule it is shows nowhere.
fn parse_position(text: &str) -> Option<Position> {
    let (field, index) = text.strip_suffix(']')?.rsplit_once('[')?;
    let list = LISTS.into_iter().find(|list| list.field() == field)?;
    Some(Position { list, index: index.parse().ok()?, part: 0 })
}

/// `FILE:LINE:COLUMN`, whatever is in the file's name.
fn parse_origin(text: &str) -> Option<Origin> {
    let (rest, column) = text.rsplit_once(':')?;
    let (file, line) = rest.rsplit_once(':')?;
    Some(Origin { file: file.into(), line: line.parse().ok()?, column: column.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use palisade_policy::SourceFile;
    use palisade_ruleset::{NoLinks, RuleSet, Workload};

    use super::*;
    use crate::enforce::table;

    /// Every list once, in every kind that has it.
    const POLICIES: &str = "
kind: KubeArmorPolicy
apiVersion: security.kubearmor.com/v1
metadata: {name: p, namespace: n}
spec:
  selector: {matchLabels: {a: b}}
  severity: 7
  tags: [one, two]
  message: of all
  action: Block
  process: {matchPaths: [{path: /a}], matchDirectories: [{dir: /b/}], matchPatterns: [{pattern: /c*}]}
  file: {matchPaths: [{path: /a}, {path: /d}], matchDirectories: [{dir: /b/}], matchPatterns: [{pattern: /c*}]}
  network: {matchProtocols: [{protocol: tcp}]}
  capabilities: {matchCapabilities: [{capability: net_raw}]}
---
kind: KubeArmorClusterPolicy
apiVersion: security.kubearmor.com/v1
metadata: {name: c}
spec:
  selector: {matchExpressions: [{key: namespace, operator: In, values: [n]}]}
  action: Audit
  file: {matchPaths: [{path: /a}]}
";

    #[test]
    fn rules_come_back_from_a_legend_as_they_went_in() {
        let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("a:b.yaml"), text: POLICIES }]);
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        let set = RuleSet::new(&parsed.policies, &Workload::run(), &NoLinks);
        assert_eq!(set.rules().len(), 10);
        let written = serde_json::to_vec(&set.legend()).unwrap();
        let read: Legend = serde_json::from_slice(&written).unwrap();
        assert_eq!(rules(&read).unwrap()[..], table::names(&set)[..]);
    }

    #[test]
    fn a_legend_of_another_make_names_nothing() {
        let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("p.yaml"), text: POLICIES }]);
        let mut legend = RuleSet::new(&parsed.policies, &Workload::run(), &NoLinks).legend();
        legend.rules[1].position = "files[0]".to_owned();
        assert!(rules(&legend).is_none());
    }
}
