//! The vocabulary of policies: what a user writes, checked once and turned into types that cannot be wrong.
//!
//! ```text
//! YAML text -> tree      (every node with its place; aliases replaced; syntax errors end one document only)
//!           -> document  (kind, metadata; selector, rules, unenforced: fields with decode and values)
//!           -> Policy    (normalised: action, severity, tags and message inherited; globs parsed; lists split)
//!              + problems, notes (file, line, column, field, byte span), hints on request
//! ```
//!
//! This crate is pure: it reads no file, no clock and no environment. It is *not* the place that says what a
//! policy means: that is `palisade-ruleset`, alone.

mod decode;
mod document;
mod endpoint;
mod endpoints;
pub mod gaps;
pub mod glob;
mod hints;
pub mod model;
mod problem;
mod rules;
mod selector;
mod suggest;
mod tree;
mod unenforced;
mod values;

use std::collections::HashMap;
use std::sync::Arc;

pub use document::{API_VERSION, DEFAULT_NAMESPACE, POLICY_NAME_MAX_BYTES};
pub use hints::hints;
pub use problem::{Note, Problem, Severity};
pub use values::{NAME_MAX_BYTES, PATH_MAX_BYTES};

use crate::model::{Policy, PolicyKey};
use crate::problem::{Path, Place, Sink};

/// The largest input file, in bytes: a `List` of some ten thousand policies.
pub const FILE_MAX_BYTES: usize = 32 << 20;

/// A text to parse, and what to call it in problems.
#[derive(Clone, Debug)]
pub struct SourceFile<'a> {
    /// The file as the user named it, or a name for text that came by another way.
    pub name: Arc<str>,
    /// Its content: any number of YAML (or JSON) documents.
    pub text: &'a str,
}

/// What [`parse`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The valid policies, in the order of the input, each key once.
    pub policies: Vec<Policy>,
    /// Everything that keeps a policy from being used; empty if all is valid.
    pub problems: Vec<Problem>,
    /// What does not keep a policy from being used and is worth knowing.
    pub notes: Vec<Note>,
}

/// Parses files of policies: several documents each, empty ones are fine, `List` objects are opened.
///
/// # Guarantees
/// All problems of all documents are found in one pass. An invalid policy yields problems and no [`Policy`], and does
/// not hinder its neighbours; nor does a syntax error, beyond its own document. Of policies with equal keys the last
/// valid one is kept, with a note. No input makes this panic.
///
/// # Limits
/// [`FILE_MAX_BYTES`] per file; 64 levels of nesting; 64 MiB per document once aliases are replaced, and 64 MiB per file
/// for what rules inherit and glob alternatives expand to; 1,000 problems and 1,000 notes listed per file (more are
/// counted). What exceeds one is a problem.
#[must_use]
pub fn parse(files: &[SourceFile<'_>]) -> Parsed {
    parse_in(files, DEFAULT_NAMESPACE)
}

/// The same, where namespaced policies that name no namespace are of another than [`DEFAULT_NAMESPACE`].
#[must_use]
pub fn parse_in(files: &[SourceFile<'_>], namespace: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for SourceFile { name, text } in files {
        let mut sink = Sink::new(name, text, namespace);
        if let Some((place, why)) = unreadable(text) {
            sink.error(&place, &Path::Root, why, "");
        } else {
            let policies = &mut parsed.policies;
            tree::read(text, &mut sink, |root, sink| document::read(root, policies, sink));
        }
        let (problems, notes) = sink.finish();
        parsed.problems.extend(problems);
        parsed.notes.extend(notes);
    }
    keep_last(&mut parsed);
    parsed
}

/// Why a text is not even looked at: its size, or a NUL, which some YAML readers take for the end of the text.
fn unreadable(text: &str) -> Option<(Place, String)> {
    if text.len() > FILE_MAX_BYTES {
        let place = Place { bytes: 0..0, line: 1, column: 1 };
        return Some((place, format!("the file is {} bytes long; at most {FILE_MAX_BYTES} are read", text.len())));
    }
    let at = text.find('\0')?;
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let place = Place { bytes: at..at + 1, line: number(line), column: number(column) };
    Some((place, "not YAML: NUL byte".to_owned()))
}

/// Leaves of each key the last policy, with a note at its place for each one that it replaces.
fn keep_last(parsed: &mut Parsed) {
    let Parsed { policies, problems: _, notes } = parsed;
    let mut last: HashMap<PolicyKey, usize> = HashMap::with_capacity(policies.len());
    let mut is_replaced = vec![false; policies.len()];
    for (index, policy) in policies.iter().enumerate() {
        if let Some(before) = last.insert(policy.key.clone(), index) {
            let message = format!("{} replaces the one of {}", policy.key, policies[before].origin);
            notes.push(Problem::hint(
                policy.origin.clone(),
                "metadata.name".to_owned(),
                message,
                "of equal kinds and names the last is used",
            ));
            is_replaced[before] = true;
        }
    }
    let mut index = 0;
    policies.retain(|_| {
        index += 1;
        !is_replaced[index - 1]
    });
}

#[cfg(test)]
mod tests {
    use miette::Diagnostic as _;

    use super::*;

    #[test]
    fn a_problem_is_a_diagnostic_with_its_place_in_the_text() {
        let text = "kind: KubeArmorPolic\n";
        let parsed = parse(&[SourceFile { name: Arc::from("p.yaml"), text }]);
        let problem = &parsed.problems[0];
        assert_eq!(problem.severity(), Some(miette::Severity::Error));
        let label = problem.labels().unwrap().next().unwrap();
        assert_eq!(&text[label.offset()..label.offset() + label.len()], "KubeArmorPolic");
        let help = problem.help().unwrap().to_string();
        assert!(help.starts_with("did you mean `KubeArmorPolicy`?"), "{help}");
    }

    #[test]
    fn a_policy_without_a_namespace_is_of_the_one_that_is_given() {
        let policy = |namespace: &str| {
            format!(
                "kind: KubeArmorPolicy\napiVersion: {API_VERSION}\nmetadata: {{name: p{namespace}}}\n\
                 spec: {{file: {{matchPaths: [{{path: /a}}]}}, action: Block}}\n"
            )
        };
        let text = format!("{}---\n{}", policy(""), policy(", namespace: own"));
        let namespaces = |parsed: Parsed| parsed.policies.into_iter().map(|policy| policy.key.namespace).collect::<Vec<_>>();
        let files = [SourceFile { name: Arc::from("p.yaml"), text: &text }];
        assert_eq!(namespaces(parse_in(&files, "other")), ["other", "own"]);
        assert_eq!(namespaces(parse(&files)), ["default", "own"]);
    }

    #[test]
    fn a_nul_byte_is_found_by_line_and_column() {
        let (place, _) = unreadable("a: é\nb: é\0").unwrap();
        assert_eq!((place.line, place.column, place.bytes), (2, 5, 11..12));
    }
}
