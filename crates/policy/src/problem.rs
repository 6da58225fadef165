//! What the parser and the hints tell the user, and how it is printed.
//!
//! A [`Problem`] names file, line, column and field, so that a list of them reads without the file at hand; its byte
//! span lets a terminal front end draw the line. It implements [`miette::Diagnostic`] without source text: attach that
//! with [`miette::Report::with_source_code`].

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::model::Origin;

/// One thing to tell about the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it keeps the policy from being used.
    pub severity: Severity,
    /// File, line and column.
    pub origin: Origin,
    /// The bytes of the file it is about; empty ranges are places. `None` where only the origin is known (hints).
    pub span: Option<Range<usize>>,
    /// The field path, as `spec.process.matchPaths[0].path`; empty for the document as a whole.
    pub field: String,
    /// What is wrong, in one line.
    pub message: String,
    /// What to write instead, where that can be said.
    pub help: Option<String>,
}

/// A [`Problem`] whose severity is [`Severity::Note`].
pub type Note = Problem;

/// How much a problem weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The policy is invalid and is not used.
    Error,
    /// The policy is used; the user should know this about it.
    Note,
}

/// A place in the file that is being read: its bytes, and where they begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) bytes: Range<usize>,
    /// From 1.
    pub(crate) line: u32,
    /// From 1, in characters.
    pub(crate) column: u32,
}

/// The way from the document's root to a field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

/// Collects the problems and notes of one file, within [`Sink::PROBLEMS_MAX`].
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    file: &'a Arc<str>,
    text: &'a str,
    /// The namespace of namespaced policies that name none.
    pub(crate) namespace: &'a str,
    problems: Vec<Problem>,
    notes: Vec<Note>,
    not_shown: usize,
    spent_bytes: usize,
}

// === impl Problem ===

impl Problem {
    /// A note without a span, for findings over parsed policies.
    pub(crate) fn hint(origin: Origin, field: String, message: String, help: &str) -> Note {
        let help = (!help.is_empty()).then(|| help.to_owned());
        Self { severity: Severity::Note, origin, span: None, field, message, help }
    }
}

/// `FILE:LINE:COLUMN: error: FIELD: MESSAGE`, without the help text.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, origin, span: _, field, message, help: _ } = self;
        write!(f, "{origin}: {severity}: ")?;
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        f.write_str(message)
    }
}

impl std::error::Error for Problem {}

impl miette::Diagnostic for Problem {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Note => miette::Severity::Advice,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        let span = self.span.clone()?;
        Some(Box::new(std::iter::once(miette::LabeledSpan::underline(span))))
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Note => "note",
        })
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) if is_word(name) => f.write_str(name),
            Self::Field(parent, name) if is_word(name) => write!(f, "{parent}.{name}"),
            Self::Field(parent, name) => write!(f, "{parent}[\"{}\"]", shown(name)),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

// === impl Sink ===

impl<'a> Sink<'a> {
    /// The most problems, and the most notes, kept per file; what is beyond is counted.
    pub(crate) const PROBLEMS_MAX: usize = 1_000;
    /// The most memory that one file's rules may take through inheritance, aliases and glob alternatives, in bytes.
    pub(crate) const EXPANDED_MAX_BYTES: usize = 64 << 20;

    pub(crate) fn new(file: &'a Arc<str>, text: &'a str, namespace: &'a str) -> Self {
        Self { file, text, namespace, problems: Vec::new(), notes: Vec::new(), not_shown: 0, spent_bytes: 0 }
    }

    pub(crate) fn error(&mut self, place: &Place, path: &Path<'_>, message: impl Into<String>, help: impl Into<String>) {
        if self.problems.len() < Self::PROBLEMS_MAX {
            let problem = self.problem(Severity::Error, place, path, message.into(), help.into());
            self.problems.push(problem);
        } else {
            self.not_shown += 1;
        }
    }

    pub(crate) fn note(&mut self, place: &Place, path: &Path<'_>, message: impl Into<String>, help: impl Into<String>) {
        if self.notes.len() < Self::PROBLEMS_MAX {
            let note = self.problem(Severity::Note, place, path, message.into(), help.into());
            self.notes.push(note);
        }
    }

    /// How many errors there were, those not kept included.
    pub(crate) fn errors(&self) -> usize {
        self.problems.len() + self.not_shown
    }

    /// Counts memory that the input's text does not account for; false (and an error, once) where it is too much.
    pub(crate) fn spend(&mut self, bytes: usize, place: &Place, path: &Path<'_>) -> bool {
        let before = self.spent_bytes;
        self.spent_bytes = before.saturating_add(bytes);
        let fits = self.spent_bytes <= Self::EXPANDED_MAX_BYTES;
        if !fits && before <= Self::EXPANDED_MAX_BYTES {
            let message = format!("the file's rules take more than {} MiB once expanded", Self::EXPANDED_MAX_BYTES >> 20);
            self.error(place, path, message, "shorten inherited tags and messages, aliased lists or `{a,b}` alternatives");
        }
        fits
    }

    /// The text at a place.
    pub(crate) fn slice(&self, place: &Place) -> &'a str {
        self.text.get(place.bytes.clone()).unwrap_or_default()
    }

    pub(crate) fn origin(&self, place: &Place) -> Origin {
        Origin { file: Arc::clone(self.file), line: place.line, column: place.column }
    }

    /// Everything told about the file, problems and notes each in its order.
    pub(crate) fn finish(mut self) -> (Vec<Problem>, Vec<Note>) {
        self.problems.sort_by_key(|p| (p.origin.line, p.origin.column));
        self.notes.sort_by_key(|p| (p.origin.line, p.origin.column));
        if self.not_shown > 0 {
            let end = self.text.len();
            let place = Place { bytes: end..end, line: self.problems.last().map_or(1, |p| p.origin.line), column: 1 };
            let message = format!("{} further problems are not listed", self.not_shown);
            let last = self.problem(Severity::Error, &place, &Path::Root, message, String::new());
            self.problems.push(last);
        }
        (self.problems, self.notes)
    }

    fn problem(&self, severity: Severity, place: &Place, path: &Path<'_>, message: String, help: String) -> Problem {
        Problem {
            severity,
            origin: self.origin(place),
            span: Some(place.bytes.clone()),
            field: path.to_string(),
            message,
            help: (!help.is_empty()).then_some(help),
        }
    }
}

/// Whether a key reads well after a dot.
fn is_word(name: &str) -> bool {
    const WORD_MAX_BYTES: usize = 60;
    (1..=WORD_MAX_BYTES).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// A user's text as messages quote it: one line, control characters escaped, at most 60 characters.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN_MAX_CHARS: usize = 60;
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == SHOWN_MAX_CHARS {
            out.push('…');
            break;
        }
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}
