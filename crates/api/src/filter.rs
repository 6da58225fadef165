//! What a client wants to read: of the services' `Filter` word, and of the flags of `logs`.

use std::fmt;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

use crate::feeder;

/// The streams that a `Filter` word asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Wanted {
    /// `policy`: what policies denied or reported.
    #[default]
    Policy,
    /// `system`: everything else that is seen.
    System,
    /// `all`: both.
    All,
}

/// Which alerts to show: each field that is given has to match. A pattern is a regular expression that may match anywhere
/// in the field; those of namespace, operation, type, container, pod, policy and action whatever the case, as in karmor.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    fields: Vec<(Field, Regex)>,
    /// `key=value`, each of which has to be among the labels.
    labels: Vec<String>,
    /// Nothing that happened before, in seconds since 1970.
    since: Option<i64>,
}

/// A field that can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `NamespaceName`
    Namespace,
    /// `PodName`
    Pod,
    /// `ContainerName`
    Container,
    /// `Operation`
    Operation,
    /// `Type`
    Type,
    /// `PolicyName`
    Policy,
    /// `Action`
    Action,
    /// `Source`
    Source,
    /// `Resource`
    Resource,
}

/// A pattern that is no regular expression.
#[derive(Debug, Error)]
#[error("the pattern for {field} is no regular expression: {source}")]
pub struct FilterError {
    /// Of which field.
    pub field: Field,
    /// Why not.
    #[source]
    pub source: regex::Error,
}

/// The largest program of a pattern, in bytes: who may read events must not make the reader run out of memory.
const PATTERN_MAX_BYTES: usize = 1 << 20;

// === impl Wanted ===

impl Wanted {
    /// The word of [`feeder::RequestMessage`].
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::System => "system",
            Self::All => "all",
        }
    }

    /// Whether a request with this word gets alerts.
    #[must_use]
    pub fn asks_for_alerts(word: &str) -> bool {
        word == Self::Policy.word() || word == Self::All.word()
    }

    /// Whether a request with this word gets logs.
    #[must_use]
    pub fn asks_for_logs(word: &str) -> bool {
        word == Self::System.word() || word == Self::All.word()
    }
}

// === impl Filter ===

impl Filter {
    /// Adds that a field has to match a pattern.
    ///
    /// # Errors
    /// [`FilterError`] if the pattern cannot be used.
    pub fn field(mut self, field: Field, pattern: &str) -> Result<Self, FilterError> {
        let built = RegexBuilder::new(pattern).case_insensitive(field.ignores_case()).size_limit(PATTERN_MAX_BYTES).build();
        self.fields.push((field, built.map_err(|source| FilterError { field, source })?));
        Ok(self)
    }

    /// Adds that `key=value` has to be a label.
    #[must_use]
    pub fn label(mut self, pair: &str) -> Self {
        self.labels.push(pair.to_owned());
        self
    }

    /// Nothing that happened before, in seconds since 1970.
    #[must_use]
    pub fn since(mut self, seconds: i64) -> Self {
        self.since = Some(seconds);
        self
    }

    /// Whether an alert is wanted. Of what the stream tells about itself (losses) always: nobody should miss that
    /// something is missing.
    #[must_use]
    pub fn wants(&self, alert: &feeder::Alert) -> bool {
        let Self { fields, labels, since } = self;
        alert.lost().is_some()
            || since.is_none_or(|since| alert.timestamp >= since)
                && fields.iter().all(|(field, pattern)| pattern.is_match(field.of(alert)))
                && labels.iter().all(|pair| alert.labels.split(',').any(|label| label == pair))
    }
}

// === impl Field ===

impl Field {
    /// Its name in alerts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "NamespaceName",
            Self::Pod => "PodName",
            Self::Container => "ContainerName",
            Self::Operation => "Operation",
            Self::Type => "Type",
            Self::Policy => "PolicyName",
            Self::Action => "Action",
            Self::Source => "Source",
            Self::Resource => "Resource",
        }
    }

    fn ignores_case(self) -> bool {
        !matches!(self, Self::Source | Self::Resource)
    }

    fn of(self, alert: &feeder::Alert) -> &str {
        match self {
            Self::Namespace => &alert.namespace_name,
            Self::Pod => &alert.pod_name,
            Self::Container => &alert.container_name,
            Self::Operation => &alert.operation,
            Self::Type => &alert.r#type,
            Self::Policy => &alert.policy_name,
            Self::Action => &alert.action,
            Self::Source => &alert.source,
            Self::Resource => &alert.resource,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_alert() -> feeder::Alert {
        feeder::Alert {
            timestamp: 100,
            namespace_name: "container_namespace".to_owned(),
            container_name: "nginx.service".to_owned(),
            operation: "File".to_owned(),
            resource: "/etc/Shadow".to_owned(),
            labels: "app=nginx,tier=web".to_owned(),
            ..feeder::Alert::default()
        }
    }

    fn wants(field: Field, pattern: &str) -> bool {
        Filter::default().field(field, pattern).unwrap().wants(&mk_alert())
    }

    #[test]
    fn patterns_match_anywhere_and_names_whatever_their_case() {
        assert!(wants(Field::Operation, "^file$"));
        assert!(wants(Field::Container, "NGINX"));
        assert!(!wants(Field::Container, "^nginx$"));
        assert!(wants(Field::Resource, "/etc/S"));
        assert!(!wants(Field::Resource, "/etc/s"), "paths are as they are");
        assert!(!wants(Field::Pod, "."), "an empty field");
    }

    #[test]
    fn all_that_is_given_has_to_hold() {
        let filter = Filter::default().field(Field::Operation, "file").unwrap().label("tier=web");
        assert!(filter.wants(&mk_alert()));
        assert!(filter.clone().since(100).wants(&mk_alert()));
        assert!(!filter.clone().since(101).wants(&mk_alert()));
        assert!(!filter.clone().label("tier=we").wants(&mk_alert()));
        assert!(!filter.field(Field::Pod, "x").unwrap().wants(&mk_alert()));
    }

    #[test]
    fn no_filter_hides_a_loss() {
        let loss = feeder::Alert {
            r#type: "SystemEvent".to_owned(),
            operation: "PalisadeLoss".to_owned(),
            palisade_loss_count: 3,
            ..feeder::Alert::default()
        };
        let filter = Filter::default().field(Field::Container, "other").unwrap().since(1_000);
        assert!(filter.wants(&loss));
        assert!(!filter.wants(&mk_alert()));
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        let error = Filter::default().field(Field::Pod, "(").unwrap_err();
        assert!(error.to_string().starts_with("the pattern for PodName is no regular expression"), "{error}");
    }

    #[test]
    fn the_words_of_the_services_are_kubearmors() {
        let alerts: Vec<_> = ["all", "policy", "system", "", "Policy"].map(Wanted::asks_for_alerts).into();
        let logs: Vec<_> = ["all", "policy", "system", "", "Policy"].map(Wanted::asks_for_logs).into();
        assert_eq!(alerts, [true, true, false, false, false]);
        assert_eq!(logs, [true, false, true, false, false]);
    }
}
