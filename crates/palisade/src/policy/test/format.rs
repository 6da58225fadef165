//! A test file as it is written. Unknown fields are errors, with line and column.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestFile {
    /// Files of policies, relative to this one.
    pub(super) policies: OneOrMany<String>,
    /// For whom they are applied.
    #[serde(default)]
    pub(super) workload: WorkloadFields,
    /// Who acts, where a test does not say.
    #[serde(default)]
    pub(super) defaults: ActorFields,
    /// The tests.
    pub(super) tests: Vec<Spanned<TestFields>>,
}

/// The workload.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WorkloadFields {
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) namespace: Option<String>,
    pub(super) container: Option<String>,
    pub(super) hostname: Option<String>,
    #[serde(default)]
    pub(super) host: bool,
    pub(super) mode: Option<ModeWord>,
    pub(super) base_set: Option<bool>,
    #[serde(default)]
    pub(super) postures: PostureFields,
    pub(super) links: Option<Spanned<BTreeMap<String, String>>>,
    pub(super) root: Option<String>,
}

/// Postures by class; process follows file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PostureFields {
    pub(super) file: Option<PostureWord>,
    pub(super) network: Option<PostureWord>,
    pub(super) capabilities: Option<PostureWord>,
}

/// Who acts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActorFields {
    pub(super) from: Option<Spanned<String>>,
    pub(super) uid: Option<u32>,
    pub(super) owner: Option<u32>,
    pub(super) tty: Option<bool>,
}

/// A test: accesses with `expect`, or accesses below `allow`, `audit` and `block`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct TestFields {
    pub(super) name: Option<String>,
    pub(super) exec: Option<OneOrMany<String>>,
    pub(super) map_exec: Option<OneOrMany<String>>,
    pub(super) read: Option<OneOrMany<String>>,
    pub(super) write: Option<OneOrMany<String>>,
    pub(super) socket: Option<OneOrMany<String>>,
    pub(super) connect: Option<OneOrMany<String>>,
    pub(super) bind: Option<OneOrMany<String>>,
    pub(super) capability: Option<OneOrMany<String>>,
    pub(super) from: Option<Spanned<String>>,
    pub(super) uid: Option<u32>,
    pub(super) owner: Option<u32>,
    pub(super) tty: Option<bool>,
    #[serde(rename = "as")]
    pub(super) invoked_as: Option<String>,
    pub(super) args: Option<Vec<String>>,
    pub(super) expect: Option<ExpectWord>,
    pub(super) rule: Option<String>,
    pub(super) allow: Option<Spanned<Box<GroupFields>>>,
    pub(super) audit: Option<Spanned<Box<GroupFields>>>,
    pub(super) block: Option<Spanned<Box<GroupFields>>>,
}

/// Accesses of which one verdict is expected.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct GroupFields {
    pub(super) exec: Option<OneOrMany<String>>,
    pub(super) map_exec: Option<OneOrMany<String>>,
    pub(super) read: Option<OneOrMany<String>>,
    pub(super) write: Option<OneOrMany<String>>,
    pub(super) socket: Option<OneOrMany<String>>,
    pub(super) connect: Option<OneOrMany<String>>,
    pub(super) bind: Option<OneOrMany<String>>,
    pub(super) capability: Option<OneOrMany<String>>,
    pub(super) from: Option<Spanned<String>>,
    pub(super) uid: Option<u32>,
    pub(super) owner: Option<u32>,
    pub(super) tty: Option<bool>,
    #[serde(rename = "as")]
    pub(super) invoked_as: Option<String>,
    pub(super) args: Option<Vec<String>>,
    pub(super) rule: Option<String>,
}

/// A value, or a list of them; each with its place.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub(super) enum OneOrMany<T> {
    /// One.
    One(T),
    /// A list.
    Many(Vec<T>),
}

/// `mode`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ModeWord {
    Enforce,
    Audit,
}

/// A posture.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PostureWord {
    Block,
    Audit,
}

/// `expect`, with a capital or without.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) enum ExpectWord {
    #[serde(alias = "allow")]
    Allow,
    #[serde(alias = "audit")]
    Audit,
    #[serde(alias = "block")]
    Block,
}

// === impl OneOrMany ===

impl<T> OneOrMany<T> {
    /// The values.
    pub(super) fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        }
    }
}
