//! Text for people: fit for a terminal whatever a policy or a file name holds, and coloured.
//!
//! Everything that comes from outside passes [`name`] or [`lines`] (tables: [`cell`]) before it is styled and printed.

use std::borrow::Cow;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use palisade_event::escape;
use palisade_ruleset::Verdict;

/// A name from outside, on one line.
pub(crate) fn name(bytes: &[u8]) -> Cow<'_, str> {
    escape::shown(bytes)
}

/// Text of our own with names from outside in it: line feeds stay, whatever else could mislead is written out.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    let misleads = |c: char| c != '\n' && escape::misleads(c);
    if !text.contains(misleads) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if misleads(c) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// The same, with every byte at its place, for text that byte spans point into.
pub(crate) fn same_length(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            '\r' => out.push(' '),
            c if escape::misleads(c) => (0..c.len_utf8()).for_each(|_| out.push('?')),
            c => out.push(c),
        }
    }
    out
}

/// `1 policy`, `2 policies`.
pub(crate) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

// === styles ===

/// Bold.
pub(crate) fn bold(text: &str) -> String {
    styled(Style::new().bold(), text)
}

/// Dim, for what is less needed.
pub(crate) fn dim(text: &str) -> String {
    styled(Style::new().dimmed(), text)
}

/// For errors and for what is denied.
pub(crate) fn red(text: &str) -> String {
    styled(AnsiColor::Red.on_default().bold(), text)
}

/// For what passes and succeeds.
pub(crate) fn green(text: &str) -> String {
    styled(AnsiColor::Green.on_default().bold(), text)
}

/// For what passes and is reported.
pub(crate) fn yellow(text: &str) -> String {
    styled(AnsiColor::Yellow.on_default().bold(), text)
}

/// A verdict in its colour.
pub(crate) fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::Allow => green(verdict.name()),
        Verdict::Audit => yellow(verdict.name()),
        Verdict::Block => red(verdict.name()),
    }
}

fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

// === tables ===

/// The narrowest terminal, in columns, that a table is fitted to.
const NARROWEST: u16 = 72;

/// An empty table with these heads; as wide as the terminal, where there is one.
pub(crate) fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // A terminal that does not know its width, or is too narrow for a table, gets long lines rather than columns of letters.
    if table.width().is_some_and(|width| width >= NARROWEST) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(heads.iter().map(|head| Cell::new(head).add_attribute(Attribute::Bold)));
    table
}

/// A cell with text from outside.
pub(crate) fn cell(text: &str) -> Cell {
    Cell::new(lines(text))
}

/// A cell with the word of a verdict, or of what a rule says.
pub(crate) fn says_cell(says: &str) -> Cell {
    let cell = Cell::new(says);
    match says {
        "Block" => cell.fg(Color::Red),
        "Allow" => cell.fg(Color::Green),
        "Audit" => cell.fg(Color::Yellow),
        _ => cell,
    }
}

/// A table as text, without blanks at the ends of lines.
pub(crate) fn table_text(table: &Table) -> String {
    let text = table.to_string();
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_still_point_at_the_same_text() {
        let text = "a: \u{1b}[2J\r\nb: \u{202e}é\tc";
        let safe = same_length(text);
        assert_eq!(safe.len(), text.len());
        assert_eq!(safe, "a: ?[2J \nb: ???é\tc");
    }

    #[test]
    fn lines_keep_their_ends_and_lose_what_steers() {
        assert_eq!(lines("a\x1b[2J\nb\u{9b}"), "a\\u{1b}[2J\nb\\u{9b}");
        assert_eq!(lines("/tmp/a\\b"), "/tmp/a\\b");
    }
}
