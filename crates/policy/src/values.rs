//! The checked values of rules: paths, directories, globs, names, actions, comma lists.

use crate::decode;
use crate::glob::{Glob, Token};
use crate::hints;
use crate::model::{Action, PathName, SourceMatch};
use crate::problem::{Path, Place, Sink, shown};
use crate::suggest;
use crate::tree::Node;

/// The longest path of a rule, in bytes: as long as the longest path the kernel names (`PATH_MAX` less its NUL).
pub const PATH_MAX_BYTES: usize = 4095;
/// The longest `execname`, in bytes: as long as the longest file name (`NAME_MAX`).
pub const NAME_MAX_BYTES: usize = 255;

/// The actions as policies write them.
const ACTIONS: [&str; 3] = ["Allow", "Audit", "Block"];

/// `path`: absolute, of a file or directory, without a slash at its end.
pub(crate) fn path(node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<PathName> {
    let text = decode::string(node, path, sink)?;
    check_path(text, node, path, sink)?;
    if text.ends_with('/') {
        sink.error(&node.place, path, "a path does not end in `/`", "name a directory in matchDirectories, with `dir`");
        return None;
    }
    name(text, node, path, sink)
}

/// `dir`: absolute, with a slash at its end (which a source's `dir` may lack).
pub(crate) fn directory(node: &Node, of_source: bool, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<PathName> {
    let text = decode::string(node, path, sink)?;
    check_path(text, node, path, sink)?;
    if text.ends_with('/') {
        name(text, node, path, sink)
    } else if of_source {
        name(&format!("{text}/"), node, path, sink)
    } else {
        let help = format!("write `{}/`, or name a single file in matchPaths, with `path`", shown(text));
        sink.error(&node.place, path, "a directory ends in `/`", help);
        None
    }
}

/// `pattern`: a glob over the whole path.
pub(crate) fn pattern(node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<Glob> {
    let text = decode::string(node, path, sink)?;
    match Glob::parse(text) {
        Ok(glob) => spend(&glob, &node.place, path, sink).then_some(glob),
        Err(error) => {
            let place = inside(node, text, error.offset, sink);
            sink.error(&place, path, format!("invalid pattern: {error}"), "a backslash makes the next character ordinary");
            None
        }
    }
}

/// `execname`: a base name.
pub(crate) fn exec_name(node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<String> {
    let text = decode::string(node, path, sink)?;
    let wrong = if text.is_empty() {
        Some(("an execname is not empty", String::new()))
    } else if text.contains('/') {
        Some(("an execname holds no `/`", "it is the base name alone; name a whole path with `path`".to_owned()))
    } else if text.contains('\0') {
        Some(("no file name holds a NUL byte", String::new()))
    } else if text.len() > NAME_MAX_BYTES {
        Some(("an execname is longer than any file name", format!("at most {NAME_MAX_BYTES} bytes")))
    } else {
        None
    };
    if let Some((message, help)) = wrong {
        sink.error(&node.place, path, message, help);
        return None;
    }
    if Glob::is_magic(text) {
        sink.note(&node.place, path, hints::exec_name_is_literal(text), "for a glob use matchPatterns");
    }
    Some(text.to_owned())
}

/// `fromSource`: each entry a program or a directory of programs.
pub(crate) fn sources(node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Vec<SourceMatch> {
    const FIELDS: [&str; 3] = ["path", "dir", "recursive"];
    let mut sources = Vec::new();
    for decode::Item { index: _, node: item, path: at } in decode::items(node, path, sink) {
        let Some(fields) = decode::Fields::open(item, &at, &FIELDS, sink) else { continue };
        let recursive = fields.boolean("recursive", sink);
        match (fields.get("path"), fields.get("dir")) {
            (Some(program), None) => {
                if let Some(recursive) = fields.get("recursive") {
                    sink.error(&recursive.place, &at.field("recursive"), "`recursive` goes with `dir`, not with `path`", "");
                }
                sources.extend(self::path(program, &at.field("path"), sink).map(SourceMatch::Path));
            }
            (None, Some(dir)) => {
                let recursive = recursive.unwrap_or(false);
                let dir = directory(dir, true, &at.field("dir"), sink);
                sources.extend(dir.map(|dir| SourceMatch::Directory { dir, recursive }));
            }
            (Some(_), Some(dir)) => {
                sink.error(&dir.place, &at.field("dir"), "`path` and `dir` in one source", "make it two entries");
            }
            (None, None) => sink.error(&item.place, &at, "a source needs `path` or `dir`", ""),
        }
    }
    sources
}

/// `action`: `Allow`, `Audit` or `Block`, or the same in lower case. Empty is absent.
pub(crate) fn action(node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<Action> {
    match decode::string(node, path, sink)? {
        "" => None,
        "Allow" | "allow" => Some(Action::Allow),
        "Audit" | "audit" => Some(Action::Audit),
        "Block" | "block" => Some(Action::Block),
        other => {
            unknown(other, "action", &ACTIONS, &node.place, path, sink);
            None
        }
    }
}

/// A comma list of words, each known and each once.
pub(crate) fn words<T: PartialEq>(
    node: &Node,
    what: &str,
    accepted: &[&str],
    find: impl Fn(&str) -> Option<T>,
    path: &Path<'_>,
    sink: &mut Sink<'_>,
) -> Vec<T> {
    let Some(text) = decode::string(node, path, sink) else { return Vec::new() };
    let mut found = Vec::new();
    let mut offset = 0;
    for part in text.split(',') {
        let word = part.trim();
        let at = offset + (part.len() - part.trim_start().len());
        offset += part.len() + 1;
        let place = inside(node, text, at, sink);
        match find(word) {
            Some(value) if found.contains(&value) => {
                sink.error(&place, path, format!("`{}` is named twice", shown(word)), "");
            }
            Some(value) => found.push(value),
            None if word.is_empty() => {
                sink.error(&place, path, format!("empty {what}"), format!("accepted: {}", accepted.join(", ")));
            }
            None => unknown(word, what, accepted, &place, path, sink),
        }
    }
    found
}

/// Reports a word that is none of the accepted.
pub(crate) fn unknown(word: &str, what: &str, accepted: &[&str], place: &Place, path: &Path<'_>, sink: &mut Sink<'_>) {
    /// More words than this are not listed beside a suggestion: as many as there are protocols.
    const LISTED_MAX: usize = 13;
    let help = match suggest::nearest(word, accepted) {
        Some(candidate) if (2..=LISTED_MAX).contains(&accepted.len()) => {
            format!("did you mean `{candidate}`? accepted: {}", accepted.join(", "))
        }
        Some(_) | None => suggest::help(word, accepted),
    };
    sink.error(place, path, format!("unknown {what} `{}`", shown(word)), help);
}

/// What holds for `path` and `dir` alike.
fn check_path(text: &str, node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<()> {
    let message = if text.is_empty() {
        "the path is empty".to_owned()
    } else if !text.starts_with('/') {
        format!("`{}` is not absolute", shown(text))
    } else if text.len() > PATH_MAX_BYTES {
        format!("the path is {} bytes long, more than any path of the kernel ({PATH_MAX_BYTES})", text.len())
    } else if text.contains('\0') {
        "no path holds a NUL byte".to_owned()
    } else {
        return Some(());
    };
    let help = if text.starts_with("*") { "for a glob use matchPatterns" } else { "begin with `/`" };
    sink.error(&node.place, path, message, if text.starts_with('/') { "" } else { help });
    None
}

/// Notes components that no path of the kernel has.
fn note_odd_components(text: &str, node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) {
    if text.split('/').skip(1).any(|part| matches!(part, "." | "..")) || text.contains("//") {
        sink.note(&node.place, path, hints::not_a_kernel_path(text), "write the path without `//`, `/./` and `/../`");
    }
}

/// The literal path and, where the text is one, its glob; says so in a note.
fn name(text: &str, node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<PathName> {
    let literal = text.to_owned();
    note_odd_components(text, node, path, sink);
    if !has_glob_characters(text) {
        return Some(PathName { literal, glob: None });
    }
    match Glob::parse(text) {
        Ok(glob) => {
            sink.note(&node.place, path, hints::also_a_glob(text), "if only the glob is meant, use matchPatterns");
            spend(&glob, &node.place, path, sink).then_some(PathName { literal, glob: Some(glob) })
        }
        Err(error) => {
            sink.note(&node.place, path, hints::not_a_glob(text, error), "");
            Some(PathName { literal, glob: None })
        }
    }
}

/// Whether a text holds an unescaped `*`, `?`, `[` or `{`, be it a valid glob or not.
fn has_glob_characters(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'\\' => _ = bytes.next(),
            b'*' | b'?' | b'[' | b'{' => return true,
            _ => {}
        }
    }
    false
}

/// A glob's alternatives may multiply its text: what that takes counts against the file's budget.
fn spend(glob: &Glob, place: &Place, path: &Path<'_>, sink: &mut Sink<'_>) -> bool {
    let tokens: usize = glob.sequences().iter().map(Vec::len).sum();
    sink.spend(tokens.saturating_mul(size_of::<Token>()), place, path)
}

/// The place of a byte of a scalar's value; its beginning where quoting or folding makes text and value differ.
pub(crate) fn inside(node: &Node, value: &str, offset: usize, sink: &Sink<'_>) -> Place {
    let Place { bytes, line, column } = node.place.clone();
    let source = sink.slice(&node.place);
    let opening = match source.strip_prefix(['"', '\'']) {
        Some(rest) if rest.starts_with(value) => 1,
        None if source == value => 0,
        Some(_) | None => return node.place.clone(),
    };
    let Some(before) = value.get(..offset).filter(|text| !text.contains('\n')) else { return node.place.clone() };
    let at = bytes.start + opening + before.len();
    let columns = u32::try_from(opening + before.chars().count()).unwrap_or(u32::MAX);
    Place { bytes: at..bytes.end.max(at), line, column: column.saturating_add(columns) }
}
