//! The product against the oracle, over random rule sets and accesses.
//!
//! ```text
//! PALISADE_ORACLE_ROUNDS=100000 PALISADE_ORACLE_SEED=1 cargo test -p palisade-oracle --test agree
//! ```
//!
//! Every difference is made small and shown: it is a bug in one of the two, or an ambiguity of the law.

use std::collections::BTreeMap;

use palisade_oracle::random::{Rng, Scene};
use palisade_oracle::{By, Case, Judgement, Speaker, judge, judge_with_audited, show, shrink};
use palisade_ruleset::{Decision, Operation, RuleSet, Verdict, decide};

/// How many accesses are judged, where the environment does not say.
const ROUNDS: u64 = 100_000;
/// The seed, where the environment does not say.
const SEED: u64 = 1;
/// Accesses judged with one rule set.
const ACCESSES_PER_SCENE: u64 = 50;
/// Kinds of differences shown; more of the same kind are counted.
const SHOWN: usize = 30;

#[test]
fn product_and_oracle_agree() {
    let rounds = from_environment("PALISADE_ORACLE_ROUNDS", ROUNDS);
    let seed = from_environment("PALISADE_ORACLE_SEED", SEED);
    println!("seed {seed}, {rounds} accesses");

    let mut rng = Rng::new(seed);
    let mut verdicts: BTreeMap<Verdict, u64> = BTreeMap::new();
    let mut differences: BTreeMap<String, (u64, Case)> = BTreeMap::new();
    for _ in 0..rounds.div_ceil(ACCESSES_PER_SCENE) {
        let Scene { policies, workload, links } = Scene::random(&mut rng);
        let rules = RuleSet::new(&policies, &workload, &links);
        let scene = Scene { policies, workload, links };
        for _ in 0..ACCESSES_PER_SCENE {
            let access = scene.access(&mut rng);
            let case =
                Case { policies: scene.policies.clone(), workload: scene.workload.clone(), links: scene.links.clone(), access };
            let answers = Answers::with(&rules, &case);
            *verdicts.entry(answers.oracle.verdict).or_default() += 1;
            if let Some(kind) = answers.difference(&case) {
                differences.entry(kind).and_modify(|(count, _)| *count += 1).or_insert((1, case));
            }
        }
    }

    println!("verdicts: {verdicts:?}");
    let mut by_count: Vec<(String, (u64, Case))> = differences.into_iter().collect();
    by_count.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    for (kind, (count, case)) in by_count.iter().take(SHOWN) {
        let small = shrink::shrink(case.clone(), &|smaller| Answers::of(smaller).difference(smaller).as_ref() == Some(kind));
        let answers = Answers::of(&small);
        println!("\n=== {kind} ({count} times)\n{}", show::case(&small));
        println!("oracle:  {}", show_judgement(&answers.oracle));
        println!("product: {}", show_judgement(&answers.product));
        println!("with audited policies: oracle {:?}, product {:?}", answers.oracle_shadow, answers.product_shadow);
    }
    assert!(by_count.is_empty(), "{} kinds of differences (seed {seed})", by_count.len());
}

fn from_environment(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => default,
    }
}

/// What both say of one case, in the oracle's words.
struct Answers {
    oracle: Judgement,
    product: Judgement,
    /// The verdict if the policies in audited mode took part.
    oracle_shadow: Verdict,
    product_shadow: Verdict,
}

impl Answers {
    fn of(case: &Case) -> Self {
        Self::with(&RuleSet::new(&case.policies, &case.workload, &case.links), case)
    }

    fn with(rules: &RuleSet, case: &Case) -> Self {
        let Case { policies, workload, links, access } = case;
        let Decision { verdict, by, shadow } = decide(rules, access);
        Self {
            oracle: judge(policies, workload, links, access),
            product: Judgement { verdict, by: translate(rules, by), by_is_law: true },
            oracle_shadow: judge_with_audited(policies, workload, links, access).verdict,
            product_shadow: shadow.map_or(verdict, |(verdict, _)| verdict),
        }
    }

    /// The kind of difference, if there is one.
    fn difference(&self, case: &Case) -> Option<String> {
        let Self { oracle, product, oracle_shadow, product_shadow } = self;
        let operation = operation_name(&case.access.operation);
        let said = |j: &Judgement| format!("{} by {}", j.verdict, by_name(&j.by));
        if oracle.verdict != product.verdict {
            return Some(format!("{operation}: oracle {}, product {}", said(oracle), said(product)));
        }
        if oracle.by_is_law && oracle.by != product.by {
            return Some(format!("{operation}: {}: speaker {} or {}", oracle.verdict, by_name(&oracle.by), by_name(&product.by)));
        }
        (oracle_shadow != product_shadow)
            .then(|| format!("{operation}: with audited policies {oracle_shadow} or {product_shadow}"))
    }
}

fn translate(rules: &RuleSet, by: palisade_ruleset::By) -> By {
    match by {
        palisade_ruleset::By::Rule(id) => {
            let rule = rules.rule(id).expect("a decision names a rule of its set");
            By::Rule(Speaker { policy: (*rule.policy).clone(), position: rule.position() })
        }
        palisade_ruleset::By::DefaultPosture => By::DefaultPosture,
        palisade_ruleset::By::BaseSet => By::Base,
        palisade_ruleset::By::BuiltIn(built_in) => By::BuiltIn(built_in.name()),
        palisade_ruleset::By::Nothing => By::Nothing,
    }
}

fn by_name(by: &By) -> String {
    match by {
        By::Rule(_) => "rule".to_owned(),
        By::DefaultPosture => "posture".to_owned(),
        By::Base => "base set".to_owned(),
        By::BuiltIn(name) => format!("built-in {name}"),
        By::Nothing => "nothing".to_owned(),
    }
}

fn show_judgement(judgement: &Judgement) -> String {
    if let By::Rule(Speaker { policy, position }) = &judgement.by {
        format!("{} by {policy} {position}", judgement.verdict)
    } else {
        format!("{} by {}", judgement.verdict, by_name(&judgement.by))
    }
}

fn operation_name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Exec { .. } => "exec",
        Operation::MapExec { .. } => "map_exec",
        Operation::File { block_device: false, .. } => "file",
        Operation::File { block_device: true, .. } => "device",
        Operation::MoveDirectory { .. } => "move directory",
        Operation::Socket { .. } => "socket",
        Operation::Capability { .. } => "capability",
        Operation::Mount(_) => "mount",
        Operation::Attach { .. } => "attach",
        Operation::TouchPalisade => "touch palisade",
    }
}
