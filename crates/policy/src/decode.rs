//! Typed reading of YAML nodes: each function returns the value or reports why there is none, and never stops the rest.

use std::collections::HashMap;

use crate::problem::{Path, Sink, shown};
use crate::suggest;
use crate::tree::{Entry, Node, Value};

/// A mapping whose keys are checked: strings, known, each once.
pub(crate) struct Fields<'a> {
    pub(crate) node: &'a Node,
    entries: &'a [Entry],
    pub(crate) path: &'a Path<'a>,
}

/// An item of a list.
pub(crate) struct Item<'a> {
    /// Its place in the list, from 0.
    pub(crate) index: usize,
    pub(crate) node: &'a Node,
    pub(crate) path: Path<'a>,
}

/// What a plain scalar is by the YAML 1.2 core schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plain {
    Null,
    Boolean(bool),
    Integer,
    Float,
    Text,
}

// === impl Fields ===

impl<'a> Fields<'a> {
    /// Opens a mapping that has no fields but `known`; every other key, and every key that comes twice, is reported.
    pub(crate) fn open(node: &'a Node, path: &'a Path<'a>, known: &[&str], sink: &mut Sink<'_>) -> Option<Self> {
        let fields = Self::open_any(node, path, sink)?;
        for Entry { key, value: _ } in fields.entries {
            let Some(name) = key.text() else { continue };
            if !known.contains(&name) {
                let field = Path::Field(path, name);
                sink.error(&key.place, &field, format!("unknown field `{}`", shown(name)), suggest::help(name, known));
            }
        }
        Some(fields)
    }

    /// Opens a mapping with any keys.
    pub(crate) fn open_any(node: &'a Node, path: &'a Path<'a>, sink: &mut Sink<'_>) -> Option<Self> {
        match &node.value {
            Value::Mapping(entries) => {
                check_keys(entries, path, sink);
                Some(Self { node, entries, path })
            }
            Value::Scalar(_) | Value::List(_) => {
                wrong_type(node, path, "a mapping", "", sink);
                None
            }
            Value::Broken => None,
        }
    }

    /// A field of a node that is opened elsewhere; nothing is reported.
    pub(crate) fn peek(node: &'a Node, name: &str) -> Option<&'a Node> {
        let Value::Mapping(entries) = &node.value else { return None };
        entries.iter().find(|e| e.key.text() == Some(name)).map(|e| &*e.value).filter(|value| !value.is_null())
    }

    /// The field's value; an absent field and a null one are the same.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Node> {
        self.entries.iter().find(|e| e.key.text() == Some(name)).map(|e| &*e.value).filter(|value| !value.is_null())
    }

    /// The field's value; reports its absence.
    pub(crate) fn require(&self, name: &str, sink: &mut Sink<'_>) -> Option<&'a Node> {
        let value = self.get(name);
        if value.is_none() {
            let place = self.entries.iter().find(|e| e.key.text() == Some(name)).map_or(&self.node.place, |e| &e.key.place);
            let keys: Vec<&str> = self.entries.iter().filter_map(|e| e.key.text()).collect();
            let help = match suggest::nearest(name, &keys) {
                Some(key) if key != name => format!("did you mean `{name}` where `{}` is written?", shown(key)),
                Some(_) | None => String::new(),
            };
            sink.error(place, &self.path.field(name), format!("missing field `{name}`"), help);
        }
        value
    }

    /// All string keys with their values, nulls included, each key once.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a Node, &'a Node)> + use<'a> {
        let mut seen = std::collections::HashSet::new();
        self.entries.iter().filter_map(|e| e.key.text().map(|k| (k, &*e.key, &*e.value))).filter(move |(k, _, _)| seen.insert(*k))
    }

    /// A string field.
    pub(crate) fn string(&self, name: &str, sink: &mut Sink<'_>) -> Option<&'a str> {
        string(self.get(name)?, &self.path.field(name), sink)
    }

    /// A boolean field.
    pub(crate) fn boolean(&self, name: &str, sink: &mut Sink<'_>) -> Option<bool> {
        boolean(self.get(name)?, &self.path.field(name), sink)
    }

    /// A field that is a list of strings.
    pub(crate) fn strings(&self, name: &str, sink: &mut Sink<'_>) -> Option<Vec<String>> {
        let list = self.path.field(name);
        let items = items(self.get(name)?, &list, sink);
        Some(items.iter().filter_map(|item| string(item.node, &item.path, sink)).map(str::to_owned).collect())
    }
}

impl<'a> Path<'a> {
    /// The path to a field of this mapping.
    pub(crate) fn field(&'a self, name: &'a str) -> Path<'a> {
        Path::Field(self, name)
    }
}

/// The items of a list, each with its path; a null item is reported and left out. Anything else is reported.
pub(crate) fn items<'a>(node: &'a Node, path: &'a Path<'a>, sink: &mut Sink<'_>) -> Vec<Item<'a>> {
    match &node.value {
        Value::List(list) => {
            let mut out = Vec::with_capacity(list.len());
            for (index, item) in list.iter().enumerate() {
                let path = Path::Index(path, index);
                if item.is_null() {
                    sink.error(&item.place, &path, "empty list item", "");
                } else {
                    out.push(Item { index, node: item, path });
                }
            }
            out
        }
        Value::Scalar(_) | Value::Mapping(_) => {
            wrong_type(node, path, "a list", "begin each item with `- `", sink);
            Vec::new()
        }
        Value::Broken => Vec::new(),
    }
}

/// A string. Numbers, booleans and null must be quoted to be one.
pub(crate) fn string<'a>(node: &'a Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<&'a str> {
    match &node.value {
        Value::Scalar(scalar) => {
            if !scalar.plain || plain(&scalar.text) == Plain::Text {
                return Some(&scalar.text);
            }
            let help = format!("quote it: \"{}\"", shown(&scalar.text));
            wrong_type(node, path, "a string", &help, sink);
            None
        }
        Value::List(_) | Value::Mapping(_) => {
            wrong_type(node, path, "a string", "", sink);
            None
        }
        Value::Broken => None,
    }
}

/// `true` or `false`.
pub(crate) fn boolean(node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<bool> {
    match &node.value {
        Value::Scalar(scalar) if scalar.plain => {
            if let Plain::Boolean(value) = plain(&scalar.text) {
                return Some(value);
            }
        }
        Value::Broken => return None,
        Value::Scalar(_) | Value::List(_) | Value::Mapping(_) => {}
    }
    wrong_type(node, path, "a boolean", "write true or false, without quotes", sink);
    None
}

/// An integer from `low` to `high`.
pub(crate) fn integer(node: &Node, low: i64, high: i64, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<i64> {
    match &node.value {
        Value::Scalar(scalar) if scalar.plain && plain(&scalar.text) == Plain::Integer => {
            let value = scalar.text.parse::<i64>().ok().filter(|n| (low..=high).contains(n));
            if value.is_none() {
                let message = format!("{} is not between {low} and {high}", shown(&scalar.text));
                sink.error(&node.place, path, message, "");
            }
            value
        }
        Value::Scalar(_) | Value::List(_) | Value::Mapping(_) => {
            let help = format!("write a number from {low} to {high}, without quotes");
            wrong_type(node, path, "an integer", &help, sink);
            None
        }
        Value::Broken => None,
    }
}

/// Reports keys that come twice or are no strings, here and everywhere below. For parts that are not read otherwise.
pub(crate) fn check_keys_below(node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) {
    match &node.value {
        Value::Mapping(entries) => {
            check_keys(entries, path, sink);
            for Entry { key, value } in entries {
                check_keys_below(value, &Path::Field(path, key.text().unwrap_or_default()), sink);
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                check_keys_below(item, &Path::Index(path, index), sink);
            }
        }
        Value::Scalar(_) | Value::Broken => {}
    }
}

fn check_keys(entries: &[Entry], path: &Path<'_>, sink: &mut Sink<'_>) {
    let mut seen: HashMap<&str, u32> = HashMap::with_capacity(entries.len());
    for Entry { key, value: _ } in entries {
        match key.text() {
            None => sink.error(&key.place, path, format!("a key must be a string, not {}", describe(key)), TEMPLATE_HELP),
            Some(name) => {
                if let Some(line) = seen.insert(name, key.place.line) {
                    let message = format!("duplicate key `{}`", shown(name));
                    sink.error(&key.place, &path.field(name), message, format!("the first is on line {line}"));
                }
            }
        }
    }
}

const TEMPLATE_HELP: &str = "a template (`{{ ... }}`) must be rendered before it is a policy";

fn wrong_type(node: &Node, path: &Path<'_>, expected: &str, help: &str, sink: &mut Sink<'_>) {
    sink.error(&node.place, path, format!("expected {expected}, found {}", describe(node)), help);
}

/// A node as messages name it.
fn describe(node: &Node) -> String {
    match &node.value {
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::List(_) => "a list".to_owned(),
        Value::Broken => "an invalid value".to_owned(),
        Value::Scalar(scalar) => {
            let kind = if scalar.plain { plain(&scalar.text) } else { Plain::Text };
            let text = shown(&scalar.text);
            match kind {
                Plain::Null => "nothing".to_owned(),
                Plain::Boolean(_) => format!("the boolean {text}"),
                Plain::Integer | Plain::Float => format!("the number {text}"),
                Plain::Text => format!("the string `{text}`"),
            }
        }
    }
}

/// The core schema's reading of an unquoted scalar (YAML 1.2.2, section 10.3.2).
fn plain(text: &str) -> Plain {
    let digits = |t: &str, ok: fn(&u8) -> bool| !t.is_empty() && t.as_bytes().iter().all(ok);
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Plain::Null,
        "true" | "True" | "TRUE" => Plain::Boolean(true),
        "false" | "False" | "FALSE" => Plain::Boolean(false),
        ".nan" | ".NaN" | ".NAN" => Plain::Float,
        _ if matches!(unsigned, ".inf" | ".Inf" | ".INF") => Plain::Float,
        _ if digits(unsigned, u8::is_ascii_digit) => Plain::Integer,
        _ if text.strip_prefix("0x").is_some_and(|t| digits(t, u8::is_ascii_hexdigit)) => Plain::Integer,
        _ if text.strip_prefix("0o").is_some_and(|t| digits(t, |b| matches!(b, b'0'..=b'7'))) => Plain::Integer,
        _ if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.parse::<f64>().is_ok() => Plain::Float,
        _ => Plain::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_read_by_the_core_schema() {
        let expect = |texts: &[&str], kind: Plain| {
            for text in texts {
                assert!(plain(text) == kind, "{text}");
            }
        };
        expect(&["", "~", "null", "NULL"], Plain::Null);
        expect(&["true", "TRUE"], Plain::Boolean(true));
        expect(&["0", "-5", "+5", "0x1F", "0o17", "007"], Plain::Integer);
        expect(&["1.0", ".5", "1e3", "-.inf", ".NaN", "1."], Plain::Float);
        expect(&["yes", "no", "on", "1.2.3", "0xg", "-", "+", "inf", "nan", ".", "1_000", "v1"], Plain::Text);
    }
}
