//! Paths as text: what is not plain UTF-8 is written `\xNN`, a backslash `\x5c`, so that nothing is lost.

use std::fmt::Write as _;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// The text of a path.
pub(super) fn of(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' || c.is_ascii_control() {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// The path of a text.
pub(super) fn parse(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        let digits = escaped.strip_prefix('x')?;
        out.push(u8::from_str_radix(digits.get(..2)?, 16).ok()?);
        rest = digits.get(2..)?;
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

/// For `#[serde(with)]`.
pub(super) fn serialize<S: Serializer>(path: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&of(path))
}

/// For `#[serde(with)]`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).ok_or_else(|| D::Error::custom("a path with a bad escape"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_comes_back() {
        for path in [b"/a".as_slice(), b"/\\x41", "/\u{e9}\u{1f980}".as_bytes(), b"/\xff\xfe\n\x7f", b""] {
            assert_eq!(parse(&of(path)).as_deref(), Some(path), "{}", of(path));
        }
        assert_eq!(parse("\\y"), None);
        assert_eq!(parse("\\x4"), None);
    }
}
