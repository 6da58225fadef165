//! Problems and notes as people and programs read them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use palisade_policy::model::Origin;
use palisade_policy::{Problem, Severity};
use serde::Serialize;

use crate::text;

/// One finding for programs.
#[derive(Debug, Serialize)]
pub(crate) struct Entry<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    severity: String,
    field: &'a str,
    message: &'a str,
    help: Option<&'a str>,
}

/// A note at a place.
pub(crate) fn note(origin: &Origin, field: String, message: String, help: &str) -> Problem {
    let help = (!help.is_empty()).then(|| help.to_owned());
    Problem { severity: Severity::Note, origin: origin.clone(), span: None, field, message, help }
}

/// Lines `FILE:LINE:COLUMN: SEVERITY: FIELD: MESSAGE`, each with its help below it.
pub(crate) fn plain(problems: &[Problem]) -> String {
    let mut out = String::new();
    for problem in problems {
        let Problem { severity, origin, span: _, field, message, help } = problem;
        let severity = match severity {
            Severity::Error => text::red("error"),
            Severity::Note => text::yellow("note"),
        };
        let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
        let place = text::name(origin.file.as_bytes());
        let (line, column) = (origin.line, origin.column);
        let said = text::lines(&format!("{field}{message}")).replace('\n', " ");
        out.push_str(&format!("{place}:{line}:{column}: {severity}: {said}\n"));
        if let Some(help) = help {
            out.push_str(&format!("    help: {}\n", text::lines(help).replace('\n', " ")));
        }
    }
    out
}

/// Each with the lines of the file that it is about, for a terminal.
pub(crate) fn fancy(problems: &[Problem], texts: &BTreeMap<&str, &str>, coloured: bool) -> anyhow::Result<String> {
    let theme = if coloured { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_context_lines(1);
    let mut sources: BTreeMap<&str, Arc<NamedSource<String>>> = BTreeMap::new();
    let mut out = String::new();
    for problem in problems {
        let file = &*problem.origin.file;
        let text = texts.get(file).copied().unwrap_or_default();
        let source = sources
            .entry(file)
            .or_insert_with(|| Arc::new(NamedSource::new(text::name(file.as_bytes()), text::same_length(text))));
        let span = problem.span.clone().unwrap_or_else(|| line_span(text, &problem.origin));
        handler.render_report(&mut out, &Snippet { problem, source: Arc::clone(source), span })?;
    }
    Ok(out)
}

/// The array of `--json`.
pub(crate) fn entries(problems: &[Problem]) -> Vec<Entry<'_>> {
    problems.iter().map(entry).collect()
}

fn entry(problem: &Problem) -> Entry<'_> {
    let Problem { severity, origin: Origin { file, line, column }, span: _, field, message, help } = problem;
    Entry { file, line: *line, column: *column, severity: severity.to_string(), field, message, help: help.as_deref() }
}

/// From a place to the end of its line.
fn line_span(text: &str, origin: &Origin) -> Range<usize> {
    let line = usize::try_from(origin.line).unwrap_or(1).saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    let content = rest.lines().next().unwrap_or_default().trim_end();
    let column = usize::try_from(origin.column).unwrap_or(1).saturating_sub(1);
    let at = content.char_indices().nth(column).map_or(content.len(), |(at, _)| at);
    start + at..start + content.len()
}

/// A problem with its text.
#[derive(Debug)]
struct Snippet<'a> {
    problem: &'a Problem,
    source: Arc<NamedSource<String>>,
    span: Range<usize>,
}

// === impl Snippet ===

impl fmt::Display for Snippet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { field, message, .. } = self.problem;
        if !field.is_empty() {
            write!(f, "{}: ", text::lines(field))?;
        }
        f.write_str(&text::lines(message))
    }
}

impl std::error::Error for Snippet<'_> {}

impl Diagnostic for Snippet<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        self.problem.severity()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(text::lines(help)) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::underline(self.span.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_problem(span: Option<Range<usize>>) -> Problem {
        let origin = Origin { file: Arc::from("a\x1b.yaml"), line: 2, column: 4 };
        let message = "bad \x1b[2J".to_owned();
        Problem { severity: Severity::Error, origin, span, field: "spec.x".to_owned(), message, help: Some("ok".to_owned()) }
    }

    #[test]
    fn nothing_from_a_file_steers_the_terminal() {
        let text = "a: 1\nb: \x1b[2J\n";
        let texts = BTreeMap::from([("a\x1b.yaml", text)]);
        let fancy = fancy(&[mk_problem(None)], &texts, false).unwrap();
        assert!(!fancy.contains('\x1b'), "{fancy}");
        assert!(fancy.contains("b: ?[2J"), "{fancy}");
        let plain = anstream::adapter::strip_str(&plain(&[mk_problem(None)])).to_string();
        assert_eq!(plain, "a\\x1b.yaml:2:4: error: spec.x: bad \\u{1b}[2J\n    help: ok\n");
    }

    #[test]
    fn a_hint_points_from_its_column_to_the_end_of_its_line() {
        let origin = Origin { file: Arc::from("f"), line: 2, column: 3 };
        let text = "é: 1\n- é: x  \nz\n";
        assert_eq!(&text[line_span(text, &origin)], "é: x");
    }
}
