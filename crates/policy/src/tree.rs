//! YAML text as a tree in which every node knows its place.
//!
//! ```text
//! text -> granit events -> one tree per document (aliases and merge keys replaced by what they stand for)
//! ```
//!
//! Syntax errors end their document only: the documents before it are kept, and reading goes on at the next `---`.
//!
//! # Limits
//! Nesting of [`DEPTH_MAX`], and [`DOCUMENT_MAX_BYTES`] per document, both after aliases are replaced: this bounds the
//! stack and the memory that a small text can ask for.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde_saphyr::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle, ScanError, Tag};

use crate::problem::{Path, Place, Sink, shown};

/// The deepest nesting of lists and mappings. A policy in a List needs 9.
pub(crate) const DEPTH_MAX: usize = 64;
/// The largest document, in bytes of scalar text plus [`NODE_BYTES`] per node, aliases replaced.
pub(crate) const DOCUMENT_MAX_BYTES: usize = 64 << 20;
/// What a node counts besides its text.
const NODE_BYTES: usize = 16;

/// A value and its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
    /// Nothing was reported about it or anything below it while the tree was built.
    pub(crate) is_sound: bool,
    /// Levels of nesting below and including this node.
    height: usize,
    /// Text bytes and [`NODE_BYTES`] of this node and all below it.
    bytes: usize,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Arc<Node>>),
    Mapping(Vec<Entry>),
    /// Reported already; nothing more is said about it.
    Broken,
}

/// A scalar's text, and whether its form lets it be a number, a boolean or null.
#[derive(Debug)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Written without quotes (and without `!!str`).
    pub(crate) plain: bool,
}

/// One `key: value`.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Arc<Node>,
    pub(crate) value: Arc<Node>,
}

/// Lists and mappings being read, innermost last.
struct Builder {
    open: Vec<Open>,
    /// Finished anchored nodes by the parser's id.
    anchors: HashMap<usize, Arc<Node>>,
    /// What the document took so far.
    bytes: usize,
}

/// A list or mapping whose end has not been seen.
struct Open {
    place: Place,
    anchor: usize,
    is_mapping: bool,
    is_sound: bool,
    children: Vec<Arc<Node>>,
}

/// Reads every document of a text and hands each root to `each`. Documents without content are left out.
pub(crate) fn read<'a>(text: &'a str, sink: &mut Sink<'a>, mut each: impl FnMut(&Node, &mut Sink<'a>)) {
    let options = granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder::new();
    // A root whose document is not over: what comes before the next marker may yet make it malformed.
    let mut finished: Option<Arc<Node>> = None;
    let mut hand_over = |root: Option<Arc<Node>>, sink: &mut Sink<'a>| {
        if let Some(root) = root.filter(|root| !root.is_null()) {
            each(&root, sink);
        }
    };
    // Each turn consumes an event or, after an error, the rest of a document.
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, span)) => {
                if matches!(event, Event::DocumentStart(..) | Event::StreamEnd) {
                    hand_over(finished.take(), sink);
                }
                let tag_place = place(text, &span.tag_span().unwrap_or(span));
                builder.take(event, place(text, &span), tag_place, sink)
            }
            Err(error) => {
                let root = finished.take().filter(|root| has_marker(text, root.place.bytes.start, &error));
                hand_over(root, sink);
                syntax_error(text, &error, sink);
                Step::Abandon
            }
        };
        match step {
            Step::More => {}
            Step::Document(root) => {
                finished = Some(root);
                builder = Builder::new();
            }
            Step::Abandon => {
                builder = Builder::new();
                match parser.proceed_next_document() {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        syntax_error(text, &error, sink);
                        break;
                    }
                }
            }
        }
    }
    hand_over(finished, sink);
}

/// Whether a document marker stands between a root and an error, so that the error is not in the root's document.
fn has_marker(text: &str, root_start: usize, error: &ScanError) -> bool {
    let error_at = error.marker().byte_offset().unwrap_or(root_start);
    let between = text.get(root_start..floor_boundary(text, error_at)).unwrap_or_default();
    between.lines().skip(1).any(|line| line.starts_with("---") || line.starts_with("..."))
}

/// What an event led to.
enum Step {
    More,
    Document(Arc<Node>),
    /// The rest of the document is skipped; the reason is reported.
    Abandon,
}

// === impl Node ===

impl Node {
    /// Whether it is YAML's null: nothing, `~` or `null`, without quotes.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }

    /// Its text, if it is a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            Value::List(_) | Value::Mapping(_) | Value::Broken => None,
        }
    }
}

impl Scalar {
    fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

// === impl Builder ===

impl Builder {
    fn new() -> Self {
        Self { open: Vec::new(), anchors: HashMap::new(), bytes: 0 }
    }

    fn take(&mut self, event: Event<'_>, place: Place, tag_place: Place, sink: &mut Sink<'_>) -> Step {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain =
                    matches!(style, ScalarStyle::Plain) && !tag.as_deref().is_some_and(|t| t.is_yaml_core_schema_tag("str"));
                let is_sound = has_known_tag(tag.as_deref(), &tag_place, sink);
                let bytes = NODE_BYTES + text.len();
                let value = Value::Scalar(Scalar { text: text.into_owned(), plain });
                self.add(Arc::new(Node { place, value, is_sound, height: 0, bytes }), anchor, bytes, sink)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let is_sound = has_known_tag(tag.as_deref(), &tag_place, sink);
                self.start(Open { place, anchor, is_mapping: false, is_sound, children: Vec::new() }, sink)
            }
            Event::MappingStart(_, anchor, tag) => {
                let is_sound = has_known_tag(tag.as_deref(), &tag_place, sink);
                self.start(Open { place, anchor, is_mapping: true, is_sound, children: Vec::new() }, sink)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(&place, sink),
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(target) => {
                    let target = Arc::clone(target);
                    let bytes = target.bytes;
                    self.add(target, 0, bytes, sink)
                }
                None => {
                    sink.error(&place, &Path::Root, "alias to a node that contains it", "write the value out");
                    Step::Abandon
                }
            },
            Event::UnresolvedAlias(name) => {
                let message = format!("unknown anchor `{}`", shown(&name));
                sink.error(&place, &Path::Root, message, "define it with `&` earlier in the same document, or quote the text");
                let node = Node { place, value: Value::Broken, is_sound: false, height: 0, bytes: NODE_BYTES };
                self.add(Arc::new(node), 0, NODE_BYTES, sink)
            }
            // Not nodes; `Event` is non-exhaustive, and what it may gain are marks like these.
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::Anchor(..)
            | Event::Comment(..)
            | _ => Step::More,
        }
    }

    fn start(&mut self, open: Open, sink: &mut Sink<'_>) -> Step {
        if self.open.len() >= DEPTH_MAX {
            return too_deep(&open.place, sink);
        }
        self.open.push(open);
        Step::More
    }

    fn end(&mut self, end: &Place, sink: &mut Sink<'_>) -> Step {
        let Some(Open { mut place, anchor, is_mapping, mut is_sound, children }) = self.open.pop() else { return Step::Abandon };
        place.bytes.end = end.bytes.end.max(place.bytes.end);
        let bytes = children.iter().fold(NODE_BYTES, |sum, child| sum.saturating_add(child.bytes));
        let height = 1 + children.iter().map(|child| child.height).max().unwrap_or(0);
        if height > DEPTH_MAX {
            return too_deep(&place, sink);
        }
        is_sound &= children.iter().all(|child| child.is_sound);
        let value = if is_mapping {
            let errors = sink.errors();
            let entries = entries(children, sink);
            is_sound &= sink.errors() == errors;
            Value::Mapping(entries)
        } else {
            Value::List(children)
        };
        self.add(Arc::new(Node { place, value, is_sound, height, bytes }), anchor, NODE_BYTES, sink)
    }

    /// Puts a finished node where it belongs. `bytes` is what it adds to the document: an alias all of its target.
    fn add(&mut self, node: Arc<Node>, anchor: usize, bytes: usize, sink: &mut Sink<'_>) -> Step {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > DOCUMENT_MAX_BYTES {
            let message = format!("the document takes more than {} MiB once aliases are replaced", DOCUMENT_MAX_BYTES >> 20);
            sink.error(&node.place, &Path::Root, message, "");
            return Step::Abandon;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        match self.open.last_mut() {
            Some(parent) => {
                parent.children.push(node);
                Step::More
            }
            None => Step::Document(node),
        }
    }
}

fn too_deep(place: &Place, sink: &mut Sink<'_>) -> Step {
    sink.error(place, &Path::Root, format!("nested deeper than {DEPTH_MAX} levels"), "");
    Step::Abandon
}

/// Pairs keys with values and replaces merge keys (`<<`): what a mapping has itself goes before what it merges.
fn entries(children: Vec<Arc<Node>>, sink: &mut Sink<'_>) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(children.len() / 2);
    let mut merged: Vec<Entry> = Vec::new();
    let mut children = children.into_iter();
    while let (Some(key), Some(value)) = (children.next(), children.next()) {
        let is_merge = matches!(&key.value, Value::Scalar(Scalar { text, plain: true }) if text == "<<");
        match (&value.value, is_merge) {
            (_, false) => entries.push(Entry { key, value }),
            (Value::Mapping(from), true) => merged.extend(from.iter().cloned()),
            (Value::List(items), true) if items.iter().all(|item| matches!(item.value, Value::Mapping(_))) => {
                for item in items {
                    if let Value::Mapping(from) = &item.value {
                        merged.extend(from.iter().cloned());
                    }
                }
            }
            (_, true) => {
                sink.error(&value.place, &Path::Root, "`<<` merges mappings, and this is none", "");
            }
        }
    }
    if !merged.is_empty() {
        let mut seen: std::collections::HashSet<String> =
            entries.iter().filter_map(|e| e.key.text()).map(str::to_owned).collect();
        merged.retain(|entry| entry.key.text().is_some_and(|key| seen.insert(key.to_owned())));
        entries.append(&mut merged);
    }
    entries
}

/// Tags of the core schema are the types values have anyway; others would change meanings in ways nothing here knows.
fn has_known_tag(tag: Option<&Tag>, place: &Place, sink: &mut Sink<'_>) -> bool {
    let Some(tag) = tag else { return true };
    let is_known = tag.is_yaml_core_schema();
    if !is_known {
        let message = format!("unknown tag `{}`", shown(&tag.original()));
        sink.error(place, &Path::Root, message, "remove it; if the text begins with `!`, quote it");
    }
    is_known
}

fn syntax_error(text: &str, error: &ScanError, sink: &mut Sink<'_>) {
    let mark = error.marker();
    let at = floor_boundary(text, mark.byte_offset().unwrap_or(text.len()));
    let place = Place { bytes: at..at, line: number(mark.line().max(1)), column: number(mark.col() + 1) };
    let line = text.get(..at).and_then(|t| t.rsplit('\n').next()).unwrap_or_default();
    let line = [line, text.get(at..).and_then(|t| t.split('\n').next()).unwrap_or_default()].concat();
    let help = if line.contains("{{") {
        "this looks like a template: render it first"
    } else if line.trim_start_matches(' ').starts_with('\t') {
        "indent with spaces, not with tabs"
    } else {
        ""
    };
    if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        too_deep(&place, sink);
        return;
    }
    sink.error(&place, &Path::Root, format!("not YAML: {}", error.kind()), help);
}

fn place(text: &str, span: &granit_parser::Span) -> Place {
    let Range { start, end } = span.byte_range().unwrap_or(0..0);
    let start = floor_boundary(text, start);
    let end = floor_boundary(text, end).max(start);
    Place { bytes: start..end, line: number(span.start.line().max(1)), column: number(span.start.col() + 1) }
}

/// The offset itself, or the nearest one before it that is in the text and not inside a character.
fn floor_boundary(text: &str, offset: usize) -> usize {
    text.floor_char_boundary(offset)
}

/// A line or column as origins hold it; a text that could exceed it is refused beforehand by its size.
fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
