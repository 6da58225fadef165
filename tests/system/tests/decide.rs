//! The corpus judged by `palisade_ruleset::decide_all`: what the law says against what the code says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_policy::SourceFile;
use palisade_ruleset::{By, Legend, RuleSet, Verdict, decide, decide_all};
use palisade_system_tests::corpus::{AccessCase, Case, Corpus, VerdictCase};
use palisade_system_tests::lower::{lower, workload};
use palisade_system_tests::tree::TreeTable;

#[test]
fn decide_says_what_every_case_says() {
    let dir: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/decisions");
    let corpus = Corpus::load(&dir).expect("the corpus loads");
    let mut wrong = Vec::new();
    let mut judged = 0_usize;
    for (file, case) in corpus.cases() {
        let yaml = case.policy_yaml(&corpus.dir).expect("the policies are there");
        let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("case.yaml"), text: &yaml }]);
        if !parsed.problems.is_empty() {
            wrong.push(format!("{file}: {}: the policies do not parse: {:?}", case.name, parsed.problems));
            continue;
        }
        let rules = RuleSet::new(&parsed.policies, &workload(case), &TreeTable::new(case));
        for (index, access) in case.access.iter().enumerate() {
            judged += 1;
            if let Err(message) = judge(&rules, case, access) {
                wrong.push(format!("{file}: {} [{index}] {:?} {}: {message}", case.name, access.op, access.object()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {judged} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn judge(rules: &RuleSet, case: &Case, access: &AccessCase) -> Result<(), String> {
    let accesses = lower(case, access).map_err(|e| format!("{e:#}"))?;
    if accesses.is_empty() {
        return if access.verdict == VerdictCase::Allow { Ok(()) } else { Err("nothing is mediated".to_owned()) };
    }
    let decision = decide_all(rules, &accesses);
    let legend = rules.legend();
    let verdict = verdict(decision.verdict);
    // A call may be several accesses of equal strictness; the case names the one that it is about.
    let strictest = accesses.iter().map(|a| decide(rules, a)).filter(|d| d.verdict == decision.verdict);
    let by: Vec<String> = strictest.map(|d| name(&legend, d.by)).collect();
    let right = access.rule.as_ref().is_none_or(|rule| rule.split('|').any(|r| by.iter().any(|b| b == r)));
    if verdict != access.verdict || !right {
        let wanted = access.rule.as_deref().unwrap_or("anything");
        return Err(format!("{verdict:?} by {}, wanted {:?} by {wanted}", by.join(" or "), access.verdict));
    }
    let shadow = decision.shadow.map(|(v, by)| (self::verdict(v), name(&legend, by)));
    let wanted = access.shadow.as_ref().map(|s| (s.verdict, s.rule.clone()));
    if shadow == wanted { Ok(()) } else { Err(format!("the shadow is {shadow:?}, wanted {wanted:?}")) }
}

fn verdict(verdict: Verdict) -> VerdictCase {
    match verdict {
        Verdict::Allow => VerdictCase::Allow,
        Verdict::Audit => VerdictCase::Audit,
        Verdict::Block => VerdictCase::Block,
    }
}

/// Who decided, as cases write it.
fn name(legend: &Legend, by: By) -> String {
    match by {
        By::Rule(id) => {
            legend.rules.get(id.index()).map_or_else(|| format!("{id:?}"), |r| format!("{}:{}", r.policy, r.position))
        }
        By::DefaultPosture => "DefaultPosture".to_owned(),
        By::BaseSet => "base".to_owned(),
        By::BuiltIn(rule) => format!("builtin:{}", rule.name()),
        By::Nothing => "none".to_owned(),
    }
}
