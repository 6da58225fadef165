//! What failed in a guest, taken from its console: guests run beside each other and print much, so it is said once more
//! when all of them have ended.

use std::fmt;

/// So many of a part's last lines are shown beside those that say `FAIL`.
const LAST_LINES: usize = 15;
/// How `tests/vm/suite.sh` begins the lines about its parts.
const MARK: &str = "=== ";
/// How it ends the line of a part that failed.
const FAILED: &str = ": FAILED";

/// A part of `tests/vm/suite.sh` that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedPart {
    /// As `suite.sh` names it.
    pub(crate) name: String,
    /// Its lines that say `FAIL` or `WRONG`, and its last ones, in their order.
    pub(crate) lines: Vec<String>,
}

/// The parts that failed, of a whole console.
pub(crate) fn failed_parts(console: &str) -> Vec<FailedPart> {
    let mut parts = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in console.lines() {
        let Some(name) = line.strip_prefix(MARK) else {
            lines.push(line);
            continue;
        };
        if let Some(name) = name.strip_suffix(FAILED) {
            let tail = lines.len().saturating_sub(LAST_LINES);
            let told = lines.iter().enumerate().filter(|(number, line)| *number >= tail || says_so(line));
            parts.push(FailedPart { name: name.to_owned(), lines: told.map(|(_, line)| (*line).to_owned()).collect() });
        }
        lines.clear();
    }
    parts
}

fn says_so(line: &str) -> bool {
    ["FAIL", "WRONG", "wrong:"].iter().any(|word| line.trim_start().starts_with(word))
}

// === impl FailedPart ===

impl fmt::Display for FailedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, lines } = self;
        write!(f, "{name}: FAILED")?;
        lines.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_shown_with_what_it_said_and_its_end() {
        let long: String = (0..40).map(|i| format!("line {i}\n")).collect();
        let console = format!(
            "boot\n=== one\nfine\n=== one: passed in 3 s of guest time\n=== two\nFAIL early\n{long}=== two: FAILED\n1 passed\n"
        );
        let parts = failed_parts(&console);
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].name, "two");
        assert_eq!(parts[0].lines.len(), 1 + LAST_LINES);
        assert_eq!(parts[0].lines[0], "FAIL early");
        assert_eq!(parts[0].lines[LAST_LINES], "line 39");
    }

    #[test]
    fn nothing_failed_where_all_passed() {
        assert_eq!(failed_parts("=== one\nFAIL as text\n=== one: passed in 3 s of guest time\n"), []);
    }
}
