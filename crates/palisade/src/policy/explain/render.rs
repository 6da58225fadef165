//! The answer, for people and for programs.

use palisade_ruleset::{BASE_SET, BaseEntry, By, Explanation, Matched, Rule, RuleSet};
use serde::Serialize;

use crate::out;
use crate::policy::access::{Answer, Stage};
use crate::text;

/// The answer as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Json {
    /// What is done.
    access: String,
    /// `Allow`, `Audit` or `Block`.
    verdict: &'static str,
    /// The policy of the deciding rule; of the rest `DefaultPosture`, `BaseSet` or a built-in rule; `null`: nothing speaks.
    policy: Option<String>,
    kind: Option<&'static str>,
    namespace: Option<String>,
    /// The deciding rule's place in its policy.
    rule: Option<String>,
    file: Option<String>,
    line: Option<u32>,
    reason: String,
    matched: Vec<MatchedJson>,
    /// Of a script: the stages of its exec, when there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stages: Vec<Json>,
}

#[derive(Debug, Serialize)]
struct MatchedJson {
    policy: String,
    kind: &'static str,
    namespace: String,
    rule: String,
    file: String,
    line: u32,
    says: &'static str,
    rank: String,
    outcome: String,
}

/// The answer as JSON.
pub(super) fn json(answer: &Answer, rules: &RuleSet) -> Json {
    let mut json = stage_json(answer.decisive(), rules);
    if answer.stages.len() > 1 {
        json.stages = answer.stages.iter().map(|stage| stage_json(stage, rules)).collect();
    }
    json
}

fn stage_json(stage: &Stage, rules: &RuleSet) -> Json {
    let Stage { title, explanation: Explanation { decision, reason, matched } } = stage;
    let rule = match decision.by {
        By::Rule(id) => rules.rule(id),
        By::DefaultPosture | By::BaseSet | By::BuiltIn(_) | By::Nothing => None,
    };
    let policy = match decision.by {
        By::Rule(_) => rule.map(|rule| rule.policy.name.clone()),
        By::DefaultPosture => Some("DefaultPosture".to_owned()),
        By::BaseSet => Some("BaseSet".to_owned()),
        By::BuiltIn(rule) => Some(rule.name().to_owned()),
        By::Nothing => None,
    };
    Json {
        access: title.clone(),
        verdict: decision.verdict.name(),
        policy,
        kind: rule.map(|rule| rule.policy.kind.resource()),
        namespace: rule.map(|rule| rule.policy.namespace.clone()),
        rule: rule.map(|rule| rule.position().to_string()),
        file: rule.map(|rule| rule.origin().file.to_string()),
        line: rule.map(|rule| rule.origin().line),
        reason: reason.clone(),
        matched: matched.iter().filter_map(|m| Some(matched_json(m, rules.rule(m.rule)?))).collect(),
        stages: Vec::new(),
    }
}

fn matched_json(matched: &Matched, rule: &Rule) -> MatchedJson {
    let Matched { rule: _, says, rank, outcome } = matched;
    MatchedJson {
        policy: rule.policy.name.clone(),
        kind: rule.policy.kind.resource(),
        namespace: rule.policy.namespace.clone(),
        rule: rule.position().to_string(),
        file: rule.origin().file.to_string(),
        line: rule.origin().line,
        says,
        rank: rank.clone(),
        outcome: outcome.clone(),
    }
}

/// The answer for people.
pub(super) fn people(answer: &Answer, rules: &RuleSet, left_out: &[String]) -> String {
    let mut text = String::new();
    for (index, stage) in answer.stages.iter().enumerate() {
        if answer.stages.len() > 1 {
            let decides = if index == answer.deciding { ", which decides" } else { "" };
            text.push_str(&text::dim(&format!("stage {} of {}{decides}", index + 1, answer.stages.len())));
            text.push('\n');
        }
        stage_text(stage, rules, &mut text);
    }
    if !left_out.is_empty() {
        let line = format!("not for this workload: {}", left_out.join(", "));
        text.push_str(&text::dim(&text::lines(&line)));
        text.push('\n');
    }
    text
}

fn stage_text(stage: &Stage, rules: &RuleSet, text: &mut String) {
    let Stage { title, explanation: Explanation { decision, reason, matched } } = stage;
    text.push_str(&format!("{}  {}\n", text::verdict(decision.verdict), text::bold(title)));
    text.push_str(&format!("  {}\n", text::lines(reason)));
    if let Some((verdict, by)) = decision.shadow {
        let because = match by {
            By::Rule(id) => {
                rules.rule(id).map_or_else(String::new, |rule| format!(", by {} of {}", rule.position(), rule.policy))
            }
            By::DefaultPosture | By::BaseSet | By::BuiltIn(_) | By::Nothing => String::new(),
        };
        let line = format!("with the policies in audited mode it would be {verdict}{because}");
        text.push_str(&format!("  {}\n", text::lines(&line)));
    }
    if matched.is_empty() {
        return;
    }
    let mut table = text::table(&["Says", "Rule", "Policy", "Where", "Named as", "Outcome"]);
    for Matched { rule, says, rank, outcome } in matched {
        let Some(rule) = rules.rule(*rule) else { continue };
        let place = format!("{}:{}", text::name(rule.origin().file.as_bytes()), rule.origin().line);
        table.add_row([
            text::says_cell(says),
            text::cell(&rule.position().to_string()),
            text::cell(&rule.policy.to_string()),
            text::cell(&place),
            text::cell(rank),
            text::cell(outcome),
        ]);
    }
    text.push_str(&text::table_text(&table));
}

/// Prints the base set.
pub(super) fn base(as_json: bool) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Entry {
        pattern: &'static str,
        write: bool,
        reason: &'static str,
    }
    if as_json {
        let entry = |BaseEntry { pattern, write, reason }: &BaseEntry| Entry { pattern, write: *write, reason };
        return out::print_json(&BASE_SET.iter().map(entry).collect::<Vec<_>>());
    }
    let mut table = text::table(&["Pattern", "May be", "What it is"]);
    for BaseEntry { pattern, write, reason } in BASE_SET {
        let allowed = if *write { "read, written" } else { "read" };
        table.add_row([*pattern, allowed, *reason]);
    }
    let intro = "What every program of a workload may do where no rule decides; `palisade.dev/base-set: none` turns it off.\n";
    Ok(out::print(&format!("{intro}{}", text::table_text(&table)))?)
}
