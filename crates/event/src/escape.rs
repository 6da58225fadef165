//! Bytes from outside, made fit to be shown and to be stored.
//!
//! Two forms, for two readers. [`shown`] and [`word`] are for eyes: nothing in them steers a terminal, reorders text or
//! hides. [`to_json_text`] is for programs: it changes as little as it can and can be undone by [`from_json_text`].

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal or a reader could be misled by this character: controls (C0, DEL, C1), bidi marks and overrides,
/// line and paragraph separators, blanks other than the space, and what shows as nothing.
///
/// The last group is Unicode's `Default_Ignorable_Code_Point` with the format characters (Cf) outside it. Combining marks
/// are not in it: ordinary words of many languages need them.
#[must_use]
pub fn misleads(c: char) -> bool {
    matches!(c,
        // C0, DEL, C1.
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Blanks that are not the space, separators.
        | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{2800}'
        | '\u{3000}'
        // Default_Ignorable_Code_Point: bidi marks, overrides and isolates, joiners, fillers, variation selectors, tags.
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}'
        // Other format characters.
        | '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{fff9}'..='\u{fffb}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        // Noncharacters: no font shows them.
        | '\u{fdd0}'..='\u{fdef}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// Text for eyes: the escapes of the crate's page, first three rows. What needs none is borrowed.
#[must_use]
pub fn shown(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.chars().any(|c| c == '\\' || misleads(c))
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\0'..='\u{7f}' if misleads(c) => push_hex(&mut out, u32::from(c)),
                c if misleads(c) => push_unicode(&mut out, c),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            push_hex(&mut out, u32::from(*byte));
        }
    }
    Cow::Owned(out)
}

/// As [`shown`], and one word of a line of words: with a space or a `"` in it, or empty, it is put in `"`, and `"` in it is
/// written `\"`.
#[must_use]
pub fn word(bytes: &[u8]) -> Cow<'_, str> {
    let text = shown(bytes);
    if text.is_empty() || text.contains([' ', '"']) {
        return Cow::Owned(format!("\"{}\"", text.replace('"', "\\\"")));
    }
    text
}

/// Bytes as the value of a JSON string, without loss.
///
/// # Guarantees
///
/// * UTF-8 stays as it is, but for a backslash that is followed by `x` and two of `0-9a-f`: it becomes `\x5c`.
/// * A byte that is not part of UTF-8 becomes `\xNN`, in lower case.
/// * [`from_json_text`] gives the bytes back.
#[must_use]
pub fn to_json_text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !bytes.windows(4).any(|w| escape(w).is_some())
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        for (at, c) in valid.char_indices() {
            if c == '\\' && escape(&valid.as_bytes()[at..]).is_some() {
                push_hex(&mut out, u32::from(b'\\'));
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            push_hex(&mut out, u32::from(*byte));
        }
    }
    Cow::Owned(out)
}

/// The bytes that [`to_json_text`] was given.
#[must_use]
pub fn from_json_text(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let Some((first, after)) = rest.split_first() {
        if let Some(byte) = escape(rest) {
            out.push(byte);
            rest = &rest[ESCAPE_LENGTH..];
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

/// `\xNN`.
const ESCAPE_LENGTH: usize = 4;

/// The byte that an escape at the start of `bytes` stands for.
fn escape(bytes: &[u8]) -> Option<u8> {
    let [b'\\', b'x', high, low, ..] = bytes else { return None };
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    Some(digit(*high)? << 4 | digit(*low)?)
}

fn push_hex(out: &mut String, number: u32) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\\x{number:02x}");
}

fn push_unicode(out: &mut String, c: char) {
    let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        assert_eq!(shown(b"\x1b[2J\r\n\x7f\0"), r"\x1b[2J\x0d\x0a\x7f\x00");
        assert_eq!(shown("\u{9b}31m \u{202e}gpj.exe \u{a0}\u{200b}".as_bytes()), r"\u{9b}31m \u{202e}gpj.exe \u{a0}\u{200b}");
        assert_eq!(shown(b"/tmp/\xff\xc3("), r"/tmp/\xff\xc3(");
        assert_eq!(shown(br"/tmp/\x1b"), r"/tmp/\\x1b");
    }

    #[test]
    fn ordinary_names_of_all_languages_stay() {
        for name in ["/usr/bin/bash", "/tmp/über", "/tmp/e\u{301}", "/tmp/文件", "/tmp/ไฟล์", "/tmp/फ़ाइल", "/tmp/🦀"]
        {
            assert!(matches!(shown(name.as_bytes()), Cow::Borrowed(text) if text == name), "{name}");
        }
    }

    #[test]
    fn a_word_cannot_fake_a_column() {
        assert_eq!(word(b"/tmp/a b"), "\"/tmp/a b\"");
        assert_eq!(word(br#"/tmp/a" b"#), r#""/tmp/a\" b""#);
        assert_eq!(word(b""), "\"\"");
        assert_eq!(word(b"/tmp/ab"), "/tmp/ab");
    }

    #[test]
    fn json_text_changes_only_what_it_must() {
        assert_eq!(to_json_text(br"awk \$1 \x4 \X41 C:\x"), r"awk \$1 \x4 \X41 C:\x");
        assert_eq!(to_json_text(br"\x41"), r"\x5cx41");
        assert_eq!(to_json_text(b"\\\xff"), r"\\xff");
        assert_eq!(from_json_text(r"\\xff"), b"\\\xff");
        assert_eq!(to_json_text(b"\x1b"), "\x1b");
    }
}
