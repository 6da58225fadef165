//! The suggestion's accesses as a test file.

use std::fmt::Write as _;

use crate::suggest::{Suggestion, TestLine};
use crate::yaml::scalar;

impl Suggestion {
    /// What `palisade policy test` reads. `policy_file` is the policy's name, as seen from the test file's directory.
    #[must_use]
    pub fn test_file(&self, policy_file: &str) -> String {
        let Self { policy: _, tests, measures: _, name } = self;
        let mut out = format!(
            "# What {} did while it was watched, and what nobody should do. Written by `palisade run --learn`.\npolicies: {}\ntests:\n",
            name.escape_debug(),
            scalar(policy_file)
        );
        for TestLine { field, object, from, allowed } in tests {
            let _ = write!(out, "- {{{field}: {}, ", quoted(object));
            if let Some(from) = from {
                let _ = write!(out, "from: {}, ", quoted(from));
            }
            let _ = writeln!(out, "expect: {}}}", if *allowed { "Allow" } else { "Block" });
        }
        out
    }
}

/// In a flow mapping brackets and braces mean something even inside a plain scalar.
fn quoted(text: &str) -> String {
    let plain = scalar(text);
    if plain.starts_with('"') || !plain.contains(['[', ']', '{', '}', ',']) { plain } else { format!("\"{plain}\"") }
}
