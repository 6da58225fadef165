//! The corpus as data: it loads, its policies are YAML, its rules exist, each call lowers, every clause has cases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use palisade_system_tests::corpus::{Case, Corpus};
use palisade_system_tests::lower::{lower, workload};
use serde_json::Value;

/// The clauses of the meaning of policies that a case can show.
const CLAUSES: [&str; 46] = [
    "1.1",
    "1.2",
    "1.4",
    "1.5",
    "2.exec",
    "2.map_exec",
    "2.file",
    "2.network",
    "2.capability",
    "2.unmediated",
    "2.strictest",
    "2.opens",
    "2.outside",
    "2.memfd",
    "2.descriptors",
    "3.1",
    "3.2",
    "3.3",
    "3.4",
    "3.5",
    "3.6",
    "3.7",
    "3.8",
    "4.1",
    "4.2",
    "4.3",
    "4.4",
    "4.ties",
    "4.network",
    "4.capability",
    "5.1",
    "5.2",
    "5.3",
    "5.4",
    "5.5",
    "5.6",
    "5.network",
    "5.endpoint",
    "5.self",
    "5.mount-integrity",
    "5.tree-integrity",
    "5.source",
    "5.device",
    "7.example-policy",
    "7.nodejs-minimal",
    "7.web-app-hardened",
];

fn corpus() -> Corpus {
    Corpus::load(&corpus_dir()).expect("the corpus loads")
}

fn corpus_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/decisions")
}

#[test]
fn every_clause_has_a_case() {
    let corpus = corpus();
    let mut cases: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, case) in corpus.cases() {
        for clause in &case.meaning {
            *cases.entry(clause).or_default() += 1;
        }
    }
    println!("{cases:?}");
    let missing: Vec<&str> = CLAUSES.into_iter().filter(|c| !cases.contains_key(c)).collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}

#[test]
fn every_call_is_accesses_of_the_rule_set() {
    for (file, case) in corpus().cases() {
        let _workload = workload(case);
        for access in &case.access {
            let accesses = lower(case, access).unwrap_or_else(|e| panic!("{file}: {}: {e:#}", case.name));
            assert_eq!(accesses.is_empty(), access.op.is_unmediated(), "{file}: {}: {:?}", case.name, access.op);
        }
    }
}

#[test]
fn every_rule_that_a_case_names_is_in_its_policies() {
    let corpus = corpus();
    for (file, case) in corpus.cases() {
        let policies = policies(case, &corpus.dir);
        for access in &case.access {
            let shadow = access.shadow.iter().map(|s| s.rule.as_str());
            for rule in access.rule.iter().flat_map(|r| r.split('|')).chain(shadow) {
                assert!(exists(rule, &policies), "{file}: {}: there is no {rule}", case.name);
            }
        }
    }
}

fn policies(case: &Case, dir: &Path) -> Vec<Value> {
    let yaml = case.policy_yaml(dir).expect("the policies are there");
    serde_saphyr::from_multiple::<Value>(&yaml).unwrap_or_else(|e| panic!("{}: {e}\n{yaml}", case.name))
}

/// Whether `NAME:LIST[INDEX]` is there, or the word is one of those that name no rule.
fn exists(rule: &str, policies: &[Value]) -> bool {
    if ["none", "base", "DefaultPosture"].contains(&rule) {
        return true;
    }
    if let Some(name) = rule.strip_prefix("builtin:") {
        return palisade_ruleset::BuiltIn::ALL.iter().any(|b| b.name() == name);
    }
    let Some((name, position)) = rule.split_once(':') else { return false };
    let Some((list, index)) = position.split_once('[') else { return false };
    let index: usize = index.trim_end_matches(']').parse().expect("an index");
    let pointer = format!("/spec/{}/{index}", list.replace('.', "/"));
    policies.iter().any(|p| p.pointer("/metadata/name").is_some_and(|n| n == name) && p.pointer(&pointer).is_some())
}
